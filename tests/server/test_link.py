"""The stream between two processes: whole messages in order, and an end that does not read is given up."""

import asyncio
import itertools
import socket
from collections.abc import AsyncIterator

import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st

from server.link import ENCODER, HEAD, Link
from server.seam import AnyUp, Closed, Ending, Opened, Steering

SAID: list[AnyUp] = [
    Opened(1, "192.0.2.1"),
    Steering(bytearray(b"x" * 100)),
    Ending(1, {}),
    Closed(1, True, {"chat": 2.5}),
]
PACKED = b"".join(HEAD.pack(len(one)) + one for one in map(ENCODER.encode, (SAID[:1], SAID[1:])))


@given(st.lists(st.integers(0, len(PACKED)), max_size=9))
def test_messages_come_whole_however_the_bytes_are_cut(cuts: list[int]) -> None:
    async def run() -> None:
        taken: list[AnyUp] = []
        end: Link[AnyUp] = Link(list[AnyUp], taken.append, 0.0)
        borders = [0, *sorted(cuts), len(PACKED)]
        for start, stop in itertools.pairwise(borders):
            end.data_received(PACKED[start:stop])
        assert taken == SAID

    asyncio.run(run())


@pytest_asyncio.fixture
async def pair() -> AsyncIterator[tuple[Link[AnyUp], socket.socket]]:
    """One end, and the bare socket at the other."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    end: Link[AnyUp] = Link(list[AnyUp], lambda _: None, 0.0)
    await asyncio.get_running_loop().create_unix_connection(lambda: end, sock=ours)
    yield end, theirs
    end.cut()
    theirs.close()


async def test_who_does_not_read_is_cut_off_and_never_waited_for(
    pair: tuple[Link[AnyUp], socket.socket],
) -> None:
    """Guard: the limit in Link.flush; the loop goes on meanwhile and what waits stays bounded."""
    end, _ = pair
    end.bytes_max = 4 * 1_048_576
    most = 0
    for _ in range(4 * end.bytes_max // 65_536):
        end.send(Steering(bytearray(65_536)))
        end.flush()
        most = max(most, end.behind_bytes())
        await asyncio.sleep(0)
    assert end.ended.is_set()
    assert 0 < most <= end.bytes_max + 2 * 65_536


async def test_what_is_sent_in_one_go_leaves_in_one_piece(pair: tuple[Link[AnyUp], socket.socket]) -> None:
    """Guard: Link.send waits for `delay_s`."""
    end, other = pair
    for message in SAID:
        end.send(message)
    assert len(end.waiting) == len(SAID)
    other.setblocking(False)
    data = await asyncio.get_running_loop().sock_recv(other, 65_536)
    assert data == HEAD.pack(len(data) - HEAD.size) + ENCODER.encode(SAID)


async def test_nonsense_ends_the_link(pair: tuple[Link[AnyUp], socket.socket]) -> None:
    end, other = pair
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)  # it would print the traceback
    other.sendall(HEAD.pack(1) + b"\xc1")
    async with asyncio.timeout(20):
        await end.ended.wait()
