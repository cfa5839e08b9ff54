"""What is true but not yet stored, and so must not be told yet: answers, refusals with their reasons, and news of land and money.

Each waits for its place in the journal. Once the flusher says that it is durable, it goes out with the next tick's frame; if the server
dies before, nobody ever heard of it.
"""

import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple

import msgspec

from protocol import codec
from protocol.messages import (
    AuctionBid,
    AuctionEnded,
    AuctionExtended,
    AuctionOpened,
    BidPlaced,
    LandChanged,
    LandClaim,
    LandClaimed,
    LandFreed,
    LandTaken,
    LeaseEnded,
    ListingBought,
    ListingChanged,
    ListingEnded,
    ListingOpened,
    ServerMessage,
    UpkeepMissed,
    WalletChanged,
    name_of,
)
from server.frames import TickFrame, answered, entry_denied
from world.entries import NOBODY, Entry
from world.ledger import Hold, Post
from world.parcels import Freed, Parcel
from world.queries import auctioned, listed, seen
from world.sales import Auction, Listing, Sale
from world.settlement import AUCTION_ENDED, LAND_FORFEITED, LEASE_ENDED, UPKEEP_MISSED, Settled
from world.state import State
from world.tick import Acted

CLAIM = name_of(LandClaim)


@dataclass(slots=True, eq=False)
class Later:
    """An answer to a question, which may still be taken back (`over`) as long as it is not told."""

    player_id: int
    session: int
    message: bytes
    over: bool = False


class Denial(NamedTuple):
    """Why a player was stopped last."""

    seq: int
    parcel_id: int
    message: bytes


class Part(msgspec.Struct, gc=False):
    """What waits for one entry: messages, as a TickFrame has them."""

    answers: list[tuple[int, int, bytes]] = []
    heard: list[tuple[bytes, list[int]]] = []
    casts: list[tuple[list[int], bytes]] = []
    asked: list[Later] = []


class Withheld:
    """Held back, by place in the journal, and in order where that is one."""

    def __init__(self) -> None:
        self._places: list[int] = []  # a heap of those where something waits
        self._parts: dict[int, Part] = {}  # what waits there
        self._denied: dict[int, Denial] = {}  # by player_id: one each, however often they are stopped

    def __len__(self) -> int:
        return len(self._places)

    def at(self, seq: int) -> Part:
        """Where to put what is to be told once entry `seq` is stored."""
        part = self._parts.get(seq)
        if part is None:
            heapq.heappush(self._places, seq)
            part = self._parts[seq] = Part()
        return part

    def answer(self, seq: int, player_id: int, session: int, message: bytes) -> None:
        """An answer for whoever asked on that connection, good once entry `seq` is stored."""
        self.at(seq).answers.append((player_id, session, message))

    def later(self, seq: int, player_id: int, session: int, message: bytes) -> Later:
        """The same of a question: an answer that may be taken back until then."""
        later = Later(player_id, session, message)
        self.at(seq).asked.append(later)
        return later

    def take(self, state: State, acted: Acted) -> None:
        """What is to be told of durable actions."""
        for entry in acted.entries:
            _add_news(state, entry, self.at(entry.seq))
        for reply in acted.replies:
            message = answered(reply.request_id, reply.seq, reply.result)
            self.answer(reply.seq, reply.player_id, reply.session, message)

    def deny(self, state: State, denied: Iterable[tuple[int, int]]) -> None:
        """Who was stopped at which parcel. The newest counts; of the same parcel the one that waits already, which is told sooner."""
        for player_id, parcel_id in denied:
            known = self._denied.get(player_id)
            if known is None or known.parcel_id != parcel_id:
                self._denied[player_id] = Denial(state.seq, parcel_id, entry_denied(state, parcel_id))

    def release(self, durable_seq: int, frame: TickFrame) -> None:
        """Adds to a tick's frame all that may be told now."""
        frame.durable_seq = durable_seq
        while self._places and self._places[0] <= durable_seq:
            part = self._parts.pop(heapq.heappop(self._places))
            frame.answers += part.answers
            frame.heard += part.heard
            frame.casts += part.casts
            _tell(part.asked, frame)
        for player_id in [one for one, denial in self._denied.items() if denial.seq <= durable_seq]:
            frame.heard.append((self._denied.pop(player_id).message, [player_id]))


def _tell(asked: list[Later], frame: TickFrame) -> None:
    for one in asked:
        if not one.over:
            one.over = True
            frame.answers.append((one.player_id, one.session, one.message))


