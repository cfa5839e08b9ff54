"""The rules of land as tables: who asks for what, and what is answered, line by line in one world."""

from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.edits import TILE_EDIT, pack
from protocol.errors import Refusal, RefusalCode
from protocol.messages import (
    PLOT_TILES,
    Cut,
    LandAbandon,
    LandAt,
    LandClaim,
    LandClaimResult,
    LandDescribe,
    LandDivided,
    LandHeld,
    LandIn,
    LandMerge,
    LandMine,
    LandOpen,
    LandPermit,
    LandSplit,
    LandTake,
    LandTaken,
    LandTransfer,
    ListingBought,
    ListingHeld,
    MarketBuy,
    MarketList,
    ParcelFound,
    Result,
    Role,
    Standing,
    TileEdit,
    TilesEdited,
)
from tests.world.support import ADA, BEA, CAL, PEOPLE, World, act, balanced, ids, join, outcome
from world import open_land, queries
from world.commands import AnyDurable
from world.land import price_of
from world.ledger import HOUSE, TREASURY
from world.open_land import STEPS
from world.parcels import Parcel, Rectangle, plots_in
from world.state import LandRules, MarketRules, Rules
from world.tiles import Build

Row = tuple[int, AnyDurable, Result | RefusalCode]
GRANT = 1_500
LAND = LandRules(
    starting_grant=GRANT,
    plot_price=100,
    plot_price_min=100,
    plot_price_falloff=32,
    parcel_plots_max=12,
    player_parcels_max=4,
    player_plots_max=20,
)


MARKET = MarketRules()


def rules(land: LandRules = LAND, market: MarketRules = MARKET) -> Rules:
    return Rules(20, 4.0, 3, 64, 24.0, 20, 8, 5, land, market)


def run(rows: Iterable[Row], world: World | None = None) -> World:
    """Every line of a table, one tick each."""
    world = world or World(*map(join, PEOPLE), rules=rules())
    for number, (who, request, expected) in enumerate(rows, 1):
        got = outcome(world.do(act(who, request)))
        assert got == expected, f"line {number}: {request}"
        balanced(world.state.ledger)
    return world


def claim(x: int, y: int, width: int = 1, height: int = 1) -> LandClaim:
    return LandClaim(*ids(), *(value * PLOT_TILES for value in (x, y, width, height)))


def got(parcel_id: int, price: int) -> LandClaimResult:
    return LandClaimResult(parcel_id, price)


def sell(parcel_id: int, price: int) -> MarketList:
    return MarketList(*ids(), parcel_id, price)


def held(parcel_id: int) -> LandHeld:
    return LandHeld(parcel_id)


def split(parcel_id: int, cut: Cut, at: int) -> LandSplit:
    return LandSplit(*ids(), parcel_id, cut, at * PLOT_TILES)


NO = RefusalCode

