"""Auctions over real sockets and a real database: what bidders hear and what they must not, and that each ends once and never early,
whatever happens to the database, to the server and to the clock of the machine.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from protocol.errors import RefusalCode
from protocol.messages import (
    PLOT_TILES,
    AuctionBid,
    AuctionEnded,
    AuctionExtended,
    AuctionOpened,
    ClientMessage,
    LandAt,
    LandChanged,
    LandClaim,
    LandMine,
    MarketAuction,
    MarketBid,
    Ok,
    ReceiptGet,
    Refused,
    SaleEnd,
    ServerMessage,
    Wallet,
    WalletChanged,
)
from tests.conftest import stopped
from tests.harness import Client, ServerProcess, serving
from tests.integration.database import dsn, postmaster
from tests.integration.test_land import done, find_land, head, refused
from world.entries import Record, read
from world.sales import Auction

SETTINGS = {
    "WORLD__SPAWN_RADIUS": 2,
    "ECONOMY__STARTING_GRANT": 1_000_000_000,
    "LAND__PLAYER_PARCELS_MAX": 256,
    "LIMITS__RATES__ACTION__BURST": 10_000,
    "LIMITS__RATES__REQUEST__BURST": 10_000,
    "MARKET__LISTING_MIN_S": 1,
    "MARKET__PLAYER_LISTINGS_MAX": 256,
    "MARKET__PLAYER_LEADS_MAX": 256,
    "MARKET__FEE_BASIS_POINTS": 1_000,
    "MARKET__FEE_MIN": 0,
    "MARKET__AUCTION_STEP_MIN": 100,
    "MARKET__AUCTION_STEP_BASIS_POINTS": 0,
    "MARKET__AUCTION_SNIPE_S": 0,
}
LASTS_MS = 8_000
MANY = 100  # auctions
MANY_LAST_MS = 8_000
OUTAGE_S = 9.0  # so nobody can bid over their ends
IN_FRAME = 16  # requests in one WebSocket message
SIDE = 15  # of a square of claims, some of which are under water
BACK_S = 6  # no auction ends so shortly after it, or after a start
LEFT_S = 2  # to their ends, when the server is killed
FAKETIME = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)  # of Debian's libfaketime
HOUR_S = 3_600
RISING = count(6_000)  # maxima, each above the one before


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    """A world for the tests that do not stop it."""
    with serving(None, SETTINGS) as server:
        yield server


async def begin(seller: Client, lasts_ms: int = LASTS_MS, **terms: Any) -> tuple[int, int, int]:
    """Land in an auction: auction_id, x and y."""
    x, y = await find_land(seller, -2, -2)  # in sight of all who begin in the middle
    claimed = await done(seller, LandClaim(*head(seller), x, y, PLOT_TILES, PLOT_TILES))
    asked = MarketAuction(*head(seller), claimed["parcel_id"], 1_000, lasts_ms, **terms)
    return (await done(seller, asked))["auction_id"], x, y


async def seen(client: Client, x: int, y: int) -> dict[str, Any]:
    """The auction at a place, as somebody sees it who asks."""
    found = await done(client, LandAt(next(client.ids), x + 0.5, y + 0.5))
    auction: dict[str, Any] = found["auction"]
    return auction


async def bid(client: Client, auction_id: int, amount: int, maximum: int | None = None) -> dict[str, Any]:
    result: dict[str, Any] = await done(client, MarketBid(*head(client), auction_id, amount, maximum))
    return result


async def test_bidders_hear_what_concerns_them_and_nobody_hears_a_maximum(server: ServerProcess) -> None:
    """Guards: the leader's own maximum in queries.auctioned, `since` in withheld, is_secret in Questions._receipt."""
    ada, bea, cal = [await Client.join(server) for _ in range(3)]
    auction_id, x, y = await begin(ada, reserve=3_000)
    for one in (ada, bea, cal):
        await one.wait(AuctionOpened, lambda message: message.auction.auction_id == auction_id)
    assert (await bid(bea, auction_id, 1_000, 2_500)) | {"ends_ms": 0} == {
        "auction_id": auction_id,
        "leads": True,
        "price": 1_000,
        "ends_ms": 0,
        "sold": False,
        "seller_id": None,
    }
    told = await cal.wait(AuctionBid, lambda message: message.auction_id == auction_id)
    assert (told.leader_id, told.price, told.least, told.bids, told.reserved) == (
        bea.player_id,
        1_000,
        1_100,
        1,
        True,
    )
    assert ((await seen(bea, x, y))["maximum"], (await seen(cal, x, y))["maximum"]) == (2_500, None)
    assert ((await seen(ada, x, y))["reserve"], (await seen(bea, x, y))["reserve"]) == (3_000, None)
    assert (await done(bea, Wallet(next(bea.ids))))["held"] == 2_500

    raised = await bid(bea, auction_id, 1_000, 4_000)  # which reaches the reserve
    assert (await cal.wait(AuctionBid)).price == raised["price"] == 3_000
    await bid(bea, auction_id, 3_000, 5_000)  # which nobody is told
    assert not (await bid(cal, auction_id, 3_100, 4_500))["leads"]
    mine = await cal.wait(AuctionBid)  # the first since then
    assert (mine.price, mine.leader_id) == (4_600, bea.player_id)
    assert await refused(cal, ReceiptGet(next(cal.ids), mine.seq)) is RefusalCode.NOT_ALLOWED

    assert (await bid(cal, auction_id, 6_000))["leads"]
    await bea.wait(AuctionBid, lambda message: message.leader_id == cal.player_id)
    back = await bea.wait(WalletChanged, lambda message: message.held == 0)
    assert back.balance == 1_000_000_000
    for one in (ada, bea, cal):
        ended = await one.wait(AuctionEnded, lambda message: message.auction_id == auction_id)
        assert (ended.end, ended.winner_id, ended.price) == (SaleEnd.SOLD, cal.player_id, 6_000)
    assert await refused(cal, ReceiptGet(next(cal.ids), mine.seq)) is RefusalCode.NOT_ALLOWED
    for one in (ada, bea, cal):
        await one.wait(LandChanged, lambda message: message.parcel.owner_id == cal.player_id)
    await asyncio.gather(*(one.leave() for one in (ada, bea, cal)))


