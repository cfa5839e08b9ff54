"""The gate and its connections, driven by hand: who comes and goes, in which order, and what is never written."""

import asyncio
from collections.abc import Iterator

import pytest

from protocol import codec
from protocol.errors import CloseCode, RefusalCode
from protocol.messages import (
    ChatChannel,
    ChatSaid,
    ChatSay,
    Closing,
    Hello,
    LandClaim,
    Move,
    Moved,
    Ok,
    Ping,
    Pong,
    Refused,
    Role,
    Snapshot,
    State,
    Welcome,
)
from server.connection import Connection
from server.gate import TOO_LATE, TOO_MANY
from server.hub import FORGET_GUESTS_S
from tests.server.support import HANDSHAKE, HELLO, House, frame, messages, payloads
from world.commands import Act, Join, Leave

CLOSE_FRAME = 8


@pytest.fixture
def house() -> Iterator[House]:
    with asyncio.Runner() as runner:

        async def build() -> House:
            return House()

        yield runner.run(build())


def test_whoever_leaves_and_comes_back_within_one_tick_is_welcomed_and_seen(house: House) -> None:
    """Guard: world.tick._sum_up; were they told to be gone, too, the tick would fail and the server stop."""
    watcher, seen = house.player()
    first, _ = house.player()
    player_id = first.session.player_id
    house.elsewhere.ids = iter([player_id])  # the same player signs in again
    again, transport = house.connect()
    first.data_received(frame((1000).to_bytes(2, "big"), opcode=CLOSE_FRAME))
    first.connection_lost(None)
    again.data_received(HANDSHAKE + frame(HELLO))
    seen.take()
    house.tick()
    assert [type(command) for command in house.commands] == [Leave, Join]
    assert again.session.state is State.PLAYING
    told = messages(transport.take().partition(b"\r\n\r\n")[2])
    assert isinstance(told[0], Welcome)
    assert [message for message in messages(seen.take()) if isinstance(message, Snapshot)]
    assert watcher.is_open()
    house.tick()


def test_frames_right_behind_the_handshake_are_answered_after_it(house: House) -> None:
    """Guard: Connection._answer_handshake writes at once; the answer to a hello must not overtake the 101."""
    house.elsewhere.refuses = True
    connection, transport = house.connect()
    connection.data_received(HANDSHAKE + frame(HELLO))
    head, _, rest = transport.take().partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101")
    assert [type(message) for message in messages(rest)] == [Refused]


def test_no_data_follows_a_close_frame(house: House) -> None:
    """Guard: Connection._end_soon closes the outbox (RFC 6455 section 5.5.1)."""
    walker, _ = house.player()
    closed, transport = house.player()
    closed.close(CloseCode.IDLE_TIMEOUT, "nothing was heard for too long")
    walker.data_received(frame(codec.encode(Move(1, 1.0, 0.0))))
    house.gate.interest.tell_everyone(b"\x82\x00")
    house.tick()
    assert [opcode for opcode, _ in payloads(transport.take())] == [CLOSE_FRAME]


def test_a_connection_that_is_being_closed_does_not_enter_the_world(house: House) -> None:
    """Guard: `ending` in Hub._entered; the database may answer late."""
    connection, _ = house.connect()
    house.elsewhere.hold = True
    connection.data_received(HANDSHAKE + frame(HELLO))
    connection.data_received(frame(codec.encode(Ping(1))))  # out of place: 1008
    house.elsewhere.answer()
    house.tick()
    assert house.commands == []
    assert not house.gate.players


def test_the_newer_connection_wins_and_the_older_is_told_why(house: House) -> None:
    older, transport = house.player()
    house.elsewhere.ids = iter([older.session.player_id])
    newer, _ = house.player()
    (closing,) = messages(transport.take())
    assert isinstance(closing, Closing)
    assert (closing.code, closing.retry_after_ms) == (CloseCode.REPLACED, None)
    older.connection_lost(None)
    house.tick()
    assert house.gate.players == {newer.session.player_id: newer}
    assert len(house.world.players) == 1


def test_who_signs_in_with_less_of_a_role_has_less_even_where_they_still_stand(house: House) -> None:
    """Guard: world.tick._join takes the role of the newest Join."""
    house.elsewhere.role = "admin"
    older, _ = house.player()
    assert older.session.role is Role.ADMIN
    house.elsewhere.ids, house.elsewhere.role = iter([older.session.player_id]), "user"
    newer, _ = house.player()
    assert newer.session.role is Role.USER


async def test_a_world_is_full_of_those_who_stand_in_it_whether_their_line_stands_or_not() -> None:
    """Guard: Hub._entered counts bodies; guests who drop the line at once could else fill the world."""
    house = House(server={"max_players": 2})
    _, other = house.player()
    lost, _ = house.player()
    lost.connection_lost(None)
    house.tick()
    late, transport = house.connect()
    late.data_received(HANDSHAKE + frame(HELLO))
    house.tick()
    (refused,) = messages(transport.take().partition(b"\r\n\r\n")[2])
    assert isinstance(refused, Refused)
    assert refused.code is RefusalCode.WORLD_FULL
    assert refused.retry_after_ms
    house.elsewhere.ids = iter([lost.session.player_id, 9])
    house.player()  # whoever stands there has a place
    other.take()
    house.gate.players[1].connection_lost(None)
    for _ in range(house.world.rules.resume_ticks + 1):
        house.tick()
    house.player()
    assert set(house.world.players.slot_of) == {lost.session.player_id, 9}


