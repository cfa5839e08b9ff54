"""What the clients know: every durable request, every answer, every piece of news. Nothing here asks the server or the database.

What was asked, answered and told is held against the journal (audit.py) after each fault:

    acknowledged     its entry is where the answer said, with that result, done by that player, as it was asked for
    done twice       no action has two entries, and no two `ok` of one action differ
    not done         what was refused has no entry
    told             each event is the content of an entry: nothing was seen that is not in the journal afterwards
    built            when all is quiet, the chunks that clients keep are what the journal has built
    nobody asked     each entry is an action that one of these clients sent, or what the world does by itself: terms,
                     listings and auctions end

Each violation is a sentence with what a person needs to look further.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from protocol.edits import TILE_EDIT, unpack
from protocol.errors import RefusalCode
from protocol.messages import (
    PLOT_TILES,
    AuctionBid,
    AuctionEnded,
    AuctionExtended,
    AuctionOpened,
    LandAbandon,
    LandChanged,
    LandClaim,
    LandClaimed,
    LandFreed,
    LandTake,
    LandTransfer,
    ListingChanged,
    ListingEnded,
    ListingOpened,
    MarketAuction,
    MarketBid,
    MarketBuy,
    MarketCancel,
    MarketEdit,
    MarketList,
    Ok,
    Refused,
    SaleEnd,
    TileEdit,
    WalletChanged,
    Welcome,
    name_of,
)
from tools.built import Known, standing
from tools.crash.audit import Audit, Entry, bid_for, shown, sold
from world.commands import AnyDurable
from world.entries import NOBODY
from world.settlement import AUCTION_ENDED, AUCTION_EXTENDED, LEASE_ENDED, LEASE_RENEWED, LISTING_EXPIRED
from world.tiles import VERSION_BARE

LATER = (RefusalCode.UNAVAILABLE, RefusalCode.RATE_LIMITED)  # the same again, when retry_after_ms is over
BY_ITSELF = {
    (kind, NOBODY) for kind in (LEASE_RENEWED, LEASE_ENDED, LISTING_EXPIRED, AUCTION_ENDED, AUCTION_EXTENDED)
}

OfLand = LandClaimed | LandChanged | LandFreed
OfListings = ListingOpened | ListingChanged | ListingEnded
OfAuctions = AuctionOpened | AuctionBid | AuctionExtended | AuctionEnded
News = OfLand | OfListings | OfAuctions | WalletChanged


@dataclass(slots=True, eq=False)
class Asked:
    """A durable request and all that came back."""

    player_id: int
    request: AnyDurable
    sends: int = 0
    refusals: int = 0
    decided: bool = False  # the first answer that is no "later" has come
    ok: Ok | None = None
    due_s: float = 0.0  # when it is to be sent again; of the sender's clock

    def __str__(self) -> str:
        """For people."""
        return f"{name_of(type(self.request))} {self.request.action_id.hex()} of player {self.player_id}"


@dataclass(slots=True)
class Oracle:
    """The clients' own record."""

    asked: dict[bytes, Asked] = field(default_factory=dict)
    refusals: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)
    acknowledged: int = 0
    repeated: int = 0  # answers to what had been answered before
    told: int = 0  # events
    compared: int = 0  # chunks that clients keep
    sends: int = 0
    last_seq: int = 0  # the last place in the journal that an answer named
    _epoch: int = 0
    _unchecked: list[Asked] = field(default_factory=list)
    _news: list[tuple[int, News]] = field(default_factory=list)
    _checked_seq: int = 0

    # --- what comes and goes

    def asks(self, asked: Asked) -> None:
        """A request leaves; for the first time or again."""
        self.asked[asked.request.action_id] = asked
        asked.sends += 1
        self.sends += 1

    def done(self, asked: Asked, ok: Ok) -> bool:
        """An `ok` came; True if it is the first to this action."""
        first, asked.ok = asked.ok is None, asked.ok or ok
        if first:
            asked.decided = True
            self.acknowledged += 1
            self._unchecked.append(asked)
        else:
            self.repeated += 1
        if (ok.seq, ok.result) != (asked.ok.seq, asked.ok.result):
            self.wrong(f"{asked} was answered {_said(asked.ok)} and then {_said(ok)}")
        if not ok.seq:
            self.wrong(f"{asked} was answered without a place in the journal")
        self.last_seq = max(self.last_seq, ok.seq)
        return first

    def refused(self, asked: Asked, refused: Refused) -> None:
        """A refusal came."""
        asked.refusals += 1
        self.refusals[refused.code.name] += 1
        if refused.code in LATER:
            if not refused.retry_after_ms:
                self.wrong(f"{asked} was refused {refused.code.name} without a time to retry")
        elif asked.ok is not None:
            self.wrong(f"{asked} was answered {_said(asked.ok)} and then refused: {refused.message}")
        else:
            asked.decided = True

    def welcomed(self, welcome: Welcome) -> None:
        """Somebody came in; after a restart all that was acknowledged must still be stored."""
        if welcome.epoch < self._epoch:
            self.wrong(f"welcomed by epoch {welcome.epoch} after epoch {self._epoch}")
        if welcome.epoch > self._epoch and welcome.durable_seq < self.last_seq:
            self.wrong(
                f"epoch {welcome.epoch} begins at {welcome.durable_seq}; {self.last_seq} was acknowledged before"
            )
        self._epoch = max(self._epoch, welcome.epoch)

    def saw(self, player_id: int, news: News) -> None:
        """An event was told to a player."""
        self.told += 1
        self._news.append((player_id, news))

    def wrong(self, text: str) -> None:
        """A promise was broken."""
        self.violations.append(text)

    # --- against the journal

    async def check(self, audit: Audit, dsn: str) -> None:
        """Holds all that came until now against what is stored."""
        answers, self._unchecked = self._unchecked, []
        told, self._news = self._news, []  # what comes from here on may be newer than what is read
        await audit.read(dsn)
        self.violations += audit.violations
        audit.violations.clear()
        for asked in answers:
            self.violations += _acknowledged(asked, audit.by_action.get(asked.request.action_id))
        for player_id, news in told:
            if not _is_stored(player_id, news, audit):
                self.wrong(f"player {player_id} was told {news}, which is not in the journal")
        for seq in range(self._checked_seq + 1, audit.seq + 1):
            self._check_entry(audit.entries[seq])
        self._checked_seq = audit.seq
        for asked in self.asked.values():
            refused = asked.sends == asked.refusals or (asked.decided and asked.ok is None)
            if refused and asked.request.action_id in audit.by_action:
                self.wrong(f"{asked} was refused, and was done")

    def built(self, player_id: int, known: Known, audit: Audit) -> Iterator[str]:
        """Where a client that hears no news takes other tiles for built than are stored."""
        for place, held in known.checked():
            self.compared += 1
            version, kinds = audit.versions.get(place, VERSION_BARE), standing(audit.surfaces.get(place, {}))
            if (held.version, held.kinds) != (version, kinds):
                yield f"player {player_id} takes {held} for built in chunk {place}; stored is version {version}, {kinds}"

    def _check_entry(self, entry: Entry) -> None:
        if not entry.action_id:
            if (entry.kind, entry.player_id) not in BY_ITSELF:
                self.wrong(f"entry {entry.seq}: the world did {entry.kind} for player {entry.player_id}")
            return
        asked = self.asked.get(entry.action_id)
        if asked is None:
            self.wrong(f"entry {entry.seq}: {entry.kind} of player {entry.player_id}, which nobody asked for")
        elif (entry.kind, entry.player_id) != (name_of(type(asked.request)), asked.player_id):
            self.wrong(f"entry {entry.seq}: {entry.kind} of player {entry.player_id} for {asked}")
        elif not _FITS.get(type(asked.request), _fits)(asked, entry):
            self.wrong(f"entry {entry.seq} is not what was asked for: {asked.request} became {entry.changes}")


