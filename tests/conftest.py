"""What all tests share: a real PostgreSQL for the session and a fresh database for each test that asks.

`postgres`, `dsn` and `empty_dsn` are plain fixtures, fit for async and other tests alike.

`make test` hands whole files to two workers (pytest-xdist), each with a PostgreSQL of its own. A test marked `alone` waits until no
other test runs, and none begins before it has ended. The browser tests go to one worker: there they share a Chromium and a server,
and drawn by the processor two pages want more than both cores.
"""

import asyncio
import fcntl
import os
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import psutil
import pytest
from hypothesis import HealthCheck, settings
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling

from persistence.embedded import DataDirectory, EmbeddedPostgres
from persistence.migrations import migrate

START_S = 300.0  # for a database; it has to recover first where a test killed it
POOL_SIZE = 4
TICK_HZ = 20  # of worlds that are opened without a server
BROWSER = "tests/browser/"

# The same examples each time, however slow the machine: what fails in CI fails here. `--hypothesis-profile=explore` tries others.
settings.register_profile(
    "same", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("explore", derandomize=False, deadline=None)
settings.load_profile("same")

# Locked (flock) by the workers of this checkout: the machine by whoever runs a test, the gate by whoever asks for it. Who waits for the
# whole machine holds the gate, so that the others cannot keep it from him by taking turns.
GATE, MACHINE = Path(__file__).parent, Path(__file__)


@contextmanager
def locked(path: Path, how: int) -> Iterator[None]:
    """Waits for a lock and holds it."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, how)
        yield
    finally:
        fcntl.flock(descriptor, fcntl.LOCK_UN)  # a child may hold the descriptor, too
        os.close(descriptor)


@pytest.hookimpl(wrapper=True, tryfirst=True)  # around the time-out: waiting is no part of a test
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """A test with its fixtures, beside others or alone."""
    alone = item.get_closest_marker("alone") is not None
    with ExitStack() as held:
        with locked(GATE, fcntl.LOCK_EX):
            held.enter_context(locked(MACHINE, fcntl.LOCK_EX if alone else fcntl.LOCK_SH))
        return (yield)


def pytest_sessionstart(session: pytest.Session) -> None:
    """Compiles the kernels before there are workers: two that compile the same one may mix up its cache on disk."""
    if session.config.getoption("numprocesses", None):  # a worker has none
        from server.main import compile_kernels

        compile_kernels()


class Files(LoadFileScheduling):  # type: ignore[misc]
    """A file at a time to whichever worker is free."""

    def _split_scope(self, nodeid: str) -> str:
        file: str = super()._split_scope(nodeid)
        return BROWSER if file.startswith(BROWSER) else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Files:
    """Whatever `--dist` says: the tests of a file share what they start."""
    return Files(config, log)


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Bytes give a test no name: all workers must find the same tests, and a time or a mask in bytes is another in each of them."""
    return argname if isinstance(val, bytes) else None


@dataclass
class PostgresForTests:
    """The session's server; `template` has all tables and no rows."""

    server: EmbeddedPostgres
    runner: asyncio.Runner
    template: str
    serial: Iterator[int] = field(default_factory=count)

    def create(self, options: str = "") -> str:
        """A new database; returns its DSN."""
        name = f"test_{next(self.serial)}"
        self.runner.run(_execute(self.template, f"CREATE DATABASE {name} {options}"))
        return self.template.replace("/landworld?", f"/{name}?")

    def drop(self, dsn: str) -> None:
        """Drop it, and whoever is still connected."""
        name = urlsplit(dsn).path[1:]
        self.runner.run(_execute(self.template, f"DROP DATABASE {name} WITH (FORCE)"))


async def _execute(dsn: str, statement: str) -> None:
    # By way of `postgres`: a database that someone is connected to cannot be a template.
    connection = await asyncpg.connect(dsn.replace("/landworld?", "/postgres?"))
    await connection.execute(statement)
    await connection.close()


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresForTests]:
    """A real server in a directory of its own, with a migrated database."""
    # Not under pytest's own directory: the next session of the same user closes that to others, and for
    # root the server is another user.
    place = Path(tempfile.mkdtemp(prefix="landworld-test-"))
    # A loop of its own: pytest-asyncio makes and closes one for each test.
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner, DataDirectory(place) as directory:
        server = EmbeddedPostgres(directory.path, print, START_S)
        try:
            dsn = runner.run(server.start())
            runner.run(migrate(dsn, print))
            yield PostgresForTests(server, runner, dsn)
        finally:
            runner.run(server.stop())
            shutil.rmtree(place)


@pytest.fixture
def dsn(postgres: PostgresForTests) -> Iterator[str]:
    """A fresh database with all tables and no rows."""
    made = postgres.create("TEMPLATE landworld")
    yield made
    postgres.drop(made)


@pytest.fixture
def empty_dsn(postgres: PostgresForTests) -> Iterator[str]:
    """A fresh database without tables."""
    made = postgres.create()
    yield made
    postgres.drop(made)


@pytest.fixture
def data() -> Iterator[Path]:
    """A fresh data directory; whoever starts a server in it stops it."""
    place = Path(tempfile.mkdtemp(prefix="landworld-test-"))
    yield place
    shutil.rmtree(place, ignore_errors=True)


Execute = Callable[[str], Awaitable[list[asyncpg.Record]]]


@pytest.fixture
def sql(dsn: str) -> Execute:
    """Runs a statement on `dsn` behind the store's back and returns its rows."""

    async def run(statement: str) -> list[asyncpg.Record]:
        connection = await asyncpg.connect(dsn)
        try:
            return await connection.fetch(statement)
        finally:
            await connection.close()

    return run


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """A process that hangs, with its children."""
    process = psutil.Process(pid)
    process.suspend()  # before the others are looked for: now it has no more of them
    family = [process, *process.children(recursive=True)]
    for one in family:
        with suppress(psutil.NoSuchProcess):  # it ended by itself just now
            one.suspend()
    try:
        yield
    finally:
        for one in family:
            with suppress(psutil.NoSuchProcess):
                one.resume()
