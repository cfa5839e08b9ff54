// Textures of the ground, drawn once with a brush: for each surface a transparent square of SURFACE_TILES a side that repeats at its edges
// (blades, grains, cracks), and small stamps (tufts, pebbles, twigs) that are strewn by chance. They darken and lighten what lies
// under them and have hardly a colour of their own, so that one grass serves meadow and steppe.

import { chances, hash, seamlessNoise } from "./noise.js";

const TAU = Math.PI * 2;
export const SURFACE_TILES = 16; // a chunk must be a whole number of these
const IN_MEMORY = { willReadFrequently: true }; // drawn by the processor: these are read many times, and by other canvases

/** A canvas of `pixels` a side on which `draw(context, next)` is repeated over the edges. */
function seamless(pixels, count, seed, draw) {
  const canvas = new OffscreenCanvas(pixels, pixels);
  const context = canvas.getContext("2d", IN_MEMORY);
  context.lineCap = "round";
  for (let index = 0; index < count; index += 1) {
    const next = chances(hash(index, 0, seed));
    const x = next() * pixels;
    const y = next() * pixels;
    const reach = pixels / SURFACE_TILES;
    for (const dx of x < reach ? [0, pixels] : x > pixels - reach ? [-pixels, 0] : [0]) {
      for (const dy of y < reach ? [0, pixels] : y > pixels - reach ? [-pixels, 0] : [0]) {
        const again = chances(hash(index, 1, seed));
        context.setTransform(1, 0, 0, 1, x + dx, y + dy);
        draw(context, again, index);
      }
    }
  }
  return canvas;
}

const DARK = (alpha) => `rgba(18,30,22,${alpha})`;
const LIGHT = (alpha) => `rgba(255,250,214,${alpha})`;

function stroke(context, x0, y0, x1, y1, bend, width, style) {
  context.strokeStyle = style;
  context.lineWidth = width;
  context.beginPath();
  context.moveTo(x0, y0);
  context.quadraticCurveTo((x0 + x1) / 2 + bend, (y0 + y1) / 2, x1, y1);
  context.stroke();
}

function blot(context, x, y, radius, squash, style) {
  context.fillStyle = style;
  context.beginPath();
  context.ellipse(x, y, radius, radius * squash, 0, 0, TAU);
  context.fill();
}

const BRUSHES = {
  grass(context, next, index, unit) {
    if (index % 9 === 0) {
      blot(context, 0, 0, unit * (0.25 + 0.5 * next()), 0.6, next() < 0.5 ? DARK(0.035) : LIGHT(0.04));
      return;
    }
    const length = unit * (0.1 + 0.13 * next());
    const lean = (next() - 0.35) * length;
    stroke(context, 0, 0, lean, -length, lean * 0.3, unit * 0.035, next() < 0.55 ? DARK(0.1) : LIGHT(0.12));
  },
  litter(context, next, index, unit) {
    if (index % 5 === 0) {
      blot(context, 0, 0, unit * (0.2 + 0.4 * next()), 0.7, DARK(0.06));
      return;
    }
    const angle = next() * TAU;
    context.rotate(angle);
    const size = unit * (0.04 + 0.05 * next());
    const shade = next();
    blot(context, 0, 0, size, 0.5, shade < 0.5 ? "rgba(60,38,16,.16)" : shade < 0.8 ? "rgba(190,140,60,.13)" : LIGHT(0.1));
  },
  sand(context, next, index, unit) {
    if (index % 10 === 0) {
      const length = unit * (0.12 + 0.26 * next());
      const bend = unit * 0.07 * (0.4 + next());
      const thick = unit * (0.03 + 0.03 * next());
      stroke(context, -length, 0, length, unit * 0.1 * (next() - 0.5), bend, thick, "rgba(128,92,40,.06)");
      stroke(context, -length, -thick, length, -thick + unit * 0.1 * (next() - 0.5), bend, thick, LIGHT(0.1));
      return;
    }
    if (index % 10 === 1) {
      blot(context, 0, 0, unit * (0.2 + 0.4 * next()), 0.55, next() < 0.5 ? "rgba(128,92,40,.035)" : LIGHT(0.06));
      return;
    }
    blot(context, 0, 0, unit * (0.012 + 0.018 * next()), 1, next() < 0.55 ? "rgba(110,76,30,.2)" : LIGHT(0.3));
  },
  rock(context, next, index, unit) {
    if (index % 16 === 0) {
      crack(context, next, unit);
      return;
    }
    if (index % 3 < 2) {
      facet(context, next, unit * (0.12 + 0.3 * next()));
      return;
    }
    blot(context, 0, 0, unit * (0.015 + 0.025 * next()), 0.8, next() < 0.5 ? "rgba(22,20,30,.16)" : LIGHT(0.2));
  },
  snow(context, next, index, unit) {
    if (index % 4 === 0) {
      const wide = unit * (0.25 + 0.6 * next());
      blot(context, 0, 0, wide, 0.42, "rgba(96,126,186,.045)");
      blot(context, -wide * 0.12, -wide * 0.12, wide * 0.94, 0.4, "rgba(255,255,255,.11)");
      return;
    }
    blot(context, 0, 0, unit * (0.01 + 0.012 * next()), 1, "rgba(255,255,255,.7)");
  },
};

