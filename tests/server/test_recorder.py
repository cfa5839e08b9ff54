"""A recording holds every command and the digests between them; and whatever the disk does, the world goes on."""

import gzip
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import structlog

from protocol.messages import ChatChannel, LandClaim, LandDescribe, Role, Standing
from server import recorder as module
from server.recorder import DIGEST_TICKS, FORMAT, Recorder, Row, read, rules_of
from tests.server import recordings
from tests.world.support import RULES, join, plain
from world.bidding import Standing as Bids
from world.bidding import Terms
from world.commands import (
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
    UnloadChunk,
    steer,
)
from world.digest import digest
from world.ledger import Hold
from world.parcels import Parcel, Permit
from world.sales import Auction, FeeTerms, Inspection, Listing
from world.state import State
from world.tick import step

CLOSE_S = 120.0
EVERY_COMMAND: list[AnyCommand] = [
    Become(1, "Ada", Role.MODERATOR, 7),
    SetBlocked(1, [2, 3]),
    Join(2**32 - 1, "নদী", Role.MODERATOR, 2**32 - 1, -0.0, 1e-300),
    Leave(1),
    Detach(2),
    steer(3, 2**32 - 1, -1.0, 0.1 + 0.2),
    Say(4, 5, ChatChannel.DIRECT, "\x00 hi\n", 6),
    Say(4, 5, ChatChannel.WORLD, "", None),
    LoadChunk(-32768, 32767, bytes(range(256)) * 4),
    UnloadChunk(-1, 0),
    Recall([Line(ChatChannel.NEARBY, 1, "a", "b", 2**62, 0.5, -0.5, None)]),
    RecallTiles([(-3, 4, 7, b"\x00\x01\x02"), (0, 0, 1, b"")]),
    RecallBooks(2**62, bytes(range(32)), [(-1, -(10**15)), (7, 10**15)], [Hold(3, 7, 5, "bid")]),
    RecallParcels(
        [Parcel(1, 7, "a", -1, 2, 3, 4, "n", "d", False, True, (Permit(8, "b", Standing.BUILDER),), 5)],
        2**32 - 1,
    ),
    RecallSales(
        [
            Auction(
                10,
                2,
                7,
                False,
                FeeTerms(250, 100),
                Inspection(bytes(16), 0, 0),
                Terms(100, 1, 500, None, 2**53, 20, 2**62),
                True,
                Bids(2**62, 100, 8, 200, 3),
                11,
                12,
                12,
                0,
                "b",
            ),
            Listing(
                9,
                1,
                7,
                5,
                True,
                FeeTerms(250, 100),
                Inspection(bytes(range(16)), 3, 1, b"a"),
                2**62,
                2**62,
                9,
            ),
        ]
    ),
    Become(1, "Ann", Role.USER, 7),
    Depart(1, "someone who left"),
]


EVERY_ACT: list[AnyAct] = [
    Act(7, "নদী", Role.USER, 2**40, LandClaim(1, bytes(16), -16, 0, 16, 16), b"what", None, 1),
    Act(7, "a", Role.ADMIN, 0, LandDescribe(2**32 - 1, bytes(range(16)), 1, "", "নদী"), b"", "b", 0),
    Settle(16),
    Reopen(),
]


def test_every_command_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "recording"
    state = State(RULES)
    recorder = Recorder(path, state)
    recorder.write(1, EVERY_COMMAND)
    state.tick = 1
    recorder.act(EVERY_ACT)
    recorder.close(CLOSE_S)
    header, rows = read(path)
    assert (header.format, rules_of(header), header.tick) == (FORMAT, RULES, 0)
    assert list(rows) == [Row(1, [], None, EVERY_COMMAND), Row(2, EVERY_ACT, digest(state), [])]
    assert {type(command) for command in EVERY_COMMAND} == set(get_args(AnyCommand))
    assert {type(one) for one in EVERY_ACT} == set(get_args(AnyAct))


