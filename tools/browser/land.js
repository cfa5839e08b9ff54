// Whose land is it: the parcels around me, kept true.
//
// Parcels of cells in sight are told of as they change; what lies further away, or was not in sight, is asked for page by page whenever
// my cell changes. What is told while a page is on its way is newer than the page. An event goes to many and does not say what I may do
// on the parcel, so after one the surroundings are asked for again. Nor does it say whether the parcel is for sale or in an auction: other
// events do.

import { merged } from "./auction.js";
import { OPEN } from "./movement.js";
import { Standing } from "./protocol.js";

const CELL_TILES = 32;
const REACH_CELLS = 3; // around mine that are looked at; as far as the ground is known
const LOOK_MS = 400; // between two looks
const PLOTS_EDGE = 2 ** 17; // more than there are, from the middle to any edge

const touches = (one, other) =>
  one.x < other.x + other.width && other.x < one.x + one.width && one.y < other.y + other.height && other.y < one.y + one.height;

const isInside = (one, x, y) => Boolean(one) && x >= one.x && x < one.x + one.width && y >= one.y && y < one.y + one.height;

/** Who stands there as an owner does: the tenant while it is let. */
const holderOf = ({ owner_id, lease }) => lease?.tenant_id ?? owner_id;

/** Whether it was not for sale like that. My maximum changes nothing that others see, so an auction's `seq` stays. */
const isSoldOtherwise = (known, now) =>
  known.listing?.seq !== now.listing?.seq || known.auction?.seq !== now.auction?.seq || known.auction?.maximum !== now.auction?.maximum;

/** The colour of an owner's land, as [hue in degrees, saturation, lightness]; the same in tools/owners.py. Gold is kept for mine. */
export function ownerColour(ownerId) {
  const share = (ownerId * 0.6180339887498949) % 1;
  return [(70 + 320 * share) % 360, 0.62, 0.6];
}

export class Land {
  /** `on.changed()` when any parcel is another than before, `on.given()` when one is given to me, or not any more. */
  constructor(connection, on) {
    this.connection = connection;
    this.on = on;
    this.known = new Map(); // parcel_id -> parcel
    this.byPlot = new Map(); // number of a plot -> parcel
    this.plotTiles = 16;
    this.me = null;
    this.passes = false;
    this.around = null; // the rectangle that is looked at, in tiles
    this.cell = "";
    this.due = false;
    this.looking = false;
    this.lookedAt = 0;
    this.told = new Set(); // parcels told of since a page was asked for
  }

  /** On entering. `passes`: closed land is none to me. */
  enter(me, plotTiles, passes) {
    if (me !== this.me) {
      this.known.clear();
      this.byPlot.clear();
      this.on.changed();
    }
    this.me = me;
    this.plotTiles = plotTiles;
    this.passes = passes;
    this.cell = "";
    this.around = null;
  }

  /** My player is in this cell. */
  sees(cx, cy) {
    if (this.cell === `${cx},${cy}`) return;
    this.cell = `${cx},${cy}`;
    const side = (2 * REACH_CELLS + 1) * CELL_TILES;
    this.around = { x: (cx - REACH_CELLS) * CELL_TILES, y: (cy - REACH_CELLS) * CELL_TILES, width: side, height: side };
    this.due = true;
    for (const parcel of this.known.values()) if (!touches(parcel, this.around)) this.remove(parcel.parcel_id);
  }

  /** Looks around where that is due. Cheap; called now and then. */
  look(now) {
    if (!this.due || this.looking || now - this.lookedAt < LOOK_MS) return;
    this.due = false;
    this.looking = true;
    this.lookedAt = now;
    this.survey(this.around).catch(() => (this.due = true)).finally(() => (this.looking = false));
  }

  async survey(around) {
    for (let after = 0, more = true; more; ) {
      this.told.clear();
      const page = await this.connection.request("land_in", { ...around, after });
      if (around !== this.around) return; // I am elsewhere by now, and shall look there
      more = page.more;
      const last = more ? page.parcels.at(-1).parcel_id : Infinity;
      this.take(around, page.parcels, after, last);
      after = last;
    }
  }

  /** A page: all parcels that touch `around` with ids above `after`, up to `last`. */
  take(around, parcels, after, last) {
    const found = new Set(parcels.map(({ parcel_id }) => parcel_id));
    for (const { parcel_id } of [...this.known.values()]) {
      const gone = parcel_id > after && parcel_id <= last && !found.has(parcel_id) && !this.told.has(parcel_id);
      if (gone) this.remove(parcel_id);
    }
    for (const parcel of parcels) if (!this.told.has(parcel.parcel_id)) this.put(parcel);
    this.on.changed();
  }

  /** The messages `land_claimed` and `land_changed`. */
  changed({ parcel }) {
    const old = this.known.get(parcel.parcel_id);
    const mine = holderOf(parcel) === this.me;
    const kept = old && holderOf(old) === holderOf(parcel) ? old.standing : Standing.NONE;
    this.told.add(parcel.parcel_id);
    if ((parcel.given_to === this.me) !== (old?.given_to === this.me)) this.on.given();
    this.put({ ...parcel, listing: old?.listing ?? null, auction: old?.auction ?? null, standing: mine ? (parcel.lease ? Standing.TENANT : Standing.OWNER) : kept });
    if (!mine) this.due = true;
    this.on.changed();
  }

  /** The message `land_freed`. */
  freed({ parcel_id }) {
    this.told.add(parcel_id);
    this.remove(parcel_id);
    this.on.changed();
  }

  /** The messages `listing_opened` and `listing_changed`. */
  listed({ listing }) {
    this.trade(listing.parcel_id, { listing });
  }

