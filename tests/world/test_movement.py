"""Walking: how fast, where one is stopped, what one slides along; and that the grid knows where everybody went."""

import json
import math
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.messages import WORLD_TILES_MAX
from protocol.snapshot import CELL_TILES
from tests.world.support import (
    OPEN,
    RULES,
    STRIDE,
    UNIT,
    WORDS,
    World,
    coordinates,
    ground,
    join,
    plain,
    told,
)
from tools.protocol import walks
from world.commands import LoadChunk, steer
from world.grid import cell_of, pack, unpack
from world.state import Rules
from world.tick import Events

ROOT = Path(__file__).resolve().parents[2]
VECTORS = ROOT / "tests/vectors/movement.json"
SQRT = math.sqrt(0.5)
FAR = WORLD_TILES_MAX // CELL_TILES - 1
CORNER = (".#", "..")  # at tile (2, 2): (3, 2) is blocked
NOOK = (".#", "##")
DIAGONAL = (".#", "#.")


def walk(
    picture: tuple[str, ...], place: tuple[float, float], intent: tuple[float, float], ticks: int = 1
) -> tuple[float, float]:
    """Where somebody ends in chunk (0, 0), alone loaded, with `picture` from tile (2, 2) on."""
    world = World(LoadChunk(0, 0, ground(picture, 2, 2)), join(1, *place))
    world.do(steer(1, 1, *intent))
    for _ in range(ticks - 1):
        world.do()
    return world.place(1)


S = STRIDE
ONE_STEP = [
    # name, picture at (2, 2), place, intent, where one tick takes one
    ("east", ("..",), (2.5, 2.5), (1, 0), (2.5 + S, 2.5)),
    ("west", ("..",), (2.5, 2.5), (-1, 0), (2.5 - S, 2.5)),
    ("north", ("..",), (2.5, 2.5), (0, -1), (2.5, 2.5 - S)),
    ("south", ("..",), (2.5, 2.5), (0, 1), (2.5, 2.5 + S)),
    ("slantwise no faster", ("..",), (2.5, 2.5), (1, 1), (2.5 + S * SQRT, 2.5 + S * SQRT)),
    ("a longer intent is one of length 1", ("..",), (2.5, 2.5), (-1, 0.75), (2.5 - S * 0.8, 2.5 + S * 0.6)),
    ("a shorter intent is slower", ("..",), (2.5, 2.5), (0.25, 0), (2.5 + S / 4, 2.5)),
    ("standing still", ("..",), (2.5, 2.5), (0, 0), (2.5, 2.5)),
    ("slow by the ground under the feet", ("~.",), (2.95, 2.5), (1, 0), (2.95 + 0.4 * S, 2.5)),
    ("fast by the ground under the feet", (".~",), (2.95, 2.5), (1, 0), (2.95 + S, 2.5)),
    ("a blocked tile", (".#",), (2.95, 2.5), (1, 0), (2.95, 2.5)),
    ("not onto its very edge", (".#",), (3.0 - S, 2.5), (1, 0), (3.0 - S, 2.5)),
    ("from its very edge away", ("#.",), (3.0, 2.5), (0, 1), (3.0, 2.5 + S)),
    ("not over the edge one stands on", ("#.",), (3.0, 2.5), (-0.01, 0), (3.0, 2.5)),
    ("along it to the south", (".#", ".#"), (2.95, 2.5), (0.6, 0.8), (2.95, 2.5 + 0.8 * S)),
    ("along it to the north", (".#", ".#"), (2.95, 2.5), (0.6, -0.8), (2.95, 2.5 - 0.8 * S)),
    ("along it to the east", ("..", "##"), (2.5, 2.95), (0.6, 0.8), (2.5 + 0.6 * S, 2.95)),
    ("along it to the west", ("..", "##"), (2.5, 2.95), (-0.6, 0.8), (2.5 - 0.6 * S, 2.95)),
    ("round a corner", CORNER, (2.95, 2.95), (0.8, 0.6), (2.95 + 0.8 * S, 2.95 + 0.6 * S)),
    ("x before y at an outer corner", ("..", ".#"), (2.95, 2.95), (SQRT, SQRT), (2.95 + SQRT * S, 2.95)),
    ("stuck in a nook", NOOK, (2.95, 2.95), (0.8, 0.6), (2.95, 2.95)),
    ("between two corners", DIAGONAL, (2.95, 2.95), (0.8, 0.6), (2.95 + 0.8 * S, 2.95 + 0.6 * S)),
    ("ground that is not loaded is a wall", ("..",), (31.95, 2.5), (1, 0), (31.95, 2.5)),
    ("and one slides along it", ("..",), (31.95, 2.5), (0.6, 0.8), (31.95, 2.5 + 0.8 * S)),
    ("also in the north-west", ("..",), (0.05, 0.05), (-SQRT, -SQRT), (0.05, 0.05)),
    ("nobody moves where nothing is loaded", ("..",), (-5.0, 2.5), (1, 0), (-5.0, 2.5)),
    ("half as fast on blocked ground", ("##",), (2.5, 2.5), (1, 0), (2.5 + S / 2, 2.5)),
    ("and from one blocked tile to the next", ("##",), (2.95, 2.5), (1, 0), (2.95 + S / 2, 2.5)),
    ("and out", ("#.",), (2.95, 2.5), (1, 0), (2.95 + S / 2, 2.5)),
    ("but not out of what is loaded", ("#" * 30,), (31.95, 2.5), (1, 0), (31.95, 2.5)),
]


