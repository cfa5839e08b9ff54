"""The HTTP port: the browser client, whether the server is well, and its numbers.

    /              the browser client, from tools/browser
    /client.json   where the game socket is
    /health        200 while the process works (the tick goes on)
    /ready         200 when players can come in; 503 with the reason while it starts or stops. `market` tells why it is closed, if so,
                   `redis` what is wrong with it while something is
    /receipt-key   the public key of this world's receipts, in hexadecimal, once it is known; 503 before
    /metrics       Prometheus

Files are read by aiohttp outside the loop. Nothing here changes the world. How many connections there are at once, and how long one
lives, is bounded (`http.connections_max`, `http.connection_s`).
"""

import asyncio
import errno
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

from aiohttp import web

from server.config import HttpConfig, ServerConfig, variable_of
from server.telemetry import Telemetry

BROWSER = Path(__file__).parent.parent / "tools" / "browser"
REQUEST_BYTES_MAX = 65_536
KEEPALIVE_S = 15.0
NO_ROOM = (
    b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 2\r\nContent-Length: 0\r\n\r\n"
)

# The client is modules and textures of its own; nothing is fetched from elsewhere. Workers of Pixi come from blobs.
POLICY = (
    "default-src 'self'; img-src 'self' data: blob:; style-src 'self' 'unsafe-inline'; "
    "script-src 'self' 'unsafe-eval'; worker-src 'self' blob:; connect-src 'self' ws: wss: data: blob:"
)


class Health:
    """What /health and /ready say."""

    def __init__(self) -> None:
        self.reason = "starting"
        self.ready = False
        self.alive: Callable[[], bool] = lambda: True
        self.receipt_key = ""
        self.market_closed: Callable[[], str] = lambda: ""  # why; empty while it is open
        self.redis: Callable[[], str] = lambda: ""  # what is wrong; empty while nothing is, or none is used


def application(
    health: Health, telemetry: Telemetry, game_port: Callable[[], int], game_url: str, version: str
) -> web.Application:
    """The pages. `game_port` is asked at each request, for port 0 is known only after the start; a `game_url` wins over it."""

    async def index(_: web.Request) -> web.StreamResponse:
        return web.FileResponse(BROWSER / "index.html")

    async def client(_: web.Request) -> web.StreamResponse:
        return web.json_response({"game_port": game_port(), "game_url": game_url, "version": version})

    async def is_well(_: web.Request) -> web.StreamResponse:
        well = health.alive()
        return web.json_response(
            {"status": "ok" if well else "the tick stands still"}, status=200 if well else 503
        )

    async def is_ready(_: web.Request) -> web.StreamResponse:
        status = "ready" if health.ready else health.reason
        market = {"market": f"closed: {why}"} if (why := health.market_closed()) else {}
        redis = {"redis": wrong} if (wrong := health.redis()) else {}
        return web.json_response({"status": status, **market, **redis}, status=200 if health.ready else 503)

    async def receipt_key(_: web.Request) -> web.StreamResponse:
        return web.Response(text=health.receipt_key, status=200 if health.receipt_key else 503)

    async def metrics(_: web.Request) -> web.StreamResponse:
        return web.Response(
            body=telemetry.page(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
        )

    app = web.Application(client_max_size=REQUEST_BYTES_MAX, middlewares=[_guard])
    app.router.add_get("/", index)
    app.router.add_get("/client.json", client)
    app.router.add_get("/health", is_well)
    app.router.add_get("/ready", is_ready)
    app.router.add_get("/receipt-key", receipt_key)
    app.router.add_get("/metrics", metrics)
    app.router.add_static("/", BROWSER)
    return app


@web.middleware
async def _guard(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Headers that keep pages what they are; files are asked for again, but sent only when they changed."""
    try:
        response = await handler(request)
    except web.HTTPException as refusal:  # a page that is not there is a page too
        response = refusal
    response.headers["Content-Security-Policy"] = POLICY
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Cache-Control"] = "no-cache"
    if isinstance(response, web.HTTPException):
        raise response
    return response


class Usher(asyncio.Protocol):
    """Stands before aiohttp, which bounds neither how many connections there are nor how long one takes for a request."""

    def __init__(
        self, inside: "set[Usher]", config: HttpConfig, serve: Callable[[], asyncio.Protocol]
    ) -> None:
        self._inside = inside
        self._config = config
        self._serve = serve
        self._page: asyncio.Protocol | None = None
        self._end: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """In, or away."""
        line = cast(asyncio.Transport, transport)
        if len(self._inside) >= self._config.connections_max:
            line.write(NO_ROOM)
            line.close()
            return
        self._inside.add(self)
        self._end = asyncio.get_running_loop().call_later(self._config.connection_s, line.abort)
        self._page = self._serve()
        self._page.connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Out again."""
        self._inside.discard(self)
        if self._end is not None:
            self._end.cancel()
        if self._page is not None:
            self._page.connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """For aiohttp; as are the next three."""
        if self._page is not None:
            self._page.data_received(data)

    def eof_received(self) -> bool | None:
        """The client will send no more."""
        return self._page.eof_received() if self._page is not None else None

    def pause_writing(self) -> None:
        """The client does not read as fast as it is sent to."""
        if self._page is not None:
            self._page.pause_writing()

    def resume_writing(self) -> None:
        """It has read enough."""
        if self._page is not None:
            self._page.resume_writing()


class ListenError(Exception):
    """A port cannot be opened; the text names the setting."""


@contextmanager
def naming(section: str, config: HttpConfig | ServerConfig) -> Iterator[None]:
    """Within it a port of `section` is opened. Raises ListenError."""
    try:
        yield
    except (OSError, UnicodeError) as error:  # the second: a host that cannot be written as a domain
        number = error.errno if isinstance(error, OSError) else None
        if number == errno.EADDRINUSE:
            port = variable_of(f"{section}.port")
            text = f"{section}.port {config.port} is taken: stop the other program, or choose another with {port}"
        elif number == errno.EACCES:
            text = f"{section}.port {config.port} is not for this user to open: choose one from 1024 on"
        else:
            why = (isinstance(error, OSError) and error.strerror) or str(error)
            text = f"{section}.host {config.host!r} cannot be listened on: {why}"
        raise ListenError(text) from None


async def listen(app: web.Application, config: HttpConfig) -> tuple[web.AppRunner, int]:
    """Opens the port; returns the runner, to be cleaned up at the end, and the port in use. Raises ListenError."""
    runner = web.AppRunner(app, access_log=None, keepalive_timeout=KEEPALIVE_S, shutdown_timeout=1.0)
    listening: list[asyncio.Server] = []

    async def close(_: web.Application) -> None:
        for server in listening:
            server.close()

    app.on_shutdown.append(close)
    await runner.setup()
    pages = runner.server
    assert pages is not None
    inside: set[Usher] = set()
    with naming("http", config):
        listening.append(
            await asyncio.get_running_loop().create_server(
                lambda: Usher(inside, config, pages), config.host, config.port, reuse_address=True
            )
        )
    return runner, int(listening[0].sockets[0].getsockname()[1])
