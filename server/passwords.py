"""Passwords: which will do, and Argon2id in threads of its own.

A hash takes tens of milliseconds and as many MiB, so it is never made on the loop's thread. `Hasher` has a few threads, in which it
runs without the interpreter's lock. Their priority is low, but not the lowest, or nobody could sign in where the machine is busy.
Addresses take turns for them: who floods waits behind their own. How many may wait is bounded by who asks (accounts.requests_max).

A name that nobody has is checked, too, against a hash of nothing with the parameters of now, so that the time tells nothing of who is
here. Where the parameters were changed it tells something until everybody has signed in again: a hash of before takes its own time to
check, and no unknown name takes that. To give those the parameters of before in like number would not do: a known name goes over to
the new ones with its owner's next sign-in, for who watches to see.
"""

import asyncio
import contextlib
import os
import re
import secrets
import unicodedata
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from argon2.low_level import Type

from persistence.store import fold_name
from protocol.errors import Refusal, RefusalCode
from protocol.messages import PASSWORD_CHARS_MAX, PASSWORD_CHARS_MIN
from server.config import AccountsConfig
from server.turns import Turns

COMMON = Path(__file__).with_name("common_passwords.txt")
DISTINCT_CHARS_MIN = 5
GAME = "landworld"
OWN_WORD_CHARS_MIN = 4  # a shorter name may stand in a password by chance
BESIDE_OWN_WORD_MIN = 8  # characters that a password needs besides one's own name
NICE = 10  # against the tick's 0: a tenth of the time where both want the same core
SALT_BYTES, HASH_BYTES = 16, 32
SIGNS_AT_ENDS = re.compile(r"^[\W\d_]+|[\W\d_]+$")
RUNS = (
    "abcdefghijklmnopqrstuvwxyz" * 2,
    "0123456789" * 4,
    "1234567890" * 4,
    "qwertyuiopasdfghjklzxcvbnm",
    "qwertzuiopasdfghjklyxcvbnm",
)

T = TypeVar("T")


def normal(password: str) -> str:
    """The form in which a password is hashed: keyboards write some letters in more than one way."""
    return unicodedata.normalize("NFKC", password)


def check_password(password: str, name: str, email: str) -> str:
    """The password in its normal form. Raises Refusal, WEAK_PASSWORD, with what would do."""
    password = normal(password)
    if not PASSWORD_CHARS_MIN <= len(password) <= PASSWORD_CHARS_MAX:
        raise _weak(
            f"A password has {PASSWORD_CHARS_MIN} to {PASSWORD_CHARS_MAX} characters; a few words in a row do well."
        )
    folded = password.casefold()
    called = fold_name(name)
    own = (called, called.replace(" ", ""), email.casefold(), email.casefold().partition("@")[0], GAME)
    if any(_is_mostly(folded, word) for word in own):
        raise _weak(
            "Your name or address is too easily guessed; take words that have nothing to do with you."
        )
    if len(set(folded)) < DISTINCT_CHARS_MIN or any(folded in run or folded in run[::-1] for run in RUNS):
        raise _weak(
            "The same few characters, or a row of keys, are too easily guessed; take some words instead."
        )
    if _is_common(folded):
        raise _weak(
            "Many people have this password, or one like it; take some words that do not belong together."
        )
    return password


def _weak(advice: str) -> Refusal:
    return Refusal(RefusalCode.WEAK_PASSWORD, advice)


def _is_mostly(password: str, word: str) -> bool:
    if len(word) < OWN_WORD_CHARS_MIN:
        return password == word
    return word in password and len(password.replace(word, "")) < BESIDE_OWN_WORD_MIN


def _is_common(password: str) -> bool:
    stem = SIGNS_AT_ENDS.sub("", password)
    return any(word in _common() for word in (password, stem, _once(password), _once(stem)))


def _once(text: str) -> str:
    """What a text repeats, or the text itself."""
    period = (text + text).find(text, 1)
    return text[:period]


@cache
def _common() -> frozenset[str]:
    lines = COMMON.read_text(encoding="utf-8").splitlines()
    return frozenset(line for line in lines if not line.startswith("#"))


def _lower_priority() -> None:
    """On Linux a thread has a niceness of its own."""
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, NICE)


class Hasher:
    """Makes and checks hashes. All methods are for the loop's thread."""

    def __init__(self, config: AccountsConfig) -> None:
        _common()
        self.hashed_total = 0
        self._argon2 = PasswordHasher(
            config.argon2_passes,
            config.argon2_memory_kib,
            config.argon2_lanes,
            HASH_BYTES,
            SALT_BYTES,
            type=Type.ID,
        )
        self._nobodys = self._argon2.hash(secrets.token_urlsafe())
        self._pool = ThreadPoolExecutor(config.hash_threads, "password", _lower_priority)
        self._free = config.hash_threads
        self._turns: Turns[str, asyncio.Future[None]] = Turns(config.requests_max)
        self.waiting = 0

    def stop(self) -> None:
        """No hash is begun after this."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def make(self, password: str, address: str) -> str:
        """A hash of it, with salt and parameters."""
        return await self._in_turn(address, lambda: self._argon2.hash(password))

    async def check(self, hashed: str | None, password: str, address: str) -> bool:
        """Whether this is the password; None is for who is not there."""
        right = await self._in_turn(address, lambda: self._is_right(hashed or self._nobodys, password))
        return right and hashed is not None

    def is_outdated(self, hashed: str) -> bool:
        """Whether it was made with other parameters than those of now."""
        return self._argon2.check_needs_rehash(hashed)

    def _is_right(self, hashed: str, password: str) -> bool:
        with contextlib.suppress(VerificationError, InvalidHashError):
            return self._argon2.verify(hashed, password)
        return False

    async def _in_turn(self, address: str, work: Callable[[], T]) -> T:
        if self._free:
            self._free -= 1
        else:
            await self._wait_for_turn(address)
        try:
            self.hashed_total += 1
            return await asyncio.get_running_loop().run_in_executor(self._pool, work)
        finally:
            self._hand_on()

    async def _wait_for_turn(self, address: str) -> None:
        turn = asyncio.get_running_loop().create_future()
        assert self._turns.put(address, turn), "more wait than may ask"
        self.waiting += 1
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # it was its turn already
                self._hand_on()
            raise

    def _hand_on(self) -> None:
        """A thread is free: the next one's turn."""
        while self._turns:
            _, turn = self._turns.take()
            self.waiting -= 1
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1
