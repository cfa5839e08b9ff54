"""The model of the store is held to the real one: the same writes, the same rows, the same refusals."""

import asyncio
from collections.abc import Coroutine
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from persistence.store import Batch, ChatLine, Entrant, Fenced, Store, StoreError, StoreRefused, account_key
from protocol.edits import TILE_EDIT, pack
from protocol.messages import (
    Cut,
    LandAbandon,
    LandClaim,
    LandDescribe,
    LandHeld,
    LandLet,
    LandMerge,
    LandPermit,
    LandRent,
    LandSplit,
    MarketBuy,
    MarketCancel,
    MarketEdit,
    MarketList,
    Standing,
    TileEdit,
)
from tests.conftest import POOL_SIZE, TICK_HZ
from tests.world.support import ADA, BEA, CAL, PEOPLE, RULES, World, act, ids
from tools.simulate.clock import Process, Scheduler
from tools.simulate.disk import Disk, ModelStore
from world.commands import AnyAct, Settle
from world.entries import Change, Entry, Outcome, write
from world.ledger import HOUSE, Hold, Post
from world.parcels import Parcel
from world.state import LandRules, State

SEED = 0
FIRST_EPOCH = 1


class Model:
    """A ModelStore that answers at once, for whoever awaits it in another loop."""

    def __init__(self) -> None:
        self.clock = Scheduler(Random(1))  # noqa: S311 (a die)
        self.process: Process = self.clock.process("server")
        self.store = ModelStore(Disk(self.clock), self.clock, self.process)

    def do(self, work: Coroutine[Any, Any, Any]) -> Any:
        """What it gives, or raises. No event loop may be running."""
        task = self.process.create_task(work)
        self.clock.run(self.clock.now_s + 60.0)
        return task.result()


async def looked_at(store: Any, entries: list[Entry]) -> dict[str, Any]:
    """All that a server reads of it."""
    books = await store.books()
    return {
        "books": (books.seq, books.digest, books.balances, books.holds, books.last_parcel_id),
        "parcels": [page async for page in store.parcels(lambda _: None)],
        "sales": [page async for page in store.sales(lambda _: None)],
        "built": await store.all_built(lambda _: None),
        "answers": await store.find_answers([one.action_id for one in entries if one.action_id] + [b"none"]),
        "statements": [await store.statement(account, 2**62, 10) for account in (ADA, BEA, HOUSE)],
        "page": await store.statement(ADA, entries[-1].seq if entries else 1, 2),
        "entries": [await store.entry(seq) for seq in range(len(entries) + 2)],
        "names": await store.player_names([ADA, BEA, 77]),
        "keys": await store.known_keys([account_key("Ada"), account_key("nobody")]),
    }


def history() -> list[Entry]:
    """Entries of all kinds: land, money, holds, buildings, what is due by itself."""
    land = LandRules(starting_grant=100_000, plot_price=100, lease_term_ms_min=50, upkeep_per_plot=1)
    world, entries = World(rules=replace(RULES, land=land)), list[Entry]()

    def do(*acts: AnyAct) -> None:
        entries.extend(world.do(*acts).entries)

    do(act(ADA, LandClaim(*ids(), 0, 0, 64, 32)), act(BEA, LandClaim(*ids(), 160, 0, 16, 16)))
    do(act(ADA, LandSplit(*ids(), 1, Cut.VERTICAL, 32)))
    do(
        act(ADA, LandDescribe(*ids(), 1, "“Föhr” 🏝", 'a\\b"c')),
        act(ADA, LandPermit(*ids(), 1, CAL, Standing.BUILDER)),
    )
    do(act(ADA, TileEdit(*ids(), pack([(1, 1, 4), (2, 1, 4), (1, 1, 0), (40, 1, 2)], TILE_EDIT))))
    do(act(CAL, TileEdit(*ids(), pack([(3, 1, 5)], TILE_EDIT))))
    do(act(ADA, MarketList(*ids(), 1, 9_000, 86_400_000, True)))
    listed = world.state.seq + 1
    do(act(ADA, MarketList(*ids(), 3, 60_000)), act(ADA, MarketEdit(*ids(), listed, 70_000)))
    do(act(BEA, MarketBuy(*ids(), listed, 70_000)), act(ADA, MarketCancel(*ids(), listed - 1)))
    do(act(BEA, MarketList(*ids(), 2, 5)))
    do(act(ADA, LandLet(*ids(), 1, 500, 50, 2_000, True)), act(CAL, LandRent(*ids(), 1, 500)))
    for _ in range(4):
        do(Settle(9))
    do(act(BEA, LandClaim(*ids(), 176, 0, 16, 16)), act(BEA, LandMerge(*ids(), 2, 4)))
    do(act(BEA, LandAbandon(*ids(), 3)))
    assert len({type(change) for entry in entries for change in entry.changes}) == 6, "one of each kind"
    return entries


