"""Every message that crosses the game socket, once.

A message is one class here. Its code is the tag, its name is the class name in snake_case, its fields travel in the order they
stand, its docstring is its documentation, as a field's `description` is the field's. What a client sends carries a `rule` as
well: in which states of the connection, from which role, and from which rate bucket it is paid. The codec, the session,
PROTOCOL.md, the JSON description and the browser's codec all read this file; nothing about a message is written down a second
time.

On the wire a message is a MessagePack array `[code, field, ...]`; trailing optional fields may be left out; one WebSocket message
carries one or more of them end to end. Positions are tiles, times are milliseconds of world time, ids are whole numbers.

Codes 1 to 63 come from clients, 64 to 127 from the server: one byte each. 23 and 24 were others before, and are not given again.
128 to 191 come from clients, too, and 192 to 255 from the server: two bytes, for what is said seldom.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, ClassVar

import msgspec
from msgspec import Meta

from protocol.edits import EDITS_MAX, TILE_EDIT
from protocol.errors import CloseCode, MeaningInt, RefusalCode

PROTOCOL_VERSION = 1
SUBPROTOCOL = "landworld.v1"

NAME_CHARS_MAX = 24
CHAT_CHARS_MAX = 500  # the most the wire takes; the server's own limit (chat.text_chars_max) may be lower
TOKEN_CHARS_MAX = 2048
WORLD_TILES_MAX = 2**20  # positions lie within +- this many tiles
CHUNKS_MAX = WORLD_TILES_MAX // 32
ACTION_ID_BYTES = 16
PLOT_TILES = 16  # land is owned in plots of 16 x 16 tiles
PARCEL_NAME_CHARS_MAX = 40
DESCRIPTION_CHARS_MAX = 400
MONEY_MAX = 10**15  # poisha; ten trillion BDT
BASIS_POINTS = 10_000  # hundredths of a percent, are the whole
PARCELS_PAGE = 64  # in one answer
POSTINGS_PAGE = 50
LOOK_TILES_MAX = 512  # side of the rectangle that land_in looks at
LEASE_TERM_MS_MAX = 366 * 86_400_000
LISTING_MS_MAX = 366 * 86_400_000
REASON_CHARS_MAX = 200
REPORT_CHARS_MAX = 500
SANCTION_MINUTES_MAX = 100 * 366 * 1_440  # longer is for good
REPORTS_PAGE = 8  # each may carry EVIDENCE_LINES_MAX lines
EVIDENCE_LINES_MAX = 20
PASSWORD_CHARS_MIN = 12
PASSWORD_CHARS_MAX = 128
EMAIL_CHARS_MAX = 254  # RFC 5321 has no room for a longer one
BIO_CHARS_MAX = 400
SESSION_ID_BYTES = 16
SESSIONS_MAX = 32  # of one account; a further login ends the one that was used longest ago
CODE_CHARS_MAX = 32
EXPORT_PART_BYTES_MAX = 48_000

U8 = Annotated[int, Meta(ge=0, le=2**8 - 1)]
U16 = Annotated[int, Meta(ge=0, le=2**16 - 1)]
U32 = Annotated[int, Meta(ge=0, le=2**32 - 1)]
U64 = Annotated[int, Meta(ge=0, le=2**63 - 1)]  # counters; msgspec bounds integers as signed
RequestId = Annotated[U32, Meta(description="picked by the client; the answer carries the same")]
PlayerId = Annotated[U32, Meta(description="who")]
Tick = Annotated[U64, Meta(description="the world's tick this was true at")]
ChunkIndex = Annotated[int, Meta(ge=-CHUNKS_MAX, le=CHUNKS_MAX - 1, description="in chunks of 32 x 32 tiles")]
Tiles = Annotated[float, Meta(ge=-WORLD_TILES_MAX, le=WORLD_TILES_MAX, description="in tiles")]
Direction = Annotated[float, Meta(ge=-1, le=1, description="share of full speed east (dx) or south (dy)")]
Name = Annotated[str, Meta(min_length=1, max_length=NAME_CHARS_MAX)]
Token = Annotated[str, Meta(max_length=TOKEN_CHARS_MAX)]
ActionId = Annotated[
    bytes,
    Meta(
        min_length=ACTION_ID_BYTES,
        max_length=ACTION_ID_BYTES,
        description="made by the client, at random; sent again, it gets the first answer and has no second effect",
    ),
]


TileIndex = Annotated[int, Meta(ge=-WORLD_TILES_MAX, le=WORLD_TILES_MAX - 1, description="in whole tiles")]
Side = Annotated[int, Meta(ge=1, le=2 * WORLD_TILES_MAX, description="in whole tiles")]
ParcelId = Annotated[U32, Meta(description="which parcel")]
Money = Annotated[int, Meta(ge=0, le=MONEY_MAX, description="in poisha: 100 are 1 BDT")]
Change = Annotated[int, Meta(ge=-MONEY_MAX, le=MONEY_MAX, description="in poisha; below 0 it left")]
Term = Annotated[int, Meta(ge=1, le=LEASE_TERM_MS_MAX, description="how long it runs, in ms of world time")]
ListingId = Annotated[U64, Meta(description="which listing; the place in the journal of what made it")]
AuctionId = Annotated[U64, Meta(description="which auction; the place in the journal of what made it")]
KeepPermits = Annotated[
    bool,
    Meta(
        description="whether who may do what there stays (`land_permits` tells); else only the owner builds"
    ),
]
Seller = Annotated[U32, Meta(description="player_id of who sells it")]
FormerSeller = Annotated[U32, Meta(description="player_id of who sold it, or would have")]
LastPrice = Annotated[int, Meta(ge=0, le=MONEY_MAX, description="the last one, in poisha")]
LeaderPrice = Annotated[int, Meta(ge=0, le=MONEY_MAX, description="what the leader would pay, in poisha")]
LeaderFee = Annotated[int, Meta(ge=0, le=MONEY_MAX, description="what of that goes to the house, in poisha")]
LeastBid = Annotated[U64, Meta(description="what the next bid is at least, in poisha")]
BuyNow = Annotated[Money | None, Meta(description="a bid of this has it at once; nil: not, or not any more")]
Reserved = Annotated[
    bool | None,
    Meta(description="whether it would not be sold yet, for want of its reserve; nil: it has none"),
]
LatestEnd = Annotated[U64, Meta(description="no bid moves the end beyond this")]
EndsNow = Annotated[U64, Meta(description="world time at which it ends now")]
Duration = Annotated[
    int, Meta(ge=1, le=LISTING_MS_MAX, description="how long it stands, in ms of world time from now on")
]
ParcelName = Annotated[str, Meta(max_length=PARCEL_NAME_CHARS_MAX)]
Description = Annotated[str, Meta(max_length=DESCRIPTION_CHARS_MAX)]
Reason = Annotated[
    str, Meta(min_length=1, max_length=REASON_CHARS_MAX, description="told to whom it is done, and kept")
]
Minutes = Annotated[int, Meta(ge=1, le=SANCTION_MINUTES_MAX)]
UntilMs = Annotated[U64 | None, Meta(description="ms since 1970, by the clock; nil: until it is lifted")]
# Twice what is allowed, so that who passes the limit is told so in words.
Password = Annotated[
    str,
    Meta(
        max_length=2 * PASSWORD_CHARS_MAX, description="12 to 128 characters, and none that many people have"
    ),
]
Email = Annotated[str, Meta(max_length=EMAIL_CHARS_MAX)]
Bio = Annotated[str, Meta(max_length=BIO_CHARS_MAX, description="what somebody says of themselves")]
Look = Annotated[U32, Meta(description="32 bits that a client turns into an appearance")]
Code = Annotated[
    str, Meta(min_length=1, max_length=CODE_CHARS_MAX, description="of the mail; it can be used once")
]
SessionId = Annotated[
    bytes, Meta(min_length=SESSION_ID_BYTES, max_length=SESSION_ID_BYTES, description="which session")
]


class MeaningStr(StrEnum):
    """A word with its meaning beside it."""

    meaning: str

    def __new__(cls, value: str, meaning: str = "") -> "MeaningStr":
        """The member `value`, explained by `meaning`."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.meaning = meaning
        return member


