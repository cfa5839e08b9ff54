"""One tick: commands in, events out.

`step` moves the world on to a tick; `act`, after it, does what is durable. Nothing else changes the world. Both are deterministic: no
clock, no chance, no waiting. What came of them, `Events` and `Acted`, is plain data that says what changed; who is told, and in which
bytes, is not decided here.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from protocol.edits import CHUNK_EDIT
from protocol.errors import Refusal, RefusalCode
from protocol.messages import ChatChannel, Result, Role, Said, name_of
from protocol.snapshot import CELL_TILES, RECORD
from world import auctions, building, chat, entries, eviction, land, leases, market, movement, settlement
from world.commands import (
    STEER,
    Act,
    AnyAct,
    AnyCommand,
    Become,
    Depart,
    Detach,
    Join,
    Leave,
    Line,
    LoadChunk,
    Recall,
    RecallBooks,
    RecallParcels,
    RecallSales,
    RecallTiles,
    Reopen,
    Say,
    SetBlocked,
    Settle,
    Steers,
    UnloadChunk,
    steer,
)
from world.entries import Built, Entry, Outcome
from world.grid import NOBODY, Ints, Keys, around, pack
from world.grid import warm_up as warm_up_grid
from world.movement import NEVER
from world.parcels import OPEN, Parcel, plot_at, plots_of_cell
from world.state import Rules, State

PASSING = (Role.MODERATOR, Role.ADMIN)  # who enters closed parcels, to keep the peace there
RULES = {**land.RULES, **leases.RULES, **market.RULES, **auctions.RULES, **building.RULES}
KINDS = {request: name_of(request) for request in RULES}  # of the entries they make
SETTLE_TILES_MAX = 4_096  # put back in one tick, some 3 ms; the last parcel may have more
SETTLE_PLOTS_MAX = 1_000  # of what has another owner or keeps its upkeep, with its permits: some 7 us each, looked at tile by tile
ANOTHER_ACTION = "This action_id was used for another action; make a new one for each."

# Where somebody was after the tick that took their intent; `seq` is the newest one's.
MOVED = np.dtype([("player_id", "<u4"), ("seq", "<u4"), ("x", "<f8"), ("y", "<f8")])


@dataclass(slots=True)
class Joined:
    """Somebody entered, or was taken up again: their true place, and what was said here before; what they hear now is not in it."""

    player_id: int
    name: str
    role: Role
    look: int
    x: float
    y: float
    key: int
    lines: list[Line]
    resumed: bool  # they still stood here


@dataclass(slots=True)
class Heard:
    """A line was said; `by` are the player_ids that hear it, None for everyone."""

    line: Line
    by: list[int] | None


class Edited(msgspec.Struct, frozen=True, gc=False):
    """Tiles of one chunk were built on: what makes its version `from_version` to `version`, packed CHUNK_EDIT records."""

    key: int
    from_version: int
    version: int
    edits: bytes


class Reply(msgspec.Struct, frozen=True, gc=False):
    """The answer to an action, to be given as soon as entry `seq` is stored; `session` as in Say.

    A refusal waits, too, for the last entry that the rule could see: it tells of land and money as they are then.
    """

    seq: int
    player_id: int
    request_id: int
    session: int
    result: Result | Refusal


@dataclass(slots=True)
class Events:
    """What came of one tick. A player is in `joined` or in `left`, by where the tick's last command left them, never in both."""

    tick: int
    joined: list[Joined] = field(default_factory=list)
    left: list[tuple[int, float, float]] = field(default_factory=list)  # player_id and last place
    crossed: list[tuple[int, int]] = field(default_factory=list)  # player_id, the cell they are in now
    moved: NDArray[Any] = field(default_factory=lambda: np.empty(0, MOVED))  # who steered, one record each
    heard: list[Heard] = field(default_factory=list)
    answers: list[tuple[int, int, Any, int]] = field(
        default_factory=list
    )  # player_id, request_id, a result or a Refusal, session
    denied: list[tuple[int, int]] = field(default_factory=list)  # player_id, the parcel that stopped them
    rejected_chunks: list[tuple[int, int]] = field(default_factory=list)  # no room for the ground of (cx, cy)
    unloaded_chunks: list[tuple[int, int]] = field(default_factory=list)
    touched: Keys = field(
        default_factory=lambda: np.empty(0, np.int64)
    )  # cells that changed, ascending, each once
    shuffled: NDArray[np.bool_] = field(
        default_factory=lambda: np.empty(0, np.bool_)
    )  # ... by who stands in them
    records: NDArray[Any] = field(
        default_factory=lambda: np.empty(0, RECORD)
    )  # of the touched cells, cell after cell
    ends: Ints = field(default_factory=lambda: np.empty(0, np.int32))  # where each cell's records end
    moving: int = 0  # players with an intent


