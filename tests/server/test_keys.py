"""The keys of a server: made at its first start or given, and looked at while it runs."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs

from persistence.keyring import Ring, made, read_ring, replace_ring
from server import keys as keys_module
from server.config import Config
from server.keys import KEY_FILES, SEALING_FILE, SIGNING_FILE, Keeper, Keys, load_keys, lost_values
from server.tasks import end

WAIT_S = 60.0


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not holds():  # noqa: ASYNC110 (a file is looked at)
            await asyncio.sleep(0.005)


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys_module, "LOOK_S", 0.01)


def test_the_first_start_makes_all_keys_and_the_next_finds_them(tmp_path: Path) -> None:
    config = Config(data=tmp_path)
    first = load_keys(config)
    assert {path.name for path in tmp_path.iterdir()} == set(KEY_FILES)
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}
    assert load_keys(config) == first
    secrets = {first.signing.keys[0].secret, first.sealing.keys[0].secret, first.lookup}
    assert len(secrets) == 3  # each purpose has its own


def test_keys_that_are_given_are_taken_and_nothing_is_written(tmp_path: Path) -> None:
    given = Config(
        data=tmp_path,
        signing_key=SecretStr("n" * 32 + ", " + "o" * 40),
        sealing_key=SecretStr("s" * 32),
        lookup_key=SecretStr("l" * 32),
    )
    found = load_keys(given)
    assert found.signing == Ring.of(b"o" * 40, b"n" * 32)
    assert found.signing.current(1_800_000_000_000).secret == b"n" * 32
    assert (found.sealing, found.lookup) == (Ring.of(b"s" * 32), b"l" * 32)
    assert not list(tmp_path.iterdir())


async def test_a_change_of_either_ring_is_handed_on_once(tmp_path: Path) -> None:
    config = Config(data=tmp_path)
    changes: list[Keys] = []
    keeper = Keeper(config, load_keys(config))
    looking = keeper.start(changes.append)
    for name in (SIGNING_FILE, SEALING_FILE):
        ring = read_ring(tmp_path / name).with_new(5, None)
        replace_ring(tmp_path / name, ring)
        count = len(changes)
        await until(lambda: len(changes) > count)  # noqa: B023 (it is over before the next)
        assert ring in (changes[-1].signing, changes[-1].sealing)
    assert len(changes) == 2
    await end(looking)


@pytest.mark.parametrize("content", [None, b"", b"cut short"], ids=["gone", "empty", "cut short"])
async def test_a_file_that_cannot_be_read_is_told_once_and_the_keys_of_before_stay(
    tmp_path: Path, content: bytes | None
) -> None:
    """Guard: Keeper._read makes nothing. A file that somebody moved for a moment must not void every ticket."""
    config = Config(data=tmp_path)
    keeper = Keeper(config, load_keys(config))
    changes: list[Keys] = []
    before = (tmp_path / SIGNING_FILE).read_bytes()
    looks = 0
    real = keeper._read

    def read() -> Keys:
        nonlocal looks
        looks += 1
        return real()

    keeper._read = read  # type: ignore[method-assign]
    with capture_logs() as logs:
        if content is None:
            (tmp_path / SIGNING_FILE).unlink()
        else:
            (tmp_path / SIGNING_FILE).write_bytes(content)
        looking = keeper.start(changes.append)
        await until(lambda: looks > 5)
        assert [one["event"] for one in logs] == ["keys_unreadable"]
        assert SIGNING_FILE in logs[0]["error"]
        (tmp_path / SIGNING_FILE).write_bytes(before)
        seen = looks
        await until(lambda: looks > seen + 2)
    await end(looking)
    assert not changes
    assert len(logs) == 1


def test_values_whose_keys_are_not_here_are_told_with_what_to_do() -> None:
    here, gone = made(1), made(1)
    assert lost_values({here.id: 5}, Ring((here,))) == ""
    assert lost_values({}, None) == ""
    told = lost_values({here.id: 5, gone.id: 1_200}, Ring((here,)))
    assert told.startswith("1,200 private values ")
    assert gone.id in told
    assert here.id not in told
    assert "LANDWORLD_SEALING_KEY" in told
    assert lost_values({here.id: 5}, None).startswith("5 private values")
