"""Entries of the journal in a real PostgreSQL: stored in order, as a whole, once, under the epoch; and what follows from them."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest
from msgspec.structs import replace

from persistence import store as store_module
from persistence.store import (
    Batch,
    Fenced,
    Store,
    StoredAnswer,
    StoreError,
    StoreRefused,
    StoreUnavailable,
)
from protocol.messages import LandAbandon, LandTransfer
from tests.conftest import POOL_SIZE, TICK_HZ, Execute
from tests.persistence.support import GRANT, PRICE, Chronicle, build, claim
from tests.world.support import ADA, BEA, ids
from world.entries import BEGINNING, Change
from world.ledger import ESCROW, HOUSE, TREASURY, Hold, Post
from world.parcels import Parcel
from world.tiles import Build

HISTORY_TABLES = ("journal", "answers", "postings", "accounts", "holds", "parcels", "surfaces")


async def opened(dsn: str) -> tuple[Store, int]:
    store = await Store.open(dsn, POOL_SIZE)
    return store, (await store.open_world(7, TICK_HZ)).epoch


async def counts(sql: Execute) -> dict[str, int]:
    """Rows in each table that entries write."""
    return {table: (await sql(f"SELECT count(*) FROM {table}"))[0][0] for table in HISTORY_TABLES}  # noqa: S608


async def all_parcels(store: Store) -> list[Parcel]:
    return [parcel async for page in store.parcels(lambda _: None) for parcel in page]


@pytest.fixture
def told() -> Chronicle:
    """Ada claims, builds and sets money aside; Bea claims and would give to Ada."""
    told = Chronicle()
    told.do(ADA, claim(0, 0, 2, 1))
    told.do(ADA, build((0, 0, Build.WALL), (31, 0, Build.PATH), (0, 0, Build.FLOOR)))
    told.do(BEA, claim(-4, -4))
    told.set_aside(ADA, 300)
    told.do(BEA, LandTransfer(*ids(), 2, ADA))
    return told


async def test_a_batch_becomes_rows_of_every_table_and_comes_back_as_it_was(
    dsn: str, sql: Execute, told: Chronicle
) -> None:
    store, epoch = await opened(dsn)
    await store.save(epoch, Batch(9, entries=told.entries))
    books, parcels = await store.books(), await all_parcels(store)
    built = await store.all_built(lambda _: None)
    await store.close()
    state = told.world.state
    assert (books.seq, books.digest, books.last_parcel_id) == (5, state.digest, 2)
    assert dict(books.balances) == state.ledger.balances
    assert dict(books.balances) == {
        TREASURY: -2 * GRANT,
        HOUSE: 3 * PRICE,
        ESCROW: 300,
        ADA: GRANT - 2 * PRICE - 300,
        BEA: GRANT - PRICE,
    }
    assert books.holds == [Hold(4, ADA, 300, "a bid")]
    assert parcels == list(state.parcels.by_id.values())
    assert [(parcel.owner_id, parcel.given_to) for parcel in parcels] == [(ADA, None), (BEA, ADA)]
    assert built == [(0, 0, 4, state.chunks.surfaces[0].edited())]
    assert await counts(sql) == {
        "journal": 5,
        "answers": 4,
        "postings": 10,
        "accounts": 5,
        "holds": 1,
        "parcels": 2,
        "surfaces": 1,
    }


async def test_a_batch_sent_again_changes_nothing(dsn: str, sql: Execute, told: Chronicle) -> None:
    """Guard: entries up to world.last_seq are left out in Store.save. Without it the journal refuses the second one."""
    store, epoch = await opened(dsn)
    await store.save(epoch, Batch(9, entries=told.entries))
    before = await counts(sql), await store.books(), await store.all_built(lambda _: None)
    await store.save(epoch, Batch(9, entries=told.entries))
    after = await counts(sql), await store.books(), await store.all_built(lambda _: None)
    await store.close()
    assert before == after


async def test_of_a_batch_that_is_half_known_the_rest_is_written(
    dsn: str, sql: Execute, told: Chronicle
) -> None:
    store, epoch = await opened(dsn)
    await store.save(epoch, Batch(9, entries=told.entries[:2]))
    await store.save(epoch, Batch(9, entries=told.entries))
    stored = await sql("SELECT record::text, digest FROM journal ORDER BY seq")
    await store.close()
    assert [(row["record"].encode(), row["digest"]) for row in stored] == [
        (entry.record, entry.digest) for entry in told.entries
    ]


async def test_an_entry_that_does_not_follow_is_refused_and_nothing_is_written(
    dsn: str, sql: Execute, told: Chronicle
) -> None:
    """Guard: the first new entry must follow world.last_seq, in Store._save_entries."""
    store, epoch = await opened(dsn)
    await store.save(epoch, Batch(9, entries=told.entries[:1]))
    before = await counts(sql)
    with pytest.raises(StoreError, match="entry 3 does not follow 1"):
        await store.save(epoch, Batch(10, entries=told.entries[2:]))
    await store.close()
    assert await counts(sql) == before
    assert [tuple(row) for row in await sql("SELECT tick, last_seq FROM world")] == [(9, 1)]


async def test_a_server_that_lost_its_place_writes_no_entry(dsn: str, sql: Execute, told: Chronicle) -> None:
    """Guard: the epoch in the first statement of Store.save."""
    store, epoch = await opened(dsn)
    await store.open_world(7, TICK_HZ)
    with pytest.raises(Fenced):
        await store.save(epoch, Batch(9, entries=told.entries))
    await store.close()
    assert set((await counts(sql)).values()) == {0}
    assert [tuple(row) for row in await sql("SELECT tick, last_seq, last_digest FROM world")] == [
        (0, 0, BEGINNING)
    ]


BROKEN: dict[str, list[Change]] = {
    "a wallet below zero": [Post(ADA, -1, -1), Post(HOUSE, 1, 1)],
    "postings that do not sum to zero": [Post(TREASURY, -5, -5), Post(ADA, 4, 4)],
    "two parcels on one plot": [Parcel(2, BEA, "Bea", 1, 0, 1, 1, seq=2)],
    "a parcel inside another": [
        Parcel(3, BEA, "Bea", 10, 10, 4, 4, seq=2),
        Parcel(4, BEA, "Bea", 11, 11, 1, 1, seq=2),
    ],
}


@pytest.mark.parametrize("what", BROKEN)
async def test_the_database_itself_refuses(dsn: str, sql: Execute, what: str) -> None:
    """Guards: the checks on accounts, the trigger on postings, parcels_apart; whatever a rule of ours forgets. And one transaction."""
    told = Chronicle()
    [first] = told.do(ADA, claim(0, 0, 2, 1))
    store, epoch = await opened(dsn)
    await store.save(epoch, Batch(9, entries=[first]))
    before = await counts(sql)
    broken = replace(first, seq=2, action_id=b"x" * 16, changes=BROKEN[what])
    with pytest.raises(StoreRefused):
        await store.save(epoch, Batch(10, entries=[broken]))
    await store.close()
    assert await counts(sql) == before
    assert [tuple(row) for row in await sql("SELECT tick, last_seq FROM world")] == [(9, 1)]


async def test_neighbours_share_an_edge_and_parcels_change_places_in_one_entry(dsn: str) -> None:
    """Guards: the quarter of a plot left off in parcels_apart, and that it is asked at the end of the transaction."""
    told = Chronicle()
    told.do(ADA, claim(0, 0))
    told.do(BEA, claim(1, 0))
    one, other = told.world.state.parcels.by_id.values()
    told.happen(replace_place(one, other), replace_place(other, one))
    store, epoch = await opened(dsn)
    for entry in told.entries:
        await store.save(epoch, Batch(9, entries=[entry]))
    parcels = await all_parcels(store)
    await store.close()
    assert [(parcel.px, parcel.owner_id) for parcel in parcels] == [(1, ADA), (0, BEA)]


def replace_place(parcel: Parcel, place: Parcel) -> Parcel:
    return Parcel(
        parcel.parcel_id, parcel.owner_id, parcel.owner_name, place.px, place.py, place.pw, place.ph
    )


async def test_what_is_freed_or_given_back_leaves_its_table(dsn: str, sql: Execute, told: Chronicle) -> None:
    store, epoch = await opened(dsn)
    await store.save(epoch, Batch(9, entries=told.entries))
    last = [*told.give_back(4), *told.do(ADA, LandAbandon(*ids(), 1))]
    await store.save(epoch, Batch(9, entries=last))
    books, parcels = await store.books(), await all_parcels(store)
    await store.close()
    assert (books.holds, books.last_parcel_id) == ([], 2)
    assert [parcel.parcel_id for parcel in parcels] == [2]


async def test_what_comes_and_goes_within_one_batch_leaves_nothing_behind(dsn: str) -> None:
    told = Chronicle()
    told.do(ADA, claim(0, 0))
    told.set_aside(ADA, 300)
    told.give_back(2)
    told.do(ADA, LandAbandon(*ids(), 1))
    store, epoch = await opened(dsn)
    await store.save(epoch, Batch(9, entries=told.entries))
    books, parcels = await store.books(), await all_parcels(store)
    await store.close()
    assert (parcels, books.holds, books.last_parcel_id) == ([], [], 1)


async def test_a_surface_is_the_same_however_its_edits_were_batched_and_after_a_restart(
    dsn: str, told: Chronicle
) -> None:
    """Guard: Store.surfaces is settled with each batch and read again at each start."""
    store, epoch = await opened(dsn)
    for entry in told.entries:
        await store.save(epoch, Batch(9, entries=[entry]))
    await store.close()
    store, epoch = await opened(dsn)
    assert len(await store.all_built(lambda _: None)) == 1
    for place in ((1, 1), (0, 0)):
        await store.save(epoch, Batch(9, entries=told.do(ADA, build((*place, Build.HEDGE)))))
    built = await store.all_built(lambda _: None)
    await store.close()
    surface = told.world.state.chunks.surfaces[0]
    assert built == [(0, 0, surface.version, surface.edited())]


async def test_what_was_built_and_owned_is_read_in_pages_wherever_they_end(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = Chronicle()
    for cx in (-7, 0, 3):
        told.do(ADA, claim(2 * cx, 0))
        told.do(ADA, build((32 * cx, 0, Build.WALL)))
    store, epoch = await opened(dsn)
    await store.save(epoch, Batch(9, entries=told.entries))
    for size in range(1, 5):
        monkeypatch.setattr(store_module, "SURFACES_READ", size)
        monkeypatch.setattr(store_module, "PARCELS_READ", size)
        read: list[int] = []
        assert [row[0] for row in await store.all_built(read.append)] == [-7, 0, 3]
        assert read == [*range(size, 3, size), 3]
        assert [parcel.parcel_id for parcel in await all_parcels(store)] == [1, 2, 3]
    await store.close()


async def test_answers_are_found_by_action_after_a_restart_too(dsn: str, told: Chronicle) -> None:
    store, epoch = await opened(dsn)
    await store.save(epoch, Batch(9, entries=told.entries))
    await store.close()
    store, epoch = await opened(dsn)
    asked = [entry for entry in told.entries if entry.action_id is not None]
    found = await store.find_answers([*(entry.action_id for entry in asked if entry.action_id), b"y" * 16])
    await store.close()
    assert {answer.seq for answer in found.values()} == {1, 2, 3, 5}
    first = asked[0]
    assert found[first.action_id or b""] == StoredAnswer(
        ADA, first.content, 1, f'{{"parcel_id":1,"price":{2 * PRICE}}}'
    )


async def test_an_action_that_was_answered_is_not_stored_a_second_time(
    dsn: str, sql: Execute, told: Chronicle
) -> None:
    """Guard: action_id is the key of answers; should all looking up before fail, nothing is written."""
    store, epoch = await opened(dsn)
    await store.save(epoch, Batch(9, entries=told.entries[:1]))
    again = replace(told.entries[1], action_id=told.entries[0].action_id)
    with pytest.raises(StoreRefused, match="answers_pkey"):
        await store.save(epoch, Batch(10, entries=[again]))
    await store.close()
    assert (await counts(sql))["journal"] == 1


async def test_a_statement_comes_newest_first_by_page(dsn: str, told: Chronicle) -> None:
    store, epoch = await opened(dsn)
    await store.save(epoch, Batch(9, entries=told.entries))
    first = await store.statement(ADA, 2**63 - 1, 2)
    second = await store.statement(ADA, first[-1]["seq"], 2)
    await store.close()
    rows = [(row["seq"], row["kind"], row["amount"], row["balance"]) for row in (*first, *second)]
    assert rows == [
        (4, "test", -300, GRANT - 2 * PRICE - 300),
        (1, "land_claim", -2 * PRICE, GRANT - 2 * PRICE),
        # the page below seq 1 is empty: both postings of entry 1 were not on one page
    ]
    assert second == []


async def test_an_entry_is_read_with_the_digest_before_it(dsn: str, told: Chronicle) -> None:
    store, epoch = await opened(dsn)
    await store.save(epoch, Batch(9, entries=told.entries))
    one, two = told.entries[:2]
    found = [await store.entry(seq) for seq in (1, 2, 6)]
    await store.close()
    assert found == [
        (one.record.decode(), one.digest, BEGINNING),
        (two.record.decode(), two.digest, one.digest),
        None,
    ]


# --- a commit whose outcome nobody was told ---


@pytest.fixture
async def holder(dsn: str, sql: Execute) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    """Whoever commits postings waits, in the COMMIT, for a lock that this connection holds."""
    await sql(
        "CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_advisory_xact_lock(7); RETURN NULL; END $$"
    )
    await sql(
        "CREATE CONSTRAINT TRIGGER hold AFTER INSERT ON answers DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION hold()"
    )
    connection = await asyncpg.connect(dsn)
    await connection.execute("SELECT pg_advisory_lock(7)")
    yield connection
    await connection.close()


async def in_commit(holder: "asyncpg.Connection[asyncpg.Record]", saving: "asyncio.Task[None]") -> int:
    """The process that waits in a COMMIT."""
    query = "SELECT pid FROM pg_stat_activity WHERE query LIKE 'COMMIT%' AND wait_event_type = 'Lock'"
    while not (rows := await holder.fetch(query)):
        assert not saving.done(), "nothing was held in a COMMIT"
    return int(rows[0]["pid"])


async def test_a_commit_that_did_not_come_through_is_found_out_and_done(
    dsn: str, sql: Execute, told: Chronicle, holder: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    store, epoch = await opened(dsn)
    saving = asyncio.create_task(store.save(epoch, Batch(9, entries=told.entries)))
    pid = await in_commit(holder, saving)
    await holder.execute("SELECT pg_terminate_backend($1)", pid)
    with pytest.raises(StoreUnavailable):
        await saving
    await holder.execute("SELECT pg_advisory_unlock(7)")
    assert (await counts(sql))["journal"] == 0
    await store.save(epoch, Batch(9, entries=told.entries))
    assert (await store.books()).seq == 5
    await store.close()


async def test_a_commit_that_came_through_unseen_is_found_out_and_not_done_again(
    dsn: str,
    sql: Execute,
    told: Chronicle,
    holder: "asyncpg.Connection[asyncpg.Record]",
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Our end of the line is cut, Postgres commits all the same. Guard: what world.last_seq has passed is left out in Store.save."""
    store, epoch = await opened(dsn)
    saving = asyncio.create_task(store.save(epoch, Batch(9, entries=told.entries)))
    await in_commit(holder, saving)
    store._pool.terminate()
    with pytest.raises(StoreUnavailable):
        await saving
    await holder.execute("SELECT pg_advisory_unlock(7)")
    store = await Store.open(dsn, POOL_SIZE)
    await store.save(
        epoch, Batch(9, entries=told.entries)
    )  # waits for the world row until the cut one is over
    books = await store.books()
    await store.close()
    assert (books.seq, books.digest) == (5, told.world.state.digest)
    assert await sql("SELECT 1 FROM answers GROUP BY action_id HAVING count(*) > 1") == []
    assert dict(books.balances) == told.world.state.ledger.balances


# --- partitions ---


async def test_the_journal_goes_on_in_the_next_partition_while_somebody_reads(
    dsn: str, sql: Execute, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guard: a partition is attached, not made as one: that would wait for every reader, a backup's hour if need be."""
    monkeypatch.setattr(store_module, "PARTITION_ENTRIES", 3)
    await sql("DROP TABLE journal_0")
    told = Chronicle()
    for px in range(7):
        told.do(ADA, claim(2 * px, 0))
    store, epoch = await opened(dsn)
    await store.save(epoch, Batch(9, entries=told.entries[:2]))
    reader = await asyncpg.connect(dsn)
    async with reader.transaction():
        assert await reader.fetchval("SELECT count(*) FROM journal") == 2
        await store.save(epoch, Batch(9, entries=told.entries[2:]))
    await reader.close()
    rows = await sql("SELECT tableoid::regclass::text AS name, seq FROM journal ORDER BY seq")
    await store.close()
    assert [(row["name"], row["seq"]) for row in rows] == [
        (f"journal_{seq // 3}", seq) for seq in range(1, 8)
    ]
