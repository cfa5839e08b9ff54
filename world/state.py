"""The world in memory: players in arrays, loaded ground, the last chat lines of each channel.

A player is a slot: one index into every array below. Slots are given out lowest first, used again after a player left, and never
move, so that nothing on the hot path is an object per player. The arrays double when they are full.

    x, y            f64   tiles
    dx, dy          f64   intent, a vector of length at most 1
    moving          bool  intent is not zero
    leave_tick      i64   the tick at which a detached player leaves; NEVER while the line stands
    seq             u32   of the newest intent
    steered_tick    i64   when it was taken
    passes          bool  enters closed parcels, too
    denied          i64   the closed parcel that turned them away in their last step, or parcels.OPEN
"""

import heapq
from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from protocol.messages import LISTING_MS_MAX, MONEY_MAX, ChatChannel, Result, Role
from protocol.snapshot import CELL_TILES
from world.commands import Line
from world.grid import NOBODY, Grid, Ints, pack
from world.ledger import Ledger
from world.movement import NEVER
from world.parcels import OPEN, Parcels
from world.sales import Sales
from world.tiles import Surface, lay

SLOTS_AT_START = 256
ANSWERS_KEPT_S = 60  # longer than any look into the database takes, so that nothing falls between the two


@dataclass(frozen=True, slots=True)
class LandRules:
    """Those of land and money. What stands here is a world where land costs next to nothing and nobody is given anything."""

    starting_grant: int = 0  # poisha
    plot_price: int = 1  # poisha, at (0, 0)
    plot_price_min: int = 1  # poisha, far away
    plot_price_falloff: int = 1  # plots; so far away it is half
    parcel_plots_max: int = 64
    player_parcels_max: int = 64
    player_plots_max: int = 512
    lease_term_ms_min: int = 1
    upkeep_per_plot: int = 0  # poisha each period; 0: none
    upkeep_period_ms: int = 1
    upkeep_grace: int = 0  # periods that may be owed


@dataclass(frozen=True, slots=True)
class MarketRules:
    """Those of sales. What stands here is a world where everybody sells what they like, and the house takes nothing."""

    fee_basis_points: int = 0  # of a price: 10,000 are the whole
    fee_min: int = 0  # poisha
    price_min: int = 0  # poisha
    price_max: int = MONEY_MAX  # poisha
    player_listings_max: int = 64
    player_leads_max: int = 64  # auctions in which one player leads
    listing_ms_min: int = 1
    listing_ms_max: int = LISTING_MS_MAX
    step_min: int = 1  # poisha, from one bid to the next
    step_basis_points: int = 0  # of the price; the larger of the two
    snipe_ms: int = 0  # a bid so shortly before the end moves it
    extensions_max: int = 0  # so often, at most, by snipe_ms
    outage_ms: int = 60_000  # no auction ends so shortly after a start, or after the database was away


@dataclass(frozen=True, slots=True)
class Rules:
    """The numbers the rules read. They come from config.toml and stand in a recording, for they belong to its outcome."""

    tick_hz: int
    walk_speed: float  # tiles per second on open ground
    resume_ticks: int  # how long a detached player stays
    chunks_max: int  # most chunks of ground in memory
    chat_radius: float  # tiles
    chat_chars_max: int
    chat_lines_max: int  # lines of each channel kept in memory
    chat_lines_on_enter: int
    land: LandRules = LandRules()
    market: MarketRules = MarketRules()

    def __post_init__(self) -> None:
        if not 0 < self.walk_speed < self.tick_hz:
            raise ValueError(
                f"world.walk_speed ({self.walk_speed} tiles/s) must be below world.tick_hz ({self.tick_hz}/s) tiles per second:"
                " a step of a tile or more could jump over a wall"
            )


