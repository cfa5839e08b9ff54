"""The store against a real PostgreSQL."""

import asyncio
import math
from uuid import uuid4

import asyncpg
import pytest

from persistence.store import (
    Batch,
    ChatLine,
    Entrant,
    Fenced,
    LoginRefused,
    SchemaMismatch,
    Store,
    StoreError,
    StoreRefused,
    StoreUnavailable,
    WorldMismatch,
    account_key,
    guest_key,
    translated,
    wait_until_reachable,
)
from tests.conftest import POOL_SIZE, START_S, TICK_HZ, Execute

SEED = 7


def _entrant(name: str, role: str | None = "user", x: float = 0.0, look: int = 1) -> Entrant:
    return Entrant(account_key(name), name, role, look, x, 0.0)


def _line(text: str, recipient_id: int | None = None) -> ChatLine:
    return ChatLine(1, 5, "Ada", recipient_id, 1.5, -2.5, 40, 1_700_000_000_123, text)


async def test_each_start_raises_the_epoch_and_finds_the_same_world(dsn: str) -> None:
    store = await Store.open(dsn, POOL_SIZE)
    first, second = await store.open_world(SEED, TICK_HZ), await store.open_world(SEED, TICK_HZ)
    await store.close()
    assert (first.epoch, second.epoch) == (1, 2)
    assert (first.seed, first.created_at_ms) == (second.seed, second.created_at_ms)
    assert first.tick == 0


async def test_the_worlds_clock_never_goes_back(dsn: str) -> None:
    """A server that saves before its first tick knows of none. Guard: `greatest` in _LOCK_EPOCH_AND_SET_TICK."""
    store = await Store.open(dsn, POOL_SIZE)
    await store.save((await store.open_world(SEED, TICK_HZ)).epoch, Batch(90))
    await store.save((await store.open_world(SEED, TICK_HZ)).epoch, Batch(0))
    assert (await store.open_world(SEED, TICK_HZ)).tick == 90
    await store.close()


async def test_another_seed_is_refused_naming_both_and_leaves_the_epoch(dsn: str) -> None:
    store = await Store.open(dsn, POOL_SIZE)
    await store.open_world(SEED, TICK_HZ)
    with pytest.raises(WorldMismatch, match=r"seed 7, but world.seed is 8. Set LANDWORLD_WORLD__SEED=7"):
        await store.open_world(8, TICK_HZ)
    assert (await store.open_world(SEED, TICK_HZ)).epoch == 2
    await store.close()


async def test_another_tick_hz_is_refused_as_another_seed_is(dsn: str) -> None:
    """Guard: the look at tick_hz in Store.open_world. At another one leases end, and upkeep is due, at other times than agreed."""
    store = await Store.open(dsn, POOL_SIZE)
    await store.open_world(SEED, 20)
    with pytest.raises(
        WorldMismatch, match=r"tick_hz 20, but world.tick_hz is 10. Set LANDWORLD_WORLD__TICK_HZ=20"
    ):
        await store.open_world(SEED, 10)
    assert (await store.open_world(SEED, 20)).epoch == 2
    await store.close()


async def test_a_world_of_before_takes_the_tick_hz_of_its_first_start(dsn: str, sql: Execute) -> None:
    """Guard: coalesce in _OPEN_WORLD. Without it no world of before could be opened."""
    store = await Store.open(dsn, POOL_SIZE)
    await sql("INSERT INTO world (id, seed) VALUES (1, 7)")
    await store.open_world(SEED, 10)
    with pytest.raises(WorldMismatch, match="tick_hz 10"):
        await store.open_world(SEED, 20)
    await store.close()


async def test_seeds_of_64_bits_are_kept(dsn: str) -> None:
    store = await Store.open(dsn, POOL_SIZE)
    assert (await store.open_world(2**63 - 1, TICK_HZ)).seed == 2**63 - 1
    await store.close()


async def test_players_come_back_to_where_they_stood(dsn: str) -> None:
    store = await Store.open(dsn, POOL_SIZE)
    epoch = (await store.open_world(SEED, TICK_HZ)).epoch
    [ada] = await store.enter_players(epoch, [_entrant("Ada", x=3.5)])
    await store.save(epoch, Batch(90, [ada.player_id], [-10.25], [1e6]))
    await store.close()

    store = await Store.open(dsn, POOL_SIZE)
    world = await store.open_world(SEED, TICK_HZ)
    [again] = await store.enter_players(world.epoch, [_entrant("ADA", "moderator", x=99.0, look=8)])
    await store.close()
    assert world.tick == 90
    assert (again.player_id, again.name, again.look) == (ada.player_id, "Ada", 1)
    assert (again.x, again.y) == (-10.25, 1e6)
    assert again.role == "moderator"  # the token says who one is today


