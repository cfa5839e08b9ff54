"""The flusher: what the tick leaves behind goes to the store, in batches, off the tick.

Rules
    1. Handing over never waits and never fails: a dict entry or a deque's end, on the loop's own thread.
    2. It is bounded. Positions: the latest per player, so never more than there are players. Chat:
       CHAT_PENDING_MAX lines; over it the oldest that is not being saved goes, counted in `chat_dropped`.
    3. A batch leaves memory when the store has said that it is committed, not before. A failed one
       is sent again, with the newer positions over it; every write may be sent twice (see store.py), so a lost
       connection costs neither a line nor a double.
    4. One save at a time, and nothing cancels it: a cancelled commit may have committed, and a save that
       hangs is cut by the store. Waiting for it has a limit, the save itself has not.
    5. `Fenced` is the end: nothing more is sent and the server is told, once. So is what the database refuses for good
       (a StoreError that is not StoreUnavailable): sent again it would be refused again, and nothing could become
       durable any more. The task ends with it and the server stops loudly; nobody was told of what is lost.
    6. Entries of the journal do not wait for the interval: what was put there is saved as soon as the save before is done, together
       with whatever else waits. That is the group commit: the busier, the larger the batches. They stay in the journal until the store
       has said that they are committed. After a failure half of them are tried (by bytes), for a line may be too slow for all
       within the store's time limits; after a quick success twice as many.
    7. It saves every interval, also when nothing happened: the world's clock goes on, and a lost place or a
       lost Postgres is noticed while nobody moves.

While Postgres answers, kill -9 loses what was handed over in the last interval and during one save, and what
was not handed over yet: places come once a second.
Units: `_ms` milliseconds; positions in tiles.
"""

import asyncio
import contextlib
from bisect import bisect_right
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from itertools import accumulate

import structlog

from persistence.journal import JOURNAL_BYTES_MAX, Journal
from persistence.store import Batch, ChatLine, Fenced, Store, StoreError, StoreUnavailable
from world.entries import Entry

RETRY_MS_MIN = 250
RETRY_MS_MAX = 5_000
OVERDUE_MS_MAX = 2_000  # a save that takes longer counts as "not available" while it hangs
CHAT_PENDING_MAX = 10_000
CHAT_BATCH_MAX = 2_000  # lines in one transaction
ENTRIES_BATCH_MAX = 2_000  # of the journal in one transaction: all that it may hold
BATCH_BYTES_MIN = 32_768  # of records; at less than that in one transaction the database counts as away
GROW_MS_MAX = 2_000  # a save that took longer is no reason to try a larger one: the store gives up after 8 s
PRUNE_INTERVAL_MS = 600_000
SAVED_KEPT = 2  # batches of positions: a row may have been read before the last but one was written

_log = structlog.get_logger(__name__)


