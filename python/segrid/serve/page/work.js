/**
 * What is worked on: an image or a video with its objects, their prompts and masks. ImageWork and
 * VideoWork say how the server answers prompts; the rest of the page sees only what is here.
 *
 * An object: {id, name, color: [r, g, b], visible}
 * Prompts of an object in a frame: {points: [[x, y]], labels: [1 | 0], box: [x1, y1, x2, y2] | null,
 * mask: RLE | null}, in pixels of the image or video.
 */

import { Mask } from "./mask.js";
import { keepWork, keptWork } from "./stored.js";

export const SAME = 0.5; // IoU of two boxes from which on words mean one object
export const NO_PROMPTS = Object.freeze({ points: [], labels: [], box: null, mask: null });

export function hasPrompts(prompts) {
  return prompts.points.length > 0 || prompts.box !== null || prompts.mask !== null;
}

export class Work extends EventTarget {
  objects = new Map(); // id -> object
  #prompts = new Map(); // id -> Map of frame -> prompts
  #masks = new Map(); // frame -> Map of id -> Mask
  #latest = new Map(); // "id frame" -> number of the last prompts, so that older ones are not sent
  #queue = Promise.resolve();
  #unkept = false;

  /**
   * @param {{id: string, name: string, width: number, height: number, frames: number,
   *   rate: number}} source
   */
  constructor(api, source) {
    super();
    this.api = api;
    Object.assign(this, source);
  }

  get isVideo() {
    return false;
  }

  /** Fetches the masks of a frame where the server has them and the page does not. */
  async loadMasks(_frame) {}

  changed() {
    this.dispatchEvent(new Event("change"));
  }

  // ------------------------------------------------------------------------- objects

  newId() {
    let id = 1;
    while (this.objects.has(id)) id += 1;
    return id;
  }

  put(object) {
    this.objects.set(object.id, { visible: true, ...object });
    this.changed();
  }

  /** Takes the object out of the page, without a call. Returns what `restore` takes. */
  drop(id) {
    const saved = {
      object: this.objects.get(id),
      prompts: new Map(this.#prompts.get(id)),
      masks: new Map(),
    };
    for (const [frame, masks] of this.#masks) {
      if (masks.has(id)) saved.masks.set(frame, masks.get(id));
      masks.delete(id);
    }
    this.objects.delete(id);
    this.#prompts.delete(id);
    this.changed();
    return saved;
  }

  // ------------------------------------------------------------------------- prompts

  promptsOf(id, frame) {
    return this.#prompts.get(id)?.get(frame) ?? NO_PROMPTS;
  }

  /** @returns {number[]} the frames in which the object has prompts, ascending */
  promptedFrames(id) {
    return [...(this.#prompts.get(id)?.keys() ?? [])].sort((a, b) => a - b);
  }

  setPrompts(id, frame, prompts) {
    if (!this.#prompts.has(id)) this.#prompts.set(id, new Map());
    if (hasPrompts(prompts)) this.#prompts.get(id).set(frame, prompts);
    else this.#prompts.get(id).delete(frame);
    this.changed();
  }

  /**
   * Shows the prompts at once and asks for the mask. Prompts that newer ones have replaced before
   * their turn are not sent. Where the server refuses them, the earlier ones come back.
   */
  async prompt(id, frame, prompts) {
    const key = `${id} ${frame}`;
    const number = (this.#latest.get(key) ?? 0) + 1;
    const before = this.promptsOf(id, frame);
    this.#latest.set(key, number);
    this.setPrompts(id, frame, prompts);
    await this.inTurn(async () => {
      if (this.#latest.get(key) !== number) return;
      try {
        await this.send(id, frame, prompts);
      } catch (error) {
        if (this.#latest.get(key) === number) this.setPrompts(id, frame, before);
        throw error;
      }
    });
    this.keep();
    this.changed();
  }

  /** The query of a picture whose long side is reduced; none where it is not. */
  reducedTo(longSide) {
    return longSide < Math.max(this.width, this.height) ? `?long_side=${longSide}` : "";
  }

  /** Calls that change the server's state go one after the other, in the order of the clicks. */
  inTurn(call) {
    const turn = this.#queue.then(call);
    this.#queue = turn.catch(() => {});
    return turn;
  }

  // ------------------------------------------------------------------------- masks

  masksOf(frame) {
    return this.#masks.get(frame) ?? new Map();
  }

  hasMask(id, frame) {
    return this.#masks.get(frame)?.has(id) ?? false;
  }

  setMask(id, frame, rle, score) {
    if (!this.#masks.has(frame)) this.#masks.set(frame, new Map());
    this.#masks.get(frame).set(id, new Mask(rle, score));
  }

  dropMask(id, frame) {
    this.#masks.get(frame)?.delete(id);
  }

  /** The object whose mask holds the point; of several, that with the smallest mask. */
  objectAt(x, y, frame) {
    let found = null;
    for (const [id, mask] of this.masksOf(frame)) {
      if (!this.objects.get(id)?.visible || !mask.contains(x, y)) continue;
      if (found === null || mask.area < found.area) found = { id, area: mask.area };
    }
    return found?.id ?? null;
  }

  // ------------------------------------------------------------------------- between loads

  /** What `recall` needs after a reload; ImageWork adds objects and masks. */
  remembered() {
    const prompts = [...this.#prompts].map(([id, frames]) => [id, [...frames]]);
    return { name: this.name, prompts };
  }

  /** Where the browser has no room for it, "unkept" is told, once. */
  keep() {
    const kept = keepWork(this.id, this.remembered());
    if (!kept && !this.#unkept) this.dispatchEvent(new Event("unkept"));
    this.#unkept = !kept;
  }

  recall() {
    const kept = keptWork(this.id);
    for (const [id, frames] of kept?.prompts ?? []) {
      if (this.objects.has(id)) this.#prompts.set(id, new Map(frames));
    }
    return kept;
  }
}
