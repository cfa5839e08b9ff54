"""What is built is stored before it is done: tile edits wait here for the database, and come to the world as commands.

One bounded queue, one task, one transaction for each action, so the database and the world see all edits in one order.

    stored now               an `EditTiles` command; `ok` goes out with the tick that applies it
    stored before            the first answer, and nothing is done again
    another action's id      refused, BAD_REQUEST
    not stored               refused, UNAVAILABLE: nothing was done
    nobody knows             the same is sent until the database says what became of it; the client waits for it

While one action waits too long (OVERDUE_S), those behind it are refused, and so is whoever comes: nobody hangs on a database that is
away. An action that was stored and not yet applied when the process was killed is among what the next start reads from the tables.
"""

import asyncio
import contextlib
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
import structlog

from persistence.store import (
    ActionMismatch,
    CommitUnknown,
    Fenced,
    Store,
    StoreError,
    StoreUnavailable,
    TileAction,
)
from protocol.edits import CHUNK_EDIT, unpack
from protocol.errors import Refusal, RefusalCode
from protocol.messages import TileEdit, TilesEdited, name_of
from world import tiles
from world.commands import EditTiles, Inbox
from world.grid import unpack as unpack_key

OVERDUE_S = 1.5  # longer than this and the database counts as away
RETRY_S = 0.5
RETRY_AFTER_MS = 2_000

log = structlog.get_logger()

Answer = Callable[[Any], None]  # a result of an earlier time, or a Refusal


@dataclass(frozen=True, slots=True)
class Waiting:
    """An action on its way to the database."""

    command: EditTiles
    action: TileAction
    answer: Answer


class Builder:
    """Stores edits, then hands them to the world. `tick` tells the world's tick. All methods are for the loop's thread."""

    def __init__(
        self, store: Store, inbox: Inbox, epoch: int, tick: Callable[[], int], queue_max: int
    ) -> None:
        self.tiles_total = 0  # tiles built on since the start
        self.repeated_total = 0  # actions that were stored before
        self._store = store
        self._inbox = inbox
        self._epoch = epoch
        self._tick = tick
        self._queue: asyncio.Queue[Waiting] = asyncio.Queue(queue_max)
        self._overdue = False
        self._task: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> int:
        """Actions that wait for the database."""
        return self._queue.qsize()

    def start(self) -> asyncio.Task[None]:
        """Begins to serve the queue; returns the work, to be supervised."""
        self._task = asyncio.create_task(self._serve(), name="builder")
        return self._task

    async def stop(self) -> None:
        """Ends. What waits is not done; what is just being stored is done by the next start, if it came to that."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    def edit(self, player_id: int, session: int, request: TileEdit, answer: Answer) -> None:
        """Stores and does it, or answers why not; `session` as in EditTiles. Raises Refusal for what can be said at once."""
        try:
            edits = _edits(request.edits)
        except ValueError as error:
            raise Refusal(RefusalCode.BAD_REQUEST, str(error)) from None
        digest = hashlib.blake2b(name_of(TileEdit).encode() + request.edits, digest_size=16).digest()
        result = msgspec.json.encode(TilesEdited(len(edits))).decode()
        action = TileAction(request.action_id, digest, player_id, self._tick(), edits, result)
        if self._overdue or self._queue.full():
            raise _unavailable()
        self._queue.put_nowait(
            Waiting(EditTiles(player_id, request.request_id, request.edits, session), action, answer)
        )

    async def _serve(self) -> None:
        while True:
            waiting = await self._queue.get()
            storing = asyncio.ensure_future(self._store_until_known(waiting))
            try:
                await asyncio.wait({storing}, timeout=OVERDUE_S)
                if not storing.done():
                    self._turn_away()
                self._settle(waiting, await storing)
            finally:
                storing.cancel()
                self._overdue = False

    async def _store_until_known(self, waiting: Waiting) -> str | StoreError | None:
        """None when this action is stored now, the first answer when it was before, or why it is not."""
        unknown = False
        while True:
            try:
                first = await self._store.edit_tiles(self._epoch, waiting.action)
            except CommitUnknown as error:
                unknown = True
                log.warning("commit_unknown", action_id=waiting.action.action_id.hex(), error=str(error))
            except StoreUnavailable as error:
                if not unknown:
                    return error
            except StoreError as error:
                return error
            else:
                # A COMMIT comes only after nothing was found: what is found after one that may have worked is its own.
                return None if unknown else first
            self._turn_away()
            await asyncio.sleep(RETRY_S)

    def _turn_away(self) -> None:
        """The database is away: those who wait behind are told so, and those who come now."""
        self._overdue = True
        while not self._queue.empty():
            self._queue.get_nowait().answer(_unavailable())

    def _settle(self, waiting: Waiting, outcome: str | StoreError | None) -> None:
        match outcome:
            case None:
                self._inbox.put_always([waiting.command])
                self.tiles_total += len(waiting.action.edits)
            case str():
                self.repeated_total += 1
                waiting.answer(msgspec.json.decode(outcome))
            case ActionMismatch():
                advice = "This action_id was used for another action; make a new one for each."
                waiting.answer(Refusal(RefusalCode.BAD_REQUEST, advice))
            case StoreUnavailable() | Fenced():  # the flusher hears of a lost place too, and stops the server
                waiting.answer(_unavailable())
            case _:
                log.error("edit_not_stored", error=str(outcome))
                advice = "The database refused this; nothing was built. Tell whoever runs the server."
                waiting.answer(Refusal(RefusalCode.UNAVAILABLE, advice))


def _edits(edits: bytes) -> list[tuple[int, int, int, int]]:
    """A client's records as (cx, cy, tile, kind), chunk by chunk. Raises ValueError."""
    return [
        (*unpack_key(key), tile, kind)
        for key, packed in tiles.by_chunk(tiles.check(edits)).items()
        for tile, kind in unpack(packed, CHUNK_EDIT).tolist()
    ]


def _unavailable() -> Refusal:
    return Refusal(
        RefusalCode.UNAVAILABLE,
        "The database does not answer, so nothing was built; try again in a moment.",
        RETRY_AFTER_MS,
    )
