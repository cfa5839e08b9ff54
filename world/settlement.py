"""What the world does by itself when its time has come, one entry of the journal each: leases that end, upkeep.

Parcels that are due are found by Parcels.first_due. A `Settle` command says how many entries may be made; the server gives it when the
journal has room, so what is due while the database is away is made up for afterwards: leases first, then upkeep, each in the order in
which it was due.
"""

from protocol.messages import Result
from world import upkeep
from world.entries import Outcome
from world.leases import end_term
from world.parcels import Lease, Parcel
from world.state import State

LEASE_RENEWED = "lease_renewed"  # kinds of entries
LEASE_ENDED = "lease_ended"
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


def next_due(state: State) -> tuple[str, Outcome] | None:
    """The kind and the outcome of what comes next of what is due, or None."""
    parcel_id = state.parcels.first_due(state.tick)
    if parcel_id is None:
        return None
    parcel = state.parcels.by_id[parcel_id]
    lease = parcel.lease
    if lease is not None and lease.ends <= state.tick:
        return _lease(state, parcel, lease)
    return _upkeep(state, parcel)


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
