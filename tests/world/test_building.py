"""Taking back what one built; who may build where is in test_land.py, what stands in test_tiles.py."""

import pytest

from protocol.edits import TILE_EDIT, pack
from protocol.errors import RefusalCode
from protocol.messages import (
    PLOT_TILES,
    LandClaim,
    LandOpen,
    LandPermit,
    LandTake,
    LandTransfer,
    Role,
    Standing,
    TileEdit,
    TilesEdited,
    TileUndo,
)
from tests.world.support import ADA, BEA, World, act, ids, join, outcome, plain
from world.building import UNDO_EDITS_MAX, kind_at
from world.commands import Act, Detach, Leave
from world.grid import pack as key_of
from world.tiles import Build

PATH, WALL, FENCE, NOTHING = Build.PATH, Build.WALL, Build.FENCE, Build.NOTHING
NO = RefusalCode


@pytest.fixture
def world() -> World:
    """Ada has two plots, where Bea may build, too, and another to the east."""
    world = World(*plain(2), join(ADA), join(BEA))
    for x, width in ((0, 2), (3, 1)):
        claim = LandClaim(*ids(), x * PLOT_TILES, 0, width * PLOT_TILES, PLOT_TILES)
        world.state.ledger.balances[ADA] = 10_000
        world.state.ledger.balances[-1] = -10_000
        world.do(act(ADA, claim))
    world.do(act(ADA, LandPermit(*ids(), 1, BEA, Standing.BUILDER)))
    return world


def edit(who: int, *tiles: tuple[int, int, Build]) -> Act:
    return act(who, TileEdit(*ids(), pack(tiles, TILE_EDIT)))


def undo(who: int, role: Role = Role.USER) -> Act:
    return act(who, TileUndo(*ids()), role)


def stands(world: World, x: int, y: int = 0) -> int:
    return kind_at(world.state, key_of(x // 32, y // 32), y % 32 * 32 + x % 32)


def test_edits_are_taken_back_one_after_the_other_the_last_first(world: World) -> None:
    world.do(edit(ADA, (0, 0, PATH), (1, 0, PATH)))
    world.do(edit(ADA, (0, 0, WALL), (31, 0, WALL), (48, 0, FENCE)))
    assert outcome(world.do(undo(ADA))) == TilesEdited(3)
    assert [stands(world, x) for x in (0, 1, 31, 48)] == [PATH, PATH, NOTHING, NOTHING]
    assert outcome(world.do(undo(ADA))) == TilesEdited(2)
    assert [stands(world, x) for x in (0, 1)] == [NOTHING, NOTHING]
    assert outcome(world.do(undo(ADA))) is NO.NOT_FOUND


def test_of_a_tile_named_twice_in_an_edit_it_is_as_before_the_edit(world: World) -> None:
    world.do(edit(ADA, (0, 0, FENCE)))
    world.do(edit(ADA, (0, 0, WALL), (0, 0, PATH)))
    assert outcome(world.do(undo(ADA))) == TilesEdited(1)
    assert stands(world, 0) == FENCE


def test_what_others_changed_since_stays_as_it_is(world: World) -> None:
    """Guard: `after` in building.undo."""
    world.do(edit(ADA, (0, 0, PATH), (1, 0, PATH)))
    world.do(edit(BEA, (1, 0, WALL)))
    assert outcome(world.do(undo(ADA))) == TilesEdited(1)
    assert [stands(world, x) for x in (0, 1)] == [NOTHING, WALL]
    assert outcome(world.do(undo(BEA))) == TilesEdited(1)
    assert stands(world, 1) == PATH


def test_each_takes_back_their_own(world: World) -> None:
    world.do(edit(ADA, (0, 0, PATH)))
    world.do(edit(BEA, (1, 0, PATH)))
    world.do(undo(ADA))
    assert [stands(world, x) for x in (0, 1)] == [NOTHING, PATH]


def test_where_one_may_not_build_any_more_it_stays_and_what_was_before_can_be_taken_back(
    world: World,
) -> None:
    """Guard: _may_put in building.undo; a refusal would stand before all older edits for good."""
    world.do(edit(ADA, (48, 0, PATH)))
    world.do(edit(ADA, (0, 0, WALL), (49, 0, WALL)))
    world.do(act(ADA, LandTransfer(*ids(), 1, BEA)), act(BEA, LandTake(*ids(), 1)))
    assert outcome(world.do(undo(ADA))) == TilesEdited(1)
    assert [stands(world, x) for x in (0, 48, 49)] == [WALL, PATH, NOTHING]
    assert outcome(world.do(undo(ADA))) == TilesEdited(1)
    assert stands(world, 48) == NOTHING


def test_an_admin_takes_back_what_they_built_on_nobodys_land(world: World) -> None:
    world.do(act(BEA, TileEdit(*ids(), pack([(-9, 0, WALL)], TILE_EDIT)), role=Role.ADMIN))
    assert outcome(world.do(undo(BEA, Role.ADMIN))) == TilesEdited(1)
    assert stands(world, -9) == NOTHING


def test_so_many_edits_are_kept_and_no_more(world: World) -> None:
    """Guard: UNDO_EDITS_MAX."""
    for x in range(UNDO_EDITS_MAX + 3):
        world.do(edit(ADA, (x, 0, PATH)))
    answers = [outcome(world.do(undo(ADA))) for _ in range(UNDO_EDITS_MAX + 1)]
    assert answers == [TilesEdited(1)] * UNDO_EDITS_MAX + [NO.NOT_FOUND]
    assert [stands(world, x) for x in range(4)] == [PATH, PATH, PATH, NOTHING]


def test_a_lost_line_keeps_what_can_be_taken_back_and_leaving_does_not(world: World) -> None:
    """Guard: tick._remove. Nothing is kept of whoever is not here."""
    world.do(edit(ADA, (0, 0, PATH)), Detach(ADA))
    world.do(join(ADA))
    assert outcome(world.do(undo(ADA))) == TilesEdited(1)
    world.do(edit(ADA, (0, 0, PATH)))
    world.do(Leave(ADA))
    world.do(join(ADA))
    assert outcome(world.do(undo(ADA))) is NO.NOT_FOUND


def test_an_edit_that_comes_in_after_its_builder_left_is_not_kept_for_ever(world: World) -> None:
    """Guard: building.remember looks whether they are here; else each guest who ever built would stay in memory."""
    world.do(Leave(ADA), edit(ADA, (0, 0, PATH)))
    assert stands(world, 0) == PATH
    assert world.state.undo == {}


def test_what_was_not_done_cannot_be_taken_back(world: World) -> None:
    world.do(act(ADA, LandOpen(*ids(), 1, True, False)))
    world.do(edit(BEA, (48, 0, PATH)))
    assert outcome(world.do(undo(BEA))) is NO.NOT_FOUND
