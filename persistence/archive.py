"""A whole world in one file: written from a server that goes on, read into an empty database.

The file is a zip archive. `tables/NAME.copy` is what COPY (text) gives of each table, all of one moment (history.py); `keys/NAME` are
key files of the data directory, if they were asked for; `manifest.json` comes last and names every part with its size and SHA-256, the
version of the tables, and the journal's end. What is cut short, changed or too much is refused before anything is touched.

An archive of older tables is read into tables of its own version, and those are brought up to ours.
"""

import contextlib
import hashlib
import os
import zipfile
import zlib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from typing import IO

import asyncpg
import msgspec

from persistence.files import sync_directory
from persistence.history import Snapshot, connected
from persistence.migrations import current_revision, go_back, head_revision, migrate, revisions
from persistence.store import SchemaMismatch, StoreError, make_partitions

FORMAT = 1
MANIFEST = "manifest.json"
PIECE_BYTES = 1_048_576  # read at once
ARCHIVE_MODE = 0o600  # everybody's talk is in it, and keys perhaps

_TABLES = """
SELECT relname, (SELECT array_agg(attname::text ORDER BY attnum) FROM pg_attribute
                 WHERE attrelid = pg_class.oid AND attnum > 0 AND NOT attisdropped AND attgenerated = '')
FROM pg_class
WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition AND relname <> 'alembic_version'
ORDER BY relname
"""
_SEQUENCES = "SELECT sequencename::text, last_value FROM pg_sequences WHERE schemaname = current_schema() AND last_value IS NOT NULL"

Progress = Callable[[str], None]


class BadArchive(StoreError):  # noqa: N818
    """The file is no archive of ours, or not as it was written."""


class NotEmpty(StoreError):  # noqa: N818
    """There is something already where the archive should go."""


class Part(msgspec.Struct, frozen=True):
    """A part of the archive. `table` and `columns` are empty for a key."""

    name: str
    bytes: int
    sha256: str
    table: str = ""
    columns: list[str] = []
    rows: int = 0


class Manifest(msgspec.Struct, frozen=True):
    """What an archive holds: the world as it was after entry `seq`."""

    format: int
    schema: str
    seed: int
    tick: int
    first_seq: int  # of the journal, as far as it was kept
    seq: int
    digest: str
    made_at_ms: int
    parts: list[Part]
    sequences: dict[str, int]


# --- writing ---


async def backup(
    dsn: str, path: Path, keys: Mapping[str, bytes], made_at_ms: int, progress: Progress
) -> Manifest:
    """Writes a world to a file that is not there yet. Raises StoreError, OSError."""
    with _new_file(path) as file:
        async with Snapshot.of(dsn) as snapshot:
            return await _write(snapshot, file, keys, made_at_ms, progress)


