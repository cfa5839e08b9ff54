"""The hot path of the connection side: what every client of this process gets of a tick, put together and sent by compiled loops.

What is known of the world lies in arrays, without an object per cell or client:

    places    CELL[]     one row for each cell anybody is in or looks from; found by key through a hash grid
    records   RECORD[]   who is where: `count` records from `start` on for each place, with room to grow
    viewers   VIEWER[]   one row for each client that sees; those who look from one place form a linked list

A tick runs two loops over them. `_take` copies the cells that changed. `_spread` builds, for each place somebody looks from and each
step of the ladder they stand on, one WebSocket frame, and sends it to each of them with one call of `send`, together with their own
acknowledgement where there is one. `_weigh`, once a second, says what each step would have cost.

Only plain cases are sent from here. Whoever is `busy`, because something else waits for them or because their socket did not take all
of an earlier write, is left to their outbox (interest.py), and so is what a `send` here does not take. asyncio's transport never holds
anything of a client that is not busy, so the order of bytes on the socket is kept.

Messages are written here as MessagePack by hand; tests hold them to be what protocol/codec.py makes.
"""

import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit, types
from numpy.typing import NDArray

from protocol.messages import Crowd, Moved, Snapshot, code_of
from protocol.snapshot import COUNT_LONG, NAMED, RECORD, STEP_MAX, STEP_ZERO
from server.frames import TickFrame
from server.outbox import BINARY_FINAL, NO_SOCKET, Sent
from world.grid import Grid, cell_at, find, key_of

CELL = np.dtype(
    [
        ("key", np.int64),
        ("changed", np.int64),  # the tick of its last change, NEVER before the first
        ("shuffled", np.int64),  # the tick at which somebody last came, went or changed places in the list
        ("thinned", np.int64),  # the tick at which it stopped to be so full that it is sent as a count
        ("start", np.int32),
        ("room", np.int32),
        ("count", np.int32),
        ("crowded", np.int32),  # 1 while it is so full
        ("viewers", np.int32),  # the first of the list, NOBODY where nobody looks from here
        ("named", np.int32),  # bytes of `appeared` of those who came since the last `_weigh`
        ("cast", np.int32),  # bytes of casts told to those who look from here since then
    ]
)
# A message for all who see one of some cells: where its cells and its bytes end, which follow those of the cast before.
CAST = np.dtype([("cells_end", np.int32), ("bytes_end", np.int64)])
VIEWER = np.dtype(
    [
        ("player_id", np.int64),
        ("fd", np.int32),  # of the socket; NO_SOCKET where all goes through the transport
        ("place", np.int32),
        ("next", np.int32),
        ("prev", np.int32),
        ("step", np.int32),  # of the ladder, in force
        ("own_step", np.int32),
        ("busy", np.int32),
        ("ack", np.int32),  # which of the tick's MOVED is theirs, NOBODY for none
        ("news_start", np.int64),  # of a busy viewer: the frame of this tick
        ("news_end", np.int64),
    ]
)
# One rung of the ladder for the loops; `near` and `far` are columns of EXTRA_PERIODS.
RUNG = np.dtype([("near", np.int32), ("far", np.int32), ("radius", np.int32), ("crowds", np.int32)])
PERIODS = (1, 2, 4)  # every how many ticks a cell may be told
# Each place's `appeared` messages stand ready in one column a period; in the last for those who see crowds as counts.
EXTRA_PERIODS = (*PERIODS, PERIODS[-1])
CROWDS = len(PERIODS)

NEVER = -(2**40)  # a tick before all ticks
NOBODY = -1
ROOM_MIN = 4  # records
START_ROWS = 256
FRAME_HEAD_MAX = 10  # RFC 6455 section 5.2: two bytes, and eight of length
SNAPSHOT_HEAD_MAX = 40  # of MessagePack before the blocks
CROWD_BYTES = 16  # of a `crowd` message, about
ACK_BYTES_MAX = 48  # a framed `moved`
BLOCK_HEAD_MAX = 4
RECORD_BYTES = RECORD.itemsize
SIGHT_MAX = (2 * STEP_MAX + 1) ** 2
RECORDS_MIN = 4_096
OUT_BYTES_MIN = 262_144
FLAGS = socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL

