"""What the two sides of the server say to each other, besides the tick's frame (frames.py).

The connection side (gate.py) knows sockets, sessions and who sees what; there is one in this process, or one in each gateway process.
The simulation side (hub.py) knows the world and whatever is counted for the whole server. Between them goes plain data only: handed
over as it is within one process, packed with msgspec between two (link.py).

A connection is known by its number, which no other connection of this server ever had.

    up                                              down
    Opened, Forwarded   may they?                   Admitted, Rejected
    SignIn              who is this?                Entering and Charged, or TurnedAway; Replaced to an older connection of theirs
    Saying, Acting, Asking                          Told, or an answer in the tick's frame
    Accounting                                      Told; Known, if they are somebody else now; Expelled, if their session has ended
    Moderating                                      Told; and to whom it is done Known or Expelled
    Wanted              what ground?                Made
    Steering            (no answer but the tick)
    Ending, Closed      they go                     CloseAll, Cut: they all must go
    Warm                                            Begin, some Built, Whole, and from then on every tick's frame: Ticked or Carried
    Listening, Progress, Counted
                                                    Rekeyed: tickets are signed with other keys
"""

from collections import Counter
from typing import Self, Union
from uuid import UUID

import msgspec

from persistence.keyring import Key
from protocol.errors import CloseCode, RefusalCode
from protocol.messages import (
    AccountChangePassword,
    AccountDelete,
    AccountEditProfile,
    AccountExport,
    AccountLogin,
    AccountLogout,
    AccountProfile,
    AccountRefresh,
    AccountRegister,
    AccountResetPassword,
    AccountRevoke,
    AccountSessions,
    AccountVerifyEmail,
    Hello,
    LandAt,
    LandForSale,
    LandIn,
    LandMine,
    LandPermits,
    LandQuote,
    LandToLet,
    ModerationBan,
    ModerationClose,
    ModerationKick,
    ModerationLift,
    ModerationMute,
    ModerationReports,
    PlayerBlock,
    PlayerBlocks,
    PlayerFind,
    PlayerReport,
    PlayerUnblock,
    ReceiptGet,
    Role,
    Wallet,
    WalletStatement,
)
from server.frames import TickFrame
from world.commands import AnyDurable, Say

RESTART_RETRY_MS = 1_000  # when clients shall come back after a restart
HTTP_TOO_MANY, HTTP_NO_ROOM = 429, 503  # of Rejected
TRY_AGAIN = "The server has much to do; try again in a moment."  # either side may have too much waiting

AnyQuestion = Union[  # noqa: UP007 (also read at run time); a test holds it to the questions that there are
    PlayerFind,
    LandAt,
    LandIn,
    LandMine,
    LandForSale,
    LandToLet,
    LandQuote,
    LandPermits,
    Wallet,
    WalletStatement,
    ReceiptGet,
]
AnyAccounting = Union[  # noqa: UP007 (also read at run time); a test holds it to ACCOUNT_MESSAGES
    AccountRegister,
    AccountLogin,
    AccountRefresh,
    AccountLogout,
    AccountChangePassword,
    AccountSessions,
    AccountRevoke,
    AccountProfile,
    AccountEditProfile,
    AccountVerifyEmail,
    AccountResetPassword,
    AccountExport,
    AccountDelete,
]
AnyModeration = Union[  # noqa: UP007 (also read at run time); a test holds it to MODERATION_MESSAGES
    ModerationMute,
    ModerationKick,
    ModerationBan,
    ModerationLift,
    PlayerReport,
    ModerationReports,
    ModerationClose,
    PlayerBlock,
    PlayerUnblock,
    PlayerBlocks,
]
Surfaces = list[tuple[int, int, bytes]]  # chunk, version, packed CHUNK_EDIT records of each edited tile once


class Tally(msgspec.Struct, array_like=True):
    """What a connection side counts, since its start; the last two are of this moment. Keys of the maps are labels of /metrics."""

    connections: int = 0
    resumed: int = 0
    received_bytes: int = 0
    sent_bytes: int = 0
    sent_writes: int = 0
    skipped_snapshots: int = 0
    messages: dict[str, int] = msgspec.field(default_factory=Counter)  # by name
    refused: dict[str, int] = msgspec.field(default_factory=Counter)  # by refusal code
    closed: dict[str, int] = msgspec.field(default_factory=Counter)  # by close code
    rejected: dict[str, int] = msgspec.field(default_factory=Counter)  # handshakes, by HTTP status
    unseemly: int = 0  # lines of talk with a word that is not wanted
    cache_bytes: int = 0
    viewers: dict[str, int] = msgspec.field(default_factory=Counter)  # by step of the ladder

    def add(self, other: Self) -> None:
        """Takes in what another has counted."""
        for name in self.__struct_fields__:
            mine, theirs = getattr(self, name), getattr(other, name)
            if isinstance(mine, dict):
                for label, count in theirs.items():
                    mine[label] = mine.get(label, 0) + count
            else:
                setattr(self, name, mine + theirs)

    def end(self) -> None:
        """The connections are gone: what is of this moment is nothing."""
        self.cache_bytes, self.viewers = 0, {}


class Premises(msgspec.Struct, array_like=True):
    """What a connection side must know to begin."""

    epoch: int
    http_port: int
    ground_id: str
    built_id: str  # another one with each start: what the last one told and did not store is undone
    keys: list[Key]  # for tickets: the ring that signs them


