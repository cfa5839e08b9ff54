"""`landworld replay`: the same commands make the same world again, and a recording that was tampered with is told."""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from protocol.messages import ChatChannel, ChatSaid, ChatSay, Move, Moved
from server.recorder import DIGEST_TICKS, FORMAT, Row
from tests.harness import Client, ServerProcess
from tests.server import recordings
from tests.world.support import RULES, join
from tools import cli
from tools.replay import play
from world.commands import STEER, LoadChunk, Steers
from world.digest import digest

HEADER = {"format": FORMAT, "rules": asdict(RULES), "tick": 0}
TICKS = 3 * DIGEST_TICKS + 50


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "recording"


def replay(path: Path, *options: str) -> int:
    """The command's exit code."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sys, "argv", ["landworld", "replay", str(path), *options])
        return cli.main()


def without_time(outcome: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in outcome.items() if name != "seconds"}


@pytest.mark.parametrize("first_tick", [0, 7_000_000_000])
def test_a_recording_played_again_makes_the_same_world(path: Path, first_tick: int) -> None:
    state = recordings.record(path, TICKS, first_tick)
    commands = sum(len(row.commands) for row in recordings.rows_of(path))
    assert commands > TICKS
    assert without_time(play(path)) == {
        "tick": first_tick + TICKS,
        "ticks": TICKS,
        "commands": commands,
        "players": len(state.players),
        "digests": 4,
        "digests_equal": 4,
        "first_difference_tick": None,
        "digest": digest(state),
    }


CHANGES = ["another intent", "one command less", "one command more", "another order", "a tick later"]


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_command_is_noticed_at_the_next_digest(path: Path, change: str) -> None:
    """The change lies between the digests after ticks 99 and 199, where the walker turns twice."""
    recordings.record(path, TICKS)
    rows = recordings.rows_of(path)
    index = next(index for index, row in enumerate(rows) if row.tick == recordings.WALKER_TURNS * 3 + 1)
    commands = rows[index].commands
    last = commands[-1]
    assert isinstance(last, Steers)
    if change == "another intent":
        steers = np.frombuffer(last.records, STEER).copy()
        steers["dx"] *= 0.999999
        last.records = steers.tobytes()
    elif change == "one command less":
        commands.pop()
    elif change == "one command more":
        commands.append(join(500, 1.0, 1.0))
    elif change == "another order":
        commands[-2:] = commands[-1], commands[-2]
    else:
        rows.insert(index + 1, Row(rows[index].tick + 1, [], None, [commands.pop()]))
    recordings.write(path, HEADER, rows)
    outcome = play(path)
    assert outcome["first_difference_tick"] == 2 * DIGEST_TICKS - 1
    assert (outcome["digests"], outcome["digests_equal"]) == (4, 1)


def test_a_wrong_digest_is_named_and_playing_goes_on(path: Path) -> None:
    recordings.record(path, TICKS)
    rows = recordings.rows_of(path)
    next(row for row in rows if row.tick == DIGEST_TICKS).digest = "0" * 32
    recordings.write(path, HEADER, rows)
    outcome = play(path)
    assert (outcome["first_difference_tick"], outcome["digests_equal"]) == (DIGEST_TICKS - 1, 3)
    assert outcome["tick"] == TICKS


def test_a_cut_off_recording_is_played_as_far_as_it_goes(path: Path) -> None:
    recordings.record(path, TICKS)
    path.write_bytes(path.read_bytes()[:-2_000])
    outcome = play(path)
    assert 0 < int(outcome["tick"] or 0) < TICKS
    assert outcome["digests_equal"] == outcome["digests"] == 3
    assert outcome["first_difference_tick"] is None


# --- the command ------------------------------------------------------------------------------------------------------------------


def test_the_command_prints_the_outcome_and_ends_with_json(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = recordings.record(path, TICKS)
    assert replay(path, "--json") == 0
    said = capsys.readouterr().out.splitlines()
    assert "4 of 4 digests equal" in said[0]
    assert json.loads(said[-1])["digest"] == digest(state)


def test_worlds_that_part_are_an_error_with_the_tick(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recordings.record(path, TICKS)
    rows = recordings.rows_of(path)
    rows[0].commands.append(join(500))
    recordings.write(path, HEADER, rows)
    assert replay(path) == 1
    assert f"part at or before tick {DIGEST_TICKS - 1}." in capsys.readouterr().err


def test_what_cannot_be_played_is_told_without_a_traceback(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing there; no recording; bytes damaged on the way; a command that cannot be."""
    assert replay(path) == 2
    path.write_text("Dear diary")
    assert replay(path) == 2
    recordings.record(path, TICKS)
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 9] = b"\xff" * 9
    path.write_bytes(data)
    assert replay(path) == 2
    recordings.write(path, HEADER, [Row(1, [], None, [LoadChunk(0, 0, b"too short")])])
    assert replay(path) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 4
    assert all(line.startswith(f"Cannot play {path}: ") for line in said)


async def test_a_real_servers_recording_plays_the_same(
    data: Path, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two people walk and talk, one loses the line and comes back; then the server is stopped."""
    server = ServerProcess(
        data, {"WORLD__SPAWN_RADIUS": 8, "SESSION__RESUME_S": 600}, ("--record", str(path))
    ).start()
    try:
        one, two = await Client.join(server), await Client.join(server)
        await one.send(Move(next(one.ids), 1.0, 0.0))
        await two.send(Move(next(two.ids), -0.6, 0.8))
        await one.wait(Moved)
        await one.ask(ChatSay(1, ChatChannel.WORLD, "good morning"))
        await two.wait(ChatSaid)
        first_tick = one.welcome.tick
        two.drop()
        again = await Client.join(server, resume=two.welcome.resume)
        assert again.player_id == two.player_id
        await one.wait_until(lambda: max_tick(one) > first_tick + DIGEST_TICKS)
        await one.place()
        await one.leave()
        await again.leave()
        assert server.stop() == 0
    finally:
        if server.process is not None:
            server.kill()
    assert replay(path, "--json") == 0
    outcome = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert outcome["digests_equal"] == outcome["digests"] >= 2
    assert outcome["commands"] > 10


def max_tick(client: Client) -> int:
    """The latest tick a client was told of."""
    return max((int(getattr(message, "tick", 0)) for message in client.seen), default=0)
