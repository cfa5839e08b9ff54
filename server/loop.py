"""The tick: twenty times a second, at deadlines counted from the start, never from the end of the last tick.

    tick   drain the inbox -> step -> encode -> publish -> hand over what is to be saved
    acts   then, as far as there is time until the next: admit -> act -> hand over to the journal and to what is withheld

Each is one callback without an `await`, so nothing can come between reading the world and changing it. What is durable waits for the
disk anyway, so those who walk do not wait for it: they have been told of their tick before it is done. A late tick is
followed by the next at once; the loop does not skip ticks, for world time is counted in them, but it forgives a long pause (a machine
asleep, a debugger) instead of racing after it.

Busy ticks, here or in the busiest gateway, put the whole server up the ladder of degradation (server/interest.py), one step at a time;
quiet ones bring it down.
"""

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import structlog

from persistence.flusher import Flusher
from persistence.journal import Journal
from persistence.store import ChatLine
from protocol.errors import Refusal
from server.chunks import Chunks
from server.config import HAND_OVER_MS, InterestConfig
from server.frames import encode
from server.garbage import Garbage
from server.hub import Hub
from server.interest import STEP_LAST
from server.recorder import Recorder
from server.tasks import Broken
from server.telemetry import PHASES, Counts
from world.commands import AnyAct, AnyCommand, Inbox
from world.state import State
from world.tick import Edited, Events, act, step

FORGIVE_S = 1.0  # further behind than this, the deadlines begin anew
PUBLISHED = 1 + PHASES.index("publish")  # the mark behind it

log = structlog.get_logger()


PATIENCE_MAX = 32  # times interest.hold_s


class Overload:
    """The server's rung of the ladder, from how much of each tick is work.

    What a step saves is not known before, so a step down is an attempt: after one that did not hold, the next waits twice as long.
    """

    def __init__(self, settings: InterestConfig, tick_hz: int) -> None:
        self.step = 0
        self._settings = settings
        self._hold_ticks = max(1, round(settings.hold_s * tick_hz))
        self._busy = self._quiet = 0
        self._patience = 1
        self._came_down = False  # the last change was a step down

    def observe(self, share: float) -> bool:
        """Takes in one tick's share of its time; True when the step changed."""
        self._busy = self._busy + 1 if share > self._settings.raise_at_share else 0
        self._quiet = self._quiet + 1 if share < self._settings.lower_at_share else 0
        if self._busy >= self._hold_ticks and self.step < STEP_LAST:
            self.step += 1
            self._patience = min(2 * self._patience, PATIENCE_MAX) if self._came_down else self._patience
            self._came_down = False
        elif self._quiet >= self._hold_ticks * self._patience and self.step > 0:
            self.step -= 1
            self._patience = 1 if self._came_down else self._patience
            self._came_down = True
        else:
            return False
        self._busy = self._quiet = 0
        return True


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000


@dataclass(frozen=True, slots=True)
class Clocks:
    """What the loop asks besides the event loop's clock, which gives the deadlines."""

    work_s: Callable[[], float] = time.perf_counter  # measures how long a tick takes
    wall_ms: Callable[[], int] = _wall_ms  # since 1970: dates what is said


