"""Ground on its way from the terrain to the world and to who asks, and places to appear: a real world on a stub of land."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from random import Random
from typing import Any

import numpy as np
import pytest

from protocol.snapshot import CELL_TILES
from server.chunks import BATCH_CHUNKS, Chunks, make
from server.spawn import MIDDLE, SpawnPlaces
from server.tasks import supervise
from tests.world.support import RULES, join
from world.commands import AnyCommand, Inbox, steer
from world.grid import around, pack
from world.state import State
from world.terrain import Chunk, Ground
from world.tick import Events, step
from world.tiles import Build

WAIT_S = 120.0  # a test that waits so long has failed
FAST = replace(RULES, walk_speed=19.0)


class Land:
    """A terrain: grass, and water east of 0 if asked for. Notes what it makes, and in which thread."""

    def __init__(self, water: bool = False) -> None:
        self.made: list[int] = []
        self.threads: set[int] = set()
        self.fails = False
        self.open = threading.Event()
        self.open.set()
        self._water = water

    def generate(self, cx: int, cy: int) -> Chunk:
        assert self.open.wait(WAIT_S)
        if self.fails:
            raise RuntimeError("an earthquake")
        self.made.append(pack(cx, cy))
        self.threads.add(threading.get_ident())
        kind = Ground.WATER if self._water and cx >= 0 else Ground.GRASS
        ground = np.full((CELL_TILES, CELL_TILES), kind, np.uint8)
        objects = np.empty(0, [("tile", "<u2"), ("kind", "u1"), ("dx", "u1"), ("dy", "u1"), ("size", "u1")])
        colour = np.zeros((CELL_TILES, CELL_TILES, 3), np.uint8)
        return Chunk(cx, cy, ground, ground, ground, colour, objects)


def nothing(_: int, __: int) -> int:
    return Build.NOTHING


class Country:
    """Chunks, their inbox and a world that ticks when told."""

    def __init__(self, land: Land, **limits: Any) -> None:
        rules = replace(limits.get("rules", FAST), chunks_max=limits.get("loaded_max", 512))
        self.state = State(rules)
        self.inbox = Inbox(limits.get("commands_max", 4_096), 256)
        terrain: Any = land
        self.chunks = Chunks(
            terrain,
            self.inbox,
            limits.get("kind_at", nothing),
            limits.get("cache_bytes_max", 1 << 24),
            limits.get("queue_max", 512),
            limits.get("loaded_max", 512),
            limits.get("ahead", (1, 1)),
        )

    def tick(self, *commands: AnyCommand) -> Events:
        """One tick; what Loop tells the chunks is told, of everyone's standing each tick."""
        self.inbox.put_always(commands)
        players = self.state.players
        events = step(self.state, self.inbox.drain(), self.state.tick + 1)
        slots = [players.slot_of[player_id] for player_id, _ in events.crossed]
        ways = [
            (key, round(players.dx[s]), round(players.dy[s]))
            for (_, key), s in zip(events.crossed, slots, strict=True)
        ]
        self.chunks.follow(events, ways, players.grid.keys[players.linked].tolist())
        return events

    async def walk(self, ticks: int, look: Callable[[Events], None] = lambda _: None) -> None:
        for _ in range(ticks):
            look(self.tick())
            await until(self.is_idle)

    def is_idle(self) -> bool:
        """Nothing is being made, and nothing waits that there is room for."""
        return not self.chunks._work.is_set()

    def has(self, key: int) -> bool:
        return key in self.state.chunks.slot_of


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not holds():  # noqa: ASYNC110 (queues tell nobody; the task and its thread run in between)
            await asyncio.sleep(0)


@asynccontextmanager
async def country(land: Land, **limits: Any) -> AsyncIterator[Country]:
    made = Country(land, **limits)
    made.chunks.start()
    try:
        yield made
    finally:
        land.open.set()
        await made.chunks.stop()


async def ask(chunks: Chunks, key: int) -> bytes:
    got: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
    assert chunks.get(key, got.set_result)
    return await got


# Messages


