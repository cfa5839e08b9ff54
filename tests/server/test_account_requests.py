"""What is asked of accounts, answered over a real database; no sockets, and what mail and clock do is the test's to say."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID, uuid4

import pytest

from persistence.accounts import AccountStore
from persistence.keyring import Key, Ring
from persistence.sealing import Sealer
from persistence.store import Store
from protocol.errors import Refusal, RefusalCode
from protocol.messages import (
    AccountExport,
    AccountLogin,
    AccountRegister,
    AccountResetPassword,
    AccountVerifyEmail,
    Role,
)
from server.accounts import DATABASE_MAX, EXPORT_KEPT_S, EXPORTS_MAX, Accounts, Asker, Done
from server.auth import Signer
from server.config import AccountsConfig
from tests.conftest import POOL_SIZE, Execute

RING = Ring((Key(b"o" * 32, 1),))
EMAIL = "ada@example.org"
PASSWORD = "seven horses on a roof"


class Desk:
    """Accounts, and the letters that they send; `full`, and no letter is taken."""

    def __init__(self, rows: AccountStore, **settings: Any) -> None:
        self.rows = rows
        self.letters: list[tuple[str, str]] = []
        self.full = False
        config = AccountsConfig(argon2_memory_kib=8, **settings)
        self.accounts = Accounts(config, rows, Signer(RING), self._place, self._send, self._broken)

    async def _place(self) -> tuple[float, float]:
        return 0.0, 0.0

    def _send(self, to: str, _: str, text: str) -> None:
        if self.full:
            raise Refusal(RefusalCode.UNAVAILABLE, "Much mail is waiting.", 1)
        self.letters.append((to, text))

    def _broken(self, _: str, error: BaseException) -> None:
        raise error

    @property
    def code(self) -> str:
        """That of the last letter."""
        found = re.search(r"\b\w{4}-\w{4}-\w{4}\b", self.letters[-1][1])
        assert found
        return found[0]

    async def ask(self, asker: Asker, request: Any) -> Any:
        """What came of a request, mail included."""
        done: asyncio.Future[Done] = asyncio.get_running_loop().create_future()
        self.accounts.ask(asker, request, done.set_result)
        answer = (await done).answer
        while self.accounts.working:  # noqa: ASYNC110 (nobody tells when the last is over)
            await asyncio.sleep(0)
        return answer

    async def refusal(self, asker: Asker, request: Any) -> Refusal:
        """Why it is not done."""
        answer = await self.ask(asker, request)
        assert isinstance(answer, Refusal), answer
        return answer

    async def register(self, name: str, email: str = "") -> Asker:
        """Somebody new, signed in."""
        made = await self.ask(stranger(), AccountRegister(1, uuid4().bytes, name, email, PASSWORD))
        return Asker(1, "::1", "::1", "tests", made.player_id, f"name:{name}", Role.USER, uuid4())


def stranger(network: str = "::1", session_id: UUID | None = None) -> Asker:
    return Asker(1, network, network, "tests", 0, "", Role.GUEST, session_id)


@pytest.fixture
async def desk(dsn: str) -> AsyncIterator[Desk]:
    store = await Store.open(dsn, POOL_SIZE)
    desk = Desk(AccountStore(store, Sealer(RING, b"l" * 32), (await store.open_world(7, 20)).epoch))
    yield desk
    await desk.accounts.stop()
    await store.close()


# --- who is let in -------------------------------------------------------------------------------------------------


async def test_many_addresses_that_flood_leave_places_to_others(dsn: str) -> None:
    """Guard: FREE_PER_ADDRESS in Accounts.ask. Without it four addresses that hold 16 each fill 64 places."""
    store = await Store.open(dsn, POOL_SIZE)
    rows = AccountStore(store, Sealer(RING, b"l" * 32), (await store.open_world(7, 20)).epoch)
    desk = Desk(rows, requests_max=64, requests_per_address_max=16)

    def ask(network: str) -> bool:
        try:
            desk.accounts.ask(stranger(network), AccountLogin(1, "Ann", PASSWORD), lambda _: None)
        except Refusal as refusal:
            return refusal.code is not RefusalCode.RATE_LIMITED
        return True

    held = [sum(ask(f"flooder {number}") for _ in range(100)) for number in range(20)]
    assert 4 <= held[0] < 16
    assert sorted(held, reverse=True) == held
    assert held[-1] >= 1
    assert all(ask(f"somebody {number}") for number in range(5))
    await asyncio.sleep(0)
    await desk.accounts.stop()
    await store.close()


# --- codes by mail ------------------------------------------------------------------------------------------------


async def test_mail_to_one_stranger_after_the_other_is_refused_with_a_time_to_wait(desk: Desk) -> None:
    """Guard: code_wait_ms in Accounts._change_email, before anything is changed; in put_code for the same address."""
    ada = await desk.register("Ada", EMAIL)
    again = await desk.refusal(ada, AccountVerifyEmail(1))
    assert (again.code, 0 < (again.retry_after_ms or 0) <= 60_000) == (RefusalCode.RATE_LIMITED, True)
    for number in range(3):
        other = AccountVerifyEmail(1, None, f"stranger-{number}@example.org", PASSWORD)
        assert (await desk.refusal(ada, other)).code is RefusalCode.RATE_LIMITED
    assert [to for to, _ in desk.letters] == [EMAIL]
    found = await desk.rows.by_player(ada.player_id)
    assert found is not None
    assert found.email == EMAIL


async def test_where_no_mail_is_taken_nobody_waits_for_the_code_that_did_not_go_out(desk: Desk) -> None:
    """Guard: drop_code in Accounts._send_code."""
    desk.full = True
    ada = await desk.register("Ada", EMAIL)
    assert (await desk.refusal(ada, AccountVerifyEmail(1))).code is RefusalCode.UNAVAILABLE
    desk.full = False
    await desk.ask(ada, AccountVerifyEmail(1))
    assert [to for to, _ in desk.letters] == [EMAIL]


async def test_who_has_an_address_is_not_told_by_a_pause(desk: Desk, sql: Execute) -> None:
    """account_reset_password says the same to all, the first time and the next."""
    await desk.register("Ada", EMAIL)
    await sql("UPDATE credentials SET email_verified_at = now()")
    desk.letters.clear()
    asked = [EMAIL, EMAIL, "nobody@example.org", "nobody@example.org"]
    told = [await desk.ask(stranger(), AccountResetPassword(1, email)) for email in asked]
    assert all(one == told[0] and not isinstance(one, Refusal) for one in told)
    assert len(desk.letters) == 1


async def test_a_new_password_by_mail_is_not_ones_own_name_and_the_code_stays_good(
    desk: Desk, sql: Execute
) -> None:
    """Guard: check_password in Accounts._reset_password, once it is known whose account it is."""
    await desk.register("Annabelle Smith", EMAIL)
    await sql("UPDATE credentials SET email_verified_at = now()")
    await desk.ask(stranger(), AccountResetPassword(1, EMAIL))
    weak = AccountResetPassword(1, EMAIL, desk.code, "annabelle smith 1")
    assert (await desk.refusal(stranger(), weak)).code is RefusalCode.WEAK_PASSWORD
    good = "a boat full of lanterns"
    assert not isinstance(
        await desk.ask(stranger(), AccountResetPassword(1, EMAIL, desk.code, good)), Refusal
    )
    assert not isinstance(await desk.ask(stranger(), AccountLogin(1, "Annabelle Smith", good)), Refusal)


# --- exports ------------------------------------------------------------------------------------------------------


async def talkative(desk: Desk, sql: Execute, name: str) -> Asker:
    """Somebody whose export has more than one part."""
    who = await desk.register(name)
    await sql(
        "INSERT INTO chat_messages (epoch, serial, channel, sender_id, sender_name, x, y, tick, said_at, text)"
        " SELECT 1, player_id * 1000 + n, 1, player_id, name, 0, 0, 1, now(), repeat('x', 200)"
        " FROM players, generate_series(1, 400) AS n ON CONFLICT DO NOTHING"
    )
    return who


async def test_exports_take_no_more_of_the_database_than_all_requests_may(
    desk: Desk, sql: Execute, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guard: Accounts._page."""
    people = [await desk.register(f"Ann {number}") for number in range(5)]
    reading, busy, most = desk.rows._store.reading, 0, 0

    @asynccontextmanager
    async def counted() -> AsyncIterator[Any]:
        nonlocal busy, most
        busy += 1
        most = max(most, busy)
        async with reading() as connection:
            yield connection
        busy -= 1

    monkeypatch.setattr(desk.rows._store, "reading", counted)
    made = await asyncio.gather(*(desk.ask(who, AccountExport(1, 0)) for who in people))
    assert not [one for one in made if isinstance(one, Refusal)]
    assert most == DATABASE_MAX


