"""tests/vectors/movement.json: walks as the server walks them, for whoever predicts a player's own steps.

A row is one player on a small piece of ground:

    chunks    [[cx, cy], ...]   loaded ground, open (100 percent) but for the picture; all else is not loaded
    picture   {x, y, walk: [[percent, ...], ...]}   rows of tiles whose first is (x, y); lies within the chunks
    stride    tiles per tick of a whole intent on open ground
    x, y      the place at the beginning
    inputs    [[ticks, dx, dy], ...]   an intent of length at most 1, and for how many ticks it holds
    places    [[x, y], ...]   after each tick

They come out of `world.tick.step`. Another implementation that computes in 64-bit floats agrees within 1e-9.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from protocol.messages import WORLD_TILES_MAX, Role
from protocol.snapshot import CELL_TILES
from world.commands import Join, LoadChunk, steer
from world.state import Rules, State
from world.tick import step

RULES = Rules(20, 4.0, 1, 16, 1.0, 1, 1, 1)
PERCENT = {".": 100, "#": 0, "~": 40, ",": 70}
MIDDLE = [(0, 0)]
AROUND = list(product((-1, 0), (-1, 0)))
EDGE = WORLD_TILES_MAX // CELL_TILES - 1
SQRT = 0.7071067811865475  # the greatest whose vector is not longer than 1
WILD_SEED = 2

Inputs = list[tuple[int, float, float]]


@dataclass(frozen=True)
class Scene:
    """A walk before it is walked; `picture` is drawn with the letters of PERCENT."""

    name: str
    chunks: list[tuple[int, int]]
    corner: tuple[int, int]
    picture: list[str]
    place: tuple[float, float]
    inputs: Inputs


SCENES = [
    Scene("east", MIDDLE, (0, 0), [], (0.5, 0.5), [(10, 1.0, 0.0)]),
    Scene("all ways", MIDDLE, (0, 0), [], (9.3, 9.7), [(3, x, y) for x in (-0.8, 0.8) for y in (-0.0, 0.5)]),
    Scene("slantwise", MIDDLE, (0, 0), [], (4.0, 4.0), [(5, 0.6, -0.8), (5, -SQRT, SQRT)]),
    Scene(
        "half speed, still, hardly",
        MIDDLE,
        (0, 0),
        [],
        (4.0, 4.0),
        [(7, 0.3, 0.1), (3, 0.0, 0.0), (7, -0.01, 0.0)],
    ),
    Scene("slow ground", MIDDLE, (2, 2), ["~~,", "~~,"], (1.5, 2.5), [(34, 0.9, 0.1)]),
    Scene("along a wall to the east", MIDDLE, (0, 4), ["######"], (0.5, 3.9), [(20, 0.6, 0.8)]),
    Scene("along a wall to the south", MIDDLE, (4, 0), ["#"] * 6, (3.9, 0.5), [(20, 0.8, 0.6)]),
    Scene("into a corner", MIDDLE, (2, 2), ["..#", "..#", "###"], (2.5, 2.5), [(20, SQRT, SQRT)]),
    Scene(
        "out of a corner", MIDDLE, (2, 2), ["..#", "..#", "###"], (3.9, 3.9), [(4, 0.8, 0.5), (9, -0.6, -0.8)]
    ),
    Scene("between two corners", MIDDLE, (2, 2), [".#", "#."], (2.9, 2.9), [(3, SQRT, SQRT)]),
    Scene("onto tile edges", MIDDLE, (3, 0), ["#", "#"], (2.6, 1.0), [(4, 1.0, 0.0), (9, -0.5, -1.0 / 3)]),
    Scene("through the origin", AROUND, (-1, -1), [",~", "~,"], (0.6, 0.6), [(9, -1.0, 0.0), (9, 0.0, -1.0)]),
    Scene("a wall west of the origin", AROUND, (-1, -4), ["#"] * 8, (0.5, 0.5), [(12, -0.8, -0.6)]),
    Scene("to ground not known", MIDDLE, (0, 0), [], (31.5, 31.0), [(9, 0.8, 0.6), (9, 0.0, 1.0)]),
    Scene("on ground not known", MIDDLE, (0, 0), [], (40.0, 4.0), [(3, -1.0, 0.0)]),
    Scene("out of blocked ground", MIDDLE, (1, 1), ["###", "###"], (2.5, 1.5), [(20, 0.6, 0.8)]),
    Scene(
        "the world's far end",
        [(EDGE, EDGE)],
        (EDGE * CELL_TILES, EDGE * CELL_TILES),
        ["."],
        (WORLD_TILES_MAX - 0.5, WORLD_TILES_MAX - 4.25),
        [(9, 0.6, 0.8), (9, -0.1, 1.0 - 0.01)],
    ),
    Scene(
        "the world's near end",
        [(-EDGE - 1, -EDGE - 1)],
        (-WORLD_TILES_MAX, -WORLD_TILES_MAX),
        ["."],
        (-WORLD_TILES_MAX + 0.75, -WORLD_TILES_MAX + 0.3),
        [(9, -0.6, -0.8)],
    ),
]


def render() -> str:
    """The text of movement.json: one walk a line."""
    lines = ",\n".join(f"    {json.dumps(row)}" for row in map(_walked, [*SCENES, *_wild()]))
    return f'{{\n  "about": ["made by `landworld protocol --write`, see tools/protocol/walks.py"],\n  "walks": [\n{lines}\n  ]\n}}\n'


def walk(row: Mapping[str, Any]) -> list[list[float]]:
    """The place after each tick of a row."""
    state = State(RULES)
    x, y = row["picture"]["x"], row["picture"]["y"]
    ground = {(cx, cy): np.full((CELL_TILES, CELL_TILES), 100, np.uint8) for cx, cy in row["chunks"]}
    for down, percents in enumerate(row["picture"]["walk"]):
        for right, percent in enumerate(percents):
            (cx, tile_x), (cy, tile_y) = divmod(x + right, CELL_TILES), divmod(y + down, CELL_TILES)
            ground[cx, cy][tile_y, tile_x] = percent
    loads = [LoadChunk(cx, cy, tiles.tobytes()) for (cx, cy), tiles in ground.items()]
    step(state, [*loads, Join(1, "walker", Role.GUEST, 0, row["x"], row["y"])], 0)
    places = []
    for ticks, dx, dy in row["inputs"]:
        for tick in range(ticks):
            commands = [steer(1, 1, dx, dy)] if tick == 0 else []
            step(state, list(commands), state.tick + 1)
            places.append([float(state.players.x[0]), float(state.players.y[0])])
    return places


def _walked(scene: Scene) -> dict[str, Any]:
    x, y = scene.place
    row = {
        "name": scene.name,
        "chunks": scene.chunks,
        "picture": {
            "x": scene.corner[0],
            "y": scene.corner[1],
            "walk": [[PERCENT[letter] for letter in line] for line in scene.picture],
        },
        "stride": RULES.walk_speed / RULES.tick_hz,
        "x": x,
        "y": y,
        "inputs": scene.inputs,
    }
    return {**row, "places": walk(row)}


def _wild() -> Iterator[Scene]:
    """Long walks over ground of all kinds, from a seed."""
    random = np.random.default_rng(WILD_SEED)
    for number in range(4):
        picture = ["".join(random.choice(list(".....##~,"), 24)) for _ in range(24)]
        ways = random.uniform(-SQRT, SQRT, (30, 2)).round(6).tolist()
        inputs: Inputs = [(8, dx, dy) for dx, dy in ways]
        yield Scene(f"wild {number}", AROUND, (-12, -12), picture, (0.5, 0.5), inputs)
