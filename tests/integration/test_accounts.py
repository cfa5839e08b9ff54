"""Accounts over real sockets and a real PostgreSQL: registering, signing in, sessions, guests who get an account."""

import asyncio
import itertools
import json
import re
import secrets
from collections.abc import Iterator
from email import message_from_bytes
from email.policy import default
from typing import Any

import pytest

from protocol.errors import CloseCode, RefusalCode
from protocol.messages import (
    PROTOCOL_VERSION,
    AccountChangePassword,
    AccountDelete,
    AccountEditProfile,
    AccountExport,
    AccountLogin,
    AccountLogout,
    AccountProfile,
    AccountRefresh,
    AccountRegister,
    AccountResetPassword,
    AccountRevoke,
    AccountSessions,
    AccountVerifyEmail,
    Appeared,
    ChatChannel,
    ChatSaid,
    ChatSay,
    ClientMessage,
    Closing,
    Hello,
    LandAt,
    Ok,
    PlayerFind,
    Refused,
    Role,
    Wallet,
)
from tests.harness import POLL_S, WAIT_S, Client, ServerProcess, serving
from tests.integration.test_land import claim, find_land

PASSWORD = "seven horses on a roof"
OTHER = "a boat full of lanterns"
WRONG = "not what it is at all"
IDS = itertools.count(1)
# Cheap hashes: how dear one is, test_passwords.py and `landworld logins` look at.
CHEAP = {
    "ACCOUNTS__ARGON2_MEMORY_KIB": 8,
    "LIMITS__RATES__ACCOUNT__PER_S": 1_000,
    "LIMITS__RATES__ACCOUNT__BURST": 5_000,
    "WORLD__SPAWN_RADIUS": 2,
    "LIMITS__RATES__CHAT__BURST": 100,
}


@pytest.fixture(scope="module", params=[0, 2], ids=["one process", "gateways"])
def server(request: pytest.FixtureRequest) -> Iterator[ServerProcess]:
    with serving(settings={**CHEAP, "SERVER__GATEWAYS": request.param}) as running:
        yield running


def fresh(name: str = "Ann") -> str:
    return f"{name} {secrets.token_hex(4)}"


def registering(
    name: str, password: str = PASSWORD, email: str = "", action_id: bytes = b""
) -> AccountRegister:
    return AccountRegister(next(IDS), action_id or secrets.token_bytes(16), name, email, password)


async def answer(client: Client, request: ClientMessage) -> dict[str, Any]:
    told = await client.ask(request)
    assert isinstance(told, Ok), told
    assert told.seq == 0
    result: dict[str, Any] = told.result
    return result


async def refusal(client: Client, request: ClientMessage) -> RefusalCode:
    told = await client.ask(request)
    assert isinstance(told, Refused), told
    assert told.message
    return told.code


async def account(server: ServerProcess, name: str) -> dict[str, Any]:
    """Somebody new, from a connection that is no player's."""
    client = await Client.open(server)
    made = await answer(client, registering(name))
    await client.leave()
    return made


async def signed_in(server: ServerProcess, name: str) -> tuple[Client, dict[str, Any]]:
    """A new session of an account, and its player in the world."""
    client = await Client.open(server)
    tokens = await answer(client, AccountLogin(next(IDS), name, PASSWORD))
    await client.leave()
    return await Client.join(server, token=str(tokens["access_token"])), tokens


async def test_who_registers_before_the_hello_comes_in_with_the_token(server: ServerProcess) -> None:
    name = fresh()
    client = await Client.open(server)
    made = await answer(client, registering(name, email="ann@example.org"))
    assert made["name"] == name
    assert made["expires_in_ms"] == 3_600_000
    await client.send(Hello(PROTOCOL_VERSION, "tests", str(made["access_token"])))
    player = await Client.join(server, token=str(made["access_token"]))
    assert (player.player_id, player.welcome.name, player.welcome.role) == (
        made["player_id"],
        name,
        Role.USER,
    )
    profile = await answer(player, AccountProfile(next(IDS)))
    assert (profile["email"], profile["email_verified"], profile["online"]) == (
        "ann@example.org",
        False,
        True,
    )
    await player.leave()


