// What people build: paths, paving and floors lie on the ground, walls, fences and hedges stand on it.
//
// Each kind has sixteen pictures, one for each way its four neighbours can be of the same kind, so that walls run on, paths join and
// floors have an edge only where they end. Light comes from the north-west: tops are bright, south faces dark, and what stands
// throws a soft shadow to the south-east. Pictures are drawn once into the atlas; sizes are in tiles.

import { packColour } from "./batch.js";
import { chances, hash } from "./noise.js";
import { FOOT } from "./plants.js";
import { Build } from "./protocol.js";

const TILES = 32;
const [NORTH, EAST, SOUTH, WEST] = [1, 2, 4, 8];
const WALL_HEIGHT = 0.92;
const HEDGE_HEIGHT = 0.62;
const WHITE = packColour(0xffffff);

/** What a kind is on a map of a pixel a tile. */
export const BUILD_COLOURS = { [Build.PATH]: "#b08f62", [Build.PAVING]: "#a9a496", [Build.FLOOR]: "#9c6f44", [Build.WALL]: "#55504c", [Build.FENCE]: "#7d5c3c", [Build.HEDGE]: "#2f5a34" };

const grey = (level, alpha = 1) => `rgba(${level},${Math.round(level * 0.97)},${Math.round(level * 0.91)},${alpha})`;
const brown = (light, alpha = 1) => `rgba(${Math.round(150 * light)},${Math.round(106 * light)},${Math.round(66 * light)},${alpha})`;
const green = (light, alpha = 1) => `rgba(${Math.round(86 * light)},${Math.round(134 * light)},${Math.round(62 * light)},${alpha})`;

function box(context, x, y, width, height, style) {
  context.fillStyle = style;
  context.fillRect(x, y, width, height);
}

/** A stone or board with a lit edge to the north-west and a dark one to the south-east. */
function slab(context, x, y, width, height, style, edge) {
  context.fillStyle = style;
  context.beginPath();
  context.roundRect(x, y, width, height, Math.min(width, height) * 0.16);
  context.fill();
  box(context, x + edge, y, width - 2 * edge, edge, "rgba(255,250,226,.34)");
  box(context, x, y + edge, edge, height - 2 * edge, "rgba(255,250,226,.2)");
  box(context, x + edge, y + height - edge, width - 2 * edge, edge, "rgba(20,16,24,.34)");
}

const GROUND = {
  [Build.PATH](context, next, unit, mask) {
    const inset = unit * 0.13;
    const left = mask & WEST ? 0 : inset;
    const top = mask & NORTH ? 0 : inset;
    const right = unit - (mask & EAST ? 0 : inset);
    const bottom = unit - (mask & SOUTH ? 0 : inset);
    const round = (one, other) => (mask & (one | other) ? 0 : unit * 0.34);
    context.beginPath();
    context.roundRect(left, top, right - left, bottom - top, [round(NORTH, WEST), round(NORTH, EAST), round(SOUTH, EAST), round(SOUTH, WEST)]);
    context.fillStyle = "rgb(176,145,101)";
    context.shadowColor = "rgba(150,118,76,.8)";
    context.shadowBlur = unit * 0.07;
    context.fill();
    context.shadowColor = "transparent";
    context.save();
    context.clip();
    for (let index = 0; index < 46; index += 1) {
      const size = unit * (0.012 + 0.05 * next() ** 3);
      context.fillStyle = next() < 0.5 ? "rgba(92,66,36,.17)" : "rgba(255,240,204,.2)";
      context.beginPath();
      context.ellipse(next() * unit, next() * unit, size * 1.5, size, 0, 0, Math.PI * 2);
      context.fill();
    }
    context.restore();
  },
  [Build.PAVING](context, next, unit, mask) {
    box(context, 0, 0, unit, unit, "rgb(112,106,96)");
    const gap = unit * 0.02;
    for (let row = 0; row < 3; row += 1) {
      const high = unit / 3;
      const split = row === 1 ? [0, 0.34, 1] : [0, row === 0 ? 0.62 : 0.5, 1];
      for (let one = 0; one + 1 < split.length; one += 1) {
        const x = split[one] * unit;
        slab(context, x + gap, row * high + gap, (split[one + 1] - split[one]) * unit - 2 * gap, high - 2 * gap, grey(158 + Math.round(26 * next())), unit * 0.03);
      }
    }
    rim(context, unit, mask, "rgba(40,36,34,.5)", "rgba(255,250,236,.3)");
  },
  [Build.FLOOR](context, next, unit, mask) {
    for (let board = 0; board < 4; board += 1) {
      const high = unit / 4;
      box(context, 0, board * high, unit, high, brown(0.92 + 0.2 * next()));
      for (let grain = 0; grain < 4; grain += 1) {
        box(context, 0, board * high + high * (0.15 + 0.7 * next()), unit, unit * 0.012, next() < 0.6 ? "rgba(60,34,14,.18)" : "rgba(255,226,176,.16)");
      }
      box(context, 0, board * high, unit, unit * 0.022, "rgba(255,232,190,.28)");
      box(context, 0, (board + 1) * high - unit * 0.026, unit, unit * 0.026, "rgba(44,24,12,.6)");
      const joint = unit * (board % 2 ? 0.28 : 0.78);
      box(context, joint, board * high, unit * 0.024, high, "rgba(44,24,12,.5)");
      for (const nail of [-0.05, 0.05]) box(context, joint + unit * nail, board * high + high * 0.42, unit * 0.024, unit * 0.024, "rgba(36,22,16,.7)");
    }
    rim(context, unit, mask, "rgba(48,28,14,.75)", "rgba(255,230,190,.4)");
  },
};