_SNAPSHOT, _MOVED, _CROWD = code_of(Snapshot), code_of(Moved), code_of(Crowd)
_FIELDS_5 = 0x95  # a MessagePack array of five

# What `_spread` counts and remembers, in one array.
USED, BACK, WRITES, BYTES, PLACE, RESUMED_STEP, NEEDED = range(7)

_PERIODS = np.array(EXTRA_PERIODS, np.int64)

# Numba keeps the name in its cache and finds the C library's function at load time.
_send: Any = types.ExternalFunction("send", types.intp(types.intc, types.uintp, types.uintp, types.intc))

Bytes = NDArray[np.uint8]
Rows = NDArray[Any]


# --- MessagePack and frames ---------------------------------------------------------------------------------------------------------


@njit(cache=True, inline="always")
def _put_big(out: Bytes, at: int, value: Any, width: int) -> Any:
    """A number in network order."""
    for index in range(width):
        out[at + index] = (value >> (8 * (width - 1 - index))) & 0xFF
    return at + width


@njit(cache=True)
def _put_int(out: Bytes, at: int, value: Any) -> Any:
    """A whole number in the shortest form."""
    if value >= 0:
        if value < 0x80:
            out[at] = value
            return at + 1
        if value < 0x100:
            out[at] = 0xCC
            return _put_big(out, at + 1, value, 1)
        if value < 0x10000:
            out[at] = 0xCD
            return _put_big(out, at + 1, value, 2)
        if value < 0x100000000:
            out[at] = 0xCE
            return _put_big(out, at + 1, value, 4)
        out[at] = 0xCF
        return _put_big(out, at + 1, value, 8)
    if value >= -0x20:
        out[at] = value & 0xFF
        return at + 1
    if value >= -0x80:
        out[at] = 0xD0
        return _put_big(out, at + 1, value, 1)
    if value >= -0x8000:
        out[at] = 0xD1
        return _put_big(out, at + 1, value, 2)
    out[at] = 0xD2
    return _put_big(out, at + 1, value, 4)


@njit(cache=True)
def _put_float(out: Bytes, at: int, bits: Any) -> Any:
    out[at] = 0xCB
    return _put_big(out, at + 1, bits, 8)


@njit(cache=True)
def _put_bin_head(out: Bytes, at: int, size: int) -> Any:
    if size < 0x100:
        out[at] = 0xC4
        return _put_big(out, at + 1, size, 1)
    if size < 0x10000:
        out[at] = 0xC5
        return _put_big(out, at + 1, size, 2)
    out[at] = 0xC6
    return _put_big(out, at + 1, size, 4)


@njit(cache=True)
def _put_frame_head(out: Bytes, at: int, size: int) -> Any:
    """The head of an unmasked binary frame with `size` bytes of payload."""
    out[at] = BINARY_FINAL
    if size < 126:
        out[at + 1] = size
        return at + 2
    if size < 65536:
        out[at + 1] = 126
        return _put_big(out, at + 2, size, 2)
    out[at + 1] = 127
    return _put_big(out, at + 2, size, 8)


@njit(cache=True)
def _put_bytes(out: Bytes, at: int, source: Bytes, start: int, end: int) -> Any:
    for index in range(start, end):
        out[at + index - start] = source[index]
    return at + end - start


@njit(cache=True)
def _put_block(out: Bytes, at: int, where: int, records: Rows, start: int, count: int, named: bool) -> Any:
    """One cell of a snapshot; the twin of protocol.snapshot.write_block."""
    out[at] = where
    out[at + 1] = (NAMED if named else 0) | min(count, COUNT_LONG)
    at += 2
    if count >= COUNT_LONG:
        out[at] = count & 0xFF
        out[at + 1] = count >> 8
        at += 2
    for index in range(start, start + count):
        if named:
            player_id = records[index]["player_id"]
            for byte in range(4):
                out[at + byte] = (player_id >> (8 * byte)) & 0xFF
            at += 4
        x, y = records[index]["x"], records[index]["y"]
        out[at] = x & 0xFF
        out[at + 1] = x >> 8
        out[at + 2] = y & 0xFF
        out[at + 3] = y >> 8
        at += 4
    return at


