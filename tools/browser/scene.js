// Everything that is drawn in the world: camera, ground, water, plants and people in the order of their feet, names, the light.
//
// Units: tiles in the world, CSS pixels on the screen; `zoom` is pixels a tile. What stands is drawn in one batch, from the north
// to the south, so that what is in front hides the feet of what is behind. A crown that hides a person turns transparent.

import { Atlas } from "./atlas.js";
import { Batch, packColour } from "./batch.js";
import { Buildings } from "./buildings.js";
import { dressOf, Figures, HEAD_TILES } from "./figures.js";
import { isWater } from "./kinds.js";
import { Overlay } from "./overlay.js";
import { darknessAt, lightAt } from "./light.js";
import { LABEL_PX, Labels } from "./labels.js";
import { hash } from "./noise.js";
import { FOOT, makePlants } from "./plants.js";
import { Terrain } from "./terrain.js";
import { Container, RenderTexture, Sprite, WebGLRenderer } from "./vendor/pixi/pixi.min.mjs";

const TILES = 32;
const UNIT = 48; // pixels a tile in the atlas
export const ZOOM_MIN = 16;
export const ZOOM_MAX = 48;
const ZOOM_START = 36;
const ZOOM_SURVEY = 9; // from high above, where plots are chosen
const RESOLUTION_MAX = 2;
const BACKDROP = 0x1a2a33;
const VEILED = 0.42; // opacity of a crown that hides somebody
const VEIL_PER_S = 6;
const CAMERA_PER_S = 14;
const WADE_PER_S = 8;
const LIGHT_PX = 4; // screen pixels to one of the light
const LAMP = 0xd8a468; // what a lamp adds to the dark
const NAMES_MAX = 48; // the nearest; in a crowd more would hide the people
const FAR_ZOOM = 24; // pixels a tile; below it names would be larger than people
const FAR_NAMES_MAX = 13; // so there only a dozen, besides my own
const LAND_NAME_TILES = 1.1; // below a parcel's northern border
const SHOWN_BONUS_TILES = 3; // a name that is shown gives way only to one so much nearer

export class Scene {
  /** `groundAt(x, y)`: the kind of ground of a tile; `builtAt(x, y)`: what is built on it. */
  async start(canvas, groundAt, builtAt) {
    this.groundAt = groundAt;
    this.builtAt = builtAt;
    this.resolution = Math.min(RESOLUTION_MAX, globalThis.devicePixelRatio || 1);
    this.renderer = new WebGLRenderer();
    await this.renderer.init({ canvas, antialias: false, resolution: this.resolution, autoDensity: true, background: BACKDROP, preferWebGLVersion: 2, powerPreference: "high-performance", eventFeatures: { move: false, globalMove: false, click: false, wheel: false } });
    const atlas = new Atlas(2048, 2048, UNIT);
    this.plantOf = makePlants(atlas);
    this.figures = new Figures(atlas);
    this.buildings = new Buildings(atlas, builtAt);
    this.overlay = new Overlay(atlas, this.buildings);
    this.atlas = atlas;
    this.glow = atlas.draw(128, 128, (context) => {
      const soft = context.createRadialGradient(64, 64, 4, 64, 64, 64);
      soft.addColorStop(0, "rgba(255,255,255,1)");
      soft.addColorStop(1, "rgba(255,255,255,0)");
      context.fillStyle = soft;
      context.fillRect(0, 0, 128, 128);
    });
    this.terrain = new Terrain();
    this.below = new Batch(atlas.source);
    this.standing = new Batch(atlas.source);
    this.ghosts = new Batch(atlas.source);
    this.lamps = new Batch(atlas.source);
    this.lamps.mesh.blendMode = "add";
    this.labels = new Labels(this.resolution);
    this.light = RenderTexture.create({ width: 1, height: 1 }); // the evening's colour and the lamps; the world is multiplied by it
    this.shade = new Sprite(this.light);
    this.shade.blendMode = "multiply";
    this.world = new Container();
    this.world.addChild(this.terrain.stage, this.below.mesh, this.standing.mesh, this.ghosts.mesh);
    this.lampStage = new Container();
    this.lampStage.addChild(this.lamps.mesh);
    this.lampStage.scale.set(1 / LIGHT_PX);
    this.stage = new Container();
    this.stage.addChild(this.world, this.shade, this.labels.batch.mesh);

    this.camera = { x: 0, y: 0, set: false };
    this.painted = false; // whether all ground in sight is there, in its finished form
    this.zoom = ZOOM_START;
    this.zoomWanted = ZOOM_START;
    this.zoomMin = ZOOM_MIN;
    this.zoomWalking = ZOOM_START; // to come back to from high above
    this.hovered = null; // the parcel under the pointer
    this.plants = new Map(); // chunk key -> its plants, north to south
    this.shown = []; // the plants of the chunks in sight, north to south
    this.shownKeys = "";
    this.byTile = new Map(); // "x,y" as one number -> plant, of all in memory
    this.people = []; // of this frame
    this.covered = 0; // how much of the screen a panel covers from below, in pixels, as shown
    this.coveredWanted = 0;
    this.lag = Infinity; // tiles from the camera to where it goes
    this.resize();
  }

