"""What the codec refuses and what it takes, as tables: bytes on the left, the outcome on the right."""

import struct

import pytest

from protocol import codec
from protocol.codec import MESSAGES_PER_FRAME_MAX, decode_client, decode_server, encode
from protocol.errors import CLOSE_REASON_BYTES_MAX, CloseCode, ProtocolError
from protocol.messages import ChatSay, ClientMessage, Hello, Move, Ping, PlayerFind, Pong
from tests.protocol.support import VECTORS

FRAME_BYTES_MAX = (
    4096  # what a client may send at once; server.config sets it, the codec is tested with that much
)
PING = bytes.fromhex("920207")
MOVE = bytes.fromhex("940301cb3fe0000000000000cbbfe0000000000000")


def _move(dx: float) -> bytes:
    return bytes.fromhex("940301") + b"\xcb" + struct.pack(">d", dx) + b"\x00"


def _nested(opening: bytes, closing: bytes = b"\x01") -> bytes:
    return opening * ((FRAME_BYTES_MAX - len(closing)) // len(opening)) + closing


REFUSED = {
    "nothing at all": b"",
    "text": b"GET / HTTP/1.1\r\n\r\n",
    "json": b'{"type": "ping"}',
    "zeros": bytes(4096),
    "ones": b"\xff" * 4096,
    "the byte MessagePack never uses": b"\xc1",
    "a bare number": b"\x02",
    "nil": b"\xc0",
    "a map in place of an array": bytes.fromhex("8102 07".replace(" ", "")),
    "an empty array": b"\x90",
    "an unknown code": bytes.fromhex("923f07"),
    "code 0": bytes.fromhex("920007"),
    "a negative code": bytes.fromhex("92ff07"),
    "a code of 64 bit": bytes.fromhex("92cfffffffffffffffff07"),
    "a code of the server's": encode(Pong(1, 2)),
    "a code as text": bytes.fromhex("92a470696e6707"),
    "a code as float": bytes.fromhex("92cb400000000000000007"),
    "a code as bool": bytes.fromhex("92c307"),
    "a code as nil": bytes.fromhex("92c007"),
    "no fields": bytes.fromhex("9102"),
    "a field too few": bytes.fromhex("930301 00".replace(" ", "")),
    "a field too many": bytes.fromhex("93020707"),
    "an optional field too many": bytes.fromhex("960101a178c0c0c0"),
    "text for a number": bytes.fromhex("9202a137"),
    "bytes for text": bytes.fromhex("930601c40141"),
    "an array for text": bytes.fromhex("930601 9141".replace(" ", "")),
    "a map for a number": bytes.fromhex("920280"),
    "nil for a number": bytes.fromhex("9202c0"),
    "a bool for a number": bytes.fromhex("9202c3"),
    "a bool for a direction": bytes.fromhex("940301c300"),
    "a bool for an enum": bytes.fromhex("940501c2a178"),
    "a float for a number": bytes.fromhex("9202cb4000000000000000"),
    "a float32 for a number": bytes.fromhex("9202ca40000000"),
    "a float for an enum": bytes.fromhex("940501cb3ff0000000000000a178"),
    "an enum out of its range": bytes.fromhex("94050103a178"),
    "a negative u32": bytes.fromhex("9202ff"),
    "one past a u32": bytes.fromhex("9202cf0000000100000000"),
    "the greatest u64": bytes.fromhex("9202cfffffffffffffffff"),
    "the least i64": bytes.fromhex("9202d38000000000000000"),
    "one past a u16": bytes.fromhex("9301ce00010000a178"),
    "a chunk west of the world": bytes.fromhex("940401d2ffff7fff00"),
    "a chunk east of the world": bytes.fromhex("940401cd800000"),
    "not a number": _move(float("nan")),
    "another not a number": bytes.fromhex("940301cbfff800000000000100"),
    "a float32 not a number": bytes.fromhex("940301ca7fc0000000"),
    "infinite": _move(float("inf")),
    "infinite the other way": _move(float("-inf")),
    "a direction just past 1": _move(1.0000000000000002),
    "a direction of 2 as an integer": bytes.fromhex("9403010200"),
    "a direction of 2**63 as an integer": bytes.fromhex("940301cf800000000000000000"),
    "an empty chat line": bytes.fromhex("94050100a0"),
    "a chat line too long": encode(ChatSay(1, 0, "x" * 501)),  # type: ignore[arg-type]
    "a name too long": encode(PlayerFind(1, "x" * 25)),
    "an empty name": encode(PlayerFind(1, "")),
    "a token too long": encode(Hello(1, "x", "t" * 2049)),
    "text that is not UTF-8": bytes.fromhex("930601a2c328"),
    "text with a surrogate": bytes.fromhex("930601a3eda080"),
    "text cut within a letter": bytes.fromhex("930601a1c3"),
    "an overlong letter": bytes.fromhex("930601a2c080"),
    "a letter past Unicode": bytes.fromhex("930601a4f4908080"),
    "an extension": bytes.fromhex("d40100"),
    "an extension for a number": bytes.fromhex("9202d40100"),
    "an extension of 4 GiB": bytes.fromhex("9202c9ffffffff01"),
    "a timestamp for a number": bytes.fromhex("9202d6ff00000000"),
    "a timestamp for text": bytes.fromhex("930601d6ff00000000"),
    "an array of 4 G": bytes.fromhex("ddffffffff02"),
    "a map of 4 G": bytes.fromhex("dfffffffff02"),
    "text of 4 GiB": bytes.fromhex("930601dbffffffff41"),
    "bytes of 4 GiB": bytes.fromhex("930601c6ffffffff41"),
    "arrays in arrays": _nested(b"\x91"),
    "arrays in arrays without an end": b"\x91" * FRAME_BYTES_MAX,
    "maps in maps": _nested(b"\x81\x01"),
    "maps as keys of maps": b"\x81" * FRAME_BYTES_MAX,
    "wide arrays in arrays": _nested(b"\xdc\x00\x01"),
    "nesting within a field": b"\x92\x02" + b"\x91" * 4093 + b"\x01",
    "nesting within a message, shallow enough to skip": b"\x92\x02" + b"\x91" * 900 + b"\x01",
    "a good message, then garbage": PING + b"\xc1",
    "a good message, then a number": PING + b"\x00",
    "a good message, then half of one": PING + MOVE[:9],
    "garbage, then a good message": b"\x00" + PING,
    "more messages than a frame may hold": PING * (MESSAGES_PER_FRAME_MAX + 1),
    "a frame full of numbers": b"\x01" * FRAME_BYTES_MAX,
    "a frame full of empty arrays": b"\x90" * FRAME_BYTES_MAX,
}

TAKEN: dict[str, tuple[bytes, ClientMessage]] = {
    "the least direction": (bytes.fromhex("940301ff00"), Move(1, -1.0, 0.0)),
    "a direction as whole number": (bytes.fromhex("9403010100"), Move(1, 1.0, 0.0)),
    "a direction as float32": (bytes.fromhex("940301ca3f00000000"), Move(1, 0.5, 0.0)),
    "the smallest direction above 0": (_move(5e-324), Move(1, 5e-324, 0.0)),
    "optional fields left out": (bytes.fromhex("930101a178"), Hello(1, "x")),
    "optional fields as nil": (bytes.fromhex("950101a178c0c0"), Hello(1, "x")),
    "a text with a zero": (bytes.fromhex("930601a100"), PlayerFind(1, "\0")),
    "wider than needed": (bytes.fromhex("dd00000002cc02ce00000007"), Ping(7)),
}


@pytest.mark.parametrize("data", REFUSED.values(), ids=REFUSED)
def test_what_breaks_the_protocol_closes_with_1007_and_a_reason(data: bytes) -> None:
    with pytest.raises(ProtocolError) as caught:
        decode_client(data)
    assert caught.value.code is CloseCode.INVALID_DATA
    assert 0 < len(caught.value.reason.encode()) <= CLOSE_REASON_BYTES_MAX
    assert not caught.value.reason.endswith(": ")


@pytest.mark.parametrize(("data", "message"), TAKEN.values(), ids=TAKEN)
def test_what_is_taken(data: bytes, message: ClientMessage) -> None:
    assert decode_client(data) == [message]


def test_minus_zero_stays_a_direction_that_stands_still() -> None:
    (move,) = decode_client(_move(-0.0))
    assert isinstance(move, Move)
    assert move.dx == 0


@pytest.mark.parametrize("row", VECTORS["messages"], ids=lambda row: f"{row['name']}-{row['hex'][:16]}")
def test_a_message_cut_at_any_byte_is_refused_and_never_taken_for_another(row: dict[str, str]) -> None:
    data = bytes.fromhex(row["hex"])
    for end in range(len(data)):
        for decode in (decode_client, decode_server):
            with pytest.raises(ProtocolError):
                decode(data[:end])


@pytest.mark.parametrize("count", [1, 2, MESSAGES_PER_FRAME_MAX])
def test_as_many_messages_as_allowed_are_taken(count: int) -> None:
    assert decode_client(PING * count) == [Ping(7)] * count


def test_a_lower_limit_of_messages_holds() -> None:
    assert len(decode_client(PING * 2, messages_max=2)) == 2
    with pytest.raises(ProtocolError, match="more than 2 messages"):
        decode_client(PING * 3, messages_max=2)


def test_nothing_is_taken_of_a_frame_whose_last_message_is_wrong() -> None:
    with pytest.raises(ProtocolError):
        decode_client(PING + MOVE + bytes.fromhex("9202c0"))


def test_a_server_frame_holds_as_many_messages_as_its_bytes() -> None:
    pongs = encode(Pong(1, 2)) * 1000
    assert decode_server(pongs) == [Pong(1, 2)] * 1000


def test_a_client_refuses_what_only_clients_send() -> None:
    with pytest.raises(ProtocolError):
        decode_server(PING)


def test_each_decode_begins_anew_after_a_refused_one() -> None:
    for data in REFUSED.values():
        with pytest.raises(ProtocolError):
            decode_client(data)
        assert decode_client(PING) == [Ping(7)]


def test_a_long_reason_is_cut_to_what_a_close_frame_holds_between_letters() -> None:
    error = ProtocolError(CloseCode.INVALID_DATA, "é" * 100)
    assert error.reason == "é" * (CLOSE_REASON_BYTES_MAX // 2)


def test_the_splitter_finds_the_ends_without_copying() -> None:
    data = PING + MOVE + PING
    parts = codec._split(data, 3)
    assert [bytes(part) for part in parts] == [PING, MOVE, PING]
    assert all(part.obj is data for part in parts)
