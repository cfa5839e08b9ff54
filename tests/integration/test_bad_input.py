"""What no proper client does: each ends in its documented refusal or code, is counted, and nobody else notices.

Rows are (what is sent, how it ends). The count is looked up in /metrics by the name of the code, and somebody else walks on meanwhile.
"""

import asyncio
import itertools
import socket
import struct
from collections.abc import AsyncIterator, Iterator
from typing import Any

import msgpack
import pytest
import pytest_asyncio
from websockets.frames import Frame, Opcode

from protocol import codec
from protocol.errors import CloseCode, RefusalCode
from protocol.messages import (
    PROTOCOL_VERSION,
    ChatChannel,
    ChatSay,
    ChunkGet,
    ClientMessage,
    Hello,
    Move,
    Moved,
    Ping,
    PlayerFind,
    Pong,
    Refused,
    TileEdit,
    Welcome,
)
from tests.harness import Client, Raw, ServerProcess, serving
from tests.server.support import HANDSHAKE, HELLO, frame

NAN, INF = float("nan"), float("inf")
MESSAGE_BYTES_MAX = 4_096
FRAGMENTS_MAX = 16
CONNECTIONS_PER_ADDRESS = 8
IDLE_TIMEOUT_S = 6


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    settings = {
        "WORLD__SPAWN_RADIUS": 8,
        "LIMITS__OUTBOX_BYTES_MAX": 65_536,
        "LIMITS__SLOW_CLIENT_S": 0.5,
        "SESSION__RESUME_S": 600,
    }
    with serving(settings=settings) as server:
        yield server


@pytest.fixture(scope="module")
def strict() -> Iterator[ServerProcess]:
    """A server that does not wait long: time-outs as short as a busy machine allows."""
    settings = {
        "LIMITS__HANDSHAKE_TIMEOUT_S": 3,
        "LIMITS__HELLO_TIMEOUT_S": 3,
        "LIMITS__PING_INTERVAL_S": 1,
        "LIMITS__IDLE_TIMEOUT_S": IDLE_TIMEOUT_S,
        "LIMITS__OUTBOX_BYTES_MAX": 65_536,
        "WORLD__SPAWN_RADIUS": 8,
    }
    with serving(settings=settings) as server:
        yield server


@pytest.fixture(scope="module")
def narrow() -> Iterator[ServerProcess]:
    """A server with room for few."""
    settings = {
        "SERVER__GUESTS_ALLOWED": "false",
        "SERVER__MAX_PLAYERS": 1,
        "LIMITS__CONNECTIONS_PER_ADDRESS": CONNECTIONS_PER_ADDRESS,
    }
    with serving(settings=settings) as server:
        yield server


@pytest_asyncio.fixture
async def witness(server: ServerProcess) -> AsyncIterator[Client]:
    """Somebody else, who is served in every tick before, meanwhile and after."""
    client = await Client.join(server)
    yield client
    seq = next(client.ids)
    await client.send(Move(seq, 0.0, 0.0))
    moved = await client.wait(Moved, lambda moved: moved.seq == seq)
    assert moved.tick > client.welcome.tick
    await client.leave()


async def joined(server: ServerProcess) -> Raw:
    """A bare connection whose player is in the world."""
    raw = await Raw.open(server, HANDSHAKE, frame(HELLO))
    assert await raw.status() == 101
    await raw.wait(Welcome)
    return raw


def closed(code: CloseCode) -> str:
    return f'landworld_closed_total{{code="{code.name}"}}'


async def counted(server: ServerProcess, name: str, before: float, at_least: int = 1) -> None:
    await server.until(name, lambda value: value >= before + at_least)


# --- the handshake -----------------------------------------------------------------------------------------


def line(name: str, value: str) -> bytes:
    return HANDSHAKE.replace(b"\r\n\r\n", f"\r\n{name}: {value}\r\n\r\n".encode())


