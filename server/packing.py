"""Writers for the compiled loops of the fan-out: frames and MessagePack by hand, into arrays of bytes.

Each puts something at `at` and returns where it ends; only the head of a frame is put before its payload, when that is done. The caller
sees to it that there is room. Tests hold what they write to be what protocol/codec.py makes.
"""

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from protocol.messages import Crowd, Moved, Snapshot, code_of
from protocol.snapshot import COUNT_LONG, NAMED
from server.outbox import BINARY_FINAL
from world.grid import cell_at

FRAME_HEAD_MAX = 10  # RFC 6455 section 5.2: two bytes, and eight of length
SNAPSHOT_HEAD_MAX = 40  # of MessagePack before the blocks
BLOCK_HEAD_MAX = 4
CROWD_BYTES = 16  # of a `crowd` message, about
ACK_BYTES_MAX = 48  # a framed `moved`

_SNAPSHOT, _CROWD, _MOVED = code_of(Snapshot), code_of(Crowd), code_of(Moved)
_FIELDS_5 = 0x95  # a MessagePack array of five

Bytes = NDArray[np.uint8]
Rows = NDArray[Any]


@njit(cache=True, inline="always")
def _put_big(out: Bytes, at: int, value: Any, width: int) -> Any:
    """A number in network order."""
    for index in range(width):
        out[at + index] = (value >> (8 * (width - 1 - index))) & 0xFF
    return at + width


@njit(cache=True)
def _put_int(out: Bytes, at: int, value: Any) -> Any:
    """A whole number in the shortest form."""
    if value >= 0:
        if value < 0x80:
            out[at] = value
            return at + 1
        if value < 0x100:
            out[at] = 0xCC
            return _put_big(out, at + 1, value, 1)
        if value < 0x10000:
            out[at] = 0xCD
            return _put_big(out, at + 1, value, 2)
        if value < 0x100000000:
            out[at] = 0xCE
            return _put_big(out, at + 1, value, 4)
        out[at] = 0xCF
        return _put_big(out, at + 1, value, 8)
    if value >= -0x20:
        out[at] = value & 0xFF
        return at + 1
    if value >= -0x80:
        out[at] = 0xD0
        return _put_big(out, at + 1, value, 1)
    if value >= -0x8000:
        out[at] = 0xD1
        return _put_big(out, at + 1, value, 2)
    out[at] = 0xD2
    return _put_big(out, at + 1, value, 4)


@njit(cache=True)
def _put_float(out: Bytes, at: int, bits: Any) -> Any:
    out[at] = 0xCB
    return _put_big(out, at + 1, bits, 8)


@njit(cache=True)
def _put_bin_head(out: Bytes, at: int, size: int) -> Any:
    if size < 0x100:
        out[at] = 0xC4
        return _put_big(out, at + 1, size, 1)
    if size < 0x10000:
        out[at] = 0xC5
        return _put_big(out, at + 1, size, 2)
    out[at] = 0xC6
    return _put_big(out, at + 1, size, 4)


@njit(cache=True)
def put_frame_head(out: Bytes, body: int, end: int) -> Any:
    """The head of an unmasked binary frame with the payload [body, end), before it; returns where it begins."""
    size = end - body
    width = 0 if size < 126 else 2 if size < 65536 else 8
    start = body - 2 - width
    out[start] = BINARY_FINAL
    out[start + 1] = size if width == 0 else 126 if width == 2 else 127
    _put_big(out, start + 2, size, width)
    return start


@njit(cache=True)
def put_bytes(out: Bytes, at: int, source: Bytes, start: Any, end: Any) -> Any:
    """The bytes [start, end) of `source`, which may be `out` itself if they come to stand further in front."""
    for index in range(start, end):
        out[at + index - start] = source[index]
    return at + end - start


@njit(cache=True)
def put_block(out: Bytes, at: int, where: int, records: Rows, start: int, count: int, named: bool) -> Any:
    """One cell of a snapshot, with the records [start, start + count); the twin of protocol.snapshot.write_block."""
    out[at] = where
    out[at + 1] = (NAMED if named else 0) | min(count, COUNT_LONG)
    at += 2
    if count >= COUNT_LONG:
        out[at] = count & 0xFF
        out[at + 1] = count >> 8
        at += 2
    for index in range(start, start + count):
        if named:
            player_id = records[index]["player_id"]
            for byte in range(4):
                out[at + byte] = (player_id >> (8 * byte)) & 0xFF
            at += 4
        x, y = records[index]["x"], records[index]["y"]
        out[at] = x & 0xFF
        out[at + 1] = x >> 8
        out[at + 2] = y & 0xFF
        out[at + 3] = y >> 8
        at += 4
    return at


@njit(cache=True)
def _put_cell_head(out: Bytes, at: int, code: int, tick: int, key: Any) -> Any:
    """What `snapshot` and `crowd` begin with: tick and cell, and one more field to come."""
    cx, cy = cell_at(key)
    out[at], out[at + 1] = _FIELDS_5, code
    at = _put_int(out, at + 2, tick)
    return _put_int(out, _put_int(out, at, cx), cy)


@njit(cache=True)
def put_crowd(out: Bytes, at: int, tick: int, key: Any, count: int) -> Any:
    """A `crowd`: so many are in the cell `key`."""
    return _put_int(out, _put_cell_head(out, at, _CROWD, tick, key), count)


@njit(cache=True)
def put_snapshot(out: Bytes, at: int, tick: int, key: Any, blocks: Bytes, size: int) -> Any:
    """A `snapshot` taken from the cell `key`, with the first `size` bytes of `blocks`."""
    at = _put_bin_head(out, _put_cell_head(out, at, _SNAPSHOT, tick, key), size)
    return put_bytes(out, at, blocks, 0, size)


@njit(cache=True)
def put_moved(out: Bytes, at: int, tick: int, moved: Rows, bits: Any, index: int) -> Any:
    """A whole frame with one `moved`; `bits` are the places as whole numbers, x and y in turn."""
    body = at + 2  # always shorter than 126
    end = body + 2
    out[body], out[body + 1] = _FIELDS_5, _MOVED
    end = _put_int(out, end, moved[index]["seq"])
    end = _put_int(out, end, tick)
    end = _put_float(out, end, bits[index, 0])
    end = _put_float(out, end, bits[index, 1])
    put_frame_head(out, body, end)
    return end
