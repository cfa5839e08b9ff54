"""Two servers on one Redis, each with a world of its own: what they share, and what goes on while Redis is away."""

import asyncio
import itertools
import json
import os
import signal
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest

from protocol.errors import CloseCode, RefusalCode
from protocol.messages import (
    PLOT_TILES,
    PROTOCOL_VERSION,
    AccountLogin,
    AccountLogout,
    AccountSessions,
    BanScope,
    Hello,
    LandClaim,
    LandDescribe,
    LandMine,
    ModerationBan,
    Ok,
    PlayerFind,
    Refused,
    Role,
    Wallet,
)
from tests.harness import Client, ServerProcess, serving
from tests.integration.test_accounts import CHEAP, WRONG, account, answer, fresh, signed_in
from tests.integration.test_authorisation import token
from tests.integration.test_land import head
from tests.valkey import Valkey, valkey

HELLOS, FAILURES = 8, 5
SETTINGS = {
    **CHEAP,
    "REDIS__PREFIX": "tests",
    "REDIS__SECRET": "hush",
    "LIMITS__HELLOS_PER_ADDRESS__PER_S": 0.01,
    "LIMITS__HELLOS_PER_ADDRESS__BURST": HELLOS,
    "ACCOUNTS__FAILURES_MAX": FAILURES,
}
SOURCES = (f"127.0.2.{number}" for number in range(1, 255))
IDS = itertools.count(1)
SURE, AWAY = "landworld_redis_sure", "landworld_redis_outages_total"


@pytest.fixture(scope="module")
def redis() -> Iterator[Valkey]:
    with valkey() as server:
        yield server


@pytest.fixture(scope="module")
def server(redis: Valkey) -> Iterator[ServerProcess]:
    with serving(settings={**SETTINGS, "REDIS__URL": redis.url}) as server:
        yield server


@pytest.fixture(scope="module")
def other(redis: Valkey) -> Iterator[ServerProcess]:
    with serving(settings={**SETTINGS, "REDIS__URL": redis.url, "SERVER__GATEWAYS": 1}) as server:
        yield server


async def login(server: ServerProcess, name: str, password: str) -> Ok | Refused:
    client = await Client.open(server, source=next(SOURCES))
    told = await client.ask(AccountLogin(next(IDS), name, password))
    await client.leave()
    return told


async def hello(server: ServerProcess, credential: str) -> Refused:
    """A hello that is turned away."""
    client = await Client.open(server, source=next(SOURCES))
    await client.send(Hello(PROTOCOL_VERSION, "tests", credential))
    refused = await client.wait(Refused)
    assert (await client.wait_closed())[0] == CloseCode.REFUSED
    return refused


async def test_an_address_that_spent_all_on_one_server_has_nothing_left_on_the_other(
    server: ServerProcess, other: ServerProcess
) -> None:
    """Guard: Bus.share of the hub's buckets."""
    source = next(SOURCES)
    heard = other.metric("landworld_redis_heard_total")
    for _ in range(HELLOS):
        await (await Client.join(server, source=source)).leave()
    await other.until("landworld_redis_heard_total", lambda value: value > heard)
    async with asyncio.timeout(60):
        while True:  # what was spent last may still be on its way
            client = await Client.open(other, source=source)
            await client.send(Hello(PROTOCOL_VERSION, "tests"))
            await client.read()
            first = client.seen[0]
            await client.socket.close()
            if isinstance(first, Refused):
                break
    assert first.code is RefusalCode.RATE_LIMITED
    await (await Client.join(other, source=next(SOURCES))).leave()


async def test_wrong_passwords_on_one_server_lock_the_name_on_the_other(
    server: ServerProcess, other: ServerProcess
) -> None:
    """Guards: Lockouts.tell and Lockouts.hear."""
    name = fresh()
    await account(other, name)
    locked = other.metric("landworld_locked_names_total")
    for _ in range(FAILURES):
        refused = await login(server, name, WRONG)
        assert isinstance(refused, Refused)
        assert refused.code is RefusalCode.BAD_CREDENTIALS
    await other.until("landworld_locked_names_total", lambda value: value > locked)
    refused = await login(other, name, WRONG)
    assert isinstance(refused, Refused)
    assert refused.code is RefusalCode.LOCKED


async def test_who_is_in_on_one_server_is_online_on_the_other(
    server: ServerProcess, other: ServerProcess
) -> None:
    """Guards: Neighbours._here and Neighbours.find. The name is known on both; the player is in on one."""
    name = f"Ada {next(IDS)}"
    here, asker = await Client.join(server, server.token(name)), await Client.join(other)
    await (await Client.join(other, other.token(name))).leave()

    async def until_online(online: bool) -> None:
        async with asyncio.timeout(60):
            while (await answer(asker, PlayerFind(next(IDS), name)))["online"] != online:  # noqa: ASYNC110
                await asyncio.sleep(0.1)

    await until_online(True)
    await here.leave()
    await until_online(False)
    await asker.leave()


