"""`landworld map`: a picture of any rectangle of the land, from the same chunks the game streams.

One pixel a tile by default; a larger `--scale` draws closer and a fraction (1/2 .. 1/32) an overview by averaging. Objects are drawn
from the back to the front as a few soft ellipses each, with a shadow to the south-east of them (the light is in the north-west).
`--layer owners` lays over it whose land it is, as the database has it, with a legend of the largest owners.

Units: the rectangle in tiles (y grows south), sizes of objects in tiles, colours 0..255.
"""

import argparse
import asyncio
import re
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from persistence.store import Store
from protocol.messages import WORLD_TILES_MAX
from server.config import load_config
from tools.database import FORESEEABLE, add_database, database, ended, say
from tools.owners import largest, legend, paint, touching, with_legend
from world.parcels import Parcel
from world.terrain import CHUNK_TILES, Chunk, ObjectKind, Terrain

TILES_MAX = 2**25  # generated for one picture: 32,768 chunks, some ten seconds
PIXELS_MAX = 2**26  # drawn for one picture: 192 MiB
SCALE_MAX = 16
LAND, OWNERS = "land", "owners"  # layers
FRACTION_MAX = 32  # the smallest scale is one pixel for this many tiles

Pixels = NDArray[np.uint8]


class Rect(NamedTuple):
    """A rectangle of tiles."""

    x: int
    y: int
    width: int
    height: int


class MapError(Exception):
    """This picture cannot be made; the text says why and what to do."""


# Each kind as ellipses from the back to the front: centre (right, up) and radii in tiles at size 128, colour, opacity. The first
# is the shadow.
_SHADOW = (16, 30, 34)
_SHAPES: dict[ObjectKind, list[tuple[float, float, float, float, tuple[int, int, int], float]]] = {
    ObjectKind.CONIFER: [
        (0.55, -0.25, 1.0, 0.5, _SHADOW, 0.36),
        (0.0, 0.55, 0.85, 0.75, (30, 74, 58), 1.0),
        (-0.05, 1.15, 0.62, 0.75, (38, 90, 66), 1.0),
        (-0.12, 1.75, 0.36, 0.6, (56, 112, 78), 1.0),
    ],
    ObjectKind.BROADLEAF: [
        (0.6, -0.2, 1.1, 0.6, _SHADOW, 0.36),
        (0.0, 0.75, 1.05, 0.95, (46, 92, 40), 1.0),
        (-0.2, 1.0, 0.75, 0.65, (70, 124, 50), 1.0),
        (-0.35, 1.2, 0.4, 0.34, (98, 150, 62), 0.9),
    ],
    ObjectKind.PALM: [
        (0.6, -0.1, 0.9, 0.4, _SHADOW, 0.3),
        (0.0, 0.6, 0.14, 0.7, (136, 106, 70), 1.0),
        (0.0, 1.3, 1.0, 0.42, (58, 128, 60), 1.0),
        (-0.15, 1.42, 0.6, 0.3, (106, 168, 76), 1.0),
    ],
    ObjectKind.BUSH: [
        (0.3, -0.1, 0.6, 0.32, _SHADOW, 0.3),
        (0.0, 0.3, 0.6, 0.48, (82, 122, 54), 1.0),
        (-0.14, 0.42, 0.34, 0.26, (116, 150, 68), 1.0),
    ],
    ObjectKind.DEAD_TREE: [
        (0.4, -0.1, 0.6, 0.2, _SHADOW, 0.25),
        (0.0, 0.6, 0.16, 0.8, (112, 94, 76), 1.0),
        (0.05, 1.1, 0.5, 0.16, (124, 106, 86), 0.9),
    ],
    ObjectKind.CACTUS: [
        (0.4, -0.1, 0.5, 0.2, _SHADOW, 0.3),
        (0.0, 0.6, 0.26, 0.75, (74, 124, 76), 1.0),
        (-0.08, 0.75, 0.12, 0.5, (110, 156, 96), 0.9),
    ],
    ObjectKind.BOULDER: [
        (0.35, -0.1, 0.7, 0.38, _SHADOW, 0.34),
        (0.0, 0.25, 0.62, 0.48, (112, 106, 102), 1.0),
        (-0.16, 0.4, 0.36, 0.26, (158, 152, 146), 0.9),
    ],
    ObjectKind.FLOWER: [
        (0.0, 0.05, 0.34, 0.22, (88, 140, 60), 0.5),
        (0.0, 0.18, 0.24, 0.2, (244, 214, 110), 0.75),
    ],
    ObjectKind.REED: [
        (0.1, 0.0, 0.4, 0.2, _SHADOW, 0.15),
        (0.0, 0.3, 0.3, 0.42, (128, 150, 78), 0.7),
    ],
}
_ELLIPSES = [
    (int(kind), *where, *colour, opacity)
    for kind, rows in _SHAPES.items()
    for *where, colour, opacity in rows
]
_ELLIPSE_TABLE = np.array(
    _ELLIPSES, dtype=np.float64
)  # kind, right, up, radius x, radius y, red, green, blue, opacity


