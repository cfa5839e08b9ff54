"""Who may say who they are: signed tokens and resume tickets.

Both are JWTs with one pinned algorithm (HS256), told apart by `typ`; a token for one purpose is worth nothing for another.

    access   signed offline by `landworld token`: `sub` is the name, which is the player, and the role is given with it, up or down.
             Or made by a login: `sub` is the player_id and `sid` the session, which must not have ended; the role is the row's
    refresh  makes new tokens of a session, once: `gen` counts them (server/accounts.py)
    resume   given out with every `welcome`; `sub` is the player's key. While the player still stands in the world it goes
             on there; afterwards it signs the same player in again, which is how a guest is the same guest tomorrow.
             It says nothing of a role, and of an account's connection it is worth nothing once the session, its `sid`, has ended

They are signed with the current key of a ring (persistence/keyring.py), and `kid` in the header names it. Nothing of a token is
believed, or even parsed, before its signature is seen to be right: the header must be, letter by letter, one that this server writes
for one of its keys, so there is no algorithm to choose and no `kid` to look up anywhere. Signing and checking take some 20 us: they
may run in the loop.
"""

import base64
import json
import re
import secrets
import time
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

import jwt

from persistence.keyring import Ring
from persistence.store import account_key, fold_name
from protocol.messages import NAME_CHARS_MAX, TOKEN_CHARS_MAX, Role
from world.text import is_plain

ALGORITHM = "HS256"
ISSUER = "landworld"
DAY_S = 86_400
ALIKE = {
    "LATIN",
    "GREEK",
    "CYRILLIC",
    "ARMENIAN",
    "COPTIC",
    "CHEROKEE",
    "LISU",
}  # as Unicode's names of characters begin
GENERATION_MAX = 2**62
FOLDED_CHARS_MAX = 2 * NAME_CHARS_MAX  # of a name as it is compared: a sharp s is two of them
# Three parts of base64url without padding, the last exactly 32 bytes in the one way to write them: no two texts are the same token.
SHAPE = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]")
CLAIMS: dict[str, type] = {"sub": str, "iss": str, "aud": str, "typ": str, "iat": int, "exp": int}


def now_s() -> float:
    """Seconds since 1970, for tokens."""
    return time.time()


class BadToken(Exception):  # noqa: N818 (an answer to a client, not a fault of ours)
    """The token is forged, stale, or for another purpose; the message tells the client what to do."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a token or ticket speaks for: the key of the players' table, and what a new row of it would hold.

    Where there is a session, that alone says who it is.
    """

    key: str
    name: str
    role: Role | None  # None: whatever the player's row says
    session_id: UUID | None = None


def check_name(name: str) -> str:
    """The name as it will be shown. Raises ValueError with a reason when nobody may be called so."""
    name = unicodedata.normalize("NFC", name)
    if not 1 <= len(name) <= NAME_CHARS_MAX:
        raise ValueError(f"a name has 1 to {NAME_CHARS_MAX} characters")
    if (
        len(fold_name(name)) > FOLDED_CHARS_MAX
    ):  # one sign may stand for eighteen, and the key in a ticket has them all
        raise ValueError("some of its signs stand for too many letters")
    if not is_plain(name):
        raise ValueError("a name has no signs that nobody sees, and one space between its words")
    if not any(unicodedata.category(character)[0] in "LNS" for character in name):
        raise ValueError("a name has a letter")
    if name.startswith("#"):  # as player_ids are written at the console
        raise ValueError("a name has no # in front")
    if len({unicodedata.name(character, "").partition(" ")[0] for character in name} & ALIKE) > 1:
        raise ValueError("a name has letters of one alphabet, for some of different ones look the same")
    return name


