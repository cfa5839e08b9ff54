"""Who is sent what: a small world of cells moved by hand, clients that believe what they are told, and the truth beside it."""

from collections import defaultdict
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol import codec
from protocol.messages import Appeared, ChunkEdits, Crowd, Moved, Snapshot, View
from protocol.snapshot import CELL_TILES, RECORD, UNITS_PER_TILE
from server.config import InterestConfig
from server.frames import TickFrame
from server.interest import LADDER, STEP_LAST, Interest
from server.loop import Overload
from server.outbox import Outbox, frame
from server.spread import PERIODS
from tests.server.support import Eyes, FakeTransport, SocketTransport
from world.grid import around, pack, unpack

TICK_HZ = 8
OUTBOX_BYTES = 1_000
SLOW_TICKS = 1_000
UNREAD = 1_500  # over the limit, below twice the limit

Place = tuple[int, int, int]  # cx, cy, and how far along the cell's diagonal, in units of the snapshot


class SmallWorld:
    """Places of players, changed by hand; `tick` tells the interest what a real tick would."""

    def __init__(
        self, slow_ticks: int = SLOW_TICKS, tick_hz: int = TICK_HZ, sockets: bool = True, **settings: Any
    ) -> None:
        config = InterestConfig.model_construct(**{**InterestConfig().model_dump(), **settings})
        self.interest = Interest(config, tick_hz, slow_ticks)
        self.crowd_entities = config.crowd_entities
        self.sockets = sockets
        self.now = 0
        self.step = 0
        self.places: dict[int, Place] = {}
        self.eyes: dict[int, Eyes] = {}
        self.sent = self.interest.sent
        self._changed: set[int] = set()
        self._shuffled: set[int] = set()
        self._placed: dict[int, int] = {}
        self._gone: list[int] = []
        self._watch: list[int] = []
        self._outboxes: dict[int, Outbox] = {}

    def put(self, player_id: int, cx: int, cy: int, along: int = 0) -> None:
        """Joins, or walks."""
        old = self.places.get(player_id)
        self.places[player_id] = (cx, cy, along)
        self._changed.add(pack(cx, cy))
        if old is None or old[:2] != (cx, cy):
            self._placed[player_id] = pack(cx, cy)
            self._shuffled |= {pack(cx, cy), pack(*(old or (cx, cy))[:2])}
        if old is not None:
            self._changed.add(pack(*old[:2]))

    def remove(self, player_id: int) -> None:
        if player_id in self.places:
            key = pack(*self.places.pop(player_id)[:2])
            self._changed.add(key)
            self._shuffled.add(key)
            self._placed.pop(player_id, None)
            self._gone.append(player_id)
            self.eyes.pop(player_id, None)

    def watch(self, player_id: int) -> Eyes:
        """A client begins to look with this player's eyes in the next tick."""
        self.eyes[player_id] = Eyes(SocketTransport() if self.sockets else FakeTransport())
        self._watch.append(player_id)
        return self.eyes[player_id]

    def unwatch(self, player_id: int) -> None:
        self.interest.unwatch(player_id)
        self.eyes.pop(player_id, None)

    def stall(self, player_id: int, unread: int = UNREAD) -> None:
        """A client stops to read; so much waits for it from now on."""
        self.eyes[player_id].transport.unread = unread
        self._outboxes[player_id].full = unread > OUTBOX_BYTES
        self.interest.wake(player_id)  # as Connection.pause_writing does

    def tick(self, **more: Any) -> None:
        """One tick, as Gate.publish does it; then everyone looks."""
        self.now += 1
        tick_frame = TickFrame(self.now, self.step, **more)
        self._put_cells(tick_frame)
        for player_id, key in self._placed.items():
            tick_frame.placed.append((player_id, key, codec.encode(Appeared(player_id, f"P{player_id}", 0))))
        tick_frame.gone = [player_id for player_id in self._gone if player_id not in self.places]
        self.interest.take(tick_frame)
        for player_id in self._watch:
            if player_id in self.eyes:
                outbox = Outbox(OUTBOX_BYTES, self.sent)
                outbox.open(self.eyes[player_id].transport)  # type: ignore[arg-type]
                self._outboxes[player_id] = outbox
                self.interest.watch(player_id, outbox)
        for message, hearers in tick_frame.heard:
            for player_id in hearers:
                self.interest.tell(player_id, frame(message))
        for keys, message in tick_frame.casts:
            self.interest.cast(keys, message)
        self.interest.write(self.now)
        self._changed, self._shuffled, self._placed, self._gone, self._watch = set(), set(), {}, [], []
        for player_id, eyes in self.eyes.items():
            eyes.look(pack(*self.places[player_id][:2]))

    def people(self) -> dict[int, dict[int, tuple[float, float]]]:
        """The truth: who is where, by cell."""
        cells: dict[int, dict[int, tuple[float, float]]] = defaultdict(dict)
        for player_id, (cx, cy, along) in self.places.items():
            inside = along / UNITS_PER_TILE
            cells[pack(cx, cy)][player_id] = (cx * CELL_TILES + inside, cy * CELL_TILES + inside)
        return cells

    def _put_cells(self, tick_frame: TickFrame) -> None:
        keys, people = sorted(self._changed), self.people()
        who = [player_id for key in keys for player_id in people.get(key, {})]
        counts = [len(people.get(key, {})) for key in keys]
        tick_frame.cells = np.array(keys, np.int64).tobytes()
        tick_frame.shuffled = np.array([key in self._shuffled for key in keys], np.uint8).tobytes()
        tick_frame.ends = np.cumsum(counts, dtype=np.int32).tobytes()
        records = [(player_id, self.places[player_id][2], self.places[player_id][2]) for player_id in who]
        tick_frame.records = np.array(records, RECORD).tobytes()

    def check(self) -> None:
        """Everyone who reads knows the truth about each cell that was due to be sent in this tick."""
        truth = self.people()
        for player_id, eyes in self.eyes.items():
            if eyes.transport.unread:
                continue
            own, rung = pack(*self.places[player_id][:2]), LADDER[eyes.view.step]
            for key in around(own, eyes.view.radius_cells):
                period = rung.near_period if key == own else rung.far_period
                people = truth.get(key, {})
                if self.now % period:
                    continue
                if rung.crowds and len(people) > self.crowd_entities:
                    assert eyes.counts[key] == len(people)
                else:
                    assert eyes.cells.get(key, {}) == people, (
                        f"tick {self.now}, player {player_id}, cell {unpack(key)}"
                    )
                    assert not eyes.counts.get(key), "a crowd that is none any more"


