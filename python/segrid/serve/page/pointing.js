/**
 * Mouse, fingers and keys on the canvas, as points and boxes of the picture.
 *
 * Mouse: left adds (with Shift it selects the object there), right takes away, a drag is a box, the wheel zooms, the middle button moves.
 * One finger is the left button; two fingers zoom and move.
 * Keys: arrows move the crosshair, Enter adds, Shift+Enter takes away, B marks a box's two corners.
 */

const DRAG = 6; // CSS pixels, from which on a click is a drag
const STEP = 0.01; // of the picture's longer side, which an arrow moves the crosshair

export class Pointing {
  box = null; // being dragged or marked: [x1, y1, x2, y2] of the picture
  crosshair = null; // [x, y] of the picture while keys are used
  #down = new Map(); // pointer's id -> {x, y, button} where it went down, and where it is
  #pinched = false;
  #corner = null;

  /**
   * @param {{enabled: () => boolean, size: () => [number, number], point: Function,
   *   box: Function, pick: Function, redraw: Function, say: Function}} events point(x, y, adds),
   *   box(box) and pick(x, y), in pixels of the picture; `adds` is null where the tool that is
   *   chosen decides
   */
  constructor(element, viewport, events) {
    Object.assign(this, { element, viewport, events });
    const on = (name, handle) =>
      element.addEventListener(name, (event) => events.enabled() && handle.call(this, event));
    on("pointerdown", this.#pressed);
    on("pointermove", this.#moved);
    on("pointerup", this.#released);
    on("pointercancel", this.#forgotten);
    on("wheel", this.#wheel);
    on("keydown", this.#key);
    on("focus", this.#entered);
    on("blur", this.#left);
    // A click must not take the focus: arrows would move the crosshair and not step through frames.
    on("mousedown", (event) => {
      event.preventDefault();
      document.activeElement?.blur();
    });
    element.addEventListener("contextmenu", (event) => event.preventDefault());
  }

  #at(event) {
    const frame = this.element.getBoundingClientRect();
    return [event.clientX - frame.left, event.clientY - frame.top];
  }

  #pressed(event) {
    const [x, y] = this.#at(event);
    this.#down.set(event.pointerId, { x, y, nowX: x, nowY: y, button: event.button });
    this.element.setPointerCapture(event.pointerId);
    this.crosshair = null;
    if (this.#down.size > 1) {
      this.#pinched = true;
      this.box = null;
    }
    this.events.redraw();
  }

  #moved(event) {
    const pointer = this.#down.get(event.pointerId);
    if (!pointer) return;
    const [x, y] = this.#at(event);
    if (this.#down.size === 2) this.#pinch(pointer, x, y);
    else if (pointer.button === 1) this.viewport.pan(x - pointer.nowX, y - pointer.nowY);
    pointer.nowX = x;
    pointer.nowY = y;
    const far = Math.hypot(x - pointer.x, y - pointer.y) > DRAG;
    if (!this.#pinched && pointer.button === 0 && (far || this.box)) {
      this.box = this.#boxBetween([pointer.x, pointer.y], [x, y]);
    }
    this.events.redraw();
  }

  #pinch(moving, x, y) {
    const other = [...this.#down.values()].find((pointer) => pointer !== moving);
    const distance = (ax, ay) => Math.max(1, Math.hypot(ax - other.nowX, ay - other.nowY));
    const factor = distance(x, y) / distance(moving.nowX, moving.nowY);
    this.viewport.zoom(factor, (x + other.nowX) / 2, (y + other.nowY) / 2);
    this.viewport.pan((x - moving.nowX) / 2, (y - moving.nowY) / 2);
  }

  #released(event) {
    const pointer = this.#down.get(event.pointerId);
    this.#down.delete(event.pointerId);
    const { box } = this;
    this.box = null;
    if (this.#pinched) {
      if (this.#down.size === 0) this.#pinched = false;
    } else if (pointer && pointer.button !== 1) {
      if (event.shiftKey) this.events.pick(...this.viewport.toPicture(...this.#at(event)));
      else if (box) this.#drawn(box);
      else this.#clicked(pointer);
    }
    this.events.redraw();
  }

  #clicked({ x, y, button }) {
    const [px, py] = this.viewport.toPicture(x, y);
    if (this.viewport.holds(px, py)) this.events.point(px, py, button === 2 ? false : null);
  }

  #drawn(box) {
    if (box[2] - box[0] >= 1 && box[3] - box[1] >= 1) this.events.box(box);
  }

  #forgotten(event) {
    this.#down.delete(event.pointerId);
    this.#pinched = this.#pinched && this.#down.size > 0;
    this.box = null;
    this.events.redraw();
  }

  #wheel(event) {
    event.preventDefault();
    this.viewport.zoom(Math.exp(-event.deltaY * (event.ctrlKey ? 0.01 : 0.002)), ...this.#at(event));
    this.events.redraw();
  }

  #boxBetween(from, to) {
    const [ax, ay] = this.viewport.clamp(...this.viewport.toPicture(...from));
    const [bx, by] = this.viewport.clamp(...this.viewport.toPicture(...to));
    return [Math.min(ax, bx), Math.min(ay, by), Math.max(ax, bx), Math.max(ay, by)];
  }

  // ------------------------------------------------------------------------- keys

  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const move = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    if (event.key in move) {
      const step = event.shiftKey ? 1 : Math.max(1, STEP * Math.max(...this.events.size()));
      this.#moveCrosshair(move[event.key].map((direction) => direction * step));
    } else if (event.key === "Enter") {
      this.events.point(...this.#shownCrosshair(), event.shiftKey ? false : null);
    } else if (event.key.toLowerCase() === "b") {
      this.#markCorner();
    } else if (event.key === "Escape" && this.#corner) {
      this.#corner = null;
      this.box = null;
      this.events.say("The box was dropped.");
    } else {
      return;
    }
    event.preventDefault();
    event.stopPropagation();
    this.events.redraw();
  }

  #shownCrosshair() {
    const [width, height] = this.events.size();
    this.crosshair ??= [Math.floor(width / 2), Math.floor(height / 2)];
    return this.crosshair;
  }

  #moveCrosshair([dx, dy]) {
    const [x, y] = this.#shownCrosshair();
    this.crosshair = this.viewport.clamp(x + dx, y + dy);
    if (this.#corner) this.box = this.#boxFromCorner();
    this.events.say(`Crosshair at ${this.crosshair.map(Math.round).join(", ")}.`);
  }

  #boxFromCorner() {
    const [ax, ay] = this.#corner;
    const [bx, by] = this.crosshair;
    return [Math.min(ax, bx), Math.min(ay, by), Math.max(ax, bx), Math.max(ay, by)];
  }

  #markCorner() {
    if (this.#corner) {
      const box = this.#boxFromCorner();
      this.#corner = null;
      this.box = null;
      this.#drawn(box);
    } else {
      this.#corner = this.#shownCrosshair();
      this.events.say("First corner of a box. Move the crosshair, then press B again.");
    }
  }

  #entered() {
    this.#shownCrosshair();
    this.events.redraw();
  }

  #left() {
    this.crosshair = null;
    this.#corner = null;
    this.box = null;
    this.events.redraw();
  }
}
