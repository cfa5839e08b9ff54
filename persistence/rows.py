"""Entries as rows of the tables: what one flush writes, in one statement.

The journal gets every entry; the projections only how each thing is at the end of the batch, however often it changed. Of what is
built the whole surface of a chunk is written, so what the disk has of it is kept here, too (`Surfaces`): the world is ahead of the
disk.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from world.entries import Built, Entry
from world.ledger import Hold, Post
from world.parcels import Freed, Parcel
from world.sales import Auction, Listing, Sale
from world.tiles import Surface

Key = tuple[int, int]  # cx, cy
_encode = msgspec.json.Encoder().encode


class Surfaces:
    """What stands on each chunk that was ever built on, as the disk has it."""

    def __init__(self, stored: Iterable[tuple[int, int, int, bytes]]) -> None:
        self._stored: dict[Key, Surface] = {}
        for cx, cy, version, edits in stored:
            self._stored[cx, cy] = Surface.recalled(version, edits)

    def after(self, entries: Iterable[Entry]) -> dict[Key, Surface]:
        """The chunks that these entries build on, as they will be when they are stored."""
        changed: dict[Key, Surface] = {}
        for entry in entries:
            for change in entry.changes:
                if type(change) is Built:
                    self._take(changed, change)
        return changed

    def settle(self, changed: dict[Key, Surface]) -> None:
        """They are stored."""
        self._stored.update(changed)

    def _take(self, surfaces: dict[Key, Surface], built: Built) -> None:
        key = built.cx, built.cy
        surface = surfaces.get(key)
        if surface is None:
            stored = self._stored.get(key)
            surface = surfaces[key] = stored.copy() if stored else Surface()
        take(surface, built)


def take(surface: Surface, built: Built) -> None:
    """Tiles were built on; the version is what the entry says."""
    surface.put(built.edits)
    surface.version = built.version


@dataclass(slots=True)
class Rows:
    """The rows of a batch of entries, by table; of what changed more than once, only how it is in the end."""

    journal: list[tuple[int, str, bytes]] = field(default_factory=list)
    answers: list[tuple[bytes, int, bytes, int, str]] = field(default_factory=list)
    postings: list[tuple[int, int, int, int, int]] = field(default_factory=list)
    accounts: dict[int, tuple[int, int, int]] = field(default_factory=dict)  # account, balance, seq
    holds: dict[int, Hold] = field(default_factory=dict)
    parcels: dict[int, Parcel | None] = field(default_factory=dict)  # None: freed
    sales: dict[int, Sale] = field(default_factory=dict)
    last_parcel_id: int = 0

    def columns(self, surfaces: dict[Key, Surface]) -> list[Sequence[Any]]:
        """Every table's columns, in the order of the statement that saves them; no row is in two of its parts."""
        holds, parcels, sales = self.holds.values(), self.parcels.items(), self.sales.values()
        pending = [(one.hold_id, one.account, one.amount, one.why) for one in holds if one.amount]
        built = [(*key, surface.version, surface.edited()) for key, surface in surfaces.items()]
        return [
            *_columns(self.journal, 3),
            *_columns(self.answers, 5),
            *_columns(self.postings, 5),
            *_columns(list(self.accounts.values()), 3),
            [one.hold_id for one in holds if not one.amount],
            *_columns(pending, 4),
            [parcel_id for parcel_id, parcel in parcels if parcel is None],
            *_columns([parcel_row(parcel) for _, parcel in parcels if parcel is not None], 7),
            *_columns(built, 4),
            [one.sale_id for one in sales if one.end is not None],
            *_columns([sale_row(one) for one in sales if one.end is None], 4),
        ]


def _columns(rows: Sequence[Sequence[Any]], count: int) -> Sequence[Sequence[Any]]:
    return list(zip(*rows, strict=True)) if rows else [()] * count


def rows_of(entries: Sequence[Entry]) -> Rows:
    """All rows of a batch."""
    rows = Rows()
    for entry in entries:
        rows.journal.append((entry.seq, entry.record.decode(), entry.digest))
        if entry.action_id is not None:
            answer = _encode(entry.result).decode()
            rows.answers.append((entry.action_id, entry.player_id, entry.content, entry.seq, answer))
        for place, change in enumerate(entry.changes):
            _add(rows, entry.seq, place, change)
    return rows


def _add(rows: Rows, seq: int, place: int, change: Any) -> None:
    match change:
        case Post(account, amount, balance):
            rows.postings.append((seq, place, account, amount, balance))
            rows.accounts[account] = account, balance, seq
        case Parcel():
            rows.parcels[change.parcel_id] = change
            rows.last_parcel_id = max(rows.last_parcel_id, change.parcel_id)
        case Freed():
            rows.parcels[change.parcel_id] = None
        case Listing() | Auction():
            rows.sales[change.sale_id] = change
        case Hold(hold_id):
            rows.holds[hold_id] = change


def parcel_row(parcel: Parcel) -> tuple[int, int, int, int, int, int, str]:
    """parcel_id, owner_id, px, py, pw, ph, the whole as JSON."""
    return (
        parcel.parcel_id,
        parcel.owner_id,
        parcel.px,
        parcel.py,
        parcel.pw,
        parcel.ph,
        _encode(parcel).decode(),
    )


def sale_row(sale: Sale) -> tuple[int, int, int, str]:
    """sale_id, parcel_id, seller_id, the whole as JSON."""
    return sale.sale_id, sale.parcel_id, sale.seller_id, _encode(sale).decode()
