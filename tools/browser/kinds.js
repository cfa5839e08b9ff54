// What the numbers in a chunk mean to the eye. The numbers are those of Ground and ObjectKind in world/terrain.py.

export const Ground = Object.freeze({
  DEEP_WATER: 0, WATER: 1, SHALLOWS: 2, RIVER: 3, SAND: 4, GRASS: 5, SCRUB: 6, WOOD: 7, MARSH: 8, TUNDRA: 9, ROCK: 10, SNOW: 11,
});

export const ObjectKind = Object.freeze({
  CONIFER: 0, BROADLEAF: 1, PALM: 2, BUSH: 3, DEAD_TREE: 4, CACTUS: 5, BOULDER: 6, FLOWER: 7, REED: 8,
});

/** What a tile's hillshade does to its colour: the server's light, with softer shadows for being close up. 128 is flat. */
export function lightOf(ground, shade) {
  if (isWater(ground)) return 1;
  const light = shade / 128;
  return light < 1 ? 0.38 + 0.62 * light : 1 + 0.7 * (light - 1);
}

/** False for -1, the ground that is not known. */
export const isWater = (ground) => ground >= Ground.DEEP_WATER && ground <= Ground.RIVER;

/** The surfaces that have a texture of their own, and which of them each Ground wears (water wears none). */
export const SURFACES = ["grass", "litter", "sand", "rock", "snow"];
export const SURFACE_OF = [-1, -1, -1, -1, 2, 0, 0, 1, 0, 3, 3, 4];

/** Shadow on the ground, per ObjectKind: radius in tiles at size 1, how far it reaches south-east, how dark. */
export const SHADOW_OF = [
  { radius: 0.62, reach: 0.85, dark: 1 },
  { radius: 0.82, reach: 0.75, dark: 1 },
  { radius: 0.6, reach: 1.0, dark: 0.8 },
  { radius: 0.5, reach: 0.25, dark: 0.9 },
  { radius: 0.4, reach: 0.8, dark: 0.6 },
  { radius: 0.34, reach: 0.5, dark: 0.9 },
  { radius: 0.52, reach: 0.26, dark: 1 },
  { radius: 0.12, reach: 0.04, dark: 0.4 },
  { radius: 0.16, reach: 0.1, dark: 0.4 },
];
