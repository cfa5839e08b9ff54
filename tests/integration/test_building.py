"""Building over real sockets and a real database: seen at once by those who stand there, answered once it is stored, and done once."""

import asyncio
import itertools
import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from protocol.edits import CHUNK_EDIT, TILE_EDIT, pack, unpack
from protocol.errors import RefusalCode
from protocol.messages import (
    PLOT_TILES,
    Chunk,
    ChunkEdits,
    ChunkGet,
    Delivery,
    LandClaim,
    Move,
    Ok,
    PlayerFind,
    Refused,
    ServerMessage,
    Snapshot,
    TileEdit,
)
from tests.conftest import stopped
from tests.harness import Client, ServerProcess, serving
from tests.integration.database import nothing_stored, postmaster
from world.tiles import EDITS_KEPT_MAX, Build

SETTINGS = {"WORLD__SPAWN_RADIUS": 2}  # all in sight of each other and of the chunks around (0, 0)
FREE_LAND = (16, -32)  # a plot near the middle, with ground to stand on
ACTION_IDS = (os.urandom(16) for _ in itertools.count())


@pytest.fixture(scope="module", params=[0, 2], ids="gateways={}".format)
def server(request: pytest.FixtureRequest) -> Iterator[ServerProcess]:
    """A world for the tests that do not stop it."""
    with serving(None, {**SETTINGS, "SERVER__GATEWAYS": request.param}) as server:
        yield server


def admin_token(server: ServerProcess) -> str:
    return server.command("token", "--name", "Mason", "--role", "admin").strip()


async def admin(server: ServerProcess) -> Client:
    return await Client.join(server, admin_token(server))


def edit(client: Client, *tiles: tuple[int, int, int], action_id: bytes | None = None) -> TileEdit:
    return TileEdit(next(client.ids), action_id or next(ACTION_IDS), pack(tiles, TILE_EDIT))


async def build(client: Client, *tiles: tuple[int, int, int], action_id: bytes | None = None) -> None:
    answer = await client.ask(edit(client, *tiles, action_id=action_id))
    assert isinstance(answer, Ok), answer
    assert answer.result == {"tiles": len(tiles)}


async def ground(client: Client, cx: int, cy: int, version: int | None = None) -> tuple[Delivery, int]:
    """The result of a chunk_get."""
    answer = await client.ask(ChunkGet(next(client.ids), cx, cy, version))
    assert isinstance(answer, Ok), answer
    return Delivery(answer.result["delivery"]), answer.result["version"]


async def edits_of(client: Client, cx: int, cy: int) -> tuple[int, int, list[tuple[int, int]]]:
    """The next chunk_edits of a chunk: both versions and the tiles."""
    edits = await client.wait(ChunkEdits, lambda one: (one.cx, one.cy) == (cx, cy))
    return edits.from_version, edits.version, unpack(edits.edits, CHUNK_EDIT).tolist()


def tile(x: int, y: int) -> int:
    return y % 32 * 32 + x % 32


async def refused(client: Client, request: TileEdit) -> Refused:
    answer = await client.ask(request)
    assert isinstance(answer, Refused), answer
    return answer


# --- what people see ---------------------------------------------------------------------------------------------


