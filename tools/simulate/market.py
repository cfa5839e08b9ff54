"""What an entry of the journal may do to sales, said once more by somebody else: nothing here is shared with the rules of the market.

`doubts` says in words what in an entry cannot be. Amounts of bids are not in the journal, so of a bid it can only be said which ways of
standing may follow which.
"""

from collections import Counter
from collections.abc import Iterator, Sequence

from protocol.messages import SaleEnd
from tools.simulate.host import RULES
from tools.simulate.page import Page
from world.bidding import Standing
from world.entries import NOBODY, Record
from world.ledger import ESCROW, HOUSE, TREASURY, Post
from world.parcels import Freed, Parcel
from world.sales import Auction, FeeTerms, Listing, Sale

OF_LISTINGS = ("listing_id", "parcel_id", "seller_id", "fee_terms")  # what nothing changes
OF_AUCTIONS = (
    "auction_id",
    "parcel_id",
    "seller_id",
    "keep_permits",
    "fee_terms",
    "inspected",
    "shows_reserve",
)
OF_TERMS = ("start_price", "step_min", "step_basis_points", "reserve", "buy_now", "snipe_ticks")


def sales_after(before: Page, record: Record) -> dict[int, Sale]:
    """The sales that are open after an entry."""
    sales = dict(before.sales)
    for change in record.changes:
        if isinstance(change, Sale):
            sales.pop(change.sale_id, None)
            if change.end is None:
                sales[change.sale_id] = change
    return sales


def doubts(pages: Sequence[Page], page: Page, record: Record) -> Iterator[str]:
    """What cannot be in an entry that makes `page` of the last of `pages`."""
    before = pages[-1]
    for change in record.changes:
        if not isinstance(change, Sale):
            continue
        old = before.sales.get(change.sale_id)
        if old is None:
            if change.end is not None or change.sale_id != record.seq:
                yield f"sale {change.sale_id} was over, or none"
            continue
        if type(old) is not type(change):
            yield f"sale {old.sale_id} is of another kind now"
        elif isinstance(old, Listing) and isinstance(change, Listing):
            yield from _listing(pages, record, old, change)
        elif isinstance(old, Auction) and isinstance(change, Auction):
            yield from _auction(pages, record, old, change)
    yield from _founded(before, page)


def _founded(before: Page, page: Page) -> Iterator[str]:
    """What is for sale is its seller's and stays as it is; what is bid is set aside."""
    sold = Counter(one.parcel_id for one in page.sales.values())
    yield from (f"parcel {parcel_id} is in two sales" for parcel_id, count in sold.items() if count > 1)
    for sale_id, one in page.sales.items():
        parcel, was = page.parcels.get(one.parcel_id), before.parcels.get(one.parcel_id)
        if parcel is None or parcel.owner_id != one.seller_id:
            yield f"sale {sale_id} is of what its seller has not"
        elif was is not None and sale_id in before.sales:
            as_it_was = (parcel.rectangle, parcel.way) == (was.rectangle, was.way)
            if not as_it_was or parcel.to_let or parcel.lease or parcel.given_to:
                yield f"parcel {one.parcel_id} is changed though it is for sale"
        if isinstance(one, Auction) and one.standing.has_bids:
            hold = page.holds.get(one.hold_id)
            if hold is None or (hold.account, hold.amount) != (one.standing.leader_id, one.standing.maximum):
                yield f"auction {sale_id} is led by who set {hold} aside"


# --- listings ---


def _listing(pages: Sequence[Page], record: Record, old: Listing, new: Listing) -> Iterator[str]:
    if not _same(old, new, OF_LISTINGS):
        yield f"sale {old.listing_id} is another sale now"
    match new.end:
        case SaleEnd.EXPIRED if old.ends is None or old.ends > record.tick:
            yield "a sale ended before its time"
        case SaleEnd.CANCELLED if record.player_id != old.seller_id:
            yield "somebody else takes a sale back"
        case SaleEnd.FORFEITED if _freed(record) != [old.parcel_id]:
            yield "a sale is forfeited, and its land is not"
        case SaleEnd.SOLD:
            yield from _bought(pages, record, old, new)


