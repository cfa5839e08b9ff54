"""A player of the crash runs: one who does a lot, writes down what comes back, and returns after every fault.

    who was not answered      asks again over the next line, with the same action_id
    who was told "later"      asks again when that time is over
    who was answered          asks again, too, now and then; and asks something else under the same action_id, which must be refused

All of it goes into the oracle. What is built in sight one knows as any client does that keeps chunks (tools/built.py).

Lines end by the server's death, by the player's own whim, or because the whole crowd moves to another server (`move`): then what the
old line still says is written down, too.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Iterable
from itertools import count
from random import Random
from typing import Any

from msgspec.structs import replace as another
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException
from websockets.typing import Subprotocol

from protocol import codec
from protocol.errors import RefusalCode
from protocol.messages import (
    PROTOCOL_VERSION,
    SUBPROTOCOL,
    ChunkGet,
    ClientMessage,
    Closing,
    Hello,
    Move,
    Moved,
    Ok,
    Refused,
    ServerMessage,
    View,
    Welcome,
)
from tools.built import Known, Place
from tools.crash.deeds import Chooser, Memory
from tools.crash.oracle import LATER, Asked, News, Oracle

OPEN_MAX = 6  # requests of one player under way
PUSH_S = 0.05  # between two looks at what there is to send
AWAY_S = 0.1  # before one tries to come back
WELCOME_S = 30.0  # a hello that is not answered for so long is given up
OPEN_S = 20.0  # a handshake, likewise
CLOSE_S = 1.0
AGAIN_SHARE = 0.05  # so often one asks again what was answered
TWISTED_SHARE = 0.02  # and something else under its action_id
DROP_SHARE = 0.002  # and the line breaks without a word
RECENT_MAX = 200  # answered requests that one may ask again


class Player:
    """One client. `live` runs until `leave`."""

    def __init__(
        self, token: str, url: Callable[[], str], oracle: Oracle, memory: Memory, random: Random
    ) -> None:
        self.player_id = 0
        self.busy = False  # whether new things are asked
        self.moved_gap_s = 0.0  # the longest from a `move` to its `moved`
        self.again_share = AGAIN_SHARE
        self.unavailable_s: list[float] = []  # when a request was refused as UNAVAILABLE
        self.open: dict[bytes, Asked] = {}  # not decided yet
        self.built = Known()
        self._token = token
        self._ticket: str | None = None
        self._url = url
        self._oracle = oracle
        self._memory = memory
        self._random = random
        self._ids = count(1)
        self._asking: dict[int, Asked] = {}  # request_id -> what it asks
        self._twisted: dict[int, Asked] = {}
        self._chunks: dict[int, Place] = {}  # request_id -> what ground it asks for
        self._moves: deque[tuple[int, float]] = deque()  # seq and when it was sent, while no `moved` has come
        self._radius = 0  # rings of cells in sight
        self._questions: dict[int, asyncio.Future[Ok | Refused]] = {}
        self._answered: list[Asked] = []
        self._chooser: Chooser | None = None
        self._socket: ClientConnection | None = None
        self._at = ""  # the url of where one is
        self._leaving = False
        self._moving_on = False
        self._readers: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()

    # --- from outside

    @property
    def here(self) -> bool:
        """Whether one is in the world that one should be in."""
        return self._at == self._url()

    async def live(self) -> None:
        """Comes, and comes back, until told to leave."""
        try:
            while not self._leaving:
                with contextlib.suppress(OSError, WebSocketException, TimeoutError):
                    await self._visit()
                self._socket, self._at = None, ""
                for question in self._questions.values():
                    if not question.done():
                        question.set_exception(ConnectionError("the line broke"))
                await asyncio.sleep(AWAY_S)
        finally:
            for reader in self._readers:
                reader.cancel()
            await asyncio.gather(*self._readers, return_exceptions=True)

    def leave(self) -> None:
        """The end."""
        self._leaving = True

    def move(self) -> None:
        """To where `url` says now; the old line is left open, and heard until its end."""
        self._moving_on = True

    def waited_s(self, since_s: float) -> float:
        """The longest that one waited for a `moved`, or still does, from `since_s` on; who lost their line walks nowhere."""
        waits_s = self._loop.time() - max(since_s, self._moves[0][1]) if self._moves and self.here else 0.0
        return max(self.moved_gap_s, waits_s)

    async def question(self, request: ClientMessage) -> Ok | Refused:
        """Asks what changes nothing; raises OSError when the line breaks. `request` has any request_id."""
        if self._socket is None:
            raise ConnectionError("not in the world")
        request_id = next(self._ids)
        answer = self._questions[request_id] = self._loop.create_future()
        try:
            await self._socket.send(codec.encode(another(request, request_id=request_id)))
            told: Ok | Refused = await answer
            return told
        except WebSocketException as error:
            raise ConnectionError(str(error)) from error
        finally:
            del self._questions[request_id]

    # --- one line

    async def _visit(self) -> None:
        url = self._url()
        socket = await connect(
            url,
            subprotocols=[Subprotocol(SUBPROTOCOL)],
            compression=None,
            ping_interval=None,
            max_queue=None,
            open_timeout=OPEN_S,
            close_timeout=CLOSE_S,
        )
        try:
            await self._enter(socket)
            self._at = url
            reader = asyncio.create_task(self._read(socket))
            self._readers.add(reader)
            reader.add_done_callback(self._readers.discard)
            await self._stay(socket, reader)
            if not self._moving_on:
                await socket.close()
        except BaseException:
            socket.transport.abort()
            raise

    async def _enter(self, socket: ClientConnection) -> None:
        """Hello and welcome. Raises OSError when it is refused."""
        self._moving_on = False
        token = None if self._ticket else self._token
        await socket.send(codec.encode(Hello(PROTOCOL_VERSION, "crash", token, self._ticket)))
        async with asyncio.timeout(WELCOME_S):
            while self._socket is not socket:
                for message in _decoded(await socket.recv()):
                    self._first(socket, message)

    def _first(self, socket: ClientConnection, message: ServerMessage) -> None:
        if isinstance(message, Refused):
            if message.code is RefusalCode.BAD_TOKEN:
                self._ticket = None
            raise ConnectionError(message.message)
        if isinstance(message, Welcome):
            self._oracle.welcomed(message)
            self._ticket, self.player_id = message.resume, message.player_id
            self.built.enter(message.settings["built_id"])
            self._radius = message.settings["radius_cells"]
            self._chunks.clear()
            self._moves.clear()
            self._memory.owned.setdefault(self.player_id, {})
            self._chooser = Chooser(self.player_id, self._memory, self._random, lambda: next(self._ids))
            self._socket = socket
            for asked in self.open.values():
                asked.due_s = 0.0
        else:
            self._look(message)
            self._take(message)

    async def _stay(self, socket: ClientConnection, reader: "asyncio.Task[None]") -> None:
        step = 0
        while not (self._leaving or self._moving_on or reader.done()):
            for message in self._due(step):
                await socket.send(codec.encode(message))
            step += 1
            await asyncio.wait({reader}, timeout=PUSH_S)
            if self.busy and self._random.random() < DROP_SHARE:
                socket.transport.abort()

    def _due(self, step: int) -> Iterable[ClientMessage]:
        """What is to be sent now."""
        now_s = self._loop.time()
        for place, version in self.built.wanted():
            request = ChunkGet(next(self._ids), *place, version)
            self._chunks[request.request_id] = place
            yield request
        if step % 10 == 0:
            dx, dy = self._random.choice([(1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0)])
            move = Move(next(self._ids), dx, dy)
            self._moves.append((move.seq, self._loop.time()))
            yield move
        for asked in list(self.open.values()):
            if asked.due_s <= now_s:
                yield self._send(asked)
        if self.busy and self._chooser is not None:
            if len(self.open) < OPEN_MAX:
                asked = Asked(self.player_id, self._chooser.next())
                self.open[asked.request.action_id] = asked
                yield self._send(asked)
            yield from self._mischief()

    def _mischief(self) -> Iterable[ClientMessage]:
        """What clients do that lost count: the same again, or something else under the same id."""
        if not self._answered:
            return
        if self._random.random() < self.again_share:
            yield self._send(self._random.choice(self._answered))
        if self._random.random() < TWISTED_SHARE:
            asked = self._random.choice(self._answered)
            assert self._chooser is not None
            request = another(self._chooser.next(), action_id=asked.request.action_id)
            if request != another(asked.request, request_id=request.request_id):  # an undo is like any other
                self._twisted[request.request_id] = asked
                yield request

    def _send(self, asked: Asked) -> ClientMessage:
        request = another(asked.request, request_id=next(self._ids))
        self._asking[request.request_id] = asked
        asked.due_s = float("inf")
        self._oracle.asks(asked)
        return request

    async def _read(self, socket: ClientConnection) -> None:
        """To its end. A server that one has left may refuse by what it knew then; what it says was done must be so."""
        with contextlib.suppress(OSError, WebSocketException):
            while True:
                for message in _decoded(await socket.recv()):
                    if socket is self._socket:
                        self._look(message)
                    if socket is self._socket or not isinstance(message, Refused):
                        self._take(message)

    # --- what comes

    def _look(self, message: ServerMessage) -> None:
        """What is built, as the server of this line has it."""
        match message:
            case View():
                self._radius = message.radius_cells
            case Ok() | Refused() if message.request_id in self._chunks:
                result = message.result if isinstance(message, Ok) else None
                self.built.answered(self._chunks.pop(message.request_id), result)
            case _:
                self.built.hear(message, self._radius)

    def _take(self, message: ServerMessage) -> None:
        match message:
            case Ok():
                self._done(message)
            case Refused():
                self._refused(message)
            case Moved(seq):
                while self._moves and self._moves[0][0] <= seq:
                    self.moved_gap_s = max(self.moved_gap_s, self._loop.time() - self._moves.popleft()[1])
            case Closing(resume=str(ticket)):
                self._ticket = ticket
            case _ if isinstance(message, News):
                self._oracle.saw(self.player_id, message)

    def _done(self, ok: Ok) -> None:
        if (question := self._questions.get(ok.request_id)) is not None:
            question.set_result(ok)
        elif (asked := self._twisted.pop(ok.request_id, None)) is not None:
            self._oracle.wrong(f"{asked} was done with another content, too: {ok}")
        elif (asked := self._asking.pop(ok.request_id, None)) is not None:
            self.open.pop(asked.request.action_id, None)
            if self._oracle.done(asked, ok):
                self._memory.learn(self.player_id, asked.request, ok)
                self._answered.append(asked)
                del self._answered[:-RECENT_MAX]

    def _refused(self, refused: Refused) -> None:
        if (question := self._questions.get(refused.request_id)) is not None:
            question.set_result(refused)
        elif (asked := self._twisted.pop(refused.request_id, None)) is not None:
            if refused.code not in (RefusalCode.BAD_REQUEST, *LATER):
                self._oracle.wrong(f"{asked} with another content was refused as {refused}")
        elif (asked := self._asking.pop(refused.request_id, None)) is not None:
            self._oracle.refused(asked, refused)
            if refused.code is RefusalCode.UNAVAILABLE:
                self.unavailable_s.append(self._loop.time())
            if asked.decided:
                self.open.pop(asked.request.action_id, None)
            else:
                asked.due_s = self._loop.time() + (refused.retry_after_ms or 0) / 1_000


def _decoded(data: Any) -> Iterable[ServerMessage]:
    assert isinstance(data, bytes)
    return codec.decode_server(data)