def together(count: int, **settings: Any) -> tuple[SmallWorld, list[Eyes]]:
    """So many players with clients in one cell, after their first tick."""
    world = SmallWorld(**settings)
    for player_id in range(1, count + 1):
        world.put(player_id, 0, 0, player_id)
    eyes = [world.watch(player_id) for player_id in range(1, count + 1)]
    world.tick()
    return world, eyes


# --- one write, shared bytes -------------------------------------------------------------------------------


def test_all_a_tick_brings_comes_in_one_write_own_messages_first() -> None:
    world, (one, two) = together(2)
    one.heard.clear()
    world.put(2, 0, 0, 500)
    world.tick(heard=[(codec.encode(Moved(7, 2, 0.0, 0.0)), [1])])
    assert [type(message) for message in one.heard] == [Moved, Snapshot]
    assert world.sent.writes == 4  # two in the first tick, two in this: `Eyes.look` fails at two a tick
    assert two.cells == one.cells


def test_those_in_one_cell_are_sent_the_same_bytes() -> None:
    world, _ = together(3)
    world.put(1, 0, 0, 9)
    transports = [eyes.transport for eyes in world.eyes.values()]
    world.eyes.clear()  # nobody looks: the writes stay
    world.tick()
    [first], [second], [third] = (transport.read() for transport in transports)
    assert first == second == third


def test_a_world_where_nothing_happens_writes_nothing() -> None:
    world, _ = together(2)
    writes = world.sent.writes
    for _ in range(3 * TICK_HZ):
        world.tick()
    assert world.sent.writes == writes


# --- appeared and pictures ---------------------------------------------------------------------------------


def test_an_entity_appears_before_its_snapshot_when_it_comes_into_sight() -> None:
    world, (one,) = together(1)
    world.put(2, 3, 0)
    world.tick()
    assert 2 not in one.names
    world.put(2, 1, 0)
    world.tick()
    assert one.names[2] == "P2"
    world.check()


def test_entities_appear_when_the_viewer_comes_to_them() -> None:
    world, (one,) = together(1)
    world.put(2, 3, 0)
    world.tick()
    world.put(1, 2, 0)
    world.tick()
    assert one.names[2] == "P2"
    world.check()


