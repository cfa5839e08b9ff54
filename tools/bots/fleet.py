"""Thousands of game clients in one thread: raw sockets, epoll, one shared buffer.

A load generator that is slower than the server measures itself, so: no task, future or object per message; every bot is read
into the same buffer; frames that hold only snapshots are stepped over by their header, except for the watchers (watch.py). The
watchers have an epoll of their own that is asked first, between any TURN_EVENTS_MAX events of the others, so their bytes
never wait longer than one turn of the loop; the report shows how long turns took and which share of a core all of this used.

A bot's life: CONNECTING (TCP), UPGRADING (HTTP), JOINING (hello sent), PLAYING; OUT between two tries; GONE for good. It
behaves like a real client: it resumes with its ticket when the line is lost, comes back when `closing` says when, stays away
when `closing` names no time. Times are nanoseconds of `time.perf_counter_ns`.
"""

import errno
import gc
import heapq
import ipaddress
import os
import resource
import select
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum, auto
from itertools import count
from random import Random
from time import perf_counter_ns, process_time
from types import FrameType
from typing import Any, Protocol
from urllib.parse import urlsplit

import msgpack

from protocol.errors import CloseCode, RefusalCode
from protocol.messages import (
    PROTOCOL_VERSION,
    SERVER_MESSAGES,
    Appeared,
    ChatChannel,
    ChatSay,
    Closing,
    Crowd,
    Hello,
    Move,
    Moved,
    Ok,
    Refused,
    Snapshot,
    View,
    Welcome,
    code_of,
)
from tools.bots import wire
from tools.bots.behaviour import BEHAVIOURS, INPUTS_PER_S, STAND, Behaviour, Intent, Place, random_of
from tools.bots.report import Run, Tally
from tools.bots.watch import BOTS_PER_WATCHER, WATCHERS_MAX, Watcher, key_of
from tools.bots.wire import BINARY_WHOLE, FRAME_BYTES_MAX, Opcode, WireError

READ_BYTES_MAX = 256 * 1024  # taken from one socket at once
UNSENT_BYTES_MAX = 64 * 1024  # waits for a server that does not read; over it the bot gives the line up
TURN_EVENTS_MAX = 64
POLL_S_MAX = 0.1
JOIN_TIMEOUT_S = 20.0  # from connect to welcome
RETRY_S = (0.5, 1.0)  # between two tries to come back, evenly spread
LEAVE_TIMEOUT_S = 2.0  # for the server to take leave
SETTLE_S = 1.0
RAMP_GRACE_S = 30.0  # the measured time begins so long after the ramp at the latest
PROGRESS_S = 0.5
FILES_SPARE = 64  # open files beside the bots' sockets

_WELCOME, _REFUSED, _MOVED, _SNAPSHOT = code_of(Welcome), code_of(Refused), code_of(Moved), code_of(Snapshot)
_VIEW, _CROWD, _CLOSING, _OK = code_of(View), code_of(Crowd), code_of(Closing), code_of(Ok)
_HELLO, _MOVE, _CHAT_SAY = code_of(Hello), code_of(Move), code_of(ChatSay)
_KNOWN = frozenset(map(code_of, SERVER_MESSAGES))
_SEEN_BY_WATCHERS = frozenset(
    (_SNAPSHOT, code_of(Appeared), _CROWD)
)  # a message that begins so holds nothing else

_WATCHED = frozenset((_SNAPSHOT, _CROWD, _VIEW))  # what a watcher takes in

_IP_BIND_ADDRESS_NO_PORT = 24  # linux/in.h: many connections from one address share its ports

_REFUSAL_NAMES = {code.value: code.name for code in RefusalCode}
_CLOSE_NAMES = {code.value: code.name for code in CloseCode}

_LINES = (
    "Good morning!",
    "Which way to the river?",
    "Nice day for a walk.",
    "Have you seen the market?",
    "Follow me.",
)


class FleetError(Exception):
    """The fleet cannot set out; the text tells a person what to do."""


class State(Enum):
    """Where a bot stands."""

    OUT = auto()
    CONNECTING = auto()
    UPGRADING = auto()
    JOINING = auto()
    PLAYING = auto()
    CLOSING = auto()
    GONE = auto()