@dataclass(slots=True)
class Acted:
    """What came of the durable actions of one tick."""

    entries: list[Entry] = field(default_factory=list)  # to be stored
    replies: list[Reply] = field(default_factory=list)  # to be given once that is done
    edited: list[Edited] = field(default_factory=list)  # seen at once


def act(state: State, acts: list[AnyAct]) -> Acted:
    """Does what is durable, in order, at the end of the tick that the world is at."""
    acted = Acted()
    for command in acts:
        match command:
            case Act():
                _act(state, command, acted)
            case Settle():
                _settle(state, command, acted)
            case Reopen():
                state.opened = state.tick
    return acted


def step(state: State, commands: list[AnyCommand], tick: int) -> Events:
    """Applies `commands` in order and moves the world on to `tick`."""
    state.tick = tick
    events = Events(tick)
    touched: list[int] = []
    for command in commands:
        _APPLY[type(command)](state, command, events, touched)
    _expire(state, events, touched)
    _evict(state, events, touched)
    _sum_up(events, state.players.slot_of)
    _move(state, events, touched)
    _acknowledge(state, events)
    events.records, events.ends = gather(state, events.touched)
    return events


Apply = Callable[[State, Any, Events, list[int]], None]


def _join(state: State, command: Join, events: Events, touched: list[int]) -> None:
    players = state.players
    slot = players.slot_of.get(command.player_id)
    resumed = slot is not None
    if slot is None:
        slot = players.add(command.player_id, command.name, command.role, command.look, command.x, command.y)
    state.deafness.set(command.player_id, command.blocked)
    players.roles[slot] = command.role  # who still stood here may have lost theirs
    players.passes[slot] = command.role in PASSING
    players.stop(slot)
    players.leave_tick[slot] = NEVER
    players.steered_tick[slot] = NEVER  # a newer line counts its intents anew
    state.detached.discard(command.player_id)
    x, y, key = float(players.x[slot]), float(players.y[slot]), int(players.grid.keys[slot])
    touched.append(key)
    _look_at(state, plot_at(x, y))
    lines = [
        line
        for line in chat.history(state, command.player_id, x, y)
        if line.tick != state.tick or not _hears(events, command.player_id, line)
    ]
    joined = Joined(
        command.player_id,
        players.names[slot],
        players.roles[slot],
        int(players.look[slot]),
        x,
        y,
        key,
        lines,
        resumed,
    )
    events.joined.append(joined)


def _hears(events: Events, player_id: int, line: Line) -> bool:
    """Whether a line is among those of this tick that a player hears."""
    return any(
        heard.line is line and (heard.by is None or player_id in heard.by) for heard in reversed(events.heard)
    )


def _leave(state: State, command: Leave, events: Events, touched: list[int]) -> None:
    _remove(state, command.player_id, events, touched)


def _remove(state: State, player_id: int, events: Events, touched: list[int]) -> None:
    players = state.players
    slot = players.slot_of.get(player_id)
    if slot is None:
        return
    touched.append(int(players.grid.keys[slot]))
    events.left.append((player_id, float(players.x[slot]), float(players.y[slot])))
    state.detached.discard(player_id)
    state.undo.pop(player_id, None)
    state.deafness.set(player_id, ())
    players.remove(player_id)


