"""`landworld replay FILE`: plays a recording again and compares the digests on the way.

A recording is made by `landworld serve --record FILE`. The same commands must give the same world; the first digest that differs is
named with its tick, and the exit code is 1; it is 2 for a file that cannot be played.
"""

import argparse
import json
import sys
import time
from pathlib import Path

from server.recorder import read, rules_of
from world.digest import digest
from world.state import State
from world.tick import act, step


def add_parser(sub: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """The sub-command."""
    parser = sub.add_parser("replay", help="play a recording again", description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--json", action="store_true", help="end with one JSON object")
    parser.set_defaults(run=replay)


def replay(arguments: argparse.Namespace) -> int:
    """Plays it and prints what came of it."""
    try:
        outcome = play(arguments.file)
    except (OSError, ValueError) as error:
        print(f"Cannot play {arguments.file}: {_why(arguments.file, error)}", file=sys.stderr)
        return 2
    print(
        f"{outcome['ticks']} ticks, {outcome['commands']} commands, {outcome['players']} players at the end, "
        f"{outcome['digests_equal']} of {outcome['digests']} digests equal"
    )
    print(f"digest at tick {outcome['tick']}: {outcome['digest']}")
    if outcome["first_difference_tick"] is not None:
        print(f"The worlds part at or before tick {outcome['first_difference_tick']}.", file=sys.stderr)
    if arguments.json:
        print(json.dumps(outcome))
    return 0 if outcome["first_difference_tick"] is None else 1


def _why(path: Path, error: OSError | ValueError) -> str:
    match error:
        case FileNotFoundError():
            return "there is no such file"
        case IsADirectoryError():
            return "it is a directory, not a recording"
        case OSError():
            return error.strerror or str(error)
        case _:
            return "it is empty" if path.stat().st_size == 0 else str(error)


def play(path: Path) -> dict[str, int | float | str | None]:
    """The outcome of a recording. Raises OSError, ValueError."""
    header, rows = read(path)
    state = State(rules_of(header))
    state.tick = header.tick
    began, commands, digests, equal, differs = time.perf_counter(), 0, 0, 0, None
    for row in rows:
        while state.tick < row.tick - 1:
            step(state, [], state.tick + 1)
        act(state, row.acts)
        if row.digest is not None:
            digests += 1
            if digest(state) == row.digest:
                equal += 1
            elif differs is None:
                differs = state.tick
        commands += len(row.acts) + len(row.commands)
        if row.commands:
            step(state, row.commands, row.tick)
    return {
        "tick": state.tick,
        "ticks": state.tick - header.tick,
        "commands": commands,
        "players": len(state.players),
        "digests": digests,
        "digests_equal": equal,
        "first_difference_tick": differs,
        "digest": digest(state),
        "seconds": round(time.perf_counter() - began, 3),
    }
