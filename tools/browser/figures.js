// People: small figures that face eight ways and walk, dressed by their `look`.
//
// The atlas holds them in white: trousers, shirt and skin in every step of every direction, and a few ways to wear hair. A person
// is these four pictures on top of each other, each in its colour. West is east mirrored, so five directions are drawn.

import { packColour } from "./batch.js";

const TAU = Math.PI * 2;
const WIDTH = 1.35; // tiles of a picture
const HEIGHT = 1.85;
const FOOT_Y = 1.66; // from the top to the ground between the feet
const STEPS = 8; // pictures of a walk; one more stands
const STRIDE_TILES = 1.15; // ground covered by one walk cycle
const HAIR_WORDS = ["Short", "Long", "In a bun", "A cap", "Curls"];
const HAIRS = HAIR_WORDS.length;
const WADE_TILES = 0.22; // how far one sinks in shallow water

const SKIN = [0xf7d7be, 0xeec1a0, 0xdba57d, 0xc68a5f, 0xa86d46, 0x85522f, 0x683d22, 0xf2cdb4];
const HAIR = [0x2b211c, 0x4a3325, 0x74502f, 0xa9783f, 0xd9b56a, 0x8c3b24, 0x8b8b90, 0xe6e2da];
const SHIRT = [
  0xd9534a, 0xe8884a, 0xe9bd4e, 0x9bbf57, 0x4fa36b, 0x46a89d, 0x4c8fc9, 0x5a6fc4,
  0x8a63bd, 0xc065a8, 0xdd7d93, 0xf0efe6, 0x5a6570, 0xa8764f, 0x3f6f7d, 0x93a4b3,
];
const TROUSERS = [0x3d4a63, 0x57493d, 0x2f3338, 0x6d7a58, 0x7d6b55, 0x4d5f78, 0x6a4a52, 0xb5aa90];

/** What somebody wears: packed colours and a way of hair, from the 32 bits of `look`. */
export function dressOf(look) {
  return {
    skin: SKIN[look & 7],
    hair: HAIR[(look >>> 3) & 7],
    style: ((look >>> 6) & 0xff) % HAIRS,
    shirt: SHIRT[(look >>> 14) & 15],
    trousers: TROUSERS[(look >>> 18) & 7],
  };
}

const colours = (name, label, shift, table) => ({
  key: name,
  label,
  of: (look) => (look >>> shift) & (table.length - 1),
  shift,
  bits: table.length - 1,
  values: table.map((colour, value) => ({ value, words: `${label} ${value + 1}`, colour: `#${colour.toString(16).padStart(6, "0")}` })),
});

/** What there is to choose of a look: parts with their values, each with its words and, but for the ways of hair, its colour. */
export const LOOK = [
  { key: "style", label: "Hair", of: (look) => dressOf(look).style, shift: 6, bits: 0xff, values: HAIR_WORDS.map((words, value) => ({ value, words })) },
  colours("hair", "Colour of hair", 3, HAIR),
  colours("skin", "Skin", 0, SKIN),
  colours("shirt", "Shirt", 14, SHIRT),
  colours("trousers", "Trousers", 18, TROUSERS),
];

/** The look with another value of one part. */
export const dressedAs = (look, { shift, bits }, value) => ((look & ~(bits << shift)) | (value << shift)) >>> 0;

const OUTLINE = "rgba(0,0,0,.5)";

/** A shape lit from the north-west, in white to be coloured later. */
function shape(context, unit, path, { x, y, reach, light = 1 }) {
  const grey = (value) => `rgb(${Math.round(value * 255)},${Math.round(value * 255)},${Math.round(value * 255)})`;
  const glow = context.createRadialGradient(x - reach * 0.5, y - reach * 0.6, reach * 0.1, x, y, reach * 1.5);
  glow.addColorStop(0, grey(light));
  glow.addColorStop(0.55, grey(light * 0.88));
  glow.addColorStop(1, grey(light * 0.58));
  context.beginPath();
  path();
  context.fillStyle = glow;
  context.fill();
  context.strokeStyle = OUTLINE;
  context.lineWidth = unit * 0.028;
  context.stroke();
}

