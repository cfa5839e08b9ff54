"""Start, run, stop: the only place where the parts are put together.

Start   data directory -> database -> migrations -> world row (epoch) -> ground -> last talk -> sockets -> ready
Stop    tell clients and give them tickets -> no more ticks -> save all -> database down, within `server.shutdown_s`

The pages open first, so that /ready can say what the start is waiting for. Whatever takes time runs beside the loop and says so. Who
asks for a stop while it starts gets one: waiting is given up (only a compiler that runs comes to its end), and the exit code is 0.

Exit codes: 0 stopped as asked, 1 it cannot start or could not save the last changes, 2 wrong settings, 3 another server has taken the
world over, 4 a part broke.
"""

import asyncio
import hashlib
import resource
import secrets
import signal
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import structlog
import uvloop

from persistence.accounts import AccountStore
from persistence.bus import Bus
from persistence.embedded import DataDirectory, EmbeddedPostgres
from persistence.flusher import Flusher
from persistence.journal import Journal
from persistence.migrations import migrate
from persistence.moderation import ModerationStore
from persistence.reseal import keys_in_use
from persistence.sealing import Sealer
from persistence.store import Fenced, Store, WorldRow, wait_until_reachable
from protocol.messages import ChatChannel
from server.accounts import Accounts
from server.actions import Actions
from server.admin import Admin
from server.auth import Signer
from server.chunks import Chunks
from server.config import Config
from server.directory import Directory
from server.frames import TickFrame, whole
from server.gate import BACKLOG, Gate
from server.gateways import Gateways, hold
from server.http import Health, application, listen, naming
from server.hub import Hub
from server.interest import warm_up as warm_up_interest
from server.keys import ANOTHER_LOOKUP_KEY, Keeper, Keys, load_keys, lost_values, now_ms
from server.loop import Loop
from server.mail import Mailer
from server.moderation import Moderation
from server.neighbours import Neighbours
from server.numbers import World, show
from server.questions import Questions
from server.recall import recall_built, recall_land
from server.receipts import Notary
from server.recorder import Recorder
from server.seam import Premises, Rekeyed, Surfaces
from server.survey import Survey
from server.tasks import supervise
from server.telemetry import Counts, Telemetry, set_up_logs
from server.words import words_of
from world.building import kind_at
from world.commands import Inbox, Line, Recall
from world.grid import pack
from world.state import LandRules, MarketRules, Rules, State
from world.terrain import Terrain
from world.tick import warm_up

HEALTHY_TICK_S = 2.0
DAY_MS = 86_400_000
FILES_SPARE = 256  # open files beside connections: the database, logs, gateways
LEFT_S_MIN = 0.02  # even who comes late in a stop gets a moment
# A stop has `server.shutdown_s` in all. Each closer may wait until so much of it is over, and what hangs longer is left behind.
SIGN_INS_SHARE = 0.1
SAVE_SHARE = 0.55
CLIENTS_SHARE = 0.65
RECORDER_SHARE = 0.7
STORE_SHARE = 0.75
DATABASE_SHARE = 0.9
PAGES_SHARE = 0.95
CACHED_BY_CHUNKS = 0  # bytes of packed ground kept on the connection side, where both are one process
TERRAIN_VERSION = 1  # to be raised when the same seed gives other ground

log = structlog.get_logger()


def say(text: str) -> None:
    """A line for the person at the terminal."""
    print(text, flush=True)


def run(
    config: Config, record: Path | None = None, on_ready: Callable[[int, int], None] | None = None
) -> int:
    """Serves until SIGTERM or SIGINT; the exit code."""
    set_up_logs(config.log)
    allow_open_files(config)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(Server(config, record, on_ready).serve())


def allow_open_files(config: Config) -> None:
    """Raises the limit of open files, which gateways inherit, for the connections that may come; says so if the system has fewer."""
    wanted = config.limits.connections_max + config.http.connections_max + FILES_SPARE
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if allowed > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    if allowed < wanted:
        log.warning("open_files", allowed=hard, wanted=wanted, advice="raise `ulimit -Hn`")