HANDSHAKES: dict[str, tuple[bytes, int]] = {
    "noise": (bytes(range(128, 256)) + b"\r\n\r\n", 400),
    "another protocol": (b"SSH-2.0-OpenSSH_9.9\r\n", 400),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n", 400),
    "POST": (HANDSHAKE.replace(b"GET", b"POST"), 405),
    "not an upgrade": (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", 426),
    "another path": (HANDSHAKE.replace(b"GET / ", b"GET /admin "), 404),
    "half an address in the path": (HANDSHAKE.replace(b"GET / ", b"GET //[ "), 404),
    "a path too long": (b"GET /" + b"a" * 9_000 + b" HTTP/1.1\r\n\r\n", 414),
    "a header too long": (line("Cookie", "a" * 9_000), 431),
    "too many headers": (HANDSHAKE.replace(b"\r\n\r\n", b"\r\na: b" * 200 + b"\r\n\r\n"), 431),
    "another origin": (line("Origin", "http://example.org"), 403),
    "no origin a browser sends": (line("Origin", "null"), 403),
    "half an address as origin": (line("Origin", "http://["), 403),
    "two origins": (line("Origin", "http://localhost\r\nOrigin: http://localhost"), 403),
    "two hosts": (line("Host", "localhost:8765"), 400),
    "no host": (HANDSHAKE.replace(b"Host: ", b"Hose: "), 400),
    "another subprotocol": (HANDSHAKE.replace(b"landworld.v1", b"landworld.v9"), 400),
    "no subprotocol": (HANDSHAKE.replace(b"Sec-WebSocket-Protocol: landworld.v1\r\n", b""), 400),
    "no key": (HANDSHAKE.replace(b"Sec-WebSocket-Key", b"Sec-WebSocket-Kez"), 400),
}


@pytest.mark.parametrize(("sent", "status"), HANDSHAKES.values(), ids=HANDSHAKES)
async def test_a_bad_handshake_is_answered_in_http_and_counted(
    server: ServerProcess, witness: Client, sent: bytes, status: int
) -> None:
    name = f'landworld_rejected_total{{status="{status}"}}'
    before = server.metric(name)
    raw = await Raw.open(server, sent)
    assert await raw.status() == status
    assert not await raw.code() - 1006
    await counted(server, name, before)


async def test_pages_of_this_server_and_programs_may_open_the_socket(server: ServerProcess) -> None:
    for sent in (HANDSHAKE, line("Origin", f"http://localhost:{server.http_port}")):
        raw = await Raw.open(server, sent)
        assert await raw.status() == 101
        raw.writer.close()


# --- frames and messages -----------------------------------------------------------------------------------


def packed(*fields: Any) -> bytes:
    return frame(msgpack.packb(fields))


MOVE = codec.encode(Move(1, 0.0, 0.0))
FRAMES: dict[str, tuple[bytes, CloseCode]] = {
    "text": (frame(b"hello", Opcode.TEXT), CloseCode.UNSUPPORTED_DATA),
    "text in pieces": (frame(b"hello", Opcode.TEXT, fin=False), CloseCode.UNSUPPORTED_DATA),
    "unmasked": (Frame(Opcode.BINARY, MOVE).serialize(mask=False), CloseCode.PROTOCOL_ERROR),
    "reserved bit": (bytes([frame(MOVE)[0] | 0x40]) + frame(MOVE)[1:], CloseCode.PROTOCOL_ERROR),
    "reserved opcode": (b"\x83" + frame(MOVE)[1:], CloseCode.PROTOCOL_ERROR),
    "reserved control opcode": (b"\x8b" + frame(MOVE)[1:], CloseCode.PROTOCOL_ERROR),
    "a piece of nothing": (frame(MOVE, Opcode.CONT), CloseCode.PROTOCOL_ERROR),
    "a message within a message": (frame(MOVE, fin=False) + frame(MOVE), CloseCode.PROTOCOL_ERROR),
    "a ping in pieces": (b"\x09\x80" + bytes(4), CloseCode.PROTOCOL_ERROR),
    "a long ping": (b"\x89\xfe\x00\x7e" + bytes(4 + 126), CloseCode.PROTOCOL_ERROR),
    "fragments without end": (
        frame(b"\x93", fin=False) + frame(b"", Opcode.CONT, fin=False) * FRAGMENTS_MAX,
        CloseCode.PROTOCOL_ERROR,
    ),
    "too big": (frame(bytes(MESSAGE_BYTES_MAX + 1)), CloseCode.TOO_BIG),
    "too big in pieces": (
        frame(bytes(MESSAGE_BYTES_MAX), fin=False) + frame(b"\x00", Opcode.CONT),
        CloseCode.TOO_BIG,
    ),
    "says it is huge": (b"\x82\xff" + (2**62).to_bytes(8, "big") + bytes(4), CloseCode.TOO_BIG),
    "a length with the sign bit": (b"\x82\xff" + b"\xff" * 8 + bytes(4), CloseCode.TOO_BIG),
    "nothing": (frame(b""), CloseCode.INVALID_DATA),
    "no MessagePack": (frame(b"\xc1"), CloseCode.INVALID_DATA),
    "half a message": (frame(MOVE[:-1]), CloseCode.INVALID_DATA),
    "no array": (frame(b"\x05"), CloseCode.INVALID_DATA),
    "unknown code": (packed(63), CloseCode.INVALID_DATA),
    "a server's message": (packed(67, 1, 1), CloseCode.INVALID_DATA),
    "wrong type": (packed(2, "one"), CloseCode.INVALID_DATA),
    "missing field": (packed(3, 1, 0.5), CloseCode.INVALID_DATA),
    "extra field": (packed(2, 1, 1), CloseCode.INVALID_DATA),
    "out of range": (packed(2, 2**32), CloseCode.INVALID_DATA),
    "NaN": (packed(3, 1, NAN, 0.0), CloseCode.INVALID_DATA),
    "infinite": (packed(3, 1, 0.0, INF), CloseCode.INVALID_DATA),
    "deep": (frame(b"\x91" * MESSAGE_BYTES_MAX), CloseCode.INVALID_DATA),
    "says it is long inside": (frame(b"\xdd\xff\xff\xff\xff"), CloseCode.INVALID_DATA),
    "bad UTF-8": (frame(b"\x94\x05\x01\x01\xa2\xc3\x28"), CloseCode.INVALID_DATA),
    "unknown channel": (packed(5, 1, 9, "hello"), CloseCode.INVALID_DATA),
    "too many in one": (frame(MOVE[:1] + b"\x03\x01\xc2\xc2" + MOVE * 65), CloseCode.INVALID_DATA),
    "hello again": (frame(HELLO), CloseCode.POLICY_VIOLATION),
    "a close code nobody may send": (
        frame((1005).to_bytes(2, "big"), Opcode.CLOSE),
        CloseCode.PROTOCOL_ERROR,
    ),
    "a close code of no range": (frame((999).to_bytes(2, "big"), Opcode.CLOSE), CloseCode.PROTOCOL_ERROR),
    "half a close code": (frame(b"\x03", Opcode.CLOSE), CloseCode.PROTOCOL_ERROR),
    "a close reason in bad UTF-8": (frame(b"\x03\xe8\xff", Opcode.CLOSE), CloseCode.INVALID_DATA),
}


@pytest.mark.parametrize(("sent", "code"), FRAMES.values(), ids=FRAMES)
async def test_bad_bytes_from_a_player_end_with_their_code_and_are_counted(
    server: ServerProcess, witness: Client, sent: bytes, code: CloseCode
) -> None:
    before = server.metric(closed(code))
    raw = await joined(server)
    raw.send(sent)
    assert await raw.code() == code
    await counted(server, closed(code), before)


EARLY: tuple[ClientMessage, ...] = (
    Move(1, 0.0, 0.0),
    Ping(1),
    ChunkGet(1, 0, 0),
    ChatSay(1, ChatChannel.WORLD, "hello"),
    PlayerFind(1, "Ada"),
)


@pytest.mark.parametrize("message", EARLY, ids=lambda message: type(message).__name__)
async def test_everything_before_hello_is_a_policy_violation(
    server: ServerProcess, message: ClientMessage
) -> None:
    raw = await Raw.open(server, HANDSHAKE, frame(codec.encode(message)))
    assert await raw.status() == 101
    assert await raw.code() == CloseCode.POLICY_VIOLATION


async def test_another_version_is_refused_with_words_and_4005(server: ServerProcess, witness: Client) -> None:
    name = 'landworld_refused_total{code="WRONG_VERSION"}'
    before = server.metric(name)
    raw = await Raw.open(server, HANDSHAKE, frame(codec.encode(Hello(PROTOCOL_VERSION + 1, "tests"))))
    assert await raw.status() == 101
    refused = await raw.wait(Refused)
    assert (refused.request_id, refused.code) == (0, RefusalCode.WRONG_VERSION)
    assert str(PROTOCOL_VERSION) in refused.message
    assert await raw.code() == CloseCode.REFUSED
    await counted(server, name, before)


async def test_a_forged_token_is_refused_with_words_and_4005(server: ServerProcess) -> None:
    raw = await Raw.open(server, HANDSHAKE, frame(codec.encode(Hello(1, "tests", "forged"))))
    assert await raw.status() == 101
    assert (await raw.wait(Refused)).code == RefusalCode.BAD_TOKEN
    assert await raw.code() == CloseCode.REFUSED


# --- floods and clients that do not read -------------------------------------------------------------------

FLOODS = {
    "moves": frame(MOVE) * 300,
    "moves, many in a frame": frame(MOVE * 60) * 5,
    "talk": frame(codec.encode(ChatSay(1, ChatChannel.NEARBY, "hey"))) * 250,
    "pings": frame(codec.encode(Ping(1))) * 250,
    "ping frames": frame(b"", Opcode.PING) * 250,
    "questions": frame(codec.encode(PlayerFind(1, "Ada"))) * 300,
    "actions": frame(codec.encode(TileEdit(1, bytes(16), bytes(9)))) * 300,
}


@pytest.mark.parametrize("sent", FLOODS.values(), ids=FLOODS)
async def test_a_flood_is_refused_then_closed(server: ServerProcess, witness: Client, sent: bytes) -> None:
    """Guard: Session.pay for what comes too often, Session._count_refusal for who goes on."""
    before = server.metric(closed(CloseCode.FLOODING))
    raw = await joined(server)
    raw.send(sent)
    if sent is not FLOODS["ping frames"]:  # these carry no request to be refused
        assert (await raw.wait(Refused)).code == RefusalCode.RATE_LIMITED
    assert await raw.code() == CloseCode.FLOODING
    await counted(server, closed(CloseCode.FLOODING), before)


async def test_a_client_that_never_reads_is_closed_and_nobody_waits_for_it(
    server: ServerProcess, witness: Client
) -> None:
    """Guards: Interest._skip reports who is full for slow_client_s, or over twice the limit; Connection._end_soon cuts
    who does not read a close frame either.
    """
    before = server.metric(closed(CloseCode.TOO_SLOW))
    raw = await joined(server)
    raw.writer.transport.pause_reading()  # type: ignore[attr-defined]
    wanted = [ChunkGet(1, cx, cy) for cx in range(-5, 6) for cy in range(-5, 6)]
    raw.send(*(frame(codec.encode(ask)) for ask in wanted * 3))
    await witness.place()
    await counted(server, closed(CloseCode.TOO_SLOW), before)
    assert server.metric("landworld_skipped_snapshots_total") > 0
    raw.writer.close()


async def test_who_reads_nothing_is_read_no_more_until_it_does(strict: ServerProcess) -> None:
    """Guards: Connection.pause_writing stops reading, or the pings are counted before they may; Gate._look_after does not take
    who is not listened to for silent.
    """
    chunks, pings = (f'landworld_messages_total{{name="{name}"}}' for name in ("chunk_get", "ping"))
    skipped = "landworld_skipped_snapshots_total"
    witness, raw = await Client.join(strict), await joined(strict)
    raw.writer.transport.pause_reading()  # type: ignore[attr-defined]
    before, asked = strict.metric(skipped), strict.metric(chunks)
    directions = itertools.cycle((1.0, -1.0))
    while strict.metric(skipped) == before:
        if strict.metric(chunks) == asked:
            raw.send(*(frame(codec.encode(ChunkGet(1, cx, 0))) for cx in (-1, 0, 1)))
            asked += 3
        await witness.send(Move(next(witness.ids), next(directions), 0.0))
    counted_before = strict.metric(pings)
    raw.send(*(frame(codec.encode(Ping(nonce))) for nonce in range(10)))
    tick = strict.metric("landworld_tick")
    await strict.until("landworld_tick", lambda now: now > tick + (IDLE_TIMEOUT_S + 2) * 20)
    assert strict.metric(pings) == counted_before
    raw.writer.transport.resume_reading()  # type: ignore[attr-defined]
    assert [(await raw.wait(Pong)).nonce for _ in range(10)] == list(range(10))
    raw.writer.close()
    await witness.leave()


# --- lines that break --------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["half close", "reset in a frame"])
async def test_a_line_that_breaks_leaves_its_player_standing(
    server: ServerProcess, witness: Client, how: str
) -> None:
    resumed = server.metric("landworld_resumed_total")
    raw = await Raw.open(server, HANDSHAKE, frame(HELLO))
    assert await raw.status() == 101
    welcome = await raw.wait(Welcome)
    if how == "half close":
        raw.writer.write_eof()
        assert await raw.code() == 1006
    else:
        raw.send(frame(MOVE)[:5])
        await raw.writer.drain()
        raw.writer.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
        )
        raw.writer.transport.abort()
    await server.until("landworld_connections", lambda connections: connections == 1)  # the witness's
    back = await Client.join(server, resume=welcome.resume)
    assert back.player_id == welcome.player_id
    assert server.metric("landworld_resumed_total") == resumed + 1
    await back.leave()


