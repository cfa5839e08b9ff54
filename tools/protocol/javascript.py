"""The browser's codec, tools/browser/protocol.js, written from the description of the protocol.

Tables come from the description; the few functions that read them stand below as they stand in the file. The offsets inside
packed records are filled in from the layouts, so that nothing in the browser counts bytes by hand.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

LINE_CHARS_MAX = 150

_VIEW = {"u8": "getUint8({at})", "u16": "getUint16({at}, true)", "u32": "getUint32({at}, true)"}
_SET = {"u8": "setUint8({at}, {name})", "i32": "setInt32({at}, {name}, true)"}
_BYTES = {"u8": 1, "u16": 2, "u32": 4}  # those of a count

_HEAD = """\
// Made by `landworld protocol --write` from protocol/*.py; do not edit. The whole protocol in words: protocol/PROTOCOL.md.
//
//   encode("move", { seq: 1, dx: 1, dy: 0 })  ->  Uint8Array: one message, to be sent as a binary WebSocket message
//   decode(bytes)                             ->  [{ type: "moved", seq, tick, x, y }, ...]: all of one WebSocket message
//   readBlocks(snapshot.cells, cx, cy)        ->  [{ cx, cy, player_ids, places }, ...]: one a cell, see there
//   readChunkEdits(chunk_edits.edits)         ->  [{ tile, kind }, ...]
//   writeTileEdits([{ x, y, kind }, ...])     ->  tile_edit.edits
//   readChunk(inflated)                       ->  { ground, walk, height, ..., objects }: `chunk.data` after inflating
//
// The name of a message is in `type`, since several messages have a field called `name`. Optional fields that were left out
// are null. Counters (tick, seq, time_ms) are u64 on the wire and plain numbers here: exact up to 2^53, which at 20 ticks a
// second is fourteen million years.

import { decodeMulti, encode as pack } from "./vendor/msgpack.mjs";
"""

_VERSION = """\
export const PROTOCOL_VERSION = {version};
export const SUBPROTOCOL = "{subprotocol}";
"""

_CODEC = """\
const NAMES = new Map(Object.entries(MESSAGES).map(([name, message]) => [message.code, name]));

/** One message as bytes. Throws a TypeError when the message is unknown, a required field is missing or a field is unknown. */
export function encode(name, fields = {}) {
  const message = MESSAGES[name];
  if (message === undefined) throw new TypeError(`there is no message ${name}`);
  for (const field of Object.keys(fields)) {
    if (!message.fields.includes(field)) throw new TypeError(`${name} has no field ${field}`);
  }
  const row = [message.code, ...message.fields.map((field) => fields[field] ?? null)];
  const missing = row.indexOf(null, 1) - 1;
  if (missing >= 0 && missing < message.required) throw new TypeError(`${name} needs ${message.fields[missing]}`);
  while (row.length > 1 + message.required && row.at(-1) === null) row.pop();
  return pack(row);
}

/** Every message of one WebSocket message, in order. Throws a RangeError for what is no message of this protocol. */
export function decode(bytes) {
  return Array.from(decodeMulti(bytes), fromRow);
}

function fromRow(row) {
  const name = Array.isArray(row) ? NAMES.get(row[0]) : undefined;
  if (name === undefined) throw new RangeError("not a message of this protocol");
  const { fields, required } = MESSAGES[name];
  const given = row.length - 1;
  if (given < required || given > fields.length) throw new RangeError(`${name} with ${given} fields`);
  const message = { type: name };
  fields.forEach((field, index) => {
    message[field] = row[index + 1] ?? null;
  });
  return message;
}

