"""The account in the browser client: from guest to account, devices, refused passwords, codes by mail, tokens of two windows."""

import itertools
import json
import re
import secrets
import time
from collections.abc import Iterator
from email import message_from_bytes
from email.policy import default
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, Route

from protocol.errors import RefusalCode
from protocol.messages import AccountRefresh, Refused
from tests.browser.conftest import OUTPUT, Visit, Visitor
from tests.browser.test_land import WIDE, begin_claim, drag, outside, safe
from tests.browser.test_people import hears, moderate, open_card
from tests.harness import POLL_S, Client, ServerProcess, serving

PASSWORD = "seven horses on a roof"
OTHER = "a boat full of lanterns"
WRONG = "not what it is at all"
BIO = "I keep <b>bees</b>."
IDS = itertools.count(1)
# Cheap hashes, and no limit but the lock: how dear a hash is, test_passwords.py looks at.
SETTINGS = {
    "WORLD__SPAWN_RADIUS": 2,
    "ACCOUNTS__ARGON2_MEMORY_KIB": 8,
    "LIMITS__RATES__ACCOUNT__PER_S": 1_000,
    "LIMITS__RATES__ACCOUNT__BURST": 5_000,
}
SESSION = "Object.keys(localStorage).find((key) => key.startsWith('landworld session'))"


@pytest.fixture(scope="module")
def country() -> Iterator[ServerProcess]:
    with serving(None, SETTINGS) as server:
        yield server


def fresh(name: str) -> str:
    return f"{name} {secrets.token_hex(3)}"


def come(visit: Visit, server: ServerProcess) -> Visitor:
    return visit(server, "?hour=11", viewport=WIDE).enter()


def fill(page: Page, form: str, **values: str) -> None:
    """Fills a form in and sends it with Enter, as from the keyboard."""
    for name, value in values.items():
        page.fill(f"#{form}-{name.replace('_', '-')}", value)
    page.keyboard.press("Enter")


def trouble(page: Page, field: str, words: str) -> None:
    """Waits until a field is said to be wrong, in words that hold these."""
    page.locator(f"#{field}-trouble", has_text=words).wait_for(state="visible")


def open_account(visitor: Visitor) -> None:
    visitor.page.click("#account-button")


def register(visitor: Visitor, name: str, email: str = "") -> None:
    """The guest in the world gets an account."""
    open_account(visitor)
    fill(visitor.page, "register", username=name, email=email, new_password=PASSWORD)
    visitor.page.wait_for_selector("#sign-out")
    visitor.until("w.account.signed_in && w.account.role === 'user' && w.me.name === a", name)


def sign_in(visitor: Visitor, name: str, password: str = PASSWORD) -> None:
    """From the view that asks for name and password, into the world."""
    fill(visitor.page, "sign-in", username=name, current_password=password)
    visitor.until("w.state === 'playing' && w.account.signed_in && w.me.name === a", name)


def matter(visitor: Visitor, words: str) -> None:
    """One of the rows of the account."""
    visitor.page.locator("#panel .next:enabled", has_text=words).click()


def at_the_gate(visitor: Visitor, words: str) -> None:
    """Waits until one is outside and told why, and has no line that comes back by itself."""
    visitor.page.locator("#gate", has_text=words).wait_for()
    visitor.until("w.state === 'outside'")
    assert visitor.page.is_hidden("#veil")
    assert visitor.page.evaluate(SESSION) is None


def letter(server: ServerProcess, email: str, seen: int = 0) -> str:
    """The code of the newest of the letters to an address, of which there are more than `seen`."""

    def written() -> list[str]:
        letters = [message_from_bytes(path.read_bytes(), policy=default) for path in _outbox(server)]
        texts = [str(one.get_content()) for one in letters if one["To"] == email]
        return [
            found[0] for text in texts if (found := re.search(r"\b(?:[A-Z2-9]{4}-){2}[A-Z2-9]{4}\b", text))
        ]

    while len(codes := written()) <= seen:
        time.sleep(POLL_S)  # the file comes from another process
    return codes[-1]