class Role(MeaningStr):
    """Who somebody is, from least to most; each may do all that those before it may."""

    GUEST = "guest", "came without a token; the same guest again with the ticket of an earlier welcome"
    USER = "user", "signed in with a token"
    MODERATOR = "moderator", "keeps the peace"
    ADMIN = "admin", "runs the server"


class State(MeaningStr):
    """Where a connection stands. `hello` moves it from the first to the second, `welcome` to the third."""

    NEW = "new", "connected; `hello` is understood, and what makes a token for it"
    JOINING = "joining", "`hello` is being checked; the answer is `welcome`, or `refused` and a close"
    PLAYING = "playing", "in the world"


class Rate(MeaningStr):
    """Token buckets of a connection, but for HELLO; their sizes are `limits.rates` in config.toml."""

    HELLO = "hello", "signing in: one bucket for all at one address, `limits.hellos_per_address`"
    MOVEMENT = "movement", "inputs"
    CHAT = "chat", "talk"
    REQUEST = "request", "questions"
    CHUNK = "chunk", "ground"
    ACTION = "action", "what is stored: land, money, building"
    MODERATION = "moderation", "reports, blocks, and what moderators do"
    ACCOUNT = "account", "accounts: passwords, sessions, profiles"
    PING = "ping", "measuring the line"


NEW = frozenset({State.NEW})
PLAYING = frozenset({State.PLAYING})
NEW_OR_PLAYING = NEW | PLAYING


class ChatChannel(MeaningInt):
    """How far a chat line carries."""

    NEARBY = 0, "everyone within chat.radius_tiles of the speaker"
    WORLD = 1, "everyone in the world"
    DIRECT = 2, "one player, wherever they are"


class Delivery(MeaningInt):
    """How a chunk is brought up to date: the result of `chunk_get`."""

    CURRENT = 0, "the version you hold is the newest: nothing is sent"
    EDITS = 1, "a `chunk_edits` with what changed since your version comes before the `ok`"
    WHOLE = 2, "a `chunk`, and a `chunk_edits` with all that is built on it, come before the `ok`"


class Standing(MeaningInt):
    """What somebody may do on a parcel besides what everybody may; each may do all that those before it may."""

    NONE = 0, "what everybody may"
    VISITOR = 1, "enter"
    BUILDER = 2, "build"
    MANAGER = 3, "say who may enter and build, name it and describe it"
    TENANT = (
        4,
        "all that the owner might there while nobody rents it, but not give it away or change its shape",
    )
    OWNER = 5, "everything"


class Cut(MeaningInt):
    """Which way a parcel is split."""

    VERTICAL = 0, "along x = at: a western and an eastern part"
    HORIZONTAL = 1, "along y = at: a northern and a southern part"


class SaleEnd(MeaningInt):
    """How a sale ended."""

    SOLD = 0, "somebody bought it"
    CANCELLED = 1, "its seller took it back"
    EXPIRED = 2, "its time was over"
    FORFEITED = 3, "the land is nobody's any more: too much upkeep was owed"
    UNSOLD = (
        4,
        "an auction without a bid, or without one that reached its reserve, or the land was not as offered",
    )


class Sanction(MeaningInt):
    """What a moderator lays on somebody and can lift again."""

    MUTE = 0, "may not speak"
    BAN = 1, "may not come in; lifting it frees the address, too, where that was banned with them"


class BanScope(MeaningInt):
    """Whom a ban keeps out."""

    PLAYER = 0, "the player, from wherever they come"
    ADDRESS = (
        1,
        "whoever comes from the address that the player was last seen at, but for moderators and admins",
    )
    BOTH = 2, "both"


class Offence(MeaningInt):
    """What somebody is reported for."""

    INSULT = 0, "insults, threats, hate"
    SPAM = 1, "floods the talk, or advertises"
    INDECENT = 2, "indecent words, names or buildings"
    CHEATING = 3, "cheats, or uses a fault of the server"
    OTHER = 4, "something else, as the text says"


class Trouble(MeaningInt):
    """Which rule of a parcel turned somebody away."""

    CLOSED = 0, "only those whom the owner lets in may enter"


@dataclass(frozen=True, slots=True)
class Rule:
    """Who may send a message, and when."""

    states: frozenset[State]
    rate: Rate
    role: Role = Role.GUEST
    result: type[msgspec.Struct] | None = None  # the shape of `ok.result`; None for what is no request


class ClientMessage(msgspec.Struct, array_like=True, forbid_unknown_fields=True, gc=False):
    """What a client may send."""

    rule: ClassVar[Rule]


class ServerMessage(msgspec.Struct, array_like=True, forbid_unknown_fields=True, gc=False):
    """What the server sends."""


class Result(msgspec.Struct, gc=False):
    """The `result` map of an `ok`."""


# --- results -----------------------------------------------------------------------------------------------


class Said(Result):
    """A chat line went out."""

    heard_by: Annotated[
        U32, Meta(description="how many others it reached; that somebody has blocked you does not show")
    ]


class ChunkResult(Result):
    """How the chunk was brought up to date."""

    delivery: Delivery
    version: Annotated[U32, Meta(description="the version you now hold")]


class TilesEdited(Result):
    """The tiles are stored, and everyone who sees them is told."""

    tiles: Annotated[U16, Meta(description="how many records were applied")]


class PlayerFound(Result):
    """A player of that name."""

    player_id: PlayerId
    name: Name
    online: bool


class Terms(Result):
    """What a parcel is let for."""

    rent: Annotated[int, Meta(ge=0, le=MONEY_MAX, description="for each term, in poisha")]
    deposit: Annotated[
        int, Meta(ge=0, le=MONEY_MAX, description="set aside while the lease runs, and given back at its end")
    ]
    term_ms: Term
    renewable: Annotated[bool, Meta(description="a term follows the other until somebody gives notice")]


class Lease(Result):
    """A parcel that is let."""

    tenant_id: Annotated[U32, Meta(description="player_id of who rents it")]
    tenant_name: Name
    terms: Terms
    ends_ms: Annotated[U64, Meta(description="world time at which the term ends")]
    leaving: Annotated[bool, Meta(description="notice was given: this term is the last")]


class Way(Result):
    """A rectangle of whole plots of a parcel on which everybody may walk, though the parcel be closed."""

    x: TileIndex
    y: TileIndex
    width: Side
    height: Side


class Listing(Result):
    """A parcel that anybody can buy at a fixed price, as it was when the listing was made or edited last."""

    listing_id: ListingId
    parcel_id: ParcelId
    seller_id: Seller
    price: Annotated[int, Meta(ge=0, le=MONEY_MAX, description="what the buyer pays, in poisha")]
    fee: Annotated[
        int, Meta(ge=0, le=MONEY_MAX, description="what of the price goes to the house, in poisha")
    ]
    keep_permits: KeepPermits
    tiles: Annotated[U32, Meta(description="so many tiles of it are built on, as it is offered")]
    arrears: Annotated[
        U16,
        Meta(description="so many periods of upkeep are owed, as it is offered: its next owner owes them"),
    ]
    seq: Annotated[U64, Meta(description="place in the journal of its last change; `market_buy` may name it")]
    ends_ms: Annotated[U64 | None, Meta(description="world time at which it ends by itself; nil: never")] = (
        None
    )


