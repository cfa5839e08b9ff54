"""When the world itself has something to do with a parcel, so that it is found without a look at all of them.

A heap of (tick, parcel) pairs, each packed into one number. A parcel that is due at another tick than before leaves its old pair in
the heap, where it is passed over; there are never more of those than pairs that count, for then the heap is made anew.
"""

import heapq

PARCEL_BITS = 32  # a parcel_id is a u32
STALE_MIN = 64  # so many are not worth a new heap


class Dues:
    """What is due when. Of two parcels due at one tick the lower parcel_id comes first, in whatever order they were put in."""

    def __init__(self) -> None:
        self._tick_of: dict[int, int] = {}  # parcel_id -> the tick
        self._heap: list[int] = []

    def __len__(self) -> int:
        return len(self._tick_of)

    def put(self, parcel_id: int, tick: int | None) -> None:
        """The parcel is due at this tick, and no other; None: never."""
        if self._tick_of.get(parcel_id) == tick:
            return
        if tick is None:
            self._tick_of.pop(parcel_id, None)
        else:
            self._tick_of[parcel_id] = tick
            heapq.heappush(self._heap, tick << PARCEL_BITS | parcel_id)
        if len(self._heap) > 2 * len(self._tick_of) + STALE_MIN:
            self._heap = [at << PARCEL_BITS | one for one, at in self._tick_of.items()]
            heapq.heapify(self._heap)

    def first(self, tick: int) -> int | None:
        """The parcel_id of what is due the longest at `tick`, or None."""
        heap = self._heap
        while heap:
            at, parcel_id = heap[0] >> PARCEL_BITS, heap[0] & ((1 << PARCEL_BITS) - 1)
            if self._tick_of.get(parcel_id) == at:
                return parcel_id if at <= tick else None
            heapq.heappop(heap)
        return None
