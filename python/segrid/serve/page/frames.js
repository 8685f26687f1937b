/** Pictures of frames, decoded, those that were used last. */

const BYTES = 200e6; // of decoded pixels that are kept
const SIDES = [512, 1024, 1536, 2048, 3072, 4096]; // of pictures that are asked for

export class Frames {
  #kept = new Map(); // frame -> Promise<ImageBitmap>, the latest used last
  #ready = new Map(); // frame -> ImageBitmap

  /** @param {number} shown the most pixels that a side takes on the screen */
  constructor(work, shown) {
    this.work = work;
    const whole = Math.max(work.width, work.height);
    this.longSide = Math.min(SIDES.find((side) => side >= shown) ?? SIDES.at(-1), whole);
    const scale = this.longSide / whole;
    const bytes = 4 * work.width * work.height * scale * scale;
    this.room = Math.max(3, Math.floor(BYTES / bytes));
  }

  /** Whether these pictures have enough pixels for a side of `shown`. */
  suffice(shown) {
    return this.longSide >= Math.min(shown, Math.max(this.work.width, this.work.height));
  }

  /** The picture if it is here already, else undefined. */
  ready(frame) {
    return this.#ready.get(frame);
  }

  get(frame) {
    let picture = this.#kept.get(frame);
    this.#kept.delete(frame);
    picture ??= this.#load(frame);
    this.#kept.set(frame, picture);
    for (const [old] of this.#kept) {
      if (this.#kept.size <= this.room) break;
      this.#forget(old);
    }
    return picture;
  }

  /** Fetches pictures that are about to be shown. */
  prefetch(first, count) {
    const end = Math.min(first + Math.min(count, this.room - 2), this.work.frames);
    for (let frame = first; frame < end; frame += 1) this.get(frame).catch(() => {});
  }

  close() {
    for (const frame of [...this.#kept.keys()]) this.#forget(frame);
  }

  async #load(frame) {
    try {
      const bitmap = await createImageBitmap(await this.work.picture(frame, this.longSide));
      if (this.#kept.has(frame)) this.#ready.set(frame, bitmap);
      return bitmap;
    } catch (error) {
      this.#kept.delete(frame); // so that the next call tries again
      throw error;
    }
  }

  #forget(frame) {
    this.#kept.delete(frame);
    this.#ready.delete(frame); // the bitmap may be on the screen: the browser frees it
  }
}
