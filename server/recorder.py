"""Writes every command down, so that a run can be played again: `landworld replay FILE`.

    header   {format, rules, tick}                     one MessagePack map
    then     [tick, acts, digest or nil, commands]     one MessagePack array for each tick that had any of it

all through one gzip stream at its fastest level. The digest of the state stands after every DIGEST_TICKS-th tick; whoever plays the
file compares. Ticks without a row had no commands. Before each part stands its length (u32, little-endian).

Packing happens in the tick (some microseconds a command); compressing and writing happen in a thread, in blocks: whenever a block is
full, and with every digest, so that kill -9 costs the last seconds only. The digest is the dearest part of a tick that has one: it
hashes the players, the talk and the ground that is new since the last. The thread's queue is bounded: when the disk is full or cannot
keep up the recording ends, with a word in the log, and the world goes on.
"""

import gzip
import itertools
import queue
import threading
import zlib
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO, cast

import msgspec
import structlog

from world.commands import AnyAct, AnyCommand
from world.digest import digest
from world.state import Rules, State

# 2: RecallTiles has versions; 3: Steers; 4: Act, and what a start recalls of land and money; 5: who is not heard; 6: acts; 7: listings
# 8: auctions
FORMAT = 8
DIGEST_TICKS = 100
BLOCK_BYTES = 65_536
BLOCKS_WAITING_MAX = 256
PART_BYTES_MAX = 2**28  # a longer one is damage: the largest tick is a full inbox of ground, a kilobyte each
GZIP_LEVEL = 1

log = structlog.get_logger()


class Header(msgspec.Struct):
    """What a recording begins with: an empty world under these rules, at this tick."""

    format: int
    rules: dict[str, Any]
    tick: int


class Row(msgspec.Struct, array_like=True):
    """What was done at the end of the tick before `tick`, now and then the digest of the state then, and the commands of `tick`."""

    tick: int
    acts: list[AnyAct]
    digest: str | None
    commands: list[AnyCommand]


class Recorder:
    """Records the commands of a world from its first tick on. `act` and `write` never wait.

    An older recording is never written over: where there is a FILE already, this one becomes FILE.2, FILE.3 and so on (`path`).
    """

    def __init__(self, path: Path, state: State) -> None:
        """Begins a file. Raises OSError when it cannot be written."""
        self._state = state
        self._acts: list[AnyAct] = []  # since the last row
        self._encoder = msgspec.msgpack.Encoder()
        self._block = bytearray()
        self._blocks: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()  # bounded in _hand_over
        self._recording = True
        file = _new_file(path)
        self.path = Path(str(file.name))
        self._thread = threading.Thread(target=self._drain, args=(file,), name="recorder", daemon=True)
        self._thread.start()
        self._put(Header(FORMAT, asdict(state.rules), state.tick))

    def act(self, acts: list[AnyAct]) -> None:
        """Records what is about to be done at the end of a tick."""
        self._acts = acts

    def write(self, tick: int, commands: list[AnyCommand]) -> None:
        """Records what is about to be applied at `tick`."""
        due = tick % DIGEST_TICKS == 0
        if self._recording and (self._acts or commands or due):
            self._put_row(tick, commands, due)
            if due:
                self._hand_over()

    def _put_row(self, tick: int, commands: list[AnyCommand], due: bool) -> None:
        acts, self._acts = self._acts, []
        self._put(Row(tick, acts, digest(self._state) if due else None, commands))

    def close(self, seconds_max: float) -> None:
        """Writes the last digest and ends the file; gives up on a disk that takes longer than `seconds_max`."""
        self._put_row(self._state.tick + 1, [], due=True)
        self._hand_over()
        self._blocks.put(None)
        self._thread.join(seconds_max)
        if self._thread.is_alive():
            self._end("the disk hangs")

    def _put(self, part: msgspec.Struct) -> None:
        packed = self._encoder.encode(part)
        self._block += len(packed).to_bytes(4, "little") + packed
        if len(self._block) >= BLOCK_BYTES:
            self._hand_over()

    def _hand_over(self) -> None:
        if not self._recording:
            return
        if self._blocks.qsize() < BLOCKS_WAITING_MAX:
            self._blocks.put(bytes(self._block))
        else:
            self._end("the disk cannot keep up")
        self._block.clear()

    def _end(self, reason: str) -> None:
        self._recording = False
        log.error("recording_ended", reason=reason)

    def _drain(self, file: gzip.GzipFile) -> None:
        """In the thread: writes blocks until the end, or until the disk refuses one."""
        try:
            with file:
                while (block := self._blocks.get()) is not None:
                    file.write(block)
                    file.flush()
        except OSError as error:
            self._end(str(error))


def _new_file(path: Path) -> gzip.GzipFile:
    candidate = path
    for number in itertools.count(2):
        try:
            return gzip.open(candidate, "wb" if _is_device(candidate) else "xb", GZIP_LEVEL)
        except FileExistsError:
            candidate = path.with_name(f"{path.name}.{number}")
    raise AssertionError


def _is_device(path: Path) -> bool:
    """Whether it is a pipe or the like, of which nothing is written over."""
    return path.exists() and not path.is_file()


def read(path: Path) -> tuple[Header, Iterator[Row]]:
    """The header and the rows of a recording; a cut-off end is passed over.

    Raises OSError, and ValueError for what is no recording; the rows raise ValueError where the file is damaged.
    """
    file = cast(BinaryIO, gzip.open(path, "rb"))  # noqa: SIM115 (_parts closes it)
    parts = _parts(file)
    try:
        header = msgspec.msgpack.decode(next(parts), type=Header)
    except (StopIteration, msgspec.MsgspecError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path} is no recording: {error}") from None
    if header.format != FORMAT:
        raise ValueError(f"{path} has format {header.format}; this program reads {FORMAT}")
    return header, _rows(parts, header.tick)


def rules_of(header: Header) -> Rules:
    """The rules the recorded world ran under. Raises ValueError where they are none."""
    try:
        return msgspec.convert(header.rules, Rules)
    except msgspec.ValidationError as error:
        raise ValueError(f"the rules of the recording are damaged: {error}") from None


def _rows(parts: Iterator[bytes], tick: int) -> Iterator[Row]:
    """The rows after `tick`; there is one every DIGEST_TICKS at least, so a gap is damage too."""
    decoder = msgspec.msgpack.Decoder(Row)
    try:
        for part in parts:
            row = decoder.decode(part)
            if not tick < row.tick <= tick + DIGEST_TICKS:
                raise ValueError(f"damaged after tick {tick}: a row of tick {row.tick} follows")
            tick = row.tick
            yield row
    except (msgspec.MsgspecError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"damaged after tick {tick}: {error}") from None


def _parts(file: BinaryIO) -> Iterator[bytes]:
    with file:
        try:
            while head := file.read(4):
                size = int.from_bytes(head, "little")
                if size > PART_BYTES_MAX:
                    raise ValueError(f"damaged: a part of {size} bytes follows")
                yield file.read(size)
        except EOFError:
            return  # killed while writing: what is there counts
