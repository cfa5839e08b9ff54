"""How players move: intents in, places out.

An intent is a direction of length at most 1 that stands until it is changed. Each tick a player goes `intent * walk_speed * ground /
tick_hz` tiles, where `ground` is the walk value (percent) of the tile under the feet. If the tile ahead is blocked, the part of the
step along x is tried alone, then the part along y: one slides along a wall. Nobody enters a chunk that is not loaded, or leaves the
world. Who stands on blocked ground, because it was changed under them, may walk out of it at half speed. The border of a closed
parcel (parcels.py) is a wall to whoever has no standing there; inside, having been let in before, one may walk on.

The speed of a player is therefore the server's alone; a client cannot ask for more than a direction. A step is shorter than a tile
(State checks that), so a wall one tile thick cannot be jumped.

The browser predicts its own player by the same rule; tests/vectors/movement.json, made from this file, keeps the two alike.
"""

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from protocol.messages import PLOT_TILES, WORLD_TILES_MAX
from protocol.snapshot import CELL_TILES, UNITS_PER_TILE
from world.grid import Ints, Keys, Places, bucket_of, cell_at, find, key_at, key_of, link, unlink
from world.parcels import OPEN, PERMIT_SHIFT

UNLOADED = -1
NEVER = np.iinfo(np.int64).max  # as leave_tick: the line stands
ESCAPE_PERCENT = 50  # walking speed on blocked ground
UNIT_LAST = CELL_TILES * UNITS_PER_TILE - 1.0
BOUND = WORLD_TILES_MAX - 1.0 / UNITS_PER_TILE


@njit(cache=True)
def _walk_at(x: float, y: float, head: Ints, following: Ints, keys: Keys, walk: NDArray[np.uint8]) -> Any:
    """Percent of full speed at a place; 0 where blocked, -1 where the chunk is not loaded."""
    chunk = find(key_at(x, y), head, following, keys)
    if chunk < 0:
        return UNLOADED
    tile_x = np.int64(np.floor(x)) & (CELL_TILES - 1)
    tile_y = np.int64(np.floor(y)) & (CELL_TILES - 1)
    return np.int64(walk[chunk, tile_y, tile_x])


@njit(cache=True)
def _gate_at(x: float, y: float, head: Ints, following: Ints, keys: Keys, closed: NDArray[np.int64]) -> Any:
    """The closed parcel at a place, or OPEN."""
    chunk = find(key_at(x, y), head, following, keys)
    if chunk < 0:
        return np.int64(OPEN)
    plot_x = (np.int64(np.floor(x)) & (CELL_TILES - 1)) // PLOT_TILES
    plot_y = (np.int64(np.floor(y)) & (CELL_TILES - 1)) // PLOT_TILES
    return closed[chunk, plot_y, plot_x]


@njit(cache=True)
def _may_enter(
    x: float, y: float, escaping: bool, head: Ints, following: Ints, keys: Keys, walk: NDArray[np.uint8]
) -> Any:
    if abs(x) > BOUND or abs(y) > BOUND:
        return False
    ground = _walk_at(x, y, head, following, keys, walk)
    return ground > 0 or (escaping and ground == 0)


@njit(cache=True)
def _turned_away(
    x: float,
    y: float,
    here: Any,
    player_id: Any,
    passes: Any,
    head: Ints,
    following: Ints,
    keys: Keys,
    closed: NDArray[np.int64],
    permit_head: Ints,
    permit_following: Ints,
    permit_keys: Keys,
) -> Any:
    """The closed parcel at a place that this player may not enter from the one they are in (`here`), or OPEN."""
    gate = _gate_at(x, y, head, following, keys, closed)
    if passes or gate in (OPEN, here):
        return np.int64(OPEN)
    pair = key_of(gate - PERMIT_SHIFT, player_id)
    if find(pair, permit_head, permit_following, permit_keys) >= 0:
        return np.int64(OPEN)
    return gate


@njit(cache=True)
def _attempt(attempt: int, x: float, y: float, to_x: float, to_y: float) -> Any:
    """Where a step ends: all of it, its part along x, its part along y."""
    if attempt == 1:
        return to_x, y
    if attempt == 2:
        return x, to_y
    return to_x, to_y


@njit(cache=True)
def _note(wanted: Any, slot: int, slots: Ints, count: int) -> Any:
    """Adds a slot to a list, if wanted; how many were added."""
    if wanted:
        slots[count] = slot
        return 1
    return 0


