"""`landworld audit`: does the journal hold together, and do all tables say what it says?

Every entry is checked against its digest and against those before it, and what they add up to against balances, holds, parcels, what is
built, postings, answers and the world row. A row that was changed, is missing or is too many is named by its place in the journal.
Epochs and the times at which entries were written must follow the entries' order. What no entry holds is not looked at: players' names,
roles and places, talk, and within that order the time an entry was written.
It looks at one moment of the database and holds up no server. Exit code 1: something is wrong.
"""

import argparse
import asyncio
import json

from persistence.audit import Findings, audit
from tools.database import FORESEEABLE, add_database, database, ended, say

PROGRESS_ENTRIES = 50_000


def add_parser(sub: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """The sub-command."""
    parser = sub.add_parser(
        "audit", help="check the journal and all that follows from it", description=__doc__
    )
    add_database(parser)
    parser.add_argument("--json", action="store_true", help="end with one JSON object")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """0 when all is well, 1 with the troubles, or when it cannot be done, 2 for wrong settings."""
    try:
        found = asyncio.run(_run(arguments))
    except FORESEEABLE as error:
        return ended(error, "No audit")
    show(found)
    if arguments.json:
        print(
            json.dumps(
                {
                    "entries": found.entries,
                    "first_seq": found.first_seq,
                    "last_seq": found.last_seq,
                    "digest": found.digest.hex(),
                    "troubles": found.troubles,
                    "troubles_untold": found.more,
                }
            )
        )
    return 1 if found.troubles else 0


async def _run(arguments: argparse.Namespace) -> Findings:
    async with database(arguments, alone=False) as dsn:
        return await audit(dsn, Progress())


class Progress:
    """Says, each PROGRESS_ENTRIES, how far an audit is."""

    def __init__(self) -> None:
        self._next = PROGRESS_ENTRIES

    def __call__(self, done: int, of: int) -> None:
        """So many entries of so many were looked at."""
        if done >= self._next:
            self._next = done + PROGRESS_ENTRIES
            say(f"  {done:,} of {of:,} entries")


def show(found: Findings) -> None:
    """The outcome, for people."""
    for trouble in found.troubles:
        print(f"WRONG: {trouble}")
    if found.more:
        print(f"... and {found.more:,} more")
    whole = f"Entries {found.first_seq} to {found.last_seq}" if found.entries else "No entries"
    if found.troubles:
        count = len(found.troubles) + found.more
        print(f"{whole}: {count:,} {'thing is' if count == 1 else 'things are'} wrong.")
    else:
        print(
            f"{whole}: all is well; every table says what the journal says. Digest {found.digest.hex()[:16]}..."
        )