def _add_news(state: State, entry: Entry, part: Part) -> None:
    """For whom an entry concerns: those who see the land, those whose money it is, those who sell."""
    wallets: dict[int, int] = {}
    # All of an entry's parcels where any of them lies: who sees one part of what was divided must hear of the other.
    land = [change.cells() for change in entry.changes if isinstance(change, Parcel | Freed)]
    cells = list(dict.fromkeys(chain.from_iterable(land)))
    for change in entry.changes:
        match change:
            case Parcel():
                news = (LandClaimed if entry.kind == CLAIM else LandChanged)(seen(state, change))
                told = codec.encode(news)
                part.casts.append((cells, told))
                if others := _others(state, entry, change):
                    part.heard.append((told, others))
            case Listing() | Auction():
                _add_sale(state, entry, change, part)
            case Freed():
                part.casts.append((cells, codec.encode(LandFreed(change.parcel_id))))
            case Post(account, _, balance) if account in state.players.slot_of:
                wallets[account] = balance
    if isinstance(entry.result, Settled):
        part.heard += _told(state, entry.kind, entry.result)
    for player_id, balance in wallets.items():
        wallet = WalletChanged(balance, entry.held[player_id], entry.seq)
        part.heard.append((codec.encode(wallet), [player_id]))


def _add_sale(state: State, entry: Entry, sale: Sale, part: Part) -> None:
    """For those who see the parcel, and wherever they are for its seller, who leads and who led until now."""
    others = _here(state, entry, {sale.seller_id, *_bidders(entry, sale)})
    for news in (
        _of_listing(state, entry, sale) if isinstance(sale, Listing) else _of_auction(state, entry, sale)
    ):
        told = codec.encode(news)
        part.casts.append((entry.sold, told))
        if others:
            part.heard.append((told, others))


def _bidders(entry: Entry, sale: Sale) -> Iterator[int]:
    """Who leads, and whose money came back."""
    if isinstance(sale, Auction):
        yield sale.standing.leader_id
        yield from (change.account for change in entry.changes if isinstance(change, Hold))


def _of_listing(state: State, entry: Entry, listing: Listing) -> Iterator[ServerMessage]:
    if listing.end is None:
        is_new = listing.listing_id == entry.seq
        yield (ListingOpened if is_new else ListingChanged)(listed(state, listing))
    else:
        parties = listing.listing_id, listing.parcel_id, listing.seller_id
        yield ListingEnded(*parties, listing.end, listing.price, listing.buyer_id)


def _of_auction(state: State, entry: Entry, auction: Auction) -> Iterator[ServerMessage]:
    auction_id, parcel_id, standing = auction.auction_id, auction.parcel_id, auction.standing
    if auction.end is not None:
        yield AuctionEnded(
            auction_id, parcel_id, auction.seller_id, auction.end, standing.price, auction.buyer_id
        )
        return
    seen = auctioned(state, auction)
    if auction_id == entry.seq:
        yield AuctionOpened(seen)
    if (
        isinstance(entry.result, BidPlaced) and auction.since == entry.seq
    ):  # else nobody sees that anything changed
        leader = standing.leader_id, auction.leader_name
        costs = seen.price, seen.fee, seen.least, seen.bids
        yield AuctionBid(
            auction_id, parcel_id, *leader, *costs, seen.seq, seen.ends_ms, seen.buy_now, seen.reserved
        )
    if auction.extended == entry.seq:
        yield AuctionExtended(auction_id, parcel_id, seen.seq, seen.ends_ms, seen.latest_ms)


def _others(state: State, entry: Entry, parcel: Parcel) -> list[int]:
    """Who has part in what is done to a parcel, is here, and did not do it: to whom it is given, and of deeds whose it is and was."""
    others = {parcel.given_to}
    if entry.player_id != NOBODY or entry.kind == AUCTION_ENDED:
        others |= {parcel.owner_id, _former_owner(entry)}
    return _here(state, entry, others)


def _former_owner(entry: Entry) -> int | None:
    match entry.result:
        case LandTaken(_, giver_id):
            return giver_id
        case ListingBought() | BidPlaced():
            return entry.result.seller_id
        case Settled():
            return entry.result.owner_id
    return None


def _here(state: State, entry: Entry, others: set[int | None]) -> list[int]:
    return sorted(one for one in others if one in state.players.slot_of and one != entry.player_id)


def _told(state: State, kind: str, settled: Settled) -> Iterator[tuple[bytes, list[int]]]:
    """What happened by itself, for those whom it concerns and who are here."""
    owner, tenant = settled.owner_id, settled.tenant_id
    told: list[tuple[ServerMessage, list[int]]] = []
    if tenant is not None and kind in (LEASE_ENDED, LAND_FORFEITED):
        told.append((LeaseEnded(settled.parcel_id, tenant), [owner, tenant]))
    if kind == UPKEEP_MISSED:
        told.append((UpkeepMissed(settled.parcel_id, settled.owed, settled.freed_ms), [owner]))
    if kind == LAND_FORFEITED:
        told.append((LandFreed(settled.parcel_id), [owner]))
    for message, players in told:
        here = [player_id for player_id in players if player_id in state.players.slot_of]
        if here:
            yield codec.encode(message), here
