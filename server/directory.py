"""Who comes in has to be looked up in the table of players.

They wait for the database, so they wait outside the tick, in a bounded queue, and come back as a `Join` command. One task serves all
sign-ins that wait with one statement; a thousand clients that come back after a restart cost a few round trips.

Every hello without a token makes a row. Guests who did not come back while their ticket was good are deleted again.
"""

import asyncio
import contextlib
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from uuid import UUID

import structlog

from persistence.accounts import AccountStore
from persistence.flusher import Flusher
from persistence.store import Entrant, PlayerRow, Store, StoreError, guest_key
from protocol.errors import Refusal, RefusalCode
from protocol.messages import PROTOCOL_VERSION, Hello, Role
from server.auth import BadToken, Identity, Signer
from server.chunks import Chunks
from server.spawn import MIDDLE
from server.tasks import end

BATCH_SIGN_INS = 256
RETRY_AFTER_MS = 2_000
FORGET_ROWS = 1_000  # guests deleted in one transaction, so that sign-ins need not wait long for it
GUEST_WORDS = (
    "Amber",
    "Birch",
    "Cedar",
    "Clover",
    "Coral",
    "Dew",
    "Fern",
    "Hazel",
    "Heron",
    "Iris",
    "Juniper",
    "Lark",
)
GUEST_WORDS_2 = (
    "Brook",
    "Dale",
    "Field",
    "Glen",
    "Grove",
    "Hill",
    "Meadow",
    "Moss",
    "Reed",
    "Ridge",
    "Shore",
    "Vale",
)

log = structlog.get_logger()

Entered = Callable[["Newcomer | Refusal"], None]


@dataclass(frozen=True, slots=True)
class Newcomer:
    """Somebody who may enter: their row and their last known place."""

    row: PlayerRow
    x: float
    y: float
    session_id: UUID | None = None  # of the account's session that they came by
    blocked: list[int] = field(default_factory=list)  # whom they do not hear


