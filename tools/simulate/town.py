"""One seed: a disk, the servers that come and go, the players, the network between them, and what goes wrong.

All of it is driven by one Scheduler and one Random. The network keeps the order within a connection, each way, and no other: what was
sent on an older line may come after what was sent on a newer one. To a server it is the connection side of the seam (server/seam.py).
"""

import hashlib
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache, partial
from random import Random
from typing import Any

import msgspec

from persistence.keyring import Ring
from protocol import codec
from protocol.messages import (
    PROTOCOL_VERSION,
    ChatChannel,
    Chunk,
    ChunkEdits,
    ChunkGet,
    ChunkResult,
    Delivery,
    Hello,
    Ok,
    Refused,
    Role,
    Snapshot,
    Welcome,
)
from server.auth import Signer
from server.frames import Arrival, TickFrame
from server.ground import Ground
from server.seam import (
    Acting,
    Admitted,
    AnyDown,
    AnyUp,
    Asking,
    CloseAll,
    Closed,
    Ending,
    Entering,
    Opened,
    Rejected,
    Replaced,
    Saying,
    SignIn,
    Steering,
    Told,
    TurnedAway,
)
from tools.built import Place
from tools.simulate.clock import Scheduler
from tools.simulate.disk import Disk, Tables
from tools.simulate.faults import END_S, Fault, plan
from tools.simulate.host import SIGNING_KEY, TICK_HZ, Host, Limits, Outside
from tools.simulate.oracle import Oracle, Shown
from tools.simulate.player import SIGHT, Connection, Copy, Player, Wishes
from world.commands import INTENT, Say
from world.grid import pack, unpack
from world.sizes import ENTRY_BYTES_MAX
from world.tiles import VERSION_BARE

