/** Jobs of the server: their events, taken up again after a lost connection, and the progress. */

import { ApiError } from "./api.js";

const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 8000;
const TRIES = 8; // one after the other without any event

/**
 * Hands on the events of a job until it ends.
 * @param {{progress: (job: object) => void, masks: (event: object) => void,
 *   lost: (error: Error) => void}} handle lost() is called when the connection was lost
 * @returns {Promise<object>} the job as it ended; one that failed throws its error
 */
export async function follow(api, jobId, handle, signal) {
  let [last, failures] = [0, 0];
  for (;;) {
    try {
      for await (const { id, event, data } of api.events(jobId, last, signal)) {
        last = Math.max(last, id);
        failures = 0;
        if (event === "progress") handle.progress(data);
        else if (event === "masks") handle.masks(data);
        else if (event === "end") return ended(data);
      }
      throw new ApiError("The connection ended before the job did.");
    } catch (error) {
      const passing = error instanceof ApiError && (error.status === 0 || error.status >= 502);
      failures += 1;
      if (!passing || failures > TRIES) throw error;
      handle.lost(error);
      await new Promise((resolve) => {
        setTimeout(resolve, Math.min(FIRST_WAIT_MS * 2 ** failures, LONGEST_WAIT_MS));
      });
    }
  }
}

function ended(job) {
  if (job.status !== "failed") return job;
  throw new ApiError(job.error?.message || "The job failed, and the server gave no reason.", {
    status: 500,
  });
}

/** The bar with frames per second, the time that is left, and a button that cancels. */
export class JobPanel {
  /** @param {{panel: HTMLElement, title: HTMLElement, bar: HTMLProgressElement,
   *   figures: HTMLElement, cancel: HTMLButtonElement}} parts */
  constructor(parts, api, messages) {
    Object.assign(this, { ...parts, api, messages });
    this.cancel.addEventListener("click", () => this.#cancel());
  }

  get running() {
    return !this.panel.hidden;
  }

  /**
   * Follows a job in the panel.
   * @param {string} unit of its progress: "frames", "points"
   */
  async run(jobId, title, unit, masks = () => {}) {
    this.jobId = jobId;
    this.title.textContent = title;
    this.figures.textContent = "starting";
    this.bar.removeAttribute("value");
    this.cancel.disabled = false;
    this.panel.hidden = false;
    try {
      const job = await follow(this.api, jobId, {
        progress: (state) => this.#show(state, unit),
        lost: () => {
          this.figures.textContent = "connection lost, trying again";
        },
        masks,
      });
      return job;
    } finally {
      this.panel.hidden = true;
    }
  }

  #show({ progress, done, total, rate, eta_s: left }, unit) {
    this.bar.value = progress;
    const parts = [total ? `${done} of ${total} ${unit}` : `${Math.round(progress)} %`];
    if (rate) parts.push(`${rate < 10 ? rate.toFixed(1) : Math.round(rate)} ${unit}/s`);
    if (left !== null) parts.push(`${inWords(left)} left`);
    this.figures.textContent = parts.join(" · ");
  }

  async #cancel() {
    this.cancel.disabled = true;
    this.figures.textContent = "cancelling";
    try {
      await this.api.delete(`v1/jobs/${this.jobId}`);
    } catch (error) {
      this.cancel.disabled = false;
      this.messages.report(error);
    }
  }
}

function inWords(seconds) {
  if (seconds < 60) return `${Math.ceil(seconds)} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ${Math.floor(seconds % 60)} s`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}
