"""`landworld bench durable`: how many actions a second are stored and answered, and what that costs those who walk?

A real server with its embedded PostgreSQL, and bots over real sockets (homesteads.py says what they do), in stages of --seconds:

    most      nobody walks; actions as fast as they are answered: the most that is sustained
    half      at half that rate, evenly: how long an answer takes
    single    the peer: the same actions one transaction each, ten connections, on the same PostgreSQL (single.py)
    still     1,000 walk, nobody acts \\ in turn, twice: what 500 actions/s
    some      and at 500 actions/s    / do to the tick
    crowded   1,000 walk, and actions as fast as they are answered

The server has core 0, the load and PostgreSQL core 1; the peer takes the server's place on core 0 while that has nothing to do. With
`--database-core 0` PostgreSQL shares the server's core. Every stage tells which share of a core each of them used, and what one action
cost each: a load that is full measures itself.

Durable actions are done between the ticks, so a tick alone would not show what they cost those who walk. What does is how long after
its deadline a tick is told; the same is promised of both.
"""

import argparse
import json
import multiprocessing
import subprocess
import sys
from collections.abc import Generator
from dataclasses import dataclass, field
from time import monotonic, process_time
from typing import Any

from rich.console import Console

from server.config import WorldConfig
from tools.bench.attend import drive, kept, room_for, show, tick_figures
from tools.bench.held import Target
from tools.bench.homesteads import Load, dry_spots
from tools.bench.live import (
    LOAD_CORE,
    SERVER_CORE,
    BenchError,
    LiveServer,
    Sample,
    cores_apart,
    live_server,
    on_load,
    pinned,
)
from tools.bots.fleet import Fleet, Plan, parse_target
from tools.bots.report import percentile

SECONDS, ACTORS, HOMESTEADS, WALKERS = 15.0, 200, 3_000, 1_000
IN_SIGHT = 12  # of each, when all are there
SOME_PER_S = 500
WARM_SHARE = 0.4  # of --seconds, before the first stage
TURNS = 2  # of still and some
COMING_S_MAX = 120.0
RESTING_S_MAX = 30.0
RATE_PER_S, BURST = 10_000, 100_000  # of one connection: the largest that the settings allow
GRANT = 10**12  # poisha, so that nobody runs out

PROMISES = (
    Target("actions/s, nobody walking", "actions_per_s", least=10_000),
    Target("times one transaction each", "ratio_to_single_transactions", least=8),
    Target("ack p99 at half of it, ms", "ack_ms_p99", most=250),
    Target("actions/s, 1,000 walking", "actions_per_s_crowded", least=5_000),
    Target("tick p99 then, ms", "tick_ms_p99", most=50),
    Target("and told after its deadline, p99, ms", "told_ms_p99", most=50),
    Target("tick p99 at 500/s, times without", "tick_ratio_some", most=1.1),
    Target("told p99 at 500/s, times without", "told_ratio_some", most=1.1),
    Target("errors", "errors", most=0),
    Target("lost lines", "lost", most=0),
)

Steps = Generator[None, None, None]  # goes on at each look at the fleet, twice a second


@dataclass(frozen=True, slots=True)
class Setting:
    """What is asked of the run."""

    seconds: float = SECONDS
    actors: int = ACTORS
    homesteads: int = HOMESTEADS
    walkers: int = WALKERS
    database_core: int = LOAD_CORE