class Server:
    """One server from start to stop."""

    def __init__(
        self, config: Config, record: Path | None, on_ready: Callable[[int, int], None] | None
    ) -> None:
        self.config = config
        self.record = record
        self.on_ready = on_ready
        self.health = Health()
        self.counts = Counts()
        self.telemetry = Telemetry(self.counts)
        self.stopping = asyncio.Event()
        self.exit_code = 0
        self._stop_began_s: float | None = None
        self.game_port = config.server.port

    async def serve(self) -> int:
        """Start, wait, stop."""
        began = time.monotonic()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stopping.set)
        async with AsyncExitStack() as stack:
            stack.enter_context(DataDirectory(self.config.data))
            app = application(
                self.health,
                self.telemetry,
                lambda: self.game_port,
                self.config.http.game_url,
                version("landworld"),
            )
            runner, http_port = await listen(app, self.config.http)
            stack.push_async_callback(self._close, runner.cleanup, PAGES_SHARE)
            world = await self._unless_stopped(self._build(stack, http_port))
            if world is None:
                return self.exit_code
            show(self.telemetry, world)
            running = world.loop
            self.health.market_closed = lambda: world.hub.actions.books.closed
            self.health.alive = lambda: loop.time() - running.ticked_s < HEALTHY_TICK_S
            running.garbage.hold(world.state.tick)
            self._ready(began, http_port)
            await self.stopping.wait()
            await self._stop(world)
        return self.exit_code

    async def _unless_stopped(self, start: Coroutine[Any, Any, "World"]) -> "World | None":
        """The world once it is there; None when a stop was asked for meanwhile, and the start has let go of everything."""
        building = asyncio.create_task(start, name="start")
        asked = asyncio.create_task(self.stopping.wait(), name="asked to stop")
        await asyncio.wait({building, asked}, return_when=asyncio.FIRST_COMPLETED)
        asked.cancel()
        if building.done():
            return building.result()
        self.health.reason = "stopping"
        say("Stopping: the start is given up.")
        building.cancel()
        await asyncio.wait({building}, timeout=self._left_s(SAVE_SHARE))
        if building.done() and not building.cancelled() and (error := building.exception()):
            log.info("start_given_up", error=str(error))
        return None

    async def _build(self, stack: AsyncExitStack, http_port: int) -> "World":
        config = self.config
        compiling = asyncio.create_task(asyncio.to_thread(compile_kernels), name="compile")
        store, row, sealed_with = await self._database(stack)
        journal = Journal(row.last_seq)
        flusher = Flusher(
            store,
            journal,
            row.epoch,
            self._fenced,
            config.persistence.flush_interval_ms,
            config.chat.keep_days,
        )
        state = State(_rules(config))
        state.tick = row.tick
        inbox = Inbox(config.limits.inbox_commands_max, config.limits.joins_per_tick_max)
        self._wait_for("preparing the ground (the first start also compiles)")
        await compiling
        chunks = await self._ground(row, state, inbox)
        stack.push_async_callback(self._close, chunks.stop, RECORDER_SHARE)
        recorder = self._recorder(stack, state)
        inbox.put(Recall(await _last_talk(store, config.chat.history_messages_max)))
        keeper = Keeper(config, await asyncio.to_thread(load_keys, config))
        if lost := lost_values(sealed_with, keeper.keys.sealing):
            log.error("private_values_lost", advice=lost)
        signer = Signer(keeper.keys.signing)
        sealer = Sealer(keeper.keys.sealing, keeper.keys.lookup)
        account_rows = AccountStore(store, sealer, row.epoch)
        if not await account_rows.lookup_fits():
            log.error("lookup_key_differs", advice=ANOTHER_LOOKUP_KEY)
        mailer = Mailer(config.mail, config.data)
        stack.push_async_callback(self._close_within, mailer.stop, RECORDER_SHARE)
        directory = Directory(
            store,
            flusher,
            chunks,
            signer,
            row.epoch,
            config.world.spawn_radius,
            config.server.guests_allowed,
            config.limits.sign_in_queue_max,
            account_rows,
        )
        survey = Survey(chunks.terrain, chunks.thread)
        words = None if config.chat.words == "off" else words_of(config.chat.words_file)
        actions = Actions(store, journal, survey, state, config.limits.action_queue_max, words)
        notary = await asyncio.to_thread(Notary.of, config.data)
        self.health.receipt_key = notary.public_key
        questions = Questions(store, actions, notary, state, config.limits.question_queue_max)
        moderation_rows = ModerationStore(store, sealer, row.epoch)
        moderation = Moderation(
            moderation_rows,
            flusher,
            state,
            config.moderation,
            config.limits.moderation_queue_max,
            now_ms,
        )
        await moderation.recall()
        hub = Hub(config, inbox, chunks, directory, actions, questions, moderation, self.counts)
        accounts = hub.accounts = Accounts(
            config.accounts,
            account_rows,
            signer,
            directory.place_for_newcomer,
            mailer.send,
            self._broken,
            words,
        )
        loop = Loop(state, inbox, hub, chunks, flusher, journal, recorder, self.counts, self._broken)
        neighbours = self._join_others(stack, hub, accounts)
        built = await recall_built(store, loop.enter, self._wait_for)
        await recall_land(store, loop.enter, self._wait_for)
        serving = (
            flusher.start(),
            *directory.start(),
            *actions.start(),
            questions.start(),
            moderation.start(),
            *mailer.start(),
        )
        for task in serving:
            supervise(task, self._broken)
        if neighbours is not None:
            self._wait_for("asking Redis which sessions have ended")
            await neighbours.bus.settle()
        loop.start()
        world = World(row, state, flusher, journal, chunks, hub, loop, inbox, accounts, mailer)
        signing = list(keeper.keys.signing.keys)
        premises = Premises(row.epoch, http_port, _ground_id(row), secrets.token_hex(8), signing)
        if config.server.gateways:
            await self._open_gateways(stack, world, premises)
        else:
            await self._open_here(stack, world, premises, built)
        admin = Admin(config.data, store, moderation_rows, moderation)
        await admin.open()
        stack.push_async_callback(self._close, admin.close, PAGES_SHARE)
        looking = keeper.start(partial(_take_keys, signer, sealer, hub))
        supervise(looking, self._broken)
        stack.callback(looking.cancel)
        return world

    def _join_others(self, stack: AsyncExitStack, hub: Hub, accounts: Accounts) -> Neighbours | None:
        """The servers on the same Redis, where there is one."""
        config = self.config
        if not config.redis.url:
            return None
        assert config.redis.secret is not None  # config.py sees to it
        bus = Bus(config.redis.url, config.redis.prefix, config.redis.secret.get_secret_value())
        neighbours = Neighbours(bus, hub, accounts)
        self.health.redis = neighbours.status
        supervise(neighbours.bus.start(), self._broken)
        stack.push_async_callback(self._close, neighbours.bus.stop, STORE_SHARE)
        return neighbours

    async def _open_here(
        self, stack: AsyncExitStack, world: "World", premises: Premises, built: Surfaces
    ) -> None:
        """Connections live in this process: the two sides call each other."""
        hub, config = world.hub, self.config
        line = hub.attach(lambda message: gate.take(message), lambda: gate.tally())  # noqa: PLW0108 (there is no gate yet)
        gate = Gate(
            config, premises, line.first_number, world.inbox.steer, partial(hub.take, line), CACHED_BY_CHUNKS
        )
        gate.ground.recall(built)
        hub.spread, hub.rekey = gate.publish, lambda keys: gate.take(Rekeyed(keys))
        with naming("server", config.server):
            server = await asyncio.get_running_loop().create_server(
                gate.connect, config.server.host, config.server.port, backlog=BACKLOG, reuse_address=True
            )
        gate.listeners.append(server)
        stack.callback(server.close)
        self.game_port = server.sockets[0].getsockname()[1]

    async def _open_gateways(self, stack: AsyncExitStack, world: "World", premises: Premises) -> None:
        """Connections live in processes of their own."""
        self._wait_for("starting the gateways")
        with naming("server", self.config.server):
            held = await hold(self.config.server)
        gateways = world.gateways = Gateways(
            self.config, world.hub, premises, partial(_whole, world), world.state.chunks.surfaces, held
        )
        world.hub.spread, world.hub.rekey = gateways.publish, gateways.rekey
        stack.push_async_callback(self._close_within, gateways.stop, PAGES_SHARE)
        await gateways.start(self._broken)
        self.game_port = gateways.port

    async def _database(self, stack: AsyncExitStack) -> tuple[Store, WorldRow, Counter[str]]:
        """The database with all its tables, the world taken over, and with which keys private values are sealed."""
        config = self.config
        dsn = config.persistence.url or await self._embedded(stack)
        await wait_until_reachable(dsn, self._wait_for, config.persistence.startup_timeout_s)
        self._wait_for("preparing the tables")
        await migrate(dsn, self._wait_for)
        store = await Store.open(dsn, config.persistence.pool_size)
        stack.push_async_callback(self._close_within, store.close, STORE_SHARE)
        row = await store.open_world(config.world.seed, config.world.tick_hz)
        return store, row, await keys_in_use(dsn)

    async def _embedded(self, stack: AsyncExitStack) -> str:
        self._wait_for("starting the database")
        wait_s = self.config.persistence.startup_timeout_s
        postgres = EmbeddedPostgres(self.config.data, self._wait_for, wait_s)
        stack.push_async_callback(self._close_within, postgres.stop, DATABASE_SHARE)
        dsn = await postgres.start()
        assert postgres.watcher is not None
        supervise(postgres.watcher, self._broken)
        return dsn

    async def _ground(self, row: WorldRow, state: State, inbox: Inbox) -> Chunks:
        config = self.config
        terrain = await asyncio.to_thread(Terrain, row.seed)
        ahead = config.world.pregenerate_radius_chunks, config.world.pregenerate_ahead_chunks
        chunks = Chunks(
            terrain,
            inbox,
            partial(kind_at, state),
            config.limits.chunk_cache_bytes_max,
            config.limits.chunk_queue_max,
            config.world.chunks_loaded_max,
            ahead,
        )
        supervise(chunks.start(), self._broken)
        chunks.prepare(pack(0, 0))
        return chunks

    def _recorder(self, stack: AsyncExitStack, state: State) -> Recorder | None:
        if self.record is None:
            return None
        recorder = Recorder(self.record, state)
        say(f"  recording to {recorder.path}")

        async def close(seconds_max: float) -> None:
            await asyncio.to_thread(recorder.close, seconds_max)

        stack.push_async_callback(self._close_within, close, RECORDER_SHARE)
        return recorder

    def _wait_for(self, text: str) -> None:
        """Progress of the start, for the terminal and for /ready."""
        self.health.reason = text
        say(f"  {text} ...")

    def _ready(self, began: float, http_port: int) -> None:
        self.health.ready, self.health.reason = True, "ready"
        say(
            f"Ready in {time.monotonic() - began:.1f} s. Play at http://{_shown_host(self.config.http.host)}:{http_port}/"
        )
        say(f"  game socket ws://{_shown_host(self.config.server.host)}:{self.game_port}/   stop with Ctrl-C")
        if self.on_ready is not None:
            self.on_ready(self.game_port, http_port)

    async def _stop(self, world: "World") -> None:
        """Everything is told and saved within `server.shutdown_s`; what hangs after that is left to the next start."""
        self.health.ready, self.health.reason = False, "stopping"
        self._left_s(0)  # the time runs
        say("Stopping: telling clients, saving the world ...")
        world.hub.close_all("The server restarts; your client comes back by itself.")
        for stop in (
            world.accounts.stop,
            world.hub.directory.stop,
            world.hub.actions.stop,
            world.hub.questions.stop,
            world.hub.moderation.stop,
        ):
            await self._close(stop, SIGN_INS_SHARE)
        world.loop.stop()
        if not world.hub.actions.books.balance(world.state):
            self.exit_code = self.exit_code or 4
        saved = await world.flusher.drain(self._left_s(SAVE_SHARE))
        await world.hub.wait_closed(self._left_s(CLIENTS_SHARE))
        say(
            "Stopped; everything is saved."
            if saved
            else "Stopped, but the database did not take the last changes."
        )
        if not saved:
            self.exit_code = self.exit_code or 1

    def _left_s(self, share: float) -> float:
        """Seconds until `share` of the stop's time is over, which runs from the first call on."""
        now = time.monotonic()
        if self._stop_began_s is None:
            self._stop_began_s = now
        return max(LEFT_S_MIN, self._stop_began_s + share * self.config.server.shutdown_s - now)

    async def _close(self, close: Callable[[], Coroutine[Any, Any, None]], share: float) -> None:
        """Waits for a closer that knows no limit, but no longer than its share; it goes on by itself after that."""
        closing = asyncio.create_task(close())
        await asyncio.wait({closing}, timeout=self._left_s(share))
        if closing.done() and (error := closing.exception()):
            log.warning("close_failed", error=repr(error))

    async def _close_within(self, close: Callable[[float], Coroutine[Any, Any, None]], share: float) -> None:
        """Hands a closer the seconds it has."""
        await close(self._left_s(share))

    def _fenced(self, error: Fenced) -> None:
        log.error("fenced", error=str(error))
        say(f"Another server has taken over this world ({error}); this one stops.")
        self.exit_code = 3
        self.stopping.set()

    def _broken(self, part: str, error: BaseException) -> None:
        log.error("broken", part=part, exc_info=error)
        say(
            f"A part of the server failed, which must never happen: {part}. It stops, so that nothing is done by halves. "
            "See the log above."
        )
        self.exit_code = 4
        self.stopping.set()


