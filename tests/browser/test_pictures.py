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


def _take(visitor: Visitor, name: str) -> None:
    """Waits until all ground in sight is painted and faded in, then takes the picture."""
    visitor.until("w.entered && w.stats.chunks.known >= 40 && w.stats.chunks.waiting === 0")
    OUTPUT.mkdir(exist_ok=True)
    visitor.page.screenshot(path=OUTPUT / name)


@pytest.mark.timeout(240)
@pytest.mark.parametrize(("name", "query"), [("browser-day", "?hour=11"), ("browser-evening", "?hour=19.6")])
def test_two_people_with_talk_and_map(world: ServerProcess, visit: Visit, name: str, query: str) -> None:
    brix = visit(world).enter()
    ada = visit(world, query, viewport=DESKTOP).enter()
    ada.until("w.entities.some((e) => e.id === a && e.alpha > 0.9)", brix.get("w.me.id"))
    brix.say("Good to see you! Shall we walk to the river?")
    ada.until("w.chat[0].some((line) => line.text.startsWith('Good to see you'))")
    ada.say("Yes, let us go before it gets dark.")
    ada.until("w.chat[0].some((line) => line.text.startsWith('Yes, let us go'))")
    assert ada.page.is_visible("#minimap")
    assert ada.page.is_visible(".bubble")
    _take(ada, f"{name}.png")


@pytest.mark.timeout(240)
def test_a_phone(world: ServerProcess, visit: Visit) -> None:
    ada = visit(world, "?hour=17.5", **PHONE)
    ada.until("w.state === 'playing'")
    ada.page.wait_for_selector("#welcome", state="visible")
    _take(ada, "browser-phone-welcome.png")
    ada.enter()
    assert ada.page.evaluate("document.documentElement.scrollWidth") == 390
    _take(ada, "browser-phone.png")
