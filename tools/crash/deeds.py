"""What players do: claim, build, sell, buy, let, rent, give away, split, merge, describe, let in, abandon.

They remember what their answers told them and act on that; it may be out of date by the time a request arrives, and then it is refused,
as it would be for people. One `Memory` is shared by all players of a run, since some deeds name what another has.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from random import Random

from protocol.edits import TILE_EDIT, pack
from protocol.messages import (
    PLOT_TILES,
    Cut,
    LandAbandon,
    LandClaim,
    LandDescribe,
    LandLeave,
    LandLet,
    LandMerge,
    LandOpen,
    LandPermit,
    LandRent,
    LandSplit,
    LandTake,
    LandTransfer,
    MarketAuction,
    MarketBid,
    MarketBuy,
    MarketCancel,
    MarketEdit,
    MarketList,
    Ok,
    Standing,
    TileEdit,
    TileUndo,
)
from world.commands import AnyDurable
from world.tiles import Build

REACH_PLOTS = 9  # claims lie within so many plots of (0, 0): some in everybody's sight, some in nobody's
SIDE_PLOTS_MAX = 3
TILES_MAX = 8  # in one edit
PRICE_MIN, PRICE_MAX = 100, 5_000
RENT_MAX = 300
TERM_MS_MIN, TERM_MS_MAX = 1_000, 30_000
OVERBID = 1.3  # bids are so far above the price that was told last, or less
ABANDON_FROM = 6  # parcels; who has fewer keeps them

Box = tuple[int, int, int, int]  # x, y, width, height in tiles


@dataclass(frozen=True, slots=True)
class Sale:
    """A listing, or an auction at the price that was told last."""

    parcel_id: int
    seller_id: int
    price: int


@dataclass(slots=True)
class Memory:
    """What the players were told they have."""

    owned: dict[int, dict[int, Box]] = field(default_factory=dict)  # player_id -> parcel_id -> where
    for_sale: dict[int, Sale] = field(default_factory=dict)  # by listing_id
    auctions: dict[int, Sale] = field(default_factory=dict)  # by auction_id
    given: dict[int, tuple[int, int]] = field(default_factory=dict)  # parcel_id -> owner, who may take it
    to_let: dict[int, tuple[int, int]] = field(default_factory=dict)  # parcel_id -> owner, rent
    rented: dict[int, int] = field(default_factory=dict)  # parcel_id -> tenant

    def learn(self, player_id: int, request: AnyDurable, ok: Ok) -> None:
        """Takes in what an answer means."""
        mine = self.owned.setdefault(player_id, {})
        match request:
            case LandClaim(_, _, x, y, width, height):
                mine[ok.result["parcel_id"]] = (x, y, width, height)
            case LandTransfer(_, _, parcel_id, to):
                if parcel_id in mine:
                    self.given[parcel_id] = (player_id, to)
                else:
                    self.given.pop(parcel_id, None)  # declined
            case LandTake(_, _, parcel_id):
                giver, _ = self.given.get(parcel_id, (0, 0))
                self._hand_over(parcel_id, giver, player_id)
            case MarketBuy(_, _, listing_id):
                self.for_sale.pop(listing_id, None)
                self._hand_over(ok.result["parcel_id"], ok.result["seller_id"], player_id)
            case LandSplit(_, _, parcel_id, cut, at):
                self._divide(mine, parcel_id, ok.result["other_id"], cut, at)
            case LandMerge(_, _, parcel_id, other_id):
                self._join(mine, parcel_id, other_id)
            case LandAbandon(_, _, parcel_id):
                mine.pop(parcel_id, None)
            case _:
                self._learn_offers(player_id, request, ok)

    def _learn_offers(self, player_id: int, request: AnyDurable, ok: Ok) -> None:
        match request:
            case MarketList(_, _, parcel_id, price):
                self.for_sale[ok.result["listing_id"]] = Sale(parcel_id, player_id, price)
            case MarketEdit(_, _, listing_id, price):
                self.for_sale[listing_id] = Sale(ok.result["parcel_id"], player_id, price)
            case MarketCancel(_, _, listing_id):
                self.for_sale.pop(listing_id, None)
                self.auctions.pop(listing_id, None)
            case MarketAuction(_, _, parcel_id, start_price):
                self.auctions[ok.result["auction_id"]] = Sale(parcel_id, player_id, start_price)
            case MarketBid(_, _, auction_id):
                self._learn_bid(player_id, auction_id, ok)
            case LandLet(_, _, parcel_id, None):
                self.to_let.pop(parcel_id, None)
            case LandLet(_, _, parcel_id, int(rent)):
                self.to_let[parcel_id] = (player_id, rent)
            case LandRent(_, _, parcel_id, _):
                self.to_let.pop(parcel_id, None)
                self.rented[parcel_id] = player_id

    def _learn_bid(self, player_id: int, auction_id: int, ok: Ok) -> None:
        auction = self.auctions.pop(auction_id, None)
        if auction is None:
            return
        if ok.result.get("sold"):
            self._hand_over(auction.parcel_id, auction.seller_id, player_id)
        else:
            self.auctions[auction_id] = replace(auction, price=ok.result["price"])

    def _hand_over(self, parcel_id: int, before: int, after: int) -> None:
        box = self.owned.get(before, {}).pop(parcel_id, None)
        self.given.pop(parcel_id, None)
        if box is not None:
            self.owned.setdefault(after, {})[parcel_id] = box

    def _divide(self, mine: dict[int, Box], parcel_id: int, other_id: int, cut: Cut, at: int) -> None:
        if parcel_id not in mine:
            return
        x, y, width, height = mine[parcel_id]
        if cut is Cut.VERTICAL:
            mine[parcel_id], mine[other_id] = (x, y, at - x, height), (at, y, x + width - at, height)
        else:
            mine[parcel_id], mine[other_id] = (x, y, width, at - y), (x, at, width, y + height - at)

    def _join(self, mine: dict[int, Box], parcel_id: int, other_id: int) -> None:
        if parcel_id not in mine or other_id not in mine:
            return
        x, y, width, height = mine[parcel_id]
        ox, oy, other_width, other_height = mine.pop(other_id)
        left, top = min(x, ox), min(y, oy)
        right, bottom = max(x + width, ox + other_width), max(y + height, oy + other_height)
        mine[parcel_id] = (left, top, right - left, bottom - top)


@dataclass(slots=True)
class Chooser:
    """What one player does next."""

    player_id: int
    memory: Memory
    random: Random
    ids: Callable[[], int]

    def next(self) -> AnyDurable:
        """A request with a new action_id."""
        while True:
            request: AnyDurable | None = self.random.choices(DEEDS, WEIGHTS)[0](self)
            if request is not None:
                return request

    def _head(self) -> tuple[int, bytes]:
        return self.ids(), os.urandom(16)

    def _mine(self) -> dict[int, Box]:
        return self.memory.owned.setdefault(self.player_id, {})

    def _one(self) -> tuple[int, Box] | None:
        mine = self._mine()
        return self.random.choice(list(mine.items())) if mine else None

    def _other_player(self) -> int | None:
        others = [one for one in self.memory.owned if one != self.player_id]
        return self.random.choice(others) if others else None

    # --- deeds; None where there is nothing to do it with

    def claim(self) -> AnyDurable | None:
        """Somewhere near the middle; often it is taken."""
        px, py = (self.random.randrange(-REACH_PLOTS, REACH_PLOTS) for _ in range(2))
        pw, ph = (self.random.randint(1, SIDE_PLOTS_MAX) for _ in range(2))
        return LandClaim(*self._head(), *(value * PLOT_TILES for value in (px, py, pw, ph)))

    def build(self) -> AnyDurable | None:
        """On one's own land."""
        one = self._one()
        if one is None:
            return None
        x, y, width, height = one[1]
        tiles = [
            (
                x + self.random.randrange(width),
                y + self.random.randrange(height),
                self.random.choice(list(Build)),
            )
            for _ in range(self.random.randint(1, TILES_MAX))
        ]
        return TileEdit(*self._head(), pack(tiles, TILE_EDIT))

    def undo(self) -> AnyDurable | None:
        """What was built last, if the server remembers."""
        return TileUndo(*self._head())

    def sell(self) -> AnyDurable | None:
        """At a price, sometimes for a while only."""
        one = self._one()
        if one is None:
            return None
        duration_ms = self.random.randint(TERM_MS_MIN, TERM_MS_MAX) if self.random.random() < 0.4 else None
        keep = self.random.random() < 0.3
        return MarketList(*self._head(), one[0], self.random.randint(PRICE_MIN, PRICE_MAX), duration_ms, keep)

    def edit_sale(self) -> AnyDurable | None:
        """Another price."""
        sale = self._sale(own=True)
        price = self.random.randint(PRICE_MIN, PRICE_MAX)
        return None if sale is None else MarketEdit(*self._head(), sale[0], price)

    def cancel_sale(self) -> AnyDurable | None:
        """Not for sale any more."""
        sale = self._sale(own=True) or self._auction(own=True)
        return None if sale is None else MarketCancel(*self._head(), sale[0])

    def buy(self) -> AnyDurable | None:
        """What somebody else sells."""
        sale = self._sale(own=False)
        return None if sale is None else MarketBuy(*self._head(), sale[0], sale[1].price)

    def auction(self) -> AnyDurable | None:
        """To whoever would pay most, sometimes with a reserve, or at once."""
        one = self._one()
        if one is None:
            return None
        start, draw = self.random.randint(PRICE_MIN, PRICE_MAX), self.random.random
        reserve = 2 * start if draw() < 0.3 else None
        buy_now = 4 * start if draw() < 0.3 else None
        duration_ms, keep, shows = self.random.randint(TERM_MS_MIN, TERM_MS_MAX), draw() < 0.3, draw() < 0.5
        return MarketAuction(*self._head(), one[0], start, duration_ms, reserve, buy_now, keep, shows)

    def bid(self) -> AnyDurable | None:
        """In an auction of somebody else, sometimes by proxy."""
        auction = self._auction(own=False)
        if auction is None:
            return None
        amount = round(auction[1].price * self.random.uniform(1, OVERBID)) + 1
        maximum = 2 * amount if self.random.random() < 0.4 else None
        return MarketBid(*self._head(), auction[0], amount, maximum)

    def _sale(self, own: bool) -> tuple[int, Sale] | None:
        return self._any_of(self.memory.for_sale, own)

    def _auction(self, own: bool) -> tuple[int, Sale] | None:
        return self._any_of(self.memory.auctions, own)

    def _any_of(self, sales: dict[int, Sale], own: bool) -> tuple[int, Sale] | None:
        fit = [one for one in sales.items() if (one[1].seller_id == self.player_id) is own]
        return self.random.choice(fit) if fit else None

    def take(self) -> AnyDurable | None:
        """What somebody gives."""
        gifts = [one for one, (_, to) in self.memory.given.items() if to == self.player_id]
        return LandTake(*self._head(), self.random.choice(gifts)) if gifts else None

    def let(self) -> AnyDurable | None:
        """For a short term, or not any more."""
        one = self._one()
        if one is None:
            return None
        rent = None if self.random.random() < 0.2 else self.random.randint(0, RENT_MAX)
        term_ms = self.random.randint(TERM_MS_MIN, TERM_MS_MAX)
        deposit, renewable = self.random.randint(0, RENT_MAX), self.random.random() < 0.3
        return LandLet(*self._head(), one[0], rent, term_ms, deposit, renewable)

    def rent(self) -> AnyDurable | None:
        """What somebody else lets."""
        others = [
            (parcel_id, rent)
            for parcel_id, (owner_id, rent) in self.memory.to_let.items()
            if owner_id != self.player_id
        ]
        return LandRent(*self._head(), *self.random.choice(others)) if others else None

    def give_notice(self) -> AnyDurable | None:
        """Of what one rents, or rented."""
        rented = [one for one, tenant_id in self.memory.rented.items() if tenant_id == self.player_id]
        return LandLeave(*self._head(), self.random.choice(rented)) if rented else None

    def decline(self) -> AnyDurable | None:
        """What somebody gives."""
        gifts = [
            (parcel_id, owner_id)
            for parcel_id, (owner_id, to) in self.memory.given.items()
            if to == self.player_id
        ]
        return LandTransfer(*self._head(), *self.random.choice(gifts)) if gifts else None

    def transfer(self) -> AnyDurable | None:
        """To somebody, for nothing, if they take it."""
        one, other = self._one(), self._other_player()
        return None if one is None or other is None else LandTransfer(*self._head(), one[0], other)

    def split(self) -> AnyDurable | None:
        """Between two plots."""
        one = self._one()
        if one is None:
            return None
        parcel_id, (x, y, width, height) = one
        cut = self.random.choice(list(Cut))
        start, size = (x, width) if cut is Cut.VERTICAL else (y, height)
        if size <= PLOT_TILES:
            return None
        return LandSplit(
            *self._head(), parcel_id, cut, start + PLOT_TILES * self.random.randrange(1, size // PLOT_TILES)
        )

    def merge(self) -> AnyDurable | None:
        """With a neighbour of one's own."""
        one = self._one()
        if one is None:
            return None
        beside = [other for other, box in self._mine().items() if _make_a_rectangle(one[1], box)]
        return LandMerge(*self._head(), one[0], self.random.choice(beside)) if beside else None

    def describe(self) -> AnyDurable | None:
        """A name and a text."""
        one = self._one()
        text = f"house {self.random.randrange(1_000)}"
        return None if one is None else LandDescribe(*self._head(), one[0], text, text * 3)

    def open_up(self) -> AnyDurable | None:
        """Everybody may enter, or build, or not."""
        one = self._one()
        enter, build = (self.random.random() < share for share in (0.8, 0.3))
        return None if one is None else LandOpen(*self._head(), one[0], enter, build)

    def permit(self) -> AnyDurable | None:
        """One player may."""
        one, other = self._one(), self._other_player()
        standing = self.random.choice([Standing.NONE, Standing.VISITOR, Standing.BUILDER, Standing.MANAGER])
        return None if one is None or other is None else LandPermit(*self._head(), one[0], other, standing)

    def abandon(self) -> AnyDurable | None:
        """Once one has many."""
        one = self._one()
        return None if one is None or len(self._mine()) < ABANDON_FROM else LandAbandon(*self._head(), one[0])


def _make_a_rectangle(one: Box, other: Box) -> bool:
    (x, y, width, height), (ox, oy, other_width, other_height) = one, other
    beside = (y, height) == (oy, other_height) and (x + width == ox or ox + other_width == x)
    above = (x, width) == (ox, other_width) and (y + height == oy or oy + other_height == y)
    return beside or above


_TABLE: tuple[tuple[Callable[[Chooser], AnyDurable | None], int], ...] = (
    (Chooser.claim, 8),
    (Chooser.build, 12),
    (Chooser.undo, 1),
    (Chooser.sell, 4),
    (Chooser.edit_sale, 1),
    (Chooser.cancel_sale, 1),
    (Chooser.buy, 5),
    (Chooser.auction, 4),
    (Chooser.bid, 8),
    (Chooser.take, 1),
    (Chooser.let, 4),
    (Chooser.rent, 5),
    (Chooser.give_notice, 1),
    (Chooser.transfer, 2),
    (Chooser.decline, 1),
    (Chooser.split, 3),
    (Chooser.merge, 3),
    (Chooser.describe, 1),
    (Chooser.open_up, 1),
    (Chooser.permit, 1),
    (Chooser.abandon, 3),
)
DEEDS, WEIGHTS = zip(*_TABLE, strict=True)