def _said(ok: Ok) -> str:
    return f"ok {ok.seq} {ok.result}"


def _acknowledged(asked: Asked, entry: Entry | None) -> Iterator[str]:
    assert asked.ok is not None
    if entry is None:
        yield f"{asked} was answered {_said(asked.ok)} and is not in the journal"
    elif (entry.seq, entry.result) != (asked.ok.seq, asked.ok.result):
        yield f"{asked} was answered {_said(asked.ok)}; the journal has {entry.seq} {entry.result}"


def _is_stored(player_id: int, news: News, audit: Audit) -> bool:
    """Whether an event is the content of an entry."""
    match news:
        case LandClaimed(parcel):
            return (shown(parcel), True) in audit.parcels_told
        case LandChanged(parcel):
            return (shown(parcel), False) in audit.parcels_told
        case LandFreed(parcel_id):
            return parcel_id in audit.freed
        case ListingOpened(listing) | ListingChanged(listing):
            return sold(listing) in audit.sales_told
        case ListingEnded(sale_id, end=end, buyer_id=buyer_id) | AuctionEnded(
            sale_id, end=end, winner_id=buyer_id
        ):
            return (sale_id, end, buyer_id) in audit.ends_told
        case AuctionOpened(auction):
            return bid_for(auction) in audit.sales_told
        case AuctionBid():
            return bid_for(news) in audit.sales_told
        case AuctionExtended():
            return (news.auction_id, news.seq) in audit.ends_moved
        case WalletChanged(balance, _, seq):
            return (player_id, seq, balance) in audit.balances_told


# --- what an entry must have changed, from what was asked ---


def _fits(_: Asked, __: Entry) -> bool:
    """Names, permits and shapes are compared by the events and by the tables."""
    return True


