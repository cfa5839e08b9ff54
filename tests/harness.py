"""A real server in a process of its own, and clients that speak the protocol to it.

The server runs on free ports with a fresh data directory (or a given one), as `landworld serve` would for a person. The client uses the
`websockets` package's asyncio client and the project's codec; it waits for messages by what they say, never by the clock. `Raw` is a
bare socket, for what no proper client would send.
"""

import asyncio
import itertools
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self, TypeVar

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.frames import Opcode
from websockets.typing import Subprotocol

from persistence.keyring import read_ring
from protocol import codec
from protocol.messages import (
    PROTOCOL_VERSION,
    SUBPROTOCOL,
    Appeared,
    ClientMessage,
    Crowd,
    Hello,
    Move,
    Moved,
    Ok,
    Refused,
    Role,
    ServerMessage,
    Snapshot,
    View,
    Welcome,
)
from server.auth import Signer
from server.keys import SIGNING_FILE
from tests.sight import Cells, forget, take_in
from world.grid import pack

READY_S = 300.0  # the first start of all compiles
WAIT_S = 120.0  # for any one message; a test that waits so long has failed
STOP_S = 120.0
RECEIVE_BYTES = 4_096
POLL_S = 0.02  # between two looks at a page

M = TypeVar("M", bound=ServerMessage)


# A busy machine stretches every second: what a server gives up, cuts off or leaves out by the clock is set as far away as it goes.
# Tests of time-outs and of the ladder say their own. And everybody here comes from one address, so that for accounts has no limits.
PATIENT = {
    "SERVER__SHUTDOWN_S": 60,
    "HTTP__CONNECTION_S": 86_400,
    "INTEREST__HOLD_S": 300,
    "LIMITS__HANDSHAKE_TIMEOUT_S": 60,
    "LIMITS__HELLO_TIMEOUT_S": 60,
    "LIMITS__IDLE_TIMEOUT_S": 600,
    "LIMITS__SLOW_CLIENT_S": 300,
    "LIMITS__ACCOUNT_REQUESTS_PER_ADDRESS__BURST": 100_000,
    "LIMITS__REGISTRATIONS_PER_ADDRESS__BURST": 100_000,
}


