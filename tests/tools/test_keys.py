"""`landworld keys` and `landworld outbox` as a person calls them; rotations beside nobody, and with a kill in the middle."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from email.message import EmailMessage
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest

from persistence.embedded import DataDirectory, EmbeddedPostgres
from persistence.keyring import RIPE_MS, Key, Ring, load_ring, made, read_ring, replace_ring
from persistence.migrations import migrate
from persistence.sealing import ADDRESS, EMAIL, Sealer
from server.keys import SEALING_FILE, SIGNING_FILE
from server.mail import OUTBOX, put
from tests.conftest import START_S
from tests.harness import POLL_S
from tests.tools.test_cli import landworld

DAY_MS = 86_400_000
ACCOUNTS = 1_200  # two batches and a part
LOOKUP = b"l" * 32


@pytest.fixture(autouse=True)
def _own_settings(monkeypatch: pytest.MonkeyPatch, data: Path, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("LANDWORLD_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("LANDWORLD_DATA", str(data))
    monkeypatch.chdir(tmp_path)


def now_ms() -> int:
    return time.time_ns() // 1_000_000


# --- signing -----------------------------------------------------------------------------------------------


def test_a_rotation_of_signing_keys_keeps_the_one_before_as_long_as_anything_it_signed_can_be_good(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Guard: _longest_days. A ticket is good for 90 days here, and a guest who comes back in time is the same guest."""
    monkeypatch.setenv("LANDWORLD_SESSION__TICKET_DAYS", "90")
    (first,) = load_ring(data / SIGNING_FILE, 1).keys
    began_ms = now_ms()
    assert landworld("keys", "rotate", "signing") == 0
    before, new = read_ring(data / SIGNING_FILE).keys
    assert before.secret == first.secret
    assert 90 * DAY_MS <= before.retires_at_ms - began_ms - RIPE_MS <= 90 * DAY_MS + (now_ms() - began_ms)
    assert f"{new.id} signs in 10 s.\n{before.id} is believed until " in capsys.readouterr().out