# --- up ----------------------------------------------------------------------------------------------------------------------------


class Up(msgspec.Struct, array_like=True, gc=False):
    """From a connection side."""


class Opened(Up, tag=1):
    """A socket was accepted. Answered Admitted or Rejected."""

    number: int
    address: str


class Forwarded(Up, tag=2):
    """A trusted proxy named the true address. Answered again."""

    number: int
    address: str


class SignIn(Up, tag=3):
    """A hello came."""

    number: int
    hello: Hello


class Steering(Up, tag=4):
    """Intents: packed STEER records, in their order."""

    records: bytearray


class Saying(Up, tag=5):
    """Somebody speaks."""

    say: Say


class Acting(Up, tag=7):
    """Somebody wants something durable done."""

    number: int
    request: AnyDurable


class Wanted(Up, tag=8):
    """The packed ground of a chunk is asked for. Answered Made."""

    key: int


class Ending(Up, tag=9):
    """The connection is being closed: nothing more comes from it, and no answer reaches it."""

    number: int
    spent: dict[str, float]  # Session.spent


class Closed(Up, tag=10):
    """The socket is gone; `for_good` if the client said goodbye itself."""

    number: int
    for_good: bool
    spent: dict[str, float]  # Session.spent


class Warm(Up, tag=11):
    """Ready to be told of the world."""


class Progress(Up, tag=12):
    """The frame of this tick is written to all; that took so large a share of a tick's time."""

    tick: int
    share: float


class Counted(Up, tag=13):
    """The counts of this moment, about once a second."""

    tally: Tally


class Asking(Up, tag=15):
    """Somebody has a question about land, money or players."""

    number: int
    request: AnyQuestion


class Listening(Up, tag=14):
    """It takes connections."""


class Accounting(Up, tag=30):
    """Somebody asks for something of an account, perhaps before the hello."""

    number: int
    request: AnyAccounting


class Moderating(Up, tag=17):
    """Somebody reports or blocks, or a moderator acts."""

    number: int
    request: AnyModeration


# --- down --------------------------------------------------------------------------------------------------------------------------


class Down(msgspec.Struct, array_like=True, gc=False):
    """To a connection side."""


class Admitted(Down, tag=1):
    """There is room for this connection."""

    number: int


class Rejected(Down, tag=2):
    """There is none: the HTTP status that says so."""

    number: int
    status: int


class Entering(Down, tag=3):
    """The hello is accepted: who this is, for tickets too. The tick's frame brings the arrival."""

    number: int
    player_id: int
    key: str
    name: str
    session_id: UUID | None = None


class TurnedAway(Down, tag=4):
    """The hello is refused."""

    number: int
    code: RefusalCode
    message: str
    retry_after_ms: int | None


class Replaced(Down, tag=5):
    """The same player signed in on a newer connection. Answered Ending."""

    number: int


class Rekeyed(Down, tag=14):
    """The ring that signs tickets has changed."""

    keys: list[Key]


class Told(Down, tag=6):
    """A message for one connection, encoded."""

    number: int
    message: bytes


class Made(Down, tag=7):
    """The framed `chunk` message; empty when too much waits to be made."""

    key: int
    framed: bytes


class CloseAll(Down, tag=8):
    """Take no more connections, and close those that are, with tickets."""

    text: str


class Cut(Down, tag=9):
    """Whoever is left goes without a word."""


class Begin(Down, tag=10):
    """The first message to a gateway: its settings as JSON, without secrets, and what else it must know."""

    config: str
    premises: Premises
    first_number: int  # of its connections; the next is one higher


class Charged(Down, tag=20):
    """What an older connection of the same player had spent."""

    number: int
    spent: dict[str, float]


class Built(Down, tag=15):
    """What stands on some chunks, for a connection side that begins anew; a later word about a chunk counts."""

    surfaces: Surfaces


class Whole(Down, tag=11):
    """The world as it is now, for a connection side that knows what is built."""

    tick_frame: TickFrame


class Ticked(Down, tag=12):
    """A tick's frame stands in the ring."""

    position: int
    size: int


class Carried(Down, tag=13):
    """A tick's frame that is too large for the ring."""

    tick_frame: TickFrame


class Known(Down, tag=30):
    """Whoever plays this connection has another name or role from now on, or is signed in by another session."""

    number: int
    key: str
    name: str
    role: Role
    session_id: UUID | None


class Expelled(Down, tag=31):
    """This connection is to be closed, with a word. Answered Ending."""

    number: int
    code: CloseCode
    text: str
    retry_after_ms: int | None = None  # None: it shall not come back by itself


AnyUp = Union[  # noqa: UP007 (also read at run time)
    Opened,
    Forwarded,
    SignIn,
    Steering,
    Saying,
    Acting,
    Asking,
    Wanted,
    Ending,
    Closed,
    Warm,
    Progress,
    Counted,
    Listening,
    Accounting,
    Moderating,
]
AnyDown = Union[  # noqa: UP007
    Admitted,
    Built,
    Rejected,
    Entering,
    Charged,
    TurnedAway,
    Replaced,
    Rekeyed,
    Told,
    Made,
    CloseAll,
    Cut,
    Begin,
    Whole,
    Ticked,
    Carried,
    Known,
    Expelled,
]
