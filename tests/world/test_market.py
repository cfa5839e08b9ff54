"""What the market grants and what it refuses: one action and its result a line; an int: so many ticks pass."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import Refusal
from protocol.messages import (
    BASIS_POINTS,
    Cut,
    LandAbandon,
    LandAt,
    LandDescribe,
    LandEase,
    LandForSale,
    LandLet,
    LandMerge,
    LandOpen,
    LandPermit,
    LandPermits,
    LandTransfer,
    ListingBought,
    ListingHeld,
    MarketBuy,
    MarketCancel,
    MarketEdit,
    MarketList,
    Result,
    SaleEnd,
    Standing,
)
from tests.world.support import ADA, BEA, CAL, PEOPLE, World, act, balanced, ids, join, outcome
from tests.world.test_land import GRANT, LAND, NO, Row, build, claim, got, held, rules, split
from tests.world.test_leases import wait
from world import queries
from world.commands import AnyDurable, Settle
from world.ledger import HOUSE, TREASURY
from world.parcels import Permit
from world.sales import FeeTerms, Listing
from world.settlement import LISTING_EXPIRED
from world.state import LandRules, MarketRules
from world.tiles import Build

MARKET = MarketRules(
    fee_basis_points=1_000,
    fee_min=5,
    price_min=10,
    price_max=9_000,
    player_listings_max=2,
    listing_ms_min=100,
    listing_ms_max=10_000,
)
OK = held(1)
LISTED = ListingHeld(2, 1)
BUILT = Result()
CLAIMED: Row = (ADA, claim(0, 0, 2, 1), got(1, 200))


def sell(price: int = 500, duration_ms: int | None = None, keep: bool | None = None) -> MarketList:
    return MarketList(*ids(), 1, price, duration_ms, keep)


def edit(price: int = 500, duration_ms: int | None = None, listing_id: int = 2) -> MarketEdit:
    return MarketEdit(*ids(), listing_id, price, duration_ms)


def cancel(listing_id: int = 2) -> MarketCancel:
    return MarketCancel(*ids(), listing_id)


def buy(price: int = 500, seq: int | None = None, listing_id: int = 2) -> MarketBuy:
    return MarketBuy(*ids(), listing_id, price, seq)


def wall(x: int) -> Any:
    return build((x, 0, Build.WALL))


def bought(price: int = 500, fee: int = 50) -> ListingBought:
    return ListingBought(2, 1, ADA, price, fee)


def run(*rows: Row | int, land: LandRules = LAND, market: MarketRules = MARKET) -> World:
    """Every line of a table."""
    world = World(*map(join, PEOPLE), rules=rules(land, market))
    for number, row in enumerate(rows, 1):
        if isinstance(row, int):
            wait(world, row)
            continue
        who, request, expected = row
        came = outcome(world.do(act(who, request)))
        if expected is BUILT:
            assert isinstance(came, Result), f"line {number}: {request} gives {came}"
        else:
            assert came == expected, f"line {number}: {request}"
        balanced(world.state.ledger)
    return world


def refused(world: World, request: AnyDurable) -> str:
    """What Bea is told."""
    (reply,) = world.do(act(BEA, request)).replies
    assert isinstance(reply.result, Refusal)
    assert reply.result.code == NO.CHANGED
    return reply.result.message


TABLES: dict[str, list[Row | int]] = {
    "who owns a parcel lists it, once": [
        CLAIMED,
        (BEA, sell(), NO.NOT_OWNER),
        (BEA, MarketList(*ids(), 9, 500), NO.NOT_FOUND),
        (ADA, LandPermit(*ids(), 1, BEA, Standing.MANAGER), OK),
        (BEA, sell(), NO.NOT_OWNER),
        (ADA, sell(), ListingHeld(3, 1)),
        (ADA, sell(), NO.NOT_ALLOWED),
    ],
    "a price lies between the bounds": [
        CLAIMED,
        (ADA, sell(9), NO.TOO_LOW),
        (ADA, sell(9_001), NO.BAD_REQUEST),
        (ADA, sell(10), LISTED),
        (ADA, edit(9), NO.TOO_LOW),
        (ADA, edit(9_001), NO.BAD_REQUEST),
        (ADA, edit(9_000), LISTED),
    ],
    "nobody sells more at a time than the limit": [
        (ADA, claim(0, 0), got(1, 100)),
        (ADA, claim(2, 0), got(2, 100)),
        (ADA, claim(4, 0), got(3, 100)),
        (ADA, MarketList(*ids(), 1, 10), ListingHeld(4, 1)),
        (ADA, MarketList(*ids(), 2, 10), ListingHeld(5, 2)),
        (ADA, MarketList(*ids(), 3, 10), NO.LIMIT_REACHED),
        (ADA, cancel(4), ListingHeld(4, 1)),
        (ADA, MarketList(*ids(), 3, 10), ListingHeld(7, 3)),
    ],
    "what is for sale keeps its shape and stays its seller's": [
        CLAIMED,
        (ADA, claim(2, 0), got(2, 100)),
        (ADA, sell(), ListingHeld(3, 1)),
        (ADA, split(1, Cut.VERTICAL, 1), NO.NOT_ALLOWED),
        (ADA, LandMerge(*ids(), 1, 2), NO.NOT_ALLOWED),
        (ADA, LandMerge(*ids(), 2, 1), NO.NOT_ALLOWED),
        (ADA, LandLet(*ids(), 1, 10, 1_000), NO.NOT_ALLOWED),
        (ADA, LandTransfer(*ids(), 1, BEA), NO.NOT_ALLOWED),
        (ADA, LandEase(*ids(), 1, 0, 0, 32, 16), NO.NOT_ALLOWED),
        (ADA, LandAbandon(*ids(), 1), NO.NOT_ALLOWED),
        (ADA, LandDescribe(*ids(), 1, "Fine", "A view."), OK),
        (ADA, LandOpen(*ids(), 1, True, True), OK),
        (ADA, cancel(3), ListingHeld(3, 1)),
        (ADA, LandTransfer(*ids(), 1, BEA), OK),
    ],
    "what is given away or to let is not listed": [
        CLAIMED,
        (ADA, LandTransfer(*ids(), 1, BEA), OK),
        (ADA, sell(), NO.NOT_ALLOWED),
        (ADA, LandTransfer(*ids(), 1, ADA), OK),
        (ADA, LandLet(*ids(), 1, 10, 1_000), OK),
        (ADA, sell(), NO.NOT_ALLOWED),
        (ADA, LandLet(*ids(), 1), OK),
        (ADA, sell(), ListingHeld(6, 1)),
    ],
    "buying is for the price as seen": [
        CLAIMED,
        (BEA, buy(), NO.ENDED),
        (ADA, sell(), LISTED),
        (BEA, buy(499), NO.CHANGED),
        (BEA, buy(501), NO.CHANGED),
        (ADA, buy(), NO.BAD_REQUEST),
        (BEA, buy(500, seq=1), NO.CHANGED),
        (BEA, buy(500, seq=2), bought()),
        (CAL, buy(), NO.ENDED),
        (ADA, edit(), NO.ENDED),
        (ADA, cancel(), NO.ENDED),
        (ADA, LandDescribe(*ids(), 1, "Mine", ""), NO.NOT_OWNER),
    ],
    "an edited listing is another offer": [
        CLAIMED,
        (ADA, sell(), LISTED),
        (BEA, edit(), NO.NOT_OWNER),
        (BEA, cancel(), NO.NOT_OWNER),
        (ADA, edit(600), LISTED),
        (BEA, buy(500), NO.CHANGED),
        (BEA, buy(600, seq=2), NO.CHANGED),
        (BEA, buy(600, seq=3), bought(600, 60)),
    ],
    "a wallet is never overdrawn, and who could not pay may later": [
        CLAIMED,
        (ADA, sell(GRANT + 1), LISTED),
        (BEA, buy(GRANT + 1), NO.INSUFFICIENT_FUNDS),
        (ADA, edit(GRANT), LISTED),
        (BEA, buy(GRANT), bought(GRANT, GRANT // 10)),
    ],
    "who has as much as they may own buys nothing": [
        (BEA, claim(5, 0, 4, 3), got(1, 1_200)),
        (ADA, claim(0, 0, 3, 3), got(2, 900)),
        (ADA, MarketList(*ids(), 2, 10), ListingHeld(3, 2)),
        (BEA, buy(10, listing_id=3), NO.LIMIT_REACHED),
    ],
    "sold is what was inspected": [
        CLAIMED,
        (ADA, LandOpen(*ids(), 1, True, True), OK),
        (ADA, wall(1), BUILT),
        (ADA, sell(), ListingHeld(4, 1)),
        (CAL, wall(2), BUILT),
        (BEA, buy(listing_id=4), NO.CHANGED),
        (CAL, build((2, 0, Build.NOTHING)), BUILT),
        (CAL, build((1, 0, Build.FENCE)), BUILT),
        (BEA, buy(listing_id=4), NO.CHANGED),
        (ADA, edit(listing_id=4), ListingHeld(4, 1)),
        (BEA, buy(listing_id=4, seq=4), NO.CHANGED),
        (BEA, buy(listing_id=4), NO.CHANGED),
        (BEA, buy(listing_id=4, seq=8), ListingBought(4, 1, ADA, 500, 50)),
    ],
    "who names the price only gets what was offered first, at another price too": [
        CLAIMED,
        (ADA, sell(), LISTED),
        (ADA, edit(600), LISTED),
        (BEA, buy(600), bought(600, 60)),
    ],
    "whoever keeps permits sells them as they were inspected": [
        CLAIMED,
        (ADA, sell(keep=True), LISTED),
        (ADA, LandPermit(*ids(), 1, CAL, Standing.MANAGER), OK),
        (BEA, buy(), NO.CHANGED),
        (ADA, LandPermit(*ids(), 1, CAL, Standing.NONE), OK),
        (ADA, LandOpen(*ids(), 1, True, True), OK),
        (BEA, buy(seq=2), NO.CHANGED),
        (ADA, edit(), LISTED),
        (BEA, buy(), NO.CHANGED),
        (BEA, buy(seq=6), bought()),
        (CAL, wall(5), BUILT),
    ],
    "and where permits end nobody else builds": [
        CLAIMED,
        (ADA, sell(), LISTED),
        (ADA, LandOpen(*ids(), 1, True, True), OK),
        (BEA, buy(), bought()),
        (CAL, wall(5), NO.NOT_OWNER),
    ],
    "a price that stands in a listing is not looked at again": [
        CLAIMED,
        (ADA, sell(10), LISTED),
        (ADA, edit(10, 500), LISTED),
    ],
    "built and taken away again is as it was": [
        CLAIMED,
        (ADA, LandPermit(*ids(), 1, CAL, Standing.BUILDER), OK),
        (ADA, sell(), ListingHeld(3, 1)),
        (CAL, wall(3), BUILT),
        (BEA, buy(listing_id=3), NO.CHANGED),
        (CAL, build((3, 0, Build.NOTHING)), BUILT),
        (BEA, buy(listing_id=3), ListingBought(3, 1, ADA, 500, 50)),
    ],
    "a listing stands as long as it was said": [
        CLAIMED,
        (ADA, sell(500, 99), NO.BAD_REQUEST),
        (ADA, sell(500, 10_001), NO.BAD_REQUEST),
        (ADA, sell(500, 500), LISTED),
        8,
        (BEA, buy(499), NO.CHANGED),
        1,
        (BEA, buy(), NO.ENDED),
        (ADA, sell(), ListingHeld(4, 1)),
    ],
    "an edit keeps the end, or sets another": [
        CLAIMED,
        (ADA, sell(500, 500), LISTED),
        (ADA, edit(600), LISTED),
        5,
        (ADA, edit(600, 500), LISTED),
        6,
        (BEA, buy(600), bought(600, 60)),
    ],
}


@pytest.mark.parametrize("rows", TABLES.values(), ids=TABLES)
def test_the_rules_of_the_market(rows: Iterable[Row | int]) -> None:
    run(*rows)


def test_a_sale_is_one_entry_and_the_money_goes_where_it_should() -> None:
    """Guards: the fee's leg in buy, that it is taken of what the seller gets."""
    world = run(CLAIMED, (ADA, sell(), LISTED))
    [entry] = world.do(act(BEA, buy())).entries
    assert entry.kind == "market_buy"
    balances = world.state.ledger.balances
    assert balances[ADA] == GRANT - 200 + 450
    assert balances[BEA] == GRANT - 500
    assert balances[HOUSE] == 200 + 50
    assert balances[TREASURY] == -2 * GRANT
    parcel = world.state.parcels.by_id[1]
    assert (parcel.owner_id, parcel.owner_name) == (BEA, "p2")
    assert not world.state.sales.by_id
    assert (world.state.sales.sold_total, world.state.sales.fees_total) == (1, 50)
    [listing] = [change for change in entry.changes if isinstance(change, Listing)]
    assert (listing.end, listing.buyer_id, listing.seq) == (SaleEnd.SOLD, BEA, 3)


