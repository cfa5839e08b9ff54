// Some of Colyseus' players, through its official SDK: they decode every patch, and measure. They come in pairs that stay near each
// other; one of each pair stands still, sets off at a random moment, and the other waits for the first patch in which it moved.
//
// `node watchers.js URL PLAYERS SIDE`; prints "joined" when all have, answers the lines "begin" and "end" on its standard input, and
// at the end prints one line of JSON. Times in milliseconds.

import { createInterface } from "node:readline";
import { Client } from "@colyseus/sdk";

const INPUT_MS = 500;
const ROAM_TILES = 8; // around where the pair appeared: near enough to stay in sight of each other
const STILL_MS = 800; // how long a probe stands before it is sent off
const TIMEOUT_MS = 2000;
const PAUSE_MS = 500; // between two probes, on average

const [url, count, side] = [process.argv[2], Number(process.argv[3]), Number(process.argv[4])];
const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

let seen = null; // what is measured, while it is
const fresh = () => ({ intervals_ms: [], latencies_ms: [], in_sight: [], inputs: 0, unseen: 0, errors: 0 });

class Watcher {
  static async join(client, at) {
    const watcher = new Watcher();
    watcher.room = await client.joinOrCreate("land", { at });
    watcher.home = { x: at[0], y: at[1] };
    watcher.patches = 0;
    watcher.standing = false;
    watcher.onPatch = null;
    watcher.room.onMessage("you", (id) => (watcher.id = `${id}`));
    watcher.room.onStateChange(() => watcher.patched(performance.now()));
    watcher.room.onError(() => seen && seen.errors++);
    watcher.room.onLeave(() => seen && seen.errors++);
    return watcher;
  }

  place(id) {
    const entity = this.room.state.players?.get(id);
    return entity && { x: entity.x, y: entity.y };
  }

  patched(now) {
    if (seen && this.last !== undefined) seen.intervals_ms.push(now - this.last);
    this.last = now;
    this.patches++;
    this.onPatch?.(now);
  }

  go(dx, dy) {
    if (seen) seen.inputs++;
    this.room.send("move", [dx, dy]);
  }

  wander() {
    if (this.standing) return;
    const me = this.place(this.id) ?? this.home;
    const [x, y] = [this.home.x - me.x, this.home.y - me.y];
    const angle = Math.hypot(x, y) > ROAM_TILES ? Math.atan2(y, x) + Math.random() - 0.5 : Math.random() * 2 * Math.PI;
    this.go(Math.cos(angle), Math.sin(angle));
  }

  // How long it took until this watcher saw `probe` set off; null when there was nothing to see.
  async see(probe) {
    probe.standing = true;
    probe.go(0, 0);
    await wait(STILL_MS + Math.random() * 50);
    const before = this.place(probe.id);
    const took = before && (await this.setOff(probe, before));
    probe.standing = false;
    return took;
  }

  setOff(probe, before) {
    return new Promise((resolve) => {
      const began = performance.now();
      const done = (took) => {
        clearTimeout(timer);
        this.onPatch = null;
        resolve(took);
      };
      const timer = setTimeout(() => done(undefined), TIMEOUT_MS);
      this.onPatch = (now) => {
        const place = this.place(probe.id);
        if (!place) done(null);
        else if (place.x !== before.x || place.y !== before.y) done(now - began);
      };
      const angle = Math.random() * 2 * Math.PI;
      probe.go(Math.cos(angle), Math.sin(angle));
    });
  }
}

async function probing(watcher, probe) {
  for (;;) {
    await wait(Math.random() * 2 * PAUSE_MS);
    const tally = seen;
    const took = await watcher.see(probe);
    if (!tally || tally !== seen || took === null) continue;
    if (took === undefined) seen.unseen++;
    seen.latencies_ms.push(took ?? TIMEOUT_MS);
  }
}

function report(watchers, seconds, before) {
  const rates = watchers.map((one, index) => (one.patches - before[index]) / seconds);
  return JSON.stringify({ ...seen, rates, players: watchers.filter((one) => one.room.connection.isOpen).length });
}

const client = new Client(url);
const watchers = [];
for (let pair = 0; pair < count / 2; pair++) {
  const at = [Math.random() * side, Math.random() * side];
  watchers.push(await Watcher.join(client, at), await Watcher.join(client, at));
}
watchers.forEach((one) => setTimeout(() => setInterval(() => one.wander(), INPUT_MS), Math.random() * INPUT_MS));
for (let pair = 0; pair < watchers.length; pair += 2) probing(watchers[pair], watchers[pair + 1]);
const looking = setInterval(() => seen && watchers.forEach((one) => seen.in_sight.push(one.room.state.players.size - 1)), INPUT_MS);
console.log("joined");

let began = 0;
let before = [];
for await (const line of createInterface({ input: process.stdin })) {
  if (line === "begin") {
    seen = fresh();
    began = performance.now();
    before = watchers.map((one) => one.patches);
  } else if (line === "end") {
    const said = report(watchers, (performance.now() - began) / 1000, before);
    seen = null;
    console.log(said);
  }
}
clearInterval(looking);
process.exit(0);
