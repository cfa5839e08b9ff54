"""`landworld bench soak`: an hour of walking, and does anything grow, or get lost?

Bots walk; every SAMPLE_S the memory of all processes of the server is noted (the database's is not). With gateways, one of them is
killed every so often, and everybody whose line it held must be back before the next is. The run fails when memory after the warm-up
grows by more than GROWTH_SHARE_MAX, when somebody does not come back, or at any error.
"""

import argparse
import json
import os
import signal
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from time import monotonic
from typing import Any

from rich.console import Console

from tools.bench.attend import Look, kept, look_at, room_for, show, sources_for
from tools.bench.held import Target
from tools.bench.live import BenchError, LiveServer, ServerProcess, live_server, on_load
from tools.bots.fleet import Fleet, Plan, parse_target
from tools.bots.report import Run, percentile

MINUTES, PLAYERS = 60.0, 2_000
IN_SIGHT = 36
SAMPLE_S = 10.0
WARM_UP_S = 300.0  # buffers, caches and ground fill; of a short run, a quarter
GROWTH_SHARE_MAX = 0.05
WEIGHED_SHARE = 0.1  # of the samples after the warm-up: so many first and last ones are compared
BACK_S = 20.0  # after the last kill, until the end
SAY_S = 60.0


@dataclass(frozen=True, slots=True)
class Setting:
    """What is asked of the run."""

    minutes: float = MINUTES
    players: int = PLAYERS
    gateways: int = 0
    kill_every_s: float = 0.0  # 0 is never
    sample_s: float = SAMPLE_S
    seed: int = 1

    @property
    def seconds(self) -> float:
        """The measured time."""
        return self.minutes * 60

    @property
    def warm_up_s(self) -> float:
        """What grows until then is no growth."""
        return min(WARM_UP_S, self.seconds / 4)


def targets(setting: Setting) -> tuple[Target, ...]:
    """What is promised."""
    return (
        Target("players at the end", "players_held", least=setting.players),
        Target("memory grown by, share", "memory_growth_share", most=GROWTH_SHARE_MAX),
        Target("kills after which not all came back", "kills_not_mended", most=0),
        Target("errors", "errors", most=0),
    )


