"""Bots that do what is durable: their record, what they ask again, and that the database agrees with all they were told."""

import asyncio
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from persistence.embedded import running_dsn
from protocol.errors import RefusalCode
from protocol.messages import (
    PLOT_TILES,
    ClientMessage,
    LandAbandon,
    LandAt,
    LandDescribe,
    LandLet,
    LandMine,
    LandOpen,
    LandRent,
    LandTake,
    LandToLet,
    LandTransfer,
    MarketAuction,
    MarketBid,
    MarketBuy,
    MarketCancel,
    MarketEdit,
    MarketList,
)
from tests.harness import serving
from tools.bots import KINDS, acting, settler
from tools.bots.acting import ANOTHER_ANSWER, NOT_ASKED, Acting
from tools.bots.behaviour import BEHAVIOURS
from tools.bots.bids import SNIPE_MS, Temper, bid_for
from tools.bots.fleet import Fleet, Plan, Target, parse_target
from tools.bots.report import figures
from tools.bots.settler import Settler, open_plots
from tools.crash.host import free_port

NOWHERE = Target("localhost", 1, "/", "127.0.0.1")
DONE = {"parcel_id": 7}


def alone() -> tuple[Fleet, Acting, list[Any]]:
    """A bot without a line, and what it was told."""
    fleet = Fleet(Plan(NOWHERE, count=1, seconds=0), Acting)
    (bot,) = fleet._bots
    assert isinstance(bot, Acting)
    return fleet, bot, []


# --- the record ---


def test_an_answer_is_counted_kept_and_told() -> None:
    fleet, bot, told = alone()
    asked = bot.ask(LandAbandon, (7,), told.append)
    bot._granted(1, 5, DONE)
    assert (told, bot.record) == ([DONE], {asked.action_id: (5, DONE)})
    assert (fleet.tally.actions, fleet.tally.acks, len(fleet.tally.acks_ms), bot.unanswered) == (1, 1, 1, 0)
    assert not fleet.tally.errors


def test_every_action_has_an_id_of_its_own_in_every_run() -> None:
    ids = set()
    for _ in range(2):
        _, bot, told = alone()
        ids |= {bot.ask(LandAbandon, (7,), told.append).action_id for _ in range(3)}
    assert {len(one) for one in ids} == {16}
    assert len(ids) == 6


@pytest.mark.parametrize(("seq", "result"), [(6, DONE), (5, {"parcel_id": 8})])
def test_another_answer_to_the_same_action_is_an_error(seq: int, result: dict[str, int]) -> None:
    """Guard: the record in Acting._note."""
    fleet, bot, told = alone()
    asked = bot.ask(LandAbandon, (7,), told.append)
    bot._granted(1, 5, DONE)
    bot.ask_again(asked)
    bot._granted(2, 5, DONE)
    assert not fleet.tally.errors
    bot.ask_again(asked)
    bot._granted(3, seq, result)
    assert fleet.tally.errors == {ANOTHER_ANSWER: 1}


def test_a_refusal_of_what_was_done_is_an_error() -> None:
    """Guard: the look into the record in Acting._refused."""
    fleet, bot, told = alone()
    asked = bot.ask(LandAbandon, (7,), told.append)
    bot._granted(1, 5, DONE)
    bot.ask_again(asked)
    bot._refused(2, RefusalCode.NOT_FOUND, "There is no such parcel.")
    assert fleet.tally.errors == {ANOTHER_ANSWER: 1}


def test_an_answer_to_nothing_is_an_error() -> None:
    """Guard: the look for the request in Acting._granted."""
    fleet, bot, told = alone()
    bot.ask(LandAbandon, (7,), told.append)
    bot._granted(1, 5, DONE)
    bot._granted(1, 5, DONE)
    assert fleet.tally.errors == {NOT_ASKED: 1}


def test_a_refusal_is_counted_by_its_code_and_told() -> None:
    fleet, bot, told = alone()
    bot.ask(LandAbandon, (7,), told.append)
    bot._refused(1, RefusalCode.NOT_FOUND, "There is no such parcel.")
    assert (told, bot.unanswered, dict(fleet.tally.refusals)) == ([None], 0, {"NOT_FOUND": 1})
    assert not fleet.tally.errors


