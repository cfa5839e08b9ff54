"""Peace among players: mutes, bans, reports, blocks, roles; what moderators and the console do, and what holds because of it.

None of it is in the journal, which is for ever and read by whoever has part in it: reasons, reports and addresses are private. An act
is a transaction of its own (persistence/moderation.py), with its row of the audit, and is answered after the commit. One task does one
after the other. What is not begun after OVERDUE_S is refused and was not done; what is begun is tried until its outcome is known,
whatever becomes of the database. Then all that holds for whom it was done to is taken from there, not from what was meant to be.

What is in force lies in memory, for only this server changes it:

    a ban     is looked at when a hello is answered, not in the handshake: a browser could not show its reason to a person. It goes by
              the wall clock, as people count days, and the world does not know of it: whoever is banned leaves the world
    a mute    likewise: whether somebody may speak is settled before their line becomes a command, as rates are. So the world, which
              has no clock, needs none, and a recording holds only what was said
    a block   is a rule of the world (world/chat.py), since who hears a line is; it comes in with `Join`, and with `SetBlocked`
    a role    is the session's, the hub's and the world's; all three are told
"""

import asyncio
from collections import Counter, OrderedDict, deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Protocol, TypeVar

import msgspec
import structlog

from persistence.flusher import Flusher
from persistence.moderation import ADDRESS, Action, Actor, Change, Done, ModerationStore, SanctionRow, Subject
from persistence.store import ChatLine, StoreError, StoreUnavailable
from protocol.errors import CloseCode, Refusal, RefusalCode
from protocol.messages import (
    EVIDENCE_LINES_MAX,
    REPORTS_PAGE,
    BanScope,
    Blocked,
    BlockHeld,
    BlocksFound,
    ChatChannel,
    Evidence,
    Moderated,
    ModerationBan,
    ModerationClose,
    ModerationKick,
    ModerationLift,
    ModerationMute,
    ModerationReports,
    MuteChanged,
    Offence,
    PlayerBlock,
    PlayerBlocks,
    PlayerReport,
    PlayerReported,
    PlayerUnblock,
    Report,
    ReportClosed,
    ReportsFound,
    Result,
    Role,
    Sanction,
    ServerMessage,
    name_of,
)
from server.actions import OVERDUE_S, RETRY_S, content_of, unavailable
from server.config import ModerationConfig
from server.proxies import counted_as
from server.session import ROLES
from server.tasks import end
from world.commands import SetBlocked
from world.state import State
from world.text import clean

MINUTE_MS = 60_000
DAY_MS = 86_400_000
RETRY_MS_MAX = 2**32 - 1  # as much as the wire takes
ADDRESSES_KEPT_MAX = 16_384  # of those who were here last
CHANGED_KEPT_MAX = 1_024  # players whose role or blocks changed last: a sign-in may have read what was before
TOGETHER_MS = 60_000  # two who speak so shortly after one another at one place hear each other
ABOVE_ALL = len(ROLES)  # the rank of the console
WORDS_OF_PEOPLE = {"reason", "text", "note"}  # fields of requests
PASSES_ADDRESS_BANS = (Role.MODERATOR, Role.ADMIN)
ACTED = (
    "moderation_mute",
    "moderation_kick",
    "moderation_ban",
    "moderation_lift",
    "moderation_close",
    "moderation_role",
    "player_report",
)

log = structlog.get_logger()

Answer = Callable[[Result | Refusal], None]
T = TypeVar("T")


class SetRole(msgspec.Struct):
    """Somebody is given a role; only the console asks."""

    request_id: int
    action_id: bytes
    player_id: int
    role: Role
    reason: str


class Forget(msgspec.Struct):
    """What is over and done with goes."""


