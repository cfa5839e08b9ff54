"""The journal read again by somebody else: what the world must be after each entry, and whether the journal is sound in itself.

Nothing here is shared with the code that applies entries (world/entries.py, persistence/rows.py) but the shape of a record. `pages[n]`
is the world after entry n; page 0 is the empty one.
"""

import hashlib
from dataclasses import dataclass, field, replace

from protocol.edits import CHUNK_EDIT, unpack
from protocol.messages import PLOT_TILES, SaleEnd
from protocol.snapshot import CELL_TILES
from tools.simulate.disk import JournalRow
from world.entries import BEGINNING, Built, Record, read
from world.ledger import ESCROW, GATEWAY, HOUSE, TREASURY, Hold, HoldState, Post
from world.parcels import Freed, Parcel
from world.sales import Listing
from world.settlement import LEASE_ENDED, LEASE_RENEWED

Plot = tuple[int, int]
Surface = tuple[int, dict[int, int]]  # version, Build by tile


@dataclass(frozen=True, slots=True)
class Page:
    """The world after one entry. The dictionaries are never changed."""

    seq: int = 0
    tick: int = 0
    digest: bytes = BEGINNING
    last_parcel_id: int = 0
    parcels: dict[int, Parcel] = field(default_factory=dict)
    plots: dict[Plot, int] = field(default_factory=dict)
    balances: dict[int, int] = field(default_factory=dict)
    holds: dict[int, Hold] = field(default_factory=dict)
    sales: dict[int, Listing] = field(default_factory=dict)  # those that are open
    surfaces: dict[Plot, Surface] = field(default_factory=dict)  # by cx, cy

    def sale_of(self, parcel_id: int) -> Listing | None:
        """The open sale of a parcel."""
        return next((one for one in self.sales.values() if one.parcel_id == parcel_id), None)

    def at(self, x: float, y: float) -> Parcel | None:
        """The parcel at a place, in tiles."""
        parcel_id = self.plots.get((int(x // PLOT_TILES), int(y // PLOT_TILES)))
        return None if parcel_id is None else self.parcels[parcel_id]


def _keeps(old: Listing, new: Listing) -> bool:
    """What no edit of a sale changes, and no end."""
    names = ("listing_id", "parcel_id", "seller_id", "fee_terms")
    return all(getattr(old, name) == getattr(new, name) for name in names)


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
        page = self._market(before, page, record)
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
            else:  # of deposits, all that is set aside so far
                back = before is not None and any(
                    (post.account, post.amount) == (before.account, before.amount) for post in posts
                )
                voided = back and hold.state is HoldState.VOIDED
                self._demand(voided, record.seq, f"hold {hold.hold_id} is {hold.state}, and not given back")
        held, escrow = sum(hold.amount for hold in holds.values()), balances.get(ESCROW, 0)
        self._demand(held == escrow, record.seq, f"holds of {held} against {escrow} in escrow")
        return replace(page, balances=balances, holds=holds)

    def _market(self, before: Page, page: Page, record: Record) -> Page:
        """What is for sale; and that what is for sale stays as it is."""
        changes = [change for change in record.changes if isinstance(change, Listing)]
        if not before.sales and not changes:
            return page
        sales = dict(before.sales)
        for change in changes:
            old = sales.pop(change.listing_id, None)
            opens = old is None and change.end is None and change.listing_id == record.seq
            self._demand(opens or old is not None, record.seq, f"sale {change.listing_id} was over, or none")
            if old is not None:
                self._demand(_keeps(old, change), record.seq, f"sale {change.listing_id} is another sale now")
            if change.end is None:
                sales[change.listing_id] = change
            elif old is not None:
                self._over(old, change, before, record)
        sold = [one.parcel_id for one in sales.values()]
        self._demand(len(sold) == len(set(sold)), record.seq, "a parcel is in two sales")
        for one in sales.values():
            parcel, was = page.parcels.get(one.parcel_id), before.parcels.get(one.parcel_id)
            founded = parcel is not None and parcel.owner_id == one.seller_id
            self._demand(founded, record.seq, f"sale {one.listing_id} is of what its seller has not")
            if parcel is not None and was is not None and one.listing_id in before.sales:
                as_it_was = (parcel.rectangle, parcel.way) == (was.rectangle, was.way)
                alone = as_it_was and not (parcel.to_let or parcel.lease or parcel.given_to)
                self._demand(alone, record.seq, f"parcel {one.parcel_id} is changed though it is for sale")
        return replace(page, sales=sales)

    def _over(self, old: Listing, new: Listing, before: Page, record: Record) -> None:
        """A sale ends: at its time, or for its price; what it was offered for is what is paid."""
        seq = record.seq
        if new.end is SaleEnd.EXPIRED:
            self._demand(
                old.ends is not None and old.ends <= record.tick, seq, "a sale ended before its time"
            )
        if new.end is SaleEnd.CANCELLED:
            self._demand(record.player_id == old.seller_id, seq, "somebody else takes a sale back")
        if new.end is SaleEnd.FORFEITED:
            gone = [one.parcel_id for one in record.changes if isinstance(one, Freed)]
            self._demand(gone == [old.parcel_id], seq, "a sale is forfeited, and its land is not")
        if new.end is not SaleEnd.SOLD:
            return
        self._demand(new.buyer_id == record.player_id, seq, "who buys is not who is said to have bought")
        self._demand(old.ends is None or record.tick < old.ends, seq, "what was over is sold")
        terms = old.fee_terms
        fee = min(old.price, max(terms.minimum, old.price * terms.basis_points // 10_000))
        came: dict[int, int] = {}
        for post in record.changes:
            if isinstance(post, Post):
                came[post.account] = came.get(post.account, 0) + post.amount
        new_here = [
            one for one in (record.player_id, old.seller_id) if old.price and one not in before.balances
        ]
        granted = -came.get(TREASURY, 0)
        grant = granted // len(new_here) if new_here else 0
        self._demand(came.get(HOUSE, 0) == fee, seq, f"the house gets {came.get(HOUSE, 0)}, not {fee}")
        both = came.get(record.player_id, 0) + came.get(old.seller_id, 0)
        self._demand(both == granted - fee, seq, "buyer and seller have another sum than before")
        got = came.get(old.seller_id, 0) - grant * (old.seller_id in new_here)
        self._demand(got == old.price - fee, seq, f"its seller gets {got}")
        bought = [one for one in record.changes if isinstance(one, Parcel)]
        owner = [(one.parcel_id, one.owner_id) for one in bought]
        self._demand(owner == [(old.parcel_id, record.player_id)], seq, f"what is bought is {owner}")
        was_there = before.parcels[old.parcel_id]
        self._demand(
            was_there.arrears <= old.inspected.arrears, seq, "more is owed for what is sold than was told"
        )
        for parcel in bought:
            access = (parcel.permits, parcel.open_enter, parcel.open_build)
            others = tuple(one for one in was_there.permits if one.player_id != record.player_id)
            kept = (
                (others, was_there.open_enter, was_there.open_build)
                if old.keep_permits
                else ((), True, False)
            )
            self._demand(access == kept, seq, f"who may do what on land that is sold is {access}")
        offered = self.pages[old.since]
        now, was = self._kinds(before, old.parcel_id), self._kinds(offered, old.parcel_id)
        self._demand(now == was, seq, f"parcel {old.parcel_id} is sold otherwise than it was offered")

        if old.keep_permits:
            told = offered.parcels[old.parcel_id]
            same = (told.permits, told.open_enter, told.open_build) == (
                was_there.permits,
                was_there.open_enter,
                was_there.open_build,
            )
            self._demand(same, seq, "others may do other things on what is sold than was told")

    def _kinds(self, page: Page, parcel_id: int) -> dict[Plot, int]:
        """What stands on a parcel, by tile."""
        parcel = page.parcels[parcel_id]
        left, top, width, height = (side * PLOT_TILES for side in parcel.rectangle)
        found: dict[Plot, int] = {}
        for y in range(top, top + height):
            for x in range(left, left + width):
                surface = page.surfaces.get((x // CELL_TILES, y // CELL_TILES))
                kind = surface[1].get(y % CELL_TILES * CELL_TILES + x % CELL_TILES, 0) if surface else 0
                if kind:
                    found[x, y] = kind
        return found

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
