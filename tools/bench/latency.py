"""`landworld bench latency`: what the milliseconds from an input to a neighbour's screen consist of.

Runs a crowd and prints a table of the stages, in Markdown, ready for docs/LATENCY.md, which explains them. What the bots see (there and
back without the world, input to one's own answer, input to a neighbour's socket) is measured in one process by one clock; what happens
within the server comes from its metrics. The wait for the tick is what is left of the way to one's own answer without the rest.
"""

import argparse
import json
from collections.abc import Sequence
from time import perf_counter_ns
from typing import Any

import numpy as np
from rich.console import Console

from protocol.messages import Ping, Pong, code_of
from tools.bench.attend import Look, drive, look_at, room_for, sources_for, tick_figures
from tools.bench.live import BenchError, live_server, on_load
from tools.bench.trial import TICK_HZ
from tools.bots.behaviour import Intent
from tools.bots.fleet import Bot, Fleet, Plan, parse_target
from tools.bots.report import Samples, percentile

PLAYERS, SECONDS, IN_SIGHT = 2_000, 30, 36
SETTLE_S = 5.0
DRAWN_BEHIND_MS = 100  # tools/browser/world.js, DELAY_MS: others are drawn so far in the past, at least

BEFORE_THE_NEIGHBOUR = (
    "commands_and_rules",
    "encode",
    "publish",
)  # phases of the tick; what comes after delays nobody

_PING, _PONG = code_of(Ping), code_of(Pong)


class Timer(Bot):
    """A bot whose watchers ask for the time of the line, and note when their own inputs are answered."""

    __slots__ = ("_asked_ns", "_sent_ns")

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._asked_ns = self._sent_ns = 0  # of what is not answered yet

    def wake(self, now_ns: int) -> None:
        """Twice a second."""
        super().wake(now_ns)
        if self.playing and self.watcher is not None and not self._asked_ns:
            self._asked_ns = perf_counter_ns()
            self._send_message([_PING, 0])

    def go(self, intent: Intent) -> None:
        """Notes when."""
        before = self._seq
        super().go(intent)
        if self.watcher is not None and self._seq != before:
            self._sent_ns = perf_counter_ns()

    def _enter(self, player_id: int, x: float, y: float) -> None:
        self._asked_ns = self._sent_ns = 0
        super()._enter(player_id, x, y)

    def _heard(self, buffer: bytearray, start: int, end: int) -> None:
        super()._heard(buffer, start, end)
        fleet = self._fleet
        if self.watcher is None or not isinstance(fleet, Timed):
            return
        if buffer[start + 1] == _PONG and self._asked_ns:
            fleet.round_trips_ms.add((fleet.read_ns - self._asked_ns) / 1e6)
            self._asked_ns = 0
        elif self._sent_ns and self.answered:
            fleet.answers_ms.add((fleet.read_ns - self._sent_ns) / 1e6)
            self._sent_ns = 0


class Timed(Fleet):
    """A fleet that keeps what its Timers note."""

    def __init__(self, plan: Plan) -> None:
        self.round_trips_ms = Samples()
        self.answers_ms = Samples()
        super().__init__(plan, Timer)


