"""Durable requests on their way into the tick, and the questions that the database answers.

    ask      a request comes; it waits in one bounded queue, in order
    look up  was it done before? who is meant? is there land? - one statement for all that wait
    admit    once a tick: as many as fit into the journal with their worst case, as `Act` commands

What was done before is answered with its first answer. What waits longer than OVERDUE_S is refused as UNAVAILABLE and was not done, and
so is whatever comes while the journal's oldest entry is that old: then the database is away. What has entered the tick is never refused
here: its answer waits for the disk (withheld.py).
"""

import asyncio
import contextlib
import hashlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
import structlog

from persistence.journal import JOURNAL_AGE_S, Journal
from persistence.store import Store, StoredAnswer, StoreError
from protocol.errors import Refusal, RefusalCode
from protocol.messages import (
    PLOT_TILES,
    LandBuy,
    LandClaim,
    LandLet,
    LandOffer,
    LandPermit,
    LandQuote,
    LandRent,
    LandTransfer,
    Ok,
    Role,
)
from server.books import Books
from server.survey import Survey
from world.commands import Act, AnyDurable, Settle
from world.parcels import Rectangle
from world.sizes import ENTRY_BYTES_MAX, Sizes
from world.state import State
from world.tick import ANOTHER_ACTION

OVERDUE_S = 1.5
RETRY_S = 0.25  # between looks at a database that is away
RETRY_AFTER_MS = 2_000
# What moves money or puts land on the market: refused while the books do not balance. What is due by itself waits until they do.
MARKET: tuple[type, ...] = (LandClaim, LandOffer, LandBuy, LandLet, LandRent)
MARKET_RETRY_AFTER_MS = 600_000  # people must look into it first
LOOK_UP_MAX = 1_000  # actions in one statement
ACTIONS_PER_TICK_MAX = 520  # some 40 us of the tick each: more would make it late; they wait for the next
SETTLE_ENTRIES_MAX = 16  # in one tick: each may be as large as an entry can be

log = structlog.get_logger()
_encode = msgspec.msgpack.Encoder().encode

Answer = Callable[[Ok | Refusal], None]


@dataclass(slots=True, eq=False)
class Waiting:
    """A request that has not entered the tick."""

    act: Act
    answer: Answer
    asked_s: float
    ready: bool = False  # all is known that the rule needs
    answered: bool = False