TABLES: dict[str, list[Row]] = {
    "a claim takes whole plots of nobody's land, for money": [
        (ADA, claim(0, 0, 2, 1), got(1, 200)),
        (BEA, claim(1, 0), NO.TAKEN),
        (BEA, claim(2, 0), got(2, 100)),
        (ADA, LandClaim(*ids(), 8, 0, 16, 16), NO.BAD_REQUEST),
        (ADA, LandClaim(*ids(), 2**20 - 16, 0, 32, 16), NO.BAD_REQUEST),
    ],
    "nobody owns more than the limits": [
        (ADA, claim(0, 0, 13, 1), NO.LIMIT_REACHED),
        (ADA, claim(100, 100, 4, 3), got(1, 1200)),
        (ADA, claim(200, 0, 3, 3), NO.LIMIT_REACHED),
        *((ADA, claim(200 + 2 * number, 0), got(2 + number, 100)) for number in range(3)),
        (ADA, claim(300, 0), NO.LIMIT_REACHED),
        (BEA, LandTransfer(*ids(), 1, CAL), NO.NOT_OWNER),
        (BEA, claim(0, 300), got(5, 100)),
        (BEA, LandTransfer(*ids(), 5, ADA), held(5)),
        (ADA, LandTake(*ids(), 5), NO.LIMIT_REACHED),
    ],
    "a wallet is never overdrawn": [
        (ADA, claim(0, 0, 4, 3), got(1, 1_200)),
        (ADA, claim(10, 0, 4, 1), NO.INSUFFICIENT_FUNDS),
        (ADA, claim(10, 0, 3, 1), got(2, 300)),
    ],
    "only owners and managers change a parcel": [
        (ADA, claim(0, 0), got(1, 100)),
        (BEA, LandDescribe(*ids(), 1, "Mine", ""), NO.NOT_OWNER),
        (ADA, LandPermit(*ids(), 1, BEA, Standing.MANAGER), held(1)),
        (BEA, LandDescribe(*ids(), 1, "Ours", "A place."), held(1)),
        (BEA, LandOpen(*ids(), 1, False, False), held(1)),
        (BEA, LandPermit(*ids(), 1, CAL, Standing.BUILDER), held(1)),
        (BEA, LandPermit(*ids(), 1, CAL, Standing.MANAGER), NO.NOT_OWNER),
        (BEA, LandPermit(*ids(), 1, BEA, Standing.NONE), NO.NOT_OWNER),
        (CAL, LandPermit(*ids(), 1, CAL, Standing.MANAGER), NO.NOT_OWNER),
        (ADA, LandPermit(*ids(), 1, ADA, Standing.VISITOR), NO.BAD_REQUEST),
        (ADA, LandPermit(*ids(), 1, BEA, Standing.OWNER), NO.BAD_REQUEST),
        (ADA, LandPermit(*ids(), 1, 99, Standing.VISITOR), NO.NOT_FOUND),
        (BEA, LandTransfer(*ids(), 1, BEA), NO.NOT_OWNER),
        (BEA, LandAbandon(*ids(), 1), NO.NOT_OWNER),
        (ADA, LandPermit(*ids(), 1, BEA, Standing.NONE), held(1)),
        (BEA, LandDescribe(*ids(), 1, "Ours", ""), NO.NOT_OWNER),
    ],
    "who gives a parcel away gives all of it": [
        (ADA, claim(0, 0), got(1, 100)),
        (ADA, LandPermit(*ids(), 1, CAL, Standing.MANAGER), held(1)),
        (ADA, LandTransfer(*ids(), 1, ADA), NO.BAD_REQUEST),
        (ADA, LandTransfer(*ids(), 1, 99), NO.NOT_FOUND),
        (ADA, LandTransfer(*ids(), 1, BEA), held(1)),
        (BEA, LandTake(*ids(), 1), LandTaken(1, ADA)),
        (ADA, LandDescribe(*ids(), 1, "Mine", ""), NO.NOT_OWNER),
        (CAL, LandDescribe(*ids(), 1, "Mine", ""), NO.NOT_OWNER),
        (BEA, LandDescribe(*ids(), 1, "Bea's", ""), held(1)),
        (ADA, LandDescribe(*ids(), 9, "Mine", ""), NO.NOT_FOUND),
    ],
    "nobody owns what they did not take": [
        (ADA, claim(0, 0, 2, 1), got(1, 200)),
        (ADA, LandTransfer(*ids(), 1, BEA), held(1)),
        (BEA, LandDescribe(*ids(), 1, "Mine", ""), NO.NOT_OWNER),
        (CAL, LandTake(*ids(), 1), NO.CHANGED),
        (ADA, split(1, Cut.VERTICAL, 1), NO.NOT_ALLOWED),
        (ADA, LandTransfer(*ids(), 1, ADA), held(1)),
        (ADA, LandTransfer(*ids(), 1, ADA), NO.BAD_REQUEST),
        (BEA, LandTake(*ids(), 1), NO.CHANGED),
        (ADA, LandTransfer(*ids(), 1, BEA), held(1)),
        (ADA, sell(1, 300), NO.NOT_ALLOWED),
        (ADA, LandTransfer(*ids(), 1, CAL), held(1)),
        (BEA, LandTake(*ids(), 1), NO.CHANGED),
        (CAL, LandTake(*ids(), 1), LandTaken(1, ADA)),
        (BEA, LandTake(*ids(), 1), NO.CHANGED),
    ],
    "a gift is declined by whom it is given to, and by nobody else": [
        (ADA, claim(0, 0), got(1, 100)),
        (BEA, LandTransfer(*ids(), 1, ADA), NO.NOT_OWNER),
        (ADA, LandTransfer(*ids(), 1, BEA), held(1)),
        (CAL, LandTransfer(*ids(), 1, ADA), NO.NOT_OWNER),
        (BEA, LandTransfer(*ids(), 1, CAL), NO.NOT_OWNER),
        (BEA, LandTransfer(*ids(), 1, BEA), NO.NOT_OWNER),
        (BEA, LandTransfer(*ids(), 1, ADA), held(1)),
        (BEA, LandTransfer(*ids(), 1, ADA), NO.NOT_OWNER),
        (BEA, LandTake(*ids(), 1), NO.CHANGED),
        (ADA, LandTransfer(*ids(), 1, ADA), NO.BAD_REQUEST),
    ],
    "split and merge": [
        (ADA, claim(0, 0, 3, 2), got(1, 600)),
        (ADA, split(1, Cut.VERTICAL, 0), NO.BAD_REQUEST),
        (ADA, split(1, Cut.VERTICAL, 3), NO.BAD_REQUEST),
        (ADA, LandSplit(*ids(), 1, Cut.VERTICAL, 8), NO.BAD_REQUEST),
        (ADA, split(1, Cut.VERTICAL, 2), LandDivided(1, 2)),
        (ADA, split(1, Cut.HORIZONTAL, 1), LandDivided(1, 3)),
        (ADA, LandMerge(*ids(), 1, 2), NO.BAD_REQUEST),
        (ADA, LandMerge(*ids(), 1, 1), NO.BAD_REQUEST),
        (ADA, LandMerge(*ids(), 3, 1), held(3)),
        (ADA, LandMerge(*ids(), 1, 2), NO.NOT_FOUND),
        (ADA, LandMerge(*ids(), 3, 2), held(3)),
        (BEA, split(3, Cut.VERTICAL, 1), NO.NOT_OWNER),
    ],
    "a claim must not enclose open land": [
        (ADA, claim(-1, -1, 3, 1), got(1, 300)),
        (ADA, claim(-1, 1, 3, 1), got(2, 300)),
        (BEA, claim(-1, 0), got(3, 100)),
        (BEA, claim(1, 0), NO.CUT_OFF),
        (BEA, claim(0, 0, 2, 1), got(4, 200)),
    ],
    "a claim must not take a neighbour's last way": [
        (ADA, claim(0, 0), got(1, 100)),
        (BEA, claim(-1, -1, 3, 1), got(2, 300)),
        (BEA, claim(-1, 0, 1, 2), got(3, 200)),
        (BEA, claim(0, 1), got(4, 100)),
        (CAL, claim(1, 0), NO.CUT_OFF),
        (CAL, claim(1, 1), got(5, 100)),
    ],
    "a split must leave each part a way": [
        (ADA, claim(0, 0, 3, 1), got(1, 300)),
        (BEA, claim(0, -1, 2, 1), got(2, 200)),
        (BEA, claim(-1, 0), got(3, 100)),
        (CAL, claim(0, 1, 2, 1), got(4, 200)),
        (ADA, split(1, Cut.VERTICAL, 1), NO.CUT_OFF),
        (ADA, split(1, Cut.VERTICAL, 2), NO.CUT_OFF),
    ],
}


