"""Connections in two processes: one world for all of them, and what becomes of it when one hangs or dies."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psutil
import pytest
import pytest_asyncio

from protocol.edits import TILE_EDIT, pack
from protocol.errors import CloseCode
from protocol.messages import (
    ChatChannel,
    ChatSaid,
    ChatSay,
    ChunkEdits,
    ChunkGet,
    Delivery,
    Move,
    Moved,
    Ok,
    PlayerFind,
    TileEdit,
)
from tests.harness import READY_S, WAIT_S, Client, Raw, ServerProcess, serving
from tests.integration.conftest import Join
from tests.integration.test_stop import starting
from tests.integration.test_walk_and_talk import together, walk_somewhere
from tests.server.support import HANDSHAKE

PER_ADDRESS = 24
SETTINGS = {
    "SERVER__GATEWAYS": 2,
    "WORLD__SPAWN_RADIUS": 2,
    "SESSION__RESUME_S": 600,  # longer than any test takes
    "LIMITS__CONNECTIONS_PER_ADDRESS": PER_ADDRESS,
}


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    with serving(settings=SETTINGS) as server:
        yield server


@pytest_asyncio.fixture
async def join(server: ServerProcess, join: Join) -> AsyncIterator[Join]:
    """Also waits at the end until both gateways are there again."""
    yield join
    await server.until("landworld_gateways", lambda gateways: gateways == 2)


def gateways(server: ServerProcess) -> list[psutil.Process]:
    """The gateway processes."""
    assert server.process is not None
    children = psutil.Process(server.process.pid).children()
    return [child for child in children if "server.gateway" in child.cmdline()]


def ports_at(gateway: psutil.Process) -> list[int]:
    """The ports of the other ends of its lines."""
    return [
        line.raddr.port for line in gateway.net_connections("tcp") if line.status == psutil.CONN_ESTABLISHED
    ]


def gateway_of(server: ServerProcess, client: Client) -> psutil.Process:
    """The process at the other end of a client's line."""
    port = client.socket.local_address[1]
    for gateway in gateways(server):
        if port in ports_at(gateway):
            return gateway
    raise AssertionError("nobody holds this line")


async def apart(server: ServerProcess, join: Join, **credentials: str) -> tuple[Client, Client]:
    """Two connections that end in different gateways; with credentials, of one player."""
    first = await join(**credentials)
    gateway = gateway_of(server, first)
    for _ in range(PER_ADDRESS - 4):
        second = await join(**credentials)
        if gateway_of(server, second) != gateway:  # the kernel deals out who comes
            return first, second
        first = second if credentials else first
    raise AssertionError("all came to one gateway")


async def step(client: Client, dx: float = 0.0, dy: float = 0.0) -> Moved:
    """The answer to an intent: the world goes on."""
    seq = next(client.ids)
    await client.send(Move(seq, dx, dy))
    return await client.wait(Moved, lambda moved: moved.seq == seq)


# --- one world ---------------------------------------------------------------------------------------------


async def test_people_on_two_gateways_see_each_other_walk(server: ServerProcess, join: Join) -> None:
    one, two = await apart(server, join)
    await one.wait_until(lambda: two.player_id in one.places)
    assert one.names[two.player_id] == two.welcome.name
    began = await walk_somewhere(one)
    ended = await one.place()
    assert ended != began
    await two.wait_until(lambda: one.player_id in two.places and together(two.places[one.player_id], ended))


@pytest.mark.parametrize("channel", ChatChannel)
async def test_people_on_two_gateways_talk(server: ServerProcess, join: Join, channel: ChatChannel) -> None:
    one, two = await apart(server, join)
    to = two.player_id if channel is ChatChannel.DIRECT else None
    answer = await one.ask(ChatSay(next(one.ids), channel, f"by {channel.name}", to))
    assert isinstance(answer, Ok)
    said = await two.wait(ChatSaid, lambda said: said.text == f"by {channel.name}")
    assert (said.sender_id, said.channel) == (one.player_id, channel)


