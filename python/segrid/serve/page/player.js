/** Plays the frames at the rate of the video; waits for those that have not come yet. */

const AHEAD = 12; // frames that are fetched before they are shown

export class Player {
  playing = false;
  #base = { time: 0, frame: 0 };

  /**
   * @param {{frames: () => import("./frames.js").Frames, show: (frame: number) => void,
   *   changed: () => void}} events
   */
  constructor(events) {
    this.events = events;
  }

  toggle(frame) {
    if (this.playing) this.stop();
    else this.#start(frame);
  }

  stop() {
    this.playing = false;
    this.events.changed();
  }

  #start(frame) {
    const { work } = this.events.frames();
    this.playing = true;
    const first = frame === work.frames - 1 ? 0 : frame;
    this.#base = { time: performance.now(), frame: first };
    this.events.show(first);
    this.events.changed();
    requestAnimationFrame((now) => this.#tick(now, first));
  }

  #tick(now, shown) {
    if (!this.playing) return;
    const pictures = this.events.frames();
    const { frames, rate } = pictures.work;
    const due = this.#base.frame + Math.floor(((now - this.#base.time) * (rate || 25)) / 1000);
    const next = Math.min(due, frames - 1);
    let at = shown;
    if (next > shown) {
      pictures.prefetch(next, AHEAD);
      if (pictures.ready(next)) {
        at = next;
        this.events.show(at);
      } else {
        at = this.#wait(now, shown);
      }
    }
    if (at === frames - 1) this.stop();
    else requestAnimationFrame((later) => this.#tick(later, at));
  }

  /** The clock stands while the next frame comes. */
  #wait(now, shown) {
    this.#base = { time: now - 1000 / (this.events.frames().work.rate || 25), frame: shown };
    return shown;
  }
}
