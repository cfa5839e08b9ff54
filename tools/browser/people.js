// Somebody's card: write to them, block them, report them; and whom I have blocked. A press on a name in the talk or on a figure opens it.
//
// The server leaves out what blocked people say; what stands in the talk already goes from here. They are not told.

import { button, h } from "./dom.js";
import { field, fold, form } from "./panel.js";
import { LIMITS, Offence, Role } from "./protocol.js";

const OFFENCES = [
  [Offence.INSULT, "Insults, threats or hate"],
  [Offence.SPAM, "Floods the talk, or advertises"],
  [Offence.INDECENT, "Indecent words, names or buildings"],
  [Offence.CHEATING, "Cheats"],
  [Offence.OTHER, "Something else"],
];

const FIGURE_PX = 92;
const ROLES = { [Role.MODERATOR]: "Moderator", [Role.ADMIN]: "Admin" }; // what is worth saying

export class People {
  /**
   * `on`: request(name, fields, otherwise), act(name, fields), toast(text), write(person), silence(id) when nothing of theirs is to be
   * seen any more, figureOf(look, height).
   */
  constructor(panel, on) {
    this.panel = panel;
    this.on = on;
    this.blocked = new Map(); // player_id -> name
    this.reports = new Map(); // player_id -> how many I have sent
    this.person = null; // { id, name } whose card is shown; null: the list
    this.profile = null; // theirs as the server has it; null while it is not known
    this.shown = false;
    this.me = null;
  }

  /** On entering. */
  async enter(me) {
    if (me !== this.me) this.reports.clear();
    this.me = me;
    const found = await this.on.request("player_blocks", {});
    if (found) this.take(found.players);
  }

  take(players) {
    this.blocked = new Map(players.map(({ player_id, name }) => [player_id, name]));
    if (this.shown) this.draw();
  }

  /** Shows a person's card; null: the list of those I have blocked. */
  async open(person) {
    this.person = person;
    this.profile = null;
    this.shown = true;
    this.draw();
    if (person === null) return;
    const profile = await this.on.request("account_profile", { player_id: person.id }, () => null);
    if (this.person !== person || !this.shown) return; // another card is shown, or none
    this.profile = profile;
    this.draw();
  }

  close() {
    this.shown = false;
    this.panel.close();
  }

  draw() {
    const { person } = this;
    if (person === null) this.panel.show("person", "Blocked people", "blocked", this.list());
    else this.panel.show("person", person.name, `person ${person.id}, ${this.reportsOf(person)} reports`, this.card(person)); // the next one begins anew
  }

  reportsOf({ id }) {
    return this.reports.get(id) ?? 0;
  }

  card(person) {
    const blocked = this.blocked.has(person.id);
    return [
      this.about(this.profile),
      blocked
        ? h("p", { class: "soft" }, "You have blocked them: you hear nothing of theirs, and they cannot write to you.")
        : button(`Write to ${person.name}`, () => this.on.write(person), { class: "main", id: "write" }),
      button(blocked ? "Unblock" : "Block", () => this.block(person, !blocked), { class: "plain", id: "block" }),
      fold("report", this.reportsOf(person) > 0 ? "Reported" : "Report to the moderators",
        form((sent) => this.report(person, sent),
          field("What is wrong?", h("select", { name: "offence" }, ...OFFENCES.map(([value, words]) => h("option", { value: String(value) }, words)))),
          field("What should a moderator know?", h("textarea", { name: "text", rows: "3", maxlength: String(LIMITS.report_chars_max) })),
          h("p", { class: "soft" }, "The last lines of theirs that you could hear are attached."),
          h("button", { type: "submit", class: "plain", id: "send-report" }, "Send report"))),
      this.blocked.size > 0 ? button("Blocked people", () => this.open(null), { class: "plain", id: "all-blocked" }) : null,
    ];
  }

  /** How they look, what they are and what they say about themselves; as high while nothing is known, so that no button moves away. */
  about(profile) {
    if (profile === null) return h("div", { class: "self" }, h("i", {}));
    return h("div", { class: "self" },
      this.on.figureOf(profile.look, FIGURE_PX),
      h("div", { class: "said" },
        ROLES[profile.role] ? h("b", { class: "badge" }, ROLES[profile.role]) : null,
        profile.bio ? h("p", { class: "soft words", id: "bio" }, profile.bio) : null));
  }

  list() {
    if (this.blocked.size === 0) return [h("p", { class: "soft" }, "Nobody. A press on somebody's name in the talk lets you block them.")];
    return [
      h("ul", { id: "blocked" }, ...[...this.blocked].map(([id, name]) =>
        h("li", {}, h("span", {}, name), button("Unblock", () => this.block({ id, name }, false), { class: "small" })))),
    ];
  }

  async block(person, blocks) {
    const done = await this.on.act(blocks ? "player_block" : "player_unblock", { player_id: person.id });
    if (!done) return;
    if (blocks) {
      this.blocked.set(person.id, person.name);
      this.on.silence(person.id);
    } else {
      this.blocked.delete(person.id);
    }
    if (!this.shown) return;
    this.draw();
    if (this.person?.id === person.id) this.panel.toTop(); // what has changed stands there
  }

  async report(person, sent) {
    const { offence, text } = sent.elements;
    const done = await this.on.act("player_report", { player_id: person.id, offence: Number(offence.value), text: text.value.trim() });
    if (!done) return;
    this.reports.set(person.id, this.reportsOf(person) + 1);
    if (this.shown) this.draw();
    this.on.toast(`Thank you. The moderators will look at it, and at ${linesText(done.result.lines)}.`);
  }
}

function linesText(count) {
  if (count === 0) return "nothing that was said";
  return count === 1 ? "one line of talk" : `${count} lines of talk`;
}
