"""Durable requests on their way into the world.

    ask      a request comes; it waits in one bounded queue
    look up  was it done before? who is meant? - one statement for all that wait. Is there land? - survey.py
    admit    after each tick: as many as fit into the journal with their worst case, and into the time until the next by what they cost

Those of one player are done in the order they came, and wait for nobody else's: whoever asks for what takes long, in the ground's
thread or in the world, is passed over until it is known, or until the next time. Nothing overtakes what only waits for room.

What they cost is known for one machine (costs.py). How much slower this one is, or busier, is learned from how long those that were
admitted took. Which share of the time until the next tick is theirs is learned, too, for sockets and database want the rest: when a
tick comes late it is less, and as long as they want more than they get and ticks come in time, more. Those who walk come first.

What was done before is answered with its first answer. What waits longer than OVERDUE_S is refused as UNAVAILABLE and was not done, and
so is whatever comes while the journal's oldest entry is that old: then the database is away. What was admitted is never refused here:
its answer waits for the disk (withheld.py). What is due by itself waits while the database is away, too, or answers nothing: an auction
does not end while nobody can bid.
"""

import asyncio
import hashlib
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import msgspec
import structlog

from persistence.journal import JOURNAL_AGE_S, Journal
from persistence.store import Store, StoredAnswer, StoreError
from protocol.errors import Refusal, RefusalCode
from protocol.messages import (
    LandClaim,
    LandDescribe,
    LandLet,
    LandPermit,
    LandQuote,
    LandRent,
    LandTransfer,
    MarketAuction,
    MarketBid,
    MarketBuy,
    MarketEdit,
    MarketList,
    Ok,
    Role,
)
from server.books import Books
from server.costs import Costs, plots_of
from server.survey import Survey
from server.tasks import end
from server.words import Words
from world.commands import Act, AnyAct, AnyDurable, Reopen, Settle
from world.settlement import Due, first_due
from world.sizes import ENTRY_BYTES_MAX, WORST_BYTES, Sizes
from world.state import State
from world.tick import ANOTHER_ACTION

OVERDUE_S = 1.5
RETRY_S = 0.25  # between looks at a database that is away
RETRY_AFTER_MS = 2_000
# What moves money or puts land on the market: refused while the books do not balance. What is due by itself waits until they do.
MARKET: tuple[type, ...] = (
    LandClaim,
    MarketList,
    MarketEdit,
    MarketBuy,
    MarketAuction,
    MarketBid,
    LandLet,
    LandRent,
)
MARKET_RETRY_AFTER_MS = 600_000  # people must look into it first
LOOK_UP_MAX = 1_000  # actions in one statement
PULSE_S = 0.5  # where nobody asks for anything, the database is asked for nothing, to know that it is there
LOOK_UP_EVERY_S = 0.01  # a fifth of a tick: meanwhile more come that the next statement asks for, too
TICK_US_MAX = 40_000  # for all actions between two ticks, by costs.py: a thousand plain ones
TICK_US_MIN = 2_500  # where there is no time left at all
SHARE_MIN, SHARE_MAX = 0.5, 0.8  # of the time until the next tick
SHARE_MORE, SHARE_LESS = 0.005, 0.9  # added after a tick in time, multiplied with after a late one
LATE_S = 0.004  # a tick that begins later is late
SLOWNESS_MAX = 8.0  # how long actions take here, times what costs.py says
FADING = 0.95  # what was learned of that counts so much when more is
PLAYER_US_MAX = 5_000  # of that, for the actions of one player; their first may take more
# Entries of what is due by itself between two ticks, and how large each may be.
SETTLE_MAX: dict[Due, tuple[int, int]] = {
    Due.LEASE: (16, ENTRY_BYTES_MAX),
    Due.SALE: (100, WORST_BYTES[MarketBuy]),
    Due.UPKEEP: (16, ENTRY_BYTES_MAX),
}

log = structlog.get_logger()
_encode = msgspec.msgpack.Encoder().encode

Answer = Callable[[Ok | Refusal], None]


@dataclass(slots=True, eq=False)
class Waiting:
    """A request that has not entered the tick."""

    act: Act
    answer: Answer
    asked_s: float
    missing: int = 1  # of what must be known before it may enter: what the database says, and of a claim, what the ground says
    answered: bool = False


