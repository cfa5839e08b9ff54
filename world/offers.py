"""Land that is offered, for sale or to let, found by how near it is without a look at all of it.

Offers lie in squares, those in larger squares, and so on. Whoever looks for the nearest opens the nearest square first, then whatever
is the nearest of all seen by then, and so on: what is far away is never opened.
"""

import heapq
from collections.abc import Iterable, Iterator
from math import floor

SQUARE_BITS = 8  # the smallest squares are 256 tiles wide
EDGE_BITS = 3  # eight of them are one side of the next larger
LEVELS = 5  # the largest are 2**20 tiles wide: four of them are the world

Place = tuple[float, float]  # tiles
Square = tuple[int, int, int]  # level, and which it is: x and y in its own widths


class Offers:
    """Parcels on offer, each at one place."""

    def __init__(self) -> None:
        self._place_of: dict[int, Place] = {}  # by parcel_id
        # What lies in a square: smaller squares, or parcel_ids in one of level 0. None is empty.
        self._squares: dict[Square, dict[Square, None]] = {}
        self._parcels: dict[Square, dict[int, None]] = {}

    def __len__(self) -> int:
        return len(self._place_of)

    def __iter__(self) -> Iterator[int]:
        return iter(self._place_of)

    def __contains__(self, parcel_id: int) -> bool:
        return parcel_id in self._place_of

    def put(self, parcel_id: int, place: Place) -> None:
        """On offer, or still, at this place."""
        if self._place_of.get(parcel_id) == place:
            return
        self.remove(parcel_id)
        self._place_of[parcel_id] = place
        square = _square_at(place)
        self._parcels.setdefault(square, {})[parcel_id] = None
        while (above := _above(square)) is not None:
            inside = self._squares.setdefault(above, {})
            if square in inside:
                return  # and so are those around it
            inside[square] = None
            square = above

    def remove(self, parcel_id: int) -> None:
        """Not on offer, if it was."""
        place = self._place_of.pop(parcel_id, None)
        if place is None:
            return
        square = _square_at(place)
        parcels = self._parcels[square]
        del parcels[parcel_id]
        if not parcels:
            del self._parcels[square]
            self._close(square)

    def _close(self, square: Square) -> None:
        """There is nothing in it any more."""
        while (above := _above(square)) is not None:
            inside = self._squares[above]
            del inside[square]
            if inside:
                return
            del self._squares[above]
            square = above

    def nearest(self, place: Place) -> Iterator[int]:
        """The parcel_ids, nearest first; of two as near the lower. Nothing may change meanwhile."""
        seen: list[tuple[float, int, Square]] = []  # squared distance; parcel_id, 0: a square; which
        tops = ((LEVELS - 1, x, y) for x in (-1, 0) for y in (-1, 0))
        self._see(seen, (square for square in tops if square in self._squares), place)
        while seen:
            _, parcel_id, square = heapq.heappop(seen)
            if parcel_id:
                yield parcel_id
            elif square[0]:
                self._see(seen, self._squares[square], place)
            else:
                for one in self._parcels[square]:
                    heapq.heappush(seen, (_squared(self._place_of[one], place), one, square))

    def _see(self, seen: list[tuple[float, int, Square]], squares: Iterable[Square], place: Place) -> None:
        for square in squares:
            heapq.heappush(seen, (_away(square, place), 0, square))


def _square_at(place: Place) -> Square:
    return 0, floor(place[0]) >> SQUARE_BITS, floor(place[1]) >> SQUARE_BITS


def _above(square: Square) -> Square | None:
    """The square that one lies in; None: it is one of the largest."""
    level, x, y = square
    return None if level == LEVELS - 1 else (level + 1, x >> EDGE_BITS, y >> EDGE_BITS)


def _away(square: Square, place: Place) -> float:
    """The squared distance of its nearest point."""
    level, x, y = square
    width = 1 << SQUARE_BITS + EDGE_BITS * level
    left, top = x * width, y * width
    dx, dy = left - place[0], top - place[1]
    east = dx if dx > 0 else max(0.0, -dx - width)
    south = dy if dy > 0 else max(0.0, -dy - width)
    return east * east + south * south


def _squared(one: Place, other: Place) -> float:
    dx, dy = one[0] - other[0], one[1] - other[1]
    return dx * dx + dy * dy
