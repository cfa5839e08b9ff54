"""What the integration tests share; `server` is each module's own."""

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest_asyncio

from tests.harness import Client, ServerProcess

Join = Callable[..., Awaitable[Client]]


@pytest_asyncio.fixture
async def join(server: ServerProcess) -> AsyncIterator[Join]:
    """Lets players in, and out again at the end."""
    clients: list[Client] = []

    async def enter(**credentials: str) -> Client:
        clients.append(await Client.join(server, **credentials))
        return clients[-1]

    yield enter
    for client in clients:
        await client.leave()
    await server.until("landworld_connections", lambda connections: connections == 0)