  /** Whether the camera has come to rest; it follows `me`, who may walk. */
  get still() {
    return this.zoom === this.zoomWanted && Math.abs(this.covered - this.coveredWanted) < 1 && this.lag < 0.05;
  }

  /** Where the camera's place is on the screen: in the middle of what no panel covers. */
  get middleY() {
    return (this.height - this.covered) / 2;
  }

  resize() {
    this.width = innerWidth;
    this.height = innerHeight;
    this.renderer.resize(this.width, this.height);
    this.light.resize(Math.ceil(this.width / LIGHT_PX), Math.ceil(this.height / LIGHT_PX));
    this.shade.setSize(this.width, this.height);
  }

  /** Where panels lie over the world: names keep away from there. */
  setPanels(rectangles) {
    this.labels.panels = rectangles;
  }

  zoomBy(factor) {
    this.zoomWanted = Math.min(ZOOM_MAX, Math.max(this.zoomMin, this.zoomWanted * factor));
  }

  /** Goes high above the land, or comes down again. */
  survey(high) {
    if (high === (this.zoomMin === ZOOM_SURVEY)) return;
    if (high) this.zoomWalking = this.zoomWanted;
    this.zoomMin = high ? ZOOM_SURVEY : ZOOM_MIN;
    this.zoomWanted = high ? ZOOM_SURVEY : this.zoomWalking;
  }

  /** A small canvas with the picture of a Build, or of what takes one away. */
  iconOf(kind, side) {
    const canvas = document.createElement("canvas");
    canvas.width = canvas.height = side;
    const picture = this.buildings.pictureOf(kind);
    if (picture) {
      const { frame, height } = picture;
      const unit = side / Math.max(1.25, height);
      const left = (side - unit) / 2 + frame.left * unit;
      const top = (side - unit * height) / 2 + frame.top * unit * height;
      canvas.getContext("2d").drawImage(this.atlas.canvas, frame.x, frame.y, frame.width, frame.height, left, top, (frame.right - frame.left) * unit, (frame.bottom - frame.top) * unit * height);
    }
    return canvas;
  }

  /** A picture of somebody with that look. */
  figureOf(look, height) {
    return this.figures.portrait(this.atlas.canvas, look, height);
  }

  toWorld(px, py) {
    return { x: this.camera.x + (px - this.width / 2) / this.zoom, y: this.camera.y + (py - this.middleY) / this.zoom };
  }

  toScreen(x, y) {
    return { x: (x - this.camera.x) * this.zoom + this.width / 2, y: (y - this.camera.y) * this.zoom + this.middleY };
  }

