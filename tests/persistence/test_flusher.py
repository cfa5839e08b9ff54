"""The flusher: what is handed over lands, once, whatever becomes of Postgres or of the line to it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

import pytest

from persistence import flusher as flusher_module
from persistence import store as store_module
from persistence.embedded import PORT, EmbeddedPostgres
from persistence.flusher import Flusher
from persistence.journal import Journal
from persistence.migrations import migrate
from persistence.store import Batch, ChatLine, Entrant, Fenced, Store, StoreRefused, StoreUnavailable
from tests.conftest import POOL_SIZE, START_S, TICK_HZ, Execute, stopped
from tests.persistence.support import Chronicle, claim
from tests.world.support import ADA
from world.entries import Entry

INTERVAL_MS = 10
DRAIN_S = 120.0  # a save that takes so long has failed
SAID_AT_MS = 4_000_000_000_000  # in 2096: never old enough to be pruned


@pytest.fixture(autouse=True)
def _quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flusher_module, "RETRY_MS_MIN", 5)
    monkeypatch.setattr(flusher_module, "RETRY_MS_MAX", 20)


class ObservedFlusher(Flusher):
    """A flusher that says when a save went well or badly."""

    def __init__(self, store: Store, epoch: int, interval_ms: int = INTERVAL_MS) -> None:
        self.fences: list[Fenced] = []
        self.stopped = asyncio.Event()
        self.outcome = asyncio.Condition()
        self.taken = asyncio.Event()
        self.journal = Journal(last_seq=0)
        super().__init__(store, self.journal, epoch, self._stop, interval_ms, chat_days_max=30.0)

    def _stop(self, error: Fenced) -> None:
        self.fences.append(error)
        self.stopped.set()

    def _take(self) -> Batch:
        self.taken.set()
        return super()._take()

    async def _flush(self) -> bool:
        saved = await super()._flush()
        async with self.outcome:
            self.outcome.notify_all()
        return saved

    async def until_failing(self) -> None:
        """Return after a failed save of all that has been handed over by now."""
        # The next one may have been under way already; the one after it has everything.
        wanted = self.failures_total + 2
        async with self.outcome:
            await self.outcome.wait_for(lambda: self.failures_total >= wanted)

    async def until_flushes(self, number: int) -> None:
        """Return after so many saves."""
        async with self.outcome:
            await self.outcome.wait_for(lambda: self.flushes_total >= number)

    async def until_saved(self, failures_max: int | None = None) -> None:
        """Return when all is committed; fails after so many failures."""

        def saved() -> bool:
            assert failures_max is None or self.failures_total <= failures_max, self.last_error
            return not (self.failures or self.pending_positions or self.pending_chat or len(self.journal))

        async with self.outcome:
            await self.outcome.wait_for(saved)


def _line(text: str) -> ChatLine:
    return ChatLine(1, 1, "Ada", None, 0.0, 0.0, 1, SAID_AT_MS, text)


async def _open(dsn: str, players: int = 3) -> tuple[Store, int]:
    store = await Store.open(dsn, POOL_SIZE)
    epoch = (await store.open_world(1, TICK_HZ)).epoch
    await store.enter_players(
        epoch, [Entrant(f"name:{i}", str(i), "user", 0, 0.0, 0.0) for i in range(players)]
    )
    return store, epoch


async def _texts(store: Store) -> list[str]:
    return [line.text for line in await store.recent_chat(1_000)]


async def test_what_is_handed_over_lands_and_the_latest_counts(dsn: str, sql: Execute) -> None:
    store, epoch = await _open(dsn)
    flusher = ObservedFlusher(store, epoch)
    flusher.start()
    flusher.put_positions(7, [1, 2], [1.0, 2.0], [0.0, 0.0])
    flusher.put_positions(8, [2, 3], [5.0, 6.0], [0.0, 0.5])
    flusher.put_chat(_line("one"))
    flusher.put_chat(_line("two"))
    assert (flusher.pending_positions, flusher.pending_chat) == (3, 2)
    await flusher.until_saved()
    assert flusher.available
    assert flusher.last_flush_ms > 0
    assert await _texts(store) == ["one", "two"]
    rows = await sql("SELECT x, y, tick FROM players, world ORDER BY player_id")
    assert [tuple(r) for r in rows] == [(1.0, 0.0, 8), (5.0, 0.0, 8), (6.0, 0.5, 8)]
    assert await flusher.drain(DRAIN_S)
    await store.close()


async def test_drain_saves_without_waiting_for_the_interval(dsn: str) -> None:
    store, epoch = await _open(dsn)
    flusher = ObservedFlusher(store, epoch, interval_ms=3_600_000)
    flusher.start()
    for i in range(flusher_module.CHAT_BATCH_MAX + 1):
        flusher.put_chat(_line(str(i)))
    assert await flusher.drain(DRAIN_S)
    assert len(await store.recent_chat(10_000)) == flusher_module.CHAT_BATCH_MAX + 1
    await store.close()


async def test_a_line_that_breaks_during_commit_neither_loses_nor_doubles(dsn: str, tmp_path: Path) -> None:
    """Guards: a failed batch is kept; ON CONFLICT (epoch, serial). The first COMMIT is done, its reply is lost."""
    async with _losing_the_first_commit_reply(dsn, tmp_path) as (through, lost):
        direct, epoch = await _open(dsn)
        store = await Store.open(through, POOL_SIZE)
        flusher = ObservedFlusher(store, epoch)
        flusher.put_positions(7, [1], [1.0], [1.0])
        flusher.put_chat(_line("once"))
        lost.clear()
        flusher.start()
        await lost.wait()
        await flusher.until_saved()
        assert flusher.failures_total == 1
        assert await _texts(direct) == ["once"]
        assert await flusher.drain(DRAIN_S)
        await store.close()
        await direct.close()


async def test_postgres_stopped_and_started_again_costs_nothing(data: Path) -> None:
    """Guard: a batch is kept until committed, with the newer positions over it."""
    postgres = EmbeddedPostgres(data, print, START_S)
    dsn = await postgres.start()
    await migrate(dsn, print)
    store, epoch = await _open(dsn)
    flusher = ObservedFlusher(store, epoch)
    flusher.start()
    await postgres.stop()
    flusher.put_positions(7, [1, 2], [1.0, 1.0], [0.0, 0.0])
    flusher.put_chat(_line("before"))
    await flusher.until_failing()
    assert not flusher.available
    flusher.put_positions(9, [2], [2.0], [0.0])
    flusher.put_chat(_line("after"))
    with pytest.raises(StoreUnavailable):
        await store.enter_players(epoch, [Entrant("name:x", "x", "user", 0, 0.0, 0.0)])
    assert flusher.latest_position(1) == (1.0, 0.0)
    try:
        await postgres.start()
        await flusher.until_saved()
        assert (flusher.failures, flusher.last_error) == (0, "")
        assert await _texts(store) == ["before", "after"]
        found = [await store.find_player(name) for name in ("0", "1")]
        assert [row and row.x for row in found] == [1.0, 2.0]
        assert await flusher.drain(DRAIN_S)
        await store.close()
    finally:
        await postgres.stop()


async def test_a_postgres_that_hangs_is_cut_off_and_all_lands_later(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guards: CUT_SECONDS_MAX, without which the saving hangs for good; newer positions stay over those kept."""
    postgres = EmbeddedPostgres(data, print, START_S)
    dsn = await postgres.start()
    await migrate(dsn, print)
    store, epoch = await _open(dsn)
    flusher = ObservedFlusher(store, epoch)
    flusher.start()
    await flusher.until_saved()
    with monkeypatch.context() as hasty, stopped(postgres.pid):
        for limit in ("CUT_SECONDS_MAX", "ACQUIRE_SECONDS_MAX", "CONNECT_SECONDS_MAX"):
            hasty.setattr(store_module, limit, 0.2)
        flusher.put_chat(_line("patience"))
        flusher.put_positions(3, [1], [4.0], [4.0])
        await flusher.until_failing()
        assert not flusher.available
        flusher.taken.clear()
        await flusher.taken.wait()
        flusher.put_positions(4, [1], [6.0], [6.0])  # while the older one is on its way
        assert flusher.latest_position(1) == (6.0, 6.0)
        assert flusher.pending_positions == 1
        await flusher.until_failing()
    await flusher.until_saved()
    assert await _texts(store) == ["patience"]
    [found] = await store.enter_players(epoch, [Entrant("name:0", "", "user", 0, 0.0, 0.0)])
    assert (found.x, found.y) == (6.0, 6.0)
    assert await flusher.drain(DRAIN_S)
    await store.close()
    await postgres.stop()


