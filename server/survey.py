"""How much of a piece of land is not water: what a claim has to know, and only the generator of the ground can say.

Asked off the tick, in the ground's own thread; chunks that were looked at lately are remembered.
"""

import asyncio
from collections.abc import Sequence
from concurrent.futures import Executor
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from protocol.messages import PLOT_TILES
from world.grid import unpack
from world.open_land import PLOTS_EDGE
from world.parcels import PLOTS_PER_CHUNK, Rectangle, cell_of_plot, plots_in
from world.terrain import Ground, Terrain

CHUNKS_REMEMBERED_MAX = 65_536  # a few hundred bytes each
WATER = (Ground.DEEP_WATER, Ground.WATER)


class Survey:
    """Looks at the bare ground. `executor` is the ground's thread."""

    def __init__(self, terrain: Terrain, executor: Executor) -> None:
        self._executor = executor
        self._terrain = terrain
        self._dry_of = lru_cache(CHUNKS_REMEMBERED_MAX)(self._look)

    async def dry_plots(self, rectangles: Sequence[Rectangle]) -> list[int]:
        """How many plots of each rectangle have a tile that is not water; 0 for one that is not of this world."""
        return await asyncio.get_running_loop().run_in_executor(
            self._executor, lambda: [self._count(*rectangle) for rectangle in rectangles]
        )

    def _count(self, px: int, py: int, pw: int, ph: int) -> int:
        """In the thread."""
        count = 0
        edges = px, py, px + pw - 1, py + ph - 1
        if min(edges) < -PLOTS_EDGE or max(edges) >= PLOTS_EDGE:
            return 0
        for plot in plots_in(px, py, pw, ph):
            plot_x, plot_y = unpack(plot)
            count += self._dry_of(cell_of_plot(plot))[plot_y % PLOTS_PER_CHUNK][plot_x % PLOTS_PER_CHUNK]
        return count

    def _look(self, cell: int) -> tuple[tuple[bool, ...], ...]:
        ground = self._terrain.generate(*unpack(cell)).ground
        dry = ~np.isin(ground, WATER)
        by_plot = dry.reshape(PLOTS_PER_CHUNK, PLOT_TILES, PLOTS_PER_CHUNK, PLOT_TILES)
        plots: NDArray[np.bool_] = np.logical_or.reduce(by_plot, axis=(1, 3))
        return tuple(map(tuple, plots.tolist()))
