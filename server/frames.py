"""The seam: what the simulation tells the connections, once a tick.

A `TickFrame` is plain data: bytes, numbers and small records. The simulation side makes it (`encode`), the connection side spreads it
(gate.py, interest.py). Neither knows whether the other lives in the same process.

What there is much of, the cells that changed and the acknowledgements, crosses as packed arrays, made by the world's kernels and read
by those of the connection side (fanout.py): no object per cell or player.
"""

from collections.abc import Iterable, Iterator

import msgspec
import numpy as np

from protocol import codec
from protocol.errors import Refusal
from protocol.messages import Appeared, ChatSaid, ChunkEdits, EntryDenied, Ok, Refused, Role, Trouble
from world.commands import Line
from world.grid import unpack
from world.land import called, who_can_change
from world.state import State
from world.tick import Edited, Events, Heard, Joined, gather


class Arrival(msgspec.Struct, array_like=True, gc=False):
    """Somebody came into the world, or was taken up again: enough to welcome them."""

    player_id: int
    name: str
    role: Role
    x: float
    y: float
    history: list[bytes]  # chat_said messages of before
    resumed: bool


class TickFrame(msgspec.Struct, array_like=True, gc=False):
    """All that one tick has to tell. Keys name cells (see world/grid.py)."""

    tick: int
    step: int  # the ladder step in force for the whole server
    cells: bytes = b""  # i64[n]: keys of the cells that changed, ascending
    shuffled: bytes = b""  # u8[n]: 1 where who stands there, or their order, changed
    ends: bytes = b""  # i32[n]: where each cell's records end
    records: bytes = b""  # RECORD[m], cell after cell
    moved: bytes = b""  # MOVED[k]: acknowledgements, at most one a player
    arrivals: list[Arrival] = []
    placed: list[tuple[int, int, bytes]] = []  # player_id, cell, their `appeared`
    gone: list[int] = []
    heard: list[tuple[bytes, list[int]]] = []  # message, the player_ids that hear it
    answers: list[tuple[int, int, bytes]] = []  # player_id, session that asked, message
    everyone: list[bytes] = []
    casts: list[tuple[list[int], bytes]] = []  # cells, message for all who see one of them
    edits: list[tuple[int, bytes]] = []  # chunk, what was built there: packed CHUNK_EDIT records
    durable_seq: int = 0  # the journal is stored up to here


def encode(state: State, events: Events, edits: list[Edited], step: int) -> TickFrame:
    """The events of a tick, and what was built since the last, as bytes for the clients."""
    frame = TickFrame(
        events.tick,
        step,
        events.touched.tobytes(),
        events.shuffled.tobytes(),
        events.ends.tobytes(),
        events.records.tobytes(),
        events.moved.tobytes(),
    )
    for joined in events.joined:
        frame.arrivals.append(_arrival(state, joined))
        frame.placed.append(
            (joined.player_id, joined.key, _appeared(joined.player_id, joined.name, joined.look))
        )
    frame.placed += _placed(state, events.crossed)
    frame.gone = [player_id for player_id, _, _ in events.left]
    for player_id, request_id, answer, session in events.answers:
        frame.answers.append((player_id, session, answered(request_id, 0, answer)))
    for heard in events.heard:
        _spread(state, heard, frame)
    for edited in edits:
        frame.edits.append((edited.key, edited.edits))
        frame.casts.append(([edited.key], _chunk_edits(edited)))
    return frame


def whole(state: State, step: int) -> TickFrame:
    """Every cell and everyone in it, for connections that begin anew; no arrivals, and nothing that was said."""
    players = state.players
    slots = players.linked
    cells = np.unique(players.grid.keys[slots])
    records, ends = gather(state, cells)
    here = zip(players.player_id[slots].tolist(), players.grid.keys[slots].tolist(), strict=True)
    return TickFrame(
        state.tick,
        step,
        cells.tobytes(),
        np.ones(len(cells), np.bool_).tobytes(),
        ends.tobytes(),
        records.tobytes(),
        placed=list(_placed(state, here)),
    )


def _arrival(state: State, joined: Joined) -> Arrival:
    history = [_said(state, line) for line in joined.lines]
    return Arrival(joined.player_id, joined.name, joined.role, joined.x, joined.y, history, joined.resumed)


def _placed(state: State, here: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int, bytes]]:
    players = state.players
    for player_id, key in here:
        slot = players.slot_of[player_id]
        yield player_id, key, _appeared(player_id, players.names[slot], int(players.look[slot]))


def _appeared(player_id: int, name: str, look: int) -> bytes:
    return codec.encode(Appeared(player_id, name, look))


def answered(request_id: int, seq: int, answer: object) -> bytes:
    """A result, good from entry `seq` on, or a Refusal, as a message."""
    if isinstance(answer, Refusal):
        return codec.encode(Refused(request_id, answer.code, answer.message, answer.retry_after_ms))
    return codec.encode(Ok(request_id, seq, answer))


def entry_denied(state: State, parcel_id: int) -> bytes:
    """Why somebody was stopped at a border, as a message."""
    parcel = state.parcels.by_id[parcel_id]
    text = f"{called(parcel)} is closed: only those whom {who_can_change(parcel)} lets in may enter."
    return codec.encode(EntryDenied(parcel_id, Trouble.CLOSED, text))


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
        frame.heard.append((message, heard.by))
