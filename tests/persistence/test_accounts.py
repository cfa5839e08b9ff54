"""Accounts against a real PostgreSQL: what their SQL promises beside the flusher and beside each other."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from uuid import uuid4

import pytest

from persistence.accounts import (
    Account,
    AccountStore,
    AnotherAction,
    DoneBefore,
    Opening,
    Registration,
)
from persistence.keyring import Key, Ring
from persistence.sealing import Sealer
from persistence.store import Batch, Store
from tests.conftest import POOL_SIZE, Execute
from tests.persistence.support import Chronicle, claim
from tests.world.support import ADA

SEALER = Sealer(Ring((Key(b"o" * 32, 1),)), b"l" * 32)
EMAIL = "ada@example.org"


@dataclass
class Books:
    """A world with accounts."""

    store: Store
    epoch: int
    rows: AccountStore

    async def register(self, name: str, email: str = "", action_id: bytes = b"") -> Account:
        new = Registration(action_id or uuid4().bytes, name, email, f"hash of {name}", 1, 0.0, 0.0, None)
        return await self.rows.register(new, opening())


def opening(days: float = 7.0) -> Opening:
    return Opening(uuid4(), "tests", "127.0.0.1", days)


@pytest.fixture
async def books(dsn: str) -> AsyncIterator[Books]:
    store = await Store.open(dsn, POOL_SIZE)
    epoch = (await store.open_world(7)).epoch
    yield Books(store, epoch, AccountStore(store, SEALER, epoch))
    await store.close()


# --- once -------------------------------------------------------------------------------------------------------


async def test_an_action_id_that_a_registration_took_does_not_stop_the_journal(books: Books) -> None:
    """Guard: `registrations` is a table of its own; in `answers` the flusher came upon it, and the server stopped."""
    told = Chronicle()
    (entry,) = told.do(ADA, claim(0, 0))
    assert entry.action_id is not None
    await books.register("Ada", action_id=entry.action_id)  # commits while the entry waits for the flusher
    await books.store.save(books.epoch, Batch(9, entries=[entry]))
    assert (await books.store.find_answers([entry.action_id]))[entry.action_id].seq == 1


async def test_a_registration_happens_once_even_after_the_account_is_gone(books: Books, sql: Execute) -> None:
    """Guards: _REGISTERED and what _GOES leaves of a registration, which says nothing of who it was."""
    action_id = uuid4().bytes
    ada = await books.register("Ada", EMAIL, action_id)
    with pytest.raises(DoneBefore):
        await books.register("Ada", EMAIL, action_id)
    with pytest.raises(AnotherAction):
        await books.register("Bea", EMAIL, action_id)
    await books.rows.delete(ada.player_id)
    with pytest.raises(AnotherAction):
        await books.register("Ada", EMAIL, action_id)
    (row,) = await sql("SELECT content_digest FROM registrations")
    assert row["content_digest"] == b""
