// Talk: what was said, in tabs; a line to say something; and bubbles over the heads of those nearby.
//
// Enter opens the line, Enter says it, Escape leaves; `/` opens it with a slash, for a command: `/w NAME text`
// speaks to one person wherever they are (a name may have spaces); `/blocked` shows whom one has blocked. What begins with a slash is
// never said aloud. A press on a name in the talk opens that person's card; on the Direct tab a line goes to whom one spoke with last.
//
// Who is muted cannot write: the line says until when, and why.

import { ChatChannel, LIMITS, RefusalCode } from "./protocol.js";

const LINES_MAX = 200; // kept in each tab
const BUBBLES_MAX = 14;
const BUBBLE_MS = 5200;
const BUBBLE_MS_PER_CHAR = 45;
const BUBBLE_CHARS_MAX = 120;
const BUBBLE_GAP_PX = 6;
const TABS = [ChatChannel.NEARBY, ChatChannel.WORLD, ChatChannel.DIRECT];
const WHISPER = /^\/(?:w|tell|msg)\s+(\S+\s.+)$/isu;
const BLOCKED = /^\/blocked$/iu;
const KNOWN = /^\/(?:help|w|tell|msg)(?:\s|$)/iu;
const NAME_WORDS_MAX = 4;
const PLACEHOLDERS = ["Say something nearby", "Say something to the world", "/w NAME text"];
const COMMAND = "/w NAME text writes to one person.";
const TIMEOUT_MS_MAX = 2 ** 31 - 1; // of setTimeout
const SPACES = "A name with spaces is written as it is, the longest that somebody has counts: /w Heron Grove 3012 hello";

