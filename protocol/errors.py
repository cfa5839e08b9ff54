"""Why a request was refused and why a connection was closed.

Three kinds of trouble are never mixed. A *refusal* is a normal answer: the connection lives on and the message tells a person
what to do. A *close* ends a connection that broke the protocol or has no place any more; the code travels in the WebSocket close
frame. A broken invariant is neither: it stops the server, loudly.

    ProtocolError          their fault: the bytes or the behaviour of the peer
    └── carries a CloseCode and a reason (at most 123 bytes of UTF-8, RFC 6455 section 5.5)
"""

from enum import IntEnum

CLOSE_REASON_BYTES_MAX = 123


class MeaningInt(IntEnum):
    """A whole number with a meaning in words beside it, so that documents and clients read it from here."""

    meaning: str

    def __new__(cls, value: int, meaning: str = "") -> "MeaningInt":
        """The member `value`, explained by `meaning`."""
        member = int.__new__(cls, value)
        member._value_ = value
        member.meaning = meaning
        return member


class RefusalCode(MeaningInt):
    """What stands in the `code` field of `refused`."""

    BAD_REQUEST = 1, "understood, but a value makes no sense"
    NOT_ALLOWED = 2, "not with this role, or not in this state"
    RATE_LIMITED = 3, "too often; retry_after_ms says when again"
    UNAVAILABLE = 4, "the server cannot do this now; retry_after_ms says when to try again"
    NOT_FOUND = 5, "no such player, chunk or thing"
    OUT_OF_RANGE = 6, "too far from where you stand"
    BAD_TOKEN = 7, "forged, stale, or for another purpose: sign in again"
    GUESTS_FORBIDDEN = 8, "this server wants a token"
    WRONG_VERSION = 9, "another protocol version"
    WORLD_FULL = 10, "no place left; try again later"
    TAKEN = 11, "this land has an owner, or something stands there"
    NOT_OWNER = 12, "this is not yours to do; the message says who can"
    INSUFFICIENT_FUNDS = 13, "the wallet holds less than this costs"
    LIMIT_REACHED = 14, "more than one player, or one parcel, may have"
    CHANGED = 15, "no longer as you saw it; look again"
    CUT_OFF = (
        16,
        "open land would not be one piece any more, or not beside every parcel; water counts as open land",
    )
    BAD_CREDENTIALS = 17, "no such name with this password"
    LOCKED = (
        18,
        "too many wrong passwords for this name; retry_after_ms says when again. Who is signed in is not touched",
    )
    NAME_TAKEN = 19, "somebody is called so already"
    WEAK_PASSWORD = 20, "too easily guessed; the message says what would do"
    TOKEN_REUSED = (
        21,
        "this refresh token was used before, so the session has ended everywhere: sign in again",
    )
    FORBIDDEN = 22, "not with how you are signed in; the message says what it takes"
    BANNED = 23, "kept out by a moderator; the message says why and until when"
    MUTED = 24, "a moderator took your voice; the message says why, retry_after_ms until when"
    UNSEEMLY = 25, "a word in it is not wanted here: say it otherwise"
    TOO_LOW = 26, "less than the least that is taken; the message says how much that is"
    ENDED = 27, "this is over, or never was"


class CloseCode(MeaningInt):
    """Close codes in use: those of RFC 6455 we send ourselves, and ours from 4000 on."""

    NORMAL = 1000, "the client leaves for good, or the server has nothing more to say"
    GOING_AWAY = 1001, "the server shuts down"
    PROTOCOL_ERROR = 1002, "WebSocket framing broken, fragments without end, unmasked frames"
    UNSUPPORTED_DATA = 1003, "a text frame: this protocol is binary"
    INVALID_DATA = 1007, "not MessagePack, an unknown code, wrong types, missing or extra fields"
    POLICY_VIOLATION = 1008, "right bytes, wrong behaviour: not in this state"
    TOO_BIG = 1009, "a message over the limit"
    INTERNAL_ERROR = 1011, "our fault"
    REPLACED = 4000, "the same player signed in on a newer connection"
    HELLO_TIMEOUT = 4001, "connected and said nothing"
    IDLE_TIMEOUT = 4002, "nothing heard for too long"
    FLOODING = 4003, "rates passed again and again, after refusals"
    TOO_SLOW = 4004, "never reads what it is sent"
    REFUSED = 4005, "the hello was refused; the `refused` message before says why"
    REVOKED = (
        4006,
        "the session of this connection has ended: signed out, revoked, or the account is gone; sign in again",
    )
    BANNED = 4010, "a moderator keeps this player out; the `closing` message before says why and until when"
    KICKED = (
        4011,
        "a moderator sent this player away, who may come back; the `closing` message before says why",
    )


class Refusal(Exception):  # noqa: N818 (a refusal is an answer, no error)
    """A rule said no: a normal answer, with what to do next."""

    def __init__(self, code: RefusalCode, message: str, retry_after_ms: int | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.retry_after_ms = retry_after_ms


class ProtocolError(Exception):
    """The peer broke the protocol; the connection is closed with `code`."""

    def __init__(self, code: CloseCode, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason.encode()[:CLOSE_REASON_BYTES_MAX].decode(errors="ignore")
