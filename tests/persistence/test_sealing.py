"""Private values: sealed for one place, found by a hash, and brought under another key beside a server that writes."""

import re
import subprocess
import sys

import asyncpg
import pytest

from persistence import reseal as reseal_module
from persistence.keyring import RIPE_MS, Key, Ring
from persistence.reseal import keys_in_use, reseal
from persistence.sealing import (
    COLUMNS,
    HEAD_BYTES,
    NONCE_BYTES,
    TEXT_BYTES_MAX,
    Column,
    Damaged,
    KeyMissing,
    Sealer,
)
from tests.conftest import Execute

NOW_MS = 1_800_000_000_000
OLD, NEW = Key(b"o" * 32, 1), Key(b"n" * 32, 2)
LOOKUP = b"l" * 32
SEALER = Sealer(Ring((OLD,)), LOOKUP)
ROTATED = Sealer(Ring((OLD, NEW)), LOOKUP)
MAIL = Column("mail", "letters", "mail_sealed", "letter_id")
NOTE = Column("note", "notes", "note_sealed", "name", "text")
OF_TESTS = (MAIL, NOTE)
ADA = "ada@example.org"


# --- one value ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", ADA, "\0", "grüße \U0001f333", "x" * TEXT_BYTES_MAX])
def test_what_was_sealed_opens_again_and_shows_nothing_of_itself(text: str) -> None:
    sealed = SEALER.seal(MAIL, 7, text)
    assert SEALER.open(MAIL, 7, sealed) == text
    assert len(text) < 4 or text.encode() not in sealed
    assert sealed != SEALER.seal(MAIL, 7, text)  # equal values do not look equal


def test_a_sealed_value_is_laid_out_as_it_is_written_down() -> None:
    sealed = SEALER.seal(MAIL, 7, ADA)
    assert sealed[:1] == b"\x01"
    assert sealed[1:9].hex() == OLD.id
    assert len(sealed) == HEAD_BYTES + NONCE_BYTES + len(ADA) + 16


def test_values_sealed_by_the_first_version_open() -> None:
    """A fixed value: the form, the derived key and what is authenticated stay as they are, or stored values are lost."""
    sealed = bytes.fromhex(GOLDEN)
    assert SEALER.open(MAIL, 7, sealed) == ADA
    assert SEALER.lookup("mail", ADA).hex() == GOLDEN_LOOKUP


GOLDEN = (
    "016e0ce66331eb21e1000102030405060708090a0ba521f969f7cebd0b427ab5e288cc8e12d543ee05d5ea85605d57092632b910"
)
GOLDEN_LOOKUP = "c45d7eab27abf85c2c893d5495d118e66a1f2218c5beb5c60bca26c8a19e2f68"


@pytest.mark.parametrize(
    ("column", "row_id"),
    [(MAIL, 8), (MAIL, "7 "), (NOTE, 7), (Column("mail", "letters", "other_sealed", "letter_id"), 7)],
    ids=["another row", "almost the row", "another table", "another column"],
)
def test_a_sealed_value_opens_in_no_other_place(column: Column, row_id: int | str) -> None:
    """Guard: _place is authenticated. Else whoever can write to the database gives anybody's mail to themselves."""
    sealed = SEALER.seal(MAIL, 7, ADA)
    with pytest.raises(Damaged):
        SEALER.open(column, row_id, sealed)


def test_a_value_that_was_changed_anywhere_stays_shut() -> None:
    sealed = SEALER.seal(MAIL, 7, ADA)
    for place in range(len(sealed)):
        changed = sealed[:place] + bytes([sealed[place] ^ 1]) + sealed[place + 1 :]
        with pytest.raises((Damaged, KeyMissing)):
            SEALER.open(MAIL, 7, changed)
    for length in range(len(sealed)):
        with pytest.raises((Damaged, KeyMissing)):
            SEALER.open(MAIL, 7, sealed[:length])


