/** The picture that is shown: loads the frame and its masks, and gives the canvas its scene. */

import { Canvas } from "./canvas.js";
import { Frames } from "./frames.js";
import { Viewport } from "./viewport.js";

const SHARPEN_MS = 200;
const NO_OBJECT = [255, 255, 255]; // colour of a box before its object is there

export class Stage {
  viewport = new Viewport();
  playing = false; // prompts and the selection are not drawn meanwhile
  frames = null; // the pictures of the work that is open
  #shown = null; // {frame, picture} on the canvas
  #wanted = null; // the frame that is awaited
  #later = 0; // timer of #sharpen

  /** @param {() => {box: number[] | null, crosshair: number[] | null}} pointing */
  constructor(element, { editor, messages, pointing }) {
    Object.assign(this, { editor, messages, pointing });
    this.canvas = new Canvas(element, this.viewport, () => this.#scene());
    editor.addEventListener("work", () => this.#open());
    editor.addEventListener("change", () => this.canvas.draw());
    new ResizeObserver(() => this.redraw()).observe(element);
  }

  #open() {
    const { work } = this.editor;
    this.frames?.close();
    this.viewport.setSize(work.width, work.height);
    this.frames = new Frames(work, this.#longSide());
    this.#shown = null;
    this.#wanted = null;
    this.show(0);
  }

  /** Shows a frame as soon as it is there. Frames that are asked for meanwhile replace it. */
  async show(frame) {
    this.editor.goTo(frame);
    const idle = this.#wanted === null;
    this.#wanted = frame;
    if (idle) await this.#load(this.editor.work);
  }

  async #load(work) {
    while (this.#wanted !== null && this.editor.work === work) {
      const frame = this.#wanted;
      try {
        const [picture] = await Promise.all([this.frames.get(frame), work.loadMasks(frame)]);
        if (this.editor.work === work) this.#shown = { frame, picture };
      } catch (error) {
        this.messages.report(error);
      }
      if (this.editor.work !== work) return;
      this.canvas.draw();
      if (this.#wanted === frame) this.#wanted = null;
    }
  }

  /** The pixels that the longer side of the picture takes on the screen. */
  #longSide() {
    const { width, height } = this.editor.work;
    return Math.max(width, height) * this.viewport.scale * devicePixelRatio;
  }

  /** Draws again after a change of zoom or position; a while later with more pixels if needed. */
  redraw() {
    this.canvas.draw();
    clearTimeout(this.#later);
    this.#later = setTimeout(() => this.#sharpen(), SHARPEN_MS);
  }

  #sharpen() {
    if (!this.editor.work || this.frames.suffice(this.#longSide())) return;
    this.frames.close();
    this.frames = new Frames(this.editor.work, this.#longSide());
    this.show(this.editor.frame);
  }

  #scene() {
    const { work, selected } = this.editor;
    if (!work || !this.#shown) return null;
    const { frame, picture } = this.#shown;
    const marked = this.playing ? null : selected;
    const masks = [...work.masksOf(frame)]
      .filter(([id, mask]) => work.objects.get(id)?.visible && !mask.empty)
      .map(([id, mask]) => ({ mask, color: work.objects.get(id).color, selected: id === marked }))
      .sort((a, b) => a.selected - b.selected || b.mask.area - a.mask.area);
    return {
      picture,
      width: work.width,
      height: work.height,
      masks,
      prompts: work.promptsOf(marked, frame),
      color: work.objects.get(selected)?.color ?? NO_OBJECT,
      ...this.pointing(),
    };
  }

  zoom(factor) {
    this.viewport.zoom(factor);
    this.redraw();
  }

  fit() {
    this.viewport.fit();
    this.canvas.draw();
  }
}
