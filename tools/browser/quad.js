// One picture of 32 x 32 tiles as the graphics card likes it: no blending once it is opaque, one look into the texture per pixel.
// (Sprites are drawn in batches by a shader that can take sixteen textures; the whole screen is too much to ask of that.)

import { Geometry, Mesh, Shader, State } from "./vendor/pixi/pixi.min.mjs";

const TILES = 32;

const VERTEX = `#version 300 es
in vec2 aCorner;
out vec2 vPlace;
uniform mat3 uProjectionMatrix;
uniform mat3 uWorldTransformMatrix;
uniform mat3 uTransformMatrix;
void main() {
  vPlace = aCorner / ${TILES}.0;
  gl_Position = vec4((uProjectionMatrix * uWorldTransformMatrix * uTransformMatrix * vec3(aCorner, 1.0)).xy, 0.0, 1.0);
}`;

const FRAGMENT = `#version 300 es
precision mediump float;
in vec2 vPlace;
out vec4 finalColour;
uniform sampler2D uTexture;
uniform float uAlpha;
void main() {
  finalColour = vec4(texture(uTexture, vPlace).rgb, 1.0) * uAlpha;
}`;

let shared = null;

/** The square every chunk is drawn on; `aCorner` runs from 0 to 32 tiles. */
export function square() {
  shared ??= new Geometry({
    attributes: { aCorner: { buffer: new Float32Array([0, 0, TILES, 0, TILES, TILES, 0, TILES]), format: "float32x2" } },
    indexBuffer: new Uint32Array([0, 1, 2, 0, 2, 3]),
  });
  return shared;
}

export class Quad {
  constructor(source, cx, cy) {
    this.source = source;
    this.shader = Shader.from({
      gl: { vertex: VERTEX, fragment: FRAGMENT },
      resources: { uTexture: source, uSampler: source.style, fade: { uAlpha: { value: 1, type: "f32" } } },
    });
    this.state = State.for2d();
    this.state.blend = false;
    this.mesh = new Mesh({ geometry: square(), shader: this.shader, state: this.state });
    this.mesh.position.set(cx * TILES, cy * TILES);
  }

  set alpha(alpha) {
    this.state.blend = alpha < 1;
    this.shader.resources.fade.uniforms.uAlpha = alpha;
  }

  destroy() {
    this.mesh.destroy();
    this.shader.destroy();
    this.source.destroy();
  }
}
