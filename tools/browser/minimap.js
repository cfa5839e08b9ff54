// The round map in the corner: the ground around me a pixel a tile (or more), who is in sight, and where I look.

import { BUILD_COLOURS } from "./buildings.js";
import { pixelsOf } from "./terrain.js";

const TILES = 32;
const REACH_TILES = 74; // from the middle to the rim
const DRAW_MS = 90;
const IN_MEMORY = { willReadFrequently: true }; // small and redrawn often: the graphics card has better things to do
const RIM_PX = 3;
const SHADE_PX = 4; // soft shadow outside of the rim
const CHOSEN_PX = 3.4; // radius of the dot of the parcel that is looked at

export class Minimap {
  constructor(canvas) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d", IN_MEMORY);
    this.pictures = new Map(); // chunk key -> canvas
    this.drawnAt = 0;
  }

  chunkArrived(chunk) {
    const picture = document.createElement("canvas");
    picture.width = TILES;
    picture.height = TILES;
    const context = picture.getContext("2d", IN_MEMORY);
    context.putImageData(new ImageData(pixelsOf(chunk), TILES, TILES), 0, 0);
    context.fillStyle = "rgba(24,62,38,.55)";
    for (const one of chunk.objects) if (one.kind <= 2) context.fillRect(one.x - 0.7, one.y - 0.9, 1.4, 1.4);
    for (const [tile, kind] of chunk.built) {
      context.fillStyle = BUILD_COLOURS[kind];
      context.fillRect(tile % TILES, Math.floor(tile / TILES), 1, 1);
    }
    this.pictures.set(chunk.key, { picture, cx: chunk.cx, cy: chunk.cy });
  }

  chunkGone(chunk) {
    this.pictures.delete(chunk.key);
  }

  /** `parcels` with `colourOf(parcel)`: whose land it is; `chosen`: the one that is looked at, or null. */
  draw(me, heading, meId, people, parcels, chosen, colourOf, now) {
    if (!me || now - this.drawnAt < DRAW_MS) return;
    this.drawnAt = now;
    const scale = globalThis.devicePixelRatio || 1;
    const side = Math.round(this.canvas.clientWidth * scale);
    if (side === 0) return;
    if (this.canvas.width !== side) {
      this.canvas.width = side;
      this.canvas.height = side;
    }
    const context = this.context;
    const pixels = side / (2 * REACH_TILES);
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, side, side);
    context.save();
    const circle = (radius) => {
      context.beginPath();
      context.arc(side / 2, side / 2, radius, 0, Math.PI * 2);
    };
    // The round shape is drawn, not clipped by the page: that would cost the page a pass over the whole screen each frame.
    circle(side / 2);
    context.fillStyle = "rgba(4,8,12,.22)";
    context.fill();
    circle(side / 2 - SHADE_PX * scale);
    context.fillStyle = "#10191f";
    context.fill();
    circle(side / 2 - (SHADE_PX + RIM_PX) * scale);
    context.fillStyle = "#16232b";
    context.fill();
    context.clip();
    const at = (tile, middle) => Math.round((tile - middle) * pixels + side / 2); // whole pixels: no seams between chunks
    for (const { picture, cx, cy } of this.pictures.values()) {
      const x = cx * TILES;
      const y = cy * TILES;
      if (x > me.x + REACH_TILES || x + TILES < me.x - REACH_TILES || y > me.y + REACH_TILES || y + TILES < me.y - REACH_TILES) continue;
      const left = at(x, me.x);
      const top = at(y, me.y);
      context.drawImage(picture, left, top, at(x + TILES, me.x) - left, at(y + TILES, me.y) - top);
    }
    context.setTransform(pixels, 0, 0, pixels, side / 2 - me.x * pixels, side / 2 - me.y * pixels);
    for (const parcel of parcels) {
      context.strokeStyle = colourOf(parcel);
      context.lineWidth = (1.3 * scale) / pixels;
      context.strokeRect(parcel.x, parcel.y, parcel.width, parcel.height);
    }
    if (chosen) this.point(me, chosen, scale / pixels, colourOf(chosen));
    for (const person of people) {
      if (person.id === meId || person.count === 0) continue;
      this.dot(person.x, person.y, 2.1 * scale / pixels, "#fdf6e3", "rgba(10,16,22,.75)");
    }
    context.save();
    context.translate(me.x, me.y);
    context.rotate(heading);
    const size = (5.5 * scale) / pixels;
    context.beginPath();
    context.moveTo(size * 1.15, 0);
    context.lineTo(-size * 0.8, size * 0.8);
    context.lineTo(-size * 0.4, 0);
    context.lineTo(-size * 0.8, -size * 0.8);
    context.closePath();
    context.fillStyle = "#ffd66b";
    context.strokeStyle = "rgba(10,16,22,.9)";
    context.lineWidth = (1.4 * scale) / pixels;
    context.fill();
    context.stroke();
    context.restore();
    context.restore();
  }

  /** Where a parcel is, or at the rim in which direction; a pixel is `unit` tiles. */
  point(me, { x, y, width, height }, unit, colour) {
    const [east, south] = [x + width / 2 - me.x, y + height / 2 - me.y];
    const reach = REACH_TILES - (SHADE_PX + RIM_PX + 2 * CHOSEN_PX) * unit;
    const share = Math.min(1, reach / Math.hypot(east, south));
    this.dot(me.x + east * share, me.y + south * share, CHOSEN_PX * unit, colour, "rgba(10,16,22,.9)");
  }

  dot(x, y, radius, fill, rim) {
    const context = this.context;
    context.beginPath();
    context.arc(x, y, radius, 0, Math.PI * 2);
    context.fillStyle = fill;
    context.strokeStyle = rim;
    context.lineWidth = radius * 0.6;
    context.stroke();
    context.fill();
  }
}
