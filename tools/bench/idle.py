"""`landworld bench idle`: so many are connected, and nobody moves. What does the server need for them?

All have arrived when the measured time begins. Memory is what the server's processes grew by since nobody was there, a player's share
of the ground made ready around them included (and told apart); what the kernel holds for sockets is no part of it.
"""

import argparse
import json
from typing import Any

from rich.console import Console

from tools.bench.attend import Look, Still, drive, kept, look_at, room_for, show, sources_for, tick_figures
from tools.bench.held import Target
from tools.bench.live import BenchError, live_server, on_load
from tools.bots.fleet import Fleet, Plan, parse_target
from tools.bots.report import Run

PLAYERS, SECONDS, RAMP_PER_S = 10_000, 30, 200
IN_SIGHT = 36
SETTLE_S = 5.0  # from the last welcome to the measured time: the ground is made
CHUNK_KIB = 1.0  # of walking speeds, a loaded chunk


def targets(players: int) -> tuple[Target, ...]:
    """What is promised."""
    return (
        Target("players connected", "players_held", least=players),
        Target("share of a core", "server_cpu_share", most=0.25),
        Target("memory per player, KiB", "memory_kib_per_player", most=12),
        Target("tick p99, ms", "tick_ms_p99", most=50),
        Target("errors", "errors", most=0),
        Target("lost lines", "lost", most=0),
    )


def add_parser(sub: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register `landworld bench idle`."""
    parser = sub.add_parser("idle", help="what players cost who only stand there", description=__doc__)
    parser.add_argument(
        "--players", type=int, default=PLAYERS, metavar="N", help=f"who stand (default {PLAYERS})"
    )
    parser.add_argument(
        "--seconds", type=int, default=SECONDS, metavar="S", help=f"measured time (default {SECONDS})"
    )
    parser.add_argument(
        "--ramp", type=int, default=RAMP_PER_S, metavar="PER_S", help=f"come a second (default {RAMP_PER_S})"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line")
    parser.set_defaults(run=run)


@on_load
def run(args: argparse.Namespace) -> int:
    """Run the command; exit code 1 when a promise was missed, 2 when it could not run."""
    found = measure(args.players, args.seconds, args.ramp)
    console, promised = Console(stderr=args.json), targets(args.players)
    show(found, promised, console)
    console.print(
        f"of the memory {found['ground_kib_per_player']} KiB are ground; the kernel holds "
        f"{found['kernel_kib_per_player']} KiB besides, for both ends of each connection; "
        f"the bots used {found['bots_cpu_share']:.0%} of a core",
        soft_wrap=True,
        highlight=False,
    )
    if args.json:
        print(json.dumps(found))
    return 0 if kept(found, promised) else 1


def measure(players: int, seconds: float, ramp_per_s: float = RAMP_PER_S) -> dict[str, Any]:
    """A server, and players that stand."""
    with live_server(room_for(players, IN_SIGHT)) as server:
        looks = [look_at(server)]
        fleet = Fleet(
            Plan(
                target=parse_target(server.url),
                count=players,
                seconds=seconds,
                behaviour="idle",
                ramp_per_s=ramp_per_s,
                sources=sources_for(players),
                settle_s=SETTLE_S,
            ),
            Still,
        )
        fleet.on_window = lambda begins: looks.append(look_at(server))
        result = drive(fleet, server)
    if len(looks) != 3:
        raise BenchError("stopped before anything was measured")
    return figures(result, *looks)


def figures(result: Run, empty: Look, before: Look, after: Look) -> dict[str, Any]:
    """What they cost; keys end in their unit."""
    players = max(result.players, 1)
    seconds = after.sample.at_s - before.sample.at_s
    return {
        "players": result.wanted,
        "players_held": result.players,
        "server_cpu_share": round(after.cpu_share(before), 4),
        "memory_kib_per_player": round((after.rss_kib - empty.rss_kib) / players, 2),
        "ground_kib_per_player": round((ground_kib(after) - ground_kib(empty)) / players, 2),
        "kernel_kib_per_player": round((after.kernel_kib - empty.kernel_kib) / players, 2),
        **tick_figures(before.sample, after.sample),
        "lost": result.tally.lost,
        "errors": result.tally.errors.total(),
        "errors_by_reason": dict(result.tally.errors.most_common()),
        "bots_cpu_share": round(result.tally.cpu_s / seconds, 3),
        "seconds": round(seconds, 1),
    }


def ground_kib(look: Look) -> float:
    """Memory of ground: walking speeds of loaded chunks, and packed messages."""
    return look["landworld_chunks_loaded"] * CHUNK_KIB + look["landworld_chunk_cache_bytes"] / 1024
