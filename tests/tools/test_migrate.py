"""`landworld migrate` as a person calls it."""

import argparse
import asyncio
from pathlib import Path

import pytest

from persistence.embedded import DataDirectory, EmbeddedPostgres
from persistence.migrations import head_revision
from tests.conftest import START_S
from tests.tools import test_audit as audit
from tests.tools.test_audit import store_history
from tools import migrate

NEWEST = head_revision()


def _call(*words: str) -> int:
    parser = argparse.ArgumentParser()
    migrate.add_parser(parser.add_subparsers())
    arguments = parser.parse_args(["migrate", *words])
    return int(arguments.run(arguments))


def test_up_down_and_where_it_is(empty_dsn: str, capsys: pytest.CaptureFixture[str]) -> None:
    steps = [("current",), ("upgrade",), ("current",), ("downgrade", "base")]
    assert [_call(*step, "--dsn", empty_dsn) for step in steps] == [0, 0, 0, 0]
    shown = capsys.readouterr().out.splitlines()
    assert [line.split(" ")[0] for line in shown] == ["none", NEWEST, NEWEST, "none"]


def test_it_starts_the_database_of_a_data_directory_and_stops_it(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _call("upgrade", "--data", str(data)) == 0
    assert capsys.readouterr().out == f"{NEWEST} (newest: {NEWEST})\n"
    assert not (data / "postgres" / "postmaster.pid").exists()


def test_a_directory_in_use_is_left_alone(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with DataDirectory(data):
        assert _call("upgrade", "--data", str(data)) == 1
    assert "in use by process" in capsys.readouterr().err


def test_land_and_money_go_only_when_told_to(dsn: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Guards: `upgrade` never goes down, and --yes."""
    asyncio.run(store_history(dsn))
    assert _call("upgrade", "0002", "--dsn", dsn) == 1
    assert "going up never leads back to 0002" in capsys.readouterr().err
    assert _call("downgrade", "0002", "--dsn", dsn) == 1
    said = capsys.readouterr().err
    assert "3 of journal, 3 of parcels" in said
    assert "landworld backup" in said
    assert audit.call("--dsn", dsn) == 0
    assert _call("downgrade", "0002", "--yes", "--dsn", dsn) == 0
    assert _call("upgrade", "--dsn", dsn) == 0


def test_a_directory_without_a_database_is_told_and_left_empty(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Guard: `make`. Without it a slip of the hand makes a database, and finds it well."""
    for words in (("current",), ("downgrade", "base")):
        assert _call(*words, "--data", str(data)) == 1
        assert "there is no database in" in capsys.readouterr().err
    assert list(data.iterdir()) == []


def test_where_it_is_can_be_asked_while_a_server_runs(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Guard: `current` uses the database that runs."""

    async def live() -> None:
        with DataDirectory(data) as directory:
            postgres = EmbeddedPostgres(directory.path, print, START_S)
            await postgres.start()
            assert await asyncio.to_thread(_call, "current", "--data", str(data)) == 0
            await postgres.stop()

    asyncio.run(live())
    assert "none (newest" in capsys.readouterr().out


def test_what_cannot_be_done_is_said(dsn: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert _call("downgrade", "--dsn", dsn) == 2
    assert _call("upgrade", "0042", "--dsn", dsn) == 1
    assert _call("current", "--dsn", "postgresql://nobody@127.0.0.1:1/none") == 1
    said = capsys.readouterr().err
    assert "say which version" in said
    assert "there is no version 0042" in said
    assert "PostgreSQL:" in said
