"""What waits to be written to one client, and what it may cost.

The rule of the house: one write per client per tick. Replies and events gather here during the tick as finished WebSocket frames; the
tick's snapshots come as frames that many clients share. `flush` hands all of it to the transport in a single write.

    replies and events   may never be skipped; they wait in the transport's buffer
    snapshots            may be skipped: a client whose buffer is full gets none, nothing more is read from it, and it
                         is brought up to date with whole cells once it has read
    over the limit for `slow_client_s` of ticks, or at all over twice the limit   the client is closed (TOO_SLOW)

Slowness is counted in ticks, not by the clock, so that a server that lags itself cuts nobody off.
"""

import asyncio
from dataclasses import dataclass

NO_SOCKET = -1
HELD_BYTES = 16_384  # gathered for a transport that waits
FULL_SHARE = 15 / 16  # of `outbox_bytes_max`: the write that passes it is made already, and shall fit, too
BINARY_FINAL = 0x82  # FIN and opcode 2, RFC 6455 section 5.2


def frame(*payload: bytes) -> bytes:
    """Pieces of a payload as one unmasked binary WebSocket frame (RFC 6455 section 5.2)."""
    size = sum(map(len, payload))
    if size < 126:
        return b"".join((bytes((BINARY_FINAL, size)), *payload))
    if size < 65536:
        return b"".join((bytes((BINARY_FINAL, 126)), size.to_bytes(2, "big"), *payload))
    return b"".join((bytes((BINARY_FINAL, 127)), size.to_bytes(8, "big"), *payload))


@dataclass(slots=True)
class Sent:
    """What all outboxes of a server have written."""

    bytes: int = 0
    writes: int = 0

    def add(self, writes: int, size: int) -> None:
        """So many writes of so many bytes in all."""
        self.writes += writes
        self.bytes += size


class Outbox:
    """The way out of one connection. Sizes in bytes.

    `full` is set and cleared by the transport's flow control (see Connection.pause_writing), so that asking costs nothing.
    """

    __slots__ = ("_held", "bytes_max", "fd", "full", "sent", "transport", "waiting")

    def __init__(self, bytes_max: int, sent: Sent) -> None:
        self.bytes_max = bytes_max
        self.sent = sent
        self.transport: asyncio.WriteTransport | None = None
        self.waiting: list[bytes] = []
        self._held = b""
        self.full = False  # more waits than the client may have waiting
        self.fd = NO_SOCKET  # for the fan-out, which writes past the transport while that holds nothing

    def open(self, transport: asyncio.WriteTransport) -> None:
        """From now on there is somewhere to write to."""
        self.transport = transport
        raw = transport.get_extra_info("socket")
        self.fd = raw.fileno() if raw is not None else NO_SOCKET
        transport.set_write_buffer_limits(high=int(self.bytes_max * FULL_SHARE), low=self.bytes_max // 2)

    def close(self) -> None:
        """Writes what waits; what comes after is dropped."""
        self.flush()
        if self._held and self.transport is not None:
            self.transport.write(self._held)
        self.lost()

    def lost(self) -> None:
        """The socket is gone, and so is what waits."""
        self.waiting.clear()
        self._held = b""
        self.transport = None
        self.fd = NO_SOCKET

    def put(self, framed: bytes) -> None:
        """Queues a finished frame for this tick's write."""
        self.waiting.append(framed)

    def flush(self, snapshots: bytes = b"") -> None:
        """Writes what waits and then the (framed) snapshots, at once."""
        waiting, self.waiting = self.waiting, []
        if snapshots:
            waiting.append(snapshots)
        if waiting and self.transport is not None:
            data = b"".join(waiting)
            self.sent.add(1, len(data))
            self.write(data)
        elif self._held:
            self.write(b"")

    def write(self, data: bytes) -> None:
        """Hands bytes to the transport, if there still is one.

        While that waits for the socket, little pieces are gathered here: in the transport each would cost as much again as it holds.
        """
        transport = self.transport
        if transport is None:
            return
        data, self._held = self._held + data, b""
        if len(data) < HELD_BYTES and transport.get_write_buffer_size():
            self._held = data
        else:
            transport.write(data)

    def holds_back(self) -> bool:
        """Whether there are bytes that the socket did not take yet."""
        transport = self.transport
        return transport is not None and (bool(self._held) or transport.get_write_buffer_size() > 0)

    def is_overflowing(self) -> bool:
        """Whether even what may not be skipped is too much."""
        transport = self.transport
        return (
            transport is not None and transport.get_write_buffer_size() + len(self._held) > 2 * self.bytes_max
        )
