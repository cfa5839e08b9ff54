// The ground around me: asks for chunks, keeps them in IndexedDB between visits, and knows how fast one walks where.
//
// A kept chunk is shown at once; then the server is told which version it is and answers that it is current (no data), or sends
// the newest. Chunks are kept under the ground's id, so that another world on the same server never shows this one's ground.
// Kept is what the server sent: { key, builtId, version, data, built } with `data`, the bare ground, still compressed, a kilobyte or so
// each.
//
// What is built on the ground comes as `chunk_edits`: live for cells in sight, and after a `chunk_get` for what changed elsewhere. So a
// chunk is asked for again when its cell comes into sight, and when an edit shows that another was missed.
//
// A version says something under one `built_id` only: a server that was killed has told of edits that never were stored. What is known or
// kept from another one counts as BARE; it is shown until the server says what is really there.

import { BUILD_WALK, readChunk, readChunkEdits } from "./protocol.js";

const IN_FLIGHT_MAX = 16;
const RADIUS = 3; // chunks around mine that are wanted; the minimap shows that far
const FORGET_RADIUS = 6; // further than this, a chunk is let go
const RETRY_MS = 700;
const KEPT_MAX = 20000; // chunks in IndexedDB, some 25 MB; over it all are let go at the next visit
const TILES = 32;
const BARE = 1; // the version of ground on which nobody ever built

export const chunkKey = (cx, cy) => `${cx},${cy}`;

/** The store of one world's ground; without IndexedDB (a private window) nothing is kept, and that is all. */
class Keep {
  constructor(groundId) {
    this.groundId = groundId;
    this.ready = new Promise((resolve) => {
      const opening = indexedDB.open("landworld", 1);
      opening.onupgradeneeded = () => opening.result.createObjectStore("chunks", { keyPath: "key" });
      opening.onsuccess = () => {
        tidy(opening.result);
        resolve(opening.result);
      };
      opening.onerror = () => resolve(null);
    }).catch(() => null);
  }

  async get(key) {
    const database = await this.ready;
    if (!database) return null;
    return new Promise((resolve) => {
      const asking = database.transaction("chunks").objectStore("chunks").get(`${this.groundId} ${key}`);
      asking.onsuccess = () => resolve(asking.result ?? null);
      asking.onerror = () => resolve(null);
    });
  }

  /** Resolves when it is safely kept; false without a store, or when the store is full. */
  async put({ key, builtId, version, data, built }) {
    const database = await this.ready;
    if (!database) return false;
    return new Promise((resolve) => {
      const writing = database.transaction("chunks", "readwrite");
      writing.objectStore("chunks").put({ key: `${this.groundId} ${key}`, builtId, version, data, built });
      writing.oncomplete = () => resolve(true);
      writing.onabort = () => resolve(false);
    });
  }
}

function tidy(database) {
  const store = database.transaction("chunks", "readwrite").objectStore("chunks");
  const counting = store.count();
  counting.onsuccess = () => counting.result > KEPT_MAX && store.clear();
}