/** The edges of something that lies there, where it ends: lit to the north-west, thick and dark to the south-east. */
function rim(context, unit, mask, dark, bright) {
  const line = unit * 0.05;
  if (!(mask & NORTH)) box(context, 0, 0, unit, line, bright);
  if (!(mask & WEST)) box(context, 0, 0, line, unit, bright);
  if (!(mask & SOUTH)) box(context, 0, unit - 1.6 * line, unit, 1.6 * line, dark);
  if (!(mask & EAST)) box(context, unit - 1.2 * line, 0, 1.2 * line, unit, dark);
}

/** The foot of what stands is the south edge of its tile: a picture is one tile and its height above that. */
const STANDING = {
  [Build.WALL](context, next, unit, mask) {
    const high = WALL_HEIGHT * unit;
    box(context, 0, unit, unit, high, grey(84));
    const courses = 4;
    for (let course = 0; course < courses; course += 1) {
      const tall = high / courses;
      const y = unit + course * tall;
      for (let x = course % 2 ? -0.28 : 0; x < 1; x += 0.5) {
        const from = Math.max(0, x * unit);
        const to = Math.min(unit, (x + 0.5) * unit);
        slab(context, from + 0.6, y + 0.6, to - from - 1.2, tall - 1.2, grey(122 + Math.round(24 * next()) - course * 4), unit * 0.022);
      }
    }
    const shade = context.createLinearGradient(0, unit, 0, unit + high);
    shade.addColorStop(0, "rgba(18,16,26,.34)");
    shade.addColorStop(0.22, "rgba(18,16,26,.04)");
    shade.addColorStop(1, "rgba(18,16,26,.3)");
    box(context, 0, unit, unit, high, shade);
    box(context, 0, 0, unit, unit, grey(150));
    for (let row = 0; row < 2; row += 1) {
      for (let column = 0; column < 2; column += 1) {
        const wide = column === row % 2 ? 0.56 : 0.44;
        const x = column === 0 ? 0 : 1 - wide;
        slab(context, x * unit + 0.8, (row * unit) / 2 + 0.8, wide * unit - 1.6, unit / 2 - 1.6, grey(186 + Math.round(22 * next())), unit * 0.03);
      }
    }
    rim(context, unit, mask, "rgba(50,46,50,.5)", "rgba(255,252,240,.75)");
  },
  [Build.HEDGE](context, next, unit, mask) {
    const high = HEDGE_HEIGHT * unit;
    const margin = (side) => (mask & side ? -0.05 : 0.1) * unit;
    const leaves = (count, x0, y0, x1, y1, dim, lit) => {
      for (let index = 0; index < count; index += 1) {
        const across = next();
        const down = next();
        const size = unit * (0.05 + 0.05 * next());
        context.fillStyle = green(dim + (lit - dim) * (1 - down) + 0.2 * next());
        const turn = next() * 3;
        for (const again of [-unit, 0, unit]) {
          if ((again < 0 && !(mask & WEST)) || (again > 0 && !(mask & EAST))) continue; // a hedge that runs on has no seam
          context.beginPath();
          context.ellipse(x0 + across * (x1 - x0) + again, y0 + down * (y1 - y0), size * 1.15, size, turn, 0, Math.PI * 2);
          context.fill();
        }
      }
    };
    const left = margin(WEST);
    const right = unit - margin(EAST);
    const top = margin(NORTH) + unit * 0.04;
    box(context, left + unit * 0.03, unit * 0.7, right - left - unit * 0.06, unit * 0.3 + high - unit * 0.08, green(0.4));
    leaves(70, left, unit * 0.86, right, unit + high - unit * 0.07, 0.42, 0.72);
    box(context, left + unit * 0.05, top + unit * 0.05, right - left - unit * 0.1, unit * 0.9 - top, green(0.8));
    const runs = mask & (NORTH | SOUTH); // from the north to the south its top is of one light, or it would look like steps
    leaves(110, left + unit * 0.03, top, right - unit * 0.03, unit * (mask & SOUTH ? 1.02 : 0.94), runs ? 1.12 : 0.8, runs ? 1.2 : 1.5);
  },
  [Build.FENCE](context, next, unit, mask) {
    const foot = unit * 1.3; // the post's, on a picture of two tiles: north of it lies the tile, south the rest of it
    const x = unit / 2;
    const rail = (from, to, y, light) => {
      box(context, from, y, to - from, unit * 0.085, brown(light));
      box(context, from, y, to - from, unit * 0.022, "rgba(255,238,204,.45)");
      box(context, from, y + unit * 0.066, to - from, unit * 0.02, "rgba(40,22,10,.5)");
    };
    const side = (from, to, up) => {
      box(context, x - unit * 0.035, from - up, unit * 0.07, to - from, brown(0.9));
      box(context, x - unit * 0.035, from - up, unit * 0.02, to - from, "rgba(255,238,204,.4)");
    };
    for (const up of [0.3, 0.58]) {
      if (mask & NORTH) side(unit * 0.8, foot, unit * up);
      if (mask & WEST) rail(0, x, foot - unit * up, 1);
      if (mask & EAST) rail(x, unit, foot - unit * up, 1);
      if (mask & SOUTH) side(foot, unit * 1.8, unit * up);
    }
    const half = unit * 0.075;
    const tall = unit * 0.82;
    box(context, x - half, foot - tall, 2 * half, tall, brown(0.86));
    box(context, x - half, foot - tall, half * 0.7, tall, brown(1.16));
    box(context, x + half * 0.5, foot - tall, half * 0.5, tall, brown(0.55));
    box(context, x - half * 1.15, foot - tall - unit * 0.03, 2.3 * half, unit * 0.07, brown(1.3));
    box(context, x - half, foot - unit * 0.1 * next(), 2 * half, unit * 0.03, brown(0.5));
  },
};
const HEIGHTS = { [Build.WALL]: 1 + WALL_HEIGHT, [Build.HEDGE]: 1 + HEDGE_HEIGHT, [Build.FENCE]: 2 };
const SINKS = { [Build.WALL]: 0, [Build.HEDGE]: 0, [Build.FENCE]: 0.2 }; // how far a picture reaches below its tile
const SHADES = { [Build.WALL]: 0.42, [Build.HEDGE]: 0.34, [Build.FENCE]: 0.16 };