async def test_drain_gives_up_in_time_when_postgres_is_gone(data: Path) -> None:
    postgres = EmbeddedPostgres(data, print, START_S)
    dsn = await postgres.start()
    await migrate(dsn, print)
    store, epoch = await _open(dsn)
    await postgres.stop()
    flusher = ObservedFlusher(store, epoch)
    flusher.put_chat(_line("lost at the end"))
    assert not await flusher.drain(0.1)
    assert flusher.pending_chat == 1
    await store.close()


async def test_a_fenced_flusher_writes_nothing_says_so_once_and_stops(dsn: str, sql: Execute) -> None:
    """Guard: the epoch check. It is noticed while nobody moves, too."""
    store, epoch = await _open(dsn)
    flusher = ObservedFlusher(store, epoch)
    flusher.start()
    await flusher.until_flushes(2)  # pruning, which checks the epoch too, is over
    await store.open_world(1, TICK_HZ)
    await flusher.stopped.wait()
    flusher.put_positions(5, [1], [9.0], [9.0])
    flusher.put_chat(_line("too late"))
    assert not flusher.available
    assert not await flusher.drain(DRAIN_S)
    assert len(flusher.fences) == 1
    await store.close()
    assert await sql("SELECT 1 FROM players WHERE x <> 0") == []
    assert await sql("SELECT 1 FROM chat_messages") == []