@njit(cache=True)
def _put_cell_head(out: Bytes, at: int, code: int, tick: int, key: Any) -> Any:
    """What `snapshot` and `crowd` begin with: tick and cell, and one more field to come."""
    cx, cy = cell_at(key)
    out[at], out[at + 1] = _FIELDS_5, code
    at = _put_int(out, at + 2, tick)
    return _put_int(out, _put_int(out, at, cx), cy)


@njit(cache=True)
def _put_moved(out: Bytes, at: int, tick: int, moved: Rows, bits: Any, index: int) -> Any:
    """A whole frame with one `moved`; `bits` are the places as whole numbers, x and y in turn."""
    body = at + 2  # always shorter than 126
    end = body + 2
    out[body], out[body + 1] = _FIELDS_5, _MOVED
    end = _put_int(out, end, moved[index]["seq"])
    end = _put_int(out, end, tick)
    end = _put_float(out, end, bits[index, 0])
    end = _put_float(out, end, bits[index, 1])
    _put_frame_head(out, at, end - body)
    return end


# --- what is known of the cells ------------------------------------------------------------------------------------------------------


@njit(cache=True)
def _take(
    first: int,
    tick: int,
    crowd_entities: int,
    cells: Any,
    shuffled: Bytes,
    ends: Any,
    news: Rows,
    head: Any,
    following: Any,
    keys: Any,
    places: Rows,
    records: Rows,
) -> Any:
    """Copies the cells from `first` on; returns the first that has no place or not room enough, or how many there are."""
    for index in range(first, len(cells)):
        start = ends[index - 1] if index else 0
        count = ends[index] - start
        place = find(cells[index], head, following, keys)
        if place < 0 or places[place]["room"] < count:
            return index
        to = places[place]["start"]
        for each in range(count):
            records[to + each] = news[start + each]
        crowded = count > crowd_entities
        if places[place]["crowded"] and not crowded:
            places[place]["thinned"] = tick
        places[place]["crowded"] = crowded
        places[place]["count"] = count
        places[place]["changed"] = tick
        if shuffled[index]:
            places[place]["shuffled"] = tick
    return len(cells)


# --- the frames -----------------------------------------------------------------------------------------------------------------------


@njit(cache=True)
def _sight(key: Any, radius: int, head: Any, following: Any, keys: Any, seen: Any, where: Any) -> Any:
    """Fills `seen` with the places around a cell and `where` with the steps to them; returns how many."""
    cx, cy = cell_at(key)
    count = 0
    for dy in range(-radius, radius + 1):
        for dx in range(-radius, radius + 1):
            place = find(key_of(cx + dx, cy + dy), head, following, keys)
            if place >= 0:
                seen[count] = place
                where[count] = (dx + STEP_ZERO) << 4 | (dy + STEP_ZERO)
                count += 1
    return count


@njit(cache=True)
def _bound(seen: Any, count: int, places: Rows, extras: Bytes, cast_bytes: Bytes) -> Any:
    """More bytes than any frame of these places can have."""
    size = FRAME_HEAD_MAX + SNAPSHOT_HEAD_MAX + len(extras) + len(cast_bytes)
    for index in range(count):
        size += BLOCK_HEAD_MAX + SNAPSHOT_HEAD_MAX + places[seen[index]]["count"] * RECORD_BYTES
    return size


@njit(cache=True)
def _put_casts(
    out: Bytes, at: int, own: Any, radius: int, casts: Rows, cast_cells: Any, cast_bytes: Bytes
) -> Any:
    """The messages for all who see one of some cells, as far as they are within `radius` of the cell `own`."""
    own_x, own_y = cell_at(own)
    cell = byte = 0
    for cast in range(len(casts)):
        while cell < casts[cast]["cells_end"]:
            cx, cy = cell_at(cast_cells[cell])
            cell += 1
            if abs(cx - own_x) <= radius and abs(cy - own_y) <= radius:
                at = _put_bytes(out, at, cast_bytes, byte, casts[cast]["bytes_end"])
                break
        cell, byte = casts[cast]["cells_end"], casts[cast]["bytes_end"]
    return at


