"""The simulation's view of its gateways: they are started, watched, told of every tick, and started again when they are gone.

The simulation never waits for one. A tick's frame is packed and written to the ring once for all; over each link go only its place
there and what is for single connections. A gateway that does not read (LINK_BYTES_MAX), or is done with no tick for SILENT_S, is
killed; one that is merely late puts the server up the ladder. What was connected to it is lost, as with any lost line, and comes back
to another; a new one takes its place, after a pause that grows while they die young.

All listen on one port, each with a socket of its own (SO_REUSEPORT: the kernel deals out who comes); one more, bound and silent, holds
the port meanwhile. Linux only.
"""

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import structlog

from persistence.keyring import Key
from server.config import ENV_PREFIX, SECRETS, Config, ServerConfig
from server.frames import TickFrame
from server.hub import Hub
from server.link import ENCODER, LINK_BYTES_MAX, Link
from server.ring import Ring
from server.seam import (
    AnyUp,
    Begin,
    Built,
    Carried,
    Counted,
    Listening,
    Premises,
    Progress,
    Rekeyed,
    Tally,
    Ticked,
    Warm,
    Whole,
)
from server.tasks import Broken, supervise
from world.tiles import Surface

PROGRAM = "server.gateway"
RING_BYTES_MIN = 16 * 1_048_576
RING_BYTES_PER_PLAYER = 4_096  # a tick tells some 40 bytes of each who moves, and one frame fits four times
SILENT_S = 5.0  # a gateway that is done with no tick for so long, counted in ticks of the world, is killed
START_S_MAX = 120.0  # so is one that does not listen by then; where nothing is cached it compiles
PAUSE_S_MIN, PAUSE_S_MAX = 0.1, 30.0  # before the next one takes its place
START_ATTEMPTS_MAX = 3  # of all gateways together, before the server has ever been ready
YOUNG_S = 10.0  # who dies before this makes the next pause twice as long
RECALLED_PER_TICK = 128  # chunks that a new gateway is told of, some 2 ms while others play
END_S_MAX = 1.0  # for a process to end after its link has

NOT_FOR_GATEWAYS = {"data", "persistence", "redis", *(name.partition(".")[0] for name in SECRETS)}

log = structlog.get_logger()


class Gateway:
    """One gateway process, as it is seen from here."""

    def __init__(
        self, process: "subprocess.Popen[bytes]", hub: Hub, on_listening: Callable[[], None]
    ) -> None:
        self.process = process
        self.link: Link[AnyUp] = Link(list[AnyUp], self._take, 0.0)
        self.line = hub.attach(self.link.send, lambda: self.tally)
        self.tally = Tally()
        self.begun = False  # it has been told its premises
        self.warm = self.told = False  # it wants to be told of the world; it was, and gets every frame since
        self.due: set[int] | None = None  # chunks of which it does not know what is built on them
        # The newest it was given, the newest it has written to all, and what it had been given when it last said so.
        self.given_tick = self.done_tick = self.heard_tick = 0
        self.listens = False
        self._hub = hub
        self._on_listening = on_listening

    def _take(self, message: AnyUp) -> None:
        match message:
            case Progress(tick, share):
                self.done_tick, self.heard_tick = tick, self.given_tick
                self.line.share = max(share, self.behind_ticks)
            case Listening():
                self.listens = True
                self._on_listening()
            case Counted(tally):
                self.tally = tally
            case Warm():
                self.warm = True
            case _:
                self._hub.take(self.line, message)

    @property
    def behind_ticks(self) -> int:
        """How many ticks it was given and is not done with."""
        return self.given_tick - self.done_tick

    def tell(self, tick_frame: TickFrame) -> None:
        """The world as it is now."""
        self.told = True
        self.given_tick = self.done_tick = self.heard_tick = tick_frame.tick
        self.link.bytes_max = LINK_BYTES_MAX + self.link.behind_bytes() + len(ENCODER.encode(tick_frame))
        self.link.send(Whole(tick_frame))

    def give(self, tick: int, message: Ticked | Carried) -> None:
        """The frame of a tick."""
        self.given_tick = tick
        self.link.send(message)
        self.link.flush()

    def kill_unless_listening(self) -> None:
        """Its time to begin is over."""
        if not self.listens:
            self.kill("late")

    def kill(self, why: str) -> None:
        """Ends it, whatever it is doing."""
        log.warning("gateway_killed", pid=self.process.pid, why=why)
        self.process.kill()
        self.link.cut()


