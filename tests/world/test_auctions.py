"""What auctions grant and refuse: one action and its result a line; an int: so many ticks pass, and the world does what is due."""

from collections.abc import Iterable
from dataclasses import replace

import pytest

from protocol.messages import (
    AuctionHeld,
    BidPlaced,
    LandAbandon,
    LandOpen,
    LandPermit,
    ListingHeld,
    MarketAuction,
    MarketBid,
    MarketBuy,
    MarketCancel,
    MarketEdit,
    MarketList,
    Role,
    SaleEnd,
    Standing,
)
from tests.world.support import ADA, BEA, CAL, PEOPLE, World, act, balanced, ids, join, outcome
from tests.world.test_land import GRANT, LAND, NO, Row, build, claim, got, held, rules
from tests.world.test_leases import run as played
from tests.world.test_leases import wait
from world.commands import Become, Reopen, Settle
from world.ledger import ESCROW, HOUSE
from world.sales import Auction
from world.settlement import AUCTION_ENDED, AUCTION_EXTENDED
from world.state import MarketRules
from world.tiles import Build

MARKET = MarketRules(
    fee_basis_points=1_000,
    fee_min=5,
    price_min=10,
    price_max=9_000,
    step_min=10,
    snipe_ms=500,
    extensions_max=2,
    listing_ms_min=100,
)
TICK_MS = 50
LASTS = 40  # ticks
CLAIMED: Row = (ADA, claim(0, 0, 2, 1), got(1, 200))  # in the second tick; the auction begins in the third


def begin(
    start: int = 100,
    reserve: int | None = None,
    buy_now: int | None = None,
    keep_permits: bool | None = None,
) -> MarketAuction:
    return MarketAuction(*ids(), 1, start, LASTS * TICK_MS, reserve, buy_now, keep_permits)


def bid(amount: int, maximum: int | None = None) -> MarketBid:
    return MarketBid(*ids(), 2, amount, maximum)


BEGUN: Row = (ADA, begin(), AuctionHeld(2, 1, (3 + LASTS) * TICK_MS))
ENDS_MS = (3 + LASTS) * TICK_MS


def placed(leads: bool, price: int, ends_ms: int = ENDS_MS, sold: bool = False) -> BidPlaced:
    return BidPlaced(2, leads, price, ends_ms, sold, ADA if sold else None)


def run(*rows: Row | int) -> World:
    """Every line of a table."""
    world = World(*map(join, PEOPLE), rules=rules(LAND, MARKET))
    world.state.opened = -10_000  # long ago
    return played(*rows, world=world)