@njit(cache=True)
def _compose(
    out: Bytes,
    start: int,
    end: int,
    blocks: Bytes,
    tick: int,
    own: int,
    rung: Any,
    seen: Any,
    where: Any,
    count: int,
    places: Rows,
    records: Rows,
    extra_start: Any,
    extra_end: Any,
    extras: Bytes,
) -> Any:
    """The frame for those who look from `own` on one rung: (start, end), the same where there is nothing to tell.

    After the messages that stand in [start, end) come the `appeared` of newcomers and the `crowd` messages, then one snapshot with the
    blocks of all cells. Before `start` there is room for the head.
    """
    size = 0
    for index in range(count):
        place = seen[index]
        column = rung["near"] if place == own else rung["far"]
        since = tick - _PERIODS[column]
        if tick % _PERIODS[column] or places[place]["changed"] <= since:
            continue
        named = places[place]["shuffled"] > since
        if rung["crowds"]:
            if places[place]["crowded"]:
                end = _put_cell_head(out, end, _CROWD, tick, places[place]["key"])
                end = _put_int(out, end, places[place]["count"])
                continue
            named = named or places[place]["thinned"] > since
        end = _put_bytes(out, end, extras, extra_start[place, column], extra_end[place, column])
        size = _put_block(
            blocks, size, where[index], records, places[place]["start"], places[place]["count"], named
        )
    if size:
        end = _put_cell_head(out, end, _SNAPSHOT, tick, places[own]["key"])
        end = _put_bin_head(out, end, size)
        end = _put_bytes(out, end, blocks, 0, size)
    if end == start:
        return start, start
    body = end - start
    start -= 2 if body < 126 else 4 if body < 65536 else 10
    _put_frame_head(out, start, body)
    return start, end


# --- the sends ------------------------------------------------------------------------------------------------------------------------


@njit(cache=True)
def _give(
    viewer: int,
    viewers: Rows,
    address: int,
    size: int,
    start: int,
    end: int,
    ack: int,
    back: Any,
    state: Any,
) -> None:
    """Sends `size` bytes at `address` to a viewer's socket; they are the shared frame [start, end) after acknowledgement `ack`.

    If the socket does not take all of it, `back` notes how much it took, and the frame is kept.
    """
    sent = np.int64(0)
    if viewers[viewer]["fd"] >= 0:
        sent = max(np.int64(0), np.int64(_send(viewers[viewer]["fd"], address, size, FLAGS)))
    state[WRITES] += 1
    state[BYTES] += size
    if sent < size:
        row = back[state[BACK]]
        row[0], row[1], row[2], row[3], row[4] = viewer, sent, start, end, ack
        state[BACK] += 1
        state[USED] = max(state[USED], end)


@njit(cache=True)
def _spread(
    tick: int,
    rungs: Rows,
    head: Any,
    following: Any,
    keys: Any,
    places: Rows,
    records: Rows,
    viewers: Rows,
    extra_start: Any,
    extra_end: Any,
    extras: Bytes,
    casts: Rows,
    cast_cells: Any,
    cast_bytes: Bytes,
    moved: Rows,
    bits: Any,
    out: Bytes,
    address: int,
    blocks: Bytes,
    spent: Any,
    back: Any,
    state: Any,
) -> Any:
    """Sends everyone their tick.

    False when `out` or `blocks` is too small for state[NEEDED] bytes; called again, it goes on from there.
    """
    seen = np.empty(SIGHT_MAX, np.int32)
    where = np.empty(SIGHT_MAX, np.int32)
    for own in range(state[PLACE], len(places)):
        state[PLACE] = own
        first = places[own]["viewers"]
        if first < 0:
            continue
        steps = 0
        viewer = first
        while viewer >= 0:
            steps |= 1 << viewers[viewer]["step"]
            viewer = viewers[viewer]["next"]
        for step in range(state[RESUMED_STEP], len(rungs)):
            if not steps >> step & 1:
                continue
            key, radius = places[own]["key"], rungs[step]["radius"]
            count = _sight(key, radius, head, following, keys, seen, where)
            needed = _bound(seen, count, places, extras, cast_bytes) + ACK_BYTES_MAX
            if state[USED] + 2 * needed > len(out) or needed > len(blocks):
                state[RESUMED_STEP], state[NEEDED] = step, needed
                return False
            start = state[USED] + FRAME_HEAD_MAX
            end = _put_casts(out, start, key, radius, casts, cast_cells, cast_bytes)
            if not steps & ((1 << step) - 1):  # once a tick: for the lowest rung
                places[own]["cast"] += end - start
            start, end = _compose(
                out, start, end, blocks, tick, own, rungs[step], seen, where, count, places, records,
                extra_start, extra_end, extras,
            )  # fmt: skip
            spent[own, step] += end - start
            viewer = first
            while viewer >= 0:
                if viewers[viewer]["step"] == step:
                    _serve(viewer, viewers, tick, moved, bits, out, address, start, end, back, state)
                viewer = viewers[viewer]["next"]
        state[RESUMED_STEP] = 0
    state[PLACE] = len(places)
    return True


