"""What moderation keeps: all SQL for sanctions, roles, reports, blocks and the audit.

Rules, besides those of store.py
    1. An act, its answer by action_id and its row in the audit are one transaction; there is no way to do one without the others.
    2. The rule that decides is handed in, and is asked within the transaction, with the subject's row locked: what it saw is what is
       changed. It raises Refusal, and then nothing is written.
    3. What comes back is how the subject stands after the commit, whoever changed it; done before or not, that is the truth to go by.

Addresses, reports and notes are sealed and opened here, so that nothing above knows of it.
"""

import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from persistence.sealing import (
    AUDIT_ADDRESS,
    REPORT_CONTENT,
    REPORT_NOTE,
    SANCTION_ADDRESS,
    Sealer,
)
from persistence.store import ChatLine, Store
from protocol.errors import Refusal, RefusalCode
from protocol.messages import Evidence, Sanction
from world.tick import ANOTHER_ACTION

if TYPE_CHECKING:
    import asyncpg

    from persistence.store import type_connection

ADDRESS = 2  # a kind of sanction besides those of Sanction: an address is kept out
SANCTIONS_READ = 20_000  # at once, at the start
AUDIT_PAGE = 100
EVIDENCE_READ = 400  # lines of the two, of which the last that could be heard are attached
EVIDENCE_DAYS = 1.0

# --- rows ---


@dataclass(frozen=True, slots=True)
class SanctionRow:
    """One sanction in force. `until_ms` None: for good. An ADDRESS whose key is lost has none, and keeps nobody out."""

    kind: int
    player_id: int
    reason: str
    until_ms: int | None
    address: str = ""  # of an ADDRESS

    def is_over(self, now_ms: int) -> bool:
        """Whether its time is up."""
        return self.until_ms is not None and self.until_ms <= now_ms


@dataclass(frozen=True, slots=True)
class Subject:
    """Somebody to whom something is done, as they stand."""

    player_id: int
    name: str
    role: str
    look: int = 0
    sanctions: list[SanctionRow] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """What the audit keeps of it; of an address only that there is one."""
        stands: dict[str, Any] = {"role": self.role}
        for row in self.sanctions:
            name = "address_ban" if row.kind == ADDRESS else Sanction(row.kind).name.lower()
            stands[name] = {"reason": row.reason, "until_ms": row.until_ms}
        return stands


@dataclass(frozen=True, slots=True)
class Actor:
    """Who does something, and from where. `player_id` None: at the console."""

    player_id: int | None
    name: str
    address: str = ""

    @property
    def via(self) -> str:
        """The way they came."""
        return "console" if self.player_id is None else "game"


@dataclass(frozen=True, slots=True)
class Action:
    """What makes something happen once: of whom, and a digest of what was asked."""

    action_id: bytes
    player_id: int
    content: bytes


@dataclass(frozen=True, slots=True)
class Change:
    """What a rule wants done to a subject."""

    put: Sequence[SanctionRow] = ()
    lift: Sequence[int] = ()  # kinds
    role: str | None = None


@dataclass(frozen=True, slots=True)
class Done:
    """What was answered, whether it was done just now, and how the subject stands."""

    result: dict[str, Any]
    new: bool
    subject: Subject


@dataclass(frozen=True, slots=True)
class ReportRow:
    """A report as stored."""

    report_id: int
    reporter_id: int
    player_id: int
    offence: int
    content: "ReportContent"
    reported_ms: int
    closed_ms: int | None
    closed_by: str | None
    note: str | None


@dataclass(frozen=True, slots=True)
class AuditRow:
    """An act of the past; before and after are what `Subject.as_json` says, or whatever else changed."""

    audit_id: int
    at_ms: int
    act: str
    via: str
    actor_id: int | None
    actor_name: str
    address: str
    subject_id: int | None
    subject_name: str | None
    reason: str
    before: dict[str, Any]
    after: dict[str, Any]


