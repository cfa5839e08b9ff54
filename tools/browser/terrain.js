// The ground on the screen: one picture a chunk, painted by a worker (painter.js) and kept until it is far away.
//
// Until a chunk's picture is there, its tiles' colours stand in for it, softly. A chunk is painted when all its neighbours are
// known, or after a short while without them; and again when a neighbour comes later. One picture a frame goes to the graphics
// card, so that no frame waits for two.

import { chunkKey } from "./chunks.js";
import { lightOf } from "./kinds.js";
import { Quad } from "./quad.js";
import { Waves } from "./waves.js";
import { BufferImageSource, Container, ImageSource } from "./vendor/pixi/pixi.min.mjs";

const TILES = 32;
const WAIT_MS = 600; // for neighbours
const PICTURES_MAX = 40; // 4 MiB each on the graphics card
const HIRE_MS = 1000; // until a worker that did not come is asked for again
const FADE_S = 0.25;

export class Terrain {
  constructor() {
    this.stage = new Container();
    this.ground = new Container();
    this.water = new Container();
    this.stage.addChild(this.ground, this.water);
    this.patches = new Map(); // key -> patch, of chunks in memory
    this.painting = null; // the patch the worker is busy with
    this.pictures = []; // come from the worker, not yet on the card
    this.worker = null; // until it has said that it is ready
    this.unsent = []; // messages for it until then
    this.hire();
    this.painted = 0; // pictures so far
    this.waiting = 0; // chunks in sight whose picture is not fully there
  }

  /** Sends for the worker, again and again where its files do not come. */
  hire() {
    const worker = new Worker(new URL("./painter.js", import.meta.url), { type: "module" });
    worker.onerror = () => {
      if (this.worker) return; // it works: what went wrong is one picture
      worker.terminate();
      setTimeout(() => this.hire(), HIRE_MS);
    };
    worker.onmessage = ({ data }) => {
      if (data.ready) {
        this.worker = worker;
        for (const message of this.unsent.splice(0)) worker.postMessage(message);
        return;
      }
      if (this.painting?.key === data.key) this.painting = null;
      this.pictures.push(data);
    };
  }

  tell(message) {
    if (this.worker) {
      this.worker.postMessage(message);
      return;
    }
    if (message.type !== "paint") this.unsent = this.unsent.filter(({ type, key }) => type === "paint" || key !== message.key);
    if (message.type !== "forget") this.unsent.push(message);
  }

  arrived(chunk, now) {
    const { key, cx, cy, ground, shade, red, green, blue, objects } = chunk;
    this.tell({ type: "chunk", key, chunk: { ground, shade, red, green, blue, objects } });
    const old = this.patches.get(key);
    const patch = old ?? { key, cx, cy, picture: null, waves: null, sketch: null, sharp: 0, usedAt: now };
    patch.since = now;
    patch.neighbours = -1; // how many it was painted with
    if (!old) {
      patch.sketch = sketch(chunk);
      this.ground.addChildAt(patch.sketch.mesh, 0);
    }
    this.patches.set(key, patch);
  }

  gone({ key }) {
    const patch = this.patches.get(key);
    if (!patch) return;
    this.patches.delete(key);
    this.tell({ type: "forget", key });
    this.unpaint(patch);
    patch.sketch.destroy();
  }

  unpaint(patch) {
    patch.picture?.destroy();
    patch.waves?.destroy();
    patch.picture = null;
    patch.waves = null;
    patch.neighbours = -1;
  }

  neighboursOf({ cx, cy }) {
    let count = 0;
    for (let dy = -1; dy <= 1; dy += 1) {
      for (let dx = -1; dx <= 1; dx += 1) if ((dx || dy) && this.patches.has(chunkKey(cx + dx, cy + dy))) count += 1;
    }
    return count;
  }

