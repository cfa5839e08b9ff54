"""A model of PostgreSQL with one world in it, and of the way there, which can be told to fail.

`Tables` is what is committed: a transaction works on a copy, and the copy takes its place whole or not at all. It refuses what the
database refuses: an epoch that is over, a seq, action_id or hold twice, postings that do not sum to zero, a wallet below zero, two
parcels on one plot, two sales of one parcel. `ModelStore` has the methods of persistence.store.Store that a server uses, under the same
rules; what becomes rows is made by the same persistence/rows.py. tests/sim/test_model.py holds the two together.

Whatever a server asks for travels to the disk, is done there at one moment, and the answer travels back; so a server may die, or lose
the line, before or after. What one server writes is done in the order in which it was sent, as the lock on the row of `world` has it.
"""

import asyncio
import copy
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from persistence.rows import Key, Rows, Surfaces, parcel_row, rows_of, sale_row
from persistence.store import (
    CUT_SECONDS_MAX,
    Batch,
    Books,
    ChatLine,
    Entrant,
    Fenced,
    PlayerRow,
    StoredAnswer,
    StoreError,
    StoreRefused,
    StoreUnavailable,
    WorldRow,
)
from tools.simulate.clock import Process, Scheduler
from world.entries import BEGINNING, Entry
from world.ledger import Hold, may_be_below_zero
from world.parcels import Parcel, plots_in
from world.sales import Sale
from world.tiles import Surface

TRAVEL_S = 0.001, 0.02  # one way, on a good day
SLOW_S = 0.3, 1.5  # on a bad one
REFUSED_S = 0.005  # a database that is away says so at once
CREATED_AT_MS = 1_700_000_000_000

_decode_parcel = msgspec.json.Decoder(Parcel).decode
_decode_sale = msgspec.json.Decoder(Sale).decode


@dataclass(frozen=True, slots=True)
class JournalRow:
    """One row of the table `journal`."""

    seq: int
    epoch: int
    record: str
    digest: bytes


