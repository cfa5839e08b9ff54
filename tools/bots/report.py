"""What a run of bots measured, and how it is told: a text table, one JSON object, a picture of the histograms.

Times are taken with `time.perf_counter_ns` in one process, so a latency between two bots compares one clock with itself. Durations
are milliseconds. `bytes_per_s` is what all bots together read from their sockets, WebSocket headers included, TCP's not;
`bytes_per_s_per_client` is that divided by the players.
"""

from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

SAMPLES_MAX = 1_000_000  # of each kind; the oldest give way

REASONS_MAX = 100  # kinds of error told apart; further ones are counted together

SHARES = (0.5, 0.9, 0.99)


class Samples:
    """The latest SAMPLES_MAX values of one kind."""

    def __init__(self) -> None:
        self._values = array("d")
        self._count = 0

    def __len__(self) -> int:
        return len(self._values)

    def add(self, value: float) -> None:
        """Keep one more; over the limit it takes the oldest one's place."""
        if self._count < SAMPLES_MAX:
            self._values.append(value)
        else:
            self._values[self._count % SAMPLES_MAX] = value
        self._count += 1

    def clear(self) -> None:
        """Forget all of them."""
        del self._values[:]
        self._count = 0

    @property
    def values(self) -> Sequence[float]:
        """All that are kept, in no particular order."""
        return self._values


@dataclass(slots=True)
class Tally:
    """Everything a fleet counts. The hot path adds to plain attributes; `clear` marks the start of the measured time."""

    reads: int = 0
    bytes_in: int = 0
    frames_in: int = 0
    inputs: int = 0
    said: int = 0
    actions: int = 0  # durable ones that were asked for
    repeats: int = 0  # asked for once more though they were answered
    acks: int = 0
    cpu_s: float = 0.0  # of this process, in the measured time
    seconds: float = 0.0  # the measured time
    intervals_ms: Samples = field(default_factory=Samples)
    rates_hz: Samples = field(
        default_factory=Samples
    )  # of each watcher, snapshots a second over the measured time
    latencies_ms: Samples = field(default_factory=Samples)
    turns_ms: Samples = field(default_factory=Samples)
    in_sight: Samples = field(default_factory=Samples)
    read_bytes: Samples = field(default_factory=Samples)
    acks_ms: Samples = field(default_factory=Samples)  # from asking to the answer that it is stored
    refusals: Counter[str] = field(default_factory=Counter)  # of actions, by code
    unseen: int = 0  # probes that moved, and nobody was told in time
    # The rest is counted from the first connection on.
    joins_ms: Samples = field(default_factory=Samples)
    returns_ms: Samples = field(default_factory=Samples)
    errors: Counter[str] = field(default_factory=Counter)
    lost: int = 0
    sent_away: int = 0

    def error(self, reason: str) -> None:
        """Count one thing that must not happen."""
        known = reason in self.errors or len(self.errors) < REASONS_MAX
        self.errors[reason if known else "other reasons"] += 1

    def clear(self) -> None:
        """Forget what was seen before the measured time; joins, errors and losses stay."""
        self.reads = self.bytes_in = self.frames_in = self.inputs = self.said = self.unseen = 0
        self.actions = self.repeats = self.acks = 0
        self.refusals.clear()
        for samples in (
            self.intervals_ms,
            self.rates_hz,
            self.latencies_ms,
            self.turns_ms,
            self.in_sight,
            self.read_bytes,
            self.acks_ms,
        ):
            samples.clear()


@dataclass(frozen=True, slots=True)
class Run:
    """A run that is over."""

    wanted: int
    players: int  # in the world when the time was up
    tally: Tally

    @property
    def passed(self) -> bool:
        """Whether everybody was there and nothing went wrong."""
        return not self.tally.errors and self.players >= self.wanted


def percentile(values: Sequence[float], share: float) -> float | None:
    """The smallest value that at least `share` of all do not pass (nearest rank); None without values."""
    if not values:
        return None
    rank = max(0, int(np.ceil(share * len(values))) - 1)
    return float(np.partition(np.asarray(values), rank)[rank])


def figures(run: Run) -> dict[str, Any]:
    """The run as plain data; keys end in their unit, None is what could not be measured."""
    tally = run.tally
    seconds = tally.seconds or 1.0
    clients = max(run.players, 1)
    return {
        "players": run.players,
        "errors": tally.errors.total(),
        "lost": tally.lost,
        "snapshot_hz_p50": _round(percentile(tally.rates_hz.values, 0.5)),
        **_spread("snapshot_interval_ms", tally.intervals_ms),
        **_spread("input_to_neighbour_ms", tally.latencies_ms),
        "probes": len(tally.latencies_ms),
        "probes_unseen": tally.unseen,
        "bytes_per_s": _round(tally.bytes_in / seconds),
        "bytes_per_s_per_client": _round(tally.bytes_in / seconds / clients),
        "frames_per_s": _round(tally.frames_in / seconds),
        "reads_per_s": _round(tally.reads / seconds),
        "inputs_per_s": _round(tally.inputs / seconds),
        "chats_per_s": _round(tally.said / seconds),
        "actions_per_s": _round(tally.actions / seconds),
        "acks_per_s": _round(tally.acks / seconds),
        **_spread("ack_ms", tally.acks_ms),
        "repeats": tally.repeats,
        "refusals_by_code": dict(tally.refusals.most_common()),
        "in_sight_mean": _round(_mean(tally.in_sight.values)),
        **_spread("join_ms", tally.joins_ms),
        "sent_away": tally.sent_away,
        **_spread("return_ms", tally.returns_ms),
        "own_cpu_share": _round(tally.cpu_s / seconds),
        "own_turn_ms_p99": _round(percentile(tally.turns_ms.values, 0.99)),
        "seconds": _round(tally.seconds),
        "errors_by_reason": dict(tally.errors.most_common()),
    }


