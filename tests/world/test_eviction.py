"""Who stands where they may not is put out: whom, when, and where to."""

import pytest

from protocol.messages import (
    LandEase,
    LandLet,
    LandOpen,
    LandPermit,
    LandRent,
    Role,
    Standing,
)
from tests.world.support import ADA, BEA, CAL, OPEN, World, act, ground, ids, join, plain, told
from tests.world.test_land import Row, build, claim, got, held, rules, run
from tests.world.test_leases import wait
from world.commands import Detach, Join, LoadChunk, steer
from world.tiles import Build

OK = held(1)
MOD = 9


def close(enter: bool = False) -> LandOpen:
    return LandOpen(*ids(), 1, enter, False)


def world_of(*rows: Row, where: tuple[float, float] = (13.5, 8.5)) -> World:
    """Ada's plot at (0, 0); everybody stands at one place in it."""
    world = World(*plain(), rules=rules())
    run([(ADA, claim(0, 0), got(1, 100)), *rows], world)
    world.do(*(join(who, *where) for who in (ADA, BEA, CAL)), Join(MOD, "Mo", Role.MODERATOR, 0, *where))
    return world


def test_who_may_not_be_in_a_parcel_that_closes_is_put_beside_it_and_snapshots_tell() -> None:
    """Guards: entering and `passes` in _unwelcome; the cells in _evict."""
    world = world_of((ADA, LandPermit(*ids(), 1, CAL, Standing.VISITOR), OK), where=(0.5, 13.5))
    world.do(act(ADA, close()))
    events = world.do()
    assert world.place(BEA) == (-0.5, 13.5)
    assert {world.place(who) for who in (ADA, CAL, MOD)} == {(0.5, 13.5)}
    assert told(events)[-1, 0] == {BEA: (-0.5, 13.5)}
    assert set(told(events)[0, 0]) == {ADA, CAL, MOD}
    assert events.crossed == [(BEA, events.touched.tolist()[0])]
    assert len(events.moved) == 0


def test_who_is_put_out_walks_on_from_there_in_the_same_tick() -> None:
    world = world_of()
    world.do(act(ADA, close()))
    world.do(steer(BEA, 1, 1.0, 0.0))
    assert world.place(BEA)[0] == pytest.approx(16.7)


def test_a_permit_taken_back_and_a_lost_line_save_nobody() -> None:
    world = world_of((ADA, LandPermit(*ids(), 1, BEA, Standing.BUILDER), OK), (ADA, close(), OK))
    assert world.place(BEA) == (13.5, 8.5)
    world.do(Detach(BEA))
    world.do(act(ADA, LandPermit(*ids(), 1, BEA, Standing.NONE)))
    world.do()
    assert world.place(BEA) == (16.5, 8.5)


def test_the_owner_is_put_out_when_a_closed_parcel_is_let_and_the_tenant_when_the_lease_ends() -> None:
    world = world_of((ADA, close(), OK), (ADA, LandLet(*ids(), 1, 100, 1_000), OK))
    world.do(join(CAL + 1))  # time passes for the others, who are outside
    assert (world.place(ADA), world.place(BEA)) == ((13.5, 8.5), (16.5, 8.5))
    run([(BEA, LandRent(*ids(), 1, 100), OK)], world)
    world.do(steer(BEA, 1, -1.0, 0.0))
    assert world.place(ADA) == (16.5, 8.5)
    wait(world, 9)
    world.do(steer(BEA, 2, 0.0, 0.0))
    assert world.place(BEA)[0] < 15.0
    assert wait(world, 20) == ["lease_ended"]
    world.do()
    assert world.place(BEA) == (16.5, 8.5)


def test_one_is_put_where_one_can_stand_on_open_land_or_a_way() -> None:
    """Guards: walking speeds, open land and ways in _places."""
    world = world_of(
        (BEA, claim(1, 0), got(2, 100)),
    )
    world.do(
        act(ADA, build(*((15 - x, -1, Build.WALL) for x in range(16)), (13, 16, Build.HEDGE)), Role.ADMIN)
    )
    world.do(act(ADA, close()))
    world.do()
    assert world.place(CAL) == (12.5, 16.5)  # to the north is a wall, to the south a hedge, to the east Bea's
    world.do(act(ADA, close(enter=True)))
    run([(ADA, LandEase(*ids(), 1, 0, 0, 16, 16), OK)], world)
    world.do(join(7, 13.25, 8.5))
    world.do(act(ADA, close()))
    world.do()
    assert world.place(7) == (13.25, 8.5)


def test_who_comes_in_on_closed_land_is_welcomed_beside_it() -> None:
    """Guard: the look in _join."""
    world = world_of((ADA, close(), OK))
    [joined] = world.do(join(7, 1.5, 8.5)).joined
    assert (joined.x, joined.y) == world.place(7) == (-0.5, 8.5)
    events = world.do(join(8, 8.5, 14.5))
    assert (events.joined[0].x, events.joined[0].y) == (8.5, 16.5)


def test_who_cannot_be_put_anywhere_stays_until_ground_comes_in() -> None:
    """Guard: the look around in _load_chunk."""
    water = ground(["#" * 32] * 32)
    world = World(LoadChunk(0, 0, water), rules=rules())
    run([(ADA, claim(0, 0), got(1, 100)), (ADA, close(), OK)], world)
    world.do(join(BEA, 0.5, 8.5))
    assert world.place(BEA) == (0.5, 8.5)
    world.do(LoadChunk(-1, 0, OPEN))
    assert world.place(BEA) == (-0.5, 8.5)
