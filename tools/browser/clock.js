// Which tick the server is at, as far as one can tell from here.
//
// Messages arrive late by the line's delay and by chance, never early, so the clock follows the earliest arrivals closely and the
// late ones hardly. How late the others are is the jitter. Times are milliseconds of performance.now().

const RESET_MS = 1500; // further off than this, and the clock is set anew (a restart, a laptop that slept)
const FOLLOW_EARLY = 0.35;
const FOLLOW_LATE = 0.01;
const FOLLOW_JITTER = 0.06;

export class Clock {
  constructor() {
    this.reset(0, 20, 0);
  }

  reset(tick, tickHz, now) {
    this.tickMs = 1000 / tickHz;
    this.offset = now - tick * this.tickMs;
    this.jitterMs = 10;
    this.newest = tick; // the newest tick anything was heard of
  }

  heard(tick, now) {
    const late = now - tick * this.tickMs - this.offset;
    if (Math.abs(late) > RESET_MS) {
      this.offset += late;
    } else {
      this.offset += late * (late < 0 ? FOLLOW_EARLY : FOLLOW_LATE);
      this.jitterMs += (Math.max(late, 0) - this.jitterMs) * FOLLOW_JITTER;
    }
    if (tick > this.newest) this.newest = tick;
  }

  /** The tick whose messages arrive now, with its fraction. */
  tickAt(now) {
    return (now - this.offset) / this.tickMs;
  }

  /** When messages of that tick arrive, or arrived. */
  timeOf(tick) {
    return tick * this.tickMs + this.offset;
  }
}
