"""One tick at a time: who comes, goes and stays, who is told of it; and the same commands always make the same world."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.messages import ChatChannel, Role
from tests.world.model import Model
from tests.world.support import (
    OPEN,
    RULES,
    STRIDE,
    UNIT,
    World,
    ground,
    in_order,
    join,
    moved,
    plain,
    shuffled,
    told,
)
from world.commands import (
    AnyCommand,
    Become,
    Detach,
    Inbox,
    Join,
    Leave,
    Line,
    LoadChunk,
    Recall,
    Say,
    UnloadChunk,
    steer,
)
from world.digest import digest
from world.grid import pack, unpack
from world.movement import NEVER
from world.state import SLOTS_AT_START
from world.tick import Events

# --- coming and going ---------------------------------------------------------------------------------------------------------------


def test_who_joins_stands_where_they_were_put_and_is_in_their_cells_snapshot() -> None:
    world = World(*plain())
    events = world.do(Join(7, "Robin", Role.USER, 99, -0.5, 33.25))
    [joined] = events.joined
    assert (joined.player_id, joined.name, joined.role, joined.look) == (7, "Robin", Role.USER, 99)
    assert (joined.x, joined.y, unpack(joined.key), joined.resumed) == (-0.5, 33.25, (-1, 1), False)
    assert told(events) == {(-1, 1): {7: (-0.5, 33.25)}}


def test_who_leaves_is_named_with_their_last_place_and_the_emptied_cell_is_told() -> None:
    world = World(*plain(), join(7, 3.0, 4.0))
    events = world.do(Leave(7))
    assert events.left == [(7, 3.0, 4.0)]
    assert told(events) == {(0, 0): {}}
    assert len(world.state.players) == 0


def test_snapshots_list_the_idle_beside_those_who_move() -> None:
    world = World(*plain(), join(1, 1.0, 1.0), join(2, 9.0, 9.0), join(3, 40.0, 1.0), join(4, -9.0, 1.0))
    events = world.do(steer(1, 1, 1.0, 0.0))
    assert told(events) == {(0, 0): {1: pytest.approx((1.2, 1.0), abs=UNIT), 2: (9.0, 9.0)}}
    assert events.moving == 1


def test_a_quiet_tick_tells_nothing() -> None:
    events = World(*plain(), join(1)).do()
    said = [getattr(events, name) for name in Events.__slots__ if name not in ("tick", "moving")]
    assert [*map(len, said)] == [0] * len(said)


@pytest.mark.parametrize(
    ("commands", "joined", "left"),
    [
        ([join(1), Leave(1)], [], [1]),
        ([join(1), Leave(1), join(1, 5.0)], [(1, 5.0, False)], []),
        ([join(1), join(1, 5.0)], [(1, 0.5, True)], []),
        ([Leave(2), join(2, 5.0)], [(2, 5.0, False)], []),
        ([Leave(2), Leave(2)], [], [2]),
        ([join(2, 5.0)], [(2, 0.5, True)], []),
        ([Leave(2), join(2), Leave(2)], [], [2]),
        ([join(1), Detach(1), join(1)], [(1, 0.5, True)], []),
    ],
)
def test_of_coming_and_going_within_a_tick_the_end_is_told(
    commands: list[AnyCommand], joined: list[tuple[int, float, bool]], left: list[int]
) -> None:
    """Player 2 was there before. Nobody is both in `joined` and in `left`, nobody twice."""
    world = World(*plain(), join(2))
    events = world.do(*commands)
    assert [(one.player_id, one.x, one.resumed) for one in events.joined] == joined
    assert {player_id for player_id, _, _ in events.left} == set(left)
    assert told(events)[0, 0].keys() == world.state.players.slot_of.keys()


def test_commands_apply_in_the_order_they_came() -> None:
    one, other = World(*plain(), join(1)), World(*plain(), join(1))
    one.do(steer(1, 1, 1.0, 0.0), steer(1, 2, 0.0, 1.0))
    other.do(steer(1, 2, 0.0, 1.0), steer(1, 1, 1.0, 0.0))
    assert one.place(1) == (0.5, 0.5 + STRIDE)
    assert other.place(1) == (0.5 + STRIDE, 0.5)


STRANGERS: list[AnyCommand] = [
    Leave(99),
    Detach(99),
    steer(99, 1, 1.0, 0.0),
    Say(99, 1, ChatChannel.WORLD, "boo", None),
]


@pytest.mark.parametrize("command", STRANGERS, ids=lambda command: type(command).__name__)
def test_commands_of_who_is_not_there_change_nothing(command: AnyCommand) -> None:
    world, calm = World(*plain(), join(1)), World(*plain(), join(1))
    events = world.do(command)
    calm.do()
    assert digest(world.state) == digest(calm.state)
    assert [*events.left, *moved(events), *events.answers, *events.heard, *events.touched] == []


# --- lost lines -------------------------------------------------------------------------------------------------------------------


def test_the_detached_stand_still_for_resume_ticks_and_then_leave() -> None:
    world = World(*plain(), join(1), steer(1, 1, 1.0, 0.0))
    assert world.do(Detach(1)).touched.size == 0
    place = world.place(1)
    for _ in range(RULES.resume_ticks - 1):
        assert world.do().left == []
        assert world.place(1) == place
    events = world.do()
    assert events.left == [(1, *place)]
    assert told(events) == {(0, 0): {}}


def test_who_joins_in_time_goes_on_where_they_stand_and_stays() -> None:
    world = World(*plain(), Join(1, "Robin", Role.USER, 9, 5.0, 6.0))
    world.do(Detach(1))
    [joined] = world.do(Join(1, "Other", Role.GUEST, 1, 20.0, 20.0)).joined
    assert (joined.resumed, joined.x, joined.y, joined.name, joined.look) == (True, 5.0, 6.0, "Robin", 9)
    for _ in range(3 * RULES.resume_ticks):
        assert world.do().left == []
    assert moved(world.do(steer(1, 1, 1.0, 0.0))) == [(1, 1, 5.0 + STRIDE, 6.0)]


def test_the_detached_take_no_orders() -> None:
    world = World(*plain(), join(1))
    world.do(Detach(1))
    assert moved(world.do(steer(1, 1, 1.0, 0.0))) == []
    assert world.place(1) == (0.5, 0.5)


def test_joining_again_stops_them() -> None:
    """The new line has not asked to walk."""
    world = World(*plain(), join(1), steer(1, 1, 1.0, 0.0))
    place = world.place(1)
    world.do(join(1))
    assert world.do().moving == 0
    assert world.place(1) == place


def test_without_time_to_resume_the_detached_leave_at_once() -> None:
    world = World(*plain(), join(1), rules=replace(RULES, resume_ticks=0))
    assert world.do(Detach(1)).left == [(1, 0.5, 0.5)]


def test_a_slot_used_again_remembers_nothing() -> None:
    world = World(*plain(), join(1), steer(1, 1, 1.0, 0.0))
    world.do(Detach(1), Leave(1), join(2, 9.0, 9.0))
    assert world.state.players.slot_of == {2: 0}
    for _ in range(3 * RULES.resume_ticks):
        assert world.do().left == []
    assert world.place(2) == (9.0, 9.0)


# --- the order in a cell ------------------------------------------------------------------------------------------------------------


def test_cells_are_shuffled_where_somebody_came_went_or_crossed_and_only_there() -> None:
    world = World(*plain(), join(1, 31.9, 1.0), join(2, 5.0, 5.0), join(3, -5.0, 5.0), join(4, 5.0, -5.0))
    assert shuffled(world.do(steer(2, 1, 1.0, 0.0), Leave(4), join(5, -5.0, -5.0))) == {(0, -1), (-1, -1)}
    assert shuffled(world.do(steer(1, 1, 1.0, 0.0))) == {(0, 0), (1, 0)}
    assert shuffled(world.do()) == set()


def test_when_the_arrays_grow_every_cell_is_told_anew() -> None:
    """Guard: Players.regrouped; the lists of the grid are laid anew, and places without names would be the wrong people's."""
    some = [join(number, number % 60 + 0.5, 5.0) for number in range(1, SLOTS_AT_START + 1)]
    world = World(*plain(), *some)
    orders = in_order(world.do(*(steer(number, 1, 0.0, 1.0) for number in range(1, SLOTS_AT_START + 1))))
    events = world.do(join(9_999, -5.0, -5.0), steer(1, 2, 0.0, 1.0))
    assert shuffled(events) == {(0, 0), (1, 0), (-1, -1)}
    assert in_order(events).keys() >= orders.keys()


