"""`landworld migrate`: bring a database's tables to this code's version, back, or say where they are.

The server migrates by itself at every start; this is for who wants it apart from that. `upgrade` never goes back. `downgrade` drops
what older versions do not know; where rows are among it, it says how many and does nothing without --yes: make a backup first
(`landworld backup`). While either works no server may use the directory.
"""

import argparse
import asyncio

from persistence.migrations import NO_TABLES, WouldDrop, current_revision, go_back, head_revision, migrate
from tools.database import FORESEEABLE, add_database, database, ended, say


def add_parser(sub: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the sub-command."""
    parser = sub.add_parser(
        "migrate", help="bring the database's tables to this version, or back", description=__doc__
    )
    parser.add_argument(
        "action",
        choices=("upgrade", "downgrade", "current"),
        help="downgrade drops what older versions do not know, with all that is in it",
    )
    parser.add_argument("revision", nargs="?", help="default: the newest; needed for downgrade (base: none)")
    parser.add_argument("--yes", action="store_true", help="downgrade although it drops rows")
    add_database(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """0 when done, 1 with a message when it cannot be done, 2 for wrong arguments or settings."""
    if arguments.action == "downgrade" and not arguments.revision:
        say("say which version to go back to; `base` takes away all tables")
        return 2
    try:
        asyncio.run(_run(arguments))
    except WouldDrop as error:
        say(f"Nothing was changed: {error}.")
        say("Save the world first with `landworld backup FILE`; then say --yes.")
        return 1
    except FORESEEABLE as error:
        return ended(error)
    return 0


async def _run(arguments: argparse.Namespace) -> None:
    action, revision = arguments.action, arguments.revision
    async with database(arguments, alone=action != "current", make=action == "upgrade") as dsn:
        if action == "upgrade":
            await migrate(dsn, say, revision or "head")
        elif action == "downgrade":
            await go_back(dsn, say, revision, arguments.yes)
        print(f"{await current_revision(dsn) or NO_TABLES} (newest: {head_revision()})")
