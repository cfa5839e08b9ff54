"""Questions about land, money and players, and where each is answered.

    memory      at once (world/queries.py), told when the journal is durable up to here: nothing is told before it is stored, not even
                in the reason of a refusal
    ground      what a claim would cost depends on how much of it is water: survey.py looks. Then the rule of claims says, with a tick,
                whose time for it has a limit; players take turns
    database    statements, receipts, who is called what: one after the other, off the tick, from what is stored; what waits is bounded

None is asked while the database is away, and what is not told after OVERDUE_S is refused as UNAVAILABLE, whatever it waits for.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import structlog

from persistence.store import Store, StoreError
from protocol.errors import Refusal, RefusalCode
from protocol.messages import (
    POSTINGS_PAGE,
    LandQuote,
    PlayerFind,
    PlayerFound,
    Posting,
    ReceiptFound,
    ReceiptGet,
    Result,
    StatementFound,
    WalletStatement,
)
from server.actions import OVERDUE_S, Actions, busy, unavailable
from server.auth import check_name
from server.costs import Costs
from server.receipts import Notary, concerns, is_secret
from server.tasks import end
from server.turns import Turns
from server.withheld import Later
from world import land
from world.entries import read
from world.queries import QUERIES
from world.state import State

SEQ_MAX = 2**63 - 1
OPEN_MAX = 65_536  # questions of the last OVERDUE_S
QUOTES_PER_PLAYER_MAX = 128  # that wait for a tick; as many as can wait for the ground
QUOTES_US_MAX = 10_000  # of a tick, for all quotes (costs.py): three that walk; the last may take more

log = structlog.get_logger()

# What is answered, and the place in the journal it must wait for; given back is what waits there.
Answer = Callable[[Result | Refusal, int], Later | None]


@dataclass(slots=True, eq=False)
class Asked:
    """A question that is not told yet."""

    player_id: int
    request: Any
    answer: Answer
    asked_s: float
    later: Later | None = None  # the answer, once it waits for the journal only
    told: bool = False

    @property
    def over(self) -> bool:
        """Whether its player has heard an answer, or will with this tick."""
        return self.told or (self.later is not None and self.later.over)


class Questions:
    """All methods are for the loop's thread."""

    def __init__(self, store: Store, actions: Actions, notary: Notary, state: State, queue_max: int) -> None:
        self._store = store
        self._actions = actions
        self._notary = notary
        self._state = state
        self._open: deque[Asked] = deque()  # in the order they were asked; those behind the first may be over
        self._queue: asyncio.Queue[Asked] = asyncio.Queue(queue_max)  # for the database
        self._quotes: Turns[int, tuple[Asked, int]] = Turns(QUOTES_PER_PLAYER_MAX)  # with their dry plots
        self._task: asyncio.Task[None] | None = None

    def start(self) -> asyncio.Task[None]:
        """Begins to serve the queue; returns the work, to be supervised."""
        self._task = asyncio.create_task(self._serve(), name="questions")
        return self._task

    async def stop(self) -> None:
        """Ends; what waits is forgotten, as the connections are closed."""
        if self._task is not None:
            await end(self._task)

    def ask(self, player_id: int, request: Any, answer: Answer) -> None:
        """Answers, perhaps at once. Raises Refusal for what can be said at once."""
        if not self._actions.available:
            raise unavailable()  # it would wait until the database is back
        if len(self._open) >= OPEN_MAX:
            raise busy()
        asked = Asked(player_id, request, answer, self._actions.now_s())
        query = QUERIES.get(type(request))
        if query is not None:
            self._tell_later(asked, partial(query, self._state, player_id, request))
        elif not (self._survey(asked) if isinstance(request, LandQuote) else self._queue_up(asked)):
            raise busy()
        self._open.append(asked)

    def look(self) -> None:
        """With each tick: quotes, as many as it has time for; and who has waited too long is told so."""
        self._quote_some()
        overdue_s = self._actions.now_s() - OVERDUE_S
        while self._open and (self._open[0].over or self._open[0].asked_s < overdue_s):
            self._tell(self._open.popleft(), unavailable())

    def _tell(self, asked: Asked, answer: Result | Refusal) -> None:
        """Unless it is told already; whatever else was to be told of it is not."""
        if asked.over:
            return
        asked.told = True
        if asked.later is not None:
            asked.later.over = True
        asked.answer(answer, 0)

    def _tell_later(self, asked: Asked, find: Callable[[], Result]) -> None:
        """Once the journal is durable up to here."""
        try:
            found: Result | Refusal = find()
        except Refusal as refusal:
            found = refusal
        asked.later = asked.answer(found, self._state.seq)
        asked.told = asked.later is None  # at the very beginning there is nothing to wait for

    # --- quotes ---

    def _survey(self, asked: Asked) -> bool:
        def surveyed(dry_plots: int) -> None:
            if not self._quotes.put(asked.player_id, (asked, dry_plots)):
                self._tell(asked, busy())

        return self._actions.survey(asked.request, asked.player_id, surveyed, lambda: not asked.over)

    def _quote_some(self) -> None:
        costs, left_us = Costs(self._state), QUOTES_US_MAX
        while self._quotes and left_us > 0:
            player_id, (asked, dry_plots) = self._quotes.take()
            if not asked.over:
                left_us -= costs.of(asked.request, player_id)
                self._tell_later(asked, partial(land.quote, self._state, player_id, asked.request, dry_plots))

    # --- the database ---

    def _queue_up(self, asked: Asked) -> bool:
        if self._queue.full():
            return False
        self._queue.put_nowait(asked)
        return True

    async def _serve(self) -> None:
        while True:
            asked = await self._queue.get()
            if not asked.over:
                await self._answer(asked)

    async def _answer(self, asked: Asked) -> None:
        try:
            answer: Result | Refusal = await _ANSWERS[type(asked.request)](
                self, asked.player_id, asked.request
            )
        except Refusal as refusal:
            answer = refusal
        except StoreError as error:
            log.warning("question_not_answered", error=str(error))
            answer = unavailable()
        self._tell(asked, answer)

    async def _statement(self, player_id: int, request: WalletStatement) -> Result:
        before = SEQ_MAX if request.before is None else request.before
        rows = await self._store.statement(player_id, before, POSTINGS_PAGE + 1)
        postings = [
            Posting(row["seq"], self._state.time_ms(row["tick"]), row["kind"], row["amount"], row["balance"])
            for row in rows
        ]
        page = _whole_entries(postings)
        return StatementFound(page, len(page) < len(postings), await self._store.first_seq())

    async def _player(self, _: int, request: PlayerFind) -> Result:
        try:
            check_name(request.name)  # PostgreSQL could not even hold some that nobody has
        except ValueError as error:
            raise Refusal(RefusalCode.NOT_FOUND, f"Nobody is called so: {error}.") from None
        row = await self._store.find_player(request.name)
        if row is None:
            raise Refusal(RefusalCode.NOT_FOUND, f"Nobody is called {request.name}.")
        here = row.player_id in self._state.players.slot_of and row.player_id not in self._state.detached
        return PlayerFound(row.player_id, row.name, here)

    async def _receipt(self, player_id: int, request: ReceiptGet) -> Result:
        found = await self._store.entry(request.seq)
        if found is None or not concerns(entry := read(found[0].encode()), player_id):
            raise Refusal(
                RefusalCode.NOT_FOUND, "There is no such entry in the journal in which you have part."
            )
        if is_secret(entry, player_id):
            text = "It tells what others would pay at most; of an auction only who has the land in the end has a receipt."
            raise Refusal(RefusalCode.NOT_ALLOWED, text)
        return ReceiptFound(self._notary.receipt(*found))


def _whole_entries(postings: list[Posting]) -> list[Posting]:
    """A page that ends with the last posting of an entry, since the next begins below its seq."""
    if len(postings) <= POSTINGS_PAGE:
        return postings
    last = postings[POSTINGS_PAGE].seq
    return [posting for posting in postings[:POSTINGS_PAGE] if posting.seq != last]


_ANSWERS: dict[type, Callable[[Questions, int, Any], Any]] = {
    WalletStatement: Questions._statement,
    ReceiptGet: Questions._receipt,
    PlayerFind: Questions._player,
}
