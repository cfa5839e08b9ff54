"""`landworld simulate --seeds A..B`: thousands of short lives of a server, each with its own accidents, in virtual time.

For each seed from A up to, not including, B: players claim, divide, trade, build and talk while servers are killed, paused and
replaced, commits are lost or unknown, the store is slow or away, clocks jump and messages come twice, late and out of order
(faults.py). Then all that the server promised is checked against the journal and against the players' own record (oracle.py). The
parts of the server are the real ones; time, chance, the network and the store are handed to them (host.py, clock.py, disk.py).

The same seed runs the same way. A failure prints its seed and the last lines of its trace; the exit code is then 1.
"""

import argparse
import gc
import json
import logging
import sys
import time
from collections import Counter

import structlog

from tools.simulate.town import TRACE_LINES, Outcome, Town
from world.tick import warm_up

ACTIONS = 40  # of one seed
YOUNG_OBJECTS = 50_000  # between two collections: a seed leaves a world behind
PROGRESS_S = 10.0


def add_parser(sub: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """The sub-command."""
    parser = sub.add_parser("simulate", help="break a simulated server, seed by seed", description=__doc__)
    parser.add_argument(
        "--seeds", type=_seeds, required=True, metavar="A..B", help="A up to B - 1; or one seed"
    )
    parser.add_argument("--actions", type=int, default=ACTIONS, help="so many are tried with each seed")
    parser.add_argument("--trace", action="store_true", help="print all that happens")
    parser.add_argument("--json", action="store_true", help="end with one JSON object")
    parser.set_defaults(run=simulate)


def _seeds(text: str) -> range:
    first, dots, end = text.partition("..")
    try:
        seeds = range(int(first), int(end) if dots else int(first) + 1)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no A..B, nor one seed") from None
    if not seeds:
        raise argparse.ArgumentTypeError(f"{text} holds no seed: B comes after A, and is not one of them")
    return seeds


def simulate(arguments: argparse.Namespace) -> int:
    """Runs all seeds and prints what came of them."""
    prepare()
    total, faults, failed, shown_s = Counter[str](), Counter[str](), 0, time.monotonic()
    for seed in arguments.seeds:
        outcome = Town(seed, arguments.actions, None if arguments.trace else TRACE_LINES).run()
        total.update(
            seeds=1, actions=outcome.actions, acknowledged=outcome.acknowledged, entries=outcome.entries
        )
        faults.update(outcome.faults)
        failed += len(outcome.violations)
        if outcome.violations or arguments.trace:
            _show(outcome)
        if time.monotonic() - shown_s > PROGRESS_S:
            shown_s = time.monotonic()
            print(f"  seed {seed:,}, {failed} violations so far", file=sys.stderr, flush=True)
    print(
        f"{total['seeds']:,} seeds, {total['actions']:,} actions, {total['acknowledged']:,} acknowledged, "
        f"{total['entries']:,} entries, {faults.total():,} faults, {failed:,} violations"
    )
    print("  " + ", ".join(f"{name.replace('_', ' ')} {count:,}" for name, count in sorted(faults.items())))
    if arguments.json:
        names = ("seeds", "actions", "acknowledged")
        print(
            json.dumps(
                {**{name: total[name] for name in names}, "faults": faults.total(), "violations": failed}
            )
        )
    return 1 if failed else 0


def prepare() -> None:
    """What all seeds share: compiled kernels, a silent log, a collector that leaves what is there alone."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    warm_up()
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS)


def _show(outcome: Outcome) -> None:
    for line in outcome.trace:
        print(f"    {line}")
    for violation in outcome.violations:
        print(f"seed {outcome.seed}: {violation}")
    print(f"seed {outcome.seed}: digest {outcome.digest}")