class Sleeper(Protocol):
    """Who can be woken. `turn` counts what it asked for: only the latest wish counts."""

    turn: int

    def wake(self, now_ns: int) -> None:
        """The time asked for has come."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where the server listens."""

    host: str
    port: int
    path: str
    address: str  # the numeric address of the host

    @property
    def authority(self) -> str:
        """Host and port as an HTTP header names them."""
        return f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Plan:
    """What a fleet shall do."""

    target: Target
    count: int
    seconds: float  # the measured time; 0 is until stopped
    behaviour: str = "wander"
    ramp_per_s: float = 200.0
    seed: int = 1
    tokens: tuple[str, ...] = ()  # none: guests
    talk_per_minute: float = 0.0
    sources: int = 1  # spread over so many addresses 127.0.0.x
    settle_s: float = SETTLE_S  # from the last welcome to the measured time
    resident: bool = (
        False  # company, not a measurement: no watchers, and the end comes with the parent process
    )


def parse_target(url: str) -> Target:
    """The server that a URL names. Raises FleetError."""
    parts = urlsplit(url)
    if parts.scheme != "ws" or not parts.hostname:
        raise FleetError(f"{url!r} is no game socket: give it as ws://host:port/")
    port = parts.port or 80
    try:
        (*_, where), *_ = socket.getaddrinfo(parts.hostname, port, socket.AF_INET, socket.SOCK_STREAM)
    except socket.gaierror as error:
        raise FleetError(f"{parts.hostname}: {error.strerror}") from None
    return Target(parts.hostname, port, parts.path or "/", str(where[0]))


