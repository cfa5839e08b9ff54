"""What the world does by itself when its time has come, one entry of the journal each.

Parcels that are due are found in Parcels.dues. A `Settle` command says how many entries may be made; the server gives it when the
journal has room, so what is due while the database is away is made up for afterwards, in the order in which it was due.
"""

from protocol.messages import Result
from world.entries import Outcome
from world.leases import end_term
from world.state import State

LEASE_RENEWED = "lease_renewed"  # kinds of entries
LEASE_ENDED = "lease_ended"


class Settled(Result, omit_defaults=True):
    """What happened by itself, and whom it concerns."""

    parcel_id: int
    owner_id: int
    tenant_id: int | None = None


def next_due(state: State) -> tuple[str, Outcome] | None:
    """The kind and the outcome of what is due the longest, or None."""
    parcel_id = state.parcels.dues.first(state.tick)
    if parcel_id is None:
        return None
    parcel = state.parcels.by_id[parcel_id]
    lease = parcel.lease
    assert lease is not None, "nothing else is due"
    renewed, changes = end_term(state, parcel, lease)
    told = Settled(parcel_id, parcel.owner_id, lease.tenant_id)
    return LEASE_RENEWED if renewed else LEASE_ENDED, Outcome(told, changes)
