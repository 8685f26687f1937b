"""Twenty boxes on an encoded image to masks.

python -m benchmarks.run boxes --model vit_b"""

import numpy as np

from benchmarks import arguments, environment, harness, models
from benchmarks.photo import photo
from benchmarks.row import timed

BOXES = 20


def add_arguments(parser):
    arguments.add(parser, "model", "size", "precision", "device", "threads", "repeat")
    arguments.add_subjects(
        parser, *("segment_anything", "openvino", "onnxruntime", "mobile_sam", "sam2")
    )


def measure(a, scratch):
    folder = models.folder_of(a.model)
    _, name = photo(tuple(a.size))
    on = environment.processor(a.device, a.threads)
    print(f"boxes: {a.model}, {name} at {a.size[0]}x{a.size[1]}, {a.precision}, {on}")
    row = {"model": folder, "size": a.size, "precision": a.precision, "device": a.device}
    facts = {
        "model": a.model,
        "image": name,
        "size": a.size,
        "precision": a.precision,
        "threads": a.threads,
        "device": on,
    }
    rows = harness.alternate("boxes", arguments.subjects_of(a), row, a, scratch)
    suffix = environment.device_suffix(a.device)
    return harness.Measured(f"boxes-{a.model}-{a.precision}{suffix}", facts, rows)


def measure_row(job):
    subject, size = job.load(), tuple(job.arguments["size"])
    subject.encode(photo(size)[0])
    seconds, masks = timed(5, lambda: subject.boxes(boxes(size)))
    job.keep(masks=masks)
    job.end(seconds, len(masks), {"boxes": seconds})


def boxes(size, count=BOXES):
    """Seeded boxes of a tenth to a half of the image's width and height."""
    rng = np.random.default_rng(5)
    extent = rng.uniform(0.1, 0.5, (count, 2)) * size
    corner = rng.uniform(0, 1, (count, 2)) * (np.array(size) - extent)
    return np.concatenate([corner, corner + extent], 1).astype(np.float32)


def compare(body, scratch):
    rows = harness.ran(body["rows"])
    masks = {s: harness.kept(scratch, s)["masks"] for s in rows}
    peers = [s for s in rows if s != "segrid"]
    return {
        "ratio": {p: rows[p]["median"] / rows["segrid"]["median"] for p in peers},
        "agreement": {p: agreement(masks["segrid"], masks[p]) for p in peers},
    }


def agreement(ours, theirs):
    """The mean and the least IoU of the masks of the same box."""
    iou = [(m & t).sum() / max(1, (m | t).sum()) for m, t in zip(ours, theirs, strict=True)]
    return {"iou mean": float(np.mean(iou)), "iou least": float(min(iou))}


def summarise(body):
    yield from harness.refused(body["rows"])
    for peer, ratio in body["ratio"].items():
        agreement = body["agreement"][peer]
        yield harness.faster(ratio, peer, agreement["iou mean"], agreement)
