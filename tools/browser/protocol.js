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

export const PROTOCOL_VERSION = 1;
export const SUBPROTOCOL = "landworld.v1";

export const LIMITS = Object.freeze({
  name_chars_max: 24,
  chat_chars_max: 500,
  token_chars_max: 2048,
  world_tiles_max: 1048576,
  action_id_bytes: 16,
  parcel_name_chars_max: 40,
  description_chars_max: 400,
  money_max: 1000000000000000,
  look_tiles_max: 512,
  edits_max: 64,
  reason_chars_max: 200,
  report_chars_max: 500,
  password_chars_min: 12,
  password_chars_max: 128,
  email_chars_max: 254,
  bio_chars_max: 400,
  code_chars_max: 32,
});

/** Every message by name; `required` is how many of the fields, from the first, may not be left out. */
export const MESSAGES = {
  hello: { code: 1, direction: "client", required: 2, fields: ["protocol", "client", "token", "resume"] },
  ping: { code: 2, direction: "client", required: 1, fields: ["nonce"] },
  move: { code: 3, direction: "client", required: 3, fields: ["seq", "dx", "dy"] },
  chunk_get: { code: 4, direction: "client", required: 3, fields: ["request_id", "cx", "cy", "version"] },
  chat_say: { code: 5, direction: "client", required: 3, fields: ["request_id", "channel", "text", "to"] },
  player_find: { code: 6, direction: "client", required: 2, fields: ["request_id", "name"] },
  tile_edit: { code: 7, direction: "client", required: 3, fields: ["request_id", "action_id", "edits"] },
  tile_undo: { code: 8, direction: "client", required: 2, fields: ["request_id", "action_id"] },
  land_at: { code: 9, direction: "client", required: 3, fields: ["request_id", "x", "y"] },
  land_in: { code: 10, direction: "client", required: 5, fields: ["request_id", "x", "y", "width", "height", "after"] },
  land_mine: { code: 11, direction: "client", required: 1, fields: ["request_id", "after"] },
  land_for_sale: { code: 12, direction: "client", required: 1, fields: ["request_id", "skip"] },
  land_to_let: { code: 58, direction: "client", required: 1, fields: ["request_id", "skip"] },
  land_quote: { code: 13, direction: "client", required: 5, fields: ["request_id", "x", "y", "width", "height"] },
  land_claim: { code: 14, direction: "client", required: 6, fields: ["request_id", "action_id", "x", "y", "width", "height"] },
  land_describe: { code: 15, direction: "client", required: 5, fields: ["request_id", "action_id", "parcel_id", "name", "description"] },
  land_open: { code: 16, direction: "client", required: 5, fields: ["request_id", "action_id", "parcel_id", "enter", "build"] },
  land_permit: { code: 17, direction: "client", required: 5, fields: ["request_id", "action_id", "parcel_id", "player_id", "standing"] },
  land_permits: { code: 18, direction: "client", required: 2, fields: ["request_id", "parcel_id"] },
  land_transfer: { code: 19, direction: "client", required: 4, fields: ["request_id", "action_id", "parcel_id", "to"] },
  land_split: { code: 20, direction: "client", required: 5, fields: ["request_id", "action_id", "parcel_id", "cut", "at", "ease"] },
  land_merge: { code: 21, direction: "client", required: 4, fields: ["request_id", "action_id", "parcel_id", "other_id"] },
  land_abandon: { code: 22, direction: "client", required: 3, fields: ["request_id", "action_id", "parcel_id"] },
  land_take: { code: 45, direction: "client", required: 3, fields: ["request_id", "action_id", "parcel_id"] },
  market_list: { code: 46, direction: "client", required: 4, fields: ["request_id", "action_id", "parcel_id", "price", "duration_ms", "keep_permits"] },
  market_edit: { code: 47, direction: "client", required: 4, fields: ["request_id", "action_id", "listing_id", "price", "duration_ms", "keep_permits"] },
  market_cancel: { code: 59, direction: "client", required: 3, fields: ["request_id", "action_id", "listing_id"] },
  market_buy: { code: 60, direction: "client", required: 4, fields: ["request_id", "action_id", "listing_id", "price", "seq"] },
  market_auction: { code: 61, direction: "client", required: 5, fields: ["request_id", "action_id", "parcel_id", "start_price", "duration_ms", "reserve", "buy_now", "keep_permits", "show_reserve"] },
  market_bid: { code: 62, direction: "client", required: 4, fields: ["request_id", "action_id", "auction_id", "amount", "maximum"] },
  wallet: { code: 25, direction: "client", required: 1, fields: ["request_id"] },
  wallet_statement: { code: 26, direction: "client", required: 1, fields: ["request_id", "before"] },
  receipt_get: { code: 27, direction: "client", required: 2, fields: ["request_id", "seq"] },
  land_let: { code: 28, direction: "client", required: 3, fields: ["request_id", "action_id", "parcel_id", "rent", "term_ms", "deposit", "renewable"] },
  land_rent: { code: 29, direction: "client", required: 4, fields: ["request_id", "action_id", "parcel_id", "rent", "term_ms", "deposit"] },
  land_leave: { code: 30, direction: "client", required: 3, fields: ["request_id", "action_id", "parcel_id"] },
  land_ease: { code: 31, direction: "client", required: 7, fields: ["request_id", "action_id", "parcel_id", "x", "y", "width", "height"] },
  account_register: { code: 32, direction: "client", required: 5, fields: ["request_id", "action_id", "name", "email", "password"] },
  account_login: { code: 33, direction: "client", required: 3, fields: ["request_id", "name", "password"] },
  account_refresh: { code: 34, direction: "client", required: 2, fields: ["request_id", "refresh_token"] },
  account_logout: { code: 35, direction: "client", required: 1, fields: ["request_id"] },
  account_change_password: { code: 36, direction: "client", required: 3, fields: ["request_id", "password", "new_password"] },
  account_sessions: { code: 37, direction: "client", required: 1, fields: ["request_id"] },
  account_revoke: { code: 38, direction: "client", required: 1, fields: ["request_id", "session_id"] },
  account_profile: { code: 39, direction: "client", required: 1, fields: ["request_id", "player_id"] },
  account_edit_profile: { code: 40, direction: "client", required: 1, fields: ["request_id", "name", "look", "bio"] },
  account_verify_email: { code: 41, direction: "client", required: 1, fields: ["request_id", "code", "email", "password"] },
  account_reset_password: { code: 42, direction: "client", required: 2, fields: ["request_id", "email", "code", "new_password"] },
  account_export: { code: 43, direction: "client", required: 2, fields: ["request_id", "part"] },
  account_delete: { code: 44, direction: "client", required: 2, fields: ["request_id", "password"] },
  moderation_mute: { code: 48, direction: "client", required: 4, fields: ["request_id", "action_id", "player_id", "reason", "minutes"] },
  moderation_kick: { code: 49, direction: "client", required: 4, fields: ["request_id", "action_id", "player_id", "reason"] },
  moderation_ban: { code: 50, direction: "client", required: 5, fields: ["request_id", "action_id", "player_id", "scope", "reason", "minutes"] },
  moderation_lift: { code: 51, direction: "client", required: 5, fields: ["request_id", "action_id", "player_id", "sanction", "reason"] },
  player_report: { code: 52, direction: "client", required: 5, fields: ["request_id", "action_id", "player_id", "offence", "text"] },
  moderation_reports: { code: 53, direction: "client", required: 2, fields: ["request_id", "closed", "after"] },
  moderation_close: { code: 54, direction: "client", required: 4, fields: ["request_id", "action_id", "report_id", "note"] },
  player_block: { code: 55, direction: "client", required: 3, fields: ["request_id", "action_id", "player_id"] },
  player_unblock: { code: 56, direction: "client", required: 3, fields: ["request_id", "action_id", "player_id"] },
  player_blocks: { code: 57, direction: "client", required: 1, fields: ["request_id"] },
  welcome: { code: 64, direction: "server", required: 11, fields: ["player_id", "name", "role", "x", "y", "tick", "tick_hz", "epoch", "durable_seq", "resume", "settings"] },
  refused: { code: 65, direction: "server", required: 3, fields: ["request_id", "code", "message", "retry_after_ms"] },
  ok: { code: 66, direction: "server", required: 3, fields: ["request_id", "seq", "result"] },
  pong: { code: 67, direction: "server", required: 2, fields: ["nonce", "tick"] },
  moved: { code: 68, direction: "server", required: 4, fields: ["seq", "tick", "x", "y"] },
  snapshot: { code: 69, direction: "server", required: 4, fields: ["tick", "cx", "cy", "cells"] },
  appeared: { code: 70, direction: "server", required: 3, fields: ["player_id", "name", "look"] },
  chat_said: { code: 71, direction: "server", required: 5, fields: ["channel", "sender_id", "sender_name", "text", "time_ms", "to"] },
  chunk: { code: 72, direction: "server", required: 4, fields: ["cx", "cy", "version", "data"] },
  chunk_edits: { code: 73, direction: "server", required: 5, fields: ["cx", "cy", "from_version", "version", "edits"] },
  view: { code: 74, direction: "server", required: 5, fields: ["step", "radius_cells", "near_hz", "far_hz", "crowds"] },
  crowd: { code: 75, direction: "server", required: 4, fields: ["tick", "cx", "cy", "count"] },
  closing: { code: 76, direction: "server", required: 2, fields: ["code", "message", "retry_after_ms", "resume"] },
  land_claimed: { code: 77, direction: "server", required: 1, fields: ["parcel"] },
  land_changed: { code: 78, direction: "server", required: 1, fields: ["parcel"] },
  land_freed: { code: 79, direction: "server", required: 1, fields: ["parcel_id"] },
  entry_denied: { code: 80, direction: "server", required: 3, fields: ["parcel_id", "trouble", "message"] },
  wallet_changed: { code: 81, direction: "server", required: 3, fields: ["balance", "held", "seq"] },
  lease_ended: { code: 82, direction: "server", required: 2, fields: ["parcel_id", "tenant_id"] },
  upkeep_missed: { code: 83, direction: "server", required: 3, fields: ["parcel_id", "owed", "freed_ms"] },
  listing_opened: { code: 86, direction: "server", required: 1, fields: ["listing"] },
  listing_changed: { code: 87, direction: "server", required: 1, fields: ["listing"] },
  listing_ended: { code: 88, direction: "server", required: 5, fields: ["listing_id", "parcel_id", "seller_id", "end", "price", "buyer_id"] },
  auction_opened: { code: 89, direction: "server", required: 1, fields: ["auction"] },
  auction_bid: { code: 90, direction: "server", required: 10, fields: ["auction_id", "parcel_id", "leader_id", "leader_name", "price", "fee", "least", "bids", "seq", "ends_ms", "buy_now", "reserved"] },
  auction_extended: { code: 91, direction: "server", required: 5, fields: ["auction_id", "parcel_id", "seq", "ends_ms", "latest_ms"] },
  auction_ended: { code: 92, direction: "server", required: 5, fields: ["auction_id", "parcel_id", "seller_id", "end", "price", "winner_id"] },
  mute_changed: { code: 84, direction: "server", required: 2, fields: ["muted", "reason", "until_ms"] },
  role_changed: { code: 85, direction: "server", required: 1, fields: ["role"] },
};

