"""`landworld protocol`: the generated files are current, and say what the code does."""

import argparse
import json
import re
import zlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from persistence.keyring import Key
from server.config import Config
from server.gate import Gate
from server.interest import LADDER
from server.seam import Premises
from tools import protocol
from tools.protocol.description import describe
from world.chat import UNREACHABLE
from world.terrain import Chunk, Terrain, encode, walk_speed

DESCRIPTION = describe()
PAYLOAD_BYTES_MAX = 65_536


def _landworld(*words: str) -> int:
    parser = argparse.ArgumentParser()
    protocol.add_parser(parser.add_subparsers())
    args = parser.parse_args(["protocol", *words])
    code: int = args.run(args)
    return code


def test_the_committed_files_are_current() -> None:
    assert protocol.stale() == [], "run: landworld protocol --write"


def test_json_is_one_line_with_the_promised_keys(capsys: pytest.CaptureFixture[str]) -> None:
    assert _landworld("--json") == 0
    (line,) = capsys.readouterr().out.splitlines()
    whole = json.loads(line)
    assert whole == json.loads(json.dumps(DESCRIPTION))
    assert whole["version"] == 1
    assert whole["enums"]["RefusalCode"]["BAD_REQUEST"] == 1
    for row in whole["messages"]:
        assert {"name", "code", "direction", "fields"} <= row.keys()
        assert all({"name", "type"} <= field.keys() for field in row["fields"])


def test_a_stale_file_is_named_with_the_command_that_mends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(protocol, "ROOT", tmp_path)
    assert _landworld("--write") == 0
    assert _landworld("--check") == 0
    (tmp_path / "protocol/PROTOCOL.md").write_text("old", encoding="utf-8")
    (tmp_path / "tools/browser/protocol.js").unlink()
    capsys.readouterr()
    assert _landworld("--check") == 1
    said = capsys.readouterr().err
    assert "protocol/PROTOCOL.md is stale; run: landworld protocol --write" in said
    assert "tools/browser/protocol.js is stale" in said
    assert "codec.json" not in said


def test_the_document_links_only_to_what_it_has() -> None:
    text = protocol.generated()["protocol/PROTOCOL.md"]
    headings = re.findall(r"^#+ (.*)$", text, flags=re.M)
    anchors = {re.sub(r"[^\w\- ]", "", heading).lower().replace(" ", "-") for heading in headings}
    assert set(re.findall(r"\]\(#([^)]*)\)", text)) <= anchors


def test_the_example_session_is_refused_in_the_servers_words() -> None:
    assert UNREACHABLE in protocol.generated()["protocol/PROTOCOL.md"]


def test_the_document_names_every_message_code_and_setting() -> None:
    text = protocol.generated()["protocol/PROTOCOL.md"]
    for row in DESCRIPTION["messages"]:
        assert f"### {row['name']}\n" in text
    for enum in ("RefusalCode", "CloseCode", "Ground", "ObjectKind"):
        assert all(f"`{name}`" in text for name in DESCRIPTION["enums"][enum])
    assert all(f"`{name}`" in text for name in DESCRIPTION["welcome_settings"])


def test_the_settings_in_welcome_are_those_described() -> None:
    gate = SimpleNamespace(config=Config(), chunk_radius_max=6, _premises=Premises(1, 0, "", "", [Key(b"k")]))
    assert list(Gate._settings(cast(Gate, gate))) == list(DESCRIPTION["welcome_settings"])


def test_the_ladder_is_told_as_view_tells_it() -> None:
    assert [rung["step"] for rung in DESCRIPTION["ladder"]] == list(range(len(LADDER)))
    assert DESCRIPTION["ladder"][0] == {
        "step": 0,
        "radius_cells": 1,
        "near_hz": 20,
        "far_hz": 20,
        "crowds": False,
    }
    assert DESCRIPTION["ladder"][-1]["crowds"]


def test_a_chunk_read_by_the_described_layout_is_the_chunk_that_was_written() -> None:
    chunk = Terrain(7).generate(-3, 5)
    layers, objects = _read(encode(chunk), DESCRIPTION["chunk"])
    assert {name: layer.tolist() for name, layer in layers.items()} == {
        name: layer.tolist() for name, layer in _expected(chunk).items()
    }
    assert objects == [
        dict(zip(chunk.objects.dtype.names or (), row.tolist(), strict=True)) for row in chunk.objects
    ]
    places = [(row["tile"] // 32 + row["dy"] / 256, row["tile"] % 32 + row["dx"] / 256) for row in objects]
    assert places == sorted(places)


def test_a_chunk_survives_its_compression() -> None:
    payload = encode(Terrain(7).generate(0, 0))
    assert len(payload) < PAYLOAD_BYTES_MAX
    assert zlib.decompress(zlib.compress(payload)) == payload


def _expected(chunk: Chunk) -> dict[str, Any]:
    red, green, blue = np.moveaxis(chunk.colour, 2, 0)
    return {
        "ground": chunk.ground,
        "walk": walk_speed(chunk),
        "height": chunk.height,
        "shade": chunk.shade,
        "red": red,
        "green": green,
        "blue": blue,
    }


def _read(payload: bytes, layout: dict[str, Any]) -> tuple[dict[str, Any], list[dict[str, int]]]:
    """Reads a payload as a stranger would who has nothing but the description."""
    side, at = layout["tiles"], 0
    layers = {}
    for layer in layout["layers"]:
        values = np.frombuffer(payload, np.uint8, layer["count"], at)
        layers[layer["name"]] = (np.cumsum(values, dtype=np.uint8) if layer["delta"] else values).reshape(
            side, side
        )
        at += layer["count"]
    count, record_bytes = int.from_bytes(payload[at : at + 2], "little"), layout["objects"]["record_bytes"]
    assert len(payload) == at + 2 + count * record_bytes
    objects = [
        _object(payload[start:], layout["objects"]["fields"])
        for start in range(at + 2, len(payload), record_bytes)
    ]
    return layers, objects


def _object(data: bytes, fields: list[dict[str, Any]]) -> dict[str, int]:
    sizes = {"u8": 1, "u16": 2}
    return {
        field["name"]: int.from_bytes(
            data[field["offset"] : field["offset"] + sizes[field["type"]]], "little"
        )
        for field in fields
    }
