"""The land: the same bytes everywhere, no seams, a pleasant beginning, and the rules of walking on it."""

import hashlib
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from protocol.messages import CHUNKS_MAX
from world import landscape
from world.terrain import (
    CHUNK_TILES,
    GROUND_SPEED,
    OBJECT_RECORD,
    OBJECT_SPEED,
    SEA_LEVEL,
    Chunk,
    Ground,
    ObjectKind,
    Terrain,
    encode,
    walk_speed,
)

FIRST, LAST = -CHUNKS_MAX, CHUNKS_MAX - 1
GOLDEN_CHUNKS = [
    *((cx, cy) for cx in range(-3, 3) for cy in range(-3, 3)),
    *((17, -40), (-123, 77), (1000, -1000), (-20_000, 31_000)),
    *((FIRST, FIRST), (LAST, LAST), (FIRST, LAST), (LAST, 0)),
]
# Whoever changes the land on purpose changes these with it: worlds already walked will change under their players.
GOLDEN = {
    1: "26d8c422eee6252f4649618bd6363b598728f78ec23f51fa6587a3d54e1c8773",
    20_260: "ded49fb63221e0f186781490a8586549ac55a62c1e3215d61d7b200480b81527",
}
WATERS = (Ground.DEEP_WATER, Ground.WATER, Ground.SHALLOWS, Ground.RIVER)
TREES = (ObjectKind.CONIFER, ObjectKind.BROADLEAF, ObjectKind.PALM)


def digest(seed: int) -> str:
    """SHA-256 over the payloads of the golden chunks."""
    terrain = Terrain(seed)
    total = hashlib.sha256()
    for cx, cy in GOLDEN_CHUNKS:
        total.update(encode(terrain.generate(cx, cy)))
    return total.hexdigest()


