"""The message table keeps its own rules, and the part of it that others were promised (the outside contract) stays as it is."""

import re
from typing import Any

import msgspec
import pytest

from protocol import spec
from protocol.errors import CloseCode, RefusalCode
from protocol.messages import (
    CHUNKS_MAX,
    CLIENT_MESSAGES,
    NAME_CHARS_MAX,
    PROTOCOL_VERSION,
    SERVER_MESSAGES,
    SUBPROTOCOL,
    WORLD_TILES_MAX,
    ClientMessage,
    Rate,
    Role,
    Rule,
    ServerMessage,
    State,
    Wallet,
    code_of,
    name_of,
)
from protocol.snapshot import CELL_TILES, PLACE, RECORD, UNITS_PER_TILE

ALL: tuple[type[Any], ...] = (*CLIENT_MESSAGES, *SERVER_MESSAGES)
FIELDS = {row["name"]: [field["name"] for field in row["fields"]] for row in spec.describe()["messages"]}
OPTIONAL = {
    row["name"]: [field["name"] for field in row["fields"] if field.get("optional")]
    for row in spec.describe()["messages"]
}

# What other programs were promised: name, direction, fields in order, which of them are optional.
CONTRACT = [
    ("hello", "client", "protocol client token? resume?"),
    ("move", "client", "seq dx dy"),
    ("welcome", "server", "player_id name role x y tick tick_hz epoch durable_seq resume settings"),
    ("ok", "server", "request_id seq result"),
    ("refused", "server", "request_id code message retry_after_ms?"),
    ("moved", "server", "seq tick x y"),
    ("snapshot", "server", "tick cx cy cells"),
    ("appeared", "server", "player_id name look"),
]


@pytest.mark.parametrize(("name", "direction", "fields"), CONTRACT, ids=[row[0] for row in CONTRACT])
def test_the_outside_contract_stands(name: str, direction: str, fields: str) -> None:
    (row,) = [row for row in spec.describe()["messages"] if row["name"] == name]
    assert row["direction"] == direction
    assert [field["name"] + "?" * field.get("optional", False) for field in row["fields"]] == fields.split()


def test_the_version_is_part_of_the_subprotocol() -> None:
    assert f"landworld.v{PROTOCOL_VERSION}" == SUBPROTOCOL


def test_every_message_class_is_in_the_table() -> None:
    for table, base in ((CLIENT_MESSAGES, ClientMessage), (SERVER_MESSAGES, ServerMessage)):
        ours = {one for one in base.__subclasses__() if one.__module__ == base.__module__}  # not the tests'
        assert set(table) == ours


def test_codes_and_names_are_unique() -> None:
    assert len({code_of(message) for message in ALL}) == len(ALL)
    assert len({name_of(message) for message in ALL}) == len(ALL)


@pytest.mark.parametrize("message", ALL, ids=name_of)
def test_a_code_tells_the_direction(message: type[Any]) -> None:
    """One byte up to 127, then two."""
    by_client = issubclass(message, ClientMessage)
    assert code_of(message) in (
        (*range(1, 64), *range(128, 192)) if by_client else (*range(64, 128), *range(192, 256))
    )


@pytest.mark.parametrize("message", ALL, ids=name_of)
def test_a_message_is_documented_and_named_in_snake_case(message: type[Any]) -> None:
    assert message.__doc__
    assert message.__doc__ not in (ClientMessage.__doc__, ServerMessage.__doc__)
    for name in (name_of(message), *message.__struct_fields__):
        assert re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name)


@pytest.mark.parametrize("message", ALL, ids=name_of)
def test_optional_fields_stand_last(message: type[Any]) -> None:
    name = name_of(message)
    assert FIELDS[name][len(FIELDS[name]) - len(OPTIONAL[name]) :] == OPTIONAL[name]


@pytest.mark.parametrize("message", ALL, ids=name_of)
def test_no_field_is_called_type_since_the_browser_keeps_the_name_of_the_message_there(
    message: type[Any],
) -> None:
    assert "type" not in message.__struct_fields__


