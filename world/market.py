"""The rules of the market: who may put land up for sale, change that, take it back, and buy.

Land is sold as it was inspected. Whoever may build on land that is for sale goes on building; but then nobody can buy it until its
seller has looked, and has edited the listing, which offers the land as it is by then. A buyer names the price as seen, and may name the
listing's `seq`: what was edited since is another offer, though it cost the same. Who names none gets the land as it was first offered,
or a refusal.

A listing that is past its end can neither be bought nor edited, though the entry that says so (settlement.py) may wait for the
journal's room; its seller can end it.
"""

import hashlib
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import numpy as np
from msgspec.structs import replace

from protocol.errors import Refusal, RefusalCode
from protocol.messages import (
    ListingBought,
    ListingHeld,
    MarketBuy,
    MarketCancel,
    MarketEdit,
    MarketList,
    SaleEnd,
)
from world.building import kinds_on
from world.commands import Act
from world.entries import Outcome
from world.land import called, check_count, check_off_market, legs_with_grant, owned
from world.leases import term_in_words
from world.ledger import HOUSE, in_words
from world.parcels import Parcel
from world.sales import DIGEST_BYTES, Auction, FeeTerms, Inspection, Listing, Sale
from world.state import State

_encode = msgspec.msgpack.Encoder().encode

# --- selling ---


def put_up(state: State, act: Act, request: MarketList) -> Outcome:
    """For sale, as it stands there."""
    parcel, seq = to_sell(state, act, request.parcel_id), state.seq + 1
    check_price(state, request.price)
    listing = Listing(
        seq,
        parcel.parcel_id,
        act.player_id,
        request.price,
        bool(request.keep_permits),
        fee_terms(state),
        inspection(state, parcel, bool(request.keep_permits)),
        ends_at(state, request.duration_ms),
        seq,
        seq,
    )
    return _held(listing)


def edit(state: State, act: Act, request: MarketEdit) -> Outcome:
    """Another price, end or treatment of permits; and what stands there is what is offered from now on."""
    listing, seq = _open(state, request.listing_id), state.seq + 1
    _check_mine(state, act, listing)
    if request.price != listing.price:  # what stands in it was within the bounds of then
        check_price(state, request.price)
    keeps = listing.keep_permits if request.keep_permits is None else request.keep_permits
    inspected = inspection(state, state.parcels.by_id[listing.parcel_id], keeps)
    edited = replace(
        listing,
        price=request.price,
        keep_permits=keeps,
        inspected=inspected,
        ends=ends_at(state, request.duration_ms) or listing.ends,
        seq=seq,
        since=listing.since if inspected == listing.inspected else seq,
    )
    return _held(edited)


def cancel(state: State, act: Act, request: MarketCancel) -> Outcome:
    """Not for sale any more."""
    listing = state.sales.by_id.get(request.listing_id)
    if listing is None:
        raise ended()
    _check_mine(state, act, listing)
    if isinstance(listing, Auction) and listing.standing.has_bids:
        raise Refusal(
            RefusalCode.NOT_ALLOWED, "Somebody has bid already; an auction with bids is not taken back."
        )
    at_its_end = SaleEnd.UNSOLD if isinstance(listing, Auction) else SaleEnd.EXPIRED
    end = at_its_end if _is_past(state, listing) else SaleEnd.CANCELLED
    return Outcome(ListingHeld(listing.sale_id, listing.parcel_id), [listing.over(end, state.seq + 1)])


def _held(listing: Listing) -> Outcome:
    return Outcome(ListingHeld(listing.listing_id, listing.parcel_id), [listing])


def to_sell(state: State, act: Act, parcel_id: int) -> Parcel:
    """A parcel that its owner may put up for sale. Raises Refusal."""
    parcel = owned(state, act, parcel_id)
    check_off_market(state, parcel)
    most = state.rules.market.player_listings_max
    if len(state.sales.by_seller.of(act.player_id)) >= most:
        text = f"One player sells {most} parcels at most at a time; take one back first."
        raise Refusal(RefusalCode.LIMIT_REACHED, text)
    return parcel


def fee_terms(state: State) -> FeeTerms:
    """What the house takes of a sale that begins now."""
    return FeeTerms(state.rules.market.fee_basis_points, state.rules.market.fee_min)


def check_price(state: State, price: int) -> None:
    """Raises Refusal for a price that lies without the bounds."""
    rules = state.rules.market
    if price < rules.price_min:
        raise Refusal(RefusalCode.TOO_LOW, f"Land is sold for {in_words(rules.price_min)} at least.")
    if price > rules.price_max:
        raise Refusal(RefusalCode.BAD_REQUEST, f"Land is sold for {in_words(rules.price_max)} at most.")


def ends_at(state: State, duration_ms: int | None) -> int | None:
    """The tick at which a listing is over. Raises Refusal."""
    return None if duration_ms is None else state.tick + check_duration(state, duration_ms)


def check_duration(state: State, duration_ms: int) -> int:
    """The ticks of a time that a sale may stand. Raises Refusal."""
    rules = state.rules.market
    if not rules.listing_ms_min <= duration_ms <= rules.listing_ms_max:
        shortest, longest = term_in_words(rules.listing_ms_min), term_in_words(rules.listing_ms_max)
        raise Refusal(
            RefusalCode.BAD_REQUEST, f"A listing stands for {shortest} to {longest}, or until it is sold."
        )
    return state.ticks_of(duration_ms)


# --- buying ---


