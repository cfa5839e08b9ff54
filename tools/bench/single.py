"""The peer of `bench durable`: the same actions as one would write them first, each a transaction of its own, with asyncpg.

    BEGIN; lock the row; change it (and two wallets, and their postings); the entry; the answer; COMMIT

CONNECTIONS of them at once, each with homesteads of its own (homesteads.py), in the tables of the server but in another database of the
same PostgreSQL. It is spared what the server does besides: sockets, rules, the chain of digests, one order of all entries.

    python -m tools.bench.single DSN SECONDS    prints {"actions", "seconds", "cpu_s"}
"""

import asyncio
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any

import asyncpg
import msgspec

from persistence.migrations import migrate
from protocol.messages import (
    PLOT_TILES,
    ClientMessage,
    LandAbandon,
    LandClaim,
    LandDescribe,
    LandOpen,
    MarketBuy,
    MarketList,
    TileEdit,
    name_of,
)
from protocol.snapshot import CELL_TILES
from tools.bench.homesteads import life
from tools.bots.acting import COUNT_BYTES, RUN_BYTES
from world.ledger import HOUSE, TREASURY
from world.parcels import Parcel
from world.sales import DIGEST_BYTES, FeeTerms, Inspection, Listing

CONNECTIONS = 10
DATABASE = "single"
PLAYERS = 2 * CONNECTIONS
GRANT = 10**12  # poisha
CLAIM_PRICE = 500
FEE = FeeTerms(250, 100)  # as config.toml has it
INSPECTED = Inspection(bytes(DIGEST_BYTES), 0, 0)  # not looked at
RECORD_BYTES = 220  # what an entry of the server has on average

_LOCK_ACCOUNT = "SELECT balance FROM accounts WHERE account_id = $1 FOR UPDATE"
_LOCK_PARCEL = "SELECT parcel FROM parcels WHERE parcel_id = $1 FOR UPDATE"
_LOCK_SURFACE = "SELECT edits FROM surfaces WHERE cx = $1 AND cy = $2 FOR UPDATE"
_PAY = "UPDATE accounts SET balance = balance + $2, seq = $3 WHERE account_id = $1 RETURNING balance"
_POST = """
INSERT INTO postings (seq, place, account_id, amount, balance)
SELECT $1, place - 1, account_id, amount, balance
FROM unnest($2::bigint[], $3::bigint[], $4::bigint[]) WITH ORDINALITY AS leg (account_id, amount, balance, place)
"""
_NEW_PARCEL = """
INSERT INTO parcels (parcel_id, owner_id, px, py, pw, ph, parcel) VALUES ($1, $2, $3, $4, 1, 1, $5)
"""
_CHANGE_PARCEL = "UPDATE parcels SET owner_id = $2, parcel = $3 WHERE parcel_id = $1"
_NEW_SALE = "INSERT INTO sales (sale_id, parcel_id, seller_id, sale) VALUES ($1, $2, $3, $4)"
_LOCK_SALE = "SELECT sale FROM sales WHERE sale_id = $1 FOR UPDATE"
_END_SALE = "DELETE FROM sales WHERE sale_id = $1"
_BUILD = """
INSERT INTO surfaces (cx, cy, version, edits) VALUES ($1, $2, 2, $3)
ON CONFLICT (cx, cy) DO UPDATE SET version = surfaces.version + 1, edits = excluded.edits
"""
_ENTRY = "INSERT INTO journal (seq, epoch, record, digest) VALUES ($1, 1, $2, $3)"
_ANSWER = (
    "INSERT INTO answers (action_id, player_id, content_digest, seq, result) VALUES ($1, $2, $3, $4, $5)"
)
_encode, _decode = msgspec.json.encode, msgspec.json.decode

Connection = Any  # asyncpg's class is generic for the type checker only


async def act(
    connection: Connection,
    action_id: bytes,
    player_id: int,
    request: type[ClientMessage],
    fields: tuple[Any, ...],
) -> dict[str, Any]:
    """One action, whole; answers its result."""
    async with connection.transaction():
        seq = await connection.fetchval("SELECT nextval('entries')")
        result = await _DO[request](connection, seq, player_id, *fields)
        record = {"kind": name_of(request), "player_id": player_id, "asked": str(fields), "result": result}
        text = _encode(record).decode()
        padded = f'{text[:-1]},"changes":"{"." * max(0, RECORD_BYTES - len(text))}"}}'
        await connection.execute(_ENTRY, seq, padded, bytes(32))
        answer = _encode(result).decode()
        await connection.execute(_ANSWER, action_id, player_id, bytes(16), seq, answer)
    return result


