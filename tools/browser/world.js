// Who is in sight, and where they are at a moment between two snapshots.
//
// Others are shown a little in the past, where two snapshots are known and one can be exact between them. Moments are ticks of the
// server, never times of arrival. A cell without a block is unchanged: a gap between two places is walked in its last interval
// only. When a snapshot is late, a walker goes on for one interval and then waits.
//
// Of each cell in sight the people of its last named block are kept, in order: a block that is not named moves those. One that does
// not fit them is a mistake of the server; it is counted and passed over.

import { readBlocks } from "./protocol.js";

const SAMPLES = 8; // places remembered of each entity
const DELAY_MS = 100;
const JITTER_SHARE = 1.5; // how much of the line's jitter is added to the delay
const DELAY_MAX_MS = 700;
const GONE_MS = 350; // in no cell for so long: out of sight (one may be between two cells that are sent at different rates)
const FIGURE_TILES = 1.5; // how far a figure reaches up from its place, and to each side, and what of its shadow counts
const FIGURE_HALF_TILES = 0.38;
const FOOT_TILES = 0.15;
const TURN_TILES_PER_S = 0.25; // slower than this is standing

export const cellKey = (cx, cy) => `${cx},${cy}`;

class Entity {
  constructor(id) {
    this.id = id;
    this.name = "";
    this.look = 0;
    this.ticks = new Float64Array(SAMPLES);
    this.xs = new Float64Array(SAMPLES);
    this.ys = new Float64Array(SAMPLES);
    this.count = 0; // samples ever; the newest is at (count - 1) % SAMPLES
    this.interval = 1; // ticks between the snapshots of its cell
    this.delay = 2; // ticks it is shown in the past
    this.x = 0;
    this.y = 0;
    this.heading = Math.PI / 2; // radians, 0 is east, grows clockwise on the screen: south
    this.speed = 0; // tiles a second, as shown
    this.walked = 0; // tiles; the phase of the walk
    this.seenAt = 0;
    this.alpha = 0; // fades in and out
    this.cell = null; // the cell that named it last
  }

  add(tick, x, y, interval) {
    this.interval = interval;
    if (this.count > 0) {
      const last = (this.count - 1) % SAMPLES;
      if (tick <= this.ticks[last]) return;
      if (tick - this.ticks[last] > interval * 1.5) this.put(tick - interval, this.xs[last], this.ys[last]);
    } else {
      this.x = x;
      this.y = y;
    }
    this.put(tick, x, y);
  }

  put(tick, x, y) {
    const at = this.count % SAMPLES;
    this.ticks[at] = tick;
    this.xs[at] = x;
    this.ys[at] = y;
    this.count += 1;
  }

  /** Sets x and y to the place at a tick; `heard` is the newest tick anything was heard of. */
  placeAt(tick, heard) {
    const newest = this.count - 1;
    const oldest = Math.max(0, this.count - SAMPLES);
    const last = newest % SAMPLES;
    if (tick >= this.ticks[last] || newest === oldest) {
      this.x = this.xs[last];
      this.y = this.ys[last];
      const late = heard < this.ticks[last] + this.interval; // else the silence says: nobody moved
      if (!late || newest === oldest) return;
      const before = (newest - 1) % SAMPLES;
      const span = this.ticks[last] - this.ticks[before];
      const share = Math.min(tick - this.ticks[last], this.interval) / span;
      this.x += (this.xs[last] - this.xs[before]) * share;
      this.y += (this.ys[last] - this.ys[before]) * share;
      return;
    }
    let index = newest - 1;
    while (index > oldest && this.ticks[index % SAMPLES] > tick) index -= 1;
    const from = index % SAMPLES;
    const to = (index + 1) % SAMPLES;
    const share = Math.max(0, (tick - this.ticks[from]) / (this.ticks[to] - this.ticks[from]));
    this.x = this.xs[from] + (this.xs[to] - this.xs[from]) * share;
    this.y = this.ys[from] + (this.ys[to] - this.ys[from]) * share;
  }

  /** Turns and swings the legs by the way shown since the last frame. */
  walk(dx, dy, seconds) {
    const distance = Math.hypot(dx, dy);
    const speed = distance / seconds;
    this.speed += (Math.min(speed, 12) - this.speed) * Math.min(1, seconds * 14);
    if (speed > TURN_TILES_PER_S && distance < 3) {
      this.heading = Math.atan2(dy, dx);
      this.walked += distance;
    }
  }
}

export class World {
  constructor(clock) {
    this.clock = clock;
    this.outOfStep = 0; // blocks that did not fit what was known of their cell
    this.clear();
  }

