"""How the client's line behaves when it breaks: which losses it mends by itself, and what it shows while it does not."""

from playwright.sync_api import Route

from tests.browser.conftest import Visit
from tests.harness import ServerProcess, serving

# A line over a socket of our own and a clock that only notes for how long it was asked.
LINE = """
async ({ messages, code, again }) => {
  const { Connection } = await import("/connection.js");
  const { encode } = await import("/vendor/msgpack.mjs");
  const sockets = [];
  class Socket {
    static CONNECTING = 0;
    static OPEN = 1;
    readyState = 1;
    constructor() { sockets.push(this); }
    send() {}
    close() {}
  }
  const states = [];
  const waits = [];
  const { WebSocket: RealSocket, setTimeout: realTimeout } = window;
  const random = Math.random;
  window.WebSocket = Socket;
  window.setTimeout = (_, ms) => { waits.push(ms); return 0; };
  Math.random = () => 0.5;
  try {
    const tokens = { given: null, hello: async () => ({}), refused: () => false, revoked: () => again, keepTicket() {} };
    const line = new Connection("ws://nowhere/", tokens, { state: (state, why, waitMs) => states.push([state, why, waitMs]) });
    line.open();
    const [socket] = sockets;
    socket.onopen();
    waits.length = 0;
    for (const message of messages) socket.onmessage({ data: encode(message) });
    socket.onclose({ code, reason: "closed" });
  } finally {
    window.WebSocket = RealSocket;
    window.setTimeout = realTimeout;
    Math.random = random;
  }
  return { last: states.at(-1), waits };
}
"""
REFUSED, CLOSING = 65, 76


BREAKS: dict[str, tuple[list[list[object]], int, list[object], list[int]]] = {
    "lost": ([], 1006, ["lost", "closed", 350], [350]),
    "idle": ([], 4002, ["lost", "closed", 350], [350]),
    "restart": ([[CLOSING, 1001, "Restart.", 500]], 1001, ["waiting", "Restart.", 700], [700]),
    "slow": ([[CLOSING, 4004, "Slow.", 8000]], 4004, ["waiting", "Slow.", 10000], [10000]),
    "slow, for good": ([[CLOSING, 4004, "Slow."]], 4004, ["closed", "Slow.", 0], []),
    "flooding": ([], 4003, ["closed", "closed", 0], []),
    "invalid": ([], 1007, ["closed", "closed", 0], []),
    "replaced": ([[CLOSING, 4000, "Newer."]], 4000, ["replaced", "Newer.", 0], []),
    "full for now": ([[REFUSED, 0, 10, "Full.", 4000]], 4005, ["waiting", "Full.", 5000], [5000]),
    "refused": ([[REFUSED, 0, 9, "Another version."]], 4005, ["refused", "Another version.", 0], []),
    "no guests": ([[REFUSED, 0, 8, "No guests."]], 4005, ["outside", "No guests.", 0], []),
    "no good token": ([[REFUSED, 0, 7, "Sign in."]], 4005, ["outside", "Sign in.", 0], []),
    "revoked": ([[CLOSING, 4006, "Ended."]], 4006, ["outside", "Ended.", 0], []),
    "revoked, no close": ([[CLOSING, 4006, "Ended."]], 1006, ["outside", "Ended.", 0], []),
}


def test_it_comes_back_by_itself_only_when_lost_or_told_when(world: ServerProcess, visit: Visit) -> None:
    """Per break: what the server sends, its close code; the state after it (name, why, wait), and the time-outs set."""
    page = visit(world).page
    for name, (messages, code, last, waits) in BREAKS.items():
        seen = page.evaluate(LINE, {"messages": messages, "code": code, "again": False})
        assert (name, seen) == (name, {"last": last, "waits": waits})


def test_a_session_that_ended_while_another_window_signed_in_is_not_the_end(
    world: ServerProcess, visit: Visit
) -> None:
    messages: list[list[object]] = [[CLOSING, 4006, "Ended."]]
    seen = visit(world).page.evaluate(LINE, {"messages": messages, "code": 4006, "again": True})
    assert (seen["last"][0], len(seen["waits"])) == ("waiting", 1)


def test_who_is_not_let_in_is_told_why_and_has_a_button(visit: Visit) -> None:
    with serving(None, {"SERVER__GUESTS_ALLOWED": "false"}) as server:
        ada = visit(server)
        ada.page.goto(f"{ada.address}#token=none")
        ada.page.reload()
        ada.until("w.state === 'refused'")
        assert ada.page.is_visible("#again")
        assert ada.page.inner_text("#veil-words") != ""
        assert ada.page.is_visible("#entrance")


def test_the_socket_is_where_the_server_says(world: ServerProcess, visit: Visit) -> None:
    ada = visit(world)
    answer = {"game_port": 1, "game_url": world.url, "version": "behind a proxy"}
    ada.page.route("**/client.json", lambda route: route.fulfill(json=answer))
    ada.page.reload()
    ada.enter()


def test_a_server_that_goes_while_the_page_loads_is_waited_for(world: ServerProcess, visit: Visit) -> None:
    ada = visit(world)
    asked: set[str] = set()

    def first_time_away(route: Route) -> None:
        if "painter.js" in asked:
            route.continue_()
        else:
            asked.add("painter.js")
            route.abort("connectionrefused")

    ada.context.route("**/client.json", lambda route: route.abort("connectionrefused"))
    ada.context.route("**/painter.js", first_time_away)
    ada.page.reload(wait_until="commit")
    ada.page.wait_for_selector("#veil", state="visible")
    assert "not answering" in ada.page.inner_text("#veil-title")
    ada.context.unroute("**/client.json")
    ada.enter()
    ada.until("w.stats.chunks.painted > 0")
    assert asked
    assert not ada.page.is_visible("#veil")


def test_a_part_of_the_page_that_does_not_come_is_told_and_loaded_again(
    world: ServerProcess, visit: Visit
) -> None:
    ada = visit(world)
    ada.page.route("**/hud.js", lambda route: route.abort("connectionrefused"))
    ada.page.reload()
    ada.page.wait_for_selector("#failure", state="visible")
    assert "did not load" in ada.page.inner_text("#failure-title")
    ada.page.unroute("**/hud.js")
    ada.page.click("#reload")
    ada.enter()


def test_without_webgl_the_page_says_what_to_do(world: ServerProcess, visit: Visit) -> None:
    page = visit(world).page
    page.add_init_script("HTMLCanvasElement.prototype.getContext = () => null")
    page.reload()
    page.wait_for_selector("#failure", state="visible")
    assert "WebGL 2" in page.inner_text("#failure-words")
