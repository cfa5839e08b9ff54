"""`landworld backup` and `landworld restore` as a person calls them."""

import argparse
import asyncio
import json
import re
from pathlib import Path

import pytest

from persistence.embedded import DataDirectory, EmbeddedPostgres, running_dsn
from persistence.migrations import current_revision, migrate
from server import keys, receipts
from server.config import Config
from tests.conftest import START_S
from tests.tools.test_audit import store_history
from tools import audit, backup, restore


def call(*words: str) -> int:
    parser = argparse.ArgumentParser()
    sub = parser.add_subparsers()
    for command in (audit, backup, restore):
        command.add_parser(sub)
    arguments = parser.parse_args(words)
    return int(arguments.run(arguments))


async def world(data: Path, *meanwhile: str) -> int:
    """A world of three entries in a data directory; a command that is called while its database runs."""
    with DataDirectory(data) as directory:
        postgres = EmbeddedPostgres(directory.path, print, START_S)
        dsn = await postgres.start()
        await migrate(dsn, print)
        await store_history(dsn)
        keys.load_keys(Config(data=data))
        receipts.Notary.of(data)
        code = await asyncio.to_thread(call, *meanwhile) if meanwhile else 0
        await postgres.stop()
    return code


def test_a_running_world_is_saved_and_restored_with_its_keys(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, there = tmp_path / "world.zip", data / "there"
    source = data / "source"
    assert (
        asyncio.run(world(source, "backup", str(file), "--data", str(source), "--with-keys", "--json")) == 0
    )
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (told["seq"], told["bytes"]) == (3, file.stat().st_size)
    assert call("restore", str(file), "--data", str(there)) == 0
    assert "Entries 1 to 3: all is well" in capsys.readouterr().out
    for key in (*keys.KEY_FILES, receipts.KEY_FILE):
        assert (there / key).read_bytes() == (source / key).read_bytes()
        assert (there / key).stat().st_mode & 0o077 == 0
    assert running_dsn(there) is None
    assert call("audit", "--data", str(there)) == 0


def test_files_that_cannot_be_are_told_in_words(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Guard: in_words. `[Errno 2]` says nothing to whoever runs a world."""
    asyncio.run(world(data))
    assert call("backup", str(tmp_path / "none" / "b.zip"), "--data", str(data)) == 1
    said = capsys.readouterr().err
    assert re.search(r"No backup: .*none/b\.zip.*: No such file or directory\n", said)
    assert call("restore", str(tmp_path / "none.zip"), "--data", str(data / "there")) == 1
    said += capsys.readouterr().err
    assert f"Not restored: {tmp_path}/none.zip: No such file or directory\n" in said
    assert "Errno" not in said


def test_without_keys_it_says_so(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, there = tmp_path / "world.zip", data / "there"
    asyncio.run(world(data / "source"))
    assert call("backup", str(file), "--data", str(data / "source")) == 0
    assert call("restore", str(file), "--data", str(there)) == 0
    assert "There are no keys in the archive" in capsys.readouterr().err
    assert not (there / keys.SIGNING_FILE).exists()


def test_a_directory_that_is_not_empty_and_a_bad_file_are_refused(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Guards: the directory is looked at, and the file is, before anything is touched."""
    file = tmp_path / "world.zip"
    asyncio.run(world(data / "source"))
    assert call("backup", str(file), "--data", str(data / "source")) == 0
    assert call("backup", str(file), "--data", str(data / "source")) == 1
    assert call("restore", str(file), "--data", str(data / "source")) == 1
    file.write_bytes(file.read_bytes()[:-100])
    assert call("restore", str(file), "--data", str(data / "there")) == 1
    assert call("restore", str(tmp_path / "none.zip"), "--data", str(data / "there")) == 1
    said = capsys.readouterr().err
    for words in ("is there already", "is not empty: ", "was cut short", "No such file"):
        assert words in said
    assert not (data / "there").exists()


def test_a_key_that_is_there_is_found_before_the_database_is_touched(
    data: Path, tmp_path: Path, empty_dsn: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Guard: _keys_in comes first. Written last, an existing key made a world that was restored "Not restored"."""
    file, other = tmp_path / "world.zip", data / "keys"
    source = data / "source"
    asyncio.run(world(source))
    assert call("backup", str(file), "--data", str(source), "--with-keys") == 0
    other.mkdir()
    (other / receipts.KEY_FILE).write_bytes(b"another")
    to_another_database = ("restore", str(file), "--dsn", empty_dsn, "--data", str(other))
    assert call(*to_another_database) == 1
    assert "Not restored: " in (said := capsys.readouterr().err)
    assert "with another key than the archive's" in said
    assert asyncio.run(current_revision(empty_dsn)) is None
    assert {path.name for path in other.iterdir()} == {receipts.KEY_FILE}
    (other / receipts.KEY_FILE).write_bytes((source / receipts.KEY_FILE).read_bytes())
    assert call(*to_another_database) == 0
    assert (other / keys.SIGNING_FILE).read_bytes() == (source / keys.SIGNING_FILE).read_bytes()
    assert call(*to_another_database) == 1  # the database is not empty now
    assert {path.name for path in other.iterdir()} == set(backup.KEYS)


def test_what_cannot_be_finished_is_taken_away_again(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Guard: database and keys that a failed restore made are removed, so that the next try finds an empty directory."""
    file, there = tmp_path / "world.zip", data / "there"
    asyncio.run(world(data / "source"))
    assert call("backup", str(file), "--data", str(data / "source"), "--with-keys") == 0

    async def fails(*_: object) -> None:
        raise OSError("no space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(restore, "audit", fails)
        assert call("restore", str(file), "--data", str(there)) == 1
    assert "no space left" in capsys.readouterr().err
    assert {path.name for path in there.iterdir()} == {"landworld.lock"}
    assert call("restore", str(file), "--data", str(there)) == 0


def test_what_another_process_made_meanwhile_is_left_alone(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It was empty when it was looked at, and then a server began there. Guard: DirectoryError and NotEmpty in restore._run."""
    file, there = tmp_path / "world.zip", data / "there"
    asyncio.run(world(data / "source"))
    assert call("backup", str(file), "--data", str(data / "source")) == 0
    asyncio.run(world(there))
    monkeypatch.setattr(restore, "_check_empty", lambda _: None)
    with DataDirectory(there):
        assert call("restore", str(file), "--data", str(there)) == 1
    assert "in use by process" in capsys.readouterr().err
    assert call("restore", str(file), "--data", str(there)) == 1
    assert call("audit", "--data", str(there)) == 0
