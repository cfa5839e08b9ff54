"""Rings of secret keys, and the files that they are kept in.

A ring is one purpose's keys, oldest first. One of them is current: with it new things are made. The others only read what was made with
them, until they retire. A key's id follows from the key, so nobody has to give it a name and no name can stand for another key.

    landworld-keys 1                        the file: this line, then a key a line, oldest first
    MADE_AT_MS RETIRES_AT_MS HEX            milliseconds since 1970; 0: not known, and not decided

Rules
    1. A file is whole or not there, for its owner only, and on the disk before anybody uses the key (files.py).
    2. Making never replaces what another process made meanwhile; who changes a ring holds the lock of its directory.
    3. A new key becomes current RIPE_MS after it was made, and whoever uses a ring looks at its file more often than that. So all know
       a key before the first thing made with it comes by, whichever process made it.

A file without the first line is a key by itself, as they were before there were rings: the oldest of its ring.
"""

import contextlib
import fcntl
import hashlib
import hmac
import os
import secrets
import string
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import msgspec

from persistence import files

KEY_BYTES = 32
KEY_BYTES_MIN = 32  # RFC 7518 section 3.2: as long as the digest of HS256
KEYS_MAX = 32  # in a ring
FILE_BYTES_MAX = 65_536  # more is no ring of ours
RIPE_MS = 10_000
ID_BYTES = 8
HEAD = b"landworld-keys 1\n"


class BadRing(OSError):  # noqa: N818 (what a person must mend)
    """A file holds no usable keys; the message says what to do."""


class Key(msgspec.Struct, frozen=True, array_like=True):
    """A secret. `made_at_ms` 0: from before there were rings, or from outside; `retires_at_ms` 0: not decided."""

    secret: bytes
    made_at_ms: int = 0
    retires_at_ms: int = 0

    def __repr__(self) -> str:
        return f"Key({self.id})"  # a key has no place in a log

    @property
    def id(self) -> str:
        """16 hexadecimal digits."""
        return hmac.digest(self.secret, b"landworld key id", hashlib.sha256)[:ID_BYTES].hex()

    def is_retired(self, now_ms: int) -> bool:
        """Whether nothing is to be read with it any more."""
        return 0 < self.retires_at_ms <= now_ms


class Ring:
    """The keys of one purpose, oldest first; it never changes, a change is another ring."""

    def __init__(self, keys: tuple[Key, ...]) -> None:
        if not keys:
            raise ValueError("a ring holds a key at least")
        self.keys = keys
        self._by_id = {key.id: key for key in keys}

    @classmethod
    def of(cls, *given: bytes) -> Self:
        """Keys from outside, oldest first."""
        return cls(tuple(Key(secret) for secret in given))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Ring) and self.keys == other.keys

    def __hash__(self) -> int:
        return hash(self.keys)

    def __repr__(self) -> str:
        return f"Ring({', '.join(self._by_id)})"

    def current(self, now_ms: int) -> Key:
        """The one to make new things with: the newest that is ripe, or the oldest where none is."""
        valid = [key for key in self.keys if not key.is_retired(now_ms)] or [self.keys[-1]]
        ripe = [key for key in valid if key.made_at_ms + RIPE_MS <= now_ms]
        return ripe[-1] if ripe else valid[0]

    def get(self, key_id: str, now_ms: int) -> Key | None:
        """The key of this id, unless it has retired."""
        key = self._by_id.get(key_id)
        return None if key is None or key.is_retired(now_ms) else key

    def __contains__(self, key_id: str) -> bool:
        return key_id in self._by_id

    def with_new(self, now_ms: int, read_for_ms: int | None) -> "Ring":
        """With a key more. Those before read for so long what they made, None: as long as there is something to read.

        Who has retired is left out. Raises ValueError where there are too many.
        """
        kept = tuple(key for key in self.keys if not key.is_retired(now_ms))
        if read_for_ms is not None:
            end_ms = now_ms + RIPE_MS + read_for_ms
            kept = tuple(
                key if key.retires_at_ms else msgspec.structs.replace(key, retires_at_ms=end_ms)
                for key in kept
            )
        if len(kept) >= KEYS_MAX:
            raise ValueError(f"the ring holds {len(kept)} keys that are still needed, and {KEYS_MAX} at most")
        return Ring((*kept, made(now_ms)))

    def without(self, key_ids: set[str]) -> "Ring":
        """Without these keys. Raises ValueError when nothing would be left."""
        return Ring(tuple(key for key in self.keys if key.id not in key_ids))