@pytest.mark.parametrize("rows", TABLES.values(), ids=TABLES)
def test_the_rules_line_by_line(rows: list[Row]) -> None:
    run(rows)


@pytest.mark.parametrize(
    ("plots", "price"),
    [
        ((0, 0, 1, 1), 1_000),
        ((31, 0, 2, 1), 1_000),
        ((-33, 0, 2, 1), 1_000),
        ((0, 95, 2, 2), 1_000),
        ((9_999, 0, 1, 1), 100),
    ],
)
def test_land_is_dear_in_the_middle_and_never_free(plots: tuple[int, int, int, int], price: int) -> None:
    """Half at 32 plots from (0, 0), a quarter at 96."""
    assert price_of(LandRules(plot_price=1_000, plot_price_min=100, plot_price_falloff=32), plots) == price


def test_there_must_be_land_in_a_claim() -> None:
    world = World(rules=rules())
    assert outcome(world.do(act(ADA, claim(0, 0), dry_plots=0))) is NO.BAD_REQUEST


def test_money_goes_from_the_treasury_over_wallets_to_the_house() -> None:
    world = run(
        [
            (ADA, claim(0, 0), got(1, 100)),
            (ADA, sell(1, 300), ListingHeld(2, 1)),
            (BEA, MarketBuy(*ids(), 2, 300), ListingBought(2, 1, ADA, 300, 0)),
        ]
    )
    balances = world.state.ledger.balances
    assert balances == {TREASURY: -2 * GRANT, HOUSE: 100, ADA: GRANT + 200, BEA: GRANT - 300}


