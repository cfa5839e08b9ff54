"""Land, building and money in the browser client: done by hand on one page, seen on another."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from operator import sub
from typing import Any

import pytest

from protocol.edits import TILE_EDIT, pack
from protocol.messages import (
    ClientMessage,
    LandAbandon,
    LandClaim,
    LandClaimed,
    LandOpen,
    LandTransfer,
    MarketBuy,
    MarketEdit,
    MarketList,
    Ok,
    SaleEnd,
    Standing,
    TileEdit,
)
from tests.browser.conftest import Visit, Visitor
from tests.harness import Client, ServerProcess, serving
from tools.owners import owner_hue
from world.tiles import Build

WIDE = {"width": 820, "height": 560}  # a desk's width: the panel stands beside the map
SIDE = 16  # of a plot
STRIDE = 0.2  # tiles a tick
MINE = f"p.standing === {Standing.OWNER.value}"
GRANT = 100_000_00


@pytest.fixture(scope="module")
def country() -> Iterator[ServerProcess]:
    """A server where everybody begins in the middle, rich enough for a dozen plots."""
    with serving(None, {"WORLD__SPAWN_RADIUS": 2, "ECONOMY__STARTING_GRANT": GRANT}) as server:
        yield server


def outside(play: Callable[[], Awaitable[Any]]) -> Any:
    """Something a client of the harness does; in a thread, for playwright has a loop in this one."""

    async def run() -> Any:
        return await play()

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, run()).result()


async def done(client: Client, request: Callable[[int, bytes], ClientMessage]) -> dict[str, Any]:
    """The result of a durable request that must succeed."""
    answer = await client.ask(request(next(client.ids), os.urandom(16)))
    assert isinstance(answer, Ok), answer
    result: dict[str, Any] = answer.result
    return result


def claimed(server: ServerProcess, name: str, x: int, y: int, *, closed: bool = False) -> int:
    """A plot that somebody claimed before; the parcel_id."""

    async def play() -> int:
        owner = await Client.join(server, server.token(name))
        result = await done(owner, lambda number, action: LandClaim(number, action, x, y, SIDE, SIDE))
        parcel_id: int = result["parcel_id"]
        if closed:
            await done(owner, lambda number, action: LandOpen(number, action, parcel_id, False, False))
        await owner.leave()
        return parcel_id

    found: int = outside(play)
    return found


def freed(server: ServerProcess, name: str, parcel_id: int) -> None:
    """Gives a plot up that would be in the way of others' claims."""

    async def play() -> None:
        owner = await Client.join(server, server.token(name))
        await done(owner, lambda number, action: LandAbandon(number, action, parcel_id))
        await owner.leave()

    outside(play)


def come(visit: Visit, server: ServerProcess, name: str) -> Visitor:
    return visit(server, f"#token={server.token(name)}", viewport=WIDE).enter()


def drag(visitor: Visitor, start: tuple[float, float], end: tuple[float, float]) -> None:
    """With the mouse, from one place of the world to another."""
    visitor.until("w.still")
    for place, then in ((start, visitor.page.mouse.down), (end, visitor.page.mouse.up)):
        where = visitor.get("w.toScreen(...a)", place)
        visitor.page.mouse.move(where["x"], where["y"], steps=5)
        then()


def overview(visitor: Visitor) -> None:
    """The land panel with its lists; who stands on somebody's land sees that parcel first."""
    visitor.page.keyboard.press("p")
    visitor.page.locator("#claim, #all-land").wait_for()
    if visitor.page.is_visible("#all-land"):
        visitor.page.click("#all-land")


def begin_claim(visitor: Visitor) -> None:
    """In the land panel, the choosing of plots."""
    overview(visitor)
    visitor.page.click("#claim")


def knows(visitor: Visitor, parcel_id: int, condition: str) -> None:
    """Waits until the page knows a parcel `p` for which something holds."""
    visitor.until(f"w.land.some((p) => p.parcel_id === a && {condition})", parcel_id)


def safe(visitor: Visitor) -> None:
    """Waits until all that was done is stored."""
    visitor.until("w.actions === 0")
    visitor.page.locator("#deeds", has_text="Safe").wait_for()