def made(now_ms: int) -> Key:
    """A new key, by chance."""
    return Key(secrets.token_bytes(KEY_BYTES), now_ms)


# --- files -------------------------------------------------------------------------------------------------------------------------


def load_ring(path: Path, now_ms: int) -> Ring:
    """The ring in a file; where there is none, one with a new key is made. Raises BadRing, OSError."""
    try:
        return read_ring(path)
    except FileNotFoundError:
        files.write_new(path, _packed(Ring((made(now_ms),))))
        return read_ring(path)


def read_ring(path: Path) -> Ring:
    """The ring in a file. Raises FileNotFoundError, BadRing, OSError."""
    content = _content(path)
    if not content.startswith(HEAD):
        return Ring.of(_long_enough(path, content))
    keys = []
    for number, line in enumerate(content[len(HEAD) :].decode("ascii", "replace").splitlines(), 2):
        made_at_ms, retires_at_ms, secret = _words(path, number, line)
        if not (made_at_ms.isdigit() and retires_at_ms.isdigit() and set(secret) <= set(string.hexdigits)):
            raise _bad(path, f"line {number} is no key")
        keys.append(
            Key(_long_enough(path, _unhexed(path, number, secret)), int(made_at_ms), int(retires_at_ms))
        )
    if not 1 <= len(keys) <= KEYS_MAX or len({key.id for key in keys}) != len(keys):
        raise _bad(path, f"it holds {len(keys)} keys where there are 1 to {KEYS_MAX}, each once")
    return Ring(tuple(keys))


def load_secret(path: Path) -> bytes:
    """A key by itself in a file, made when there is none: for what never changes. Raises BadRing, OSError."""
    try:
        return _long_enough(path, _content(path))
    except FileNotFoundError:
        files.write_new(path, secrets.token_bytes(KEY_BYTES))
        return _long_enough(path, _content(path))


def replace_ring(path: Path, ring: Ring) -> None:
    """Writes a ring in the place of another; for who holds `changing`. Raises OSError."""
    files.replace(path, _packed(ring))


@contextlib.contextmanager
def changing(path: Path) -> Iterator[None]:
    """The only one who changes rings in the directory of this file; another waits."""
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)
        yield
    finally:
        os.close(directory)  # and the lock with it, however this ends


def _packed(ring: Ring) -> bytes:
    lines = (f"{key.made_at_ms} {key.retires_at_ms} {key.secret.hex()}\n" for key in ring.keys)
    return HEAD + "".join(lines).encode()


def _content(path: Path) -> bytes:
    with path.open("rb") as file:
        content = file.read(FILE_BYTES_MAX + 1)
    if len(content) > FILE_BYTES_MAX:
        raise _bad(path, f"it holds more than {FILE_BYTES_MAX:,} bytes")
    return content


def _words(path: Path, number: int, line: str) -> list[str]:
    words = line.split(" ")
    if len(words) != 3:
        raise _bad(path, f"line {number} is no key")
    return words


def _unhexed(path: Path, number: int, secret: str) -> bytes:
    try:
        return bytes.fromhex(secret)
    except ValueError:
        raise _bad(path, f"line {number} is no key") from None


def _long_enough(path: Path, secret: bytes) -> bytes:
    if len(secret) < KEY_BYTES_MIN:
        raise _bad(path, f"it holds {len(secret)} bytes where a key has {KEY_BYTES_MIN} at least")
    return secret


def _bad(path: Path, why: str) -> BadRing:
    return BadRing(
        f"{path} cannot be used: {why}. Put back a copy, or delete the file: a new key is made then, and what was made with "
        "those that are lost (tokens, tickets, sealed values, receipts) is void"
    )
