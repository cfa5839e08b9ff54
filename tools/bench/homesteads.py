"""The load of `bench durable`: homesteads, each a plot of land that two players claim, build on, sell and give up, over and over.

A life has ten actions: claim, describe, build, build, open, list, buy, describe, build, abandon. Three in ten build on six to eight
tiles, two move money, the others change a parcel. The next action of a homestead is asked for once the one before is answered, so the
load never has more on its way than there are homesteads. As fast as it goes, each goes on at once; at a pace, actions fall due evenly,
and one that finds all homesteads busy waits for the next and counts from when it was due.

Each homestead has a chunk to itself, near to where its first player stands, so that the two and their neighbours see most of it.
"""

from collections import deque
from collections.abc import Generator, Mapping, Sequence
from itertools import count, islice
from time import perf_counter_ns
from typing import Any, cast

from protocol.edits import TILE_EDIT, pack
from protocol.messages import (
    PLOT_TILES,
    ClientMessage,
    LandAbandon,
    LandClaim,
    LandDescribe,
    LandOpen,
    MarketBuy,
    MarketList,
    TileEdit,
)
from protocol.snapshot import CELL_TILES
from tools.bots.acting import Acting
from tools.bots.fleet import Fleet, Plan
from world.terrain import Ground, Terrain
from world.tiles import Build

PACE_S = 0.005  # between two looks at what is due
PRICE = 5_000  # poisha
WATER = (Ground.DEEP_WATER, Ground.WATER)

Spot = tuple[int, int]  # x, y of a plot, in tiles
Step = tuple[int, type[ClientMessage], tuple[Any, ...]]  # which of the two asks, for what
Life = Generator[Step, Mapping[str, Any], None]


def life(spot: Spot) -> Life:
    """What happens on a plot for ever; each step is answered with its result."""
    x, y = spot
    floor = _tiles(x + 4, y + 4, (Build.FLOOR, Build.FLOOR, Build.FLOOR, Build.FLOOR), 2)
    walls = _tiles(x + 3, y + 4, (Build.WALL, Build.WALL, Build.WALL), 2)
    fence = _tiles(x + 1, y + 1, (Build.FENCE,) * 6, 1)
    for turn in count():
        seller, buyer = turn % 2, (turn + 1) % 2
        claimed = yield seller, LandClaim, (x, y, PLOT_TILES, PLOT_TILES)
        parcel_id = claimed["parcel_id"]
        yield seller, LandDescribe, (parcel_id, f"Homestead {parcel_id}", "Two rooms and a garden.")
        yield seller, TileEdit, (floor,)
        yield seller, TileEdit, (walls,)
        yield seller, LandOpen, (parcel_id, True, False)
        listed = yield seller, MarketList, (parcel_id, PRICE)
        yield buyer, MarketBuy, (listed["listing_id"], PRICE)
        yield buyer, LandDescribe, (parcel_id, f"Homestead {parcel_id}", "In new hands.")
        yield buyer, TileEdit, (fence,)
        yield buyer, LandAbandon, (parcel_id,)


def _tiles(left: int, top: int, row: Sequence[Build], rows: int) -> bytes:
    places = ((left + dx, top + dy, build) for dy in range(rows) for dx, build in enumerate(row))
    return pack(places, TILE_EDIT)


def dry_spots(seed: int, wanted: int) -> list[Spot]:
    """Plots with land of so many chunks, those nearest to (0, 0) first."""
    terrain = Terrain(seed)
    return list(islice((spot for spot in _outward() if not _is_water(terrain, spot)), wanted))


def _outward() -> Generator[Spot, None, None]:
    """The first plot of each chunk, ring after ring."""
    for ring in count():
        for cy in range(-ring, ring + 1):
            step = 1 if abs(cy) == ring else 2 * ring
            for cx in range(-ring, ring + 1, step or 1):
                yield cx * CELL_TILES, cy * CELL_TILES