def test_a_key_that_somebody_else_has_is_worth_nothing_at_once(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    load_ring(data / SIGNING_FILE, 1)
    assert landworld("keys", "rotate", "signing", "--now") == 0
    (new,) = read_ring(data / SIGNING_FILE).keys
    assert capsys.readouterr().out == f"{new.id} signs from now on.\n"


def test_keys_from_the_environment_are_changed_there(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LANDWORLD_SIGNING_KEY", "s" * 32)
    assert landworld("keys", "rotate", "signing") == 1
    assert "LANDWORLD_SIGNING_KEY=NEW,OLD" in capsys.readouterr().err
    assert not (data / SIGNING_FILE).exists()


@pytest.mark.parametrize("ring", ["signing", "sealing"])
def test_a_directory_without_keys_is_told(ring: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert landworld("keys", "rotate", ring) == 1
    assert "LANDWORLD_DATA" in capsys.readouterr().err


def test_a_ring_that_is_full_stays_as_it_is(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ring = load_ring(data / SIGNING_FILE, 1)
    for _ in range(31):
        ring = ring.with_new(now_ms(), None)
    replace_ring(data / SIGNING_FILE, ring)
    assert landworld("keys", "rotate", "signing") == 1
    assert "32 at most" in capsys.readouterr().err
    assert read_ring(data / SIGNING_FILE) == ring


# --- sealing -----------------------------------------------------------------------------------------------


class World:
    """A database in a data directory, with accounts and sessions in it."""

    def __init__(self, dsn: str, data: Path) -> None:
        self.dsn = dsn
        self.data = data

    def seal_all(self, ring: Ring) -> None:
        """Every account has an address, and every tenth a session."""
        sealer = Sealer(ring, LOOKUP)

        async def fill() -> None:
            connection = await asyncpg.connect(self.dsn)
            await connection.execute("INSERT INTO world (id, seed) VALUES (1, 7) ON CONFLICT DO NOTHING")
            await connection.executemany(
                "INSERT INTO credentials (player_id, name_fold, password_hash, email_sealed, email_hash) "
                "VALUES ($1, $1::bigint::text, '', $2, $3)",
                [
                    (number, sealer.seal(EMAIL, number, mail(number)), sealer.lookup("email", mail(number)))
                    for number in range(1, ACCOUNTS + 1)
                ],
            )
            await connection.executemany(
                "INSERT INTO sessions (session_id, player_id, client, address_sealed, expires_at) VALUES ($1, 1, '', $2, now())",
                [
                    (UUID(int=number), sealer.seal(ADDRESS, str(UUID(int=number)), f"192.0.2.{number}"))
                    for number in range(1, ACCOUNTS // 10 + 1)
                ],
            )
            await connection.close()

        asyncio.run(fill())

    def opened(self, ring: Ring) -> None:
        """All of it opens and says what it said."""
        sealer = Sealer(ring, LOOKUP)

        async def read() -> None:
            connection = await asyncpg.connect(self.dsn)
            for row in await connection.fetch("SELECT player_id, email_sealed FROM credentials"):
                assert sealer.open(EMAIL, row[0], row[1]) == mail(row[0])
            for row in await connection.fetch("SELECT session_id, address_sealed FROM sessions"):
                assert sealer.open(ADDRESS, str(row[0]), row[1]) == f"192.0.2.{row[0].int}"
            await connection.close()

        asyncio.run(read())

    @property
    def ring(self) -> Ring:
        return read_ring(self.data / SEALING_FILE)

    def values(self, capsys: pytest.CaptureFixture[str]) -> dict[str, int]:
        capsys.readouterr()
        landworld("keys", "list", "--json", "--dsn", self.dsn)
        found: dict[str, int] = json.loads(capsys.readouterr().out.splitlines()[-1])["values"]
        return found


def mail(number: int) -> str:
    return f"p{number}@example.org"


@pytest.fixture
def world(dsn: str, data: Path) -> World:
    """All is sealed with the ring's first key."""
    load_ring(data / SIGNING_FILE, 1)
    one = World(dsn, data)
    one.seal_all(load_ring(data / SEALING_FILE, 1))
    return one


def old_enough(world: World) -> None:
    """The newest key was made long ago: nobody has to be waited for."""
    *before, newest = world.ring.keys
    replace_ring(world.data / SEALING_FILE, Ring((*before, Key(newest.secret, 2))))


ALL = ACCOUNTS + ACCOUNTS // 10


def test_a_rotation_of_sealing_keys_seals_all_values_anew(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    (first,) = world.ring.keys
    assert landworld("keys", "rotate", "sealing", "--dsn", world.dsn) == 0
    said = capsys.readouterr()
    before, new = world.ring.keys
    assert said.out == f"{new.id} seals all private values; {ALL:,} were sealed anew.\n"
    assert "until a running server knows the new key" in said.err
    assert before == first
    assert world.values(capsys) == {new.id: ALL}
    world.opened(Ring((new,)))


def test_the_next_rotation_forgets_the_key_before_the_last(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    """Guard: `without` in _new_ring. Only keys under which there is no value go."""
    assert landworld("keys", "rotate", "sealing", "--dsn", world.dsn) == 0
    first, second = world.ring.keys
    old_enough(world)
    assert landworld("keys", "rotate", "sealing", "--dsn", world.dsn) == 0
    assert [key.secret for key in world.ring.keys[:-1]] == [second.secret]
    assert first.id not in world.ring
    world.opened(world.ring)


def test_a_rotation_that_is_killed_at_work_loses_nothing_and_goes_on(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    """The second batch waits for a row that somebody holds; there the command is killed. A server could read all values then."""
    (first,) = world.ring.keys
    killed = asyncio.run(kill_at(world, account=700))
    assert killed == -signal.SIGKILL
    ring = world.ring
    assert [key.id for key in ring.keys[:-1]] == [first.id]
    values = world.values(capsys)
    assert values == {ring.keys[-1].id: 500, first.id: ALL - 500}
    world.opened(ring)
    assert landworld("keys", "rotate", "sealing", "--dsn", world.dsn) == 0
    assert "goes on with it" in capsys.readouterr().err
    assert world.ring == ring  # no other key was made
    assert world.values(capsys) == {ring.keys[-1].id: ALL}
    world.opened(Ring(ring.keys[-1:]))


async def kill_at(world: World, account: int) -> int:
    """Starts the command and kills it when it waits for the row of an account."""
    holder = await asyncpg.connect(world.dsn)
    watcher = await asyncpg.connect(world.dsn)
    transaction = holder.transaction()
    await transaction.start()
    await holder.execute("SELECT 1 FROM credentials WHERE player_id = $1 FOR UPDATE", account)
    command = subprocess.Popen(
        [sys.executable, "-m", "tools.cli", "keys", "rotate", "sealing", "--dsn", world.dsn],
    )
    waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    async with asyncio.timeout(START_S):
        while not await watcher.fetchval(waits):
            assert command.poll() is None
            await asyncio.sleep(POLL_S)
    pids = holder.get_server_pid(), watcher.get_server_pid()
    command.kill()
    code = command.wait()
    await transaction.rollback()
    others = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid NOT IN ($1, $2)"
    )
    async with asyncio.timeout(
        START_S
    ):  # its last batch is rolled back when its connection is found to be gone
        while await watcher.fetchval(others, *pids):  # noqa: ASYNC110 (another process)
            await asyncio.sleep(POLL_S)
    await holder.close()
    await watcher.close()
    return code


def test_a_rotation_that_was_killed_before_it_began_to_seal_goes_on(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    """The new key is in the file, and no value is under it."""
    replace_ring(world.data / SEALING_FILE, world.ring.with_new(2, None))
    assert landworld("keys", "rotate", "sealing", "--dsn", world.dsn) == 0
    assert len(world.ring.keys) == 2
    assert world.values(capsys) == {world.ring.keys[-1].id: ALL}


def test_sealing_keys_from_the_environment_are_changed_there_and_all_is_sealed_anew(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    old, new = "o" * 32, "n" * 32
    rotated = Ring.of(old.encode(), new.encode())
    monkeypatch.setenv("LANDWORLD_SEALING_KEY", new)
    (world.data / SEALING_FILE).unlink()
    assert landworld("keys", "list", "--dsn", world.dsn) == 1
    assert f"not here; {ALL:,} values cannot be opened" in capsys.readouterr().out
    asyncio.run(empty(world.dsn))
    world.seal_all(Ring.of(old.encode()))
    monkeypatch.setenv("LANDWORLD_SEALING_KEY", f"{new},{old}")
    assert landworld("keys", "rotate", "sealing", "--dsn", world.dsn) == 0
    world.opened(Ring((rotated.keys[1],)))
    assert landworld("keys", "rotate", "sealing", "--dsn", world.dsn) == 1
    assert "Put a new one first there, LANDWORLD_SEALING_KEY=NEW,OLD" in capsys.readouterr().err


def test_a_world_can_move_from_a_key_in_a_file_to_one_in_the_environment(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Guard: read_sealing takes both. What is in the file cannot be written into a variable."""
    monkeypatch.setenv("LANDWORLD_SEALING_KEY", "n" * 32)
    assert landworld("keys", "list", "--dsn", world.dsn) == 0
    assert landworld("keys", "rotate", "sealing", "--dsn", world.dsn) == 0
    (world.data / SEALING_FILE).unlink()
    assert landworld("keys", "list", "--dsn", world.dsn) == 0
    world.opened(Ring.of(b"n" * 32))


async def empty(dsn: str) -> None:
    connection = await asyncpg.connect(dsn)
    await connection.execute("TRUNCATE credentials, sessions")
    await connection.close()


def test_values_that_cannot_be_opened_are_told_and_left(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    lost = world.ring
    replace_ring(world.data / SEALING_FILE, Ring((made(2),)))
    assert landworld("keys", "rotate", "sealing", "--dsn", world.dsn) == 1
    assert f"{ALL:,} values could not be opened" in capsys.readouterr().err
    world.opened(lost)


def test_a_list_names_keys_by_their_ids_and_shows_none(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    replace_ring(world.data / SIGNING_FILE, read_ring(world.data / SIGNING_FILE).with_new(now_ms(), DAY_MS))
    assert landworld("keys", "list", "--json", "--dsn", world.dsn) == 0
    said = capsys.readouterr().out
    (sealing,) = world.ring.keys
    first, second = read_ring(world.data / SIGNING_FILE).keys
    assert f"{sealing.id}  made 1970-01-01 00:00 UTC, current, {ALL:,} values" in said
    assert f"{first.id}  made 1970-01-01 00:00 UTC, current, until 20" in said
    assert f"{second.id}  made 20" in said
    told = json.loads(said.splitlines()[-1])
    assert [key["state"] for key in told["signing"]] == ["current", "coming"]
    for key in (sealing, first, second):
        assert key.secret.hex() not in said


def test_a_rotation_finds_the_database_of_the_data_directory(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def prepare() -> None:
        with DataDirectory(data) as directory:
            postgres = EmbeddedPostgres(directory.path, print, START_S)
            await migrate(await postgres.start(), print)
            await postgres.stop()

    asyncio.run(prepare())
    load_ring(data / SEALING_FILE, 1)
    assert landworld("keys", "rotate", "sealing") == 0
    assert "0 were sealed anew" in capsys.readouterr().out


# --- the outbox --------------------------------------------------------------------------------------------


@pytest.fixture
def letters(data: Path) -> Path:
    outbox = data / OUTBOX
    for number in (1, 2):
        letter = EmailMessage()
        letter["Date"] = "Thu, 01 Oct 2026 10:00:00 -0000"
        letter["From"], letter["To"] = "world@example.org", mail(number)
        letter["Subject"] = f"Letter {number} für dich"
        letter.set_content(f"The code is {number}.\n")
        put(outbox, bytes(letter), 10)
        time.sleep(0.002)  # their order is that of their milliseconds
    return outbox


def test_the_outbox_is_listed_and_a_letter_is_shown(
    letters: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert landworld("outbox") == landworld("outbox", "list") == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert lines[1] == "   2  Thu, 01 Oct 2026 10:00:00 -0000  p2@example.org  Letter 2 für dich"
    assert landworld("outbox", "show") == 0
    assert capsys.readouterr().out == (
        "Date: Thu, 01 Oct 2026 10:00:00 -0000\nFrom: world@example.org\nTo: p2@example.org\n"
        "Subject: Letter 2 für dich\n\nThe code is 2.\n"
    )
    assert landworld("outbox", "show", "1") == 0
    assert "The code is 1." in capsys.readouterr().out


def test_an_outbox_without_that_letter_says_so(letters: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert landworld("outbox", "show", "3") == landworld("outbox", "show", "0") == 1
    assert "There is no letter 3; there are 2." in capsys.readouterr().err
    for letter in letters.iterdir():
        letter.unlink()
    assert landworld("outbox") == 0
    assert landworld("outbox", "show") == 1
    assert "The outbox is empty." in capsys.readouterr().err


def test_the_outbox_says_when_mail_goes_to_a_mail_server(
    letters: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LANDWORLD_MAIL__HOST", "mail.example.org")
    assert landworld("outbox") == 0
    assert "Mail goes to mail.example.org:587" in capsys.readouterr().err