@njit(cache=True)
def advance(
    stride: float,
    moving: NDArray[np.bool_],
    xs: Places,
    ys: Places,
    dxs: Places,
    dys: Places,
    head: Ints,
    following: Ints,
    prev: Ints,
    keys: Keys,
    chunk_head: Ints,
    chunk_following: Ints,
    chunk_keys: Keys,
    walk: NDArray[np.uint8],
    player_ids: NDArray[np.uint32],
    passes: NDArray[np.bool_],
    denied: NDArray[np.int64],
    closed: NDArray[np.int64],
    permit_head: Ints,
    permit_following: Ints,
    permit_keys: Keys,
    touched: Keys,
    crossed: Ints,
    left: Keys,
    stopped: Ints,
) -> Any:
    """Moves everyone one tick; `stride` is tiles per tick at full speed.

    Fills `touched` with the keys of cells somebody moved in or came to (with repetition; at most one a player), `crossed` with the
    slots that changed cells, `left` with the cells they left, and `stopped` with the slots that met a closed parcel, `denied`, which
    was not the one that turned them away in their last step. Who `passes` enters everywhere. Returns how many were touched, crossed
    and were stopped.
    """
    touches = 0
    crossings = 0
    stops = 0
    for slot in range(len(moving)):
        if not moving[slot]:
            continue
        x, y = xs[slot], ys[slot]
        ground = _walk_at(x, y, chunk_head, chunk_following, chunk_keys, walk)
        if ground == UNLOADED:
            continue
        percent = ground if ground > 0 else ESCAPE_PERCENT
        to_x = x + dxs[slot] * stride * percent / 100.0
        to_y = y + dys[slot] * stride * percent / 100.0
        escaping = ground == 0
        here = _gate_at(x, y, chunk_head, chunk_following, chunk_keys, closed)
        before, gate = denied[slot], np.int64(OPEN)
        goes = False
        for attempt in range(3):  # the step, its part along x, its part along y
            try_x, try_y = _attempt(attempt, x, y, to_x, to_y)
            if not _may_enter(try_x, try_y, escaping, chunk_head, chunk_following, chunk_keys, walk):
                continue
            turned = _turned_away(
                try_x,
                try_y,
                here,
                player_ids[slot],
                passes[slot],
                chunk_head,
                chunk_following,
                chunk_keys,
                closed,
                permit_head,
                permit_following,
                permit_keys,
            )
            if turned == OPEN:
                to_x, to_y, goes = try_x, try_y, True
                break
            gate = turned
        denied[slot] = gate
        stops += _note(gate != OPEN and gate != before, slot, stopped, stops)
        if not goes:
            continue
        if to_x == x and to_y == y:
            continue
        xs[slot] = to_x
        ys[slot] = to_y
        old = keys[slot]
        new = key_at(to_x, to_y)
        touched[touches] = new
        touches += 1
        if new != old:
            unlink(slot, head, following, prev, keys)
            link(slot, new, head, following, prev, keys)
            crossed[crossings] = slot
            left[crossings] = old
            crossings += 1
    return touches, crossings, stops


@njit(cache=True)
def steer(
    steers: Any,
    tick: int,
    head: Ints,
    following: Ints,
    keys: Keys,
    leave_tick: NDArray[np.int64],
    dxs: Places,
    dys: Places,
    moving: NDArray[np.bool_],
    seqs: NDArray[np.uint32],
    steered_tick: NDArray[np.int64],
) -> None:
    """Takes intents in order: STEER records of players found by id in (head, following, keys). An intent longer than 1 is shortened.

    Who is not here or has lost their line is passed over.
    """
    for index in range(len(steers)):
        slot = find(np.int64(steers[index]["player_id"]), head, following, keys)
        if slot < 0 or leave_tick[slot] != NEVER:
            continue
        dx, dy = steers[index]["dx"], steers[index]["dy"]
        square = dx * dx + dy * dy
        if square > 1.0:
            length = np.sqrt(square)
            dx, dy = dx / length, dy / length
        dxs[slot], dys[slot] = dx, dy
        moving[slot] = dx != 0.0 or dy != 0.0
        seqs[slot] = steers[index]["seq"]
        steered_tick[slot] = tick


@njit(cache=True)
def gather(
    cells: Keys,
    head: Ints,
    following: Ints,
    keys: Keys,
    xs: Places,
    ys: Places,
    player_ids: NDArray[np.uint32],
    records: Any,
    ends: Ints,
) -> None:
    """Writes the snapshot records of all players in `cells`, cell after cell; `ends[i]` is where cell i ends, in records.

    A place a hair below an edge is rounded onto it when its cell's corner is taken off; it is written as the cell's last unit.
    """
    count = 0
    for index in range(len(cells)):
        key = cells[index]
        cx, cy = cell_at(key)
        left, top = np.float64(cx * CELL_TILES), np.float64(cy * CELL_TILES)
        slot = head[bucket_of(key, head)]
        while slot >= 0:
            if keys[slot] == key:
                records[count]["player_id"] = player_ids[slot]
                records[count]["x"] = np.uint16(min((xs[slot] - left) * UNITS_PER_TILE, UNIT_LAST))
                records[count]["y"] = np.uint16(min((ys[slot] - top) * UNITS_PER_TILE, UNIT_LAST))
                count += 1
            slot = following[slot]
        ends[index] = count
