/**
 * What the user does to objects: prompts, names, deletions, and how each is undone. It tells
 * "change" (something else is to be drawn) and "work" (another image or video).
 */

import { hasPrompts } from "./work.js";

const STEPS = 200; // that can be undone

export class Editor extends EventTarget {
  work = null;
  frame = 0;
  selected = null; // id of the object that prompts go to; null makes a new one
  #history = []; // of {what, undo}

  /** @param {{report: (error: Error) => void, say: (text: string) => void}} messages */
  constructor(messages) {
    super();
    this.messages = messages;
  }

  open(work) {
    this.work = work;
    this.frame = 0;
    this.selected = work.objects.keys().next().value ?? null;
    this.#history = [];
    work.addEventListener("change", () => this.#changed());
    this.dispatchEvent(new Event("work"));
    this.#changed();
  }

  goTo(frame) {
    this.frame = frame;
    this.#changed();
  }

  #changed() {
    if (this.selected !== null && !this.work.objects.has(this.selected)) this.selected = null;
    this.dispatchEvent(new Event("change"));
  }

  /** Runs an action; its errors become messages. @returns {Promise<boolean>} whether it worked */
  async #attempt(action) {
    try {
      await action();
      return true;
    } catch (error) {
      this.messages.report(error);
      return false;
    }
  }

  #did(what, undo) {
    this.#history.push({ what, undo });
    if (this.#history.length > STEPS) this.#history.shift();
    this.#changed();
  }

  get canUndo() {
    return this.#history.length > 0;
  }

  async undo() {
    await this.work?.inTurn(() => {}); // a step is complete when its mask has come
    const step = this.#history.pop();
    if (!step) {
      this.messages.say("There is nothing to undo.");
      return;
    }
    if (await this.#attempt(step.undo)) this.messages.say(`Undone: ${step.what}.`);
    else this.#history.push(step); // it can be tried again
    this.#changed();
  }

  // ------------------------------------------------------------------------- prompts

  select(id) {
    this.selected = id;
    this.#changed();
    const object = this.work.objects.get(id);
    this.messages.say(object ? `${object.name} is selected.` : "The next click makes a new object.");
  }

  /** The next prompt makes a new object. */
  startNew() {
    this.select(null);
  }

  point(x, y, adds) {
    const { points, labels, ...rest } = this.#promptsToExtend();
    const whole = [Math.round(10 * x) / 10, Math.round(10 * y) / 10];
    return this.#prompt(adds ? "a point that adds" : "a point that takes away", {
      ...rest, mask: null, points: [...points, whole], labels: [...labels, adds ? 1 : 0],
    });
  }

  /** A box begins again: the clicks that the object has in this frame go. */
  box(box) {
    const whole = box.map((value) => Math.round(10 * value) / 10);
    return this.#prompt("a box", { points: [], labels: [], box: whole, mask: null });
  }

  #promptsToExtend() {
    const given = this.work.promptsOf(this.selected, this.frame);
    return hasPrompts(given) ? given : this.work.firstPrompts(this.selected);
  }

  async #prompt(what, prompts) {
    const { work, frame } = this;
    const made = this.selected === null;
    const id = made ? work.create() : this.selected;
    this.selected = id;
    const before = work.promptsOf(id, frame);
    const hadMask = work.hasMask(id, frame);
    const step = async () => {
      await work.prompt(id, frame, before);
      if (made) await work.remove(id);
    };
    if (!(await this.#attempt(() => work.prompt(id, frame, prompts)))) {
      if (made && work.objects.has(id)) await this.#attempt(() => work.remove(id));
      return;
    }
    this.#did(what, step);
    this.#tellMask(id, frame);
    if (work.isVideo && hadMask && !hasPrompts(before)) {
      this.dispatchEvent(new CustomEvent("corrected", { detail: { id, frame } }));
    }
  }

  #tellMask(id, frame) {
    const mask = this.work.masksOf(frame).get(id);
    const object = this.work.objects.get(id);
    if (!mask || !object) return;
    const part = (100 * mask.area) / (mask.width * mask.height);
    this.messages.say(
      mask.empty
        ? `The model finds nothing of ${object.name} here. Add a point or draw a box.`
        : `${object.name}: ${part.toFixed(1)} % of the picture, score ${mask.score.toFixed(2)}.`,
    );
  }

  // ------------------------------------------------------------------------- objects

  async rename(id, name) {
    const before = this.work.objects.get(id).name;
    if (!name || name === before) return;
    const { work } = this;
    if (await this.#attempt(() => work.rename(id, name))) {
      this.#did("a name", () => work.rename(id, before));
    }
  }

  toggleVisible(id) {
    const object = this.work.objects.get(id);
    object.visible = !object.visible;
    this.work.keep();
    this.#changed();
  }

  async remove(id) {
    const { work } = this;
    const { name } = work.objects.get(id);
    let saved = null;
    const removed = await this.#attempt(async () => {
      saved = await work.remove(id);
    });
    if (!removed) return;
    this.messages.say(`${name} was deleted.`);
    this.#did(`deletion of ${name}`, async () => {
      await work.restore(saved);
      this.select(id);
    });
  }

  /** Deletes all objects, in one step that can be undone. */
  async removeAll() {
    const { work } = this;
    const saved = [];
    await this.#attempt(async () => {
      for (const id of [...work.objects.keys()]) saved.push(await work.remove(id));
    });
    this.messages.say(`${saved.length} objects were deleted.`);
    this.#did("deletion of all objects", async () => {
      for (const each of saved) await work.restore(each);
    });
  }

  /**
   * Adds what words or "everything" find, as one step that can be undone. Where an error ends it,
   * the objects before it stay.
   * @param {(made: (id: number) => void) => Promise<void>} find calls made() for each new object
   * @returns {Promise<number | null>} how many; null after an error
   */
  async add(what, find) {
    const { work } = this;
    const ids = [];
    const complete = await this.#attempt(() => find((id) => ids.push(id)));
    const count = complete ? ids.length : null;
    if (ids.length === 0) return count;
    this.selected = ids[0];
    this.#did(what, async () => {
      for (const id of ids.filter((id) => work.objects.has(id))) await work.remove(id);
    });
    return count;
  }
}
