"""The browser's codec and rule of walking agree with Python's, by shared vectors, in a real browser."""

import json
from pathlib import Path

from tests.browser.conftest import Visit
from tests.harness import ServerProcess

VECTORS = Path(__file__).parents[1] / "vectors"

CODEC_JS = """async (vectors) => {
  const { MESSAGES, decode, encode, readBlocks } = await import("/protocol.js");
  const bytes = (hex) => Uint8Array.from(hex.match(/../g) ?? [], (pair) => parseInt(pair, 16));
  const hex = (data) => Array.from(data, (byte) => byte.toString(16).padStart(2, "0")).join("");
  const plain = (value) => JSON.stringify(value, (_, one) => (one instanceof Uint8Array ? { bin: hex(one) } : one));
  const valueOf = (one) => (typeof one?.bin === "string" ? bytes(one.bin) : one);
  const fieldsOf = (row) => Object.fromEntries(Object.entries(row.fields).map(([name, one]) => [name, valueOf(one)]));
  const absent = (name) => Object.fromEntries(MESSAGES[name].fields.map((field) => [field, null]));
  const messageOf = (row) => ({ type: row.name, ...absent(row.name), ...fieldsOf(row) });
  const wrong = [];
  const check = (row, got, wanted) => plain(got) === plain(wanted) || wrong.push([row, plain(got), plain(wanted)]);
  for (const row of vectors.messages) {
    for (const data of [row.hex, row.hex_nil].filter(Boolean)) check(row, decode(bytes(data)), [messageOf(row)]);
    const written = encode(row.name, fieldsOf(row));
    if (row.javascript === "same") check(row, hex(written), row.hex);
    else check(row, decode(written), [messageOf(row)]);
  }
  for (const row of vectors.alternatives) check(row, decode(bytes(row.hex)), [messageOf(row)]);
  for (const frame of vectors.frames) check(frame, decode(bytes(frame.hex)), frame.messages.map(messageOf));
  for (const row of vectors.blocks) {
    const read = readBlocks(bytes(row.hex), row.cx, row.cy).map(({ cx, cy, player_ids, places }) => {
      const pairs = Array.from({ length: places.length / 2 }, (_, at) => [places[2 * at], places[2 * at + 1]]);
      return { cx, cy, player_ids, places: pairs };
    });
    check(row, read, row.blocks);
  }
  for (const row of vectors.bad_blocks) {
    try {
      check(row, readBlocks(bytes(row.hex), 0, 0), "a RangeError");
    } catch (error) {
      check(row, error instanceof RangeError, true);
    }
  }
  return wrong;
}"""


def test_the_codec_agrees_with_the_vectors(world: ServerProcess, visit: Visit) -> None:
    vectors = json.loads((VECTORS / "codec.json").read_text())
    assert visit(world).page.evaluate(CODEC_JS, vectors) == []


WALK_JS = """async (walks) => {
  const { OPEN, stepMovement, UNLOADED } = await import("/movement.js");
  const wrong = [];
  for (const { name, chunks, picture, closed, enters, stride, inputs, places, ...start } of walks) {
    const loaded = new Set(chunks.map(String));
    const walkAt = (x, y) => {
      const column = Math.floor(x);
      const row = Math.floor(y);
      if (!loaded.has(String([column >> 5, row >> 5]))) return UNLOADED;
      return picture.walk[row - picture.y]?.[column - picture.x] ?? 100;
    };
    const gateAt = (x, y) => {
      const inside = ([, left, top, width, height]) => x >= left && x < left + width && y >= top && y < top + height;
      const [parcel] = closed.find(inside) ?? [OPEN];
      return enters.includes(parcel) ? OPEN : parcel;
    };
    let place = { x: start.x, y: start.y };
    let at = 0;
    for (const [ticks, dx, dy] of inputs) {
      for (let tick = 0; tick < ticks; tick += 1) {
        place = stepMovement(place.x, place.y, dx, dy, stride, walkAt, gateAt);
        const [x, y] = places[at];
        if (Math.abs(place.x - x) > 1e-9 || Math.abs(place.y - y) > 1e-9) wrong.push([name, at, place, x, y]);
        at += 1;
      }
    }
    if (at !== places.length) wrong.push([name, at, places.length]);
  }
  return wrong;
}"""


def test_the_rule_of_walking_agrees_with_the_vectors(world: ServerProcess, visit: Visit) -> None:
    walks = json.loads((VECTORS / "movement.json").read_text())["walks"]
    assert visit(world).page.evaluate(WALK_JS, walks) == []
