"""The embedded PostgreSQL: started, killed, found again. Each test has a data directory of its own."""

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import asyncpg
import psutil
import pytest

from persistence import embedded
from persistence.embedded import (
    HELD_BY_CHILDREN,
    LOG_TAIL_BYTES,
    DatabaseStartError,
    DataDirectory,
    DirectoryError,
    EmbeddedPostgres,
)
from tests.conftest import START_S, PostgresForTests

ROOT = Path(__file__).parents[2]

# Starts the database, says so, and waits to be killed.
OWNER = """
import asyncio, sys
from pathlib import Path
from persistence.embedded import DataDirectory, EmbeddedPostgres
async def main():
    directory = DataDirectory(Path(sys.argv[1]))
    postgres = EmbeddedPostgres(directory.path, lambda text: print(text, file=sys.stderr), 300.0)
    await postgres.start()
    print(postgres.pid, flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""


@asynccontextmanager
async def _running(data: Path, said: list[str] | None = None) -> AsyncIterator[tuple[EmbeddedPostgres, str]]:
    postgres = EmbeddedPostgres(data, said.append if said is not None else print, START_S)
    try:
        yield postgres, await postgres.start()
    finally:
        await postgres.stop()


async def _run(dsn: str, statement: str) -> str:
    connection = await asyncpg.connect(dsn)
    try:
        return str(await connection.fetchval(statement))
    finally:
        await connection.close()


def _owner(data: Path, script: str = OWNER) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", script, str(data)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


async def test_restart_keeps_rows_and_creates_only_once(data: Path) -> None:
    said: list[str] = []
    async with _running(data, said) as (_, dsn):
        await _run(dsn, "CREATE TABLE t AS SELECT 42 AS n")
    assert "creating the database (first start only)" in said
    assert "starting PostgreSQL 18" in said
    said.clear()
    async with _running(data, said) as (_, dsn):
        assert await _run(dsn, "SELECT n FROM t") == "42"
    assert said == ["starting PostgreSQL 18"]


async def test_it_is_durable_and_speaks_on_no_port(postgres: PostgresForTests, dsn: str) -> None:
    for name in ("fsync", "synchronous_commit", "full_page_writes"):
        assert await _run(dsn, f"SHOW {name}") == "on"
    assert await _run(dsn, "SHOW server_encoding") == "UTF8"
    assert await _run(dsn, "SELECT datcollate FROM pg_database WHERE datname = current_database()") == "C"
    sockets = psutil.Process(postgres.server.pid).net_connections("inet")
    assert [s for s in sockets if s.status == "LISTEN"] == []


def test_ctrl_c_in_the_terminal_does_not_reach_it(postgres: PostgresForTests) -> None:
    """Guard: start_new_session."""
    assert os.getpgid(postgres.server.pid) != os.getpgid(0)
    assert os.getsid(postgres.server.pid) != os.getsid(0)


async def test_the_next_start_attaches_after_kill_9_of_the_owner(data: Path) -> None:
    """Guard: looking for the postmaster that postmaster.pid names before starting another."""
    owner = _owner(data)
    assert owner.stdout is not None
    pid = int(await asyncio.to_thread(owner.stdout.readline))
    with pytest.raises(DirectoryError, match=rf"in use by process {owner.pid}\. Stop that server, or choose"):
        DataDirectory(data)
    owner.kill()
    owner.wait()
    owner.stdout.close()
    said: list[str] = []
    with DataDirectory(data):
        async with _running(data, said) as (postgres, dsn):
            assert postgres.pid == pid
            assert await _run(dsn, "SELECT 1") == "1"
    assert said == []
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


async def test_it_recovers_after_kill_9_of_postgres_and_waits_for_its_children(data: Path) -> None:
    """Guard: trying again while the shared memory of the dead server is still in use."""
    waiting = asyncio.Event()

    def progress(text: str) -> None:
        if "what is left of a killed PostgreSQL" in text:
            waiting.set()

    async with _running(data) as (postgres, dsn):
        await _run(dsn, "CREATE TABLE t AS SELECT 42 AS n")
        postmaster = psutil.Process(postgres.pid)
        children = postmaster.children()
        for child in children:
            with contextlib.suppress(psutil.NoSuchProcess):  # the one that served us ends about now
                child.suspend()
        postmaster.kill()
        await asyncio.to_thread(postmaster.wait)
        again = EmbeddedPostgres(data, progress, START_S)
        starting = asyncio.create_task(again.start())
        try:
            await waiting.wait()
            for child in children:
                with contextlib.suppress(psutil.NoSuchProcess):
                    child.resume()
            assert await _run(await starting, "SELECT n FROM t") == "42"
            assert again.pid != postmaster.pid
        finally:
            await again.stop()


async def test_a_start_waits_for_a_killed_postmaster_that_is_still_in_the_table_of_processes(
    data: Path,
) -> None:
    """What its socket's lock file names is anything of its user's that lives. Guard: STILL_DYING in _spawn."""
    waiting = asyncio.Event()

    def progress(text: str) -> None:
        if "what is left of a killed PostgreSQL" in text:
            waiting.set()

    async with _running(data) as (postgres, _):
        lock = postgres._socket_directory() / f".s.PGSQL.{embedded.PORT}.lock"
        said = lock.read_text()
        pid = postgres.pid
        dying = postgres._run_as_user(["sleep", "600"], subprocess.DEVNULL)
    again = EmbeddedPostgres(data, progress, START_S)
    lock.write_text(said.replace(str(pid), str(dying.pid), 1))
    starting = asyncio.create_task(again.start())
    try:
        woken = asyncio.create_task(waiting.wait())
        await asyncio.wait({starting, woken}, return_when=asyncio.FIRST_COMPLETED)
        woken.cancel()
        dying.kill()
        dying.wait()
        assert await _run(await starting, "SELECT 1") == "1"
        assert waiting.is_set()
    finally:
        dying.kill()
        dying.wait()
        await again.stop()


async def test_a_postgres_that_dies_is_started_again(data: Path) -> None:
    """Guard: the watcher."""
    up_again = asyncio.Event()

    def progress(text: str) -> None:
        if ended and text.startswith("starting"):
            up_again.set()

    ended = False
    postgres = EmbeddedPostgres(data, progress, START_S)
    dsn = await postgres.start()
    try:
        ended = True
        os.kill(postgres.pid, signal.SIGKILL)
        await up_again.wait()
        while True:
            with contextlib.suppress(OSError, asyncpg.PostgresError):
                assert await _run(dsn, "SELECT 1") == "1"
                break
            await asyncio.sleep(0)
    finally:
        await postgres.stop()


async def test_a_pid_file_whose_pid_another_process_has_is_seen_through(data: Path) -> None:
    """Guard: removing a postmaster.pid that names a living process which is no postmaster of this directory."""
    async with _running(data):
        text = (data / "postgres" / "postmaster.pid").read_text()
    home = data / "postgres"
    uid = home.stat().st_uid
    # Of the same user: of another user's process Postgres itself knows that it is no postmaster.
    other = subprocess.Popen(
        [shutil.which("sleep") or "sleep", "600"], user=uid if os.geteuid() == 0 else None
    )
    try:
        (home / "postmaster.pid").write_text(text.replace(text.splitlines()[0], str(other.pid), 1))
        os.chown(home / "postmaster.pid", uid, -1)
        async with _running(data) as (postgres, dsn):
            assert postgres.pid != other.pid
            assert await _run(dsn, "SELECT 1") == "1"
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


async def test_a_first_start_that_was_killed_is_begun_again(data: Path) -> None:
    """Guard: initdb works in a directory that is renamed when it is whole."""
    (data / "postgres.new").mkdir()
    (data / "postgres.new" / "PG_VERSION").write_text("18\n")
    async with _running(data) as (_, dsn):
        assert await _run(dsn, "SELECT 1") == "1"
    assert not (data / "postgres.new").exists()


async def test_a_full_disk_is_told_in_the_words_of_initdb_and_leaves_nothing_behind(data: Path) -> None:
    # A limit on the size of files stands in for the end of the disk.
    script = OWNER.replace("import asyncio", "import resource, signal, asyncio", 1).replace(
        "async def", "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\nasync def", 1
    )
    done = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", script, str(data)], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "DatabaseStartError: cannot create the database" in done.stderr
    assert "File too large" in done.stderr
    async with _running(data) as (_, dsn):
        assert await _run(dsn, "SELECT 1") == "1"


async def test_a_postgres_that_cannot_start_says_why(data: Path) -> None:
    async with _running(data):
        pass
    (data / "postgres" / "global" / "pg_control").rename(data / "pg_control")
    with pytest.raises(DatabaseStartError, match="pg_control"):
        await EmbeddedPostgres(data, print, START_S).start()


async def test_a_database_of_another_major_version_is_refused(data: Path) -> None:
    home = data / "postgres"
    home.mkdir()
    (home / "PG_VERSION").write_text("15\n")
    with pytest.raises(DirectoryError, match="made by PostgreSQL 15, this is PostgreSQL 18"):
        await EmbeddedPostgres(data, print, START_S).start()


async def test_a_path_too_long_for_a_socket_gets_a_short_one(data: Path) -> None:
    deep = data / ("d" * 60) / ("e" * 60)
    with DataDirectory(deep) as directory:
        async with _running(directory.path) as (_, dsn):
            assert await _run(dsn, "SELECT 1") == "1"
            short = Path(parse_qs(urlsplit(dsn).query)["host"][0])
            assert not short.is_relative_to(deep)
            assert short.stat().st_mode & 0o077 == 0
        assert not short.exists()


async def test_odd_characters_in_the_path_do_no_harm(data: Path) -> None:
    with DataDirectory(data / 'it\'s, a "100%" world ü') as directory:
        async with _running(directory.path) as (_, dsn):
            assert await _run(dsn, "SELECT 1") == "1"


async def test_parents_are_opened_for_the_database_user_and_it_is_said(data: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only as root Postgres runs as another user")
    inner = data / "closed" / "data"
    inner.mkdir(parents=True)
    inner.parent.chmod(0o700)
    said: list[str] = []
    async with _running(inner, said) as (_, dsn):
        assert await _run(dsn, "SELECT 1") == "1"
    assert any(line.startswith(f"chmod o+x {inner.parent}:") for line in said)
    assert inner.parent.stat().st_mode & 0o777 == 0o701
    assert (inner / "postgres").stat().st_mode & 0o077 == 0


async def test_it_runs_as_a_normal_user_too_and_root_attaches(data: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("as a normal user the whole suite shows it")
    async with _running(data):  # which makes the user and opens the way to the programs
        user = (data / "postgres").stat().st_uid
    own = data / "own"
    own.mkdir()
    os.chown(own, user, -1)
    # It becomes that user after its imports (a thread's too): root's Python is often out of others' reach.
    become = (
        f"import os; asyncio.run(asyncio.to_thread(int)); os.setgroups([]); os.setgid({user}); "
        f"os.setuid({user})\nasync def"
    )
    owner = _owner(own, OWNER.replace("async def", become))
    assert owner.stdout is not None
    pid = int(await asyncio.to_thread(owner.stdout.readline))
    assert psutil.Process(pid).uids().real == user
    assert psutil.Process(owner.pid).uids().real == user
    owner.kill()
    owner.wait()
    owner.stdout.close()
    async with _running(own) as (postgres, _):
        assert postgres.pid == pid


def test_a_data_directory_that_cannot_be_made_says_what_to_do(data: Path) -> None:
    (data / "file").write_text("")
    with pytest.raises(DirectoryError, match=r"data directory .*: it is a file, .*LANDWORLD_DATA"):
        DataDirectory(data / "file")
    with pytest.raises(DirectoryError, match="Not a directory"):
        DataDirectory(data / "file" / "below")


def test_the_lock_holds_within_and_goes_with_release(data: Path) -> None:
    first = DataDirectory(data)
    with pytest.raises(DirectoryError, match=f"process {os.getpid()}"):
        DataDirectory(data)
    first.release()
    with DataDirectory(data):
        pass


async def test_what_postgres_said_last_is_read_beside_the_loop_and_no_more_than_that(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guards: to_thread and LOG_TAIL_BYTES. While Postgres cannot start the server ticks on, and this comes twice a second."""
    (data / "postgres").mkdir()
    (data / "postgres" / "start.log").write_text("x" * 1_000_000 + f"\nshared memory {HELD_BY_CHILDREN}\n")
    postgres = EmbeddedPostgres(data, print, START_S)
    postgres._process = subprocess.Popen([sys.executable, "-c", "raise SystemExit(1)"])
    postgres._process.wait()
    threads, read = [], postgres._log_tail

    def noting() -> str:
        threads.append(threading.current_thread())
        return read()

    monkeypatch.setattr(postgres, "_log_tail", noting)
    monkeypatch.setattr(postgres, "_run_postgres", lambda: None)
    monkeypatch.setattr(embedded, "RESPAWN_SECONDS", 0)
    await postgres._spawn()
    assert threads
    assert threading.main_thread() not in threads
    assert len(read()) <= LOG_TAIL_BYTES


def test_only_the_newest_logs_are_kept(data: Path) -> None:
    logs = data / "postgres" / "log"
    logs.mkdir(parents=True)
    for day in range(12):
        (logs / f"postgresql-202601{day + 1:02}-000000.log").write_text("x")
    EmbeddedPostgres(data, print, START_S)._prune_logs()
    assert [log.name[11:19] for log in sorted(logs.iterdir())] == [f"202601{d:02}" for d in range(5, 13)]
