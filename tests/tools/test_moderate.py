"""`landworld moderate`: the console against a running server, over its unix socket."""

import json
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from protocol.errors import CloseCode, RefusalCode
from protocol.messages import (
    ChatChannel,
    ChatSay,
    Closing,
    ModerationReports,
    MuteChanged,
    Offence,
    Ok,
    PlayerReport,
    Refused,
    Role,
    RoleChanged,
)
from server.admin import LINE_BYTES_MAX, LINES_WAITING_MAX, SOCKET_FILE, reached
from tests.harness import Client, ServerProcess, serving


@pytest.fixture(scope="module", params=[0, 2], ids=["one process", "two gateways"])
def server(request: pytest.FixtureRequest) -> Iterator[ServerProcess]:
    with serving(settings={"WORLD__SPAWN_RADIUS": 2, "SERVER__GATEWAYS": request.param}) as server:
        yield server


def moderate(server: ServerProcess, *arguments: str) -> tuple[int, str, str]:
    """Exit code, what it says, and what it complains of."""
    done = subprocess.run(
        [sys.executable, "-m", "tools.cli", "moderate", *arguments],
        env=server.environment(),
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stdout, done.stderr


def ask(server: ServerProcess, line: bytes) -> dict[str, Any]:
    """A line to the socket, and the answer."""
    with reached(server.data / SOCKET_FILE) as name, socket.socket(socket.AF_UNIX) as admin:
        admin.connect(name)
        admin.sendall(line)
        answer: dict[str, Any] = json.loads(admin.makefile("rb").readline())
        return answer


async def test_the_console_mutes_kicks_bans_and_lifts(server: ServerProcess) -> None:
    ann = await Client.join(server, server.token("Ann Console"))
    code, said, _ = moderate(server, "mute", "ann console", "--minutes", "5", "--reason", "shouting")
    assert (code, "Ann Console" in said, "until" in said) == (0, True, True)
    assert (await ann.wait(MuteChanged)).reason == "shouting"
    muted = await ann.ask(ChatSay(1, ChatChannel.WORLD, "but"))
    assert isinstance(muted, Refused)
    assert muted.code is RefusalCode.MUTED
    assert moderate(server, "unmute", f"#{ann.player_id}", "--reason", "calm")[0] == 0
    assert moderate(server, "kick", "Ann Console", "--reason", "come down")[0] == 0
    assert (await ann.wait(Closing)).code is CloseCode.KICKED
    again = await Client.join(server, server.token("Ann Console"))
    assert moderate(server, "ban", "Ann Console", "--reason", "cheating")[0] == 0
    assert (await again.wait_closed())[0] == CloseCode.BANNED
    assert moderate(server, "unban", "Ann Console", "--reason", "a mistake")[0] == 0
    await (await Client.join(server, server.token("Ann Console"))).leave()
    code, said, _ = moderate(server, "audit", "--player", "Ann Console", "--json")
    acts = json.loads(said)
    assert [row["act"].removeprefix("moderation_") for row in acts] == ["lift", "ban", "kick", "lift", "mute"]
    assert {row["actor_name"] for row in acts} == {"unix:root" if os.getuid() == 0 else acts[0]["actor_name"]}
    assert acts[-1]["before"] == {"role": "user"}
    assert acts[-1]["after"]["mute"]["reason"] == "shouting"
    assert "cheating" in moderate(server, "audit")[1]


async def test_a_role_that_is_given_holds_at_once_and_whatever_a_token_says(server: ServerProcess) -> None:
    """Guards: Known in Hub.give_role; role_set, without which the next token would take it back."""
    bea = await Client.join(server, server.token("Bea Console"))
    forbidden = await bea.ask(ModerationReports(1, False))
    assert isinstance(forbidden, Refused)
    assert forbidden.code is RefusalCode.NOT_ALLOWED
    assert moderate(server, "role", "Bea Console", "moderator", "--reason", "trusted")[0] == 0
    assert (await bea.wait(RoleChanged)).role is Role.MODERATOR
    assert isinstance(await bea.ask(ModerationReports(2, False)), Ok)
    again = await Client.join(server, server.token("Bea Console"))
    assert again.welcome.role is Role.MODERATOR
    assert moderate(server, "role", "Bea Console", "user", "--reason", "rest")[0] == 0
    assert (await again.wait(RoleChanged)).role is Role.USER
    assert isinstance(await again.ask(ModerationReports(3, False)), Refused)
    assert (await Client.join(server, server.token("Bea Console", Role.ADMIN))).welcome.role is Role.USER
    guest = await Client.join(server)
    code, _, said = moderate(server, "role", f"#{guest.player_id}", "admin", "--reason", "why not")
    assert (code, "guest" in said) == (1, True)


async def test_reports_are_shown_and_closed(server: ServerProcess) -> None:
    cal, dan = await Client.join(server), await Client.join(server)
    said = await dan.ask(ChatSay(1, ChatChannel.WORLD, "buy my hats"))
    assert isinstance(said, Ok)
    filed = await cal.ask(PlayerReport(1, os.urandom(16), dan.player_id, Offence.SPAM, "hats again"))
    assert isinstance(filed, Ok)
    report_id = str(filed.result["report_id"])
    shown = moderate(server, "reports")[1]
    assert "hats again" in shown
    assert "buy my hats" in shown
    assert moderate(server, "close", report_id, "--note", "warned")[0] == 0
    assert "warned" in moderate(server, "reports", "--closed")[1]
    code, _, complaint = moderate(server, "close", report_id)
    assert (code, "No report" in complaint) == (1, True)


def test_the_socket_is_its_owners_alone(server: ServerProcess) -> None:
    """Guard: the umask in Admin.open."""
    assert stat.S_IMODE((server.data / SOCKET_FILE).stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("line", "error"),
    [
        (b"{}\n", "missing"),
        (b"no json\n", "malformed"),
        (b'{"do": "dance"}\n', "there are: mute"),
        (b'{"do": "mute", "player": "Nobody Here", "reason": "x"}\n', "Nobody is called"),
        (b'{"do": "mute", "player": "#x", "reason": "x"}\n', "no player_id"),
        (b'{"do": "mute", "player": "#7", "reason": " "}\n', "Give a reason"),
        (b'{"do": "mute", "player": "#7", "reason": "x", "minutes": 0}\n', "Minutes go from"),
        (b'{"do": "audit", "surprise": 1}\n', "surprise"),
        (b'{"do": "close", "report": 10000000000000000000}\n', "report"),
        (b'{"do": "reports", "after": 9223372036854775808}\n', "after"),
        (b'{"do": "audit", "before": -1}\n', "before"),
        (b"x" * (LINE_BYTES_MAX + 1), "bytes at most"),
    ],
)
def test_what_makes_no_sense_is_answered_with_words(server: ServerProcess, line: bytes, error: str) -> None:
    """Guards: NUMBER_MAX, for what the database cannot count ends the server; LINE_BYTES_MAX, without which a line fills the memory."""
    answer = ask(server, line)
    assert answer["ok"] is False
    assert error in answer["error"]


def test_so_many_consoles_and_no_more(server: ServerProcess) -> None:
    """Guard: LINES_WAITING_MAX in Admin._take."""
    with reached(server.data / SOCKET_FILE) as name:
        lines = [socket.socket(socket.AF_UNIX) for _ in range(LINES_WAITING_MAX + 1)]
        for line in lines:
            line.connect(name)
    for line in lines[:-1]:  # each is being served
        line.sendall(b'{"do": "dance"}\n')
        assert line.makefile("rb").readline()
    assert lines[-1].recv(1) == b""
    for line in lines:
        line.close()


def test_without_a_server_it_says_so(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "nowhere"):
        done = subprocess.run(
            [sys.executable, "-m", "tools.cli", "moderate", "reports", "--data", str(place)],
            capture_output=True,
            text=True,
        )
        assert done.returncode == 1
        assert "No server runs in" in done.stderr


def test_a_socket_that_a_killed_server_left_is_no_server_and_no_obstacle(data: Path) -> None:
    with serving(data) as server:
        server.kill()
        code, _, said = moderate(server, "reports")
        assert (code, "No server runs in" in said) == (1, True)
    with serving(data) as server:
        assert moderate(server, "reports") == (0, "None.\n", "")