class Auction(Result):
    """A parcel that goes to whoever would pay most for it when its time is over, as it was when the auction began."""

    auction_id: AuctionId
    parcel_id: ParcelId
    seller_id: Seller
    price: Annotated[
        int,
        Meta(
            ge=0, le=MONEY_MAX, description="what the leader would pay; before the first bid the start price"
        ),
    ]
    fee: LeaderFee
    least: LeastBid
    bids: Annotated[
        U32, Meta(description="how many there were; that somebody raised their maximum does not count")
    ]
    keep_permits: KeepPermits
    tiles: Annotated[U32, Meta(description="so many tiles of it are built on; nobody builds there meanwhile")]
    arrears: Annotated[U16, Meta(description="so many periods of upkeep are owed: its next owner owes them")]
    seq: Annotated[U64, Meta(description="place in the journal of its last change")]
    ends_ms: Annotated[U64, Meta(description="world time at which it ends, unless that is moved")]
    latest_ms: LatestEnd
    leader_id: Annotated[U32 | None, Meta(description="player_id of who leads; nil: nobody has bid")] = None
    leader_name: Annotated[Name | None, Meta(description="who leads is called so")] = None
    buy_now: BuyNow = None
    reserved: Reserved = None
    reserve: Annotated[
        Money | None, Meta(description="for less it is not sold; only to who sells it, unless it is shown")
    ] = None
    maximum: Annotated[Money | None, Meta(description="your own, if you ask and lead")] = None


class Parcel(Result):
    """A piece of land: a rectangle of whole plots with one owner."""

    parcel_id: ParcelId
    owner_id: Annotated[U32, Meta(description="player_id of the owner")]
    owner_name: Name
    x: TileIndex
    y: TileIndex
    width: Side
    height: Side
    name: ParcelName
    description: Description
    open_enter: Annotated[bool, Meta(description="whether everybody may enter")]
    open_build: Annotated[bool, Meta(description="whether everybody may build")]
    standing: Annotated[Standing | None, Meta(description="of who asks; nil in what goes to many")] = None
    to_let: Annotated[Terms | None, Meta(description="whoever wants may rent it for this")] = None
    lease: Annotated[Lease | None, Meta(description="who rents it; nil: nobody")] = None
    upkeep_ms: Annotated[
        U64 | None, Meta(description="world time at which upkeep is due next; nil: there is none")
    ] = None
    arrears: Annotated[U16 | None, Meta(description="periods of upkeep that are owed; nil: none")] = None
    way: Annotated[Way | None, Meta(description="everybody may walk there; nil: it grants none")] = None
    given_to: Annotated[
        U32 | None, Meta(description="player_id of whose it is if they take it; nil: it is not given away")
    ] = None
    listing: Annotated[
        Listing | None,
        Meta(
            description="it is for sale; nil: it is not, and in what goes to many, where `listing_...` events tell of it"
        ),
    ] = None
    auction: Annotated[
        Auction | None,
        Meta(description="it is in an auction; nil as for `listing`, and `auction_...` events tell of it"),
    ] = None


class ParcelFound(Result, omit_defaults=True):
    """The fields of a Parcel, or none of them where the land is nobody's; what does not hold is absent."""

    parcel_id: ParcelId | None = None
    owner_id: PlayerId | None = None
    owner_name: Name | None = None
    x: TileIndex | None = None
    y: TileIndex | None = None
    width: Side | None = None
    height: Side | None = None
    name: ParcelName | None = None
    description: Description | None = None
    open_enter: Annotated[bool | None, Meta(description="whether everybody may enter")] = None
    open_build: Annotated[bool | None, Meta(description="whether everybody may build")] = None
    standing: Annotated[Standing | None, Meta(description="of who asks")] = None
    to_let: Annotated[Terms | None, Meta(description="whoever wants may rent it for this")] = None
    lease: Annotated[Lease | None, Meta(description="who rents it")] = None
    upkeep_ms: Annotated[U64 | None, Meta(description="world time at which upkeep is due next")] = None
    arrears: Annotated[U16 | None, Meta(description="periods of upkeep that are owed")] = None
    way: Annotated[Way | None, Meta(description="everybody may walk there")] = None
    given_to: Annotated[U32 | None, Meta(description="player_id of whose it is if they take it")] = None
    listing: Annotated[Listing | None, Meta(description="it is for sale")] = None
    auction: Annotated[Auction | None, Meta(description="it is in an auction")] = None


class ParcelsFound(Result):
    """A page of parcels."""

    parcels: Annotated[list[Parcel], Meta(description="at most 64")]
    more: Annotated[bool, Meta(description="ask on with `after`")]


class Quoted(Result):
    """What a claim would cost; it would be granted now."""

    plots: Annotated[U32, Meta(description="how many plots of 16 x 16 tiles")]
    price: Money


class LandHeld(Result):
    """The parcel is so now."""

    parcel_id: ParcelId


class LandTaken(Result):
    """The land is yours; who gave it away finds the entry by this, too."""

    parcel_id: ParcelId
    giver_id: Annotated[PlayerId, Meta(description="whose it was")]


class AuctionHeld(Result):
    """The auction runs."""

    auction_id: AuctionId
    parcel_id: ParcelId
    ends_ms: Annotated[U64, Meta(description="world time at which it ends, unless somebody bids late")]


class BidPlaced(Result):
    """The bid counts. Who sold land at once by it finds the entry by this, too."""

    auction_id: AuctionId
    leads: Annotated[
        bool,
        Meta(description="whether one leads now; else somebody's maximum was higher, or as high and earlier"),
    ]
    price: LeaderPrice
    ends_ms: Annotated[U64, Meta(description="world time at which it ends")]
    sold: Annotated[
        bool, Meta(description="the land is yours, at the price for which it could be had at once")
    ] = False
    seller_id: Annotated[PlayerId | None, Meta(description="whose it was, if it is yours now")] = None


class ListingHeld(Result):
    """The listing is so now."""

    listing_id: ListingId
    parcel_id: ParcelId


class ListingBought(Result):
    """The land is yours, and paid for; who sold it finds the entry by this, too."""

    listing_id: ListingId
    parcel_id: ParcelId
    seller_id: Annotated[PlayerId, Meta(description="whose it was")]
    price: Annotated[int, Meta(ge=0, le=MONEY_MAX, description="what was paid, in poisha")]
    fee: Annotated[int, Meta(ge=0, le=MONEY_MAX, description="what of it went to the house, in poisha")]


class LandClaimResult(Result):
    """The land is yours."""

    parcel_id: ParcelId
    price: Annotated[int, Meta(ge=0, le=MONEY_MAX, description="what was paid, in poisha")]


class LandDivided(Result):
    """Two parcels now."""

    parcel_id: Annotated[U32, Meta(description="the western or northern part, which keeps its id")]
    other_id: Annotated[U32, Meta(description="the other part")]


class Permit(Result):
    """What one player may do on a parcel."""

    player_id: PlayerId
    name: Name
    standing: Standing


class PermitsFound(Result):
    """Everybody with a standing on a parcel."""

    permits: Annotated[list[Permit], Meta(description="by player_id")]


class WalletFound(Result):
    """Your money."""

    balance: Money
    held: Annotated[
        int, Meta(ge=0, le=MONEY_MAX, description="set aside for what is not settled yet, in poisha")
    ]


class Posting(Result):
    """One movement of your money."""

    seq: Annotated[U64, Meta(description="its entry's place in the journal")]
    time_ms: Annotated[U64, Meta(description="when, in world time")]
    kind: Annotated[
        str,
        Meta(
            description="what happened: the name of the request, or of what the world did; an account's first posting is the "
            "starting grant, under the name of what it came with"
        ),
    ]
    amount: Change
    balance: Annotated[int, Meta(ge=0, le=MONEY_MAX, description="after it, in poisha")]


class StatementFound(Result):
    """A page of your postings, newest first."""

    postings: Annotated[list[Posting], Meta(description="at most 50")]
    more: Annotated[bool, Meta(description="ask on with `before`, the last seq of this page")]
    begins: Annotated[
        U64, Meta(description="seq of the oldest entry that is kept: 1, or more where history was pruned")
    ]