/** A crack of a few straight pieces, lit on its southern lip. */
function crack(context, next, unit) {
  const points = [[0, 0]];
  let angle = 0.6 + (next() - 0.5) * 1.4;
  for (let piece = 0; piece < 3; piece += 1) {
    const length = unit * (0.1 + 0.2 * next());
    const [x, y] = points[points.length - 1];
    points.push([x + Math.cos(angle) * length, y + Math.sin(angle) * length * 0.8]);
    angle += (next() - 0.5) * 1.7;
  }
  for (const [drop, width, style] of [[unit * 0.045, unit * 0.025, LIGHT(0.2)], [0, unit * 0.035, "rgba(22,20,30,.22)"]]) {
    context.strokeStyle = style;
    context.lineWidth = width;
    context.beginPath();
    points.forEach(([x, y], index) => (index === 0 ? context.moveTo(x, y + drop) : context.lineTo(x, y + drop)));
    context.stroke();
  }
}

/** A flat piece of stone: an uneven polygon a little darker or lighter than the rest, bright on the edge to the light. */
function facet(context, next, reach) {
  const corners = 5 + Math.floor(next() * 2);
  const turn = next() * TAU;
  context.beginPath();
  for (let corner = 0; corner < corners; corner += 1) {
    const angle = turn + (corner / corners) * TAU;
    const far = reach * (0.7 + 0.5 * next());
    context.lineTo(Math.cos(angle) * far, Math.sin(angle) * far * 0.66);
  }
  context.closePath();
  context.fillStyle = next() < 0.5 ? "rgba(22,20,30,.05)" : LIGHT(0.055);
  context.fill();
}

const STROKES_PER_TILE = { grass: 15, litter: 15, sand: 15, rock: 8, snow: 5 };

/** The repeating texture of a surface: a canvas of SURFACE_TILES at `unit` pixels a tile. */
export function makeSurface(name, unit) {
  const brush = BRUSHES[name];
  return seamless(SURFACE_TILES * unit, SURFACE_TILES ** 2 * STROKES_PER_TILE[name], name.length * 7919 + name.charCodeAt(0), (context, next, index) => {
    brush(context, next, index, unit);
  });
}

