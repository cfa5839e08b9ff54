"""The connection side of the seam: who is connected, who they play, and what each tick brings them.

In goes what the connections want of the world: commands into the inbox. Out goes one `TickFrame` a tick, spread over the clients. The
gate knows nothing of rules, and the rules know nothing of it.

    address -> connections   bounded per address and in all
    address -> hellos        a bucket for each; WORLD_FULL counts who is in the world, connected or not
    player_id -> connection  one live connection a player; the newer wins and the older is told why

A lost line detaches its player, who stays for `session.resume_s`; whoever comes back in that time, with the ticket or by signing in,
goes on where the player stands.
"""

import asyncio
import contextlib
import logging
from collections import Counter
from urllib.parse import urlsplit

import structlog

from protocol.errors import CloseCode, Refusal, RefusalCode
from protocol.messages import Closing, Hello, Role, State, Welcome
from protocol.snapshot import CELL_TILES
from server.auth import Identity, Signer, now_s
from server.builder import Builder
from server.chunks import Chunks
from server.config import SAME_HOST, Config
from server.connection import Connection
from server.directory import Directory, Newcomer
from server.frames import Arrival, TickFrame
from server.interest import Interest
from server.outbox import frame
from server.proxies import Proxies
from server.session import Bucket, Buckets
from server.telemetry import Counts
from world.commands import Detach, Inbox, Join, Leave

FORGET_GUESTS_S = 600  # so often, of world time, those who never came back are deleted
CHUNK_RADIUS_MAX = 6  # chunks around one's own that may be asked for
SLOW_RETRY_MS = 5_000  # when who was cut off for not reading may come back
NO_JOURNAL = 0  # durable_seq: there is no journal yet, and what is durable is stored before its `ok`
RESTART_RETRY_MS = 1_000  # when clients shall come back after a restart
TOO_MANY = b"HTTP/1.1 429 Too Many Requests\r\nConnection: close\r\nContent-Length: 38\r\n\r\nToo many connections from this address"
NO_ROOM = (
    b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 2\r\nContent-Length: 0\r\n\r\n"
)
TOO_LATE = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
DEFAULT_PORTS = {"http": 80, "https": 443}

log = structlog.get_logger()


