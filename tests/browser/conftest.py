"""A real Chromium, a real server, and pages of the browser client in it.

Without Chromium these tests skip with a reason; where LANDWORLD_REQUIRE_BROWSER=1 they fail instead. Every page must end without an
error on its console. Pages are small, for here the processor draws them; pictures are taken in test_pictures.py.
"""

import os
import shutil
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from tests.harness import ServerProcess, serving

CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = [
    "--no-sandbox",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--disable-gpu-watchdog",  # which takes a busy machine for one that hangs, and the graphics with it
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-background-timer-throttling",
    "--disable-renderer-backgrounding",
    "--disable-backgrounding-occluded-windows",
]
SMALL = {"width": 480, "height": 360}
WAIT_MS = 120_000  # for any one condition; a page that takes so long has failed
SPAWN_TILES = 5  # so near that all see each other
OUTPUT = Path(__file__).parents[2] / "ci-output"


class Visitor:
    """One person's browser: a context of their own (storage, cookies) and a page in it."""

    def __init__(self, context: BrowserContext, address: str) -> None:
        self.context = context
        self.address = address
        self.troubles: list[str] = []
        self.page = self.new_page()

    def new_page(self) -> Page:
        """Another window of the same person."""
        page = self.context.new_page()
        page.set_default_timeout(WAIT_MS)
        page.on("pageerror", lambda error: self.troubles.append(str(error)))
        page.on("console", self._note)
        page.goto(self.address)
        return page

    def _note(self, message: Any) -> None:
        # That no server was found is reported by the browser itself; coming back is the client's business.
        away = "WebSocket connection" in message.text or "net::ERR_CONNECTION_REFUSED" in message.text
        if message.type == "error" and not away:
            self.troubles.append(message.text)

    def until(self, condition: str, argument: object = None) -> None:
        """Waits until a JavaScript expression of `w` (window.landworld) and `a` (the argument) holds."""
        self.page.wait_for_function(
            f"a => {{ const w = window.landworld; return w && ({condition}); }}", arg=argument
        )

    def get(self, expression: str, argument: object = None) -> Any:
        """The value of such an expression."""
        return self.page.evaluate(f"a => {{ const w = window.landworld; return ({expression}); }}", argument)

    def enter(self) -> "Visitor":
        """In the world, on ground that is known, the welcome card put away."""
        self.until(
            "w.state === 'playing' && w.entered && w.entities.some((one) => one.id === w.me.id) && w.stats.chunks.known >= 9"
        )
        if self.page.is_visible("#welcome-go"):
            self.page.click("#welcome-go")
        return self

    def walk(self, key: str, tiles: float) -> None:
        """Holds a key until one has come so far."""
        start = self.get("w.me")
        self.page.keyboard.down(key)
        self.until("Math.hypot(w.me.x - a[0].x, w.me.y - a[0].y) >= a[1]", [start, tiles])
        self.page.keyboard.up(key)

    def say(self, text: str) -> None:
        """As a person would: Enter, words, Enter."""
        self.page.keyboard.press("Enter")
        self.page.keyboard.type(text)
        self.page.keyboard.press("Enter")


Visit = Callable[..., Visitor]
_FAILED = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Notes whether the test itself failed, for `visit`."""
    report = yield
    item.stash[_FAILED] = item.stash.get(_FAILED, False) or report.failed
    return report


@pytest.fixture(scope="package")
def chromium() -> Iterator[Browser]:
    """The browser of this folder; it goes with it, for playwright keeps an event loop running that tests elsewhere would trip over."""
    found = next(filter(None, map(shutil.which, CHROMIUM_NAMES)), None)
    if found is None:
        reason = "Chromium is not installed (looked for " + ", ".join(CHROMIUM_NAMES) + ")"
        if os.environ.get("LANDWORLD_REQUIRE_BROWSER") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=FLAGS, timeout=WAIT_MS)
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def world() -> Iterator[ServerProcess]:
    """A server that the tests of this folder share; those that stop it start their own."""
    with serving(settings={"WORLD__SPAWN_RADIUS": SPAWN_TILES}) as server:
        yield server


@pytest.fixture
def visit(chromium: Browser, request: pytest.FixtureRequest) -> Iterator[Visit]:
    """Opens a page for a new person on a server; at the end none may have complained. If the test fails they are printed."""
    visitors: list[Visitor] = []

    def open_page(server: ServerProcess, query: str = "", **options: Any) -> Visitor:
        context = chromium.new_context(**{"viewport": SMALL, **options})
        visitor = Visitor(context, f"http://127.0.0.1:{server.http_port}/{query}")
        visitors.append(visitor)
        return visitor

    yield open_page
    for number, visitor in enumerate(visitors):
        if request.node.stash.get(_FAILED, False):
            shown = visitor.page.inner_text("body")
            print(f"page {number} shows: {shown!r}")  # noqa: T201 (elsewhere it is all there is to see)
        visitor.context.close()
    assert [trouble for visitor in visitors for trouble in visitor.troubles] == []
