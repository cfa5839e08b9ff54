"""The grid answers what a look at every single player would; and its lists hold together whatever is done to them."""

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from protocol.messages import WORLD_TILES_MAX
from protocol.snapshot import CELL_TILES
from tests.world.support import coordinates
from world.grid import (
    NOBODY,
    Grid,
    Ints,
    Places,
    _in_rectangle,
    _rebuild,
    around,
    cell_of,
    find,
    key_at,
    link,
    pack,
    unlink,
    unpack,
    warm_up,
)

CAPACITY = 512
CELLS = st.integers(-(2**15), 2**15)
PLACES = st.lists(st.tuples(coordinates(), coordinates()), max_size=40)
TINY = 2.0**-500  # squares of shorter distances vanish: the grid takes those for none


class Crowd:
    """People at given places, every second slot in use, and the slow truth about them."""

    def __init__(self, places: list[tuple[float, float]]) -> None:
        self.slots: Ints = np.arange(1, 2 * len(places), 2, dtype=np.int32)
        self.xs: Places = np.full(CAPACITY, np.nan)
        self.ys: Places = np.full(CAPACITY, np.nan)
        self.grid = Grid(CAPACITY)
        for slot, (x, y) in zip(self.slots.tolist(), places, strict=True):
            self.xs[slot], self.ys[slot] = x, y
            self.grid.enter(slot, pack(cell_of(x), cell_of(y)))

    def rectangle(self, x0: float, y0: float, x1: float, y1: float) -> list[int]:
        """By the grid, after the truth was found to be the same."""
        found = self.grid.rectangle(x0, y0, x1, y1, self.xs, self.ys, self.slots).tolist()
        inside = [s for s in self.slots.tolist() if x0 <= self.xs[s] < x1 and y0 <= self.ys[s] < y1]
        assert found == inside
        return list(found)

    def within(self, x: float, y: float, radius: float) -> list[int]:
        found = self.grid.within(x, y, radius, self.xs, self.ys, self.slots).tolist()
        inside = [s for s in self.slots.tolist() if self._square(s, x, y) <= radius * radius]
        assert found == (inside if radius >= 0 else [])
        return list(found)

    def _square(self, slot: int, x: float, y: float) -> float:
        dx, dy = float(self.xs[slot]) - x, float(self.ys[slot]) - y
        return (
            dx * dx + dy * dy
        )  # not ** 2: for single numbers that is the C library's pow, off by a bit now and then