@pytest.mark.parametrize("came_at", range(4))
@pytest.mark.parametrize("step", range(STEP_LAST + 1))
def test_a_newcomer_has_appeared_whichever_tick_of_the_period_they_come_in(step: int, came_at: int) -> None:
    world, _ = together(1)
    world.step = step
    while world.now % TICK_HZ or world.now < 2 * TICK_HZ:  # the step is in force
        world.tick()
    for _ in range(came_at):
        world.tick()
    world.put(2, 1, 0)
    world.tick()
    world.put(3, 0, 0)
    for number in range(2 * PERIODS[-1]):
        world.put(2, 1, 0, number)
        world.tick()
        world.check()


def test_a_far_cell_that_becomes_the_own_one_is_brought_up_to_date() -> None:
    """Guard: `move` forgets what is known where near and far cells have different periods."""
    world, _ = together(1)
    world.step = 3  # own cell every 2nd tick, others every 4th
    world.put(9, 1, 0)  # somebody else keeps the cell known
    while world.now % TICK_HZ or world.now < 2 * TICK_HZ:
        world.tick()
    world.put(2, 1, 0)  # tick 4k+1: into the far cell, which is told at 4k+4
    world.tick()
    world.tick()
    world.put(1, 1, 0)  # 4k+3: now it is the own cell, told for the last 2 ticks only
    world.tick()
    world.tick()
    world.check()


def test_a_crowd_that_thins_out_gives_its_people_names() -> None:
    """Guard: CELL.thinned; whoever came while the cell was counted was never named."""
    world, (one, *_) = together(2, crowd_entities=3)
    world.step = STEP_LAST
    while world.now % TICK_HZ or world.now < 2 * TICK_HZ:
        world.tick()
    for player_id in (11, 12, 13):
        world.put(player_id, 0, 0)
    for _ in range(2 * PERIODS[-1]):
        world.tick()
    assert one.counts == {pack(0, 0): 5}
    world.remove(11)
    world.remove(12)
    for _ in range(PERIODS[-1]):
        world.tick()
    assert 13 in one.names
    world.check()


def test_coming_down_the_ladder_misses_nothing() -> None:
    """Guard: PERSON.step, in force for that viewer; the loops do not go by the step of the server."""
    world, _ = together(1)
    world.step = 2
    while world.now % TICK_HZ or world.now < 2 * TICK_HZ:
        world.tick()
    world.step = 0  # in force for viewers only at the next second
    world.put(2, 1, 0)
    world.tick()
    world.tick()
    world.tick()
    world.tick()
    world.check()
    world.put(2, 1, 0, 5)
    for _ in range(PERIODS[-1]):
        world.tick()
        world.check()


# --- slow clients ------------------------------------------------------------------------------------------


def test_a_client_that_does_not_read_gets_no_snapshots_and_all_of_them_after() -> None:
    world, (one, two) = together(2)
    world.stall(1)
    one.heard.clear()
    world.put(3, 1, 1)
    for along in range(5):
        world.put(2, 0, 0, along)
        world.tick()
    assert not one.heard
    assert world.interest.skipped_snapshots == 5
    assert two.cells[pack(0, 0)][2]
    world.stall(1, 0)
    world.put(2, 0, 0, 100)
    world.tick()
    world.check()


def test_a_client_that_reads_again_is_brought_up_to_date_though_nothing_moves() -> None:
    """Guard: Interest._skip keeps who is not told all among those to be written to in the next tick."""
    world, _ = together(2)
    world.stall(1)
    world.put(2, 0, 0, 77)
    world.tick()
    world.stall(1, 0)
    world.tick()
    world.check()


def test_a_cell_that_emptied_while_a_client_did_not_read_is_empty_for_it_after() -> None:
    """Guard: Fanout.forget_empty_places keeps what is due to somebody."""
    world, _ = together(1)
    world.put(2, 1, 0)
    world.tick()
    world.stall(1)
    world.remove(2)
    for _ in range(3 * TICK_HZ):
        world.tick()
    world.stall(1, 0)
    world.tick()
    world.check()


def test_own_messages_are_never_skipped() -> None:
    world, (one,) = together(1)
    world.stall(1)
    one.heard.clear()
    world.tick(heard=[(codec.encode(Moved(7, 2, 0.0, 0.0)), [1])])
    world.stall(1, 0)
    world.tick()
    assert [type(message) for message in one.heard] == [Moved, *[Appeared] * len(one.names), Snapshot]


def test_who_does_not_read_for_long_is_reported_counted_in_ticks() -> None:
    world, _ = together(2, slow_ticks=5)
    world.stall(1)
    for along in range(5):
        world.put(2, 0, 0, along)
        world.tick()
    assert world.interest.too_slow == []
    world.tick()  # nothing moves: time goes on all the same
    assert world.interest.too_slow == [1]