class ReceiptFound(Result):
    """An entry of the journal, signed by the server; `landworld receipt` checks it offline."""

    receipt: Annotated[bytes, Meta(description="JSON: entry, hash of the one before, signature, public key")]


class SignedIn(Result):
    """A session. `hello` with the access token comes in as this player, until the session ends."""

    player_id: PlayerId
    name: Name
    access_token: Annotated[Token, Meta(description="for `hello`")]
    refresh_token: Annotated[
        Token, Meta(description="for `account_refresh`, once; keep it as you would keep the password")
    ]
    expires_in_ms: Annotated[
        U32, Meta(description="how long the access token is good; ask for another before")
    ]


class SessionsEnded(Result):
    """These sessions are over, and whatever was connected with them is closed."""

    ended: Annotated[U32, Meta(description="how many; your own lives on unless you ended it")]


class AccountSession(Result):
    """Somewhere you are signed in."""

    session_id: SessionId
    client: Annotated[str, Meta(description="the program that signed in, as far as it said")]
    address: Annotated[str, Meta(description="where it signed in from")]
    created_ms: Annotated[U64, Meta(description="when, in milliseconds since 1970")]
    used_ms: Annotated[U64, Meta(description="when it was last heard of, likewise")]
    expires_ms: Annotated[U64, Meta(description="when it ends if it is not used, likewise")]
    current: Annotated[bool, Meta(description="the one you ask from")]


class SessionsFound(Result):
    """Your sessions."""

    sessions: Annotated[list[AccountSession], Meta(description="the newest first; at most 32")]


class ProfileFound(Result):
    """Who a player is; what is only for themselves is absent for others."""

    player_id: PlayerId
    name: Name
    look: Look
    role: Role
    bio: Bio
    online: bool
    email: Annotated[Email | None, Meta(description="your own; empty where there is none")] = None
    email_verified: Annotated[bool | None, Meta(description="whether you gave the code sent there")] = None


class Granted(Result):
    """It is done."""


class ExportPart(Result):
    """A part of the export: the parts end to end are one JSON object, in UTF-8."""

    part: Annotated[bytes, Meta(description="at most 48,000 bytes")]
    more: Annotated[bool, Meta(description="ask on, with the number of the next part")]


class Moderated(Result):
    """It is done, and stored with who did it."""

    player_id: PlayerId
    name: Name
    until_ms: UntilMs = None


class PlayerReported(Result):
    """The moderators have it."""

    report_id: U32
    lines: Annotated[U8, Meta(description="how many lines of talk are attached")]


class Evidence(Result):
    """A line of talk as the server has it: of whoever is reported, or between the two."""

    channel: ChatChannel
    sender_id: Annotated[U32, Meta(description="player_id of who said it")]
    sender_name: Name
    text: str
    said_ms: Annotated[U64, Meta(description="ms since 1970")]


class Report(Result):
    """What somebody reported."""

    report_id: U32
    reporter_id: Annotated[U32, Meta(description="player_id of who reports")]
    reporter_name: Name
    player_id: Annotated[U32, Meta(description="who is reported")]
    player_name: Name
    offence: Offence
    text: Annotated[str, Meta(max_length=REPORT_CHARS_MAX)]
    lines: Annotated[
        list[Evidence], Meta(description="the last that the reporter could hear, oldest first; at most 20")
    ]
    reported_ms: Annotated[U64, Meta(description="ms since 1970")]
    closed_ms: Annotated[U64 | None, Meta(description="ms since 1970; nil: it waits for a moderator")] = None
    closed_by: Annotated[str | None, Meta(description="who closed it")] = None
    note: Annotated[str | None, Meta(description="what the moderator made of it")] = None


class ReportsFound(Result):
    """A page of reports."""

    reports: Annotated[list[Report], Meta(description="by report_id; at most 8")]
    more: Annotated[bool, Meta(description="ask on with `after`")]


class ReportClosed(Result):
    """It waits no more."""

    report_id: U32


class BlockHeld(Result):
    """So it is now, and stored."""

    player_id: PlayerId
    blocked: bool


class Blocked(Result):
    """Somebody you do not hear."""

    player_id: PlayerId
    name: Name


class BlocksFound(Result):
    """Everybody you do not hear."""

    players: Annotated[list[Blocked], Meta(description="by name")]


# --- from clients ------------------------------------------------------------------------------------------


class Hello(ClientMessage, tag=1):
    """The first message. Without a token or a resume ticket one is a new guest."""

    protocol: Annotated[U16, Meta(description="the version you speak; another is refused with WRONG_VERSION")]
    client: Annotated[str, Meta(max_length=64, description="name and version of the program")]
    token: Annotated[Token | None, Meta(description="a signed access token")] = None
    resume: Annotated[Token | None, Meta(description="ticket of an earlier `welcome` or `closing`")] = None
    rule = Rule(NEW, Rate.HELLO)


class Ping(ClientMessage, tag=2):
    """Answered by `pong` at once; measures the line and keeps it alive."""

    nonce: Annotated[U32, Meta(description="comes back in `pong`")]
    rule = Rule(PLAYING, Rate.PING)


class Move(ClientMessage, tag=3):
    """Where one wants to go from now on; sent when it changes. A vector longer than 1 is shortened to 1; (0, 0) stands still."""

    seq: Annotated[U32, Meta(description="grows with each input; comes back in `moved`")]
    dx: Direction
    dy: Direction
    rule = Rule(PLAYING, Rate.MOVEMENT)


class ChunkGet(ClientMessage, tag=4):
    """Asks for the ground of a chunk near oneself, naming the version one holds."""

    request_id: RequestId
    cx: ChunkIndex
    cy: ChunkIndex
    version: Annotated[U32 | None, Meta(description="absent: holds none")] = None
    rule = Rule(PLAYING, Rate.CHUNK, result=ChunkResult)


class ChatSay(ClientMessage, tag=5):
    """Says something. `to` names the listener of a direct line."""

    request_id: RequestId
    channel: ChatChannel
    text: Annotated[str, Meta(min_length=1, max_length=CHAT_CHARS_MAX)]
    to: Annotated[U32 | None, Meta(description="player_id; for a direct line, ignored on other channels")] = (
        None
    )
    rule = Rule(PLAYING, Rate.CHAT, result=Said)


class PlayerFind(ClientMessage, tag=6):
    """Looks a player up by name (upper and lower case are the same)."""

    request_id: RequestId
    name: Name
    rule = Rule(PLAYING, Rate.REQUEST, result=PlayerFound)


class TileEdit(ClientMessage, tag=7):
    """Builds on tiles, or takes away what was built: all of it or nothing. Answered `ok` once it is stored for good."""

    request_id: RequestId
    action_id: ActionId
    edits: Annotated[
        bytes,
        Meta(
            min_length=TILE_EDIT.itemsize,
            max_length=EDITS_MAX * TILE_EDIT.itemsize,
            description="packed records, see what is built",
        ),
    ]
    rule = Rule(PLAYING, Rate.ACTION, result=TilesEdited)


class TileUndo(ClientMessage, tag=8):
    """Takes back one's own last `tile_edit`; again, the one before it. What others changed since stays, and where one may not build."""

    request_id: RequestId
    action_id: ActionId
    rule = Rule(PLAYING, Rate.ACTION, result=TilesEdited)


class LandAt(ClientMessage, tag=9):
    """Whose land is it at a place?"""

    request_id: RequestId
    x: Tiles
    y: Tiles
    rule = Rule(PLAYING, Rate.REQUEST, result=ParcelFound)