def _outbox(server: ServerProcess) -> list[Path]:
    return sorted((server.data / "outbox").glob("*.eml"))


def stored(visitor: Visitor) -> dict[str, Any]:
    """The tokens that the browser keeps."""
    session: dict[str, Any] = json.loads(visitor.page.evaluate(f"localStorage.getItem({SESSION})"))
    return session


def make_stale(page: Page) -> None:
    """The access token is due to be refreshed."""
    page.evaluate(
        f"""() => {{
          const key = {SESSION};
          localStorage.setItem(key, JSON.stringify({{ ...JSON.parse(localStorage.getItem(key)), refresh_ms: 0 }}));
        }}"""
    )


def refresh_elsewhere(server: ServerProcess, token: str, times: int) -> list[RefusalCode | None]:
    """Somebody else uses a refresh token so often; how each time was answered."""

    async def play() -> list[RefusalCode | None]:
        client = await Client.open(server)
        told = [await client.ask(AccountRefresh(next(IDS), token)) for _ in range(times)]
        await client.leave()
        return [one.code if isinstance(one, Refused) else None for one in told]

    answers: list[RefusalCode | None] = outside(play)
    return answers


def test_from_guest_to_account_to_second_device_to_revoked(country: ServerProcess, visit: Visit) -> None:
    """Guards: Tokens.keep(upgraded) for what the guest had, Connection.closed and Tokens.revoked for the gate at the end."""
    ada = come(visit, country)
    ada.walk("d", 2.0)
    begin_claim(ada)
    drag(ada, (-24, 4), (-20, 12))
    ada.page.locator("#quote", has_text="1 plot").wait_for()
    ada.page.locator("#take:enabled").click()
    ada.until("w.land.some((p) => p.owner_id === w.me.id) && w.me.settled")
    safe(ada)
    before = ada.get("[w.me.id, w.me.x, w.me.y, w.wallet.balance]")
    parcel_id = ada.get("w.land.find((p) => p.owner_id === w.me.id).parcel_id")
    name = fresh("Ada")
    register(ada, name)
    assert ada.get("[w.me.id, w.me.x, w.me.y, w.wallet.balance]") == before
    ada.until("w.land.some((p) => p.parcel_id === a[0] && p.owner_name === a[1])", [parcel_id, name])

    ada.page.reload()
    ada.enter()
    ada.until("w.account.signed_in && w.wallet.balance === a", before[3])
    assert ada.get("[w.me.id, w.me.x, w.me.y]") == before[:3]

    device = come(visit, country)
    guest = device.get("w.me")
    open_account(device)
    device.page.click("text=I have an account")
    sign_in(device, name)
    ada.until("w.state === 'replaced'")
    assert device.get("w.me.id") == before[0] != guest["id"]
    open_account(device)
    matter(device, "Devices")
    device.page.locator("#devices li", has_text="This device").wait_for()
    assert device.page.locator("#devices li").count() == 2
    device.page.locator("#devices li button").click()
    device.page.locator("#toasts p", has_text="One device is signed out").wait_for()
    device.page.locator("#devices li").nth(1).wait_for(state="detached")

    ada.page.click("#again")  # which would play here, if it still might
    at_the_gate(ada, "sign in again")
    assert device.get("w.state") == "playing"
    ada.page.click("#as-guest")
    ada.enter()
    assert ada.get("w.account.role") == "guest"

    open_account(device)
    open_account(device)
    device.page.click("#sign-out")
    at_the_gate(device, "You are signed out")
    device.page.click("#as-guest")
    device.until("w.state === 'playing' && w.me.id === a", guest["id"])  # the guest that was there before


