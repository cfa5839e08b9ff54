// The land panel: where I stand, what is given to me, my land, what is for sale and to let; one parcel with all that can be done there
// (parcel.js); choosing plots for a claim, or for a way; a line to split along. It shows one of these views, draws it anew when land
// changes, and says what the pointer draws meanwhile.

import { auctionLines, beatenText } from "./auction.js";
import { button, h } from "./dom.js";
import { rentText } from "./lease.js";
import { moneyText } from "./money.js";
import { nameOf, parcelRow, parcelView, sizeText, wayText } from "./parcel.js";
import { CutTool, PlotsTool } from "./plots.js";
import { RefusalCode, Standing } from "./protocol.js";
import { saleLines, tellTimes } from "./sale.js";

const RETRY_MS = 1000; // at least
const LATER = [RefusalCode.RATE_LIMITED, RefusalCode.UNAVAILABLE]; // refusals that say nothing of the land
const ARROWS = { ArrowUp: [0, -1], ArrowDown: [0, 1], ArrowLeft: [-1, 0], ArrowRight: [1, 0] };

/** Of a parcel's listing or auction, if it has one. */
const seqOf = ({ listing, auction }) => (listing ?? auction)?.seq ?? null;

export class LandPanel {
  /**
   * `land` and `wallet` are read, `marks` of the overlay written. `on`: request(name, fields), act(name, fields), toast(text),
   * colourOf(parcel), survey(high), here() -> { x, y }, worldMs() -> world time, won(parcel, auction_id, price) when I bought it at once, led(auction_id) when I lead, gifts(parcels) when it is known what is given to me.
   */
  constructor(panel, land, wallet, marks, on) {
    this.panel = panel;
    this.land = land;
    this.wallet = wallet;
    this.marks = marks;
    this.on = on;
    this.view = null; // draws what is shown
    this.tool = null; // what the pointer draws with
    this.parcel = null; // the one that is shown, as last seen
    this.permits = null;
    this.refused = null; // why it was not sold to me: { words, seq } with the seq of its sale by then
    this.stale = false; // more is for sale than the list has
    this.quote = null; // of the plots chosen: { plots, price }, or { refusal, againMs }: null, or it is no answer and when to ask again
    this.quoting = false;
    this.lists = { land_mine: null, land_for_sale: null, land_to_let: null }; // { parcels, more }
  }

  /** On entering: somebody may have given me land while I was away. */
  enter({ fee_basis_points, fee_min }) {
    this.fee = { share: fee_basis_points / 10_000, least: fee_min };
    this.list("land_mine", false, () => null);
  }

  /** The parcel under my feet, or the overview. */
  open() {
    const { x, y } = this.on.here();
    const parcel = this.land.at(x, y);
    if (parcel) this.show(parcel);
    else this.home();
  }

  close() {
    this.leave();
    this.view = null;
    this.panel.close();
  }

  /** Land or money has changed. */
  refresh() {
    if (this.parcel !== null) this.follow();
    else if (this.view === this.drawHome) this.list("land_mine");
    this.view?.();
  }

  /** A parcel is for sale, or for another price, or not any more; `opened`: it was not before. */
  traded(parcelId, opened) {
    this.stale ||= opened || !this.land.known.has(parcelId);
    if (this.parcel?.parcel_id === parcelId && !this.land.known.has(parcelId)) this.lookAgain();
  }

  /** Now and then. */
  advance() {
    if (this.view === null) return;
    tellTimes(this.panel.body, this.on.worldMs());
    if (!this.stale || this.view !== this.drawHome) return;
    this.stale = false;
    this.list("land_for_sale", false, () => null);
  }

  leave() {
    this.tool = null;
    this.parcel = null;
    this.permits = null;
    this.refused = null;
    Object.assign(this.marks, { claim: null, cut: null, chosen: null, grid: 0 });
    this.on.survey(false);
  }

  turnTo(view) {
    this.view = view;
    this.view();
  }

  // --- the overview ----------------------------------------------------------------------------------------

  home() {
    this.leave();
    this.stale = false;
    this.turnTo(this.drawHome);
    this.list("land_mine");
    this.list("land_for_sale");
    this.list("land_to_let");
  }

  /** A page of a list; `more` adds the next. */
  async list(name, more = false, otherwise = null) {
    const before = more ? this.lists[name].parcels : [];
    const from = !more ? {} : name === "land_mine" ? { after: before.at(-1).parcel_id } : { skip: before.length };
    const page = await this.on.request(name, from, otherwise);
    if (!page) return;
    this.lists[name] = { parcels: [...before, ...page.parcels], more: page.more };
    if (name === "land_mine") this.on.gifts(this.mine(true));
    if (name === "land_for_sale") this.land.learn(page.parcels);
    if (this.view === this.drawHome) this.view();
  }

