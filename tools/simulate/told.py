"""What is told of sales, and why one may not be had, said once more by somebody else: nothing here is shared with who tells it but the
shape of the messages.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

from protocol import messages
from protocol.errors import RefusalCode
from protocol.messages import (
    AuctionBid,
    AuctionEnded,
    AuctionExtended,
    AuctionOpened,
    ListingChanged,
    ListingEnded,
    ListingOpened,
    MarketBid,
    MarketBuy,
    MarketCancel,
    MarketEdit,
    Refused,
    name_of,
)
from tools.simulate.host import RULES
from world.entries import Entry
from world.ledger import in_words
from world.queries import auctioned, listed
from world.sales import Auction, Listing, Sale
from world.state import State

SALE_ENDED = 0  # in place of the seq of a sale's last change
_RULES = State(RULES)  # an empty world: what is told depends on its rules


class News(NamedTuple):
    """Something that is told of a sale: the message, the sale, and the seq in it."""

    kind: type
    sale_id: int
    seq: int


def auction_as_seen(auction: Auction, player_id: int | None) -> messages.Auction:
    """An auction as one player is told of it, said once more by somebody else where it is about what others must not know."""
    told = auctioned(_RULES, auction)
    leads, sells = auction.standing.leader_id == player_id, auction.seller_id == player_id
    reserve = auction.terms.reserve if sells or auction.shows_reserve else None
    maximum = auction.standing.maximum if leads else None
    return msgspec.structs.replace(told, reserve=reserve, maximum=maximum)


def as_told(sale: Sale) -> Iterator[Any]:
    """All that may be told of a sale as it is."""
    if isinstance(sale, Listing):
        yield listed(_RULES, sale)
        return
    whole = auction_as_seen(sale, None)
    yield whole
    for kind in (AuctionBid, AuctionExtended):
        yield kind(**{name: getattr(whole, name) for name in kind.__struct_fields__})


def news_of(entry: Entry, sale: Sale) -> Iterator[News]:
    """What must be told of a change of a sale."""
    if isinstance(sale, Listing):
        over = sale.end is not None
        yield News(
            ListingEnded if over else ListingChanged, sale.listing_id, SALE_ENDED if over else sale.seq
        )
    elif sale.end is not None:
        yield News(AuctionEnded, sale.auction_id, SALE_ENDED)
    elif sale.auction_id == entry.seq:
        yield News(AuctionOpened, sale.auction_id, entry.seq)
    elif sale.since == entry.seq:
        if entry.kind == name_of(MarketBid):
            yield News(AuctionBid, sale.auction_id, entry.seq)
        if sale.extended == entry.seq:
            yield News(AuctionExtended, sale.auction_id, entry.seq)


def told_by(message: Any) -> News | None:
    """What a message tells of a sale, if it is about one."""
    match message:
        case ListingOpened(listing) | ListingChanged(listing):
            return News(ListingChanged, listing.listing_id, listing.seq)
        case ListingEnded(sale_id) | AuctionEnded(sale_id):
            return News(type(message), sale_id, SALE_ENDED)
        case AuctionOpened(auction):
            return News(AuctionOpened, auction.auction_id, auction.seq)
        case AuctionBid() | AuctionExtended():
            return News(type(message), message.auction_id, message.seq)
    return None


def is_refused_rightly(request: Any, player_id: int, sale: Sale | None, answer: Refused) -> bool | None:
    """Whether what a refusal says of a sale is so; None where it says nothing of one."""
    match answer.code:
        case RefusalCode.ENDED:
            return sale is None or sale.ends is not None
        case RefusalCode.CHANGED if isinstance(request, MarketBuy):
            return isinstance(sale, Listing) and _sold_otherwise(request, sale, answer.message)
        case RefusalCode.CHANGED if isinstance(request, MarketBid):
            return isinstance(sale, Auction) and "its price does not cover that" in answer.message
        case RefusalCode.TOO_LOW if isinstance(request, MarketBid):
            return isinstance(sale, Auction) and _is_too_low(request, player_id, sale)
        case RefusalCode.NOT_OWNER if isinstance(request, MarketEdit | MarketCancel):
            return sale is not None and sale.seller_id != player_id
    return None


def _sold_otherwise(request: MarketBuy, sale: Listing, text: str) -> bool:
    """Whether a purchase may be refused with CHANGED in these words. That land is sold as it was offered is for fold.py to see."""
    if sale.price != request.price:
        return f"costs {in_words(sale.price)} now" in text
    if request.seq not in (None, sale.seq):
        return "was edited" in text
    if request.seq is None and sale.since != sale.listing_id:
        return "is offered otherwise than at first" in text
    return "is not as it was offered" in text


def _is_too_low(request: MarketBid, player_id: int, auction: Auction) -> bool:
    """Whether a bid may be refused as too low."""
    standing = auction.standing
    if standing.leader_id == player_id:
        return max(request.amount, request.maximum or 0) <= standing.maximum
    step = max(1, auction.terms.step_min, standing.price * auction.terms.step_basis_points // 10_000)
    return request.amount < (standing.price + step if standing.bids else max(1, auction.terms.start_price))
