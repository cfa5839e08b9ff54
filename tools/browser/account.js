// The account: who I am, my devices, my password, my data. A guest is offered one here (signing.js). Each matter is a view of the panel.

import { asking, codeEntry, emailEntry, nameFor, passwordEntry, PASSWORD_TROUBLES } from "./asking.js";
import { button, h } from "./dom.js";
import { sure } from "./panel.js";
import { profileForm } from "./profile.js";
import { LIMITS, RefusalCode, Role } from "./protocol.js";
import { Signing } from "./signing.js";

const FIGURE_PX = 92;
const AGES = [[86400, "day"], [3600, "hour"], [60, "minute"]];
const STAYS = "Your name, your e-mail address, your password, your look, what you wrote about yourself and what you said are deleted, and every device is signed out.";
const GOES_ON = "What you own and built stays in the world under nobody's name, and so do the entries of the ledger, for others have their part in them. The records of the land keep the name that you had then, and moderators keep what was reported about you and what was decided. Nobody can get it back, not even you.";

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

export class Account {
  /**
   * `on`: ask(name, fields), toast(text), signedIn(signedIn, email), leave(farewell) before one goes, figureOf(look, height),
   * changed(profile). `tokens` tell whether there is an account.
   */
  constructor(panel, tokens, on) {
    this.panel = panel;
    this.tokens = tokens;
    this.on = on;
    this.me = { id: 0, name: "", role: Role.GUEST };
    this.profile = null;
    this.signing = new Signing(panel, { ask: on.ask, signedIn: on.signedIn, guest: () => (this.me.role === Role.GUEST ? this.me.name : null), foot: () => null });
  }

  /** On entering. */
  enter(me) {
    if (me.id !== this.me.id || me.role !== this.me.role) this.profile = null;
    this.me = me;
  }

  /** I am a guest, or I have an account, or I came with a token of who runs this server. */
  async open() {
    if (this.me.role === Role.GUEST) this.signing.register();
    else if (this.tokens.using === null) this.drawForeign();
    else await this.home();
  }

  drawForeign() {
    this.panel.show("account", this.me.name, "foreign", [
      h("p", { class: "soft" }, "You came with a token of who runs this server. That is no account: it has no password and no devices."),
      this.row("Sign in with an account", "", () => this.signing.signIn()),
      this.row("Make an account", "", () => this.signing.register()),
    ]);
  }

  // --- the overview ----------------------------------------------------------------------------------------

  async home() {
    this.drawHome();
    const profile = await this.question("account_profile", {});
    if (!profile) return;
    this.profile = profile;
    if (this.panel.key === "account") this.drawHome();
  }

  drawHome() {
    const { profile } = this;
    this.panel.show("account", profile?.name ?? this.me.name, "account", [
      h("div", { class: "self" },
        profile ? this.on.figureOf(profile.look, FIGURE_PX) : h("i", {}),
        h("p", { class: "soft words" }, profile ? profile.bio || "You have not said anything about yourself yet." : "")),
      h("div", { class: "rows" },
        this.row("Profile", "name, look, about you", () => this.drawProfile(), !profile),
        this.row("E-mail", profile ? emailWords(profile) : "", () => this.drawEmail(), !profile),
        this.row("Password", "change it", () => this.drawPassword()),
        this.row("Devices", "where you are signed in", () => this.devices()),
        this.row("Your data", "save a copy, or delete the account", () => this.drawData())),
      button("Sign out", () => this.signOut(), { id: "sign-out", class: "plain" }),
    ]);
    this.panel.focus();
  }

  row(words, more, go, disabled = false) {
    return h("button", { type: "button", class: "row next", onclick: go, disabled }, h("span", {}, words, more ? h("small", {}, more) : ""), h("i", { "aria-hidden": "true" }, "›"));
  }

  /** A view of one matter. */
  show(title, key, nodes) {
    this.panel.show("account", title, key, [...nodes, button("Back", () => this.home(), { id: "back", class: "turn" })]);
    this.panel.focus();
  }

