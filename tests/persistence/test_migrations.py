"""The tables' versions."""

import asyncio

import asyncpg
import pytest
from asyncpg.transaction import Transaction

from persistence.migrations import current_revision, head_revision, migrate
from persistence.store import SchemaMismatch, StoreRefused
from tests.conftest import START_S


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
