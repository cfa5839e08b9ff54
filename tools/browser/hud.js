// The panels around the map: the world's name and the state of the line, the entrance until the first ground is drawn, the welcome
// card, the veil while the line is lost, short notes (toasts), and the overlay with figures.

import { h } from "./dom.js";

const TOAST_MS = 4200;
const TOAST_MS_PER_CHAR = 70; // long ones stay until they are read
const TOASTS_MAX = 3;
const FIGURES_MS = 500;
const ENTRANCE_FADE_MS = 700; // as in style.css
const COUNTED_MS = 1500; // a longer wait is counted down

const STATES = {
  offline: ["waiting", "Starting"],
  connecting: ["waiting", "Connecting"],
  joining: ["waiting", "Entering"],
  playing: ["good", "Online"],
  lost: ["bad", "Reconnecting"],
  waiting: ["waiting", "Waiting"],
  refused: ["bad", "Not let in"],
  outside: ["waiting", "Signed out"],
  replaced: ["bad", "In another window"],
  closed: ["bad", "Sent away"],
};

// What the veil says: its title, what stands below when the server gave no reason, and the button, where a person decides. While the
// world was never seen the titles of the second table stand for those of the first.
const VEILS = {
  lost: ["Connection lost, coming back…", "You stay where you are. Nothing needs to be done."],
  waiting: ["Back in a moment", "Nothing needs to be done."],
  refused: ["You were not let in", "", "Try again"],
  replaced: ["You are playing in another window", "", "Play here"],
  closed: ["You were sent away", "The server closed the connection.", "Come back"],
};
const FIRST_TITLES = { lost: "The server is not answering", waiting: "A moment, please" };

const PANELS = ["place-card", "corner", "figures", "chat", "dock", "panel", "palette"];

const byId = (id) => document.getElementById(id);

export class Hud {
  constructor() {
    this.figuresAt = 0;
    this.frames = [];
    this.old = null;
    byId("figures-button").addEventListener("click", () => this.toggleFigures());
    byId("welcome-go").addEventListener("click", () => this.hideWelcome());
    byId("again").addEventListener("click", () => location.reload());
    this.joined = false; // was in the world since the page was opened
    this.entered = false; // and has seen it: the entrance is gone
    this.leaving = false; // the entrance fades
    this.first = false; // the welcome card waits for the entrance to go
    this.retry = null; // { atMs, why }: counted down on the veil
  }

  /** The line is in another state; `why` is the server's word for it, `waitMs` the time to the next attempt. */
  state(state, why, waitMs) {
    const [mood, words] = STATES[state];
    byId("line").dataset.mood = mood;
    byId("line-words").textContent = words;
    this.retry = null;
    if (state === "playing") {
      this.joined = true;
      byId("veil").hidden = true;
      byId("entrance").classList.remove("silent");
    }
    if (state === "outside") byId("veil").hidden = true; // the gate stands there
    if (VEILS[state]) this.veil(state, why, waitMs); // while the next attempt is made it says what it said before
  }

  veil(state, why, waitMs) {
    const [title, otherwise, button] = VEILS[state];
    byId("veil-title").textContent = (!this.joined && FIRST_TITLES[state]) || title;
    const words = why || (this.joined || button ? otherwise : "Trying again…");
    byId("veil-words").textContent = words;
    byId("veil-spin").hidden = button !== undefined;
    byId("again").hidden = button === undefined;
    byId("again").textContent = button ?? "";
    byId("veil").hidden = false;
    byId("entrance").classList.add("silent");
    if (waitMs > COUNTED_MS) this.retry = { atMs: performance.now() + waitMs, why: words };
  }

  /** What I am called. */
  named(name) {
    byId("welcome-name").textContent = name;
  }

  welcome(name, first) {
    this.named(name);
    this.first ||= first;
    if (this.entered) this.greet();
  }

  /** Who has opened a panel already needs no card over it. */
  greet() {
    byId("welcome").hidden = !this.first || document.body.classList.contains("working");
    this.first = false;
  }

