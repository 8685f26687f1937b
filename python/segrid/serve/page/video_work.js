/** A video. The server holds the session: its objects, and the masks of each frame. */

import { ApiError } from "./api.js";
import { hasPrompts, NO_PROMPTS, SAME, Work } from "./work.js";
import { keptWork } from "./stored.js";

export class VideoWork extends Work {
  #framesWithMasks = new Map(); // object's id -> Set of frames, whether their masks are here or not
  #asked = new Map(); // frame -> promise of its masks
  runningJob = null; // id of the job that follows the objects

  static async opened(api, answer, name) {
    const { session_id: id, width, height, frames, rate } = answer;
    if (frames === null) {
      throw new ApiError(
        "The video does not tell how many frames it has. Convert it, for example with " +
          "`ffmpeg -i in.avi out.mp4`, then open that file.",
      );
    }
    const title = name ?? keptWork(id)?.name ?? "video";
    const work = new VideoWork(api, { id, width, height, frames, rate, name: title });
    work.take(answer);
    work.recall();
    return work;
  }

  get isVideo() {
    return true;
  }

  get path() {
    return `v1/sessions/${this.id}`;
  }

  picture(frame, longSide, signal) {
    return this.api.blob(`${this.path}/frames/${frame}${this.reducedTo(longSide)}`, { signal });
  }

  /** Takes the server's account of the session. */
  take(answer) {
    this.runningJob = answer.job_id ?? null;
    for (const { object_id: id, name, color, frames_with_masks: frames } of answer.objects) {
      this.put({ ...this.objects.get(id), id, name: name || `object ${id}`, color });
      this.#framesWithMasks.set(id, new Set(frames));
    }
    for (const id of [...this.objects.keys()]) {
      const isKnown = answer.objects.some((object) => object.object_id === id);
      if (!isKnown && !this.objects.get(id).unsent) this.drop(id);
    }
  }

  async refresh() {
    this.take(await this.api.get(this.path));
  }

  hasMask(id, frame) {
    return this.#framesWithMasks.get(id)?.has(frame) ?? false;
  }

  /** Fetches the masks of a frame where they are not here yet. */
  async loadMasks(frame) {
    const missing = [...this.objects.keys()].some(
      (id) => this.hasMask(id, frame) && !this.masksOf(frame).has(id),
    );
    if (!missing) return;
    if (!this.#asked.has(frame)) {
      const asked = this.api
        .get(`${this.path}/frames/${frame}/masks`)
        .then((answer) => this.takeMasks(answer))
        .finally(() => this.#asked.delete(frame));
      this.#asked.set(frame, asked);
    }
    await this.#asked.get(frame);
  }

  /** Takes masks of one frame: the answer above, or an event of a job. */
  takeMasks({ frame, masks }) {
    for (const [key, { mask, score }] of Object.entries(masks)) {
      const id = Number(key);
      if (this.objects.has(id)) this.#show(id, frame, mask, score);
    }
    this.changed();
  }

  /** A new object; the server hears of it with its first prompt, and then gives its colour. */
  create(name = "") {
    const id = this.newId();
    this.put({ id, name: name || `object ${id}`, color: [150, 150, 150], unsent: true });
    return id;
  }

  async send(id, frame, prompts) {
    const object = this.objects.get(id);
    if (!object) return; // it was deleted before its turn came
    if (!hasPrompts(prompts)) {
      await this.#clear(id, frame);
      return;
    }
    const body = { object_id: id, frame, replace: true };
    if (prompts.points.length) Object.assign(body, { points: prompts.points, labels: prompts.labels });
    if (prompts.box) body.box = prompts.box;
    if (prompts.mask && !prompts.points.length && !prompts.box) body.mask = prompts.mask;
    if (object.unsent) body.name = object.name;
    const answer = await this.api.post(`${this.path}/objects`, body);
    object.unsent = false;
    object.color = answer.color;
    this.#show(id, frame, answer.mask, answer.score);
  }

  /** Without any prompt left the object goes: a session has no object that nothing shows. */
  async #clear(id, frame) {
    const object = this.objects.get(id);
    if (object.unsent) return;
    if (this.promptedFrames(id).length === 0) {
      await this.api.delete(`${this.path}/objects/${id}`);
      const { name, color } = object;
      this.drop(id);
      this.#framesWithMasks.delete(id);
      this.put({ id, name, color, unsent: true });
      return;
    }
    await this.api.delete(`${this.path}/objects/${id}/prompts?frame=${frame}`);
    await this.refresh();
    this.dropMask(id, frame); // it may stay, as one that was followed, or an earlier one comes back
    await this.loadMasks(frame);
  }

