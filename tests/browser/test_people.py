"""What a person does about others in the browser: block, report; and what a muted or banned one sees."""

import re
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.browser.conftest import SPAWN_TILES, Visit, Visitor
from tests.browser.test_pictures import PHONE
from tests.harness import ServerProcess, serving


@pytest.fixture(scope="module")
def town() -> Iterator[ServerProcess]:
    with serving(settings={"WORLD__SPAWN_RADIUS": SPAWN_TILES}) as server:
        yield server


DESK = {"width": 800, "height": 600}  # wide enough for the panel beside the talk


def moderate(server: ServerProcess, *arguments: str) -> str:
    """The console."""
    command = [sys.executable, "-m", "tools.cli", "moderate", *arguments]
    done = subprocess.run(command, env=server.environment(), capture_output=True, text=True, check=True)
    return done.stdout


def hears(visitor: Visitor, text: str) -> None:
    visitor.until("w.chat.some((lines) => lines.some((line) => line.text === a))", text)


def open_card(visitor: Visitor, other: Visitor) -> None:
    """By a press on the name of somebody who said something."""
    name = other.get("w.me.name")
    visitor.page.keyboard.press("Enter")  # the talk lets clicks through until it is open
    visitor.page.locator("#log button", has_text=name).last.click()
    visitor.page.locator("#panel-title", has_text=name).wait_for()


IN_THE_OPEN = """(() => {
  const one = w.entities.find((one) => one.id === a), place = w.toScreen(one.x, one.y - 0.6);
  const alone = w.entities.every(({ id, x, y }) => id === a || id === w.me.id || Math.hypot(x - one.x, y - one.y) > 3);
  return alone && document.elementFromPoint(place.x, place.y)?.id === "map" ? place : null;
})()"""


def in_the_open(visitor: Visitor, other: Visitor) -> dict[str, float]:
    """Where on the page somebody stands. Chance put them there, so they walk until no panel covers them and nobody else is near."""
    for _ in range(8):
        visitor.until(
            "w.still && w.entities.some((one) => one.id === a && one.alpha > 0.9)", other.get("w.me.id")
        )
        place: dict[str, float] | None = visitor.get(IN_THE_OPEN, other.get("w.me.id"))
        if place is not None:
            return place
        here, there = other.get("w.me"), visitor.get("w.me")
        dx, dy = there["x"] - here["x"], there["y"] - here["y"]
        other.walk("ad"[dx > 0] if abs(dx) >= abs(dy) else "ws"[dy > 0], 2.0)
        settled = other.get("[w.me.x, w.me.y]")
        visitor.until(
            "w.entities.some((one) => one.id === a[0] && Math.hypot(one.x - a[1][0], one.y - a[1][1]) < 0.5)",
            [other.get("w.me.id"), settled],
        )
    raise AssertionError("they never came into the open")


def test_a_press_on_a_name_blocks_and_unblocks(town: ServerProcess, visit: Visit) -> None:
    """Guards: People.block and Chat.silence; the server does the rest."""
    ada, pest = visit(town, viewport=DESK).enter(), visit(town, viewport=DESK).enter()
    pest.say("buy my hats")
    hears(ada, "buy my hats")
    open_card(ada, pest)
    ada.page.click("#block")
    ada.until("w.blocked.includes(a)", pest.get("w.me.id"))
    assert not ada.get("w.chat[0].some((line) => line.text === 'buy my hats')")
    pest.say("hats again")
    hears(pest, "hats again")
    ada.say("quiet here")
    hears(ada, "quiet here")
    assert not ada.get("w.chat[0].some((line) => line.text === 'hats again')")
    ada.page.reload()
    ada.enter()
    ada.until("w.blocked.length === 1")
    ada.say("/blocked")
    ada.page.locator("#blocked button").click()
    ada.until("w.blocked.length === 0")
    pest.say("last hats")
    hears(ada, "last hats")


def test_a_press_on_a_figure_reports_with_what_was_said(town: ServerProcess, visit: Visit) -> None:
    """Guards: World.personAt, People.reports, QUIET in actions.js."""
    ada, pest = visit(town, viewport=DESK).enter(), visit(town, viewport=DESK).enter()
    pest.say("you fool of a hat")
    hears(ada, "you fool of a hat")
    place = in_the_open(ada, pest)
    ada.page.mouse.click(place["x"], place["y"])
    ada.page.locator("#panel-title", has_text=pest.get("w.me.name")).wait_for()
    ada.page.click("#report-title")
    ada.page.select_option("[name=offence]", label="Insults, threats or hate")
    ada.page.fill("[name=text]", "they shout at me")
    ada.page.click("#send-report")
    ada.page.locator("#toasts p", has_text=re.compile("one line of talk")).wait_for()
    ada.page.locator("#report:not([open]) #report-title", has_text=re.compile("^Reported$")).wait_for()
    ada.page.click("#report-title")
    assert ada.page.input_value("[name=text]") == ""
    ada.page.locator("#panel-body").evaluate("body => body.scrollTo(0, body.scrollHeight)")
    ada.page.click("#block")
    ada.page.locator("#block", has_text="Unblock").wait_for()
    ada.page.wait_for_function("document.getElementById('panel-body').scrollTop === 0")
    assert ada.page.is_hidden("#deeds")  # which is about land and money
    shown = moderate(town, "reports")
    assert "they shout at me" in shown
    assert "you fool of a hat" in shown
    assert "insult" in shown


def test_who_is_muted_reads_why_and_until_when_and_speaks_again_after(
    town: ServerProcess, visit: Visit
) -> None:
    """Guard: Chat.muted."""
    loud = visit(town, viewport=DESK).enter()
    name = f"#{loud.get('w.me.id')}"
    moderate(town, "mute", name, "--minutes", "30", "--reason", "too loud")
    loud.until("w.mute !== null")
    field = loud.page.locator("#say")
    assert field.is_disabled()
    assert "too loud" in (field.get_attribute("placeholder") or "")
    loud.page.reload()
    loud.enter()
    loud.until("w.mute !== null")
    moderate(town, "unmute", name, "--reason", "calm")
    loud.until("w.mute === null")
    loud.say("thank you")
    hears(loud, "thank you")


def test_a_panel_that_is_opened_puts_the_welcome_card_away(town: ServerProcess, visit: Visit) -> None:
    """Guard: on.opened in Estate.open; on a phone the card would lie over the panel and its close button."""
    ada = visit(town, **PHONE)
    ada.page.wait_for_selector("#welcome", state="visible")
    ada.page.tap("#land-button")
    ada.page.wait_for_selector("#claim")
    assert ada.page.is_hidden("#welcome")
    ada.page.tap("#panel-close")
    ada.page.wait_for_selector("#panel", state="hidden")


def test_who_is_banned_reads_why_and_is_not_let_in_again(town: ServerProcess, visit: Visit) -> None:
    """Guards: BANNED in Connection.turnedAway; without it the page would count down a day and knock again. OVER in main.js."""
    rogue = visit(town, viewport=DESK).enter()
    rogue.page.click("#land-button")
    rogue.page.wait_for_selector("#claim")
    moderate(town, "ban", f"#{rogue.get('w.me.id')}", "--minutes", "1440", "--reason", "cheating")
    rogue.until("w.state === 'closed'")
    assert "cheating" in rogue.page.inner_text("#veil-words")
    rogue.page.keyboard.press("p")
    assert rogue.page.is_hidden("#panel")
    rogue.page.click("#again")
    rogue.page.wait_for_load_state()
    rogue.until("w.state === 'refused'")
    assert "cheating" in rogue.page.inner_text("#veil-words")