def _bought(pages: Sequence[Page], record: Record, old: Listing, new: Listing) -> Iterator[str]:
    """What it was offered for is what is paid, and what was offered is what is had."""
    before, fee = pages[-1], _fee(old.fee_terms, old.price)
    if new.buyer_id != record.player_id:
        yield "who buys is not who is said to have bought"
    if old.ends is not None and record.tick >= old.ends:
        yield "what was over is sold"
    if before.parcels[old.parcel_id].arrears > old.inspected.arrears:
        yield "more is owed for what is sold than was told"
    moved = {record.player_id: -old.price, old.seller_id: old.price - fee, HOUSE: fee}
    yield from _paid(before, record, moved if old.price else {})
    yield from _had(before, pages[old.since], record, old, record.player_id)


# --- auctions ---


def _auction(pages: Sequence[Page], record: Record, old: Auction, new: Auction) -> Iterator[str]:
    if not _same(old, new, OF_AUCTIONS) or not _same(old.terms, new.terms, OF_TERMS):
        yield f"auction {old.auction_id} is another auction now"
    if new.terms.latest != old.terms.latest and record.player_id != NOBODY:
        yield "somebody moves how late an auction may end"
    if (new.extended == record.seq) != (new.ends != old.ends):
        yield f"the end of auction {old.auction_id} is said to be moved by entry {new.extended}"
    if new.end is not None:
        yield from _auction_over(pages, record, old, new)
    elif record.player_id == NOBODY:
        if new.ends <= max(old.ends, record.tick) or not new.standing.looks_like(_ending(old, new.ends)):
            yield f"an auction goes on as {new.standing}, from {old.standing}"
    elif record.player_id == old.seller_id or record.tick >= old.ends:
        yield "its seller bids, or somebody does when it is over"
    else:
        yield from _bid(pages[-1], record, old, new)
        yield from _moved(record, old, new)


def _bid(before: Page, record: Record, old: Auction, new: Auction) -> Iterator[str]:
    was, now, bidder = old.standing, new.standing, record.player_id
    lowest = was.price + 1 if was.has_bids else max(1, old.terms.start_price)
    moved: dict[int, int] = {}
    if bidder == was.leader_id:  # who would pay more, against nobody
        fits = now.leader_id == bidder and now.maximum > was.maximum and now.bids == was.bids
        fits = fits and now.price in (was.price, old.terms.reserve) and now.price >= was.price
        moved = {ESCROW: now.maximum - was.maximum, bidder: was.maximum - now.maximum}
    elif now.leader_id == bidder:
        fits = max(lowest, was.maximum + 1) <= now.price <= now.maximum and now.bids == was.bids + 1
        moved = {ESCROW: now.maximum - was.maximum, bidder: -now.maximum}
        if was.has_bids:
            moved[was.leader_id] = was.maximum
    else:
        fits = (now.leader_id, now.maximum, now.bids) == (was.leader_id, was.maximum, was.bids + 1)
        fits = fits and was.price < now.price <= now.maximum
    hidden = bidder == was.leader_id and now.price == was.price
    if new.since != (old.since if hidden else record.seq):
        yield f"auction {old.auction_id} is said to look otherwise since entry {new.since}"
    if not fits:
        yield f"player {bidder} bids, and after {was} it stands at {now}"
    if old.terms.reserve is not None and now.maximum >= old.terms.reserve > now.price:
        yield f"auction {old.auction_id} stands below a reserve that is reached"
    yield from _paid(before, record, moved)


def _moved(record: Record, old: Auction, new: Auction) -> Iterator[str]:
    """A bid moves the end only if it comes late, and not beyond the latest."""
    hidden = (new.standing.bids, new.standing.price) == (old.standing.bids, old.standing.price)
    late = record.tick >= old.ends - old.terms.snipe_ticks and not hidden
    wanted = max(old.ends, min(record.tick + old.terms.snipe_ticks, old.terms.latest)) if late else old.ends
    if new.ends != wanted:
        yield f"a bid in tick {record.tick} moves the end from {old.ends} to {new.ends}"


def _auction_over(pages: Sequence[Page], record: Record, old: Auction, new: Auction) -> Iterator[str]:
    before, was = pages[-1], old.standing
    back = {ESCROW: -was.maximum, was.leader_id: was.maximum} if was.has_bids else {}
    if new.end is SaleEnd.SOLD:
        yield from _auctioned(pages, record, old, new, back)
        return
    yield from _paid(before, record, back)
    match new.end:
        case SaleEnd.CANCELLED if record.player_id != old.seller_id or was.has_bids:
            yield "somebody else takes an auction back, or one with bids"
        case SaleEnd.FORFEITED if _freed(record) != [old.parcel_id]:
            yield "an auction is forfeited, and its land is not"
        case SaleEnd.UNSOLD if record.player_id not in (NOBODY, old.seller_id) or record.tick < old.ends:
            yield "an auction ended before its time"
        case SaleEnd.UNSOLD if was.has_bids and was.price >= (old.terms.reserve or 0):
            if _fee(old.fee_terms, was.price) + _owed(before, old) <= was.price:
                yield f"auction {old.auction_id} was won, and nobody has it"


