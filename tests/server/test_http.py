"""The pages: what they say, with which headers, and what they do not give away."""

import asyncio
import json
import re
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import ClientSession
from prometheus_client.parser import text_string_to_metric_families
from yarl import URL

from server.config import HttpConfig, ServerConfig
from server.http import BROWSER, POLICY, Health, ListenError, Usher, application, listen, naming
from server.receipts import Notary
from server.seam import Tally
from server.telemetry import PHASES, TICK_BUCKETS_S, Counts, Histogram, Telemetry
from tests.harness import WAIT_S, serving
from tests.server.support import FakeTransport

CONNECTIONS_MAX = 8
GAME_PORT = 8765
ROOT = Path(__file__).parents[2]
GAME_URL = "wss://world.example.org/"


class Pages:
    """The pages of a server that is not there."""

    def __init__(self) -> None:
        self.health, self.counts = Health(), Counts()
        self.telemetry = Telemetry(self.counts)
        self.root = ""
        self.port = 0
        self.session: ClientSession

    async def get(self, path: str) -> tuple[int, str, dict[str, str]]:
        """Status, body and headers; the path goes out as it is written."""
        async with self.session.get(URL(self.root + path, encoded=True)) as answer:
            return answer.status, await answer.text(errors="replace"), dict(answer.headers)


@pytest_asyncio.fixture
async def pages() -> AsyncIterator[Pages]:
    pages = Pages()
    app = application(pages.health, pages.telemetry, lambda: GAME_PORT, GAME_URL, "1.2.3")
    runner, port = await listen(app, HttpConfig(host="127.0.0.1", port=0, connections_max=CONNECTIONS_MAX))
    pages.port = port
    pages.root = f"http://127.0.0.1:{port}"
    async with ClientSession() as pages.session:
        yield pages
    await runner.cleanup()


async def test_the_client_is_told_where_the_game_is(pages: Pages) -> None:
    status, body, _ = await pages.get("/client.json")
    assert (status, json.loads(body)) == (
        200,
        {"game_port": GAME_PORT, "game_url": GAME_URL, "version": "1.2.3"},
    )


async def test_so_many_connections_and_no_more(pages: Pages) -> None:
    """Guard: Usher.connection_made; who only holds the line open would else take every descriptor of the process."""
    lines = [await asyncio.open_connection("127.0.0.1", pages.port) for _ in range(CONNECTIONS_MAX + 1)]
    answer = await lines[-1][0].read()
    assert answer.startswith(b"HTTP/1.1 503 ")
    for _, writer in lines:
        writer.close()
        await writer.wait_closed()
    # Each that is gone makes room again; the server hears of it in its own time.
    async with asyncio.timeout(WAIT_S):
        while (await pages.get("/health"))[0] == 503:
            pass
    assert (await pages.get("/health"))[0] == 200


def test_a_connection_ends_in_the_middle_of_a_request_too() -> None:
    """Guard: Usher sets the end at the start; aiohttp waits without end for the rest of a request."""
    loop, line = Clockwork(), FakeTransport()
    inside: set[Usher] = set()
    usher = Usher(inside, HttpConfig(connection_s=10), asyncio.Protocol)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(asyncio, "get_running_loop", lambda: loop)
        usher.connection_made(line)  # type: ignore[arg-type]
    usher.data_received(b"GET / HTTP/1.1\r\n")
    ((after_s, end),) = loop.later
    assert after_s == 10
    end()
    assert line.aborted
    usher.connection_lost(None)
    assert not inside


class Clockwork:
    """A loop that keeps what is to be done later."""

    def __init__(self) -> None:
        self.later: list[tuple[float, Callable[[], None]]] = []

    def call_later(self, after_s: float, work: Callable[[], None]) -> Any:
        self.later.append((after_s, work))
        return SimpleNamespace(cancel=lambda: None)


async def test_the_root_is_the_browser_client(pages: Pages) -> None:
    status, body, headers = await pages.get("/")
    assert (status, body) == (200, (BROWSER / "index.html").read_text())
    assert headers["Content-Security-Policy"] == POLICY
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cache-Control"] == "no-cache"


async def test_ready_says_what_a_start_or_a_stop_is_waiting_for(pages: Pages) -> None:
    for reason in ("starting", "preparing the ground", "stopping"):
        pages.health.reason = reason
        status, body, _ = await pages.get("/ready")
        assert (status, json.loads(body)) == (503, {"status": reason})
    pages.health.ready = True
    status, body, _ = await pages.get("/ready")
    assert (status, json.loads(body)) == (200, {"status": "ready"})


async def test_health_is_whether_the_tick_goes_on_also_while_not_ready(pages: Pages) -> None:
    assert (await pages.get("/health"))[0] == 200
    pages.health.alive = lambda: False
    assert (await pages.get("/health"))[0] == 503