async def test_who_does_not_see_the_land_is_told_all_the_same(server: ServerProcess) -> None:
    """Guards: _bidders in withheld, and the former owner of what an auction ended. Nobody stands where the land is."""
    ada, bea, cal = [await Client.join(server) for _ in range(3)]
    x, y = await find_land(ada, 2_000, 0)
    parcel = await done(ada, LandClaim(*head(ada), x, y, PLOT_TILES, PLOT_TILES))
    begun = await done(ada, MarketAuction(*head(ada), parcel["parcel_id"], 1_000, LASTS_MS))
    await bid(bea, begun["auction_id"], 1_000)
    assert (await ada.wait(AuctionBid)).leader_id == bea.player_id
    await bid(cal, begun["auction_id"], 2_000)
    assert (await bea.wait(AuctionBid)).leader_id == cal.player_id
    for one in (ada, cal):
        assert (await one.wait(AuctionEnded)).winner_id == cal.player_id
        assert (await one.wait(LandChanged)).parcel.owner_id == cal.player_id
    assert [one["parcel_id"] for one in (await done(cal, LandMine(next(cal.ids))))["parcels"]] == [
        parcel["parcel_id"]
    ]
    await asyncio.gather(*(one.leave() for one in (ada, bea, cal)))


# --- whatever happens ---


