"""The compiled loops of the fan-out, over the arrays that fanout.py keeps.

    places    CELL[]     one row for each cell anybody is in; found by key through a hash grid
    records   RECORD[]   who is where: `count` records from `start` on for each place, with room to grow
    people    PERSON[]   one row for everybody in the world, with what there is to know of their client, if it is one of this
                         process; those in one place form a list, in the order in which they came to it
    appeared  u8[]       APPEARED_BYTES_MAX for each of them: their `appeared`, as a message

`move` and `take` take in who came to another cell, and the cells that changed. `spread` builds, for each place somebody looks from and
each step of the ladder they stand on, one WebSocket frame, and sends it to each of them with one call of `send`, together with their
own acknowledgement where there is one. `tell_rest` sends to those who need more than that. `weigh`, once a second, says what each step
would have cost.

What somebody must be told whole follows from one field: `known` is the cell from which they were told all that is in sight. Where it is
the cell they are in, nothing is due; else that is due which is in sight from here and was not from there.
"""

import socket
from typing import Any, NamedTuple

import numpy as np
from numba import njit, types

from protocol.messages import NAME_CHARS_MAX
from protocol.snapshot import RECORD, STEP_MAX, STEP_ZERO
from server.packing import (
    ACK_BYTES_MAX,
    BLOCK_HEAD_MAX,
    CROWD_BYTES,
    FRAME_HEAD_MAX,
    SNAPSHOT_HEAD_MAX,
    Bytes,
    Rows,
    put_block,
    put_bytes,
    put_crowd,
    put_frame_head,
    put_moved,
    put_snapshot,
)
from world.grid import cell_at, find, key_of

CELL = np.dtype(
    [
        ("key", np.int64),
        ("changed", np.int64),  # the tick of its last change, NEVER before the first
        ("shuffled", np.int64),  # the tick at which somebody last came, went or changed places in the list
        ("thinned", np.int64),  # the tick at which it stopped to be so full that it is sent as a count
        ("start", np.int32),
        ("room", np.int32),  # 0: the row is free
        ("count", np.int32),
        ("crowded", np.int32),  # 1 while it is so full
        ("first", np.int32),  # of the people here, NOBODY where nobody is
        ("last", np.int32),
        ("watching", np.int32),  # how many of them have a client of this process
        ("names", np.int32),  # bytes of all their `appeared`
        ("named", np.int32),  # bytes of `appeared` of those who came since the last `weigh`
        ("cast", np.int32),  # bytes of casts told to those who look from here since then
    ]
)
PERSON = np.dtype(
    [
        ("player_id", np.int64),
        ("came", np.int64),  # the tick at which they came to the place
        ("known", np.int64),  # the cell whose sight their client was told, NOWHERE if it must be told all
        ("news_start", np.int64),  # of whom `spread` left over: the frame of this tick
        ("news_end", np.int64),
        ("place", np.int32),
        ("next", np.int32),
        ("prev", np.int32),
        ("size", np.int32),  # of `appeared`
        ("fd", np.int32),  # of the socket; NO_SOCKET where all goes through the transport
        ("step", np.int32),  # of the ladder, in force; BLIND for who has no client of this process
        ("own_step", np.int32),
        ("busy", np.int32),
        ("ack", np.int32),  # which of the tick's MOVED is theirs, NOBODY for none
        ("sent", np.int32),  # how much the socket took of what `spread` sent, NOBODY where it did not send
    ]
)
# A message for all who see one of some cells: where its cells and its bytes end, which follow those of the cast before.
CAST = np.dtype([("cells_end", np.int32), ("bytes_end", np.int64)])
# One rung of the ladder for the loops; `near` and `far` are columns of COLUMN_PERIODS.
RUNG = np.dtype([("near", np.int32), ("far", np.int32), ("radius", np.int32), ("crowds", np.int32)])
PERIODS = (1, 2, 4)  # every how many ticks a cell may be told
CROWDS = len(PERIODS)  # one column more, for those who see crowds as counts
COLUMN_PERIODS = np.array((*PERIODS, PERIODS[-1]), np.int64)

NEVER = -(2**40)  # a tick before all ticks
NOWHERE = -(2**63)  # the key of a cell far out of sight of any in the world
NOBODY = -1
BLIND = -1
NO_ROOM = -1
APPEARED_BYTES_MAX = 14 + 4 * NAME_CHARS_MAX  # MessagePack's heads, two numbers, and UTF-8
RECORD_BYTES = RECORD.itemsize
SIGHT_MAX = (2 * STEP_MAX + 1) ** 2
FLAGS = socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL

