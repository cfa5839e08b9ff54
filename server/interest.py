"""Which client is sent which cells.

A client sees the cells within `radius_cells` of the cell its player stands in. All clients that stand in one cell at one step of the
ladder see the same, so the bytes for them are put together once and shared (fanout.py): a tick costs per occupied cell, plus one write
per client. What is particular to one client, cells it has to be told whole, answers, talk, a full socket, is seen to here.

When there is too much to send, less is sent, in the order of one published table, `LADDER`. A step is taken for one client (its bytes a
second pass its budget) or for the whole server (its ticks are too busy); the higher of the two is in force, and `view` tells the
client. Far cells come less often first, then the radius shrinks, then crowds come as counts. The simulation slows last, by itself: the
loop never skips a step, it is only late.
"""

from collections.abc import Sequence, Set
from dataclasses import dataclass, field

import numpy as np

from protocol import codec
from protocol.messages import Crowd, Moved, Snapshot, View
from protocol.snapshot import RECORD, write_block
from server import fanout
from server.config import InterestConfig
from server.fanout import NOBODY, Back, Fanout, Rows
from server.frames import TickFrame
from server.outbox import Outbox, Sent, frame
from world.grid import around, unpack
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
PERIOD_MAX = fanout.PERIODS[-1]
HEAD_BYTES = 28  # of a frame, before the blocks
# One for all: an empty set has 216 bytes, and most viewers have nothing due.
NO_CELLS: frozenset[int] = frozenset()


def rungs(radius_cells: int) -> Rows:
    """The ladder for the compiled loops, as fanout.RUNG rows."""
    rows = np.zeros(len(LADDER), fanout.RUNG)
    for row, rung in zip(rows, LADDER, strict=True):
        row["near"], row["far"] = (
            fanout.CROWDS if rung.crowds else fanout.PERIODS.index(period)
            for period in (rung.near_period, rung.far_period)
        )
        row["radius"], row["crowds"] = rung.radius(radius_cells), rung.crowds
    return rows


@dataclass(slots=True, eq=False)
class Viewer:
    """One client that sees. `row` is its place in the fan-out's arrays, `step` the rung in force."""

    player_id: int
    outbox: Outbox
    row: int
    step: int
    key: int | None = None
    due: Set[int] = NO_CELLS  # cells to be sent whole
    slow_ticks: int = 0  # in a row in which it had more waiting than allowed