async def test_a_session_that_ended_elsewhere_is_closed_at_once_and_lets_nobody_in(
    redis: Valkey, server: ServerProcess
) -> None:
    """Guards: Neighbours._end_session, Accounts.lapse. What the other server would say is said in its place."""
    name = fresh()
    await account(server, name)
    player, tokens = await signed_in(server, name)
    sessions = await answer(player, AccountSessions(next(IDS)))
    (current,) = [one["session_id"] for one in sessions["sessions"] if one["current"]]
    message = {"by": "another", "late_ms": "0", "text": UUID(bytes=current).hex}
    redis.client().xadd("tests:ended", message)  # type: ignore[arg-type]
    assert (await player.wait_closed())[0] == CloseCode.REVOKED
    assert (await hello(server, str(tokens["access_token"]))).code is RefusalCode.BAD_TOKEN


async def test_a_banned_address_is_closed_at_once_beside_redis_too(server: ServerProcess) -> None:
    """Guard: counted_as in Hub.send_network_away; with Redis an address is counted under another name."""
    source = next(SOURCES)
    judge = await Client.join(server, token(server, Role.MODERATOR), source=next(SOURCES))
    rogue, bystander = await Client.join(server, source=source), await Client.join(server, source=source)
    ban = ModerationBan(next(IDS), os.urandom(16), rogue.player_id, BanScope.ADDRESS, "flooding")
    await answer(judge, ban)
    for client in (rogue, bystander):
        assert (await client.wait_closed())[0] == CloseCode.BANNED
    await judge.leave()


async def test_what_ends_here_is_told_to_the_others(redis: Valkey, server: ServerProcess) -> None:
    """Guard: Hub._accounted tells the neighbours."""
    name = fresh()
    await account(server, name)
    player, _ = await signed_in(server, name)
    sessions = await answer(player, AccountSessions(next(IDS)))
    (current,) = [one["session_id"] for one in sessions["sessions"] if one["current"]]
    await player.send(AccountLogout(next(IDS)))
    assert (await player.wait_closed())[0] == CloseCode.REVOKED
    await server.until("landworld_redis_waiting", lambda waiting: waiting == 0)
    entries: Any = redis.client().xrange("tests:ended")
    told = [fields["text"] for _, fields in entries]
    assert UUID(bytes=current).hex in told


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
async def test_while_redis_is_away_roles_and_money_wait_and_everything_else_goes_on(
    redis: Valkey, server: ServerProcess, how: signal.Signals
) -> None:
    """Guards: Neighbours.may_be_over in Hub._entered and Hub._act. It comes back by itself."""
    await server.until(SURE, lambda sure: sure == 1)
    before, name = server.metric(AWAY), fresh()
    await account(server, name)
    admin = await Client.join(server, token(server, Role.ADMIN), source=next(SOURCES))
    player = await Client.join(server, token(server, Role.USER), source=next(SOURCES))
    if how == signal.SIGKILL:
        redis.kill()
    else:
        redis.signal(how)
    await server.until(AWAY, lambda outages: outages > before)
    try:
        ready = json.loads(await asyncio.to_thread(server.page, "/ready"))
        assert ready["status"] == "ready"
        assert "local limits hold" in ready["redis"]
        for role in (Role.MODERATOR, Role.ADMIN):
            refused = await hello(server, token(server, role))
            assert (refused.code, refused.retry_after_ms) == (RefusalCode.UNAVAILABLE, 2_000)
        claim = LandClaim(*head(player), 0, next(IDS) * 4 * PLOT_TILES, PLOT_TILES, PLOT_TILES)
        for client, request in (
            (player, claim),
            (admin, LandDescribe(*head(admin), 1, "A name", "")),
        ):
            refusal = await client.ask(request)
            assert isinstance(refusal, Refused)
            assert (refusal.code, refusal.retry_after_ms) == (RefusalCode.UNAVAILABLE, 2_000)
        await player.place()
        for question in (Wallet(next(player.ids)), LandMine(next(player.ids))):
            assert isinstance(await player.ask(question), Ok)
        assert isinstance(await login(server, name, WRONG), Refused)
        late = await Client.join(server, token(server, Role.USER), source=next(SOURCES))
        await late.leave()
    finally:
        if how == signal.SIGKILL:
            redis.start()
        else:
            redis.signal(signal.SIGCONT)
    await server.until(SURE, lambda sure: sure == 1)
    assert "redis" not in json.loads(await asyncio.to_thread(server.page, "/ready"))
    told = await player.ask(claim)
    assert not isinstance(told, Refused) or told.code is not RefusalCode.UNAVAILABLE
    again = await Client.join(server, token(server, Role.ADMIN), source=next(SOURCES))
    assert again.welcome.role is Role.ADMIN
    assert server.metric(AWAY) == before + 1
    for client in (admin, player, again):
        await client.leave()
