"""`landworld moderate`: mutes, bans, reports and roles of a running server, from the machine it runs on.

A player is a name, or `#` and a player_id. What is done is kept with the name of the unix user who did it (`audit`).
"""

import argparse
import json
import socket
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from protocol.messages import ChatChannel, Offence, Role
from server.config import ConfigError, load_config

ANSWER_S = 30.0  # a server whose database is away answers before


class NoServer(Exception):  # noqa: N818 (a sentence for a person)
    """Nobody listens there."""


def add_parser(sub: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """The sub-command."""
    parser = sub.add_parser("moderate", help="mute, ban, look at reports, give roles", description=__doc__)
    acts = parser.add_subparsers(metavar="ACT", required=True)
    for name, words in (
        ("mute", "take somebody's voice"),
        ("unmute", "give it back"),
        ("kick", "close somebody's connection; they may come back"),
        ("ban", "keep somebody out"),
        ("unban", "let them in again, and their address"),
        ("role", "make somebody a moderator, an admin, or a user again"),
    ):
        act = _act(acts, name, words)
        act.add_argument("player", help="a name, or # and a player_id")
        if name == "role":
            act.add_argument("role", choices=[role.value for role in Role if role is not Role.GUEST])
        act.add_argument("--reason", required=True, help="told to them, and kept")
        if name in ("mute", "ban"):
            act.add_argument("--minutes", type=int, metavar="N", help="for so long; else until it is lifted")
        if name == "ban":
            act.add_argument("--address", action="store_true", help="whoever comes from their address, too")
            act.add_argument("--only-address", action="store_true", help="the address, and not the player")
    reports = _act(acts, "reports", "what players reported and nobody has dealt with")
    reports.add_argument("--closed", action="store_true", help="what was dealt with instead")
    reports.add_argument("--after", type=int, default=0, metavar="ID", help="begin after this one")
    close = _act(acts, "close", "a report is dealt with")
    close.add_argument("report", type=int, metavar="ID")
    close.add_argument("--note", default="", help="what was made of it; kept with it")
    audit = _act(acts, "audit", "what moderators and this console did, the newest first")
    audit.add_argument("--player", default="", help="what was done to one player only")
    audit.add_argument("--before", type=int, metavar="ID", help="older than this")


def _act(
    acts: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, words: str
) -> argparse.ArgumentParser:
    act = acts.add_parser(name, help=words, description=f"{words[0].upper()}{words[1:]}.")
    act.add_argument("--data", type=Path, help="another data directory than that of the settings")
    act.add_argument("--json", action="store_true", help="the answer as one JSON object")
    act.set_defaults(run=run, act=name)
    return act


def run(arguments: argparse.Namespace) -> int:
    """0 when it is done, 1 with a sentence when it is not, 2 for wrong settings."""
    given = vars(arguments)
    request = {name: given[name] for name in FIELDS if given.get(name) is not None}
    try:
        path = arguments.data or load_config().data
        answer = ask(path, {"do": arguments.act, **request})
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    except NoServer as error:
        print(error, file=sys.stderr)
        return 1
    if not answer["ok"]:
        print(answer["error"], file=sys.stderr)
        return 1
    if arguments.json:
        print(json.dumps(answer["result"]))
    else:
        for line in SHOW.get(arguments.act, _done)(answer["result"]):
            print(line)
    return 0


FIELDS = (
    *("player", "minutes", "reason", "address", "only_address", "role", "report", "note", "closed", "after"),
    "before",
)


def ask(data: Path, request: dict[str, Any]) -> dict[str, Any]:
    """One request to the server of a data directory, and its answer. Raises NoServer."""
    from server.admin import SOCKET_FILE, reached  # only now: this takes a second

    path = data / SOCKET_FILE
    try:
        with reached(path) as name, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
            line.settimeout(ANSWER_S)
            line.connect(name)
            line.sendall(json.dumps(request).encode() + b"\n")
            with line.makefile("rb") as answers:
                answer: dict[str, Any] = json.loads(answers.readline() or b"null") or {
                    "ok": False,
                    "error": "The server closed the line without an answer; it has other consoles open, or stops.",
                }
                return answer
    except (FileNotFoundError, ConnectionRefusedError):
        raise NoServer(
            f"No server runs in {data}; start it (landworld serve), or name its directory with --data."
        ) from None
    except PermissionError:
        raise NoServer(f"{path} is not yours to use: become the user who runs the server.") from None
    except OSError as error:
        raise NoServer(f"The server does not answer: {error.strerror or error}.") from None


# --- shown to a person ---


def _done(result: dict[str, Any]) -> Iterator[str]:
    if "name" in result:
        until = result.get("until_ms")
        yield f"Done: {result['name']} (#{result['player_id']})" + (
            f", until {_time(until)}." if until else "."
        )
    else:
        yield "Done."


def _reports(result: dict[str, Any]) -> Iterator[str]:
    for one in result["reports"]:
        yield (
            f"{one['report_id']}  {_time(one['reported_ms'])}  {one['player_name']} (#{one['player_id']}), "
            f"{Offence(one['offence']).name.lower()}, by {one['reporter_name']} (#{one['reporter_id']})"
        )
        if one["text"]:
            yield f'    says: "{one["text"]}"'
        for line in one["lines"]:
            channel = ChatChannel(line["channel"]).name.lower()
            yield f"    {_time(line['said_ms'])} {channel:7} {line['sender_name']}: {line['text']}"
        if one["closed_ms"]:
            yield f"    closed {_time(one['closed_ms'])} by {one['closed_by']}: {one['note'] or '-'}"
    if not result["reports"]:
        yield "None."
    if result["more"]:
        yield f"More: --after {result['reports'][-1]['report_id']}"


def _audit(rows: list[dict[str, Any]]) -> Iterator[str]:
    for row in rows:
        whom = f" {row['subject_name']} (#{row['subject_id']})" if row["subject_id"] else ""
        place = f" from {row['address']}" if row["address"] else ""
        yield f"{row['audit_id']}  {_time(row['at_ms'])}  {row['actor_name']}{place}: {row['act']}{whom}  {row['reason']}"
        if row["before"] != row["after"]:
            yield f"    {json.dumps(row['before'])} -> {json.dumps(row['after'])}"
    if not rows:
        yield "Nothing yet."


def _time(ms: int) -> str:
    return f"{datetime.fromtimestamp(ms / 1000, UTC):%Y-%m-%d %H:%M:%S}"


SHOW: dict[str, Any] = {"reports": _reports, "audit": _audit}