def test_what_the_server_puts_off_still_waits() -> None:
    fleet, bot, told = alone()
    bot.ask(LandAbandon, (7,), told.append)
    bot._refused(1, RefusalCode.UNAVAILABLE, "Try again.", 2_000)
    assert (told, bot.unanswered, dict(fleet.tally.refusals)) == ([], 1, {"UNAVAILABLE": 1})
    bot._granted(1, 5, DONE)
    assert told == [DONE]


def test_a_question_is_no_action() -> None:
    fleet, bot, told = alone()
    bot.question(LandMine, (), told.append)
    bot._granted(1, 0, {"parcels": []})
    assert (told, bot.record, fleet.tally.actions, fleet.tally.acks) == ([{"parcels": []}], {}, 0, 0)


# --- land ---


def parcel(px: int, py: int, pw: int = 1, ph: int = 1) -> dict[str, int]:
    """As land_in answers it."""
    names = ("x", "y", "width", "height")
    return dict(zip(names, (value * PLOT_TILES for value in (px, py, pw, ph)), strict=True))


@pytest.mark.parametrize(
    ("parcels", "expected"),
    [
        ([], {(x, y) for x in (-1, 0, 1) for y in (-1, 0, 1)}),
        ([parcel(0, 0)], set()),
        ([parcel(-2, -1, 1, 3)], {(x, y) for x in (0, 1) for y in (-1, 0, 1)}),
        ([parcel(2, 2, 3, 1)], {(x, y) for x in (-1, 0, 1) for y in (-1, 0, 1)} - {(1, 1)}),
    ],
)
def test_open_plots_have_nobodys_land_around(parcels: list[dict[str, int]], expected: set[Any]) -> None:
    assert set(open_plots((-1, -1), 3, parcels)) == expected


ME, ANNA = 5, 6
OWNERS_DO = (LandDescribe, LandLet, LandOpen, LandTransfer, MarketList)
BARE = {
    "y": 0,
    "width": PLOT_TILES,
    "height": PLOT_TILES,
    "name": "Home",
    "listing": None,
    "auction": None,
    "to_let": None,
    "lease": None,
    "given_to": None,
}
GIFT = {**BARE, "parcel_id": 7, "owner_id": ANNA, "given_to": ME, "x": 0}
OWN = {**BARE, "parcel_id": 8, "owner_id": ME, "x": 32}


@pytest.mark.parametrize(
    ("owned", "request_", "fields"),
    [(1, LandTake, (7,)), (settler.LANDS_MAX, LandTransfer, (7, ANNA))],
    ids=["takes it", "declines it"],
)
def test_a_settler_takes_what_it_is_given_while_it_wants_more(
    monkeypatch: pytest.MonkeyPatch, owned: int, request_: type[ClientMessage], fields: tuple[int, ...]
) -> None:
    """Guards: Settler._remember tells gifts from what is its own; _enter, after which it asks again."""
    monkeypatch.setattr(settler, "AGAIN_SHARE", 0.0)
    fleet = Fleet(Plan(NOWHERE, count=1, seconds=0, behaviour="settle"), Settler)
    (bot,) = fleet._bots
    assert isinstance(bot, Settler)
    for _ in range(2):
        bot._enter(ME, 0.0, 0.0)
        bot._next()
        (number, asked), *more = bot._asked.items()
        assert (asked.request, more) == (LandMine, [])
        own = [{**OWN, "parcel_id": 8 + number} for number in range(owned)]
        bot._granted(number, 0, {"parcels": [GIFT, *own], "more": False})
        assert set(bot._lands or ()) == {one["parcel_id"] for one in own}
        bot._next()
        ((number, asked),) = bot._asked.items()
        assert (asked.request, asked.fields) == (request_, fields)
        bot._granted(number, 1, {"parcel_id": 7})


