"""What the loop hands over to be saved."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from protocol.messages import ChatChannel, LandAbandon, LandClaim
from server.config import Config
from server.frames import TickFrame
from server.loop import Loop
from server.telemetry import Counts
from tests.server.support import House
from tests.world.support import ADA, RULES, act, ids, join
from world.commands import Inbox, Say
from world.state import State
from world.tick import Events


@pytest.mark.parametrize("tick_hz", [5, 20, 60])
async def test_places_are_handed_over_once_a_second_at_any_tick_rate(tick_hz: int) -> None:
    """Guard: Loop._save_ticks. With a fixed count of ticks, 5 Hz would lose four seconds more in a crash."""
    handed_over: list[int] = []
    flusher: Any = SimpleNamespace(put_positions=lambda tick, *_: handed_over.append(tick))
    gate: Any = SimpleNamespace(config=Config())
    nothing: Any = None
    state = State(replace(RULES, tick_hz=tick_hz))
    loop = Loop(state, Inbox(1, 1), gate, nothing, flusher, nothing, None, Counts(), nothing)
    for tick in range(1, 3 * tick_hz + 1):
        state.tick = tick
        loop._save(Events(tick))
    assert handed_over == [tick_hz, 2 * tick_hz, 3 * tick_hz]


async def test_what_a_rule_refused_is_counted() -> None:
    """Guard: Loop._count_refusals."""
    handed: Any = SimpleNamespace(put_positions=lambda *_: None, follow=lambda *_: None)
    nothing: Any = None
    house, counts = House(), Counts()
    loop = Loop(house.world, house.inbox, house.hub, handed, handed, house.journal, None, counts, nothing)
    house.inbox.put_always([join(1), Say(1, 1, ChatChannel.DIRECT, "is anybody there?", 99)])
    house.inbox.put_always([act(ADA, LandAbandon(*ids(), 7))])
    loop._tick(0.0)
    assert counts.refused == {"NOT_FOUND": 2}


async def test_a_tick_hands_its_entries_to_the_journal_and_tells_of_them_when_they_are_stored() -> None:
    """Guard: Loop._tick."""
    told: list[TickFrame] = []
    handed: Any = SimpleNamespace(put_positions=lambda *_: None, follow=lambda *_: None)
    nothing: Any = None
    house = House()
    house.hub.spread = told.append
    loop = Loop(house.world, house.inbox, house.hub, handed, handed, house.journal, None, Counts(), nothing)
    house.inbox.put_always([act(ADA, LandClaim(*ids(), 0, 0, 16, 16))])
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
