"""Which client is sent which cells.

A client sees the cells within `radius_cells` of the cell its player stands in. All clients that stand in one cell at one step of the
ladder see the same, so the bytes for them are put together once and shared: a tick costs per occupied cell, plus one write per client.

When there is too much to send, less is sent, in the order of one published table, `LADDER`. A step is taken for one client (its bytes a
second pass its budget) or for the whole server (its ticks are too busy); the higher of the two is in force, and `view` tells the
client. Far cells come less often first, then the radius shrinks, then crowds come as counts. The simulation slows last, by itself: the
loop never skips a step, it is only late.
"""

from collections import Counter, deque
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from protocol import codec
from protocol.messages import View
from server.config import InterestConfig
from server.frames import Cell, TickFrame
from server.outbox import Outbox, Sent, frame
from world.grid import around

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
PERIODS = {period for rung in LADDER for period in (rung.near_period, rung.far_period)}
PERIOD_MAX = max(PERIODS)


Write = Callable[[bytes], None]
Cost = tuple[int, int, bool]  # of which cell, told every how many ticks, whether as a count


@dataclass(slots=True, eq=False)
class Viewer:
    """One client that sees. `own_step` is its own rung, `step` the one in force."""

    player_id: int
    outbox: Outbox
    key: int | None = None
    own_step: int = 0
    step: int = 0
    due: set[int] = field(default_factory=set)  # cells to be sent whole
    slow_ticks: int = 0  # in a row in which it had more waiting than allowed