async def test_the_keys_that_have_a_row_are_known(dsn: str) -> None:
    store = await Store.open(dsn, POOL_SIZE)
    epoch = (await store.open_world(SEED, TICK_HZ)).epoch
    await store.enter_players(epoch, [_entrant("Ada"), _entrant("Bo")])
    known, none = await store.known_keys([account_key("Ada"), account_key("Cy")]), await store.known_keys([])
    await store.close()
    assert known == {account_key("Ada")}
    assert none == set()


async def test_a_batch_enters_in_its_order_and_one_key_twice_is_one_player(dsn: str) -> None:
    store = await Store.open(dsn, POOL_SIZE)
    epoch = (await store.open_world(SEED, TICK_HZ)).epoch
    await store.enter_players(epoch, [_entrant("Bo")])
    names = ["Cy", "Bo", "cy", "Al"]
    rows = await store.enter_players(epoch, [_entrant(n, x=float(i)) for i, n in enumerate(names)])
    await store.close()
    assert [r.name for r in rows] == ["Cy", "Bo", "Cy", "Al"]
    assert [r.x for r in rows] == [0.0, 0.0, 0.0, 3.0]
    assert rows[0] == rows[2]


async def test_a_role_stays_until_a_token_names_another(dsn: str) -> None:
    """Guard: coalesce in _ENTER_PLAYERS, and its order, by which a token in the same batch counts before a ticket."""
    store = await Store.open(dsn, POOL_SIZE)
    epoch = (await store.open_world(SEED, TICK_HZ)).epoch
    by_ticket, roles = _entrant("Ada", None), []
    for batch in (
        [by_ticket],
        [_entrant("Ada", "admin")],
        [by_ticket],
        [by_ticket, _entrant("Ada", "user")],
        [by_ticket],
    ):
        row, *_ = await store.enter_players(epoch, batch)
        roles.append(row.role)
    await store.close()
    assert roles == ["guest", "admin", "admin", "user", "user"]


async def test_a_token_gives_no_role_to_whoever_has_an_account_of_that_name(dsn: str, sql: Execute) -> None:
    """Guard: credentials in _ENTER_PLAYERS. A stranger may have registered the name before the operator thought of it."""
    store = await Store.open(dsn, POOL_SIZE)
    epoch = (await store.open_world(SEED, TICK_HZ)).epoch
    (stranger,) = await store.enter_players(epoch, [_entrant("Root")])
    await sql(
        "INSERT INTO credentials (player_id, name_fold, password_hash) SELECT player_id, 'root', 'x' FROM players"
    )
    (again,) = await store.enter_players(epoch, [_entrant("Root", "admin")])
    await store.close()
    assert (again.player_id, again.role) == (stranger.player_id, "user")


async def test_coming_back_uses_up_no_player_id(dsn: str) -> None:
    store = await Store.open(dsn, POOL_SIZE)
    epoch = (await store.open_world(SEED, TICK_HZ)).epoch
    for _ in range(3):
        await store.enter_players(epoch, [_entrant("Ada"), _entrant("Bo")])
    [cy] = await store.enter_players(epoch, [_entrant("Cy")])
    await store.close()
    assert cy.player_id == 3


async def test_a_player_is_found_by_name_whatever_its_case_accounts_first(dsn: str) -> None:
    store = await Store.open(dsn, POOL_SIZE)
    epoch = (await store.open_world(SEED, TICK_HZ)).epoch
    guest = Entrant(guest_key(uuid4()), "Straße", "guest", 1, 0.0, 0.0)
    await store.enter_players(epoch, [_entrant("STRASSE"), guest])
    found, missing = await store.find_player("strasse"), await store.find_player("Ada")
    await store.close()
    assert found is not None
    assert found.role == "user"
    assert missing is None


async def test_guests_of_long_ago_are_deleted_and_nobody_else(dsn: str, sql: Execute) -> None:
    """Guards: the key, the time, who is here and the bound in _FIND_OLD_GUESTS."""
    store = await Store.open(dsn, POOL_SIZE)
    epoch = (await store.open_world(SEED, TICK_HZ)).epoch
    guests = [Entrant(guest_key(uuid4()), f"Guest {n}", "guest", 1, 0.0, 0.0) for n in range(4)]
    rows = await store.enter_players(epoch, [_entrant("Ada"), *guests])
    ada, here, *_ = [row.player_id for row in rows]
    await sql("UPDATE players SET last_seen_at = now() - interval '31 days'")
    back = await store.enter_players(epoch, guests[1:2])
    deleted = [await store.prune_guests(epoch, 30.0, [here], 1) for _ in range(3)]
    late = await store.enter_players(epoch, guests[2:])
    await store.close()
    assert deleted == [1, 1, 0]
    left = {row["player_id"] for row in await sql("SELECT player_id FROM players")}
    assert left == {ada, here, back[0].player_id, *(row.player_id for row in late)}
    assert min(row.player_id for row in late) > max(
        row.player_id for row in rows
    )  # an id means one player for ever