class Actions:
    """All methods are for the loop's thread."""

    def __init__(self, store: Store, journal: Journal, survey: Survey, state: State, queue_max: int) -> None:
        self.books = Books()
        self.repeated_total = 0  # requests that had been done before
        self.admitted_total = 0
        self._store = store
        self._journal = journal
        self._survey = survey
        self._state = state
        self._queue_max = queue_max
        self._queue: deque[Waiting] = deque()
        self._unknown: deque[Waiting] = deque()  # those of the queue that nobody has looked up
        self._work = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def waiting(self) -> int:
        """Requests that have not entered the tick."""
        return len(self._queue)

    @property
    def available(self) -> bool:
        """Whether the disk keeps up."""
        return self._journal.lag_s(self.now_s()) <= JOURNAL_AGE_S

    def now_s(self) -> float:
        """The loop's clock."""
        return self._loop.time()

    def start(self) -> list[asyncio.Task[None]]:
        """Begins to look things up; returns the work, to be supervised."""
        self._tasks = [asyncio.create_task(self._serve(), name="actions")]
        return self._tasks

    async def stop(self) -> None:
        """Ends. What waits is not done."""
        for task in self._tasks:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    def ask(
        self, player_id: int, name: str, role: Role, session: int, request: AnyDurable, answer: Answer
    ) -> None:
        """Does it, or answers why not; the answer to what is done comes with the tick's frame.

        Raises Refusal for what can be said at once.
        """
        if not self.available or len(self._queue) >= self._queue_max:
            raise unavailable()
        act = Act(player_id, name, role, session, request, content_of(request))
        waiting = Waiting(act, answer, self.now_s())
        self._queue.append(waiting)
        self._unknown.append(waiting)
        self._work.set()

    def admit(self) -> list[Act | Settle]:
        """What enters this tick: what is due by itself, and then what players ask for."""
        now_s = self.now_s()
        entries, size = self._journal.room(now_s)
        acts: list[Act | Settle] = []
        due = 0 if self.books.closed else min(SETTLE_ENTRIES_MAX, entries, size // ENTRY_BYTES_MAX)
        if due > 0 and self._state.parcels.dues.first(self._state.tick + 1) is not None:
            acts.append(Settle(due))
            entries, size = entries - due, size - due * ENTRY_BYTES_MAX
        queue, sizes, entries = self._queue, Sizes(self._state), min(entries, ACTIONS_PER_TICK_MAX)
        while queue:
            first = queue[0]
            request = first.act.request
            if first.answered:
                queue.popleft()
            elif first.ready and self._closed_for(first.act):
                queue.popleft()
                self._settle(first, market_closed())
            elif first.ready and entries > 0 and size >= (worst := sizes.worst(request)):
                queue.popleft()
                acts.append(first.act)
                sizes.take(request)
                entries, size = entries - 1, size - worst
            elif now_s - first.asked_s > OVERDUE_S:
                queue.popleft()
                self._settle(first, unavailable())
            else:
                break
        self.admitted_total += sum(type(act) is Act for act in acts)
        return acts

    def _closed_for(self, act: Act) -> bool:
        """Whether it may not be done now; what was done before is still answered as it was."""
        wanted = isinstance(act.request, MARKET) and act.request.action_id not in self._state.answers
        return bool(self.books.closed) and wanted

    def _settle(self, waiting: Waiting, answer: Ok | Refusal) -> None:
        if not waiting.answered:
            waiting.answered = True
            waiting.answer(answer)

    async def _serve(self) -> None:
        failures = 0  # in a row: an outage is two lines of the log, however many ask meanwhile
        while True:
            await self._work.wait()
            batch = [self._unknown.popleft() for _ in range(min(len(self._unknown), LOOK_UP_MAX))]
            batch = [waiting for waiting in batch if not waiting.answered]
            if not batch:
                self._work.clear()
                continue
            try:
                await self._look_up(batch)
            except StoreError as error:
                if not failures:
                    log.warning("actions_not_looked_up", waiting=len(batch), error=str(error))
                failures += 1
                for waiting in batch:
                    self._settle(waiting, unavailable())
                await asyncio.sleep(RETRY_S)
            else:
                if failures:
                    log.info("actions_looked_up_again", failures=failures)
                failures = 0

    async def _look_up(self, batch: list[Waiting]) -> None:
        """Everything that the rules of these will need."""
        done = await self._store.find_answers([waiting.act.action_id for waiting in batch])
        others = {other for waiting in batch if (other := _other(waiting.act.request)) is not None}
        names = await self._store.player_names(list(others)) if others else {}
        dry = await self._dry_plots(batch)
        for waiting in batch:
            before = done.get(waiting.act.action_id)
            if before is not None:
                self.repeated_total += 1
                self._settle(waiting, _first_answer(waiting.act, before))
                continue
            other = _other(waiting.act.request)
            waiting.act.other_name = None if other is None else names.get(other)
            waiting.act.dry_plots = dry.get(waiting, 0)
            waiting.ready = True

    async def _dry_plots(self, batch: list[Waiting]) -> dict[Waiting, int]:
        """Of each claim, all looked at together."""
        claims = [
            (waiting, self._plots(waiting.act.request))
            for waiting in batch
            if isinstance(waiting.act.request, LandClaim)
        ]
        if not claims:
            return {}
        counts = await self._survey.dry_plots([plots for _, plots in claims])
        return {waiting: count for (waiting, _), count in zip(claims, counts, strict=True)}

    def _plots(self, land: LandClaim | LandQuote) -> Rectangle:
        """The plots of a piece of land; none where it is too large for any rule."""
        px, py, pw, ph = (value // PLOT_TILES for value in (land.x, land.y, land.width, land.height))
        return (px, py, pw, ph) if pw * ph <= self._state.rules.land.parcel_plots_max else (0, 0, 0, 0)

    async def dry_plots(self, land: LandQuote) -> int:
        """How many plots have something else than water."""
        (count,) = await self._survey.dry_plots([self._plots(land)])
        return count


def content_of(request: AnyDurable) -> bytes:
    """A digest of what is asked, whatever ids it carries."""
    fields = msgspec.structs.astuple(request)
    packed = _encode((type(request).__name__, fields[2:]))
    return hashlib.blake2b(packed, digest_size=16).digest()


def _other(request: AnyDurable) -> int | None:
    """The player whom a request names."""
    match request:
        case LandTransfer():
            return request.to
        case LandPermit():
            return request.player_id
    return None


def _first_answer(act: Act, before: StoredAnswer) -> Ok | Refusal:
    if (before.player_id, before.content) != (act.player_id, act.content):
        return Refusal(RefusalCode.BAD_REQUEST, ANOTHER_ACTION)
    result: Any = msgspec.json.decode(before.result)
    return Ok(act.request.request_id, before.seq, result)


def market_closed() -> Refusal:
    """The books do not balance."""
    return Refusal(
        RefusalCode.UNAVAILABLE,
        "The market is closed: the server found a mistake in its books, and who runs it is told. Nothing was done.",
        MARKET_RETRY_AFTER_MS,
    )


def unavailable() -> Refusal:
    """The database is away, or slow, or too much waits for it."""
    return Refusal(
        RefusalCode.UNAVAILABLE,
        "The database does not keep up just now, so nothing was done; try again in a moment.",
        RETRY_AFTER_MS,
    )
