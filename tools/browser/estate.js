// What one owns and who one is, as one part of the client: land, buildings, money and the account, with their buttons, keys, panel and
// pointer tools.
//
//   land, wallet                  know what the server said
//   auctions                      tells what becomes of auctions in which one has part
//   actions                       does what is to last, and says whether it is safe
//   landPanel, builder, account   what a person does with them; only one is open at a time
//   people                        somebody's card, which opens in the same panel
//
// Buttons and keys: Land (P), Build (B), Wallet (M), Account (U); Escape closes.

import { Account } from "./account.js";
import { Actions } from "./actions.js";
import { AuctionNews } from "./auctionnews.js";
import { Builder } from "./builder.js";
import { Land, ownerColour } from "./land.js";
import { LandPanel } from "./landpanel.js";
import { amountText } from "./money.js";
import { Panel } from "./panel.js";
import { nameOf } from "./parcel.js";
import { People } from "./people.js";
import { endText } from "./sale.js";
import { Wallet } from "./wallet.js";

const PASSING = new Set(["moderator", "admin"]); // who enters closed land
const BUTTONS = { KeyP: "land", KeyB: "build", KeyM: "wallet", KeyU: "account" };
const REFUSED_MS = 6000;
const MINE = "#ffd66b";

const byId = (id) => document.getElementById(id);

export class Estate {
  /**
   * `on`: toast(text, press), here() -> { x, y } of my feet, worldMs() -> world time, ahead() -> { x, y } of the tile before them, builtAt(x, y), opened() before
   * one of the panels opens; and of the account signedIn(signedIn, email), leave(farewell), changed(profile).
   */
  constructor(connection, tokens, scene, on) {
    this.connection = connection;
    this.scene = scene;
    this.on = on;
    this.opened = null; // one of BUTTONS, or "person"
    const { marks } = scene.overlay;
    this.actions = new Actions(connection, { changed: (state) => this.showState(state) });
    this.land = new Land(connection, { changed: () => this.landChanged(), given: () => this.landPanel.list("land_mine") });
    const request = (name, fields, otherwise) => this.request(name, fields, otherwise);
    const act = (name, fields, otherwise) => this.act(name, fields, otherwise);
    this.panel = new Panel("panel", { closed: () => this.open(null) });
    this.wallet = new Wallet(this.panel, {
      request: (name, fields) => connection.request(name, fields),
      toast: on.toast,
      changed: () => this.moneyChanged(),
    });
    this.landPanel = new LandPanel(this.panel, this.land, this.wallet, marks, {
      request,
      act,
      toast: on.toast,
      here: on.here,
      worldMs: on.worldMs,
      survey: (high) => scene.survey(high),
      colourOf: (parcel) => this.colourOf(parcel),
      gifts: (parcels) => this.showGifts(parcels),
      won: (parcel, auctionId, price) => this.auctions.won(parcel, auctionId, price),
      led: (auctionId) => this.auctions.leading.add(auctionId),
    });
    this.auctions = new AuctionNews(this.land, {
      request,
      tell: (words, parcel) => on.toast(words, parcel && (() => this.lookAt(parcel))),
      listed: (parcelId) => this.landPanel.listed(parcelId),
      traded: (parcelId, opened) => this.landPanel.traded(parcelId, opened),
    });
    this.gifts = new Set(); // parcel_ids of what is given to me, and was told of
    this.ended = new Set(); // listing_ids of mine that are over, and were told of
    this.builder = new Builder(marks, (kind, side) => scene.iconOf(kind, side), {
      whyNot: (x, y) => (this.everywhere ? null : this.land.whyNotBuild(x, y)),
      builtAt: on.builtAt,
      act,
      toast: on.toast,
      done: () => this.open(null),
    });
    this.people = new People(this.panel, {
      request,
      act,
      toast: on.toast,
      write: (person) => {
        this.open(null);
        on.write(person);
      },
      silence: on.silence,
      figureOf: (look, height) => scene.figureOf(look, height),
    });
    this.account = new Account(this.panel, tokens, {
      ask: (name, fields) => connection.request(name, fields),
      toast: on.toast,
      signedIn: on.signedIn,
      leave: on.leave,
      figureOf: (look, height) => scene.figureOf(look, height),
      changed: on.changed,
    });
    for (const name of Object.values(BUTTONS)) byId(`${name}-button`).addEventListener("click", () => this.open(this.opened === name ? null : name));
  }