async def test_guests_are_looked_for_before_the_world_is_locked_and_asked_about_again(
    dsn: str, sql: Execute
) -> None:
    """Guards: _FIND_OLD_GUESTS is asked outside of Store.writing, for whose lock each flush waits; the age in _DELETE_OLD_GUESTS."""
    store, other = await Store.open(dsn, POOL_SIZE), await asyncpg.connect(dsn)
    epoch = (await store.open_world(SEED, TICK_HZ)).epoch
    guests = [Entrant(guest_key(uuid4()), f"Guest {n}", "guest", 1, 0.0, 0.0) for n in range(3)]
    gone, back, late = [row.player_id for row in await store.enter_players(epoch, guests)]
    old = "UPDATE players SET last_seen_at = now() - interval '31 days' WHERE player_id = ANY($1)"
    await other.execute(old, [gone, back])
    async with other.transaction():
        await other.execute("SELECT 1 FROM world FOR UPDATE")
        pruning = asyncio.create_task(store.prune_guests(epoch, 30.0, [], 9))
        while not await sql("SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"):  # noqa: ASYNC110 (another process waits)
            await asyncio.sleep(0.01)
        await other.execute("UPDATE players SET last_seen_at = now() WHERE player_id = $1", back)
        await other.execute(old, [late])
    assert await pruning == 1
    assert {row["player_id"] for row in await sql("SELECT player_id FROM players")} == {back, late}
    await other.close()
    await store.close()


async def test_a_second_start_fences_the_first_which_writes_nothing(dsn: str, sql: Execute) -> None:
    """Guard: the epoch in the first statement of each writing transaction."""
    old, new = await Store.open(dsn, POOL_SIZE), await Store.open(dsn, POOL_SIZE)
    epoch = (await old.open_world(SEED, TICK_HZ)).epoch
    [ada] = await old.enter_players(epoch, [_entrant("Ada")])
    await new.open_world(SEED, TICK_HZ)
    with pytest.raises(Fenced):
        await old.save(epoch, Batch(50, [ada.player_id], [5.0], [5.0], [(1, _line("late"))]))
    with pytest.raises(Fenced):
        await old.enter_players(epoch, [_entrant("Bo")])
    with pytest.raises(Fenced):
        await old.prune_chat(epoch, 30.0)
    with pytest.raises(Fenced):
        await old.prune_guests(epoch, 30.0, [], 1)
    await old.close()
    await new.close()
    assert [tuple(r) for r in await sql("SELECT x, tick FROM players, world")] == [(0.0, 0)]
    assert await sql("SELECT 1 FROM chat_messages") == []


async def test_a_batch_sent_twice_changes_nothing(dsn: str, sql: Execute) -> None:
    """Guard: ON CONFLICT (epoch, serial)."""
    store = await Store.open(dsn, POOL_SIZE)
    epoch = (await store.open_world(SEED, TICK_HZ)).epoch
    batch = Batch(1, chat=[(1, _line("hello")), (2, _line("psst", recipient_id=9))])
    await store.save(epoch, batch)
    await store.save(epoch, batch)
    recent = await store.recent_chat(10)
    await store.close()
    assert recent == [line for _, line in batch.chat]
    assert len(await sql("SELECT 1 FROM chat_messages")) == 2


async def test_a_failing_statement_takes_the_whole_batch_with_it(dsn: str, sql: Execute) -> None:
    """Guard: one transaction."""
    store = await Store.open(dsn, POOL_SIZE)
    epoch = (await store.open_world(SEED, TICK_HZ)).epoch
    [ada] = await store.enter_players(epoch, [_entrant("Ada")])
    await sql("ALTER TABLE chat_messages ADD CHECK (text <> 'bad')")
    with pytest.raises(StoreRefused, match="chat_messages_text_check"):
        await store.save(epoch, Batch(5, [ada.player_id], [5.0], [5.0], [(1, _line("bad"))]))
    await store.close()
    assert [tuple(r) for r in await sql("SELECT x, tick FROM players, world")] == [(0.0, 0)]