def _become(state: State, command: Become, events: Events, touched: list[int]) -> None:
    _rename(state, command.player_id, command.name)
    players = state.players
    slot = players.slot_of.get(command.player_id)
    if slot is None:
        return
    players.names[slot], players.roles[slot], players.look[slot] = command.name, command.role, command.look
    players.passes[slot] = command.role in PASSING
    key = int(players.grid.keys[slot])
    touched.append(key)
    events.crossed.append((command.player_id, key))  # those who see the cell are told anew who this is
    for joined in events.joined:
        if joined.player_id == command.player_id:
            joined.name, joined.role, joined.look = command.name, command.role, command.look


def _rename(state: State, player_id: int, name: str) -> None:
    state.parcels.rename(player_id, name)
    state.sales.rename(player_id, name)


def _depart(state: State, command: Depart, events: Events, touched: list[int]) -> None:
    state.talk.forget_sender(command.player_id)
    _rename(state, command.player_id, command.name)
    _remove(state, command.player_id, events, touched)


def _set_blocked(state: State, command: SetBlocked, *_: Any) -> None:
    if command.player_id in state.players.slot_of:
        state.deafness.set(command.player_id, command.blocked)


def _detach(state: State, command: Detach, *_: Any) -> None:
    slot = state.players.slot_of.get(command.player_id)
    if slot is not None:
        state.players.stop(slot)
        state.players.leave_tick[slot] = state.tick + state.rules.resume_ticks
        state.detached.add(command.player_id)


def _steer(state: State, command: Steers, *_: Any) -> None:
    players = state.players
    movement.steer(
        np.frombuffer(command.records, STEER),
        state.tick,
        players.by_id.head,
        players.by_id.next,
        players.by_id.keys,
        players.leave_tick,
        players.dx,
        players.dy,
        players.moving,
        players.seq,
        players.steered_tick,
    )


def _say(state: State, command: Say, events: Events, *_: Any) -> None:
    slot = state.players.slot_of.get(command.player_id)
    if slot is None:
        return
    try:
        line, by, reached = chat.say(state, command, slot, state.tick)
    except Refusal as refusal:
        events.answers.append((command.player_id, command.request_id, refusal, command.session))
        return
    state.talk.add(line)
    events.heard.append(Heard(line, by))
    events.answers.append((command.player_id, command.request_id, Said(reached), command.session))


def _load_chunk(state: State, command: LoadChunk, events: Events, *_: Any) -> None:
    key = pack(command.cx, command.cy)
    if not state.chunks.load(key, command.walk):
        events.rejected_chunks.append((command.cx, command.cy))
        return
    for plot in plots_of_cell(key):
        entries.set_gate(state, state.chunks.slot_of[key], plot)
    for near in around(key, 1):
        for plot in plots_of_cell(near):
            _look_at(state, plot)


def _look_at(state: State, plot: int) -> None:
    """Somebody may stand on a plot that is closed to them."""
    closed = state.parcels.gate_of(plot)
    if closed != OPEN:
        state.parcels.shut.add(closed)


def _unload_chunk(state: State, command: UnloadChunk, events: Events, *_: Any) -> None:
    key = pack(command.cx, command.cy)
    if not any(state.players.grid.anyone_in(near) for near in around(key, 1)):
        state.chunks.unload(key)
        events.unloaded_chunks.append((command.cx, command.cy))


def _recall(state: State, command: Recall, *_: Any) -> None:
    for line in command.lines:
        state.talk.add(line)


def _act(state: State, command: Act, acted: Acted) -> None:
    """Done once: asked again, the first answer is given again."""
    request = command.request
    slot = state.players.slot_of.get(command.player_id)
    if slot is not None:
        command.name = state.players.names[slot]  # they may have got another since they asked
    answer: Result | Refusal
    try:
        known = state.answers.get(command.action_id)
        if known is None:
            outcome = RULES[type(request)](state, command, request)
            _enter(state, KINDS[type(request)], outcome, command, acted)
            known = state.answers[command.action_id]
        elif (known.player_id, known.content) != (command.player_id, command.content):
            raise Refusal(RefusalCode.BAD_REQUEST, ANOTHER_ACTION)
        seq, answer = known.seq, known.result
    except Refusal as refusal:
        seq, answer = state.seq, refusal
    acted.replies.append(Reply(seq, command.player_id, request.request_id, command.session, answer))