function limb(context, unit, x0, y0, x1, y1, thick, light) {
  context.strokeStyle = OUTLINE;
  context.lineWidth = thick + unit * 0.045;
  context.beginPath();
  context.moveTo(x0, y0);
  context.lineTo(x1, y1);
  context.stroke();
  const grey = Math.round(light * 235);
  context.strokeStyle = `rgb(${grey},${grey},${grey})`;
  context.lineWidth = thick;
  context.stroke();
}

/**
 * Where everything is in one step of one direction. `turn`: 0 south, 1 south-east, 2 east, 3 north-east, 4 north. `phase` in turns,
 * null when standing. Lengths in tiles.
 */
function pose(turn, phase) {
  const side = Math.sin((turn * Math.PI) / 4); // how much is seen from the side
  const away = Math.cos((turn * Math.PI) / 4); // 1 facing us, -1 facing away
  const swing = phase === null ? 0 : Math.sin(phase * TAU);
  const rise = phase === null ? 0 : Math.abs(Math.cos(phase * TAU));
  const bob = phase === null ? 0 : rise * 0.045;
  const leg = (one) => {
    const forward = swing * one;
    const lift = phase === null ? 0 : Math.max(0, Math.cos(phase * TAU) * one) * 0.1;
    return {
      hipX: one * 0.085 * Math.abs(away),
      footX: one * 0.1 * Math.abs(away) + forward * 0.2 * side,
      footY: FOOT_Y - lift + forward * 0.06 * away,
    };
  };
  const arm = (one) => {
    const forward = -swing * one;
    return {
      shoulderX: one * (0.2 * Math.abs(away) + 0.02),
      handX: one * (0.25 * Math.abs(away) + 0.01) + forward * 0.2 * side,
      handY: 1.22 + forward * 0.05 * away - Math.abs(forward) * 0.02,
    };
  };
  return { turn, side, away, bob, legs: [leg(-1), leg(1)], arms: [arm(-1), arm(1)] };
}

