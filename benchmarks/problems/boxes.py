"""Twenty boxes on an encoded image to masks at the image's size. Run through benchmarks/run.py."""

import numpy as np

from benchmarks.problems.everything import photo
from benchmarks.problems.job import begin, end
from benchmarks.problems.steps import timed

BOXES = 20


def boxes(size):
    """Seeded boxes of a tenth to a half of the image."""
    rng = np.random.default_rng(5)
    extent = rng.uniform(0.1, 0.5, (BOXES, 2)) * size
    corner = rng.uniform(0, 1, (BOXES, 2)) * (np.array(size) - extent)
    return np.concatenate([corner, corner + extent], 1).astype(np.float32)


def main():
    job, a, subject = begin()
    image, _ = photo(tuple(a["size"]))
    subject.encode(image)
    seconds, masks = timed(5, lambda: subject.boxes(boxes(a["size"])))
    np.savez_compressed(job["out"] + ".npz", masks=masks)
    end(job, seconds, len(masks), {"boxes": seconds})


if __name__ == "__main__":
    main()