async def test_chat_beyond_the_limit_drops_the_oldest_and_counts_it(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flusher_module, "CHAT_PENDING_MAX", 3)
    store, epoch = await _open(dsn)
    flusher = ObservedFlusher(store, epoch)
    for text in "abcde":
        flusher.put_chat(_line(text))
    assert (flusher.pending_chat, flusher.chat_dropped) == (3, 2)
    assert await flusher.drain(DRAIN_S)
    assert await _texts(store) == ["c", "d", "e"]
    await store.close()


async def test_a_mistake_of_ours_is_kept_shown_and_does_not_end_the_saving(dsn: str) -> None:
    store, epoch = await _open(dsn)
    flusher = ObservedFlusher(store, epoch)
    flusher.put_positions(1, [1], [float("nan")], [0.0])
    flusher.start()
    await flusher.until_failing()
    assert flusher.last_error == "a position is not a finite number"
    flusher.put_positions(1, [1], [2.0], [0.0])
    await flusher.until_saved()
    assert await flusher.drain(DRAIN_S)
    await store.close()


async def test_what_the_database_refuses_for_good_ends_the_saving(dsn: str, sql: Execute) -> None:
    """Guard: the `raise` in Flusher._attempt. Without it the same batch is sent for ever, and nothing is durable any more."""
    store, epoch = await _open(dsn)
    flusher = ObservedFlusher(store, epoch, AN_HOUR_MS)
    await sql("INSERT INTO parcels VALUES (99, 1, 0, 0, 5, 5, '{}')")  # where the first claim is
    flusher.journal.put(_entries(2), 0.0)
    flusher.put_chat(_line("with them"))
    with pytest.raises(StoreRefused, match="conflicting key value violates exclusion constraint"):
        async with asyncio.timeout(DRAIN_S):
            await flusher.start()
    assert (flusher.failures_total, flusher.available, len(flusher.journal)) == (1, False, 2)
    assert not await flusher.drain(DRAIN_S)
    await store.close()


async def test_the_latest_position_is_known_until_the_next_batch_is_saved(dsn: str) -> None:
    store, epoch = await _open(dsn)
    flusher = ObservedFlusher(store, epoch)
    assert flusher.latest_position(1) is None
    flusher.put_positions(1, [1], [2.0], [3.0])
    assert flusher.latest_position(1) == (2.0, 3.0)
    flusher.start()
    await flusher.until_saved()
    assert flusher.latest_position(1) == (2.0, 3.0)
    assert await flusher.drain(DRAIN_S)
    await store.close()