class Loop:
    """Drives the world. `on_broken` is called with what went wrong when a tick fails: an invariant is broken, the server stops."""

    def __init__(
        self,
        state: State,
        inbox: Inbox,
        hub: Hub,
        chunks: Chunks,
        flusher: Flusher,
        journal: Journal,
        recorder: Recorder | None,
        counts: Counts,
        on_broken: Broken,
        clocks: Clocks = Clocks(),
    ) -> None:
        self.state = state
        self.moving = 0
        self.ticked_s = 0.0  # when the last tick began, by the loop's clock
        self._inbox = inbox
        self._hub = hub
        self._chunks = chunks
        self._flusher = flusher
        self._journal = journal
        self._recorder = recorder
        self._counts = counts
        self._on_broken = on_broken
        self._clocks = clocks
        self._tick_s = 1.0 / state.rules.tick_hz
        self._save_ticks = HAND_OVER_MS * state.rules.tick_hz // 1_000
        self.garbage = Garbage()
        self.overload = Overload(hub.config.interest, state.rules.tick_hz)
        self._loop = asyncio.get_running_loop()
        self._handle: asyncio.TimerHandle | None = None
        self._acting: asyncio.Handle | None = None
        self._deadline_s = 0.0
        self._edited: list[Edited] = []  # since the last tick
        self._occupied = np.empty(0, np.int64)  # cells somebody stood in when this second began
        self._saved_x = np.empty(0)
        self._saved_y = np.empty(0)

    def enter(self, commands: list[AnyCommand]) -> None:
        """Before the start: what the world begins with. A tick of its own, which nobody sees."""
        tick = self.state.tick + 1
        if self._recorder is not None:
            self._recorder.write(tick, commands)
        step(self.state, commands, tick)

    def start(self) -> None:
        """Looks at the books; the first tick comes one tick from now."""
        self._hub.actions.books.balance(self.state)
        self.ticked_s = self._loop.time()
        self._deadline_s = self.ticked_s + self._tick_s
        self._handle = self._loop.call_at(self._deadline_s, self._on_time)

    def stop(self) -> None:
        """No tick comes after this; what is in memory is handed to the flusher."""
        self._cancel()
        self._save_positions(everyone=True)

    def _cancel(self) -> None:
        for handle in (self._handle, self._acting):
            if handle is not None:
                handle.cancel()
        self._handle = self._acting = None

    def _on_time(self) -> None:
        began = self._loop.time()
        self.ticked_s = began
        late = began - self._deadline_s
        if late > FORGIVE_S:
            log.warning("ticks_forgiven", behind_s=round(late, 3))
            self._deadline_s = began
        try:
            self._tick(max(0.0, late))
        except Exception as error:  # noqa: BLE001 (whatever it is: a half-applied tick must not be followed by another)
            self._handle = None
            self._on_broken("tick", error)
            return
        self._deadline_s += self._tick_s
        self._handle = self._loop.call_at(self._deadline_s, self._on_time)
        self._acting = self._loop.call_soon(self._on_ticked)

    def _on_ticked(self) -> None:
        try:
            self._act(max(0.0, self._deadline_s - self._loop.time()))
        except Exception as error:  # noqa: BLE001 (as in _on_time)
            self._cancel()
            self._on_broken("acts", error)

    def _act(self, left_s: float) -> None:
        began_s = self._clocks.work_s()
        actions = self._hub.actions
        acts = actions.admit(left_s)
        if acts:
            self._do(acts)
        actions.books.look(self.state.ledger, self.state.tick)
        spent_s = self._clocks.work_s() - began_s
        actions.took(spent_s)
        self._counts.acts.observe(spent_s)

    def _do(self, acts: list[AnyAct]) -> None:
        if self._recorder is not None:
            self._recorder.act(acts)
        acted = act(self.state, acts)
        self._count_refused(reply.result for reply in acted.replies)
        self._edited += acted.edited
        self._hub.withheld.take(self.state, acted)
        if acted.entries:
            self._journal.put(acted.entries, self._loop.time())
            # No entry is stored ahead of the world's clock.
            self._flusher.put_positions(self.state.tick, (), (), ())

    def _tick(self, late_s: float) -> None:
        now_s = self._clocks.work_s
        marks = [now_s()]
        tick = self.state.tick + 1
        commands = self._inbox.drain()
        if self._recorder is not None:
            self._recorder.write(tick, commands)
        events = step(self.state, commands, tick)
        self._count_refused(answer for _, _, answer, _ in events.answers)
        marks.append(now_s())
        edits, self._edited = self._edited, []
        tick_frame = encode(self.state, events, edits, self.overload.step)
        self._hub.withheld.deny(self.state, events.denied)
        self._hub.questions.look()
        self._hub.withheld.release(self._journal.durable_seq, tick_frame)
        marks.append(now_s())
        self._hub.publish(tick_frame)
        marks.append(now_s())
        self._follow(events)
        self._save(events)
        marks.append(now_s())
        self._measure(marks, late_s)
        self._hub.actions.ticked(late_s)

    def _count_refused(self, answers: Iterable[object]) -> None:
        """What a rule refused; the connections count what they refuse themselves."""
        for answer in answers:
            if isinstance(answer, Refusal):
                self._counts.refused[answer.code.name] += 1

    def _follow(self, events: Events) -> None:
        """Ground is made ready where people go."""
        players = self.state.players
        hz = self.state.rules.tick_hz
        turn = events.tick % hz
        if not turn:
            self._occupied = np.unique(players.grid.keys[players.linked])
        self.moving = events.moving
        slots = [players.slot_of[player_id] for player_id, _ in events.crossed]
        ways = np.rint((players.dx[slots], players.dy[slots])).astype(np.int8).tolist()
        self._chunks.follow(
            events,
            zip((key for _, key in events.crossed), *ways, strict=True),
            self._occupied[turn::hz].tolist(),  # each comes once a second
        )

    def _save(self, events: Events) -> None:
        """Hands over chat at once, positions once a second and when somebody leaves."""
        for heard in events.heard:
            line = heard.line
            self._flusher.put_chat(
                ChatLine(
                    line.channel,
                    line.sender_id,
                    line.sender_name,
                    line.to,
                    line.x,
                    line.y,
                    line.tick,
                    self._clocks.wall_ms(),
                    line.text,
                )
            )
        if events.left:
            player_ids, xs, ys = zip(*events.left, strict=True)
            self._flusher.put_positions(events.tick, player_ids, xs, ys)
        if events.tick % self._save_ticks == 0:
            self._save_positions(everyone=False)

    def _save_positions(self, everyone: bool) -> None:
        """Hands over who moved since the last time."""
        players = self.state.players
        if len(self._saved_x) != len(players.x):
            self._saved_x = np.full(len(players.x), np.nan)
            self._saved_y = np.full(len(players.x), np.nan)
        slots = players.linked
        if not everyone:
            moved = (players.x[slots] != self._saved_x[slots]) | (players.y[slots] != self._saved_y[slots])
            slots = slots[moved]
        self._saved_x[slots], self._saved_y[slots] = players.x[slots], players.y[slots]
        columns = players.player_id[slots].tolist(), players.x[slots].tolist(), players.y[slots].tolist()
        self._flusher.put_positions(self.state.tick, *columns)

    def _measure(self, marks: list[float], late_s: float) -> None:
        counts = self._counts
        spent_s = marks[-1] - marks[0]
        counts.tick.observe(spent_s)
        counts.lateness.observe(late_s)
        counts.told.observe(late_s + marks[PUBLISHED] - marks[0])
        counts.overruns += spent_s > self._tick_s
        for phase, (start, end) in zip(counts.phase_s, pairwise(marks), strict=True):
            counts.phase_s[phase] += end - start
        share = max(spent_s, late_s) / self._tick_s
        self.garbage.after(self.state.tick, share)
        if self.overload.observe(max(share, self._hub.share())):
            counts.overload_steps += 1
            log.warning("ladder", step=self.overload.step, tick_ms=round(spent_s * 1000, 1))
