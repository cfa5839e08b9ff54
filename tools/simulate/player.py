"""Simulated people: what they want, what they send again, and their own record of what they were told.

A player knows parcels from the news and chunks as tools/built.py has it, as a client does. What it wants done is a `Deed`, which
keeps its action_id until it is answered for good: after a time-out, a lost line or UNAVAILABLE it is sent again, on this line or on a
new one. Sometimes it is sent twice at once, sometimes long after it was answered, and sometimes the id is put on something else, or
somebody else uses it.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

import msgspec

from protocol import messages
from protocol.edits import TILE_EDIT, pack
from protocol.errors import RefusalCode
from protocol.messages import (
    PLOT_TILES,
    AuctionBid,
    AuctionEnded,
    AuctionExtended,
    AuctionOpened,
    ChatChannel,
    ChunkGet,
    Cut,
    LandAbandon,
    LandAt,
    LandChanged,
    LandClaim,
    LandClaimed,
    LandDescribe,
    LandEase,
    LandFreed,
    LandLeave,
    LandLet,
    LandMerge,
    LandMine,
    LandOpen,
    LandPermit,
    LandQuote,
    LandRent,
    LandSplit,
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
    ReceiptGet,
    Refused,
    Standing,
    TileEdit,
    TileUndo,
    Wallet,
    WalletStatement,
    Welcome,
)
from tools.built import Known, Place
from world.commands import AnyDurable
from world.tiles import Build

SIGHT = 1  # rings of cells around one's own
PLOTS_OUT = 5  # land is claimed so near the middle
SIDE_MAX = 3  # plots
ANSWER_S_MIN, ANSWER_S_MAX = 1.5, 5.0  # patience before something is sent again
AGAIN_S_MAX = 2.0  # before trying again what was UNAVAILABLE
PENDING_MAX = 3
LOOK_SHARE = 0.3  # so often one asks for what is built; others may have built meanwhile
PRICES = 0, 1_000, 20_000, 70_000
BID_SHARE = 0.4  # of what is done while there are auctions
TERMS_MS = 1_000, 3_000, 8_000
AUCTION_MS = 4_000, 10_000
ACTION_ID_BYTES = 16

Answer = Ok | Refused


@dataclass(slots=True, eq=False)
class Deed:
    """Something that is to be done once; `request` carries the id."""

    player: "Player"
    request: AnyDurable
    first: Ok | None = None  # the first answer that was heard
    refused: bool = False  # given up
    granted: bool = False  # a server has said that it is done; perhaps nobody heard it
    unheard: int = 0  # copies sent whose answer has not been told by the server
    due_s: float = 0.0  # when to do something about it

    @property
    def over(self) -> bool:
        """Whether its player waits for it no more."""
        return self.refused or self.first is not None


@dataclass(slots=True, eq=False)
class Copy:
    """One sending of a deed, or a question. `lower`: up to where the server that took it knew the journal to be durable."""

    request: Any
    deed: Deed | None
    player_id: int
    lower: int | None = None  # None: no server has taken it yet
    taken_s: float = 0.0  # by that server's clock
    told: bool = False  # the server has answered


@dataclass(slots=True, eq=False)
class Connection:
    """One line of a player to one server."""

    number: int
    player: "Player"
    host: Any
    opened_s: float
    player_id: int = 0
    playing: bool = False  # the server tells it of what happens
    entered: bool = False  # the welcome has come
    gone: bool = False  # the player has given it up, or knows that it is lost
    closing: bool = False  # nothing more goes up
    cut: bool = False  # what is still on its way down is lost
    up_free_s: float = 0.0  # what is sent now arrives after this, either way
    down_free_s: float = 0.0
    copies: dict[int, Copy] = field(default_factory=dict)
    cell: Place | None = None  # where the server has its player
    asking: dict[int, Place] = field(default_factory=dict)  # by request_id


@dataclass(slots=True)
class Wishes:
    """What a player does through the simulation."""

    now_s: Callable[[], float]
    connect: "Callable[[Player], Connection | None]"
    drop: Callable[[Connection], None]
    send: Callable[[Connection, Copy], None]
    get: Callable[[Connection, ChunkGet], None]
    say: Callable[[Connection, int, ChatChannel, str], None]
    walk: Callable[[Connection, int, float, float], None]
    more: Callable[[], bool]  # whether there is something left to be done; counts it
    count: Callable[[str], None]  # a fault was made
    trouble: Callable[[str], None]
    others: "list[Player]"


class Player:
    """One person."""

    def __init__(self, number: int, name: str, token: str, random: Random, wishes: Wishes) -> None:
        self.number = number
        self.name = name
        self.token = token
        self.player_id = 0
        self.lag_s = 0.0  # a slow client
        self.deeds: list[Deed] = []
        self.land: dict[int, messages.Parcel] = {}
        self.sales: dict[int, messages.Listing] = {}  # by listing_id
        self.auctions: dict[int, messages.Auction] = {}  # by auction_id
        self.built = Known()
        self.connection: Connection | None = None
        self._random = random
        self._wishes = wishes
        self._requests = 0
        self._inputs = 0
        self._retry_s = 0.0  # no new line before

    @property
    def waiting(self) -> bool:
        """Whether something is unanswered."""
        return any(not deed.over for deed in self.deeds)

    # --- from the network ---

    def lost(self, connection: Connection) -> None:
        """The line is gone, and this end knows."""
        connection.gone = True
        if self.connection is connection:
            self.connection = None
            self._retry_s = self._wishes.now_s() + self._random.uniform(0.05, 0.8)

    def hear(self, connection: Connection, message: Any) -> None:
        """A message has arrived."""
        if connection.gone:
            return
        match message:
            case Welcome():
                connection.entered = True
                self.built.enter(message.settings["built_id"])
            case Ok() | Refused():
                self._hear_answer(connection, message)
            case LandClaimed() | LandChanged():
                self.land[message.parcel.parcel_id] = message.parcel
            case LandFreed():
                self.land.pop(message.parcel_id, None)
            case _:
                self._hear_of_sales(message)
                self.built.hear(message, SIGHT)

    def _hear_of_sales(self, message: Any) -> None:
        match message:
            case ListingOpened() | ListingChanged():
                self.sales[message.listing.listing_id] = message.listing
            case ListingEnded():
                self.sales.pop(message.listing_id, None)
            case AuctionOpened():
                self.auctions[message.auction.auction_id] = message.auction
            case AuctionBid() | AuctionExtended() if known := self.auctions.get(message.auction_id):
                self.auctions[message.auction_id] = msgspec.structs.replace(known, **_fields(message))
            case AuctionEnded():
                self.auctions.pop(message.auction_id, None)

    def _hear_answer(self, connection: Connection, answer: Answer) -> None:
        copy = connection.copies.get(answer.request_id)
        if copy is not None and copy.deed is not None:
            self._answered(copy.deed, answer)
        elif isinstance(answer, Ok) and answer.request_id in connection.asking:
            self.built.answered(connection.asking.pop(answer.request_id), answer.result)

    def _answered(self, deed: Deed, answer: Answer) -> None:
        if isinstance(answer, Ok):
            if deed.first is None:
                deed.first = answer
            elif (deed.first.seq, deed.first.result) != (answer.seq, answer.result):
                self._wishes.trouble(
                    f"{_of(deed)} was answered {_words(deed.first)}, and then {_words(answer)}"
                )
            return
        if answer.code is RefusalCode.UNAVAILABLE:  # it was not done now, and may have been before
            deed.due_s = self._wishes.now_s() + self._random.uniform(0.2, AGAIN_S_MAX)
        elif deed.first is not None:
            self._wishes.trouble(f"{_of(deed)} was done, and is refused now: {answer.message}")
        else:
            deed.refused = True

    # --- by themselves ---

    def think(self) -> None:
        """Does the next thing."""
        connection, now_s = self.connection, self._wishes.now_s()
        if connection is None:
            if now_s >= self._retry_s:
                self.connection = self._wishes.connect(self)
            return
        if not connection.entered:
            if now_s - connection.opened_s > ANSWER_S_MAX:
                self._wishes.drop(connection)
            return
        if self._random.random() < LOOK_SHARE:
            self._look(connection)
        for deed in self.deeds:
            if not deed.over and now_s >= deed.due_s:
                self._again(connection, deed)
                return
        self._something(connection)

    def _look(self, connection: Connection) -> None:
        """Asks what is built, wherever that is not known."""
        for place, version in self.built.wanted():
            self._requests += 1
            connection.asking[self._requests] = place
            self._wishes.get(connection, ChunkGet(self._requests, *place, version))

    def _again(self, connection: Connection, deed: Deed) -> None:
        """An answer has not come."""
        if self._random.random() < 0.4:
            self._wishes.drop(connection)
            deed.due_s = 0.0  # at once on the new line
        else:
            self._send(connection, deed)

    def _something(self, connection: Connection) -> None:
        chance = self._random.random()
        if chance < 0.5:
            pending = sum(not deed.over for deed in self.deeds)
            if pending < PENDING_MAX and self._wishes.more():
                self._new_deed(connection)
        elif chance < 0.6 and self.deeds:
            self._mischief(connection)
        elif chance < 0.8:
            self._ask(connection)
        elif chance < 0.9:
            self._requests += 1
            channel = self._random.choice((ChatChannel.NEARBY, ChatChannel.WORLD))
            self._wishes.say(connection, self._requests, channel, f"line {self._requests}")
        else:
            self._inputs += 1
            way = self._random.choice(((1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0), (0.0, 0.0)))
            self._wishes.walk(connection, self._inputs, *way)

    def _new_deed(self, connection: Connection) -> None:
        request = self._wish()
        request.action_id = self._random.randbytes(ACTION_ID_BYTES)
        deed = Deed(self, request)
        self.deeds.append(deed)
        self._send(connection, deed)
        if self._random.random() < 0.1:
            self._wishes.count("message twice")
            self._send(connection, deed)

    def _mischief(self, connection: Connection) -> None:
        """An id is used again: for the same, which is allowed at any time, or for something else."""
        if self._random.random() < 0.7:
            self._wishes.count("message late")
            self._send(connection, self._random.choice(self.deeds))
            return
        deed = self._random.choice(self._random.choice(self._wishes.others).deeds or self.deeds)
        self._wishes.count("action_id of another")
        request = self._wish()
        request.action_id = deed.request.action_id
        other = Deed(self, request, refused=True)  # nobody waits for it
        self._send(connection, other)

    def _send(self, connection: Connection, deed: Deed) -> None:
        now_s = self._wishes.now_s()
        deed.due_s = now_s + self._random.uniform(ANSWER_S_MIN, ANSWER_S_MAX)
        deed.unheard += 1
        self._requests += 1
        request = msgspec.structs.replace(deed.request, request_id=self._requests)
        self._wishes.send(connection, Copy(request, deed, self.player_id))

    def _ask(self, connection: Connection) -> None:
        self._requests += 1
        request_id, draw = self._requests, self._random
        x, y, width, height = self._rectangle()
        question = draw.choice(
            (
                LandAt(request_id, float(x), float(y)),
                LandMine(request_id),
                Wallet(request_id),
                WalletStatement(request_id),
                LandQuote(request_id, x, y, width, height),
                ReceiptGet(request_id, max((deed.first.seq for deed in self.deeds if deed.first), default=1)),
            )
        )
        self._wishes.send(connection, Copy(question, None, self.player_id))

    # --- what they want ---

    def _wish(self) -> AnyDurable:
        """A request without its ids. What it is about is there, as far as this player knows, and often theirs."""
        draw = self._random
        if self.auctions and draw.random() < BID_SHARE:
            return self._bid()
        mine = [one for one in self.land.values() if one.owner_id == self.player_id]
        if not mine or draw.random() < 0.25:
            return LandClaim(0, b"", *self._rectangle())
        parcel = draw.choice(mine if draw.random() < 0.85 else list(self.land.values()))
        return draw.choice(_WISHES)(self, parcel, mine)

    def _rectangle(self) -> tuple[int, int, int, int]:
        draw = self._random
        x, y = draw.randint(-PLOTS_OUT, PLOTS_OUT), draw.randint(-PLOTS_OUT, PLOTS_OUT)
        width, height = draw.randint(1, SIDE_MAX), draw.randint(1, SIDE_MAX)
        return x * PLOT_TILES, y * PLOT_TILES, width * PLOT_TILES, height * PLOT_TILES

    def _somebody(self) -> int:
        return self._random.choice(self._wishes.others).player_id or 999

    def _describe(self, parcel: messages.Parcel, _: list[messages.Parcel]) -> AnyDurable:
        return LandDescribe(0, b"", parcel.parcel_id, f"name {self._requests}", "land")

    def _open(self, parcel: messages.Parcel, _: list[messages.Parcel]) -> AnyDurable:
        return LandOpen(0, b"", parcel.parcel_id, self._random.random() < 0.5, self._random.random() < 0.5)

    def _permit(self, parcel: messages.Parcel, _: list[messages.Parcel]) -> AnyDurable:
        return LandPermit(0, b"", parcel.parcel_id, self._somebody(), self._random.choice(list(Standing)))

    def _transfer(self, parcel: messages.Parcel, _: list[messages.Parcel]) -> AnyDurable:
        return LandTransfer(0, b"", parcel.parcel_id, self._somebody())

    def _split(self, parcel: messages.Parcel, _: list[messages.Parcel]) -> AnyDurable:
        cut = self._random.choice(list(Cut))
        start = parcel.x if cut is Cut.VERTICAL else parcel.y
        return LandSplit(0, b"", parcel.parcel_id, cut, start + PLOT_TILES, self._random.random() < 0.5)

    def _ease(self, parcel: messages.Parcel, _: list[messages.Parcel]) -> AnyDurable:
        width = self._random.choice((0, PLOT_TILES))
        return LandEase(0, b"", parcel.parcel_id, parcel.x, parcel.y, width, width and parcel.height)

    def _merge(self, parcel: messages.Parcel, mine: list[messages.Parcel]) -> AnyDurable:
        return LandMerge(0, b"", parcel.parcel_id, self._random.choice(mine).parcel_id)

    def _abandon(self, parcel: messages.Parcel, _: list[messages.Parcel]) -> AnyDurable:
        return LandAbandon(0, b"", parcel.parcel_id)

    def _sell(self, parcel: messages.Parcel, _: list[messages.Parcel]) -> AnyDurable:
        draw = self._random
        duration_ms, keep = draw.choice((None, *TERMS_MS)), draw.choice((None, True))
        return MarketList(0, b"", parcel.parcel_id, draw.choice(PRICES), duration_ms, keep)

    def _edit_sale(self, *_: object) -> AnyDurable:
        draw = self._random
        listing = self._sale(lambda one: one.seller_id == self.player_id)
        return MarketEdit(0, b"", listing.listing_id, draw.choice(PRICES), draw.choice((None, *TERMS_MS)))

    def _cancel_sale(self, *_: object) -> AnyDurable:
        mine = [one.auction_id for one in self.auctions.values() if one.seller_id == self.player_id]
        if mine and self._random.random() < 0.5:
            return MarketCancel(0, b"", self._random.choice(mine))
        return MarketCancel(0, b"", self._sale(lambda one: one.seller_id == self.player_id).listing_id)

    def _buy(self, *_: object) -> AnyDurable:
        listing = self._sale(lambda one: one.seller_id != self.player_id)
        seq = self._random.choice((None, listing.seq))
        return MarketBuy(0, b"", listing.listing_id, listing.price, seq)

    def _sale(self, wanted: Callable[[messages.Listing], bool]) -> messages.Listing:
        """One that is wanted, or else any, or one that never was."""
        sales = [one for one in self.sales.values() if wanted(one)] or list(self.sales.values())
        return self._random.choice(sales) if sales else messages.Listing(1, 1, 1, 0, 0, False, 0, 0, 1)

    def _auction(self, parcel: messages.Parcel, _: list[messages.Parcel]) -> AnyDurable:
        draw = self._random
        reserve, buy_now = draw.choice((None, 20_000)), draw.choice((None, None, 40_000))
        terms = (
            draw.choice(AUCTION_MS),
            reserve,
            buy_now,
            draw.choice((None, True)),
            draw.choice((None, True)),
        )
        return MarketAuction(0, b"", parcel.parcel_id, draw.choice(PRICES[:3]), *terms)

    def _bid(self) -> AnyDurable:
        draw = self._random
        others = [one for one in self.auctions.values() if one.seller_id != self.player_id]
        auction = draw.choice(others or list(self.auctions.values()))
        least = auction.least
        amount = draw.choice((least, least, least, least + 3_000, least - 1, auction.buy_now or least))
        return MarketBid(
            0, b"", auction.auction_id, amount, draw.choice((None, None, amount, amount + 15_000))
        )

    def _take(self, parcel: messages.Parcel, _: list[messages.Parcel]) -> AnyDurable:
        gifts = [one for one in self.land.values() if one.given_to == self.player_id]
        return LandTake(0, b"", (self._random.choice(gifts) if gifts else parcel).parcel_id)

    def _let(self, parcel: messages.Parcel, _: list[messages.Parcel]) -> AnyDurable:
        draw = self._random
        rent, deposit = draw.choice((None, *PRICES)), draw.choice((None, *PRICES))
        terms = draw.choice(TERMS_MS), deposit, draw.random() < 0.5
        return LandLet(0, b"", parcel.parcel_id, rent, *terms)

    def _rent(self, parcel: messages.Parcel, _: list[messages.Parcel]) -> AnyDurable:
        offers = [one for one in self.land.values() if one.to_let and one.owner_id != self.player_id]
        wanted = self._random.choice(offers) if offers else parcel
        return LandRent(0, b"", wanted.parcel_id, wanted.to_let.rent if wanted.to_let else 0)

    def _leave(self, parcel: messages.Parcel, _: list[messages.Parcel]) -> AnyDurable:
        let = [
            one
            for one in self.land.values()
            if one.lease and self.player_id in (one.owner_id, one.lease.tenant_id)
        ]
        return LandLeave(0, b"", (self._random.choice(let) if let else parcel).parcel_id)

    def _build(self, parcel: messages.Parcel, _: list[messages.Parcel]) -> AnyDurable:
        draw = self._random
        edits = [
            (
                parcel.x + draw.randrange(parcel.width),
                parcel.y + draw.randrange(parcel.height),
                draw.choice(list(Build)),
            )
            for _ in range(draw.choice((1, 1, 2, 6)))
        ]
        return TileEdit(0, b"", pack(edits, TILE_EDIT))

    def _undo(self, *_: object) -> AnyDurable:
        return TileUndo(0, b"")


_WISHES: tuple[Callable[[Player, messages.Parcel, list[messages.Parcel]], AnyDurable], ...] = (
    Player._describe,
    Player._open,
    Player._permit,
    Player._transfer,
    Player._split,
    Player._ease,
    Player._merge,
    Player._abandon,
    Player._sell,
    Player._sell,
    Player._sell,
    Player._edit_sale,
    Player._edit_sale,
    Player._cancel_sale,
    Player._auction,
    Player._auction,
    Player._auction,
    Player._take,
    *(Player._buy,) * 9,  # most find nothing that they can pay
    Player._let,
    Player._let,
    Player._rent,
    Player._rent,
    Player._rent,
    Player._leave,
    *(Player._build,) * 8,  # that nobody in sight keeps what was undone shows only where many build
    Player._undo,
)


def _fields(message: AuctionBid | AuctionExtended) -> dict[str, Any]:
    """What it tells anew of an auction."""
    return {name: getattr(message, name) for name in message.__struct_fields__}


def _of(deed: Deed) -> str:
    return f"{deed.player.name}'s {type(deed.request).__name__} {deed.request.action_id.hex()[:8]}"


def _words(answer: Ok) -> str:
    return f"with entry {answer.seq} {answer.result}"