async def test_one_name_is_one_account_whatever_its_case(server: ServerProcess) -> None:
    name = fresh("Bea")
    made = await account(server, name)
    client = await Client.open(server)
    assert await refusal(client, registering(name.upper())) is RefusalCode.NAME_TAKEN
    again = await answer(client, AccountLogin(next(IDS), name.upper(), PASSWORD))
    assert again["player_id"] == made["player_id"]
    await client.leave()


async def test_a_name_of_a_token_is_taken(server: ServerProcess) -> None:
    name = fresh("Op")
    player = await Client.join(server, token=server.token(name))
    assert await refusal(player, AccountSessions(next(IDS))) is RefusalCode.FORBIDDEN
    client = await Client.open(server)
    assert await refusal(client, registering(name)) is RefusalCode.NAME_TAKEN
    await client.leave()
    await player.leave()


async def test_registering_happens_once_and_a_repeat_signs_the_same_player_in(server: ServerProcess) -> None:
    name, action_id = fresh(), secrets.token_bytes(16)
    client = await Client.open(server)
    first = await answer(client, registering(name, action_id=action_id))
    again = await answer(client, registering(name, action_id=action_id))
    assert again["player_id"] == first["player_id"]
    assert again["refresh_token"] != first["refresh_token"]
    wrong = registering(name, WRONG, action_id=action_id)
    assert await refusal(client, wrong) is RefusalCode.BAD_CREDENTIALS
    other = registering(fresh(), action_id=action_id)
    assert await refusal(client, other) is RefusalCode.BAD_REQUEST
    await client.leave()


@pytest.mark.parametrize(
    "password", ["short", "passwordpassword", "a" * 40, "abcdefghijklm", "x" * 129, "monkey123456"]
)
async def test_weak_passwords_are_refused_with_what_would_do(server: ServerProcess, password: str) -> None:
    client = await Client.open(server)
    assert await refusal(client, registering(fresh(), password)) is RefusalCode.WEAK_PASSWORD
    await client.leave()


async def test_wrong_passwords_and_unknown_names_are_told_alike(server: ServerProcess) -> None:
    name = fresh()
    await account(server, name)
    client = await Client.open(server)
    told = [await client.ask(AccountLogin(next(IDS), who, WRONG)) for who in (name, fresh("Nobody"), "\0\n")]
    assert {(one.code, one.message) for one in told if isinstance(one, Refused)} == {
        (RefusalCode.BAD_CREDENTIALS, "There is no such name with this password; look at both again.")
    }
    await client.leave()


async def test_a_thousand_guesses_at_once_cause_five_checks_and_lock_the_name_but_not_who_is_signed_in(
    server: ServerProcess,
) -> None:
    """Guard: `in_flight` in Lockouts.begin, and `failures` for what comes after."""
    name = fresh()
    made = await account(server, name)
    player = await Client.join(server, token=str(made["access_token"]))
    before = await server.until("landworld_hashes_total", lambda _: True)
    clients = [await Client.open(server) for _ in range(20)]
    requests = [AccountLogin(next(IDS), name, WRONG) for _ in range(1_000)]
    for number, client in enumerate(clients):
        await client.send(*requests[number * 50 : number * 50 + 50])
    told = [await client.wait(Refused) for client in clients for _ in range(50)]
    codes = [one.code for one in told]
    assert 1 <= codes.count(RefusalCode.BAD_CREDENTIALS) <= 5
    assert set(codes) <= {RefusalCode.BAD_CREDENTIALS, RefusalCode.LOCKED, RefusalCode.RATE_LIMITED}
    client = clients[0]
    while await refusal(client, AccountLogin(next(IDS), name, WRONG)) is RefusalCode.BAD_CREDENTIALS:
        pass
    locked = await client.ask(AccountLogin(next(IDS), name, PASSWORD))  # the right one does not help either
    assert isinstance(locked, Refused)
    assert locked.code is RefusalCode.LOCKED
    assert 0 < (locked.retry_after_ms or 0) <= 900_000
    checked = await server.until("landworld_hashes_total", lambda _: True) - before
    assert checked == 5
    await answer(player, AccountRefresh(next(IDS), str(made["refresh_token"])))
    assert (await player.place()) is not None
    for one in (*clients, player):
        await one.leave()


