"""One server process of the simulation: the real parts, put together as server/main.py does, around a model of the store.

Real are tick, journal, flusher, actions, questions, what is withheld, directory, hub and loop, and what a start reads back; the ground,
the way to the database and the network are not. Of the connection side it has what answers who asks for chunks (server/ground.py).
"""

import asyncio
from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import cast

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from persistence.flusher import Flusher
from persistence.journal import Journal
from persistence.keyring import Ring
from persistence.moderation import ModerationStore
from persistence.sealing import Sealer
from persistence.store import Fenced, Store, StoreError, WorldRow
from server.actions import Actions
from server.auth import Signer
from server.chunks import Chunks
from server.config import Config
from server.directory import Directory
from server.frames import TickFrame
from server.garbage import Garbage
from server.ground import Ground as Served
from server.hub import Hub, Line
from server.loop import Clocks, Loop
from server.moderation import Moderation
from server.questions import Questions
from server.recall import recall_built, recall_land
from server.receipts import Notary
from server.seam import AnyDown, AnyUp, Surfaces, Tally
from server.survey import Survey
from server.tasks import supervise
from server.telemetry import Counts
from tools.simulate.clock import Scheduler
from tools.simulate.disk import Disk, ModelStore
from tools.simulate.ground import Ground
from world.commands import Inbox
from world.entries import Entry
from world.state import LandRules, MarketRules, Rules, State
from world.terrain import Terrain

