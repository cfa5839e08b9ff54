// Whose land it is, on the ground: a fine border in the owner's colour and a tint that leaves the ground to be seen; mine is gold. With it
// whatever is being marked: plots for a claim, a line to split along, a tile to build on, and what was built and is not confirmed yet.
//
// Lines have a width in screen pixels. `marks` says what is marked, see Overlay.marks.

import { packColour } from "./batch.js";
import { ownerColour } from "./land.js";

const LINE_PX = 2;
const MINE_PX = 3;
const SHADE_PX = 1.4; // a dark hairline outside of the line, so that it is seen on snow and in the wood
const GLOW_TILES = 1.4; // along the border the colour fades towards the inside
const GLOW = 0.34;
const TINT = 0.08;
const TINT_MINE = 0.1;
const TINT_CHOSEN = 0.18;
const CORNER_TILES = 2.2; // of what is for sale each corner is marked so far; in an auction the middle of each side, too
const CORNER_PX = 4;
const WAY = 0.13; // what everybody may walk on
const GHOST = 0.55;
const MINE = 0xffd66b;
const GOOD = 0x8fe39a;
const BAD = 0xff7d5c;
const DARK = 0x0a1016;
const WHITE = 0xffffff;

function rgbOf([hue, saturation, lightness]) {
  const part = (shift) => {
    const k = (shift + hue / 30) % 12;
    const value = lightness - saturation * Math.min(lightness, 1 - lightness) * Math.max(-1, Math.min(k - 3, 9 - k, 1));
    return Math.round(value * 255);
  };
  return (part(0) << 16) | (part(8) << 8) | part(4);
}

export class Overlay {
  /** `buildings` gives the pictures of ghosts. */
  constructor(atlas, buildings) {
    this.buildings = buildings;
    this.whole = pixelOf(atlas.draw(8, 8, (context) => fill(context, 8, 8, "#fff")));
    const [south, east] = [[0, 32], [32, 0]].map(([x, y]) =>
      atlas.draw(32, 32, (context) => {
        const fade = context.createLinearGradient(0, 0, x, y);
        fade.addColorStop(0, "rgba(255,255,255,1)");
        fade.addColorStop(0.4, "rgba(255,255,255,.34)");
        fade.addColorStop(1, "rgba(255,255,255,0)");
        fill(context, 32, 32, fade);
      }));
    this.fades = { south, east, north: { ...south, v0: south.v1, v1: south.v0 }, west: { ...east, u0: east.u1, u1: east.u0 } };
    this.parcels = []; // those known
    this.me = null;
    this.marks = {
      chosen: null, // parcel_id of the one that is looked at
      grid: 0, // side of the plots to be drawn, in tiles; 0 for none
      claim: null, // { x, y, width, height, good }: plots to be claimed; good null while nobody knows
      cut: null, // { x, y, width, height }: a line, one of its sides 0
      tile: null, // { x, y, good }: a tile to build on
      ghosts: [], // [{ x, y, kind }]: tiles that are not confirmed yet
    };
  }

  colourOf({ owner_id }) {
    return owner_id === this.me ? MINE : rgbOf(ownerColour(owner_id));
  }

  /** Adds it all to a batch whose origin is (originX, originY), for what is in `sight` at `zoom` pixels a tile. */
  add(batch, sight, zoom, originX, originY) {
    const put = (x, y, width, height, colour, alpha) => batch.add(this.whole, x - originX, y - originY, width, height, packColour(colour, alpha));
    const fade = (way, x, y, width, height, colour, alpha) =>
      batch.add({ ...this.fades[way], left: 0, top: 0, right: 1, bottom: 1 }, x - originX, y - originY, width, height, packColour(colour, alpha));
    const { marks } = this;
    if (marks.grid > 0) this.addGrid(put, sight, zoom, marks.grid);
    for (const parcel of this.parcels) if (touches(parcel, sight)) this.addParcel(put, fade, parcel, zoom);
    if (marks.claim) this.addClaim(put, marks.claim, zoom);
    if (marks.cut) this.addCut(put, marks.cut, zoom);
    if (marks.tile) frame(put, { ...marks.tile, width: 1, height: 1 }, 2 / zoom, marks.tile.good ? WHITE : BAD, 0.9);
  }

