"""Auctions of land in the browser client: two people bid against each other by hand, each on a page of their own.

On this server a late bid leaves a good while to answer it, so no auction ends while a test still bids, however slow the machine is.
"""

import re
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from protocol.messages import LandClaim, LandDescribe, MarketAuction, MarketBid, SaleEnd
from tests.browser.conftest import Visit, Visitor
from tests.browser.test_land import (
    GRANT,
    SIDE,
    amount,
    begins_with,
    by,
    claimed,
    come,
    knows,
    overview,
    safe,
    show,
)
from tests.harness import ServerProcess, serving
from world.tiles import Build

SNIPE_S = 20
LASTS_MS = 24_000  # little longer than that: nearly every bid is a late one
LONG_MS = 3_600_000
SETTINGS = {
    "WORLD__SPAWN_RADIUS": 2,
    "ECONOMY__STARTING_GRANT": GRANT,
    "MARKET__LISTING_MIN_S": 1,
    "MARKET__AUCTION_SNIPE_S": SNIPE_S,
    "MARKET__AUCTION_EXTENSIONS_MAX": 1_000,
    "MARKET__AUCTION_OUTAGE_S": 0,
}


@pytest.fixture(scope="module")
def market() -> Iterator[ServerProcess]:
    """A server where everybody begins in the middle, rich, and where auctions may be short."""
    with serving(None, SETTINGS) as server:
        yield server


def begun(server: ServerProcess, name: str, parcel_id: int, lasts_ms: int = LASTS_MS, **terms: Any) -> int:
    """An auction of somebody's land that begins at 10 BDT; the auction_id."""
    request = partial(MarketAuction, parcel_id=parcel_id, start_price=1_000, duration_ms=lasts_ms, **terms)
    (held,) = by(server, name, request)
    auction_id: int = held["auction_id"]
    return auction_id


def stands(visitor: Visitor, words: str) -> None:
    """Waits until the panel says that of the auction."""
    visitor.page.locator("#auction", has_text=words).wait_for()


def told(visitor: Visitor, words: str) -> None:
    """Waits for a toast."""
    visitor.page.locator("#toasts p", has_text=words).wait_for()


def has(visitor: Visitor, balance: int, held: int) -> None:
    """Waits until so much is in the wallet, and so much set aside."""
    visitor.until("w.wallet.balance === a[0] && w.wallet.held === a[1]", [balance, held])


def press_bid(visitor: Visitor, words: str) -> None:
    """Bids, once the button says that."""
    visitor.page.locator("#bid", has_text=words).click()


FIELD = "([name, value]) => document.querySelector(`#panel [name=${name}]`)?.value === value"
ENDS = "() => Number(document.querySelector('#panel time')?.dataset.ends ?? 0)"
COUNTS = "() => /^in \\d+ seconds$/.test(document.querySelector('#panel time')?.textContent)"


def test_two_bid_against_each_other_and_the_land_is_sold_to_who_would_pay_more(
    market: ServerProcess, visit: Visit
) -> None:
    """Guards: Panel.restore keeps what was typed, and an amount that was not touched follows the least; LandPanel.bid says so to who
    does not lead by their bid."""
    parcel_id = claimed(market, "Ada", -16, -16)
    brix, cleo = come(visit, market, "Brix"), come(visit, market, "Cleo")
    for one in (brix, cleo):
        show(one, (-0.7, -0.7))
    begun(market, "Ada", parcel_id)
    for one in (brix, cleo):
        stands(one, "no bids yet")
    cleo.page.fill("[name=maximum]", "15")
    brix.page.fill("[name=maximum]", "20")
    press_bid(brix, "Bid 10.00 BDT, up to 20.00")
    stands(brix, "1 bid, you lead, up to 20.00 BDT")
    has(brix, GRANT - 2_000, 2_000)
    stands(cleo, "1 bid, Brix leads")
    cleo.page.wait_for_function(FIELD, arg=["amount", "11.00"])
    assert cleo.page.input_value("[name=maximum]") == "15"
    press_bid(cleo, "Bid 11.00 BDT, up to 15.00")
    cleo.page.locator("#not-bought", has_text="It stands at 16.00 BDT now").wait_for()
    told(brix, "you lead still, at 16.00 BDT")
    stands(brix, "2 bids, you lead, up to 20.00 BDT")
    cleo.page.fill("[name=maximum]", "30")
    press_bid(cleo, "Bid 17.00 BDT, up to 30.00")
    stands(cleo, "3 bids, you lead, up to 30.00 BDT")
    assert not cleo.page.is_visible("#not-bought")
    has(cleo, GRANT - 3_000, 3_000)
    told(brix, "Cleo bids 21.00 BDT for Parcel")
    stands(brix, "3 bids, Cleo leads")
    has(brix, GRANT, 0)
    for one in (brix, cleo):
        knows(one, parcel_id, "p.owner_name === 'Cleo' && p.auction === null")
    told(cleo, "is yours: you paid 21.00 BDT")
    has(cleo, GRANT - 2_100, 0)
    cleo.page.locator(".owner", has_text="Yours").wait_for()
    brix.page.locator(".owner", has_text="Land of Cleo").wait_for()
    assert not brix.page.is_visible("#auction")
    cleo.page.keyboard.press("m")
    for words in ("Auction: set aside", "Auction over"):
        cleo.page.locator("#statement li", has_text=words).first.wait_for()


