"""What a request takes of the tick, in microseconds: admission goes by it, for one request can cost as much as three hundred others.

Measured on two cores: the worst that was found for each kind, the rule with its entry and some 30 us for its answer. Where that is far
above what most are worth, it goes by what makes them dear: plots, tiles that stand there, and whether open land around a claim would
have to be walked. A claim that must walk and a way are charged more than was found since walks have an end.

What is sure to be refused by a look at whose land it is costs what that look does: whoever has nothing could else have the tick's time
for it. Nothing is sure of parcels that something before it in the same tick is about.

    describe, let, permit              40     open, take, transfer of 64 plots      210
    list, edit a listing of 1 plot     60     of 64 plots   380                     buying 64 plots                 570
    edit of 64 tiles in 64 chunks     510     undo of that                          530
    claim of 1 plot                   100     of 64 plots   620                     between 130 others, walking   2,000
    split of 64 plots                 170
    abandon of 1 plot                 100     of 64 that are fully built 12,000     rent of these   1,400
    ease                            2,000
"""

from collections.abc import Iterable

from protocol.edits import TILE_EDIT
from protocol.messages import (
    PLOT_TILES,
    LandAbandon,
    LandClaim,
    LandEase,
    LandMerge,
    LandOpen,
    LandPermit,
    LandQuote,
    LandRent,
    LandSplit,
    LandTake,
    LandTransfer,
    MarketAuction,
    MarketBid,
    MarketBuy,
    MarketEdit,
    MarketList,
    TileEdit,
    TileUndo,
)
from world.bidding import buys_now, least
from world.commands import AnyDurable
from world.grid import pack
from world.open_land import ring
from world.parcels import Parcel, Rectangle, plots_in
from world.sales import Auction, Listing
from world.sizes import parcel_id_of, sale_id_of
from world.state import State

PLAIN_US = 40
FLAT_US: dict[type, int] = {TileUndo: 530}
PER_PLOT_US: dict[type, tuple[int, int]] = {  # of one plot, and of each more
    LandOpen: (PLAIN_US, 3),
    LandPermit: (PLAIN_US, 3),
    LandTransfer: (PLAIN_US, 3),
    LandTake: (PLAIN_US, 3),
    MarketList: (60, 5),
    MarketEdit: (60, 5),
    MarketBuy: (70, 8),
    MarketAuction: (60, 5),
    MarketBid: (90, 8),
    LandRent: (60, 22),
    LandMerge: (100, 3),
    LandSplit: (60, 2),
    LandAbandon: (70, 2),
    LandEase: (3_300, 0),
}
# Nobody but the owner may.
OWNERS: tuple[type, ...] = (
    LandMerge,
    LandSplit,
    LandAbandon,
    LandEase,
    MarketList,
    MarketEdit,
    MarketAuction,
)
OF_ALL_TILES = (
    MarketList,
    MarketEdit,
    MarketBuy,
    MarketAuction,
    MarketBid,
)  # whatever may have become of the parcel before
CLAIM_US = 70, 10  # the same of a claim
WALK_US = 3_200  # open land must be walked, because the plots around a claim are open in several runs
TILES_FREE = 8  # tiles of an edit that cost nothing more
PER_TILE_US = 8
STANDING_PER_US = 1.4  # tiles that are taken away in a microsecond