async def test_recent_chat_is_the_newest_in_the_order_said(dsn: str) -> None:
    store = await Store.open(dsn, POOL_SIZE)
    epoch = (await store.open_world(SEED, TICK_HZ)).epoch
    await store.save(epoch, Batch(1, chat=[(i, _line(str(i))) for i in range(1, 8)]))
    recent = await store.recent_chat(3)
    await store.close()
    assert [line.text for line in recent] == ["5", "6", "7"]


async def test_chat_is_pruned_by_number_and_by_age(dsn: str, sql: Execute) -> None:
    store = await Store.open(dsn, POOL_SIZE)
    epoch = (await store.open_world(SEED, TICK_HZ)).epoch
    await store.save(epoch, Batch(1, chat=[(i, _line(str(i))) for i in range(1, 8)]))
    await sql("UPDATE chat_messages SET said_at = now() WHERE text <> '6'")
    await store.prune_chat(epoch, rows_max=3, days_max=0.5)
    recent = await store.recent_chat(10)
    await store.close()
    assert [line.text for line in recent] == ["5", "7"]


@pytest.mark.parametrize("text", ["a\0b", "\ud800"])
def test_text_that_postgres_cannot_hold_is_refused_where_it_is_made(text: str) -> None:
    with pytest.raises(ValueError, match="NUL"):
        _line(text)


async def test_a_name_that_postgres_cannot_hold_is_refused_and_no_one_enters(dsn: str) -> None:
    store = await Store.open(dsn, POOL_SIZE)
    epoch = (await store.open_world(SEED, TICK_HZ)).epoch
    with pytest.raises(StoreRefused):
        await store.enter_players(epoch, [_entrant("Ada"), _entrant("a\0b")])
    assert await store.find_player("Ada") is None
    await store.close()


@pytest.mark.parametrize("bad", [math.nan, math.inf])
async def test_a_position_that_is_no_number_is_never_stored(dsn: str, bad: float) -> None:
    store = await Store.open(dsn, POOL_SIZE)
    epoch = (await store.open_world(SEED, TICK_HZ)).epoch
    with pytest.raises(ValueError, match="finite"):
        await store.save(epoch, Batch(1, [1], [0.0], [bad]))
    await store.close()


async def test_position_updates_touch_no_index(dsn: str, sql: Execute) -> None:
    store = await Store.open(dsn, POOL_SIZE)
    epoch = (await store.open_world(SEED, TICK_HZ)).epoch
    rows = await store.enter_players(epoch, [_entrant(f"p{i}") for i in range(50)])
    ids = [r.player_id for r in rows]
    for tick in range(20):
        await store.save(epoch, Batch(tick, ids, [float(tick)] * 50, [0.0] * 50))
    await store.close()  # its sessions report when they end, which is not at once
    updates = "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'players'"
    total = hot = 0
    async with asyncio.timeout(START_S):
        while total < 20 * 50:
            [(total, hot)] = [tuple(r) for r in await sql(updates)]
    assert total >= hot > total * 0.8


async def test_missing_tables_are_told_from_a_missing_database(empty_dsn: str) -> None:
    store = await Store.open(empty_dsn, POOL_SIZE)
    with pytest.raises(SchemaMismatch, match="landworld migrate"):
        await store.open_world(SEED, TICK_HZ)
    await store.close()


async def test_a_postgres_that_is_not_there_is_unavailable() -> None:
    said: list[str] = []
    nowhere = "postgresql://nobody@127.0.0.1:1/none"
    with pytest.raises(StoreUnavailable):
        await Store.open(nowhere, POOL_SIZE)
    with pytest.raises(StoreUnavailable):
        await wait_until_reachable(nowhere, said.append, 0.0)


async def test_a_wrong_password_is_final_and_told_not_waited_for() -> None:
    """Guard: LoginRefused. Without it the wait goes on until its end, here an hour."""
    fields = b'SFATAL\0VFATAL\0C28P01\0Mpassword authentication failed for user "ada"\0\0'

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(int.from_bytes(await reader.readexactly(4)) - 4)
        writer.write(b"E" + (len(fields) + 4).to_bytes(4) + fields)
        await writer.drain()
        writer.close()

    told: list[str] = []
    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        dsn = f"postgresql://ada:wrong@127.0.0.1:{port}/world?sslmode=disable"
        with pytest.raises(LoginRefused, match=r"failed for user .ada.; look at the user and the password"):
            await wait_until_reachable(dsn, told.append, 3600)
    assert told == []


@pytest.mark.parametrize("error", [TimeoutError(), OSError(), asyncpg.PostgresError("")])
def test_no_trouble_is_without_a_reason(error: Exception) -> None:
    """Guard: _why. Some errors of the driver have no text; the log would say `PostgreSQL: ` and nothing more."""
    with pytest.raises(StoreError, match=f"PostgreSQL: {type(error).__name__}"), translated():
        raise error
