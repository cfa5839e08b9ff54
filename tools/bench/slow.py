"""`landworld bench slow`: do clients that never read slow down those who do?

Readers walk the whole time. Measured are four stages of one run:

    before    only readers
    filling   so many come who never read (tools/bots/deaf.py), and all that waits for them grows
    full      the server holds back from all of them; it gives them --seconds here before it closes them
    after     all were closed as TOO_SLOW; only readers again

What the slow ones move is the p99 of `full` against that of `before` and `after` together. What each costs at most is what the server's
memory grew by, and the bytes that the kernel holds for its socket.
"""

import argparse
import json
import multiprocessing
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.synchronize import Event
from pathlib import Path
from time import monotonic
from typing import Any

from rich.console import Console

from server.config import LimitsConfig
from server.connection import SEND_BUFFER_BYTES
from tools.bench.attend import Look, drive, kept, look_at, room_for, show, sources_for
from tools.bench.held import Target
from tools.bench.live import BenchError, LiveServer, live_server, on_load
from tools.bots.deaf import ASKED_PER_S, Deaf
from tools.bots.fleet import Fleet, Plan, parse_target
from tools.bots.report import Run, Samples, percentile

SLOW, PLAYERS, SECONDS = 500, 1_500, 30
IN_SIGHT = 36
MOVED_SHARE_MAX = 0.10
CONNECTION_KIB = 40  # what any connection may cost besides what waits for it
SETTLE_S = 5.0
LOOK_S = 1.0  # between two looks at the server
COMING_S_MAX = 60.0  # for the slow ones to arrive; a second for every RAMP_PER_S of them besides
FILLING_S_MAX = 180.0
CLOSING_S_MAX = 60.0
SPREAD_S = 60.0
RESTING_S = 3.0  # after the last was closed, until their process is gone
RAMP_PER_S = 100
HELD_BACK_SHARE = 0.99  # of the slow, in which skipped snapshots show that all are held back; a tenth that still fills moves the p99
TOO_SLOW = "landworld_closed_total{'code': 'TOO_SLOW'}"
# socket(7): the kernel doubles SO_SNDBUF, for its own book-keeping; and it looks at it only before each piece of up to 64 KiB.
KEPT_BY_KERNEL = 2 * SEND_BUFFER_BYTES + 65_536


@dataclass(frozen=True, slots=True)
class Setting:
    """What is asked of the run."""

    slow: int = SLOW
    players: int = PLAYERS
    seconds: float = SECONDS
    outbox_bytes_max: int = LimitsConfig().outbox_bytes_max
    asked_per_s: int = ASKED_PER_S  # chunks, by each slow one
    spread_s: float = (
        SPREAD_S  # between the first that is held back and the last: their ground is not equally large
    )

    @property
    def budget_kib(self) -> float:
        """What one that does not read may cost the server's process."""
        return self.outbox_bytes_max / 1024 + CONNECTION_KIB


def targets(setting: Setting) -> tuple[Target, ...]:
    """What is promised."""
    most = 1 + MOVED_SHARE_MAX
    return (
        Target("readers held", "players_held", least=setting.players),
        Target("between their snapshots p99, times", "interval_ratio", most=most),
        Target("input to a neighbour p99, times", "input_to_neighbour_ratio", most=most),
        Target("closed as TOO_SLOW", "closed_too_slow", least=setting.slow, most=setting.slow),
        Target("memory for each slow one, KiB", "memory_kib_per_slow", most=setting.budget_kib),
        Target("in the kernel for one, KiB", "kernel_queue_kib_max", most=KEPT_BY_KERNEL / 1024),
        Target("readers' errors", "errors", most=0),
        Target("readers' lost lines", "lost", most=0),
    )


