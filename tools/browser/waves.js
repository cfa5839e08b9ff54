// Moving water over the painted water of a chunk: drifting light on the surface, and foam that runs up the shore. Nothing is drawn
// where a chunk is dry. The noise repeats every chunk, so waves go on over the borders.

import { seamlessNoise } from "./noise.js";
import { square } from "./quad.js";
import { BufferImageSource, Mesh, Shader } from "./vendor/pixi/pixi.min.mjs";

const TILES = 32;
const MARGIN = 1; // tiles around the chunk in the water field, as painter.js makes it
const SIDE = 256; // texels of the noise

const VERTEX = `#version 300 es
in vec2 aCorner;
out vec2 vTile;
uniform mat3 uProjectionMatrix;
uniform mat3 uWorldTransformMatrix;
uniform mat3 uTransformMatrix;
void main() {
  vTile = aCorner;
  gl_Position = vec4((uProjectionMatrix * uWorldTransformMatrix * uTransformMatrix * vec3(aCorner, 1.0)).xy, 0.0, 1.0);
}`;

const FRAGMENT = `#version 300 es
precision highp float;
in vec2 vTile;
out vec4 finalColour;
uniform sampler2D uWater;
uniform sampler2D uNoise;
uniform float uTime;
void main() {
  float water = texture(uWater, (vTile + ${MARGIN}.0) / ${TILES + 2 * MARGIN}.0).r;
  if (water < 0.46) discard;
  float inside = smoothstep(0.48, 0.54, water);
  vec2 place = vTile / ${TILES}.0;
  vec2 first = texture(uNoise, place * 2.0 + uTime * vec2(0.011, 0.004)).rg;
  vec2 second = texture(uNoise, place * 3.0 - uTime * vec2(0.006, 0.013)).gr;
  float ripple = abs(first.r + second.r - 1.0) + 0.6 * abs(first.g - second.g);
  float glint = pow(clamp(1.0 - ripple * 3.6, 0.0, 1.0), 2.5) * smoothstep(0.6, 0.95, water);
  float swell = (first.g + second.g - 1.0) * 0.16 * smoothstep(0.55, 0.9, water);
  float turn = fract(uTime * 0.16 + first.r * 1.6 + second.g * 0.4);
  float band = mix(0.74, 0.5, turn);
  float foam = smoothstep(0.055, 0.0, abs(water - band)) * sin(turn * 3.1416) * (0.35 + 0.75 * second.r);
  float edge = smoothstep(0.585, 0.52, water) * (0.45 + 0.35 * sin(uTime * 1.3 + first.g * 12.0));
  float white = clamp(glint * 0.42 + foam * 0.5 + edge * 0.5, 0.0, 0.85) * inside;
  float dark = clamp(-swell, 0.0, 0.2) * inside;
  float light = clamp(swell, 0.0, 0.2) * inside;
  finalColour = vec4(vec3(0.95, 1.0, 1.0) * white + vec3(0.75, 0.95, 1.0) * light + vec3(0.06, 0.3, 0.48) * dark, white + light + dark);
}`;

let noise = null;
function noiseSource() {
  if (noise) return noise;
  const red = seamlessNoise(SIDE, 12, 901);
  const green = seamlessNoise(SIDE, 21, 907);
  const texels = new Uint8Array(SIDE * SIDE * 4);
  for (let index = 0; index < SIDE * SIDE; index += 1) {
    texels[index * 4] = 128 + red[index] * 150;
    texels[index * 4 + 1] = 128 + green[index] * 150;
    texels[index * 4 + 3] = 255;
  }
  noise = new BufferImageSource({ resource: texels, width: SIDE, height: SIDE, format: "rgba8unorm", scaleMode: "linear", addressMode: "repeat", alphaMode: "no-premultiply-alpha" });
  return noise;
}

export class Waves {
  constructor(field, x, y) {
    const side = Math.sqrt(field.length);
    this.field = new BufferImageSource({ resource: field, width: side, height: side, format: "r8unorm", scaleMode: "linear", alphaMode: "no-premultiply-alpha" });
    this.shader = Shader.from({
      gl: { vertex: VERTEX, fragment: FRAGMENT },
      resources: {
        uWater: this.field,
        uNoise: noiseSource(),
        time: { uTime: { value: 0, type: "f32" } },
      },
    });
    this.mesh = new Mesh({ geometry: square(), shader: this.shader });
    this.mesh.position.set(x, y);
  }

  show(visible, now) {
    this.mesh.visible = visible;
    if (visible) this.shader.resources.time.uniforms.uTime = (now / 1000) % 3600;
  }

  destroy() {
    this.mesh.destroy();
    this.shader.destroy();
    this.field.destroy();
  }
}
