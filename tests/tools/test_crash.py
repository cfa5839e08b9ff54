"""What `landworld crash` would find: each broken promise, made by hand, is named; and a world in order has none."""

import asyncio
from random import Random

import pytest

from protocol.edits import CHUNK_EDIT, pack
from protocol.errors import RefusalCode
from protocol.messages import (
    Chunk,
    ChunkEdits,
    Delivery,
    LandClaim,
    LandFreed,
    Ok,
    Refused,
    Role,
    Snapshot,
    WalletChanged,
    Welcome,
)
from tests.conftest import Execute
from tests.tools.test_audit import store_history
from tools.built import Known
from tools.crash import _kinds
from tools.crash.audit import Audit, Entry
from tools.crash.faults import POSTGRES, SERVER
from tools.crash.oracle import Asked, Oracle
from tools.crash.outages import Outage
from world.tiles import VERSION_BARE, Build

ADA = 7
ACTION = b"0123456789abcdef"
CLAIM = LandClaim(1, ACTION, 0, 16, 16, 16)
RESULT = {"parcel_id": 1, "price": 5}
PARCEL = {"type": "parcel", "parcel_id": 1, "owner_id": ADA, "px": 0, "py": 1, "pw": 1, "ph": 1}
PAID = {"type": "post", "account": ADA, "amount": -5, "balance": 0}
ENTRY = Entry(1, "land_claim", ADA, ACTION, [PARCEL, PAID], RESULT, 1)


class Read(Audit):
    """An audit that has read these entries; there is no database."""

    def __init__(self, *entries: Entry) -> None:
        super().__init__()
        self.entries = {entry.seq: entry for entry in entries}
        self.by_action = {entry.action_id: entry for entry in entries}
        self.seq = len(entries)

    async def read(self, dsn: str) -> None:
        """Nothing more."""


def asks() -> tuple[Oracle, Asked]:
    """Ada has asked for a plot."""
    oracle, asked = Oracle(), Asked(ADA, CLAIM)
    oracle.asks(asked)
    return oracle, asked


def found(oracle: Oracle, *entries: Entry) -> list[str]:
    """The promises that are broken when this is stored."""
    asyncio.run(oracle.check(Read(*entries), ""))
    return oracle.violations


def test_what_was_acknowledged_and_is_stored_is_fine() -> None:
    oracle, asked = asks()
    assert oracle.done(asked, Ok(1, 1, RESULT))
    assert not oracle.done(asked, Ok(2, 1, RESULT))
    assert found(oracle, ENTRY) == []


def test_what_was_acknowledged_and_is_not_stored_is_named() -> None:
    oracle, asked = asks()
    oracle.done(asked, Ok(1, 1, RESULT))
    (text,) = found(oracle)
    assert ACTION.hex() in text
    assert text.endswith("is not in the journal")


def test_what_was_acknowledged_and_is_stored_elsewhere_is_named() -> None:
    oracle, asked = asks()
    oracle.done(asked, Ok(1, 2, RESULT))
    (text,) = found(oracle, ENTRY)
    assert "the journal has 1" in text


def test_another_answer_to_the_same_action_is_named() -> None:
    oracle, asked = asks()
    oracle.done(asked, Ok(1, 1, RESULT))
    oracle.done(asked, Ok(2, 2, RESULT))
    oracle.refused(asked, Refused(3, RefusalCode.TAKEN, "no"))
    assert ["and then ok 2" in oracle.violations[0], "and then refused" in oracle.violations[1]] == [
        True,
        True,
    ]


def test_what_was_refused_and_is_done_is_named() -> None:
    oracle, asked = asks()
    oracle.refused(asked, Refused(1, RefusalCode.TAKEN, "no"))
    (text,) = found(oracle, ENTRY)
    assert text.endswith("was refused, and was done")


def test_later_without_a_time_is_named() -> None:
    oracle, asked = asks()
    oracle.refused(asked, Refused(1, RefusalCode.UNAVAILABLE, "away"))
    assert not asked.decided
    assert "without a time to retry" in oracle.violations[0]


