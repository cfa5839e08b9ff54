"""Cells to bytes: the blocks inside `snapshot.cells`.

A block tells of one cell. Blocks stand end to end; numbers are little-endian:

    where   u8   which cell, as a step from the snapshot's (cx, cy): (dx + 8) << 4 | (dy + 8), each step -7 to 7
    head    u8   bit 7: the records are named; low bits: how many records follow, 127 where a u16 with the number comes first
    records      named: RECORD, eight bytes each; not named: PLACE, four bytes each

A block that is not named says where those are whom the last named block of that cell told of, in the same order: as long as nobody
comes or goes, ids need not be said again. A cell without a block is unchanged; one with no records is empty.

Places are fixed point within the cell, 1/2048 tile, a 64th of a pixel at 32 pixels a tile. A heading is not sent: it is the direction
between two places.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

CELL_TILES = 32
UNITS_PER_TILE = 65536 // CELL_TILES

RECORD = np.dtype([("player_id", "<u4"), ("x", "<u2"), ("y", "<u2")])
PLACE = np.dtype([("x", "<u2"), ("y", "<u2")])

STEP_MAX = 7  # a cell this far from the snapshot's can be named
STEP_ZERO = 8  # what stands in `where` for no step
NAMED = 0x80
COUNT_LONG = 0x7F  # in `head`: the number follows
COUNT_MAX = 65_535  # people in one cell that a block can tell of


def write_block(dx: int, dy: int, records: NDArray[Any], named: bool) -> bytes:
    """One block of RECORDs; `dx`, `dy` are cells from the snapshot's. The server's compiled twin is in server/packing.py."""
    count = len(records)
    head = (NAMED if named else 0) | min(count, COUNT_LONG)
    long = count.to_bytes(2, "little") if count >= COUNT_LONG else b""
    body = records if named else records[["x", "y"]].astype(PLACE)
    return bytes(((dx + STEP_ZERO) << 4 | (dy + STEP_ZERO), head)) + long + body.tobytes()
