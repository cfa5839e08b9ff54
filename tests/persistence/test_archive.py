"""Backup and restore in a real PostgreSQL: the world that comes back is the world that went in, or nothing comes back."""

import asyncio
import errno
import os
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import asyncpg
import msgspec
import pytest

from persistence import archive as archive_module
from persistence import store as store_module
from persistence.archive import (
    MANIFEST,
    BadArchive,
    Manifest,
    NotEmpty,
    backup,
    examine,
    keys_of,
    read_sequences,
    restore,
    write_tables,
)
from persistence.audit import audit
from persistence.migrations import current_revision, go_back, head_revision
from persistence.store import Batch, ChatLine, Entrant, SchemaMismatch, Store, account_key
from tests.conftest import POOL_SIZE, TICK_HZ
from tests.persistence.support import Chronicle, build, claim
from tests.persistence.test_audit import nobody_looks
from tests.world.support import ADA, BEA
from world.tiles import Build

KEYS = {"signing.key": b"s" * 32, "receipt.key": b"r" * 32}
LINE = ChatLine(1, 1, "Ada", None, 0.5, -0.5, 3, 4_000_000_000_000, "tab\there, back\\slash,\nnew line, 世界")


@pytest.fixture
async def history(dsn: str, monkeypatch: pytest.MonkeyPatch) -> Chronicle:
    """A world in which something of each kind is stored, over three partitions of the journal."""
    monkeypatch.setattr(store_module, "PARTITION_ENTRIES", 3)
    connection = await asyncpg.connect(dsn)
    await connection.execute("DROP TABLE journal_0")
    await connection.close()
    told = Chronicle()
    told.do(ADA, claim(0, 0, 2, 1))
    told.do(BEA, claim(-4, -4))
    told.do(ADA, build((0, 0, Build.WALL), (31, 0, Build.PATH)))
    for _ in range(3):
        told.set_aside(ADA, 300)
    store = await Store.open(dsn, POOL_SIZE)
    epoch = (await store.open_world(7, TICK_HZ)).epoch
    await store.enter_players(
        epoch, [Entrant(account_key(name), name, "user", 1, 0.5, 0.5) for name in ("Ada", "Bea", "Cal")]
    )
    await store.save(epoch, Batch(10, [1], [3.25], [-1.5], [(1, LINE)], told.entries))
    await store.close()
    return told


async def everything(dsn: str) -> dict[str, list[tuple[object, ...]]]:
    """All rows of all tables, but for the migration's own."""
    connection = await asyncpg.connect(dsn)
    tables = [row[0] for row in await connection.fetch(archive_module._TABLES)]
    found = {
        table: sorted(map(tuple, await connection.fetch(f"SELECT {table}::text FROM {table}")))  # noqa: S608
        for table in tables
    }
    await connection.close()
    return found


async def saved(dsn: str, place: Path) -> Path:
    path = place / "world.zip"
    await backup(dsn, path, KEYS, 1, print)
    return path


async def restored(dsn: str, path: Path) -> Manifest:
    """Into tables as a migration makes them, whose first partition is of the usual size."""
    manifest = examine(path)
    with pytest.MonkeyPatch.context() as usual:
        usual.setattr(store_module, "PARTITION_ENTRIES", 1_000_000)
        await restore(dsn, path, manifest, print)
    return manifest


async def test_a_world_comes_back_as_it_was_to_the_last_row(
    dsn: str, empty_dsn: str, history: Chronicle, tmp_path: Path
) -> None:
    path = await saved(dsn, tmp_path)
    manifest = await restored(empty_dsn, path)
    before, after = await everything(dsn), await everything(empty_dsn)
    assert after == before
    assert {table for table, rows in before.items() if rows} >= {
        *("world", "players", "chat_messages", "journal", "answers", "accounts"),
        *("postings", "holds", "parcels", "surfaces", "journal_pruned"),
    }
    assert (manifest.first_seq, manifest.seq, manifest.digest) == (1, 6, history.world.state.digest.hex())
    found = await audit(empty_dsn, nobody_looks)
    assert (found.entries, found.troubles, found.digest.hex()) == (6, [], manifest.digest)
    assert keys_of(path, manifest) == KEYS
    assert path.stat().st_mode & 0o077 == 0


