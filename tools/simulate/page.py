"""The world after one entry of the journal, as somebody else reads it (fold.py)."""

from dataclasses import dataclass, field

from protocol.messages import PLOT_TILES
from protocol.snapshot import CELL_TILES
from world.entries import BEGINNING
from world.ledger import Hold
from world.parcels import Parcel
from world.sales import Sale

Plot = tuple[int, int]
Surface = tuple[int, dict[int, int]]  # version, Build by tile


@dataclass(frozen=True, slots=True)
class Page:
    """The world after one entry. The dictionaries are never changed."""

    seq: int = 0
    tick: int = 0
    digest: bytes = BEGINNING
    last_parcel_id: int = 0
    parcels: dict[int, Parcel] = field(default_factory=dict)
    plots: dict[Plot, int] = field(default_factory=dict)
    balances: dict[int, int] = field(default_factory=dict)
    holds: dict[int, Hold] = field(default_factory=dict)
    sales: dict[int, Sale] = field(default_factory=dict)  # those that are open
    surfaces: dict[Plot, Surface] = field(default_factory=dict)  # by cx, cy

    def sale_of(self, parcel_id: int) -> Sale | None:
        """The open sale of a parcel."""
        return next((one for one in self.sales.values() if one.parcel_id == parcel_id), None)

    def at(self, x: float, y: float) -> Parcel | None:
        """The parcel at a place, in tiles."""
        parcel_id = self.plots.get((int(x // PLOT_TILES), int(y // PLOT_TILES)))
        return None if parcel_id is None else self.parcels[parcel_id]

    def kinds_on(self, parcel_id: int) -> dict[Plot, int]:
        """What stands on a parcel, by tile."""
        left, top, width, height = (side * PLOT_TILES for side in self.parcels[parcel_id].rectangle)
        found: dict[Plot, int] = {}
        for y in range(top, top + height):
            for x in range(left, left + width):
                surface = self.surfaces.get((x // CELL_TILES, y // CELL_TILES))
                kind = surface[1].get(y % CELL_TILES * CELL_TILES + x % CELL_TILES, 0) if surface else 0
                if kind:
                    found[x, y] = kind
        return found
