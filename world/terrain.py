"""Chunks of the land: what the server streams, the browser draws and `landworld map` pictures.

A chunk is CHUNK_TILES x CHUNK_TILES tiles; chunk (cx, cy) covers the tiles from cx * 32 and cy * 32 on, and y grows south. The same
seed gives the same bytes on every run, Python and processor (world/landscape.py says how). Nobody else repeats the rule of
climate and colour: the finished colours travel.

The payload (`encode`), little-endian, in this order:

    ground    u8[1024]          Ground, row by row (y * 32 + x)
    walk      u8[1024]          percent of full walking speed, 0 = blocked: ground and objects together
    height    u8[1024]  delta   0..255, the sea lies at SEA_LEVEL
    shade     u8[1024]  delta   light from the north-west, 128 = flat
    red       u8[1024]  delta   the ground's colour before the light
    green     u8[1024]  delta
    blue      u8[1024]  delta
    objects   u16 count, then count x {tile u16, kind u8, dx u8, dy u8, size u8}, sorted by y then x

An object stands at its tile + dx / 256, dy / 256; size 128 is normal. "delta": each value minus the one before it, modulo 256 (the
first as it is), so that zlib gets small numbers; a running sum undoes it.
"""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray
from opensimplex.internals import _init

from protocol.messages import CHUNKS_MAX
from protocol.snapshot import CELL_TILES
from world import landscape

CHUNK_TILES = CELL_TILES
SEA_LEVEL = landscape.SEA_LEVEL


class Ground(IntEnum):
    """What one walks on."""

    DEEP_WATER = landscape.DEEP_WATER
    WATER = landscape.WATER
    SHALLOWS = landscape.SHALLOWS
    RIVER = landscape.STREAM
    SAND = landscape.SAND
    GRASS = landscape.GRASS
    SCRUB = landscape.SCRUB
    WOOD = landscape.WOOD
    MARSH = landscape.MARSH
    TUNDRA = landscape.TUNDRA
    ROCK = landscape.ROCK
    SNOW = landscape.SNOW


class ObjectKind(IntEnum):
    """What stands on the ground."""

    CONIFER = landscape.CONIFER
    BROADLEAF = landscape.BROADLEAF
    PALM = landscape.PALM
    BUSH = landscape.BUSH
    DEAD_TREE = landscape.DEAD_TREE
    CACTUS = landscape.CACTUS
    BOULDER = landscape.BOULDER
    FLOWER = landscape.FLOWER
    REED = landscape.REED


# Fraction of full speed; 0 blocks the way. Rivers and shallows are slow fords.
GROUND_SPEED: dict[Ground, float] = {
    Ground.DEEP_WATER: 0.0,
    Ground.WATER: 0.0,
    Ground.SHALLOWS: 0.4,
    Ground.RIVER: 0.4,
    Ground.SAND: 0.85,
    Ground.GRASS: 1.0,
    Ground.SCRUB: 1.0,
    Ground.WOOD: 0.85,
    Ground.MARSH: 0.6,
    Ground.TUNDRA: 0.9,
    Ground.ROCK: 0.7,
    Ground.SNOW: 0.6,
}

# What an object leaves of its tile's speed.
OBJECT_SPEED: dict[ObjectKind, float] = {
    ObjectKind.CONIFER: 0.6,
    ObjectKind.BROADLEAF: 0.6,
    ObjectKind.PALM: 0.7,
    ObjectKind.BUSH: 0.8,
    ObjectKind.DEAD_TREE: 0.7,
    ObjectKind.CACTUS: 0.6,
    ObjectKind.BOULDER: 0.0,
    ObjectKind.FLOWER: 1.0,
    ObjectKind.REED: 1.0,
}

OBJECT_RECORD = np.dtype([("tile", "<u2"), ("kind", "u1"), ("dx", "u1"), ("dy", "u1"), ("size", "u1")])

_GROUND_FRACTIONS = np.array([GROUND_SPEED[ground] for ground in Ground])
_OBJECT_FRACTIONS = np.array([OBJECT_SPEED[kind] for kind in ObjectKind])


@dataclass(frozen=True, slots=True)
class Chunk:
    """One chunk. Arrays are [32, 32] by (y, x), u8; `colour` [32, 32, 3]; `objects` records of OBJECT_RECORD."""

    cx: int
    cy: int
    ground: NDArray[np.uint8]
    height: NDArray[np.uint8]
    shade: NDArray[np.uint8]
    colour: NDArray[np.uint8]
    objects: NDArray[np.void]


class Terrain:
    """The land of one seed. Stateless after construction: `generate` may be called from any thread, and runs without the lock."""

    def __init__(self, seed: int) -> None:
        """Take any whole number as seed; the search for a pleasant (0, 0) takes some milliseconds once compiled."""
        self.seed = seed
        self._perm: NDArray[np.int64] = _init(seed)[0]
        self._salt = seed & 0x7FFFFFFF
        self.shift_x, self.shift_y, _ = landscape.find_beginning(self._perm)

    @staticmethod
    def warm_up() -> None:
        """Compile the land's kernels (seconds, on the first start only: the machine code stays on disk)."""
        Terrain(0).generate(0, 0)

    def generate(self, cx: int, cy: int) -> Chunk:
        """The chunk at (cx, cy). Raises ValueError outside the world."""
        if min(cx, cy) < -CHUNKS_MAX or max(cx, cy) >= CHUNKS_MAX:
            raise ValueError(
                f"chunk ({cx}, {cy}) lies outside the world: coordinates run from {-CHUNKS_MAX}"
                f" to {CHUNKS_MAX - 1}"
            )
        planes, objects = landscape.paint(
            self._perm,
            self._salt,
            cx * CHUNK_TILES + self.shift_x,
            cy * CHUNK_TILES + self.shift_y,
            CHUNK_TILES,
            CHUNK_TILES,
        )
        records = landscape.pack(objects, CHUNK_TILES).view(OBJECT_RECORD).reshape(-1)
        return Chunk(
            cx,
            cy,
            planes[landscape.GROUND],
            planes[landscape.HEIGHT],
            planes[landscape.SHADE],
            planes[landscape.RED : landscape.BLUE + 1].transpose(1, 2, 0),
            records,
        )


def walk_speed(chunk: Chunk) -> NDArray[np.uint8]:
    """Percent of full speed on each tile [32, 32], 0 = blocked: the ground's and the objects' fractions together."""
    speed = _GROUND_FRACTIONS[chunk.ground]
    tiles = chunk.objects["tile"]
    speed.reshape(-1)[tiles] *= _OBJECT_FRACTIONS[chunk.objects["kind"]]
    return np.rint(speed * 100.0).astype(np.uint8)


def encode(chunk: Chunk) -> bytes:
    """The chunk as its payload (see the head of this file), uncompressed."""
    planes = np.empty((5, CHUNK_TILES * CHUNK_TILES), dtype=np.uint8)
    planes[0] = chunk.height.reshape(-1)
    planes[1] = chunk.shade.reshape(-1)
    planes[2:] = chunk.colour.reshape(-1, 3).T
    planes[:, 1:] -= planes[:, :-1].copy()
    count = len(chunk.objects).to_bytes(2, "little")
    return b"".join(
        (
            chunk.ground.tobytes(),
            walk_speed(chunk).tobytes(),
            planes.tobytes(),
            count,
            chunk.objects.tobytes(),
        )
    )
