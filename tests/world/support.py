"""Small worlds for tests: rules, ground drawn with characters, and one-line looks at what is there."""

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field, fields

import msgspec
import numpy as np
from hypothesis import strategies as st

from protocol.errors import Refusal, RefusalCode
from protocol.messages import WORLD_TILES_MAX, LandPermit, LandTransfer, Result, Role
from protocol.snapshot import CELL_TILES, UNITS_PER_TILE
from world.commands import Act, AnyAct, AnyCommand, AnyDurable, Join, LoadChunk, Reopen, Settle
from world.entries import Entry
from world.grid import unpack
from world.ledger import Ledger
from world.state import Rules, State
from world.tick import Acted, Edited, Events, Reply, step
from world.tick import act as do_durable

RULES = Rules(
    tick_hz=20,
    walk_speed=4.0,
    resume_ticks=3,
    chunks_max=64,
    chat_radius=24.0,
    chat_chars_max=20,
    chat_lines_max=8,
    chat_lines_on_enter=5,
)
STRIDE = RULES.walk_speed / RULES.tick_hz
OPEN = bytes([100]) * CELL_TILES**2
WORDS = {".": 100, "#": 0, "~": 40, ",": 70}  # percent of full speed

UNIT = 1 / UNITS_PER_TILE


def ground(rows: Iterable[str] = (), x: int = 0, y: int = 0) -> bytes:
    """A chunk's walk bytes: open, with a small picture put in at tile (x, y)."""
    walk = np.full((CELL_TILES, CELL_TILES), 100, np.uint8)
    for down, row in enumerate(rows):
        for right, word in enumerate(row):
            walk[y + down, x + right] = WORDS[word]
    return walk.tobytes()


def plain(radius: int = 1) -> list[AnyCommand]:
    """Open ground: the chunks within `radius` of (0, 0)."""
    square = range(-radius, radius + 1)
    return [LoadChunk(cx, cy, OPEN) for cy in square for cx in square]


def join(player_id: int, x: float = 0.5, y: float = 0.5, look: int = 0) -> Join:
    """A guest named after their number."""
    return Join(player_id, f"p{player_id}", Role.GUEST, look, x, y)


@dataclass(slots=True)
class Done(Events):
    """What came of a tick and of what was done at its end."""

    acted: Acted = field(default_factory=Acted)

    @property
    def entries(self) -> list[Entry]:
        """Of the journal."""
        return self.acted.entries

    @property
    def replies(self) -> list[Reply]:
        """To those who asked."""
        return self.acted.replies

    @property
    def edited(self) -> list[Edited]:
        """What was built."""
        return self.acted.edited


class World:
    """A state and its clock: `do` applies commands in the next tick, and does what is durable at its end."""

    def __init__(self, *commands: AnyCommand, rules: Rules = RULES) -> None:
        self.state = State(rules)
        self.orders: dict[
            tuple[int, int], list[int]
        ] = {}  # who was told of in each cell, for whoever keeps it
        if commands:
            self.do(*commands)

    def do(self, *commands: AnyCommand | AnyAct) -> Done:
        """One tick."""
        moves = [one for one in commands if not isinstance(one, Act | Settle | Reopen)]
        acts = [one for one in commands if isinstance(one, Act | Settle | Reopen)]
        events = step(self.state, moves, self.state.tick + 1)
        seen = {one.name: getattr(events, one.name) for one in fields(events)}
        return Done(**seen, acted=do_durable(self.state, acts))

    def place(self, player_id: int) -> tuple[float, float]:
        """Where somebody is."""
        players = self.state.players
        slot = players.slot_of[player_id]
        return float(players.x[slot]), float(players.y[slot])


def told(events: Events) -> dict[tuple[int, int], dict[int, tuple[float, float]]]:
    """What the snapshots of a tick say: cell -> player_id -> place."""
    cells, start = {}, 0
    for key, end in zip(events.touched.tolist(), events.ends.tolist(), strict=True):
        cx, cy = unpack(key)
        records = events.records[start:end]
        xs = (cx * CELL_TILES + records["x"] / UNITS_PER_TILE).tolist()
        ys = (cy * CELL_TILES + records["y"] / UNITS_PER_TILE).tolist()
        cells[cx, cy] = dict(zip(records["player_id"].tolist(), zip(xs, ys, strict=True), strict=True))
        assert len(cells[unpack(key)]) == len(records), "somebody is listed twice"
        start = end
    return cells


def in_order(events: Events) -> dict[tuple[int, int], list[int]]:
    """Who is told of in each cell, in the order of the records."""
    return {cell: list(records) for cell, records in told(events).items()}


def shuffled(events: Events) -> set[tuple[int, int]]:
    """The cells in which people came, went or changed places."""
    return {unpack(key) for key in events.touched[events.shuffled].tolist()}


def moved(events: Events) -> list[tuple[int, int, float, float]]:
    """The acknowledgements of a tick: player_id, seq, place."""
    return [(player_id, seq, x, y) for player_id, seq, x, y in events.moved.tolist()]


def coordinates(reach: int = WORLD_TILES_MAX) -> st.SearchStrategy[float]:
    """Coordinates where things go wrong: cell edges and their neighbours, both signs, the bounds; and any others."""
    edges = st.integers(-reach // CELL_TILES, reach // CELL_TILES).map(lambda cell: float(cell * CELL_TILES))
    near = st.sampled_from((-96.0, -64.0, -32.0, 0.0, 32.0, 64.0, float(reach), float(-reach)))
    exact = edges | near | st.integers(-70, 70).map(float)
    beside = st.builds(
        lambda place, way: float(np.nextafter(place, way)), exact, st.sampled_from((-9e9, 9e9))
    )
    return (exact | beside | st.floats(-100.0, 100.0) | st.floats(-reach, reach)).filter(
        lambda place: abs(place) <= reach
    )


# --- land and money ---


def balanced(ledger: Ledger) -> None:
    """Nothing came from nothing."""
    assert list(ledger.breaches()) == []


ADA, BEA, CAL = 1, 2, 3
PEOPLE = {ADA: "Ada", BEA: "Bea", CAL: "Cal"}
_numbers = itertools.count(1)


def ids() -> tuple[int, bytes]:
    """A request_id and an action_id that nothing else had."""
    number = next(_numbers)
    return number, number.to_bytes(16)


def act(player_id: int, request: AnyDurable, role: Role = Role.USER, dry_plots: int = 1) -> Act:
    """A request with what the server looks up before: whoever is named is one of PEOPLE, or nobody."""
    other = {LandTransfer: "to", LandPermit: "player_id"}.get(type(request))
    named = PEOPLE.get(getattr(request, other)) if other else None
    return Act(player_id, PEOPLE[player_id], role, 0, request, content_of(request), named, dry_plots)


def content_of(request: AnyDurable) -> bytes:
    """What tells one request from another, whatever its ids."""
    return msgspec.msgpack.encode((type(request).__name__, msgspec.structs.astuple(request)[2:]))


def outcome(events: Done) -> Result | RefusalCode:
    """What a tick with one action answered."""
    (reply,) = events.replies
    return reply.result.code if isinstance(reply.result, Refusal) else reply.result
