"""The store: every SQL statement of the server but those of accounts.py, moderation.py and reseal.py, and nothing but SQL.

Rules
    1. Whatever writes names its epoch. The first statement of a writing transaction locks the one row of
       `world` and checks the epoch there, so writers stand in line behind that row: a server that lost its
       place writes nothing (`Fenced`), and two writers cannot deadlock over players.
    2. Every write may be sent twice. A connection that breaks during COMMIT leaves the outcome unknown, and
       nobody here guesses: positions are overwritten with the same values, players are found by `key`, chat
       lines by (epoch, serial), entries of the journal by seq: what world.last_seq has passed is not written again.
       So `StoreUnavailable` always means: send the same again.
    3. A batch is one statement per kind of thing (`unnest`), whatever its size; all that a batch of entries changes is one.

Time limits. asyncpg's `command_timeout` (and `asyncio.wait_for`) cancel from our side: that opens a second
connection to ask for the cancel, can itself hang when Postgres does, and for a COMMIT says nothing about the
outcome. So statements are limited by Postgres (`statement_timeout`, `lock_timeout`), which decides and tells;
and for a Postgres that does not answer at all, the connection is cut (`CUT_SECONDS_MAX`). A cut
connection cannot overtake its successor: statements go one by one, so all it can still do is finish a COMMIT,
and until that is over it holds the world row for which the successor waits.

Errors
    StoreError
    +-- StoreUnavailable    Postgres cannot be reached or cannot do it now; send the same again later
    |   +-- LoginRefused    wrong user or password: at the start a person must decide, later it is waited for
    +-- StoreRefused        Postgres says no to what was sent: a missing right or a mistake of ours; not again
    +-- Fenced              another server opened this world; stop, never retry
    +-- WorldMismatch       the database holds another world than the settings ask for; a person must decide
    +-- SchemaMismatch      tables older or newer than this code (see persistence/migrations)

Units: x and y in tiles, `_ms` milliseconds since 1970 (wall clock), `tick` counts ticks of the world.
"""

import asyncio
import math
import unicodedata
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self
from uuid import UUID

import asyncpg
import msgspec

from persistence.rows import Key, Surfaces, rows_of
from world.entries import Entry
from world.ledger import Hold
from world.parcels import Parcel
from world.sales import Sale
from world.tiles import Surface

if TYPE_CHECKING:  # asyncpg's classes are generic only for the type checker
    from asyncpg.pool import PoolConnectionProxy

    type_connection = PoolConnectionProxy[asyncpg.Record] | asyncpg.Connection[asyncpg.Record]

CONNECT_SECONDS_MAX = 5.0
ACQUIRE_SECONDS_MAX = 5.0  # waiting for one of the pool's connections
STATEMENT_MS_MAX = 8_000  # Postgres gives a statement up after this, and says so
CUT_SECONDS_MAX = 10.0  # the connection is cut when Postgres says nothing at all; above STATEMENT_MS_MAX
CLOSE_SECONDS_MAX = 1.0
RETRY_SECONDS = 0.5  # between attempts to reach a database that is starting
POSTGRES_MAJOR_MIN = 15
CHAT_ROWS_MAX = 100_000  # older lines are deleted
SURFACES_READ = 5_000  # chunks read at once at the start: some 100 ms
PARCELS_READ = 20_000  # parcels, and sales, likewise
ACCOUNTS_READ = 100_000  # accounts, likewise
ACCOUNT_BEFORE_ALL = -(2**63)  # no account comes before this
PARTITION_ENTRIES = 1_000_000  # of the journal in one partition
CHUNK_BEFORE_ALL = -(2**31)  # no chunk comes before this


class StoreError(Exception):
    """Any trouble with the store."""


class StoreUnavailable(StoreError):  # noqa: N818 - it is a state of the world, not a mistake
    """Postgres cannot be reached or cannot do it now; what was sent may or may not have been committed."""


class LoginRefused(StoreUnavailable):
    """Postgres does not let this user in."""


class StoreRefused(StoreError):  # noqa: N818
    """Postgres refused what was sent and wrote nothing; the same again would be refused again."""


class Fenced(StoreError):  # noqa: N818
    """Another server has opened this world since; nothing was written and nothing ever will be."""


class WorldMismatch(StoreError):  # noqa: N818
    """The database holds another world than the settings ask for."""


class SchemaMismatch(StoreError):  # noqa: N818
    """The tables are of another version than this code."""