@pytest.mark.parametrize("keep", [None, False, True])
def test_permits_are_kept_as_the_seller_chose_and_never_the_buyers_own(keep: bool | None) -> None:
    """Guard: who buys is no longer in the list of who may, since an owner stands in none."""
    world = run(
        CLAIMED,
        (ADA, LandPermit(*ids(), 1, CAL, Standing.VISITOR), OK),
        (ADA, LandPermit(*ids(), 1, BEA, Standing.BUILDER), OK),
        (ADA, sell(keep=keep), ListingHeld(4, 1)),
        (BEA, buy(listing_id=4), ListingBought(4, 1, ADA, 500, 50)),
    )
    kept = (Permit(CAL, "Cal", Standing.VISITOR),) if keep else ()
    assert world.state.parcels.by_id[1].permits == kept


def test_a_refused_purchase_says_what_is_another() -> None:
    world = run(CLAIMED, (ADA, LandOpen(*ids(), 1, True, True), OK), (ADA, sell(), ListingHeld(3, 1)))
    world.do(act(CAL, build((1, 0, Build.WALL), (2, 0, Build.WALL))))
    said = refused(world, buy(listing_id=3))
    assert "0 tiles were built on, and now 2" in said
    assert "p1 must edit the listing" in said


def test_settings_that_change_do_not_touch_what_is_for_sale() -> None:
    """Guard: FeeTerms stand in the listing. The second world reads the same journal under other settings."""
    world = run(CLAIMED, (ADA, sell(), LISTED))
    again = World(
        *map(join, PEOPLE), rules=rules(market=replace(MARKET, fee_basis_points=5_000, price_max=100))
    )
    for parcel in world.state.parcels.by_id.values():
        again.state.parcels.put(parcel)
    for listing in world.state.sales:
        again.state.sales.put(listing, (0.0, 0.0))
    again.state.seq = world.state.seq
    assert outcome(again.do(act(BEA, buy()))) == bought(500, 50)


