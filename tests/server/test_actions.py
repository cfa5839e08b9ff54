"""Durable requests on their way into the tick: in order, once, bounded, and only as far as the journal has room."""

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
import structlog

from persistence.journal import JOURNAL_AGE_S, JOURNAL_BYTES_MAX, JOURNAL_ENTRIES_MAX, Journal
from persistence.store import StoredAnswer, StoreUnavailable
from protocol.edits import TILE_EDIT, pack
from protocol.errors import Refusal, RefusalCode
from protocol.messages import (
    LandAbandon,
    LandClaim,
    LandClaimResult,
    LandDescribe,
    LandLet,
    LandPermit,
    LandRent,
    LandTransfer,
    MarketAuction,
    MarketBid,
    MarketBuy,
    MarketEdit,
    MarketList,
    Ok,
    Role,
    Standing,
    TileEdit,
    TileUndo,
)
from server import actions
from server.actions import (
    LATE_S,
    LOOK_UP_MAX,
    OVERDUE_S,
    SETTLE_MAX,
    SHARE_MAX,
    SHARE_MIN,
    SLOWNESS_MAX,
    TICK_US_MAX,
    TICK_US_MIN,
    Actions,
    Room,
    content_of,
)
from server.costs import FLAT_US, PLAIN_US
from server.survey import Survey
from tests.server.support import LAND, Stored, Thread, until
from tests.world.support import ADA, BEA, CAL, PEOPLE, ids
from world.commands import Act, AnyDurable, Reopen, Settle
from world.entries import Entry
from world.settlement import Due
from world.sizes import WORST_BYTES, WORST_BYTES_OTHERWISE
from world.state import ANSWERS_KEPT_S, Rules, State
from world.terrain import Ground
from world.tick import Acted, act, step

QUEUE_MAX = 8
TICK_S = 0.05
WORLD_EDGE = 2**20


class Slow(Stored):
    """Answers when it is let, unless it fails; counts the questions."""

    def __init__(self) -> None:
        super().__init__()
        self.open = asyncio.Event()
        self.open.set()
        self.fails = False
        self.asked: list[int] = []  # how many action_ids in each statement

    async def find_answers(self, action_ids: Sequence[bytes]) -> dict[bytes, StoredAnswer]:
        self.asked.append(len(action_ids))
        await self.open.wait()
        if self.fails:
            raise StoreUnavailable("gone fishing")
        return await super().find_answers(action_ids)


class Meadow:
    """A terrain without water."""

    def generate(self, _: int, __: int) -> Any:
        return SimpleNamespace(ground=np.full((32, 32), Ground.GRASS, np.uint8))


class Desk:
    """Actions between those who ask, a world and a store. The clock stands until it is moved."""

    def __init__(self) -> None:
        self.state = State(Rules(20, 4.0, 1, 4, 24.0, 300, 10, 5, LAND))
        self.stored, self.journal = Slow(), Journal(0)
        stored: Any = self.stored
        terrain: Any = Meadow()
        self.thread = Thread()
        survey = Survey(terrain, self.thread)
        self.actions = Actions(stored, self.journal, survey, self.state, QUEUE_MAX)
        self.now_s, self.left_s = 0.0, TICK_S
        self.actions.now_s = lambda: self.now_s  # type: ignore[method-assign]
        self.told: list[tuple[int, Ok | Refusal]] = []  # request_id, what was answered before the tick

    def ask(self, *requests: AnyDurable, by: int = ADA) -> None:
        for request in requests:
            number = request.request_id

            def answer(answer: Ok | Refusal, number: int = number) -> None:
                self.told.append((number, answer))

            self.actions.ask(by, PEOPLE.get(by, "somebody"), Role.USER, 0, request, answer)

    async def looked_up(self) -> None:
        """Until all is known that rules need of those who wait."""
        await until(lambda: all(not one.missing or one.answered for one in self.actions._queue))

    def admitted(self) -> list[Act]:
        """What players asked for that enters."""
        return [act for act in self.actions.admit(self.left_s) if isinstance(act, Act)]

    def tick(self) -> Acted:
        """A tick, at whose end what may is done; nothing is stored yet."""
        step(self.state, [], self.state.tick + 1)
        acted = act(self.state, self.actions.admit(self.left_s))
        self.journal.put(acted.entries, self.now_s)
        return acted

    def flush(self) -> None:
        self.stored.take(self.journal.next_batch(len(self.journal)))
        self.journal.settle(self.state.seq)

    def refused(self) -> list[tuple[int, RefusalCode]]:
        return [(number, answer.code) for number, answer in self.told if isinstance(answer, Refusal)]

    def fill(self, entries: int, size: int = 0) -> None:
        """So many entries wait to be stored, of so many bytes together."""
        sizes = [size, *[0] * (entries - 1)]
        self.journal.put(
            (Entry(0, "", 0, None, b"", [], Ok(0, 0, None), bytes(one), b"") for one in sizes),  # type: ignore[arg-type]
            self.now_s,
        )


