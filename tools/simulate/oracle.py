"""What the server promised, checked from outside: against the journal as it is committed, and against what was told to whom.

    committed    each commit: one epoch, nothing rewritten, entries sound in themselves (fold.py), done once and asked for by somebody
    told         nothing of land or money before it is durable; an answer is what stands in the journal
    sold         news of sales go to all who see the land, as soon as their entry is stored
    built        edits follow each other, are told with the next tick, are all that is stored, and make of each client's chunks
                 what the server has
    recovered    a new server's memory is the fold of the durable journal
    led          memory is never further ahead of the disk than its limits
    ended        what the disk holds is the fold of its journal; what was refused was not done; everything was answered

"Durable" is asked of the disk itself, never of the server.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from persistence.journal import JOURNAL_AGE_S
from persistence.rows import parcel_row, sale_row
from protocol.edits import CHUNK_EDIT, unpack
from protocol.errors import RefusalCode
from protocol.messages import (
    PLOT_TILES,
    POSTINGS_PAGE,
    AuctionBid,
    AuctionEnded,
    AuctionExtended,
    AuctionOpened,
    ChunkEdits,
    EntryDenied,
    LandAt,
    LandChanged,
    LandClaimed,
    LandFreed,
    LandMine,
    LandQuote,
    LandRent,
    LandTake,
    LeaseEnded,
    ListingChanged,
    ListingEnded,
    ListingOpened,
    Ok,
    ReceiptGet,
    Refused,
    SaleEnd,
    UpkeepMissed,
    Wallet,
    WalletChanged,
    WalletStatement,
    name_of,
)
from server.actions import content_of
from server.receipts import BadReceipt, verify
from tools.built import Place, standing
from tools.simulate.disk import Disk, JournalRow, Tables
from tools.simulate.fold import Fold
from tools.simulate.host import GRANT, NOTARY, RULES, TICK_HZ, Host, Limits
from tools.simulate.page import Page, Surface
from tools.simulate.player import Copy, Deed, Player
from tools.simulate.told import News, as_told, auction_as_seen, is_refused_rightly, news_of, told_by
from world.entries import Built, Change, Entry
from world.grid import unpack as cell_of
from world.ledger import in_words
from world.parcels import Freed, Parcel
from world.queries import listed, seen
from world.sales import Auction, Listing, Sale
from world.settlement import AUCTION_ENDED, LAND_FORFEITED, LEASE_ENDED, UPKEEP_MISSED
from world.state import State
from world.tiles import VERSION_BARE

OUTAGE_TICKS = RULES.market.outage_ms * TICK_HZ // 1_000
UNAVAILABLE_S_MAX = 2.0  # from asking to being told that the database is away
SLACK_S = (
    2 / TICK_HZ + 0.01
)  # a tick may just have begun when something is due; the answer comes with the next


@dataclass(frozen=True, slots=True)
class Shown:
    """What a client must take for built in a chunk, once it has heard what it was sent with."""

    place: Place
    version: int
    kinds: dict[int, int]
    brought: bool  # by a chunk_get, so that it must know; of an edit it may have to ask first


class Oracle:
    """Finds violations. `trouble` takes each, in words."""

    def __init__(self, disk: Disk, limits: Limits, trouble: Callable[[str], None]) -> None:
        self.fold = Fold()
        self._disk = disk
        self._limits = limits
        self._trouble = trouble
        self._deeds: dict[tuple[bytes, int], list[Deed]] = {}  # by action_id and player
        self._done: dict[bytes, int] = {}  # action_id -> seq
        self._owned: set[Any] = set()  # parcels as they durably were at some time
        self._listed: set[bytes] = set()  # sales, likewise, as they are told
        self._ended: set[int] = set()
        self._over: set[tuple[int, SaleEnd | None, int | None]] = (
            set()
        )  # sales that ended: which, how, who bought it
        self._settled: set[tuple[type, int]] = set()  # what happened by itself, as it is told of
        self._surfaces: dict[int, dict[Place, Surface]] = {}  # by server: as it was read, and told since
        self._edits: set[tuple[int, Place, int, bytes]] = (
            set()
        )  # done by servers: epoch, chunk, version, records
        self._unsaid: dict[int, dict[News, tuple[int, set[int]]]] = {}  # by server, of sales: entry, cells
        self._untold: dict[
            int, set[tuple[int, Place, int, bytes]]
        ] = {}  # by server, of these: since its last tick
        self._ahead: dict[
            int, dict[int, tuple[float, int]]
        ] = {}  # by server: seq -> when written there, bytes
        self._began: dict[int, int] = {}  # by server: the tick of its start
        self._entered_s: dict[tuple[int, int], float] = {}  # by server and seq: when written there

    @property
    def durable(self) -> int:
        """The last entry on the disk."""
        return self._disk.tables.last_seq

    # --- on the disk ---

    def committed(self, before: Tables, after: Tables) -> None:
        """A transaction is over."""
        new = after.journal[len(before.journal) :]
        if after.journal[: len(before.journal)] != before.journal:
            self._trouble("the journal was rewritten")
        for row in new:
            if row.epoch != after.epoch:
                self._trouble(
                    f"entry {row.seq} was written by epoch {row.epoch}, after epoch {after.epoch} began"
                )
            record = self.fold.take(row)
            for change in record.changes:
                self._note(row, change)
            if record.kind in _TOLD_OF:
                self._settled.add((_TOLD_OF[record.kind], record.result["parcel_id"]))
            self._check_asked_for(row.seq)
        for trouble in self.fold.troubles:
            self._trouble(trouble)
        self.fold.troubles.clear()
        if after.tick < before.tick and before.epoch == after.epoch:
            self._trouble(f"the world's clock went back from tick {before.tick} to {after.tick}")

    def _note(self, row: JournalRow, change: Change) -> None:
        """What was durably so, and may be told of."""
        match change:
            case Parcel():
                self._owned.add(_as_seen(change))
            case Freed(parcel_id):
                self._ended.add(parcel_id)
            case Listing() | Auction() if change.end is None:
                self._listed |= {_facts(one) for one in as_told(change)}
            case Listing() | Auction():
                self._over.add((change.sale_id, change.end, change.buyer_id))
            case Built(cx, cy, version, edits):
                if (row.epoch, (cx, cy), version, edits) not in self._edits:
                    self._trouble(f"entry {row.seq} builds in {(cx, cy)} what no server of its epoch did")

    def _check_asked_for(self, seq: int) -> None:
        record = self.fold.records[seq - 1]
        if not record.action:
            return
        action_id = bytes.fromhex(record.action)
        if action_id in self._done:
            self._trouble(f"entry {seq} does again what entry {self._done[action_id]} did")
        self._done.setdefault(action_id, seq)
        if not any(_is_of(deed, record) for deed in self._deeds.get((action_id, record.player_id), ())):
            self._trouble(f"entry {seq} does what nobody asked for: {record.kind}")

    # --- told ---

    def asked(self, deed: Deed, player_id: int) -> None:
        """A deed is sent, perhaps not for the first time."""
        known = self._deeds.setdefault((deed.request.action_id, player_id), [])
        if deed not in known:
            known.append(deed)

    def answered(self, host: Host, copy: Copy, answer: Ok | Refused) -> None:
        """A server answers. Called when it does, not when it is heard."""
        assert copy.lower is not None, "answered before it was taken"
        window = self.fold.pages[copy.lower : self.durable + 1]
        if copy.told:
            self._trouble(f"{name_of(type(copy.request))} is answered twice")
        elif copy.deed is not None:
            copy.deed.unheard -= 1
        copy.told = True
        if isinstance(answer, Refused):
            self._refused(host, copy, answer, window)
        elif copy.deed is not None:
            self._acknowledged(copy.deed, answer)
            self._check_wait(host, copy, self._entered_s.get((host.number, answer.seq), copy.taken_s))
        else:
            self._told(host, copy, answer, window)

    def _told(self, host: Host, copy: Copy, answer: Ok, window: list[Page]) -> None:
        """A question is answered."""
        self._check_wait(host, copy, host.process.time())
        if not any(map(_RIGHT[type(copy.request)](self, copy, answer.result), window)):
            self._trouble(
                f"{name_of(type(copy.request))} is answered {answer.result}, which was never durable "
                f"between entries {copy.lower} and {self.durable}"
            )

    def _check_wait(self, host: Host, copy: Copy, until_s: float) -> None:
        """A deed enters the tick, a question is answered, or either is refused as UNAVAILABLE, soon after it was asked for.

        What entered is answered once it is stored, however long the disk is away: nobody could say whether it was done. Players that
        wait too long ask again by its action_id.
        """
        waited_s = until_s - copy.taken_s
        if waited_s > UNAVAILABLE_S_MAX + SLACK_S and not host.process.disturbed_since(copy.taken_s):
            self._trouble(
                f"{name_of(type(copy.request))} waited for {waited_s:.2f} s and was not told UNAVAILABLE"
            )

    def _acknowledged(self, deed: Deed, answer: Ok) -> None:
        deed.granted = True
        if answer.seq > self.durable:
            self._trouble(f"entry {answer.seq} is acknowledged, and {self.durable} is the last one stored")
            return
        record = self.fold.records[answer.seq - 1]
        if not (_is_of(deed, record) and deed.request.action_id.hex() == record.action):
            self._trouble(
                f"a {name_of(type(deed.request))} is acknowledged as entry {answer.seq}, which is another"
            )
        elif answer.result != record.result:
            self._trouble(f"entry {answer.seq} is answered {answer.result}, and holds {record.result!r}")

    def _refused(self, host: Host, copy: Copy, answer: Refused, window: list[Page]) -> None:
        if answer.code == RefusalCode.UNAVAILABLE or copy.deed is None:
            self._check_wait(host, copy, host.process.time())
        if answer.code != RefusalCode.UNAVAILABLE and not any(
            _justified(copy.request, copy.player_id, page, answer) for page in window
        ):
            self._trouble(
                f"{name_of(type(copy.request))} is refused ({answer.message}), which was never durable "
                f"between entries {copy.lower} and {self.durable}"
            )

    def news(self, message: Any, to: Iterable[int]) -> None:
        """A server tells somebody of land or money."""
        if not self._is_durable(message, to):
            self._trouble(f"{message} is told, which was never durable up to entry {self.durable}")

    def built(self, host: Host, edits: ChunkEdits) -> Shown | None:
        """A server tells those in sight what was built."""
        surfaces, place = self._surfaces.get(host.number), (edits.cx, edits.cy)
        if surfaces is None:
            return None  # its world was not the newest when it began
        version, kinds = surfaces.get(place, (VERSION_BARE, {}))
        if edits.from_version != version:
            self._trouble(f"edits of {place} are told from version {edits.from_version}, not {version}")
        surfaces[place] = edits.version, {**kinds, **dict(unpack(edits.edits, CHUNK_EDIT).tolist())}
        self._untold.get(host.number, set()).discard((host.epoch, place, edits.version, edits.edits))
        return self._shown(host, place, brought=False)

    def brought(self, host: Host, place: Place) -> Shown | None:
        """A server brings a client's chunk up to date."""
        return self._shown(host, place, brought=True)

    def _shown(self, host: Host, place: Place, brought: bool) -> Shown | None:
        surfaces = self._surfaces.get(host.number)
        if surfaces is None:
            return None
        version, kinds = surfaces.get(place, (VERSION_BARE, {}))
        return Shown(place, version, standing(kinds), brought)

    def knows(self, player: Player, shown: Shown) -> None:
        """A client has heard it."""
        held = player.built.chunks.get(shown.place)
        if held is None or held.version != shown.version:
            if shown.brought:
                self._trouble(
                    f"{player.name} is brought to another version of {shown.place}: {held}, {shown}"
                )
        elif held.kinds != shown.kinds:
            self._trouble(
                f"{player.name} takes {held.kinds} for built in {shown.place}, version {shown.version}, not {shown.kinds}"
            )

    def _is_durable(self, message: Any, to: Iterable[int]) -> bool:
        match message:
            case LandClaimed(parcel) | LandChanged(parcel):
                return _facts(parcel) in self._owned
            case LandFreed(parcel_id):
                return parcel_id in self._ended
            case ListingOpened(listing) | ListingChanged(listing):
                return _facts(listing) in self._listed
            case ListingEnded(sale_id, end=end, buyer_id=buyer_id) | AuctionEnded(
                sale_id, end=end, winner_id=buyer_id
            ):
                return (sale_id, end, buyer_id) in self._over
            case AuctionOpened(auction):
                return _facts(auction) in self._listed
            case AuctionBid() | AuctionExtended():
                return _facts(message) in self._listed
            case LeaseEnded(parcel_id) | UpkeepMissed(parcel_id):
                return (type(message), parcel_id) in self._settled
            case WalletChanged(balance, held, seq):
                return seq <= self.durable and all(
                    _wallet(self.fold.pages[seq], one) == (balance, held) for one in to
                )
            case EntryDenied(parcel_id, _, text):
                return any(_denies(page, parcel_id, text) for page in self.fold.pages)
        return True

    # --- in memory ---

    def led(self, host: Host, entries: list[Entry]) -> None:
        """A server did something: how far its memory is ahead of the disk."""
        now_s, durable = host.process.time(), self.durable
        ahead = self._ahead.setdefault(host.number, {})
        for seq in [one for one in ahead if one <= durable]:
            del ahead[seq]
        waits_s = now_s - min((written_s for written_s, _ in ahead.values()), default=now_s)
        if waits_s > JOURNAL_AGE_S + SLACK_S and not host.process.disturbed_since(now_s - waits_s):
            self._trouble(f"{host.process.name} writes on while an entry waits for {waits_s:.2f} s")
        for entry in entries:
            runs = host.state.tick - self._began.get(host.number, 0)
            if entry.kind == AUCTION_ENDED and runs < OUTAGE_TICKS:
                self._trouble(f"{host.process.name} ends an auction {runs} ticks after its start")
            ahead[entry.seq] = now_s, len(entry.record)
            self._entered_s[host.number, entry.seq] = now_s
            edits = {
                (host.epoch, (change.cx, change.cy), change.version, change.edits)
                for change in entry.changes
                if isinstance(change, Built)
            }
            self._edits |= edits
            unsaid = self._unsaid.setdefault(host.number, {})
            for change in entry.changes:
                if isinstance(change, Sale):
                    unsaid |= {news: (entry.seq, set(entry.sold)) for news in news_of(entry, change)}
            self._untold.setdefault(host.number, set()).update(edits)
        if host.epoch != self._disk.tables.epoch:
            return  # what it has in memory will never count
        count, size = host.state.seq - durable, sum(size for _, size in ahead.values())
        if count > self._limits.entries_max or size > self._limits.bytes_max:
            self._trouble(f"{host.process.name} is {count} entries and {size} bytes ahead of the disk")

    def sold(self, host: Host, message: Any, cells: Iterable[int]) -> None:
        """A server tells those in sight of a sale."""
        news = told_by(message)
        if news is None:
            return
        _, there = self._unsaid.get(host.number, {}).pop(news, (0, set(cells)))
        if there != set(cells):
            self._trouble(f"{message} is told in {set(cells)}, and the land lies in {there}")

    def ticked(self, host: Host, durable_seq: int) -> None:
        """All of a tick's frame is told: its books balance, what was built before is known, and sales that are stored."""
        unsaid = [sale for sale, (seq, _) in self._unsaid.get(host.number, {}).items() if seq <= durable_seq]
        if unsaid:
            self._trouble(f"{host.process.name} tells nobody of sales {unsaid}")
        if host.hub.actions.books.closed:
            self._trouble(f"{host.process.name} closes the market: {host.hub.actions.books.closed}")
        if host.number in self._surfaces and self._untold.get(host.number):
            self._trouble(f"{host.process.name} tells nobody what was built: {self._untold[host.number]}")

    def recovered(self, host: Host) -> None:
        """When a new server has read all, unless another has taken over meanwhile."""
        if host.epoch != self._disk.tables.epoch:
            return
        state = host.state
        self._began[host.number] = state.tick
        page = self.fold.pages[state.seq]
        self._surfaces[host.number] = dict(page.surfaces)
        surfaces = {
            cell_of(key): _surface((one.version, one.edited())) for key, one in state.chunks.surfaces.items()
        }
        plots = {cell_of(plot): parcel_id for plot, parcel_id in state.parcels.by_plot.items()}
        for name, mine, theirs in (
            ("seq", host.journal.durable_seq, state.seq),
            ("digest", page.digest, state.digest),
            ("parcels", page.parcels, state.parcels.by_id),
            ("plots", page.plots, plots),
            ("sales", page.sales, state.sales.by_id),
            ("last parcel_id", page.last_parcel_id, state.parcels.last_id),
            ("balances", page.balances, state.ledger.balances),
            ("holds", page.holds, state.ledger.holds),
            ("surfaces", page.surfaces, surfaces),
        ):
            if mine != theirs:
                self._trouble(
                    f"{host.process.name} begins with other {name} than the journal has: {theirs!r}, not {mine!r}"
                )
        if state.tick <= page.tick:
            self._trouble(
                f"{host.process.name} begins with tick {state.tick}, and the last entry is of {page.tick}"
            )

    # --- at the end ---

    def ended(self, deeds: Iterable[Deed]) -> None:
        """Nothing happens any more."""
        tables, page = self._disk.tables, self.fold.pages[-1]
        for trouble in self._disk.refused:
            self._trouble(f"the database refuses: {trouble}")
        for name, mine, theirs in (
            ("last_seq", page.seq, tables.last_seq),
            ("last_digest", page.digest, tables.last_digest),
            ("last_parcel_id", page.last_parcel_id, tables.last_parcel_id),
            ("accounts", page.balances, tables.accounts),
            ("holds", page.holds, tables.holds),
            ("parcels", {one: parcel_row(parcel) for one, parcel in page.parcels.items()}, tables.parcels),
            ("sales", {one: sale_row(sale) for one, sale in page.sales.items()}, tables.sales),
            ("surfaces", page.surfaces, {key: _surface(one) for key, one in tables.surfaces.items()}),
            ("answers", self._done, {one: row.seq for one, row in tables.answers.items()}),
        ):
            if mine != theirs:
                self._trouble(f"the disk has other {name} than its journal: {theirs!r}, not {mine!r}")
        if sum(page.balances.values()):
            self._trouble(f"all balances together are {sum(page.balances.values())}")
        for deed in deeds:
            self._check_end(deed)

    def _check_end(self, deed: Deed) -> None:
        seq = self._done.get(deed.request.action_id)
        done = seq is not None and _is_of(deed, self.fold.records[seq - 1])
        what = f"{deed.player.name}'s {name_of(type(deed.request))}"
        if not deed.over:
            self._trouble(f"{what} was never answered")
        elif deed.first is not None and not done:
            self._trouble(f"{what} was acknowledged as entry {deed.first.seq}, and is lost")
        elif done and not (deed.granted or deed.unheard):
            self._trouble(f"{what} was refused each time, and is done as entry {seq}")

    # --- whether an answer was right at some durable moment: each gives a check of one page ---

    def _land_at(self, copy: Copy, result: Any) -> Callable[[Page], bool]:
        def right(page: Page) -> bool:
            parcel = page.at(copy.request.x, copy.request.y)
            seen = None if parcel is None else _as_seen(parcel, page, copy.player_id)
            return seen == (_facts(result) if result else None)

        return right

    def _land_mine(self, copy: Copy, result: Any) -> Callable[[Page], bool]:
        told = [_facts(one) for one in result["parcels"]]

        def right(page: Page) -> bool:
            parcels = (page.parcels[one] for one in sorted(page.parcels))
            return told == [
                _as_seen(one, page, copy.player_id)
                for one in parcels
                if copy.player_id in (one.owner_id, one.holder_id, one.given_to)
            ]

        return right

    def _wallet(self, copy: Copy, result: Any) -> Callable[[Page], bool]:
        told = result["balance"], result["held"]
        return lambda page: _wallet(page, copy.player_id) == told

    def _statement(self, copy: Copy, result: Any) -> Callable[[Page], bool]:
        told = [(one["seq"], one["amount"], one["balance"]) for one in result["postings"]]
        postings = self.fold.postings.get(copy.player_id, [])

        def right(page: Page) -> bool:
            mine = [one for one in reversed(postings) if one[0] <= page.seq]
            return told == mine or (len(mine) > POSTINGS_PAGE and told == mine[: len(told)])

        return right

    def _quote(self, copy: Copy, _: Any) -> Callable[[Page], bool]:
        request = copy.request
        return lambda page: not any(plot in page.plots for plot in _plots(request))

    def _receipt(self, copy: Copy, result: Any) -> Callable[[Page], bool]:
        try:
            entry = verify(result["receipt"], NOTARY.public_key)
        except BadReceipt:
            return lambda _: False
        return lambda page: page.seq >= copy.request.seq == entry["seq"]


