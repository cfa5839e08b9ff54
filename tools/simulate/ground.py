"""The ground of a simulated world, in place of server/chunks.py and world/terrain.py: flat, with a lake in every LAKE_EVERY-th chunk.

Where somebody appears is drawn from the simulation's random source.
"""

from collections.abc import Iterable
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray

from protocol.snapshot import CELL_TILES
from world.commands import Inbox, LoadChunk
from world.terrain import Ground as Kind
from world.tick import Events

CHUNKS_AROUND = 2  # of the middle, on every side: the ground that there is to walk on
LAKE_EVERY = 7
WALK = bytes([100]) * CELL_TILES**2

_land = np.full((CELL_TILES, CELL_TILES), Kind.GRASS, np.uint8)
_lake = np.full((CELL_TILES, CELL_TILES), Kind.WATER, np.uint8)


class Piece:
    """One chunk, as far as a survey looks at it."""

    def __init__(self, ground: NDArray[np.uint8]) -> None:
        self.ground = ground


class Ground:
    """Chunks, Terrain and SpawnPlaces in one, as far as a server asks."""

    def __init__(self, random: Random, inbox: Inbox) -> None:
        self.spawn_places = self
        self._random = random
        around = range(-CHUNKS_AROUND, CHUNKS_AROUND)
        inbox.put_always(LoadChunk(cx, cy, WALK) for cx in around for cy in around)

    def generate(self, cx: int, cy: int) -> Piece:
        """Terrain.generate."""
        return Piece(_lake if is_lake(cx, cy) else _land)

    async def find(self, count: int, radius: float) -> list[tuple[float, float]]:
        """SpawnPlaces.find."""
        span = -radius, radius
        return [(self._random.uniform(*span), self._random.uniform(*span)) for _ in range(count)]

    def follow(self, events: Events, directions: Iterable[Any], standing: Iterable[int]) -> None:
        """Chunks.follow: all ground is there from the start."""


def is_lake(cx: int, cy: int) -> bool:
    """Whether a chunk is all water."""
    return (cx * 31 + cy * 17) % LAKE_EVERY == 0
