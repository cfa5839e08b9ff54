"""The rules of land: who may claim, change, divide and give what; market.py has those of selling it.

Each rule reads the state and answers with an Outcome or a Refusal (see entries.py); what a player is told names the rule, the parcel
and who can change it.

Land is claimed in whole plots. The price of a plot falls with the distance from (0, 0); claims are paid to the house. Open land stays
one piece, beside every parcel (open_land.py): nothing may be claimed that would divide it or take a neighbour's last way, and a parcel
may be split only so that each part has open land beside it, if need be a way through the other part, which cannot be taken back.
"""

from collections.abc import Callable, Iterable
from math import isqrt
from typing import Any

import numpy as np
from msgspec.structs import replace

from protocol.errors import Refusal, RefusalCode
from protocol.messages import (
    DESCRIPTION_CHARS_MAX,
    PARCEL_NAME_CHARS_MAX,
    PLOT_TILES,
    Cut,
    LandAbandon,
    LandClaim,
    LandClaimResult,
    LandDescribe,
    LandDivided,
    LandEase,
    LandHeld,
    LandMerge,
    LandOpen,
    LandPermit,
    LandQuote,
    LandSplit,
    LandTake,
    LandTaken,
    LandTransfer,
    Quoted,
    Standing,
)
from world.building import anything_stands, cleared, kinds_on
from world.commands import Act
from world.entries import Outcome
from world.ledger import HOUSE, TREASURY
from world.open_land import (
    PLOTS_EDGE,
    check_one_piece,
    check_way,
    cut_off,
    has_way_out,
    looking,
    overlap,
    shortest_way,
    together,
)
from world.parcels import Parcel, Permit, Rectangle, freed, plots_in
from world.sales import Auction
from world.state import LandRules, State
from world.text import clean
from world.tiles import BUILD_WALK

PERMITS_MAX = 64  # on one parcel
GIFTS_MAX = 64  # parcels that wait for one player to take them
UNOFFERED: dict[str, int | None] = {"to_let": None, "given_to": None}  # fields of a Parcel


# --- money ---


