// The worker that paints the ground of a chunk as one picture, off the main thread.
//
// In:  { type: "chunk", key, cx, cy, chunk }   a chunk's layers, kept here (the newest of a key counts)
//      { type: "forget", key }
//      { type: "paint", key, cx, cy }          paint it with whatever neighbours are known
// Out: { key, picture: ImageBitmap, water: Uint8Array | null }
//
// The tiles' colours are spread by quadratic B-splines, which round off every staircase, at places bent by a little noise, which
// makes borders between kinds wander. Land and water are spread apart and then cut at a crisp shore, so that no mud comes between
// them. All noise repeats every chunk and all samples reach over the border into the neighbours, so chunks meet without seams.
//
// `water` is how much of a place is water (128 is the shore), WATER_PER_TILE samples a tile with a margin of one tile around; null
// when the chunk is dry. The waves are drawn from it (waves.js).

import { isWater, lightOf, SHADOW_OF, SURFACE_OF, SURFACES } from "./kinds.js";
import { seamlessNoise } from "./noise.js";
import { makeStamps, makeSurface } from "./surfaces.js";

const TILES = 32;
const UNIT = 32; // pixels a tile of the picture
const SIDE = TILES * UNIT;
const FINE = 8; // samples a tile of the spread fields
const MARGIN = 1; // tiles around the chunk that are sampled as well
const GRID = (TILES + 2 * MARGIN) * FINE;
const PAD = 3; // tiles of the neighbours that are looked at
const PADDED = TILES + 2 * PAD;
const SHORE_PER_TILE = 16;

const chunks = new Map();

// --- tools made once ---------------------------------------------------------------------------------------

const BENDS = TILES * FINE;
const bendX = bends(101);
const bendY = bends(211);
const mottle = seamlessNoise(BENDS, 9, 307);
const patch = seamlessNoise(BENDS, 4, 503);
const mottleFine = seamlessNoise(BENDS, 40, 401);

/** How far, in tiles, each fine sample looks aside. */
function bends(seed) {
  const slow = seamlessNoise(BENDS, 13, seed);
  const middle = seamlessNoise(BENDS, 36, seed + 1);
  const quick = seamlessNoise(BENDS, 96, seed + 2);
  return slow.map((value, index) => value * 0.5 + middle[index] * 0.22 + quick[index] * 0.07);
}

const surfaces = new Map();
const strew = makeStamps(UNIT);

function surface(name) {
  if (!surfaces.has(name)) surfaces.set(name, sheet.createPattern(makeSurface(name, UNIT), "repeat"));
  return surfaces.get(name);
}

const board = canvas(SIDE);
const sheet = canvas(SIDE);
const small = canvas(GRID);
const shore = canvas((TILES + 2 * MARGIN) * SHORE_PER_TILE);
const smallImage = small.createImageData(GRID, GRID);
const shoreImage = shore.createImageData(shore.canvas.width, shore.canvas.height);
for (const target of [board, sheet]) target.imageSmoothingQuality = "medium";

function canvas(side) {
  return new OffscreenCanvas(side, side).getContext("2d", { willReadFrequently: true });
}

// Padded tiles: what each adds to the sums around it. The server smooths the colours of shore tiles for the map, so that land has
// some blue in it there; such tiles count for little in the colour, and the shore is cut here instead.
const CHANNELS = 9; // land red, green, blue, weight; water red, green, blue, weight; waterness
const SHORE_WEIGHT = 0.06;
const AROUND = [-PADDED - 1, -PADDED, -PADDED + 1, -1, 1, PADDED - 1, PADDED, PADDED + 1];
const tiles = new Float32Array(PADDED * PADDED * CHANNELS);
const wears = new Int8Array(PADDED * PADDED);
// Spread fields.
const land = new Uint8ClampedArray(GRID * GRID * 3);
const wet = new Uint8ClampedArray(GRID * GRID * 3);
const waterness = new Float32Array(GRID * GRID);
const LEE = 4 * (GRID + 1); // half a tile to the north-west
const masks = SURFACES.map(() => new Uint8ClampedArray(GRID * GRID));

