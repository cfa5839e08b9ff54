"""The one shape of WebSocket frame that nearly all clients send, taken without the library.

An input is a small binary frame, final and masked, that arrives by itself. `small_message` takes just that, and nothing else; all other
bytes are the library's, which checks everything. It may only be asked where a frame begins, which `Border` knows.
"""

from websockets.frames import apply_mask  # type: ignore[attr-defined]  # the compiled one, where there is one

from server.outbox import BINARY_FINAL

MASKED = 0x80
LENGTH = 0x7F
SMALL_MAX = 125  # the length stands in the second byte (RFC 6455 section 5.2)
HEAD_BYTES = 6  # of a small masked frame


def small_message(data: bytes) -> bytes | None:
    """The payload, if `data` is exactly one small, binary, final, masked frame."""
    size = len(data)
    if not HEAD_BYTES <= size <= SMALL_MAX + HEAD_BYTES:
        return None
    if data[0] != BINARY_FINAL or size != (data[1] ^ MASKED) + HEAD_BYTES:
        return None
    payload: bytes = apply_mask(data[HEAD_BYTES:], data[2:HEAD_BYTES])
    return payload


class Border:
    """Where the frames of one client begin and end, in bytes that may come cut anywhere. `whole`: nothing of a frame is missing."""

    __slots__ = ("_head", "_missing")

    def __init__(self) -> None:
        self._head = b""  # of a frame whose length is not known yet
        self._missing = 0  # bytes of the frame that was begun

    @property
    def whole(self) -> bool:
        """Whether what comes next begins with a frame."""
        return not self._missing and not self._head

    def feed(self, data: bytes) -> None:
        """Walks over bytes from head to head."""
        data, at = self._head + data, self._missing
        while at < len(data):
            size = _frame_bytes(data, at)
            if size is None:
                self._head, self._missing = data[at:], 0
                return
            at += size
        self._head, self._missing = b"", at - len(data)


def _frame_bytes(data: bytes, at: int) -> int | None:
    """The size of the frame that begins at `at`, None while its head is not whole."""
    if at + 2 > len(data):
        return None
    length = data[at + 1] & LENGTH
    width = 0 if length <= SMALL_MAX else 2 if length == SMALL_MAX + 1 else 8
    if at + 2 + width > len(data):
        return None
    if width:
        length = int.from_bytes(data[at + 2 : at + 2 + width], "big")
    return 2 + width + (4 if data[at + 1] & MASKED else 0) + length
