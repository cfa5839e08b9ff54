"""Every message that crosses the game socket, once.

A message is one class here. Its code is the tag, its name is the class name in snake_case, its fields travel in the order they
stand, its docstring is its documentation, as a field's `description` is the field's. What a client sends carries a `rule` as
well: in which state of the connection, from which role, and from which rate bucket it is paid. The codec, the session,
PROTOCOL.md, the JSON description and the browser's codec all read this file; nothing about a message is written down a second
time.

On the wire a message is a MessagePack array `[code, field, ...]`; trailing optional fields may be left out; one WebSocket message
carries one or more of them end to end. Positions are tiles, times are milliseconds of world time, ids are whole numbers.

Codes 1 to 63 come from clients, 64 to 127 from the server: one byte each.
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

    NEW = "new", "connected; only `hello` is understood"
    JOINING = "joining", "`hello` is being checked; the answer is `welcome`, or `refused` and a close"
    PLAYING = "playing", "in the world"


class Rate(MeaningStr):
    """Token buckets of a connection, but for HELLO; their sizes are `limits.rates` in config.toml."""

    HELLO = "hello", "signing in: one bucket for all at one address, `limits.hellos_per_address`"
    MOVEMENT = "movement", "inputs"
    CHAT = "chat", "talk"
    REQUEST = "request", "questions"
    CHUNK = "chunk", "ground"
    PING = "ping", "measuring the line"


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


@dataclass(frozen=True, slots=True)
class Rule:
    """Who may send a message, and when."""

    state: State
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

    heard_by: Annotated[U32, Meta(description="how many others it went to")]


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


# --- from clients ------------------------------------------------------------------------------------------


class Hello(ClientMessage, tag=1):
    """The first message. Without a token or a resume ticket one is a new guest."""

    protocol: Annotated[U16, Meta(description="the version you speak; another is refused with WRONG_VERSION")]
    client: Annotated[str, Meta(max_length=64, description="name and version of the program")]
    token: Annotated[Token | None, Meta(description="a signed access token")] = None
    resume: Annotated[Token | None, Meta(description="ticket of an earlier `welcome` or `closing`")] = None
    rule = Rule(State.NEW, Rate.HELLO)


class Ping(ClientMessage, tag=2):
    """Answered by `pong` at once; measures the line and keeps it alive."""

    nonce: Annotated[U32, Meta(description="comes back in `pong`")]
    rule = Rule(State.PLAYING, Rate.PING)


class Move(ClientMessage, tag=3):
    """Where one wants to go from now on; sent when it changes. A vector longer than 1 is shortened to 1; (0, 0) stands still."""

    seq: Annotated[U32, Meta(description="grows with each input; comes back in `moved`")]
    dx: Direction
    dy: Direction
    rule = Rule(State.PLAYING, Rate.MOVEMENT)


class ChunkGet(ClientMessage, tag=4):
    """Asks for the ground of a chunk near oneself, naming the version one holds."""

    request_id: RequestId
    cx: ChunkIndex
    cy: ChunkIndex
    version: Annotated[U32 | None, Meta(description="absent: holds none")] = None
    rule = Rule(State.PLAYING, Rate.CHUNK, result=ChunkResult)


class ChatSay(ClientMessage, tag=5):
    """Says something. `to` names the listener of a direct line."""

    request_id: RequestId
    channel: ChatChannel
    text: Annotated[str, Meta(min_length=1, max_length=CHAT_CHARS_MAX)]
    to: Annotated[U32 | None, Meta(description="player_id; for a direct line, ignored on other channels")] = (
        None
    )
    rule = Rule(State.PLAYING, Rate.CHAT, result=Said)


class PlayerFind(ClientMessage, tag=6):
    """Looks a player up by name (upper and lower case are the same)."""

    request_id: RequestId
    name: Name
    rule = Rule(State.PLAYING, Rate.REQUEST, result=PlayerFound)


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
    rule = Rule(State.PLAYING, Rate.REQUEST, Role.ADMIN, result=TilesEdited)


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
        Meta(description="everything up to this place in the journal is stored; 0 while there is no journal"),
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
        Meta(
            description="place in the journal; 0 while there is no journal, "
            "also for a tile_edit, which is stored before its `ok`"
        ),
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
    look: Annotated[U32, Meta(description="32 bits that a client turns into an appearance")]


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
)
