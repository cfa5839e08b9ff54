"""What the browser client makes of blocks: who is where in the cells in sight, step by step, without a server's help."""

from typing import Any

import numpy as np

from protocol.snapshot import RECORD, UNITS_PER_TILE, write_block
from tests.browser.conftest import Visit
from tests.harness import ServerProcess

ME = 1

# After each message: who is where in each cell (or how many, in a crowd), my own place if it was told, and what did not fit so far.
SIGHT = """
async (messages) => {
  const { Clock } = await import("/clock.js");
  const { World } = await import("/world.js");
  const world = new World(new Clock());
  world.me = 1;
  const newest = ({ id, count, xs, ys }) => [id, xs[(count - 1) % xs.length], ys[(count - 1) % ys.length]];
  const told = ({ key, people, count }) => [key, people === null ? count : people.map(newest)];
  return messages.map(([name, message], index) => {
    if (message.cells) message.cells = Uint8Array.from(message.cells);
    const mine = world[name](message, 50 * index) ?? null;
    return [Object.fromEntries(Array.from(world.cells.values(), told)), mine, world.outOfStep];
  });
}
"""


def block(dx: int, dy: int, people: dict[int, tuple[float, float]], named: bool) -> bytes:
    """People by id, at places in tiles within their cell."""
    units = [(who, x * UNITS_PER_TILE, y * UNITS_PER_TILE) for who, (x, y) in people.items()]
    return write_block(dx, dy, np.array(units, RECORD), named)


def snapshot(tick: int, cx: int, *blocks: bytes) -> list[Any]:
    """Taken from cell (cx, 0), as a page can be told of it."""
    return ["snapshot", {"tick": tick, "cx": cx, "cy": 0, "cells": list(b"".join(blocks))}]


def test_blocks_without_names_move_those_who_were_named_last(world: ServerProcess, visit: Visit) -> None:
    steps: list[tuple[list[Any], dict[str, Any], dict[str, float] | None]] = [
        (
            snapshot(1, 0, block(0, 0, {ME: (1, 2), 7: (3, 4)}, True), block(1, 0, {9: (0.5, 0)}, True)),
            {"0,0": [[ME, 1, 2], [7, 3, 4]], "1,0": [[9, 32.5, 0]]},
            {"tick": 1, "x": 1, "y": 2},
        ),
        (  # the ids of records without names are not there to be read: any do
            snapshot(2, 0, block(0, 0, {0: (1, 2), 5: (3, 5)}, False)),
            {"0,0": [[ME, 1, 2], [7, 3, 5]], "1,0": [[9, 32.5, 0]]},
            {"tick": 2, "x": 1, "y": 2},
        ),
        (  # 7 goes over to the east; nothing is told of me
            snapshot(3, 0, block(0, 0, {ME: (1, 2)}, True), block(1, 0, {7: (0, 5), 9: (1, 0)}, True)),
            {"0,0": [[ME, 1, 2]], "1,0": [[7, 32, 5], [9, 33, 0]]},
            {"tick": 3, "x": 1, "y": 2},
        ),
        (
            snapshot(4, 0, block(1, 0, {7: (0.25, 5), 9: (1, 1)}, False)),
            {"0,0": [[ME, 1, 2]], "1,0": [[7, 32.25, 5], [9, 33, 1]]},
            None,
        ),
        (  # a step of a whole cell: what is further away than sight reaches is forgotten
            snapshot(5, 2, block(0, 0, {ME: (0, 0)}, True)),
            {"1,0": [[7, 32.25, 5], [9, 33, 1]], "2,0": [[ME, 64, 0]]},
            {"tick": 5, "x": 64, "y": 0},
        ),
        (
            snapshot(6, 2, block(-1, 0, {}, True)),
            {"1,0": [], "2,0": [[ME, 64, 0]]},
            None,
        ),
        (["crowd", {"tick": 7, "cx": 2, "cy": 0, "count": 80}], {"1,0": [], "2,0": 80}, None),
        (
            snapshot(8, 2, block(0, 0, {ME: (0, 1)}, True)),
            {"1,0": [], "2,0": [[ME, 64, 1]]},
            {"tick": 8, "x": 64, "y": 1},
        ),
    ]
    told = visit(world).page.evaluate(SIGHT, [message for message, _, _ in steps])
    assert told == [[cells, mine, 0] for _, cells, mine in steps]


def test_blocks_that_do_not_fit_are_counted_and_passed_over(world: ServerProcess, visit: Visit) -> None:
    ada = visit(world)
    before = {"0,0": [[ME, 1, 2], [7, 3, 4]]}
    messages = [
        snapshot(1, 0, block(0, 0, {ME: (1, 2), 7: (3, 4)}, True)),
        snapshot(2, 0, block(0, 0, {ME: (9, 9)}, False)),  # one too few
        snapshot(3, 0, block(0, 0, {ME: (9, 9), 7: (9, 9), 8: (9, 9)}, False)),  # one too many
        snapshot(4, 0, block(1, 1, {ME: (9, 9)}, False)),  # a cell nothing is known of
        ["crowd", {"tick": 5, "cx": 0, "cy": 0, "count": 2}],
        snapshot(6, 0, block(0, 0, {ME: (9, 9), 7: (9, 9)}, False)),  # who was counted was not named
    ]
    told = ada.page.evaluate(SIGHT, messages)
    assert [cells for cells, _, _ in told] == [before] * 4 + [{"0,0": 2}] * 2
    assert [wrong for _, _, wrong in told] == [0, 1, 2, 3, 3, 4]
    assert [mine for _, mine, _ in told[1:]] == [None] * 5
    assert ada.troubles == ["a block of 1 does not fit cell 0,0"]  # told once, for whoever looks
    ada.troubles.clear()
