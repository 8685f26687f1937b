/** Draws the picture with masks, prompts, the box being dragged and the crosshair. */

const FILL = 0.36; // opacity of masks
const FILL_SELECTED = 0.5;
const POINT = 6; // radius in CSS pixels

export class Canvas {
  #asked = false;

  /**
   * @param {() => object | null} scene gives what to draw: {picture, masks: [{mask, color,
   *   selected}], prompts, color, box, crosshair}; null draws nothing
   */
  constructor(element, viewport, scene) {
    this.element = element;
    this.viewport = viewport;
    this.scene = scene;
    this.context = element.getContext("2d");
    new ResizeObserver(() => this.#resize()).observe(element);
    this.#resize();
  }

  /** Draws in the next frame of the screen, once for all that ask. */
  draw() {
    if (this.#asked) return;
    this.#asked = true;
    requestAnimationFrame(() => {
      this.#asked = false;
      this.#draw();
    });
  }

  #resize() {
    const { clientWidth: width, clientHeight: height } = this.element;
    this.element.width = Math.round(width * devicePixelRatio);
    this.element.height = Math.round(height * devicePixelRatio);
    this.viewport.setRoom(width, height);
    this.#draw(); // at once: a canvas of another size is empty
  }

  #draw() {
    const { context, viewport, element } = this;
    context.setTransform(devicePixelRatio, 0, 0, devicePixelRatio, 0, 0);
    context.clearRect(0, 0, element.width, element.height);
    const scene = this.scene();
    if (!scene) return;
    const { scale, left, top } = viewport;
    if (scene.picture) {
      context.imageSmoothingEnabled = scale < 3;
      context.imageSmoothingQuality = "high";
      context.drawImage(scene.picture, left, top, scene.width * scale, scene.height * scale);
    }
    for (const item of scene.masks) this.#drawMask(item);
    this.#drawPrompts(scene.prompts, scene.color);
    if (scene.box) this.#drawBox(scene.box, scene.color, [5, 4]);
    if (scene.crosshair) this.#drawCrosshair(...scene.crosshair);
  }

  #drawMask({ mask, color, selected }) {
    const { context, viewport } = this;
    context.save();
    context.translate(viewport.left, viewport.top);
    context.scale(viewport.scale, viewport.scale);
    const path = mask.path;
    context.fillStyle = css(color, selected ? FILL_SELECTED : FILL);
    context.fill(path, "evenodd");
    context.lineJoin = "round";
    // A border around the line keeps it visible on a ground of the same colour.
    context.lineWidth = (selected ? 4.5 : 3) / viewport.scale;
    context.strokeStyle = selected ? "rgb(255 255 255 / 0.9)" : "rgb(0 0 0 / 0.5)";
    context.stroke(path);
    context.lineWidth = (selected ? 2.5 : 1.5) / viewport.scale;
    context.strokeStyle = css(color, 1);
    context.stroke(path);
    context.restore();
  }

  #drawPrompts({ points, labels, box }, color) {
    if (box) this.#drawBox(box, color, []);
    points.forEach(([x, y], i) => this.#drawPoint(x, y, labels[i]));
  }

  /** A plus on green adds, a minus on red takes away: shape and colour both say it. */
  #drawPoint(px, py, label) {
    const { context } = this;
    const [x, y] = this.viewport.toCanvas(px, py);
    context.beginPath();
    context.arc(x, y, POINT + 1.5, 0, 2 * Math.PI);
    context.fillStyle = "#fff";
    context.fill();
    context.beginPath();
    context.arc(x, y, POINT, 0, 2 * Math.PI);
    context.fillStyle = label ? "#12813f" : "#c62828";
    context.fill();
    context.beginPath();
    context.moveTo(x - 3, y);
    context.lineTo(x + 3, y);
    if (label) {
      context.moveTo(x, y - 3);
      context.lineTo(x, y + 3);
    }
    context.lineWidth = 1.75;
    context.strokeStyle = "#fff";
    context.stroke();
  }

  #drawBox([x1, y1, x2, y2], color, dashes) {
    const { context, viewport } = this;
    const [left, top] = viewport.toCanvas(x1, y1);
    const [right, bottom] = viewport.toCanvas(x2, y2);
    for (const [width, style] of [[3.5, "rgb(0 0 0 / 0.55)"], [1.75, css(color, 1)]]) {
      context.setLineDash(dashes);
      context.lineWidth = width;
      context.strokeStyle = style;
      context.strokeRect(left, top, right - left, bottom - top);
    }
    context.setLineDash([]);
  }

  #drawCrosshair(px, py) {
    const { context } = this;
    const [x, y] = this.viewport.toCanvas(px, py);
    for (const [width, style] of [[3.5, "rgb(0 0 0 / 0.7)"], [1.5, "#fff"]]) {
      context.beginPath();
      for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
        context.moveTo(x + 4 * dx, y + 4 * dy);
        context.lineTo(x + 16 * dx, y + 16 * dy);
      }
      context.lineWidth = width;
      context.strokeStyle = style;
      context.stroke();
    }
  }
}

function css([red, green, blue], alpha) {
  return `rgb(${red} ${green} ${blue} / ${alpha})`;
}