async def test_no_number_is_given_out_again_in_a_restored_world(
    dsn: str, empty_dsn: str, history: Chronicle, tmp_path: Path
) -> None:
    """Guard: sequences are in the manifest. A player who was deleted would give their id, and land, to the next one."""
    connection = await asyncpg.connect(dsn)
    await connection.execute("DELETE FROM players WHERE player_id = 3")
    await connection.close()
    path = await saved(dsn, tmp_path)
    await restored(empty_dsn, path)
    store = await Store.open(empty_dsn, POOL_SIZE)
    epoch = (await store.open_world(7, TICK_HZ)).epoch
    [new] = await store.enter_players(epoch, [Entrant(account_key("Di"), "Di", "user", 1, 0.0, 0.0)])
    await store.close()
    assert new.player_id == 4
    assert (await audit(empty_dsn, nobody_looks)).troubles == []


async def test_a_backup_is_of_one_moment_of_a_server_that_goes_on(
    dsn: str, empty_dsn: str, history: Chronicle, tmp_path: Path
) -> None:
    """Guard: one REPEATABLE READ transaction for all tables. The next partition of the journal begins meanwhile, too."""
    more = history.do(BEA, claim(9, 9))

    async def go_on() -> None:
        store = await Store.open(dsn, POOL_SIZE)
        await store.save((await store.open_world(7, TICK_HZ)).epoch, Batch(11, entries=more))
        await store.close()

    def meanwhile(text: str) -> None:
        if text == "saving journal":  # accounts and answers are saved
            with ThreadPoolExecutor(1) as thread:
                thread.submit(asyncio.run, go_on()).result()

    path = tmp_path / "world.zip"
    await backup(dsn, path, {}, 1, meanwhile)
    await restored(empty_dsn, path)
    found = await audit(empty_dsn, nobody_looks)
    assert (found.entries, found.troubles) == (6, [])
    assert (await audit(dsn, nobody_looks)).entries == 7


def rewrite(path: Path, name: str, into: bytes | None, extra: bool = False) -> None:
    """The same archive with another part, or without it; its checksums of zip fit."""
    with zipfile.ZipFile(path) as old:
        parts = {one: old.read(one) for one in old.namelist()}
    if into is None:
        del parts[name]
    else:
        assert extra or name in parts
        parts[name] = into
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for one, content in parts.items():
            new.writestr(one, content)


