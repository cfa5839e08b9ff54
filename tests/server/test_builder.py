"""Tile edits on their way to the database: what is told to whom when it works, is slow, fails, or nobody knows."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio

from persistence.store import (
    ActionMismatch,
    CommitUnknown,
    Fenced,
    StoreError,
    StoreRefused,
    StoreUnavailable,
    TileAction,
)
from protocol.edits import TILE_EDIT, pack
from protocol.errors import Refusal, RefusalCode
from protocol.messages import TileEdit
from server import builder
from server.builder import Builder
from world.commands import EditTiles, Inbox

EDITS = pack([(5, 0, 4), (-1, 0, 1)], TILE_EDIT)
FIRST = '{"tiles": 2}'
WAIT_S = 120.0  # a test that waits so long has failed


class Shelf:
    """A store that does what its script says: for each call an outcome, or an event to wait for before it."""

    def __init__(self) -> None:
        self.script: list[StoreError | str | asyncio.Event | None] = []
        self.calls: list[tuple[int, TileAction]] = []
        self.called = asyncio.Event()

    async def edit_tiles(self, epoch: int, action: TileAction) -> str | None:
        self.calls.append((epoch, action))
        self.called.set()
        step = self.script.pop(0) if self.script else None
        if isinstance(step, asyncio.Event):
            await step.wait()
            step = self.script.pop(0) if self.script else None
        if isinstance(step, StoreError):
            raise step
        assert not isinstance(step, asyncio.Event)
        return step


class Yard:
    """A builder, its shelf and its inbox; `edit` gives the future answer."""

    def __init__(self, queue_max: int = 4) -> None:
        self.shelf = Shelf()
        self.inbox = Inbox(1, 1)
        self.ids = itertools.count(1)
        store: Any = self.shelf
        self.builder = Builder(store, self.inbox, 3, lambda: 77, queue_max)
        self.builder.start()

    def edit(self, edits: bytes = EDITS, action_id: bytes = b"a" * 16) -> asyncio.Future[Any]:
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.builder.edit(1, 0, TileEdit(next(self.ids), action_id, edits), answer.set_result)
        return answer

    async def stored(self, count: int = 1) -> list[Any]:
        """The commands handed over, once so many were."""
        async with asyncio.timeout(WAIT_S):
            while len(self.inbox) < count:  # noqa: ASYNC110 (an inbox tells nobody; the builder's task runs in between)
                await asyncio.sleep(0)
        return self.inbox.drain()


@pytest_asyncio.fixture
async def yard(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Yard]:
    monkeypatch.setattr(builder, "RETRY_S", 0.0)
    yard = Yard()
    yield yard
    await yard.builder.stop()


def code_of(answer: object) -> RefusalCode:
    assert isinstance(answer, Refusal)
    return answer.code


async def test_what_is_stored_becomes_a_command_and_is_not_answered_here(yard: Yard) -> None:
    answer = yard.edit()
    assert await yard.stored() == [EditTiles(1, 1, EDITS)]
    assert not answer.done()
    ((epoch, action),) = yard.shelf.calls
    assert (epoch, action.player_id, action.tick) == (3, 1, 77)
    assert action.edits == [(0, 0, 5, 4), (-1, 0, 31, 1)]
    assert yard.builder.tiles_total == 2


async def test_a_full_inbox_does_not_lose_what_is_stored(yard: Yard) -> None:
    """Guard: put_always."""
    for number in range(3):
        yard.edit(action_id=bytes([number]) * 16)
    assert len(await yard.stored(3)) == 3


async def test_what_was_stored_before_is_answered_with_its_first_answer_and_not_done_again(
    yard: Yard,
) -> None:
    yard.shelf.script = [FIRST]
    assert await yard.edit() == {"tiles": 2}
    assert len(yard.inbox) == 0


async def test_contents_are_told_apart(yard: Yard) -> None:
    for edits in (EDITS, EDITS, EDITS[:9]):
        yard.edit(edits)
    await yard.stored(3)
    digests = [action.content_digest for _, action in yard.shelf.calls]
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.parametrize(
    ("error", "code", "retry"),
    [
        (StoreUnavailable("away"), RefusalCode.UNAVAILABLE, True),
        (Fenced("lost"), RefusalCode.UNAVAILABLE, True),
        (StoreRefused("no"), RefusalCode.UNAVAILABLE, False),
        (ActionMismatch("other"), RefusalCode.BAD_REQUEST, False),
    ],
)
async def test_what_is_not_stored_is_refused_and_the_next_is_served(
    yard: Yard, error: StoreError, code: RefusalCode, retry: bool
) -> None:
    yard.shelf.script = [error]
    answer = await yard.edit()
    assert code_of(answer) is code
    assert bool(answer.retry_after_ms) == retry
    assert len(yard.inbox) == 0
    yard.edit()
    assert len(await yard.stored()) == 1


@pytest.mark.parametrize(
    "rest",
    [
        [None],
        [FIRST],
        [CommitUnknown("again"), FIRST],
        [StoreUnavailable("away"), StoreUnavailable("away"), FIRST],
    ],
    ids=["it was not", "it was", "lost twice", "away for long"],
)
async def test_a_commit_of_unknown_outcome_is_sent_again_until_known_and_done_once(
    yard: Yard, rest: list[StoreError | str | asyncio.Event | None]
) -> None:
    """Guard: `unknown` in _store_until_known. Without it the second and third would never reach the world."""
    yard.shelf.script = [CommitUnknown("lost"), *rest]
    answer = yard.edit()
    assert await yard.stored() == [EditTiles(1, 1, EDITS)]
    assert not answer.done()
    assert len(yard.shelf.calls) == 1 + len(rest)
    assert len({action.action_id for _, action in yard.shelf.calls}) == 1


async def test_while_one_hangs_those_behind_and_those_who_come_are_refused(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guard: OVERDUE_S. Promise 8."""
    monkeypatch.setattr(builder, "OVERDUE_S", 0.01)
    hanging = asyncio.Event()
    yard.shelf.script = [hanging]
    first = yard.edit()
    await yard.shelf.called.wait()
    assert code_of(await yard.edit(action_id=b"b" * 16)) is RefusalCode.UNAVAILABLE
    with pytest.raises(Refusal) as refused:
        yard.edit(action_id=b"c" * 16)
    assert refused.value.code is RefusalCode.UNAVAILABLE
    assert refused.value.retry_after_ms
    assert len(yard.inbox) == 0, "done before it was stored"
    hanging.set()
    assert len(await yard.stored()) == 1
    assert not first.done()
    await asyncio.sleep(0)
    yard.edit(action_id=b"d" * 16)
    assert len(await yard.stored()) == 1


async def test_the_queue_is_bounded(yard: Yard) -> None:
    yard.shelf.script = [asyncio.Event()]
    yard.edit()
    await yard.shelf.called.wait()
    for number in range(4):
        yard.edit(action_id=bytes([number]) * 16)
    assert yard.builder.waiting == 4
    with pytest.raises(Refusal) as refused:
        yard.edit()
    assert refused.value.code is RefusalCode.UNAVAILABLE


async def test_what_makes_no_sense_never_reaches_the_database(yard: Yard) -> None:
    wrong: list[Callable[[], object]] = [
        lambda: yard.edit(EDITS[:-1]),
        lambda: yard.edit(pack([(0, 0, 200)], TILE_EDIT)),
        lambda: yard.edit(pack([(2**20, 0, 1)], TILE_EDIT)),
    ]
    for edit in wrong:
        with pytest.raises(Refusal) as refused:
            edit()
        assert refused.value.code is RefusalCode.BAD_REQUEST
    assert yard.shelf.calls == []