// --- one chunk ---------------------------------------------------------------------------------------------

function keyOf(cx, cy) {
  return `${cx},${cy}`;
}

/** Fills `tiles` and `wears` from the chunk and its neighbours; past a missing neighbour the chunk's own edge goes on. */
function gather(cx, cy) {
  const own = chunks.get(keyOf(cx, cy));
  let anyWater = false;
  for (let row = 0; row < PADDED; row += 1) {
    for (let column = 0; column < PADDED; column += 1) {
      let x = column - PAD;
      let y = row - PAD;
      let chunk = own;
      if (x < 0 || x >= TILES || y < 0 || y >= TILES) {
        const neighbour = chunks.get(keyOf(cx + Math.floor(x / TILES), cy + Math.floor(y / TILES)));
        if (neighbour) {
          chunk = neighbour;
          x = (x + TILES) % TILES;
          y = (y + TILES) % TILES;
        } else {
          x = Math.min(Math.max(x, 0), TILES - 1);
          y = Math.min(Math.max(y, 0), TILES - 1);
        }
      }
      const tile = y * TILES + x;
      const at = row * PADDED + column;
      const ground = chunk.ground[tile];
      const water = isWater(ground);
      const base = at * CHANNELS;
      const light = lightOf(ground, chunk.shade[tile]);
      tiles.fill(0, base, base + CHANNELS);
      const first = base + (water ? 4 : 0);
      tiles[first] = chunk.red[tile] * light;
      tiles[first + 1] = chunk.green[tile] * light;
      tiles[first + 2] = chunk.blue[tile] * light;
      tiles[first + 3] = 1;
      tiles[base + 8] = water ? 1 : 0;
      wears[at] = SURFACE_OF[ground];
      anyWater ||= water;
    }
  }
  if (anyWater) quietShore();
  return anyWater;
}

/** Lets tiles at the shore count for little. */
function quietShore() {
  for (let row = 1; row < PADDED - 1; row += 1) {
    for (let column = 1; column < PADDED - 1; column += 1) {
      const at = row * PADDED + column;
      const water = tiles[at * CHANNELS + 8];
      let alike = true;
      for (const aside of AROUND) alike &&= tiles[(at + aside) * CHANNELS + 8] === water;
      if (!alike) for (let channel = 0; channel < 8; channel += 1) tiles[at * CHANNELS + channel] *= SHORE_WEIGHT;
    }
  }
}

const weightsX = new Float32Array(3);
const weightsY = new Float32Array(3);
const sums = new Float64Array(CHANNELS);
const shares = new Float32Array(SURFACES.length);

/** The three weights of a quadratic B-spline at `offset` (-0.5..0.5) from the middle tile. */
function weigh(weights, offset) {
  const before = 0.5 - offset;
  const after = 0.5 + offset;
  weights[0] = 0.5 * before * before;
  weights[1] = 0.75 - offset * offset;
  weights[2] = 0.5 * after * after;
}

/** Spreads the padded tiles over the fine grid. */
function spread() {
  for (let row = 0; row < GRID; row += 1) {
    const bendRow = ((row + BENDS - MARGIN * FINE) % BENDS) * BENDS;
    for (let column = 0; column < GRID; column += 1) {
      const bend = bendRow + ((column + BENDS - MARGIN * FINE) % BENDS);
      sample((column + 0.5) / FINE - MARGIN + PAD + bendX[bend], (row + 0.5) / FINE - MARGIN + PAD + bendY[bend]);
      settle(row * GRID + column, bend);
    }
  }
}

/** Adds up the nine tiles around a place (in padded tiles) into `sums` and `shares`. */
function sample(u, v) {
  const i = Math.floor(u);
  const j = Math.floor(v);
  weigh(weightsX, u - i - 0.5);
  weigh(weightsY, v - j - 0.5);
  sums.fill(0);
  shares.fill(0);
  for (let down = 0; down < 3; down += 1) {
    for (let across = 0; across < 3; across += 1) {
      const weight = weightsY[down] * weightsX[across];
      const at = (j + down - 1) * PADDED + i + across - 1;
      const base = at * CHANNELS;
      for (let channel = 0; channel < CHANNELS; channel += 1) sums[channel] += tiles[base + channel] * weight;
      if (wears[at] >= 0) shares[wears[at]] += weight;
    }
  }
}

