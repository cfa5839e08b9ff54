"""No entry is larger than what Actions.admit counts for it: the journal's limit of bytes holds, whatever is asked."""

from collections.abc import Callable

import pytest
from msgspec.structs import replace

from protocol.edits import CHUNK_EDIT, EDITS_MAX, TILE_EDIT, pack
from protocol.errors import Refusal
from protocol.messages import (
    BASIS_POINTS,
    DESCRIPTION_CHARS_MAX,
    DURABLE_MESSAGES,
    LEASE_TERM_MS_MAX,
    LISTING_MS_MAX,
    MONEY_MAX,
    NAME_CHARS_MAX,
    PARCEL_NAME_CHARS_MAX,
    PLOT_TILES,
    WORLD_TILES_MAX,
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
from server.actions import content_of
from server.config import LandConfig
from world import entries
from world.bidding import Standing as Bids
from world.bidding import Terms as BidTerms
from world.commands import Act, AnyDurable, Join
from world.grid import pack as key_of
from world.land import PERMITS_MAX
from world.ledger import ESCROW, TREASURY, Hold
from world.market import inspection
from world.open_land import PLOTS_EDGE
from world.parcels import Parcel, Permit, Terms
from world.sales import Auction, FeeTerms, Listing
from world.sizes import ENTRY_BYTES_MAX, WORST_BYTES, WORST_BYTES_OTHERWISE, Sizes
from world.state import LandRules, MarketRules, Rules, State
from world.tick import act as do
from world.tick import step
from world.tiles import Build

WIDE = "\N{HOUSE BUILDING}"  # four bytes, the most a character takes
NAME, OTHER_NAME = NAME_CHARS_MAX * WIDE, NAME_CHARS_MAX * "\N{HOUSE WITH GARDEN}"
ME, OTHER = 2**32 - 1, 2**32 - 2
FIRST, SECOND = 2**32 - 3, 2**32 - 2  # parcel_ids; there is room for one more
PLOTS_MAX = 64  # of one parcel
EDGE = -PLOTS_EDGE
LAND = LandRules(MONEY_MAX, 10**12, 10**12, 1, PLOTS_MAX, 64, 512)
MARKET = MarketRules(fee_basis_points=BASIS_POINTS // 2, fee_min=MONEY_MAX // 2)
LISTING = 2**62 - 1
ACTION = bytes([255]) * 16
ALREADY = bytes([1]) * 16

Largest = Callable[[State], AnyDurable]


def parcel(parcel_id: int, px: int, pw: int, permits: int = PERMITS_MAX) -> Parcel:
    """One that is full of words and people."""
    people = (Permit(OTHER - number, NAME, Standing.MANAGER) for number in range(permits, 0, -1))
    name, description = PARCEL_NAME_CHARS_MAX * WIDE, DESCRIPTION_CHARS_MAX * WIDE
    place = px, EDGE, pw, 1
    return Parcel(parcel_id, ME, NAME, *place, name, description, False, False, tuple(people), 2**62)


def largest_edit(state: State) -> AnyDurable:
    """A tile each in as many chunks, which were built on very often."""
    edits = [(-WORLD_TILES_MAX + 32 * number + 31, -WORLD_TILES_MAX + 31, 1) for number in range(EDITS_MAX)]
    for x, y, _ in edits:
        state.chunks.recall(key_of(x // 32, y // 32), 2**32 - 3, b"")
    return TileEdit(1, ACTION, pack(edits, TILE_EDIT))


def largest_undo(state: State) -> AnyDurable:
    edit = largest_edit(state)
    assert isinstance(edit, TileEdit)
    edit.action_id = ALREADY
    step(state, [Join(ME, NAME, Role.ADMIN, 0, 0.5, 0.5)], state.tick + 1)
    do(state, [act(edit)])
    return TileUndo(1, ACTION)


def largest_abandon(state: State) -> AnyDurable:
    """All of it is built on, and half of its plots lie in a chunk of their own."""
    put(state, parcel(FIRST, EDGE + 1, PLOTS_MAX))
    build_all(state)
    return LandAbandon(1, ACTION, FIRST)


def largest_rent(state: State) -> AnyDurable:
    """What is kept for its end is as much as can be built, and all permits."""
    terms = Terms(MONEY_MAX // 2, MONEY_MAX // 2, LEASE_TERM_MS_MAX, True)
    to_let = replace(parcel(FIRST, EDGE + 1, PLOTS_MAX), owner_id=OTHER - PERMITS_MAX, to_let=terms)
    put(state, to_let)
    build_all(state)
    return LandRent(1, ACTION, FIRST, MONEY_MAX // 2)


def largest_leave(state: State) -> AnyDurable:
    """The tenant has written as much as the owner, and let in as many."""
    rent = largest_rent(state)
    rent.action_id = ALREADY
    do(state, [act(rent)])
    full = parcel(FIRST, EDGE + 1, PLOTS_MAX)
    rented = state.parcels.by_id[FIRST]
    assert rented.lease is not None
    put(state, replace(rented, name=full.name, description=full.description, permits=full.permits))
    return LandLeave(1, ACTION, FIRST)


def build_all(state: State) -> None:
    """On every plot of the parcel of the largest size."""
    for plot in range(EDGE + 1, EDGE + 1 + PLOTS_MAX):
        start = plot % 2 * PLOT_TILES
        tiles = [y * 32 + x for y in range(PLOT_TILES) for x in range(start, start + PLOT_TILES)]
        state.chunks.edit(
            key_of(plot // 2, EDGE // 2), pack([(tile, Build.HEDGE) for tile in tiles], CHUNK_EDIT)
        )


def largest_buy(state: State) -> AnyDurable:
    """Neither of the two had any money before, and all that stand in the list keep their place."""
    offered = parcel(FIRST, EDGE, PLOTS_MAX)
    put(state, replace(offered, owner_id=OTHER, owner_name=OTHER_NAME))
    put_up(state, seller_id=OTHER)
    return MarketBuy(1, ACTION, LISTING, MONEY_MAX, LISTING)


def largest_bid(state: State) -> AnyDurable:
    """It buys at once, neither of the two had any money before, and who led has theirs back."""
    largest_buy(state)
    listing = state.sales.by_id.pop(LISTING)
    assert isinstance(listing, Listing)
    leader, most = OTHER - PERMITS_MAX, MONEY_MAX - 1
    state.ledger.recall([(TREASURY, -(10**18)), (ESCROW, most), (leader, 0)])
    state.ledger.apply(Hold(LISTING, leader, most, f"a bid in auction {LISTING}"))
    auction = Auction(
        LISTING,
        FIRST,
        OTHER,
        True,
        listing.fee_terms,
        listing.inspected,
        BidTerms(MONEY_MAX, MONEY_MAX, BASIS_POINTS, MONEY_MAX, MONEY_MAX, 2**62, 2**62),
        True,
        Bids(2**62 + 1, most, leader, most, 2**32 - 1),
        LISTING,
        2**62,
        2**62,
        2**62,
        OTHER_NAME,
    )
    state.sales.put(auction, state.parcels.by_id[FIRST].middle)
    return MarketBid(1, ACTION, LISTING, MONEY_MAX, MONEY_MAX)


def largest_of_own(make: Callable[[], AnyDurable]) -> Largest:
    """Of a listing that is one's own."""

    def largest(state: State) -> AnyDurable:
        put(state, WHOLE)
        put_up(state, seller_id=ME)
        return make()

    return largest


def put_up(state: State, seller_id: int) -> None:
    bare = inspection(state, state.parcels.by_id[FIRST], keeps=True)
    terms = FeeTerms(MARKET.fee_basis_points, MARKET.fee_min)
    one = Listing(LISTING, FIRST, seller_id, MONEY_MAX, True, terms, bare, 2**63, LISTING, LISTING)
    entries.apply(state, one)


def put(state: State, *parcels: Parcel) -> None:
    for one in parcels:
        entries.apply(state, one)


def having(make: Callable[[], AnyDurable], *parcels: Parcel) -> Largest:
    def largest(state: State) -> AnyDurable:
        put(state, *parcels)
        return make()

    return largest


WHOLE = parcel(FIRST, EDGE, PLOTS_MAX)
HALVES = parcel(FIRST, EDGE, PLOTS_MAX // 2), parcel(SECOND, EDGE + PLOTS_MAX // 2, PLOTS_MAX // 2)
NAMED, DESCRIBED = PARCEL_NAME_CHARS_MAX * WIDE, DESCRIPTION_CHARS_MAX * WIDE
CORNER = -WORLD_TILES_MAX
CLAIMED = CORNER, CORNER, PLOTS_MAX * PLOT_TILES, PLOT_TILES
MIDDLE = CORNER + PLOTS_MAX // 2 * PLOT_TILES
ONE_LESS = parcel(FIRST, EDGE, PLOTS_MAX, PERMITS_MAX - 1)

LARGEST: dict[type, Largest] = {
    TileEdit: largest_edit,
    TileUndo: largest_undo,
    LandClaim: having(lambda: LandClaim(1, ACTION, *CLAIMED)),
    LandDescribe: having(lambda: LandDescribe(1, ACTION, FIRST, NAMED, DESCRIBED), WHOLE),
    LandOpen: having(lambda: LandOpen(1, ACTION, FIRST, False, False), WHOLE),
    LandPermit: having(lambda: LandPermit(1, ACTION, FIRST, 1, Standing.MANAGER), ONE_LESS),
    LandTransfer: having(lambda: LandTransfer(1, ACTION, FIRST, OTHER), WHOLE),
    LandSplit: having(lambda: LandSplit(1, ACTION, FIRST, Cut.VERTICAL, MIDDLE), WHOLE),
    LandMerge: having(lambda: LandMerge(1, ACTION, FIRST, SECOND), *HALVES),
    LandAbandon: largest_abandon,
    LandTake: having(
        lambda: LandTake(1, ACTION, FIRST),
        replace(WHOLE, owner_id=OTHER, owner_name=OTHER_NAME, permits=(), given_to=ME),
    ),
    MarketList: having(lambda: MarketList(1, ACTION, FIRST, MONEY_MAX, LISTING_MS_MAX, True), WHOLE),
    MarketEdit: largest_of_own(lambda: MarketEdit(1, ACTION, LISTING, MONEY_MAX, LISTING_MS_MAX, True)),
    MarketCancel: largest_of_own(lambda: MarketCancel(1, ACTION, LISTING)),
    MarketBuy: largest_buy,
    MarketAuction: having(
        lambda: MarketAuction(1, ACTION, FIRST, MONEY_MAX, LISTING_MS_MAX, MONEY_MAX, MONEY_MAX, True, True),
        WHOLE,
    ),
    MarketBid: largest_bid,
    LandLet: having(lambda: LandLet(1, ACTION, FIRST, MONEY_MAX, LEASE_TERM_MS_MAX, MONEY_MAX, True), WHOLE),
    LandRent: largest_rent,
    LandLeave: largest_leave,
    LandEase: having(lambda: LandEase(1, ACTION, FIRST, *WHOLE.bounds()), WHOLE),
}


def act(request: AnyDurable) -> Act:
    return Act(ME, NAME, Role.ADMIN, 2**63, request, content_of(request), OTHER_NAME, 1)


@pytest.mark.parametrize("kind", DURABLE_MESSAGES, ids=lambda kind: kind.__name__)
def test_the_largest_entry_of_each_request_fits_into_what_is_counted_for_it(kind: type) -> None:
    state = State(Rules(20, 4.0, 1, 4, 24.0, 300, 10, 5, LAND, MARKET))
    state.tick, state.seq = 2**62, 2**62
    state.parcels.last_id = SECOND
    state.ledger.balances[TREASURY] = -(10**18)
    request = LARGEST[kind](state)
    room = Sizes(state).worst(request)
    (entry,) = do(state, [act(request)]).entries
    size = len(entry.record)
    assert size <= room <= WORST_BYTES.get(kind, WORST_BYTES_OTHERWISE), f"{size} bytes"


def test_nothing_is_counted_with_more_than_an_entry_may_have() -> None:
    assert WORST_BYTES.keys() <= set(DURABLE_MESSAGES)
    assert max(*WORST_BYTES.values(), WORST_BYTES_OTHERWISE) == ENTRY_BYTES_MAX


def test_no_setting_allows_larger_parcels() -> None:
    """Guard: the bound of land.parcel_plots_max, which the worst case of land_abandon comes from."""
    with pytest.raises(ValueError, match="parcel_plots_max"):
        LandConfig(parcel_plots_max=PLOTS_MAX + 1)


def test_each_name_and_text_of_a_parcel_is_bounded_after_it_was_cleaned() -> None:
    """Guard: world.land.describe; some characters are three once they are composed."""
    state = State(Rules(20, 4.0, 1, 4, 24.0, 300, 10, 5, LAND, MARKET))
    put(state, WHOLE)
    grows = "\N{HEBREW LETTER SHIN WITH DAGESH AND SHIN DOT}"
    for name, description in ((PARCEL_NAME_CHARS_MAX * grows, ""), ("", DESCRIPTION_CHARS_MAX * grows)):
        acted = do(state, [act(LandDescribe(1, ACTION, FIRST, name, description))])
        assert acted.entries == []
        assert [type(reply.result) for reply in acted.replies] == [Refusal]