class Gate:
    """All connections of one process."""

    def __init__(
        self,
        config: Config,
        inbox: Inbox,
        interest: Interest,
        chunks: Chunks,
        signer: Signer,
        counts: Counts,
        directory: Directory,
        builder: Builder,
        epoch: int,
        http_port: int,
        ground_id: str,
    ) -> None:
        self.config = config
        self.limits = config.limits
        self.inbox = inbox
        self.interest = interest
        self.chunks = chunks
        self.counts = counts
        self.sent = interest.sent
        self.loop = asyncio.get_running_loop()
        self.directory = directory
        self.builder = builder
        self.players: dict[int, Connection] = {}  # welcomed, or about to be
        self.world_talk = Bucket(config.chat.world_rate, self.now_s())  # of all together
        self.tick = 0
        self.chunk_radius_max = CHUNK_RADIUS_MAX
        self.http_port = http_port
        self.ground_id = ground_id
        self.websocket_logger = logging.getLogger("landworld.websocket")
        self.websocket_logger.setLevel(logging.CRITICAL)  # their trouble is counted, not logged line by line
        self._signer = signer
        self._epoch = epoch
        self._open = True
        self._empty = asyncio.Event()
        self._addresses: Counter[str] = Counter()
        self._proxies = Proxies(config.server.trusted_proxies)
        self._hellos = Buckets(config.limits.hellos_per_address, config.limits.connections_max)
        self._bodies: set[int] = (
            set()
        )  # who is in the world, or will be with the next tick; a line may be lost
        self._count = 0
        # Looked through one a tick, so that time-outs cost the same every tick.
        self._wheel: list[set[Connection]] = [set() for _ in range(config.world.tick_hz)]

    def __len__(self) -> int:
        return self._count

    def now_s(self) -> float:
        """The loop's clock, for rates and time-outs."""
        return self.loop.time()

    def connect(self) -> Connection:
        """The protocol factory of the listening socket."""
        return Connection(self)

    # --- connections come and go ---------------------------------------------------------------------------------------------

    def opened(self, connection: Connection) -> None:
        """A socket was accepted."""
        self._count += 1
        self.counts.connections_total += 1
        connection.session.number = self.counts.connections_total
        self._addresses[connection.address] += 1
        self._wheel[self.counts.connections_total % len(self._wheel)].add(connection)
        if not self._open or self._count > self.limits.connections_max:
            connection.reject(NO_ROOM)
        elif self._has_too_many(connection.address):
            connection.reject(TOO_MANY)

    def forwarded(self, connection: Connection, lines: list[str]) -> bool:
        """The handshake says for whom it was forwarded; False if they have too many connections already."""
        address = self._proxies.client_of(connection.address, lines)
        if address == connection.address:
            return True
        self._forget_address(connection.address)
        connection.address = address
        self._addresses[address] += 1
        return not self._has_too_many(address)

    def _has_too_many(self, address: str) -> bool:
        """A proxy may have any number; whom they are for comes with the handshake."""
        over = self._addresses[address] > self.limits.connections_per_address
        return over and not self._proxies.holds(address)

    def _forget_address(self, address: str) -> None:
        self._addresses[address] -= 1
        if not self._addresses[address]:
            del self._addresses[address]

    def closed(self, connection: Connection, code: int, for_good: bool) -> None:
        """A socket is gone."""
        self._count -= 1
        if not self._count:
            self._empty.set()
        self._forget_address(connection.address)
        for spoke in self._wheel:
            spoke.discard(connection)
        self.counts.closed[_close_name(code)] += 1
        player_id = connection.session.player_id
        self.unwatch(connection)
        if self.players.get(player_id) is connection:
            del self.players[player_id]
            if for_good:
                self._bodies.discard(player_id)
            self.inbox.put_always([Leave(player_id) if for_good else Detach(player_id)])
        log.debug("connection_closed", address=connection.address, player_id=player_id, code=code)

    def unwatch(self, connection: Connection) -> None:
        """Nothing more is to be written to this connection; its player may stay, or be played by a newer one."""
        player_id = connection.session.player_id
        if self.players.get(player_id) is connection:
            self.interest.unwatch(player_id)

    def allows_origin(self, origin: str, host: str) -> bool:
        """Whether a page of this origin may open the socket that was reached as `host`."""
        allowed = self.config.server.origins
        if origin in allowed:
            return True
        if SAME_HOST not in allowed:
            return False
        try:
            page, here = urlsplit(origin), urlsplit(f"//{host}")
            port = page.port or DEFAULT_PORTS.get(page.scheme)
        except ValueError:  # half an IPv6 address, a port that is no number
            return False
        return page.hostname is not None and page.hostname == here.hostname and port == self.http_port

    def sign_in(self, connection: Connection, hello: Hello) -> None:
        """Begins to look up who this is. Raises Refusal."""
        if not self._open:
            raise Refusal(RefusalCode.UNAVAILABLE, "The server is closing.", RESTART_RETRY_MS)
        wait_ms = self._hellos.take(connection.address, self.now_s())
        if wait_ms:
            text = "Many are coming in from your address just now; try again in a moment."
            raise Refusal(RefusalCode.RATE_LIMITED, text, wait_ms)
        self.directory.sign_in(hello, connection.entered)

    def enter(self, connection: Connection, newcomer: Newcomer) -> None:
        """Puts a looked-up player into the world, in place of an older connection of theirs."""
        row = newcomer.row
        older = self.players.get(row.player_id)
        if row.player_id not in self._bodies and len(self._bodies) >= self.config.server.max_players:
            connection.turn_away(
                Refusal(RefusalCode.WORLD_FULL, "The world is full; try again later.", 10_000)
            )
            return
        join = Join(row.player_id, row.name, Role(row.role), row.look, newcomer.x, newcomer.y)
        if not self.inbox.put(join):
            connection.turn_away(
                Refusal(RefusalCode.UNAVAILABLE, "The server has much to do; try again.", 1_000)
            )
            return
        if older is not None:
            self.interest.unwatch(row.player_id)
            text = "You signed in somewhere else; this connection ends."
            older.close(CloseCode.REPLACED, text, Closing(CloseCode.REPLACED, text))
        connection.identity = Identity(row.key, row.name, None)
        connection.session.player_id = row.player_id
        self.players[row.player_id] = connection
        self._bodies.add(row.player_id)

    # --- the tick ------------------------------------------------------------------------------------------------------------

    def publish(self, tick_frame: TickFrame) -> None:
        """Everything a tick has to tell, in one write per client."""
        self.tick = tick_frame.tick
        interest = self.interest
        self._bodies.difference_update(tick_frame.gone)
        self._bodies.update(arrival.player_id for arrival in tick_frame.arrivals)
        interest.take(tick_frame)
        for arrival in tick_frame.arrivals:
            self._welcome(arrival)
        for player_id, session, message in tick_frame.answers:
            self._answer(player_id, session, message)
        for player_id, message in tick_frame.private:
            interest.tell(player_id, frame(message))
        for key, edits in tick_frame.edits:
            self.chunks.build(key, edits)
        for key, message in tick_frame.casts:
            interest.cast(key, frame(message))
        if tick_frame.everyone:
            interest.tell_everyone(frame(*tick_frame.everyone))
        interest.write(tick_frame.tick)
        self._close_slow()
        self._look_after(self._wheel[tick_frame.tick % len(self._wheel)])
        if tick_frame.tick % (FORGET_GUESTS_S * self.config.world.tick_hz) == 0:
            self.directory.forget_guests(self.config.session.ticket_days, self._bodies)

    def _answer(self, player_id: int, session: int, message: bytes) -> None:
        """To whoever asked: a newer connection counts its requests anew, and would take this for an answer to one of its own."""
        connection = self.players.get(player_id)
        if connection is not None and connection.session.number == session:
            self.interest.tell(player_id, frame(message))

    def _welcome(self, arrival: Arrival) -> None:
        connection = self.players.get(arrival.player_id)
        if connection is None or not connection.is_open() or connection.session.state is not State.JOINING:
            return
        connection.session.playing(arrival.player_id, arrival.role)
        self.counts.resumed_total += arrival.resumed
        connection.send(
            Welcome(
                arrival.player_id,
                arrival.name,
                arrival.role,
                arrival.x,
                arrival.y,
                self.tick,
                self.config.world.tick_hz,
                self._epoch,
                NO_JOURNAL,
                self._ticket(connection),
                self._settings(),
            )
        )
        self.interest.watch(arrival.player_id, connection.outbox)
        for message in arrival.history:
            self.interest.tell(arrival.player_id, frame(message))

    def _ticket(self, connection: Connection) -> str:
        assert connection.identity is not None
        return self._signer.resume(connection.identity, now_s(), self.config.session.ticket_days)

    def _settings(self) -> dict[str, int | float | str]:
        """What a client must know of the configuration."""
        config = self.config
        return {
            "cell_tiles": CELL_TILES,
            "radius_cells": config.interest.radius_cells,
            "walk_speed": config.world.walk_speed_tiles_per_s,
            "chat_radius_tiles": config.chat.radius_tiles,
            "chat_chars_max": config.chat.text_chars_max,
            "resume_s": config.session.resume_s,
            "ping_interval_s": config.limits.ping_interval_s,
            "chunk_radius_max": self.chunk_radius_max,
            "ground_id": self.ground_id,
        }

    def _close_slow(self) -> None:
        for player_id in self.interest.too_slow:
            connection = self.players.get(player_id)
            if connection is not None:
                text = "You do not read what you are sent."
                connection.close(CloseCode.TOO_SLOW, text, Closing(CloseCode.TOO_SLOW, text, SLOW_RETRY_MS))
        self.interest.too_slow.clear()

    def _look_after(self, connections: set[Connection]) -> None:
        """Time-outs and pings; each connection's turn comes once a second.

        Time is counted in turns, so that a server that stood still itself does not take its clients for silent.
        """
        limits = self.limits
        for connection in list(connections):
            connection.turns += 1
            connection.quiet_turns += 1
            if connection.is_closing():
                continue
            if connection.outbox.transport is None:
                if connection.turns > limits.handshake_timeout_s:
                    connection.reject(TOO_LATE)
            elif connection.session.state is State.NEW:
                if connection.turns > limits.hello_timeout_s:
                    connection.close(CloseCode.HELLO_TIMEOUT, "no hello came")
            elif connection.quiet_turns > limits.idle_timeout_s:
                connection.close(CloseCode.IDLE_TIMEOUT, "nothing was heard for too long")
            elif connection.quiet_turns % limits.ping_interval_s == 0:
                connection.ping()

    # --- the end ---------------------------------------------------------------------------------------------------------------

    def close_all(self, text: str) -> None:
        """Tells every client that the server goes away and gives it a ticket that outlives the restart."""
        self._open = False
        for connection in self._connections():
            last = None
            if connection.session.state is State.PLAYING:
                last = Closing(CloseCode.GOING_AWAY, text, RESTART_RETRY_MS, self._ticket(connection))
            connection.close(CloseCode.GOING_AWAY, text, last)

    async def wait_closed(self, timeout_s: float) -> None:
        """Gives clients the time to read what was sent and to answer; then cuts whoever is left."""
        self._empty.clear()
        if self._count:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await self._empty.wait()
        for connection in self._connections():
            connection.cut()

    def _connections(self) -> list[Connection]:
        return [connection for spoke in self._wheel for connection in spoke]


def _close_name(code: int) -> str:
    return (
        CloseCode(code).name
        if code in CloseCode.__members__.values()
        else "LOST"
        if code == 1006
        else "OTHER"
    )