def _claims(asked: Asked, entry: Entry) -> bool:
    request: Any = asked.request
    (parcel,) = entry.of("parcel")
    bounds = [parcel[name] * PLOT_TILES for name in ("px", "py", "pw", "ph")]
    wanted = [request.x, request.y, request.width, request.height]
    paid = sum(post["amount"] for post in entry.of("post") if post["account"] == asked.player_id)
    granted = sum(-post["amount"] for post in entry.of("post") if post["account"] == -1)
    return (
        bounds == wanted and parcel["owner_id"] == asked.player_id and granted - paid == entry.result["price"]
    )


def _transfers(asked: Asked, entry: Entry) -> bool:
    request: Any = asked.request
    (parcel,) = entry.of("parcel")
    if parcel["parcel_id"] != request.parcel_id:
        return False
    if parcel["owner_id"] == request.to:  # declined
        return parcel["given_to"] is None
    return (parcel["owner_id"], parcel["given_to"]) == (asked.player_id, request.to)


def _takes(asked: Asked, entry: Entry) -> bool:
    request: Any = asked.request
    (parcel,) = entry.of("parcel")
    taken = (parcel["parcel_id"], parcel["owner_id"], parcel["given_to"])
    return taken == (request.parcel_id, asked.player_id, None)


def _lists(asked: Asked, entry: Entry) -> bool:
    request: Any = asked.request
    (listing,) = entry.of("listing")
    wanted = (entry.seq, request.parcel_id, asked.player_id, request.price, bool(request.keep_permits))
    made = tuple(listing[name] for name in ("listing_id", "parcel_id", "seller_id", "price", "keep_permits"))
    return made == wanted and (listing["ends"] is None) == (request.duration_ms is None)


def _edits_sale(asked: Asked, entry: Entry) -> bool:
    request: Any = asked.request
    (listing,) = entry.of("listing")
    made = (listing["listing_id"], listing["seller_id"], listing["price"], listing["end"])
    return made == (request.listing_id, asked.player_id, request.price, None)


def _cancels(asked: Asked, entry: Entry) -> bool:
    request: Any = asked.request
    (sale,) = entry.of("listing") or entry.of("auction")
    made = sale.get("listing_id", sale.get("auction_id")), sale["seller_id"]
    over = sale["end"] in (
        SaleEnd.CANCELLED,
        SaleEnd.EXPIRED,
        SaleEnd.UNSOLD,
    )  # it may have been past its end
    return over and made == (request.listing_id, asked.player_id)


def _auctions(asked: Asked, entry: Entry) -> bool:
    request: Any = asked.request
    (auction,) = entry.of("auction")
    wanted = (entry.seq, request.parcel_id, asked.player_id, bool(request.keep_permits))
    made = tuple(auction[name] for name in ("auction_id", "parcel_id", "seller_id", "keep_permits"))
    terms = tuple(auction["terms"][name] for name in ("start_price", "reserve", "buy_now"))
    return made == wanted and terms == (request.start_price, request.reserve, request.buy_now)


def _bids(asked: Asked, entry: Entry) -> bool:
    request: Any = asked.request
    (auction,) = entry.of("auction")
    standing, maximum = auction["standing"], request.maximum or request.amount
    if auction["auction_id"] != request.auction_id:
        return False
    if auction["end"] is not None:  # at once
        return bool(auction["buyer_id"] == asked.player_id and request.amount >= standing["price"])
    if standing["leader_id"] == asked.player_id:
        return bool(standing["maximum"] == maximum and standing["price"] <= maximum)
    return bool(standing["maximum"] >= maximum and standing["price"] >= request.amount)


def _buys(asked: Asked, entry: Entry) -> bool:
    request: Any = asked.request
    (parcel,), (listing,) = entry.of("parcel"), entry.of("listing")
    paid = -sum(post["amount"] for post in entry.of("post") if post["account"] == asked.player_id)
    granted = sum(-post["amount"] for post in entry.of("post") if post["account"] == -1)
    ended = (listing["listing_id"], listing["end"], listing["buyer_id"])
    return (
        ended == (request.listing_id, SaleEnd.SOLD, asked.player_id)
        and (parcel["parcel_id"], parcel["owner_id"]) == (listing["parcel_id"], asked.player_id)
        and paid in (request.price, request.price - granted, request.price - granted // 2)
    )


def _abandons(asked: Asked, entry: Entry) -> bool:
    request: Any = asked.request
    return [one["parcel_id"] for one in entry.of("freed")] == [request.parcel_id]


def _edits(asked: Asked, entry: Entry) -> bool:
    request: Any = asked.request
    wanted = {(x, y): kind for x, y, kind in unpack(request.edits, TILE_EDIT).tolist()}
    return dict(entry.tiles()) == wanted


_FITS: dict[type, Callable[[Asked, Entry], bool]] = {
    LandClaim: _claims,
    LandTransfer: _transfers,
    LandTake: _takes,
    MarketList: _lists,
    MarketEdit: _edits_sale,
    MarketCancel: _cancels,
    MarketBuy: _buys,
    MarketAuction: _auctions,
    MarketBid: _bids,
    LandAbandon: _abandons,
    TileEdit: _edits,
}
