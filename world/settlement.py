"""What the world does by itself when its time has come, one entry of the journal each: leases that end, listings that end,
upkeep.

A `Settle` command says how many entries may be made; the server gives it when the journal has room, so what is due while the database
is away is made up for afterwards: leases first, then sales, then upkeep, each in the order in which it was due. Upkeep comes last, for
all parcels are due for that at once where it is new, and nothing should end an hour late for it.
"""

from protocol.messages import Result, SaleEnd
from world import auctions, upkeep
from world.entries import Outcome
from world.leases import end_term
from world.parcels import Lease, Parcel
from world.sales import Auction, Listing
from world.state import State

LEASE_RENEWED = "lease_renewed"  # kinds of entries
LEASE_ENDED = "lease_ended"
LISTING_EXPIRED = "listing_expired"
AUCTION_EXTENDED = "auction_extended"
AUCTION_ENDED = "auction_ended"
UPKEEP_BEGUN = "upkeep_begun"
UPKEEP_PAID = "upkeep_paid"
UPKEEP_MISSED = "upkeep_missed"
LAND_FORFEITED = "land_forfeited"


class Settled(Result, omit_defaults=True):
    """What happened by itself, and whom it concerns."""

    parcel_id: int
    owner_id: int
    tenant_id: int | None = None  # whose lease it is about
    owed: int = 0  # poisha
    freed_ms: int = 0  # world time
    listing_id: int | None = None  # what ended


def is_due(state: State, tick: int) -> bool:
    """Whether there is anything to do at `tick`."""
    parcels = state.parcels
    dues = (parcels.lease_dues, state.sales.dues, parcels.upkeep_dues)
    return any(one.first(tick) is not None for one in dues)


def next_due(state: State) -> tuple[str, Outcome] | None:
    """The kind and the outcome of what comes next of what is due, or None."""
    parcels, tick = state.parcels, state.tick
    parcel_id = parcels.lease_dues.first(tick)
    if parcel_id is not None:
        parcel = parcels.by_id[parcel_id]
        assert parcel.lease is not None
        return _lease(state, parcel, parcel.lease)
    sale = state.sales.first_due(tick)
    if isinstance(sale, Auction):
        return _auction(state, sale)
    if sale is not None:
        return _expired(state, sale)
    parcel_id = parcels.upkeep_dues.first(tick)
    return None if parcel_id is None else _upkeep(state, parcels.by_id[parcel_id])


def _expired(state: State, listing: Listing) -> tuple[str, Outcome]:
    told = Settled(listing.parcel_id, listing.seller_id, listing_id=listing.listing_id)
    return LISTING_EXPIRED, Outcome(told, [listing.over(SaleEnd.EXPIRED, state.seq + 1)])


def _auction(state: State, auction: Auction) -> tuple[str, Outcome]:
    told = Settled(auction.parcel_id, auction.seller_id, listing_id=auction.auction_id)
    later = auctions.extended(state, auction)
    if later is not None:
        return AUCTION_EXTENDED, Outcome(told, [later])
    return AUCTION_ENDED, Outcome(told, auctions.end(state, auction))


def _lease(state: State, parcel: Parcel, lease: Lease) -> tuple[str, Outcome]:
    renewed, changes = end_term(state, parcel, lease)
    told = Settled(parcel.parcel_id, parcel.owner_id, lease.tenant_id)
    return LEASE_RENEWED if renewed else LEASE_ENDED, Outcome(told, changes)


def _upkeep(state: State, parcel: Parcel) -> tuple[str, Outcome]:
    told = Settled(parcel.parcel_id, parcel.owner_id)
    if not upkeep.is_begun(state, parcel):
        return UPKEEP_BEGUN, Outcome(told, upkeep.begun(state, parcel))
    paid = upkeep.paid(state, parcel)
    if paid is not None:
        return UPKEEP_PAID, Outcome(told, paid)
    later = upkeep.missed(state, parcel)
    if later is not None:
        told.owed = upkeep.owed(state, later)
        told.freed_ms = state.time_ms(upkeep.freed_at(state, later))
        return UPKEEP_MISSED, Outcome(told, [later])
    told.tenant_id = None if parcel.lease is None else parcel.lease.tenant_id
    return LAND_FORFEITED, Outcome(told, upkeep.forfeited(state, parcel))