@njit(cache=True)
def _serve(
    viewer: int,
    viewers: Rows,
    tick: int,
    moved: Rows,
    bits: Any,
    out: Bytes,
    address: int,
    start: int,
    end: int,
    back: Any,
    state: Any,
) -> None:
    """One viewer: their acknowledgement and the shared frame in one write; who is busy is told where the frame lies."""
    if viewers[viewer]["busy"]:
        viewers[viewer]["news_start"], viewers[viewer]["news_end"] = start, end
        state[USED] = max(state[USED], end)
        return
    ack = viewers[viewer]["ack"]
    if ack < 0:
        if end > start:
            _give(viewer, viewers, address + start, end - start, start, end, NOBODY, back, state)
        return
    viewers[viewer]["ack"] = NOBODY
    own_start = max(end, state[USED])  # not kept: the next one is written over it
    own_end = _put_moved(out, own_start, tick, moved, bits, ack)
    own_end = _put_bytes(out, own_end, out, start, end)
    _give(viewer, viewers, address + own_start, own_end - own_start, start, end, ack, back, state)


@njit(cache=True)
def _weigh(
    rungs: Rows,
    head: Any,
    following: Any,
    keys: Any,
    places: Rows,
    told: Any,
    frames: Any,
    fits: Any,
    bytes_max: float,
) -> None:
    """For each place somebody looks from: whether the last second would have fitted into `bytes_max` on each rung."""
    seen = np.empty(SIGHT_MAX, np.int32)
    where = np.empty(SIGHT_MAX, np.int32)
    for own in range(len(places)):
        if places[own]["viewers"] < 0:
            continue
        for step in range(len(rungs)):
            count = _sight(places[own]["key"], rungs[step]["radius"], head, following, keys, seen, where)
            size = frames[step] + places[own]["cast"]
            for index in range(count):
                place = seen[index]
                column = rungs[step]["near"] if place == own else rungs[step]["far"]
                size += told[place, column] + places[place]["named"]
            fits[own, step] = size <= bytes_max


@njit(cache=True)
def _tally(tick: int, places: Rows, told: Any) -> None:
    """Adds up what each cell's news come to at each period."""
    for place in range(len(places)):
        if places[place]["changed"] <= tick - _PERIODS[-1]:
            continue
        for column in range(len(_PERIODS)):
            since = tick - _PERIODS[column]
            if tick % _PERIODS[column] or places[place]["changed"] <= since:
                continue
            if column == CROWDS and places[place]["crowded"]:
                told[place, column] += CROWD_BYTES
            else:
                named = places[place]["shuffled"] > since
                told[place, column] += BLOCK_HEAD_MAX + places[place]["count"] * (8 if named else 4)


@njit(cache=True)
def _mark(moved: Rows, head: Any, following: Any, keys: Any, viewers: Rows) -> None:
    """Tells each viewer which acknowledgement is theirs."""
    for index in range(len(moved)):
        viewer = find(np.int64(moved[index]["player_id"]), head, following, keys)
        if viewer >= 0:
            viewers[viewer]["ack"] = index


