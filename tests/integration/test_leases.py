"""Leases over a real server: they end by themselves, after a restart, after an outage, and everybody concerned is told."""

import asyncio
import itertools
import os
from pathlib import Path
from typing import Any

from persistence.journal import JOURNAL_AGE_S
from protocol.messages import (
    PLOT_TILES,
    ClientMessage,
    LandClaim,
    LandLeave,
    LandLet,
    LandMine,
    LandRent,
    LeaseEnded,
    Move,
    Moved,
    Ok,
    Wallet,
    WalletStatement,
)
from tests.conftest import stopped
from tests.harness import Client, ServerProcess, serving
from tests.integration.database import postmaster, sql

GRANT, RENT, DEPOSIT = 100_000, 200, 300
SETTINGS = {"WORLD__SPAWN_RADIUS": 2, "LAND__LEASE_TERM_MIN_S": 1, "ECONOMY__STARTING_GRANT": GRANT}
ACTION_IDS = (os.urandom(16) for _ in itertools.count())


async def do(client: Client, kind: type[ClientMessage], *fields: Any) -> dict[str, Any]:
    """Something durable, or a question; the result."""
    durable = [next(ACTION_IDS)] if "action_id" in kind.__struct_fields__ else []
    answer = await client.ask(kind(next(client.ids), *durable, *fields))
    assert isinstance(answer, Ok), answer
    result: dict[str, Any] = answer.result
    return result


async def rented(server: ServerProcess, term_ms: int, renewable: bool) -> tuple[Client, Client, int]:
    """Ada's land, let to Bea."""
    ada, bea = [await Client.join(server, server.token(name)) for name in ("Ada", "Bea")]
    claimed = await do(
        ada, LandClaim, 0, 0, PLOT_TILES, PLOT_TILES
    )  # the middle of the world is never all water
    parcel_id: int = claimed["parcel_id"]
    await do(ada, LandLet, parcel_id, RENT, term_ms, DEPOSIT, renewable)
    await do(bea, LandRent, parcel_id, RENT)
    return ada, bea, parcel_id


async def test_a_lease_goes_on_after_a_restart_and_its_end_is_told_and_stored(data: Path) -> None:
    """Guards: the lease in the row of its parcel, what is due after a recall, Settle."""
    with serving(data, SETTINGS) as server:
        ada, bea, parcel_id = await rented(server, 15_000, renewable=False)
        assert await do(bea, Wallet) == {"balance": GRANT - RENT - DEPOSIT, "held": DEPOSIT}
        (mine,) = (await do(bea, LandMine))["parcels"]
        assert mine["lease"]["tenant_id"] == bea.player_id
        assert await asyncio.to_thread(server.stop) == 0
    with serving(data, SETTINGS) as server:
        ada, bea = [await Client.join(server, server.token(name)) for name in ("Ada", "Bea")]
        assert await do(bea, Wallet) == {"balance": GRANT - RENT - DEPOSIT, "held": DEPOSIT}
        for one in (ada, bea):
            assert await one.wait(LeaseEnded) == LeaseEnded(parcel_id, bea.player_id)
        assert await do(bea, Wallet) == {"balance": GRANT - RENT, "held": 0}
        assert (await do(bea, LandMine))["parcels"] == []
        assert await sql(data, "SELECT count(*) FROM holds") == 0
        kinds = [one["kind"] for one in (await do(bea, WalletStatement))["postings"]]
        assert kinds == ["lease_ended", "land_rent", "land_rent"]  # the last is the starting grant
        await asyncio.gather(ada.leave(), bea.leave())


async def test_while_the_database_is_away_nothing_is_settled_and_then_every_term(data: Path) -> None:
    """Guard: the room of the journal in Actions.admit."""
    with serving(data, SETTINGS) as server:
        ada, bea, parcel_id = await rented(server, 1_000, renewable=True)
        with stopped(postmaster(data)):
            await server.until("landworld_journal_lag_seconds", lambda lag: lag > JOURNAL_AGE_S)
            seq = server.metric("landworld_journal_seq")
            begun = await tick_of(bea)
            while await tick_of(bea) < begun + 100:  # five terms
                pass
            assert server.metric("landworld_journal_seq") == seq
        await server.until("landworld_journal_durable_seq", lambda now: now >= seq + 5)
        await do(bea, LandLeave, parcel_id)
        await bea.wait(LeaseEnded)
        postings = (await do(bea, WalletStatement))["postings"]
        (rented_ms,) = {one["time_ms"] for one in postings if one["kind"] == "land_rent"}
        (ended_ms,) = [one["time_ms"] for one in postings if one["kind"] == "lease_ended"]
        rents = 1 + sum(one["kind"] == "lease_renewed" for one in postings)
        assert rents >= 6
        assert ended_ms >= rented_ms + 1_000 * rents
        assert await do(bea, Wallet) == {"balance": GRANT - rents * RENT, "held": 0}
        await asyncio.gather(ada.leave(), bea.leave())


async def tick_of(client: Client) -> int:
    """The world's tick now."""
    seq = next(client.ids)
    await client.send(Move(seq, 0.0, 0.0))
    return (await client.wait(Moved, lambda moved: moved.seq == seq)).tick
