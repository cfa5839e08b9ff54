// Choosing plots, for a claim or for a way, and a line to split a parcel along, by pointer or by keys. Both are tools of the pointer (see Input.tool) and
// write what is chosen into the overlay's marks.

const PLOTS_MAX = 16; // a side of what can be drawn; a claim is smaller still

const clamp = (value, low, high) => Math.min(high, Math.max(low, value));

/** Plots: drag from one to another. */
export class PlotsTool {
  /** `within` is the rectangle they must lie in, in tiles; null: anywhere. `changed()` when other plots are chosen. */
  constructor(marks, side, within, changed) {
    this.marks = marks;
    this.side = side;
    this.within = within;
    this.changed = changed;
    this.from = null;
    this.to = null;
  }

  plotOf({ x, y }) {
    return { x: Math.floor(x / this.side), y: Math.floor(y / this.side) };
  }

  /** The plot at a place, or the nearest that may be chosen, by itself. */
  start(place) {
    this.from = this.plotOf(place);
    this.from = this.to = this.nearest(this.from);
    this.mark();
  }

  /** Of the plots that may be chosen, all that lie within, or so many around where one began, the nearest. */
  nearest({ x, y }) {
    const { within, side, from } = this;
    if (!within) return { x: clamp(x, from.x - PLOTS_MAX + 1, from.x + PLOTS_MAX - 1), y: clamp(y, from.y - PLOTS_MAX + 1, from.y + PLOTS_MAX - 1) };
    return {
      x: clamp(x, within.x / side, (within.x + within.width) / side - 1),
      y: clamp(y, within.y / side, (within.y + within.height) / side - 1),
    };
  }

  hover() {}

  down(place) {
    this.start(place);
  }

  move(place) {
    this.reach(this.plotOf(place));
  }

  up() {}

  cancel() {}

  /** Shift and the arrows: a plot more or less that way. */
  grow(dx, dy) {
    this.reach({ x: this.to.x + dx, y: this.to.y + dy });
  }

  reach(place) {
    const to = this.nearest(place);
    if (to.x === this.to.x && to.y === this.to.y) return;
    this.to = to;
    this.mark();
  }

  /** x, y, width and height in tiles. */
  get rectangle() {
    const { from, to, side } = this;
    return {
      x: Math.min(from.x, to.x) * side,
      y: Math.min(from.y, to.y) * side,
      width: (Math.abs(from.x - to.x) + 1) * side,
      height: (Math.abs(from.y - to.y) + 1) * side,
    };
  }

  mark() {
    this.marks.claim = { ...this.rectangle, good: null };
    this.changed();
  }
}

/** The lines between plots along which a parcel can be split: { cut, at }, cut 0 along x = at and 1 along y = at. */
export function linesOf({ x, y, width, height }, side) {
  const lines = [];
  for (let at = x + side; at < x + width; at += side) lines.push({ cut: 0, at });
  for (let at = y + side; at < y + height; at += side) lines.push({ cut: 1, at });
  return lines;
}

/** A line across a parcel: drawn, or the nearest to a tap. */
export class CutTool {
  constructor(marks, parcel, side, changed) {
    this.marks = marks;
    this.parcel = parcel;
    this.lines = linesOf(parcel, side);
    this.changed = changed;
    this.start = null;
    this.choose(this.lines[0]);
  }

  choose(line) {
    this.line = line;
    const { x, y, width, height } = this.parcel;
    this.marks.cut = line.cut === 0 ? { x: line.at, y, width: 0, height } : { x, y: line.at, width, height: 0 };
    this.changed();
  }

  hover() {}

  down(place) {
    this.start = place;
    this.draw(place);
  }

  move(place) {
    this.draw(place);
  }

  up() {}

  cancel() {}

  /** A stroke goes one way more than the other; lines of that way, if there are any, nearest to its middle. */
  draw(place) {
    const dx = place.x - this.start.x;
    const dy = place.y - this.start.y;
    const middle = { x: this.start.x + dx / 2, y: this.start.y + dy / 2 };
    const drawn = Math.hypot(dx, dy) > 1;
    const way = this.lines.filter(({ cut }) => !drawn || cut === (Math.abs(dx) > Math.abs(dy) ? 1 : 0));
    const far = ({ cut, at }) => Math.abs((cut === 0 ? middle.x : middle.y) - at);
    this.choose((way.length > 0 ? way : this.lines).reduce((best, line) => (far(line) < far(best) ? line : best)));
  }
}
