"""The audit finds what was changed behind the server's back, and names it."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import asyncpg
import pytest

from persistence import history as history_module
from persistence.audit import Findings, audit
from persistence.history import NoWorld
from persistence.migrations import go_back
from persistence.store import Batch, SchemaMismatch, Store
from protocol.messages import LandAbandon, MarketEdit, MarketList
from tests.conftest import POOL_SIZE, TICK_HZ, Execute
from tests.persistence.support import Chronicle, build, claim
from tests.world.support import ADA, BEA, ids
from world.entries import chained
from world.tiles import Build


def nobody_looks(done: int, of: int) -> None:
    """No progress is shown."""


@pytest.fixture
async def history(dsn: str, monkeypatch: pytest.MonkeyPatch) -> Chronicle:
    """Ten entries of all kinds, stored; pages of the audit are three entries long."""
    monkeypatch.setattr(history_module, "PAGE_ROWS", 3)
    told = Chronicle()
    told.do(ADA, claim(0, 0, 2, 1))  # 1
    told.do(BEA, claim(-4, -4))  # 2
    told.do(ADA, build((0, 0, Build.WALL), (31, 0, Build.PATH)))  # 3
    told.set_aside(ADA, 300)  # 4
    told.set_aside(BEA, 500)  # 5
    told.give_back(4)  # 6
    told.do(BEA, claim(8, 8))  # 7
    told.do(ADA, build((0, 0, Build.NOTHING)))  # 8
    told.do(BEA, LandAbandon(*ids(), 3))  # 9
    told.do(ADA, claim(12, 12))  # 10
    await stored(dsn, told)
    return told


async def stored(dsn: str, told: Chronicle) -> None:
    store = await Store.open(dsn, POOL_SIZE)
    await store.save((await store.open_world(7, TICK_HZ)).epoch, Batch(10, entries=told.entries))
    await store.close()


async def test_a_history_that_was_left_alone_is_well(dsn: str, history: Chronicle) -> None:
    seen: list[tuple[int, int]] = []
    found = await audit(dsn, lambda done, of: seen.append((done, of)))
    assert found == Findings(10, 1, 10, history.world.state.digest)
    assert seen == [(3, 10), (6, 10), (9, 10), (10, 10)]


TAMPERED = {
    "when": (
        "UPDATE journal SET written_at = written_at - interval '3 days' WHERE seq = 5",
        ["entry 5 was written, it says, earlier than the entry before"],
    ),
    "an epoch ahead": (
        "UPDATE journal SET epoch = 77 WHERE seq = 5",
        ["entry 5 is of an epoch that the world has not come to", "entry 6 is of an earlier epoch"],
    ),
    "an epoch of before": (
        "UPDATE journal SET epoch = 0 WHERE seq = 10",
        ["entry 10 is of an earlier epoch than the entry before"],
    ),
    "a record": (
        """UPDATE journal SET record = replace(record::text, '"amount":-300', '"amount":-200')::json WHERE seq = 4""",
        [
            "entry 4 does not fit its digest",
            "entry 4 (test): account 1 held 9800, -200 came, and 9500 is said to be there",
            "entry 4 (test): its postings sum to 100 poisha",
            "posting 0 of entry 4 is -300 to account 1",
        ],
    ),
    "a digest": (
        "UPDATE journal SET digest = decode(repeat('ab', 32), 'hex') WHERE seq = 6",
        ["entry 6 does not fit its digest", "entry 7 does not fit its digest"],
    ),
    "an entry missing": (
        "DELETE FROM journal WHERE seq = 9",
        [
            "entry 9 is missing",
            "the answer to action 0000",
            "parcel 3 is missing in its table",
        ],
    ),
    "several missing": ("DELETE FROM journal WHERE seq IN (2, 3)", ["entries 2 to 3 are missing"]),
    "the last missing": ("DELETE FROM journal WHERE seq = 10", ["entry 10 is missing at the end"]),
    "one too many": (
        "INSERT INTO journal SELECT 11, epoch, written_at, record, digest FROM journal WHERE seq = 10",
        [
            "entry 11 does not fit its digest",
            "entry 11 calls itself 10",
            "entry 11 is too many: the world ends with 10",
        ],
    ),
    "nonsense": (
        "UPDATE journal SET record = '[1]' WHERE seq = 5",
        ["entry 5 does not fit its digest", "entry 5 cannot be read", "posting 0 of entry 5"],
    ),
    "a balance": (
        "UPDATE accounts SET balance = balance + 1 WHERE account_id = 1",
        ["account 1 is not in its table as the journal says: balance is 9701, but should be 9700"],
    ),
    "an account from nowhere": (
        "INSERT INTO accounts VALUES (99, 5, 1)",
        ["account 99 is in its table, but"],
    ),
    "no account": ("DELETE FROM accounts WHERE account_id = -2", ["account -2 is missing"]),
    "a hold": (
        "UPDATE holds SET amount = 501",
        ["hold 5 is not in its table as the journal says: amount is 501, but should be 500"],
    ),
    "no hold": ("DELETE FROM holds", ["hold 5 is missing"]),
    "a parcel": (
        "UPDATE parcels SET owner_id = 1 WHERE parcel_id = 2",
        ["parcel 2 is not in its table as the journal says: owner_id is 1, but should be 2"],
    ),
    "a parcel's JSON": (
        """UPDATE parcels SET parcel = replace(parcel::text, 'Bea', 'Eve')::json WHERE parcel_id = 2""",
        ["parcel 2 is not in its table as the journal says: owner_name is 'Eve', but should be 'Bea'"],
    ),
    "no parcel": ("DELETE FROM parcels WHERE parcel_id = 4", ["parcel 4 is missing"]),
    "a surface": (r"UPDATE surfaces SET edits = '\x000004'", ["what stands on chunk (0, 0) is not"]),
    "a surface's version": (
        "UPDATE surfaces SET version = version + 1",
        ["what stands on chunk (0, 0) is not"],
    ),
    "a surface from nowhere": (
        r"INSERT INTO surfaces VALUES (5, 5, 2, '\x000001')",
        ["what stands on chunk (5, 5) is in its table, but"],
    ),
    "a posting": (
        "UPDATE postings SET amount = 7 WHERE seq = 7 AND place = 1",
        ["posting 1 of entry 7 is 7 to account -2"],
    ),
    "no posting": (
        "DELETE FROM postings WHERE seq = 7 AND place = 0",
        ["posting 0 of entry 7 is nowhere, but should be -100"],
    ),
    "a posting too many": (
        "INSERT INTO postings VALUES (99, 0, 1, 0, 9)",
        ["posting 0 of entry 99 belongs to no entry"],
    ),
    "an answer": ("UPDATE answers SET result = '{}' WHERE seq = 2", ["the answer to entry 2 is not the one"]),
    "whose answer": (
        "UPDATE answers SET player_id = 9 WHERE seq = 2",
        ["the answer to entry 2 is not the one"],
    ),
    "no answer": ("DELETE FROM answers WHERE seq = 2", ["the answer to entry 2 is missing"]),
    "an answer too many": (
        """
        INSERT INTO answers (action_id, player_id, content_digest, seq, result)
        VALUES (decode(repeat('ee', 16), 'hex'), 1, '', 3, '{}')
        """,
        ["the answer to action eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee names entry 3"],
    ),
    "the world's place": ("UPDATE world SET last_seq = 12", ["entries 11 to 12 are missing at the end"]),
    "the world's digest": (
        "UPDATE world SET last_digest = decode(repeat('00', 32), 'hex')",
        ["the world's last digest is not that of entry 10"],
    ),
    "the last parcel": ("UPDATE world SET last_parcel_id = 3", ["parcel 4 was made, but"]),
}


SOLD_OTHERWISE = {
    "a sale": (
        "UPDATE sales SET seller_id = 2",
        ["sale 2 is not in its table as the journal says: seller_id is 2, but should be 1"],
    ),
    "a sale's JSON": (
        """UPDATE sales SET sale = replace(sale::text, '"price":700', '"price":70')::json""",
        ["sale 2 is not in its table as the journal says: price is 70, but should be 700"],
    ),
    "no sale": ("DELETE FROM sales", ["sale 2 is missing"]),
    "a sale from nowhere": (
        "INSERT INTO sales SELECT 9, 9, 9, sale FROM sales",
        ["sale 9 is in its table, but"],
    ),
}


@pytest.mark.parametrize("what", SOLD_OTHERWISE)
async def test_whatever_is_changed_of_what_is_for_sale_is_found_and_named(
    dsn: str, sql: Execute, what: str
) -> None:
    """Guards: the row of sales in _projections."""
    told = Chronicle()
    told.do(ADA, claim(0, 0))
    told.do(ADA, MarketList(*ids(), 1, 500))
    told.do(ADA, MarketEdit(*ids(), 2, 700))
    await stored(dsn, told)
    assert (await audit(dsn, nobody_looks)).troubles == []
    statement, expected = SOLD_OTHERWISE[what]
    await sql(statement)
    troubles = (await audit(dsn, nobody_looks)).troubles
    assert [text in said for text, said in zip(expected, troubles, strict=True)] == [True]


@pytest.mark.parametrize("what", TAMPERED)
async def test_whatever_is_changed_is_found_and_named(
    dsn: str, sql: Execute, history: Chronicle, what: str
) -> None:
    """Guards: every comparison of audit.py and every doubt of fold.py, one case each."""
    statement, expected = TAMPERED[what]
    await sql(statement)
    found = await audit(dsn, nobody_looks)
    assert found.troubles[0].startswith(expected[0]), found.troubles
    for beginning in expected:
        assert any(trouble.startswith(beginning) for trouble in found.troubles), found.troubles


async def rewritten(dsn: str, changed: str, into: str, seq: int) -> None:
    """Somebody changes an entry and makes all digests after it fit, the world's too."""
    connection = await asyncpg.connect(dsn)
    before = await connection.fetchval("SELECT digest FROM journal WHERE seq = $1", seq - 1)
    for row in await connection.fetch(
        "SELECT seq, record::text FROM journal WHERE seq >= $1 ORDER BY seq", seq
    ):
        record = row["record"].replace(changed, into) if row["seq"] == seq else row["record"]
        before = chained(before, record.encode())
        await connection.execute(
            "UPDATE journal SET record = $2::text::json, digest = $3 WHERE seq = $1",
            row["seq"],
            record,
            before,
        )
    await connection.execute("UPDATE world SET last_digest = $1", before)
    await connection.close()


