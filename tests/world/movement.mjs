// Replays the walks of the vectors (first argument) by the browser's rule; prints the greatest difference, in tiles.
import { readFileSync } from "node:fs";

import { OPEN, UNLOADED, stepMovement } from "./movement.js";

const { walks } = JSON.parse(readFileSync(process.argv[2], "utf8"));
let worst = 0;
let places = 0;

for (const { chunks, picture, closed, enters, stride, x, y, inputs, places: expected } of walks) {
  const walkAt = (placeX, placeY) => {
    const tileX = Math.floor(placeX);
    const tileY = Math.floor(placeY);
    if (!chunks.some(([cx, cy]) => cx === Math.floor(tileX / 32) && cy === Math.floor(tileY / 32))) return UNLOADED;
    return picture.walk[tileY - picture.y]?.[tileX - picture.x] ?? 100;
  };
  const gateAt = (placeX, placeY) => {
    const inside = ([, left, top, width, height]) => placeX >= left && placeX < left + width && placeY >= top && placeY < top + height;
    const [parcel] = closed.find(inside) ?? [OPEN];
    return enters.includes(parcel) ? OPEN : parcel;
  };
  let place = { x, y };
  let index = 0;
  for (const [ticks, dx, dy] of inputs) {
    for (let tick = 0; tick < ticks; tick += 1) {
      place = stepMovement(place.x, place.y, dx, dy, stride, walkAt, gateAt);
      const [trueX, trueY] = expected[index];
      worst = Math.max(worst, Math.abs(place.x - trueX), Math.abs(place.y - trueY));
      index += 1;
      places += 1;
    }
  }
}
console.log(JSON.stringify({ walks: walks.length, places, worst }));