async def test_one_address_signs_in_so_often_and_no_more() -> None:
    """Guard: Hub._sign_in takes from the bucket of the address; a connection says one hello, so its own is none."""
    house = House(limits={"hellos_per_address": {"per_s": 0.5, "burst": 3}})
    for _ in range(3):
        house.player()
    connection, transport = house.connect()
    connection.data_received(HANDSHAKE + frame(HELLO))
    written = transport.take().partition(b"\r\n\r\n")[2]
    (refused,) = messages(written)
    assert isinstance(refused, Refused)
    assert (refused.code, refused.retry_after_ms) == (RefusalCode.RATE_LIMITED, 2_000)
    assert payloads(written)[-1][1][:2] == CloseCode.REFUSED.to_bytes(2, "big")


def test_guests_who_never_came_back_are_forgotten_by_and_by_and_nobody_who_is_here(house: House) -> None:
    player, _ = house.player()
    house.world.tick = FORGET_GUESTS_S * 20 - 2
    house.tick()
    assert house.elsewhere.forgot == []
    house.tick()
    days = house.gate.config.session.ticket_days
    assert house.elsewhere.forgot == [(days, [player.session.player_id])]


def test_who_does_not_read_is_told_when_to_come_back(house: House) -> None:
    slow, transport = house.player()
    house.gate.interest.too_slow.append(slow.session.player_id)
    house.tick()
    (closing,) = [message for message in messages(transport.take()) if isinstance(message, Closing)]
    assert closing.code is CloseCode.TOO_SLOW
    assert closing.retry_after_ms


@pytest.mark.parametrize(("said", "seconds"), [(b"", "handshake_timeout_s"), (HANDSHAKE, "hello_timeout_s")])
async def test_time_outs_come_after_their_seconds_and_not_before(said: bytes, seconds: str) -> None:
    """A turn of Gate._look_after is a second: at the least time-out, one second, nobody is cut off in their first."""
    house = House(limits={seconds: 1})
    connection, transport = house.connect()
    connection.data_received(said)
    ended = []
    for _ in range(3 * 20):
        house.tick()
        ended.append(connection.is_closing())
    assert 20 <= ended.index(True) <= 2 * 20
    assert transport.writes


def shaken(house: House, client: str, *more: str) -> tuple[Connection, bytes]:
    """A connection forwarded for a client (all lines come from 192.0.2.1), and the head of its answer."""
    connection, transport = house.connect()
    lines = "".join(f"\r\n{line}" for line in (f"X-Forwarded-For: {client}", *more))
    connection.data_received(HANDSHAKE.replace(b"\r\n\r\n", f"{lines}\r\n\r\n".encode()))
    return connection, transport.take().partition(b"\r\n")[0]


async def test_behind_a_trusted_proxy_each_client_has_an_address_of_its_own() -> None:
    """Guard: Gate.forwarded and Hub._forwarded; a world behind a proxy would else be full at connections_per_address."""
    house = House(
        server={"trusted_proxies": ["192.0.2.1"]},
        limits={"connections_per_address": 1, "hellos_per_address": {"per_s": 0.5, "burst": 1}},
    )
    one, answer = shaken(house, "198.51.100.1")
    two, also = shaken(house, "198.51.100.2")
    assert (answer, also) == (b"HTTP/1.1 101 Switching Protocols",) * 2
    _, over = shaken(house, "198.51.100.2")
    assert over == b"HTTP/1.1 429 Too Many Requests"
    for connection in (one, two):
        connection.data_received(frame(HELLO))
    house.tick()
    assert len(house.gate.players) == 2
    two.connection_lost(None)
    again, _ = shaken(house, "198.51.100.2")
    again.data_received(frame(HELLO))
    assert again.is_closing()  # the hello before was of the same address


async def test_what_others_say_of_themselves_is_not_believed() -> None:
    house = House(limits={"connections_per_address": 1})
    _, answer = shaken(house, "198.51.100.1")
    _, over = shaken(house, "198.51.100.2")
    assert (answer[:12], over[:12]) == (b"HTTP/1.1 101", b"HTTP/1.1 429")


async def test_a_page_behind_a_proxy_opens_the_socket_when_it_is_named() -> None:
    for origins, status in ((["same-host"], b"403"), (["same-host", "https://world.example.org"], b"101")):
        house = House(server={"origins": origins})
        _, answer = shaken(house, "198.51.100.1", "Origin: https://world.example.org")
        assert answer[9:12] == status