def test_a_price_below_the_least_of_now_is_kept_by_who_only_looks_again() -> None:
    """Guard: _check_price is for another price only."""
    world = run(CLAIMED, (ADA, sell(10), LISTED))
    dearer = World(*map(join, PEOPLE), rules=rules(market=replace(MARKET, price_min=500)))
    for parcel in world.state.parcels.by_id.values():
        dearer.state.parcels.put(parcel)
    for listing in world.state.sales:
        dearer.state.sales.put(listing, (0.0, 0.0))
    assert outcome(dearer.do(act(ADA, edit(10)))) == LISTED
    assert outcome(dearer.do(act(ADA, edit(11)))) == NO.TOO_LOW


def test_who_may_do_what_is_known_before_it_is_bought() -> None:
    """Guard: `kept` in queries.land_permits."""
    world = run(
        CLAIMED,
        (ADA, LandPermit(*ids(), 1, CAL, Standing.VISITOR), OK),
        (ADA, sell(keep=True), ListingHeld(3, 1)),
    )
    [permit] = queries.land_permits(world.state, BEA, LandPermits(1, 1)).permits
    assert permit.player_id == CAL
    world.do(act(ADA, MarketEdit(*ids(), 3, 500, None, False)))
    with pytest.raises(Refusal):
        queries.land_permits(world.state, BEA, LandPermits(1, 1))


