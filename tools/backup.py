"""`landworld backup FILE`: the whole world in one file, from a server that goes on meanwhile, or a stopped one.

All tables are read as they were at one moment. With --with-keys the keys of the data directory are saved, too: only with them are the
tokens, tickets and receipts of before good in a world that is restored, and only with them can its private values (e-mail, addresses,
reports) be opened; whoever has the file can then sign as this server and read all of it. Keys from the environment are not saved.
"""

import argparse
import asyncio
import json
import time
from pathlib import Path

from persistence.archive import Manifest, backup
from server import receipts
from server.config import load_config
from server.keys import KEY_FILES
from tools.database import FORESEEABLE, add_database, database, ended, say

KEYS = (*KEY_FILES, receipts.KEY_FILE)


def add_parser(sub: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """The sub-command."""
    parser = sub.add_parser(
        "backup", help="save the world to a file, also while it runs", description=__doc__
    )
    parser.add_argument("file", type=Path)
    parser.add_argument("--with-keys", action="store_true", help="the keys of the data directory, too")
    add_database(parser)
    parser.add_argument("--json", action="store_true", help="end with one JSON object")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """0 when it is written, 1 with a message when it cannot be, 2 for wrong settings."""
    began = time.monotonic()
    try:
        manifest = asyncio.run(_run(arguments))
    except FORESEEABLE as error:
        return ended(error, "No backup")
    size = arguments.file.stat().st_size
    print(f"Saved the world up to entry {manifest.seq} in {arguments.file}: {size / 1e6:.1f} MB")
    if arguments.json:
        seconds = round(time.monotonic() - began, 3)
        rows = sum(part.rows for part in manifest.parts)
        print(
            json.dumps(
                {
                    "seq": manifest.seq,
                    "digest": manifest.digest,
                    "rows": rows,
                    "bytes": size,
                    "seconds": seconds,
                }
            )
        )
    return 0


async def _run(arguments: argparse.Namespace) -> Manifest:
    directory = arguments.data or load_config().data
    keys = _keys_of(directory) if arguments.with_keys else {}
    async with database(arguments, alone=False) as dsn:
        return await backup(
            dsn, arguments.file, keys, time.time_ns() // 1_000_000, lambda text: say(f"  {text} ...")
        )


def _keys_of(directory: Path) -> dict[str, bytes]:
    """The key files there are; who misses one is told."""
    paths = [directory / name for name in KEYS]
    for path in paths:
        if not path.exists():
            say(f"  There is no {path}; a key from the environment is not saved, keep a copy of it.")
    return {path.name: path.read_bytes() for path in paths if path.exists()}