# --- building ---


def build(*tiles: tuple[int, int, int]) -> TileEdit:
    return TileEdit(*ids(), pack(tiles, TILE_EDIT))


def test_who_may_build_where() -> None:
    world = run(
        [
            (ADA, build((0, 0, Build.WALL)), NO.NOT_OWNER),
            (ADA, claim(0, 0), got(1, 100)),
            (ADA, build((0, 0, Build.WALL), (1, 0, Build.PATH)), TilesEdited(2)),
            (ADA, build((0, 0, Build.NOTHING), (16, 0, Build.WALL)), NO.NOT_OWNER),
            (BEA, build((0, 0, Build.NOTHING)), NO.NOT_OWNER),
            (ADA, LandPermit(*ids(), 1, BEA, Standing.VISITOR), held(1)),
            (BEA, build((0, 0, Build.NOTHING)), NO.NOT_OWNER),
            (ADA, LandPermit(*ids(), 1, BEA, Standing.BUILDER), held(1)),
            (BEA, build((0, 0, Build.NOTHING)), TilesEdited(1)),
            (CAL, build((0, 0, Build.FENCE)), NO.NOT_OWNER),
            (ADA, LandOpen(*ids(), 1, True, True), held(1)),
            (CAL, build((0, 0, Build.FENCE)), TilesEdited(1)),
        ]
    )
    assert outcome(world.do(act(CAL, build((99, 99, Build.WALL)), role=Role.ADMIN))) == TilesEdited(1)
    assert outcome(world.do(act(BEA, claim(6, 6)))) is NO.TAKEN


def test_what_is_abandoned_is_bare_and_may_be_claimed() -> None:
    world = run(
        [
            (ADA, claim(0, 0), got(1, 100)),
            (ADA, build((0, 0, Build.WALL), (15, 15, Build.PATH)), TilesEdited(2)),
            (ADA, LandAbandon(*ids(), 1), held(1)),
            (BEA, claim(0, 0), got(2, 100)),
        ]
    )
    (surface,) = world.state.chunks.surfaces.values()
    assert surface.tiles == 2
    assert not surface.standing().any()


# --- questions ---


def test_land_is_found_at_a_place_in_a_rectangle_and_by_owner() -> None:
    world = run([(ADA, claim(0, 0, 2, 1), got(1, 200)), (BEA, claim(-1, 0), got(2, 100))])
    state = world.state
    assert queries.land_at(state, BEA, LandAt(1, 31.9, 15.9)).parcel_id == 1
    assert queries.land_at(state, BEA, LandAt(1, 31.9, 15.9)).standing is Standing.NONE
    assert queries.land_at(state, BEA, LandAt(1, -0.1, 0.0)).standing is Standing.OWNER
    assert queries.land_at(state, BEA, LandAt(1, 32.0, 0.0)) == ParcelFound()
    found = queries.land_in(state, ADA, LandIn(1, -16, 0, 17, 1))
    assert [parcel.parcel_id for parcel in found.parcels] == [1, 2]
    assert [one.parcel_id for one in queries.land_in(state, ADA, LandIn(1, 0, 0, 1, 1)).parcels] == [1]
    assert [one.parcel_id for one in queries.land_in(state, ADA, LandIn(1, -9, 0, 99, 1, 1)).parcels] == [2]
    assert found_by(world, BEA) == [2]


def found_by(world: World, player_id: int) -> list[int]:
    """What land_mine lists."""
    found = queries.land_mine(world.state, player_id, LandMine(1))
    return [one.parcel_id for one in found.parcels]


GIFT_ENDS: dict[str, tuple[int, AnyDurable, list[int], list[int]]] = {
    "taken": (BEA, LandTake(*ids(), 1), [], [1]),
    "declined": (BEA, LandTransfer(*ids(), 1, ADA), [1], []),
    "taken back": (ADA, LandTransfer(*ids(), 1, ADA), [1], []),
    "given to another": (ADA, LandTransfer(*ids(), 1, CAL), [1], []),
    "nobody's": (ADA, LandAbandon(*ids(), 1), [], []),
}


