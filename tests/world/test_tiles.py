"""What is built: surfaces and their versions, and what they do to those who walk."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.edits import CHUNK_EDIT, TILE_EDIT, pack, unpack
from protocol.messages import WORLD_TILES_MAX, Role, TileEdit, TilesEdited
from tests.world.support import ADA, OPEN, STRIDE, World, act, ground, ids, join, outcome, plain
from world.commands import Act, AnyAct, AnyCommand, LoadChunk, RecallTiles, UnloadChunk, steer
from world.digest import digest
from world.grid import pack as key_of
from world.tick import Edited
from world.tiles import BUILD_WALK, EDITS_KEPT_MAX, VERSION_BARE, Build, Surface, by_chunk, check

HOME = key_of(0, 0)
EDITS = st.lists(st.tuples(st.integers(0, 1023), st.sampled_from(sorted(Build))), max_size=40)


def edit(*tiles: tuple[int, int, Build]) -> Act:
    """Of somebody who may build anywhere; who may build where is for test_land.py."""
    return act(ADA, TileEdit(*ids(), pack(tiles, TILE_EDIT)), role=Role.ADMIN)


def walk(world: World, x: int, y: int, key: int = HOME) -> int:
    chunks = world.state.chunks
    return int(chunks.walk[chunks.slot_of[key], y, x])


# --- surfaces ------------------------------------------------------------------------------------------------


def test_every_kind_that_can_be_built_says_how_one_walks_on_it() -> None:
    assert BUILD_WALK.keys() == set(Build) - {Build.NOTHING}


@given(st.lists(EDITS, max_size=30), st.data())
def test_whoever_holds_any_version_and_applies_what_came_since_has_what_is_built(
    batches: list[list[tuple[int, int]]], data: st.DataObject
) -> None:
    """Also past the log, where each edited tile comes once."""
    surface, made = Surface(), [edit for batch in batches for edit in batch]
    for batch in batches:
        surface.apply(pack(batch, CHUNK_EDIT))
    assert surface.version == VERSION_BARE + len(made)
    held = data.draw(st.integers(VERSION_BARE, surface.version))
    kinds = dict(made[: held - VERSION_BARE])
    kinds.update(unpack(surface.since(held), CHUNK_EDIT).tolist())
    assert kinds == dict(made) == dict(unpack(surface.edited(), CHUNK_EDIT).tolist())
    assert surface.tiles == len(kinds)
    assert {tile: surface.at(tile) for tile in kinds} == kinds
    assert surface.standing().sum() == sum(kinds.values())


@pytest.mark.parametrize(
    ("behind", "records"), [(0, 0), (1, 1), (EDITS_KEPT_MAX, EDITS_KEPT_MAX), (EDITS_KEPT_MAX + 1, 2)]
)
def test_edits_since_come_from_the_log_and_past_it_each_tile_once(behind: int, records: int) -> None:
    surface = Surface()
    for turn in range(EDITS_KEPT_MAX + 10):
        surface.apply(pack([(turn % 2, turn % len(Build))], CHUNK_EDIT))
    assert len(surface.since(surface.version - behind)) == records * CHUNK_EDIT.itemsize


# --- what a client may ask for ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("edits", "told"),
    [
        (b"\x00" * 8, "whole records of 9 bytes"),
        (pack([(0, 0, len(Build))], TILE_EDIT), "Nothing of this kind"),
        (pack([(WORLD_TILES_MAX, 0, 1)], TILE_EDIT), "outside the world"),
        (pack([(0, -WORLD_TILES_MAX - 1, 1)], TILE_EDIT), "outside the world"),
        (pack([(0, 0, 1), (0, 2**31 - 1, 1)], TILE_EDIT), "outside the world"),
    ],
)
def test_what_cannot_be_built_is_told_in_words(edits: bytes, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        check(edits)


@given(
    st.lists(
        st.tuples(*[st.integers(-WORLD_TILES_MAX, WORLD_TILES_MAX - 1)] * 2, st.sampled_from(sorted(Build))),
        min_size=1,
    )
)
def test_edits_go_to_their_chunks_in_their_order(edits: list[tuple[int, int, int]]) -> None:
    expected: dict[int, list[tuple[int, int]]] = {}
    for x, y, kind in edits:
        expected.setdefault(key_of(x // 32, y // 32), []).append((y % 32 * 32 + x % 32, kind))
    found = by_chunk(check(pack(edits, TILE_EDIT)))
    assert {key: unpack(packed, CHUNK_EDIT).tolist() for key, packed in found.items()} == expected


# --- in the world ----------------------------------------------------------------------------------------------


def test_an_edit_is_answered_and_told_with_versions_chunk_by_chunk() -> None:
    world = World(*plain(), join(1))
    world.do(edit((3, 0, Build.WALL)))
    events = world.do(edit((-1, 0, Build.PATH), (3, 0, Build.NOTHING), (4, 0, Build.FENCE)))
    assert outcome(events) == TilesEdited(3)
    assert events.edited == [
        Edited(key_of(-1, 0), 1, 2, pack([(31, Build.PATH)], CHUNK_EDIT)),
        Edited(HOME, 2, 4, pack([(3, Build.NOTHING), (4, Build.FENCE)], CHUNK_EDIT)),
    ]


def test_walls_block_paths_are_quick_and_taking_away_gives_the_ground_back() -> None:
    world = World(LoadChunk(0, 0, ground([",,#~"])))
    world.do(edit((0, 0, Build.WALL), (1, 0, Build.PATH), (2, 0, Build.PATH), (3, 0, Build.FLOOR)))
    assert [walk(world, x, 0) for x in range(5)] == [0, 100, 100, 100, 100]
    world.do(edit(*((x, 0, Build.NOTHING) for x in range(4))))
    assert [walk(world, x, 0) for x in range(5)] == [70, 70, 0, 40, 100]


def test_of_a_tile_named_twice_the_last_counts() -> None:
    world = World(*plain(0))
    world.do(edit((0, 0, Build.WALL), (0, 0, Build.NOTHING), (1, 0, Build.NOTHING), (1, 0, Build.WALL)))
    assert (walk(world, 0, 0), walk(world, 1, 0)) == (100, 0)


BEFORE_OR_AFTER: list[tuple[str, list[AnyCommand | AnyAct]]] = [
    ("on loaded ground", [*plain(0), edit((5, 6, Build.WALL))]),
    ("before it is loaded", [edit((5, 6, Build.WALL)), *plain(0)]),
    ("and unloaded and loaded again", [*plain(0), edit((5, 6, Build.WALL)), UnloadChunk(0, 0), *plain(0)]),
    ("unloaded when edited", [*plain(0), UnloadChunk(0, 0), edit((5, 6, Build.WALL)), *plain(0)]),
    ("loaded twice", [*plain(0), edit((5, 6, Build.WALL)), *plain(0)]),
    (
        "recalled from the store",
        [RecallTiles([(0, 0, 2, pack([(6 * 32 + 5, Build.WALL)], CHUNK_EDIT))]), *plain(0)],
    ),
]


@pytest.mark.parametrize(
    "commands", [row[1] for row in BEFORE_OR_AFTER], ids=[row[0] for row in BEFORE_OR_AFTER]
)
def test_the_same_is_built_whenever_the_ground_comes(commands: list[AnyCommand | AnyAct]) -> None:
    world = World()
    for one in commands:
        world.do(one)
    expected = np.full((32, 32), 100)
    expected[6, 5] = 0
    assert np.array_equal(world.state.chunks.walk[world.state.chunks.slot_of[HOME]], expected)
    world.do(edit((5, 6, Build.NOTHING)))
    assert walk(world, 5, 6) == 100


def test_a_slot_used_again_by_another_chunk_has_nothing_of_the_first() -> None:
    world = World(*plain(0))
    world.do(edit((0, 0, Build.WALL)))
    world.do(UnloadChunk(0, 0), LoadChunk(7, 7, OPEN))
    assert walk(world, 0, 0, key_of(7, 7)) == 100


def test_a_wall_stops_people_and_lets_those_under_it_out() -> None:
    world = World(*plain(), join(1, 0.5, 0.5), join(2, 1.5, 2.5))
    world.do(edit((1, 0, Build.WALL), (1, 2, Build.WALL)), steer(1, 1, 1.0, 0.0), steer(2, 1, 1.0, 0.0))
    for _ in range(20):
        world.do()
    assert world.place(1)[0] == pytest.approx(1.0, abs=STRIDE)
    assert world.place(1)[0] < 1.0
    assert world.place(2)[0] > 2.0


def test_an_edit_of_somebody_who_left_is_done_all_the_same() -> None:
    world = World(*plain(0))
    world.do(edit((0, 0, Build.WALL)))
    assert walk(world, 0, 0) == 0


def test_the_digest_covers_what_is_built_and_how_often() -> None:
    digests = set()
    for commands in (
        [],
        [edit((0, 0, Build.PATH))],
        [edit((0, 0, Build.PAVING))],
        [edit((0, 0, Build.PATH), (0, 0, Build.PATH))],
        [edit((40, 0, Build.PATH))],
    ):
        world = World(*plain(0))
        world.do(*commands)
        digests.add(digest(world.state))
    assert len(digests) == 5


def test_a_world_recalled_has_the_versions_and_what_stands_and_brings_old_holders_to_it() -> None:
    """The log is not stored, so whoever holds an older version gets each edited tile once, which comes to the same."""
    before, after = World(*plain()), World(*plain())
    for turn in range(5):
        before.do(edit((turn, 0, Build.WALL), (turn - 9, 0, Build.FENCE), (0, 0, Build.PATH)))
    stored = [
        (0, 0, 11, pack([(0, Build.PATH), *((turn, Build.WALL) for turn in range(1, 5))], CHUNK_EDIT)),
        (-1, 0, 6, pack([(23 + turn, Build.FENCE) for turn in range(5)], CHUNK_EDIT)),
    ]
    after.do(RecallTiles(stored))
    for key, surface in before.state.chunks.surfaces.items():
        again = after.state.chunks.surfaces[key]
        assert (again.version, again.edited()) == (surface.version, surface.edited())
        assert all(again.since(held) == surface.edited() for held in range(1, surface.version))
        assert again.since(surface.version) == b""
    for world in (before, after):
        world.do(edit((1, 0, Build.NOTHING)))
    surface = after.state.chunks.surfaces[key_of(0, 0)]
    assert surface.edited() == before.state.chunks.surfaces[key_of(0, 0)].edited()
    assert surface.since(surface.version - 1) == pack([(1, Build.NOTHING)], CHUNK_EDIT)


def test_the_digest_keeps_no_hash_of_what_has_changed_since() -> None:
    """Guard: Chunks drops a chunk's hashes with each change; a digest from nothing is the measure."""
    world = World()
    steps: list[Sequence[AnyCommand | AnyAct]] = [
        plain(0),
        [edit((5, 6, Build.WALL))],
        [RecallTiles([(0, 0, 9, pack([(7, Build.HEDGE)], CHUNK_EDIT))])],
        [LoadChunk(0, 0, bytes([50]) * 1024)],
        [UnloadChunk(0, 0)],
        [edit((5, 6, Build.NOTHING))],
        plain(0),
    ]
    seen = set()
    for commands in steps:
        world.do(*commands)
        kept = digest(world.state)
        world.state.chunks.ground_hashes.clear()
        world.state.chunks.surface_hashes.clear()
        assert digest(world.state) == kept
        seen.add(kept)
    assert len(seen) == len(steps)
