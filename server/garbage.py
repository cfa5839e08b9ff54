"""Python's garbage collector, held to moments in which nobody waits.

What is there at the start is frozen: the collector never looks at it again. After that it runs only when it is told to, right after a
tick that left time over, and in the long run in any case. The hot path makes few cycles; closed connections do.
"""

import gc

QUIET_SHARE = 0.5  # of its time that a tick may have used for a collection to follow it
YOUNG_MAX = 20_000  # objects since the last collection: some milliseconds to look through
OVERDUE = 10  # times YOUNG_MAX: now it must be
FULL_TICKS = (
    12_000  # between two looks at everything, ten minutes at 20 Hz; some 100 ms with ten thousand connections
)


class Garbage:
    """The collections of one process."""

    def __init__(self) -> None:
        self._full_tick = 0

    def hold(self, tick: int) -> None:
        """From now on the collector waits for `after`."""
        gc.collect()
        gc.freeze()
        gc.disable()
        self._full_tick = tick + FULL_TICKS

    def after(self, tick: int, share: float) -> None:
        """A tick is over that used `share` of its time."""
        young = gc.get_count()[0]
        if tick >= self._full_tick and (share < QUIET_SHARE or tick >= self._full_tick + FULL_TICKS):
            gc.collect()
            self._full_tick = tick + FULL_TICKS
        elif young > YOUNG_MAX * OVERDUE or (young > YOUNG_MAX and share < QUIET_SHARE):
            gc.collect(1)