@njit(cache=True)
def _draw_objects(
    pixels: Pixels, places: NDArray[np.float64], table: NDArray[np.float64], scale: float
) -> None:
    """Draw objects [n, 4] of (x, y, kind, size) in tiles from the picture's corner, in their order."""
    rows, columns = pixels.shape[0], pixels.shape[1]
    for i in range(len(places)):
        size = places[i, 3] / 128.0 * scale
        # No two quite alike: large ones darker, and some warmer than others by where they stand.
        dark = 1.0 - 0.18 * (places[i, 3] - 128.0) / 64.0
        warm = 0.16 * (places[i, 0] * 7.0 - np.floor(places[i, 0] * 7.0) - 0.5)
        tint = (dark * (1.0 + warm), dark * (1.0 + 0.4 * warm), dark * (1.0 - warm))
        for j in range(len(table)):
            if table[j, 0] != places[i, 2]:
                continue
            x = places[i, 0] * scale + table[j, 1] * size
            y = places[i, 1] * scale - table[j, 2] * size
            across, down = table[j, 3] * size, table[j, 4] * size
            opacity = (
                table[j, 8] * min(1.0, 2.0 * across) * min(1.0, 2.0 * down)
            )  # what is smaller than a pixel is faint
            for row in range(max(0, int(y - down - 1.0)), min(rows, int(y + down + 2.0))):
                for column in range(max(0, int(x - across - 1.0)), min(columns, int(x + across + 2.0))):
                    dx, dy = (column + 0.5 - x) / across, (row + 0.5 - y) / down
                    inside = (1.0 - np.sqrt(dx * dx + dy * dy)) * min(across, down) + 0.5
                    share = min(1.0, max(0.0, inside)) * opacity
                    for band in range(3):
                        value = pixels[row, column, band]
                        paint = min(255.0, table[j, 5 + band] * tint[band])
                        pixels[row, column, band] = int(value + (paint - value) * share + 0.5)


def lit(chunk: Chunk) -> Pixels:
    """The ground's colours [32, 32, 3] in the light of the sun: warm where it falls, blue in the shade."""
    light = chunk.shade.astype(np.float32)[:, :, None] / 128.0
    dark = np.clip(1.0 - light, 0.0, 1.0) * np.array((1.0, 0.96, 0.84), np.float32)
    bright = np.clip(light - 1.0, 0.0, 1.0) * np.array((0.62, 0.58, 0.46), np.float32)
    colours: Pixels = np.clip(chunk.colour * (1.0 - dark + bright) + 0.5, 0.0, 255.0).astype(np.uint8)
    return colours