def test_a_key_that_is_not_here_is_named_and_the_text_is_not() -> None:
    with pytest.raises(KeyMissing, match=OLD.id) as missing:
        Sealer(Ring((NEW,)), LOOKUP).open(MAIL, 7, SEALER.seal(MAIL, 7, ADA))
    assert ADA not in str(missing.value)


def test_a_text_that_is_too_long_is_refused() -> None:
    with pytest.raises(ValueError, match="65,536 bytes at most"):
        SEALER.seal(MAIL, 7, "é" * (TEXT_BYTES_MAX // 2 + 1))


def test_a_rotated_ring_seals_with_the_new_key_when_it_is_ripe_and_opens_both() -> None:
    ring = Ring((OLD, Key(NEW.secret, NOW_MS)))
    early, late = Sealer(ring, LOOKUP, lambda: NOW_MS), Sealer(ring, LOOKUP, lambda: NOW_MS + RIPE_MS)
    assert early.seal(MAIL, 7, ADA)[1:9].hex() == OLD.id
    assert late.seal(MAIL, 7, ADA)[1:9].hex() == NEW.id
    for sealed in (early.seal(MAIL, 7, ADA), late.seal(MAIL, 7, ADA)):
        assert early.open(MAIL, 7, sealed) == late.open(MAIL, 7, sealed) == ADA


def test_a_lookup_is_of_a_kind_and_of_a_key() -> None:
    found = SEALER.lookup("mail", ADA)
    assert found == ROTATED.lookup("mail", ADA)  # a rotation changes nothing in it
    assert len({found, SEALER.lookup("address", ADA), SEALER.lookup("mail", ADA + " ")}) == 3
    assert found != Sealer(Ring((OLD,)), b"m" * 32).lookup("mail", ADA)


# --- all values --------------------------------------------------------------------------------------------


async def test_every_sealed_column_of_the_tables_is_known_to_a_rotation(dsn: str, sql: Execute) -> None:
    """Guard for COLUMNS: values of a column that is not in it would be lost when their key goes."""
    there = await sql(
        "SELECT table_name, column_name, data_type FROM information_schema.columns "
        "WHERE table_schema = current_schema() AND column_name LIKE '%\\_sealed'"
    )
    assert {(row[0], row[1]) for row in there} == {(one.table, one.name) for one in COLUMNS}
    assert {row[2] for row in there} <= {"bytea"}


@pytest.fixture
async def letters(dsn: str, sql: Execute) -> str:
    """Two tables of the test's own: 25 mails and 5 notes under the old key, and rows without."""
    await sql("INSERT INTO world (id, seed) VALUES (1, 7)")
    await sql("CREATE TABLE letters (letter_id bigint PRIMARY KEY, mail_sealed bytea)")
    await sql("CREATE TABLE notes (name text PRIMARY KEY, note_sealed bytea)")
    connection = await asyncpg.connect(dsn)
    await connection.executemany(
        "INSERT INTO letters VALUES ($1, $2)",
        [(number, SEALER.seal(MAIL, number, f"{number}@example.org")) for number in range(-5, 20)],
    )
    await connection.executemany(
        "INSERT INTO notes VALUES ($1, $2)", [(name, SEALER.seal(NOTE, name, name)) for name in "abcde"]
    )
    await connection.execute("INSERT INTO letters VALUES (99, NULL)")
    await connection.close()
    return dsn


async def put(sql: Execute, letter_id: int, sealed: bytes) -> None:
    await sql(f"UPDATE letters SET mail_sealed = '\\x{sealed.hex()}' WHERE letter_id = {letter_id}")  # noqa: S608


async def opened(sql: Execute, sealer: Sealer) -> dict[int, str]:
    rows = await sql("SELECT letter_id, mail_sealed FROM letters WHERE mail_sealed IS NOT NULL")
    return {row[0]: sealer.open(MAIL, row[0], row[1]) for row in rows}


ALL = {number: f"{number}@example.org" for number in range(-5, 20)}


@pytest.mark.parametrize("batch", [1, 7, 25, 500])
async def test_a_rotation_brings_all_values_under_the_new_key(
    letters: str, sql: Execute, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    monkeypatch.setattr(reseal_module, "BATCH_ROWS", batch)
    assert await keys_in_use(letters, OF_TESTS) == {OLD.id: 30}
    done = await reseal(letters, ROTATED, print, OF_TESTS)
    assert (done.values, done.troubles) == (30, [])
    assert await keys_in_use(letters, OF_TESTS) == {NEW.id: 30}
    assert await opened(sql, Sealer(Ring((NEW,)), LOOKUP)) == ALL
    assert (await reseal(letters, ROTATED, print, OF_TESTS)).values == 0


async def test_what_is_written_meanwhile_is_not_undone(
    letters: str, sql: Execute, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guard: a value is replaced only where it is still the one that was read. Without it a new address is the old one again."""
    real = reseal_module._write
    changed: list[int] = []

    async def write(connection: object, column: Column, changes: list[tuple[str, bytes, bytes]]) -> int:
        if not changed:
            changed.append(3)
            # By a server that does not know the new key yet.
            await put(sql, 3, SEALER.seal(MAIL, 3, "new@example.org"))
            await sql("DELETE FROM letters WHERE letter_id = 4")
        return await real(connection, column, changes)  # type: ignore[arg-type]

    monkeypatch.setattr(reseal_module, "_write", write)
    done = await reseal(letters, ROTATED, print, OF_TESTS)
    assert (done.values, done.troubles) == (29, [])
    assert await keys_in_use(letters, OF_TESTS) == {NEW.id: 29}
    found = await opened(sql, ROTATED)
    assert found[3] == "new@example.org"
    assert 4 not in found


async def test_a_value_that_does_not_open_is_told_and_left_as_it_is(letters: str, sql: Execute) -> None:
    await sql(
        "UPDATE letters SET mail_sealed = (SELECT mail_sealed FROM letters WHERE letter_id = 2) WHERE letter_id = 3"
    )
    await put(sql, 4, Sealer(Ring.of(b"s" * 32), LOOKUP).seal(MAIL, 4, "?"))
    await put(sql, 5, b"")
    before = await sql("SELECT mail_sealed FROM letters WHERE letter_id IN (3, 4, 5) ORDER BY letter_id")
    done = await reseal(letters, ROTATED, print, OF_TESTS)
    assert done.values == 27
    assert [re.sub(r"key \w+", "key", trouble) for trouble in done.troubles] == [
        "letters.mail_sealed of 3 is not as it was sealed, or was sealed for another place",
        "letters.mail_sealed of 4 was sealed with the key, which is not here",
        "letters.mail_sealed of 5 is no sealed value",
    ]
    assert (
        await sql("SELECT mail_sealed FROM letters WHERE letter_id IN (3, 4, 5) ORDER BY letter_id") == before
    )


async def test_a_rotation_that_is_killed_in_the_middle_has_lost_nothing_and_goes_on(
    letters: str, sql: Execute
) -> None:
    """A process of its own is killed after its third batch, in the middle of the next."""
    program = f"""
import asyncio, os, signal
from persistence import reseal
from tests.persistence.test_sealing import OF_TESTS, ROTATED
reseal.BATCH_ROWS = 4
real, batches = reseal._write, []
async def write(connection, column, changes):
    batches.append(1)
    if len(batches) == 4:
        await connection.execute("BEGIN")
        await connection.execute("SELECT 1 FROM world FOR UPDATE")
        await connection.fetch(reseal._replace(column), *map(list, zip(*changes)))
        os.kill(os.getpid(), signal.SIGKILL)
    return await real(connection, column, changes)
reseal._write = write
asyncio.run(reseal.reseal({letters!r}, ROTATED, print, OF_TESTS))
"""  # noqa: S608
    killed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert killed.returncode == -9, killed.stderr
    assert await opened(sql, ROTATED) == ALL
    assert await keys_in_use(letters, OF_TESTS) == {NEW.id: 12, OLD.id: 18}
    assert (await reseal(letters, ROTATED, print, OF_TESTS)).values == 18
    assert await keys_in_use(letters, OF_TESTS) == {NEW.id: 30}
    assert await opened(sql, ROTATED) == ALL
