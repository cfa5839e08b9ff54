"""Blocks of a snapshot: what is written is read again, the vectors are both, and bytes nobody thought of are blocks or a ValueError."""

from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from protocol.snapshot import (
    CELL_TILES,
    COUNT_LONG,
    COUNT_MAX,
    PLACE,
    RECORD,
    STEP_MAX,
    UNITS_PER_TILE,
    write_block,
)
from tests.protocol.support import VECTORS
from tests.sight import Block, read_blocks

STEPS = st.integers(-STEP_MAX, STEP_MAX)
CHUNKS = st.integers(-(2**15), 2**15 - 1)
SOMEBODY = st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 2**16 - 1), st.integers(0, 2**16 - 1))
WRITTEN = st.tuples(STEPS, STEPS, st.lists(SOMEBODY, max_size=COUNT_LONG + 2), st.booleans())


def records_of(people: list[tuple[int, int, int]]) -> NDArray[Any]:
    return np.array(people, RECORD)


def plain(block: Block) -> dict[str, Any]:
    """A block as the vectors tell it."""
    places = [list(place) for place in block.places]
    return {"cx": block.cx, "cy": block.cy, "player_ids": block.player_ids, "places": places}


@pytest.mark.parametrize("row", VECTORS["blocks"], ids=lambda row: row["why"])
def test_a_vector_is_read_as_its_blocks_and_written_from_them(row: dict[str, Any]) -> None:
    data = bytes.fromhex(row["hex"])
    assert [plain(block) for block in read_blocks(data, row["cx"], row["cy"])] == row["blocks"]
    written = b""
    for block in row["blocks"]:
        cx, cy, player_ids = block["cx"], block["cy"], block["player_ids"]
        inside = [
            (round((x - cx * CELL_TILES) * UNITS_PER_TILE), round((y - cy * CELL_TILES) * UNITS_PER_TILE))
            for x, y in block["places"]
        ]
        ids = player_ids if player_ids is not None else [0] * len(inside)
        people = [(who, x, y) for who, (x, y) in zip(ids, inside, strict=True)]
        written += write_block(
            cx - row["cx"], cy - row["cy"], records_of(people), named=player_ids is not None
        )
    assert written == data


@pytest.mark.parametrize("row", VECTORS["bad_blocks"], ids=lambda row: row["why"])
def test_bytes_that_end_within_a_block_are_refused(row: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="a block ends within"):
        list(read_blocks(bytes.fromhex(row["hex"]), 0, 0))


@given(st.lists(WRITTEN, max_size=6), CHUNKS, CHUNKS)
@example([(0, 0, [(number, number, 0) for number in range(COUNT_MAX)], False)], 0, 0)
def test_blocks_come_back_as_they_went(
    blocks: list[tuple[int, int, list[tuple[int, int, int]], bool]], cx: int, cy: int
) -> None:
    data = b"".join(write_block(dx, dy, records_of(people), named) for dx, dy, people, named in blocks)
    assert list(read_blocks(data, cx, cy)) == [
        Block(
            cx + dx,
            cy + dy,
            [who for who, _, _ in people] if named else None,
            [
                ((cx + dx) * CELL_TILES + x / UNITS_PER_TILE, (cy + dy) * CELL_TILES + y / UNITS_PER_TILE)
                for _, x, y in people
            ],
        )
        for dx, dy, people, named in blocks
    ]


@given(SOMEBODY, st.booleans(), st.integers(1, COUNT_LONG + 2))
def test_a_block_costs_what_is_promised(who: tuple[int, int, int], named: bool, count: int) -> None:
    head = 2 if count < COUNT_LONG else 4
    size = RECORD.itemsize if named else PLACE.itemsize
    assert len(write_block(0, 0, records_of([who] * count), named)) == head + count * size


@given(st.binary(max_size=200))
def test_any_bytes_are_blocks_or_refused(data: bytes) -> None:
    try:
        blocks = list(read_blocks(data, 0, 0))
    except ValueError:
        return
    heads = sum(2 + 2 * (len(block.places) >= COUNT_LONG) for block in blocks)
    sizes = sum(
        len(block.places) * (PLACE if block.player_ids is None else RECORD).itemsize for block in blocks
    )
    assert heads + sizes <= len(data), "more was read than there is"