def test_a_late_bid_moves_the_end_and_both_pages_count_down_to_the_new_one(
    market: ServerProcess, visit: Visit
) -> None:
    """Guard: `ends_ms` in Land.bidden; without it both count on to the old end."""
    parcel_id = claimed(market, "Dora", 0, -16)
    emil, fay = come(visit, market, "Emil"), come(visit, market, "Fay")
    for one in (emil, fay):
        show(one, (0.7, -0.7))
    begun(market, "Dora", parcel_id, 16_000)
    for one in (emil, fay):
        stands(one, "no bids yet")
        one.page.wait_for_function(COUNTS)
    before = emil.page.evaluate(ENDS)
    assert before == fay.page.evaluate(ENDS)
    press_bid(emil, "Bid 10.00 BDT")
    for one in (emil, fay):
        one.page.wait_for_function(f"(before) => ({ENDS})() > before", arg=before)
        one.page.wait_for_function(COUNTS)
    assert emil.page.evaluate(ENDS) == fay.page.evaluate(ENDS)
    knows(fay, parcel_id, "p.owner_name === 'Emil'")


def test_who_leads_raises_their_maximum_and_tells_nobody(market: ServerProcess, visit: Visit) -> None:
    """Guard: LandPanel.bid hands refusals to notSold, which shows them beside the form."""
    parcel_id = claimed(market, "Gus", 0, 0)
    auction_id = begun(market, "Gus", parcel_id, LONG_MS, reserve=5_000)
    hal, ida = come(visit, market, "Hal"), come(visit, market, "Ida")
    for one in (hal, ida):
        show(one, (1.5, 1.5))
        one.page.locator("#panel dd", has_text="not reached yet").wait_for()
    press_bid(hal, "Bid 10.00 BDT")
    stands(hal, "you lead, up to 10.00 BDT")
    stands(ida, "1 bid, Hal leads")
    hal.page.fill("[name=raised]", "10")
    hal.page.click("#raise")
    hal.page.locator("#not-bought", has_text="a maximum can only be raised").wait_for()
    hal.page.fill("[name=raised]", "40")
    hal.page.click("#raise")
    stands(hal, "you lead, up to 40.00 BDT")
    has(hal, GRANT - 4_000, 4_000)
    ida.page.fill("[name=amount]", "1")
    press_bid(ida, "Bid 1.00 BDT")
    ida.page.locator("#not-bought", has_text="The next bid is 11 BDT at least").wait_for()
    assert "BDT, not" not in ida.page.inner_text("#panel dl")  # the reserve is its seller's
    assert ida.get("w.land.find((p) => p.parcel_id === a).auction.maximum", parcel_id) is None
    by(market, "Joy", partial(MarketBid, auction_id=auction_id, amount=6_000))
    told(hal, "Joy bids 60.00 BDT")
    hal.page.locator("#panel dd", has_text="reached").wait_for()
    has(hal, GRANT, 0)


