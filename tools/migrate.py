"""`landworld migrate`: bring a database's tables to this code's version, back, or say where they are.

The server migrates by itself at every start; this is for who wants it apart from that. It
takes the database of the settings (persistence.url, or the embedded one in the data directory) or the one of
`--dsn`. The embedded one is started for it and stopped again, so no server may use the directory.
"""

import argparse
import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from persistence.embedded import DatabaseStartError, DataDirectory, DirectoryError, EmbeddedPostgres
from persistence.migrations import current_revision, head_revision, migrate
from persistence.store import StoreError
from server.config import ConfigError, load_config


def add_parser(sub: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the sub-command."""
    parser = sub.add_parser("migrate", help="bring the database's tables to this version, or back")
    parser.add_argument(
        "action",
        choices=("upgrade", "downgrade", "current"),
        help="downgrade drops what older versions do not know, with all that is in it",
    )
    parser.add_argument("revision", nargs="?", help="default: the newest; needed for downgrade (base: none)")
    parser.add_argument("--dsn", help="another database than that of the settings, postgresql://...")
    parser.add_argument("--data", type=Path, help="another data directory than that of the settings")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """0 when done, 1 with a message when it cannot be done, 2 for wrong arguments or settings."""
    if arguments.action == "downgrade" and not arguments.revision:
        _say("say which version to go back to; `base` takes away all tables")
        return 2
    try:
        asyncio.run(_run(arguments))
    except ConfigError as error:
        _say(str(error))
        return 2
    except (StoreError, DirectoryError, DatabaseStartError) as error:
        _say(str(error))
        return 1
    return 0


async def _run(arguments: argparse.Namespace) -> None:
    async with _database(arguments) as dsn:
        if arguments.action != "current":
            await migrate(dsn, _say, arguments.revision or "head")
        print(f"{await current_revision(dsn) or 'none'} (newest: {head_revision()})")


@asynccontextmanager
async def _database(arguments: argparse.Namespace) -> AsyncIterator[str]:
    config = load_config()
    dsn = arguments.dsn or (config.persistence.url if not arguments.data else "")
    if dsn:
        yield dsn
        return
    with DataDirectory(arguments.data or config.data) as directory:
        postgres = EmbeddedPostgres(directory.path, _say, config.persistence.startup_timeout_s)
        try:
            yield await postgres.start()
        finally:
            await postgres.stop()


def _say(text: str) -> None:
    print(text, file=sys.stderr)