SEED = 0
TICK_HZ = 8
SPAWN_RADIUS = 20.0
FLUSH_MS = 500
CHAT_DAYS = 30.0
LAST_WORDS_S = 0.1  # a server that stops is gone after this
DRAIN_S = 2.75  # what server/main.py leaves of server.shutdown_s for the last save
SIGNING_KEY = bytes(32)
NOTARY = Notary(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
CONFIG = Config.model_validate({"world": {"tick_hz": TICK_HZ}})
GRANT = 60_000
RULES = Rules(
    tick_hz=TICK_HZ,
    walk_speed=4.0,
    resume_ticks=3 * TICK_HZ,
    chunks_max=64,
    chat_radius=24.0,
    chat_chars_max=200,
    chat_lines_max=20,
    chat_lines_on_enter=5,
    land=LandRules(
        starting_grant=GRANT,
        plot_price=8_000,
        plot_price_min=500,
        plot_price_falloff=8,
        player_parcels_max=6,
        lease_term_ms_min=1_000,
        upkeep_per_plot=300,
        upkeep_period_ms=6_000,
        upkeep_grace=1,
    ),
    market=MarketRules(
        fee_basis_points=1_250,
        fee_min=300,
        player_listings_max=4,
        player_leads_max=4,
        step_min=500,
        step_basis_points=1_000,
        snipe_ms=1_000,
        extensions_max=3,
        outage_ms=1_500,
    ),
)


@dataclass(frozen=True, slots=True)
class Limits:
    """How far memory may lead the disk in this run."""

    entries_max: int
    bytes_max: int
    queue_max: int  # actions that wait to enter the tick


@dataclass(slots=True)
class Outside:
    """Whom a server tells what: callbacks of the simulation."""

    on_open: "Callable[[Host], None]"
    on_recovered: "Callable[[Host], None]"
    on_done: "Callable[[Host, list[Entry]], None]"
    on_down: "Callable[[Host, AnyDown], None]"
    on_frame: "Callable[[Host, TickFrame], None]"
    on_gone: "Callable[[Host], None]"
    on_trouble: Callable[[str], None]
    wall_ms: Callable[[], int]


class Watched(Journal):
    """A journal that tells what is put there."""

    def __init__(self, last_seq: int, limits: Limits, on_put: Callable[[list[Entry]], None]) -> None:
        super().__init__(last_seq, limits.entries_max, limits.bytes_max)
        self._on_put = on_put

    def put(self, entries: Iterable[Entry], now_s: float) -> None:
        """As Journal has it."""
        new = list(entries)
        super().put(new, now_s)
        self._on_put(new)


class _Elsewhere(Garbage):
    """Whoever runs the simulation collects."""

    def after(self, tick: int, share: float) -> None:
        """Nothing."""


class Host:
    """One server, from start to death. `open` while it takes connections."""

    line: Line
    state: State
    journal: Watched
    hub: Hub
    loop: Loop
    flusher: Flusher
    ground: Served

    def __init__(self, clock: Scheduler, disk: Disk, number: int, limits: Limits, outside: Outside) -> None:
        self.number = number
        self.process = clock.process(f"server {number}")
        self.open = self.fenced = self.stopped_well = False
        self._begins_anew = False  # what serves the ground
        self.epoch = 0
        self.built_id = clock.random.randbytes(8).hex()
        self._clock = clock
        self._disk = disk
        self._limits = limits
        self._outside = outside
        self.process.on_death = self._gone
        self.process.call_soon(self._begin)

    def take(self, message: AnyUp, on_taken: Callable[[], None]) -> None:
        """A word from the network, as one step of the process."""
        self.process.call_soon(self._take, message, on_taken)

    def ask(self, answer: Callable[[Served], None]) -> None:
        """A question that the connection side answers by itself, likewise."""
        self.process.call_soon(self._ask, answer)

    def _ask(self, answer: Callable[[Served], None]) -> None:
        if self.open:
            answer(self.ground)

    def new_connection_side(self) -> None:
        """As a gateway that begins anew: with the next tick it is told what is built, as server/gateways.py tells it."""
        self._begins_anew = True

    def _serve_ground(self, surfaces: Surfaces) -> None:
        self.ground = Served(0, 0, lambda _: None)  # nobody looks at the ground itself
        self.ground.recall(surfaces)

    def _take(self, message: AnyUp, on_taken: Callable[[], None]) -> None:
        if self.open:
            on_taken()
            self.hub.take(self.line, message)

    def stop(self) -> None:
        """SIGTERM."""
        if self.open:
            self.process.call_soon(self._begin_to_stop)

    # --- as server/main.py ---

    def _begin(self) -> None:
        supervise(self.process.create_task(self._start(), name="start"), self._broken)

    def _begin_to_stop(self) -> None:
        supervise(self.process.create_task(self._stop(), name="stop"), self._broken)

    async def _start(self) -> None:
        store = cast("Store", ModelStore(self._disk, self._clock, self.process))
        inbox = Inbox(CONFIG.limits.inbox_commands_max, CONFIG.limits.joins_per_tick_max)
        ground = Ground(self._clock.random, inbox)
        try:
            row = await store.open_world(SEED, TICK_HZ)
            works = self._put_together(store, row, inbox, ground)
            self._serve_ground(await recall_built(store, self.loop.enter, lambda _: None))
            await recall_land(store, self.loop.enter, lambda _: None)
        except StoreError:
            self.process.kill()  # it says that it cannot start; somebody starts it again
            return
        self._outside.on_recovered(self)
        for start in works:
            for task in start():
                supervise(task, self._broken)
        self.loop.start()
        self.open = True
        self._outside.on_open(self)

    def _put_together(
        self, store: Store, row: WorldRow, inbox: Inbox, ground: Ground
    ) -> list[Callable[[], list[asyncio.Task[None]]]]:
        """The parts of a server; returned is what begins their work."""
        self.epoch = row.epoch
        self.journal = journal = Watched(row.last_seq, self._limits, partial(self._outside.on_done, self))
        self.flusher = Flusher(store, journal, row.epoch, self._on_fenced, FLUSH_MS, CHAT_DAYS)
        self.state = state = State(RULES)
        state.tick = row.tick
        chunks, terrain, no_executor = cast("Chunks", ground), cast("Terrain", ground), cast("Executor", None)
        directory = Directory(
            store,
            self.flusher,
            chunks,
            Signer(Ring.of(SIGNING_KEY)),
            row.epoch,
            SPAWN_RADIUS,
            False,
            CONFIG.limits.sign_in_queue_max,
        )
        survey = Survey(terrain, no_executor)
        actions = Actions(store, journal, survey, state, self._limits.queue_max)
        questions = Questions(store, actions, NOTARY, state, CONFIG.limits.question_queue_max)
        counts = Counts()
        peace = ModerationStore(store, cast("Sealer", None), row.epoch)
        moderation = Moderation(peace, self.flusher, state, CONFIG.moderation, 1, self._outside.wall_ms)
        self.hub = hub = Hub(CONFIG, inbox, chunks, directory, actions, questions, moderation, counts)
        clocks = Clocks(self.process.time, self._outside.wall_ms)
        self.loop = Loop(state, inbox, hub, chunks, self.flusher, journal, None, counts, self._broken, clocks)
        self.loop.garbage = _Elsewhere()
        self.line = hub.attach(lambda down: self._outside.on_down(self, down), Tally)
        hub.spread = self._spread
        return [
            lambda: [self.flusher.start()],
            directory.start,
            actions.start,
            lambda: [questions.start()],
        ]

    def _spread(self, frame: TickFrame) -> None:
        if self._begins_anew:
            self._begins_anew = False
            built = self.state.chunks.surfaces
            self._serve_ground([(key, one.version, one.edited()) for key, one in built.items()])
        else:
            for key, edits in frame.edits:
                self.ground.build(key, edits)
        self._outside.on_frame(self, frame)

    async def _stop(self) -> None:
        self.open = False
        self.hub.close_all("")
        for stop in (self.hub.directory.stop, self.hub.actions.stop, self.hub.questions.stop):
            await stop()
        self.loop.stop()
        self.stopped_well = await self.flusher.drain(DRAIN_S)
        self.process.call_later(LAST_WORDS_S, self.process.kill)

    def _on_fenced(self, _: Fenced) -> None:
        self.fenced = True
        self.process.call_later(LAST_WORDS_S, self.process.kill)

    def _broken(self, part: str, error: BaseException) -> None:
        self._outside.on_trouble(f"{self.process.name}: {part} broke: {error!r}")
        self.process.kill()

    def _gone(self) -> None:
        self.open = False
        self._outside.on_gone(self)