async def test_a_changed_or_incomplete_archive_is_refused_with_words(
    dsn: str, empty_dsn: str, history: Chronicle, tmp_path: Path
) -> None:
    """Guards: SHA-256 and size of each part, the list of parts, the checksums of zip itself."""
    path = await saved(dsn, tmp_path)
    whole = path.read_bytes()
    changes: dict[str, Callable[[], object]] = {
        "cut short": lambda: path.write_bytes(whole[: len(whole) // 2]),
        "no archive of landworld": lambda: path.write_bytes(b"hello"),
        "tables/accounts.copy was changed": lambda: rewrite(path, "tables/accounts.copy", b"1\t5\t1\n"),
        "keys/signing.key was changed": lambda: rewrite(path, "keys/signing.key", b"t" * 32),
        "tables/holds.copy is missing or too much": lambda: rewrite(path, "tables/holds.copy", None),
        "tables/more.copy is missing or too much": lambda: rewrite(path, "tables/more.copy", b"", extra=True),
        f"no archive of landworld: .*{MANIFEST}": lambda: rewrite(path, MANIFEST, None),
        "is not as it was written|cut short": lambda: path.write_bytes(flipped(path, whole)),
    }
    for words, change in changes.items():
        path.write_bytes(whole)
        change()
        with pytest.raises(BadArchive, match=words):
            examine(path)
    path.write_bytes(whole)
    manifest = examine(path)
    rewrite(path, MANIFEST, msgspec.json.encode(msgspec.structs.replace(manifest, format=2)))
    with pytest.raises(BadArchive, match="an archive of form 2"):
        examine(path)
    rewrite(path, MANIFEST, msgspec.json.encode(msgspec.structs.replace(manifest, schema="0999")))
    with pytest.raises(SchemaMismatch, match="version 0999, which this landworld"):
        examine(path)
    assert await current_revision(empty_dsn) is None


def flipped(path: Path, whole: bytes) -> bytes:
    """One bit of the largest part is another."""
    with zipfile.ZipFile(path) as archive:
        largest = max(archive.infolist(), key=lambda info: info.compress_size)
    at = largest.header_offset + 60 + largest.compress_size // 2
    return whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]


async def test_a_database_with_something_in_it_is_left_alone(
    dsn: str, history: Chronicle, tmp_path: Path
) -> None:
    path = await saved(dsn, tmp_path)
    before = await everything(dsn)
    with pytest.raises(NotEmpty, match="has tables already"):
        await restore(dsn, path, examine(path), print)
    assert await everything(dsn) == before
    with pytest.raises(NotEmpty, match="is there already"):
        await backup(dsn, path, {}, 1, print)


async def test_what_cannot_be_restored_leaves_the_database_empty(
    dsn: str, empty_dsn: str, history: Chronicle, tmp_path: Path
) -> None:
    """Guard: what was made is taken away again. Tables that do not fit are found only while they are filled."""
    path = await saved(dsn, tmp_path)
    manifest = examine(path)
    parts = [part for part in manifest.parts if part.table != "holds"]
    with pytest.raises(BadArchive, match="its tables are not those of version"):
        await restore(empty_dsn, path, msgspec.structs.replace(manifest, parts=parts), print)
    assert await current_revision(empty_dsn) is None


async def test_a_file_that_comes_while_a_backup_is_made_is_left_alone(
    dsn: str, history: Chronicle, tmp_path: Path
) -> None:
    """Guard: the name is made by a link. A rename would take the other file's place."""
    path = tmp_path / "world.zip"

    def meanwhile(_: str) -> None:
        path.write_bytes(b"another's")

    with pytest.raises(NotEmpty, match="is there already"):
        await backup(dsn, path, {}, 1, meanwhile)
    assert path.read_bytes() == b"another's"
    assert list(tmp_path.iterdir()) == [path]


async def test_a_backup_is_on_the_disk_with_its_name(
    dsn: str, history: Chronicle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guard: _sync_directory. Without it the file's name may be lost with the power, after "Saved" was said."""
    synced: list[tuple[str, set[str]]] = []
    fsync = os.fsync

    def noting(fd: int) -> None:
        synced.append((os.readlink(f"/proc/self/fd/{fd}"), {one.name for one in tmp_path.iterdir()}))
        fsync(fd)

    monkeypatch.setattr(os, "fsync", noting)
    path = await saved(dsn, tmp_path)
    assert synced == [(f"{path}.part", {"world.zip.part"}), (str(tmp_path), {"world.zip"})]


async def test_a_file_system_without_links_takes_a_backup(
    dsn: str, history: Chronicle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_here(*_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(Path, "hardlink_to", none_here)
    assert examine(await saved(dsn, tmp_path)).seq == 6
    assert [one.name for one in tmp_path.iterdir()] == ["world.zip"]


async def test_a_backup_that_fails_leaves_no_file(tmp_path: Path, dsn: str) -> None:
    with pytest.raises(store_module.StoreError):
        await backup(dsn, tmp_path / "world.zip", {}, 1, print)  # there is no world in it yet
    assert list(tmp_path.iterdir()) == []


async def test_an_archive_of_older_tables_is_brought_up_to_these(
    dsn: str, empty_dsn: str, tmp_path: Path
) -> None:
    await go_back(dsn, print, "0002", agreed=True)
    connection = await asyncpg.connect(dsn)
    await connection.execute("INSERT INTO world (id, seed, epoch, tick) VALUES (1, 7, 3, 50)")
    await connection.execute("INSERT INTO tile_edits VALUES (0, 0, 2, 5, 4, 1, 10), (0, 0, 3, 5, 0, 1, 11)")
    path = tmp_path / "old.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        parts = [part async for part in write_tables(connection, archive, print)]
        sequences = await read_sequences(connection)
        manifest = Manifest(1, "0002", 7, 50, 1, 0, bytes(32).hex(), 1, parts, sequences)
        archive.writestr(MANIFEST, msgspec.json.encode(manifest))
    await connection.close()
    await restore(empty_dsn, path, examine(path), print)
    assert await current_revision(empty_dsn) == head_revision()
    store = await Store.open(empty_dsn, POOL_SIZE)
    assert await store.all_built(lambda _: None) == [(0, 0, 3, bytes([5, 0, 0]))]
    assert (await store.open_world(7, TICK_HZ)).epoch == 4
    await store.close()