  /** Where a bubble of somebody's talk ends: above their name. */
  aboveName({ x, y }) {
    const place = this.toScreen(x, y - HEAD_TILES);
    place.y -= LABEL_PX + 6;
    return place;
  }

  // --- chunks come and go --------------------------------------------------------------------------------

  chunkArrived(chunk, now) {
    this.terrain.arrived(chunk, now);
    this.chunkBuilt(chunk);
  }

  /** What stands in a chunk, and on the edges of those beside it, is put up anew. */
  chunkBuilt(chunk) {
    this.standIn(chunk);
    for (const near of this.buildings.beside(chunk)) this.standIn(near);
  }

  standIn(chunk) {
    this.dropPlants(chunk.key);
    const plants = chunk.objects.filter(({ tile }) => !chunk.built.has(tile)).map((one) => this.plant(one, chunk));
    plants.push(...this.buildings.put(chunk));
    plants.sort((a, b) => a.y - b.y);
    for (const plant of plants) if (plant.hides) this.byTile.set(tileNumber(plant.x, plant.y), plant);
    this.plants.set(chunk.key, plants);
    this.shownKeys = "";
  }

  chunkGone(chunk) {
    this.terrain.gone(chunk);
    this.buildings.gone(chunk);
    this.dropPlants(chunk.key);
    this.shownKeys = "";
  }

  dropPlants(key) {
    for (const plant of this.plants.get(key) ?? []) this.byTile.delete(tileNumber(plant.x, plant.y));
    this.plants.delete(key);
  }

  plant({ tile, kind, x, y, size }, { cx, cy, shade }) {
    const luck = hash(cx * TILES + Math.floor(x), cy * TILES + Math.floor(y), 3);
    const picture = this.plantOf(kind, luck >>> 8);
    const light = Math.min(1, 0.55 + (0.45 * shade[tile]) / 128) * (0.94 + ((luck >>> 4) & 15) / 250);
    const grey = Math.min(255, Math.round(255 * light));
    return {
      x: cx * TILES + x,
      y: cy * TILES + y,
      frame: picture.frame,
      width: picture.width * size,
      height: picture.height * size,
      sway: picture.sway * size,
      lift: 0,
      flip: (luck & 1) === 1,
      tint: (grey << 16) | (grey << 8) | Math.round(grey * 0.98),
      hides: picture.height * size > 1.2,
      veil: 1,
      veilWanted: 1,
    };
  }

  gatherPlants(sight) {
    const left = Math.floor((sight.left - 2) / TILES);
    const right = Math.floor((sight.right + 2) / TILES);
    const top = Math.floor((sight.top - 1) / TILES);
    const bottom = Math.floor((sight.bottom + 4) / TILES);
    const keys = `${left} ${right} ${top} ${bottom}`;
    if (keys === this.shownKeys) return;
    this.shownKeys = keys;
    this.shown = [];
    for (let cy = top; cy <= bottom; cy += 1) {
      for (let cx = left; cx <= right; cx += 1) this.shown.push(...(this.plants.get(`${cx},${cy}`) ?? []));
    }
    this.shown.sort((a, b) => a.y - b.y);
  }

  // --- a frame -------------------------------------------------------------------------------------------