def check_rect(rect: Rect, scale: Fraction) -> None:
    """Raise MapError when this picture would be empty, out of the world, or over a limit."""
    if rect.width < 1 or rect.height < 1:
        raise MapError(
            f"the rectangle is empty: {rect.width} x {rect.height} tiles; give a width and a height of at least 1"
        )
    ends = (rect.x, rect.y, rect.x + rect.width - 1, rect.y + rect.height - 1)
    if min(ends) < -WORLD_TILES_MAX or max(ends) >= WORLD_TILES_MAX:
        raise MapError(
            f"the rectangle leaves the world: x and y run from {-WORLD_TILES_MAX} to {WORLD_TILES_MAX - 1}"
        )
    tiles = rect.width * rect.height
    if tiles > TILES_MAX:
        raise MapError(f"{tiles:,} tiles are more than TILES_MAX = {TILES_MAX:,}: choose a smaller rectangle")
    if tiles * max(scale, Fraction(1)) ** 2 > PIXELS_MAX:
        raise MapError(
            f"at scale {scale} this is more than PIXELS_MAX = {PIXELS_MAX:,} pixels: choose a smaller scale"
        )
    if min(rect.width, rect.height) * scale < 1:
        raise MapError(f"at scale {scale} the picture has no pixel: choose a larger rectangle or scale")


