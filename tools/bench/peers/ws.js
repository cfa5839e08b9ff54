// Node and `ws`, sending JSON: what a good programmer writes without a framework. Each changed cell is made into text once a tick, what
// is seen from one cell is joined once for all who stand there, and each client gets one message a tick.

import { WebSocketServer } from "ws";
import { CELL_TILES, World, around, everyTick, placeOf, ready, side } from "./world.js";

const BUFFERED_BYTES_MAX = 64 * 1024; // waits for a client that does not read; over it ticks are left out
const TEXT = { binary: false };

const world = new World(side());
const server = new WebSocketServer({ port: 0, host: "127.0.0.1", perMessageDeflate: false, maxPayload: 1024 });
server.on("listening", () => ready(server.address().port));

server.on("connection", (socket) => {
  const player = world.add();
  player.socket = socket;
  player.seq = 0;
  player.answered = true; // whether the latest input has been acknowledged
  player.seenFrom = null; // the cell that the last message was made for
  socket.send(`{"id":${player.id},"x":${round(player.x)},"y":${round(player.y)}}`);
  socket.on("message", (data) => {
    const { seq, dx, dy } = JSON.parse(data);
    if (!Number.isInteger(seq) || !world.steer(player, dx, dy)) return socket.terminate();
    player.seq = seq;
    player.answered = false;
  });
  socket.on("error", () => socket.terminate());
  socket.on("close", () => world.remove(player));
});

const round = (value) => Math.round(value * 100) / 100;

// The value of a key, made when it is first asked for.
function once(made, key, make) {
  let value = made.get(key);
  if (value === undefined) made.set(key, (value = make(key)));
  return value;
}

function cellText(cell) {
  const [cx, cy] = placeOf(cell);
  const [left, top] = [cx * CELL_TILES, cy * CELL_TILES];
  const people = [];
  for (const { id, x, y } of world.cells.get(cell) ?? []) people.push(`[${id},${round(x - left)},${round(y - top)}]`);
  return `[${cx},${cy},[${people.join()}]]`;
}

everyTick((tick) => {
  world.step();
  const cells = new Map(); // cell -> its text
  const news = new Map(); // cell -> the message for all who stood there before, empty without news
  const all = new Map(); // cell -> the text for who has just come there, or gets an answer besides

  const seenFrom = (cell, wanted) => {
    const seen = around(cell).filter(wanted);
    if (!seen.length) return "";
    return `"tick":${tick},"at":[${placeOf(cell)}],"cells":[${seen.map((one) => once(cells, one, cellText)).join()}]}`;
  };
  const changed = (cell) => world.changed.has(cell);
  const known = (cell) => world.changed.has(cell) || world.cells.has(cell);
  const makeNews = (cell) => {
    const text = seenFrom(cell, changed);
    return text && Buffer.from(`{${text}`);
  };
  const makeAll = (cell) => seenFrom(cell, known);

  for (const player of world.players) {
    if (player.socket.bufferedAmount > BUFFERED_BYTES_MAX) {
      player.seenFrom = null;
      continue;
    }
    let message;
    if (player.answered && player.seenFrom === player.cell) {
      message = once(news, player.cell, makeNews);
    } else {
      const you = player.answered ? "" : `"you":[${player.seq},${round(player.x)},${round(player.y)}],`;
      message = `{${you}${once(all, player.cell, makeAll)}`;
      player.answered = true;
      player.seenFrom = player.cell;
    }
    if (message) player.socket.send(message, TEXT);
  }
  world.changed.clear();
});