@dataclass(slots=True)
class Tables:
    """All rows."""

    epoch: int = 0
    tick: int = 0
    last_seq: int = 0
    last_digest: bytes = BEGINNING
    last_parcel_id: int = 0
    journal: list[JournalRow] = field(default_factory=list)
    answers: dict[bytes, StoredAnswer] = field(default_factory=dict)
    postings: list[tuple[int, int, int, int, int]] = field(default_factory=list)  # as in rows.py
    accounts: dict[int, int] = field(default_factory=dict)
    holds: dict[int, Hold] = field(default_factory=dict)
    parcels: dict[int, tuple[Any, ...]] = field(default_factory=dict)  # as in rows.parcel_row
    sales: dict[int, tuple[int, int, int, str]] = field(default_factory=dict)  # as in rows.sale_row
    surfaces: dict[tuple[int, int], tuple[int, bytes]] = field(default_factory=dict)
    players: dict[str, PlayerRow] = field(default_factory=dict)  # by key
    chat: dict[tuple[int, int], ChatLine] = field(default_factory=dict)  # by epoch and serial

    def copied(self) -> "Tables":
        """What a transaction works on."""
        return Tables(*(copy.copy(getattr(self, name)) for name in self.__slots__))

    def check_epoch(self, epoch: int) -> None:
        """Raises Fenced for a server that lost its place."""
        if epoch != self.epoch:
            raise Fenced(f"the epoch is {self.epoch}, not {epoch}")

    def open(self) -> WorldRow:
        """A server takes the world over."""
        self.epoch += 1
        return WorldRow(0, self.epoch, self.tick, self.last_seq, CREATED_AT_MS)

    def enter(self, entrants: Sequence[Entrant]) -> list[PlayerRow]:
        """The rows of these, made for those who never were here."""
        for one in entrants:
            if one.key not in self.players:
                new = len(self.players) + 1, one.key, one.name, one.role or "guest", one.look, one.x, one.y
                self.players[one.key] = PlayerRow(*new, CREATED_AT_MS, CREATED_AT_MS)
        return [self.players[one.key] for one in entrants]

    def unstored(self, entries: Sequence[Entry]) -> list[Entry]:
        """Those of a batch that are not here yet."""
        return [entry for entry in entries if entry.seq > self.last_seq]

    def save(self, epoch: int, batch: Batch, surfaces: dict[Key, Surface]) -> None:
        """One flush."""
        self.check_epoch(epoch)
        self.tick = max(self.tick, batch.tick)
        places = dict(zip(batch.player_ids, zip(batch.xs, batch.ys, strict=True), strict=True))
        for key, row in self.players.items():
            if row.player_id in places:
                x, y = places[row.player_id]
                self.players[key] = PlayerRow(
                    row.player_id, key, row.name, row.role, row.look, x, y, CREATED_AT_MS, CREATED_AT_MS
                )
        for serial, line in batch.chat:
            self.chat.setdefault((epoch, serial), line)
        new = self.unstored(batch.entries)
        if new:
            self._save_entries(epoch, new)
            for place, surface in surfaces.items():
                self.surfaces[place] = surface.version, surface.edited()

    def _save_entries(self, epoch: int, entries: Sequence[Entry]) -> None:
        if entries[0].seq != self.last_seq + 1:
            raise StoreError(f"entry {entries[0].seq} does not follow {self.last_seq}, the last one stored")
        rows = rows_of(entries)
        for seq, record, digest in rows.journal:
            _demand(seq == len(self.journal) + 1, f"a second entry {seq}")
            self.journal.append(JournalRow(seq, epoch, record, digest))
        for action_id, player_id, content, seq, result in rows.answers:
            _demand(action_id not in self.answers, f"entry {seq} does action {action_id.hex()} again")
            self.answers[action_id] = StoredAnswer(player_id, content, seq, result)
        self._save_money(rows)
        self._save_parcels(rows)
        self._save_sales(rows)
        last = entries[-1]
        self.last_seq, self.last_digest = last.seq, last.digest
        self.last_parcel_id = max(self.last_parcel_id, rows.last_parcel_id)

    def _save_money(self, rows: Rows) -> None:
        sums: dict[int, int] = {}
        for posting in rows.postings:
            sums[posting[0]] = sums.get(posting[0], 0) + posting[3]
        _demand(not any(sums.values()), f"postings that do not sum to zero: {sums}")
        self.postings += rows.postings
        for account, balance, _ in rows.accounts.values():
            _demand(balance >= 0 or may_be_below_zero(account), f"account {account} at {balance}")
            self.accounts[account] = balance
        for hold_id, hold in rows.holds.items():
            self.holds.pop(hold_id, None)
            if hold.amount:
                _demand(hold.amount > 0, f"a hold of {hold.amount}")
                self.holds[hold_id] = hold

    def _save_parcels(self, rows: Rows) -> None:
        for parcel_id, parcel in rows.parcels.items():
            self.parcels.pop(parcel_id, None)
            if parcel is not None:
                self.parcels[parcel_id] = parcel_row(parcel)
        taken: dict[int, int] = {}
        for parcel_id, _, px, py, pw, ph, _ in self.parcels.values():
            for plot in plots_in(px, py, pw, ph):
                other = taken.setdefault(plot, parcel_id)
                _demand(other == parcel_id, f"parcels {other} and {parcel_id} on one plot")

    def _save_sales(self, rows: Rows) -> None:
        for sale_id, sale in rows.sales.items():
            self.sales.pop(sale_id, None)
            if sale.end is None:
                self.sales[sale_id] = sale_row(sale)
        sold = [parcel_id for _, parcel_id, _, _ in self.sales.values()]
        _demand(len(sold) == len(set(sold)), "two sales of one parcel")


def _demand(holds: bool, trouble: str) -> None:
    if not holds:
        raise StoreRefused(trouble)


@dataclass(frozen=True, slots=True)
class Fate:
    """What becomes of a message to the disk: seconds until it is there (None: never), and from then until news is back.

    Where no answer comes, the news is that the line was lost, and `back_s` counts from the sending.
    """

    there_s: float | None
    back_s: float
    answered: bool


