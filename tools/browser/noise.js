// Seamless noise and chance for drawing: everything repeats every 32 tiles, the size of a chunk, so that one table serves every
// chunk and two neighbours always meet. Nothing here shapes the world (the server does that); it only gives surfaces a hand-made
// unevenness.

/** 32 well-mixed bits of two whole numbers and a salt. */
export function hash(x, y, salt) {
  let h = (Math.imul(x, 374761393) + Math.imul(y, 668265263) + Math.imul(salt, 1274126177)) | 0;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}

/** A function that gives the next number in [0, 1) of a fixed sequence (mulberry32). */
export function chances(seed) {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

const fade = (t) => t * t * t * (t * (t * 6 - 15) + 10);

/** Gradient noise on size x size samples that repeats at its edges; `cells` lattice cells a side. Values in about -1..1. */
export function seamlessNoise(size, cells, seed) {
  const next = chances(seed);
  const gradients = Float32Array.from({ length: cells * cells }, () => next() * Math.PI * 2);
  const gx = gradients.map(Math.cos);
  const gy = gradients.map(Math.sin);
  const out = new Float32Array(size * size);
  const step = cells / size;
  for (let row = 0; row < size; row += 1) {
    const v = row * step;
    const j = Math.floor(v);
    const fy = v - j;
    const sy = fade(fy);
    const top = (j % cells) * cells;
    const bottom = ((j + 1) % cells) * cells;
    for (let column = 0; column < size; column += 1) {
      const u = column * step;
      const i = Math.floor(u);
      const fx = u - i;
      const sx = fade(fx);
      const left = i % cells;
      const right = (i + 1) % cells;
      const a = gx[top + left] * fx + gy[top + left] * fy;
      const b = gx[top + right] * (fx - 1) + gy[top + right] * fy;
      const c = gx[bottom + left] * fx + gy[bottom + left] * (fy - 1);
      const d = gx[bottom + right] * (fx - 1) + gy[bottom + right] * (fy - 1);
      const upper = a + (b - a) * sx;
      out[row * size + column] = 1.5 * (upper + (c + (d - c) * sx - upper) * sy);
    }
  }
  return out;
}
