"""`landworld bench crowd`: how large a crowd one server process carries, and how near to the floor that is.

Starts a server of its own on core 0 and bots on core 1 (the embedded database too), spreads the players over so much land that each
has about 36 others in sight (as with four to a 32 x 32 cell, were there no water), measures for some seconds, and then measures the
floor (floor.py) in the same run: as many connections, messages of the same sizes, sent by a program that does nothing else. A
*frame* here is one delivery: all that one client gets of one tick, which is one write of the server and one read of the bot.
"""

import argparse
import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from protocol.snapshot import CELL_TILES
from server.config import WorldConfig
from server.spawn import WALK_MIN
from tools.bench.floor import SIZES_MAX, Floor, measure_floor
from tools.bench.live import (
    BenchError,
    LiveServer,
    Sample,
    cores_apart,
    histogram_percentile,
    live_server,
    on_load_core,
)
from tools.bots import report
from tools.bots.fleet import Fleet, FleetError, Plan, parse_target
from tools.bots.progress import Progress
from world.terrain import Terrain, walk_speed

IN_SIGHT = 36
RADIUS_TILES_MAX = 8192
TICK_HZ = 20
FLOOR_S = 10
WAITED_SHARE_MAX = 0.05
ROOM = 64  # connections beside the bots'
SETTLE_S = 5.0  # from the last welcome to the measured time: the ground is made, the ladder at rest

TICK = "landworld_tick_seconds"


@dataclass(frozen=True, slots=True)
class Target:
    """One promise: a figure and where it should lie."""

    label: str
    key: str
    least: float = -math.inf
    most: float = math.inf

    def met(self, value: float | None) -> bool:
        """Whether a figure keeps the promise."""
        return value is not None and self.least <= value <= self.most

    @property
    def wanted(self) -> str:
        """The promise in words."""
        if self.least > -math.inf and self.most < math.inf:
            return f"{self.least:g} to {self.most:g}"
        return f"at least {self.least:g}" if self.least > -math.inf else f"at most {self.most:g}"


def targets(players: int) -> tuple[Target, ...]:
    """What is promised for a crowd of that size."""
    return (
        Target("players held", "players_held", least=players),
        Target("ticks a second", "tick_hz", least=TICK_HZ * 0.99),
        Target("tick p99, ms", "tick_ms_p99", most=1000 / TICK_HZ),
        Target("in sight of each", "in_sight_mean", least=30, most=42),
        Target("input to a neighbour p99, ms", "input_to_neighbour_ms_p99", most=150),
        Target("to each client, B/s", "bytes_per_s_per_client", most=9000),
        Target("CPU per frame, times the floor's", "floor_ratio", most=2.0),
        Target("memory per connection, KiB", "memory_kib_per_connection", most=40),
        Target("step of the ladder", "ladder_step", most=0),
        Target("errors", "errors", most=0),
    )


