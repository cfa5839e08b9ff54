"""People in one world, over real sockets and a real database: walking, seeing, talking, coming back."""

import asyncio
import math
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from protocol.errors import CloseCode, RefusalCode
from protocol.messages import (
    ChatChannel,
    ChatSaid,
    ChatSay,
    Chunk,
    ChunkGet,
    Closing,
    Delivery,
    Move,
    Moved,
    Ok,
    PlayerFind,
    Refused,
    Role,
    Snapshot,
)
from protocol.snapshot import UNITS_PER_TILE
from tests.harness import Client, ServerProcess, serving
from tests.integration.conftest import Join

RESUME_S = 600  # longer than any test takes
SPEED = 4.0  # tiles a second on open ground
RECORD = 1 / UNITS_PER_TILE  # how exactly a snapshot says a place
DIRECTIONS = [(1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0)]


@pytest.fixture(scope="module", params=[0, 2], ids="gateways={}".format)
def server(request: pytest.FixtureRequest) -> Iterator[ServerProcess]:
    """A world whose newcomers all stand close together, in earshot; with gateways too, where whoever joins may be on either."""
    settings = {
        "WORLD__SPAWN_RADIUS": 8,
        "SESSION__RESUME_S": RESUME_S,
        "SERVER__GATEWAYS": request.param,
    }
    with serving(settings=settings) as server:
        yield server


async def walk(client: Client, dx: float, dy: float) -> Moved:
    """Begins to walk; what the server said to it."""
    seq = next(client.ids)
    await client.send(Move(seq, dx, dy))
    return await client.wait(Moved, lambda moved: moved.seq == seq)


async def walk_somewhere(client: Client) -> tuple[float, float]:
    """Walks until one has truly gone some way, whatever stands around, and goes on; the place one began at."""
    x, y = await client.place()
    for dx, dy in DIRECTIONS * 3:
        began = await walk(client, dx, dy)
        client.seen = [message for message in client.seen if not isinstance(message, Snapshot)]
        for _ in range(10):
            await client.wait(Snapshot)
            here = client.places[client.player_id]
            if math.dist(here, (began.x, began.y)) > 0.5:
                return x, y
    raise AssertionError("there is no way to go")


def together(one: tuple[float, float], two: tuple[float, float], within: float = RECORD) -> bool:
    return math.dist(one, two) <= 2 * within


def sees(client: Client, places: dict[int, tuple[float, float]]) -> bool:
    """Whether one sees each of these players at their place."""
    return all(who in client.places and together(client.places[who], place) for who, place in places.items())


# --- seeing and walking ------------------------------------------------------------------------------------


async def test_two_guests_see_each_other_with_names_before_places(server: ServerProcess, join: Join) -> None:
    one, two = await join(), await join()
    await one.wait_until(lambda: two.player_id in one.places)
    await two.wait_until(lambda: one.player_id in two.places)
    assert one.names[two.player_id] == two.welcome.name
    assert two.names[one.player_id] == one.welcome.name


async def test_each_sees_the_other_walk_to_where_they_truly_are(server: ServerProcess, join: Join) -> None:
    one, two = await join(), await join()
    began = await walk_somewhere(one)
    place = await one.place()
    assert math.dist(place, began) > 0.4
    await two.wait_until(lambda: one.player_id in two.places and together(two.places[one.player_id], place))
    await one.leave()
    await two.wait_until(lambda: True)


async def test_each_of_many_is_seen_where_they_are_while_others_come_and_go(
    server: ServerProcess, join: Join
) -> None:
    """Ids are said once and places after them in the same order: an order that changed unsaid would show people in others' places."""
    people = [await join() for _ in range(4)]
    for turn in range(4):
        for index, client in enumerate(people):
            await walk(client, *DIRECTIONS[(index + turn) % 4])
        people.append(await join())
        await people.pop(1).leave()
        places = {client.player_id: await client.place() for client in people}
        for client in people:
            await client.wait_until(partial(sees, client, places))


async def test_inputs_of_one_tick_are_answered_together_with_the_newest(
    server: ServerProcess, join: Join
) -> None:
    client = await join()
    for first in (101, 121):
        await client.send(*(Move(seq, 0.0, 0.0) for seq in range(first, first + 20)))  # one frame: one tick
        moved = await client.wait(Moved)
        assert moved.seq == first + 19
    await client.place()
    assert not [message for message in client.seen if isinstance(message, Moved)]


