// A parcel in words and forms: whose it is, what one may do there, and everything its owner and managers can change.
//
// `parcelView` gives the elements for the panel; `on` does what is asked:
//   act(name, fields)     a durable action: its answer, or null when it was refused (and the words were shown)
//   buy(listing)          buys it as it is shown
//   bid(auction, amount, maximum)     bids; whether that was taken. Without a maximum it is the amount
//   find(name)            { player_id, name } of a player, or null
//   settle(...names)      what was typed into these fields is done
//   split(), ease(), freed(), redraw()     what the panel shows next

import { auctionFacts, auctionPrice, bidding, offering, takingBack } from "./auction.js";
import { button, h } from "./dom.js";
import { leaseFacts, letting, noticing, renting } from "./lease.js";
import { field, fold, form, sure } from "./panel.js";
import { LIMITS, Standing } from "./protocol.js";
import { buying, saleFacts, selling } from "./sale.js";

const STANDINGS = [
  [Standing.VISITOR, "may enter"],
  [Standing.BUILDER, "may build"],
  [Standing.MANAGER, "manages it"],
  [Standing.TENANT, "rents it"],
];
const WINDS = ["east", "south-east", "south", "south-west", "west", "north-west", "north", "north-east"];
const GIVEN = STANDINGS.filter(([value]) => value <= Standing.MANAGER); // by a permit

export const nameOf = (parcel) => parcel.name || `Parcel ${parcel.parcel_id}`;
const coloured = (colour) => h("i", { class: "swatch", style: `background:${colour}`, "aria-hidden": "true" });

/** A parcel in a list, with lines of words below its name. */
export function parcelRow(parcel, colour, press, ...lines) {
  return h("button", { type: "button", class: "row", onclick: press }, coloured(colour), h("span", {}, nameOf(parcel), ...lines.map((words) => h("small", {}, words))));
}

export const sizeText = ({ width, height }, side) => {
  const plots = (width / side) * (height / side);
  return `${width} × ${height} tiles, ${plots} ${plots === 1 ? "plot" : "plots"}`;
};

/** How far the nearest of a parcel is from a place, and in which direction. */
export function wayText({ x, y }, parcel) {
  const east = Math.min(Math.max(x, parcel.x), parcel.x + parcel.width) - x;
  const south = Math.min(Math.max(y, parcel.y), parcel.y + parcel.height) - y;
  const tiles = Math.round(Math.hypot(east, south));
  if (tiles === 0) return "right here";
  const wind = WINDS[(Math.round((Math.atan2(south, east) * 4) / Math.PI) + WINDS.length) % WINDS.length];
  return `${tiles} ${tiles === 1 ? "tile" : "tiles"} ${wind}`;
}

/** `context`: { me, side, colour, permits (or null), mergeable, trouble (why it could not be bought, or null), on }. */
export function parcelView(parcel, context) {
  const mine = parcel.owner_id === context.me;
  const manages = parcel.standing >= Standing.MANAGER;
  const free = mine && !parcel.lease; // the owner may do everything
  const party = mine || parcel.lease?.tenant_id === context.me;
  return [
    h("p", { class: "owner" }, coloured(context.colour), mine ? "Yours" : `Land of ${parcel.owner_name}`),
    parcel.description ? h("p", { class: "words" }, parcel.description) : null,
    ...(parcel.auction ? inAuction(parcel, context) : [facts(parcel, context), parcel.listing && !mine ? buying(parcel, context.on) : null, troubleOf(context)]),
    parcel.given_to === context.me ? taking(parcel, context.on) : null,
    parcel.to_let && !mine ? renting(parcel, context.on) : null,
    parcel.lease && party ? noticing(parcel, context.on) : null,
    manages ? naming(parcel, context.on) : null,
    manages ? opening(parcel, context) : null,
    free ? sellingOf(parcel, context) : null,
    ...(!free ? [] : parcel.listing || parcel.auction ? [bound(parcel)] : [letting(parcel, context.on), shaping(parcel, context), leaving(parcel, context.on, context.me)]),
  ];
}

/** What goes on in an auction comes first: there are seconds that count. */
const inAuction = (parcel, context) => [
  auctionPrice(parcel, context.me),
  parcel.owner_id === context.me ? null : bidding(parcel, context.me, context.on),
  troubleOf(context),
  facts(parcel, context),
];

const troubleOf = ({ trouble }) => (trouble === null ? null : h("p", { id: "not-bought", class: "trouble", role: "alert" }, trouble));

function sellingOf(parcel, { fee, on }) {
  if (parcel.auction) return takingBack(parcel, on);
  return parcel.listing ? selling(parcel, on) : offering(parcel, fee, on);
}

/** What is for sale is sold as it is. */
function bound({ auction }) {
  const when = auction ? "Until the auction is over nobody can build there; it" : "While it is for sale it";
  return h("p", { id: "bound", class: "soft" }, `${when} cannot be let, split, merged, given away or abandoned, and grants no other way.`);
}