class Signer:
    """Signs and checks, with the ring that it has at the moment. Times are seconds since 1970."""

    def __init__(self, ring: Ring) -> None:
        self.ring = ring

    @property
    def ring(self) -> Ring:
        """Whoever takes in another puts it here."""
        return self._ring

    @ring.setter
    def ring(self, ring: Ring) -> None:
        self._ring = ring
        self._keys = {_header(key.id): key for key in ring.keys}
        oldest = ring.keys[0]
        if not oldest.made_at_ms:  # tokens of before there were rings name no key: there was this one
            self._keys[_header(None)] = oldest

    def access(self, name: str, now_s: float, days: float, role: Role = Role.USER) -> str:
        """A token with which a client signs in as the player of that name. Raises ValueError for a bad name."""
        return self._sign("access", {"sub": check_name(name), "role": role.value}, now_s, days)

    def resume(self, identity: Identity, now_s: float, days: float) -> str:
        """A ticket with which the same player goes on."""
        claims = {"sub": identity.key, "name": identity.name}
        if identity.session_id is not None:
            claims["sid"] = identity.session_id.hex
        return self._sign("resume", claims, now_s, days)

    def session(
        self, player_id: int, session_id: UUID, generation: int, now_s: float, access_s: float, days: float
    ) -> tuple[str, str]:
        """An access token and the refresh token of a session's generation."""
        claims = {"sub": str(player_id), "sid": session_id.hex, "jti": secrets.token_hex(8)}
        access = self._sign("access", claims, now_s, access_s / DAY_S)
        return access, self._sign("refresh", {**claims, "gen": generation}, now_s, days)

    def read_access(self, token: str) -> Identity:
        """Who an access token speaks for. Raises BadToken."""
        claims = self._check("access", token)
        try:
            if "sid" in claims:
                return Identity("", "", None, _session_of(claims))
            name = check_name(str(claims["sub"]))
            return Identity(account_key(name), name, Role(str(claims.get("role"))))
        except ValueError as error:
            raise BadToken(f"The token is not usable: {error}.") from None

    def read_refresh(self, token: str) -> tuple[UUID, int]:
        """The session and the generation of a refresh token. Raises BadToken."""
        claims = self._check("refresh", token)
        session_id, generation = _session_of(claims), claims.get("gen")
        if session_id is None or type(generation) is not int or not 0 < generation < GENERATION_MAX:
            raise BadToken("The token is not usable; sign in again.")
        return session_id, generation

    def read_resume(self, ticket: str) -> Identity:
        """Who a resume ticket speaks for. Raises BadToken."""
        claims = self._check("resume", ticket)
        try:
            return Identity(str(claims["sub"]), str(claims["name"]), None, _session_of(claims))
        except KeyError:
            raise BadToken("The ticket is not usable; sign in again.") from None

    def _sign(self, kind: str, claims: Mapping[str, str | int], now_s: float, days: float) -> str:
        now = int(now_s)
        stamps = {"iss": ISSUER, "aud": kind, "typ": kind, "iat": now, "exp": now + int(days * DAY_S)}
        key = self._ring.current(int(now_s * 1_000))
        token = jwt.encode({**claims, **stamps}, key.secret, ALGORITHM, headers={"kid": key.id})
        if len(token) > TOKEN_CHARS_MAX:
            raise ValueError("the token would be too long for the wire")
        return token

    def _check(self, kind: str, token: str) -> dict[str, object]:
        key = self._keys.get(token.partition(".")[0]) if SHAPE.fullmatch(token) else None
        if key is None or key.is_retired(int(now_s() * 1_000)):
            raise BadToken("The token is not valid here; sign in again.")
        try:
            claims: dict[str, object] = jwt.decode(
                token,
                key.secret,
                algorithms=[ALGORITHM],
                issuer=ISSUER,
                audience=kind,
                # A clock that was set back must not turn away tickets of a moment ago.
                options={"require": list(CLAIMS), "verify_iat": False},
            )
        except jwt.ExpiredSignatureError:
            raise BadToken("The token has run out; sign in again.") from None
        except jwt.PyJWTError:
            raise BadToken("The token is not valid here; sign in again.") from None
        if any(type(claims[name]) is not wanted for name, wanted in CLAIMS.items()):  # True is no number here
            raise BadToken("The token is not valid here; sign in again.")
        if claims["typ"] != kind:
            raise BadToken("The token is for another purpose; sign in again.")
        return claims


def _session_of(claims: dict[str, object]) -> UUID | None:
    """The session that a token belongs to, if it belongs to one. Raises BadToken."""
    if "sid" not in claims:
        return None
    try:
        return UUID(hex=str(claims["sid"]))
    except ValueError:
        raise BadToken("The token is not usable; sign in again.") from None


def _header(kid: str | None) -> str:
    """The first part of the tokens that we sign with a key, as PyJWT writes it."""
    header = {"alg": ALGORITHM, "typ": "JWT"} | ({"kid": kid} if kid else {})
    packed = json.dumps(header, separators=(",", ":"), sort_keys=True).encode()
    return base64.urlsafe_b64encode(packed).rstrip(b"=").decode()
