"""What goes wrong for longer, each in a world of its own:

    hangs       all of Postgres is stopped (SIGSTOP), and goes on later
    slow        a socket that takes its time, and breaks or falls silent in the middle of a COMMIT (proxy.py)
    disk full   the data directory is a small tmpfs that somebody fills
    takeover    the server is stopped (SIGSTOP) while a second one opens the same world; when it goes on, it must write nothing and end

While the database is away, requests are refused as UNAVAILABLE with a time to retry and people walk on; afterwards all goes on by
itself. Judged is how long after the fault the first such refusal came, and the longest that anybody waited for the `moved` to a `move`.
"""

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg

from persistence.embedded import DataDirectory, EmbeddedPostgres
from tools.crash.host import READY_S, Host, kill, paused
from tools.crash.oracle import Oracle
from tools.crash.player import AGAIN_SHARE
from tools.crash.proxy import Commit, proxy
from tools.crash.trial import Trial, trial

WARM_UP_ANSWERS = 20
DELAY_S = 0.05  # of every piece of a slow socket, each way
TMPFS_MIB = 256
FILL_BYTES = 1_048_576
FENCED = 3  # exit code of a server that lost its world
LOOK_S = 0.1
BLOCK_BYTES = 4_096
UNAVAILABLE_MS_MAX = 2_000  # what is promised
MOVED_MS_MAX = 500  # some ticks and a line; walking has nothing to do with the database
AWAY_AGAIN_SHARE = (
    0.3  # who asks nothing is refused nothing, and all that players may have open waits for the disk
)
TICK_MS = 50  # on top of either, and of how late this process itself was woken: an answer may come with the next tick


@dataclass(slots=True)
class Outage:
    """What it was like."""

    name: str
    oracle: Oracle
    entries: int = 0
    unavailable_ms: int | None = None  # from the fault to the first refusal
    moved_gap_ms: int = 0  # the longest anybody waited for a `moved`

    def judge(self, late_ms: float) -> Iterator[str]:
        """What was promised and is not so, on a machine that is so late with everything."""
        slack_ms = TICK_MS + late_ms
        if self.unavailable_ms is None:
            yield "nobody was told that the database is away"
        elif self.unavailable_ms > UNAVAILABLE_MS_MAX + slack_ms:
            yield f"the first was told after {self.unavailable_ms} ms that the database is away"
        if self.moved_gap_ms > MOVED_MS_MAX + slack_ms:
            yield f"somebody's walking stood still for {self.moved_gap_ms} ms"


async def _watch(running: Trial, outage: Outage, seconds: float) -> None:
    """The database is away from now on: what do people feel?"""
    loop = asyncio.get_running_loop()
    began = loop.time()
    for player in running.players:
        player.unavailable_s.clear()
        player.moved_gap_s = 0.0
        player.again_share = AWAY_AGAIN_SHARE
    running.work()
    late_s = 0.0
    while (now_s := loop.time()) < began + seconds:
        await asyncio.sleep(LOOK_S)
        late_s = max(late_s, loop.time() - now_s - LOOK_S)
    for player in running.players:
        player.again_share = AGAIN_SHARE
    outage.moved_gap_ms = round(1_000 * max(player.waited_s(began) for player in running.players))
    refused_s = [at for player in running.players for at in player.unavailable_s]
    outage.unavailable_ms = round(1_000 * (min(refused_s) - began)) if refused_s else None
    for text in outage.judge(1_000 * late_s):
        running.oracle.wrong(f"{outage.name}: {text}")


async def hangs(place: Path, seconds: float, seed: int) -> Outage:
    """All of Postgres is stopped, and goes on later."""
    async with _world(Host(place / "data", {}), seed) as running:
        outage = Outage("hangs", running.oracle)
        await running.until_answers(WARM_UP_ANSWERS)
        with paused(running.host.database()):
            await _watch(running, outage, seconds)
        await _goes_on(running, outage)
        return outage


async def slow(place: Path, seconds: float, seed: int) -> Outage:
    """A slow socket that also breaks and falls silent in commits; `seconds` are of slowness."""
    async with (
        _postgres(place / "database") as dsn,
        proxy(dsn) as (between, url),
        _world(Host(place / "data", {"persistence.url": url}), seed, dsn) as running,
    ):
        outage = Outage("slow", running.oracle)
        await running.until_answers(WARM_UP_ANSWERS)
        for commit in (Commit.CUT_BEFORE, Commit.CUT_AFTER):
            between.arm(commit)
            await between.struck.wait()
            await running.until_answers(WARM_UP_ANSWERS)
        between.delay_s = DELAY_S
        await running.load(seconds)
        between.delay_s = 0
        await running.settle()
        for commit in (Commit.SWALLOWED, Commit.LOST):
            running.work()
            between.arm(commit)
            await between.struck.wait()
            await _watch(running, outage, seconds)
            await running.settle()
        await _goes_on(running, outage)
        return outage