class LandIn(ClientMessage, tag=10):
    """The parcels that touch a rectangle, by parcel_id; a page at a time."""

    request_id: RequestId
    x: TileIndex
    y: TileIndex
    width: Annotated[int, Meta(ge=1, le=LOOK_TILES_MAX, description="in whole tiles")]
    height: Annotated[int, Meta(ge=1, le=LOOK_TILES_MAX, description="in whole tiles")]
    after: Annotated[U32 | None, Meta(description="parcel_id of the last of the page before")] = None
    rule = Rule(PLAYING, Rate.REQUEST, result=ParcelsFound)


class LandMine(ClientMessage, tag=11):
    """The parcels that one owns, rents, or may take as a gift (`given_to`), by parcel_id; a page at a time."""

    request_id: RequestId
    after: Annotated[U32 | None, Meta(description="parcel_id of the last of the page before")] = None
    rule = Rule(PLAYING, Rate.REQUEST, result=ParcelsFound)


class LandForSale(ClientMessage, tag=12):
    """Parcels for sale, with their listings, those nearest to where one stands first; a page at a time, the nearest 256 in all."""

    request_id: RequestId
    skip: Annotated[U32 | None, Meta(description="how many to pass over")] = None
    rule = Rule(PLAYING, Rate.REQUEST, result=ParcelsFound)


class LandToLet(ClientMessage, tag=58):
    """Parcels to let, those nearest to where one stands first; a page at a time, the nearest 256 in all."""

    request_id: RequestId
    skip: Annotated[U32 | None, Meta(description="how many to pass over")] = None
    rule = Rule(PLAYING, Rate.REQUEST, result=ParcelsFound)


class LandQuote(ClientMessage, tag=13):
    """What would a claim cost, or why would it be refused? Nothing is done."""

    request_id: RequestId
    x: TileIndex
    y: TileIndex
    width: Side
    height: Side
    rule = Rule(PLAYING, Rate.REQUEST, result=Quoted)


class LandClaim(ClientMessage, tag=14):
    """Takes land that is nobody's, in whole plots, and pays for it. It cuts nobody off from open land; water counts as open land."""

    request_id: RequestId
    action_id: ActionId
    x: TileIndex
    y: TileIndex
    width: Side
    height: Side
    rule = Rule(PLAYING, Rate.ACTION, result=LandClaimResult)


class LandDescribe(ClientMessage, tag=15):
    """Names a parcel and describes it; managers may, too."""

    request_id: RequestId
    action_id: ActionId
    parcel_id: ParcelId
    name: ParcelName
    description: Description
    rule = Rule(PLAYING, Rate.ACTION, result=LandHeld)


class LandOpen(ClientMessage, tag=16):
    """Says what everybody may do on a parcel; managers may, too."""

    request_id: RequestId
    action_id: ActionId
    parcel_id: ParcelId
    enter: Annotated[bool, Meta(description="everybody may enter")]
    build: Annotated[bool, Meta(description="everybody may build")]
    rule = Rule(PLAYING, Rate.ACTION, result=LandHeld)


class LandPermit(ClientMessage, tag=17):
    """Gives one player a standing on a parcel, or takes it; managers may, too, up to builder."""

    request_id: RequestId
    action_id: ActionId
    parcel_id: ParcelId
    player_id: PlayerId
    standing: Standing
    rule = Rule(PLAYING, Rate.ACTION, result=LandHeld)


class LandPermits(ClientMessage, tag=18):
    """Who has a standing on a parcel? Owner and managers may ask."""

    request_id: RequestId
    parcel_id: ParcelId
    rule = Rule(PLAYING, Rate.REQUEST, result=PermitsFound)


class LandTransfer(ClientMessage, tag=19):
    """Gives a parcel to somebody; it is its giver's until they take it (`land_take`). To its owner: not any more; both may."""

    request_id: RequestId
    action_id: ActionId
    parcel_id: ParcelId
    to: Annotated[U32, Meta(description="player_id of whose it may be; the owner's: it stays theirs")]
    rule = Rule(PLAYING, Rate.ACTION, result=LandHeld)


class LandSplit(ClientMessage, tag=20):
    """Makes two parcels of one, along a line between plots."""

    request_id: RequestId
    action_id: ActionId
    parcel_id: ParcelId
    cut: Cut
    at: Annotated[TileIndex, Meta(description="x or y of the line")]
    ease: Annotated[
        bool | None,
        Meta(description="a part without open land beside it gets the smallest way through the other"),
    ] = None
    rule = Rule(PLAYING, Rate.ACTION, result=LandDivided)


class LandMerge(ClientMessage, tag=21):
    """Makes one parcel of two neighbours of one owner that are a rectangle together; `other_id` ends."""

    request_id: RequestId
    action_id: ActionId
    parcel_id: ParcelId
    other_id: Annotated[U32, Meta(description="parcel_id of the neighbour")]
    rule = Rule(PLAYING, Rate.ACTION, result=LandHeld)


class LandAbandon(ClientMessage, tag=22):
    """Gives a parcel back to nobody, and what is built there with it. Nothing is paid back."""

    request_id: RequestId
    action_id: ActionId
    parcel_id: ParcelId
    rule = Rule(PLAYING, Rate.ACTION, result=LandHeld)


class LandTake(ClientMessage, tag=45):
    """Takes a parcel that is given to one. Who declines it says `land_transfer` to its owner."""

    request_id: RequestId
    action_id: ActionId
    parcel_id: ParcelId
    rule = Rule(PLAYING, Rate.ACTION, result=LandTaken)


class MarketList(ClientMessage, tag=46):
    """Puts a parcel up for sale at a price: anybody can buy it as it stands there now. Until that is over it cannot be given away, let,
    abandoned or change its shape.
    """

    request_id: RequestId
    action_id: ActionId
    parcel_id: ParcelId
    price: Money
    duration_ms: Annotated[Duration | None, Meta(description="nil: until it is sold or cancelled")] = None
    keep_permits: Annotated[
        bool | None, Meta(description="who has a standing there keeps it under the buyer; nil: no")
    ] = None
    rule = Rule(PLAYING, Rate.ACTION, result=ListingHeld)


class MarketEdit(ClientMessage, tag=47):
    """Changes one's own listing, and offers the parcel as it stands there now. The fee stays what it was when the listing was made."""

    request_id: RequestId
    action_id: ActionId
    listing_id: ListingId
    price: Money
    duration_ms: Annotated[Duration | None, Meta(description="nil: it ends when it would have ended")] = None
    keep_permits: Annotated[bool | None, Meta(description="nil: as before")] = None
    rule = Rule(PLAYING, Rate.ACTION, result=ListingHeld)


class MarketCancel(ClientMessage, tag=59):
    """Takes one's own listing back, or an auction in which nobody has bid."""

    request_id: RequestId
    action_id: ActionId
    listing_id: ListingId
    rule = Rule(PLAYING, Rate.ACTION, result=ListingHeld)


class MarketBuy(ClientMessage, tag=60):
    """Buys a parcel at the price as seen; another is refused with CHANGED, and so is a parcel that is not as it was offered."""

    request_id: RequestId
    action_id: ActionId
    listing_id: ListingId
    price: Money
    seq: Annotated[
        U64 | None,
        Meta(
            description="the listing's `seq` as seen: any change since is refused; nil: as it was offered first, at this price"
        ),
    ] = None
    rule = Rule(PLAYING, Rate.ACTION, result=ListingBought)


class MarketAuction(ClientMessage, tag=61):
    """Puts a parcel up for auction: whoever would pay most has it when its time is over. Nobody builds there until then, and it cannot
    be given away, let, abandoned or change its shape.
    """

    request_id: RequestId
    action_id: ActionId
    parcel_id: ParcelId
    start_price: Money
    duration_ms: Duration
    reserve: Annotated[Money | None, Meta(description="for less it is not sold; nil: none")] = None
    buy_now: Annotated[
        Money | None, Meta(description="at once for this, until a bid reaches it; nil: not at once")
    ] = None
    keep_permits: Annotated[
        bool | None, Meta(description="who may do what there stays under the buyer; nil: no")
    ] = None
    show_reserve: Annotated[bool | None, Meta(description="whether bidders know the reserve; nil: no")] = None
    rule = Rule(PLAYING, Rate.ACTION, result=AuctionHeld)