async def test_a_refresh_token_is_good_once_and_its_reuse_ends_the_session_everywhere(
    server: ServerProcess,
) -> None:
    """Guard: `generation` in persistence.accounts._REFRESH, and _END_REUSED."""
    made = await account(server, fresh())
    player = await Client.join(server, token=str(made["access_token"]))
    client = await Client.open(server)
    second = await answer(client, AccountRefresh(next(IDS), str(made["refresh_token"])))
    third = await answer(client, AccountRefresh(next(IDS), str(second["refresh_token"])))
    assert (
        await refusal(client, AccountRefresh(next(IDS), str(second["refresh_token"])))
        is RefusalCode.TOKEN_REUSED
    )
    assert (await player.wait_closed())[0] == CloseCode.REVOKED
    assert (
        await refusal(client, AccountRefresh(next(IDS), str(third["refresh_token"]))) is RefusalCode.BAD_TOKEN
    )
    for token in (made["access_token"], third["access_token"]):
        assert await turned_away(server, token=str(token)) is RefusalCode.BAD_TOKEN
    await client.leave()


async def turned_away(
    server: ServerProcess, token: str | None = None, resume: str | None = None
) -> RefusalCode:
    client = await Client.open(server)
    await client.send(Hello(PROTOCOL_VERSION, "tests", token, resume))
    refused = await client.wait(Refused)
    assert (await client.wait_closed())[0] == CloseCode.REFUSED
    return refused.code


async def test_tokens_are_for_their_own_purpose_only(server: ServerProcess) -> None:
    made = await account(server, fresh())
    assert await turned_away(server, token=str(made["refresh_token"])) is RefusalCode.BAD_TOKEN
    assert await turned_away(server, resume=str(made["access_token"])) is RefusalCode.BAD_TOKEN
    client = await Client.open(server)
    assert (
        await refusal(client, AccountRefresh(next(IDS), str(made["access_token"]))) is RefusalCode.BAD_TOKEN
    )
    await client.leave()


async def test_revoking_a_session_closes_its_connection_and_its_tokens_and_tickets_are_worth_nothing(
    server: ServerProcess,
) -> None:
    """Guard: `ended_at IS NULL` in persistence.accounts._ENTER_SESSIONS, and Hub.end_sessions."""
    name = fresh()
    first = await account(server, name)
    player = await Client.join(server, token=str(first["access_token"]))
    ticket = player.welcome.resume
    away, _ = await signed_in(server, name)  # on another device, which takes the player over
    assert (await player.wait_closed())[0] == CloseCode.REPLACED
    listed = await answer(away, AccountSessions(next(IDS)))
    sessions = listed["sessions"]
    assert [one["current"] for one in sessions].count(True) == 1
    assert {one["address"] for one in sessions} == {"127.0.0.1"}
    back = await Client.join(server, resume=ticket)  # the first device, by its ticket
    assert (await away.wait_closed())[0] == CloseCode.REPLACED
    ended = await answer(back, AccountRevoke(next(IDS)))
    assert ended["ended"] >= 1
    (mine,) = (await answer(back, AccountSessions(next(IDS))))["sessions"]
    assert mine["current"]
    client = await Client.open(server)
    third = await answer(client, AccountLogin(next(IDS), name, PASSWORD))
    await client.leave()
    one = await Client.join(server, token=str(third["access_token"]))
    await answer(one, AccountRevoke(next(IDS), mine["session_id"]))
    assert await turned_away(server, resume=back.welcome.resume) is RefusalCode.BAD_TOKEN
    assert await turned_away(server, token=str(first["access_token"])) is RefusalCode.BAD_TOKEN
    assert await refusal(one, AccountRevoke(next(IDS), bytes(16))) is RefusalCode.NOT_FOUND
    sees = await Client.join(server)
    await answer(one, AccountLogout(next(IDS)))
    closing = await one.wait(Closing)
    assert closing.code is CloseCode.REVOKED
    assert closing.resume is None
    assert (await one.wait_closed())[0] == CloseCode.REVOKED
    assert await turned_away(server, resume=one.welcome.resume) is RefusalCode.BAD_TOKEN
    found = await answer(sees, PlayerFind(next(IDS), name))
    assert not found["online"]
    await sees.leave()