def test_what_can_be_had_at_once_is_and_its_seller_and_who_led_are_told(
    market: ServerProcess, visit: Visit
) -> None:
    """Guard: AuctionNews.winnerOf asks for the name of who never led."""
    parcel_id = claimed(market, "Jon", -16, 0)
    begun(market, "Jon", parcel_id, LONG_MS, buy_now=5_000)
    jon, kim, lea = (come(visit, market, name) for name in ("Jon", "Kim", "Lea"))
    for one in (jon, kim, lea):
        show(one, (-1.5, 1.5))
        stands(one, "no bids yet")
    before = jon.get("w.wallet.balance")
    press_bid(kim, "Bid 10.00 BDT")
    told(jon, "Kim leads for Parcel")
    stands(jon, "1 bid, Kim leads")
    jon.page.locator("#no-way-back").wait_for()
    stands(lea, "Kim leads")
    lea.page.locator("#buy-now", has_text="Buy now for 50.00 BDT").click()
    lea.page.locator("#buy-now.armed", has_text="you pay 50.00 BDT").click()
    told(lea, "is yours: you paid 50.00 BDT")
    told(kim, "Lea bought Parcel")
    told(jon, "Lea won Parcel")
    for one in (jon, kim, lea):
        knows(one, parcel_id, "p.owner_name === 'Lea' && p.auction === null")
    has(lea, GRANT - 5_000, 0)
    has(kim, GRANT, 0)
    jon.until("w.wallet.balance === a", before + 5_000 - 125)
    safe(lea)


def test_an_auction_is_begun_by_hand_and_taken_back(market: ServerProcess, visit: Visit) -> None:
    """Guards: `refilled` in Panel.restore, which the forms of offering follow; Land.whyNotBuild, for nobody builds on what is in an
    auction."""
    parcel_id = claimed(market, "Max", -32, -16)
    by(market, "Max", partial(LandDescribe, parcel_id=parcel_id, name="Mill", description=""))
    max_, nell = come(visit, market, "Max"), come(visit, market, "Nell")
    for one in (max_, nell):
        knows(one, parcel_id, "p.auction === null")
        overview(one)
    max_.page.click("#land_mine button")
    max_.page.click("#selling-title")
    max_.page.select_option("[name=how]", label="in an auction")
    knows(max_, claimed(market, "Nora", -32, 0), "true")  # so the panel was drawn anew
    assert not max_.page.is_visible("[name=price]")
    max_.page.fill("[name=start]", "12.50")
    max_.page.fill("[name=reserve]", "20")
    max_.page.fill("[name=at_once]", "15")
    max_.page.select_option("[name=lasts]", label="3 days")
    max_.page.keyboard.press("Enter")
    told(max_, "it cannot be had at once")
    max_.page.fill("[name=at_once]", "100")
    max_.page.locator("button", has_text="Begin the auction").click()
    row = nell.page.locator("#land_for_sale button", has_text="12.50 BDT, auction, of Max")
    row.filter(has_text="no bids yet").filter(has_text="ends in 2 days 23 hours").wait_for()
    stands(max_, "no bids yet")
    max_.page.locator("#panel dd", has_text="20.00 BDT, not reached yet").wait_for()
    max_.page.locator("#panel dd", has_text=amount(1_250 - 100)).wait_for()
    max_.page.locator("#bound", has_text="nobody can build there").wait_for()
    max_.page.keyboard.press("b")
    for _ in range(8):
        max_.page.keyboard.press("Minus")
    max_.page.click(f"[data-kind='{Build.HEDGE.value}']")
    max_.until("w.still")
    place = max_.get("w.toScreen(...a)", (-16.5, -0.5))
    max_.page.mouse.click(place["x"], place["y"])
    max_.page.locator("#toasts p", has_text=re.compile("^Nobody builds on Mill while")).wait_for()
    overview(max_)
    max_.page.click("#land_mine button")
    max_.page.click("#take-back")
    row.wait_for(state="detached")
    knows(nell, parcel_id, "p.auction === null && p.owner_name === 'Max'")
    max_.page.locator("#leaving-title").wait_for()
    begins_with(max_, "start", "")
    safe(max_)


def test_who_is_outbid_far_away_is_told_and_can_look(market: ServerProcess, visit: Visit) -> None:
    """Guards: LandPanel.traded and Estate.lookAt ask how the land is now, for of what is not around one nothing is kept true."""
    (land,) = by(market, "Otto", partial(LandClaim, x=-20 * SIDE, y=0, width=SIDE, height=SIDE))
    auction_id = begun(market, "Otto", land["parcel_id"], LONG_MS)
    otto, pia = come(visit, market, "Otto"), come(visit, market, "Pia")
    overview(pia)
    pia.page.locator("#land_for_sale button", has_text="10.00 BDT, auction, of Otto").click()
    press_bid(pia, "Bid 10.00 BDT")
    stands(pia, "you lead, up to 10.00 BDT")
    told(otto, "Pia leads for Parcel")
    by(market, "Quin", partial(MarketBid, auction_id=auction_id, amount=2_000))
    told(pia, "Quin bids 20.00 BDT for Parcel")
    stands(pia, "2 bids, Quin leads")
    pia.page.click("#panel-close")
    pia.page.locator("#toasts button").first.click()
    stands(pia, "2 bids, Quin leads")


