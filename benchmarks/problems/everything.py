"""Segment everything: one photo, a grid of points, RLE out.

As in every problem, `main` measures one row in a process of its own, and `run` (called by
benchmarks/run.py) starts those processes, compares the rows and writes the result."""

import json
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks import harness, models
from benchmarks.problems.job import begin, end


def photo(size=(1800, 1200)):
    """scikit-image's coffee photo at `size` (width, height), Pillow bicubic; the astronaut where
    coffee is not in the wheel."""
    import skimage.data
    from PIL import Image

    folder = Path(skimage.data.__file__).parent
    shared = Path(__file__).parents[3] / "shared/data/photos/coffee.png"
    path = next(
        (p for p in (folder / "coffee.png", shared) if p.exists()), folder / "astronaut.png"
    )
    return np.asarray(Image.open(path).convert("RGB").resize(size, Image.BICUBIC)), path.name


def bits(rle):
    """The mask of a COCO RLE as packed bits."""
    from pycocotools import mask

    return np.packbits(mask.decode(rle))


def agreement(ours, theirs):
    """Matched IoU of two lists of COCO RLE masks: each of theirs with ours at the same place, or
    else with the best of ours."""
    result = {"count": [len(ours), len(theirs)], "mean": None, "min": None, "same order": False}
    if not ours or not theirs:
        return result
    mine, other = [bits(r) for r in ours], [bits(r) for r in theirs]

    def iou(a, b):
        union = int(np.bitwise_count(a | b).sum())
        return int(np.bitwise_count(a & b).sum()) / union if union else 1.0

    in_place = [iou(a, b) for a, b in zip(mine, other, strict=False)]
    best = [
        v if v >= 0.999 else max(iou(a, b) for a in mine)
        for v, b in zip(in_place, other, strict=False)
    ]
    best += [max(iou(a, b) for a in mine) for b in other[len(in_place) :]]
    moved = sum(v < 0.999 for v in in_place)
    return {
        **result,
        "mean": float(np.mean(best)),
        "min": float(min(best)),
        "same order": len(ours) == len(theirs) and moved == 0,
        "moved": moved,
    }


def status_mb(field):
    """VmRSS (now) or VmHWM (the peak since forget_peak) of this process."""
    line = next(x for x in Path("/proc/self/status").read_text().split("\n") if x.startswith(field))
    return int(line.split()[1]) / 1024


def forget_peak():
    """Loading a model may take more memory than running it: the peak that counts begins here."""
    Path("/proc/self/clear_refs").write_text("5")


def options_for(model, folder, points, image, nms):
    """Thresholds: the packaged model's recommended ones; for random weights the 75th percentile of
    predicted IoU, and no box NMS (every box is the whole image)."""
    if model == "tiny":
        return models.recommended(points)
    import segrid

    found = segrid.Segmenter(folder, device="cpu").everything(
        image,
        points_per_side=6,
        pred_iou_thresh=0.0,
        stability_score_thresh=0.0,
        box_nms_thresh=1.0,
        containment_thresh=1.0,
    )
    return {
        "points_per_side": points,
        "pred_iou_thresh": float(np.quantile(found.scores, 0.75)),
        "stability_score_thresh": 0.0,
        "box_nms_thresh": nms,
    }


def run(a):
    """Segment everything, end to end."""
    folder = models.folder_of(a.model)
    image, name = photo(tuple(a.size))
    options = options_for(a.model, folder, a.points, image, a.nms)
    on = harness.processor(a.device, a.threads)
    print(
        f"everything: {a.model}, {name} at {a.size[0]}x{a.size[1]}, {a.precision}, {options}, {on}"
    )
    with tempfile.TemporaryDirectory() as scratch:
        arguments = {
            "model": folder,
            "options": options,
            "size": a.size,
            "precision": a.precision,
            "device": a.device,
        }
        rows = harness.compare("everything", a.subjects, arguments, a.threads, a.repeat, scratch)
        masks = {
            s: json.loads((Path(scratch) / f"{s}-0.json.masks").read_text()) for s in a.subjects
        }
    body = {
        "model": a.model,
        "image": name,
        "size": a.size,
        "precision": a.precision,
        "options": options,
        "threads": a.threads,
        "device": on,
        "rows": rows,
    }
    for peer in a.subjects[1:]:
        body.setdefault("ratio", {})[peer] = rows[peer]["median"] / rows["segrid"]["median"]
        body.setdefault("agreement", {})[peer] = agreement(masks["segrid"], masks[peer])
        print(
            f"segrid is {body['ratio'][peer]:.1f}x faster than {peer}; agreement "
            f"{body['agreement'][peer]}"
        )
    print(
        "memory above the weights:",
        ", ".join(f"{s} {r['memory_mb']:.0f} MB" for s, r in rows.items()),
    )
    suffix = harness.device_suffix(a.device)
    name = a.name or f"everything-{a.model}-{a.precision}-{a.size[0]}x{a.size[1]}{suffix}"
    print("written:", harness.record(name, body))


def main():
    job, a, subject = begin()
    image, _ = photo(tuple(a["size"]))
    subject.warm_up(image)
    before = status_mb("VmRSS")
    forget_peak()
    began = time.perf_counter()
    rles, stages = subject.everything(image, a["options"])
    seconds = time.perf_counter() - began
    memory = status_mb("VmHWM") - before
    end(job, seconds, len(rles), stages, memory)
    for rle in rles:
        rle["counts"] = (
            rle["counts"].decode() if isinstance(rle["counts"], bytes) else rle["counts"]
        )
    Path(job["out"] + ".masks").write_text(json.dumps(rles))


if __name__ == "__main__":
    main()
