"""Pruning forgets the oldest history; what is left proves itself as before."""

from pathlib import Path

import asyncpg
import pytest

from persistence import prune as prune_module
from persistence import store as store_module
from persistence.archive import backup, examine, restore
from persistence.audit import audit
from persistence.prune import Doubtful, Pruned, prune
from persistence.store import Batch, Store, StoreUnavailable
from protocol.messages import LandAbandon, MarketList
from tests.conftest import POOL_SIZE, TICK_HZ, Execute
from tests.persistence.support import Chronicle, build, claim
from tests.persistence.test_audit import nobody_looks
from tests.world.support import ADA, BEA, ids
from world.entries import Entry
from world.tiles import Build


@pytest.fixture
async def history(dsn: str, sql: Execute, monkeypatch: pytest.MonkeyPatch) -> Chronicle:
    """Ten entries in partitions of three: 1-2, 3-5, 6-8, 9-10. The first five are 40 days old, the next three 20."""
    monkeypatch.setattr(store_module, "PARTITION_ENTRIES", 3)
    await sql("DROP TABLE journal_0")
    told = Chronicle()
    told.do(ADA, claim(0, 0, 2, 1))  # 1
    told.do(BEA, claim(-4, -4))  # 2
    told.do(ADA, build((0, 0, Build.WALL), (31, 0, Build.PATH)))  # 3
    told.set_aside(ADA, 300)  # 4
    told.set_aside(BEA, 500)  # 5
    told.do(BEA, LandAbandon(*ids(), 2))  # 6
    told.do(ADA, MarketList(*ids(), 1, 500))  # 7
    told.give_back(4)  # 8
    told.do(ADA, build((0, 0, Build.NOTHING)))  # 9
    told.do(ADA, claim(12, 12))  # 10
    await save(dsn, told.entries)
    await sql("UPDATE journal SET written_at = now() - interval '40 days' WHERE seq < 6")
    await sql("UPDATE journal SET written_at = now() - interval '20 days' WHERE seq BETWEEN 6 AND 8")
    return told


async def save(dsn: str, entries: list[Entry]) -> None:
    store = await Store.open(dsn, POOL_SIZE)
    await store.all_built(lambda _: None)
    await store.save((await store.open_world(7, TICK_HZ)).epoch, Batch(10, entries=entries))
    await store.close()


async def kept(sql: Execute) -> list[int]:
    return [row["seq"] for row in await sql("SELECT seq FROM journal ORDER BY seq")]


@pytest.mark.parametrize(
    ("keep_days", "expected", "left"),
    [
        (50.0, Pruned(0, 0, 0), range(1, 11)),
        (30.0, Pruned(5, 2, 5), range(6, 11)),
        (10.0, Pruned(8, 3, 8), range(9, 11)),
        (0.0, Pruned(8, 3, 8), range(9, 11)),  # never the newest
    ],
)
async def test_whole_partitions_go_that_are_old_and_the_audit_holds(
    dsn: str, sql: Execute, history: Chronicle, keep_days: float, expected: Pruned, left: range
) -> None:
    """Guards: the opening that takes their place; the newest partition stays."""
    assert await prune(dsn, keep_days, print) == expected
    assert await kept(sql) == list(left)
    found = await audit(dsn, nobody_looks)
    assert (found.troubles, found.entries, found.first_seq) == ([], len(left), left[0])
    assert found.digest == history.world.state.digest
    old = await sql(f"SELECT 1 FROM postings WHERE seq < {left[0]}")  # noqa: S608
    assert old == []


async def test_a_pruned_world_goes_on_is_pruned_again_and_comes_back_from_a_backup(
    dsn: str, empty_dsn: str, sql: Execute, history: Chronicle, tmp_path: Path
) -> None:
    await prune(dsn, 30.0, print)
    await save(dsn, history.do(BEA, claim(20, 0)) + history.do(ADA, build((2, 0, Build.FENCE))))
    assert await prune(dsn, 10.0, print) == Pruned(3, 1, 8)
    assert await kept(sql) == [9, 10, 11, 12]
    assert (await audit(dsn, nobody_looks)).troubles == []
    await backup(dsn, tmp_path / "world.zip", {}, 1, print)
    with pytest.MonkeyPatch.context() as usual:
        usual.setattr(store_module, "PARTITION_ENTRIES", 1_000_000)
        await restore(empty_dsn, tmp_path / "world.zip", examine(tmp_path / "world.zip"), print)
    found = await audit(empty_dsn, nobody_looks)
    assert (found.troubles, found.first_seq, found.last_seq) == ([], 9, 12)


