"""A server without a socket, ground or database, and the client at the other end of a line that is none: for tests driven by hand."""

import asyncio
import contextlib
import itertools
import socket
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from uuid import UUID

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from websockets.frames import Frame, Opcode

from persistence.journal import Journal
from persistence.keyring import Key
from persistence.store import ChatLine, PlayerRow, StoredAnswer, account_key
from protocol import codec
from protocol.errors import Refusal, RefusalCode
from protocol.messages import (
    PROTOCOL_VERSION,
    SUBPROTOCOL,
    Appeared,
    Crowd,
    Hello,
    ServerMessage,
    Snapshot,
    State,
    View,
)
from server.actions import Actions
from server.config import Config, ModerationConfig
from server.connection import Connection
from server.directory import Newcomer
from server.frames import encode
from server.gate import Gate
from server.hub import Hub
from server.moderation import Moderation
from server.questions import Questions
from server.receipts import Notary
from server.seam import Premises
from server.telemetry import Counts
from tests.sight import Cells, forget, take_in
from world.commands import AnyAct, AnyCommand, Inbox
from world.entries import BEGINNING, Entry, read
from world.grid import around, pack
from world.ledger import Post
from world.parcels import Rectangle
from world.state import LandRules, Rules
from world.state import State as World
from world.tick import act, step