export class Chat {
  /**
   * `root` holds the panel as index.html has it; `on.request(name, fields)`, `on.toast(text)`, `on.done()` when the line closes,
   * `on.person({ id, name })` when a name is pressed, or null for the list of those one has blocked.
   */
  constructor(root, bubbles, on) {
    this.root = root;
    this.bubblesRoot = bubbles;
    this.on = on;
    this.log = root.querySelector("[role=log]");
    this.form = root.querySelector("form");
    this.field = root.querySelector("input");
    this.tabs = [...root.querySelectorAll("[role=tab]")];
    this.lines = TABS.map(() => []);
    this.tab = ChatChannel.NEARBY;
    this.partner = null; // { id, name } of the direct talk
    this.bubbles = new Map(); // player_id -> { element, until, width, height }, the newest last
    this.me = { id: 0, name: "" };
    this.charsMax = 300;
    this.mute = null; // { reason, untilMs } by the wall clock
    this.tabs.forEach((tab, channel) => {
      tab.addEventListener("click", () => this.choose(channel));
      tab.addEventListener("keydown", (event) => this.tabKey(event, channel));
    });
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.submit();
    });
    this.field.addEventListener("keydown", (event) => {
      if (event.key === "Escape") this.leave();
    });
    this.choose(ChatChannel.NEARBY);
  }

  enter(me, charsMax) {
    this.me = me;
    this.field.maxLength = charsMax;
    this.charsMax = charsMax;
    this.lines = TABS.map(() => []); // the server tells what was said before
    this.muted({ muted: false }); // likewise
    this.render();
  }

  /** `begun`: what stands in an empty line, the caret after it. */
  open(begun = "") {
    this.root.classList.add("open");
    this.field.value ||= begun;
    this.field.focus();
  }

  leave() {
    this.field.value = "";
    this.field.blur();
    this.root.classList.remove("open");
    this.on.done();
  }

  choose(channel) {
    this.tab = channel;
    this.tabs.forEach((tab, index) => {
      const chosen = index === channel;
      tab.setAttribute("aria-selected", String(chosen));
      tab.tabIndex = chosen ? 0 : -1;
      if (chosen) tab.classList.remove("news");
    });
    this.log.setAttribute("aria-labelledby", this.tabs[channel].id);
    this.invite();
    this.render();
  }

  /** What stands in the empty line. */
  invite() {
    const { mute, tab } = this;
    if (mute) this.field.placeholder = muteText(mute);
    else this.field.placeholder = tab === ChatChannel.DIRECT && this.partner ? `To ${this.partner.name}` : PLACEHOLDERS[tab];
    this.field.disabled = mute !== null;
  }

  /** The message `mute_changed`. */
  muted({ muted, reason, until_ms }) {
    clearTimeout(this.unmuting);
    const was = this.mute;
    this.mute = muted ? { reason, untilMs: until_ms } : null;
    if (muted && until_ms !== null) {
      this.unmuting = setTimeout(() => this.muted({ muted: false }), Math.min(TIMEOUT_MS_MAX, Math.max(0, until_ms - Date.now())));
    }
    if (muted) {
      this.leave();
      this.on.toast(muteText(this.mute));
    } else if (was) {
      this.on.toast("You may speak again.");
    }
    this.invite();
  }

  /** Nothing of this person is to be seen any more. */
  silence(id) {
    this.lines = this.lines.map((lines) => lines.filter(({ sender_id }) => sender_id !== id));
    this.burst(id);
    this.render();
  }

  tabKey(event, channel) {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    event.stopPropagation();
    const next = (channel + step + TABS.length) % TABS.length;
    this.choose(next);
    this.tabs[next].focus();
  }

  /** The message `chat_said`. */
  said({ channel, sender_id, sender_name, text, time_ms, to }, worldNowMs) {
    const mine = sender_id === this.me.id;
    const line = { sender_id, sender_name, text, mine, to, toName: mine && to !== null ? this.nameOfPartner(to) : "" };
    const lines = this.lines[channel];
    lines.push(line);
    if (lines.length > LINES_MAX) lines.shift();
    if (channel === ChatChannel.DIRECT && !mine) this.partner = { id: sender_id, name: sender_name };
    if (channel === this.tab) this.append(line, true);
    else if (!mine && worldNowMs - time_ms < 10000) this.tabs[channel].classList.add("news");
    if (channel === ChatChannel.NEARBY && worldNowMs - time_ms < 4000) this.bubble(sender_id, text);
  }

  nameOfPartner(id) {
    return this.partner?.id === id ? this.partner.name : "";
  }

  render() {
    this.log.replaceChildren();
    for (const line of this.lines[this.tab]) this.append(line, false);
    if (this.lines[this.tab].length === 0) {
      const empty = document.createElement("p");
      empty.className = "empty";
      empty.textContent = ["Nobody has spoken here yet.", "The world is quiet.", `${COMMAND} ${SPACES}`][this.tab];
      this.log.append(empty);
    }
    this.log.scrollTop = this.log.scrollHeight;
  }

  append({ sender_id, sender_name, text, mine, toName }, live) {
    this.log.querySelector(".empty")?.remove();
    const bottom = this.log.scrollHeight - this.log.scrollTop - this.log.clientHeight < 30;
    const line = document.createElement("p");
    const who = document.createElement("button");
    who.type = "button";
    who.textContent = toName ? `to ${toName}` : sender_name;
    who.className = mine ? "mine" : "";
    if (!mine) who.addEventListener("click", () => this.on.person({ id: sender_id, name: sender_name }));
    line.append(who, document.createTextNode(` ${text}`));
    if (live) line.className = "fresh";
    this.log.append(line);
    while (this.log.childElementCount > LINES_MAX) this.log.firstElementChild.remove();
    if (bottom) this.log.scrollTop = this.log.scrollHeight;
  }

  async submit() {
    const typed = this.field.value.trim();
    this.leave();
    if (typed === "") return;
    try {
      await this.say(typed);
    } catch (refusal) {
      this.on.toast(refusal.message);
      this.field.value ||= typed; // not lost: Enter brings it up again
    }
  }

  async say(typed) {
    const whisper = WHISPER.exec(typed);
    if (whisper) {
      await this.whisper(whisper[1]);
    } else if (BLOCKED.test(typed)) {
      this.on.person(null);
    } else if (typed.startsWith("/")) {
      this.on.toast(`${KNOWN.test(typed) ? "" : "Unknown command. "}${COMMAND} ${SPACES}`);
    } else if (this.tab === ChatChannel.DIRECT) {
      if (this.partner) await this.direct(typed);
      else this.on.toast(`To whom? ${COMMAND} ${SPACES}`);
    } else {
      await this.on.request("chat_say", { channel: this.tab, text: typed });
    }
  }

  /** `NAME text`: the longest run of first words that is somebody's name is the name. */
  async whisper(words) {
    const parts = words.split(" ");
    for (let count = Math.min(NAME_WORDS_MAX, parts.length - 1); count > 0; count -= 1) {
      const name = parts.slice(0, count).join(" ");
      if (name.length > LIMITS.name_chars_max) continue;
      const found = await this.on.request("player_find", { name }).catch((refusal) => {
        if (refusal.code === RefusalCode.NOT_FOUND) return null;
        throw refusal;
      });
      if (!found) continue;
      this.partner = { id: found.player_id, name: found.name };
      this.choose(ChatChannel.DIRECT);
      if (found.online) await this.direct(parts.slice(count).join(" "));
      else this.on.toast(`${found.name} is not in the world just now.`);
      return;
    }
    this.on.toast(`Nobody of that name is known. ${SPACES}`);
  }

  turnTo(partner) {
    this.partner = partner;
    this.choose(ChatChannel.DIRECT);
    this.open();
  }

  /** The server tells the speaker too, so the line shows up by itself. */
  direct(text) {
    return this.on.request("chat_say", { channel: ChatChannel.DIRECT, text, to: this.partner.id });
  }

  // --- bubbles -------------------------------------------------------------------------------------------

  bubble(id, text) {
    let bubble = this.bubbles.get(id);
    if (!bubble) {
      if (this.bubbles.size >= BUBBLES_MAX) this.burst(this.bubbles.keys().next().value);
      const element = document.createElement("div");
      element.className = "bubble";
      this.bubblesRoot.append(element);
      bubble = { element, until: 0, width: 0, height: 0 };
    }
    bubble.element.textContent = text.length > BUBBLE_CHARS_MAX ? `${text.slice(0, BUBBLE_CHARS_MAX - 1)}…` : text;
    bubble.until = performance.now() + BUBBLE_MS + text.length * BUBBLE_MS_PER_CHAR;
    bubble.element.classList.remove("going");
    bubble.width = bubble.height = 0; // measured when it is next shown
    this.bubbles.delete(id); // to the end: the newest
    this.bubbles.set(id, bubble);
  }

  burst(id) {
    this.bubbles.get(id)?.element.remove();
    this.bubbles.delete(id);
  }

  /** Keeps the bubbles over their heads, none over another; `headOf(id)` gives a place on the screen or null. */
  advance(headOf, now) {
    const taken = [];
    const newest = [...this.bubbles].reverse(); // the newest keeps its place, older ones make room
    for (const [id, bubble] of newest) {
      const place = headOf(id);
      if (!place || now > bubble.until) {
        this.burst(id);
        continue;
      }
      bubble.width ||= bubble.element.offsetWidth;
      bubble.height ||= bubble.element.offsetHeight;
      const half = bubble.width / 2 + BUBBLE_GAP_PX;
      let bottom = place.y;
      for (const other of taken) {
        const beside = Math.abs(other.x - place.x) >= half + other.half;
        if (!beside && bottom > other.top && bottom - bubble.height < other.bottom) bottom = other.top - BUBBLE_GAP_PX;
      }
      taken.push({ x: place.x, half: bubble.width / 2, top: bottom - bubble.height, bottom });
      taken.sort((a, b) => b.bottom - a.bottom); // pushed up past the lowest first
      bubble.element.style.transform = `translate(${place.x.toFixed(1)}px, ${bottom.toFixed(1)}px) translate(-50%, -100%)`;
      bubble.element.classList.toggle("going", now > bubble.until - 400);
    }
  }
}

function muteText({ reason, untilMs }) {
  const until = untilMs === null ? "until a moderator lifts it" : `until ${new Date(untilMs).toLocaleString([], { dateStyle: "short", timeStyle: "short" })}`;
  return `You may not speak ${until}: ${reason}`;
}
