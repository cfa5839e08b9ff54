"""What may happen to the world: the only things that change it.

Commands are plain data. They wait in the inbox, are applied by the tick in the order they came, and can be written down and played
again (`landworld replay`): the same state and the same commands give the same state. Whatever had to be waited for outside, a
database row, a piece of ground, a place to appear, comes in as a command.
"""

from collections.abc import Iterable
from struct import Struct
from typing import Union

import msgspec
import numpy as np

from protocol.messages import (
    ChatChannel,
    LandAbandon,
    LandClaim,
    LandDescribe,
    LandEase,
    LandLeave,
    LandLet,
    LandMerge,
    LandOpen,
    LandPermit,
    LandRent,
    LandSplit,
    LandTake,
    LandTransfer,
    MarketAuction,
    MarketBid,
    MarketBuy,
    MarketCancel,
    MarketEdit,
    MarketList,
    Role,
    TileEdit,
    TileUndo,
)
from world.ledger import Hold
from world.parcels import Parcel
from world.sales import Sale

STEER = np.dtype([("player_id", "<u4"), ("seq", "<u4"), ("dx", "<f8"), ("dy", "<f8")])
INTENT = Struct("<IIdd")  # one STEER
assert INTENT.size == STEER.itemsize


AnyDurable = Union[  # noqa: UP007 (also read at run time); a test holds it to protocol's DURABLE_MESSAGES
    TileEdit,
    TileUndo,
    LandClaim,
    LandDescribe,
    LandOpen,
    LandPermit,
    LandTransfer,
    LandSplit,
    LandMerge,
    LandAbandon,
    LandTake,
    MarketList,
    MarketEdit,
    MarketCancel,
    MarketBuy,
    MarketAuction,
    MarketBid,
    LandLet,
    LandRent,
    LandLeave,
    LandEase,
]


class Command(msgspec.Struct, array_like=True, gc=False):
    """One change of the world."""


class Join(Command, tag=1):
    """A player enters at (x, y) tiles, or, if still standing here after a lost line, is taken up again where they stand.

    `blocked` are those whom they do not hear.
    """

    player_id: int
    name: str
    role: Role
    look: int
    x: float
    y: float
    blocked: list[int] = []


class Leave(Command, tag=2):
    """A player goes for good."""

    player_id: int


class Detach(Command, tag=3):
    """A player's line was lost: they stand still and leave after `resume_ticks`, unless they join before."""

    player_id: int


class Steers(Command, tag=4):
    """Players' new intents, packed STEER records in the order they came; each `seq` may come back in the tick's acknowledgements."""

    records: bytes


class Say(Command, tag=5):
    """A player says something; `to` names the listener of a direct line. `session` is the connection that is to be answered."""

    player_id: int
    request_id: int
    channel: ChatChannel
    text: str
    to: int | None
    session: int = 0


class LoadChunk(Command, tag=6):
    """The ground of a chunk is known from now on: 1,024 bytes of walking speed in percent, row by row."""

    cx: int
    cy: int
    walk: bytes


class UnloadChunk(Command, tag=7):
    """The ground of a chunk may be forgotten, unless somebody stands in it or beside it."""

    cx: int
    cy: int


class Line(msgspec.Struct, array_like=True, gc=False):
    """One chat line as it is kept: where it was said (tiles) and when (tick)."""

    channel: ChatChannel
    sender_id: int
    sender_name: str
    text: str
    tick: int
    x: float
    y: float
    to: int | None


class Recall(Command, tag=8):
    """Chat lines of before the start, oldest first."""

    lines: list[Line]


class Act(Command, tag=9):
    """A player asks for something durable. What the rule needs and cannot know was looked up before: `other_name` of whom the request
    names (None: nobody), `dry_plots` of the land it names. `content` is a digest of the request but for its ids.
    """

    player_id: int
    name: str
    role: Role
    session: int
    request: AnyDurable
    content: bytes
    other_name: str | None = None
    dry_plots: int = 0

    @property
    def action_id(self) -> bytes:
        """What makes it happen once."""
        return self.request.action_id


class RecallTiles(Command, tag=10):
    """What was built before the start: (cx, cy, version, packed CHUNK_EDIT records of each edited tile once, by tile)."""

    surfaces: list[tuple[int, int, int, bytes]]


