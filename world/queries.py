"""Questions about land and money that memory answers: nothing is changed, and nobody waits for the database.

What is answered may not be stored yet, and must not be told before it is: whoever asks here holds the answer back until the journal is
durable up to where the world was then.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

from protocol import messages
from protocol.errors import Refusal, RefusalCode
from protocol.messages import (
    PARCELS_PAGE,
    PLOT_TILES,
    LandAt,
    LandForSale,
    LandIn,
    LandMine,
    LandPermits,
    LandToLet,
    ParcelFound,
    ParcelsFound,
    PermitsFound,
    Result,
    Standing,
    Wallet,
    WalletFound,
)
from world import bidding
from world.land import spendable
from world.offers import Offers
from world.parcels import Lease, Parcel, Terms, plots_in
from world.sales import Auction, Listing
from world.state import State

NO_SALE = None, None  # as the listing and the auction of a parcel
OFFERS_SHOWN_MAX = 256  # of land for sale or to let, to whoever pages on: a millisecond or two


def seen(state: State, parcel: Parcel, player_id: int | None = None) -> messages.Parcel:
    """A parcel as one player sees it who asks; None: as many are told of it."""
    standing = None if player_id is None else parcel.standing(player_id)
    return messages.Parcel(
        parcel.parcel_id,
        parcel.owner_id,
        parcel.owner_name,
        *parcel.bounds(),
        parcel.name,
        parcel.description,
        parcel.open_enter,
        parcel.open_build,
        standing,
        None if parcel.to_let is None else _terms(parcel.to_let),
        None if parcel.lease is None else _lease(state, parcel.lease),
        *_upkeep(state, parcel),
        None if parcel.way is None else messages.Way(*(value * PLOT_TILES for value in parcel.way)),
        parcel.given_to,
        *(NO_SALE if player_id is None else _sale(state, parcel.parcel_id, player_id)),
    )


def listed(state: State, listing: Listing) -> messages.Listing:
    """A listing as everybody sees it."""
    return messages.Listing(
        listing.listing_id,
        listing.parcel_id,
        listing.seller_id,
        listing.price,
        listing.fee,
        listing.keep_permits,
        listing.inspected.tiles,
        listing.inspected.arrears,
        listing.seq,
        None if listing.ends is None else state.time_ms(listing.ends),
    )


def auctioned(state: State, auction: Auction, player_id: int | None = None) -> messages.Auction:
    """An auction as one player sees it who asks; None: as everybody does."""
    terms, standing = auction.terms, auction.standing
    price = standing.price if standing.has_bids else terms.start_price
    knows_reserve = auction.shows_reserve or auction.seller_id == player_id
    return messages.Auction(
        auction.auction_id,
        auction.parcel_id,
        auction.seller_id,
        price,
        auction.fee_terms.of(price),
        bidding.least(terms, standing),
        standing.bids,
        auction.keep_permits,
        auction.inspected.tiles,
        auction.inspected.arrears,
        auction.since,
        state.time_ms(standing.ends),
        state.time_ms(terms.latest),
        standing.leader_id or None,
        auction.leader_name or None,
        terms.buy_now if bidding.may_buy_now(terms, standing) else None,
        None if terms.reserve is None else not bidding.is_sold(terms, standing),
        terms.reserve if knows_reserve else None,
        standing.maximum if standing.has_bids and standing.leader_id == player_id else None,
    )


def _sale(
    state: State, parcel_id: int, player_id: int
) -> tuple[messages.Listing | None, messages.Auction | None]:
    """The listing that a parcel is in, or the auction."""
    match state.sales.on(parcel_id):
        case Listing() as listing:
            return listed(state, listing), None
        case Auction() as auction:
            return None, auctioned(state, auction, player_id)
    return NO_SALE


def _upkeep(state: State, parcel: Parcel) -> tuple[int | None, int | None]:
    """When it is due, and how many periods are owed."""
    if not state.rules.land.upkeep_per_plot or parcel.paid_until is None:
        return None, None
    return state.time_ms(parcel.paid_until), parcel.arrears or None


def _terms(terms: Terms) -> messages.Terms:
    return messages.Terms(terms.rent, terms.deposit, terms.term_ms, terms.renewable)


def _lease(state: State, lease: Lease) -> messages.Lease:
    ends_ms = state.time_ms(lease.ends)
    return messages.Lease(lease.tenant_id, lease.tenant_name, _terms(lease.terms), ends_ms, lease.leaving)


def land_at(state: State, player_id: int, request: LandAt) -> ParcelFound:
    """Whose land is it?"""
    parcel = state.parcels.at(request.x, request.y)
    if parcel is None:
        return ParcelFound()
    whole = seen(state, parcel, player_id)
    return ParcelFound(**{name: getattr(whole, name) for name in whole.__struct_fields__})


def land_in(state: State, player_id: int, request: LandIn) -> ParcelsFound:
    """The parcels that touch a rectangle."""
    px, py = request.x // PLOT_TILES, request.y // PLOT_TILES
    pw = (request.x + request.width - 1) // PLOT_TILES - px + 1
    ph = (request.y + request.height - 1) // PLOT_TILES - py + 1
    by_plot = state.parcels.by_plot
    found = {by_plot[plot] for plot in plots_in(px, py, pw, ph) if plot in by_plot}
    return _page(state, player_id, sorted(found), request.after)


def land_mine(state: State, player_id: int, request: LandMine) -> ParcelsFound:
    """What one owns, rents, or is given."""
    parcels = state.parcels
    mine = parcels.of(player_id) + parcels.by_tenant.of(player_id) + parcels.by_heir.of(player_id)
    return _page(state, player_id, sorted(mine), request.after)


def _page(state: State, player_id: int, parcel_ids: Iterable[int], after: int | None) -> ParcelsFound:
    later = (parcel_id for parcel_id in parcel_ids if parcel_id > (after or 0))
    return _found(state, player_id, later)


def _found(state: State, player_id: int, parcel_ids: Iterator[int]) -> ParcelsFound:
    page = list(islice(parcel_ids, PARCELS_PAGE + 1))
    parcels = [seen(state, state.parcels.by_id[parcel_id], player_id) for parcel_id in page[:PARCELS_PAGE]]
    return ParcelsFound(parcels, len(page) > PARCELS_PAGE)


def land_for_sale(state: State, player_id: int, request: LandForSale) -> ParcelsFound:
    """The nearest to where one stands that can be bought."""
    return _nearest(state, player_id, state.sales.offers, request.skip)


def land_to_let(state: State, player_id: int, request: LandToLet) -> ParcelsFound:
    """The nearest to where one stands that can be rented."""
    return _nearest(state, player_id, state.parcels.to_let, request.skip)


def _nearest(state: State, player_id: int, offers: Offers, skip: int | None) -> ParcelsFound:
    players = state.players
    slot = players.slot_of.get(player_id)
    here = (0.0, 0.0) if slot is None else (float(players.x[slot]), float(players.y[slot]))
    shown = islice(offers.nearest(here), min(skip or 0, OFFERS_SHOWN_MAX), OFFERS_SHOWN_MAX)
    return _found(state, player_id, shown)


def land_permits(state: State, player_id: int, request: LandPermits) -> PermitsFound:
    """Who has a standing."""
    parcel = state.parcels.by_id.get(request.parcel_id)
    if parcel is None:
        raise Refusal(RefusalCode.NOT_FOUND, "There is no such parcel, or no more.")
    listing = state.sales.on(parcel.parcel_id)
    kept = listing is not None and listing.keep_permits  # whoever wants it must know what they would buy
    if parcel.standing(player_id) < Standing.MANAGER and not kept:
        raise Refusal(RefusalCode.NOT_OWNER, f"Only {parcel.holder_name} and the managers may know this.")
    return PermitsFound([messages.Permit(one.player_id, one.name, one.standing) for one in parcel.permits])


def wallet(state: State, player_id: int, _: Wallet) -> WalletFound:
    """One's own money. Who never had any may spend the starting grant: it is booked with their first action."""
    return WalletFound(spendable(state, player_id), state.ledger.held.get(player_id, 0))


QUERIES: dict[type, Callable[[State, int, Any], Result]] = {
    LandAt: land_at,
    LandIn: land_in,
    LandMine: land_mine,
    LandForSale: land_for_sale,
    LandToLet: land_to_let,
    LandPermits: land_permits,
    Wallet: wallet,
}
