"""The ground: made off the tick, kept for a while, sent to whoever asks.

A chunk is made in a thread of its own at the lowest priority (its kernels and zlib run without the interpreter's lock). What comes
out of it is used twice: its walking speeds go into the world as a `LoadChunk` command, and its packed `chunk` message, framed once,
is shared by all who ask (ground.py). Messages are kept up to `chunk_cache_bytes_max`, ground in the world up to `chunks_loaded_max`;
what was used longest ago goes first.

Three queues, each bounded by `chunk_queue_max`, wait for the thread:

    asked   over the socket; half of each batch while others wait too, so that no one who asks stops those who walk
    near    the 3 x 3 chunks around somebody: without these they meet a wall
    ahead   a square around whoever comes into a new cell, and further on in the direction they walk

Near ground is looked for again around every occupied cell within two seconds, a share of them each tick. So nothing has to remember
what a full queue or the world turned away: whoever stands at a wall of missing ground gets it later.
"""

import asyncio
import contextlib
import os
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from random import SystemRandom

from protocol import codec
from protocol.messages import CHUNKS_MAX, Chunk
from server.outbox import frame
from server.spawn import SpawnPlaces
from world.commands import Inbox, LoadChunk, UnloadChunk
from world.grid import around, pack, unpack
from world.terrain import Terrain, encode, walk_speed
from world.tick import Events
from world.tiles import VERSION_BARE

BATCH_CHUNKS = 8  # made in one go of the thread: some 5 ms
ZLIB_LEVEL = 4
NICE_LOWEST = 19
ROOM_CHUNKS = 256  # kept free in the world for what is just being made; an eighth where there is little
ROOMY_SHARE = 0.5  # of what may be loaded: below it, nothing is noted of when ground was used
UNLOADS_MAX = 128  # asked for in one tick, some 10 us each; the thread makes fewer

Ready = Callable[[bytes], None]


@dataclass(frozen=True, slots=True)
class Made:
    """A chunk as it left the thread."""

    key: int
    walk: bytes  # u8[1024], percent of full speed
    framed: bytes  # the `chunk` message as a finished frame


