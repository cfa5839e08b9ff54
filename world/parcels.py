"""Who owns which land: parcels, rectangles of plots, no two on one plot.

A plot is PLOT_TILES x PLOT_TILES tiles and is named as cells are (grid.pack). Found are parcels by id, by plot and by owner, each in a
dictionary; a rectangle is looked up plot by plot.

For the walkers' kernel there are two arrays more (movement.py): each loaded chunk knows of its four plots which closed parcel they
belong to, and a hash grid holds who may enter which of those.
"""

from collections.abc import Iterable, Iterator, Mapping

import msgspec
import numpy as np
from numpy.typing import NDArray

from protocol.messages import PLOT_TILES, Standing
from protocol.snapshot import CELL_TILES
from world.dues import Dues
from world.grid import Grid, pack, unpack
from world.offers import Offers, Place

PLOTS_PER_CHUNK = CELL_TILES // PLOT_TILES  # a side
PERMITS_AT_START = 256
Rectangle = tuple[int, int, int, int]  # px, py, pw, ph: plots
OPEN = 0  # no parcel has this id
PERMIT_SHIFT = 2**31  # so that parcel_id, a u32, fits the upper half of a signed number


class Permit(msgspec.Struct, frozen=True, gc=False):
    """What one player may do on a parcel besides what everybody may."""

    player_id: int
    name: str
    standing: Standing


class Terms(msgspec.Struct, frozen=True, gc=False):
    """What a parcel is let for: poisha, and milliseconds of world time."""

    rent: int
    deposit: int
    term_ms: int
    renewable: bool


class Before(msgspec.Struct, frozen=True, gc=False):
    """What a tenant may change, as it was before the lease; `build` as building.kept packs it."""

    name: str
    description: str
    open_enter: bool
    open_build: bool
    permits: tuple[Permit, ...]
    build: bytes


class Lease(msgspec.Struct, frozen=True, gc=False):
    """Somebody rents a parcel until tick `ends`; `hold_id` names their deposit, 0 where there is none."""

    tenant_id: int
    tenant_name: str
    terms: Terms
    ends: int
    leaving: bool
    hold_id: int
    before: Before


class Parcel(msgspec.Struct, frozen=True, tag="parcel", gc=False):
    """A piece of land as it is from entry `seq` on. The rectangle is in plots."""

    parcel_id: int
    owner_id: int
    owner_name: str
    px: int
    py: int
    pw: int
    ph: int
    name: str = ""
    description: str = ""
    open_enter: bool = True
    open_build: bool = False
    permits: tuple[Permit, ...] = ()  # by player_id
    seq: int = 0
    to_let: Terms | None = None
    lease: Lease | None = None
    paid_until: int | None = None  # upkeep, a tick; None: it never was due
    arrears: int = 0  # periods of upkeep that were not paid
    way: Rectangle | None = None  # everybody may walk there, though it be closed
    given_to: int | None = None  # whose it is if they take it

    @property
    def holder_id(self) -> int:
        """The player_id of who has it in hand: the tenant, or the owner where nobody rents it."""
        return self.owner_id if self.lease is None else self.lease.tenant_id

    @property
    def holder_name(self) -> str:
        """Their name."""
        return self.owner_name if self.lease is None else self.lease.tenant_name

    @property
    def permitted(self) -> set[int]:
        """The player_ids of whose permits stand here, those included that come back after a lease."""
        before = () if self.lease is None else self.lease.before.permits
        return {one.player_id for one in (*self.permits, *before)}

    def named(self, names: Mapping[int, str]) -> "Parcel":
        """The same with these names, by player_id; who is not in it keeps theirs."""
        lease = self.lease
        if lease is not None:
            before = msgspec.structs.replace(lease.before, permits=_named(lease.before.permits, names))
            tenant_name = names.get(lease.tenant_id, lease.tenant_name)
            lease = msgspec.structs.replace(lease, tenant_name=tenant_name, before=before)
        owner_name = names.get(self.owner_id, self.owner_name)
        permits = _named(self.permits, names)
        return msgspec.structs.replace(self, owner_name=owner_name, permits=permits, lease=lease)

    def standing(self, player_id: int) -> Standing:
        """What a player may do here besides what everybody may."""
        if player_id == self.holder_id:
            return Standing.OWNER if self.lease is None else Standing.TENANT
        for permit in self.permits:
            if permit.player_id == player_id:
                return permit.standing
        return Standing.NONE

    @property
    def rectangle(self) -> Rectangle:
        """px, py, pw and ph."""
        return self.px, self.py, self.pw, self.ph

    def plots(self) -> Iterator[int]:
        """The keys of its plots, row by row."""
        return plots_in(*self.rectangle)

    def cells(self) -> list[int]:
        """The keys of the cells it lies in."""
        return cells_of(self.plots())

    def bounds(self) -> tuple[int, int, int, int]:
        """x, y, width and height in tiles."""
        return self.px * PLOT_TILES, self.py * PLOT_TILES, self.pw * PLOT_TILES, self.ph * PLOT_TILES

    @property
    def middle(self) -> Place:
        """Where it is, in tiles."""
        x, y, width, height = self.bounds()
        return x + width / 2, y + height / 2