# What the loops that send count and remember, in one array.
USED, BACK, LEFT, WRITES, BYTES, PLACE, RESUMED_STEP, NEEDED = range(8)
STATE_SIZE = 8

# Numba keeps the name in its cache and finds the C library's function at load time.
_send: Any = types.ExternalFunction("send", types.intp(types.intc, types.uintp, types.uintp, types.intc))


class Arrays(NamedTuple):
    """What the loops go by: the ladder, the grid of the places, and the arrays above."""

    rungs: Rows
    head: Any
    following: Any
    keys: Any
    places: Rows
    records: Rows
    people: Rows
    appeared: Bytes


class Told(NamedTuple):
    """What one tick tells besides: acknowledgements, with their places as whole numbers (x and y in turn), and casts."""

    tick: int
    moved: Rows
    bits: Any
    casts: Rows
    cast_cells: Any
    cast_bytes: Bytes


# --- who is where, and what is known of the cells ------------------------------------------------------------------------------------


@njit(cache=True)
def leave(row: int, people: Rows, places: Rows) -> None:
    """Takes somebody out of the place they are in, if they are in one."""
    place, after, before = people[row]["place"], people[row]["next"], people[row]["prev"]
    if place < 0:
        return
    if before >= 0:
        people[before]["next"] = after
    else:
        places[place]["first"] = after
    if after >= 0:
        people[after]["prev"] = before
    else:
        places[place]["last"] = before
    people[row]["place"] = NOBODY
    places[place]["names"] -= people[row]["size"]
    places[place]["watching"] -= people[row]["step"] != BLIND


@njit(cache=True)
def _come(row: int, place: int, tick: int, people: Rows, places: Rows) -> None:
    """Puts somebody who is in no place at the end of the list of one."""
    last = places[place]["last"]
    people[row]["place"], people[row]["next"], people[row]["prev"] = place, NOBODY, last
    people[row]["came"] = tick
    if last >= 0:
        people[last]["next"] = row
    else:
        places[place]["first"] = row
    places[place]["last"] = row
    places[place]["names"] += people[row]["size"]
    places[place]["named"] += people[row]["size"]
    places[place]["watching"] += people[row]["step"] != BLIND


@njit(cache=True)
def move(tick: int, rows: Any, to: Any, names: Bytes, ends: Any, arrays: Arrays) -> None:
    """Puts each of `rows` into the place that `to` says; `names` are their `appeared`, one after another."""
    people, places = arrays.people, arrays.places
    for index in range(len(rows)):
        row, place = rows[index], to[index]
        was, step = people[row]["place"], people[row]["step"]
        leave(row, people, places)
        start = ends[index - 1] if index else 0
        people[row]["size"] = ends[index] - start
        put_bytes(arrays.appeared, row * APPEARED_BYTES_MAX, names, start, ends[index])
        _come(row, place, tick, people, places)
        # Where near and far cells have different periods, a far cell that becomes near may hold news not told yet.
        if step != BLIND and place != was and arrays.rungs[step]["near"] != arrays.rungs[step]["far"]:
            people[row]["known"] = NOWHERE


@njit(cache=True)
def take(
    first: int,
    tick: int,
    crowd_entities: int,
    cells: Any,
    shuffled: Bytes,
    ends: Any,
    news: Rows,
    arrays: Arrays,
) -> Any:
    """Copies the cells from `first` on; returns the first that has no place or not room enough, or how many there are."""
    places, records = arrays.places, arrays.records
    for index in range(first, len(cells)):
        start = ends[index - 1] if index else 0
        count = ends[index] - start
        place = find(cells[index], arrays.head, arrays.following, arrays.keys)
        if place < 0 or places[place]["room"] < count:
            return index
        to = places[place]["start"]
        for each in range(count):
            records[to + each] = news[start + each]
        crowded = count > crowd_entities
        if places[place]["crowded"] and not crowded:
            places[place]["thinned"] = tick
        places[place]["crowded"] = crowded
        places[place]["count"] = count
        places[place]["changed"] = tick
        if shuffled[index]:
            places[place]["shuffled"] = tick
    return len(cells)


# --- the frames -----------------------------------------------------------------------------------------------------------------------


