"""A real server as a child process that may be killed, stopped and started again, on ports and in a directory that stay the same.

Of the embedded database only what can be seen from outside is used: the pid in its directory, its processes, its socket.
"""

import asyncio
import contextlib
import itertools
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psutil

from persistence.embedded import DATABASE, PORT
from server.config import variable_of

READY_S = 600.0  # a first start makes a database and compiles; one after a crash recovers
LOOK_S = 0.05  # between two looks at what another process does
PAGE_S = 5.0
STOP_S = 60.0
LOG_LINES = 30
PORTS = range(
    10_000, 32_768
)  # above these the kernel gives them away, to servers without a port of their own and to clients
PORTS_EACH = 1_000  # for each process, so that two that look at once find different ones

KEY = os.urandom(32).hex()  # signs the tokens of a run, for all its servers

_candidates = itertools.count(os.getpid() * PORTS_EACH)

# Nothing that the runs do shall be refused for its pace, and whoever is late on a busy machine is not at fault.
SETTINGS: dict[str, object] = {
    "signing_key": KEY,
    "world.spawn_radius": 16,
    "interest.radius_cells": 3,
    "interest.client_bytes_per_s": 1_048_576,
    "limits.rates.action.per_s": 1_000,
    "limits.rates.action.burst": 10_000,
    "limits.rates.request.burst": 10_000,
    "limits.rates.movement.burst": 10_000,
    "limits.hello_timeout_s": 60,
    "limits.idle_timeout_s": 600,
    "limits.slow_client_s": 300,
    "economy.starting_grant": 1_000_000,
    "land.lease_term_min_s": 1,
    "market.listing_min_s": 1,
    "market.auction_snipe_s": 2,
    "market.auction_outage_s": 2,  # or no auction would ever end between two kills
    "server.shutdown_s": 20,
    "log.level": "warning",
}


class HostError(Exception):
    """The server did not do what the run needs; the text tells a person."""


class Host:
    """`landworld serve` in `data`, started again and again."""

    def __init__(self, data: Path, settings: Mapping[str, object]) -> None:
        self.data = data
        self.port, self._http_port = free_port(), free_port()
        ports = {"server.port": self.port, "http.port": self._http_port}
        local = {"server.host": "127.0.0.1", "http.host": "127.0.0.1"}
        self._settings = {**SETTINGS, **local, **ports, **settings}
        self._process: subprocess.Popen[bytes] | None = None
        self._log = data.with_name(f"{data.name}.log")

    @property
    def url(self) -> str:
        """The game socket."""
        return f"ws://127.0.0.1:{self.port}/"

    @property
    def pid(self) -> int:
        """Of the server."""
        assert self._process is not None
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process is not None and self._process.poll() is None

    # --- the server

    def start(self) -> None:
        """Starts it; see `until_ready`."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("LANDWORLD_")}
        ours = {variable_of(name): str(value) for name, value in self._settings.items()}
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tools.cli", "serve"],
                env={**kept, **ours, "LANDWORLD_DATA": str(self.data)},
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for the run
            )

    async def until_ready(self) -> None:
        """Returns when players can come. Raises HostError."""
        async with asyncio.timeout(READY_S):
            while not await asyncio.to_thread(self._is_ready):
                if not self.alive:
                    raise HostError(f"the server did not start:\n{self.last_words()}")
                await asyncio.sleep(LOOK_S)

    def _is_ready(self) -> bool:
        return self._page("/ready") is not None

    def metric(self, name: str) -> float:
        """A number of /metrics; 0 while there is none."""
        for line in (self._page("/metrics") or "").splitlines():
            if line.startswith(f"{name} "):
                return float(line.split()[1])
        return 0.0

    def _page(self, path: str) -> str | None:
        with contextlib.suppress(OSError):
            address = f"http://127.0.0.1:{self._http_port}{path}"
            with urllib.request.urlopen(address, timeout=PAGE_S) as answer:
                return str(answer.read().decode())
        return None

    def send(self, number: signal.Signals) -> None:
        """To the server alone."""
        if self.alive:
            os.kill(self.pid, number)

    async def end(self, number: signal.Signals) -> int:
        """A signal, and waits for the end; the exit code."""
        self.send(number)
        return await self.until_ended()

    async def until_ended(self) -> int:
        """Waits for the end; the exit code. Raises HostError."""
        assert self._process is not None
        try:
            return await asyncio.to_thread(self._process.wait, STOP_S)
        except subprocess.TimeoutExpired:
            raise HostError(f"the server does not end:\n{self.last_words()}") from None

    def processes(self) -> list[psutil.Process]:
        """The server and its gateways."""
        with contextlib.suppress(psutil.Error):
            server = psutil.Process(self.pid)
            return [server, *(one for one in server.children() if "gateway" in " ".join(one.cmdline()))]
        return []

    def last_words(self) -> str:
        """The end of what it wrote."""
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-LOG_LINES:])

    # --- its database

    @property
    def dsn(self) -> str:
        """Of the embedded database."""
        return f"postgresql://{DATABASE}@/{DATABASE}?host={self.data / 'postgres'}&port={PORT}"

    def postmaster(self) -> psutil.Process | None:
        """Of the embedded database, while it lives."""
        try:
            found = psutil.Process(
                int((self.data / "postgres" / "postmaster.pid").read_text().splitlines()[0])
            )
            return found if found.name().startswith("postgres") else None
        except (OSError, ValueError, IndexError, psutil.Error):
            return None

    def database(self) -> list[psutil.Process]:
        """The postmaster and its children."""
        postmaster = self.postmaster()
        if postmaster is None:
            return []
        with contextlib.suppress(psutil.Error):
            return [postmaster, *postmaster.children(recursive=True)]
        return []


def kill(processes: list[psutil.Process]) -> None:
    """kill -9, all of them."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


@contextmanager
def paused(processes: list[psutil.Process]) -> Iterator[None]:
    """SIGSTOP, and SIGCONT at the end."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.suspend()
    try:
        yield
    finally:
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.resume()


def free_port() -> int:
    """A port that nobody has now, nor is given while its server is down."""
    while True:
        port = PORTS[next(_candidates) % len(PORTS)]
        with socket.socket() as one, contextlib.suppress(OSError):  # somebody has it
            one.bind(("127.0.0.1", port))
            return port