_RIGHT: dict[type, Callable[[Oracle, Copy, Any], Callable[[Page], bool]]] = {
    LandAt: Oracle._land_at,
    LandMine: Oracle._land_mine,
    Wallet: Oracle._wallet,
    WalletStatement: Oracle._statement,
    LandQuote: Oracle._quote,
    ReceiptGet: Oracle._receipt,
}
_TILE = re.compile(r"Tile \((-?\d+), (-?\d+)\)")
_TOLD_OF = {LEASE_ENDED: LeaseEnded, LAND_FORFEITED: LeaseEnded, UPKEEP_MISSED: UpkeepMissed}
_RULES = State(RULES)  # an empty world: what is told of a parcel depends on its rules


def _as_seen(parcel: Parcel, page: Page | None = None, player_id: int | None = None) -> bytes:
    """What others are told of a parcel; who asks is told of its sale, too, as it is on a page."""
    told = seen(_RULES, parcel)
    sale = None if page is None else page.sale_of(parcel.parcel_id)
    if isinstance(sale, Listing):
        told = msgspec.structs.replace(told, listing=listed(_RULES, sale))
    elif isinstance(sale, Auction):
        told = msgspec.structs.replace(told, auction=auction_as_seen(sale, player_id))
    return _facts(told)


def _facts(told_of: Any) -> bytes:
    """The same of what was told: whose standing it names does not matter."""
    whole = isinstance(told_of, msgspec.Struct)
    fields = msgspec.to_builtins(msgspec.structs.asdict(told_of) if whole else told_of)
    told = {name: value for name, value in fields.items() if value is not None and name != "standing"}
    return msgspec.json.encode(told, order="sorted")


