"""In place of a gateway, for `landworld bench simulation`: sends what a gateway would send, and has no clients.

python -m tools.bench.synthetic LINK RING PORT...      (descriptors, as server/gateway.py)
"""

import asyncio
import math
import os
import socket
import sys

import msgspec
import numpy as np
import uvloop

from protocol.messages import PROTOCOL_VERSION, Hello
from server.config import Config
from server.frames import TickFrame
from server.link import Link
from server.ring import Ring
from server.seam import (
    Admitted,
    AnyDown,
    Begin,
    Carried,
    Counted,
    Entering,
    Listening,
    Opened,
    Progress,
    SignIn,
    Steering,
    Tally,
    Ticked,
    Warm,
    Whole,
)
from tools.bench.live import LOAD_CORE, cores_apart
from world.commands import STEER
from world.tick import MOVED

STEERS_PER_S = 2
BATCH_S = 0.005  # as a gateway gathers
COUNT_TICKS = 20
SIGN_INS_AT_ONCE = 512


class Synthetic:
    """In place of a gateway, in a process of its own: everybody comes in, steers and is told."""

    def __init__(self, ring: Ring) -> None:
        self.link: Link[AnyDown] = Link(list[AnyDown], self.take, BATCH_S)
        self._ring = ring
        self._decoder = msgspec.msgpack.Decoder(TickFrame)
        self._loop = asyncio.get_running_loop()
        self._players = self._next_number = self._opened = self._tick = 0
        self._read = dict.fromkeys(("frames", "missed", "moved", "steers"), 0)
        self._ids: list[int] = []
        self._steered = 0  # intents since `_began_s`
        self._began_s = 0.0
        self._intents = np.empty(0, STEER)

    def take(self, message: AnyDown) -> None:
        """As server/gateway.py, without clients."""
        match message:
            case Ticked(position, size):
                self._take_frame(self._decoder.decode(self._ring.read(position, size)))
            case Carried(tick_frame):
                self._take_frame(tick_frame)
            case Begin(config, _, first_number):
                self._players = Config.model_validate_json(config).server.max_players
                self._next_number = first_number
                self.link.send(Warm())
            case Whole(tick_frame):
                self._tick = tick_frame.tick
                self.link.send(Listening())
                for _ in range(min(self._players, SIGN_INS_AT_ONCE)):
                    self._open()
            case Admitted(number):
                self.link.send(SignIn(number, Hello(PROTOCOL_VERSION, "bench")))
            case Entering(_, player_id):
                self._ids.append(player_id)
                self._open()
                if len(self._ids) == self._players:
                    self._begin()

    def _open(self) -> None:
        if self._opened < self._players:
            self.link.send(Opened(self._next_number + self._opened, "192.0.2.1"))
            self._opened += 1

    def _take_frame(self, tick_frame: TickFrame) -> None:
        read, tick = self._read, tick_frame.tick
        read["frames"] += 1
        read["missed"] += tick - self._tick - 1
        read["moved"] += len(tick_frame.moved) // MOVED.itemsize
        self._tick = tick
        self.link.send(Progress(tick, 0.0))
        if tick % COUNT_TICKS == 0:
            self.link.send(Counted(Tally(messages=read)))

    def _begin(self) -> None:
        """All are in: from now on they walk, each another way twice a second."""
        angles = np.random.default_rng(1).uniform(0.0, math.tau, 8 * len(self._ids))
        self._intents = np.zeros(len(angles), STEER)
        self._intents["player_id"] = np.resize(np.array(self._ids, np.uint32), len(angles))
        self._intents["dx"], self._intents["dy"] = np.cos(angles), np.sin(angles)
        self._began_s = self._loop.time()
        self._walk()

    def _walk(self) -> None:
        due = round((self._loop.time() - self._began_s) * STEERS_PER_S * self._players) - self._steered
        places = np.arange(self._steered, self._steered + due) % len(self._intents)
        records = self._intents[places]
        records["seq"] = (self._steered + np.arange(due)) // self._players + 1
        self._steered += due
        self._read["steers"] += due
        self.link.send(Steering(bytearray(records.tobytes())))
        self._loop.call_later(BATCH_S, self._walk)


async def serve(link: socket.socket, ring: Ring) -> None:
    """Until the link ends."""
    synthetic = Synthetic(ring)
    await asyncio.get_running_loop().create_unix_connection(lambda: synthetic.link, sock=link)
    await synthetic.link.ended.wait()


def main() -> None:
    """The other process: descriptors are the arguments."""
    if cores_apart():
        os.sched_setaffinity(0, {LOAD_CORE})
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(socket.socket(fileno=int(sys.argv[1])), Ring(int(sys.argv[2]))))


if __name__ == "__main__":
    main()