def test_plots_are_claimed_by_dragging_and_others_see_whose_they_are(
    country: ServerProcess, visit: Visit
) -> None:
    ada, brix = come(visit, country, "Ada"), come(visit, country, "Brix")
    begin_claim(ada)
    drag(ada, (-24, 4), (-4, 12))
    ada.page.locator("#quote", has_text="16 tiles, 2 plots").wait_for()
    ada.page.locator("#take:enabled").click()
    ada.until("w.land.some((p) => p.owner_id === w.me.id)")
    safe(ada)
    parcel = ada.get("w.land.find((p) => p.owner_id === w.me.id)")
    assert [parcel[side] for side in ("x", "y", "width", "height")] == [-32, 0, 32, 16]
    knows(brix, parcel["parcel_id"], "p.owner_name === 'Ada' && p.standing === 0")
    begin_claim(brix)
    drag(brix, (-20, 4), (-20, 4))
    brix.page.locator("#why", has_text="Ada").wait_for()
    assert brix.page.locator("#take").is_disabled()


def test_what_is_built_is_seen_by_others_and_a_stroke_is_taken_back_at_once(
    country: ServerProcess, visit: Visit
) -> None:
    """Guard: Builder.strokes; a drag goes in several edits."""
    claimed(country, "Cleo", 0, -16)
    cleo, dora = come(visit, country, "Cleo"), come(visit, country, "Dora")
    knows(cleo, cleo.get("w.land.find((p) => p.owner_id === w.me.id).parcel_id"), MINE)
    cleo.page.keyboard.press("b")
    cleo.page.click(f"[data-kind='{Build.HEDGE.value}']")
    drag(cleo, (3.5, -4.5), (6.5, -4.5))
    for page in (cleo, dora):
        page.until("[3, 4, 5, 6].every((x) => w.at(x + 0.5, -4.5).built === a)", Build.HEDGE.value)
    safe(cleo)
    cleo.until("w.ghosts === 0")
    dora.page.keyboard.press("b")
    drag(dora, (4.5, -2.5), (5.5, -2.5))
    dora.page.locator("#toasts p", has_text="may build here; ask Cleo").wait_for()
    assert dora.get("w.actions") == dora.get("w.ghosts") == 0
    cleo.page.keyboard.press("Control+z")
    for page in (cleo, dora):
        page.until("[3, 4, 5, 6].every((x) => w.at(x + 0.5, -4.5).built === 0)")


def test_land_is_sold_by_one_and_bought_by_another(country: ServerProcess, visit: Visit) -> None:
    parcel_id = claimed(country, "Emil", -16, -16)
    emil, fay = come(visit, country, "Emil"), come(visit, country, "Fay")
    knows(emil, parcel_id, MINE)
    before = emil.get("w.wallet.balance")
    show(emil, (-0.7, -0.7))
    emil.page.click("#selling-title")
    emil.page.fill("[name=price]", "1,250.50")
    emil.page.select_option("[name=stands]", label="7 days")
    emil.page.check("[name=keep]")
    emil.page.keyboard.press("Enter")
    knows(fay, parcel_id, "p.listing?.price === 125050 && p.listing.keep_permits && p.listing.ends_ms > 0")
    fee = fay.get("w.land.find((p) => p.parcel_id === a).listing.fee", parcel_id)
    emil.page.locator("#panel dd", has_text=amount(125_050 - fee)).wait_for()
    assert emil.page.is_visible("#bound")
    assert not emil.page.is_visible("#leaving-title")
    safe(emil)
    overview(fay)
    offer = fay.page.locator("#land_for_sale button", has_text="1,250.50 BDT, of Emil")
    offer.filter(has_text="16 tiles, 1 plot").filter(has_text="ends in 6 days 23 hours").wait_for()
    offer.click()
    fay.page.locator("#buy", has_text="Buy for 1,250.50 BDT").click()
    fay.page.locator("#buy.armed", has_text="you pay 1,250.50 BDT").click()
    fay.page.locator("#toasts p", has_text="is yours: you paid 1,250.50 BDT").wait_for()
    emil.page.locator("#toasts p", has_text="Fay bought Parcel").wait_for()
    knows(emil, parcel_id, "p.owner_name === 'Fay' && p.standing === 0 && p.listing === null")
    emil.until("w.wallet.balance === a", before + 125_050 - fee)
    fay.until("w.wallet.balance === a", GRANT - 125_050)
    safe(fay)
    emil.page.keyboard.press("m")
    emil.page.locator("#statement li", has_text="Land sold, less the fee").wait_for()
    fay.page.keyboard.press("m")
    bought = fay.page.locator("#statement li", has_text="Land bought")
    with fay.page.expect_download() as download:
        bought.locator(".receipt").click()
    assert "is as it was signed" in country.command("receipt", str(download.value.path()))
    assert fay.page.locator("#statement li").all_inner_texts()[-1].startswith("Starting grant")
    assert fay.page.inner_text("#balance").startswith("98,749")


