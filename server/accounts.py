"""Accounts: registering, signing in, sessions, profiles; what is asked over a socket, before the hello or after it.

    a request -> a task of its own, of which there are so many at most, in all and of one address
              -> the password's hash in a thread (passwords.py), after the tries are counted (lockouts.py)
              -> a transaction (persistence/accounts.py)
              -> `Done`: the answer, and what follows from it for connections, which is the hub's

Nothing of it is in the tick or the journal; `ok` comes after the commit, with seq 0.

A session is one sign-in on one device. Its access token lets in (`hello`), its refresh token makes the next two, once: each refresh
raises the session's generation, and a token of an older one means that two have it, so the session ends. Who ends a session closes
what is connected with it. Since the database is asked before and the connection made after, `lapsed` knows what ended in between.
"""

import asyncio
import json
import secrets
import uuid
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

import structlog

from persistence.accounts import (
    LEFT_NAME,
    RESET,
    VERIFY,
    Account,
    AccountStore,
    AnotherAction,
    DoneBefore,
    NameTaken,
    NoGuest,
    Opening,
    Profile,
    Registration,
)
from persistence.store import StoreError, StoreUnavailable, account_key, fold_name, left_key
from protocol.errors import Refusal, RefusalCode
from protocol.messages import (
    EXPORT_PART_BYTES_MAX,
    AccountChangePassword,
    AccountDelete,
    AccountEditProfile,
    AccountExport,
    AccountLogin,
    AccountLogout,
    AccountProfile,
    AccountRefresh,
    AccountRegister,
    AccountResetPassword,
    AccountRevoke,
    AccountSession,
    AccountSessions,
    AccountVerifyEmail,
    ExportPart,
    Granted,
    ProfileFound,
    Result,
    Role,
    SessionsEnded,
    SessionsFound,
    SignedIn,
)
from server.auth import BadToken, Signer, check_name, now_s
from server.config import AccountsConfig
from server.directory import look_of, printable
from server.lockouts import Lockouts
from server.mail import checked_address
from server.passwords import Hasher, check_password, normal
from server.tasks import Broken, end, supervise
from server.words import Words
from world.text import clean
from world.tick import ANOTHER_ACTION

DATABASE_MAX = 2  # requests that use the database at once, of `persistence.pool_size`
RETRY_AFTER_MS = 2_000
CODE_ALPHABET, CODE_LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789", 12
FREE_PER_ADDRESS = (
    8  # an address holds one of so many free places at most, so that many that flood leave some to others
)
EXPORTS_MAX = 8  # kept for who fetches them, and so many made at once
EXPORT_KEPT_S = 900.0  # then who did not fetch all of it begins again
EXPORT_BYTES_MAX = 16 * 1_048_576
LAPSED_MAX = 65_536  # sessions and keys that ended; a hello takes seconds at most
UNSURE_MAX = 4_096  # refreshes of which nobody knows whether they were done

log = structlog.get_logger()

Send = Callable[
    [str, str, str], None
]  # a letter: to whom, subject, text. Raises Refusal where too much waits
Page = tuple[str, list[dict[str, Any]]]  # of an export: the name of a part, and rows of it
Place = Callable[[], Awaitable[tuple[float, float]]]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Asker:
    """The connection that asks; player_id 0 before it is welcome."""

    number: int
    address: str
    network: str  # by which addresses are counted
    client: str
    player_id: int
    key: str
    role: Role
    session_id: UUID | None


@dataclass(frozen=True, slots=True)
class Became:
    """A player as others see them from now on, and the session that the asker plays in."""

    player_id: int
    key: str
    name: str
    role: Role
    look: int
    session_id: UUID | None


@dataclass(frozen=True, slots=True)
class Done:
    """What is in the database, and what follows from it."""

    answer: Result | Refusal
    ended: list[UUID] = field(default_factory=list)  # sessions
    became: Became | None = None
    gone: Became | None = None  # whose account was deleted, and what is left of them


Answer = Callable[[Done], None]


