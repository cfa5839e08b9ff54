"""The one shape of WebSocket frame that nearly all clients send, taken without the library.

An input is a small binary frame, final and masked, that arrives by itself. `small_message` takes just that, and nothing else; all other
bytes are the library's, which checks everything. It may only be asked where a frame begins: `ends_whole` tells whether bytes that began
with a frame also ended with one.
"""

from websockets.frames import apply_mask  # type: ignore[attr-defined]  # the compiled one, where there is one

from server.outbox import BINARY_FINAL

MASKED = 0x80
LENGTH = 0x7F
SMALL_MAX = 125  # the length stands in the second byte (RFC 6455 section 5.2)
HEAD_BYTES = 6  # of a small masked frame


def small_message(data: bytes) -> bytes | None:
    """The payload, if `data` is exactly one small, binary, final, masked frame."""
    if len(data) < HEAD_BYTES or data[0] != BINARY_FINAL or len(data) != (data[1] ^ MASKED) + HEAD_BYTES:
        return None
    if len(data) > SMALL_MAX + HEAD_BYTES:
        return None
    payload: bytes = apply_mask(data[HEAD_BYTES:], data[2:HEAD_BYTES])
    return payload


def ends_whole(data: bytes) -> bool:
    """Whether `data`, which begins with a frame of a client, ends where a frame does."""
    at = 0
    while at + 2 <= len(data):
        length, width = data[at + 1] & LENGTH, 0
        if length > SMALL_MAX:
            width = 2 if length == SMALL_MAX + 1 else 8
            length = int.from_bytes(data[at + 2 : at + 2 + width], "big")
        at += 2 + width + (4 if data[at + 1] & MASKED else 0) + length
    return at == len(data)
