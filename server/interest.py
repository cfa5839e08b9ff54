"""Which client is sent which cells.

A client sees the cells within `radius_cells` of the cell its player stands in. All clients that stand in one cell at one step of the
ladder see the same, so the bytes for them are put together once and shared (fanout.py): a tick costs per occupied cell, plus one write
per client. What is particular to one client, cells it has to be told whole, answers, talk, a full socket, is seen to here.

When there is too much to send, less is sent, in the order of one published table, `LADDER`. A step is taken for one client (its bytes a
second pass its budget) or for the whole server (its ticks are too busy); the higher of the two is in force, and `view` tells the
client. Far cells come less often first, then the radius shrinks, then crowds come as counts. The simulation slows last, by itself: the
loop never skips a step, it is only late.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from protocol import codec
from protocol.messages import View
from protocol.snapshot import RECORD
from server.config import InterestConfig
from server.fanout import Fanout
from server.frames import TickFrame
from server.outbox import Outbox, Sent, frame
from server.packing import Rows
from server.spread import BLIND, CROWDS, PERIODS, RUNG
from world.tick import MOVED

LOWER_AT_SHARE = (
    0.8  # of the byte budget: what the lower step would cost must fit in it, with room for a load that wavers
)


@dataclass(frozen=True, slots=True)
class Step:
    """One rung: every how many ticks the own cell and the others are sent, how far one sees, and whether crowds are counted."""

    near_period: int
    far_period: int
    radius_less: int  # rings taken off the configured radius
    crowds: bool

    def radius(self, radius_cells: int) -> int:
        """Rings of cells seen at this step."""
        return max(0, radius_cells - self.radius_less)


LADDER: tuple[Step, ...] = (
    Step(1, 1, 0, crowds=False),
    Step(1, 2, 0, crowds=False),
    Step(1, 4, 0, crowds=False),
    Step(2, 4, 0, crowds=False),
    Step(2, 4, 1, crowds=False),
    Step(4, 4, 1, crowds=False),
    Step(4, 4, 1, crowds=True),
)
STEP_LAST = len(LADDER) - 1
HEAD_BYTES = 28  # of a frame, before the blocks


def rungs(radius_cells: int) -> Rows:
    """The ladder for the compiled loops, as RUNG rows."""
    rows = np.zeros(len(LADDER), RUNG)
    for row, rung in zip(rows, LADDER, strict=True):
        row["near"], row["far"] = (
            CROWDS if rung.crowds else PERIODS.index(period) for period in (rung.near_period, rung.far_period)
        )
        row["radius"], row["crowds"] = rung.radius(radius_cells), rung.crowds
    return rows


@dataclass(slots=True, eq=False)
class Viewer:
    """One client that sees. `row` is its player's place in the fan-out's arrays."""

    player_id: int
    outbox: Outbox
    row: int
    slow_ticks: int = 0  # in a row in which it had more waiting than allowed


class Interest:
    """Spreads the cells of each tick over the viewers."""

    def __init__(self, settings: InterestConfig, tick_hz: int, slow_ticks_max: int) -> None:
        self.settings = settings
        self.tick_hz = tick_hz
        self.slow_ticks_max = slow_ticks_max
        self.server_step = 0
        self.skipped_snapshots = 0  # writes left out because the client does not read
        self.too_slow: list[int] = []  # player_ids to be closed
        self.sent = Sent()
        self._fanout = Fanout(rungs(settings.radius_cells), settings.crowd_entities, self.sent)
        self._viewers: dict[int, Viewer] = {}
        self._by_row: dict[int, Viewer] = {}
        self._waiting: set[Viewer] = (
            set()
        )  # have messages of their own, cells they must be told anew, or bytes their socket did not take
        self._moved: Rows = np.empty(0, MOVED)
        self._casts: list[tuple[Sequence[int], bytes]] = []  # of this tick: cells, message

    # --- who is where, and who looks -------------------------------------------------------------------------------------------

    def watch(self, player_id: int, outbox: Outbox) -> None:
        """A client begins to see with its player's eyes: everything in sight is due whole."""
        self.unwatch(player_id)
        row = self._fanout.row_of(player_id)
        self._fanout.watch(row, outbox.fd, self.server_step)
        viewer = self._viewers[player_id] = self._by_row[row] = Viewer(player_id, outbox, row)
        self._tell_step(viewer, self.server_step)

    def unwatch(self, player_id: int) -> None:
        """The client is gone, or its outbox is closed; its player may stay."""
        viewer = self._viewers.pop(player_id, None)
        if viewer is not None:
            self._waiting.discard(viewer)
            del self._by_row[viewer.row]
            self._fanout.unwatch(viewer.row)

    def cell_of(self, player_id: int) -> int:
        """The cell a player in the world stands in."""
        return self._fanout.key_of(self._fanout.row_of(player_id))

    def wake(self, player_id: int) -> None:
        """Something waits in the outbox of this player's client, or its socket did not take all: see to it with this tick."""
        viewer = self._viewers.get(player_id)
        if viewer is not None:
            self._waiting.add(viewer)

    def tell(self, player_id: int, framed: bytes) -> None:
        """Puts a finished frame into the next write to a player, if a client of theirs sees."""
        viewer = self._viewers.get(player_id)
        if viewer is not None:
            viewer.outbox.put(framed)
            self._waiting.add(viewer)

    def tell_everyone(self, framed: bytes) -> None:
        """The same for all who see."""
        for viewer in self._viewers.values():
            viewer.outbox.put(framed)
        self._waiting.update(self._viewers.values())

    def cast(self, keys: Sequence[int], message: bytes) -> None:
        """Tells all who see one of these cells, with this tick, however slow they are: what is cast is not said again."""
        self._casts.append((keys, message))

    def take(self, tick_frame: TickFrame) -> None:
        """Takes in who is where and what changed."""
        self.server_step = tick_frame.step
        for player_id in tick_frame.gone:
            self.unwatch(player_id)
        self._fanout.take(tick_frame)
        self._moved = np.frombuffer(tick_frame.moved, MOVED)

    # --- the tick --------------------------------------------------------------------------------------------------------------

    def write(self, tick: int) -> None:
        """Writes to every client that has something to get, once."""
        waiting, self._waiting = self._waiting, set()  # who is skipped now waits for the next tick
        busy = [viewer.row for viewer in waiting]
        for row, rest in self._fanout.spread(tick, self._moved, self._casts, busy):
            self._write_rest(self._by_row[row], rest)
        for viewer in waiting:
            self._serve(viewer)
        self._casts.clear()
        if tick % self.tick_hz == 0:
            self._adjust_steps()
            self._fanout.forget_empty_places(tick)

    def _write_rest(self, viewer: Viewer, rest: bytes) -> None:
        """What a socket did not take goes through the transport, which waits for it; until then nothing goes past it."""
        viewer.outbox.write(rest)
        if viewer.outbox.holds_back():
            self._waiting.add(viewer)

    def _serve(self, viewer: Viewer) -> None:
        """One write: messages of one's own, then what the tick has for this client."""
        if viewer.outbox.full:
            self._skip(viewer)
            return
        viewer.slow_ticks = 0
        viewer.outbox.flush(self._fanout.news(viewer.row))
        if viewer.outbox.holds_back():
            self._waiting.add(viewer)

    def _skip(self, viewer: Viewer) -> None:
        """A client that does not read gets of the news what was cast, and all cells whole once it has read."""
        self.skipped_snapshots += 1
        viewer.slow_ticks += 1
        if acknowledged := self._fanout.news(viewer.row, reads=False):
            viewer.outbox.put(acknowledged)
        sight = self._fanout.sight_of(viewer.row) if self._casts else set()
        if cast := [message for keys, message in self._casts if not sight.isdisjoint(keys)]:
            viewer.outbox.put(frame(*cast))
        if viewer.slow_ticks > self.slow_ticks_max or viewer.outbox.is_overflowing():
            self.too_slow.append(viewer.player_id)
        viewer.outbox.flush()
        self._waiting.add(viewer)  # looked at every tick until it has read, also where nothing changes

    # --- the ladder ------------------------------------------------------------------------------------------------------------

    def _adjust_steps(self) -> None:
        """Once a second: every client's rung by what the snapshots cost that are sent to where it stands, and the step in force.

        Up by what was sent; down by what the step below would have cost in the same second, so that a constant load has one step.
        """
        budget = self.settings.client_bytes_per_s
        heads = [self.tick_hz // min(rung.near_period, rung.far_period) * HEAD_BYTES for rung in LADDER]
        fits = self._fanout.weigh(heads, budget * LOWER_AT_SHARE)
        people = self._fanout.people
        rows = np.flatnonzero(people["step"] != BLIND)
        places, steps, own = people["place"][rows], people["step"][rows], people["own_step"][rows]
        over = self._fanout.spent[places, steps] > budget
        own = np.where(
            over, np.minimum(own + 1, STEP_LAST), own - ((own > 0) & fits[places, np.maximum(own - 1, 0)])
        )
        people["own_step"][rows] = own
        wanted = np.maximum(own, self.server_step)
        changes = np.flatnonzero(wanted != steps)
        for row, step in zip(rows[changes].tolist(), wanted[changes].tolist(), strict=True):
            # Cells that come into sight, or come differently now, are due whole.
            self._fanout.look_anew(row, step)
            self._tell_step(self._by_row[row], step)
        self._fanout.spent[:] = 0

    def _tell_step(self, viewer: Viewer, step: int) -> None:
        rung = LADDER[step]
        near_hz, far_hz = self.tick_hz // rung.near_period, self.tick_hz // rung.far_period
        view = View(step, rung.radius(self.settings.radius_cells), near_hz, far_hz, rung.crowds)
        viewer.outbox.put(frame(codec.encode(view)))
        self._waiting.add(viewer)

    def steps(self) -> list[int]:
        """How many viewers stand on each rung of the ladder."""
        steps = self._fanout.people["step"]
        counts: list[int] = np.bincount(steps[steps != BLIND], minlength=len(LADDER)).tolist()
        return counts


def warm_up() -> None:
    """Compiles the loops of the fan-out (or reads them from numba's cache) by spreading one tick in a small world."""
    interest = Interest(InterestConfig(), 1, 1)
    here, once = np.zeros(1, np.int64).tobytes(), np.ones(1, np.int32).tobytes()
    moved = np.ones(1, MOVED).tobytes()
    interest.take(
        TickFrame(1, 0, here, b"\x01", once, np.ones(1, RECORD).tobytes(), moved, placed=[(1, 0, b"")])
    )
    interest.watch(1, Outbox(1, interest.sent))
    interest.write(1)
