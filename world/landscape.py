"""The land as a function of (seed, x, y): noise, relief, rivers, climate, colours and plants, compiled by numba.

Rules: nothing depends on anything but the seed and the tile, so chunks meet without seams in whatever order they are made. Only
+ - * / sqrt and floor on doubles, and no fastmath: these are exact by IEEE 754, so the bytes are the same on every processor
and Python. Slow fields are sampled on lattices aligned to the world (every SHAPE_STEP and CLIMATE_STEP tiles) and spread over
the tiles by Catmull-Rom splines, whose slope is continuous: no lattice shows in the light. Relief is computed at the corners of
tiles, so light on a tile needs no neighbour but the corners it shares.

All compiled functions live in this one file because numba's cache watches only the file a function stands in.

Units: distances in tiles, y grows south; elevation 0 is the sea and 1 a high ridge; moisture, temperature and densities run 0..1.
"""

from collections.abc import Callable
from math import sqrt
from typing import TypeVar, cast

import numpy as np
from numba import njit
from numpy.typing import NDArray
from opensimplex.internals import _noise2

Function = TypeVar("Function", bound=Callable[..., object])
Perm = NDArray[np.int64]  # opensimplex's permutation, [256]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bytes = NDArray[np.uint8]


def kernel(function: Function) -> Function:
    """Compile `function` on first call, keep the machine code on disk, and run it without the interpreter's lock."""
    return cast(Function, njit(cache=True, nogil=True, error_model="numpy")(function))


# Lattices: spacing in tiles; a rectangle must be a multiple of both.
SHAPE_STEP = 4
CLIMATE_STEP = 8

# Fields on the shape lattice.
WARP_X, WARP_Y, CONTINENT, RIVER, RIDGE = 0, 1, 2, 3, 4
RIDGES = 4
SHAPE_FIELDS = RIDGE + RIDGES
# Fields on the climate lattice.
MASK, MOISTURE, TEMPERATURE, FOREST = 0, 1, 2, 3
CLIMATE_FIELDS = 4
# Calls of opensimplex at each node of the lattices and at each corner of a tile; what `bench terrain` measures the land against.
SHAPE_SAMPLES, CLIMATE_SAMPLES, CORNER_SAMPLES = 15, 12, 4

# Layers of land on one tile, each a share of 0..1.
LUSH, ARID, COLD, WET, STONE, WHITE, BEACH, TREES = range(8)
SHARES = 8

# What the ground is; world.terrain.Ground gives these numbers their public names.
DEEP_WATER, WATER, SHALLOWS, STREAM, SAND, GRASS, SCRUB, WOOD, MARSH, TUNDRA, ROCK, SNOW = range(12)
# What stands on it; world.terrain.ObjectKind.
CONIFER, BROADLEAF, PALM, BUSH, DEAD_TREE, CACTUS, BOULDER, FLOWER, REED = range(9)
NOTHING = -1

# Columns of an object's row, as `paint` returns it.
ROW, COLUMN, KIND, DX, DY, SIZE = range(6)

# Planes of a painted rectangle.
GROUND, HEIGHT, SHADE, RED, GREEN, BLUE = range(6)
PLANES = 6

SEA_LEVEL = 96  # the height byte of elevation 0
HEIGHT_STEPS = 110.0  # height bytes per unit of elevation
RELIEF_TILES = 46.0  # how many tiles high elevation 1 looks, to the light

LAND_LIFT = 0.17  # lifts the continents: more land than sea
WARP_TILES = 62.0
RIVER_SLOPE = 0.004  # the river noise's usual slope a tile, for a coarse look; close up it is measured
RIVER_HALF_WIDTH = 1.9  # tiles, in the lowlands
VALLEY_TILES = 44.0  # how far a river shapes the land beside it

# The search for a beginning: a look every SURVEY_TILES up to SURVEY_STEPS away (what a first walk reaches) and SURVEY_NEAR (where
# newcomers stand), at up to CANDIDATES_MAX places CANDIDATE_TILES apart. The spacing is a multiple of both lattice steps.
SURVEY_TILES = 16
SURVEY_STEPS = 9
SURVEY_NEAR = 4
CANDIDATE_TILES = 320
CANDIDATES_MAX = 400