function viewOf(bytes) {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
"""

_CHUNK_EDITS = """\
/** The tiles built on, oldest first. Throws a RangeError when the bytes are not a whole number of records. */
export function readChunkEdits(bytes) {
  const { record_bytes } = RECORDS["chunk_edits.edits"];
  if (bytes.byteLength %% record_bytes !== 0) throw new RangeError("edits end within a record");
  const view = viewOf(bytes);
  const edits = new Array(bytes.byteLength / record_bytes);
  for (let index = 0, at = 0; index < edits.length; index += 1, at += record_bytes) {
    edits[index] = { tile: view.%(tile)s, kind: view.%(kind)s };
  }
  return edits;
}
"""

_TILE_EDITS = """\
/** Tiles of the world to build on, in order, as the records of a `tile_edit`. */
export function writeTileEdits(edits) {
  const { record_bytes } = RECORDS["tile_edit.edits"];
  const bytes = new Uint8Array(edits.length * record_bytes);
  const view = viewOf(bytes);
  edits.forEach(({ x, y, kind }, index) => {
    const at = index * record_bytes;
    view.%(x)s;
    view.%(y)s;
    view.%(kind)s;
  });
  return bytes;
}
"""

_BLOCKS = """\
/**
 * The blocks of a snapshot that was taken from cell (cx, cy), in order. `player_ids` is null where a block is not named: it is then
 * about those of the last named block of its cell. `places` holds x, y, x, y, ... in tiles. Throws a RangeError when the bytes end
 * within a block.
 */
export function readBlocks(cells, cx, cy) {
  const view = viewOf(cells);
  const blocks = [];
  let at = 0;
  while (at < view.byteLength) {
    if (at + 2 > view.byteLength) throw new RangeError("a block ends within its head");
    const where = view.getUint8(at);
    const head = view.getUint8(at + 1);
    at += 2;
    let count = head & %(count_long)d;
    if (count === %(count_long)d) {
      if (at + 2 > view.byteLength) throw new RangeError("a block ends within its head");
      count = view.getUint16(at, true);
      at += 2;
    }
    const named = (head & %(named_bit)d) !== 0;
    const bytes = count * (named ? %(named_bytes)d : %(places_bytes)d);
    if (at + bytes > view.byteLength) throw new RangeError("a block ends within its records");
    const block = {
      cx: cx + (where >> 4) - %(step_zero)d,
      cy: cy + (where & 15) - %(step_zero)d,
      player_ids: named ? new Array(count) : null,
      places: new Float64Array(2 * count),
    };
    const { player_ids, places } = block;
    const west = block.cx * %(cell_tiles)d;
    const north = block.cy * %(cell_tiles)d;
    if (named) {
      for (let index = 0; index < count; index += 1, at += %(named_bytes)d) {
        player_ids[index] = view.%(named_player_id)s;
        places[2 * index] = west + view.%(named_x)s / %(units_per_tile)d;
        places[2 * index + 1] = north + view.%(named_y)s / %(units_per_tile)d;
      }
    } else {
      for (let index = 0; index < count; index += 1, at += %(places_bytes)d) {
        places[2 * index] = west + view.%(places_x)s / %(units_per_tile)d;
        places[2 * index + 1] = north + view.%(places_y)s / %(units_per_tile)d;
      }
    }
    blocks.push(block);
  }
  return blocks;
}
"""

_CHUNK = """\
/**
 * The payload of a chunk (`chunk.data` after inflating it). Layers are Uint8Array(1024), row by row from the north, deltas
 * undone. Objects are { tile, kind, x, y, size }: x and y in tiles from the chunk's north-west corner, size 1 is normal.
 * Throws a RangeError when the length is not what the layout says.
 */
export function readChunk(bytes) {
  const chunk = {};
  let at = 0;
  for (const { name, count, delta } of CHUNK.layers) {
    chunk[name] = bytes.slice(at, at + count);
    if (delta) undoDelta(chunk[name]);
    at += count;
  }
  chunk.objects = readObjects(viewOf(bytes), at);
  return chunk;
}

function undoDelta(layer) {
  for (let index = 1; index < layer.length; index += 1) layer[index] += layer[index - 1]; // a Uint8Array wraps by itself
}

function readObjects(view, start) {
  const { record_bytes } = CHUNK.objects;
  const objects = new Array(view.%(count)s);
  const first = start + %(count_bytes)d;
  if (view.byteLength !== first + objects.length * record_bytes) throw new RangeError("not the length of a chunk");
  for (let index = 0, at = first; index < objects.length; index += 1, at += record_bytes) {
    const tile = view.%(tile)s;
    objects[index] = {
      tile,
      kind: view.%(kind)s,
      x: (tile %% CHUNK.tiles) + view.%(dx)s / 256,
      y: Math.floor(tile / CHUNK.tiles) + view.%(dy)s / 256,
      size: view.%(size)s / 128,
    };
  }
  return objects;
}
"""


def render(protocol: Mapping[str, Any]) -> str:
    """The text of protocol.js for the protocol as `describe` tells it."""
    meanings = protocol["meanings"]
    parts = [
        _HEAD,
        _VERSION.format(**protocol),
        _frozen("LIMITS", protocol["limits"]),
        _messages(protocol["messages"]),
        *(_frozen(name, members, meanings.get(name, {})) for name, members in protocol["enums"].items()),
        _build_walk(protocol),
        _constant("RECORDS", protocol["records"]),
        _constant("CHUNK", protocol["chunk"]),
        _CODEC,
        _blocks(protocol["records"]["snapshot.cells"]),
        _CHUNK_EDITS % _reads(protocol["records"]["chunk_edits.edits"]),
        _TILE_EDITS % _writes(protocol["records"]["tile_edit.edits"]),
        _objects(protocol["chunk"]["objects"]),
    ]
    return "\n".join(parts)


def _messages(rows: Sequence[Mapping[str, Any]]) -> str:
    lines = [
        "/** Every message by name; `required` is how many of the fields, from the first, may not be left out. */"
    ]
    lines.append("export const MESSAGES = {")
    for row in rows:
        required = sum(not field.get("optional", False) for field in row["fields"])
        fields = ", ".join(json.dumps(field["name"]) for field in row["fields"])
        lines.append(
            f'  {row["name"]}: {{ code: {row["code"]}, direction: "{row["direction"]}", '
            f"required: {required}, fields: [{fields}] }},"
        )
    return "\n".join([*lines, "};\n"])


def _frozen(name: str, members: Mapping[str, Any], meanings: Mapping[str, str] | None = None) -> str:
    lines = [f"export const {name} = Object.freeze({{"]
    for member, value in members.items():
        meaning = (meanings or {}).get(member)
        lines.append(f"  {member}: {json.dumps(value)}," + (f" // {meaning}" if meaning else ""))
    return "\n".join([*lines, "});\n"])


def _constant(name: str, value: Any) -> str:
    return f"export const {name} = {_literal(value)};\n"


def _literal(value: Any, indent: str = "") -> str:
    """A JavaScript literal: on one line where it fits, else one member a line."""
    if isinstance(value, Mapping):
        members = [f"{_key(key)}: " for key in value]
        brackets, pad = "{}", " "
    elif isinstance(value, list):
        members = [""] * len(value)
        brackets, pad = "[]", ""
    else:
        return json.dumps(value)
    deeper = indent + "  "
    values = value.values() if isinstance(value, Mapping) else value
    rows = [member + _literal(one, deeper) for member, one in zip(members, values, strict=True)]
    line = f"{brackets[0]}{pad}{', '.join(rows)}{pad}{brackets[1]}"
    if "\n" not in line and len(indent) + len(line) <= LINE_CHARS_MAX:
        return line
    return "\n".join([brackets[0], *(f"{deeper}{row}," for row in rows), indent + brackets[1]])


def _key(name: str) -> str:
    return name if name.isidentifier() else json.dumps(name)


def _read(field: Mapping[str, Any]) -> str:
    offset = field["offset"]
    return _VIEW[field["type"]].format(at=f"at + {offset}" if offset else "at")


def _blocks(layout: Mapping[str, Any]) -> str:
    numbers = {name: layout[name] for name in ("step_zero", "named_bit", "count_long")}
    for kind in ("named", "places"):
        numbers[f"{kind}_bytes"] = layout[kind]["record_bytes"]
        numbers |= {f"{kind}_{name}": read for name, read in _reads(layout[kind]).items()}
    x = next(field for field in layout["places"]["fields"] if field["name"] == "x")
    return _BLOCKS % {**numbers, "cell_tiles": x["cell_tiles"], "units_per_tile": x["units_per_tile"]}


def _reads(layout: Mapping[str, Any]) -> dict[str, str]:
    return {field["name"]: _read(field) for field in layout["fields"]}


def _writes(layout: Mapping[str, Any]) -> dict[str, str]:
    return {
        field["name"]: _SET[field["type"]].format(
            at=f"at + {field['offset']}" if field["offset"] else "at", name=field["name"]
        )
        for field in layout["fields"]
    }


def _build_walk(protocol: Mapping[str, Any]) -> str:
    builds = protocol["enums"]["Build"]
    walk = {str(builds[name]): percent for name, percent in protocol["build_walk"].items()}
    about = "/** Percent of full walking speed by Build, in place of the ground's; 0 blocks. */\n"
    return about + _frozen("BUILD_WALK", walk, {str(builds[name]): name for name in protocol["build_walk"]})


def _objects(layout: Mapping[str, Any]) -> str:
    count = layout["count"]
    return _CHUNK % {**_reads(layout), "count": _VIEW[count].format(at="start"), "count_bytes": _BYTES[count]}