# --- answers ----------------------------------------------------------------------------------------------------------------------


def test_the_newest_input_is_acknowledged_once_with_the_place_after_the_tick() -> None:
    world = World(*plain(), join(1), join(2))
    events = world.do(steer(1, 1, 0.0, 1.0), steer(2, 8, 0.0, 0.0), steer(1, 2, 1.0, 0.0))
    assert moved(events) == [(1, 2, 0.7, 0.5), (2, 8, 0.5, 0.5)]
    assert moved(world.do()) == []


def test_a_newer_line_is_not_told_of_what_the_older_one_asked() -> None:
    """Guard: _join forgets the intent; the newer line counts its own from one again."""
    assert moved(World(*plain(), join(1)).do(steer(1, 77, 1.0, 0.0), join(1))) == []
    assert moved(World(*plain(), join(1)).do(join(1), steer(1, 2, 1.0, 0.0))) == [(1, 2, 0.7, 0.5)]


def test_who_left_in_the_same_tick_is_not_answered() -> None:
    assert moved(World(*plain(), join(1)).do(steer(1, 1, 1.0, 0.0), Leave(1))) == []
    assert moved(World(*plain(), join(1)).do(steer(1, 1, 1.0, 0.0), Leave(1), join(2))) == []


# --- slots ------------------------------------------------------------------------------------------------------------------------