def chunks_of(rect: Rect) -> Iterator[tuple[int, int]]:
    """The chunks a rectangle touches, row by row."""
    for cy in range(rect.y // CHUNK_TILES, (rect.y + rect.height - 1) // CHUNK_TILES + 1):
        for cx in range(rect.x // CHUNK_TILES, (rect.x + rect.width - 1) // CHUNK_TILES + 1):
            yield cx, cy


def render(terrain: Terrain, rect: Rect, scale: Fraction, progress: Progress | None = None) -> Pixels:
    """The picture [rows, columns, 3] of a rectangle. Raises MapError when `check_rect` does."""
    check_rect(rect, scale)
    left, top = rect.x // CHUNK_TILES, rect.y // CHUNK_TILES
    right, bottom = (
        (rect.x + rect.width - 1) // CHUNK_TILES + 1,
        (rect.y + rect.height - 1) // CHUNK_TILES + 1,
    )
    ground = np.empty(((bottom - top) * CHUNK_TILES, (right - left) * CHUNK_TILES, 3), dtype=np.uint8)
    places: list[NDArray[np.float64]] = []
    wanted = list(chunks_of(rect))
    task = progress.add_task("land", total=len(wanted)) if progress else None
    for cx, cy in wanted:
        chunk = terrain.generate(cx, cy)
        column, row = (cx - left) * CHUNK_TILES, (cy - top) * CHUNK_TILES
        ground[row : row + CHUNK_TILES, column : column + CHUNK_TILES] = lit(chunk)
        places.append(_places(chunk, column, row))
        if progress and task is not None:
            progress.advance(task)
    objects = np.concatenate(places)
    objects = objects[np.argsort(objects[:, 1], kind="stable")]
    return _crop(_compose(ground, objects, scale), rect, scale)


def _places(chunk: Chunk, column: int, row: int) -> NDArray[np.float64]:
    """Objects of a chunk as [n, 4] (x, y, kind, size), moved by (column, row) tiles."""
    objects = chunk.objects
    x = objects["tile"] % CHUNK_TILES + objects["dx"] / 256.0 + column
    y = objects["tile"] // CHUNK_TILES + objects["dy"] / 256.0 + row
    return np.stack((x, y, objects["kind"].astype(np.float64), objects["size"].astype(np.float64)), axis=1)


def _compose(ground: Pixels, objects: NDArray[np.float64], scale: Fraction) -> Pixels:
    """Scale the ground, then draw the objects on it; below scale 1 the finished picture is averaged instead."""
    if scale > 1:
        size = (int(ground.shape[1] * scale), int(ground.shape[0] * scale))
        ground = np.array(Image.fromarray(ground).resize(size, Image.Resampling.BICUBIC))
    _draw_objects(ground, objects, _ELLIPSE_TABLE, float(max(scale, Fraction(1))))
    if scale < 1:
        ground = np.array(Image.fromarray(ground).reduce(scale.denominator))
    return ground


def _crop(pixels: Pixels, rect: Rect, scale: Fraction) -> Pixels:
    """Cut the rectangle out of the whole chunks around it."""
    column, row = int(rect.x % CHUNK_TILES * scale), int(rect.y % CHUNK_TILES * scale)
    return pixels[row : row + int(rect.height * scale), column : column + int(rect.width * scale)]


def _rect(text: str) -> Rect:
    try:
        x, y, width, height = (int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no rectangle: give X,Y,WIDTH,HEIGHT in whole tiles"
        ) from None
    return Rect(x, y, width, height)


def _scale(text: str) -> Fraction:
    try:
        scale = Fraction(text)
    except (ValueError, ZeroDivisionError):
        scale = Fraction(0)
    whole = scale.denominator == 1 and 1 <= scale <= SCALE_MAX
    part = scale.numerator == 1 and scale.denominator in (2, 4, 8, 16, FRACTION_MAX)
    if not (whole or part):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no scale: give 1 to {SCALE_MAX} pixels a tile, or 1/2, 1/4, 1/8, 1/16 or 1/{FRACTION_MAX}"
        )
    return scale


async def _parcels(args: argparse.Namespace) -> list[Parcel]:
    """The parcels that touch the rectangle, from the database that the arguments name."""
    found: list[Parcel] = []
    async with database(args, alone=False) as dsn:
        store = await Store.open(dsn, 1)
        try:
            async for page in store.parcels(lambda _: None):
                found += touching(page, *args.rect)
        finally:
            await store.close()
    return found


def _with_owners(pixels: Pixels, parcels: list[Parcel], rect: Rect, scale: Fraction) -> Pixels:
    """The picture with the owners' colours and the legend, which is printed, too."""
    pixels = np.ascontiguousarray(pixels)
    paint(pixels, parcels, (rect.x, rect.y), scale)
    owners = largest(parcels)
    for _, name, plots in legend(owners):
        print(f"{plots:>14}  {name}")
    return with_legend(pixels, owners)


def run(args: argparse.Namespace) -> int:
    """Make the picture the arguments ask for; 0 when it is written, 1 when it cannot be, 2 when it is none that can be asked for."""
    out = Path(args.out)
    console = Console(stderr=True)
    try:
        seed = load_config().world.seed if args.seed is None else args.seed
        check_rect(args.rect, args.scale)
        if out.suffix.lower() != ".png":
            raise MapError(f"{out}: the picture is a PNG; let the name end in .png")
        if not out.parent.is_dir():
            raise MapError(f"{out.parent} is not a directory: make it first, or name another place")
        parcels = asyncio.run(_parcels(args)) if args.layer == OWNERS else None
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed}/{task.total} chunks"),
        )
        with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as progress:
            pixels = render(Terrain(seed), args.rect, args.scale, progress)
        if parcels is not None:
            pixels = _with_owners(pixels, parcels, args.rect, args.scale)
        Image.fromarray(pixels).save(out, optimize=True)
    except MapError as error:
        say(f"No picture: {error}")
        return 2
    except FORESEEABLE as error:
        return ended(error, "No picture")
    print(f"{out}: {pixels.shape[1]} x {pixels.shape[0]} pixels, seed {seed}")
    return 0


def add_parser(sub: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `map` to the `landworld` command."""
    parser = sub.add_parser("map", help="a picture of any rectangle of the land", description=__doc__)
    # A rectangle may begin with a minus: let argparse take it for a value, as it does for plain negative numbers.
    parser._negative_number_matcher = re.compile(r"^-\d[-\d,]*$")
    parser.add_argument(
        "--rect", type=_rect, required=True, metavar="X,Y,W,H", help="the rectangle, in tiles"
    )
    parser.add_argument("--seed", type=int, help="another seed than that of the settings (world.seed)")
    parser.add_argument(
        "--scale", type=_scale, default=Fraction(1), help="pixels a tile: 1..16, or 1/2..1/32 (default 1)"
    )
    parser.add_argument(
        "--layer",
        choices=(LAND, OWNERS),
        default=LAND,
        help="the land alone (default), or whose it is over it",
    )
    add_database(parser)
    parser.add_argument("out", help="where to write the picture (.png)")
    parser.set_defaults(run=run)
