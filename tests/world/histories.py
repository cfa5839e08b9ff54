"""Whatever three players may ask of land, money and buildings on a few plots, for properties that hold of every history."""

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from protocol.edits import TILE_EDIT, pack
from protocol.messages import (
    PLOT_TILES,
    Cut,
    LandAbandon,
    LandClaim,
    LandDescribe,
    LandEase,
    LandLeave,
    LandLet,
    LandMerge,
    LandOpen,
    LandPermit,
    LandRent,
    LandSplit,
    LandTake,
    LandTransfer,
    MarketAuction,
    MarketBid,
    MarketBuy,
    MarketCancel,
    MarketEdit,
    MarketList,
    Role,
    Standing,
    TileEdit,
    TileUndo,
)
from tests.world.support import ADA, BEA, CAL, World, act, ids, join, plain
from world.commands import Act, AnyDurable
from world.state import LandRules, MarketRules, Rules
from world.tiles import Build

LAND = LandRules(
    starting_grant=5_000,
    plot_price=100,
    plot_price_min=10,
    plot_price_falloff=4,
    parcel_plots_max=6,
    player_parcels_max=4,
    player_plots_max=12,
    upkeep_per_plot=20,
    upkeep_period_ms=900,
    upkeep_grace=1,
)
MARKET = MarketRules(fee_basis_points=1_000, fee_min=5, player_listings_max=3)
RULES = Rules(20, 4.0, 3, 64, 24.0, 20, 8, 5, LAND, MARKET)
REACH = 2  # plots from (0, 0), either way

Fields = dict[str, st.SearchStrategy[Any]]

PLAYER = st.sampled_from((ADA, BEA, CAL))
SOMEBODY = PLAYER | st.just(99)  # who is nobody
PARCEL = st.sampled_from((1, 1, 2, 3, 4, 5, 5, 6))
PLOT = st.integers(-REACH, REACH).map(lambda plot: plot * PLOT_TILES)
SIDE = st.integers(1, 3).map(lambda plots: plots * PLOT_TILES)
PRICE = st.sampled_from((70, 70, 70, 0, 10**9))
LISTING = st.sampled_from((6, 6, 7, 7, 11, 11, *range(12, 24)))  # made at the beginning, and by who asks
LINE = st.sampled_from((-PLOT_TILES, PLOT_TILES))  # through the middle of what is owned from the beginning
TERM = st.sampled_from((50, 200, 600))  # milliseconds; a tick has 50
TILE = st.tuples(*[st.integers(-REACH * PLOT_TILES, REACH * PLOT_TILES)] * 2, st.sampled_from(Build))
EDITS = st.lists(TILE, min_size=1, max_size=4).map(lambda edits: pack(edits, TILE_EDIT))

ASKED: dict[type[AnyDurable], Fields] = {
    TileEdit: {"edits": EDITS},
    TileUndo: {},
    LandClaim: {"x": PLOT, "y": PLOT, "width": SIDE, "height": SIDE},
    LandDescribe: {"parcel_id": PARCEL, "name": st.text(max_size=3), "description": st.just("")},
    LandOpen: {"parcel_id": PARCEL, "enter": st.booleans(), "build": st.booleans()},
    LandPermit: {"parcel_id": PARCEL, "player_id": SOMEBODY, "standing": st.sampled_from(Standing)},
    LandTransfer: {"parcel_id": PARCEL, "to": SOMEBODY},
    LandSplit: {"parcel_id": PARCEL, "cut": st.sampled_from(Cut), "at": PLOT | LINE},
    LandMerge: {"parcel_id": PARCEL, "other_id": PARCEL},
    LandAbandon: {"parcel_id": PARCEL},
    LandTake: {"parcel_id": PARCEL},
    MarketList: {
        "parcel_id": PARCEL,
        "price": PRICE,
        "duration_ms": st.none() | TERM,
        "keep_permits": st.booleans(),
    },
    MarketEdit: {"listing_id": LISTING, "price": PRICE, "duration_ms": st.none() | TERM},
    MarketCancel: {"listing_id": LISTING},
    MarketBuy: {"listing_id": LISTING, "price": PRICE},
    MarketAuction: {
        "parcel_id": PARCEL,
        "start_price": PRICE,
        "duration_ms": TERM,
        "reserve": st.none() | PRICE,
        "buy_now": st.none() | st.just(700),
        "keep_permits": st.booleans(),
        "show_reserve": st.booleans(),
    },
    MarketBid: {
        "auction_id": LISTING,
        "amount": st.sampled_from((70, 80, 100, 700)),
        "maximum": st.none() | st.sampled_from((100, 300, 800)),
    },
    LandLet: {
        "parcel_id": PARCEL,
        "rent": st.none() | PRICE,
        "term_ms": TERM,
        "deposit": st.none() | PRICE,
        "renewable": st.booleans(),
    },
    LandRent: {"parcel_id": PARCEL, "rent": PRICE},
    LandLeave: {"parcel_id": PARCEL},
    LandEase: {"parcel_id": PARCEL, "x": PLOT, "y": PLOT, "width": SIDE | st.just(0), "height": SIDE},
}


def _asked(kind: type[AnyDurable], fields: Fields) -> st.SearchStrategy[AnyDurable]:
    make: Callable[..., AnyDurable] = lambda **given: kind(*ids(), **given)  # noqa: E731
    return st.builds(make, **fields)


REQUEST: st.SearchStrategy[AnyDurable] = st.one_of([_asked(kind, fields) for kind, fields in ASKED.items()])
ROLE = st.sampled_from((*[Role.USER] * 7, Role.MODERATOR, Role.ADMIN))
BEGUN = ((ADA, 0, 0), (ADA, 0, 1), (BEA, -2, 0), (CAL, 0, -2), (BEA, -2, -2))  # whose, and where


def begun() -> list[Act]:
    """What makes each of them an owner, with something for sale, a tenant and a manager, so that there is something to ask about."""
    claims = [
        act(who, LandClaim(*ids(), px * PLOT_TILES, py * PLOT_TILES, 2 * PLOT_TILES, PLOT_TILES))
        for who, px, py in BEGUN
    ]
    offers = act(BEA, MarketList(*ids(), 3, 70)), act(CAL, MarketList(*ids(), 4, 70))
    lease = act(BEA, LandLet(*ids(), 5, 70, 2_000, 70, True)), act(ADA, LandRent(*ids(), 5, 70))
    manager = act(ADA, LandPermit(*ids(), 1, CAL, Standing.MANAGER))
    return [*claims, *offers, *lease, manager, act(ADA, MarketAuction(*ids(), 2, 70, 5_000, None, 700))]


def asked_by(who: int, request: AnyDurable, role: Role, likely: bool) -> Act:
    """An act; if `likely`, of whoever owned the parcel at the beginning, so that more is granted than by chance."""
    parcel_id = getattr(request, "parcel_id", 0)
    if likely and 0 < parcel_id <= len(BEGUN) and not isinstance(request, LandTake | LandRent):
        who = BEGUN[parcel_id - 1][0]
    return act(who, request, role)


ACTS: st.SearchStrategy[list[Act]] = st.lists(
    st.builds(asked_by, PLAYER, REQUEST, ROLE, st.booleans()), min_size=20, max_size=50
).map(lambda asked: [*begun(), *asked])


def settled() -> World:
    """A world with ground and three players in it, and nobody's land."""
    return World(*plain(), join(ADA), join(BEA), join(CAL), rules=RULES)