def test_an_answer_goes_to_the_connection_that_asked_and_not_to_the_one_after_it(house: House) -> None:
    """Guard: Gate._answer; each connection counts its requests from 1."""
    older, _ = house.player()
    asked = codec.encode(ChatSay(1, ChatChannel.WORLD, "who hears this?"))
    older.data_received(frame(asked))
    older.data_received(frame(codec.encode(LandClaim(2, bytes(16), 0, 0, 16, 16))))
    house.stalled = True
    house.elsewhere.ids = iter([older.session.player_id])
    newer, transport = house.connect()
    newer.data_received(HANDSHAKE + frame(HELLO))
    house.tick()
    assert Act in map(type, house.commands)
    house.stalled = False  # its commit took until now
    newer.data_received(frame(codec.encode(ChatSay(1, ChatChannel.NEARBY, "and this?"))))
    house.tick()
    told = messages(transport.take().partition(b"\r\n\r\n")[2])
    answers = [message for message in told if isinstance(message, Ok)]
    assert [(answer.request_id, answer.result) for answer in answers] == [(1, {"heard_by": 0})]


def test_answers_to_all_that_one_read_brings_come_in_one_write(house: House) -> None:
    connection, transport = house.player()
    connection.data_received(
        frame(codec.encode(Ping(1)) + codec.encode(Ping(2))) + frame(codec.encode(Ping(3)))
    )
    assert len(transport.writes) == 1
    assert [message.nonce for message in messages(transport.take()) if isinstance(message, Pong)] == [1, 2, 3]


def test_what_a_tick_says_to_the_whole_world_is_one_frame_for_everyone(house: House) -> None:
    """Guard: Gate.publish joins the lines."""
    (one, first), (two, second), (_, third) = (house.player() for _ in range(3))
    house.tick()
    for transport in (first, second, third):
        transport.take()
    for connection, text in ((one, "hello"), (two, "goodbye")):
        connection.data_received(frame(codec.encode(ChatSay(1, ChatChannel.WORLD, text))))
    house.tick()
    [(_, payload)] = payloads(third.take())
    lines = [said.text for said in codec.decode_server(payload) if isinstance(said, ChatSaid)]
    assert lines == ["hello", "goodbye"]


def test_moved_comes_once_a_tick_for_the_newest_input(house: House) -> None:
    connection, transport = house.player()
    connection.data_received(frame(b"".join(codec.encode(Move(seq, 0.0, 1.0)) for seq in (1, 2, 3))))
    house.tick()
    moved = [message for message in messages(transport.take()) if isinstance(message, Moved)]
    assert [(one.seq, one.tick) for one in moved] == [(3, house.world.tick)]


@pytest.mark.parametrize("answer", [TOO_MANY, TOO_LATE])
def test_the_answers_we_write_ourselves_are_http(answer: bytes) -> None:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert f"Content-Length: {len(body)}".encode() in head.split(b"\r\n")


def test_a_full_inbox_refuses_and_says_when_to_try_again(house: House) -> None:
    connection, transport = house.player()
    house.inbox.commands_max = 0
    connection.data_received(frame(codec.encode(Move(1, 0.0, 1.0))))
    (refused,) = messages(transport.take())
    assert isinstance(refused, Refused)
    assert refused.retry_after_ms
    assert connection.is_open()


def test_a_wrong_version_is_refused_with_a_reason_and_4005(house: House) -> None:
    connection, transport = house.connect()
    connection.data_received(HANDSHAKE)
    transport.take()
    house.elsewhere.refuses = True
    connection.data_received(frame(codec.encode(Hello(1, "tests"))))
    written = transport.take()
    assert [type(message) for message in messages(written)] == [Refused]
    assert payloads(written)[-1][1][:2] == CloseCode.REFUSED.to_bytes(2, "big")


async def test_world_talk_is_shared_by_all_and_refused_over_its_rate_without_being_flooding() -> None:
    """Guard: the bucket in Hub._say. No sign of flooding: others have said what there was room for."""
    house = House(
        chat={"world_rate": {"per_s": 2, "burst": 3}},
        limits={"flood_refusals_max": 2, "hellos_per_address": {"per_s": 1, "burst": 100}},
    )
    players = [house.player() for _ in range(20)]
    for connection, _ in players:
        connection.data_received(frame(codec.encode(ChatSay(1, ChatChannel.WORLD, "hi"))))
    house.tick()
    told = [messages(transport.take()) for _, transport in players]
    answers = [one for heard in told for one in heard if isinstance(one, Ok | Refused)]
    assert [type(answer) for answer in answers] == [Ok] * 3 + [Refused] * 17
    refused = answers[-1]
    assert isinstance(refused, Refused)
    assert (refused.code, refused.retry_after_ms) == (RefusalCode.RATE_LIMITED, 500)
    last, transport = players[-1]
    for channel in (ChatChannel.WORLD, ChatChannel.WORLD, ChatChannel.NEARBY):
        last.data_received(frame(codec.encode(ChatSay(2, channel, "hi"))))
    house.now_s += 0.5
    last.data_received(frame(codec.encode(ChatSay(3, ChatChannel.WORLD, "hi"))))
    house.tick()
    done = [one.request_id for one in messages(transport.take()) if isinstance(one, Ok)]
    assert done == [2, 3]
    assert last.is_open()
