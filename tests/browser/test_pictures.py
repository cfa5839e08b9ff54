"""Pictures of the client as a person sees it, kept as CI output; each test also says what must be on it."""

from typing import Any

import pytest

from tests.browser.conftest import OUTPUT, Visit, Visitor
from tests.harness import ServerProcess

DESKTOP = {"width": 1280, "height": 800}
PHONE: dict[str, Any] = {
    "viewport": {"width": 390, "height": 844},
    "device_scale_factor": 2,
    "is_mobile": True,
    "has_touch": True,
}


STAND_STILL = "() => { const now = performance.now(); performance.now = () => now; }"


def _painted(visitor: Visitor) -> None:
    """Waits until all ground in sight is painted and faded in."""
    visitor.until("w.entered && w.stats.chunks.known >= 40 && w.stats.chunks.waiting === 0")


def _take(visitor: Visitor, name: str) -> None:
    OUTPUT.mkdir(exist_ok=True)
    visitor.page.screenshot(path=OUTPUT / name)


def _in_a_bubble(visitor: Visitor, text: str) -> None:
    """Waits until these words are over somebody's head. Lines from before one came are in the chat, but in no bubble."""
    visitor.page.locator(".bubble", has_text=text).wait_for(state="visible")


@pytest.mark.parametrize(("name", "query"), [("browser-day", "?hour=11"), ("browser-evening", "?hour=19.6")])
def test_two_people_with_talk_and_map(world: ServerProcess, visit: Visit, name: str, query: str) -> None:
    brix = visit(world).enter()
    ada = visit(world, query, viewport=DESKTOP).enter()
    ada.until("w.entities.some((e) => e.id === a && e.alpha > 0.9)", brix.get("w.me.id"))
    _painted(ada)
    ada.page.evaluate(STAND_STILL)  # a bubble lives for seconds, and a picture may take longer
    brix.say("Good to see you! Shall we walk to the river?")
    _in_a_bubble(ada, "Good to see you!")
    ada.say("Yes, let us go before it gets dark.")
    _in_a_bubble(ada, "Yes, let us go")
    assert ada.page.is_visible("#minimap")
    _take(ada, f"{name}.png")
    assert ada.page.locator(".bubble").count() == 2  # so they are on it


def test_a_phone(world: ServerProcess, visit: Visit) -> None:
    ada = visit(world, "?hour=17.5", **PHONE)
    ada.until("w.state === 'playing'")
    ada.page.wait_for_selector("#welcome", state="visible")
    _painted(ada)
    _take(ada, "browser-phone-welcome.png")
    ada.enter()
    assert ada.page.evaluate("document.documentElement.scrollWidth") == 390
    _take(ada, "browser-phone.png")
