"""What a start reads back: what was built, money and land, from the store into the world, as commands of ticks before the first.

A page that was read enters the world before the next is asked for: a large world is never in memory twice, and once all are in it,
players can come.
"""

from collections.abc import Callable

from persistence.store import Store
from server.seam import Surfaces
from world.commands import AnyCommand, RecallBooks, RecallParcels, RecallTiles
from world.grid import pack

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
    """Journal, money and land."""
    progress("reading land and money")
    books = await store.books()
    enter([RecallBooks(books.seq, books.digest, books.balances, books.holds)])
    pages = store.parcels(lambda read: progress(f"reading land: {read:,} parcels"))
    enter([RecallParcels([], books.last_parcel_id)])
    async for page in pages:
        enter([RecallParcels(page, books.last_parcel_id)])
