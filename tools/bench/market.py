"""`landworld bench market`: how many trades and bids a second, beside the same done as one transaction of PostgreSQL each?

A trade is a purchase at the price as seen and the same land up for sale again by who bought it: money in three accounts, a parcel, one
sale over and one begun. A bid leads: its money is set aside, that of who led comes back. A quarter of what is for sale are auctions.

    rules   the world's own rules and entries on one core, --listings of them open: no sockets, no disk
    sql     the peer: one call of one SQL function each, ten connections, on an embedded PostgreSQL with the same rows: it locks the
            sale and both wallets, checks price and money, moves everything, writes postings and the entry, and commits to the disk

Trades once with a sale of its own for each, and once with everybody after one parcel; bids all in one auction. The peer commits each to
the disk, and the rules alone do not: what they make is flushed in groups, and `bench durable` tells what comes of that end to end.

endings     --endings auctions are over in one tick: how long takes at worst what the server does of it between two ticks, which is
            rules, entries, and the news of them
"""

import argparse
import asyncio
import gc
import json
import random
import tempfile
import time
from collections import Counter
from pathlib import Path
from shutil import rmtree
from typing import Any

import asyncpg
from rich.console import Console

from persistence.embedded import DataDirectory, EmbeddedPostgres
from persistence.migrations import migrate
from persistence.rows import parcel_row, sale_row
from protocol.errors import Refusal
from protocol.messages import MarketBid, MarketBuy, MarketList, Role
from server.actions import SETTLE_MAX, content_of
from server.withheld import Withheld
from tools.bench.attend import kept, show
from tools.bench.held import Target
from tools.bench.live import STOP_TIMEOUT_S, on_load
from world.bidding import Standing, Terms
from world.commands import Act, AnyDurable, RecallBooks, Settle
from world.ledger import ESCROW, HOUSE, TREASURY, Hold
from world.market import inspection
from world.parcels import Parcel
from world.sales import NO_HOLD, Auction, FeeTerms, Listing
from world.settlement import Due, first_due
from world.state import LandRules, MarketRules, Rules, State
from world.tick import act, step

LISTINGS, TRADERS, SECONDS = 200_000, 5_000, 10.0  # forty for each: nobody may sell more than 64 at a time
CONNECTIONS = 10
START_S = 120.0
BATCH = 200  # trades done at once, as between two ticks
SIDE = 1_024  # parcels in a row
TICK_OVER = 2**32  # long after all else
PRICE, GRANT = 5_000, 10**12  # poisha
FEE = FeeTerms(250, 100)  # as config.toml has it
RULES = Rules(
    20,
    4.0,
    1,
    4,
    24.0,
    300,
    10,
    5,
    LandRules(player_parcels_max=2**31, player_plots_max=2**31),
    MarketRules(250, 100, player_listings_max=2**31, player_leads_max=2**31),
)

ENDINGS = 10_000  # auctions that are over in one tick
BETWEEN_TICKS_MS = 25.0  # half a tick, as server/actions.py takes at least

PROMISES = (
    Target("times the SQL function, all after one parcel", "contended_ratio", least=10),
    Target("times the SQL function, all bidding in one auction", "bids_ratio", least=10),
    Target(
        "auctions that end at once, between two ticks at worst, ms", "endings_ms_worst", most=BETWEEN_TICKS_MS
    ),
)
WORKS = ("uncontended", "contended", "bids")