async def test_a_session_byte_by_byte_is_the_same_session(server: ServerProcess) -> None:
    raw = await Raw.open(server)
    raw.writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for byte in HANDSHAKE + frame(HELLO):
        raw.send(bytes([byte]))
        await asyncio.sleep(0)
    assert await raw.status() == 101
    await raw.wait(Welcome)
    for byte in frame(codec.encode(Ping(7)), fin=False) + frame(b"", Opcode.PING) + frame(MOVE, Opcode.CONT):
        raw.send(bytes([byte]))
        await asyncio.sleep(0)
    assert (await raw.wait(Pong)).nonce == 7
    raw.send(frame((1000).to_bytes(2, "big"), Opcode.CLOSE))
    assert await raw.code() == CloseCode.NORMAL


# --- time-outs and limits                 ---------------------------------------------------------------


@pytest.mark.parametrize("sent", [b"", HANDSHAKE[:-2]], ids=["nothing", "half a handshake"])
async def test_who_does_not_finish_the_handshake_is_turned_away(strict: ServerProcess, sent: bytes) -> None:
    """Guard: Gate._look_after with limits.handshake_timeout_s."""
    name = 'landworld_rejected_total{status="408"}'
    before = strict.metric(name)
    raw = await Raw.open(strict, sent)
    assert await raw.status() == 408
    assert await raw.code() == 1006
    await counted(strict, name, before)