async def test_one_export_of_a_player_is_made_at_a_time_and_not_many_in_all(desk: Desk) -> None:
    """Guards: both conditions in Accounts._make_export."""
    ada = await desk.register("Ada")
    one, two = await asyncio.gather(*(desk.ask(ada, AccountExport(1, 0)) for _ in range(2)))
    assert not isinstance(one, Refusal)
    assert (two.code, two.retry_after_ms) == (RefusalCode.RATE_LIMITED, 2_000)
    assert not isinstance(await desk.ask(ada, AccountExport(1, 0)), Refusal)
    people = [await desk.register(f"Ann {number}") for number in range(EXPORTS_MAX + 2)]
    made = await asyncio.gather(*(desk.ask(who, AccountExport(1, 0)) for who in people))
    assert sum(isinstance(one, Refusal) for one in made) == 2


async def test_an_export_that_nobody_goes_on_fetching_is_forgotten(desk: Desk, sql: Execute) -> None:
    """Guard: made_s in Accounts.forget_ended."""
    ada, bea = [await talkative(desk, sql, name) for name in ("Ada", "Bea")]
    for who in (ada, bea):
        assert (await desk.ask(who, AccountExport(1, 0))).more
    desk.accounts._exports[ada.player_id].made_s -= EXPORT_KEPT_S
    desk.accounts.forget_ended(lambda _: None)
    assert (await desk.refusal(ada, AccountExport(1, 1))).code is RefusalCode.NOT_FOUND
    assert not isinstance(await desk.ask(bea, AccountExport(1, 1)), Refusal)
