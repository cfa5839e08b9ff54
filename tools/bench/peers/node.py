"""The peers' own side: their packages, their servers, and Colyseus' watchers, each a process of Node.

The packages are those of package-lock.json, put into build/bench-peers by `npm ci` when they are first needed. Servers are pinned to
the core that ours would have, everything else to the load's.
"""

import hashlib
import http.client
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console

from tools.bench.live import LOAD_CORE, SERVER_CORE, BenchError, ServerProcess, pinned

NODE_MAJOR_MIN = 20
INSTALL_TIMEOUT_S = 300.0
READY_TIMEOUT_S = 180.0
ANSWER_TIMEOUT_S = 300.0  # of the watchers
SEAT_S = 600  # a reserved seat waits so long for its client: the ramp is slow

_HERE = Path(__file__).parent
_CACHE = _HERE.parents[2] / "build" / "bench-peers"


def install(console: Console) -> str | None:
    """Have the peers' packages at hand. Answers why that cannot be, in words, or None when they are."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        return f"no {'node' if node is None else 'npm'} on this machine"
    version = _said([node, "--version"])
    if int(version.lstrip("v").split(".")[0]) < NODE_MAJOR_MIN:
        return f"node {version} is older than {NODE_MAJOR_MIN}"
    _CACHE.mkdir(parents=True, exist_ok=True)
    for file in (*_HERE.glob("*.js"), *_HERE.glob("*.json")):
        shutil.copy(file, _CACHE)
    lock = hashlib.sha256((_HERE / "package-lock.json").read_bytes()).hexdigest()
    stamp = _CACHE / "installed"
    if stamp.exists() and stamp.read_text() == lock:
        return None
    console.print(f"npm ci: the peers' packages into {_CACHE}", soft_wrap=True, highlight=False)
    command = [npm, "ci", "--omit=dev", "--no-audit", "--no-fund", "--loglevel=error"]
    try:
        done = subprocess.run(
            command, cwd=_CACHE, capture_output=True, text=True, timeout=INSTALL_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return f"npm ci took longer than {INSTALL_TIMEOUT_S:.0f} s"
    if done.returncode:
        return f"npm ci failed: {done.stderr.strip()[-500:]}"
    stamp.write_text(lock)
    return None


def _said(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


class PeerServer(ServerProcess):
    """A running server of a peer's."""

    port = 0

    @property
    def authority(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self.port}"

    def wait_ready(self) -> None:
        """Returns when players can come. Raises BenchError with the server's last words."""
        latest = time.monotonic() + READY_TIMEOUT_S
        while time.monotonic() < latest:
            self.check_alive()
            for line in self.last_words().splitlines():
                if line.startswith("port "):
                    self.port = int(line.split()[1])
                    return
            time.sleep(0.05)
        raise BenchError(f"the peer was not ready within {READY_TIMEOUT_S:.0f} s:\n{self.last_words()}")

    def reserve(self, seats: int) -> tuple[str, ...]:
        """Colyseus' matchmaking: the paths to open so many sockets at. Raises BenchError."""
        line = http.client.HTTPConnection("127.0.0.1", self.port, timeout=ANSWER_TIMEOUT_S)
        paths = []
        try:
            for _ in range(seats):
                line.request(
                    "POST", "/matchmake/joinOrCreate/land", "{}", {"Content-Type": "application/json"}
                )
                paths.append(seat_path(json.loads(line.getresponse().read())))
        except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
            raise BenchError(f"Colyseus' matchmaking: {type(error).__name__} {error}") from None
        finally:
            line.close()
        return tuple(paths)


def seat_path(answer: dict[str, str]) -> str:
    """Where to open the socket for a seat that matchmaking has reserved."""
    return f"/{answer['processId']}/{answer['roomId']}?sessionId={answer['sessionId']}"


@contextmanager
def peer_server(script: str, side: int) -> Iterator[PeerServer]:
    """A fresh server of a peer's, whose players appear in a square of `side` tiles."""
    with _process(["node", script, str(side)], SERVER_CORE) as (process, log):
        server = PeerServer(process, log)
        server.wait_ready()
        yield server


class Watchers(ServerProcess):
    """Colyseus' players of its own SDK, who decode all they are sent and measure (watchers.js)."""

    def wait_joined(self) -> None:
        """Returns when all have joined. Raises BenchError."""
        if self._line() != "joined":
            raise BenchError(f"Colyseus' watchers did not come:\n{self.last_words()}")

    def mark(self, begins: bool) -> None:
        """The measured time begins, or ends."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(b"begin\n" if begins else b"end\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            self.check_alive()

    def answer(self) -> dict[str, Any]:
        """What they measured. Raises BenchError."""
        try:
            found: dict[str, Any] = json.loads(self._line())
        except ValueError:
            raise BenchError(f"Colyseus' watchers measured nothing:\n{self.last_words()}") from None
        return found

    def _line(self) -> str:
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], ANSWER_TIMEOUT_S)
        return self._process.stdout.readline().decode().strip() if ready else ""


@contextmanager
def watchers(server: PeerServer, count: int, side: int) -> Iterator[Watchers]:
    """So many players (an even number) through the SDK; all have joined."""
    command = ["node", "watchers.js", f"http://{server.authority}", str(count), str(side)]
    with _process(command, LOAD_CORE, subprocess.PIPE) as (process, log):
        found = Watchers(process, log)
        found.wait_joined()
        yield found


@contextmanager
def _process(
    command: list[str], core: int, pipes: int | None = None
) -> Iterator[tuple["subprocess.Popen[bytes]", Path]]:
    """A process of Node in the cache; without pipes, its words go into the log. Killed at the end."""
    with tempfile.TemporaryDirectory(prefix="landworld-peer-") as place:
        log = Path(place) / "log"
        with log.open("wb") as words:
            process = subprocess.Popen(
                [*pinned(core), *command],
                cwd=_CACHE,
                env={
                    **os.environ,
                    "NODE_ENV": "production",
                    "COLYSEUS_SEAT_RESERVATION_TIME": str(SEAT_S),
                },
                stdin=pipes or subprocess.DEVNULL,
                stdout=pipes or words,
                stderr=words,
            )
        try:
            yield process, log
        finally:
            process.kill()
            process.communicate()