async def ask_all(client: Client, requests: Sequence[ClientMessage]) -> list[Ok | Refused]:
    """The answers to requests that nobody waits for in between; what the server puts off is asked again."""
    answers: dict[int, Ok | Refused] = {}
    open_ones = {getattr(one, "request_id"): one for one in requests}  # noqa: B009 (of all of these)
    while open_ones:
        asked = list(open_ones.values())
        for start in range(0, len(asked), IN_FRAME):
            await client.send(*asked[start : start + IN_FRAME])
        later_ms = 0
        for _ in asked:
            answer = await client.wait(ServerMessage, lambda message: isinstance(message, Ok | Refused))
            assert isinstance(answer, Ok | Refused)
            if isinstance(answer, Refused) and answer.code is RefusalCode.UNAVAILABLE:
                later_ms = answer.retry_after_ms or 1_000
            else:
                answers[answer.request_id] = answer
                del open_ones[answer.request_id]
        await asyncio.sleep(later_ms / 1_000)
    return list(answers.values())


async def done_all(client: Client, requests: Sequence[ClientMessage]) -> list[Any]:
    """The results of requests that must all be granted."""
    answers = await ask_all(client, requests)
    assert [one for one in answers if isinstance(one, Refused)] == []
    return [one.result for one in answers if isinstance(one, Ok)]


async def put_up_many(seller: Client, bidder: Client) -> tuple[list[int], float]:
    """So many auctions, each with a bid, and when by the loop's clock the first of them ends."""
    plots = [(2 * px, 2 * py) for py in range(SIDE) for px in range(SIDE)]
    claims = [
        LandClaim(*head(seller), px * PLOT_TILES, py * PLOT_TILES, PLOT_TILES, PLOT_TILES) for px, py in plots
    ]
    claimed = [one.result["parcel_id"] for one in await ask_all(seller, claims) if isinstance(one, Ok)]
    parcels = claimed[:MANY]  # some plots are under water
    assert len(parcels) == MANY
    wanted = [MarketAuction(*head(seller), parcel_id, 1_000, MANY_LAST_MS) for parcel_id in parcels]
    ends_s = asyncio.get_running_loop().time() + MANY_LAST_MS / 1_000
    auctions: list[int] = [one["auction_id"] for one in await done_all(seller, wanted)]
    await done_all(bidder, [MarketBid(*head(bidder), one, 1_000, 5_000) for one in auctions])
    return auctions, ends_s


async def journal(data: Path) -> list[Record]:
    """All entries that are stored."""
    connection = await asyncpg.connect(dsn(data))
    try:
        rows = await connection.fetch("SELECT record::text AS record FROM journal ORDER BY seq")
    finally:
        await connection.close()
    return [read(row["record"].encode()) for row in rows]


def endings(entries: list[Record]) -> Counter[int]:
    """How often each auction ended. None ended early: its end in the world's time is in the entry."""
    ended: Counter[int] = Counter()
    for entry in entries:
        for change in entry.changes:
            if isinstance(change, Auction) and change.end is not None:
                assert entry.kind == "auction_ended"
                assert entry.tick >= change.ends
                ended[change.auction_id] += 1
    return ended


async def check_all_ended_once(server: ServerProcess, auctions: list[int], winners: dict[int, int]) -> None:
    """None early, none twice, none lost; the money went where the journal says, and the books balance."""
    await server.until("landworld_auctions_open", lambda count: count == 0)
    last = server.metric("landworld_journal_seq")
    await server.until("landworld_journal_durable_seq", lambda seq: seq >= last)
    entries = await journal(server.data)
    assert endings(entries) == Counter(auctions)
    won = {
        change.auction_id: change.buyer_id
        for entry in entries
        for change in entry.changes
        if isinstance(change, Auction) and change.end is SaleEnd.SOLD
    }
    assert won == {one: winners[one] for one in auctions}
    assert server.metric("landworld_market_open") == 1