export const RefusalCode = Object.freeze({
  BAD_REQUEST: 1, // understood, but a value makes no sense
  NOT_ALLOWED: 2, // not with this role, or not in this state
  RATE_LIMITED: 3, // too often; retry_after_ms says when again
  UNAVAILABLE: 4, // the server cannot do this now; retry_after_ms says when to try again
  NOT_FOUND: 5, // no such player, chunk or thing
  OUT_OF_RANGE: 6, // too far from where you stand
  BAD_TOKEN: 7, // forged, stale, or for another purpose: sign in again
  GUESTS_FORBIDDEN: 8, // this server wants a token
  WRONG_VERSION: 9, // another protocol version
  WORLD_FULL: 10, // no place left; try again later
  TAKEN: 11, // this land has an owner, or something stands there
  NOT_OWNER: 12, // this is not yours to do; the message says who can
  INSUFFICIENT_FUNDS: 13, // the wallet holds less than this costs
  LIMIT_REACHED: 14, // more than one player, or one parcel, may have
  CHANGED: 15, // no longer as you saw it; look again
  CUT_OFF: 16, // open land would not be one piece any more, or not beside every parcel; water counts as open land
  BAD_CREDENTIALS: 17, // no such name with this password
  LOCKED: 18, // too many wrong passwords for this name; retry_after_ms says when again. Who is signed in is not touched
  NAME_TAKEN: 19, // somebody is called so already
  WEAK_PASSWORD: 20, // too easily guessed; the message says what would do
  TOKEN_REUSED: 21, // this refresh token was used before, so the session has ended everywhere: sign in again
  FORBIDDEN: 22, // not with how you are signed in; the message says what it takes
  BANNED: 23, // kept out by a moderator; the message says why and until when
  MUTED: 24, // a moderator took your voice; the message says why, retry_after_ms until when
  UNSEEMLY: 25, // a word in it is not wanted here: say it otherwise
  TOO_LOW: 26, // less than the least that is taken; the message says how much that is
  ENDED: 27, // this is over, or never was
});