async def disk_full(place: Path, seconds: float, seed: int) -> Outage:
    """Somebody fills the disk, and clears it again. Raises PermissionError where no tmpfs can be mounted."""
    with _tmpfs(place / "data") as disk:
        async with _world(Host(disk, {}), seed) as running:
            outage = Outage("disk full", running.oracle)
            await running.until_answers(WARM_UP_ANSWERS)
            _fill(disk / "filler")
            await _watch(running, outage, seconds)
            (disk / "filler").unlink()
            await _goes_on(running, outage)
            return outage


async def takeover(place: Path, seconds: float, seed: int) -> Outage:
    """A second server opens the world while the first is stopped, for so long at least."""
    async with _postgres(place / "database") as dsn, proxy(dsn) as (_, url):
        first, second = (Host(place / name, {"persistence.url": url}) for name in ("first", "second"))
        async with _world(first, seed, dsn) as running:
            outage = Outage("takeover", running.oracle)
            try:
                await running.until_answers(WARM_UP_ANSWERS)
                with paused(first.processes()):
                    await asyncio.gather(asyncio.sleep(seconds), _move_to(running, second))
                await _check_fenced(running, first, dsn)
                await _goes_on(running, outage)
            finally:
                await _end(second)
                running.host = first
            return outage


async def _move_to(running: Trial, second: Host) -> None:
    """The players go over; what they asked the first server lies in its sockets, and they ask it again."""
    running.work()
    second.start()
    await second.until_ready()
    running.host = second
    for player in running.players:
        player.move()
    await running.until_here()
    await running.until_answers(WARM_UP_ANSWERS)


async def _check_fenced(running: Trial, first: Host, dsn: str) -> None:
    """The first server goes on, notices, and ends; after the second one's first entry there is none of the first's."""
    code = await first.until_ended()
    if code != FENCED:
        running.oracle.wrong(
            f"the server that lost its world ended with {code}, not {FENCED}: {first.last_words()}"
        )
    connection = await asyncpg.connect(dsn)
    try:
        query = """
            SELECT count(*) FROM journal
            WHERE epoch < (SELECT epoch FROM world) AND seq > (SELECT min(seq) FROM journal WHERE epoch = (SELECT epoch FROM world))
        """
        late = await connection.fetchval(query)
    finally:
        await connection.close()
    if late:
        running.oracle.wrong(f"{late} entries were written by a server that had lost its world")


async def _goes_on(running: Trial, outage: Outage) -> None:
    """When it is back, everything goes on by itself, and all is checked."""
    await running.until_answers(WARM_UP_ANSWERS)
    await running.settle()
    outage.entries = running.audit.seq


# --- worlds ---


@asynccontextmanager
async def _world(host: Host, seed: int, dsn: str | None = None) -> AsyncIterator[Trial]:
    """A server with players; nothing of it is left at the end."""
    try:
        async with trial(host, dsn or host.dsn, seed) as running:
            yield running
    finally:
        await _end(host)


async def _end(host: Host) -> None:
    if host.alive:
        kill(host.processes())
        await host.until_ended()
    kill(host.database())


@asynccontextmanager
async def _postgres(place: Path) -> AsyncIterator[str]:
    """A database that is no server's own."""
    with DataDirectory(place) as directory:
        server = EmbeddedPostgres(directory.path, lambda _: None, READY_S)
        try:
            yield await server.start()
        finally:
            await server.stop()


@contextmanager
def _tmpfs(place: Path) -> Iterator[Path]:
    """A small disk. Raises PermissionError where none can be mounted."""
    if os.geteuid() != 0:
        raise PermissionError("only root can mount a tmpfs")
    place.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={TMPFS_MIB}m,mode=0755", "tmpfs", str(place)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise PermissionError(f"no tmpfs can be mounted: {done.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def _fill(filler: Path) -> None:
    """To the last block."""
    with filler.open("wb", buffering=0) as file:
        for size in (FILL_BYTES, BLOCK_BYTES):
            try:
                while file.write(bytes(size)) == size:
                    pass
            except OSError:  # full
                continue


OUTAGES: dict[str, Callable[[Path, float, int], Coroutine[Any, Any, Outage]]] = {
    "hangs": hangs,
    "slow": slow,
    "disk full": disk_full,
    "takeover": takeover,
}
