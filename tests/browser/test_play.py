"""What a person does with the browser client: walk, talk, come back."""

import re
from math import hypot
from pathlib import Path
from typing import Any

from tests.browser.conftest import SPAWN_TILES, Visit
from tests.harness import ServerProcess, serving
from tools.crash.host import free_port

Me = dict[str, Any]
RECORD_TILES = 0.002  # a place in a snapshot is rounded to 1/2048 tile


def _same(one: Me, other: Me) -> bool:
    """The same person at the same place."""
    away = hypot(one["x"] - other["x"], one["y"] - other["y"])
    return (one["id"], one["name"]) == (other["id"], other["name"]) and away < RECORD_TILES


def test_two_people_see_each_other_walk_and_hear_each_other_talk(world: ServerProcess, visit: Visit) -> None:
    ada, brix = visit(world).enter(), visit(world).enter()
    for one, other in ((ada, brix), (brix, ada)):
        other_id = other.get("w.me.id")
        one.until("w.entities.some((e) => e.id === a && e.name !== '' && e.alpha > 0.9)", other_id)
        before = one.get("w.entities.find((e) => e.id === a)", other_id)
        other.walk("d" if other is brix else "a", 2.0)
        one.until(
            "w.entities.some((e) => e.id === a.id && Math.hypot(e.x - a.x, e.y - a.y) > 1)",
            {**before, "id": other_id},
        )
        other.say(f"good morning from {other_id}")
        one.until(
            "w.chat[0].some((line) => line.sender_id === a && line.text === `good morning from ${a}`)",
            other_id,
        )


def test_prediction_and_server_agree_on_where_one_stands(world: ServerProcess, visit: Visit) -> None:
    ada, brix = visit(world).enter(), visit(world).enter()
    for key in ("d", "s", "a", "w"):
        ada.walk(key, 0.7)
    ada.until("w.me.settled")
    brix.until(
        "w.entities.some((e) => e.id === a[0].id && Math.hypot(e.x - a[0].x, e.y - a[0].y) < a[1])",
        [ada.get("w.me"), RECORD_TILES],
    )


# Walks a second and stops. The server takes the first input 400 ms late and the second at once; both answers, then the snapshots
# of a tick before the stop and of the stop's. Returns where one stands, and where by the server.
UNEVEN_LINE = """
async () => {
  const { Clock } = await import("/clock.js");
  const { Prediction } = await import("/prediction.js");
  const clock = new Clock();
  clock.reset(0, 20, 0);
  const me = new Prediction(clock, () => 100);
  let now = 0;
  const pass = (ms) => { for (const end = now + ms; now < end; ) me.advance((now = Math.min(end, now + 16))); };
  me.place(0, 0, now);
  pass(1000);
  me.input(1, 0, now);
  pass(450);
  me.moved({ seq: 1, tick: 29, x: 0.2, y: 0 }, now);
  pass(550);
  me.input(0, 0, now);
  pass(60);
  me.moved({ seq: 2, tick: 41, x: 2.4, y: 0 }, now);
  me.seen(35, 1.4, 0, now);
  me.seen(41, 2.4, 0, now);
  return [me.settled, Math.abs(me.x - 2.4) < 1e-9];
}
"""


def test_who_has_stopped_stands_where_the_server_says_however_uneven_the_line(
    world: ServerProcess, visit: Visit
) -> None:
    """Guard: Prediction.seen compares no past of an uncertain moment while there is nothing to walk again."""
    assert visit(world).page.evaluate(UNEVEN_LINE) == [True, True]


def test_a_click_walks_there(world: ServerProcess, visit: Visit) -> None:
    ada = visit(world).enter()
    start = ada.get("w.me")
    ada.page.mouse.click(340, 215)  # three tiles to the east
    ada.until("w.me.x > a.x + 2", start)


def test_keys_belong_to_the_chat_line_while_it_is_open(world: ServerProcess, visit: Visit) -> None:
    ada = visit(world).enter()
    start = ada.get("w.me")
    ada.say("wasd dsaw")
    ada.until("w.chat[0].some((line) => line.text === 'wasd dsaw')")
    assert ada.get("w.me") == start
    ada.page.keyboard.press("Escape")
    ada.walk("d", 0.5)