async function inflate(data) {
  const stream = new Blob([data]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

export class Chunks {
  /**
   * `on.arrived(chunk)`, `on.built(chunk)` and `on.gone(chunk)` tell of the chunks in memory: { key, cx, cy, version, ground, walk, ...,
   * objects, built }; `built` is tile -> Build, and `walk` has it worked in.
   */
  constructor(connection, on) {
    this.connection = connection;
    this.on = on;
    this.known = new Map();
    this.asking = new Map(); // key -> { current }: on its way, and whether the answer will still tell all that I did not see
    this.taking = new Map(); // key -> promise: come, and just being unpacked
    this.sight = null; // keys of the cells in sight
    this.checked = new Set(); // keys whose version the server has confirmed on this connection
    this.later = new Map(); // key -> when to ask again
    this.radius = RADIUS;
    this.stored = new Set(); // keys that are safely kept since the page was opened
    this.counts = { whole: 0, current: 0, kept: 0, stored: 0 };
    this.last = null; // the chunk looked up last: walking asks for the same one again and again
  }

  /** On entering, or the same one again. */
  enter(groundId, builtId, radiusMax) {
    this.radius = Math.min(RADIUS, radiusMax);
    this.asking.clear();
    this.checked.clear();
    this.later.clear();
    this.sight = null;
    if (this.builtId !== builtId) for (const chunk of this.known.values()) chunk.version = BARE;
    this.builtId = builtId;
    if (this.keep?.groundId === groundId) return;
    for (const chunk of this.known.values()) this.on.gone(chunk);
    this.known.clear();
    this.last = null;
    this.keep = new Keep(groundId);
  }

  get(cx, cy) {
    return this.known.get(chunkKey(cx, cy));
  }

  /** Percent of full speed at a place, 0 where blocked, -1 where the ground is not known. */
  walkAt = (x, y) => this.layerAt("walk", x, y);

  /** The kind of ground (kinds.js) at a place, -1 where it is not known. */
  groundAt = (x, y) => this.layerAt("ground", x, y);

  /** What is built at a place (Build), 0 for nothing. */
  builtAt = (x, y) => this.chunkAt(x, y)?.built.get(tileAt(x, y)) ?? 0;

  layerAt(layer, x, y) {
    return this.chunkAt(x, y)?.[layer][tileAt(x, y)] ?? -1;
  }

  chunkAt(x, y) {
    const cx = Math.floor(x) >> 5;
    const cy = Math.floor(y) >> 5;
    if (this.last?.cx !== cx || this.last.cy !== cy) this.last = this.get(cx, cy) ?? null;
    return this.last;
  }

  /** My player is in cell (cx, cy) and sees so many rings around: what was built there unseen is asked for. */
  sees(cx, cy, radius) {
    const sight = new Set();
    for (let dy = -radius; dy <= radius; dy += 1) for (let dx = -radius; dx <= radius; dx += 1) sight.add(chunkKey(cx + dx, cy + dy));
    for (const key of this.sight ? sight : []) if (!this.sight.has(key)) this.doubt(key);
    this.sight = sight;
  }

  /** Something may have been built that I was not told of. */
  doubt(key) {
    this.checked.delete(key);
    const asked = this.asking.get(key);
    if (asked) asked.current = false;
  }

  /** Asks for what is missing around (x, y), the nearest first, and lets go of what is far. Cheap; called now and then. */
  around(x, y, now) {
    const cx = Math.floor(x / TILES);
    const cy = Math.floor(y / TILES);
    for (const [key, chunk] of this.known) {
      if (Math.max(Math.abs(chunk.cx - cx), Math.abs(chunk.cy - cy)) > FORGET_RADIUS) this.forget(key, chunk);
    }
    for (let ring = 0; ring <= this.radius; ring += 1) {
      for (let dy = -ring; dy <= ring; dy += 1) {
        for (let dx = -ring; dx <= ring; dx += Math.abs(dy) === ring ? 1 : Math.max(1, 2 * ring)) {
          if (this.asking.size >= IN_FLIGHT_MAX) return;
          this.want(cx + dx, cy + dy, now);
        }
      }
    }
  }

  forget(key, chunk) {
    this.known.delete(key);
    this.checked.delete(key);
    if (this.last === chunk) this.last = null;
    this.on.gone(chunk);
  }

  want(cx, cy, now) {
    const key = chunkKey(cx, cy);
    if (this.checked.has(key) || this.asking.has(key) || (this.later.get(key) ?? 0) > now) return;
    const asked = { current: true };
    this.asking.set(key, asked);
    this.fetch(key, cx, cy).then(
      () => {
        if (asked.current) this.checked.add(key);
        this.asking.delete(key);
      },
      (refusal) => {
        this.later.set(key, performance.now() + (refusal.retryAfterMs ?? RETRY_MS));
        this.asking.delete(key);
      },
    );
  }

  async fetch(key, cx, cy) {
    if (!this.known.has(key)) {
      const kept = await this.keep.get(key);
      if (kept && !this.known.has(key)) {
        this.counts.kept += 1;
        await this.take({ ...kept, key, cx, cy });
      }
    }
    const version = this.known.get(key)?.version;
    const { delivery } = await this.connection.request("chunk_get", version === undefined ? { cx, cy } : { cx, cy, version });
    if (delivery !== 0) return;
    this.counts.current += 1;
    const chunk = this.known.get(key);
    if (chunk?.version === BARE && chunk.built.size) {
      this.clear(chunk);
      this.changed(chunk);
    }
  }

  /** The message `chunk`: bare ground. */
  arrived({ cx, cy, version, data }) {
    const copy = data.slice(); // `data` looks into the whole WebSocket message
    this.counts.whole += 1;
    const chunk = { key: chunkKey(cx, cy), cx, cy, builtId: this.builtId, version, data: copy, built: new Map() };
    this.store(chunk);
    return this.take(chunk);
  }

  async store(chunk) {
    if (!(await this.keep.put({ ...chunk, builtId: this.builtId }))) return;
    this.stored.add(chunk.key);
    this.counts.stored = this.stored.size;
  }

  /** Unpacks a chunk and shows it; what comes for it meanwhile waits. */
  take(chunk) {
    const taking = this.unpack(chunk).finally(() => this.taking.get(chunk.key) === taking && this.taking.delete(chunk.key));
    this.taking.set(chunk.key, taking);
    return taking;
  }

  async unpack({ key, cx, cy, builtId, version, data, built }) {
    const layers = readChunk(await inflate(data));
    const chunk = { key, cx, cy, version: builtId === this.builtId ? version : BARE, data, built, ...layers, bareWalk: layers.walk.slice() };
    for (const [tile, kind] of built) chunk.walk[tile] = BUILD_WALK[kind];
    this.known.set(key, chunk);
    this.last = null;
    this.on.arrived(chunk);
  }

  /** The message `chunk_edits`. */
  edited({ cx, cy, from_version, version, edits }) {
    const key = chunkKey(cx, cy);
    const records = readChunkEdits(edits);
    const toldUnder = this.builtId;
    const build = () => toldUnder === this.builtId && this.build(key, from_version, version, records);
    const taking = this.taking.get(key);
    if (taking) taking.then(build);
    else build();
  }

  build(key, from, version, edits) {
    const chunk = this.known.get(key);
    if (!chunk || version <= chunk.version) return;
    if (from > chunk.version) {
      this.doubt(key);
      return;
    }
    if (from === BARE) this.clear(chunk);
    for (const { tile, kind } of edits) {
      if (kind === 0) chunk.built.delete(tile);
      else chunk.built.set(tile, kind);
      chunk.walk[tile] = BUILD_WALK[kind] ?? chunk.bareWalk[tile];
    }
    chunk.version = version;
    this.changed(chunk);
  }

  /** Nothing is built there, as far as this start of the server has told. */
  clear(chunk) {
    for (const tile of chunk.built.keys()) chunk.walk[tile] = chunk.bareWalk[tile];
    chunk.built.clear();
  }

  changed(chunk) {
    this.store(chunk);
    this.on.built(chunk);
  }
}

const tileAt = (x, y) => (Math.floor(y) & 31) * TILES + (Math.floor(x) & 31);