const PARTS = {
  trousers(context, unit, { bob, legs }) {
    const middle = (WIDTH / 2) * unit;
    legs.forEach((leg, index) => {
      const light = index === 0 ? 0.95 : 0.78;
      limb(context, unit, middle + leg.hipX * unit, (1.24 - bob) * unit, middle + leg.footX * unit, (leg.footY - 0.08) * unit, unit * 0.17, light);
    });
    for (const leg of legs) {
      context.fillStyle = "rgb(48,40,38)";
      context.beginPath();
      context.ellipse(middle + leg.footX * unit, (leg.footY - 0.04) * unit, unit * 0.115, unit * 0.07, 0, 0, TAU);
      context.fill();
    }
  },
  shirt(context, unit, { side, away, bob, arms }) {
    const middle = (WIDTH / 2) * unit;
    const y = (value) => (value - bob) * unit;
    const sleeve = (arm, light) => limb(context, unit, middle + arm.shoulderX * unit, y(0.94), middle + arm.handX * unit, y(arm.handY - 0.06), unit * 0.125, light);
    const [left, right] = arms;
    if (side > 0.4) sleeve(away >= 0 ? left : right, 0.62); // the far arm
    const half = 0.235 - 0.055 * side;
    shape(context, unit, () => {
      context.moveTo(middle - half * 0.8 * unit, y(0.84));
      context.quadraticCurveTo(middle, y(0.79), middle + half * 0.8 * unit, y(0.84));
      context.quadraticCurveTo(middle + half * 1.12 * unit, y(1.05), middle + half * unit, y(1.3));
      context.quadraticCurveTo(middle, y(1.36), middle - half * unit, y(1.3));
      context.quadraticCurveTo(middle - half * 1.12 * unit, y(1.05), middle - half * 0.8 * unit, y(0.84));
    }, { x: middle, y: y(1.02), reach: 0.34 * unit });
    if (side > 0.4) sleeve(away >= 0 ? right : left, 0.92);
    else arms.forEach((arm, index) => sleeve(arm, index === 0 ? 0.95 : 0.78));
  },
  skin(context, unit, { turn, side, away, bob, arms }) {
    const middle = (WIDTH / 2) * unit;
    const y = (value) => (value - bob) * unit;
    const hand = (arm) => shape(context, unit, () => context.arc(middle + arm.handX * unit, y(arm.handY), unit * 0.066, 0, TAU), { x: middle + arm.handX * unit, y: y(arm.handY), reach: unit * 0.08 });
    if (side <= 0.4) arms.forEach(hand);
    else hand(away >= 0 ? arms[1] : arms[0]);
    const headX = middle + side * 0.03 * unit;
    shape(context, unit, () => context.ellipse(headX, y(0.56), unit * 0.245, unit * 0.255, 0, 0, TAU), { x: headX, y: y(0.54), reach: unit * 0.26 });
    if (turn >= 3) return;
    const eyes = turn === 0 ? [-0.09, 0.09] : turn === 1 ? [0.0, 0.15] : [0.13];
    context.fillStyle = "rgb(42,34,38)";
    for (const eye of eyes) {
      context.beginPath();
      context.ellipse(headX + eye * unit, y(0.585), unit * 0.026, unit * 0.04, 0, 0, TAU);
      context.fill();
    }
    context.fillStyle = "rgba(200,70,60,.22)";
    for (const cheek of turn === 0 ? [-0.14, 0.14] : [0.08 + 0.02 * turn]) {
      context.beginPath();
      context.ellipse(headX + cheek * unit, y(0.655), unit * 0.045, unit * 0.03, 0, 0, TAU);
      context.fill();
    }
  },
};

/** Hair by style (0 short, 1 long, 2 bun, 3 cap, 4 curls), on a head that does not bob. */
function hair(context, unit, turn, style) {
  const side = Math.sin((turn * Math.PI) / 4);
  const away = Math.cos((turn * Math.PI) / 4);
  const x = (WIDTH / 2 + side * 0.03) * unit;
  const y = 0.56 * unit;
  const r = unit * 0.27;
  const back = -side * 0.06 * unit;
  const lit = { x: x + back, y: y - r * 0.3, reach: r };
  const face = away > 0.5 ? 0.3 : away > -0.2 ? 0.1 : -1; // how far down the forehead is free
  const cap = (grow) => {
    if (face < 0) {
      shape(context, unit, () => context.ellipse(x, y - r * 0.02, r * (1 + grow), r * (1.02 + grow), 0, 0, TAU), lit);
      return;
    }
    shape(context, unit, () => {
      context.arc(x, y, r * (1 + grow), Math.PI * (0.98 - 0.08 * side), TAU + Math.PI * (0.02 - 0.22 * side));
      context.quadraticCurveTo(x + r * (0.5 + 0.2 * side), y - r * (0.62 - face * 0.4), x + side * r * 0.5, y - r * 0.42);
      context.quadraticCurveTo(x - r * 0.35, y - r * 0.2, x - r * (1 + grow) * (1 - side * 0.3), y + r * (0.05 + side * 0.5));
      context.closePath();
    }, lit);
  };
  if (style === 1) {
    const long = away > 0.2 ? [-1, 1] : [];
    if (away <= 0.2) {
      shape(context, unit, () => context.ellipse(x + back, y + r * 0.35, r * 0.86, r * 1.05, 0, 0, TAU), lit);
    }
    for (const one of long) {
      if (side > 0.4 && one > 0) continue;
      shape(context, unit, () => context.ellipse(x + one * r * 0.86 + back * 0.5, y + r * 0.42, r * 0.24, r * 0.72, one * -0.12, 0, TAU), lit);
    }
  }
  if (style === 2) {
    shape(context, unit, () => context.arc(x + back * 2.2, y - r * 1.08, r * 0.42, 0, TAU), { x: x + back, y: y - r * 1.15, reach: r * 0.45 });
  }
  cap(style === 4 ? 0.05 : 0);
  if (style === 4) {
    const curls = 9;
    for (let index = 0; index < curls; index += 1) {
      const angle = Math.PI * (0.95 + (index / (curls - 1)) * 1.1);
      const cx = x + back * 0.4 + Math.cos(angle) * r * 0.92;
      const cy = y - r * 0.1 + Math.sin(angle) * r * 0.92;
      shape(context, unit, () => context.arc(cx, cy, r * 0.3, 0, TAU), { x: cx, y: cy, reach: r * 0.32 });
    }
  }
  if (style === 3) {
    shape(context, unit, () => {
      context.ellipse(x, y - r * 0.28, r * 1.08, r * 0.86, 0, Math.PI, TAU);
      context.closePath();
    }, lit);
    if (away > -0.3) {
      shape(context, unit, () => context.ellipse(x + side * r * 0.7, y - r * 0.24, r * (0.8 - 0.2 * side), r * 0.2, 0, 0, TAU), { x, y: y - r * 0.3, reach: r, light: 0.8 });
    }
  }
}

