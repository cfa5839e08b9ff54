"""`landworld migrate` as a person calls it."""

import argparse
from pathlib import Path

import pytest

from persistence.embedded import DataDirectory
from persistence.migrations import head_revision
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


def test_what_cannot_be_done_is_said(dsn: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert _call("downgrade", "--dsn", dsn) == 2
    assert _call("upgrade", "0042", "--dsn", dsn) == 1
    assert _call("current", "--dsn", "postgresql://nobody@127.0.0.1:1/none") == 1
    said = capsys.readouterr().err
    assert "say which version" in said
    assert "there is no version 0042" in said
    assert "PostgreSQL:" in said
