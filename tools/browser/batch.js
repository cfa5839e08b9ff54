// Many pictures from one atlas in one draw call: what is drawn anew each frame (figures, plants, names) is written into one buffer,
// ten numbers a picture, back to front. No object per picture, no allocation per frame.

import { Buffer, BufferUsage, Geometry, Mesh, Shader, State } from "./vendor/pixi/pixi.min.mjs";

const FLOATS = 10; // x, y, width, height; u0, v0, u1, v1; colour; sway
const START = 1024; // pictures; grows by doubling

const VERTEX = `#version 300 es
in vec2 aCorner;
in vec4 aRect;
in vec4 aFrame;
in vec4 aColour;
in float aSway;
out vec2 vPlace;
out vec4 vColour;
uniform mat3 uProjectionMatrix;
uniform mat3 uWorldTransformMatrix;
uniform mat3 uTransformMatrix;
uniform float uTime;
void main() {
  vec2 place = aRect.xy + aCorner * aRect.zw;
  float gust = sin(uTime * 1.1 + aRect.x * 0.35 + aRect.y * 0.2) + 0.5 * sin(uTime * 2.3 + aRect.x * 0.9);
  place.x += aSway * (1.0 - aCorner.y) * gust;
  mat3 toScreen = uProjectionMatrix * uWorldTransformMatrix * uTransformMatrix;
  gl_Position = vec4((toScreen * vec3(place, 1.0)).xy, 0.0, 1.0);
  vPlace = mix(aFrame.xy, aFrame.zw, aCorner);
  vColour = aColour;
}`;

const FRAGMENT = `#version 300 es
precision mediump float;
in vec2 vPlace;
in vec4 vColour;
out vec4 finalColour;
uniform sampler2D uTexture;
void main() {
  finalColour = texture(uTexture, vPlace) * vec4(vColour.rgb * vColour.a, vColour.a);
}`;

/** A colour 0xrrggbb and an opacity 0..1 as the four bytes a batch takes. */
export function packColour(rgb, alpha = 1) {
  const a = alpha >= 1 ? 255 : alpha <= 0 ? 0 : Math.round(alpha * 255);
  return ((a << 24) | ((rgb & 0xff) << 16) | (rgb & 0xff00) | ((rgb >>> 16) & 0xff)) >>> 0;
}

export class Batch {
  constructor(source) {
    this.count = 0;
    this.room(START);
    const corners = new Float32Array([0, 0, 1, 0, 1, 1, 0, 1]);
    this.uniforms = { uTime: { value: 0, type: "f32" } };
    this.buffer = new Buffer({ data: this.floats, usage: BufferUsage.VERTEX | BufferUsage.COPY_DST });
    const stride = FLOATS * 4;
    const each = (format, offset) => ({ buffer: this.buffer, format, stride, offset, instance: true });
    this.geometry = new Geometry({
      attributes: {
        aCorner: { buffer: corners, format: "float32x2" },
        aRect: each("float32x4", 0),
        aFrame: each("float32x4", 16),
        aColour: each("unorm8x4", 32),
        aSway: each("float32", 36),
      },
      indexBuffer: new Uint32Array([0, 1, 2, 0, 2, 3]),
      instanceCount: 0,
    });
    this.shader = Shader.from({
      gl: { vertex: VERTEX, fragment: FRAGMENT },
      resources: { uTexture: source, uSampler: source.style, wind: this.uniforms },
    });
    this.state = State.for2d();
    this.mesh = new Mesh({ geometry: this.geometry, shader: this.shader, state: this.state });
    this.mesh.cullable = false;
  }

  room(pictures) {
    const bytes = new ArrayBuffer(pictures * FLOATS * 4);
    const old = this.floats;
    this.floats = new Float32Array(bytes);
    this.words = new Uint32Array(bytes);
    this.pictures = pictures;
    if (!old) return;
    this.floats.set(old);
    this.buffer.data = this.floats;
  }

  begin() {
    this.count = 0;
  }

  /** A picture of an atlas, its whole (with the margin it was kept without) at x, y; `colour` from packColour; mirrored when `flip`. */
  add(frame, x, y, width, height, colour, sway = 0, flip = false) {
    if (this.count === this.pictures) this.room(this.pictures * 2);
    const at = this.count * FLOATS;
    const floats = this.floats;
    floats[at] = x + (flip ? 1 - frame.right : frame.left) * width;
    floats[at + 1] = y + frame.top * height;
    floats[at + 2] = (frame.right - frame.left) * width;
    floats[at + 3] = (frame.bottom - frame.top) * height;
    floats[at + 4] = flip ? frame.u1 : frame.u0;
    floats[at + 5] = frame.v0;
    floats[at + 6] = flip ? frame.u0 : frame.u1;
    floats[at + 7] = frame.v1;
    this.words[at + 8] = colour;
    floats[at + 9] = sway;
    this.count += 1;
  }

  end(seconds) {
    this.geometry.instanceCount = this.count;
    this.mesh.visible = this.count > 0;
    this.buffer.update(this.count * FLOATS * 4);
    this.shader.resources.wind.uniforms.uTime = seconds % 3600;
  }
}