MERGED = """
async (rows) => {
  const { merged } = await import("/auction.js");
  const known = { auction_id: 7, seq: 20, leader_id: 1, price: 500, maximum: 900, reserve: 800 };
  return rows.map((news) => {
    const { seq, leader_id, price, maximum, reserve } = merged(known, { auction_id: 7, ...news }, 1);
    return [seq, leader_id, price, maximum, reserve];
  });
}
"""


def test_news_of_an_auction_are_taken_in_by_their_place_in_the_journal(
    market: ServerProcess, visit: Visit
) -> None:
    rows: list[tuple[dict[str, Any], list[Any]]] = [
        ({"seq": 19, "leader_id": 2, "price": 600}, [20, 1, 500, 900, 800]),  # of before what is known
        ({"seq": 20, "ends_ms": 5}, [20, 1, 500, 900, 800]),  # the bid moved the end, too
        ({"seq": 21, "leader_id": 1, "price": 600}, [21, 1, 600, 900, 800]),  # I lead still
        ({"seq": 21, "leader_id": 2, "price": 950}, [21, 2, 950, None, 800]),  # somebody else does
        ({"seq": 20, "leader_id": 1, "maximum": 1_200}, [20, 1, 500, 1_200, 800]),  # I asked
    ]
    assert visit(market).page.evaluate(MERGED, [news for news, _ in rows]) == [then for _, then in rows]


WORDS = """
async ([bids, ends, presses]) => {
  const { bidNews, endNews, laterNews, pressText } = await import("/auction.js");
  const bid = (leader_id, part) => bidNews({ leader_id, leader_name: "Ada", price: 1200 }, "Mill", { me: 1, ...part });
  const end = (end, winner_id, part) => endNews({ end, price: 1200, winner_id }, "Mill", "Ada", { me: 1, bids: 1, ...part });
  const later = ["led", "sells", ""].map((part) => laterNews("Mill", { [part]: true }));
  const pressed = presses.map((row) => pressText({ buy_now: 5000 }, ...row));
  return [bids.map((row) => bid(...row)), ends.map((row) => end(...row)), later, pressed];
}
"""


def test_auctions_are_told_in_words_to_those_whom_they_concern(market: ServerProcess, visit: Visit) -> None:
    led, sells, none = {"led": True}, {"sells": True}, dict[str, bool]()
    money_back = "Your money is back."
    over = "The auction of Mill is over: "
    later = "The auction of Mill ends later: for a while nobody could bid."
    bids = [
        ([2, led], "Ada bids 12.00 BDT for Mill: you are outbid."),
        ([1, led], "Somebody bid for Mill: you lead still, at 12.00 BDT."),
        ([1, none], None),  # I did it
        ([2, none], None),
        ([2, sells], "Ada leads for Mill, at 12.00 BDT."),
    ]
    ends = [
        ([SaleEnd.SOLD, 1, led], "Mill is yours: you paid 12.00 BDT."),
        ([SaleEnd.SOLD, 2, led], "Ada bought Mill at once for 12.00 BDT: your money is back."),
        ([SaleEnd.SOLD, 2, sells], "Ada won Mill for 12.00 BDT."),
        ([SaleEnd.SOLD, 2, none], None),
        ([SaleEnd.UNSOLD, None, sells], f"{over}no bid reached its reserve."),
        ([SaleEnd.UNSOLD, None, sells | {"bids": 0}], f"{over}nobody bid."),
        ([SaleEnd.UNSOLD, None, led], f"{over}your bid did not reach its reserve, and your money is back."),
        ([SaleEnd.CANCELLED, None, sells], None),  # who did it
        (
            [SaleEnd.FORFEITED, None, led],
            f"{over}too much upkeep was owed, and it is nobody's now. {money_back}",
        ),
    ]
    presses = [
        ([None, None], "Bid"),
        ([1_200, None], "Bid 12.00 BDT"),
        ([1_200, 1_200], "Bid 12.00 BDT"),
        ([1_200, 2_000], "Bid 12.00 BDT, up to 20.00"),
        ([5_100, 6_000], "Buy now for 50.00 BDT"),
    ]
    given = [[row for row, _ in table] for table in (bids, ends, presses)]
    wanted = [[words for _, words in table] for table in (bids, ends, presses)]
    assert visit(market).page.evaluate(WORDS, given) == [
        wanted[0],
        wanted[1],
        [later, later, None],
        wanted[2],
    ]