def add_parser(sub: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register `landworld bench durable`."""
    parser = sub.add_parser(
        "durable", help="how many durable actions a second, and how fast?", description=__doc__
    )
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "--seconds", type=float, default=SECONDS, metavar="S", help=f"of each stage (default {SECONDS:g})"
    )
    parser.add_argument(
        "--walkers", type=int, default=WALKERS, metavar="N", help=f"who walk (default {WALKERS:,})"
    )
    parser.add_argument(
        "--homesteads",
        type=int,
        default=HOMESTEADS,
        metavar="N",
        help=f"so many actions at once on their way (default {HOMESTEADS:,})",
    )
    parser.add_argument(
        "--database-core", type=int, choices=(SERVER_CORE, LOAD_CORE), default=LOAD_CORE, metavar="CORE"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line")
    parser.set_defaults(run=run)


@on_load
def run(args: argparse.Namespace) -> int:
    """Run the command; exit code 1 when a promise was missed, 2 when it could not run."""
    found = measure(
        Setting(
            args.seconds, homesteads=args.homesteads, walkers=args.walkers, database_core=args.database_core
        )
    )
    console = Console(stderr=args.json)
    show(found, PROMISES, console)
    for stage in found["stages"]:
        console.print(_in_words(stage), soft_wrap=True, highlight=False)
    if args.json:
        print(json.dumps(found))
    return 0 if kept(found, PROMISES) else 1


def measure(setting: Setting) -> dict[str, Any]:
    """The whole run."""
    settings = room_for(
        setting.actors + setting.walkers,
        IN_SIGHT,
        **{
            "limits.rates.action.per_s": RATE_PER_S,
            "limits.rates.action.burst": BURST,
            "limits.actions_per_address.per_s": RATE_PER_S,
            "limits.actions_per_address.burst": BURST,
            "economy.starting_grant": GRANT,
        },
    )
    with live_server(settings) as server:
        if cores_apart():
            server.move_database(setting.database_core)
        load = Load(Plan(target=parse_target(server.url), count=setting.actors, seconds=0))
        course = Course(server, load, setting)
        load.on_window = course.begin
        try:
            result = drive(load, server, course.look)
        finally:
            course.end()
    found = course.figures()
    tally = result.tally
    return {
        **found,
        "errors": tally.errors.total(),
        "lost": tally.lost,
        "errors_by_reason": dict(tally.errors),
    }


@dataclass(slots=True)
class Moment:
    """Everybody's clocks at one moment."""

    server: Sample
    load_cpu_s: float
    database_cpu_s: float


@dataclass(slots=True)
class Course:
    """The stages, one after the other."""

    server: LiveServer
    load: Load
    setting: Setting
    stages: list[dict[str, Any]] = field(default_factory=list)
    single: dict[str, Any] = field(default_factory=dict)
    _steps: Steps | None = None
    _crowd: Any = None  # the process of those who walk
    _peer: "subprocess.Popen[bytes] | None" = None

    def begin(self, begins: bool) -> None:
        """Everybody is there, or gone."""
        if begins:
            self.load.settle(dry_spots(WorldConfig().seed, self.setting.homesteads))
            self._steps = self._course()

    def look(self) -> None:
        """Now and then."""
        if self._steps is not None:
            next(self._steps, None)

    def end(self) -> None:
        """Nobody is left behind."""
        if self._crowd is not None:
            self._crowd.terminate()
            self._crowd.join()
        if self._peer is not None:
            self._peer.kill()
            self._peer.wait()

    def _course(self) -> Steps:
        seconds = self.setting.seconds
        yield from self._stage("warm-up", None, WARM_SHARE * seconds)
        yield from self._stage("most", None, seconds)
        yield from self._rest()
        yield from self._stage("half", self.stages[-1]["actions_per_s"] / 2, seconds)
        yield from self._rest()
        yield from self._measure_single()
        yield from self._come()
        for _ in range(TURNS):
            yield from self._stage("still", 0, seconds)
            yield from self._stage("some", SOME_PER_S, seconds)
        yield from self._stage("crowded", None, seconds)
        self.load.pace(0)
        self.load.stop()

    def _rest(self) -> Steps:
        """Until all that is on its way is answered."""
        self.load.pace(0)
        latest_s = monotonic() + RESTING_S_MAX
        while self.load.busy:
            if monotonic() > latest_s:
                raise BenchError("some actions are never answered")
            yield

    def _stage(self, name: str, per_s: float | None, seconds: float) -> Steps:
        self.load.pace(per_s)
        yield
        before, until_s = self._now(), monotonic() + seconds
        self.load.tally.clear()
        while monotonic() < until_s:
            yield
        tally = self.load.tally
        acks, acks_ms = tally.acks, list(tally.acks_ms.values)
        self.stages.append(stage_figures(name, before, self._now(), acks, acks_ms))

    def _now(self) -> Moment:
        return Moment(self.server.sample(), process_time(), self.server.database_cpu_s())

    def _measure_single(self) -> Steps:
        """The peer, in the server's place."""
        command = [*pinned(SERVER_CORE), sys.executable, "-m", "tools.bench.single"]
        arguments = self.server.database_dsn(), str(self.setting.seconds)
        self._peer = subprocess.Popen([*command, *arguments], stdout=subprocess.PIPE)
        while self._peer.poll() is None:
            yield
        assert self._peer.stdout is not None
        said = self._peer.stdout.read()
        if self._peer.returncode:
            raise BenchError("the peer, tools.bench.single, ended with an error")
        self.single = json.loads(said)

    def _come(self) -> Steps:
        """Those who walk, from a process of their own."""
        context = multiprocessing.get_context("spawn")
        self._crowd = context.Process(target=_walk, args=(self.server.url, self.setting.walkers), daemon=True)
        self._crowd.start()
        wanted, latest_s = self.setting.walkers + self.setting.actors, monotonic() + COMING_S_MAX
        while self.server.sample().metrics["landworld_players"] < wanted:
            if monotonic() > latest_s:
                raise BenchError("not all of those who walk came")
            yield

    # --- figures ---

    def figures(self) -> dict[str, Any]:
        """Everything; keys end in their unit."""
        by_name: dict[str, list[dict[str, Any]]] = {}
        for stage in self.stages:
            by_name.setdefault(stage["stage"], []).append(stage)
        if "crowded" not in by_name:
            raise BenchError("stopped before the end")
        (most,), (half,), (crowded,) = by_name["most"], by_name["half"], by_name["crowded"]
        single_per_s = self.single["actions"] / self.single["seconds"]

        def ratio(key: str) -> float:
            still, some = (sum(float(one[key]) for one in by_name[name]) for name in ("still", "some"))
            return round(some / still, 3)

        return {
            "actions_per_s": most["actions_per_s"],
            "ack_ms_p50": half["ack_ms_p50"],
            "ack_ms_p99": half["ack_ms_p99"],
            "tick_ms_p99": crowded["tick_ms_p99"],
            "told_ms_p99": crowded["told_ms_p99"],
            "ratio_to_single_transactions": round(most["actions_per_s"] / single_per_s, 2),
            "single_transactions_per_s": round(single_per_s, 1),
            "actions_per_s_crowded": crowded["actions_per_s"],
            "tick_ratio_some": ratio("tick_ms_p99"),
            "told_ratio_some": ratio("told_ms_p99"),
            "database_core": self.setting.database_core,
            "stages": self.stages,
        }


def _walk(url: str, count: int) -> None:
    """In a process of its own: those who walk."""
    Fleet(Plan(target=parse_target(url), count=count, seconds=0, resident=True, seed=2)).run()


def stage_figures(
    name: str, before: Moment, after: Moment, acks: int, acks_ms: list[float]
) -> dict[str, Any]:
    """One stage: what was answered, how long that took, and what it cost whom."""
    seconds = after.server.at_s - before.server.at_s
    spent_s = {
        "server": after.server.cpu_s - before.server.cpu_s,
        "database": after.database_cpu_s - before.database_cpu_s,
        "load": after.load_cpu_s - before.load_cpu_s,
    }
    return {
        "stage": name,
        "seconds": round(seconds, 2),
        "actions_per_s": round(acks / seconds, 1),
        "ack_ms_p50": _round(percentile(acks_ms, 0.5)),
        "ack_ms_p99": _round(percentile(acks_ms, 0.99)),
        **tick_figures(before.server, after.server),
        "server_waited_share": round((after.server.waited_s - before.server.waited_s) / seconds, 3),
        **{f"{who}_cpu_share": round(cpu_s / seconds, 3) for who, cpu_s in spent_s.items()},
        **{f"{who}_us_per_action": _each(cpu_s, acks) for who, cpu_s in spent_s.items()},
    }


def _each(cpu_s: float, acks: int) -> float | None:
    return round(cpu_s * 1e6 / acks, 1) if acks else None


def _in_words(stage: dict[str, Any]) -> str:
    """A stage for people."""
    shares = ", ".join(f"{who} {stage[f'{who}_cpu_share']:.0%}" for who in ("server", "database", "load"))
    each = [stage[f"{who}_us_per_action"] for who in ("server", "database", "load")]
    return (
        f"{stage['stage']:8} {stage['actions_per_s']:8,.0f} actions/s, ack p50 {stage['ack_ms_p50']} p99 {stage['ack_ms_p99']} ms, "
        f"tick p99 {stage['tick_ms_p99']} ms, told {stage['told_ms_p99']} ms; of a core: {shares}; us an action: {each}"
    )


def _round(value: float | None) -> float | None:
    return None if value is None else round(value, 2)
