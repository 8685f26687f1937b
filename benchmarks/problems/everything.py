"""Segment everything: one photo, a grid of points, RLE out. Run through benchmarks/run.py; this file is also the process that measures one row."""

import json
import os
import resource
import time
from importlib import import_module
from pathlib import Path

import numpy as np


def photo(size=(1800, 1200)):
    """scikit-image's coffee photo at `size` (width, height), Pillow bicubic; the astronaut where coffee is not in the wheel."""
    import skimage.data
    from PIL import Image

    folder = Path(skimage.data.__file__).parent
    shared = Path(__file__).parents[3] / "shared/data/photos/coffee.png"
    path = next((p for p in (folder / "coffee.png", shared) if p.exists()), folder / "astronaut.png")
    return np.asarray(Image.open(path).convert("RGB").resize(size, Image.BICUBIC)), path.name


def agreement(ours, theirs):
    """Matched IoU of two lists of RLE masks: each of theirs with the best of ours among those of its prompt and score order."""
    from pycocotools import mask as coco

    pack = [[coco.frPyObjects(r, *r["size"]) if isinstance(r["counts"], list) else r for r in side] for side in (ours, theirs)]
    if not pack[0] or not pack[1]:
        return {"count": [len(ours), len(theirs)], "mean": None, "min": None, "same order": len(ours) == len(theirs)}
    table = coco.iou(pack[1], pack[0], [0] * len(pack[0]))
    best = table.max(axis=1)
    in_place = len(ours) == len(theirs) and bool((np.diag(table) >= 0.999).all())
    return {"count": [len(ours), len(theirs)], "mean": float(best.mean()), "min": float(best.min()), "same order": in_place}


def peak_mb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def resident_mb():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE") / 2**20


def main():
    job = json.loads(os.environ["SEGRID_BENCHMARK"])
    a = job["arguments"]
    subject = import_module(f"benchmarks.subjects.{job['subject']}").Subject(a["model"], job["threads"])
    image, _ = photo(tuple(a["size"]))
    subject.warm_up(image)
    before = resident_mb()
    began = time.perf_counter()
    rles, stages = subject.everything(image, a["options"])
    seconds = time.perf_counter() - began
    memory = peak_mb() - before
    Path(job["out"]).write_text(json.dumps({"seconds": seconds, "memory_mb": memory, "count": len(rles), "stages": stages}))
    Path(job["out"] + ".masks").write_text(json.dumps(rles))


if __name__ == "__main__":
    main()
