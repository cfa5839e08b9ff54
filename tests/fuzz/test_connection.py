"""A connection against bytes nobody thought of, in one piece and byte by byte, with a real gate, interest and world behind it.

Only the socket, the ground and the database are not there. Whatever comes in: no exception leaves `data_received`, the world gets the
same commands however the bytes were cut, and a connection that ends does so with a documented code or HTTP status.

Cut differently, a stream with several faults may end by another of them: the framing library reads a whole piece before the messages
in it are looked at, so that in one piece a broken frame is found before a bad message that stands in front of it.
"""

import asyncio
import itertools
import logging
from collections.abc import Iterator
from dataclasses import dataclass

import msgspec
import numpy as np
import pytest
import structlog
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode

from protocol import codec
from protocol.errors import CloseCode
from protocol.messages import PROTOCOL_VERSION, ChatChannel, ChatSay, ChunkGet, Hello, Move, Ping, PlayerFind
from server.connection import Connection
from tests.server.support import HANDSHAKE, HELLO, FakeTransport, House, frame, payloads
from world.commands import STEER, Say, Steers

OURS = {1003, 1007, 1008, 4003}  # found in messages; everything else is found in frames
HTTP = {400, 403, 404, 405, 414, 426, 431}
DONE = Steers | Say  # what a player may do to the world


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    with asyncio.Runner() as runner, pytest.MonkeyPatch.context() as patch:
        quiet = structlog.make_filtering_bound_logger(logging.INFO)
        patch.setattr("server.gate.log", structlog.wrap_logger(None, wrapper_class=quiet))

        async def build() -> House:
            return House()

        yield runner.run(build())


# --- streams -----------------------------------------------------------------------------------------------

U32 = st.integers(0, 2**32 - 1)
MESSAGE = st.one_of(
    st.builds(Move, U32, st.floats(-1, 1), st.floats(-1, 1)),
    st.builds(Ping, U32),
    st.builds(ChatSay, U32, st.sampled_from(ChatChannel), st.text(min_size=1, max_size=20), st.none() | U32),
    st.builds(ChunkGet, U32, st.integers(-7, 7), st.integers(-7, 7), st.none() | st.integers(0, 2)),
    st.builds(PlayerFind, U32, st.text(min_size=1, max_size=24)),
    st.just(Hello(PROTOCOL_VERSION, "fuzz")),
)
PAYLOAD = st.lists(MESSAGE, min_size=1, max_size=4).map(lambda some: b"".join(map(codec.encode, some)))


@st.composite
def whole_messages(draw: st.DrawFn) -> bytes:
    """One good WebSocket message, perhaps in fragments with a control frame between them."""
    payload = draw(PAYLOAD)
    cuts = sorted(draw(st.lists(st.integers(0, len(payload)), max_size=3)))
    pieces = [payload[start:end] for start, end in itertools.pairwise([0, *cuts, len(payload)])]
    frames = []
    for number, piece in enumerate(pieces):
        frames.append(frame(piece, Opcode.CONT if number else Opcode.BINARY, number == len(pieces) - 1))
        if draw(st.booleans()):
            frames.append(
                frame(draw(st.binary(max_size=8)), draw(st.sampled_from([Opcode.PING, Opcode.PONG])))
            )
    return b"".join(frames)


@st.composite
def odd_frames(draw: st.DrawFn) -> bytes:
    """One frame that a good client would not send."""
    payload = draw(st.binary(max_size=200) | st.just(bytes(5_000)) | PAYLOAD)
    head = bytes([draw(st.integers(0, 255)), draw(st.integers(0, 255))])
    return draw(
        st.sampled_from(
            [
                frame(payload, Opcode.TEXT),
                frame(payload, Opcode.CONT),
                frame(payload),
                frame(payload, fin=False),
                Frame(Opcode.BINARY, payload).serialize(mask=False),
                frame(payload[:2], Opcode.CLOSE),
                frame(payload[:125], Opcode.CLOSE),
                frame((1000).to_bytes(2, "big") + b"goodbye", Opcode.CLOSE),
                head + payload,
                b"\x82\xff" + (2**62).to_bytes(8, "big") + bytes(4),
                payload,
            ]
        )
    )


STREAM = st.lists(whole_messages() | whole_messages() | odd_frames(), min_size=1, max_size=6).map(b"".join)


@st.composite
def mutated(draw: st.DrawFn, of: st.SearchStrategy[bytes]) -> bytes:
    """Some bytes changed, cut out, doubled or put in."""
    stream = bytearray(draw(of))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(stream)))
        end = min(len(stream), at + draw(st.integers(0, 9)))
        stream[at:end] = draw(st.sampled_from([b"", bytes(stream[at:end]) * 2]) | st.binary(max_size=9))
    return bytes(stream)


# --- what comes of them ------------------------------------------------------------------------------------


@dataclass
class Outcome:
    """What became of a stream. `code` is the close code, or the HTTP status, or 0 while the connection lives on."""

    commands: list[Steers | Say]
    answers: list[bytes]
    code: int


