"""The rules of auctions: who may begin one, bid, and what becomes of it when its time is over; bidding.py has what a bid makes of it.

All that the leader would pay at most is set aside in escrow; who is outbid has it back in the same entry.

Land is sold as it was inspected when its auction began. So nobody builds on it, and permits that stay are not changed; what an admin
builds all the same ends the bidding, and it is not sold. Upkeep that came to be owed meanwhile is paid out of the price; where that is
too little it is not sold either.

The end is one entry, made by the world itself (settlement.py) once and never again, for the entry that ends an auction takes it out of
the book. No auction ends in the first minute after the server was away, or its database: it ends with that minute, and all are told.
"""

from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from protocol.errors import Refusal, RefusalCode
from protocol.messages import AuctionHeld, BidPlaced, MarketAuction, MarketBid, SaleEnd
from world import bidding
from world.bidding import Standing, Terms
from world.commands import Act
from world.entries import Change, Outcome
from world.land import called, check_count, legs_with_grant, spendable, upkeep_of
from world.ledger import ESCROW, HOUSE, Hold, HoldState, in_words, too_little
from world.market import (
    changed_since,
    check_as_inspected,
    check_duration,
    check_price,
    ended,
    fee_terms,
    handed_over,
    inspection,
    to_sell,
)
from world.parcels import Parcel
from world.sales import NO_HOLD, Auction
from world.state import State

# Refused to who bids before the entry is made that moves an end.
GOES_ON = RefusalCode.UNAVAILABLE, "This auction goes on in a moment, after an outage; try again.", 1_000

# --- selling ---


def put_up(state: State, act: Act, request: MarketAuction) -> Outcome:
    """For auction, as it stands there."""
    parcel = to_sell(state, act, request.parcel_id)
    for price in (request.start_price, request.reserve, request.buy_now):
        if price is not None:
            check_price(state, price)
    lowest = max(request.start_price, request.reserve or 0)
    if request.buy_now is not None and request.buy_now < lowest:
        text = f"For less than {in_words(lowest)} it cannot be had at once: that is its first price, or its reserve."
        raise Refusal(RefusalCode.BAD_REQUEST, text)
    rules, seq, keeps = state.rules.market, state.seq + 1, bool(request.keep_permits)
    ends = state.tick + check_duration(state, request.duration_ms)
    snipe = state.ticks_of(rules.snipe_ms)
    terms = Terms(
        request.start_price,
        rules.step_min,
        rules.step_basis_points,
        request.reserve,
        request.buy_now,
        snipe,
        ends + rules.extensions_max * snipe,
    )
    auction = Auction(
        seq,
        parcel.parcel_id,
        act.player_id,
        keeps,
        fee_terms(state),
        inspection(state, parcel, keeps),
        terms,
        bool(request.show_reserve),
        Standing(ends),
        NO_HOLD,
        seq,
        seq,
    )
    return Outcome(AuctionHeld(seq, parcel.parcel_id, state.time_ms(ends)), [auction])


# --- bidding ---


def bid(state: State, act: Act, request: MarketBid) -> Outcome:
    """A bid: somebody leads, or who led still does, at another price; or it is sold at once."""
    auction = open_auction(state, request.auction_id)
    parcel = state.parcels.by_id[auction.parcel_id]
    if auction.seller_id == act.player_id:
        raise Refusal(RefusalCode.BAD_REQUEST, f"{called(parcel)} is yours.")
    check_count(state, act.player_id, parcel.pw * parcel.ph, bidding_in=auction.auction_id)
    _check_leads(state, act, auction)
    maximum = request.amount if request.maximum is None else request.maximum
    if maximum < request.amount:
        raise Refusal(RefusalCode.BAD_REQUEST, "A maximum is at least what is bid.")
    terms = auction.terms
    if bidding.buys_now(terms, auction.standing, act.player_id, request.amount):
        return _bought(state, act, auction, terms.buy_now or 0)
    standing = bidding.bid(
        auction.terms, auction.standing, act.player_id, request.amount, maximum, state.tick
    )
    changes, hold_id = _held(state, act, auction, standing, maximum)
    check_as_inspected(state, parcel, auction)
    leads, seq = standing.leader_id == act.player_id, state.seq + 1
    after = replace(
        auction,
        standing=standing,
        leader_name=act.name if leads else auction.leader_name,
        hold_id=hold_id,
        seq=seq,
        since=auction.since if standing.looks_like(auction.standing) else seq,
        extended=auction.extended if standing.ends == auction.ends else seq,
    )
    placed = BidPlaced(auction.auction_id, leads, standing.price, state.time_ms(standing.ends))
    return Outcome(placed, [*changes, after])


def _check_leads(state: State, act: Act, auction: Auction) -> None:
    """Raises Refusal for who leads in as many auctions as one may."""
    most, led = state.rules.market.player_leads_max, state.sales.by_leader.of(act.player_id)
    if len(led) >= most and auction.auction_id not in led:
        text = f"One player leads in {most} auctions at most at a time."
        raise Refusal(RefusalCode.LIMIT_REACHED, text)


def _held(
    state: State, act: Act, auction: Auction, standing: Standing, maximum: int
) -> tuple[list[Change], int]:
    """What is set aside now. Raises Refusal where the bidder has too little, though somebody else leads."""
    _check_funds(state, act, auction, maximum)
    if standing.leader_id != act.player_id:
        return [], auction.hold_id
    legs = _back(auction)
    legs += legs_with_grant(state, act.player_id, [(act.player_id, -maximum), (ESCROW, maximum)])
    seq = state.seq + 1
    hold = Hold(seq, act.player_id, maximum, f"a bid in auction {auction.auction_id}")
    return [*state.ledger.posted(legs), *_voided(state, auction), hold], seq


