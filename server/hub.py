"""The simulation side of the seam: who may come in, who is played from where, and whatever is limited for the whole server.

There is one hub and, for each connection side (gate.py), a `Line` to it. What a line brings is settled here at once, or waited for in
the directory, the builder or the maker of ground, or handed to the world's inbox; the tick's frame goes to all lines alike.

    address -> connections   bounded per address and in all
    address -> hellos        a bucket for each; WORLD_FULL counts who is in the world, connected or not
    player_id -> caller      one live connection a player; the newer wins and the older is told why
    talk to the whole world  one bucket for all

A lost connection detaches its player, who stays for `session.resume_s`; whoever comes back in that time, with the ticket or by signing
in, goes on where the player stands. A connection side that dies is so many lost connections.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from protocol import codec
from protocol.errors import Refusal, RefusalCode
from protocol.messages import ChatChannel, Ok, Refused, Role
from server.actions import Actions
from server.chunks import Chunks
from server.config import Config
from server.directory import Directory, Newcomer
from server.frames import TickFrame, answered
from server.proxies import Proxies
from server.questions import Questions
from server.seam import (
    HTTP_NO_ROOM,
    HTTP_TOO_MANY,
    RESTART_RETRY_MS,
    TRY_AGAIN,
    Acting,
    Admitted,
    AnyDown,
    AnyUp,
    Asking,
    CloseAll,
    Closed,
    Cut,
    Ending,
    Entering,
    Forwarded,
    Made,
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
from server.session import Bucket, Buckets
from server.telemetry import Counts
from server.withheld import Later, Withheld
from world.commands import STEER, Detach, Inbox, Join, Leave, Steers

FORGET_GUESTS_S = 600  # so often, of world time, those who never came back are deleted
NUMBERS_PER_LINE = 2**32  # so that no two connections ever have one number
BUSY = Refusal(RefusalCode.UNAVAILABLE, TRY_AGAIN, 1_000)
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
    player_id: int = 0
    name: str = ""
    role: Role = Role.GUEST
    ending: bool = False


class Hub:
    """Whole-server policy. `spread` hands each tick's frame to the connection sides, once there are any."""

    def __init__(
        self,
        config: Config,
        inbox: Inbox,
        chunks: Chunks,
        directory: Directory,
        actions: Actions,
        questions: Questions,
        counts: Counts,
    ) -> None:
        self.config = config
        self.inbox = inbox
        self.chunks = chunks
        self.directory = directory
        self.actions = actions
        self.questions = questions
        self.withheld = Withheld()
        self.counts = counts
        self.players: dict[int, Caller] = {}  # in the world with a line, or about to be
        self.lines: list[Line] = []
        self.spread: Callable[[TickFrame], None] = _to_nobody
        self._limits = config.limits
        self._loop = asyncio.get_running_loop()
        self._open = True
        self._empty = asyncio.Event()
        self._callers: dict[int, Caller] = {}
        self._addresses: Counter[str] = Counter()
        self._proxies = Proxies(config.server.trusted_proxies)
        self._hellos = Buckets(config.limits.hellos_per_address, config.limits.connections_max)
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
        caller = Caller(line, message.number, message.address)
        self._callers[caller.number] = line.callers[caller.number] = caller
        self._addresses[caller.address] += 1
        if not self._open or len(self._callers) > self._limits.connections_max:
            line.send(Rejected(caller.number, HTTP_NO_ROOM))
        else:
            self._admit(caller)

    def _forwarded(self, line: Line, message: Forwarded) -> None:
        caller = self._callers[message.number]
        self._forget_address(caller.address)
        caller.address = message.address
        self._addresses[caller.address] += 1
        self._admit(caller)

    def _admit(self, caller: Caller) -> None:
        """A proxy may have any number; whom they are for comes with the handshake."""
        over = self._addresses[caller.address] > self._limits.connections_per_address
        if over and not self._proxies.holds(caller.address):
            caller.line.send(Rejected(caller.number, HTTP_TOO_MANY))
        else:
            caller.line.send(Admitted(caller.number))

    def _forget_address(self, address: str) -> None:
        self._addresses[address] -= 1
        if not self._addresses[address]:
            del self._addresses[address]

    def _ending(self, line: Line, message: Ending) -> None:
        caller = self._callers[message.number]
        caller.ending = True
        line.heard_last_of(caller)

    def _closed(self, line: Line, message: Closed) -> None:
        self._lose(self._callers[message.number], message.for_good)

    def _lose(self, caller: Caller, for_good: bool) -> None:
        """A connection is no more."""
        del self._callers[caller.number], caller.line.callers[caller.number]
        if not self._callers:
            self._empty.set()
        self._forget_address(caller.address)
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
            wait_ms = self._hellos.take(caller.address, self.now_s())
            if wait_ms:
                text = "Many are coming in from your address just now; try again in a moment."
                raise Refusal(RefusalCode.RATE_LIMITED, text, wait_ms)
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
        if row.player_id not in self._bodies and len(self._bodies) >= self.config.server.max_players:
            full = Refusal(RefusalCode.WORLD_FULL, "The world is full; try again later.", 10_000)
            self._turn_away(caller, full)
        elif not self.inbox.put(
            Join(row.player_id, row.name, Role(row.role), row.look, outcome.x, outcome.y)
        ):
            self._turn_away(caller, BUSY)
        else:
            caller.role = Role(row.role)
            self._enter(caller, row.player_id, row.key, row.name)

    def _enter(self, caller: Caller, player_id: int, key: str, name: str) -> None:
        """A player comes into the world, in place of an older connection of theirs."""
        older = self.players.get(player_id)
        if older is not None:
            if not older.ending:
                older.line.outdated[player_id] = older.number
            older.line.send(Replaced(older.number))
        caller.player_id, caller.name = player_id, name
        self.players[player_id] = caller
        self._bodies.add(player_id)
        caller.line.send(Entering(caller.number, player_id, key, name))

    def _turn_away(self, caller: Caller, refusal: Refusal) -> None:
        caller.line.send(TurnedAway(caller.number, refusal.code, refusal.message, refusal.retry_after_ms))

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
        wait_ms = 0
        if say.channel == ChatChannel.WORLD:
            wait_ms = self._world_talk.take(self.now_s())
        if wait_ms:
            text = "Much is being said to the whole world; wait a moment."
            self._answer(caller, say.request_id, Refusal(RefusalCode.RATE_LIMITED, text, wait_ms))
        elif not self.inbox.put(say):
            self._answer(caller, say.request_id, BUSY)

    def _act(self, _: Line, message: Acting) -> None:
        caller, request = self._callers[message.number], message.request

        def answer(outcome: Ok | Refusal) -> None:
            self._answer(caller, request.request_id, outcome)

        try:
            self.actions.ask(caller.player_id, caller.name, caller.role, caller.number, request, answer)
        except Refusal as refusal:
            answer(refusal)

    def _ask(self, _: Line, message: Asking) -> None:
        caller, request = self._callers[message.number], message.request

        def answer(outcome: object, seq: int) -> Later | None:
            if not seq:
                self._answer(caller, request.request_id, outcome)
                return None
            if isinstance(outcome, Refusal):
                self.counts.refused[outcome.code.name] += 1
            told = answered(request.request_id, 0, outcome)
            return self.withheld.later(seq, caller.player_id, caller.number, told)

        try:
            self.questions.ask(caller.player_id, request, answer)
        except Refusal as refusal:
            answer(refusal, 0)

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

    # --- the tick --------------------------------------------------------------------------------------------------------------

    def publish(self, tick_frame: TickFrame) -> None:
        """Everything a tick has to tell, to all connection sides."""
        self._bodies.difference_update(tick_frame.gone)
        self._bodies.update(arrival.player_id for arrival in tick_frame.arrivals)
        self.spread(tick_frame)
        if tick_frame.tick % (FORGET_GUESTS_S * self.config.world.tick_hz) == 0:
            self.directory.forget_guests(self.config.session.ticket_days, self._bodies)

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


def _to_nobody(_: TickFrame) -> None:
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
    Wanted: Hub._want,
}
