"""A stream of messages between two of our own processes, over a socket pair: packed with msgspec, many in one piece.

    u32   length of what follows
    ...   MessagePack array of messages (seam.py)

Neither end ever waits for the other. What the other end does not read waits here, up to `bytes_max`; over it, the link is cut. A
message that cannot be understood, or whose handling fails, cuts it too: both ends are of one program, so nothing it says is to be
trusted then.
"""

import asyncio
from collections.abc import Callable
from struct import Struct
from typing import Generic, TypeVar, cast

import msgspec

from server.seam import Down, Up

LINK_BYTES_MAX = 16 * 1_048_576  # what may wait for the other end, which reads many times a second
HEAD = Struct("<I")
ENCODER = msgspec.msgpack.Encoder()

M = TypeVar("M")


class Link(asyncio.Protocol, Generic[M]):
    """One end. `take` gets each message that comes; what is sent leaves after `delay_s`, with whatever else is sent by then."""

    def __init__(self, kind: type[list[M]], take: Callable[[M], None], delay_s: float) -> None:
        self.take = take
        self.bytes_max = LINK_BYTES_MAX
        self.ended = asyncio.Event()
        self._decoder = msgspec.msgpack.Decoder(kind)
        self._delay_s = delay_s
        self._loop = asyncio.get_running_loop()
        self.waiting: list[Up | Down] = []
        self._flushing: asyncio.TimerHandle | None = None
        self._received = bytearray()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is open."""
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """The other end is gone."""
        self._transport = None
        if self._flushing is not None:
            self._flushing.cancel()
        self.ended.set()

    def data_received(self, data: bytes) -> None:
        """Takes all whole messages."""
        received, start = self._received, 0
        received += data
        while len(received) - start >= HEAD.size:
            end = start + HEAD.size + HEAD.unpack_from(received, start)[0]
            if end > len(received):
                break
            for message in self._decoder.decode(bytes(received[start + HEAD.size : end])):
                self.take(message)
            start = end
        del received[:start]

    def send(self, message: Up | Down) -> None:
        """Queues a message."""
        self.waiting.append(message)
        if self._flushing is None:
            self._flushing = self._loop.call_later(self._delay_s, self.flush)

    def flush(self) -> None:
        """Writes what is queued."""
        if self._flushing is not None:
            self._flushing.cancel()
            self._flushing = None
        waiting, self.waiting = self.waiting, []
        if waiting and self._transport is not None:
            packed = ENCODER.encode(waiting)
            self._transport.write(HEAD.pack(len(packed)) + packed)
            if self.behind_bytes() > self.bytes_max:
                self.cut()

    def behind_bytes(self) -> int:
        """What the other end has not read."""
        return self._transport.get_write_buffer_size() if self._transport is not None else 0

    def cut(self) -> None:
        """Ends it; what waits is lost."""
        if self._transport is not None:
            self._transport.abort()
