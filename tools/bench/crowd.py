"""`landworld bench crowd`: how large a crowd one server process holds, and how near to the floor that is.

Starts a server of its own on core 0 and bots on core 1 (the embedded database too), and spreads the players over so much land
that each has about 36 others in sight (as with four to a 32 x 32 cell, were there no water). With `--players` it measures that
crowd; without, it finds the most players held (held.py says what that is; the server's own ticks must be in time besides), each
try with a fresh server. Then it measures the floor (floor.py) in the same run: as many connections, messages of the same sizes,
sent by a program that does nothing else. trial.py says what a frame and an entity-update are.
"""

import argparse
import json
import math
import os
import re
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
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
from tools.bench.floor import SIZES_MAX, measure_floor
from tools.bench.held import HELD, PLAYERS_MAX, Search, Target, doubts
from tools.bench.live import BenchError, Sample, cores_apart, histogram_percentile, live_server, on_load
from tools.bench.trial import TICK_HZ, Measured, Window, drive, figures
from tools.bots import report
from tools.bots.fleet import Fleet, Plan, parse_target
from world.terrain import Terrain, walk_speed

PROMISED = 3000  # players held by one process, at 36 in sight
START, TRY_S = 1000, 10  # of a search: its first try, and how long each is measured
SECONDS = 30
IN_SIGHT = 36
RADIUS_TILES_MAX, RADIUS_STEP_TILES = 8192, 8
FLOOR_S = 10
ROOM = 64  # connections beside the bots'
SETTLE_S = 5.0  # from the last welcome to the measured time: the ground is made, the ladder at rest

TICK, TOLD = "landworld_tick_seconds", "landworld_tick_told_seconds"
STEP, VIEWERS = "landworld_ladder_step", "landworld_viewers"


@dataclass(frozen=True, slots=True)
class Setting:
    """What is asked of a crowd, but its size."""

    seconds: int = 30
    ramp_per_s: int = 200
    seed: int = 1
    in_sight: float = IN_SIGHT
    view_cells: int = 1
    gateways: int = 0
    ladder_step: int = 0  # up to which a crowd counts as held


def held_here(ladder_step: int = 0) -> tuple[Target, ...]:
    """What *held* means of our own server: its ticks are in time besides, and it leaves nothing out that others are sent."""
    return (
        *HELD,
        Target("ticks a second", "tick_hz", least=TICK_HZ * 0.99),
        Target("tick p99, ms", "tick_ms_p99", most=1000 / TICK_HZ),
        Target("step of the ladder", "ladder_step", most=ladder_step),
    )


def targets(players: int, setting: Setting) -> tuple[Target, ...]:
    """What is promised for a crowd of that size."""
    in_sight = setting.in_sight
    return (
        Target("players held", "players_held", least=players),
        *held_here(setting.ladder_step),
        Target("in sight of each", "in_sight_mean", least=in_sight * 5 / 6, most=in_sight * 7 / 6),
        Target("bytes per entity-update", "bytes_per_entity_update", most=6),
        Target("CPU per frame, times the floor's", "floor_ratio", most=1.6),
        Target("memory per connection, KiB", "memory_kib_per_connection", most=40),
    )