TABLES: dict[str, list[Row | int]] = {
    "who owns it begins it, once, and takes it back while nobody has bid": [
        CLAIMED,
        (BEA, begin(), NO.NOT_OWNER),
        (ADA, begin(9), NO.TOO_LOW),
        (ADA, begin(100, 200, 150), NO.BAD_REQUEST),
        (ADA, begin(), AuctionHeld(2, 1, (6 + LASTS) * TICK_MS)),
        (ADA, begin(), NO.NOT_ALLOWED),
        (ADA, MarketList(*ids(), 1, 100), NO.NOT_ALLOWED),
        (ADA, LandAbandon(*ids(), 1), NO.NOT_ALLOWED),
        (ADA, MarketCancel(*ids(), 2), ListingHeld(2, 1)),
        (ADA, begin(), AuctionHeld(4, 1, (11 + LASTS) * TICK_MS)),
    ],
    "nobody bids on their own, too little, or more than they have": [
        CLAIMED,
        BEGUN,
        (ADA, bid(100), NO.BAD_REQUEST),
        (BEA, bid(99), NO.TOO_LOW),
        (BEA, bid(GRANT + 1), NO.INSUFFICIENT_FUNDS),
        (BEA, bid(100, GRANT + 1), NO.INSUFFICIENT_FUNDS),
        (BEA, bid(100, 99), NO.BAD_REQUEST),
        (BEA, bid(100, GRANT), placed(True, 100)),
        (CAL, bid(110, GRANT + 1), NO.INSUFFICIENT_FUNDS),
        (CAL, bid(110, 120), placed(False, 130)),
        (ADA, MarketCancel(*ids(), 2), NO.NOT_ALLOWED),
    ],
    "a late bid moves the end, so often": [
        CLAIMED,
        BEGUN,
        LASTS - 5,
        (BEA, bid(100), placed(True, 100, ENDS_MS + 6 * TICK_MS)),
        8,
        (CAL, bid(110), placed(True, 110, ENDS_MS + 15 * TICK_MS)),
        8,
        (BEA, bid(120), placed(True, 120, ENDS_MS + 20 * TICK_MS)),
        5,
        (CAL, bid(130), NO.ENDED),
    ],
    "at once": [
        CLAIMED,
        (ADA, begin(100, None, 500), AuctionHeld(2, 1, ENDS_MS)),
        (BEA, bid(100, 400), placed(True, 100)),
        (CAL, bid(500), placed(True, 500, 5 * TICK_MS, sold=True)),
        (BEA, bid(600), NO.ENDED),
        (CAL, LandAbandon(*ids(), 1), held(1)),
    ],
    "at once, but not where the leader would pay as much": [
        CLAIMED,
        (ADA, begin(100, None, 500), AuctionHeld(2, 1, ENDS_MS)),
        (BEA, bid(100, 600), placed(True, 100)),
        (CAL, bid(500, 499), NO.BAD_REQUEST),
        (CAL, bid(500), placed(False, 510)),
        (BEA, bid(500), NO.TOO_LOW),
    ],
    "the leader, too, may have it at once": [
        CLAIMED,
        (ADA, begin(100, None, 500), AuctionHeld(2, 1, ENDS_MS)),
        (BEA, bid(100, 600), placed(True, 100)),
        (BEA, bid(500), placed(True, 500, 5 * TICK_MS, sold=True)),
    ],
    "what is in an auction is not bought as if it had a price": [
        CLAIMED,
        BEGUN,
        (BEA, MarketBuy(*ids(), 2, 100), NO.NOT_ALLOWED),
        (BEA, MarketEdit(*ids(), 2, 100), NO.NOT_ALLOWED),
    ],
    "permits that stay are not changed until it is over": [
        CLAIMED,
        (ADA, begin(keep_permits=True), AuctionHeld(2, 1, ENDS_MS)),
        (ADA, LandPermit(*ids(), 1, CAL, Standing.BUILDER), NO.NOT_ALLOWED),
        (ADA, LandOpen(*ids(), 1, False, True), NO.NOT_ALLOWED),
        LASTS,
        (ADA, LandOpen(*ids(), 1, False, True), held(1)),
    ],
    "nobody builds on what is in an auction": [
        CLAIMED,
        (ADA, LandOpen(*ids(), 1, True, True), held(1)),
        (ADA, begin(), AuctionHeld(3, 1, (4 + LASTS) * TICK_MS)),
        (CAL, build((1, 0, Build.WALL)), NO.NOT_ALLOWED),
        (ADA, build((1, 0, Build.WALL)), NO.NOT_ALLOWED),
    ],
}


@pytest.mark.parametrize("rows", TABLES.values(), ids=TABLES)
def test_the_rules_of_auctions(rows: Iterable[Row | int]) -> None:
    run(*rows)


def test_what_the_leader_would_pay_is_set_aside_and_comes_back_when_outbid() -> None:
    """Guards: _back, _voided and the hold in _held."""
    world = run(CLAIMED, BEGUN, (BEA, bid(100, 700), placed(True, 100)))
    ledger = world.state.ledger
    assert (ledger.balance(BEA), ledger.held[BEA], ledger.balance(ESCROW)) == (GRANT - 700, 700, 700)
    world.do(act(CAL, bid(110, 900)))
    assert (ledger.balance(BEA), ledger.held) == (GRANT, {CAL: 900})
    assert (ledger.balance(CAL), ledger.balance(ESCROW)) == (GRANT - 900, 900)
    world.do(act(CAL, bid(710, 1_000)))
    assert (ledger.balance(CAL), ledger.held) == (GRANT - 1_000, {CAL: 1_000})


def test_it_ends_once_and_the_leader_pays_the_price_and_has_the_rest_back() -> None:
    world = run(
        CLAIMED, BEGUN, (BEA, bid(100, 700), placed(True, 100)), (CAL, bid(110, 300), placed(False, 310))
    )
    ledger = world.state.ledger
    assert wait(world, LASTS + 30) == [AUCTION_ENDED]
    assert (
        ledger.balance(BEA),
        ledger.balance(
            CAL,
        ),
    ) == (GRANT - 310, GRANT if CAL in ledger.balances else 0)
    assert ledger.balance(ADA) == GRANT - 200 + 310 - 31
    assert ledger.balance(HOUSE) == 200 + 31
    assert (ledger.held, ledger.balance(ESCROW)) == ({}, 0)
    assert world.state.parcels.by_id[1].owner_id == BEA
    assert world.state.parcels.by_id[1].owner_name == "p2"