class Bot:
    """One client. What hangs on the protocol is in methods of its own: a bench speaks to other servers by overriding them."""

    WHOLE = BINARY_WHOLE  # the first byte of a frame that holds messages
    WATCHES = True  # whether some of them decode all they are sent

    __slots__ = (
        "_away",
        "_behaviour",
        "_fleet",
        "_index",
        "_intent",
        "_left_ns",
        "_random",
        "_rest",
        "_retry_s",
        "_seq",
        "_sock",
        "_ticket",
        "_token",
        "_unsent",
        "answered",
        "began_ns",
        "key",
        "probed",
        "state",
        "turn",
        "watcher",
        "x",
        "y",
    )

    def __init__(self, fleet: "Fleet", index: int, token: str | None) -> None:
        self._fleet = fleet
        self._index = index
        self._token = token
        self._random: Random = random_of(fleet.plan.seed, index)
        self._behaviour: Behaviour | None = None
        self._ticket: str | None = None
        self._sock: socket.socket | None = None
        self._rest = b""
        self._unsent = b""
        self._seq = 0
        self._intent: Intent = STAND
        self._away = False  # the server has explained the close that comes
        self._retry_s: float | None = None  # when to come back after it; None is never
        self._left_ns = 0
        self.began_ns = 0
        self.state = State.OUT
        self.turn = 0
        self.key = b""
        self.x = self.y = 0.0
        self.answered = False  # whether the last input has been
        self.probed = False
        self.watcher: Watcher | None = None

    @property
    def playing(self) -> bool:
        """Whether it is in the world."""
        return self.state is State.PLAYING

    # --- time ---

    def wake(self, now_ns: int) -> None:
        """What is due depends on where the bot stands."""
        if self.state is State.PLAYING:
            self._fleet.wake_in(self, 1 / INPUTS_PER_S)
            if not self.probed:
                self.decide()
            self._perhaps_talk()
        elif self.state is State.OUT:
            self._connect()
        elif self.state is State.CLOSING:
            self._ended()
        elif self.state is not State.GONE:
            self._fail(f"no welcome within {JOIN_TIMEOUT_S:.0f} s")

    def decide(self) -> None:
        """Ask the behaviour where to go, and go there."""
        if self.state is State.PLAYING and self._behaviour is not None:
            self.go(self._behaviour.intent(self.x, self.y))

    def go(self, intent: Intent) -> None:
        """Send an intent, if it is another than the one before."""
        if intent == self._intent or self.state is not State.PLAYING:
            return
        self._intent = intent
        self._seq += 1
        self.answered = False
        self._fleet.tally.inputs += 1
        self._say_intent()

    def _say_intent(self) -> None:
        self._send_message([_MOVE, self._seq, *self._intent])

    def _perhaps_talk(self) -> None:
        share = self._fleet.plan.talk_per_minute / 60 / INPUTS_PER_S
        if share and self._random.random() < share:
            self._fleet.tally.said += 1
            self._send_message(
                [_CHAT_SAY, self._fleet.tally.said, ChatChannel.NEARBY, self._random.choice(_LINES)]
            )

    # --- coming ---

    def _connect(self) -> None:
        self.began_ns = perf_counter_ns()
        self._rest = self._unsent = b""
        self._away = False
        self._retry_s = None
        sock = self._fleet.open_socket(self._index)
        self._sock = sock
        self.state = State.CONNECTING
        error = sock.connect_ex((self._fleet.plan.target.address, self._fleet.plan.target.port))
        if error not in (0, errno.EINPROGRESS):
            self._no_line(error)
            return
        self._fleet.register(self, sock, select.EPOLLOUT)
        self._fleet.wake_in(self, JOIN_TIMEOUT_S)

    def _no_line(self, error: int) -> None:
        if (
            not self._ticket and not self._fleet.plan.resident
        ):  # while coming back, the lost line is already counted
            self._fleet.tally.error(f"connect: {os.strerror(error)}")
        self._retry_s = self._fleet.retry_s()
        self._ended()

    def writable(self) -> None:
        """The socket takes bytes: it has just connected, or it has room again."""
        assert self._sock is not None
        if self.state is State.CONNECTING:
            error = self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if error:
                self._no_line(error)
                return
            self.state = State.UPGRADING
            self._fleet.modify(self, self._sock, select.EPOLLIN)
            self._send(self._upgrade_request())
            return
        waiting, self._unsent = self._unsent, b""
        self._fleet.modify(self, self._sock, select.EPOLLIN)
        self._send(waiting)

    def _upgrade_request(self) -> bytes:
        return self._fleet.upgrade

    def _upgraded(self) -> None:
        self.state = State.JOINING
        self._send_message([_HELLO, PROTOCOL_VERSION, "landworld bots", self._token, self._ticket])

    def _welcome(self, message: list[Any]) -> None:
        _, player_id, _, _, x, y, *_, ticket, settings = message
        self._ticket = ticket
        if self.watcher is not None:
            self.watcher.radius_cells = settings["radius_cells"]
        self._enter(player_id, x, y)

    def _enter(self, player_id: int, x: float, y: float) -> None:
        """In the world from now on."""
        now_ns = perf_counter_ns()
        self.key = key_of(player_id)
        self.x, self.y = x, y
        self.state = State.PLAYING
        self._intent = STAND
        self.answered = True
        tally = self._fleet.tally
        if self._behaviour is None:
            self._behaviour = BEHAVIOURS[self._fleet.plan.behaviour](self._random, Place(self.x, self.y))
            tally.joins_ms.add((now_ns - self.began_ns) / 1e6)
        else:
            tally.returns_ms.add((now_ns - self._left_ns) / 1e6)
        self._left_ns = 0
        if self.watcher is not None:
            self.watcher.begin()
        self._fleet.joined(self, player_id)
        self._fleet.wake_in(self, self._random.random() / INPUTS_PER_S)

    # --- bytes ---

    def readable(self) -> None:
        """Read once and handle every whole frame."""
        fleet = self._fleet
        buffer = fleet.buffer
        rest = self._rest
        assert self._sock is not None
        try:
            if rest:
                buffer[: len(rest)] = rest
                got = self._sock.recv_into(fleet.view[len(rest) :])
            else:
                got = self._sock.recv_into(fleet.view)
        except BlockingIOError:
            return
        except OSError:
            got = 0
        if not got:
            self._end_of_line()
            return
        tally = fleet.tally
        tally.reads += 1
        tally.bytes_in += got
        end = len(rest) + got
        if self.watcher is not None:
            fleet.read_ns = perf_counter_ns()
            tally.read_bytes.add(got)
        try:
            at = self._frames(buffer, end)
        except (WireError, ValueError, KeyError, IndexError, TypeError) as error:
            fleet.new_unpacker()
            self._fail(f"protocol: {type(error).__name__} {error}")
            return
        self._rest = bytes(fleet.view[at:end]) if at < end else b""

    def _frames(self, buffer: bytearray, end: int) -> int:
        """Handle the frames at the buffer's start; answers where the first one begins that is not whole yet."""
        at = 0
        if self.state is State.UPGRADING:
            at = wire.upgrade_end(buffer, end)
            if not at:
                return 0
            self._upgraded()
        frames = 0
        while (found := wire.next_frame(buffer, at, end)) is not None:
            first, start, at = found
            frames += 1
            if first != self.WHOLE:
                self._control(first, bytes(buffer[start:at]))
            else:
                self._heard(buffer, start, at)
            if self._sock is None:
                at = end  # the line was given up over this frame
                break
        self._fleet.tally.frames_in += frames
        return at

    def _heard(self, buffer: bytearray, start: int, end: int) -> None:
        """One whole message of the server's lies from `start` up to `end`."""
        if self.watcher is not None or buffer[start + 1] not in _SEEN_BY_WATCHERS:
            self._messages(start, end)

    def _control(self, first: int, payload: bytes) -> None:
        if first == 0x80 | Opcode.PING:
            self._send(wire.frame(payload, Opcode.PONG))
        elif first == 0x80 | Opcode.CLOSE:
            self._closed_with(wire.close_code(payload))
        elif first != 0x80 | Opcode.PONG:
            raise WireError(
                f"a frame that begins with 0x{first:02x}: text, fragments and extensions are not expected"
            )

    def _messages(self, start: int, end: int) -> None:
        for message in self._fleet.unpack(start, end):
            code = message[0]
            if code in _WATCHED:
                if self.watcher is not None:
                    self._show(self.watcher, message)
            elif code == _MOVED:
                _, seq, _, self.x, self.y = message  # the newest of a tick: all before it are obeyed, too
                self.answered = seq == self._seq
            elif code == _WELCOME:
                self._welcome(message)
            elif code == _OK:
                self._granted(*message[1:])
            elif code == _REFUSED:
                self._refused(*message[1:])
            elif code == _CLOSING:
                self._announced(*message[1:])
            elif code not in _KNOWN:
                raise WireError(f"unknown message code {code}")

    def _show(self, watcher: Watcher, message: list[Any]) -> None:
        code = message[0]
        if code == _SNAPSHOT:
            _, tick, cx, cy, cells = message
            watcher.snapshot(tick, cx, cy, cells, self._fleet.read_ns)
        elif code == _CROWD:
            _, _, cx, cy, _ = message
            watcher.crowd(cx, cy)
        else:
            watcher.viewed(message[2])

    def _send_message(self, message: list[Any]) -> None:
        self._send(wire.frame(self._fleet.pack(message)))

    def _send(self, data: bytes) -> None:
        if self._sock is None:
            return
        if self._unsent:
            self._keep_unsent(data)
            return
        try:
            sent = self._sock.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            return  # the read that follows says the same
        if sent < len(data):
            self._keep_unsent(data[sent:])
            self._fleet.modify(self, self._sock, select.EPOLLIN | select.EPOLLOUT)

    def _keep_unsent(self, data: bytes) -> None:
        if len(self._unsent) + len(data) > UNSENT_BYTES_MAX:
            self._fail(f"the server left {UNSENT_BYTES_MAX} bytes unread")
            return
        self._unsent += data

    # --- going ---

    def leave(self) -> None:
        """Leave for good, in order."""
        self._retry_s = None
        if self.state is State.PLAYING:
            self.state = State.CLOSING
            self._away = True
            self._send(wire.close_frame(CloseCode.NORMAL))
        elif self.state not in (State.CLOSING, State.GONE):
            self._ended()

    def hang_up(self) -> None:
        """Leave without another word."""
        self._retry_s = None
        if self.state is not State.GONE:
            self._ended()

    def _granted(self, request_id: int, seq: int, result: Any) -> None:
        """A request was done."""

    def _refused(self, request_id: int, code: int, message: str, retry_after_ms: int | None = None) -> None:
        self._fleet.tally.error(f"refused: {_REFUSAL_NAMES.get(code, code)} ({message})")
        if self.state is not State.JOINING:
            return
        self._away = True
        if code == RefusalCode.BAD_TOKEN and self._ticket:
            self._ticket = None  # sign in afresh
            self._retry_s = self._fleet.retry_s()
        elif retry_after_ms is not None:
            self._retry_s = retry_after_ms / 1000 + self._fleet.retry_s()

    def _announced(
        self, code: int, message: str, retry_after_ms: int | None = None, ticket: str | None = None
    ) -> None:
        self._away = True
        self._ticket = ticket or self._ticket
        self._retry_s = None if retry_after_ms is None else retry_after_ms / 1000 + self._fleet.retry_s()
        self._count_close(code, message)

    def _closed_with(self, code: int) -> None:
        if not self._away:
            self._away = True
            self._retry_s = self._fleet.retry_s()
            self._count_close(code, "without a word before")
        if self.state is not State.CLOSING:
            self.state = State.CLOSING
            self._fleet.wake_in(self, LEAVE_TIMEOUT_S)
            self._send(wire.close_frame(code if code != 1005 else CloseCode.NORMAL))

    def _count_close(self, code: int, message: str) -> None:
        if code == CloseCode.GOING_AWAY:
            self._fleet.tally.sent_away += 1
            return
        self._fleet.tally.error(f"closed: {_CLOSE_NAMES.get(code, code)} ({message})")

    def _end_of_line(self) -> None:
        """The peer hung up: expected after a close, a lost line in the world, an error before it."""
        if not self._away:
            self._retry_s = self._fleet.retry_s()
            if self.state is State.PLAYING:
                self._fleet.tally.lost += 1
            elif self._behaviour is None:
                self._fleet.tally.error("the server hung up before the welcome")
        self._ended()

    def _fail(self, reason: str) -> None:
        self._fleet.tally.error(reason)
        self._retry_s = self._fleet.retry_s()
        self._ended()

    def _ended(self) -> None:
        """The line is gone: come back later, or never."""
        if self._behaviour is not None and not self._left_ns:
            self._left_ns = perf_counter_ns()
        if self._sock is not None:
            self._fleet.forget(self, self._sock)
            self._sock.close()
            self._sock = None
        if self._retry_s is None:
            self.state = State.GONE
            self._fleet.gone(self)
        else:
            self.state = State.OUT
            self._fleet.wake_in(self, self._retry_s)


