"""Who comes in, asked of a directory whose database answers when the test says so."""

import asyncio
from typing import Any

import pytest

from persistence.keyring import Ring
from persistence.store import Entrant, PlayerRow, account_key
from protocol.errors import Refusal, RefusalCode
from protocol.messages import PROTOCOL_VERSION, Hello
from server.auth import Signer
from server.directory import FORGET_ROWS, RETRY_AFTER_MS, Directory, Newcomer
from server.spawn import MIDDLE

QUEUE_MAX = 2
SIGNER = Signer(Ring.of(b"k" * 32))
GUEST = Hello(PROTOCOL_VERSION, "tests")


class Shelf:
    """The table of players, the places of newcomers and what the flusher holds."""

    def __init__(self) -> None:
        self.entrants: list[Entrant] = []
        self.known: set[str] = set()
        self.spawn_places = self
        self.guests = 3 * FORGET_ROWS + 1  # who never came back
        self.pruned = asyncio.Event()

    async def enter_players(self, _: int, entrants: list[Entrant]) -> list[PlayerRow]:
        self.entrants += entrants
        return [
            PlayerRow(number, one.key, one.name, one.role or "guest", one.look, one.x, one.y, 0, 0)
            for number, one in enumerate(entrants, 1)
        ]

    async def blocked_by(self, player_ids: list[int]) -> dict[int, list[int]]:
        return {1: [7]} if 1 in player_ids else {}

    async def known_keys(self, keys: list[str]) -> set[str]:
        return self.known & set(keys)

    async def find(self, count: int, _: float) -> list[tuple[float, float]]:
        return [(7.5, float(number)) for number in range(count)]

    async def prune_guests(self, _: int, __: float, ___: list[int], rows_max: int) -> int:
        self.guests -= (gone := min(self.guests, rows_max))
        if not self.guests:
            self.pruned.set()
        return gone

    def latest_position(self, _: int) -> None:
        return None


def directory(shelf: Any, **changes: Any) -> Directory:
    return Directory(shelf, shelf, shelf, SIGNER, 1, 48.0, changes.get("guests_allowed", True), QUEUE_MAX)


def ignore(_: object) -> None:
    """An answer nobody waits for."""


async def test_a_full_queue_says_when_to_come_again() -> None:
    """Guard: RETRY_AFTER_MS; without it a client takes the refusal for the last word and stays away after a restart."""
    full = directory(Shelf())
    for _ in range(QUEUE_MAX):
        full.sign_in(GUEST, ignore)
    with pytest.raises(Refusal) as refused:
        full.sign_in(GUEST, ignore)
    assert refused.value.code is RefusalCode.UNAVAILABLE
    assert refused.value.retry_after_ms == RETRY_AFTER_MS


async def test_whoever_waits_is_answered_in_their_order() -> None:
    shelf, came = Shelf(), asyncio.Queue[Newcomer | Refusal]()
    served = directory(shelf)
    for name in ("Ada", "Bo"):
        served.sign_in(Hello(PROTOCOL_VERSION, "tests", SIGNER.access(name, 4e9, 1)), came.put_nowait)
    served.start()
    outcomes = [await came.get(), await came.get()]
    await served.stop()
    assert [one.row.name for one in outcomes if isinstance(one, Newcomer)] == ["Ada", "Bo"]


async def test_only_who_has_no_row_needs_a_place_to_appear() -> None:
    shelf, came = Shelf(), asyncio.Queue[Newcomer | Refusal]()
    shelf.known = {account_key("Bo")}
    served = directory(shelf)
    for name in ("Ada", "Bo"):
        served.sign_in(Hello(PROTOCOL_VERSION, "tests", SIGNER.access(name, 4e9, 1)), came.put_nowait)
    served.start()
    for _ in range(2):
        await came.get()
    await served.stop()
    assert [(one.name, one.x, one.y) for one in shelf.entrants] == [("Ada", 7.5, 0.0), ("Bo", *MIDDLE)]


async def test_guests_are_forgotten_in_portions_until_none_is_left() -> None:
    shelf = Shelf()
    served = directory(shelf)
    served.start()
    for _ in range(3):  # while it goes on, asking again is no more work
        served.forget_guests(30.0, {1})
    await shelf.pruned.wait()
    await served.stop()
    assert shelf.guests == 0