export class Buildings {
  constructor(atlas, builtAt) {
    this.builtAt = builtAt;
    this.lying = {};
    this.standing = {};
    const sixteen = (name, height, paint) =>
      Array.from({ length: 16 }, (_, mask) => atlas.draw(atlas.unit, Math.round(atlas.unit * height), (context) => paint(context, chances(hash(mask, Number(name), 17)), atlas.unit, mask)));
    for (const [kind, paint] of Object.entries(GROUND)) this.lying[kind] = sixteen(kind, 1, paint);
    for (const [kind, paint] of Object.entries(STANDING)) this.standing[kind] = sixteen(kind, HEIGHTS[kind], paint);
    this.shadow = atlas.draw(atlas.unit, atlas.unit, (context, width, height) => {
      const soft = context.createRadialGradient(width / 2, height / 2, width * 0.16, width / 2, height / 2, width / 2);
      soft.addColorStop(0, "rgb(14,18,34)");
      soft.addColorStop(1, "rgba(14,18,34,0)");
      box(context, 0, 0, width, height, soft);
    });
    this.chunks = new Map(); // key -> { chunk, ground: [{ frame, x, y }], shadows: [{ x, y, alpha }] }, of those built on
  }

  /** The picture of one tile of a kind by itself, how high it is and how far it reaches below its tile; null for a kind without one. */
  pictureOf(kind) {
    if (this.lying[kind]) return { frame: this.lying[kind][0], height: 1, sink: 0 };
    return this.standing[kind] ? { frame: this.standing[kind][EAST | WEST], height: HEIGHTS[kind], sink: SINKS[kind] } : null;
  }

