/**
 * The timeline: one lane for each object, coloured where it has masks (a thin line where it is
 * lost), with a mark where it has prompts; a slider over the lanes, and the buttons beside it.
 */

const LANE = 7; // height in CSS pixels
const LANES = 8; // of more objects, those near the selected one are shown
const EDGE = 7; // from the slider's end to the middle of its thumb

export class Timeline {
  /**
   * @param {{slider: HTMLInputElement, lanes: HTMLCanvasElement, number: HTMLInputElement,
   *   total: HTMLElement, time: HTMLElement}} parts
   * @param {(frame: number) => void} go
   */
  constructor(parts, editor, go) {
    Object.assign(this, { ...parts, editor });
    this.slider.addEventListener("input", () => go(this.slider.valueAsNumber));
    this.number.addEventListener("change", () => {
      if (this.number.value !== "") go(this.number.valueAsNumber);
      this.show();
    });
    new ResizeObserver(() => this.show()).observe(this.lanes.parentElement);
    editor.addEventListener("work", () => this.#open());
    editor.addEventListener("change", () => this.show());
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.show());
  }

  #open() {
    const { frames } = this.editor.work;
    this.slider.max = frames - 1;
    this.number.max = frames - 1;
    this.total.textContent = frames - 1;
  }

  show() {
    const { work, frame } = this.editor;
    if (!work?.isVideo) return;
    this.slider.value = frame;
    if (document.activeElement !== this.number) this.number.value = frame;
    this.time.textContent = clock(frame / (work.rate || 25));
    this.slider.setAttribute("aria-valuetext", this.#inWords());
    this.#draw();
  }

  #inWords() {
    const { work, frame } = this.editor;
    const objects = [...work.objects.values()];
    const names = (list) => list.map((object) => object.name).join(", ");
    const prompted = objects.filter(({ id }) => work.promptedFrames(id).includes(frame));
    const masked = objects.filter(({ id }) => work.hasMask(id, frame));
    const parts = [`frame ${frame} of ${work.frames - 1}`];
    if (prompted.length) parts.push(`prompts on ${names(prompted)}`);
    if (masked.length) parts.push(`masks of ${names(masked)}`);
    return parts.join("; ");
  }

  /** The nearest frame with a prompt in that direction (1 or -1); undefined where there is none. */
  promptedFrom(direction) {
    const { work, frame } = this.editor;
    const all = [...work.objects.keys()].flatMap((id) => work.promptedFrames(id));
    const there = all.filter((other) => (other - frame) * direction > 0);
    return there.sort((a, b) => (a - b) * direction)[0];
  }

  #shownObjects() {
    const { work, selected } = this.editor;
    const objects = [...work.objects.values()];
    const at = Math.max(0, objects.findIndex(({ id }) => id === selected));
    const first = Math.min(Math.max(0, at - LANES + 2), Math.max(0, objects.length - LANES));
    return objects.slice(first, first + LANES);
  }

  #draw() {
    const { work } = this.editor;
    const objects = this.#shownObjects();
    const height = LANE * Math.max(2, objects.length) + 6;
    this.lanes.parentElement.style.height = `${height}px`;
    const width = this.lanes.parentElement.clientWidth;
    this.lanes.width = Math.round(width * devicePixelRatio);
    this.lanes.height = Math.round(height * devicePixelRatio);
    const context = this.lanes.getContext("2d");
    context.scale(devicePixelRatio, devicePixelRatio);
    const step = (width - 2 * EDGE) / Math.max(1, work.frames - 1);
    const middle = (frame) => EDGE + frame * step;
    const empty = getComputedStyle(this.lanes).color;
    for (let lane = 0; lane < Math.max(2, objects.length); lane += 1) {
      const y = 3 + lane * LANE;
      context.globalAlpha = 1;
      context.fillStyle = empty;
      context.fillRect(EDGE, y + 1, width - 2 * EDGE, LANE - 2);
      if (objects[lane]) this.#drawLane(context, objects[lane], { y, step, middle });
    }
  }

  #drawLane(context, { id, color, visible }, { y, step, middle }) {
    const { work, selected } = this.editor;
    context.fillStyle = `rgb(${color.join(" ")})`;
    context.globalAlpha = visible ? 1 : 0.35;
    const thick = id === selected ? 0 : 1;
    for (const { first, last, lost } of stretches(work, id)) {
      const left = Math.max(EDGE, middle(first) - step / 2);
      const right = Math.min(middle(work.frames - 1), middle(last) + step / 2);
      const inset = lost ? LANE / 2 - 0.75 : thick;
      context.fillRect(left, y + inset, Math.max(1, right - left), LANE - 2 * inset);
    }
    for (const frame of work.promptedFrames(id)) mark(context, middle(frame), y + LANE / 2);
  }
}

/** The stretches of frames in which an object has masks; `lost`: masks without any pixel. */
function stretches(work, id) {
  const found = [];
  for (let frame = 0; frame < work.frames; frame += 1) {
    if (!work.hasMask(id, frame)) continue;
    const lost = work.masksOf(frame).get(id)?.empty ?? false;
    const before = found.at(-1);
    if (before && before.last === frame - 1 && before.lost === lost) before.last = frame;
    else found.push({ first: frame, last: frame, lost });
  }
  return found;
}

function mark(context, x, y) {
  context.globalAlpha = 1;
  context.beginPath();
  context.arc(x, y, 3.25, 0, 2 * Math.PI);
  const fill = context.fillStyle;
  context.fillStyle = "#fff";
  context.fill();
  context.lineWidth = 1.5;
  context.strokeStyle = "#16181c";
  context.stroke();
  context.fillStyle = fill;
}

function clock(seconds) {
  const minutes = Math.floor(seconds / 60);
  return `${minutes}:${(seconds - 60 * minutes).toFixed(1).padStart(4, "0")}`;
}