@pytest.mark.parametrize(
    ("picture", "place", "intent", "there"), [row[1:] for row in ONE_STEP], ids=[row[0] for row in ONE_STEP]
)
def test_one_step(
    picture: tuple[str, ...],
    place: tuple[float, float],
    intent: tuple[float, float],
    there: tuple[float, float],
) -> None:
    assert walk(picture, place, intent) == pytest.approx(there, abs=1e-12)


def test_an_intent_holds_until_the_next() -> None:
    world = World(*plain(), join(1, 0.5, 0.5))
    world.do(steer(1, 1, 1.0, 0.0))
    for _ in range(9):
        world.do()
    assert world.place(1) == pytest.approx((0.5 + 10 * S, 0.5))
    world.do(steer(1, 2, 0.0, 0.0))
    assert world.do().touched.size == 0
    assert world.place(1) == pytest.approx((0.5 + 10 * S, 0.5))


def test_who_was_built_in_gets_out_and_not_in_again() -> None:
    world = World(LoadChunk(0, 0, OPEN), join(1, 2.5, 2.5))
    world.do(LoadChunk(0, 0, ground(("#",), 2, 2)), steer(1, 1, 1.0, 0.0))
    for _ in range(20):
        world.do()
    assert world.place(1)[0] > 3.0
    world.do(steer(1, 2, -1.0, 0.0))
    for _ in range(60):
        world.do()
    assert 3.0 <= world.place(1)[0] < 3.0 + S


@pytest.mark.parametrize(("sign_x", "sign_y"), [(1, 1), (1, -1), (-1, 1), (-1, -1)])
def test_the_world_ends_at_its_bounds(sign_x: int, sign_y: int) -> None:
    """Two tiles from the corner, three seconds towards it, though the ground beyond is loaded: short of the bound, in the last cell."""
    cell = FAR if sign_x > 0 else -FAR - 1, FAR if sign_y > 0 else -FAR - 1
    start = sign_x * (WORLD_TILES_MAX - 2.0), sign_y * (WORLD_TILES_MAX - 2.0)
    beyond = [LoadChunk(cell[0] + dx, cell[1] + dy, OPEN) for dx in (0, sign_x) for dy in (0, sign_y)]
    world = World(*beyond, join(1, *start), steer(1, 1, sign_x, sign_y))
    for _ in range(60):
        events = world.do()
        for there, records in told(events).items():
            assert there == cell
            assert records[1] == pytest.approx(world.place(1), abs=UNIT)
    for place, sign in zip(world.place(1), (sign_x, sign_y), strict=True):
        assert WORLD_TILES_MAX - S < place * sign <= WORLD_TILES_MAX - UNIT


def test_who_stands_on_the_bound_itself_can_walk_in() -> None:
    world = World(LoadChunk(-FAR - 1, 0, OPEN), join(1, -float(WORLD_TILES_MAX), 5.0), steer(1, 1, 1.0, 0.0))
    assert world.place(1)[0] == pytest.approx(-WORLD_TILES_MAX + S)


@pytest.mark.parametrize("walk_speed", [0.0, -1.0, 20.0, 21.0, math.nan])
def test_rules_with_steps_of_a_tile_are_refused(walk_speed: float) -> None:
    with pytest.raises(ValueError, match="a step of a tile or more"):
        Rules(20, walk_speed, 1, 1, 1.0, 1, 1, 1)


def test_a_step_back_over_an_edge_by_a_hair_is_seen_where_it_is() -> None:
    """0.6 - 3 * 0.2 is a hair below zero: its cell ends there, it does not begin there."""
    world = World(*plain(), join(1, 0.6, 5.5), steer(1, 1, -1.0, 0.0))
    world.do()
    events = world.do()
    x, _ = world.place(1)
    assert -1e-15 < x < 0
    assert told(events)[(-1, 0)][1] == pytest.approx((0.0, 5.5), abs=UNIT)
    assert told(events)[(0, 0)] == {}


# --- promises, whatever the ground and the intents --------------------------------------------------------------------------------

DIRECTIONS = st.tuples(st.floats(-1, 1), st.floats(-1, 1)) | st.sampled_from(
    (
        (1.0, 0.0),
        (-1.0, 0.0),
        (0.0, 1.0),
        (0.0, -1.0),
        (SQRT, SQRT),
        (0.0, 0.0),
        (1e-300, -1e-300),
        (-5e-324, 0.0),
    )
)
TILES = st.lists(st.sampled_from((100, 100, 100, 70, 40, 0)), min_size=64, max_size=64)


