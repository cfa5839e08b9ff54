"""The journal between the tick and the disk: entries that are not known to be stored, in order.

Memory may lead the disk by so much and no further: JOURNAL_ENTRIES_MAX entries, JOURNAL_BYTES_MAX bytes, JOURNAL_AGE_S seconds,
whichever is first. Nothing durable enters the tick unless its worst case fits (`room`). What was put here leaves only when the store
has said that it is committed (`settle`), from the front, and `durable_seq` rises: a crash loses a suffix, never a middle.
"""

from collections import deque
from collections.abc import Callable, Iterable
from itertools import islice

from world.entries import Entry

JOURNAL_ENTRIES_MAX = 2_000
JOURNAL_BYTES_MAX = 8 * 1_048_576
# Of the oldest entry; over it the database counts as away. The next who asks is told so, within 2 s of the fault: that is what the rest
# is for, as a request travels and waits for the loop.
JOURNAL_AGE_S = 1.7


class Journal:
    """Entries on their way to the disk. Times in seconds of any clock that does not go back. `wake` is called when there are some."""

    def __init__(
        self, last_seq: int, entries_max: int = JOURNAL_ENTRIES_MAX, bytes_max: int = JOURNAL_BYTES_MAX
    ) -> None:
        self.durable_seq = last_seq
        self.entries_max = entries_max
        self.bytes_max = bytes_max
        self.wake: Callable[[], None] = _nobody_waits
        self.entries_total = 0
        self._entries: deque[tuple[Entry, float]] = deque()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def bytes(self) -> int:
        """What waits, in bytes of records."""
        return self._bytes

    def put(self, entries: Iterable[Entry], now_s: float) -> None:
        """Takes what a tick has written. It never refuses: whether there is room was asked before."""
        for entry in entries:
            self._entries.append((entry, now_s))
            self._bytes += len(entry.record)
            self.entries_total += 1
        if self._entries:
            self.wake()

    def lag_s(self, now_s: float) -> float:
        """How long the oldest entry has waited."""
        return now_s - self._entries[0][1] if self._entries else 0.0

    def room(self, now_s: float) -> tuple[int, int]:
        """How many more entries and bytes may be written into the tick's memory; none while the disk is too far behind."""
        if self.lag_s(now_s) > JOURNAL_AGE_S:
            return 0, 0
        return self.entries_max - len(self._entries), self.bytes_max - self._bytes

    def next_batch(self, entries_max: int) -> list[Entry]:
        """The oldest entries; they stay here."""
        return [entry for entry, _ in islice(self._entries, entries_max)]

    def settle(self, seq: int) -> None:
        """Everything up to this place is stored."""
        while self._entries and self._entries[0][0].seq <= seq:
            entry, _ = self._entries.popleft()
            self._bytes -= len(entry.record)
        self.durable_seq = max(self.durable_seq, seq)


def _nobody_waits() -> None:
    """No flusher yet."""
