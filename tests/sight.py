"""What a client knows of who stands where, that believes every snapshot; it fails where a snapshot does not fit what it knows."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from protocol.messages import Snapshot
from protocol.snapshot import CELL_TILES, COUNT_LONG, NAMED, PLACE, RECORD, STEP_ZERO, UNITS_PER_TILE
from world.grid import around, pack

Places = dict[int, tuple[float, float]]  # in tiles, by player_id
Cells = dict[int, Places]  # by key (world/grid.py); people stand in the order in which they were named


@dataclass(frozen=True, slots=True)
class Block:
    """One cell of a snapshot. `player_ids` is None where the block is not named. Places are tiles."""

    cx: int
    cy: int
    player_ids: list[int] | None
    places: list[tuple[float, float]]


def read_blocks(cells: bytes, cx: int, cy: int) -> Iterator[Block]:
    """The blocks of a snapshot that was taken from cell (cx, cy). Raises ValueError when the bytes end within a block."""
    at = 0
    while at < len(cells):
        if at + 2 > len(cells):
            raise ValueError("a block ends within its head")
        where, head = cells[at], cells[at + 1]
        at += 2
        count = head & COUNT_LONG
        if count == COUNT_LONG:
            count = int.from_bytes(cells[at : at + 2], "little")
            at += 2
        layout = RECORD if head & NAMED else PLACE
        end = at + count * layout.itemsize
        if end > len(cells):
            raise ValueError("a block ends within its records")
        records: NDArray[Any] = np.frombuffer(cells[at:end], layout)
        at = end
        yield _block(cx + (where >> 4) - STEP_ZERO, cy + (where & 15) - STEP_ZERO, records)


def _block(cx: int, cy: int, records: NDArray[Any]) -> Block:
    x = (cx * CELL_TILES + records["x"] / UNITS_PER_TILE).tolist()
    y = (cy * CELL_TILES + records["y"] / UNITS_PER_TILE).tolist()
    player_ids = records["player_id"].tolist() if records.dtype == RECORD else None
    return Block(cx, cy, player_ids, list(zip(x, y, strict=True)))


def take_in(cells: Cells, snapshot: Snapshot) -> Places:
    """Puts a snapshot's blocks into `cells`; everyone it tells of, and where."""
    told: Places = {}
    for block in read_blocks(snapshot.cells, snapshot.cx, snapshot.cy):
        key, where = pack(block.cx, block.cy), f"in cell ({block.cx}, {block.cy}) at tick {snapshot.tick}"
        player_ids = block.player_ids
        if player_ids is None:
            assert key in cells, f"a block without names {where}, of which nothing is known"
            player_ids = list(cells[key])
        assert len(player_ids) == len(block.places), (
            f"{len(block.places)} places for {len(player_ids)} people {where}"
        )
        people = dict(zip(player_ids, block.places, strict=True))
        assert len(people) == len(player_ids), f"somebody is listed twice {where}"
        cells[key] = people
        told |= people
    return told


def forget(cells: Cells, own: int, radius_cells: int) -> None:
    """Who stands in the cell `own` sees so many rings around it, and no further."""
    sight = around(own, radius_cells)
    for key in [key for key in cells if key not in sight]:
        del cells[key]
