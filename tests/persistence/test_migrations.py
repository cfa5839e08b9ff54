"""The tables' versions."""

import asyncio

import asyncpg
import pytest
from asyncpg.transaction import Transaction

from persistence.migrations import current_revision, head_revision, migrate
from persistence.store import Batch, SchemaMismatch, Store, StoreRefused
from tests.conftest import POOL_SIZE, START_S
from tests.persistence.support import Chronicle, build, claim
from tests.world.support import ADA, BEA
from world.tiles import Build


async def test_servers_that_start_at_once_migrate_once(empty_dsn: str) -> None:
    """Guard: the advisory lock."""
    said: list[str] = []
    await asyncio.gather(*(migrate(empty_dsn, said.append) for _ in range(4)))
    assert await current_revision(empty_dsn) == head_revision()
    assert len([line for line in said if line.startswith("bringing")]) == 1


async def held_up(dsn: str) -> tuple["asyncpg.Connection[asyncpg.Record]", Transaction, "asyncio.Task[None]"]:
    """A migration that has said that it waits, and who holds the lock it waits for, in a transaction."""
    holder = await asyncpg.connect(dsn)
    transaction = holder.transaction()
    await transaction.start()
    await holder.execute("SELECT pg_advisory_xact_lock($1)", 0x6C616E64)
    waiting = asyncio.Event()
    loop = asyncio.get_running_loop()

    def progress(_: str) -> None:
        loop.call_soon_threadsafe(waiting.set)

    task = asyncio.create_task(migrate(dsn, progress))
    await waiting.wait()
    return holder, transaction, task


async def test_a_migration_waits_for_the_lock_and_says_so(empty_dsn: str) -> None:
    holder, transaction, task = await held_up(empty_dsn)
    assert await holder.fetchval("SELECT to_regclass('players')") is None
    await transaction.rollback()
    await task
    assert await holder.fetchval("SELECT to_regclass('players')") == "players"
    await holder.close()


async def test_a_migration_that_is_cancelled_lets_go_of_the_database(empty_dsn: str) -> None:
    """Guard: the connection is cut. Without it the thread waits for the lock, and the process for the thread."""
    holder, transaction, task = await held_up(empty_dsn)
    task.cancel()
    await asyncio.wait({task})
    async with asyncio.timeout(START_S):
        await asyncio.get_running_loop().shutdown_default_executor()  # ends when the thread does
    await transaction.rollback()
    assert await holder.fetchval("SELECT to_regclass('players')") is None
    await holder.close()


async def test_down_to_nothing_and_up_again(dsn: str) -> None:
    said: list[str] = []
    await migrate(dsn, said.append, "base")
    assert await current_revision(dsn) is None
    await migrate(dsn, said.append)
    assert await current_revision(dsn) == head_revision()
    await migrate(dsn, said.append)
    assert len(said) == 2  # the last had nothing to do


EDITS = """
INSERT INTO tile_edits (cx, cy, version, tile, kind, player_id, tick) VALUES
    (0, 0, 2, 5, 4, 1, 10), (0, 0, 3, 1023, 6, 1, 10), (0, 0, 4, 5, 0, 2, 11), (0, 0, 5, 5, 255, 2, 12),
    (-32768, 32767, 2, 0, 1, 1, 13)
"""
ANSWER = """
INSERT INTO answers (action_id, player_id, content_digest, result)
VALUES ('\\x00112233445566778899aabbccddeeff', 7, 'c', '{"tiles": 2}')
"""
# What a chunk looks like after all its edits: its version, and each edited tile's last kind.
SEEN_BEFORE = """
SELECT cx, cy, max(newest) AS version, array_agg((tile::int, kind::int) ORDER BY tile)::text AS tiles FROM (
    SELECT DISTINCT ON (cx, cy, tile) cx, cy, tile, kind, max(version) OVER (PARTITION BY cx, cy) AS newest
    FROM tile_edits ORDER BY cx, cy, tile, version DESC) AS last_edit GROUP BY cx, cy ORDER BY cx, cy
"""


async def test_what_was_built_survives_the_way_up_and_down(dsn: str) -> None:
    """tile_edits -> surfaces -> tile_edits -> surfaces: every chunk keeps its version and how each tile is now."""
    connection = await asyncpg.connect(dsn)
    await migrate(dsn, print, "0002")
    await connection.execute(EDITS)
    await connection.execute(ANSWER)
    before = await connection.fetch(SEEN_BEFORE)
    await migrate(dsn, print)
    up = await connection.fetch("SELECT * FROM surfaces ORDER BY cx, cy")
    assert [tuple(row) for row in up] == [
        (-32768, 32767, 2, bytes([0, 0, 1])),
        (0, 0, 5, bytes([5, 0, 255]) + bytes([255, 3, 6])),
    ]
    answer = await connection.fetchrow("SELECT seq, result::text, player_id FROM answers")
    assert answer is not None
    assert tuple(answer) == (0, '{"tiles": 2}', 7)
    await migrate(dsn, print, "0002")
    assert await connection.fetch(SEEN_BEFORE) == before
    gaps = "SELECT 1 FROM tile_edits GROUP BY cx, cy HAVING count(*) <> max(version) - 1 OR min(version) <> 2"
    assert await connection.fetch(gaps) == []
    answer = await connection.fetchrow("SELECT result::text FROM answers")
    assert answer is not None
    assert tuple(answer) == ('{"tiles": 2}',)
    await migrate(dsn, print)
    assert await connection.fetch("SELECT * FROM surfaces ORDER BY cx, cy") == up
    await connection.close()


async def test_a_world_with_land_and_money_goes_down_without_them_and_begins_a_journal_anew(dsn: str) -> None:
    told = Chronicle()
    told.do(ADA, claim(0, 0))
    told.do(ADA, build((3, 0, Build.WALL)))
    store = await Store.open(dsn, POOL_SIZE)
    await store.save((await store.open_world(7)).epoch, Batch(1, entries=told.entries))
    await store.close()
    await migrate(dsn, print, "0002")
    await migrate(dsn, print)
    store = await Store.open(dsn, POOL_SIZE)
    books, built = await store.books(), await store.all_built(lambda _: None)
    epoch = (await store.open_world(7)).epoch
    again = Chronicle()
    again.do(BEA, claim(0, 0))
    await store.save(epoch, Batch(2, entries=again.entries))
    assert (books.seq, books.balances, books.last_parcel_id) == (0, [], 0)
    assert built == [(0, 0, 2, bytes([3, 0, Build.WALL]))]
    assert (await store.books()).seq == 1
    await store.close()


async def test_a_database_newer_than_the_code_is_refused(dsn: str) -> None:
    connection = await asyncpg.connect(dsn)
    await connection.execute("UPDATE alembic_version SET version_num = '9999'")
    await connection.close()
    with pytest.raises(SchemaMismatch, match=r"9999, which this landworld .* does not know"):
        await migrate(dsn, print)


async def test_an_unknown_version_is_refused(dsn: str) -> None:
    with pytest.raises(SchemaMismatch, match="there is no version 0042"):
        await migrate(dsn, print, "0042")


async def test_a_missing_right_is_told_in_the_words_of_postgres(empty_dsn: str) -> None:
    connection = await asyncpg.connect(empty_dsn)
    await connection.execute("CREATE ROLE visitor LOGIN")
    try:
        with pytest.raises(StoreRefused, match="permission denied for schema public"):
            await migrate(empty_dsn.replace("landworld@", "visitor@"), print)
    finally:
        await connection.execute("DROP ROLE visitor")
        await connection.close()
