"""The rules of leases: an owner offers, a tenant rents, and what happens at the end of a term happens by itself.

While a parcel is let its tenant stands where its owner stood, for entering, building and saying who else may. All that a tenant may
change there, what stands and who has a standing among it, is kept as it was before (parcels.Before) and is put back at the end. The
deposit is a hold in escrow; it goes back whole.

Terms are counted in ticks. At the end of one the next begins if the lease is renewable, nobody gave notice and the rent is there; else
the lease ends (`end_term`, called by settlement.py).
"""

from collections.abc import Callable, Iterator
from typing import Any

from msgspec.structs import asdict, replace

from protocol.errors import Refusal, RefusalCode
from protocol.messages import LandHeld, LandLeave, LandLet, LandRent
from world.building import kept, put_back
from world.commands import Act
from world.entries import Change, Outcome
from world.land import (
    UNOFFERED,
    called,
    changed,
    check_off_market,
    find,
    legs_with_grant,
    owned,
    spendable,
)
from world.ledger import ESCROW, Hold, HoldState, Post, in_words
from world.parcels import Before, Lease, Parcel, Terms
from world.state import State

NO_HOLD = 0
UNITS_MS = (("day", 86_400_000), ("hour", 3_600_000), ("minute", 60_000), ("second", 1_000))


def term_in_words(term_ms: int) -> str:
    """A term for people, in the two largest units that it has; the same in lease.js."""
    parts, left_ms = [], term_ms
    for unit, unit_ms in UNITS_MS:
        count, left_ms = divmod(left_ms, unit_ms)
        if count:
            parts.append(f"{count} {unit}{'' if count == 1 else 's'}")
    return " ".join(parts[:2]) or f"{term_ms} ms"


def let(state: State, act: Act, request: LandLet) -> Outcome:
    """To let, or not any more."""
    parcel = owned(state, act, request.parcel_id)
    if request.rent is None:
        return changed(state, parcel, to_let=None)
    check_off_market(state, replace(parcel, to_let=None))  # an offer may take the place of another
    shortest = state.rules.land.lease_term_ms_min
    if request.term_ms is None or request.term_ms < shortest:
        raise Refusal(
            RefusalCode.BAD_REQUEST, f"A term has {term_in_words(shortest)} at least; say how long it runs."
        )
    terms = Terms(request.rent, request.deposit or 0, request.term_ms, bool(request.renewable))
    return changed(state, parcel, to_let=terms)


def rent(state: State, act: Act, request: LandRent) -> Outcome:
    """The first rent goes to the owner and the deposit into escrow; what the tenant may change is kept."""
    parcel = find(state, request.parcel_id)
    terms = _as_seen(parcel, request)
    if parcel.owner_id == act.player_id:
        raise Refusal(RefusalCode.BAD_REQUEST, "It is yours already.")
    rented_max = state.rules.land.player_parcels_max
    if len(state.parcels.by_tenant.of(act.player_id)) >= rented_max:
        raise Refusal(RefusalCode.LIMIT_REACHED, f"One player rents {rented_max} parcels at most.")
    seq = state.seq + 1
    before = Before(
        parcel.name,
        parcel.description,
        parcel.open_enter,
        parcel.open_build,
        parcel.permits,
        kept(state, parcel.rectangle),
    )
    ends = state.tick + state.ticks_of(terms.term_ms)
    hold_id = seq if terms.deposit else NO_HOLD
    lease = Lease(act.player_id, act.name, terms, ends, not terms.renewable, hold_id, before)
    changes: list[Change] = list(_paid(state, act.player_id, parcel.owner_id, terms.rent, terms.deposit))
    if terms.deposit:
        changes.append(Hold(seq, act.player_id, terms.deposit, f"deposit for parcel {parcel.parcel_id}"))
    changes.append(replace(parcel, permits=(), **UNOFFERED, lease=lease, seq=seq))
    return Outcome(LandHeld(parcel.parcel_id), changes)


