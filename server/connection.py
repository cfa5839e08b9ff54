"""One client: bytes in, messages to the session, frames out.

Framing and handshake are the `websockets` package's Sans-I/O protocol; this class feeds it what the socket brings and writes what it
wants written. There is no task, future or queue per message: everything happens inside `data_received`.

Every trouble ends in one of three ways, see `data_received`:

    the handshake is refused    an HTTP answer (403 origin, 404 path, 408 too late, 414 and 431 too long, 429 too many, 400 the rest)
    ProtocolError               a close frame with its code
    the library's own failure   it has queued the close frame itself (1002, 1009)
"""

import asyncio
import socket
import struct
from typing import TYPE_CHECKING, Any, cast

from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import CONNECTING, OPEN
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from protocol import codec
from protocol.errors import CloseCode, ProtocolError, Refusal, RefusalCode
from protocol.messages import (
    ACCOUNT_MESSAGES,
    CLIENT_MESSAGES,
    DURABLE_MESSAGES,
    MODERATION_MESSAGES,
    SUBPROTOCOL,
    ChunkGet,
    ChunkResult,
    ClientMessage,
    Closing,
    Delivery,
    Hello,
    Move,
    Ok,
    Ping,
    Pong,
    Rate,
    Refused,
    ServerMessage,
    name_of,
)
from server.auth import Identity
from server.framing import Border, small_message
from server.origins import SAME_HOST
from server.outbox import Outbox, frame
from server.seam import TRY_AGAIN, Accounting, Acting, Asking, Moderating, Saying, SignIn
from server.session import Session
from server.words import BAD_WORDS
from world.commands import Say
from world.grid import pack, unpack

if TYPE_CHECKING:
    from server.gate import Gate

PATH = "/"
SEND_BUFFER_BYTES = 131_072  # of the kernel, for one client: what it does not read must not grow there unseen
CLOSE_WAIT_S = 2.0  # for the client's close frame; then the line is cut
AT_ONCE = struct.pack("ii", 1, 0)  # struct linger, see socket(7): the socket is reset
NO_HTTP = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
NAMES = {message: name_of(message) for message in CLIENT_MESSAGES}
# What a request goes to the simulation side in; all others in Asking.
_ENVELOPES: dict[type, type[Any]] = {  # a test holds each list to what its envelope takes
    **dict.fromkeys(ACCOUNT_MESSAGES, Accounting),
    **dict.fromkeys(MODERATION_MESSAGES, Moderating),
    **dict.fromkeys(DURABLE_MESSAGES, Acting),
}


