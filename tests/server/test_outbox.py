"""The way out of one connection: gathers, writes once, and knows when it is too much."""

import asyncio
import contextlib
import os
import socket
import stat

import pytest
import uvloop
from websockets.frames import Frame, Opcode

from server.outbox import Outbox, Sent, frame
from tests.server.support import FakeTransport


def make(bytes_max: int = 1_000) -> tuple[Outbox, FakeTransport, Sent]:
    sent = Sent()
    outbox, transport = Outbox(bytes_max, sent), FakeTransport()
    outbox.open(transport)  # type: ignore[arg-type]
    return outbox, transport, sent


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65_535, 65_536, 70_000])
def test_a_frame_is_what_the_websockets_package_makes(size: int) -> None:
    payload = bytes(size)
    assert frame(payload) == Frame(Opcode.BINARY, payload).serialize(mask=False)


def test_what_waits_and_the_snapshots_go_out_in_one_write_in_order() -> None:
    outbox, transport, sent = make()
    outbox.put(b"one")
    outbox.put(b"two")
    outbox.flush(b"snapshots")
    assert transport.writes == [b"onetwosnapshots"]
    assert (sent.bytes, sent.writes) == (15, 1)
    assert not outbox.waiting


def test_snapshots_alone_are_handed_on_without_a_copy() -> None:
    outbox, transport, _ = make()
    shared = bytes(100)
    outbox.flush(shared)
    assert transport.writes[0] is shared


def test_before_the_handshake_and_after_the_end_nothing_gathers() -> None:
    outbox, transport, sent = make()
    outbox.transport = None
    outbox.put(b"late")
    outbox.flush(b"snapshots")
    assert not outbox.waiting
    assert not transport.writes
    assert sent.writes == 0
    assert not outbox.is_overflowing()


def test_the_transport_is_asked_to_tell_before_the_limit_is_passed() -> None:
    _, transport, _ = make(1_600)
    assert transport.limits == (1_500, 800)


@pytest.mark.parametrize(("unread", "overflowing"), [(1_001, False), (2_000, False), (2_001, True)])
def test_twice_the_limit_is_overflowing(unread: int, overflowing: bool) -> None:
    outbox, transport, _ = make(1_000)
    transport.unread = unread
    assert outbox.is_overflowing() is overflowing


class Ending(asyncio.Protocol):
    """Notes whether its socket was still open when it was told that it is lost."""

    def __init__(self) -> None:
        self.made = asyncio.Event()
        self.lost = asyncio.Event()
        self.was_open = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.fd = transport.get_extra_info("socket").fileno()
        self.made.set()

    def connection_lost(self, exc: Exception | None) -> None:
        with contextlib.suppress(OSError):
            self.was_open = stat.S_ISSOCK(os.fstat(self.fd).st_mode)
        self.lost.set()


@pytest.mark.parametrize("end", ["the other end", "close", "abort"])
def test_the_event_loop_closes_a_socket_only_after_it_told_so(end: str) -> None:
    """The fan-out writes to descriptors by number: none may be closed, and be another's, before `connection_lost` takes it out."""

    async def story() -> bool:
        loop, protocol = asyncio.get_running_loop(), Ending()
        server = await loop.create_server(lambda: protocol, "127.0.0.1", 0)
        near = socket.create_connection(server.sockets[0].getsockname())
        await protocol.made.wait()
        if end == "the other end":
            near.close()
        else:
            getattr(protocol.transport, end)()
        await protocol.lost.wait()
        near.close()
        server.close()
        return protocol.was_open

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(story())