def compile_kernels() -> None:
    """Every kernel of the world, so that the first tick does not wait for a compiler; for a thread."""
    warm_up()
    warm_up_interest()
    Terrain.warm_up()


def _take_keys(signer: Signer, sealer: Sealer, hub: Hub, keys: Keys) -> None:
    """A rotation, while the server runs."""
    signer.ring, sealer.ring = keys.signing, keys.sealing
    hub.rekey(list(keys.signing.keys))


def _whole(world: World) -> TickFrame:
    """The world as it is now."""
    return whole(world.state, world.loop.overload.step)


def _rules(config: Config) -> Rules:
    return Rules(
        tick_hz=config.world.tick_hz,
        walk_speed=config.world.walk_speed_tiles_per_s,
        resume_ticks=round(config.session.resume_s * config.world.tick_hz),
        chunks_max=config.world.chunks_loaded_max,
        chat_radius=config.chat.radius_tiles,
        chat_chars_max=config.chat.text_chars_max,
        chat_lines_max=config.chat.history_messages_max,
        chat_lines_on_enter=config.chat.history_on_enter,
        land=LandRules(
            starting_grant=config.economy.starting_grant,
            plot_price=config.land.plot_price,
            plot_price_min=config.land.plot_price_min,
            plot_price_falloff=config.land.plot_price_falloff_plots,
            parcel_plots_max=config.land.parcel_plots_max,
            player_parcels_max=config.land.player_parcels_max,
            player_plots_max=config.land.player_plots_max,
            lease_term_ms_min=round(config.land.lease_term_min_s * 1_000),
            upkeep_per_plot=config.land.upkeep_per_plot,
            upkeep_period_ms=round(config.land.upkeep_period_days * DAY_MS),
            upkeep_grace=config.land.upkeep_grace_periods,
        ),
        market=MarketRules(
            fee_basis_points=config.market.fee_basis_points,
            fee_min=config.market.fee_min,
            price_min=config.market.price_min,
            price_max=config.market.price_max,
            player_listings_max=config.market.player_listings_max,
            listing_ms_min=round(config.market.listing_min_s * 1_000),
            listing_ms_max=round(config.market.listing_max_days * DAY_MS),
            step_min=config.market.auction_step_min,
            step_basis_points=config.market.auction_step_basis_points,
            snipe_ms=round(config.market.auction_snipe_s * 1_000),
            extensions_max=config.market.auction_extensions_max,
            outage_ms=round(config.market.auction_outage_s * 1_000),
            player_leads_max=config.market.player_leads_max,
        ),
    )


async def _last_talk(store: Store, limit: int) -> list[Line]:
    return [
        Line(
            ChatChannel(one.channel),
            one.sender_id,
            one.sender_name,
            one.text,
            one.tick,
            one.x,
            one.y,
            one.recipient_id,
        )
        for one in await store.recent_chat(limit)
    ]


def _ground_id(row: WorldRow) -> str:
    """Names the ground, for clients that keep chunks: another seed, another way of making it or another world to build in."""
    name = f"{row.seed}:{TERRAIN_VERSION}:{row.created_at_ms}"
    return hashlib.blake2b(name.encode(), digest_size=8).hexdigest()


def _shown_host(host: str) -> str:
    return "localhost" if host in ("0.0.0.0", "::", "") else host  # noqa: S104 (only compared)