class ServerProcess:
    """`landworld serve` as a child process. `settings` are LANDWORLD_* names without the prefix."""

    def __init__(
        self, data: Path, settings: dict[str, Any] | None = None, arguments: tuple[str, ...] = ()
    ) -> None:
        self.data = data
        self._settings: dict[str, Any] = PATIENT | {
            "SERVER__PORT": 0,
            "HTTP__PORT": 0,
            "SERVER__HOST": "127.0.0.1",
            "HTTP__HOST": "127.0.0.1",
        }
        self._settings |= settings or {}
        self._arguments = arguments
        self.process: subprocess.Popen[str] | None = None
        self.said: list[str] = []
        self.port = self.http_port = 0

    def environment(self) -> dict[str, str]:
        """What a landworld command needs to belong to this server."""
        ours = {f"LANDWORLD_{name}": str(value) for name, value in self._settings.items()}
        kept = {name: value for name, value in os.environ.items() if not name.startswith("LANDWORLD_")}
        return {**kept, **ours, "LANDWORLD_DATA": str(self.data)}

    def start(self) -> Self:
        """Starts it and waits until it says that it is ready."""
        self.said.clear()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tools.cli", "serve", *self._arguments],
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert self.process.stdout is not None
        deadline = time.monotonic() + READY_S
        for line in self.process.stdout:
            self.said.append(line.rstrip())
            if found := re.search(r"Play at http://[^:]+:(\d+)/", line):
                self.http_port = int(found[1])
            if found := re.search(r"game socket ws://[^:]+:(\d+)/", line):
                self.port = int(found[1])
                return self
            if time.monotonic() > deadline:
                break
        raise AssertionError("the server did not become ready:\n" + "\n".join(self.said))

    def stop(self) -> int:
        """SIGTERM, as a person or a supervisor would; the exit code."""
        return self.signal(signal.SIGTERM)

    def kill(self) -> int:
        """kill -9."""
        return self.signal(signal.SIGKILL)

    def signal(self, number: signal.Signals) -> int:
        """Sends a signal and waits for the end."""
        assert self.process is not None
        self.process.send_signal(number)
        rest, _ = self.process.communicate(timeout=STOP_S)
        self.said += rest.splitlines()
        code, self.process = self.process.returncode, None
        return code

    @property
    def url(self) -> str:
        """The game socket."""
        return f"ws://127.0.0.1:{self.port}/"

    def page(self, path: str) -> str:
        """The body of a page of the HTTP port; 503 is for now, and asked again."""
        deadline = time.monotonic() + WAIT_S
        while True:
            try:
                with urllib.request.urlopen(
                    f"http://127.0.0.1:{self.http_port}{path}", timeout=WAIT_S
                ) as answer:
                    return str(answer.read().decode())
            except urllib.error.HTTPError as refusal:
                if refusal.code != 503 or time.monotonic() > deadline:
                    raise
                time.sleep(POLL_S)

    def metric(self, name: str) -> float:
        """One number of /metrics, labels included in the name; 0 where it is not there yet."""
        found = re.search(rf"^{re.escape(name)} (\S+)$", self.page("/metrics"), re.MULTILINE)
        return float(found[1]) if found else 0.0

    async def until(self, name: str, holds: Callable[[float], bool]) -> float:
        """Waits until a number of /metrics is as it should be; returns it."""
        async with asyncio.timeout(WAIT_S):
            while not holds(value := await asyncio.to_thread(self.metric, name)):  # noqa: ASYNC110 (another process counts)
                await asyncio.sleep(POLL_S)
        return value

    def command(self, *arguments: str) -> str:
        """What another landworld command prints, with the settings of this server."""
        done = subprocess.run(
            [sys.executable, "-m", "tools.cli", *arguments],
            env=self.environment(),
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout

    def token(self, name: str, role: Role = Role.USER) -> str:
        """An access token that this server takes."""
        return Signer(read_ring(self.data / SIGNING_FILE)).access(name, time.time(), 1, role)


@contextmanager
def serving(
    data: Path | None = None, settings: dict[str, Any] | None = None, arguments: tuple[str, ...] = ()
) -> Iterator[ServerProcess]:
    """A server that is stopped, or at least gone, at the end; in a directory of its own unless one is given."""
    # Not under pytest's own directory: the next session of the same user closes that to others, and for
    # root the database is another user.
    place = data or Path(tempfile.mkdtemp(prefix="landworld-test-"))
    server = ServerProcess(place, settings, arguments)
    try:
        yield server.start()
    finally:
        if server.process is not None:
            server.stop()
        if data is None:
            shutil.rmtree(place, ignore_errors=True)


class Client:
    """One player. Messages are kept in the order in which they came; `wait` looks through them and then waits for more."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.seen: list[ServerMessage] = []
        self.cells: Cells = {}
        self.places: dict[int, tuple[float, float]] = {}  # where each was seen last
        self.names: dict[int, str] = {}
        self.radius_cells = 0
        self.welcome: Welcome
        self.ids = itertools.count(1)

    @classmethod
    async def open(cls, server: ServerProcess, **options: Any) -> Self:
        """A socket after the handshake, nothing said yet. It answers pings also while nobody reads what else came. `source`: the
        address of this machine that it comes from."""
        source = options.pop("source", "")
        options |= {"local_addr": (source, 0)} if source else {}
        options = {"open_timeout": WAIT_S, "ping_interval": None, "max_queue": None} | options
        return cls(
            await connect(server.url, subprotocols=[Subprotocol(SUBPROTOCOL)], compression=None, **options)
        )

    @classmethod
    async def join(
        cls, server: ServerProcess, token: str | None = None, resume: str | None = None, source: str = ""
    ) -> Self:
        """A player in the world, welcomed and told its view."""
        client = await cls.open(server, source=source)
        await client.send(Hello(PROTOCOL_VERSION, "tests", token, resume))
        client.welcome = await client.wait(Welcome)
        await client.wait(View)
        return client

    @property
    def player_id(self) -> int:
        """Who one is."""
        return self.welcome.player_id

    async def send(self, *messages: ClientMessage) -> None:
        """All in one WebSocket message."""
        await self.socket.send(b"".join(map(codec.encode, messages)))

    async def wait(self, kind: type[M], matches: Callable[[M], bool] = lambda _: True) -> M:
        """The first message of this kind that matches and was not waited for before."""
        async with asyncio.timeout(WAIT_S):
            while True:
                for index, message in enumerate(self.seen):
                    if isinstance(message, kind) and matches(message):
                        del self.seen[index]
                        return message
                await self.read()

    async def wait_until(self, holds: Callable[[], bool]) -> None:
        """Reads until something holds."""
        async with asyncio.timeout(WAIT_S):
            while not holds():
                await self.read()

    async def wait_closed(self) -> tuple[int, str]:
        """Reads to the end; the close code and reason the server gave."""
        async with asyncio.timeout(WAIT_S):
            try:
                while True:
                    await self.read()
            except ConnectionClosed:
                assert self.socket.close_code is not None
                return self.socket.close_code, self.socket.close_reason or ""

    async def read(self) -> None:
        """Takes in one WebSocket message."""
        data = await self.socket.recv()
        assert isinstance(data, bytes)
        for message in codec.decode_server(data):
            self.seen.append(message)
            match message:
                case Appeared(player_id, name):
                    self.names[player_id] = name
                case View():
                    self.radius_cells = message.radius_cells
                case Crowd(_, cx, cy):
                    self.cells.pop(pack(cx, cy), None)
                case Snapshot(_, cx, cy):
                    forget(self.cells, pack(cx, cy), self.radius_cells)
                    self.places |= take_in(self.cells, message)

    async def ask(self, request: ClientMessage) -> Ok | Refused:
        """Sends a request and waits for its answer."""
        await self.send(request)
        request_id: int = getattr(request, "request_id")  # noqa: B009 (of every request, though not of every message)

        def answers(message: ServerMessage) -> bool:
            return isinstance(message, Ok | Refused) and message.request_id == request_id

        answer = await self.wait(ServerMessage, answers)
        assert isinstance(answer, Ok | Refused)
        return answer

    async def place(self) -> tuple[float, float]:
        """Where one truly is: the acknowledgement of an intent to stand still."""
        seq = next(self.ids)
        await self.send(Move(seq, 0.0, 0.0))
        moved = await self.wait(Moved, lambda message: message.seq == seq)
        return moved.x, moved.y

    async def leave(self) -> None:
        """Goodbye."""
        await self.socket.close()

    def drop(self) -> None:
        """The line breaks: no close frame, no goodbye."""
        transport = self.socket.transport
        transport.abort()


class Raw:
    """A bare TCP connection that reads frames and nothing else: for bytes that are wrong."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def open(cls, server: ServerProcess, *sent: bytes, source: str = "") -> Self:
        """Connects, from a `source` address of this machine, and sends. What is not read waits at the server, not in a kernel's
        large buffer."""
        line = socket.socket()
        if source:
            line.bind((source, 0))
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
        line.setblocking(False)
        await asyncio.get_running_loop().sock_connect(line, ("127.0.0.1", server.port))
        raw = cls(*await asyncio.open_connection(sock=line))
        raw.send(*sent)
        return raw

    def send(self, *sent: bytes) -> None:
        """Sends without waiting."""
        self.writer.write(b"".join(sent))

    async def status(self) -> int:
        """The HTTP status of the answer to the handshake."""
        async with asyncio.timeout(WAIT_S):
            head = await self.reader.readuntil(b"\r\n\r\n")
        return int(head[9:12])

    async def frame(self) -> tuple[int, bytes]:
        """The next frame: opcode and payload."""
        first, size = await self.reader.readexactly(2)
        if size > 125:
            size = int.from_bytes(await self.reader.readexactly(2 if size == 126 else 8), "big")
        return first & 0x0F, await self.reader.readexactly(size)

    async def wait(self, kind: type[M]) -> M:
        """The next message of this kind."""
        async with asyncio.timeout(WAIT_S):
            while True:
                opcode, payload = await self.frame()
                for message in codec.decode_server(payload) if opcode == Opcode.BINARY else ():
                    if isinstance(message, kind):
                        return message

    async def code(self) -> int:
        """Reads to the end; the code of the close frame, 1006 if there was none."""
        async with asyncio.timeout(WAIT_S):
            try:
                while True:
                    opcode, payload = await self.frame()
                    if opcode == Opcode.CLOSE:
                        return int.from_bytes(payload[:2], "big")
            except (asyncio.IncompleteReadError, ConnectionError):
                return 1006
            finally:
                self.writer.close()
