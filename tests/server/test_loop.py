"""What the loop hands over to be saved, and what it begins with."""

import asyncio
import dataclasses
from types import SimpleNamespace
from typing import Any

import pytest
from msgspec.structs import replace

from protocol.messages import ChatChannel, LandAbandon, LandClaim
from server.config import Config
from server.frames import TickFrame
from server.loop import Loop
from server.telemetry import Counts
from tests.server.support import House
from tests.world.support import ADA, BEA, RULES, act, ids, join
from world.commands import Inbox, RecallBooks, RecallParcels, Say
from world.entries import BEGINNING
from world.ledger import ESCROW, TREASURY, Hold
from world.parcels import Before, Lease, Parcel, Terms
from world.state import State
from world.tick import Events


@pytest.mark.parametrize("tick_hz", [5, 20, 60])
async def test_places_are_handed_over_once_a_second_at_any_tick_rate(tick_hz: int) -> None:
    """Guard: Loop._save_ticks. With a fixed count of ticks, 5 Hz would lose four seconds more in a crash."""
    handed_over: list[int] = []
    flusher: Any = SimpleNamespace(put_positions=lambda tick, *_: handed_over.append(tick))
    gate: Any = SimpleNamespace(config=Config())
    nothing: Any = None
    state = State(dataclasses.replace(RULES, tick_hz=tick_hz))
    loop = Loop(state, Inbox(1, 1), gate, nothing, flusher, nothing, None, Counts(), nothing)
    for tick in range(1, 3 * tick_hz + 1):
        state.tick = tick
        loop._save(Events(tick))
    assert handed_over == [tick_hz, 2 * tick_hz, 3 * tick_hz]


async def test_what_a_rule_refused_is_counted() -> None:
    """Guard: Loop._count_refused, of what is said and of what is done."""
    handed: Any = SimpleNamespace(put_positions=lambda *_: None, follow=lambda *_: None)
    nothing: Any = None
    house, counts = House(), Counts()
    loop = Loop(house.world, house.inbox, house.hub, handed, handed, house.journal, None, counts, nothing)
    house.inbox.put_always([join(1), Say(1, 1, ChatChannel.DIRECT, "is anybody there?", 99)])
    loop._tick(0.0)
    loop._do([act(ADA, LandAbandon(*ids(), 7))])
    assert counts.refused == {"NOT_FOUND": 2}


async def test_a_tick_hands_its_entries_to_the_journal_and_tells_of_them_when_they_are_stored() -> None:
    """Guards: Loop._do and Loop._tick."""
    told: list[TickFrame] = []
    handed: Any = SimpleNamespace(put_positions=lambda *_: None, follow=lambda *_: None)
    nothing: Any = None
    house = House()
    house.hub.spread = told.append
    loop = Loop(house.world, house.inbox, house.hub, handed, handed, house.journal, None, Counts(), nothing)
    loop._do([act(ADA, LandClaim(*ids(), 0, 0, 16, 16))])
    loop._tick(0.0)
    assert [entry.seq for entry in house.journal.next_batch(9)] == [1]
    loop._tick(0.0)
    house.journal.settle(1)
    loop._tick(0.0)
    assert [(len(one.answers), len(one.casts), one.durable_seq) for one in told] == [
        (0, 0, 0),
        (0, 0, 0),
        (1, 1, 1),
    ]


def loop_of(house: House, broken: list[tuple[str, BaseException]]) -> Loop:
    """A loop that tells what broke."""
    handed: Any = SimpleNamespace(put_positions=lambda *_: None, follow=lambda *_: None)
    return Loop(
        house.world,
        house.inbox,
        house.hub,
        handed,
        handed,
        house.journal,
        None,
        Counts(),
        lambda part, error: broken.append((part, error)),
    )


async def test_what_is_durable_is_done_after_each_tick() -> None:
    """Guard: the second callback, which _on_time asks for."""
    house, broken = House(), list[tuple[str, BaseException]]()
    loop = loop_of(house, broken)
    house.hub.actions.admit = lambda left_s: [act(ADA, LandClaim(*ids(), 0, 0, 16, 16))]  # type: ignore[method-assign]
    loop.start()
    loop._on_time()
    assert house.world.seq == 0, "not within the tick"
    await asyncio.sleep(0)
    assert (house.world.seq, broken) == (1, [])
    loop._cancel()


async def test_a_stop_between_a_tick_and_what_follows_it_does_nothing_more() -> None:
    """Guard: _cancel takes both handles back."""
    house, broken = House(), list[tuple[str, BaseException]]()
    loop = loop_of(house, broken)
    house.hub.actions.admit = lambda left_s: [act(ADA, LandClaim(*ids(), 0, 0, 16, 16))]  # type: ignore[method-assign]
    loop.start()
    loop._on_time()
    loop.stop()
    await asyncio.sleep(0)
    assert (house.world.seq, broken) == (0, [])


async def test_no_tick_follows_actions_that_broke() -> None:
    """Guard: _cancel in _on_ticked: half of what was admitted is done, and nobody may see that."""
    house, broken = House(), list[tuple[str, BaseException]]()
    loop = loop_of(house, broken)

    def breaks(left_s: float) -> Any:
        raise ArithmeticError

    house.hub.actions.admit = breaks  # type: ignore[method-assign]
    loop.start()
    loop._on_time()
    await asyncio.sleep(0)
    assert [part for part, _ in broken] == ["acts"]
    assert loop._handle is loop._acting is None


DEPOSIT = 500
LET = Lease(BEA, "Bea", Terms(100, DEPOSIT, 1_000, False), 1, True, 7, Before("", "", True, False, (), b""))
HELD = Hold(7, BEA, DEPOSIT, "deposit for parcel 1")
STORED: dict[str, tuple[dict[int, int], list[Hold], str]] = {
    "all is well": ({TREASURY: -DEPOSIT, ESCROW: DEPOSIT}, [HELD], ""),
    "the hold is missing": ({}, [], "the deposit of 500 poisha for parcel 1 is not held"),
    "the hold is another's": (
        {TREASURY: -DEPOSIT, ESCROW: DEPOSIT},
        [replace(HELD, account=ADA)],
        "the deposit of 500 poisha for parcel 1 is not held",
    ),
    "escrow is short": ({}, [HELD], "holds of 500 poisha against 0 in escrow"),
    "money came from nothing": (
        {ADA: 5, ESCROW: DEPOSIT, TREASURY: -DEPOSIT},
        [HELD],
        "all balances together are 5 poisha instead of 0",
    ),
}


@pytest.mark.parametrize("what", STORED)
async def test_what_is_due_in_the_first_tick_is_done_on_books_that_were_looked_at(what: str) -> None:
    """Guards: Books.balance in Loop.start, leases.unheld in it. Without them a lease ends on books that are wrong, or the tick
    raises for want of its deposit, and again after each restart."""
    balances, holds, trouble = STORED[what]
    handed: Any = SimpleNamespace(put_positions=lambda *_: None, follow=lambda *_: None)
    nothing: Any = None
    house = House()
    loop = Loop(house.world, house.inbox, house.hub, handed, handed, house.journal, None, Counts(), nothing)
    loop.enter([RecallBooks(0, BEGINNING, list(balances.items()), holds)])
    loop.enter([RecallParcels([Parcel(1, ADA, "Ada", 0, 0, 1, 1, lease=LET)], 1)])
    loop.start()
    loop._tick(0.0)
    loop._act(0.04)
    loop.stop()
    assert house.actions.books.closed == trouble
    assert [entry.kind for entry in house.journal.next_batch(9)] == ([] if trouble else ["lease_ended"])
