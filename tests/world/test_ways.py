"""Ways through parcels: who may walk there, what depends on them, and open land that stays one piece."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.messages import (
    PLOT_TILES,
    Cut,
    LandAbandon,
    LandDivided,
    LandEase,
    LandLet,
    LandMerge,
    LandMine,
    LandOpen,
    LandRent,
    LandSplit,
    LandTake,
    LandTaken,
    LandTransfer,
    TilesEdited,
    TileUndo,
    Way,
)
from tests.world.support import ADA, BEA, CAL, World, act, ids, join, outcome, plain
from tests.world.test_land import (
    AS_FAR_AS_IT_TAKES,
    NEARLY_NOWHERE,
    NO,
    Row,
    build,
    claim,
    got,
    held,
    rules,
    run,
    split,
    walked,
)
from world import open_land, queries
from world.commands import AnyDurable, steer
from world.grid import pack
from world.open_land import STEPS, beside, has_way_out, shortest_way
from world.parcels import plots_in
from world.state import LandRules
from world.tiles import Build

OK = held(1)
NONE = (0, 0, 0, 0)


def ease(parcel_id: int, way: tuple[int, int, int, int]) -> LandEase:
    return LandEase(*ids(), parcel_id, *(value * PLOT_TILES for value in way))


def split_with_way(parcel_id: int, cut: Cut, at: int) -> LandSplit:
    return LandSplit(*ids(), parcel_id, cut, at * PLOT_TILES, ease=True)


# Parcel 1, three plots in a row, has open land only at its eastern end.
ENCLOSED: list[Row] = [
    (ADA, claim(0, 0, 3, 1), got(1, 300)),
    (BEA, claim(-1, -1, 4, 1), got(2, 400)),
    (BEA, claim(-1, 0), got(3, 100)),
    (CAL, claim(-1, 1, 4, 1), got(4, 400)),
]

TABLES: dict[str, list[Row]] = {
    "a way lies within its parcel, on whole plots, and leads to open land": [
        *ENCLOSED,
        (BEA, ease(1, (2, 0, 1, 1)), NO.NOT_OWNER),
        (ADA, ease(1, (2, 0, 2, 1)), NO.BAD_REQUEST),
        (ADA, LandEase(*ids(), 1, 0, 0, 8, 16), NO.BAD_REQUEST),
        (ADA, ease(1, (0, 0, 2, 1)), NO.CUT_OFF),
        (ADA, ease(1, (1, 0, 2, 1)), OK),
        (ADA, ease(1, (2, 0, 1, 1)), OK),
        (ADA, ease(1, NONE), OK),
        (ADA, ease(1, NONE), OK),
    ],
    "a part that would be cut off gets a way through the other, which cannot be taken back": [
        *ENCLOSED,
        (ADA, split(1, Cut.VERTICAL, 1), NO.CUT_OFF),
        (ADA, split_with_way(1, Cut.VERTICAL, 1), LandDivided(1, 5)),
        (ADA, ease(5, NONE), NO.CUT_OFF),
        (ADA, ease(5, (2, 0, 1, 1)), NO.CUT_OFF),
        (ADA, LandTransfer(*ids(), 5, BEA), held(5)),
        (BEA, LandTake(*ids(), 5), LandTaken(5, ADA)),
        (BEA, ease(5, NONE), NO.CUT_OFF),
        (BEA, LandTransfer(*ids(), 5, ADA), held(5)),
        (ADA, LandTake(*ids(), 5), LandTaken(5, BEA)),
        (ADA, split(5, Cut.VERTICAL, 2), LandDivided(5, 6)),
        *((ADA, ease(one, NONE), NO.CUT_OFF) for one in (5, 6)),
        (ADA, LandMerge(*ids(), 6, 5), held(6)),
        (ADA, LandMerge(*ids(), 6, 1), held(6)),
        (ADA, ease(6, NONE), held(6)),
    ],
    "a way may be what another depends on for its own": [
        *ENCLOSED,
        (ADA, split_with_way(1, Cut.VERTICAL, 2), LandDivided(1, 5)),
        (ADA, split_with_way(1, Cut.VERTICAL, 1), LandDivided(1, 6)),
        (ADA, ease(6, NONE), NO.CUT_OFF),
        (ADA, ease(5, NONE), NO.CUT_OFF),
    ],
    "a way is not taken from under a chain of others that lead to nowhere else": [
        (ADA, claim(0, 0, 4, 1), got(1, 400)),
        (BEA, claim(-1, -1, 5, 1), got(2, 500)),
        (BEA, claim(-1, 0), got(3, 100)),
        (CAL, claim(-1, 1, 5, 1), got(4, 500)),
        (ADA, split_with_way(1, Cut.VERTICAL, 3), LandDivided(1, 5)),
        (ADA, ease(1, (1, 0, 2, 1)), OK),
        (ADA, split(1, Cut.VERTICAL, 2), LandDivided(1, 6)),
        (ADA, split(1, Cut.VERTICAL, 1), LandDivided(1, 7)),
        *((ADA, ease(one, NONE), NO.CUT_OFF) for one in (5, 6, 7)),
    ],
    "a way may be moved, widened and taken back where one gets around": [
        (ADA, claim(0, 0, 4, 3), got(1, 1_200)),
        (BEA, claim(2, -1), got(2, 100)),
        *((ADA, ease(1, way), OK) for way in ((0, 0, 4, 1), (0, 0, 4, 2), (0, 0, 3, 1), (0, 1, 4, 1), NONE)),
    ],
    "nobody claims the only end of a way": [
        *ENCLOSED,
        (ADA, split_with_way(1, Cut.VERTICAL, 1), LandDivided(1, 5)),
        (BEA, claim(3, -1), got(6, 100)),
        (BEA, claim(3, 1), got(7, 100)),
        (CAL, claim(3, 0), NO.CUT_OFF),
    ],
    "nothing is built on a way that nobody can walk through": [
        (ADA, claim(0, 0, 2, 1), got(1, 200)),
        (ADA, build((0, 0, Build.WALL), (17, 0, Build.PATH)), TilesEdited(2)),
        (ADA, ease(1, (0, 0, 1, 1)), NO.NOT_ALLOWED),
        (ADA, ease(1, (1, 0, 1, 1)), OK),
        (ADA, build((16, 0, Build.FENCE)), NO.NOT_ALLOWED),
        (ADA, build((16, 0, Build.PAVING)), TilesEdited(1)),
        (ADA, build((0, 0, Build.NOTHING)), TilesEdited(1)),
        (ADA, ease(1, (0, 0, 1, 1)), OK),
        (ADA, TileUndo(*ids()), TilesEdited(0)),
    ],
    "who rents a parcel neither grants a way nor takes one back": [
        (ADA, claim(0, 0, 2, 1), got(1, 200)),
        (ADA, ease(1, (0, 0, 1, 1)), OK),
        (ADA, LandLet(*ids(), 1, 0, 10_000), OK),
        (BEA, LandRent(*ids(), 1, 0), OK),
        (BEA, ease(1, NONE), NO.NOT_OWNER),
        (ADA, ease(1, NONE), NO.NOT_ALLOWED),
        (BEA, build((0, 0, Build.WALL)), NO.NOT_ALLOWED),
    ],
}


@pytest.mark.parametrize("rows", TABLES.values(), ids=TABLES)
def test_the_rules_line_by_line(rows: list[Row]) -> None:
    """Guards: each of the three checks of check_way, `without` in it, the overlap in _ways, `ways` in check_may_build."""
    run(rows)


def test_everybody_walks_along_a_way_and_nowhere_else_in_a_closed_parcel() -> None:
    """Guards: `ways` in Parcels.gate_of, on loaded ground and on ground that comes later."""
    for ground_first in (True, False):
        world = World(rules=rules())
        if ground_first:
            world.do(*plain())
        run(
            [
                (ADA, claim(0, 0, 2, 2), got(1, 400)),
                (ADA, ease(1, (0, 0, 2, 1)), OK),
                (ADA, LandOpen(*ids(), 1, False, False), OK),
            ],
            world,
        )
        if not ground_first:
            world.do(*plain())
        world.do(join(BEA, -0.5, 8.0), join(CAL, -0.5, 24.0))
        world.do(steer(BEA, 1, 1.0, 0.0), steer(CAL, 1, 1.0, 0.0))
        denied = [pair for _ in range(120) for pair in world.do().denied]
        assert 16.0 < world.place(BEA)[0] < 32.0
        assert world.place(CAL)[0] < 0.0
        world.do(steer(BEA, 2, 0.0, 1.0))
        denied += [pair for _ in range(100) for pair in world.do().denied]
        assert world.place(BEA)[1] < 16.0
        assert denied == [(CAL, 1), (BEA, 1)]


def test_a_way_is_seen_and_ends_with_its_parcel() -> None:
    world = run([(ADA, claim(0, 0, 2, 2), got(1, 400)), (ADA, ease(1, (1, 0, 1, 2)), OK)])
    (parcel,) = queries.land_mine(world.state, ADA, LandMine(1)).parcels
    assert parcel.way == Way(16, 0, 16, 32)
    run([(ADA, LandAbandon(*ids(), 1), OK)], world)
    assert world.state.parcels.ways == set()


@pytest.mark.parametrize(
    ("part", "through", "opened", "way"),
    [
        ((0, 0, 1, 2), (1, 0, 3, 2), {(4, 1)}, (1, 1, 3, 1)),
        ((0, 0, 1, 2), (1, 0, 3, 2), {(1, 2)}, (1, 1, 1, 1)),
        ((0, 0, 1, 2), (1, 0, 3, 2), {(2, -1)}, (1, 0, 2, 1)),
        ((0, 0, 2, 1), (0, 1, 2, 5), {(2, 3)}, (1, 1, 1, 3)),
        ((0, 0, 2, 1), (0, 1, 2, 5), set(), None),
    ],
)
def test_the_shortest_way_is_found(
    part: Any, through: Any, opened: set[tuple[int, int]], way: tuple[int, ...] | None
) -> None:
    assert shortest_way(part, through, lambda px, py: (px, py) in opened) == way


SIDE = st.integers(1, 4)


@settings(max_examples=200)
@given(
    SIDE,
    SIDE,
    SIDE,
    st.sampled_from(STEPS),
    st.sets(st.tuples(st.integers(-5, 9), st.integers(-5, 9)), max_size=6),
)
def test_no_way_is_shorter(
    wide: int, deep: int, beyond: int, step: Any, places: set[tuple[int, int]]
) -> None:
    """Against all rectangles that there are in `through`, on each of its sides."""
    dx, dy = step
    pw, ph = (deep, wide) if dx else (wide, deep)
    through = (0, 0, pw, ph)
    qw, qh = (beyond, wide) if dx else (wide, beyond)
    part = (pw if dx < 0 else -qw if dx else 0, ph if dy < 0 else -qh if dy else 0, qw, qh)
    taken = set(plots_in(*through)) | set(plots_in(*part)) | {pack(*plot) for plot in beside(part)}

    def is_open(px: int, py: int) -> bool:
        return (px, py) in places and pack(px, py) not in taken

    lead_out = [
        (x, y, w, h)
        for x in range(pw)
        for y in range(ph)
        for w in range(1, pw - x + 1)
        for h in range(1, ph - y + 1)
        if has_way_out((x, y, w, h), is_open)
        and set(plots_in(*part)) & {pack(*plot) for plot in beside((x, y, w, h))}
    ]
    way = shortest_way(part, through, is_open)
    assert (way is None) == (not lead_out)
    if way is not None:
        assert way in lead_out
        assert way[2] * way[3] == min(w * h for _, _, w, h in lead_out)


def test_looking_for_a_way_does_not_take_long() -> None:
    """The longest parcel there is, with no way out at all: it once took 20 ms. Guard: shortest_way goes straight ahead."""
    looks = 0

    def is_open(px: int, py: int) -> bool:
        nonlocal looks
        looks += 1
        return False

    for part, through in (((0, 0, 1, 1), (1, 0, 63, 1)), ((0, 0, 64, 1), (0, 1, 64, 1))):
        assert shortest_way(part, through, is_open) is None
    assert looks <= 4 * (63 + 64)


# --- against a plain model ---

NUMBERS = st.tuples(*[st.integers(0, 11)] * 5)
WANTED = st.lists(
    st.tuples(
        st.sampled_from(["split", "split", "ease", "ease", "unease", "merge", "abandon", "claim"]), NUMBERS
    ),
    max_size=25,
)


@pytest.mark.parametrize("walk_plots_max", [AS_FAR_AS_IT_TAKES, NEARLY_NOWHERE])
@settings(max_examples=150, deadline=None)
@given(wanted=WANTED)
def test_open_land_and_ways_stay_one_piece_and_every_parcel_beside_it(
    walk_plots_max: int, wanted: list[Any]
) -> None:
    """Around a parcel with one open side: whatever is split, eased, merged, abandoned and claimed, walked by brute force. A way may be
    changed where that does no harm, unless a walk around is too long. Guards: check_one_piece in check_way, WALK_PLOTS_MAX.
    """
    rich = LandRules(starting_grant=10**9, player_parcels_max=10**6, player_plots_max=10**6)
    world = World(rules=rules(rich))
    for place in ((0, 0, 4, 3), (-1, -1, 5, 1), (-1, 3, 5, 1), (-1, 0, 1, 3)):
        world.do(act(ADA, claim(*place)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(open_land, "WALK_PLOTS_MAX", walk_plots_max)
        for what, numbers in wanted:
            request = asked(world, what, *numbers)
            if request is None:
                continue
            answer = outcome(world.do(act(ADA, request)))
            assert is_whole(world, None)
            if answer is NO.CUT_OFF and what in ("ease", "unease") and walk_plots_max == AS_FAR_AS_IT_TAKES:
                assert not is_whole(world, request)


def asked(world: World, what: str, which: int, a: int, b: int, c: int, d: int) -> AnyDurable | None:
    """A request about one of the parcels there are, which the rules may refuse."""
    by_id = world.state.parcels.by_id
    if what == "claim" or not by_id:
        return claim(3 + a % 3, b % 5 - 1)
    parcel = by_id[sorted(by_id)[which % len(by_id)]]
    px, py, pw, ph = parcel.rectangle
    match what:
        case "split":
            start, size = ((px, pw), (py, ph))[a % 2]
            return split_with_way(parcel.parcel_id, Cut(a % 2), start + 1 + b % max(1, size - 1))
        case "ease":
            x, y = a % pw, b % ph
            return ease(parcel.parcel_id, (px + x, py + y, 1 + c % (pw - x), 1 + d % (ph - y)))
        case "unease":
            return ease(parcel.parcel_id, NONE)
        case "merge":
            return LandMerge(*ids(), parcel.parcel_id, sorted(by_id)[a % len(by_id)])
        case _:
            return LandAbandon(*ids(), parcel.parcel_id)


def is_whole(world: World, asked: Any) -> bool:
    """Whether open land is one piece, and beside each parcel and each way; `asked`: as it would be with another way."""
    by_id = world.state.parcels.by_id.values()
    insides = {parcel.parcel_id: plots_of(parcel.rectangle) for parcel in by_id}
    ways = {parcel.parcel_id: plots_of(parcel.way) for parcel in by_id if parcel.way is not None}
    if asked is not None:
        new = (value // PLOT_TILES for value in (asked.x, asked.y, asked.width, asked.height))
        ways[asked.parcel_id] = plots_of(tuple(new))
    square = {(x, y) for x in range(-8, 9) for y in range(-8, 9)}
    open_land = square.difference(*insides.values()).union(*ways.values())
    leading = [*insides.values(), *filter(None, ways.values())]
    around = ({(x + dx, y + dy) for x, y in inside for dx, dy in STEPS} - inside for inside in leading)
    return walked(open_land, (-8, -8)) == open_land and all(map(open_land.intersection, around))


def plots_of(rectangle: tuple[int, ...]) -> set[tuple[int, int]]:
    px, py, pw, ph = rectangle
    return {(x, y) for x in range(px, px + pw) for y in range(py, py + ph)}