  /** Forgets everyone (on entering again). */
  clear() {
    this.me = 0; // my player_id
    this.entities = new Map();
    this.cells = new Map(); // key -> { key, cx, cy, people, count }: entities in order, or how many a crowd counts
    this.view = { step: 0, radius_cells: 1, near_hz: 20, far_hz: 20, crowds: false };
    this.centre = null; // the cell I am in
  }

  entity(id) {
    let entity = this.entities.get(id);
    if (!entity) {
      entity = new Entity(id);
      this.entities.set(id, entity);
    }
    return entity;
  }

  appeared({ player_id, name, look }) {
    const entity = this.entity(player_id);
    entity.name = name;
    entity.look = look;
  }

  /** Takes in a snapshot, which is taken from the cell I am in; returns my own place if it is told. */
  snapshot({ tick, cx, cy, cells }, now) {
    this.clock.heard(tick, now);
    this.enter(cx, cy);
    let mine = null;
    for (const block of readBlocks(cells, cx, cy)) {
      const cell = this.cellOf(block);
      if (cell === null) continue;
      const interval = this.intervalOf(cell.cx, cell.cy);
      for (let index = 0; index < cell.people.length; index += 1) {
        const entity = cell.people[index];
        const x = block.places[2 * index];
        const y = block.places[2 * index + 1];
        entity.add(tick, x, y, interval);
        entity.seenAt = now;
        if (entity.id === this.me) mine = { tick, x, y };
      }
    }
    return mine;
  }

  /** The cell of a block, with the people it tells of in order; null for a block that does not fit what is known. */
  cellOf({ cx, cy, player_ids, places }) {
    const key = cellKey(cx, cy);
    if (player_ids === null) {
      const known = this.cells.get(key);
      if (known?.people?.length === places.length / 2) return known;
      this.outOfStep += 1;
      if (this.outOfStep === 1) console.error(`a block of ${places.length / 2} does not fit cell ${key}`);
      return null;
    }
    const cell = { key, cx, cy, people: player_ids.map((id) => this.entity(id)), count: 0 };
    for (const entity of cell.people) entity.cell = cell;
    this.cells.set(key, cell);
    return cell;
  }

  crowd({ tick, cx, cy, count }, now) {
    this.clock.heard(tick, now);
    const key = cellKey(cx, cy);
    this.cells.set(key, { key, cx, cy, people: null, count });
  }

  /** I am in this cell now: forget cells that are no longer seen from it. */
  enter(cx, cy) {
    this.centre = { cx, cy };
    for (const [key, cell] of this.cells) {
      if (Math.max(Math.abs(cell.cx - cx), Math.abs(cell.cy - cy)) > this.view.radius_cells) this.cells.delete(key);
    }
  }

  /** Whose figure stands at a place, the nearest to the eye; never me. Figures stand on their place and reach up from it. */
  personAt(x, y) {
    let found = null;
    for (const one of this.entities.values()) {
      const hit = one.id !== this.me && one.count > 0 && one.name !== "" && Math.abs(one.x - x) < FIGURE_HALF_TILES && one.y - y < FIGURE_TILES && y - one.y < FOOT_TILES;
      if (hit && (!found || one.y > found.y)) found = one;
    }
    return found;
  }

  viewed(view) {
    this.view = view;
    if (this.centre) this.enter(this.centre.cx, this.centre.cy);
  }

  /** How many ticks lie between two snapshots of a cell. */
  intervalOf(cx, cy) {
    const near = !this.centre || (this.centre.cx === cx && this.centre.cy === cy);
    return Math.max(1, Math.round(1000 / this.clock.tickMs / (near ? this.view.near_hz : this.view.far_hz)));
  }

  /** Moves everyone but me to where they are shown now; takes out of sight who is in no cell. */
  advance(now, seconds) {
    const tickMs = this.clock.tickMs;
    const tick = this.clock.tickAt(now);
    const jitterMs = this.clock.jitterMs * JITTER_SHARE;
    for (const entity of this.entities.values()) {
      if (entity.cell !== null && this.cells.get(entity.cell.key) === entity.cell) entity.seenAt = now;
      if (entity.id === this.me || entity.count === 0) continue;
      const here = now - entity.seenAt < GONE_MS / 2;
      entity.alpha += ((here ? 1 : 0) - entity.alpha) * Math.min(1, seconds * 9);
      if (now - entity.seenAt > GONE_MS) {
        this.entities.delete(entity.id);
        continue;
      }
      const delayMs = Math.min(DELAY_MAX_MS, Math.max(DELAY_MS, (entity.interval + 0.5) * tickMs + jitterMs));
      entity.delay += (delayMs / tickMs - entity.delay) * Math.min(1, seconds * 2);
      const { x, y } = entity;
      entity.placeAt(tick - entity.delay, this.clock.newest);
      entity.walk(entity.x - x, entity.y - y, seconds);
    }
  }
}