@dataclass(frozen=True, slots=True)
class WorldRow:
    """The world as it was opened: `epoch` is this server's, one above the last one's."""

    seed: int
    epoch: int
    tick: int
    last_seq: int
    created_at_ms: int


@dataclass(frozen=True, slots=True)
class Entrant:
    """Someone who comes in; name, look and place count only at the first time. See `account_key`.

    Without a role one keeps that of before; who never was here is then a guest.
    """

    key: str
    name: str
    role: str | None
    look: int
    x: float
    y: float


@dataclass(frozen=True, slots=True)
class PlayerRow:
    """A player as stored; `look` is a u32."""

    player_id: int
    key: str
    name: str
    role: str
    look: int
    x: float
    y: float
    created_at_ms: int
    last_seen_at_ms: int


@dataclass(frozen=True, slots=True)
class ChatLine:
    """One thing said. `recipient_id` is None unless it was said to one player only.

    Raises ValueError for text Postgres cannot hold: it would block every later flush, so it is
    refused where it is made.
    """

    channel: int
    sender_id: int
    sender_name: str
    recipient_id: int | None
    x: float
    y: float
    tick: int
    said_at_ms: int
    text: str

    def __post_init__(self) -> None:
        """Refuse what Postgres cannot hold."""
        if "\0" in self.text or not _encodable(self.text) or not _encodable(self.sender_name):
            raise ValueError("chat text holds NUL or a lone surrogate")


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """What was answered to an action; `result` is JSON. `seq` 0: before there was a journal."""

    player_id: int
    content: bytes
    seq: int
    result: str


@dataclass(frozen=True, slots=True)
class Books:
    """The end of the journal and what it adds up to, but for land: that is read page by page."""

    seq: int
    digest: bytes
    balances: list[tuple[int, int]]  # account, poisha
    holds: list[Hold]
    last_parcel_id: int


@dataclass(frozen=True, slots=True)
class Batch:
    """What one flush writes: positions (three lists of one length), (serial, line) pairs, and entries of the journal in order."""

    tick: int
    player_ids: list[int] = field(default_factory=list)
    xs: list[float] = field(default_factory=list)
    ys: list[float] = field(default_factory=list)
    chat: list[tuple[int, ChatLine]] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)


def fold_name(name: str) -> str:
    """The form in which two names are the same name; ours, so that it does not hang on a database's locale."""
    return unicodedata.normalize("NFKC", name).casefold()


def account_key(subject: str) -> str:
    """The key of who signs in with a token: one name, whatever its case, is one player."""
    return f"name:{fold_name(subject)}"


def left_key(player_id: int) -> str:
    """The key of a player whose account was deleted: nobody ever comes in by it."""
    return f"left:{player_id}"


def guest_key(guest_id: UUID) -> str:
    """The key of a guest."""
    return f"guest:{guest_id.hex}"


# A world of before there was tick_hz gets that of its first start since.
_OPEN_WORLD = """
INSERT INTO world (id, seed, tick_hz) VALUES (1, $1, $2)
ON CONFLICT (id) DO UPDATE SET tick_hz = coalesce(world.tick_hz, excluded.tick_hz)
RETURNING seed, tick_hz
"""
_RAISE_EPOCH = """
UPDATE world SET epoch = epoch + 1 WHERE id = 1
RETURNING seed, epoch, tick, last_seq, (extract(epoch FROM created_at) * 1000)::bigint AS created_at_ms
"""
_LOCK_EPOCH = "SELECT 1 FROM world WHERE id = 1 AND epoch = $1 FOR UPDATE"
# A flush before the first tick knows of none yet.
_LOCK_EPOCH_AND_SET_TICK = """
UPDATE world SET tick = greatest(tick, $2) WHERE id = 1 AND epoch = $1 RETURNING last_seq
"""

PLAYER_COLUMNS = """player_id, key, name, role, look, x, y,
    (extract(epoch FROM created_at) * 1000)::bigint AS created_at_ms,
    (extract(epoch FROM last_seen_at) * 1000)::bigint AS last_seen_at_ms"""