@dataclass(slots=True, eq=False)
class Place:
    """What is known of one cell beside who is where: their names. `row` is its place in the fan-out's arrays."""

    row: int
    members: dict[int, bytes] = field(default_factory=dict)  # player_id: their `appeared`
    newcomers: list[tuple[int, bytes]] = field(
        default_factory=list
    )  # tick, `appeared`; of the last PERIOD_MAX ticks

    def appeared_since(self, tick: int) -> bytes:
        """The names of those who came after `tick`."""
        return b"".join(appeared for when, appeared in self.newcomers if when > tick)


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
        self._places: dict[int, Place] = {}
        self._cell_of: dict[int, int] = {}
        self._viewers: dict[int, Viewer] = {}
        self._by_row: dict[int, Viewer] = {}
        self._waiting: set[Viewer] = (
            set()
        )  # have messages of their own, whole cells due, or bytes their socket did not take
        self._named: dict[int, Place] = {}  # somebody came there in the last PERIOD_MAX ticks
        self._moved: Rows = np.empty(0, MOVED)
        self._casts: list[tuple[Sequence[int], bytes]] = []  # of this tick: cells, message

    # --- who is where, and who looks -------------------------------------------------------------------------------------------

    def watch(self, player_id: int, outbox: Outbox) -> None:
        """A client begins to see with its player's eyes: everything in sight is due whole."""
        self.unwatch(player_id)
        row = self._fanout.add_viewer(player_id, outbox.fd, self.server_step)
        viewer = self._viewers[player_id] = self._by_row[row] = Viewer(
            player_id, outbox, row, self.server_step
        )
        self._tell_step(viewer)
        self._look_from(viewer, self._cell_of[player_id])

    def unwatch(self, player_id: int) -> None:
        """The client is gone, or its outbox is closed; its player may stay."""
        viewer = self._viewers.pop(player_id, None)
        if viewer is not None:
            self._waiting.discard(viewer)
            del self._by_row[viewer.row]
            self._fanout.remove_viewer(viewer.row)

    def cell_of(self, player_id: int) -> int:
        """The cell a player in the world stands in."""
        return self._cell_of[player_id]

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
        tick = tick_frame.tick
        self.server_step = tick_frame.step
        for player_id, key, appeared in tick_frame.placed:
            self._move(player_id, key, appeared, tick)
        for player_id in tick_frame.gone:
            self._remove(player_id)
        for key, row in self._fanout.take(tick_frame):
            self._places[key] = Place(row)
        for row in self._fanout.thinned(tick):
            key = int(self._fanout.places[row]["key"])
            self._named[key] = self._places[key]
        self._moved = np.frombuffer(tick_frame.moved, MOVED)

    def _move(self, player_id: int, key: int, appeared: bytes, tick: int) -> None:
        old = self._cell_of.get(player_id)
        if old is not None:
            self._places[old].members.pop(player_id, None)
        place = self._place(key)
        self._cell_of[player_id] = key
        place.members[player_id] = appeared
        place.newcomers.append((tick, appeared))
        self._named[key] = place
        self._fanout.places[place.row]["named"] += len(appeared)
        viewer = self._viewers.get(player_id)
        if viewer is not None and viewer.key != key:
            self._look_from(viewer, key)

    def _place(self, key: int) -> Place:
        place = self._places.get(key)
        if place is None:
            place = self._places[key] = Place(self._fanout.add_place(key))
        return place

    def _remove(self, player_id: int) -> None:
        self.unwatch(player_id)
        key = self._cell_of.pop(player_id, None)
        if key is not None:
            self._places[key].members.pop(player_id, None)

    def _look_from(self, viewer: Viewer, key: int) -> None:
        """Moves a viewer to a cell; what it sees from there and did not see before is due whole."""
        seen: set[int] = set()
        rung = LADDER[viewer.step]
        # Where near and far cells have different periods, a far cell that becomes near may hold news not told yet.
        if viewer.key is not None and rung.near_period == rung.far_period:
            seen = set(self._sight(viewer.key, viewer.step)) - viewer.due
        viewer.key = key
        viewer.due = set(self._sight(key, viewer.step)) - seen
        self._waiting.add(viewer)
        self._fanout.look_from(viewer.row, self._place(key).row)

    def _sight(self, key: int, step: int) -> tuple[int, ...]:
        """The cells one sees from a cell at a step."""
        return around(key, LADDER[step].radius(self.settings.radius_cells))

    # --- the tick --------------------------------------------------------------------------------------------------------------

    def write(self, tick: int) -> None:
        """Writes to every client that has something to get, once."""
        waiting, self._waiting = self._waiting, set()  # who is skipped now waits for the next tick
        self._fanout.put_extras(self._extras(tick))
        self._fanout.put_casts(self._casts)
        for back in self._fanout.spread(tick, self._moved, [viewer.row for viewer in waiting]):
            self._write_rest(self._by_row[back.viewer], back, tick)
        for viewer in waiting:
            self._serve(viewer, tick)
        self._casts.clear()
        if tick % self.tick_hz == 0:
            self._adjust_steps()
            self._forget_empty_places(tick)

    def _extras(self, tick: int) -> dict[int, tuple[bytes, ...]]:
        """The names to be told before the blocks of each place where somebody came lately, by its row."""
        extras = {}
        for key, place in list(self._named.items()):
            place.newcomers = [entry for entry in place.newcomers if entry[0] > tick - PERIOD_MAX]
            names = [place.appeared_since(tick - period) for period in fanout.EXTRA_PERIODS]
            thinned = self._fanout.places[place.row]["thinned"] > tick - PERIOD_MAX
            if thinned:
                names[fanout.CROWDS] = b"".join(place.members.values())  # who was counted was not named
            if not (thinned or place.newcomers):
                del self._named[key]
            extras[place.row] = tuple(names)
        return extras

    def _write_rest(self, viewer: Viewer, back: Back, tick: int) -> None:
        """What a socket did not take goes through the transport, which waits for it; until then nothing goes past it."""
        acknowledged = self._acknowledged(back.ack, tick) if back.ack != NOBODY else b""
        viewer.outbox.write((acknowledged + back.frame)[back.sent :])
        if viewer.outbox.holds_back():
            self._waiting.add(viewer)

    def _acknowledged(self, index: int, tick: int) -> bytes:
        moved = self._moved[index]
        return frame(codec.encode(Moved(int(moved["seq"]), tick, float(moved["x"]), float(moved["y"]))))

    def _serve(self, viewer: Viewer, tick: int) -> None:
        """One write: messages of one's own, cells that are due whole, the news shared with others."""
        ack = self._fanout.ack_of(viewer.row)
        if ack != NOBODY:
            viewer.outbox.put(self._acknowledged(ack, tick))
        if viewer.outbox.full:
            self._skip(viewer)
            return
        viewer.slow_ticks = 0
        news = self._fanout.news(viewer.row)
        if viewer.due:
            news = self._whole(viewer, tick) + news
            viewer.due = NO_CELLS
        viewer.outbox.flush(news)
        if viewer.outbox.holds_back():
            self._waiting.add(viewer)

    def _skip(self, viewer: Viewer) -> None:
        """A client that does not read gets of the news what was cast, and all cells whole once it has read."""
        self.skipped_snapshots += 1
        viewer.slow_ticks += 1
        assert viewer.key is not None
        viewer.due = set(self._sight(viewer.key, viewer.step))
        if cast := [message for keys, message in self._casts if not viewer.due.isdisjoint(keys)]:
            viewer.outbox.put(frame(*cast))
        if viewer.slow_ticks > self.slow_ticks_max or viewer.outbox.is_overflowing():
            self.too_slow.append(viewer.player_id)
        viewer.outbox.flush()
        self._waiting.add(viewer)  # looked at every tick until it has read, also where nothing changes

    def _whole(self, viewer: Viewer, tick: int) -> bytes:
        """The cells that are due, as one finished frame."""
        assert viewer.key is not None
        crowds, (own_x, own_y) = LADDER[viewer.step].crowds, unpack(viewer.key)
        told: list[bytes] = []
        blocks: list[bytes] = []
        for key in sorted(viewer.due):
            place = self._places.get(key)
            if place is None or self._fanout.places[place.row]["changed"] == fanout.NEVER:
                continue
            (cx, cy), row = unpack(key), self._fanout.places[place.row]
            if crowds and row["crowded"]:
                told.append(codec.encode(Crowd(tick, cx, cy, int(row["count"]))))
            else:
                told += place.members.values()
                blocks.append(write_block(cx - own_x, cy - own_y, self._fanout.whole(place.row), named=True))
        if blocks:
            told.append(codec.encode(Snapshot(tick, own_x, own_y, b"".join(blocks))))
        return frame(*told) if told else b""

    # --- the ladder ------------------------------------------------------------------------------------------------------------

    def _adjust_steps(self) -> None:
        """Once a second: every client's rung by what the snapshots cost that are sent to where it stands, and the step in force.

        Up by what was sent; down by what the step below would have cost in the same second, so that a constant load has one step.
        """
        budget = self.settings.client_bytes_per_s
        heads = [self.tick_hz // min(rung.near_period, rung.far_period) * HEAD_BYTES for rung in LADDER]
        fits = self._fanout.weigh(heads, budget * LOWER_AT_SHARE)
        rows = np.fromiter(self._by_row, np.int64, len(self._by_row))
        viewers = self._fanout.viewers
        places, steps, own = viewers["place"][rows], viewers["step"][rows], viewers["own_step"][rows]
        over = self._fanout.spent[places, steps] > budget
        own = np.where(
            over, np.minimum(own + 1, STEP_LAST), own - ((own > 0) & fits[places, np.maximum(own - 1, 0)])
        )
        viewers["own_step"][rows] = own
        wanted = np.maximum(own, self.server_step)
        changes = np.nonzero(wanted != steps)[0]
        for row, step in zip(rows[changes].tolist(), wanted[changes].tolist(), strict=True):
            self._change_step(self._by_row[row], step)
        self._fanout.spent[:] = 0

    def _change_step(self, viewer: Viewer, step: int) -> None:
        """The rung in force changes; cells that come into sight, or come differently now, are due whole."""
        key = viewer.key
        assert key is not None
        viewer.step, viewer.key = step, None
        self._fanout.viewers[viewer.row]["step"] = step
        self._tell_step(viewer)
        self._look_from(viewer, key)

    def _tell_step(self, viewer: Viewer) -> None:
        rung = LADDER[viewer.step]
        near_hz, far_hz = self.tick_hz // rung.near_period, self.tick_hz // rung.far_period
        view = View(viewer.step, rung.radius(self.settings.radius_cells), near_hz, far_hz, rung.crowds)
        viewer.outbox.put(frame(codec.encode(view)))
        self._waiting.add(viewer)

    def steps(self) -> list[int]:
        """How many viewers stand on each rung of the ladder."""
        counts = np.bincount([viewer.step for viewer in self._viewers.values()], minlength=len(LADDER))
        return [int(count) for count in counts]

    def _forget_empty_places(self, tick: int) -> None:
        """Drops cells where nobody is and from where nobody looks, once all who see them were told that they are empty."""
        due = set().union(*(viewer.due for viewer in self._waiting))  # not told yet: they do not read
        for key, place in list(self._places.items()):
            row = self._fanout.places[place.row]
            told = row["changed"] <= tick - PERIOD_MAX
            if told and not place.members and row["viewers"] == NOBODY and key not in due:
                del self._places[key]
                self._named.pop(key, None)
                self._fanout.remove_place(place.row)


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