@pytest.mark.parametrize(
    ("seq", "changed", "into", "expected"),
    [
        (
            9,
            '"parcel_id":3',
            '"parcel_id":9',
            "entry 9 (land_abandon): parcel 9 is freed, but there was none",
        ),
        (6, '"hold_id":4', '"hold_id":3', "entry 6 (test): hold 3 ends, but there was none"),
        (
            6,
            '"state":"voided"',
            '"state":"posted"',
            "entry 6 (test): hold 4 is said to be posted, but it is voided",
        ),
        (
            4,
            '"state":"pending"',
            '"state":"voided"',
            "entry 4 (test): hold 4 is said to be voided, but it is pending",
        ),
        (8, '"version":4', '"version":6', "entry 8 (tile_edit): chunk (0, 0) goes from version 3 to 6"),
        (10, '"px":12,"py":12', '"px":0,"py":0', "parcels 1 and 4 lie on one plot"),
        (5, '"amount":500,"why"', '"amount":900,"why"', "holds of 900 poisha against 500 in escrow"),
    ],
)
async def test_a_history_that_was_written_anew_is_found_where_it_cannot_be_true(
    dsn: str, history: Chronicle, seq: int, changed: str, into: str, expected: str
) -> None:
    """Its digests fit. Guards: each of the doubts in fold.py, overlaps, and the ledger's own breaches."""
    await rewritten(dsn, changed, into, seq)
    found = await audit(dsn, nobody_looks)
    assert [trouble for trouble in found.troubles if trouble.startswith(expected)], found.troubles
    assert not [trouble for trouble in found.troubles if "digest" in trouble]