def add_parser(sub: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register `landworld bench crowd`."""
    parser = sub.add_parser(
        "crowd",
        help="a crowd on one server, and what sending alone would cost",
        description=__doc__,
        epilog="Exit codes: 0 all promises kept, 1 a promise missed or an error, 2 it could not run.",
    )
    parser.add_argument("--players", type=int, default=2000, metavar="N", help="(default 2000)")
    parser.add_argument("--seconds", type=int, default=30, metavar="S", help="measured time (default 30)")
    parser.add_argument(
        "--ramp", type=int, default=200, metavar="PER_S", help="players that come a second (default 200)"
    )
    parser.add_argument("--seed", type=int, default=1, metavar="K", help="of the bots' decisions (default 1)")
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="histograms as an image")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command; exit code 1 when a promise was missed or anything went wrong, 2 when it could not run."""
    console = Console(stderr=args.json)
    try:
        with on_load_core():
            result, found = measure(args.players, args.seconds, args.ramp, args.seed)
    except (BenchError, FleetError) as error:
        Console(stderr=True).print(f"[red]{error}[/]", highlight=False)
        return 2
    show(found, result, console)
    if args.picture is not None:
        report.picture(result, args.picture)
    if args.json:
        print(json.dumps(found))
    kept = all(target.met(found[target.key]) for target in targets(found["players"]))
    return 0 if kept and result.passed else 1


def measure(players: int, seconds: int, ramp_per_s: int, seed: int) -> tuple[report.Run, dict[str, Any]]:
    """The whole bench: server, bots, floor. Answers the bots' run and all figures."""
    with live_server(_settings(players)) as server:
        empty_kib = server.rss_kib()
        plan = Plan(
            target=parse_target(server.url),
            count=players,
            seconds=seconds,
            ramp_per_s=ramp_per_s,
            seed=seed,
            settle_s=SETTLE_S,
        )
        fleet = Fleet(plan)
        window = _Window(server)
        fleet.on_window = window.mark
        with Progress(plan, Console(stderr=True)) as progress:

            def look(fleet: Fleet) -> None:
                server.check_alive()
                progress.show(fleet)

            fleet.on_progress = look
            result = fleet.run()
    if len(window.samples) < 2 or not result.tally.reads:
        raise BenchError("stopped before anything was measured")
    floor = measure_floor(max(result.players, 1), TICK_HZ, min(FLOOR_S, seconds), _sizes(result, seed))
    return result, _figures(result, window, empty_kib, floor)


class _Window:
    """The server at the start and the end of the measured time."""

    def __init__(self, server: LiveServer) -> None:
        self._server = server
        self.samples: list[Sample] = []
        self.rss_kib = 0

    def mark(self, begins: bool) -> None:
        """The measured time begins, or ends."""
        self.samples.append(self._server.sample())
        self.rss_kib = self._server.rss_kib()


def _settings(players: int) -> dict[str, object]:
    """Settings of the server: room for all, and a disc of the fitting size."""
    seed = WorldConfig().seed
    return {
        "world.seed": seed,
        "world.spawn_radius": spawn_radius(players, seed),
        "world.tick_hz": TICK_HZ,
        "server.max_players": max(players, 10_000),
        "limits.connections_max": max(players, 10_000) + ROOM,
        "limits.connections_per_address": max(players, 10_000) + ROOM,
        "log.level": "warning",
    }


def spawn_radius(players: int, seed: int) -> int:
    """The smallest radius (tiles, whole cells) at which players spread evenly over the land have IN_SIGHT others in sight or fewer."""
    terrain = Terrain(seed)
    rings = 2
    land = _land(terrain, rings)
    while rings * CELL_TILES < RADIUS_TILES_MAX:
        around = sum(np.roll(land, (dx, dy), (0, 1)) for dx in (-1, 0, 1) for dy in (-1, 0, 1))
        in_sight = players * float((land * around).sum()) / float(land.sum()) ** 2
        if in_sight <= IN_SIGHT:
            return rings * CELL_TILES
        rings += 1
        land = _land(terrain, rings)
    raise BenchError(f"no room for {players} players within {RADIUS_TILES_MAX} tiles")


def _land(terrain: Terrain, rings: int) -> NDArray[np.int64]:
    """How many tiles to appear on each cell has, within a disc of `rings` cells; an empty cell lies all around."""
    side = np.arange(-rings * CELL_TILES, rings * CELL_TILES) + 0.5
    inside = side[:, None] ** 2 + side**2 <= (rings * CELL_TILES) ** 2
    cells = range(-rings, rings)
    walk = np.block([[walk_speed(terrain.generate(cx, cy)) for cx in cells] for cy in cells])
    tiles = (inside & (walk >= WALK_MIN)).reshape(2 * rings, CELL_TILES, 2 * rings, CELL_TILES)
    return np.pad(tiles.sum(axis=(1, 3)), 1)


def _sizes(result: report.Run, seed: int) -> Sequence[int]:
    """Sizes of the deliveries that the watchers got, a sample of them."""
    seen = [int(size) for size in result.tally.read_bytes.values]
    return Random(seed).choices(seen, k=SIZES_MAX)  # noqa: S311 (a sample, not a secret)


def _figures(result: report.Run, window: _Window, empty_kib: int, floor: Floor) -> dict[str, Any]:
    before, after = window.samples[0], window.samples[-1]
    seconds = after.at_s - before.at_s
    cpu_s = after.cpu_s - before.cpu_s
    bots = report.figures(result)
    frame_us = cpu_s * 1e6 / max(result.tally.reads, 1)
    ticks = after.metrics.get(f"{TICK}_count", 0.0) - before.metrics.get(f"{TICK}_count", 0.0)
    return {
        "players": result.wanted,
        "players_held": result.players,
        "tick_ms_p50": _ms(histogram_percentile(before, after, TICK, 0.5)),
        "tick_ms_p99": _ms(histogram_percentile(before, after, TICK, 0.99)),
        "tick_hz": round(ticks / seconds, 2),
        "snapshot_hz_p50": bots["snapshot_hz_p50"],
        "snapshot_interval_ms_p99": bots["snapshot_interval_ms_p99"],
        "input_to_neighbour_ms_p50": bots["input_to_neighbour_ms_p50"],
        "input_to_neighbour_ms_p99": bots["input_to_neighbour_ms_p99"],
        "bytes_per_s_per_client": bots["bytes_per_s_per_client"],
        "frames_per_s": bots["reads_per_s"],
        "ladder_step": int(max(one.metrics["landworld_ladder_step"] for one in window.samples)),
        "server_waited_share": round((after.waited_s - before.waited_s) / seconds, 3),
        "server_cpu_share": round(cpu_s / seconds, 3),
        "server_cpu_us_per_frame": round(frame_us, 2),
        "floor": floor.kind,
        "floor_cpu_us_per_frame": round(floor.cpu_us_per_message, 2),
        "floor_ratio": round(frame_us / floor.cpu_us_per_message, 2),
        "floor_not_sent": floor.not_sent,
        "in_sight_mean": bots["in_sight_mean"],
        "memory_kib_per_connection": round((window.rss_kib - empty_kib) / max(result.players, 1), 1),
        "bots_cpu_share": bots["own_cpu_share"],
        "lost": bots["lost"],
        "errors": bots["errors"],
        "errors_by_reason": bots["errors_by_reason"],
        "seconds": round(seconds, 1),
    }


def show(found: dict[str, Any], result: report.Run, console: Console) -> None:
    """Targets and figures for people."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("", "measured", "promised", ""):
        table.add_column(column, justify="right" if column else "left")
    for target in targets(found["players"]):
        value = found[target.key]
        said = "[green]kept[/]" if target.met(value) else "[red]missed[/]"
        table.add_row(target.label, "-" if value is None else f"{value:,g}", target.wanted, said)
    console.print(table)
    lines = [
        (
            f"the server used {found['server_cpu_share']:.0%} of a core: {found['server_cpu_us_per_frame']} us for each of "
            f"{found['frames_per_s']:,.0f} frames/s; {found['floor']} that only sends needs {found['floor_cpu_us_per_frame']} us: "
            f"[bold]{found['floor_ratio']} times the floor[/]"
        ),
        (
            f"tick p50 {found['tick_ms_p50']} ms; input to a neighbour p50 {found['input_to_neighbour_ms_p50']} ms; "
            f"the bots used {found['bots_cpu_share']:.0%} of a core"
        ),
    ]
    if found["floor"] != "C":
        lines.append(
            "[yellow]no C compiler was found: the floor is a Python loop, and the ratio kinder than it should be[/]"
        )
    if found["server_waited_share"] > WAITED_SHARE_MAX:
        lines.append(
            f"[yellow]for {found['server_waited_share']:.0%} of the time another program had the server's core: "
            "times are worse than they would be on a quiet machine[/]"
        )
    if not cores_apart():
        lines.append(
            f"[yellow]{os.cpu_count()} core(s), no `taskset`: server and bots shared them, the figures mean little[/]"
        )
    lines += [f"[red]{count:,} x {reason}[/]" for reason, count in result.tally.errors.most_common()]
    for line in lines:
        console.print(line, soft_wrap=True, highlight=False)


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 2)