class RecallBooks(Command, tag=11):
    """The journal's end and the ledger, as they were stored: seq and digest of the last entry, balances by account."""

    seq: int
    digest: bytes
    balances: list[tuple[int, int]]
    holds: list[Hold]


class RecallParcels(Command, tag=12):
    """Parcels as they were stored; `last_id` is the highest that was ever given."""

    parcels: list[Parcel]
    last_id: int


class Settle(Command, tag=13):
    """What is due by itself is done, at most `entries_max` entries, all of what is to be done first (settlement.py)."""

    entries_max: int


class Become(Command, tag=14):
    """A player has this name, role and look from now on, here or not; land that names them has the name, too."""

    player_id: int
    name: str
    role: Role
    look: int


class Depart(Command, tag=15):
    """A player's account was deleted: they are gone for good, nothing they said is told any more, and `name` is left of theirs."""

    player_id: int
    name: str


class SetBlocked(Command, tag=16):
    """A player hears all but these from now on; nothing happens if they are not here."""

    player_id: int
    blocked: list[int]


class RecallSales(Command, tag=17):
    """Open sales as they were stored; their parcels came before."""

    sales: list[Sale]


class Reopen(Command, tag=18):
    """Durable actions are taken again, after the database was away. A start is known by what it recalls."""


AnyCommand = Union[  # noqa: UP007 (also read at run time)
    Join,
    Leave,
    Detach,
    Steers,
    Say,
    LoadChunk,
    UnloadChunk,
    Recall,
    RecallTiles,
    RecallBooks,
    RecallParcels,
    Become,
    Depart,
    SetBlocked,
    RecallSales,
]
AnyAct = Union[Act, Settle, Reopen]  # noqa: UP007 (also read at run time)


def steer(player_id: int, seq: int, dx: float, dy: float) -> Steers:
    """One player's intent as a command."""
    return Steers(INTENT.pack(player_id, seq, dx, dy))


class Inbox:
    """The bounded queue between what comes in and the tick. `put` is refused at the limit; nothing is ever dropped from it.

    Most of what comes in are intents. Those that come one after another are packed into one `Steers`, which the tick reads as an array.
    """

    def __init__(self, commands_max: int, joins_max: int) -> None:
        self.commands_max = commands_max
        self.joins_max = joins_max  # in one drain
        self._waiting: list[AnyCommand] = []
        self._run = bytearray()  # intents that came after the last of `_waiting`
        self._steers = 0  # of which bytes are closed runs in `_waiting`
        self._joins = 0

    def __len__(self) -> int:
        return len(self._waiting) + (self._steers + len(self._run)) // STEER.itemsize

    def steer(self, player_id: int, seq: int, dx: float, dy: float) -> bool:
        """Queues an intent; False when the inbox is full."""
        if len(self) >= self.commands_max:
            return False
        self._run += INTENT.pack(player_id, seq, dx, dy)
        return True

    def put(self, command: AnyCommand) -> bool:
        """Queues a command for the next tick; False when the inbox is full."""
        if len(self) >= self.commands_max:
            return False
        self._append(command)
        self._joins += type(command) is Join
        if type(command) is Steers:
            self._steers += len(command.records) - STEER.itemsize
        return True

    def _append(self, command: AnyCommand) -> None:
        self._close_run()
        self._waiting.append(command)

    def _close_run(self) -> None:
        if self._run:
            self._steers += len(self._run) - STEER.itemsize  # the command itself counts as one
            self._waiting.append(Steers(bytes(self._run)))
            self._run.clear()

    def put_always(self, commands: Iterable[AnyCommand]) -> None:
        """Queues what must not be refused: leaving and detaching, at most one a player, and what a start recalls."""
        for command in commands:
            self._append(command)

    def drain(self) -> list[AnyCommand]:
        """Takes all that waits, in order; joins over the limit stay, and whatever else their players sent after them."""
        self._close_run()
        self._steers = 0
        waiting, self._waiting = self._waiting, []
        if self._joins <= self.joins_max:
            self._joins = 0
            return waiting
        taken: list[AnyCommand] = []
        joins, late = 0, set[int]()
        for command in waiting:
            player_id = getattr(command, "player_id", 0)  # 0: no player
            joining = type(command) is Join
            if player_id in late or (joining and joins == self.joins_max):
                late.add(player_id)
                self._waiting.append(command)
            else:
                joins += joining
                taken.append(command)
        self._joins -= joins
        return taken