class Connection(asyncio.Protocol):
    """The state of one socket."""

    __slots__ = (
        "_between",
        "_border",
        "_closing",
        "_early",
        "_gate",
        "_pieces",
        "_request",
        "_ws",
        "address",
        "heard_s",
        "identity",
        "outbox",
        "owed",
        "questions",
        "quiet_turns",
        "session",
        "transport",
        "turns",
    )

    def __init__(self, gate: "Gate") -> None:
        self._gate = gate
        self._ws = ServerProtocol(
            subprotocols=[Subprotocol(SUBPROTOCOL)],
            max_size=gate.limits.message_bytes_max,
            logger=gate.websocket_logger,
        )
        self._pieces: list[bytes] = []
        self._border = Border()  # of what was fed to the library after the handshake
        self._between = False  # two messages: what comes next begins with a frame, and it will be heard
        self._closing: asyncio.TimerHandle | None = None
        self._request: Request | None = None  # a handshake that waits to be admitted
        self._early = b""  # what came after it
        self.outbox = Outbox(gate.limits.outbox_bytes_max, gate.sent)
        self.session = Session(gate.limits)
        self.identity: Identity | None = None
        self.transport: asyncio.Transport | None = None
        self.address = ""
        self.owed = 0  # answers about accounts, before the hello
        self.questions = 0  # whether there is room: asked, and not answered yet
        self.heard_s = gate.now_s()
        # Of Gate._look_after: since the last stage began, and since anything was heard.
        self.turns = self.quiet_turns = 0

    # --- the socket ------------------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is open; the handshake comes next."""
        self.transport = cast(asyncio.Transport, transport)
        self.address = str((transport.get_extra_info("peername") or ("?",))[0])
        raw = transport.get_extra_info("socket")
        if raw is not None:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        self._gate.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is gone, whoever ended it."""
        self.transport = None
        self.outbox.lost()
        if self._closing is not None:
            self._closing.cancel()
        self._gate.closed(self, self._close_code(), self._left_for_good())

    def pause_writing(self) -> None:
        """More waits for the client than it may have waiting: until it has read, nothing more is read from it.

        What it asks meanwhile waits in its own kernel, costs nothing here and is lost to nobody.
        """
        self.outbox.full = True
        self._gate.interest.wake(self.session.player_id)
        if self.transport is not None:
            self.transport.pause_reading()

    def resume_writing(self) -> None:
        """It has read enough of it."""
        self.outbox.full = False
        if self.transport is not None and not self.transport.is_closing():
            self.transport.resume_reading()

    def eof_received(self) -> bool:
        """The client will send no more."""
        self._ws.receive_eof()
        self._write_protocol()
        return False

    def data_received(self, data: bytes) -> None:
        """Bytes came: handle every frame in them, then write all answers at once."""
        if self.transport is None:
            return
        self.heard_s = self._gate.now_s()
        self.quiet_turns = 0
        self._gate.counts.received_bytes += len(data)
        message = small_message(data) if self._between else None
        try:
            if message is not None:
                self._take_message(message)
            elif not self._take_frames(data):
                return
        except ProtocolError as error:
            self.close(error.code, error.reason)
        if self.outbox.waiting:
            self.outbox.flush()
        if message is None:
            self._write_protocol()

    def _take_frames(self, data: bytes) -> bool:
        """What is no small message by itself goes through the library; False while the handshake waits to be admitted."""
        if self._ws.state is CONNECTING:
            if self.is_closing():
                return False
            if self._request is None:
                data = self._take_handshake(data)
            if self._request is not None:
                self._early += data
                return False
        self._border.feed(data)
        self._ws.receive_data(data)
        for event in self._ws.events_received():
            self._take_frame(cast(Frame, event))
        self._between = self._border.whole and not self._pieces and self.outbox.transport is not None
        return True

    def _write_protocol(self) -> None:
        """Writes what the library wants written: handshake, pongs, close frames; an empty piece means the end."""
        self._write(*self._ws.data_to_send())

    def _write(self, *pieces: bytes) -> None:
        transport = self.transport
        for piece in pieces:
            if transport is None:
                return
            if piece:
                if self.outbox.transport is None:
                    transport.write(piece)
                else:
                    self.outbox.write(piece)
                if self.outbox.holds_back():  # nothing the tick brings may go past it
                    self._gate.interest.wake(self.session.player_id)
            else:
                self._end_soon()
                transport.close()

    def _end_soon(self) -> None:
        """A client that does not read, or does not answer a close, cannot keep the socket open. Nothing follows a close frame."""
        self._between = False
        if self._closing is None and self.transport is not None:
            self._gate.ending(self)
            self.outbox.close()
            self._closing = self._gate.loop.call_later(CLOSE_WAIT_S, self.cut)

    def cut(self) -> None:
        """Ends the connection without a word; what is on its way to a client that does not read is not kept for it."""
        if self.transport is not None:
            raw = self.transport.get_extra_info("socket")
            if raw is not None:
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)
            self.transport.abort()

    # --- the handshake ---------------------------------------------------------------------------------------------------------

    def _take_handshake(self, data: bytes) -> bytes:
        """Takes the handshake line by line and returns what comes after it: frames must not be read before it is answered."""
        start, answered = 0, False
        while start < len(data) and not answered:
            end = data.find(b"\n", start) + 1 or len(data)
            self._ws.receive_data(data[start:end])
            start, answered = end, self._answer_handshake()
        return data[start:]

    def _answer_handshake(self) -> bool:
        """Answers the request once it is whole, or once it cannot become one; True when it did."""
        for event in self._ws.events_received():
            self._shake_hands(cast(Request, event))
            self._write_protocol()
            return True
        if self._ws.handshake_exc is None:
            return False
        answer, *_ = (
            self._ws.data_to_send()
        )  # the library's where a line is too long; nothing where it is no HTTP
        self.reject(answer or NO_HTTP)
        return True

    def _shake_hands(self, request: Request) -> None:
        """Answers what can be answered here; whether there is room for them, the whole server knows."""
        refusal = self._why_not(request)
        if refusal is not None:
            self._ws.send_response(self._ws.reject(*refusal))
            self._gate.counts.rejected[str(refusal[0])] += 1
            return
        self._gate.forwarded(self, request.headers.get_all("X-Forwarded-For"))
        if self.is_closing():
            return
        self._request = request
        if not self.questions:
            self._accept()
        else:
            assert self.transport is not None
            self.transport.pause_reading()  # until `admit`

    def _why_not(self, request: Request) -> tuple[int, str] | None:
        if request.path.partition("?")[0] != PATH:
            return 404, f"The game socket is at {PATH}\n"
        hosts, origins = request.headers.get_all("Host"), request.headers.get_all("Origin")
        if len(hosts) != 1:
            return 400, "Name one host\n"  # RFC 9112 section 3.2
        if not origins or (len(origins) == 1 and self._gate.origins.allow(origins[0], hosts[0])):
            return None
        return (
            403,
            f"This origin may not open the game socket; server.origins says which may ({SAME_HOST} by default).\n",
        )

    def admit(self) -> None:
        """There is room for this connection, or for whom it was forwarded; its handshake may have come before all that was known."""
        self.questions -= 1
        if not self.questions and self._request is not None and self.transport is not None:
            self._accept()
            self._write_protocol()
            self.transport.resume_reading()
            early, self._early = self._early, b""
            self.data_received(early)

    def _accept(self) -> None:
        """Answers the handshake."""
        assert self._request is not None
        assert self.transport is not None
        request, self._request = self._request, None
        response = self._ws.accept(request)
        self._ws.send_response(response)
        if response.status_code == 101:
            self.outbox.open(self.transport)
            self.turns = 0
        else:
            self._gate.counts.rejected[str(response.status_code)] += 1

    # --- frames and messages ---------------------------------------------------------------------------------------------------

    def _take_frame(self, event: Frame) -> None:
        opcode = event.opcode
        if opcode in (Opcode.BINARY, Opcode.CONT):
            self._take_piece(bytes(event.data), event.fin)
        elif opcode == Opcode.TEXT:
            raise ProtocolError(
                CloseCode.UNSUPPORTED_DATA, "this protocol is binary: send MessagePack in binary frames"
            )
        elif opcode == Opcode.PING:
            self.session.pay(Rate.PING, self.heard_s)
        elif opcode == Opcode.CLOSE:
            self._end_soon()

    def _take_piece(self, data: bytes, final: bool) -> None:
        """A whole message, or a fragment of one; the library has checked the order and the size of the whole."""
        if self._closing is not None:
            return
        if final and not self._pieces:
            self._take_message(data)
            return
        self._pieces.append(data)
        if len(self._pieces) > self._gate.limits.fragments_max:
            raise ProtocolError(CloseCode.PROTOCOL_ERROR, "too many fragments in one message")
        if final:
            whole = b"".join(self._pieces)
            self._pieces.clear()
            self._take_message(whole)

    def _take_message(self, data: bytes) -> None:
        for message in codec.decode_client(data, self._gate.limits.messages_per_frame_max):
            self._gate.counts.messages[NAMES[type(message)]] += 1
            self._handle(message)

    def _handle(self, message: ClientMessage) -> None:
        outcome = self.session.receive(message, self.heard_s)
        if type(outcome) is Move:
            if not self._gate.steer(self.session.player_id, outcome.seq, outcome.dx, outcome.dy):
                self.refuse(0, Refusal(RefusalCode.UNAVAILABLE, TRY_AGAIN, 1_000))
        elif isinstance(outcome, Refused):
            self.refuse(outcome.request_id, Refusal(outcome.code, outcome.message, outcome.retry_after_ms))
        elif isinstance(outcome, Say):
            self._say(outcome)
        else:
            self._ask_outside(outcome)

    def _say(self, say: Say) -> None:
        """Words that are not wanted are taken out here, where there are as many processes as gateways."""
        words, wanted = self._gate.words, self._gate.config.chat.words
        text = say.text if wanted == "off" else words.masked(say.text)
        if text != say.text:
            self._gate.counts.unseemly += 1
            if wanted == "refuse":
                self.refuse(say.request_id, Refusal(RefusalCode.UNSEEMLY, BAD_WORDS))
                return
            say.text = text
        self._gate.up(Saying(say))

    def _ask_outside(self, message: ClientMessage) -> None:
        """What is not for the tick: answered here, or waited for elsewhere."""
        number = self.session.number
        match message:
            case Ping(nonce):
                self.send(Pong(nonce, self._gate.tick))
            case ChunkGet(request_id):
                try:
                    self._get_chunk(message)
                except Refusal as refusal:
                    self.refuse(request_id, refusal)
            case Hello():
                self.session.joining()
                self._gate.up(SignIn(number, message))
            case _:
                envelope = _ENVELOPES.get(type(message), Asking)
                self.owed += envelope is Accounting
                self._gate.up(envelope(number, message))

    def _get_chunk(self, request: ChunkGet) -> None:
        cx, cy = unpack(self._gate.interest.cell_of(self.session.player_id))
        radius = self._gate.chunk_radius_max
        if max(abs(request.cx - cx), abs(request.cy - cy)) > radius:
            raise Refusal(
                RefusalCode.OUT_OF_RANGE, f"Ask for chunks at most {radius} from the one you stand in."
            )
        if self.outbox.full:
            raise Refusal(RefusalCode.UNAVAILABLE, "Read what was sent before asking for more.", 1000)
        ground, key = self._gate.ground, pack(request.cx, request.cy)
        if ground.needs_whole(key, request.version):
            ground.get(key, lambda framed: self._send_whole(request, key, framed))
        else:
            self._send_chunk(request, *ground.update(key, request.version))

    def _send_whole(self, request: ChunkGet, key: int, framed: bytes) -> None:
        """The ground, and what is built on it by now."""
        if not framed:
            text = "Much ground is being made just now; ask again in a moment."
            self.refuse(request.request_id, Refusal(RefusalCode.UNAVAILABLE, text, 1_000))
            return
        self._send_chunk(request, *self._gate.ground.update(key, None), framed)

    def _send_chunk(
        self, request: ChunkGet, delivery: Delivery, version: int, edits: bytes, *ground: bytes
    ) -> None:
        """Ground and edits, where there are any, and the `ok` after them."""
        ok = frame(codec.encode(Ok(request.request_id, 0, ChunkResult(delivery, version))))
        if edits:
            self.send_framed(*ground, frame(edits), ok)
        else:
            self.send_framed(*ground, ok)

    # --- out -------------------------------------------------------------------------------------------------------------------

    def send(self, message: ServerMessage) -> None:
        """Puts a message into the next write: at the end of this read, or at the end of the tick."""
        self.send_framed(frame(codec.encode(message)))

    def send_framed(self, *frames: bytes) -> None:
        """The same for finished frames."""
        if self._ws.state is OPEN and self.transport is not None:
            for framed in frames:
                self.outbox.put(framed)
            self._gate.interest.wake(self.session.player_id)

    def refuse(self, request_id: int, refusal: Refusal) -> None:
        """A normal answer: no, and why."""
        self._gate.counts.refused[refusal.code.name] += 1
        self.send(Refused(request_id, refusal.code, refusal.message, refusal.retry_after_ms))

    def turn_away(self, refusal: Refusal) -> None:
        """The hello is refused: the reason, then the end."""
        self.refuse(0, refusal)
        self.close(CloseCode.REFUSED, refusal.message)

    def ping(self) -> None:
        """A WebSocket ping: is anybody there?"""
        if self._ws.state is OPEN:
            self._ws.send_ping(b"")
            self._write_protocol()

    def close(self, code: CloseCode, reason: str, last: Closing | None = None) -> None:
        """Says why, then ends: `last` as a message where there is one, and the close frame."""
        if self._ws.state is OPEN:
            if last is not None:
                self.send(last)
            self.outbox.flush()
            self._ws.send_close(code, ProtocolError(code, reason).reason)
        self._end_soon()
        self._write_protocol()

    def reject(self, answer: bytes) -> None:
        """Turns a socket away before the handshake is done."""
        self._gate.counts.rejected[answer.split(b" ", 2)[1].decode()] += 1
        self._write(answer, b"")

    def is_open(self) -> bool:
        """Whether messages can be sent."""
        return self.transport is not None and self._ws.state is OPEN

    def is_closing(self) -> bool:
        """Whether the end was said and only the socket is left, for CLOSE_WAIT_S at most."""
        return self._closing is not None

    def _left_for_good(self) -> bool:
        """Whether the client said goodbye itself, rather than being lost or sent away."""
        received = self._ws.close_rcvd
        said_first = self._ws.close_rcvd_then_sent is True or self._ws.close_sent is None
        return (
            received is not None and said_first and received.code in (CloseCode.NORMAL, CloseCode.GOING_AWAY)
        )

    def _close_code(self) -> int:
        """The code that tells how this ended: ours where we said it first, else the client's, else 1006 for a lost line."""
        sent, received = self._ws.close_sent, self._ws.close_rcvd
        if sent is not None and (received is None or self._ws.close_rcvd_then_sent is False):
            return sent.code
        return received.code if received is not None else 1006
