/** What takes the server a while: propagation, words, everything. */

import { ApiError } from "./api.js";

export class Running {
  #propagating = null; // the work whose objects are being followed, or null

  /**
   * @param {import("./jobs.js").JobPanel} panel
   * @param {(frame: number) => void} show goes to a frame without an end to following the run
   */
  constructor({ editor, panel, messages, show }) {
    Object.assign(this, { editor, panel, messages, show });
    this.following = false; // whether the picture follows the run
  }

  /** Whether the objects of a work are being followed: the server takes no prompts meanwhile. */
  isPropagating(work) {
    return this.#propagating === work;
  }

  /** @param {{direction: string, start?: number}} options */
  async propagate(options) {
    const { work } = this.editor;
    if (this.#busy()) return;
    if (work.objects.size === 0) {
      this.messages.report(new ApiError("Make an object first: click on it in the picture."));
      return;
    }
    await this.#report(async () => {
      const job = await work.inTurn(() => work.propagate(options));
      await this.#follow(work, job);
    });
  }

  /** Follows the run that the server was in when the page was loaded. */
  async takeUp() {
    const { work } = this.editor;
    if (work.runningJob) await this.#report(() => this.#follow(work, work.runningJob));
  }

  async #follow(work, jobId) {
    this.following = true;
    this.#propagating = work;
    this.messages.say("Propagating.");
    const job = await this.panel
      .run(jobId, "Propagating", "frames", (event) => {
        work.takeMasks(event);
        if (this.following && this.editor.work === work) this.show(event.frame);
      })
      .finally(() => {
        this.#propagating = null;
      });
    await work.refresh();
    work.changed();
    const how = job.status === "cancelled" ? "was cancelled" : "is finished";
    this.messages.say(`Propagation ${how}: ${job.done} frames.`);
  }

  async detect(text, threshold) {
    const words = [...new Set(text.split(/[,;\n]/).map((word) => word.trim()).filter(Boolean))];
    if (words.length === 0) {
      this.messages.report(new ApiError("Type what to look for, such as: red circle, bottle."));
      return;
    }
    const { editor } = this;
    const { work, frame } = editor;
    const count = await editor.add("the objects that were detected", (made) =>
      work.detect(frame, { words, threshold }, made),
    );
    if (count === null) return;
    this.messages.say(
      count
        ? `${counted(count)} found for ${words.join(", ")}.`
        : `Nothing scores ${threshold.toFixed(2)} or more for ${words.join(", ")}. ` +
            "Lower the score in the options, or use other words.",
    );
  }

  async everything(options) {
    if (this.#busy()) return;
    const { editor } = this;
    const { work, frame } = editor;
    const count = await editor.add("everything", async (made) => {
      const jobId = await work.everything(frame, options);
      const job = await this.panel.run(jobId, "Looking for everything", "points");
      if (job.status === "completed") await work.takeEverything(job.result.masks, frame, made);
    });
    if (count !== null) this.messages.say(`${counted(count)} found.`);
  }

  #busy() {
    if (this.panel.running) {
      this.messages.report(new ApiError("Another run is not finished. Wait for it or cancel it."));
    }
    return this.panel.running;
  }

  async #report(action) {
    try {
      await action();
    } catch (error) {
      this.messages.report(error);
    }
  }
}

function counted(number) {
  return number === 1 ? "1 object" : `${number} objects`;
}