class Effects(Protocol):
    """What an act changes among those who are here."""

    def is_here(self, player_id: int) -> bool:
        """Whether somebody is in the world."""

    def send_away(self, player_id: int, code: CloseCode, text: str) -> None:
        """Closes a player's connection with a word, and takes them out of the world."""

    def send_network_away(self, network: str, spared: Sequence[Role], code: CloseCode, text: str) -> None:
        """The same for whoever is connected from there, but for these roles."""

    def tell(self, player_id: int, message: ServerMessage) -> None:
        """A message for a player, if they are connected."""

    def give_role(self, subject: Subject) -> None:
        """A player has this role from now on."""

    def deafen(self, command: SetBlocked) -> None:
        """A player does not hear these from now on."""


@dataclass(slots=True, eq=False)
class Asked:
    """A request that is not answered. `rank` is that of who asks, when it is done: who was a moderator may be none by then."""

    actor: Actor
    rank: Callable[[], int]
    request: Any
    answer: Answer
    asked_s: float


@dataclass(slots=True)
class Changed:
    """What of a player changed since their row may have been read."""

    role: str | None = None
    blocked: list[int] | None = None


class Moderation:
    """All methods are for the loop's thread. `effects` is the hub, once there is one."""

    effects: Effects

    def __init__(
        self,
        store: ModerationStore,
        flusher: Flusher,
        state: State,
        settings: ModerationConfig,
        queue_max: int,
        wall_ms: Callable[[], int],
    ) -> None:
        self.acts: Counter[str] = Counter(dict.fromkeys(ACTED, 0))
        self.reports_open = 0
        self.wall_ms = wall_ms
        self._store = store
        self._flusher = flusher
        self._state = state
        self._settings = settings
        self._queue_max = queue_max
        self._queue: deque[Asked] = deque()  # not begun, oldest first
        self._work = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[None] | None = None
        self._mutes: dict[int, SanctionRow] = {}
        self._bans: dict[int, SanctionRow] = {}
        self._address_bans: dict[int, SanctionRow] = {}  # by whom it was meant for
        self._networks: dict[str, set[int]] = {}  # whose bans keep out who comes from there
        self._addresses: OrderedDict[int, str] = OrderedDict()  # of those who came in last
        self._changed: OrderedDict[int, Changed] = OrderedDict()

    # --- its life --------------------------------------------------------------------------------------------------------------

    async def recall(self) -> None:
        """Before the start: what is in force."""
        for row in await self._store.sanctions():
            self._put(row)
        self.reports_open = await self._store.open_reports()

    def start(self) -> asyncio.Task[None]:
        """Begins to serve the queue; returns the work, to be supervised."""
        self._task = asyncio.create_task(self._serve(), name="moderation")
        return self._task

    async def stop(self) -> None:
        """Ends; what waits is not done."""
        if self._task is not None:
            await end(self._task)

    @property
    def waiting(self) -> int:
        """Requests that are not begun."""
        return len(self._queue)

    @property
    def muted(self) -> int:
        """Mutes in memory, those whose time is up since the last look included."""
        return len(self._mutes)

    @property
    def banned(self) -> int:
        """Bans in memory, of players or addresses, likewise."""
        return len(self._bans.keys() | self._address_bans.keys())

    # --- what holds ------------------------------------------------------------------------------------------------------------

    def bars(self, player_id: int, address: str, role: Role) -> Refusal | None:
        """Why somebody may not come in."""
        row = self._in_force(self._bans, player_id)
        if row is None and role not in PASSES_ADDRESS_BANS:
            rows = (
                self._in_force(self._address_bans, one)
                for one in [*self._networks.get(counted_as(address), ())]
            )
            row = next((one for one in rows if one is not None), None)
        if row is None:
            return None
        return Refusal(RefusalCode.BANNED, _banned(row), self._left_ms(row))

    def silences(self, player_id: int) -> Refusal | None:
        """Why somebody may not speak."""
        row = self._in_force(self._mutes, player_id)
        if row is None:
            return None
        text = f"You may not speak {_term(row)}. The reason: {row.reason}"
        return Refusal(RefusalCode.MUTED, text, self._left_ms(row))

    def mute_of(self, player_id: int) -> MuteChanged | None:
        """What somebody is told of a mute on entering."""
        row = self._in_force(self._mutes, player_id)
        return None if row is None else MuteChanged(True, row.reason, row.until_ms)

    def hides(self, player_id: int, asker_id: int) -> bool:
        """Whether somebody is not to be reached by another."""
        return asker_id in self._state.deafness.blocked_by(player_id)

    def as_of_now(self, player_id: int, role: str, blocked: list[int]) -> tuple[Role, list[int]]:
        """Role and blocks of who signs in: their row may have been read before the last change."""
        changed = self._changed.get(player_id, Changed())
        return Role(changed.role or role), blocked if changed.blocked is None else changed.blocked

    def entered(self, player_id: int, address: str) -> None:
        """Somebody came in from there."""
        self._addresses[player_id] = address
        _limit(self._addresses, player_id, ADDRESSES_KEPT_MAX)

    def _in_force(self, rows: dict[int, SanctionRow], player_id: int) -> SanctionRow | None:
        row = rows.get(player_id)
        if row is not None and row.is_over(self.wall_ms()):
            self._drop(row)
            return None
        return row

    def _left_ms(self, row: SanctionRow) -> int | None:
        return None if row.until_ms is None else min(RETRY_MS_MAX, max(1, row.until_ms - self.wall_ms()))

    def _rows(self, kind: int) -> dict[int, SanctionRow]:
        return {Sanction.MUTE: self._mutes, Sanction.BAN: self._bans, ADDRESS: self._address_bans}[kind]

    def _put(self, row: SanctionRow) -> None:
        self._rows(row.kind)[row.player_id] = row
        if row.address:
            self._networks.setdefault(counted_as(row.address), set()).add(row.player_id)

    def _drop(self, row: SanctionRow) -> None:
        self._rows(row.kind).pop(row.player_id, None)
        if row.address:
            network = counted_as(row.address)
            self._networks[network].discard(row.player_id)
            if not self._networks[network]:
                del self._networks[network]

    # --- asking ----------------------------------------------------------------------------------------------------------------

    def ask(self, actor: Actor, rank: Callable[[], int], request: Any, answer: Answer) -> None:
        """Does it, or answers why not, once it is stored. Raises Refusal for what can be said at once."""
        if not self._flusher.available or len(self._queue) >= self._queue_max:
            raise unavailable()
        for name in WORDS_OF_PEOPLE.intersection(request.__struct_fields__):
            setattr(request, name, clean(getattr(request, name)))  # others read it, at a console, too
        if not getattr(request, "reason", True):
            raise Refusal(RefusalCode.BAD_REQUEST, "Give a reason: whom it is done to is told.")
        self._queue.append(Asked(actor, rank, request, answer, self._loop.time()))
        self._work.set()

    def look(self) -> None:
        """With each tick: who waits too long is told so."""
        overdue_s = self._loop.time() - OVERDUE_S
        while self._queue and self._queue[0].asked_s < overdue_s:
            self._queue.popleft().answer(unavailable())

    def forget(self) -> None:
        """Now and then: what is over and done with goes, by and by."""
        if self._flusher.available and len(self._queue) < self._queue_max:
            self.ask(Actor(None, "server"), lambda: ABOVE_ALL, Forget(), lambda _: None)

    async def _serve(self) -> None:
        while True:
            await self._work.wait()
            if not self._queue:
                self._work.clear()
                continue
            asked = self._queue.popleft()
            try:
                answer: Result | Refusal = await _DO[type(asked.request)](self, asked)
            except Refusal as refusal:
                answer = refusal
            except StoreError as error:
                log.warning("moderation_failed", error=str(error))
                answer = unavailable()
            asked.answer(answer)

    async def _known(self, work: Callable[[], Awaitable[T]]) -> T:
        """What came of something that is written, tried until that is known: sent again it has no second effect."""
        failures = 0
        while True:
            try:
                return await work()
            except StoreUnavailable as error:
                if not failures:
                    log.warning("moderation_waits", error=str(error))
                failures += 1
                await asyncio.sleep(RETRY_S)

    # --- acts ------------------------------------------------------------------------------------------------------------------

    async def _act(self, asked: Asked, rule: Callable[[Subject], Change]) -> Done:
        """Does something to a player, and lets it take hold."""
        request, act = asked.request, _name(asked.request)

        def checked(subject: Subject) -> Change:
            _may(asked, subject)
            return rule(subject)

        now_ms = self.wall_ms()
        action = _action(asked)
        told = asked.actor, act, request.player_id, request.reason, now_ms
        attempts = 0

        async def attempt() -> Done:
            nonlocal attempts
            attempts += 1
            done = await self._store.act(action, *told, checked)
            return replace(
                done, new=done.new or attempts > 1
            )  # what was done before may have been by the first of them

        done = await self._known(attempt)
        self.acts[act] += done.new
        log.info("moderated", act=act, by=asked.actor.name, player_id=request.player_id)
        self._take_hold(done.subject)
        return done

    def _take_hold(self, subject: Subject) -> None:
        """What holds for somebody is so from now on, for those who are here, too."""
        player_id = subject.player_id
        muted = self._mutes.get(player_id)
        for rows in (self._mutes, self._bans, self._address_bans):
            if player_id in rows:
                self._drop(rows[player_id])
        now_ms = self.wall_ms()
        for row in subject.sanctions:
            if not row.is_over(now_ms):
                self._put(row)
        if muted != self._mutes.get(player_id):
            self.effects.tell(player_id, self.mute_of(player_id) or MuteChanged(False, ""))
        self.effects.give_role(subject)
        if (ban := self._bans.get(player_id)) is not None:
            self.effects.send_away(player_id, CloseCode.BANNED, _banned(ban))
        if (ban := self._address_bans.get(player_id)) is not None and ban.address:
            self.effects.send_network_away(
                counted_as(ban.address), PASSES_ADDRESS_BANS, CloseCode.BANNED, _banned(ban)
            )

    def _change(self, player_id: int) -> Changed:
        changed = self._changed.setdefault(player_id, Changed())
        _limit(self._changed, player_id, CHANGED_KEPT_MAX)
        return changed

    async def _mute(self, asked: Asked) -> Result:
        request: ModerationMute = asked.request
        row = SanctionRow(Sanction.MUTE, request.player_id, request.reason, self._until_ms(request.minutes))
        return _moderated(await self._act(asked, lambda _: Change(put=[row], lift=[Sanction.MUTE])))

    async def _ban(self, asked: Asked) -> Result:
        request: ModerationBan = asked.request
        told = request.player_id, request.reason, self._until_ms(request.minutes)
        address = self._addresses.get(request.player_id)

        def rule(_: Subject) -> Change:
            rows = []
            if request.scope != BanScope.ADDRESS:
                rows.append(SanctionRow(Sanction.BAN, *told))
            if request.scope != BanScope.PLAYER:
                if address is None:
                    text = "They were not here since the server started, so their address is not known; ban the player alone."
                    raise Refusal(RefusalCode.NOT_FOUND, text)
                rows.append(SanctionRow(ADDRESS, *told, address))
            return Change(put=rows, lift=[Sanction.BAN, ADDRESS])

        return _moderated(await self._act(asked, rule))

    async def _kick(self, asked: Asked) -> Result:
        request: ModerationKick = asked.request

        def rule(_: Subject) -> Change:
            if not self.effects.is_here(request.player_id):
                raise Refusal(RefusalCode.NOT_FOUND, "They are not in the world now.")
            return Change()

        done = await self._act(asked, rule)
        if done.new:
            text = f"A moderator sent you away. The reason: {request.reason}"
            self.effects.send_away(request.player_id, CloseCode.KICKED, text)
        return _moderated(done)

    async def _lift(self, asked: Asked) -> Result:
        request: ModerationLift = asked.request
        kinds = [Sanction.MUTE] if request.sanction == Sanction.MUTE else [Sanction.BAN, ADDRESS]
        now_ms = self.wall_ms()

        def rule(subject: Subject) -> Change:
            if not any(row.kind in kinds and not row.is_over(now_ms) for row in subject.sanctions):
                word = "muted" if request.sanction == Sanction.MUTE else "banned"
                raise Refusal(RefusalCode.NOT_FOUND, f"{subject.name} is not {word}.")
            return Change(lift=kinds)

        return _moderated(await self._act(asked, rule))

    async def _set_role(self, asked: Asked) -> Result:
        request: SetRole = asked.request

        def rule(subject: Subject) -> Change:
            if subject.role == Role.GUEST:
                raise Refusal(
                    RefusalCode.NOT_ALLOWED,
                    f"{subject.name} is a guest; only who has an account can have a role.",
                )
            return Change(role=request.role.value)

        done = await self._act(asked, rule)
        self._change(request.player_id).role = done.subject.role
        return _moderated(done)

    def _until_ms(self, minutes: int | None) -> int | None:
        return None if minutes is None else self.wall_ms() + minutes * MINUTE_MS

    # --- reports ---------------------------------------------------------------------------------------------------------------

    async def _report(self, asked: Asked) -> Result:
        request: PlayerReport = asked.request
        me = asked.actor.player_id
        assert me is not None
        if request.player_id == me:
            raise Refusal(RefusalCode.BAD_REQUEST, "This is you. Report somebody else, or nobody.")
        lines = evidence(
            await self._said(me, request.player_id), me, request.player_id, self._place(me), self._radius
        )
        action, now_ms = _action(asked), self.wall_ms()
        limit = self._settings.reports_open_max
        told = request.player_id, request.offence, request.text, lines, now_ms, limit
        result = await self._known(lambda: self._store.report(action, asked.actor, *told))
        self.acts["player_report"] += 1
        self.reports_open = await self._store.open_reports()
        return PlayerReported(**result)

    @property
    def _radius(self) -> float:
        return self._state.rules.chat_radius

    def _place(self, player_id: int) -> tuple[float, float] | None:
        players = self._state.players
        slot = players.slot_of.get(player_id)
        return None if slot is None else (float(players.x[slot]), float(players.y[slot]))

    async def _said(self, *player_ids: int) -> list[ChatLine]:
        """The last lines of these, oldest first; those that are not stored yet, too."""
        unsaved = [line for line in self._flusher.unsaved_chat() if line.sender_id in player_ids]
        stored = await self._store.said_by(player_ids)
        known = {(line.tick, line.sender_id, line.text) for line in stored}
        return stored + [line for line in unsaved if (line.tick, line.sender_id, line.text) not in known]

    async def _list_reports(self, asked: Asked) -> Result:
        request: ModerationReports = asked.request
        rows = await self._store.reports(request.closed, request.after or 0, REPORTS_PAGE + 1)
        page = [
            Report(
                row.report_id,
                row.reporter_id,
                row.content.reporter_name,
                row.player_id,
                row.content.player_name,
                Offence(row.offence),
                row.content.text,
                row.content.lines,
                row.reported_ms,
                row.closed_ms,
                row.closed_by,
                row.note,
            )
            for row in rows[:REPORTS_PAGE]
        ]
        return ReportsFound(page, len(rows) > REPORTS_PAGE)

    async def _close(self, asked: Asked) -> Result:
        request: ModerationClose = asked.request
        action, now_ms = _action(asked), self.wall_ms()
        result = await self._known(
            lambda: self._store.close_report(action, asked.actor, request.report_id, request.note, now_ms)
        )
        self.acts["moderation_close"] += 1
        self.reports_open = await self._store.open_reports()
        return ReportClosed(**result)

    # --- blocks ----------------------------------------------------------------------------------------------------------------

    async def _block(self, asked: Asked) -> Result:
        request: PlayerBlock | PlayerUnblock = asked.request
        me = asked.actor.player_id
        assert me is not None
        if request.player_id == me:
            raise Refusal(RefusalCode.BAD_REQUEST, "This is you.")
        action, blocks = _action(asked), isinstance(request, PlayerBlock)
        result, blocked = await self._known(
            lambda: self._store.block(action, request.player_id, blocks, self._settings.blocks_max)
        )
        self._change(me).blocked = blocked
        self.effects.deafen(SetBlocked(me, blocked))
        return BlockHeld(**result)

    async def _list_blocks(self, asked: Asked) -> Result:
        assert asked.actor.player_id is not None
        return BlocksFound([Blocked(*row) for row in await self._store.blocks(asked.actor.player_id)])

    async def _forget(self, _: Asked) -> Result:
        now_ms = self.wall_ms()
        for rows in (self._mutes, self._bans, self._address_bans):
            for row in [row for row in rows.values() if row.is_over(now_ms)]:
                self._drop(row)
        await self._store.forget(now_ms, now_ms - round(self._settings.reports_keep_days * DAY_MS))
        return Result()