@pytest.mark.parametrize(
    "path",
    [
        "/../../pyproject.toml",
        "/..%2f..%2fpyproject.toml",
        "/%2e%2e/%2e%2e/pyproject.toml",
        "/....//....//pyproject.toml",
        "/..%5c..%5cpyproject.toml",
        "//etc/passwd",
        "/%2fetc%2fpasswd",
        "/vendor/../../../server/auth.py",
        "/index.html%00.js",
        "/__init__.py/",
        "/vendor/",
        "/nothing.js",
    ],
)
async def test_no_path_leads_out_of_the_client_or_lists_it(pages: Pages, path: str) -> None:
    status, body, _ = await pages.get(path)
    assert status in (400, 403, 404)
    assert "landworld" not in body
    assert "root:" not in body


async def test_metrics_are_what_prometheus_reads(pages: Pages) -> None:
    counts = pages.counts
    for seconds in (0.0004, 0.03, 9.0):
        counts.tick.observe(seconds)
    counts.refused["RATE_LIMITED"] += 1
    told = Tally(closed={"FLOODING": 2}, rejected={"404": 1}, refused={"RATE_LIMITED": 2})
    pages.telemetry.tally = lambda: told
    pages.telemetry.gauges["landworld_players"] = "Players.", lambda: 7
    pages.telemetry.by_label["landworld_viewers"] = "Viewers.", "step", lambda: [("0", 5), ("1", 2)]
    status, body, headers = await pages.get("/metrics")
    assert status == 200
    assert headers["Content-Type"].startswith("text/plain; version=0.0.4")
    samples = {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(body)
        for sample in family.samples
    }
    assert samples[("landworld_closed_total", ("code", "FLOODING"))] == 2
    assert samples[("landworld_rejected_total", ("status", "404"))] == 1
    assert samples[("landworld_refused_total", ("code", "RATE_LIMITED"))] == 3
    assert samples[("landworld_players",)] == 7
    assert samples[("landworld_viewers", ("step", "1"))] == 2
    assert samples[("landworld_tick_seconds_count",)] == 3
    assert samples[("landworld_tick_seconds_bucket", ("le", "0.05"))] == 2
    assert {key[1][1] for key in samples if key[0] == "landworld_tick_phase_seconds_total"} == set(PHASES)


@pytest.mark.parametrize("seconds", [0.0, *TICK_BUCKETS_S, 2.0])
def test_a_duration_counts_in_the_first_bucket_that_holds_it(seconds: float) -> None:
    histogram = Histogram(TICK_BUCKETS_S)
    histogram.observe(seconds)
    samples = [sample for sample in histogram.family("x", "x").samples if sample.name == "x_bucket"]
    holding = [sample.labels["le"] for sample in samples if sample.value == 1]
    assert all(float(bound) >= seconds for bound in holding)
    assert len(holding) == 1 + sum(bound >= seconds for bound in TICK_BUCKETS_S)


def test_a_running_server_has_these_pages_and_every_number_of_its_parts(data: Path) -> None:
    with serving(data) as server:
        assert json.loads(server.page("/health")) == {"status": "ok"}
        assert server.page("/receipt-key") == Notary.of(data).public_key
        assert json.loads(server.page("/ready")) == {"status": "ready"}
        assert json.loads(server.page("/client.json"))["game_port"] == server.port
        assert "<html" in server.page("/")
        for name in (
            "landworld_tick",
            "landworld_epoch",
            "landworld_database_up",
        ):
            assert server.metric(name) > 0
        asyncio.run(server.until("landworld_chunks_made_total", lambda made: made > 0))
        families = {family.name for family in text_string_to_metric_families(server.page("/metrics"))}
        assert named_in("server/main.py") | named_in("server/telemetry.py") <= families


def named_in(file: str) -> set[str]:
    """The names of all numbers that a source file writes down."""
    return set(re.findall(r'"(landworld_[a-z_]+)"', (ROOT / file).read_text(encoding="utf-8")))


# --- ports that cannot be opened --------------------------------------------------------------------------------------------------


async def test_a_port_or_host_that_cannot_be_opened_is_named_by_its_setting() -> None:
    app = application(Health(), Telemetry(Counts()), lambda: 0, "", "1")
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        with pytest.raises(ListenError, match=rf"^http\.port {taken} is taken: .* LANDWORLD_HTTP__PORT$"):
            await listen(app, HttpConfig(host="127.0.0.1", port=taken))
    nobodys = ServerConfig(host="192.0.2.1", port=0)  # of RFC 5737, for documents
    with (
        pytest.raises(ListenError, match=r"^server\.host '192\.0\.2\.1' cannot be listened on: "),
        naming("server", nobodys),
    ):
        await asyncio.get_running_loop().create_server(asyncio.Protocol, nobodys.host, nobodys.port)
