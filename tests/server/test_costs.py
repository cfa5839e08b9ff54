"""What a request is said to take of the tick follows what makes it dear."""

from collections.abc import Iterable
from dataclasses import replace

import pytest

from protocol.edits import EDITS_MAX, TILE_EDIT, pack
from protocol.messages import (
    Cut,
    LandAbandon,
    LandClaim,
    LandDescribe,
    LandEase,
    LandLet,
    LandMerge,
    LandOpen,
    LandRent,
    LandSplit,
    LandTake,
    MarketAuction,
    MarketBid,
    MarketBuy,
    MarketEdit,
    MarketList,
    TileEdit,
)
from server.costs import PLAIN_US, WALK_US, Costs
from tests.world.support import ADA, BEA, RULES, World, act, ids
from world.commands import AnyDurable
from world.parcels import Parcel, Terms
from world.state import LandRules, State

ONE, LONG, SQUARE = 1, 2, 3  # parcel_ids: a plot, 64 x 1 and 8 x 8 plots; the last is to let
TERMS = Terms(1, 0, 86_400_000, False)


def costs(*claimed: tuple[int, int]) -> Costs:
    """With land of Ada far from (0, 0), and single plots of hers."""
    state = State(RULES)
    for number, rectangle in enumerate(((90, 0, 1, 1), (90, 9, 64, 1), (90, 20, 8, 8)), 1):
        state.parcels.put(Parcel(number, ADA, "Ada", *rectangle, to_let=TERMS if number == SQUARE else None))
    for number, (px, py) in enumerate(claimed, 9):
        state.parcels.put(Parcel(number, ADA, "Ada", px, py, 1, 1))
    return Costs(state)


def claim(px: int, py: int, pw: int = 1, ph: int = 1) -> LandClaim:
    return LandClaim(*ids(), 16 * px, 16 * py, 16 * pw, 16 * ph)


def edit(tiles: int) -> TileEdit:
    return TileEdit(*ids(), pack([(one, 0, 1) for one in range(tiles)], TILE_EDIT))


@pytest.mark.parametrize(
    ("request_", "least", "most"),
    [
        (LandDescribe(*ids(), LONG, "a", "b"), PLAIN_US, PLAIN_US),
        (MarketList(*ids(), ONE, 5), 60, 60),
        (MarketList(*ids(), LONG, 5), 300, 450),
        (MarketBuy(*ids(), 77, 5), PLAIN_US, PLAIN_US),
        (MarketBid(*ids(), 77, 5), PLAIN_US, PLAIN_US),
        (MarketAuction(*ids(), LONG, 5, 60_000), 300, 450),
        (LandAbandon(*ids(), 77), PLAIN_US, PLAIN_US),
        (edit(8), PLAIN_US, PLAIN_US),
        (edit(EDITS_MAX), 400, 600),
        (LandOpen(*ids(), ONE, True, True), PLAIN_US, PLAIN_US),
        (LandOpen(*ids(), LONG, True, True), 200, 300),
        (LandRent(*ids(), SQUARE, 1), 1_300, 1_600),
        (LandEase(*ids(), SQUARE, 0, 0, 0, 0), 3_000, 3_500),
        (LandSplit(*ids(), LONG, Cut.VERTICAL, 16), 150, 250),
        (LandSplit(*ids(), LONG, Cut.VERTICAL, 16, True), 150, 250),
        (LandAbandon(*ids(), ONE), 60, 100),
        (claim(0, 0), 60, 100),
        (claim(0, 0, 8, 8), 600, 800),
        (claim(0, 0, 99, 99), PLAIN_US, PLAIN_US),
    ],
)
def test_each_kind_has_what_was_measured(request_: AnyDurable, least: int, most: int) -> None:
    assert least <= costs().of(request_, ADA) <= most