def test_quiet_ticks_take_no_room_but_for_the_digest_before_every_hundredth(tmp_path: Path) -> None:
    path, state, expected = tmp_path / "recording", State(RULES), []
    recorder = Recorder(path, state)
    for tick in range(1, 2 * DIGEST_TICKS + 10):
        commands = plain() if tick in (1, DIGEST_TICKS) else []
        before = digest(state)
        recorder.write(tick, commands)
        step(state, commands, tick)
        if commands or tick % DIGEST_TICKS == 0:
            expected.append(Row(tick, [], before if tick % DIGEST_TICKS == 0 else None, commands))
    recorder.close(CLOSE_S)
    assert recordings.rows_of(path) == [*expected, Row(state.tick + 1, [], digest(state), [])]
    assert [row.tick for row in expected] == [1, DIGEST_TICKS, 2 * DIGEST_TICKS]


def test_a_recording_cut_off_anywhere_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    recordings.record(whole, 250)
    data, rows = whole.read_bytes(), recordings.rows_of(whole)
    lengths = []
    for end in range(0, len(data), 97):
        cut.write_bytes(data[:end])
        try:
            found = recordings.rows_of(cut)
        except ValueError:
            found = []  # not even the header is there
        assert found == rows[: len(found)]
        lengths.append(len(found))
    assert lengths == sorted(lengths)
    assert 0 in lengths
    assert max(lengths) > len(rows) / 2