def _is_water(terrain: Terrain, spot: Spot) -> bool:
    x, y = spot
    plot = terrain.generate(x // CELL_TILES, y // CELL_TILES).ground[:PLOT_TILES, :PLOT_TILES]
    return all(kind in WATER for kind in set(plot.ravel().tolist()))


class Homesteader(Acting):
    """Stands where it appeared, and asks for what its homesteads want."""

    __slots__ = ()
    WATCHES = False

    def _note(self, action_id: bytes, seq: int, result: Mapping[str, Any]) -> None:
        """Keeps no record: a run has a million answers."""


class Homestead:
    """One plot and its two players."""

    def __init__(self, load: "Load", spot: Spot, bots: tuple[Homesteader, Homesteader]) -> None:
        self._load = load
        self._bots = bots
        self._life = life(spot)
        self._next = next(self._life)

    def act(self, due_ns: int) -> None:
        """Ask for the next step."""
        who, request, fields = self._next
        self._bots[who].ask(request, fields, self._answered, due_ns)
        self._load.talking.add(self._bots[who])

    def _answered(self, result: Mapping[str, Any] | None) -> None:
        if result is None:
            self._load.tally.error("a homestead was refused")
            return
        self._next = self._life.send(result)
        self._load.free(self)


class Load(Fleet):
    """A fleet of homesteaders, and the pace at which they act."""

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan, Homesteader)
        self.talking: set[Homesteader] = set()  # have something to send
        self.turn = 0
        self._count = 0
        self._per_s: float | None = 0.0  # None: as fast as it goes
        self._idle: deque[Homestead] = deque()
        self._due: deque[int] = deque()  # when each action was due that no homestead is free for
        self._last_ns = 0
        self._owed = 0.0

    def settle(self, spots: Sequence[Spot]) -> None:
        """Gives every spot to the two players for whom it is nearest to where the first stands."""
        bots = cast(list[Homesteader], self._bots)
        share = -(-len(spots) // len(bots))
        self._count = len(spots)
        free = dict.fromkeys(bots, share)
        for spot in spots:
            first = min(free, key=lambda bot: (bot.x - spot[0]) ** 2 + (bot.y - spot[1]) ** 2)
            free[first] -= 1
            if not free[first]:
                del free[first]
            second = bots[(bots.index(first) + 1) % len(bots)]
            self._idle.append(Homestead(self, spot, (first, second)))

    def pace(self, per_s: float | None) -> None:
        """From now on so many actions a second; None: as fast as it goes."""
        self._per_s, self._owed, self._last_ns = per_s, 0.0, perf_counter_ns()
        self._due.clear()
        if per_s is None:
            while self._idle:
                self._idle.popleft().act(perf_counter_ns())
        self.wake(perf_counter_ns())

    @property
    def busy(self) -> int:
        """Homesteads that wait for an answer."""
        return self._count - len(self._idle)

    def free(self, homestead: Homestead) -> None:
        """It can do the next thing."""
        if self._per_s is None:
            homestead.act(perf_counter_ns())
        elif self._due:
            homestead.act(self._due.popleft())
        else:
            self._idle.append(homestead)

    def wake(self, now_ns: int) -> None:
        """Ask for what is due."""
        self._owed += (self._per_s or 0.0) * (now_ns - self._last_ns) / 1e9
        self._last_ns = now_ns
        for _ in range(int(self._owed)):
            if self._idle:
                self._idle.popleft().act(now_ns)
            else:
                self._due.append(now_ns)
        self._owed %= 1
        self._flush()
        self.wake_in(self, PACE_S)

    def _handle(self, events: list[tuple[int, int]]) -> None:
        """What a batch of answers makes them ask for leaves in one message each."""
        super()._handle(events)
        self._flush()

    def _flush(self) -> None:
        for bot in self.talking:
            bot.flush()
        self.talking.clear()
