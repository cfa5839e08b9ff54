"""Stops, kills and take-overs: what is promised to be there afterwards, is.

50 players walk about meanwhile. Places are compared to what was said to the players themselves.
"""

import asyncio
import json
import math
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from protocol.errors import CloseCode, RefusalCode
from protocol.messages import (
    PROTOCOL_VERSION,
    ChatChannel,
    ChatSaid,
    ChatSay,
    Closing,
    Hello,
    Move,
    Moved,
    Ok,
    Refused,
    ServerMessage,
    Welcome,
)
from tests.conftest import stopped
from tests.harness import READY_S, STOP_S, WAIT_S, Client, ServerProcess, serving
from tests.integration.database import postmaster, sql

PLAYERS = 50
SPEED = 4.0
SETTINGS = {
    "WORLD__SPAWN_RADIUS": 32,
    "LIMITS__CONNECTIONS_PER_ADDRESS": 500,
    "LIMITS__RATES__MOVEMENT__BURST": 10_000,  # a server that was late takes many ticks at once
}
DIRECTIONS = [(1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0)]


async def crowd(server: ServerProcess, count: int = PLAYERS) -> list[Client]:
    """So many players, each walking some way."""
    clients = await asyncio.gather(
        *(Client.join(server, token=server.token(f"walker {n}")) for n in range(count))
    )
    for number, client in enumerate(clients):
        await client.send(Move(next(client.ids), *DIRECTIONS[number % 4]))
    await asyncio.gather(*(client.wait(Moved) for client in clients))
    return clients


async def come_back(server: ServerProcess, ticket: str) -> Client:
    return await Client.join(server, resume=ticket)


@pytest.mark.parametrize("gateways", [0, 2])
async def test_sigterm_tells_everyone_saves_everything_and_all_go_on_from_where_they_stood(
    data: Path, gateways: int
) -> None:
    """Guards: Gate._close_all (tickets), Loop.stop (everyone's place), Flusher.drain, the `built_id` of Premises."""
    with serving(data, {**SETTINGS, "SERVER__GATEWAYS": gateways}) as server:
        clients = await crowd(server)
        first = clients[0].welcome
        assert isinstance(await clients[0].ask(ChatSay(1, ChatChannel.WORLD, "see you after the break")), Ok)
        places = [await client.place() for client in clients]
        assert server.process is not None
        server.process.send_signal(signal.SIGTERM)
        endings = await asyncio.gather(*(client.wait(Closing) for client in clients))
        codes = await asyncio.gather(*(client.wait_closed() for client in clients))
        assert {code for code, _ in codes} == {CloseCode.GOING_AWAY}
        assert {closing.code for closing in endings} == {CloseCode.GOING_AWAY}
        assert all(closing.retry_after_ms and closing.resume for closing in endings)
        code = await asyncio.to_thread(server.process.wait, STOP_S)
        assert code == 0
        server.process = None
        server.start()
        back = await asyncio.gather(*(come_back(server, closing.resume or "") for closing in endings))
        assert [client.player_id for client in back] == [client.player_id for client in clients]
        assert [(client.welcome.x, client.welcome.y) for client in back] == places
        assert back[0].welcome.epoch == first.epoch + 1
        (built_id,) = {
            client.welcome.settings["built_id"] for client in back
        }  # whichever gateway they are at
        assert built_id != first.settings["built_id"]
        assert back[0].welcome.tick >= first.tick
        await back[0].wait(ChatSaid, lambda said: said.text == "see you after the break")


async def test_kill_9_loses_at_most_the_walking_since_the_last_save_and_there_are_saves(data: Path) -> None:
    """Guard: Loop._save_positions once a second and the flusher every two; without them all stand where they began.

    How long ago the last save is at most follows from the settings (server/config.py) where the machine is not too busy.
    """
    with serving(data, SETTINGS) as server:
        clients = await crowd(server)
        first = clients[0].welcome
        early = latest = await asyncio.gather(*map(_go_on, clients))
        stored_tick = 0
        async with asyncio.timeout(WAIT_S):
            while sum(map(_is_far, clients, early)) < PLAYERS / 2:
                early = latest = await asyncio.gather(*map(_go_on, clients))
            while stored_tick < max(here.tick for here in early):
                latest = await asyncio.gather(*map(_go_on, clients))
                stored_tick = await sql(data, "SELECT tick FROM world")
        server.kill()
        server.start()
        back = await asyncio.gather(*(come_back(server, client.welcome.resume) for client in clients))
        assert [client.player_id for client in back] == [client.player_id for client in clients]
        assert back[0].welcome.epoch == first.epoch + 1
        assert back[0].welcome.settings["ground_id"] == first.settings["ground_id"]
        assert back[0].welcome.tick >= stored_tick
        for before, client, soon, last in zip(clients, back, early, latest, strict=True):
            place, began = (client.welcome.x, client.welcome.y), (before.welcome.x, before.welcome.y)
            # Of some tick between the save we know of and the kill; the new server goes on from it.
            away = max(last.tick - stored_tick, client.welcome.tick - last.tick) / first.tick_hz
            assert math.dist(place, (last.x, last.y)) <= away * SPEED + 1e-6
            assert place != began or not _is_far(before, soon)