def land(tiles: list[int]) -> list[LoadChunk]:
    """Three of the four chunks around the origin, covered with one 8 x 8 pattern; the south-east is not loaded."""
    walk = np.tile(np.array(tiles, np.uint8).reshape(8, 8), (4, 4)).tobytes()
    return [LoadChunk(cx, cy, walk) for cx, cy in ((-1, -1), (0, -1), (-1, 0))]


def percent_at(tiles: list[int], x: float, y: float) -> int | None:
    """The slow truth about `land`: None where nothing is loaded."""
    if (cell_of(x), cell_of(y)) not in ((-1, -1), (0, -1), (-1, 0)):
        return None
    return tiles[math.floor(y) % 8 * 8 + math.floor(x) % 8]


@settings(max_examples=80)
@given(
    TILES,
    st.lists(st.tuples(coordinates(31), coordinates(31)), min_size=1, max_size=12),
    st.lists(st.lists(DIRECTIONS, min_size=12, max_size=12), min_size=1, max_size=8),
)
def test_nobody_goes_too_far_or_where_the_way_is_barred(
    tiles: list[int], places: list[tuple[float, float]], intents: list[list[tuple[float, float]]]
) -> None:
    world = World(*land(tiles), *(join(number, *place) for number, place in enumerate(places)))
    for ways in intents:
        steers = [steer(number, 1, *way) for number, way in enumerate(ways[: len(places)])]
        for commands in (steers, [], []):
            before = [world.place(number) for number in range(len(places))]
            events = world.do(*commands)
            after = [world.place(number) for number in range(len(places))]
            for number, (old, new) in enumerate(zip(before, after, strict=True)):
                _assert_allowed(tiles, old, new, ways[number])
            _assert_told(world, before, after, events)


def _assert_allowed(
    tiles: list[int], old: tuple[float, float], new: tuple[float, float], way: tuple[float, float]
) -> None:
    here, there = percent_at(tiles, *old), percent_at(tiles, *new)
    if here is None:
        assert new == old
        return
    assert there is not None
    assert there > 0 or here == 0
    length = min(1.0, math.hypot(*way))
    assert math.dist(old, new) <= STRIDE * (here or 50) / 100 * length + 1e-12
    for was, now, wanted in zip(old, new, way, strict=True):
        assert (now - was) * wanted >= 0, "pushed against the intent"


def _assert_told(
    world: World, before: list[tuple[float, float]], after: list[tuple[float, float]], events: Events
) -> None:
    """Cells that changed, who is listed in them, and who crossed: counted again from the places."""
    moved = [number for number, place in enumerate(after) if place != before[number]]
    cells = [(cell_of(x), cell_of(y)) for x, y in after]
    old_cells = [(cell_of(x), cell_of(y)) for x, y in before]
    changed = {cells[number] for number in moved} | {old_cells[number] for number in moved}
    assert events.touched.tolist() == sorted(pack(*cell) for cell in changed)
    crossed = {number: pack(*cells[number]) for number in moved if cells[number] != old_cells[number]}
    assert dict(events.crossed) == crossed
    assert len(events.crossed) == len(crossed)
    for cell, records in told(events).items():
        assert sorted(records) == [number for number in range(len(after)) if cells[number] == cell]
        for number, place in records.items():
            assert place == pytest.approx(after[number], abs=UNIT)
    grid, players = world.state.players.grid, world.state.players
    assert [unpack(int(grid.keys[players.slot_of[number]])) for number in range(len(after))] == cells


# --- the vectors ------------------------------------------------------------------------------------------------------------------

WALKS = json.loads(VECTORS.read_text(encoding="utf-8"))["walks"]


@pytest.mark.parametrize("row", WALKS, ids=lambda row: str(row["name"]))
def test_the_world_walks_as_the_vectors_say(row: dict[str, object]) -> None:
    walked = walks.walk(row)
    assert np.abs(np.array(walked) - np.array(row["places"])).max() < 1e-9


def test_the_vectors_are_walks_a_browser_can_follow() -> None:
    """Intents no longer than 1, for the server would shorten others; ground of the kinds there are; pictures on loaded ground."""
    for row in WALKS:
        assert all(math.hypot(dx, dy) <= 1.0 for _, dx, dy in row["inputs"]), row["name"]
        assert sum(ticks for ticks, _, _ in row["inputs"]) == len(row["places"])
        assert row["stride"] == RULES.walk_speed / RULES.tick_hz
        assert {percent for line in row["picture"]["walk"] for percent in line} <= set(WORDS.values())


@pytest.mark.skipif(
    shutil.which("node") is None, reason="node is not installed; tests/browser runs the same in Chromium"
)
def test_the_browser_predicts_the_walks_of_the_vectors(tmp_path: Path) -> None:
    shutil.copy(ROOT / "tools/browser/movement.js", tmp_path)
    shutil.copy(Path(__file__).with_name("movement.mjs"), tmp_path)
    (tmp_path / "package.json").write_text('{"type": "module"}')
    done = subprocess.run(
        ["node", "movement.mjs", str(VECTORS)], cwd=tmp_path, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["walks"], found["places"]) == (len(WALKS), sum(len(row["places"]) for row in WALKS))
    assert found["worst"] < 1e-9