  /** The answer; where it is refused the words are shown, and it is null. */
  async question(name, fields) {
    try {
      return await this.on.ask(name, fields);
    } catch (refusal) {
      this.on.toast(refusal.message);
      return null;
    }
  }

  async signOut() {
    this.on.leave(["You are signed out", "Your land and everything else stays yours until you come back."]);
    if (!(await this.question("account_logout", {}))) this.on.leave(null);
  }

  // --- profile, e-mail, password ----------------------------------------------------------------------------

  drawProfile() {
    const save = async (fields) => {
      this.profile = await this.on.ask("account_edit_profile", fields);
      this.me = { ...this.me, name: this.profile.name };
      this.on.changed(this.profile);
      this.on.toast("Saved.");
      this.drawHome();
    };
    this.show("Profile", "profile", [profileForm(this.profile, { save, figureOf: this.on.figureOf })]);
  }

  drawEmail() {
    const { email, email_verified } = this.profile;
    const open = email !== "" && !email_verified;
    this.show("E-mail", "email", [
      h("p", { class: "words", id: "email-now" }, email || "No address", h("small", {}, email ? (email_verified ? "confirmed: a forgotten password can be set anew by it" : "not confirmed: give the code from the e-mail") : "without one a forgotten password cannot be set anew")),
      open ? this.codeForm() : null,
      open ? button("Send me another code", () => this.sendCode(), { id: "send-code", class: "turn" }) : null,
      h("h3", {}, email ? "Another address" : "Your address"),
      asking({
        id: "email",
        before: [nameFor(this.me.name)],
        entries: [emailEntry("E-mail", { required: true }), passwordEntry("Password", "current-password")],
        words: "Use this address",
        about: { ...PASSWORD_TROUBLES("current-password"), [RefusalCode.BAD_REQUEST]: "email" },
        send: async (values) => {
          await this.on.ask("account_verify_email", { email: values.email, password: values["current-password"] });
          await this.renewEmail(`A code is on its way to ${values.email}.`);
        },
      }),
    ]);
  }

  codeForm() {
    return asking({
      id: "confirm",
      entries: [codeEntry()],
      words: "Confirm the address",
      about: { [RefusalCode.BAD_CREDENTIALS]: "code", [RefusalCode.BAD_REQUEST]: "code" },
      send: async ({ code }) => {
        await this.on.ask("account_verify_email", { code });
        await this.renewEmail("The address is confirmed.");
      },
    });
  }

  async sendCode() {
    if (await this.question("account_verify_email", {})) this.on.toast(`A code is on its way to ${this.profile.email}.`);
  }

  async renewEmail(words) {
    this.on.toast(words);
    this.panel.settle("email", "current-password", "code");
    this.profile = await this.on.ask("account_profile", {});
    this.drawEmail();
  }

  drawPassword() {
    this.show("Password", "password", [
      h("p", { class: "soft" }, "Every other device is signed out."),
      asking({
        id: "change-password",
        before: [nameFor(this.me.name)],
        entries: [passwordEntry("Password of now", "current-password"), passwordEntry("New password", "new-password", `${LIMITS.password_chars_min} characters or more`)],
        words: "Change the password",
        about: { ...PASSWORD_TROUBLES("current-password"), [RefusalCode.WEAK_PASSWORD]: "new-password" },
        send: async (values) => {
          const { ended } = await this.on.ask("account_change_password", { password: values["current-password"], new_password: values["new-password"] });
          this.on.toast(`The password is changed.${ended > 0 ? ` ${endedText(ended)}` : ""}`);
          this.home();
        },
      }),
    ]);
  }

  // --- devices -----------------------------------------------------------------------------------------------

  async devices() {
    this.drawDevices(null);
    const found = await this.question("account_sessions", {});
    if (found && this.panel.key === "devices") this.drawDevices(found.sessions);
  }

