// What the hands want: keyboard, mouse and touch become one direction to walk in, a place to walk to, and zoom.
//
// Keys: WASD or the arrows. Mouse: press to walk there, hold to walk after the pointer, wheel to zoom. Touch: drag for a stick
// under the thumb, tap to walk there, two fingers to zoom. While a text field has the focus, keys belong to it.
//
// A tool (choosing plots, building) takes the pointer over: hover, down, move, up and cancel go to it, with places on the screen; two
// fingers zoom all the same.

const STICK_DEAD_PX = 10;
const STICK_FULL_PX = 44;
const TAP_MS = 260;
const TAP_PX = 10;
const HOLD_MS = 180; // a press longer than this follows the pointer
const WHEEL_STEP = 1.0016;
const KEYS = {
  KeyW: [0, -1], ArrowUp: [0, -1],
  KeyS: [0, 1], ArrowDown: [0, 1],
  KeyA: [-1, 0], ArrowLeft: [-1, 0],
  KeyD: [1, 0], ArrowRight: [1, 0],
};

export class Input {
  /**
   * `on`: tap(px, py) a place on the screen, pick(px, py) the same with the other button or a long press, zoom(factor), key(event) for
   * everything that is no walking, hover(px, py), tool() the tool that has the pointer or null.
   */
  constructor(surface, stick, on) {
    this.on = on;
    this.stick = stick;
    this.held = new Set();
    this.pointers = new Map();
    this.stickVector = null; // { dx, dy } while a thumb is on it
    this.pinch = 0;
    this.using = null; // the tool that took the pointer
    addEventListener("keydown", (event) => this.keyDown(event));
    addEventListener("keyup", (event) => this.held.delete(event.code));
    addEventListener("blur", () => this.release());
    document.addEventListener("visibilitychange", () => document.hidden && this.release());
    surface.addEventListener("pointerdown", (event) => this.pointerDown(event, surface));
    surface.addEventListener("pointermove", (event) => this.pointerMove(event));
    for (const end of ["pointerup", "pointercancel"]) surface.addEventListener(end, (event) => this.pointerUp(event));
    surface.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.on.zoom(WHEEL_STEP ** -event.deltaY);
    }, { passive: false });
    surface.addEventListener("contextmenu", (event) => {
      event.preventDefault();
      if (!this.on.tool()) this.on.pick(event.clientX, event.clientY);
    });
  }

  release() {
    if (this.using) this.use("cancel");
    this.held.clear();
    this.pointers.clear();
    this.dropStick();
  }

  /** The direction of keys or stick, length at most 1; null when neither is touched. */
  direction() {
    if (this.stickVector) return this.stickVector;
    let dx = 0;
    let dy = 0;
    for (const code of this.held) {
      dx += KEYS[code][0];
      dy += KEYS[code][1];
    }
    dx = Math.sign(dx);
    dy = Math.sign(dy);
    if (dx === 0 && dy === 0) return this.held.size > 0 ? { dx: 0, dy: 0 } : null;
    const length = Math.hypot(dx, dy);
    return { dx: dx / length, dy: dy / length };
  }

  /** Where a held mouse button points, on the screen; null when none is held long enough. */
  pointing(now) {
    for (const pointer of this.pointers.values()) {
      if (pointer.mouse && !this.using && now - pointer.since > HOLD_MS) return pointer;
    }
    return null;
  }

  keyDown(event) {
    const field = event.target instanceof HTMLElement && event.target.closest("input, textarea, select");
    if (field || event.altKey) return;
    if (event.ctrlKey || event.metaKey || event.shiftKey || !KEYS[event.code]) {
      if (this.on.key(event) || event.ctrlKey || event.metaKey) return;
    }
    if (KEYS[event.code]) {
      this.held.add(event.code);
      event.preventDefault();
    }
  }

  pointerDown(event, surface) {
    document.activeElement?.blur?.();
    surface.setPointerCapture(event.pointerId);
    const mouse = event.pointerType === "mouse";
    if (mouse && event.button !== 0) return;
    this.pointers.set(event.pointerId, { x: event.clientX, y: event.clientY, startX: event.clientX, startY: event.clientY, since: performance.now(), mouse });
    if (this.pointers.size === 2) {
      if (this.using) this.use("cancel");
      this.dropStick();
      this.pinch = this.span();
    } else if (this.on.tool()) {
      this.using = this.on.tool();
      this.use("down", event.clientX, event.clientY);
    }
  }

  /** Hands it to the tool that took the pointer. */
  use(what, px, py) {
    const { using } = this;
    if (what === "up" || what === "cancel") this.using = null;
    using[what](px, py);
  }

  pointerMove(event) {
    const pointer = this.pointers.get(event.pointerId);
    this.on.hover(event.clientX, event.clientY);
    if (!pointer) {
      this.on.tool()?.hover(event.clientX, event.clientY);
      return;
    }
    pointer.x = event.clientX;
    pointer.y = event.clientY;
    if (this.pointers.size === 2) {
      const span = this.span();
      if (this.pinch > 0) this.on.zoom(span / this.pinch);
      this.pinch = span;
    } else if (this.using) {
      this.use("move", event.clientX, event.clientY);
    } else if (!pointer.mouse) {
      this.pull(pointer);
    }
  }

  pointerUp(event) {
    const pointer = this.pointers.get(event.pointerId);
    if (!pointer) return;
    this.pointers.delete(event.pointerId);
    this.pinch = 0;
    if (this.using) {
      this.use(event.type === "pointerup" ? "up" : "cancel");
      return;
    }
    const moved = Math.hypot(pointer.x - pointer.startX, pointer.y - pointer.startY);
    const took = performance.now() - pointer.since;
    const tapped = event.type === "pointerup" && !this.stickVector && (pointer.mouse || (took < TAP_MS && moved < TAP_PX));
    this.dropStick();
    if (tapped && this.pointers.size === 0) this.on.tap(pointer.x, pointer.y);
  }

  span() {
    const [a, b] = [...this.pointers.values()];
    return Math.hypot(a.x - b.x, a.y - b.y);
  }

  /** The thumb has moved: the further from where it came down, the faster. */
  pull({ x, y, startX, startY }) {
    const dx = x - startX;
    const dy = y - startY;
    const length = Math.hypot(dx, dy);
    if (!this.stickVector && length < STICK_DEAD_PX) return;
    const strength = length < STICK_DEAD_PX ? 0 : Math.min(1, length / STICK_FULL_PX);
    const reach = Math.min(length, STICK_FULL_PX);
    this.stickVector = length > 0 ? { dx: (dx / length) * strength, dy: (dy / length) * strength } : { dx: 0, dy: 0 };
    this.stick.hidden = false;
    this.stick.style.transform = `translate(${startX}px, ${startY}px)`;
    this.stick.firstElementChild.style.transform = `translate(${(dx / (length || 1)) * reach}px, ${(dy / (length || 1)) * reach}px)`;
  }

  dropStick() {
    this.stickVector = null;
    this.stick.hidden = true;
  }
}
