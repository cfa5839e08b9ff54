"""Two implementations of MessagePack agree on every message: msgspec (the server) and `msgpack` (which made the vectors).

Where node is installed, the browser's codec is run over the same file; tests/browser does so in a real browser.
"""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from protocol.codec import encode
from protocol.messages import CLIENT_MESSAGES, SERVER_MESSAGES, name_of
from tests.protocol.support import CLASSES, ROOT, VECTORS, decode, message

MESSAGES = VECTORS["messages"]
BROWSER = ROOT / "tools/browser"


def _label(row: dict[str, Any]) -> str:
    return f"{row['name']}-{row['hex'][:24]}"


@pytest.mark.parametrize("row", MESSAGES, ids=_label)
def test_a_vector_decodes_to_its_message(row: dict[str, Any]) -> None:
    for key in ("hex", "hex_nil"):
        if key in row:
            assert decode(row, bytes.fromhex(row[key])) == [message(row)]


@pytest.mark.parametrize("row", MESSAGES, ids=_label)
def test_the_server_writes_the_bytes_of_the_vector(row: dict[str, Any]) -> None:
    assert encode(message(row)).hex() == row.get("hex_nil", row["hex"])


@pytest.mark.parametrize("row", VECTORS["alternatives"], ids=_label)
def test_other_widths_are_read_as_the_same_message(row: dict[str, Any]) -> None:
    assert decode(row, bytes.fromhex(row["hex"])) == [message(row)]


@pytest.mark.parametrize("frame", VECTORS["frames"], ids=lambda frame: f"{len(frame['messages'])}-messages")
def test_messages_end_to_end_come_out_in_order(frame: dict[str, Any]) -> None:
    rows = frame["messages"]
    assert decode(rows[0], bytes.fromhex(frame["hex"])) == [message(row) for row in rows]


@pytest.mark.parametrize("name", [name_of(message) for message in (*CLIENT_MESSAGES, *SERVER_MESSAGES)])
def test_every_message_has_vectors_with_each_optional_field_there_and_not(name: str) -> None:
    rows = [row["fields"] for row in MESSAGES if row["name"] == name]
    assert rows, f"no vector for {name}"
    for field in CLASSES[name].__struct_fields__:
        assert any(field in row for row in rows)
    for field in CLASSES[name].__struct_fields__[-len(CLASSES[name].__struct_defaults__) :]:
        if CLASSES[name].__struct_defaults__:
            assert any(field not in row for row in rows)


@pytest.mark.skipif(
    shutil.which("node") is None, reason="node is not installed; tests/browser runs the same in Chromium"
)
def test_the_browsers_codec_agrees_with_the_vectors(tmp_path: Path) -> None:
    shutil.copytree(BROWSER / "vendor", tmp_path / "vendor")
    shutil.copy(BROWSER / "protocol.js", tmp_path)
    shutil.copy(Path(__file__).with_name("vectors.mjs"), tmp_path)
    (tmp_path / "package.json").write_text('{"type": "module"}')
    vectors, chunk = ROOT / "tests/vectors/codec.json", tmp_path / "chunk.json"
    chunk.write_text(json.dumps(_chunk()))
    done = subprocess.run(
        ["node", "vectors.mjs", str(vectors), str(chunk)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        section: len(VECTORS[section])
        for section in ("messages", "alternatives", "frames", "blocks", "bad_blocks")
    }


def _chunk() -> dict[str, Any]:
    """A payload of noise by the layout of PROTOCOL.md, put together here by hand, and what a reader must make of it."""
    random = np.random.default_rng(1)
    layers = {
        name: random.integers(0, 256, 1024, dtype=np.uint8)
        for name in ("ground", "walk", "height", "shade", "red", "green", "blue")
    }
    parts = [
        values if name in ("ground", "walk") else np.diff(values, prepend=np.uint8(0))
        for name, values in layers.items()
    ]
    records = bytes.fromhex("0000 00 00 00 802100 02 80 40 40ff03 08 ff ff ff")
    return {
        "payload": (b"".join(part.tobytes() for part in parts) + bytes.fromhex("0300") + records).hex(),
        **{name: values.tolist() for name, values in layers.items()},
        "objects": [
            {"tile": 0, "kind": 0, "x": 0, "y": 0, "size": 1},
            {"tile": 33, "kind": 2, "x": 1.5, "y": 1.25, "size": 0.5},
            {"tile": 1023, "kind": 8, "x": 31 + 255 / 256, "y": 31 + 255 / 256, "size": 255 / 128},
        ],
    }