def show(run: Run, console: Console) -> None:
    """The run as a table for people."""
    found = figures(run)
    table = Table(box=None, pad_edge=False, header_style="bold", title_justify="left")
    for column in ("", "p50", "p90", "p99"):
        table.add_column(column, justify="left" if not column else "right")
    for label, key in (
        ("between snapshots, ms", "snapshot_interval_ms"),
        ("input to a neighbour, ms", "input_to_neighbour_ms"),
        ("action to stored, ms", "ack_ms"),
        ("connect to welcome, ms", "join_ms"),
        ("line lost to welcome, ms", "return_ms"),
    ):
        if found[f"{key}_p50"] is not None:
            table.add_row(label, *(f"{found[f'{key}_p{share * 100:.0f}']:,.1f}" for share in SHARES))
    console.print(table)

    def say(text: str) -> None:
        console.print(text, soft_wrap=True, highlight=False)

    say(f"[bold]{run.players:,} of {run.wanted:,} players[/] for {run.tally.seconds:.1f} s")
    say(_line("snapshots", found["snapshot_hz_p50"], "Hz; in sight of each", found["in_sight_mean"]))
    say(
        f"to each client {found['bytes_per_s_per_client']:,.0f} B/s; to all {found['bytes_per_s']:,.0f} B/s "
        f"in {found['frames_per_s']:,.0f} frames/s; from all {found['inputs_per_s']:,.0f} inputs/s"
    )
    say(
        f"probes {found['probes']:,}, unseen {found['probes_unseen']}; lines lost {found['lost']}, "
        f"sent away by the server {found['sent_away']}"
    )
    if run.tally.actions:
        say(
            f"actions {found['actions_per_s']:,.1f}/s, answered {found['acks_per_s']:,.1f}/s, asked twice {found['repeats']}; "
            + _refusals(run.tally)
        )
    say(_own_share(found))
    if not run.tally.errors:
        say("[green]no errors[/]")
    for reason, count in run.tally.errors.most_common():
        say(f"[red]{count:,} x {reason}[/]")


def picture(run: Run, path: Path) -> None:
    """Histograms of snapshot intervals and of input-to-neighbour times, as an image file."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # slow to import, seldom needed
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained", dpi=150)
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    _histogram(left, run.tally.intervals_ms.values, "between two snapshots", "#2f6f73")
    _histogram(right, run.tally.latencies_ms.values, "from an input to a neighbour", "#b5642f")
    players = f"{run.players:,} players for {run.tally.seconds:.0f} s"
    figure.suptitle(f"{players}, {run.tally.errors.total()} errors, {run.tally.lost} lines lost")
    figure.savefig(path)


def _histogram(axes: Any, values: Sequence[float], label: str, colour: str) -> None:
    axes.set_xlabel(f"{label}, ms")
    axes.set_ylabel("samples")
    axes.spines[["top", "right"]].set_visible(False)
    if not values:
        axes.text(0.5, 0.5, "nothing measured", ha="center", va="center", transform=axes.transAxes)
        return
    top = max(percentile(values, 0.99) or 0.0, 1.0) * 1.5
    outside = sum(value > top for value in values)
    axes.hist(np.asarray(values), bins=60, range=(0, top), color=colour, alpha=0.85)
    for share in (0.5, 0.99):
        axes.axvline(percentile(values, share), color="#333333", linewidth=0.8, linestyle=(0, (4, 3)))
    marks = "   ".join(f"p{share * 100:.0f}  {percentile(values, share) or 0.0:.1f}" for share in SHARES)
    axes.set_title(marks, fontsize=9, loc="left", color="#333333")
    if outside:
        axes.text(0.99, 0.8, f"{outside} beyond", ha="right", transform=axes.transAxes, fontsize=8)


def _own_share(found: dict[str, Any]) -> str:
    turn = found["own_turn_ms_p99"]
    late = f", a watcher's bytes waited for it at most {turn:.2f} ms (p99)" if turn is not None else ""
    doubt = (
        ""
        if found["own_cpu_share"] < 0.9
        else " [yellow]- too busy: the times above are partly the bots' own[/]"
    )
    return f"the bots themselves used {found['own_cpu_share']:.0%} of a core{late}{doubt}"


def _refusals(tally: Tally) -> str:
    counts = ", ".join(f"{count:,} {code}" for code, count in tally.refusals.most_common())
    return f"refused {counts}" if counts else "none refused"


def _line(before: str, first: float | None, between: str, second: float | None) -> str:
    return " ".join((before, _or_dash(first), between, _or_dash(second)))


def _or_dash(value: float | None) -> str:
    return "-" if value is None else f"{value:,.1f}"


def _spread(key: str, samples: Samples) -> dict[str, float | None]:
    return {f"{key}_p{share * 100:.0f}": _round(percentile(samples.values, share)) for share in SHARES}


def _mean(values: Iterable[float]) -> float | None:
    kept = np.fromiter(values, float)
    return float(kept.mean()) if kept.size else None


def _round(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
