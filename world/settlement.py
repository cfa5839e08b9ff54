"""What the world does by itself when its time has come, one entry of the journal each: leases that end, listings and auctions that
end, upkeep.

A `Settle` command says how many entries may be made, all of one `Due`; the server gives it when the journal has room, so what is due
while the database is away is made up for afterwards: leases first, then sales, then upkeep, each in the order in which it was due.
Upkeep comes last, for all parcels are due for that at once where it is new, and nothing should end an hour late for it.
"""

from enum import Enum

from protocol.messages import Result, SaleEnd
from world import auctions, upkeep
from world.entries import Outcome
from world.leases import end_term
from world.parcels import Parcel
from world.sales import Listing, Sale
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


class Due(Enum):
    """What can be due, the first first."""

    LEASE = 0
    SALE = 1
    UPKEEP = 2


class Settled(Result, omit_defaults=True):
    """What happened by itself, and whom it concerns."""

    parcel_id: int
    owner_id: int
    tenant_id: int | None = None  # whose lease it is about
    owed: int = 0  # poisha
    freed_ms: int = 0  # world time
    sale_id: int | None = None  # what ended, or goes on


def first_due(state: State) -> Due | None:
    """What is to be done first of all that is due, or None."""
    parcels = state.parcels
    dues = (parcels.lease_dues, state.sales.dues, parcels.upkeep_dues)
    return next(
        (due for due, queue in zip(Due, dues, strict=True) if queue.first(state.tick) is not None), None
    )


def next_of(state: State, due: Due) -> tuple[str, Outcome] | None:
    """The kind and the outcome of what comes next of one Due, or None."""
    parcels, tick = state.parcels, state.tick
    match due:
        case Due.LEASE:
            parcel_id = parcels.lease_dues.first(tick)
            return None if parcel_id is None else _lease(state, parcels.by_id[parcel_id])
        case Due.SALE:
            sale = state.sales.first_due(tick)
            return None if sale is None else _sale(state, sale)
        case Due.UPKEEP:
            parcel_id = parcels.upkeep_dues.first(tick)
            return None if parcel_id is None else _upkeep(state, parcels.by_id[parcel_id])


def _sale(state: State, sale: Sale) -> tuple[str, Outcome]:
    told = Settled(sale.parcel_id, sale.seller_id, sale_id=sale.sale_id)
    if isinstance(sale, Listing):
        return LISTING_EXPIRED, Outcome(told, [sale.over(SaleEnd.EXPIRED, state.seq + 1)])
    later = auctions.extended(state, sale)
    if later is not None:
        return AUCTION_EXTENDED, Outcome(told, [later])
    return AUCTION_ENDED, Outcome(told, auctions.end(state, sale))


def _lease(state: State, parcel: Parcel) -> tuple[str, Outcome]:
    lease = parcel.lease
    assert lease is not None
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