  /** On entering. */
  enter({ player_id, name, role, settings }) {
    if (this.account.me.id !== 0 && this.account.me.id !== player_id) {
      this.open(null); // what is open is about somebody else
      this.auctions.leading.clear();
    }
    this.account.enter({ id: player_id, name, role });
    this.scene.overlay.me = player_id;
    this.land.enter(player_id, settings.plot_tiles, PASSING.has(role));
    this.setRole(role);
    this.people.enter(player_id);
    this.actions.enter(player_id);
    this.wallet.enter();
    this.landPanel.enter(settings);
  }

  setRole(role) {
    this.everywhere = role === "admin"; // admins build anywhere
    this.account.me.role = role;
    this.land.passes = PASSING.has(role);
  }

  /** Somebody's card; null: the list of those I have blocked. */
  showPerson(person) {
    if (this.opened !== "person") this.open("person");
    this.people.open(person);
  }

  /** Now and then. */
  advance(now) {
    this.land.look(now);
    this.landPanel.advance();
    this.scene.coveredWanted = this.panel.coversFromBelow;
    const { x, y } = this.on.here();
    const here = this.land.at(x, y);
    const words = here === null ? "Open land" : here.owner_id === this.land.me ? here.name || "Your land" : `${here.name || "Land"} of ${here.owner_name}`;
    if (byId("owner").textContent !== words) byId("owner").textContent = words;
  }

  // --- what is asked and done ------------------------------------------------------------------------------

  /** The answer to a question; where it is refused the words are shown, and the answer is null or what `otherwise` makes of it. */
  async request(name, fields, otherwise = null) {
    try {
      return await this.connection.request(name, fields);
    } catch (refusal) {
      if (otherwise) return otherwise(refusal);
      this.on.toast(refusal.message);
      return null;
    }
  }

  /** A durable action: { seq, result } once it is stored; where it is refused as for `request`. */
  async act(name, fields, otherwise = null) {
    try {
      return await this.actions.do(name, fields);
    } catch (refusal) {
      if (otherwise) return otherwise(refusal);
      this.on.toast(refusal.message);
      return null;
    }
  }

  /** A refusal is shown for as long as its words are. */
  showState({ sending, refused }) {
    clearTimeout(this.forget);
    if (refused) this.forget = setTimeout(() => this.showState({ sending: this.actions.sending, refused: false }), REFUSED_MS);
    const state = byId("deeds");
    const [mood, words] = sending > 0 ? ["waiting", "Sending…"] : refused ? ["bad", "Refused"] : ["good", "Safe"];
    state.hidden = false;
    state.dataset.mood = mood;
    state.lastElementChild.textContent = words;
  }

  // --- what has changed ----------------------------------------------------------------------------------------

  landChanged() {
    this.scene.overlay.parcels = [...this.land.known.values()];
    if (this.opened === "land") this.landPanel.refresh();
  }

  /** What is given to me: the button has a mark for as long as there is something, and it is told once. */
  showGifts(parcels) {
    const fresh = parcels.filter(({ parcel_id }) => !this.gifts.has(parcel_id));
    this.gifts = new Set(parcels.map(({ parcel_id }) => parcel_id));
    byId("land-button").classList.toggle("news", parcels.length > 0);
    if (fresh.length > 1) this.on.toast(`${fresh.length} parcels are given to you: open Land (P) to take them.`);
    else if (fresh.length > 0) this.on.toast(`${fresh[0].owner_name} gives you ${nameOf(fresh[0])}: open Land (P) to take it.`);
  }

  /** The messages `listing_opened` and `listing_changed`. */
  listed(message, opened) {
    this.land.listed(message);
    this.landPanel.traded(message.listing.parcel_id, opened);
  }