# The world row is locked, so nobody inserts in between; and ON CONFLICT DO UPDATE would
# burn a player_id (a u32) on each visit, which an UPDATE of those who are there does not.
_ENTER_PLAYERS = f"""
WITH entrant AS (
    SELECT DISTINCT ON (key) *
    FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::float8[], $7::float8[])
        WITH ORDINALITY AS given (key, name, name_fold, role, look, x, y, place)
    ORDER BY key, role IS NULL, place
), returning_player AS (
    UPDATE players SET last_seen_at = now(), role = CASE
        WHEN role_set OR EXISTS (SELECT FROM credentials WHERE credentials.player_id = players.player_id) THEN players.role
        ELSE coalesce(entrant.role, players.role) END
    FROM entrant WHERE players.key = entrant.key
    RETURNING players.*
), new_player AS (
    INSERT INTO players (key, name, name_fold, role, look, x, y)
    SELECT key, name, name_fold, coalesce(role, 'guest'), look, x, y FROM entrant
    WHERE NOT EXISTS (SELECT 1 FROM players WHERE players.key = entrant.key)
    ORDER BY place
    RETURNING *
)
SELECT {PLAYER_COLUMNS} FROM returning_player
UNION ALL
SELECT {PLAYER_COLUMNS} FROM new_player
"""  # noqa: S608 - the only thing put in is the column list above

_KNOWN_KEYS = "SELECT key FROM players WHERE key = ANY($1::text[])"
_BLOCKED_BY = (
    "SELECT player_id, other_id FROM blocks WHERE player_id = ANY($1::bigint[]) ORDER BY player_id, other_id"
)
_FIND_PLAYER = f"""
SELECT {PLAYER_COLUMNS} FROM players WHERE name_fold = $1 AND key NOT LIKE 'left:%'
ORDER BY (role = 'guest'), last_seen_at DESC, player_id LIMIT 1
"""  # noqa: S608