def test_what_stands_on_a_parcel_makes_it_dear_to_clear() -> None:
    """12 ms were measured for 16,384 tiles."""
    world = World(rules=replace(RULES, land=LandRules(starting_grant=1_000)))
    world.do(act(ADA, claim(0, 0, 8, 8)))
    bare = Costs(world.state).of(LandAbandon(*ids(), 1), ADA)
    for row in range(4):
        tiles = [(x, y, 1) for y in range(32 * row, 32 * row + 32) for x in range(128)]
        for start in range(0, len(tiles), EDITS_MAX):
            world.do(act(ADA, TileEdit(*ids(), pack(tiles[start : start + EDITS_MAX], TILE_EDIT))))
    assert 11_000 <= Costs(world.state).of(LandAbandon(*ids(), 1), ADA) - bare <= 13_000


@pytest.mark.parametrize(
    ("taken", "walks"),
    [
        ([], False),
        ([(-1, 0)], False),
        ([(-1, -1), (0, -1), (1, -1)], False),
        ([(-1, 0), (1, 0)], True),
        ([(-1, -1), (1, 1)], True),
        ([(x, y) for x in (-1, 0, 1) for y in (-1, 0, 1) if (x, y) != (0, 0)], False),
    ],
)
def test_a_claim_costs_a_walk_where_open_land_might_be_divided(
    taken: Iterable[tuple[int, int]], walks: bool
) -> None:
    """Guard: Costs._runs."""
    assert (costs(*taken).of(claim(0, 0), ADA) > WALK_US) is walks


def test_what_is_claimed_before_in_the_same_tick_counts() -> None:
    """Guard: Costs.take."""
    tick = costs((-1, 0))
    assert tick.of(claim(0, 0), ADA) < WALK_US
    tick.take(claim(1, 0))
    assert tick.of(claim(0, 0), ADA) > WALK_US


@pytest.mark.parametrize(
    ("request_", "by"),
    [
        (LandEase(*ids(), 77, 0, 0, 16, 16), ADA),
        (LandEase(*ids(), SQUARE, 0, 0, 16, 16), BEA),
        (LandAbandon(*ids(), SQUARE), BEA),
        (LandMerge(*ids(), SQUARE, LONG), BEA),
        (LandSplit(*ids(), SQUARE, Cut.VERTICAL, 16), BEA),
        (LandRent(*ids(), LONG, 1), BEA),
        (MarketList(*ids(), LONG, 1), BEA),
        (claim(97, 27), BEA),
        (claim(89, 19, 2, 2), BEA),
    ],
)
def test_what_is_refused_at_once_is_plain(request_: AnyDurable, by: int) -> None:
    """Guards: _is_refused, the look at by_plot in Costs._claim. Else thirty who own nothing take the tick's time from all others."""
    assert costs().of(request_, by) == PLAIN_US


@pytest.mark.parametrize(
    ("before", "request_"),
    [
        (LandTake(*ids(), SQUARE), LandEase(*ids(), SQUARE, 0, 0, 16, 16)),
        (LandTake(*ids(), SQUARE), LandAbandon(*ids(), SQUARE)),
        (LandMerge(*ids(), ONE, SQUARE), claim(97, 27)),
        (LandAbandon(*ids(), SQUARE), claim(97, 27)),
        (MarketList(*ids(), LONG, 5), MarketBuy(*ids(), 77, 5)),
        (MarketAuction(*ids(), LONG, 5, 60_000), MarketBid(*ids(), 77, 5)),
        (MarketList(*ids(), LONG, 5), MarketEdit(*ids(), 77, 5)),
        (claim(0, 0, 8, 8), MarketList(*ids(), SQUARE + 1, 5)),
        (LandLet(*ids(), LONG, 1), LandRent(*ids(), LONG, 1)),
        (LandSplit(*ids(), SQUARE, Cut.VERTICAL, 16), LandEase(*ids(), SQUARE + 1, 0, 0, 0, 0)),
        (claim(0, 0), LandEase(*ids(), SQUARE + 1, 0, 0, 0, 0)),
    ],
)
def test_nothing_is_sure_to_be_refused_that_something_before_it_may_allow(
    before: AnyDurable, request_: AnyDurable
) -> None:
    """Guards: Costs._touched and _made. Else what changes hands in a tick would be used there for nothing."""
    tick = costs()
    assert tick.of(request_, BEA) == PLAIN_US
    tick.take(before)
    assert tick.of(request_, BEA) > PLAIN_US
