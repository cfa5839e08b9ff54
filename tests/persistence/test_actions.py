"""Actions in a real PostgreSQL: stored once, as a whole, under the epoch."""

import asyncio
import hashlib

import asyncpg
import pytest

from persistence.store import (
    ActionMismatch,
    Built,
    CommitUnknown,
    Fenced,
    Store,
    StoreError,
    StoreRefused,
    TileAction,
)
from tests.conftest import POOL_SIZE, Execute

TILES = [(0, 0, 5, 4), (-1, 3, 1023, 1)]


def action(
    number: int, tiles: list[tuple[int, int, int, int]] = TILES, player_id: int = 1, content: bytes = b""
) -> TileAction:
    digest = hashlib.blake2b(content or repr(tiles).encode(), digest_size=16).digest()
    return TileAction(number.to_bytes(16), digest, player_id, 40, tiles, f'{{"tiles": {len(tiles)}}}')


async def _opened(dsn: str) -> tuple[Store, int]:
    store = await Store.open(dsn, POOL_SIZE)
    return store, (await store.open_world(7)).epoch


async def test_each_chunk_counts_its_own_versions_without_a_gap(dsn: str, sql: Execute) -> None:
    store, epoch = await _opened(dsn)
    assert await store.edit_tiles(epoch, action(1)) is None
    assert await store.edit_tiles(epoch, action(2, [(0, 0, 5, 0), (0, 0, 6, 2), (0, 0, 5, 4)])) is None
    built = await store.all_built(lambda _: None)
    await store.close()
    assert built == [Built(-1, 3, 2, {1023: 1}), Built(0, 0, 5, {5: 4, 6: 2})]
    rows = await sql("SELECT version, player_id, tick FROM tile_edits WHERE cx = 0 ORDER BY version")
    assert [tuple(row) for row in rows] == [(version, 1, 40) for version in (2, 3, 4, 5)]


async def test_an_action_sent_again_has_no_second_effect_and_gets_its_first_answer(dsn: str) -> None:
    """Guard: the look into `answers`; over restarts too."""
    store, epoch = await _opened(dsn)
    assert await store.edit_tiles(epoch, action(1)) is None
    assert await store.edit_tiles(epoch, action(1)) == '{"tiles": 2}'
    await store.close()
    store, epoch = await _opened(dsn)
    assert await store.edit_tiles(epoch, action(1)) == '{"tiles": 2}'
    assert [one.version for one in await store.all_built(lambda _: None)] == [2, 2]
    await store.close()


@pytest.mark.parametrize(
    "other", [action(1, TILES[:1]), action(1, player_id=2), action(1, content=b"land_claim")]
)
async def test_the_same_id_for_another_action_is_refused(dsn: str, other: TileAction) -> None:
    store, epoch = await _opened(dsn)
    await store.edit_tiles(epoch, action(1))
    with pytest.raises(ActionMismatch):
        await store.edit_tiles(epoch, other)
    assert [one.version for one in await store.all_built(lambda _: None)] == [2, 2]
    await store.close()


async def test_a_server_that_lost_its_place_stores_nothing(dsn: str, sql: Execute) -> None:
    """Guard: the epoch check, first in the transaction."""
    store, epoch = await _opened(dsn)
    await store.open_world(7)
    with pytest.raises(Fenced):
        await store.edit_tiles(epoch, action(1))
    await store.close()
    assert await sql("SELECT 1 FROM answers") == await sql("SELECT 1 FROM tile_edits") == []


@pytest.mark.parametrize("broken", [[*TILES, (0, 0, 1024, 1)], [*TILES, (40_000, 0, 1, 1)]])
async def test_of_an_action_with_one_bad_tile_nothing_is_stored(
    dsn: str, sql: Execute, broken: list[tuple[int, int, int, int]]
) -> None:
    store, epoch = await _opened(dsn)
    with pytest.raises(StoreRefused):
        await store.edit_tiles(epoch, action(1, broken))
    assert await sql("SELECT 1 FROM answers") == await sql("SELECT 1 FROM tile_edits") == []
    assert await store.edit_tiles(epoch, action(1)) is None
    await store.close()


async def test_the_same_action_at_once_is_stored_once(dsn: str) -> None:
    """Guard: the world row is locked before `answers` is read."""
    store, epoch = await _opened(dsn)
    outcomes = await asyncio.gather(*(store.edit_tiles(epoch, action(1)) for _ in range(4)))
    assert sorted(map(str, outcomes)) == ["None", *['{"tiles": 2}'] * 3]
    assert [one.version for one in await store.all_built(lambda _: None)] == [2, 2]
    await store.close()


async def test_a_line_lost_in_the_commit_is_told_apart_and_the_same_again_finds_out(
    dsn: str, sql: Execute
) -> None:
    """A trigger that waits for a lock holds the COMMIT until the line is cut. Guard: CommitUnknown where committing began."""
    await sql(
        "CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_advisory_xact_lock(7); RETURN NULL; END $$"
    )
    await sql(
        "CREATE CONSTRAINT TRIGGER hold AFTER INSERT ON answers DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION hold()"
    )
    store, epoch = await _opened(dsn)
    other = await asyncpg.connect(dsn)
    await other.execute("SELECT pg_advisory_lock(7)")
    storing = asyncio.create_task(store.edit_tiles(epoch, action(1)))
    in_commit = "SELECT pid FROM pg_stat_activity WHERE query LIKE 'COMMIT%' AND wait_event_type = 'Lock'"
    waiting: list[asyncpg.Record] = []
    while not waiting:
        assert not storing.done(), "nothing was held in a COMMIT"
        waiting = await other.fetch(in_commit)
    await other.execute("SELECT pg_terminate_backend($1)", waiting[0]["pid"])
    with pytest.raises(CommitUnknown):
        await storing
    await other.close()
    assert await store.edit_tiles(epoch, action(1)) is None  # the cut one had not come through
    assert await store.edit_tiles(epoch, action(1)) == '{"tiles": 2}'
    await store.close()


async def test_a_gap_in_the_history_is_told_at_the_start(dsn: str, sql: Execute) -> None:
    store, epoch = await _opened(dsn)
    await store.edit_tiles(epoch, action(1, [(2, -2, tile, 1) for tile in range(3)]))
    await sql("DELETE FROM tile_edits WHERE version = 3")
    with pytest.raises(StoreError, match=r"chunk \(2, -2\)"):
        await store.all_built(lambda _: None)
    await store.close()


async def test_what_was_built_is_read_in_pages_wherever_they_end(
    dsn: str, sql: Execute, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guard: Store.all_built. One statement over all would one day take longer than a statement may."""
    store, epoch = await _opened(dsn)
    tiles = [(cx, 0, tile, 1 + tile % 3) for cx in (-7, 0, 3) for tile in (1, 2, 1, 1023)]
    await store.edit_tiles(epoch, action(1, tiles))
    await sql("UPDATE tile_edits SET kind = 6 WHERE version = 4")
    expected = [Built(cx, 0, 5, {1: 6, 2: 3, 1023: 1}) for cx in (-7, 0, 3)]
    for size in range(1, len(tiles) + 2):
        monkeypatch.setattr("persistence.store.EDITS_PAGE", size)
        told: list[int] = []
        assert await store.all_built(told.append) == expected
        assert told == [*range(size, len(tiles), size), len(tiles)]
    await store.close()
