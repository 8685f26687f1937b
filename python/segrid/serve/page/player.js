/** Plays the frames at the rate of the video; waits for those that have not come yet. */

const AHEAD = 12; // frames that are fetched before they are shown

export class Player {
  playing = false;
  #base = { time: 0, frame: 0 };
  #asked = -1; // the frame that is waited for

  /**
   * @param {{frames: () => import("./frames.js").Frames, show: (frame: number) => void,
   *   changed: () => void, failed: (error: Error) => void}} events
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
    this.#asked = -1;
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
        this.#ask(pictures, next);
      }
    }
    if (at === frames - 1) this.stop();
    else requestAnimationFrame((later) => this.#tick(later, at));
  }

  /** Asks for a frame once; one that does not come ends the play. */
  #ask(pictures, frame) {
    if (this.#asked === frame) return;
    this.#asked = frame;
    pictures.get(frame).catch((error) => {
      if (!this.playing || this.#asked !== frame) return;
      this.stop();
      this.events.failed(error);
    });
  }

  /** The clock stands while the next frame comes. */
  #wait(now, shown) {
    this.#base = { time: now - 1000 / (this.events.frames().work.rate || 25), frame: shown };
    return shown;
  }
}
