// Runs the browser's codec over the shared vectors (first argument) and a chunk with its layers spelled out (second argument);
// prints how many vectors of each section agreed, or throws.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";

import { MESSAGES, decode, encode, readBlocks, readChunk } from "./protocol.js";

const vectors = JSON.parse(readFileSync(process.argv[2], "utf8"));
const bytes = (hex) => new Uint8Array(Buffer.from(hex, "hex"));
const hex = (data) => Buffer.from(data).toString("hex");

function fieldsOf(row) {
  const value = (one) => (one !== null && typeof one === "object" && typeof one.bin === "string" ? bytes(one.bin) : one);
  return Object.fromEntries(Object.entries(row.fields).map(([name, one]) => [name, value(one)]));
}

function messageOf(row) {
  const absent = Object.fromEntries(MESSAGES[row.name].fields.map((name) => [name, null]));
  return { type: row.name, ...absent, ...fieldsOf(row) };
}

for (const row of vectors.messages) {
  for (const data of [row.hex, row.hex_nil].filter(Boolean)) assert.deepEqual(decode(bytes(data)), [messageOf(row)]);
  const written = encode(row.name, fieldsOf(row));
  if (row.javascript === "same") assert.equal(hex(written), row.hex);
  else assert.deepEqual(decode(written), [messageOf(row)]);
}
for (const row of vectors.alternatives) assert.deepEqual(decode(bytes(row.hex)), [messageOf(row)]);
for (const frame of vectors.frames) assert.deepEqual(decode(bytes(frame.hex)), frame.messages.map(messageOf));

for (const [name, fields] of [["nothing", {}], ["ping", {}], ["ping", { nonce: null }], ["ping", { nonce: 1, other: 1 }]]) {
  assert.throws(() => encode(name, fields), TypeError);
}
for (const wrong of ["01", "9100", "9102", "93020101", "92a0", "90", "80"]) assert.throws(() => decode(bytes(wrong)), RangeError);

const pairs = (places) => Array.from({ length: places.length / 2 }, (_, index) => [places[2 * index], places[2 * index + 1]]);
for (const { why, cx, cy, hex, blocks } of vectors.blocks) {
  const within = new Uint8Array([9, 9, 9, ...bytes(hex), 9]).subarray(3, 3 + hex.length / 2); // as `cells` lies in its message
  const read = readBlocks(within, cx, cy).map(({ places, ...rest }) => ({ ...rest, places: pairs(places) }));
  assert.deepEqual(read, blocks, why);
}
for (const { why, hex } of vectors.bad_blocks) assert.throws(() => readBlocks(bytes(hex), 0, 0), RangeError, why);

const { payload, ...layers } = JSON.parse(readFileSync(process.argv[3], "utf8"));
const chunk = readChunk(bytes(payload));
for (const name of Object.keys(layers)) assert.deepEqual(Array.from(chunk[name]), layers[name], name);
assert.deepEqual(Object.keys(chunk).sort(), Object.keys(layers).sort());
for (const cut of [0, 1, 100, 7168, 7170, payload.length / 2 - 1]) {
  assert.throws(() => readChunk(bytes(payload.slice(0, 2 * cut))), RangeError);
}
assert.throws(() => readChunk(bytes(`${payload}00`)), RangeError);

const sections = ["messages", "alternatives", "frames", "blocks", "bad_blocks"];
console.log(JSON.stringify(Object.fromEntries(sections.map((name) => [name, vectors[name].length]))));
