"""`landworld bench storm`: does a storm of sign-ins slow down those who play?

People walk the whole time. Measured are three stages of one run, each of --seconds:

    before   nobody signs in
    storm    so many a second begin to sign in with their password, each over a socket of its own, whatever became of those before
    after    nobody does any more

What the storm moves is the tick's p99 in it against the mean of that before and after. How many a core can let in is what it can hash
(Argon2id, `accounts.argon2_*`); whoever comes besides waits or is refused with the time to wait, and counted by the code.
"""

import argparse
import asyncio
import json
import multiprocessing
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from time import perf_counter
from typing import Any

from rich.console import Console

from tools.bench.attend import Look, drive, kept, look_at, room_for, show, sources_for, tick_figures
from tools.bench.held import Target
from tools.bench.live import LiveServer, live_server, on_load
from tools.bots.fleet import Fleet, Plan, parse_target
from tools.logins import UNLIMITED, sign_in_all, storm

RATE, PLAYERS, SECONDS = 50.0, 1_000, 30.0
IN_SIGHT = 36
ACCOUNTS = 100  # who sign in by turns
MOVED_SHARE_MAX = 0.10
SETTLE_S = 5.0
REST_S = 3.0  # after the last answer


@dataclass(frozen=True, slots=True)
class Setting:
    """What is asked of the run."""

    rate: float = RATE
    players: int = PLAYERS
    seconds: float = SECONDS


def targets(setting: Setting) -> tuple[Target, ...]:
    """What is promised."""
    return (
        Target("players held", "players_held", least=setting.players),
        Target("tick p99, times without", "tick_ratio", most=1 + MOVED_SHARE_MAX),
        Target("signed in", "granted", least=1),
        Target("sign-ins without an answer", "unanswered", most=0),
        Target("players' errors", "errors", most=0),
        Target("players' lost lines", "lost", most=0),
    )


def add_parser(sub: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register `landworld bench storm`."""
    parser = sub.add_parser("storm", help="do sign-ins by the dozen slow down the tick?", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--rate", type=float, default=RATE, metavar="PER_S", help="(default %(default)g)")
    parser.add_argument(
        "--players", type=int, default=PLAYERS, metavar="N", help="who walk (default %(default)s)"
    )
    parser.add_argument(
        "--seconds", type=float, default=SECONDS, metavar="S", help="of each stage (default %(default)g)"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line")
    parser.set_defaults(run=run)


@on_load
def run(args: argparse.Namespace) -> int:
    """Run the command; exit code 1 when a promise was missed, 2 when it could not run."""
    setting = Setting(args.rate, args.players, args.seconds)
    found = measure(setting)
    console, promised = Console(stderr=args.json), targets(setting)
    show(found, promised, console)
    for name, stage in found["stages"].items():
        console.print(
            f"{name:6} tick p50 {stage['tick_ms_p50']} ms, p99 {stage['tick_ms_p99']} ms, {stage['tick_hz']} a second; "
            f"server {stage['server_cpu_share']:.0%} of a core",
            soft_wrap=True,
            highlight=False,
        )
    console.print(
        f"of {found['begun']:,} sign-ins {found['granted']:,} were granted, answered after {found['answer_ms_p50']} ms (p50); "
        f"refused: {found['refused'] or 'none'}",
        soft_wrap=True,
        highlight=False,
    )
    if args.json:
        print(json.dumps(found))
    return 0 if kept(found, promised) else 1


def measure(setting: Setting) -> dict[str, Any]:
    """The whole run."""
    context = multiprocessing.get_context("spawn")
    names = [f"Sleeper-{number}" for number in range(1, ACCOUNTS + 1)]
    with live_server(room_for(setting.players, IN_SIGHT, **UNLIMITED)) as server:
        asyncio.run(sign_in_all(server.url, names))
        ours, theirs = context.Pipe()
        raging = context.Process(target=_rage, args=(server.url, names, setting, theirs), daemon=True)
        raging.start()
        plan = Plan(
            target=parse_target(server.url),
            count=setting.players,
            seconds=0,
            sources=sources_for(setting.players),
            settle_s=SETTLE_S,
        )
        fleet = Fleet(plan)
        course = Course(server, setting, ours, fleet.stop)
        fleet.on_window = course.begin
        try:
            result = drive(fleet, server, course.look)
        finally:
            raging.terminate()
            raging.join()
    return {
        **course.figures(),
        "players": result.wanted,
        "players_held": result.players,
        "errors": result.tally.errors.total(),
        "lost": result.tally.lost,
    }


def _rage(url: str, names: list[str], setting: Setting, line: Connection) -> None:
    """In a process of its own: those who sign in, once they are told to."""
    line.recv()
    figures = asyncio.run(storm(url, names, setting.rate, setting.seconds))
    line.send(figures.report(setting.seconds))


@dataclass(slots=True)
class Course:
    """The run's stages, one after the other."""

    server: LiveServer
    setting: Setting
    line: Connection  # to the storm: told to begin, it answers when it is over
    end: Callable[[], None]
    stages: dict[str, tuple[Look, Look]] = field(default_factory=dict)
    storm: dict[str, Any] = field(default_factory=dict)
    _now: str = ""
    _began: Look | None = None

    def begin(self, begins: bool) -> None:
        """Everybody is there."""
        if begins:
            self._enter("before")

    def look(self) -> None:
        """Now and then: is this stage over?"""
        if self._began is None:
            return
        over = perf_counter() - self._began.sample.at_s >= (
            REST_S if self._now == "rest" else self.setting.seconds
        )
        match self._now:
            case "before" if over:
                self._enter("storm")
                self.line.send("begin")
            case "storm" if over:
                self._enter("last answers")
            case "last answers" if self.line.poll():
                self.storm = self.line.recv()
                self._enter("rest")
            case "rest" if over:
                self._enter("after")
            case "after" if over:
                self._enter("")
                self.end()

    def _enter(self, name: str) -> None:
        now = look_at(self.server)
        if self._began is not None:
            self.stages[self._now] = self._began, now
        self._now, self._began = name, now if name else None

    def figures(self) -> dict[str, Any]:
        """Everything; keys end in their unit."""
        stages = {
            name: {
                **tick_figures(began.sample, ended.sample),
                "server_cpu_share": round(ended.cpu_share(began), 3),
            }
            for name, (began, ended) in self.stages.items()
            if name in ("before", "storm", "after")
        }
        without = (stages["before"]["tick_ms_p99"] + stages["after"]["tick_ms_p99"]) / 2
        return {
            **self.storm,
            "begun": round(self.setting.rate * self.setting.seconds),
            "unanswered": self.storm["lost"],
            "tick_ms_p99": stages["storm"]["tick_ms_p99"],
            "tick_ms_p99_without": round(without, 2),
            "tick_ratio": round(stages["storm"]["tick_ms_p99"] / without, 3),
            "stages": stages,
        }
