// The gate: where one stands who has to sign in first, because this world takes no guests or because the session has ended. It says why,
// holds everything else until then, and lets in whoever signs in, or goes on as a guest.

import { button } from "./dom.js";
import { Panel } from "./panel.js";
import { RefusalCode } from "./protocol.js";
import { Signing } from "./signing.js";

const byId = (id) => document.getElementById(id);

const NO_GUESTS = ["Sign in to enter", "This world is for people who have an account. It takes a minute to make one."];
const REUSED = [
  "You were signed out",
  "Your sign-in came from two places at once, so a copy of it may be in other hands, and it has ended in both. Sign in again; if it was not you twice, change your password then.",
];
const STAYS_FREE = new Set(["toasts", "failure"]);

export class Gate {
  /** `on`: ask(name, fields), signedIn(signedIn, email), asGuest(). */
  constructor(on) {
    this.on = on;
    this.panel = new Panel("gate", {});
    this.signing = new Signing(this.panel, { ask: on.ask, signedIn: on.signedIn, guest: () => null, foot: () => this.foot() });
    this.guests = true; // as far as is known
  }

  /** One is outside: `why` is the server's word for it, `code` that of its refusal or null. `farewell`: [title, words] of who left by themselves. */
  open(why, code, farewell) {
    if (code === RefusalCode.GUESTS_FORBIDDEN) this.guests = false;
    const [title, words] = farewell ?? (code === RefusalCode.GUESTS_FORBIDDEN ? NO_GUESTS : code === RefusalCode.TOKEN_REUSED ? REUSED : ["You were signed out", why]);
    this.hold(true);
    this.signing.signIn(title, words);
  }

  close() {
    if (this.panel.root.hidden) return;
    this.panel.close();
    this.hold(false);
  }

  /** What lies behind the gate can neither be pressed nor reached by Tab. */
  hold(held) {
    for (const element of document.body.children) if (element !== this.panel.root && !STAYS_FREE.has(element.id)) element.inert = held;
    byId("entrance").classList.toggle("silent", held);
  }

  foot() {
    return this.guests ? button("Walk on as a guest", () => this.on.asGuest(), { id: "as-guest", class: "plain" }) : null;
  }
}
