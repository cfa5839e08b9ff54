"""One address floods, and others get in and are served: over real sockets, with one process and with gateways.

All of it comes from this machine, whose addresses 127.0.0.x are as many as one likes.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from protocol import codec
from protocol.errors import CloseCode, RefusalCode
from protocol.messages import PROTOCOL_VERSION, Hello, Ok, PlayerFind, Refused, Wallet, Welcome
from tests.harness import Client, Raw, ServerProcess, serving
from tests.server.support import HANDSHAKE, HELLO, frame

PER_ADDRESS, CONNECTS, HELLOS = 16, 256, 8
FLOODERS = 4  # that do not wait for each other
SETTINGS = {
    "WORLD__SPAWN_RADIUS": 2,
    "LIMITS__CONNECTIONS_PER_ADDRESS": PER_ADDRESS,
    "LIMITS__CONNECTS_PER_ADDRESS__PER_S": 0.01,
    "LIMITS__CONNECTS_PER_ADDRESS__BURST": CONNECTS,
    "LIMITS__HELLOS_PER_ADDRESS__PER_S": 0.01,
    "LIMITS__HELLOS_PER_ADDRESS__BURST": HELLOS,
    "LIMITS__REQUESTS_PER_ADDRESS__PER_S": 0.01,
    "LIMITS__REQUESTS_PER_ADDRESS__BURST": 6,
    "LIMITS__RATES__REQUEST__PER_S": 0.01,
    "LIMITS__RATES__REQUEST__BURST": 4,
}
SOURCES = (f"127.0.1.{number}" for number in range(1, 255))  # each test has addresses of its own


@pytest.fixture(scope="module", params=[0, 2], ids="gateways={}".format)
def server(request: pytest.FixtureRequest) -> Iterator[ServerProcess]:
    with serving(settings={**SETTINGS, "SERVER__GATEWAYS": request.param}) as server:
        yield server


@asynccontextmanager
async def flooding(server: ServerProcess, source: str, lines: int, *sent: bytes) -> AsyncIterator[None]:
    """Meanwhile this address opens so many lines as fast as it can, and says this on each."""

    async def flood() -> None:
        for _ in range(lines // FLOODERS):
            try:
                raw = await Raw.open(server, *sent, source=source)
                await raw.reader.read(1)
                raw.writer.transport.abort()
            except ConnectionError:
                pass

    floods = [asyncio.create_task(flood()) for _ in range(FLOODERS)]
    yield
    await asyncio.gather(*floods)


async def served(server: ServerProcess, source: str) -> None:
    """Somebody from there comes in, walks and asks."""
    client = await Client.join(server, source=source)
    await client.place()
    assert isinstance(await client.ask(Wallet(next(client.ids))), Ok)
    await client.leave()


async def test_lines_that_say_nothing_fill_their_own_address_and_no_other(server: ServerProcess) -> None:
    """Guard: `connections_per_address` in Hub._admit."""
    flooder, other = next(SOURCES), next(SOURCES)
    held = [await Raw.open(server, source=flooder) for _ in range(PER_ADDRESS)]
    await server.until("landworld_connections", lambda connections: connections >= PER_ADDRESS)
    over = await Raw.open(server, HANDSHAKE, source=flooder)
    assert await over.status() == 429
    await served(server, other)
    for raw in (*held, over):
        raw.writer.close()


async def test_a_flood_of_handshakes_is_turned_away_and_others_get_in(server: ServerProcess) -> None:
    """Guard: `connects_per_address` in Hub._admit; to close the line does not help."""
    flooder, other = next(SOURCES), next(SOURCES)
    name = 'landworld_rejected_total{status="429"}'
    before = server.metric(name)
    async with flooding(server, flooder, 2 * CONNECTS, HANDSHAKE):
        await server.until(name, lambda value: value > before)
        await served(server, other)
    late = await Raw.open(server, HANDSHAKE, source=flooder)
    assert await late.status() == 429


@pytest.mark.parametrize("token", [None, "forged"])
async def test_a_flood_of_sign_ins_is_refused_and_others_get_in(
    server: ServerProcess, token: str | None
) -> None:
    """Guard: `hellos_per_address` in Hub._sign_in, asked before the token is looked at."""
    flooder, other = next(SOURCES), next(SOURCES)
    hello = frame(codec.encode(Hello(PROTOCOL_VERSION, "tests", token)))
    name = 'landworld_messages_total{name="hello"}'
    before = server.metric(name)
    async with flooding(server, flooder, CONNECTS // 2, HANDSHAKE, hello):
        await server.until(name, lambda value: value > before + HELLOS)
        await served(server, other)
    late = await Raw.open(server, HANDSHAKE, hello, source=flooder)
    assert await late.status() == 101
    assert (await late.wait(Refused)).code is RefusalCode.RATE_LIMITED
    assert await late.code() == CloseCode.REFUSED


async def test_an_address_asks_so_much_with_however_many_players(server: ServerProcess) -> None:
    """Guard: Hub._over_rate; each of them alone would have been served."""
    crowded, other = next(SOURCES), next(SOURCES)
    players = [await Client.join(server, source=crowded) for _ in range(3)]
    answers = [
        await one.ask(PlayerFind(next(one.ids), one.welcome.name)) for one in players for _ in range(3)
    ]
    codes = [one.code for one in answers if isinstance(one, Refused)]
    assert codes == [RefusalCode.RATE_LIMITED] * 3
    assert all(one.retry_after_ms for one in answers if isinstance(one, Refused))
    await players[0].place()  # to walk costs no request
    await served(server, other)
    for one in players:
        await one.leave()


async def test_who_comes_back_has_what_they_had_left(server: ServerProcess) -> None:
    """Guards: Hub._settle, Hub._enter. From another address each time, so that it is the account's bucket that is empty."""
    token = server.token(f"Ada {server.port}")
    codes = []
    for _ in range(3):
        client = await Client.join(server, token, source=next(SOURCES))
        answers = [await client.ask(Wallet(next(client.ids))) for _ in range(2)]
        codes.append([type(one) for one in answers])
        client.drop()
        await server.until("landworld_connections", lambda connections: connections == 0)
    assert codes == [[Ok, Ok], [Ok, Ok], [Refused, Refused]]


async def test_who_floods_is_closed_and_their_neighbour_behind_the_same_router_is_not(
    server: ServerProcess,
) -> None:
    """Guard: the count of refusals in Session.receive."""
    source = next(SOURCES)
    neighbour = await Client.join(server, source=source)
    raw = await Raw.open(server, HANDSHAKE, frame(HELLO), source=source)
    assert await raw.status() == 101
    await raw.wait(Welcome)
    raw.send(*(frame(codec.encode(Wallet(1))) for _ in range(300)))
    assert await raw.code() == CloseCode.FLOODING
    await neighbour.place()
    await neighbour.leave()