async def test_more_troubles_than_anybody_reads_are_counted(
    dsn: str, sql: Execute, history: Chronicle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("persistence.audit.TROUBLES_MAX", 2)
    await sql("DELETE FROM answers")
    found = await audit(dsn, nobody_looks)
    assert (len(found.troubles), found.more) == (2, 5)


async def test_an_audit_sees_one_moment_while_a_server_goes_on(dsn: str, history: Chronicle) -> None:
    """Guard: one REPEATABLE READ transaction. What is committed while it looks would seem too many."""
    more = [entry for place in range(4) for entry in history.do(ADA, claim(20 + 2 * place, 0))]

    async def go_on() -> None:
        store = await Store.open(dsn, POOL_SIZE)
        await store.save((await store.open_world(7, TICK_HZ)).epoch, Batch(11, entries=more))
        await store.close()

    def meanwhile(done: int, _: int) -> None:
        if done == 3:
            with ThreadPoolExecutor(1) as thread:
                thread.submit(asyncio.run, go_on()).result()

    found = await audit(dsn, meanwhile)
    assert (found.entries, found.troubles) == (10, [])
    assert (await audit(dsn, nobody_looks)).entries == 14


async def test_a_clock_that_was_set_back_is_no_change_by_hand(
    dsn: str, sql: Execute, history: Chronicle
) -> None:
    """Guard: `greatest` in Store.save. The time an entry was written never goes down, whatever the clock does."""
    await sql("UPDATE journal SET written_at = now() + interval '3 days' WHERE seq = 10")
    more = history.do(ADA, claim(20, 0))
    store = await Store.open(dsn, POOL_SIZE)
    await store.save((await store.open_world(7, TICK_HZ)).epoch, Batch(11, entries=more))
    await store.close()
    assert (await audit(dsn, nobody_looks)).troubles == []


async def test_tables_of_another_version_and_an_empty_database_are_told(dsn: str) -> None:
    with pytest.raises(NoWorld, match="no world in this database yet"):
        await audit(dsn, nobody_looks)
    await go_back(dsn, print, "0002", agreed=True)
    with pytest.raises(SchemaMismatch, match=r"version 0002.*landworld migrate upgrade"):
        await audit(dsn, nobody_looks)