@njit(cache=True)
def _sight(key: Any, radius: int, arrays: Arrays, seen: Any, where: Any) -> Any:
    """Fills `seen` with the places around a cell and `where` with the steps to them; returns how many."""
    cx, cy = cell_at(key)
    count = 0
    for dy in range(-radius, radius + 1):
        for dx in range(-radius, radius + 1):
            place = find(key_of(cx + dx, cy + dy), arrays.head, arrays.following, arrays.keys)
            if place >= 0:
                seen[count] = place
                where[count] = (dx + STEP_ZERO) << 4 | (dy + STEP_ZERO)
                count += 1
    return count


@njit(cache=True)
def _is_seen(key: Any, own: Any, radius: int) -> Any:
    """Whether a cell is in sight from the cell `own`."""
    cx, cy = cell_at(key)
    own_x, own_y = cell_at(own)
    return abs(cx - own_x) <= radius and abs(cy - own_y) <= radius


@njit(cache=True)
def _bound(seen: Any, count: int, places: Rows, told: Told) -> Any:
    """More bytes than any frame of these places can have, with an acknowledgement."""
    size = ACK_BYTES_MAX + FRAME_HEAD_MAX + SNAPSHOT_HEAD_MAX + len(told.cast_bytes)
    for index in range(count):
        place = seen[index]
        size += BLOCK_HEAD_MAX + SNAPSHOT_HEAD_MAX + places[place]["count"] * RECORD_BYTES
        size += places[place]["names"]
    return size


@njit(cache=True)
def _put_casts(out: Bytes, at: int, own: Any, radius: int, told: Told) -> Any:
    """The messages for all who see one of some cells, as far as these are in sight from the cell `own`."""
    cell = byte = 0
    for cast in range(len(told.casts)):
        cells_end, bytes_end = told.casts[cast]["cells_end"], told.casts[cast]["bytes_end"]
        for each in range(cell, cells_end):
            if _is_seen(told.cast_cells[each], own, radius):
                at = put_bytes(out, at, told.cast_bytes, byte, bytes_end)
                break
        cell, byte = cells_end, bytes_end
    return at


@njit(cache=True)
def _put_names(out: Bytes, at: int, last: Any, since: Any, people: Rows, appeared: Bytes) -> Any:
    """The `appeared` of those who came after the tick `since` to the place of `last`, in the order in which they came."""
    row, first = np.int32(last), np.int32(NOBODY)
    while row >= 0 and people[row]["came"] > since:
        row, first = people[row]["prev"], row
    while first >= 0:
        start = first * APPEARED_BYTES_MAX
        at = put_bytes(out, at, appeared, start, start + people[first]["size"])
        first = people[first]["next"]
    return at


@njit(cache=True)
def _compose(
    out: Bytes,
    start: int,
    end: int,
    blocks: Bytes,
    own: int,
    step: int,
    seen: Any,
    where: Any,
    count: int,
    whole: bool,
    known: Any,
    arrays: Arrays,
    told: Told,
) -> Any:
    """A frame for those who look from `own` on one rung: (start, end), the same where there is nothing to tell.

    It tells the news, or, if `whole`, all there is to know of the cells that are not in sight from the cell `known`. After the messages
    that stand in [start, end) come the `appeared` of newcomers and the `crowd` messages, then one snapshot with the blocks of all
    cells. Before `start` there is room for the head.
    """
    places, records, people, appeared = arrays.places, arrays.records, arrays.people, arrays.appeared
    rung, tick = arrays.rungs[step], told.tick
    size = 0
    for index in range(count):
        place, since = seen[index], np.int64(NEVER)
        if whole:
            if _is_seen(places[place]["key"], known, rung["radius"]):
                continue
        else:
            period = COLUMN_PERIODS[rung["near"] if place == own else rung["far"]]
            if tick % period:
                continue
            since = tick - period
        if places[place]["changed"] <= since:
            continue
        if rung["crowds"] and places[place]["crowded"]:
            end = put_crowd(out, end, tick, places[place]["key"], places[place]["count"])
            continue
        # Who was counted was not named.
        everyone = whole or (rung["crowds"] and places[place]["thinned"] > since)
        named = everyone or places[place]["shuffled"] > since
        end = _put_names(out, end, places[place]["last"], NEVER if everyone else since, people, appeared)
        first, inside = places[place]["start"], places[place]["count"]
        size = put_block(blocks, size, where[index], records, first, inside, named)
    if size:
        end = put_snapshot(out, end, tick, places[own]["key"], blocks, size)
    return (put_frame_head(out, start, end) if end > start else start), end


