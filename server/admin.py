"""The console's way in: a unix socket in the data directory, for whoever may read that directory's owner's files (mode 0600).

JSON lines, one request and one answer each, of LINE_BYTES_MAX at most. A request names what to do, as in COMMANDS:

    {"do": "mute", "player": "Ada", "minutes": 30, "reason": "shouting"}
    {"ok": true, "result": {...}}   or   {"ok": false, "error": "words for a person"}

A player is a name, or `#` and a player_id. Whatever is done goes the way that the acts of moderators go (moderation.py), above all
roles, and the audit names the unix user, whom the kernel vouches for.
"""

import asyncio
import json
import os
import pwd
import socket
import struct
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Annotated, Any

import msgspec
import structlog

from persistence.moderation import AUDIT_PAGE, Actor, ModerationStore
from persistence.store import Store, StoreError
from protocol.errors import Refusal
from protocol.messages import (
    ACTION_ID_BYTES,
    NAME_CHARS_MAX,
    REASON_CHARS_MAX,
    SANCTION_MINUTES_MAX,
    BanScope,
    ModerationBan,
    ModerationClose,
    ModerationKick,
    ModerationLift,
    ModerationMute,
    ModerationReports,
    Result,
    Role,
    Sanction,
)
from server.moderation import ABOVE_ALL, Moderation, SetRole

SOCKET_FILE = "admin.sock"
LINE_BYTES_MAX = 1_048_576  # a page of reports has some 400 kB at most
LINES_WAITING_MAX = 8  # connections at once; the next is closed
QUIET_S = 60.0  # nothing asked for so long: closed
MODE = 0o600
CREDENTIALS = struct.Struct("3i")  # pid, uid, gid; unix(7)
ID_MAX = 2**32 - 1
REQUEST_ID = 1  # nobody asks twice at once here

log = structlog.get_logger()


class Wrong(Exception):  # noqa: N818 (an answer)
    """A request that cannot be done; the message says why."""


NUMBER_MAX = 2**63 - 1  # of what the database counts
Number = Annotated[int, msgspec.Meta(ge=0, le=NUMBER_MAX)]


class _Request(msgspec.Struct, forbid_unknown_fields=True):
    """What a request may carry."""

    do: str
    player: str = ""
    minutes: int | None = None
    reason: str = ""
    address: bool = False
    only_address: bool = False
    role: Role = Role.USER
    report: Number = 0
    note: str = ""
    closed: bool = False
    after: Number = 0
    before: Number = NUMBER_MAX


