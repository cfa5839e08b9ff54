"""How large the entry of a request can get: the journal takes nothing into the tick whose worst case does not fit.

The worst case of each kind of request is a number (WORST_BYTES), far above what its entries have: a parcel with all its permits, the
largest parcel with every tile built on. Taken for all that wait, few would fit at once. So `Sizes` looks at the parcel that a request
names. What stands before it in the same tick is not done yet and may make the parcel larger; that is added up.
"""

from collections import Counter

import msgspec

from protocol.edits import EDITS_MAX, TILE_EDIT
from protocol.messages import (
    LandAbandon,
    LandClaim,
    LandDescribe,
    LandOpen,
    LandPermit,
    LandSplit,
    LandTake,
    LandTransfer,
    MarketAuction,
    MarketBid,
    MarketBuy,
    MarketCancel,
    MarketEdit,
    MarketList,
    TileEdit,
    TileUndo,
)
from world.commands import AnyDurable
from world.parcels import Parcel
from world.state import State

ENTRY_BYTES_MAX = 192 * 1_024  # the largest there is: a parcel of the largest size that is cleared, base64
ENTRY_BYTES = 2_048  # all of an entry but for its parcels and what is built: postings, result, ids
GROWTH_BYTES = 4_096  # what one request can add to a parcel: a name and a description of the largest size
CHUNK_BYTES = 128  # of what is built on a chunk, but for its tiles
TILE_BYTES = 4  # of a tile that is built on: three bytes in base64
WORST_BYTES: dict[type, int] = {
    TileEdit: ENTRY_BYTES + EDITS_MAX * (CHUNK_BYTES + TILE_BYTES),
    TileUndo: ENTRY_BYTES + EDITS_MAX * (CHUNK_BYTES + TILE_BYTES),
    LandClaim: 4_096,
    LandSplit: 65_536,
    LandAbandon: ENTRY_BYTES_MAX,
    LandTransfer: 24_576,
    LandTake: 8_192,
    MarketList: ENTRY_BYTES,
    MarketEdit: ENTRY_BYTES,
    MarketCancel: ENTRY_BYTES,
    MarketBuy: 24_576,
    MarketAuction: ENTRY_BYTES,
    MarketBid: 24_576,  # it may be sold at once
}
WORST_BYTES_OTHERWISE = 49_152  # a parcel that is let, with all that is kept for its end
_CHANGES = (
    LandDescribe,
    LandOpen,
    LandPermit,
    LandTransfer,
    LandTake,
    MarketBuy,
    MarketBid,
)  # one parcel, which keeps its shape

_LOOKED_INTO = (*_CHANGES, LandAbandon)
_NO_LAND = (
    LandClaim,
    MarketList,
    MarketEdit,
    MarketCancel,
    MarketAuction,
)  # make no parcel that was there before another
_encode = msgspec.json.Encoder().encode


def parcel_id_of(state: State, request: AnyDurable) -> int:
    """The parcel that a request is about, 0: none that is known, as of a listing that is not there."""
    match request:
        case TileEdit() | TileUndo() | LandClaim():
            return 0
        case MarketEdit() | MarketCancel() | MarketBuy() | MarketBid():
            sale = state.sales.by_id.get(sale_id_of(request))
            return 0 if sale is None else sale.parcel_id
    return request.parcel_id


def sale_id_of(request: MarketEdit | MarketCancel | MarketBuy | MarketBid) -> int:
    """The sale that a request is about."""
    return request.auction_id if isinstance(request, MarketBid) else request.listing_id


class Sizes:
    """The worst cases of the requests that enter one tick, to be asked for in their order."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._changes: Counter[int] = Counter()  # by parcel_id, of those before
        self._tiles = 0  # that those before may build on
        self._reshaped: set[int] = set()  # parcel_ids: what those before may make of these is not looked into

    def worst(self, request: AnyDurable) -> int:
        """How large its entry can get, in bytes, if it comes after those that `take` was told of."""
        most = WORST_BYTES.get(type(request), WORST_BYTES_OTHERWISE)
        if isinstance(request, TileEdit):
            tiles = len(request.edits) // TILE_EDIT.itemsize
            return min(most, ENTRY_BYTES + tiles * (CHUNK_BYTES + TILE_BYTES))
        parcel_id = parcel_id_of(self._state, request)
        if not isinstance(request, _LOOKED_INTO) or parcel_id in self._reshaped:
            return most
        parcel = self._state.parcels.by_id.get(parcel_id)
        if parcel is None:
            return most
        size = self._standing(parcel) if isinstance(request, LandAbandon) else self._grown(parcel)
        return min(most, ENTRY_BYTES + size)

    def take(self, request: AnyDurable) -> None:
        """It enters the tick, and what comes after it may find a larger world."""
        if isinstance(request, _CHANGES):
            self._changes[parcel_id_of(self._state, request)] += 1
        elif isinstance(request, TileEdit):
            self._tiles += len(request.edits) // TILE_EDIT.itemsize
        elif isinstance(request, TileUndo):
            self._tiles += EDITS_MAX
        elif not isinstance(request, _NO_LAND):
            self._reshaped.add(parcel_id_of(self._state, request))

    def _grown(self, parcel: Parcel) -> int:
        """A parcel as it is, and what those before and the request itself may add."""
        before = (
            self._changes[parcel.parcel_id] + self._changes[0]
        )  # a listing of the same batch may be of any
        return len(_encode(parcel)) + (before + 1) * GROWTH_BYTES

    def _standing(self, parcel: Parcel) -> int:
        """All that may stand where a parcel is: every tile of its chunks that was ever built on, and what those before may build."""
        surfaces = self._state.chunks.surfaces
        there = [surfaces[key] for key in parcel.cells() if key in surfaces]
        tiles = sum(surface.tiles for surface in there) + self._tiles
        return len(parcel.cells()) * CHUNK_BYTES + tiles * TILE_BYTES