def amount(poisha: int) -> str:
    """As the client writes it."""
    return f"{poisha / 100:,.2f}"


def far_away(server: ServerProcess, name: str, price: int) -> int:
    """A plot out of sight of everybody that somebody claimed and put up for sale; the listing_id."""

    async def play() -> int:
        owner = await Client.join(server, server.token(name))
        result = await done(owner, partial(LandClaim, x=-20 * SIDE, y=0, width=SIDE, height=SIDE))
        listed = await done(owner, partial(MarketList, parcel_id=result["parcel_id"], price=price))
        await owner.leave()
        listing_id: int = listed["listing_id"]
        return listing_id

    found: int = outside(play)
    return found


def by(
    server: ServerProcess, name: str, *requests: Callable[[int, bytes], ClientMessage]
) -> list[dict[str, Any]]:
    """What somebody does who comes for that; the results."""

    async def play() -> list[dict[str, Any]]:
        client = await Client.join(server, server.token(name))
        results = [await done(client, request) for request in requests]
        await client.leave()
        return results

    found: list[dict[str, Any]] = outside(play)
    return found


def begins_with(visitor: Visitor, name: str, value: str) -> None:
    """Waits until a field shows what it began with: what was typed into it is done."""
    script = "([name, value]) => document.querySelector(`#selling [name=${name}]`)?.value === value"
    visitor.page.wait_for_function(script, arg=[name, value])


def press_buy(visitor: Visitor, price: str) -> None:
    visitor.page.locator("#buy", has_text=f"Buy for {price} BDT").click()
    visitor.page.locator("#buy.armed", has_text=f"you pay {price} BDT").click()


def test_who_buys_what_was_edited_meanwhile_reads_why_not_beside_what_it_is_now(
    country: ServerProcess, visit: Visit
) -> None:
    """Guards: LandPanel.notSold looks again, for nobody tells of what is out of sight."""
    listing_id = far_away(country, "Tess", 40_000)
    uri = come(visit, country, "Uri")
    overview(uri)
    uri.page.locator("#land_for_sale button", has_text="400.00 BDT, of Tess").click()
    uri.page.locator("#panel dd", has_text="when it is sold").wait_for()
    by(country, "Tess", partial(MarketEdit, listing_id=listing_id, price=45_000))
    press_buy(uri, "400.00")
    uri.page.locator("#not-bought", has_text="costs 450 BDT now").wait_for()
    assert uri.get("w.wallet.balance") in (0, GRANT)
    press_buy(uri, "450.00")
    uri.page.locator(".owner", has_text="Yours").wait_for()
    assert not uri.page.is_visible("#not-bought")
    safe(uri)


def test_who_buys_what_was_built_on_meanwhile_can_once_the_seller_has_looked(
    country: ServerProcess, visit: Visit
) -> None:
    """Guard: LandPanel.refused holds until the listing is another, for a land panel is drawn anew all the time."""
    parcel_id = claimed(country, "Vera", -32, 16)
    (listed,) = by(country, "Vera", partial(MarketList, parcel_id=parcel_id, price=40_000))
    will = come(visit, country, "Will")
    knows(will, parcel_id, "p.listing?.price === 40000")
    overview(will)
    will.page.locator("#land_for_sale button", has_text="400.00 BDT, of Vera").click()
    edits = pack([(-31, 17, Build.FLOOR.value)], TILE_EDIT)
    by(country, "Vera", lambda number, action: TileEdit(number, action, edits))
    press_buy(will, "400.00")
    trouble = will.page.locator("#not-bought", has_text="Vera must edit the listing first")
    trouble.wait_for()
    seq = will.get("w.land.find((p) => p.parcel_id === a).listing.seq", parcel_id)
    by(country, "Vera", partial(MarketEdit, listing_id=listed["listing_id"], price=40_000))
    knows(will, parcel_id, f"p.listing?.seq > {seq}")
    trouble.wait_for(state="detached")
    press_buy(will, "400.00")
    will.page.locator(".owner", has_text="Yours").wait_for()
    safe(will)


