"""Forgetting the oldest history, so that what is left still proves itself.

Whole partitions of the journal go, never the newest. What they added up to takes their place as the opening (`journal_opening`), with
the digest of the last entry that goes (`journal_pruned`): the audit begins there, and the next entry's receipt still chains. Answers
stay: an action is done once, however long ago it was.

    read     the entries that are to go, checked as the audit checks them: nothing is forgotten that is in doubt
    replace  the opening is written and the partitions are dropped in one transaction. A drop needs the journal for itself, for a
             moment: it waits LOCK_MS at most, so that a server that writes meanwhile hardly notices, and tries again
    sweep    the postings of those entries, piece by piece; a prune that is killed here is finished by the next
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import asyncpg
import msgspec

from persistence.fold import Fold
from persistence.history import Snapshot, connected
from persistence.store import StoreError, StoreUnavailable
from world.entries import read

LOCK_MS = 200
LOCK_TRIES = 50
LOCK_PAUSE_S = 0.2
SWEEP_ROWS = 20_000  # postings in one transaction
_LOCK = 0x7072756E  # "prun": one prune at a time

Progress = Callable[[str], None]

_PARTITIONS = "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'journal'::regclass"
_ENDS = "SELECT seq, written_at < now() - $1::float8 * interval '1 day' FROM {} ORDER BY seq DESC LIMIT 1"
_SWEEP = """
DELETE FROM postings WHERE (seq, place) IN (
    SELECT seq, place FROM postings WHERE seq <= (SELECT seq FROM journal_pruned) ORDER BY seq, place LIMIT $1)
"""

_encode = msgspec.json.Encoder().encode


class Doubtful(StoreError):  # noqa: N818
    """What should be forgotten does not hold together; nothing was pruned."""


@dataclass(frozen=True, slots=True)
class Pruned:
    """What a prune did."""

    entries: int
    partitions: int
    last_seq: int  # the last entry that is gone; 0: all history is there


async def prune(dsn: str, keep_days: float, progress: Progress) -> Pruned:
    """Forgets the partitions whose entries are all older. Raises Doubtful, StoreError."""
    async with Snapshot.of(dsn) as snapshot:
        first, digest = await snapshot.pruned()
        old = await _old_partitions(snapshot, keep_days)
        fold = Fold(first, digest)
        if old:
            await _read(snapshot, fold, max(old.values()), progress)
    if old:
        progress("dropping the partitions")
        await _replace(dsn, fold, first, list(old))
    progress("removing the postings of those entries")
    await _sweep(dsn)
    return Pruned(fold.seq - first, len(old), fold.seq)


async def _old_partitions(snapshot: Snapshot, keep_days: float) -> dict[str, int]:
    """Those that may go, oldest first, with their last entry's seq."""
    names = [row[0] for row in await snapshot.connection.fetch(_PARTITIONS)]
    ends = {name: await snapshot.connection.fetchrow(_ENDS.format(name), keep_days) for name in names}
    filled = sorted((row[0], row[1], name) for name, row in ends.items() if row is not None)
    old: dict[str, int] = {}
    for seq, is_old, name in filled[:-1]:
        if not is_old:
            break
        old[name] = seq
    return old


async def _read(snapshot: Snapshot, fold: Fold, last: int, progress: Progress) -> None:
    """Folds all entries up to one. Raises Doubtful."""
    async for change in snapshot.opening():
        fold.apply(change)
    async for page in snapshot.entries(fold.seq):
        for seq, record, digest in page:
            if seq > last:
                return
            for trouble in _troubles(fold, seq, record, digest):
                raise Doubtful(f"nothing was pruned, for {trouble}; `landworld audit` tells all")
        progress(f"read up to entry {fold.seq:,} of {last:,}")


def _troubles(fold: Fold, seq: int, record: bytes, digest: bytes) -> list[str]:
    """Takes in an entry; what is wrong with it."""
    troubles = list(fold.follow(seq, record, digest))
    try:
        return [*troubles, *fold.take(read(record))]
    except msgspec.MsgspecError as error:
        return [*troubles, f"entry {seq} cannot be read: {error}"]


async def _replace(dsn: str, fold: Fold, first: int, partitions: list[str]) -> None:
    async with connected(dsn) as connection, connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
        if await connection.fetchval("SELECT seq FROM journal_pruned") != first:
            raise StoreUnavailable("another prune came first; nothing more was pruned")
        await connection.execute("DELETE FROM journal_opening")
        opening = ((place, _encode(change).decode()) for place, change in enumerate(fold.changes()))
        await connection.copy_records_to_table(
            "journal_opening", records=opening, columns=("place", "change")
        )
        await connection.execute("UPDATE journal_pruned SET seq = $1, digest = $2", fold.seq, fold.digest)
        await _drop(connection, partitions)


async def _drop(connection: "asyncpg.Connection[asyncpg.Record]", partitions: list[str]) -> None:
    await connection.execute(f"SET LOCAL lock_timeout = {LOCK_MS}")
    for _ in range(LOCK_TRIES):
        try:
            async with connection.transaction():
                await connection.execute(f"DROP TABLE {', '.join(partitions)}")
                return
        except asyncpg.LockNotAvailableError:
            await asyncio.sleep(LOCK_PAUSE_S)
    raise StoreUnavailable(
        "nothing was pruned: somebody reads the journal all the time, an audit or a backup perhaps; try again when that is over"
    )


async def _sweep(dsn: str) -> None:
    async with connected(dsn) as connection:
        while await connection.execute(_SWEEP, SWEEP_ROWS) != "DELETE 0":
            pass