/** Turns `sums` into colours at a fine sample: mottled land with an earthy bank; water bright in the shallows, dark under a bank. */
function settle(index, bend) {
  const water = sums[8];
  waterness[index] = water;
  const base = index * 3;
  // The water's slope towards the light (north-west): positive where a bank throws its shadow on the water.
  const lee = index > LEE ? water - waterness[index - LEE] : 0;
  if (sums[3] > 1e-4) {
    const bank = water > 0.26 ? Math.min((water - 0.26) / 0.2, 1) * 0.55 : 0;
    // Where a slow noise is high the ground is a shade deeper, with an edge as of a brush.
    const deep = Math.min(Math.max((patch[bend] + 0.35 * mottle[bend] + 0.12 * mottleFine[bend]) * 7 - 0.4, 0), 1);
    const vivid = Math.min(Math.max((sums[1] - sums[2]) / sums[3] / 70, 0), 1); // grey ground stays grey
    const warm = (0.05 * mottle[bend] - 0.045 * deep) * vivid;
    const tone = ((1 + 0.05 * mottleFine[bend] - 0.03 * deep + (lee < 0 ? -0.5 * lee : -0.25 * lee)) * (1 - bank)) / sums[3];
    land[base] = softened(sums[0] * tone * (1 + 1.3 * warm)) + 138 * bank;
    land[base + 1] = softened(sums[1] * tone * (1 + 0.6 * warm)) + 118 * bank;
    land[base + 2] = softened(sums[2] * tone * (1 - warm)) + 80 * bank;
  }
  if (sums[7] > 1e-4) {
    const near = water < 0.86 ? Math.min((0.86 - water) / 0.36, 1) : 0;
    const bright = 0.5 * near * near;
    const tone = ((1 + 0.035 * mottle[bend] - (lee > 0 ? 0.5 * Math.min(lee, 0.36) : 0)) * (1 - bright)) / sums[7];
    wet[base] = sums[4] * tone + 150 * bright;
    wet[base + 1] = sums[5] * tone + 214 * bright;
    wet[base + 2] = sums[6] * tone + 208 * bright;
  }
  for (let kind = 0; kind < masks.length; kind += 1) {
    const share = shares[kind] / (1.001 - water);
    masks[kind][index] = share <= 0.3 ? 0 : share >= 0.7 ? 255 : (share - 0.3) * 637.5;
  }
}

/** Keeps bright ground (snow, dry sand) from burning out, so that its texture is seen. */
function softened(value) {
  return value > 222 ? 222 + (value - 222) * 0.5 : value;
}

/** Draws a fine grid over the whole of `target`. `mask` makes the picture black of that opacity, else `colours` fills it. */
function lay(target, colours, mask) {
  const data = smallImage.data;
  for (let index = 0, at = 0, from = 0; index < GRID * GRID; index += 1, at += 4, from += 3) {
    if (mask) {
      data[at + 3] = mask[index];
    } else {
      data[at] = colours[from];
      data[at + 1] = colours[from + 1];
      data[at + 2] = colours[from + 2];
      data[at + 3] = 255;
    }
  }
  small.putImageData(smallImage, 0, 0);
  over(target, small.canvas);
}

/** Draws a canvas that has a margin over the whole of `target`. */
function over(target, source) {
  target.drawImage(source, -MARGIN * UNIT, -MARGIN * UNIT, SIDE + 2 * MARGIN * UNIT, SIDE + 2 * MARGIN * UNIT);
}

function texture() {
  masks.forEach((mask, kind) => {
    if (!mask.some((value) => value > 0)) return;
    sheet.globalCompositeOperation = "copy";
    sheet.fillStyle = surface(SURFACES[kind]);
    sheet.fillRect(0, 0, SIDE, SIDE);
    sheet.globalCompositeOperation = "destination-in";
    lay(sheet, null, mask);
    board.drawImage(sheet.canvas, 0, 0);
  });
}