class Gateways:
    """All gateways of a server, on a port that is held by `held`. `program` is the module that is run."""

    def __init__(
        self,
        config: Config,
        hub: Hub,
        premises: Premises,
        whole: Callable[[], TickFrame],
        surfaces: dict[int, Surface],
        held: list[socket.socket],
        program: str = PROGRAM,
    ) -> None:
        self.restarts = 0
        self.port: int = held[0].getsockname()[1]
        self._config = config
        self._hub = hub
        self._premises = premises
        self._whole = whole
        self._surfaces = surfaces
        self._held = held
        self._program = program
        self._silent_ticks = round(SILENT_S * config.world.tick_hz)
        self._ring = Ring.made(max(RING_BYTES_MIN, RING_BYTES_PER_PLAYER * config.server.max_players))
        self._gateways: list[Gateway] = []
        self._keepers: list[asyncio.Task[None]] = []
        self._all_listen = asyncio.Event()

    @property
    def ring_bytes(self) -> int:
        """What was written for all of them together."""
        return self._ring.written

    @property
    def running(self) -> int:
        """How many take connections."""
        return sum(gateway.listens for gateway in self._gateways)

    @property
    def behind_ticks(self) -> int:
        """How far the slowest is behind the world."""
        return max((gateway.behind_ticks for gateway in self._gateways), default=0)

    async def start(self, on_broken: Broken) -> None:
        """Starts them, and returns when all take connections."""
        for number in range(self._config.server.gateways):
            keeper = asyncio.create_task(self._keep(), name=f"gateway {number}")
            supervise(keeper, on_broken)
            self._keepers.append(keeper)
        await self._all_listen.wait()

    def _note_listening(self) -> None:
        if self.running == self._config.server.gateways:
            self._all_listen.set()

    async def stop(self, seconds_max: float) -> None:
        """Ends them; they are not told anything more."""
        gateways = list(self._gateways)
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.wait(self._keepers)
        await asyncio.gather(*(_reap(gateway, seconds_max) for gateway in gateways))
        self._ring.close()
        for one in self._held:
            one.close()

    def publish(self, tick_frame: TickFrame) -> None:
        """The frame of a tick, to all who were told of the world before; and of the world to those who are ready to be."""
        told = [gateway for gateway in self._gateways if gateway.told]
        if told:
            message = self._written(tick_frame)
            for gateway in told:
                gateway.give(tick_frame.tick, message)
                if tick_frame.tick - gateway.heard_tick > self._silent_ticks:
                    gateway.kill("silent")
        for gateway in self._gateways:
            if gateway.warm and not gateway.told:
                self._recall(gateway, [key for key, _ in tick_frame.edits])

    def _recall(self, gateway: Gateway, edited: list[int]) -> None:
        """Some of what is built, since there may be very much; again what was built on since; and with the last of it the world."""
        if gateway.due is None:
            gateway.due = set(self._surfaces)
        due = gateway.due
        due.update(edited)
        many = min(len(due), RECALLED_PER_TICK) if self._all_listen.is_set() else len(due)  # nobody plays yet
        chunks = [due.pop() for _ in range(many)]
        surfaces = [
            (key, surface.version, surface.edited()) for key in chunks if (surface := self._surfaces.get(key))
        ]
        gateway.link.send(Built(surfaces))
        if not due:
            gateway.tell(self._whole())

    def rekey(self, keys: list[Key]) -> None:
        """Tickets are signed with these keys from now on. Who has not begun begins with them."""
        self._premises.keys = keys
        for gateway in self._gateways:
            if gateway.begun:
                gateway.link.send(Rekeyed(keys))

    def _written(self, tick_frame: TickFrame) -> Ticked | Carried:
        packed = ENCODER.encode(tick_frame)
        if len(packed) > self._ring.frame_bytes_max:
            return Carried(tick_frame)
        return Ticked(self._ring.write(packed), len(packed))

    async def _keep(self) -> None:
        """One gateway after the other, as long as the server runs."""
        loop = asyncio.get_running_loop()
        pause_s = PAUSE_S_MIN
        while True:
            began_s = loop.time()
            try:
                await self._live(await self._launch())
            except OSError as error:  # no process, descriptor or port to be had just now
                if not self._all_listen.is_set():
                    raise
                log.warning("gateway_not_started", error=str(error))
            self.restarts += 1
            if self.restarts >= START_ATTEMPTS_MAX and not self._all_listen.is_set():
                raise RuntimeError("gateways end before they take connections")
            pause_s = PAUSE_S_MIN if loop.time() - began_s > YOUNG_S else min(2 * pause_s, PAUSE_S_MAX)
            await asyncio.sleep(pause_s)

    async def _live(self, gateway: Gateway) -> None:
        """From the beginning of a gateway to its end."""
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        late = loop.call_later(START_S_MAX, gateway.kill_unless_listening)
        try:
            await gateway.link.ended.wait()
        finally:
            late.cancel()
            self._gateways.remove(gateway)
            self._hub.detach(gateway.line)
            gateway.link.cut()
        await _reap(gateway, END_S_MAX)
        pid, code = gateway.process.pid, gateway.process.returncode
        log.warning("gateway_gone", pid=pid, code=code, lived_s=round(loop.time() - began_s, 1))

    async def _launch(self) -> Gateway:
        """A process that knows its settings. Raises OSError where the system has no room for it."""
        with ExitStack() as given, ExitStack() as kept:
            ours, theirs = socket.socketpair()
            kept.enter_context(ours)
            given.enter_context(theirs)
            ours.setblocking(False)
            ports = [
                given.enter_context(_bind(one.family, one.getsockname(), shared=True)) for one in self._held
            ]
            descriptors = [one.fileno() for one in (theirs, *ports)]
            descriptors.insert(1, self._ring.fd)
            process = await asyncio.to_thread(_spawn, self._program, descriptors)
            kept.pop_all()  # it is the link's now
        gateway = Gateway(process, self._hub, self._note_listening)
        self._gateways.append(gateway)
        await asyncio.get_running_loop().create_unix_connection(lambda: gateway.link, sock=ours)
        config = self._config.model_dump_json(exclude=NOT_FOR_GATEWAYS)
        gateway.link.send(Begin(config, self._premises, gateway.line.first_number))
        gateway.begun = True
        return gateway


