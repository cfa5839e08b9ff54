"""Accounts against a real PostgreSQL: what their SQL promises beside the flusher and beside each other."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from uuid import uuid4

import pytest

from persistence.accounts import (
    RESET,
    VERIFY,
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
HOUR_S = 3_600.0


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


# --- codes ------------------------------------------------------------------------------------------------------


async def verified(books: Books, sql: Execute) -> Account:
    """Ada, whose address it is."""
    ada = await books.register("Ada", EMAIL)
    await sql("UPDATE credentials SET email_verified_at = now()")
    return ada


async def test_a_code_for_a_new_password_is_worth_nothing_once_the_password_was_changed(
    books: Books, sql: Execute
) -> None:
    """Guard: _END_RESETS in AccountStore.set_password."""
    ada = await verified(books, sql)
    assert not await books.rows.put_code(ada.player_id, RESET, "CODE", EMAIL, HOUR_S)
    await books.rows.set_password(ada.player_id, ada.password_hash, "another", None)
    assert await books.rows.whose_code(EMAIL, "CODE") is None
    assert await books.rows.reset_password(ada.player_id, "CODE", "a thief's") is None


async def test_a_code_that_went_to_an_address_of_before_sets_no_password(books: Books, sql: Execute) -> None:
    """Guard: email_hash in _RESET. The code may be stored after the address was changed, for it was read before."""
    ada = await verified(books, sql)
    assert await books.rows.set_email(ada, "new@example.org")
    assert not await books.rows.put_code(ada.player_id, RESET, "CODE", EMAIL, HOUR_S)
    assert await books.rows.reset_password(ada.player_id, "CODE", "a thief's") is None
    found = await books.rows.by_player(ada.player_id)
    assert found is not None
    assert found.password_hash == ada.password_hash


async def test_an_account_sends_a_code_of_a_kind_once_a_minute_whatever_the_address(
    books: Books, sql: Execute
) -> None:
    """Guard: _CODE_WAIT in AccountStore.put_code."""
    ada = await books.register("Ada", EMAIL)
    assert not await books.rows.put_code(ada.player_id, VERIFY, "FIRST", EMAIL, HOUR_S)
    for email in (EMAIL, "a@example.org", "b@example.org"):
        wait_ms = await books.rows.put_code(ada.player_id, VERIFY, "NEXT", email, HOUR_S)
        assert 0 < wait_ms <= 60_000
        assert 0 < await books.rows.code_wait_ms(ada.player_id, VERIFY) <= wait_ms
    assert not await books.rows.put_code(ada.player_id, RESET, "OTHER", EMAIL, HOUR_S)  # a kind of its own
    assert await books.rows.verify_email(ada.player_id, "FIRST")  # what went out is as good as it was
    assert not await books.rows.put_code(ada.player_id, VERIFY, "NEXT", EMAIL, HOUR_S)
    await sql("UPDATE codes SET sent_at = now() - interval '60 s'")
    assert not await books.rows.code_wait_ms(ada.player_id, VERIFY)
    assert not await books.rows.put_code(ada.player_id, VERIFY, "LAST", EMAIL, HOUR_S)
    assert await books.rows.verify_email(ada.player_id, "LAST")


# --- sessions ---------------------------------------------------------------------------------------------------


async def test_a_session_whose_time_is_up_can_be_ended_and_is_told_once_the_world_looks(
    books: Books, sql: Execute
) -> None:
    """Guards: _END does not ask for expires_at; _END_EXPIRED in AccountStore.forget_ended."""
    ada = await books.register("Ada")
    over, other = opening(-0.01), opening(-0.01)
    for one in (over, other):
        assert await books.rows.open_session(ada.player_id, one, ada.password_hash, None) == []
    assert await books.rows.end_sessions(ada.player_id, only=over.session_id) == [over.session_id]
    told = await books.rows.forget_ended()
    assert sorted(told) == sorted([over.session_id, other.session_id])
    assert sorted(await books.rows.forget_ended()) == sorted(told)  # again, for the answer may be lost
    await sql("UPDATE sessions SET ended_at = now() - interval '2 hours' WHERE expires_at <= now()")
    assert await books.rows.forget_ended() == []
    assert len(await books.rows.sessions(ada.player_id)) == 1