_FUNCTIONS = """
CREATE FUNCTION trade(of bigint, buyer bigint, seen bigint, fee bigint) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    told sales%ROWTYPE;
    entry bigint;
    buyers bigint;
    sellers bigint;
    kept bigint;
BEGIN
    SELECT * INTO told FROM sales WHERE parcel_id = of FOR UPDATE;
    IF told.sale_id IS NULL OR (told.sale->>'price')::bigint <> seen OR told.seller_id = buyer THEN
        RETURN 0;
    END IF;
    PERFORM 1 FROM accounts WHERE account_id IN (buyer, told.seller_id) ORDER BY account_id FOR UPDATE;
    entry := nextval('entries');
    UPDATE accounts SET balance = balance - seen, seq = entry WHERE account_id = buyer RETURNING balance INTO buyers;
    IF buyers < 0 THEN
        RAISE EXCEPTION 'no money';
    END IF;
    UPDATE accounts SET balance = balance + seen - fee, seq = entry WHERE account_id = told.seller_id
        RETURNING balance INTO sellers;
    UPDATE accounts SET balance = balance + fee, seq = entry WHERE account_id = house RETURNING balance INTO kept;
    INSERT INTO postings VALUES
        (entry, 0, buyer, -seen, buyers), (entry, 1, told.seller_id, seen - fee, sellers), (entry, 2, house, fee, kept);
    UPDATE parcels SET owner_id = buyer WHERE parcel_id = of;
    DELETE FROM sales WHERE sale_id = told.sale_id;
    INSERT INTO sales VALUES (entry, of, buyer, told.sale);
    INSERT INTO journal (seq, epoch, record, digest) VALUES (entry, 1, told.sale, decode(repeat('00', 32), 'hex'));
    RETURN entry;
END $$;

CREATE FUNCTION bid(of bigint, bidder bigint, more bigint) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    told sales%ROWTYPE;
    entry bigint;
    price bigint;
    leader bigint;
    bidders bigint;
    leaders bigint;
BEGIN
    SELECT * INTO told FROM sales WHERE parcel_id = of FOR UPDATE;
    leader := (told.sale->>'leader_id')::bigint;
    price := (told.sale->>'price')::bigint + more;
    IF told.sale_id IS NULL OR leader = bidder OR told.seller_id = bidder THEN
        RETURN 0;
    END IF;
    PERFORM 1 FROM accounts WHERE account_id IN (bidder, leader) ORDER BY account_id FOR UPDATE;
    entry := nextval('entries');
    UPDATE accounts SET balance = balance - price, seq = entry WHERE account_id = bidder RETURNING balance INTO bidders;
    IF bidders < 0 THEN
        RAISE EXCEPTION 'no money';
    END IF;
    INSERT INTO postings VALUES (entry, 0, bidder, -price, bidders), (entry, 1, escrow, price, price);
    IF leader > 0 THEN
        UPDATE accounts SET balance = balance + price - more, seq = entry WHERE account_id = leader
            RETURNING balance INTO leaders;
        INSERT INTO postings VALUES (entry, 2, leader, price - more, leaders), (entry, 3, escrow, more - price, price);
        DELETE FROM holds WHERE hold_id = (told.sale->>'hold_id')::bigint;
    END IF;
    UPDATE accounts SET balance = balance + more, seq = entry WHERE account_id = escrow;
    INSERT INTO holds VALUES (entry, bidder, price, 'a bid');
    UPDATE sales SET sale = json_build_object('price', price, 'leader_id', bidder, 'hold_id', entry)
        WHERE sale_id = told.sale_id;
    INSERT INTO journal (seq, epoch, record, digest) VALUES (entry, 1, told.sale, decode(repeat('00', 32), 'hex'));
    RETURN entry;
END $$
"""


