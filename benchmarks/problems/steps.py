"""The steps of segment everything one by one: encoder, 64 prompts of three masks, one click, logits
to runs. Run through benchmarks/run.py."""

import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks import harness, models
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


def compared(peers, rows, kept):
    """How many times as long as segrid each peer takes, {stage: {peer: ratio}}; the largest
    difference of its values from ours, and from the first peer's."""
    ratio, apart, among = {}, {}, {}
    for peer in peers:
        for stage, seconds in rows[peer]["stages"].items():
            ratio.setdefault(stage, {})[peer] = seconds / rows["segrid"]["stages"][stage]
            theirs, first = kept[peer][stage], kept[peers[0]].get(stage)
            apart.setdefault(stage, {})[peer] = difference(kept["segrid"][stage], theirs)
            if peer != peers[0] and first is not None:
                pair = f"{peers[0]}, {peer}"
                among.setdefault(stage, {})[pair] = difference(first, theirs)
    return ratio, apart, among


def difference(ours, theirs):
    """The largest difference as a share of their largest value."""
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


def run(a):
    """Encoder, 64 prompts, one click, and logits to runs."""
    import segrid

    folder = models.folder_of(a.model)
    image, name = photo(tuple(a.size))
    print(
        f"steps: {a.model}, {name} at {a.size[0]}x{a.size[1]}, {a.precision}, {a.threads} threads; "
        f"decode is {PROMPTS} prompts of three masks"
    )
    with tempfile.TemporaryDirectory() as scratch:
        # What the model says of the 64 clicks is the same for everybody.
        logits, segmenter = Path(scratch) / "logits.npy", segrid.Segmenter(folder, device="cpu")
        said = segmenter.predict(image, points=points(tuple(a.size)), multimask=True)
        np.save(logits, said.low_res)
        arguments = {
            "model": folder,
            "size": a.size,
            "precision": a.precision,
            "logits": str(logits),
        }
        rows = harness.compare("steps", a.subjects, arguments, a.threads, a.repeat, scratch)
        kept = {s: dict(np.load(Path(scratch) / f"{s}-0.json.npz")) for s in a.subjects}
    ratio, apart, among = compared(a.subjects[1:], rows, kept)
    for stage, of in ratio.items():
        print(
            f"  {stage}: segrid {rows['segrid']['stages'][stage]:.4f} s; "
            + "; ".join(
                f"{p} {r:.1f}x as long (largest difference {apart[stage][p]:.1e} of the largest "
                "value)"
                for p, r in of.items()
            )
        )
    body = {
        "model": a.model,
        "image": name,
        "size": a.size,
        "precision": a.precision,
        "threads": a.threads,
        "rows": rows,
        "ratio": ratio,
        "largest difference": apart,
        "peers among themselves": among,
    }
    print(
        "written:",
        harness.record(a.name or f"steps-{a.model}-{a.precision}-{a.size[0]}x{a.size[1]}", body),
    )


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
