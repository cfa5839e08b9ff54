"""`landworld bench peers`: our server beside Colyseus and beside Node with `ws` and JSON, the same crowd on each.

The same motion (4 tiles a second, another direction twice a second from each client), the same density and visibility (about 36 others
in 3 x 3 cells of 32 x 32 tiles), the same 20 Hz, the same load generator; each server pinned to core 0, the load to core 1. The peers
have an open plane instead of ground with water and walls, which spares them work. Colyseus gives each client a StateView of its own,
as its documentation has it; `ws` sends text that is made once for each cell. The most players that each holds are found by
ramp and bisection, by one definition (held.py). `--quick` runs one small crowd on each, to see that all of it works.
"""

import argparse
import json
from bisect import bisect_left
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from protocol.snapshot import CELL_TILES
from tools.bench import crowd
from tools.bench.held import HELD, PLAYERS_MAX, Search, Target, doubts
from tools.bench.live import BenchError, on_load_core
from tools.bench.peers import node
from tools.bench.peers.dialects import ColyseusBot, JsonBot
from tools.bench.peers.picture import picture
from tools.bench.trial import Measured, Window, drive, figures
from tools.bots.fleet import Bot, Fleet, FleetError, Plan, parse_target
from tools.bots.report import Run, Samples

QUICK = crowd.Setting(seconds=4, in_sight=12)
QUICK_PLAYERS = 24
SIDE_STEP_TILES = 8
SDK_SHARE, SDK_MAX = 4, 64  # one player in so many is the SDK's, and no more than so many

OURS, COLYSEUS, WS = "ours", "colyseus", "ws"
PROMISES = (Target("times Colyseus' players", f"ratio_to_{COLYSEUS}", least=7),)


@dataclass(frozen=True, slots=True)
class Contender:
    """One server of the comparison."""

    label: str  # in two lines, for tables and pictures
    start: int  # the first try of its search
    ramp_per_s: int  # players that come a second: so few that coming is not what fails
    attempt: Callable[[int, crowd.Setting], Measured]
    held: tuple[Target, ...] = HELD

    @property
    def name(self) -> str:
        """The label in one line."""
        return self.label.replace("\n", " ")