def test_a_live_session_that_is_ended_elsewhere_is_told_why_and_stays_outside(
    country: ServerProcess, visit: Visit
) -> None:
    """Guard: CloseCode.REVOKED in Connection.closed; without it the line comes back by itself."""
    brix = come(visit, country)
    register(brix, fresh("Brix"))
    token = stored(brix)["refresh_token"]
    assert refresh_elsewhere(country, token, 2) == [None, RefusalCode.TOKEN_REUSED]
    at_the_gate(brix, "has ended; sign in again")
    assert brix.page.is_visible("#sign-in")


def test_a_token_that_somebody_else_used_signs_out_with_a_clear_word(
    country: ServerProcess, visit: Visit
) -> None:
    """Guard: Tokens.fresh forgets the session; OUTSIDE in connection.js."""
    cleo = come(visit, country)
    register(cleo, fresh("Cleo"))
    make_stale(cleo.page)
    cleo.page.goto("about:blank")
    token = cleo.context.storage_state()["origins"][0]["localStorage"]
    session = next(json.loads(one["value"]) for one in token if one["name"].startswith("landworld session"))
    assert refresh_elsewhere(country, session["refresh_token"], 1) == [None]
    cleo.page.goto(cleo.address)
    at_the_gate(cleo, "from two places at once")


REFRESH = """
async (url) => {
  const { Tokens } = await import("/tokens.js");
  const { errand } = await import("/errand.js");
  const slowly = async (...asked) => {
    await new Promise((resolve) => setTimeout(resolve, 500));
    return errand(url, ...asked);
  };
  const tokens = new Tokens(url, null, {});
  window.refreshed = tokens.fresh(slowly).then(({ access_token }) => access_token, ({ message }) => message);
}
"""


@pytest.mark.parametrize("locks", ["Web Locks", "a note"])
def test_two_windows_do_not_burn_each_others_token(country: ServerProcess, visit: Visit, locks: str) -> None:
    """Guard: exclusively() in Tokens.fresh, by either way of lock.js. Each window asks half a second after it has looked."""
    dora = come(visit, country)
    register(dora, fresh("Dora"))
    old = stored(dora)
    pages = [dora.page, dora.new_page()]
    pages[1].wait_for_function("window.landworld?.state === 'playing'")
    for page in pages:
        if locks == "a note":
            page.evaluate("Object.defineProperty(navigator, 'locks', { value: undefined })")
    make_stale(dora.page)
    for page in pages:
        page.evaluate(REFRESH, country.url)
    first, second = (page.evaluate("window.refreshed") for page in pages)
    assert first == second == stored(dora)["access_token"] != old["access_token"]
    dora.page.reload()
    dora.until("w.state === 'playing' && w.account.signed_in")


LAGS = """
() => {
  const { getItem } = Storage.prototype;
  const before = new Map(Object.entries(localStorage));
  Storage.prototype.getItem = function (key) { return before.get(key) ?? getItem.call(this, key); };
}
"""


def test_a_window_whose_storage_lags_behind_the_lock_does_not_use_a_token_again(
    country: ServerProcess, visit: Visit
) -> None:
    """Guard: Tokens.newest; what another window stored may come later than the lock."""
    finn = come(visit, country)
    register(finn, fresh("Finn"))
    other = finn.new_page()
    other.wait_for_function("window.landworld?.state === 'playing'")
    make_stale(finn.page)
    other.wait_for_function(f"JSON.parse(localStorage.getItem({SESSION})).refresh_ms === 0")
    other.evaluate(LAGS)
    finn.page.evaluate(REFRESH, country.url)
    first = finn.page.evaluate("window.refreshed")
    other.evaluate(REFRESH, country.url)
    assert other.evaluate("window.refreshed") == first == stored(finn)["access_token"]


