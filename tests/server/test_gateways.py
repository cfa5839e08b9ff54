"""Gateways without their processes: what the simulation makes of what they say, and they of what they are told."""

import asyncio
import errno
import os
import socket
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import MagicMock

import psutil
import pytest
import pytest_asyncio

from persistence.keyring import Key
from protocol.edits import CHUNK_EDIT_FIELDS
from server import gateways as module
from server.config import Config
from server.frames import TickFrame, whole
from server.gateway import STEERS_BYTES_MAX
from server.gateway import Gateway as ConnectionSide
from server.gateways import RECALLED_PER_TICK, SILENT_S, Gateway, Gateways
from server.ground import Ground
from server.hub import Hub
from server.link import ENCODER, HEAD, Link
from server.loop import Loop
from server.numbers import GAUGES, show
from server.ring import FRAMES_MIN, Ring
from server.seam import (
    AnyDown,
    AnyUp,
    Begin,
    Built,
    Carried,
    Listening,
    Premises,
    Progress,
    Tally,
    Ticked,
    Whole,
)
from server.telemetry import Counts, Telemetry
from tests.server.support import Elsewhere, peace
from tests.world.support import RULES
from world.commands import Inbox
from world.state import State
from world.tiles import Build, Surface

PREMISES = Premises(1, 8080, "ground", "built", [Key(b"k" * 32)])
SILENT_TICKS = round(SILENT_S * RULES.tick_hz)


class FakeProcess:
    """Lives until it is killed."""

    pid, returncode = 7, -9

    def __init__(self) -> None:
        self.killed = False

    def kill(self) -> None:
        self.killed = True

    def wait(self, _: float | None = None) -> int:
        return self.returncode


class Simulation:
    """A hub, its gateways, and one of them that was told of the world."""

    def __init__(self) -> None:
        nothing: Any = Elsewhere()
        self.config, self.state, self.inbox = Config(), State(RULES), Inbox(8, 8)
        self.hub = Hub(
            self.config, self.inbox, nothing, nothing, nothing, nothing, peace(self.state), Counts()
        )
        held = [socket.create_server(("127.0.0.1", 0), reuse_port=True)]
        self.gateways = Gateways(
            self.config, self.hub, PREMISES, self.whole, self.state.chunks.surfaces, held
        )
        self.process = FakeProcess()
        self.sent = self.begin()
        (self.gateway,) = self.gateways._gateways
        self.tick()

    def begin(self) -> list[AnyDown]:
        """A gateway that is ready to be told of the world; what it is told."""
        gateway, sent = Gateway(cast(Any, self.process), self.hub, lambda: None), list[AnyDown]()
        gateway.link.send = sent.append  # type: ignore[method-assign, assignment]
        gateway.warm = True
        self.gateways._gateways.append(gateway)
        return sent

    def whole(self) -> TickFrame:
        return whole(self.state, 0)

    def tick(self) -> None:
        self.state.tick += 1
        self.gateways.publish(whole(self.state, 0))

    def says(self, message: AnyUp) -> None:
        self.gateway._take(message)


@pytest_asyncio.fixture
async def simulation() -> AsyncIterator[Simulation]:
    simulation = Simulation()
    yield simulation
    simulation.gateways._ring.close()
    for one in simulation.gateways._held:
        one.close()


@pytest.mark.parametrize(("share", "late"), [(2.0, 0), (0.1, 3)])
async def test_a_gateway_that_does_not_keep_up_puts_the_server_up_the_ladder(
    simulation: Simulation, share: float, late: int
) -> None:
    """Guards: Hub.share in Loop._measure; `share` and the ticks behind in Gateway._take. The simulation itself has nothing to do."""
    nothing: Any = None
    loop = Loop(
        simulation.state, simulation.inbox, simulation.hub, nothing, nothing, nothing, None, Counts(), nothing
    )
    for _ in range(loop.overload._hold_ticks + late):
        simulation.tick()
        simulation.says(Progress(simulation.state.tick - late, share))
        loop._measure([0.0] * 5, 0.0)
    (shown,) = [number for name, _, number in GAUGES if name == "landworld_ladder_step"]
    world: Any = SimpleNamespace(loop=loop)
    assert shown(world) >= 1
    assert simulation.gateways.behind_ticks == late
    simulation.hub.detach(simulation.gateway.line)
    assert simulation.hub.share() == 0


