// Building: a kind is chosen, and tiles are drawn with it, one after the other or along a drag. They go to the server in batches, one on
// its way at a time; until the server's own edits show them, they stand there as ghosts. What is refused goes again.

import { h } from "./dom.js";
import { Build, LIMITS, writeTileEdits } from "./protocol.js";

const GHOSTS_MAX = 512; // drawn and not answered; faster than the line nobody builds
const ICON_PX = 80; // twice its size on the page
const WORDS = { PATH: "Path", PAVING: "Paving", FLOOR: "Floor", WALL: "Wall", FENCE: "Fence", HEDGE: "Hedge" };
const KINDS = Object.keys(Build).filter((name) => name !== "NOTHING"); // in the order of their numbers

const byId = (id) => document.getElementById(id);
const tileKey = (x, y) => `${x},${y}`;

export class Builder {
  /** `on.mayBuild(x, y)`, `on.builtAt(x, y)`, `on.act(name, fields)` -> answer or null, `on.toast(text)`, `on.done()`; `marks` of the overlay. */
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
    else if (code === "Space") this.draw(ahead);
    else return false;
    return true;
  }

  // --- the pointer (see Input.tool) ------------------------------------------------------------------------

  hover(place) {
    const x = Math.floor(place.x);
    const y = Math.floor(place.y);
    this.marks.tile = { x, y, good: this.on.mayBuild(x, y) };
  }

  down(place) {
    this.hover(place);
    this.last = { x: Math.floor(place.x), y: Math.floor(place.y) };
    this.drawn = false; // with the first movement, or at the end: two fingers that come down to zoom build nothing
    if (!this.marks.tile.good) this.on.toast("You may build on your own land, and where its owner lets you.");
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

  // --- tiles -------------------------------------------------------------------------------------------------

  draw({ x, y }) {
    const key = tileKey(x, y);
    const now = this.ghosts.get(key)?.kind ?? this.on.builtAt(x, y);
    if (now === this.kind || this.ghosts.size >= GHOSTS_MAX || !this.on.mayBuild(x, y)) return;
    this.ghosts.set(key, { x, y, kind: this.kind });
    this.queue.push(this.ghosts.get(key));
    this.mark();
    queueMicrotask(() => this.flush()); // a stroke's tiles of one event go together
  }

  async flush() {
    if (this.sending || this.queue.length === 0) return;
    this.sending = true;
    const batch = this.queue.splice(0, LIMITS.edits_max);
    await this.on.act("tile_edit", { edits: writeTileEdits(batch) });
    this.confirm(batch); // done, or refused: either way no longer open
    this.sending = false;
    this.flush();
  }

  /** Takes back what was drawn last: what was not sent yet, or the last edit that was. */
  async undo() {
    if (this.queue.length > 0) this.confirm(this.queue.splice(0));
    else await this.on.act("tile_undo", {});
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