def test_settlers_let_and_rent_and_leave_alone_what_is_let(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guard: `leased` in Settler._next; an owner may do nothing on land while somebody rents it."""
    monkeypatch.setattr(settler, "AGAIN_SHARE", 0.0)
    fleet = Fleet(Plan(NOWHERE, count=1, seconds=0, behaviour="settle"), Settler)
    (bot,) = fleet._bots
    assert isinstance(bot, Settler)
    bot._enter(ME, 0.0, 0.0)
    bot._remember({"parcels": [OWN, {**OWN, "parcel_id": 9, "lease": {}}]})
    asked = set()
    for number in range(200):
        bot._next()
        for request_id, one in list(bot._asked.items()):
            asked.add(one.request)
            assert one.request not in OWNERS_DO or one.fields[0] == 8
            terms, listing = {"rent": 1, "term_ms": 2, "deposit": 3}, {"listing_id": 3, "price": 4, "seq": 5}
            result = {"parcels": [{**GIFT, "to_let": terms, "listing": listing}]}
            done = {"parcel_id": 8, "listing_id": 6, "auction_id": 6, "ends_ms": 10**15}
            bot._granted(request_id, number, result if not one.action_id else done)
        bot._remember({"parcels": [OWN, {**OWN, "parcel_id": 9, "lease": {}}]})
    assert {LandLet, LandRent, LandToLet, MarketList, MarketBuy, MarketAuction} <= asked


def test_settlers_change_their_price_and_their_mind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guard: `sale_id` of a Land, by which a sale is edited and cancelled, and land that is for sale not given away or let."""
    monkeypatch.setattr(settler, "AGAIN_SHARE", 0.0)
    fleet = Fleet(Plan(NOWHERE, count=1, seconds=0, behaviour="settle"), Settler)
    (bot,) = fleet._bots
    assert isinstance(bot, Settler)
    bot._enter(ME, 0.0, 0.0)
    bot._remember({"parcels": [{**OWN, "listing": {"listing_id": 3, "price": 4, "seq": 5}}]})
    asked: set[type[ClientMessage]] = set()
    sale: type[ClientMessage] | None = MarketList
    done = {"parcel_id": 8, "listing_id": 3, "auction_id": 3, "ends_ms": 10**15}
    for number in range(500):
        bot._next()
        for request_id, one in list(bot._asked.items()):
            asked.add(one.request)
            if one.request in (MarketEdit, MarketCancel):
                assert (sale is None, one.fields[0]) == (False, 3)
                assert (sale, one.request) != (MarketAuction, MarketEdit)
            elif one.request in (MarketList, MarketAuction, LandLet, LandTransfer):
                assert sale is None
            elif one.request is LandOpen:
                assert sale is not MarketAuction
            if one.request in (MarketList, MarketAuction, MarketCancel):
                sale = None if one.request is MarketCancel else one.request
            bot._granted(request_id, number, done if one.action_id else None)
    assert {MarketEdit, MarketCancel, MarketList, MarketAuction, LandOpen} <= asked


@pytest.mark.parametrize(
    ("temper", "least", "buy_now", "bid"),
    [
        (Temper.PROXY, 100, None, (100, 1_000)),
        (Temper.SNIPER, 100, None, (100, None)),
        (Temper.BARGAIN, 400, None, (400, None)),
        (Temper.BARGAIN, 401, None, None),
        (Temper.SNIPER, 1_001, None, None),
        (Temper.SNIPER, 100, 1_000, (1_000, None)),
        (Temper.BARGAIN, 100, 1_000, (100, None)),
    ],
)
def test_how_settlers_bid(
    temper: Temper, least: int, buy_now: int | None, bid: tuple[int, int | None] | None
) -> None:
    assert bid_for(temper, {"least": least, "buy_now": buy_now}, 1_000) == bid


def test_who_snipes_looks_again_shortly_before_the_end_and_bids_then(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guard: `_wanted` in Settler._next."""
    fleet = Fleet(Plan(NOWHERE, count=1, seconds=0, behaviour="settle"), Settler)
    (bot,) = fleet._bots
    assert isinstance(bot, Settler)
    now_ms = 0.0
    monkeypatch.setattr(Settler, "world_ms", property(lambda _: now_ms))
    bot._enter(ME, 0.0, 0.0)
    bot._temper = Temper.SNIPER
    auction = {"auction_id": 3, "least": 100, "buy_now": None, "leader_id": ANNA, "ends_ms": 60_000}
    parcel = {**GIFT, "given_to": None, "auction": auction}
    bot._bid(parcel)
    assert not bot._asked
    now_ms = 60_000.0 - SNIPE_MS
    bot._next()
    ((number, asked),) = bot._asked.items()
    assert (asked.request, asked.fields) == (LandAt, (parcel["x"], parcel["y"]))
    bot._granted(number, 0, parcel)
    ((_, asked),) = bot._asked.items()
    assert (asked.request, asked.fields) == (MarketBid, (3, 100, None))


def test_settling_is_a_behaviour() -> None:
    assert KINDS.keys() <= BEHAVIOURS.keys()
    assert KINDS["settle"] is Settler


# --- with a server ---


@pytest.fixture(autouse=True)
def _busy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settlers who do not rest, and ask twice for much."""
    monkeypatch.setattr(settler, "PAUSE_S", (0.0, 0.01))
    monkeypatch.setattr(settler, "AGAIN_SHARE", 0.2)


def stored(data: Path) -> dict[bytes, tuple[int, Any]]:
    """The answers in the database of a server that runs: seq and result by action_id."""
    dsn = running_dsn(data)
    assert dsn is not None

    async def fetch() -> list[Any]:
        connection = await asyncpg.connect(dsn)
        try:
            return list(await connection.fetch("SELECT action_id, seq, result FROM answers"))
        finally:
            await connection.close()

    return {row["action_id"]: (row["seq"], json.loads(row["result"])) for row in asyncio.run(fetch())}


def settle(url: str, count: int, look: Callable[[Fleet, list[Settler]], None]) -> tuple[Fleet, list[Settler]]:
    """Settlers on a server until `look`, called now and then, stops them."""
    fleet = Fleet(Plan(parse_target(url), count=count, seconds=120, settle_s=0, behaviour="settle"), Settler)
    settlers = [bot for bot in fleet._bots if isinstance(bot, Settler)]
    fleet.on_progress = lambda fleet: look(fleet, settlers)
    fleet.run()
    return fleet, settlers


def record_of(settlers: list[Settler]) -> dict[bytes, tuple[int, Any]]:
    """All that they were told was done."""
    return {action_id: answer for one in settlers for action_id, answer in one.record.items()}


def test_settlers_settle_and_the_database_has_all_they_were_told(data: Path) -> None:
    def until_much_is_done(fleet: Fleet, _: list[Settler]) -> None:
        if fleet.tally.acks >= 60 and fleet.tally.repeats:
            fleet.stop()

    with serving(data) as server:
        fleet, settlers = settle(server.url, 6, until_much_is_done)
        there = stored(data)
    assert not fleet.tally.errors, fleet.tally.errors
    told = record_of(settlers)
    assert told.items() <= there.items()
    assert len(told) >= 40
    found = figures(fleet_run(fleet))
    assert found["ack_ms_p99"] > 0
    assert found["repeats"] == fleet.tally.repeats


def fleet_run(fleet: Fleet) -> Any:
    """A run of a fleet that has ended, for the report."""
    from tools.bots.report import Run

    return Run(fleet.plan.count, fleet.players, fleet.tally)


def test_what_a_killed_server_did_not_answer_is_asked_again_and_done_once(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guard: Acting._enter asks again for what was not answered. The server is killed right after it was asked."""
    waited: set[bytes] = set()
    flush = Settler.flush

    def waiting(settlers: Iterable[Acting]) -> set[bytes]:
        return {asked.action_id for one in settlers for asked in one._asked.values() if asked.action_id}

    with serving(data, {"SERVER__PORT": free_port()}) as server:

        def kill_once(bot: Settler) -> None:
            flush(bot)
            if not waited and bot._fleet.tally.acks >= 20 and waiting([bot]):
                waited.update(waiting([bot]))
                server.kill()
                server.start()

        def until_all_are_answered(fleet: Fleet, settlers: list[Settler]) -> None:
            if waited and not waited & waiting(settlers):
                fleet.stop()

        monkeypatch.setattr(Settler, "flush", kill_once)
        fleet, settlers = settle(server.url, 6, until_all_are_answered)
        there = stored(data)
    assert waited
    assert not waited & waiting(settlers)
    assert not fleet.tally.errors, fleet.tally.errors
    assert record_of(settlers).items() <= there.items()
    assert len({seq for seq, _ in there.values()}) == len(there)


def test_ids_fit_the_wire() -> None:
    assert acting.RUN_BYTES + acting.COUNT_BYTES == 16
