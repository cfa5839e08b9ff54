"""`landworld bench floor`: what sending alone costs; `bench crowd` measures its ratio against it.

floor.c is compiled when the bench runs. Without a compiler the same loop runs in Python (`send_loop` below), which costs more, so
a ratio to it flatters the server; the report says which floor it was. Both are pinned like the server was. The receiver is of the
bots' kind: one Python process, epoll, `recv_into` one shared buffer, on the load's core.
"""

import argparse
import json
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from tools.bench.live import SERVER_CORE, BenchError, on_load, pinned

READ_BYTES_MAX = 256 * 1024
POLL_S = 0.1
COMPILE_TIMEOUT_S = 300.0
SIZES_MAX = 1000  # messages' sizes handed over; the sender takes them in turn
SPARE_S = 300.0  # beside the time of sending
TICK_HZ = 20
MESSAGE_BYTES_MAX = 65536  # as in floor.c

_SOURCE = Path(__file__).with_name("floor.c")
_PYTHON = "from tools.bench.floor import main; main()"


def add_parser(sub: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register `landworld bench floor`."""
    parser = sub.add_parser(
        "floor",
        help="the least that any server pays: a C loop that only sends",
        description=__doc__,
        epilog="Exit codes: 0 measured, 2 it could not run.",
    )
    parser.add_argument("--players", type=int, default=2000, metavar="N", help="connections (default 2000)")
    parser.add_argument(
        "--bytes", type=int, default=400, metavar="B", help="of each message (default 400), at most 65536"
    )
    parser.add_argument("--seconds", type=int, default=10, metavar="S", help="of sending (default 10)")
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line")
    parser.set_defaults(run=run)


@on_load
def run(args: argparse.Namespace) -> int:
    """Run the command; exit code 2 when it could not run."""
    console = Console(stderr=args.json)
    if args.players < 1 or args.seconds < 1 or not 1 <= args.bytes <= MESSAGE_BYTES_MAX:
        raise BenchError(f"players and seconds are at least 1, bytes 1 to {MESSAGE_BYTES_MAX}")
    found = figures(measure_floor(args.players, TICK_HZ, args.seconds, [args.bytes]), args.players)
    console.print(
        f"{found['floor']} sends {args.bytes} B to {args.players:,} clients {TICK_HZ} times a second for "
        f"{found['cpu_us_per_message']} us of CPU each, {found['cpu_share']:.0%} of a core: "
        f"a whole core would be enough for [bold]{found['clients_per_core']:,} clients[/]",
        soft_wrap=True,
        highlight=False,
    )
    if found["not_sent"]:
        console.print(f"[yellow]{found['not_sent']:,} were not sent: the receiver was too slow[/]")
    if args.json:
        print(json.dumps(found))
    return 0


def figures(floor: "Floor", players: int) -> dict[str, Any]:
    """The floor as plain data; `clients_per_core` is what the CPU of one message comes to, no crowd that was tried."""
    cpu_us = floor.cpu_us_per_message
    return {
        "players": players,
        "floor": floor.kind,
        "cpu_us_per_message": round(cpu_us, 2),
        "cpu_share": round(cpu_us * players * TICK_HZ / 1e6, 3),
        "clients_per_core": int(1e6 / TICK_HZ / cpu_us) if cpu_us else 0,
        "sent": floor.sent,
        "not_sent": floor.not_sent,
    }


@dataclass(frozen=True, slots=True)
class Floor:
    """What the bare sender used."""

    kind: str  # "C" or "Python"
    cpu_us: int
    sent: int
    not_sent: int  # the receiver was too slow for these

    @property
    def cpu_us_per_message(self) -> float:
        """CPU of one message."""
        return self.cpu_us / max(self.sent, 1)


def measure_floor(connections: int, hz: int, seconds: int, sizes: Sequence[int]) -> Floor:
    """Send messages of these sizes (bytes) to so many connections, `hz` times a second each. Raises BenchError."""
    with tempfile.TemporaryDirectory(prefix="landworld-floor-") as place:
        program = _compile(Path(place) / "floor")
        command = [program] if program else [sys.executable, "-c", _PYTHON]
        numbers = [connections, hz, seconds, *sizes[:SIZES_MAX]]
        sender = subprocess.Popen(
            [*pinned(SERVER_CORE), *command, *map(str, numbers)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=_SOURCE.parents[2],
        )
        try:
            assert sender.stdout is not None
            _receive(int(sender.stdout.readline()), connections, seconds + SPARE_S)
            cpu_us, sent, not_sent = map(int, sender.stdout.readline().split())
        except (ValueError, OSError) as error:
            raise BenchError(f"the floor could not be measured: {error}") from None
        finally:
            sender.kill()
            sender.communicate()
    return Floor("C" if program else "Python", cpu_us, sent, not_sent)


def _compile(program: Path) -> str | None:
    """Compile floor.c; None when there is no compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        return None
    done = subprocess.run(
        [compiler, "-O2", "-Wall", "-o", str(program), str(_SOURCE)],
        capture_output=True,
        text=True,
        timeout=COMPILE_TIMEOUT_S,
        check=False,
    )
    if done.returncode:
        raise BenchError(f"{compiler} cannot compile {_SOURCE.name}:\n{done.stderr}")
    return str(program)


def _receive(port: int, connections: int, timeout_s: float) -> None:
    """Read from all of them until the sender hangs up."""
    buffer = memoryview(bytearray(READ_BYTES_MAX))
    latest = time.monotonic() + timeout_s
    by_fd: dict[int, socket.socket] = {}
    with select.epoll() as epoll:
        for _ in range(connections):
            sock = socket.create_connection(("127.0.0.1", port))
            sock.setblocking(False)
            by_fd[sock.fileno()] = sock
            epoll.register(sock.fileno(), select.EPOLLIN)
        while by_fd and time.monotonic() < latest:
            for fd, _ in epoll.poll(POLL_S, 64):
                try:
                    got = by_fd[fd].recv_into(buffer)
                except ConnectionError:
                    got = 0
                if not got:
                    epoll.unregister(fd)
                    by_fd.pop(fd).close()
    for sock in by_fd.values():
        sock.close()


def send_loop(connections: int, hz: int, seconds: int, sizes: Sequence[int]) -> None:
    """floor.c in Python; same arguments, same lines printed."""
    message = memoryview(bytes(max(sizes)))
    messages = [message[:size] for size in sizes]
    with socket.create_server(("127.0.0.1", 0), backlog=connections) as listener:
        print(listener.getsockname()[1], flush=True)
        sockets = [listener.accept()[0] for _ in range(connections)]
    for sock in sockets:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sent = not_sent = 0
    began_s, cpu_s = time.monotonic(), time.process_time()
    for tick in range(hz * seconds):
        for number, sock in enumerate(sockets, tick):
            try:
                sock.send(messages[number % len(messages)])
                sent += 1
            except BlockingIOError:
                not_sent += 1
        time.sleep(max(0.0, began_s + (tick + 1) / hz - time.monotonic()))
    print(int((time.process_time() - cpu_s) * 1e6), sent, not_sent, flush=True)


def main() -> None:
    """Be the sender; the arguments are those of floor.c."""
    connections, hz, seconds, *sizes = map(int, sys.argv[1:])
    send_loop(connections, hz, seconds, sizes)
