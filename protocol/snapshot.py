"""Cells to bytes and back: the packed records inside `snapshot.entities`.

One record is eight bytes, little-endian. Places are fixed point within the cell, so that a record says the same wherever in the
world the cell lies:

    player_id  u32   who
    x, y       u16   place within the cell, 1/2048 tile: tiles = cx * 32 + x / 2048

A heading is not sent: it is the direction between two places. 1/2048 tile is a 64th of a pixel at 32 pixels a tile.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

CELL_TILES = 32
UNITS_PER_TILE = 65536 // CELL_TILES

RECORD = np.dtype([("player_id", "<u4"), ("x", "<u2"), ("y", "<u2")])


def read_entities(entities: bytes, cx: int, cy: int) -> list[tuple[int, float, float]]:
    """The records of one cell as (player_id, x, y), places in tiles.

    Raises ValueError when the bytes are not a whole number of records.
    """
    records: NDArray[Any] = np.frombuffer(entities, RECORD)
    x = cx * CELL_TILES + records["x"] / UNITS_PER_TILE
    y = cy * CELL_TILES + records["y"] / UNITS_PER_TILE
    return list(zip(records["player_id"].tolist(), x.tolist(), y.tolist(), strict=True))