def test_what_was_written_up_to_the_last_digest_survives_a_kill(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is read while the recorder still runs: nothing of it was closed."""
    flushed = threading.Event()

    class Watched(gzip.GzipFile):
        def flush(self, *arguments: Any) -> None:
            super().flush(*arguments)
            flushed.set()

    path = tmp_path / "recording"
    with monkeypatch.context() as patched:
        patched.setattr(gzip, "open", Watched)
        recorder = Recorder(path, State(RULES))
    recorder.write(1, [join(1)])
    recorder.write(DIGEST_TICKS, [])
    assert flushed.wait(CLOSE_S)
    assert [row.tick for row in recordings.rows_of(path)] == [1, DIGEST_TICKS]
    recorder.close(CLOSE_S)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "is no recording"),
        (b"Dear diary", "is no recording"),
        (gzip.compress(b""), "is no recording"),
        (gzip.compress(b"\x01"), "is no recording"),
        (gzip.compress(b"\x04\x00\x00\x00diar"), "is no recording"),
        (gzip.compress(b"\xff\xff\xff\xffdiar"), "a part of 4294967295 bytes"),
        (gzip.compress(b"\x01\x00\x00\x00\x80")[:10] + b"\xff" * 9, "is no recording"),
    ],
)
def test_what_is_no_recording_is_refused(tmp_path: Path, data: bytes, reason: str) -> None:
    path = tmp_path / "recording"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=reason):
        read(path)


def test_a_recording_of_another_format_is_refused_by_its_number(tmp_path: Path) -> None:
    path = tmp_path / "recording"
    recordings.write(path, {"format": 1, "rules": {}, "tick": 0}, [])
    with pytest.raises(ValueError, match=f"has format 1; this program reads {FORMAT}"):
        read(path)


@pytest.mark.parametrize(
    "rules",
    [
        {},
        {**asdict(RULES), "walk_speed": 99.0},
        {**asdict(RULES), "tick_hz": "often"},
    ],
)
def test_rules_that_are_none_are_refused(tmp_path: Path, rules: dict[str, Any]) -> None:
    path = tmp_path / "recording"
    recordings.write(path, {"format": FORMAT, "rules": rules, "tick": 0}, [])
    with pytest.raises(ValueError, match="rules of the recording are damaged"):
        rules_of(read(path)[0])


@pytest.mark.parametrize("ticks", [[0], [5, 5], [5, 4], [5, 5 + DIGEST_TICKS + 1], [10**18]])
def test_rows_out_of_their_order_are_damage(tmp_path: Path, ticks: list[int]) -> None:
    """A gap would have whoever plays the file wait for a long time."""
    path = tmp_path / "recording"
    rows = [Row(tick, [], None, []) for tick in ticks]
    recordings.write(path, {"format": FORMAT, "rules": asdict(RULES), "tick": 0}, rows)
    with pytest.raises(ValueError, match=f"a row of tick {ticks[-1]} follows"):
        recordings.rows_of(path)


def test_a_flipped_byte_ends_in_an_error_that_says_so_or_in_other_rows(tmp_path: Path) -> None:
    whole, flipped = tmp_path / "whole", tmp_path / "flipped"
    recordings.record(whole, 30)
    data, errors = whole.read_bytes(), 0
    for place in range(0, len(data), 3):
        broken = bytearray(data)
        broken[place] ^= 0x55
        flipped.write_bytes(broken)
        try:
            recordings.rows_of(flipped)
        except ValueError:
            errors += 1
    assert errors > len(data) / 3 / 2


# --- disks that fail ----------------------------------------------------------------------------------------------------------------


@contextmanager
def logged() -> Iterator[list[str]]:
    """The reasons with which recordings ended."""
    reasons: list[str] = []
    with structlog.testing.capture_logs() as lines:
        yield reasons
    reasons += [line["reason"] for line in lines if line["event"] == "recording_ended"]


def noise(seed: int, count: int = 80) -> list[AnyCommand]:
    """More than one block that no compression makes smaller."""
    random = np.random.default_rng(seed)
    return [LoadChunk(number, 0, random.bytes(1024)) for number in range(count)]


@pytest.fixture
def slow_disk(tmp_path: Path) -> Iterator[tuple[Path, int]]:
    """A pipe in place of a file, with an end from which nobody reads until the test does."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    end = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    os.set_blocking(end, True)
    yield path, end
    os.close(end)


def test_an_older_recording_is_never_written_over(tmp_path: Path) -> None:
    path = tmp_path / "recording"
    paths = []
    for number in range(1, 4):
        state = State(RULES)
        recorder = Recorder(path, state)
        recorder.write(1, [join(number)])
        state.tick = 1
        recorder.close(CLOSE_S)
        paths.append(recorder.path.name)
    found = {file.name: recordings.rows_of(file)[0].commands for file in tmp_path.iterdir()}
    assert found == {"recording": [join(1)], "recording.2": [join(2)], "recording.3": [join(3)]}
    assert paths == ["recording", "recording.2", "recording.3"]


def test_a_directory_that_is_not_there_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        Recorder(tmp_path / "nowhere" / "recording", State(RULES))


def test_a_disk_that_cannot_keep_up_ends_the_recording_and_not_the_world(
    slow_disk: tuple[Path, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was accepted before is on the disk when that has caught up, to the last row, with nothing missing in between."""
    monkeypatch.setattr(module, "BLOCKS_WAITING_MAX", 4)
    path, end = slow_disk
    state = State(RULES)
    with logged() as reasons:
        recorder = Recorder(path, state)
        for tick in range(1, 31):
            commands = noise(tick)
            recorder.write(tick, commands)
            step(state, commands, tick)
        assert recorder._blocks.qsize() <= 4
        copy = tmp_path / "copy"
        reader = threading.Thread(target=lambda: copy.write_bytes(_all_of(end)))
        reader.start()
        recorder.close(CLOSE_S)
        reader.join()
    assert reasons == ["the disk cannot keep up"]
    assert state.tick == 30
    rows = recordings.rows_of(copy)
    assert 4 <= len(rows) < 30
    assert [(row.tick, row.commands) for row in rows] == [
        (tick, noise(tick)) for tick in range(1, len(rows) + 1)
    ]


def test_a_disk_that_hangs_does_not_keep_the_server_from_stopping(slow_disk: tuple[Path, int]) -> None:
    path, end = slow_disk
    with logged() as reasons:
        recorder = Recorder(path, State(RULES))
        recorder.write(1, noise(1, 200))
        recorder.close(0.01)
    assert reasons == ["the disk hangs"]
    _all_of(end)
    recorder._thread.join()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_full_disk_ends_the_recording_and_not_the_world() -> None:
    state = State(RULES)
    with logged() as reasons:
        recorder = Recorder(Path("/dev/full"), state)
        recorder.write(1, noise(1))
        recorder._thread.join()
        for tick in range(2, 10):
            recorder.write(tick, noise(tick))
        recorder.close(CLOSE_S)
    assert len(reasons) == 1
    assert "No space left" in reasons[0]


def _all_of(end: int) -> bytes:
    parts = []
    while part := os.read(end, 65_536):
        parts.append(part)
    return b"".join(parts)
