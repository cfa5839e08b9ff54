"""The protocol as plain data, read off the message classes: what `landworld protocol --json` prints.

PROTOCOL.md and the browser's codec are generated from this same dictionary, so a message described here is described everywhere.
"""

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
from msgspec import inspect

from protocol import messages
from protocol.edits import CHUNK_EDIT, TILE_EDIT
from protocol.errors import CloseCode, MeaningInt, RefusalCode
from protocol.messages import CLIENT_MESSAGES, SERVER_MESSAGES, ClientMessage, MeaningStr, code_of, name_of
from protocol.snapshot import (
    CELL_TILES,
    COUNT_LONG,
    NAMED,
    PLACE,
    RECORD,
    STEP_MAX,
    STEP_ZERO,
    UNITS_PER_TILE,
)

ENUMS: tuple[type[MeaningInt] | type[MeaningStr], ...] = (
    RefusalCode,
    CloseCode,
    messages.Role,
    messages.State,
    messages.Rate,
    messages.ChatChannel,
    messages.Delivery,
    messages.Standing,
    messages.Cut,
    messages.SaleEnd,
    messages.Trouble,
    messages.Sanction,
    messages.BanScope,
    messages.Offence,
)

SHAPES: tuple[type[msgspec.Struct], ...] = (
    messages.Parcel,
    messages.Listing,
    messages.Auction,
    messages.Terms,
    messages.Lease,
    messages.Report,
    messages.Evidence,
    messages.Blocked,
    messages.Way,
    messages.Permit,
    messages.Posting,
    messages.AccountSession,
)

_RECORD_TYPES = {"<u4": "u32", "<u2": "u16", "|u1": "u8", "<i4": "i32"}
_EDIT_MEANINGS = {
    "x": "tile of the world, east",
    "y": "tile of the world, south",
    "tile": f"tile of the chunk, y * {CELL_TILES} + x",
    "kind": "enum Build; 0 takes away what was built",
}


def describe() -> dict[str, Any]:
    """The whole protocol as JSON-ready data: version, messages (fields in order), enums, record layouts."""
    rows = [_message(message, "client") for message in CLIENT_MESSAGES]
    rows += [_message(message, "server") for message in SERVER_MESSAGES]
    return {
        "version": messages.PROTOCOL_VERSION,
        "subprotocol": messages.SUBPROTOCOL,
        "messages": rows,
        "enums": {enum.__name__: {member.name: member.value for member in enum} for enum in ENUMS},
        "shapes": {shape.__name__: _fields(shape) for shape in SHAPES},
        "meanings": {enum.__name__: {member.name: member.meaning for member in enum} for enum in ENUMS},
        "records": {
            "snapshot.cells": snapshot_blocks(),
            "tile_edit.edits": edit_record(TILE_EDIT),
            "chunk_edits.edits": edit_record(CHUNK_EDIT),
        },
    }


def snapshot_blocks() -> dict[str, Any]:
    """The layout of `snapshot.cells`: the numbers of a block's head, and its two kinds of record."""
    return {
        "byte_order": "little",
        "step_zero": STEP_ZERO,
        "step_max": STEP_MAX,
        "named_bit": NAMED,
        "count_long": COUNT_LONG,
        "named": _places(RECORD),
        "places": _places(PLACE),
    }


def _places(record: np.dtype[Any]) -> dict[str, Any]:
    """A record that says where somebody is within a cell."""
    fields = layout(record)
    for field in fields:
        if field["name"] in "xy":
            origin = "c" + field["name"]
            field |= {"origin": origin, "cell_tiles": CELL_TILES, "units_per_tile": UNITS_PER_TILE}
            field["tiles"] = f"{origin} * {CELL_TILES} + {field['name']} / {UNITS_PER_TILE}"
    return {"record_bytes": record.itemsize, "fields": fields}


def edit_record(record: np.dtype[Any]) -> dict[str, Any]:
    """The layout of one record of what is built."""
    fields = [{**field, "meaning": _EDIT_MEANINGS[field["name"]]} for field in layout(record)]
    return {"byte_order": "little", "record_bytes": record.itemsize, "fields": fields}


def layout(record: np.dtype[Any]) -> list[dict[str, Any]]:
    """The fields of a packed record: name, type and offset in bytes."""
    assert record.fields is not None
    fields = record.fields
    return [
        {"name": name, "type": _RECORD_TYPES[fields[name][0].str], "offset": fields[name][1]}
        for name in record.names or ()
    ]


def _message(message: type[msgspec.Struct], direction: str) -> dict[str, Any]:
    row: dict[str, Any] = {
        "name": name_of(message),
        "code": code_of(message),
        "direction": direction,
        "fields": _fields(message),
        "doc": " ".join((message.__doc__ or "").split()),
    }
    if issubclass(message, ClientMessage):
        rule = message.rule
        row |= {
            "states": [state.value for state in messages.State if state in rule.states],
            "role": rule.role.value,
            "rate": rule.rate.value,
        }
        if rule.result is not None:
            row["result"] = _fields(rule.result)
    return row


def _fields(struct: type[msgspec.Struct]) -> list[dict[str, Any]]:
    info = inspect.type_info(struct)
    assert isinstance(info, inspect.StructType)
    return [{"name": field.name, **_type(field.type), **_optional(field)} for field in info.fields]


def _optional(field: inspect.Field) -> dict[str, Any]:
    return {} if field.required else {"optional": True}


def _type(kind: inspect.Type) -> dict[str, Any]:
    """The type of a field, its limits and its meaning, in words that do not depend on Python."""
    match kind:
        case inspect.Metadata(type=inner, extra_json_schema=schema):
            return {**_type(inner), "meaning": (schema or {})["description"]}
        case inspect.UnionType(types):
            (inner,) = [one for one in types if not isinstance(one, inspect.NoneType)]
            return {**_type(inner), "nullable": True}
        case inspect.IntType(ge=low, le=high):
            return {"type": "int", "min": low, "max": high}
        case inspect.FloatType(ge=low, le=high):
            return {"type": "float", "min": low, "max": high}
        case inspect.StrType(min_length=low, max_length=high):
            return {"type": "str", **_present({"chars_min": low, "chars_max": high})}
        case inspect.BytesType(min_length=low, max_length=high):
            return {"type": "bin", **_present({"bytes_min": low, "bytes_max": high})}
        case inspect.BoolType():
            return {"type": "bool"}
        case inspect.EnumType(cls=enum):
            return {"type": "enum", "enum": enum.__name__}
        case _:
            return _compound(kind)


def _compound(kind: inspect.Type) -> dict[str, Any]:
    """The type of a field that holds others."""
    match kind:
        case inspect.ListType(item_type=item):
            return {"type": "list", "of": _type(item)}
        case inspect.StructType(cls=struct):
            return {"type": "map", "shape": struct.__name__}
        case inspect.DictType() | inspect.AnyType():
            return {"type": "map"}
        case _:
            raise TypeError(f"no word for {kind}")


def _present(limits: Mapping[str, int | None]) -> dict[str, int]:
    return {name: limit for name, limit in limits.items() if limit is not None}
