// The browser client: puts the parts together and runs the frame. boot.js loads and starts it.
//
//   connection -> world, prediction, chunks, chat     what the server says goes to whom it concerns
//   input -> walker -> prediction, connection         what the hands want is done here at once and told to the server
//   estate                                            land, building, money and the account: what is asked, done and shown of them
//   tokens, gate                                      who one is, and where one stands who has to sign in first
//   scene, minimap, chat, hud                         show it, once a frame
//
// `window.landworld` is for looking in from outside (tests, the curious). Address bar: `?hour=20` stops the light at that hour;
// `#token=...` signs in with an access token (landworld token) and is taken out of the address bar at once.

import { Chat } from "./chat.js";
import { Chunks } from "./chunks.js";
import { Clock } from "./clock.js";
import { Connection } from "./connection.js";
import { errand } from "./errand.js";
import { Estate } from "./estate.js";
import { Gate } from "./gate.js";
import { Hud } from "./hud.js";
import { Input } from "./input.js";
import { clockText, hourAt } from "./light.js";
import { Minimap } from "./minimap.js";
import { moneyText } from "./money.js";
import { OPEN } from "./movement.js";
import { Prediction } from "./prediction.js";
import { Role } from "./protocol.js";
import { Scene } from "./scene.js";
import { Tokens } from "./tokens.js";
import { Walker } from "./walker.js";
import { World } from "./world.js";

const FRAME_MAX_S = 0.1; // a longer pause is not caught up with in one frame
const AROUND_MS = 150; // how often the ground around is looked after
const ENTRANCE_MS = 4000; // after so long ground under one's feet is enough to begin, in plain colours too
const CLIENT_RETRY_MS = 1000; // between two questions for where the game socket is
const CLIENT_RETRY_JITTER_MS = 400;
const WELCOMED = "landworld welcomed";
const OVER = new Set(["outside", "refused", "replaced", "closed"]); // the gate or the veil stands there until a person decides
const VIEW_KEYS = { Equal: 1.15, NumpadAdd: 1.15, Minus: 1 / 1.15, NumpadSubtract: 1 / 1.15 };

const byId = (id) => document.getElementById(id);
const fixedHour = new URLSearchParams(location.search).get("hour");

const NO_WEBGL =
  "It needs WebGL 2, which this browser does not offer. Switch on hardware (or graphics) acceleration in the browser's settings and start it " +
  "again, or come with a current Firefox, Chrome, Edge or Safari.";

/** A trouble that a person can do something about; boot.js shows it. */
class Advice extends Error {
  constructor(title, words) {
    super(words);
    this.title = title;
  }
}

/** What the server says of itself; asks until it answers, and `hud` says so meanwhile. */
async function clientJson(hud) {
  for (;;) {
    const said = await fetch("client.json").then((answer) => (answer.ok ? answer.json() : null)).catch(() => null);
    if (said) return said;
    const waitMs = CLIENT_RETRY_MS + Math.random() * CLIENT_RETRY_JITTER_MS;
    hud.state("lost", "", waitMs);
    await new Promise((resolve) => setTimeout(resolve, waitMs));
  }
}

/** Where the game socket is: where the server says, or beside this page. */
async function gameUrl(hud) {
  const { game_url, game_port } = await clientJson(hud);
  return game_url || `${location.protocol === "https:" ? "wss" : "ws"}://${location.hostname}:${game_port}/`;
}

/** The access token in the address bar, which is no place for one. */
function takeToken() {
  const token = new URLSearchParams(location.hash.slice(1)).get("token");
  if (token !== null) history.replaceState(null, "", location.pathname + location.search);
  return token;
}

