/** An image. The server knows the picture; its objects are kept here, in the browser. */

import { hasPrompts, SAME, Work } from "./work.js";
import { keptWork } from "./stored.js";

const COLORS = [
  [64, 156, 255], [255, 107, 74], [62, 207, 142], [255, 192, 46],
  [182, 120, 255], [255, 95, 168], [33, 199, 217], [163, 209, 59],
];

export class ImageWork extends Work {
  #found = new Map(); // id -> {rle, score} as "detect" or "everything" found it

  static async opened(api, answer, name) {
    const { image_id: id, width, height } = answer;
    const kept = keptWork(id);
    const work = new ImageWork(api, {
      id, width, height, frames: 1, rate: 0, name: name ?? kept?.name ?? "image",
    });
    work.recall();
    return work;
  }

  get path() {
    return `v1/images/${this.id}`;
  }

  picture(_frame, longSide, signal) {
    return this.api.blob(`${this.path}/picture${this.reducedTo(longSide)}`, { signal });
  }

  create(name = "") {
    const id = this.newId();
    this.put({ id, name: name || `object ${id}`, color: COLORS[(id - 1) % COLORS.length] });
    return id;
  }

  async send(id, frame, prompts) {
    if (!hasPrompts(prompts)) {
      const found = this.#found.get(id);
      if (found) this.#show(id, found.rle, found.score);
      else this.dropMask(id, 0);
      return;
    }
    const body = {};
    if (prompts.points.length) Object.assign(body, { points: prompts.points, labels: prompts.labels });
    if (prompts.box) body.boxes = [prompts.box];
    const { masks } = await this.api.post(`${this.path}/predict`, body);
    this.#show(id, masks[0].mask, masks[0].score);
  }

  async rename(id, name) {
    this.objects.get(id).name = name;
    this.keep();
    this.changed();
  }

  async remove(id) {
    const found = this.#found.get(id);
    const saved = { ...this.drop(id), found };
    this.#found.delete(id);
    this.keep();
    return saved;
  }

  async restore(saved) {
    const { object, prompts, masks, found } = saved;
    this.put(object);
    if (found) this.#found.set(object.id, found);
    for (const [frame, given] of prompts) this.setPrompts(object.id, frame, given);
    for (const [frame, mask] of masks) this.setMask(object.id, frame, mask.rle, mask.score);
    this.keep();
    this.changed();
  }

  /** Objects of the things that the words name; made() is told their ids. */
  async detect(_frame, { words, threshold }, made) {
    const { detections } = await this.api.post(`${this.path}/detect`, {
      prompts: words, threshold, masks: true, nms: SAME,
    });
    this.#take(detections, made);
  }

  /** Starts "everything". @returns {Promise<string>} the job's id */
  async everything(_frame, options) {
    const job = await this.api.post(`${this.path}/everything`, { ...options, wait: false });
    return job.job_id;
  }

  /** Objects of what the job found. */
  takeEverything(masks, _frame, made) {
    this.#take(masks, made);
  }

  #take(things, made) {
    for (const { label, score, box, mask } of things) {
      const id = this.create(label);
      this.#found.set(id, { rle: mask, score, box });
      this.#show(id, mask, score);
      made(id);
    }
    this.keep();
    this.changed();
  }

  /** The box that clicks on a found object are sent with, so that they correct its mask. */
  firstPrompts(id) {
    const found = this.#found.get(id);
    return { points: [], labels: [], box: found?.box ?? null, mask: null };
  }

  #show(id, rle, score) {
    if (!this.objects.has(id)) return; // it was deleted while the server worked
    this.setMask(id, 0, rle, score);
    this.changed();
  }

  remembered() {
    const objects = [...this.objects.values()].map((object) => {
      const { rle = null, score = null } = this.masksOf(0).get(object.id) ?? {};
      return { ...object, rle, score, found: this.#found.get(object.id) ?? null };
    });
    return { ...super.remembered(), kind: "image", objects };
  }

  recall() {
    for (const { rle, score, found, ...object } of keptWork(this.id)?.objects ?? []) {
      this.put(object);
      if (found) this.#found.set(object.id, found);
      if (rle) this.setMask(object.id, 0, rle, score);
    }
    return super.recall();
  }
}
