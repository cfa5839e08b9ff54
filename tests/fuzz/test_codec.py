"""The codec against bytes nobody thought of: whatever comes in, messages or a ProtocolError come out, nothing else.

Messages are made up from the description of the protocol, so a new one is fuzzed from the day it exists. A failure prints the
example that hypothesis shrank; `@reproduce_failure` replays it.
"""

from collections.abc import Callable
from functools import partial
from itertools import accumulate
from typing import Any

import msgpack
from hypothesis import example, given, settings
from hypothesis import strategies as st

from protocol import codec, spec
from protocol.codec import decode_client, decode_server, encode
from protocol.errors import CloseCode, ProtocolError
from tests.protocol.support import CLASSES, VECTORS

DESCRIPTION = spec.describe()
SHAPES: dict[str, type[Any]] = {shape.__name__: shape for shape in spec.SHAPES}
FRAME_BYTES_MAX = 4096


def _values(field: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Every value the field takes."""
    values: st.SearchStrategy[Any]
    match field["type"]:
        case "int":
            values = st.integers(field["min"], field["max"])
        case "float":
            values = st.floats(field["min"], field["max"])
        case "str":
            values = st.text(min_size=field.get("chars_min", 0), max_size=min(field.get("chars_max", 40), 40))
        case "enum":
            values = st.sampled_from(sorted(DESCRIPTION["enums"][field["enum"]].values()))
        case "bool":
            values = st.booleans()
        case "bin":
            values = st.binary(min_size=field.get("bytes_min", 0), max_size=field.get("bytes_max", 64))
        case "map" if "shape" in field:
            values = _built(SHAPES[field["shape"]], DESCRIPTION["shapes"][field["shape"]])
        case "map":
            values = st.dictionaries(
                st.text(max_size=8), st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=8)
            )
        case other:
            raise AssertionError(f"a field type the fuzzer does not know: {other}")
    return st.none() | values if field.get("optional") else values


def _message(row: dict[str, Any]) -> st.SearchStrategy[Any]:
    return _built(CLASSES[row["name"]], row["fields"])


def _built(kind: type[Any], fields: list[dict[str, Any]]) -> st.SearchStrategy[Any]:
    return st.builds(kind, **{field["name"]: _values(field) for field in fields})


def _messages(direction: str) -> st.SearchStrategy[Any]:
    return st.one_of(*[_message(row) for row in DESCRIPTION["messages"] if row["direction"] == direction])


CLIENT = _messages("client")
SERVER = _messages("server")
PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=20)
    | st.binary(max_size=20)
    | st.builds(msgpack.ExtType, st.integers(0, 127), st.binary(max_size=20))
    | st.builds(msgpack.Timestamp, st.integers(-(2**63), 2**63 - 1), st.integers(0, 999_999_999)),
    lambda inner: (
        st.lists(inner, max_size=6)
        | st.dictionaries(st.integers(-9, 9) | st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=20,
)
VALID_FRAMES = [bytes.fromhex(row["hex"]) for row in (*VECTORS["messages"], *VECTORS["alternatives"])]


@st.composite
def mutated_frames(draw: st.DrawFn) -> bytes:
    """A valid frame with some bytes changed, cut out, doubled or put in."""
    frame = bytearray(draw(st.sampled_from(VALID_FRAMES))[:FRAME_BYTES_MAX])
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(frame)))
        end = min(len(frame), at + draw(st.integers(0, 9)))
        put = draw(st.sampled_from([b"", bytes(frame[at:end]) * 2]) | st.binary(max_size=9))
        frame[at:end] = put
    return bytes(frame)


@given(st.lists(CLIENT, min_size=1, max_size=8))
def test_client_messages_come_back_as_they_went(messages: list[Any]) -> None:
    assert decode_client(b"".join(map(encode, messages))) == messages


@given(st.lists(SERVER, min_size=1, max_size=8))
def test_server_messages_come_back_as_they_went(messages: list[Any]) -> None:
    assert decode_server(b"".join(map(encode, messages))) == messages


@settings(max_examples=500)
@given(st.binary(max_size=FRAME_BYTES_MAX))
@example(b"\x91" * FRAME_BYTES_MAX)
def test_any_bytes_are_messages_or_refused(data: bytes) -> None:
    _messages_or_refused(data)


@settings(max_examples=500)
@given(st.integers(0, 127) | PLAIN, st.lists(PLAIN, max_size=6))
def test_any_array_is_a_message_or_refused(code: Any, fields: list[Any]) -> None:
    _messages_or_refused(_pack([code, *fields]))


@settings(max_examples=1000)
@given(mutated_frames())
def test_a_valid_frame_with_mistakes_in_it_is_messages_or_refused(data: bytes) -> None:
    _messages_or_refused(data)


@given(st.lists(PLAIN, min_size=1, max_size=20))
def test_the_splitter_agrees_with_reading_one_by_one(values: list[Any]) -> None:
    packed = [_pack(value) for value in values]
    assert [bytes(part) for part in codec._split(b"".join(packed), len(packed))] == packed


@given(st.lists(CLIENT, min_size=1, max_size=6), st.floats(0, 1))
def test_a_frame_cut_anywhere_is_refused_or_the_messages_before_the_cut(
    messages: list[Any], part: float
) -> None:
    ends = list(accumulate(len(encode(message)) for message in messages))
    cut = int(part * ends[-1])
    taken = _refused_or(lambda: decode_client(b"".join(map(encode, messages))[:cut]))
    assert taken == (messages[: ends.index(cut) + 1] if cut in ends else None)


def _messages_or_refused(data: bytes) -> None:
    """Whatever is taken can be written and read again as the same; everything else is INVALID_DATA."""
    for decode in (decode_client, decode_server):
        messages = _refused_or(partial(decode, data))
        if messages is not None:
            written = b"".join(map(encode, messages))
            assert b"".join(map(encode, decode(written))) == written


def _refused_or(act: Callable[[], list[Any]]) -> list[Any] | None:
    try:
        return act()
    except ProtocolError as refused:
        error = refused
    assert error.code is CloseCode.INVALID_DATA
    assert error.reason
    return None


def _pack(value: Any) -> bytes:
    packed: bytes = msgpack.packb(value)
    return packed
