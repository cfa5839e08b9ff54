"""`landworld restore FILE`: a world out of an archive of `landworld backup`, into an empty data directory (or an empty database).

The archive is read and checked as a whole before anything is touched; its keys are the first to be written, and never over others;
tables of an older version are brought up to this one; and at the end the audit looks at all of it. What cannot be finished is taken
away again. Exit code 1: not restored, or the audit found something.
"""

import argparse
import asyncio
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from persistence.archive import NotEmpty, examine, keys_of, restore
from persistence.audit import Findings, audit
from persistence.embedded import DirectoryError
from persistence.files import write_new
from persistence.reseal import keys_in_use
from server.config import load_config
from server.keys import lost_values, read_sealing
from tools.audit import Progress, show
from tools.backup import KEYS
from tools.database import FORESEEABLE, add_database, database, ended, say

MAY_BE_THERE = {"landworld.lock"}  # in a directory that counts as empty


def add_parser(sub: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """The sub-command."""
    parser = sub.add_parser("restore", help="make a world out of a backup", description=__doc__)
    parser.add_argument("file", type=Path)
    add_database(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """0 when it is restored and well, 1 when not, 2 for wrong settings."""
    try:
        found = asyncio.run(_run(arguments))
    except FORESEEABLE as error:
        return ended(error, "Not restored")
    show(found)
    return 1 if found.troubles else 0


async def _run(arguments: argparse.Namespace) -> Findings:
    config = load_config()
    directory = arguments.data or config.data
    manifest = examine(arguments.file)
    inside = not (arguments.dsn or (config.persistence.url and not arguments.data))
    if inside:
        _check_empty(directory)
    keys = keys_of(arguments.file, manifest)
    with _keys_in(directory, keys):
        try:
            async with database(arguments, alone=True) as dsn:
                await restore(dsn, arguments.file, manifest, lambda text: say(f"  {text} ..."))
                found = await audit(dsn, Progress())
                lost = lost_values(await keys_in_use(dsn), read_sealing(config, directory))
        except (DirectoryError, NotEmpty):
            raise  # another process has it, or had it since we looked: what is there is theirs
        except BaseException:
            if inside:
                shutil.rmtree(directory / "postgres", ignore_errors=True)  # we made it
            raise
    if not keys:
        say(
            "  There are no keys in the archive: tokens and tickets of before are not good here, new receipts have another key."
        )
    if lost:
        say(f"  {lost}")
    if (found.last_seq, found.digest.hex()) != (manifest.seq, manifest.digest) and not found.troubles:
        found.add([f"the archive says that it ends with entry {manifest.seq} and digest {manifest.digest}"])
    return found


def _check_empty(directory: Path) -> None:
    """Raises NotEmpty."""
    there = {entry.name for entry in directory.iterdir()} - MAY_BE_THERE if directory.exists() else set()
    if there:
        raise NotEmpty(
            f"{directory} is not empty: {', '.join(sorted(there)[:3])} ...; choose another with --data"
        )


@contextmanager
def _keys_in(directory: Path, keys: Mapping[str, bytes]) -> Iterator[None]:
    """The archive's keys lie there while the rest is done, and are taken away again if that fails. Raises NotEmpty, OSError."""
    written: list[Path] = []
    try:
        for name in keys.keys() & set(KEYS):
            path = directory / name
            if not _is_there(path, keys[name]):
                write_new(path, keys[name])
                written.append(path)
        yield
    except BaseException:
        for path in written:
            path.unlink()  # also where it was given up (Ctrl-C)
        raise


def _is_there(path: Path, key: bytes) -> bool:
    """Whether this key is there already. Raises NotEmpty if it is another."""
    if not path.exists():
        return False
    if path.read_bytes() != key:
        raise NotEmpty(f"{path} is there already, with another key than the archive's; move it away first")
    return True