def test_a_direct_line_reaches_one_person_only(world: ServerProcess, visit: Visit) -> None:
    ada, brix, cleo = (visit(world).enter() for _ in range(3))
    ada.until("w.entities.filter((e) => e.name !== '').length >= 3")
    name = brix.get("w.me.name")
    ada.say(f"/w {name} between us")
    brix.until("w.chat[2].some((line) => line.text === 'between us')")
    ada.until("w.chat[2].some((line) => line.text === 'between us')")
    ada.say("/w Nobody-Of-That-Name hello")
    ada.page.wait_for_selector("#toasts p")
    cleo.say("something else")  # her page has heard all that came before her own words
    cleo.until("w.chat[0].some((line) => line.text === 'something else')")
    assert cleo.get("w.chat[2]") == []


def test_an_unknown_command_is_not_said_aloud(world: ServerProcess, visit: Visit) -> None:
    ada = visit(world).enter()
    for typed, hint in (
        ("ww Bob secret", "Unknown command. /w NAME text"),
        ("help", "/w NAME text"),
        ("w Bob", "/w NAME"),
    ):
        ada.page.evaluate("document.getElementById('toasts').replaceChildren()")
        ada.page.keyboard.press("/")  # as from the map: the line opens with the slash
        ada.page.keyboard.type(typed)
        ada.page.keyboard.press("Enter")
        ada.page.locator("#toasts p", has_text=re.compile("^" + re.escape(hint))).wait_for()
    ada.say("aloud")
    ada.until("w.chat[0].some((line) => line.text === 'aloud')")
    assert ada.get("w.chat[0].filter((line) => line.sender_id === w.me.id).map((line) => line.text)") == [
        "aloud"
    ]


# Which of two names is to be read, one of them where a panel is.
NAMES = """
async () => {
  const { Labels } = await import("/labels.js");
  const labels = new Labels(1);
  labels.panels = [0, 0, 200, 100];
  labels.begin();
  labels.add(1, "Under", 190, 105, 1, false, 1);
  labels.add(2, "Beside", 260, 105, 1, false, 1);
  labels.end();
  return [labels.isShown(1), labels.isShown(2)];
}
"""


def test_a_name_under_a_panel_is_left_out(world: ServerProcess, visit: Visit) -> None:
    assert visit(world).page.evaluate(NAMES) == [False, True]


def test_a_reload_keeps_the_guest_and_the_place(world: ServerProcess, visit: Visit) -> None:
    ada = visit(world).enter()
    ada.walk("s", 1.5)
    ada.until("w.me.settled")
    before = ada.get("w.me")
    ada.page.reload()
    ada.enter()
    assert _same(ada.get("w.me"), before)
    assert not ada.page.is_visible("#welcome")


def test_ground_that_is_kept_is_not_sent_again(world: ServerProcess, visit: Visit) -> None:
    ada = visit(world).enter()
    ada.until("w.stats.chunks.stored >= 49")  # all that is wanted around a place: 7 x 7
    ada.page.reload()
    ada.enter()
    ada.until("w.stats.chunks.kept >= 49 && w.stats.chunks.known >= 49")
    assert ada.get("w.stats.chunks.whole") == 0


def test_the_newer_window_wins_and_the_older_is_told(world: ServerProcess, visit: Visit) -> None:
    ada = visit(world).enter()
    newer = ada.new_page()
    ada.until("w.state === 'replaced'")
    assert ada.page.is_visible("#again")
    newer.wait_for_function("() => window.landworld?.state === 'playing'")
    assert newer.evaluate("() => window.landworld.me.id") == ada.get("w.me.id")


def test_a_restart_of_the_server_is_survived_by_itself(data: Path, visit: Visit) -> None:
    settings = {"WORLD__SPAWN_RADIUS": SPAWN_TILES, "SERVER__PORT": free_port(), "HTTP__PORT": free_port()}
    with serving(data, settings) as server:
        ada = visit(server).enter()
        ada.walk("d", 1.0)
        ada.until("w.me.settled")
        before = ada.get("w.me")
        server.stop()
        ada.until("w.state !== 'playing'")
        ada.page.wait_for_selector("#veil", state="visible")
        with serving(data, settings):
            ada.until("w.state === 'playing' && w.entities.some((one) => one.id === w.me.id)")
            ada.page.wait_for_selector("#veil", state="hidden")
            assert _same(ada.get("w.me"), before)
            ada.walk("a", 0.5)
