/** The picture that is shown: loads the frame and its masks, and gives the canvas its scene. */

import { Canvas } from "./canvas.js";
import { Frames } from "./frames.js";
import { Viewport } from "./viewport.js";

const NO_OBJECT = [255, 255, 255]; // colour of a box before its object is there

export class Stage {
  viewport = new Viewport();
  playing = false; // prompts and the selection are not drawn meanwhile
  frames = null; // the pictures of the work that is open
  #shown = null; // {frame, picture} on the canvas
  #wanted = null; // the frame that is awaited

  /** @param {() => {box: number[] | null, crosshair: number[] | null}} pointing */
  constructor(element, { editor, messages, pointing }) {
    Object.assign(this, { editor, messages, pointing });
    this.canvas = new Canvas(element, this.viewport, () => this.#scene());
    editor.addEventListener("work", () => this.#open());
    editor.addEventListener("change", () => this.canvas.draw());
  }

  #open() {
    const { work } = this.editor;
    this.frames?.close();
    this.frames = new Frames(work, this.canvas.longSide);
    this.#shown = null;
    this.#wanted = null;
    this.viewport.setSize(work.width, work.height);
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
        const [picture] = await Promise.all([this.#pictures().get(frame), work.loadMasks(frame)]);
        if (this.editor.work === work) this.#shown = { frame, picture };
      } catch (error) {
        this.messages.report(error);
      }
      if (this.editor.work !== work) return;
      this.canvas.draw();
      if (this.#wanted === frame) this.#wanted = null;
    }
  }

  /** Larger pictures are fetched where the window has grown. */
  #pictures() {
    if (!this.frames.suffice(this.canvas.longSide)) {
      this.frames.close();
      this.frames = new Frames(this.editor.work, this.canvas.longSide);
    }
    return this.frames;
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
    this.canvas.draw();
  }

  fit() {
    this.viewport.fit();
    this.canvas.draw();
  }
}
