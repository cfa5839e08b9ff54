// What is to last: land, money, building. Each action carries 16 random bytes, its action_id, and is kept until it is answered.
//
// When the line breaks nobody knows whether the server has done it; so once the line is back it is sent again under the same id, and
// the server does it once, or gives its first answer again. `ok` means that it is stored: only then it is called safe.

import { LineLost } from "./connection.js";
import { LIMITS, RefusalCode } from "./protocol.js";

const QUIET = new Set(["player_report", "player_block", "player_unblock"]); // about people: whether they are done, their card says
const PATIENCE_MAX = 5; // attempts of one action that the server finds too early

export class Actions {
  /** `on.changed({ sending, refused })`: how many wait for their answer, and whether the last answer was no; of land and money. */
  constructor(connection, on) {
    this.connection = connection;
    this.on = on;
    this.waiting = new Set(); // oldest first
    this.playerId = null;
    addEventListener("beforeunload", (event) => this.waiting.size > 0 && event.preventDefault()); // what was not answered would be forgotten
  }

  /** Does it: { seq, result } once it is stored. Throws the Refusal. */
  do(name, fields) {
    const action_id = crypto.getRandomValues(new Uint8Array(LIMITS.action_id_bytes));
    return new Promise((resolve, reject) => {
      const action = { name, fields: { action_id, ...fields }, resolve, reject, attempts: 0 };
      this.waiting.add(action);
      this.tell(action, false);
      this.send(action);
    });
  }

  /** On entering: what was not answered is sent again, in order, unless one came back as somebody else. */
  enter(playerId) {
    if (this.playerId !== null && this.playerId !== playerId) {
      for (const action of this.waiting) this.settle(action, () => action.reject(new Error("You came back as somebody else; what was not answered is given up.")), true);
    }
    this.playerId = playerId;
    for (const action of this.waiting) this.send(action);
  }

  async send(action) {
    try {
      const answer = await this.connection.ask(action.name, action.fields);
      this.settle(action, () => action.resolve(answer), false);
    } catch (refusal) {
      if (refusal instanceof LineLost) return; // it is sent again on entering
      action.attempts += 1;
      const early = refusal.code === RefusalCode.RATE_LIMITED && refusal.retryAfterMs !== null && action.attempts < PATIENCE_MAX;
      if (early) setTimeout(() => this.waiting.has(action) && this.send(action), refusal.retryAfterMs);
      else this.settle(action, () => action.reject(refusal), true);
    }
  }

  settle(action, end, refused) {
    if (!this.waiting.delete(action)) return;
    this.tell(action, refused);
    end();
  }

  /** How many of those that are told of wait for their answer. */
  get sending() {
    return [...this.waiting].filter(({ name }) => !QUIET.has(name)).length;
  }

  tell({ name }, refused) {
    if (!QUIET.has(name)) this.on.changed({ sending: this.sending, refused });
  }
}
