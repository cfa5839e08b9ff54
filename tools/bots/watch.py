"""Watchers: the few bots that read what they are sent, and measure it.

A watcher keeps the latest snapshot of every cell it sees. That gives the time between snapshots, how many are in sight, and the
input-to-neighbour latency: it picks another bot it sees (the probe), has it stand still until its place is settled in the
watcher's own view, sends it off at a random moment, and waits for the first snapshot in which the probe's place is another. A
probe with an obstacle right before it (the server's `moved` says it came nowhere) is no sample; one that moved and was not seen
moving within PROBE_TIMEOUT_S counts as a sample of that length, so that failures cannot flatter the figures.
"""

import math
from random import Random
from struct import Struct
from time import perf_counter_ns
from typing import TYPE_CHECKING

from protocol.snapshot import CELL_TILES, RECORD, UNITS_PER_TILE
from tools.bots.behaviour import STAND, heading

if TYPE_CHECKING:
    from tools.bots.fleet import Bot, Fleet

BOTS_PER_WATCHER = 4  # in a small fleet: each watcher keeps another bot from its own way
WATCHERS_MAX = 64

PROBE_STILL_S = 0.8  # how long a probe stands before it is sent off
PROBE_SETTLE_TRIES = 4  # so often is one not yet settled waited for again
PROBE_TIMEOUT_S = 2.0
PROBE_PAUSE_S = 0.5  # between two probes of one watcher, on average

_RECORD = Struct("<IHH")
assert _RECORD.size == RECORD.itemsize
_WHO = Struct("<I")

Cell = tuple[int, int]
Spot = tuple[int, int]  # a place in whole units (UNITS_PER_TILE to the tile), over the whole world


class Watcher:
    """One bot's eyes."""

    def __init__(self, fleet: "Fleet", bot: "Bot", random: Random) -> None:
        self._fleet = fleet
        self._tally = fleet.tally
        self._bot = bot
        self._random = random
        self.radius_cells = 1
        self._cells: dict[Cell, bytes] = {}
        self._centre: Cell | None = None
        self._tick = -1
        self._arrived_ns = 0
        self.snapshots = 0  # ticks that brought any
        self.turn = 0
        self._probe: Bot | None = None
        self._tries = 0
        self._key = b""
        self._before: Spot | None = None  # where the probe stood; None until it is sent off
        self._sent_ns = 0

    # --- seeing ---

    def begin(self) -> None:
        """A new connection: nothing is known any more."""
        self._cells.clear()
        self._centre = None
        self._tick = -1

    def snapshot(self, tick: int, cx: int, cy: int, entities: bytes, now_ns: int) -> None:
        """One cell's snapshot, read from the socket at `now_ns`."""
        if tick != self._tick:
            if self._tick >= 0:
                self._tally.intervals_ms.add((now_ns - self._arrived_ns) / 1e6)
            self._tick = tick
            self._arrived_ns = now_ns
            self.snapshots += 1
        cell = (cx, cy)
        self._cells[cell] = entities
        if cell != self._centre and record_at(entities, self._bot.key) >= 0:
            self._walk_into(cell)
        if self._before is not None:
            spot = spot_in(entities, self._key, cx, cy)
            if spot is not None and spot != self._before:
                self._sample((now_ns - self._sent_ns) / 1e6)

    def look_around(self) -> None:
        """Count who is in sight, oneself left out."""
        if self._centre is not None:
            self._tally.in_sight.add(sum(map(len, self._cells.values())) // _RECORD.size - 1)

    def _walk_into(self, cell: Cell) -> None:
        self._centre = cell
        far = [
            seen
            for seen in self._cells
            if abs(seen[0] - cell[0]) > self.radius_cells or abs(seen[1] - cell[1]) > self.radius_cells
        ]
        for seen in far:
            del self._cells[seen]

    # --- probing ---

    def wake(self, now_ns: int) -> None:
        """The next step of a probe is due."""
        if self._probe is None:
            self._choose()
        elif not self._probe.playing or not self._bot.playing:
            self._release()
        elif self._before is None:
            self._send_off(self._probe)
        else:
            self._give_up(self._probe)

    def _again_in(self, seconds: float) -> None:
        self._fleet.wake_in(self, seconds)

    def _choose(self) -> None:
        seen = [
            self._fleet.player(who)
            for cell in self._cells.values()
            for who, _, _ in _RECORD.iter_unpack(cell)
        ]
        free = [
            bot for bot in seen if bot is not None and bot.playing and not bot.probed and bot is not self._bot
        ]
        if not free or not self._bot.playing:
            self._again_in(PROBE_PAUSE_S)
            return
        probe = self._random.choice(free)
        self._probe, self._key, self._tries = probe, probe.key, 0
        probe.probed = True
        probe.go(STAND)
        self._again_in(PROBE_STILL_S)

    def _send_off(self, probe: "Bot") -> None:
        spot = self._seen_at(self._key)
        if spot is None or not probe.answered or not _near(spot, probe.x, probe.y):
            self._tries += 1
            if self._tries == PROBE_SETTLE_TRIES:
                self._release()
            else:
                self._again_in(PROBE_STILL_S / PROBE_SETTLE_TRIES)
            return
        angle = self._random.uniform(-math.pi, math.pi)
        self._before = spot
        self._sent_ns = perf_counter_ns()
        probe.go(heading(angle))
        self._again_in(PROBE_TIMEOUT_S)

    def _sample(self, latency_ms: float) -> None:
        self._tally.latencies_ms.add(latency_ms)
        self._release()

    def _give_up(self, probe: "Bot") -> None:
        assert self._before is not None
        if (
            probe.answered
            and not _near(self._before, probe.x, probe.y)
            and self._seen_at(self._key) is not None
        ):
            self._tally.unseen += 1
            self._tally.latencies_ms.add(PROBE_TIMEOUT_S * 1000)
        self._release()

    def _release(self) -> None:
        probe, self._probe, self._before = self._probe, None, None
        if probe is not None:
            probe.probed = False
            probe.decide()
        self._again_in(self._random.uniform(0, 2 * PROBE_PAUSE_S))

    def _seen_at(self, key: bytes) -> Spot | None:
        for (cx, cy), entities in self._cells.items():
            spot = spot_in(entities, key, cx, cy)
            if spot is not None:
                return spot
        return None


def key_of(player_id: int) -> bytes:
    """The first bytes of a player's records."""
    return _WHO.pack(player_id)


def record_at(entities: bytes, key: bytes) -> int:
    """Where the record that begins with `key` starts, -1 when there is none."""
    at = entities.find(key)
    while at > 0 and at % _RECORD.size:
        at = entities.find(key, at + 1)
    return at


def spot_in(entities: bytes, key: bytes, cx: int, cy: int) -> Spot | None:
    """The place of one player in a cell's snapshot."""
    at = record_at(entities, key)
    if at < 0:
        return None
    _, x, y = _RECORD.unpack_from(entities, at)
    return cx * CELL_TILES * UNITS_PER_TILE + x, cy * CELL_TILES * UNITS_PER_TILE + y


def _near(spot: Spot, x: float, y: float) -> bool:
    """Whether a spot is this place (tiles), within what rounding to whole units can do."""
    return abs(spot[0] - x * UNITS_PER_TILE) <= 1 and abs(spot[1] - y * UNITS_PER_TILE) <= 1