export const CloseCode = Object.freeze({
  NORMAL: 1000, // the client leaves for good, or the server has nothing more to say
  GOING_AWAY: 1001, // the server shuts down
  PROTOCOL_ERROR: 1002, // WebSocket framing broken, fragments without end, unmasked frames
  UNSUPPORTED_DATA: 1003, // a text frame: this protocol is binary
  INVALID_DATA: 1007, // not MessagePack, an unknown code, wrong types, missing or extra fields
  POLICY_VIOLATION: 1008, // right bytes, wrong behaviour: not in this state
  TOO_BIG: 1009, // a message over the limit
  INTERNAL_ERROR: 1011, // our fault
  REPLACED: 4000, // the same player signed in on a newer connection
  HELLO_TIMEOUT: 4001, // connected and said nothing
  IDLE_TIMEOUT: 4002, // nothing heard for too long
  FLOODING: 4003, // rates passed again and again, after refusals
  TOO_SLOW: 4004, // never reads what it is sent
  REFUSED: 4005, // the hello was refused; the `refused` message before says why
  REVOKED: 4006, // the session of this connection has ended: signed out, revoked, or the account is gone; sign in again
  BANNED: 4010, // a moderator keeps this player out; the `closing` message before says why and until when
  KICKED: 4011, // a moderator sent this player away, who may come back; the `closing` message before says why
});

