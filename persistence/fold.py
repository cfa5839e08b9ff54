"""What a journal adds up to, entry by entry, with no world around it: balances, holds, parcels, sales and what is built.

`take` applies an entry and says, in words, what in it cannot be true. It goes on all the same, believing the entry, so that one wrong
entry is named once. The audit compares the end with the tables; pruning keeps it as the opening of what is left.
"""

from collections.abc import Iterator
from typing import assert_never

from persistence.rows import Key, take
from protocol.edits import CHUNK_EDIT
from world.entries import BEGINNING, Built, Change, Record, chained
from world.ledger import Hold, HoldState, Ledger, Post, may_be_below_zero
from world.parcels import Freed, Parcel
from world.sales import Auction, Listing, Sale
from world.tiles import Surface


class Fold:
    """The world's durable things after entry `seq`."""

    def __init__(self, seq: int = 0, digest: bytes = BEGINNING) -> None:
        self.seq = seq
        self.digest = digest
        self.ledger = Ledger()
        self.parcels: dict[int, Parcel] = {}
        self.sales: dict[int, Sale] = {}  # those that are open
        self.surfaces: dict[Key, Surface] = {}
        self.last_parcel_id = 0

    def follow(self, seq: int, record: bytes, digest: bytes) -> Iterator[str]:
        """The next row of the journal; what does not fit, in words. A gap is named, and what comes after it is believed to follow."""
        if seq > self.seq + 1:
            yield f"{entries(self.seq + 1, seq - 1)} missing"
        elif chained(self.digest, record) != digest:
            yield f"entry {seq} does not fit its digest: it, or its digest or that of entry {seq - 1}, was changed"
        self.seq, self.digest = seq, digest

    def take(self, record: Record) -> Iterator[str]:
        """Applies an entry; what cannot be true in it, in words."""
        total = 0
        for trouble in self._doubts_about_ends(record.changes):
            yield f"entry {record.seq} ({record.kind}): {trouble}"
        for change in record.changes:
            for trouble in self._doubts(change):
                yield f"entry {record.seq} ({record.kind}): {trouble}"
            total += change.amount if isinstance(change, Post) else 0
            self.apply(change)
        if total:
            yield f"entry {record.seq} ({record.kind}): its postings sum to {total} poisha instead of 0"

    def apply(self, change: Change) -> None:
        """Takes one change in, whatever it says."""
        match change:
            case Post() | Hold():
                self.ledger.apply(change)
            case Parcel():
                self.parcels[change.parcel_id] = change
                self.last_parcel_id = max(self.last_parcel_id, change.parcel_id)
            case Freed():
                self.parcels.pop(change.parcel_id, None)
            case Listing() | Auction():
                self.sales[change.sale_id] = change
                if change.end is not None:
                    del self.sales[change.sale_id]
            case Built():
                take(self.surfaces.setdefault((change.cx, change.cy), Surface()), change)
            case _:
                assert_never(change)

    def changes(self) -> Iterator[Change]:
        """Those that make, out of nothing, what is here; in an order that depends on nothing else."""
        balances, holds = self.ledger.balances, self.ledger.holds
        yield from (Post(account, balances[account], balances[account]) for account in sorted(balances))
        yield from (holds[hold_id] for hold_id in sorted(holds))
        yield from (self.parcels[parcel_id] for parcel_id in sorted(self.parcels))
        yield from (self.sales[sale_id] for sale_id in sorted(self.sales))
        for (cx, cy), surface in sorted(self.surfaces.items()):
            yield Built(cx, cy, surface.version, surface.edited())

    def overlaps(self) -> Iterator[str]:
        """Parcels that lie on a plot of another, in words."""
        owner_of: dict[int, int] = {}
        for parcel in self.parcels.values():
            others = {owner_of.setdefault(plot, parcel.parcel_id) for plot in parcel.plots()}
            for other in sorted(others - {parcel.parcel_id}):
                yield f"parcels {other} and {parcel.parcel_id} lie on one plot"

    def unfounded(self) -> Iterator[str]:
        """Sales of what is not their seller's to sell, or is sold twice, in words."""
        sale_of: dict[int, int] = {}
        for sale_id, sale in self.sales.items():
            parcel = self.parcels.get(sale.parcel_id)
            if parcel is None or parcel.owner_id != sale.seller_id:
                yield f"sale {sale_id} is of parcel {sale.parcel_id}, which is not its seller's"
            other = sale_of.setdefault(sale.parcel_id, sale_id)
            if other != sale_id:
                yield f"sales {other} and {sale_id} are of one parcel"
            if isinstance(sale, Auction):
                yield from self._uncovered(sale)

    def _uncovered(self, auction: Auction) -> Iterator[str]:
        """A leader's maximum is set aside, all of it."""
        standing, hold = auction.standing, self.ledger.holds.get(auction.hold_id)
        held = (0, 0) if hold is None else (hold.account, hold.amount)
        if held != (standing.leader_id, standing.maximum):
            yield f"auction {auction.auction_id} is led by {standing.leader_id} up to {standing.maximum}, and {held} is set aside"

    def _doubts_about_ends(self, changes: list[Change]) -> Iterator[str]:
        """A hold that is over was voided if the entry gives its money back, else posted."""
        came = {(change.account, change.amount) for change in changes if isinstance(change, Post)}
        for change in changes:
            if not isinstance(change, Hold):
                continue
            if before := None if change.amount else self.ledger.holds.get(change.hold_id):
                back = (before.account, before.amount) in came
                state = HoldState.VOIDED if back else HoldState.POSTED
            else:
                state = HoldState.PENDING if change.amount else change.state
            if change.state is not state:
                yield f"hold {change.hold_id} is said to be {change.state}, but it is {state}"

    def _doubts(self, change: Change) -> Iterator[str]:
        match change:
            case Post(account, amount, balance):
                before = self.ledger.balance(account)
                if before + amount != balance:
                    yield f"account {account} held {before}, {amount} came, and {balance} is said to be there"
                if balance < 0 and not may_be_below_zero(account):
                    yield f"account {account} holds {balance} poisha"
            case Hold(hold_id, _, 0) if hold_id not in self.ledger.holds:
                yield f"hold {hold_id} ends, but there was none"
            case Freed(parcel_id) if parcel_id not in self.parcels:
                yield f"parcel {parcel_id} is freed, but there was none"
            case Listing() | Auction() if change.sale_id not in self.sales and (
                change.end is not None or change.sale_id != change.seq
            ):
                yield f"sale {change.sale_id} goes on or ends, but there was none"
            case Built(cx, cy, version, edits):
                surface = self.surfaces.get((cx, cy), Surface())
                if surface.version + len(edits) // CHUNK_EDIT.itemsize != version:
                    yield f"chunk ({cx}, {cy}) goes from version {surface.version} to {version}, which does not fit its edits"


def entries(first: int, last: int) -> str:
    """So many of them, as the beginning of a sentence."""
    return f"entry {first} is" if first == last else f"entries {first} to {last} are"
