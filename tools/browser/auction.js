// A parcel in an auction: how it stands, bidding, beginning one and taking it back, and what those read who have part in it. `on` as in
// parcel.js.

import { button, h } from "./dom.js";
import { DAY_MS, HOUR_MS, MINUTE_MS, termText } from "./lease.js";
import { amountText, moneyText, readAmount } from "./money.js";
import { field, fold, following, form, sure } from "./panel.js";
import { SaleEnd } from "./protocol.js";
import { endOf, feeText, keepBox, listing, offerFacts } from "./sale.js";

const LASTS = [10 * MINUTE_MS, HOUR_MS, DAY_MS, 3 * DAY_MS, 7 * DAY_MS];
const NO_AMOUNT = "Write amounts in BDT, like 1250 or 99.50.";

/**
 * An auction after news of it, which may lack fields that have not changed. News of before what is known are none. My maximum stands in
 * answers to questions alone: it holds until somebody else leads.
 */
export function merged(known, news, me) {
  if (known && news.seq < known.seq) return known;
  const after = { ...known, ...news };
  return { ...after, maximum: after.leader_id === me ? news.maximum ?? known?.maximum ?? null : null };
}

const bidsText = (bids) => (bids === 0 ? "no bids yet" : `${bids} ${bids === 1 ? "bid" : "bids"}`);

function leaderText({ leader_id, leader_name, maximum }, me) {
  if (leader_id === me) return `you lead${maximum === null ? "" : `, up to ${moneyText(maximum)}`}`;
  return leader_id === null ? null : `${leader_name} leads`;
}

/** How it stands, in one look: the price, how many bids there were, who leads, and when it ends. */
export function auctionPrice({ auction }, me) {
  const words = [bidsText(auction.bids), leaderText(auction, me)].filter(Boolean).join(", ");
  return h("p", { class: "figure", id: "auction" }, moneyText(auction.price), h("small", {}, words), h("small", {}, "ends ", endOf(auction)));
}

/** Rows of [term, words] about an auction. */
export function auctionFacts({ auction, owner_id }, me) {
  if (!auction) return [];
  const { price, fee, least, buy_now } = auction;
  const mine = owner_id === me;
  const rows = [[auction.bids > 0 ? "Next bid" : "First bid", `${moneyText(least)} at least`], ...reserveFacts(auction)];
  if (buy_now !== null) rows.push(["At once", `for ${moneyText(buy_now)}`]);
  rows.push(...offerFacts(auction));
  return mine ? [...rows, ["Fee", moneyText(fee)], ["You get", moneyText(price - fee)]] : rows;
}

function reserveFacts({ reserved, reserve }) {
  if (reserved === null) return [];
  const words = reserved ? "not reached yet" : "reached";
  return [["Reserve", reserve === null ? words : `${moneyText(reserve)}, ${words}`]];
}

/** What stands in the list of what is for sale; `facts` are those of the land. */
export function auctionLines({ auction, owner_id, owner_name }, me, facts) {
  const whose = owner_id === me ? "yours" : `of ${owner_name}`;
  return [
    h("span", {}, h("b", {}, moneyText(auction.price)), `, auction, ${whose}`),
    [bidsText(auction.bids), leaderText(auction, me)].filter(Boolean).join(", "),
    facts,
    h("span", {}, "ends ", endOf(auction)),
  ];
}

// --- bidding ---

/** For whoever may bid, or leads and may raise their maximum. */
export function bidding({ auction }, me, on) {
  const { buy_now } = auction;
  const price = buy_now === null ? null : moneyText(buy_now);
  return h("div", { class: "offer" },
    auction.leader_id === me ? raiseForm(auction, on) : bidForm(auction, on),
    price && sure(`Buy now for ${price}`, `Press again: you pay ${price}`, () => on.bid(auction, buy_now), { id: "buy-now", class: "plain" }));
}

/** What pressing the button would do; amounts are null while they are none. */
export function pressText({ buy_now }, amount, maximum) {
  if (amount === null) return "Bid";
  if (buy_now !== null && amount >= buy_now) return `Buy now for ${moneyText(buy_now)}`;
  return `Bid ${moneyText(amount)}${maximum !== null && maximum > amount ? `, up to ${amountText(maximum)}` : ""}`;
}

function bidForm(auction, on) {
  const amount = h("input", { name: "amount", inputmode: "decimal", required: true, value: amountText(auction.least) });
  const most = h("input", { name: "maximum", inputmode: "decimal", placeholder: "no more" });
  const press = h("button", { class: "main", id: "bid" });
  const say = () => (press.textContent = pressText(auction, readAmount(amount.value), readAmount(most.value)));
  const made = form(
    async () => {
      const [sum, maximum] = [readAmount(amount.value), readAmount(most.value)];
      if (sum === null || (most.value.trim() !== "" && maximum === null)) on.toast(NO_AMOUNT);
      else if (await on.bid(auction, sum, maximum)) on.settle("amount", "maximum");
    },
    h("div", { class: "halves" }, field("Your bid in BDT", amount), field("And up to", most)),
    press,
    h("p", { class: "soft" }, "The server bids for you up to there, by the least step, and tells nobody. All of it is set aside until somebody outbids you."),
  );
  following(made, say);
  return made;
}