def batches(entries: list[Entry]) -> list[Batch]:
    """As a flusher sends them: some twice, some again with what came after."""
    line = ChatLine(1, ADA, "Ada", None, 1.5, -2.5, 4, 1_700_000_000_123, "hello")
    return [
        Batch(3, [ADA], [4.5], [-1.0], [(1, line)], entries[:5]),
        Batch(3, [ADA], [4.5], [-1.0], [(1, line)], entries[:5]),
        Batch(2, [], [], [], [], entries[:9]),
        Batch(9, [BEA], [0.0], [0.0], [], entries[9:]),
    ]


def test_the_model_holds_the_same_rows(dsn: str) -> None:
    entries = history()
    people = [Entrant(account_key(name), name, "user", 7, 1.0, 2.0) for name in PEOPLE.values()]

    async def write_all(store: Any) -> tuple[Any, ...]:
        row = await store.open_world(SEED, TICK_HZ)
        entered = [
            (one.player_id, one.key, one.name, one.role)
            for one in await store.enter_players(row.epoch, people)
        ]
        seen = [await looked_at(store, [])]
        for batch in batches(entries):
            await store.save(row.epoch, batch)
            seen.append(await looked_at(store, entries[: len(entries)]))
        again = await store.enter_players(row.epoch, people[:1])
        later = await store.open_world(SEED, TICK_HZ)
        return entered, seen, (again[0].x, again[0].y), (later.epoch, later.tick, later.last_seq)

    async def real() -> tuple[Any, ...]:
        store = await Store.open(dsn, POOL_SIZE)
        try:
            return await write_all(store)
        finally:
            await store.close()

    model = Model()
    theirs, mine = asyncio.run(real()), model.do(write_all(model.store))
    assert mine[0] == theirs[0]
    for step, (seen, expected) in enumerate(zip(mine[1], theirs[1], strict=True)):
        for name, value in expected.items():
            assert seen[name] == value, f"{name} after {step} batches"
    assert mine[2:] == theirs[2:]


def entry(state: State, *changes: Change) -> Entry:
    """The next entry of a state, whatever the rules say."""
    return write(state, "test", Outcome(LandHeld(1), list(changes)), None)


def parcel(parcel_id: int, px: int, pw: int = 1) -> Parcel:
    return Parcel(parcel_id, ADA, "Ada", px, 0, pw, 1)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ([Post(ADA, 5, 5), Post(HOUSE, -4, -4)], StoreRefused),
        ([Post(ADA, -5, -5), Post(HOUSE, 5, 5)], StoreRefused),
        ([parcel(1, 0, 2), parcel(2, 1)], StoreRefused),
        ([Hold(1, ADA, -5, "why")], StoreRefused),
        ([parcel(1, 0, 2), parcel(2, 2)], None),
        ([Post(-1, -5, -5), Post(ADA, 5, 5)], None),
        ([Post(-100, -5, -5), Post(ADA, 5, 5)], None),
    ],
)
def test_the_model_refuses_what_the_database_refuses(
    dsn: str, changes: list[Change], error: type[StoreError] | None
) -> None:
    state = State(RULES)
    batch = Batch(1, entries=[entry(state, *changes)])

    async def attempt(store: Any) -> type[Exception] | None:
        await store.open_world(SEED, TICK_HZ)
        try:
            await store.save(FIRST_EPOCH, batch)
        except StoreError as refusal:
            return type(refusal)
        return None

    async def real() -> type[Exception] | None:
        store = await Store.open(dsn, POOL_SIZE)
        try:
            return await attempt(store)
        finally:
            await store.close()

    model = Model()
    assert (asyncio.run(real()), model.do(attempt(model.store))) == (error, error)


def test_both_fence_who_lost_their_place_and_want_no_gap(dsn: str) -> None:
    """Guards: the epoch check and the place of the first entry, in both."""
    state = State(RULES)
    first, second = entry(state), entry(state)

    async def attempt(store: Any) -> list[type[Exception]]:
        await store.open_world(SEED, TICK_HZ)
        epoch = (await store.open_world(SEED, TICK_HZ)).epoch
        errors: list[type[Exception]] = []
        for writes in (
            store.save(FIRST_EPOCH, Batch(1, entries=[first])),
            store.enter_players(FIRST_EPOCH, [Entrant("name:a", "a", None, 1, 0.0, 0.0)]),
            store.prune_chat(FIRST_EPOCH, 1.0),
            store.save(epoch, Batch(1, entries=[second])),
        ):
            with pytest.raises(StoreError) as caught:
                await writes
            errors.append(caught.type)
        return errors

    async def real() -> list[type[Exception]]:
        store = await Store.open(dsn, POOL_SIZE)
        try:
            return await attempt(store)
        finally:
            await store.close()

    model = Model()
    assert asyncio.run(real()) == model.do(attempt(model.store)) == [Fenced, Fenced, Fenced, StoreError]
