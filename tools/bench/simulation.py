"""`landworld bench simulation`: how many players the simulation process alone carries, with its connections elsewhere.

Here run the world, the loop, the hub, the maker of ground, the hand-over to the database and the ring of frames, as in a server with
gateways. There is no database behind it, and in place of gateways one process that sends what they would send: it signs everybody in,
steers each twice a second, and reads every tick's frame from the ring. The players are spread so that each has about 36 others in
sight. The simulation has one core, the other process another.
"""

import argparse
import asyncio
import itertools
import json
import math
import os
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import uvloop
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from rich.console import Console

from persistence.flusher import Flusher
from persistence.journal import Journal
from persistence.keyring import Ring
from persistence.store import Entrant, PlayerRow
from protocol.snapshot import CELL_TILES, RECORD
from server.actions import Actions
from server.auth import Signer
from server.chunks import Chunks
from server.config import Config
from server.directory import Directory
from server.frames import TickFrame, whole
from server.gateways import Gateways, hold
from server.hub import Hub
from server.keys import now_ms
from server.loop import Loop
from server.moderation import Moderation
from server.questions import Questions
from server.receipts import Notary
from server.seam import (
    Premises,
)
from server.survey import Survey
from server.tasks import supervise
from server.telemetry import TICK_BUCKETS_S, Counts
from tools.bench.held import Target
from tools.bench.live import SERVER_CORE, BenchError, cores_apart
from world.commands import Inbox
from world.state import Rules, State
from world.terrain import Terrain
from world.tick import warm_up

PLAYERS = 20_000
SECONDS = 20
SETTLE_S = 5.0  # from the last one's entering to the measured time
ENTER_S_MAX = 300.0
STOP_S = 5.0
PER_CELL = 4  # 36 in a square of 3 x 3 cells
JOINS_PER_TICK = 256
SIGN_INS_MAX = 1_024
RING = Ring.of(b"k" * 32)
SIGNER = Signer(RING)
PROGRAM = "tools.bench.synthetic"
TARGETS = (
    Target("ticks a second", "tick_hz", least=19.8),
    Target("tick p99, ms", "tick_ms_p99", most=25),
    Target("frames missed by the reader", "frames_missed", most=0),
    Target("players missing", "missing", most=0),
    # The world is truly told, and truly steered: nobody stands before ground that is not there.
    Target("records told, share of the players", "told_share", least=0.8),
    Target("intents obeyed, share of two a second", "obeyed_share", least=0.95),
)