async def test_a_neighbour_is_told_at_once_and_stopped_by_the_wall(server: ServerProcess) -> None:
    mason, guest = await admin(server), await Client.join(server)
    x, y = (int(place // 1) for place in await guest.place())
    _, version = await ground(guest, (x + 1) // 32, y // 32)
    ring = [(x + dx, y + dy, Build.WALL) for dx in (-1, 0, 1) for dy in (-1, 0, 1) if dx or dy]
    await build(mason, *ring)
    seen = await edits_of(guest, (x + 1) // 32, y // 32)
    assert seen[0] == version
    assert (tile(x + 1, y), Build.WALL) in seen[2]
    await guest.send(Move(next(guest.ids), 1.0, 0.0))
    await guest.wait_until(lambda: guest.places.get(guest.player_id, (0, 0))[0] > x + 0.75)
    places = [(await guest.place())[0]]
    for _ in range(3):
        await guest.send(Move(next(guest.ids), 1.0, 0.0))
        places.append((await guest.place())[0])
    assert max(places) < x + 1
    await build(mason, *((wx, wy, Build.NOTHING) for wx, wy, _ in ring))
    await guest.send(Move(next(guest.ids), 1.0, 0.0))
    await guest.wait(Snapshot)
    await guest.wait_until(lambda: guest.places[guest.player_id][0] > x + 1)
    await mason.leave()
    await guest.leave()


async def test_neighbours_see_at_once_and_the_answer_waits_for_the_disk(server: ServerProcess) -> None:
    """Guard: Withheld keeps the `ok` until its entry is stored; the edits go out with the tick."""
    mason, guest = await admin(server), await Client.join(server)
    request = edit(mason, (30, 30, Build.PATH))
    async with nothing_stored(server.data):
        await mason.send(request)
        await guest.wait(
            ChunkEdits, lambda seen: (tile(30, 30), Build.PATH) in unpack(seen.edits, CHUNK_EDIT).tolist()
        )
        await mason.place()
        assert not [one for one in mason.seen if isinstance(one, Ok) and one.request_id == request.request_id]
    stored = await mason.wait(Ok, lambda ok: ok.request_id == request.request_id)
    assert stored.seq
    await mason.leave()
    await guest.leave()


async def test_guests_build_on_their_own_land_and_nowhere_else(server: ServerProcess) -> None:
    """Guard: building.check_may_build, tile by tile."""
    owner, guest = await Client.join(server), await Client.join(server)
    x, y = FREE_LAND
    answer = await refused(owner, edit(owner, (x, y, Build.WALL)))
    assert answer.code is RefusalCode.NOT_OWNER
    assert "nobody's land" in answer.message
    claim = LandClaim(next(owner.ids), next(ACTION_IDS), x, y, PLOT_TILES, PLOT_TILES)
    assert isinstance(await owner.ask(claim), Ok)
    await build(owner, (x, y, Build.WALL), (x + PLOT_TILES - 1, y + PLOT_TILES - 1, Build.FENCE))
    answer = await refused(owner, edit(owner, (x + 1, y, Build.WALL), (x + PLOT_TILES, y, Build.WALL)))
    assert answer.code is RefusalCode.NOT_OWNER
    answer = await refused(guest, edit(guest, (x + 1, y, Build.WALL)))
    assert answer.code is RefusalCode.NOT_OWNER
    assert owner.welcome.name in answer.message
    await owner.leave()
    await guest.leave()


async def test_what_makes_no_sense_is_refused_and_changes_nothing(server: ServerProcess) -> None:
    mason = await admin(server)
    before = await ground(mason, 0, 0)
    answer = await refused(mason, edit(mason, (0, 0, Build.WALL), (1, 0, 99)))
    assert answer.code is RefusalCode.BAD_REQUEST
    assert await ground(mason, 0, 0) == before
    await mason.leave()


# --- versions ------------------------------------------------------------------------------------------------------


async def test_a_client_gets_nothing_the_edits_since_or_the_whole(server: ServerProcess) -> None:
    """Far from the others: chunk (3, 3), out of sight of all, so nothing comes by itself."""
    mason = await admin(server)
    assert await ground(mason, 3, 3) == (Delivery.WHOLE, 1)
    bare = await mason.wait(Chunk, lambda chunk: (chunk.cx, chunk.cy) == (3, 3))
    await build(mason, (96, 96, Build.PATH), (97, 96, Build.WALL), (96, 96, Build.PAVING))
    assert await ground(mason, 3, 3, 4) == (Delivery.CURRENT, 4)
    assert await ground(mason, 3, 3, 2) == (Delivery.EDITS, 4)
    assert await edits_of(mason, 3, 3) == (2, 4, [(1, Build.WALL), (0, Build.PAVING)])
    for held in (None, 0, 5):
        assert await ground(mason, 3, 3, held) == (Delivery.WHOLE, 4)
        whole = await mason.wait(Chunk, lambda chunk: (chunk.cx, chunk.cy) == (3, 3))
        assert (whole.version, whole.data) == (1, bare.data)
        assert await edits_of(mason, 3, 3) == (1, 4, [(0, Build.PATH), (1, Build.WALL), (0, Build.PAVING)])
    await mason.leave()


async def test_what_is_older_than_the_log_comes_as_each_tile_once(server: ServerProcess) -> None:
    mason = await admin(server)
    for turn in range(EDITS_KEPT_MAX // 64 + 1):
        await build(mason, *((-96 + place % 2, 96, 1 + (place + turn) % 6) for place in range(64)))
    newest = 1 + EDITS_KEPT_MAX + 64
    assert await ground(mason, -3, 3, 1) == (Delivery.EDITS, newest)
    assert await edits_of(mason, -3, 3) == (1, newest, [(0, 1 + (62 + turn) % 6), (1, 1 + (63 + turn) % 6)])
    assert await ground(mason, -3, 3, newest - EDITS_KEPT_MAX) == (Delivery.EDITS, newest)
    assert len((await edits_of(mason, -3, 3))[2]) == EDITS_KEPT_MAX
    await mason.leave()


# --- once ------------------------------------------------------------------------------------------------------------


async def test_the_same_action_has_one_effect_and_one_answer_over_any_connection(
    server: ServerProcess,
) -> None:
    """Guards: State.answers for what this server did; test_land.py has the table `answers`."""
    mason = await admin(server)
    action_id, tiles = next(ACTION_IDS), [(100, -100, Build.FLOOR), (101, -100, Build.FENCE)]
    for _ in range(2):
        await build(mason, *tiles, action_id=action_id)
    await mason.leave()
    mason = await admin(server)
    await build(mason, *tiles, action_id=action_id)
    answer = await refused(mason, edit(mason, *tiles[:1], action_id=action_id))
    assert answer.code is RefusalCode.BAD_REQUEST
    assert "action_id" in answer.message
    assert await ground(mason, 3, -4) == (Delivery.WHOLE, 3)
    await mason.leave()


async def test_sent_twice_in_one_breath_it_is_done_once(server: ServerProcess) -> None:
    mason = await admin(server)
    action_id = next(ACTION_IDS)
    twice = [edit(mason, (-100, -100, Build.HEDGE), action_id=action_id) for _ in range(2)]
    await mason.send(*twice)
    for request in twice:
        answer = await mason.wait(Ok, lambda ok, wanted=request: ok.request_id == wanted.request_id)  # type: ignore[misc]
        assert answer.result == {"tiles": 1}
    assert await ground(mason, -4, -4) == (Delivery.WHOLE, 2)
    await mason.leave()


# --- crashes -----------------------------------------------------------------------------------------------------------


async def test_what_was_answered_outlives_kill_9_and_is_not_done_twice(data: Path) -> None:
    server = ServerProcess(data, SETTINGS)
    try:
        server.start()
        mason = await admin(server)
        action_id, tiles = (
            next(ACTION_IDS),
            [(20, 0, Build.WALL), (-20, 0, Build.FENCE)],
        )  # in sight from wherever one appears
        await build(mason, *tiles, action_id=action_id)
        server.kill()
        server.start()
        mason = await admin(server)
        assert await ground(mason, 0, 0) == (Delivery.WHOLE, 2)
        assert await edits_of(mason, 0, 0) == (1, 2, [(tile(20, 0), Build.WALL)])
        await build(mason, *tiles, action_id=action_id)
        answer = await refused(mason, edit(mason, (20, 0, Build.PATH), action_id=action_id))
        assert answer.code is RefusalCode.BAD_REQUEST
        assert await ground(mason, -1, 0, 2) == (Delivery.CURRENT, 2)
        await build(mason, (20, 0, Build.NOTHING))
        assert await edits_of(mason, 0, 0) == (2, 3, [(tile(20, 0), Build.NOTHING)])
        assert server.stop() == 0
        server.start()
        mason = await admin(server)
        assert await ground(mason, 0, 0, 1) == (Delivery.EDITS, 3)
        await mason.leave()
    finally:
        if server.process is not None:
            server.stop()
        shutil.rmtree(data, ignore_errors=True)


async def test_without_postgres_building_is_unavailable_by_halves_never_and_walking_goes_on(
    data: Path,
) -> None:
    """Postgres hangs (SIGSTOP): who asks is refused with a time to retry, and nothing was done; when it is back, all goes on.

    Guard: Actions.admit refuses what has waited too long; of questions, Questions.look (tests/server/test_questions.py).
    """
    with serving(data, SETTINGS) as server:
        mason = await admin(server)
        await build(mason, (0, 40, Build.PATH))
        caught = edit(mason, (1, 40, Build.PATH), (1, 72, Build.PATH))
        with stopped(postmaster(data)):
            answer = await mason.ask(caught)
            assert isinstance(answer, Refused), answer
            assert answer.retry_after_ms
            looked_for = await mason.ask(PlayerFind(next(mason.ids), "Somebody"))
            assert isinstance(looked_for, Refused)
            assert looked_for.code is RefusalCode.UNAVAILABLE
            await mason.place()
        while isinstance(answer, Refused):
            assert answer.code is RefusalCode.UNAVAILABLE
            await asyncio.sleep((answer.retry_after_ms or 0) / 1_000)
            answer = await mason.ask(caught)
        assert answer.result == {"tiles": 2}
        assert await ground(mason, 0, 1, 1) == (Delivery.EDITS, 3)
        assert await ground(mason, 0, 2, 1) == (Delivery.EDITS, 2)
        await mason.leave()


async def test_postgres_killed_under_edits_loses_none_and_doubles_none(data: Path) -> None:
    """kill -9 of all of Postgres while edits are on their way; whoever was refused sends the same again when told to."""
    with serving(data, SETTINGS | {"LIMITS__RATES__ACTION__BURST": 1_000}) as server:
        mason = await admin(server)
        waiting = [edit(mason, (x, 40, Build.PATH)) for x in range(32)]
        await mason.send(*waiting)
        for pid in postgres_of(data):
            with suppress(ProcessLookupError):  # a child ends with its parent
                os.kill(pid, signal.SIGKILL)
        open_ones = waiting
        while open_ones:
            answers = [await answer_to(mason, request) for request in open_ones]
            refusals = [answer for answer in answers if isinstance(answer, Refused)]
            assert {answer.code for answer in refusals} <= {RefusalCode.UNAVAILABLE}
            refused_ids = {answer.request_id for answer in refusals}
            open_ones = [request for request in open_ones if request.request_id in refused_ids]
            if open_ones:
                await asyncio.sleep(max(answer.retry_after_ms or 0 for answer in refusals) / 1_000)
                await mason.send(*open_ones)
        assert await ground(mason, 0, 1) == (Delivery.WHOLE, 1 + len(waiting))
        server.kill()
        server.start()
        mason = await admin(server)
        assert await ground(mason, 0, 1) == (Delivery.WHOLE, 1 + len(waiting))
        assert sorted((await edits_of(mason, 0, 1))[2]) == [(tile(x, 40), Build.PATH) for x in range(32)]
        await mason.leave()


async def answer_to(client: Client, request: TileEdit) -> Ok | Refused:
    """The answer to what was sent."""

    def answers(message: ServerMessage) -> bool:
        return isinstance(message, Ok | Refused) and message.request_id == request.request_id

    answer = await client.wait(ServerMessage, answers)
    assert isinstance(answer, Ok | Refused)
    return answer


def postgres_of(data: Path) -> list[int]:
    """The processes of the embedded database of this data directory: the postmaster and its children."""
    (found,) = data.rglob("postmaster.pid")
    postmaster = int(found.read_text().split()[0])
    children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
    return [postmaster, *map(int, children)]
