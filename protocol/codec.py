"""Bytes to messages and back, strictly.

Decoding checks everything in one step: the code, the number of fields, their types and limits. What does not fit raises
ProtocolError with the close code that ends the connection; nothing is guessed, converted or ignored.

msgspec decodes exactly one value, while a WebSocket message may carry several end to end. The MessagePack package's C unpacker
finds where each value ends (`skip`, `tell`) without building it.
"""

from typing import Any, Union

import msgspec
from msgpack import Unpacker
from msgpack.exceptions import UnpackException

from protocol.errors import CloseCode, ProtocolError
from protocol.messages import CLIENT_MESSAGES, SERVER_MESSAGES, ClientMessage, ServerMessage

MESSAGES_PER_FRAME_MAX = 64  # the default of limits.messages_per_frame_max

_encoder = msgspec.msgpack.Encoder()
_client_decoder: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(Union[CLIENT_MESSAGES])  # noqa: UP007 (built from a tuple)
_server_decoder: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(Union[SERVER_MESSAGES])  # noqa: UP007 (built from a tuple)


def encode(message: ClientMessage | ServerMessage) -> bytes:
    """One message as bytes; several are joined by putting their bytes end to end."""
    return _encoder.encode(message)


def decode_client(data: bytes, messages_max: int = MESSAGES_PER_FRAME_MAX) -> list[ClientMessage]:
    """All client messages in the payload of one WebSocket message, in order.

    Raises ProtocolError (INVALID_DATA) for anything that is not one to `messages_max` complete, known, well-formed messages.
    """
    return _decode(data, _client_decoder, messages_max)


def decode_server(data: bytes) -> list[ServerMessage]:
    """All server messages in one payload; for clients and tests written in Python."""
    return _decode(data, _server_decoder, len(data))


def _decode(data: bytes, decoder: msgspec.msgpack.Decoder[Any], messages_max: int) -> list[Any]:
    try:
        return [decoder.decode(data)]  # most carry one
    except (msgspec.DecodeError, ValueError, RecursionError):
        pass  # what is wrong with the others is found out below
    try:
        return [decoder.decode(part) for part in _split(data, messages_max)]
    except msgspec.ValidationError as error:
        raise ProtocolError(CloseCode.INVALID_DATA, str(error)) from None
    except (msgspec.DecodeError, UnpackException, ValueError, RecursionError) as error:
        raise ProtocolError(
            CloseCode.INVALID_DATA, f"not MessagePack: {str(error) or type(error).__name__}"
        ) from None


def _split(data: bytes, messages_max: int) -> list[memoryview]:
    """The values that stand end to end in `data`, without copying them."""
    if not data:
        raise ProtocolError(CloseCode.INVALID_DATA, "an empty message")
    unpacker = Unpacker(max_buffer_size=len(data))
    unpacker.feed(data)
    view = memoryview(data)
    parts: list[memoryview] = []
    start = 0
    while start < len(data):
        if len(parts) == messages_max:
            raise ProtocolError(CloseCode.INVALID_DATA, f"more than {messages_max} messages in one frame")
        unpacker.skip()
        end = unpacker.tell()
        parts.append(view[start:end])
        start = end
    return parts
