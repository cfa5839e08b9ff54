"""`landworld map`: the picture is the game's own land, and what cannot be drawn is refused in words."""

import argparse
import asyncio
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from persistence.rows import parcel_row
from protocol.messages import WORLD_TILES_MAX
from tests.conftest import Execute
from tools.map import (
    PIXELS_MAX,
    SCALE_MAX,
    TILES_MAX,
    MapError,
    Rect,
    add_parser,
    check_rect,
    lit,
    render,
)
from tools.owners import LEGEND_OWNERS_MAX, LEGEND_WIDTH_MIN, ROW_PX, Owner, legend, owner_colour
from world.parcels import Parcel
from world.terrain import ObjectKind, Terrain


def landworld(*arguments: str) -> int:
    """Run `landworld map` as the command line would."""
    parser = argparse.ArgumentParser()
    add_parser(parser.add_subparsers(required=True))
    args = parser.parse_args(["map", *arguments])
    return int(args.run(args))


@pytest.fixture(scope="module")
def terrain() -> Terrain:
    return Terrain(1)


def test_a_picture_is_written_one_pixel_a_tile(tmp_path: Path) -> None:
    out = tmp_path / "map.png"
    assert landworld("--rect", "-40,-20,70,50", "--seed", "3", str(out)) == 0
    with Image.open(out) as picture:
        assert picture.size == (70, 50)
        assert picture.mode == "RGB"


@pytest.mark.parametrize(
    ("scale", "size"), [("1", (64, 48)), ("3", (192, 144)), ("1/4", (16, 12)), ("1/16", (4, 3))]
)
def test_scale_sets_the_size_of_the_picture(tmp_path: Path, scale: str, size: tuple[int, int]) -> None:
    out = tmp_path / "map.png"
    assert landworld("--rect", "5,-7,64,48", "--scale", scale, str(out)) == 0
    with Image.open(out) as picture:
        assert picture.size == size


def test_ground_without_objects_near_is_the_chunks_own_lit_colour(terrain: Terrain) -> None:
    chunk = terrain.generate(0, 0)
    bare = np.ones((32, 32), dtype=bool)
    for record in chunk.objects:
        row, column = divmod(int(record["tile"]), 32)
        bare[max(0, row - 4) : row + 3, max(0, column - 3) : column + 4] = False
    bare[:4] = bare[-4:] = False  # what stands in the chunks around may reach in
    bare[:, :4] = bare[:, -4:] = False
    pixels = render(terrain, Rect(0, 0, 32, 32), Fraction(1))
    assert bare.any()
    assert np.array_equal(pixels[bare], lit(chunk)[bare])


def test_a_part_of_a_picture_is_the_same_land(terrain: Terrain) -> None:
    whole = render(terrain, Rect(-64, -64, 160, 128), Fraction(1))
    part = render(terrain, Rect(-32, -32, 64, 64), Fraction(1))
    # Trees outside the part's chunks may lean over its edge; within it both are the same.
    assert np.array_equal(whole[36:92, 36:92], part[4:60, 4:60])


def test_every_kind_of_object_has_a_shape() -> None:
    from tools.map import _SHAPES

    assert set(_SHAPES) == set(ObjectKind)