def _spline_weights(step: int) -> tuple[Floats, Floats]:
    """Catmull-Rom weights [step + 1, 4] of value and slope (per tile) at each offset between two nodes, ends included."""
    value = np.empty((step + 1, 4))
    slope = np.empty((step + 1, 4))
    for offset in range(step + 1):
        t = offset / step
        value[offset] = (
            ((2.0 - t) * t - 1.0) * t / 2.0,
            ((3.0 * t - 5.0) * t * t + 2.0) / 2.0,
            ((4.0 - 3.0 * t) * t + 1.0) * t / 2.0,
            (t - 1.0) * t * t / 2.0,
        )
        slope[offset] = (
            ((4.0 - 3.0 * t) * t - 1.0) / 2.0 / step,
            (9.0 * t - 10.0) * t / 2.0 / step,
            ((8.0 - 9.0 * t) * t + 1.0) / 2.0 / step,
            (3.0 * t - 2.0) * t / 2.0 / step,
        )
    return value, slope


SHAPE_VALUE, SHAPE_SLOPE = _spline_weights(SHAPE_STEP)
CLIMATE_VALUE, _ = _spline_weights(CLIMATE_STEP)


# --- small mathematics ---------------------------------------------------------------------------


@kernel
def _ramp(low: float, high: float, value: float) -> float:
    """0 below `low`, 1 above `high`, and a smooth rise between (a falling one when low > high)."""
    t = (value - low) / (high - low)
    if t <= 0.0:
        return 0.0
    if t >= 1.0:
        return 1.0
    return t * t * (3.0 - 2.0 * t)


@kernel
def _clamp(value: float, low: float, high: float) -> float:
    return low if value < low else (high if value > high else value)


@kernel
def _hash(x: int, y: int, salt: int) -> int:
    """32 well-mixed bits of a tile (the finalizer of MurmurHash3)."""
    h = (x * 374761393 + y * 668265263 + salt * 1274126177) & 0xFFFFFFFF
    h = ((h ^ (h >> 16)) * 2246822507) & 0xFFFFFFFF
    h = ((h ^ (h >> 13)) * 3266489909) & 0xFFFFFFFF
    return h ^ (h >> 16)


