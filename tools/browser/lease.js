// A parcel to let: what it costs, renting it, offering it, and giving notice. `on` as in parcel.js.

import { button, h } from "./dom.js";
import { moneyText, readAmount } from "./money.js";
import { field, fold, form, sure } from "./panel.js";

export const MINUTE_MS = 60_000;
export const HOUR_MS = 60 * MINUTE_MS;
export const DAY_MS = 24 * HOUR_MS;

const UNITS = [[DAY_MS, "day"], [HOUR_MS, "hour"], [MINUTE_MS, "minute"], [1000, "second"]];

/** A term in words, in the two largest units that it has; the same in world/leases.py. */
export function termText(termMs) {
  const parts = [];
  let left = termMs;
  for (const [size, unit] of UNITS) {
    const count = Math.floor(left / size);
    left -= count * size;
    if (count > 0) parts.push(`${count} ${unit}${count === 1 ? "" : "s"}`);
  }
  return parts.slice(0, 2).join(" ") || `${termMs} ms`;
}

/** Rows of [term, words] about letting. */
export function leaseFacts({ to_let, lease }) {
  if (lease) return [["Rented by", lease.tenant_name], ["Rent", rentText(lease.terms)], ["Lease", lease.leaving ? "ends with this term" : "goes on"]];
  return to_let ? [["To let", rentText(to_let)]] : [];
}

export const rentText = ({ rent, term_ms }) => `${moneyText(rent)} for ${termText(term_ms)}`;

/** For whoever may rent it. */
export function renting({ parcel_id, to_let }, on) {
  const { rent, deposit, term_ms, renewable } = to_let;
  const words = [deposit > 0 ? `A deposit of ${moneyText(deposit)} is set aside and comes back at the end.` : null, renewable ? "It goes on term by term until somebody gives notice." : "It ends after one term."];
  return h("div", { class: "offer" },
    sure(`Rent for ${moneyText(rent)}`, `Press again: you pay ${moneyText(rent + deposit)}`, () => on.act("land_rent", { parcel_id, rent, term_ms, deposit }), { id: "rent", class: "main" }),
    h("p", { class: "soft" }, words.filter(Boolean).join(" ")));
}

/** For who has rented it, and for who has let it. */
export function noticing({ parcel_id, lease }, on) {
  if (lease.leaving) return null;
  return sure("Give notice", "Press again: the lease ends with this term", () => on.act("land_leave", { parcel_id }));
}

/** For the owner. */
export function letting({ parcel_id, to_let }, on) {
  if (to_let) return fold("letting", "Let", h("p", { class: "soft" }, `Anybody can rent it: ${rentText(to_let)}.`), button("Not to let any more", () => on.act("land_let", { parcel_id }), { class: "plain" }));
  const amount = (name, placeholder, required) => h("input", { name, inputmode: "decimal", placeholder, required });
  return fold("letting", "Let", form(
    async ({ elements }) => {
      const rent = readAmount(elements.rent.value);
      const deposit = readAmount(elements.deposit.value || "0");
      const days = Number(elements.days.value);
      if (rent === null || deposit === null || !(days > 0)) {
        on.toast("Write amounts in BDT, like 1250 or 99.50, and a number of days.");
        return;
      }
      const terms = { rent, deposit, term_ms: Math.round(days * DAY_MS), renewable: elements.renewable.checked };
      if (await on.act("land_let", { parcel_id, ...terms })) on.settle("rent", "deposit", "days");
    },
    h("div", { class: "pair" }, field("Rent in BDT", amount("rent", "0.00", true)), field("for days", amount("days", "7", true))),
    field("Deposit in BDT", amount("deposit", "none", false)),
    h("label", { class: "check" }, h("input", { type: "checkbox", name: "renewable", checked: true }), "Terms follow each other"),
    h("button", { class: "plain" }, "Offer to let"),
  ));
}
