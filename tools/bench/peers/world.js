// What both peers simulate, the same as our server on an open plane: players on a grid of cells of 32 x 32 tiles, who walk 4 tiles a
// second in the direction of their latest input. Distances in tiles.

export const TICK_HZ = 20;
export const CELL_TILES = 32;
export const WALK_TILES_PER_S = 4;
const VIEW_CELLS = 1;
const ROW = 2 ** 20; // more cells than any world here is wide

const cellOf = (x, y) => Math.floor(x / CELL_TILES) * ROW + Math.floor(y / CELL_TILES);

const AROUND = [];
for (let dx = -VIEW_CELLS; dx <= VIEW_CELLS; dx++)
  for (let dy = -VIEW_CELLS; dy <= VIEW_CELLS; dy++) AROUND.push(dx * ROW + dy);

// The cells that are seen from one.
export const around = (cell) => AROUND.map((offset) => cell + offset);

export class World {
  // New players appear anywhere in a square of `side` tiles.
  constructor(side) {
    this.side = side;
    this.players = new Set();
    this.cells = new Map(); // cell -> the players in it
    this.changed = new Set(); // cells that look different after this tick
    this.onCross = () => {}; // called with who has just walked into another cell, and the cell it came from
    this.nextId = 1;
  }

  add(at) {
    const [x, y] = at ?? [Math.random() * this.side, Math.random() * this.side];
    const player = { id: this.nextId++, x, y, dx: 0, dy: 0, cell: cellOf(x, y) };
    this.players.add(player);
    this.#enter(player);
    return player;
  }

  remove(player) {
    this.players.delete(player);
    this.#leave(player, player.cell);
  }

  // A direction of length 1 at most, or (0, 0); anything else is not obeyed.
  steer(player, dx, dy) {
    if (!(dx * dx + dy * dy <= 1.001)) return false;
    player.dx = dx;
    player.dy = dy;
    return true;
  }

  step() {
    const tiles = WALK_TILES_PER_S / TICK_HZ;
    for (const player of this.players) {
      if (player.dx === 0 && player.dy === 0) continue;
      player.x += player.dx * tiles;
      player.y += player.dy * tiles;
      this.changed.add(player.cell);
      const cell = cellOf(player.x, player.y);
      if (cell !== player.cell) {
        const from = player.cell;
        this.#leave(player, from);
        player.cell = cell;
        this.#enter(player);
        this.onCross(player, from);
      }
    }
  }

  #enter(player) {
    const there = this.cells.get(player.cell);
    if (there) there.add(player);
    else this.cells.set(player.cell, new Set([player]));
    this.changed.add(player.cell);
  }

  #leave(player, cell) {
    const there = this.cells.get(cell);
    there.delete(player);
    if (there.size === 0) this.cells.delete(cell);
    this.changed.add(cell);
  }
}

// The place of a cell, in cells.
export function placeOf(cell) {
  const row = Math.round(cell / ROW);
  return [row, cell - row * ROW];
}

// Calls `tick` TICK_HZ times a second, by absolute deadlines: setInterval would drift by a part of a millisecond each time.
export function everyTick(tick) {
  const began = performance.now();
  let count = 0;
  const next = () => {
    tick(count++);
    const due = began + (count * 1000) / TICK_HZ;
    setTimeout(next, Math.max(0, due - performance.now()));
  };
  next();
}

// `node SERVER.js SIDE`: the side of the square where players appear. The port is printed when players can come.
export const side = () => Number(process.argv[2]);
export const ready = (port) => console.log(`port ${port}`);
