"""Promise 4 over a real server: nothing comes from nothing, and where something seems to, the market closes and says so."""

import asyncio
import contextlib
import json
from pathlib import Path

import asyncpg
from websockets.exceptions import ConnectionClosed

from persistence.embedded import DataDirectory, EmbeddedPostgres, running_dsn
from protocol.errors import RefusalCode
from protocol.messages import PLOT_TILES, LandClaim, LandDescribe, MarketList, Ok, Refused
from tests.conftest import START_S
from tests.harness import WAIT_S, Client, ServerProcess, serving

DONE = (1).to_bytes(16)  # a claim
OTHER = (2).to_bytes(16)


async def claim(player: Client, action_id: bytes) -> Ok | Refused:
    """The first plot near the middle that has land: the same each time."""
    request_id = next(player.ids)
    for px in range(64):
        place = (px * PLOT_TILES, 0, PLOT_TILES, PLOT_TILES)
        answer = await player.ask(LandClaim(request_id, action_id, *place))
        if isinstance(answer, Ok) or answer.code is not RefusalCode.BAD_REQUEST:
            return answer
        request_id = next(player.ids)
    raise AssertionError("no land near the middle")


def tamper(data: Path) -> None:
    """Money from nothing, behind everybody's back."""

    async def work() -> None:
        with DataDirectory(data) as directory:
            postgres = EmbeddedPostgres(directory.path, print, START_S)
            connection = await asyncpg.connect(await postgres.start())
            await connection.execute("UPDATE accounts SET balance = balance + 1 WHERE account_id = -2")
            await connection.close()
            await postgres.stop()

    asyncio.run(work())


def test_a_world_whose_books_do_not_balance_opens_with_its_market_closed(data: Path) -> None:
    """Guards: the check at the start, the refusal in Actions.admit, the check at the stop."""
    with serving(data) as server:
        answer = asyncio.run(_claims(server, DONE))
        assert isinstance(answer, Ok)
        assert server.metric("landworld_market_open") == 1
        assert json.loads(server.page("/ready")) == {"status": "ready"}
        assert server.stop() == 0
    tamper(data)
    with serving(data) as server:
        assert json.loads(server.page("/ready")) == {
            "status": "ready",
            "market": "closed: all balances together are 1 poisha instead of 0",
        }
        assert server.metric("landworld_market_open") == 0
        refused = asyncio.run(_claims(server, OTHER))
        assert isinstance(refused, Refused)
        assert refused.code is RefusalCode.UNAVAILABLE
        assert refused.message.startswith("The market is closed")
        asyncio.run(_goes_on(server, answer))
        assert server.stop() == 4
    assert any("market_closed" in line for line in server.said)


def test_a_server_whose_database_refuses_what_happened_stops_loudly(data: Path) -> None:
    """Guard: the flusher ends with what is refused for good. Else all land is UNAVAILABLE for ever, and /ready says ready."""
    with serving(data) as server:
        asyncio.run(_refused(server))
        assert server.process is not None
        assert server.process.wait(WAIT_S) == 4
        server.stop()
    assert any("exclusion constraint" in line for line in server.said)


async def _refused(server: ServerProcess) -> None:
    """Somebody claims what the database alone knows to be taken."""
    player = await Client.join(server, server.token("Ada"))
    dsn = running_dsn(server.data)
    assert dsn is not None
    connection = await asyncpg.connect(dsn)
    await connection.execute("INSERT INTO parcels VALUES (99, 1, -64, -64, 128, 128, '{}')")
    await connection.close()
    with contextlib.suppress(ConnectionClosed):
        await claim(player, DONE)


async def _claims(server: ServerProcess, action_id: bytes) -> Ok | Refused:
    player = await Client.join(server, server.token("Ada"))
    answer = await claim(player, action_id)
    await player.leave()
    return answer


async def _goes_on(server: ServerProcess, first: Ok) -> None:
    """What was done before is answered as it was, and what is no money is done."""
    player = await Client.join(server, server.token("Ada"))
    again = await claim(player, DONE)
    assert isinstance(again, Ok)
    assert (again.seq, again.result) == (first.seq, first.result)
    parcel_id = first.result["parcel_id"]
    offered = await player.ask(MarketList(next(player.ids), (3).to_bytes(16), parcel_id, 500))
    assert isinstance(offered, Refused)
    described = await player.ask(LandDescribe(next(player.ids), (4).to_bytes(16), parcel_id, "Here", ""))
    assert isinstance(described, Ok)
    await player.leave()