async def test_who_says_no_hello_is_closed_with_4001(strict: ServerProcess) -> None:
    """Guard: Gate._look_after with limits.hello_timeout_s."""
    raw = await Raw.open(strict, HANDSHAKE)
    assert await raw.status() == 101
    assert await raw.code() == CloseCode.HELLO_TIMEOUT
    await counted(strict, closed(CloseCode.HELLO_TIMEOUT), 0)


async def test_who_answers_no_ping_is_closed_with_4002_and_who_does_stays(strict: ServerProcess) -> None:
    """Guard: Gate._look_after with limits.idle_timeout_s."""
    token = strict.token("idle")
    raw = await Raw.open(strict, HANDSHAKE, frame(codec.encode(Hello(1, "tests", token))))
    assert await raw.status() == 101
    await raw.wait(Welcome)
    assert await raw.code() == CloseCode.IDLE_TIMEOUT
    client = await Client.join(strict, token=token)  # this one answers pings, and says nothing else
    tick = client.welcome.tick
    await strict.until("landworld_tick", lambda now: now > tick + (IDLE_TIMEOUT_S + 2) * 20)
    await client.send(Ping(1))
    await client.wait(Pong)
    await client.leave()


async def test_guests_are_refused_where_there_are_none(narrow: ServerProcess) -> None:
    raw = await Raw.open(narrow, HANDSHAKE, frame(HELLO))
    assert await raw.status() == 101
    assert (await raw.wait(Refused)).code == RefusalCode.GUESTS_FORBIDDEN
    assert await raw.code() == CloseCode.REFUSED