function facts(parcel, { me, side }) {
  const may = [parcel.open_enter ? "enter" : null, parcel.open_build ? "build" : null].filter(Boolean);
  const standing = STANDINGS.find(([value]) => value === parcel.standing);
  const rows = [
    ["Size", sizeText(parcel, side)],
    ["Place", `${parcel.x + parcel.width / 2}, ${parcel.y + parcel.height / 2}`],
    ["Everybody", may.length > 0 ? `may ${may.join(" and ")}` : "is kept out"],
  ];
  if (standing && parcel.owner_id !== me) rows.push(["You", standing[1].replace(/^(manage|rent)s/, "$1")]);
  rows.push(...saleFacts(parcel, me), ...auctionFacts(parcel, me));
  if (parcel.given_to) rows.push(["Given away", parcel.given_to === me ? "to you, if you take it" : "to somebody who has not taken it yet"]);
  rows.push(...leaseFacts(parcel));
  if (parcel.way) rows.push(["Way", `everybody may walk on ${sizeText(parcel.way, side)}`]);
  return h("dl", {}, ...rows.flatMap(([term, words]) => [h("dt", {}, term), h("dd", {}, words)]));
}

function taking({ parcel_id, owner_id }, on) {
  const decline = async () => {
    if (await on.act("land_transfer", { parcel_id, to: owner_id })) on.freed();
  };
  return h("div", { class: "pair" },
    button("Take it, for nothing", () => on.act("land_take", { parcel_id }), { id: "take", class: "main" }),
    button("Decline", decline, { id: "decline", class: "plain" }));
}

function naming({ parcel_id, name, description }, on) {
  return fold("naming", "Name and description", form(
    async (sent) => {
      const { name: called, description: words } = sent.elements;
      if (await on.act("land_describe", { parcel_id, name: called.value, description: words.value })) on.settle("name", "description");
    },
    field("Name", h("input", { name: "name", value: name, maxlength: LIMITS.parcel_name_chars_max })),
    field("Description", h("textarea", { name: "description", rows: 3, maxlength: LIMITS.description_chars_max }, description)),
    h("button", { class: "plain" }, "Save"),
  ));
}

function opening(parcel, { permits, on }) {
  const { parcel_id, open_enter, open_build } = parcel;
  const turn = (enter, build) => on.act("land_open", { parcel_id, enter, build }).then((done) => done ?? on.redraw());
  const check = (id, words, checked, turned) =>
    h("label", { class: "check" }, h("input", { type: "checkbox", id, checked, onchange: (event) => turned(event.target.checked) }), words);
  return fold("opening", "Who may enter and build",
    check("open-enter", "Everybody may enter", open_enter, (value) => turn(value, open_build)),
    check("open-build", "Everybody may build", open_build, (value) => turn(open_enter, value)),
    permits === null ? h("p", { class: "soft" }, "Looking who else may…") : h("ul", { id: "permits" }, ...permits.map((permit) => permitRow(parcel_id, permit, on))),
    permitForm(parcel_id, on),
  );
}

function permitRow(parcel_id, { player_id, name, standing }, on) {
  const words = STANDINGS.find(([value]) => value === standing)?.[1] ?? "";
  const take = () => on.act("land_permit", { parcel_id, player_id, standing: Standing.NONE });
  return h("li", {}, h("span", {}, name, h("small", {}, words)), button("Take away", take, { class: "small" }));
}

function permitForm(parcel_id, on) {
  return form(
    async (sent) => {
      const player = await on.find(sent.elements.player.value);
      if (!player) return;
      const standing = Number(sent.elements.standing.value);
      if (await on.act("land_permit", { parcel_id, player_id: player.player_id, standing })) on.settle("player");
    },
    h("div", { class: "pair" },
      h("input", { name: "player", placeholder: "Name of a player", "aria-label": "Name of a player", required: true, maxlength: LIMITS.name_chars_max }),
      h("select", { name: "standing", "aria-label": "What they may do" }, ...GIVEN.map(([value, words]) => h("option", { value }, words))),
    ),
    h("button", { class: "plain" }, "Let them"),
  );
}

function shaping(parcel, { side, mergeable, on }) {
  const divisible = parcel.width > side || parcel.height > side;
  const { parcel_id, x, y, way } = parcel;
  return fold("shaping", "Ways, split and merge",
    button(way ? "Grant another way" : "Grant a way", () => on.ease(), { id: "ease", class: "plain" }),
    way ? button("Take the way back", () => on.act("land_ease", { parcel_id, x, y, width: 0, height: 0 }), { id: "no-way", class: "plain" }) : null,
    divisible ? button("Split along a line", () => on.split(), { id: "split", class: "plain" }) : null,
    ...mergeable.map((other) =>
      button(`Merge with ${nameOf(other)}`, () => on.act("land_merge", { parcel_id, other_id: other.parcel_id }), { class: "plain merge" })),
  );
}

function leaving({ parcel_id, given_to }, on, me) {
  return fold("leaving", "Give away or abandon",
    given_to ? button("Keep it after all", () => on.act("land_transfer", { parcel_id, to: me }), { id: "keep", class: "plain" }) : null,
    form(
      async (sent) => {
        const player = await on.find(sent.elements.heir.value);
        if (player) await on.act("land_transfer", { parcel_id, to: player.player_id });
      },
      field("To whom", h("input", { name: "heir", placeholder: "Name of a player", required: true, maxlength: LIMITS.name_chars_max })),
      h("button", { class: "plain" }, "Give it away"),
    ),
    sure("Abandon it", "Press again: all that is built goes, nothing is paid back", async () => {
      if (await on.act("land_abandon", { parcel_id })) on.freed();
    }),
  );
}