async def test_a_session_that_is_revoked_from_another_connection_is_closed_at_once(
    server: ServerProcess,
) -> None:
    """Two devices cannot play one player, so a guest's connection does the revoking: by a refresh token that was used."""
    made = await account(server, fresh())
    player = await Client.join(server, token=str(made["access_token"]))
    guest = await Client.join(server)
    await answer(guest, AccountRefresh(next(IDS), str(made["refresh_token"])))
    assert (
        await refusal(guest, AccountRefresh(next(IDS), str(made["refresh_token"])))
        is RefusalCode.TOKEN_REUSED
    )
    assert (await player.wait(Closing)).code is CloseCode.REVOKED
    assert (await player.wait_closed())[0] == CloseCode.REVOKED
    await guest.leave()


async def test_a_guest_who_registers_keeps_place_land_and_money_and_is_a_user_at_once(
    server: ServerProcess,
) -> None:
    """Guard: Hub._become, and former_keys in Directory for the old ticket."""
    guest = await Client.join(server)
    other = await Client.join(server)
    await other.wait_until(lambda: guest.player_id in other.names)
    x, y = await find_land(guest, -3, -3)
    parcel_id, _ = await claim(guest, x, y)
    before = await guest.place(), (await answer(guest, Wallet(next(IDS))))["balance"]
    name = fresh("Cleo")
    made = await answer(guest, registering(name))
    assert made["player_id"] == guest.player_id
    shown = await other.wait(Appeared, lambda one: one.player_id == guest.player_id and one.name == name)
    assert shown.name == name
    sessions = await answer(guest, AccountSessions(next(IDS)))  # which needs the role user
    assert len(sessions["sessions"]) == 1
    assert await turned_away(server, resume=guest.welcome.resume) is RefusalCode.BAD_TOKEN
    again = await Client.join(server, token=str(made["access_token"]))
    assert (await guest.wait_closed())[0] == CloseCode.REPLACED
    assert (again.player_id, again.welcome.name, again.welcome.role) == (guest.player_id, name, Role.USER)
    assert (await again.place(), (await answer(again, Wallet(next(IDS))))["balance"]) == before
    land = await answer(again, LandAt(next(IDS), x, y))
    assert (land["parcel_id"], land["owner_id"], land["owner_name"]) == (parcel_id, again.player_id, name)
    await again.leave()
    await other.leave()


async def test_a_password_that_changes_ends_all_other_sessions(server: ServerProcess) -> None:
    """Guard: _END in AccountStore.set_password."""
    name = fresh()
    made = await account(server, name)
    player, _ = await signed_in(server, name)
    assert (
        await refusal(player, AccountChangePassword(next(IDS), WRONG, OTHER)) is RefusalCode.BAD_CREDENTIALS
    )
    assert (
        await refusal(player, AccountChangePassword(next(IDS), PASSWORD, name)) is RefusalCode.WEAK_PASSWORD
    )
    ended = await answer(player, AccountChangePassword(next(IDS), PASSWORD, OTHER))
    assert ended["ended"] == 1
    assert await turned_away(server, token=str(made["access_token"])) is RefusalCode.BAD_TOKEN
    client = await Client.open(server)
    assert await refusal(client, AccountLogin(next(IDS), name, PASSWORD)) is RefusalCode.BAD_CREDENTIALS
    await answer(client, AccountLogin(next(IDS), name, OTHER))
    await player.place()  # it plays on
    await client.leave()
    await player.leave()


