"""What is built on the land: the surface layer over the ground, chunk by chunk.

The ground follows from the seed and never changes; what people build lies on top of it and is all that has to be stored. A chunk's
version is 1 while nobody has ever built there and grows by one with each edit, also with one that changes nothing, so that whoever
counts a chunk's edits knows its version.

Who holds version v is brought up to date with the edits since v, as long as those are kept (EDITS_KEPT_MAX), and after that with every
tile that was ever edited, as it is now: applied over any older version it gives the same. So one rule serves all clients.

    surface[tile]   a Build; 0 where nothing is built. tile = y * 32 + x
"""

from collections.abc import Iterable
from enum import IntEnum
from typing import Self

import numpy as np
from numpy.typing import NDArray

from protocol.edits import CHUNK_EDIT, CHUNK_EDIT_FIELDS, TILE_EDIT, TILE_EDIT_FIELDS, unpack
from protocol.messages import WORLD_TILES_MAX
from protocol.snapshot import CELL_TILES
from world import grid

VERSION_BARE = 1
EDITS_KEPT_MAX = 256  # a chunk; 3 bytes each
NEVER_EDITED = 255  # no Build: nobody ever built on this tile


class Build(IntEnum):
    """What stands or lies on a tile."""

    NOTHING = 0
    PATH = 1
    PAVING = 2
    FLOOR = 3
    WALL = 4
    FENCE = 5
    HEDGE = 6


KIND_LAST = max(Build)
TileRow = tuple[int, int, int]  # x, y of a tile of the world, Build

# Percent of full walking speed, in place of the ground's; 0 blocks. A floor is a bridge where there is water below.
BUILD_WALK: dict[Build, int] = {
    Build.PATH: 100,
    Build.PAVING: 100,
    Build.FLOOR: 100,
    Build.WALL: 0,
    Build.FENCE: 0,
    Build.HEDGE: 0,
}

_WALK = np.array([BUILD_WALK.get(build, 0) for build in Build], np.uint8)


class Surface:
    """What is built on one chunk: a byte a tile, whoever keeps it; the world, the connection side and the store each have their own."""

    __slots__ = ("_kinds", "_log", "version")

    def __init__(self) -> None:
        self.version = VERSION_BARE
        self._kinds = bytearray((NEVER_EDITED,)) * (CELL_TILES * CELL_TILES)
        self._log = b""  # the last edits, packed

    def apply(self, edits: bytes) -> None:
        """Takes in packed CHUNK_EDIT records, in order, and keeps the last for whoever comes from an older version."""
        self.put(edits)
        self._log = (self._log + edits)[-EDITS_KEPT_MAX * CHUNK_EDIT.itemsize :]

    def put(self, edits: bytes) -> None:
        """The same, and keeps none."""
        for tile, kind in CHUNK_EDIT_FIELDS.iter_unpack(edits):
            self._kinds[tile] = kind
        self.version += len(edits) // CHUNK_EDIT.itemsize

    @classmethod
    def recalled(cls, version: int, edits: bytes) -> Self:
        """A surface as it was stored: its version, and each edited tile once. How it came to that is not known any more."""
        surface = cls()
        surface.put(edits)
        surface.version = version
        return surface

    def copy(self) -> Self:
        """The same version of it, without the edits that led there."""
        copied = type(self)()
        copied.version, copied._kinds = self.version, self._kinds[:]
        return copied

    @property
    def tiles(self) -> int:
        """How many tiles were ever edited."""
        return len(self._kinds) - self._kinds.count(NEVER_EDITED)

    def at(self, tile: int) -> int:
        """The Build on a tile."""
        kind = self._kinds[tile]
        return Build.NOTHING if kind == NEVER_EDITED else kind

    def standing(self) -> NDArray[np.uint8]:
        """u8[32, 32]: the Build on each tile."""
        kinds = np.frombuffer(self._kinds, np.uint8).reshape(CELL_TILES, CELL_TILES)
        return np.where(kinds == NEVER_EDITED, np.uint8(Build.NOTHING), kinds)

    def edited(self) -> bytes:
        """Every tile ever edited, once, as it is now: packed CHUNK_EDIT records."""
        kinds = np.frombuffer(self._kinds, np.uint8)
        tiles = np.flatnonzero(kinds != NEVER_EDITED)
        records = np.empty(len(tiles), CHUNK_EDIT)
        records["tile"], records["kind"] = tiles, kinds[tiles]
        return records.tobytes()

    def since(self, version: int) -> bytes:
        """What brings a holder of `version` (1 to the newest) up to date: the edits made since, or each edited tile once."""
        size = (self.version - version) * CHUNK_EDIT.itemsize
        return self.edited() if size > len(self._log) else self._log[len(self._log) - size :]


def lay(edits: bytes, ground: NDArray[np.uint8], walk: NDArray[np.uint8]) -> None:
    """Sets the walking speeds of edited tiles in `walk`; `ground` has the bare ground's. Both u8[32, 32] in percent, contiguous."""
    records = unpack(edits, CHUNK_EDIT)
    tiles, kinds = records["tile"], records["kind"]
    # Of a tile named twice the last counts: numpy assigns in order.
    walk.reshape(-1)[tiles] = np.where(kinds == Build.NOTHING, ground.reshape(-1)[tiles], _WALK[kinds])


def check(edits: bytes) -> list[TileRow]:
    """Packed TILE_EDIT records as rows. Raises ValueError, in words for a person, for what nobody may build anywhere."""
    if len(edits) % TILE_EDIT.itemsize:
        raise ValueError(f"The edits must be whole records of {TILE_EDIT.itemsize} bytes.")
    rows: list[TileRow] = list(TILE_EDIT_FIELDS.iter_unpack(edits))
    for x, y, kind in rows:
        if not (-WORLD_TILES_MAX <= x < WORLD_TILES_MAX and -WORLD_TILES_MAX <= y < WORLD_TILES_MAX):
            raise ValueError("One of these tiles lies outside the world.")
        if kind > KIND_LAST:
            raise ValueError("Nothing of this kind can be built; see Build in the protocol.")
    return rows


def by_chunk(rows: Iterable[TileRow]) -> dict[int, bytes]:
    """Rows of `check` as packed CHUNK_EDIT records by the key of their chunk, each chunk's in their order."""
    found: dict[int, list[bytes]] = {}
    for x, y, kind in rows:
        key, tile = grid.pack(x // CELL_TILES, y // CELL_TILES), y % CELL_TILES * CELL_TILES + x % CELL_TILES
        found.setdefault(key, []).append(CHUNK_EDIT_FIELDS.pack(tile, kind))
    return {key: b"".join(edits) for key, edits in found.items()}
