"""Private values at rest: sealed, so that whoever has the database, or a backup of it, has not what people entrusted to this server.

    version u8 = 1 | key id, 8 bytes | nonce, 12 bytes | AES-256-GCM of the text, 16 bytes longer than it

The AES key is derived from the key of that id in the ring `sealing` (HKDF with SHA-256). What is authenticated beside the text is where
it belongs, `table.column` and the row's id: a value that somebody puts into another place does not open. Nonces are drawn by chance,
which for 96 bits is good for 2^32 values a key (NIST SP 800-38D, section 8.3); a rotation begins anew.

A private value is found again by its lookup hash, HMAC-SHA-256 under a key of its own and over what kind of value it is: equal values
of a kind have equal hashes, which tell nothing to who lacks the key.

COLUMNS names every sealed column, so that a rotation (reseal.py) and a restore know all of them. They are bytea and called
`..._sealed`, which a test compares with the tables there are.
"""

import hashlib
import hmac
import os
import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from persistence.keyring import ID_BYTES, Ring
from persistence.store import StoreError

_log = structlog.get_logger(__name__)

VERSION = b"\x01"
NONCE_BYTES = 12
HEAD_BYTES = len(VERSION) + ID_BYTES  # the same for all values under one key
TEXT_BYTES_MAX = 65_536


@dataclass(frozen=True, slots=True)
class Column:
    """A column of sealed values. `row` is the column that names its rows, of the SQL type `row_type`; `kind` is for lookups."""

    kind: str
    table: str
    name: str
    row: str
    row_type: str = "bigint"


EMAIL = Column("email", "credentials", "email_sealed", "player_id")
ADDRESS = Column("address", "sessions", "address_sealed", "session_id", "uuid")
SANCTION_ADDRESS = Column("address", "sanctions", "address_sealed", "sanction_id")
REPORT_CONTENT = Column("report", "reports", "content_sealed", "report_id")
REPORT_NOTE = Column("note", "reports", "note_sealed", "report_id")
AUDIT_ADDRESS = Column("address", "moderation_audit", "address_sealed", "audit_id")
COLUMNS = (EMAIL, ADDRESS, SANCTION_ADDRESS, REPORT_CONTENT, REPORT_NOTE, AUDIT_ADDRESS)


class CannotOpen(StoreError):  # noqa: N818
    """A sealed value stays shut."""


class KeyMissing(CannotOpen):
    """The key it was sealed with is not here."""


class Damaged(CannotOpen):
    """It is not as it was sealed, or not where it was sealed for."""


class Sealer:
    """Seals and opens, with the ring that it has at the moment. Some 5 us a value."""

    def __init__(self, ring: Ring, lookup_key: bytes, now_ms: Callable[[], int] | None = None) -> None:
        self._lookup_key = lookup_key
        self._now_ms = now_ms or _wall_ms
        self.ring = ring

    @property
    def ring(self) -> Ring:
        """Whoever takes in another puts it here."""
        return self._ring

    @ring.setter
    def ring(self, ring: Ring) -> None:
        self._ring = ring
        self._ciphers = {bytes.fromhex(key.id): AESGCM(_derived(key.secret)) for key in ring.keys}

    @property
    def head(self) -> bytes:
        """What values begin with that are sealed now."""
        return VERSION + bytes.fromhex(self._ring.current(self._now_ms()).id)

    def seal(self, column: Column, row_id: int | str, text: str) -> bytes:
        """A value for one place only. Raises ValueError for a text that is too long, or that UTF-8 cannot hold."""
        plain = text.encode()
        if len(plain) > TEXT_BYTES_MAX:
            raise ValueError(f"a private value has {TEXT_BYTES_MAX:,} bytes at most")
        head, nonce = self.head, os.urandom(NONCE_BYTES)
        cipher = self._ciphers[head[len(VERSION) :]]
        return head + nonce + cipher.encrypt(nonce, plain, _place(column, row_id))

    def open(self, column: Column, row_id: int | str, sealed: bytes) -> str:
        """The text. Raises KeyMissing, Damaged."""
        key_id, nonce = sealed[len(VERSION) : HEAD_BYTES], sealed[HEAD_BYTES : HEAD_BYTES + NONCE_BYTES]
        if sealed[: len(VERSION)] != VERSION or len(nonce) < NONCE_BYTES:
            raise Damaged(f"{column.table}.{column.name} of {row_id} is no sealed value")
        cipher = self._ciphers.get(key_id)
        if cipher is None:
            raise KeyMissing(
                f"{column.table}.{column.name} of {row_id} was sealed with the key {key_id.hex()}, which is not here"
            )
        try:
            return cipher.decrypt(nonce, sealed[HEAD_BYTES + NONCE_BYTES :], _place(column, row_id)).decode()
        except (InvalidTag, UnicodeDecodeError):
            raise Damaged(
                f"{column.table}.{column.name} of {row_id} is not as it was sealed, or was sealed for another place"
            ) from None

    def opened(self, column: Column, row_id: int | str, sealed: bytes | None) -> str | None:
        """The text; None where there is none, or where it stays shut, which is logged: a world goes on without its lost keys."""
        if sealed is None:
            return None
        try:
            return self.open(column, row_id, sealed)
        except CannotOpen as error:
            _log.error("private_value_shut", error=str(error))
            return None

    def lookup(self, kind: str, text: str) -> bytes:
        """By what a value of this kind is found, 32 bytes; of what counts as the same value in one spelling, which is the caller's."""
        return hmac.digest(self._lookup_key, f"{kind}\0{text}".encode(), hashlib.sha256)


def _derived(secret: bytes) -> bytes:
    return HKDF(SHA256(), length=32, salt=None, info=b"landworld sealing").derive(secret)


def _place(column: Column, row_id: int | str) -> bytes:
    return f"{column.table}.{column.name}.{row_id}".encode()


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000