export const Role = Object.freeze({
  GUEST: "guest", // came without a token; the same guest again with the ticket of an earlier welcome
  USER: "user", // signed in with a token
  MODERATOR: "moderator", // keeps the peace
  ADMIN: "admin", // runs the server
});

export const State = Object.freeze({
  NEW: "new", // connected; `hello` is understood, and what makes a token for it
  JOINING: "joining", // `hello` is being checked; the answer is `welcome`, or `refused` and a close
  PLAYING: "playing", // in the world
});

export const Rate = Object.freeze({
  HELLO: "hello", // signing in: one bucket for all at one address, `limits.hellos_per_address`
  MOVEMENT: "movement", // inputs
  CHAT: "chat", // talk
  REQUEST: "request", // questions
  CHUNK: "chunk", // ground
  ACTION: "action", // what is stored: land, money, building
  MODERATION: "moderation", // reports, blocks, and what moderators do
  ACCOUNT: "account", // accounts: passwords, sessions, profiles
  PING: "ping", // measuring the line
});

export const ChatChannel = Object.freeze({
  NEARBY: 0, // everyone within chat.radius_tiles of the speaker
  WORLD: 1, // everyone in the world
  DIRECT: 2, // one player, wherever they are
});

export const Delivery = Object.freeze({
  CURRENT: 0, // the version you hold is the newest: nothing is sent
  EDITS: 1, // a `chunk_edits` with what changed since your version comes before the `ok`
  WHOLE: 2, // a `chunk`, and a `chunk_edits` with all that is built on it, come before the `ok`
});

export const Standing = Object.freeze({
  NONE: 0, // what everybody may
  VISITOR: 1, // enter
  BUILDER: 2, // build
  MANAGER: 3, // say who may enter and build, name it and describe it
  TENANT: 4, // all that the owner might there while nobody rents it, but not give it away or change its shape
  OWNER: 5, // everything
});

export const Cut = Object.freeze({
  VERTICAL: 0, // along x = at: a western and an eastern part
  HORIZONTAL: 1, // along y = at: a northern and a southern part
});

export const SaleEnd = Object.freeze({
  SOLD: 0, // somebody bought it
  CANCELLED: 1, // its seller took it back
  EXPIRED: 2, // its time was over
  FORFEITED: 3, // the land is nobody's any more: too much upkeep was owed
  UNSOLD: 4, // an auction without a bid, or without one that reached its reserve, or the land was not as offered
});

