// Where I am, before the server says so.
//
// My own steps are taken here at once, by the server's rule (movement.js). The server is always right: what it says of a tick is
// put in place of what was thought then, and everything done since is done again from there. The small difference this makes is
// not shown as a jump but fades within a blink.
//
// `moved` answers the newest input of a tick, and with it all before. It fixes how long inputs take to be obeyed (`lagMs`); with that,
// my own place in a snapshot is one at a known moment as well. Times are milliseconds of performance.now().

import { stepMovement } from "./movement.js";

const HISTORY_MS = 3000; // inputs older than this are done with
const FADE_MS = 110; // half-life of a shown correction
const SNAP_TILES = 4; // a larger correction is a journey, not an error
const TOLERANCE_TILES = 0.04; // closer than this, a snapshot has nothing to say

export class Prediction {
  /** `walkAt` and `gateAt` as in movement.js. */
  constructor(clock, walkAt, gateAt) {
    this.clock = clock;
    this.walkAt = walkAt;
    this.gateAt = gateAt;
    this.walkSpeed = 4;
    this.seq = 0; // of the newest input
    this.answered = 0; // of the newest input the server has obeyed
    this.place(0, 0, 0);
  }

  /** I am here, without discussion (on entering). */
  place(x, y, now) {
    this.x = x;
    this.y = y;
    this.time = now; // up to when x and y have been walked
    this.inputs = [{ seq: this.seq, dx: 0, dy: 0, time: now }]; // oldest first; each holds until the next
    this.answeredTick = 0; // of the newest answer
    this.lagMs = null; // from sending an input to the arrival of the tick that obeyed it
    this.trail = []; // where I thought I was, for comparing
    this.errorX = 0;
    this.errorY = 0;
  }

  get intent() {
    return this.inputs[this.inputs.length - 1];
  }

  /** Whether I stand, and the server has said where. */
  get settled() {
    return this.answered === this.seq && this.intent.dx === 0 && this.intent.dy === 0;
  }

  /** A new direction from now on. Returns the number to send with it. */
  input(dx, dy, now) {
    this.advance(now);
    this.seq += 1;
    this.inputs.push({ seq: this.seq, dx, dy, time: now });
    return this.seq;
  }

  /** Walks on to `now`. */
  advance(now) {
    const elapsed = now - this.time;
    if (elapsed <= 0) return;
    this.walk(this.time, now);
    this.time = now;
    const fade = 0.5 ** (elapsed / FADE_MS);
    this.errorX *= fade;
    this.errorY *= fade;
    this.trail.push({ time: now, x: this.x, y: this.y });
    while (this.trail[0].time < now - HISTORY_MS) this.trail.shift();
    while (this.inputs.length > 1 && this.inputs[1].time < now - HISTORY_MS) this.inputs.shift();
  }

  /** The steps between two moments, none longer than a tick, from input to input. */
  walk(from, to) {
    for (let index = 0; index < this.inputs.length; index += 1) {
      const { dx, dy, time } = this.inputs[index];
      const next = this.inputs[index + 1]?.time ?? to;
      let at = Math.max(from, index === 0 ? from : time);
      const until = Math.min(to, next);
      if (dx === 0 && dy === 0) continue;
      while (at < until) {
        const step = Math.min(until - at, this.clock.tickMs);
        const stride = (this.walkSpeed * step) / 1000;
        const place = stepMovement(this.x, this.y, dx, dy, stride, this.walkAt, this.gateAt);
        this.x = place.x;
        this.y = place.y;
        at += step;
      }
    }
  }

  /** `moved`: after `tick`, the first that obeyed input `seq` (all before it are done with), I was at (x, y). */
  moved({ seq, tick, x, y }, now) {
    this.answered = seq;
    this.answeredTick = tick;
    const input = this.inputs.find((one) => one.seq === seq);
    if (!input) return;
    const obeyed = input.time + this.clock.tickMs; // by my own time one tick of walking has been done then
    const lag = this.clock.timeOf(tick) - obeyed;
    this.lagMs = this.lagMs === null ? lag : lag + (this.lagMs - lag) * 0.5;
    this.rewind(x, y, obeyed, now);
  }

  /** My own place in a snapshot of `tick`. */
  seen(tick, x, y, now) {
    const stands = this.intent.dx === 0 && this.intent.dy === 0;
    if (this.lagMs === null || this.settled) { // nothing to walk again: what is newer than the answer counts, whenever it was
      const far = Math.hypot(this.x - x, this.y - y) > TOLERANCE_TILES;
      if (stands && far && tick >= this.answeredTick) this.rewind(x, y, now, now);
      return;
    }
    const moment = this.clock.timeOf(tick) - this.lagMs;
    const thought = this.thoughtAt(moment);
    if (thought && Math.hypot(thought.x - x, thought.y - y) < TOLERANCE_TILES) return;
    if (moment <= now) this.rewind(x, y, moment, now);
  }

  /** Where I thought I was at a moment, between the frames before and after it; null outside of what is remembered. */
  thoughtAt(moment) {
    const trail = this.trail;
    let index = trail.length - 1;
    while (index >= 0 && trail[index].time > moment) index -= 1;
    if (index < 0) return null;
    const before = trail[index];
    const after = trail[index + 1] ?? before;
    const share = after.time > before.time ? (moment - before.time) / (after.time - before.time) : 0;
    return { x: before.x + (after.x - before.x) * share, y: before.y + (after.y - before.y) * share };
  }

  /** Takes (x, y) for the truth of `moment` and walks again from there to now. */
  rewind(x, y, moment, now) {
    this.advance(now);
    const beforeX = this.x;
    const beforeY = this.y;
    this.x = x;
    this.y = y;
    this.walk(moment, now);
    this.trail = this.trail.filter((one) => one.time <= moment);
    this.trail.push({ time: now, x: this.x, y: this.y });
    const errorX = this.errorX + beforeX - this.x;
    const errorY = this.errorY + beforeY - this.y;
    const far = Math.hypot(errorX, errorY) > SNAP_TILES;
    this.errorX = far ? 0 : errorX;
    this.errorY = far ? 0 : errorY;
  }

  /** Where I am shown. */
  get shownX() {
    return this.x + this.errorX;
  }

  get shownY() {
    return this.y + this.errorY;
  }
}