class Directory:
    """Looks players up. Callbacks run on the loop, each exactly once."""

    def __init__(
        self,
        store: Store,
        flusher: Flusher,
        chunks: Chunks,
        signer: Signer,
        epoch: int,
        spawn_radius: float,
        guests_allowed: bool,
        queue_max: int,
        accounts: AccountStore | None = None,
    ) -> None:
        self._store = store
        self._accounts = accounts
        self._flusher = flusher
        self._chunks = chunks
        self._signer = signer
        self._epoch = epoch
        self._spawn_radius = spawn_radius
        self._guests_allowed = guests_allowed
        self._sign_ins: asyncio.Queue[tuple[Identity, str, Entered]] = asyncio.Queue(queue_max)
        self._forgetting: asyncio.Queue[tuple[float, list[int]]] = asyncio.Queue(1)
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def waiting(self) -> int:
        """Sign-ins that wait for the database."""
        return self._sign_ins.qsize()

    def start(self) -> list[asyncio.Task[None]]:
        """Begins to serve the queues; returns the work, to be supervised."""
        self._tasks = [
            asyncio.create_task(self._serve_sign_ins(), name="sign-ins"),
            asyncio.create_task(self._serve_forgetting(), name="forgetting"),
        ]
        return self._tasks

    async def stop(self) -> None:
        """Ends; what waits is forgotten, as the connections are closed."""
        await end(*self._tasks)

    def sign_in(self, hello: Hello, entered: Entered) -> None:
        """Answers with a Newcomer or a Refusal. Raises Refusal for what can be said at once."""
        identity = self._identify(hello)
        try:
            self._sign_ins.put_nowait((identity, printable(hello.client), entered))
        except asyncio.QueueFull:
            text = "Many are coming in just now; try again in a moment."
            raise Refusal(RefusalCode.UNAVAILABLE, text, RETRY_AFTER_MS) from None

    def forget_guests(self, days: float, here: Iterable[int]) -> None:
        """Deletes the rows of guests not seen for so many days, by and by; of those `here` (player_ids) none."""
        if not self._forgetting.full():  # the last time is still going on
            self._forgetting.put_nowait((days, list(here)))

    def _identify(self, hello: Hello) -> Identity:
        if hello.protocol != PROTOCOL_VERSION:
            advice = f"This server speaks protocol {PROTOCOL_VERSION}, the client {hello.protocol}; get a fitting client."
            raise Refusal(RefusalCode.WRONG_VERSION, advice)
        try:
            if hello.resume:
                return self._signer.read_resume(hello.resume)
            if hello.token:
                return self._signer.read_access(hello.token)
        except BadToken as error:
            raise Refusal(RefusalCode.BAD_TOKEN, str(error)) from None
        if not self._guests_allowed:
            raise Refusal(RefusalCode.GUESTS_FORBIDDEN, "This server has no guests; sign in with a token.")
        guest = uuid.uuid4()
        return Identity(guest_key(guest), guest_name(guest), Role.GUEST)

    async def place_for_newcomer(self) -> tuple[float, float]:
        """Where somebody appears who never was here."""
        (place,) = await self._chunks.spawn_places.find(1, self._spawn_radius)
        return place

    async def _serve_sign_ins(self) -> None:
        while True:
            batch = [await self._sign_ins.get()]
            while len(batch) < BATCH_SIGN_INS and not self._sign_ins.empty():
                batch.append(self._sign_ins.get_nowait())
            try:
                newcomers = await self._enter([(identity, client) for identity, client, _ in batch])
            except StoreError as error:
                log.warning("sign_in_failed", waiting=len(batch), error=str(error))
                for *_, entered in batch:
                    entered(_unavailable())
                continue
            for newcomer, (*_, entered) in zip(newcomers, batch, strict=True):
                entered(newcomer)

    async def _enter(self, batch: list[tuple[Identity, str]]) -> list[Newcomer | Refusal]:
        """Rows for all of them: those of their sessions, or those of their keys, made for who never was here."""
        by_key = [identity for identity, _ in batch if identity.session_id is None]
        sessions = {
            identity.session_id: client for identity, client in batch if identity.session_id is not None
        }
        came = iter(await self._enter_by_key(by_key) if by_key else ())
        rows = await self._accounts.enter(sessions) if sessions and self._accounts is not None else {}
        outcomes = [
            next(came) if identity.session_id is None else self._by_session(identity.session_id, rows)
            for identity, _ in batch
        ]
        here = [one.row.player_id for one in outcomes if isinstance(one, Newcomer)]
        blocked = await self._store.blocked_by(here)
        return [
            replace(one, blocked=blocked.get(one.row.player_id, [])) if isinstance(one, Newcomer) else one
            for one in outcomes
        ]

    def _by_session(self, session_id: UUID, rows: dict[UUID, PlayerRow]) -> Newcomer | Refusal:
        row = rows.get(session_id)
        if row is None:
            return Refusal(RefusalCode.BAD_TOKEN, "This session has ended; sign in again.")
        return self._newcomer(row, session_id)

    def _newcomer(self, row: PlayerRow, session_id: UUID | None = None) -> Newcomer:
        """A place handed over for saving is newer than the row."""
        x, y = self._flusher.latest_position(row.player_id) or (row.x, row.y)
        return Newcomer(row, x, y, session_id)

    async def _enter_by_key(self, identities: list[Identity]) -> list[Newcomer | Refusal]:
        known = await self._store.known_keys([identity.key for identity in identities])
        new = [identity.key for identity in identities if identity.key not in known]
        # Tickets of guests who have an account now.
        void = await self._accounts.former_keys(new) if new and self._accounts is not None else set()
        # Who has a row stands where it says; should it be forgotten just now, the middle is as good.
        places = dict(
            zip(new, await self._chunks.spawn_places.find(len(new), self._spawn_radius), strict=True)
        )
        entrants = [
            Entrant(
                identity.key,
                identity.name,
                identity.role and identity.role.value,
                look_of(identity.key),
                *places.get(identity.key, MIDDLE),
            )
            for identity in identities
            if identity.key not in void
        ]
        rows = iter(await self._store.enter_players(self._epoch, entrants))
        return [
            Refusal(
                RefusalCode.BAD_TOKEN, "This guest has an account now; sign in with its name and password."
            )
            if identity.key in void
            else self._newcomer(next(rows))
            for identity in identities
        ]

    async def _serve_forgetting(self) -> None:
        while True:
            days, here = await self._forgetting.get()
            with contextlib.suppress(StoreError):  # the flusher tells of a database that is away
                while await self._store.prune_guests(self._epoch, days, here, FORGET_ROWS) == FORGET_ROWS:
                    pass


def printable(text: str) -> str:
    """What a client says of itself, as it may stand in a table."""
    return "".join(one for one in text if one.isprintable())


def guest_name(guest: uuid.UUID) -> str:
    """A friendly name for a guest, the same each time."""
    number = guest.int
    first, second = GUEST_WORDS[number % 12], GUEST_WORDS_2[number // 12 % 12]
    return f"{first} {second} {number // 144 % 9000 + 1000}"


def look_of(key: str) -> int:
    """A look for somebody new: 32 bits that the client turns into hair, skin and clothes."""
    return uuid.uuid5(uuid.NAMESPACE_OID, key).int & 0xFFFFFFFF


def _unavailable() -> Refusal:
    return Refusal(
        RefusalCode.UNAVAILABLE, "The database does not answer; try again in a moment.", RETRY_AFTER_MS
    )