@kernel
def _spread(nodes: Floats, across: Floats, down: Floats, step: int, out: Floats) -> None:
    """Fill corners `out` [rows + 1, columns + 1] from `nodes` [rows / step + 3, columns / step + 3], the first a step before."""
    rows, columns = out.shape
    strip = np.empty((nodes.shape[0], columns))
    for row in range(nodes.shape[0]):
        for cell in range(nodes.shape[1] - 3):
            a, b, c, d = nodes[row, cell], nodes[row, cell + 1], nodes[row, cell + 2], nodes[row, cell + 3]
            for offset in range(step + 1):  # the last offset is the next cell's first: the same number
                strip[row, cell * step + offset] = (
                    a * across[offset, 0]
                    + b * across[offset, 1]
                    + c * across[offset, 2]
                    + d * across[offset, 3]
                )
    for row in range(rows):
        cell = min(row // step, nodes.shape[0] - 4)
        offset = row - cell * step
        wa, wb, wc, wd = down[offset, 0], down[offset, 1], down[offset, 2], down[offset, 3]
        for column in range(columns):
            out[row, column] = (
                strip[cell, column] * wa
                + strip[cell + 1, column] * wb
                + strip[cell + 2, column] * wc
                + strip[cell + 3, column] * wd
            )


# --- the slow fields -----------------------------------------------------------------------------


@kernel
def _shape_fields(perm: Perm, x: float, y: float, out: Floats) -> None:
    """What gives the land its form at one point, without its smallest octaves."""
    warp_x = WARP_TILES * (
        _noise2(x / 260.0 + 17.3, y / 260.0 - 5.1, perm) + 0.3 * _noise2(x / 97.0, y / 97.0 + 31.7, perm)
    )
    warp_y = WARP_TILES * (
        _noise2(x / 260.0 - 9.7, y / 260.0 + 23.9, perm) + 0.3 * _noise2(x / 97.0 - 47.1, y / 97.0, perm)
    )
    px = x + warp_x
    py = y + warp_y
    out[WARP_X] = warp_x
    out[WARP_Y] = warp_y
    out[CONTINENT] = (
        _noise2(px / 620.0 + 3.7, py / 620.0 + 1.9, perm)
        + 0.5 * _noise2(px / 310.0 + 53.1, py / 310.0 - 11.3, perm)
        + 0.25 * _noise2(px / 155.0 - 29.9, py / 155.0 + 71.7, perm)
        + 0.11 * _noise2(px / 78.0 + 13.3, py / 78.0 + 37.9, perm)
    )
    # Rivers wind by a warp of their own: an octave added to the noise would wind them too, but also close them to rings.
    rx = x + 0.8 * warp_x + 19.0 * _noise2(x / 83.0 + 91.7, y / 83.0 - 33.3, perm)
    ry = y + 0.8 * warp_y + 19.0 * _noise2(x / 83.0 - 71.9, y / 83.0 + 45.1, perm)
    out[RIVER] = _noise2(rx / 470.0 - 61.3, ry / 470.0 + 19.1, perm)
    unit = 380.0
    for octave in range(RIDGES):
        out[RIDGE + octave] = _noise2(px / unit + 7.0 * octave - 41.9, py / unit + 3.0 * octave + 67.7, perm)
        unit *= 0.5


@kernel
def _climate_fields(perm: Perm, x: float, y: float, out: Floats) -> None:
    """What grows and where mountains want to be, at one point."""
    out[MASK] = _noise2(x / 730.0 + 83.7, y / 730.0 - 77.1, perm) + 0.3 * _noise2(
        x / 240.0 + 5.3, y / 240.0 - 59.9, perm
    )
    px = x + 34.0 * _noise2(x / 112.0 + 171.3, y / 112.0 + 7.9, perm)
    py = y + 34.0 * _noise2(x / 112.0 - 23.3, y / 112.0 + 161.9, perm)
    out[MOISTURE] = (
        0.54
        + 0.29 * _noise2(px / 360.0 - 101.1, py / 360.0 + 41.3, perm)
        + 0.25 * _noise2(px / 1150.0 + 19.7, py / 1150.0 + 133.7, perm)
        + 0.09 * _noise2(px / 118.0 + 63.9, py / 118.0 + 9.1, perm)
    )
    out[TEMPERATURE] = (
        0.57
        + 0.5 * _noise2(px / 1250.0 + 121.9, py / 1250.0 + 87.7, perm)
        + 0.1 * _noise2(px / 260.0 - 15.7, py / 260.0 + 113.3, perm)
    )
    out[FOREST] = (
        _noise2(px / 170.0 + 141.3, py / 170.0 - 21.7, perm)
        + 0.5 * _noise2(px / 62.0 - 131.1, py / 62.0 + 51.9, perm)
        + 0.36 * _noise2(x / 27.0 + 33.7, y / 27.0 + 147.7, perm)
    )


@kernel
def _relief(
    continent: float,
    fine: float,
    r0: float,
    r1: float,
    r2: float,
    r3: float,
    r4: float,
    mask: float,
    river_tiles: float,
) -> float:
    """Elevation of one corner. `fine` holds the continents' small octaves, `river_tiles` the distance to a river's middle."""
    base = (continent + LAND_LIFT * 1.86) / 1.86
    # Ridges: each octave is folded into a crest and counts where the one above it is high, so valleys stay smooth.
    fold = 1.0 - sqrt(r0 * r0 + 0.0012)
    crest = fold * fold
    ridge = crest
    rough = crest
    fold = 1.0 - sqrt(r1 * r1 + 0.0012)
    crest = fold * fold * rough
    ridge += 0.6 * crest
    rough = _clamp(1.6 * crest, 0.0, 1.0)
    fold = 1.0 - abs(r2)
    crest = fold * fold * rough
    ridge += 0.34 * crest
    rough = _clamp(1.6 * crest + 0.2 * rough, 0.0, 1.0)
    fold = 1.0 - abs(r3)
    ridge += 0.2 * fold * fold * rough
    fold = 1.0 - abs(r4)
    ridge += 0.1 * fold * fold * rough
    inland = _ramp(0.02, 0.30, base)
    mountains = _ramp(-0.25, 0.4, mask) * inland
    hills = 0.22 + 0.78 * _ramp(-0.45, 0.5, r1 + 0.6 * mask)
    elevation = base * 0.5 + fine * hills * (0.5 + 0.5 * inland) + mountains * (ridge * 0.7 - 0.16)
    if elevation > 0.0:
        slope = _clamp(1.0 - river_tiles * (1.0 + 9.0 * fine) / VALLEY_TILES, 0.0, 1.0)
        elevation *= 1.0 - 0.45 * slope * slope * _ramp(0.62, 0.3, elevation)
    return elevation


# --- a rectangle ---------------------------------------------------------------------------------


@kernel
def _lattice(perm: Perm, x0: int, y0: int, step: int, fields: int, shape: bool, out: Floats) -> None:
    """Sample all fields of a lattice: out [fields, rows, columns], its first node one step before (x0, y0)."""
    values = np.empty(fields)
    for row in range(out.shape[1]):
        for column in range(out.shape[2]):
            x = float(x0 + (column - 1) * step)
            y = float(y0 + (row - 1) * step)
            if shape:
                _shape_fields(perm, x, y, values)
            else:
                _climate_fields(perm, x, y, values)
            for field in range(fields):
                out[field, row, column] = values[field]


@kernel
def _corners(perm: Perm, x0: int, y0: int, rows: int, columns: int) -> tuple[Floats, Floats, Floats, Floats]:
    """Elevation, signed distance to the nearest river's middle (tiles), fine relief, and the climate, at all tile corners."""
    shape_nodes = np.empty((SHAPE_FIELDS, rows // SHAPE_STEP + 3, columns // SHAPE_STEP + 3))
    _lattice(perm, x0, y0, SHAPE_STEP, SHAPE_FIELDS, True, shape_nodes)
    climate_nodes = np.empty((CLIMATE_FIELDS, rows // CLIMATE_STEP + 3, columns // CLIMATE_STEP + 3))
    _lattice(perm, x0, y0, CLIMATE_STEP, CLIMATE_FIELDS, False, climate_nodes)
    shape = np.empty((SHAPE_FIELDS, rows + 1, columns + 1))
    for field in range(SHAPE_FIELDS):
        _spread(shape_nodes[field], SHAPE_VALUE, SHAPE_VALUE, SHAPE_STEP, shape[field])
    climate = np.empty((CLIMATE_FIELDS, rows + 1, columns + 1))
    for field in range(CLIMATE_FIELDS):
        _spread(climate_nodes[field], CLIMATE_VALUE, CLIMATE_VALUE, CLIMATE_STEP, climate[field])
    river_across = np.empty((rows + 1, columns + 1))
    river_down = np.empty((rows + 1, columns + 1))
    _spread(shape_nodes[RIVER], SHAPE_SLOPE, SHAPE_VALUE, SHAPE_STEP, river_across)
    _spread(shape_nodes[RIVER], SHAPE_VALUE, SHAPE_SLOPE, SHAPE_STEP, river_down)
    elevation = np.empty((rows + 1, columns + 1))
    river = np.empty((rows + 1, columns + 1))
    fine = np.empty((rows + 1, columns + 1))
    for row in range(rows + 1):
        for column in range(columns + 1):
            px = float(x0 + column) + shape[WARP_X, row, column]
            py = float(y0 + row) + shape[WARP_Y, row, column]
            small = (
                0.042 * _noise2(px / 41.0 - 7.7, py / 41.0 + 27.1, perm)
                + 0.019 * _noise2(px / 19.0 + 59.3, py / 19.0 - 43.9, perm)
                + 0.006 * _noise2(px / 8.7 - 83.1, py / 8.7 - 13.7, perm)
            )
            across, down = river_across[row, column], river_down[row, column]
            signed = shape[RIVER, row, column] / (sqrt(across * across + down * down) + 1e-4)
            r4 = _noise2(px / 24.0 - 17.9, py / 24.0 + 77.3, perm)
            elevation[row, column] = _relief(
                shape[CONTINENT, row, column],
                small,
                shape[RIDGE, row, column],
                shape[RIDGE + 1, row, column],
                shape[RIDGE + 2, row, column],
                shape[RIDGE + 3, row, column],
                r4,
                climate[MASK, row, column],
                abs(signed),
            )
            river[row, column] = signed
            fine[row, column] = small
    return elevation, river, fine, climate


# --- one tile ------------------------------------------------------------------------------------


@kernel
def _shares(
    height: float, slope: float, moisture: float, warmth: float, forest: float, tone: float, out: Floats
) -> None:
    """How much of a tile each kind of land would take, 0..1, by soft ramps."""
    out[LUSH] = _ramp(0.22, 0.72, moisture + 2.0 * tone)
    out[ARID] = _ramp(0.36, 0.22, moisture + 1.5 * tone) * _ramp(0.5, 0.66, warmth)
    out[COLD] = _ramp(0.36, 0.2, warmth + 1.5 * tone)
    out[WET] = _ramp(0.72, 0.85, moisture) * _ramp(0.1, 0.04, height) * _ramp(0.35, 0.5, warmth)
    out[STONE] = _ramp(0.62, 1.1, slope + 1.3 * _clamp(height - 0.36, 0.0, 1.0))
    out[WHITE] = _ramp(0.14, 0.03, warmth + 0.09 * slope + 1.2 * tone)
    reach = 0.012 + 0.034 * (1.0 - out[LUSH])
    out[BEACH] = _ramp(reach, 0.45 * reach, height + 0.4 * tone) * _ramp(0.16, 0.34, warmth)
    out[TREES] = (
        _ramp(0.0, 1.05, forest + 1.9 * (moisture - 0.42))
        * _ramp(0.12, 0.26, warmth)
        * _ramp(1.25, 0.7, slope)
        * (1.0 - out[ARID])
        * (1.0 - out[BEACH])
        * (1.0 - 0.8 * out[WET])
    )


@kernel
def _land_kind(shares: Floats) -> int:
    """What the ground is called: the last layer that covers half of it."""
    if shares[WHITE] > 0.5:
        return SNOW
    if shares[BEACH] > 0.5:
        return SAND
    if shares[STONE] > 0.5:
        return ROCK
    if shares[TREES] > 0.4:
        return WOOD
    if shares[COLD] > 0.5:
        return TUNDRA
    if shares[ARID] > 0.5:
        return SAND
    if shares[WET] > 0.5:
        return MARSH
    return GRASS if shares[LUSH] >= 0.25 else SCRUB


@kernel
def _blend(colour: Floats, red: float, green: float, blue: float, share: float) -> None:
    """Mix `share` (0..1) of another colour into `colour`."""
    colour[0] += (red - colour[0]) * share
    colour[1] += (green - colour[1]) * share
    colour[2] += (blue - colour[2]) * share


@kernel
def _land_colour(shares: Floats, moisture: float, tone: float, colour: Floats) -> None:
    """Each kind of land over the one before it; hollows are a little darker than crests."""
    colour[0], colour[1], colour[2] = 190.0, 184.0, 104.0
    _blend(colour, 124.0, 167.0, 73.0, shares[LUSH])
    _blend(colour, 94.0, 146.0, 65.0, 0.5 * _ramp(0.55, 0.85, moisture))
    _blend(colour, 222.0, 190.0, 128.0, shares[ARID])
    _blend(colour, 150.0, 158.0, 123.0, shares[COLD])
    _blend(colour, 96.0, 132.0, 84.0, 0.7 * shares[WET])
    _blend(colour, 58.0, 100.0, 54.0, 0.7 * _ramp(0.0, 0.85, shares[TREES]))
    _blend(colour, 134.0, 129.0, 124.0, 0.9 * shares[STONE])
    _blend(colour, 236.0, 218.0, 164.0, shares[BEACH])
    _blend(colour, 226.0, 232.0, 240.0, shares[WHITE])
    for band in range(3):
        colour[band] *= 1.0 + 2.2 * tone


@kernel
def _river_colour(share: float, middle: float, colour: Floats) -> None:
    """A river over the land, deeper in its middle."""
    _blend(colour, 104.0, 182.0, 212.0, share)
    _blend(colour, 68.0, 150.0, 196.0, share * middle)


@kernel
def _sea_colour(depth: float, shore: float, share: float, colour: Floats) -> None:
    """Water over its bed: bright in the shallows and along the shore (`shore` tiles away), darker with depth."""
    deep = _ramp(0.04, 0.26, depth)
    _blend(colour, 66.0 - 26.0 * deep, 156.0 - 52.0 * deep, 196.0 - 40.0 * deep, share)
    _blend(
        colour, 150.0, 220.0, 222.0, share * (0.8 * _ramp(0.05, 0.0, depth) + 0.2 * _ramp(2.5, 1.0, shore))
    )


@kernel
def _sea_kind(height: float) -> int:
    if height < -0.12:
        return DEEP_WATER
    return WATER if height < -0.022 else SHALLOWS


@kernel
def _light(across: float, down: float) -> float:
    """Brightness of a slope (tiles up per tile) in the sun, 1 on a plain: a high sun, so that plains keep their colour."""
    lit: float = (1.15 + across + down) / (1.15 * sqrt(1.0 + across * across + down * down))
    if lit < 0.6:  # the sky lights what the sun does not reach, and keeps its form
        lit = 0.25 + 0.35 / (1.0 + (0.6 - lit) / 0.35)
    return 0.1 + 0.9 * min(lit, 2.0)


@kernel
def _is_lowest(chances: Ints, row: int, column: int) -> bool:
    """Whether a tile's chance is the lowest of its nine; [0, 0] of `chances` lies one tile north-west of tile [0, 0]."""
    chance = chances[row + 1, column + 1]
    for i in range(row, row + 3):
        for j in range(column, column + 3):
            if chances[i, j] < chance:
                return False
    return True


@kernel
def _tree_kind(warmth: float, luck: float) -> int:
    if luck < _ramp(0.52, 0.36, warmth):
        return CONIFER
    if luck > 1.0 - 0.6 * _ramp(0.72, 0.86, warmth):
        return PALM
    if luck > 0.95:
        return BUSH
    return DEAD_TREE if luck > 0.942 else BROADLEAF


@kernel
def _object_kind(
    ground: int,
    height: float,
    warmth: float,
    forest: float,
    tone: float,
    shares: Floats,
    luck: float,
    second: float,
) -> int:
    """What stands on a tile, from two chances of 0..1; NOTHING mostly."""
    if ground <= STREAM:
        reeds = 0.4 * shares[LUSH] * _ramp(0.3, 0.45, warmth)
        return REED if ground >= SHALLOWS and height > -0.012 and luck < reeds else NOTHING
    if ground == SNOW and luck > 0.03:
        return NOTHING
    soil = (1.0 - shares[BEACH]) * (1.0 - shares[STONE])
    fringe = _ramp(-0.5, 0.3, forest)  # lone trees and bushes keep near the woods
    if luck < shares[TREES] + 0.05 * soil * shares[LUSH] * fringe:
        return _tree_kind(warmth, second)
    if ground == SAND and shares[BEACH] > 0.5:
        palms = 0.16 * _ramp(0.5, 0.62, warmth) * _ramp(0.006, 0.014, height)
        return PALM if second < palms else NOTHING
    if shares[ARID] > 0.4:
        if second < 0.035 * shares[ARID]:
            return CACTUS
        return DEAD_TREE if second < 0.05 * shares[ARID] else NOTHING
    if second < 0.16 * shares[STONE] + 0.004:
        return BOULDER
    if second > 1.0 - soil * (1.0 - shares[COLD]) * (0.025 + 0.11 * fringe):
        return BUSH
    flowers = (
        soil * (0.3 + 0.7 * shares[LUSH]) * (1.0 - shares[COLD]) * (0.05 + 0.55 * _ramp(0.002, 0.011, tone))
    )
    return FLOWER if 0.3 < second < 0.3 + flowers else NOTHING


@kernel
def _object_size(kind: int, shares: Floats) -> float:
    """The usual size of a kind here (128 is normal): trees grow tall in the depth of the woods."""
    trees, stone = float(shares[TREES]), float(shares[STONE])
    if kind <= BROADLEAF:
        return 102.0 + 44.0 * trees
    return 100.0 + 40.0 * stone if kind == BOULDER else 116.0


@kernel
def _byte(value: float) -> int:
    return int(_clamp(value + 0.5, 0.0, 255.0))


@kernel
def paint(perm: Perm, salt: int, x0: int, y0: int, rows: int, columns: int) -> tuple[Bytes, Ints]:
    """Paint the rectangle of tiles at (x0, y0), its sides multiples of both lattice steps.

    Returns planes u8[PLANES, rows, columns] and objects i64[n, 6]: row, column, kind, dx, dy, size; rows ascending.
    """
    elevation, river, fine, climate = _corners(perm, x0, y0, rows, columns)
    chances = np.empty((rows + 2, columns + 2), dtype=np.int64)
    for row in range(rows + 2):
        for column in range(columns + 2):
            chances[row, column] = _hash(x0 + column - 1, y0 + row - 1, salt)
    planes = np.empty((PLANES, rows, columns), dtype=np.uint8)
    objects = np.empty(
        ((rows // 2 + 1) * (columns // 2 + 1), 6), dtype=np.int64
    )  # no two stand on neighbouring tiles
    count = 0
    colour = np.empty(3)
    shares = np.empty(SHARES)
    for row in range(rows):
        for column in range(columns):
            a, b = elevation[row, column], elevation[row, column + 1]
            c, d = elevation[row + 1, column], elevation[row + 1, column + 1]
            height = (a + b + c + d) * 0.25
            across = (b + d - a - c) * 0.5
            down = (c + d - a - b) * 0.5
            steep = sqrt(across * across + down * down) + 1e-4
            bank = 0.25 * abs(
                river[row, column]
                + river[row, column + 1]
                + river[row + 1, column]
                + river[row + 1, column + 1]
            )
            tone = 0.42 * fine[row, column]
            moisture = climate[MOISTURE, row, column]
            forest = climate[FOREST, row, column]
            warmth = climate[TEMPERATURE, row, column] - 0.62 * _clamp(height - 0.08, 0.0, 2.0)

            _shares(height, steep * RELIEF_TILES, moisture, warmth, forest, tone, shares)
            ground = _land_kind(shares)
            _land_colour(shares, moisture, tone, colour)
            shade = 128.0 * _light(across * RELIEF_TILES, down * RELIEF_TILES)

            # Water has edges one tile soft: a share of the tile, by the distance to the shore or bank.
            land = _clamp(height / steep + 0.5, 0.0, 1.0)
            half_width = RIVER_HALF_WIDTH * (0.72 + 0.5 * moisture + 0.22 * forest) * _ramp(0.52, 0.2, height)
            stream = _clamp(half_width - bank + 0.5, 0.0, 1.0) if half_width > 0.4 else 0.0
            if stream > 0.0:
                _river_colour(stream, _clamp(half_width - bank - 0.4, 0.0, 1.0), colour)
                shade += (128.0 - shade) * 0.8 * stream
            if stream > 0.5:
                ground = STREAM
            if land < 1.0:
                _sea_colour(_clamp(-height, 0.0, 1.0), -height / steep, 1.0 - land, colour)
                shade = 128.0 + (shade - 128.0) * land
            if land < 0.5:
                ground = _sea_kind(height)

            planes[GROUND, row, column] = ground
            planes[HEIGHT, row, column] = _byte(SEA_LEVEL + height * HEIGHT_STEPS)
            planes[SHADE, row, column] = _byte(shade)
            planes[RED, row, column] = _byte(colour[0])
            planes[GREEN, row, column] = _byte(colour[1])
            planes[BLUE, row, column] = _byte(colour[2])

            # At most one object where a tile's chance is the lowest of its nine: nothing crowds and nothing stands in rows.
            if not _is_lowest(chances, row, column):
                continue
            x, y = x0 + column, y0 + row
            luck = _hash(x, y, salt + 1) / 4294967296.0
            second = _hash(x, y, salt + 3) / 4294967296.0
            kind = _object_kind(ground, height, warmth, forest, tone, shares, luck, second)
            if kind == NOTHING:
                continue
            place = _hash(x, y, salt + 2)
            objects[count, ROW] = row
            objects[count, COLUMN] = column
            objects[count, KIND] = kind
            objects[count, DX] = place & 0xFF
            objects[count, DY] = (place >> 8) & 0xFF
            varied = 0.78 + 0.44 * ((place >> 16) & 0xFF) / 255.0
            objects[count, SIZE] = _byte(_object_size(kind, shares) * varied)
            count += 1
    return planes, objects[:count]


@kernel
def pack(objects: Ints, columns: int) -> Bytes:
    """Objects of `paint` as records u8[n, 6]: tile (u16, little-endian), kind, dx, dy, size, sorted by y then x."""
    records = np.empty((len(objects), 6), dtype=np.uint8)
    order = np.arange(len(objects))
    for i in range(
        1, len(objects)
    ):  # few stand in one row, and the rows already ascend: insertion is the quickest
        one = order[i]
        j = i
        while (
            j > 0
            and objects[order[j - 1], ROW] == objects[one, ROW]
            and objects[order[j - 1], DY] > objects[one, DY]
        ):
            order[j] = order[j - 1]
            j -= 1
        order[j] = one
    for i in range(len(objects)):
        one = order[i]
        tile = objects[one, ROW] * columns + objects[one, COLUMN]
        records[i, 0] = tile & 0xFF
        records[i, 1] = tile >> 8
        for byte in range(2, 6):
            records[i, byte] = objects[one, byte]
    return records


# --- where the world begins ----------------------------------------------------------------------


@kernel
def _enough(share: float, wanted: float) -> float:
    """1 when there is as much as wanted, down to 0.6 when there is none."""
    return 0.6 + 0.4 * min(1.0, share / wanted)


@kernel
def _promise(perm: Perm, x: int, y: int) -> float:
    """How good a beginning (x, y) is, from a coarse look around it: 1 when nothing is missing."""
    shape = np.empty(SHAPE_FIELDS)
    climate = np.empty(CLIMATE_FIELDS)
    near, dry, fair, groves, riverside, far, water, woods = 0, 0, 0, 0, 0, 0, 0, 0
    for row in range(-SURVEY_STEPS, SURVEY_STEPS + 1):
        for column in range(-SURVEY_STEPS, SURVEY_STEPS + 1):
            px = float(x + column * SURVEY_TILES)
            py = float(y + row * SURVEY_TILES)
            _shape_fields(perm, px, py, shape)
            _climate_fields(perm, px, py, climate)
            bank = abs(shape[RIVER]) / RIVER_SLOPE
            height = _relief(
                shape[CONTINENT],
                0.0,
                shape[RIDGE],
                shape[RIDGE + 1],
                shape[RIDGE + 2],
                shape[RIDGE + 3],
                0.5,
                climate[MASK],
                bank,
            )
            wooded = height > 0.03 and climate[FOREST] + 1.9 * (climate[MOISTURE] - 0.42) > 0.45
            far += 1
            water += height < 0.0
            woods += wooded
            if abs(column) <= SURVEY_NEAR and abs(row) <= SURVEY_NEAR:
                near += 1
                dry += 0.03 < height < 0.36
                fair += 0.42 < climate[TEMPERATURE] < 0.75 and 0.36 < climate[MOISTURE] < 0.85
                groves += wooded
                riverside += bank < SURVEY_TILES and 0.0 < height < 0.25
            if row == 0 and column == 0 and (wooded or bank < 1.5 * SURVEY_TILES or height < 0.04):
                return 0.0
    score = min(1.0, dry / near / 0.95) * min(1.0, fair / near / 0.9)
    score *= (
        _enough(groves / near, 0.12) * _enough(1.0 - groves / near, 0.5) * _enough(riverside / near, 0.06)
    )
    return score * _enough(water / far, 0.03) * _enough(1.0 - water / far, 0.7) * _enough(woods / far, 0.12)


@kernel
def find_beginning(perm: Perm) -> tuple[int, int, float]:
    """The shift (x, y) in tiles that puts a pleasant place at (0, 0): the first good one on a square spiral, or the best seen."""
    best, best_x, best_y = -1.0, 0, 0
    x, y, dx, dy = 0, 0, 1, 0
    length, walked = 1, 0
    for _ in range(CANDIDATES_MAX):
        score = _promise(perm, x * CANDIDATE_TILES, y * CANDIDATE_TILES)
        if score > best:
            best, best_x, best_y = score, x * CANDIDATE_TILES, y * CANDIDATE_TILES
        if best >= 0.999:
            break
        x += dx
        y += dy
        walked += 1
        if walked == length:
            walked = 0
            dx, dy = -dy, dx
            if dy == 0:
                length += 1
    return best_x, best_y, best


def noise_samples(tiles: int) -> int:
    """How many samples of noise a square of `tiles` x `tiles` takes."""
    shape = SHAPE_SAMPLES * (tiles // SHAPE_STEP + 3) ** 2
    climate = CLIMATE_SAMPLES * (tiles // CLIMATE_STEP + 3) ** 2
    return shape + climate + CORNER_SAMPLES * (tiles + 1) ** 2
