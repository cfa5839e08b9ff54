"""The compiled loops beside the plain code they stand in for, and sockets that do not take all they are given."""

import fcntl
import socket
import struct
import termios
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.frames import Opcode

from protocol import codec
from protocol.messages import WORLD_TILES_MAX, Appeared, Crowd, Move, Moved, Pong, Snapshot
from protocol.snapshot import RECORD, write_block
from server.config import InterestConfig
from server.fanout import OUT_BYTES_MIN, START_ROWS
from server.frames import TickFrame
from server.interest import STEP_LAST, Interest
from server.outbox import Outbox, Sent, frame
from tests.server.support import HANDSHAKE, HELLO, FakeTransport, House, SocketTransport, messages, payloads
from tests.server.support import frame as masked
from world.grid import pack
from world.tick import MOVED

EVERYONE = 2**32 - 1


def told(
    tick: int, cells: dict[tuple[int, int], list[tuple[int, int, int]]], shuffled: bool = True, step: int = 0
) -> TickFrame:
    """A tick frame with these records (player_id, x, y) by cell."""
    by_key = sorted((pack(*cell), records) for cell, records in cells.items())
    records = [record for _, some in by_key for record in some]
    return TickFrame(
        tick,
        step,
        np.array([key for key, _ in by_key], np.int64).tobytes(),
        bytes([shuffled]) * len(by_key),
        np.cumsum([len(some) for _, some in by_key], dtype=np.int32).tobytes(),
        np.array(records, RECORD).tobytes(),
    )


class One:
    """One client that looks from (cx, cy) with the eyes of player 1, and what its socket was sent since the last look."""

    def __init__(
        self, cx: int = 0, cy: int = 0, transport: FakeTransport | None = None, **settings: Any
    ) -> None:
        self.transport = transport or SocketTransport()
        self.interest = Interest(InterestConfig.model_validate(settings), 20, 100)
        first = told(0, {(cx, cy): [(1, 0, 0)]})
        first.placed = [(1, pack(cx, cy), codec.encode(Appeared(1, "Ada", 0)))]
        self.interest.take(first)
        outbox = Outbox(1_000, self.interest.sent)
        outbox.open(self.transport)  # type: ignore[arg-type]
        self.interest.watch(1, outbox)
        self.interest.write(0)
        self.transport.take()

    def see(self, tick_frame: TickFrame) -> bytes:
        self.interest.take(tick_frame)
        self.interest.write(tick_frame.tick)
        return self.transport.take()


NUMBERS = st.sampled_from((0, 1, 127, 128, 255, 256, 65_535, 65_536, 2**31, EVERYONE))
PLACES = st.floats(-float(WORLD_TILES_MAX), float(WORLD_TILES_MAX))
CELLS = st.sampled_from((-32_768, -32_767, -129, -128, -33, -32, -1, 0, 1, 127, 128, 255, 256, 32_767))


@settings(max_examples=200, deadline=None)
@given(
    st.integers(1, 2**62),
    CELLS,
    CELLS,
    st.dictionaries(
        st.tuples(st.integers(-1, 1), st.integers(-1, 1)),
        st.lists(st.tuples(NUMBERS, st.integers(0, 65_535), st.integers(0, 65_535)), max_size=4)
        | st.integers(125, 300).map(lambda count: [(who, who, 7) for who in range(count)]),
        min_size=1,
    ),
    st.booleans(),
)
def test_a_snapshot_is_what_the_codec_makes(
    tick: int, cx: int, cy: int, cells: dict[tuple[int, int], list[tuple[int, int, int]]], shuffled: bool
) -> None:
    client = One(cx, cy)
    around = {(cx + dx, cy + dy): records for (dx, dy), records in cells.items()}
    seen = client.see(told(tick, around, shuffled))
    blocks = [
        write_block(dx, dy, np.array(cells[dx, dy], RECORD), named=shuffled)
        for dy in (-1, 0, 1)
        for dx in (-1, 0, 1)
        if (dx, dy) in cells
    ]
    assert seen == frame(codec.encode(Snapshot(tick, cx, cy, b"".join(blocks))))