@contextlib.contextmanager
def _new_file(path: Path) -> Iterator[IO[bytes]]:
    """A file that gets its name when all of it is on the disk, and its name is when this is over. Raises NotEmpty, OSError."""
    if path.exists():
        raise NotEmpty(_there_already(path))  # before the work
    half = path.with_name(f"{path.name}.part")
    try:
        with open(os.open(half, os.O_RDWR | os.O_CREAT | os.O_TRUNC, ARCHIVE_MODE), "w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        _name(half, path)
    finally:
        half.unlink(missing_ok=True)
    sync_directory(path.parent)


def _name(half: Path, path: Path) -> None:
    """Gives a file another name besides. Raises NotEmpty for one that came meanwhile: a rename would take its place."""
    try:
        path.hardlink_to(half)
    except FileExistsError:
        raise NotEmpty(_there_already(path)) from None
    except OSError:  # a file system that knows no links, as on many a stick
        half.rename(path)


def _there_already(path: Path) -> str:
    return f"{path} is there already; an archive never takes the place of another"


async def _write(
    snapshot: Snapshot, file: IO[bytes], keys: Mapping[str, bytes], made_at_ms: int, progress: Progress
) -> Manifest:
    end, (pruned, _) = await snapshot.end(), await snapshot.pruned()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        parts = [part async for part in write_tables(snapshot.connection, archive, progress)]
        for name, key in keys.items():
            archive.writestr(f"keys/{name}", key)
            parts.append(Part(f"keys/{name}", len(key), hashlib.sha256(key).hexdigest()))
        manifest = Manifest(
            FORMAT,
            head_revision(),
            end.seed,
            end.tick,
            pruned + 1,
            end.last_seq,
            end.last_digest.hex(),
            made_at_ms,
            parts,
            await read_sequences(snapshot.connection),
        )
        archive.writestr(MANIFEST, msgspec.json.encode(manifest))
    return manifest


async def read_sequences(connection: "asyncpg.Connection[asyncpg.Record]") -> dict[str, int]:
    """Where numbers that are given out stand. They know no snapshot: they may be ahead of it, which does no harm."""
    return {row[0]: row[1] for row in await connection.fetch(_SEQUENCES)}


async def write_tables(
    connection: "asyncpg.Connection[asyncpg.Record]", archive: zipfile.ZipFile, progress: Progress
) -> AsyncIterator[Part]:
    """Writes every table, whatever the version."""
    for table, columns in await connection.fetch(_TABLES):
        progress(f"saving {table}")
        name, size, sha256 = f"tables/{table}.copy", 0, hashlib.sha256()
        with archive.open(name, "w", force_zip64=True) as part:

            async def take(data: bytes, part: IO[bytes] = part, sha256: "hashlib._Hash" = sha256) -> None:
                nonlocal size
                part.write(data)
                sha256.update(data)
                size += len(data)

            status = await connection.copy_from_query(
                f"SELECT {_listed(columns)} FROM {table}",  # noqa: S608 (names out of our own migrations)
                output=take,
            )
        yield Part(name, size, sha256.hexdigest(), table, columns, int(status.removeprefix("COPY ")))


def _listed(columns: list[str]) -> str:
    return ", ".join(f'"{column}"' for column in columns)


# --- reading ---


def examine(path: Path) -> Manifest:
    """Reads all of an archive and believes nothing. Raises BadArchive, SchemaMismatch, OSError."""
    with _opened(path) as archive:
        manifest = _manifest(path, archive)
        if manifest.schema not in revisions():
            raise SchemaMismatch(
                f"{path} holds tables of version {manifest.schema}, which this landworld ({head_revision()}) does not know"
            )
        named = {part.name for part in manifest.parts} | {MANIFEST}
        if strange := sorted(set(archive.namelist()) ^ named):
            raise BadArchive(f"{path} is not as it was written: {strange[0]} is missing or too much")
        for part in manifest.parts:
            size, sha256 = 0, hashlib.sha256()
            for piece in _pieces(archive, part):
                size += len(piece)
                sha256.update(piece)
            if (size, sha256.hexdigest()) != (part.bytes, part.sha256):
                raise BadArchive(f"{path} is not as it was written: {part.name} was changed")
    return manifest


async def restore(dsn: str, path: Path, manifest: Manifest, progress: Progress) -> None:
    """Fills an empty database with an archive that was examined, all or nothing. Raises NotEmpty, BadArchive, StoreError."""
    if await current_revision(dsn) is not None:
        raise NotEmpty("the database has tables already; an archive needs an empty one")
    await migrate(dsn, progress, manifest.schema)
    try:
        with _opened(path) as archive:
            async with connected(dsn) as connection, connection.transaction():
                await _fill(connection, archive, manifest, progress)
        await migrate(dsn, progress)
    except BaseException:
        await go_back(dsn, progress, "base", agreed=True)  # it was empty before
        raise


async def _fill(
    connection: "asyncpg.Connection[asyncpg.Record]",
    archive: zipfile.ZipFile,
    manifest: Manifest,
    progress: Progress,
) -> None:
    tables = [part for part in manifest.parts if part.table]
    here = {row[0]: row[1] for row in await connection.fetch(_TABLES)}
    if here != {part.table: part.columns for part in tables}:
        raise BadArchive(f"its tables are not those of version {manifest.schema}")
    await connection.execute(f"TRUNCATE {', '.join(here)}")  # a migration leaves rows here and there
    if manifest.seq >= manifest.first_seq:
        await make_partitions(connection, manifest.first_seq, manifest.seq)
    for part in tables:
        progress(f"reading {part.table}: {part.rows:,} rows")
        await connection.copy_to_table(
            part.table, source=_served(_pieces(archive, part)), columns=part.columns
        )
    for name, value in manifest.sequences.items():
        await connection.execute("SELECT setval($1::text::regclass, $2)", name, value)


async def _served(pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


def keys_of(path: Path, manifest: Manifest) -> dict[str, bytes]:
    """The key files in an archive that was examined, by name."""
    with _opened(path) as archive:
        return {
            part.name.removeprefix("keys/"): b"".join(_pieces(archive, part))
            for part in manifest.parts
            if not part.table
        }


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except zipfile.BadZipFile as error:
        raise BadArchive(f"{path} is no archive of landworld, or was cut short: {error}") from None
    except (zlib.error, EOFError) as error:
        raise BadArchive(f"{path} is not as it was written: {error}") from None


def _manifest(path: Path, archive: zipfile.ZipFile) -> Manifest:
    try:
        manifest = msgspec.json.decode(archive.read(MANIFEST), type=Manifest)
    except (KeyError, msgspec.MsgspecError) as error:
        raise BadArchive(f"{path} is no archive of landworld: {error}") from None
    if manifest.format != FORMAT:
        raise BadArchive(f"{path} is an archive of form {manifest.format}, this landworld reads {FORMAT}")
    return manifest


def _pieces(archive: zipfile.ZipFile, part: Part) -> Iterator[bytes]:
    with archive.open(part.name) as file:
        while piece := file.read(PIECE_BYTES):
            yield piece