function strewAll(cx, cy) {
  for (let row = -1; row <= TILES; row += 1) {
    for (let column = -1; column <= TILES; column += 1) {
      const kind = wears[(row + PAD) * PADDED + column + PAD];
      if (kind >= 0) strew(board, SURFACES[kind], cx * TILES + column, cy * TILES + row, column * UNIT, row * UNIT);
    }
  }
}

/** Soft shadows of everything that stands here or close by, as one sheet, so that they do not add up. */
function shadows(cx, cy) {
  sheet.globalCompositeOperation = "source-over";
  sheet.clearRect(0, 0, SIDE, SIDE);
  for (let dy = -1; dy <= 1; dy += 1) {
    for (let dx = -1; dx <= 1; dx += 1) {
      for (const one of chunks.get(keyOf(cx + dx, cy + dy))?.objects ?? []) {
        const x = one.x + dx * TILES;
        const y = one.y + dy * TILES;
        if (x < -3 || y < -3 || x > TILES + 3 || y > TILES + 3) continue;
        shadow(SHADOW_OF[one.kind], x * UNIT, y * UNIT, one.size * UNIT);
      }
    }
  }
  board.globalAlpha = 0.3;
  board.drawImage(sheet.canvas, 0, 0);
  board.globalAlpha = 1;
}

function shadow({ radius, reach, dark }, x, y, size) {
  for (let ring = 3; ring >= 1; ring -= 1) {
    const wide = radius * size * (0.7 + 0.15 * ring);
    sheet.fillStyle = `rgba(14,20,34,${dark * (ring === 1 ? 0.75 : 0.3)})`;
    sheet.beginPath();
    sheet.ellipse(x + reach * size * 0.5, y + reach * size * 0.22, wide + reach * size * 0.45, wide * 0.5, 0.32, 0, Math.PI * 2);
    sheet.fill();
  }
}

/** Cuts the water out along the shore and lays it over the land. */
function flood() {
  const side = shore.canvas.width;
  const step = FINE / SHORE_PER_TILE;
  const data = shoreImage.data;
  for (let row = 0; row < side; row += 1) {
    const v = Math.min(Math.max((row + 0.5) * step - 0.5, 0), GRID - 1.001);
    const j = Math.floor(v);
    const fy = v - j;
    for (let column = 0; column < side; column += 1) {
      const u = Math.min(Math.max((column + 0.5) * step - 0.5, 0), GRID - 1.001);
      const i = Math.floor(u);
      const fx = u - i;
      const at = j * GRID + i;
      const upper = waterness[at] + (waterness[at + 1] - waterness[at]) * fx;
      const lower = waterness[at + GRID] + (waterness[at + GRID + 1] - waterness[at + GRID]) * fx;
      const value = upper + (lower - upper) * fy;
      data[(row * side + column) * 4 + 3] = (value - 0.47) * 4250; // a 17th of the field from dry to wet
    }
  }
  shore.putImageData(shoreImage, 0, 0);
  sheet.globalCompositeOperation = "copy";
  lay(sheet, wet, null);
  sheet.globalCompositeOperation = "destination-in";
  over(sheet, shore.canvas);
  board.drawImage(sheet.canvas, 0, 0);
}

function paint(cx, cy) {
  const anyWater = gather(cx, cy);
  spread();
  board.globalCompositeOperation = "copy";
  lay(board, land, null);
  board.globalCompositeOperation = "source-over";
  texture();
  strewAll(cx, cy);
  if (anyWater) flood();
  shadows(cx, cy);
  return anyWater;
}

self.postMessage({ ready: true }); // it came whole; from here on it hears what it is sent

self.onmessage = async ({ data: { type, key, cx, cy, chunk } }) => {
  if (type === "chunk") chunks.set(key, chunk);
  if (type === "forget") chunks.delete(key);
  if (type !== "paint" || !chunks.has(key)) return;
  const anyWater = paint(cx, cy);
  const picture = await createImageBitmap(board.canvas);
  const water = anyWater ? Uint8Array.from(waterness, (value) => value * 255) : null;
  self.postMessage({ key, picture, water }, water ? [picture, water.buffer] : [picture]);
};
