"""The parts of accounts that need no socket: how often may be tried, which passwords will do, whose turn a hash is."""

import asyncio
import json
import threading
from typing import Any

import pytest

from protocol.errors import Refusal, RefusalCode
from server.accounts import _given_code, _joined, _new_code, _shown_code
from server.config import AccountsConfig, RateConfig
from server.lockouts import Lockouts
from server.passwords import Hasher, check_password

LOCK_S = 900.0
WIDE = RateConfig(per_s=1, burst=10_000)
CHEAP = AccountsConfig(argon2_memory_kib=8, hash_threads=1)


def lockouts(per_address: RateConfig = WIDE, names_max: int = 100) -> Lockouts:
    return Lockouts(5, LOCK_S, per_address, names_max)


def refusal(lock: Lockouts, name: str, now_s: float, address: str = "a") -> RefusalCode | None:
    """Why a try is refused; None, and it goes on, if it is not."""
    try:
        lock.begin(name, address, now_s)
    except Refusal as refused:
        return refused.code if refused.retry_after_ms else RefusalCode.BAD_REQUEST  # it must say when
    return None


def fail(lock: Lockouts, name: str, times: int, now_s: float = 0.0) -> None:
    for _ in range(times):
        assert refusal(lock, name, now_s) is None
        lock.failed(name, now_s)


# --- lockouts ------------------------------------------------------------------------------------------------


def test_five_failures_lock_a_name_for_fifteen_minutes_and_no_other() -> None:
    lock = lockouts()
    fail(lock, "ann", 5)
    assert refusal(lock, "ann", LOCK_S - 0.01) is RefusalCode.LOCKED
    assert refusal(lock, "bea", 0.0) is None
    assert refusal(lock, "ann", LOCK_S) is None
    assert lock.locked_total == 1


def test_of_tries_that_go_on_at_once_no_more_are_looked_at_than_may_fail() -> None:
    """Guard: `in_flight` in Lockouts.begin."""
    lock = lockouts()
    begun = [refusal(lock, "ann", 0.0) for _ in range(1_000)]
    assert begun.count(None) == 5
    assert set(begun[5:]) == {RefusalCode.RATE_LIMITED}
    for _ in range(5):
        lock.failed("ann", 0.0)
    assert refusal(lock, "ann", 1.0) is RefusalCode.LOCKED


def test_what_is_right_or_was_not_looked_at_counts_for_nothing() -> None:
    lock = lockouts()
    fail(lock, "ann", 4)
    assert refusal(lock, "ann", 0.0) is None
    lock.dropped("ann", "a")
    assert refusal(lock, "ann", 0.0) is None
    lock.succeeded("ann", "a")
    assert len(lock) == 0
    fail(lock, "ann", 4)
    assert refusal(lock, "ann", 0.0) is None


def test_failures_are_forgotten_after_the_time_of_a_lock() -> None:
    lock = lockouts()
    fail(lock, "ann", 4)
    fail(lock, "ann", 4, LOCK_S + 1)
    assert refusal(lock, "ann", LOCK_S + 2) is None


def test_an_address_pays_for_failures_only_whatever_the_names() -> None:
    """Guard: `give_back` in Lockouts.succeeded and dropped, and the bucket in begin."""
    lock = lockouts(RateConfig(per_s=1, burst=3))
    for number in range(50):
        assert refusal(lock, f"right {number}", 0.0) is None
        lock.succeeded(f"right {number}", "a")
    for number in range(3):
        fail(lock, f"wrong {number}", 1)
    assert refusal(lock, "another", 0.0) is RefusalCode.RATE_LIMITED
    assert refusal(lock, "another", 0.0, "elsewhere") is None
    assert refusal(lock, "a third", 1.0) is None


def test_what_is_remembered_is_bounded() -> None:
    """Guard: names_max in Lockouts.begin."""
    lock = lockouts(names_max=10)
    for number in range(100):
        fail(lock, f"name {number}", 1)
    assert len(lock) == 10
    assert refusal(lock, "name 0", 0.0) is None
    for number in range(200, 220):
        refusal(lock, f"name {number}", 0.0)
    lock.failed("name 0", 0.0)  # forgotten meanwhile: no harm


def test_another_way_to_show_who_one_is_ends_a_lock() -> None:
    lock = lockouts()
    fail(lock, "ann", 5)
    lock.forgive("ann")
    lock.forgive("nobody")
    assert refusal(lock, "ann", 1.0) is None


# --- which will do ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "password",
    [
        "eleven char",
        "x" * 129,
        "a" * 20,
        "abababababab",
        "abcdefghijkl",
        "lkjihgfedcba",
        "0987654321098",
        "qwertyuiopas",
        "PasswordPassword",
        "password1234!",
        "annabellesmith12",
        "landworld1234",
        "correcthorsebatterystaple",
        "!!Liverpool2024",
        "1q2w3e4r5t6y",
        "annabelle smith",
        "Annabelle Smith",
        "bella@example.org",
        "annabelle1",
        "".join(map(chr, range(0xFF41, 0xFF4D))),
    ],
)
def test_what_is_too_easily_guessed_is_refused(password: str) -> None:
    with pytest.raises(Refusal) as refused:
        check_password(password, "Annabelle Smith", "bella@example.org")
    assert refused.value.code is RefusalCode.WEAK_PASSWORD


