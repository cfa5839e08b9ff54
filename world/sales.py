"""What is for sale: the book of all sales that are open, found by number, by parcel, by seller, by their end and by how near they are.

A sale is a change like a parcel is: each state of it stands in the journal, under the number of the entry that made it, so no two sales
of any kind share one. One parcel is in one sale at most. Of a sale that is over the book keeps nothing: that it was is in the journal.

What is sold is the land as it was inspected. An `Inspection` is what the seller offers: a digest of what stands there, and what is owed
for the land, which its next owner owes. What a sale is made under, its fee too, is kept in it: settings that change later do not touch
it.
"""

from collections.abc import Iterator, Mapping

import msgspec
from msgspec.structs import replace

from protocol.messages import BASIS_POINTS, SaleEnd
from world.bidding import Standing, Terms
from world.dues import Dues
from world.offers import Offers, Place
from world.parcels import Ids

DIGEST_BYTES = 16
NO_HOLD = 0  # as hold_id


class FeeTerms(msgspec.Struct, frozen=True, gc=False):
    """What the house takes of a price: a part of it, `minimum` poisha at least, and never more than all of it."""

    basis_points: int
    minimum: int

    def of(self, price: int) -> int:
        """The fee in poisha, rounded down."""
        return min(price, max(self.minimum, price * self.basis_points // BASIS_POINTS))


class Inspection(msgspec.Struct, frozen=True, gc=False):
    """What is sold, besides the plots: BLAKE2b of what stands on them, how many tiles that are, periods of upkeep that are owed, and
    BLAKE2b of who may do what there, where the buyer keeps that.
    """

    build: bytes
    tiles: int
    arrears: int
    access: bytes = b""


class Listing(msgspec.Struct, frozen=True, tag="listing", gc=False):
    """A sale at a fixed price, as it is from entry `seq` on, and offered as it was inspected from entry `since` on. It ends at tick
    `ends`, None: never; once it is over, `end` says how.
    """

    listing_id: int
    parcel_id: int
    seller_id: int
    price: int
    keep_permits: bool
    fee_terms: FeeTerms
    inspected: Inspection
    ends: int | None
    seq: int
    since: int
    end: SaleEnd | None = None
    buyer_id: int | None = None

    @property
    def sale_id(self) -> int:
        """Its number in the book."""
        return self.listing_id

    @property
    def fee(self) -> int:
        """What of the price goes to the house."""
        return self.fee_terms.of(self.price)

    def over(self, end: SaleEnd, seq: int, buyer_id: int | None = None) -> "Listing":
        """Its end, by entry `seq`."""
        return replace(self, end=end, buyer_id=buyer_id, seq=seq)


class Auction(msgspec.Struct, frozen=True, tag="auction", gc=False):
    """An auction as it is from entry `seq` on, and as everybody may see it from entry `since` on; once it is over, `end` says how. All
    that its leader would pay is set aside.
    """

    auction_id: int
    parcel_id: int
    seller_id: int
    keep_permits: bool
    fee_terms: FeeTerms
    inspected: Inspection
    terms: Terms
    shows_reserve: bool
    standing: Standing
    hold_id: int  # NO_HOLD where nobody leads
    seq: int
    since: int
    extended: int = 0  # the entry that moved its end last
    leader_name: str = ""
    end: SaleEnd | None = None
    buyer_id: int | None = None

    @property
    def sale_id(self) -> int:
        """Its number in the book."""
        return self.auction_id

    @property
    def ends(self) -> int:
        """The tick at which it is over."""
        return self.standing.ends

    @property
    def price(self) -> int:
        """What the leader would pay."""
        return self.standing.price

    @property
    def fee(self) -> int:
        """What of the price goes to the house."""
        return self.fee_terms.of(self.price)

    def over(self, end: SaleEnd, seq: int, buyer_id: int | None = None) -> "Auction":
        """Its end, by entry `seq`."""
        return replace(self, end=end, buyer_id=buyer_id, seq=seq, since=seq, hold_id=NO_HOLD)

    def named(self, names: Mapping[int, str]) -> "Auction":
        """With the name that its leader has there, if they have one."""
        name = names.get(self.standing.leader_id, self.leader_name)
        return self if name == self.leader_name else replace(self, leader_name=name)


Sale = Listing | Auction


class Sales:
    """All open sales."""

    def __init__(self) -> None:
        self.by_id: dict[int, Sale] = {}
        self.by_parcel: dict[int, int] = {}  # parcel_id -> sale_id
        self.by_seller = Ids()
        self.by_leader = Ids()  # auctions, by who leads
        self.offers = Offers()  # parcels, by where they are
        self.dues = Dues()  # by parcel_id, as in Parcels
        self.auctions = 0  # of the sales that are open
        self.bids_total = 0  # since the start, as all totals here
        self.sold_total = 0
        self.fees_total = 0  # poisha

    def __len__(self) -> int:
        return len(self.by_id)

    def __iter__(self) -> Iterator[Sale]:
        return iter(self.by_id.values())

    def on(self, parcel_id: int) -> Sale | None:
        """The sale that a parcel is in."""
        sale_id = self.by_parcel.get(parcel_id)
        return None if sale_id is None else self.by_id[sale_id]

    def first_due(self, tick: int) -> Sale | None:
        """What is at its end the longest at `tick`, or None."""
        parcel_id = self.dues.first(tick)
        return None if parcel_id is None else self.on(parcel_id)

    def put(self, sale: Sale, place: Place) -> None:
        """Takes a sale as it is now; `place` is where its parcel is, in tiles."""
        before = self.by_id.get(sale.sale_id)
        if isinstance(before, Auction) and isinstance(sale, Auction):
            self.bids_total += sale.standing.bids - before.standing.bids
        if sale.end is not None:
            self._close(sale)
            return
        if before is None:
            self.auctions += isinstance(sale, Auction)
            self.by_parcel[sale.parcel_id] = sale.sale_id
            self.by_seller.add(sale.seller_id, sale.sale_id)
            self.offers.put(sale.parcel_id, place)
        self._lead(before, sale)
        self.by_id[sale.sale_id] = sale
        self.dues.put(sale.parcel_id, sale.ends)

    def rename(self, player_id: int, name: str) -> None:
        """Somebody has another name: in all auctions that they lead, which are as they were but for that."""
        for auction_id in self.by_leader.of(player_id):
            auction = self.by_id[auction_id]
            assert isinstance(auction, Auction)
            self.by_id[auction_id] = auction.named({player_id: name})

    def _lead(self, before: Sale | None, after: Sale | None) -> None:
        """Notes who leads instead of whom."""
        for sale, note in ((before, self.by_leader.remove), (after, self.by_leader.add)):
            if isinstance(sale, Auction) and sale.standing.has_bids:
                note(sale.standing.leader_id, sale.auction_id)

    def _close(self, sale: Sale) -> None:
        self._lead(self.by_id.pop(sale.sale_id), None)
        self.auctions -= isinstance(sale, Auction)
        del self.by_parcel[sale.parcel_id]
        self.by_seller.remove(sale.seller_id, sale.sale_id)
        self.offers.remove(sale.parcel_id)
        self.dues.put(sale.parcel_id, None)
        if sale.end is SaleEnd.SOLD:
            self.sold_total += 1
            self.fees_total += sale.fee
