"""A database port that misbehaves: it stands before PostgreSQL's socket, and passes bytes on, late, or up to a point.

What goes wrong at a COMMIT of entries of the journal is armed and happens once:

    LOST        PostgreSQL commits; the answer, and all after it, never comes, and nothing closes
    SWALLOWED   the COMMIT never arrives, and nothing closes
    CUT_AFTER   PostgreSQL commits; the connection breaks before the answer
    CUT_BEFORE  the connection breaks before the COMMIT arrives
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import Enum, auto
from urllib.parse import parse_qs, urlsplit

from persistence.embedded import DATABASE

CHUNK_BYTES = 65_536
COMMIT = b"COMMIT;"
WRITES = b'"changes":['  # what a transaction has that brings entries: their records


class Commit(Enum):
    """What becomes of a COMMIT."""

    PASSED = auto()
    LOST = auto()
    SWALLOWED = auto()
    CUT_AFTER = auto()
    CUT_BEFORE = auto()


class Proxy:
    """Made by `proxy`."""

    def __init__(self, dsn: str) -> None:
        self.delay_s = 0.0  # of every piece, each way
        self.struck = asyncio.Event()  # what was armed has happened
        self._armed = Commit.PASSED
        (sockets,), (port,) = (parse_qs(urlsplit(dsn).query)[name] for name in ("host", "port"))
        self._upstream = f"{sockets}/.s.PGSQL.{port}"
        self._lines: set[asyncio.Task[None]] = set()

    def arm(self, commit: Commit) -> None:
        """For the next COMMIT of entries."""
        self.struck.clear()
        self._armed = commit

    async def serve(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        """One connection."""
        try:
            server, to_server = await asyncio.open_unix_connection(self._upstream)
        except OSError:  # it is being started again
            to_client.close()
            return
        line = _Line(self, client, to_client, server, to_server)
        ways = [asyncio.create_task(line.up()), asyncio.create_task(line.down())]
        self._lines.update(ways)
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
        self._lines.difference_update(ways)
        for writer in (to_client, to_server):
            writer.close()

    def strikes(self) -> Commit:
        """What becomes of a COMMIT that comes now."""
        armed, self._armed = self._armed, Commit.PASSED
        if armed is not Commit.PASSED:
            self.struck.set()
        return armed

    async def close(self) -> None:
        """All connections end."""
        for line in self._lines:
            line.cancel()
        await asyncio.gather(*self._lines, return_exceptions=True)


class _Line:
    """Both ways of one connection."""

    def __init__(
        self,
        proxy: Proxy,
        client: asyncio.StreamReader,
        to_client: asyncio.StreamWriter,
        server: asyncio.StreamReader,
        to_server: asyncio.StreamWriter,
    ) -> None:
        self._proxy = proxy
        self._client, self._to_client = client, to_client
        self._server, self._to_server = server, to_server
        self._writes = False  # the transaction brings entries
        self._commit = Commit.PASSED

    async def up(self) -> None:
        """What the server of the world says to PostgreSQL, until one of them is gone or the line is cut."""
        with contextlib.suppress(OSError):
            while data := await self._client.read(CHUNK_BYTES):
                await asyncio.sleep(self._proxy.delay_s)
                self._writes |= WRITES in data
                if COMMIT in data and self._commit is Commit.PASSED:
                    if self._writes:
                        self._commit = self._proxy.strikes()
                    self._writes = False
                if self._commit is Commit.CUT_BEFORE:
                    return
                if self._commit is not Commit.SWALLOWED:
                    self._to_server.write(data)
                    await self._to_server.drain()

    async def down(self) -> None:
        """And back."""
        with contextlib.suppress(OSError):
            while data := await self._server.read(CHUNK_BYTES):
                await asyncio.sleep(self._proxy.delay_s)
                if self._commit is Commit.CUT_AFTER:
                    return
                if self._commit is Commit.PASSED:
                    self._to_client.write(data)
                    await self._to_client.drain()
            if self._commit is not Commit.PASSED:
                await asyncio.Event().wait()  # PostgreSQL is gone, and nobody says so


@asynccontextmanager
async def proxy(dsn: str) -> AsyncIterator[tuple[Proxy, str]]:
    """Before the socket that a DSN of EmbeddedPostgres names; and the URL for the server of the world."""
    made = Proxy(dsn)
    listener = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    try:
        yield made, f"postgresql://{DATABASE}@127.0.0.1:{port}/{DATABASE}"
    finally:
        listener.close()
        await made.close()