class FakeTransport:
    """Keeps what is written. `unread` is what it says is waiting to be read by the other end."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []
        self.unread = 0
        self.limits: tuple[int | None, int | None] = (None, None)
        self.closed = self.aborted = False

    def write(self, data: bytes) -> None:
        self.writes.append(data)

    def get_write_buffer_size(self) -> int:
        return self.unread

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self.limits = (high, low)

    def get_extra_info(self, name: str) -> object:
        return ("192.0.2.1", 7) if name == "peername" else None

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.aborted = True

    def read(self) -> list[bytes]:
        """Each write since the last look."""
        return self.writes

    def take(self) -> bytes:
        """What was written since the last look."""
        data = b"".join(self.read())
        self.writes.clear()
        return data


class SocketTransport(FakeTransport):
    """A real socket behind it, so that the fan-out writes past it; each write is a record of its own that the other end reads."""

    def __init__(self) -> None:
        super().__init__()
        self._near, self._far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._near.setblocking(False)
        self._far.setblocking(False)

    def __del__(self) -> None:
        self._near.close()
        self._far.close()

    def write(self, data: bytes) -> None:
        self._near.send(data)

    def get_extra_info(self, name: str) -> object:
        return self._near if name == "socket" else super().get_extra_info(name)

    def read(self) -> list[bytes]:
        """Each write since the last look."""
        with contextlib.suppress(BlockingIOError):
            while True:
                self.writes.append(self._far.recv(1 << 20))
        return self.writes


def payloads(data: bytes) -> list[tuple[int, bytes]]:
    """Opcode and payload of each frame from the server (unmasked, final; RFC 6455 section 5.2)."""
    frames = []
    start = 0
    while start < len(data):
        first, size = data[start], data[start + 1]
        start += 2
        if size > 125:
            width = 2 if size == 126 else 8
            size = int.from_bytes(data[start : start + width], "big")
            start += width
        assert first & 0xF0 == 0x80, "a server's frame is final and has no reserved bits"
        assert start + size <= len(data), "half a frame was written"
        frames.append((first & 0x0F, data[start : start + size]))
        start += size
    return frames


def messages(data: bytes) -> list[ServerMessage]:
    """The messages in the binary frames of what was written."""
    return [
        message for code, payload in payloads(data) if code == 2 for message in codec.decode_server(payload)
    ]


@dataclass
class Eyes:
    """What a client knows that believes every message and forgets whoever is out of sight."""

    transport: FakeTransport = field(default_factory=FakeTransport)
    cells: Cells = field(default_factory=dict)
    counts: dict[int, int] = field(default_factory=dict)  # of cells that came as a crowd
    names: dict[int, str] = field(default_factory=dict)
    view: View = field(default_factory=lambda: View(0, 1, 20, 20, False))
    heard: list[ServerMessage] = field(default_factory=list)

    def look(self, own: int) -> None:
        """Takes in what was written, standing in the cell `own`. Fails on an entity that did not appear, and on a block that
        does not fit what is known of its cell."""
        assert len(self.transport.read()) <= 1, "more than one write in a tick"
        for message in messages(self.transport.take()):
            self.heard.append(message)
            match message:
                case View():
                    self.view = message
                case Appeared(player_id, name):
                    self.names[player_id] = name
                case Snapshot(_, cx, cy):
                    assert pack(cx, cy) == own, "a snapshot that is not taken from the own cell"
                    forget(self.cells, own, self.view.radius_cells)
                    people = take_in(self.cells, message)
                    strangers = people.keys() - self.names.keys()
                    assert not strangers, f"{strangers} in a snapshot without appeared"
                    self.counts = {key: count for key, count in self.counts.items() if key not in self.cells}
                case Crowd(_, cx, cy, count):
                    self.counts[pack(cx, cy)] = count
                    self.cells.pop(pack(cx, cy), None)
        sight = around(own, self.view.radius_cells)
        forget(self.cells, own, self.view.radius_cells)
        self.counts = {key: count for key, count in self.counts.items() if key in sight}
        seen = {who for people in self.cells.values() for who in people}
        self.names = {who: name for who, name in self.names.items() if who in seen}


HANDSHAKE = (
    "GET / HTTP/1.1\r\nHost: localhost:8765\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
    f"Sec-WebSocket-Protocol: {SUBPROTOCOL}\r\n\r\n"
).encode()
HELLO = codec.encode(Hello(PROTOCOL_VERSION, "fuzz"))


class Elsewhere:
    """Ground and database: they answer at once, unless told to `hold`, and let everyone in unless they are to refuse."""

    def __init__(self) -> None:
        self.ids: Iterator[int] = itertools.count(1)
        self.hold = self.refuses = False
        self.forgot: list[tuple[float, list[int]]] = []
        self.role = "guest"
        self._held: list[tuple[Any, Newcomer]] = []

    def sign_in(self, _: Hello, entered: Any) -> None:
        if self.refuses:
            raise Refusal(RefusalCode.UNAVAILABLE, "Come back tomorrow.")
        player_id = next(self.ids)
        row = PlayerRow(
            player_id, f"guest:{UUID(int=player_id).hex}", "Fern Dale 1000", self.role, 0, 0.5, 0.5, 0, 0
        )
        self._held.append((entered, Newcomer(row, row.x, row.y)))
        if not self.hold:
            self.answer()

    def answer(self) -> None:
        """The database answers whoever waits."""
        held, self._held = self._held, []
        for entered, newcomer in held:
            entered(newcomer)

    def forget_guests(self, days: float, here: Iterable[int]) -> None:
        self.forgot.append((days, sorted(here)))

    def pace(self, share: float) -> None:
        """A tick is over."""

    def get(self, _: int, ready: Any) -> bool:
        ready(b"\x82\x00")
        return True

    def ask(self, _: int, rectangle: Rectangle, answer: Any, __: Any) -> bool:
        answer(rectangle[2] * rectangle[3])
        return True


class Stored:
    """What actions and questions ask the database, over the entries that were given to it; nobody waits. The world has everybody."""

    def __init__(self) -> None:
        self.entries: dict[int, Entry] = {}
        self.answers: dict[bytes, StoredAnswer] = {}

    def take(self, entries: Iterable[Entry]) -> None:
        for entry in entries:
            self.entries[entry.seq] = entry
            if entry.action_id is not None:
                result = msgspec.json.encode(entry.result).decode()
                self.answers[entry.action_id] = StoredAnswer(
                    entry.player_id, entry.content, entry.seq, result
                )

    async def find_answers(self, action_ids: Sequence[bytes]) -> dict[bytes, StoredAnswer]:
        return {one: self.answers[one] for one in action_ids if one in self.answers}

    async def player_names(self, player_ids: Sequence[int]) -> dict[int, str]:
        return {player_id: f"p{player_id}" for player_id in player_ids}

    async def find_player(self, name: str) -> PlayerRow | None:
        return PlayerRow(1, account_key(name), name, "user", 0, 0.5, 0.5, 0, 0)

    async def statement(self, account: int, before: int, limit: int) -> list[dict[str, Any]]:
        rows = [
            {
                "seq": seq,
                "tick": read(entry.record).tick,
                "kind": entry.kind,
                "amount": change.amount,
                "balance": change.balance,
            }
            for seq, entry in sorted(self.entries.items(), reverse=True)
            for change in reversed(entry.changes)
            if seq < before and isinstance(change, Post) and change.account == account
        ]
        return rows[:limit]

    async def entry(self, seq: int) -> tuple[str, bytes, bytes] | None:
        found = self.entries.get(seq)
        if found is None:
            return None
        before = self.entries[seq - 1].digest if seq > 1 else BEGINNING
        return found.record.decode(), found.digest, before


class Thread(Executor):
    """Does at once what it is given, unless it is to `hold` it."""

    def __init__(self) -> None:
        self.hold = False
        self.held: list[tuple[Future[Any], Callable[[], Any]]] = []

    def submit(self, fn: Any, /, *args: Any, **_: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self.held.append((future, partial(fn, *args)))
        if not self.hold:
            self.work()
        return future

    def work(self) -> None:
        held, self.held = self.held, []
        for future, do in held:
            future.set_result(do())


async def until(true: Callable[[], bool]) -> None:
    """Lets the tasks work."""
    for _ in range(TURNS_MAX):
        if true():
            return
        await asyncio.sleep(0)
    raise AssertionError("they do nothing more")


def at_once(work: Coroutine[Any, Any, None]) -> None:
    """Runs what finds all it waits for."""
    with contextlib.suppress(StopIteration):
        work.send(None)
        raise AssertionError("it waits")


TURNS_MAX = 1_000  # of the event loop; nothing here takes time
LAND = LandRules(starting_grant=10_000, plot_price=100, plot_price_min=10, plot_price_falloff=32)


class Always:
    """A flusher that keeps up."""

    available = True

    def unsaved_chat(self) -> list[ChatLine]:
        return []


def peace(state: World, wall_ms: Callable[[], int] = lambda: 1_000_000) -> Moderation:
    """Moderation over no tables: nothing is in force."""
    nothing: Any = None
    flusher: Any = Always()
    return Moderation(nothing, flusher, state, ModerationConfig(), 8, wall_ms)


LEFT_S = 0.04  # until the next tick


class House:
    """Everything between the socket and the database, driven by hand. While it is `stalled`, nothing becomes durable."""

    def __init__(self, **settings: Any) -> None:
        config, self.elsewhere = Config.model_validate(settings), Elsewhere()
        self.world = World(Rules(20, 4.0, 1, 4, 24.0, 300, 10, 5, LAND))
        self.stored, self.journal, self.stalled = Stored(), Journal(0), False
        elsewhere: Any = self.elsewhere
        stored: Any = self.stored
        self.inbox = Inbox(65_536, 32)
        self.actions = Actions(stored, self.journal, elsewhere, self.world, config.limits.action_queue_max)
        self.actions.now_s = lambda: self.now_s  # type: ignore[method-assign]
        notary = Notary(Ed25519PrivateKey.from_private_bytes(bytes(32)))
        self.questions = Questions(stored, self.actions, notary, self.world, config.limits.question_queue_max)
        self.moderation = peace(self.world)
        self.hub = Hub(
            config, self.inbox, elsewhere, elsewhere, self.actions, self.questions, self.moderation, Counts()
        )
        line = self.hub.attach(lambda message: self.gate.take(message), lambda: self.gate.tally())  # noqa: PLW0108
        premises = Premises(1, 8080, "ground", "built", [Key(b"k" * 32)])
        self.gate = Gate(
            config, premises, line.first_number, self.inbox.steer, partial(self.hub.take, line), 0
        )
        self.hub.spread = self.gate.publish
        self.now_s = 1.0
        self.hub.now_s = self.gate.now_s = lambda: self.now_s  # type: ignore[method-assign]
        self.hub._world_talk.at_s = self.now_s
        self.acts: list[AnyAct] = []  # to be done besides what is asked for
        self.commands: list[AnyAct | AnyCommand] = []

    def tick(self) -> None:
        """What ends a tick and then the next, as server/loop.py has it. Before it the database answers, and stores all in between."""
        self._look_up()
        acts, self.acts = [*self.acts, *self.actions.admit(LEFT_S)], []
        acted = act(self.world, acts)
        self.journal.put(acted.entries, self.now_s)
        self.hub.withheld.take(self.world, acted)
        commands = self.inbox.drain()
        self.commands = [*acts, *commands]
        events = step(self.world, commands, self.world.tick + 1)
        tick_frame = encode(self.world, events, acted.edited, 0)
        self.hub.withheld.deny(self.world, events.denied)
        self.questions.look()
        if not self.stalled:
            self._flush()
        self.hub.withheld.release(self.journal.durable_seq, tick_frame)
        self.hub.publish(tick_frame)

    def _look_up(self) -> None:
        unknown, asked = self.actions._unknown, self.questions._queue
        if unknown:
            at_once(self.actions._look_up([unknown.popleft() for _ in range(len(unknown))]))
        while not asked.empty():
            at_once(self.questions._answer(asked.get_nowait()))

    def _flush(self) -> None:
        batch = self.journal.next_batch(len(self.journal))
        self.stored.take(batch)
        self.journal.settle(self.world.seq)

    def rest(self) -> None:
        """An hour goes by without a tick: the buckets that all share are full again."""
        self.now_s += 3600.0

    def connect(self) -> tuple[Connection, FakeTransport]:
        connection, transport = self.gate.connect(), FakeTransport()
        connection.connection_made(transport)  # type: ignore[arg-type]
        return connection, transport

    def player(self) -> tuple[Connection, FakeTransport]:
        """A connection in the world, with nothing left to read."""
        connection, transport = self.connect()
        connection.data_received(HANDSHAKE + frame(HELLO))
        self.tick()
        assert connection.session.state is State.PLAYING
        transport.take()
        return connection, transport


def frame(payload: bytes, opcode: int = Opcode.BINARY, fin: bool = True) -> bytes:
    """A masked frame, as clients send them."""
    return Frame(Opcode(opcode), payload, fin).serialize(mask=True)
