// The rule of walking, the same as in world/movement.py (its head explains it); tests/vectors/movement.json keeps the two alike.

const WORLD_TILES_MAX = 2 ** 20;
const BOUND = WORLD_TILES_MAX - 1 / 2048;
const ESCAPE_PERCENT = 50;
export const UNLOADED = -1;

/**
 * One step from (x, y) along an intent (dx, dy) of length at most 1. `stride` is how many tiles a whole intent goes in this step on
 * good ground; `walkAt(x, y)` gives a place's percent of full speed, 0 where blocked, UNLOADED where the ground is not known.
 * Returns the new place.
 */
export function stepMovement(x, y, dx, dy, stride, walkAt) {
  const ground = walkAt(x, y);
  if (ground === UNLOADED) return { x, y };
  const percent = ground > 0 ? ground : ESCAPE_PERCENT;
  const mayEnter = (toX, toY) => {
    if (Math.abs(toX) > BOUND || Math.abs(toY) > BOUND) return false;
    const there = walkAt(toX, toY);
    return there > 0 || (ground === 0 && there === 0);
  };
  const toX = x + (dx * stride * percent) / 100;
  const toY = y + (dy * stride * percent) / 100;
  if (mayEnter(toX, toY)) return { x: toX, y: toY };
  if (mayEnter(toX, y)) return { x: toX, y };
  if (mayEnter(x, toY)) return { x, y: toY };
  return { x, y };
}
