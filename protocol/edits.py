"""What is built, tile by tile, as bytes: the packed records inside `tile_edit.edits` and `chunk_edits.edits`.

Little-endian, without gaps. A client names tiles of the world, for one request may touch several chunks; the server names tiles of the
one chunk it speaks of:

    tile_edit.edits      x i32, y i32, kind u8      9 bytes; a tile of the world
    chunk_edits.edits    tile u16, kind u8          3 bytes; a tile of the chunk, y * 32 + x

`kind` is a Build (world/tiles.py); 0 takes away what was built.
"""

from collections.abc import Iterable
from struct import Struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

TILE_EDIT = np.dtype([("x", "<i4"), ("y", "<i4"), ("kind", "u1")])
CHUNK_EDIT = np.dtype([("tile", "<u2"), ("kind", "u1")])
# The same for a few records at a time, for which an array is not worth making.
TILE_EDIT_FIELDS, CHUNK_EDIT_FIELDS = Struct("<iiB"), Struct("<HB")
assert (TILE_EDIT_FIELDS.size, CHUNK_EDIT_FIELDS.size) == (TILE_EDIT.itemsize, CHUNK_EDIT.itemsize)
EDITS_MAX = 64  # records in one tile_edit


def pack(edits: Iterable[tuple[int, ...]], record: np.dtype[Any]) -> bytes:
    """Rows of numbers as packed records."""
    return np.array(list(edits), record).tobytes()


def unpack(edits: bytes, record: np.dtype[Any]) -> NDArray[Any]:
    """Packed records as an array. Raises ValueError when the bytes are not a whole number of records."""
    return np.frombuffer(edits, record)