def test_a_token_is_refreshed_while_one_plays_and_on_coming_back(
    country: ServerProcess, visit: Visit
) -> None:
    """Guards: Tokens.watch, and Tokens.hello for the way back."""
    eve = come(visit, country)
    register(eve, fresh("Eve"))
    first = stored(eve)

    def sooner(route: Route) -> None:
        text = route.fetch().text()
        assert "USED_SHARE = 0.8" in text
        route.fulfill(
            content_type="text/javascript", body=text.replace("USED_SHARE = 0.8", "USED_SHARE = 0.0005")
        )

    eve.context.route("**/tokens.js", sooner)  # 1.8 s before the first, 58 minutes before the last moment
    make_stale(eve.page)
    eve.page.reload()
    eve.until("w.state === 'playing' && w.account.signed_in")
    second = stored(eve)
    assert second["access_token"] != first["access_token"]
    eve.page.wait_for_function(
        f"a => JSON.parse(localStorage.getItem({SESSION})).access_token !== a", arg=second["access_token"]
    )
    assert eve.get("w.state") == "playing"


def test_a_refusal_stands_beside_its_field_and_a_locked_name_is_counted_down(
    country: ServerProcess, visit: Visit
) -> None:
    """Guard: Trouble.say counts and lets the button rest."""
    finn = come(visit, country)
    page = finn.page
    name = fresh("Finn")
    open_account(finn)
    fill(page, "register", username=name, email="nowhere", new_password=PASSWORD)
    page.locator("#register-email-trouble").wait_for(state="visible")
    fill(page, "register", email="", new_password="passwordpassword")
    trouble(page, "register-new-password", "take some words")
    fill(page, "register", new_password=PASSWORD)
    page.wait_for_selector("#sign-out")
    page.click("#sign-out")
    at_the_gate(finn, "You are signed out")
    for _ in range(5):
        fill(page, "sign-in", username=name, current_password=WRONG)
        trouble(page, "sign-in-current-password", "no such name with this password")
    fill(page, "sign-in", current_password=PASSWORD)
    trouble(page, "sign-in-current-password", "Too many wrong passwords")
    trouble(page, "sign-in-current-password", "Again in 14 min")
    assert page.locator("#sign-in button[type=submit]").is_disabled()
    page.click("text=Make an account")
    fill(page, "register", username=name.upper(), new_password=OTHER)
    trouble(page, "register-username", "choose another name")


def test_an_address_is_confirmed_and_a_forgotten_password_set_anew_by_a_code(
    country: ServerProcess, visit: Visit
) -> None:
    gwen = come(visit, country)
    page = gwen.page
    name, email = fresh("Gwen"), f"{secrets.token_hex(4)}@example.org"
    register(gwen, name, email)
    matter(gwen, "E-mail")
    page.click("#send-code")
    code = letter(country, email)
    fill(page, "confirm", code="AAAA-BBBB-CCCC")
    trouble(page, "confirm-code", "wrong")
    fill(page, "confirm", code=code)
    page.locator("#email-now", has_text="confirmed: a forgotten").wait_for()
    page.click("#back")
    page.click("#sign-out")
    at_the_gate(gwen, "You are signed out")
    page.click("text=I forgot my password")
    fill(page, "ask-code", email=email)
    page.wait_for_selector("#give-code")
    code = letter(country, email, seen=1)
    fill(page, "give-code", code=code, new_password="short")
    trouble(page, "give-code-new-password", "12 to 128")
    fill(page, "give-code", new_password=OTHER)
    page.locator("#signing-words", has_text="The new password is set").wait_for()
    fill(page, "sign-in", username=name, current_password=PASSWORD)
    trouble(page, "sign-in-current-password", "no such name")
    sign_in(gwen, name, OTHER)


