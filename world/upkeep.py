"""Upkeep: what land costs its owner, by the plot and by the period, paid to the house by itself.

Who cannot pay owes it, and is told; after so many missed periods (`LandRules.upkeep_grace`) the parcel is nobody's again, and bare.
What is owed is paid with the first period for which the wallet holds all of it.

A parcel's clock begins with its claim, or where there was no upkeep then, a period before its first payment. A period that passed as a
whole without being looked at is forgiven: there was no upkeep then.
"""

from msgspec.structs import replace

from protocol.messages import SaleEnd
from world.auctions import given_back
from world.building import cleared
from world.entries import Change
from world.land import first_due, legs_with_grant, spendable, upkeep_of
from world.leases import deposit_back
from world.ledger import HOUSE
from world.parcels import Parcel, freed
from world.sales import Auction
from world.state import State


def owed(state: State, parcel: Parcel) -> int:
    """What its owner has to pay at the next due time, in poisha."""
    return upkeep_of(state, parcel, parcel.arrears + 1)


def freed_at(state: State, parcel: Parcel) -> int:
    """The tick at which a parcel will be nobody's if nothing is ever paid."""
    left = state.rules.land.upkeep_grace - parcel.arrears
    return (parcel.paid_until or 0) + left * state.upkeep_ticks


def is_begun(state: State, parcel: Parcel) -> bool:
    """Whether a parcel's clock runs."""
    return parcel.paid_until is not None and state.tick < parcel.paid_until + state.upkeep_ticks


def begun(state: State, parcel: Parcel) -> list[Change]:
    """The clock begins to run."""
    return [replace(parcel, paid_until=first_due(state), seq=state.seq + 1)]


def paid(state: State, parcel: Parcel) -> list[Change] | None:
    """All that is owed is paid; None where the owner has too little."""
    amount = owed(state, parcel)
    if spendable(state, parcel.owner_id) < amount:
        return None
    legs = legs_with_grant(state, parcel.owner_id, [(parcel.owner_id, -amount), (HOUSE, amount)])
    return [*state.ledger.posted(legs), _later(state, parcel, arrears=0)]


def missed(state: State, parcel: Parcel) -> Parcel | None:
    """The parcel with one period more that is owed; None where that is too many."""
    if parcel.arrears >= state.rules.land.upkeep_grace:
        return None
    return _later(state, parcel, arrears=parcel.arrears + 1)


def forfeited(state: State, parcel: Parcel) -> list[Change]:
    """Nobody's again, and bare; a lease ends with it, and a sale."""
    back = [] if parcel.lease is None else deposit_back(state, parcel.lease)
    return [*back, *_unsold(state, parcel), *cleared(state, parcel.rectangle), freed(parcel)]


def _unsold(state: State, parcel: Parcel) -> list[Change]:
    """The sale is over, and what was bid goes back."""
    sale = state.sales.on(parcel.parcel_id)
    if sale is None:
        return []
    back = given_back(state, sale) if isinstance(sale, Auction) else []
    return [*back, sale.over(SaleEnd.FORFEITED, state.seq + 1)]


def _later(state: State, parcel: Parcel, arrears: int) -> Parcel:
    assert parcel.paid_until is not None
    paid_until = parcel.paid_until + state.upkeep_ticks
    return replace(parcel, paid_until=paid_until, arrears=arrears, seq=state.seq + 1)
