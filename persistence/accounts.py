"""Accounts in the database: the SQL of credentials, sessions and codes (store.py has all the rest, and its rules hold here).

Accounts are no entries of the journal: a person must be able to go. Each change is a transaction of its own, beside the flusher's, and
done or not done whole when it returns. It may be sent again after an outcome that is not known: a new session brings its id along, who
registers an action_id; what is ended or set is then just found so. The one exception is a refresh (`refresh`).

Private columns are sealed and opened here, and found by a keyed hash, so that nothing above knows of it.
"""

import hmac
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

import asyncpg

from persistence.sealing import ADDRESS, AUDIT_ADDRESS, EMAIL, REPORT_CONTENT, SANCTION_ADDRESS, Sealer
from persistence.store import PLAYER_COLUMNS, PlayerRow, Store, account_key, fold_name, left_key
from protocol.messages import SESSIONS_MAX

if TYPE_CHECKING:
    from persistence.store import type_connection


LEFT_NAME = "someone who left"  # what remains of a name; nobody may take it
VERIFY, RESET = "verify", "reset"  # what codes are for
EMAILS_TRIED = 10
EXPORT_PAGE = 2_000  # rows read at once
ACCOUNTS_PER_EMAIL_MAX = 8  # that a mail for a forgotten password names
CODE_TRIES_MAX = 10
CODE_PAUSE_S = 60  # between two mails of one kind because of one account, or it could be used to fill the mailboxes of others
NOBODY = 0  # no player has this id
KEEP_ENDED_DAYS = 7  # a session that is over is remembered so long


class NameTaken(Exception):  # noqa: N818 (an answer)
    """Somebody is called so."""


class DoneBefore(Exception):  # noqa: N818 (an answer)
    """This very registration was done."""


class AnotherAction(Exception):  # noqa: N818 (an answer)
    """This action_id was used for something else."""


class NoGuest(Exception):  # noqa: N818 (an answer)
    """There is no such guest any more."""


@dataclass(frozen=True, slots=True)
class Account:
    """An account with its player, as stored."""

    player_id: int
    key: str
    login: str  # the name as it is found
    name: str
    role: str
    look: int
    password_hash: str
    bio: str
    email: str  # empty: none
    email_verified: bool


@dataclass(frozen=True, slots=True)
class Profile:
    """Who a player is; what belongs to the account is empty where there is none."""

    player_id: int
    name: str
    role: str
    look: int
    bio: str
    email: str
    email_verified: bool


@dataclass(frozen=True, slots=True)
class Opening:
    """A session that begins."""

    session_id: UUID
    client: str
    address: str
    days: float  # it is over if it is not refreshed for so long


@dataclass(frozen=True, slots=True)
class Registration:
    """An account that begins. `former_key`: of the guest who has it from now on, None for somebody new."""

    action_id: bytes
    name: str
    email: str
    password_hash: str
    look: int
    x: float
    y: float
    former_key: str | None


@dataclass(frozen=True, slots=True)
class SessionRow:
    """A session that goes on."""

    session_id: UUID
    client: str
    address: str
    created_at_ms: int
    used_at_ms: int
    expires_at_ms: int


@dataclass(frozen=True, slots=True)
class Refreshed:
    """What came of a refresh token. Without a name the session was ended, for the token had been used before."""

    player_id: int
    name: str | None