def _surface(stored: tuple[int, bytes]) -> tuple[int, dict[int, int]]:
    return stored[0], dict(unpack(stored[1], CHUNK_EDIT).tolist())


def _is_of(deed: Deed, record: Any) -> bool:
    """Whether an entry is what a deed asks for."""
    return bool(
        record.kind == name_of(type(deed.request))
        and record.player_id == deed.player.player_id
        and record.asked == content_of(deed.request).hex()
    )


def _plots(request: Any) -> Iterator[tuple[int, int]]:
    for x in range(request.x, request.x + request.width, PLOT_TILES):
        for y in range(request.y, request.y + request.height, PLOT_TILES):
            yield x // PLOT_TILES, y // PLOT_TILES


def _justified(request: Any, player_id: int, page: Page, answer: Refused) -> bool:
    """Whether what a refusal says of land or money is so on a page; what it says of anything else is not judged."""
    sale = page.sales.get(getattr(request, "listing_id", getattr(request, "auction_id", 0)))
    text = answer.message
    of_the_sale = is_refused_rightly(request, player_id, sale, answer)
    if of_the_sale is not None:
        return of_the_sale
    parcel = page.parcels.get(sale.parcel_id if sale else getattr(request, "parcel_id", 0))
    match answer.code:
        case RefusalCode.TAKEN if "lies there" in text:
            return any(plot in page.plots for plot in _plots(request))
        case RefusalCode.INSUFFICIENT_FUNDS:
            return f"there are {in_words(page.balances.get(player_id, GRANT))} in" in text
        case RefusalCode.CHANGED:
            return parcel is not None and _offered(request, parcel, player_id) in text
        case RefusalCode.NOT_FOUND if "no such parcel" in text:
            return parcel is None or page.parcels.get(getattr(request, "other_id", parcel.parcel_id)) is None
        case RefusalCode.NOT_OWNER if (tile := _TILE.match(text)) is not None:
            return _explains(page.at(float(tile[1]), float(tile[2])), text)
        case RefusalCode.NOT_OWNER:
            others = (parcel, page.parcels.get(getattr(request, "other_id", 0)))
            return any(
                one is not None and (one.owner_name in text or one.holder_name in text) for one in others
            )
    return True


def _wallet(page: Page, account: int) -> tuple[int, int]:
    """What is there, and what is set aside of it."""
    return page.balances.get(account, GRANT), sum(
        hold.amount for hold in page.holds.values() if hold.account == account
    )


def _denies(page: Page, parcel_id: int, text: str) -> bool:
    parcel = page.parcels.get(parcel_id)
    return parcel is not None and not parcel.open_enter and (parcel.name or parcel.owner_name) in text


def _explains(parcel: Parcel | None, text: str) -> bool:
    return (
        "nobody's land" in text if parcel is None else parcel.holder_name in text or parcel.owner_name in text
    )


def _offered(request: Any, parcel: Parcel, player_id: int) -> str:
    """What must stand in a refusal with CHANGED."""
    match request:
        case LandTake():
            return "is" if parcel.given_to == player_id else "not given to you"
        case LandRent():
            return "not to let" if parcel.to_let is None else in_words(parcel.to_let.rent)
    return "Nobody rents" if parcel.lease is None else "is not"