export const Trouble = Object.freeze({
  CLOSED: 0, // only those whom the owner lets in may enter
});

export const Sanction = Object.freeze({
  MUTE: 0, // may not speak
  BAN: 1, // may not come in; lifting it frees the address, too, where that was banned with them
});

export const BanScope = Object.freeze({
  PLAYER: 0, // the player, from wherever they come
  ADDRESS: 1, // whoever comes from the address that the player was last seen at, but for moderators and admins
  BOTH: 2, // both
});

export const Offence = Object.freeze({
  INSULT: 0, // insults, threats, hate
  SPAM: 1, // floods the talk, or advertises
  INDECENT: 2, // indecent words, names or buildings
  CHEATING: 3, // cheats, or uses a fault of the server
  OTHER: 4, // something else, as the text says
});

export const Ground = Object.freeze({
  DEEP_WATER: 0,
  WATER: 1,
  SHALLOWS: 2,
  RIVER: 3,
  SAND: 4,
  GRASS: 5,
  SCRUB: 6,
  WOOD: 7,
  MARSH: 8,
  TUNDRA: 9,
  ROCK: 10,
  SNOW: 11,
});

export const ObjectKind = Object.freeze({
  CONIFER: 0,
  BROADLEAF: 1,
  PALM: 2,
  BUSH: 3,
  DEAD_TREE: 4,
  CACTUS: 5,
  BOULDER: 6,
  FLOWER: 7,
  REED: 8,
});

export const Build = Object.freeze({
  NOTHING: 0,
  PATH: 1,
  PAVING: 2,
  FLOOR: 3,
  WALL: 4,
  FENCE: 5,
  HEDGE: 6,
});

/** Percent of full walking speed by Build, in place of the ground's; 0 blocks. */
export const BUILD_WALK = Object.freeze({
  1: 100, // PATH
  2: 100, // PAVING
  3: 100, // FLOOR
  4: 0, // WALL
  5: 0, // FENCE
  6: 0, // HEDGE
});

export const RECORDS = {
  "snapshot.cells": {
    byte_order: "little",
    step_zero: 8,
    step_max: 7,
    named_bit: 128,
    count_long: 127,
    named: {
      record_bytes: 8,
      fields: [
        { name: "player_id", type: "u32", offset: 0 },
        { name: "x", type: "u16", offset: 4, origin: "cx", cell_tiles: 32, units_per_tile: 2048, tiles: "cx * 32 + x / 2048" },
        { name: "y", type: "u16", offset: 6, origin: "cy", cell_tiles: 32, units_per_tile: 2048, tiles: "cy * 32 + y / 2048" },
      ],
    },
    places: {
      record_bytes: 4,
      fields: [
        { name: "x", type: "u16", offset: 0, origin: "cx", cell_tiles: 32, units_per_tile: 2048, tiles: "cx * 32 + x / 2048" },
        { name: "y", type: "u16", offset: 2, origin: "cy", cell_tiles: 32, units_per_tile: 2048, tiles: "cy * 32 + y / 2048" },
      ],
    },
  },
  "tile_edit.edits": {
    byte_order: "little",
    record_bytes: 9,
    fields: [
      { name: "x", type: "i32", offset: 0, meaning: "tile of the world, east" },
      { name: "y", type: "i32", offset: 4, meaning: "tile of the world, south" },
      { name: "kind", type: "u8", offset: 8, meaning: "enum Build; 0 takes away what was built" },
    ],
  },
  "chunk_edits.edits": {
    byte_order: "little",
    record_bytes: 3,
    fields: [
      { name: "tile", type: "u16", offset: 0, meaning: "tile of the chunk, y * 32 + x" },
      { name: "kind", type: "u8", offset: 2, meaning: "enum Build; 0 takes away what was built" },
    ],
  },
};