_ACCOUNT = """
SELECT player_id, key, credentials.name_fold AS login, name, role, look, password_hash, bio, email_sealed AS email,
    email_verified_at IS NOT NULL AS email_verified
FROM credentials JOIN players USING (player_id) WHERE
"""
_BY_NAME = f"{_ACCOUNT} credentials.name_fold = $1"
_BY_PLAYER = f"{_ACCOUNT} player_id = $1"
_BY_VERIFIED_EMAIL = f"""
{_ACCOUNT} email_hash = $1 AND email_verified_at IS NOT NULL ORDER BY password_changed_at DESC LIMIT $2
"""
_SOME_EMAILS = """
SELECT player_id, email_sealed AS email, email_hash FROM credentials WHERE email_sealed IS NOT NULL LIMIT $1
"""
_REGISTERED = "SELECT content_digest FROM registrations WHERE action_id = $1"
# Guests are called something, too, or who is named at the console would be another. A guest keeps their name when they register.
_IS_TAKEN = """
SELECT 1 FROM players WHERE key = $1 AND player_id <> $3
UNION ALL SELECT 1 FROM credentials WHERE name_fold = $2 AND player_id <> $3
UNION ALL SELECT 1 FROM players WHERE name_fold = $2 AND player_id <> $3 AND key LIKE 'guest:%' AND key IS DISTINCT FROM $4
"""
_UPGRADE = """
UPDATE players SET key = $2, name = $3, name_fold = $4, role = 'user', last_seen_at = now()
WHERE key = $1 RETURNING player_id
"""
_NEW_PLAYER = """
INSERT INTO players (key, name, name_fold, role, look, x, y) VALUES ($1, $2, $3, 'user', $4, $5, $6) RETURNING player_id
"""
_NEW_CREDENTIALS = """
INSERT INTO credentials (player_id, name_fold, former_key, password_hash, email_sealed, email_hash) VALUES ($1, $2, $3, $4, $5, $6)
"""
# Not in `answers`: the flusher writes there what entered the tick, and must never come upon an action_id that is taken.
_REGISTER = "INSERT INTO registrations (action_id, player_id, content_digest) VALUES ($1, $2, $3)"
_NEW_SESSION = """
INSERT INTO sessions (session_id, player_id, client, address_sealed, expires_at)
SELECT $1, player_id, $3, $4, now() + $5::float8 * interval '1 day'
FROM credentials WHERE player_id = $2 AND password_hash = ANY($6::text[])
ON CONFLICT (session_id) DO UPDATE SET used_at = now() RETURNING 1
"""
_REHASH = "UPDATE credentials SET password_hash = $3 WHERE player_id = $1 AND password_hash = $2"
_END_SURPLUS = """
UPDATE sessions SET ended_at = now() WHERE session_id IN (
    SELECT session_id FROM sessions WHERE player_id = $1 AND ended_at IS NULL AND expires_at > now()
    ORDER BY used_at DESC, session_id OFFSET $2)
RETURNING session_id
"""
_REFRESH = """
UPDATE sessions SET generation = $2 + 1, used_at = now(), expires_at = now() + $4::float8 * interval '1 day', address_sealed = $5
FROM players
WHERE session_id = $1 AND (generation = $2 OR $3 AND generation = $2 + 1) AND ended_at IS NULL AND expires_at > now()
    AND players.player_id = sessions.player_id
RETURNING sessions.player_id, name
"""
_END_REUSED = """
UPDATE sessions SET ended_at = now() WHERE session_id = $1 AND generation > $2 AND ended_at IS NULL RETURNING player_id
"""
# What was ended a moment ago is told again, for the answer may be lost, but not counted. One whose time is up may still be connected.
_END = """
UPDATE sessions SET ended_at = coalesce(ended_at, now())
WHERE player_id = $1 AND (ended_at IS NULL OR ended_at > now() - interval '1 minute')
    AND ($2::uuid IS NULL OR session_id = $2) AND session_id IS DISTINCT FROM $3::uuid
RETURNING session_id, ended_at = now() AS ends_now
"""
_SESSIONS = """
SELECT session_id, client, address_sealed AS address, (extract(epoch FROM created_at) * 1000)::bigint AS created_at_ms,
    (extract(epoch FROM used_at) * 1000)::bigint AS used_at_ms, (extract(epoch FROM expires_at) * 1000)::bigint AS expires_at_ms
FROM sessions WHERE player_id = $1 AND ended_at IS NULL AND expires_at > now() ORDER BY created_at DESC, session_id LIMIT $2
"""
_ENTER_SESSIONS = f"""
WITH live AS (
    UPDATE sessions SET used_at = now(), client = entering.client
    FROM unnest($1::uuid[], $2::text[]) AS entering (session_id, client)
    WHERE sessions.session_id = entering.session_id AND ended_at IS NULL AND expires_at > now()
    RETURNING sessions.session_id, sessions.player_id
), seen AS (
    UPDATE players SET last_seen_at = now() WHERE player_id IN (SELECT player_id FROM live) RETURNING *
)
SELECT session_id, {PLAYER_COLUMNS} FROM live JOIN seen USING (player_id)
"""  # noqa: S608 - the only thing put in is the column list
_CHANGE_HASH = """
UPDATE credentials SET password_hash = $3, password_changed_at = now()
WHERE player_id = $1 AND password_hash = ANY(ARRAY[$2, $3]) RETURNING 1
"""
_PROFILE = """
SELECT player_id, name, role, look, coalesce(bio, '') AS bio, email_sealed AS email,
    email_verified_at IS NOT NULL AS email_verified
FROM players LEFT JOIN credentials USING (player_id) WHERE player_id = $1 AND key NOT LIKE 'left:%'
"""
_EDIT_ACCOUNT = """
UPDATE credentials SET name_fold = coalesce($2, name_fold), bio = coalesce($3, bio) WHERE player_id = $1 RETURNING 1
"""
_EDIT_PLAYER = """
UPDATE players SET key = coalesce($2, key), name = coalesce($3, name), name_fold = coalesce($4, name_fold),
    look = coalesce($5, look)
WHERE player_id = $1
"""
_CODE_WAIT = """
SELECT ceil(extract(epoch FROM sent_at - now()) * 1000)::bigint + $3 FROM codes WHERE player_id = $1 AND purpose = $2
"""
_PUT_CODE = """
INSERT INTO codes (player_id, purpose, code_hash, email_hash, expires_at)
VALUES ($1, $2, $3, $4, now() + $5::float8 * interval '1 second')
ON CONFLICT (player_id, purpose) DO UPDATE
SET code_hash = excluded.code_hash, email_hash = excluded.email_hash, expires_at = excluded.expires_at, tries = 0,
    sent_at = now()
"""
_TRY_CODES = """
UPDATE codes SET tries = tries + 1
WHERE purpose = $1 AND (player_id = $2 OR email_hash = $3) AND tries < $4 AND expires_at > now()
RETURNING player_id, code_hash
"""
_USE_CODE = """
DELETE FROM codes WHERE player_id = $1 AND purpose = $2 AND code_hash = $3 RETURNING email_hash
"""
_VERIFY = (
    "UPDATE credentials SET email_verified_at = now() WHERE player_id = $1 AND email_hash = $2 RETURNING 1"
)
_SET_EMAIL = """
UPDATE credentials SET email_sealed = $3, email_hash = $4, email_verified_at = NULL
WHERE player_id = $1 AND password_hash = $2 RETURNING 1
"""
_RESET = """
UPDATE credentials SET password_hash = $3, password_changed_at = now() WHERE player_id = $1 AND email_hash = $2 RETURNING 1
"""
_END_RESETS = "DELETE FROM codes WHERE player_id = $1 AND purpose = 'reset'"
_LEAVE = """
UPDATE players SET key = $2, name = $3, name_fold = $4, role = 'guest', look = 0 WHERE player_id = $1
"""
# What goes with an account; each takes the player_id.
_GOES = (
    "DELETE FROM credentials WHERE player_id = $1",
    "DELETE FROM sessions WHERE player_id = $1",
    "DELETE FROM codes WHERE player_id = $1",
    # The action_id stays, or a repeat on its way would make the account again; what it was of does not.
    "UPDATE registrations SET content_digest = '' WHERE player_id = $1",
    "DELETE FROM chat_messages WHERE sender_id = $1",
    "DELETE FROM blocks WHERE player_id = $1 OR other_id = $1",
    "DELETE FROM reports WHERE reporter_id = $1",
)
# Where moderation has the name in plain words; each takes the player_id and what stands there instead. The ids stay: what was done to
# whom, and by whom, is for those who moderate after them.
_UNNAMED = (
    "UPDATE moderation_audit SET actor_name = $2 WHERE actor_id = $1",
    "UPDATE moderation_audit SET subject_name = $2 WHERE subject_id = $1",
    """UPDATE reports SET closed_by = $2 FROM moderation_audit
    WHERE actor_id = $1 AND act = 'moderation_close' AND report_id = (after->>'report_id')::bigint""",
    """UPDATE moderation_answers SET result = (result::jsonb || jsonb_build_object('name', $2::text))::json
    WHERE (result->>'player_id')::bigint = $1 AND result->>'name' IS NOT NULL""",
)
_EXPORT_HEAD = """
SELECT player_id, key, name, role, look, x, y, players.created_at, last_seen_at, bio,
    credentials.created_at AS account_created_at, password_changed_at, email_sealed AS email, email_verified_at
FROM players JOIN credentials USING (player_id) WHERE player_id = $1
"""
_EXPORT_SESSIONS = """
SELECT session_id, client, address_sealed AS address, created_at, used_at, expires_at, ended_at
FROM sessions WHERE player_id = $1 ORDER BY created_at, session_id
"""
# The parts of an export that may be long: name, and a page of it after the row `at`.
_EXPORTED = {
    "mails": """
        SELECT 1 AS at, purpose, expires_at FROM codes WHERE player_id = $1 AND $2 < 1 LIMIT $3""",
    "said": """
        SELECT id AS at, channel, recipient_id, x, y, said_at, text FROM chat_messages
        WHERE sender_id = $1 AND id > $2 ORDER BY id LIMIT $3""",
    "said_to_me": """
        SELECT id AS at, sender_id, sender_name, said_at, text FROM chat_messages
        WHERE recipient_id = $1 AND id > $2 ORDER BY id LIMIT $3""",
    "blocked": """
        SELECT other_id AS at, other_id AS player_id FROM blocks
        WHERE player_id = $1 AND other_id > $2 ORDER BY other_id LIMIT $3""",
    "reported": """
        SELECT report_id AS at, player_id, offence, content_sealed, reported_ms, closed_ms FROM reports
        WHERE reporter_id = $1 AND report_id > $2 ORDER BY report_id LIMIT $3""",
    "sanctions": """
        SELECT sanction_id AS at, kind, reason, until_ms, address_sealed FROM sanctions
        WHERE player_id = $1 AND sanction_id > $2 ORDER BY sanction_id LIMIT $3""",
    "moderated": """
        SELECT audit_id AS at, at_ms, act, reason FROM moderation_audit
        WHERE subject_id = $1 AND act <> 'player_report' AND audit_id > $2 ORDER BY audit_id LIMIT $3""",
    "acted": """
        SELECT audit_id AS at, at_ms, act, subject_id, reason, address_sealed FROM moderation_audit
        WHERE actor_id = $1 AND audit_id > $2 ORDER BY audit_id LIMIT $3""",
    "land": """
        SELECT parcel_id AS at, parcel::text AS parcel FROM parcels
        WHERE owner_id = $1 AND parcel_id > $2 ORDER BY parcel_id LIMIT $3""",
    "sales": """
        SELECT sale_id AS at, ((sale::jsonb #- '{standing,maximum}') - 'seq' - 'hold_id')::text AS sale FROM sales
        WHERE seller_id = $1 AND sale_id > $2 ORDER BY sale_id LIMIT $3""",
    "set_aside": """
        SELECT hold_id AS at, amount, why FROM holds
        WHERE account_id = $1 AND hold_id > $2 ORDER BY hold_id LIMIT $3""",
    "rented": """
        SELECT parcel_id AS at, parcel_id, parcel->'lease'->>'terms' AS terms, parcel->'lease'->>'ends' AS ends FROM parcels
        WHERE (parcel->'lease'->>'tenant_id')::bigint = $1 AND parcel_id > $2 ORDER BY parcel_id LIMIT $3""",
    "permits": """
        SELECT parcel_id AS at, parcel_id, permit->>'standing' AS standing
        FROM parcels, json_array_elements(parcel->'permits') AS permit
        WHERE (permit->>'player_id')::bigint = $1 AND parcel_id > $2 ORDER BY parcel_id LIMIT $3""",
    "balance": "SELECT 1 AS at, balance FROM accounts WHERE account_id = $1 AND $2 < 1 LIMIT $3",
    "postings": """
        SELECT seq * 1000 + place AS at, seq, amount, balance FROM postings
        WHERE account_id = $1 AND (seq, place) > ($2 / 1000, $2 % 1000) ORDER BY seq, place LIMIT $3""",
}
# The parts that have something sealed; `at` is what it was sealed for.
_SEALED = {"reported": REPORT_CONTENT, "sanctions": SANCTION_ADDRESS, "acted": AUDIT_ADDRESS}
_END_EXPIRED = """
UPDATE sessions SET ended_at = coalesce(ended_at, now())
WHERE expires_at <= now() AND (ended_at IS NULL OR ended_at > now() - interval '1 hour')
RETURNING session_id
"""
_FORGET_ENDED = """
DELETE FROM sessions WHERE least(ended_at, expires_at) < now() - $1::float8 * interval '1 day'
"""