def add_parser(sub: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register `landworld bench latency`."""
    parser = sub.add_parser("latency", help="from an input to a neighbour, by stage", description=__doc__)
    parser.add_argument(
        "--players", type=int, default=PLAYERS, metavar="N", help=f"who walk (default {PLAYERS})"
    )
    parser.add_argument(
        "--seconds", type=int, default=SECONDS, metavar="S", help=f"measured time (default {SECONDS})"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line")
    parser.set_defaults(run=run)


@on_load
def run(args: argparse.Namespace) -> int:
    """Run the command; exit code 1 when a bot met an error, 2 when it could not run."""
    found = measure(args.players, args.seconds)
    console = Console(stderr=args.json)
    console.print(table(found), soft_wrap=True, highlight=False, markup=False)
    if args.json:
        print(json.dumps(found))
    return 0 if not found["errors"] else 1


def measure(players: int, seconds: float) -> dict[str, Any]:
    """A crowd, looked at from both sides."""
    with live_server(room_for(players, IN_SIGHT)) as server:
        fleet = Timed(
            Plan(
                target=parse_target(server.url),
                count=players,
                seconds=seconds,
                sources=sources_for(players),
                settle_s=SETTLE_S,
            )
        )
        looks: list[Look] = []

        def mark(begins: bool) -> None:
            looks.append(look_at(server))
            if begins:
                fleet.round_trips_ms.clear()
                fleet.answers_ms.clear()

        fleet.on_window = mark
        result = drive(fleet, server)
    if len(looks) != 2 or not fleet.round_trips_ms or not fleet.answers_ms:
        raise BenchError("stopped before anything was measured")
    neighbour_ms = result.tally.latencies_ms
    return {
        "players": result.wanted,
        "players_held": result.players,
        **spread("round_trip_ms", fleet.round_trips_ms.values),
        **spread("input_to_own_answer_ms", fleet.answers_ms.values),
        **spread("input_to_neighbour_ms", neighbour_ms.values),
        **stages(*looks),
        **tick_figures(looks[0].sample, looks[1].sample),
        **waiting(fleet.answers_ms.values, fleet.round_trips_ms.values, stages(*looks)),
        "drawn_behind_ms": DRAWN_BEHIND_MS,
        "errors": result.tally.errors.total(),
        "errors_by_reason": dict(result.tally.errors.most_common()),
    }


def stages(before: Look, after: Look) -> dict[str, float]:
    """How long each phase of a tick took on average."""
    ticks = max(after["landworld_tick"] - before["landworld_tick"], 1)
    found = {}
    for phase in BEFORE_THE_NEIGHBOUR:
        name = f"landworld_tick_phase_seconds_total{{'phase': '{phase}'}}"
        found[f"{phase}_ms_mean"] = round((after[name] - before[name]) / ticks * 1000, 3)
    return found


def waiting(
    answers_ms: Sequence[float], round_trips_ms: Sequence[float], phases: dict[str, float]
) -> dict[str, float]:
    """The mean wait for the tick: the way to one's own answer, without the line, the rules, encoding, and half of the sending."""
    rules, encode, publish = (phases[f"{phase}_ms_mean"] for phase in BEFORE_THE_NEIGHBOUR)
    left = float(np.mean(answers_ms)) - float(np.mean(round_trips_ms)) - rules - encode - publish / 2
    return {"wait_for_tick_ms_mean": round(left, 2)}


def spread(key: str, values: Sequence[float]) -> dict[str, float | None]:
    """Mean and percentiles."""
    return {
        f"{key}_mean": _round(float(np.mean(values)) if len(values) else None),
        f"{key}_p50": _round(percentile(values, 0.5)),
        f"{key}_p99": _round(percentile(values, 0.99)),
    }


def table(found: dict[str, Any]) -> str:
    """The stages in Markdown."""
    tick_ms = 1000 / TICK_HZ
    rows = [
        ("the line, there and back (`ping` to `pong`)", *_three(found, "round_trip_ms")),
        (
            f"waiting for the tick (they are {tick_ms:.0f} ms apart)",
            _said(found["wait_for_tick_ms_mean"]),
            "",
            "",
        ),
        ("commands and rules", _said(found["commands_and_rules_ms_mean"]), "", ""),
        ("encoding", _said(found["encode_ms_mean"]), "", ""),
        ("half of the sending: one's place in the order", _said(found["publish_ms_mean"] / 2), "", ""),
        ("**input to one's own answer**", *_three(found, "input_to_own_answer_ms")),
        ("**input to a neighbour's socket**", *_three(found, "input_to_neighbour_ms")),
        ("a whole tick", "", _said(found["tick_ms_p50"]), _said(found["tick_ms_p99"])),
    ]
    head = f"| {found['players_held']:,} players; ms | mean | p50 | p99 |\n|---|---|---|---|\n"
    return head + "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _three(found: dict[str, Any], key: str) -> tuple[str, str, str]:
    mean, p50, p99 = (_said(found[f"{key}_{what}"]) for what in ("mean", "p50", "p99"))
    return mean, p50, p99


def _said(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _round(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