@pytest.mark.parametrize(
    "password",
    [
        "seven horses on a roof",
        "x9$Kq-2m!Wz@",
        "নদীর ধারে একটি বাড়ি",
        "monkey-7Hq!x9Zp2",
        "ab1cd2ef3gh4" * 10 + "wxyz5678",
    ],
)
def test_what_nobody_guesses_will_do_up_to_128_characters(password: str) -> None:
    assert check_password(password, "Annabelle Smith", "bella@example.org")


def test_a_password_is_the_same_however_a_keyboard_writes_it() -> None:
    assert check_password("Café on the corner", "Ann", "") == check_password(
        "Cafe\u0301 on the corner", "Ann", ""
    )


# --- hashes --------------------------------------------------------------------------------------------------------


async def test_a_hash_is_right_for_its_password_only_and_nobody_has_none() -> None:
    hasher = Hasher(CHEAP)
    hashed = await hasher.make("seven horses", "a")
    assert hashed.startswith("$argon2id$")
    assert await hasher.check(hashed, "seven horses", "a")
    assert not await hasher.check(hashed, "seven horsez", "a")
    assert not await hasher.check(None, "seven horses", "a")
    assert not await hasher.check("no hash", "seven horses", "a")
    assert not hasher.is_outdated(hashed)
    assert Hasher(AccountsConfig(argon2_memory_kib=16)).is_outdated(hashed)
    assert hasher.hashed_total == 5
    hasher.stop()


async def test_who_is_not_there_is_checked_by_the_same_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guard: `_nobodys` in Hasher.check."""
    hasher = Hasher(CHEAP)
    looked_at: list[str] = []
    real = hasher._is_right

    def is_right(hashed: str, password: str) -> bool:
        looked_at.append(hashed)
        return real(hashed, password)

    monkeypatch.setattr(hasher, "_is_right", is_right)
    await hasher.check(None, "seven horses", "a")
    await hasher.check(await hasher.make("x", "a"), "seven horses", "a")
    parameters = [one.rsplit("$", 2)[0] for one in looked_at]
    assert parameters[0] == parameters[1]
    hasher.stop()


async def test_addresses_take_turns_so_one_that_floods_waits_behind_its_own() -> None:
    """Guard: Turns in Hasher._in_turn."""
    hasher = Hasher(CHEAP)
    gate, order = threading.Event(), list[str]()

    async def ask(address: str) -> None:
        await hasher._in_turn(address, lambda: order.append(address))

    first = asyncio.create_task(hasher._in_turn("first", gate.wait))
    await asyncio.sleep(0)
    flood = [asyncio.create_task(ask("flood")) for _ in range(50)]
    await asyncio.sleep(0)
    one = asyncio.create_task(ask("one"))
    await asyncio.sleep(0)
    assert hasher.waiting == 51
    gate.set()
    await asyncio.gather(first, one, *flood)
    assert order.index("one") <= 1
    assert (hasher.waiting, hasher._free) == (0, 1)
    hasher.stop()


async def test_who_gives_up_waiting_leaves_the_turn_to_the_next() -> None:
    """Guard: _hand_on after CancelledError, for who gives up when it is their turn already."""
    hasher = Hasher(CHEAP)
    gate, done = threading.Event(), list[int]()
    first = asyncio.create_task(hasher._in_turn("a", gate.wait))
    await asyncio.sleep(0)
    waiting = [asyncio.create_task(hasher._in_turn("a", lambda: done.append(1))) for _ in range(3)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    gate.set()
    await asyncio.gather(first, *waiting, return_exceptions=True)
    assert done == [1, 1]
    hasher._free = 0
    late = asyncio.create_task(hasher._in_turn("a", lambda: done.append(1)))
    await asyncio.sleep(0)
    hasher._hand_on()
    late.cancel()
    await asyncio.gather(late, return_exceptions=True)
    assert (done, hasher._free) == ([1, 1], 1)
    hasher.stop()


async def test_a_hash_runs_without_the_interpreters_lock() -> None:
    """While a dear one is made in its thread, this thread goes on: it counts far more turns than a held lock would let it."""
    hasher = Hasher(AccountsConfig(argon2_memory_kib=131_072, argon2_passes=4, hash_threads=1))
    task = asyncio.create_task(hasher.make("seven horses", "a"))
    turns = 0
    while not task.done():
        await asyncio.sleep(0)
        turns += 1
    assert turns > 50
    hasher.stop()


# --- codes, exports --------------------------------------------------------------------------------------------------


def test_a_code_is_read_as_people_write_it() -> None:
    code = _new_code()
    assert len(code) == 12
    assert _given_code(_shown_code(code).lower().replace("-", " ")) == code
    assert len({_new_code() for _ in range(1_000)}) == 1_000


def test_an_export_is_json() -> None:

    parts: dict[str, Any] = {"account": [b'{"a": 1}'], "said": [], "land": [b"{}", b"{}"]}
    assert json.loads(_joined(parts)) == {"account": [{"a": 1}], "said": [], "land": [{}, {}]}
