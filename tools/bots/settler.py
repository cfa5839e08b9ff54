"""Settlers: they look for open land near them, claim it, name it, build a house on it row by row, open and close it, put it up for
sale (and change their price, or their mind), for auction or to let, buy, bid and rent from each other and give land away, and take what
they are given, or decline it.

Each does one thing at a time, and the next a moment after it was answered. What they own they believe until a refusal says otherwise;
then they ask. Now and then one asks for what was just done once more: the same answer must come.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter_ns
from typing import Any

from protocol.edits import TILE_EDIT, pack
from protocol.messages import (
    PLOT_TILES,
    ClientMessage,
    LandAt,
    LandClaim,
    LandDescribe,
    LandForSale,
    LandIn,
    LandLet,
    LandMine,
    LandOpen,
    LandRent,
    LandTake,
    LandToLet,
    LandTransfer,
    MarketAuction,
    MarketBid,
    MarketBuy,
    MarketCancel,
    MarketEdit,
    MarketList,
    TileEdit,
)
from tools.bots.acting import Acting, Asked
from tools.bots.bids import SNIPE_MS, WORTH, Temper, bid_for, waits
from world.tiles import Build

PAUSE_S = (0.5, 2.0)  # between an answer and the next thing, evenly spread
LANDS_MAX = 4  # who owns so many claims and buys no more
SEARCH_PLOTS = 5  # open land is looked for so far around
PRICES = (2_000, 20_000)  # poisha
SALE_MS = (60_000, 3_600_000)  # how long a listing stands, where it does not stand until somebody buys
AUCTION_MS = (60_000, 180_000)
AFTER_MS = 2_000  # what an auction made of one's land is looked at so long after its end
RENTS = (100, 1_000)  # poisha for a term, and the deposit
TERM_MS = 86_400_000
AGAIN_SHARE = 0.05  # of the actions that are asked for twice
W, F, D, H = Build.WALL, Build.FLOOR, Build.PATH, Build.HEDGE
HOUSE = (  # rows of tiles, with its corner HOUSE_AT tiles into the parcel
    (W, W, W, W, W, W),
    (W, F, F, F, F, W),
    (W, F, F, F, F, W),
    (W, W, F, W, W, W),
    (H, H, D, H, H, H),
)
HOUSE_AT = 4
NAMES = ("Rose Cottage", "The Old Mill", "Riverside", "Hilltop", "Green Door", "Two Oaks", "Journey's End")

Plot = tuple[int, int]


@dataclass(slots=True)
class Land:
    """A parcel that a settler owns, as far as it knows."""

    parcel_id: int
    x: int
    y: int
    named: bool
    rows: int = 0  # of the house, that stand
    sale_id: int | None = None  # it is for sale
    in_auction: bool = False
    to_let: bool = False
    leased: bool = False  # somebody rents it: it is not to be touched


class Settler(Acting):
    """A bot with land."""

    __slots__ = (
        "_begun_ns",
        "_done",
        "_gifts",
        "_lands",
        "_look_ms",
        "_player_id",
        "_rest_ns",
        "_temper",
        "_wanted",
    )

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._lands: dict[int, Land] | None = None  # None: it must ask
        self._done: Asked | None = None  # the last thing that was done
        self._rest_ns = 0  # until then it only walks
        self._gifts: list[tuple[int, int]] = []  # what it may take: parcel_id and owner_id
        self._player_id = 0
        self._temper = self._random.choice(list(Temper))
        self._wanted: tuple[int, int, float] | None = None  # a tile of what it waits for, and until when
        self._look_ms: float | None = None  # when to look what an auction has made its own, or not
        self._begun_ns = 0  # when world time was 0

    def _welcome(self, message: list[Any]) -> None:
        _, _, _, _, _, _, tick, tick_hz, *_ = message
        self._begun_ns = perf_counter_ns() - tick * 1_000_000_000 // tick_hz
        super()._welcome(message)

    @property
    def world_ms(self) -> float:
        """World time, but for what the welcome took to come."""
        return (perf_counter_ns() - self._begun_ns) / 1e6

    def _enter(self, player_id: int, x: float, y: float) -> None:
        """Somebody may have given it land while it was away."""
        self._player_id = player_id
        self.look_again()
        super()._enter(player_id, x, y)

    def look_again(self) -> None:
        """What it owns and is given may be another than it thinks."""
        self._lands = None

    def wake(self, now_ns: int) -> None:
        """Time for the next thing?"""
        super().wake(now_ns)
        if self.playing and not self.unanswered and now_ns >= self._rest_ns:
            self._next()
            self.flush()

    def _pause(self) -> None:
        self._rest_ns = perf_counter_ns() + int(self._random.uniform(*PAUSE_S) * 1e9)

    def _next(self) -> None:
        """What is most on its mind."""
        self._pause()
        if self._done is not None and self._random.random() < AGAIN_SHARE:
            self.ask_again(self._done)
        elif self._wanted is not None and self.world_ms >= self._wanted[2]:
            x, y, _ = self._wanted
            self._wanted = None
            self.question(LandAt, (x, y), self._bid_late)
        elif self._look_ms is not None and self.world_ms >= self._look_ms:
            self._look_ms = None
            self.look_again()
        elif self._lands is None:
            self.question(LandMine, (), self._remember)
        elif self._gifts:
            self._answer_gift(*self._gifts.pop(), len(self._lands) < LANDS_MAX)
        elif not (free := [one for one in self._lands.values() if not one.leased]):
            self._look_for_land()
        else:
            self._tend(self._random.choice(free), self._lands)

    def _tend(self, land: Land, lands: Mapping[int, Land]) -> None:
        if not land.named:
            self._name(land)
        elif land.rows < len(HOUSE):
            self._build(land)
        else:
            self._trade(land, len(lands) < LANDS_MAX)

    def _trade(self, land: Land, wants_more: bool) -> None:
        """Everything that is there, and it is its own: what now?"""
        chance = self._random.random()
        if wants_more and chance < 0.25:
            self._look_for_land()
        elif wants_more and chance < 0.4:
            self.question(LandForSale, (), self._buy_one)
        elif chance < 0.5:
            self.question(LandToLet, (), self._rent_one)
        elif land.to_let or (chance < 0.6 and land.sale_id is None):
            self._let(land)
        elif chance < 0.7 or land.in_auction:
            self._sell(land)
        elif chance < 0.95 or land.sale_id is not None:
            self._open(land)
        else:
            self._give_away(land)

    # --- what is done ---

    def _do(self, request: type[ClientMessage], fields: tuple[Any, ...], came_of_it: Any) -> None:
        """Ask for something; `came_of_it` is told the result. Refused: the world is another than was thought."""

        def answered(result: Mapping[str, Any] | None) -> None:
            self._pause()
            if result is None:
                self.look_again()
            else:
                self._done = asked
                came_of_it(result)

        asked = self.ask(request, fields, answered)

    def _name(self, land: Land) -> None:
        def named(_: Mapping[str, Any]) -> None:
            land.named = True

        name = self._random.choice(NAMES)
        self._do(LandDescribe, (land.parcel_id, name, f"{name}, built by a settler."), named)

    def _build(self, land: Land) -> None:
        """One row of the house."""

        def built(_: Mapping[str, Any]) -> None:
            land.rows += 1

        left, top = land.x + HOUSE_AT, land.y + HOUSE_AT + land.rows
        row = [(left + step, top, build) for step, build in enumerate(HOUSE[land.rows])]
        self._do(TileEdit, (pack(row, TILE_EDIT),), built)

    def _sell(self, land: Land) -> None:
        """For sale, for another price, or not any more; or for auction, and seldom taken back from there."""

        def listed(result: Mapping[str, Any]) -> None:
            land.sale_id = result["listing_id"]

        def over(_: Mapping[str, Any]) -> None:
            land.sale_id, land.in_auction = None, False

        price, chance = self._random.randrange(*PRICES), self._random.random()
        if land.sale_id is None and chance < 0.5:
            self._auction(land, price)
        elif land.sale_id is None:
            duration_ms = self._random.randrange(*SALE_MS) if chance < 0.75 else None
            self._do(MarketList, (land.parcel_id, price, duration_ms, chance < 0.6), listed)
        elif chance < 0.5 and not land.in_auction:
            self._do(MarketEdit, (land.sale_id, price), listed)
        elif chance < 0.1 or not land.in_auction:
            self._do(MarketCancel, (land.sale_id,), over)

    def _auction(self, land: Land, price: int) -> None:
        def begun(result: Mapping[str, Any]) -> None:
            land.sale_id, land.in_auction = result["auction_id"], True
            self._look_ms = result["ends_ms"] + AFTER_MS

        draw = self._random.random
        reserve, buy_now = price if draw() < 0.3 else None, 2 * price if draw() < 0.3 else None
        terms = (
            price // 4,
            self._random.randrange(*AUCTION_MS),
            reserve,
            buy_now,
            draw() < 0.3,
            draw() < 0.5,
        )
        self._do(MarketAuction, (land.parcel_id, *terms), begun)

    def _let(self, land: Land) -> None:
        """To let, or not any more."""

        def let(_: Mapping[str, Any]) -> None:
            land.to_let = not land.to_let

        rent, deposit = (self._random.randrange(*RENTS) for _ in range(2))
        terms = (None,) if land.to_let else (rent, TERM_MS, deposit, False)
        self._do(LandLet, (land.parcel_id, *terms), let)

    def _open(self, land: Land) -> None:
        """Everybody may enter, or nobody; nobody else may build."""
        enter = self._random.random() < 0.7
        self._do(LandOpen, (land.parcel_id, enter, False), _nothing)

    def _give_away(self, land: Land) -> None:
        """It is its own until the other takes it, and is told so by a refusal; the other asks what it has, as who comes back does."""
        player_id = self._fleet.anybody(self._random)
        friend = None if player_id is None else self._fleet.player(player_id)
        if isinstance(friend, Settler) and friend is not self:
            self._do(LandTransfer, (land.parcel_id, player_id), lambda _: friend.look_again())

    def _answer_gift(self, parcel_id: int, owner_id: int, wants_more: bool) -> None:
        """Takes it, or says that it stays its owner's."""
        if wants_more:
            self._get(LandTake, (parcel_id,))
        else:
            self._do(LandTransfer, (parcel_id, owner_id), _nothing)

    def _get(self, request: type[ClientMessage], fields: tuple[Any, ...]) -> None:
        def got(_: Mapping[str, Any]) -> None:
            self.look_again()  # to see all of it

        self._do(request, fields, got)

    # --- what is asked ---

    def _remember(self, found: Mapping[str, Any] | None) -> None:
        """What it owns, and what it may have. A house that somebody began counts as built."""
        if found is not None:
            parcels, me = found["parcels"], self._player_id
            self._gifts = [(one["parcel_id"], one["owner_id"]) for one in parcels if one["given_to"] == me]
            self._lands = {
                one["parcel_id"]: Land(
                    one["parcel_id"],
                    one["x"],
                    one["y"],
                    bool(one["name"]),
                    len(HOUSE),
                    _sale_of(one),
                    one["auction"] is not None,
                    one["to_let"] is not None,
                    one["lease"] is not None,
                )
                for one in parcels
                if one["owner_id"] == me
            }

    def _look_for_land(self) -> None:
        """Whose is the land around?"""
        px, py = int(self.x // PLOT_TILES) - SEARCH_PLOTS, int(self.y // PLOT_TILES) - SEARCH_PLOTS
        side = (2 * SEARCH_PLOTS + 1) * PLOT_TILES
        here = (px * PLOT_TILES, py * PLOT_TILES, side, side)
        self.question(LandIn, here, lambda found: self._claim((px, py), found))

    def _claim(self, corner: Plot, found: Mapping[str, Any] | None) -> None:
        free = [] if found is None else open_plots(corner, 2 * SEARCH_PLOTS + 1, found["parcels"])
        if not free:
            return
        px, py = self._random.choice(free)
        x, y = px * PLOT_TILES, py * PLOT_TILES

        def claimed(result: Mapping[str, Any]) -> None:
            if self._lands is not None:
                self._lands[result["parcel_id"]] = Land(result["parcel_id"], x, y, named=False)

        self._do(LandClaim, (x, y, PLOT_TILES, PLOT_TILES), claimed)
        self.flush()

    def _buy_one(self, found: Mapping[str, Any] | None) -> None:
        """One that somebody else sells, or a bid for it."""
        mine = self._lands or {}
        offers = [one for one in (found or {"parcels": ()})["parcels"] if one["parcel_id"] not in mine]
        if not offers:
            return
        offer = self._random.choice(offers[:5])
        if (listing := offer["listing"]) is not None:
            self._get(MarketBuy, (listing["listing_id"], listing["price"], listing["seq"]))
        elif offer["auction"] is not None:
            self._bid(offer)
        self.flush()

    def _bid(self, parcel: Mapping[str, Any]) -> None:
        """Now, or when its end is near."""
        auction = parcel["auction"]
        if waits(self._temper, auction, self.world_ms):
            self._wanted = parcel["x"], parcel["y"], auction["ends_ms"] - SNIPE_MS
            return
        bid = (
            None
            if auction["leader_id"] == self._player_id
            else bid_for(self._temper, auction, self._random.randrange(*WORTH))
        )
        if bid is not None:
            self._look_ms = auction["ends_ms"] + AFTER_MS
            self._do(MarketBid, (auction["auction_id"], *bid), _nothing)

    def _bid_late(self, found: Mapping[str, Any] | None) -> None:
        if found and found.get("auction") and found["owner_id"] != self._player_id:
            self._bid(found)
            self.flush()

    def _rent_one(self, found: Mapping[str, Any] | None) -> None:
        """One that somebody else lets, for a term."""
        others = [one for one in (found or {"parcels": ()})["parcels"] if one["owner_id"] != self._player_id]
        if others:
            one = self._random.choice(others[:5])
            terms = one["to_let"]
            self._do(
                LandRent, (one["parcel_id"], terms["rent"], terms["term_ms"], terms["deposit"]), _nothing
            )
            self.flush()


def _nothing(_: Mapping[str, Any]) -> None:
    """What it rents it leaves as it is, and what it bids for it has when it is over."""


def _sale_of(parcel: Mapping[str, Any]) -> int | None:
    """The sale that a parcel is in."""
    for sale, number in ((parcel["listing"], "listing_id"), (parcel["auction"], "auction_id")):
        if sale is not None:
            sale_id: int = sale[number]
            return sale_id
    return None


def open_plots(corner: Plot, side: int, parcels: Sequence[Mapping[str, Any]]) -> list[Plot]:
    """The plots of a square that are nobody's, and have nobody's land all around; parcels in tiles, as they are answered."""
    taken = {
        (px, py)
        for one in parcels
        for px in range(one["x"] // PLOT_TILES - 1, (one["x"] + one["width"]) // PLOT_TILES + 1)
        for py in range(one["y"] // PLOT_TILES - 1, (one["y"] + one["height"]) // PLOT_TILES + 1)
    }
    left, top = corner
    return [
        (px, py) for py in range(top, top + side) for px in range(left, left + side) if (px, py) not in taken
    ]
