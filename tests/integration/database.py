"""The embedded database of a running server, seen past the server."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg

from persistence.embedded import PORT


def dsn(data: Path) -> str:
    """Of the database in a data directory."""
    return f"postgresql://landworld@/landworld?host={data / 'postgres'}&port={PORT}"


def postmaster(data: Path) -> int:
    """Its process id."""
    return int((data / "postgres" / "postmaster.pid").read_text().splitlines()[0])


async def sql(data: Path, statement: str) -> Any:
    """Runs a statement; the first value of its first row."""
    connection = await asyncpg.connect(dsn(data))
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


@asynccontextmanager
async def nothing_stored(data: Path) -> AsyncIterator[None]:
    """Meanwhile the server can read, and store nothing: the row that each of its writes begins with is held."""
    connection = await asyncpg.connect(dsn(data))
    try:
        async with connection.transaction():
            await connection.execute("SELECT 1 FROM world FOR UPDATE")
            yield
    finally:
        await connection.close()