def evidence(
    lines: Iterable[ChatLine], reporter: int, reported: int, place: tuple[float, float] | None, radius: float
) -> list[Evidence]:
    """The last of these lines that `reporter` could hear of `reported`, or that the two said to each other.

    Who heard a nearby line is not kept. It counts where it was said near to where the reporter stands, or near to where the reporter
    spoke at about that time.
    """
    lines = list(lines)
    mine = [line for line in lines if line.sender_id == reporter and line.channel == ChatChannel.NEARBY]

    def heard(line: ChatLine) -> bool:
        if line.channel == ChatChannel.DIRECT:
            return {line.sender_id, line.recipient_id} == {reporter, reported}
        if line.sender_id != reported:
            return False
        if line.channel == ChatChannel.WORLD:
            return True
        here = [place] if place else []
        here += [(one.x, one.y) for one in mine if abs(one.said_at_ms - line.said_at_ms) <= TOGETHER_MS]
        return any((line.x - x) ** 2 + (line.y - y) ** 2 <= radius * radius for x, y in here)

    last = [line for line in lines if heard(line)][-EVIDENCE_LINES_MAX:]
    return [
        Evidence(ChatChannel(one.channel), one.sender_id, one.sender_name, one.text, one.said_at_ms)
        for one in last
    ]


