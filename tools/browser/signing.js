// Signing in, for whoever is not: with a name and password, with a new account, or with a new password after a code by mail. It is
// shown in a panel: beside the map to a guest, at the gate to who is outside (gate.js).

import { asking, codeEntry, emailEntry, nameEntry, passwordEntry, PASSWORD_TROUBLES } from "./asking.js";
import { LineLost } from "./connection.js";
import { button, h } from "./dom.js";
import { LIMITS, RefusalCode } from "./protocol.js";

const UNSURE = "The connection was lost, so nobody knows whether the account was made. Press again: it is made once, or you are signed in.";
const PASSWORD_HINT = `${LIMITS.password_chars_min} characters or more; a few words do well`;

export class Signing {
  /**
   * `on`: ask(name, fields); signedIn(signedIn, email), where `email` is that of an account that was made just now, else null; guest()
   * the name of the guest that one is, or null; foot() what stands below everything, or null.
   */
  constructor(panel, on) {
    this.panel = panel;
    this.on = on;
    this.sent = null; // { key, action_id } of the account that was asked for last
  }

  /** `words` stand above: why one is here. */
  signIn(title = "Sign in", words = "") {
    const guest = this.on.guest();
    const form = asking({
      id: "sign-in",
      entries: [nameEntry("Name"), passwordEntry("Password", "current-password")],
      words: "Sign in",
      about: PASSWORD_TROUBLES("current-password"),
      send: async (values) => this.on.signedIn(await this.on.ask("account_login", { name: values.username, password: values["current-password"] }), null),
    });
    this.show(title, "sign-in", [
      words ? h("p", { class: "soft", id: "signing-words" }, words) : null,
      guest ? h("p", { class: "soft" }, `${guest} stays here as a guest; sign out, and you are ${guest} again.`) : null,
      form,
      this.turn("Make an account", () => this.register()),
      this.turn("I forgot my password", () => this.askCode()),
    ]);
  }

  register() {
    const guest = this.on.guest();
    const form = asking({
      id: "register",
      entries: [
        nameEntry("Name", "as others see it"),
        emailEntry("E-mail", {}, "if you like: for a forgotten password"),
        passwordEntry("Password", "new-password", PASSWORD_HINT),
      ],
      words: "Make the account",
      about: { ...PASSWORD_TROUBLES("new-password"), [RefusalCode.NAME_TAKEN]: "username", [RefusalCode.BAD_REQUEST]: "email" },
      send: (values) => this.sendAccount({ name: values.username, email: values.email, password: values["new-password"] }),
    });
    this.show("Make an account", "register", [
      h("p", { class: "soft" }, guest
        ? `You are a guest, ${guest}. With an account you keep your land and your money, and come back from any device.`
        : "With an account you come in from any device, and what you own stays yours."),
      form,
      this.turn("I have an account", () => this.signIn()),
    ]);
  }

  /** The same account is asked for under the same action_id, so that it is made once however often it is sent. */
  async sendAccount(fields) {
    const key = JSON.stringify(fields);
    if (this.sent?.key !== key) this.sent = { key, action_id: crypto.getRandomValues(new Uint8Array(LIMITS.action_id_bytes)) };
    try {
      const signedIn = await this.on.ask("account_register", { action_id: this.sent.action_id, ...fields });
      this.sent = null;
      this.on.signedIn(signedIn, fields.email);
    } catch (refusal) {
      throw refusal instanceof LineLost ? new LineLost(UNSURE) : refusal;
    }
  }

  askCode() {
    const form = asking({
      id: "ask-code",
      entries: [emailEntry("E-mail", { required: true })],
      words: "Send me a code",
      about: { [RefusalCode.BAD_REQUEST]: "email" },
      send: async ({ email }) => {
        await this.on.ask("account_reset_password", { email });
        this.giveCode(email);
      },
    });
    this.show("A new password", "ask-code", [
      h("p", { class: "soft" }, "A code goes to the address of your account, if you have confirmed that address. With it you set another password."),
      form,
      this.turn("Back to signing in", () => this.signIn()),
    ]);
  }

  giveCode(email) {
    const form = asking({
      id: "give-code",
      entries: [codeEntry(), passwordEntry("New password", "new-password", PASSWORD_HINT)],
      words: "Set the password",
      about: { ...PASSWORD_TROUBLES("new-password"), [RefusalCode.BAD_CREDENTIALS]: "code", [RefusalCode.LOCKED]: "code" },
      send: async (values) => {
        await this.on.ask("account_reset_password", { email, code: values.code, new_password: values["new-password"] });
        this.signIn("Sign in", "The new password is set, and every device is signed out. Sign in with it.");
      },
    });
    this.show("A new password", "give-code", [
      h("p", { class: "soft" }, `If an account has ${email} as its confirmed address, a code is on its way there.`),
      form,
      this.turn("Send another code", () => this.askCode()),
    ]);
  }

  show(title, key, nodes) {
    this.panel.show("account", title, key, [...nodes, this.on.foot()]);
    this.panel.focus();
  }

  /** A way to another view. */
  turn(words, go) {
    return button(words, go, { class: "turn" });
  }
}