def legs_with_grant(state: State, player_id: int, legs: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Postings that touch a player's wallet, behind the starting grant if it is their first."""
    grant = state.rules.land.starting_grant
    if player_id in state.ledger.balances or not grant:
        return list(legs)
    return [(TREASURY, -grant), (player_id, grant), *legs]


def spendable(state: State, player_id: int) -> int:
    """What a player could pay now: their wallet, or the grant that it will begin with."""
    if player_id in state.ledger.balances:
        return state.ledger.balances[player_id]
    return state.rules.land.starting_grant


def price_of(rules: LandRules, rectangle: Rectangle) -> int:
    """What a claim of these plots costs, by the distance of its middle from (0, 0)."""
    px, py, pw, ph = rectangle
    twice_x, twice_y = 2 * px + pw, 2 * py + ph
    away = isqrt(twice_x * twice_x + twice_y * twice_y) // 2
    near = rules.plot_price_falloff
    return pw * ph * max(rules.plot_price_min, rules.plot_price * near // (near + away))


def upkeep_of(state: State, parcel: Parcel, periods: int) -> int:
    """What a parcel costs its owner in so many periods, in poisha."""
    return state.rules.land.upkeep_per_plot * parcel.pw * parcel.ph * max(0, periods)


def first_due(state: State) -> int | None:
    """The tick at which the upkeep of land that is claimed now is due; None: there is none."""
    return state.tick + state.upkeep_ticks if state.rules.land.upkeep_per_plot else None


# --- claiming ---


def quote(state: State, player_id: int, request: LandQuote, dry_plots: int) -> Quoted:
    """What a claim would cost. Raises Refusal where it would be refused, but for the money."""
    rectangle = _rectangle(request.x, request.y, request.width, request.height)
    _check_claim(state, player_id, rectangle, dry_plots)
    return Quoted(rectangle[2] * rectangle[3], price_of(state.rules.land, rectangle))


def claim(state: State, act: Act, request: LandClaim) -> Outcome:
    """Nobody's land becomes somebody's."""
    rectangle = _rectangle(request.x, request.y, request.width, request.height)
    _check_claim(state, act.player_id, rectangle, act.dry_plots)
    price = price_of(state.rules.land, rectangle)
    posts = state.ledger.posted(
        legs_with_grant(state, act.player_id, [(act.player_id, -price), (HOUSE, price)])
    )
    parcel_id = state.parcels.last_id + 1
    parcel = Parcel(
        parcel_id, act.player_id, act.name, *rectangle, seq=state.seq + 1, paid_until=first_due(state)
    )
    return Outcome(LandClaimResult(parcel_id, price), [*posts, parcel])


def _rectangle(x: int, y: int, width: int, height: int) -> Rectangle:
    """Tiles as plots. Raises Refusal for what is not whole plots, or not of this world."""
    if any(value % PLOT_TILES for value in (x, y, width, height)):
        px, py = x // PLOT_TILES, y // PLOT_TILES
        pw, ph = -(-(x + width) // PLOT_TILES) - px, -(-(y + height) // PLOT_TILES) - py
        around = ", ".join(str(value * PLOT_TILES) for value in (px, py, pw, ph))
        raise Refusal(
            RefusalCode.BAD_REQUEST,
            f"Land comes in plots of {PLOT_TILES} x {PLOT_TILES} tiles; the next that hold this are x, y, width, height = {around}.",
        )
    px, py, pw, ph = (value // PLOT_TILES for value in (x, y, width, height))
    if px + pw > PLOTS_EDGE or py + ph > PLOTS_EDGE:
        raise Refusal(RefusalCode.BAD_REQUEST, "A part of this lies outside the world.")
    return px, py, pw, ph


def _check_claim(state: State, player_id: int, rectangle: Rectangle, dry_plots: int) -> None:
    rules, parcels = state.rules.land, state.parcels
    _, _, pw, ph = rectangle
    _check_size(rules, rectangle)
    check_count(state, player_id, pw * ph)
    for plot in plots_in(*rectangle):
        there = parcels.on(plot)
        if there is not None:
            raise Refusal(RefusalCode.TAKEN, f"{called(there)} lies there; ask {there.owner_name}.")
    if not dry_plots:
        raise Refusal(
            RefusalCode.BAD_REQUEST, "There is only water here; a parcel needs some land to stand on."
        )
    if anything_stands(state, rectangle):
        raise Refusal(RefusalCode.TAKEN, "Something is built here that is not yours.")
    _check_open_land(state, rectangle)


def _check_size(rules: LandRules, rectangle: Rectangle) -> None:
    if rectangle[2] * rectangle[3] > rules.parcel_plots_max:
        raise Refusal(
            RefusalCode.LIMIT_REACHED, f"A parcel has {rules.parcel_plots_max} plots at most; take less."
        )


def check_count(state: State, player_id: int, plots: int, parcels: int = 1, bidding_in: int = 0) -> None:
    """May somebody own so much more? What they lead for counts as theirs, but in the auction in which they bid."""
    rules, led = state.rules.land, state.sales.by_leader.of(player_id)
    owned = [*state.parcels.of(player_id)]
    owned += [state.sales.by_id[one].parcel_id for one in led if one != bidding_in]
    if len(owned) + parcels > rules.player_parcels_max:
        raise Refusal(
            RefusalCode.LIMIT_REACHED,
            f"One player owns {rules.player_parcels_max} parcels at most, with those they lead for in auctions.",
        )
    have = sum(one.pw * one.ph for one in map(state.parcels.by_id.__getitem__, owned))
    if have + plots > rules.player_plots_max:
        text = f"One player owns {rules.player_plots_max} plots at most; {have} are owned already, or led for in auctions."
        raise Refusal(RefusalCode.LIMIT_REACHED, text)


def _check_open_land(state: State, rectangle: Rectangle) -> None:
    """Raises Refusal where open land would not be one piece any more, or somebody would have none beside theirs."""
    is_open = looking(state, closed=set(plots_in(*rectangle)))
    if not has_way_out(rectangle, is_open):
        raise Refusal(RefusalCode.CUT_OFF, "There is no open land beside this: nobody could get there.")
    for parcel in cut_off(state, rectangle, is_open):
        text = f"This would take the last way to {called(parcel, begins=False)}; leave a plot free."
        raise Refusal(RefusalCode.CUT_OFF, text)
    check_one_piece(rectangle, is_open)


# --- what owners do ---


def describe(state: State, act: Act, request: LandDescribe) -> Outcome:
    """A name and a description."""
    parcel = _managed(state, act, request.parcel_id)
    name, description = clean(request.name), clean(request.description)
    if len(name) > PARCEL_NAME_CHARS_MAX or len(description) > DESCRIPTION_CHARS_MAX:
        raise Refusal(RefusalCode.BAD_REQUEST, "Too long, with its accents spelled out; take less.")
    return changed(state, parcel, name=name, description=description)


def open_up(state: State, act: Act, request: LandOpen) -> Outcome:
    """What everybody may do."""
    parcel = _managed(state, act, request.parcel_id)
    _check_access_is_free(state, parcel)
    return changed(state, parcel, open_enter=request.enter, open_build=request.build)


def permit(state: State, act: Act, request: LandPermit) -> Outcome:
    """What one player may do."""
    parcel = _managed(state, act, request.parcel_id)
    _check_access_is_free(state, parcel)
    mine, theirs = parcel.standing(act.player_id), parcel.standing(request.player_id)
    if max(request.standing, theirs) >= Standing.TENANT:
        text = "A parcel has one owner, and one tenant at most; land_transfer and land_rent make others."
        raise Refusal(RefusalCode.BAD_REQUEST, text)
    if mine < Standing.TENANT and max(request.standing, theirs) >= mine:
        raise Refusal(RefusalCode.NOT_OWNER, f"Only {parcel.holder_name} makes and unmakes managers here.")
    others = [one for one in parcel.permits if one.player_id != request.player_id]
    if request.standing is not Standing.NONE:
        if len(others) >= PERMITS_MAX:
            raise Refusal(
                RefusalCode.LIMIT_REACHED, f"{PERMITS_MAX} players at most have a standing on a parcel."
            )
        others.append(Permit(request.player_id, _name(act), request.standing))
    permits = tuple(sorted(others, key=lambda one: one.player_id))
    return changed(state, parcel, permits=permits)


def _check_access_is_free(state: State, parcel: Parcel) -> None:
    """Raises Refusal where bidders count on who may do what: they cannot look again when it ends."""
    sale = state.sales.on(parcel.parcel_id)
    if isinstance(sale, Auction) and sale.keep_permits:
        text = f"Who may do what on {called(parcel, begins=False)} goes with it to who wins its auction, so it stays as it is."
        raise Refusal(RefusalCode.NOT_ALLOWED, text)


def transfer(state: State, act: Act, request: LandTransfer) -> Outcome:
    """To somebody else, for nothing, if they take it: it costs and counts as the giver's until then. To its owner: not any more."""
    parcel = find(state, request.parcel_id)
    if request.to == parcel.owner_id and act.player_id == parcel.given_to:
        return changed(state, parcel, given_to=None)
    owned(state, act, request.parcel_id)
    check_not_in_sale(state, parcel)
    if request.to == act.player_id:
        if parcel.given_to is None:
            raise Refusal(RefusalCode.BAD_REQUEST, "It is yours already.")
        return changed(state, parcel, given_to=None)
    name, waiting = _name(act), {parcel.parcel_id, *state.parcels.by_heir.of(request.to)}
    if len(waiting) > GIFTS_MAX:
        text = f"{GIFTS_MAX} gifts wait for {name} already; ask them to take or decline some."
        raise Refusal(RefusalCode.LIMIT_REACHED, text)
    return changed(state, parcel, **UNOFFERED | {"given_to": request.to})


def split(state: State, act: Act, request: LandSplit) -> Outcome:
    """Two of one; permits and what everybody may do hold for both."""
    parcel = owned(state, act, request.parcel_id)
    check_off_market(state, parcel)
    check_count(state, act.player_id, 0)
    parts = _halves(parcel, request)
    ways = _ways(state, parcel, parts, bool(request.ease))
    seq, other_id = state.seq + 1, state.parcels.last_id + 1
    first, second = (
        replace(_shaped(parcel, part, seq), way=way) for part, way in zip(parts, ways, strict=True)
    )
    return Outcome(LandDivided(parcel.parcel_id, other_id), [first, replace(second, parcel_id=other_id)])


def _ways(
    state: State, parcel: Parcel, parts: tuple[Rectangle, Rectangle], may_ease: bool
) -> list[Rectangle | None]:
    """The ways that two parts will grant: each its piece of the whole's, or what leads the other part out. Raises Refusal."""
    is_open = looking(state)
    ways = [overlap(parcel.way, part) for part in parts]
    for number, part in enumerate(parts):
        if has_way_out(part, is_open):
            continue
        through = 1 - number
        way = shortest_way(part, parts[through], is_open) if may_ease and ways[through] is None else None
        if way is None:
            text = "One part would have no open land beside it: divide it another way, or let the other part grant a way (ease)."
            raise Refusal(RefusalCode.CUT_OFF, text)
        _check_free_to_walk(state, way)
        ways[through] = way
    return ways


def _halves(parcel: Parcel, request: LandSplit) -> tuple[Rectangle, Rectangle]:
    px, py, pw, ph = parcel.px, parcel.py, parcel.pw, parcel.ph
    at, rest = divmod(request.at, PLOT_TILES)
    start, size = (px, pw) if request.cut is Cut.VERTICAL else (py, ph)
    if rest or not start < at < start + size:
        lines = ", ".join(str(line * PLOT_TILES) for line in range(start + 1, start + size))
        text = f"Divide it between plots, at one of: {lines}." if lines else "It is a single plot that way."
        raise Refusal(RefusalCode.BAD_REQUEST, text)
    if request.cut is Cut.VERTICAL:
        return (px, py, at - px, ph), (at, py, px + pw - at, ph)
    return (px, py, pw, at - py), (px, at, pw, py + ph - at)


def merge(state: State, act: Act, request: LandMerge) -> Outcome:
    """One of two; name, permits and what everybody may do are those of the first."""
    parcel = owned(state, act, request.parcel_id)
    other = owned(state, act, request.other_id)
    for one in (parcel, other):
        check_off_market(state, one)
    rectangle = together(parcel.rectangle, other.rectangle)
    if rectangle is None:
        text = "These two are no rectangle together; merge neighbours with a common side."
        raise Refusal(RefusalCode.BAD_REQUEST, text)
    _check_size(state.rules.land, rectangle)
    merged = replace(
        _shaped(parcel, rectangle, state.seq + 1),
        paid_until=min(parcel.paid_until or 0, other.paid_until or 0) or None,
        arrears=max(parcel.arrears, other.arrears),
        way=_way_of_both(parcel, other),
    )
    return Outcome(LandHeld(parcel.parcel_id), [freed(other), merged])


def _way_of_both(parcel: Parcel, other: Parcel) -> Rectangle | None:
    """What two parcels grant. Raises Refusal where that is not one rectangle."""
    if parcel.way is None or other.way is None:
        return parcel.way or other.way
    way = together(parcel.way, other.way)
    if way is None:
        text = "Both grant a way, and the two are no rectangle together; take one back first (land_ease)."
        raise Refusal(RefusalCode.NOT_ALLOWED, text)
    return way


def ease(state: State, act: Act, request: LandEase) -> Outcome:
    """A way for everybody, or none any more."""
    parcel = owned(state, act, request.parcel_id)
    check_not_in_sale(state, parcel)
    way = None
    if request.width and request.height:
        way = _rectangle(request.x, request.y, request.width, request.height)
        if overlap(way, parcel.rectangle) != way:
            raise Refusal(RefusalCode.BAD_REQUEST, f"This is not all within {called(parcel, begins=False)}.")
        _check_free_to_walk(state, way)
    check_way(state, parcel, way)
    return changed(state, parcel, way=way)


def _check_free_to_walk(state: State, way: Rectangle) -> None:
    blocking = [kind for kind, percent in BUILD_WALK.items() if not percent]
    if np.isin(kinds_on(state, way), blocking).any():
        text = "Something that nobody can walk through stands in the way; take it away first."
        raise Refusal(RefusalCode.NOT_ALLOWED, text)


def abandon(state: State, act: Act, request: LandAbandon) -> Outcome:
    """Nobody's again, and bare."""
    parcel = owned(state, act, request.parcel_id)
    check_not_in_sale(state, parcel)
    return Outcome(LandHeld(parcel.parcel_id), [*cleared(state, parcel.rectangle), freed(parcel)])


def take(state: State, act: Act, request: LandTake) -> Outcome:
    """What is given to somebody is theirs."""
    parcel = find(state, request.parcel_id)
    if parcel.given_to != act.player_id:
        raise Refusal(RefusalCode.CHANGED, f"{called(parcel)} is not given to you, or not any more.")
    check_count(state, act.player_id, parcel.pw * parcel.ph)
    taken = replace(
        parcel, owner_id=act.player_id, owner_name=act.name, permits=(), **UNOFFERED, seq=state.seq + 1
    )
    return Outcome(LandTaken(parcel.parcel_id, parcel.owner_id), [taken])


# --- common ---


def called(parcel: Parcel, begins: bool = True) -> str:
    """A parcel for people; whether it `begins` a sentence."""
    if parcel.name:
        return f"“{parcel.name}”"
    return f"{'The' if begins else 'the'} land of {parcel.owner_name} (parcel {parcel.parcel_id})"


def who_can_change(parcel: Parcel) -> str:
    """Who lets people in or build, for people."""
    managers = [one.name for one in parcel.permits if one.standing is Standing.MANAGER]
    return " or ".join([parcel.holder_name, *managers[:2]])


def find(state: State, parcel_id: int) -> Parcel:
    """The parcel. Raises Refusal."""
    parcel = state.parcels.by_id.get(parcel_id)
    if parcel is None:
        raise Refusal(RefusalCode.NOT_FOUND, "There is no such parcel, or no more.")
    return parcel


def _managed(state: State, act: Act, parcel_id: int) -> Parcel:
    """The parcel, if the player manages it at least. Raises Refusal."""
    parcel = find(state, parcel_id)
    if parcel.standing(act.player_id) < Standing.MANAGER:
        let = parcel.lease is not None and act.player_id == parcel.owner_id
        whose = f"is let to {parcel.holder_name}" if let else "is not yours"
        text = f"{called(parcel)} {whose}; {who_can_change(parcel)} can do this."
        raise Refusal(RefusalCode.NOT_OWNER, text)
    return parcel


def owned(state: State, act: Act, parcel_id: int) -> Parcel:
    """The parcel, if the player owns it and nobody rents it. Raises Refusal."""
    parcel = find(state, parcel_id)
    if parcel.owner_id != act.player_id:
        raise Refusal(
            RefusalCode.NOT_OWNER, f"{called(parcel)} is not yours; {parcel.owner_name} can do this."
        )
    if parcel.lease is not None:
        text = f"{called(parcel)} is let to {parcel.lease.tenant_name}: not before the lease ends."
        raise Refusal(RefusalCode.NOT_ALLOWED, text)
    return parcel


def check_off_market(state: State, parcel: Parcel) -> None:
    """Raises Refusal for what is for sale, to let or given away."""
    check_not_in_sale(state, parcel)
    if parcel.to_let is not None:
        raise Refusal(RefusalCode.NOT_ALLOWED, f"{called(parcel)} is to let; take that offer back first.")
    if parcel.given_to is not None:
        text = f"{called(parcel)} waits for whom it is given to; take it back first."
        raise Refusal(RefusalCode.NOT_ALLOWED, text)


def check_not_in_sale(state: State, parcel: Parcel) -> None:
    """Raises Refusal for what is for sale: it is sold as it is."""
    sale = state.sales.on(parcel.parcel_id)
    if isinstance(sale, Auction) and sale.standing.has_bids:
        raise Refusal(
            RefusalCode.NOT_ALLOWED,
            f"{called(parcel)} is in an auction, and somebody has bid: wait for its end.",
        )
    if sale is not None:
        text = f"{called(parcel)} is for sale; take it off the market first."
        raise Refusal(RefusalCode.NOT_ALLOWED, text)


def _name(act: Act) -> str:
    """The name of whom the request names, who was looked up before."""
    if act.other_name is None:
        raise Refusal(RefusalCode.NOT_FOUND, "There is no such player; look them up with player_find.")
    return act.other_name


def _shaped(parcel: Parcel, rectangle: Rectangle, seq: int) -> Parcel:
    px, py, pw, ph = rectangle
    return replace(parcel, px=px, py=py, pw=pw, ph=ph, seq=seq)


def changed(state: State, parcel: Parcel, **fields: Any) -> Outcome:
    """The parcel with other fields, and nothing else."""
    return Outcome(LandHeld(parcel.parcel_id), [replace(parcel, **fields, seq=state.seq + 1)])


RULES: dict[type, Callable[[State, Act, Any], Outcome]] = {
    LandClaim: claim,
    LandDescribe: describe,
    LandOpen: open_up,
    LandPermit: permit,
    LandTransfer: transfer,
    LandSplit: split,
    LandMerge: merge,
    LandAbandon: abandon,
    LandTake: take,
    LandEase: ease,
}