class ReportContent(msgspec.Struct, frozen=True):
    """What of a report is sealed."""

    reporter_name: str
    player_name: str
    text: str
    lines: list[Evidence]


LOST = ReportContent("?", "?", "This report stays shut: the key that it was sealed with is not here.", [])

# --- SQL ---

_NEXT_ID = "SELECT nextval(pg_get_serial_sequence($1, $2))"  # of a row that is sealed for its place before it is there
_SANCTION_COLUMNS = "sanction_id, kind, player_id, reason, until_ms, address_sealed"
_SANCTIONS_OF = f"SELECT {_SANCTION_COLUMNS} FROM sanctions WHERE player_id = $1 ORDER BY kind"  # noqa: S608
_PAGE_OF_SANCTIONS = f"""
SELECT {_SANCTION_COLUMNS} FROM sanctions WHERE sanction_id > $1 ORDER BY sanction_id LIMIT $2
"""  # noqa: S608
_PUT_SANCTION = """
INSERT INTO sanctions (sanction_id, kind, player_id, reason, until_ms, address_sealed) VALUES ($1, $2, $3, $4, $5, $6)
"""
_AUDIT = """
INSERT INTO moderation_audit
    (audit_id, at_ms, act, via, actor_id, actor_name, address_sealed, subject_id, subject_name, reason, before, after)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
"""
_AUDIT_PAGE = """
SELECT audit_id, at_ms, act, via, actor_id, actor_name, address_sealed, subject_id, subject_name, reason, before, after
FROM moderation_audit WHERE audit_id < $1 AND ($2::bigint IS NULL OR subject_id = $2) ORDER BY audit_id DESC LIMIT $3
"""
_REPORT_COLUMNS = "report_id, reporter_id, player_id, offence, content_sealed, reported_ms, closed_ms, closed_by, note_sealed"
_OPEN_REPORTS = f"""
SELECT {_REPORT_COLUMNS} FROM reports WHERE closed_ms IS NULL AND report_id > $1 ORDER BY report_id LIMIT $2
"""  # noqa: S608
_CLOSED_REPORTS = f"""
SELECT {_REPORT_COLUMNS} FROM reports WHERE closed_ms IS NOT NULL AND report_id > $1 ORDER BY report_id LIMIT $2
"""  # noqa: S608
_SAID_BY = """
SELECT channel, sender_id, sender_name, recipient_id, x, y, tick, (extract(epoch FROM said_at) * 1000)::bigint AS said_at_ms, text
FROM (
    SELECT * FROM chat_messages WHERE sender_id = ANY($1::bigint[]) AND said_at > now() - $2::float8 * interval '1 day'
    ORDER BY id DESC LIMIT $3
) AS latest ORDER BY id
"""


Rule = Callable[[Subject], Change]
Work = Callable[["type_connection"], Awaitable[dict[str, Any]]]


