// Colyseus with interest management as its documentation describes it: a StateView for each client, which entities are added to and
// removed from as they come in and out of sight; one patch for each client and tick.

import { Room, Server, matchMaker } from "@colyseus/core";
import { Encoder, MapSchema, StateView, schema } from "@colyseus/schema";
import { WebSocketTransport } from "@colyseus/ws-transport";
import { World, around, everyTick, ready, side } from "./world.js";

Encoder.BUFFER_SIZE = 4 * 1024 * 1024; // never grown while it is measured

const Entity = schema({ x: "float32", y: "float32" });
const State = schema({ players: { map: Entity, view: true } });

class Land extends Room {
  autoDispose = false;
  patchRate = null; // patches are sent by the tick below, at the same deadlines as the other servers'
  state = new State();

  onCreate() {
    this.state.players = new MapSchema();
    this.world = new World(side());
    this.world.onCross = (player, from) => this.cross(player, from);
    this.onMessage("move", (client, [dx, dy]) => {
      if (!this.world.steer(client.player, dx, dy)) client.leave();
    });
    everyTick(() => this.tick());
  }

  onJoin(client, options) {
    const player = this.world.add(options.at);
    player.client = client;
    player.entity = new Entity({ x: player.x, y: player.y });
    client.player = player;
    client.view = new StateView();
    this.state.players.set(`${player.id}`, player.entity);
    for (const cell of around(player.cell)) {
      for (const other of this.world.cells.get(cell) ?? []) {
        client.view.add(other.entity);
        if (other !== player) other.client.view.add(player.entity);
      }
    }
    client.send("you", player.id);
  }

  onLeave(client) {
    this.world.remove(client.player);
    this.state.players.delete(`${client.player.id}`);
  }

  tick() {
    const { world } = this;
    world.step();
    for (const cell of world.changed) {
      for (const player of world.cells.get(cell) ?? []) {
        player.entity.x = player.x;
        player.entity.y = player.y;
      }
    }
    world.changed.clear();
    this.broadcastPatch();
  }

  // Who walked into another cell sees other people, and is seen by others.
  cross(player, from) {
    const before = new Set(around(from));
    const after = new Set(around(player.cell));
    for (const cell of after) {
      if (before.has(cell)) continue;
      for (const other of this.world.cells.get(cell) ?? []) {
        player.client.view.add(other.entity);
        other.client.view.add(player.entity);
      }
    }
    for (const cell of before) {
      if (after.has(cell)) continue;
      for (const other of this.world.cells.get(cell) ?? []) {
        player.client.view.remove(other.entity);
        other.client.view.remove(player.entity);
      }
    }
  }
}

const transport = new WebSocketTransport({ maxPayload: 1024 });
const server = new Server({ transport, greet: false });
server.define("land", Land);
await server.listen(0, "127.0.0.1");
await matchMaker.createRoom("land", {});
ready(transport.server.address().port);