async def test_a_hundred_auctions_go_on_after_an_outage_and_end_once(data: Path) -> None:
    """PostgreSQL hangs over the ends of all. When it is back people bid, and who does wins.

    Guards: Reopen in Actions.admit and extended in world.auctions: without either they end before anybody is back, and
    `rival` is refused.
    """
    with serving(data, {**SETTINGS, "MARKET__AUCTION_OUTAGE_S": BACK_S}) as server:
        seller, bidder, rival = [await Client.join(server) for _ in range(3)]
        auctions, _ = await put_up_many(seller, bidder)
        over = asyncio.get_running_loop().time() + OUTAGE_S
        with stopped(postmaster(data)):
            while asyncio.get_running_loop().time() < over:
                answer = await rival.ask(MarketBid(*head(rival), auctions[0], 6_000))
                assert isinstance(answer, Refused)
                await asyncio.sleep(0.5)
        await done_all(rival, [MarketBid(*head(rival), one, 6_000) for one in auctions[::2]])
        moved = await seller.wait(AuctionExtended)
        assert moved.auction_id in auctions
        winners = {
            one: (rival if number % 2 == 0 else bidder).player_id for number, one in enumerate(auctions)
        }
        await check_all_ended_once(server, auctions, winners)
        assert json_audit(server) == []
        for one in (seller, bidder, rival):
            one.drop()


def json_audit(server: ServerProcess) -> list[str]:
    """What the audit finds wrong."""
    troubles: list[str] = json.loads(server.command("audit", "--json").splitlines()[-1])["troubles"]
    return troubles


async def test_a_hundred_auctions_outlive_a_killed_server_and_leave_time_to_come_back(data: Path) -> None:
    """Guard: `opened` in _recall_sales; else those that were about to end do so before anybody is back."""
    with serving(data, {**SETTINGS, "MARKET__AUCTION_OUTAGE_S": BACK_S}) as server:
        seller, bidder = [await Client.join(server) for _ in range(2)]
        auctions, ends_s = await put_up_many(seller, bidder)
        await asyncio.sleep(ends_s - LEFT_S - asyncio.get_running_loop().time())
        server.kill()
        for one in (seller, bidder):
            one.drop()
        server.start()
        rival = await Client.join(server)
        await done_all(rival, [MarketBid(*head(rival), one, 6_000) for one in auctions])
        await check_all_ended_once(server, auctions, dict.fromkeys(auctions, rival.player_id))
        moved = [entry for entry in await journal(data) if entry.kind == "auction_extended"]
        assert {
            change.auction_id for entry in moved for change in entry.changes if isinstance(change, Auction)
        } == {*auctions}
        assert json_audit(server) == []
        rival.drop()


@pytest.mark.skipif(FAKETIME is None, reason="needs Debian's libfaketime to turn a server's clock")
async def test_a_hundred_auctions_do_not_care_for_the_clock_of_the_machine(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An hour on, and an hour back behind where it was. World time is the tick, so none ends early or late.

    Guard: none of its own; time.time() in place of the loop's clock in server/loop.py makes it fail.
    """
    clock = tmp_path / "clock"
    clock.write_text("+0")
    for name, value in {
        "LD_PRELOAD": str(FAKETIME),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }.items():
        monkeypatch.setenv(name, value)
    with serving(data, {**SETTINGS, "MARKET__AUCTION_OUTAGE_S": 0}) as server:
        monkeypatch.delenv("LD_PRELOAD")
        seller, bidder = [await Client.join(server) for _ in range(2)]
        auctions, _ = await put_up_many(seller, bidder)
        for turned in (f"+{HOUR_S}", f"-{HOUR_S}"):
            clock.write_text(turned)
            await asyncio.sleep(1.0)  # some ticks by that clock
            await bid(bidder, auctions[0], 1_000, next(RISING))
        await check_all_ended_once(server, auctions, dict.fromkeys(auctions, bidder.player_id))
        assert json_audit(server) == []
        for one in (seller, bidder):
            one.drop()