def plots_of(land: LandClaim | LandQuote, plots_max: int) -> Rectangle:
    """px, py, pw and ph; none where it is too large for any rule, or smaller than a plot."""
    px, py, pw, ph = (value // PLOT_TILES for value in (land.x, land.y, land.width, land.height))
    return (px, py, pw, ph) if 0 < pw * ph <= plots_max else (0, 0, 0, 0)


class Costs:
    """The costs of the requests that enter one tick, to be asked for in their order."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._parcels = state.parcels
        self._sales = state.sales
        self._surfaces = state.chunks.surfaces
        self._plots_max = state.rules.land.parcel_plots_max
        self._claimed: set[int] = set()  # plots, by those before
        self._touched: set[int] = (
            set()
        )  # parcel_ids that those before are about: they may be anybody's by then, or nobody's
        self._made = 0  # parcels that those before may have made
        self._listed = 0  # sales that those before may have made

    def of(self, request: AnyDurable | LandQuote, player_id: int) -> int:
        """How long it takes at worst, in microseconds of the tick, if it comes after those that `take` was told of."""
        kind = type(request)
        if isinstance(request, TileEdit):
            return PLAIN_US + PER_TILE_US * max(0, len(request.edits) // TILE_EDIT.itemsize - TILES_FREE)
        if isinstance(request, LandClaim | LandQuote):
            return self._claim(plots_of(request, self._plots_max))
        if kind not in PER_PLOT_US:
            return FLAT_US.get(kind, PLAIN_US)
        first, more = PER_PLOT_US[kind]
        parcel_id = parcel_id_of(self._state, request)
        parcel = self._parcels.by_id.get(parcel_id)
        if isinstance(request, OF_ALL_TILES) and (parcel_id in self._touched or self._is_foreseen(request)):
            return first + more * (self._plots_max - 1)
        if parcel is None:
            return first if 0 < parcel_id - self._parcels.last_id <= self._made else PLAIN_US
        if parcel_id not in self._touched and self._is_refused(request, parcel, player_id):
            return PLAIN_US
        cost = first + more * (parcel.pw * parcel.ph - 1)
        return cost + self._standing(parcel) if isinstance(request, LandAbandon) else cost

    def take(self, request: AnyDurable) -> None:
        """It enters the tick."""
        self._made += isinstance(request, LandClaim | LandSplit)
        if isinstance(request, LandClaim):
            self._claimed.update(plots_in(*plots_of(request, self._plots_max)))
        elif not isinstance(request, TileEdit | TileUndo):
            self._touched.add(parcel_id_of(self._state, request))
            if isinstance(request, LandMerge):
                self._touched.add(request.other_id)
            self._listed += isinstance(request, MarketList | MarketAuction)

    def _is_foreseen(self, request: MarketList | MarketEdit | MarketBuy | MarketAuction | MarketBid) -> bool:
        """Whether it is about something that there is not yet, and that those before may have made."""
        if isinstance(request, MarketList | MarketAuction):
            return 0 < request.parcel_id - self._parcels.last_id <= self._made
        return bool(self._listed) and sale_id_of(request) not in self._sales.by_id

    def _claim(self, rectangle: Rectangle) -> int:
        _, _, pw, ph = rectangle
        there = map(self._parcels.by_plot.get, plots_in(*rectangle))
        if not pw or any(one is not None and one not in self._touched for one in there):
            return PLAIN_US  # refused at once
        first, more = CLAIM_US
        return first + more * (pw * ph - 1) + (WALK_US if self._runs(ring(rectangle)) > 1 else 0)

    def _runs(self, around: Iterable[tuple[int, int]]) -> int:
        """How many runs of plots that are nobody's there are in a ring."""
        taken, claimed = self._parcels.by_plot, self._claimed
        is_open = [key not in taken and key not in claimed for key in (pack(*plot) for plot in around)]
        return sum(one and not before for before, one in zip([is_open[-1], *is_open], is_open, strict=False))

    def _standing(self, parcel: Parcel) -> int:
        """What clearing a parcel takes: all that was ever built on its chunks counts."""
        surfaces = self._surfaces
        tiles = sum(surfaces[key].tiles for key in parcel.cells() if key in surfaces)
        return int(tiles / STANDING_PER_US)

    def _is_refused(self, request: AnyDurable, parcel: Parcel, player_id: int) -> bool:
        """Whether a look at the parcel and what it is offered for is enough to refuse it."""
        if isinstance(request, LandRent):
            return parcel.to_let is None
        if isinstance(request, MarketBuy):
            sale = self._sales.by_id[request.listing_id]
            return not isinstance(sale, Listing) or sale.price != request.price
        if isinstance(request, MarketBid):
            auction = self._sales.by_id[request.auction_id]
            return not isinstance(auction, Auction) or not (
                request.amount >= least(auction.terms, auction.standing)
                or buys_now(auction.terms, auction.standing, player_id, request.amount)
                or auction.standing.leader_id == player_id
            )
        return isinstance(request, OWNERS) and parcel.owner_id != player_id