  /** Shows what lies in `sight` ({ left, top, right, bottom } in tiles) and has the next missing picture painted. */
  advance(sight, now, seconds) {
    this.upload();
    this.waiting = 0;
    let next = null;
    let nearest = Infinity;
    const middleX = (sight.left + sight.right) / 2 / TILES - 0.5;
    const middleY = (sight.top + sight.bottom) / 2 / TILES - 0.5;
    for (const patch of this.patches.values()) {
      const visible = touches(patch, sight, 0);
      const near = visible || touches(patch, sight, TILES / 2);
      if (visible) patch.usedAt = now;
      patch.sketch.mesh.visible = visible && patch.sharp < 1;
      if (patch.picture) {
        patch.sharp = Math.min(1, patch.sharp + seconds / FADE_S);
        patch.picture.alpha = patch.sharp;
        patch.picture.mesh.visible = visible;
      }
      if (patch.waves) patch.waves.show(visible, now);
      if (visible && patch.sharp < 1) this.waiting += 1;
      if (!near || this.painting) continue;
      const neighbours = this.neighboursOf(patch);
      if (neighbours <= patch.neighbours || (neighbours < 8 && now - patch.since < WAIT_MS)) continue;
      const distance = Math.hypot(patch.cx - middleX, patch.cy - middleY) + (patch.picture ? 100 : 0);
      if (distance < nearest) {
        nearest = distance;
        next = patch;
      }
    }
    if (next) this.paint(next);
  }

  /** Whether there is ground, painted or in plain colours, wherever one looks. */
  covers({ left, top, right, bottom }) {
    for (let cy = Math.floor(top / TILES); cy * TILES < bottom; cy += 1) {
      for (let cx = Math.floor(left / TILES); cx * TILES < right; cx += 1) if (!this.patches.has(chunkKey(cx, cy))) return false;
    }
    return true;
  }

  paint(patch) {
    this.painting = patch;
    patch.neighbours = this.neighboursOf(patch);
    patch.since = performance.now();
    this.tell({ type: "paint", key: patch.key, cx: patch.cx, cy: patch.cy });
  }

  upload() {
    const come = this.pictures.shift();
    if (!come) return;
    const { key, picture, water } = come;
    const patch = this.patches.get(key);
    if (!patch) {
      picture.close();
      return;
    }
    const sharp = patch.sharp;
    const neighbours = patch.neighbours;
    this.unpaint(patch);
    patch.neighbours = neighbours;
    patch.sharp = sharp; // painted anew, it does not fade in again
    const source = new ImageSource({ resource: picture, scaleMode: "linear", alphaMode: "no-premultiply-alpha" });
    patch.picture = new Quad(source, patch.cx, patch.cy);
    this.ground.addChild(patch.picture.mesh);
    if (water) {
      patch.waves = new Waves(water, patch.cx * TILES, patch.cy * TILES);
      this.water.addChild(patch.waves.mesh);
    }
    this.painted += 1;
    this.trim();
  }

  /** Lets the pictures go that were in sight longest ago. */
  trim() {
    const painted = [...this.patches.values()].filter((patch) => patch.picture);
    if (painted.length <= PICTURES_MAX) return;
    painted.sort((a, b) => a.usedAt - b.usedAt);
    for (const patch of painted.slice(0, painted.length - PICTURES_MAX)) {
      this.unpaint(patch);
      patch.sharp = 0;
    }
  }
}

function touches({ cx, cy }, { left, top, right, bottom }, more) {
  const x = cx * TILES;
  const y = cy * TILES;
  return x < right + more && x + TILES > left - more && y < bottom + more && y + TILES > top - more;
}

/** A chunk in a pixel a tile. */
export function pixelsOf({ ground, shade, red, green, blue }) {
  const pixels = new Uint8ClampedArray(TILES * TILES * 4);
  for (let tile = 0; tile < TILES * TILES; tile += 1) {
    const light = lightOf(ground[tile], shade[tile]);
    pixels[tile * 4] = red[tile] * light;
    pixels[tile * 4 + 1] = green[tile] * light;
    pixels[tile * 4 + 2] = blue[tile] * light;
    pixels[tile * 4 + 3] = 255;
  }
  return pixels;
}

function sketch(chunk) {
  const source = new BufferImageSource({ resource: new Uint8Array(pixelsOf(chunk).buffer), width: TILES, height: TILES, scaleMode: "linear", format: "rgba8unorm", alphaMode: "no-premultiply-alpha" });
  return new Quad(source, chunk.cx, chunk.cy);
}
