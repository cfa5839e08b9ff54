// Who one is, as this browser remembers it, in localStorage, for all windows of this page: the tokens of a session where one is signed
// in, and the ticket of a guest, with which one is the same guest tomorrow.
//
//   address bar, once -> session -> ticket -> nobody, who becomes a new guest        what the hello names
//
// An access token is good for an hour or so, and is refreshed when most of that is gone: before a hello, and while one plays. A refresh
// token is good once, and the server takes a second use for theft and ends the session. So windows do it one at a time (lock.js), and
// whoever is next looks first whether it is done: in a note (notes.js), for what another window stored in localStorage may come later
// than the lock. A guest's ticket stays while one is signed in; only of the guest who got an account it is worth nothing any more.

import { LineLost } from "./connection.js";
import { exclusively } from "./lock.js";
import { amend } from "./notes.js";
import { RefusalCode } from "./protocol.js";

const USED_SHARE = 0.8; // of an access token's life
const RETRY_MS = 10000; // until the next try to refresh, where the server names no time
const TIMER_MS_MAX = 2 ** 31 - 1;

const ENDS = new Set([RefusalCode.BAD_TOKEN, RefusalCode.TOKEN_REUSED]);

export class Tokens {
  /** `given` is an access token from the address bar, or null. `on`: ask(name, fields) in the world, ended(refusal) while one plays. */
  constructor(url, given, on) {
    this.sessionKey = `landworld session ${url}`;
    this.ticketKey = `landworld ticket ${url}`;
    this.given = given;
    this.on = on;
    this.using = null; // the session that this window plays in, by its `began_ms`
    this.isNew = false; // its token was made for this hello
  }

  /** { began_ms, access_token, refresh_token, refresh_ms, expires_ms }, or null: times are of this browser's clock. */
  get session() {
    return JSON.parse(localStorage.getItem(this.sessionKey));
  }

  /** What says in a hello who one is. `ask` asks before the hello. Throws a Refusal; where that ends the session, it is forgotten. */
  async hello(ask) {
    this.using = null;
    if (this.given) return { token: this.given };
    const session = this.session && (await this.fresh(ask));
    if (session) {
      this.using = session.began_ms;
      return { token: session.access_token };
    }
    const ticket = localStorage.getItem(this.ticketKey);
    return ticket ? { resume: ticket } : {};
  }

  /** The hello was refused for its token. Whether there is something else to say hello with. */
  refused() {
    if (this.given) return false;
    if (this.using !== null) {
      if (this.isNew) this.forget();
      else if (this.session) this.store({ ...this.session, refresh_ms: 0 });
      return !this.isNew;
    }
    const ticket = localStorage.getItem(this.ticketKey);
    localStorage.removeItem(this.ticketKey);
    return ticket !== null;
  }

  /** One is in the world. */
  welcomed(ticket) {
    this.given = null;
    this.keepTicket(ticket);
    this.watch();
  }

  keepTicket(ticket) {
    if (this.using === null) localStorage.setItem(this.ticketKey, ticket);
  }

  /** The server has ended the session of this connection. Whether another window has signed in meanwhile. */
  revoked() {
    if (this.using !== null && this.session?.began_ms === this.using) this.forget();
    else localStorage.removeItem(this.ticketKey); // of a guest who has an account now
    this.using = null;
    return this.session !== null;
  }

  /** One has signed in. `upgraded`: as the guest that one was, in this connection. */
  keep(signedIn, upgraded = false) {
    const session = this.put(signedIn, Date.now());
    this.given = null;
    if (!upgraded) return;
    this.using = session.began_ms;
    localStorage.removeItem(this.ticketKey);
    this.watch();
  }

  forget() {
    clearTimeout(this.timer);
    localStorage.removeItem(this.sessionKey);
    this.note(undefined);
  }

  put({ access_token, refresh_token, expires_in_ms }, began_ms) {
    const now = Date.now();
    return this.store({ began_ms, access_token, refresh_token, refresh_ms: now + expires_in_ms * USED_SHARE, expires_ms: now + expires_in_ms });
  }

  store(session) {
    localStorage.setItem(this.sessionKey, JSON.stringify(session));
    return session;
  }

  // --- refreshing ------------------------------------------------------------------------------------------

  /** The session, its access token good for a while yet; null when another window has signed out. */
  fresh(ask) {
    return exclusively(this.sessionKey, async () => {
      const session = await this.newest();
      this.isNew = false;
      if (session === null || session.refresh_ms > Date.now()) return session;
      try {
        const signedIn = await ask("account_refresh", { refresh_token: session.refresh_token });
        this.isNew = true;
        return await this.note(this.put(signedIn, session.began_ms));
      } catch (refusal) {
        if (ENDS.has(refusal.code)) this.forget();
        else if (session.expires_ms > Date.now() && !(refusal instanceof LineLost)) return session; // it will do for now
        throw refusal;
      }
    });
  }

  /** The session as whoever had the lock before left it. */
  async newest() {
    const { session } = this;
    let noted;
    await amend(this.sessionKey, (note) => (noted = note)).catch(noNotes);
    const isNewer = session !== null && noted?.began_ms === session.began_ms && noted.expires_ms > session.expires_ms;
    return isNewer ? this.store(noted) : session;
  }

  /** Notes the session, or that there is none, for whoever has the lock next; gives it. */
  async note(session) {
    await amend(this.sessionKey, () => session).catch(noNotes);
    return session;
  }

  /** Refreshes in time, for as long as one plays. */
  watch(leastMs = 0) {
    clearTimeout(this.timer);
    if (this.using === null || this.session === null) return;
    const waitMs = Math.max(leastMs, this.session.refresh_ms - Date.now());
    this.timer = setTimeout(() => this.refresh(), Math.min(waitMs, TIMER_MS_MAX));
  }

  async refresh() {
    try {
      const session = await this.fresh(this.on.ask);
      if (session !== null) this.watch(session.refresh_ms > Date.now() ? 0 : RETRY_MS);
    } catch (refusal) {
      if (ENDS.has(refusal.code)) this.on.ended(refusal);
      else if (!(refusal instanceof LineLost)) this.watch(refusal.retryAfterMs ?? RETRY_MS); // a line that comes back begins anew
    }
  }
}

/** A browser that keeps none has localStorage alone. */
const noNotes = () => undefined;
