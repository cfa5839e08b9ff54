"""How much of a piece of land is dry, and whose is looked at when."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from server.survey import LOOKS_PER_PLAYER_MAX, SLICE_CHUNKS, Survey
from server.tasks import end
from tests.server.support import Thread, until
from tests.world.support import ADA, BEA
from world.grid import pack
from world.open_land import PLOTS_EDGE
from world.parcels import Rectangle
from world.terrain import Ground


class Islands:
    """A terrain where the first plot of every chunk has one dry tile, and all else is water; notes what was made."""

    def __init__(self) -> None:
        self.made: list[int] = []

    def generate(self, cx: int, cy: int) -> Any:
        self.made.append(pack(cx, cy))
        self.ground = np.full((32, 32), Ground.WATER, np.uint8)
        self.ground[3, 5] = Ground.GRASS
        return self


class Office:
    """A survey and what it answered."""

    def __init__(self) -> None:
        self.terrain, self.thread = Islands(), Thread()
        terrain: Any = self.terrain
        self.survey = Survey(terrain, self.thread)
        self.told: list[tuple[str, int]] = []
        self.gave_up = False

    def ask(self, name: str, rectangle: Rectangle, by: int = ADA) -> bool:
        return self.survey.ask(
            by, rectangle, lambda dry: self.told.append((name, dry)), lambda: not self.gave_up
        )

    async def turn(self) -> int:
        """The thread does what it holds; how many chunks those were."""
        await until(lambda: bool(self.thread.held))
        before = len(self.terrain.made)
        self.thread.work()
        return len(self.terrain.made) - before


@pytest.mark.parametrize(
    ("rectangle", "dry"),
    [
        ((0, 0, 1, 1), 1),
        ((1, 0, 1, 1), 0),
        ((-1, -1, 3, 3), 1),
        ((-2, -2, 8, 8), 16),
        ((0, 0, 0, 0), 0),
        ((PLOTS_EDGE - 2, 0, 2, 1), 1),
        ((PLOTS_EDGE - 1, 0, 2, 1), 0),
        ((-PLOTS_EDGE - 2, 0, 4, 1), 0),
    ],
)
async def test_a_plot_with_one_dry_tile_is_dry(rectangle: Rectangle, dry: int) -> None:
    office = Office()
    task = office.survey.start()
    office.ask("a", rectangle)
    await until(lambda: bool(office.told) or task.done())
    assert office.told == [("a", dry)]
    await end(task)


async def test_what_was_looked_at_is_known_at_once() -> None:
    """Guard: Survey._known."""
    office = Office()
    task = office.survey.start()
    office.ask("a", (0, 0, 8, 8))
    await until(lambda: bool(office.told))
    office.ask("b", (2, 2, 4, 4))
    assert office.told == [("a", 16), ("b", 4)]
    assert len(office.terrain.made) == 16
    await end(task)


async def sizes_of(office: Office, turns: int) -> Sequence[int]:
    return [await office.turn() for _ in range(turns)]


async def test_the_thread_gets_a_few_chunks_at_a_time_and_players_take_turns() -> None:
    """Guards: SLICE_CHUNKS in Survey._next_slice; Turns. Who makes ground for walking comes between the slices."""
    office = Office()
    office.thread.hold = True
    task = office.survey.start()
    for number in range(3):
        office.ask(f"far {number}", (100 * number, 0, 64, 1))
    office.ask("near", (0, 100, 1, 1), by=BEA)
    assert await sizes_of(office, 2) == [SLICE_CHUNKS] * 2
    await until(lambda: bool(office.told))
    assert office.told == [("near", 1)]
    assert max(await sizes_of(office, 11)) <= SLICE_CHUNKS
    await until(lambda: len(office.told) == 4)
    assert office.told[1:] == [("far 0", 32), ("far 1", 32), ("far 2", 32)]
    await end(task)


async def test_nobody_looks_for_who_gave_up() -> None:
    """Guard: `wanted` in Survey._next_slice."""
    office = Office()
    office.ask("a", (0, 0, 64, 1))
    office.gave_up = True
    task = office.survey.start()
    await until(lambda: not office.survey._turns)
    assert office.terrain.made == []
    await end(task)


async def test_one_player_waits_for_so_much_land_and_no_more() -> None:
    """Guard: LOOKS_PER_PLAYER_MAX."""
    office = Office()
    assert all(office.ask("a", (2 * number, 0, 1, 1)) for number in range(LOOKS_PER_PLAYER_MAX))
    assert not office.ask("a", (-2, 0, 1, 1))
    assert office.ask("a", (-2, 0, 1, 1), by=BEA)
