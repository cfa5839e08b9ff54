"""The connection side of the seam: the sockets of one process, and what each tick brings them.

In go what the clients want, up to the simulation side (hub.py): intents by `steer`, everything else by `up`. Out comes one `TickFrame`
a tick, spread over the clients, and now and then a word to one of them (seam.py). The gate knows nothing of rules and counts nothing
that is limited for the whole server; who may come in, and as whom, the hub says.

A number names each connection, a player_id whoever is played by one of them. Time-outs are this side's own.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import structlog

from persistence.keyring import Ring
from protocol.errors import CloseCode, Refusal
from protocol.messages import PLOT_TILES, Closing, State, Welcome
from protocol.snapshot import CELL_TILES
from server.auth import Identity, Signer, now_s
from server.config import Config
from server.connection import Connection
from server.frames import Arrival, TickFrame
from server.ground import Ground
from server.interest import Interest
from server.origins import Origins
from server.outbox import frame
from server.proxies import Proxies
from server.seam import (
    HTTP_NO_ROOM,
    HTTP_TOO_MANY,
    RESTART_RETRY_MS,
    Admitted,
    AnyDown,
    AnyUp,
    Built,
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
    Opened,
    Premises,
    Rejected,
    Rekeyed,
    Replaced,
    Tally,
    Told,
    TurnedAway,
    Wanted,
    Whole,
)
from server.words import words_of

CHUNK_RADIUS_MAX = 6  # chunks around one's own that may be asked for
SLOW_RETRY_MS = 5_000  # when who was cut off for not reading may come back
TOO_MANY = b"HTTP/1.1 429 Too Many Requests\r\nConnection: close\r\nContent-Length: 38\r\n\r\nToo many connections from this address"
NO_ROOM = (
    b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 2\r\nContent-Length: 0\r\n\r\n"
)
TOO_LATE = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
REJECTIONS = {HTTP_TOO_MANY: TOO_MANY, HTTP_NO_ROOM: NO_ROOM}
BACKLOG = 1_024  # connections the kernel holds while the loop is busy

log = structlog.get_logger()

Steer = Callable[[int, int, float, float], bool]  # player_id, seq, dx, dy; False where too much waits


class Gate:
    """All connections of one process."""

    def __init__(
        self,
        config: Config,
        premises: Premises,
        first_number: int,
        steer: Steer,
        up: Callable[[AnyUp], None],
        cache_bytes_max: int,
    ) -> None:
        hz = config.world.tick_hz
        self.config = config
        self.limits = config.limits
        self.steer = steer
        self.up = up
        self.interest = Interest(config.interest, hz, round(config.limits.slow_client_s * hz))
        self.ground = Ground(cache_bytes_max, config.limits.chunk_queue_max, lambda key: up(Wanted(key)))
        self.words = words_of(config.chat.words_file)
        self.counts = Tally()
        self.sent = self.interest.sent
        self.loop = asyncio.get_running_loop()
        self.players: dict[int, Connection] = {}  # welcomed, or about to be
        self.listeners: list[asyncio.Server] = []
        self.tick = self.durable_seq = 0
        self.chunk_radius_max = CHUNK_RADIUS_MAX
        self.websocket_logger = logging.getLogger("landworld.websocket")
        self.websocket_logger.setLevel(logging.CRITICAL)  # their trouble is counted, not logged line by line
        self._premises = premises
        self._first_number = first_number
        self._signer = Signer(Ring(tuple(premises.keys)))
        self.origins = Origins(config.server.origins, premises.http_port)
        self._proxies = Proxies(config.server.trusted_proxies)
        self._connections: dict[int, Connection] = {}  # by number
        # Looked through one a tick, so that time-outs cost the same every tick.
        self._wheel: list[set[Connection]] = [set() for _ in range(hz)]

    def __len__(self) -> int:
        return len(self._connections)

    def now_s(self) -> float:
        """The loop's clock, for rates and time-outs."""
        return self.loop.time()

    def connect(self) -> Connection:
        """The protocol factory of the listening socket."""
        return Connection(self)

    # --- connections come and go ---------------------------------------------------------------------------------------------

    def opened(self, connection: Connection) -> None:
        """A socket was accepted."""
        number = connection.session.number = self._first_number + self.counts.connections
        self.counts.connections += 1
        connection.questions += 1
        self._connections[number] = connection
        self._wheel[number % len(self._wheel)].add(connection)
        self.up(Opened(number, connection.address))

    def forwarded(self, connection: Connection, lines: list[str]) -> None:
        """The handshake says for whom it was forwarded: they must be admitted, too."""
        address = self._proxies.client_of(connection.address, lines)
        if address != connection.address:
            connection.address = address
            connection.questions += 1
            self.up(Forwarded(connection.session.number, address))

    def ending(self, connection: Connection) -> None:
        """Nothing more is to be written to this connection, or heard from it; its player may stay, or be played by a newer one."""
        self._unwatch(connection)
        self.up(Ending(connection.session.number, connection.session.spent(self.now_s())))

    def closed(self, connection: Connection, code: int, for_good: bool) -> None:
        """A socket is gone."""
        number, player_id = connection.session.number, connection.session.player_id
        del self._connections[number]
        self._wheel[number % len(self._wheel)].discard(connection)
        self.counts.closed[_close_name(code)] += 1
        self._unwatch(connection)
        if self.players.get(player_id) is connection:
            del self.players[player_id]
        self.up(Closed(number, for_good, connection.session.spent(self.now_s())))
        log.debug("connection_closed", number=number, player_id=player_id, code=code)

    def _unwatch(self, connection: Connection) -> None:
        player_id = connection.session.player_id
        if self.players.get(player_id) is connection:
            self.interest.unwatch(player_id)

    # --- what the hub says ---------------------------------------------------------------------------------------------------

    def take(self, message: AnyDown) -> None:
        """A word from the simulation side."""
        _TAKE[type(message)](self, message)

    def _admit(self, message: Admitted) -> None:
        connection = self._connections.get(message.number)
        if connection is not None and not connection.is_closing():
            connection.admit()

    def _reject(self, message: Rejected) -> None:
        connection = self._connections.get(message.number)
        if connection is not None and not connection.is_closing():
            connection.reject(REJECTIONS[message.status])

    def _enter(self, message: Entering) -> None:
        connection = self._connections.get(message.number)
        if connection is not None:
            connection.identity = Identity(message.key, message.name, None, message.session_id)
            connection.session.player_id = message.player_id
            self.players[message.player_id] = connection

    def _charge(self, message: Charged) -> None:
        connection = self._connections.get(message.number)
        if connection is not None:
            connection.session.charge(message.spent, self.now_s())

    def _turn_away(self, message: TurnedAway) -> None:
        connection = self._connections.get(message.number)
        if connection is not None and connection.is_open():
            connection.turn_away(Refusal(message.code, message.message, message.retry_after_ms))

    def _replace(self, message: Replaced) -> None:
        connection = self._connections.get(message.number)
        if connection is not None:
            self._unwatch(connection)
            if self.players.get(connection.session.player_id) is connection:
                del self.players[connection.session.player_id]
            text = "You signed in somewhere else; this connection ends."
            connection.close(CloseCode.REPLACED, text, Closing(CloseCode.REPLACED, text))

    def _know(self, message: Known) -> None:
        connection = self._connections.get(message.number)
        if connection is not None:
            connection.identity = Identity(message.key, message.name, None, message.session_id)
            connection.session.become(message.role)

    def _expel(self, message: Expelled) -> None:
        connection = self._connections.get(message.number)
        if connection is not None:
            last = Closing(message.code, message.text, message.retry_after_ms)
            connection.close(message.code, message.text, last)

    def _rekey(self, message: Rekeyed) -> None:
        self._signer.ring = Ring(tuple(message.keys))

    def _tell(self, message: Told) -> None:
        connection = self._connections.get(message.number)
        if connection is not None:
            connection.send_framed(frame(message.message))
            if connection.session.state is not State.PLAYING:
                connection.outbox.flush()  # no tick does it
                connection.owed, connection.turns = max(0, connection.owed - 1), 0

    def _made(self, message: Made) -> None:
        self.ground.made(message.key, message.framed)

    def _recall(self, message: Built) -> None:
        self.ground.recall(message.surfaces)

    def _begin(self, message: Whole) -> None:
        self.publish(message.tick_frame)

    # --- the tick ------------------------------------------------------------------------------------------------------------

    def publish(self, tick_frame: TickFrame) -> None:
        """Everything a tick has to tell, in one write per client."""
        self.tick, self.durable_seq = tick_frame.tick, tick_frame.durable_seq
        interest = self.interest
        interest.take(tick_frame)
        for arrival in tick_frame.arrivals:
            self._welcome(arrival)
        for player_id, session, message in tick_frame.answers:
            self._answer(player_id, session, message)
        for message, player_ids in tick_frame.heard:
            framed = frame(message)
            for player_id in player_ids:
                interest.tell(player_id, framed)
        for key, edits in tick_frame.edits:
            self.ground.build(key, edits)
        for keys, message in tick_frame.casts:
            interest.cast(keys, message)
        if tick_frame.everyone:
            interest.tell_everyone(frame(*tick_frame.everyone))
        interest.write(tick_frame.tick)
        self._close_slow()
        self._look_after(self._wheel[tick_frame.tick % len(self._wheel)])

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
        self.counts.resumed += arrival.resumed
        connection.send(
            Welcome(
                arrival.player_id,
                arrival.name,
                arrival.role,
                arrival.x,
                arrival.y,
                self.tick,
                self.config.world.tick_hz,
                self._premises.epoch,
                self.durable_seq,
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
            "ground_id": self._premises.ground_id,
            "built_id": self._premises.built_id,
            "plot_tiles": PLOT_TILES,
            "fee_basis_points": config.market.fee_basis_points,
            "fee_min": config.market.fee_min,
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
            if connection.is_closing() or connection.outbox.full:  # who is not listened to is not silent
                continue
            connection.quiet_turns += 1
            if connection.outbox.transport is None:
                if connection.turns > limits.handshake_timeout_s:
                    connection.reject(TOO_LATE)
            elif connection.session.state is State.NEW:
                if connection.turns > limits.hello_timeout_s and not connection.owed:
                    connection.close(CloseCode.HELLO_TIMEOUT, "no hello came")
            elif connection.quiet_turns > limits.idle_timeout_s:
                connection.close(CloseCode.IDLE_TIMEOUT, "nothing was heard for too long")
            elif connection.quiet_turns % limits.ping_interval_s == 0:
                connection.ping()

    def tally(self) -> Tally:
        """What this side has counted, up to this moment."""
        counts = self.counts
        counts.sent_bytes, counts.sent_writes = self.sent.bytes, self.sent.writes
        counts.skipped_snapshots = self.interest.skipped_snapshots
        counts.cache_bytes = self.ground.cache_bytes
        counts.viewers = {str(step): count for step, count in enumerate(self.interest.steps())}
        return counts

    # --- the end ---------------------------------------------------------------------------------------------------------------

    def _close_all(self, message: CloseAll) -> None:
        """Tells every client that the server goes away and gives it a ticket that outlives the restart."""
        for listener in self.listeners:
            listener.close()
        for connection in list(self._connections.values()):
            last = None
            if connection.session.state is State.PLAYING:
                last = Closing(CloseCode.GOING_AWAY, message.text, RESTART_RETRY_MS, self._ticket(connection))
            connection.close(CloseCode.GOING_AWAY, message.text, last)

    def _cut(self, _: Cut) -> None:
        for connection in list(self._connections.values()):
            connection.cut()


_TAKE: dict[type, Callable[[Gate, Any], None]] = {
    Admitted: Gate._admit,
    Rejected: Gate._reject,
    Entering: Gate._enter,
    Charged: Gate._charge,
    TurnedAway: Gate._turn_away,
    Replaced: Gate._replace,
    Known: Gate._know,
    Expelled: Gate._expel,
    Rekeyed: Gate._rekey,
    Told: Gate._tell,
    Made: Gate._made,
    CloseAll: Gate._close_all,
    Cut: Gate._cut,
    Built: Gate._recall,
    Whole: Gate._begin,
}


def _close_name(code: int) -> str:
    return (
        CloseCode(code).name
        if code in CloseCode.__members__.values()
        else "LOST"
        if code == 1006
        else "OTHER"
    )
