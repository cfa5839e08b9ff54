"""The rules of building: who may place and take away what, on the surface over the ground (tiles.py).

Admins build anywhere; others where a parcel lets them. All tiles of an edit are looked at before one is changed. What one built last
can be taken back, edit after edit, as long as one stays in the world; tiles that somebody changed since are left as they are.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from protocol.edits import CHUNK_EDIT, pack, unpack
from protocol.errors import Refusal, RefusalCode
from protocol.messages import PLOT_TILES, Role, Standing, TileEdit, TilesEdited, TileUndo
from protocol.snapshot import CELL_TILES
from world import tiles
from world.commands import Act
from world.entries import Built, Change, Outcome, version_of
from world.grid import pack as key_of
from world.grid import unpack as cell_of
from world.parcels import Parcel
from world.state import State, Undo
from world.tiles import Build

UNDO_EDITS_MAX = 20  # of one player


def edit(state: State, act: Act, request: TileEdit) -> Outcome:
    """Places and takes away, all or nothing."""
    try:
        records = tiles.check(request.edits)
    except ValueError as error:
        raise Refusal(RefusalCode.BAD_REQUEST, str(error)) from None
    if act.role is not Role.ADMIN:
        for x, y in dict.fromkeys(zip(records["x"].tolist(), records["y"].tolist(), strict=True)):
            check_may_build(state, act.player_id, x, y)
    return Outcome(TilesEdited(len(records)), list(_built(state, tiles.by_chunk(records))))


def check_may_build(state: State, player_id: int, x: int, y: int) -> None:
    """Raises Refusal: which rule of which parcel, and who can change it."""
    parcel = state.parcels.at(x, y)
    if parcel is None:
        text = f"Tile ({x}, {y}) is nobody's land: claim it, and you may build there."
        raise Refusal(RefusalCode.NOT_OWNER, text)
    if not (parcel.open_build or parcel.standing(player_id) >= Standing.BUILDER):
        raise Refusal(RefusalCode.NOT_OWNER, f"Tile ({x}, {y}): only builders of {_named(parcel)}")


def _named(parcel: Parcel) -> str:
    called = f"“{parcel.name}”" if parcel.name else f"parcel {parcel.parcel_id}"
    return f"{called} may build there; ask {parcel.owner_name}."


def undo(state: State, act: Act, _: TileUndo) -> Outcome:
    """Takes one's own last edit back, as far as it still stands and one may still build there."""
    edits = state.undo.get(act.player_id)
    if not edits:
        raise Refusal(RefusalCode.NOT_FOUND, "There is nothing of yours left to take back.")
    back: dict[int, list[tuple[int, int]]] = {}
    for key, tile, before, after in edits[-1]:
        if kind_at(state, key, tile) == after:
            back.setdefault(key, []).append((tile, before))
    if act.role is not Role.ADMIN:
        for key, changes in back.items():
            for tile, _before in changes:
                check_may_build(state, act.player_id, *_place(key, tile))
    count = sum(map(len, back.values()))
    packed = {key: pack(changes, CHUNK_EDIT) for key, changes in back.items()}
    return Outcome(TilesEdited(count), list(_built(state, packed)))


def remember(state: State, act: Act, changes: Iterable[Change]) -> None:
    """To be called before an edit is applied: keeps what takes it back; an undo has taken it back."""
    if isinstance(act.request, TileUndo):
        state.undo[act.player_id].pop()
        return
    edits: Undo = []
    for built in changes:
        assert isinstance(built, Built)
        key, after = key_of(built.cx, built.cy), dict(unpack(built.edits, CHUNK_EDIT).tolist())
        edits += [(key, tile, kind_at(state, key, tile), kind) for tile, kind in after.items()]
    state.undo.setdefault(act.player_id, deque(maxlen=UNDO_EDITS_MAX)).append(edits)


def kind_at(state: State, key: int, tile: int) -> int:
    """The Build on a tile of a chunk."""
    surface = state.chunks.surfaces.get(key)
    return Build.NOTHING if surface is None else surface.kinds.get(tile, Build.NOTHING)


def _built(state: State, by_chunk: dict[int, bytes]) -> Iterator[Built]:
    for key, packed in by_chunk.items():
        version = version_of(state, key) + len(packed) // CHUNK_EDIT.itemsize
        yield Built(*cell_of(key), version, packed)


def _place(key: int, tile: int) -> tuple[int, int]:
    cx, cy = cell_of(key)
    return cx * CELL_TILES + tile % CELL_TILES, cy * CELL_TILES + tile // CELL_TILES


# --- rectangles of plots ---


def standing_in(state: State, px: int, py: int, pw: int, ph: int) -> dict[int, list[tuple[int, int]]]:
    """(tile, Build) of all that stands on a rectangle of plots, by chunk."""
    found: dict[int, list[tuple[int, int]]] = {}
    left, top, right, bottom = (value * PLOT_TILES for value in (px, py, px + pw, py + ph))
    for cx in range(left // CELL_TILES, (right - 1) // CELL_TILES + 1):
        for cy in range(top // CELL_TILES, (bottom - 1) // CELL_TILES + 1):
            key = key_of(cx, cy)
            surface = state.chunks.surfaces.get(key)
            if surface is None:
                continue
            stands = [
                (tile, kind)
                for tile, kind in sorted(surface.kinds.items())
                if kind != Build.NOTHING
                and left <= cx * CELL_TILES + tile % CELL_TILES < right
                and top <= cy * CELL_TILES + tile // CELL_TILES < bottom
            ]
            if stands:
                found[key] = stands
    return found


def anything_stands(state: State, rectangle: tuple[int, int, int, int]) -> bool:
    """Whether something is built on a rectangle of plots."""
    return bool(standing_in(state, *rectangle))


def cleared(state: State, rectangle: tuple[int, int, int, int]) -> Iterator[Built]:
    """What takes away all that stands on a rectangle of plots."""
    bare: Iterable[tuple[int, Any]] = standing_in(state, *rectangle).items()
    packed = {key: pack([(tile, Build.NOTHING) for tile, _ in stands], CHUNK_EDIT) for key, stands in bare}
    return _built(state, packed)


RULES: dict[type, Callable[[State, Act, Any], Outcome]] = {TileEdit: edit, TileUndo: undo}
