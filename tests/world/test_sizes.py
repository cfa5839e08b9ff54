"""How large entries can get: no entry passes what `Sizes` says of its request, whatever comes before in the same tick."""

from random import Random

import pytest

from protocol.edits import EDITS_MAX
from protocol.messages import (
    DESCRIPTION_CHARS_MAX,
    PARCEL_NAME_CHARS_MAX,
    PLOT_TILES,
    Cut,
    LandAbandon,
    LandDescribe,
    LandLet,
    LandMerge,
    LandOpen,
    LandPermit,
    LandRent,
    LandSplit,
    LandTake,
    LandTransfer,
    MarketBuy,
    MarketCancel,
    MarketEdit,
    MarketList,
    Standing,
    TileUndo,
)
from tests.persistence.support import Chronicle, build, claim
from tests.world.support import ADA, BEA, PEOPLE, act, ids
from world.commands import AnyDurable
from world.sizes import ENTRY_BYTES_MAX, WORST_BYTES, WORST_BYTES_OTHERWISE, Sizes
from world.tiles import Build

WIDE = "\N{MATHEMATICAL FRAKTUR CAPITAL A}"  # four bytes


def described(parcel_id: int) -> LandDescribe:
    """The longest name and description there can be."""
    return LandDescribe(*ids(), parcel_id, WIDE * PARCEL_NAME_CHARS_MAX, WIDE * DESCRIPTION_CHARS_MAX)


def rows(px: int, top: int) -> AnyDurable:
    """As many tiles as one request may have: four rows of a plot."""
    left, height = px * PLOT_TILES, EDITS_MAX // PLOT_TILES
    return build(
        *((left + x, top * height + y, Build.WALL) for y in range(height) for x in range(PLOT_TILES))
    )


def any_request(random: Random) -> AnyDurable:
    """Something that somebody may ask for in the small world of these tests."""
    parcel_id = random.randrange(1, 6)
    return random.choice(
        (
            lambda: described(parcel_id),
            lambda: LandOpen(*ids(), parcel_id, random.random() < 0.5, False),
            lambda: LandPermit(*ids(), parcel_id, random.choice(list(PEOPLE)), Standing.BUILDER),
            lambda: LandTransfer(*ids(), parcel_id, random.choice((ADA, BEA))),
            lambda: LandTake(*ids(), parcel_id),
            lambda: MarketList(*ids(), parcel_id, 100),
            lambda: MarketEdit(*ids(), random.randrange(5, 60), 100),
            lambda: MarketBuy(*ids(), random.randrange(5, 60), 100),
            lambda: MarketCancel(*ids(), random.randrange(5, 60)),
            lambda: LandAbandon(*ids(), parcel_id),
            lambda: LandMerge(*ids(), parcel_id, random.randrange(1, 6)),
            lambda: LandSplit(*ids(), parcel_id, Cut.VERTICAL, random.randrange(1, 5) * PLOT_TILES),
            lambda: claim(random.randrange(5), 0),
            lambda: rows(random.randrange(5), random.randrange(4)),
            lambda: rows(random.randrange(5), random.randrange(4)),
            lambda: TileUndo(*ids()),
            lambda: LandLet(*ids(), parcel_id, 10, 60_000, 5),
            lambda: LandRent(*ids(), parcel_id, 10),
        )
    )()


@pytest.mark.parametrize("seed", range(20))
def test_no_entry_is_larger_than_what_was_made_room_for(seed: int) -> None:
    """Guard: what Sizes.take adds up of those before."""
    random, world = Random(seed), Chronicle().world  # noqa: S311 (a sample)
    for px in range(4):
        world.do(act(ADA, claim(px, 0)))
    for _ in range(12):
        asked = [act(random.choice((ADA, ADA, BEA)), any_request(random)) for _ in range(12)]
        sizes, room = Sizes(world.state), {}
        for one in asked:
            room[one.action_id] = sizes.worst(one.request)
            sizes.take(one.request)
        for entry in world.do(*asked).entries:
            assert entry.action_id is not None
            assert len(entry.record) <= room[entry.action_id] <= ENTRY_BYTES_MAX


def test_permits_and_words_of_the_same_tick_are_made_room_for() -> None:
    """Guard: Sizes counts the changes before. Each makes the parcel larger, and the last entry holds them all."""
    world = Chronicle().world
    world.do(act(ADA, claim(0, 0)))
    asked: list[AnyDurable] = [
        described(1),
        *(LandPermit(*ids(), 1, one, Standing.BUILDER) for one in PEOPLE if one != ADA),
    ]
    sizes = Sizes(world.state)
    alone = sizes.worst(asked[-1])
    for one in asked[:-1]:
        sizes.take(one)
    assert sizes.worst(asked[-1]) > alone
    assert world.do(*(act(ADA, one) for one in asked)).entries[-1].record


def test_what_is_built_in_the_same_tick_is_made_room_for() -> None:
    """Guard: Sizes counts the tiles before. A plot is built full and given up in one tick."""
    world = Chronicle().world
    world.do(act(ADA, claim(0, 0)))
    sizes, end = Sizes(world.state), LandAbandon(*ids(), 1)
    bare = sizes.worst(end)
    built = [rows(0, top) for top in range(4)]
    for one in built:
        sizes.take(one)
    room = sizes.worst(end)
    assert room >= bare + len(built) * EDITS_MAX * 4
    entry = world.do(*(act(ADA, one) for one in (*built, end))).entries[-1]
    assert len(entry.record) <= room


def test_a_parcel_that_nobody_has_yet_may_be_of_the_worst_kind() -> None:
    """It may come into the world in the same tick."""
    sizes = Sizes(Chronicle().world.state)
    assert sizes.worst(LandAbandon(*ids(), 1)) == ENTRY_BYTES_MAX
    assert sizes.worst(LandOpen(*ids(), 1, True, True)) == WORST_BYTES_OTHERWISE
    assert sizes.worst(MarketBuy(*ids(), 1, 5)) == WORST_BYTES[MarketBuy]


def test_what_becomes_of_a_parcel_that_is_merged_or_let_is_not_looked_into() -> None:
    """Guard: Sizes notes which parcels those before may make larger."""
    world = Chronicle().world
    world.do(act(ADA, claim(0, 0)), act(ADA, claim(1, 0)))
    sizes, end = Sizes(world.state), LandAbandon(*ids(), 1)
    assert sizes.worst(end) < 8_192
    sizes.take(LandMerge(*ids(), 1, 2))
    assert sizes.worst(end) == ENTRY_BYTES_MAX
    described_other = described(2)
    assert sizes.worst(described_other) < WORST_BYTES_OTHERWISE
    sizes.take(LandRent(*ids(), 2, 1, 1))
    assert sizes.worst(described_other) == WORST_BYTES_OTHERWISE


def test_small_requests_leave_room_for_a_thousand_in_a_tick() -> None:
    """Guard: the look at the parcel. By the worst of their kind some two hundred would fit."""
    world = Chronicle().world
    world.do(act(ADA, claim(0, 0)))
    sizes = Sizes(world.state)
    for request in (LandOpen(*ids(), 1, True, False), build((1, 1, Build.WALL)), LandAbandon(*ids(), 1)):
        assert sizes.worst(request) < 8_192
