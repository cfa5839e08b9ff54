// The line to the server: opens it, says hello, answers with what was asked, and comes back by itself when it breaks.
//
//   offline -> connecting -> joining -> playing -> lost or waiting -> connecting ...   and, until a person says so: outside, refused, replaced, closed
//
// It comes back by itself when the line was simply lost, and when the server said after how long (waiting). When the server sent one
// away and named no time, a person decides. Outside is who has to sign in first: no guests here, or the session has ended.
//
// Who one is, tokens.js knows. Requests are promises: `request("chunk_get", {...})` gives the result of its `ok`, or throws the
// `refused`; `ask` gives { seq, result }.

import { CloseCode, decode, encode, PROTOCOL_VERSION, RefusalCode, SUBPROTOCOL } from "./protocol.js";

const BROWSERS = [[/Edg\//, "Edge"], [/OPR\//, "Opera"], [/Firefox\//, "Firefox"], [/Chrome\//, "Chrome"], [/Safari\//, "Safari"]]; // the first that fits
const SYSTEMS = [[/Android/, "Android"], [/iPhone|iPad/, "iOS"], [/Windows/, "Windows"], [/Mac OS X/, "macOS"], [/Linux/, "Linux"]];
const CLIENT = `landworld-browser/1 (${browserName(navigator.userAgent)})`;
const PING_MS = 2000;
const RETRY_MS = [150, 500, 800, 1200, 2000, 3000];
const RETRY_JITTER_MS = 400;
const OPEN_MS = 6000; // a line that is not open by then never will be
const SILENCE_MS = 12000; // not even a pong for so long: the line is dead, whatever the socket says
const OUTSIDE = new Set([RefusalCode.BAD_TOKEN, RefusalCode.TOKEN_REUSED, RefusalCode.GUESTS_FORBIDDEN]); // these want one to sign in
// Closed with one of these and no message before that names a time: coming back at once would only end the same way.
const SENT_AWAY = new Set([
  CloseCode.PROTOCOL_ERROR, CloseCode.UNSUPPORTED_DATA, CloseCode.INVALID_DATA, CloseCode.POLICY_VIOLATION, CloseCode.TOO_BIG,
  CloseCode.REPLACED, CloseCode.FLOODING, CloseCode.TOO_SLOW, CloseCode.REFUSED,
]);

/** A request the server refused: `code` and `message` as it said. */
export class Refusal extends Error {
  constructor({ code, message, retry_after_ms }) {
    super(message);
    this.code = code;
    this.retryAfterMs = retry_after_ms;
  }
}

/** A request of which nobody knows whether it reached the server. */
export class LineLost extends Refusal {
  constructor(message) {
    super({ code: RefusalCode.UNAVAILABLE, message, retry_after_ms: null });
  }
}

/** Which browser and system this is, for the list of devices. */
function browserName(agent) {
  const [, browser] = BROWSERS.find(([pattern]) => pattern.test(agent)) ?? [null, "a browser"];
  const [, system] = SYSTEMS.find(([pattern]) => pattern.test(agent)) ?? [null, ""];
  return system ? `${browser} on ${system}` : browser;
}

export class Connection {
  /**
   * `tokens` say who one is; `handlers` are called by message name, besides `state(name, why, waitMs)` and `frame(now)` after
   * each WebSocket message. `waitMs` is how long until the next attempt, for lost and waiting.
   */
  constructor(url, tokens, handlers) {
    this.url = url;
    this.tokens = tokens;
    this.handlers = handlers;
    this.state = "offline";
    this.requests = new Map();
    this.requestId = 0;
    this.failures = 0;
    this.advice = null; // what the server said before it closed: { code, message, retryAfterMs }, without a time null
    this.pings = new Map();
    this.pingMs = null;
    this.received = { bytes: 0, messages: 0, snapshots: 0 };
    addEventListener("pagehide", () => this.leave());
    addEventListener("pageshow", ({ persisted }) => persisted && this.open());
    addEventListener("online", () => this.state === "lost" && this.retry(0));
  }

  open() {
    this.become("connecting");
    const socket = new WebSocket(this.url, SUBPROTOCOL);
    socket.binaryType = "arraybuffer";
    this.socket = socket;
    this.heardAt = performance.now();
    clearTimeout(this.opening);
    this.opening = setTimeout(() => socket === this.socket && socket.readyState === WebSocket.CONNECTING && this.drop(), OPEN_MS);
    socket.onopen = () => this.join(socket);
    socket.onmessage = ({ data }) => socket === this.socket && this.receive(new Uint8Array(data));
    socket.onclose = ({ code, reason }) => socket === this.socket && this.closed(code, reason);
  }

  async join(socket) {
    this.become("joining");
    try {
      const who = await this.tokens.hello((name, fields) => this.tell(name, fields).then(({ result }) => result));
      if (socket === this.socket) this.send("hello", { protocol: PROTOCOL_VERSION, client: CLIENT, ...who });
    } catch (refusal) {
      if (!(refusal instanceof Refusal)) throw refusal;
      if (refusal instanceof LineLost || socket !== this.socket) return; // its close is seen to
      this.turnedAway(refusal);
      socket.close();
    }
  }

  /** Comes in anew: as somebody else, by a person's wish. */
  again() {
    this.leave();
    this.forsake();
    this.open();
  }

  send(name, fields) {
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(encode(name, fields));
  }

  async request(name, fields) {
    return (await this.ask(name, fields)).result;
  }

  /** { seq, result } of the `ok`; seq is its place in the journal. Throws a Refusal. */
  ask(name, fields) {
    return this.state === "playing" ? this.tell(name, fields) : Promise.reject(new LineLost("Not connected."));
  }

  tell(name, fields) {
    this.requestId = (this.requestId % 0xffffffff) + 1;
    const request_id = this.requestId;
    return new Promise((resolve, reject) => {
      this.requests.set(request_id, { resolve, reject });
      this.send(name, { request_id, ...fields });
    });
  }

  receive(bytes) {
    const now = performance.now();
    this.heardAt = now;
    this.received.bytes += bytes.byteLength;
    for (const message of decode(bytes)) {
      this.received.messages += 1;
      if (message.type === "snapshot") this.received.snapshots += 1;
      this.own[message.type]?.call(this, message, now);
      this.handlers[message.type]?.(message, now);
    }
    this.handlers.frame?.(now);
  }

  /** What the line itself makes of a message, before anybody else. */
  own = {
    welcome({ resume }) {
      this.tokens.welcomed(resume);
      this.failures = 0;
      this.advice = null;
      this.become("playing");
      this.ping();
    },
    ok({ request_id, seq, result }) {
      this.settle(request_id)?.resolve({ seq, result });
    },
    refused(message) {
      const request = this.settle(message.request_id);
      if (request) request.reject(new Refusal(message));
      else if (this.state === "joining") this.notWelcome(new Refusal(message));
    },
    pong({ nonce }, now) {
      const sent = this.pings.get(nonce);
      this.pings.delete(nonce);
      if (sent === undefined) return;
      const took = now - sent;
      this.pingMs = this.pingMs === null ? took : this.pingMs + (took - this.pingMs) * 0.3;
    },
    closing({ code, message, retry_after_ms, resume }) {
      if (resume) this.tokens.keepTicket(resume);
      this.advice = { code, message, retryAfterMs: retry_after_ms };
    },
  };

  settle(requestId) {
    const request = this.requests.get(requestId);
    this.requests.delete(requestId);
    return request;
  }

  /** The hello was refused. With a token that is not good one comes as whoever one is without it; for all else a person has to decide. */
  notWelcome(refusal) {
    if (refusal.code === RefusalCode.BAD_TOKEN && this.tokens.refused()) this.advice = { code: CloseCode.REFUSED, message: "", retryAfterMs: 0 };
    else this.turnedAway(refusal);
  }

  /** Who is banned reads why, and does not knock until it is over. */
  turnedAway({ code, message, retryAfterMs }) {
    if (retryAfterMs !== null && code !== RefusalCode.BANNED) this.advice = { code: CloseCode.REFUSED, message, retryAfterMs };
    else this.stop(OUTSIDE.has(code) && !this.tokens.given ? "outside" : "refused", message, code);
  }

  ping() {
    clearInterval(this.pinging);
    let nonce = 0;
    const beat = () => {
      const now = performance.now();
      if (now - this.heardAt > SILENCE_MS) {
        this.drop();
        return;
      }
      nonce += 1;
      this.pings.clear(); // an answer that took longer than a beat says nothing new
      this.pings.set(nonce, now);
      this.send("ping", { nonce });
    };
    beat();
    this.pinging = setInterval(beat, PING_MS);
  }

  closed(code, reason) {
    clearInterval(this.pinging);
    this.forsake();
    if (this.state === "refused" || this.state === "outside") return;
    let { advice } = this;
    this.advice = null;
    if ((advice?.code ?? code) === CloseCode.REVOKED) {
      if (!this.tokens.revoked()) {
        this.stop("outside", advice?.message || reason);
        return;
      }
      advice = { code, message: "", retryAfterMs: 0 };
    }
    if (advice ? advice.retryAfterMs === null : SENT_AWAY.has(code)) {
      this.stop(code === CloseCode.REPLACED ? "replaced" : "closed", advice?.message || reason);
      return;
    }
    const leastMs = advice ? advice.retryAfterMs : RETRY_MS[Math.min(this.failures, RETRY_MS.length - 1)];
    const waitMs = leastMs + Math.random() * Math.max(RETRY_JITTER_MS, leastMs / 2); // not everybody at once
    this.failures += 1;
    this.become(advice ? "waiting" : "lost", advice?.message || reason, waitMs);
    this.retry(waitMs);
  }

  /** What was asked gets no answer any more. */
  forsake() {
    for (const { reject } of this.requests.values()) reject(new LineLost("The connection was lost."));
    this.requests.clear();
  }

  /** The line is dead without a close: take it for lost at once. */
  drop() {
    const socket = this.socket;
    this.socket = null;
    socket.close();
    this.closed(0, "");
  }

  retry(afterMs) {
    clearTimeout(this.retrying);
    this.retrying = setTimeout(() => this.open(), afterMs);
  }

  /** One has to sign in again, says this refusal. */
  end({ code, message }) {
    this.leave();
    this.forsake();
    this.stop("outside", message, code);
  }

  /** Until a person decides; `code` is that of the refusal, where it was one. */
  stop(state, why, code = null) {
    clearTimeout(this.retrying);
    clearInterval(this.pinging);
    this.become(state, why, 0, code);
  }

  /** Leaves for good, so that nobody sees a player stand there for half a minute. */
  leave() {
    clearTimeout(this.retrying);
    clearInterval(this.pinging);
    this.socket?.close(CloseCode.NORMAL);
    this.socket = null;
  }

  become(state, why = "", waitMs = 0, code = null) {
    this.state = state;
    this.handlers.state?.(state, why, waitMs, code);
  }
}
