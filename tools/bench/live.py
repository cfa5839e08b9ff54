"""A server of the benches' own: started in a fresh data directory, pinned to its core, watched from outside, stopped and removed.

What is read of it: its metrics over HTTP, its CPU time and resident memory from /proc. Linux only. Durations in seconds.
"""

import argparse
import os
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import wraps
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console

from persistence.embedded import DATABASE, dsn_of
from tools.bots.fleet import FleetError

READY_TIMEOUT_S = 300.0  # a first start makes a database and compiles kernels
STOP_TIMEOUT_S = 15.0
SCRAPE_TIMEOUT_S = 60.0
GATEWAY = "server.gateway"  # in the command line of a gateway process
LOG_LINES = 20  # of the server's last words, shown when it would not start

SERVER_CORE, LOAD_CORE = 0, 1

_CORES = os.sched_getaffinity(0)  # before anything here is pinned

_ROOT = Path(__file__).resolve().parents[2]
_START = "import sys; from tools.cli import main; sys.exit(main())"


class BenchError(Exception):
    """The bench cannot run; the text tells a person why."""


@dataclass(frozen=True, slots=True)
class Sample:
    """The server at one moment."""

    at_s: float  # time.perf_counter
    cpu_s: float  # of all its threads since its start, its gateways' included
    waited_s: float  # its main thread, ready to run while another program had the core
    metrics: Mapping[str, float]  # name, or name{le="..."} of a histogram's buckets
    gateways_cpu_s: float = 0.0  # of those alone

    def buckets(self, name: str) -> dict[float, float]:
        """Cumulative counts of a histogram by upper edge."""
        begins = f"{name}_bucket{{le="
        return {
            float(key[len(begins) : -1]): count
            for key, count in self.metrics.items()
            if key.startswith(begins)
        }


class ServerProcess:
    """A running program that serves, ours or a peer's."""

    def __init__(self, process: "subprocess.Popen[bytes]", log: Path) -> None:
        self._process = process
        self._log = log

    def sample(self) -> Sample:
        """Its CPU time now. Raises BenchError when it has ended."""
        return Sample(time.perf_counter(), self.cpu_s(), self.waited_s(), {})

    def cpu_s(self) -> float:
        """User and system time of the process (proc(5): fields 14 and 15)."""
        self.check_alive()
        return _cpu_s(self._process.pid)

    def waited_s(self) -> float:
        """How long the main thread waited for its core (/proc/PID/schedstat, the second number, in ns)."""
        self.check_alive()
        return int(_proc(self._process.pid, "schedstat").split()[1]) / 1e9

    def rss_kib(self) -> int:
        """Resident memory of the process."""
        self.check_alive()
        return _rss_kib(self._process.pid)

    def check_alive(self) -> None:
        """Raises BenchError when the server has ended."""
        if self._process.poll() is not None:
            raise BenchError(f"the server ended with code {self._process.returncode}:\n{self.last_words()}")

    def rss_kib_max(self) -> int:
        """The most resident memory that the process ever had."""
        self.check_alive()
        return _memory_kib(self._process.pid, "VmHWM")

    def last_words(self, lines: int = LOG_LINES) -> str:
        """The end of what it wrote."""
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-lines:])

    def stop(self) -> None:
        """End it in order, or by force."""
        self._process.terminate()
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class LiveServer(ServerProcess):
    """A running server of ours."""

    def __init__(
        self, process: "subprocess.Popen[bytes]", data: Path, log: Path, game_port: int, http_port: int
    ) -> None:
        super().__init__(process, log)
        self._data = data
        self._http_port = http_port
        self.url = f"ws://127.0.0.1:{game_port}/"
        self.page = f"http://127.0.0.1:{http_port}/"

    def sample(self) -> Sample:
        """Its metrics and CPU time now. Raises BenchError when it does not answer."""
        try:
            text = self._get("/metrics")
        except OSError as error:
            raise BenchError(f"the server's /metrics does not answer: {error}") from None
        metrics = {
            _key(one.name, one.labels): one.value
            for family in text_string_to_metric_families(text)
            for one in family.samples
        }
        gateways_cpu_s = sum(map(_cpu_s, self.gateways()))
        alone = super().sample()
        return replace(
            alone, cpu_s=alone.cpu_s + gateways_cpu_s, metrics=metrics, gateways_cpu_s=gateways_cpu_s
        )

    def rss_kib(self) -> int:
        """Resident memory of its process and its gateways'; what they share counts in each."""
        return super().rss_kib() + sum(map(_rss_kib, self.gateways()))

    def gateways(self) -> list[int]:
        """The process ids of its gateways."""
        return [pid for pid in _children(self._process.pid) if GATEWAY in _proc(pid, "cmdline")]

    def wait_ready(self) -> None:
        """Returns when players can come. Raises BenchError with the server's last words."""
        latest = time.monotonic() + READY_TIMEOUT_S
        while time.monotonic() < latest:
            self.check_alive()
            try:
                self._get("/ready")
            except OSError:
                time.sleep(0.1)
            else:
                return
        raise BenchError(f"the server was not ready within {READY_TIMEOUT_S:.0f} s:\n{self.last_words()}")

    def move_database(self, core: int) -> None:
        """Pin the embedded PostgreSQL elsewhere; its later children inherit that."""
        for pid in self.database():
            os.sched_setaffinity(pid, {core})

    def database(self) -> list[int]:
        """The process ids of the embedded PostgreSQL, the postmaster's first."""
        postmaster = int(self._pid_file().read_text().split()[0])
        return [postmaster, *_children(postmaster)]

    def database_cpu_s(self) -> float:
        """CPU time of those of its processes that run now."""
        return sum(map(_cpu_s, self.database()))

    def database_dsn(self) -> str:
        """Where its users connect."""
        return dsn_of(str(self._pid_file().parent), DATABASE)

    def _pid_file(self) -> Path:
        return next(self._data.rglob("postmaster.pid"))

    def _get(self, path: str) -> str:
        with urllib.request.urlopen(
            f"http://127.0.0.1:{self._http_port}{path}", timeout=SCRAPE_TIMEOUT_S
        ) as answer:
            body: bytes = answer.read()
            return body.decode()