class Disk:
    """What outlives every server, and how well it can be reached. Times are the scheduler's.

    slow_until_s, away_until_s, hangs_until_s    the way there is slow, is refused, says nothing at all
    lose_saves, hide_saves, delay_saves          the line is lost for so many saves: not done, done, done late
    """

    def __init__(self, scheduler: Scheduler) -> None:
        self.tables = Tables()
        self.slow_until_s = self.away_until_s = self.hangs_until_s = 0.0
        self.lose_saves = self.hide_saves = self.delay_saves = 0
        self.refused: list[str] = []  # what the database said no to: always a mistake of ours
        self.on_commit: Callable[[Tables, Tables], None] = lambda _before, _after: None
        self._scheduler = scheduler

    @property
    def away(self) -> bool:
        """Whether nobody gets through now."""
        return max(self.away_until_s, self.hangs_until_s) > self._scheduler.now_s

    def travel_s(self) -> float:
        """One way, as things are."""
        slow = self.slow_until_s > self._scheduler.now_s
        return self._scheduler.random.uniform(*(SLOW_S if slow else TRAVEL_S))

    def fate(self, save: bool) -> Fate:
        """Of a message sent now."""
        travel_s, now_s = self.travel_s(), self._scheduler.now_s
        if self.hangs_until_s > now_s:
            wait_s = self.hangs_until_s - now_s + travel_s
            cut = wait_s >= CUT_SECONDS_MAX
            return Fate(None, CUT_SECONDS_MAX, False) if cut else Fate(wait_s, travel_s, True)
        if self.away_until_s > now_s:
            return Fate(None, REFUSED_S, False)
        if save and self.lose_saves:
            self.lose_saves -= 1
            return Fate(None, travel_s, False)
        if save and self.hide_saves:
            self.hide_saves -= 1
            return Fate(travel_s, 2 * travel_s, False)
        if save and self.delay_saves:
            self.delay_saves -= 1
            return Fate(SLOW_S[1], travel_s, False)
        return Fate(travel_s, self.travel_s(), True)

    def do(self, work: Callable[[Tables], Any], writes: bool) -> Any:
        """One transaction, or one look. Raises what the database says."""
        if not writes:
            return work(self.tables)
        draft = self.tables.copied()
        try:
            done = work(draft)
        except StoreRefused as error:
            self.refused.append(str(error))
            raise
        before, self.tables = self.tables, draft
        self.on_commit(before, draft)
        return done