def _enter(state: State, kind: str, outcome: Outcome, command: Act | None, acted: Acted) -> None:
    """An entry of the journal. What is built is seen at once; all else is told when it is stored."""
    if command is not None and type(command.request) in building.RULES:
        building.remember(state, command, outcome.changes)
    for change in outcome.changes:
        if isinstance(change, Built):
            key = pack(change.cx, change.cy)
            acted.edited.append(Edited(key, entries.version_of(state, key), change.version, change.edits))
    acted.entries.append(entries.write(state, kind, outcome, command))


def _settle(state: State, command: Settle, acted: Acted) -> None:
    """What is due by itself, as far as the journal has room and as long as it does not take too much of the tick."""
    tiles, plots, due = 0, 0, settlement.first_due(state)
    for _entry in range(command.entries_max):
        done = None if due is None else settlement.next_of(state, due)
        if done is None:
            return
        _enter(state, *done, None, acted)
        tiles += sum(len(change.edits) for change in done[1].changes if isinstance(change, Built))
        plots += 1 + sum(
            one.pw * one.ph + len(one.permits) for one in done[1].changes if isinstance(one, Parcel)
        )
        if tiles >= SETTLE_TILES_MAX * CHUNK_EDIT.itemsize or plots >= SETTLE_PLOTS_MAX:
            return


def _recall_books(state: State, command: RecallBooks, *_: Any) -> None:
    state.seq, state.digest = command.seq, command.digest
    state.ledger.recall(command.balances)
    for hold in command.holds:
        state.ledger.apply(hold)


def _recall_parcels(state: State, command: RecallParcels, *_: Any) -> None:
    for parcel in command.parcels:
        entries.apply(state, parcel)
    state.parcels.last_id = command.last_id
    state.parcels.shut.clear()  # nobody is there yet


def _recall_sales(state: State, command: RecallSales, *_: Any) -> None:
    state.opened = state.tick
    for sale in command.sales:
        entries.apply(state, sale)


def _recall_tiles(state: State, command: RecallTiles, *_: Any) -> None:
    """Nobody is there to be told."""
    for cx, cy, version, edits in command.surfaces:
        state.chunks.recall(pack(cx, cy), version, edits)


_APPLY: dict[type, Apply] = {
    Join: _join,
    Leave: _leave,
    Detach: _detach,
    Steers: _steer,
    Say: _say,
    LoadChunk: _load_chunk,
    UnloadChunk: _unload_chunk,
    Recall: _recall,
    RecallTiles: _recall_tiles,
    RecallBooks: _recall_books,
    RecallParcels: _recall_parcels,
    RecallSales: _recall_sales,
    Become: _become,
    Depart: _depart,
    SetBlocked: _set_blocked,
}


def _expire(state: State, events: Events, touched: list[int]) -> None:
    """Detached players whose time is over leave."""
    players = state.players
    for player_id in sorted(state.detached):
        if players.leave_tick[players.slot_of[player_id]] <= state.tick:
            _remove(state, player_id, events, touched)


def _evict(state: State, events: Events, touched: list[int]) -> None:
    """Whoever stands on land that was closed to them is elsewhere now; snapshots tell, for `moved` answers intents only."""
    evicted = eviction.evict(state)
    if not evicted:
        return
    players = state.players
    for slot, was in evicted:
        touched += [was, int(players.grid.keys[slot])]
        events.crossed.append((int(players.player_id[slot]), int(players.grid.keys[slot])))
    for joined in events.joined:
        slot = players.slot_of.get(joined.player_id, NOBODY)
        if slot != NOBODY:
            joined.x, joined.y = float(players.x[slot]), float(players.y[slot])
            joined.key = int(players.grid.keys[slot])


