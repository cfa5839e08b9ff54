// A parcel for sale: what it costs and until when, buying it, putting it up, changing that, and taking it back. `on` as in parcel.js.

import { button, h } from "./dom.js";
import { DAY_MS, termText } from "./lease.js";
import { amountText, moneyText, readAmount } from "./money.js";
import { field, fold, form, sure } from "./panel.js";
import { SaleEnd } from "./protocol.js";

const DAYS = [1, 7, 30];

/** When a sale is over: counted down by `tellTimes`, where it ends by itself. */
export const endOf = ({ ends_ms }) => h("time", { "data-ends": ends_ms }, "when it is sold");

/** Says in all that is counted down within an element how long it takes at this world time. */
export function tellTimes(root, worldMs) {
  for (const time of root.querySelectorAll("[data-ends]")) {
    const seconds = Math.ceil((Number(time.dataset.ends) - worldMs) / 1000);
    const words = seconds > 0 ? `in ${termText(seconds * 1000)}` : "now";
    if (time.textContent !== words) time.textContent = words;
  }
}

/** Rows of [term, words] about what is offered, for a price or in an auction. */
export const offerFacts = ({ keep_permits, tiles, arrears }) => [
  ["Offered", tiles > 0 ? `with ${tiles} tiles built on` : "with nothing built on it"],
  ["Permits", keep_permits ? "stay as they are" : "end with the sale"],
  ...(arrears > 0 ? [["Owed", `${arrears} ${arrears > 1 ? "periods" : "period"} of upkeep, by the next owner`]] : []),
];

/** Rows of [term, words] about a sale. */
export function saleFacts({ listing, owner_id }, me) {
  if (!listing) return [];
  const { price, fee } = listing;
  const rows = [["For sale", moneyText(price)], ["Ends", endOf(listing)], ...offerFacts(listing)];
  return owner_id === me ? [...rows, ["Fee", moneyText(fee)], ["You get", moneyText(price - fee)]] : rows;
}

/** For the seller: how a sale ended; null where they did it themselves. */
export function endText(end, called, price, buyer) {
  if (end === SaleEnd.SOLD) return `${buyer} bought ${called} for ${moneyText(price)}.`;
  if (end === SaleEnd.EXPIRED) return `${called} is not for sale any more: its time is over, and nobody bought it.`;
  if (end === SaleEnd.FORFEITED) return `${called} is not for sale any more: too much upkeep was owed, and it is nobody's now.`;
  return null;
}

/** What stands in the list of what is for sale; `facts` are those of the land. */
export function saleLines({ listing, owner_id, owner_name }, me, facts) {
  return [
    h("span", {}, h("b", {}, moneyText(listing.price)), owner_id === me ? ", yours" : `, of ${owner_name}`),
    facts,
    h("span", {}, "ends ", endOf(listing)),
  ];
}

/** For whoever may buy it. */
export function buying({ listing }, on) {
  const price = moneyText(listing.price);
  return sure(`Buy for ${price}`, `Press again: you pay ${price}`, () => on.buy(listing), { id: "buy", class: "main" });
}

/** For the owner of what is not for sale; `fee` is what the house takes of a sale that begins now: { share, least }, a part of 1 and poisha. */
export function listing({ parcel_id }, fee, on) {
  return terms(null, "Offer for sale", feeText(fee), on, (sent) => on.act("market_list", { parcel_id, ...sent }));
}

/** For the owner of what is. */
export function selling({ listing }, on) {
  const { listing_id } = listing;
  return fold("selling", "Sell",
    terms(listing, "Save", "It is offered as it stands there when you save. Once something is built or torn down, nobody can buy it until you save again.", on,
      (sent) => on.act("market_edit", { listing_id, ...sent })),
    button("Take it off the market", () => on.act("market_cancel", { listing_id }), { id: "take-back", class: "plain" }));
}

export function feeText({ share, least }) {
  const percent = `${(share * 100).toLocaleString("en", { maximumFractionDigits: 2 })}% of the price`;
  if (!share && !least) return "All of the price is yours: the house takes no fee.";
  return `The house takes a fee of ${share ? percent : moneyText(least)}${share && least ? `, ${moneyText(least)} at least` : ""}.`;
}

export const keepBox = (name, checked) => h("label", { class: "check" }, h("input", { type: "checkbox", name, checked }), "Permits stay under the new owner");

/** The form of a sale; `listing` null: of a new one. */
function terms(listing, press, words, on, send) {
  return form(
    async ({ elements }) => {
      const price = readAmount(elements.price.value);
      if (price === null) {
        on.toast("Write an amount in BDT, like 1250 or 99.50.");
        return;
      }
      const duration_ms = elements.stands.value ? Number(elements.stands.value) : null;
      if (await send({ price, duration_ms, keep_permits: elements.keep.checked })) on.settle("price", "stands", "keep");
    },
    h("div", { class: "pair" },
      field("Price in BDT", h("input", { name: "price", inputmode: "decimal", required: true, placeholder: "0.00", value: listing && amountText(listing.price) })),
      field("How long", h("select", { name: "stands" },
        h("option", { value: "" }, listing ? "as it was" : "until sold"),
        ...DAYS.map((days) => h("option", { value: days * DAY_MS }, termText(days * DAY_MS)))))),
    keepBox("keep", listing?.keep_permits ?? false),
    h("p", { class: "soft" }, words),
    h("button", { class: "plain" }, press),
  );
}