class MarketBid(ClientMessage, tag=62):
    """Bids in an auction. The server bids on, by the least step, up to the maximum, which nobody is told; all of it is set aside while
    one leads, and comes back in the moment somebody else does. Who leads can raise their maximum; that tells nobody anything.
    """

    request_id: RequestId
    action_id: ActionId
    auction_id: AuctionId
    amount: Money
    maximum: Annotated[Money | None, Meta(description="nil: the amount")] = None
    rule = Rule(PLAYING, Rate.ACTION, result=BidPlaced)


class Wallet(ClientMessage, tag=25):
    """How much money have I?"""

    request_id: RequestId
    rule = Rule(PLAYING, Rate.REQUEST, result=WalletFound)


class WalletStatement(ClientMessage, tag=26):
    """The movements of one's own money, newest first; a page at a time."""

    request_id: RequestId
    before: Annotated[U64 | None, Meta(description="seq of the last of the page before")] = None
    rule = Rule(PLAYING, Rate.REQUEST, result=StatementFound)


class ReceiptGet(ClientMessage, tag=27):
    """A signed receipt of an entry of the journal that one has part in. Of auctions there is one of beginning them, for the seller, and
    of having the land in the end; all else would tell what others would pay at most.
    """

    request_id: RequestId
    seq: Annotated[U64, Meta(description="the entry's place in the journal")]
    rule = Rule(PLAYING, Rate.REQUEST, result=ReceiptFound)


class LandLet(ClientMessage, tag=28):
    """Offers a parcel to let, or takes the offer back. Who rents it stands where you stood, and at the end finds all as it was."""

    request_id: RequestId
    action_id: ActionId
    parcel_id: ParcelId
    rent: Annotated[Money | None, Meta(description="for each term; nil: not to let any more")] = None
    term_ms: Annotated[Term | None, Meta(description="how long a term runs; needed with a rent")] = None
    deposit: Annotated[Money | None, Meta(description="set aside while the lease runs; nil: none")] = None
    renewable: Annotated[bool | None, Meta(description="whether terms follow each other; nil: no")] = None
    rule = Rule(PLAYING, Rate.ACTION, result=LandHeld)


class LandRent(ClientMessage, tag=29):
    """Rents a parcel at the rent as seen, and pays for the first term; another rent is refused with CHANGED."""

    request_id: RequestId
    action_id: ActionId
    parcel_id: ParcelId
    rent: Money
    term_ms: Annotated[Term | None, Meta(description="as seen; nil: whatever it is")] = None
    deposit: Annotated[Money | None, Meta(description="as seen; nil: whatever it is")] = None
    rule = Rule(PLAYING, Rate.ACTION, result=LandHeld)


class LandLeave(ClientMessage, tag=30):
    """Gives notice: the lease ends with this term. Tenant and owner may."""

    request_id: RequestId
    action_id: ActionId
    parcel_id: ParcelId
    rule = Rule(PLAYING, Rate.ACTION, result=LandHeld)


class LandEase(ClientMessage, tag=31):
    """Grants a way: everybody may walk on these plots of a parcel, though it be closed. In place of one granted before."""

    request_id: RequestId
    action_id: ActionId
    parcel_id: ParcelId
    x: TileIndex
    y: TileIndex
    width: Annotated[
        int, Meta(ge=0, le=2 * WORLD_TILES_MAX, description="in whole tiles; 0 takes the way back")
    ]
    height: Annotated[int, Meta(ge=0, le=2 * WORLD_TILES_MAX, description="in whole tiles")]
    rule = Rule(PLAYING, Rate.ACTION, result=LandHeld)


class AccountRegister(ClientMessage, tag=32):
    """Makes an account and signs in. A guest who asks in the world stays who they are, with all they have, and has an account now;
    tickets of the guest are worth nothing then. Sent again, it signs in again.
    """

    request_id: RequestId
    action_id: ActionId
    name: Annotated[Name, Meta(description="to sign in with, and as others see it")]
    email: Annotated[Email, Meta(description="for a forgotten password, once it is verified; empty: none")]
    password: Password
    rule = Rule(NEW_OR_PLAYING, Rate.ACCOUNT, result=SignedIn)


class AccountLogin(ClientMessage, tag=33):
    """Signs in. The connection stays who it is: say `hello` with the access token."""

    request_id: RequestId
    name: Name
    password: Password
    rule = Rule(NEW_OR_PLAYING, Rate.ACCOUNT, result=SignedIn)


class AccountRefresh(ClientMessage, tag=34):
    """New tokens for old: a refresh token is good once. If one comes again, the session ends, for somebody else has it."""

    request_id: RequestId
    refresh_token: Token
    rule = Rule(NEW_OR_PLAYING, Rate.ACCOUNT, result=SignedIn)


class AccountLogout(ClientMessage, tag=35):
    """Ends the session one plays in, and the connection with it."""

    request_id: RequestId
    rule = Rule(PLAYING, Rate.ACCOUNT, Role.USER, result=SessionsEnded)


class AccountChangePassword(ClientMessage, tag=36):
    """Another password; all other sessions end."""

    request_id: RequestId
    password: Annotated[Password, Meta(description="the one of now")]
    new_password: Password
    rule = Rule(PLAYING, Rate.ACCOUNT, Role.USER, result=SessionsEnded)


class AccountSessions(ClientMessage, tag=37):
    """Where am I signed in?"""

    request_id: RequestId
    rule = Rule(PLAYING, Rate.ACCOUNT, Role.USER, result=SessionsFound)


class AccountRevoke(ClientMessage, tag=38):
    """Ends a session of one's own, or all but the one one plays in."""

    request_id: RequestId
    session_id: Annotated[SessionId | None, Meta(description="nil: all others")] = None
    rule = Rule(PLAYING, Rate.ACCOUNT, Role.USER, result=SessionsEnded)


class AccountProfile(ClientMessage, tag=39):
    """Who is this?"""

    request_id: RequestId
    player_id: Annotated[U32 | None, Meta(description="whose; nil: one's own")] = None
    rule = Rule(PLAYING, Rate.ACCOUNT, result=ProfileFound)


class AccountEditProfile(ClientMessage, tag=40):
    """Changes what others see; what is nil stays. With another name one signs in by that one from then on."""

    request_id: RequestId
    name: Annotated[Name | None, Meta(description="as others see it")] = None
    look: Look | None = None
    bio: Bio | None = None
    rule = Rule(PLAYING, Rate.ACCOUNT, Role.USER, result=ProfileFound)


class AccountVerifyEmail(ClientMessage, tag=41):
    """Asks for a code by mail, or gives it. Only a verified address gets codes for a forgotten password. Who asks for more than one
    code a minute is refused with RATE_LIMITED, and nothing is changed.
    """

    request_id: RequestId
    code: Annotated[Code | None, Meta(description="nil: send one")] = None
    email: Annotated[Email | None, Meta(description="with a password: another address than before")] = None
    password: Annotated[Password | None, Meta(description="needed with another address")] = None
    rule = Rule(PLAYING, Rate.ACCOUNT, Role.USER, result=Granted)


class AccountResetPassword(ClientMessage, tag=42):
    """For a forgotten password: asks for a code by mail, or gives it with a new password; then all sessions end. Whether anybody has
    that address is not told.
    """

    request_id: RequestId
    email: Email
    code: Annotated[Code | None, Meta(description="nil: send one")] = None
    new_password: Annotated[Password | None, Meta(description="needed with a code")] = None
    rule = Rule(NEW_OR_PLAYING, Rate.ACCOUNT, result=Granted)