def feed(house: House, connection: Connection, transport: FakeTransport, pieces: list[bytes]) -> Outcome:
    house.gate.tick = 0  # what `pong` tells
    house.rest()  # what others said before is not to be felt
    for piece in pieces:
        if transport.closed:
            break
        connection.data_received(piece)
    written = transport.take()
    code = 0
    if written.startswith(b"HTTP/1.1 ") and not written.startswith(b"HTTP/1.1 101"):
        code, frames = int(written[9:12]), []
    else:
        frames = payloads(written.partition(b"\r\n\r\n")[2] if written.startswith(b"HTTP") else written)
    closes = [payload for opcode, payload in frames if opcode == Opcode.CLOSE]
    assert len(closes) <= 1
    if closes:
        last = [opcode for opcode, _ in frames if opcode != Opcode.PONG][-1]
        assert last == Opcode.CLOSE, "data after the close frame (RFC 6455 section 5.5.1)"
        code = int.from_bytes(closes[0][:2], "big") if closes[0] else 1005
        closes[0][2:].decode()  # the reason is UTF-8
        assert connection.is_closing()
    assert bool(code) == connection.is_closing()
    house.tick()
    commands = [nameless(command) for command in house.commands if isinstance(command, DONE)]
    connection.connection_lost(None)
    house.tick()  # it leaves, or stays for a tick
    house.tick()
    return Outcome(commands, [payload for opcode, payload in frames if opcode == Opcode.BINARY], code)


def nameless(command: Steers | Say) -> Steers | Say:
    """The command with nothing in it of who gave it."""
    if isinstance(command, Say):
        return msgspec.structs.replace(command, player_id=0, session=0)
    steers = np.frombuffer(command.records, STEER).copy()
    steers["player_id"] = 0
    return Steers(steers.tobytes())


def check_same(whole: Outcome, bytewise: Outcome) -> None:
    assert whole.commands == bytewise.commands
    if whole.code == bytewise.code == 0:
        assert whole.answers == bytewise.answers
    else:
        assert whole.answers == bytewise.answers[: len(whole.answers)]
    assert bool(whole.code) == bool(bytewise.code)
    assert whole.code == bytewise.code or bytewise.code in OURS


def check_documented(outcome: Outcome, stream: bytes) -> None:
    """One of our codes, an HTTP status of the list, or the client's own close code given back."""
    known = {0, *HTTP, *CloseCode}
    given_back = len(stream) > 1 and (outcome.code == 1005 or 1000 <= outcome.code < 5000)
    assert outcome.code in known or given_back, outcome.code


def bytes_of(stream: bytes) -> list[bytes]:
    return [stream[index : index + 1] for index in range(len(stream))]


FUZZ = settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])


@settings(FUZZ, max_examples=150)
@given(STREAM)
@example(b"\x82\xff" + (2**62).to_bytes(8, "big"))
@example(frame(codec.encode(Ping(1))) + frame(b"\xc1") + frame((1000).to_bytes(2, "big"), Opcode.CLOSE))
def test_streams_of_a_player_end_alike_whole_and_byte_by_byte(house: House, stream: bytes) -> None:
    whole = feed(house, *house.player(), [stream])
    check_documented(whole, stream)
    check_same(whole, feed(house, *house.player(), bytes_of(stream)))


@settings(FUZZ, max_examples=150)
@given(mutated(STREAM))
def test_mutated_streams_end_alike_whole_and_byte_by_byte(house: House, stream: bytes) -> None:
    whole = feed(house, *house.player(), [stream])
    check_documented(whole, stream)
    check_same(whole, feed(house, *house.player(), bytes_of(stream)))


@settings(FUZZ, max_examples=150)
@given(mutated(st.builds(lambda more: HANDSHAKE + frame(HELLO) + more, STREAM | st.just(b""))))
@example(HANDSHAKE.replace(b"GET /", b"GET //[") + frame(HELLO))
@example(HANDSHAKE.replace(b"Host", b"Origin: http://[\r\nHost"))
@example(HANDSHAKE.replace(b"localhost:8765", b"[\r\nOrigin: http://localhost:8080"))
@example(HANDSHAKE.replace(b"Host", b"Host: localhost:8765\r\nHost"))
@example(HANDSHAKE + frame(codec.encode(Hello(99, "fuzz"))))
@example(HANDSHAKE + b"\x82\x01a")
@example(b"GET /" + b"a" * 10_000 + b" HTTP/1.1\r\n\r\n")
@example(HANDSHAKE[:-2] + b"a: b\r\n" * 200 + b"\r\n")
@example(bytes(100) + b"\n" * 100)
def test_streams_from_the_first_byte_end_alike_whole_and_byte_by_byte(house: House, stream: bytes) -> None:
    whole = feed(house, *house.connect(), [stream])
    check_documented(whole, stream)
    check_same(whole, feed(house, *house.connect(), bytes_of(stream)))


@settings(FUZZ, max_examples=100)
@given(st.lists(whole_messages(), min_size=1, max_size=8), st.data())
def test_a_good_session_is_understood_however_it_is_cut(
    house: House, messages: list[bytes], data: st.DataObject
) -> None:
    stream = b"".join(messages)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    pieces = [stream[start:end] for start, end in itertools.pairwise([0, *cuts, len(stream)])]
    whole = feed(house, *house.player(), [stream])
    assert whole.code in (0, CloseCode.POLICY_VIOLATION)  # a second hello is the only fault it can have
    check_same(whole, feed(house, *house.player(), pieces))


def test_it_left_no_connection_behind(house: House) -> None:
    assert len(house.gate) == 0
    assert not house.gate.players
    house.tick()
    assert len(house.world.players) == 0