def add_parser(sub: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register `landworld bench peers`."""
    parser = sub.add_parser(
        "peers",
        help="our server beside Colyseus and Node's ws, the same crowd on each",
        description=__doc__,
        epilog="Exit codes: 0 all promises kept, 1 a promise missed or an error, 2 it could not run.",
    )
    parser.add_argument("--quick", action="store_true", help="one small crowd on each: does it work?")
    parser.add_argument(
        "--only",
        action="append",
        choices=list(CONTENDERS),
        metavar="NAME",
        help="ours, colyseus, ws (repeatable)",
    )
    parser.add_argument("--players", type=int, metavar="N", help="this crowd on each instead of the largest")
    parser.add_argument(
        "--seconds", type=int, default=crowd.TRY_S, metavar="S", help="measured time of each try (default 10)"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="the comparison as an image")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command; exit code 1 when a promise was missed or anything went wrong, 2 when it could not run."""
    console, progress = Console(stderr=args.json), Console(stderr=True)
    setting = QUICK if args.quick else crowd.Setting(seconds=args.seconds)
    players = QUICK_PLAYERS if args.quick else args.players
    with on_load_core():
        measured, skipped = measure_all(args.only or list(CONTENDERS), setting, players, progress)
    if not measured:
        progress.print("[red]nothing could be measured[/]")
        return 2
    found = compare({name: one.figures for name, one in measured.items()}, skipped)
    show(found, console)
    if args.picture is not None:
        picture({CONTENDERS[name].label: one for name, one in measured.items()}, args.picture)
    if args.json:
        print(json.dumps(found))
    failed = any(system["errors"] or system["missing"] for system in found["systems"].values())
    missed = players is None and not all(one.met(found[one.key]) for one in PROMISES)
    return 1 if failed or missed else 0


def measure_all(
    names: list[str], setting: crowd.Setting, players: int | None, progress: Console
) -> tuple[dict[str, Measured], dict[str, str]]:
    """What was measured, and why the others were not."""
    measured: dict[str, Measured] = {}
    skipped: dict[str, str] = {}
    unable = node.install(progress) if set(names) - {OURS} else None
    for name in names:
        progress.print(f"[bold]{CONTENDERS[name].name}[/]", highlight=False)
        try:
            if name != OURS and unable is not None:
                raise BenchError(unable)
            measured[name] = _measure(CONTENDERS[name], setting, players)
        except (BenchError, FleetError) as error:
            skipped[name] = str(error)
            progress.print(f"[yellow]left out: {error}[/]", soft_wrap=True, highlight=False)
    return measured, skipped


def _measure(contender: Contender, setting: crowd.Setting, players: int | None) -> Measured:
    """The largest crowd that it holds, or the one asked for."""
    setting = replace(setting, ramp_per_s=contender.ramp_per_s)
    if players is not None:
        found = contender.attempt(players, setting)
    else:
        search = Search(lambda size: contender.attempt(size, setting), contender.held)
        found = search.run(contender.start, PLAYERS_MAX)
        found.figures["tries"] = [asdict(one) for one in search.tries]
    return crowd.with_floor(found, setting) if contender is CONTENDERS[OURS] else found


# --- one try on each ---


def _on_ws(players: int, setting: crowd.Setting) -> Measured:
    with node.peer_server("ws.js", side_tiles(players, setting.in_sight)) as server:
        window = Window(server)
        run = drive(_fleet(server, players, setting, JsonBot), window)
    return Measured(run, figures(run, window))


def _on_colyseus(players: int, setting: crowd.Setting) -> Measured:
    side = side_tiles(players, setting.in_sight)
    few = min(SDK_MAX, players // SDK_SHARE) // 2 * 2
    with node.peer_server("colyseus.js", side) as server:
        window = Window(server)
        with node.watchers(server, few, side) as watchers:
            many = players - few
            fleet = _fleet(server, many, setting, ColyseusBot, server.reserve(many))
            used_s: list[float] = []

            def mark(begins: bool) -> None:
                watchers.mark(begins)
                used_s.append(watchers.cpu_s())

            fleet.on_window = mark
            run = drive(fleet, window)
            run = joined(run, players, watchers.answer(), used_s[-1] - used_s[0])
    return Measured(run, figures(run, window))


def _fleet(
    server: node.PeerServer, count: int, setting: crowd.Setting, kind: type[Bot], seats: tuple[str, ...] = ()
) -> Fleet:
    plan = Plan(
        target=parse_target(f"ws://{server.authority}/"),
        count=count,
        seconds=setting.seconds,
        ramp_per_s=setting.ramp_per_s,
        seed=setting.seed,
        tokens=seats,
        settle_s=crowd.SETTLE_S,
    )
    return Fleet(plan, kind)


def joined(run: Run, players: int, said: Mapping[str, Any], cpu_s: float) -> Run:
    """The fleet's run and what the SDK's watchers say, as one run: times are theirs; what is sent to them is taken to be
    like what is sent to the others."""
    tally = run.tally
    share = players / max(run.wanted, 1)
    tally.reads = round(tally.reads * share)
    tally.bytes_in = round(tally.bytes_in * share)
    tally.frames_in = round(tally.frames_in * share)
    tally.inputs += said["inputs"]
    tally.cpu_s += cpu_s
    tally.unseen = said["unseen"]
    for samples, values in (
        (tally.intervals_ms, said["intervals_ms"]),
        (tally.latencies_ms, said["latencies_ms"]),
        (tally.in_sight, said["in_sight"]),
        (tally.rates_hz, said["rates"]),
    ):
        _add_all(samples, values)
    if said["errors"]:
        tally.errors["the SDK's watchers"] = said["errors"]
    return Run(players, run.players + said["players"], tally)


def _add_all(samples: Samples, values: list[float]) -> None:
    for value in values:
        samples.add(value)


def side_tiles(players: int, in_sight: float) -> int:
    """The smallest side (tiles) of a square in which players spread evenly have so many others in sight or fewer."""
    sides = range(SIDE_STEP_TILES, CELL_TILES * max(players, 1), SIDE_STEP_TILES)
    return sides[
        bisect_left(sides, -in_sight, hi=len(sides) - 1, key=lambda side: -seen_on_a_plane(players, side))
    ]


def seen_on_a_plane(players: int, side: int) -> float:
    """How many others each has in 3 x 3 cells on average, where `players` are spread evenly over a square."""
    whole, rest = divmod(side, CELL_TILES)
    strips = np.array([*[CELL_TILES] * whole, rest])
    around = np.convolve(strips, (1, 1, 1))[1:-1]
    near = float((strips * around).sum()) / side**2
    return (players - 1) * near**2


CONTENDERS = {
    OURS: Contender("this server", crowd.START, 200, crowd.attempt, crowd.held_here()),
    COLYSEUS: Contender("Colyseus 0.17,\na StateView each", 100, 50, _on_colyseus),
    WS: Contender("Node and ws,\nJSON", 500, 200, _on_ws),
}


# --- figures ---

COMPARED = (  # label, key, whether ours is better when it is larger
    ("players held", "players_held", True),
    ("CPU per entity-update, us", "server_cpu_us_per_entity_update", False),
    ("CPU per frame, us", "server_cpu_us_per_frame", False),
    ("bytes per entity-update", "bytes_per_entity_update", False),
    ("to each client, B/s", "bytes_per_s_per_client", False),
)
BESIDES = (
    ("snapshots a second, median client", "snapshot_hz_p50"),
    ("between snapshots p50, ms", "snapshot_interval_ms_p50"),
    ("between snapshots p99, ms", "snapshot_interval_ms_p99"),
    ("input to a neighbour p50, ms", "input_to_neighbour_ms_p50"),
    ("input to a neighbour p90, ms", "input_to_neighbour_ms_p90"),
    ("input to a neighbour p99, ms", "input_to_neighbour_ms_p99"),
    ("in sight of each", "in_sight_mean"),
    ("server's share of its core", "server_cpu_share"),
    ("load's share of its core", "bots_cpu_share"),
    ("memory per connection, KiB", "memory_kib_per_connection"),
    ("errors", "errors"),
)


def compare(systems: Mapping[str, dict[str, Any]], skipped: Mapping[str, str]) -> dict[str, Any]:
    """All figures as plain data; a ratio says how many times better ours is, None where one side is missing."""
    ours = systems.get(OURS, {})
    found: dict[str, Any] = {
        key: ours.get(key) for key in ("players_held", "tick_ms_p99", "bytes_per_s", "floor_ratio")
    }
    for name in (COLYSEUS, WS):
        theirs = systems.get(name, {})
        found[f"ratio_to_{name}"] = _times("players_held", ours, theirs, larger=True)
        found[f"cpu_ratio_to_{name}"] = _times("server_cpu_us_per_entity_update", ours, theirs, larger=False)
        found[f"bytes_ratio_to_{name}"] = _times("bytes_per_entity_update", ours, theirs, larger=False)
    return {**found, "systems": dict(systems), "skipped": dict(skipped)}


def _times(key: str, ours: Mapping[str, Any], theirs: Mapping[str, Any], larger: bool) -> float | None:
    one, other = ours.get(key), theirs.get(key)
    if not one or not other:
        return None
    return round(float(one / other if larger else other / one), 2)


def show(found: Mapping[str, Any], console: Console) -> None:
    """The figures of all side by side; beside each peer's, how many times better ours are."""
    systems = found["systems"]
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("")
    for name in systems:
        table.add_column(CONTENDERS[name].label, justify="right")
        if name != OURS:
            table.add_column("ours is", justify="right", style="bold")
    for label, key, larger in (*COMPARED, *((label, key, None) for label, key in BESIDES)):
        cells: list[str] = []
        for name, system in systems.items():
            cells.append(_number(system[key]))
            if name != OURS:
                times = None if larger is None else _times(key, systems.get(OURS, {}), system, larger)
                cells.append("" if times is None else f"{times:g} x")
        table.add_row(label, *cells)
    console.print(table)
    if found["floor_ratio"] is not None:
        console.print(
            f"this server: {found['floor_ratio']} times the floor, tick p99 {found['tick_ms_p99']} ms",
            highlight=False,
        )
    for name, system in systems.items():
        for doubt in doubts(system):
            console.print(f"[yellow]{CONTENDERS[name].name}: {doubt}[/]", soft_wrap=True, highlight=False)
    for name, why in found["skipped"].items():
        console.print(f"[yellow]{CONTENDERS[name].name}: left out, {why}[/]", soft_wrap=True, highlight=False)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,g}"