  addParcel(put, fade, parcel, zoom) {
    const colour = this.colourOf(parcel);
    const mine = parcel.owner_id === this.me;
    const chosen = parcel.parcel_id === this.marks.chosen;
    const tint = chosen ? TINT_CHOSEN : mine ? TINT_MINE : TINT;
    put(parcel.x, parcel.y, parcel.width, parcel.height, colour, tint);
    const line = (mine || chosen ? MINE_PX : LINE_PX) / zoom;
    const shade = SHADE_PX / zoom;
    glow(fade, parcel, colour, GLOW + (chosen ? TINT_CHOSEN : 0));
    frame(put, parcel, shade, DARK, 0.5);
    frame(put, inset(parcel, shade), line, colour, 0.92);
    if (!parcel.open_enter) this.addBars(put, parcel, colour, line);
    if (parcel.listing || parcel.auction) this.addOffer(put, parcel, CORNER_PX / zoom);
    if (parcel.way) put(parcel.way.x, parcel.way.y, parcel.way.width, parcel.way.height, WHITE, WAY);
  }

  /** A closed parcel has a second line inside, like a fence. */
  addBars(put, parcel, colour, line) {
    frame(put, inset(parcel, 4.5 * line), line * 0.7, colour, 0.75);
  }

  /** What is for sale has white corners; what is in an auction is marked at the middle of each side, too. */
  addOffer(put, { x, y, width, height, auction }, line) {
    const along = auction ? [0, 0.5, 1] : [0, 1];
    for (const at of along) {
      const [east, south] = [x + at * (width - CORNER_TILES), y + at * (height - CORNER_TILES)];
      for (const side of [y, y + height - line]) put(east, side, CORNER_TILES, line, WHITE, 0.9);
      for (const side of [x, x + width - line]) put(side, south, line, CORNER_TILES, WHITE, 0.9);
    }
  }

  addGrid(put, { left, right, top, bottom }, zoom, side) {
    const width = 1 / zoom;
    for (let x = Math.ceil(left / side) * side; x < right; x += side) put(x - width / 2, top, width, bottom - top, WHITE, 0.2);
    for (let y = Math.ceil(top / side) * side; y < bottom; y += side) put(left, y - width / 2, right - left, width, WHITE, 0.2);
  }

  addClaim(put, claim, zoom) {
    const colour = claim.good === null ? WHITE : claim.good ? GOOD : BAD;
    put(claim.x, claim.y, claim.width, claim.height, colour, 0.22);
    frame(put, claim, 3 / zoom, colour, 0.95);
  }

  addCut(put, { x, y, width, height }, zoom) {
    const line = 4 / zoom;
    put(x - line, y - line, width + 2 * line, height + 2 * line, DARK, 0.55);
    put(x - line / 2, y - line / 2, width + line, height + line, WHITE, 0.95);
  }

  /** What was built and is not confirmed yet; drawn over what stands. */
  addGhosts(batch, originX, originY) {
    for (const { x, y, kind } of this.marks.ghosts) {
      const picture = this.buildings.pictureOf(kind);
      if (picture) {
        const top = y + 1 + picture.sink - picture.height;
        batch.add(picture.frame, x - originX, top - originY, 1, picture.height, packColour(WHITE, GHOST));
      } else {
        batch.add(this.whole, x - originX, y - originY, 1, 1, packColour(BAD, 0.4));
      }
    }
  }
}

function fill(context, width, height, style) {
  context.fillStyle = style;
  context.fillRect(0, 0, width, height);
}

/** The middle of a picture alone, so that no edge is soft. */
function pixelOf(picture) {
  const u = (picture.u0 + picture.u1) / 2;
  const v = (picture.v0 + picture.v1) / 2;
  return { ...picture, u0: u, u1: u, v0: v, v1: v, left: 0, top: 0, right: 1, bottom: 1 };
}

/** Colour that fades from the border towards the inside. */
function glow(fade, { x, y, width, height }, colour, alpha) {
  fade("south", x, y, width, GLOW_TILES, colour, alpha);
  fade("north", x, y + height - GLOW_TILES, width, GLOW_TILES, colour, alpha);
  fade("east", x, y, GLOW_TILES, height, colour, alpha);
  fade("west", x + width - GLOW_TILES, y, GLOW_TILES, height, colour, alpha);
}

const inset = ({ x, y, width, height }, by) => ({ x: x + by, y: y + by, width: width - 2 * by, height: height - 2 * by });

/** The four sides of a rectangle, `line` thick, inside it. */
function frame(put, { x, y, width, height }, line, colour, alpha) {
  put(x, y, width, line, colour, alpha);
  put(x, y + height - line, width, line, colour, alpha);
  put(x, y + line, line, height - 2 * line, colour, alpha);
  put(x + width - line, y + line, line, height - 2 * line, colour, alpha);
}

function touches({ x, y, width, height }, { left, right, top, bottom }) {
  return x < right && x + width > left && y < bottom && y + height > top;
}