def rectangle(terrain: Terrain, cx: int, cy: int, chunks: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """A square of chunks painted at one go: planes and objects as `landscape.paint` gives them."""
    return landscape.paint(
        terrain._perm,
        terrain._salt,
        cx * CHUNK_TILES + terrain.shift_x,
        cy * CHUNK_TILES + terrain.shift_y,
        chunks * CHUNK_TILES,
        chunks * CHUNK_TILES,
    )


def mosaic(terrain: Terrain, cx: int, cy: int, chunks: int) -> NDArray[np.uint8]:
    """The ground of a square of chunks, each generated alone."""
    rows = [[terrain.generate(cx + i, cy + j).ground for i in range(chunks)] for j in range(chunks)]
    return np.block(rows)


@pytest.mark.parametrize("seed", GOLDEN)
def test_the_same_seed_gives_the_golden_bytes(seed: int) -> None:
    assert digest(seed) == GOLDEN[seed]


def test_bytes_do_not_depend_on_the_processor(tmp_path: Path) -> None:
    """Compiled anew for the plainest processor of this kind: no AVX, no fused multiply-add."""
    code = "from tests.world.test_terrain import digest; print(digest(1))"
    plain = {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": "", "NUMBA_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | plain, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == GOLDEN[1]


def test_another_seed_is_another_land() -> None:
    assert digest(1) != digest(2)


def test_order_and_threads_make_no_difference() -> None:
    wanted = [(cx, cy) for cx in range(-4, 4) for cy in range(-4, 4)]
    terrain = Terrain(5)
    forward = {place: encode(terrain.generate(*place)) for place in wanted}
    other = Terrain(5)
    with ThreadPoolExecutor(4) as pool:
        backward = dict(
            zip(
                wanted[::-1],
                pool.map(lambda place: encode(other.generate(*place)), wanted[::-1]),
                strict=True,
            )
        )
    assert forward == backward


@pytest.mark.parametrize(("cx", "cy"), [(-2, -2), (35, -61), (FIRST, LAST - 3)])
def test_chunks_meet_without_seams(cx: int, cy: int) -> None:
    """A chunk made alone is, byte for byte, the part of a large rectangle made at one go."""
    terrain = Terrain(3)
    planes, objects = rectangle(terrain, cx, cy, 4)
    for j in range(4):
        for i in range(4):
            chunk = terrain.generate(cx + i, cy + j)
            part = planes[:, j * 32 : j * 32 + 32, i * 32 : i * 32 + 32]
            assert np.array_equal(chunk.ground, part[landscape.GROUND])
            assert np.array_equal(chunk.height, part[landscape.HEIGHT])
            assert np.array_equal(chunk.shade, part[landscape.SHADE])
            assert np.array_equal(chunk.colour, part[landscape.RED :].transpose(1, 2, 0))
            within = (objects[:, landscape.ROW] // 32 == j) & (objects[:, landscape.COLUMN] // 32 == i)
            mine = objects[within] - np.array((j * 32, i * 32, 0, 0, 0, 0))
            assert np.array_equal(landscape.pack(mine, 32).view(OBJECT_RECORD).reshape(-1), chunk.objects)


def test_height_light_and_colour_do_not_jump_where_chunks_meet() -> None:
    """Steps across chunk borders are no larger than steps inside."""
    terrain = Terrain(7)
    planes = np.concatenate(
        [
            np.concatenate([_stack(terrain.generate(cx, cy)) for cx in range(-8, 8)], axis=2)
            for cy in range(-8, 8)
        ],
        axis=1,
    ).astype(np.int64)
    for steps in (np.abs(np.diff(planes, axis=1)), np.abs(np.diff(planes, axis=2)).transpose(0, 2, 1)):
        at_border = steps[:, 31::32].mean(axis=(1, 2))
        inside = np.stack([steps[:, offset::32].mean(axis=(1, 2)) for offset in range(31)])
        assert (at_border <= inside.max(axis=0) * 1.05).all()


def _stack(chunk: Chunk) -> NDArray[np.uint8]:
    return np.stack((chunk.height, chunk.shade, *chunk.colour.transpose(2, 0, 1)))


@pytest.mark.parametrize("seed", [1, 7, 20_260])
def test_rivers_run_on_across_chunks(seed: int) -> None:
    """Nearly all river tiles belong to long, connected waters: no puddles, no gaps at the borders."""
    ground = mosaic(Terrain(seed), -16, -16, 32)
    river = ground == Ground.RIVER
    waters, _ = ndimage.label(np.isin(ground, WATERS), structure=np.ones((3, 3)))
    sizes = np.bincount(waters.reshape(-1))
    assert river.mean() > 0.002
    assert (sizes[waters[river]] >= 100).mean() > 0.97


@pytest.mark.parametrize("seed", [1, 7, 20_260])
def test_the_ground_has_no_speckle(seed: int) -> None:
    """Single tiles unlike all four around them are rare."""
    ground = mosaic(Terrain(seed), -8, -8, 16)
    middle = ground[1:-1, 1:-1]
    around = (ground[:-2, 1:-1], ground[2:, 1:-1], ground[1:-1, :-2], ground[1:-1, 2:])
    alone = np.all([middle != side for side in around], axis=0)
    assert alone.mean() < 0.0005


@pytest.mark.parametrize("seed", range(20))
def test_the_beginning_is_pleasant(seed: int) -> None:
    """(0, 0) is green and dry, most within 64 tiles can be walked, and water and forest are within a first walk."""
    terrain = Terrain(seed)
    chunks = {(cx, cy): terrain.generate(cx, cy) for cx in range(-5, 5) for cy in range(-5, 5)}
    near = [
        walk_speed(chunk) > 0 for (cx, cy), chunk in chunks.items() if min(cx, cy) >= -2 and max(cx, cy) < 2
    ]
    assert np.mean(near) >= 0.8
    around = np.array([chunks[cx, cy].ground for cx in (-1, 0) for cy in (-1, 0)])
    assert np.isin(around, (Ground.GRASS, Ground.SCRUB, Ground.WOOD, Ground.MARSH)).mean() > 0.8
    everything = np.concatenate([chunk.ground.reshape(-1) for chunk in chunks.values()])
    assert np.isin(everything, WATERS).sum() >= 100
    trees = sum(int(np.isin(chunk.objects["kind"], TREES).sum()) for chunk in chunks.values())
    assert trees >= 300


def test_every_ground_and_object_has_a_speed_and_occurs() -> None:
    assert set(GROUND_SPEED) == set(Ground)
    assert set(OBJECT_SPEED) == set(ObjectKind)
    terrain = Terrain(1)
    chunks = [terrain.generate(cx * 7, cy * 7) for cx in range(-20, 20) for cy in range(-20, 20)]
    assert set(np.unique([chunk.ground for chunk in chunks])) == set(Ground)
    assert set(np.unique(np.concatenate([chunk.objects["kind"] for chunk in chunks]))) == set(ObjectKind)


def test_walk_speed_follows_ground_and_objects() -> None:
    terrain = Terrain(1)
    for cx in range(-20, 20, 3):
        chunk = terrain.generate(cx, 2 * cx)
        expected = np.array([[GROUND_SPEED[Ground(ground)] for ground in row] for row in chunk.ground])
        for record in chunk.objects:
            row, column = divmod(int(record["tile"]), CHUNK_TILES)
            expected[row, column] *= OBJECT_SPEED[ObjectKind(record["kind"])]
        assert np.array_equal(walk_speed(chunk), np.rint(expected * 100))


def test_deep_water_and_boulders_block_and_fords_are_slow() -> None:
    assert (
        GROUND_SPEED[Ground.DEEP_WATER]
        == GROUND_SPEED[Ground.WATER]
        == OBJECT_SPEED[ObjectKind.BOULDER]
        == 0.0
    )
    assert 0.0 < GROUND_SPEED[Ground.RIVER] <= 0.5
    assert 0.0 < GROUND_SPEED[Ground.SHALLOWS] <= 0.5
    assert OBJECT_SPEED[ObjectKind.FLOWER] == OBJECT_SPEED[ObjectKind.REED] == 1.0
    assert all(OBJECT_SPEED[kind] > 0.0 for kind in TREES)


def test_objects_are_sorted_and_stand_where_they_may() -> None:
    terrain = Terrain(9)
    for cx in range(-24, 24, 2):
        chunk = terrain.generate(cx, -cx)
        objects = chunk.objects
        y = (objects["tile"] // 32).astype(int) * 256 + objects["dy"]
        x = (objects["tile"] % 32).astype(int) * 256 + objects["dx"]
        assert np.array_equal(np.lexsort((x, y)), np.arange(len(objects)))
        assert len(np.unique(objects["tile"])) == len(objects)
        assert len(objects) <= 160
        wet = np.isin(chunk.ground.reshape(-1)[objects["tile"]], WATERS)
        assert (objects["kind"][wet] == ObjectKind.REED).all()


def test_trees_do_not_stand_in_rows() -> None:
    """Their places within their tiles are spread evenly, and a dense forest still leaves tiles between them."""
    terrain = Terrain(1)
    chunks = [terrain.generate(cx, cy) for cx in range(-16, 16) for cy in range(-16, 16)]
    objects = np.concatenate([chunk.objects for chunk in chunks])
    trees = objects[np.isin(objects["kind"], TREES)]
    for axis in ("dx", "dy"):
        counts = np.histogram(trees[axis], bins=8, range=(0, 256))[0]
        assert counts.min() > 0.9 * counts.mean()
    densest = max(int(np.isin(chunk.objects["kind"], TREES).sum()) for chunk in chunks)
    assert 60 <= densest <= 150


def test_water_lies_below_the_sea_level_and_land_above() -> None:
    terrain = Terrain(4)
    for cx in range(-20, 20):
        chunk = terrain.generate(cx, 3)
        sea = np.isin(chunk.ground, (Ground.DEEP_WATER, Ground.WATER, Ground.SHALLOWS))
        assert (chunk.height[sea] <= SEA_LEVEL).all()
        assert (chunk.height[~sea] >= SEA_LEVEL).all()
        assert (np.abs(chunk.shade[chunk.ground == Ground.DEEP_WATER].astype(int) - 128) <= 1).all()


def decode(payload: bytes) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.void]]:
    """A reader written from the description alone: the two plain planes, the five delta planes, objects."""
    plain = np.frombuffer(payload, np.uint8, 2 * 1024).reshape(2, 32, 32)
    deltas = np.frombuffer(payload, np.uint8, 5 * 1024, 2 * 1024).reshape(5, 1024)
    planes = np.cumsum(deltas, axis=1, dtype=np.uint8).reshape(5, 32, 32)
    count = int.from_bytes(payload[7 * 1024 : 7 * 1024 + 2], "little")
    assert len(payload) == 7 * 1024 + 2 + 6 * count
    return plain, planes, np.frombuffer(payload, OBJECT_RECORD, count, 7 * 1024 + 2)


@pytest.mark.parametrize(("cx", "cy"), [(0, 0), (-9, 14), (LAST, FIRST)])
def test_a_payload_decodes_to_its_chunk(cx: int, cy: int) -> None:
    chunk = Terrain(11).generate(cx, cy)
    plain, planes, objects = decode(encode(chunk))
    assert np.array_equal(plain[0], chunk.ground)
    assert np.array_equal(plain[1], walk_speed(chunk))
    assert np.array_equal(planes[0], chunk.height)
    assert np.array_equal(planes[1], chunk.shade)
    assert np.array_equal(planes[2:].transpose(1, 2, 0), chunk.colour)
    assert np.array_equal(objects, chunk.objects)


@pytest.mark.parametrize(("cx", "cy"), [(LAST + 1, 0), (0, LAST + 1), (FIRST - 1, 0), (0, FIRST - 1)])
def test_chunks_outside_the_world_are_refused(cx: int, cy: int) -> None:
    with pytest.raises(ValueError, match="outside the world"):
        Terrain(1).generate(cx, cy)


@pytest.mark.parametrize("seed", [0, -1, 2**63 - 1, 2**70, -(2**63)])
def test_any_whole_number_is_a_seed(seed: int) -> None:
    assert Terrain(seed).generate(0, 0).ground.shape == (CHUNK_TILES, CHUNK_TILES)


def test_shape_and_type_of_a_chunk() -> None:
    chunk = Terrain(1).generate(3, -4)
    assert (chunk.cx, chunk.cy) == (3, -4)
    for plane in (chunk.ground, chunk.height, chunk.shade):
        assert plane.shape == (32, 32)
        assert plane.dtype == np.uint8
    assert chunk.colour.shape == (32, 32, 3)
    assert chunk.colour.dtype == np.uint8
    assert chunk.objects.dtype == OBJECT_RECORD
    assert OBJECT_RECORD.itemsize == 6