@dataclass(slots=True, eq=False)
class Place:
    """What is known of one cell: its last snapshot, who is in it, who came lately, and who looks from it."""

    last: Cell | None = None
    members: dict[int, bytes] = field(default_factory=dict)  # player_id: their `appeared`
    newcomers: list[tuple[int, bytes]] = field(default_factory=list)  # tick, `appeared`
    viewers: dict[int, dict[Viewer, Write]] = field(default_factory=dict)  # by step; how to write to each
    spent: dict[int, int] = field(
        default_factory=dict
    )  # bytes of news since the budgets were looked at, by step
    named: int = 0  # bytes of `appeared` of those who came in that time
    crowded: bool = False  # so full that it is sent as a count where crowds are counted
    thinned_tick: int = -1  # when it last stopped to be so full

    def take(self, cell: Cell, crowd_entities: int) -> None:
        """The cell changed."""
        crowded = cell.count > crowd_entities
        if self.crowded and not crowded:
            self.thinned_tick = cell.tick
        self.last, self.crowded = cell, crowded

    def news(self, tick: int, period: int, crowds: bool) -> list[bytes]:
        """The messages of this cell for a viewer who was last told `period` ticks ago; none where nothing changed."""
        last = self.last
        if last is None or last.tick <= tick - period:
            return []
        if crowds and (self.crowded or self.thinned_tick > tick - period):
            return self.whole(crowds)  # who was counted was not named
        news = [appeared for when, appeared in self.newcomers if when > tick - period]
        news.append(last.snapshot)
        return news

    def whole(self, crowds: bool) -> list[bytes]:
        """The messages of this cell for a viewer who knows nothing of it; none where it was always empty."""
        if self.last is None:
            return []
        return (
            [self.last.crowd()] if crowds and self.crowded else [*self.members.values(), self.last.snapshot]
        )


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
        self._places: dict[int, Place] = {}
        self._watched: dict[int, Place] = {}  # those from where somebody looks
        self._cell_of: dict[int, int] = {}
        self._viewers: dict[int, Viewer] = {}
        self._waiting: set[Viewer] = set()  # have messages of their own, whole cells due, or a full outbox
        self._fresh: dict[int, bytes] = {}  # this tick's news of each changed cell, for those told every tick
        # Cells that changed, by tick: of the last second, and of the periods that reach into it.
        self._changed: deque[set[int]] = deque([set()], tick_hz + PERIOD_MAX - 1)
        self._lowered = False  # somebody is told less often than every tick

    # --- who is where, and who looks -------------------------------------------------------------------------------------------

    def watch(self, player_id: int, outbox: Outbox) -> None:
        """A client begins to see with its player's eyes: everything in sight is due whole."""
        self.unwatch(player_id)
        viewer = Viewer(player_id, outbox, step=self.server_step)
        self._lowered = self._lowered or viewer.step > 0
        self._viewers[player_id] = viewer
        self._tell_step(viewer)
        self._look_from(viewer, self._cell_of[player_id])

    def unwatch(self, player_id: int) -> None:
        """The client is gone, or its outbox is closed; its player may stay."""
        viewer = self._viewers.pop(player_id, None)
        if viewer is not None:
            self._waiting.discard(viewer)
            self._look_away(viewer)

    def cell_of(self, player_id: int) -> int:
        """The cell a player in the world stands in."""
        return self._cell_of[player_id]

    def wake(self, player_id: int) -> None:
        """Something was put into the outbox of this player's client: write it with this tick."""
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

    def cast(self, key: int, framed: bytes) -> None:
        """The same for all who see a cell, however slow they are: what is cast is not said again."""
        for near in around(key, self.settings.radius_cells):
            place = self._places.get(near)
            for step, viewers in place.viewers.items() if place is not None else ():
                if key in self._sight(near, step):
                    for viewer in viewers:
                        viewer.outbox.put(framed)
                    self._waiting.update(viewers)

    def take(self, tick_frame: TickFrame) -> None:
        """Takes in who is where and what changed."""
        tick = tick_frame.tick
        self.server_step = tick_frame.step
        for player_id, key, appeared in tick_frame.placed:
            self._move(player_id, key, appeared, tick)
        for player_id in tick_frame.gone:
            self._remove(player_id)
        self._fresh = {}
        for key, cell in tick_frame.cells.items():
            place = self._places.setdefault(key, Place())
            place.take(cell, self.settings.crowd_entities)
            self._fresh[key] = b"".join(place.news(tick, 1, crowds=False))
        self._changed.append(set(tick_frame.cells))

    def _move(self, player_id: int, key: int, appeared: bytes, tick: int) -> None:
        old = self._cell_of.get(player_id)
        if old is not None:
            self._places[old].members.pop(player_id, None)
        place = self._places.setdefault(key, Place())
        self._cell_of[player_id] = key
        place.members[player_id] = appeared
        place.newcomers = [entry for entry in place.newcomers if entry[0] > tick - PERIOD_MAX]
        place.newcomers.append((tick, appeared))
        place.named += len(appeared)
        viewer = self._viewers.get(player_id)
        if viewer is not None and viewer.key != key:
            self._look_from(viewer, key)

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
        self._look_away(viewer)
        viewer.key = key
        viewer.due = set(self._sight(key, viewer.step)) - seen
        self._waiting.add(viewer)
        place = self._watched[key] = self._places.setdefault(key, Place())
        assert viewer.outbox.transport is not None, "a closed outbox is unwatched"
        place.viewers.setdefault(viewer.step, {})[viewer] = viewer.outbox.transport.write

    def _look_away(self, viewer: Viewer) -> None:
        """Takes a viewer out of the cell it looks from."""
        if viewer.key is None:
            return
        place = self._places[viewer.key]
        del place.viewers[viewer.step][viewer]
        if not place.viewers[viewer.step]:
            del place.viewers[viewer.step]
        if not place.viewers:
            del self._watched[viewer.key]

    def _sight(self, key: int, step: int) -> tuple[int, ...]:
        """The cells one sees from a cell at a step."""
        return around(key, LADDER[step].radius(self.settings.radius_cells))

    # --- the tick --------------------------------------------------------------------------------------------------------------

    def write(self, tick: int) -> None:
        """Writes to every client that has something to get, once."""
        waiting, self._waiting = self._waiting, set()  # who is skipped now waits for the next tick
        changed = self._changed[-1]
        if self._lowered:
            changed = changed.union(*list(self._changed)[-PERIOD_MAX:])
        if changed:
            for key, place in self._watched.items():
                if not changed.isdisjoint(around(key, self.settings.radius_cells)):
                    self._serve(key, place, waiting, tick)
        for viewer in waiting:
            self._serve_one(viewer, b"")
        if tick % self.tick_hz == 0:
            self._adjust_steps(tick)
            self._forget_empty_places(tick)

    def _serve(self, key: int, place: Place, waiting: set[Viewer], tick: int) -> None:
        """Everyone who looks from one cell. Most get the shared bytes and nothing else; this is the hot path."""
        for step, viewers in place.viewers.items():
            news = self._news(key, step, tick)
            if not news:
                continue
            place.spent[step] = place.spent.get(step, 0) + len(news)
            writes: Collection[Write] = viewers.values()
            if not waiting.isdisjoint(viewers):
                writes = [write for viewer, write in viewers.items() if viewer not in waiting]
                for viewer in waiting.intersection(viewers):
                    self._serve_one(viewer, news)
                waiting.difference_update(viewers)
            for write in writes:
                write(news)
            self.sent.add(len(writes), len(writes) * len(news))

    def _serve_one(self, viewer: Viewer, news: bytes) -> None:
        """One write: messages of one's own, cells that are due whole, the news shared with others."""
        if viewer.outbox.full:
            self._skip(viewer)
            return
        viewer.slow_ticks = 0
        if viewer.due:
            news = self._whole(viewer) + news
            viewer.due = set()
        viewer.outbox.flush(news)

    def _skip(self, viewer: Viewer) -> None:
        """A client that does not read gets no snapshots, and all of them once it has read."""
        self.skipped_snapshots += 1
        viewer.slow_ticks += 1
        assert viewer.key is not None
        viewer.due = set(self._sight(viewer.key, viewer.step))
        if viewer.slow_ticks > self.slow_ticks_max or viewer.outbox.is_overflowing():
            self.too_slow.append(viewer.player_id)
        viewer.outbox.flush()
        self._waiting.add(viewer)  # looked at every tick until it has read, also where nothing changes

    def _news(self, key: int, step: int, tick: int) -> bytes:
        """What changed in the cells seen from `key`, as one finished frame; empty where nothing did."""
        fresh = self._fresh
        if step == 0:
            parts = [fresh[seen] for seen in self._sight(key, 0) if seen in fresh]
            return frame(*parts) if parts else b""
        rung, parts = LADDER[step], []
        for seen in self._sight(key, step):
            place = self._places.get(seen)
            if place is not None:
                period = rung.near_period if seen == key else rung.far_period
                if tick % period == 0:
                    parts += place.news(tick, period, rung.crowds)
        return frame(*parts) if parts else b""

    def _whole(self, viewer: Viewer) -> bytes:
        """The cells that are due, as one finished frame."""
        rung = LADDER[viewer.step]
        parts: list[bytes] = []
        for key in sorted(viewer.due):
            place = self._places.get(key)
            if place is not None:
                parts += place.whole(rung.crowds)
        return frame(*parts) if parts else b""

    # --- the ladder ------------------------------------------------------------------------------------------------------------

    def _adjust_steps(self, tick: int) -> None:
        """Once a second: every client's rung by what the snapshots cost that are sent to where it stands, and the step in force.

        Up by what was sent; down by what the step below would have cost in the same second, so that a constant load has one step.
        """
        budget = self.settings.client_bytes_per_s
        told = {period: self._changes(tick, period) for period in PERIODS} if self._lowered else {}
        costs: dict[Cost, int] = {}
        fits: dict[tuple[int, int], bool] = {}  # cell looked from, step: the same for all who stand there
        for viewer in self._viewers.values():
            assert viewer.key is not None
            if self._places[viewer.key].spent.get(viewer.step, 0) > budget:
                viewer.own_step = min(viewer.own_step + 1, STEP_LAST)
            elif viewer.own_step:
                below = viewer.key, viewer.own_step - 1
                if below not in fits:
                    fits[below] = self._fits(*below, told, costs)
                viewer.own_step -= fits[below]
            step = max(viewer.own_step, self.server_step)
            if step != viewer.step:
                self._change_step(viewer, step)
        for place in self._places.values():
            place.spent.clear()
            place.named = 0
        self._lowered = any(viewer.step for viewer in self._viewers.values())

    def _changes(self, tick: int, period: int) -> list[set[int]]:
        """For each time of the last second at which one who is told every `period` ticks is told: the cells that changed since."""
        newest = list(self._changed)[::-1]  # of `tick`, of the one before, ...
        ends = range(tick % period, min(self.tick_hz, len(newest)), period)
        return [set().union(*newest[end : end + period]) for end in ends]

    def _fits(self, key: int, step: int, told: dict[int, list[set[int]]], costs: dict[Cost, int]) -> bool:
        """Whether the last second, told at a step to somebody in cell `key`, would have been well within the budget.

        `told` is `_changes` by period; `costs` keeps what is found out of each cell, for the others who see it.
        """
        rung, left = LADDER[step], self.settings.client_bytes_per_s * LOWER_AT_SHARE
        for seen in self._sight(key, step):
            cost = seen, rung.near_period if seen == key else rung.far_period, rung.crowds
            if cost not in costs:
                costs[cost] = self._cost(seen, told[cost[1]], rung.crowds)
            left -= costs[cost]
            if left < 0:
                return False
        return True

    def _cost(self, key: int, told: list[set[int]], crowds: bool) -> int:
        """Bytes that one cell's news of the last second come to; its size is taken as it is now."""
        place = self._places.get(key)
        if place is None or place.last is None:
            return 0
        times = sum(key in changed for changed in told)
        if crowds and place.crowded:
            return times * len(place.last.crowd())
        return times * len(place.last.snapshot) + place.named

    def _change_step(self, viewer: Viewer, step: int) -> None:
        """The rung in force changes; cells that come into sight, or come differently now, are due whole."""
        key = viewer.key
        assert key is not None
        self._look_away(viewer)
        viewer.step, viewer.key = step, None
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
        counts = Counter(viewer.step for viewer in self._viewers.values())
        return [counts[step] for step in range(len(LADDER))]

    def _forget_empty_places(self, tick: int) -> None:
        """Drops cells where nobody is and from where nobody looks, once all who see them were told that they are empty."""
        due = set().union(*(viewer.due for viewer in self._waiting))  # not told yet: they do not read
        for key, place in list(self._places.items()):
            told = place.last is None or place.last.tick <= tick - PERIOD_MAX
            if told and key not in due and not place.members and not place.viewers:
                del self._places[key]