def test_slots_are_used_again_lowest_first() -> None:
    world = World(*(join(number) for number in range(10)))
    world.do(Leave(7), Leave(3), Leave(5))
    world.do(join(20), join(21), join(22), join(23))
    slots = world.state.players.slot_of
    assert [slots[number] for number in (20, 21, 22, 23)] == [3, 5, 7, 10]
    assert world.state.players.linked.tolist() == list(range(11))


def test_growth_keeps_everyone() -> None:
    """Twice beyond what was room for; some walk, some are detached, some left before."""
    count = 4 * SLOTS_AT_START - 5
    random = np.random.default_rng(1)
    places = random.uniform(-90, 90, (count, 2)).tolist()
    world = World(*plain(3))
    for number, place in enumerate(places[:200]):
        world.do(Join(number, f"n{number}", Role.USER, number, *place))
    world.do(steer(1, 1, 1.0, 0.0), Detach(2), Leave(3))
    walker = world.place(1)
    joins = [Join(number, f"n{number}", Role.USER, number, *places[number]) for number in range(200, count)]
    events = world.do(*joins)
    players = world.state.players
    assert len(players) == count - 1
    assert len(players.x) == 4 * SLOTS_AT_START
    assert world.place(1) == (walker[0] + STRIDE, walker[1])
    assert players.leave_tick[players.slot_of[2]] == world.state.tick - 1 + RULES.resume_ticks
    for number in set(range(count)) - {1, 3}:
        slot = players.slot_of[number]
        assert (players.names[slot], players.roles[slot], players.look[slot]) == (
            f"n{number}",
            Role.USER,
            number,
        )
        assert world.place(number) == tuple(places[number])
    everyone = players.grid.within(0.0, 0.0, 200.0, players.x, players.y, players.linked)
    assert sorted(players.player_id[everyone].tolist()) == sorted(players.slot_of)
    for cell, records in told(events).items():
        near = [n for n in players.slot_of if tuple(int(place // 32) for place in world.place(n)) == cell]
        assert sorted(records) == sorted(near)
    emptied = told(world.do(*(Leave(number) for number in range(count))))
    assert emptied
    assert not any(emptied.values())


# --- ground -----------------------------------------------------------------------------------------------------------------------


def test_ground_is_replaced_where_it_was() -> None:
    world = World(LoadChunk(0, 0, OPEN), join(1, 2.9, 2.5))
    world.do(LoadChunk(0, 0, ground(("#",), 3, 2)), steer(1, 1, 1.0, 0.0))
    assert world.place(1) == (2.9, 2.5)
    assert len(world.state.chunks.slot_of) == 1


def test_ground_without_room_is_rejected_until_there_is_some() -> None:
    world = World(LoadChunk(0, 0, OPEN), LoadChunk(9, 9, OPEN), rules=replace(RULES, chunks_max=2))
    assert world.do(LoadChunk(1, 0, OPEN), LoadChunk(0, 0, OPEN)).rejected_chunks == [(1, 0)]
    assert world.do(UnloadChunk(9, 9), LoadChunk(1, 0, OPEN)).rejected_chunks == []
    assert set(world.state.chunks.slot_of) == {pack(0, 0), pack(1, 0)}
    assert world.state.chunks.grid.anyone_in(pack(1, 0))
    assert not world.state.chunks.grid.anyone_in(pack(9, 9))


@pytest.mark.parametrize(
    ("place", "unloaded"),
    [
        ((5.0, 5.0), False),
        ((-1.0, -1.0), False),
        ((63.9, 32.0), False),
        ((64.0, 32.0), True),
        ((-32.1, 0.0), True),
        ((0.0, 70.0), True),
    ],
)
def test_ground_is_kept_where_somebody_stands_in_it_or_beside_it(
    place: tuple[float, float], unloaded: bool
) -> None:
    world = World(*plain(), join(1, *place))
    events = world.do(UnloadChunk(0, 0))
    assert events.unloaded_chunks == ([(0, 0)] if unloaded else [])
    assert (pack(0, 0) not in world.state.chunks.slot_of) == unloaded
    assert world.state.chunks.grid.anyone_in(pack(0, 0)) != unloaded


def test_ground_that_is_not_there_may_be_forgotten() -> None:
    assert World().do(UnloadChunk(3, 3)).unloaded_chunks == [(3, 3)]


# --- against the model, and against itself ----------------------------------------------------------------------------------------

IDS = st.integers(1, 5)
NUMBERS = st.sampled_from((-40.0, -32.0, -0.1, 0.0, 0.5, 1.9, 31.9, 32.0, 45.3, 63.95))
WAYS = st.sampled_from((-1.0, -0.6, 0.0, 0.25, 1.0))
CHUNKS = st.integers(-2, 1)
GROUND = st.sampled_from((OPEN, ground(("#.#~", "..#."), 0, 1), bytes([40]) * 1024, bytes(1024)))
WORLDLY: st.SearchStrategy[AnyCommand] = st.one_of(
    st.builds(join, IDS, NUMBERS, NUMBERS),
    st.builds(steer, IDS, st.integers(0, 9), WAYS, WAYS),
    st.builds(steer, IDS, st.integers(0, 9), WAYS, WAYS),
    st.builds(Leave, IDS),
    st.builds(Detach, IDS),
    st.builds(LoadChunk, CHUNKS, CHUNKS, GROUND),
    st.builds(UnloadChunk, CHUNKS, CHUNKS),
)
TALK: st.SearchStrategy[AnyCommand] = st.one_of(
    st.builds(Say, IDS, st.integers(0, 9), st.sampled_from(ChatChannel), st.text(max_size=5), st.none() | IDS),
    st.builds(
        Recall,
        st.lists(
            st.builds(Line, st.just(ChatChannel.WORLD), IDS, st.just("old"), st.text(max_size=3), st.just(0),
                      NUMBERS, NUMBERS, st.none()),
            max_size=2,
        ),
    ),
)  # fmt: skip
TICKS = st.lists(st.lists(WORLDLY, max_size=6), min_size=1, max_size=12)
STORY = st.lists(st.lists(WORLDLY | TALK, max_size=6), min_size=1, max_size=8)
SMALL = replace(RULES, chunks_max=6, walk_speed=18.0)  # long steps: much happens in few ticks


@settings(max_examples=300)
@given(TICKS)
def test_a_small_world_goes_as_the_model_says(ticks: list[list[AnyCommand]]) -> None:
    start = [LoadChunk(cx, cy, OPEN) for cx in (-1, 0) for cy in (-1, 0)]
    world, model = World(rules=SMALL), Model(SMALL)
    first: list[AnyCommand] = [*start, join(1), join(2, 31.9)]
    for commands in [first, *ticks]:
        _compare(world, world.do(*commands), model, commands)


def _compare(world: World, events: Events, model: Model, commands: list[AnyCommand]) -> None:
    expected = model.step(commands)
    assert {one.player_id: (one.x, one.y, one.resumed) for one in events.joined} == expected.joined
    assert {player_id: (x, y) for player_id, x, y in events.left} == expected.left
    assert sorted(moved(events)) == sorted(expected.moved)
    assert {player_id: unpack(key) for player_id, key in events.crossed} == expected.crossed
    assert {cell: set(records) for cell, records in told(events).items()} == expected.cells
    for cell, order in in_order(events).items():
        assert cell in shuffled(events) or order == world.orders[cell]
        world.orders[cell] = order
    assert (events.rejected_chunks, events.unloaded_chunks) == (expected.rejected, expected.unloaded)
    assert events.moving == expected.moving
    players = world.state.players
    assert {number: world.place(number) for number in players.slot_of} == {
        number: (person.x, person.y) for number, person in model.people.items()
    }
    for number, person in model.people.items():
        slot = players.slot_of[number]
        assert (players.dx[slot], players.dy[slot]) == (person.dx, person.dy)
        assert players.leave_tick[slot] == (NEVER if person.leave_tick is None else person.leave_tick)
    chunks = world.state.chunks
    assert {unpack(key): chunks.walk[slot].tobytes() for key, slot in chunks.slot_of.items()} == model.chunks


def _played(ticks: list[list[AnyCommand]]) -> list[str]:
    """The digest after each tick."""
    world = World(*plain(), rules=replace(RULES, chunks_max=12))
    digests = []
    for commands in ticks:
        world.do(*commands)
        digests.append(digest(world.state))
    return digests


@settings(max_examples=60)
@given(STORY)
def test_the_same_commands_make_the_same_world(ticks: list[list[AnyCommand]]) -> None:
    assert _played(ticks) == _played(ticks)


@settings(max_examples=60)
@given(STORY, st.integers(0, 7))
def test_one_player_more_makes_another_world_from_then_on(ticks: list[list[AnyCommand]], when: int) -> None:
    when = min(when, len(ticks) - 1)
    others = [list(commands) for commands in ticks]
    others[when].append(join(77))
    one, other = _played(ticks), _played(others)
    assert one[:when] == other[:when]
    assert all(a != b for a, b in zip(one[when:], other[when:], strict=True))


LINE = Line(ChatChannel.WORLD, 1, "p1", "hello", 1, 0.5, 0.5, None)
CHANGES: list[tuple[str, list[AnyCommand]]] = [
    ("another place", [join(1, 0.5000000001), join(2)]),
    ("another name", [Join(1, "P1", Role.GUEST, 0, 0.5, 0.5), join(2)]),
    ("another role", [Join(1, "p1", Role.USER, 0, 0.5, 0.5), join(2)]),
    ("another look", [join(1, look=1), join(2)]),
    ("another player", [join(3), join(2)]),
    ("nobody else", [join(1)]),
    ("an intent that leads nowhere", [join(1), join(2), steer(1, 1, 1.0, 0.0), UnloadChunk(0, 0)]),
    ("a lost line", [join(1), join(2), Detach(1)]),
    ("other ground", [join(1), join(2), LoadChunk(0, 0, ground(("~",), 31, 31))]),
    ("ground elsewhere", [join(1), join(2), LoadChunk(5, 5, OPEN)]),
    ("a line", [join(1), join(2), Recall([LINE])]),
    ("nothing", [join(1), join(2)]),
]


def test_the_digest_tells_each_change() -> None:
    digests = {name: _played([commands])[-1] for name, commands in CHANGES}
    assert len(set(digests.values())) == len(CHANGES)
    assert _played([[]])[0] not in digests.values()
    lines = [LINE, Line(ChatChannel.WORLD, 1, "p1", "hello", 2, 0.5, 0.5, None)]
    assert len({_played([[Recall([line])]])[0] for line in lines}) == 2


def test_the_digest_does_not_know_slots_but_the_players() -> None:
    """The same people at the same places, come in another order, over slots that others had."""
    one, other = World(*plain()), World(*plain())
    one.do(join(1, 1.0), join(2, 2.0), join(3, 3.0))
    other.do(join(9), join(3, 3.0), join(8), join(1, 1.0), Leave(9), Leave(8), join(2, 2.0))
    assert one.state.players.slot_of != other.state.players.slot_of
    assert digest(one.state) == digest(other.state)


def test_world_time_is_counted_in_ticks() -> None:
    world = World(rules=replace(RULES, tick_hz=15))
    assert [world.state.time_ms(tick) for tick in (0, 1, 15, 20 * 15 + 7)] == [0, 66, 1000, 20_466]


# --- the inbox --------------------------------------------------------------------------------------------------------------------


def test_the_inbox_refuses_at_its_limit_keeps_order_and_takes_leaving_always() -> None:
    inbox = Inbox(2, 1)
    assert [inbox.put(steer(1, seq, 0.0, 0.0)) for seq in range(3)] == [True, True, False]
    inbox.put_always([Leave(1), Detach(2)])
    assert len(inbox) == 4
    assert inbox.drain() == [steer(1, 0, 0.0, 0.0), steer(1, 1, 0.0, 0.0), Leave(1), Detach(2)]
    assert inbox.drain() == []
    assert inbox.put(Leave(3))


def test_so_many_join_in_a_tick_and_the_others_wait_with_all_that_is_theirs_and_nobody_else() -> None:
    """Guard: Inbox.drain holds back the Leave of one whose Join waits, or they would stand in the world for good."""
    inbox = Inbox(100, 2)
    for player_id in range(1, 6):
        assert inbox.put(join(player_id))
    inbox.put_always([Leave(4), Detach(1)])
    assert inbox.put(join(4))
    assert inbox.put(steer(9, 1, 0.0, 0.0))
    assert inbox.drain() == [join(1), join(2), Detach(1), steer(9, 1, 0.0, 0.0)]
    assert len(inbox) == 5
    assert inbox.put(join(6))
    assert inbox.drain() == [join(3), join(4), Leave(4)]
    assert inbox.drain() == [join(5), join(4)]
    assert inbox.drain() == [join(6)]
    assert inbox.drain() == []


def test_who_is_given_a_role_and_leaves_in_one_tick_is_only_gone() -> None:
    """Guard: `crossed` in tick._sum_up; whoever encodes the tick would look for a player who is no more."""
    world = World(*plain(), join(1), join(2))
    events = world.do(Become(1, "Ada", Role.MODERATOR, 7), Leave(1), Become(2, "Bea", Role.USER, 7))
    assert [player_id for player_id, _ in events.crossed] == [2]
    assert [player_id for player_id, *_ in events.left] == [1]
