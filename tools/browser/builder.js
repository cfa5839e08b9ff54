// Building: a kind is chosen, and tiles are drawn with it, one after the other or along a drag. They go to the server in batches, one on
// its way at a time; until the server's own edits show them, they stand there as ghosts. What is refused goes again.

import { h } from "./dom.js";
import { Build, LIMITS, writeTileEdits } from "./protocol.js";

const GHOSTS_MAX = 512; // drawn and not answered; faster than the line nobody builds
const STROKES_MAX = 64; // that can be taken back whole
const ICON_PX = 80; // twice its size on the page
const WORDS = { PATH: "Path", PAVING: "Paving", FLOOR: "Floor", WALL: "Wall", FENCE: "Fence", HEDGE: "Hedge" };
const KINDS = Object.keys(Build).filter((name) => name !== "NOTHING"); // in the order of their numbers

const byId = (id) => document.getElementById(id);
const tileKey = (x, y) => `${x},${y}`;

export class Builder {
  /** `on.whyNot(x, y)` -> words or null, `on.builtAt(x, y)`, `on.act(name, fields)` -> answer or null, `on.toast(text)`, `on.done()`; `marks` of the overlay. */
  constructor(marks, iconOf, on) {
    this.marks = marks;
    this.on = on;
    this.active = false;
    this.kind = Build.PATH;
    this.queue = []; // drawn and not sent
    this.ghosts = new Map(); // tileKey -> { x, y, kind }: drawn and not confirmed
    this.sending = false;
    this.last = null; // where the drag was
    this.drawn = false; // whether it has drawn anything
    this.strokes = []; // of each that has anything on the server: how many edits it took
    this.stroke = 0; // counts strokes: a batch holds tiles of one
    this.palette = byId("palette");
    this.choices = KINDS.map((name, index) => this.choice(Build[name], WORDS[name], `${index + 1}`, iconOf(Build[name], ICON_PX)));
    this.choices.push(this.choice(Build.NOTHING, "Remove", "0", null));
    const undo = h("button", { type: "button", id: "undo", title: "Take back (Ctrl+Z)", onclick: () => this.undo() }, h("i", { "aria-hidden": "true" }, "↶"), "Undo");
    const done = h("button", { type: "button", id: "build-done", title: "Done (B)", onclick: () => on.done() }, h("i", { "aria-hidden": "true" }, "✓"), "Done");
    this.palette.append(...this.choices.map(({ element }) => element), undo, done);
    this.choose(this.kind);
  }

  choice(kind, words, key, icon) {
    const element = h("button", { type: "button", "data-kind": kind, title: `${words} (${key})`, onclick: () => this.choose(kind) }, icon ?? h("i", { "aria-hidden": "true" }, "×"), words);
    return { kind, key, element };
  }

  choose(kind) {
    this.kind = kind;
    for (const choice of this.choices) choice.element.setAttribute("aria-pressed", String(choice.kind === kind));
  }

  open() {
    this.active = true;
    this.palette.hidden = false;
  }

  close() {
    this.active = false;
    this.palette.hidden = true;
    this.marks.tile = null;
  }

  /** A key that belongs to building; whether it did. `ahead` is the tile before my feet. */
  key({ key, code }, ahead) {
    const choice = this.choices.find((one) => one.key === key);
    if (choice) this.choose(choice.kind);
    else if (code === "Space") this.press(ahead);
    else return false;
    return true;
  }

  // --- the pointer (see Input.tool) ------------------------------------------------------------------------

  hover(place) {
    const x = Math.floor(place.x);
    const y = Math.floor(place.y);
    this.marks.tile = { x, y, good: this.on.whyNot(x, y) === null };
  }

  down(place) {
    this.hover(place);
    this.last = { x: Math.floor(place.x), y: Math.floor(place.y) };
    this.stroke += 1;
    this.drawn = false; // with the first movement, or at the end: two fingers that come down to zoom build nothing
    const why = this.on.whyNot(this.last.x, this.last.y);
    if (why !== null) this.on.toast(why);
  }

  move(place) {
    this.hover(place);
    const to = { x: Math.floor(place.x), y: Math.floor(place.y) };
    const steps = Math.max(Math.abs(to.x - this.last.x), Math.abs(to.y - this.last.y));
    const from = this.last;
    if (steps === 0) return;
    for (let step = this.drawn ? 1 : 0; step <= steps; step += 1) {
      this.draw({ x: Math.round(from.x + ((to.x - from.x) * step) / steps), y: Math.round(from.y + ((to.y - from.y) * step) / steps) });
    }
    this.drawn = true;
    this.last = to;
  }

  up() {
    if (!this.drawn) this.draw(this.last);
    this.last = null;
  }

  cancel() {
    this.last = null;
  }

  /** A tile by itself is a stroke, too. */
  press(tile) {
    this.stroke += 1;
    this.draw(tile);
  }

  // --- tiles -------------------------------------------------------------------------------------------------

  draw({ x, y }) {
    const key = tileKey(x, y);
    const now = this.ghosts.get(key)?.kind ?? this.on.builtAt(x, y);
    if (now === this.kind || this.ghosts.size >= GHOSTS_MAX || this.on.whyNot(x, y) !== null) return;
    this.ghosts.set(key, { x, y, kind: this.kind, stroke: this.stroke });
    this.queue.push(this.ghosts.get(key));
    this.mark();
    queueMicrotask(() => this.flush()); // a stroke's tiles of one event go together
  }

  async flush() {
    if (this.sending || this.queue.length === 0) return;
    this.sending = true;
    const { stroke } = this.queue[0];
    const others = this.queue.findIndex((tile) => tile.stroke !== stroke);
    const batch = this.queue.splice(0, Math.min(others < 0 ? this.queue.length : others, LIMITS.edits_max));
    if (await this.on.act("tile_edit", { edits: writeTileEdits(batch) })) this.note(stroke);
    this.confirm(batch); // done, or refused: either way no longer open
    this.sending = false;
    this.flush();
  }

  /** One more edit of a stroke stands. */
  note(stroke) {
    const last = this.strokes.at(-1);
    if (last?.stroke === stroke) last.edits += 1;
    else this.strokes.push({ stroke, edits: 1 });
    this.strokes.splice(0, this.strokes.length - STROKES_MAX);
  }

  /** Takes back what was drawn last: what was not sent yet, or all edits of the last stroke; without one, the last edit there is. */
  async undo() {
    if (this.queue.length > 0) {
      this.confirm(this.queue.splice(0));
      return;
    }
    const { edits } = this.strokes.pop() ?? { edits: 1 };
    for (let turn = 0; turn < edits; turn += 1) if (!(await this.on.act("tile_undo", {}))) return;
  }

  /** The server's edits have come: ghosts of what stands there now are done with. */
  built() {
    this.confirm([...this.ghosts.values()].filter(({ x, y, kind }) => this.on.builtAt(x, y) === kind && !this.queue.some((one) => one.x === x && one.y === y)));
  }

  confirm(tiles) {
    for (const tile of tiles) if (this.ghosts.get(tileKey(tile.x, tile.y)) === tile) this.ghosts.delete(tileKey(tile.x, tile.y));
    this.mark();
  }

  mark() {
    this.marks.ghosts = [...this.ghosts.values()];
  }
}
