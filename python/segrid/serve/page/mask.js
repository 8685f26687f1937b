/**
 * A mask from COCO's run lengths: its outline as a path, which stays crisp at any size.
 */

const PATHS = 400; // that are kept, those that were drawn last
const drawn = new Set(); // the masks that have one

export class Mask {
  #path = null;

  /**
   * @param {{size: [number, number], counts: string | number[]}} rle column by column, the first
   *   run is of pixels that are not set; `counts` as pycocotools compresses them, or a plain list
   * @param {number} score that the model predicts for it
   */
  constructor(rle, score) {
    this.rle = rle;
    this.score = score;
    [this.height, this.width] = rle.size;
    this.counts = typeof rle.counts === "string" ? decompressed(rle.counts) : rle.counts;
    const total = this.counts.reduce((sum, run) => sum + run, 0);
    if (total !== this.height * this.width) {
      throw new Error(
        `A mask of ${this.height} x ${this.width} pixels came with runs of ${total} pixels.`,
      );
    }
    this.box = this.#boxOfRuns();
    this.area = this.counts.reduce((sum, run, i) => sum + (i % 2 ? run : 0), 0);
  }

  get empty() {
    return this.area === 0;
  }

  /** The outline along the edges of the pixels, to fill with the rule "evenodd". */
  get path() {
    this.#path ??= this.#outlines();
    drawn.delete(this);
    drawn.add(this);
    for (const oldest of drawn) {
      if (drawn.size <= PATHS) break;
      oldest.#path = null;
      drawn.delete(oldest);
    }
    return this.#path;
  }

  #outlines() {
    const path = new Path2D();
    for (const ring of this.rings()) {
      path.moveTo(ring[0], ring[1]);
      for (let i = 2; i < ring.length; i += 2) path.lineTo(ring[i], ring[i + 1]);
      path.closePath();
    }
    return path;
  }

  /** Whether the pixel that holds the point is set. */
  contains(x, y) {
    const [left, top, right, bottom] = this.box;
    if (this.empty || x < left || y < top || x >= right || y >= bottom) return false;
    const at = Math.floor(x) * this.height + Math.floor(y);
    let [run, end] = [0, this.counts[0]];
    while (end <= at) {
      run += 1;
      end += this.counts[run];
    }
    return run % 2 === 1;
  }

  /** Calls `visit(x, top, bottom)` for each run of set pixels of a column; bottom is past the end. */
  forEachRun(visit) {
    let at = 0;
    this.counts.forEach((run, i) => {
      if (i % 2) {
        for (let begin = at; begin < at + run; ) {
          const x = Math.floor(begin / this.height);
          const end = Math.min(at + run, (x + 1) * this.height);
          visit(x, begin - x * this.height, end - x * this.height);
          begin = end;
        }
      }
      at += run;
    });
  }

  /**
   * Corners of each outline as [x, y, x, y, ...]. It goes round each outline with the mask on its
   * right; pixels that touch at a corner alone are apart.
   */
  rings() {
    const rings = [];
    if (this.empty) return rings;
    const [left, top, right, bottom] = this.box;
    const { stride, set } = this.#set();
    const isSet = (x, y) => set[(x - left + 1) * stride + (y - top + 1)] === 1;
    const seen = new Uint8Array(set.length); // upper edges that an outline has passed
    for (let x = left; x < right; x += 1) {
      for (let y = top; y < bottom; y += 1) {
        const at = (x - left + 1) * stride + (y - top + 1);
        if (set[at] && !set[at - 1] && !seen[at]) {
          rings.push(
            outline(x, y, isSet, (px, py) => {
              seen[(px - left + 1) * stride + (py - top + 1)] = 1;
            }),
          );
        }
      }
    }
    return rings;
  }

  #boxOfRuns() {
    let [left, top, right, bottom] = [Infinity, Infinity, 0, 0];
    this.forEachRun((x, from, to) => {
      left = Math.min(left, x);
      right = Math.max(right, x + 1);
      top = Math.min(top, from);
      bottom = Math.max(bottom, to);
    });
    return right > 0 ? [left, top, right, bottom] : [0, 0, 0, 0];
  }

  /** The pixels of the box, column by column, with a border of one pixel that is not set. */
  #set() {
    const [left, top, right, bottom] = this.box;
    const stride = bottom - top + 2;
    const set = new Uint8Array((right - left + 2) * stride);
    this.forEachRun((x, from, to) => {
      const column = (x - left + 1) * stride;
      set.fill(1, column + from - top + 1, column + to - top + 1);
    });
    return { stride, set };
  }
}

const STEP = [[1, 0], [0, 1], [-1, 0], [0, -1]]; // east, south, west, north
// The pixels ahead of a corner, to the right and to the left of each direction.
const AHEAD_RIGHT = [[0, 0], [-1, 0], [-1, -1], [0, -1]];
const AHEAD_LEFT = [[0, -1], [0, 0], [-1, 0], [-1, -1]];

function outline(startX, startY, isSet, passUpperEdge) {
  const ring = [];
  let [x, y, direction] = [startX, startY, 0];
  do {
    if (direction === 0) passUpperEdge(x, y);
    x += STEP[direction][0];
    y += STEP[direction][1];
    const right = AHEAD_RIGHT[direction];
    const left = AHEAD_LEFT[direction];
    let turn = 0;
    if (!isSet(x + right[0], y + right[1])) turn = 1;
    else if (isSet(x + left[0], y + left[1])) turn = 3;
    if (turn) ring.push(x, y);
    direction = (direction + turn) % 4;
  } while (x !== startX || y !== startY || direction !== 0);
  return ring;
}

/** pycocotools' characters: 5 bits each, the sixth says that more follow; runs after the third
 * are differences to the run two before. */
function decompressed(text) {
  const counts = [];
  for (let at = 0; at < text.length; ) {
    let [value, shift, more] = [0, 0, true];
    while (more) {
      if (at === text.length) throw new Error("The run lengths of a mask end too early.");
      const bits = text.charCodeAt(at) - 48;
      at += 1;
      value |= (bits & 31) << shift;
      shift += 5;
      more = (bits & 32) !== 0;
      if (!more && bits & 16) value |= -1 << shift;
    }
    if (counts.length > 2) value += counts[counts.length - 2];
    counts.push(value);
  }
  return counts;
}