@pytest.mark.parametrize("message", ALL, ids=name_of)
def test_extra_fields_are_forbidden(message: type[Any]) -> None:
    assert message.__struct_config__.array_like
    assert message.__struct_config__.forbid_unknown_fields


@pytest.mark.parametrize("message", CLIENT_MESSAGES, ids=name_of)
def test_a_client_message_has_a_rule(message: type[ClientMessage]) -> None:
    assert isinstance(message.rule, Rule)
    assert message.rule.states
    assert message.rule.states <= frozenset(State)
    assert isinstance(message.rule.rate, Rate)
    assert isinstance(message.rule.role, Role)


@pytest.mark.parametrize("message", CLIENT_MESSAGES, ids=name_of)
def test_a_request_has_its_id_first_a_result_and_a_name_of_area_and_verb(
    message: type[ClientMessage],
) -> None:
    is_request = message.rule.result is not None
    assert ("request_id" in message.__struct_fields__) == is_request
    if is_request:
        assert message.__struct_fields__[0] == "request_id"
        assert "_" in name_of(message) or message is Wallet  # promised to others by this name
        assert not message.rule.result.__struct_config__.array_like  # type: ignore[union-attr]


@pytest.mark.parametrize("message", CLIENT_MESSAGES, ids=name_of)
def test_everything_a_client_sends_is_bounded(message: type[ClientMessage]) -> None:
    (row,) = [row for row in spec.describe()["messages"] if row["name"] == name_of(message)]
    for field in row["fields"]:
        bounds = {"max", "chars_max", "bytes_max"} & field.keys()
        assert field["type"] in ("enum", "bool") or bounds, field["name"]


@pytest.mark.parametrize("enum", spec.ENUMS, ids=lambda enum: enum.__name__)
def test_every_member_of_an_enum_has_a_meaning_and_its_own_value(enum: Any) -> None:
    assert all(member.meaning for member in enum)
    assert len({member.value for member in enum}) == len(enum.__members__)
    assert [enum(member.value) for member in enum] == list(enum)


def test_close_codes_are_those_websocket_allows() -> None:
    for code in CloseCode:
        assert code in (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1011) or 4000 <= code <= 4999


def test_refusal_codes_begin_at_one() -> None:
    assert [int(code) for code in RefusalCode] == list(range(1, len(RefusalCode) + 1))


def test_positions_chunks_and_records_fit_together() -> None:
    assert CHUNKS_MAX * CELL_TILES == WORLD_TILES_MAX
    assert CELL_TILES * UNITS_PER_TILE == 2**16


def test_the_description_tells_types_and_limits() -> None:
    rows = {row["name"]: row for row in spec.describe()["messages"]}
    hello = {field["name"]: field for field in rows["hello"]["fields"]}
    assert hello["protocol"]["min"] == 0
    assert hello["protocol"]["max"] == 65535
    assert hello["token"]["optional"]
    assert hello["token"]["nullable"]
    assert rows["player_find"]["fields"][1]["chars_max"] == NAME_CHARS_MAX
    assert rows["chat_say"]["fields"][1] == {"name": "channel", "type": "enum", "enum": "ChatChannel"}
    assert [field["name"] for field in rows["chunk_get"]["result"]] == ["delivery", "version"]
    assert rows["move"]["rate"] == "movement"


@pytest.mark.parametrize(
    ("kind", "record", "layout"),
    [
        ("named", RECORD, [("player_id", "u32", 0), ("x", "u16", 4), ("y", "u16", 6)]),
        ("places", PLACE, [("x", "u16", 0), ("y", "u16", 2)]),
    ],
)
def test_the_description_of_a_record_is_its_layout(kind: str, record: Any, layout: Any) -> None:
    described = spec.describe()["records"]["snapshot.cells"][kind]
    assert described["record_bytes"] == record.itemsize
    assert [(field["name"], field["type"], field["offset"]) for field in described["fields"]] == layout


def test_the_description_is_plain_data() -> None:
    described = spec.describe()
    assert msgspec.json.decode(msgspec.json.encode(described)) == described