  /**
   * Draws the world. `me` is { x, y } as shown (or null before entering), `people` all entities with places, me among them by
   * `meId`; `hour` of the day; `crowds` [{ cx, cy, count }].
   */
  draw({ me, meId, people, crowds, hour, now, seconds }) {
    this.follow(me, seconds);
    const sight = {
      left: this.camera.x - this.width / 2 / this.zoom,
      right: this.camera.x + this.width / 2 / this.zoom,
      top: this.camera.y - this.middleY / this.zoom,
      bottom: this.camera.y + (this.height - this.middleY) / this.zoom,
    };
    const originX = Math.floor(this.camera.x / TILES) * TILES;
    const originY = Math.floor(this.camera.y / TILES) * TILES;
    this.world.scale.set(this.zoom);
    this.world.position.set(this.width / 2 - this.camera.x * this.zoom, this.middleY - this.camera.y * this.zoom);
    for (const batch of [this.below, this.standing, this.ghosts]) batch.mesh.position.set(originX, originY);
    this.terrain.advance(sight, now, seconds);
    this.painted = this.terrain.waiting === 0 && this.terrain.covers(sight);
    this.gatherPlants(sight);
    this.gatherPeople(people, sight);
    this.veil(meId);
    this.drawStanding(sight, originX, originY, meId, seconds, now);
    this.drawLight(hour, meId, now);
    this.drawNames(meId, me, crowds, seconds);
    this.renderer.render({ container: this.stage });
  }

  follow(me, seconds) {
    this.zoom += (this.zoomWanted - this.zoom) * Math.min(1, seconds * 10);
    if (Math.abs(this.zoomWanted - this.zoom) < 0.02) this.zoom = this.zoomWanted;
    this.covered += (this.coveredWanted - this.covered) * Math.min(1, seconds * 10);
    if (!me) return;
    const camera = this.camera;
    const y = me.y - HEAD_TILES / 2;
    this.lag = Math.hypot(me.x - camera.x, y - camera.y);
    if (!camera.set || this.lag > 12) {
      this.camera = { x: me.x, y, set: true };
      return;
    }
    const share = 1 - Math.exp(-seconds * CAMERA_PER_S);
    camera.x += (me.x - camera.x) * share;
    camera.y += (y - camera.y) * share;
  }

  gatherPeople(people, sight) {
    this.people.length = 0;
    for (const person of people) {
      if (person.count === 0 || person.alpha < 0.02) continue;
      if (person.x < sight.left - 1 || person.x > sight.right + 1 || person.y < sight.top - 0.5 || person.y > sight.bottom + 2) continue;
      if (person.dressed !== person.look) {
        person.dress = dressOf(person.look);
        person.dressed = person.look;
      }
      this.people.push(person);
    }
    this.people.sort((a, b) => a.y - b.y);
  }

  /** Marks the crowns that hide somebody. */
  veil() {
    for (const person of this.people) {
      const column = Math.floor(person.x);
      const row = Math.floor(person.y);
      for (let dy = 0; dy <= 3; dy += 1) {
        for (let dx = -1; dx <= 1; dx += 1) {
          const plant = this.byTile.get(tileNumber(column + dx, row + dy));
          if (!plant || plant.y < person.y) continue;
          if (plant.y - person.y < plant.height * 0.85 && Math.abs(plant.x - person.x) < plant.width * 0.4 + 0.3) plant.veilWanted = VEILED;
        }
      }
    }
  }

  drawStanding(sight, originX, originY, meId, seconds, now) {
    this.below.begin();
    this.standing.begin();
    this.ghosts.begin();
    const people = this.people;
    this.overlay.add(this.below, sight, this.zoom, originX, originY);
    this.buildings.addGround(this.below, sight, originX, originY);
    for (const person of people) {
      const wading = isWater(this.groundAt(person.x, person.y)) && !this.builtAt(person.x, person.y) ? 1 : 0;
      person.wading = (person.wading ?? wading) + (wading - (person.wading ?? wading)) * Math.min(1, seconds * WADE_PER_S);
      this.figures.addGround(this.below, person.x - originX, person.y - originY, person.alpha, person.id === meId, person.wading, now / 1000 + person.id * 0.37);
    }
    const veiling = Math.min(1, seconds * VEIL_PER_S);
    let next = 0;
    for (const plant of this.shown) {
      while (next < people.length && people[next].y < plant.y) this.drawPerson(people[next++], originX, originY);
      plant.veil += (plant.veilWanted - plant.veil) * veiling;
      plant.veilWanted = 1;
      if (plant.x + plant.width < sight.left || plant.x - plant.width > sight.right) continue;
      if (plant.y < sight.top || plant.y - plant.height > sight.bottom) continue;
      const top = plant.y - plant.lift - originY - plant.height * (1 - FOOT);
      this.standing.add(plant.frame, plant.x - originX - plant.width / 2, top, plant.width, plant.height, packColour(plant.tint, plant.veil), plant.sway, plant.flip);
    }
    while (next < people.length) this.drawPerson(people[next++], originX, originY);
    this.below.end(now / 1000);
    this.standing.end(now / 1000);
    this.overlay.addGhosts(this.ghosts, originX, originY);
    this.ghosts.end(0);
  }