def _named(permits: tuple[Permit, ...], names: Mapping[int, str]) -> tuple[Permit, ...]:
    return tuple(Permit(one.player_id, names.get(one.player_id, one.name), one.standing) for one in permits)


class Freed(msgspec.Struct, frozen=True, tag="freed", gc=False):
    """A parcel is no more."""

    parcel_id: int
    px: int
    py: int
    pw: int
    ph: int

    def cells(self) -> list[int]:
        """The keys of the cells it lay in."""
        return cells_of(plots_in(self.px, self.py, self.pw, self.ph))


def cells_of(plots: Iterable[int]) -> list[int]:
    """The keys of the cells that plots lie in."""
    return list(dict.fromkeys(map(cell_of_plot, plots)))


def freed(parcel: Parcel) -> Freed:
    """The end of a parcel."""
    return Freed(parcel.parcel_id, parcel.px, parcel.py, parcel.pw, parcel.ph)


def plots_in(px: int, py: int, pw: int, ph: int) -> Iterator[int]:
    """The keys of the plots of a rectangle, row by row."""
    return (pack(x, y) for y in range(py, py + ph) for x in range(px, px + pw))


def plots_of_way(parcel: Parcel) -> Iterator[int]:
    """The keys of the plots on which everybody may walk."""
    return plots_in(*parcel.way) if parcel.way is not None else iter(())