@pytest.mark.parametrize(("who", "request_", "adas", "beas"), GIFT_ENDS.values(), ids=GIFT_ENDS)
def test_who_is_given_a_parcel_finds_it_among_their_own_until_it_is_none(
    who: int, request_: AnyDurable, adas: list[int], beas: list[int]
) -> None:
    """Guard: Parcels.by_heir, without which only who was here when it was given knows of it."""
    world = run([(ADA, claim(0, 0), got(1, 100)), (ADA, LandTransfer(*ids(), 1, BEA), held(1))])
    (gift,) = queries.land_mine(world.state, BEA, LandMine(1)).parcels
    assert (gift.owner_id, gift.given_to, gift.standing) == (ADA, BEA, Standing.NONE)
    assert (found_by(world, ADA), found_by(world, CAL)) == ([1], [])
    run([(who, request_, LandTaken(1, ADA) if isinstance(request_, LandTake) else held(1))], world)
    assert (found_by(world, ADA), found_by(world, BEA)) == (adas, beas)


def test_so_many_gifts_wait_for_one_player_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guard: GIFTS_MAX; nobody's list grows by what others give."""
    monkeypatch.setattr("world.land.GIFTS_MAX", 2)
    world = run(
        [
            *((ADA, claim(2 * number, 0), got(1 + number, 100)) for number in range(3)),
            (ADA, LandTransfer(*ids(), 1, BEA), held(1)),
            (ADA, LandTransfer(*ids(), 2, BEA), held(2)),
            (ADA, LandTransfer(*ids(), 3, BEA), NO.LIMIT_REACHED),
            (ADA, LandTransfer(*ids(), 2, BEA), held(2)),
            (ADA, LandTransfer(*ids(), 3, CAL), held(3)),
            (BEA, LandTransfer(*ids(), 1, ADA), held(1)),
            (ADA, LandTransfer(*ids(), 3, BEA), held(3)),
        ]
    )
    assert found_by(world, BEA) == [2, 3]


# --- against a plain model ---

PLOTS = st.tuples(st.integers(-3, 3), st.integers(-3, 3), st.integers(1, 3), st.integers(1, 3))


AS_FAR_AS_IT_TAKES, NEARLY_NOWHERE = 1_024, 9  # plots that a walk around may have


@pytest.mark.parametrize("walk_plots_max", [AS_FAR_AS_IT_TAKES, NEARLY_NOWHERE])
@settings(max_examples=60, deadline=None)
@given(wanted=st.lists(st.tuples(PLOTS, st.booleans()), max_size=25))
def test_open_land_stays_one_piece_and_every_parcel_beside_it(
    walk_plots_max: int, wanted: list[tuple[Rectangle, bool]]
) -> None:
    """Whatever is claimed and abandoned: walked by brute force. No claim is refused that would do no harm, unless a walk around is too
    long. Guards: each of the three refusals in _check_open_land, WALK_PLOTS_MAX as a limit beyond which nothing is let through.
    """
    rich = LandRules(starting_grant=10**9, player_parcels_max=10**6, player_plots_max=10**6)
    world = World(rules=rules(rich))
    parcels = world.state.parcels
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(open_land, "WALK_PLOTS_MAX", walk_plots_max)
        for place, gives_back in wanted:
            answer = outcome(world.do(act(ADA, claim(*place))))
            rectangles = [parcel.rectangle for parcel in parcels.by_id.values()]
            assert is_whole(rectangles)
            if answer is NO.CUT_OFF and walk_plots_max == AS_FAR_AS_IT_TAKES:
                assert not is_whole([*rectangles, place])
            parcel = parcels.on(next(plots_in(*place)))
            if gives_back and parcel is not None:
                world.do(act(ADA, LandAbandon(*ids(), parcel.parcel_id)))


def is_whole(parcels: list[Rectangle]) -> bool:
    """Whether open land around parcels near the middle is one piece, and beside each of them."""
    insides = [{(x, y) for x in range(px, px + pw) for y in range(py, py + ph)} for px, py, pw, ph in parcels]
    square = {(x, y) for x in range(-8, 9) for y in range(-8, 9)}
    open_land = square.difference(*insides)
    beside = ({(x + dx, y + dy) for x, y in inside for dx, dy in STEPS} for inside in insides)
    return walked(open_land, (-8, -8)) == open_land and all(map(open_land.intersection, beside))