@pytest.mark.parametrize("news", [LandFreed(1), WalletChanged(0, 0, 1)])
def test_news_of_what_is_not_stored_is_named(news: LandFreed | WalletChanged) -> None:
    oracle, _ = asks()
    oracle.saw(ADA, news)
    (text,) = found(oracle)
    assert text.endswith("which is not in the journal")


def test_what_nobody_asked_for_is_named() -> None:
    (text,) = found(Oracle(), ENTRY)
    assert text.endswith("which nobody asked for")


def test_what_is_done_in_another_way_than_asked_is_named() -> None:
    oracle, _ = asks()
    elsewhere = Entry(1, "land_claim", ADA, ACTION, [PARCEL | {"px": 3}, PAID], RESULT, 1)
    (text,) = found(oracle, elsewhere)
    assert "is not what was asked for" in text


def test_a_restart_before_what_was_acknowledged_is_named() -> None:
    oracle, asked = asks()
    oracle.done(asked, Ok(1, 9, RESULT))
    for durable_seq in (9, 8):
        epoch = 20 - durable_seq
        oracle.welcomed(Welcome(ADA, "Ada", Role.USER, 0, 0, 1, 20, epoch, durable_seq, "", {}))
    (text,) = oracle.violations
    assert text == "epoch 12 begins at 8; 9 was acknowledged before"


def keeps(built_id: str) -> Known:
    """A client that was told of a path and a wall in chunk (0, 0), and comes back to a server of this name."""
    known = Known()
    known.enter("first")
    known.hear(Snapshot(1, 0, 0, b""), 0)
    assert list(known.wanted()) == [((0, 0), None)]
    known.hear(Chunk(0, 0, VERSION_BARE, b""), 0)
    known.answered((0, 0), {"delivery": Delivery.WHOLE, "version": VERSION_BARE})
    known.hear(ChunkEdits(0, 0, 1, 3, pack([(5, Build.PATH), (6, Build.WALL)], CHUNK_EDIT)), 0)
    known.enter(built_id)
    known.hear(Snapshot(1, 0, 0, b""), 0)
    return known


def test_what_a_client_keeps_beside_what_is_stored_is_named() -> None:
    audit = Read()
    audit.versions[0, 0], audit.surfaces[0, 0] = 3, {5: Build.PATH, 7: Build.FENCE}
    known = keeps("first")
    assert list(known.wanted()) == [((0, 0), 3)]
    known.answered((0, 0), {"delivery": Delivery.CURRENT, "version": 3})
    (text,) = Oracle().built(ADA, known, audit)
    assert "takes Held(version=3" in text


def test_what_another_start_told_counts_as_bare_until_it_is_told_anew() -> None:
    """Guard: Known.enter."""
    audit = Read()
    audit.versions[0, 0], audit.surfaces[0, 0] = 3, {5: Build.PATH, 7: Build.FENCE}
    known = keeps("second")
    assert list(known.wanted()) == [((0, 0), VERSION_BARE)]
    known.hear(ChunkEdits(0, 0, 1, 3, pack([(5, Build.PATH), (7, Build.FENCE)], CHUNK_EDIT)), 0)
    known.answered((0, 0), {"delivery": Delivery.EDITS, "version": 3})
    oracle = Oracle()
    assert list(oracle.built(ADA, known, audit)) == []
    assert oracle.compared == 1


def test_what_is_out_of_sight_is_asked_for_again_and_not_compared() -> None:
    """Guard: Known._sees."""
    known = keeps("first")
    list(known.wanted())
    known.answered((0, 0), {"delivery": Delivery.CURRENT, "version": 3})
    assert [place for place, _ in known.checked()] == [(0, 0)]
    known.hear(Snapshot(1, 5, 5, b""), 0)
    assert list(known.checked()) == []
    known.hear(Snapshot(1, 0, 0, b""), 0)
    assert list(known.wanted()) == [((0, 0), 3)]


