"""Twenty boxes on an encoded image to masks at the image's size. Run through benchmarks/run.py."""

import json
import os
from importlib import import_module
from pathlib import Path

import numpy as np

from benchmarks.problems.everything import photo
from benchmarks.problems.steps import timed

BOXES = 20


def boxes(size):
    """Seeded boxes of a tenth to a half of the image."""
    rng = np.random.default_rng(5)
    extent = rng.uniform(0.1, 0.5, (BOXES, 2)) * size
    corner = rng.uniform(0, 1, (BOXES, 2)) * (np.array(size) - extent)
    return np.concatenate([corner, corner + extent], 1).astype(np.float32)


def main():
    job = json.loads(os.environ["SEGRID_BENCHMARK"])
    a = job["arguments"]
    subject = import_module(f"benchmarks.subjects.{job['subject']}").Subject(a["model"], job["threads"], a["precision"])
    image, _ = photo(tuple(a["size"]))
    subject.encode(image)
    seconds, masks = timed(5, lambda: subject.boxes(boxes(a["size"])))
    np.savez_compressed(job["out"] + ".npz", masks=masks)
    Path(job["out"]).write_text(json.dumps({"seconds": seconds, "memory_mb": 0, "count": len(masks), "stages": {"boxes": seconds}}))


if __name__ == "__main__":
    main()
