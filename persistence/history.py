"""The whole of a world's database as it was at one moment, read table by table: for audits, prunings, backups and people.

A `Snapshot` is one REPEATABLE READ transaction: it sees what was committed when it began, however long it takes, and holds up no server
that writes meanwhile. Everything comes through cursors, some thousand rows at a time, so memory does not grow with the journal.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

import asyncpg
import msgspec

from persistence.migrations import current_revision, head_revision
from persistence.store import CONNECT_SECONDS_MAX, SchemaMismatch, StoreError, fold_name, translated
from world.entries import Change

PAGE_ROWS = 2_000

Row = tuple[Any, ...]

_WORLD = "SELECT seed, epoch, tick, last_seq, last_digest, last_parcel_id FROM world WHERE id = 1"
_ENTRIES = "SELECT seq, record::text, digest FROM journal WHERE seq > $1 ORDER BY seq"
_WRITTEN = "SELECT seq, written_at, record::text FROM journal WHERE seq > $1 ORDER BY seq"
# Rows that were written, by what they say, before the row they follow; or in an epoch that has not come.
_OUT_OF_ORDER = """
SELECT seq, epoch < before, written_at < written_before, epoch > (SELECT epoch FROM world) FROM (
    SELECT seq, epoch, written_at, lag(epoch) OVER later AS before, lag(written_at) OVER later AS written_before
    FROM journal WINDOW later AS (ORDER BY seq)
) AS row
WHERE epoch < before OR written_at < written_before OR epoch > (SELECT epoch FROM world) ORDER BY seq LIMIT $1
"""
_POSTINGS = """
SELECT seq, place, account_id, amount, balance FROM postings WHERE seq > $1 AND seq <= $2 ORDER BY seq, place
"""
_ANSWERS = """
SELECT action_id, player_id, content_digest, seq, result::text FROM answers WHERE action_id = ANY($1::bytea[])
"""
_OF_ACCOUNT = """
SELECT postings.seq, written_at, record->>'kind', amount, balance FROM postings JOIN journal USING (seq)
WHERE account_id = $1 AND postings.seq >= $2 ORDER BY postings.seq, place
"""
_FOREIGN_ANSWERS = """
SELECT answers.seq, encode(action_id, 'hex') FROM answers LEFT JOIN journal USING (seq)
WHERE answers.seq > $1 AND record->>'action' IS DISTINCT FROM encode(action_id, 'hex') ORDER BY answers.seq LIMIT $2
"""


@dataclass(frozen=True, slots=True)
class End:
    """Where the journal ends, as the world row says."""

    seed: int
    epoch: int
    tick: int
    last_seq: int
    last_digest: bytes
    last_parcel_id: int


class NoWorld(StoreError):  # noqa: N818
    """The database holds no world yet."""


decode_change = msgspec.json.Decoder(Change).decode


class Snapshot:
    """The database at one moment. Make it with `Snapshot.of`; rows come in the order of their keys."""

    def __init__(self, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        self.connection = connection

    @classmethod
    @asynccontextmanager
    async def of(cls, dsn: str) -> AsyncIterator[Self]:
        """Opens one. Raises StoreUnavailable, SchemaMismatch for tables of another version, NoWorld."""
        await check_version(dsn)
        async with (
            connected(dsn) as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            yield cls(connection)

    async def end(self) -> End:
        """The journal's end. Raises NoWorld."""
        row = await self.connection.fetchrow(_WORLD)
        if row is None:
            raise NoWorld("there is no world in this database yet: no server has opened it")
        return End(**dict(row))

    async def pruned(self) -> tuple[int, bytes]:
        """The last entry that is gone, and its digest."""
        row = await self.connection.fetchrow("SELECT seq, digest FROM journal_pruned")
        assert row is not None
        return row["seq"], row["digest"]

    async def opening(self) -> AsyncIterator[Change]:
        """What makes the world as it was after the last entry that is gone."""
        async for row in self._rows("SELECT change::text FROM journal_opening ORDER BY place"):
            yield decode_change(row[0])

    async def entries(self, after: int) -> AsyncIterator[list[tuple[int, bytes, bytes]]]:
        """seq, record and digest of all entries behind one, page by page."""
        page: list[tuple[int, bytes, bytes]] = []
        async for seq, record, digest in self._rows(_ENTRIES, after):
            page.append((seq, record.encode(), digest))
            if len(page) == PAGE_ROWS:
                yield page
                page = []
        if page:
            yield page

    async def written(self, after: int) -> AsyncIterator[tuple[int, datetime, bytes]]:
        """seq, when it was stored, and record of all entries behind one."""
        async for seq, written_at, record in self._rows(_WRITTEN, after):
            yield seq, written_at, record.encode()

    async def out_of_order(self, limit: int) -> list[tuple[int, bool, bool, bool]]:
        """seq of entries whose epoch or time is below that of the entry before, or whose epoch is above the world's; which."""
        rows = await self.connection.fetch(_OUT_OF_ORDER, limit)
        return [(row[0], bool(row[1]), bool(row[2]), bool(row[3])) for row in rows]

    async def names(self, player_ids: Sequence[int]) -> dict[int, str]:
        """Of those that there are."""
        query = "SELECT player_id, name FROM players WHERE player_id = ANY($1::bigint[])"
        return {row[0]: row[1] for row in await self.connection.fetch(query, list(player_ids))}

    async def players_named(self, name: str) -> list[int]:
        """Whoever has a name, whatever its case."""
        query = "SELECT player_id FROM players WHERE name_fold = $1 ORDER BY player_id"
        return [row[0] for row in await self.connection.fetch(query, fold_name(name))]

    async def postings(self, after: int, last: int) -> list[Row]:
        """seq, place, account, amount and balance of all postings of the entries behind one, up to another."""
        return [tuple(row) for row in await self.connection.fetch(_POSTINGS, after, last)]

    def of_account(self, account: int, first: int) -> AsyncIterator[Row]:
        """seq, when it was stored, kind, amount and balance of the postings of an account, from an entry on."""
        return self._rows(_OF_ACCOUNT, account, first)

    async def answers(self, action_ids: Sequence[bytes]) -> dict[bytes, Row]:
        """player_id, content, seq and result of answers, by action_id."""
        rows = await self.connection.fetch(_ANSWERS, list(action_ids))
        return {row[0]: tuple(row)[1:] for row in rows}

    async def count_answers(self, after: int) -> int:
        """Answers to actions whose entry lies behind one."""
        count = await self.connection.fetchval("SELECT count(*) FROM answers WHERE seq > $1", after)
        return int(count)

    async def foreign_answers(self, after: int, limit: int) -> list[tuple[int, str]]:
        """seq and action of answers that the journal knows nothing of."""
        return [(row[0], row[1]) for row in await self.connection.fetch(_FOREIGN_ANSWERS, after, limit)]

    def accounts(self) -> AsyncIterator[Row]:
        """account, balance."""
        return self._rows("SELECT account_id, balance FROM accounts ORDER BY account_id")

    def holds(self) -> AsyncIterator[Row]:
        """hold_id, account, amount, why."""
        return self._rows("SELECT hold_id, account_id, amount, why FROM holds ORDER BY hold_id")

    def parcels(self) -> AsyncIterator[Row]:
        """parcel_id, owner_id, px, py, pw, ph, the whole as JSON."""
        query = "SELECT parcel_id, owner_id, px, py, pw, ph, parcel::text FROM parcels ORDER BY parcel_id"
        return self._rows(query)

    def sales(self) -> AsyncIterator[Row]:
        """sale_id, parcel_id, seller_id, the whole as JSON."""
        return self._rows("SELECT sale_id, parcel_id, seller_id, sale::text FROM sales ORDER BY sale_id")

    def surfaces(self) -> AsyncIterator[Row]:
        """cx, cy, version, edits."""
        return self._rows("SELECT cx, cy, version, edits FROM surfaces ORDER BY cx, cy")

    async def _rows(self, query: str, *arguments: Any) -> AsyncIterator[Row]:
        async for row in self.connection.cursor(query, *arguments, prefetch=PAGE_ROWS):
            yield tuple(row)


@asynccontextmanager
async def connected(dsn: str) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    """A connection for work that may take long: statements have no limit. Raises StoreUnavailable and its kin."""
    with translated():
        connection = await asyncpg.connect(
            dsn, timeout=CONNECT_SECONDS_MAX, server_settings={"application_name": "landworld"}
        )
        try:
            yield connection
        finally:
            connection.terminate()  # nothing is pending, and a cursor that was left is not worth waiting for


async def check_version(dsn: str) -> None:
    """Raises SchemaMismatch unless the tables are those of this code."""
    found = await current_revision(dsn)
    if found != head_revision():
        raise SchemaMismatch(
            f"the tables are of version {found or 'none'}, this landworld is for {head_revision()}: "
            "run `landworld migrate upgrade`, or the landworld that made them"
        )