async def test_a_player_has_one_line_on_all_gateways_and_the_newer_wins(
    server: ServerProcess, join: Join
) -> None:
    """Guard: Hub._enter; a gateway knows only its own connections."""
    older, newer = await apart(server, join, token=server.token("Ubiquitous"))
    assert (await older.wait_closed())[0] == CloseCode.REPLACED
    assert newer.player_id == older.player_id
    await step(newer)
    await server.until("landworld_players", lambda players: players == 1)


async def test_what_is_built_is_seen_on_every_gateway_and_by_those_that_begin_later(
    server: ServerProcess, join: Join
) -> None:
    """Guards: `edits` and `casts` in Gate.publish; Gateways._recall, without which a new gateway says CURRENT to an old version."""
    mason = await join(token=server.command("token", "--name", "Mason", "--role", "admin").strip())
    watchers = await apart(server, join)
    version = 0
    for kind in (1, 0):
        cells = pack([(2, 3, kind)], TILE_EDIT)
        assert isinstance(await mason.ask(TileEdit(next(mason.ids), os.urandom(16), cells)), Ok)
        for watcher in watchers:
            version = (await watcher.wait(ChunkEdits)).version
    await replaced(server, gateways(server))
    latest = await join()
    for held, delivery in ((version, Delivery.CURRENT), (version - 1, Delivery.EDITS)):
        answer = await latest.ask(ChunkGet(next(latest.ids), 0, 0, held))
        assert isinstance(answer, Ok)
        assert answer.result == {"delivery": delivery, "version": version}


async def test_an_address_has_so_many_connections_on_all_gateways_together(server: ServerProcess) -> None:
    """Guard: Hub._admit; each gateway alone would admit as many again."""
    lines = [await Raw.open(server, HANDSHAKE) for _ in range(PER_ADDRESS)]
    assert [await line.status() for line in lines] == [101] * PER_ADDRESS
    ports = {line.writer.get_extra_info("sockname")[1] for line in lines}
    held = [len(ports.intersection(ports_at(gateway))) for gateway in gateways(server)]
    assert sum(held) == PER_ADDRESS
    assert min(held) > 0
    over = await Raw.open(server, HANDSHAKE)
    assert await over.status() == 429
    for line in (*lines, over):
        line.writer.close()
    await server.until("landworld_connections", lambda connections: connections == 0)


async def test_metrics_are_of_all_gateways(server: ServerProcess, join: Join) -> None:
    """Guards: Hub.tally adds them up; Gateway sends its own once a second."""
    one, two = await apart(server, join)
    for client in (one, two, two):  # nobody else here looks for players: no count of before is on its way
        await client.ask(PlayerFind(next(client.ids), one.welcome.name))
    await server.until('landworld_messages_total{name="player_find"}', lambda asked: asked == 3)
    assert await server.until('landworld_viewers{step="0"}', lambda viewers: viewers >= 2)
    assert server.metric("landworld_gateways") == 2


# --- faults ------------------------------------------------------------------------------------------------


async def replaced(server: ServerProcess, killed: list[psutil.Process]) -> None:
    """Kills gateways and waits until others stand in their place."""
    restarts = server.metric("landworld_gateway_restarts_total")
    for gateway in killed:
        gateway.kill()
    await server.until(
        "landworld_gateway_restarts_total", lambda restarted: restarted == restarts + len(killed)
    )
    await server.until("landworld_gateways", lambda running: running == 2)