class AccountExport(ClientMessage, tag=43):
    """Everything that is stored about me, part by part; part 0 puts it together anew."""

    request_id: RequestId
    part: Annotated[U32, Meta(description="which; the first is 0")]
    rule = Rule(PLAYING, Rate.ACCOUNT, Role.USER, result=ExportPart)


class AccountDelete(ClientMessage, tag=44):
    """Takes the account away: name, address, password, sessions, and what one has said. Land and ledger stay, under nobody's name,
    and what is for sale stays for sale; records of then keep the name of then, and moderators what was reported and decided.
    """

    request_id: RequestId
    password: Password
    rule = Rule(PLAYING, Rate.ACCOUNT, Role.USER, result=Granted)


class ModerationMute(ClientMessage, tag=48):
    """Somebody may not speak. In place of a mute they had. One acts on those of a lower role only, and never on oneself."""

    request_id: RequestId
    action_id: ActionId
    player_id: PlayerId
    reason: Reason
    minutes: Annotated[
        Minutes | None, Meta(description="for so long, by the clock; nil: until it is lifted")
    ] = None
    rule = Rule(PLAYING, Rate.MODERATION, Role.MODERATOR, result=Moderated)


class ModerationKick(ClientMessage, tag=49):
    """Somebody's connection is closed with KICKED; they may come back."""

    request_id: RequestId
    action_id: ActionId
    player_id: PlayerId
    reason: Reason
    rule = Rule(PLAYING, Rate.MODERATION, Role.MODERATOR, result=Moderated)


class ModerationBan(ClientMessage, tag=50):
    """Somebody is kept out, in place of a ban they had; a connection of theirs is closed with BANNED at once."""

    request_id: RequestId
    action_id: ActionId
    player_id: PlayerId
    scope: BanScope
    reason: Reason
    minutes: Annotated[
        Minutes | None, Meta(description="for so long, by the clock; nil: until it is lifted")
    ] = None
    rule = Rule(PLAYING, Rate.MODERATION, Role.MODERATOR, result=Moderated)


class ModerationLift(ClientMessage, tag=51):
    """Takes back a mute or a ban."""

    request_id: RequestId
    action_id: ActionId
    player_id: PlayerId
    sanction: Sanction
    reason: Reason
    rule = Rule(PLAYING, Rate.MODERATION, Role.MODERATOR, result=Moderated)


class PlayerReport(ClientMessage, tag=52):
    """Tells the moderators of somebody. The last lines of theirs that you could hear are attached, as the server has them."""

    request_id: RequestId
    action_id: ActionId
    player_id: PlayerId
    offence: Offence
    text: Annotated[str, Meta(max_length=REPORT_CHARS_MAX, description="what a moderator should know")]
    rule = Rule(PLAYING, Rate.MODERATION, result=PlayerReported)


class ModerationReports(ClientMessage, tag=53):
    """What was reported, the oldest first; a page at a time."""

    request_id: RequestId
    closed: Annotated[bool, Meta(description="those that were closed instead of those that wait")]
    after: Annotated[U32 | None, Meta(description="report_id of the last of the page before")] = None
    rule = Rule(PLAYING, Rate.REQUEST, Role.MODERATOR, result=ReportsFound)


class ModerationClose(ClientMessage, tag=54):
    """A report is dealt with. Reports of oneself are for others to close."""

    request_id: RequestId
    action_id: ActionId
    report_id: U32
    note: Annotated[str, Meta(max_length=REASON_CHARS_MAX, description="what was made of it; kept with it")]
    rule = Rule(PLAYING, Rate.MODERATION, Role.MODERATOR, result=ReportClosed)


class PlayerBlock(ClientMessage, tag=55):
    """I do not hear them any more, on any channel, and they cannot write to me. They are not told."""

    request_id: RequestId
    action_id: ActionId
    player_id: PlayerId
    rule = Rule(PLAYING, Rate.MODERATION, result=BlockHeld)


class PlayerUnblock(ClientMessage, tag=56):
    """I hear them again."""

    request_id: RequestId
    action_id: ActionId
    player_id: PlayerId
    rule = Rule(PLAYING, Rate.MODERATION, result=BlockHeld)


class PlayerBlocks(ClientMessage, tag=57):
    """Whom do I not hear?"""

    request_id: RequestId
    rule = Rule(PLAYING, Rate.REQUEST, result=BlocksFound)


# --- from the server ---------------------------------------------------------------------------------------


class Welcome(ServerMessage, tag=64):
    """You are in the world. `settings` names what a client must know of the server's configuration."""

    player_id: PlayerId
    name: Name
    role: Role
    x: Tiles
    y: Tiles
    tick: Tick
    tick_hz: Annotated[U16, Meta(description="ticks a second")]
    epoch: Annotated[U32, Meta(description="grows with each start of the server")]
    durable_seq: Annotated[
        U64,
        Meta(description="everything up to this place in the journal is stored"),
    ]
    resume: Annotated[Token, Meta(description="signed; `hello` with it goes on where this session stopped")]
    settings: Annotated[dict[str, Any], Meta(description="see Settings in `welcome`")]


class Refused(ServerMessage, tag=65):
    """The request of that id was not done, and nothing changed. `request_id` 0 answers what carries none."""

    request_id: RequestId
    code: RefusalCode
    message: Annotated[str, Meta(description="tells a person what to do")]
    retry_after_ms: Annotated[U32 | None, Meta(description="when it is worth trying again")] = None


class Ok(ServerMessage, tag=66):
    """The request of that id was done."""

    request_id: RequestId
    seq: Annotated[
        U64,
        Meta(description="place in the journal, and stored there; 0 where nothing durable happened"),
    ]
    result: Annotated[Any, Meta(description="named fields; listed with each request")]


class Pong(ServerMessage, tag=67):
    """The answer to `ping`."""

    nonce: Annotated[U32, Meta(description="that of the `ping`")]
    tick: Tick


class Moved(ServerMessage, tag=68):
    """Your `move` is obeyed, and so are all before it: where you truly were after `tick`. At most one a tick."""

    seq: Annotated[U32, Meta(description="that of the newest `move` of the tick")]
    tick: Tick
    x: Tiles
    y: Tiles


class Snapshot(ServerMessage, tag=69):
    """Who is where in the cells (32 x 32 tiles) that changed. Who is in no cell you see has left your sight."""

    tick: Tick
    cx: Annotated[ChunkIndex, Meta(description="the cell you stand in; the blocks count their steps from it")]
    cy: ChunkIndex
    cells: Annotated[bytes, Meta(description="packed blocks, one a cell, see their layout")]


class Appeared(ServerMessage, tag=70):
    """Who an entity is. Comes before its first snapshot; coming again does no harm."""

    player_id: PlayerId
    name: Name
    look: Look


class ChatSaid(ServerMessage, tag=71):
    """Somebody said something. On entering, lines of before come the same way, with their own time."""

    channel: ChatChannel
    sender_id: Annotated[U32, Meta(description="player_id of who said it")]
    sender_name: Name
    text: str
    time_ms: Annotated[U64, Meta(description="when, in world time")]
    to: Annotated[U32 | None, Meta(description="player_id of the listener of a direct line")] = None


class Chunk(ServerMessage, tag=72):
    """The ground of one chunk: the zlib-compressed payload of the chunk layout."""

    cx: ChunkIndex
    cy: ChunkIndex
    version: Annotated[U32, Meta(description="keep it with the chunk, name it in `chunk_get`")]
    data: bytes


class ChunkEdits(ServerMessage, tag=73):
    """What changed in a chunk between two versions, oldest first; a tile may be named again. Comes live for cells in sight."""

    cx: ChunkIndex
    cy: ChunkIndex
    from_version: Annotated[U32, Meta(description="apply to this version only")]
    version: Annotated[U32, Meta(description="which makes this one")]
    edits: Annotated[bytes, Meta(description="packed records, see what is built")]


