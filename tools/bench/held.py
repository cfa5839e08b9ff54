"""What it means that a server *holds* a crowd, the same for every server that is measured, and how the most players held are found.

A crowd is held when everybody is there to the end, nothing went wrong, the median client got its 20 snapshots a second, they came
evenly, and an input was seen by a neighbour in time. A try that fails is repeated once: a machine has its moments. The most is
found by doubling until a try fails twice, and bisecting then. Each try has a fresh server.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console

from tools.bench.live import BenchError
from tools.bench.trial import Measured
from tools.bots.fleet import FleetError

PLAYERS_MAX = 16_000  # nothing larger is tried: one address of loopback has ports for 28,000
PLAYERS_MIN = 10  # who does not hold these holds nothing

RESOLUTION_SHARE = 0.05  # so near to each other are the most held and the fewest not held,
RESOLUTION_MAX = 100  # but no further apart than this,
RESOLUTION_MIN = 10  # and no nearer
ROUND_TO = 10
LOAD_FULL_SHARE = 0.95  # of the load's core: what fails then may be the load's fault
WAITED_SHARE_MAX = 0.05  # of the time; over it the machine is not quiet

Figures = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Target:
    """One promise: a figure and where it should lie."""

    label: str
    key: str
    least: float = -math.inf
    most: float = math.inf

    def met(self, value: float | None) -> bool:
        """Whether a figure keeps the promise."""
        return value is not None and self.least <= value <= self.most

    @property
    def wanted(self) -> str:
        """The promise in words."""
        if self.least > -math.inf and self.most < math.inf:
            return f"{self.least:,.4g} to {self.most:,.4g}"
        return f"at least {self.least:,.4g}" if self.least > -math.inf else f"at most {self.most:,.4g}"


HELD = (
    Target("players missing", "missing", most=0),
    Target("snapshots a second, median client", "snapshot_hz_p50", least=19.8),
    Target("between snapshots p99, ms", "snapshot_interval_ms_p99", most=100),
    Target("input to a neighbour p99, ms", "input_to_neighbour_ms_p99", most=150),
    Target("errors", "errors", most=0),
    Target("lost lines", "lost", most=0),
)


def why_not(found: Figures, targets: Sequence[Target] = HELD) -> list[str]:
    """What speaks against it that this crowd was held, in words; nothing if it was."""
    reasons = []
    for target in targets:
        value = found[target.key]
        if not target.met(value):
            said = "not measured" if value is None else f"{value:,g}"
            reasons.append(f"{target.label}: {said} ({target.wanted})")
    if reasons:
        reasons += doubts(found)
    return reasons


def doubts(found: Figures) -> list[str]:
    """What makes the times worse than the server's own work would, in words."""
    said = []
    if found["bots_cpu_share"] > LOAD_FULL_SHARE:
        said.append(f"the load itself used {found['bots_cpu_share']:.0%} of its core")
    if found["server_waited_share"] > WAITED_SHARE_MAX and not found.get("gateways_cpu_share"):
        said.append(
            f"for {found['server_waited_share']:.0%} of the time another program had the server's core"
        )
    return said


@dataclass(frozen=True, slots=True)
class Try:
    """One try, and what came of it."""

    players: int
    held: bool
    why_not: tuple[str, ...]


def most_held(
    holds: Callable[[int], bool], start: int, least: int = PLAYERS_MIN, most: int = PLAYERS_MAX
) -> int:
    """The most players for which `holds` says yes, within the resolution; 0 when it does not for `least`."""
    low, high = 0, min(max(start, least), most)
    while holds(high):
        low = high
        if high == most:
            return low
        high = min(2 * high, most)
    while not low:
        if high <= least:
            return 0
        half = max(_rounded(high / 2), least)
        if holds(half):
            low = half
        else:
            high = half
    while high - low > resolution(low):
        middle = _rounded((low + high) / 2)
        if not low < middle < high:
            break
        if holds(middle):
            low = middle
        else:
            high = middle
    return low


def resolution(players: int) -> float:
    """How near to the truth is near enough for a crowd of that size."""
    return min(max(players * RESOLUTION_SHARE, RESOLUTION_MIN), RESOLUTION_MAX)


def _rounded(players: float) -> int:
    return round(players / ROUND_TO) * ROUND_TO


@dataclass(slots=True)
class Search:
    """The ramp and bisection of one server: measures, judges, repeats once what failed, keeps the largest try that held."""

    measure: Callable[[int], Measured]
    targets: Sequence[Target] = HELD
    say: Callable[[str], None] = lambda text: Console(stderr=True).print(
        text, soft_wrap=True, highlight=False
    )
    tries: list[Try] = field(default_factory=list)
    best: Measured | None = None

    def run(self, start: int, most: int = PLAYERS_MAX) -> Measured:
        """Answers the largest try that held. Raises BenchError when none did."""
        if most_held(self._holds, start, most=most) and self.best is not None:
            return self.best
        reasons = "; ".join(self.tries[-1].why_not)
        raise BenchError(f"not even {self.tries[-1].players} players were held: {reasons}")

    def _holds(self, players: int) -> bool:
        return self._try(players, "once more") or self._try(players, "not held")

    def _try(self, players: int, otherwise: str) -> bool:
        try:
            measured = self.measure(players)
            reasons = why_not(measured.figures, self.targets)
        except (BenchError, FleetError) as error:
            measured, reasons = None, [str(error)]
        self.tries.append(Try(players, not reasons, tuple(reasons)))
        self.say(f"{players:,} players: " + (f"{'; '.join(reasons)} - {otherwise}" if reasons else "held"))
        if measured is not None and not reasons:
            self.best = measured
        return not reasons
