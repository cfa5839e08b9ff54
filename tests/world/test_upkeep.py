"""Upkeep: paid by itself, owed for so long, and then the land is nobody's."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace as changed

from protocol.messages import (
    Cut,
    LandAt,
    LandDivided,
    LandLet,
    LandMerge,
    LandRent,
    ParcelFound,
    TilesEdited,
)
from tests.world.support import ADA, BEA, World, act, balanced, ids
from tests.world.test_land import LAND, build, claim, got, held, rules, run, split
from tests.world.test_leases import wait
from world import queries
from world.building import anything_stands
from world.commands import RecallParcels, Settle
from world.ledger import ESCROW, HOUSE
from world.settlement import Settled
from world.state import LandRules
from world.tiles import Build

TICKS = 20  # of a period
UPKEEP = replace(LAND, upkeep_per_plot=800, upkeep_period_ms=1_000, upkeep_grace=2)
LET = LandLet(*ids(), 1, 1_000, 10_000, 300)
PAID, MISSED, GONE = "upkeep_paid", "upkeep_missed", "land_forfeited"


def owned(land: LandRules = UPKEEP) -> World:
    """Ada has one plot since tick 1, and what is left of her grant: 1,400."""
    return run([(ADA, claim(0, 0), got(1, 100))], World(rules=rules(land)))


def test_each_plot_pays_each_period_to_the_house() -> None:
    world = run(
        [(ADA, claim(0, 0, 2, 1), got(1, 200))], World(rules=rules(replace(UPKEEP, upkeep_per_plot=50)))
    )
    assert wait(world, TICKS - 1) == []
    assert wait(world, 1 + 2 * TICKS) == [PAID] * 3
    balances = world.state.ledger.balances
    assert (balances[ADA], balances[HOUSE]) == (LAND.starting_grant - 200 - 300, 200 + 300)


def test_what_is_owed_is_paid_as_soon_as_all_of_it_is_there() -> None:
    """Guard: arrears in `owed`."""
    world = owned()
    assert wait(world, 2 * TICKS) == [PAID, MISSED]
    found = queries.land_at(world.state, ADA, LandAt(1, 0.0, 0.0))
    assert (found.upkeep_ms, found.arrears) == (3_050, 1)
    run([(ADA, LET, held(1)), (BEA, LandRent(*ids(), 1, 1_000), held(1))], world)
    assert world.state.ledger.balances[ADA] == 1_600
    assert wait(world, TICKS - 2) == [PAID]
    assert world.state.ledger.balances[ADA] == 0
    assert queries.land_at(world.state, ADA, LandAt(1, 0.0, 0.0)).arrears is None


def test_who_owes_too_long_is_told_each_time_and_then_the_land_is_nobodys_and_bare() -> None:
    """With a lease on it: the deposit goes back. Guards: `missed`, `deposit_back` in `forfeited`."""
    world = owned(replace(UPKEEP, upkeep_per_plot=2_500))
    run(
        [
            (ADA, build((1, 1, Build.WALL)), TilesEdited(1)),
            (ADA, LET, held(1)),
            (BEA, LandRent(*ids(), 1, 1_000), held(1)),
        ],
        world,
    )
    told = [entry.result for _ in range(3 * TICKS) for entry in world.do(Settle(16)).entries]
    assert told == [
        Settled(1, ADA, None, 5_000, 3_050),
        Settled(1, ADA, None, 7_500, 3_050),
        Settled(1, ADA, BEA),
    ]
    state = world.state
    assert queries.land_at(state, ADA, LandAt(1, 0.0, 0.0)) == ParcelFound()
    assert not anything_stands(state, (0, 0, 1, 1))
    assert (state.ledger.holds, state.ledger.balance(ESCROW)) == ({}, 0)
    assert state.ledger.balances[BEA] == LAND.starting_grant - 1_000
    assert (len(state.parcels.lease_dues), len(state.parcels.upkeep_dues)) == (0, 0)


def test_without_grace_the_first_miss_is_the_last() -> None:
    assert wait(owned(replace(UPKEEP, upkeep_per_plot=2_500, upkeep_grace=0)), TICKS) == [GONE]


def test_land_of_a_world_without_upkeep_begins_to_pay_a_period_after_it_is_set() -> None:
    """Guard: is_begun; without it all who have land pay at the first start, or for years that cost nothing."""
    before = owned(LAND)
    assert wait(before, 3 * TICKS) == []
    for long_ago in (None, 7):
        world = World(rules=rules(UPKEEP))
        world.state.tick = before.state.tick
        world.do(RecallParcels([changed(before.state.parcels.by_id[1], paid_until=long_ago)], 1))
        assert wait(world, TICKS) == ["upkeep_begun"]
        assert wait(world, 1) == [PAID]


def test_leases_end_in_time_while_upkeep_begins_for_all_land() -> None:
    """Guard: Parcels.lease_dues comes first in first_due. With a million parcels leases would else end most of an hour late."""
    before = run([(ADA, claim(9 * at, 0), got(at + 1, 100)) for at in range(4)], World(rules=rules(LAND)))
    run(
        [(ADA, LandLet(*ids(), 4, 1_000, 10_000), held(4)), (BEA, LandRent(*ids(), 4, 1_000), held(4))],
        before,
    )
    world = World(rules=rules(UPKEEP))
    world.do(RecallParcels(list(before.state.parcels.by_id.values()), 1))
    world.state.tick = before.state.parcels.by_id[4].lease.ends  # type: ignore[union-attr]
    assert [world.do(Settle(1)).entries[0].kind for _ in range(5)] == ["lease_ended"] + ["upkeep_begun"] * 4


def test_upkeep_set_to_nothing_stops() -> None:
    before = owned()
    world = World(rules=rules(LAND))
    world.do(RecallParcels(list(before.state.parcels.by_id.values()), 1))
    assert wait(world, 3 * TICKS) == []
    assert queries.land_at(world.state, ADA, LandAt(1, 0.0, 0.0)).upkeep_ms is None


def test_parts_owe_as_the_whole_did_and_the_whole_as_soon_as_the_first_of_its_parts() -> None:
    world = run(
        [(ADA, claim(0, 0, 2, 1), got(1, 200))], World(rules=rules(replace(UPKEEP, upkeep_per_plot=50)))
    )
    run([(ADA, split(1, Cut.VERTICAL, 1), LandDivided(1, 2))], world)
    assert wait(world, TICKS - 1) == [PAID] * 2
    world.do(act(BEA, claim(9, 9)))
    run([(ADA, claim(2, 0), got(4, 100)), (ADA, LandMerge(*ids(), 4, 2), held(4))], world)
    assert wait(world, TICKS - 3) == [PAID] * 2
    assert [one.paid_until for one in world.state.parcels.by_id.values()] == [61, 42, 61]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 6), st.integers(1, 5)), min_size=1, max_size=4),
    st.integers(0, 600),
    st.integers(0, 3),
    st.integers(1, 5),
)
def test_whatever_the_prices_money_is_conserved_and_no_wallet_overdrawn(
    sides: list[tuple[int, int]], price: int, grace: int, at_once: int
) -> None:
    """Guard: the look into the wallet in `paid`."""
    land = replace(UPKEEP, upkeep_per_plot=price, upkeep_grace=grace)
    world = World(rules=rules(land))
    for place, (width, height) in enumerate(sides):
        world.do(act(ADA, claim(20 * place, 0, width, height)))
    for _ in range(8 * TICKS):
        world.do(Settle(at_once))
        balanced(world.state.ledger)
    assert all(one.arrears <= grace for one in world.state.parcels.by_id.values())