def spread(seed: int, count: int = 200) -> list[tuple[float, float]]:
    """Many people around the origin: enough that small shapes are answered cell by cell. A quarter stands on whole tiles."""
    random = np.random.default_rng(seed)
    places = random.uniform(-100, 100, (count, 2))
    places[: count // 4] = np.rint(places[: count // 4] / 16) * 16
    return [(float(x), float(y)) for x, y in places]


# --- names of cells ---------------------------------------------------------------------------------------------------------------


@given(CELLS, CELLS)
def test_a_key_is_one_number_for_one_cell(cx: int, cy: int) -> None:
    assert unpack(pack(cx, cy)) == (cx, cy)
    assert -(2**63) <= pack(cx, cy) < 2**63


@given(coordinates(), coordinates())
def test_the_compiled_key_is_that_of_the_cell(x: float, y: float) -> None:
    assert key_at(x, y) == pack(cell_of(x), cell_of(y))


@pytest.mark.parametrize(
    ("place", "cell"),
    [
        (0.0, 0),
        (-0.0, 0),
        (math.nextafter(0, -1), -1),
        (-1e-9, -1),
        (31.999, 0),
        (math.nextafter(32, 0), 0),
        (32.0, 1),
        (-32.0, -1),
        (math.nextafter(-32, -99), -2),
        (WORLD_TILES_MAX, 2**15),
        (-WORLD_TILES_MAX, -(2**15)),
    ],
)
def test_cells_are_half_open(place: float, cell: int) -> None:
    assert cell_of(place) == cell
    assert unpack(key_at(place, 0.0)) == (cell, 0)
    assert unpack(key_at(0.0, place)) == (0, cell)


@given(CELLS, CELLS, st.integers(0, 4))
def test_around_goes_ring_by_ring_and_row_by_row(cx: int, cy: int, radius: int) -> None:
    steps = [(x - cx, y - cy) for x, y in map(unpack, around(pack(cx, cy), radius))]
    assert len(set(steps)) == len(steps) == (2 * radius + 1) ** 2
    assert steps == sorted(steps, key=lambda step: (max(map(abs, step)), step[1], step[0]))


# --- queries ----------------------------------------------------------------------------------------------------------------------


@given(PLACES, coordinates(), coordinates(), coordinates(), coordinates())
def test_a_rectangle_holds_who_is_in_it(
    places: list[tuple[float, float]], x0: float, y0: float, x1: float, y1: float
) -> None:
    Crowd(places).rectangle(x0, y0, x1, y1)


@given(
    PLACES, coordinates(), coordinates(), st.floats(0, 4 * WORLD_TILES_MAX) | st.integers(0, 99).map(float)
)
def test_a_circle_holds_who_is_at_most_its_radius_away(
    places: list[tuple[float, float]], x: float, y: float, radius: float
) -> None:
    apart = [place for place in places if not 0 < math.dist(place, (x, y)) < TINY]
    Crowd(apart).within(x, y, radius)


@settings(max_examples=60)
@given(
    st.integers(0, 2**32), coordinates(128), coordinates(128), st.sampled_from((0.0, 1.0, 16.0, 32.0, 48.5))
)
def test_in_a_crowd_the_cells_give_the_same_answers(seed: int, x: float, y: float, radius: float) -> None:
    assume(all(place == 0 or abs(place) > TINY for place in (x, y)))
    crowd = Crowd(spread(seed))
    crowd.rectangle(x - radius, y - radius, x + radius, y + radius)
    crowd.rectangle(x, y - radius, x + 32.0, y + radius)
    crowd.within(x, y, radius)


@settings(max_examples=60)
@given(st.integers(0, 2**32), st.integers(0, 199), st.integers(0, 199))
def test_who_is_exactly_on_the_circle_is_within(seed: int, one: int, other: int) -> None:
    """The radius is a distance that occurs, so that rounding decides."""
    crowd = Crowd(spread(seed))
    a, b = int(crowd.slots[one]), int(crowd.slots[other])
    radius = math.sqrt(crowd._square(a, crowd.xs[b], crowd.ys[b]))
    for reach in (radius, math.nextafter(radius, 0), math.nextafter(radius, 999)):
        crowd.within(crowd.xs[b], crowd.ys[b], reach)


def test_a_place_whose_distance_is_rounded_to_the_radius_is_within() -> None:
    crowd = Crowd([(-1e-20, 0.0), (50.0, 50.0), *((float(far), 90.0) for far in range(60))])
    assert crowd.within(1.0, 0.0, 1.0) == [1]


SHAPES = [
    ("nobody there", (500.0, 500.0, 600.0, 600.0), 0),
    ("no width", (0.0, -100.0, 0.0, 100.0), 0),
    ("no height", (-100.0, 0.0, 100.0, 0.0), 0),
    ("turned round", (100.0, 100.0, -100.0, -100.0), 0),
    ("one number wide", (16.0, -200.0, math.nextafter(16.0, 99), 200.0), None),
    ("not a number", (math.nan, -100.0, 100.0, 100.0), 0),
    ("not a number on the far side", (-100.0, -100.0, 100.0, math.nan), 0),
    ("all", (-math.inf, -math.inf, math.inf, math.inf), 200),
    ("huge", (-1e300, -1e300, 1e300, 1e300), 200),
]


@pytest.mark.parametrize(("shape", "count"), [row[1:] for row in SHAPES], ids=[row[0] for row in SHAPES])
def test_odd_rectangles(shape: tuple[float, float, float, float], count: int | None) -> None:
    found = Crowd(spread(1)).rectangle(*shape)
    assert count is None or len(found) == count


@pytest.mark.parametrize(
    ("x", "y", "radius", "count"),
    [
        (0.0, 0.0, math.inf, 3),
        (0.0, 0.0, 1e200, 3),
        (0.0, 0.0, 0.0, 2),
        (0.0, 0.0, -1.0, 0),
        (0.0, 0.0, math.nan, 0),
        (math.nan, 0.0, 9.0, 0),
        (0.0, math.inf, 9.0, 0),
        (float(WORLD_TILES_MAX), -float(WORLD_TILES_MAX), 0.0, 1),
    ],
)
def test_odd_circles(x: float, y: float, radius: float, count: int) -> None:
    crowd = Crowd([(0.0, 0.0), (0.0, -0.0), (WORLD_TILES_MAX, -WORLD_TILES_MAX)])
    assert len(crowd.within(x, y, radius)) == count


def test_nobody_is_near_in_an_empty_grid() -> None:
    empty = Crowd([])
    assert empty.rectangle(-9.0, -9.0, 9.0, 9.0) == empty.within(0.0, 0.0, 9.0) == []


# --- coming, going and crossing ---------------------------------------------------------------------------------------------------


class GridMachine(RuleBasedStateMachine):
    """Enter, leave, move and rebuild in any order, beside a dict of slot to cell."""

    def __init__(self) -> None:
        super().__init__()
        self.grid = Grid(24)
        self.free = list(range(24))
        self.model: dict[int, tuple[float, float]] = {}

    @precondition(lambda self: self.free)
    @rule(x=coordinates(70), y=coordinates(70), data=st.data())
    def enter(self, x: float, y: float, data: st.DataObject) -> None:
        slot = data.draw(st.sampled_from(self.free))
        self.free.remove(slot)
        self.model[slot] = (x, y)
        self.grid.enter(slot, key_at(x, y))

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        slot = data.draw(st.sampled_from(sorted(self.model)))
        del self.model[slot]
        self.free.append(slot)
        self.grid.leave(slot)

    @precondition(lambda self: self.model)
    @rule(x=coordinates(70), y=coordinates(70), data=st.data())
    def move(self, x: float, y: float, data: st.DataObject) -> None:
        slot = data.draw(st.sampled_from(sorted(self.model)))
        self.model[slot] = (x, y)
        self.grid.leave(slot)
        self.grid.enter(slot, key_at(x, y))

    @rule()
    def rebuild(self) -> None:
        self.grid.rebuild(*self.arrays())

    @rule(x=coordinates(70), y=coordinates(70), radius=st.floats(0, 40))
    def look(self, x: float, y: float, radius: float) -> None:
        slots, xs, ys = self.arrays()
        inside = [
            s for s, (a, b) in sorted(self.model.items()) if x <= a < x + radius and y <= b < y + radius
        ]
        assert self.grid.rectangle(x, y, x + radius, y + radius, xs, ys, slots).tolist() == inside

    def arrays(self) -> tuple[Ints, Places, Places]:
        slots = np.array(sorted(self.model), np.int32)
        xs, ys = np.zeros((2, 24))
        for slot, (x, y) in self.model.items():
            xs[slot], ys[slot] = x, y
        return slots, xs, ys

    @invariant()
    def everyone_hangs_in_exactly_one_list(self) -> None:
        seen: list[int] = []
        for bucket in range(len(self.grid.head)):
            before, slot = NOBODY, int(self.grid.head[bucket])
            while slot != NOBODY:
                assert self.grid.prev[slot] == before
                assert self.grid.keys[slot] == key_at(*self.model[slot])
                seen.append(slot)
                before, slot = slot, int(self.grid.next[slot])
        assert sorted(seen) == sorted(self.model)

    @invariant()
    def a_cell_knows_whether_it_is_empty(self) -> None:
        taken = {key_at(*place) for place in self.model.values()}
        for key in (pack(cx, cy) for cx in range(-3, 3) for cy in range(-3, 3)):
            assert self.grid.anyone_in(key) == (key in taken)


GridMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=30)
TestGridMachine = GridMachine.TestCase