async def test_who_says_nothing_is_killed_and_who_is_merely_late_is_not(simulation: Simulation) -> None:
    """Guard: `heard_tick`; with `done_tick` in its place, whoever is SILENT_S late would take its clients with it."""
    for tick in range(2 * SILENT_TICKS):
        simulation.tick()
        simulation.says(Progress(1 + tick // 4, 1.0))
    assert simulation.gateway.behind_ticks > SILENT_TICKS
    assert not simulation.process.killed
    for _ in range(SILENT_TICKS):
        simulation.tick()
    assert not simulation.process.killed
    simulation.tick()
    assert simulation.process.killed


async def test_what_is_built_comes_in_pieces_to_who_begins_anew_while_others_play(
    simulation: Simulation,
) -> None:
    """Guards: RECALLED_PER_TICK; `edited` in Gateways._recall, without which what is built on meanwhile would stay as it was."""
    many = 3 * RECALLED_PER_TICK - 1  # and one again
    surfaces = simulation.state.chunks.surfaces
    for key in range(many):
        surfaces[key] = Surface.recalled(2, CHUNK_EDIT_FIELDS.pack(0, Build.PATH))
    simulation.gateways._all_listen.set()
    newer = simulation.begin()
    held = Ground(0, 0, lambda _: None)
    for tick in range(3):
        frame = whole(simulation.state, 0)
        if tick == 2:  # one of those that were told already
            key = next(iter(held._surfaces))
            surfaces[key].apply(edit := CHUNK_EDIT_FIELDS.pack(1, Build.WALL))
            frame.edits = [(key, edit)]
        simulation.gateways.publish(frame)
        (told, *last) = newer
        newer.clear()
        assert isinstance(told, Built)
        assert len(told.surfaces) <= RECALLED_PER_TICK
        held.recall(told.surfaces)
        assert [type(one) for one in last] == ([Whole] if tick == 2 else [])
    assert {key: (one.version, one.edited()) for key, one in held._surfaces.items()} == {
        key: (one.version, one.edited()) for key, one in surfaces.items()
    }


async def test_who_does_not_listen_in_time_is_killed(simulation: Simulation) -> None:
    """Guards: kill_unless_listening; Progress does not say that anybody listens, Listening does."""
    simulation.says(Progress(1, 0.0))
    assert simulation.gateways.running == 0
    simulation.gateway.kill_unless_listening()
    assert simulation.process.killed
    simulation.process.killed = False
    simulation.says(Listening())
    assert simulation.gateways.running == 1
    simulation.gateway.kill_unless_listening()
    assert not simulation.process.killed


async def test_a_frame_too_large_for_the_ring_goes_over_the_link(simulation: Simulation) -> None:
    """Guard: `frame_bytes_max` in Gateways._written; the ring refuses such a frame."""
    simulation.tick()
    assert isinstance(simulation.sent[-1], Ticked)
    simulation.gateways._ring.close()
    simulation.gateways._ring = Ring.made(FRAMES_MIN * 8)
    simulation.tick()
    carried = simulation.sent[-1]
    assert isinstance(carried, Carried)
    side = connection_side(None)
    side.take(Whole(simulation.whole()))
    side.take(carried)
    assert side._gate.tick == simulation.state.tick


@pytest.mark.parametrize("lacking", ["_bind", "_spawn"])
async def test_what_the_system_has_no_room_for_is_tried_again(
    simulation: Simulation, monkeypatch: pytest.MonkeyPatch, lacking: str
) -> None:
    """Guards: OSError in Gateways._keep; the ExitStack in _launch, without which each attempt would leave sockets."""
    attempts: list[int] = []
    thrice = asyncio.Event()
    loop = asyncio.get_running_loop()

    def fails(*_: object, **__: object) -> None:
        attempts.append(psutil.Process().num_fds())
        if len(attempts) == 3:
            loop.call_soon_threadsafe(thrice.set)
        raise OSError(errno.EAGAIN, "no room")

    monkeypatch.setattr(module, lacking, fails)
    monkeypatch.setattr(module, "PAUSE_S_MIN", 0.0)
    simulation.gateways._all_listen.set()
    keeper = asyncio.create_task(simulation.gateways._keep())
    waiting = asyncio.create_task(thrice.wait())
    await asyncio.wait([keeper, waiting], return_when=asyncio.FIRST_COMPLETED)
    assert not keeper.done()
    keeper.cancel()
    assert len(set(attempts[:3])) == 1
    assert simulation.gateways.restarts >= 2


async def test_before_all_have_listened_that_is_an_error(
    simulation: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guard: `_all_listen` in Gateways._keep; a server that cannot begin says so."""

    def fails(*_: object) -> None:
        raise OSError(errno.EAGAIN, "no room")

    monkeypatch.setattr(module, "_spawn", fails)
    with pytest.raises(OSError, match="no room"):
        await simulation.gateways._keep()


# --- the other side ----------------------------------------------------------------------------------------


def connection_side(ring: Ring | None, *ports: int) -> ConnectionSide:
    """A gateway that knows its settings."""
    there: Any = ring
    side = ConnectionSide(there, list(ports))
    side.take(Begin(Config().model_dump_json(exclude={"data"}), PREMISES, 1))
    return side


async def test_who_cannot_listen_ends(simulation: Simulation) -> None:
    """Guard: `supervise` in Gateway.take; without it such a gateway would be there for ever, and take nobody."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as no_port:
        side = connection_side(None, os.dup(no_port.fileno()))
        cut = asyncio.Event()
        side.link.cut = cut.set  # type: ignore[method-assign]
        side.take(Whole(simulation.whole()))
        async with asyncio.timeout(60):
            await cut.wait()
    assert not [message for message in side.link.waiting if isinstance(message, Listening)]


async def test_who_has_missed_a_frame_ends() -> None:
    """Guard: Overwritten goes through Gateway.take to the end of the link; what it does not know, nobody could tell it."""
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)  # it would print the traceback
    packed = ENCODER.encode(whole(State(RULES), 0))
    ring = Ring.made(FRAMES_MIN * len(packed))
    ours, theirs = socket.socketpair()
    side = connection_side(ring)
    other: Link[AnyUp] = Link(list[AnyUp], lambda _: None, 0.0)
    for one, link in ((ours, other), (theirs, side.link)):
        one.setblocking(False)
        await asyncio.get_running_loop().create_unix_connection(lambda link=link: link, sock=one)  # type: ignore[misc]
    position = ring.write(packed)
    for _ in range(FRAMES_MIN):  # what stands there now could be understood
        ring.write(packed)
    other.send(Ticked(position, len(packed)))
    async with asyncio.timeout(60):
        await side.link.ended.wait()
        await other.ended.wait()
    ring.close()


async def test_intents_are_refused_while_the_simulation_does_not_read() -> None:
    """Guard: STEERS_BYTES_MAX in Gateway.steer."""
    side = connection_side(None)
    side.link.flush()
    for behind, taken in ((STEERS_BYTES_MAX, True), (STEERS_BYTES_MAX + HEAD.size, False)):
        side.link.waiting.clear()
        side.link.behind_bytes = lambda behind=behind: behind  # type: ignore[method-assign, misc]
        assert side.steer(7, 1, 1.0, 0.0) is taken


def test_a_look_at_the_numbers_counts_once() -> None:
    """Guard: Telemetry.latest; each tally adds up the maps of all gateways."""
    asked: list[Tally] = []

    def tally() -> Tally:
        asked.append(Tally(cache_bytes=5, sent_bytes=9, viewers={"0": 2}))
        return asked[-1]

    world: Any = MagicMock()
    world.hub.tally = tally
    world.chunks.cache_bytes = 2
    world.gateways.behind_ticks = 4
    telemetry = Telemetry(Counts())
    show(telemetry, world)
    telemetry.gauges = {
        name: one for name, one in telemetry.gauges.items() if "cache" in name or "behind" in name
    }
    telemetry.totals = {}
    asked.clear()
    page = telemetry.page().decode()
    assert len(asked) == 1
    for line in (
        "landworld_chunk_cache_bytes 7.0",
        "landworld_gateway_ticks_behind 4.0",
        "landworld_sent_bytes_total 9.0",
        'landworld_viewers{step="0"} 2.0',
    ):
        assert f"\n{line}\n" in page