class Fleet:
    """All bots of one process, and the loop that drives them."""

    def __init__(self, plan: Plan, kind: type[Bot] = Bot) -> None:
        self.plan = plan
        self._kind = kind
        self.tally = Tally()
        self.buffer = bytearray(READ_BYTES_MAX + FRAME_BYTES_MAX)
        self.view = memoryview(self.buffer)
        self.read_ns = 0
        self.upgrade = wire.upgrade_request(plan.target.authority, plan.target.path)
        self.pack: Callable[[Any], bytes] = msgpack.Packer(use_single_float=True).pack
        self.on_window: Callable[[bool], None] = lambda begins: (
            None
        )  # told when the measured time begins and ends
        self.on_progress: Callable[[Fleet], None] = lambda fleet: None
        self._random = random_of(plan.seed, -1)
        self._bots = [self._bot(index) for index in range(plan.count)]
        self._by_player: dict[int, Bot] = {}
        self._by_fd: dict[int, Bot] = {}
        self._away = 0
        self._heap: list[tuple[int, int, Sleeper, int]] = []
        self._order = count()
        self._stopping = False
        self.phase = "coming"
        self._parent = os.getppid()
        self.new_unpacker()

    def _bot(self, index: int) -> Bot:
        tokens = self.plan.tokens
        return self._kind(self, index, tokens[index] if tokens else None)

    @property
    def players(self) -> int:
        """How many are in the world now."""
        return sum(bot.playing for bot in self._bots)

    def stop(self) -> None:
        """End the run in order; may be called from a signal handler."""
        self._stopping = True

    # --- the run ---

    def run(self) -> Run:
        """Ramp up, warm up, measure, leave. Raises FleetError when it cannot set out."""
        self._room_for_files()
        self._others, self._watched = select.epoll(), select.epoll()
        self._others.register(self._watched.fileno(), select.EPOLLIN)
        self._appoint_watchers()
        began_ns = perf_counter_ns()
        for index, bot in enumerate(self._bots):
            self.wake_in(bot, index / self.plan.ramp_per_s)
        gc.collect()
        gc.freeze()  # the bots live as long as the run: no need to look at them at each collection
        with self._signals(), self._others, self._watched:
            self._ramp_up(began_ns)
            players = self._measure()
            self._leave()
        gc.unfreeze()
        return Run(self.plan.count, players, self.tally)

    def _ramp_up(self, began_ns: int) -> None:
        latest = began_ns + int((self.plan.count / self.plan.ramp_per_s + RAMP_GRACE_S) * 1e9)
        self._drive(latest, lambda: len(self._by_player) >= self.plan.count)
        self.phase = "settling"
        self._drive(perf_counter_ns() + int(self.plan.settle_s * 1e9))

    def _measure(self) -> int:
        self.phase = "measuring"
        self.tally.clear()
        watchers = [bot.watcher for bot in self._bots if bot.watcher is not None]
        before = [watcher.snapshots for watcher in watchers]
        self.on_window(True)
        cpu_s, began_ns = process_time(), perf_counter_ns()
        self._drive(began_ns + int(self.plan.seconds * 1e9) if self.plan.seconds else None)
        self.tally.cpu_s = process_time() - cpu_s
        self.tally.seconds = seconds = (perf_counter_ns() - began_ns) / 1e9
        for watcher, earlier in zip(watchers, before, strict=True):
            self.tally.rates_hz.add((watcher.snapshots - earlier) / max(seconds, 1e-9))
        self.on_window(False)
        return self.players

    def _leave(self) -> None:
        self.phase = "leaving"
        for bot in self._bots:
            bot.leave()
        self._stopping = False
        self._drive(perf_counter_ns() + int(LEAVE_TIMEOUT_S * 1e9))
        for bot in self._bots:
            bot.hang_up()

    def _drive(self, until_ns: int | None, done: Callable[[], bool] = lambda: False) -> None:
        """Turn the loop until a time, until `done` (asked now and then), a stop, or nobody is left."""
        progress_ns = 0
        now_ns = perf_counter_ns()
        while not self._stopping and self._away < self.plan.count and (until_ns is None or now_ns < until_ns):
            if now_ns >= progress_ns:
                progress_ns = now_ns + int(PROGRESS_S * 1e9)
                self._now_and_then()
                if done():
                    return
            self._turn(now_ns, until_ns)
            now_ns = perf_counter_ns()

    def _turn(self, now_ns: int, until_ns: int | None) -> None:
        due_ns = self._wake_the_due(now_ns)
        next_ns = due_ns if until_ns is None else min(due_ns, until_ns)
        wait_s = min(max(next_ns - perf_counter_ns(), 0) / 1e9, POLL_S_MAX)
        events = self._others.poll(wait_s, TURN_EVENTS_MAX)
        began_ns = perf_counter_ns()
        self._handle(self._watched.poll(0, TURN_EVENTS_MAX))
        self._handle(events)
        self.tally.turns_ms.add((perf_counter_ns() - began_ns) / 1e6)

    def _handle(self, events: list[tuple[int, int]]) -> None:
        by_fd = self._by_fd
        for fd, mask in events:
            bot = by_fd.get(fd)
            if bot is None:
                continue  # the watchers' epoll itself, or given up a moment ago
            if mask & select.EPOLLOUT:
                bot.writable()
            elif bot.state is State.CONNECTING:
                bot.writable()  # a connection that failed
            else:
                bot.readable()

    def _now_and_then(self) -> None:
        self.on_progress(self)
        for bot in self._bots:
            if bot.watcher is not None:
                bot.watcher.look_around()
        if self.plan.resident and os.getppid() != self._parent:
            self.stop()

    # --- time ---

    def wake_in(self, sleeper: Sleeper, seconds: float) -> None:
        """Wake a sleeper once, instead of when it wanted to be woken before."""
        sleeper.turn += 1
        due_ns = perf_counter_ns() + int(seconds * 1e9)
        heapq.heappush(self._heap, (due_ns, next(self._order), sleeper, sleeper.turn))

    def _wake_the_due(self, now_ns: int) -> int:
        """Wake whose time has come; answers when the next one is due."""
        heap = self._heap
        while heap and heap[0][0] <= now_ns:
            _, _, sleeper, turn = heapq.heappop(heap)
            if sleeper.turn == turn:
                sleeper.wake(now_ns)
        return heap[0][0] if heap else now_ns + int(POLL_S_MAX * 1e9)

    def retry_s(self) -> float:
        """How long to wait before coming back."""
        return self._random.uniform(*RETRY_S)

    # --- bots ---

    def player(self, player_id: int) -> Bot | None:
        """The bot of that player, if it is one of ours."""
        return self._by_player.get(player_id)

    def anybody(self, random: Random) -> int | None:
        """The player_id of one of ours."""
        return random.choice(list(self._by_player)) if self._by_player else None

    def joined(self, bot: Bot, player_id: int) -> None:
        """A bot was welcomed."""
        self._by_player[player_id] = bot

    def gone(self, bot: Bot) -> None:
        """A bot will not come back."""
        self._away += 1

    def _appoint_watchers(self) -> None:
        if self.plan.resident or not self._kind.WATCHES:
            return
        watchers = min(max(2, self.plan.count // BOTS_PER_WATCHER), WATCHERS_MAX, self.plan.count)
        for number in range(watchers):
            bot = self._bots[number * self.plan.count // watchers]
            bot.watcher = Watcher(self, bot, random_of(self.plan.seed, -2 - number))
            self.wake_in(bot.watcher, self._random.random())

    # --- sockets and bytes ---

    def open_socket(self, index: int) -> socket.socket:
        """A socket for one bot, bound to its source address."""
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.plan.sources > 1:
            sock.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
            sock.bind((f"127.0.0.{1 + index % self.plan.sources}", 0))
        return sock

    def register(self, bot: Bot, sock: socket.socket, mask: int) -> None:
        """Listen for a bot's socket."""
        self._by_fd[sock.fileno()] = bot
        self._epoll(bot).register(sock.fileno(), mask)

    def modify(self, bot: Bot, sock: socket.socket, mask: int) -> None:
        """Listen for something else."""
        self._epoll(bot).modify(sock.fileno(), mask)

    def forget(self, bot: Bot, sock: socket.socket) -> None:
        """Listen no more."""
        if self._by_fd.pop(sock.fileno(), None) is not None:
            self._epoll(bot).unregister(sock.fileno())

    def _epoll(self, bot: Bot) -> select.epoll:
        return self._others if bot.watcher is None else self._watched

    def new_unpacker(self) -> None:
        """Begin anew: the bytes of the one before were broken."""
        self._unpacker = msgpack.Unpacker(max_buffer_size=FRAME_BYTES_MAX)
        self._fed = 0

    def unpack(self, start: int, end: int) -> Iterator[list[Any]]:
        """The messages in a part of the buffer. Raises WireError when they are not whole."""
        unpacker = self._unpacker
        unpacker.feed(self.view[start:end])
        self._fed += end - start
        whole = self._fed - (end - start)
        for message in unpacker:
            whole = unpacker.tell()
            yield message
        if whole != self._fed:
            raise WireError("a message cut short")

    def _room_for_files(self) -> None:
        wanted = self.plan.count + FILES_SPARE
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft >= wanted:
            return
        if hard != resource.RLIM_INFINITY and hard < wanted:
            raise FleetError(
                f"{self.plan.count} bots need {wanted} open files, allowed are {hard}: raise it with `ulimit -Hn`"
            )
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))

    @contextmanager
    def _signals(self) -> Iterator[None]:
        def end(number: int, stack: FrameType | None) -> None:
            self.stop()

        before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def check_sources(target: Target, sources: int) -> None:
    """Source addresses of their own exist on loopback only. Raises FleetError."""
    if not 1 <= sources <= 254:
        raise FleetError("--sources must be 1 to 254")
    if sources > 1 and not ipaddress.ip_address(target.address).is_loopback:
        raise FleetError("--sources spreads over 127.0.0.x and works against a server on this machine only")
