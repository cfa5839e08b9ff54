"""What a client knows of who stands where, that believes every snapshot; it fails where a snapshot does not fit what it knows."""

from protocol.messages import Snapshot
from protocol.snapshot import read_blocks
from world.grid import around, pack

Places = dict[int, tuple[float, float]]  # in tiles, by player_id
Cells = dict[int, Places]  # by key (world/grid.py); people stand in the order in which they were named


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