async def test_what_was_asked_for_longest_ago_is_forgotten_first() -> None:
    """Guards: the limit, and move_to_end in `get`."""
    land = Land()
    terrain: Any = land
    three = sum(len(make(terrain, pack(cx, 0)).framed) for cx in range(3)) + 8
    land.made.clear()
    async with country(land, cache_bytes_max=three) as here:
        for cx in (0, 1, 2, 0, 3, 0, 1):
            await ask(here.chunks, pack(cx, 0))
        assert here.chunks.cache_bytes <= three
    assert land.made == [pack(cx, 0) for cx in (0, 1, 2, 3, 1)]


async def test_many_who_ask_for_one_chunk_share_one_making() -> None:
    """Also with those who walk there. Guard: `setdefault` in `get`, the pops in `_take_in`."""
    land, key = Land(), pack(5, 5)
    land.open.clear()
    async with country(land) as here:
        asking = [asyncio.create_task(ask(here.chunks, key)) for _ in range(5)]
        await until(lambda: here.chunks.waiting == 1)
        here.chunks.prepare(key)
        land.open.set()
        answers = await asyncio.gather(*asking)
        await until(here.is_idle)
    assert len(set(map(id, answers))) == 1
    assert land.made.count(key) == 1


async def test_ground_wanted_again_while_it_is_being_made_is_made_once() -> None:
    """Guard: the pops in `_take_in`."""
    land, key = Land(), pack(0, 0)
    land.open.clear()
    async with country(land) as here:
        here.chunks.prepare(key)
        await until(lambda: here.chunks.waiting < 9)  # the thread has a batch
        here.chunks.prepare(key)
        land.open.set()
        await until(here.is_idle)
    assert len(land.made) == len(set(land.made)) == 9


async def test_a_full_queue_says_no_and_still_takes_who_asks_for_the_same() -> None:
    """Guard: the limit in `get`."""
    here = Country(Land(), queue_max=2)
    answers = [here.chunks.get(pack(cx, 0), lambda _: None) for cx in (0, 1, 2, 1)]
    assert answers == [True, True, False, True]


async def test_walking_wants_no_more_than_the_queue_holds() -> None:
    """Guard: the limit in `_want`; near and ahead have one each."""
    here = Country(Land(), queue_max=4, ahead=(3, 3))
    for cx in range(50):
        here.chunks.prepare(pack(cx, 0), 1, 0)
    assert here.chunks.waiting == 8


async def test_who_asks_much_does_not_stop_those_who_walk() -> None:
    """Guard: half of a batch. Near comes before ahead."""
    land = Land()
    here = Country(land, ahead=(3, 0))
    for cx in range(100, 120):
        here.chunks.get(pack(cx, 0), lambda _: None)
    here.chunks.prepare(pack(0, 0))
    here.chunks.start()
    await until(here.is_idle)
    await here.chunks.stop()
    walked = [index for index, key in enumerate(land.made) if key in around(pack(0, 0), 1)]
    assert walked[3] < BATCH_CHUNKS
    assert walked[8] < 3 * BATCH_CHUNKS


# Ground in the world


@pytest.mark.parametrize("limits", [{}, {"queue_max": 1}, {"commands_max": 1}], ids=str)
async def test_nobody_is_left_at_a_wall_of_missing_ground(limits: dict[str, int]) -> None:
    """However much is turned away. Guard: `standing` in `follow`; without it they stop at x = 64 or before."""
    async with country(Land(), **limits) as here:
        here.tick(join(1), steer(1, 1, 1.0, 0.3))
        await here.walk(400)
        assert here.state.players.x[here.state.players.slot_of[1]] > 250


async def test_what_the_world_rejected_is_wanted_again() -> None:
    """Guard: `rejected_chunks` in `follow`."""
    land = Land()
    async with country(land) as here:
        here.tick(join(1))
        await here.walk(2)
        here.state.chunks.unload(pack(1, 0))
        here.chunks.follow(Events(9, rejected_chunks=[(1, 0)]), [], [pack(0, 0)])
        await until(here.is_idle)
        here.tick()
        assert here.has(pack(1, 0))
    assert land.made.count(pack(1, 0)) == 2