async def test_a_position_is_known_although_others_were_saved_since(dsn: str) -> None:
    """Guard: SAVED_KEPT. A row that was read before both batches has an older place; who comes in would be set back."""
    store, epoch = await _open(dsn)
    flusher = ObservedFlusher(store, epoch)
    flusher.start()
    for player_id in (1, 2):
        flusher.put_positions(player_id, [player_id], [2.0], [3.0])
        await flusher.until_saved()
    assert flusher.latest_position(1) == (2.0, 3.0)
    assert await flusher.drain(DRAIN_S)
    await store.close()


async def test_two_thousand_walkers_fit_one_batch(dsn: str, sql: Execute) -> None:
    store, epoch = await _open(dsn, players=2_000)
    ids = list(range(1, 2_001))
    await store.save(epoch, Batch(1, ids, [float(i) for i in ids], [0.5] * 2_000))
    await store.close()
    assert await sql("SELECT 1 FROM players WHERE x <> player_id OR y <> 0.5") == []


# --- entries of the journal ---

AN_HOUR_MS = 3_600_000


def _entries(number: int) -> list[Entry]:
    told = Chronicle()
    for place in range(number):
        told.do(ADA, claim(2 * place, 0))
    return told.entries


async def test_entries_do_not_wait_for_the_interval(dsn: str) -> None:
    """Guard: Journal.wake. Without it they would wait an hour here."""
    store, epoch = await _open(dsn)
    flusher = ObservedFlusher(store, epoch, AN_HOUR_MS)
    flusher.start()
    first, second = _entries(2)
    flusher.journal.put([first], 0.0)
    await flusher.until_saved()
    assert flusher.journal.durable_seq == 1
    flusher.journal.put([second], 0.0)
    await flusher.until_saved()
    assert flusher.journal.durable_seq == 2
    assert await flusher.drain(DRAIN_S)
    assert (await store.books()).seq == 2
    await store.close()


