"""The shared vectors (tests/vectors/codec.json) and messages put together from their plain fields."""

import json
from pathlib import Path
from typing import Any

from protocol.codec import decode_client, decode_server
from protocol.messages import (
    CLIENT_MESSAGES,
    SERVER_MESSAGES,
    Auction,
    ClientMessage,
    Lease,
    Listing,
    Parcel,
    ServerMessage,
    Terms,
    Way,
    name_of,
)

ROOT = Path(__file__).resolve().parents[2]
CLASSES: dict[str, type[Any]] = {
    name_of(message): message for message in (*CLIENT_MESSAGES, *SERVER_MESSAGES)
}
MAPS: dict[str, type[Any]] = {  # fields that are maps with a class of their own
    "parcel": Parcel,
    "to_let": Terms,
    "terms": Terms,
    "lease": Lease,
    "way": Way,
    "auction": Auction,
    "listing": Listing,
}
VECTORS: dict[str, list[dict[str, Any]]] = json.loads(
    (ROOT / "tests/vectors/codec.json").read_text(encoding="utf-8")
)


def message(row: dict[str, Any]) -> ClientMessage | ServerMessage:
    """The message of a vector, built by its class and not by a decoder."""
    fields = {name: _value(name, value) for name, value in row["fields"].items()}
    built: ClientMessage | ServerMessage = CLASSES[row["name"]](**fields)
    return built


def decode(row: dict[str, Any], data: bytes) -> list[Any]:
    """Decodes `data` with the decoder of the side that reads this row's message."""
    if issubclass(CLASSES[row["name"]], ClientMessage):
        return list(decode_client(data))
    return list(decode_server(data))


def _value(name: str, value: Any) -> Any:
    if name in MAPS and value is not None:
        return MAPS[name](**{inner: _value(inner, one) for inner, one in value.items()})
    if isinstance(value, dict) and list(value) == ["bin"]:
        return bytes.fromhex(value["bin"])
    return value
