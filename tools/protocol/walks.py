"""tests/vectors/movement.json: walks as the server walks them, for whoever predicts a player's own steps.

A row is one player on a small piece of ground:

    chunks    [[cx, cy], ...]   loaded ground, open (100 percent) but for the picture; all else is not loaded
    picture   {x, y, walk: [[percent, ...], ...]}   rows of tiles whose first is (x, y); lies within the chunks
    closed    [[parcel_id, x, y, width, height], ...]   closed parcels, in tiles; no two overlap
    enters    [parcel_id, ...]   those of them that let the walker in
    stride    tiles per tick of a whole intent on open ground
    x, y      the place at the beginning
    inputs    [[ticks, dx, dy], ...]   an intent of length at most 1, and for how many ticks it holds
    places    [[x, y], ...]   after each tick

They come out of `world.tick.step`. Another implementation that computes in 64-bit floats agrees within 1e-9.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from protocol.messages import PLOT_TILES, WORLD_TILES_MAX, Role, Standing
from protocol.snapshot import CELL_TILES
from world.commands import Join, LoadChunk, RecallParcels, steer
from world.parcels import Parcel, Permit
from world.state import Rules, State
from world.tick import step

RULES = Rules(20, 4.0, 1, 16, 1.0, 1, 1, 1)
PERCENT = {".": 100, "#": 0, "~": 40, ",": 70}
MIDDLE = [(0, 0)]
AROUND = list(product((-1, 0), (-1, 0)))
EDGE = WORLD_TILES_MAX // CELL_TILES - 1
SQRT = 0.7071067811865475  # the greatest whose vector is not longer than 1
WILD_SEED = 2
WALKER, NEIGHBOUR = 1, 2  # player_ids

Inputs = list[tuple[int, float, float]]
Closed = tuple[int, int, int, int, int]  # parcel_id, x, y, width, height


@dataclass(frozen=True)
class Scene:
    """A walk before it is walked; `picture` is drawn with the letters of PERCENT."""

    name: str
    chunks: list[tuple[int, int]]
    corner: tuple[int, int]
    picture: list[str]
    place: tuple[float, float]
    inputs: Inputs
    closed: tuple[Closed, ...] = ()
    enters: tuple[int, ...] = ()


EAST_HALF: Closed = (7, 16, 0, 16, 32)
SOUTH_EAST: Closed = (8, 16, 16, 16, 16)
NORTH_EAST: Closed = (9, 16, 0, 16, 16)
WEST_HALF: Closed = (10, 0, 0, 16, 32)

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
    Scene("to closed land", MIDDLE, (0, 0), [], (15.1, 4.0), [(9, 1.0, 0.0)], (EAST_HALF,)),
    Scene(
        "along closed land", MIDDLE, (0, 0), [], (15.7, 4.0), [(9, 0.6, 0.8), (9, 0.8, -0.6)], (EAST_HALF,)
    ),
    Scene(
        "onto closed land of one's own", MIDDLE, (0, 0), [], (15.7, 4.0), [(9, 0.6, 0.8)], (EAST_HALF,), (7,)
    ),
    Scene(
        "out of closed land of a friend, and in again",
        MIDDLE,
        (0, 0),
        [],
        (16.5, 4.0),
        [(4, 0.5, 0.5), (9, -0.9, 0.1), (9, 1.0, 0.0)],
        (EAST_HALF,),
        (7,),
    ),
    # Where all ground that is loaded is closed, nobody is put out (eviction.py): inside one may walk.
    Scene(
        "within closed land",
        MIDDLE,
        (0, 0),
        [],
        (15.0, 4.0),
        [(9, 0.9, 0.1), (9, -0.9, 0.1)],
        (EAST_HALF, WEST_HALF),
    ),
    Scene(
        "between two closed lands",
        MIDDLE,
        (0, 0),
        [],
        (17.0, 15.3),
        [(9, 0.3, 0.9), (9, -0.9, 0.3), (9, 0.9, 0.3)],
        (NORTH_EAST, SOUTH_EAST, WEST_HALF),
    ),
    Scene(
        "from closed land into a friend's",
        MIDDLE,
        (0, 0),
        [],
        (17.0, 15.3),
        [(9, 0.3, 0.9), (9, 0.0, -1.0)],
        (NORTH_EAST, SOUTH_EAST, WEST_HALF),
        (8,),
    ),
    Scene(
        "past the corner of closed land",
        AROUND,
        (-4, -2),
        ["...~", "..#~", "...~"],
        (0.4, 0.4),
        [(12, -0.7, -0.2), (12, 0.2, -0.7), (12, -0.7, 0.2)],
        ((7, -16, -16, 16, 16),),
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
    parcels = RecallParcels([_parcel(bounds, row["enters"]) for bounds in row["closed"]], 0)
    # The land comes last: the walker may be inside what is closed to them, and is not put out of it here.
    step(state, [*loads, Join(WALKER, "walker", Role.GUEST, 0, row["x"], row["y"]), parcels], 0)
    places = []
    for ticks, dx, dy in row["inputs"]:
        for tick in range(ticks):
            commands = [steer(WALKER, 1, dx, dy)] if tick == 0 else []
            step(state, list(commands), state.tick + 1)
            places.append([float(state.players.x[0]), float(state.players.y[0])])
    return places


def _parcel(bounds: Closed, enters: Sequence[int]) -> Parcel:
    parcel_id, *tiles = bounds
    permits = (Permit(WALKER, "walker", Standing.VISITOR),) if parcel_id in enters else ()
    px, py, pw, ph = (value // PLOT_TILES for value in tiles)
    return Parcel(parcel_id, NEIGHBOUR, "neighbour", px, py, pw, ph, open_enter=False, permits=permits)


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
        "closed": scene.closed,
        "enters": scene.enters,
        "stride": RULES.walk_speed / RULES.tick_hz,
        "x": x,
        "y": y,
        "inputs": scene.inputs,
    }
    return {**row, "places": walk(row)}


def _wild() -> Iterator[Scene]:
    """Long walks over ground of all kinds, from a seed; the last among closed land."""
    random = np.random.default_rng(WILD_SEED)
    picture: list[str] = []
    inputs: Inputs = []
    for number in range(4):
        picture = ["".join(random.choice(list(".....##~,"), 24)) for _ in range(24)]
        ways = random.uniform(-SQRT, SQRT, (30, 2)).round(6).tolist()
        inputs = [(8, dx, dy) for dx, dy in ways]
        yield Scene(f"wild {number}", AROUND, (-12, -12), picture, (0.5, 0.5), inputs)
    closed = ((7, -32, -16, 16, 16), (8, 0, 0, 16, 32), (9, -16, 16, 16, 16))
    yield Scene("wild among closed land", AROUND, (-12, -12), picture, (0.5, -0.5), inputs, closed, (9,))