class Accounts:
    """All methods are for the loop's thread. `place` finds where somebody new appears, `send` sends mail."""

    def __init__(
        self,
        config: AccountsConfig,
        rows: AccountStore,
        signer: Signer,
        place: Place,
        send: Send,
        on_broken: Broken,
        words: Words | None = None,
    ) -> None:
        self.hasher = Hasher(config)
        self.lockouts = Lockouts(config.failures_max, config.lock_s, config.failures_per_address)
        self.sign_ins: Counter[str] = Counter()  # by how they ended
        self.tried_as: Callable[[str], str] = str  # under which name lockouts know a name
        self._config = config
        self._rows = rows
        self._signer = signer
        self._place = place
        self._send = send
        self._on_broken = on_broken
        self._words = words  # that are not wanted in names and what people say of themselves
        self._database = asyncio.Semaphore(DATABASE_MAX)
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._askers: Counter[str] = Counter()  # requests that are worked at, by address
        self._lapsed: OrderedDict[str | UUID, None] = OrderedDict()
        self._unsure: OrderedDict[UUID, int] = OrderedDict()  # session -> generation
        self._forgetting: asyncio.Task[None] | None = None
        self._exports: OrderedDict[int, Export] = OrderedDict()  # by player_id
        self._exporting: set[int] = set()  # player_ids whose export is being made

    @property
    def working(self) -> int:
        """Requests that are being worked at."""
        return len(self._tasks)

    async def stop(self) -> None:
        """Ends. What is not in the database yet is not done."""
        await end(*self._tasks, *filter(None, [self._forgetting]))
        self.hasher.stop()

    def ask(self, asker: Asker, request: Any, answer: Answer) -> None:
        """Does it, or answers why not. Raises Refusal for what can be said at once."""
        free = self._config.requests_max - len(self._tasks)
        share = min(self._config.requests_per_address_max, max(1, free // FREE_PER_ADDRESS))
        if free <= 0 or self._askers[asker.network] >= share:
            text = "Many are signing in just now; try again in a moment."
            raise Refusal(RefusalCode.RATE_LIMITED, text, RETRY_AFTER_MS)
        self._begin(self._serve(asker, request, answer), asker)

    def _begin(self, work: Coroutine[Any, Any, object], asker: Asker) -> None:
        """Work that is counted as one request of theirs while it goes on."""
        self._askers[asker.network] += 1
        task = asyncio.create_task(self._quietly(work), name="an account's request")
        self._tasks.add(task)
        task.add_done_callback(lambda task: self._over(task, asker.network))
        supervise(task, self._on_broken)

    def _over(self, task: "asyncio.Task[None]", network: str) -> None:
        self._tasks.discard(task)
        self._askers[network] -= 1
        if not self._askers[network]:
            del self._askers[network]

    async def _quietly(self, work: Coroutine[Any, Any, object]) -> None:
        """What goes wrong beside an answer is told to the log."""
        try:
            await work
        except Refusal as refusal:  # nobody waits for it
            log.debug("account_not_served", error=str(refusal))
        except StoreError as error:
            log.warning("account_not_served", error=str(error))

    async def _serve(self, asker: Asker, request: Any, answer: Answer) -> None:
        try:
            done = await _ANSWERS[type(request)](self, asker, request)
        except Refusal as refusal:
            done = Done(refusal)
        except StoreError as error:
            log.warning("account_not_served", request=type(request).__name__, error=str(error))
            done = Done(unavailable())
        for session_id in done.ended:
            self.lapse(session_id)
        answer(done)

    def lapsed(self, key: str, session_id: UUID | None) -> bool:
        """Whether this session, or this guest, came to an end a moment ago."""
        return session_id in self._lapsed if session_id is not None else key in self._lapsed

    def lapse(self, name: str | UUID) -> None:
        """This session, or this guest, is no more."""
        self._lapsed[name] = None
        if len(self._lapsed) > LAPSED_MAX:
            self._lapsed.popitem(last=False)

    def forget_ended(self, over: Callable[[set[UUID]], None]) -> None:
        """Deletes what is long over, by and by, and tells which sessions' time is up."""
        oldest_s = self._loop.time() - EXPORT_KEPT_S
        for player_id in [one for one, export in self._exports.items() if export.made_s < oldest_s]:
            del self._exports[player_id]
        if self._forgetting is None or self._forgetting.done():
            self._forgetting = asyncio.create_task(self._forget_ended(over), name="ended sessions")
            supervise(self._forgetting, self._on_broken)

    async def _forget_ended(self, over: Callable[[set[UUID]], None]) -> None:
        try:
            async with self._database:
                ended = await self._rows.forget_ended()
        except StoreError as error:
            log.warning("ended_sessions_not_forgotten", error=str(error))
            return
        for session_id in ended:
            self.lapse(session_id)
        over(set(ended))

    # --- registering -----------------------------------------------------------------------------------------------------------

    async def _register(self, asker: Asker, request: AccountRegister) -> Done:
        if asker.player_id and asker.role is not Role.GUEST:
            raise Refusal(
                RefusalCode.FORBIDDEN, "You are signed in already; sign out to make another account."
            )
        name, email = self._checked_name(request.name), checked_email(request.email)
        password = check_password(request.password, name, email)
        guest = asker.key if asker.player_id else None
        try:
            async with self._database:
                await self._rows.may_register(request.action_id, name, email, guest)
            return await self._make(asker, request.action_id, name, email, password, guest)
        except DoneBefore:
            return await self._sign_in(asker, name, password)
        except AnotherAction:
            raise Refusal(RefusalCode.BAD_REQUEST, ANOTHER_ACTION) from None
        except NameTaken:
            raise _name_taken(name) from None
        except NoGuest:
            raise Refusal(RefusalCode.FORBIDDEN, "You are no guest any more; sign in again.") from None

    async def _make(
        self, asker: Asker, action_id: bytes, name: str, email: str, password: str, guest: str | None
    ) -> Done:
        password_hash = await self.hasher.make(password, asker.network)
        place = (0.0, 0.0) if guest else await self._place()
        look = look_of(account_key(name))
        new = Registration(action_id, name, email, password_hash, look, *place, guest)
        session = self._opening(asker)
        async with self._database:
            account = await self._rows.register(new, session)
        self.sign_ins["registered"] += 1
        if email:
            self._begin(self._send_verify_code(account), asker)  # the answer is true without it
        signed_in = self._signed_in(account.player_id, account.name, session.session_id, 1)
        if guest is None:
            return Done(signed_in)
        self.lapse(guest)
        return Done(signed_in, became=_became(account, session.session_id))

    # --- signing in ------------------------------------------------------------------------------------------------------------

    async def _login(self, asker: Asker, request: AccountLogin) -> Done:
        return await self._sign_in(asker, request.name, normal(request.password))

    async def _sign_in(self, asker: Asker, name: str, password: str) -> Done:
        account = await self._prove(asker, name, password)
        new_hash = None
        if self.hasher.is_outdated(account.password_hash):
            new_hash = await self.hasher.make(password, asker.network)
        session = self._opening(asker)
        async with self._database:
            ended = await self._rows.open_session(account.player_id, session, account.password_hash, new_hash)
        if ended is None:
            raise _bad_credentials()
        self.sign_ins["signed_in"] += 1
        return Done(self._signed_in(account.player_id, account.name, session.session_id, 1), ended)

    async def _prove(self, asker: Asker, name: str, password: str) -> Account:
        """The account of that name and password. Raises Refusal. Who is not there costs as much as who is."""

        async def look() -> Account | None:
            async with self._database:
                account = await self._rows.by_name(name)
            stored = None if account is None else account.password_hash
            return account if await self.hasher.check(stored, password, asker.network) else None

        account = await self._try(asker, fold_name(name), look)
        if account is None:
            self.sign_ins["wrong"] += 1
            raise _bad_credentials()
        return account

    async def _try(self, asker: Asker, name: str, look: Callable[[], Awaitable[T | None]]) -> T | None:
        """What a look finds by what was given for a name, None where that is wrong. The try counts before the look. Raises Refusal."""
        tried = self.tried_as(name)
        self.lockouts.begin(tried, asker.network, self._loop.time())
        try:
            found = await look()
        except BaseException:  # also where it is given up
            self.lockouts.dropped(tried, asker.network)
            raise
        if found is None:
            self.lockouts.failed(tried, self._loop.time())
        else:
            self.lockouts.succeeded(tried, asker.network)
        return found

    async def _refresh(self, asker: Asker, request: AccountRefresh) -> Done:
        try:
            session_id, generation = self._signer.read_refresh(request.refresh_token)
        except BadToken as error:
            raise Refusal(RefusalCode.BAD_TOKEN, str(error)) from None
        unsure = self._unsure.get(session_id) == generation
        try:
            async with self._database:
                refreshed = await self._rows.refresh(
                    session_id, generation, unsure, asker.address, self._config.refresh_days
                )
        except StoreUnavailable:
            self._unsure[session_id] = generation
            if len(self._unsure) > UNSURE_MAX:
                self._unsure.popitem(last=False)
            raise
        self._unsure.pop(session_id, None)
        if refreshed is None:
            raise Refusal(RefusalCode.BAD_TOKEN, "This session has ended; sign in again.")
        if refreshed.name is None:
            self.sign_ins["reused"] += 1
            log.warning("refresh_token_reused", player_id=refreshed.player_id)
            text = "This token was used before, so the session has ended everywhere; sign in again."
            return Done(Refusal(RefusalCode.TOKEN_REUSED, text), [session_id])
        self.sign_ins["refreshed"] += 1
        return Done(self._signed_in(refreshed.player_id, refreshed.name, session_id, generation + 1))

    def _opening(self, asker: Asker) -> Opening:
        return Opening(uuid.uuid4(), printable(asker.client), asker.address, self._config.refresh_days)

    def _signed_in(self, player_id: int, name: str, session_id: UUID, generation: int) -> SignedIn:
        config = self._config
        access, refresh = self._signer.session(
            player_id, session_id, generation, now_s(), config.access_s, config.refresh_days
        )
        return SignedIn(player_id, name, access, refresh, config.access_s * 1_000)

    # --- sessions --------------------------------------------------------------------------------------------------------------

    async def _logout(self, asker: Asker, _: AccountLogout) -> Done:
        session_id = _session_of(asker)
        return await self._end(asker, only=session_id)

    async def _sessions(self, asker: Asker, _: AccountSessions) -> Done:
        current = _session_of(asker)
        async with self._database:
            rows = await self._rows.sessions(asker.player_id)
        return Done(
            SessionsFound(
                [
                    AccountSession(
                        row.session_id.bytes,
                        row.client,
                        row.address,
                        row.created_at_ms,
                        row.used_at_ms,
                        row.expires_at_ms,
                        row.session_id == current,
                    )
                    for row in rows
                ]
            )
        )

    async def _revoke(self, asker: Asker, request: AccountRevoke) -> Done:
        current = _session_of(asker)
        if request.session_id is None:
            return await self._end(asker, but=current)
        done = await self._end(asker, only=UUID(bytes=request.session_id))
        if not done.ended:
            raise Refusal(RefusalCode.NOT_FOUND, "You have no such session; ask for the list again.")
        return done

    async def _end(self, asker: Asker, only: UUID | None = None, but: UUID | None = None) -> Done:
        async with self._database:
            ended = await self._rows.end_sessions(asker.player_id, only, but)
        return Done(SessionsEnded(ended.now), ended.ids)

    async def _change_password(self, asker: Asker, request: AccountChangePassword) -> Done:
        current = _session_of(asker)
        account = await self._own(asker, request.password)
        password = check_password(request.new_password, account.name, account.email)
        new_hash = await self.hasher.make(password, asker.network)
        async with self._database:
            ended = await self._rows.set_password(account.player_id, account.password_hash, new_hash, current)
        if ended is None:
            raise _bad_credentials()
        return Done(SessionsEnded(ended.now), ended.ids)

    async def _own(self, asker: Asker, password: str) -> Account:
        """The account of who asks, once they have given its password again. Raises Refusal."""
        async with self._database:
            account = await self._rows.by_player(asker.player_id)
        if account is None:
            raise _no_account()
        try:
            return await self._prove(asker, account.login, normal(password))
        except Refusal as refusal:
            if refusal.code is RefusalCode.BAD_CREDENTIALS:
                raise Refusal(refusal.code, "This is not your password; look at it again.") from None
            raise

    # --- profiles --------------------------------------------------------------------------------------------------------------

    async def _profile(self, asker: Asker, request: AccountProfile) -> Done:
        player_id = asker.player_id if request.player_id is None else request.player_id
        async with self._database:
            profile = await self._rows.profile(player_id)
        if profile is None:
            raise Refusal(RefusalCode.NOT_FOUND, "There is no such player.")
        return Done(_shown(profile, player_id == asker.player_id))

    def _checked_name(self, name: str) -> str:
        if self._words is not None:
            self._words.check(name)
        try:
            name = check_name(name)
        except ValueError as error:
            raise Refusal(RefusalCode.BAD_REQUEST, f"Nobody may be called so: {error}.") from None
        if fold_name(name) == fold_name(LEFT_NAME):
            raise _name_taken(name)
        return name

    async def _edit_profile(self, asker: Asker, request: AccountEditProfile) -> Done:
        session_id = _session_of(asker)
        name = None if request.name is None else self._checked_name(request.name)
        bio = None if request.bio is None else clean(request.bio)
        if bio and self._words is not None:
            self._words.check(bio)
        try:
            async with self._database:
                account = await self._rows.edit_profile(asker.player_id, name, request.look, bio)
        except NameTaken:
            raise _name_taken(name or "") from None
        if account is None:
            raise _no_account()
        shown = ProfileFound(
            account.player_id,
            account.name,
            account.look,
            Role(account.role),
            account.bio,
            True,
            account.email,
            account.email_verified,
        )
        return Done(shown, became=_became(account, session_id))

    # --- codes by mail ---------------------------------------------------------------------------------------------------------

    async def _verify_email(self, asker: Asker, request: AccountVerifyEmail) -> Done:
        _session_of(asker)
        if request.code is not None:
            async with self._database:
                right = await self._rows.verify_email(asker.player_id, _given_code(request.code))
            if not right:
                raise _wrong_code()
            return Done(Granted())
        if request.email is not None:
            await self._change_email(asker, checked_email(request.email), request.password or "")
        async with self._database:
            account = await self._rows.by_player(asker.player_id)
        if account is None:
            raise _no_account()
        if account.email and not account.email_verified:
            wait_ms = await self._send_verify_code(account)
            if wait_ms:
                raise _mailed_just_now(wait_ms)
        return Done(Granted())

    async def _change_email(self, asker: Asker, email: str, password: str) -> None:
        account = await self._own(asker, password)
        if email.casefold() == account.email.casefold():
            return
        async with self._database:
            wait_ms = await self._rows.code_wait_ms(account.player_id, VERIFY) if email else 0
            if wait_ms:  # before anything is changed
                raise _mailed_just_now(wait_ms)
            if not await self._rows.set_email(account, email):
                raise _bad_credentials()

    async def _send_verify_code(self, account: Account) -> int:
        """As `_send_code`."""
        return await self._send_code(account, VERIFY, "Your address", _VERIFY_TEXT)

    async def _send_code(self, account: Account, purpose: str, subject: str, text: str) -> int:
        """Mails a code, and returns 0, or returns the milliseconds to wait before."""
        code = _new_code()
        seconds = self._config.code_s
        async with self._database:
            wait_ms = await self._rows.put_code(account.player_id, purpose, code, account.email, seconds)
        if wait_ms:
            return wait_ms
        minutes = max(1, seconds // 60)
        letter = text.format(name=account.name, code=_shown_code(code), minutes=minutes)
        try:
            self._send(account.email, subject, letter)
        except Refusal:
            async with self._database:
                await self._rows.drop_code(account.player_id, purpose, code)
            raise
        return 0

    async def _reset_password(self, asker: Asker, request: AccountResetPassword) -> Done:
        if request.code is None:
            # Beside the answer: neither what it says nor when it comes tells whether anybody has this address.
            self._begin(self._send_reset_codes(request.email), asker)
            return Done(Granted())
        email = checked_email(request.email)
        password = check_password(request.new_password or "", "", email)
        code = _given_code(request.code)

        async def look() -> int | None:
            async with self._database:
                return await self._rows.whose_code(email, code)

        player_id = await self._try(asker, _mail_key(email), look)
        if player_id is None:
            raise _wrong_code()
        async with self._database:
            account = await self._rows.by_player(player_id)
        if account is None:
            raise _wrong_code()
        check_password(password, account.name, email)  # whose it is was not known before
        new_hash = await self.hasher.make(password, asker.network)
        async with self._database:
            ended = await self._rows.reset_password(player_id, code, new_hash)
        if ended is None:
            raise _wrong_code()
        self.lockouts.forgive(self.tried_as(account.login))
        return Done(Granted(), ended)

    async def _send_reset_codes(self, email: str) -> None:
        async with self._database:
            accounts = await self._rows.by_verified_email(checked_email(email))
        for account in accounts:
            await self._send_code(account, RESET, "A new password", _RESET_TEXT)

    # --- going -----------------------------------------------------------------------------------------------------------------

    async def _export(self, asker: Asker, request: AccountExport) -> Done:
        _session_of(asker)
        if request.part == 0:
            await self._make_export(asker.player_id)
        export = self._exports.get(asker.player_id)
        start = request.part * EXPORT_PART_BYTES_MAX
        if export is None or start >= len(export.data):
            raise Refusal(RefusalCode.NOT_FOUND, "There is no such part; begin again with part 0.")
        part = export.data[start : start + EXPORT_PART_BYTES_MAX]
        more = start + len(part) < len(export.data)
        if not more:
            del self._exports[asker.player_id]
        return Done(ExportPart(part, more))

    async def _make_export(self, player_id: int) -> None:
        """Each takes the database again and again, and memory: one of a player is made at a time, and not many in all."""
        if player_id in self._exporting or len(self._exporting) >= EXPORTS_MAX:
            text = "A copy of your data is being made, or of many others'; ask again in a moment."
            raise Refusal(RefusalCode.RATE_LIMITED, text, RETRY_AFTER_MS)
        self._exports.pop(player_id, None)
        self._exporting.add(player_id)
        try:
            data = await self._put_together(player_id)
        finally:
            self._exporting.discard(player_id)
        self._exports[player_id] = Export(data, self._loop.time())
        if len(self._exports) > EXPORTS_MAX:
            self._exports.popitem(last=False)

    async def _put_together(self, player_id: int) -> bytes:
        """JSON: each part of what is stored is a list of rows. Encoded in a thread, a page at a time."""
        parts: dict[str, list[bytes]] = {}
        size = 0
        pages = self._rows.export(player_id)
        while (page := await self._page(pages)) is not None:
            part, rows = page
            lines = await asyncio.to_thread(_encoded, rows)
            size += sum(map(len, lines))
            if size > EXPORT_BYTES_MAX:
                text = "There is more about you than can be sent here; ask those who run this server for it."
                raise Refusal(RefusalCode.LIMIT_REACHED, text)
            parts.setdefault(part, []).extend(lines)
        if not parts:
            raise _no_account()
        return await asyncio.to_thread(_joined, parts)

    async def _page(self, pages: AsyncIterator[Page]) -> Page | None:
        """The next, in turn with whoever else needs the database; None behind the last."""
        async with self._database:
            return await anext(pages, None)

    async def _delete(self, asker: Asker, request: AccountDelete) -> Done:
        _session_of(asker)
        account = await self._own(asker, request.password)
        async with self._database:
            ended = await self._rows.delete(account.player_id)
        self._exports.pop(account.player_id, None)
        log.info("account_deleted", player_id=account.player_id)
        gone = Became(account.player_id, left_key(account.player_id), LEFT_NAME, Role.GUEST, 0, None)
        return Done(Granted(), ended, gone=gone)


def _encoded(rows: list[dict[str, Any]]) -> list[bytes]:
    return [json.dumps(row, default=_plain, ensure_ascii=False).encode() for row in rows]


def _joined(parts: dict[str, list[bytes]]) -> bytes:
    """One object, a row a line."""
    lists = (
        json.dumps(part).encode() + b": [\n" + b",\n".join(lines) + b"\n]" for part, lines in parts.items()
    )
    return b"{\n" + b",\n".join(lists) + b"\n}\n"


@dataclass(slots=True)
class Export:
    """One that is being fetched, part by part."""

    data: bytes
    made_s: float


def _new_code() -> str:
    """Sixty bits, in letters and digits that nobody mistakes for each other."""
    return "".join(secrets.choice(CODE_ALPHABET) for _ in range(CODE_LETTERS))


def _shown_code(code: str) -> str:
    return "-".join(code[start : start + 4] for start in range(0, CODE_LETTERS, 4))


def _given_code(code: str) -> str:
    return "".join(one for one in code.upper() if one in CODE_ALPHABET)


def _mail_key(email: str) -> str:
    """Under which tries of codes are counted; no name has such a character."""
    return f"\0{email.casefold()}"


def _mailed_just_now(wait_ms: int) -> Refusal:
    text = "A code went out just now; look for it, or ask again in a moment."
    return Refusal(RefusalCode.RATE_LIMITED, text, wait_ms)


def _wrong_code() -> Refusal:
    text = "This code is wrong, was used, or is too old; look again, or ask for another."
    return Refusal(RefusalCode.BAD_CREDENTIALS, text)


def _plain(value: object) -> str:
    """What JSON has no word for: times and ids."""
    return value.isoformat() if isinstance(value, datetime) else str(value)


def checked_email(email: str) -> str:
    """An address as mail servers take it; empty is none. Raises Refusal."""
    try:
        return checked_address(email.strip()) if email.strip() else ""
    except ValueError as error:
        raise Refusal(RefusalCode.BAD_REQUEST, f"This is no address: {error}. Or leave it empty.") from None


def unavailable() -> Refusal:
    """The database is away."""
    text = "The database does not answer, so it is not known to be done; try again in a moment."
    return Refusal(RefusalCode.UNAVAILABLE, text, RETRY_AFTER_MS)


def _session_of(asker: Asker) -> UUID:
    if asker.session_id is None:
        raise Refusal(
            RefusalCode.FORBIDDEN,
            "You are signed in by a token of who runs this server, which is no account; sign in with a password.",
        )
    return asker.session_id


def _became(account: Account, session_id: UUID) -> Became:
    return Became(account.player_id, account.key, account.name, Role(account.role), account.look, session_id)


def _shown(profile: Profile, own: bool) -> ProfileFound:
    private = (profile.email, profile.email_verified) if own else (None, None)
    return ProfileFound(
        profile.player_id, profile.name, profile.look, Role(profile.role), profile.bio, False, *private
    )


def _name_taken(name: str) -> Refusal:
    return Refusal(RefusalCode.NAME_TAKEN, f"Somebody is called {name} already; choose another name.")


def _bad_credentials() -> Refusal:
    return Refusal(
        RefusalCode.BAD_CREDENTIALS, "There is no such name with this password; look at both again."
    )


def _no_account() -> Refusal:
    return Refusal(RefusalCode.FORBIDDEN, "You have no account; make one first.")


_VERIFY_TEXT = """\
Hello {name},

this code shows that you read mail at this address:

    {code}

Give it to the game within {minutes} minutes. If you know nothing of it, somebody mistook your address for theirs; do nothing.
"""
_RESET_TEXT = """\
Hello {name},

with this code you can set a new password for {name}:

    {code}

Give it to the game within {minutes} minutes. All devices are signed out then. If you did not ask for it, do nothing: your password
is as it was, and whoever asked does not see this code.
"""

_ANSWERS: dict[type, Callable[[Accounts, Asker, Any], Awaitable[Done]]] = {
    AccountRegister: Accounts._register,
    AccountLogin: Accounts._login,
    AccountRefresh: Accounts._refresh,
    AccountLogout: Accounts._logout,
    AccountSessions: Accounts._sessions,
    AccountRevoke: Accounts._revoke,
    AccountChangePassword: Accounts._change_password,
    AccountProfile: Accounts._profile,
    AccountEditProfile: Accounts._edit_profile,
    AccountVerifyEmail: Accounts._verify_email,
    AccountResetPassword: Accounts._reset_password,
    AccountExport: Accounts._export,
    AccountDelete: Accounts._delete,
}