async def test_a_profile_is_seen_by_others_without_what_is_private(server: ServerProcess) -> None:
    name, new_name = fresh(), fresh("Dora")
    await account(server, name)
    player, _ = await signed_in(server, name)
    guest = await Client.join(server)
    await guest.wait_until(lambda: player.player_id in guest.names)
    edited = await answer(player, AccountEditProfile(next(IDS), new_name, 7, "I keep  bees.\n"))
    assert (edited["name"], edited["look"], edited["bio"]) == (new_name, 7, "I keep bees.")
    seen = await guest.wait(Appeared, lambda one: one.name == new_name)
    assert (seen.player_id, seen.look) == (player.player_id, 7)
    shown = await answer(guest, AccountProfile(next(IDS), player.player_id))
    assert (shown["name"], shown["bio"], shown["email"]) == (new_name, "I keep bees.", None)
    assert await refusal(guest, AccountProfile(next(IDS), 2**32 - 1)) is RefusalCode.NOT_FOUND
    assert await refusal(guest, AccountEditProfile(next(IDS), bio="x")) is RefusalCode.NOT_ALLOWED
    taken = fresh("Eve")
    await account(server, taken)
    assert await refusal(player, AccountEditProfile(next(IDS), taken)) is RefusalCode.NAME_TAKEN
    client = await Client.open(server)
    assert await refusal(client, AccountLogin(next(IDS), name, PASSWORD)) is RefusalCode.BAD_CREDENTIALS
    await answer(client, AccountLogin(next(IDS), new_name, PASSWORD))
    for one in (client, guest, player):
        await one.leave()


async def test_what_is_asked_before_the_hello_and_is_no_account_matter_closes(server: ServerProcess) -> None:
    client = await Client.open(server)
    await client.send(AccountSessions(next(IDS)))
    assert (await client.wait_closed())[0] == CloseCode.POLICY_VIOLATION


async def test_accounts_outlive_a_crash_and_a_server_without_guests_can_be_joined() -> None:
    name, action_id = fresh(), secrets.token_bytes(16)
    with serving(settings=CHEAP) as running:
        client = await Client.open(running)
        made = await answer(client, registering(name, action_id=action_id))
        used = await answer(client, AccountRefresh(next(IDS), str(made["refresh_token"])))
        running.kill()  # at once after the answer: it was in the database
        with serving(running.data, settings={**CHEAP, "SERVER__GUESTS_ALLOWED": "false"}) as again:
            assert await turned_away(again) is RefusalCode.GUESTS_FORBIDDEN
            client = await Client.open(again)
            repeated = await answer(client, registering(name, action_id=action_id))
            assert repeated["player_id"] == made["player_id"]
            await answer(client, AccountRefresh(next(IDS), str(used["refresh_token"])))
            player = await Client.join(again, token=str(used["access_token"]))
            assert player.player_id == made["player_id"]
            reused = AccountRefresh(next(IDS), str(made["refresh_token"]))
            assert await refusal(client, reused) is RefusalCode.TOKEN_REUSED
            assert (await player.wait_closed())[0] == CloseCode.REVOKED
            await client.leave()
            await answer(await Client.open(again), registering(fresh()))


async def test_land_has_the_new_name_after_a_restart_too_and_the_audit_holds() -> None:
    """Guard: recall._named."""
    with serving(settings=CHEAP) as running:
        guest = await Client.join(running)
        x, y = await find_land(guest, -3, -3)
        await claim(guest, x, y)
        name = fresh()
        made = await answer(guest, registering(name))
        running.stop()
        with serving(running.data, settings=CHEAP) as again:
            player = await Client.join(again, token=str(made["access_token"]))
            land = await answer(player, LandAt(next(IDS), x, y))
            assert (land["owner_id"], land["owner_name"]) == (made["player_id"], name)
            again.command("audit")
            await player.leave()


async def test_many_at_once_from_one_address_are_refused_with_a_time_to_wait() -> None:
    """Guard: requests_per_address_max in Accounts.ask."""
    with serving(settings={**CHEAP, "ACCOUNTS__REQUESTS_PER_ADDRESS_MAX": 4}) as server:
        client = await Client.open(server)
        await client.send(*(registering(fresh()) for _ in range(20)))
        told = [await _next(client) for _ in range(20)]
        refused = [one for one in told if isinstance(one, Refused)]
        assert all(one.code is RefusalCode.RATE_LIMITED and one.retry_after_ms for one in refused)
        assert 4 <= len(told) - len(refused) < 20
        await client.leave()


async def _next(client: Client) -> Ok | Refused:
    while True:
        for index, message in enumerate(client.seen):
            if isinstance(message, Ok | Refused):
                del client.seen[index]
                return message
        await asyncio.wait_for(client.read(), 60)


# --- mail, export, going -----------------------------------------------------------------------------------


def letters(server: ServerProcess, to: str) -> list[str]:
    """What went out to an address, oldest first."""
    found = [
        message_from_bytes(path.read_bytes(), policy=default)
        for path in sorted((server.data / "outbox").glob("*.eml"))
    ]
    return [one.get_content() for one in found if one["To"] == to]


