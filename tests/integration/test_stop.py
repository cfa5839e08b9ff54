"""A stop while the server starts, a stop while the database hangs, a part that dies: each ends, in time and with a word."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from protocol.messages import PROTOCOL_VERSION, Closing, Hello
from tests.conftest import stopped
from tests.harness import READY_S, STOP_S, Client, ServerProcess, serving
from tests.integration.database import postmaster

# A server in which a statement was put before the start.
BROKEN = "import sys; sys.argv = ['landworld', 'serve']; {}; from tools.cli import main; sys.exit(main())"


@contextmanager
def starting(data: Path, *, program: str = "pass", **settings: object) -> Iterator["subprocess.Popen[str]"]:
    """`landworld serve` that nobody has waited for."""
    names = {name.upper(): value for name, value in settings.items()}
    process = subprocess.Popen(
        [sys.executable, "-c", BROKEN.format(program)],
        env=ServerProcess(data, names).environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def until(process: "subprocess.Popen[str]", words: str) -> str:
    """What it says up to a line with these words."""
    assert process.stdout is not None
    said = ""
    for line in process.stdout:
        said += line
        if words in line:
            return said
    raise AssertionError(f"it ended without a word of {words!r}:\n{said}")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_while_it_waits_for_a_database_ends_at_once_and_orderly(
    data: Path, number: signal.Signals
) -> None:
    """Guard: Server._unless_stopped. Without it the wait goes on for startup_timeout_s, 300 s."""
    with starting(data, persistence__url="postgresql://nobody@127.0.0.1:1/none") as process:
        until(process, "for the database")
        process.send_signal(number)
        said, _ = process.communicate(timeout=READY_S)  # a first start of all compiles to its end
        assert process.returncode == 0
        assert "the start is given up" in said
        assert "Traceback" not in said


def test_a_stop_while_the_embedded_database_starts_leaves_none_behind(data: Path) -> None:
    with starting(data) as process:
        until(process, "starting PostgreSQL")
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=READY_S)
        assert process.returncode == 0
    left = [one for one in psutil.process_iter(["name", "cwd"]) if one.info["cwd"] == str(data / "postgres")]
    assert left == []


async def test_a_stop_does_not_wait_for_a_database_that_hangs(data: Path) -> None:
    """Guards: Server._left_s, a deadline for all closers; sign-ins and saves that hang are left behind."""
    with serving(data, {"SERVER__SHUTDOWN_S": 5}) as server:
        client = await Client.join(server)
        waiting = await Client.open(server)
        with stopped(postmaster(data)):
            await waiting.send(Hello(PROTOCOL_VERSION, "tests"))
            await server.until("landworld_database_up", lambda up: up == 0)
            assert server.process is not None
            server.process.send_signal(signal.SIGTERM)
            await client.wait(Closing)
            said, _ = await asyncio.to_thread(server.process.communicate, timeout=STOP_S)
            assert server.process.returncode == 1
            assert "did not take the last changes" in said
            server.process = None


@pytest.mark.parametrize(
    ("part", "program"),
    [
        ("chunks", "import server.chunks; server.chunks.make = None"),
        ("sign-ins", "import server.directory; server.directory.Directory._enter = None"),
        ("flusher", "import persistence.flusher; persistence.flusher.Flusher._flush = None"),
    ],
)
async def test_a_part_that_dies_stops_the_server_with_a_word(data: Path, part: str, program: str) -> None:
    """Guard: supervise() in server/main.py. Without it the server goes on, without ground, sign-ins or saves."""
    with starting(data, program=program) as process:
        if part == "sign-ins":
            said = await asyncio.to_thread(until, process, "game socket ws://")
            server = ServerProcess(data)
            server.port = int(said.rsplit("ws://", 1)[1].split("/")[0].rsplit(":", 1)[1])
            await (await Client.open(server)).send(Hello(PROTOCOL_VERSION, "tests"))
        said, _ = await asyncio.to_thread(process.communicate, timeout=READY_S)
        assert process.returncode == 4
        assert f"must never happen: {part}" in said
