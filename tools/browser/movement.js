// The rule of walking, the same as in world/movement.py (its head explains it); tests/vectors/movement.json keeps the two alike.

const WORLD_TILES_MAX = 2 ** 20;
const BOUND = WORLD_TILES_MAX - 1 / 2048;
const ESCAPE_PERCENT = 50;
export const UNLOADED = -1;
export const OPEN = 0; // as a gate: anybody may walk there
const openEverywhere = () => OPEN;

/**
 * One step from (x, y) along an intent (dx, dy) of length at most 1. `stride` is how many tiles a whole intent goes in this step on
 * good ground; `walkAt(x, y)` gives a place's percent of full speed, 0 where blocked, UNLOADED where the ground is not known;
 * `gateAt(x, y)` the closed parcel there that the walker may not enter, or OPEN: its border is a wall, but not to who is inside already.
 * Returns the new place.
 */
export function stepMovement(x, y, dx, dy, stride, walkAt, gateAt = openEverywhere) {
  const ground = walkAt(x, y);
  if (ground === UNLOADED) return { x, y };
  const percent = ground > 0 ? ground : ESCAPE_PERCENT;
  const here = gateAt(x, y);
  const mayEnter = (toX, toY) => {
    if (Math.abs(toX) > BOUND || Math.abs(toY) > BOUND) return false;
    const there = walkAt(toX, toY);
    if (!(there > 0 || (ground === 0 && there === 0))) return false;
    const gate = gateAt(toX, toY);
    return gate === OPEN || gate === here;
  };
  const toX = x + (dx * stride * percent) / 100;
  const toY = y + (dy * stride * percent) / 100;
  if (mayEnter(toX, toY)) return { x: toX, y: toY };
  if (mayEnter(toX, y)) return { x: toX, y };
  if (mayEnter(x, toY)) return { x, y: toY };
  return { x, y };
}