  async rename(id, name) {
    const object = this.objects.get(id);
    await this.inTurn(async () => {
      if (!object.unsent) await this.api.patch(`${this.path}/objects/${id}`, { name });
    });
    object.name = name;
    this.changed();
  }

  async remove(id) {
    const object = this.objects.get(id);
    await this.inTurn(async () => {
      if (!object.unsent) await this.api.delete(`${this.path}/objects/${id}`);
    });
    this.#framesWithMasks.delete(id);
    const saved = this.drop(id);
    this.keep();
    return saved;
  }

  /** Brings a deleted object back with its prompts; its masks in other frames need a new run. */
  async restore({ object, prompts }) {
    this.put({ ...object, unsent: true });
    for (const [frame, given] of prompts) await this.prompt(object.id, frame, given);
  }

  /** Objects in this frame of the things that the words name; made() is told their ids. */
  async detect(frame, { words, threshold }, made) {
    const { image, scale } = await this.#asImage(frame);
    const { detections } = await this.api.post(`v1/images/${image}/detect`, {
      prompts: words, threshold, masks: false, nms: SAME,
    });
    for (const { label, box } of detections) {
      await this.#make(label, frame, { ...NO_PROMPTS, box: this.#scaled(box, scale) }, made);
    }
  }

  async everything(frame, options) {
    const { image } = await this.#asImage(frame);
    const job = await this.api.post(`v1/images/${image}/everything`, { ...options, wait: false });
    return job.job_id;
  }

  async takeEverything(masks, frame, made) {
    for (const { mask, box } of masks) {
      const scale = this.width / mask.size[1];
      // A mask must have the video's size: of a smaller picture its box is the prompt. A mask's box
      // ends at its last pixels, which are part of it.
      const [x0, y0, x1, y1] = box;
      const prompt = scale === 1 ? { mask } : { box: this.#scaled([x0, y0, x1 + 1, y1 + 1], scale) };
      await this.#make("", frame, { ...NO_PROMPTS, ...prompt }, made);
    }
  }

  /** A box of a smaller picture, in pixels of the video and inside it. */
  #scaled(box, scale) {
    return box.map((value, i) => Math.min(value * scale, i % 2 ? this.height : this.width));
  }

  /** An object that the server refuses does not stay in the list. */
  async #make(name, frame, prompts, made) {
    const id = this.create(name);
    try {
      await this.prompt(id, frame, prompts);
    } catch (error) {
      this.drop(id);
      throw error;
    }
    made(id);
  }

  /** A frame as an image of the server, for the models that know images only; and how many times
   *  as large the video is, of which the server may keep smaller frames. */
  async #asImage(frame) {
    const longSide = Math.max(this.width, this.height);
    const picture = await this.picture(frame, longSide);
    const answer = await this.api.upload("v1/images", picture, { progress: () => {} });
    return { image: answer.image_id, scale: this.width / answer.width };
  }

  async propagate(options) {
    const job = await this.api.post(`${this.path}/propagate`, options);
    this.runningJob = job.job_id;
    return job.job_id;
  }

  firstPrompts() {
    return NO_PROMPTS;
  }

  #show(id, frame, rle, score) {
    this.setMask(id, frame, rle, 1 / (1 + Math.exp(-score))); // the server's is a logit
    if (!this.#framesWithMasks.has(id)) this.#framesWithMasks.set(id, new Set());
    this.#framesWithMasks.get(id).add(frame);
  }

  remembered() {
    return { ...super.remembered(), kind: "video" };
  }
}