export class Figures {
  constructor(atlas) {
    const unit = atlas.unit;
    const picture = (draw) => atlas.draw(Math.ceil(WIDTH * unit), Math.ceil(HEIGHT * unit), (context) => draw(context));
    this.frames = [0, 1, 2, 3, 4].map((turn) =>
      Array.from({ length: STEPS + 1 }, (_, step) => {
        const at = pose(turn, step === STEPS ? null : step / STEPS);
        const frame = (part) => picture((context) => PARTS[part](context, unit, at));
        return { bob: at.bob, trousers: frame("trousers"), shirt: frame("shirt"), skin: frame("skin") };
      }),
    );
    this.hairs = [0, 1, 2, 3, 4].map((turn) =>
      Array.from({ length: HAIRS }, (_, style) => picture((context) => hair(context, unit, turn, style))),
    );
    this.shadow = atlas.draw(unit, unit / 2, (context, width, height) => {
      context.scale(1, 0.5);
      const soft = context.createRadialGradient(width / 2, height, 0, width / 2, height, width / 2);
      soft.addColorStop(0, "rgba(255,255,255,1)");
      soft.addColorStop(0.6, "rgba(255,255,255,.7)");
      soft.addColorStop(1, "rgba(255,255,255,0)");
      context.fillStyle = soft;
      context.fillRect(0, 0, width, width);
    });
    this.ring = atlas.draw(unit * 1.25, unit * 0.75, (context, width, height) => {
      context.strokeStyle = "white";
      context.lineWidth = unit * 0.05;
      context.beginPath();
      context.ellipse(width / 2, height / 2, width * 0.44, height * 0.42, 0, 0, TAU);
      context.stroke();
      context.fillStyle = "rgba(255,255,255,.14)";
      context.fill();
    });
  }

  /** Somebody as a picture `height` pixels high, who stands and looks at us; `source` is the atlas's canvas. */
  portrait(source, look, height) {
    const unit = height / HEIGHT;
    const canvas = document.createElement("canvas");
    canvas.width = Math.ceil(WIDTH * unit);
    canvas.height = height;
    const context = canvas.getContext("2d");
    const dress = dressOf(look);
    const frame = this.frames[0][STEPS];
    const worn = dress.style === 3 ? dress.shirt : dress.hair;
    for (const [part, colour] of [[frame.trousers, dress.trousers], [frame.shirt, dress.shirt], [frame.skin, dress.skin], [this.hairs[0][dress.style], worn]]) {
      context.drawImage(tinted(source, part, colour), part.left * canvas.width, part.top * height, (part.right - part.left) * canvas.width, (part.bottom - part.top) * height);
    }
    return canvas;
  }

