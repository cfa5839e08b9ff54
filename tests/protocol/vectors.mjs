// Runs the browser's codec over the shared vectors (first argument) and a chunk with its layers spelled out (second argument);
// prints how many vectors of each section agreed, or throws.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";

import { MESSAGES, decode, encode, readChunk, readEntities } from "./protocol.js";

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

const offset = new Uint8Array([9, 9, 9, ...bytes("0100000000080010ffffffffffff0000")]).subarray(3);
assert.deepEqual(readEntities(offset, -1, 2), [
  { player_id: 1, x: -31, y: 66 },
  { player_id: 4294967295, x: -32 + 65535 / 2048, y: 64 },
]);
assert.throws(() => readEntities(offset.subarray(1), 0, 0), RangeError);

const { payload, ...layers } = JSON.parse(readFileSync(process.argv[3], "utf8"));
const chunk = readChunk(bytes(payload));
for (const name of Object.keys(layers)) assert.deepEqual(Array.from(chunk[name]), layers[name], name);
assert.deepEqual(Object.keys(chunk).sort(), Object.keys(layers).sort());
for (const cut of [0, 1, 100, 7168, 7170, payload.length / 2 - 1]) {
  assert.throws(() => readChunk(bytes(payload.slice(0, 2 * cut))), RangeError);
}
assert.throws(() => readChunk(bytes(`${payload}00`)), RangeError);

console.log(JSON.stringify(Object.fromEntries(["messages", "alternatives", "frames"].map((name) => [name, vectors[name].length]))));