@pytest.mark.parametrize("push", [1.0, 0.7071])
async def test_nobody_walks_faster_than_the_world_allows(
    server: ServerProcess, join: Join, push: float
) -> None:
    """Guard: the clamp of an intent to length 1 in world.tick._steer; a diagonal (1, 1) would be 41% faster."""
    client = await join()
    began = await walk(client, push, push)
    seconds = 0.0
    while seconds < 3:  # of world time, pushing all the while
        moved = await walk(client, push, push)
        seconds = (moved.tick - began.tick) / client.welcome.tick_hz
        assert math.dist((moved.x, moved.y), (began.x, began.y)) <= SPEED * seconds + 1e-6


async def test_who_leaves_is_gone_at_once(server: ServerProcess, join: Join) -> None:
    """Guard: Connection._left_for_good; a goodbye is no lost line."""
    one, two = await join(), await join()
    await two.wait_until(lambda: one.player_id in two.places)
    players = server.metric("landworld_players")
    tick = server.metric("landworld_tick")
    await one.leave()
    await server.until("landworld_players", lambda now: now == players - 1)
    assert server.metric("landworld_tick") < tick + RESUME_S * one.welcome.tick_hz


def _says(channel: ChatChannel, text: str) -> Callable[[ChatSaid], bool]:
    return lambda said: (said.channel, said.text) == (channel, text)


# --- talk --------------------------------------------------------------------------------------------------


async def test_talk_reaches_those_it_is_for(server: ServerProcess, join: Join) -> None:
    one, two, three = [await join() for _ in range(3)]
    heard = {
        ChatChannel.NEARBY: (ChatSay(1, ChatChannel.NEARBY, "  near\tby\x07 "), "near by", [one, two, three]),
        ChatChannel.WORLD: (ChatSay(2, ChatChannel.WORLD, "all"), "all", [one, two, three]),
        ChatChannel.DIRECT: (ChatSay(3, ChatChannel.DIRECT, "you", two.player_id), "you", [one, two]),
    }
    for channel, (say, text, listeners) in heard.items():
        answer = await one.ask(say)
        assert isinstance(answer, Ok)
        for listener in listeners:
            said = await listener.wait(ChatSaid, _says(channel, text))
            assert (said.sender_id, said.sender_name) == (one.player_id, one.welcome.name)
    await three.place()
    assert not [message for message in three.seen if isinstance(message, ChatSaid) and message.text == "you"]


async def test_who_enters_is_told_what_was_said_before_and_not_what_was_meant_for_others(
    server: ServerProcess,
    join: Join,
) -> None:
    one, two = await join(), await join()
    for say in (
        ChatSay(1, ChatChannel.WORLD, "a word to all of history"),
        ChatSay(2, ChatChannel.DIRECT, "a secret", two.player_id),
    ):
        assert isinstance(await one.ask(say), Ok)
    three = await join()
    await three.wait(ChatSaid, lambda said: said.text == "a word to all of history")
    await three.place()
    assert not [
        message for message in three.seen if isinstance(message, ChatSaid) and message.text == "a secret"
    ]


@pytest.mark.parametrize(
    ("say", "code"),
    [
        (ChatSay(1, ChatChannel.WORLD, " \x07\u202e "), RefusalCode.BAD_REQUEST),
        (ChatSay(1, ChatChannel.WORLD, "a" * 301), RefusalCode.BAD_REQUEST),
        (ChatSay(1, ChatChannel.DIRECT, "hello"), RefusalCode.NOT_FOUND),
        (ChatSay(1, ChatChannel.DIRECT, "hello", 4_000_000_000), RefusalCode.NOT_FOUND),
    ],
)
async def test_talk_that_makes_no_sense_is_refused_with_words(
    server: ServerProcess, join: Join, say: ChatSay, code: RefusalCode
) -> None:
    client = await join()
    answer = await client.ask(say)
    assert isinstance(answer, Refused)
    assert answer.code == code


# --- questions ---------------------------------------------------------------------------------------------


async def test_players_are_found_by_name_whether_here_or_not(server: ServerProcess, join: Join) -> None:
    asker = await join()
    ada = await join(token=server.token("Ada Lovelace"))
    found = await asker.ask(PlayerFind(1, "ada LOVELACE"))
    assert isinstance(found, Ok)
    assert found.result == {"player_id": ada.player_id, "name": "Ada Lovelace", "online": True}
    await ada.leave()
    players = await server.until("landworld_players", lambda players: players == 1)
    assert players == 1
    found = await asker.ask(PlayerFind(2, "Ada Lovelace"))
    assert isinstance(found, Ok)
    assert found.result["online"] is False