def _is_far(client: Client, here: Moved) -> bool:
    """Whether one has come a tile from where one appeared."""
    return math.dist((client.welcome.x, client.welcome.y), (here.x, here.y)) > 1


async def _go_on(client: Client) -> Moved:
    """Walks on in one's own direction; where one is."""
    seq = next(client.ids)
    await client.send(Move(seq, *DIRECTIONS[client.player_id % 4]))
    return await client.wait(Moved, lambda moved: moved.seq == seq)


@pytest.fixture(scope="module")
def lasting() -> Iterator[ServerProcess]:
    """A server for faults that it outlives."""
    with serving(settings=SETTINGS) as server:
        yield server


async def test_a_second_server_on_the_same_directory_refuses_and_says_why(lasting: ServerProcess) -> None:
    """Guard: DataDirectory's lock."""
    assert lasting.process is not None
    second = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "tools.cli", "serve"],
        env=lasting.environment(),
        capture_output=True,
        text=True,
        timeout=READY_S,
    )
    assert second.returncode == 1
    assert f"is in use by process {lasting.process.pid}" in second.stderr
    assert "LANDWORLD_DATA" in second.stderr


async def test_walking_goes_on_while_postgres_hangs_and_sign_in_comes_back_with_it(
    lasting: ServerProcess,
) -> None:
    """Guard: sign-ins wait outside the tick (server/directory.py); the tick never waits for the database."""
    walker = await Client.join(lasting)
    with stopped(postmaster(lasting.data)):
        waiting = await Client.open(lasting)
        await waiting.send(Hello(PROTOCOL_VERSION, "tests"))
        await lasting.until("landworld_database_up", lambda up: up == 0)
        began = (await _step(walker)).tick
        assert (await _step(walker)).tick > began
    answer = await _answer(waiting)
    assert isinstance(answer, Welcome) or answer.code == RefusalCode.UNAVAILABLE
    await lasting.until("landworld_database_up", lambda up: up == 1)
    await _sign_in_until_it_works(lasting)
    await waiting.leave()
    await walker.leave()


async def test_walking_goes_on_when_postgres_is_killed_and_it_comes_back_by_itself(
    lasting: ServerProcess,
) -> None:
    """Guards: EmbeddedPostgres._watch starts it again; the flusher keeps what it could not save."""
    walker = await Client.join(lasting, token=lasting.token("survivor"))
    flushes = lasting.metric("landworld_flushes_total")
    pid = postmaster(lasting.data)
    psutil.Process(pid).kill()
    began = (await _step(walker)).tick
    assert (await _step(walker)).tick > began
    said = await walker.ask(ChatSay(77, ChatChannel.WORLD, "the show goes on"))
    assert isinstance(said, Ok)
    await _sign_in_until_it_works(lasting)
    await lasting.until("landworld_flushes_total", lambda now: now > flushes + 1)
    await lasting.until("landworld_flush_pending_chat", lambda lines: lines == 0)
    assert postmaster(lasting.data) != pid
    assert await sql(lasting.data, "SELECT count(*) FROM chat_messages WHERE text = 'the show goes on'") == 1
    await walker.leave()


async def _step(client: Client) -> Moved:
    seq = next(client.ids)
    await client.send(Move(seq, DIRECTIONS[seq % 4][0], DIRECTIONS[seq % 4][1]))
    return await client.wait(Moved, lambda moved: moved.seq == seq)


async def _answer(client: Client) -> Welcome | Refused:
    """What comes of a hello."""
    answer = await client.wait(ServerMessage, lambda message: isinstance(message, Welcome | Refused))
    assert isinstance(answer, Welcome | Refused)
    return answer


async def _sign_in_until_it_works(server: ServerProcess) -> None:
    """As a client would: UNAVAILABLE says when to try again."""
    while True:
        client = await Client.open(server)
        await client.send(Hello(PROTOCOL_VERSION, "tests"))
        answer = await _answer(client)
        await client.leave()
        if isinstance(answer, Welcome):
            return
        assert answer.code == RefusalCode.UNAVAILABLE
        assert answer.retry_after_ms
        await asyncio.sleep(answer.retry_after_ms / 1000)


async def test_bots_walk_without_errors(lasting: ServerProcess) -> None:
    said = await asyncio.to_thread(
        lasting.command, "bots", "--url", lasting.url, "--count", "50", "--seconds", "5", "--json"
    )
    report = json.loads(said.splitlines()[-1])
    assert report["players"] == 50
    assert report["errors"] == 0
    assert report["lost"] == 0


async def test_a_server_whose_world_was_taken_over_stops(data: Path) -> None:
    """Guard: every write names its epoch; persistence.store.Fenced ends the server."""
    with serving(data, SETTINGS) as server:
        client = await Client.join(server)
        await sql(data, "UPDATE world SET epoch = epoch + 1")
        assert server.process is not None
        assert (await client.wait_closed())[0] == CloseCode.GOING_AWAY
        rest, _ = await asyncio.to_thread(server.process.communicate, timeout=STOP_S)
        assert server.process.returncode == 3
        assert "taken over" in rest
        server.process = None
