"""The tables' versions: alembic, plain SQL inside, one transaction for all steps.

Servers that start at the same time stand in line at an advisory lock, which Postgres lets go with the
transaction: a migration killed half way leaves neither tables nor a lock behind. Runs in a
thread with a loop of its own, so the server's loop is free; not for a hot path.
"""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from pathlib import Path

import asyncpg
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from persistence.store import CONNECT_SECONDS_MAX, SchemaMismatch, translated

_LOCK = 0x6C616E64  # "land"; the number only has to be the same for every server
_Progress = Callable[[str], None]


async def migrate(dsn: str, progress: _Progress, revision: str = "head") -> None:
    """Bring the tables to `revision` (upgrade or, for an older one, downgrade; "base" is none at all).

    Raises SchemaMismatch when the database is newer than this code, StoreRefused when a right is missing,
    StoreUnavailable. `progress` is called in the migration's thread.
    """

    def work(connection: Connection) -> None:
        _wait_for_lock(connection, progress)
        _migrate(connection, progress, revision)

    await _in_transaction(dsn, work)


async def current_revision(dsn: str) -> str | None:
    """The version of the tables; None when there are none."""
    found: list[str | None] = []
    await _in_transaction(dsn, lambda connection: found.append(_current(connection)))
    return found[0]


def head_revision() -> str:
    """The version this code needs."""
    head = _scripts().get_current_head()
    assert head is not None
    return head


def revisions() -> list[str]:
    """All versions that this code knows, oldest first."""
    return [script.revision for script in _scripts().walk_revisions("base", "head")][::-1]


async def _in_transaction(dsn: str, work: Callable[[Connection], None]) -> None:
    """Cancelled, it cuts the connection, so that the thread ends whatever the database does: Postgres takes all of it back."""
    cutting: list[tuple[asyncio.AbstractEventLoop, asyncpg.Connection[asyncpg.Record]]] = []
    cut = threading.Event()

    async def connect() -> "asyncpg.Connection[asyncpg.Record]":
        connection = await asyncpg.connect(dsn, timeout=CONNECT_SECONDS_MAX)
        cutting.append((asyncio.get_running_loop(), connection))
        if cut.is_set():
            connection.terminate()
        return connection

    async def run() -> None:
        # asyncpg reads the DSN, here as everywhere: one understanding of it.
        engine = create_async_engine("postgresql+asyncpg://", async_creator=connect, poolclass=NullPool)
        async with engine.begin() as connection:
            await connection.run_sync(work)

    with translated():
        try:
            await asyncio.to_thread(asyncio.run, run())
        except asyncio.CancelledError:
            cut.set()
            for loop, connection in cutting:
                with contextlib.suppress(RuntimeError):  # its loop has ended by itself
                    loop.call_soon_threadsafe(connection.terminate)
            raise
        except DBAPIError as error:  # SQLAlchemy's wrapping of its wrapping of asyncpg's error
            raise (error.orig and error.orig.__cause__) or error from None


def _wait_for_lock(connection: Connection, progress: _Progress) -> None:
    if not connection.scalar(text("SELECT pg_try_advisory_xact_lock(:key)"), {"key": _LOCK}):
        progress("waiting for another server that is migrating this database")
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})


def _migrate(connection: Connection, progress: _Progress, revision: str) -> None:
    config = _config()
    config.attributes["connection"] = connection
    order = revisions()
    found = _current(connection)
    if found is not None and found not in order:
        raise SchemaMismatch(
            f"the database is at version {found}, which this landworld ({order[-1]}) does not know: "
            "it was used by a newer one. Update landworld, or use another database or LANDWORLD_DATA."
        )
    wanted = {"head": order[-1], "base": None}.get(revision, revision)
    if wanted is not None and wanted not in order:
        raise SchemaMismatch(f"there is no version {wanted}; there are {', '.join(order)}")
    here, there = (order.index(r) if r else -1 for r in (found, wanted))
    if here < there:
        progress(f"bringing the database from version {found or 'none'} to {wanted}")
        command.upgrade(config, wanted or "base")
    elif here > there:
        progress(f"taking the database from version {found} back to {wanted or 'none'}")
        command.downgrade(config, wanted or "base")


def _current(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    return config


def _scripts() -> ScriptDirectory:
    return ScriptDirectory.from_config(_config())