  /** The soft shadow under a person (in water the ring of ripples), and the ring under oneself; drawn before all that stands. */
  addGround(batch, x, y, alpha, mine, wading, seconds) {
    if (wading > 0) {
      const spread = 0.6 + 0.4 * ((seconds * 0.9) % 1);
      const fade = wading * alpha * (1 - ((seconds * 0.9) % 1));
      batch.add(this.ring, x - 0.42 * spread, y - 0.26 * spread, 0.84 * spread, 0.5 * spread, packColour(0xf2ffff, 0.8 * fade));
    }
    if (mine) batch.add(this.ring, x - 0.5, y - 0.32, 1.0, 0.6, packColour(0xfff3c4, 0.75 * alpha));
    batch.add(this.shadow, x - 0.32, y - 0.12, 0.95, 0.4, packColour(0x0e1422, 0.42 * alpha * (1 - 0.6 * wading)));
  }

  /** A person with the feet at (x, y); `wading` 0..1 is how deep in shallow water: they stand lower and their feet are not seen. */
  add(batch, person, x, y, alpha, wading) {
    const eighth = Math.round((person.heading / TAU) * 8 + 8) % 8; // 0 east, 2 south, 4 west, 6 north
    const turn = [2, 1, 0, 1, 2, 3, 4, 3][eighth];
    const flip = eighth === 3 || eighth === 4 || eighth === 5;
    const walking = person.speed > 0.3;
    const step = walking ? Math.floor((person.walked / STRIDE_TILES) * STEPS) % STEPS : STEPS;
    const frame = this.frames[turn][step];
    const dress = person.dress;
    const left = x - WIDTH / 2;
    const sunk = wading * WADE_TILES;
    const top = y - FOOT_Y + sunk;
    const legs = sunk > 0 ? cutBelow(frame.trousers, (FOOT_Y - sunk) / HEIGHT) : frame.trousers;
    batch.add(legs, left, top, WIDTH, HEIGHT, packColour(dress.trousers, alpha), 0, flip);
    batch.add(frame.shirt, left, top, WIDTH, HEIGHT, packColour(dress.shirt, alpha), 0, flip);
    batch.add(frame.skin, left, top, WIDTH, HEIGHT, packColour(dress.skin, alpha), 0, flip);
    const worn = dress.style === 3 ? dress.shirt : dress.hair;
    batch.add(this.hairs[turn][dress.style], left, top - frame.bob, WIDTH, HEIGHT, packColour(worn, alpha), 0, flip);
  }
}

/** A white picture in its colour, as the batch would show it. */
function tinted(source, { x, y, width, height }, colour) {
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d");
  context.drawImage(source, x, y, width, height, 0, 0, width, height);
  context.globalCompositeOperation = "multiply";
  context.fillStyle = `#${colour.toString(16).padStart(6, "0")}`;
  context.fillRect(0, 0, width, height);
  context.globalCompositeOperation = "destination-in";
  context.drawImage(source, x, y, width, height, 0, 0, width, height);
  return canvas;
}

const cut = { u0: 0, v0: 0, u1: 0, v1: 0, left: 0, top: 0, right: 1, bottom: 1 };

/** The part of a picture above a line (0 is the top of the whole, 1 its bottom); valid until the next call. */
function cutBelow(frame, line) {
  Object.assign(cut, frame);
  if (frame.bottom > line) {
    const kept = Math.max(0, (line - frame.top) / (frame.bottom - frame.top));
    cut.v1 = frame.v0 + (frame.v1 - frame.v0) * kept;
    cut.bottom = frame.top + (frame.bottom - frame.top) * kept;
  }
  return cut;
}

export const HEAD_TILES = 1.42; // how far above the feet a head ends
