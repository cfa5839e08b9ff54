"""The audit: does the journal hold together, and do all tables say what it says?

    chain         each entry fits its digest and follows the one before; what was changed, is missing or is too much is named by seq
    entries       each can be true after those before it (fold.py): postings sum to zero, balances follow, nobody is overdrawn
    projections   balances, holds, parcels, sales, surfaces, postings, answers and the world row are what the entries add up to
    order         epoch and written_at never go down from an entry to the next, and no epoch is above the world's
    invariants    all money together is zero, holds are what is in escrow, no two parcels lie on one plot, what is for
                  sale is its seller's, and no parcel is in two sales

What no entry holds is not looked at: players' names, roles and places, talk, and within that order the time an entry was written.

Memory holds one page of the journal and what the world holds now, never the history.
"""

from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec

from persistence.fold import Fold, entries
from persistence.history import End, Row, Snapshot
from persistence.rows import parcel_row, sale_row
from world.entries import Record, read
from world.ledger import Post

SEQ_MAX = 2**63 - 1
SHOWN_CHARS_MAX = 80  # of a value that is wrong
JSON_COLUMNS = ("parcel", "sale")
TROUBLES_MAX = 100  # that are told in words; more are counted

Progress = Callable[[int, int], None]  # entries looked at, of so many


@dataclass(slots=True)
class Findings:
    """What an audit found."""

    entries: int = 0  # that were looked at
    first_seq: int = 1  # of those that are kept
    last_seq: int = 0
    digest: bytes = b""  # of the last
    troubles: list[str] = field(default_factory=list)
    more: int = 0  # troubles beyond TROUBLES_MAX

    def add(self, troubles: Iterable[str]) -> None:
        """Keeps the first, counts all."""
        for trouble in troubles:
            if len(self.troubles) < TROUBLES_MAX:
                self.troubles.append(trouble)
            else:
                self.more += 1


async def audit(dsn: str, progress: Progress) -> Findings:
    """Looks at all of a database. Raises StoreError."""
    async with Snapshot.of(dsn) as snapshot:
        end, (seq, digest) = await snapshot.end(), await snapshot.pruned()
        found, fold = Findings(first_seq=seq + 1), Fold(seq, digest)
        async for change in snapshot.opening():
            fold.apply(change)
        answered = await _follow(snapshot, fold, found, end, progress)
        found.add(_end_troubles(fold, end))
        found.add(_order_troubles(await snapshot.out_of_order(TROUBLES_MAX)))
        found.add(await _left_over(snapshot, fold, seq, answered))
        found.add(fold.ledger.breaches())
        found.add(fold.overlaps())
        found.add(fold.unfounded())
        async for trouble in _projections(snapshot, fold):
            found.add([trouble])
    found.last_seq, found.digest = fold.seq, fold.digest
    return found


# --- the journal, and what is stored of each entry ---


async def _follow(snapshot: Snapshot, fold: Fold, found: Findings, end: End, progress: Progress) -> int:
    """Every entry, with its postings and its answer; how many answers there were."""
    first, answered = fold.seq, 0
    async for page in snapshot.entries(fold.seq):
        behind, expected = fold.seq, Page()
        for seq, record, digest in page:
            found.add(fold.follow(seq, record, digest))
            entry = _read(seq, record)
            if isinstance(entry, str):
                found.add([entry])
                continue
            found.add(fold.take(entry))
            expected.take(seq, entry)
        found.add(expected.posting_troubles(await snapshot.postings(behind, fold.seq)))
        answers = await snapshot.answers(list(expected.answers))
        found.add(expected.answer_troubles(answers))
        answered += len(answers)
        found.entries += len(page)
        progress(found.entries, max(end.last_seq - first, found.entries))
    return answered


async def _left_over(snapshot: Snapshot, fold: Fold, first: int, answered: int) -> list[str]:
    """Postings behind the end, and answers to what no entry did."""
    rest = await snapshot.postings(fold.seq, SEQ_MAX)
    troubles = [f"posting {place} of entry {seq} belongs to no entry" for seq, place, *_ in rest]
    if await snapshot.count_answers(first) != answered:
        foreign = await snapshot.foreign_answers(first, TROUBLES_MAX)
        troubles += [
            f"the answer to action {action} names entry {seq}, which did not make it"
            for seq, action in foreign
        ]
    return troubles


def _read(seq: int, record: bytes) -> Record | str:
    try:
        entry = read(record)
    except msgspec.MsgspecError as error:
        return f"entry {seq} cannot be read: {error}"
    return entry if entry.seq == seq else f"entry {seq} calls itself {entry.seq}"


@dataclass(slots=True)
class Page:
    """What is to be stored beside a page of the journal."""

    postings: list[Row] = field(default_factory=list)
    answers: dict[bytes, Row] = field(default_factory=dict)

    def take(self, seq: int, entry: Record) -> None:
        """An entry of the page."""
        for place, change in enumerate(entry.changes):
            if isinstance(change, Post):
                self.postings.append((seq, place, change.account, change.amount, change.balance))
        if entry.action:
            action = bytes.fromhex(entry.action)
            self.answers[action] = (entry.player_id, bytes.fromhex(entry.asked), seq, entry.result)

    def posting_troubles(self, stored: list[Row]) -> Iterator[str]:
        """Where the table `postings` differs."""
        if stored == self.postings:
            return
        wanted, there = ({row[:2]: row[2:] for row in rows} for rows in (self.postings, stored))
        for seq, place in sorted(wanted.keys() | there.keys()):
            ours, theirs = wanted.get((seq, place)), there.get((seq, place))
            if ours != theirs:
                yield f"posting {place} of entry {seq} is {_shown(theirs)}, but should be {_shown(ours)}"

    def answer_troubles(self, stored: dict[bytes, Row]) -> Iterator[str]:
        """Where the table `answers` differs."""
        for action, ours in self.answers.items():
            theirs = stored.get(action)
            if theirs is None:
                yield f"the answer to entry {ours[2]} is missing"
            elif (*theirs[:3], msgspec.json.decode(theirs[3])) != ours:
                yield f"the answer to entry {ours[2]} is not the one that was given"