@settings(max_examples=100, deadline=None)
@given(NUMBERS, st.integers(1, 2**62), PLACES, PLACES)
def test_an_acknowledgement_is_what_the_codec_makes_and_comes_first_in_the_same_write(
    seq: int, tick: int, x: float, y: float
) -> None:
    client = One()
    moves = told(tick, {(0, 0): [(1, 5, 5)]})
    moves.moved = np.array([(1, seq, x, y), (99, 1, 0.0, 0.0)], MOVED).tobytes()
    client.interest.take(moves)
    client.interest.write(tick)
    [write] = client.transport.read()
    acknowledged = frame(codec.encode(Moved(seq, tick, x, y)))
    assert write.startswith(acknowledged)
    assert [type(message) for message in messages(write)] == [Moved, Snapshot]


def test_an_acknowledgement_comes_also_where_nothing_changed() -> None:
    client = One()
    still = TickFrame(9, 0, moved=np.array([(1, 7, 1.0, 2.0)], MOVED).tobytes())
    assert client.see(still) == frame(codec.encode(Moved(7, 9, 1.0, 2.0)))


def test_a_crowd_is_what_the_codec_makes() -> None:
    client = One(crowd_entities=3)
    many = [(who, 0, 0) for who in range(1, 200)]
    for tick in range(1, 61):  # the step comes into force with a whole second
        client.see(told(tick, {(0, 0): many}, shuffled=tick == 1, step=STEP_LAST))
    assert client.see(told(64, {(0, 0): many}, shuffled=False, step=STEP_LAST)) == frame(
        codec.encode(Crowd(64, 0, 0, 199))
    )


def test_frames_larger_than_the_buffer_make_it_grow() -> None:
    """Three cells with more records than the buffer has bytes for; what was sent before stays sent, once."""
    transports = [FakeTransport() for _ in range(3)]
    interest = Interest(InterestConfig(client_bytes_per_s=16_777_216), 20, 100)
    crowd = OUT_BYTES_MIN // RECORD.itemsize
    cells = [(0, 0), (10, 0), (20, 0)]
    first = told(0, {})
    first.placed = [
        (number, pack(*cell), codec.encode(Appeared(number, "Ada", 0)))
        for number, cell in enumerate(cells, 1)
    ]
    interest.take(first)
    for number, transport in enumerate(transports, 1):
        outbox = Outbox(1_000_000, interest.sent)
        outbox.open(transport)  # type: ignore[arg-type]
        interest.watch(number, outbox)
    interest.write(0)
    for transport in transports:
        transport.take()
    interest.take(told(1, {cell: [(who, 1, 2) for who in range(crowd)] for cell in cells}))
    interest.write(1)
    for transport, (cx, cy) in zip(transports, cells, strict=True):
        [write] = transport.read()
        [snapshot] = messages(write)
        assert isinstance(snapshot, Snapshot)
        assert (snapshot.cx, snapshot.cy, len(snapshot.cells)) == (cx, cy, 4 + crowd * RECORD.itemsize)