@pytest_asyncio.fixture
async def desk(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(actions, "LOOK_UP_EVERY_S", 0.0)
    desk = Desk()
    desk.actions.start()
    yield desk
    await desk.actions.stop()


def claim(x: int, y: int = 0, plots: int = 1) -> LandClaim:
    return LandClaim(*ids(), 16 * x, 16 * y, 16 * plots, 16)


def again(request: LandClaim, x: int | None = None) -> LandClaim:
    """The same action, asked anew, perhaps for another place."""
    return LandClaim(
        ids()[0],
        request.action_id,
        request.x if x is None else 16 * x,
        request.y,
        request.width,
        request.height,
    )


async def test_what_is_due_waits_until_the_database_answers_and_then_people_come_first(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guards: `_was_closed` in Actions.admit, _answered_s in _reopens, PULSE_S in _serve: nobody asks for anything."""
    monkeypatch.setattr(actions, "PULSE_S", 0.0)
    monkeypatch.setattr(actions, "first_due", lambda _: Due.SALE)
    desk.actions._work.set()  # it waits for half a second of before
    settle = Settle(SETTLE_MAX[Due.SALE][0])
    assert desk.actions.admit(TICK_S) == [settle]
    desk.stored.open.clear()
    asked = len(desk.stored.asked)
    await until(lambda: len(desk.stored.asked) > asked)
    desk.now_s += OVERDUE_S + 0.1
    assert desk.actions.admit(TICK_S) == []
    desk.stored.open.set()
    await until(lambda: desk.actions._answered_s == desk.now_s)
    assert [desk.actions.admit(TICK_S) for _ in range(2)] == [[Reopen()], [settle]]


async def test_requests_of_a_player_enter_in_the_order_they_came(desk: Desk) -> None:
    """Guard: `behind` in Actions._fill."""
    desk.thread.hold = True
    requests: list[AnyDurable] = [
        TileUndo(*ids()),
        claim(0),
        LandDescribe(*ids(), 1, "a", "b"),
        TileUndo(*ids()),
    ]
    desk.ask(*requests)
    await until(lambda: not requests_unknown(desk))
    assert [act.request for act in desk.admitted()] == requests[:1]
    assert desk.admitted() == []
    desk.thread.work()
    await desk.looked_up()
    assert [act.request for act in desk.admitted()] == requests[1:]
    assert desk.actions.admitted_total == 4


async def test_the_database_is_asked_so_often_at_most_and_at_once_where_nobody_asked_before(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guard: LOOK_UP_EVERY_S in Actions._serve; here that is an hour."""
    monkeypatch.setattr(actions, "LOOK_UP_EVERY_S", 3_600.0)
    desk.ask(LandDescribe(*ids(), 1, "a", ""))
    await desk.looked_up()
    desk.ask(LandDescribe(*ids(), 1, "b", ""))
    with pytest.raises(AssertionError, match="they do nothing more"):
        await desk.looked_up()
    assert requests_unknown(desk) == 1


def requests_unknown(desk: Desk) -> int:
    """How many wait for the database."""
    return sum(one.missing - (type(one.act.request) is LandClaim) > 0 for one in desk.actions._queue)


async def test_nobody_waits_for_the_ground_under_the_claim_of_another(desk: Desk) -> None:
    """Guard: Actions._fill passes over what is not known yet."""
    desk.thread.hold = True
    slow, building = claim(0), TileUndo(*ids())
    desk.ask(slow)
    desk.ask(building, by=BEA)
    await until(lambda: not requests_unknown(desk))
    assert [act.request for act in desk.admitted()] == [building]
    desk.now_s = OVERDUE_S + 0.01
    assert desk.admitted() == []
    assert desk.refused() == [(slow.request_id, RefusalCode.UNAVAILABLE)]


# --- time ---


async def test_what_enters_a_tick_fits_into_its_time(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guard: TICK_US_MAX in Room.take."""
    monkeypatch.setitem(FLAT_US, TileUndo, 20_000)
    dear: list[AnyDurable] = [TileUndo(*ids()) for _ in range(4)]
    for player_id, undo in zip((ADA, BEA, CAL, ADA), dear, strict=True):
        desk.ask(undo, by=player_id)
    await desk.looked_up()
    assert [[act.request for act in desk.admitted()] for _ in dear] == [[one] for one in dear]


async def test_there_is_room_for_six_hundred_plain_actions(desk: Desk) -> None:
    desk.actions._queue_max = 2_000
    for player_id in range(1_000, 2_000):
        desk.ask(TileEdit(*ids(), pack([(0, 0, 1)], TILE_EDIT)), by=player_id)
    await desk.looked_up()
    assert 600 <= len(desk.admitted()) <= 650


async def entering(desk: Desk, left_s: float, us_each: int = PLAIN_US, times: int = 1) -> int:
    """How many of a thousand enter between two ticks, at the last of so many, when each takes so long."""
    desk.actions._queue_max = 4_000
    entered = 0
    for _ in range(times):
        for player_id in range(1_000, 2_500):
            desk.ask(TileEdit(*ids(), pack([(0, 0, 1)], TILE_EDIT)), by=player_id)
        await desk.looked_up()
        desk.left_s = left_s
        entered = len(desk.admitted())
        desk.actions.took(entered * us_each / 1_000_000)
        desk.actions._queue.clear()
    return entered


async def test_a_share_of_the_time_until_the_next_tick_is_for_actions_as_long_as_they_take_here(
    desk: Desk,
) -> None:
    """Guards: the share, TICK_US_MIN, TICK_US_MAX and slowness in Actions.admit, SLOWNESS_MAX in slowness."""
    assert await entering(desk, 0.05) == 25_000 // PLAIN_US
    assert await entering(desk, 0.04) == 20_000 // PLAIN_US
    assert await entering(desk, 1.0) == TICK_US_MAX // PLAIN_US
    assert await entering(desk, 0.0) == TICK_US_MIN // PLAIN_US
    assert await entering(desk, 0.05, us_each=10) == 25_000 // PLAIN_US
    assert 300 < await entering(desk, 0.05, us_each=2 * PLAIN_US, times=80) < 340
    assert (
        await entering(desk, 0.05, us_each=20 * PLAIN_US, times=80) < 1.1 * 25_000 / PLAIN_US / SLOWNESS_MAX
    )
    assert await entering(desk, 0.05, times=120) > 600


async def test_they_get_more_of_it_while_ticks_come_in_time_and_less_when_one_is_late(desk: Desk) -> None:
    """Guards: LATE_S, SHARE_MIN, SHARE_MAX and `lacked_time` in Actions.ticked."""

    async def after(late_s: float, ticks: int) -> float:
        for _ in range(ticks):
            desk.actions.ticked(late_s)
        return PLAIN_US * await entering(desk, 0.01) / 10_000  # the share

    for _ in range(100):
        desk.actions.ticked(0.0)  # nobody wanted more
    assert await after(0.0, 1) == SHARE_MIN
    assert SHARE_MIN < await after(0.0, 10) < SHARE_MAX
    assert await after(LATE_S, 1_000) == SHARE_MAX
    assert SHARE_MIN < await after(2 * LATE_S, 1) < SHARE_MAX
    assert await after(2 * LATE_S, 100) == SHARE_MIN


async def test_who_asks_for_much_holds_up_nobody_else(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guard: PLAYER_US_MAX in Room.is_turn_of. The others go before what is left of it."""
    monkeypatch.setitem(FLAT_US, TileUndo, 20_000)
    dear: list[AnyDurable] = [TileUndo(*ids()) for _ in range(3)]
    others: list[AnyDurable] = [LandDescribe(*ids(), 1, "a", "b") for _ in range(3)]
    desk.ask(*dear)
    desk.ask(*others, by=BEA)
    await desk.looked_up()
    assert [act.request for act in desk.admitted()] == [dear[0], *others]
    assert [act.request for act in desk.admitted()] == [dear[1]]


# --- queues ---


async def test_what_waits_is_looked_up_in_few_statements(desk: Desk) -> None:
    desk.actions._queue_max = 2 * LOOK_UP_MAX
    desk.ask(*(TileUndo(*ids()) for _ in range(LOOK_UP_MAX + 1)))
    await desk.looked_up()
    assert desk.stored.asked == [LOOK_UP_MAX, 1]


async def test_the_queue_is_bounded_and_says_when_to_come_back(desk: Desk) -> None:
    """Guard: queue_max in Actions.ask."""
    desk.ask(*(claim(number) for number in range(QUEUE_MAX)))
    with pytest.raises(Refusal) as refused:
        desk.ask(claim(99))
    assert refused.value.code is RefusalCode.UNAVAILABLE
    assert refused.value.retry_after_ms
    assert desk.actions.waiting == QUEUE_MAX
    await desk.looked_up()
    desk.tick()
    desk.ask(claim(99))


async def test_what_waits_too_long_is_refused_and_never_done(desk: Desk) -> None:
    """Guards: OVERDUE_S in Actions.admit; nobody hangs on a database that is away."""
    desk.stored.open.clear()
    request = claim(0)
    desk.ask(request)
    desk.now_s = OVERDUE_S
    desk.tick()
    assert desk.told == []
    desk.now_s += 0.01
    desk.tick()
    assert desk.refused() == [(request.request_id, RefusalCode.UNAVAILABLE)]
    desk.stored.open.set()
    for _ in range(9):
        await asyncio.sleep(0)
    desk.tick()
    assert desk.state.seq == 0
    assert len(desk.told) == 1


async def test_who_waits_too_long_is_told_for_what(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guard: busy in Actions._fill and in `ask`. People would look for a fault in a database that keeps up."""
    monkeypatch.setitem(FLAT_US, TileUndo, 20_000)
    desk.ask(TileUndo(*ids()), TileUndo(*ids()))
    await desk.looked_up()
    desk.tick()  # has time for the first
    desk.stored.open.clear()
    desk.ask(*(TileUndo(*ids()) for _ in range(QUEUE_MAX - 1)), by=BEA)
    with pytest.raises(Refusal, match="more to do than it can"):
        desk.ask(TileUndo(*ids()))
    desk.now_s = OVERDUE_S + 0.01
    desk.actions._fill(Room(desk.state, 0, 0, 0), desk.now_s)  # one for which there is no time left
    told = [answer.message for _, answer in desk.told if isinstance(answer, Refusal)]
    assert "more to do than it can" in told[0]
    assert all("database" in text for text in told[1:])
    assert len(told) == QUEUE_MAX


async def test_what_hangs_in_a_look_up_is_forgotten_as_it_is_refused(desk: Desk) -> None:
    """Guard: Actions.admit forgets who was refused: the queue would take as many anew, again and again."""
    desk.stored.open.clear()
    desk.ask(claim(0))
    await until(lambda: len(desk.stored.asked) == 1)
    for turn in range(1, 4):
        desk.ask(*(claim(number) for number in range(QUEUE_MAX - desk.actions.waiting)))
        assert len(desk.actions._unknown) <= QUEUE_MAX
        desk.now_s = turn * 2 * OVERDUE_S
        desk.tick()
        assert desk.actions.waiting == len(desk.actions._unknown) == 0


async def test_who_is_asked_after_a_thousand_that_gave_up_is_looked_up(desk: Desk) -> None:
    """Guard: Actions._next_batch rests only when nobody is unknown."""
    desk.actions._queue_max = 3 * LOOK_UP_MAX
    desk.stored.open.clear()
    desk.ask(claim(0))
    await until(lambda: len(desk.stored.asked) == 1)
    desk.ask(*(TileUndo(*ids()) for _ in range(LOOK_UP_MAX)))
    for waiting in desk.actions._unknown:
        waiting.answered = True
    last = claim(1)
    desk.ask(last)
    desk.stored.open.set()
    await desk.looked_up()
    assert last in [act.request for act in desk.admitted()]


async def test_a_database_that_fails_refuses_who_waits_and_serves_who_comes_later(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guard: StoreError in Actions._serve; the task lives on."""
    monkeypatch.setattr("server.actions.RETRY_S", 0.0)
    desk.stored.fails = True
    first, second = claim(0), claim(1)
    desk.ask(first)
    await desk.looked_up()
    assert desk.refused() == [(first.request_id, RefusalCode.UNAVAILABLE)]
    desk.stored.fails = False
    desk.ask(second)
    await desk.looked_up()
    assert [reply.request_id for reply in desk.tick().replies] == [second.request_id]


# --- once --------------------------------------------------------------------------------------------------------------------------


async def test_what_is_asked_twice_at_once_is_done_once(desk: Desk) -> None:
    """Guard: State.answers in world.tick._act."""
    request = claim(0)
    desk.ask(request, again(request))
    await desk.looked_up()
    events = desk.tick()
    assert [(reply.seq, reply.result) for reply in events.replies] == [(1, LandClaimResult(1, 100))] * 2
    assert len(events.entries) == 1


@pytest.mark.parametrize("stored", [False, True], ids=["in memory", "stored"])
async def test_what_was_done_before_gets_its_first_answer(desk: Desk, stored: bool) -> None:
    """Guards: State.answers in world.tick._act, and the look into the database."""
    request = claim(0)
    desk.ask(request)
    await desk.looked_up()
    desk.tick()
    if stored:
        desk.flush()
    later = again(request)
    desk.ask(later)
    await desk.looked_up()
    events = desk.tick()
    if stored:
        assert desk.told == [(later.request_id, Ok(later.request_id, 1, {"parcel_id": 1, "price": 100}))]
        assert (events.replies, desk.actions.repeated_total) == ([], 1)
    else:
        (reply,) = events.replies
        assert (reply.request_id, reply.seq) == (later.request_id, 1)
    assert desk.state.seq == 1


@pytest.mark.parametrize("stored", [False, True], ids=["in memory", "stored"])
@pytest.mark.parametrize(("by", "x"), [(ADA, 5), (BEA, None)], ids=["another content", "another player"])
async def test_an_action_id_of_something_else_is_refused(
    desk: Desk, stored: bool, by: int, x: int | None
) -> None:
    """Guards: content and player_id in world.tick._act and in server.actions._first_answer."""
    request = claim(0)
    desk.ask(request)
    await desk.looked_up()
    desk.tick()
    if stored:
        desk.flush()
    desk.ask(again(request, x), by=by)
    await desk.looked_up()
    codes = [reply.result.code for reply in desk.tick().replies if isinstance(reply.result, Refusal)]
    codes += [code for _, code in desk.refused()]
    assert codes == [RefusalCode.BAD_REQUEST]
    assert desk.state.seq == 1


async def test_what_leaves_memory_while_it_is_asked_again_is_not_done_twice(desk: Desk) -> None:
    """Guard: Actions.ask looks everything up; that memory knew an answer when it was asked says nothing of the tick."""
    request = claim(0)
    desk.ask(request)
    await desk.looked_up()
    desk.tick()
    desk.flush()
    desk.state.tick += ANSWERS_KEPT_S * 20
    other = claim(3)
    desk.ask(other, again(request, None))
    assert request.action_id in desk.state.answers
    await desk.looked_up()
    assert [reply.request_id for reply in desk.tick().replies] == [other.request_id]
    assert request.action_id not in desk.state.answers
    assert [answer.seq for _, answer in desk.told if isinstance(answer, Ok)] == [1]


def test_the_content_is_all_that_is_asked_but_the_ids() -> None:
    one, other = claim(0), claim(0)
    assert content_of(one) == content_of(other)
    assert content_of(one) != content_of(claim(1))
    assert content_of(LandAbandon(*ids(), 1)) != content_of(LandTransfer(*ids(), 1, 1))
    assert content_of(TileUndo(*ids())) == content_of(TileUndo(*ids()))


# --- what rules need -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_", "other_name", "dry_plots"),
    [
        (claim(0, plots=3), None, 3),
        (claim(0, plots=65), None, 0),
        (LandClaim(*ids(), WORLD_EDGE - 16, 0, 32, 16), None, 0),
        (LandClaim(*ids(), 0, 0, 8, 8), None, 0),
        (LandTransfer(*ids(), 1, CAL), "p3", 0),
        (LandPermit(*ids(), 1, BEA, Standing.BUILDER), "p2", 0),
        (LandDescribe(*ids(), 1, "a", "b"), None, 0),
    ],
)
async def test_what_a_rule_cannot_know_is_looked_up_before(
    desk: Desk, request_: AnyDurable, other_name: str | None, dry_plots: int
) -> None:
    desk.ask(request_)
    await desk.looked_up()
    (act,) = desk.admitted()
    assert (act.other_name, act.dry_plots, act.name) == (other_name, dry_plots, "Ada")


# --- room --------------------------------------------------------------------------------------------------------------------------


async def test_no_more_enter_than_the_journal_has_entries_for(desk: Desk) -> None:
    """Guard: JOURNAL_ENTRIES_MAX in Journal.room, counted down in Actions.admit."""
    desk.fill(JOURNAL_ENTRIES_MAX - 2)
    desk.ask(*(claim(number) for number in range(4)))
    await desk.looked_up()
    assert len(desk.tick().entries) == 2
    assert desk.tick().entries == []
    desk.journal.settle(desk.state.seq)
    assert len(desk.tick().entries) == 2


async def test_nothing_enters_whose_worst_case_does_not_fit_and_nothing_overtakes_it(desk: Desk) -> None:
    """Guard: the worst case in Actions.admit."""
    room = WORST_BYTES[LandClaim] + WORST_BYTES[LandAbandon] - 1
    desk.fill(1, JOURNAL_BYTES_MAX - room)
    requests: list[AnyDurable] = [claim(0), LandAbandon(*ids(), 9), claim(1)]
    desk.ask(*requests)
    await desk.looked_up()
    assert [act.request for act in desk.admitted()] == requests[:1]
    assert desk.actions.waiting == 2
    desk.journal.settle(0)
    assert [act.request for act in desk.admitted()] == requests[1:]


async def test_while_the_disk_is_too_far_behind_nothing_comes_in_and_what_waits_is_refused(
    desk: Desk,
) -> None:
    """Guards: Actions.available in `ask`; JOURNAL_AGE_S in Journal.room."""
    desk.fill(1)
    waiting = claim(0)
    desk.now_s = JOURNAL_AGE_S
    desk.ask(waiting)
    await desk.looked_up()
    desk.now_s += 0.01
    with pytest.raises(Refusal) as refused:
        desk.ask(claim(1))
    assert refused.value.code is RefusalCode.UNAVAILABLE
    assert desk.tick().entries == []
    desk.now_s += OVERDUE_S
    desk.tick()
    assert desk.refused() == [(waiting.request_id, RefusalCode.UNAVAILABLE)]
    desk.journal.settle(0)
    desk.ask(claim(1))
    await desk.looked_up()
    assert len(desk.tick().entries) == 1


def test_what_takes_most_fits_into_an_empty_journal() -> None:
    assert max(*WORST_BYTES.values(), WORST_BYTES_OTHERWISE) <= JOURNAL_BYTES_MAX


# --- a market that is closed ---


async def test_while_the_books_do_not_balance_money_stands_still_and_all_else_goes_on(desk: Desk) -> None:
    """Guard: Actions._closed_for, with whatever moves money in MARKET; that what is due by itself waits, in Actions.admit."""
    owned = claim(0)
    desk.ask(owned)
    await desk.looked_up()
    desk.tick()
    desk.actions.books.closed = "a test"
    market: list[AnyDurable] = [
        claim(9),
        MarketList(*ids(), 1, 100),
        MarketEdit(*ids(), 2, 100),
        MarketBuy(*ids(), 2, 100),
        MarketAuction(*ids(), 1, 100, 60_000),
        MarketBid(*ids(), 2, 100),
        LandLet(*ids(), 1, 5, 86_400_000),
        LandRent(*ids(), 1, 5),
    ]
    named = LandDescribe(*ids(), 1, "Here", "")
    desk.actions._queue_max = len(market) + 1
    desk.ask(*market, named)
    await desk.looked_up()
    desk.state.parcels.lease_dues.put(1, 0)
    admitted = desk.actions.admit(TICK_S)
    assert [act.request for act in admitted if isinstance(act, Act)] == [named]
    assert len(admitted) == 1
    assert desk.refused() == [(one.request_id, RefusalCode.UNAVAILABLE) for one in market]
    desk.actions.books.closed = ""
    assert [type(one) for _ in range(2) for one in desk.actions.admit(TICK_S)] == [Reopen, Settle]


async def test_what_was_done_before_the_market_closed_is_answered_as_it_was(desk: Desk) -> None:
    """Guard: the look into state.answers in Actions._closed_for. Its answer is not stored yet."""
    owned = claim(0)
    desk.ask(owned)
    await desk.looked_up()
    first = desk.tick().replies[0]
    desk.actions.books.closed = "a test"
    desk.ask(again(owned))
    await desk.looked_up()
    assert [reply.result for reply in desk.tick().replies] == [first.result]
    assert desk.refused() == []


async def test_an_outage_is_two_lines_of_the_log_however_many_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guard: `failures` in Actions._serve. Four lines a second would hide whatever else is wrong."""
    monkeypatch.setattr("server.actions.RETRY_S", 0)
    desk = Desk()
    tasks = desk.actions.start()
    with structlog.testing.capture_logs() as lines:
        desk.stored.fails = True
        for _ in range(5):
            desk.ask(LandAbandon(*ids(), 1))
            await desk.looked_up()
        desk.stored.fails = False
        desk.ask(LandAbandon(*ids(), 1))
        await desk.looked_up()
    for task in tasks:
        task.cancel()
    assert [(line["event"], line.get("failures")) for line in lines] == [
        ("actions_not_looked_up", None),
        ("actions_looked_up_again", 5),
    ]