export async function start() {
  if (!document.createElement("canvas").getContext("webgl2")) throw new Advice("This browser cannot show the world", NO_WEBGL);
  const token = takeToken();
  const hud = new Hud();
  const scene = new Scene();
  await scene.start(byId("map"), (x, y) => chunks.groundAt(x, y), (x, y) => chunks.builtAt(x, y));
  const url = await gameUrl(hud);
  hud.watchPanels((rectangles) => scene.setPanels(rectangles));

  const clock = new Clock();
  const world = new World(clock);
  const minimap = new Minimap(byId("minimap"));
  let settings = null;
  let welcomedAt = 0;
  let heading = Math.PI / 2;

  const tokens = new Tokens(url, token, {
    ask: (name, fields) => connection.request(name, fields),
    ended: (refusal) => connection.end(refusal),
  });
  let farewell = null; // what the gate says to who goes by themselves
  const connection = new Connection(url, tokens, {
    state(state, why, waitMs, code) {
      hud.state(state, why, waitMs);
      if (!OVER.has(state)) return;
      estate.open(null);
      hud.hideWelcome();
      if (state !== "outside") return;
      gate.open(why, code, farewell);
      farewell = null;
    },
    welcome,
    refused: ({ request_id, message }) => request_id === 0 && connection.state === "playing" && hud.toast(message),
    pong: ({ tick }, now) => clock.heard(tick, now),
    moved(message, now) {
      clock.heard(message.tick, now);
      prediction.moved(message, now);
    },
    snapshot(message, now) {
      const mine = world.snapshot(message, now);
      if (mine) prediction.seen(mine.tick, mine.x, mine.y, now);
      look();
    },
    crowd: (message, now) => world.crowd(message, now),
    appeared: (message) => called(message),
    view(message) {
      world.viewed(message);
      look();
    },
    chunk: (message) => chunks.arrived(message),
    chunk_edits: (message) => chunks.edited(message),
    land_claimed: (message) => estate.land.changed(message),
    land_changed: (message) => estate.land.changed(message),
    land_freed: (message) => estate.land.freed(message),
    listing_opened: (message) => estate.listed(message, true),
    listing_changed: (message) => estate.listed(message, false),
    listing_ended: (message) => estate.unlisted(message),
    auction_opened: (message) => estate.auctions.opened(message),
    auction_bid: (message) => estate.auctions.bid(message),
    auction_extended: (message) => estate.auctions.extended(message),
    auction_ended: (message) => estate.auctions.ended(message),
    wallet_changed: (message) => estate.wallet.set(message),
    lease_ended: () => hud.toast("A lease is over: the deposit is back, and the parcel is as it was before."),
    upkeep_missed: ({ owed }) => hud.toast(`Upkeep was due and your wallet held too little: ${moneyText(owed)} are owed, or the land is lost.`),
    entry_denied: ({ message }) => hud.toast(message),
    mute_changed: (message) => chat.muted(message),
    role_changed({ role }) {
      estate.setRole(role);
      hud.toast(`You are ${role === "admin" ? "an" : "a"} ${role} now.`);
    },
    chat_said: (message, now) => chat.said(message, clock.tickAt(now) * clock.tickMs),
  });
  const chunks = new Chunks(connection, {
    arrived(chunk) {
      scene.chunkArrived(chunk, performance.now());
      minimap.chunkArrived(chunk);
    },
    built(chunk) {
      scene.chunkBuilt(chunk);
      minimap.chunkArrived(chunk);
      estate.built();
    },
    gone(chunk) {
      scene.chunkGone(chunk);
      minimap.chunkGone(chunk);
    },
  });
  const gate = new Gate({
    ask: (name, fields) => errand(url, name, fields),
    signedIn,
    asGuest() {
      gate.close();
      connection.open();
    },
  });
  const estate = new Estate(connection, tokens, scene, {
    toast: (text, press) => hud.toast(text, press),
    here: () => ({ x: prediction.x, y: prediction.y }),
    worldMs: () => clock.tickAt(performance.now()) * clock.tickMs,
    ahead: () => ({ x: Math.floor(prediction.x + Math.cos(heading)), y: Math.floor(prediction.y + Math.sin(heading)) }),
    builtAt: (x, y) => chunks.builtAt(x + 0.5, y + 0.5),
    opened: () => hud.hideWelcome(),
    write: (person) => chat.turnTo(person),
    silence: (id) => chat.silence(id),
    signedIn,
    leave: (words) => (farewell = words),
    changed: (profile) => called(profile),
  });

  /**
   * Signed in, at the gate or in the world; a guest who registered there is who they were, and plays on. `email` is that of an account
   * that was made just now, empty without one; null: it was there before.
   */
  function signedIn(one, email) {
    const upgraded = email !== null && connection.state === "playing" && one.player_id === world.me;
    tokens.keep(one, upgraded);
    if (upgraded) {
      estate.account.enter({ id: one.player_id, name: one.name, role: Role.USER });
      called({ ...one, look: meEntity()?.look ?? 0 });
      estate.open("account");
      hud.toast(`You are ${one.name} now, and everything that was yours still is.`);
    } else {
      gate.close();
      connection.again();
    }
    if (email) hud.toast(`A code went to ${email}; give it under Account, E-mail.`);
  }

  /** Somebody, or I myself, has this name and look now. */
  function called({ player_id, name, look }) {
    world.appeared({ player_id, name, look });
    estate.land.named(player_id, name);
    if (player_id !== world.me) return;
    chat.me = { id: player_id, name };
    hud.named(name);
  }
  function look() {
    if (!world.centre) return;
    chunks.sees(world.centre.cx, world.centre.cy, world.view.radius_cells);
    estate.land.sees(world.centre.cx, world.centre.cy);
  }
  const prediction = new Prediction(clock, chunks.walkAt, estate.land.gateAt);
  const walker = new Walker(prediction, wayAt, (seq, dx, dy) => connection.send("move", { seq, dx, dy }));
  const chat = new Chat(byId("chat"), byId("bubbles"), {
    request: (name, fields) => connection.request(name, fields),
    toast: (text) => hud.toast(text),
    done: () => byId("map").focus(),
    person: (person) => estate.showPerson(person),
  });
  const input = new Input(byId("map"), byId("stick"), {
    tap(px, py) {
      hud.hideWelcome();
      if (estate.tap(px, py)) return;
      const { x, y } = scene.toWorld(px, py);
      const person = world.personAt(x, y);
      if (person) estate.showPerson({ id: person.id, name: person.name });
      else walker.walkTo(x, y, performance.now());
    },
    pick: (px, py) => estate.pick(px, py),
    hover: (px, py) => estate.hover(px, py),
    tool: () => estate.tool(),
    zoom: (factor) => scene.zoomBy(factor),
    key,
  });

  /** How fast one gets on at a place: not at all on closed land, unless one is there already. */
  function wayAt(x, y) {
    const gate = estate.land.gateAt(x, y);
    return gate === OPEN || gate === estate.land.gateAt(prediction.x, prediction.y) ? chunks.walkAt(x, y) : 0;
  }

  /** Whether a key was meant for something. */
  function key(event) {
    if (OVER.has(connection.state)) return true; // they belong to what stands there
    const onButton = event.target instanceof HTMLElement && event.target.closest("button, summary");
    if (onButton && (event.code === "Enter" || event.code === "Space")) return true;
    if (!hud.welcoming && estate.key(event)) return true;
    if (event.ctrlKey || event.metaKey) return false;
    if (event.code === "Enter" || event.key === "/") {
      event.preventDefault();
      if (hud.welcoming) hud.hideWelcome();
      else chat.open(event.key === "/" ? "/" : "");
    } else if (event.code === "Escape") {
      byId("map").focus();
      hud.hideWelcome();
    } else if (event.code === "F3") {
      event.preventDefault();
      hud.toggleFigures();
    } else if (VIEW_KEYS[event.code]) {
      scene.zoomBy(VIEW_KEYS[event.code]);
    } else {
      return false;
    }
    return true;
  }

  function welcome(message, now) {
    settings = message.settings;
    welcomedAt = now;
    clock.reset(message.tick, message.tick_hz, now);
    world.clear();
    world.me = message.player_id;
    prediction.walkSpeed = settings.walk_speed;
    prediction.place(message.x, message.y, now);
    walker.stop();
    chunks.enter(settings.ground_id, settings.built_id, settings.chunk_radius_max);
    estate.enter(message);
    chat.enter({ id: message.player_id, name: message.name }, settings.chat_chars_max);
    hud.welcome(message.name, localStorage.getItem(WELCOMED) === null);
    localStorage.setItem(WELCOMED, "yes");
  }

  const hourNow = (now) => (fixedHour === null ? hourAt((clock.tickAt(now) * clock.tickMs) / 1000) : Number(fixedHour));
  const meEntity = () => world.entities.get(world.me);

  /** My own figure is shown where the prediction is, not where the snapshots were. */
  function dressMe(seconds) {
    const me = meEntity();
    if (!me || me.count === 0) return;
    const { x, y } = me;
    me.x = prediction.shownX;
    me.y = prediction.shownY;
    me.alpha = 1;
    me.walk(me.x - x, me.y - y, seconds);
    const { dx, dy } = prediction.intent;
    if (dx !== 0 || dy !== 0) me.heading = Math.atan2(dy, dx); // towards the wish, even against a wall
    heading = me.heading;
  }

  let before = performance.now();
  let aroundAt = 0;
  let rates = { bytes_per_s: 0, messages_per_s: 0, snapshots_per_s: 0 };

  function frame() {
    const now = performance.now();
    const seconds = Math.min(FRAME_MAX_S, Math.max(0.001, (now - before) / 1000));
    before = now;
    if (settings) live(now, seconds);
    const me = settings ? { x: prediction.shownX, y: prediction.shownY } : null;
    scene.draw({ me, meId: world.me, people: world.entities.values(), crowds: crowds(), hour: hourNow(now), now, seconds });
    if (me) show(me, now);
    if (me && (scene.painted || (now - welcomedAt > ENTRANCE_MS && chunks.chunkAt(me.x, me.y)))) hud.enter();
    hud.frame(now, performance.now() - now);
    hud.figures(now, () => {
      rates = hud.rates(connection.received, now);
      return figures();
    });
    requestAnimationFrame(frame);
  }

  function live(now, seconds) {
    const playing = connection.state === "playing";
    const pointer = input.pointing(now);
    if (playing) walker.advance(input.direction(), pointer && scene.toWorld(pointer.x, pointer.y), now);
    else if (prediction.intent.dx !== 0 || prediction.intent.dy !== 0) prediction.input(0, 0, now);
    prediction.advance(now);
    world.advance(now, seconds);
    dressMe(seconds);
    if (playing && now - aroundAt > AROUND_MS) {
      aroundAt = now;
      chunks.around(prediction.x, prediction.y, now);
      estate.advance(now);
    }
  }

  function show(me, now) {
    minimap.draw(me, heading, world.me, world.entities.values(), estate.land.known.values(), estate.landPanel.parcel, (parcel) => estate.colourOf(parcel), now);
    chat.advance((id) => {
      const person = world.entities.get(id);
      return person && person.count > 0 ? scene.aboveName(person) : null;
    }, now);
    hud.place(me.x, me.y, clockText(hourNow(now)));
  }

  function* crowds() {
    for (const cell of world.cells.values()) if (cell.count > 0) yield cell;
  }

  function figures() {
    const { fps, frame_ms } = hud.pace;
    const { near_hz, far_hz, step } = world.view;
    return [
      ["ping", connection.pingMs === null ? "–" : `${connection.pingMs.toFixed(0)} ms`],
      ["snapshots", `${rates.snapshots_per_s.toFixed(0)} /s`],
      ["received", `${(rates.bytes_per_s / 1000).toFixed(1)} kB/s`],
      ["frames", `${fps.toFixed(0)} /s, ${frame_ms.toFixed(1)} ms`],
      ["in sight", String(world.entities.size)],
      ["ladder", `step ${step}, ${near_hz} and ${far_hz} Hz`],
      ["out of step", String(world.outOfStep)],
      ["jitter", `${clock.jitterMs.toFixed(0)} ms`],
      ["chunks", `${chunks.known.size} known, ${scene.terrain.painted} painted`],
    ];
  }

  addEventListener("resize", () => scene.resize());
  window.landworld = Object.freeze({
    get state() { return connection.state; },
    get entered() { return hud.entered; },
    get me() { return { id: world.me, name: chat.me.name, x: prediction.x, y: prediction.y, settled: prediction.settled }; },
    get entities() {
      return Array.from(world.entities.values(), ({ id, name, x, y, alpha }) => ({ id, name, x, y, alpha }));
    },
    at: (x, y) => ({ ground: chunks.groundAt(x, y), walk: chunks.walkAt(x, y), built: chunks.builtAt(x, y) }),
    get land() { return [...estate.land.known.values()]; },
    get account() { return { role: estate.account.me.role, signed_in: tokens.using !== null }; },
    get wallet() { return { balance: estate.wallet.balance, held: estate.wallet.held, postings: estate.wallet.postings }; },
    get actions() { return estate.actions.waiting.size; },
    get ghosts() { return scene.overlay.marks.ghosts.length; },
    get still() { return scene.still; }, // whether places on the screen stay where they are
    toScreen: (x, y) => scene.toScreen(x, y),
    get blocked() { return [...estate.people.blocked.keys()]; },
    get mute() { return chat.mute; },
    get chat() { return chat.lines.map((lines) => lines.map(({ sender_id, sender_name, text }) => ({ sender_id, sender_name, text }))); },
    get stats() {
      return { ...hud.pace, ...rates, ping_ms: connection.pingMs, entities: world.entities.size, out_of_step: world.outOfStep, view: world.view, chunks: { ...chunks.counts, known: chunks.known.size, painted: scene.terrain.painted, waiting: scene.terrain.waiting }, tick: clock.newest };
    },
  });
  connection.open();
  requestAnimationFrame(frame);
}