class Pipe(FakeTransport):
    """A TCP socket with small buffers; `write` queues, like a real transport, what does not fit."""

    def __init__(self) -> None:
        super().__init__()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2_304)
            self.near = socket.create_connection(listener.getsockname())
            self.far, _ = listener.accept()
        self.near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_608)
        for end in (self.near, self.far):
            end.setblocking(False)
        self.queue = b""

    def get_extra_info(self, name: str) -> object:
        return self.near if name == "socket" else super().get_extra_info(name)

    def write(self, data: bytes) -> None:
        self.queue += data
        self.push()

    def push(self) -> None:
        """Sends what fits, as the event loop does when the socket can be written to."""
        try:
            while self.queue:
                self.queue = self.queue[self.near.send(self.queue) :]
        except BlockingIOError:
            pass

    def get_write_buffer_size(self) -> int:
        return len(self.queue)

    def in_flight(self) -> int:
        """Bytes sent that the other end has not read: SIOCOUTQ and FIONREAD, see tcp(7)."""
        waiting = struct.pack("i", 0)
        sent = struct.unpack("i", fcntl.ioctl(self.near, termios.TIOCOUTQ, waiting))[0]
        return int(sent + struct.unpack("i", fcntl.ioctl(self.far, termios.FIONREAD, waiting))[0])

    def read_all(self) -> bytes:
        """What waits and what is under way, until nothing is left."""
        self.far.setblocking(True)
        received = b""
        while self.queue or self.in_flight():
            received += self.read_some(65_536)
            self.push()
        return received

    def read_some(self, most: int) -> bytes:
        try:
            return self.far.recv(most)
        except BlockingIOError:
            return b""


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    pipe = Pipe()
    yield pipe
    pipe.near.close()
    pipe.far.close()


@pytest.mark.parametrize("acknowledged", [False, True])
def test_a_socket_that_takes_a_part_gets_the_rest_in_order(pipe: Pipe, acknowledged: bool) -> None:
    """Guards: `spread` leaves over what a send did not take; Interest keeps such a client busy while the transport holds something."""
    interest = Interest(InterestConfig(client_bytes_per_s=16_777_216), 250, 100)
    first = told(0, {(0, 0): [(1, 0, 0)]})
    first.placed = [(1, pack(0, 0), codec.encode(Appeared(1, "Ada", 0)))]
    interest.take(first)
    outbox = Outbox(1_000_000, Sent())
    outbox.open(pipe)  # type: ignore[arg-type]
    interest.watch(1, outbox)
    interest.write(0)
    received, waited = b"", 0
    for tick in range(1, 200):
        moves = told(tick, {(0, 0): [(who, tick, tick) for who in range(600)]}, shuffled=tick == 1)
        if acknowledged:
            moves.moved = np.array([(1, tick, 0.0, 0.0)], MOVED).tobytes()
        interest.take(moves)
        interest.write(tick)
        waited += bool(pipe.queue)
        pipe.push()
        received += pipe.read_some(tick % 7 * 700)  # last: the next tick finds room, whatever still waits
    while outbox.holds_back():
        received += pipe.read_all()
        interest.take(TickFrame(200, 0))
        interest.write(200)
    received += pipe.read_all()
    assert waited > 20, "the socket was never full"
    said = messages(received)
    ticks = [message.tick for message in said if isinstance(message, Snapshot)]
    assert ticks == sorted(ticks)
    assert ticks[-1] == 199
    assert {after - before for before, after in pairwise(ticks[1:])} == {1}
    assert sum(isinstance(message, Moved) for message in said) == 199 * acknowledged


class Walker(One):
    """The same client, who walks."""

    def walk(self, tick: int, cx: int, cells: dict[tuple[int, int], list[tuple[int, int, int]]]) -> TickFrame:
        """A tick in which they come to (cx, 0), acknowledged."""
        walked = told(tick, cells)
        walked.placed = [(1, pack(cx, 0), codec.encode(Appeared(1, "Ada", 0)))]
        walked.moved = np.array([(1, tick, 0.0, 0.0)], MOVED).tobytes()
        return walked