_SAVE_POSITIONS = """
UPDATE players SET x = moved.x, y = moved.y, last_seen_at = now()
FROM unnest($1::bigint[], $2::float8[], $3::float8[]) AS moved (player_id, x, y)
WHERE players.player_id = moved.player_id
"""
_SAVE_CHAT = """
INSERT INTO chat_messages
    (epoch, serial, channel, sender_id, sender_name, recipient_id, x, y, tick, said_at, text)
SELECT $1, serial, channel, sender_id, sender_name, recipient_id, x, y, tick,
       to_timestamp(said_at_ms / 1000.0), text
FROM unnest($2::bigint[], $3::smallint[], $4::bigint[], $5::text[], $6::bigint[], $7::float8[], $8::float8[],
            $9::bigint[], $10::bigint[], $11::text[])
    AS said (serial, channel, sender_id, sender_name, recipient_id, x, y, tick, said_at_ms, text)
WHERE NOT EXISTS (SELECT 1 FROM players WHERE player_id = sender_id AND key LIKE 'left:%')
ORDER BY serial
ON CONFLICT (epoch, serial) DO NOTHING
"""
_RECENT_CHAT = """
SELECT channel, sender_id, sender_name, recipient_id, x, y, tick,
       (extract(epoch FROM said_at) * 1000)::bigint AS said_at_ms, text
FROM (SELECT * FROM chat_messages ORDER BY id DESC LIMIT $1) AS latest ORDER BY id
"""
_PRUNE_CHAT = """
DELETE FROM chat_messages
WHERE id <= (SELECT max(id) FROM chat_messages) - $1 OR said_at < now() - $2::float8 * interval '1 day'
"""
_OLD_GUEST = """
key LIKE 'guest:%' AND last_seen_at < now() - $1::float8 * interval '1 day'
    AND NOT EXISTS (SELECT 1 FROM accounts WHERE account_id = player_id)
    AND NOT EXISTS (SELECT 1 FROM parcels WHERE owner_id = player_id)
"""
_FIND_OLD_GUESTS = (
    f"SELECT player_id FROM players WHERE {_OLD_GUEST} AND player_id <> ALL($2::bigint[]) LIMIT $3"  # noqa: S608
)
_DELETE_OLD_GUESTS = f"DELETE FROM players WHERE {_OLD_GUEST} AND player_id = ANY($2::bigint[])"  # noqa: S608
_FIND_ANSWERS = (
    "SELECT action_id, player_id, content_digest, seq, result FROM answers WHERE action_id = ANY($1::bytea[])"
)
# One statement for all tables: between two of them the loop may have a tick to do, and the transaction would wait for it each time.
# They see the tables as they were before, so no row may be in two parts of it (Rows keeps them apart).
# When an entry was written never goes back, though a clock be set back: the audit takes that for a change by hand.
_SAVE_ENTRIES = """
WITH entry AS (
    INSERT INTO journal (seq, epoch, written_at, record, digest)
    SELECT seq, $1, greatest(now(), (SELECT written_at FROM journal WHERE seq = ($2::bigint[])[1] - 1)), record, digest
    FROM unnest($2::bigint[], $3::json[], $4::bytea[]) AS entry (seq, record, digest)
), answer AS (
    INSERT INTO answers (action_id, player_id, content_digest, seq, result)
    SELECT * FROM unnest($5::bytea[], $6::bigint[], $7::bytea[], $8::bigint[], $9::json[])
), posting AS (
    INSERT INTO postings (seq, place, account_id, amount, balance)
    SELECT * FROM unnest($10::bigint[], $11::smallint[], $12::bigint[], $13::bigint[], $14::bigint[])
), account AS (
    INSERT INTO accounts (account_id, balance, seq) SELECT * FROM unnest($15::bigint[], $16::bigint[], $17::bigint[])
    ON CONFLICT (account_id) DO UPDATE SET balance = excluded.balance, seq = excluded.seq
), ended AS (
    DELETE FROM holds WHERE hold_id = ANY($18::bigint[])
), hold AS (
    INSERT INTO holds (hold_id, account_id, amount, why)
    SELECT * FROM unnest($19::bigint[], $20::bigint[], $21::bigint[], $22::text[])
    ON CONFLICT (hold_id) DO UPDATE SET amount = excluded.amount, why = excluded.why
), freed AS (
    DELETE FROM parcels WHERE parcel_id = ANY($23::bigint[])
), parcel AS (
    INSERT INTO parcels (parcel_id, owner_id, px, py, pw, ph, parcel)
    SELECT * FROM unnest($24::bigint[], $25::bigint[], $26::integer[], $27::integer[], $28::integer[], $29::integer[], $30::json[])
    ON CONFLICT (parcel_id) DO UPDATE SET owner_id = excluded.owner_id, px = excluded.px, py = excluded.py,
        pw = excluded.pw, ph = excluded.ph, parcel = excluded.parcel
), surface AS (
    INSERT INTO surfaces (cx, cy, version, edits)
    SELECT * FROM unnest($31::integer[], $32::integer[], $33::bigint[], $34::bytea[])
    ON CONFLICT (cx, cy) DO UPDATE SET version = excluded.version, edits = excluded.edits
), closed AS (
    DELETE FROM sales WHERE sale_id = ANY($35::bigint[])
), sale AS (
    INSERT INTO sales (sale_id, parcel_id, seller_id, sale)
    SELECT * FROM unnest($36::bigint[], $37::bigint[], $38::bigint[], $39::json[])
    ON CONFLICT (sale_id) DO UPDATE SET sale = excluded.sale
)
UPDATE world SET last_seq = $40, last_digest = $41, last_parcel_id = greatest(last_parcel_id, $42) WHERE id = 1
"""
_PAGE_OF_SURFACES = """
SELECT cx, cy, version, edits FROM surfaces WHERE (cx, cy) > ($1, $2) ORDER BY cx, cy LIMIT $3
"""
_PAGE_OF_ACCOUNTS = (
    "SELECT account_id, balance FROM accounts WHERE account_id > $1 ORDER BY account_id LIMIT $2"
)
_PAGE_OF_PARCELS = "SELECT parcel_id, parcel FROM parcels WHERE parcel_id > $1 ORDER BY parcel_id LIMIT $2"
_PAGE_OF_SALES = "SELECT sale_id, sale FROM sales WHERE sale_id > $1 ORDER BY sale_id LIMIT $2"
_PAGE_OF_POSTINGS = """
SELECT postings.seq, (record->>'tick')::bigint AS tick, record->>'kind' AS kind, amount, balance
FROM postings JOIN journal USING (seq)
WHERE account_id = $1 AND postings.seq < $2 ORDER BY postings.seq DESC, place DESC LIMIT $3
"""
_READ_ENTRY = """
SELECT entry.record, entry.digest, coalesce(before.digest, (SELECT digest FROM journal_pruned WHERE seq = $1 - 1)) AS before
FROM journal AS entry LEFT JOIN journal AS before ON before.seq = entry.seq - 1 WHERE entry.seq = $1
"""