def test_a_listing_is_changed_and_taken_back_by_its_seller(country: ServerProcess, visit: Visit) -> None:
    """Guard: Panel.settle, without which the next form begins with what was sent by the one before."""
    parcel_id = claimed(country, "Xena", -32, -16)
    xena, yuri = come(visit, country, "Xena"), come(visit, country, "Yuri")
    for one in (xena, yuri):
        knows(one, parcel_id, "p.listing === null")
        overview(one)
    xena.page.click("#land_mine button")
    xena.page.click("#selling-title")
    xena.page.fill("[name=price]", "0.01")
    xena.page.keyboard.press("Enter")
    xena.page.locator("#toasts p", has_text="at least").wait_for()
    xena.page.fill("[name=price]", "500")
    xena.page.keyboard.press("Enter")
    row = yuri.page.locator("#land_for_sale button", has_text="of Xena")
    row.filter(has_text="500.00 BDT").filter(has_text="ends when it is sold").wait_for()
    xena.page.locator("#take-back").wait_for()
    begins_with(xena, "price", "500.00")
    xena.page.fill("[name=price]", "450")
    xena.page.select_option("[name=stands]", label="1 day")
    xena.page.locator("#selling button", has_text="Save").click()
    row.filter(has_text="450.00 BDT").filter(has_text="ends in 23 hours").wait_for()
    begins_with(xena, "stands", "")
    xena.page.click("#take-back")
    row.wait_for(state="detached")
    knows(yuri, parcel_id, "p.listing === null && p.owner_name === 'Xena'")
    xena.page.locator("#leaving-title").wait_for()
    begins_with(xena, "price", "")
    safe(xena)
    freed(country, "Xena", parcel_id)


def show(visitor: Visitor, place: tuple[float, float]) -> None:
    """Opens the panel of the parcel at a place, as the other mouse button does."""
    visitor.until(
        "w.land.some((p) => a[0] >= p.x && a[0] < p.x + p.width && a[1] >= p.y && a[1] < p.y + p.height) && w.still",
        place,
    )
    where = visitor.get("w.toScreen(...a)", place)
    visitor.page.mouse.click(where["x"], where["y"], button="right")
    visitor.page.wait_for_selector("#all-land")


def given(server: ServerProcess, giver: str, heir: str, count: int) -> None:
    """So many plots out of sight that somebody claimed and gave to somebody who was here once and is not now."""

    async def play() -> None:
        away = await Client.join(server, server.token(heir))
        await away.leave()
        owner = await Client.join(server, server.token(giver))
        gifts = 0
        for x in range(20 * SIDE, 200 * SIDE, 2 * SIDE):
            claimed = await owner.ask(LandClaim(next(owner.ids), os.urandom(16), x, 0, SIDE, SIDE))
            if isinstance(claimed, Ok):  # there is no land where all is water
                transfer = partial(LandTransfer, parcel_id=claimed.result["parcel_id"], to=away.player_id)
                await done(owner, transfer)
                gifts += 1
            if gifts == count:
                break
        await owner.leave()

    outside(play)


def test_who_was_away_finds_gifts_takes_one_and_declines_one(country: ServerProcess, visit: Visit) -> None:
    """Guards: LandPanel.enter and Estate.showGifts, which tell of gifts; LandPanel.mine, which tells them from one's own."""
    given(country, "Nell", "Otto", 2)
    otto = come(visit, country, "Otto")
    otto.page.locator("#land-button.news").wait_for()
    overview(otto)
    gifts, mine = otto.page.locator("#gifts button"), otto.page.locator("#land_mine button")
    gifts.nth(1).wait_for()
    assert (gifts.count(), mine.count()) == (2, 0)
    gifts.first.click()
    otto.page.click("#take")
    otto.page.locator(".owner", has_text="Yours").wait_for()
    otto.page.click("#all-land")
    mine.first.wait_for()
    assert (gifts.count(), mine.count()) == (1, 1)
    gifts.first.click()
    otto.page.click("#decline")
    gifts.first.wait_for(state="detached")
    otto.page.wait_for_selector("#land-button:not(.news)")
    assert mine.count() == 1
    safe(otto)


def test_a_gift_is_told_to_who_is_here(country: ServerProcess, visit: Visit) -> None:
    """Guards: Land.changed tells Estate of what is given to me; LandPanel.act looks again at what is known and not in sight."""
    parcel_id = claimed(country, "Pia", -32, 48)
    pia, quin = come(visit, country, "Pia"), come(visit, country, "Quin")
    knows(pia, parcel_id, MINE)
    overview(pia)
    pia.page.click("#land_mine button")
    pia.page.click("#leaving-title")
    pia.page.fill("[name=heir]", "Quin")
    pia.page.keyboard.press("Enter")
    quin.page.locator("#toasts p", has_text="Pia gives you").wait_for()
    quin.page.locator("#land-button.news").wait_for()
    pia.page.click("#keep")
    pia.page.locator("#keep").wait_for(state="detached")
    overview(quin)
    quin.page.wait_for_selector("#land-button:not(.news)")