class Admin:
    """Listens while it is open. All methods are for the loop's thread."""

    def __init__(self, data: Path, store: Store, rows: ModerationStore, moderation: Moderation) -> None:
        self._path = data / SOCKET_FILE
        self._store = store
        self._rows = rows
        self._moderation = moderation
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Takes connections. Raises OSError."""
        with reached(self._path) as path:
            self._path.unlink(
                missing_ok=True
            )  # of a server that was killed; the data directory is ours alone
            line = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            before = os.umask(0o777 & ~MODE)
            try:
                line.bind(path)
            finally:
                os.umask(before)
        self._server = await asyncio.start_unix_server(self._take, sock=line, limit=LINE_BYTES_MAX)

    async def close(self) -> None:
        """Ends, and the file goes."""
        if self._server is not None:
            self._server.close()
            self._path.unlink(missing_ok=True)
        for task in self._tasks:
            task.cancel()

    def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._tasks) >= LINES_WAITING_MAX:
            writer.close()
            return
        task = asyncio.create_task(self._serve(reader, writer), name="console")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        actor = Actor(None, f"unix:{_user(writer.get_extra_info('socket'))}")
        try:
            while True:
                async with asyncio.timeout(QUIET_S):
                    line = await reader.readline()
                if not line.endswith(b"\n"):
                    return
                writer.write(json.dumps(await self._answer(actor, line)).encode() + b"\n")
                await writer.drain()
        except ValueError:  # a line without an end
            writer.write(_no(f"A request has {LINE_BYTES_MAX:,} bytes at most.") + b"\n")
        except (TimeoutError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _answer(self, actor: Actor, line: bytes) -> dict[str, Any]:
        try:
            request = msgspec.json.decode(line, type=_Request)
            command = COMMANDS.get(request.do)
            if command is None:
                raise Wrong(f'There is no "{request.do}"; there are: {", ".join(COMMANDS)}.')
            return {"ok": True, "result": await command(self, actor, request)}
        except (Wrong, Refusal, StoreError, msgspec.MsgspecError) as error:
            return {"ok": False, "error": str(error)}

    # --- what can be asked ---

    async def _do(self, actor: Actor, request: Any) -> Any:
        """By the way of all moderation; the result as plain data."""
        done: asyncio.Future[Result | Refusal] = asyncio.get_running_loop().create_future()

        def answer(outcome: Result | Refusal) -> None:
            if not done.done():  # whoever asked is gone
                done.set_result(outcome)

        self._moderation.ask(actor, lambda: ABOVE_ALL, request, answer)
        outcome = await done
        if isinstance(outcome, Refusal):
            raise outcome
        return msgspec.to_builtins(outcome)

    async def _player(self, request: _Request) -> int:
        named = request.player
        if named.startswith("#"):
            if not named[1:].isdecimal() or int(named[1:]) > ID_MAX:
                raise Wrong(f"{named} is no player_id.")
            return int(named[1:])
        if not 1 <= len(named) <= NAME_CHARS_MAX or "\0" in named:
            raise Wrong("Name a player, or write # and a player_id.")
        row = await self._store.find_player(named)
        if row is None:
            raise Wrong(f"Nobody is called {named}.")
        return row.player_id

    async def _mute(self, actor: Actor, request: _Request) -> Any:
        told = await self._player(request), _reason(request), _minutes(request)
        return await self._do(actor, ModerationMute(REQUEST_ID, _action_id(), *told))

    async def _kick(self, actor: Actor, request: _Request) -> Any:
        return await self._do(
            actor, ModerationKick(REQUEST_ID, _action_id(), await self._player(request), _reason(request))
        )

    async def _ban(self, actor: Actor, request: _Request) -> Any:
        scope = (
            BanScope.ADDRESS
            if request.only_address
            else BanScope.BOTH
            if request.address
            else BanScope.PLAYER
        )
        told = await self._player(request), scope, _reason(request), _minutes(request)
        return await self._do(actor, ModerationBan(REQUEST_ID, _action_id(), *told))

    async def _unmute(self, actor: Actor, request: _Request) -> Any:
        told = await self._player(request), Sanction.MUTE, _reason(request)
        return await self._do(actor, ModerationLift(REQUEST_ID, _action_id(), *told))

    async def _unban(self, actor: Actor, request: _Request) -> Any:
        told = await self._player(request), Sanction.BAN, _reason(request)
        return await self._do(actor, ModerationLift(REQUEST_ID, _action_id(), *told))

    async def _role(self, actor: Actor, request: _Request) -> Any:
        if request.role is Role.GUEST:
            raise Wrong("Nobody becomes a guest; the least is user.")
        told = await self._player(request), request.role, _reason(request)
        return await self._do(actor, SetRole(REQUEST_ID, _action_id(), *told))

    async def _reports(self, actor: Actor, request: _Request) -> Any:
        return await self._do(actor, ModerationReports(1, request.closed, request.after))

    async def _close_report(self, actor: Actor, request: _Request) -> Any:
        if len(request.note) > REASON_CHARS_MAX:
            raise Wrong(f"A note has {REASON_CHARS_MAX} characters at most.")
        return await self._do(actor, ModerationClose(REQUEST_ID, _action_id(), request.report, request.note))

    async def _audit(self, _: Actor, request: _Request) -> Any:
        player_id = await self._player(request) if request.player else None
        return msgspec.to_builtins(await self._rows.audit(request.before, player_id, AUDIT_PAGE))


Command = Callable[[Admin, Actor, _Request], Coroutine[Any, Any, Any]]
COMMANDS: dict[str, Command] = {
    "mute": Admin._mute,
    "unmute": Admin._unmute,
    "kick": Admin._kick,
    "ban": Admin._ban,
    "unban": Admin._unban,
    "role": Admin._role,
    "reports": Admin._reports,
    "close": Admin._close_report,
    "audit": Admin._audit,
}


class reached:  # noqa: N801 (used as a function)
    """The name by which a socket can be reached: its path may be longer than a socket's address (107 bytes), so it goes by a
    descriptor of its directory."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> str:
        """The short name."""
        self._directory = os.open(self._path.parent, os.O_PATH | os.O_DIRECTORY)
        return f"/proc/self/fd/{self._directory}/{self._path.name}"

    def __exit__(self, *_: object) -> None:
        """The name is no more; a socket that was opened by it lives on."""
        os.close(self._directory)


def _user(line: socket.socket) -> str:
    """Who is at the other end, as the kernel has it."""
    _, uid, _ = CREDENTIALS.unpack(line.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size))
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _action_id() -> bytes:
    return os.urandom(ACTION_ID_BYTES)


def _reason(request: _Request) -> str:
    reason = request.reason.strip()
    if not 1 <= len(reason) <= REASON_CHARS_MAX or "\0" in reason:
        raise Wrong(
            f"Give a reason, 1 to {REASON_CHARS_MAX} characters: whom it is done to is told, and it is kept."
        )
    return reason


def _minutes(request: _Request) -> int | None:
    if request.minutes is not None and not 1 <= request.minutes <= SANCTION_MINUTES_MAX:
        raise Wrong(
            f"Minutes go from 1 to {SANCTION_MINUTES_MAX:,}; without them it is until somebody lifts it."
        )
    return request.minutes


def _no(error: str) -> bytes:
    return json.dumps({"ok": False, "error": error}).encode()