class ModelStore:
    """One server's connections to the disk: persistence.store.Store, as far as a server asks."""

    def __init__(self, disk: Disk, scheduler: Scheduler, process: Process) -> None:
        self.surfaces = Surfaces(())
        self._disk = disk
        self._scheduler = scheduler
        self._process = process
        self._written_s = 0.0  # when the last thing that was sent to be written will have been

    async def open_world(self, seed: int, tick_hz: int) -> WorldRow:
        """As Store has it; there is one world."""
        del seed, tick_hz
        row: WorldRow = await self._ask(lambda tables: tables.open(), writes=True)
        return row

    async def save(self, epoch: int, batch: Batch) -> None:
        """As Store has it."""
        surfaces = self.surfaces.after(batch.entries)
        await self._ask(lambda tables: tables.save(epoch, batch, surfaces), writes=True, save=True)
        self.surfaces.settle(surfaces)

    async def enter_players(self, epoch: int, entrants: Sequence[Entrant]) -> list[PlayerRow]:
        """As Store has it."""

        def enter(tables: Tables) -> list[PlayerRow]:
            tables.check_epoch(epoch)
            return tables.enter(entrants)

        rows: list[PlayerRow] = await self._ask(enter, writes=True)
        return rows

    async def known_keys(self, keys: Sequence[str]) -> set[str]:
        """As Store has it."""
        known: set[str] = await self._ask(lambda tables: {key for key in keys if key in tables.players})
        return known

    async def blocked_by(self, _: Sequence[int]) -> dict[int, list[int]]:
        """Nobody blocks anybody."""
        return {}

    async def find_answers(self, action_ids: Sequence[bytes]) -> dict[bytes, StoredAnswer]:
        """As Store has it."""

        def find(tables: Tables) -> dict[bytes, StoredAnswer]:
            return {one: tables.answers[one] for one in action_ids if one in tables.answers}

        found: dict[bytes, StoredAnswer] = await self._ask(find)
        return found

    async def player_names(self, player_ids: Sequence[int]) -> dict[int, str]:
        """As Store has it."""

        def find(tables: Tables) -> dict[int, str]:
            return {row.player_id: row.name for row in tables.players.values() if row.player_id in player_ids}

        names: dict[int, str] = await self._ask(find)
        return names

    async def statement(self, account: int, before: int, limit: int) -> list[dict[str, Any]]:
        """As Store has it."""

        def find(tables: Tables) -> list[dict[str, Any]]:
            rows = [row for row in reversed(tables.postings) if row[2] == account and row[0] < before]
            page = []
            for seq, _, _, amount, balance in rows[:limit]:
                record = msgspec.json.decode(tables.journal[seq - 1].record)
                page.append(
                    {
                        "seq": seq,
                        "tick": record["tick"],
                        "kind": record["kind"],
                        "amount": amount,
                        "balance": balance,
                    }
                )
            return page

        rows: list[dict[str, Any]] = await self._ask(find)
        return rows

    async def entry(self, seq: int) -> tuple[str, bytes, bytes] | None:
        """As Store has it."""

        def find(tables: Tables) -> tuple[str, bytes, bytes] | None:
            if not 0 < seq <= tables.last_seq:
                return None
            row, before = tables.journal[seq - 1], tables.journal[seq - 2].digest if seq > 1 else BEGINNING
            return row.record, row.digest, before

        found: tuple[str, bytes, bytes] | None = await self._ask(find)
        return found

    async def first_seq(self) -> int:
        """As Store has it; nothing is pruned here."""
        return 1

    async def books(self) -> Books:
        """As Store has it."""

        def read(tables: Tables) -> Books:
            balances, holds = (
                sorted(tables.accounts.items()),
                [tables.holds[one] for one in sorted(tables.holds)],
            )
            return Books(tables.last_seq, tables.last_digest, balances, holds, tables.last_parcel_id)

        books: Books = await self._ask(read)
        return books

    async def parcels(self, progress: Callable[[int], None]) -> AsyncIterator[list[Parcel]]:
        """As Store has it; all in one page."""
        rows: list[tuple[Any, ...]] = await self._ask(lambda tables: sorted(tables.parcels.values()))
        progress(len(rows))
        if rows:
            yield [_decode_parcel(row[-1]) for row in rows]

    async def sales(self, progress: Callable[[int], None]) -> AsyncIterator[list[Sale]]:
        """As Store has it; all in one page."""
        rows: list[tuple[Any, ...]] = await self._ask(lambda tables: sorted(tables.sales.values()))
        progress(len(rows))
        if rows:
            yield [_decode_sale(row[-1]) for row in rows]

    async def all_built(self, progress: Callable[[int], None]) -> list[tuple[int, int, int, bytes]]:
        """As Store has it."""

        def read(tables: Tables) -> list[tuple[int, int, int, bytes]]:
            return [(*key, *surface) for key, surface in sorted(tables.surfaces.items())]

        built: list[tuple[int, int, int, bytes]] = await self._ask(read)
        self.surfaces = Surfaces(built)
        progress(len(built))
        return built

    async def prune_chat(self, epoch: int, days_max: float) -> None:
        """Nothing is old enough here."""
        del days_max
        await self._ask(lambda tables: tables.check_epoch(epoch), writes=True)

    async def _ask(self, work: Callable[[Tables], Any], writes: bool = False, save: bool = False) -> Any:
        """The way to the disk and back. Raises what it says, and StoreUnavailable when the line is lost."""
        fate = self._disk.fate(save)
        future: asyncio.Future[tuple[Any, StoreError | None]] = self._process.create_future()
        if fate.there_s is not None:
            arrives_s = self._scheduler.now_s + fate.there_s
            if writes:
                self._written_s = arrives_s = max(self._written_s, arrives_s)
            self._scheduler.at(arrives_s, self._arrive, work, writes, fate, future)
        if not fate.answered:
            self._process.call_later(
                fate.back_s, _settle, future, None, StoreUnavailable("the line was lost")
            )
        done, error = await future
        if error is not None:
            raise error
        return done

    def _arrive(
        self, work: Callable[[Tables], Any], writes: bool, fate: Fate, future: "asyncio.Future[Any]"
    ) -> None:
        """On the disk."""
        done, error = None, None
        try:
            done = self._disk.do(work, writes)
        except StoreError as refusal:
            error = refusal
        if fate.answered:
            self._process.call_later(fate.back_s, _settle, future, done, error)


def _settle(future: "asyncio.Future[Any]", done: Any, error: StoreError | None) -> None:
    if not future.done():  # whoever asked may not wait any more
        future.set_result((done, error))
