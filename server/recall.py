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
    last_id = await _recall_books(store, enter, progress)
    enter([RecallParcels([], last_id)])
    async for page in store.parcels(lambda read: progress(f"reading land: {read:,} parcels")):
        enter([RecallParcels(page, last_id)])


async def _recall_books(store: Store, enter: Enter, progress: Progress) -> int:
    """All that the store gave out is let go of at the end; returns the last parcel_id there was."""
    progress("reading money")
    books = await store.books()
    enter([RecallBooks(books.seq, books.digest, books.balances, books.holds)])
    return books.last_parcel_id
