// My money: the balance, what is set aside, and the movements page by page, newest first.

import { button, h } from "./dom.js";
import { amountText, moneyText } from "./money.js";

const WORDS = {
  land_claim: ["Starting grant", "Land claimed"],
  market_buy: ["Land sold, less the fee", "Land bought"],
  market_bid: ["Auction: outbid, or sold at once", "Auction: set aside, or bought at once"],
  auction_ended: ["Auction over: sold, or money back", "Auction over"],
  land_forfeited: ["Land lost: money back", "Land lost"],
  land_buy: ["Land sold", "Land bought"], // in journals from before there were listings
  land_rent: ["Rent", "Rent and deposit"],
  lease_renewed: ["Rent", "Rent"],
  lease_ended: ["Deposit back", "Deposit back"],
  upkeep_paid: ["Upkeep", "Upkeep"],
};

/** What a movement was, in words. The grant comes with the first action of a wallet, before its price. */
function wordsOf({ kind, amount, seq, balance }, postings) {
  const [came, went] = WORDS[kind] ?? [kind.replaceAll("_", " "), kind.replaceAll("_", " ")];
  if (amount < 0) return went;
  const first = balance === amount && postings.filter((one) => one.seq === seq).length > 1;
  return first ? "Starting grant" : came;
}

/** World time in words: days since the beginning, and the hour of a clock that never stops. */
function whenText(timeMs) {
  const minutes = Math.floor(timeMs / 60000);
  const hours = Math.floor(minutes / 60);
  return hours < 24 ? `${hours} h ${minutes % 60} min` : `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

export class Wallet {
  /** `on.request(name, fields)`, `on.toast(text)`, `on.changed()`; `panel` shows it. */
  constructor(panel, on) {
    this.panel = panel;
    this.on = on;
    this.balance = null; // null until it is known
    this.held = 0;
    this.postings = [];
    this.more = false;
    this.trouble = "Looking…"; // why there is no statement; null once there is one
    this.loaded = 0; // counts loads: an answer that is not of the newest comes too late
  }

  async enter() {
    try {
      this.set(await this.on.request("wallet", {}));
    } catch {
      // Without an answer it stays unknown; the next change tells it.
    }
  }

  /** The message `wallet_changed`, or the answer to `wallet`. */
  set({ balance, held }) {
    this.balance = balance;
    this.held = held;
    this.on.changed();
    if (this.panel.name === "wallet") this.open();
  }

  /** Shows it, with the newest page. */
  async open() {
    this.draw();
    await this.load(null);
  }

  async load(before) {
    this.loaded += 1;
    const load = this.loaded;
    try {
      const page = await this.on.request("wallet_statement", before === null ? {} : { before });
      if (load !== this.loaded) return;
      this.postings = before === null ? page.postings : [...this.postings, ...page.postings];
      this.more = page.more;
      this.trouble = null;
      if (this.panel.name === "wallet") this.draw();
    } catch (refusal) {
      if (load !== this.loaded) return;
      this.trouble = `Cannot be read now: ${refusal.message}`;
      if (this.panel.name === "wallet") this.draw();
    }
  }

  draw() {
    const { balance, held, postings } = this;
    const [whole, rest] = balance === null ? ["–", ""] : amountText(balance).split(".");
    this.panel.show("wallet", "Wallet", "wallet", [
      h("p", { id: "balance", "aria-label": "Balance" }, whole, h("small", {}, rest && `.${rest} BDT`)),
      held > 0 ? h("p", { class: "soft" }, `${moneyText(held)} are set aside.`) : null,
      this.trouble !== null || postings.length === 0
        ? h("p", { class: "soft", id: "no-statement" }, this.trouble ?? "Nothing has moved yet.")
        : null,
      postings.length > 0 ? h("ol", { id: "statement" }, ...postings.map((one) => this.row(one))) : null,
      this.more ? button("Older", () => this.load(postings.at(-1).seq), { id: "older", class: "plain" }) : null,
    ]);
  }

  row(posting) {
    const { amount, balance, time_ms, seq } = posting;
    return h("li", { title: `Entry ${seq} of the journal` },
      h("span", {}, wordsOf(posting, this.postings), h("small", {}, whenText(time_ms))),
      h("b", { class: amount > 0 ? "came" : "" }, `${amount > 0 ? "+" : ""}${amountText(amount)}`, h("small", {}, amountText(balance))),
      button("⤓", () => this.save(seq), { class: "small receipt", title: "Save a receipt, signed by the server", "aria-label": `Save the receipt of entry ${seq}` }),
    );
  }

  /** A signed receipt of an entry, as a file: `landworld receipt` checks it without the server. */
  async save(seq) {
    try {
      const { receipt } = await this.on.request("receipt_get", { seq });
      const url = URL.createObjectURL(new Blob([receipt], { type: "application/json" }));
      h("a", { href: url, download: `landworld-receipt-${seq}.json` }).click();
      URL.revokeObjectURL(url);
    } catch (refusal) {
      this.on.toast(refusal.message);
    }
  }
}
