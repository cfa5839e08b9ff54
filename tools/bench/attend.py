"""What the benches of a whole server share: a fleet that is driven with progress, and the server as it is seen from outside.

Memory is resident memory of processes, in KiB: what the kernel holds for their sockets is not in it. That is told apart, by
`kernel_kib`, and for the whole machine, both ends of each connection. Linux only.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from server.config import WorldConfig
from tools.bench.crowd import ROOM, TICK, TOLD, spawn_radius
from tools.bench.held import Target
from tools.bench.live import BenchError, LiveServer, Sample, histogram_percentile
from tools.bench.trial import TICK_HZ
from tools.bots.fleet import Bot, Fleet
from tools.bots.progress import Progress
from tools.bots.report import Run

SOURCE_PLAYERS_MAX = 20_000  # from one address: it has ports for 28,000
PAGE_KIB = os.sysconf("SC_PAGE_SIZE") // 1024


class Still(Bot):
    """A bot that is there, reads, and never makes another move."""

    __slots__ = ()
    WATCHES = False


def room_for(players: int, in_sight: float, **more: object) -> dict[str, object]:
    """Settings of a server with room for so many, spread over so much land that each has so many others in sight."""
    seed = WorldConfig().seed
    return {
        "world.seed": seed,
        "world.spawn_radius": spawn_radius(players, seed, min(in_sight, players - 1)),
        "world.tick_hz": TICK_HZ,
        "server.max_players": max(players, 10_000),
        "limits.connections_max": max(players, 10_000) + ROOM,
        "limits.connections_per_address": max(players, 10_000) + ROOM,
        "log.level": "warning",
        **more,
    }


def sources_for(players: int) -> int:
    """How many addresses of loopback so many bots come from."""
    return -(-players // SOURCE_PLAYERS_MAX)


def drive(fleet: Fleet, server: LiveServer, look: Callable[[], None] = lambda: None) -> Run:
    """Lets a fleet run, with progress shown; `look` is called twice a second. Raises BenchError when the server ends."""
    with Progress(fleet.plan, Console(stderr=True)) as progress:

        def on_progress(fleet: Fleet) -> None:
            server.check_alive()
            look()
            progress.show(fleet)

        fleet.on_progress = on_progress
        return fleet.run()


@dataclass(frozen=True, slots=True)
class Look:
    """A server at one moment: what it counts, and the memory of all its processes together."""

    sample: Sample
    rss_kib: int
    kernel_kib: int = 0  # for TCP, of the whole machine

    def __getitem__(self, name: str) -> float:
        """A number of /metrics; 0 for a label that was not counted yet."""
        return self.sample.metrics.get(name, 0.0)

    def cpu_share(self, since: "Look") -> float:
        """Of one core, since an earlier look."""
        return (self.sample.cpu_s - since.sample.cpu_s) / max(self.sample.at_s - since.sample.at_s, 1e-9)


def look_at(server: LiveServer) -> Look:
    """Everything, now."""
    return Look(server.sample(), server.rss_kib(), kernel_kib())


def kernel_kib() -> int:
    """Memory of the kernel for TCP's buffers, of the whole machine (/proc/net/sockstat)."""
    return tcp_pages(Path("/proc/net/sockstat").read_text()) * PAGE_KIB


def tcp_pages(text: str) -> int:
    """The pages that /proc/net/sockstat says TCP has."""
    for line in text.splitlines():
        name, *fields = line.split()
        if name == "TCP:":
            return int(fields[fields.index("mem") + 1])
    raise BenchError("no TCP in /proc/net/sockstat")


# --- figures ---


def tick_figures(before: Sample, after: Sample) -> dict[str, Any]:
    """What the server's ticks were like between two samples: how long they took, and how long after its deadline each was told."""
    ticks = after.metrics[f"{TICK}_count"] - before.metrics[f"{TICK}_count"]
    return {
        "tick_ms_p50": _ms(histogram_percentile(before, after, TICK, 0.5)),
        "tick_ms_p99": _ms(histogram_percentile(before, after, TICK, 0.99)),
        "told_ms_p99": _ms(histogram_percentile(before, after, TOLD, 0.99)),
        "tick_hz": round(ticks / max(after.at_s - before.at_s, 1e-9), 2),
    }


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 2)


def show(found: dict[str, Any], promised: Sequence[Target], console: Console) -> None:
    """The promises as a table for people."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("", "measured", "promised", ""):
        table.add_column(column, justify="right" if column else "left")
    for target in promised:
        value = found[target.key]
        said = "[green]kept[/]" if target.met(value) else "[red]missed[/]"
        table.add_row(target.label, "-" if value is None else f"{value:,g}", target.wanted, said)
    console.print(table)


def kept(found: dict[str, Any], promised: Sequence[Target]) -> bool:
    """Whether all promises are."""
    return all(target.met(found[target.key]) for target in promised)