async def wait_until_reachable(dsn: str, progress: Callable[[str], None], seconds_max: float) -> None:
    """Wait for a Postgres that may still be starting.

    Raises StoreUnavailable after `seconds_max`, and LoginRefused at once: waiting does not mend a password.
    """
    deadline = asyncio.get_running_loop().time() + seconds_max
    told = False
    while True:
        try:
            with translated():
                connection = await asyncpg.connect(dsn, timeout=CONNECT_SECONDS_MAX)
                await connection.close(timeout=CLOSE_SECONDS_MAX)
                return
        except LoginRefused:
            raise
        except StoreUnavailable as error:
            if asyncio.get_running_loop().time() > deadline:
                raise
            if not told:
                progress(f"waiting up to {seconds_max:.0f} s for the database: {error}")
            told = True
            await asyncio.sleep(RETRY_SECONDS)


class Store:
    """The database of one world. Make it with `Store.open`; its tables must be there (`migrate`)."""

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
        self.surfaces = Surfaces(())
        self._pool = pool
        self._partition = -1  # of the journal, the newest that is known to be there

    @classmethod
    async def open(cls, dsn: str, pool_size: int) -> Self:
        """Connect, with at most `pool_size` connections. Raises StoreUnavailable, and SchemaMismatch for a Postgres that is too old."""
        settings = {
            "application_name": "landworld",
            "statement_timeout": str(STATEMENT_MS_MAX),
            "lock_timeout": str(STATEMENT_MS_MAX),
            "idle_in_transaction_session_timeout": str(STATEMENT_MS_MAX),
            "synchronous_commit": "on",
        }
        with translated():
            pool = await asyncpg.create_pool(
                dsn,
                min_size=0,  # or asyncpg logs a traceback for each attempt to keep it while Postgres is away
                max_size=pool_size,
                timeout=CONNECT_SECONDS_MAX,
                server_settings=settings,
            )
            async with pool.acquire() as connection:
                version = connection.get_server_version()
        if version.major < POSTGRES_MAJOR_MIN:
            pool.terminate()
            raise SchemaMismatch(
                f"PostgreSQL {version.major} is too old: {POSTGRES_MAJOR_MIN} or newer is needed"
            )
        return cls(pool)

    async def close(self, seconds_max: float = CLOSE_SECONDS_MAX) -> None:
        """Close all connections; what still runs after `seconds_max` is cut."""
        closing = asyncio.ensure_future(self._pool.close())
        await asyncio.wait({closing}, timeout=seconds_max)
        if not closing.done():
            self._pool.terminate()
        await asyncio.gather(closing, return_exceptions=True)

    async def open_world(self, seed: int, tick_hz: int) -> WorldRow:
        """Take the world over: make it at the first time, raise its epoch each time.

        `seed` fits a signed 64-bit integer. All times are stored in ticks, so a world keeps its tick_hz as it keeps its seed. Raises
        WorldMismatch when the stored world has another one.
        """
        async with self.reading() as connection, connection.transaction():
            stored = await connection.fetchrow(_OPEN_WORLD, seed, tick_hz)
            assert stored is not None
            for name, asked in (("seed", seed), ("tick_hz", tick_hz)):
                if stored[name] != asked:
                    raise WorldMismatch(
                        f"this database holds the world of {name} {stored[name]}, but world.{name} is {asked}. "
                        f"Set LANDWORLD_WORLD__{name.upper()}={stored[name]} to go on with it, or begin a new world in another "
                        "data directory (LANDWORLD_DATA) or database."
                    )
            row = await connection.fetchrow(_RAISE_EPOCH)
            assert row is not None
            return WorldRow(**dict(row))

    async def enter_players(self, epoch: int, entrants: Sequence[Entrant]) -> list[PlayerRow]:
        """Find or make the players of these keys; one row for each entrant, in their order.

        Who was here before keeps name, look and position and gets the role given, if one is and none was set by hand. Who has an
        account keeps theirs: somebody may have taken the name before it was given a token. Of entrants with
        the same key the first that names a role counts, or else the first. A position handed to the flusher may be newer than the one
        returned: see `Flusher.latest_position`. Raises Fenced, StoreUnavailable.
        """
        if not entrants:
            return []
        columns = (
            [e.key for e in entrants],
            [e.name for e in entrants],
            [fold_name(e.name) for e in entrants],
            [e.role for e in entrants],
            [e.look for e in entrants],
            [e.x for e in entrants],
            [e.y for e in entrants],
        )
        async with self.writing(epoch) as connection:
            rows = await connection.fetch(_ENTER_PLAYERS, *columns)
        by_key = {row["key"]: PlayerRow(**dict(row)) for row in rows}
        return [by_key[e.key] for e in entrants]

    async def known_keys(self, keys: Sequence[str]) -> set[str]:
        """Those of these keys that have a row."""
        async with self.reading() as connection:
            rows = await connection.fetch(_KNOWN_KEYS, list(keys))
        return {row["key"] for row in rows}

    async def find_player(self, name: str) -> PlayerRow | None:
        """The player of this name, whatever its case; accounts come before guests, then the latest seen.

        Names are no identity (that is `key`): an account's name is unique because its key holds it, guests'
        names are the server's choice.
        """
        async with self.reading() as connection:
            row = await connection.fetchrow(_FIND_PLAYER, fold_name(name))
        return PlayerRow(**dict(row)) if row else None

    async def blocked_by(self, player_ids: Sequence[int]) -> dict[int, list[int]]:
        """Whom each of these players does not hear; who hears everybody is left out."""
        async with self.reading() as connection:
            rows = await connection.fetch(_BLOCKED_BY, list(player_ids))
        found: dict[int, list[int]] = {}
        for row in rows:
            found.setdefault(row["player_id"], []).append(row["other_id"])
        return found

    async def save(self, epoch: int, batch: Batch) -> None:
        """Write a batch in one transaction; sending the same batch again changes nothing.

        Raises Fenced (nothing written), StoreUnavailable (all or nothing written, unknown which), ValueError.
        """
        if not all(map(math.isfinite, batch.xs)) or not all(map(math.isfinite, batch.ys)):
            raise ValueError("a position is not a finite number")
        async with self.reading() as connection, connection.transaction():
            stored_seq = await connection.fetchval(_LOCK_EPOCH_AND_SET_TICK, epoch, batch.tick)
            _check_epoch(stored_seq, epoch)
            if batch.player_ids:
                await connection.execute(_SAVE_POSITIONS, batch.player_ids, batch.xs, batch.ys)
            if batch.chat:
                await connection.execute(_SAVE_CHAT, epoch, *_chat_columns(batch.chat))
            new = [entry for entry in batch.entries if entry.seq > stored_seq]
            surfaces = self.surfaces.after(batch.entries)
            if new:
                await self._save_entries(connection, epoch, stored_seq, new, surfaces)
        if batch.entries:
            self._partition = batch.entries[-1].seq // PARTITION_ENTRIES
            self.surfaces.settle(surfaces)

    async def _save_entries(
        self,
        connection: "type_connection",
        epoch: int,
        stored_seq: int,
        entries: Sequence[Entry],
        surfaces: dict[Key, Surface],
    ) -> None:
        """The journal and all that follows from it."""
        if entries[0].seq != stored_seq + 1:
            raise StoreError(f"entry {entries[0].seq} does not follow {stored_seq}, the last one stored")
        if entries[-1].seq // PARTITION_ENTRIES > self._partition:
            await make_partitions(connection, entries[0].seq, entries[-1].seq)
        last, rows = entries[-1], rows_of(entries)
        columns = rows.columns(surfaces)
        await connection.execute(_SAVE_ENTRIES, epoch, *columns, last.seq, last.digest, rows.last_parcel_id)

    async def recent_chat(self, limit: int) -> list[ChatLine]:
        """The last lines of every channel, oldest first; those with a recipient are for two players only."""
        async with self.reading() as connection:
            rows = await connection.fetch(_RECENT_CHAT, limit)
        return [ChatLine(**dict(row)) for row in rows]

    async def prune_chat(self, epoch: int, days_max: float, rows_max: int = CHAT_ROWS_MAX) -> None:
        """Delete the lines beyond the newest `rows_max` and those older than `days_max` days."""
        async with self.writing(epoch) as connection:
            await connection.execute(_PRUNE_CHAT, rows_max, days_max)

    async def prune_guests(self, epoch: int, days_max: float, here: Sequence[int], rows_max: int) -> int:
        """Delete guests not seen for `days_max` days, at most `rows_max` of them and none of the player_ids `here`; how many.

        No player_id is given out again, so what they said and built keeps meaning them. They are looked for before the world is locked:
        it takes a look at all rows (last_seen_at changes with each flush, an index on it would cost more), and a flush would wait.
        """
        async with self.reading() as connection:
            found = await connection.fetch(_FIND_OLD_GUESTS, days_max, here, rows_max)
        async with self.writing(epoch) as connection:  # some may be back by now
            status = await connection.execute(
                _DELETE_OLD_GUESTS, days_max, [row["player_id"] for row in found]
            )
        return int(status.removeprefix("DELETE "))

    async def find_answers(self, action_ids: Sequence[bytes]) -> dict[bytes, StoredAnswer]:
        """Those of these actions that were done, by action_id."""
        async with self.reading() as connection:
            rows = await connection.fetch(_FIND_ANSWERS, list(action_ids))
        return {
            row["action_id"]: StoredAnswer(row["player_id"], row["content_digest"], row["seq"], row["result"])
            for row in rows
        }

    async def player_names(self, player_ids: Sequence[int]) -> dict[int, str]:
        """The names of those of these players that there are."""
        async with self.reading() as connection:
            rows = await connection.fetch(
                "SELECT player_id, name FROM players WHERE player_id = ANY($1::bigint[])", list(player_ids)
            )
        return {row["player_id"]: row["name"] for row in rows}

    async def statement(self, account: int, before: int, limit: int) -> list[dict[str, Any]]:
        """The newest postings of an account below a seq: seq, tick, kind, amount, balance."""
        async with self.reading() as connection:
            return [dict(row) for row in await connection.fetch(_PAGE_OF_POSTINGS, account, before, limit)]

    async def first_seq(self) -> int:
        """The oldest entry that the journal may still have: what was before is pruned."""
        async with self.reading() as connection:
            return int(await connection.fetchval("SELECT seq + 1 FROM journal_pruned"))

    async def entry(self, seq: int) -> tuple[str, bytes, bytes] | None:
        """The record of an entry, its digest, and the digest before it."""
        async with self.reading() as connection:
            row = await connection.fetchrow(_READ_ENTRY, seq)
        return None if row is None else (row["record"], row["digest"], row["before"])

    async def books(self) -> Books:
        """The journal's end and the ledger. Nobody else may be writing."""
        async with self.reading() as connection:
            end = await connection.fetchrow(
                "SELECT last_seq, last_digest, last_parcel_id FROM world WHERE id = 1"
            )
            assert end is not None
            holds = await connection.fetch(
                "SELECT hold_id, account_id, amount, why FROM holds ORDER BY hold_id"
            )
        return Books(
            end["last_seq"],
            end["last_digest"],
            await self._balances(),
            [Hold(*row) for row in holds],
            end["last_parcel_id"],
        )

    async def _balances(self) -> list[tuple[int, int]]:
        """All accounts, read in pages: each has a connection's time for itself, and no row is in memory twice."""
        balances: list[tuple[int, int]] = []
        after = ACCOUNT_BEFORE_ALL
        while True:
            async with self.reading() as connection:
                rows = await connection.fetch(_PAGE_OF_ACCOUNTS, after, ACCOUNTS_READ)
            if not rows:
                return balances
            balances += map(tuple, rows)
            after = rows[-1]["account_id"]

    async def parcels(self, progress: Callable[[int], None]) -> AsyncIterator[list[Parcel]]:
        """All parcels by id, page by page; `progress` is told how many were read."""
        async for rows in self._pages(_PAGE_OF_PARCELS, "parcel_id", progress):
            yield [_decode_parcel(row["parcel"]) for row in rows]

    async def sales(self, progress: Callable[[int], None]) -> AsyncIterator[list[Sale]]:
        """All open sales in the order in which they were made, page by page; `progress` is told how many were read."""
        async for rows in self._pages(_PAGE_OF_SALES, "sale_id", progress):
            yield [_decode_sale(row["sale"]) for row in rows]

    async def _pages(self, query: str, key: str, progress: Callable[[int], None]) -> AsyncIterator[list[Any]]:
        """The rows of a table by its `key`, page by page; a connection is held for a page only."""
        after = read = 0
        while True:
            async with self.reading() as connection:
                rows = await connection.fetch(query, after, PARCELS_READ)
            if not rows:
                return
            after, read = rows[-1][key], read + len(rows)
            progress(read)
            yield rows

    async def all_built(self, progress: Callable[[int], None]) -> list[tuple[int, int, int, bytes]]:
        """All that stands: cx, cy, version, packed CHUNK_EDIT records. `progress` is told how many chunks were read, page by page."""
        built: list[tuple[int, int, int, bytes]] = []
        after = (CHUNK_BEFORE_ALL, CHUNK_BEFORE_ALL)
        while True:
            async with self.reading() as connection:
                rows = await connection.fetch(_PAGE_OF_SURFACES, *after, SURFACES_READ)
            if not rows:
                self.surfaces = Surfaces(built)
                return built
            built += [tuple(row) for row in rows]
            after = (rows[-1]["cx"], rows[-1]["cy"])
            progress(len(built))

    @asynccontextmanager
    async def writing(self, epoch: int) -> AsyncIterator["type_connection"]:
        """A transaction of who holds the world. Raises Fenced."""
        async with self.reading() as connection, connection.transaction():
            _check_epoch(await connection.fetchval(_LOCK_EPOCH, epoch), epoch)
            yield connection

    @asynccontextmanager
    async def reading(self) -> AsyncIterator["type_connection"]:
        """A connection for statements that change nothing."""
        with translated():
            connection = await self._pool.acquire(timeout=ACQUIRE_SECONDS_MAX)
            cut = asyncio.get_running_loop().call_later(CUT_SECONDS_MAX, connection.terminate)
            try:
                yield connection
            finally:
                cut.cancel()
                await self._pool.release(connection)