  /** The ground around is drawn: the entrance makes way for it. */
  enter() {
    if (this.leaving) return;
    this.leaving = true;
    byId("entrance").classList.add("going");
    setTimeout(() => {
      byId("entrance").hidden = true;
      this.entered = true;
      this.greet();
    }, ENTRANCE_FADE_MS);
  }

  hideWelcome() {
    if (!this.welcoming) return;
    byId("welcome").hidden = true;
    byId("map").focus();
  }

  get welcoming() {
    return !byId("welcome").hidden;
  }

  place(x, y, clock) {
    const text = `${Math.round(x)}, ${Math.round(y)}`;
    if (byId("place").textContent !== text) byId("place").textContent = text;
    if (byId("clock").textContent !== clock) byId("clock").textContent = clock;
  }

  toast(text, press = null) {
    const toasts = byId("toasts");
    if ([...toasts.children].some((one) => one.firstChild.textContent === text)) return;
    const toast = h("p", {}, text, press && h("button", { type: "button", onclick: () => [toast.remove(), press()] }, "Look"));
    toasts.append(toast);
    while (toasts.childElementCount > TOASTS_MAX) toasts.firstElementChild.remove();
    setTimeout(() => toast.remove(), Math.max(TOAST_MS, text.length * TOAST_MS_PER_CHAR));
  }

  /** Tells `changed` the panels' rectangles (left, top, right, bottom, flat): now, and when a panel or the window changes its size. */
  watchPanels(changed) {
    const measure = () => {
      const rects = PANELS.map((id) => byId(id).getBoundingClientRect());
      changed(rects.filter(({ width }) => width > 0).flatMap(({ left, top, right, bottom }) => [left, top, right, bottom]));
    };
    const sizes = new ResizeObserver(measure); // calls once for each to begin with
    for (const id of PANELS) sizes.observe(byId(id));
    addEventListener("resize", measure);
  }

  // --- figures -------------------------------------------------------------------------------------------

  toggleFigures() {
    const figures = byId("figures");
    figures.hidden = !figures.hidden;
    byId("figures-button").setAttribute("aria-pressed", String(!figures.hidden));
  }

  /** Once a frame: `workMs` is what the frame cost here. */
  frame(now, workMs) {
    if (this.retry) this.countDown(now);
    this.frames.push({ now, workMs });
    while (this.frames[0].now < now - 2000) this.frames.shift();
  }

  countDown(now) {
    const { atMs, why } = this.retry;
    const text = `${why} Trying again in ${Math.max(1, Math.ceil((atMs - now) / 1000))} s.`;
    if (byId("veil-words").textContent !== text) byId("veil-words").textContent = text;
  }

  /** Frames a second and the cost of one, over the last two seconds. */
  get pace() {
    const { frames } = this;
    if (frames.length < 2) return { fps: 0, frame_ms: 0, frame_ms_max: 0 };
    const spanMs = frames[frames.length - 1].now - frames[0].now;
    const works = frames.map((frame) => frame.workMs);
    return {
      fps: ((frames.length - 1) * 1000) / spanMs,
      frame_ms: works.reduce((sum, work) => sum + work, 0) / works.length,
      frame_ms_max: Math.max(...works),
    };
  }

  /** `received` counts of the connection; the rates between two calls. */
  rates(received, now) {
    const old = this.old ?? { ...received, now };
    const seconds = Math.max(0.001, (now - old.now) / 1000);
    const rates = {
      bytes_per_s: (received.bytes - old.bytes) / seconds,
      messages_per_s: (received.messages - old.messages) / seconds,
      snapshots_per_s: (received.snapshots - old.snapshots) / seconds,
    };
    this.old = { ...received, now };
    return rates;
  }

  /** Renews the figures now and then: `read()` gives [[label, value], ...]. */
  figures(now, read) {
    if (now - this.figuresAt < FIGURES_MS) return;
    this.figuresAt = now;
    const rows = read();
    if (byId("figures").hidden) return;
    byId("figures-list").replaceChildren(
      ...rows.flatMap(([label, value]) => {
        const term = document.createElement("dt");
        term.textContent = label;
        const figure = document.createElement("dd");
        figure.textContent = value;
        return [term, figure];
      }),
    );
  }
}
