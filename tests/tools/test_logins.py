"""`landworld logins` against a real server: what it counts, and tokens that let bots in."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness import ServerProcess, serving


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    with serving(settings={"ACCOUNTS__ARGON2_MEMORY_KIB": 8}) as running:
        yield running


def test_a_storm_tells_what_became_of_each_sign_in(server: ServerProcess) -> None:
    printed = server.command(
        *f"logins storm --url {server.url} --rate 20 --seconds 2 --count 12 --json".split()
    )
    figures = json.loads(printed.splitlines()[-1])
    assert figures["granted"] + sum(figures["refused"].values()) + figures["lost"] == 40
    assert figures["granted"] > 0
    assert figures["lost"] == 0


def test_accounts_are_made_once_and_their_tokens_let_bots_in(server: ServerProcess, tmp_path: Path) -> None:
    asked = f"logins accounts --url {server.url} --prefix Walker --count 12".split()
    first, again = server.command(*asked).split(), server.command(*asked).split()
    assert len(first) == len(again) == 12
    tokens = tmp_path / "tokens"
    tokens.write_text("\n".join(again))
    bots = server.command(*f"bots --url {server.url} --count 12 --seconds 2 --tokens {tokens} --json".split())
    assert json.loads(bots.splitlines()[-1])["players"] == 12


def test_where_nobody_listens_the_exit_code_says_so() -> None:
    asked = ["logins", "storm", "--url", "ws://127.0.0.1:9/", "--seconds", "1"]
    done = subprocess.run([sys.executable, "-m", "tools.cli", *asked], capture_output=True, text=True)
    assert done.returncode == 2
    assert "cannot begin" in done.stderr