def _auctioned(
    pages: Sequence[Page], record: Record, old: Auction, new: Auction, back: dict[int, int]
) -> Iterator[str]:
    """The leader has it at its end for the price, or somebody at once; the seller pays what came to be owed."""
    before, was = pages[-1], old.standing
    if record.player_id == NOBODY:
        buyer, price = was.leader_id, was.price
        fits = record.tick >= old.ends and was.has_bids and price >= (old.terms.reserve or 0)
    else:
        buyer, price = record.player_id, old.terms.buy_now or 0
        first = was.maximum < price or (was.leader_id == buyer and was.price < price)
        fits = record.tick < old.ends and first and buyer != old.seller_id
    if not fits or (new.buyer_id, new.standing.price) != (buyer, price):
        yield f"auction {old.auction_id}, which ends in tick {old.ends}, is sold to {new.buyer_id} for {new.standing.price}"
    house = _fee(old.fee_terms, price) + _owed(before, old)
    moved = Counter({HOUSE: house, old.seller_id: price - house})
    moved.update(back)
    moved[buyer] -= price
    yield from _paid(before, record, moved)
    yield from _had(before, pages[old.auction_id], record, old, buyer)
    for parcel in record.changes:
        if isinstance(parcel, Parcel) and parcel.arrears > old.inspected.arrears:
            yield "more is owed for what is won than was told"


def _owed(before: Page, auction: Auction) -> int:
    """What came to be owed since it began."""
    parcel = before.parcels[auction.parcel_id]
    return (
        RULES.land.upkeep_per_plot
        * parcel.pw
        * parcel.ph
        * max(0, parcel.arrears - auction.inspected.arrears)
    )


def _ending(auction: Auction, ends: int) -> Standing:
    """How it stands, but for when it ends."""
    was = auction.standing
    return Standing(ends, was.price, was.leader_id, was.maximum, was.bids)


# --- both ---


def _same(old: object, new: object, names: Sequence[str]) -> bool:
    return all(getattr(old, name) == getattr(new, name) for name in names)


def _freed(record: Record) -> list[int]:
    return [one.parcel_id for one in record.changes if isinstance(one, Freed)]


def _fee(terms: FeeTerms, price: int) -> int:
    return min(price, max(terms.minimum, price * terms.basis_points // 10_000))


def _paid(before: Page, record: Record, moved: dict[int, int]) -> Iterator[str]:
    """The sums that are to be moved, and the grants of those who never had money."""
    came: Counter[int] = Counter()
    for post in record.changes:
        if isinstance(post, Post):
            came[post.account] += post.amount
    new_here = [one for one in moved if one > NOBODY and one not in before.balances]
    granted = -came[TREASURY]
    wanted = Counter(moved)
    wanted.update({one: granted // len(new_here) for one in new_here})
    wanted[TREASURY] -= granted
    if {one: sum_ for one, sum_ in came.items() if sum_} != {
        one: sum_ for one, sum_ in wanted.items() if sum_
    }:
        yield f"it moves {dict(came)}, not {dict(wanted)}"


def _had(before: Page, offered: Page, record: Record, sale: Sale, buyer: int) -> Iterator[str]:
    """The buyer has the land, as it was offered."""
    was = before.parcels[sale.parcel_id]
    changed = [one for one in record.changes if isinstance(one, Parcel)]
    if [(one.parcel_id, one.owner_id) for one in changed] != [(sale.parcel_id, buyer)]:
        yield f"what is sold is {changed}"
    others = tuple(one for one in was.permits if one.player_id != buyer)
    kept = (others, was.open_enter, was.open_build) if sale.keep_permits else ((), True, False)
    for one in changed:
        access = (one.permits, one.open_enter, one.open_build)
        if access != kept:
            yield f"who may do what on land that is sold is {access}"
    if before.kinds_on(sale.parcel_id) != offered.kinds_on(sale.parcel_id):
        yield f"parcel {sale.parcel_id} is sold otherwise than it was offered"
    told = offered.parcels[sale.parcel_id]
    if sale.keep_permits and not _same(told, was, ("permits", "open_enter", "open_build")):
        yield "others may do other things on what is sold than was told"
