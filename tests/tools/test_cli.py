"""The `landworld` command as a stranger tries it: each mistake is a sentence and the documented exit code, never a traceback."""

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from tools import cli

ROOT = Path(__file__).parents[2]
PORT = 40_123
DAYS = ("0", "-1", "0.001", "3651", "1e400", "nan", "inf")


@pytest.fixture(autouse=True)
def _own_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No LANDWORLD_* variable but the data directory, and no config.toml."""
    for name in [name for name in os.environ if name.startswith("LANDWORLD_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("LANDWORLD_DATA", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)


def landworld(*words: str) -> int:
    """The exit code."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sys, "argv", ["landworld", *words])
        try:
            return cli.main()
        except SystemExit as left:
            return int(left.code or 0)


def test_it_tells_its_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert landworld("--version") == 0
    assert capsys.readouterr().out == f"landworld {version('landworld')}\n"


def test_without_a_command_it_names_them_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert landworld() == cli.WRONG_USE
    said = capsys.readouterr().err
    assert all(f"    {name} " in said for name in cli.COMMANDS)


@pytest.mark.parametrize("days", DAYS)
def test_days_of_a_token_have_the_range_of_the_setting(days: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert landworld("token", "--name", "Ada", f"--days={days}") == cli.WRONG_USE
    assert capsys.readouterr() == ("", "No token: --days goes from 0.01 to 3,650\n")


def test_bots_go_where_the_settings_say(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LANDWORLD_SERVER__PORT", "0")
    assert landworld("bots") == cli.WRONG_USE
    assert "server.port is 0" in capsys.readouterr().err
    monkeypatch.setenv("LANDWORLD_SERVER__PORT", str(PORT))
    monkeypatch.setattr("socket.create_connection", _refuse)
    assert landworld("bots") == cli.WRONG_USE
    assert f"127.0.0.1:{PORT}" in capsys.readouterr().err


def _refuse(*_: object) -> None:
    raise ConnectionRefusedError


# --- what is named and cannot be used ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "says"),
    [
        ("none", "there is no such file"),
        ("empty", "it is empty"),
        (".", "it is a directory, not a recording"),
    ],
)
def test_a_file_that_cannot_be_replayed(file: str, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("empty").touch()
    assert landworld("replay", file) == cli.WRONG_USE
    assert capsys.readouterr().err == f"Cannot play {file}: {says}\n"


@pytest.mark.parametrize(
    "words",
    [("serve",), ("token", "--name", "Ada"), ("migrate", "current"), ("map", "--rect=0,0,8,8", "a.png")],
)
def test_places_of_the_wrong_kind(
    words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("file").touch()
    monkeypatch.setenv("LANDWORLD_DATA", "file")
    assert landworld(*words) == cli.WRONG_USE
    assert "this is a file, not a directory" in capsys.readouterr().err
    monkeypatch.setenv("LANDWORLD_CONFIG", ".")
    assert landworld(*words) == cli.WRONG_USE
    assert "LANDWORLD_CONFIG names ., which is a directory" in capsys.readouterr().err


def test_a_map_of_nothing_is_wrong_use(capsys: pytest.CaptureFixture[str]) -> None:
    assert landworld("map", "--rect=0,0,0,8", "a.png") == cli.WRONG_USE
    assert "the rectangle is empty" in capsys.readouterr().err


def test_settings_are_checked_before_anything_large_is_imported() -> None:
    """Who mistyped a setting is told at once, not after numba and the database's library were read."""
    code = "import sys, tools.serve; sys.exit(' '.join({'numba', 'aiohttp', 'server.main'} & sys.modules.keys()) or 0)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
