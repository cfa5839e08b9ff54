"""`landworld bench recovery`: how long does a start take, and how much memory, where a lot was owned?

A database is filled with the history of a large world: so many players who each got their grant and claimed a plot. The entries are
made by the world's own writer, so that the digests chain, and stored by the server's own store. Then a real server starts on it. Timed
is from the start of its process until its /ready says yes, and until the first player is welcomed; memory is the most that the
process ever had. Beside it: how long PostgreSQL alone needs to give out the rows that a start reads, as text, to one connection.
"""

import argparse
import asyncio
import json
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from shutil import rmtree
from typing import Any

import asyncpg
from rich.console import Console

from persistence.embedded import DataDirectory, EmbeddedPostgres
from persistence.migrations import migrate
from persistence.store import Batch, Store
from protocol.messages import PLOT_TILES, LandClaim, LandClaimResult, Role, name_of
from server.actions import content_of
from server.config import WorldConfig
from tools.bench.attend import kept, show
from tools.bench.held import Target
from tools.bench.live import STOP_TIMEOUT_S, BenchError, live_server, on_load
from tools.bots.fleet import Fleet, Plan, parse_target
from tools.bots.report import percentile
from world.commands import Act
from world.entries import Entry, Outcome, write
from world.ledger import HOUSE, TREASURY
from world.parcels import Parcel
from world.state import Rules, State

ENTRIES = 1_000_000
BATCH = 5_000  # entries in one transaction of the filling
FILL_TIMEOUT_S = 300.0
GRANT, PRICE = 100_000, 500  # poisha
TOLD_BATCHES = 20  # between two lines of progress
LOG_LINES_MAX = 10_000
ROW_PARCELS = 1_000
FIRST_PLOT = 1_024  # the land lies away from where players appear
CLAIM = name_of(LandClaim)
READ = (
    "SELECT account_id, balance FROM accounts ORDER BY account_id",
    "SELECT parcel_id, parcel FROM parcels ORDER BY parcel_id",
)


def targets(entries: int) -> tuple[Target, ...]:
    """What is promised."""
    return (
        Target("parcels that came back", "parcels", least=entries, most=entries),
        Target("start until ready, s", "ready_s", most=30),
        Target("start until the first welcome, s", "welcome_s", most=30),
        Target("most memory, MiB", "memory_mib_max", most=1_024),
        Target("lines of progress", "progress_lines", least=2),
    )


def add_parser(sub: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register `landworld bench recovery`."""
    parser = sub.add_parser(
        "recovery", help="how long does a start take on a large world?", description=__doc__
    )
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "--entries",
        type=int,
        default=ENTRIES,
        metavar="N",
        help=f"of the journal, and so many parcels and accounts (default {ENTRIES:,})",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line")
    parser.set_defaults(run=run)


@on_load
def run(args: argparse.Namespace) -> int:
    """Run the command; exit code 1 when a promise was missed, 2 when it could not run."""
    found, promised = measure(args.entries, Console(stderr=True)), targets(args.entries)
    show(found, promised, Console(stderr=args.json))
    if args.json:
        print(json.dumps(found))
    return 0 if kept(found, promised) else 1


def measure(count: int, console: Console) -> dict[str, Any]:
    """Fills a database and starts a server on it."""
    with filled(count, console) as (data, copy_s):
        return start(data, count, copy_s)


# --- the history ---


def history(count: int) -> Iterator[Entry]:
    """The entries of so many first claims, each a plot with open land around it."""
    state = State(Rules(20, 4.0, 1, 4, 1.0, 1, 1, 1))
    for player_id in range(1, count + 1):
        legs = [(TREASURY, -GRANT), (player_id, GRANT), (player_id, -PRICE), (HOUSE, PRICE)]
        row, column = divmod(player_id, ROW_PARCELS)
        px, py = FIRST_PLOT + 2 * column, 2 * row
        parcel = Parcel(player_id, player_id, f"Player {player_id}", px, py, 1, 1, seq=player_id)
        request = LandClaim(
            1, player_id.to_bytes(16, "big"), px * PLOT_TILES, py * PLOT_TILES, PLOT_TILES, PLOT_TILES
        )
        act = Act(player_id, parcel.owner_name, Role.USER, 0, request, content_of(request))
        outcome = Outcome(LandClaimResult(player_id, PRICE), [*state.ledger.posted(legs), parcel])
        yield write(state, CLAIM, outcome, act)
        state.answers.clear()  # those are for who asks again within a minute


@contextmanager
def filled(count: int, console: Console) -> Iterator[tuple[Path, float]]:
    """A data directory with such a history, and how many seconds PostgreSQL needs to give out what a start reads of it."""
    place = Path(tempfile.mkdtemp(prefix="landworld-bench-"))
    try:
        yield place / "data", asyncio.run(fill(place / "data", count, console))
    finally:
        rmtree(place, ignore_errors=True)


async def fill(data: Path, count: int, console: Console) -> float:
    """Writes a history into the database of a data directory; answers how long PostgreSQL needs to give out what a start reads."""
    with DataDirectory(data):
        postgres = EmbeddedPostgres(data, lambda _: None, FILL_TIMEOUT_S)
        dsn = await postgres.start()
        try:
            await migrate(dsn, lambda _: None)
            await _store(dsn, count, console)
            return await _read(dsn)
        finally:
            await postgres.stop(STOP_TIMEOUT_S)


async def _store(dsn: str, count: int, console: Console) -> None:
    store = await Store.open(dsn, 2)
    world = await store.open_world(WorldConfig().seed, WorldConfig().tick_hz)
    entries, stored = history(count), 0
    while batch := list(islice(entries, BATCH)):
        await store.save(world.epoch, Batch(1, entries=batch))
        stored += len(batch)
        if stored % (BATCH * TOLD_BATCHES) == 0:
            console.print(f"filling: {stored:,} of {count:,} entries", highlight=False)
    await store.close()


async def _read(dsn: str) -> float:
    connection = await asyncpg.connect(dsn)
    await connection.execute("VACUUM ANALYZE")  # the first reader would pay for it
    began_s = time.monotonic()
    for query in READ:
        await connection.copy_from_query(query, output=_swallow)
    read_s = time.monotonic() - began_s
    await connection.close()
    return read_s


async def _swallow(_: bytes) -> None:
    """Bytes that nobody wants."""


# --- the start ---


def start(data: Path, count: int, copy_s: float) -> dict[str, Any]:
    """Starts a server on it; keys end in their unit."""
    settings = {"world.seed": WorldConfig().seed, "log.level": "warning"}
    began_s = time.monotonic()
    with live_server(settings, data) as server:
        ready_s = time.monotonic() - began_s
        fleet = Fleet(Plan(target=parse_target(server.url), count=1, seconds=1))
        joined = fleet.run()
        if not joined.players:
            raise BenchError("nobody was welcomed")
        welcome_s = ready_s + (percentile(joined.tally.joins_ms.values, 1.0) or 0.0) / 1000
        metrics = server.sample().metrics
        progress = server.last_words(LOG_LINES_MAX).count("reading land")
        return {
            "entries": count,
            "parcels": int(metrics["landworld_parcels"]),
            "ready_s": round(ready_s, 2),
            "welcome_s": round(welcome_s, 2),
            "cpu_s": round(server.cpu_s(), 2),
            "memory_mib_max": round(server.rss_kib_max() / 1024, 1),
            "progress_lines": progress,
            "copy_s": round(copy_s, 2),
            "ratio_to_copy": round(welcome_s / copy_s, 2),
        }