def _may(asked: Asked, subject: Subject) -> None:
    """One acts on those below oneself only."""
    if subject.player_id == asked.actor.player_id:
        raise Refusal(RefusalCode.NOT_ALLOWED, "Nobody moderates themselves.")
    if asked.rank() <= ROLES.index(Role(subject.role)):
        text = f"{subject.name} is {subject.role}; only somebody above that may do this."
        raise Refusal(RefusalCode.NOT_ALLOWED, text)


def _action(asked: Asked) -> Action:
    request = asked.request
    return Action(request.action_id, asked.actor.player_id or 0, content_of(request))


def _name(request: Any) -> str:
    return "moderation_role" if isinstance(request, SetRole) else name_of(type(request))


def _moderated(done: Done) -> Result:
    return Moderated(**done.result)


def _term(row: SanctionRow) -> str:
    if row.until_ms is None:
        return "until a moderator lifts it"
    return f"until {datetime.fromtimestamp(row.until_ms / 1000, UTC):%Y-%m-%d %H:%M} UTC"


def _banned(row: SanctionRow) -> str:
    whom = "Your address is" if row.kind == ADDRESS else "You are"
    return f"{whom} banned from this world {_term(row)}. The reason: {row.reason}"


def _limit(kept: "OrderedDict[int, Any]", newest: int, many: int) -> None:
    kept.move_to_end(newest)
    if len(kept) > many:
        kept.popitem(last=False)


_DO: dict[type, Callable[[Moderation, Asked], Awaitable[Result]]] = {
    ModerationMute: Moderation._mute,
    ModerationKick: Moderation._kick,
    ModerationBan: Moderation._ban,
    ModerationLift: Moderation._lift,
    SetRole: Moderation._set_role,
    PlayerReport: Moderation._report,
    ModerationReports: Moderation._list_reports,
    ModerationClose: Moderation._close,
    PlayerBlock: Moderation._block,
    PlayerUnblock: Moderation._block,
    PlayerBlocks: Moderation._list_blocks,
    Forget: Moderation._forget,
}
