// One canvas with many pictures on it, placed in rows as they come: what the batches draw from. A picture is kept without its empty
// margin, and knows which part of the whole it is: left, top, right, bottom, each 0..1.

import { CanvasSource } from "./vendor/pixi/pixi.min.mjs";

const GAP = 2; // pixels between pictures, so that none bleeds into another when it is drawn small

export class Atlas {
  /** `unit`: pixels a tile of the pictures on it. */
  constructor(width, height, unit) {
    this.unit = unit;
    this.canvas = document.createElement("canvas");
    this.canvas.width = width;
    this.canvas.height = height;
    this.context = this.canvas.getContext("2d");
    this.context.lineCap = "round";
    this.context.lineJoin = "round";
    this.clear();
  }

  clear() {
    this.context.setTransform(1, 0, 0, 1, 0, 0);
    this.context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    this.x = GAP;
    this.y = GAP;
    this.rowHeight = 0;
  }

  /** Room for a picture, or null when full: { x, y, width, height, u0, v0, u1, v1, left, top, right, bottom }. */
  place(width, height) {
    if (this.x + width + GAP > this.canvas.width) {
      this.x = GAP;
      this.y += this.rowHeight + GAP;
      this.rowHeight = 0;
    }
    if (this.y + height + GAP > this.canvas.height) return null;
    const { x, y } = this;
    this.x += width + GAP;
    this.rowHeight = Math.max(this.rowHeight, height);
    return {
      x,
      y,
      width,
      height,
      u0: x / this.canvas.width,
      v0: y / this.canvas.height,
      u1: (x + width) / this.canvas.width,
      v1: (y + height) / this.canvas.height,
      left: 0,
      top: 0,
      right: 1,
      bottom: 1,
    };
  }

  /** Draws a picture and places what there is of it: `draw(context, width, height)` with the origin at its corner. */
  draw(width, height, draw) {
    const scratch = new OffscreenCanvas(width, height);
    const context = scratch.getContext("2d", { willReadFrequently: true });
    context.lineCap = "round";
    context.lineJoin = "round";
    draw(context, width, height);
    const { left, top, right, bottom } = bounds(context.getImageData(0, 0, width, height));
    const frame = this.place(right - left, bottom - top);
    if (!frame) throw new RangeError("the atlas is full");
    this.context.setTransform(1, 0, 0, 1, 0, 0);
    this.context.drawImage(scratch, -left + frame.x, -top + frame.y);
    return { ...frame, left: left / width, top: top / height, right: right / width, bottom: bottom / height };
  }

  /** The atlas as the graphics card sees it; `source.update()` after drawing more. */
  get source() {
    this.made ??= new CanvasSource({ resource: this.canvas, autoGenerateMipmaps: true, scaleMode: "linear", mipmapFilter: "nearest" });
    return this.made;
  }
}

/** The rectangle of a picture outside of which all is transparent. */
function bounds({ data, width, height }) {
  let left = width;
  let right = 0;
  let top = height;
  let bottom = 0;
  for (let y = 0, at = 3; y < height; y += 1) {
    for (let x = 0; x < width; x += 1, at += 4) {
      if (data[at] === 0) continue;
      if (x < left) left = x;
      if (x >= right) right = x + 1;
      if (y < top) top = y;
      bottom = y + 1;
    }
  }
  return right > left ? { left, top, right, bottom } : { left: 0, top: 0, right: 1, bottom: 1 };
}