def test_a_way_is_drawn_granted_and_taken_back(country: ServerProcess, visit: Visit) -> None:
    """Guard: PlotsTool.nearest keeps the way within the parcel, however far one draws."""

    async def play() -> int:
        owner = await Client.join(country, country.token("Rosa"))
        result = await done(owner, lambda number, action: LandClaim(number, action, 16, -32, SIDE, 2 * SIDE))
        parcel_id: int = result["parcel_id"]
        await done(owner, lambda number, action: LandOpen(number, action, parcel_id, False, False))
        await owner.leave()
        return parcel_id

    parcel_id = outside(play)
    rosa, sven = come(visit, country, "Rosa"), come(visit, country, "Sven")
    for one in (rosa, sven):
        knows(one, parcel_id, "p.way === null")
    overview(rosa)
    rosa.page.click("#land_mine button")
    rosa.page.click("#shaping-title")
    rosa.page.click("#ease")
    for _ in range(8):
        rosa.page.keyboard.press("Minus")
    drag(rosa, (20, -8), (12, -8))
    chosen = rosa.page.locator("#way")
    chosen.filter(has_text="tiles, 1 plot").wait_for()
    for key in ("Shift+ArrowUp", "Shift+ArrowUp", "Shift+ArrowRight"):
        rosa.page.keyboard.press(key)
    chosen.filter(has_text="tiles, 2 plots").wait_for()
    drag(rosa, (20, -8), (20, -8))
    chosen.filter(has_text="tiles, 1 plot").wait_for()
    rosa.page.click("#grant")
    way = "p.way?.x === 16 && p.way.y === -16 && p.way.width === 16 && p.way.height === 16"
    for one in (rosa, sven):
        knows(one, parcel_id, way)
    safe(rosa)
    rosa.page.click("#shaping-title")
    rosa.page.click("#no-way")
    knows(sven, parcel_id, "p.way === null")


def test_land_is_let_rented_and_left(country: ServerProcess, visit: Visit) -> None:
    parcel_id = claimed(country, "Lea", -16, 16)
    lea, max_ = come(visit, country, "Lea"), come(visit, country, "Max")
    overview(lea)
    lea.page.click("#land_mine button")
    lea.page.click("#letting-title")
    for name, value in (("rent", "12.50"), ("days", "7"), ("deposit", "50")):
        lea.page.fill(f"[name={name}]", value)
    lea.page.keyboard.press("Enter")
    knows(max_, parcel_id, "p.to_let?.rent === 1250 && p.to_let.renewable")
    overview(max_)
    max_.page.locator("#land_to_let button", has_text="12.50 BDT for 7 days, of Lea").wait_for()
    max_.page.locator("#land_to_let button", has_text="12.50 BDT for 7 days, of Lea").click()
    max_.page.locator("#rent", has_text="12.50 BDT").click()
    max_.page.locator("#rent.armed", has_text="you pay 62.50 BDT").click()
    knows(max_, parcel_id, "p.lease?.tenant_id === w.me.id && p.standing === 4")
    knows(lea, parcel_id, "p.lease?.tenant_name === 'Max' && p.standing === 0")
    max_.until("w.wallet.held === 5000 && w.wallet.balance === a", GRANT - 1_250 - 5_000)
    notice = max_.page.locator(".grave", has_text="Give notice")
    notice.click()
    max_.page.locator(".grave.armed").click()
    knows(lea, parcel_id, "p.lease?.leaving")
    safe(max_)


RECORD = """
() => {
  window.places = [];
  const look = () => {
    window.places.push(window.landworld.me.x);
    requestAnimationFrame(look);
  };
  look();
}
"""


def test_closed_land_stops_a_walker_at_once_and_lets_in_who_may(country: ServerProcess, visit: Visit) -> None:
    """Guard: Prediction asks Land.gateAt; without it the walker goes in and is put back by the server."""
    parcel_id = claimed(country, "Gwen", 16, 0, closed=True)
    hal, gwen = come(visit, country, "Hal"), come(visit, country, "Gwen")
    knows(hal, parcel_id, "!p.open_enter")
    hal.walk("s", 3)
    hal.page.keyboard.down("d")
    hal.page.evaluate(RECORD)
    hal.page.locator("#toasts p", has_text="Gwen").wait_for()
    hal.until("places.length > 20 && places.at(-1) === places.at(-10)")
    places = hal.page.evaluate("places")
    hal.page.keyboard.up("d")
    assert 15.5 < max(places) < 16
    assert max(map(sub, places, places[1:])) < STRIDE  # never put back further than a step
    overview(gwen)
    gwen.page.click("#land_mine button")
    gwen.page.click("#opening-title")
    gwen.page.fill("[name=player]", "Hal")
    gwen.page.keyboard.press("Enter")
    gwen.page.locator("#permits li", has_text="Hal").wait_for()
    knows(hal, parcel_id, "p.standing === 1")
    hal.walk("d", 2)
    hal.until("w.me.x > 16.5 && w.me.settled")