const STAMPS = {
  tuft(context, next, unit) {
    const blades = 4 + Math.floor(next() * 5);
    const tall = 0.55 + 0.6 * next();
    blot(context, 0, 0, unit * 0.12, 0.4, DARK(0.1));
    for (let index = 0; index < blades; index += 1) {
      const lean = ((index + 0.5) / blades - 0.5) * 0.3 * unit + (next() - 0.5) * 0.07 * unit;
      const length = unit * (0.13 + 0.15 * next()) * tall;
      stroke(context, lean * 0.3, 0, lean, -length, -lean * 0.25, unit * 0.04, lean > 0 ? "rgba(20,48,22,.3)" : "rgba(238,250,176,.4)");
    }
  },
  bloom(context, next, unit) {
    const petals = ["#fff6e0", "#ffd95c", "#f6a5c0", "#c9b3ff", "#ff8f70"][Math.floor(next() * 5)];
    for (let index = 0; index < 3; index += 1) {
      const x = (next() - 0.5) * 0.4 * unit;
      const y = (next() - 0.5) * 0.26 * unit;
      stroke(context, x, y + unit * 0.1, x, y, 0, unit * 0.025, DARK(0.25));
      blot(context, x, y, unit * 0.045, 0.9, petals);
      blot(context, x - unit * 0.01, y - unit * 0.01, unit * 0.016, 1, "rgba(255,255,230,.8)");
    }
  },
  pebble(context, next, unit) {
    for (let index = 0; index < 1 + next() * 3; index += 1) {
      const x = (next() - 0.5) * 0.5 * unit;
      const y = (next() - 0.5) * 0.3 * unit;
      const size = unit * (0.03 + 0.06 * next());
      blot(context, x + size * 0.5, y + size * 0.4, size * 1.1, 0.6, DARK(0.25));
      blot(context, x, y, size, 0.72, "rgb(142,136,128)");
      blot(context, x - size * 0.25, y - size * 0.22, size * 0.55, 0.6, "rgba(226,220,206,.75)");
    }
  },
  twig(context, next, unit) {
    context.rotate((next() - 0.5) * 2.4);
    const length = unit * (0.14 + 0.16 * next());
    stroke(context, -length, unit * 0.03, length, unit * 0.03, 0, unit * 0.05, DARK(0.2));
    stroke(context, -length, 0, length, 0, unit * 0.03, unit * 0.04, "rgba(112,82,52,.8)");
    stroke(context, 0, 0, length * 0.6, -length * 0.5, 0, unit * 0.03, "rgba(128,96,62,.8)");
  },
  fern(context, next, unit) {
    for (let index = 0; index < 7; index += 1) {
      const angle = -Math.PI / 2 + (index - 3) * 0.42;
      const length = unit * (0.18 + 0.1 * next());
      stroke(context, 0, 0, Math.cos(angle) * length, Math.sin(angle) * length * 0.8, 0, unit * 0.05, index < 3 ? "rgba(150,190,90,.45)" : "rgba(24,58,30,.4)");
    }
  },
};

/** What is strewn on a surface: stamp, chance per tile, and how much it keeps together in patches (0 evenly, 1 only there). */
const STREWN = {
  grass: [["tuft", 0.34, 0.8], ["tuft", 0.3, 0.95], ["bloom", 0.05, 1], ["pebble", 0.025, 0.6]],
  litter: [["fern", 0.2, 0.8], ["twig", 0.12, 0.2], ["tuft", 0.12, 0.8]],
  sand: [["pebble", 0.06, 0.7]],
  rock: [["pebble", 0.3, 0.5], ["tuft", 0.07, 0.9]],
  snow: [["pebble", 0.015, 0.5]],
};

const VARIANTS = 8;
const PATCHES = 32; // samples of the noise that says where patches are, one a tile

/** All stamps drawn once: call the result as `strew(context, surface, tileX, tileY, left, top)` to strew one tile at a canvas place. */
export function makeStamps(unit) {
  const cell = unit;
  const names = Object.keys(STAMPS);
  const canvas = new OffscreenCanvas(cell * VARIANTS, cell * names.length);
  const context = canvas.getContext("2d", IN_MEMORY);
  context.lineCap = "round";
  names.forEach((name, row) => {
    for (let variant = 0; variant < VARIANTS; variant += 1) {
      context.setTransform(1, 0, 0, 1, (variant + 0.5) * cell, (row + 0.6) * cell);
      STAMPS[name](context, chances(hash(row, variant, 5)), unit);
    }
  });
  const patches = [5, 7, 6, 9].map((cells, index) => seamlessNoise(PATCHES, cells, 601 + index));
  return (target, surface, tileX, tileY, left, top) => {
    const at = (tileY & (PATCHES - 1)) * PATCHES + (tileX & (PATCHES - 1));
    STREWN[surface].forEach(([name, chance, together], index) => {
      const luck = hash(tileX, tileY, 11 + index);
      const dense = 1 - together + together * Math.max(0, 4 * patches[index][at]);
      if ((luck & 0xffff) / 65536 >= chance * dense) return;
      const place = hash(tileX, tileY, 31 + index);
      const x = left + ((place & 0xff) / 256 - 0.5) * unit;
      const y = top + (((place >>> 8) & 0xff) / 256 - 0.6) * unit;
      const variant = (luck >>> 16) % VARIANTS;
      target.drawImage(canvas, variant * cell, names.indexOf(name) * cell, cell, cell, Math.round(x), Math.round(y), cell, cell);
    });
  };
}
