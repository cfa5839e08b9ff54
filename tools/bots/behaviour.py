"""Where a bot wants to go: pure decisions, from a random generator of its own.

`intent(x, y)` is asked twice a second (INPUTS_PER_S) with the place the server last told, and answers a direction of length 1, or
(0, 0) to stand. The same seed, index and places give the same answers; when they are asked makes no difference. Units: tiles.
"""

import math
from collections.abc import Callable
from random import Random
from typing import NamedTuple, Protocol

INPUTS_PER_S = 2

ROAM_TILES = (
    12.0  # a wanderer turns back this far from where it appeared, so that the density of a crowd holds
)
PLAZA = (0.0, 0.0)  # where a crowd gathers: the middle of the spawn area, always pleasant land
PLAZA_TILES = 6.0  # who is so near has arrived, and strolls about
COMMUTE_ENDS = ((-32.0, 0.0), (32.0, 0.0))
STUCK_TILES = 0.1  # who came no further than this since the last input walks around what is in the way

Intent = tuple[float, float]
STAND: Intent = (0.0, 0.0)


class Place(NamedTuple):
    """A place in the world."""

    x: float
    y: float


class Behaviour(Protocol):
    """What every kind of bot can answer."""

    def intent(self, x: float, y: float) -> Intent:
        """Where to go from (x, y)."""


class Idle:
    """Stands where it appeared."""

    def intent(self, x: float, y: float) -> Intent:
        """Never anywhere."""
        return STAND


class Wander:
    """Random headings around where it appeared."""

    def __init__(self, random: Random, home: Place) -> None:
        self._random = random
        self._home = home

    def intent(self, x: float, y: float) -> Intent:
        """Any heading; roughly homeward from too far away."""
        if math.hypot(x - self._home.x, y - self._home.y) <= ROAM_TILES:
            return heading(self._random.uniform(-math.pi, math.pi))
        return toward(self._home.x - x, self._home.y - y, self._random.gauss(0, 0.5))


class Visit:
    """Walks to one place after the other, round and round; with a single place it gathers there and strolls about."""

    def __init__(self, random: Random, places: tuple[Place, ...]) -> None:
        self._random = random
        self._places = places
        self._next = random.randrange(len(places))
        self._last: Place | None = None

    def intent(self, x: float, y: float) -> Intent:
        """Toward the next place; at a random angle after standing before an obstacle."""
        stuck = self._last is not None and math.hypot(x - self._last.x, y - self._last.y) < STUCK_TILES
        self._last = Place(x, y)
        goal = self._places[self._next]
        if math.hypot(goal.x - x, goal.y - y) < PLAZA_TILES:
            self._next = (self._next + 1) % len(self._places)
            return heading(self._random.uniform(-math.pi, math.pi))
        spread = math.pi / 2 if stuck else 0.2
        return toward(goal.x - x, goal.y - y, self._random.gauss(0, spread))


def heading(angle: float) -> Intent:
    """The direction of length 1 at an angle (radians; 0 is east, y grows south)."""
    return math.cos(angle), math.sin(angle)


def toward(dx: float, dy: float, swerve: float) -> Intent:
    """The direction to somewhere, off by an angle."""
    return heading(math.atan2(dy, dx) + swerve)


def _commute(random: Random, home: Place) -> Behaviour:
    ends = tuple(Place(x + random.gauss(0, 4), y + random.gauss(0, 4)) for x, y in COMMUTE_ENDS)
    return Visit(random, ends)


def _mix(random: Random, home: Place) -> Behaviour:
    (name,) = random.choices(("wander", "idle", "crowd", "commute"), weights=(60, 15, 10, 15))
    return BEHAVIOURS[name](random, home)


BEHAVIOURS: dict[str, Callable[[Random, Place], Behaviour]] = {
    "wander": Wander,
    "idle": lambda random, home: Idle(),
    "crowd": lambda random, home: Visit(random, (Place(*PLAZA),)),
    "commute": _commute,
    "mix": _mix,
    "settle": Wander,  # what it does besides is in settler.py
}


def random_of(seed: int, index: int) -> Random:
    """The generator of one bot: another one for every seed and index, the same on every run."""
    return Random(f"{seed}/{index}")  # noqa: S311 (play, not secrets)