def add_parser(sub: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register `landworld bench market`."""
    parser = sub.add_parser("market", help="trades a second, beside an SQL function", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--listings", type=int, default=LISTINGS, metavar="N", help=f"(default {LISTINGS:,})")
    parser.add_argument("--endings", type=int, default=ENDINGS, metavar="N", help=f"(default {ENDINGS:,})")
    parser.add_argument("--seconds", type=float, default=SECONDS, metavar="S", help="of each of the six")
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line")
    parser.set_defaults(run=run)


@on_load
def run(args: argparse.Namespace) -> int:
    """Run the command; exit code 1 when a promise was missed."""
    found = measure(args.listings, args.endings, args.seconds)
    console = Console(stderr=args.json)
    for name in WORKS:
        console.print(
            f"{name:12} rules {found[f'{name}_per_s']:10,.0f}/s    sql {found[f'{name}_sql_per_s']:8,.0f}/s"
            f"    {found[f'{name}_ratio']:.1f} times",
            highlight=False,
        )
    console.print(
        f"{'endings':12} {found['endings']:,} auctions in {found['endings_ticks']} ticks, {found['endings_ms_p50']:.1f} ms of each,"
        f" {found['endings_ms_worst']:.1f} at worst",
        highlight=False,
    )
    show(found, PROMISES, console)
    if args.json:
        print(json.dumps(found))
    return 0 if kept(found, PROMISES) else 1


def measure(listings: int, endings: int, seconds: float) -> dict[str, Any]:
    """All figures; keys end in their unit."""
    state = filled(listings, endings)
    gc.collect()
    gc.freeze()  # as the server does once all is read (server/garbage.py)
    dice = random.Random(1)  # noqa: S311 (a sample)
    found: dict[str, Any] = {"listings": listings}
    for name, parcels in (("uncontended", listings - auctions_of(listings)), ("contended", 1)):
        found[f"{name}_per_s"] = round(_trade(state, dice, parcels, seconds), 1)
    found["bids_per_s"] = round(_bid(state, dice, listings, seconds), 1)
    found |= _end(state)
    breach = next(iter(state.ledger.breaches()), None)
    assert breach is None, breach
    found |= asyncio.run(_sql(listings, seconds))
    for name in WORKS:
        found[f"{name}_ratio"] = round(found[f"{name}_per_s"] / found[f"{name}_sql_per_s"], 2)
    return found


# --- the rules ---


def auctions_of(listings: int) -> int:
    """How many of what is for sale are auctions: those with the highest parcel_ids."""
    return listings // 4


def filled(listings: int, endings: int) -> State:
    """A world in which so many parcels are for sale, each beside the next; so many auctions, with a bid each, are over at TICK_OVER."""
    state = State(RULES)
    first = listings - auctions_of(listings) + 1
    led = range(first, first + min(endings, auctions_of(listings) - 1))
    holds = [Hold(parcel_id, _leader(parcel_id), PRICE, "a bid") for parcel_id in led]
    spent = Counter(hold.account for hold in holds)
    balances = [
        (TREASURY, -TRADERS * GRANT),
        (HOUSE, 0),
        (ESCROW, PRICE * len(holds)),
        *((one, GRANT - PRICE * spent[one]) for one in range(1, TRADERS + 1)),
    ]
    step(state, [RecallBooks(listings, bytes(32), balances, holds)], 1)
    state.opened = -(2**31)
    for parcel_id in range(1, listings + 1):
        parcel, listing = owned(state, parcel_id)
        state.parcels.put(parcel)
        sale = listing if parcel_id < first else _auctioned(listing, led)
        state.sales.put(sale, parcel.middle)
    return state


def _leader(parcel_id: int) -> int:
    """Somebody else than its owner."""
    return 1 + (parcel_id + 1) % TRADERS


def _auctioned(listing: Listing, led: range) -> Auction:
    """The same land in an auction."""
    parcel_id, far = listing.parcel_id, 2**40
    leads = parcel_id in led
    standing = Standing(TICK_OVER, PRICE, _leader(parcel_id), PRICE, 1) if leads else Standing(far)
    return Auction(
        listing.listing_id,
        parcel_id,
        listing.seller_id,
        False,
        FEE,
        listing.inspected,
        Terms(PRICE, 1, 0, latest=far),
        False,
        standing,
        parcel_id if leads else NO_HOLD,
        parcel_id,
        parcel_id,
        leader_name="somebody" if leads else "",
    )


def owned(state: State, parcel_id: int) -> tuple[Parcel, Listing]:
    """A parcel and its sale, by one trader after the other."""
    owner_id = 1 + parcel_id % TRADERS
    parcel = Parcel(parcel_id, owner_id, "somebody", parcel_id % SIDE - SIDE // 2, parcel_id // SIDE, 1, 1)
    as_it_is = inspection(state, parcel, keeps=False)
    return parcel, Listing(
        parcel_id, parcel_id, owner_id, PRICE, False, FEE, as_it_is, None, parcel_id, parcel_id
    )


def _trade(state: State, dice: random.Random, parcels: int, seconds: float) -> float:
    """Trades a second among the first so many parcels."""
    done, number, began_s = 0, 2 * state.seq, time.perf_counter()  # another number than any before
    while (lasted_s := time.perf_counter() - began_s) < seconds:
        state.tick += 1
        for _ in range(BATCH):
            number += 1
            listing = state.sales.on(1 + dice.randrange(parcels))
            assert isinstance(listing, Listing)
            buyer = 1 + (listing.seller_id + dice.randrange(TRADERS - 1)) % TRADERS
            asked: tuple[AnyDurable, ...] = (
                MarketBuy(1, (2 * number).to_bytes(16), listing.listing_id, PRICE),
                MarketList(1, (2 * number + 1).to_bytes(16), listing.parcel_id, PRICE),
            )
            acts = [Act(buyer, "somebody", Role.USER, 0, one, content_of(one)) for one in asked]
            for reply in act(state, list(acts)).replies:
                assert not isinstance(reply.result, Refusal), reply.result
            done += 1
    return done / lasted_s


def _bid(state: State, dice: random.Random, parcel_id: int, seconds: float) -> float:
    """Bids a second in one auction, each above the one before."""
    done, began_s = 0, time.perf_counter()
    while (lasted_s := time.perf_counter() - began_s) < seconds:
        state.tick += 1
        for _ in range(BATCH):
            auction = state.sales.on(parcel_id)
            assert isinstance(auction, Auction)
            bidder = 1 + (auction.seller_id + dice.randrange(TRADERS - 1)) % TRADERS
            asked = MarketBid(
                1, (state.seq + 1).to_bytes(16), auction.auction_id, auction.standing.maximum + PRICE
            )
            one = Act(bidder, "somebody", Role.USER, 0, asked, content_of(asked))
            (reply,) = act(state, [one]).replies
            assert not isinstance(reply.result, Refusal), reply.result
            done += 1
    return done / lasted_s


def _end(state: State) -> dict[str, float]:
    """What the endings take between two ticks: as many as the server does at once, and what it tells of them."""
    state.tick = TICK_OVER
    before, took_ms = state.sales.auctions, list[float]()
    entries_max, _ = SETTLE_MAX[Due.SALE]
    while first_due(state) is not None:
        withheld, began_s = Withheld(), time.perf_counter()
        withheld.take(state, act(state, [Settle(entries_max)]))
        took_ms.append((time.perf_counter() - began_s) * 1_000)
    took_ms.sort()
    return {
        "endings": before - state.sales.auctions,
        "endings_ticks": len(took_ms),
        "endings_ms_p50": round(took_ms[len(took_ms) // 2], 2),
        "endings_ms_worst": round(took_ms[-1], 2),
    }


# --- the peer ---


async def _sql(listings: int, seconds: float) -> dict[str, float]:
    """Trades a second of the peer, on an embedded PostgreSQL of its own."""
    # Not under a directory that is closed to others: as root, the database runs as a user of its own.
    place = Path(tempfile.mkdtemp(prefix="landworld-bench-"))
    try:
        with DataDirectory(place / "data"):
            postgres = EmbeddedPostgres(place / "data", lambda _: None, START_S)
            dsn = await postgres.start()
            try:
                await migrate(dsn, lambda _: None)
                await _fill(dsn, listings)
                return await _call_all(dsn, listings, seconds)
            finally:
                await postgres.stop(STOP_TIMEOUT_S)
    finally:
        rmtree(place, ignore_errors=True)


async def _call_all(dsn: str, listings: int, seconds: float) -> dict[str, float]:
    connections = [await asyncpg.connect(dsn) for _ in range(CONNECTIONS)]
    found = {}
    trade, bid = "SELECT trade($1, $2, $3, $4)", "SELECT bid($1, $2, $3)"
    for name, call, among in (
        ("uncontended", trade, range(1, listings + 1)),
        ("contended", trade, range(1, 2)),
        ("bids", bid, range(listings, listings + 1)),
    ):
        until_s = time.monotonic() + seconds
        done = await asyncio.gather(
            *(_call(one, call, random.Random(place), among, until_s) for place, one in enumerate(connections))  # noqa: S311 (a sample)
        )
        found[f"{name}_sql_per_s"] = round(sum(done) / seconds, 1)
    for connection in connections:
        await connection.close()
    return found


async def _call(connection: Any, call: str, dice: random.Random, among: range, until_s: float) -> int:
    """One connection's trades, or bids; how many were done."""
    done = 0
    fee = [FEE.of(PRICE)] if "trade" in call else []
    while time.monotonic() < until_s:
        done += (
            await connection.fetchval(call, dice.choice(among), 1 + dice.randrange(TRADERS), PRICE, *fee) > 0
        )
    return done


async def _fill(dsn: str, listings: int) -> None:
    connection = await asyncpg.connect(dsn)
    await connection.execute(f"CREATE SEQUENCE entries START {listings + 1}")
    await connection.execute(_FUNCTIONS.replace("house", str(HOUSE)).replace("escrow", str(ESCROW)))
    accounts = [
        (TREASURY, -TRADERS * GRANT, 0),
        (HOUSE, 0, 0),
        (ESCROW, 0, 0),
        *((one, GRANT, 0) for one in range(1, TRADERS + 1)),
    ]
    await connection.copy_records_to_table(
        "accounts", records=accounts, columns=("account_id", "balance", "seq")
    )
    state = State(RULES)
    rows = [owned(state, parcel_id) for parcel_id in range(1, listings + 1)]
    await connection.copy_records_to_table(
        "parcels",
        records=[parcel_row(parcel) for parcel, _ in rows],
        columns=("parcel_id", "owner_id", "px", "py", "pw", "ph", "parcel"),
    )
    await connection.copy_records_to_table(
        "sales",
        records=[sale_row(listing) for _, listing in rows],
        columns=("sale_id", "parcel_id", "seller_id", "sale"),
    )
    await connection.execute("ANALYZE")
    await connection.close()
