"""A gateway: a process that holds connections, for a simulation in another one.

    python -m server.gateway LINK RING PORT...      (descriptors; only server/gateways.py starts it)

It is told its settings, makes itself ready, is told of the world, listens, and from then on gets every tick's frame. It holds nothing
that is not known on the simulation side, so it may be killed at any time: its clients come back by themselves, to another. When the
link ends, so does it. Signals that a terminal sends to all its processes are for the simulation side, which tells the gateways.
"""

import asyncio
import signal
import socket
import sys
import time

import msgspec
import structlog
import uvloop

from server.config import Config
from server.frames import TickFrame
from server.garbage import Garbage
from server.gate import BACKLOG, Gate
from server.interest import warm_up
from server.link import LINK_BYTES_MAX, Link
from server.ring import Ring
from server.seam import AnyDown, Begin, Carried, Counted, Listening, Progress, Steering, Ticked, Warm, Whole
from server.tasks import supervise
from server.telemetry import set_up_logs
from world.commands import INTENT

LINK_FLUSH_S = 0.005  # what clients want goes up together with what else comes in so long
STEERS_BYTES_MAX = LINK_BYTES_MAX // 2  # so much may wait for the simulation before intents are refused


log = structlog.get_logger()


class Gateway:
    """One gateway process from its first message to the end of its link."""

    def __init__(self, ring: Ring, ports: list[int]) -> None:
        self.link: Link[AnyDown] = Link(list[AnyDown], self.take, LINK_FLUSH_S)
        self._ring = ring
        self._ports = ports
        self._decoder = msgspec.msgpack.Decoder(TickFrame)
        self._garbage = Garbage()
        self._gate: Gate
        self._listening: asyncio.Task[None]

    def take(self, message: AnyDown) -> None:
        """A word from the simulation side."""
        match message:
            case Ticked(position, size):
                self._publish(self._decoder.decode(self._ring.read(position, size)))
            case Carried(tick_frame):
                self._publish(tick_frame)
            case Begin():
                self._begin(message)
            case Whole(tick_frame):
                self._gate.take(message)
                self._garbage.hold(tick_frame.tick)
                self._listening = asyncio.create_task(self._listen(), name="listening")
                supervise(self._listening, self._broken)
            case _:
                self._gate.take(message)

    def _begin(self, begin: Begin) -> None:
        """Everything is made ready before the first connection."""
        config = Config.model_validate_json(begin.config)
        set_up_logs(config.log)
        warm_up()
        cache_bytes_max = config.limits.chunk_cache_bytes_max
        self._gate = Gate(
            config, begin.premises, begin.first_number, self.steer, self.link.send, cache_bytes_max
        )
        self.link.send(Warm())

    async def _listen(self) -> None:
        for port in self._ports:
            line = socket.socket(fileno=port)
            server = await asyncio.get_running_loop().create_server(
                self._gate.connect, sock=line, backlog=BACKLOG
            )
            self._gate.listeners.append(server)
        self.link.send(Listening())

    def _broken(self, what: str, error: BaseException) -> None:
        """Who cannot listen is of no use: another shall try."""
        log.error("gateway_broken", what=what, error=str(error))
        self.link.cut()

    def _publish(self, tick_frame: TickFrame) -> None:
        gate, tick, began_s = self._gate, tick_frame.tick, time.perf_counter()
        gate.publish(tick_frame)
        share = (time.perf_counter() - began_s) * gate.config.world.tick_hz
        self.link.send(Progress(tick, share))
        if tick % gate.config.world.tick_hz == 0:
            self.link.send(Counted(gate.tally()))
        self._garbage.after(tick, share)

    def steer(self, player_id: int, seq: int, dx: float, dy: float) -> bool:
        """Queues an intent, packed to those before it unless another message came between; False when too much waits."""
        waiting = self.link.waiting
        last = waiting[-1] if waiting else None
        if not isinstance(last, Steering):
            if self.link.behind_bytes() > STEERS_BYTES_MAX:
                return False
            last = Steering(bytearray())
            self.link.send(last)
        last.records += INTENT.pack(player_id, seq, dx, dy)
        return True


async def serve(link: socket.socket, ring: Ring, ports: list[int]) -> None:
    """Until the link ends."""
    gateway = Gateway(ring, ports)
    await asyncio.get_running_loop().create_unix_connection(lambda: gateway.link, sock=link)
    await gateway.link.ended.wait()


def main() -> None:
    """Descriptors are the arguments."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    link, ring, *ports = map(int, sys.argv[1:])
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(socket.socket(fileno=link), Ring(ring), ports))


if __name__ == "__main__":
    main()
