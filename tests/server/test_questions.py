"""Questions: none is asked of a database that is away, and none waits for one that does not answer."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from persistence.journal import JOURNAL_AGE_S
from persistence.store import PlayerRow
from protocol.errors import Refusal, RefusalCode
from protocol.messages import (
    LandClaim,
    LandMine,
    LandQuote,
    PlayerFind,
    PlayerFound,
    Quoted,
    ReceiptGet,
    StatementFound,
    Wallet,
    WalletFound,
    WalletStatement,
)
from server.actions import OVERDUE_S
from server.withheld import Later
from tests.server.support import House, Stored, until
from tests.world.support import ADA, BEA, act, ids
from world.parcels import Parcel

AWAY = RefusalCode.UNAVAILABLE


class Hanging(Stored):
    """A database that answers when it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.open = asyncio.Event()
        self.asked = 0

    async def statement(self, account: int, before: int, limit: int) -> list[dict[str, Any]]:
        self.asked += 1
        await self.open.wait()
        return await super().statement(account, before, limit)

    async def find_player(self, name: str) -> PlayerRow | None:
        self.asked += 1
        await self.open.wait()
        return PlayerRow(ADA, "name:ada", "Ada", "user", 0, 0.0, 0.0, 0, 0) if name == "Ada" else None

    async def first_seq(self) -> int:
        return 1


class Counter:
    """Where questions are asked: a house without clients, whose ticks are driven by hand."""

    def __init__(self, **settings: Any) -> None:
        self.house = House(**settings)
        self.questions = self.house.questions
        self.stored = Hanging()
        self.questions._store = self.stored  # type: ignore[assignment]
        self.told: list[tuple[int, Any]] = []  # request_id, what is answered without waiting for the journal
        self.later: dict[int, tuple[Later, Any]] = {}

    def ask(self, *requests: Any, by: int = ADA) -> None:
        for request in requests:
            self.questions.ask(by, request, self._answer(request.request_id))

    def _answer(self, number: int) -> Any:
        def answer(found: Any, seq: int) -> Later | None:
            if not seq:
                self.told.append((number, found.code if isinstance(found, Refusal) else found))
                return None
            later = self.house.hub.withheld.later(seq, ADA, 0, b"")
            self.later[number] = later, found
            return later

        return answer

    def look(self, after_s: float = 0.0) -> None:
        """A tick, so much later."""
        self.house.now_s += after_s
        self.questions.look()

    def unstored_entry(self) -> None:
        """Something is done that the disk does not have."""
        self.house.stalled = True
        self.house.acts = [act(ADA, LandClaim(*ids(), 0, 0, 16, 16))]
        self.house.tick()
        assert self.house.journal.durable_seq < self.house.world.seq


@pytest.mark.parametrize(
    "request_",
    [
        Wallet(1),
        LandMine(1),
        LandQuote(1, 0, 0, 16, 16),
        WalletStatement(1),
        ReceiptGet(1, 1),
        PlayerFind(1, "Ada"),
    ],
    ids=lambda one: type(one).__name__,
)
async def test_nothing_is_asked_while_the_database_is_away(request_: Any) -> None:
    """Guard: Actions.available in Questions.ask, for every kind."""
    counter = Counter()
    counter.unstored_entry()
    counter.house.now_s += JOURNAL_AGE_S + 0.01
    with pytest.raises(Refusal) as refused:
        counter.ask(request_)
    assert refused.value.code is AWAY


async def test_who_waits_too_long_for_the_database_is_told_so_and_those_behind_too() -> None:
    """Guard: OVERDUE_S in Questions.look. The statement that hangs is told nothing more when it comes after all."""
    counter = Counter()
    task = counter.questions.start()
    counter.ask(WalletStatement(1), WalletStatement(2))
    await until(lambda: counter.stored.asked == 1)
    counter.look(OVERDUE_S)
    counter.ask(WalletStatement(3))
    assert counter.told == []
    counter.look(0.01)
    assert counter.told == [(1, AWAY), (2, AWAY)]
    counter.stored.open.set()
    await until(lambda: len(counter.told) == 3)
    assert isinstance(counter.told[2][1], StatementFound)
    assert counter.stored.asked == 2, "nobody asks for who gave up"
    counter.look(OVERDUE_S + 0.01)
    assert len(counter.told) == 3
    assert not task.done()
    await counter.questions.stop()


async def test_who_is_looked_for_in_a_database_that_hangs_is_refused_in_time() -> None:
    """Guard: player_find is a question like any other, with its OVERDUE_S."""
    counter = Counter()
    counter.questions.start()
    counter.ask(PlayerFind(1, "Ada"), PlayerFind(2, "Nobody"))
    await until(lambda: counter.stored.asked == 1)
    counter.look(OVERDUE_S + 0.01)
    assert counter.told == [(1, AWAY), (2, AWAY)]
    counter.stored.open.set()
    counter.ask(PlayerFind(3, "Ada"), PlayerFind(4, "Nobody"), PlayerFind(5, "a\0b"))
    await until(lambda: len(counter.told) == 5)
    assert counter.told[2:] == [
        (3, PlayerFound(ADA, "Ada", online=False)),
        (4, RefusalCode.NOT_FOUND),
        (5, RefusalCode.NOT_FOUND),
    ]
    await counter.questions.stop()


async def test_an_answer_that_the_journal_withholds_too_long_is_taken_back() -> None:
    """Guard: Asked.later in Questions._tell. The database went away after it was asked."""
    counter = Counter()
    counter.unstored_entry()
    counter.ask(Wallet(1))
    later, found = counter.later[1]
    assert isinstance(found, WalletFound)
    counter.look(OVERDUE_S + 0.01)
    assert counter.told == [(1, AWAY)]
    assert later.over
    counter.look(OVERDUE_S)
    assert len(counter.told) == 1


async def test_a_quote_needs_no_database() -> None:
    """Guard: quotes have turns of their own."""
    counter = Counter()
    counter.questions.start()
    counter.ask(WalletStatement(1))
    await until(lambda: counter.stored.asked == 1)
    counter.ask(LandQuote(2, 0, 0, 32, 16))
    counter.look()
    assert counter.told == [(2, Quoted(2, 192))]
    await counter.questions.stop()


def pocket(counter: Counter) -> None:
    """Land of somebody around 9 x 9 plots, open at (0, 5) only."""
    for number, rectangle in enumerate(
        ((0, 0, 11, 1), (10, 1, 1, 10), (0, 10, 10, 1), (0, 1, 1, 4), (0, 6, 1, 4))
    ):
        counter.house.world.parcels.put(Parcel(number + 1, BEA, "Bea", *rectangle))


async def test_quotes_take_so_much_of_a_tick_and_players_take_turns() -> None:
    """Guards: QUOTES_US_MAX; Turns. Each would have to walk open land."""
    counter = Counter()
    pocket(counter)
    closing = [LandQuote(number, 0, 80, 16, 16) for number in range(1, 9)]
    counter.ask(*closing)
    counter.ask(LandQuote(9, 0, 80, 16, 16), by=BEA)
    told: Sequence[int] = []
    for expected in ([1, 9, 2, 3], [1, 9, 2, 3, 4, 5, 6, 7], [1, 9, 2, 3, 4, 5, 6, 7, 8]):
        counter.look()
        told = [number for number, _ in counter.told]
        assert told == expected
