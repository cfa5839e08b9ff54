"""The spatial hash grid: who stands in which cell, and who is near a place.

A cell is 32 x 32 tiles and is named by one 64-bit key made of its two indices. Cells hang in a fixed number of buckets; a bucket is a
doubly linked list of slots threaded through plain arrays, so that entering, leaving and changing cells cost the same however many
players there are, and an empty cell costs nothing. Several cells may share a bucket: whoever walks a list compares keys.

    head  i32[buckets]   first slot of the bucket's list, -1 where it is empty
    next, prev  i32[slots]   the list; -1 ends it
    keys  i64[slots]     the cell the slot stands in; meaningless while it is not linked

Queries look at the cells that a shape touches and then at each place in them; a shape that touches more cells than there are players is
answered by looking at all players instead. Places are tiles; results are slots in ascending order, unless said otherwise. Nobody is in
a shape with NaN in it.
The kernels are compiled by numba, take arrays only, and know nothing of players.
"""

import math
from functools import lru_cache
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from protocol.snapshot import CELL_TILES

Ints = NDArray[np.int32]
Keys = NDArray[np.int64]
Places = NDArray[np.float64]

NOBODY = -1
ROUNDING = 2.0**-50  # more than what the squares of a distance can be off by, as a share
AROUND_CACHE_MAX = (
    8_192  # cells; some 500 bytes each with one ring around, 11 KB with the eight that may be set
)
_MIX = np.uint64(0x9E3779B97F4A7C15)  # 2**64 / golden ratio: Fibonacci hashing (Knuth, TAOCP 3, 6.4)