async def test_a_killed_gateway_takes_its_own_lines_and_its_players_go_on_elsewhere(
    server: ServerProcess, join: Join
) -> None:
    """Guards: Hub.detach (without it nobody is lost, and the world full of them), Gateways._keep (starts it again)."""
    lost, stays = await apart(server, join)
    place = await lost.place()
    sent = server.metric("landworld_sent_bytes_total")
    resumed = server.metric("landworld_resumed_total")
    dead = gateway_of(server, lost)
    dead.kill()
    assert (await lost.wait_closed())[0] == 1006
    await step(stays)
    await server.until("landworld_players_detached", lambda detached: detached >= 1)
    back = await join(resume=lost.welcome.resume)
    assert (back.player_id, (back.welcome.x, back.welcome.y)) == (lost.player_id, place)
    await step(stays)
    await server.until("landworld_resumed_total", lambda now: now >= resumed + 1)
    await server.until("landworld_gateways", lambda running: running == 2)
    assert server.metric("landworld_sent_bytes_total") >= sent  # what the dead one counted stays counted
    newest = await apart(server, join)
    assert dead.pid not in {gateway_of(server, client).pid for client in newest}
    await back.wait_until(lambda: newest[0].player_id in back.places)


async def test_a_gateway_that_stands_still_holds_up_nobody_and_is_replaced(
    server: ServerProcess, join: Join
) -> None:
    """Guard: `heard_tick` in Gateways.publish; a stopped process keeps its sockets and never says that it is gone."""
    stuck, walks = await apart(server, join)
    restarts = server.metric("landworld_gateway_restarts_total")
    still = gateway_of(server, stuck)
    still.suspend()
    async with asyncio.timeout(WAIT_S):
        while server.metric("landworld_gateway_restarts_total") == restarts:
            await step(walks)
    assert (await stuck.wait_closed())[0] == 1006
    back = await join(resume=stuck.welcome.resume)
    assert back.player_id == stuck.player_id
    await step(walks)


async def test_signals_of_a_terminal_are_for_the_simulation_only(server: ServerProcess, join: Join) -> None:
    """Guard: main() in server/gateway.py; a gateway that heeded Ctrl-C would be gone before its clients are told."""
    client = await join()
    for gateway in gateways(server):
        gateway.send_signal(signal.SIGINT)
        gateway.send_signal(signal.SIGTERM)
    await step(client)
    assert len(gateways(server)) == 2


async def test_gateways_end_with_the_simulation(server: ServerProcess) -> None:
    """Guard: Gateway's link; also where nobody could tell them."""
    with serving(settings={"SERVER__GATEWAYS": 1}) as mortal:
        client = await Client.join(mortal)
        (gateway,) = gateways(mortal)
        assert mortal.process is not None
        mortal.process.kill()
        assert (await client.wait_closed())[0] in (1001, 1006)
        await asyncio.to_thread(gateway.wait, WAIT_S)
        await asyncio.to_thread(mortal.kill)
        await asyncio.to_thread(mortal.start)  # which finds the database again, and takes it down at the end


async def test_the_port_is_not_shared_with_another_server(server: ServerProcess) -> None:
    """Guard: hold() binds without SO_REUSEPORT first; the kernel would deal out players to two worlds."""
    settings = {"LANDWORLD_SERVER__PORT": str(server.port), "LANDWORLD_HTTP__PORT": "0"}
    with serving(settings={"SERVER__GATEWAYS": 0}) as other:
        other.stop()
        second = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-m", "tools.cli", "serve"],
            env={**other.environment(), **settings, "LANDWORLD_SERVER__GATEWAYS": "1"},
            capture_output=True,
            text=True,
            timeout=READY_S,
        )
    assert second.returncode == 1
    assert f"server.port {server.port} is taken" in second.stdout + second.stderr


def test_a_server_whose_gateways_cannot_start_says_so_and_stops(data: Path) -> None:
    """Guard: START_ATTEMPTS_MAX; without it the start would go on for ever."""
    broken = "import server.gateways; server.gateways.Gateways.__init__.__defaults__ = ('server.nowhere',)"
    with starting(data, program=broken, server__gateways=1, server__port=0, http__port=0) as process:
        said, _ = process.communicate(timeout=READY_S)
        assert process.returncode == 4
        assert "gateways end before they take connections" in said
