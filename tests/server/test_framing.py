"""The short way for small frames beside the library that writes them."""

from itertools import accumulate, pairwise, product

from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode

from server.framing import SMALL_MAX, Border, small_message

FRAMES = st.builds(
    Frame,
    st.sampled_from((Opcode.BINARY, Opcode.CONT, Opcode.TEXT, Opcode.PING, Opcode.CLOSE)),
    st.binary(max_size=200) | st.sampled_from((SMALL_MAX, SMALL_MAX + 1, 65_535, 65_536)).map(bytes),
    st.booleans(),
)


@given(FRAMES, st.booleans())
def test_one_small_binary_frame_is_taken_and_nothing_else(frame: Frame, mask: bool) -> None:
    small = frame.opcode is Opcode.BINARY and frame.fin and len(frame.data) <= SMALL_MAX
    sent = (
        frame.serialize(mask=mask)
        if frame.opcode in (Opcode.BINARY, Opcode.CONT, Opcode.TEXT)
        else _sent(frame, mask)
    )
    assert small_message(sent) == (frame.data if small and mask else None)


def _sent(frame: Frame, mask: bool) -> bytes:
    """A control frame is final and short."""
    return Frame(frame.opcode, bytes(frame.data[:100])).serialize(mask=mask)


@given(st.binary(max_size=140), st.integers(0, 255), st.integers(0, 255))
def test_whatever_comes_is_taken_only_when_it_is_one_frame(data: bytes, first: int, second: int) -> None:
    sent = bytes((first, second)) + data
    taken = small_message(sent)
    whole = first == 0x82 and second >= 0x80 and second - 0x80 <= SMALL_MAX and len(data) == second - 0x80 + 4
    assert (taken is not None) == whole


@given(st.lists(FRAMES, max_size=4), st.booleans(), st.lists(st.integers(0, 9), min_size=1), st.data())
def test_the_border_is_known_however_the_bytes_are_cut(
    frames: list[Frame], mask: bool, steps: list[int], data: st.DataObject
) -> None:
    sent = [
        _sent(frame, mask) if frame.opcode in (Opcode.PING, Opcode.CLOSE) else frame.serialize(mask=mask)
        for frame in frames
    ]
    stream, ends = b"".join(sent), {0, *accumulate(map(len, sent))}
    cuts = data.draw(st.lists(st.integers(0, len(stream)) | st.sampled_from(sorted(ends)), max_size=12))
    near = {end + step for end, step in product(ends, steps) if end + step <= len(stream)}
    border = Border()
    for start, end in pairwise(sorted({0, *cuts, *near})):
        border.feed(stream[start:end])
        assert border.whole == (end in ends)
