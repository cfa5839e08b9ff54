"""The hot path of the connection side: what every client of this process gets of a tick, put together and sent by compiled loops.

What is known of the world lies in arrays, without an object per cell or client. Here they are kept; what they hold, and the loops over
them, is in spread.py.

Only plain cases are sent from there. Whoever is `busy`, because something else waits for them or because their socket did not take all
of an earlier write, is left to their outbox (interest.py), and so is what a `send` there does not take. asyncio's transport never holds
anything of a client that is not busy, so the order of bytes on the socket is kept.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from protocol.snapshot import RECORD
from server import spread as compiled
from server.frames import TickFrame
from server.outbox import NO_SOCKET, Sent
from server.packing import Bytes, Rows
from server.spread import (
    APPEARED_BYTES_MAX,
    BACK,
    BLIND,
    BYTES,
    CAST,
    CELL,
    COLUMN_PERIODS,
    LEFT,
    NEEDED,
    NEVER,
    NO_ROOM,
    NOBODY,
    NOWHERE,
    PERIODS,
    PERSON,
    STATE_SIZE,
    USED,
    WRITES,
    Arrays,
    Told,
)
from world.grid import Grid, around

ROOM_MIN = 4  # records
START_ROWS = 256
RECORDS_MIN = 4_096
OUT_BYTES_MIN = 262_144
NO_CASTS = np.zeros(0, CAST), np.zeros(0, np.int64), np.zeros(0, np.uint8)


class Fanout:
    """The arrays, and the loops over them. Places and people are named by their row.

    `rungs` is the ladder as RUNG rows; `crowd_entities` how many people a cell may hold before it counts as crowded;
    `sent` counts what was written.
    """

    def __init__(self, rungs: Rows, crowd_entities: int, sent: Sent) -> None:
        self._sent = sent
        self._changed_tick = NEVER  # when any cell last changed
        self._rungs = rungs
        self._crowd_entities = crowd_entities
        self.places: Rows = np.zeros(0, CELL)
        self.people: Rows = np.zeros(0, PERSON)
        self._appeared: Bytes = np.zeros(0, np.uint8)
        self._free_places: list[int] = []
        self._free_people: list[int] = []
        self._rooms: dict[int, list[int]] = {}  # free stretches of `records`, by their size
        self._records: Rows = np.zeros(RECORDS_MIN, RECORD)
        self._records_used = 0
        self._out: Bytes = np.zeros(OUT_BYTES_MIN, np.uint8)
        self._blocks: Bytes = np.zeros(OUT_BYTES_MIN, np.uint8)
        self.spent: NDArray[np.int64] = np.zeros(
            (0, len(rungs)), np.int64
        )  # bytes of frames by place and rung
        self._told_bytes: NDArray[np.int64] = np.zeros(
            (0, len(COLUMN_PERIODS)), np.int64
        )  # bytes of blocks by place and period
        self._grow_places()
        self._grow_people()

    @property
    def _arrays(self) -> Arrays:
        grid = self._grid
        return Arrays(
            self._rungs,
            grid.head,
            grid.next,
            grid.keys,
            self.places,
            self._records,
            self.people,
            self._appeared,
        )

    # --- places ---

    def _place(self, key: int) -> int:
        """The row of a cell; a new one, if it has none."""
        place = self._grid.find(key)
        if place != NOBODY:
            return place
        if not self._free_places:
            self._grow_places()
        place = self._free_places.pop()
        self._grid.enter(place, key)
        row = self.places[place]
        row["key"], row["start"], row["room"] = key, *self._room(0)
        row["count"] = row["crowded"] = row["watching"] = row["names"] = row["named"] = row["cast"] = 0
        row["changed"] = row["shuffled"] = row["thinned"] = NEVER
        row["first"] = row["last"] = NOBODY
        self.spent[place] = self._told_bytes[place] = 0
        return place

    def forget_empty_places(self, tick: int) -> None:
        """Drops cells where nobody is, once all who see them were told that they are empty."""
        places, people = self.places, self.people
        told = (places["room"] > 0) & (places["first"] == NOBODY) & (places["changed"] <= tick - PERIODS[-1])
        empty = np.flatnonzero(told).tolist()
        if not empty:
            return
        due: set[int] = set()  # not told yet: they do not read
        for row in np.flatnonzero((people["step"] != BLIND) & (people["known"] == NOWHERE)).tolist():
            due |= self.sight_of(row)
        for place in empty:
            if int(places["key"][place]) not in due:
                self._forget(place)

    def _forget(self, place: int) -> None:
        row = self.places[place]
        self._rooms.setdefault(int(row["room"]), []).append(int(row["start"]))
        row["room"], row["changed"] = 0, NEVER
        self._grid.leave(place)
        self._free_places.append(place)

    def _room(self, count: int) -> tuple[int, int]:
        """Where so many records, and some more, have room: start and size, a power of two."""
        room = max(ROOM_MIN, 1 << (count - 1).bit_length()) if count else ROOM_MIN
        if free := self._rooms.get(room):
            return free.pop(), room
        start = self._records_used
        self._records_used += room
        while self._records_used > len(self._records):
            self._records = np.concatenate((self._records, np.zeros_like(self._records)))
        return start, room

    def _grow_places(self) -> None:
        old, self.places, self._grid, self._free_places = _grown(self.places, "key")
        size = len(self.places)
        self.places["changed"][old:] = NEVER
        spent, told_bytes = (
            np.zeros((size, len(self._rungs)), np.int64),
            np.zeros((size, len(COLUMN_PERIODS)), np.int64),
        )
        spent[:old], told_bytes[:old] = self.spent, self._told_bytes
        self.spent, self._told_bytes = spent, told_bytes
        self._fits = np.zeros((size, len(self._rungs)), np.bool_)

    # --- people ---

    def row_of(self, player_id: int) -> int:
        """The row of somebody in the world. Raises KeyError for who is not."""
        row = self._by_id.find(player_id)
        if row == NOBODY:
            raise KeyError(player_id)
        return row

    def key_of(self, row: int) -> int:
        """The cell somebody is in."""
        return int(self.places["key"][self.people["place"][row]])

    def sight_of(self, row: int) -> set[int]:
        """The cells in sight of a client."""
        return set(around(self.key_of(row), int(self._rungs["radius"][self.people["step"][row]])))

    def watch(self, row: int, fd: int, step: int) -> None:
        """Somebody has a client of this process from now on, who must be told everything in sight."""
        person = self.people[row]
        person["fd"], person["own_step"], person["busy"], person["ack"] = fd, 0, 0, NOBODY
        self.places["watching"][person["place"]] += 1
        self.look_anew(row, step)

    def unwatch(self, row: int) -> None:
        """The client is gone."""
        self.places["watching"][self.people["place"][row]] -= 1
        self.people["step"][row], self.people["fd"][row] = BLIND, NO_SOCKET

    def look_anew(self, row: int, step: int) -> None:
        """A client is on this step of the ladder from now on, and must be told everything in sight."""
        self.people["step"][row], self.people["known"][row] = step, NOWHERE

    def _person(self, player_id: int) -> int:
        """The row of somebody; a new one for who has just come into the world."""
        row = self._by_id.find(player_id)
        if row != NOBODY:
            return row
        if not self._free_people:
            self._grow_people()
        row = self._free_people.pop()
        self._by_id.enter(row, player_id)
        person = self.people[row]
        person["player_id"], person["place"], person["step"], person["fd"] = (
            player_id,
            NOBODY,
            BLIND,
            NO_SOCKET,
        )
        return row

    def _remove(self, player_id: int) -> None:
        """Somebody left the world."""
        row = self._by_id.find(player_id)
        if row != NOBODY:
            compiled.leave(row, self.people, self.places)
            self._by_id.leave(row)
            self._free_people.append(row)

    def _grow_people(self) -> None:
        old, self.people, self._by_id, self._free_people = _grown(self.people, "player_id")
        size = len(self.people)
        self.people["step"][old:] = BLIND
        self._appeared = np.concatenate(
            (self._appeared, np.zeros((size - old) * APPEARED_BYTES_MAX, np.uint8))
        )
        self._left = np.zeros(size, np.int32)
        self._back = np.zeros((size, 3), np.int64)

    # --- the tick ---

    def take(self, frame: TickFrame) -> None:
        """Takes in who came where, who is gone, and the cells that changed."""
        if frame.placed:
            self._take_placed(frame.tick, frame.placed)
        for player_id in frame.gone:
            self._remove(player_id)
        cells = np.frombuffer(frame.cells, np.int64)
        shuffled = np.frombuffer(frame.shuffled, np.uint8)
        ends = np.frombuffer(frame.ends, np.int32)
        news = np.frombuffer(frame.records, RECORD)
        if len(cells):
            self._changed_tick = frame.tick
        done = 0
        while done < len(cells):
            done = compiled.take(
                done, frame.tick, self._crowd_entities, cells, shuffled, ends, news, self._arrays
            )
            if done < len(cells):
                count = int(ends[done] - (ends[done - 1] if done else 0))
                self._make_room(self._place(int(cells[done])), count)

    def _take_placed(self, tick: int, placed: list[tuple[int, int, bytes]]) -> None:
        """Puts each (player_id, key of a cell, `appeared`) into its place."""
        player_ids, keys, names = zip(*placed, strict=True)
        ends = np.cumsum(list(map(len, names)))
        assert max(map(len, names)) <= APPEARED_BYTES_MAX, "a name longer than the protocol allows"
        rows, to = self._by_id.find_all(np.array(player_ids)), self._grid.find_all(np.array(keys))
        for index in np.flatnonzero(rows == NOBODY).tolist():
            rows[index] = self._person(player_ids[index])
        for index in np.flatnonzero(to == NOBODY).tolist():
            to[index] = self._place(keys[index])
        compiled.move(tick, rows, to, np.frombuffer(b"".join(names), np.uint8), ends, self._arrays)

    def _make_room(self, place: int, count: int) -> None:
        row = self.places[place]
        if row["room"] < count:
            self._rooms.setdefault(int(row["room"]), []).append(int(row["start"]))
            row["start"], row["room"] = self._room(count)

    def spread(
        self, tick: int, moved: Rows, casts: Sequence[tuple[Sequence[int], bytes]], busy: list[int]
    ) -> list[tuple[int, bytes]]:
        """Sends everyone who is not `busy` their tick; returns what could not be sent, and whose it is.

        `moved` are MOVED records. `casts` are (keys of cells, message), each for all who see one of the cells, told in this order.
        Afterwards `news` tells what there is for the busy.
        """
        self._state = state = np.zeros(STATE_SIZE, np.int64)
        self._told = told = _told(tick, moved, casts)
        people = self.people
        people["news_end"][busy] = people["news_start"][busy] = 0
        if not (len(moved) or casts) and self._changed_tick <= tick - PERIODS[-1]:
            return []
        compiled.tally(tick, self.places, self._told_bytes)
        compiled.mark(moved, self._by_id.head, self._by_id.next, self._by_id.keys, people)
        people["busy"][busy] = 1
        while not compiled.spread(self._arrays, told, self.spent, self._out, self._blocks, self._left, state):
            self._enlarge()
        people["busy"][busy] = 0
        done = 0
        while done < state[LEFT]:
            done = compiled.tell_rest(
                done, self._left, self._arrays, told, self._out, self._blocks, self._back, state
            )
            if done < state[LEFT]:
                self._enlarge()
        self._sent.add(int(state[WRITES]), int(state[BYTES]))
        return [
            (row, self._out[start:end].tobytes()) for row, start, end in self._back[: state[BACK]].tolist()
        ]

    def _enlarge(self) -> None:
        """Room for a frame of so many bytes after what is kept, which stays where it is."""
        used, needed = int(self._state[USED]), int(self._state[NEEDED])
        more = used + 2 * needed - len(self._out)
        if more > 0:
            self._out = np.concatenate((self._out, np.zeros(max(len(self._out), more), np.uint8)))
        if needed > len(self._blocks):
            self._blocks = np.zeros(2 * needed, np.uint8)

    def news(self, row: int, reads: bool = True) -> bytes:
        """What this tick has for a busy client, to be asked once: of who does not read, only what may not be skipped."""
        if not reads and self.people["ack"][row] == NOBODY and self.people["known"][row] == NOWHERE:
            return b""  # of hundreds who do not read, nearly all; each loop called costs microseconds
        state = self._state
        while True:
            end = compiled.put_own(row, reads, self._arrays, self._told, self._out, self._blocks, state)
            if end != NO_ROOM:
                return self._out[state[USED] : end].tobytes()
            self._enlarge()

    def weigh(self, frames: list[int], bytes_max: float) -> NDArray[np.bool_]:
        """For each place and rung: whether the last second would have fitted into `bytes_max`, `frames` bytes for the frames' heads.

        A second begins anew.
        """
        compiled.weigh(self._arrays, self._told_bytes, np.array(frames, np.int64), self._fits, bytes_max)
        self._told_bytes[:] = 0
        self.places["named"] = self.places["cast"] = 0
        return self._fits


def _grown(rows: Rows, key: str) -> tuple[int, Rows, Grid, list[int]]:
    """Twice as many rows, when all are in use: how many there were, the rows, a grid that finds them by a field, and those free."""
    old, size = len(rows), max(START_ROWS, 2 * len(rows))
    grown = np.zeros(size, rows.dtype)
    grown[:old] = rows
    grid = Grid(size)
    for row, value in enumerate(rows[key].tolist()):
        grid.enter(row, value)
    return old, grown, grid, list(range(size - 1, old - 1, -1))


def _told(tick: int, moved: Rows, casts: Sequence[tuple[Sequence[int], bytes]]) -> Told:
    """The arguments of `Fanout.spread` as arrays."""
    bits = moved.view(np.uint64).reshape(-1, 3)[:, 1:]
    if not casts:
        return Told(tick, moved, bits, *NO_CASTS)
    table = np.zeros(len(casts), CAST)
    table["cells_end"] = np.cumsum([len(keys) for keys, _ in casts])
    table["bytes_end"] = np.cumsum([len(message) for _, message in casts])
    cells = np.array([key for keys, _ in casts for key in keys], np.int64)
    messages = np.frombuffer(b"".join(message for _, message in casts), np.uint8)
    return Told(tick, moved, bits, table, cells, messages)