PLAYERS = 5
ENTRIES_MAX = 3, 10, 50  # of the journal: small, so that some seeds meet its limits
BYTES_OVER = 1_000, 200_000  # what it holds besides one entry of the largest size
QUEUE_MAX = 4, 64  # actions
THINK_S = 0.05, 0.7
NETWORK_S = 0.001, 0.04  # one way
NOTICE_S = 0.05, 2.0  # until the other end knows that a line is lost
RESTART_S = 0.05, 1.0  # until somebody starts a server again
SETTLE_S = 90.0  # after the last fault everything must be answered, and who lost its place have found out, within this time
TOKEN_DAYS = 36_500.0
WALL_MS = 1_700_000_000_000
TRACE_LINES = 40


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one seed. `trace` are its last lines; `digest` is of all lines and of the journal."""

    seed: int
    actions: int
    acknowledged: int
    entries: int
    faults: dict[str, int]
    violations: list[str]
    trace: list[str]
    digest: str


class Town:
    """Everything of one seed."""

    def __init__(self, seed: int, actions: int, trace_lines: int | None = TRACE_LINES) -> None:
        self.random = random = Random(seed)  # noqa: S311 (a die)
        self.clock = Scheduler(random)
        self.disk = Disk(self.clock)
        self.limits = Limits(
            random.choice(ENTRIES_MAX),
            ENTRY_BYTES_MAX + random.choice(BYTES_OVER),
            random.choice(QUEUE_MAX),
        )
        self.wall_ahead_ms = 0
        self.faults: Counter[str] = Counter()
        self.violations: list[str] = []
        self.oracle = Oracle(self.disk, self.limits, self._trouble)
        self.disk.on_commit = self._committed
        self.host: Host  # the newest
        self.players: list[Player] = []
        self._seed = seed
        self._actions_left = self._actions = actions
        self._faults_left = 0
        self._hosts: list[Host] = []
        self._connections: dict[tuple[int, int], Connection] = {}  # by host and number
        self._current: dict[tuple[int, int], Connection] = {}  # by host and player_id: who plays them there
        self._trace: deque[str] = deque(maxlen=trace_lines)
        self._digest = hashlib.blake2b(digest_size=16)
        self._outside = Outside(
            on_open=lambda host: self.note(f"{host.process.name} opens with epoch {host.epoch}"),
            on_recovered=self.oracle.recovered,
            on_done=self.oracle.led,
            on_down=self._down,
            on_frame=self._frame,
            on_gone=self._gone,
            on_trouble=self._trouble,
            wall_ms=lambda: WALL_MS + round(self.clock.now_s * 1_000) + self.wall_ahead_ms,
        )

    def run(self) -> Outcome:
        """From nothing to the end."""
        self._people()
        self.start_host()
        for at_s, fault in plan(self.random):
            self._faults_left += 1
            self.clock.after(at_s, self._happen, fault)
        self.clock.run(END_S + SETTLE_S)
        for host in self._stale():
            self._trouble(f"{host.process.name} goes on, though another has taken its place")
        if not self.violations:
            self.oracle.ended(deed for player in self.players for deed in player.deeds)
        self._power_off()
        self.note(f"the journal ends with {self.disk.tables.last_digest.hex()}")
        deeds = [deed for player in self.players for deed in player.deeds]
        return Outcome(
            self._seed,
            len(deeds),
            sum(deed.first is not None for deed in deeds),
            self.oracle.durable,
            dict(self.faults),
            self.violations,
            list(self._trace),
            self._digest.hexdigest(),
        )

    def note(self, text: str) -> None:
        """A line of the trace."""
        line = f"{self.clock.now_s:9.4f} {text}"
        self._digest.update(line.encode())
        self._trace.append(line)

    def start_host(self) -> None:
        """A new server process, which takes the world over."""
        self.host = Host(self.clock, self.disk, len(self._hosts) + 1, self.limits, self._outside)
        self._hosts.append(self.host)
        self.note(f"{self.host.process.name} is started")

    # --- the run ---

    def _people(self) -> None:
        wishes = Wishes(
            now_s=lambda: self.clock.now_s,
            connect=self._connect,
            drop=self._drop,
            send=self._send,
            get=self._get,
            say=self._say,
            walk=self._walk,
            more=self._more,
            count=self._count,
            trouble=self._trouble,
            others=self.players,
        )
        for number in range(1, PLAYERS + 1):
            name = f"p{number}"
            player = Player(number, name, _token(name), self.random, wishes)
            self.players.append(player)
            self.clock.after(self.random.uniform(*THINK_S), self._think, player)

    def _think(self, player: Player) -> None:
        player.think()
        if self._settled():
            self.clock.stop()
        self.clock.after(self.random.uniform(*THINK_S), self._think, player)

    def _more(self) -> bool:
        self._actions_left -= 1
        return self._actions_left >= 0

    def _count(self, fault: str) -> None:
        self.faults[fault] += 1

    def _happen(self, fault: Fault) -> None:
        self._faults_left -= 1
        self._count(fault.__name__)
        self.note(f"fault: {fault.__name__}")
        fault(self)

    def _settled(self) -> bool:
        """Whether everything is over: no fault to come, nothing wanted, nothing unanswered, one server that runs and no other."""
        return (
            not self._faults_left
            and self._actions_left <= 0
            and self.host.open
            and not any(player.waiting for player in self.players)
            and not self._stale()
        )

    def _committed(self, before: Tables, after: Tables) -> None:
        if after.last_seq > before.last_seq:
            self.note(f"entries {before.last_seq + 1} to {after.last_seq} are stored")
        self.oracle.committed(before, after)

    def _trouble(self, text: str) -> None:
        self.note(f"VIOLATION: {text}")
        self.violations.append(text)
        self.clock.stop()

    def _stale(self) -> list[Host]:
        """Servers that another has taken the place of, and that have not found out."""
        return [host for host in self._hosts if host.process.alive and host is not self.host]

    def _power_off(self) -> None:
        """Nothing runs any more; who still ran is asked for what nobody caught."""
        for host in self._hosts:
            if host.process.alive:
                self._check(host)
                host.process.on_death = lambda: None
                host.process.kill()

    def _check(self, host: Host) -> None:
        for error in host.process.errors:
            self._trouble(f"{host.process.name}: {error}")

    # --- servers ---

    def _gone(self, host: Host) -> None:
        self.note(f"{host.process.name} is gone{' (fenced)' if host.fenced else ''}")
        self._check(host)
        if host.stopped_well and host.state.seq > self.oracle.durable:
            self._trouble(
                f"{host.process.name} stopped as if all were saved, and entry {host.state.seq} is not"
            )
        for connection in self.lines(host):
            connection.cut = self.random.random() < 0.5
            self.clock.after(self.random.uniform(*NOTICE_S), connection.player.lost, connection)
        if host is self.host:
            self.clock.after(self.random.uniform(*RESTART_S), self._start_again, host)

    def _start_again(self, host: Host) -> None:
        if self.host is host:
            self.start_host()

    # --- the network: up ---

    def lines(self, host: Host | None = None) -> list[Connection]:
        """The connections to one server, the newest by default, that their players have not given up."""
        number = (host or self.host).number
        return [one for (of, _), one in self._connections.items() if of == number and not one.gone]

    def _connect(self, player: Player) -> Connection | None:
        host = self.host
        if not host.open:
            return None
        numbers = sum(1 for of, _ in self._connections if of == host.number)
        connection = Connection(host.line.first_number + numbers, player, host, self.clock.now_s)
        self._connections[host.number, connection.number] = connection
        self._up(connection, Opened(connection.number, f"10.0.0.{player.number}"))
        return connection

    def _drop(self, connection: Connection) -> None:
        """A player gives a line up; the server notices by and by."""
        connection.player.lost(connection)
        self.clock.after(self.random.uniform(*NOTICE_S), self._hang_up, connection)

    def cut(self, connection: Connection) -> None:
        """A line breaks; either end notices by and by, and what is on its way is lost."""
        connection.cut = True
        self.clock.after(self.random.uniform(*NOTICE_S), connection.player.lost, connection)
        self.clock.after(self.random.uniform(*NOTICE_S), self._hang_up, connection)

    def _hang_up(self, connection: Connection) -> None:
        """The server's end learns that the line is gone."""
        if not connection.closing:
            self._up(connection, Ending(connection.number, {}))
            self._up(connection, Closed(connection.number, False, {}))
            connection.closing = True

    def _up(self, connection: Connection, message: AnyUp, copy: Copy | None = None) -> None:
        if connection.closing or (connection.cut and not isinstance(message, Ending | Closed)):
            return
        arrives_s = self._arrives_s(connection)
        self.clock.at(arrives_s, connection.host.take, message, partial(self._taken, connection, copy))

    def _arrives_s(self, connection: Connection) -> float:
        """When what is sent up now comes there: behind all that was sent before."""
        arrives_s = max(connection.up_free_s, self.clock.now_s + self.random.uniform(*NETWORK_S))
        connection.up_free_s = arrives_s
        return arrives_s

    def _get(self, connection: Connection, request: ChunkGet) -> None:
        """The connection side answers by itself."""
        if not connection.closing and not connection.cut:
            bring = partial(self._bring, connection, request)
            self.clock.at(self._arrives_s(connection), connection.host.ask, bring)

    def _bring(self, connection: Connection, request: ChunkGet, ground: Ground) -> None:
        delivery, version, edits = ground.update(pack(request.cx, request.cy), request.version)
        if delivery is Delivery.WHOLE:
            self._deliver(connection, Chunk(request.cx, request.cy, VERSION_BARE, b""))
        if edits:
            self._deliver(connection, codec.decode_server(edits)[0])
        ok = Ok(request.request_id, 0, msgspec.to_builtins(ChunkResult(delivery, version)))
        self._deliver(connection, ok, self.oracle.brought(connection.host, (request.cx, request.cy)))

    def _taken(self, connection: Connection, copy: Copy | None) -> None:
        """A server takes a message, as a step of its process."""
        if copy is not None:
            host: Host = connection.host
            copy.lower, copy.taken_s = host.journal.durable_seq, host.process.time()

    def _send(self, connection: Connection, copy: Copy) -> None:
        request = copy.request
        connection.copies[request.request_id] = copy
        player = connection.player
        if copy.deed is None:
            self._up(connection, Asking(connection.number, request), copy)
            return
        self.note(
            f"{player.name} sends {type(request).__name__} {request.action_id.hex()[:8]} as {request.request_id}"
        )
        self.oracle.asked(copy.deed, player.player_id)
        self._up(connection, Acting(connection.number, request), copy)

    def _say(self, connection: Connection, request_id: int, channel: ChatChannel, text: str) -> None:
        say = Say(connection.player_id, request_id, channel, text, None, connection.number)
        self._up(connection, Saying(say))

    def _walk(self, connection: Connection, seq: int, dx: float, dy: float) -> None:
        self._up(connection, Steering(bytearray(INTENT.pack(connection.player_id, seq, dx, dy))))

    # --- the network: down ---

    def _down(self, host: Host, down: AnyDown) -> None:
        if isinstance(down, CloseAll):
            for connection in self.lines(host):
                self.clock.after(self.random.uniform(*NETWORK_S), connection.player.lost, connection)
                self._hang_up(connection)
            return
        connection = self._connections[host.number, getattr(down, "number", 0)]
        match down:
            case Admitted():
                hello = Hello(PROTOCOL_VERSION, "simulated", connection.player.token)
                self._up(connection, SignIn(connection.number, hello))
            case Entering(_, player_id):
                connection.player_id = connection.player.player_id = player_id
                self._current[host.number, player_id] = connection
            case Rejected() | TurnedAway():
                self._drop(connection)
            case Replaced():
                self.clock.after(self.random.uniform(*NETWORK_S), self._replaced, connection)
            case Told():
                self._tell(connection, down.message)

    def _replaced(self, connection: Connection) -> None:
        connection.player.lost(connection)
        self._hang_up(connection)

    def _frame(self, host: Host, frame: TickFrame) -> None:
        for arrival in frame.arrivals:
            current = self._current.get((host.number, arrival.player_id))
            if current is not None:
                self._welcome(current, arrival)
        for player_id, session, message in frame.answers:
            asker = self._connections[host.number, session]
            if asker.player_id == player_id:
                self._tell(asker, message)
        everybody = [one for one in self.lines(host) if one.playing]
        for message, player_ids in frame.heard:
            hearers = [one for one in everybody if one.player_id in player_ids]
            self._spread(host, message, hearers, player_ids)
        self._look_around(host, everybody)
        for keys, message in frame.casts:
            places = list(map(unpack, keys))
            said = self._spread(host, message, [one for one in everybody if _sees(one, places)], [])
            self.oracle.sold(host, said, keys)
        self.oracle.ticked(host, frame.durable_seq)

    def _welcome(self, connection: Connection, arrival: Arrival) -> None:
        connection.playing = True
        settings = {"built_id": connection.host.built_id}
        place = arrival.name, arrival.role, arrival.x, arrival.y
        numbers = connection.host.state.tick, TICK_HZ, connection.host.epoch, 0
        self._deliver(connection, Welcome(arrival.player_id, *place, *numbers, "", settings))

    def _look_around(self, host: Host, connections: list[Connection]) -> None:
        """Who has come into another cell hears so with the next snapshot."""
        players = host.state.players
        for connection in connections:
            slot = players.slot_of.get(connection.player_id)
            cell = connection.cell if slot is None else unpack(int(players.grid.keys[slot]))
            if cell is not None and cell != connection.cell:
                connection.cell = cell
                self._deliver(connection, Snapshot(host.state.tick, *cell, b""))

    def _spread(self, host: Host, message: bytes, hearers: list[Connection], player_ids: list[int]) -> Any:
        """What is said, which it returns, is on its way to all who hear it."""
        said = codec.decode_server(message)[0]
        shown = self.oracle.built(host, said) if isinstance(said, ChunkEdits) else None
        self.oracle.news(said, player_ids)
        for connection in hearers:
            self._deliver(connection, said, shown)
        return said

    def _tell(self, connection: Connection, message: bytes) -> None:
        """One server answers one connection."""
        said = codec.decode_server(message)[0]
        assert isinstance(said, Ok | Refused)
        copy = connection.copies.get(said.request_id)
        if copy is not None:
            self.oracle.answered(connection.host, copy, said)
            if copy.deed is not None:
                words = said.seq if isinstance(said, Ok) else said.code.name
                self.note(
                    f"{connection.host.process.name} answers {connection.player.name}'s {said.request_id}: {words}"
                )
        self._deliver(connection, said)

    def _deliver(self, connection: Connection, said: Any, shown: Shown | None = None) -> None:
        travel_s = self.random.uniform(*NETWORK_S) + connection.player.lag_s
        connection.down_free_s = max(connection.down_free_s, self.clock.now_s + travel_s)
        self.clock.at(connection.down_free_s, self._arrive, connection, said, shown)

    def _arrive(self, connection: Connection, said: Any, shown: Shown | None) -> None:
        if connection.cut or connection.gone:
            return
        connection.player.hear(connection, said)
        if shown is not None:
            self.oracle.knows(connection.player, shown)


def _sees(connection: Connection, places: Iterable[Place]) -> bool:
    """Whether one of these cells is in sight."""
    if connection.cell is None:
        return False
    cx, cy = connection.cell
    return any(max(abs(x - cx), abs(y - cy)) <= SIGHT for x, y in places)


@cache
def _token(name: str) -> str:
    return Signer(Ring.of(SIGNING_KEY)).access(name, WALL_MS / 1_000, TOKEN_DAYS, Role.USER)