def add_parser(sub: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register `landworld bench simulation`."""
    parser = sub.add_parser(
        "simulation",
        help="what the simulation carries when gateways hold the connections",
        description=__doc__,
    )
    parser.add_argument("--players", type=int, default=PLAYERS, metavar="N", help="how many (default 20000)")
    parser.add_argument(
        "--seconds", type=int, default=SECONDS, metavar="S", help="measured time (default 20)"
    )
    parser.add_argument("--seed", type=int, default=20_260, metavar="K", help="of the ground (default 20260)")
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Measure; exit code 1 when a promise was missed."""
    console = Console(stderr=args.json)
    warm_up()
    Terrain.warm_up()
    before = os.sched_getaffinity(0)
    if cores_apart():
        os.sched_setaffinity(0, {SERVER_CORE})
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            figures = runner.run(measure(args.players, args.seconds, args.seed, console.print))
    except BenchError as error:
        Console(stderr=True).print(f"[red]{error}[/]", highlight=False)
        return 2
    finally:
        os.sched_setaffinity(0, before)
    for name, value in figures.items():
        console.print(f"  {name:28} {value:>12,}", highlight=False)
    missed = [target for target in TARGETS if not target.met(figures[target.key])]
    for target in missed:
        console.print(f"[red]{target.label}: {figures[target.key]:,} ({target.wanted})[/]", highlight=False)
    if args.json:
        print(json.dumps(figures))
    return 1 if missed else 0


async def measure(players: int, seconds: int, seed: int, say: Callable[[str], None]) -> dict[str, Any]:
    """The figures of a simulation of so many players. Raises BenchError."""
    return await _Simulation(players, seed, say).measure(seconds)


class _Rows:
    """A database that knows nobody, takes everything and is never slow."""

    def __init__(self) -> None:
        self._ids = itertools.count(1)

    async def known_keys(self, _: list[str]) -> set[str]:
        return set()

    async def enter_players(self, _: int, entrants: list[Entrant]) -> list[PlayerRow]:
        return [
            PlayerRow(next(self._ids), one.key, one.name, "guest", one.look, one.x, one.y, 0, 0)
            for one in entrants
        ]

    async def blocked_by(self, _: list[int]) -> dict[int, list[int]]:
        return {}

    async def save(self, _: int, __: object) -> None:
        """Takes places and talk."""

    async def prune_chat(self, _: int, __: float) -> None:
        """Nothing is old."""


@dataclass(frozen=True, slots=True)
class _Moment:
    """What is counted, at one moment."""

    at_s: float
    cpu_s: float
    tick: int
    ring_bytes: int
    ticks: list[int]
    phase_s: dict[str, float]
    read: dict[str, int]


class _Simulation:
    """A server's simulation side."""

    def __init__(self, players: int, seed: int, say: Callable[[str], None]) -> None:
        self._players = players
        self._say = say
        self._broken: list[str] = []
        config = self._config = Config.model_validate(_settings(players, seed))
        store: Any = _Rows()
        hz, loaded_max = config.world.tick_hz, config.world.chunks_loaded_max
        rules = Rules(hz, config.world.walk_speed_tiles_per_s, 30 * hz, loaded_max, 24.0, 300, 2_000, 30)
        inbox = Inbox(config.limits.inbox_commands_max, config.limits.joins_per_tick_max)
        ahead = config.world.pregenerate_radius_chunks, config.world.pregenerate_ahead_chunks
        cache_bytes_max, queue_max = config.limits.chunk_cache_bytes_max, config.limits.chunk_queue_max
        self._state = State(rules)
        self._counts = Counts()
        journal = Journal(0)
        self._flusher = Flusher(store, journal, 1, lambda _: None, config.persistence.flush_interval_ms, 30.0)
        self._chunks = Chunks(
            Terrain(seed), inbox, lambda _, __: 0, cache_bytes_max, queue_max, loaded_max, ahead
        )
        self._directory = Directory(
            store, self._flusher, self._chunks, SIGNER, 1, config.world.spawn_radius, True, SIGN_INS_MAX
        )
        survey = Survey(self._chunks.terrain, self._chunks.thread)
        actions = Actions(store, journal, survey, self._state, 1)
        questions = Questions(store, actions, Notary(Ed25519PrivateKey.generate()), self._state, 1)
        peace: Any = None
        moderation = Moderation(peace, self._flusher, self._state, config.moderation, 1, now_ms)
        self._hub = Hub(
            config, inbox, self._chunks, self._directory, actions, questions, moderation, self._counts
        )
        self._loop = Loop(
            self._state,
            inbox,
            self._hub,
            self._chunks,
            self._flusher,
            journal,
            None,
            self._counts,
            self._break,
        )

    def _break(self, part: str, error: BaseException) -> None:
        self._broken.append(f"{part}: {error!r}")

    async def measure(self, seconds: int) -> dict[str, Any]:
        """Everybody comes in, then so long. Raises BenchError."""
        held = await hold(self._config.server)
        premises = Premises(1, 0, "", "", list(RING.keys))
        gateways = Gateways(self._config, self._hub, premises, self._whole, {}, held, PROGRAM)
        self._hub.spread = gateways.publish
        for task in (self._flusher.start(), *self._directory.start(), self._chunks.start()):
            supervise(task, self._break)
        self._loop.start()
        try:
            await gateways.start(self._break)
            await self._enter()
            began = self._moment(gateways)
            await self._pass(seconds)
            return self._figures(began, self._moment(gateways))
        finally:
            self._loop.stop()
            await gateways.stop(STOP_S)
            for stop in (self._directory.stop, self._chunks.stop):
                await stop()

    def _whole(self) -> TickFrame:
        return whole(self._state, 0)

    async def _enter(self) -> None:
        self._say(f"  {self._players:,} people come in ...")
        async with asyncio.timeout(ENTER_S_MAX):
            while len(self._state.players) < self._players or self._chunks.waiting:
                await self._pass(0.1)
        self._loop.garbage.hold(self._state.tick)
        await self._pass(SETTLE_S)

    async def _pass(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        if self._broken:
            raise BenchError("; ".join(self._broken))

    def _moment(self, gateways: Gateways) -> _Moment:
        counts = self._counts
        return _Moment(
            time.perf_counter(),
            time.process_time(),
            self._state.tick,
            gateways.ring_bytes,
            list(counts.tick.counts),
            dict(counts.phase_s),
            dict(self._hub.tally().messages),
        )

    def _figures(self, began: _Moment, ended: _Moment) -> dict[str, Any]:
        passed_s, ticks = ended.at_s - began.at_s, max(1, ended.tick - began.tick)
        counted = [late - early for late, early in zip(ended.ticks, began.ticks, strict=True)]
        phases = {
            f"{phase}_ms": round((ended.phase_s[phase] - began.phase_s[phase]) / ticks * 1_000, 2)
            for phase in ended.phase_s
        }
        return {
            "players": len(self._state.players),
            "missing": self._players - len(self._state.players),
            "moving": self._loop.moving,
            "seconds": round(passed_s, 1),
            "tick_hz": round(ticks / passed_s, 2),
            "tick_ms_p50": _percentile_ms(counted, 0.5),
            "tick_ms_p99": _percentile_ms(counted, 0.99),
            **phases,
            "cpu_share": round((ended.cpu_s - began.cpu_s) / passed_s, 3),
            "bytes_per_tick": round((ended.ring_bytes - began.ring_bytes) / ticks),
            "steers_per_s": round((ended.read["steers"] - began.read["steers"]) / passed_s),
            "acknowledged_per_s": round((ended.read["moved"] - began.read["moved"]) / passed_s),
            "told_share": round(
                (ended.ring_bytes - began.ring_bytes) / ticks / (self._players * RECORD.itemsize), 3
            ),
            "obeyed_share": round(
                (ended.read["moved"] - began.read["moved"]) / passed_s / (2 * self._players), 3
            ),
            "frames_read": ended.read["frames"] - began.read["frames"],
            "frames_missed": ended.read["missed"] - began.read["missed"],
            "ladder_step": self._loop.overload.step,
            "memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1_024,
        }


def _settings(players: int, seed: int) -> dict[str, Any]:
    radius = math.ceil(math.sqrt(players / PER_CELL * CELL_TILES**2 / math.pi))
    return {
        "server": {"gateways": 1, "max_players": players, "host": "127.0.0.1", "port": 0},
        "limits": {
            "connections_max": players,
            "connections_per_address": players,
            "connects_per_address": {"per_s": 10_000, "burst": 100_000},
            "hellos_per_address": {"per_s": 10_000, "burst": 100_000},
            "joins_per_tick_max": JOINS_PER_TICK,
        },
        "world": {"seed": seed, "spawn_radius": radius, "chunks_loaded_max": max(131_072, 9 * players)},
        "log": {"level": "warning"},
    }


def _percentile_ms(counts: list[int], share: float) -> float:
    """Of the tick's histogram: the upper edge of the bucket it lies in."""
    wanted, seen = share * sum(counts), 0
    for count, edge_s in zip(counts, (*TICK_BUCKETS_S, math.inf), strict=True):
        seen += count
        if seen >= wanted:
            return edge_s * 1_000
    raise AssertionError("the last bucket holds all")