def test_who_comes_to_another_cell_is_told_what_comes_into_sight_whole_and_the_news_in_one_write() -> None:
    """Guard: PERSON.known. What was in sight before comes only as news, and what comes into sight only to who came."""
    client = Walker()
    beside = told(1, {(cx, 0): [(10 + cx, 5, 5)] for cx in (-1, 1, 2)})
    beside.placed = [(10 + cx, pack(cx, 0), codec.encode(Appeared(10 + cx, "Bea", 0))) for cx in (-1, 1, 2)]
    client.see(beside)
    client.interest.take(client.walk(2, 1, {(0, 0): [], (1, 0): [(1, 0, 0), (11, 5, 5)]}))
    client.interest.write(2)
    [write] = client.transport.read()
    blocks = write_block(1, 0, np.array([(12, 5, 5)], RECORD), named=True)
    news = [
        write_block(dx, 0, np.array(people, RECORD), named=True)
        for dx, people in ((-1, []), (0, [(1, 0, 0), (11, 5, 5)]))
    ]
    assert messages(write) == [
        Moved(2, 2, 0.0, 0.0),
        Appeared(12, "Bea", 0),
        Snapshot(2, 1, 0, blocks),
        Appeared(1, "Ada", 0),
        Snapshot(2, 1, 0, b"".join(news)),
    ]


def test_a_socket_that_takes_a_part_of_what_comes_into_sight_gets_the_rest_in_order(pipe: Pipe) -> None:
    """Guard: tell_rest keeps, and hands back, what a send did not take."""
    client = Walker(transport=pipe, client_bytes_per_s=16_777_216)
    pipe.read_all()
    pipe.far.setblocking(False)
    crowds = {cx: [(100 + who, 7, 7) for who in range(600)] for cx in (-2, 3)}
    received, waited = b"", 0
    for tick in range(1, 100):
        cx = tick % 2
        cells = {(0, 0): [], (1, 0): [], (-1, 0): crowds[-2], (2, 0): crowds[3], (cx, 0): [(1, 0, 0)]}
        client.interest.take(client.walk(tick, cx, cells))
        client.interest.write(tick)
        waited += bool(pipe.queue)
        while tick % 3 == 0 and (pipe.queue or pipe.in_flight()):
            received += pipe.read_some(65_536)
            pipe.push()
        client.interest.wake(1)
    received += pipe.read_all()
    assert waited > 20, "the socket was never full"
    ticks = [message.seq for message in messages(received) if isinstance(message, Moved)]
    assert ticks == list(range(1, 100))


def test_many_who_come_to_large_cells_at_once_make_the_buffer_grow() -> None:
    """Guard: `tell_rest` goes on where there was no room. Nobody is told twice, and nobody misses anything."""
    count, crowd = 8, OUT_BYTES_MIN // RECORD.itemsize // 4
    interest = Interest(InterestConfig(client_bytes_per_s=16_777_216), 20, 100)
    transports = {number: FakeTransport() for number in range(1, count + 1)}
    here = told(
        0, {(0, 0): [(number, 0, 0) for number in transports], (2, 0): [(who, 1, 2) for who in range(crowd)]}
    )
    here.placed = [(number, pack(0, 0), codec.encode(Appeared(number, "Ada", 0))) for number in transports]
    interest.take(here)
    for number, transport in transports.items():
        outbox = Outbox(1_000_000, interest.sent)
        outbox.open(transport)  # type: ignore[arg-type]
        interest.watch(number, outbox)
    interest.write(0)
    for transport in transports.values():
        transport.take()
    came = told(1, {(0, 0): [], (1, 0): [(number, 0, 0) for number in transports]})
    came.placed = [(number, pack(1, 0), codec.encode(Appeared(number, "Ada", 0))) for number in transports]
    interest.take(came)
    interest.write(1)
    for transport in transports.values():
        [write] = transport.read()
        whole, *names, news = messages(write)
        assert isinstance(whole, Snapshot)
        assert isinstance(news, Snapshot)
        assert len(whole.cells) == 4 + crowd * RECORD.itemsize
        assert names == [Appeared(number, "Ada", 0) for number in transports]


