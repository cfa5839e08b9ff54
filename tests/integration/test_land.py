"""Land and money over real sockets and a real database: told when it is stored, done once, and kept to by those who walk."""

import asyncio
import os
import shutil
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from protocol.errors import RefusalCode
from protocol.messages import (
    PLOT_TILES,
    POSTINGS_PAGE,
    ClientMessage,
    EntryDenied,
    LandAbandon,
    LandAt,
    LandChanged,
    LandClaim,
    LandClaimed,
    LandForSale,
    LandMine,
    LandOpen,
    LandPermit,
    LandQuote,
    LandTake,
    LandTransfer,
    ListingEnded,
    ListingOpened,
    MarketBuy,
    MarketList,
    Move,
    Ok,
    ReceiptGet,
    Refused,
    SaleEnd,
    Standing,
    Trouble,
    Wallet,
    WalletChanged,
    WalletStatement,
)
from server.receipts import BadReceipt, verify
from tests.harness import Client, ServerProcess, serving
from tests.integration.database import nothing_stored

SETTINGS = {"WORLD__SPAWN_RADIUS": 2, "LIMITS__RATES__ACTION__BURST": 10_000}  # all around (0, 0)
GRANT = 100_000  # economy.starting_grant
FAR_PLOTS = 2_000  # where a plot costs next to nothing
ACTION_IDS = (os.urandom(16) for _ in count())


@pytest.fixture(scope="module", params=[0, 2], ids="gateways={}".format)
def server(request: pytest.FixtureRequest) -> Iterator[ServerProcess]:
    """A world for the tests that do not stop it."""
    with serving(None, {**SETTINGS, "SERVER__GATEWAYS": request.param}) as server:
        yield server


async def done(client: Client, request: ClientMessage) -> Any:
    """The result of a request that must be granted."""
    answer = await client.ask(request)
    assert isinstance(answer, Ok), answer
    return answer.result


async def refused(client: Client, request: ClientMessage) -> RefusalCode:
    """Why it was not."""
    answer = await client.ask(request)
    assert isinstance(answer, Refused), answer
    return answer.code


def head(client: Client, action_id: bytes | None = None) -> tuple[int, bytes]:
    """request_id and action_id."""
    return next(client.ids), action_id or next(ACTION_IDS)


async def quote(client: Client, x: int, y: int) -> Ok | Refused:
    """What a plot costs; asked again while the server has too much to do."""
    while True:
        answer = await client.ask(LandQuote(next(client.ids), x, y, PLOT_TILES, PLOT_TILES))
        if not isinstance(answer, Refused) or answer.code is not RefusalCode.UNAVAILABLE:
            return answer
        await asyncio.sleep((answer.retry_after_ms or 1_000) / 1_000)


async def find_land(client: Client, px: int, py: int) -> tuple[int, int]:
    """The tile of the first free plot with land on it, from a plot on to the east, two plots from any other."""
    for x in range(px * PLOT_TILES, (px + 64) * PLOT_TILES, 2 * PLOT_TILES):
        answer = await quote(client, x, py * PLOT_TILES)
        if isinstance(answer, Ok):
            return x, py * PLOT_TILES
        assert answer.code in (RefusalCode.TAKEN, RefusalCode.BAD_REQUEST, RefusalCode.CUT_OFF), answer
    raise AssertionError("no land near there")


async def claim(client: Client, x: int, y: int) -> tuple[int, int]:
    """Takes a plot; its parcel_id and what was paid."""
    result = await done(client, LandClaim(*head(client), x, y, PLOT_TILES, PLOT_TILES))
    return result["parcel_id"], result["price"]


# --- claiming --------------------------------------------------------------------------------------------------------------


