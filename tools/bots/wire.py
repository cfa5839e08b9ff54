"""The client's side of WebSocket (RFC 6455), as little of it as a bot needs: bytes in, bytes out, no sockets.

Written for thousands of lines in one process: frames are found in place inside a shared buffer, and only what somebody wants to
read is copied out of it. What the game server never sends (fragments, masked frames, extensions) is reported, not handled.
"""

import base64
import hashlib
from enum import IntEnum
from typing import NamedTuple

from protocol.messages import SUBPROTOCOL

HANDSHAKE_BYTES_MAX = 8192
FRAME_BYTES_MAX = 2**20  # the largest frame taken from a server; over it the stream is taken for broken

BINARY_WHOLE = 0x82  # first byte of a binary message in one frame
TEXT_WHOLE = 0x81  # and of a text message; our server sends none

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 section 1.3
_KEY = base64.b64encode(
    b"landworld's bots"
)  # any 16 bytes: the key only shows that the peer speaks WebSocket
_ACCEPT = base64.b64encode(hashlib.sha1(_KEY + _GUID).digest())  # noqa: S324 (the RFC's choice; no secret hangs on it)

# A constant mask is fine here: masking guards proxies against scripts in web pages, and the server's work stays the same.
_MASK = b"\x9d\x36\xc5\x6a"
_SMALL = 126
_MASKS = [int.from_bytes((_MASK * 32)[:length], "little") for length in range(_SMALL)]


class Opcode(IntEnum):
    """The kinds of frame that a bot sends or answers."""

    TEXT = 0x1
    BINARY = 0x2
    CLOSE = 0x8
    PING = 0x9
    PONG = 0xA


class Frame(NamedTuple):
    """Where one frame lies in a buffer: its first byte, and its payload from `start` up to `end`."""

    first: int
    start: int
    end: int


class WireError(Exception):
    """The server's bytes are not what a WebSocket server may send; the text says what was wrong."""


def frame(payload: bytes, opcode: Opcode = Opcode.BINARY) -> bytes:
    """`payload` as one masked frame, as clients must send it."""
    length = len(payload)
    if length < _SMALL:
        body = (int.from_bytes(payload, "little") ^ _MASKS[length]).to_bytes(length, "little")
        return bytes((0x80 | opcode, 0x80 | length)) + _MASK + body
    mask = int.from_bytes((_MASK * (length // 4 + 1))[:length], "little")
    body = (int.from_bytes(payload, "little") ^ mask).to_bytes(length, "little")
    head = bytes((0x80 | opcode, 0x80 | 126)) + length.to_bytes(2, "big")
    return head + _MASK + body


def close_frame(code: int) -> bytes:
    """A close frame without a reason."""
    return frame(code.to_bytes(2, "big"), Opcode.CLOSE)


def next_frame(buffer: bytearray, at: int, end: int) -> Frame | None:
    """The frame that begins at `at`, or None when it is not whole yet before `end`.

    Raises WireError when no server may send this.
    """
    if end - at < 2:
        return None
    length = buffer[at + 1]
    start = at + 2
    if length >= _SMALL:
        if length > 127:
            raise WireError("a masked frame")
        start += 2 if length == 126 else 8
        if start > end:
            return None
        length = int.from_bytes(buffer[at + 2 : start], "big")
        if length > FRAME_BYTES_MAX:
            raise WireError(f"a frame of {length} bytes")
    if start + length > end:
        return None
    return Frame(buffer[at], start, start + length)


def close_code(payload: bytes) -> int:
    """The code inside a close frame; 1005 when it carries none (RFC 6455 section 7.1.5)."""
    return int.from_bytes(payload[:2], "big") if len(payload) >= 2 else 1005


def upgrade_request(host: str, path: str) -> bytes:
    """The HTTP request that turns a connection into a WebSocket. No Origin: this is no web page."""
    lines = (
        f"GET {path} HTTP/1.1",
        f"Host: {host}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {_KEY.decode()}",
        "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Protocol: {SUBPROTOCOL}",
    )
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def upgrade_end(buffer: bytearray, end: int) -> int:
    """Where the server's answer to the upgrade ends, 0 when it is not all there. Raises WireError when it declines."""
    head_end = buffer.find(b"\r\n\r\n", 0, end)
    if head_end < 0:
        if end > HANDSHAKE_BYTES_MAX:
            raise WireError("an endless handshake")
        return 0
    status, *rows = bytes(buffer[:head_end]).split(b"\r\n")
    if b" 101 " not in status + b" ":
        raise WireError(f"handshake answered {status.decode(errors='replace')!r}")
    headers = {
        name.strip().lower(): value.strip() for name, _, value in (row.partition(b":") for row in rows)
    }
    if headers.get(b"sec-websocket-accept") != _ACCEPT:
        raise WireError("handshake with a wrong Sec-WebSocket-Accept")
    if headers.get(b"sec-websocket-protocol") != SUBPROTOCOL.encode():
        raise WireError(f"handshake without the subprotocol {SUBPROTOCOL}")
    return head_end + 4