async def test_what_is_asked_of_a_pruned_journal(dsn: str, history: Chronicle) -> None:
    """Answers stay for ever; statements begin later and say where; the first entry that is kept still has a receipt."""
    await prune(dsn, 10.0, print)
    store = await Store.open(dsn, POOL_SIZE)
    first = history.entries[0]
    assert first.action_id is not None
    assert (await store.find_answers([first.action_id]))[first.action_id].seq == 1
    assert [row["seq"] for row in await store.statement(ADA, 2**63 - 1, 50)] == [10]
    assert await store.first_seq() == 9
    assert await store.entry(8) is None
    ninth = await store.entry(9)
    await store.close()
    assert ninth is not None
    assert ninth[2] == history.entries[7].digest


OPENINGS = {
    "a balance": (
        """replace(change::text, '"balance":9500', '"balance":9501')""",
        "account 1",
    ),
    "a parcel": ("""replace(change::text, '"owner_name":"Ada"', '"owner_name":"Eve"')""", "parcel 1"),
    "what stands": ("""replace(change::text, '"version":3', '"version":2')""", "chunk (0, 0)"),
}


@pytest.mark.parametrize("what", OPENINGS)
async def test_an_opening_that_was_changed_is_found(
    dsn: str, sql: Execute, history: Chronicle, what: str
) -> None:
    into, named = OPENINGS[what]
    await prune(dsn, 30.0, print)
    await sql(f"UPDATE journal_opening SET change = ({into})::json")  # noqa: S608
    found = await audit(dsn, nobody_looks)
    assert any(named in trouble for trouble in found.troubles), found.troubles


async def test_the_first_entry_that_is_kept_is_chained_to_what_is_gone(
    dsn: str, sql: Execute, history: Chronicle
) -> None:
    await prune(dsn, 30.0, print)
    await sql("DELETE FROM journal WHERE seq = 6")
    assert (await audit(dsn, nobody_looks)).troubles[0] == "entry 6 is missing"


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        (
            "UPDATE journal SET digest = decode(repeat('ab', 32), 'hex') WHERE seq = 2",
            "entry 2 does not fit its digest",
        ),
        ("DELETE FROM journal WHERE seq = 4", "entry 4 is missing"),
        ("UPDATE journal SET record = '[]' WHERE seq = 4", "entry 4 does not fit"),
    ],
)
async def test_nothing_is_forgotten_that_is_in_doubt(
    dsn: str, sql: Execute, history: Chronicle, statement: str, words: str
) -> None:
    """Guard: prune folds and checks what it forgets. Else a forgery would become the opening, and true."""
    await sql(statement)
    before = await kept(sql)
    with pytest.raises(Doubtful, match=words):
        await prune(dsn, 30.0, print)
    assert await kept(sql) == before
    assert [tuple(row) for row in await sql("SELECT seq FROM journal_pruned")] == [(0,)]


async def test_whoever_reads_the_journal_is_not_waited_for(
    dsn: str, sql: Execute, history: Chronicle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guard: LOCK_MS. Without it the drop would wait for the reader, and the server's next save for the drop."""
    monkeypatch.setattr(prune_module, "LOCK_TRIES", 2)
    monkeypatch.setattr(prune_module, "LOCK_PAUSE_S", 0.0)
    reader = await asyncpg.connect(dsn)
    async with reader.transaction():
        await reader.fetch("SELECT seq FROM journal LIMIT 1")
        with pytest.raises(StoreUnavailable, match="somebody reads the journal"):
            await prune(dsn, 30.0, print)
    await reader.close()
    assert len(await kept(sql)) == 10
    assert await sql("SELECT 1 FROM journal_opening") == []
    assert (await prune(dsn, 30.0, print)).entries == 5


async def test_a_prune_that_was_killed_before_it_had_swept_is_finished_by_the_next(
    dsn: str, sql: Execute, history: Chronicle, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def killed(_: str) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr(prune_module, "_sweep", killed)
        with pytest.raises(KeyboardInterrupt):
            await prune(dsn, 30.0, print)
    assert (await audit(dsn, nobody_looks)).troubles == []
    assert await sql("SELECT 1 FROM postings WHERE seq < 6") != []
    monkeypatch.setattr(prune_module, "SWEEP_ROWS", 2)
    assert await prune(dsn, 30.0, print) == Pruned(0, 0, 5)
    assert await sql("SELECT 1 FROM postings WHERE seq < 6") == []
