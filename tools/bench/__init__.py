"""Benchmarks: `landworld bench NAME`. Each prints ratios against something measured in the same run, never a bare time."""

import argparse
from types import ModuleType

from tools.bench import (
    browser,
    crowd,
    durable,
    explore,
    floor,
    grid,
    idle,
    latency,
    market,
    memory,
    peers,
    recovery,
    simulation,
    slow,
    soak,
    storm,
    terrain,
)

BENCHES: dict[str, ModuleType] = {
    "grid": grid,
    "terrain": terrain,
    "explore": explore,
    "floor": floor,
    "crowd": crowd,
    "durable": durable,
    "market": market,
    "recovery": recovery,
    "peers": peers,
    "simulation": simulation,
    "idle": idle,
    "slow": slow,
    "storm": storm,
    "latency": latency,
    "memory": memory,
    "soak": soak,
    "browser": browser,
}
ALONE = {"soak"}  # takes an hour: not among `all`


def add_parser(sub: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register `landworld bench` and every bench under it."""
    parser = sub.add_parser(
        "bench", help="measure; every number beside something measured in the same run", description=__doc__
    )
    benches = parser.add_subparsers(title="benches", metavar="NAME", required=True)
    for module in BENCHES.values():
        module.add_parser(benches)
    benches.add_parser("all", help="all but the soak, one after the other").set_defaults(run=run_all)
    benches.add_parser("list", help="their names").set_defaults(run=run_list)


def run_all(args: argparse.Namespace) -> int:
    """Run every bench as it is by default, but those that run alone; answers the worst exit code."""
    parser = argparse.ArgumentParser()
    benches = parser.add_subparsers()
    for module in BENCHES.values():
        module.add_parser(benches)
    worst = 0
    for name in (name for name in BENCHES if name not in ALONE):
        print(f"--- bench {name}", flush=True)
        chosen = parser.parse_args([name])
        worst = max(worst, chosen.run(chosen))
    return worst


def run_list(args: argparse.Namespace) -> int:
    """Print the names."""
    print("\n".join(BENCHES))
    return 0