@pytest.mark.parametrize(("maximum", "sold"), [(299, False), (300, True)])
def test_below_its_reserve_it_is_not_sold(maximum: int, sold: bool) -> None:
    world = run(CLAIMED, (ADA, begin(100, 300), AuctionHeld(2, 1, ENDS_MS)))
    world.do(act(BEA, bid(100, maximum)))
    [entry] = [entry for _ in range(LASTS + 1) for entry in world.do(Settle(1)).entries]
    [auction] = [change for change in entry.changes if isinstance(change, Auction)]
    assert auction.end is (SaleEnd.SOLD if sold else SaleEnd.UNSOLD)
    assert world.state.parcels.by_id[1].owner_id == (BEA if sold else ADA)
    assert world.state.ledger.balance(BEA) == GRANT - (300 if sold else 0)
    balanced(world.state.ledger)


OUTAGE_TICKS = MARKET.outage_ms // TICK_MS


def test_no_auction_ends_just_after_the_database_was_away() -> None:
    """It was away over the end, so nobody could bid. Guard: `opened` in extended."""
    world = run(CLAIMED, BEGUN, (BEA, bid(100), placed(True, 100)))
    for _ in range(LASTS + 120):
        world.do()
    assert outcome(world.do(act(CAL, bid(110)))) == NO.ENDED
    assert outcome(world.do(Reopen(), act(CAL, bid(110)))) == NO.UNAVAILABLE
    ends_ms = (world.state.tick + OUTAGE_TICKS) * TICK_MS
    [extended] = world.do(Settle(16)).entries
    assert extended.kind == AUCTION_EXTENDED
    assert outcome(world.do(act(CAL, bid(110)))) == placed(True, 110, ends_ms)
    assert wait(world, OUTAGE_TICKS + 1) == [AUCTION_ENDED]
    assert world.state.parcels.by_id[1].owner_id == CAL


@pytest.mark.parametrize(("lasts_on", "kinds"), [(-1, [AUCTION_EXTENDED]), (0, [AUCTION_ENDED])])
def test_what_would_end_just_after_a_start_goes_on(lasts_on: int, kinds: list[str]) -> None:
    """Guard: `opened` in extended; who would have bid is not back yet."""
    world = run(CLAIMED, BEGUN, (BEA, bid(100), placed(True, 100)))
    world.state.opened = 3 + LASTS - OUTAGE_TICKS - lasts_on
    assert wait(world, LASTS - 1) == kinds


def test_who_leads_has_their_new_name_and_owns_the_land_by_it() -> None:
    """Guard: Sales.rename."""
    world = run(CLAIMED, BEGUN, (BEA, bid(100), placed(True, 100)))
    world.do(Become(BEA, "Beatrix", Role.USER, 0))
    wait(world, LASTS)
    assert world.state.parcels.by_id[1].owner_name == "Beatrix"


def test_one_player_leads_in_so_many() -> None:
    """Guard: _check_leads. Who leads already may raise."""
    market = replace(MARKET, player_leads_max=1)
    world = World(*map(join, PEOPLE), rules=rules(LAND, market))
    for number, plot in enumerate((0, 32), 1):
        world.do(act(ADA, claim(plot, 0)))
        world.do(act(ADA, MarketAuction(*ids(), number, 100, LASTS * TICK_MS)))
    assert isinstance(outcome(world.do(act(BEA, MarketBid(*ids(), 2, 100)))), BidPlaced)
    assert outcome(world.do(act(BEA, MarketBid(*ids(), 4, 100)))) == NO.LIMIT_REACHED
    assert isinstance(outcome(world.do(act(BEA, MarketBid(*ids(), 2, 100, 150)))), BidPlaced)
    world.do(act(CAL, MarketBid(*ids(), 2, 400)))
    assert isinstance(outcome(world.do(act(BEA, MarketBid(*ids(), 4, 100)))), BidPlaced)