async def test_what_comes_while_one_save_runs_goes_together_into_the_next(
    dsn: str, sql: Execute, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The group commit. Guard: ENTRIES_BATCH_MAX bounds it."""
    monkeypatch.setattr(flusher_module, "ENTRIES_BATCH_MAX", 20)
    store, epoch = await _open(dsn)
    flusher = ObservedFlusher(store, epoch, AN_HOUR_MS)
    entries = _entries(31)
    flusher.start()
    flusher.journal.put(entries[:1], 0.0)
    await flusher.taken.wait()
    flusher.journal.put(entries[1:], 0.0)
    await flusher.until_saved()
    assert await flusher.drain(DRAIN_S)
    await store.close()
    rows = await sql("SELECT count(*) FROM journal GROUP BY written_at ORDER BY written_at")
    assert [row[0] for row in rows] == [1, 20, 10]  # written_at is the transaction's


async def test_entries_stay_in_the_journal_until_they_are_committed(dsn: str, tmp_path: Path) -> None:
    """The first COMMIT is done, its reply is lost. Guard: Journal.settle after the save, not when the batch is taken."""
    async with _losing_the_first_commit_reply(dsn, tmp_path) as (through, lost):
        direct, epoch = await _open(dsn)
        store = await Store.open(through, POOL_SIZE)
        flusher = ObservedFlusher(store, epoch)
        entries = _entries(3)
        flusher.journal.put(entries, 0.0)
        lost.clear()
        flusher.start()
        await lost.wait()
        assert (len(flusher.journal), flusher.journal.durable_seq) == (3, 0)
        await flusher.until_saved()
        assert (flusher.failures_total, flusher.journal.durable_seq) == (1, 3)
        assert (await direct.books()).digest == entries[-1].digest
        assert await flusher.drain(DRAIN_S)
        await store.close()
        await direct.close()


async def test_drain_saves_every_entry_and_says_when_it_could_not(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flusher_module, "ENTRIES_BATCH_MAX", 2)
    store, epoch = await _open(dsn)
    flusher = ObservedFlusher(store, epoch, AN_HOUR_MS)
    entries = _entries(5)
    flusher.journal.put(entries, 0.0)
    assert await flusher.drain(DRAIN_S)
    assert (await store.books()).seq == 5
    left = ObservedFlusher(store, epoch, AN_HOUR_MS)
    await store.close()
    left.journal.put(entries, 0.0)
    assert not await left.drain(0.1)
    assert len(left.journal) == 5


async def test_a_line_too_slow_for_a_batch_takes_smaller_ones_and_large_ones_again_later(
    dsn: str, sql: Execute, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guard: Flusher._fit. Without it the same batch is sent and cut off for ever."""
    monkeypatch.setattr(flusher_module, "BATCH_BYTES_MIN", 1)
    entries = _entries(60)
    size = sum(len(entry.record) for entry in entries)
    async with _narrow(dsn, tmp_path, size) as through:  # in a batch is more than records
        direct, epoch = await _open(dsn)
        store = await Store.open(through, POOL_SIZE)
        flusher = ObservedFlusher(store, epoch, AN_HOUR_MS)
        flusher.journal.put(entries, 0.0)
        flusher.start()
        await flusher.until_saved(failures_max=10)
        assert flusher.failures_total in (1, 2, 3)
        assert await flusher.drain(DRAIN_S)
        await store.close()
        await direct.close()
    rows = await sql("SELECT count(*) FROM journal GROUP BY written_at ORDER BY written_at")
    sizes = [row[0] for row in rows]
    assert sizes[0] <= 30
    assert max(sizes[1:]) > sizes[0]


async def test_a_slow_save_is_no_reason_to_try_a_larger_one(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guard: GROW_MS_MAX. Else every other batch of a slow line would be too large for it, and cost the store's time limit."""
    store, epoch = await _open(dsn)
    flusher = ObservedFlusher(store, epoch, AN_HOUR_MS)
    flusher.journal.put(_entries(40), 0.0)
    flusher._bytes_max = 1_000
    with monkeypatch.context() as slow:
        slow.setattr(flusher_module, "GROW_MS_MAX", 0)
        await flusher._flush()
        assert flusher._bytes_max == 1_000
    await flusher._flush()
    assert flusher._bytes_max == 2_000
    await store.close()


@asynccontextmanager
async def _narrow(dsn: str, place: Path, bytes_max: int) -> AsyncIterator[str]:
    """A way to the database of `dsn` that is cut after so many bytes in one transaction, as the store cuts what takes too long."""
    sockets = parse_qs(urlsplit(dsn).query)["host"][0]

    async def serve(client: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        server, forth = await asyncio.open_unix_connection(f"{sockets}/.s.PGSQL.{PORT}")

        async def requests() -> None:
            sent = 0
            while data := await client.read(65_536):
                sent = 0 if b"COMMIT" in data else sent + len(data)
                if sent > bytes_max:
                    break
                forth.write(data)
            forth.close()

        async def replies() -> None:
            while data := await server.read(65_536):
                back.write(data)
            back.close()

        with contextlib.suppress(OSError):
            await asyncio.gather(requests(), replies())

    listener = await asyncio.start_unix_server(serve, place / f".s.PGSQL.{PORT}")
    async with listener:
        yield dsn.replace(quote(sockets, safe=""), quote(str(place), safe=""))


@asynccontextmanager
async def _losing_the_first_commit_reply(dsn: str, place: Path) -> AsyncIterator[tuple[str, asyncio.Event]]:
    """A way to the database of `dsn` that cuts the line instead of bringing the first COMMIT's reply."""
    sockets = parse_qs(urlsplit(dsn).query)["host"][0]
    lost = asyncio.Event()
    lost.set()  # not yet: the test says from when on, by clearing it

    async def serve(client: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        server, forth = await asyncio.open_unix_connection(f"{sockets}/.s.PGSQL.{PORT}")
        losing = False

        async def requests() -> None:
            nonlocal losing
            while data := await client.read(65_536):
                losing = losing or (b"COMMIT" in data and not lost.is_set())
                forth.write(data)
            forth.close()

        async def replies() -> None:
            while data := await server.read(65_536):
                if losing:
                    lost.set()
                    break
                back.write(data)
            back.close()

        with contextlib.suppress(OSError):
            await asyncio.gather(requests(), replies())
        forth.close()

    listener = await asyncio.start_unix_server(serve, place / f".s.PGSQL.{PORT}")
    async with listener:
        yield dsn.replace(quote(sockets, safe=""), quote(str(place), safe="")), lost