DEAF = """
const Socket = window.WebSocket;
window.lines = [];
window.WebSocket = class extends Socket {
  constructor(...given) {
    super(...given);
    window.lines.push(this);
  }
  set onmessage(take) {
    super.onmessage = (event) => window.deaf || take(event);
  }
};
"""


def deafen(visit: Visit, server: ServerProcess, name: str) -> Visitor:
    """Somebody whose page hears nothing while `window.deaf`."""
    visitor = visit(server, viewport=WIDE)
    visitor.page.add_init_script(DEAF)
    visitor.page.goto(f"http://127.0.0.1:{server.http_port}/#token={server.token(name)}")
    visitor.page.reload()
    return visitor.enter()


def test_what_land_costs_is_asked_again_when_the_answer_was_none(
    country: ServerProcess, visit: Visit
) -> None:
    """Guard: againMs in LandPanel.chosen; a server that was busy for a moment made "Not here" of good land, for ever."""
    ivy = deafen(visit, country, "Ivy")
    begin_claim(ivy)
    ivy.page.evaluate("window.deaf = true")
    drag(ivy, (-8, -24), (-8, -24))
    assert ivy.page.inner_text("#quote").startswith("…")
    ivy.page.evaluate("window.lines.at(-1).close(); window.deaf = false")
    ivy.page.locator("#take:enabled").wait_for()


def test_what_was_not_answered_when_the_line_broke_is_sent_again_and_done_once(
    country: ServerProcess, visit: Visit
) -> None:
    """Guard: Actions keeps the action_id; with a new one each time, the claim is refused as taken."""
    ivy = deafen(visit, country, "Ivy")
    begin_claim(ivy)
    drag(ivy, (-8, -24), (-8, -24))
    take = ivy.page.locator("#take:enabled")
    take.wait_for()

    here: Future[None] = Future()

    async def play() -> None:
        witness = await Client.join(country)
        here.set_result(None)
        await witness.wait(LandClaimed, lambda message: message.parcel.owner_name == "Ivy")
        await witness.leave()

    with ThreadPoolExecutor(1) as pool:
        seen = pool.submit(asyncio.run, play())
        here.result()
        ivy.page.evaluate("window.deaf = true")
        take.click()
        seen.result()
    assert ivy.page.inner_text("#deeds").strip() == "Sending…"
    ivy.page.evaluate("window.lines.at(-1).close(); window.deaf = false")
    safe(ivy)
    ivy.until("w.land.filter((p) => p.owner_id === w.me.id).length === 1")
    ivy.page.keyboard.press("m")
    ivy.page.locator("#statement li", has_text="Land claimed").wait_for()
    assert ivy.page.locator("#statement li").count() == 2  # the grant, and one claim


def test_a_statement_goes_on_page_by_page(country: ServerProcess, visit: Visit) -> None:
    rounds = 26

    async def play() -> None:
        jon, kim = [await Client.join(country, country.token(name)) for name in ("Jon", "Kim")]
        found = await done(jon, lambda number, action: LandClaim(number, action, 0, 32, SIDE, SIDE))
        parcel_id: int = found["parcel_id"]
        for turn in range(2 * rounds):
            seller, buyer = (jon, kim) if turn % 2 == 0 else (kim, jon)
            listed = await done(seller, partial(MarketList, parcel_id=parcel_id, price=10_000))
            await done(buyer, partial(MarketBuy, listing_id=listed["listing_id"], price=10_000))
        for one in (jon, kim):
            await one.leave()

    outside(play)
    jon = come(visit, country, "Jon")
    jon.page.keyboard.press("m")
    jon.page.locator("#statement li", has_text="Land sold").first.wait_for()
    jon.page.click("#older")
    jon.until("w.wallet.postings.length === a", 2 * rounds + 2)
    assert jon.page.locator("#statement li").all_inner_texts()[-1].startswith("Starting grant")
    assert not jon.page.is_visible("#older")