def test_permits_stay_or_go_as_the_seller_said() -> None:
    world = run(CLAIMED, (ADA, LandPermit(*ids(), 1, CAL, Standing.BUILDER), held(1)))
    world.do(act(ADA, MarketAuction(*ids(), 1, 100, LASTS * TICK_MS, None, None, True)))
    world.do(act(BEA, MarketBid(*ids(), 3, 100)))
    wait(world, LASTS + 1)
    assert [one.player_id for one in world.state.parcels.by_id[1].permits] == [CAL]


@pytest.mark.parametrize(("price", "sold"), [(1_465, False), (1_466, True)])
def test_upkeep_that_was_missed_meanwhile_is_paid_out_of_the_price(price: int, sold: bool) -> None:
    """1,320 are owed, which Ada has not, and the fee is a tenth. Guards: _missed in _is_sold and in _shared_out."""
    land = replace(LAND, upkeep_per_plot=660, upkeep_period_ms=30 * TICK_MS, upkeep_grace=3)
    world = World(*map(join, PEOPLE), rules=rules(land, MARKET))
    world.state.opened = -10_000
    world.do(act(ADA, claim(0, 0, 2, 1)))
    world.do(act(ADA, begin()))
    world.do(act(BEA, bid(price)))
    assert wait(world, LASTS) == ["upkeep_missed", AUCTION_ENDED]
    parcel, ledger = world.state.parcels.by_id[1], world.state.ledger
    assert (parcel.owner_id, parcel.arrears) == ((BEA, 0) if sold else (ADA, 1))
    assert ledger.balance(ADA) == GRANT - 200
    assert ledger.balance(HOUSE) == 200 + (price if sold else 0)


def test_who_has_a_permit_may_have_another_name() -> None:
    """Guard: an inspection knows nobody by name. Else whoever may build there could end the bidding."""
    world = run(CLAIMED, (ADA, LandPermit(*ids(), 1, CAL, Standing.BUILDER), held(1)))
    world.do(act(ADA, MarketAuction(*ids(), 1, 100, LASTS * TICK_MS, None, None, True)))
    world.do(Become(CAL, "Calypso", Role.USER, 0))
    assert isinstance(outcome(world.do(act(BEA, MarketBid(*ids(), 3, 100)))), BidPlaced)
    assert wait(world, LASTS + 1) == [AUCTION_ENDED]
    assert world.state.parcels.by_id[1].owner_id == BEA


def test_after_an_outage_late_bids_move_the_end_as_before() -> None:
    """However long it was. Guard: `latest` in extended."""
    world = run(CLAIMED, BEGUN)
    for _ in range(500):
        world.do()
    world.do(Reopen())
    wait(world, OUTAGE_TICKS - 3)
    [placed] = [one.result for one in world.do(act(BEA, bid(100))).replies]
    assert isinstance(placed, BidPlaced)
    assert placed.ends_ms == (world.state.tick + MARKET.snipe_ms // TICK_MS) * TICK_MS


def test_what_somebody_leads_for_counts_as_theirs() -> None:
    """Guard: `led` in land.check_count. Who raises in the one auction is not counted twice."""
    world = World(*map(join, PEOPLE), rules=rules(replace(LAND, player_parcels_max=1), MARKET))
    world.do(act(ADA, claim(0, 0)))
    world.do(act(ADA, begin()))
    assert isinstance(outcome(world.do(act(BEA, bid(100)))), BidPlaced)
    assert outcome(world.do(act(BEA, claim(64, 0)))) == NO.LIMIT_REACHED
    assert isinstance(outcome(world.do(act(BEA, bid(100, 200)))), BidPlaced)
    world.do(act(CAL, bid(300)))
    assert not isinstance(outcome(world.do(act(BEA, claim(64, 0)))), NO)


def test_what_an_admin_built_meanwhile_is_not_sold() -> None:
    """Guards: changed_since in _is_sold, check_as_inspected in bid."""
    world = run(CLAIMED, BEGUN, (BEA, bid(100), placed(True, 100)))
    world.do(act(ADA, build((1, 0, Build.WALL)), role=Role.ADMIN))
    assert outcome(world.do(act(CAL, bid(110)))) == NO.CHANGED
    assert wait(world, LASTS) == [AUCTION_ENDED]
    assert world.state.parcels.by_id[1].owner_id == ADA
    assert world.state.ledger.balance(BEA) == GRANT