  /** The message `listing_ended`. */
  unlisted({ parcel_id, listing_id }) {
    const parcel = this.known.get(parcel_id);
    if (!parcel || parcel.listing?.listing_id === listing_id) this.trade(parcel_id, { listing: null });
  }

  /** The message `auction_opened`. */
  auctioned({ auction }) {
    const known = this.known.get(auction.parcel_id)?.auction;
    this.trade(auction.parcel_id, { auction: merged(known, auction, this.me) });
  }

  /** The messages `auction_bid` and `auction_extended`, which say what has changed of an auction. */
  bidden(news) {
    const known = this.known.get(news.parcel_id)?.auction;
    if (known?.auction_id === news.auction_id) this.trade(news.parcel_id, { auction: merged(known, news, this.me) });
    else this.due = true; // what else there is to know of it is asked
  }

  /** The message `auction_ended`. */
  unauctioned({ parcel_id, auction_id }) {
    const parcel = this.known.get(parcel_id);
    if (!parcel || parcel.auction?.auction_id === auction_id) this.trade(parcel_id, { auction: null });
  }

  /** A parcel is for sale, or in an auction, like that: `sale` has the listing or the auction, null where it is over. */
  trade(parcelId, sale) {
    const parcel = this.known.get(parcelId);
    if (!parcel) {
      this.due = true; // it may be on a page that is on its way, as it was before
      return;
    }
    this.told.add(parcelId);
    this.put({ ...parcel, ...sale });
    this.on.changed();
  }

  /** Parcels of an answer. Of those around me that are not in sight nobody told whether they are for sale since I looked. */
  learn(parcels) {
    const news = parcels.filter((parcel) => {
      const known = this.known.get(parcel.parcel_id);
      return this.covers(parcel) && (!known || isSoldOtherwise(known, parcel));
    });
    for (const parcel of news) {
      const known = this.known.get(parcel.parcel_id)?.auction;
      this.put({ ...parcel, auction: parcel.auction && merged(known, parcel.auction, this.me) });
    }
    if (news.length > 0) this.on.changed();
  }

  /** A player is called so from now on. Nobody tells it of the land. */
  named(playerId, name) {
    let changed = false;
    for (const parcel of [...this.known.values()]) {
      const { lease, auction } = parcel;
      const owns = parcel.owner_id === playerId && parcel.owner_name !== name;
      const rents = lease?.tenant_id === playerId && lease.tenant_name !== name;
      const leads = auction?.leader_id === playerId && auction.leader_name !== name;
      if (!owns && !rents && !leads) continue;
      this.put({
        ...parcel,
        owner_name: owns ? name : parcel.owner_name,
        lease: rents ? { ...lease, tenant_name: name } : lease,
        auction: leads ? { ...auction, leader_name: name } : auction,
      });
      changed = true;
    }
    if (changed) this.on.changed();
  }

  put(parcel) {
    this.remove(parcel.parcel_id);
    this.known.set(parcel.parcel_id, parcel);
    for (const plot of this.plotsOf(parcel)) this.byPlot.set(plot, parcel);
  }

  remove(parcelId) {
    const old = this.known.get(parcelId);
    if (!old) return;
    this.known.delete(parcelId);
    for (const plot of this.plotsOf(old)) if (this.byPlot.get(plot) === old) this.byPlot.delete(plot);
  }

  *plotsOf({ x, y, width, height }) {
    const side = this.plotTiles;
    for (let top = y; top < y + height; top += side) for (let left = x; left < x + width; left += side) yield this.plotAt(left, top);
  }

  plotAt(x, y) {
    return (Math.floor(x / this.plotTiles) + PLOTS_EDGE) * 2 * PLOTS_EDGE + Math.floor(y / this.plotTiles) + PLOTS_EDGE;
  }

  /** The parcel at a place; null where it is nobody's, as far as is known. */
  at(x, y) {
    return this.byPlot.get(this.plotAt(x, y)) ?? null;
  }

  /** Whether a parcel that is there would be known. */
  covers(rectangle) {
    return this.around !== null && touches(rectangle, this.around);
  }

  /** The closed parcel at a place that I may not enter; OPEN where I may walk, as on a way that it grants. */
  gateAt = (x, y) => {
    const parcel = this.passes ? null : this.at(x, y);
    const opened = parcel === null || parcel.open_enter || parcel.standing >= Standing.VISITOR || isInside(parcel.way, x, y);
    return opened ? OPEN : parcel.parcel_id;
  };

  /** Why I may not build on a tile, in words; null where I may, as far as is known. */
  whyNotBuild(x, y) {
    const parcel = this.at(x, y);
    if (parcel === null) return "Nobody owns this land: claim it (P), then build on it.";
    const called = parcel.name || `parcel ${parcel.parcel_id}`;
    if (parcel.auction) return `Nobody builds on ${called} while it is in an auction.`;
    if (parcel.open_build || parcel.standing >= Standing.BUILDER) return null;
    const holder = parcel.lease ? parcel.lease.tenant_name : parcel.owner_name;
    return `Only builders of ${called} may build here; ask ${holder}.`;
  }

  /** My parcels that make a rectangle together with one of mine, and are not for sale. */
  mergeable(parcel) {
    return [...this.known.values()].filter((other) => {
      if (other.owner_id !== parcel.owner_id || other.parcel_id === parcel.parcel_id || other.listing || other.auction) return false;
      const beside = other.y === parcel.y && other.height === parcel.height && (other.x + other.width === parcel.x || parcel.x + parcel.width === other.x);
      const below = other.x === parcel.x && other.width === parcel.width && (other.y + other.height === parcel.y || parcel.y + parcel.height === other.y);
      return beside || below;
    });
  }
}