async def test_a_newcomer_claims_at_once_with_the_starting_grant(server: ServerProcess) -> None:
    """Guard: land.legs_with_grant books the grant before what is paid from it."""
    guest = await Client.join(server)
    assert await done(guest, Wallet(next(guest.ids))) == {"balance": GRANT, "held": 0}
    x, y = await find_land(guest, -3, -3)
    quoted = await done(guest, LandQuote(next(guest.ids), x, y, PLOT_TILES, PLOT_TILES))
    parcel_id, price = await claim(guest, x, y)
    assert quoted == {"plots": 1, "price": price}
    assert price > 0
    told = await guest.wait(WalletChanged)
    assert told.balance == GRANT - price
    assert await done(guest, Wallet(next(guest.ids))) == {"balance": GRANT - price, "held": 0}
    found = await done(guest, LandAt(next(guest.ids), x + 1, y + 1))
    assert (found["parcel_id"], found["owner_id"]) == (parcel_id, guest.player_id)
    statement = await done(guest, WalletStatement(next(guest.ids)))
    assert [posting["amount"] for posting in statement["postings"]] == [-price, GRANT]
    await guest.leave()


async def test_neither_answer_nor_news_comes_before_it_is_stored(server: ServerProcess) -> None:
    """Guard: Withheld.release goes by the journal's durable_seq."""
    owner, neighbour = await Client.join(server), await Client.join(server)
    x, y = await find_land(owner, -2, 1)  # in everybody's sight
    request = LandClaim(*head(owner), x, y, PLOT_TILES, PLOT_TILES)
    async with nothing_stored(server.data):
        await owner.send(request)
        await server.until("landworld_journal_entries", lambda entries: entries > 0)
        await owner.place()
        await neighbour.place()
        told = (LandClaimed, WalletChanged, Ok)
        assert not [one for one in (*owner.seen, *neighbour.seen) if isinstance(one, told)]
    answer = await owner.wait(Ok, lambda ok: ok.request_id == request.request_id)
    news = await neighbour.wait(LandClaimed, lambda one: one.parcel.parcel_id == answer.result["parcel_id"])
    assert (news.parcel.owner_id, news.parcel.x, news.parcel.y) == (owner.player_id, x, y)
    assert news.parcel.standing is None
    assert (await owner.wait(WalletChanged)).seq == answer.seq
    await owner.leave()
    await neighbour.leave()


async def test_land_of_others_is_refused_with_whom_to_ask(server: ServerProcess) -> None:
    owner, other = await Client.join(server), await Client.join(server)
    x, y = await find_land(owner, 2, -3)
    parcel_id, _ = await claim(owner, x, y)
    answer = await other.ask(LandClaim(*head(other), x, y, PLOT_TILES, PLOT_TILES))
    assert isinstance(answer, Refused)
    assert answer.code is RefusalCode.TAKEN
    assert owner.welcome.name in answer.message
    assert await refused(other, MarketList(*head(other), parcel_id, 1)) is RefusalCode.NOT_OWNER
    await owner.leave()
    await other.leave()


# --- walking -----------------------------------------------------------------------------------------------------------------