async def test_a_full_world_says_when_to_come_again(narrow: ServerProcess) -> None:
    first, second = narrow.token("first"), narrow.token("second")
    client = await Client.join(narrow, token=first)
    raw = await Raw.open(narrow, HANDSHAKE, frame(codec.encode(Hello(1, "tests", second))))
    assert await raw.status() == 101
    refused = await raw.wait(Refused)
    assert refused.code == RefusalCode.WORLD_FULL
    assert refused.retry_after_ms
    assert await raw.code() == CloseCode.REFUSED
    again = await Client.join(narrow, token=first)  # who is in has a place, also on a newer connection
    await client.wait_closed()
    await again.leave()


async def test_one_address_gets_so_many_connections_and_no_more(narrow: ServerProcess) -> None:
    """Guard: Hub._admit with limits.connections_per_address."""
    await narrow.until("landworld_connections", lambda connections: connections == 0)
    name = 'landworld_rejected_total{status="429"}'
    before = narrow.metric(name)
    held = [await Raw.open(narrow) for _ in range(CONNECTIONS_PER_ADDRESS)]
    await narrow.until("landworld_connections", lambda connections: connections == CONNECTIONS_PER_ADDRESS)
    over = await Raw.open(narrow)
    assert await over.status() == 429
    await counted(narrow, name, before)
    for raw in (*held, over):
        raw.writer.close()
    await narrow.until("landworld_connections", lambda connections: connections == 0)
    raw = await Raw.open(narrow, HANDSHAKE)
    assert await raw.status() == 101
    raw.writer.close()
