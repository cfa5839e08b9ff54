"""The simulation side of the seam: who may come in, who is played from where, and whatever is limited for the whole server.

There is one hub and, for each connection side (gate.py), a `Line` to it. What a line brings is settled here at once, or waited for in
the directory, the builder or the maker of ground, or handed to the world's inbox; the tick's frame goes to all lines alike.

    address -> connections   bounded per address (of IPv6: per /64) and in all
    address -> what costs    buckets for new connections, hellos, requests and actions; WORLD_FULL counts who is in the world
    player_id -> debts       what was missing in the buckets of their last connection, for the next one
    player_id -> caller      one live connection a player; the newer wins and the older is told why
    talk to the whole world  one bucket for all

A lost connection detaches its player, who stays for `session.resume_s`; whoever comes back in that time, with the ticket or by signing
in, goes on where the player stands. A connection side that dies is so many lost connections.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import UUID

import numpy as np

from persistence.keyring import Key
from persistence.moderation import Actor, Subject
from protocol import codec
from protocol.errors import CloseCode, Refusal, RefusalCode
from protocol.messages import (
    AccountRegister,
    ChatChannel,
    Ok,
    PlayerFound,
    ProfileFound,
    Refused,
    Result,
    Role,
    RoleChanged,
    ServerMessage,
)
from server.accounts import Accounts, Asker, Became, Done
from server.actions import Actions
from server.chunks import Chunks
from server.config import Config
from server.directory import Directory, Newcomer
from server.frames import Arrival, TickFrame, answered
from server.moderation import Moderation
from server.proxies import Proxies, counted_as
from server.questions import Questions
from server.seam import (
    HTTP_NO_ROOM,
    HTTP_TOO_MANY,
    RESTART_RETRY_MS,
    TRY_AGAIN,
    Accounting,
    Acting,
    Admitted,
    AnyDown,
    AnyUp,
    Asking,
    Charged,
    CloseAll,
    Closed,
    Cut,
    Ending,
    Entering,
    Expelled,
    Forwarded,
    Known,
    Made,
    Moderating,
    Opened,
    Rejected,
    Replaced,
    Saying,
    SignIn,
    Steering,
    Tally,
    Told,
    TurnedAway,
    Wanted,
)
from server.session import ROLES, Bucket, Buckets, Debts, Spent
from server.telemetry import Counts
from server.withheld import Later, Withheld
from world.commands import STEER, Become, Depart, Detach, Inbox, Join, Leave, SetBlocked, Steers

if TYPE_CHECKING:
    from server.neighbours import Neighbours

FORGET_GUESTS_S = 600  # so often, of world time, those who never came back are deleted
NUMBERS_PER_LINE = 2**32  # so that no two connections ever have one number
NO_RANK = -1  # below everybody
BUSY = Refusal(RefusalCode.UNAVAILABLE, TRY_AGAIN, 1_000)
NO_ACCOUNTS = Refusal(RefusalCode.UNAVAILABLE, "This server has no accounts.")
ENDED = "The session that you signed in with has ended; sign in again."
CLOSING = Refusal(RefusalCode.UNAVAILABLE, "The server is closing.", RESTART_RETRY_MS)


@dataclass(slots=True, eq=False)
class Line:
    """The way to one connection side: in this process a call, else a socket."""

    send: Callable[[AnyDown], None]
    count: Callable[[], Tally]
    first_number: int
    callers: "dict[int, Caller]" = field(default_factory=dict)
    share: float = 0.0  # of a tick's time that the last frame took there, if that is another process, or the ticks it is late
    # player_id -> newest connection here that was replaced and has not said Ending: its intents may still be on their way
    outdated: dict[int, int] = field(default_factory=dict)

    def heard_last_of(self, caller: "Caller") -> None:
        """No intent of this connection is on its way any more."""
        if self.outdated.get(caller.player_id) == caller.number:
            del self.outdated[caller.player_id]


@dataclass(slots=True, eq=False)
class Caller:
    """One connection, as it is known here."""

    line: Line
    number: int
    address: str
    network: str  # that it is counted under
    player_id: int = 0
    name: str = ""
    role: Role = Role.GUEST
    ending: bool = False
    expelled: bool = False
    settled: bool = False  # what it spent is known
    client: str = ""  # the program, as it said in its hello
    key: str = ""  # of the player
    session_id: UUID | None = None  # that was signed in with, if it was an account's

    @property
    def rank(self) -> int:
        """How far up the role is."""
        return ROLES.index(self.role)


class Hub:
    """Whole-server policy. `spread` hands each tick's frame to the connection sides, once there are any, and `rekey` other keys."""

    def __init__(
        self,
        config: Config,
        inbox: Inbox,
        chunks: Chunks,
        directory: Directory,
        actions: Actions,
        questions: Questions,
        moderation: Moderation,
        counts: Counts,
    ) -> None:
        self.config = config
        self.inbox = inbox
        self.chunks = chunks
        self.directory = directory
        self.actions = actions
        self.questions = questions
        self.moderation = moderation
        moderation.effects = self
        self.accounts: Accounts | None = None  # a world that is only simulated has none
        self.neighbours: Neighbours | None = None  # where servers share a Redis
        self.withheld = Withheld()
        self.counts = counts
        self.players: dict[int, Caller] = {}  # in the world with a line, or about to be
        self.lines: list[Line] = []
        self.spread: Callable[[TickFrame], None] = _to_nobody
        self.rekey: Callable[[list[Key]], None] = _to_nobody
        self._limits = config.limits
        self._loop = asyncio.get_running_loop()
        self._open = True
        self._empty = asyncio.Event()
        self._callers: dict[int, Caller] = {}
        self._networks: Counter[str] = Counter()
        self._proxies = Proxies(config.server.trusted_proxies)
        self._debts = Debts(config.limits.rates, config.limits.connections_max)
        limits = config.limits
        self.buckets = {  # of addresses
            name: Buckets(rate, limits.connections_max)
            for name, rate in (
                ("connects", limits.connects_per_address),
                ("hellos", limits.hellos_per_address),
                ("requests", limits.requests_per_address),
                ("actions", limits.actions_per_address),
                ("account_requests", limits.account_requests_per_address),
                ("registrations", limits.registrations_per_address),
            )
        }
        self._world_talk = Bucket(config.chat.world_rate, self.now_s())  # of all together
        # Who is in the world, or will be with the next tick; a line may be lost.
        self._bodies: set[int] = set()
        self._lines_total = 0
        self._gone = Tally()  # what those have counted that are no more

    def __len__(self) -> int:
        return len(self._callers)

    def now_s(self) -> float:
        """The loop's clock, for rates."""
        return self._loop.time()

    # --- connection sides come and go ------------------------------------------------------------------------------------------

    def attach(self, send: Callable[[AnyDown], None], count: Callable[[], Tally]) -> Line:
        """A connection side begins: `send` is the way to it, `count` its counts. What comes from it goes to `take`."""
        line = Line(send, count, self._lines_total * NUMBERS_PER_LINE + 1)
        self._lines_total += 1
        self.lines.append(line)
        return line

    def detach(self, line: Line) -> None:
        """A connection side is gone, and all its connections are lost."""
        self.lines.remove(line)
        for caller in list(line.callers.values()):
            self._lose(caller, for_good=False)
        counted = line.count()
        counted.end()
        self._gone.add(counted)

    def tally(self) -> Tally:
        """What all connection sides have counted since the start."""
        total = Tally()
        for one in (self._gone, *(line.count() for line in self.lines)):
            total.add(one)
        return total

    def share(self) -> float:
        """How much of its time the busiest process of connections needs."""
        return max((line.share for line in self.lines), default=0.0)

    def take(self, line: Line, message: AnyUp) -> None:
        """A word from a connection side."""
        _TAKE[type(message)](self, line, message)

    # --- connections come and go -----------------------------------------------------------------------------------------------

    def _opened(self, line: Line, message: Opened) -> None:
        caller = Caller(line, message.number, message.address, self._network_of(message.address))
        self._callers[caller.number] = line.callers[caller.number] = caller
        self._networks[caller.network] += 1
        if not self._open or len(self._callers) > self._limits.connections_max:
            line.send(Rejected(caller.number, HTTP_NO_ROOM))
        else:
            self._admit(caller)

    def _forwarded(self, line: Line, message: Forwarded) -> None:
        caller = self._callers[message.number]
        self._forget_network(caller.network)
        caller.address, caller.network = message.address, self._network_of(message.address)
        self._networks[caller.network] += 1
        self._admit(caller)

    def _admit(self, caller: Caller) -> None:
        """A proxy may have any number; whom they are for comes with the handshake."""
        if not self._proxies.holds(caller.address):
            over = self._networks[caller.network] > self._limits.connections_per_address
            if over or self.buckets["connects"].take(caller.network, self.now_s()):
                caller.line.send(Rejected(caller.number, HTTP_TOO_MANY))
                return
        caller.line.send(Admitted(caller.number))

    def _network_of(self, address: str) -> str:
        network = counted_as(address)
        return network if self.neighbours is None else self.neighbours.counted_as(network)

    def _forget_network(self, network: str) -> None:
        self._networks[network] -= 1
        if not self._networks[network]:
            del self._networks[network]

    def _ending(self, line: Line, message: Ending) -> None:
        caller = self._callers[message.number]
        self._settle(caller, message.spent)
        caller.ending = True
        line.heard_last_of(caller)

    def _closed(self, line: Line, message: Closed) -> None:
        caller = self._callers[message.number]
        self._settle(caller, message.spent)
        self._lose(caller, message.for_good)

    def _settle(self, caller: Caller, spent: Spent) -> None:
        """What a connection that ends has spent is charged to the one in its place, or kept for the next."""
        if not caller.player_id or caller.settled:
            return
        caller.settled = True
        newer = self.players.get(caller.player_id, caller)
        if newer is caller:
            self._debts.put(caller.player_id, spent, self.now_s())
        elif spent:
            newer.line.send(Charged(newer.number, spent))

    def _lose(self, caller: Caller, for_good: bool) -> None:
        """A connection is no more."""
        del self._callers[caller.number], caller.line.callers[caller.number]
        if not self._callers:
            self._empty.set()
        self._forget_network(caller.network)
        player_id = caller.player_id
        caller.line.heard_last_of(caller)
        if self.players.get(player_id) is caller:
            del self.players[player_id]
            if for_good:
                self._bodies.discard(player_id)
            self.inbox.put_always([Leave(player_id) if for_good else Detach(player_id)])

    # --- signing in ------------------------------------------------------------------------------------------------------------

    def _sign_in(self, line: Line, message: SignIn) -> None:
        caller = self._callers[message.number]
        try:
            if not self._open:
                raise CLOSING
            wait_ms = self.buckets["hellos"].take(caller.network, self.now_s())
            if wait_ms:
                text = "Many are coming in from your address just now; try again in a moment."
                raise Refusal(RefusalCode.RATE_LIMITED, text, wait_ms)
            caller.client = message.hello.client
            self.directory.sign_in(message.hello, lambda outcome: self._entered(caller, outcome))
        except Refusal as refusal:
            self._turn_away(caller, refusal)

    def _entered(self, caller: Caller, outcome: Newcomer | Refusal) -> None:
        """The directory's answer to the hello; the line may be gone by now."""
        if caller.ending or caller.number not in self._callers:
            return
        if isinstance(outcome, Refusal):
            self._turn_away(caller, outcome)
            return
        row = outcome.row
        role, blocked = self.moderation.as_of_now(row.player_id, row.role, outcome.blocked)
        barred = self.moderation.bars(row.player_id, caller.address, role) or self._may_be_over(role)
        if self.accounts is not None and self.accounts.lapsed(row.key, outcome.session_id):
            self._turn_away(caller, Refusal(RefusalCode.BAD_TOKEN, ENDED))
        elif barred is not None:
            self._turn_away(caller, barred)
        elif row.player_id not in self._bodies and len(self._bodies) >= self.config.server.max_players:
            full = Refusal(RefusalCode.WORLD_FULL, "The world is full; try again later.", 10_000)
            self._turn_away(caller, full)
        elif not self.inbox.put(Join(row.player_id, row.name, role, row.look, outcome.x, outcome.y, blocked)):
            self._turn_away(caller, BUSY)
        else:
            caller.role, caller.key, caller.name = role, row.key, row.name
            caller.session_id = outcome.session_id
            self._enter(caller, row.player_id)

    def _may_be_over(self, role: Role, request: object = None) -> Refusal | None:
        """Why it must wait for the word of other servers, if it must."""
        return None if self.neighbours is None else self.neighbours.may_be_over(role, request)

    def _enter(self, caller: Caller, player_id: int) -> None:
        """A player comes into the world, in place of an older connection of theirs."""
        older = self.players.get(player_id)
        if older is not None:
            self._outdate(older)
            older.line.send(Replaced(older.number))
        caller.player_id = player_id
        self.moderation.entered(player_id, caller.address)
        self.players[player_id] = caller
        self._bodies.add(player_id)
        caller.line.send(Entering(caller.number, player_id, caller.key, caller.name, caller.session_id))
        spent = self._debts.take(player_id, self.now_s())
        if spent:
            caller.line.send(Charged(caller.number, spent))

    def _outdate(self, caller: Caller) -> None:
        """What this connection still has on its way is not obeyed."""
        if not caller.ending:
            caller.line.outdated[caller.player_id] = caller.number

    def _turn_away(self, caller: Caller, refusal: Refusal) -> None:
        caller.line.send(TurnedAway(caller.number, refusal.code, refusal.message, refusal.retry_after_ms))

    # --- accounts --------------------------------------------------------------------------------------------------------------

    def _account(self, _: Line, message: Accounting) -> None:
        caller, request = self._callers[message.number], message.request
        if caller.ending or self._over_rate(caller, "account_requests", request.request_id):
            return
        registers = isinstance(request, AccountRegister)
        if registers and (banned := self.moderation.bars(caller.player_id, caller.address, caller.role)):
            self._answer(caller, request.request_id, banned)
            return
        if registers and self._over_rate(caller, "registrations", request.request_id):
            return

        def answer(done: Done) -> None:
            if registers and isinstance(done.answer, Refusal):  # nothing was made
                self.buckets["registrations"].give_back(caller.network)
            self._accounted(caller, request.request_id, done)

        asker = Asker(
            caller.number,
            caller.address,
            caller.network,
            caller.client,
            caller.player_id,
            caller.key,
            caller.role,
            caller.session_id,
        )
        try:
            if self.accounts is None:
                raise NO_ACCOUNTS
            if not self._open:
                raise CLOSING
            self.accounts.ask(asker, request, answer)
        except Refusal as refusal:
            answer(Done(refusal))

    def _accounted(self, caller: Caller, request_id: int, done: Done) -> None:
        """What was done is in the database: now the connections follow. The asker may be gone by now."""
        if done.became is not None:
            self._become(caller, done.became)
        if done.gone is not None:
            self.inbox.put_always([Depart(done.gone.player_id, done.gone.name)])
        if isinstance(done.answer, ProfileFound):
            done.answer.online = self._shown_online(done.answer.player_id, caller)
        if caller.number in self._callers:
            self._answer(caller, request_id, done.answer)
        if done.ended:
            self.end_sessions(set(done.ended))
            if self.neighbours is not None:
                self.neighbours.ended(done.ended)

    def _become(self, caller: Caller, became: Became) -> None:
        """A player has another name, role or look; a guest has an account now."""
        role = became.role
        self.inbox.put_always([Become(became.player_id, became.name, role, became.look)])
        playing = self.players.get(became.player_id)
        if playing is None:
            return
        if playing is not caller and playing.session_id is None and playing.key != became.key:
            self.expel(playing, CloseCode.REVOKED, ENDED)  # it came with the ticket of the guest meanwhile
            return
        playing.key, playing.name, playing.role = became.key, became.name, role
        if playing is caller and became.session_id is not None:
            playing.session_id = became.session_id
        playing.line.send(Known(playing.number, playing.key, playing.name, role, playing.session_id))

    def end_sessions(self, ended: set[UUID]) -> None:
        """Closes whatever is connected with one of these sessions."""
        for caller in list(self._callers.values()):
            if caller.session_id in ended:
                self.expel(caller, CloseCode.REVOKED, ENDED)

    def expel(self, caller: Caller, code: CloseCode, text: str, retry_after_ms: int | None = None) -> None:
        """Closes a connection, with a word. Its player is gone from the world at once."""
        player_id = caller.player_id
        if self.players.get(player_id) is caller:
            del self.players[player_id]
            self._bodies.discard(player_id)
            self.inbox.put_always([Leave(player_id)])
            self._outdate(caller)
        caller.ending = caller.expelled = True  # what it still asks for is not done
        caller.line.send(Expelled(caller.number, code, text, retry_after_ms))

    # --- what players want -----------------------------------------------------------------------------------------------------

    def _steer(self, line: Line, message: Steering) -> None:
        """Intents from another process; those of this one go into the inbox by themselves."""
        records = np.frombuffer(message.records, STEER)
        if line.outdated:
            records = records[~np.isin(records["player_id"], list(line.outdated))]
        if len(records) and not self.inbox.put(Steers(records.tobytes())):
            for player_id in set(records["player_id"].tolist()):
                caller = self.players.get(player_id)
                if caller is not None:
                    self._answer(caller, 0, BUSY)

    def _say(self, _: Line, message: Saying) -> None:
        say = message.say
        caller = self.players.get(say.player_id)
        if caller is None or caller.number != say.session:
            return  # replaced by a newer connection meanwhile
        muted = self.moderation.silences(say.player_id)
        if muted is not None:
            self._answer(caller, say.request_id, muted)
            return
        if self._over_rate(caller, "requests", say.request_id):
            return
        wait_ms = 0
        if say.channel == ChatChannel.WORLD:
            wait_ms = self._world_talk.take(self.now_s())
        if wait_ms:
            text = "Much is being said to the whole world; wait a moment."
            self._answer(caller, say.request_id, Refusal(RefusalCode.RATE_LIMITED, text, wait_ms))
        elif not self.inbox.put(say):
            self._answer(caller, say.request_id, BUSY)

    def _shown_online(self, player_id: int, asker: Caller) -> bool:
        """Whether somebody is here, as far as another may know: whom they have blocked may not."""
        return player_id in self.players and not self.moderation.hides(player_id, asker.player_id)

    def _act(self, _: Line, message: Acting) -> None:
        caller, request = self._callers[message.number], message.request
        if caller.ending or self._over_rate(caller, "actions", request.request_id):
            return

        def answer(outcome: Ok | Refusal) -> None:
            self._answer(caller, request.request_id, outcome)

        try:
            if (refusal := self._may_be_over(caller.role, request)) is not None:
                raise refusal
            self.actions.ask(caller.player_id, caller.name, caller.role, caller.number, request, answer)
        except Refusal as refusal:
            answer(refusal)

    def _ask(self, _: Line, message: Asking) -> None:
        caller, request = self._callers[message.number], message.request
        if self._over_rate(caller, "requests", request.request_id):
            return

        def answer(outcome: object, seq: int) -> Later | None:
            if not seq:
                self._answer_or_look_elsewhere(caller, request.request_id, outcome)
                return None
            if isinstance(outcome, Refusal):
                self.counts.refused[outcome.code.name] += 1
            told = answered(request.request_id, 0, outcome)
            return self.withheld.later(seq, caller.player_id, caller.number, told)

        try:
            self.questions.ask(caller.player_id, request, answer)
        except Refusal as refusal:
            answer(refusal, 0)

    def _answer_or_look_elsewhere(self, caller: Caller, request_id: int, outcome: object) -> None:
        """Who is found may be in on another server; whom they have blocked may not know where."""
        if not isinstance(outcome, PlayerFound):
            self._answer(caller, request_id, outcome)
            return
        outcome.online = self._shown_online(outcome.player_id, caller)

        def answer(is_in: bool) -> None:
            outcome.online = is_in
            self._answer(caller, request_id, outcome)

        hidden = self.moderation.hides(outcome.player_id, caller.player_id)
        if outcome.online or hidden or self.neighbours is None:
            answer(outcome.online)
        else:
            self.neighbours.find(outcome.name, answer)

    def _moderate(self, _: Line, message: Moderating) -> None:
        caller, request = self._callers[message.number], message.request
        if caller.ending or self._over_rate(caller, "actions", request.request_id):
            return

        def answer(outcome: Result | Refusal) -> None:
            self._answer(caller, request.request_id, outcome)

        try:
            if (refusal := self._may_be_over(caller.role, request)) is not None:
                raise refusal
            actor = Actor(caller.player_id, caller.name, caller.address)
            self.moderation.ask(actor, lambda: self._rank(caller), request, answer)
        except Refusal as refusal:
            answer(refusal)

    def _rank(self, caller: Caller) -> int:
        """How far up somebody stands when it is done what they asked: who was sent away meanwhile stands nowhere."""
        return NO_RANK if caller.expelled else self.players.get(caller.player_id, caller).rank

    def _over_rate(self, caller: Caller, name: str, request_id: int) -> bool:
        """Whether more comes from their address than may; then it is refused. No sign of flooding: others there may have asked it."""
        wait_ms = self.buckets[name].take(caller.network, self.now_s())
        if wait_ms:
            text = "Much is asked from your address just now; try again in a moment."
            self._answer(caller, request_id, Refusal(RefusalCode.RATE_LIMITED, text, wait_ms))
        return bool(wait_ms)

    def _want(self, line: Line, message: Wanted) -> None:
        key = message.key
        if not self.chunks.get(key, lambda framed: line.send(Made(key, framed))):
            line.send(Made(key, b""))

    def _answer(self, caller: Caller, request_id: int, answer: object) -> None:
        """Ok with a result, or why not; to the connection that asked, if it is still there."""
        if isinstance(answer, Refusal):
            self.counts.refused[answer.code.name] += 1
            told = codec.encode(Refused(request_id, answer.code, answer.message, answer.retry_after_ms))
        else:
            told = codec.encode(answer if isinstance(answer, Ok) else Ok(request_id, 0, answer))
        caller.line.send(Told(caller.number, told))

    # --- what moderators do to those who are here ------------------------------------------------------------------------------

    def is_here(self, player_id: int) -> bool:
        """Whether somebody is in the world, with a line or without."""
        return player_id in self._bodies

    def send_away(self, player_id: int, code: CloseCode, text: str) -> None:
        """Closes a player's connection with a word, and takes them out of the world at once."""
        caller = self.players.get(player_id)
        if caller is not None:
            self.expel(caller, code, text)
        elif player_id in self._bodies:  # their line was lost
            self._bodies.discard(player_id)
            self.inbox.put_always([Leave(player_id)])

    def send_network_away(self, network: str, spared: Sequence[Role], code: CloseCode, text: str) -> None:
        """The same for whoever is connected from there, but for these roles."""
        for caller in list(self.players.values()):
            # Not by `caller.network`: with Redis that is another name for it.
            if counted_as(caller.address) == network and caller.role not in spared:
                self.expel(caller, code, text)

    def tell(self, player_id: int, message: ServerMessage) -> None:
        """A message for a player, if they are connected."""
        caller = self.players.get(player_id)
        if caller is not None:
            caller.line.send(Told(caller.number, codec.encode(message)))

    def give_role(self, subject: Subject) -> None:
        """A player has this role from now on."""
        caller, role = self.players.get(subject.player_id), Role(subject.role)
        if caller is not None and caller.role is not role:
            caller.role = role
            self.inbox.put_always([Become(subject.player_id, subject.name, role, subject.look)])
            caller.line.send(Known(caller.number, caller.key, caller.name, role, caller.session_id))
            self.tell(subject.player_id, RoleChanged(role))

    def deafen(self, command: SetBlocked) -> None:
        """A player does not hear these from now on."""
        self.inbox.put_always([command])

    # --- the tick --------------------------------------------------------------------------------------------------------------

    def publish(self, tick_frame: TickFrame) -> None:
        """Everything a tick has to tell, to all connection sides."""
        self._bodies.difference_update(tick_frame.gone)
        self._bodies.update(arrival.player_id for arrival in tick_frame.arrivals)
        for arrival in tick_frame.arrivals:
            self._bring_up_to_date(arrival)
        self.spread(tick_frame)
        self.moderation.look()
        if tick_frame.tick % (FORGET_GUESTS_S * self.config.world.tick_hz) == 0:
            self.directory.forget_guests(self.config.session.ticket_days, self._bodies)
            self.moderation.forget()
            if self.accounts is not None:
                self.accounts.forget_ended(self.end_sessions)

    def _bring_up_to_date(self, arrival: Arrival) -> None:
        """What moderators did since they asked to come in, and what holds for them."""
        caller = self.players.get(arrival.player_id)
        if caller is not None:
            arrival.role = caller.role
        muted = self.moderation.mute_of(arrival.player_id)
        if muted is not None:
            arrival.history.append(codec.encode(muted))

    # --- the end ---------------------------------------------------------------------------------------------------------------

    def close_all(self, text: str) -> None:
        """Tells every client that the server goes away and gives it a ticket that outlives the restart."""
        self._open = False
        for line in self.lines:
            line.send(CloseAll(text))

    async def wait_closed(self, timeout_s: float) -> None:
        """Gives clients the time to read what was sent and to answer; then cuts whoever is left."""
        self._empty.clear()
        if self._callers:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await self._empty.wait()
        for line in self.lines:
            line.send(Cut())


def _to_nobody(_: object) -> None:
    """Nobody listens yet."""


_TAKE: dict[type, Callable[[Hub, Line, Any], None]] = {
    Opened: Hub._opened,
    Forwarded: Hub._forwarded,
    Ending: Hub._ending,
    Closed: Hub._closed,
    SignIn: Hub._sign_in,
    Steering: Hub._steer,
    Saying: Hub._say,
    Acting: Hub._act,
    Asking: Hub._ask,
    Accounting: Hub._account,
    Moderating: Hub._moderate,
    Wanted: Hub._want,
}