  drawDevices(sessions) {
    const others = (sessions ?? []).filter(({ current }) => !current).length;
    this.show("Devices", "devices", [
      sessions === null ? h("p", { class: "soft" }, "Looking…") : h("ul", { id: "devices" }, ...sessions.map((session) => this.device(session))),
      others > 1 ? sure("Sign out all others", "Sure? They have to sign in again", () => this.revoke({}), { id: "revoke-others", class: "grave" }) : null,
    ]);
  }

  device({ session_id, client, address, used_ms, created_ms, current }) {
    const program = /\((.*)\)$/.exec(client)?.[1] ?? client;
    return h("li", {},
      h("span", {}, program || "A device", h("small", {}, `${address}, since ${dayText(created_ms)}`), h("small", {}, current ? "" : `last used ${ageText(used_ms)}`)),
      current
        ? h("b", { class: "badge" }, "This device")
        : button("Sign out", () => this.revoke({ session_id }), { class: "small", "aria-label": `Sign out ${program || "the device"} at ${address}` }));
  }

  async revoke(which) {
    const done = await this.question("account_revoke", which);
    if (done) this.on.toast(endedText(done.ended));
    await this.devices();
  }

  // --- what is kept of me --------------------------------------------------------------------------------------

  drawData() {
    this.show("Your data", "data", [
      h("p", { class: "soft" }, "Everything that is stored about you, as one file (JSON)."),
      button("Save a copy", () => this.save(), { id: "save-copy", class: "plain" }),
      h("h3", {}, "Delete the account"),
      h("p", { class: "soft" }, STAYS),
      h("p", { class: "soft" }, GOES_ON),
      asking({
        id: "delete",
        before: [nameFor(this.me.name)],
        entries: [passwordEntry("Password", "current-password", "to be sure that it is you")],
        words: "Delete my account for good",
        grave: true,
        about: PASSWORD_TROUBLES("current-password"),
        send: (values) => this.delete(values["current-password"]),
      }),
    ]);
  }

  async delete(password) {
    this.on.leave(["Your account is deleted", "Thank you for having been here."]);
    try {
      await this.on.ask("account_delete", { password });
    } catch (refusal) {
      this.on.leave(null);
      throw refusal;
    }
  }

  /** The export, part by part, as a file. */
  async save() {
    try {
      const parts = [];
      for (let more = true; more; ) {
        const found = await this.part(parts.length);
        parts.push(found.part);
        more = found.more;
      }
      const url = URL.createObjectURL(new Blob(parts, { type: "application/json" }));
      h("a", { href: url, download: `landworld-${this.me.name}.json` }).click();
      URL.revokeObjectURL(url);
    } catch (refusal) {
      this.on.toast(refusal.message);
    }
  }

  /** A long export comes as fast as the server allows. */
  async part(part) {
    for (;;) {
      try {
        return await this.on.ask("account_export", { part });
      } catch (refusal) {
        if (part === 0 || refusal.code !== RefusalCode.RATE_LIMITED || refusal.retryAfterMs === null) throw refusal;
        await pause(refusal.retryAfterMs);
      }
    }
  }
}

const emailWords = ({ email, email_verified }) => (email === "" ? "none" : email_verified ? email : `${email}, not confirmed`);

/** How many devices a request has signed out; where they had gone already it is none. */
export function endedText(count) {
  if (count === 0) return "No device had to be signed out.";
  return count === 1 ? "One device is signed out." : `${count} devices are signed out.`;
}

const dayText = (ms) => new Date(ms).toLocaleDateString("en-GB", { day: "numeric", month: "short" });

function ageText(ms) {
  const seconds = (Date.now() - ms) / 1000;
  const [size, word] = AGES.find(([one]) => seconds >= one) ?? [1, ""];
  if (word === "") return "just now";
  return new Intl.RelativeTimeFormat("en", { numeric: "auto" }).format(-Math.floor(seconds / size), word);
}
