"""The tables' versions."""

import asyncio

import asyncpg
import pytest
from asyncpg.transaction import Transaction

from persistence.audit import audit
from persistence.migrations import WouldDrop, current_revision, go_back, head_revision, migrate
from persistence.store import Batch, SchemaMismatch, Store, StoreRefused
from protocol.edits import CHUNK_EDIT_FIELDS
from protocol.messages import LandDescribe, MarketCancel, MarketEdit, MarketList, Role
from tests.conftest import POOL_SIZE, START_S, TICK_HZ
from tests.persistence.support import Chronicle, build, claim
from tests.world.support import ADA, BEA, ids
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
    await go_back(dsn, said.append, "base", agreed=True)
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
    await go_back(dsn, print, "0002", agreed=True)
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
    await go_back(dsn, print, "0002", agreed=True)
    assert await connection.fetch(SEEN_BEFORE) == before
    gaps = "SELECT 1 FROM tile_edits GROUP BY cx, cy HAVING count(*) <> max(version) - 1 OR min(version) <> 2"
    assert await connection.fetch(gaps) == []
    answer = await connection.fetchrow("SELECT result::text FROM answers")
    assert answer is not None
    assert tuple(answer) == ('{"tiles": 2}',)
    await migrate(dsn, print)
    assert await connection.fetch("SELECT * FROM surfaces ORDER BY cx, cy") == up
    await connection.close()


async def world_with_land(dsn: str) -> Chronicle:
    """Ada owns land with a wall on it; an admin's wall stands on nobody's."""
    told = Chronicle()
    told.do(ADA, claim(0, 0))
    told.do(ADA, build((3, 0, Build.WALL), (0, 15, Build.PATH)))
    told.do(BEA, build((16, 15, Build.WALL), (0, 16, Build.PATH)), Role.ADMIN)
    store = await Store.open(dsn, POOL_SIZE)
    await store.save((await store.open_world(7, TICK_HZ)).epoch, Batch(1, entries=told.entries))
    await store.close()
    return told


async def test_there_is_no_way_back_while_anything_is_for_sale(dsn: str) -> None:
    """Guard: the count in `downgrade`; else the audit is wrong for good, and a start may find land for sale that is nobody's."""
    told = Chronicle()
    told.do(ADA, claim(0, 0))
    [listed] = told.do(ADA, MarketList(*ids(), 1, 500))
    store = await Store.open(dsn, POOL_SIZE)
    epoch = (await store.open_world(7, TICK_HZ)).epoch
    await store.save(epoch, Batch(1, entries=told.entries))
    for agreed in (False, True):
        with pytest.raises(StoreRefused, match="1 parcels are for sale"):
            await go_back(dsn, print, "0005", agreed)
    assert await current_revision(dsn) == head_revision()
    told.do(ADA, MarketEdit(*ids(), listed.seq, 700))
    told.do(ADA, MarketCancel(*ids(), listed.seq))
    await store.save(epoch, Batch(2, entries=told.entries))
    await go_back(dsn, print, "0005")
    await migrate(dsn, print)
    assert (await audit(dsn, lambda done, of: None)).troubles == []
    await store.close()


@pytest.mark.parametrize("price", ["null", "0", "70000"])
async def test_offers_of_before_end_with_the_way_up(dsn: str, price: str) -> None:
    """Guard: the price goes out of every parcel's JSON, and nothing else, whatever stands in its name."""
    told = Chronicle()
    told.do(ADA, claim(0, 0))
    told.do(ADA, LandDescribe(*ids(), 1, '","price":7,"permits":', '"price":null,\\"'))
    store = await Store.open(dsn, POOL_SIZE)
    await store.save((await store.open_world(7, TICK_HZ)).epoch, Batch(1, entries=told.entries))
    await go_back(dsn, print, "0005", agreed=True)
    connection = await asyncpg.connect(dsn)
    [row] = await connection.fetch("SELECT parcel::text FROM parcels")
    assert row["parcel"].count('"price":null,"permits":[]') == 1
    offered = row["parcel"].replace('"price":null,"permits":[]', f'"price":{price},"permits":[]')
    await connection.execute("UPDATE parcels SET parcel = $1::text::json", offered)
    await connection.close()
    await migrate(dsn, print)
    assert (await audit(dsn, lambda done, of: None)).troubles == []
    assert [one async for page in store.sales(lambda _: None) for one in page] == []
    await store.close()


async def test_a_world_with_land_and_money_goes_down_without_them_and_begins_a_journal_anew(dsn: str) -> None:
    """Guards: what stood on parcels goes with them, and what stays is in the opening; without either the audit is wrong for good."""
    await world_with_land(dsn)
    await go_back(dsn, print, "0002", agreed=True)
    await migrate(dsn, print)
    assert (await audit(dsn, lambda done, of: None)).troubles == []
    store = await Store.open(dsn, POOL_SIZE)
    books, built = await store.books(), await store.all_built(lambda _: None)
    epoch = (await store.open_world(7, TICK_HZ)).epoch
    again = Chronicle()
    again.do(BEA, claim(0, 0))
    await store.save(epoch, Batch(2, entries=again.entries))
    assert (books.seq, books.balances, books.last_parcel_id) == (0, [], 0)
    kinds = {tile: kind for *_, edits in built for tile, kind in CHUNK_EDIT_FIELDS.iter_unpack(edits) if kind}
    assert kinds == {15 * 32 + 16: Build.WALL, 16 * 32: Build.PATH}
    assert (await store.books()).seq == 1
    assert (await audit(dsn, lambda done, of: None)).troubles == []
    await store.close()


async def test_going_back_drops_nobodys_things_unasked(dsn: str) -> None:
    """Guard: WouldDrop, raised within the transaction. Without it land and money are gone at a slip of the hand."""
    await world_with_land(dsn)
    with pytest.raises(WouldDrop, match="drops rows: 3 of accounts, 3 of answers") as raised:
        await go_back(dsn, print, "base")
    assert "1 of parcels" in str(raised.value)
    assert "3 of journal" in str(raised.value)
    assert await current_revision(dsn) == head_revision()
    assert (await audit(dsn, lambda done, of: None)).troubles == []


async def test_up_never_leads_down_nor_down_up(dsn: str) -> None:
    """Guard: the direction. `upgrade 0002` of newer tables would else drop what they hold."""
    with pytest.raises(
        SchemaMismatch, match=f"version {head_revision()}, and going up never leads back to 0002"
    ):
        await migrate(dsn, print, "0002")
    await go_back(dsn, print, "0001")
    with pytest.raises(SchemaMismatch, match="version 0001, which is older than 0002"):
        await go_back(dsn, print, "0002")
    assert await current_revision(dsn) == "0001"


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
