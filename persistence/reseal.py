"""Sealed values under all keys: which are in use, and bringing all of them under the current one.

Batch by batch, beside a server that writes: a batch is read and sealed anew without any lock, then written under the lock of the
world's row that all writers take first (store.py), each value only where it is still the one that was read. What somebody else wrote
meanwhile is looked at again by the next pass. Killed at any point it has done whole batches and lost nothing: both keys are in the
ring, and the next run goes on with what is left.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import asyncpg

from persistence.history import connected
from persistence.sealing import COLUMNS, HEAD_BYTES, VERSION, CannotOpen, Column, Sealer

BATCH_ROWS = 500

Progress = Callable[[str], None]


@dataclass(slots=True)
class Resealed:
    """What a run did."""

    values: int = 0
    troubles: list[str] = field(default_factory=list)  # values that do not open; they are left as they are


async def keys_in_use(dsn: str, columns: Sequence[Column] = COLUMNS) -> Counter[str]:
    """How many values there are under each key, by its id. Raises StoreError."""
    counts: Counter[str] = Counter()
    async with connected(dsn) as connection:
        for column in columns:
            for row in await connection.fetch(_counted(column)):
                counts[row[0]] += row[1]
    return counts


async def reseal(
    dsn: str, sealer: Sealer, progress: Progress, columns: Sequence[Column] = COLUMNS
) -> Resealed:
    """Brings all values under the current key. Raises StoreError."""
    done = Resealed()
    async with connected(dsn) as connection:
        for column in columns:
            while await _pass(connection, sealer, column, done, progress):
                pass
    return done


async def _pass(
    connection: "asyncpg.Connection[asyncpg.Record]",
    sealer: Sealer,
    column: Column,
    done: Resealed,
    progress: Progress,
) -> bool:
    """Once through a column; whether somebody else wrote something meanwhile, so that another pass is needed."""
    last: str | None = None
    troubles: list[str] = []
    overtaken = False
    while rows := await connection.fetch(_read(column), last, sealer.head, BATCH_ROWS):
        last = rows[-1][0]
        changes = []
        for row_id, sealed in rows:
            try:
                text = sealer.open(column, row_id, sealed)
            except CannotOpen as error:
                troubles.append(str(error))
            else:
                changes.append((row_id, sealed, sealer.seal(column, row_id, text)))
        written = await _write(connection, column, changes)
        overtaken |= written < len(changes)
        done.values += written
        progress(f"{column.table}.{column.name}: {done.values:,} values sealed anew")
    if not overtaken:
        done.troubles += troubles
    return overtaken


async def _write(
    connection: "asyncpg.Connection[asyncpg.Record]", column: Column, changes: list[tuple[str, bytes, bytes]]
) -> int:
    async with connection.transaction():
        await connection.execute("SELECT 1 FROM world FOR UPDATE")
        columns = [list(values) for values in zip(*changes, strict=True)] or [[], [], []]
        return len(await connection.fetch(_replace(column), *columns))


# The names are those of COLUMNS, out of our own code.


def _counted(column: Column) -> str:
    return f"""
        SELECT encode(substring({column.name} FROM {len(VERSION) + 1} FOR {HEAD_BYTES - len(VERSION)}), 'hex'), count(*)
        FROM {column.table} WHERE {column.name} IS NOT NULL GROUP BY 1"""  # noqa: S608


def _read(column: Column) -> str:
    return f"""
        SELECT {column.row}::text AS row_id, {column.name} FROM {column.table}
        WHERE ($1::text IS NULL OR {column.row} > $1::text::{column.row_type})
            AND substring({column.name} FROM 1 FOR {HEAD_BYTES}) <> $2
        ORDER BY {column.row} LIMIT $3"""  # noqa: S608


def _replace(column: Column) -> str:
    return f"""
        UPDATE {column.table} SET {column.name} = change.after
        FROM unnest($1::text[], $2::bytea[], $3::bytea[]) AS change (row_id, before, after)
        WHERE {column.table}.{column.row} = change.row_id::{column.row_type} AND {column.table}.{column.name} = change.before
        RETURNING 1"""  # noqa: S608