class Room:
    """What there is room for between two ticks: entries and bytes in the journal, and time, in all and for each player."""

    def __init__(self, state: State, entries: int, size: int, us_max: float) -> None:
        self.acts: list[AnyAct] = []
        self.spent_us = 0
        self.lacked_time = self.settles = False
        self._entries = entries
        self._bytes = size
        self._us_max = us_max
        self._costs, self._sizes = Costs(state), Sizes(state)
        self._cost_us = 0  # of the action whose turn was asked for last
        self._spent_us_of: dict[int, int] = {}  # by player_id

    def settle(self, due: Due) -> None:
        """Takes what is due by itself."""
        entries_max, size = SETTLE_MAX[due]
        entries = min(entries_max, self._entries, self._bytes // size)
        if entries > 0:
            self.settles = True
            self.acts.append(Settle(entries))
            self._entries -= entries
            self._bytes -= entries * size

    def is_turn_of(self, act: Act) -> bool:
        """Whether its player has time left. To be asked before `take`."""
        self._cost_us = self._costs.of(act.request, act.player_id)
        spent_us = self._spent_us_of.get(act.player_id, 0)
        return not spent_us or spent_us + self._cost_us <= PLAYER_US_MAX

    def take(self, act: Act) -> bool:
        """Takes what fits; False where it does not."""
        cost_us = self._cost_us
        if self.spent_us and self.spent_us + cost_us > self._us_max:
            self.lacked_time = True
            return False
        if self._entries <= 0 or self._bytes < (worst := self._sizes.worst(act.request)):
            return False
        self.acts.append(act)
        self._sizes.take(act.request)
        self._costs.take(act.request)
        self._entries -= 1
        self._bytes -= worst
        self.spent_us += cost_us
        self._spent_us_of[act.player_id] = self._spent_us_of.get(act.player_id, 0) + cost_us
        return True


class Actions:
    """All methods are for the loop's thread."""

    def __init__(
        self,
        store: Store,
        journal: Journal,
        survey: Survey,
        state: State,
        queue_max: int,
        words: Words | None = None,
    ) -> None:
        self.books = Books()
        self.repeated_total = 0  # requests that had been done before
        self.admitted_total = 0
        self._admitted_us = 0  # the last time, by costs.py
        self._expected_us = self._took_us = 0.0  # of those that were admitted, the last ones most
        self._share = SHARE_MIN
        self._lacked_time = False  # the last time
        self._was_closed = False  # likewise
        self._answered_s = 0.0  # when the database answered last
        self._store = store
        self._journal = journal
        self._survey = survey
        self._words = words  # that are not wanted in names
        self._state = state
        self._queue_max = queue_max
        self._queue: deque[Waiting] = deque()
        self._unknown: deque[Waiting] = deque()  # those of the queue that nobody has looked up
        self._work = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def waiting(self) -> int:
        """Requests that were not admitted."""
        return len(self._queue)

    def took(self, seconds: float) -> None:
        """How long those took that were admitted last. Where something was due by itself nothing is learned: that may be anything."""
        if self._admitted_us:
            self._expected_us = self._expected_us * FADING + self._admitted_us
            self._took_us = self._took_us * FADING + seconds * 1_000_000

    def ticked(self, late_s: float) -> None:
        """How long after its deadline the next tick began."""
        if late_s > LATE_S:
            self._share = max(SHARE_MIN, self._share * SHARE_LESS)
        elif self._lacked_time:
            self._share = min(SHARE_MAX, self._share + SHARE_MORE)

    @property
    def slowness(self) -> float:
        """How long actions take here, times what costs.py says."""
        return min(max(1.0, self._took_us / max(1.0, self._expected_us)), SLOWNESS_MAX)

    @property
    def available(self) -> bool:
        """Whether the disk keeps up."""
        return self._journal.lag_s(self.now_s()) <= JOURNAL_AGE_S

    def now_s(self) -> float:
        """The loop's clock."""
        return self._loop.time()

    def start(self) -> list[asyncio.Task[None]]:
        """Begins to look things up; returns the work, to be supervised."""
        self._answered_s = self.now_s()  # the world was read just now
        self._tasks = [asyncio.create_task(self._serve(), name="actions"), self._survey.start()]
        return self._tasks

    async def stop(self) -> None:
        """Ends. What waits is not done."""
        await end(*self._tasks)

    def ask(
        self, player_id: int, name: str, role: Role, session: int, request: AnyDurable, answer: Answer
    ) -> None:
        """Does it, or answers why not; the answer to what is done comes with the tick's frame.

        Raises Refusal for what can be said at once.
        """
        if not self.available:
            raise unavailable()
        if len(self._queue) >= self._queue_max:
            raise busy()
        act = Act(player_id, name, role, session, request, content_of(request))
        waiting = Waiting(act, answer, self.now_s())
        if isinstance(request, LandClaim) and not self._look_at(waiting, request):
            raise busy()
        self._queue.append(waiting)
        self._unknown.append(waiting)
        self._work.set()

    def _look_at(self, waiting: Waiting, request: LandClaim) -> bool:
        """Has a claim's land looked at; False where its player waits for too much already."""

        def found(dry_plots: int) -> None:
            waiting.act.dry_plots = dry_plots
            waiting.missing -= 1

        waiting.missing += 1
        return self.survey(request, waiting.act.player_id, found, lambda: not waiting.answered)

    def survey(
        self,
        land: LandClaim | LandQuote,
        player_id: int,
        answer: Callable[[int], None],
        wanted: Callable[[], bool],
    ) -> bool:
        """Survey.ask of a piece of land."""
        rectangle = plots_of(land, self._state.rules.land.parcel_plots_max)
        return self._survey.ask(player_id, rectangle, answer, wanted)

    def admit(self, left_s: float) -> list[AnyAct]:
        """What is done before the next tick, which is due in so many seconds: what is due by itself, and then what players ask for."""
        now_s = self.now_s()
        us_max = min(max(TICK_US_MIN, left_s * 1_000_000 * self._share / self.slowness), TICK_US_MAX)
        room = Room(self._state, *self._journal.room(now_s), us_max)
        if self._reopens(now_s):
            room.acts.append(Reopen())
        elif not self._was_closed and (due := first_due(self._state)) is not None:
            room.settle(due)
        passed = self._fill(room, now_s)
        self._lacked_time = room.lacked_time
        self._queue.extendleft(reversed(passed))
        while self._unknown and self._unknown[0].answered:  # as old as the queue's, so these are its first
            self._unknown.popleft()
        self.admitted_total += sum(type(act) is Act for act in room.acts)
        self._admitted_us = 0 if room.settles else room.spent_us
        return room.acts

    def _reopens(self, now_s: float) -> bool:
        """Whether actions are taken again, after they were refused for want of the database, or for books that do not balance."""
        is_closed = bool(self.books.closed) or not self.available or now_s - self._answered_s > OVERDUE_S
        was_closed, self._was_closed = self._was_closed, is_closed
        return was_closed and not is_closed

    def _fill(self, room: Room, now_s: float) -> list[Waiting]:
        """Takes out of the queue what enters and what waited too long; returns what was passed over, which is out of it, too."""
        queue, passed = self._queue, list[Waiting]()
        behind: set[int] = set()  # players of whom something was passed over
        while queue:
            first = queue[0]
            act = first.act
            may_enter = not first.missing and act.player_id not in behind
            if first.answered:
                queue.popleft()
            elif may_enter and self._closed_for(act):
                self._settle(queue.popleft(), market_closed())
            elif may_enter and (has_turn := room.is_turn_of(act)) and room.take(act):
                queue.popleft()
            elif now_s - first.asked_s > OVERDUE_S:
                keeps_up = self.available and not first.missing
                self._settle(queue.popleft(), busy() if keeps_up else unavailable())
            elif may_enter and has_turn:
                break  # no room, and nothing overtakes it
            else:
                behind.add(act.player_id)
                passed.append(queue.popleft())
        return passed

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
            with suppress(TimeoutError):
                async with asyncio.timeout(PULSE_S):
                    await self._work.wait()
            batch = self._next_batch()
            try:
                await self._look_up(batch)
                self._answered_s = self.now_s()
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
                await asyncio.sleep(LOOK_UP_EVERY_S)

    def _next_batch(self) -> list[Waiting]:
        """What is looked up next; those who wait no more are forgotten."""
        unknown, batch = self._unknown, list[Waiting]()
        while unknown and len(batch) < LOOK_UP_MAX:
            waiting = unknown.popleft()
            if not waiting.answered:
                batch.append(waiting)
        if not unknown:
            self._work.clear()
        return batch

    async def _look_up(self, batch: list[Waiting]) -> None:
        """Whether these were done before, and the names of whom they are about."""
        done = await self._store.find_answers([waiting.act.action_id for waiting in batch])
        others = {other for waiting in batch if (other := _other(waiting.act.request)) is not None}
        names = await self._store.player_names(list(others)) if others else {}
        for waiting in batch:
            before = done.get(waiting.act.action_id)
            if before is not None:
                self.repeated_total += 1
                self._settle(waiting, _first_answer(waiting.act, before))
                continue
            if (unseemly := self._unseemly(waiting.act.request)) is not None:
                self._settle(waiting, unseemly)
                continue
            other = _other(waiting.act.request)
            waiting.act.other_name = None if other is None else names.get(other)
            waiting.missing -= 1

    def _unseemly(self, request: AnyDurable) -> Refusal | None:
        """Why a name is not wanted."""
        if self._words is None or not isinstance(request, LandDescribe):
            return None
        try:
            self._words.check(request.name, request.description)
        except Refusal as refusal:
            return refusal
        return None


def content_of(request: msgspec.Struct) -> bytes:
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
    """The database is away, or slow."""
    return Refusal(
        RefusalCode.UNAVAILABLE,
        "The database does not keep up just now, so nothing was done; try again in a moment.",
        RETRY_AFTER_MS,
    )


def busy() -> Refusal:
    """The database keeps up, but too much waits already, or takes the tick's time."""
    return Refusal(
        RefusalCode.UNAVAILABLE,
        "The server has more to do than it can just now, so nothing was done; try again in a moment.",
        RETRY_AFTER_MS,
    )
