// From wishes to steps: turns what the input wants (a direction, a place to go to) into the intents that are predicted and sent.
//
// A place is walked to along a path found on the ground that is known (A*, a few thousand tiles at most); when there is none, one
// goes straight and slides along what is in the way. Intents are sent when they change enough, and not more often than needed.

const ARRIVED_TILES = 0.18;
const TURN_MIN = 0.05; // radians; a smaller change of direction is not worth a message
const SEND_GAP_MS = 55; // between two changes of a moving target; stopping and starting are told at once
const STUCK_MS = 900; // no progress for so long: give up
const SEARCH_TILES_MAX = 6000;

export class Walker {
  constructor(prediction, walkAt, send) {
    this.prediction = prediction;
    this.walkAt = walkAt;
    this.send = send; // (seq, dx, dy)
    this.path = []; // places still to pass, nearest first
    this.sentAt = 0;
    this.progressAt = 0;
    this.nearest = Infinity;
  }

  get target() {
    return this.path[this.path.length - 1] ?? null;
  }

  walkTo(x, y, now) {
    this.path = findPath(this.prediction.x, this.prediction.y, x, y, this.walkAt) ?? [{ x, y }];
    this.nearest = Infinity;
    this.progressAt = now;
  }

  stop() {
    this.path = [];
  }

  /** Once a frame. `direction` from the input or null; `pointing` a place in the world that is followed, or null. */
  advance(direction, pointing, now) {
    if (direction) {
      this.path = [];
      this.intend(direction.dx, direction.dy, now);
      return;
    }
    if (pointing) this.path = [pointing];
    const next = this.nextPlace(now, pointing !== null);
    if (!next) {
      this.intend(0, 0, now);
      return;
    }
    const dx = next.x - this.prediction.x;
    const dy = next.y - this.prediction.y;
    const length = Math.hypot(dx, dy) || 1;
    this.intend(dx / length, dy / length, now);
  }

  nextPlace(now, following) {
    const { x, y } = this.prediction;
    while (this.path.length > 0) {
      const last = this.path.length === 1;
      const distance = Math.hypot(this.path[0].x - x, this.path[0].y - y);
      if (distance > (last ? ARRIVED_TILES : 0.45)) {
        if (distance < this.nearest - 0.05) {
          this.nearest = distance;
          this.progressAt = now;
        }
        if (following || now - this.progressAt < STUCK_MS) return this.path[0];
        this.path = [];
        return null;
      }
      this.path.shift();
      this.nearest = Infinity;
      this.progressAt = now;
    }
    return null;
  }

  intend(dx, dy, now) {
    const old = this.prediction.intent;
    if (old.dx === dx && old.dy === dy) return;
    const standing = dx === 0 && dy === 0;
    const stood = old.dx === 0 && old.dy === 0;
    if (!standing && !stood) {
      const turn = Math.abs(Math.atan2(old.dx * dy - old.dy * dx, old.dx * dx + old.dy * dy));
      const pace = Math.abs(Math.hypot(dx, dy) - Math.hypot(old.dx, old.dy));
      if ((turn < TURN_MIN && pace < 0.08) || now - this.sentAt < SEND_GAP_MS) return;
    }
    this.sentAt = now;
    this.send(this.prediction.input(dx, dy, now), dx, dy);
  }
}

const NEIGHBOURS = [
  [1, 0, 1], [-1, 0, 1], [0, 1, 1], [0, -1, 1],
  [1, 1, Math.SQRT2], [1, -1, Math.SQRT2], [-1, 1, Math.SQRT2], [-1, -1, Math.SQRT2],
];

/** The cheapest way over known ground as places to pass, straightened; null when none is found nearby. */
export function findPath(fromX, fromY, toX, toY, walkAt) {
  if (walkAt(toX, toY) <= 0) return null;
  if (clear(fromX, fromY, toX, toY, walkAt)) return [{ x: toX, y: toY }];
  const startX = Math.floor(fromX);
  const startY = Math.floor(fromY);
  const goalX = Math.floor(toX);
  const goalY = Math.floor(toY);
  const key = (x, y) => (x - startX + 512) * 1024 + (y - startY + 512);
  const cost = new Map([[key(startX, startY), 0]]);
  const from = new Map();
  const heap = [{ x: startX, y: startY, rank: 0 }];
  let looked = 0;
  while (heap.length > 0 && looked < SEARCH_TILES_MAX) {
    const at = pop(heap);
    looked += 1;
    if (at.x === goalX && at.y === goalY) return straighten(trace(from, key, at), fromX, fromY, toX, toY, walkAt);
    const here = key(at.x, at.y);
    for (const [dx, dy, length] of NEIGHBOURS) {
      const x = at.x + dx;
      const y = at.y + dy;
      if (Math.abs(x - startX) > 500 || Math.abs(y - startY) > 500) continue;
      const speed = walkAt(x + 0.5, y + 0.5);
      if (speed <= 0) continue;
      if (dx && dy && (walkAt(at.x + dx + 0.5, at.y + 0.5) <= 0 || walkAt(at.x + 0.5, at.y + dy + 0.5) <= 0)) continue;
      const there = key(x, y);
      const total = cost.get(here) + (length * 100) / speed;
      if (total >= (cost.get(there) ?? Infinity)) continue;
      cost.set(there, total);
      from.set(there, at);
      push(heap, { x, y, rank: total + Math.hypot(goalX - x, goalY - y) });
    }
  }
  return null;
}

function trace(from, key, goal) {
  const tiles = [];
  for (let at = goal; at; at = from.get(key(at.x, at.y))) tiles.push(at);
  return tiles.reverse();
}

/** Leaves out the corners that one can cut. */
function straighten(tiles, fromX, fromY, toX, toY, walkAt) {
  const places = tiles.map(({ x, y }) => ({ x: x + 0.5, y: y + 0.5 }));
  places[places.length - 1] = { x: toX, y: toY };
  const path = [];
  let at = { x: fromX, y: fromY };
  for (let index = 1; index < places.length; ) {
    let reach = index;
    while (reach + 1 < places.length && clear(at.x, at.y, places[reach + 1].x, places[reach + 1].y, walkAt)) reach += 1;
    at = places[reach];
    path.push(at);
    index = reach + 1;
  }
  return path;
}

/** Whether the straight way is open and nowhere slow. */
function clear(x0, y0, x1, y1, walkAt) {
  const steps = Math.ceil(Math.hypot(x1 - x0, y1 - y0) * 4);
  for (let step = 1; step <= steps; step += 1) {
    if (walkAt(x0 + ((x1 - x0) * step) / steps, y0 + ((y1 - y0) * step) / steps) < 45) return false;
  }
  return true;
}

function push(heap, item) {
  heap.push(item);
  let at = heap.length - 1;
  while (at > 0) {
    const parent = (at - 1) >> 1;
    if (heap[parent].rank <= heap[at].rank) break;
    [heap[parent], heap[at]] = [heap[at], heap[parent]];
    at = parent;
  }
}

function pop(heap) {
  const top = heap[0];
  const last = heap.pop();
  if (heap.length === 0) return top;
  heap[0] = last;
  let at = 0;
  for (;;) {
    const left = 2 * at + 1;
    let least = at;
    if (left < heap.length && heap[left].rank < heap[least].rank) least = left;
    if (left + 1 < heap.length && heap[left + 1].rank < heap[least].rank) least = left + 1;
    if (least === at) return top;
    [heap[least], heap[at]] = [heap[at], heap[least]];
    at = least;
  }
}
