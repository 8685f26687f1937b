"""The steps of segment everything one by one: encoder, 64 prompts of three masks, one click, logits
to runs. Run through benchmarks/run.py."""

import statistics
import time

import numpy as np

from benchmarks.problems.everything import photo
from benchmarks.problems.job import begin, end

PROMPTS = 64


def points(size):
    """64 clicks in 8 x 8 places, as (64, 1, 2)."""
    w, h = size
    x, y = np.meshgrid((np.arange(8) + 0.5) * w / 8, (np.arange(8) + 0.5) * h / 8)
    return np.stack([x.ravel(), y.ravel()], axis=1)[:, None]


def timed(repeat, step):
    """Median seconds of `repeat` runs after one that warms up, and what the last one returned."""
    result, seconds = step(), []
    for _ in range(repeat):
        began = time.perf_counter()
        result = step()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds), result


def main():
    job, a, subject = begin()
    size = tuple(a["size"])
    image, _ = photo(size)
    clicks = points(size)
    stages, kept = {}, {}
    stages["encode"], features = timed(3, lambda: subject.encode(image))
    kept["encode"] = np.asarray(features, np.float32).ravel()[::17]
    if subject.decode:
        stages["decode"], low_res = timed(2, lambda: subject.decode(clicks))
        # These are seconds of that step for which the peers' decoders are not timed.
        if hasattr(subject, "beyond_decoding"):
            stages["decode"] -= subject.beyond_decoding(clicks)
        kept["decode"] = np.asarray(low_res, np.float32).ravel()[::17]
    if getattr(subject, "click", None):
        stages["click"], one = timed(10, lambda: subject.click(clicks[27, 0]))
        kept["click"] = np.asarray(one, np.float32).ravel()
    if hasattr(subject, "postprocess"):
        logits = np.load(a["logits"])
        stages["postprocess"], areas = timed(
            2, lambda: subject.postprocess(logits, (size[1], size[0]))
        )
        kept["postprocess"] = np.asarray(areas, np.float64)
    np.savez(job["out"] + ".npz", **kept)
    end(job, sum(stages.values()), PROMPTS, stages)


if __name__ == "__main__":
    main()
