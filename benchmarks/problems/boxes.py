"""Twenty boxes on an encoded image to masks at the image's size. Run through benchmarks/run.py."""

import tempfile
from pathlib import Path

import numpy as np

from benchmarks import harness, models
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


def run(a):
    """Twenty boxes on an encoded image to masks."""
    folder = models.folder_of(a.model)
    image, name = photo(tuple(a.size))
    on = harness.processor(a.device, a.threads)
    print(f"boxes: {a.model}, {name} at {a.size[0]}x{a.size[1]}, {a.precision}, {on}")
    with tempfile.TemporaryDirectory() as scratch:
        arguments = {"model": folder, "size": a.size, "precision": a.precision, "device": a.device}
        rows = harness.compare("boxes", a.subjects, arguments, a.threads, a.repeat, scratch)
        kept = {s: np.load(Path(scratch) / f"{s}-0.json.npz")["masks"] for s in a.subjects}
    body = {
        "model": a.model,
        "image": name,
        "size": a.size,
        "precision": a.precision,
        "threads": a.threads,
        "device": on,
        "rows": rows,
        "ratio": {},
        "agreement": {},
    }
    for peer in a.subjects[1:]:
        iou = [
            (m & t).sum() / max(1, (m | t).sum())
            for m, t in zip(kept["segrid"], kept[peer], strict=True)
        ]
        body["ratio"][peer] = rows[peer]["median"] / rows["segrid"]["median"]
        body["agreement"][peer] = {"iou mean": float(np.mean(iou)), "iou least": float(min(iou))}
        print(f"segrid is {body['ratio'][peer]:.1f}x faster than {peer}; {body['agreement'][peer]}")
    suffix = harness.device_suffix(a.device)
    name = a.name or f"boxes-{a.model}-{a.precision}{suffix}"
    print("written:", harness.record(name, body))


def main():
    job, a, subject = begin()
    image, _ = photo(tuple(a["size"]))
    subject.encode(image)
    seconds, masks = timed(5, lambda: subject.boxes(boxes(a["size"])))
    np.savez_compressed(job["out"] + ".npz", masks=masks)
    end(job, seconds, len(masks), {"boxes": seconds})


if __name__ == "__main__":
    main()