  /** Of the list of my land what is only given to me, or what is not; null while nobody knows. */
  mine(given) {
    return this.lists.land_mine?.parcels.filter(({ given_to }) => (given_to === this.land.me) === given) ?? null;
  }

  /** A parcel that is not around me, as it was when it was asked for; null where it was not. */
  listed(parcelId) {
    const found = Object.values(this.lists).flatMap((list) => list?.parcels ?? []);
    return [this.parcel, ...found].find((parcel) => parcel?.parcel_id === parcelId) ?? null;
  }

  /** What is for sale of the list that was asked for; null while nobody knows. */
  forSale() {
    return this.lists.land_for_sale?.parcels.map((parcel) => this.land.known.get(parcel.parcel_id) ?? parcel).filter(({ listing, auction }) => listing || auction) ?? null;
  }

  drawHome() {
    const { x, y } = this.on.here();
    const here = this.land.at(x, y);
    const side = this.land.plotTiles;
    this.panel.show("land", "Land", "home", [
      here ? parcelRow(here, this.on.colourOf(here), () => this.show(here), "where you stand") : h("p", { class: "soft" }, "You stand on open land. It is nobody's, and can be claimed."),
      button("Claim land", () => this.claim(), { id: "claim", class: "main" }),
      ...(this.mine(true)?.length > 0 ? this.section("Given to you", "gifts", this.mine(true), (parcel) => [`from ${parcel.owner_name}, if you take it`]) : []),
      ...this.section("Your land", "land_mine", this.mine(false), (parcel) => [sizeText(parcel, side)], "You own none yet."),
      ...this.section("For sale near you", "land_for_sale", this.forSale(), (parcel) => (parcel.auction ? auctionLines : saleLines)(parcel, this.land.me, `${sizeText(parcel, side)}, ${wayText({ x, y }, parcel)}`), "Nothing just now."),
      ...this.section("To let near you", "land_to_let", this.lists.land_to_let?.parcels ?? null, (parcel) => [`${rentText(parcel.to_let)}, of ${parcel.owner_name}`], "Nothing just now."),
    ]);
    this.advance();
  }

  /** A list under its title; `parcels` null while nobody knows. `lines` has what is said about one. */
  section(title, name, parcels, lines, none) {
    const rows = (parcels ?? []).map((parcel) => parcelRow(parcel, this.on.colourOf(parcel), () => this.show(parcel), ...lines(parcel)));
    return [
      h("h3", {}, title),
      rows.length > 0 ? h("div", { class: "rows", id: name }, ...rows) : h("p", { class: "soft" }, parcels ? none : "…"),
      this.lists[name]?.more ? button("More", () => this.list(name, true), { class: "plain" }) : null,
    ];
  }

  // --- one parcel --------------------------------------------------------------------------------------------

  show(parcel) {
    this.leave();
    this.parcel = this.land.known.get(parcel.parcel_id) ?? parcel;
    this.marks.chosen = parcel.parcel_id;
    this.turnTo(this.drawParcel);
    this.askPermits();
  }

  /** The parcel that is shown, as it is now; the overview when it is no more. */
  follow() {
    const known = this.land.known.get(this.parcel.parcel_id);
    if (known === this.parcel) return;
    const was = this.parcel;
    if (known) {
      this.parcel = known;
      this.askPermits();
      if (this.view !== this.drawParcel && (known.width !== was.width || known.height !== was.height)) this.show(known);
    } else if (this.land.covers(was)) {
      this.home();
    }
  }

  async askPermits() {
    const { parcel } = this;
    if (parcel.standing >= Standing.MANAGER) {
      const found = await this.on.request("land_permits", { parcel_id: parcel.parcel_id }, () => null);
      if (this.parcel?.parcel_id !== parcel.parcel_id) return;
      this.permits = found?.permits ?? [];
    }
    this.view();
  }

  drawParcel() {
    const { parcel, refused } = this;
    const nodes = parcelView(parcel, {
      me: this.land.me,
      fee: this.fee,
      side: this.land.plotTiles,
      colour: this.on.colourOf(parcel),
      permits: this.permits,
      mergeable: this.land.mergeable(parcel),
      trouble: refused !== null && refused.seq === seqOf(parcel) ? refused.words : null,
      on: {
        act: (name, fields) => this.act(name, fields),
        buy: (listing) => this.buy(listing),
        bid: (auction, amount, maximum) => this.bid(auction, amount, maximum),
        toast: this.on.toast,
        find: (name) => this.find(name),
        settle: (...names) => this.panel.settle(...names),
        split: () => this.split(),
        ease: () => this.ease(),
        freed: () => this.home(),
        redraw: () => this.drawParcel(),
      },
    });
    this.panel.show("land", nameOf(parcel), `parcel ${parcel.parcel_id}`, [...nodes, this.back()]);
    tellTimes(this.panel.body, this.on.worldMs());
  }

