"""Keys change while a server runs, and nobody is sent away; keys that are lost cost what was sealed with them, and nothing else."""

import asyncio
import json
import secrets
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import jwt
import psutil
import pytest

from persistence.keyring import read_ring
from protocol.errors import RefusalCode
from protocol.messages import (
    PROTOCOL_VERSION,
    AccountLogin,
    AccountProfile,
    AccountRegister,
    AccountSessions,
    AccountVerifyEmail,
    ClientMessage,
    Hello,
    Ok,
    Refused,
    ServerMessage,
    Welcome,
)
from server.keys import LOOKUP_FILE, SEALING_FILE, SIGNING_FILE
from tests.harness import POLL_S, WAIT_S, Client, ServerProcess, serving
from tests.integration.test_moderation import rows

PASSWORD = "seven horses on a roof"
SETTINGS = {
    "ACCOUNTS__ARGON2_MEMORY_KIB": 8,
    "LIMITS__RATES__ACCOUNT__PER_S": 1_000,
    "LIMITS__RATES__ACCOUNT__BURST": 5_000,
}


@pytest.fixture
def data() -> Iterator[Path]:
    place = Path(tempfile.mkdtemp(prefix="landworld-test-"))
    yield place
    shutil.rmtree(place, ignore_errors=True)


async def result(client: Client, request: ClientMessage) -> dict[str, Any]:
    answer = await client.ask(request)
    assert isinstance(answer, Ok), answer
    found: dict[str, Any] = answer.result
    return found


async def admits(
    server: ServerProcess, token: str | None, ticket: str | None = None
) -> Welcome | RefusalCode:
    client = await Client.open(server)
    await client.send(Hello(PROTOCOL_VERSION, "tests", token, ticket))
    told = await client.wait(ServerMessage, lambda message: isinstance(message, Welcome | Refused))
    await client.leave()
    return told if isinstance(told, Welcome) else getattr(told, "code")  # noqa: B009 (of Refused)


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not await holds():  # noqa: ASYNC110 (another process)
            await asyncio.sleep(POLL_S)


def signed_by(token: str) -> str:
    return str(jwt.get_unverified_header(token)["kid"])


@pytest.mark.parametrize("gateways", [0, 2], ids=["one process", "gateways"])
async def test_signing_keys_change_while_a_server_runs(data: Path, gateways: int) -> None:
    """Guards: Keeper, Rekeyed to every connection side, and that a key is used only when all know it."""
    with serving(data, {**SETTINGS, "SERVER__GATEWAYS": gateways}) as server:
        stays = await Client.join(server)
        guest = await admits(server, None)
        assert isinstance(guest, Welcome)
        token, ticket = server.token("Ada"), guest.resume
        (first,) = read_ring(data / SIGNING_FILE).keys
        await asyncio.to_thread(server.command, "keys", "rotate", "signing")
        second = read_ring(data / SIGNING_FILE).keys[-1]
        signers: list[str] = []

        async def signs_with_the_new_key() -> bool:
            """Tickets of eight connections, which the kernel deals out to the gateways; none is refused meanwhile."""
            for _ in range(8):
                welcome = await admits(server, token)
                assert isinstance(welcome, Welcome)
                signers.append(signed_by(welcome.resume))
                assert isinstance(await admits(server, None, welcome.resume), Welcome)
            return signers[-8:] == [second.id] * 8

        await until(signs_with_the_new_key)
        assert set(signers) == {first.id, second.id}
        assert signed_by(server.command("token", "--name", "Bea").strip()) == second.id
        # What the first key signed is good as before.
        assert isinstance(await admits(server, token), Welcome)
        assert isinstance(await admits(server, None, ticket), Welcome)
        # Somebody else has it: it is worth nothing from now on, and nor is the second.
        await asyncio.to_thread(server.command, "keys", "rotate", "signing", "--now")

        async def refuses_both() -> bool:
            both = [await admits(server, token), await admits(server, None, ticket)]
            return both == [RefusalCode.BAD_TOKEN] * 2

        await until(refuses_both)
        welcome = await admits(server, server.token("Ada"))
        assert isinstance(welcome, Welcome)
        # A connection side that was told a moment later signs with the new key, too.
        await until(lambda: _signs_with(server, read_ring(data / SIGNING_FILE).keys[-1].id))
        if gateways:  # one that begins later begins with the keys of now
            await _begin_anew(server)
            await until(lambda: _signs_with(server, read_ring(data / SIGNING_FILE).keys[-1].id))
        else:
            await stays.place()  # nobody was sent away
            await stays.leave()