def test_a_listing_ends_by_itself_at_its_tick_and_its_seller_sells_again() -> None:
    """Guard: Dues.put in Sales.put; the entry is of the world, and says whose it was."""
    world = run(CLAIMED, (ADA, sell(500, 500), LISTED))
    assert wait(world, 9) == []
    [entry] = world.do(Settle(1)).entries
    assert (entry.kind, entry.player_id) == (LISTING_EXPIRED, 0)
    [over] = entry.changes
    assert isinstance(over, Listing)
    assert (over.end, over.buyer_id) == (SaleEnd.EXPIRED, None)
    assert not world.state.sales.by_id
    assert wait(world, 20) == []


def test_what_is_past_its_end_is_over_though_no_entry_says_so_yet() -> None:
    """While the journal has no room nothing ends by itself. Guard: the end in market._open."""
    world = run(CLAIMED, (ADA, sell(500, 500), LISTED))
    for _ in range(8):
        world.do()
    assert outcome(world.do(act(BEA, buy(499)))) == NO.CHANGED
    for who, request in ((BEA, buy()), (ADA, edit())):
        assert outcome(world.do(act(who, request))) == NO.ENDED
    assert outcome(world.do(act(ADA, LandAbandon(*ids(), 1)))) == NO.NOT_ALLOWED
    [entry] = world.do(act(ADA, cancel())).entries
    [over] = entry.changes
    assert isinstance(over, Listing)
    assert over.end is SaleEnd.EXPIRED
    assert wait(world, 1) == []
    assert outcome(world.do(act(ADA, LandAbandon(*ids(), 1)))) == OK