# --- the arrays -----------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Back:
    """What a socket did not take: of the acknowledgement `ack` (NOBODY for none) and the frame after it, all from `sent` on."""

    viewer: int
    sent: int
    frame: bytes
    ack: int


class Fanout:
    """The arrays, and the loops over them. Places and viewers are named by their row.

    `rungs` is the ladder as RUNG rows; `crowd_entities` how many people a cell may hold before it counts as crowded;
    `sent` counts what was written.
    """

    def __init__(self, rungs: Rows, crowd_entities: int, sent: Sent) -> None:
        self._sent = sent
        self._changed_tick = NEVER  # when any cell last changed
        self._rungs = rungs
        self._crowd_entities = crowd_entities
        self.places: Rows = np.zeros(0, CELL)
        self.viewers: Rows = np.zeros(0, VIEWER)
        self._free_places: list[int] = []
        self._free_viewers: list[int] = []
        self._rooms: dict[int, list[int]] = {}  # free stretches of `records`, by their size
        self._records: Rows = np.zeros(RECORDS_MIN, RECORD)
        self._records_used = 0
        self._out: Bytes = np.zeros(OUT_BYTES_MIN, np.uint8)
        self._blocks: Bytes = np.zeros(OUT_BYTES_MIN, np.uint8)
        self._extras: Bytes = np.zeros(0, np.uint8)
        self._extra_rows: list[int] = []
        self.put_casts([])
        self.spent: NDArray[np.int64] = np.zeros(
            (0, len(rungs)), np.int64
        )  # bytes of frames by place and rung
        self._told: NDArray[np.int64] = np.zeros(
            (0, len(_PERIODS)), np.int64
        )  # bytes of blocks by place and period
        self._grow_places()
        self._grow_viewers()

    # --- places ---

    def find(self, key: int) -> int:
        """The place of a cell, NOBODY where it is unknown."""
        return int(find(key, self._grid.head, self._grid.next, self._grid.keys))

    def add_place(self, key: int) -> int:
        """A row for a cell that has none."""
        if not self._free_places:
            self._grow_places()
        place = self._free_places.pop()
        self._grid.enter(place, key)
        row = self.places[place]
        row["key"], row["start"], row["room"] = key, *self._room(0)
        row["count"] = row["crowded"] = row["named"] = row["cast"] = 0
        row["changed"] = row["shuffled"] = row["thinned"] = NEVER
        row["viewers"] = NOBODY
        self.spent[place] = self._told[place] = 0
        return place

    def remove_place(self, place: int) -> None:
        """Forgets a cell that nobody is in or looks from."""
        row = self.places[place]
        self._rooms.setdefault(int(row["room"]), []).append(int(row["start"]))
        row["changed"], row["thinned"], row["viewers"] = NEVER, NEVER, NOBODY
        self._grid.leave(place)
        self._free_places.append(place)

    def _room(self, count: int) -> tuple[int, int]:
        """Where so many records, and some more, have room: start and size, a power of two."""
        room = max(ROOM_MIN, 1 << (count - 1).bit_length()) if count else ROOM_MIN
        if free := self._rooms.get(room):
            return free.pop(), room
        start = self._records_used
        self._records_used += room
        while self._records_used > len(self._records):
            self._records = np.concatenate((self._records, np.zeros_like(self._records)))
        return start, room

    def _grow_places(self) -> None:
        size = max(START_ROWS, 2 * len(self.places))
        old, self.places = self.places, np.zeros(size, CELL)
        self.places[: len(old)] = old
        self.places["viewers"][len(old) :] = NOBODY
        self.places["changed"][len(old) :] = self.places["thinned"][len(old) :] = NEVER
        self._free_places = list(range(size - 1, len(old) - 1, -1))
        self._grid = Grid(size)
        for place in range(len(old)):
            self._grid.enter(place, int(old[place]["key"]))
        spent, told = np.zeros((size, len(self._rungs)), np.int64), np.zeros((size, len(_PERIODS)), np.int64)
        spent[: len(old)], told[: len(old)] = self.spent, self._told
        self.spent, self._told = spent, told
        self._fits = np.zeros((size, len(self._rungs)), np.bool_)
        self._extra_start = np.zeros((size, len(_PERIODS)), np.int64)
        self._extra_end = np.zeros((size, len(_PERIODS)), np.int64)

    # --- viewers ---

    def add_viewer(self, player_id: int, fd: int, step: int) -> int:
        """A row for a client that begins to see, from no place yet."""
        if not self._free_viewers:
            self._grow_viewers()
        viewer = self._free_viewers.pop()
        self._by_id.enter(viewer, player_id)
        row = self.viewers[viewer]
        row["player_id"], row["fd"], row["step"], row["own_step"] = player_id, fd, step, 0
        row["place"] = row["next"] = row["prev"] = row["ack"] = NOBODY
        row["busy"] = row["news_start"] = row["news_end"] = 0
        return viewer

    def remove_viewer(self, viewer: int) -> None:
        """The client is gone."""
        self.look_away(viewer)
        self.viewers[viewer]["fd"] = NO_SOCKET
        self._by_id.leave(viewer)
        self._free_viewers.append(viewer)

    def look_from(self, viewer: int, place: int) -> None:
        """Moves a viewer to a place."""
        self.look_away(viewer)
        row, here = self.viewers[viewer], self.places[place]
        first = int(here["viewers"])
        row["place"], row["next"], row["prev"] = place, first, NOBODY
        if first >= 0:
            self.viewers[first]["prev"] = viewer
        here["viewers"] = viewer

    def look_away(self, viewer: int) -> None:
        """Takes a viewer out of the list of its place, if it is in one."""
        row = self.viewers[viewer]
        place, after, before = int(row["place"]), int(row["next"]), int(row["prev"])
        if place == NOBODY:
            return
        if before >= 0:
            self.viewers[before]["next"] = after
        else:
            self.places[place]["viewers"] = after
        if after >= 0:
            self.viewers[after]["prev"] = before
        row["place"] = NOBODY

    def _grow_viewers(self) -> None:
        size = max(START_ROWS, 2 * len(self.viewers))
        old, self.viewers = self.viewers, np.zeros(size, VIEWER)
        self.viewers[: len(old)] = old
        self.viewers["ack"][len(old) :] = NOBODY
        self._free_viewers = list(range(size - 1, len(old) - 1, -1))
        self._by_id = Grid(size)
        for viewer in range(len(old)):
            self._by_id.enter(viewer, int(old[viewer]["player_id"]))
        self._back = np.zeros((size, 5), np.int64)

    # --- the tick ---

    def take(self, frame: TickFrame) -> list[tuple[int, int]]:
        """Takes in the cells that changed; returns the keys and places of those that were unknown."""
        cells = np.frombuffer(frame.cells, np.int64)
        shuffled = np.frombuffer(frame.shuffled, np.uint8)
        ends = np.frombuffer(frame.ends, np.int32)
        news = np.frombuffer(frame.records, RECORD)
        if len(cells):
            self._changed_tick = frame.tick
        added, done = [], 0
        while done < len(cells):
            done = _take(
                done, frame.tick, self._crowd_entities, cells, shuffled, ends, news,
                self._grid.head, self._grid.next, self._grid.keys, self.places, self._records,
            )  # fmt: skip
            if done < len(cells):
                key, count = int(cells[done]), int(ends[done] - (ends[done - 1] if done else 0))
                if self.find(key) == NOBODY:
                    added.append((key, self.add_place(key)))
                self._make_room(self.find(key), count)
        return added

    def _make_room(self, place: int, count: int) -> None:
        row = self.places[place]
        if row["room"] < count:
            self._rooms.setdefault(int(row["room"]), []).append(int(row["start"]))
            row["start"], row["room"] = self._room(count)

    def thinned(self, tick: int) -> list[int]:
        """The places that are no longer crowded since `tick`."""
        found: list[int] = np.nonzero(self.places["thinned"] == tick)[0].tolist()
        return found

    def put_extras(self, extras: dict[int, tuple[bytes, ...]]) -> None:
        """For the next `spread`: what is told before the blocks of some places, a column for each of EXTRA_PERIODS."""
        at, pieces = 0, list[bytes]()
        for place in self._extra_rows:
            self._extra_start[place] = self._extra_end[place] = 0
        self._extra_rows = list(extras)
        for place, columns in extras.items():
            for column, piece in enumerate(columns):
                self._extra_start[place, column], self._extra_end[place, column] = at, at + len(piece)
                at += len(piece)
            pieces += columns
        self._extras = np.frombuffer(b"".join(pieces), np.uint8)

    def put_casts(self, casts: Sequence[tuple[Sequence[int], bytes]]) -> None:
        """For the next `spread`: (keys of cells, message), each for all who see one of the cells; they are told in this order."""
        self._casts: Rows = np.zeros(len(casts), CAST)
        self._casts["cells_end"] = np.cumsum([len(keys) for keys, _ in casts])
        self._casts["bytes_end"] = np.cumsum([len(message) for _, message in casts])
        self._cast_cells = np.array([key for keys, _ in casts for key in keys], np.int64)
        self._cast_bytes = np.frombuffer(b"".join(message for _, message in casts), np.uint8)

    def spread(self, tick: int, moved: Rows, busy: list[int]) -> list[Back]:
        """Sends everyone who is not `busy` their tick; what could not be sent comes back. `moved` are MOVED records.

        Afterwards `news` and `ack_of` tell what is left to the busy.
        """
        if not (len(moved) or len(self._casts)) and self._changed_tick <= tick - PERIODS[-1]:
            self.viewers["news_end"][busy] = self.viewers["news_start"][busy] = 0
            return []
        _tally(tick, self.places, self._told)
        _mark(moved, self._by_id.head, self._by_id.next, self._by_id.keys, self.viewers)
        self.viewers["busy"][busy] = 1
        bits = np.stack((moved["x"], moved["y"]), axis=1).view(np.uint64)
        state = np.zeros(7, np.int64)
        while not _spread(
            tick, self._rungs, self._grid.head, self._grid.next, self._grid.keys, self.places, self._records,
            self.viewers, self._extra_start, self._extra_end, self._extras, self._casts, self._cast_cells,
            self._cast_bytes, moved, bits,
            self._out, self._out.ctypes.data, self._blocks, self.spent, self._back, state,
        ):  # fmt: skip
            self._enlarge(int(state[USED]), int(state[NEEDED]))
        self.viewers["busy"][busy] = 0
        self._sent.add(int(state[WRITES]), int(state[BYTES]))
        return [
            Back(viewer, sent, self._out[start:end].tobytes(), ack)
            for viewer, sent, start, end, ack in self._back[: state[BACK]].tolist()
        ]

    def _enlarge(self, used: int, needed: int) -> None:
        """Room for a frame of so many bytes after what is kept, which stays where it is."""
        more = used + 2 * needed - len(self._out)
        if more > 0:
            self._out = np.concatenate((self._out, np.zeros(max(len(self._out), more), np.uint8)))
        if needed > len(self._blocks):
            self._blocks = np.zeros(2 * needed, np.uint8)

    def news(self, viewer: int) -> bytes:
        """The frame that a busy viewer would have been sent by the last `spread`."""
        row = self.viewers[viewer]
        return self._out[row["news_start"] : row["news_end"]].tobytes()

    def ack_of(self, viewer: int) -> int:
        """Which of the last `moved` is a busy viewer's, NOBODY for none; asked once."""
        ack = int(self.viewers[viewer]["ack"])
        self.viewers[viewer]["ack"] = NOBODY
        return ack

    def weigh(self, frames: list[int], bytes_max: float) -> NDArray[np.bool_]:
        """For each place and rung: whether the last second would have fitted into `bytes_max`, `frames` bytes for the frames' heads.

        A second begins anew.
        """
        _weigh(
            self._rungs, self._grid.head, self._grid.next, self._grid.keys, self.places, self._told,
            np.array(frames, np.int64), self._fits, bytes_max,
        )  # fmt: skip
        self._told[:] = 0
        self.places["named"] = self.places["cast"] = 0
        return self._fits

    def whole(self, place: int) -> Rows:
        """The records of a place."""
        row = self.places[place]
        return self._records[row["start"] : row["start"] + row["count"]]