async def make_partitions(connection: "type_connection", first_seq: int, last_seq: int) -> None:
    """The journal's partitions for these entries, where they are not there yet.

    Attached, not created as partitions: that would need the journal for itself, and wait for whoever reads it.
    """
    for number in range(first_seq // PARTITION_ENTRIES, last_seq // PARTITION_ENTRIES + 1):
        name, start = f"journal_{number}", number * PARTITION_ENTRIES
        if await connection.fetchval("SELECT to_regclass($1)", name) is None:
            await connection.execute(f"CREATE TABLE {name} (LIKE journal INCLUDING ALL)")
            await connection.execute(
                f"ALTER TABLE journal ATTACH PARTITION {name} FOR VALUES FROM ({start}) TO ({start + PARTITION_ENTRIES})"
            )


_decode_parcel = msgspec.json.Decoder(Parcel).decode
_decode_sale = msgspec.json.Decoder(Sale).decode


def _check_epoch(found: int | None, epoch: int) -> None:
    if found is None:
        raise Fenced(f"another server has opened this world since epoch {epoch}; this one must stop")


def _chat_columns(chat: Sequence[tuple[int, ChatLine]]) -> tuple[list[Any], ...]:
    lines = [line for _, line in chat]
    return (
        [serial for serial, _ in chat],
        [line.channel for line in lines],
        [line.sender_id for line in lines],
        [line.sender_name for line in lines],
        [line.recipient_id for line in lines],
        [line.x for line in lines],
        [line.y for line in lines],
        [line.tick for line in lines],
        [line.said_at_ms for line in lines],
        [line.text for line in lines],
    )


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


# Postgres says "not now" with these; with anything else it says no.
_NOT_NOW = (
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,  # shutting down, starting up, statement_timeout
    asyncpg.InsufficientResourcesError,  # disk full, out of memory, too many connections
    asyncpg.TransactionRollbackError,  # deadlock, serialization
    asyncpg.LockNotAvailableError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.ReadOnlySQLTransactionError,  # a replica, in the middle of a fail-over
    asyncpg.InvalidCatalogNameError,
    asyncpg.PostgresIOError,
    asyncpg.InternalClientError,
    OSError,
    TimeoutError,
)


@contextmanager
def translated() -> Iterator[None]:
    """Turn the driver's errors into those of this file."""
    try:
        yield
    except asyncpg.UndefinedTableError as error:
        raise SchemaMismatch(f"{error}: the tables are not there; run `landworld migrate upgrade`") from error
    except asyncpg.InvalidAuthorizationSpecificationError as error:
        advice = "look at the user and the password in LANDWORLD_PERSISTENCE__URL, and at pg_hba.conf there"
        raise LoginRefused(f"PostgreSQL: {error}; {advice}") from error
    except _NOT_NOW as error:
        raise StoreUnavailable(_why(error)) from error
    except asyncpg.PostgresError as error:
        raise StoreRefused(_why(error)) from error
    except asyncpg.InterfaceError as error:
        if isinstance(error, ValueError):  # a DSN that cannot be read: no use in trying again
            raise
        raise StoreUnavailable(_why(error)) from error  # the connection was cut or is closing


def _why(error: Exception) -> str:
    """What the driver says; some of its errors say nothing but what they are."""
    return f"PostgreSQL: {str(error) or type(error).__name__}"