async def _claim(connection: Connection, seq: int, player_id: int, x: int, y: int, *_: int) -> dict[str, Any]:
    parcel = Parcel(seq, player_id, "somebody", x // PLOT_TILES, y // PLOT_TILES, 1, 1, seq=seq)
    await connection.fetchval(_LOCK_ACCOUNT, player_id)
    await connection.execute(_NEW_PARCEL, seq, player_id, parcel.px, parcel.py, _encode(parcel).decode())
    await _pay(connection, seq, (player_id, -CLAIM_PRICE), (HOUSE, CLAIM_PRICE))
    return {"parcel_id": seq, "price": CLAIM_PRICE}


async def _pay(connection: Connection, seq: int, *legs: tuple[int, int]) -> None:
    """(account, amount) legs; the house last: everybody waits for its row."""
    balances = [await connection.fetchval(_PAY, account, amount, seq) for account, amount in legs]
    await connection.execute(_POST, seq, *(list(column) for column in zip(*legs, strict=True)), balances)


async def _change(connection: Connection, parcel_id: int, **fields: Any) -> dict[str, Any]:
    parcel = _decode(await connection.fetchval(_LOCK_PARCEL, parcel_id), type=Parcel)
    changed = msgspec.structs.replace(parcel, **fields)
    await connection.execute(_CHANGE_PARCEL, parcel_id, changed.owner_id, _encode(changed).decode())
    return {"parcel_id": parcel_id}


async def _describe(
    connection: Connection, seq: int, _: int, parcel_id: int, name: str, text: str
) -> dict[str, Any]:
    return await _change(connection, parcel_id, name=name, description=text, seq=seq)


async def _open(
    connection: Connection, seq: int, _: int, parcel_id: int, enter: bool, build: bool
) -> dict[str, Any]:
    return await _change(connection, parcel_id, open_enter=enter, open_build=build, seq=seq)


async def _list(connection: Connection, seq: int, seller: int, parcel_id: int, price: int) -> dict[str, Any]:
    await connection.fetchval(_LOCK_PARCEL, parcel_id)
    listing = Listing(seq, parcel_id, seller, price, False, FEE, INSPECTED, None, seq, seq)
    await connection.execute(_NEW_SALE, seq, parcel_id, seller, _encode(listing).decode())
    return {"listing_id": seq, "parcel_id": parcel_id}


async def _buy(connection: Connection, seq: int, buyer: int, listing_id: int, price: int) -> dict[str, Any]:
    listing = _decode(await connection.fetchval(_LOCK_SALE, listing_id), type=Listing)
    await connection.execute(_END_SALE, listing_id)
    bought = await _change(connection, listing.parcel_id, owner_id=buyer, seq=seq)
    fee = listing.fee
    await _pay(connection, seq, (buyer, -price), (listing.seller_id, price - fee), (HOUSE, fee))
    return bought | {"listing_id": listing_id, "seller_id": listing.seller_id, "price": price, "fee": fee}


async def _abandon(connection: Connection, seq: int, _: int, parcel_id: int) -> dict[str, Any]:
    parcel = _decode(await connection.fetchval(_LOCK_PARCEL, parcel_id), type=Parcel)
    await connection.execute("DELETE FROM parcels WHERE parcel_id = $1", parcel_id)
    chunk = parcel.px * PLOT_TILES // CELL_TILES, parcel.py * PLOT_TILES // CELL_TILES
    await connection.fetchval(_LOCK_SURFACE, *chunk)
    await connection.execute(_BUILD, *chunk, b"")
    return {"parcel_id": parcel_id}


async def _edit(connection: Connection, seq: int, _: int, edits: bytes) -> dict[str, Any]:
    x, y = (int.from_bytes(edits[at : at + 4], "little", signed=True) for at in (0, 4))
    chunk = x // CELL_TILES, y // CELL_TILES
    before = await connection.fetchval(_LOCK_SURFACE, *chunk)
    await connection.execute(_BUILD, *chunk, (before or b"") + edits)
    return {"count": len(edits) // 9}


_DO: dict[type[ClientMessage], Callable[..., Awaitable[dict[str, Any]]]] = {
    LandClaim: _claim,
    LandDescribe: _describe,
    LandOpen: _open,
    MarketList: _list,
    MarketBuy: _buy,
    LandAbandon: _abandon,
    TileEdit: _edit,
}


async def prepare(dsn: str) -> str:
    """Another database beside that of `dsn`, with the same tables and rich players; answers its DSN."""
    admin = await asyncpg.connect(dsn)
    with suppress(asyncpg.DuplicateDatabaseError):
        await admin.execute(f"CREATE DATABASE {DATABASE}")
    await admin.close()
    head, _, options = dsn.partition("?")
    own = f"{head.rpartition('/')[0]}/{DATABASE}?{options}"
    await migrate(own, lambda _: None)
    connection = await asyncpg.connect(own)
    await connection.execute("CREATE SEQUENCE IF NOT EXISTS entries")
    rows = [(TREASURY, -PLAYERS * GRANT, 0), (HOUSE, 0, 0)]
    rows += [(player_id, GRANT, 0) for player_id in range(1, PLAYERS + 1)]
    await connection.copy_records_to_table("accounts", records=rows, columns=("account_id", "balance", "seq"))
    await connection.close()
    return own


async def run(dsn: str, seconds: float) -> dict[str, Any]:
    """So many seconds of it."""
    own = await prepare(dsn)
    connections = [await asyncpg.connect(own) for _ in range(CONNECTIONS)]
    began, cpu_s = time.monotonic(), time.process_time()
    done = await asyncio.gather(
        *(_live(connection, place, began + seconds) for place, connection in enumerate(connections))
    )
    lasted, spent = time.monotonic() - began, time.process_time() - cpu_s
    for connection in connections:
        await connection.close()
    return {"actions": sum(done), "seconds": round(lasted, 3), "cpu_s": round(spent, 3)}


async def _live(connection: Connection, place: int, until_s: float) -> int:
    """One connection's homestead, life after life; how many actions it did."""
    players = 2 * place + 1, 2 * place + 2
    ours = os.urandom(RUN_BYTES)
    steps, done = life((2 * place * CELL_TILES, 0)), 0
    who, request, fields = next(steps)
    while time.monotonic() < until_s:
        done += 1
        action_id = ours + done.to_bytes(COUNT_BYTES, "big")
        result = await act(connection, action_id, players[who], request, fields)
        who, request, fields = steps.send(result)
    return done


def main(arguments: Sequence[str]) -> None:
    """The command."""
    print(json.dumps(asyncio.run(run(arguments[0], float(arguments[1])))))


if __name__ == "__main__":
    main(sys.argv[1:])