def _check_funds(state: State, act: Act, auction: Auction, amount: int) -> None:
    """Raises Refusal for who could not pay that; what is set aside for the auction already is theirs."""
    leads = auction.standing.leader_id == act.player_id
    there, more = spendable(state, act.player_id), amount - auction.standing.maximum * leads
    if there < more:
        raise Refusal(RefusalCode.INSUFFICIENT_FUNDS, too_little(there, more))


def _back(auction: Auction) -> list[tuple[int, int]]:
    """The legs of what the leader has back."""
    standing = auction.standing
    return [(ESCROW, -standing.maximum), (standing.leader_id, standing.maximum)] if standing.has_bids else []


def _voided(state: State, auction: Auction) -> list[Change]:
    return [state.ledger.holds[auction.hold_id].over(HoldState.VOIDED)] if auction.hold_id != NO_HOLD else []


def _bought(state: State, act: Act, auction: Auction, price: int) -> Outcome:
    """At once."""
    parcel, seq = state.parcels.by_id[auction.parcel_id], state.seq + 1
    _check_funds(state, act, auction, price)
    bids = auction.standing.bids + 1
    last = replace(auction.standing, price=price, leader_id=act.player_id, maximum=price, bids=bids)
    over = replace(auction, standing=last).over(SaleEnd.SOLD, seq, act.player_id)
    if over.price - over.fee < _missed(state, parcel, auction):
        text = f"More upkeep is owed for {called(parcel, begins=False)} than was told, and its price does not cover that."
        raise Refusal(RefusalCode.CHANGED, text)
    legs = _back(auction)
    legs += legs_with_grant(state, act.player_id, [(act.player_id, -price)])
    legs += _shared_out(state, parcel, over)
    posts = state.ledger.posted((account, amount) for account, amount in legs if amount)
    check_as_inspected(state, parcel, auction)
    sold = _handed_over(parcel, over, act.name, seq)
    placed = BidPlaced(auction.auction_id, True, price, state.time_ms(state.tick), True, auction.seller_id)
    return Outcome(placed, [*posts, *_voided(state, auction), over, sold])


# --- the end ---


def end(state: State, auction: Auction) -> list[Change]:
    """All that its end is: sold to the leader at the price, with the rest of what was set aside, or to nobody."""
    seq, standing, parcel = state.seq + 1, auction.standing, state.parcels.by_id[auction.parcel_id]
    if not _is_sold(state, parcel, auction):
        return [*given_back(state, auction), auction.over(SaleEnd.UNSOLD, seq)]
    legs = [(ESCROW, -standing.maximum), (standing.leader_id, standing.maximum - standing.price)]
    legs += _shared_out(state, parcel, auction)
    posts = state.ledger.posted((account, amount) for account, amount in legs if amount)
    hold = state.ledger.holds[auction.hold_id].over(HoldState.POSTED)
    over = auction.over(SaleEnd.SOLD, seq, standing.leader_id)
    return [*posts, hold, over, _handed_over(parcel, over, auction.leader_name, seq)]


def _is_sold(state: State, parcel: Parcel, auction: Auction) -> bool:
    """Whether the leader gets it: for its reserve, as it was inspected, and without owing more."""
    return (
        bidding.is_sold(auction.terms, auction.standing)
        and auction.price - auction.fee >= _missed(state, parcel, auction)
        and not any(changed_since(state, parcel, auction))
    )


def _missed(state: State, parcel: Parcel, auction: Auction) -> int:
    """What came to be owed for the land since its auction began."""
    return upkeep_of(state, parcel, parcel.arrears - auction.inspected.arrears)


def _shared_out(state: State, parcel: Parcel, auction: Auction) -> list[tuple[int, int]]:
    """The legs of its price: the seller's part, and the house's, with what is owed."""
    house = auction.fee + _missed(state, parcel, auction)
    sellers = legs_with_grant(state, auction.seller_id, [(auction.seller_id, auction.price - house)])
    return [*sellers, (HOUSE, house)]


def _handed_over(parcel: Parcel, over: Auction, name: str, seq: int) -> Parcel:
    assert over.buyer_id is not None
    theirs = handed_over(parcel, over.buyer_id, name, over.keep_permits, seq)
    return replace(theirs, arrears=min(parcel.arrears, over.inspected.arrears))


def given_back(state: State, auction: Auction) -> list[Change]:
    """What was set aside goes back to the leader."""
    return [*state.ledger.posted(_back(auction)), *_voided(state, auction)]


def extended(state: State, auction: Auction) -> Auction | None:
    """With a later end, where too little time was left to bid since the server came back, or its database. None: it can be ended."""
    ends = state.opened + state.ticks_of(state.rules.market.outage_ms)
    if auction.ends >= ends:
        return None
    later = replace(auction.terms, latest=auction.terms.latest + ends - auction.ends)
    standing, seq = replace(auction.standing, ends=ends), state.seq + 1
    return replace(auction, terms=later, standing=standing, seq=seq, since=seq, extended=seq)


# --- common ---


def open_auction(state: State, auction_id: int) -> Auction:
    """The auction. Raises Refusal once it is over, or until it is known that it is not."""
    auction = state.sales.by_id.get(auction_id)
    if not isinstance(auction, Auction):
        raise ended()
    if auction.ends <= state.tick:
        raise ended() if extended(state, auction) is None else Refusal(*GOES_ON)
    return auction


RULES: dict[type, Callable[[State, Act, Any], Outcome]] = {MarketAuction: put_up, MarketBid: bid}