  /** A durable action on the parcel that is shown; see Estate.act. What lies out of sight is looked at again, for nobody tells of it. */
  async act(name, fields, otherwise = null) {
    const { parcel_id } = this.parcel;
    const before = this.land.known.get(parcel_id);
    const done = await this.on.act(name, fields, otherwise);
    if (done && this.land.known.get(parcel_id) === before) this.land.due = true;
    if (done && this.mine(true)?.some((gift) => gift.parcel_id === parcel_id)) this.list("land_mine");
    if (done && this.parcel && !this.land.covers(this.parcel)) await this.lookAgain();
    if (done && this.parcel) await this.askPermits();
    return done;
  }

  /** Buys the parcel that is shown, as it is offered there; who was here later than another reads why not, beside what it is now. */
  async buy({ listing_id, price, seq }) {
    const { parcel } = this;
    this.refused = null;
    const done = await this.act("market_buy", { listing_id, price, seq }, (refusal) => this.notSold(parcel, refusal));
    if (done) this.on.toast(`${nameOf(parcel)} is yours: you paid ${moneyText(done.result.price)}.`);
  }

  /** Bids; whether that was taken. Who does not lead by it reads why, as when it is refused. What I would pay at most is told to who asks. */
  async bid({ auction_id }, amount, maximum = null) {
    const { parcel } = this;
    this.refused = null;
    const done = await this.act("market_bid", { auction_id, amount, maximum }, (refusal) => this.notSold(parcel, refusal));
    if (!done) return false;
    const { leads, price, sold } = done.result;
    if (sold) this.on.won(parcel, auction_id, price);
    else if (leads) this.on.led(auction_id);
    if (leads) await this.lookAgain();
    else await this.notSold(parcel, { message: beatenText(price) });
    return true;
  }

  async notSold({ parcel_id }, { message }) {
    await this.lookAgain();
    if (this.parcel?.parcel_id === parcel_id && this.view === this.drawParcel) {
      this.refused = { words: message, seq: seqOf(this.parcel) };
      this.view();
      this.panel.body.querySelector("#not-bought")?.scrollIntoView({ block: "nearest" });
    } else {
      this.on.toast(message);
    }
    return null;
  }

  /** The parcel that is shown, as the server has it. */
  async lookAgain() {
    const { parcel } = this;
    const found = parcel && (await this.parcelAt(parcel));
    if (!found || this.parcel?.parcel_id !== found.parcel_id) return;
    if (this.land.covers(found)) this.land.learn([found]);
    else this.parcel = found;
    this.view();
  }

  /** The parcel at a place, as the server has it; null where there is none. */
  async parcelAt({ x, y }) {
    const found = await this.on.request("land_at", { x, y });
    return found?.parcel_id ? found : null;
  }

  back() {
    return button("All land", () => this.home(), { id: "all-land", class: "plain" });
  }

  async find(name) {
    return this.on.request("player_find", { name: name.trim() });
  }

  // --- a claim ---------------------------------------------------------------------------------------------------

  claim() {
    this.leave();
    this.quote = null;
    this.marks.grid = this.land.plotTiles;
    this.on.survey(true);
    this.tool = new PlotsTool(this.marks, this.land.plotTiles, null, () => this.chosen());
    this.tool.start(this.on.here());
    this.turnTo(this.drawClaim);
  }

  /** Other plots are chosen: asks what they cost, one question at a time, the newest last. */
  async chosen() {
    this.quote = null;
    if (this.view === this.drawClaim) this.view();
    if (this.quoting) return;
    this.quoting = true;
    const { rectangle } = this.tool;
    const quote = await this.on.request("land_quote", rectangle, ({ code, message, retryAfterMs }) => (
      { refusal: message, againMs: LATER.includes(code) ? Math.max(retryAfterMs ?? 0, RETRY_MS) : null }));
    this.quoting = false;
    if (this.view !== this.drawClaim) return;
    const now = this.tool.rectangle;
    if (Object.keys(now).some((side) => now[side] !== rectangle[side])) {
      this.chosen();
      return;
    }
    this.quote = quote;
    const open = Boolean(quote.againMs);
    if (open) setTimeout(() => this.view === this.drawClaim && this.quote === quote && this.chosen(), quote.againMs);
    this.marks.claim = { ...rectangle, good: open ? null : quote.refusal === undefined };
    this.view();
  }