@dataclass(frozen=True, slots=True)
class Ended:
    """Sessions that are over now, and how many of them went on until now."""

    ids: list[UUID]
    now: int

    @classmethod
    def of(cls, rows: list[asyncpg.Record]) -> "Ended":
        """By what _END returns."""
        return cls(_ids(rows), sum(row["ends_now"] for row in rows))


class AccountStore:
    """The accounts of a world. What is private is sealed by `sealer`."""

    def __init__(self, store: Store, sealer: Sealer, epoch: int) -> None:
        self._store = store
        self._sealer = sealer
        self._epoch = epoch

    # --- who ---

    async def by_name(self, name: str) -> Account | None:
        """Whose name this is, whatever its case."""
        return await self._account(
            _BY_NAME, fold_name(name).replace("\0", "")
        )  # which PostgreSQL cannot hold

    async def by_player(self, player_id: int) -> Account | None:
        """The account of a player."""
        return await self._account(_BY_PLAYER, player_id)

    async def _account(self, query: str, value: object) -> Account | None:
        async with self._store.reading() as connection:
            row = await connection.fetchrow(query, value)
        return self._opened(row) if row else None

    def _opened(self, row: asyncpg.Record) -> Account:
        return Account(**{**dict(row), "email": self._open_email(row["player_id"], row["email"])})

    # --- beginning ---

    async def may_register(self, action_id: bytes, name: str, email: str, former_key: str | None) -> None:
        """A look before the password is hashed. Raises as `register` does."""
        async with self._store.reading() as connection:
            await self._check(connection, action_id, name, email, former_key)

    async def _check(
        self, connection: "type_connection", action_id: bytes, name: str, email: str, former_key: str | None
    ) -> None:
        done = await connection.fetchval(_REGISTERED, action_id)
        if done is not None:
            raise DoneBefore if hmac.compare_digest(done, self._digest(name, email)) else AnotherAction
        if await connection.fetchval(_IS_TAKEN, account_key(name), fold_name(name), NOBODY, former_key):
            raise NameTaken

    def _digest(self, name: str, email: str) -> bytes:
        """Tells one registration from another; keyed, and without the password, for it is kept for ever."""
        return self._sealer.lookup("registration", f"{fold_name(name)}\0{email}")

    async def register(self, new: Registration, session: Opening) -> Account:
        """Makes an account with its first session. Raises NameTaken, DoneBefore, AnotherAction, NoGuest."""
        key, folded = account_key(new.name), fold_name(new.name)
        async with self._store.writing(self._epoch) as connection:
            await self._check(connection, new.action_id, new.name, new.email, new.former_key)
            if new.former_key is None:
                place = new.look, new.x, new.y
                player_id = await connection.fetchval(_NEW_PLAYER, key, new.name, folded, *place)
            else:
                player_id = await connection.fetchval(_UPGRADE, new.former_key, key, new.name, folded)
            if player_id is None:
                raise NoGuest
            email = self._sealed_email(player_id, new.email)
            await connection.execute(
                _NEW_CREDENTIALS, player_id, folded, new.former_key, new.password_hash, *email
            )
            await connection.execute(_REGISTER, new.action_id, player_id, self._digest(new.name, new.email))
            await self._open_session(connection, player_id, session, [new.password_hash])
            (row,) = await connection.fetch(_BY_PLAYER, player_id)
        return self._opened(row)

    # --- sessions ---

    async def open_session(
        self, player_id: int, session: Opening, password_hash: str, new_hash: str | None
    ) -> list[UUID] | None:
        """Begins a session of who gave the password that has this hash, and makes it the new one if there is one.

        Returns the sessions that ended for it; None where the password is another by now.
        """
        hashes = [password_hash] + ([new_hash] if new_hash else [])
        async with self._store.writing(self._epoch) as connection:
            if not await self._open_session(connection, player_id, session, hashes):
                return None
            if new_hash:
                await connection.execute(_REHASH, player_id, password_hash, new_hash)
            rows = await connection.fetch(_END_SURPLUS, player_id, SESSIONS_MAX)
        return _ids(rows)

    async def _open_session(
        self, connection: "type_connection", player_id: int, session: Opening, hashes: list[str]
    ) -> bool:
        address = self._sealer.seal(ADDRESS, str(session.session_id), session.address)
        columns = session.session_id, player_id, session.client, address, session.days
        return bool(await connection.fetchval(_NEW_SESSION, *columns, hashes))

    async def refresh(
        self, session_id: UUID, generation: int, unsure: bool, address: str, days: float
    ) -> Refreshed | None:
        """Raises the generation of a session by one; None where it is over, or never was.

        `unsure`: the same was tried, and nobody knows whether it was done; what it made was given to nobody.
        """
        sealed = self._sealer.seal(ADDRESS, str(session_id), address)
        async with self._store.writing(self._epoch) as connection:
            row = await connection.fetchrow(_REFRESH, session_id, generation, unsure, days, sealed)
            if row is not None:
                return Refreshed(row["player_id"], row["name"])
            player_id = await connection.fetchval(_END_REUSED, session_id, generation)
        return None if player_id is None else Refreshed(player_id, None)

    async def end_sessions(self, player_id: int, only: UUID | None = None, but: UUID | None = None) -> Ended:
        """Ends one session of a player, or all, or all `but` one."""
        async with self._store.writing(self._epoch) as connection:
            rows = await connection.fetch(_END, player_id, only, but)
        return Ended.of(rows)

    async def sessions(self, player_id: int) -> list[SessionRow]:
        """Those that go on, the newest first."""
        async with self._store.reading() as connection:
            rows = await connection.fetch(_SESSIONS, player_id, SESSIONS_MAX)
        return [
            SessionRow(
                _plain(row["session_id"]),
                row["client"],
                self._open_address(row["session_id"], row["address"]),
                row["created_at_ms"],
                row["used_at_ms"],
                row["expires_at_ms"],
            )
            for row in rows
        ]

    async def enter(self, clients: dict[UUID, str]) -> dict[UUID, PlayerRow]:
        """The players of those of these sessions that go on, and notes that they were used, and by which program."""
        async with self._store.writing(self._epoch) as connection:
            rows = await connection.fetch(_ENTER_SESSIONS, list(clients), list(clients.values()))
        found = [dict(row) for row in rows]
        return {_plain(row.pop("session_id")): PlayerRow(**row) for row in found}

    async def former_keys(self, keys: list[str]) -> set[str]:
        """Those of these keys that were guests and have an account now."""
        async with self._store.reading() as connection:
            rows = await connection.fetch(
                "SELECT former_key FROM credentials WHERE former_key = ANY($1)", keys
            )
        return {row["former_key"] for row in rows}

    async def forget_ended(self) -> list[UUID]:
        """Deletes sessions that are over for long; those whose time was up since the last look, or a little before."""
        async with self._store.writing(self._epoch) as connection:
            await connection.execute(_FORGET_ENDED, KEEP_ENDED_DAYS)
            rows = await connection.fetch(_END_EXPIRED)
        return _ids(rows)

    # --- passwords ---

    async def set_password(
        self, player_id: int, password_hash: str, new_hash: str, keep: UUID | None
    ) -> Ended | None:
        """Another password in place of the one with that hash, and the end of all sessions but one, and of codes for another.

        None: it is another by now.
        """
        async with self._store.writing(self._epoch) as connection:
            if not await connection.fetchval(_CHANGE_HASH, player_id, password_hash, new_hash):
                return None
            await connection.execute(_END_RESETS, player_id)
            rows = await connection.fetch(_END, player_id, None, keep)
        return Ended.of(rows)

    # --- codes ---

    async def by_verified_email(self, email: str) -> list[Account]:
        """Whose address this is, as they have shown, and as can still be read."""
        async with self._store.reading() as connection:
            rows = await connection.fetch(_BY_VERIFIED_EMAIL, self._email_hash(email), ACCOUNTS_PER_EMAIL_MAX)
        return [account for account in map(self._opened, rows) if account.email]

    async def code_wait_ms(self, player_id: int, purpose: str) -> int:
        """How long until another code for that may go out, to whatever address; 0: now."""
        async with self._store.reading() as connection:
            return await self._code_wait_ms(connection, player_id, purpose)

    async def _code_wait_ms(self, connection: "type_connection", player_id: int, purpose: str) -> int:
        return max(0, await connection.fetchval(_CODE_WAIT, player_id, purpose, CODE_PAUSE_S * 1_000) or 0)

    async def put_code(self, player_id: int, purpose: str, code: str, email: str, seconds: float) -> int:
        """Keeps a code in place of the last one for that, and returns 0, or returns the milliseconds to wait before."""
        columns = player_id, purpose, self._code_hash(code), self._email_hash(email)
        async with self._store.writing(self._epoch) as connection:
            wait_ms = await self._code_wait_ms(connection, player_id, purpose)
            if not wait_ms:
                await connection.execute(_PUT_CODE, *columns, seconds)
        return wait_ms

    async def drop_code(self, player_id: int, purpose: str, code: str) -> None:
        """Takes one back that went to nobody: another may go out at once."""
        async with self._store.writing(self._epoch) as connection:
            await connection.execute(_USE_CODE, player_id, purpose, self._code_hash(code))

    async def verify_email(self, player_id: int, code: str) -> bool:
        """Uses a code; False where it is wrong, too old, or for an address that is not theirs any more."""
        async with self._store.writing(self._epoch) as connection:
            if not await self._try_code(connection, VERIFY, player_id, None, code):
                return False
            email_hash = await connection.fetchval(_USE_CODE, player_id, VERIFY, self._code_hash(code))
            return bool(await connection.fetchval(_VERIFY, player_id, email_hash))

    async def whose_code(self, email: str, code: str) -> int | None:
        """The player who may set a new password by this code. It is not used up yet, but the try counts."""
        async with self._store.writing(self._epoch) as connection:
            return await self._try_code(connection, RESET, None, self._email_hash(email), code)

    async def _try_code(
        self,
        connection: "type_connection",
        purpose: str,
        player_id: int | None,
        email_hash: bytes | None,
        code: str,
    ) -> int | None:
        given = self._code_hash(code)
        rows = await connection.fetch(_TRY_CODES, purpose, player_id, email_hash, CODE_TRIES_MAX)
        right = [row["player_id"] for row in rows if hmac.compare_digest(row["code_hash"], given)]
        return right[0] if right else None

    async def reset_password(self, player_id: int, code: str, new_hash: str) -> list[UUID] | None:
        """Uses a code; the sessions that ended, which are all. None where somebody was faster, or it went to an address of before."""
        async with self._store.writing(self._epoch) as connection:
            email_hash = await connection.fetchval(_USE_CODE, player_id, RESET, self._code_hash(code))
            if not await connection.fetchval(_RESET, player_id, email_hash, new_hash):
                return None
            rows = await connection.fetch(_END, player_id, None, None)
        return _ids(rows)

    async def set_email(self, account: Account, email: str) -> bool:
        """Another address, not verified; False if the account is another by now."""
        async with self._store.writing(self._epoch) as connection:
            sealed = self._sealed_email(account.player_id, email)
            columns = account.player_id, account.password_hash, *sealed
            return bool(await connection.fetchval(_SET_EMAIL, *columns))

    # --- going ---

    async def delete(self, player_id: int) -> list[UUID]:
        """Takes the person out; the sessions that ended.

        Of them stay: what they own and the ledger; in the journal's entries and in rows of land the name of then, for the audit
        compares these; what they did as moderators and what was done to them, by player_id; and what others reported of them, sealed,
        until that is forgotten.
        """
        async with self._store.writing(self._epoch) as connection:
            rows = await connection.fetch("SELECT session_id FROM sessions WHERE player_id = $1", player_id)
            await connection.execute(_LEAVE, player_id, left_key(player_id), LEFT_NAME, fold_name(LEFT_NAME))
            for statement in _GOES:
                await connection.execute(statement, player_id)
            for statement in _UNNAMED:
                await connection.execute(statement, player_id, LEFT_NAME)
        return _ids(rows)

    async def export(self, player_id: int) -> AsyncIterator[tuple[str, list[dict[str, Any]]]]:
        """Everything stored about a player: the name of a part, and rows of it; a part comes in as many pages as it has."""
        async with self._store.reading() as connection:
            head = await connection.fetchrow(_EXPORT_HEAD, player_id)
            sessions = await connection.fetch(_EXPORT_SESSIONS, player_id)
        if head is None:
            return
        yield "account", [{**dict(head), "email": self._open_email(player_id, head["email"])}]
        yield (
            "sessions",
            [
                {**dict(row), "address": self._open_address(row["session_id"], row["address"])}
                for row in sessions
            ],
        )
        for part, query in _EXPORTED.items():
            after = 0
            while True:
                async with self._store.reading() as connection:
                    rows = await connection.fetch(query, player_id, after, EXPORT_PAGE)
                if rows:
                    after = rows[-1]["at"]
                yield part, [self._exported(part, dict(row)) for row in rows]
                if len(rows) < EXPORT_PAGE:
                    break

    def _exported(self, part: str, row: dict[str, Any]) -> dict[str, Any]:
        """A row with what is sealed in it open, and without its place in the part."""
        at, column = row.pop("at"), _SEALED.get(part)
        if column is not None:
            row[column.name.removesuffix("_sealed")] = self._sealer.opened(column, at, row.pop(column.name))
        return row

    # --- profiles ---

    async def profile(self, player_id: int) -> Profile | None:
        """Of anybody who is not gone."""
        async with self._store.reading() as connection:
            row = await connection.fetchrow(_PROFILE, player_id)
        if row is None:
            return None
        return Profile(**{**dict(row), "email": self._open_email(player_id, row["email"])})

    async def edit_profile(
        self, player_id: int, name: str | None, look: int | None, bio: str | None
    ) -> Account | None:
        """Changes what is not None; None where there is no account. Raises NameTaken."""
        key, folded = (None, None) if name is None else (account_key(name), fold_name(name))
        async with self._store.writing(self._epoch) as connection:
            if name is not None and await connection.fetchval(_IS_TAKEN, key, folded, player_id, None):
                raise NameTaken
            if not await connection.fetchval(_EDIT_ACCOUNT, player_id, folded, bio):
                return None
            await connection.execute(_EDIT_PLAYER, player_id, key, name, folded, look)
            (row,) = await connection.fetch(_BY_PLAYER, player_id)
        return self._opened(row)

    # --- private columns ---

    async def lookup_fits(self) -> bool:
        """Whether addresses are found by the lookup key that is here; a look at some of them. Nothing else would ever tell."""
        async with self._store.reading() as connection:
            rows = await connection.fetch(_SOME_EMAILS, EMAILS_TRIED)
        found = [(self._open_email(row["player_id"], row["email"]), row["email_hash"]) for row in rows]
        opened = [(email, hashed) for email, hashed in found if email]
        return not opened or any(self._email_hash(email) == hashed for email, hashed in opened)

    def _sealed_email(self, player_id: int, email: str) -> tuple[bytes, bytes] | tuple[None, None]:
        if not email:
            return None, None
        return self._sealer.seal(EMAIL, player_id, email), self._email_hash(email)

    def _code_hash(self, code: str) -> bytes:
        return self._sealer.lookup("code", code)

    def _email_hash(self, email: str) -> bytes:
        return self._sealer.lookup("email", email.casefold())

    def _open_email(self, player_id: int, sealed: bytes | None) -> str:
        return self._sealer.opened(EMAIL, player_id, sealed) or ""

    def _open_address(self, session_id: UUID, sealed: bytes) -> str:
        return self._sealer.opened(ADDRESS, str(session_id), sealed) or ""


def _ids(rows: list[asyncpg.Record]) -> list[UUID]:
    return [_plain(row["session_id"]) for row in rows]


def _plain(found: UUID) -> UUID:
    """The driver has a class of its own, which not everything takes for a UUID."""
    return UUID(int=found.int)