async def test_closed_land_stops_walkers_until_they_are_let_in(server: ServerProcess) -> None:
    """The plot beyond the nearest border to the west or the east. Guard: the gates in movement.advance."""
    owner, walker = await Client.join(server), await Client.join(server)
    here_x, here_y = await walker.place()
    west = here_x >= 0
    plot_x, plot_y = (-PLOT_TILES if west else 0), int(here_y // PLOT_TILES) * PLOT_TILES
    parcel_id, _ = await claim(owner, plot_x, plot_y)
    await done(owner, LandOpen(*head(owner), parcel_id, enter=False, build=False))
    await walker.wait(
        LandChanged, lambda one: one.parcel.parcel_id == parcel_id and not one.parcel.open_enter
    )
    inwards = Move(next(walker.ids), -1.0 if west else 1.0, 0.0)
    await walker.send(inwards)
    denied = await walker.wait(EntryDenied)
    assert (denied.parcel_id, denied.trouble) == (parcel_id, Trouble.CLOSED)
    assert owner.welcome.name in denied.message
    x, _ = await walker.place()
    assert (x >= 0) == west
    await done(owner, LandPermit(*head(owner), parcel_id, walker.player_id, Standing.VISITOR))
    await walker.send(Move(next(walker.ids), inwards.dx, 0.0))
    await walker.wait_until(lambda: (walker.places.get(walker.player_id, (x, 0))[0] >= 0) != west)
    await done(owner, LandAbandon(*head(owner), parcel_id))
    await owner.leave()
    await walker.leave()


# --- money -------------------------------------------------------------------------------------------------------------------


async def test_a_sale_moves_land_one_way_and_money_the_other(server: ServerProcess) -> None:
    """And a fee to the house. Guard: market.buy puts all of it into one entry."""
    seller, buyer = await Client.join(server), await Client.join(server)
    x, y = await find_land(seller, -2, -2)  # in everybody's sight
    parcel_id, paid = await claim(seller, x, y)
    listing_id = (await done(seller, MarketList(*head(seller), parcel_id, 7_000)))["listing_id"]
    opened = await buyer.wait(ListingOpened)
    assert (opened.listing.listing_id, opened.listing.price) == (listing_id, 7_000)
    on_sale = (await done(buyer, LandForSale(next(buyer.ids))))["parcels"]
    assert [(one["parcel_id"], one["listing"]["price"]) for one in on_sale] == [(parcel_id, 7_000)]
    assert await refused(buyer, MarketBuy(*head(buyer), listing_id, 6_999)) is RefusalCode.CHANGED
    bought = await done(buyer, MarketBuy(*head(buyer), listing_id, 7_000))
    fee = max(100, 7_000 * 250 // 10_000)
    assert (bought["price"], bought["fee"]) == (7_000, fee)
    ended = await seller.wait(ListingEnded)
    assert (ended.end, ended.buyer_id, ended.price) == (SaleEnd.SOLD, buyer.player_id, 7_000)
    await seller.wait(LandChanged, lambda one: one.parcel.owner_id == buyer.player_id)
    assert (await done(seller, Wallet(next(seller.ids))))["balance"] == GRANT - paid + 7_000 - fee
    assert (await done(buyer, Wallet(next(buyer.ids))))["balance"] == GRANT - 7_000
    assert await refused(seller, MarketList(*head(seller), parcel_id, 1)) is RefusalCode.NOT_OWNER
    assert (await done(buyer, LandForSale(next(buyer.ids))))["parcels"] == []
    await seller.leave()
    await buyer.leave()


async def test_a_statement_goes_back_page_by_page_to_the_grant(server: ServerProcess) -> None:
    """Guard: Questions._statement asks for one more than a page and ends a page with a whole entry."""
    owner = await Client.join(server)
    paid = []
    for number in range(POSTINGS_PAGE):
        x, y = await find_land(owner, FAR_PLOTS, 2 * number)
        paid.append((await claim(owner, x, y))[1])
    pages = [await done(owner, WalletStatement(next(owner.ids)))]
    while pages[-1]["more"]:
        before = pages[-1]["postings"][-1]["seq"]
        pages.append(await done(owner, WalletStatement(next(owner.ids), before)))
    assert len(pages) == 2
    postings = [posting for page in pages for posting in page["postings"]]
    assert [posting["amount"] for posting in reversed(postings)] == [GRANT, *(-price for price in paid)]
    assert [posting["seq"] for posting in postings] == sorted((one["seq"] for one in postings), reverse=True)
    balance = 0
    for posting in reversed(postings):
        balance += posting["amount"]
        assert posting["balance"] == balance
    await owner.leave()


async def test_a_receipt_is_verified_without_the_server_and_only_those_with_part_get_it(
    server: ServerProcess,
) -> None:
    """Guards: the chain and the signature in receipts.verify; Notary.concerns."""
    owner, other = await Client.join(server), await Client.join(server)
    request = LandClaim(*head(owner), *(await find_land(owner, 2, 2)), PLOT_TILES, PLOT_TILES)
    answer = await owner.ask(request)
    assert isinstance(answer, Ok)
    receipt = (await done(owner, ReceiptGet(next(owner.ids), answer.seq)))["receipt"]
    entry = verify(receipt)
    assert (entry["seq"], entry["player_id"], entry["action"]) == (
        answer.seq,
        owner.player_id,
        request.action_id.hex(),
    )
    price = str(answer.result["price"]).encode()
    with pytest.raises(BadReceipt, match="not as it was signed"):
        verify(receipt.replace(price, b"1"))
    with pytest.raises(BadReceipt, match="another key"):
        verify(receipt, "00" * 32)
    assert await refused(other, ReceiptGet(next(other.ids), answer.seq)) is RefusalCode.NOT_FOUND
    await owner.leave()
    await other.leave()


# --- once --------------------------------------------------------------------------------------------------------------------


async def test_an_action_is_done_once_over_any_connection_and_after_kill_9(data: Path) -> None:
    """Guards: State.answers before the restart, Actions._look_up in the table `answers` after it."""
    server = ServerProcess(data, SETTINGS)
    try:
        server.start()
        tokens = {name: server.token(name) for name in ("Ada", "Bob")}
        ada = await Client.join(server, tokens["Ada"])
        x, y = await find_land(ada, -3, -3)
        action_id = next(ACTION_IDS)

        async def again(name: str, width: int = PLOT_TILES) -> Ok | Refused:
            client = await Client.join(server, tokens[name])
            answer = await client.ask(LandClaim(next(client.ids), action_id, x, y, width, PLOT_TILES))
            await client.leave()
            return answer

        answer = await ada.ask(LandClaim(next(ada.ids), action_id, x, y, PLOT_TILES, PLOT_TILES))
        assert isinstance(answer, Ok)
        ada.drop()
        for restarted in (False, True):
            if restarted:
                server.kill()
                server.start()
            same = await again("Ada")
            assert isinstance(same, Ok)
            assert (same.seq, same.result) == (answer.seq, answer.result)
            for other in (await again("Ada", 2 * PLOT_TILES), await again("Bob")):
                assert isinstance(other, Refused)
                assert other.code is RefusalCode.BAD_REQUEST
                assert "action_id" in other.message
        ada = await Client.join(server, tokens["Ada"])
        assert (await done(ada, Wallet(next(ada.ids))))["balance"] == GRANT - answer.result["price"]
        await ada.leave()
    finally:
        if server.process is not None:
            server.stop()
        shutil.rmtree(data, ignore_errors=True)


async def test_who_was_away_finds_what_they_were_given_and_after_a_restart_too(data: Path) -> None:
    """Guards: land_mine lists gifts; Parcels.by_heir is filled by what is recalled at the start."""
    with serving(data, SETTINGS) as server:
        heir = await Client.join(server, server.token("Heir"))
        await heir.leave()
        giver = await Client.join(server, server.token("Giver"))
        gifts = []
        for number in range(2):
            gifts.append((await claim(giver, *(await find_land(giver, -3 + 3 * number, -3))))[0])
            await done(giver, LandTransfer(*head(giver), gifts[-1], heir.player_id))
        heir = await Client.join(server, server.token("Heir"))
        found = (await done(heir, LandMine(next(heir.ids))))["parcels"]
        assert [(one["parcel_id"], one["given_to"]) for one in found] == [
            (gift, heir.player_id) for gift in gifts
        ]
        server.kill()
        server.start()
        heir = await Client.join(server, server.token("Heir"))
        assert (await done(heir, LandMine(next(heir.ids))))["parcels"] == found
        await done(heir, LandTake(*head(heir), gifts[0]))
        await done(heir, LandTransfer(*head(heir), gifts[1], giver.player_id))
        (mine,) = (await done(heir, LandMine(next(heir.ids))))["parcels"]
        assert (mine["parcel_id"], mine["owner_id"], mine["given_to"]) == (gifts[0], heir.player_id, None)
        await heir.leave()
