"""Questions about land and money, and where each is answered.

    memory      at once (world/queries.py), told when the journal is durable up to here: nothing is told before it is stored, not even
                in the reason of a refusal
    ground      what a claim would cost depends on how much of it is water; the ground's thread looks
    database    statements and receipts: one after the other, off the tick, from what is stored

The last two wait in one bounded queue.
"""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import structlog

from persistence.store import Store, StoreError
from protocol.errors import Refusal, RefusalCode
from protocol.messages import (
    POSTINGS_PAGE,
    LandQuote,
    Posting,
    ReceiptFound,
    ReceiptGet,
    Result,
    StatementFound,
    WalletStatement,
)
from server.actions import Actions, unavailable
from server.receipts import Notary, concerns
from world import land
from world.entries import read
from world.queries import QUERIES
from world.state import State

SEQ_MAX = 2**63 - 1

log = structlog.get_logger()

Answer = Callable[
    [Result | Refusal, int], None
]  # what is answered, and the place in the journal it must wait for


@dataclass(frozen=True, slots=True)
class Asked:
    """A question that must be waited for."""

    player_id: int
    request: Any
    answer: Answer


class Questions:
    """All methods are for the loop's thread."""

    def __init__(self, store: Store, actions: Actions, notary: Notary, state: State, queue_max: int) -> None:
        self._store = store
        self._actions = actions
        self._notary = notary
        self._state = state
        self._queue: asyncio.Queue[Asked] = asyncio.Queue(queue_max)
        self._task: asyncio.Task[None] | None = None

    def start(self) -> asyncio.Task[None]:
        """Begins to serve the queue; returns the work, to be supervised."""
        self._task = asyncio.create_task(self._serve(), name="questions")
        return self._task

    async def stop(self) -> None:
        """Ends; what waits is forgotten, as the connections are closed."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    def ask(self, player_id: int, request: Any, answer: Answer) -> None:
        """Answers, perhaps at once. Raises Refusal for what can be said at once."""
        query = QUERIES.get(type(request))
        if query is not None:
            if not self._actions.available:
                raise unavailable()  # it would wait until the database is back
            try:
                found: Result | Refusal = query(self._state, player_id, request)
            except Refusal as refusal:
                found = refusal
            answer(found, self._state.seq)
            return
        try:
            self._queue.put_nowait(Asked(player_id, request, answer))
        except asyncio.QueueFull:
            raise unavailable() from None

    async def _serve(self) -> None:
        while True:
            await self._answer(await self._queue.get())

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
        asked.answer(answer, self._state.seq if isinstance(asked.request, LandQuote) else 0)

    async def _quote(self, player_id: int, request: LandQuote) -> Result:
        return land.quote(self._state, player_id, request, await self._actions.dry_plots(request))

    async def _statement(self, player_id: int, request: WalletStatement) -> Result:
        before = SEQ_MAX if request.before is None else request.before
        rows = await self._store.statement(player_id, before, POSTINGS_PAGE + 1)
        postings = [
            Posting(row["seq"], self._state.time_ms(row["tick"]), row["kind"], row["amount"], row["balance"])
            for row in rows
        ]
        page = _whole_entries(postings)
        return StatementFound(page, len(page) < len(postings), await self._store.first_seq())

    async def _receipt(self, player_id: int, request: ReceiptGet) -> Result:
        found = await self._store.entry(request.seq)
        if found is None or not concerns(read(found[0].encode()), player_id):
            raise Refusal(
                RefusalCode.NOT_FOUND, "There is no such entry in the journal in which you have part."
            )
        return ReceiptFound(self._notary.receipt(*found))


def _whole_entries(postings: list[Posting]) -> list[Posting]:
    """A page that ends with the last posting of an entry, since the next begins below its seq."""
    if len(postings) <= POSTINGS_PAGE:
        return postings
    last = postings[POSTINGS_PAGE].seq
    return [posting for posting in postings[:POSTINGS_PAGE] if posting.seq != last]


_ANSWERS: dict[type, Callable[[Questions, int, Any], Any]] = {
    LandQuote: Questions._quote,
    WalletStatement: Questions._statement,
    ReceiptGet: Questions._receipt,
}
