"""The seam: what the simulation tells the connections, once a tick.

A `TickFrame` is plain data: bytes, numbers and small records. The simulation side makes it (`encode`), the connection side spreads it
(gate.py, interest.py). Neither knows whether the other lives in the same process.

Each changed cell is encoded once per tick, however many see it.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from protocol import codec
from protocol.errors import Refusal
from protocol.messages import Appeared, ChatSaid, ChunkEdits, Crowd, Moved, Ok, Refused, Role, Snapshot
from protocol.snapshot import RECORD
from world.commands import Line
from world.grid import unpack
from world.state import State
from world.tick import Edited, Events, Heard, Joined


@dataclass(slots=True)
class Cell:
    """A cell that changed: its snapshot message, the shorter message that only counts, and how many stand there."""

    snapshot: bytes
    count: int
    tick: int
    cx: int
    cy: int

    def crowd(self) -> bytes:
        """The message that stands in for the snapshot where crowds are counted."""
        return codec.encode(Crowd(self.tick, self.cx, self.cy, self.count))


@dataclass(slots=True)
class Arrival:
    """Somebody came into the world, or was taken up again: enough to welcome them."""

    player_id: int
    name: str
    role: Role
    x: float
    y: float
    history: list[bytes]  # chat_said messages of before
    resumed: bool


@dataclass(slots=True)
class TickFrame:
    """All that one tick has to tell. Keys name cells (see world/grid.py)."""

    tick: int
    step: int  # the ladder step in force for the whole server
    cells: dict[int, Cell] = field(default_factory=dict)
    arrivals: list[Arrival] = field(default_factory=list)
    placed: list[tuple[int, int, bytes]] = field(default_factory=list)  # player_id, cell, their `appeared`
    gone: list[int] = field(default_factory=list)
    private: list[tuple[int, bytes]] = field(default_factory=list)  # player_id, message
    answers: list[tuple[int, int, bytes]] = field(
        default_factory=list
    )  # player_id, session that asked, message
    everyone: list[bytes] = field(default_factory=list)
    casts: list[tuple[int, bytes]] = field(default_factory=list)  # cell, message for all who see it
    edits: list[tuple[int, bytes]] = field(
        default_factory=list
    )  # chunk, what was built there: packed CHUNK_EDIT records


def encode(state: State, events: Events, step: int) -> TickFrame:
    """The events of a tick as bytes for the clients."""
    frame = TickFrame(events.tick, step)
    frame.cells = _cells(events)
    for joined in events.joined:
        frame.arrivals.append(_arrival(state, joined))
        frame.placed.append(
            (joined.player_id, joined.key, _appeared(joined.player_id, joined.name, joined.look))
        )
    frame.placed += _crossings(state, events)
    frame.gone = [player_id for player_id, _, _ in events.left]
    frame.private += [
        (player_id, codec.encode(Moved(seq, events.tick, x, y))) for player_id, seq, x, y in events.moved
    ]
    for player_id, request_id, answer, session in events.answers:
        frame.answers.append((player_id, session, _answer(request_id, answer)))
    for heard in events.heard:
        _spread(state, heard, frame)
    for edited in events.edited:
        frame.edits.append((edited.key, edited.edits))
        frame.casts.append((edited.key, _chunk_edits(edited)))
    return frame


def _cells(events: Events) -> dict[int, Cell]:
    """One Cell for each touched cell, cut from the records of all."""
    packed = events.records.tobytes() if events.records is not None else b""
    cells, start = {}, 0
    for key, end in zip(events.touched.tolist(), events.ends.tolist(), strict=True):
        cx, cy = unpack(key)
        entities = packed[start * RECORD.itemsize : end * RECORD.itemsize]
        cells[key] = Cell(
            codec.encode(Snapshot(events.tick, cx, cy, entities)), end - start, events.tick, cx, cy
        )
        start = end
    return cells


def _arrival(state: State, joined: Joined) -> Arrival:
    history = [_said(state, line) for line in joined.lines]
    return Arrival(joined.player_id, joined.name, joined.role, joined.x, joined.y, history, joined.resumed)


def _crossings(state: State, events: Events) -> Iterator[tuple[int, int, bytes]]:
    players = state.players
    for player_id, key in events.crossed:
        slot = players.slot_of[player_id]
        yield player_id, key, _appeared(player_id, players.names[slot], int(players.look[slot]))


def _appeared(player_id: int, name: str, look: int) -> bytes:
    return codec.encode(Appeared(player_id, name, look))


def _answer(request_id: int, answer: object) -> bytes:
    if isinstance(answer, Refusal):
        return codec.encode(Refused(request_id, answer.code, answer.message, answer.retry_after_ms))
    return codec.encode(Ok(request_id, 0, answer))


def _chunk_edits(edited: Edited) -> bytes:
    cx, cy = unpack(edited.key)
    return codec.encode(ChunkEdits(cx, cy, edited.from_version, edited.version, edited.edits))


def _said(state: State, line: Line) -> bytes:
    time_ms = state.time_ms(line.tick)
    return codec.encode(ChatSaid(line.channel, line.sender_id, line.sender_name, line.text, time_ms, line.to))


def _spread(state: State, heard: Heard, frame: TickFrame) -> None:
    message = _said(state, heard.line)
    if heard.by is None:
        frame.everyone.append(message)
    else:
        frame.private += [(player_id, message) for player_id in heard.by]
