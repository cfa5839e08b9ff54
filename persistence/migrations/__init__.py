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

from persistence.store import CONNECT_SECONDS_MAX, SchemaMismatch, StoreError, translated

_LOCK = 0x6C616E64  # "land"; the number only has to be the same for every server
_Progress = Callable[[str], None]

NO_TABLES = "none"  # where a version is named
# Tables in which somebody's things may be: not partitions of another, nor the two with one row that the versions make themselves.
_TABLES = """
SELECT relname FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p')
    AND NOT relispartition AND relname NOT IN ('alembic_version', 'journal_pruned') ORDER BY relname
"""


class WouldDrop(StoreError):  # noqa: N818 (a person must decide)
    """Tables with rows in them would be dropped, and nobody has agreed to that; all is as it was."""


async def migrate(dsn: str, progress: _Progress, revision: str = "head") -> None:
    """Bring the tables up to `revision`; never back.

    Raises SchemaMismatch when the database is newer than that or than this code, StoreRefused when a right is missing,
    StoreUnavailable. `progress` is called in the migration's thread.
    """

    def work(connection: Connection) -> None:
        found, wanted, steps = _way(connection, progress, revision)
        if steps < 0:
            raise SchemaMismatch(
                f"the database is at version {found}, and going up never leads back to {wanted}"
            )
        if steps:
            progress(f"bringing the database from version {found} to {wanted}")
            command.upgrade(_config(connection), wanted)

    await _in_transaction(dsn, work)


async def go_back(dsn: str, progress: _Progress, revision: str, agreed: bool = False) -> None:
    """Take the tables back to an older `revision` ("base": none at all), with what those of then cannot hold.

    Raises WouldDrop unless it is `agreed` that rows go, SchemaMismatch when the database is older than that, and what `migrate` does.
    """

    def work(connection: Connection) -> None:
        found, wanted, steps = _way(connection, progress, revision)
        if steps > 0:
            raise SchemaMismatch(f"the database is at version {found}, which is older than {wanted}")
        if not steps:
            return
        progress(f"taking the database from version {found} back to {wanted}")
        before = {} if agreed else _rows_of_tables(connection)
        command.downgrade(_config(connection), "base" if wanted == NO_TABLES else wanted)
        left = set(connection.scalars(text(_TABLES)))
        lost = [f"{rows:,} of {name}" for name, rows in before.items() if rows and name not in left]
        if lost:  # raised within the transaction, which takes all of it back
            raise WouldDrop(f"going back from {found} to {wanted} drops rows: {', '.join(lost)}")

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


def _way(connection: Connection, progress: _Progress, revision: str) -> tuple[str, str, int]:
    """The version found, the one wanted, and how many steps up lie between (below zero: down), with the lock held.

    Raises SchemaMismatch for versions that this code does not know.
    """
    _wait_for_lock(connection, progress)
    order = [NO_TABLES, *revisions()]
    found = _current(connection) or NO_TABLES
    if found not in order:
        raise SchemaMismatch(
            f"the database is at version {found}, which this landworld ({order[-1]}) does not know: "
            "it was used by a newer one. Update landworld, or use another database or LANDWORLD_DATA."
        )
    wanted = {"head": order[-1], "base": NO_TABLES}.get(revision, revision)
    if wanted not in order:
        raise SchemaMismatch(f"there is no version {wanted}; there are {', '.join(order[1:])}")
    return found, wanted, order.index(wanted) - order.index(found)


def _rows_of_tables(connection: Connection) -> dict[str, int]:
    names = list(connection.scalars(text(_TABLES)))
    return {name: connection.scalar(text(f'SELECT count(*) FROM "{name}"')) or 0 for name in names}  # noqa: S608


def _current(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _config(connection: Connection | None = None) -> Config:
    config = Config()
    config.attributes["connection"] = connection
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    return config


def _scripts() -> ScriptDirectory:
    return ScriptDirectory.from_config(_config())