def add_parser(sub: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register `landworld bench soak`."""
    parser = sub.add_parser("soak", help="an hour of walking: does memory grow?", description=__doc__)
    parser.add_argument("--minutes", type=float, default=MINUTES, metavar="M", help="measured (default 60)")
    parser.add_argument(
        "--players", type=int, default=PLAYERS, metavar="N", help=f"bots that walk (default {PLAYERS})"
    )
    parser.add_argument(
        "--gateways", type=int, default=0, metavar="N", help="gateway processes (default 0: none)"
    )
    parser.add_argument(
        "--kill-every",
        type=float,
        default=0.0,
        metavar="S",
        help="kill one of them so often (default: never)",
    )
    parser.add_argument("--seed", type=int, default=1, metavar="K", help="of all decisions (default 1)")
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="memory over time as an image")
    parser.set_defaults(run=run)


@on_load
def run(args: argparse.Namespace) -> int:
    """Run the command; exit code 1 when a promise was missed, 2 when it could not run."""
    setting = Setting(args.minutes, args.players, args.gateways, args.kill_every, seed=args.seed)
    console = Console(stderr=args.json)
    found = measure(setting, Console(stderr=True))
    promised = targets(setting)
    show(found, promised, console)
    console.print(said(found), soft_wrap=True, highlight=False)
    if args.picture is not None:
        picture(found, args.picture)
    if args.json:
        print(json.dumps(found))
    return 0 if kept(found, promised) else 1


def measure(setting: Setting, console: Console) -> dict[str, Any]:
    """The whole run. Raises BenchError when nothing could be measured."""
    if setting.kill_every_s and not setting.gateways:
        raise BenchError("there is nothing to kill: give --gateways")
    more = {"server.gateways": setting.gateways} if setting.gateways else {}
    settings = room_for(setting.players, IN_SIGHT, **more)
    with live_server(settings) as server:
        fleet = Fleet(
            Plan(
                target=parse_target(server.url),
                count=setting.players,
                seconds=setting.seconds,
                seed=setting.seed,
                sources=sources_for(setting.players),
            )
        )
        watch = Watch(server, fleet, setting, console)
        fleet.on_window = watch.begin
        fleet.on_progress = lambda fleet: watch.look()
        result = fleet.run()
    return watch.figures(result)


@dataclass(frozen=True, slots=True)
class Memory:
    """The server's memory at one moment."""

    at_s: float  # since the measured time began
    simulation_kib: int
    gateways_kib: int

    @property
    def kib(self) -> int:
        """Of all processes."""
        return self.simulation_kib + self.gateways_kib


@dataclass(slots=True)
class Watch:
    """Looks at the server, kills its gateways, and says how it goes."""

    server: LiveServer
    fleet: Fleet
    setting: Setting
    console: Console
    memory: list[Memory] = field(default_factory=list)
    kills_at_s: list[float] = field(default_factory=list)
    not_mended: int = 0
    first: Look | None = None
    last: Look | None = None
    _began_s: float = 0.0
    _due_s: dict[str, float] = field(default_factory=dict)
    _random: Random = field(default_factory=lambda: Random(0))  # noqa: S311 (which one to kill is no secret)

    def begin(self, begins: bool) -> None:
        """The measured time begins, or ends."""
        if not begins:
            self._count_mended()
            self.last = look_at(self.server)
            return
        self._random.seed(self.setting.seed)
        self.first, self._began_s = look_at(self.server), monotonic()
        self._due_s = {"sample": 0.0, "say": SAY_S, "kill": self.setting.kill_every_s or self.setting.seconds}

    def look(self) -> None:
        """Does what is due."""
        self.server.check_alive()
        if self.first is None or self.last is not None:
            return
        now_s = monotonic() - self._began_s
        for name, every_s, do in (
            ("sample", self.setting.sample_s, self._sample),
            ("kill", self.setting.kill_every_s, self._kill),
            ("say", SAY_S, self._say),
        ):
            if now_s >= self._due_s[name]:
                self._due_s[name] += every_s
                do(now_s)

    def _sample(self, now_s: float) -> None:
        simulation_kib = ServerProcess.rss_kib(self.server)
        self.memory.append(Memory(now_s, simulation_kib, max(0, self.server.rss_kib() - simulation_kib)))

    def _kill(self, now_s: float) -> None:
        """One gateway, if everybody has the time to come back before the end."""
        if now_s > self.setting.seconds - min(BACK_S, self.setting.kill_every_s):
            self._due_s["kill"] = float("inf")
            return
        self._count_mended()
        gateways = self.server.gateways()
        if len(gateways) < self.setting.gateways:
            raise BenchError(
                f"{len(gateways)} of {self.setting.gateways} gateways run; none was started again?"
            )
        os.kill(self._random.choice(gateways), signal.SIGKILL)
        self.kills_at_s.append(now_s)

    def _count_mended(self) -> None:
        """Is everybody back after the last kill?"""
        if self.kills_at_s and self.fleet.players < self.setting.players:
            self.not_mended += 1

    def _say(self, now_s: float) -> None:
        tally = self.fleet.tally
        self.console.print(
            f"{now_s / 60:.0f} min: {self.fleet.players:,} players, {self.memory[-1].kib / 1024:,.0f} MiB, "
            f"{len(self.kills_at_s)} kills, {tally.lost:,} lines lost, {len(tally.returns_ms):,} back, "
            f"{tally.errors.total()} errors",
            highlight=False,
        )

    def figures(self, result: Run) -> dict[str, Any]:
        """Everything; keys end in their unit."""
        if self.first is None or self.last is None:
            raise BenchError("stopped before anything was measured")
        warm = [one for one in self.memory if one.at_s >= self.setting.warm_up_s]
        start, end = ends([one.kib for one in warm])
        tally = result.tally
        resumed = "landworld_resumed_total"
        return {
            "players": result.wanted,
            "players_held": result.players,
            "minutes": round(tally.seconds / 60, 2),
            "gateways": self.setting.gateways,
            "kills": len(self.kills_at_s),
            "kills_not_mended": self.not_mended,
            "lost": tally.lost,
            "returned": len(tally.returns_ms),
            "resumed": int(self.last[resumed] - self.first[resumed]),
            "return_ms_p50": _round(percentile(tally.returns_ms.values, 0.5)),
            "return_ms_p99": _round(percentile(tally.returns_ms.values, 0.99)),
            "errors": tally.errors.total(),
            "errors_by_reason": dict(tally.errors.most_common()),
            "warm_up_s": self.setting.warm_up_s,
            "memory_mib_warm": _round(None if start is None else start / 1024),
            "memory_mib_end": _round(None if end is None else end / 1024),
            "memory_growth_share": None if not start or end is None else round(end / start - 1, 4),
            "memory_kib": [[round(one.at_s, 1), one.simulation_kib, one.gateways_kib] for one in self.memory],
            "kills_at_s": [round(one, 1) for one in self.kills_at_s],
        }


def ends(values: Sequence[float]) -> tuple[float | None, float | None]:
    """The medians of the first and of the last samples; None without any. A gateway that starts moves a median little."""
    if not values:
        return None, None
    count = max(1, round(len(values) * WEIGHED_SHARE))
    return statistics.median(values[:count]), statistics.median(values[-count:])


def said(found: dict[str, Any]) -> str:
    """The run in a sentence."""
    back = (
        f", back after {found['return_ms_p50']:,.0f} ms (p50)" if found["return_ms_p50"] is not None else ""
    )
    return (
        f"{found['minutes']:.1f} minutes, {found['kills']} gateways killed: {found['lost']:,} lines lost, "
        f"{found['returned']:,} returns{back}, {found['resumed']:,} resumed where they stood; "
        f"memory {found['memory_mib_warm']} MiB after the warm-up, {found['memory_mib_end']} MiB at the end"
    )


def picture(found: dict[str, Any], path: Path) -> None:
    """Memory over time, and when gateways were killed, as an image file."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # slow to import, seldom needed
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained", dpi=150)
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    minutes = [at_s / 60 for at_s, *_ in found["memory_kib"]]
    simulation = [kib / 1024 for _, kib, _ in found["memory_kib"]]
    whole = [(kib + more) / 1024 for _, kib, more in found["memory_kib"]]
    if found["gateways"]:
        axes.plot(minutes, whole, color="#b5642f", label="all processes")
    axes.plot(minutes, simulation, color="#2f6f73", label="simulation" if found["gateways"] else "the server")
    for at_s in found["kills_at_s"]:
        axes.axvline(at_s / 60, color="#999999", linewidth=0.5)
    axes.axvline(found["warm_up_s"] / 60, color="#333333", linewidth=0.8, linestyle=(0, (4, 3)))
    axes.set_ylim(bottom=0)
    axes.set_xlabel("minutes")
    axes.set_ylabel("resident memory, MiB")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    axes.set_title(
        f"{found['players']:,} players, {found['kills']} gateways killed (grey), {found['errors']} errors; "
        "the dashed line ends the warm-up",
        fontsize=9,
        loc="left",
    )
    figure.savefig(path)


def _round(value: float | None) -> float | None:
    return None if value is None else round(value, 1)