class Chunks:
    """Everything about ground on the simulation side. `kind_at` is of SpawnPlaces. All methods are for the loop's thread."""

    def __init__(
        self,
        terrain: Terrain,
        inbox: Inbox,
        kind_at: Callable[[int, int], int],
        cache_bytes_max: int,
        queue_max: int,
        loaded_max: int,
        ahead: tuple[int, int],
    ) -> None:
        self.terrain = terrain
        self.made_total = 0
        self.cache_bytes = 0
        self._inbox = inbox
        self._cache_bytes_max = cache_bytes_max
        self._queue_max = queue_max
        self._loaded_max = loaded_max
        self._room = min(ROOM_CHUNKS, loaded_max // 8)
        self._radius, self._ahead_radius = ahead
        self._cache: OrderedDict[int, bytes] = OrderedDict()
        self._loaded: OrderedDict[int, None] = OrderedDict()
        # Cells found to have all ground around them since anything was last unloaded, so that thousands who walk about are not looked
        # after in vain.
        self._standable: set[int] = set()
        self._asked: dict[int, list[Ready]] = {}
        self._near: OrderedDict[int, None] = OrderedDict()
        self._ahead: OrderedDict[int, None] = OrderedDict()
        self._work = asyncio.Event()
        self.thread = ThreadPoolExecutor(1, "terrain", _lowest_priority)
        self._task: asyncio.Task[None] | None = None
        self.spawn_places = SpawnPlaces(terrain, kind_at, SystemRandom())

    def __len__(self) -> int:
        return len(self._loaded)

    @property
    def waiting(self) -> int:
        """Chunks not made yet."""
        return len(self._asked) + len(self._near) + len(self._ahead)

    def start(self) -> asyncio.Task[None]:
        """Begins to make what is asked for; returns the work, to be supervised."""
        self._task = asyncio.create_task(self._run(), name="chunks")
        return self._task

    async def stop(self) -> None:
        """Ends; what waits is forgotten. What the work died of, if it did, was told to whoever supervises it."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
        self.thread.shutdown(wait=False, cancel_futures=True)

    def get(self, key: int, ready: Ready) -> bool:
        """Calls `ready` with the framed `chunk` message, at once or when it is made; False when too much waits."""
        framed = self._cache.get(key)
        if framed is not None:
            self._cache.move_to_end(key)
            ready(framed)
            return True
        if key not in self._asked and len(self._asked) >= self._queue_max:
            return False
        self._asked.setdefault(key, []).append(ready)
        self._near.pop(key, None)
        self._ahead.pop(key, None)
        self._work.set()
        return True

    def prepare(self, key: int, dx: int = 0, dy: int = 0) -> None:
        """Wants the ground around a cell, and further on in one of eight directions (dx, dy), each part -1, 0 or 1, or in none."""
        cx, cy = unpack(key)
        middles = _middles(dx, dy, self._radius, self._ahead_radius)
        cells = [pack(cx + east, cy + south) for east, south in middles]
        if self._standable.issuperset(cells) and self._is_roomy():
            return
        self._keep_near((key,))
        for wanted in self._missing(cells):
            self._want(wanted, self._ahead)

    def follow(
        self, events: Events, directions: Iterable[tuple[int, int, int]], standing: Iterable[int]
    ) -> None:
        """Prepares ground for those who came into a new cell: (cell, direction) of each; and near those who stand somewhere.

        `standing`: cells with somebody in them; each must come up about once a second.
        """
        for cx, cy in (*events.rejected_chunks, *events.unloaded_chunks):
            self._loaded.pop(pack(cx, cy), None)
            self._standable.clear()
        for joined in events.joined:
            self.prepare(joined.key)
        for key, dx, dy in directions:
            self.prepare(key, dx, dy)
        self._keep_near(standing)
        self._unload_surplus()
        if self._near or self._ahead:
            self._work.set()  # there may be room again

    def _keep_near(self, cells: Iterable[int]) -> None:
        """Ground around these cells is in use, or wanted before all that lies ahead."""
        if self._is_roomy():
            for key in self._missing(cells):
                self._want(key, self._near)
            return
        loaded = self._loaded
        for key in dict.fromkeys(near for cell in cells for near in around(cell, 1)):
            if key in loaded:
                loaded.move_to_end(key)
            else:
                self._want(key, self._near)

    def _missing(self, cells: Iterable[int]) -> Iterator[int]:
        """The ground that is not loaded in the 3 x 3 chunks around each of these cells."""
        for cell in cells:
            if cell not in self._standable:
                missing = [key for key in around(cell, 1) if key not in self._loaded]
                if not missing:
                    self._standable.add(cell)
                yield from missing

    def _is_roomy(self) -> bool:
        """Whether nothing will have to be unloaded soon: what is used when need not be known."""
        return len(self._loaded) < self._loaded_max * ROOMY_SHARE

    def _want(self, key: int, queue: OrderedDict[int, None]) -> None:
        """Queues what is not there and not on its way, unless the queue is full."""
        if key in self._loaded or key in self._near or key in queue or key in self._asked:
            return
        if len(queue) < self._queue_max and _exists(key):
            self._ahead.pop(key, None)
            queue[key] = None
            self._work.set()

    def _unload_surplus(self) -> None:
        """Asks the world to forget what was used longest ago; it keeps ground that somebody stands on or beside."""
        for _ in range(min(UNLOADS_MAX, len(self._loaded) + self._room - self._loaded_max)):
            key = next(iter(self._loaded))
            if not self._inbox.put(UnloadChunk(*unpack(key))):
                return
            self._loaded.move_to_end(key)  # if the world keeps it, others are asked first next time

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._work.wait()
            batch = self._next_batch()
            if not batch:
                self._work.clear()
                continue
            for made in await loop.run_in_executor(self.thread, self._make, batch):
                self._take_in(made)

    def _next_batch(self) -> list[int]:
        """What is made next. Ground for walking on waits while there is no room for it in the world."""
        room = max(0, self._loaded_max - len(self._loaded))
        walked_on = min(len(self._near) + len(self._ahead), room, BATCH_CHUNKS // 2)
        batch = list(islice(self._asked, BATCH_CHUNKS - walked_on))
        for _ in range(min(BATCH_CHUNKS - len(batch), room)):
            queue = self._near or self._ahead
            if not queue:
                break
            batch.append(queue.popitem(last=False)[0])
        return batch

    def _make(self, keys: list[int]) -> list[Made]:
        """In the thread."""
        return [make(self.terrain, key) for key in keys]

    def _take_in(self, made: Made) -> None:
        self.made_total += 1
        self.cache_bytes += len(made.framed) - len(self._cache.get(made.key, b""))
        self._cache[made.key] = made.framed
        while self.cache_bytes > self._cache_bytes_max and len(self._cache) > 1:
            self.cache_bytes -= len(self._cache.popitem(last=False)[1])
        self._near.pop(made.key, None)  # wanted again while it was being made
        self._ahead.pop(made.key, None)
        if made.key not in self._loaded and len(self._loaded) < self._loaded_max:
            cx, cy = unpack(made.key)
            if self._inbox.put(LoadChunk(cx, cy, made.walk)):
                self._loaded[made.key] = None
        for ready in self._asked.pop(made.key, ()):
            ready(made.framed)


def make(terrain: Terrain, key: int) -> Made:
    """A chunk from nothing: walking speeds, and the packed message."""
    cx, cy = unpack(key)
    chunk = terrain.generate(cx, cy)
    message = Chunk(cx, cy, VERSION_BARE, zlib.compress(encode(chunk), ZLIB_LEVEL))
    return Made(key, walk_speed(chunk).tobytes(), frame(codec.encode(message)))


@lru_cache(maxsize=9 * 4)  # nine directions for each pair of settings
def _middles(dx: int, dy: int, radius: int, ahead: int) -> tuple[tuple[int, int], ...]:
    """Which chunks to have ready for somebody in a cell: those around each of these steps from it, nearest first.

    Together they are a square, and smaller ones further on in the direction (dx, dy).
    """
    side = (*range(1 - radius, radius - 1, 3), radius - 1)
    square = sorted(((east, south) for south in side for east in side), key=lambda step: max(map(abs, step)))
    further = range(radius + 1, radius + ahead + 1) if dx or dy else ()
    return (*square, *((dx * reach, dy * reach) for reach in further))


def _exists(key: int) -> bool:
    cx, cy = unpack(key)
    return -CHUNKS_MAX <= cx < CHUNKS_MAX and -CHUNKS_MAX <= cy < CHUNKS_MAX


def _lowest_priority() -> None:
    """On Linux a thread has a niceness of its own: making ground gives way to the tick even on one core."""
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, NICE_LOWEST)