class ModerationStore:
    """The tables of moderation, under one epoch. Everything may be sent again; raises what Store raises, and Refusal."""

    def __init__(self, store: Store, sealer: Sealer, epoch: int) -> None:
        self._store = store
        self._sealer = sealer
        self._epoch = epoch

    # -- acts

    async def act(
        self, action: Action, actor: Actor, act: str, player_id: int, reason: str, now_ms: int, rule: Rule
    ) -> Done:
        """Something is done to a player. Raises Refusal where there is none, or the rule says no."""
        after = Subject(0, "", "")

        async def work(connection: "type_connection") -> dict[str, Any]:
            nonlocal after
            before = await self._subject(connection, player_id)
            await self._make(connection, player_id, rule(before))
            after = await self._subject(connection, player_id)
            told = now_ms, act, actor, reason
            await self._note(connection, *told, after, before.as_json(), after.as_json())
            return {"player_id": player_id, "name": after.name, "until_ms": _until(act, after)}

        result, new = await self._once(action, work)
        if not new:
            async with self._store.reading() as connection:
                after = await self._subject(connection, player_id)
        return Done(result, new, after)

    async def report(
        self,
        action: Action,
        actor: Actor,
        player_id: int,
        offence: int,
        text: str,
        lines: list[Evidence],
        now_ms: int,
        open_max: int,
    ) -> dict[str, Any]:
        """Files a report. Raises Refusal where as many of the reporter's wait already, or one about the same player."""

        async def work(connection: "type_connection") -> dict[str, Any]:
            waiting = await connection.fetch(
                "SELECT player_id FROM reports WHERE reporter_id = $1 AND closed_ms IS NULL", action.player_id
            )
            if any(row["player_id"] == player_id for row in waiting):
                raise Refusal(
                    RefusalCode.TAKEN, "You have reported them already; the moderators will look at it."
                )
            if len(waiting) >= open_max:
                why = f"{open_max} of your reports wait for a moderator; report again when they have looked at one."
                raise Refusal(RefusalCode.LIMIT_REACHED, why)
            subject = await self._subject(connection, player_id)
            content = ReportContent(actor.name, subject.name, text, lines)
            report_id = await connection.fetchval(_NEXT_ID, "reports", "report_id")
            sealed = self._sealer.seal(REPORT_CONTENT, report_id, msgspec.json.encode(content).decode())
            await connection.execute(
                "INSERT INTO reports (report_id, reporter_id, player_id, offence, content_sealed, reported_ms) "
                "VALUES ($1, $2, $3, $4, $5, $6)",
                *(report_id, action.player_id, player_id, offence, sealed, now_ms),
            )
            told = now_ms, "player_report", actor, ""
            await self._note(connection, *told, subject, {}, {"report_id": report_id})
            return {"report_id": report_id, "lines": len(lines)}

        return (await self._once(action, work))[0]

    async def close_report(
        self, action: Action, actor: Actor, report_id: int, note: str, now_ms: int
    ) -> dict[str, Any]:
        """A report is dealt with. Raises Refusal where there is none that waits, or it is about who closes it."""

        async def work(connection: "type_connection") -> dict[str, Any]:
            row = await connection.fetchrow(
                "SELECT player_id, closed_ms FROM reports WHERE report_id = $1 FOR UPDATE", report_id
            )
            if row is None or row["closed_ms"] is not None:
                raise Refusal(RefusalCode.NOT_FOUND, "No report of that number waits for a moderator.")
            if row["player_id"] == actor.player_id:
                raise Refusal(
                    RefusalCode.NOT_ALLOWED, "This report is about you; another moderator must look at it."
                )
            await connection.execute(
                "UPDATE reports SET closed_ms = $2, closed_by = $3, note_sealed = $4 WHERE report_id = $1",
                *(report_id, now_ms, actor.name, self._sealer.seal(REPORT_NOTE, report_id, note)),
            )
            subject = await self._find_subject(connection, row["player_id"])
            told = now_ms, "moderation_close", actor, ""
            open_, closed = (
                {"report_id": report_id, "closed": False},
                {"report_id": report_id, "closed": True},
            )
            await self._note(connection, *told, subject, open_, closed)
            return {"report_id": report_id}

        return (await self._once(action, work))[0]

    async def block(
        self, action: Action, other_id: int, blocked: bool, blocks_max: int
    ) -> tuple[dict[str, Any], list[int]]:
        """A player hears another no more, or again; the answer, and whom they do not hear now."""

        async def work(connection: "type_connection") -> dict[str, Any]:
            me = action.player_id
            if not blocked:
                await connection.execute(
                    "DELETE FROM blocks WHERE player_id = $1 AND other_id = $2", me, other_id
                )
            else:
                await self._subject(connection, other_id)
                await self._subject(connection, me)
                many = await connection.fetchval(
                    "SELECT count(*) FROM blocks WHERE player_id = $1 AND other_id <> $2", me, other_id
                )
                if many >= blocks_max:
                    text = (
                        f"You have blocked {blocks_max} people, which is all one may; unblock somebody first."
                    )
                    raise Refusal(RefusalCode.LIMIT_REACHED, text)
                await connection.execute(
                    "INSERT INTO blocks (player_id, other_id) VALUES ($1, $2) ON CONFLICT DO NOTHING",
                    me,
                    other_id,
                )
            return {"player_id": other_id, "blocked": blocked}

        result, _ = await self._once(action, work)
        return result, (await self._store.blocked_by([action.player_id])).get(action.player_id, [])

    async def _once(self, action: Action, work: Work) -> tuple[dict[str, Any], bool]:
        """Does it and keeps the answer, or finds the answer of before; whether it was done now."""
        async with self._store.writing(self._epoch) as connection:
            known = await connection.fetchrow(
                "SELECT player_id, content_digest, result FROM moderation_answers WHERE action_id = $1",
                action.action_id,
            )
            if known is not None:
                if (known["player_id"], known["content_digest"]) != (action.player_id, action.content):
                    raise Refusal(RefusalCode.BAD_REQUEST, ANOTHER_ACTION)
                return json.loads(known["result"]), False
            result = await work(connection)
            await connection.execute(
                "INSERT INTO moderation_answers (action_id, player_id, content_digest, result) VALUES ($1, $2, $3, $4)",
                *(action.action_id, action.player_id, action.content, json.dumps(result)),
            )
        return result, True

    # -- looks

    async def sanctions(self) -> list[SanctionRow]:
        """All that are stored, over or not."""
        found: list[SanctionRow] = []
        after = 0
        while True:
            async with self._store.reading() as connection:
                rows = await connection.fetch(_PAGE_OF_SANCTIONS, after, SANCTIONS_READ)
            if not rows:
                return found
            found += map(self._sanction, rows)
            after = rows[-1]["sanction_id"]

    async def open_reports(self) -> int:
        """How many wait."""
        async with self._store.reading() as connection:
            return int(await connection.fetchval("SELECT count(*) FROM reports WHERE closed_ms IS NULL"))

    async def reports(self, closed: bool, after: int, limit: int) -> list[ReportRow]:
        """Reports above an id."""
        async with self._store.reading() as connection:
            rows = await connection.fetch(_CLOSED_REPORTS if closed else _OPEN_REPORTS, after, limit)
        return [self._report(row) for row in rows]

    async def audit(self, before: int, player_id: int | None, limit: int) -> list[AuditRow]:
        """Acts below an id, the newest first; of one subject where one is named."""
        async with self._store.reading() as connection:
            rows = await connection.fetch(_AUDIT_PAGE, before, player_id, limit)
        return [self._audit_row(row) for row in rows]

    async def said_by(self, player_ids: Sequence[int]) -> list[ChatLine]:
        """The last stored lines of these, oldest first."""
        async with self._store.reading() as connection:
            rows = await connection.fetch(_SAID_BY, list(player_ids), EVIDENCE_DAYS, EVIDENCE_READ)
        return [ChatLine(**dict(row)) for row in rows]

    async def blocks(self, player_id: int) -> list[tuple[int, str]]:
        """Whom a player does not hear: player_id and name, by name."""
        async with self._store.reading() as connection:
            rows = await connection.fetch(
                "SELECT other_id, name FROM blocks JOIN players ON players.player_id = other_id "
                "WHERE blocks.player_id = $1 ORDER BY name_fold, other_id",
                player_id,
            )
        return [tuple(row) for row in rows]

    async def forget(self, now_ms: int, reports_before_ms: int) -> None:
        """Sanctions whose time is up go, and reports that were closed before."""
        async with self._store.writing(self._epoch) as connection:
            await connection.execute("DELETE FROM sanctions WHERE until_ms <= $1", now_ms)
            await connection.execute("DELETE FROM reports WHERE closed_ms < $1", reports_before_ms)

    # -- parts of transactions

    async def _find_subject(self, connection: "type_connection", player_id: int) -> Subject | None:
        """How a player stands; their row stays as it is until the end of the transaction."""
        row = await connection.fetchrow(
            "SELECT player_id, name, role, look FROM players WHERE player_id = $1 FOR UPDATE", player_id
        )
        if row is None:
            return None
        sanctions = [self._sanction(one) for one in await connection.fetch(_SANCTIONS_OF, player_id)]
        return Subject(row["player_id"], row["name"], row["role"], row["look"], sanctions)

    async def _subject(self, connection: "type_connection", player_id: int) -> Subject:
        subject = await self._find_subject(connection, player_id)
        if subject is None:
            raise Refusal(
                RefusalCode.NOT_FOUND, "There is no player of that id; look them up with player_find."
            )
        return subject

    async def _make(self, connection: "type_connection", player_id: int, change: Change) -> None:
        if change.lift:
            await connection.execute(
                "DELETE FROM sanctions WHERE player_id = $1 AND kind = ANY($2::smallint[])",
                *(player_id, list(change.lift)),
            )
        for row in change.put:
            number = await connection.fetchval(_NEXT_ID, "sanctions", "sanction_id")
            sealed = self._sealer.seal(SANCTION_ADDRESS, number, row.address) if row.kind == ADDRESS else None
            told = row.kind, row.player_id, row.reason, row.until_ms
            await connection.execute(_PUT_SANCTION, number, *told, sealed)
        if change.role is not None:
            await connection.execute(
                "UPDATE players SET role = $2, role_set = true WHERE player_id = $1", player_id, change.role
            )

    async def _note(
        self,
        connection: "type_connection",
        now_ms: int,
        act: str,
        actor: Actor,
        reason: str,
        subject: Subject | None,
        before: dict[str, Any],
        after: dict[str, Any],
    ) -> None:
        """A row of the audit."""
        whom = (None, None) if subject is None else (subject.player_id, subject.name)
        number = await connection.fetchval(_NEXT_ID, "moderation_audit", "audit_id")
        sealed = self._sealer.seal(AUDIT_ADDRESS, number, actor.address) if actor.address else None
        await connection.execute(
            _AUDIT,
            *(number, now_ms, act, actor.via, actor.player_id, actor.name, sealed, *whom, reason),
            *(json.dumps(before), json.dumps(after)),
        )

    # -- rows

    def _sanction(self, row: "asyncpg.Record") -> SanctionRow:
        address = self._sealer.opened(SANCTION_ADDRESS, row["sanction_id"], row["address_sealed"]) or ""
        return SanctionRow(row["kind"], row["player_id"], row["reason"], row["until_ms"], address)

    def _report(self, row: "asyncpg.Record") -> ReportRow:
        report_id = row["report_id"]
        content = self._sealer.opened(REPORT_CONTENT, report_id, row["content_sealed"])
        return ReportRow(
            report_id,
            row["reporter_id"],
            row["player_id"],
            row["offence"],
            LOST if content is None else msgspec.json.decode(content, type=ReportContent),
            row["reported_ms"],
            row["closed_ms"],
            row["closed_by"],
            self._sealer.opened(REPORT_NOTE, report_id, row["note_sealed"]),
        )

    def _audit_row(self, row: "asyncpg.Record") -> AuditRow:
        values = dict(row)
        values["address"] = (
            self._sealer.opened(AUDIT_ADDRESS, row["audit_id"], values.pop("address_sealed")) or ""
        )
        values |= {"before": json.loads(row["before"]), "after": json.loads(row["after"])}
        return AuditRow(**values)


def _until(act: str, subject: Subject) -> int | None:
    """Until when what was done holds."""
    kinds: dict[str, tuple[int, ...]] = {
        "moderation_mute": (Sanction.MUTE,),
        "moderation_ban": (Sanction.BAN, ADDRESS),
    }
    return next((row.until_ms for row in subject.sanctions if row.kind in kinds.get(act, ())), None)