  drawClaim() {
    const { quote } = this;
    const { rectangle } = this.tool;
    const good = quote !== null && quote.refusal === undefined;
    const poor = good && this.wallet.balance !== null && this.wallet.balance < quote.price;
    this.panel.show("land", "Claim land", "claim", [
      h("p", { class: "soft keys" }, "Drag over the land to choose plots. Or hold Shift and press the arrows."),
      h("p", { class: "soft touched" }, "Draw over the land to choose plots."),
      h("p", { class: "figure", id: "quote" }, good ? moneyText(quote.price) : quote && !quote.againMs ? "Not here" : "…", h("small", {}, sizeText(rectangle, this.land.plotTiles))),
      h("p", { class: "soft why", id: "why" }, quote?.refusal ?? (poor ? `You have ${moneyText(this.wallet.balance)}.` : "")),
      h("div", { class: "pair" },
        button(good ? "Claim it" : "Claim", () => this.take(rectangle), { id: "take", class: "main", disabled: !good || poor }),
        button("Cancel", () => this.home(), { class: "plain" })),
    ]);
  }

  async take(rectangle) {
    const done = await this.on.act("land_claim", rectangle);
    if (!done) {
      if (this.view === this.drawClaim) this.chosen();
      return;
    }
    const known = this.land.known.get(done.result.parcel_id) ?? (await this.parcelAt(rectangle));
    if (known) this.show(known);
    else this.home();
  }

  // --- a split -----------------------------------------------------------------------------------------------------

  split() {
    this.tool = new CutTool(this.marks, this.parcel, this.land.plotTiles, () => this.view === this.drawSplit && this.view());
    this.on.survey(true);
    this.turnTo(this.drawSplit);
  }

  drawSplit() {
    const { tool, parcel } = this;
    const words = ({ cut, at }) => (cut === 0 ? `north to south, at x = ${at}` : `west to east, at y = ${at}`);
    const lines = h("select", { "aria-label": "Line", id: "lines", onchange: (event) => tool.choose(tool.lines[event.target.selectedIndex]) }, ...tool.lines.map((line) => h("option", { selected: line === tool.line }, words(line))));
    this.panel.show("land", `Split ${nameOf(parcel)}`, "split", [
      h("p", { class: "soft" }, "Draw a line across the parcel, or choose one."),
      lines,
      h("label", { class: "check" }, h("input", { type: "checkbox", name: "ease" }), "A part without a way out gets one through the other"),
      h("div", { class: "pair" },
        button("Split here", () => this.cut(parcel, { ...tool.line, ease: this.panel.body.querySelector("[name=ease]").checked }), { id: "cut", class: "main" }),
        button("Cancel", () => this.show(parcel), { class: "plain" })),
    ]);
  }

  async cut({ parcel_id }, line) {
    const done = await this.on.act("land_split", { parcel_id, ...line });
    if (done && this.parcel) this.show(this.parcel);
  }

  // --- a way -------------------------------------------------------------------------------------------------------

  ease() {
    this.marks.grid = this.land.plotTiles;
    this.on.survey(true);
    this.tool = new PlotsTool(this.marks, this.land.plotTiles, this.parcel, () => this.view === this.drawEase && this.view());
    this.tool.start(this.on.here());
    this.turnTo(this.drawEase);
  }

  drawEase() {
    const { parcel } = this;
    const { rectangle } = this.tool;
    this.panel.show("land", `A way over ${nameOf(parcel)}`, "ease", [
      h("p", { class: "soft" }, "Everybody may walk on a way, though the parcel be closed; nothing that stops people may stand there."),
      h("p", { class: "soft keys" }, "Drag over the parcel to choose plots. Or hold Shift and press the arrows."),
      h("p", { class: "soft touched" }, "Draw over the parcel to choose plots."),
      h("p", { id: "way" }, sizeText(rectangle, this.land.plotTiles)),
      parcel.way ? h("p", { class: "soft" }, "It takes the place of the way that is there.") : null,
      h("div", { class: "pair" },
        button("Grant this way", () => this.grant(parcel, rectangle), { id: "grant", class: "main" }),
        button("Cancel", () => this.show(parcel), { class: "plain" })),
    ]);
  }

  async grant({ parcel_id }, rectangle) {
    const done = await this.act("land_ease", { parcel_id, ...rectangle });
    if (done && this.parcel) this.show(this.parcel);
  }

  // --- keys ----------------------------------------------------------------------------------------------------------

  /** A key that belongs to choosing plots; whether it did. */
  key({ code, shiftKey }) {
    if (!shiftKey || !ARROWS[code] || !(this.tool instanceof PlotsTool)) return false;
    this.tool.grow(...ARROWS[code]);
    return true;
  }
}