def _sum_up(events: Events, here: dict[int, int]) -> None:
    """Of those who came and went more than once in this tick, only how it ended is told."""
    events.left = [left for left in events.left if left[0] not in here]
    events.crossed = [crossed for crossed in events.crossed if crossed[0] in here]
    events.joined = list({one.player_id: one for one in events.joined if one.player_id in here}.values())


def _move(state: State, events: Events, touched: list[int]) -> None:
    """Everyone with an intent takes a step; the cells they touched join those that commands touched."""
    players, chunks = state.players, state.chunks
    grid, ground = players.grid, chunks.grid
    capacity = len(players.x)
    cells, left = np.empty((2, capacity), np.int64)
    crossed, stopped = np.empty((2, capacity), np.int32)
    gates = state.parcels.gates
    touches, crossings, stops = movement.advance(
        state.rules.walk_speed / state.rules.tick_hz,
        players.moving,
        players.x,
        players.y,
        players.dx,
        players.dy,
        grid.head,
        grid.next,
        grid.prev,
        grid.keys,
        ground.head,
        ground.next,
        ground.keys,
        chunks.walk,
        players.player_id,
        players.passes,
        players.denied,
        gates.closed,
        gates.permits.head,
        gates.permits.next,
        gates.permits.keys,
        cells,
        crossed,
        left,
        stopped,
    )
    for slot in stopped[:stops].tolist():
        events.denied.append((int(players.player_id[slot]), int(players.denied[slot])))
    slots = crossed[:crossings]
    came = grid.keys[slots]
    events.crossed += zip(players.player_id[slots].tolist(), came.tolist(), strict=True)
    events.moving = int(np.count_nonzero(players.moving))
    shuffled = np.concatenate((came, left[:crossings], np.array(touched, np.int64)))
    if players.regrouped:
        players.regrouped = False
        shuffled = np.concatenate((shuffled, grid.keys[players.linked]))
    events.touched = _each_once(np.concatenate((cells[:touches], shuffled)))
    events.shuffled = np.zeros(len(events.touched), np.bool_)
    events.shuffled[np.searchsorted(events.touched, shuffled)] = True


def _each_once(keys: Keys) -> Keys:
    """In ascending order, without repetition; np.unique takes several times as long for some thousands."""
    keys.sort()
    first = np.ones(len(keys), np.bool_)
    np.not_equal(keys[1:], keys[:-1], out=first[1:])
    return keys[first]


def _acknowledge(state: State, events: Events) -> None:
    """Tells each sender of an intent where they truly are; who left meanwhile is told nothing."""
    players = state.players
    slots = np.flatnonzero(players.steered_tick == state.tick)
    events.moved = np.empty(len(slots), MOVED)
    for name in ("player_id", "seq", "x", "y"):
        events.moved[name] = getattr(players, name)[slots]


def gather(state: State, cells: Keys) -> tuple[NDArray[Any], Ints]:
    """The records of everyone in `cells`, cell after cell, and where each cell's records end."""
    players = state.players
    grid = players.grid
    records, ends = np.empty(len(players), RECORD), np.empty(len(cells), np.int32)
    movement.gather(
        cells, grid.head, grid.next, grid.keys, players.x, players.y, players.player_id, records, ends
    )
    return records[: ends[-1] if len(ends) else 0], ends


def warm_up() -> None:
    """Compiles the kernels (or reads them from numba's cache) by taking one step in a small world."""
    state = State(Rules(20, 4.0, 1, 4, 1.0, 1, 1, 1))
    walk = bytes([100]) * (CELL_TILES * CELL_TILES)
    join = Join(1, "nobody", Role.GUEST, 0, 0.5, 0.5)
    step(
        state,
        [LoadChunk(0, 0, walk), join, steer(1, 1, 1.0, 0.0), Say(1, 1, ChatChannel.NEARBY, "a", None)],
        1,
    )
    warm_up_grid()