def cell_of(place: float) -> int:
    """The cell index of a coordinate, in tiles; cells are half open, also below zero."""
    return int(place // CELL_TILES)


def pack(cx: int, cy: int) -> int:
    """The key of a cell: cx in the upper, cy in the lower 32 bits."""
    return (cx << 32) | (cy & 0xFFFFFFFF)


def unpack(key: int) -> tuple[int, int]:
    """The cell of a key."""
    return key >> 32, ((key & 0xFFFFFFFF) ^ 0x80000000) - 0x80000000


@lru_cache(maxsize=AROUND_CACHE_MAX)
def around(key: int, radius: int) -> tuple[int, ...]:
    """The keys of the square of cells within `radius` of a cell, nearest rings first, then by row."""
    cx, cy = unpack(key)
    square = range(-radius, radius + 1)
    steps = sorted(
        ((dx, dy) for dy in square for dx in square), key=lambda step: max(abs(step[0]), abs(step[1]))
    )
    return tuple(pack(cx + dx, cy + dy) for dx, dy in steps)


@njit(cache=True)
def _cell_of(place: float) -> Any:
    # Whole tiles first: the smallest negative numbers divided by 32 are -0.0.
    return np.int64(np.floor(np.floor(place) / CELL_TILES))


@njit(cache=True)
def key_of(cx: Any, cy: Any) -> Any:
    """The key of a cell (compiled twin of `pack`)."""
    return (np.int64(cx) << np.int64(32)) | (np.int64(cy) & np.int64(0xFFFFFFFF))


@njit(cache=True)
def cell_at(key: Any) -> Any:
    """The cell of a key (compiled twin of `unpack`)."""
    return key >> np.int64(32), np.int64(np.int32(key & np.int64(0xFFFFFFFF)))


@njit(cache=True)
def key_at(x: float, y: float) -> Any:
    """The key of the cell at a place (compiled twin of `pack(cell_of(x), cell_of(y))`)."""
    return key_of(_cell_of(x), _cell_of(y))


@njit(cache=True)
def bucket_of(key: Any, head: Ints) -> Any:
    """The bucket of a key; the number of buckets is a power of two."""
    return np.int64((np.uint64(key) * _MIX) >> np.uint64(32)) & (len(head) - 1)


@njit(cache=True)
def link(slot: int, key: Any, head: Ints, following: Ints, prev: Ints, keys: Keys) -> None:
    """Puts a slot into a cell."""
    bucket = bucket_of(key, head)
    first = head[bucket]
    keys[slot] = key
    following[slot] = first
    prev[slot] = -1
    if first >= 0:
        prev[first] = slot
    head[bucket] = slot


@njit(cache=True)
def unlink(slot: int, head: Ints, following: Ints, prev: Ints, keys: Keys) -> None:
    """Takes a slot out of its cell."""
    after, before = following[slot], prev[slot]
    if before >= 0:
        following[before] = after
    else:
        head[bucket_of(keys[slot], head)] = after
    if after >= 0:
        prev[after] = before


@njit(cache=True)
def find(key: Any, head: Ints, following: Ints, keys: Keys) -> Any:
    """The first slot with this key, or -1."""
    slot = head[bucket_of(key, head)]
    while slot >= 0 and keys[slot] != key:
        slot = following[slot]
    return slot


@njit(cache=True)
def _find_all(wanted: Keys, head: Ints, following: Ints, keys: Keys) -> Ints:
    """The first slot with each key, or -1."""
    slots = np.empty(len(wanted), np.int32)
    for index in range(len(wanted)):
        slots[index] = find(wanted[index], head, following, keys)
    return slots


@njit(cache=True)
def _in_rectangle(
    x0: float,
    y0: float,
    x1: float,
    y1: float,
    xs: Places,
    ys: Places,
    head: Ints,
    following: Ints,
    keys: Keys,
) -> Any:
    """Slots with x0 <= x < x1 and y0 <= y < y1, cell by cell."""
    found = np.empty(64, np.int32)
    count = 0
    for cx in range(_cell_of(x0), _cell_of(x1) + 1):
        for cy in range(_cell_of(y0), _cell_of(y1) + 1):
            key = key_of(cx, cy)
            slot = head[bucket_of(key, head)]
            while slot >= 0:
                if keys[slot] == key and x0 <= xs[slot] < x1 and y0 <= ys[slot] < y1:
                    if count == len(found):
                        found = np.concatenate((found, np.empty_like(found)))
                    found[count] = slot
                    count += 1
                slot = following[slot]
    return found[:count]


@njit(cache=True)
def _rebuild(
    slots: Ints, xs: Places, ys: Places, head: Ints, following: Ints, prev: Ints, keys: Keys
) -> None:
    head[:] = -1
    for index in range(len(slots) - 1, -1, -1):
        slot = slots[index]
        link(slot, key_at(xs[slot], ys[slot]), head, following, prev, keys)


class Grid:
    """Slots of a fixed capacity in cells. The places stay with their owner and are handed in."""

    def __init__(self, capacity: int) -> None:
        buckets = 1 << max(6, (2 * capacity - 1).bit_length())
        self.head: Ints = np.full(buckets, NOBODY, np.int32)
        self.next: Ints = np.full(capacity, NOBODY, np.int32)
        self.prev: Ints = np.full(capacity, NOBODY, np.int32)
        self.keys: Keys = np.zeros(capacity, np.int64)

    def enter(self, slot: int, key: int) -> None:
        """Links a slot that is in no cell."""
        link(slot, key, self.head, self.next, self.prev, self.keys)

    def leave(self, slot: int) -> None:
        """Unlinks a slot."""
        unlink(slot, self.head, self.next, self.prev, self.keys)

    def find(self, key: int) -> int:
        """The first slot in a cell, or NOBODY."""
        return int(find(key, self.head, self.next, self.keys))

    def find_all(self, keys: Keys) -> Ints:
        """The same for many cells."""
        found: Ints = _find_all(keys, self.head, self.next, self.keys)
        return found

    def anyone_in(self, key: int) -> bool:
        """Whether a cell has a slot in it."""
        return self.find(key) != NOBODY

    def rebuild(self, slots: Ints, xs: Places, ys: Places) -> None:
        """Forgets everything and links these slots by their places."""
        _rebuild(slots, xs, ys, self.head, self.next, self.prev, self.keys)

    def rectangle(
        self, x0: float, y0: float, x1: float, y1: float, xs: Places, ys: Places, slots: Ints
    ) -> Ints:
        """Slots with x0 <= x < x1 and y0 <= y < y1. `slots` are all that are linked, ascending."""
        if not (x0 < x1 and y0 < y1):
            return np.empty(0, np.int32)
        cells = ((x1 - x0) / CELL_TILES + 2) * ((y1 - y0) / CELL_TILES + 2)
        if cells > len(slots):
            at_x, at_y = xs[slots], ys[slots]
            return slots[(x0 <= at_x) & (at_x < x1) & (y0 <= at_y) & (at_y < y1)]
        edges = float(x0), float(y0), float(x1), float(y1)  # whole numbers would be compiled for anew
        found: Ints = _in_rectangle(*edges, xs, ys, self.head, self.next, self.keys)
        found.sort()
        return found

    def within(self, x: float, y: float, radius: float, xs: Places, ys: Places, slots: Ints) -> Ints:
        """Slots at most `radius` from (x, y), the edge included."""
        if radius < 0:
            return np.empty(0, np.int32)
        # A little more than the circle, which decides: it is closed, and its squares are rounded.
        reach = radius * (1 + ROUNDING)
        far_x, far_y = math.nextafter(x + reach, math.inf), math.nextafter(y + reach, math.inf)
        found = self.rectangle(x - reach, y - reach, far_x, far_y, xs, ys, slots)
        return found[(xs[found] - x) ** 2 + (ys[found] - y) ** 2 <= radius * radius]


def warm_up() -> None:
    """Compiles what is called from outside (or reads it from numba's cache): in a tick there is no time for it."""
    places = np.zeros(2)
    slots = np.zeros(
        16, np.int32
    )  # more than a small rectangle has cells, or the cells are not looked through
    grid = Grid(len(places))
    grid.enter(0, 0)
    grid.anyone_in(0)
    grid.find_all(grid.keys)
    grid.rectangle(0.0, 0.0, 1.0, 1.0, places, places, slots)
    grid.leave(0)
    grid.rebuild(slots[:1], places, places)
