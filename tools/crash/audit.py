"""What is stored, read independently of the server: the journal from its first entry on, and what its tables must be then.

`Audit.read` takes all in one snapshot. Entries that were read before are not read again, but must still be there (the digest of the
last one). The journal is played here with dictionaries and plain JSON, not with the code of world/, so that a mistake in the one
does not hide in the other.
"""

import base64
import hashlib
import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import asyncpg

from protocol import messages
from protocol.edits import CHUNK_EDIT, unpack
from protocol.messages import PLOT_TILES, LandClaim, SaleEnd, name_of
from protocol.snapshot import CELL_TILES

BEGINNING = bytes(32)
TREASURY, GATEWAYS = -1, -100  # only these may hold less than nothing
HOUSE = -2
SOLD, EXPIRED, UNSOLD = SaleEnd.SOLD.value, SaleEnd.EXPIRED.value, SaleEnd.UNSOLD.value
CLAIM = name_of(LandClaim)

Shown = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of the journal."""

    seq: int
    kind: str
    player_id: int
    action_id: bytes
    changes: list[dict[str, Any]]
    result: dict[str, Any]
    tick: int

    def of(self, kind: str) -> list[dict[str, Any]]:
        """Its changes of one kind: post, hold, parcel, listing, freed, built."""
        return [change for change in self.changes if change["type"] == kind]

    def tiles(self) -> Iterator[tuple[tuple[int, int], int]]:
        """What it built: ((x, y), Build)."""
        for built in self.of("built"):
            for tile, kind in unpack(base64.b64decode(built["edits"]), CHUNK_EDIT).tolist():
                y, x = divmod(tile, CELL_TILES)
                yield (built["cx"] * CELL_TILES + x, built["cy"] * CELL_TILES + y), kind


def shown(parcel: messages.Parcel) -> Shown:
    """What an event tells of a parcel, to be compared."""
    return (
        parcel.parcel_id,
        parcel.owner_id,
        parcel.owner_name,
        parcel.x,
        parcel.y,
        parcel.width,
        parcel.height,
        parcel.name,
        parcel.description,
        parcel.open_enter,
        parcel.open_build,
    )


def _shown_of(parcel: dict[str, Any]) -> Shown:
    bounds = (parcel[name] * PLOT_TILES for name in ("px", "py", "pw", "ph"))
    names = ("name", "description", "open_enter", "open_build")
    first = parcel["parcel_id"], parcel["owner_id"], parcel["owner_name"]
    return (*first, *bounds, *(parcel[name] for name in names))


def sold(listing: messages.Listing) -> Shown:
    """What an event tells of a listing, to be compared; where it ends is told in another unit."""
    return (
        listing.listing_id,
        listing.parcel_id,
        listing.seller_id,
        listing.price,
        listing.fee,
        listing.keep_permits,
        listing.tiles,
        listing.arrears,
        listing.seq,
    )


def _sold_of(listing: dict[str, Any]) -> Shown:
    inspected = listing["inspected"]
    first = (listing[name] for name in ("listing_id", "parcel_id", "seller_id", "price"))
    return (
        *first,
        fee_of(listing),
        listing["keep_permits"],
        inspected["tiles"],
        inspected["arrears"],
        listing["seq"],
    )


def bid_for(auction: messages.Auction | messages.AuctionBid) -> Shown:
    """What an event tells of an auction, likewise."""
    return (
        auction.auction_id,
        auction.parcel_id,
        auction.leader_id,
        auction.price,
        auction.fee,
        auction.bids,
        auction.seq,
    )


def _bid_of(auction: dict[str, Any]) -> Shown:
    standing = auction["standing"]
    first = auction["auction_id"], auction["parcel_id"], standing["leader_id"] or None
    return (*first, price_of(auction), fee_of(auction), standing["bids"], auction["since"])


def price_of(sale: dict[str, Any]) -> int:
    """What a sale stands at."""
    if "price" in sale:
        return int(sale["price"])
    return int(sale["standing"]["price"] or sale["terms"]["start_price"])


def fee_of(sale: dict[str, Any]) -> int:
    """What of a price goes to the house: hundredths of a percent, rounded down, but no less than the least and no more than all."""
    price, terms = price_of(sale), sale["fee_terms"]
    return int(min(price, max(terms["minimum"], price * terms["basis_points"] // 10_000)))


@dataclass(slots=True)
class Audit:
    """The journal as far as it was read, and what follows from it."""

    entries: dict[int, Entry] = field(default_factory=dict)
    by_action: dict[bytes, Entry] = field(default_factory=dict)
    parcels: dict[int, dict[str, Any]] = field(default_factory=dict)
    balances: dict[int, int] = field(default_factory=dict)
    holds: dict[int, dict[str, Any]] = field(default_factory=dict)
    surfaces: dict[tuple[int, int], dict[int, int]] = field(default_factory=lambda: defaultdict(dict))
    versions: dict[tuple[int, int], int] = field(default_factory=dict)
    parcels_told: set[tuple[Shown, bool]] = field(default_factory=set)  # as told, and whether by a claim
    freed: set[int] = field(default_factory=set)
    sales: dict[int, dict[str, Any]] = field(default_factory=dict)  # those that are open
    sales_told: set[Shown] = field(default_factory=set)  # as told
    ends_told: set[tuple[int, int, int | None]] = field(default_factory=set)  # sale, how, buyer
    ends_moved: set[tuple[int, int]] = field(default_factory=set)  # auction, seq
    balances_told: set[tuple[int, int, int]] = field(default_factory=set)  # account, seq, balance
    violations: list[str] = field(default_factory=list)
    seq: int = 0
    digest: bytes = BEGINNING

    async def read(self, dsn: str) -> None:
        """Reads what is new and compares every table. What is wrong is put into `violations`."""
        connection = await asyncpg.connect(dsn)
        try:
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                await self._read_journal(connection)
                await self._check_tables(connection)
        finally:
            await connection.close()

    # --- the journal

    async def _read_journal(self, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        world = await connection.fetchrow("SELECT last_seq, last_digest FROM world")
        assert world is not None
        kept = await connection.fetchval("SELECT digest FROM journal WHERE seq = $1", self.seq)
        if self.seq and kept != self.digest:
            self._wrong(f"entry {self.seq} was stored and is another now, or gone")
        began = self.seq
        query = "SELECT seq, record::text AS record, digest FROM journal WHERE seq > $1 ORDER BY seq"
        for row in await connection.fetch(query, began):
            self._take(row["seq"], row["record"], row["digest"])
        if (world["last_seq"], world["last_digest"]) != (self.seq, self.digest):
            self._wrong(f"the world says its journal ends at {world['last_seq']}; it ends at {self.seq}")
        await self._check_answers(connection, began)
        await self._check_postings(connection, began)

    def _take(self, seq: int, record: str, digest: bytes) -> None:
        fields = json.loads(record)
        if seq != self.seq + 1 or fields["seq"] != seq:
            self._wrong(f"entry {seq} comes after entry {self.seq}")
        chained = hashlib.blake2b(self.digest + record.encode(), digest_size=32).digest()
        if digest != chained:
            self._wrong(f"entry {seq} does not chain to the one before")
        action_id = bytes.fromhex(fields["action"])
        entry = Entry(
            seq,
            fields["kind"],
            fields["player_id"],
            action_id,
            fields["changes"],
            fields["result"],
            fields["tick"],
        )
        if action_id:
            if action_id in self.by_action:
                before = self.by_action[action_id]
                self._wrong(f"entries {before.seq} and {seq} are one action: it was done twice")
            self.by_action[action_id] = entry
        self.entries[seq] = entry
        self._play(entry)
        self.seq, self.digest = seq, digest

    def _play(self, entry: Entry) -> None:
        for change in entry.changes:
            match change["type"]:
                case "post":
                    self._post(entry.seq, change)
                case "hold":
                    self._hold(change)
                case "parcel":
                    self.parcels[change["parcel_id"]] = change
                    self.parcels_told.add((_shown_of(change), entry.kind == CLAIM))
                case "freed":
                    del self.parcels[change["parcel_id"]]
                    self.freed.add(change["parcel_id"])
                case "listing" | "auction":
                    self._list(entry, change)
                case "built":
                    self._built(entry.seq, change)

    def _post(self, seq: int, post: dict[str, Any]) -> None:
        account = post["account"]
        self.balances[account] = self.balances.get(account, 0) + post["amount"]
        if self.balances[account] != post["balance"]:
            self._wrong(
                f"entry {seq}: account {account} holds {self.balances[account]}, not {post['balance']}"
            )
        self.balances_told.add((account, seq, post["balance"]))

    def _list(self, entry: Entry, sale: dict[str, Any]) -> None:
        """A sale is so now. What ends was open; who sells owns it."""
        is_auction = sale["type"] == "auction"
        sale_id, end = sale["auction_id" if is_auction else "listing_id"], sale["end"]
        before = self.sales.pop(sale_id, None)
        if (before is None) != (end is None and sale_id == entry.seq):
            self._wrong(f"entry {entry.seq}: sale {sale_id} is opened again, or was over")
        if is_auction and sale["extended"] == entry.seq:
            self.ends_moved.add((sale_id, entry.seq))
        if end is None:
            self.sales[sale_id] = sale
            self.sales_told.add(_bid_of(sale) if is_auction else _sold_of(sale))
            return
        self.ends_told.add((sale_id, end, sale["buyer_id"]))
        ends = sale["standing"]["ends"] if is_auction else sale["ends"]
        by_itself = end in (EXPIRED, UNSOLD) or (is_auction and end == SOLD and not entry.player_id)
        if by_itself and not (ends and ends <= entry.tick):
            self._wrong(f"entry {entry.seq}: sale {sale_id} ended at tick {entry.tick}, before its time")
        if end == SOLD:
            self._sell(entry, sale)

    def _sell(self, entry: Entry, sale: dict[str, Any]) -> None:
        """The land and the fee change hands in the same entry."""
        bought = [(one["parcel_id"], one["owner_id"]) for one in entry.of("parcel")]
        fees = sum(one["amount"] for one in entry.of("post") if one["account"] == HOUSE)
        if (bought, fees) != ([(sale["parcel_id"], sale["buyer_id"])], fee_of(sale)):
            self._wrong(f"entry {entry.seq}: parcel {sale['parcel_id']} is sold as {entry.changes}")

    def _hold(self, hold: dict[str, Any]) -> None:
        if hold["amount"]:
            self.holds[hold["hold_id"]] = hold
        else:
            self.holds.pop(hold["hold_id"], None)

    def _built(self, seq: int, built: dict[str, Any]) -> None:
        key = built["cx"], built["cy"]
        edits = unpack(base64.b64decode(built["edits"]), CHUNK_EDIT).tolist()
        self.surfaces[key].update(edits)
        version = self.versions.get(key, 1) + len(edits)
        if built["version"] != version:
            self._wrong(f"entry {seq}: chunk {key} goes to version {built['version']}, not {version}")
        self.versions[key] = built["version"]

    # --- the tables

    async def _check_answers(self, connection: "asyncpg.Connection[asyncpg.Record]", began: int) -> None:
        rows = await connection.fetch("SELECT * FROM answers WHERE seq > $1", began)
        stored = {(row["action_id"], row["seq"], row["player_id"], _plain(row["result"])) for row in rows}
        wanted = {
            (one.action_id, seq, one.player_id, _plain(json.dumps(one.result)))
            for seq, one in self.entries.items()
            if seq > began and one.action_id
        }
        if stored != wanted:
            self._wrong(
                f"answers after {began}: {len(stored - wanted)} too many, {len(wanted - stored)} missing"
            )
        count = await connection.fetchval("SELECT count(*) FROM answers")
        if count != len(self.by_action):
            self._wrong(f"{count} answers are stored to {len(self.by_action)} actions")

    async def _check_postings(self, connection: "asyncpg.Connection[asyncpg.Record]", began: int) -> None:
        rows = await connection.fetch(
            "SELECT seq, account_id, amount, balance FROM postings WHERE seq > $1 ORDER BY seq, place", began
        )
        wanted = [
            (seq, post["account"], post["amount"], post["balance"])
            for seq, entry in self.entries.items()
            if seq > began
            for post in entry.of("post")
        ]
        if [tuple(row) for row in rows] != wanted:
            self._wrong(f"the postings after entry {began} are not those of the journal")

    async def _check_tables(self, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        rows = await connection.fetch("SELECT account_id, balance FROM accounts")
        accounts: dict[int, int] = {row["account_id"]: row["balance"] for row in rows}
        self._same("accounts", accounts, self.balances)
        self._check_money(accounts)
        holds = {row["hold_id"]: row["amount"] for row in await connection.fetch("SELECT * FROM holds")}
        self._same("holds", holds, {key: one["amount"] for key, one in self.holds.items()})
        rows = await connection.fetch("SELECT * FROM parcels")
        self._same("parcels", {row["parcel_id"]: json.loads(row["parcel"]) for row in rows}, self.parcels)
        self._check_owners(rows)
        rows = await connection.fetch("SELECT * FROM sales")
        self._same("sales", {row["sale_id"]: json.loads(row["sale"]) for row in rows}, self.sales)
        self._check_bids()
        for row in rows:
            if self.parcels.get(row["parcel_id"], {}).get("owner_id") != row["seller_id"]:
                self._wrong(f"sale {row['sale_id']} is of parcel {row['parcel_id']}, not its seller's")
        rows = await connection.fetch("SELECT * FROM surfaces")
        built = {(row["cx"], row["cy"]): dict(unpack(row["edits"], CHUNK_EDIT).tolist()) for row in rows}
        self._same("surfaces", built, dict(self.surfaces))
        versions = {(row["cx"], row["cy"]): row["version"] for row in rows}
        self._same("versions of surfaces", versions, self.versions)

    def _check_bids(self) -> None:
        """All that leaders would pay is set aside, and no more than that and deposits."""
        for auction_id, auction in self.sales.items():
            standing = auction.get("standing")
            if standing is None or not standing["leader_id"]:
                continue
            hold = self.holds.get(auction["hold_id"], {})
            if (hold.get("account"), hold.get("amount")) != (standing["leader_id"], standing["maximum"]):
                self._wrong(f"auction {auction_id} is led by {standing}, and {hold} is set aside")

    def _same(self, table: str, stored: dict[Any, Any], wanted: dict[Any, Any]) -> None:
        differ = [key for key in stored.keys() | wanted.keys() if stored.get(key) != wanted.get(key)]
        if differ:
            self._wrong(f"{table}: {len(differ)} rows are not as the journal has them, so {differ[:3]}")

    def _check_money(self, accounts: dict[int, int]) -> None:
        if sum(accounts.values()):
            self._wrong(f"all balances together are {sum(accounts.values())} poisha")
        for account, balance in accounts.items():
            if balance < 0 and account != TREASURY and account > GATEWAYS:
                self._wrong(f"account {account} holds {balance} poisha")

    def _check_owners(self, rows: list[asyncpg.Record]) -> None:
        """One owner per plot."""
        owners: dict[tuple[int, int], int] = {}
        for row in rows:
            for x in range(row["px"], row["px"] + row["pw"]):
                for y in range(row["py"], row["py"] + row["ph"]):
                    if owners.setdefault((x, y), row["parcel_id"]) != row["parcel_id"]:
                        self._wrong(f"plot {x}, {y} is of parcels {owners[x, y]} and {row['parcel_id']}")

    def _wrong(self, text: str) -> None:
        self.violations.append(text)


def _plain(result: str) -> str:
    return json.dumps(json.loads(result), sort_keys=True)