  drawPerson(person, originX, originY) {
    this.figures.add(this.standing, person, person.x - originX, person.y - originY, person.alpha, person.wading);
  }

  drawLight(hour, meId, now) {
    const light = lightAt(hour);
    this.shade.visible = light.some((part) => part < 0.998);
    if (!this.shade.visible) return;
    const dark = darknessAt(hour);
    this.lamps.begin();
    if (dark > 0.05) {
      for (const person of this.people) {
        const { x, y } = this.toScreen(person.x, person.y - 0.6);
        const mine = person.id === meId;
        const flicker = 1 + 0.03 * Math.sin(now / 130 + person.id * 1.7);
        const radius = this.zoom * (mine ? 4.4 : 2.6) * flicker;
        this.lamps.add(this.glow, x - radius, y - radius, radius * 2, radius * 2, packColour(LAMP, dark * person.alpha * (mine ? 0.75 : 0.5)));
      }
    }
    this.lamps.end(0);
    this.renderer.render({ container: this.lampStage, target: this.light, clearColor: [...light, 1] });
  }

  drawNames(meId, me, crowds, seconds) {
    const labels = this.labels;
    labels.begin();
    for (const { cx, cy, count } of crowds) {
      const { x, y } = this.toScreen((cx + 0.5) * TILES, (cy + 0.5) * TILES);
      labels.add(`crowd ${cx},${cy}`, `${count} people here`, x, y, 1, true, seconds);
    }
    if (me) {
      for (const person of this.people) {
        const far = Math.hypot(person.x - me.x, person.y - me.y);
        person.rank = person.id === meId ? -100 : far - (labels.isShown(person.id) ? SHOWN_BONUS_TILES : 0);
      }
      this.people.sort((a, b) => a.rank - b.rank);
      for (const person of this.people.slice(0, this.zoom < FAR_ZOOM ? FAR_NAMES_MAX : NAMES_MAX)) {
        const { x, y } = this.toScreen(person.x, person.y - HEAD_TILES);
        labels.add(person.id, person.name, x, y - 1, person.alpha, person.id === meId, seconds);
      }
    }
    this.nameLand(seconds);
    labels.end();
  }

  /** Names of parcels: of all from afar, else of the one that is pointed at or chosen. */
  nameLand(seconds) {
    const { parcels, marks } = this.overlay;
    const far = this.zoom < FAR_ZOOM;
    for (const parcel of parcels) {
      if (!far && parcel.parcel_id !== this.hovered && parcel.parcel_id !== marks.chosen) continue;
      const { x, y } = this.toScreen(parcel.x + parcel.width / 2, far ? parcel.y + parcel.height / 2 : parcel.y + LAND_NAME_TILES);
      if (x < 0 || x > this.width || y < 0 || y > this.height) continue;
      this.labels.add(`land ${parcel.parcel_id}`, parcel.name || `Land of ${parcel.owner_name}`, x, y, 0.95, parcel.owner_id === this.overlay.me, seconds);
    }
  }
}

/** A tile as one number: places lie within 2**20 tiles of the middle. */
function tileNumber(x, y) {
  return (Math.floor(x) + 2 ** 21) * 2 ** 22 + Math.floor(y) + 2 ** 21;
}
