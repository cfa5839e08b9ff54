"""Places to appear: random, on open ground, also with what people have built.

Threads only make ground, which follows from the seed alone; what is built on it is looked up on the loop's thread, where it changes.
"""

import asyncio
import math
from collections import OrderedDict
from collections.abc import Callable
from random import Random

import numpy as np
from numpy.typing import NDArray

from protocol.snapshot import CELL_TILES
from world.grid import pack, unpack
from world.terrain import Terrain, walk_speed
from world.tiles import BUILD_WALK, Build

MIDDLE = 0.5, 0.5  # always open ground (see world/terrain.py)
WALK_MIN = 70  # percent: newcomers stand on open ground, not in a ford or a thicket
DRAWS = 4  # places drawn at a time for each newcomer
ROUNDS_MAX = 100
GROUNDS_MAX = 4_096  # of 1 KiB, kept for the next newcomer, who comes to the same parts

Walk = NDArray[np.uint8]  # [32, 32], percent of full speed
Place = tuple[float, float]  # tiles


class SpawnPlaces:
    """Finds places. `kind_at(key, tile)` tells the Build on a tile of a chunk."""

    def __init__(self, terrain: Terrain, kind_at: Callable[[int, int], int], random: Random) -> None:
        self._terrain = terrain
        self._kind_at = kind_at
        self._random = random
        self._grounds: OrderedDict[int, Walk] = OrderedDict()

    async def find(self, count: int, radius: float) -> list[Place]:
        """`count` places within `radius` tiles of (0, 0); the middle where chance finds no open ground in reasonable time.

        Ground is made in a thread of ordinary priority: a busy machine must not starve those who come in.
        """
        places: list[Place] = []
        for _ in range(ROUNDS_MAX):
            if len(places) >= count:
                break
            drawn = [self._draw(radius) for _ in range(DRAWS * (count - len(places)))]
            grounds = await self._ground_under(drawn)
            places += [(x, y) for x, y in drawn if self._is_open(x, y, grounds)]
        return places[:count] + [MIDDLE] * (count - len(places))

    def _draw(self, radius: float) -> Place:
        """A place in the circle, each part of it as likely as another."""
        reach, angle = radius * math.sqrt(self._random.random()), self._random.uniform(0.0, math.tau)
        return reach * math.cos(angle), reach * math.sin(angle)

    async def _ground_under(self, places: list[Place]) -> dict[int, Walk]:
        """The bare ground of the chunks these places lie in."""
        keys = {_chunk_at(x, y) for x, y in places}
        missing = [key for key in keys if key not in self._grounds]
        if missing:
            made = await asyncio.to_thread(self._make, missing)
            self._grounds.update(made)
        grounds = {key: self._grounds[key] for key in keys}
        for key in keys:
            self._grounds.move_to_end(key)
        while len(self._grounds) > GROUNDS_MAX:
            self._grounds.popitem(last=False)
        return grounds

    def _make(self, keys: list[int]) -> dict[int, Walk]:
        """In a thread; touches nothing of ours but the terrain."""
        return {key: walk_speed(self._terrain.generate(*unpack(key))) for key in keys}

    def _is_open(self, x: float, y: float, grounds: dict[int, Walk]) -> bool:
        key, tile_x, tile_y = _chunk_at(x, y), int(x // 1) % CELL_TILES, int(y // 1) % CELL_TILES
        build = Build(self._kind_at(key, tile_y * CELL_TILES + tile_x))
        speed = BUILD_WALK[build] if build else int(grounds[key][tile_y, tile_x])
        return speed >= WALK_MIN


def _chunk_at(x: float, y: float) -> int:
    return pack(int(x // CELL_TILES), int(y // CELL_TILES))