# --- the sends ------------------------------------------------------------------------------------------------------------------------


@njit(cache=True)
def _give(fd: int, out: Bytes, start: int, end: Any, state: Any) -> Any:
    """Sends [start, end) of `out`, if there is anything, to a socket; returns how much it took."""
    if start == end:
        return np.int64(0)
    state[WRITES] += 1
    state[BYTES] += end - start
    if fd < 0:
        return np.int64(0)
    return max(np.int64(0), np.int64(_send(fd, out.ctypes.data + start, end - start, FLAGS)))


@njit(cache=True)
def _has_room(needed: int, out: Bytes, blocks: Bytes, state: Any) -> Any:
    """Whether `out`, for two frames of `needed` bytes after those that are kept, and `blocks` are large enough."""
    state[NEEDED] = needed
    return state[USED] + 2 * needed <= len(out) and needed <= len(blocks)


@njit(cache=True)
def _steps(row: int, people: Rows) -> Any:
    """On which steps of the ladder clients stand in the list from `row` on: a bit for each."""
    steps = 0
    while row >= 0:
        if people[row]["step"] != BLIND:
            steps |= 1 << people[row]["step"]
        row = people[row]["next"]
    return steps


@njit(cache=True)
def spread(arrays: Arrays, told: Told, spent: Any, out: Bytes, blocks: Bytes, left: Any, state: Any) -> Any:
    """Sends everyone their tick, but for the busy and those who must be told cells whole.

    The latter, and those whose socket did not take all, are noted in `left`.

    False when `out` or `blocks` is too small for state[NEEDED] bytes; called again, it goes on from there.
    """
    places, people = arrays.places, arrays.people
    seen = np.empty(SIGHT_MAX, np.int32)
    where = np.empty(SIGHT_MAX, np.int32)
    for own in range(state[PLACE], len(places)):
        state[PLACE] = own
        if not places[own]["watching"]:
            continue
        steps = _steps(places[own]["first"], people)
        for step in range(state[RESUMED_STEP], len(arrays.rungs)):
            if not steps >> step & 1:
                continue
            state[RESUMED_STEP] = step
            key, radius = places[own]["key"], arrays.rungs[step]["radius"]
            count = _sight(key, radius, arrays, seen, where)
            if not _has_room(_bound(seen, count, places, told), out, blocks, state):
                return False
            start = state[USED] + FRAME_HEAD_MAX
            end = _put_casts(out, start, key, radius, told)
            if not steps & ((1 << step) - 1):  # once a tick: for the lowest rung
                places[own]["cast"] += end - start
            start, end = _compose(
                out, start, end, blocks, own, step, seen, where, count, False, NOWHERE, arrays, told
            )
            spent[own, step] += end - start
            row = places[own]["first"]
            while row >= 0:
                if people[row]["step"] == step:
                    _serve(row, key, people, told.tick, told.moved, told.bits, out, start, end, left, state)
                row = people[row]["next"]
        state[RESUMED_STEP] = 0
    state[PLACE] = len(places)
    return True


@njit(cache=True)
def _serve(
    row: int,
    key: Any,
    people: Rows,
    tick: int,
    moved: Rows,
    bits: Any,
    out: Bytes,
    start: int,
    end: int,
    left: Any,
    state: Any,
) -> None:
    """One client: their acknowledgement and the shared frame [start, end) in one write; who is left over is told where it lies."""
    people[row]["sent"] = NOBODY
    if not people[row]["busy"] and people[row]["known"] == key:
        own_start, own_end = start, end
        ack = people[row]["ack"]
        if ack >= 0:
            own_start = max(end, state[USED])  # not kept: the next one is written over it
            own_end = put_moved(out, own_start, tick, moved, bits, ack)
            own_end = put_bytes(out, own_end, out, start, end)
        sent = _give(people[row]["fd"], out, own_start, own_end, state)
        if sent == own_end - own_start:
            people[row]["ack"] = NOBODY
            return
        people[row]["sent"] = sent
    people[row]["news_start"], people[row]["news_end"] = start, end
    state[USED] = max(state[USED], end)
    if not people[row]["busy"]:
        left[state[LEFT]] = row
        state[LEFT] += 1