def _spawn(program: str, descriptors: list[int]) -> "subprocess.Popen[bytes]":
    """In a thread. The process is in a group of its own, so that a terminal's Ctrl-C is not for it, and knows no secrets."""
    return subprocess.Popen(  # noqa: S603 (our own program)
        [sys.executable, "-m", program, *map(str, descriptors)],
        env={name: value for name, value in os.environ.items() if not name.startswith(ENV_PREFIX)},
        stdin=subprocess.DEVNULL,
        pass_fds=descriptors,
        process_group=0,
    )


async def _reap(gateway: Gateway, seconds_max: float) -> None:
    """Waits for the end of a process whose link has ended, and helps where it does not come."""
    process = gateway.process
    try:
        await asyncio.to_thread(process.wait, seconds_max)
    except subprocess.TimeoutExpired:
        process.kill()
        await asyncio.to_thread(process.wait)


async def hold(config: ServerConfig) -> list[socket.socket]:
    """Sockets that hold the game port on each address of the host, and listen to nobody. Raises OSError."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(
        config.host or None, config.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    held: list[socket.socket] = []
    for family, _, _, _, (host, *more) in dict.fromkeys(found):
        if config.port:
            _bind(family, (host, *more), shared=False).close()  # nobody of another server listens here
        elif held:
            more[0] = held[0].getsockname()[1]
        held.append(_bind(family, (host, *more), shared=True))
    return held


def _bind(family: int, address: tuple[Any, ...], shared: bool) -> socket.socket:
    one = socket.socket(family, socket.SOCK_STREAM)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if shared:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    if family == socket.AF_INET6:
        one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    try:
        one.bind(address)
    except OSError:
        one.close()
        raise
    return one
