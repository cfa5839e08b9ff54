"""Recordings for tests: a small world that does something every tick, and files put together by hand."""

import gzip
from pathlib import Path

import msgspec
import numpy as np

from protocol.messages import ChatChannel
from server.recorder import Recorder, Row, read
from tests.world.support import RULES, join, plain
from world.commands import AnyCommand, Detach, Leave, LoadChunk, Say, steer
from world.state import State
from world.tick import step

WALKER = 900  # stays from the first tick to the last
WALKER_TURNS = 50  # ticks


def commands_of(tick: int, random: np.random.Generator) -> list[AnyCommand]:
    """A tick's worth: people come, go, turn and talk; every fourth tick is quiet."""
    seq = tick % 2**32  # as clients count: u32
    if tick % WALKER_TURNS == 1:
        return [steer(WALKER, seq, 0.6, 0.1 * (tick % 7)), steer(WALKER, seq, -0.5, 0.1 * (tick % 9))]
    if tick % 4 == 0:
        return []
    number = int(random.integers(1, 30))
    dx, dy = random.uniform(-1, 1, 2).tolist()
    x, y = random.uniform(-60, 60, 2).tolist()
    some: list[AnyCommand] = [join(number, x, y), steer(number, seq, dx, dy), Leave(number), Detach(number)]
    walk = random.integers(0, 101, 1024, dtype=np.uint8).tobytes()
    rare: list[AnyCommand] = [
        Say(number, tick, ChatChannel.NEARBY, f"it is {tick}", None),
        LoadChunk(int(random.integers(-2, 2)), 0, walk),
    ]
    return [some[way] for way in (0, 1, *random.integers(0, 4, 2))] + rare[: tick % 3 * (tick % 7 == 0)]


def record(path: Path, ticks: int, first_tick: int = 0) -> State:
    """Records a run; returns the world at its end."""
    state = State(RULES)
    state.tick = first_tick
    recorder = Recorder(path, state)
    random = np.random.default_rng(1)
    for tick in range(first_tick + 1, first_tick + ticks + 1):
        commands = [*plain(), join(WALKER)] if tick == first_tick + 1 else commands_of(tick, random)
        recorder.write(tick, commands)
        step(state, commands, tick)
    recorder.close(20.0)
    return state


def rows_of(path: Path) -> list[Row]:
    """All rows of a recording."""
    return list(read(path)[1])


def write(path: Path, header: object, rows: list[Row]) -> None:
    """A recording put together by hand, by the layout that server/recorder.py names."""
    parts = [msgspec.msgpack.encode(part) for part in (header, *rows)]
    path.write_bytes(gzip.compress(b"".join(len(part).to_bytes(4, "little") + part for part in parts)))
