"""What the server counts, and how it is shown: plain numbers on the hot path, Prometheus families when somebody looks.

Counting is an addition to an attribute; the families of `/metrics` are made from the numbers at each scrape. Names begin with
`landworld_`, units stand at their end.
"""

import bisect
import logging
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import structlog
from prometheus_client import (
    CollectorRegistry,
    GCCollector,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from server.config import LogConfig
from server.seam import Tally

# Fine where the promise lies: a tick has 50 ms at 20 Hz.
TICK_BUCKETS_S = tuple(
    milliseconds / 1000
    for milliseconds in (
        0.5,
        1,
        1.5,
        2,
        3,
        4,
        5,
        6,
        8,
        10,
        12,
        15,
        18,
        22,
        26,
        30,
        35,
        40,
        45,
        50,
        60,
        75,
        100,
        150,
        250,
        500,
        1000,
    )
)
# Of the tick; after it come the acts.
PHASES = ("commands_and_rules", "encode", "publish", "ground_and_saving")


class Histogram:
    """Durations in seconds, counted into fixed buckets."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total_s = 0.0

    def observe(self, seconds: float) -> None:
        """Counts one."""
        self.counts[bisect.bisect_left(self.bounds, seconds)] += 1
        self.total_s += seconds

    def family(self, name: str, text: str) -> HistogramMetricFamily:
        """As Prometheus wants it: cumulative."""
        buckets, running = [], 0
        for bound, count in zip((*map(str, self.bounds), "+Inf"), self.counts, strict=True):
            running += count
            buckets.append((bound, running))
        return HistogramMetricFamily(name, text, buckets=buckets, sum_value=self.total_s)


class Counts:
    """What the simulation side counts as it happens; the connection sides have a Tally each. Keys of the counters are the labels."""

    def __init__(self) -> None:
        self.tick = Histogram(TICK_BUCKETS_S)
        self.lateness = Histogram(TICK_BUCKETS_S)
        self.told = Histogram(TICK_BUCKETS_S)
        self.acts = Histogram(TICK_BUCKETS_S)
        self.phase_s = dict.fromkeys(PHASES, 0.0)
        self.overruns = 0
        self.refused: Counter[str] = Counter()  # by refusal code
        self.overload_steps = 0


Gauge = Callable[[], float]


class Telemetry(Collector):
    """The registry behind `/metrics`. `gauges` and `totals` are asked when somebody looks; `by_label` give a count per label.

    `tally` is asked, too: what all connection sides have counted.
    """

    def __init__(self, counts: Counts) -> None:
        self.counts = counts
        self.tally: Callable[[], Tally] = Tally
        self.latest = Tally()  # of the last look, or the one that goes on
        self.gauges: dict[str, tuple[str, Gauge]] = {}
        self.totals: dict[str, tuple[str, Gauge]] = {}
        self.by_label: dict[str, tuple[str, str, Callable[[], Iterable[tuple[str, float]]]]] = {}
        self._registry = CollectorRegistry()
        self._registry.register(self)
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self._registry)

    def page(self) -> bytes:
        """The text of `/metrics`."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """All families, from the numbers of this moment."""
        counts, tally = self.counts, self.tally()
        self.latest = tally
        yield counts.tick.family(
            "landworld_tick_seconds",
            "Time a tick took, from its first command to its last write, or to the last gateway told.",
        )
        yield counts.lateness.family(
            "landworld_tick_late_seconds", "How long after its deadline a tick began."
        )
        yield counts.told.family(
            "landworld_tick_told_seconds",
            "How long after its deadline a tick was told: what came late, and what was done until it was published.",
        )
        yield counts.acts.family(
            "landworld_acts_seconds",
            "What the durable actions between two ticks took, from admission to what is to be told of them.",
        )
        yield _labelled(
            "landworld_tick_phase_seconds",
            "Time spent in a phase of the tick; with gateways, publish ends when the frame is theirs.",
            "phase",
            counts.phase_s.items(),
        )
        yield _labelled("landworld_messages", "Messages from clients.", "name", tally.messages.items())
        yield _labelled(
            "landworld_refused",
            "Requests that were refused.",
            "code",
            (counts.refused + Counter(tally.refused)).items(),
        )
        yield _labelled(
            "landworld_closed", "Connections that ended, by close code.", "code", tally.closed.items()
        )
        yield _labelled(
            "landworld_rejected", "Handshakes that were turned away.", "status", tally.rejected.items()
        )
        yield CounterMetricFamily(
            "landworld_unseemly_lines", "Lines of talk with a word that is not wanted.", tally.unseemly
        )
        yield CounterMetricFamily(
            "landworld_tick_overruns", "Ticks that took longer than a tick.", counts.overruns
        )
        yield CounterMetricFamily("landworld_received_bytes", "Bytes from clients.", tally.received_bytes)
        yield CounterMetricFamily(
            "landworld_accepted_connections", "Connections since the start.", tally.connections
        )
        yield CounterMetricFamily(
            "landworld_resumed", "Sessions that went on after a lost line.", tally.resumed
        )
        yield CounterMetricFamily("landworld_sent_bytes", "Bytes to clients.", tally.sent_bytes)
        yield CounterMetricFamily("landworld_sent_writes", "Writes to sockets.", tally.sent_writes)
        yield CounterMetricFamily(
            "landworld_skipped_snapshots", "Writes left out: not read.", tally.skipped_snapshots
        )
        for name, (text, value) in self.totals.items():
            yield CounterMetricFamily(name, text, value())
        for name, (text, value) in self.gauges.items():
            yield GaugeMetricFamily(name, text, value())
        for name, (text, label, values) in self.by_label.items():
            family = GaugeMetricFamily(name, text, labels=[label])
            for key, number in values():
                family.add_metric([key], number)
            yield family


def _labelled(name: str, text: str, label: str, values: Iterable[tuple[str, float]]) -> CounterMetricFamily:
    family = CounterMetricFamily(name, text, labels=[label])
    for key, number in list(values):
        family.add_metric([key], number)
    return family


def set_up_logs(config: LogConfig) -> None:
    """structlog to standard error: for people, or one JSON object a line.

    Tracebacks come without the values of variables: those may be keys and tokens, and to show them takes seconds of the loop.
    """
    level = logging.getLevelNamesMapping()[config.level.upper()]
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    if config.format == "json":
        tracebacks = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
        shared += [structlog.processors.ExceptionRenderer(tracebacks), structlog.processors.JSONRenderer()]
    else:
        plain = structlog.dev.plain_traceback
        shared.append(structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain))
    structlog.configure(
        processors=shared,
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(level=max(level, logging.WARNING), stream=sys.stderr, format="%(name)s: %(message)s")