export const CHUNK = {
  byte_order: "little",
  compression: "zlib (RFC 1950)",
  tiles: 32,
  layers: [
    { name: "ground", type: "u8", count: 1024, delta: false, meaning: "the kind of ground, enum Ground" },
    { name: "walk", type: "u8", count: 1024, delta: false, meaning: "percent of full walking speed, 0 blocks; ground and objects together" },
    { name: "height", type: "u8", count: 1024, delta: true, meaning: "0 to 255, the sea lies at 96" },
    { name: "shade", type: "u8", count: 1024, delta: true, meaning: "hillshade, light from the north-west; 128 is flat" },
    { name: "red", type: "u8", count: 1024, delta: true, meaning: "colour of the ground before shading" },
    { name: "green", type: "u8", count: 1024, delta: true, meaning: "colour of the ground before shading" },
    { name: "blue", type: "u8", count: 1024, delta: true, meaning: "colour of the ground before shading" },
  ],
  objects: {
    count: "u16",
    record_bytes: 6,
    fields: [
      { name: "tile", type: "u16", offset: 0, meaning: "index of its tile, y * 32 + x" },
      { name: "kind", type: "u8", offset: 2, meaning: "enum ObjectKind" },
      { name: "dx", type: "u8", offset: 3, meaning: "east of the tile's corner, in 1/256 tile" },
      { name: "dy", type: "u8", offset: 4, meaning: "south of the tile's corner, in 1/256 tile" },
      { name: "size", type: "u8", offset: 5, meaning: "128 is the normal size" },
    ],
    order: "by y, then by x",
  },
};

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
    let count = head & 127;
    if (count === 127) {
      if (at + 2 > view.byteLength) throw new RangeError("a block ends within its head");
      count = view.getUint16(at, true);
      at += 2;
    }
    const named = (head & 128) !== 0;
    const bytes = count * (named ? 8 : 4);
    if (at + bytes > view.byteLength) throw new RangeError("a block ends within its records");
    const block = {
      cx: cx + (where >> 4) - 8,
      cy: cy + (where & 15) - 8,
      player_ids: named ? new Array(count) : null,
      places: new Float64Array(2 * count),
    };
    const { player_ids, places } = block;
    const west = block.cx * 32;
    const north = block.cy * 32;
    if (named) {
      for (let index = 0; index < count; index += 1, at += 8) {
        player_ids[index] = view.getUint32(at, true);
        places[2 * index] = west + view.getUint16(at + 4, true) / 2048;
        places[2 * index + 1] = north + view.getUint16(at + 6, true) / 2048;
      }
    } else {
      for (let index = 0; index < count; index += 1, at += 4) {
        places[2 * index] = west + view.getUint16(at, true) / 2048;
        places[2 * index + 1] = north + view.getUint16(at + 2, true) / 2048;
      }
    }
    blocks.push(block);
  }
  return blocks;
}

/** The tiles built on, oldest first. Throws a RangeError when the bytes are not a whole number of records. */
export function readChunkEdits(bytes) {
  const { record_bytes } = RECORDS["chunk_edits.edits"];
  if (bytes.byteLength % record_bytes !== 0) throw new RangeError("edits end within a record");
  const view = viewOf(bytes);
  const edits = new Array(bytes.byteLength / record_bytes);
  for (let index = 0, at = 0; index < edits.length; index += 1, at += record_bytes) {
    edits[index] = { tile: view.getUint16(at, true), kind: view.getUint8(at + 2) };
  }
  return edits;
}

/** Tiles of the world to build on, in order, as the records of a `tile_edit`. */
export function writeTileEdits(edits) {
  const { record_bytes } = RECORDS["tile_edit.edits"];
  const bytes = new Uint8Array(edits.length * record_bytes);
  const view = viewOf(bytes);
  edits.forEach(({ x, y, kind }, index) => {
    const at = index * record_bytes;
    view.setInt32(at, x, true);
    view.setInt32(at + 4, y, true);
    view.setUint8(at + 8, kind);
  });
  return bytes;
}

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
  const objects = new Array(view.getUint16(start, true));
  const first = start + 2;
  if (view.byteLength !== first + objects.length * record_bytes) throw new RangeError("not the length of a chunk");
  for (let index = 0, at = first; index < objects.length; index += 1, at += record_bytes) {
    const tile = view.getUint16(at, true);
    objects[index] = {
      tile,
      kind: view.getUint8(at + 2),
      x: (tile % CHUNK.tiles) + view.getUint8(at + 3) / 256,
      y: Math.floor(tile / CHUNK.tiles) + view.getUint8(at + 4) / 256,
      size: view.getUint8(at + 5) / 128,
    };
  }
  return objects;
}