async def code_for(server: ServerProcess, to: str, count: int = 1) -> str:
    """The code in the newest of so many letters to an address; they are carried beside the answer."""
    async with asyncio.timeout(WAIT_S):
        while len(letters(server, to)) < count:  # noqa: ASYNC110 (another process writes them)
            await asyncio.sleep(POLL_S)
    found = re.search(r"\b\w{4}-\w{4}-\w{4}\b", letters(server, to)[-1])
    assert found
    return found[0]


async def test_only_a_verified_address_gets_codes_and_each_is_good_once(server: ServerProcess) -> None:
    """Guards: email_verified_at in _BY_VERIFIED_EMAIL, _USE_CODE."""
    name = fresh()
    email = f"{secrets.token_hex(4)}@example.org"
    client = await Client.open(server)
    made = await answer(client, registering(name, email=email))
    player = await Client.join(server, token=str(made["access_token"]))
    await answer(client, AccountResetPassword(next(IDS), email))  # nobody has shown that it is theirs
    code = await code_for(server, email)
    assert (
        await refusal(player, AccountVerifyEmail(next(IDS))) is RefusalCode.RATE_LIMITED
    )  # one went out just now
    assert len(letters(server, email)) == 1
    wrong = AccountVerifyEmail(next(IDS), "AAAA-AAAA-AAAA")
    assert await refusal(player, wrong) is RefusalCode.BAD_CREDENTIALS
    await answer(player, AccountVerifyEmail(next(IDS), code.lower()))
    assert (await answer(player, AccountProfile(next(IDS))))["email_verified"]
    assert await refusal(player, AccountVerifyEmail(next(IDS), code)) is RefusalCode.BAD_CREDENTIALS

    told = [await client.ask(AccountResetPassword(next(IDS), who)) for who in (email, "nobody@example.org")]
    assert [one.result for one in told if isinstance(one, Ok)] == [{}, {}]
    code = await code_for(server, email, 2)
    weak = AccountResetPassword(next(IDS), email, code, "short")
    assert await refusal(client, weak) is RefusalCode.WEAK_PASSWORD
    for one, address in (("AAAA-AAAA-AAAA", email), (code, "nobody@example.org")):
        wrong_one = AccountResetPassword(next(IDS), address, one, OTHER)
        assert await refusal(client, wrong_one) is RefusalCode.BAD_CREDENTIALS
    await answer(client, AccountResetPassword(next(IDS), email.upper(), code, OTHER))
    assert (await player.wait_closed())[0] == CloseCode.REVOKED
    again = AccountResetPassword(next(IDS), email, code, OTHER)
    assert await refusal(client, again) is RefusalCode.BAD_CREDENTIALS
    assert await refusal(client, AccountLogin(next(IDS), name, PASSWORD)) is RefusalCode.BAD_CREDENTIALS
    await answer(client, AccountLogin(next(IDS), name, OTHER))
    await client.leave()


async def test_a_code_is_not_good_after_ten_wrong_ones(server: ServerProcess) -> None:
    """Guard: tries in _TRY_CODES."""
    email = f"{secrets.token_hex(4)}@example.org"
    client = await Client.open(server)
    made = await answer(client, registering(fresh(), email=email))
    player = await Client.join(server, token=str(made["access_token"]))
    code = await code_for(server, email)
    for _ in range(10):
        await refusal(player, AccountVerifyEmail(next(IDS), "AAAA-AAAA-AAAA"))
    assert await refusal(player, AccountVerifyEmail(next(IDS), code)) is RefusalCode.BAD_CREDENTIALS
    await client.leave()
    await player.leave()


async def test_another_address_needs_the_password_and_is_not_verified(server: ServerProcess) -> None:
    name = fresh()
    await account(server, name)
    player, _ = await signed_in(server, name)
    email = f"{secrets.token_hex(4)}@example.org"
    wrong = AccountVerifyEmail(next(IDS), None, email, WRONG)
    assert await refusal(player, wrong) is RefusalCode.BAD_CREDENTIALS
    bad = AccountVerifyEmail(next(IDS), None, "no address", PASSWORD)
    assert await refusal(player, bad) is RefusalCode.BAD_REQUEST
    await answer(player, AccountVerifyEmail(next(IDS), None, email, PASSWORD))
    await answer(player, AccountVerifyEmail(next(IDS), await code_for(server, email)))
    profile = await answer(player, AccountProfile(next(IDS)))
    assert (profile["email"], profile["email_verified"]) == (email, True)
    await player.leave()


