"""Watchers: the few bots that read what they are sent, and measure it.

A watcher keeps who is where in every cell it sees, as the last blocks told: ids and places, each packed end to end. A block without
names that does not fit the ids it has is an error of the server. That gives the time between snapshots, how many are in sight, and the
input-to-neighbour latency: it picks another bot it sees (the probe), has it stand still until its place is settled in the
watcher's own view, sends it off at a random moment, and waits for the first snapshot in which the probe's place is another. A
probe with an obstacle right before it (the server's `moved` says it came nowhere) is no sample; one that moved and was not seen
moving within PROBE_TIMEOUT_S counts as a sample of that length, so that failures cannot flatter the figures.
"""

import math
from array import array
from random import Random
from struct import Struct
from time import perf_counter_ns
from typing import TYPE_CHECKING

from protocol.snapshot import CELL_TILES, COUNT_LONG, NAMED, PLACE, RECORD, STEP_ZERO, UNITS_PER_TILE
from tools.bots.behaviour import STAND, heading

if TYPE_CHECKING:
    from tools.bots.fleet import Bot, Fleet

BOTS_PER_WATCHER = 4  # in a small fleet: each watcher keeps another bot from its own way
WATCHERS_MAX = 64

OUT_OF_STEP = "snapshot out of step"  # a block without names that does not fit what is known of its cell

PROBE_STILL_S = 0.8  # how long a probe stands before it is sent off
PROBE_SETTLE_TRIES = 4  # so often is one not yet settled waited for again
PROBE_TIMEOUT_S = 2.0
PROBE_PAUSE_S = 0.5  # between two probes of one watcher, on average

_WHO = Struct("<I")
_PLACE = Struct("<HH")
# A record is taken apart as two words of one size, which array("I") does at once: who, and where.
assert array("I").itemsize == _WHO.size == _PLACE.size == PLACE.itemsize == RECORD.itemsize // 2

Cell = tuple[int, int]
People = tuple[bytes, bytes]  # ids and places of those in one cell, in one order
Spot = tuple[int, int]  # a place in whole units (UNITS_PER_TILE to the tile), over the whole world


class Watcher:
    """One bot's eyes."""

    def __init__(self, fleet: "Fleet", bot: "Bot", random: Random) -> None:
        self._fleet = fleet
        self._tally = fleet.tally
        self._bot = bot
        self._random = random
        self.radius_cells = 1
        self._cells: dict[Cell, People] = {}
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

    def snapshot(self, tick: int, cx: int, cy: int, cells: bytes, now_ns: int) -> None:
        """A snapshot taken from the cell (cx, cy), read from the socket at `now_ns`."""
        if tick != self._tick:
            if self._tick >= 0:
                self._tally.intervals_ms.add((now_ns - self._arrived_ns) / 1e6)
            self._tick = tick
            self._arrived_ns = now_ns
            self.snapshots += 1
        if self._centre != (cx, cy):
            self._centre = (cx, cy)
            self._forget()
        at, end = 0, len(cells)
        while at < end:
            at = self._block(cells, at, now_ns)

    def _block(self, cells: bytes, at: int, now_ns: int) -> int:
        """Takes in one block; answers where it ends. Raises IndexError or ValueError when the bytes do first."""
        assert self._centre is not None
        where, head = cells[at], cells[at + 1]
        count, at = head & COUNT_LONG, at + 2
        if count == COUNT_LONG:
            count, at = cells[at] | cells[at + 1] << 8, at + 2
        cell = self._centre[0] + (where >> 4) - STEP_ZERO, self._centre[1] + (where & 15) - STEP_ZERO
        end = at + count * (RECORD if head & NAMED else PLACE).itemsize
        if end > len(cells):
            raise ValueError("a block ends within its records")
        if head & NAMED:
            words = array("I", cells[at:end])
            people = words[::2].tobytes(), words[1::2].tobytes()
        else:
            known = self._cells.get(cell)
            if known is None or len(known[0]) != end - at:
                self._tally.error(OUT_OF_STEP)
                return end
            people = known[0], cells[at:end]
        self._cells[cell] = people
        if self._before is not None and spot_in(people, self._key, cell) not in (None, self._before):
            self._sample((now_ns - self._sent_ns) / 1e6)
        return end

    def crowd(self, cx: int, cy: int) -> None:
        """One cell is counted from now on: who is there is not told."""
        self._cells.pop((cx, cy), None)

    def viewed(self, radius_cells: int) -> None:
        """It sees so many rings of cells around its own."""
        self.radius_cells = radius_cells
        self._forget()

    def look_around(self) -> None:
        """Count who is in sight, oneself left out."""
        if self._centre is not None:
            seen = sum(len(ids) for ids, _ in self._cells.values()) // _WHO.size
            self._tally.in_sight.add(max(0, seen - 1))

    def _forget(self) -> None:
        """Cells out of sight are told anew when they come back."""
        if self._centre is None:
            return
        cx, cy = self._centre
        reach = self.radius_cells
        for x, y in [(x, y) for x, y in self._cells if abs(x - cx) > reach or abs(y - cy) > reach]:
            del self._cells[x, y]

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
            self._fleet.player(who) for ids, _ in self._cells.values() for (who,) in _WHO.iter_unpack(ids)
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
        for cell, people in self._cells.items():
            spot = spot_in(people, key, cell)
            if spot is not None:
                return spot
        return None


def key_of(player_id: int) -> bytes:
    """A player among the ids of a cell."""
    return _WHO.pack(player_id)


def spot_in(people: People, key: bytes, cell: Cell) -> Spot | None:
    """The place of one player among the people of a cell."""
    ids, places = people
    at = ids.find(key)
    while at % _WHO.size and at > 0:  # bytes of two ids that look like it
        at = ids.find(key, at + 1)
    if at < 0:
        return None
    x, y = _PLACE.unpack_from(places, at)
    return cell[0] * CELL_TILES * UNITS_PER_TILE + x, cell[1] * CELL_TILES * UNITS_PER_TILE + y


def _near(spot: Spot, x: float, y: float) -> bool:
    """Whether a spot is this place (tiles), within what rounding to whole units can do."""
    return abs(spot[0] - x * UNITS_PER_TILE) <= 1 and abs(spot[1] - y * UNITS_PER_TILE) <= 1
