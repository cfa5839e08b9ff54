"""What the loop hands over to be saved."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from protocol.messages import ChatChannel
from server.config import Config
from server.loop import Loop
from server.telemetry import Counts
from tests.world.support import RULES, join
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
    loop = Loop(state, Inbox(1, 1), gate, nothing, flusher, None, Counts(), nothing)
    for tick in range(1, 3 * tick_hz + 1):
        state.tick = tick
        loop._save(Events(tick))
    assert handed_over == [tick_hz, 2 * tick_hz, 3 * tick_hz]


async def test_what_a_rule_refused_is_counted() -> None:
    """Guard: Loop._count_refusals."""
    handed: Any = SimpleNamespace(
        config=Config(),
        put_positions=lambda *_: None,
        publish=lambda _: None,
        follow=lambda *_: None,
        share=lambda: 0.0,
    )
    nothing: Any = None
    counts = Counts()
    inbox = Inbox(8, 8)
    loop = Loop(State(RULES), inbox, handed, handed, handed, None, counts, nothing)
    inbox.put_always([join(1), Say(1, 1, ChatChannel.DIRECT, "is anybody there?", 99)])
    loop._tick(0.0)
    assert counts.refused == {"NOT_FOUND": 1}