  /** The message `listing_ended`: comes to the seller, too, and once more where they see the land. */
  unlisted(message) {
    const { listing_id, parcel_id, seller_id } = message;
    this.land.unlisted(message);
    this.landPanel.traded(parcel_id, false);
    if (seller_id !== this.land.me || this.ended.has(listing_id)) return;
    this.ended.add(listing_id);
    this.tellEnd(message, nameOf(this.land.known.get(parcel_id) ?? { parcel_id }));
  }

  /** What became of my listing. */
  async tellEnd({ end, price, buyer_id }, called) {
    const buyer = buyer_id === null ? null : await this.request("account_profile", { player_id: buyer_id }, () => null);
    const words = endText(end, called, price, buyer?.name ?? "Somebody");
    if (words !== null) this.on.toast(words);
  }

  moneyChanged() {
    const { balance } = this.wallet;
    byId("wallet-button").firstElementChild.textContent = balance === null ? "–" : amountText(balance);
    if (this.opened === "land") this.landPanel.refresh();
  }

  /** The server's edits of a chunk have come. */
  built() {
    this.builder.built();
  }

  colourOf(parcel) {
    if (parcel.owner_id === this.land.me) return MINE;
    const [hue, saturation, lightness] = ownerColour(parcel.owner_id);
    return `hsl(${hue} ${saturation * 100}% ${lightness * 100}%)`;
  }

  // --- buttons, keys, pointer --------------------------------------------------------------------------------------

  /** Opens one, closes what was open; null closes only. */
  open(name) {
    if (this.opened === "build") this.builder.close();
    else if (this.opened === "land") this.landPanel.close();
    else if (this.opened === "person") this.people.close();
    else if (this.opened !== null) this.panel.close();
    this.opened = name;
    for (const one of Object.values(BUTTONS)) byId(`${one}-button`).setAttribute("aria-pressed", String(one === name));
    document.body.classList.toggle("working", name !== null);
    if (name !== null) this.on.opened();
    if (name === "land") this.landPanel.open();
    else if (name === "build") this.builder.open();
    else if (name === "wallet") this.wallet.open();
    else if (name === "account") this.account.open();
  }

  /** Whether a key was meant for this. */
  key(event) {
    const chord = event.ctrlKey || event.metaKey;
    if (chord) {
      if (event.code !== "KeyZ" || this.opened !== "build") return false;
      this.builder.undo();
    } else if (BUTTONS[event.code]) {
      this.open(this.opened === BUTTONS[event.code] ? null : BUTTONS[event.code]);
    } else if (event.code === "Escape" && this.opened !== null) {
      this.open(null);
    } else if (!(this.opened === "build" && this.builder.key(event, this.on.ahead())) && !(this.opened === "land" && this.landPanel.key(event))) {
      return false;
    }
    event.preventDefault();
    return true;
  }

  /** What the pointer draws with, or null; see Input. */
  tool() {
    const tool = this.opened === "build" ? this.builder : this.opened === "land" ? this.landPanel.tool : null;
    if (tool !== this.lent?.tool) this.lent = tool && { tool, ...this.lend(tool) };
    return this.lent;
  }

  /** A tool that takes places on the screen. */
  lend(tool) {
    const at = (what) => (px, py) => tool[what](this.scene.toWorld(px, py));
    return { hover: at("hover"), down: at("down"), move: at("move"), up: () => tool.up(), cancel: () => tool.cancel() };
  }

  hover(px, py) {
    const { x, y } = this.scene.toWorld(px, py);
    this.scene.hovered = this.land.at(x, y)?.parcel_id ?? null;
  }

  /** A tap on the map: on a parcel while the land panel is open; whether it was meant for this. */
  tap(px, py) {
    return this.opened === "land" && this.pick(px, py);
  }

  /** Shows the parcel at a place on the screen, if there is one. */
  pick(px, py) {
    const { x, y } = this.scene.toWorld(px, py);
    const parcel = this.land.at(x, y);
    if (parcel) this.showParcel(parcel);
    return parcel !== null;
  }

  /** Shows a parcel as it is now: it may be far away, and not as it was. */
  lookAt(parcel) {
    this.showParcel(parcel);
    this.landPanel.lookAgain();
  }

  showParcel(parcel) {
    if (this.opened !== "land") this.open("land");
    this.landPanel.show(parcel);
  }
}