def test_who_read_in_time_begins_anew() -> None:
    world, _ = together(1, slow_ticks=3)
    for _ in range(3):
        world.stall(1)
        for along in range(3):
            world.put(1, 0, 0, along)
            world.tick()
        world.stall(1, 0)
        world.tick()
    assert world.interest.too_slow == []


def test_twice_the_limit_is_too_much_at_once() -> None:
    world, _ = together(1)
    world.stall(1, 2 * OUTBOX_BYTES + 1)
    world.put(1, 0, 0, 1)
    world.tick()
    assert world.interest.too_slow == [1]


# --- the ladder --------------------------------------------------------------------------------------------


def test_crowds_come_as_counts_and_small_groups_as_places() -> None:
    world, (one, *_) = together(4, crowd_entities=3)
    world.step = STEP_LAST
    while world.now % TICK_HZ or world.now < 2 * TICK_HZ:
        world.tick()
    one.heard.clear()
    world.put(4, 0, 0, 99)
    for _ in range(PERIODS[-1]):
        world.tick()
    assert [message for message in one.heard if isinstance(message, Crowd)][-1].count == 4
    assert not [message for message in one.heard if isinstance(message, Snapshot)]


def test_the_view_tells_each_step_and_its_rates() -> None:
    world, (one,) = together(1)
    one.heard.clear()
    for step in range(1, STEP_LAST + 1):
        world.step = step
        for _ in range(TICK_HZ + 1):
            world.tick()
    told = [message for message in one.heard if isinstance(message, View)]
    assert [view.step for view in told] == list(range(1, STEP_LAST + 1))
    assert [view.far_hz for view in told] == [TICK_HZ // rung.far_period for rung in LADDER[1:]]
    assert told[-1].crowds


def test_a_client_over_its_byte_budget_climbs_alone_and_comes_down_again() -> None:
    world = SmallWorld(client_bytes_per_s=400)
    for player_id in range(1, 11):
        world.put(player_id, 0, 0)
    world.put(20, 9, 9)
    crowded, alone = world.watch(1), world.watch(20)
    for along in range(12 * TICK_HZ):
        world.put(2, 0, 0, along)
        world.tick()
        world.check()
    assert crowded.view.step > 0
    assert alone.view.step == 0
    for _ in range(2 * (STEP_LAST + 1) * TICK_HZ):  # cells sent anew at a step down keep it for a second
        world.tick()
    assert crowded.view.step == 0


class Load:
    """So many people in each cell in sight, who all move in one tick of `every`: only sizes, for crowds of any number."""

    TICK_HZ = 20

    def __init__(self, radius: int) -> None:
        self.config = InterestConfig(radius_cells=radius)
        self.interest = Interest(self.config, self.TICK_HZ, SLOW_TICKS)
        self.now = 0
        self._per_cell = 0
        self.tick(0, 1, placed=[(1, pack(0, 0), codec.encode(Appeared(1, "P1", 0)))])
        outbox = Outbox(OUTBOX_BYTES, self.interest.sent)
        outbox.open(FakeTransport())  # type: ignore[arg-type]
        self.interest.watch(1, outbox)

    def tick(self, per_cell: int, every: int, **more: Any) -> None:
        self.now += 1
        tick_frame = TickFrame(self.now, 0, **more)
        keys = sorted(around(pack(0, 0), self.config.radius_cells)) if self.now % every == 0 else []
        tick_frame.cells = np.array(keys, np.int64).tobytes()
        tick_frame.shuffled = bytes([per_cell != self._per_cell]) * len(keys)
        tick_frame.ends = np.cumsum([per_cell] * len(keys), dtype=np.int32).tobytes()
        tick_frame.records = bytes(RECORD.itemsize * per_cell * len(keys))
        self._per_cell = per_cell if keys else self._per_cell
        self.interest.take(tick_frame)
        self.interest.write(self.now)

    def steps(self, seconds: int, per_cell: int, every: int = 1) -> list[int]:
        """The step in force at the end of each second."""
        steps = []
        for _ in range(seconds):
            before = self.interest.sent.bytes
            for _ in range(self.TICK_HZ):
                self.tick(per_cell, every)
            self.second_bytes = self.interest.sent.bytes - before
            steps.append(self.interest.steps().index(1))
        return steps


SETTLED_S = STEP_LAST + 1


@pytest.mark.parametrize("every", [1, 3])
@pytest.mark.parametrize("radius", [1, 2])
@pytest.mark.parametrize("per_cell", [10, 100, 300, 2_000])
def test_a_constant_load_has_one_step_within_the_budget_and_none_when_it_is_gone(
    per_cell: int, radius: int, every: int
) -> None:
    """Guard: Fanout.weigh says what the step below would cost. (300 in a cell, radius 1: it went 3, 4, 3, 4.)"""
    load = Load(radius)
    load.steps(SETTLED_S, per_cell, every)
    [step] = set(load.steps(20, per_cell, every))
    assert load.second_bytes <= load.config.client_bytes_per_s
    lower = Load(radius)
    assert step == 0 or set(lower.steps(step, per_cell, every)) != {0}, "no step without need"
    assert load.steps(SETTLED_S, 1, every)[-1] == 0


def test_names_of_those_who_come_and_go_count_for_the_step_below() -> None:
    """Guard: CELL.named. 500 who come each tick cost the same at each step that sees their cell; its snapshots are small."""
    load = Load(1)
    appeared = codec.encode(Appeared(2, "P2", 0))
    came = [(player_id, pack(1, 0), appeared) for player_id in range(2, 502)]
    steps = []
    for _ in range(20 * load.TICK_HZ):
        load.tick(1, 1, placed=came)
        steps.append(load.interest.steps().index(1))
    assert len(set(steps[SETTLED_S * load.TICK_HZ :])) == 1
    assert steps[-1] > 0


def test_overload_climbs_and_descends_one_step_at_a_time_and_holds_in_between() -> None:
    settings = InterestConfig(raise_at_share=0.8, lower_at_share=0.5, hold_s=1.0)
    overload = Overload(settings, tick_hz=10)
    for _ in range(9):
        assert not overload.observe(0.9)
    assert overload.observe(0.9)
    assert overload.step == 1
    for _ in range(100):
        assert not overload.observe(0.65)  # between the two shares: stays
    for _ in range(9):
        overload.observe(0.9)
    overload.observe(0.65)  # one quieter tick: the count begins anew
    assert not any(overload.observe(0.9) for _ in range(9))
    assert overload.step == 1
    for _ in range(20):
        overload.observe(0.1)
    assert overload.step == 0
    for _ in range(10 * (STEP_LAST + 5)):
        overload.observe(2.0)
    assert overload.step == STEP_LAST


def test_a_load_that_fits_no_step_moves_the_server_less_and_less_often() -> None:
    """Guard: Overload._patience. Step 0 is too much, step 1 saves two thirds."""
    overload = Overload(InterestConfig(raise_at_share=0.8, lower_at_share=0.5, hold_s=1.0), tick_hz=10)
    changes = [overload.observe(0.3 if overload.step else 0.9) for _ in range(2_000)]
    assert sum(changes[:500]) > sum(changes[1_500:]) <= 4
    for _ in range(400):
        overload.observe(0.1)
    assert overload.step == 0


# --- anything at all ---------------------------------------------------------------------------------------

WHO = st.integers(1, 7)
DEED = st.one_of(
    st.tuples(st.just("put"), WHO, st.integers(-2, 1), st.integers(-1, 1), st.integers(0, 65_535)),
    st.tuples(st.just("remove"), WHO),
    st.tuples(st.just("watch"), WHO),
    st.tuples(st.just("unwatch"), WHO),
    st.tuples(st.just("step"), st.integers(0, STEP_LAST)),
    st.tuples(st.just("stall"), WHO),
    st.tuples(st.just("read"), WHO),
    st.tuples(st.just("wait"), st.integers(1, 2 * TICK_HZ)),
)


def do(world: SmallWorld, deed: tuple[Any, ...]) -> None:
    match deed:
        case ("put", who, cx, cy, along):
            world.put(who, cx, cy, along)
        case ("remove", who):
            world.remove(who)
        case ("watch", who) if who in world.places:
            world.watch(who)
        case ("unwatch", who):
            world.unwatch(who)
        case ("step", step):
            world.step = step
        case ("stall" | "read" as what, who) if who in world.eyes and who not in world._watch:
            world.stall(who, UNREAD if what == "stall" else 0)
        case ("wait", ticks):
            for _ in range(ticks - 1):
                world.tick()
                world.check()
        case _:
            pass


@settings(max_examples=400, deadline=None)
@given(
    st.lists(st.lists(DEED, max_size=4), min_size=10, max_size=40),
    st.integers(0, STEP_LAST),
    st.sampled_from([1, 2]),
    st.sampled_from([1, 3]),
    st.sampled_from([50, 1_000_000]),
    st.booleans(),
)
def test_whatever_happens_everyone_who_reads_knows_the_truth(
    ticks: list[list[tuple[Any, ...]]], step: int, radius: int, crowd: int, budget: int, sockets: bool
) -> None:
    # Two ticks a second: steps come into force often.
    world = SmallWorld(
        tick_hz=2, sockets=sockets, radius_cells=radius, crowd_entities=crowd, client_bytes_per_s=budget
    )
    world.step = step
    for player_id in (1, 2, 3):
        world.put(player_id, 0, 0)
        world.watch(player_id)
    for deeds in ticks:
        for deed in deeds:
            do(world, deed)
        world.tick()
        world.check()


# --- casts -------------------------------------------------------------------------------------------------


def heard_of(eyes: Eyes) -> list[int]:
    """The versions of the casts a client got."""
    return [message.version for message in eyes.heard if isinstance(message, ChunkEdits)]


def cast(version: int, cx: int = 0, cy: int = 0) -> list[tuple[list[int], bytes]]:
    return [([pack(cx, cy)], codec.encode(ChunkEdits(cx, cy, version - 1, version, b"\x00\x00\x01")))]


def test_a_cast_reaches_all_who_see_the_cell_and_nobody_else_in_that_ticks_write() -> None:
    """Also where nobody stands in the cell. That it is one write, the eyes themselves assert."""
    world = SmallWorld()
    for player_id, cx in ((1, -2), (2, -1), (3, 1), (4, 2)):
        world.put(player_id, cx, 0)
        world.watch(player_id)
    world.tick()
    world.put(2, -1, 0, 9)
    world.tick(casts=cast(2))
    assert [heard_of(world.eyes[player_id]) for player_id in (1, 2, 3, 4)] == [[], [2], [2], []]


def test_a_cast_is_not_skipped_for_a_client_that_does_not_read() -> None:
    world = SmallWorld()
    world.put(1, 0, 0)
    eyes = world.watch(1)
    world.tick()
    world.stall(1)
    for version in (2, 3):
        world.tick(casts=cast(version))
    world.stall(1, 0)
    world.tick()
    assert heard_of(eyes) == [2, 3]


def test_a_cast_of_a_cell_that_left_sight_by_the_ladder_does_not_come() -> None:
    world = SmallWorld()
    world.put(1, 0, 0)
    eyes = world.watch(1)
    world.step = STEP_LAST
    for _ in range(2 * TICK_HZ):
        world.tick()
    world.tick(casts=[*cast(2, 1, 0), *cast(5)])
    assert heard_of(eyes) == [5]


def test_a_cast_of_several_cells_comes_once_and_casts_come_in_their_order() -> None:
    """Guard: the `break` in _put_casts."""
    world = SmallWorld()
    world.put(1, 0, 0)
    eyes = world.watch(1)
    world.tick()
    wide = [pack(cx, 0) for cx in (-1, 0, 1, 2)]
    far = [pack(5, 5), pack(6, 5)]
    messages = [message for version in (2, 3, 4) for _, message in cast(version)]
    world.tick(casts=[(wide, messages[0]), (far, messages[1]), (wide[:1], messages[2])])
    assert heard_of(eyes) == [2, 4]


@pytest.mark.parametrize("reads", [True, False])
def test_a_cast_is_told_once_whether_or_not_a_client_has_other_things_waiting(reads: bool) -> None:
    """Guard: Interest forgets the casts of a tick."""
    world = SmallWorld()
    world.put(1, 0, 0)
    eyes = world.watch(1)
    world.tick()
    if not reads:
        world.stall(1)
    world.tick(casts=cast(2))
    world.tick()
    world.stall(1, 0)
    world.tick()
    assert heard_of(eyes) == [2]


@pytest.mark.parametrize("per_cell", [100, 300])
def test_what_is_cast_counts_for_the_step_below(per_cell: int) -> None:
    """Guard: CELL.cast in _weigh. Without it the step goes up and down."""
    load = Load(1)
    message = bytes(int(0.6 * load.config.client_bytes_per_s / load.TICK_HZ))
    steps = []
    for _ in range(4 * SETTLED_S):
        for _ in range(load.TICK_HZ):
            load.interest.cast([pack(0, 0)], message)
            load.tick(per_cell, 1)
        steps.append(load.interest.steps().index(1))
    [step] = set(steps[SETTLED_S:])
    assert 0 < step <= STEP_LAST