@pytest.mark.parametrize(
    ("rect", "scale", "says"),
    [
        (Rect(0, 0, 0, 5), Fraction(1), "empty"),
        (Rect(0, 0, 5, -1), Fraction(1), "empty"),
        (Rect(WORLD_TILES_MAX - 4, 0, 5, 5), Fraction(1), "leaves the world"),
        (Rect(0, -WORLD_TILES_MAX - 1, 5, 5), Fraction(1), "leaves the world"),
        (Rect(0, 0, TILES_MAX // 1000 + 1, 1000), Fraction(1), "TILES_MAX"),
        (Rect(0, 0, 4000, PIXELS_MAX // 4000 // SCALE_MAX), Fraction(SCALE_MAX), "PIXELS_MAX"),
        (Rect(0, 0, 9, 15), Fraction(1, 16), "no pixel"),
    ],
)
def test_rectangles_that_cannot_be_drawn_are_refused_with_the_limit_named(
    rect: Rect, scale: Fraction, says: str
) -> None:
    with pytest.raises(MapError, match=says):
        check_rect(rect, scale)


@pytest.mark.parametrize("rect", ["1,2,3", "a,b,c,d", "1,2,3,4,5", "", "0.5,0,1,1"])
def test_what_is_no_rectangle_is_refused(rect: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        landworld("--rect", rect, "map.png")
    assert "give X,Y,WIDTH,HEIGHT" in capsys.readouterr().err


@pytest.mark.parametrize("scale", ["0", "-1", "17", "1/3", "2/3", "1/0", "big"])
def test_what_is_no_scale_is_refused(scale: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        landworld("--rect", "0,0,8,8", "--scale", scale, "map.png")
    assert "is no scale" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "code", "says"),
    [
        ("map.jpg", 2, "end in .png"),
        ("nowhere/map.png", 2, "is not a directory"),
        ("taken.png", 1, "No picture: "),
    ],
)
def test_outputs_that_cannot_be_written_are_refused(
    tmp_path: Path, name: str, code: int, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "taken.png").mkdir()
    assert landworld("--rect", "0,0,8,8", str(tmp_path / name)) == code
    assert says in capsys.readouterr().err


async def test_the_owners_of_the_database_are_laid_over_the_land_and_listed(
    dsn: str, sql: Execute, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parcels = [
        Parcel(1, 7, "Ada", 0, 0, 2, 1),
        Parcel(2, 9, "Brix", -2, 0, 1, 1),
        Parcel(3, 9, "Brix", 0, 2, 3, 1),
        Parcel(4, 5, "Far", 90, 90, 1, 1),
    ]
    for parcel in parcels:
        parcel_id, owner_id, px, py, pw, ph, whole = parcel_row(parcel)
        values = f"{parcel_id}, {owner_id}, {px}, {py}, {pw}, {ph}, '{whole}'"
        await sql(f"INSERT INTO parcels VALUES ({values})")  # noqa: S608 (all of it is ours)
    with_them, without = tmp_path / "owners.png", tmp_path / "land.png"
    where = ("--rect", "-40,-8,128,64", "--seed", "3", "--scale", "2")
    assert await asyncio.to_thread(landworld, *where, "--layer", "owners", "--dsn", dsn, str(with_them)) == 0
    assert await asyncio.to_thread(landworld, *where, str(without)) == 0
    with Image.open(with_them) as picture, Image.open(without) as bare:
        assert picture.width == max(bare.width, LEGEND_WIDTH_MIN)
        assert picture.height > bare.height + 2 * ROW_PX
        border, inside, outside = ((2 * (x + 40), 2 * (y + 8)) for x, y in ((0, 0), (10, 8), (-1, -1)))
        assert picture.getpixel(border) == owner_colour(7)
        assert picture.getpixel(inside) not in (owner_colour(7), bare.getpixel(inside))
        assert picture.getpixel(outside) == bare.getpixel(outside)
    said = capsys.readouterr().out
    assert said.index("4 plots  Brix") < said.index("2 plots  Ada")
    assert "Far" not in said


def test_a_legend_names_the_largest_and_counts_the_others() -> None:
    many = [Owner(number, f"Owner {number}", 20 - number) for number in range(1, LEGEND_OWNERS_MAX + 4)]
    rows = legend(many)
    assert [name for _, name, _ in rows[:-1]] == [one.name for one in many[:LEGEND_OWNERS_MAX]]
    assert rows[-1] == (None, "3 others", f"{sum(one.plots for one in many[LEGEND_OWNERS_MAX:])} plots")
    assert legend([]) == [(None, "Nobody owns land here.", "")]


def test_without_a_database_the_owners_are_not_drawn(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "map.png"
    where = ("--rect", "0,0,16,16", "--layer", "owners", "--data", str(data))
    assert landworld(*where, str(out)) == 1
    assert "no database" in capsys.readouterr().err
    assert not out.exists()