async def test_unloading_keeps_pace_and_spares_whoever_stands_there() -> None:
    """Guard: `_unload_surplus`; without it the walker stops."""
    async with country(Land(), loaded_max=64, ahead=(2, 1)) as here:
        here.tick(join(1), join(2), steer(2, 1, 1.0, 0.0))
        await here.walk(3)

        def look(events: Events) -> None:
            assert all(map(here.has, around(pack(0, 0), 1)))
            assert not events.rejected_chunks
            assert len(here.chunks) <= 64

        await here.walk(1_000, look)
        assert here.state.players.x[here.state.players.slot_of[2]] > 900


async def test_a_full_world_keeps_what_is_stood_on_and_nothing_is_made_in_vain() -> None:
    """Guards: `room` in `_next_batch`, the limit in `_take_in`, `around` in tick._unload_chunk."""
    land = Land()
    async with country(land, loaded_max=9, ahead=(1, 0)) as here:
        rejected: list[tuple[int, int]] = []
        here.tick(join(1), join(2, x=1_000.0))
        await here.walk(3)
        await ask(here.chunks, pack(7, 7))
        await here.walk(20, lambda events: rejected.extend(events.rejected_chunks))
        assert all(map(here.has, around(pack(0, 0), 1)))
        assert not rejected
    assert len(land.made) == 10


async def test_terrain_that_fails_is_told_to_whoever_supervises_and_does_not_spoil_the_stop() -> None:
    """Guard: `asyncio.wait` in `stop` rather than `await`."""
    land, broken = Land(), asyncio.Event()
    land.fails = True
    here = Country(land)
    supervise(here.chunks.start(), lambda part, error: broken.set() if part == "chunks" else None)
    here.chunks.prepare(pack(0, 0))
    async with asyncio.timeout(WAIT_S):
        await broken.wait()
    await here.chunks.stop()


# Places to appear


def places(land: Land, kind_at: Callable[[int, int], int]) -> SpawnPlaces:
    terrain: Any = land
    return SpawnPlaces(terrain, kind_at, Random(4))  # noqa: S311 (the same places each time)


async def test_places_are_on_open_ground_within_the_radius() -> None:
    """Guards: WALK_MIN, the circle."""
    found = await places(Land(water=True), nothing).find(200, 48.0)
    assert len(set(found)) == 200
    assert all(x < 0 and x * x + y * y <= 48.0**2 for x, y in found)


async def test_nobody_appears_in_what_is_built_also_after_a_place_was_known() -> None:
    """Guard: `kind_at`; a bridge is ground, a wall is none."""
    built: dict[int, Build] = {}
    here = Country(Land(water=True), ahead=(1, 0), kind_at=lambda key, _: built.get(key, Build.NOTHING))
    find = here.chunks.spawn_places.find
    await find(10, 20.0)
    built |= {pack(-1, -1): Build.WALL, pack(0, 0): Build.FLOOR}
    found = await find(100, 20.0)
    quarters = {(x < 0, y < 0) for x, y in found}
    assert quarters == {(True, False), (False, False)}


async def test_threads_make_ground_and_nothing_else() -> None:
    """Guard: surfaces change on the loop's thread, so only that one may look at them."""
    land, asked = Land(), set()

    def kind_at(_: int, __: int) -> int:
        asked.add(threading.get_ident())
        return Build.NOTHING

    await places(land, kind_at).find(20, 48.0)
    assert asked == {threading.get_ident()}
    assert threading.get_ident() not in land.threads


async def test_ground_for_newcomers_is_made_once() -> None:
    """Guard: the kept grounds."""
    land = Land()
    spawn = places(land, nothing)
    await spawn.find(200, 48.0)
    await spawn.find(200, 48.0)
    assert len(land.made) == len(set(land.made)) <= 16


async def test_where_all_is_walled_in_people_appear_in_the_middle() -> None:
    """Guard: ROUNDS_MAX; a search without end would hold up everyone who signs in."""
    assert await places(Land(), lambda _, __: Build.WALL).find(3, 48.0) == [MIDDLE] * 3


async def test_without_newcomers_nothing_is_made() -> None:
    land = Land()
    assert await places(land, nothing).find(0, 48.0) == []
    assert not land.made