LAND = """
async () => {
  const { Land } = await import("/land.js");
  const answers = [];
  const asked = [];
  const connection = { request: (name, fields) => new Promise((resolve) => { asked.push(fields); answers.push(resolve); }) };
  const settled = () => new Promise((resolve) => setTimeout(resolve)); // all that waits for nothing but itself
  const land = new Land(connection, { changed() {} });
  const bare = { y: 0, width: 16, height: 16, open_enter: true, open_build: false, lease: null };
  const parcel = (parcel_id, x, owner_id, standing = 0) => ({ ...bare, parcel_id, owner_id, x, standing });
  const look = () => [0, 16, 32, 48].map((x) => land.at(x + 1, 1)?.owner_id ?? null);
  const seen = [];
  let now = 1000;
  const ask = async () => { now += 1000; land.look(now); await settled(); };
  land.enter(9, 16, false);
  land.sees(0, 0);
  await ask();
  answers.at(-1)({ parcels: [parcel(1, 0, 5), parcel(2, 16, 6)], more: true });
  await settled();
  seen.push(["the next page is asked for", asked.map(({ after }) => after), look()]);
  land.freed({ parcel_id: 3 });
  land.changed({ parcel: parcel(4, 48, 9, null) });
  answers.at(-1)({ parcels: [parcel(3, 32, 7)], more: false });
  await settled();
  seen.push(["what is told meanwhile is newer", look()]);
  seen.push(["mine is mine", land.at(49, 1).standing]);
  await ask();
  seen.push(["nothing is left to ask", asked.length]);
  land.changed({ parcel: parcel(2, 16, 8, null) });
  await ask();
  seen.push(["what I may do elsewhere is asked", asked.length, look()]);
  answers.at(-1)({ parcels: [parcel(2, 16, 8, 2), parcel(4, 48, 9, 4)], more: false });
  await settled();
  seen.push(["what is gone goes", look(), land.whyNotBuild(17, 1) === null]);
  land.changed({ parcel: { ...parcel(8, 64, 5), width: 32, open_enter: false, way: { x: 64, y: 0, width: 16, height: 16 } } });
  seen.push(["closed land stops, but on its way", land.gateAt(65, 1), land.gateAt(81, 1)]);
  land.listed({ listing: { listing_id: 70, parcel_id: 8, price: 5 } });
  land.changed({ parcel: parcel(8, 64, 5, null) });
  const listing = () => land.known.get(8).listing?.price ?? null;
  seen.push(["it is for sale until that is over", listing()]);
  land.unlisted({ parcel_id: 8, listing_id: 69 });
  seen.push(["another sale is another", listing()]);
  land.unlisted({ parcel_id: 8, listing_id: 70 });
  seen.push(["it is over", listing()]);
  land.learn([{ ...parcel(8, 64, 5), listing: { listing_id: 71, parcel_id: 8, price: 6, seq: 71 } }]);
  seen.push(["what nobody told is learnt", listing()]);
  land.sees(20, 0);
  seen.push(["what is far is forgotten", land.known.size]);
  return seen;
}
"""


def test_parcels_are_kept_true_by_pages_and_by_what_is_told_meanwhile(
    country: ServerProcess, visit: Visit
) -> None:
    """Guard: Land.told; without it the second page brings back what was freed after it was written."""
    assert visit(country).page.evaluate(LAND) == [
        ["the next page is asked for", [0, 2], [5, 6, None, None]],
        ["what is told meanwhile is newer", [5, 6, None, 9]],
        ["mine is mine", Standing.OWNER],
        ["nothing is left to ask", 2],
        ["what I may do elsewhere is asked", 3, [5, 8, None, 9]],
        ["what is gone goes", [None, 8, None, 9], True],
        ["closed land stops, but on its way", 0, 8],
        ["it is for sale until that is over", 5],
        ["another sale is another", 5],
        ["it is over", None],
        ["what nobody told is learnt", 6],
        ["what is far is forgotten", 0],
    ]


WALLET = """
async () => {
  const { Wallet } = await import("/wallet.js");
  const answers = [];
  let shown = "";
  const words = (children) => children.find((one) => one?.id === "no-statement")?.textContent ?? null;
  const panel = { name: "wallet", show(name, title, id, children) { shown = words(children); } };
  const request = () => new Promise((resolve, reject) => answers.push({ resolve, reject }));
  const wallet = new Wallet(panel, { request, toast() {}, changed() {} });
  const settled = () => new Promise((resolve) => setTimeout(resolve));
  const seen = [];
  wallet.open();
  seen.push(shown);
  answers.at(-1).reject(new Error("The database does not keep up."));
  await settled();
  seen.push(shown);
  wallet.open();
  answers.at(-1).resolve({ postings: [], more: false });
  await settled();
  seen.push(shown);
  return seen;
}
"""


