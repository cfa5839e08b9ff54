"""The ring of frames between processes: whatever is read is what was written, or is known to be lost."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.ring import FRAMES_MIN, Overwritten, Ring

SIZE = 64
FRAME_MAX = SIZE // FRAMES_MIN


@contextmanager
def ring(size: int = SIZE) -> Iterator[tuple[Ring, Ring]]:
    """The writer's end and a reader's."""
    writer = Ring.made(size)
    reader = Ring(os.dup(writer.fd))
    try:
        yield writer, reader
    finally:
        reader.close()
        writer.close()


@given(st.lists(st.binary(max_size=FRAME_MAX), max_size=60), st.data())
def test_a_frame_is_read_as_it_was_written_or_is_overwritten(
    frames: list[bytes], data: st.DataObject
) -> None:
    """However often the writer has gone round. Guards: the two parts of a frame over the end, the check in `read`."""
    with ring() as (writer, reader):
        written = 0
        places: list[tuple[int, bytes]] = []
        for frame in frames:
            places.append((writer.write(frame), frame))
            written += len(frame)
            position, wanted = data.draw(st.sampled_from(places))
            if written - position <= SIZE - FRAME_MAX:
                assert reader.read(position, len(wanted)) == wanted
            else:
                with pytest.raises(Overwritten):
                    reader.read(position, len(wanted))


class Racing(Ring):
    """A reader that the writer overtakes while it copies."""

    writer: Ring

    def _copied(self, position: int, size: int) -> bytes:
        data = super()._copied(position, size)
        for _ in range(FRAMES_MIN):
            self.writer.write(b"new" * (FRAME_MAX // 3))
        return data


def test_a_frame_that_is_overwritten_while_it_is_copied_is_not_used() -> None:
    """Guard: `read` looks how far the writer is after it has copied, not before."""
    with ring() as (writer, reader):
        position = writer.write(b"old" * 5)
        assert reader.read(position, 15) == b"old" * 5
        reader.__class__, reader.writer = Racing, writer  # type: ignore[attr-defined]
        with pytest.raises(Overwritten):
            reader.read(position, 15)


def test_a_frame_over_the_limit_is_refused() -> None:
    """Guard: the limit in `write`; a frame longer than the ring would overwrite its own beginning."""
    with ring() as (writer, _), pytest.raises(ValueError, match="too large"):
        writer.write(bytes(FRAME_MAX + 1))
