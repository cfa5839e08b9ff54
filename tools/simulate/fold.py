"""The journal read again by somebody else: what the world must be after each entry, and whether the journal is sound in itself.

Nothing here is shared with the code that applies entries (world/entries.py, persistence/rows.py) but the shape of a record. `pages[n]`
is the world after entry n; page 0 is the empty one.
"""

import hashlib
from dataclasses import replace

from protocol.edits import CHUNK_EDIT, unpack
from tools.simulate.disk import JournalRow
from tools.simulate.market import doubts, sales_after
from tools.simulate.page import Page, Plot, Surface
from world.entries import Built, Record, read
from world.ledger import ESCROW, GATEWAY, TREASURY, Hold, HoldState, Post
from world.parcels import Freed, Parcel
from world.sales import Sale
from world.settlement import AUCTION_ENDED, LEASE_ENDED, LEASE_RENEWED


class Fold:
    """All pages, and what was found wrong while they were written."""

    def __init__(self) -> None:
        self.pages = [Page()]
        self.records: list[Record] = []
        self.postings: dict[int, list[tuple[int, int, int]]] = {}  # by account: seq, amount, balance
        self.troubles: list[str] = []

    def take(self, row: JournalRow) -> Record:
        """The next entry."""
        before, record = self.pages[-1], read(row.record.encode())
        digest = hashlib.blake2b(before.digest + row.record.encode(), digest_size=32).digest()
        self._demand(digest == row.digest, row.seq, "its digest does not follow from the entry before")
        self._demand(record.seq == row.seq == before.seq + 1, row.seq, f"it follows entry {before.seq}")
        self._demand(
            record.tick >= before.tick, row.seq, f"tick {record.tick} is before that of the last entry"
        )
        if record.kind in (LEASE_ENDED, LEASE_RENEWED):
            lease = before.parcels[record.result["parcel_id"]].lease
            self._demand(lease is not None and lease.ends <= record.tick, row.seq, "no lease was at its end")
        page = replace(before, seq=row.seq, tick=record.tick, digest=digest)
        page = self._land(page, record)
        page = self._money(page, record)
        page = self._market(page, record)
        page = self._built(page, record)
        self.pages.append(page)
        self.records.append(record)
        return record

    def _land(self, page: Page, record: Record) -> Page:
        changes = [change for change in record.changes if isinstance(change, Parcel | Freed)]
        if not changes:
            return page
        parcels, last_id = dict(page.parcels), page.last_parcel_id
        for change in changes:
            if isinstance(change, Freed):
                self._demand(change.parcel_id in parcels, record.seq, f"parcel {change.parcel_id} was none")
                parcels.pop(change.parcel_id, None)
                continue
            new = change.parcel_id not in parcels
            self._demand(
                not new or change.parcel_id > last_id, record.seq, f"id {change.parcel_id} is given again"
            )
            parcels[change.parcel_id], last_id = change, max(last_id, change.parcel_id)
        plots: dict[Plot, int] = {}
        for parcel in parcels.values():
            for px in range(parcel.px, parcel.px + parcel.pw):
                for py in range(parcel.py, parcel.py + parcel.ph):
                    other = plots.setdefault((px, py), parcel.parcel_id)
                    self._demand(other == parcel.parcel_id, record.seq, f"plot {px}, {py} has two owners")
        return replace(page, parcels=parcels, plots=plots, last_parcel_id=last_id)

    def _money(self, page: Page, record: Record) -> Page:
        posts = [change for change in record.changes if isinstance(change, Post)]
        ends = [change for change in record.changes if isinstance(change, Hold)]
        if not posts and not ends:
            return page
        balances, holds = dict(page.balances), dict(page.holds)
        for post in posts:
            after = balances.get(post.account, 0) + post.amount
            balances[post.account] = after
            self._demand(
                after == post.balance, record.seq, f"account {post.account} has {after}, not {post.balance}"
            )
            may = post.account == TREASURY or post.account <= GATEWAY
            self._demand(after >= 0 or may, record.seq, f"account {post.account} has {after}")
            self.postings.setdefault(post.account, []).append((record.seq, post.amount, post.balance))
        self._demand(not sum(post.amount for post in posts), record.seq, "its postings do not sum to zero")
        for hold in ends:
            before = holds.pop(hold.hold_id, None)
            if hold.amount:
                holds[hold.hold_id] = hold
            else:  # a deposit or a bid goes back whole, but for what is paid of it when an auction is won
                back = before is not None and any(
                    (post.account, post.amount) == (before.account, before.amount) for post in posts
                )
                won = record.kind == AUCTION_ENDED and hold.state is HoldState.POSTED
                fits = hold.state is HoldState.VOIDED if back else won
                self._demand(fits, record.seq, f"hold {hold.hold_id} is {hold.state}")
        held, escrow = sum(hold.amount for hold in holds.values()), balances.get(ESCROW, 0)
        self._demand(held == escrow, record.seq, f"holds of {held} against {escrow} in escrow")
        return replace(page, balances=balances, holds=holds)

    def _market(self, page: Page, record: Record) -> Page:
        """What is for sale; and that what is for sale stays as it is."""
        before = self.pages[-1]
        if not before.sales and not any(isinstance(change, Sale) for change in record.changes):
            return page
        page = replace(page, sales=sales_after(before, record))
        self.troubles += [f"entry {record.seq}: {trouble}" for trouble in doubts(self.pages, page, record)]
        return page

    def _built(self, page: Page, record: Record) -> Page:
        surfaces: dict[Plot, Surface] | None = None
        for change in record.changes:
            if isinstance(change, Built):
                surfaces = dict(page.surfaces) if surfaces is None else surfaces
                version, kinds = surfaces.get((change.cx, change.cy), (1, {}))
                edits = unpack(change.edits, CHUNK_EDIT).tolist()
                version += len(edits)
                self._demand(
                    version == change.version, record.seq, f"version {change.version}, not {version}"
                )
                surfaces[change.cx, change.cy] = version, {**kinds, **dict(edits)}
        return page if surfaces is None else replace(page, surfaces=surfaces)

    def _demand(self, holds: bool, seq: int, trouble: str) -> None:
        if not holds:
            self.troubles.append(f"entry {seq}: {trouble}")
