"""The world once more, slowly: dicts and lists instead of arrays and kernels, for small worlds to be compared with.

It knows the rules as a reader of world/'s docstrings would write them down; nothing here is shared with the code it checks but the
commands, the rules' numbers and the cleaning and hearing of talk, which tests/world/test_chat.py covers.
"""

import math
from dataclasses import dataclass, field

import numpy as np

from world.commands import STEER, AnyCommand, Detach, Join, Leave, LoadChunk, Steers, UnloadChunk
from world.state import Rules

Cell = tuple[int, int]
BOUND = 2**20 - 1 / 2048


@dataclass
class Person:
    """One player."""

    x: float
    y: float
    dx: float = 0.0
    dy: float = 0.0
    leave_tick: int | None = None

    @property
    def cell(self) -> Cell:
        """Where they stand."""
        return math.floor(self.x) // 32, math.floor(self.y) // 32


@dataclass
class Outcome:
    """What one step says, in plain things."""

    joined: dict[int, tuple[float, float, bool]] = field(default_factory=dict)
    left: dict[int, tuple[float, float]] = field(default_factory=dict)
    moved: list[tuple[int, int, float, float]] = field(default_factory=list)
    crossed: dict[int, Cell] = field(default_factory=dict)
    cells: dict[Cell, set[int]] = field(default_factory=dict)
    rejected: list[Cell] = field(default_factory=list)
    unloaded: list[Cell] = field(default_factory=list)
    moving: int = 0


class Model:
    """All of it."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.tick = 0
        self.people: dict[int, Person] = {}
        self.chunks: dict[Cell, bytes] = {}

    def step(self, commands: list[AnyCommand]) -> Outcome:
        """One tick."""
        self.tick += 1
        out, touched, steered = Outcome(), set[Cell](), dict[int, int]()
        for command in commands:
            self._apply(command, out, touched, steered)
        for player_id in sorted(self.people):
            leave_tick = self.people[player_id].leave_tick
            if leave_tick is not None and leave_tick <= self.tick:
                self._remove(player_id, out, touched)
        for player_id, person in self.people.items():
            self._walk(player_id, person, out, touched)
        out.left = {player_id: place for player_id, place in out.left.items() if player_id not in self.people}
        out.joined = {
            player_id: joined for player_id, joined in out.joined.items() if player_id in self.people
        }
        out.moved = [
            (player_id, seq, self.people[player_id].x, self.people[player_id].y)
            for player_id, seq in steered.items()
            if player_id in self.people
        ]
        for cell in touched:
            out.cells[cell] = {player_id for player_id, person in self.people.items() if person.cell == cell}
        out.moving = sum(bool(person.dx or person.dy) for person in self.people.values())
        return out

    def _apply(self, command: AnyCommand, out: Outcome, touched: set[Cell], steered: dict[int, int]) -> None:
        match command:
            case Join():
                stood = command.player_id in self.people
                person = self.people.setdefault(command.player_id, Person(command.x, command.y))
                person.dx, person.dy, person.leave_tick = 0.0, 0.0, None
                touched.add(person.cell)
                steered.pop(command.player_id, None)
                out.joined[command.player_id] = (person.x, person.y, stood)
            case Leave(player_id):
                self._remove(player_id, out, touched)
            case Detach(player_id) if player_id in self.people:
                person = self.people[player_id]
                person.dx, person.dy, person.leave_tick = 0.0, 0.0, self.tick + self.rules.resume_ticks
            case Steers(records):
                steered |= self._steer(np.frombuffer(records, STEER).tolist())
            case LoadChunk(cx, cy, walk):
                if (cx, cy) in self.chunks or len(self.chunks) < self.rules.chunks_max:
                    self.chunks[cx, cy] = walk
                else:
                    out.rejected.append((cx, cy))
            case UnloadChunk(cx, cy):
                if all(
                    max(abs(person.cell[0] - cx), abs(person.cell[1] - cy)) > 1
                    for person in self.people.values()
                ):
                    self.chunks.pop((cx, cy), None)
                    out.unloaded.append((cx, cy))

    def _steer(self, steers: list[tuple[int, int, float, float]]) -> dict[int, int]:
        """Who obeys, and the newest of their numbers."""
        obeyed = {}
        for player_id, seq, dx, dy in steers:
            person = self.people.get(player_id)
            if person is not None and person.leave_tick is None:
                length = max(1.0, math.sqrt(dx * dx + dy * dy))
                person.dx, person.dy = dx / length, dy / length
                obeyed[player_id] = seq
        return obeyed

    def _remove(self, player_id: int, out: Outcome, touched: set[Cell]) -> None:
        if player_id in self.people:
            person = self.people.pop(player_id)
            touched.add(person.cell)
            out.left[player_id] = (person.x, person.y)

    def _percent(self, x: float, y: float) -> int | None:
        tile_x, tile_y = math.floor(x), math.floor(y)
        walk = self.chunks.get((tile_x // 32, tile_y // 32))
        return None if walk is None else walk[tile_y % 32 * 32 + tile_x % 32]

    def _walk(self, player_id: int, person: Person, out: Outcome, touched: set[Cell]) -> None:
        here = self._percent(person.x, person.y)
        if here is None:
            return
        stride = self.rules.walk_speed / self.rules.tick_hz
        to_x = person.x + person.dx * stride * (here or 50) / 100.0
        to_y = person.y + person.dy * stride * (here or 50) / 100.0
        for x, y in ((to_x, to_y), (to_x, person.y), (person.x, to_y)):
            there = self._percent(x, y)
            if max(abs(x), abs(y)) <= BOUND and there is not None and (there > 0 or here == 0):
                break
        else:
            return
        if (x, y) == (person.x, person.y):
            return
        old = person.cell
        person.x, person.y = x, y
        touched |= {old, person.cell}
        if person.cell != old:
            out.crossed[player_id] = person.cell
