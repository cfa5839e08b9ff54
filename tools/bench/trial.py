"""One try: a fleet of bots against a server, looked at from both sides, and the figures that every server has.

A *frame* is one delivery: all that one client gets of one tick, one read of the bot. An *entity-update* is one person's new place told
to one client: each frame holds one for everybody in sight and for oneself, since all walk.
"""

from dataclasses import dataclass, field
from typing import Any

from rich.console import Console

from tools.bench.live import BenchError, Sample, ServerProcess
from tools.bots import report
from tools.bots.fleet import Fleet
from tools.bots.progress import Progress

TICK_HZ = 20


@dataclass(frozen=True, slots=True)
class Measured:
    """A try that ran to its end."""

    run: report.Run
    figures: dict[str, Any]


@dataclass(slots=True)
class Window:
    """The server when nobody was there, and at the start and the end of the measured time."""

    server: ServerProcess
    empty_kib: int = 0
    rss_kib: int = 0
    samples: list[Sample] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.empty_kib = self.server.rss_kib()

    def mark(self, begins: bool) -> None:
        """The measured time begins, or ends."""
        self.samples.append(self.server.sample())
        self.rss_kib = self.server.rss_kib()


def drive(fleet: Fleet, window: Window) -> report.Run:
    """Let the fleet run, with progress shown. Raises BenchError when nothing could be measured."""
    before = fleet.on_window

    def mark(begins: bool) -> None:
        window.mark(begins)
        before(begins)

    fleet.on_window = mark
    with Progress(fleet.plan, Console(stderr=True)) as progress:

        def look(fleet: Fleet) -> None:
            window.server.check_alive()
            progress.show(fleet)

        fleet.on_progress = look
        run = fleet.run()
    if len(window.samples) < 2 or not run.tally.reads:
        raise BenchError("stopped before anything was measured")
    return run


def figures(run: report.Run, window: Window) -> dict[str, Any]:
    """What is known of any server; keys end in their unit."""
    before, after = window.samples[0], window.samples[-1]
    seconds = after.at_s - before.at_s
    cpu_s = after.cpu_s - before.cpu_s
    bots = report.figures(run)
    told = (bots["in_sight_mean"] or 0.0) + 1  # entity-updates in a frame
    frame_us = cpu_s * 1e6 / max(run.tally.reads, 1)
    same = (
        "snapshot_hz_p50",
        *(f"snapshot_interval_ms_{rank}" for rank in ("p50", "p99")),
        *(f"input_to_neighbour_ms_{rank}" for rank in ("p50", "p90", "p99")),
        "probes",
        "bytes_per_s",
        "bytes_per_s_per_client",
        "in_sight_mean",
        "lost",
        "errors",
        "errors_by_reason",
    )
    return {
        "players": run.wanted,
        "players_held": run.players,
        "missing": run.wanted - run.players,
        **{key: bots[key] for key in same},
        "bytes_per_entity_update": round(bots["bytes_per_s_per_client"] / told / TICK_HZ, 2),
        "frames_per_s": bots["reads_per_s"],
        "server_waited_share": round((after.waited_s - before.waited_s) / seconds, 3),
        "server_cpu_share": round(cpu_s / seconds, 3),
        "server_cpu_us_per_frame": round(frame_us, 2),
        "server_cpu_us_per_entity_update": round(frame_us / told, 3),
        "memory_kib_per_connection": round((window.rss_kib - window.empty_kib) / max(run.players, 1), 1),
        "bots_cpu_share": bots["own_cpu_share"],
        "seconds": round(seconds, 1),
    }