@njit(cache=True)
def put_own(row: int, reads: bool, arrays: Arrays, told: Told, out: Bytes, blocks: Bytes, state: Any) -> Any:
    """What this tick has for one client, after the frames that are kept: their acknowledgement, what they must be told whole, the news.

    Who does not read gets the acknowledgement alone. Returns where it ends, NO_ROOM when `out` or `blocks` is too small.
    """
    people = arrays.people
    own, step, known = people[row]["place"], people[row]["step"], people[row]["known"]
    key, radius = arrays.places[own]["key"], arrays.rungs[step]["radius"]
    seen = np.empty(SIGHT_MAX, np.int32)
    where = np.empty(SIGHT_MAX, np.int32)
    count = _sight(key, radius, arrays, seen, where)
    if not _has_room(_bound(seen, count, arrays.places, told), out, blocks, state):
        return NO_ROOM
    end, ack = state[USED], people[row]["ack"]
    if ack >= 0:
        end = put_moved(out, end, told.tick, told.moved, told.bits, ack)
        people[row]["ack"] = NOBODY
    if not reads:
        people[row]["known"] = NOWHERE
        return end
    if known != key:
        body = end + FRAME_HEAD_MAX
        start, stop = _compose(
            out, body, body, blocks, own, step, seen, where, count, True, known, arrays, told
        )
        end = put_bytes(out, end, out, start, stop)
        people[row]["known"] = key
    return put_bytes(out, end, out, people[row]["news_start"], people[row]["news_end"])


@njit(cache=True)
def tell_rest(
    first: int, left: Any, arrays: Arrays, told: Told, out: Bytes, blocks: Bytes, back: Any, state: Any
) -> Any:
    """Serves those whom `spread` left over, from the one at `first` on; what a socket did not take is kept, and noted in `back`.

    Returns the first for whom there is no room, or how many there are.
    """
    people = arrays.people
    for index in range(first, state[LEFT]):
        row, start = left[index], state[USED]
        end = put_own(row, True, arrays, told, out, blocks, state)
        if end == NO_ROOM:
            return index
        sent = np.int64(people[row]["sent"])
        if sent == NOBODY:
            sent = _give(people[row]["fd"], out, start, end, state)
        if sent < end - start:
            back[state[BACK], 0], back[state[BACK], 1], back[state[BACK], 2] = row, start + sent, end
            state[BACK] += 1
            state[USED] = end
    return state[LEFT]


# --- the counts -----------------------------------------------------------------------------------------------------------------------


@njit(cache=True)
def weigh(arrays: Arrays, told_bytes: Any, frames: Any, fits: Any, bytes_max: float) -> None:
    """For each place somebody looks from: whether the last second would have fitted into `bytes_max` on each rung."""
    places, rungs = arrays.places, arrays.rungs
    seen = np.empty(SIGHT_MAX, np.int32)
    where = np.empty(SIGHT_MAX, np.int32)
    for own in range(len(places)):
        if not places[own]["watching"]:
            continue
        for step in range(len(rungs)):
            count = _sight(places[own]["key"], rungs[step]["radius"], arrays, seen, where)
            size = frames[step] + places[own]["cast"]
            for index in range(count):
                place = seen[index]
                column = rungs[step]["near"] if place == own else rungs[step]["far"]
                size += told_bytes[place, column] + places[place]["named"]
            fits[own, step] = size <= bytes_max


@njit(cache=True)
def tally(tick: int, places: Rows, told_bytes: Any) -> None:
    """Adds up what each cell's news come to at each period."""
    for place in range(len(places)):
        if places[place]["changed"] <= tick - COLUMN_PERIODS[-1]:
            continue
        for column in range(len(COLUMN_PERIODS)):
            since = tick - COLUMN_PERIODS[column]
            if tick % COLUMN_PERIODS[column] or places[place]["changed"] <= since:
                continue
            if column == CROWDS and places[place]["crowded"]:
                told_bytes[place, column] += CROWD_BYTES
            else:
                named = places[place]["shuffled"] > since
                told_bytes[place, column] += BLOCK_HEAD_MAX + places[place]["count"] * (8 if named else 4)


@njit(cache=True)
def mark(moved: Rows, head: Any, following: Any, keys: Any, people: Rows) -> None:
    """Tells each client which acknowledgement is theirs."""
    for index in range(len(moved)):
        row = find(np.int64(moved[index]["player_id"]), head, following, keys)
        if row >= 0 and people[row]["step"] != BLIND:
            people[row]["ack"] = index