def test_who_signs_up_with_an_address_is_told_of_the_code_and_finds_where_to_give_it(
    country: ServerProcess, visit: Visit
) -> None:
    """Guard: signedIn in main.js, Account.drawEmail."""
    hal = come(visit, country)
    email = f"{secrets.token_hex(4)}@example.org"
    open_account(hal)
    fill(hal.page, "register", username=fresh("Hal"), email=email, new_password=PASSWORD)
    told = f"A code went to {email}; give it under Account, E-mail."
    hal.page.locator("#toasts p", has_text=told).wait_for()
    matter(hal, "E-mail")
    assert "not confirmed" in hal.page.inner_text("#email-now")
    hal.page.wait_for_selector("#confirm-code")


def test_how_many_devices_are_signed_out_is_said_right(country: ServerProcess, visit: Visit) -> None:
    said = visit(country).page.evaluate(
        "async () => { const { endedText } = await import('/account.js'); return [0, 1, 3].map(endedText); }"
    )
    assert said == [
        "No device had to be signed out.",
        "One device is signed out.",
        "3 devices are signed out.",
    ]


def test_a_world_without_guests_asks_to_sign_in_before_it_is_entered(visit: Visit) -> None:
    """Guard: OUTSIDE in connection.js; all is asked before the hello."""
    with serving(None, {**SETTINGS, "SERVER__GUESTS_ALLOWED": "false"}) as server:
        hugo = visit(server, viewport=WIDE)
        at_the_gate(hugo, "Sign in to enter")
        assert hugo.page.locator("#as-guest").count() == 0
        assert hugo.page.evaluate("document.activeElement.id") == "sign-in-username"
        hugo.page.click("text=Make an account")
        name = fresh("Hugo")
        fill(hugo.page, "register", username=name, new_password=PASSWORD)
        hugo.enter()
        assert hugo.get("[w.me.name, w.account.role]") == [name, "user"]
        hugo.page.reload()
        hugo.enter()
        assert hugo.get("w.me.name") == name


def test_name_look_and_words_are_changed_and_others_see_them(country: ServerProcess, visit: Visit) -> None:
    """Guard: People.about, which puts nothing in as HTML."""
    iris, juno = come(visit, country), come(visit, country)
    register(iris, fresh("Iris"))
    matter(iris, "Profile")
    name = fresh("Iris")
    iris.page.locator(".choices label[title='Curls']").click()
    fill(iris.page, "profile", bio=BIO, name=name)
    iris.page.wait_for_selector("#sign-out")
    juno.until("w.entities.some((one) => one.name === a)", name)
    assert iris.get("w.me.name") == name
    assert BIO in iris.page.inner_text("#panel")
    OUTPUT.mkdir(exist_ok=True)
    iris.page.screenshot(path=OUTPUT / "browser-account.png")

    moderate(country, "role", name, "moderator", "--reason", "keeps the peace")
    iris.page.click("#panel-close")
    iris.say("good morning")
    hears(juno, "good morning")
    open_card(juno, iris)
    juno.page.locator("#bio", has_text=BIO).wait_for()
    assert juno.page.inner_text("#panel .badge") == "Moderator"
    assert juno.page.is_visible("#panel .self canvas")


def test_password_copy_and_deletion(country: ServerProcess, visit: Visit) -> None:
    kim = come(visit, country)
    page = kim.page
    name = fresh("Kim")
    register(kim, name)
    matter(kim, "Password")
    fill(page, "change-password", current_password=WRONG, new_password=OTHER)
    trouble(page, "change-password-current-password", "not your password")
    fill(page, "change-password", current_password=PASSWORD, new_password=OTHER)
    page.wait_for_selector("#sign-out")
    matter(kim, "Your data")
    with page.expect_download() as download:
        page.click("#save-copy")
    copy = json.loads(Path(download.value.path()).read_text())
    assert name in json.dumps(copy)
    fill(page, "delete", current_password=PASSWORD)
    trouble(page, "delete-current-password", "not your password")
    fill(page, "delete", current_password=OTHER)
    at_the_gate(kim, "Your account is deleted")
    fill(page, "sign-in", username=name, current_password=OTHER)
    trouble(page, "sign-in-current-password", "no such name")