async def test_what_was_answered_between_ticks_goes_out_before_the_tick(pipe: Pipe) -> None:
    """Guard: Connection._write wakes who holds something back, or the tick would go past a WebSocket pong on its way."""
    house = House(limits={"outbox_bytes_max": 1_048_576})
    connection = house.gate.connect()
    connection.connection_made(pipe)  # type: ignore[arg-type]
    connection.data_received(HANDSHAKE + masked(HELLO))
    house.tick()
    pipe.read_all()
    pipe.far.setblocking(False)
    while not pipe.queue:
        pipe.write(frame(codec.encode(Pong(7, 1)) * 5_000))  # the socket is full
    connection.data_received(masked(b"are you there?", Opcode.PING))
    received = pipe.read_some(100_000)
    connection.data_received(masked(codec.encode(Move(1, 1.0, 0.0))))
    for _ in range(2):  # what is gathered goes out once the transport is empty
        house.tick()
        received += pipe.read_all()
    kinds = [type(message) for message in messages(received)]
    assert kinds == [Pong] * (len(kinds) - 1) + [Moved]
    assert (Opcode.PONG, b"are you there?") in payloads(received)
    connection.connection_lost(None)


def test_frames_that_grow_little_by_little_do_not_double_the_buffer_each_time() -> None:
    """Guard: _enlarge enlarges only what is too small."""
    client = One(transport=FakeTransport(), client_bytes_per_s=16_777_216)
    arrays = client.interest._fanout
    longest = 3 * OUT_BYTES_MIN
    for tick, size in enumerate(range(0, longest, OUT_BYTES_MIN // 16), 1):
        client.interest.cast([pack(0, 0)], bytes(size))
        client.interest.write(tick)
    assert len(arrays._out) <= 2 * (3 * longest + OUT_BYTES_MIN)  # one is kept, and room for two more
    assert len(arrays._blocks) <= 2 * (longest + OUT_BYTES_MIN)


def test_a_row_used_again_is_not_the_one_before() -> None:
    """Guard: Fanout.unwatch; what comes to the socket's number later belongs to somebody else."""
    client = One()
    client.interest.unwatch(1)
    assert client.see(told(1, {(0, 0): [(1, 9, 9)]})) == b""
    transport = SocketTransport()
    outbox = Outbox(1_000, client.interest.sent)
    outbox.open(transport)  # type: ignore[arg-type]
    client.interest.watch(1, outbox)
    assert client.see(told(2, {(0, 0): [(1, 10, 10)]})) == b""
    assert transport.take()


def test_the_arrays_grow_and_shrink_with_who_is_there() -> None:
    """More places and viewers than there are rows at the start; everybody is told of themselves, and nobody is left at the end."""
    count = 3 * START_ROWS
    interest = Interest(InterestConfig(), 20, 100)
    cells = {(number * 4, 0): [(number, 1, 1)] for number in range(1, count)}
    first = told(0, cells)
    first.placed = [
        (number, pack(number * 4, 0), codec.encode(Appeared(number, "Ada", 0))) for number in range(1, count)
    ]
    interest.take(first)
    transports = {number: FakeTransport() for number in range(1, count)}
    for number, transport in transports.items():
        outbox = Outbox(1_000, interest.sent)
        outbox.open(transport)  # type: ignore[arg-type]
        interest.watch(number, outbox)
    interest.write(0)
    for transport in transports.values():
        assert isinstance(messages(transport.take())[-1], Snapshot)
    interest.take(told(1, {cell: [(who, 2, 2)] for cell, [(who, _, _)] in cells.items()}, shuffled=False))
    interest.write(1)
    for number, transport in transports.items():
        [snapshot] = messages(transport.take())
        assert isinstance(snapshot, Snapshot)
        assert snapshot.cx == number * 4
    gone = told(2, {cell: [] for cell in cells})
    gone.gone = list(range(1, count))
    interest.take(gone)
    for tick in range(2, 42):
        interest.write(tick)
        interest.take(TickFrame(tick + 1, 0))
    assert not interest._fanout.places["room"].any()