@pytest.mark.parametrize("name", ["nobody of this name", "a\x00b", "\u202e", "'; --"])
async def test_nobody_is_found_by_other_names(server: ServerProcess, join: Join, name: str) -> None:
    asker = await join()
    answer = await asker.ask(PlayerFind(1, name))
    assert isinstance(answer, Refused)
    assert answer.code == RefusalCode.NOT_FOUND


async def test_ground_is_the_same_for_all_and_not_sent_to_who_has_it(
    server: ServerProcess, join: Join
) -> None:
    one, two = await join(), await join()
    chunks = []
    for client in (one, two):
        answer = await client.ask(ChunkGet(1, 0, 0))
        assert isinstance(answer, Ok)
        assert answer.result["delivery"] == Delivery.WHOLE
        chunks.append(await client.wait(Chunk))
        assert answer.result["version"] == chunks[0].version
    assert chunks[0] == chunks[1]
    answer = await one.ask(ChunkGet(2, 0, 0, chunks[0].version))
    assert isinstance(answer, Ok)
    assert answer.result == {"delivery": Delivery.CURRENT, "version": chunks[0].version}
    far = await one.ask(ChunkGet(3, 30, 0))
    assert isinstance(far, Refused)
    assert far.code == RefusalCode.OUT_OF_RANGE


# --- coming back -------------------------------------------------------------------------------------------


async def test_one_player_has_one_connection_and_the_newer_wins(server: ServerProcess, join: Join) -> None:
    token = server.token("Twin")
    older = await join(token=token)
    newer = await join(token=token)
    assert newer.player_id == older.player_id
    assert newer.welcome.role is Role.USER
    closing = await older.wait(Closing)
    assert (closing.code, closing.retry_after_ms) == (CloseCode.REPLACED, None)
    assert (await older.wait_closed())[0] == CloseCode.REPLACED
    await newer.place()
    assert server.metric("landworld_players") == 1


async def test_after_a_lost_line_the_player_stands_there_and_goes_on(
    server: ServerProcess, join: Join
) -> None:
    """Guard: Hub._lose detaches instead of leaving; world.tick._join takes up who still stands."""
    lost = await join()
    resumed = server.metric("landworld_resumed_total")
    await walk_somewhere(lost)
    lost.drop()
    await server.until("landworld_players_detached", lambda detached: detached == 1)
    newcomer = await join()
    await newcomer.wait_until(lambda: lost.player_id in newcomer.places)  # it stands there for all to see
    stands = newcomer.places[lost.player_id]
    back = await join(resume=lost.welcome.resume)
    assert back.player_id == lost.player_id
    assert together((back.welcome.x, back.welcome.y), stands)
    # Gateways tell what they count once a second, so `resumed` may lack what the test before had counted.
    await server.until("landworld_resumed_total", lambda total: total >= resumed + 1)
    assert server.metric("landworld_players_detached") == 0


async def test_after_the_time_to_resume_the_same_guest_comes_back_to_the_same_place(
    data: Path,
) -> None:
    """Guard: world.tick._expire lets them leave."""
    with serving(data, {"WORLD__SPAWN_RADIUS": 8, "SESSION__RESUME_S": 1}) as server:
        guest = await Client.join(server)
        await walk_somewhere(guest)
        place = await guest.place()
        guest.drop()
        await server.until("landworld_players", lambda players: players == 0)
        back = await Client.join(server, resume=guest.welcome.resume)
        assert (back.player_id, back.welcome.name) == (guest.player_id, guest.welcome.name)
        assert (back.welcome.x, back.welcome.y) == place
        assert server.metric("landworld_resumed_total") == 0
        await back.leave()


async def test_who_leaves_and_comes_at_once_stands_where_they_left(server: ServerProcess, join: Join) -> None:
    """Guard: Directory._enter asks the flusher for the place that is not saved yet."""
    token = server.token("Comet")
    comet = await join(token=token)
    await walk_somewhere(comet)
    place = await comet.place()
    await comet.leave()
    await server.until("landworld_players", lambda players: players == 0)
    back = await join(token=token)
    assert (back.welcome.x, back.welcome.y) == place


async def test_the_token_command_signs_for_this_server(server: ServerProcess, join: Join) -> None:
    tokens = server.command("token", "--name", "robot", "--count", "2").split()
    robots = await asyncio.gather(*(join(token=token) for token in tokens))
    assert [robot.welcome.name for robot in robots] == ["robot-1", "robot-2"]
