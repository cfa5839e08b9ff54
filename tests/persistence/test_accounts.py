"""Accounts against a real PostgreSQL: what their SQL promises beside the flusher and beside each other."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest

from persistence.accounts import (
    LEFT_NAME,
    RESET,
    VERIFY,
    Account,
    AccountStore,
    AnotherAction,
    DoneBefore,
    Ended,
    NameTaken,
    Opening,
    Registration,
)
from persistence.keyring import Key, Ring
from persistence.moderation import ADDRESS, Action, Actor, Change, ModerationStore, SanctionRow
from persistence.sealing import Sealer
from persistence.store import Batch, Entrant, Store, guest_key
from protocol.messages import ChatChannel, Evidence, LandLet, LandPermit, LandRent, Standing
from tests.conftest import POOL_SIZE, Execute
from tests.persistence.support import Chronicle, claim
from tests.world.support import ADA, BEA, CAL, PEOPLE, ids

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
    epoch = (await store.open_world(7, 20)).epoch
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


async def test_nobody_takes_the_name_of_a_guest_and_the_guest_keeps_it(books: Books) -> None:
    """Guard: guests in _IS_TAKEN. Who is named at the console would be another than the one who is called so in the world."""
    guest = Entrant(guest_key(uuid4()), "Lark Grove 2715", None, 1, 0.0, 0.0)
    (row,) = await books.store.enter_players(books.epoch, [guest])
    with pytest.raises(NameTaken):
        await books.register("lark grove 2715")
    ada = await books.register("Ada")
    with pytest.raises(NameTaken):
        await books.rows.edit_profile(ada.player_id, guest.name, None, None)
    await books.rows.may_register(uuid4().bytes, guest.name, "", guest.key)
    new = Registration(uuid4().bytes, guest.name, "", "a hash", 1, 0.0, 0.0, guest.key)
    assert (await books.rows.register(new, opening())).player_id == row.player_id


# --- sessions ---------------------------------------------------------------------------------------------------


async def test_a_session_whose_time_is_up_can_be_ended_and_is_told_once_the_world_looks(
    books: Books, sql: Execute
) -> None:
    """Guards: _END does not ask for expires_at; _END_EXPIRED in AccountStore.forget_ended."""
    ada = await books.register("Ada")
    over, other = opening(-0.01), opening(-0.01)
    for one in (over, other):
        assert await books.rows.open_session(ada.player_id, one, ada.password_hash, None) == []
    assert await books.rows.end_sessions(ada.player_id, only=over.session_id) == Ended([over.session_id], 1)
    again = await books.rows.end_sessions(ada.player_id, only=over.session_id)
    assert again == Ended([over.session_id], 0)  # the answer may have been lost
    told = await books.rows.forget_ended()
    assert sorted(told) == sorted([over.session_id, other.session_id])
    assert sorted(await books.rows.forget_ended()) == sorted(told)  # again, for the answer may be lost
    await sql("UPDATE sessions SET ended_at = now() - interval '2 hours' WHERE expires_at <= now()")
    assert await books.rows.forget_ended() == []
    assert len(await books.rows.sessions(ada.player_id)) == 1


# --- exports and going --------------------------------------------------------------------------------------------

AT_MS = 1_700_000_000_000
ADDRESS_OF_BEA = "192.0.2.7"


@dataclass
class Peace:
    """A world in which Ada moderates, Bea misbehaves and Cal reports."""

    books: Books
    moderation: ModerationStore

    def action(self, player_id: int) -> Action:
        return Action(uuid4().bytes, player_id, b"asked")

    async def report(self, by: int, about: int, text: str) -> int:
        line = Evidence(ChatChannel.WORLD, about, PEOPLE[about], "a rude word", AT_MS)
        told = self.action(by), Actor(by, PEOPLE[by], "192.0.2.1"), about, 0, text, [line], AT_MS, 5
        return int((await self.moderation.report(*told))["report_id"])

    async def exported(self, player_id: int) -> dict[str, list[dict[str, Any]]]:
        parts: dict[str, list[dict[str, Any]]] = {}
        async for part, rows in self.books.rows.export(player_id):
            parts.setdefault(part, []).extend(rows)
        return parts


@pytest.fixture
async def peace(books: Books) -> Peace:
    peace = Peace(books, ModerationStore(books.store, SEALER, books.epoch))
    for player_id, name in PEOPLE.items():
        assert (await books.register(name)).player_id == player_id
    report_id = await peace.report(CAL, BEA, "Bea is rude")
    ada = Actor(ADA, "Ada", "192.0.2.1")
    ban = Change(put=[SanctionRow(ADDRESS, BEA, "rude", None, ADDRESS_OF_BEA)])
    told = ada, "moderation_ban", BEA, "rude", AT_MS
    await peace.moderation.act(peace.action(ADA), *told, lambda _: ban)
    await peace.moderation.close_report(peace.action(ADA), ada, report_id, "done", AT_MS)
    return peace


async def test_an_export_has_what_one_reported_and_did_and_the_address_that_is_kept_out(peace: Peace) -> None:
    """Guards: `acted` in _EXPORTED, and _SEALED."""
    (reported,) = (await peace.exported(CAL))["reported"]
    content = json.loads(reported["content"])
    assert (content["text"], content["lines"][0]["text"]) == ("Bea is rude", "a rude word")
    (sanction,) = (await peace.exported(BEA))["sanctions"]
    assert (sanction["reason"], sanction["address"]) == ("rude", ADDRESS_OF_BEA)
    acted = (await peace.exported(ADA))["acted"]
    assert [(row["act"], row["subject_id"], row["address"]) for row in acted] == [
        ("moderation_ban", BEA, "192.0.2.1"),
        ("moderation_close", BEA, "192.0.2.1"),
    ]


async def test_an_export_has_the_land_that_one_may_use_and_rents(peace: Peace) -> None:
    """Guards: `permits` and `rented` in _EXPORTED."""
    told = Chronicle()
    told.do(ADA, claim(0, 0))
    told.do(ADA, claim(4, 4))
    told.do(ADA, LandPermit(*ids(), 1, CAL, Standing.BUILDER))
    told.do(ADA, LandLet(*ids(), 2, 100, 86_400_000))
    told.do(CAL, LandRent(*ids(), 2, 100))
    await peace.books.store.save(peace.books.epoch, Batch(9, entries=told.entries))
    cals, beas = await peace.exported(CAL), await peace.exported(BEA)
    assert cals["permits"] == [{"parcel_id": 1, "standing": str(Standing.BUILDER.value)}]
    (rented,) = cals["rented"]
    assert (rented["parcel_id"], json.loads(rented["terms"])["rent"]) == (2, 100)
    assert (beas["permits"], beas["rented"]) == ([], [])


async def test_who_goes_is_named_nowhere_in_plain_words_that_moderators_keep(
    peace: Peace, sql: Execute
) -> None:
    """Guard: each statement of _UNNAMED. The ids stay, and so does the console's word of somebody else of that name."""
    console = Actor(None, "Ada")
    told = console, "moderation_kick", CAL, "hm", AT_MS
    await peace.moderation.act(peace.action(CAL), *told, lambda _: Change())
    for player_id in (ADA, BEA):
        await peace.books.rows.delete(player_id)
    (closed,) = await peace.moderation.reports(True, 0, 9)
    assert (closed.closed_by, closed.reporter_id, closed.player_id) == (LEFT_NAME, CAL, BEA)
    acts = await peace.moderation.audit(2**62, None, 9)
    assert [(row.actor_id, row.actor_name, row.subject_id, row.subject_name) for row in acts] == [
        (None, "Ada", CAL, "Cal"),
        (ADA, LEFT_NAME, BEA, LEFT_NAME),
        (ADA, LEFT_NAME, BEA, LEFT_NAME),
        (CAL, "Cal", BEA, LEFT_NAME),
    ]
    answers = await sql("SELECT result::text FROM moderation_answers WHERE result->>'name' IS NOT NULL")
    names = {(one["player_id"], one["name"]) for one in (json.loads(row["result"]) for row in answers)}
    assert names == {(BEA, LEFT_NAME), (CAL, "Cal")}