NEWS = """
async () => {
  const { Land } = await import("/land.js");
  const { AuctionNews } = await import("/auctionnews.js");
  const land = new Land(null, { changed() {} });
  land.enter(1, 16, false);
  land.sees(0, 0);
  land.due = false;
  const auction = { auction_id: 7, parcel_id: 3, seq: 7, bids: 0, leader_id: null, leader_name: null, maximum: null, price: 100 };
  const far = { parcel_id: 9, owner_id: 1, name: "Hut" };
  const mill = { parcel_id: 3, owner_id: 5, name: "Mill", x: 0, y: 0, width: 16, height: 16 };
  land.put({ ...mill, listing: null, auction: null });
  let said = [];
  const request = async (name) => (name === "land_mine" ? { parcels: [far] } : { name: "Eve" });
  const news = new AuctionNews(land, { request, tell: (words) => said.push(words), listed: () => null, traded() {} });
  const seen = [];
  const note = async () => {
    await new Promise((resolve) => setTimeout(resolve));
    seen.push(said);
    said = [];
  };
  const by = (leader_id) => ({ leader_id, leader_name: `P${leader_id}` });
  const bid = (seq, leader_id, bids) => ({ auction_id: 7, parcel_id: 3, seq, bids, ...by(leader_id), price: 100 * seq });
  const twice = (what, message) => [news[what](message), news[what](message)];
  news.opened({ auction });
  twice("bid", bid(8, 1, 1)); // I did it
  await note();
  twice("bid", bid(9, 2, 2));
  news.bid(bid(8, 1, 1)); // the other of two comes late
  await note();
  twice("bid", bid(10, 4, 3)); // no matter of mine any more
  await note();
  twice("bid", bid(11, 1, 4));
  land.learn([{ ...mill, auction: { ...auction, ...bid(12, 2, 5) } }]); // an answer knows before the message comes
  twice("bid", bid(12, 2, 5));
  await note();
  twice("bid", bid(13, 1, 6));
  twice("extended", { auction_id: 7, parcel_id: 3, seq: 13, ends_ms: 20, latest_ms: 90 }); // by that bid
  await note();
  twice("bid", bid(14, 1, 6)); // I raised my maximum to the reserve
  await note();
  twice("bid", bid(15, 1, 7)); // somebody bid in vain
  await note();
  twice("extended", { auction_id: 7, parcel_id: 3, seq: 16, ends_ms: 30, latest_ms: 90 });
  await note();
  seen.push([land.known.get(3).auction.ends_ms]);
  twice("ended", { auction_id: 7, parcel_id: 3, seller_id: 5, end: 0, price: 1300, winner_id: 1 });
  news.won({ name: "Mill" }, 7, 1300);
  await note();
  seen.push([land.known.get(3).auction]);
  land.due = false;
  news.bid({ ...bid(20, 2, 1), auction_id: 15, parcel_id: 9 }); // far away, and mine
  await note();
  land.due = false;
  news.bid({ ...bid(21, 2, 2), auction_id: 16, parcel_id: 10 }); // far away, and not: so I led
  await note();
  land.due = true;
  news.bid({ ...bid(22, 2, 2), auction_id: 17, parcel_id: 11 }); // nobody knows yet what there is around me
  await note();
  news.ended({ auction_id: 15, parcel_id: 9, seller_id: 1, end: 0, price: 2000, winner_id: 6 });
  await note();
  return seen;
}
"""


def test_news_of_auctions_are_told_once_to_who_has_part_in_them(market: ServerProcess, visit: Visit) -> None:
    """Guards: AuctionNews.isFirst, for who is concerned and sees the land hears all twice; AuctionNews.leading, for an answer may know
    before the message comes; `away` in AuctionNews.before, which tells strangers from those who have part in it."""
    assert visit(market).page.evaluate(NEWS) == [
        [],
        ["P2 bids 9.00 BDT for Mill: you are outbid."],
        [],
        ["P2 bids 12.00 BDT for Mill: you are outbid."],
        [],
        [],
        ["Somebody bid for Mill: you lead still, at 15.00 BDT."],
        ["The auction of Mill ends later: for a while nobody could bid."],
        [30],
        ["Mill is yours: you paid 13.00 BDT."],
        [None],
        ["P2 leads for Hut, at 20.00 BDT."],
        ["P2 bids 21.00 BDT for Parcel 10: you are outbid."],
        [],
        ["Eve won Parcel 9 for 20.00 BDT."],
    ]