def plot_at(x: float, y: float) -> int:
    """The key of the plot at a place, in tiles."""
    return pack(int(x // PLOT_TILES), int(y // PLOT_TILES))


def cell_of_plot(key: int) -> int:
    """The key of the cell that a plot lies in."""
    px, py = unpack(key)
    return pack(px // PLOTS_PER_CHUNK, py // PLOTS_PER_CHUNK)


def plots_of_cell(key: int) -> Iterator[int]:
    """The keys of the plots of a cell."""
    cx, cy = unpack(key)
    return plots_in(cx * PLOTS_PER_CHUNK, cy * PLOTS_PER_CHUNK, PLOTS_PER_CHUNK, PLOTS_PER_CHUNK)


class Gates:
    """What the kernel knows of closed land.

    closed    i64[chunks, 2, 2]   of each plot of a loaded chunk the closed parcel there, OPEN where anybody may walk
    permits   hash grid           of (parcel, player) pairs that may enter; `key_of_permit` names a pair
    """

    def __init__(self, chunks_max: int) -> None:
        self.closed: NDArray[np.int64] = np.zeros((chunks_max, PLOTS_PER_CHUNK, PLOTS_PER_CHUNK), np.int64)
        self.permits = Grid(PERMITS_AT_START)
        self._slots: dict[int, int] = {}  # key of a pair -> slot
        self._free = list(range(PERMITS_AT_START - 1, -1, -1))

    def admit(self, parcel_id: int, player_id: int) -> None:
        """Somebody may enter."""
        key = key_of_permit(parcel_id, player_id)
        if key in self._slots:
            return
        if not self._free:
            self._grow()
        slot = self._slots[key] = self._free.pop()
        self.permits.enter(slot, key)

    def dismiss(self, parcel_id: int, player_id: int) -> None:
        """Somebody may not enter any more."""
        slot = self._slots.pop(key_of_permit(parcel_id, player_id), None)
        if slot is not None:
            self.permits.leave(slot)
            self._free.append(slot)

    def _grow(self) -> None:
        size = len(self.permits.keys)
        self.permits = Grid(2 * size)
        for key, slot in self._slots.items():
            self.permits.enter(slot, key)
        self._free = list(range(2 * size - 1, size - 1, -1))


def key_of_permit(parcel_id: int, player_id: int) -> int:
    """The pair as one signed 64-bit number."""
    return pack(parcel_id - PERMIT_SHIFT, player_id)


class Ids:
    """The ids of something for each player, ascending."""

    def __init__(self) -> None:
        self._of: dict[int, tuple[int, ...]] = {}

    def of(self, player_id: int) -> tuple[int, ...]:
        """Those of one player."""
        return self._of.get(player_id, ())

    def add(self, player_id: int, one: int) -> None:
        """One more."""
        self._of[player_id] = tuple(sorted((*self.of(player_id), one)))

    def remove(self, player_id: int, gone: int) -> None:
        """One less."""
        left = tuple(one for one in self.of(player_id) if one != gone)
        if left:
            self._of[player_id] = left
        else:
            self._of.pop(player_id, None)


class Parcels:
    """All owned land. `upkeep`: whether it costs any."""

    def __init__(self, chunks_max: int, upkeep: bool) -> None:
        self._upkeep = upkeep
        self.by_id: dict[int, Parcel] = {}
        self.by_plot: dict[int, int] = {}  # key of a plot -> parcel_id
        self.ways: set[int] = set()  # keys of plots
        self.shut: set[int] = set()  # parcel_ids where somebody may stand who may not (eviction.py)
        self.by_owner = Ids()
        self.by_tenant = Ids()
        self.by_heir = Ids()  # what is given to a player who has not taken it yet
        self.by_permit = Ids()
        self.lease_dues = Dues()
        self.upkeep_dues = Dues()
        self.to_let = Offers()
        self.gates = Gates(chunks_max)
        self.last_id = 0

    def __len__(self) -> int:
        return len(self.by_id)

    def at(self, x: float, y: float) -> Parcel | None:
        """The parcel at a place, in tiles."""
        return self.on(plot_at(x, y))

    def on(self, plot: int) -> Parcel | None:
        """The parcel that a plot belongs to."""
        parcel_id = self.by_plot.get(plot)
        return None if parcel_id is None else self.by_id[parcel_id]

    def of(self, player_id: int) -> tuple[int, ...]:
        """The parcel_ids of what a player owns, ascending."""
        return self.by_owner.of(player_id)

    def put(self, parcel: Parcel) -> list[int]:
        """Takes a parcel as it is now; returns the keys of plots whose gate may be another."""
        old = self.by_id.get(parcel.parcel_id)
        self.by_id[parcel.parcel_id] = parcel
        self.last_id = max(self.last_id, parcel.parcel_id)
        self._hand_over(parcel.parcel_id, old, parcel)
        self.lease_dues.put(parcel.parcel_id, None if parcel.lease is None else parcel.lease.ends)
        self.upkeep_dues.put(parcel.parcel_id, parcel.paid_until or 0 if self._upkeep else None)
        if parcel.to_let is None:
            self.to_let.remove(parcel.parcel_id)
        else:
            self.to_let.put(parcel.parcel_id, parcel.middle)
        if old is not None and _ground_of(old) == _ground_of(parcel):
            return []
        return [*([] if old is None else self._take_out(old)), *self._lay_out(parcel)]

    def rename(self, player_id: int, name: str) -> None:
        """Somebody has another name: on all parcels that name them, which are as they were but for that."""
        owned, rented, permitted = (
            ids.of(player_id) for ids in (self.by_owner, self.by_tenant, self.by_permit)
        )
        for parcel_id in {*owned, *rented, *permitted}:
            self.by_id[parcel_id] = self.by_id[parcel_id].named({player_id: name})

    def _lay_out(self, parcel: Parcel) -> list[int]:
        """Notes where it is and, if it is closed, who may enter; returns the keys of its plots."""
        plots = list(parcel.plots())
        self.by_plot.update(dict.fromkeys(plots, parcel.parcel_id))
        self.ways.update(plots_of_way(parcel))
        if not parcel.open_enter:
            self.shut.add(parcel.parcel_id)
        for player_id in _admitted(parcel) or ():
            self.gates.admit(parcel.parcel_id, player_id)
        return plots

    def free(self, parcel_id: int) -> list[int]:
        """A parcel is no more; returns the keys of its plots."""
        old = self.by_id.pop(parcel_id)
        self._hand_over(parcel_id, old, None)
        self.lease_dues.put(parcel_id, None)
        self.upkeep_dues.put(parcel_id, None)
        self.to_let.remove(parcel_id)
        return self._take_out(old)

    def gate_of(self, plot: int) -> int:
        """The closed parcel that a plot belongs to, or OPEN."""
        parcel = self.on(plot)
        return OPEN if parcel is None or parcel.open_enter or plot in self.ways else parcel.parcel_id

    def _take_out(self, old: Parcel) -> list[int]:
        """Forgets where it was and who might enter; returns the keys of its plots."""
        plots = list(old.plots())
        self.ways.difference_update(plots_of_way(old))
        for plot in plots:
            if self.by_plot.get(plot) == old.parcel_id:
                del self.by_plot[plot]
        for player_id in _admitted(old) or ():
            self.gates.dismiss(old.parcel_id, player_id)
        return plots

    def _hand_over(self, parcel_id: int, old: Parcel | None, new: Parcel | None) -> None:
        """Whose it was, whose it is, and whose it may be."""
        for ids, who in ((self.by_owner, _owner), (self.by_tenant, _tenant), (self.by_heir, _heir)):
            was, now = who(old), who(new)
            if was == now:
                continue
            if was is not None:
                ids.remove(was, parcel_id)
            if now is not None:
                ids.add(now, parcel_id)
        had, have = _permitted(old), _permitted(new)
        for player_id in had - have:
            self.by_permit.remove(player_id, parcel_id)
        for player_id in have - had:
            self.by_permit.add(player_id, parcel_id)


def _permitted(parcel: Parcel | None) -> set[int]:
    return parcel.permitted if parcel is not None and (parcel.permits or parcel.lease) else set()


def _admitted(parcel: Parcel) -> list[int] | None:
    """Who alone may enter; None where everybody may."""
    return None if parcel.open_enter else entering(parcel)


def _ground_of(parcel: Parcel) -> tuple[Rectangle, Rectangle | None, list[int] | None]:
    """What the plots and the gates have of a parcel."""
    return parcel.rectangle, parcel.way, _admitted(parcel)


def _owner(parcel: Parcel | None) -> int | None:
    return None if parcel is None else parcel.owner_id


def _tenant(parcel: Parcel | None) -> int | None:
    return None if parcel is None or parcel.lease is None else parcel.lease.tenant_id


def _heir(parcel: Parcel | None) -> int | None:
    return None if parcel is None else parcel.given_to


def entering(parcel: Parcel) -> list[int]:
    """The player_ids that may enter a closed parcel."""
    return [parcel.holder_id, *(permit.player_id for permit in parcel.permits)]
