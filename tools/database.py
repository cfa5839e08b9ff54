"""Where a command finds the world's database: the options for it, and the way there.

It is the one of `--dsn`, else of the settings (persistence.url), else the embedded one of the data directory. That is started for the
command and stopped again; where a server runs, a command that only reads, or may write beside a server, uses the server's.
"""

import argparse
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from persistence.embedded import (
    DatabaseStartError,
    DataDirectory,
    DirectoryError,
    EmbeddedPostgres,
    has_database,
    running_dsn,
)
from persistence.store import StoreError
from server.config import ConfigError, load_config

# What a person can do something about: `ended` makes a sentence and an exit code of it, not a traceback.
FORESEEABLE = (ConfigError, StoreError, DirectoryError, DatabaseStartError, OSError)


def add_database(parser: argparse.ArgumentParser) -> None:
    """The options that say which database."""
    parser.add_argument("--dsn", help="another database than that of the settings, postgresql://...")
    parser.add_argument("--data", type=Path, help="another data directory than that of the settings")


@asynccontextmanager
async def database(
    arguments: argparse.Namespace, alone: bool, make: bool | None = None
) -> AsyncIterator[str]:
    """The database's DSN. `alone`: no server may use it meanwhile. `make`: it is made where there is none; by default as `alone`.

    Raises DirectoryError, DatabaseStartError, ConfigError.
    """
    config = load_config()
    path = arguments.data or config.data
    dsn = arguments.dsn or (config.persistence.url if not arguments.data else "")
    if not dsn and not (alone if make is None else make) and not has_database(path):
        raise DirectoryError(f"there is no database in {path}; is LANDWORLD_DATA the right directory?")
    if not dsn and not alone:
        dsn = running_dsn(path)
    if dsn:
        yield dsn
        return
    with DataDirectory(path) as directory:
        postgres = EmbeddedPostgres(directory.path, say, config.persistence.startup_timeout_s)
        try:
            yield await postgres.start()
        finally:
            await postgres.stop()


def say(text: str) -> None:
    """Progress and trouble, for the person at the terminal; not part of what is printed."""
    print(text, file=sys.stderr, flush=True)


def ended(error: Exception, undone: str = "") -> int:
    """Says why a command did not do what it was asked for, after words for that; its exit code: 2 for wrong settings, else 1."""
    wrong = isinstance(error, ConfigError)
    say(f"{undone}: {_reason(error)}" if undone and not wrong else _reason(error))
    return 2 if wrong else 1


def _reason(error: Exception) -> str:
    """What went wrong, without the number that an OSError begins with."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)