class Players:
    """Everyone in the world, and which slot they are in."""

    def __init__(self) -> None:
        self.slot_of: dict[int, int] = {}
        self.names: list[str] = []
        self.roles: list[Role] = []
        self.regrouped = False  # the grid's lists were laid anew: everyone's order in their cell is another
        self._linked: Ints | None = None
        self._free = list(range(SLOTS_AT_START))
        self._allocate(SLOTS_AT_START)

    def __len__(self) -> int:
        return len(self.slot_of)

    @property
    def linked(self) -> Ints:
        """All slots in use, ascending."""
        if self._linked is None:
            self._linked = np.sort(np.fromiter(self.slot_of.values(), np.int32, len(self.slot_of)))
        return self._linked

    def add(self, player_id: int, name: str, role: Role, look: int, x: float, y: float) -> int:
        """Gives a new player a slot and a place; returns the slot."""
        if not self._free:
            self._grow()
        slot = heapq.heappop(self._free)
        self.slot_of[player_id] = slot
        self.names[slot], self.roles[slot] = name, role
        self.player_id[slot], self.look[slot] = player_id, look
        self.x[slot], self.y[slot] = x, y
        self.stop(slot)
        self.leave_tick[slot] = NEVER
        self.seq[slot], self.steered_tick[slot] = 0, NEVER
        self.denied[slot] = OPEN
        self.by_id.enter(slot, player_id)
        self.grid.enter(slot, pack(int(x // CELL_TILES), int(y // CELL_TILES)))
        self._linked = None
        return slot

    def remove(self, player_id: int) -> None:
        """Takes a player out; the slot is free for the next."""
        slot = self.slot_of.pop(player_id)
        self.stop(slot)
        self.leave_tick[slot] = NEVER
        self.steered_tick[slot] = NEVER
        self.by_id.leave(slot)
        self.grid.leave(slot)
        heapq.heappush(self._free, slot)
        self._linked = None

    def stop(self, slot: int) -> None:
        """Intent zero."""
        self.dx[slot] = self.dy[slot] = 0.0
        self.moving[slot] = False

    def _allocate(self, capacity: int) -> None:
        self.player_id: NDArray[np.uint32] = np.zeros(capacity, np.uint32)
        self.look: NDArray[np.uint32] = np.zeros(capacity, np.uint32)
        self.x, self.y, self.dx, self.dy = np.zeros((4, capacity))
        self.moving: NDArray[np.bool_] = np.zeros(capacity, np.bool_)
        self.leave_tick: NDArray[np.int64] = np.full(capacity, NEVER, np.int64)
        self.seq: NDArray[np.uint32] = np.zeros(capacity, np.uint32)
        self.steered_tick: NDArray[np.int64] = np.full(capacity, NEVER, np.int64)
        self.passes: NDArray[np.bool_] = np.zeros(capacity, np.bool_)
        self.denied: NDArray[np.int64] = np.full(capacity, OPEN, np.int64)
        self.grid = Grid(capacity)
        self.by_id = Grid(capacity)  # by player_id instead of cell
        self.names += [""] * (capacity - len(self.names))
        self.roles += [Role.GUEST] * (capacity - len(self.roles))

    def _grow(self) -> None:
        """Doubles every array. Slots stay as they are, so only the grid's lists are laid anew."""
        old = vars(self).copy()
        size = len(self.x)
        self._allocate(2 * size)
        for name in (
            "player_id",
            "look",
            "x",
            "y",
            "dx",
            "dy",
            "moving",
            "leave_tick",
            "seq",
            "steered_tick",
            "passes",
            "denied",
        ):
            getattr(self, name)[:size] = old[name]
        self._free = list(range(size, 2 * size))
        self.grid.rebuild(self.linked, self.x, self.y)
        self.regrouped = True
        for player_id, slot in self.slot_of.items():
            self.by_id.enter(slot, player_id)


class Chunks:
    """What is built, and the walking speed of loaded ground: `walk` u8[chunks_max, 32, 32], percent of full speed, 0 where blocked."""

    def __init__(self, chunks_max: int) -> None:
        self.walk: NDArray[np.uint8] = np.zeros((chunks_max, CELL_TILES, CELL_TILES), np.uint8)
        self.grid = Grid(chunks_max)
        self.slot_of: dict[int, int] = {}
        self.surfaces: dict[int, Surface] = {}  # of every chunk somebody built on, loaded or not
        self._grounds: dict[int, NDArray[np.uint8]] = {}  # what lies under the surfaces of loaded chunks
        self._free = list(range(chunks_max - 1, -1, -1))
        # Hashes of ground and of surfaces, kept by world/digest.py and dropped here with each change: hashing all takes 20 ms.
        self.ground_hashes: dict[int, int] = {}
        self.surface_hashes: dict[int, int] = {}

    def load(self, key: int, walk: bytes) -> bool:
        """Takes a chunk in, or replaces its ground, under what is built there; False when there is no room."""
        slot = self.slot_of.get(key, NOBODY)
        if slot == NOBODY:
            if not self._free:
                return False
            slot = self._free.pop()
            self.slot_of[key] = slot
            self.grid.enter(slot, key)
        self.walk[slot] = np.frombuffer(walk, np.uint8).reshape(CELL_TILES, CELL_TILES)
        self.ground_hashes.pop(key, None)
        if key in self.surfaces:
            self._grounds[key] = self.walk[slot].copy()
            lay(self.surfaces[key].edited(), self._grounds[key], self.walk[slot])
        return True

    def edit(self, key: int, edits: bytes) -> Surface:
        """Builds on a chunk, loaded or not: packed CHUNK_EDIT records. Returns its surface."""
        surface = self.surfaces.setdefault(key, Surface())
        surface.apply(edits)
        self._lay(key, edits)
        return surface

    def recall(self, key: int, version: int, edits: bytes) -> None:
        """Takes in what was built on a chunk before the start: its version, and each edited tile once."""
        self.surfaces[key] = Surface.recalled(version, edits)
        self._lay(key, edits)

    def _lay(self, key: int, edits: bytes) -> None:
        """Sets the walking speeds of what was built, if the chunk is loaded."""
        self.surface_hashes.pop(key, None)
        self.ground_hashes.pop(key, None)
        slot = self.slot_of.get(key, NOBODY)
        if slot != NOBODY:
            ground = self._grounds.setdefault(key, self.walk[slot].copy())
            lay(edits, ground, self.walk[slot])

    def unload(self, key: int) -> None:
        """Forgets the ground of a chunk, not what is built on it; one that is not loaded is no error."""
        slot = self.slot_of.pop(key, NOBODY)
        if slot != NOBODY:
            self._grounds.pop(key, None)
            self.ground_hashes.pop(key, None)
            self.grid.leave(slot)
            self._free.append(slot)


class Answer(msgspec.Struct, frozen=True, gc=False):
    """What was answered to an action; `content` tells one request from another."""

    player_id: int
    content: bytes
    seq: int
    result: Result
    tick: int


Undo = list[tuple[int, int, int, int]]  # chunk, tile, Build before and after
EVERYONE = 0  # the one key of world talk
NOBODY_BLOCKED: frozenset[int] = frozenset()
Entry = tuple[int, Line]  # the line's number in the order of all that was said


class Talk:
    """The latest lines, `lines_max` of each channel, so that none pushes out another's. They are found by whom they are for:

    world lines under EVERYONE, direct lines under the player_ids of both ends, nearby lines under the cell they were said in.
    """

    def __init__(self, lines_max: int) -> None:
        self._lines_max = lines_max
        self._said = 0
        self._lines: dict[ChatChannel, deque[Entry]] = {channel: deque() for channel in ChatChannel}
        self._found: dict[tuple[ChatChannel, int], deque[Entry]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._lines.values()))

    def add(self, line: Line) -> None:
        """Keeps a line; the oldest of its channel goes when there are too many."""
        self._said += 1
        entry, lines = (self._said, line), self._lines[line.channel]
        lines.append(entry)
        for key in _keys(line):
            self._found.setdefault((line.channel, key), deque()).append(entry)
        if len(lines) > self._lines_max:
            self._forget(lines.popleft()[1])

    def _forget(self, oldest: Line) -> None:
        for key in _keys(oldest):
            found = self._found[oldest.channel, key]
            found.popleft()  # it is the oldest here, too
            if not found:
                del self._found[oldest.channel, key]

    def forget_sender(self, player_id: int) -> None:
        """Forgets all that somebody said."""
        for channel, lines in self._lines.items():
            theirs = [line for _, line in lines if line.sender_id == player_id]
            self._lines[channel] = _without(player_id, lines) if theirs else lines
            for key in set().union(*map(_keys, theirs)):
                found = self._found[channel, key] = _without(player_id, self._found[channel, key])
                if not found:
                    del self._found[channel, key]

    def latest(self, channel: ChatChannel, key: int) -> Iterator[Entry]:
        """The lines under a key, newest first."""
        return reversed(self._found.get((channel, key), ()))

    def all(self) -> list[Entry]:
        """All lines, oldest first."""
        return sorted(entry for lines in self._lines.values() for entry in lines)


def _without(sender_id: int, entries: deque[Entry]) -> deque[Entry]:
    return deque(entry for entry in entries if entry[1].sender_id != sender_id)


def _keys(line: Line) -> set[int]:
    if line.channel == ChatChannel.WORLD:
        return {EVERYONE}
    if line.channel == ChatChannel.DIRECT:
        return {line.sender_id} if line.to is None else {line.sender_id, line.to}
    return {pack(int(line.x // CELL_TILES), int(line.y // CELL_TILES))}


class Deafness:
    """Who of those in the world does not hear whom."""

    def __init__(self) -> None:
        self._blocked: dict[int, set[int]] = {}  # by who does not hear
        self._deaf: dict[int, set[int]] = {}  # by who is not heard

    def set(self, player_id: int, blocked: Iterable[int]) -> None:
        """These, and nobody else, are not heard by a player."""
        for other in self._blocked.pop(player_id, ()):
            self._deaf[other].discard(player_id)
            if not self._deaf[other]:
                del self._deaf[other]
        if others := set(blocked):
            self._blocked[player_id] = others
        for other in others:
            self._deaf.setdefault(other, set()).add(player_id)

    def blocked_by(self, player_id: int) -> Set[int]:
        """Whom a player does not hear."""
        return self._blocked.get(player_id, NOBODY_BLOCKED)

    def deaf_to(self, player_id: int) -> Set[int]:
        """Who does not hear a player."""
        return self._deaf.get(player_id, NOBODY_BLOCKED)

    def all(self) -> list[tuple[int, list[int]]]:
        """Everything, in one order."""
        return [(player_id, sorted(self._blocked[player_id])) for player_id in sorted(self._blocked)]


class State:
    """All that the rules read and write."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.tick = 0
        self.players = Players()
        self.chunks = Chunks(rules.chunks_max)
        self.talk = Talk(rules.chat_lines_max)
        self.deafness = Deafness()
        self.detached: set[int] = set()  # player_ids whose line is lost
        self.ledger = Ledger()
        self.parcels = Parcels(rules.chunks_max, upkeep=rules.land.upkeep_per_plot > 0)
        self.sales = Sales()
        self.opened = 0  # the tick from which durable actions are taken again, after a start or an outage
        self.seq = 0  # of the journal's last entry
        self.digest = bytes(32)  # that chains all entries (entries.py)
        self.answers: OrderedDict[bytes, Answer] = (
            OrderedDict()
        )  # by action_id, those of the last ANSWERS_KEPT_S
        self.undo: dict[int, deque[Undo]] = {}  # by player_id: what may be taken back

    def remember(self, action_id: bytes, answer: Answer) -> None:
        """Keeps an answer, for who asks the same again; the older ones are in the database, and asked for there."""
        answers = self.answers
        answers[action_id] = answer
        oldest = self.tick - ANSWERS_KEPT_S * self.rules.tick_hz
        while next(iter(answers.values())).tick < oldest:
            answers.popitem(last=False)

    def time_ms(self, tick: int) -> int:
        """World time of a tick, in milliseconds."""
        return tick * 1000 // self.rules.tick_hz

    @property
    def upkeep_ticks(self) -> int:
        """A period of upkeep in ticks."""
        return self.ticks_of(self.rules.land.upkeep_period_ms)

    def ticks_of(self, time_ms: int) -> int:
        """So much world time in ticks, at least one."""
        return max(1, time_ms * self.rules.tick_hz // 1000)
