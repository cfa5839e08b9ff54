// Choosing plots for a claim, and a line to split a parcel along, by pointer or by keys. Both are tools of the pointer (see Input.tool) and
// write what is chosen into the overlay's marks.

const PLOTS_MAX = 16; // a side of what can be drawn; a claim is smaller still

/** Plots for a claim: drag from one to another. */
export class PlotsTool {
  /** `changed()` when other plots are chosen. */
  constructor(marks, side, changed) {
    this.marks = marks;
    this.side = side;
    this.changed = changed;
    this.from = null;
    this.to = null;
  }

  plotOf({ x, y }) {
    return { x: Math.floor(x / this.side), y: Math.floor(y / this.side) };
  }

  /** The plot at a place, by itself. */
  start(place) {
    this.from = this.to = this.plotOf(place);
    this.mark();
  }

  hover() {}

  down(place) {
    this.start(place);
  }

  move(place) {
    const to = this.plotOf(place);
    const near = (value, origin) => Math.min(origin + PLOTS_MAX - 1, Math.max(origin - PLOTS_MAX + 1, value));
    this.reach({ x: near(to.x, this.from.x), y: near(to.y, this.from.y) });
  }

  up() {}

  cancel() {}

  /** Shift and the arrows: a plot more or less that way. */
  grow(dx, dy) {
    this.reach({ x: this.to.x + dx, y: this.to.y + dy });
  }

  reach(to) {
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
