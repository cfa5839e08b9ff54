// Names over heads, and the count over a crowd. Each name is written once onto an atlas and drawn in screen pixels, so it is sharp
// at every zoom. Names never overlap: the nearest are placed first, one that finds no room is left out until it does. Nor
// do they lie under the panels, which would cut them.

import { Atlas } from "./atlas.js";
import { Batch, packColour } from "./batch.js";

const FONT_PX = 12.5;
export const LABEL_PX = 18;
const SIDE_PX = 5;
const FONT = '600 {}px system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif';
const APPEAR_PER_S = 6;
const GIVE_WAY_PER_S = 22; // a name that another covers is gone at once

export class Labels {
  constructor(resolution) {
    this.resolution = resolution;
    this.atlas = new Atlas(2048, 1024, 1);
    this.source = this.atlas.source;
    this.source.autoGenerateMipmaps = false;
    this.batch = new Batch(this.source);
    this.written = new Map(); // text -> frame
    this.shown = new Map(); // id -> { alpha }
    this.panels = []; // rectangles on the screen that are not ours, as in `taken`
    this.taken = []; // rectangles of this frame: left, top, right, bottom, flat
    this.dirty = false;
  }

  /** The picture of a text; writes it when it is new. */
  frameOf(text, strong) {
    const key = strong ? `*${text}` : text;
    const known = this.written.get(key);
    if (known) return known;
    const scale = this.resolution;
    const context = this.atlas.context;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.font = FONT.replace("{}", FONT_PX * scale);
    const width = Math.ceil(context.measureText(text).width + 2 * SIDE_PX * scale);
    let frame = this.atlas.place(width, Math.ceil(LABEL_PX * scale));
    if (!frame) {
      this.atlas.clear();
      this.written.clear();
      frame = this.atlas.place(width, Math.ceil(LABEL_PX * scale));
    }
    const x = frame.x + frame.width / 2;
    const y = frame.y + frame.height / 2;
    context.textAlign = "center";
    context.textBaseline = "middle";
    context.strokeStyle = "rgba(10,16,22,.82)";
    context.lineWidth = 3.4 * scale;
    context.strokeText(text, x, y);
    context.fillStyle = strong ? "#ffe9a8" : "#f6f8f5";
    context.fillText(text, x, y);
    this.written.set(key, frame);
    this.dirty = true;
    return frame;
  }

  begin() {
    this.batch.begin();
    this.taken.length = 0;
    this.taken.push(...this.panels);
  }

  /** Wants a text centred over (x, y), screen pixels; call in order of importance. */
  add(id, text, x, y, alpha, strong, seconds) {
    if (text === "") return;
    const frame = this.frameOf(text, strong);
    const width = frame.width / this.resolution;
    const height = frame.height / this.resolution;
    const left = Math.round((x - width / 2) * this.resolution) / this.resolution;
    const top = Math.round((y - height) * this.resolution) / this.resolution;
    const free = this.free(left + 2, top + 3, left + width - 2, top + height - 3);
    if (free) this.taken.push(left, top + 3, left + width, top + height - 3);
    let shown = this.shown.get(id);
    if (!shown) {
      shown = { alpha: 0 };
      this.shown.set(id, shown);
    }
    shown.alpha += ((free ? 1 : 0) - shown.alpha) * Math.min(1, seconds * (free ? APPEAR_PER_S : GIVE_WAY_PER_S));
    if (shown.alpha > 0.03) this.batch.add(frame, left, top, width, height, packColour(0xffffff, shown.alpha * alpha));
  }

  /** Whether somebody's name was to be read in the last frame: it keeps its place before one that was not. */
  isShown(id) {
    return (this.shown.get(id)?.alpha ?? 0) > 0.5;
  }

  free(left, top, right, bottom) {
    const taken = this.taken;
    for (let at = 0; at < taken.length; at += 4) {
      if (left < taken[at + 2] && right > taken[at] && top < taken[at + 3] && bottom > taken[at + 1]) return false;
    }
    return true;
  }

  end() {
    if (this.dirty) this.source.update();
    this.dirty = false;
    this.batch.end(0);
    if (this.shown.size > 2000) this.shown.clear();
  }
}