def buy(state: State, act: Act, request: MarketBuy) -> Outcome:
    """Money one way, its fee to the house, land the other, and the sale is over: all of it or nothing."""
    listing = _open(state, request.listing_id)
    parcel = state.parcels.by_id[listing.parcel_id]
    if listing.seller_id == act.player_id:
        raise Refusal(RefusalCode.BAD_REQUEST, "It is yours already.")
    _check_as_seen(parcel, listing, request)
    check_count(state, act.player_id, parcel.pw * parcel.ph)
    seq, price, fee = state.seq + 1, listing.price, listing.fee
    legs: list[tuple[int, int]] = []
    if price:
        legs += legs_with_grant(state, act.player_id, [(act.player_id, -price)])
        legs += legs_with_grant(state, listing.seller_id, [(listing.seller_id, price - fee)])
        legs.append((HOUSE, fee))
    posts = state.ledger.posted((account, amount) for account, amount in legs if amount)
    check_as_inspected(state, parcel, listing)  # last, since it looks at every tile
    bought = handed_over(parcel, act.player_id, act.name, listing.keep_permits, seq)
    result = ListingBought(listing.listing_id, parcel.parcel_id, listing.seller_id, price, fee)
    return Outcome(result, [*posts, listing.over(SaleEnd.SOLD, seq, act.player_id), bought])


def handed_over(parcel: Parcel, owner_id: int, name: str, keeps: bool, seq: int) -> Parcel:
    """With a new owner, by entry `seq`; who may do what there is kept, or as where land is claimed."""
    theirs = replace(parcel, owner_id=owner_id, owner_name=name, seq=seq)
    if not keeps:
        return replace(theirs, permits=(), open_enter=True, open_build=False)
    return replace(theirs, permits=tuple(one for one in parcel.permits if one.player_id != owner_id))


def _check_as_seen(parcel: Parcel, listing: Listing, request: MarketBuy) -> None:
    if listing.price != request.price:
        raise Refusal(RefusalCode.CHANGED, f"{called(parcel)} costs {in_words(listing.price)} now.")
    if request.seq not in (None, listing.seq):
        text = f"The listing of {called(parcel, begins=False)} was edited since you saw it: {_offered(listing)}. Look again."
        raise Refusal(RefusalCode.CHANGED, text)
    if request.seq is None and listing.since != listing.listing_id:
        text = f"{called(parcel)} is offered otherwise than at first: {_offered(listing)}. Name the listing's seq to buy it so."
        raise Refusal(RefusalCode.CHANGED, text)


def _offered(listing: Listing) -> str:
    """What a listing offers, in words."""
    kept = "permits are kept" if listing.keep_permits else "permits end"
    owed = f", {listing.inspected.arrears} periods of upkeep are owed" if listing.inspected.arrears else ""
    return f"it costs {in_words(listing.price)}, {listing.inspected.tiles} tiles are built on, {kept}{owed}"


def check_as_inspected(state: State, parcel: Parcel, sale: Sale) -> None:
    """Raises Refusal where the land is not what its seller offers, and says what is another."""
    if news := list(changed_since(state, parcel, sale)):
        text = f"{called(parcel)} is not as it was offered: {' and '.join(news)}."
        rest = (
            "So it will not be sold."
            if isinstance(sale, Auction)
            else f"{parcel.owner_name} must edit the listing first."
        )
        raise Refusal(RefusalCode.CHANGED, f"{text} {rest}")


def changed_since(state: State, parcel: Parcel, sale: Sale) -> Iterator[str]:
    """What is not as it was offered, in words. Upkeep that came to be owed since an auction began is its seller's: auctions.py."""
    now, then = inspection(state, parcel, sale.keep_permits), sale.inspected
    if now.tiles != then.tiles:
        yield f"{then.tiles} tiles were built on, and now {now.tiles}"
    elif now.build != then.build:
        yield "what is built there is another"
    if isinstance(sale, Listing) and now.arrears > then.arrears:
        yield "more upkeep is owed for it"
    if now.access != then.access:
        yield "others may do other things there"


# --- common ---


def inspection(state: State, parcel: Parcel, keeps: bool) -> Inspection:
    """The land as it is now; `keeps`: with who may do what there. Its shape and its way stay as they are while it is for sale."""
    kinds = kinds_on(state, parcel.rectangle)
    standings = [(one.player_id, one.standing) for one in parcel.permits]  # whatever they are called by now
    access = _digest(_encode((standings, parcel.open_enter, parcel.open_build))) if keeps else b""
    return Inspection(_digest(kinds.tobytes()), int(np.count_nonzero(kinds)), parcel.arrears, access)


def _digest(what: bytes) -> bytes:
    return hashlib.blake2b(what, digest_size=DIGEST_BYTES).digest()


def _is_past(state: State, listing: Sale) -> bool:
    return listing.ends is not None and listing.ends <= state.tick


def ended() -> Refusal:
    """There is nothing to buy, or to change."""
    return Refusal(RefusalCode.ENDED, "This sale is over, or there never was one.")


def _open(state: State, listing_id: int) -> Listing:
    """The listing. Raises Refusal once it is over."""
    listing = state.sales.by_id.get(listing_id)
    if isinstance(listing, Auction):
        raise Refusal(RefusalCode.NOT_ALLOWED, "This is an auction: bid for it, or wait for its end.")
    if listing is None or _is_past(state, listing):
        raise ended()
    return listing


def _check_mine(state: State, act: Act, listing: Sale) -> None:
    """Raises Refusal where a listing is not the player's."""
    if listing.seller_id != act.player_id:
        parcel = state.parcels.by_id[listing.parcel_id]
        text = f"{called(parcel)} is not yours to sell; {parcel.owner_name} can do this."
        raise Refusal(RefusalCode.NOT_OWNER, text)


RULES: dict[type, Callable[[State, Act, Any], Outcome]] = {
    MarketList: put_up,
    MarketEdit: edit,
    MarketCancel: cancel,
    MarketBuy: buy,
}
