"""What a start reads back: what was built, money, land and what is for sale, from the store into the world, as commands of ticks before
the first.

A page that was read enters the world before the next is asked for: a large world is never in memory twice, and once all are in it,
players can come.
"""

from collections.abc import Callable

from persistence.store import Store
from server.seam import Surfaces
from world.commands import AnyCommand, RecallBooks, RecallParcels, RecallSales, RecallTiles
from world.grid import pack
from world.parcels import Parcel
from world.sales import Auction, Sale

RECALL_CHUNKS = 10_000  # in one command: at most 30 MB

Progress = Callable[[str], None]
Enter = Callable[[list[AnyCommand]], None]


async def recall_built(store: Store, enter: Enter, progress: Progress) -> Surfaces:
    """What stands; returned for those who answer for chunks."""
    progress("reading what was built")
    surfaces = await store.all_built(lambda read: progress(f"reading what was built: {read:,} chunks"))
    for start in range(0, len(surfaces), RECALL_CHUNKS):
        enter([RecallTiles(surfaces[start : start + RECALL_CHUNKS])])
    return [(pack(cx, cy), newest, edits) for cx, cy, newest, edits in surfaces]


async def recall_land(store: Store, enter: Enter, progress: Progress) -> None:
    """Journal, money, land, and then what of it is for sale."""
    last_id = await _recall_books(store, enter, progress)
    enter([RecallParcels([], last_id)])
    async for page in store.parcels(lambda read: progress(f"reading land: {read:,} parcels")):
        enter([RecallParcels(await _named(store, page), last_id)])
    async for sales in store.sales(lambda read: progress(f"reading what is for sale: {read:,} parcels")):
        enter([RecallSales(await _led(store, sales))])


async def _named(store: Store, parcels: list[Parcel]) -> list[Parcel]:
    """The same with the names that people have now: a parcel is stored with those of its last entry in the journal."""
    people = {one.owner_id for one in parcels}.union(
        *(one.permitted for one in parcels if one.permitted or one.lease)
    )
    people |= {one.lease.tenant_id for one in parcels if one.lease}
    names = await store.player_names(list(people))
    return [parcel if _is_up_to_date(parcel, names) else parcel.named(names) for parcel in parcels]


async def _led(store: Store, sales: list[Sale]) -> list[Sale]:
    """The same with the names that those who lead have now."""
    auctions = [one for one in sales if isinstance(one, Auction) and one.standing.has_bids]
    names = await store.player_names(list({one.standing.leader_id for one in auctions})) if auctions else {}
    return [one.named(names) if isinstance(one, Auction) else one for one in sales]


def _is_up_to_date(parcel: Parcel, names: dict[int, str]) -> bool:
    """Most are, and need not be made anew."""
    alone = not parcel.permits and parcel.lease is None
    return alone and names.get(parcel.owner_id, parcel.owner_name) == parcel.owner_name


async def _recall_books(store: Store, enter: Enter, progress: Progress) -> int:
    """All that the store gave out is let go of at the end; returns the last parcel_id there was."""
    progress("reading money")
    books = await store.books()
    enter([RecallBooks(books.seq, books.digest, books.balances, books.holds)])
    return books.last_parcel_id