def _as_seen(parcel: Parcel, request: LandRent) -> Terms:
    """What it is let for. Raises Refusal where that is not what was seen."""
    terms = parcel.to_let
    if terms is None:
        raise Refusal(RefusalCode.CHANGED, f"{called(parcel)} is not to let.")
    seen = (
        request.rent,
        terms.term_ms if request.term_ms is None else request.term_ms,
        terms.deposit if request.deposit is None else request.deposit,
    )
    if seen != (terms.rent, terms.term_ms, terms.deposit):
        rent, deposit = in_words(terms.rent), in_words(terms.deposit)
        text = f"{called(parcel)} costs {rent} for {term_in_words(terms.term_ms)} now, and a deposit of {deposit}."
        raise Refusal(RefusalCode.CHANGED, text)
    return terms


def _paid(state: State, tenant_id: int, owner_id: int, rent: int, deposit: int = 0) -> list[Post]:
    """The postings of a rent and a deposit. Raises Refusal where the tenant has too little."""
    legs: list[tuple[int, int]] = []
    if rent or deposit:
        legs += legs_with_grant(state, tenant_id, [(tenant_id, -rent - deposit)])
    if rent:
        legs += legs_with_grant(state, owner_id, [(owner_id, rent)])
    if deposit:
        legs.append((ESCROW, deposit))
    return state.ledger.posted(legs)


def leave(state: State, act: Act, request: LandLeave) -> Outcome:
    """Notice is given."""
    parcel = find(state, request.parcel_id)
    if parcel.lease is None:
        raise Refusal(RefusalCode.CHANGED, f"Nobody rents {called(parcel, begins=False)}.")
    if act.player_id not in (parcel.owner_id, parcel.lease.tenant_id):
        text = f"Only {parcel.lease.tenant_name} and {parcel.owner_name} can do this."
        raise Refusal(RefusalCode.NOT_OWNER, text)
    return changed(state, parcel, lease=replace(parcel.lease, leaving=True))


# --- by itself ---


def end_term(state: State, parcel: Parcel, lease: Lease) -> tuple[bool, list[Change]]:
    """What happens at the end of a term, and whether another begins."""
    rent = lease.terms.rent
    if lease.leaving or spendable(state, lease.tenant_id) < rent:
        return False, ended(state, parcel, lease)
    later = replace(lease, ends=lease.ends + state.ticks_of(lease.terms.term_ms))
    posts = _paid(state, lease.tenant_id, parcel.owner_id, rent)
    return True, [*posts, replace(parcel, lease=later, seq=state.seq + 1)]


def ended(state: State, parcel: Parcel, lease: Lease) -> list[Change]:
    """The deposit goes back, and the parcel is as it was."""
    fields = asdict(lease.before)
    build = fields.pop("build")
    return [
        *deposit_back(state, lease),
        *put_back(state, parcel.rectangle, build),
        replace(parcel, **fields, lease=None, seq=state.seq + 1),
    ]


def deposit_back(state: State, lease: Lease) -> list[Change]:
    """The hold is voided."""
    deposit = lease.terms.deposit
    if not deposit:
        return []
    hold = state.ledger.holds[lease.hold_id]
    posts = state.ledger.posted([(ESCROW, -deposit), (lease.tenant_id, deposit)])
    return [*posts, hold.over(HoldState.VOIDED)]


def unheld(state: State) -> Iterator[str]:
    """Deposits that are not set aside as their leases say, in words: such a lease cannot end."""
    for parcel in state.parcels.by_id.values():
        if (lease := parcel.lease) is None or not (deposit := lease.terms.deposit):
            continue
        hold = state.ledger.holds.get(lease.hold_id)
        if hold is None or (hold.account, hold.amount) != (lease.tenant_id, deposit):
            yield f"the deposit of {deposit} poisha for parcel {parcel.parcel_id} is not held"


RULES: dict[type, Callable[[State, Act, Any], Outcome]] = {LandLet: let, LandRent: rent, LandLeave: leave}