class Flusher:
    """Saves positions and chat under one epoch. `start`, hand over, `drain`; all on one loop.

    `on_fenced(error)` is called once when another server has taken the world; the server must stop.
    """

    def __init__(
        self,
        store: Store,
        journal: Journal,
        epoch: int,
        on_fenced: Callable[[Fenced], None],
        interval_ms: int,
        chat_days_max: float,
    ) -> None:
        self._store = store
        self._journal = journal
        self._work = asyncio.Event()  # entries wait, or the end has come
        journal.wake = self._work.set
        self._epoch = epoch
        self._on_fenced = on_fenced
        self._interval_ms = interval_ms
        self._chat_days_max = chat_days_max
        self._tick = 0
        self._positions: dict[int, tuple[float, float]] = {}
        self._chat: deque[tuple[int, ChatLine]] = deque()
        self._serial = 0
        self._bytes_max = JOURNAL_BYTES_MAX  # of records in one transaction, as the line is now
        self._saving = Batch(0)  # empty while nothing is being saved
        self._saving_since: float | None = None
        self._saved: deque[dict[int, tuple[float, float]]] = deque(maxlen=SAVED_KEPT)  # newest first
        self._task: asyncio.Task[None] | None = None
        self._draining = asyncio.Event()
        self._prune_at = 0.0
        self.fenced = False
        self.failures = 0  # in a row
        self.failures_total = 0
        self.flushes_total = 0
        self.chat_dropped = 0  # lines lost over CHAT_PENDING_MAX
        self.last_flush_ms = 0.0  # how long the last committed save took
        self.last_error = ""  # empty when the last save was committed

    # -- handing over, from the tick

    def put_positions(
        self, tick: int, player_ids: Iterable[int], xs: Iterable[float], ys: Iterable[float]
    ) -> None:
        """Where these players are at `tick`; the latest counts. Plain ints and floats (`array.tolist()`).

        Once in a second or so for those who moved (or for nobody: the tick is the world's clock), and for
        everyone who leaves.
        """
        self._tick = tick
        self._positions.update(zip(player_ids, zip(xs, ys, strict=True), strict=True))

    def put_chat(self, line: ChatLine) -> None:
        """Something said."""
        self._serial += 1
        self._chat.append((self._serial, line))
        self._limit_chat()

    def latest_position(self, player_id: int) -> tuple[float, float] | None:
        """Where a player was when last handed over, if that was lately; None otherwise.

        It may be newer than the row that `Store.enter_players` has just read, so ask right after that.
        """
        batches = (self._positions, *self._saved)
        return next((batch[player_id] for batch in batches if player_id in batch), None)

    def unsaved_chat(self) -> list[ChatLine]:
        """Lines not yet known to be committed, oldest first."""
        return [line for _, line in (*self._saving.chat, *self._chat)]

    # -- its state

    @property
    def available(self) -> bool:
        """False from the first failed save, or one that hangs, to the next that is committed."""
        since = self._saving_since
        hangs = since is not None and _now() - since > OVERDUE_MS_MAX / 1_000
        return not (self.failures or hangs or self.fenced)

    @property
    def pending_positions(self) -> int:
        """Players whose place is not yet known to be committed."""
        return len(self._positions.keys() | set(self._saving.player_ids))

    @property
    def pending_chat(self) -> int:
        """Lines not yet known to be committed."""
        return len(self._chat) + len(self._saving.chat)

    # -- the work

    def start(self) -> asyncio.Task[None]:
        """Begin to save every interval; returns the work, to be supervised: it ends with a StoreError that no second try can mend."""
        self._task = asyncio.create_task(self._run(), name="flusher")
        return self._task

    async def drain(self, deadline_s: float) -> bool:
        """Save everything handed over so far and end; True if it is committed, False if time ran out."""
        if self._task is None:
            self.start()
        assert self._task is not None
        self._draining.set()
        self._work.set()
        await asyncio.wait({self._task}, timeout=deadline_s)  # `wait` cancels nothing
        in_time = self._task.done()
        self._task.cancel()  # not awaited: it may hang with Postgres until Store.close cuts the connection
        return in_time and not (self.fenced or self.pending_positions or self.pending_chat or self._journal)

    async def _run(self) -> None:
        while not self.fenced:
            await self._pause()
            last = (
                self._draining.is_set()
            )  # asked first: all handed over before it is in this batch or pending
            saved = await self._flush()
            if saved and last and not (self._positions or self._chat or self._journal):
                return
            if saved and not last and _now() >= self._prune_at:
                self._prune_at = _now() + PRUNE_INTERVAL_MS / 1_000
                await self._attempt(self._store.prune_chat(self._epoch, self._chat_days_max))

    async def _pause(self) -> None:
        """The interval, or the back-off after failures; draining cuts the first short and bounds the second."""
        if self._draining.is_set():
            await asyncio.sleep(RETRY_MS_MIN / 1_000 if self.failures else 0)
            return
        pause_ms = self._interval_ms
        if self.failures:
            pause_ms = min(RETRY_MS_MIN * 2 ** min(self.failures - 1, 8), RETRY_MS_MAX)
        elif len(self._chat) >= CHAT_BATCH_MAX:
            pause_ms = 0  # more was waiting than fits one batch
        elif not self._journal:
            self._work.clear()
        waits_for = self._draining if self.failures else self._work
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(pause_ms / 1_000):
                await waits_for.wait()

    async def _flush(self) -> bool:
        batch = self._take()
        began = _now()
        saved = await self._attempt(self._store.save(self._epoch, batch))
        self._saving = Batch(0)
        if saved:
            if batch.entries:
                self._journal.settle(batch.entries[-1].seq)
            self.flushes_total += 1
            self.last_flush_ms = (_now() - began) * 1_000
        else:
            self._give_back(batch)
        if batch.entries:
            self._fit(saved, sum(len(entry.record) for entry in batch.entries))
        return saved

    def _fit(self, saved: bool, size: int) -> None:
        """How large the next batch may be, after one of so many bytes."""
        if not saved:
            self._bytes_max = max(BATCH_BYTES_MIN, size // 2)
        elif self.last_flush_ms < GROW_MS_MAX:
            self._bytes_max = min(2 * self._bytes_max, JOURNAL_BYTES_MAX)

    def _take(self) -> Batch:
        positions, self._positions = self._positions, {}
        if positions:
            self._saved.appendleft(positions)
        xs, ys = [x for x, _ in positions.values()], [y for _, y in positions.values()]
        chat = [self._chat.popleft() for _ in range(min(len(self._chat), CHAT_BATCH_MAX))]
        entries = _within(self._journal.next_batch(ENTRIES_BATCH_MAX), self._bytes_max)
        self._saving = Batch(self._tick, list(positions), xs, ys, chat, entries)
        return self._saving

    def _give_back(self, batch: Batch) -> None:
        """Under what came in the meantime: that is newer."""
        older = dict(zip(batch.player_ids, zip(batch.xs, batch.ys, strict=True), strict=True))
        self._positions = older | self._positions
        self._chat.extendleft(reversed(batch.chat))
        self._limit_chat()

    def _limit_chat(self) -> None:
        while len(self._chat) > CHAT_PENDING_MAX:
            self._chat.popleft()
            self.chat_dropped += 1

    async def _attempt(self, work: Awaitable[None]) -> bool:
        self._saving_since = _now()
        try:
            await work
        except Fenced as error:
            self.fenced = True
            self._on_fenced(error)
            return False
        except Exception as error:
            # A mistake of ours or of the driver, too: kept, retried, and loud in log and state.
            self._failed(error)
            if isinstance(error, StoreError) and not isinstance(error, StoreUnavailable):
                raise
            return False
        finally:
            self._saving_since = None
        self._succeeded()
        return True

    def _failed(self, error: Exception) -> None:
        self.failures += 1
        self.failures_total += 1
        self.last_error = str(error)
        if self.failures == 1:
            ours = None if isinstance(error, StoreUnavailable) else error
            _log.warning("flush_failed", epoch=self._epoch, error=self.last_error, exc_info=ours)

    def _succeeded(self) -> None:
        if self.failures:
            _log.info("flush_recovered", epoch=self._epoch, failures=self.failures)
        self.failures = 0
        self.last_error = ""


def _within(entries: list[Entry], bytes_max: int) -> list[Entry]:
    """The first of these that fit, one at least."""
    ends = list(accumulate(len(entry.record) for entry in entries))
    return entries[: max(1, bisect_right(ends, bytes_max))]


def _now() -> float:
    return asyncio.get_running_loop().time()
