/** Where the picture lies on the canvas: zoom and position, in CSS pixels of the canvas. */

const MOST = 32; // screen pixels for one of the picture

export class Viewport {
  scale = 1;
  left = 0;
  top = 0;
  #fitted = true;
  #size = [1, 1]; // of the picture
  #room = [1, 1]; // of the canvas

  setSize(width, height) {
    this.#size = [width, height];
    this.fit();
  }

  setRoom(width, height) {
    this.#room = [width, height];
    if (this.#fitted) this.fit();
    else this.#keepInside();
  }

  fit() {
    this.scale = this.#least();
    this.#fitted = true;
    this.#keepInside();
  }

  /** Zooms so that the point of the picture below (x, y) stays there. */
  zoom(factor, x = this.#room[0] / 2, y = this.#room[1] / 2) {
    const [px, py] = this.toPicture(x, y);
    this.scale = Math.min(Math.max(this.scale * factor, this.#least()), MOST);
    this.left = x - px * this.scale;
    this.top = y - py * this.scale;
    this.#fitted = this.scale <= this.#least() * 1.001;
    this.#keepInside();
  }

  pan(dx, dy) {
    this.left += dx;
    this.top += dy;
    this.#keepInside();
  }

  toPicture(x, y) {
    return [(x - this.left) / this.scale, (y - this.top) / this.scale];
  }

  toCanvas(x, y) {
    return [this.left + x * this.scale, this.top + y * this.scale];
  }

  /** The nearest point inside the picture: coordinates of pixels, so below width and height. */
  clamp(x, y) {
    const [width, height] = this.#size;
    return [Math.min(Math.max(x, 0), width - 1), Math.min(Math.max(y, 0), height - 1)];
  }

  holds(x, y) {
    return x >= 0 && y >= 0 && x < this.#size[0] && y < this.#size[1];
  }

  #least() {
    return Math.min(this.#room[0] / this.#size[0], this.#room[1] / this.#size[1]);
  }

  #keepInside() {
    const place = (at, room, shown) =>
      shown <= room ? (room - shown) / 2 : Math.min(Math.max(at, room - shown), 0);
    this.left = place(this.left, this.#room[0], this.#size[0] * this.scale);
    this.top = place(this.top, this.#room[1], this.#size[1] * this.scale);
  }
}
