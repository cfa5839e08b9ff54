"""The rules of building: who may place and take away what, on the surface over the ground (tiles.py).

Admins build anywhere; others where a parcel lets them. All tiles of an edit are looked at before one is changed. What one built last
can be taken back, edit after edit, as long as one stays in the world; tiles that somebody changed since are left as they are.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from protocol.edits import CHUNK_EDIT, CHUNK_EDIT_FIELDS, pack
from protocol.errors import Refusal, RefusalCode
from protocol.messages import PLOT_TILES, Role, Standing, TileEdit, TilesEdited, TileUndo
from protocol.snapshot import CELL_TILES
from world import tiles
from world.commands import Act
from world.entries import Built, Change, Outcome, version_of
from world.grid import pack as key_of
from world.grid import unpack as cell_of
from world.parcels import Parcel, Rectangle, cells_of, plot_at, plots_in
from world.sales import Auction
from world.state import State, Undo
from world.tiles import BUILD_WALK, Build, TileRow

UNDO_EDITS_MAX = 20  # of one player
assert max(Build) < 16, "what is kept of a build has half a byte a tile"


def edit(state: State, act: Act, request: TileEdit) -> Outcome:
    """Places and takes away, all or nothing."""
    try:
        rows = tiles.check(request.edits)
    except ValueError as error:
        raise Refusal(RefusalCode.BAD_REQUEST, str(error)) from None
    if act.role is not Role.ADMIN:
        for x, y, kind in _first_of_each(rows):
            check_may_build(state, act.player_id, x, y, kind)
    return Outcome(TilesEdited(len(rows)), list(_built(state, tiles.by_chunk(rows))))


def _first_of_each(rows: list[TileRow]) -> Iterable[TileRow]:
    """Of each kind on each plot the first: a rule that allows it allows the others."""
    firsts: dict[TileRow, TileRow] = {}
    for x, y, kind in rows:
        firsts.setdefault((x // PLOT_TILES, y // PLOT_TILES, kind), (x, y, kind))
    return firsts.values()


def check_may_build(state: State, player_id: int, x: int, y: int, kind: int) -> None:
    """Raises Refusal: which rule of which parcel, and who can change it."""
    parcel = state.parcels.at(x, y)
    if parcel is None:
        text = f"Tile ({x}, {y}) is nobody's land: claim it, and you may build there."
        raise Refusal(RefusalCode.NOT_OWNER, text)
    if isinstance(state.sales.on(parcel.parcel_id), Auction):
        text = f"Tile ({x}, {y}): nobody builds on {_called(parcel)} while it is in an auction."
        raise Refusal(RefusalCode.NOT_ALLOWED, text)
    if not (parcel.open_build or parcel.standing(player_id) >= Standing.BUILDER):
        raise Refusal(RefusalCode.NOT_OWNER, f"Tile ({x}, {y}): only builders of {_named(parcel)}")
    if not BUILD_WALK.get(Build(kind), 1) and plot_at(x, y) in state.parcels.ways:
        text = f"Tile ({x}, {y}) is part of a way for everybody; build nothing there that stops them."
        raise Refusal(RefusalCode.NOT_ALLOWED, text)


def _named(parcel: Parcel) -> str:
    return f"{_called(parcel)} may build there; ask {parcel.holder_name}."


def _called(parcel: Parcel) -> str:
    return f"“{parcel.name}”" if parcel.name else f"parcel {parcel.parcel_id}"


def undo(state: State, act: Act, _: TileUndo) -> Outcome:
    """Takes one's own last edit back, as far as it still stands and one may still build there."""
    edits = state.undo.get(act.player_id)
    if not edits:
        raise Refusal(RefusalCode.NOT_FOUND, "There is nothing of yours left to take back.")
    back: dict[int, list[tuple[int, int]]] = {}
    for key, tile, before, after in edits[-1]:
        if kind_at(state, key, tile) == after and _may_put(state, act, key, tile, before):
            back.setdefault(key, []).append((tile, before))
    count = sum(map(len, back.values()))
    packed = {key: pack(changes, CHUNK_EDIT) for key, changes in back.items()}
    return Outcome(TilesEdited(count), list(_built(state, packed)))


def _may_put(state: State, act: Act, key: int, tile: int, kind: int) -> bool:
    """Whether somebody may build this on a tile of a chunk."""
    if act.role is Role.ADMIN:
        return True
    try:
        check_may_build(state, act.player_id, *_place(key, tile), kind)
    except Refusal:
        return False
    return True


def remember(state: State, act: Act, changes: Iterable[Change]) -> None:
    """To be called before an edit is applied: keeps what takes it back; an undo has taken it back. Whoever left has nothing kept."""
    if isinstance(act.request, TileUndo):
        state.undo[act.player_id].pop()
        return
    if act.player_id not in state.players.slot_of:
        return
    edits: Undo = []
    for built in changes:
        assert isinstance(built, Built)
        key, after = key_of(built.cx, built.cy), dict(CHUNK_EDIT_FIELDS.iter_unpack(built.edits))
        edits += [(key, tile, kind_at(state, key, tile), kind) for tile, kind in after.items()]
    state.undo.setdefault(act.player_id, deque(maxlen=UNDO_EDITS_MAX)).append(edits)