def add_parser(sub: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register `landworld bench crowd`."""
    parser = sub.add_parser(
        "crowd",
        help="the largest crowd that one server holds, and what sending alone would cost",
        description=__doc__,
        epilog="Exit codes: 0 all promises kept, 1 a promise missed or an error, 2 it could not run.",
    )
    parser.add_argument(
        "--players", type=int, metavar="N", help="measure this crowd instead of finding the largest"
    )
    parser.add_argument(
        "--in-sight", type=float, default=IN_SIGHT, metavar="N", help="others that each sees (default 36)"
    )
    parser.add_argument(
        "--view",
        type=int,
        default=1,
        metavar="CELLS",
        help="rings of cells around one's own in sight (default 1)",
    )
    parser.add_argument(
        "--seconds",
        type=int,
        metavar="S",
        help="measured time (default 30 with --players, otherwise 10 of each try)",
    )
    parser.add_argument(
        "--start", type=int, default=START, metavar="N", help="the first try of a search (default 1000)"
    )
    parser.add_argument(
        "--most", type=int, default=PLAYERS_MAX, metavar="N", help="a search tries no more (default 16000)"
    )
    parser.add_argument(
        "--ramp", type=int, default=200, metavar="PER_S", help="players that come a second (default 200)"
    )
    parser.add_argument("--seed", type=int, default=1, metavar="K", help="of the bots' decisions (default 1)")
    parser.add_argument(
        "--ladder",
        type=int,
        default=0,
        metavar="STEP",
        help="of the ladder of degradation; up to this one a crowd is held (default 0)",
    )
    parser.add_argument(
        "--gateways",
        type=int,
        default=0,
        metavar="N",
        help="gateway processes, on the server's core too: what they cost beside one process (default 0)",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="histograms as an image")
    parser.set_defaults(run=run)


@on_load
def run(args: argparse.Namespace) -> int:
    """Run the command; exit code 1 when a promise was missed or anything went wrong, 2 when it could not run."""
    console = Console(stderr=args.json)
    seconds = args.seconds or (TRY_S if args.players is None else SECONDS)
    setting = Setting(seconds, args.ramp, args.seed, args.in_sight, args.view, args.gateways, args.ladder)
    measured = measure(args.players, setting) if args.players else find(setting, args.start, args.most)
    usual = (args.in_sight, args.view) == (IN_SIGHT, 1)
    promised = targets(args.players or (PROMISED if usual else 1), setting)
    show(measured, promised, console)
    if args.picture is not None:
        report.picture(measured.run, args.picture)
    if args.json:
        print(json.dumps(measured.figures))
    return 0 if all(target.met(measured.figures[target.key]) for target in promised) else 1


def find(setting: Setting, start: int, most: int) -> Measured:
    """The largest crowd held, with its floor. Raises BenchError when none is."""
    search = Search(lambda players: attempt(players, setting), held_here(setting.ladder_step))
    best = with_floor(search.run(start, most), setting)
    best.figures["tries"] = [asdict(one) for one in search.tries]
    return best


def measure(players: int, setting: Setting) -> Measured:
    """A crowd of that size, and its floor."""
    return with_floor(attempt(players, setting), setting)


def attempt(players: int, setting: Setting) -> Measured:
    """A crowd of that size on a fresh server; the figures lack those of the floor."""
    with live_server(_settings(players, setting)) as server:
        plan = Plan(
            target=parse_target(server.url),
            count=players,
            seconds=setting.seconds,
            ramp_per_s=setting.ramp_per_s,
            seed=setting.seed,
            settle_s=SETTLE_S,
        )
        window = Window(server)
        result = drive(Fleet(plan), window)
    return Measured(result, {**figures(result, window), **_own_figures(window)})


def with_floor(measured: Measured, setting: Setting) -> Measured:
    """The same with the figures of the floor."""
    players, seconds = max(measured.run.players, 1), min(FLOOR_S, setting.seconds)
    floor = measure_floor(players, TICK_HZ, seconds, _sizes(measured.run, setting.seed))
    frame_us = measured.figures["server_cpu_us_per_frame"]
    found = {
        "floor": floor.kind,
        "floor_cpu_us_per_frame": round(floor.cpu_us_per_message, 2),
        "floor_ratio": round(frame_us / floor.cpu_us_per_message, 2),
        "floor_not_sent": floor.not_sent,
    }
    return Measured(measured.run, {**measured.figures, **found})


def _settings(players: int, setting: Setting) -> dict[str, object]:
    """Settings of the server: room for all, and a disc of the fitting size."""
    seed = WorldConfig().seed
    return {
        "world.seed": seed,
        "world.spawn_radius": spawn_radius(players, seed, setting.in_sight, setting.view_cells),
        "world.tick_hz": TICK_HZ,
        "interest.radius_cells": setting.view_cells,
        "server.max_players": max(players, 10_000),
        "limits.connections_max": max(players, 10_000) + ROOM,
        "limits.connections_per_address": max(players, 10_000) + ROOM,
        "log.level": "warning",
        **({"server.gateways": setting.gateways} if setting.gateways else {}),
    }


def spawn_radius(players: int, seed: int, in_sight: float = IN_SIGHT, view_cells: int = 1) -> int:
    """The smallest radius (tiles) at which players spread evenly over the land have so many others in sight or fewer."""

    def seen(radius: int) -> float:
        land = np.pad(_land(seed, radius), view_cells)
        rings = range(-view_cells, view_cells + 1)
        around = sum(np.roll(land, (dx, dy), (0, 1)) for dx in rings for dy in rings)
        return (players - 1) * float((land * around).sum()) / float(land.sum()) ** 2

    top = CELL_TILES
    while seen(top) > in_sight:
        top *= 2
        if top > RADIUS_TILES_MAX:
            raise BenchError(f"no room for {players} players within {RADIUS_TILES_MAX} tiles")
    radii = range(RADIUS_STEP_TILES, top, RADIUS_STEP_TILES)
    at = bisect_left(radii, -in_sight, key=lambda radius: -seen(radius))
    return radii[at] if at < len(radii) else top


def _land(seed: int, radius: int) -> NDArray[np.int64]:
    """How many tiles to appear on each cell has, within a disc."""
    rings = math.ceil(radius / CELL_TILES)
    side = np.arange(-rings * CELL_TILES, rings * CELL_TILES) + 0.5
    inside = side[:, None] ** 2 + side**2 <= radius**2
    cells = range(-rings, rings)
    walkable = np.block([[_walkable(seed, cx, cy) for cx in cells] for cy in cells])
    tiles = (inside & walkable).reshape(2 * rings, CELL_TILES, 2 * rings, CELL_TILES)
    return np.asarray(tiles.sum(axis=(1, 3)))


@cache
def _walkable(seed: int, cx: int, cy: int) -> NDArray[np.bool_]:
    return walk_speed(_terrain(seed).generate(cx, cy)) >= WALK_MIN


@cache
def _terrain(seed: int) -> Terrain:
    return Terrain(seed)


def _sizes(result: report.Run, seed: int) -> Sequence[int]:
    """Sizes of the deliveries that the watchers got, a sample of them."""
    seen = [int(size) for size in result.tally.read_bytes.values]
    return Random(seed).choices(seen, k=SIZES_MAX)  # noqa: S311 (a sample, not a secret)


def _own_figures(window: Window) -> dict[str, Any]:
    """What our server tells of itself."""
    before, after = window.samples[0], window.samples[-1]
    seconds, cpu_s = after.at_s - before.at_s, after.cpu_s - before.cpu_s
    gateways_cpu_s = after.gateways_cpu_s - before.gateways_cpu_s
    ticks = after.metrics.get(f"{TICK}_count", 0.0) - before.metrics.get(f"{TICK}_count", 0.0)
    return {
        "tick_ms_p50": _ms(histogram_percentile(before, after, TICK, 0.5)),
        "tick_ms_p99": _ms(histogram_percentile(before, after, TICK, 0.99)),
        "tick_hz": round(ticks / seconds, 2),
        "simulation_cpu_share": round((cpu_s - gateways_cpu_s) / seconds, 3),
        "gateways_cpu_share": round(gateways_cpu_s / seconds, 3),
        "ladder_step": max(ladder_step(one) for one in window.samples),
    }


def ladder_step(sample: Sample) -> int:
    """The highest step in force, for the whole server or for any client."""
    labelled = (re.fullmatch(rf"{VIEWERS}.*'(\d+)'.*", key) for key, count in sample.metrics.items() if count)
    return max([int(sample.metrics[STEP]), *(int(found[1]) for found in labelled if found)])


def show(measured: Measured, promised: Sequence[Target], console: Console) -> None:
    """Targets and figures for people."""
    found = measured.figures
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("", "measured", "promised", ""):
        table.add_column(column, justify="right" if column else "left")
    for target in promised:
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
    if found["gateways_cpu_share"]:
        lines.append(
            f"of that, the simulation used {found['simulation_cpu_share']:.0%} and the gateways {found['gateways_cpu_share']:.0%}"
        )
    if found["floor"] != "C":
        lines.append(
            "[yellow]no C compiler was found: the floor is a Python loop, and the ratio kinder than it should be[/]"
        )
    lines += [f"[yellow]{doubt}[/]" for doubt in doubts(found)]
    if not cores_apart():
        lines.append(
            f"[yellow]{os.cpu_count()} core(s), no `taskset`: server and bots shared them, the figures mean little[/]"
        )
    lines += [f"[red]{count:,} x {reason}[/]" for reason, count in measured.run.tally.errors.most_common()]
    for line in lines:
        console.print(line, soft_wrap=True, highlight=False)


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 2)