async def _signs_with(server: ServerProcess, key_id: str) -> bool:
    welcomes = [await admits(server, server.token("Ada")) for _ in range(8)]
    return all(isinstance(one, Welcome) and signed_by(one.resume) == key_id for one in welcomes)


async def _begin_anew(server: ServerProcess) -> None:
    """All gateways are killed, and others take their places."""
    assert server.process is not None
    before = await asyncio.to_thread(server.metric, "landworld_gateway_restarts_total")
    for child in psutil.Process(server.process.pid).children():
        if "server.gateway" in child.cmdline():
            child.kill()
    await server.until("landworld_gateway_restarts_total", lambda restarts: restarts >= before + 2)
    await server.until("landworld_gateways", lambda running: running == 2)


async def test_sealing_keys_change_while_accounts_are_made_and_used(data: Path) -> None:
    """Guards: Keeper gives the sealer the new ring before anything is sealed with it; reseal leaves what was written meanwhile."""
    with serving(data, SETTINGS) as server:
        client = await Client.open(server)
        made: list[str] = []

        async def register() -> None:
            name = f"Ann {secrets.token_hex(4)}"
            request = AccountRegister(next(client.ids), secrets.token_bytes(16), name, mail(name), PASSWORD)
            await result(client, request)
            made.append(name)

        for _ in range(20):
            await register()
        (first,) = read_ring(data / SEALING_FILE).keys
        rotation = asyncio.create_task(asyncio.to_thread(server.command, "keys", "rotate", "sealing"))
        while not rotation.done():
            await register()
        assert len(made) > 20
        assert "seals all private values" in await rotation
        for _ in range(5):
            await register()
        second = read_ring(data / SEALING_FILE).keys[-1]
        listed = json.loads(server.command("keys", "list", "--json").splitlines()[-1])
        assert listed["values"] == {second.id: 2 * len(made)}  # an e-mail and a session's address each
        assert first.id in [key["id"] for key in listed["sealing"]]
        for name in (made[0], made[19], made[20], made[-1]):
            assert await profile(server, name) == mail(name)
        await client.leave()


def mail(name: str) -> str:
    return name.replace(" ", ".") + "@example.org"


async def profile(server: ServerProcess, name: str) -> str:
    """The e-mail that somebody sees as their own."""
    player = await signed_in(server, name)
    found = await result(player, AccountProfile(next(player.ids)))
    sessions = await result(player, AccountSessions(next(player.ids)))
    assert {one["address"] for one in sessions["sessions"]} <= {"127.0.0.1", ""}
    await player.leave()
    return str(found["email"])


async def signed_in(server: ServerProcess, name: str) -> Client:
    client = await Client.open(server)
    tokens = await result(client, AccountLogin(next(client.ids), name, PASSWORD))
    await client.leave()
    return await Client.join(server, token=str(tokens["access_token"]))


async def test_another_lookup_key_is_told_at_the_start(data: Path) -> None:
    """Guard: lookup_fits. Nothing else would tell: addresses open as before, and are not found."""
    with serving(data, SETTINGS) as server:
        client = await Client.open(server)
        await result(client, AccountRegister(1, secrets.token_bytes(16), "Ann", mail("Ann"), PASSWORD))
        await client.leave()
        server.stop()
        server.start()
        server.stop()
        assert "lookup_key_differs" not in "\n".join(server.said)
        (data / LOOKUP_FILE).unlink()
        server.start()
        server.stop()
        assert "lookup_key_differs" in "\n".join(server.said)


async def test_who_has_lost_the_sealing_keys_is_told_and_lets_people_in_as_before(data: Path) -> None:
    """Guards: lost_values at the start; AccountStore._open_email. A world restored from a backup without keys is just like that."""
    with serving(data, SETTINGS) as server:
        client = await Client.open(server)
        request = AccountRegister(1, secrets.token_bytes(16), "Ann", mail("Ann"), PASSWORD)
        await result(client, request)
        await client.leave()
        server.stop()
        (data / SEALING_FILE).unlink()
        (data / LOOKUP_FILE).unlink()
        server.start()
        assert await profile(server, "Ann") == ""
        player = await signed_in(server, "Ann")
        await rows(server, "DELETE FROM codes")  # or one must wait a minute after the one at registration
        changed = AccountVerifyEmail(next(player.ids), None, mail("Ann"), PASSWORD)
        await result(player, changed)
        await player.leave()
        assert await profile(server, "Ann") == mail("Ann")
        server.stop()
        said = "\n".join(server.said)
        assert "2 private values (e-mail, addresses, reports) cannot be opened" in said
        assert "LANDWORLD_SEALING_KEY" in said
        assert "private_value_shut" in said