def kind_at(state: State, key: int, tile: int) -> int:
    """The Build on a tile of a chunk."""
    surface = state.chunks.surfaces.get(key)
    return Build.NOTHING if surface is None else surface.at(tile)


def _built(state: State, by_chunk: dict[int, bytes]) -> Iterator[Built]:
    for key, packed in by_chunk.items():
        version = version_of(state, key) + len(packed) // CHUNK_EDIT.itemsize
        yield Built(*cell_of(key), version, packed)


def _place(key: int, tile: int) -> tuple[int, int]:
    cx, cy = cell_of(key)
    return cx * CELL_TILES + tile % CELL_TILES, cy * CELL_TILES + tile // CELL_TILES


# --- rectangles of plots ---


def kinds_on(state: State, rectangle: Rectangle) -> NDArray[np.uint8]:
    """u8[height, width]: the Build on each tile of a rectangle of plots."""
    left, top, width, height = (value * PLOT_TILES for value in rectangle)
    kinds = np.zeros((height, width), np.uint8)
    for key in cells_of(plots_in(*rectangle)):
        surface = state.chunks.surfaces.get(key)
        if surface is None:
            continue
        cx, cy = cell_of(key)
        x, y = cx * CELL_TILES - left, cy * CELL_TILES - top  # of the chunk, from the rectangle's corner
        rows = slice(max(0, y), min(height, y + CELL_TILES))
        columns = slice(max(0, x), min(width, x + CELL_TILES))
        kinds[rows, columns] = surface.standing()[
            rows.start - y : rows.stop - y, columns.start - x : columns.stop - x
        ]
    return kinds


def anything_stands(state: State, rectangle: Rectangle) -> bool:
    """Whether something is built on a rectangle of plots."""
    return bool(kinds_on(state, rectangle).any())


def rebuilt(state: State, rectangle: Rectangle, kinds: NDArray[np.uint8] | int) -> list[Built]:
    """What makes a rectangle of plots look so: u8[height, width], or the same everywhere. Touches only what is another now."""
    ys, xs = np.nonzero(kinds_on(state, rectangle) != kinds)
    places = (xs + rectangle[0] * PLOT_TILES).tolist(), (ys + rectangle[1] * PLOT_TILES).tolist()
    wanted = [kinds] * len(xs) if isinstance(kinds, int) else kinds[ys, xs].tolist()
    return list(_built(state, tiles.by_chunk(zip(*places, wanted, strict=True))))


def cleared(state: State, rectangle: Rectangle) -> list[Built]:
    """What takes away all that stands on a rectangle of plots."""
    return rebuilt(state, rectangle, Build.NOTHING.value)


def kept(state: State, rectangle: Rectangle) -> bytes:
    """What stands on a rectangle of plots: a bit a plot, row by row, whether anything does, then half a byte a tile of those; empty
    where all is bare.
    """
    blocks = _by_plot(kinds_on(state, rectangle))
    stands = blocks.any(axis=1)
    if not stands.any():
        return b""
    halves = blocks[stands]
    return np.packbits(stands).tobytes() + (halves[:, ::2] | halves[:, 1::2] << 4).tobytes()


def put_back(state: State, rectangle: Rectangle, build: bytes) -> list[Built]:
    """What makes a rectangle of plots look as it did when `build` was kept."""
    _, _, pw, ph = rectangle
    blocks = np.zeros((pw * ph, PLOT_TILES * PLOT_TILES), np.uint8)
    head = -(-pw * ph // 8)
    if build:
        stands = np.unpackbits(np.frombuffer(build[:head], np.uint8), count=pw * ph).astype(np.bool_)
        packed = np.frombuffer(build[head:], np.uint8).reshape(-1, PLOT_TILES * PLOT_TILES // 2)
        blocks[stands] = np.stack((packed & 15, packed >> 4), axis=2).reshape(len(packed), -1)
    kinds = blocks.reshape(ph, pw, PLOT_TILES, PLOT_TILES).swapaxes(1, 2)
    return rebuilt(state, rectangle, kinds.reshape(ph * PLOT_TILES, pw * PLOT_TILES))


def _by_plot(kinds: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """u8[plots, 256] of u8[height, width]."""
    height, width = kinds.shape
    plots = kinds.reshape(height // PLOT_TILES, PLOT_TILES, width // PLOT_TILES, PLOT_TILES)
    return plots.swapaxes(1, 2).reshape(-1, PLOT_TILES * PLOT_TILES)


RULES: dict[type, Callable[[State, Act, Any], Outcome]] = {TileEdit: edit, TileUndo: undo}