async def exported(player: Client) -> dict[str, Any]:
    data = b""
    for part in itertools.count():
        page = await answer(player, AccountExport(next(IDS), part))
        assert len(page["part"]) <= 48_000
        data += page["part"]
        if not page["more"]:
            break
    found: dict[str, Any] = json.loads(data)
    return found


async def test_an_export_has_everything_about_one_and_a_deletion_leaves_only_what_is_owned(
    server: ServerProcess,
) -> None:
    """Guard: _GOES and _LEAVE in persistence.accounts, Depart in the world, and the senders that _SAVE_CHAT leaves out."""
    name, email = fresh("Fay"), f"{secrets.token_hex(4)}@example.org"
    client = await Client.open(server)
    made = await answer(client, registering(name, email=email))
    player = await Client.join(server, token=str(made["access_token"]))
    x, y = await find_land(player, -3, 3)
    parcel_id, _ = await claim(player, x, y)
    said = [f"line {number} " + "x" * 200 for number in range(4)]
    for text in said:
        await answer_of(player, ChatSay(next(IDS), ChatChannel.WORLD, text))
    await stored(server, player, said)
    export = await exported(player)
    (head,) = export["account"]
    assert (head["name"], head["email"], head["player_id"]) == (name, email, player.player_id)
    assert [line["text"] for line in export["said"]] == said
    assert export["sessions"][0]["address"] == "127.0.0.1"
    assert json.loads(export["land"][0]["parcel"])["parcel_id"] == parcel_id
    assert len(export["postings"]) == 2
    text = json.dumps(export)
    assert "argon2" not in text
    assert PASSWORD not in text
    beyond = AccountExport(next(IDS), 7)
    assert await refusal(player, beyond) is RefusalCode.NOT_FOUND

    assert await refusal(player, AccountDelete(next(IDS), WRONG)) is RefusalCode.BAD_CREDENTIALS
    await answer(player, AccountDelete(next(IDS), PASSWORD))
    assert (await player.wait(Closing)).code is CloseCode.REVOKED
    assert (await player.wait_closed())[0] == CloseCode.REVOKED
    assert await turned_away(server, token=str(made["access_token"])) is RefusalCode.BAD_TOKEN
    assert await turned_away(server, resume=player.welcome.resume) is RefusalCode.BAD_TOKEN
    assert await refusal(client, AccountLogin(next(IDS), name, PASSWORD)) is RefusalCode.BAD_CREDENTIALS
    guest = await Client.join(server)
    assert not [one for one in guest.seen if isinstance(one, ChatSaid) and one.sender_id == player.player_id]
    assert await refusal(guest, PlayerFind(next(IDS), name)) is RefusalCode.NOT_FOUND
    assert await refusal(guest, PlayerFind(next(IDS), "someone who left")) is RefusalCode.NOT_FOUND
    assert await refusal(guest, AccountProfile(next(IDS), player.player_id)) is RefusalCode.NOT_FOUND
    land = await answer(guest, LandAt(next(IDS), x, y))
    left = parcel_id, player.player_id, "someone who left"
    assert (land["parcel_id"], land["owner_id"], land["owner_name"]) == left
    await answer(client, registering(name))  # the name is free again
    assert await refusal(client, registering("Someone who LEFT")) is RefusalCode.NAME_TAKEN
    await guest.leave()
    await client.leave()


async def answer_of(client: Client, request: ClientMessage) -> Any:
    told = await client.ask(request)
    assert isinstance(told, Ok), told
    return told.result


async def stored(server: ServerProcess, player: Client, said: list[str]) -> None:
    """Until the flusher has written what was said."""
    async with asyncio.timeout(WAIT_S):
        while len((await exported(player))["said"]) < len(said):  # noqa: ASYNC110 (the database tells nobody)
            await asyncio.sleep(POLL_S)