@contextmanager
def live_server(settings: Mapping[str, object], data: Path | None = None) -> Iterator[LiveServer]:
    """A server with these settings (named as in config.toml), on free ports, in a data directory, or in a fresh one."""
    # Not under a directory that is closed to others: as root, the database runs as a user of its own.
    place = Path(tempfile.mkdtemp(prefix="landworld-bench-"))
    game_port, http_port = _free_ports(2)
    everything = {
        "server.host": "127.0.0.1",
        "server.port": game_port,
        "http.host": "127.0.0.1",
        "http.port": http_port,
        **settings,
    }
    ours = {name: value for name, value in os.environ.items() if not name.startswith("LANDWORLD_")}
    ours |= {f"LANDWORLD_{name.replace('.', '__').upper()}": str(value) for name, value in everything.items()}
    ours |= {"LANDWORLD_DATA": str(data or place / "data"), "PYTHONPATH": str(_ROOT)}
    log = place / "server.log"
    with log.open("wb") as words:
        process = subprocess.Popen(
            [*pinned(SERVER_CORE), sys.executable, "-c", _START, "serve"],
            cwd=place,  # away from any config.toml
            env=ours,
            stdout=words,
            stderr=words,
        )
    server = LiveServer(process, data or place, log, game_port, http_port)
    try:
        server.wait_ready()
        if cores_apart():
            server.move_database(LOAD_CORE)
        yield server
    finally:
        server.stop()
        shutil.rmtree(place, ignore_errors=True)


def cores_apart() -> bool:
    """Whether server and load can have a core each."""
    return {SERVER_CORE, LOAD_CORE} <= _CORES and shutil.which("taskset") is not None


@contextmanager
def on_load_core() -> Iterator[None]:
    """This process on the load's core, and afterwards where it was. What it starts may open as many files as the machine allows."""
    before, files = os.sched_getaffinity(0), resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files[1], files[1]))
    if cores_apart():
        os.sched_setaffinity(0, {LOAD_CORE})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
        resource.setrlimit(resource.RLIMIT_NOFILE, files)


def on_load(run: Callable[[argparse.Namespace], int]) -> Callable[[argparse.Namespace], int]:
    """Runs a bench's command on the load's core. Where it cannot run, a person is told why, and the exit code is 2."""

    @wraps(run)
    def guarded(args: argparse.Namespace) -> int:
        try:
            with on_load_core():
                return run(args)
        except (BenchError, FleetError) as error:
            Console(stderr=True).print(f"[red]{error}[/]", highlight=False)
            return 2

    return guarded


def pinned(core: int) -> list[str]:
    """What a command begins with to run on that core, if server and load can have a core each."""
    return ["taskset", "-c", str(core)] if cores_apart() else []


def _free_ports(count: int) -> list[int]:
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(one.getsockname()[1]) for one in held]
    for one in held:
        one.close()
    return ports


def _children(pid: int) -> list[int]:
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        found += map(int, _proc(pid, f"task/{task.name}/children").split())
    return found


def _proc(pid: int, name: str) -> str:
    """A file of a process; empty when it has just ended."""
    try:
        return Path(f"/proc/{pid}/{name}").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def _cpu_s(pid: int) -> float:
    after_name = _proc(pid, "stat").rpartition(")")[2].split()
    return (int(after_name[11]) + int(after_name[12])) / os.sysconf("SC_CLK_TCK") if after_name else 0.0


def _rss_kib(pid: int) -> int:
    return _memory_kib(pid, "VmRSS")


def _memory_kib(pid: int, name: str) -> int:
    lines = _proc(pid, "status").splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def _key(name: str, labels: Mapping[str, str]) -> str:
    return (
        f"{name}{{le={labels['le']}}}"
        if set(labels) == {"le"}
        else name
        if not labels
        else f"{name}{dict(labels)}"
    )


def histogram_percentile(before: Sample, after: Sample, name: str, share: float) -> float | None:
    """A percentile of what a histogram counted between two samples, linear within its bucket; None when it counted nothing."""
    earlier = before.buckets(name)
    counts = {edge: count - earlier.get(edge, 0.0) for edge, count in sorted(after.buckets(name).items())}
    total = max(counts.values(), default=0.0)
    if not total:
        return None
    wanted, low, below = share * total, 0.0, 0.0
    for edge, count in counts.items():
        if count >= wanted:
            if edge == float("inf"):
                return low
            return low + (edge - low) * (wanted - below) / (count - below)
        low, below = edge, count
    raise AssertionError("the last bucket holds all")