def test_a_chunk_that_a_crash_made_bare_again_is_bare() -> None:
    known = keeps("second")
    assert list(known.wanted()) == [((0, 0), VERSION_BARE)]
    known.answered((0, 0), {"delivery": Delivery.CURRENT, "version": VERSION_BARE})
    assert list(Oracle().built(ADA, known, Read())) == []


@pytest.mark.parametrize(
    ("unavailable_ms", "moved_gap_ms", "late_ms", "named"),
    [
        (1_600, 100, 0, []),
        (2_040, 540, 0, []),
        (None, 100, 0, ["nobody was told that the database is away"]),
        (2_100, 100, 0, ["the first was told after 2100 ms that the database is away"]),
        (1_600, 600, 0, ["somebody's walking stood still for 600 ms"]),
        (2_400, 900, 400, []),
    ],
)
def test_an_outage_is_told_within_two_seconds_and_stops_nobody(
    unavailable_ms: int | None, moved_gap_ms: int, late_ms: float, named: list[str]
) -> None:
    """Guards: Outage.judge, which adds TICK_MS and no more.

    Before it, walking could stand still for half of an outage, and the first be told at its end.
    """
    outage = Outage("hangs", Oracle(), unavailable_ms=unavailable_ms, moved_gap_ms=moved_gap_ms)
    assert list(outage.judge(late_ms)) == named


# --- the audit, against a real database ---------------------------------------------------------------------------------------


async def test_a_world_in_order_has_nothing_wrong_also_read_in_two_parts(dsn: str) -> None:
    audit = Audit()
    await store_history(dsn)
    for _ in range(2):
        await audit.read(dsn)
        assert audit.violations == []
    assert (audit.seq, len(audit.parcels)) == (3, 3)


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        ("DELETE FROM journal WHERE seq = 2", "entry 3 comes after entry 1"),
        (
            "UPDATE journal SET record = replace(record::text, 'Ada', 'Eve')::json WHERE seq = 2",
            "does not chain",
        ),
        ("UPDATE world SET last_seq = 2", "its journal ends at 2; it ends at 3"),
        ("DELETE FROM answers WHERE seq = 2", "0 too many, 1 missing"),
        ("UPDATE answers SET result = '{}' WHERE seq = 2", "1 too many, 1 missing"),
        ("DELETE FROM postings WHERE seq = 2", "postings after entry 0"),
        ("UPDATE accounts SET balance = balance + 1 WHERE account_id = -2", "accounts: 1 rows"),
        ("UPDATE accounts SET balance = balance + 1 WHERE account_id = -2", "all balances together are 1"),
        ("DELETE FROM parcels WHERE parcel_id = 2", "parcels: 1 rows"),
        ("INSERT INTO surfaces VALUES (0, 0, 2, '\\x000001')", "surfaces: 1 rows"),
        ("INSERT INTO holds VALUES (9, 7, 5, 'none')", "holds: 1 rows"),
    ],
)
async def test_what_is_changed_behind_the_journal_is_named(
    statement: str, named: str, dsn: str, sql: Execute
) -> None:
    await store_history(dsn)
    await sql(statement)
    audit = Audit()
    await audit.read(dsn)
    assert [text for text in audit.violations if named in text], audit.violations


async def test_what_was_read_and_is_gone_is_named(dsn: str, sql: Execute) -> None:
    await store_history(dsn)
    audit = Audit()
    await audit.read(dsn)
    await sql("DELETE FROM journal WHERE seq = 3")
    await audit.read(dsn)
    assert audit.violations[0] == "entry 3 was stored and is another now, or gone"


def test_every_kind_of_fault_comes_in_turn() -> None:
    kinds = list(_kinds(12, 4, Random(1)))  # noqa: S311
    assert sorted(kind.name for kind in kinds) == sorted(kind.name for kind in (*SERVER, *SERVER, *POSTGRES))
