"""The bots' tongues for the peers: how each server wants to be greeted and steered, and what it sends.

JsonBot speaks to ws.js and is measured by the fleet's own watchers. ColyseusBot only makes load: decoding Colyseus' patches here would
mean writing its schema decoder again, so its patches are counted and stepped over, and watchers.js measures through the official SDK.
It keeps its place by reckoning, which on a plane without walls is right.
"""

import json
from struct import Struct
from time import perf_counter_ns
from typing import Any

from protocol.snapshot import COUNT_LONG, NAMED, STEP_ZERO, UNITS_PER_TILE
from server.config import WorldConfig
from tools.bots import wire
from tools.bots.fleet import Bot, State
from tools.bots.wire import BINARY_WHOLE, TEXT_WHOLE, Opcode, WireError

_RECORD = Struct("<IHH")
_YOU = b'{"you":'

_JOIN_ROOM, _ERROR, _ROOM_DATA = 10, 11, 13  # @colyseus/shared-types, Protocol
_MOVE = b"\xa4move"  # a message's type as schema's encoder writes a short string
_SPEED = WorldConfig().walk_speed_tiles_per_s


class JsonBot(Bot):
    """A player of ws.js."""

    WHOLE = TEXT_WHOLE

    __slots__ = ()

    def _upgraded(self) -> None:
        self.state = State.JOINING

    def _say_intent(self) -> None:
        self._send(wire.frame(json_input(self._seq, *self._intent), Opcode.TEXT))

    def _heard(self, buffer: bytearray, start: int, end: int) -> None:
        if self.state is State.JOINING:
            welcome = json.loads(buffer[start:end])
            self._enter(welcome["id"], welcome["x"], welcome["y"])
            return
        if buffer.startswith(_YOU, start):
            seq, self.x, self.y = json.loads(buffer[start + len(_YOU) : buffer.index(b"]", start) + 1])
            self.answered = seq == self._seq
        if self.watcher is not None:
            message = json.loads(buffer[start:end])
            at_x, at_y = message["at"]
            blocks = [block(cx - at_x, cy - at_y, people) for cx, cy, people in message["cells"]]
            self.watcher.snapshot(message["tick"], at_x, at_y, b"".join(blocks), self._fleet.read_ns)


def json_input(seq: int, dx: float, dy: float) -> bytes:
    """A direction, as ws.js reads it."""
    return b'{"seq":%d,"dx":%.4f,"dy":%.4f}' % (seq, dx, dy)


def block(dx: int, dy: int, people: list[list[Any]]) -> bytes:
    """The people of one cell (id, x, y in tiles from its corner) as a named block of our own snapshots, for the watchers."""
    where, head = (dx + STEP_ZERO) << 4 | (dy + STEP_ZERO), NAMED | COUNT_LONG
    records = b"".join(_RECORD.pack(who, _units(x), _units(y)) for who, x, y in people)
    return bytes((where, head)) + len(people).to_bytes(2, "little") + records


def _units(tiles: float) -> int:
    return min(max(round(tiles * UNITS_PER_TILE), 0), 0xFFFF)


class ColyseusBot(Bot):
    """A player of colyseus.js; its token is the path of its seat."""

    WHOLE = BINARY_WHOLE
    WATCHES = False

    __slots__ = ("_reckoned_ns",)

    def _upgrade_request(self) -> bytes:
        return wire.upgrade_request(self._fleet.plan.target.authority, self._token or "/")

    def _upgraded(self) -> None:
        self.state = State.JOINING

    def _heard(self, buffer: bytearray, start: int, end: int) -> None:
        code = buffer[start]
        if code == _JOIN_ROOM:
            self._send(wire.frame(bytes((_JOIN_ROOM,))))
            self._reckoned_ns = perf_counter_ns()
            self._enter(self._index + 1, 0.0, 0.0)
        elif code == _ERROR:
            raise WireError(f"Colyseus: {bytes(buffer[start + 1 : end])!r}")

    def decide(self) -> None:
        """As all bots; the place is where the last direction has led by now."""
        now_ns = perf_counter_ns()
        tiles = (now_ns - self._reckoned_ns) / 1e9 * _SPEED
        self._reckoned_ns = now_ns
        self.x += self._intent[0] * tiles
        self.y += self._intent[1] * tiles
        super().decide()

    def _say_intent(self) -> None:
        self._send(wire.frame(colyseus_input(self._fleet.pack(self._intent))))


def colyseus_input(direction: bytes) -> bytes:
    """A message `move` of a room, which holds a direction (MessagePack, two numbers)."""
    return bytes((_ROOM_DATA,)) + _MOVE + direction