  gone({ key }) {
    this.chunks.delete(key);
  }

  /** The chunks beside one on which something is built. */
  beside({ cx, cy }) {
    return [[0, -1], [1, 0], [0, 1], [-1, 0]].map(([dx, dy]) => this.chunks.get(`${cx + dx},${cy + dy}`)?.chunk).filter(Boolean);
  }

  /** Takes in what is built on a chunk; returns what stands there, as the scene wants it (see Scene.plant). */
  put(chunk) {
    this.chunks.delete(chunk.key);
    if (chunk.built.size === 0) return [];
    const ground = [];
    const shadows = [];
    const standing = [];
    for (const [tile, kind] of chunk.built) {
      const x = chunk.cx * TILES + (tile % TILES);
      const y = chunk.cy * TILES + Math.floor(tile / TILES);
      const mask = this.mask(x, y, kind);
      if (this.lying[kind]) {
        ground.push({ frame: this.lying[kind][mask], x, y });
      } else if (this.standing[kind]) {
        shadows.push({ x, y, alpha: SHADES[kind] });
        standing.push(this.piece(kind, mask, x, y));
      }
    }
    this.chunks.set(chunk.key, { chunk, ground, shadows });
    return standing;
  }

  /** A picture whose south edge is that of its tile; drawn before whoever stands south of the tile's middle. */
  piece(kind, mask, x, y) {
    const height = HEIGHTS[kind];
    const sorted = y + 0.5;
    const lift = sorted + height * FOOT - (y + 1 + SINKS[kind]); // the scene draws a picture's foot at its y
    return { x: x + 0.5, y: sorted, lift, frame: this.standing[kind][mask], width: 1, height, sway: 0, flip: false, tint: 0xffffff, hides: false, veil: 1, veilWanted: 1 };
  }

  mask(x, y, kind) {
    const same = (dx, dy) => {
      const beside = this.builtAt(x + dx + 0.5, y + dy + 0.5);
      return beside === kind || (kind === Build.PATH && this.lying[beside] !== undefined); // a path leads up to floors and paving
    };
    return (same(0, -1) && NORTH) | (same(1, 0) && EAST) | (same(0, 1) && SOUTH) | (same(-1, 0) && WEST);
  }

  /** What lies on the ground in sight, and the shadows of what stands. */
  addGround(batch, { left, right, top, bottom }, originX, originY) {
    for (const { chunk, ground, shadows } of this.chunks.values()) {
      const x0 = chunk.cx * TILES;
      const y0 = chunk.cy * TILES;
      if (x0 > right || x0 + TILES < left || y0 > bottom || y0 + TILES < top) continue;
      for (const { frame, x, y } of ground) batch.add(frame, x - originX, y - originY, 1, 1, WHITE);
      for (const { x, y, alpha } of shadows) batch.add(this.shadow, x - originX - 0.15, y - originY - 0.1, 1.9, 1.75, packColour(0xffffff, alpha));
    }
  }
}