def add_parser(sub: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register `landworld bench slow`."""
    parser = sub.add_parser(
        "slow", help="do clients that never read slow down the others?", description=__doc__
    )
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "--slow", type=int, default=SLOW, metavar="N", help=f"who never read (default {SLOW})"
    )
    parser.add_argument(
        "--players", type=int, default=PLAYERS, metavar="N", help=f"who read and walk (default {PLAYERS})"
    )
    parser.add_argument(
        "--seconds", type=float, default=SECONDS, metavar="S", help=f"of each stage (default {SECONDS})"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line")
    parser.set_defaults(run=run)


@on_load
def run(args: argparse.Namespace) -> int:
    """Run the command; exit code 1 when a promise was missed, 2 when it could not run."""
    setting = Setting(args.slow, args.players, args.seconds)
    found = measure(setting)
    console, promised = Console(stderr=args.json), targets(setting)
    show(found, promised, console)
    for stage in ("before", "filling", "full", "after"):
        one = found["stages"][stage]
        console.print(
            f"{stage:8} {one['seconds']:5.0f} s: between snapshots p99 {one['interval_ms_p99']} ms, "
            f"input to a neighbour p99 {one['input_to_neighbour_ms_p99']} ms, "
            f"server {one['server_cpu_share']:.0%} of a core",
            soft_wrap=True,
            highlight=False,
        )
    if args.json:
        print(json.dumps(found))
    return 0 if kept(found, promised) else 1


def measure(setting: Setting) -> dict[str, Any]:
    """The whole run."""
    everyone = setting.players + setting.slow
    settings = room_for(
        everyone,
        IN_SIGHT,
        **{
            "limits.slow_client_s": setting.seconds + setting.spread_s,
            "limits.outbox_bytes_max": setting.outbox_bytes_max,
            "limits.hellos_per_address.burst": everyone,
        },
    )
    context = multiprocessing.get_context("spawn")
    with live_server(settings) as server:
        come = context.Event()
        slow = context.Process(target=_be_slow, args=(server.url, setting, come), daemon=True)
        slow.start()
        fleet = Fleet(
            Plan(
                target=parse_target(server.url),
                count=setting.players,
                seconds=0,
                sources=sources_for(everyone),
                settle_s=SETTLE_S,
            )
        )
        course = Course(server, fleet, setting, come.set, slow.terminate)
        fleet.on_window = course.begin
        try:
            result = drive(fleet, server, course.look)
        finally:
            slow.terminate()
            slow.join()
    return course.figures(result)


def _be_slow(url: str, setting: Setting, come: Event) -> None:
    """In a process of its own: those who do not read."""
    Deaf.asked_per_s = setting.asked_per_s
    come.wait()
    plan = Plan(target=parse_target(url), count=setting.slow, seconds=0, ramp_per_s=RAMP_PER_S, seed=2)
    Fleet(plan, Deaf).run()


@dataclass(slots=True)
class Stage:
    """A stretch of the run: what the server was like at both ends, and which samples the readers' watchers took."""

    name: str
    began: Look
    counts: tuple[int, int]
    ended: Look | None = None
    counts_end: tuple[int, int] = (0, 0)


@dataclass(slots=True)
class Course:
    """The run's stages, one after the other, each ended by what is seen of the server."""

    server: LiveServer
    fleet: Fleet
    setting: Setting
    let_come: Any  # called once, when the slow ones shall come,
    send_away: Any  # and when their process shall end
    stages: list[Stage] = field(default_factory=list)
    rss_kib_max: int = 0
    queue_bytes_max: int = 0
    players: int = 0  # readers at the end
    _next_s: float = 0.0
    _last: Look | None = None

    def begin(self, begins: bool) -> None:
        """The measured time begins, or ends."""
        if begins:
            self._enter("before", look_at(self.server))
        elif self.stages[-1].ended is None:
            self._close(look_at(self.server))

    def look(self) -> None:
        """Now and then: is this stage over?"""
        if not self.stages or self.stages[-1].ended is not None or monotonic() < self._next_s:
            return
        self._next_s = monotonic() + LOOK_S
        now, before = look_at(self.server), self._last
        self._last = now
        self.rss_kib_max = max(self.rss_kib_max, now.rss_kib)
        if before is not None:
            _NEXT[self.stages[-1].name](self, now, before)

    def _enter(self, name: str, now: Look) -> None:
        if self.stages:
            self._close(now)
        self.stages.append(Stage(name, now, self._counts()))

    def _close(self, now: Look) -> None:
        self.stages[-1].ended, self.stages[-1].counts_end = now, self._counts()

    def _counts(self) -> tuple[int, int]:
        return len(self.fleet.tally.intervals_ms), len(self.fleet.tally.latencies_ms)

    def _lasted_s(self, now: Look) -> float:
        return now.sample.at_s - self.stages[-1].began.sample.at_s

    # --- what ends each stage ---

    def _before(self, now: Look, last: Look) -> None:
        if self._lasted_s(now) >= self.setting.seconds / 2:
            self._enter("coming", now)
            self.let_come()

    def _coming(self, now: Look, last: Look) -> None:
        if now["landworld_connections"] >= self.setting.players + self.setting.slow:
            self._enter("filling", now)
        elif self._lasted_s(now) > COMING_S_MAX + self.setting.slow / RAMP_PER_S:
            raise BenchError("those who do not read did not come")

    def _filling(self, now: Look, last: Look) -> None:
        skipped = now["landworld_skipped_snapshots_total"] - last["landworld_skipped_snapshots_total"]
        ticks = now["landworld_tick"] - last["landworld_tick"]
        if skipped >= HELD_BACK_SHARE * self.setting.slow * ticks:
            self._enter("full", now)
        elif self._lasted_s(now) > FILLING_S_MAX:
            closed = f", and {now[TOO_SLOW]:.0f} were closed before the others" if now[TOO_SLOW] else ""
            raise BenchError(f"not all of those who do not read were held back{closed}")

    def _full(self, now: Look, last: Look) -> None:
        lasted_s = self._lasted_s(now)
        if now[TOO_SLOW] or lasted_s >= self.setting.seconds:
            self._enter("closing", now)
        elif lasted_s >= self.setting.seconds / 2 and not self.queue_bytes_max:
            port = self.fleet.plan.target.port
            self.queue_bytes_max = max(sent_not_taken(Path("/proc/net/tcp").read_text(), port), default=0)

    def _closing(self, now: Look, last: Look) -> None:
        if now[TOO_SLOW] >= self.setting.slow:
            self.send_away()
            self._enter("resting", now)
        elif self._lasted_s(now) > CLOSING_S_MAX + self.setting.seconds + self.setting.spread_s:
            raise BenchError(f"only {now[TOO_SLOW]:.0f} of {self.setting.slow} were closed as too slow")

    def _resting(self, now: Look, last: Look) -> None:
        if self._lasted_s(now) >= RESTING_S:
            self._enter("after", now)

    def _after(self, now: Look, last: Look) -> None:
        if self._lasted_s(now) >= self.setting.seconds / 2:
            self._close(now)
            self.fleet.stop()

    # --- figures ---

    def figures(self, result: Run) -> dict[str, Any]:
        """Everything; keys end in their unit."""
        stages = {stage.name: stage for stage in self.stages}
        if "after" not in stages or stages["after"].ended is None:
            raise BenchError("stopped before the end")
        quiet, full = [stages["before"], stages["after"]], [stages["full"]]
        tally = result.tally
        interval = self._p99(tally.intervals_ms, 0, full), self._p99(tally.intervals_ms, 0, quiet)
        latency = self._p99(tally.latencies_ms, 1, full), self._p99(tally.latencies_ms, 1, quiet)
        return {
            "slow": self.setting.slow,
            "players": result.wanted,
            "players_held": result.players,
            "interval_ms_p99_with": _round(interval[0]),
            "interval_ms_p99_without": _round(interval[1]),
            "interval_ratio": ratio(*interval),
            "input_to_neighbour_ms_p99_with": _round(latency[0]),
            "input_to_neighbour_ms_p99_without": _round(latency[1]),
            "input_to_neighbour_ratio": ratio(*latency),
            "probes_with": sum(end[1] - start[1] for start, end in map(_ends, full)),
            "memory_kib_per_slow": round(
                (self.rss_kib_max - stages["coming"].began.rss_kib) / self.setting.slow, 1
            ),
            "budget_kib_per_slow": self.setting.budget_kib,
            "kernel_queue_kib_max": round(self.queue_bytes_max / 1024, 1),
            "closed_too_slow": int(stages["after"].ended[TOO_SLOW]),
            "lost": tally.lost,
            "errors": tally.errors.total(),
            "errors_by_reason": dict(tally.errors.most_common()),
            "stages": {name: self._stage(stage, tally) for name, stage in stages.items()},
        }

    def _stage(self, stage: Stage, tally: Any) -> dict[str, Any]:
        assert stage.ended is not None
        seconds = stage.ended.sample.at_s - stage.began.sample.at_s
        return {
            "seconds": round(seconds, 1),
            "interval_ms_p99": _round(self._p99(tally.intervals_ms, 0, [stage])),
            "input_to_neighbour_ms_p99": _round(self._p99(tally.latencies_ms, 1, [stage])),
            "server_cpu_share": round(stage.ended.cpu_share(stage.began), 3),
        }

    @staticmethod
    def _p99(samples: Samples, kind: int, stages: Sequence[Stage]) -> float | None:
        values: list[float] = []
        for start, end in map(_ends, stages):
            values += samples.values[start[kind] : end[kind]]
        return percentile(values, 0.99)


_NEXT = {
    "before": Course._before,
    "coming": Course._coming,
    "filling": Course._filling,
    "full": Course._full,
    "closing": Course._closing,
    "resting": Course._resting,
    "after": Course._after,
}


def _ends(stage: Stage) -> tuple[tuple[int, int], tuple[int, int]]:
    return stage.counts, stage.counts_end


def ratio(with_them: float | None, without: float | None) -> float | None:
    """How many times as long with them; None where one was not measured."""
    return round(with_them / without, 3) if with_them is not None and without else None


def sent_not_taken(text: str, port: int) -> list[int]:
    """Bytes in the send queue of each connection of a server on `port`, out of /proc/net/tcp (proc(5))."""
    found = []
    for line in text.splitlines()[1:]:
        _, local, remote, _, queues, *_ = line.split()
        if int(local.rpartition(":")[2], 16) == port and int(remote.rpartition(":")[2], 16):
            found.append(int(queues.partition(":")[0], 16))
    return found


def _round(value: float | None) -> float | None:
    return None if value is None else round(value, 2)