def walked(open_land: set[tuple[int, int]], start: tuple[int, int]) -> set[tuple[int, int]]:
    seen, frontier = {start}, [start]
    while frontier:
        x, y = frontier.pop()
        for step in ((x + 1, y), (x - 1, y), (x, y + 1), (x, y - 1)):
            if step in open_land and step not in seen:
                seen.add(step)
                frontier.append(step)
    return seen


def fence(left: int, top: int, side: int, gap: bool = False) -> list[Rectangle]:
    """Eight parcels around a square of plots; the last of them a plot shorter where a gap is left."""
    half, rest = side // 2, side - side // 2
    right, bottom = left + side, top + side
    return [
        *((left - 1, top - 1, half + 1, 1), (left + half, top - 1, rest + 1, 1)),
        *((left - 1, bottom, half + 1, 1), (left + half, bottom, rest + 1, 1)),
        *((left - 1, top, 1, half), (left - 1, top + half, 1, rest)),
        *((right, top, 1, half), (right, top + half, 1, rest - gap)),
    ]


LARGE = LandRules(starting_grant=10**9, player_plots_max=10**6)


@pytest.mark.parametrize("side", [34, 62])
def test_open_land_is_not_enclosed_however_large_it_is(side: int) -> None:
    """140 plots once held 34 x 34 others, and whoever lived there. Guard: _walk_around, which has to arrive."""
    world = World(rules=rules(LARGE))
    assert outcome(world.do(act(BEA, claim(side // 2, side // 2)))) == got(1, side and 1)
    *others, closing = fence(0, 0, side)
    answers = [outcome(world.do(act(ADA, claim(*place)))) for place in others]
    assert all(isinstance(answer, LandClaimResult) for answer in answers)
    assert outcome(world.do(act(ADA, claim(*closing)))) is NO.CUT_OFF
    *_, with_gap = fence(0, 0, side, gap=True)
    assert isinstance(outcome(world.do(act(ADA, claim(*with_gap)))), LandClaimResult)


def test_a_street_stays_between_two_large_towns() -> None:
    """A town that is walked around within the limit may grow together with any other; two that are not may not."""
    world = World(rules=rules(LARGE))

    def wall(x: int, y: int, plots: int) -> None:
        for left in range(x, x + plots, 64):
            place = claim(left, y, min(64, x + plots - left), 1)
            assert isinstance(outcome(world.do(act(ADA, place))), LandClaimResult)

    long = open_land.WALK_PLOTS_MAX // 4  # all around it: half of what may be walked
    wall(0, 0, long)
    wall(0, 4, 1)
    wall(0, 8, long)
    assert outcome(world.do(act(BEA, claim(0, 1, 1, 3)))) == got(world.state.parcels.last_id, 3)
    assert outcome(world.do(act(BEA, claim(0, 5, 1, 3)))) is NO.CUT_OFF
    assert outcome(world.do(act(BEA, claim(0, 5, 1, 2)))) == got(world.state.parcels.last_id, 2)


def test_what_a_claim_costs_has_a_limit() -> None:
    """Pockets of any size, and as many runs around a claim as there can be. Guard: one budget for all walks, WALK_PLOTS_MAX."""
    looks = 0

    def is_open(px: int, py: int) -> bool:
        nonlocal looks
        looks += 1
        return py != 0 and not (px % 2 and abs(py) < 10**6)

    with pytest.raises(Refusal):
        open_land.check_one_piece((0, 0, 64, 1), is_open)
    assert looks < 4 * open_land.WALK_PLOTS_MAX + 300


@pytest.mark.parametrize("upright", [True, False])
def test_many_long_neighbours_are_looked_at_once_each(upright: bool) -> None:
    """128 parcels of the longest kind, each open at its far end only: 15 ms once. Guard: _has_open_now in cut_off."""
    world, looks = World(rules=rules(LARGE)), 0
    for row in range(64):
        for x in (-64, 1):
            place = (x, row, 64, 1) if upright else (row, x, 1, 64)
            world.state.parcels.put(Parcel(world.state.parcels.last_id + 1, ADA, "Ada", *place))
    middle = (0, 0, 1, 64) if upright else (0, 0, 64, 1)
    whole = open_land.looking(world.state, closed=set(plots_in(*middle)))

    def is_open(px: int, py: int) -> bool:
        nonlocal looks
        looks += 1
        return whole(px, py)

    assert list(open_land.cut_off(world.state, middle, is_open)) == []
    assert looks < 1_000