/** The leader bids against nobody: only their maximum goes up. With the price as the amount nothing is bought, whatever the maximum. */
function raiseForm(auction, on) {
  const now = auction.maximum === null ? null : amountText(auction.maximum);
  return form(
    async ({ elements }) => {
      const maximum = readAmount(elements.raised.value);
      if (maximum === null) on.toast(NO_AMOUNT);
      else if (await on.bid(auction, Math.min(auction.price, maximum), maximum)) on.settle("raised");
    },
    field("Bid for me up to, in BDT", h("input", { name: "raised", inputmode: "decimal", required: true, placeholder: now && `more than ${now}` })),
    h("button", { class: "main", id: "raise" }, "Raise your maximum"),
    h("p", { class: "soft" }, "Nobody is told. All of it is set aside until somebody outbids you."),
  );
}

// --- selling ---

/** For the owner of what is not for sale: at a fixed price, or in an auction. */
export function offering(parcel, fee, on) {
  const fixed = listing(parcel, fee, on);
  const auction = auctionForm(parcel, fee, on);
  const how = h("select", { name: "how" }, h("option", { value: "fixed" }, "at a fixed price"), h("option", { value: "auction" }, "in an auction"));
  following(how, () => {
    fixed.hidden = how.value !== "fixed";
    auction.hidden = !fixed.hidden;
  });
  return fold("selling", "Sell", field("How", how), fixed, auction);
}

function auctionForm({ parcel_id }, fee, on) {
  const amount = (name, placeholder, required) => h("input", { name, inputmode: "decimal", placeholder, required });
  const pick = ({ value }) => (value.trim() === "" ? null : readAmount(value) ?? NaN); // null where none is wanted, NaN where it is no amount
  return form(
    async ({ elements }) => {
      const { start, lasts, reserve, at_once, shown, stays } = elements;
      const sums = { start_price: pick(start), reserve: pick(reserve), buy_now: pick(at_once) };
      if (sums.start_price === null || Object.values(sums).some(Number.isNaN)) {
        on.toast(NO_AMOUNT);
        return;
      }
      const rest = { duration_ms: Number(lasts.value), keep_permits: stays.checked, show_reserve: shown.checked };
      if (await on.act("market_auction", { parcel_id, ...sums, ...rest })) on.settle("how", "start", "lasts", "reserve", "at_once", "shown", "stays");
    },
    h("div", { class: "halves" },
      field("First bid in BDT", amount("start", "0.00", true)),
      field("How long", h("select", { name: "lasts" }, ...LASTS.map((ms) => h("option", { value: ms, selected: ms === DAY_MS }, termText(ms)))))),
    h("div", { class: "halves" },
      field("Not for less than", amount("reserve", "no reserve", false)),
      field("At once for", amount("at_once", "not at once", false))),
    h("label", { class: "check" }, h("input", { type: "checkbox", name: "shown" }), "Bidders see the reserve"),
    keepBox("stays", false),
    h("p", { class: "soft" }, `A bid shortly before the end moves it. Nobody builds there until it is over. ${feeText(fee)}`),
    h("button", { class: "plain" }, "Begin the auction"),
  );
}

/** For the seller, while it runs. */
export function takingBack({ auction }, on) {
  if (auction.bids > 0) return h("p", { id: "no-way-back", class: "soft" }, "Somebody has bid, so it cannot be taken back any more.");
  return button("Take it back", () => on.act("market_cancel", { listing_id: auction.auction_id }), { id: "take-back", class: "plain" });
}

// --- what those read who have part in it ---

/** When somebody bids; null for whom it does not concern. `led`: I led until now; `sells`: I sell. */
export function bidNews({ leader_id, leader_name, price }, called, { me, led, sells }) {
  const sum = moneyText(price);
  if (sells) return `${leader_name} leads for ${called}, at ${sum}.`;
  if (!led) return null;
  return leader_id === me ? `Somebody bid for ${called}: you lead still, at ${sum}.` : `${leader_name} bids ${sum} for ${called}: you are outbid.`;
}

/** When it is over; null for whom it does not concern, or who did it. `winner`: their name. */
export function endNews({ end, price, winner_id }, called, winner, { me, led, sells, bids }) {
  const over = `The auction of ${called} is over`;
  if (end === SaleEnd.SOLD && winner_id === me) return `${called} is yours: you paid ${moneyText(price)}.`;
  if (!led && !sells) return null;
  if (end === SaleEnd.SOLD) return sells ? `${winner} won ${called} for ${moneyText(price)}.` : `${winner} bought ${called} at once for ${moneyText(price)}: your money is back.`;
  if (end === SaleEnd.FORFEITED) return `${over}: too much upkeep was owed, and it is nobody's now.${led ? " Your money is back." : ""}`;
  if (end !== SaleEnd.UNSOLD) return null;
  if (led) return `${over}: your bid did not reach its reserve, and your money is back.`;
  return `${over}: ${bids > 0 ? "no bid reached its reserve" : "nobody bid"}.`;
}

/** When it ends later though nobody has bid; null for whom it does not concern. */
export const laterNews = (called, { led, sells }) => (led || sells ? `The auction of ${called} ends later: for a while nobody could bid.` : null);

/** For who bid, and does not lead. */
export const beatenText = (price) => `You are outbid already: somebody would pay as much or more. It stands at ${moneyText(price)} now.`;
