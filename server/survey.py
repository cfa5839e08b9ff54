"""How much of a piece of land is not water: what a claim has to know, and only the generator of the ground can say.

Asked off the tick, in the ground's own thread, which makes the ground for walking, too: it gets SLICE_CHUNKS at most at a time, and
players take turns. Chunks that were looked at lately are remembered, and need no thread.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from protocol.messages import PLOT_TILES
from server.turns import Turns
from world.grid import unpack
from world.open_land import PLOTS_EDGE
from world.parcels import PLOTS_PER_CHUNK, Rectangle, cell_of_plot, plots_in
from world.terrain import Ground, Terrain

CHUNKS_REMEMBERED_MAX = 65_536  # a few hundred bytes each
SLICE_CHUNKS = 8  # looked at in one go of the thread: some 5 ms, as chunks.BATCH_CHUNKS
LOOKS_PER_PLAYER_MAX = 128  # pieces of land that wait; the bursts of limits.rates are below it
WATER = (Ground.DEEP_WATER, Ground.WATER)

Dry = tuple[tuple[bool, ...], ...]  # of a chunk's plots, row by row: whether one has a tile that is not water


@dataclass(slots=True, eq=False)
class Look:
    """A piece of land that somebody waits for. `wanted` says whether they still do."""

    plots_of: dict[int, list[tuple[int, int]]]  # chunk -> its plots (column, row), of what was not looked at
    answer: Callable[[int], None]
    wanted: Callable[[], bool]
    dry: int = 0  # plots found so far


class Survey:
    """Looks at the bare ground. `executor` is the ground's thread; all public methods are for the loop's."""

    def __init__(self, terrain: Terrain, executor: Executor) -> None:
        self._executor = executor
        self._terrain = terrain
        self._known: dict[int, Dry] = {}
        self._turns: Turns[int, Look] = Turns(LOOKS_PER_PLAYER_MAX)
        self._work = asyncio.Event()

    def start(self) -> asyncio.Task[None]:
        """Begins to look; returns the work, to be supervised."""
        return asyncio.create_task(self._run(), name="survey")

    def ask(
        self, player_id: int, rectangle: Rectangle, answer: Callable[[int], None], wanted: Callable[[], bool]
    ) -> bool:
        """Answers, perhaps at once, how many plots of a rectangle have a tile that is not water; 0 for one that is not of this world.

        False where the player waits for too many already.
        """
        look = Look(_by_chunk(rectangle), answer, wanted)
        self._count(look)
        if not look.plots_of:
            answer(look.dry)
            return True
        self._work.set()
        return self._turns.put(player_id, look)

    def _count(self, look: Look) -> None:
        """Takes in what is known of its chunks."""
        for cell in [cell for cell in look.plots_of if cell in self._known]:
            dry = self._known[cell]
            look.dry += sum(dry[row][column] for column, row in look.plots_of.pop(cell))

    async def _run(self) -> None:
        while True:
            await self._work.wait()
            if not self._turns:
                self._work.clear()
                continue
            looks, cells = self._next_slice()
            if cells:
                self._remember(
                    await asyncio.get_running_loop().run_in_executor(self._executor, self._look, cells)
                )
            for player_id, look in looks:
                self._count(look)
                if look.plots_of:
                    self._turns.put_back(player_id, look)
                else:
                    look.answer(look.dry)

    def _next_slice(self) -> tuple[list[tuple[int, Look]], list[int]]:
        """Whose turn it is, and the chunks to be looked at for them."""
        looks: list[tuple[int, Look]] = []
        cells: dict[int, None] = {}
        while self._turns and len(cells) < SLICE_CHUNKS:
            player_id, look = self._turns.take()
            if look.wanted():
                looks.append((player_id, look))
                cells.update(dict.fromkeys(islice(look.plots_of, SLICE_CHUNKS - len(cells))))
        return looks, list(cells)

    def _remember(self, found: dict[int, Dry]) -> None:
        self._known.update(found)
        while len(self._known) > CHUNKS_REMEMBERED_MAX:
            del self._known[next(iter(self._known))]

    def _look(self, cells: list[int]) -> dict[int, Dry]:
        """In the thread."""
        return {cell: self._dry_of(cell) for cell in cells}

    def _dry_of(self, cell: int) -> Dry:
        ground = self._terrain.generate(*unpack(cell)).ground
        dry = ~np.isin(ground, WATER)
        by_plot = dry.reshape(PLOTS_PER_CHUNK, PLOT_TILES, PLOTS_PER_CHUNK, PLOT_TILES)
        plots: NDArray[np.bool_] = np.logical_or.reduce(by_plot, axis=(1, 3))
        return tuple(map(tuple, plots.tolist()))


def _by_chunk(rectangle: Rectangle) -> dict[int, list[tuple[int, int]]]:
    """The plots of a rectangle, by chunk; none where a part of it lies outside the world."""
    px, py, pw, ph = rectangle
    if min(px, py) < -PLOTS_EDGE or max(px + pw, py + ph) > PLOTS_EDGE:
        return {}
    by_chunk: dict[int, list[tuple[int, int]]] = {}
    for plot in plots_in(px, py, pw, ph):
        plot_x, plot_y = unpack(plot)
        place = plot_x % PLOTS_PER_CHUNK, plot_y % PLOTS_PER_CHUNK
        by_chunk.setdefault(cell_of_plot(plot), []).append(place)
    return by_chunk