def _order_troubles(rows: list[tuple[int, bool, bool, bool]]) -> Iterator[str]:
    """Epochs and times that cannot be, in words."""
    for seq, epoch_down, time_down, ahead in rows:
        if epoch_down:
            yield f"entry {seq} is of an earlier epoch than the entry before"
        if time_down:
            yield f"entry {seq} was written, it says, earlier than the entry before"
        if ahead:
            yield f"entry {seq} is of an epoch that the world has not come to"


# --- the end ---


def _end_troubles(fold: Fold, end: End) -> Iterator[str]:
    """Where the world row differs from the journal."""
    if fold.seq < end.last_seq:
        yield f"{entries(fold.seq + 1, end.last_seq)} missing at the end"
    elif fold.seq > end.last_seq:
        yield f"{entries(end.last_seq + 1, fold.seq)} too many: the world ends with {end.last_seq}"
    elif fold.digest != end.last_digest:
        yield f"the world's last digest is not that of entry {fold.seq}"
    if fold.last_parcel_id > end.last_parcel_id:
        yield f"parcel {fold.last_parcel_id} was made, but the world's last is said to be {end.last_parcel_id}"


async def _projections(snapshot: Snapshot, fold: Fold) -> AsyncIterator[str]:
    """Where the other tables differ; `fold` is used up."""
    ledger = fold.ledger
    holds = {one.hold_id: (one.hold_id, one.account, one.amount, one.why) for one in ledger.holds.values()}
    tables: list[tuple[str, str, AsyncIterator[Row], dict[Any, Any], Callable[[Any], Row]]] = [
        (
            "account {}",
            "account balance",
            snapshot.accounts(),
            ledger.balances,
            lambda key: (key, ledger.balances[key]),
        ),
        ("hold {}", "hold_id account amount why", snapshot.holds(), holds, holds.__getitem__),
        (
            "parcel {}",
            "parcel_id owner_id px py pw ph parcel",
            snapshot.parcels(),
            fold.parcels,
            lambda key: parcel_row(fold.parcels[key]),
        ),
        (
            "sale {}",
            "sale_id parcel_id seller_id sale",
            snapshot.sales(),
            fold.sales,
            lambda key: sale_row(fold.sales[key]),
        ),
        (
            "what stands on chunk {}",
            "chunk version edits",
            _keyed(snapshot.surfaces()),
            fold.surfaces,
            lambda key: (key, fold.surfaces[key].version, fold.surfaces[key].edited()),
        ),
    ]
    for name, columns, stored, expected, row_of in tables:
        async for trouble in _differences(name, columns.split(), stored, expected, row_of):
            yield trouble


async def _keyed(surfaces: AsyncIterator[Row]) -> AsyncIterator[Row]:
    async for cx, cy, *rest in surfaces:
        yield (cx, cy), *rest


async def _differences(
    name: str,
    columns: list[str],
    stored: AsyncIterator[Row],
    expected: dict[Any, Any],
    row_of: Callable[[Any], Row],
) -> AsyncIterator[str]:
    """Rows, each beginning with its key, against what the journal says, in words; `name` has a place for the key."""
    missing = set(expected)
    async for row in stored:
        key = row[0]
        if key not in expected:
            yield f"{name.format(key)} is in its table, but the journal knows nothing of it"
            continue
        missing.discard(key)
        if row != (wanted := row_of(key)):
            what = "; ".join(_unlike(columns, row, wanted))
            yield f"{name.format(key)} is not in its table as the journal says: {what}"
    for key in sorted(missing):
        yield f"{name.format(key)} is missing in its table"


def _unlike(columns: list[str], row: Row, wanted: Row) -> Iterator[str]:
    """The columns that differ, and of JSON the fields."""
    for column, theirs, ours in zip(columns, row, wanted, strict=True):
        if theirs == ours:
            continue
        if column not in JSON_COLUMNS:
            yield f"{column} is {_short(theirs)}, but should be {_short(ours)}"
            continue
        there, due = (msgspec.json.decode(one) for one in (theirs, ours))
        fields = sorted(there.keys() | due.keys()) if isinstance(there, dict) else []
        unlike = [one for one in fields if there.get(one) != due.get(one)]
        for one in unlike:
            yield f"{one} is {_short(there.get(one))}, but should be {_short(due.get(one))}"
        if not unlike:
            yield "its JSON is written otherwise"


def _short(value: Any) -> str:
    text = value.hex() if isinstance(value, bytes) else repr(value)
    return text if len(text) <= SHOWN_CHARS_MAX else f"{text[:SHOWN_CHARS_MAX]}..."


def _shown(row: Row | None) -> str:
    if row is None:
        return "nowhere"
    account, amount, balance = row
    return f"{amount} to account {account}, which then holds {balance}"