class View(ServerMessage, tag=74):
    """What you are sent from now on: the step of the ladder of degradation in force for you."""

    step: Annotated[U8, Meta(description="0 is everything")]
    radius_cells: Annotated[U8, Meta(description="rings of cells around your own")]
    near_hz: Annotated[U8, Meta(description="how often your own cell is sent")]
    far_hz: Annotated[U8, Meta(description="how often the others are sent")]
    crowds: Annotated[bool, Meta(description="very full cells come as `crowd`, not as `snapshot`")]


class Crowd(ServerMessage, tag=75):
    """How many stand in a cell of which no snapshot is sent at this step of the ladder."""

    tick: Tick
    cx: ChunkIndex
    cy: ChunkIndex
    count: Annotated[U32, Meta(description="people in the cell")]


class Closing(ServerMessage, tag=76):
    """The last message before the server closes the connection."""

    code: CloseCode
    message: str
    retry_after_ms: Annotated[U32 | None, Meta(description="absent: do not come back by yourself")] = None
    resume: Annotated[Token | None, Meta(description="a ticket that outlives a restart")] = None


class LandClaimed(ServerMessage, tag=77):
    """Land in your sight was nobody's and has an owner now."""

    parcel: Annotated[Parcel, Meta(description="as it is now")]


class LandChanged(ServerMessage, tag=78):
    """A parcel in sight, or given to you, is another than before: its owner, its shape, its name, or what everybody may do there."""

    parcel: Annotated[Parcel, Meta(description="as it is now")]


class LandFreed(ServerMessage, tag=79):
    """A parcel in your sight, or one of yours, is no more: the land is nobody's, or part of another that `land_changed` tells of."""

    parcel_id: ParcelId


class EntryDenied(ServerMessage, tag=80):
    """You were stopped at the border of a parcel; told once until you walk on."""

    parcel_id: ParcelId
    trouble: Trouble
    message: Annotated[str, Meta(description="which rule of which parcel, and who can change it")]


class WalletChanged(ServerMessage, tag=81):
    """Your money is another than before; it is stored."""

    balance: Money
    held: Annotated[int, Meta(ge=0, le=MONEY_MAX, description="set aside, in poisha")]
    seq: Annotated[U64, Meta(description="place in the journal of what changed it")]


class LeaseEnded(ServerMessage, tag=82):
    """A lease in which you had part is over: the deposit is back, and the parcel as it was before."""

    parcel_id: ParcelId
    tenant_id: Annotated[U32, Meta(description="player_id of who rented it")]


class UpkeepMissed(ServerMessage, tag=83):
    """The upkeep of a parcel of yours was due, and your wallet held too little."""

    parcel_id: ParcelId
    owed: Annotated[U64, Meta(description="to be there when it is due next, in poisha")]
    freed_ms: Annotated[U64, Meta(description="world time at which the land is nobody's if it is not paid")]


class ListingOpened(ServerMessage, tag=86):
    """A parcel in your sight is for sale."""

    listing: Annotated[Listing, Meta(description="as it is now")]


class ListingChanged(ServerMessage, tag=87):
    """The listing of a parcel in your sight is another than before: its price, its end, or what it was offered as."""

    listing: Annotated[Listing, Meta(description="as it is now")]


class ListingEnded(ServerMessage, tag=88):
    """A parcel in your sight, or that you had for sale, is not for sale any more; `land_changed` tells whose it is now. Who had it for
    sale and sees it is told twice, and by the first of the two perhaps before what went before.
    """

    listing_id: ListingId
    parcel_id: ParcelId
    seller_id: FormerSeller
    end: Annotated[SaleEnd, Meta(description="how it ended")]
    price: LastPrice
    buyer_id: Annotated[U32 | None, Meta(description="player_id of who bought it; nil: nobody")] = None


class AuctionOpened(ServerMessage, tag=89):
    """A parcel in your sight is in an auction."""

    auction: Annotated[Auction, Meta(description="as it is now")]


class AuctionBid(ServerMessage, tag=90):
    """Somebody bid for a parcel in your sight, or for one that you sell, lead in, or led in until now: then you are outbid."""

    auction_id: AuctionId
    parcel_id: ParcelId
    leader_id: Annotated[U32, Meta(description="player_id of who leads now")]
    leader_name: Name
    price: LeaderPrice
    fee: LeaderFee
    least: LeastBid
    bids: Annotated[U32, Meta(description="how many there were")]
    seq: Annotated[U64, Meta(description="its place in the journal")]
    ends_ms: EndsNow
    buy_now: BuyNow = None
    reserved: Reserved = None


class AuctionExtended(ServerMessage, tag=91):
    """The auction of such a parcel ends later than it did: somebody bid shortly before its end, or for a while nobody could."""

    auction_id: AuctionId
    parcel_id: ParcelId
    seq: Annotated[U64, Meta(description="place in the journal of what moved it")]
    ends_ms: EndsNow
    latest_ms: LatestEnd


class AuctionEnded(ServerMessage, tag=92):
    """The auction of such a parcel is over. `land_changed` tells whose it is now, and whoever won or sold it wherever they are. Who is
    concerned and sees it is told twice, and by the first of the two perhaps before what went before.
    """

    auction_id: AuctionId
    parcel_id: ParcelId
    seller_id: FormerSeller
    end: Annotated[SaleEnd, Meta(description="how it ended")]
    price: LastPrice
    winner_id: Annotated[U32 | None, Meta(description="player_id of who has it now; nil: nobody won")] = None


class MuteChanged(ServerMessage, tag=84):
    """You may not speak from now on, or you may again; told on entering, too, while you may not."""

    muted: bool
    reason: str
    until_ms: UntilMs = None


class RoleChanged(ServerMessage, tag=85):
    """Your role is another from now on."""

    role: Role


def name_of(message: type[msgspec.Struct]) -> str:
    """The wire name of a message class: `ChatSay` is `chat_say`."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", message.__name__).lower()


def code_of(message: type[msgspec.Struct]) -> int:
    """The wire code of a message class."""
    tag = message.__struct_config__.tag
    assert isinstance(tag, int)
    return tag


CLIENT_MESSAGES: tuple[type[ClientMessage], ...] = (
    Hello,
    Ping,
    Move,
    ChunkGet,
    ChatSay,
    PlayerFind,
    TileEdit,
    TileUndo,
    LandAt,
    LandIn,
    LandMine,
    LandForSale,
    LandToLet,
    LandQuote,
    LandClaim,
    LandDescribe,
    LandOpen,
    LandPermit,
    LandPermits,
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
    Wallet,
    WalletStatement,
    ReceiptGet,
    LandLet,
    LandRent,
    LandLeave,
    LandEase,
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
)
MODERATION_MESSAGES: tuple[type[ClientMessage], ...] = (
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
)
SERVER_MESSAGES: tuple[type[ServerMessage], ...] = (
    Welcome,
    Refused,
    Ok,
    Pong,
    Moved,
    Snapshot,
    Appeared,
    ChatSaid,
    Chunk,
    ChunkEdits,
    View,
    Crowd,
    Closing,
    LandClaimed,
    LandChanged,
    LandFreed,
    EntryDenied,
    WalletChanged,
    LeaseEnded,
    UpkeepMissed,
    ListingOpened,
    ListingChanged,
    ListingEnded,
    AuctionOpened,
    AuctionBid,
    AuctionExtended,
    AuctionEnded,
    MuteChanged,
    RoleChanged,
)
ACCOUNT_MESSAGES = tuple(message for message in CLIENT_MESSAGES if message.rule.rate is Rate.ACCOUNT)
# What goes through the journal. Accounts and moderation do not: a person must be able to go, and the journal is for ever.
DURABLE_MESSAGES = tuple(
    message
    for message in CLIENT_MESSAGES
    if "action_id" in message.__struct_fields__ and message not in (*ACCOUNT_MESSAGES, *MODERATION_MESSAGES)
)