def test_cells_that_share_a_bucket_are_told_apart() -> None:
    """64 buckets, 400 cells."""
    grid = Grid(400)
    grid.head = np.full(64, NOBODY, np.int32)
    cells = [(cx, cy) for cx in range(-10, 10) for cy in range(-10, 10)]
    xs = np.array([cx * CELL_TILES + 1.0 for cx, _ in cells])
    ys = np.array([cy * CELL_TILES + 1.0 for _, cy in cells])
    slots = np.arange(400, dtype=np.int32)
    grid.rebuild(slots, xs, ys)
    for slot, (cx, cy) in enumerate(cells):
        assert grid.anyone_in(pack(cx, cy))
        assert grid.within(xs[slot], ys[slot], 1.0, xs, ys, slots).tolist() == [slot]
        x0, y0 = xs[slot] - 2, ys[slot] - 2
        inside = np.flatnonzero((x0 <= xs) & (xs < x0 + 160) & (y0 <= ys) & (ys < y0 + 160))
        assert grid.rectangle(x0, y0, x0 + 160, y0 + 160, xs, ys, slots).tolist() == inside.tolist()
    assert not grid.anyone_in(pack(10, 10))


def test_what_is_called_in_a_tick_was_compiled_before() -> None:
    """Guards: warm_up, and the floats in Grid.rectangle. A tick would stand still for a second or two."""
    warm_up()
    kernels = (link, unlink, find, _in_rectangle, _rebuild)
    compiled = [list(kernel.signatures) for kernel in kernels]
    assert all(compiled)
    grid, places, slots = Grid(40), np.zeros(40), np.arange(40, dtype=np.int32)
    grid.rebuild(slots, places, places)
    assert len(grid.rectangle(0, 0, 16, 16, places, places, slots)) == 40
    assert len(grid.within(0.0, 0.0, 1.0, places, places, slots)) == 40
    grid.leave(0)
    grid.enter(0, pack(-1, 5))
    assert grid.anyone_in(pack(-1, 5))
    assert [list(kernel.signatures) for kernel in kernels] == compiled