def test_what_is_forfeited_is_not_for_sale_any_more() -> None:
    """Guard: the sale's end in upkeep.forfeited."""
    dear = LandRules(
        starting_grant=250, plot_price=100, plot_price_min=100, upkeep_per_plot=100, upkeep_period_ms=500
    )
    world = run(CLAIMED, (ADA, sell(), LISTED), land=dear)
    kinds = wait(world, 60)
    assert "land_forfeited" in kinds
    assert not world.state.sales.by_id
    assert not set(world.state.sales.offers)
    assert not world.state.parcels.by_id


def test_more_upkeep_owed_than_was_shown_is_another_offer() -> None:
    """Guard: arrears in _check_as_inspected: who buys owes them."""
    dear = LandRules(
        starting_grant=1_000,
        plot_price=400,
        plot_price_min=400,
        upkeep_per_plot=100,
        upkeep_period_ms=500,
        upkeep_grace=9,
    )
    world = run((ADA, claim(0, 0, 2, 1), got(1, 800)), (ADA, sell(), LISTED), land=dear)
    wait(world, 25)
    assert world.state.parcels.by_id[1].arrears
    assert "more upkeep is owed" in refused(world, buy())
    assert outcome(world.do(act(ADA, edit()))) == LISTED
    assert outcome(world.do(act(BEA, buy(seq=world.state.sales.by_id[2].seq)))) == bought()


def test_a_parcel_is_found_with_its_listing_by_who_asks() -> None:
    world = run(CLAIMED, (ADA, sell(500, 1_000, keep=True), LISTED))
    state = world.state
    found = queries.land_at(state, BEA, LandAt(1, 0.0, 0.0))
    assert found.listing is not None
    assert (found.listing.listing_id, found.listing.price, found.listing.fee) == (2, 500, 50)
    assert (found.listing.keep_permits, found.listing.seq) == (True, 2)
    assert found.listing.ends_ms == state.time_ms(state.sales.by_id[2].ends or 0)
    [parcel] = queries.land_for_sale(state, BEA, LandForSale(1)).parcels
    assert parcel.listing == found.listing
    assert queries.seen(state, state.parcels.by_id[1]).listing is None


@given(st.integers(0, 10**15), st.integers(0, BASIS_POINTS), st.integers(0, 10**15))
def test_a_fee_is_never_more_than_the_price_nor_less_than_the_least(
    price: int, part: int, least: int
) -> None:
    """In whole poisha, rounded down."""
    fee = FeeTerms(part, least).of(price)
    assert 0 <= fee <= price
    assert fee >= min(price, least)
    assert fee == min(price, max(least, price * part // BASIS_POINTS))