def test_a_statement_that_is_not_there_yet_is_not_called_empty(country: ServerProcess, visit: Visit) -> None:
    assert visit(country).page.evaluate(WALLET) == [
        "Looking…",
        "Cannot be read now: The database does not keep up.",
        "Nothing has moved yet.",
    ]


BUILDER = """
async () => {
  const { Builder } = await import("/builder.js");
  const sent = [];
  const on = { whyNot: () => null, builtAt: () => 0, toast() {}, done() {}, act: async (name) => { sent.push(name); return {}; } };
  const builder = new Builder({}, () => null, on);
  const settled = () => new Promise((resolve) => setTimeout(resolve)); // all that waits for nothing but itself
  for (const x of [1, 2]) {
    builder.key({ key: " ", code: "Space" }, { x, y: 0 });
    await settled();
  }
  await builder.undo();
  return sent;
}
"""


def test_a_tile_that_a_key_builds_is_taken_back_by_itself(country: ServerProcess, visit: Visit) -> None:
    """Guard: Builder.press; without it all of them were one stroke."""
    assert visit(country).page.evaluate(BUILDER) == ["tile_edit", "tile_edit", "tile_undo"]


def test_terms_are_told_in_the_unit_they_fill(country: ServerProcess, visit: Visit) -> None:
    script = (
        "async (terms) => { const { termText } = await import('/lease.js'); return terms.map(termText); }"
    )
    terms = [3_000, 90_000, 3_600_000, 86_400_000, 216_000_000]
    told = ["3 seconds", "1 minute 30 seconds", "1 hour", "1 day", "2 days 12 hours"]
    assert visit(country).page.evaluate(script, terms) == told


SALE = """
async ([ends, places, facts]) => {
  const { endText, tellTimes } = await import("/sale.js");
  const { wayText } = await import("/parcel.js");
  const root = document.createElement("div");
  const time = document.createElement("time");
  time.dataset.ends = 100_000;
  root.append(time);
  const left = (worldMs) => { tellTimes(root, worldMs); return time.textContent; };
  const parcel = { x: 16, y: 16, width: 16, height: 16 };
  return [ends.map((end) => endText(end, "Mill", 500, "Ada")), places.map(([x, y]) => wayText({ x, y }, parcel)), facts.map(left)];
}
"""


def test_a_sale_is_told_in_words(country: ServerProcess, visit: Visit) -> None:
    ends = [end.value for end in SaleEnd]
    places = [(20, 20), (8, 20), (40, 40), (20, 15), (20, -84)]
    assert visit(country).page.evaluate(SALE, [ends, places, [1_000, 99_500, 100_000]]) == [
        [
            "Ada bought Mill for 5.00 BDT.",
            None,
            "Mill is not for sale any more: its time is over, and nobody bought it.",
            "Mill is not for sale any more: too much upkeep was owed, and it is nobody's now.",
            None,  # so end auctions alone
        ],
        ["right here", "8 tiles east", "11 tiles north-west", "1 tile south", "100 tiles south"],
        ["in 1 minute 39 seconds", "in 1 second", "now"],
    ]


def test_owners_have_the_colours_of_the_map(country: ServerProcess, visit: Visit) -> None:
    page = visit(country).page
    script = "async (ids) => { const { ownerColour } = await import('/land.js'); return ids.map((id) => ownerColour(id)[0]); }"
    owners = [1, 2, 77, 4_294_967_295]
    assert page.evaluate(script, owners) == pytest.approx([owner_hue(owner) for owner in owners])


def test_amounts_are_read_and_written_as_people_do(country: ServerProcess, visit: Visit) -> None:
    page = visit(country).page
    script = """async ([texts, sums]) => {
      const { amountText, readAmount } = await import("/money.js");
      return [texts.map(readAmount), sums.map(amountText)];
    }"""
    texts = ["1", "99.5", "1,250.50", "0.07", "", "-1", "1.234", "x", "10000000000000.01"]
    sums = [0, 7, -125_050, 123_456_789]
    assert page.evaluate(script, [texts, sums]) == [
        [100, 9_950, 125_050, 7, None, None, None, None, None],
        ["0.00", "0.07", "\N{MINUS SIGN}1,250.50", "1,234,567.89"],
    ]
