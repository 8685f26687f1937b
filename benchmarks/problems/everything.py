"""Segment everything: a photo, a grid, masks as COCO RLE.

python -m benchmarks.run everything --model vit_b --repeat 1
python -m benchmarks.run everything --model vit_b --device cuda --precision fp16
python -m benchmarks.run everything --model vit_b --size 8660 5774 --nms 0.7 --subjects segrid"""

import json
import time
from pathlib import Path

import numpy as np

from benchmarks import arguments, environment, harness, models
from benchmarks.device_meter import DeviceMeter
from benchmarks.photo import photo
from benchmarks.row import timed

# On a GPU, of a peer's masks: comparing all takes longer than computing them.
COMPARED = 48


def add_arguments(parser):
    arguments.add(parser, "model", "points", "size", "precision", "device", "threads", "repeat")
    parser.add_argument(
        "--nms",
        type=float,
        default=1.0,
        help="box_nms_thresh of models with random weights, whose boxes are all the whole image "
        "(%(default)s, which is off)",
    )
    arguments.add_subjects(
        parser,
        *("segment_anything", "openvino", "onnxruntime", "mobile_sam", "sam2"),
        *("segment_anything_compiled", "sam2_compiled"),
    )


def measure(a, scratch):
    folder = models.folder_of(a.model)
    image, name = photo(tuple(a.size))
    options = options_for(a.model, folder, a.points, image, a.nms)
    on = environment.processor(a.device, a.threads)
    size = f"{a.size[0]}x{a.size[1]}"
    print(f"everything: {a.model}, {name} at {size}, {a.precision}, {options}, {on}")
    row = {
        "model": folder,
        "options": options,
        "size": a.size,
        "precision": a.precision,
        "device": a.device,
        "runs": a.repeat,
    }
    if a.device != "cpu":
        a.repeat = 1  # processes; each repeats its runs itself
    facts = {
        "model": a.model,
        "image": name,
        "size": a.size,
        "precision": a.precision,
        "options": options,
        "threads": a.threads,
        "device": on,
        "compared": None if a.device == "cpu" else COMPARED,
    }
    rows = harness.alternate("everything", arguments.subjects_of(a), row, a, scratch)
    suffix = environment.device_suffix(a.device)
    return harness.Measured(f"everything-{a.model}-{a.precision}-{size}{suffix}", facts, rows)


def options_for(model, folder, points, image, nms):
    """The options of everything mode. The packaged model has its recommended thresholds. Models
    with random weights have the 75th percentile of predicted IoU, and `nms` as the threshold of box
    NMS."""
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


def measure_row(job):
    subject = job.load()
    image, _ = photo(tuple(job.arguments["size"]))
    subject.warm_up(image)
    before = status_mb("VmRSS")
    forget_peak()
    if job.on_cpu:
        began = time.perf_counter()
        rles, stages = subject.everything(image, job.arguments["options"])
        seconds = time.perf_counter() - began
        job.end(seconds, len(rles), stages, status_mb("VmHWM") - before)
    else:
        rles = measure_on_device(job, subject, image)
    for rle in rles:
        if isinstance(rle["counts"], bytes):
            rle["counts"] = rle["counts"].decode()
    job.beside(".masks").write_text(json.dumps(rles))


def measure_on_device(job, subject, image):
    """The median of several runs in this process, after one in which the device's libraries choose
    their kernels and torch takes its memory. Returns the masks."""
    a = job.arguments
    with DeviceMeter(a["device"]) as meter:
        seconds, (rles, stages) = timed(a["runs"], lambda: subject.everything(image, a["options"]))
    if meter.busy is not None:
        stages = {**stages, "busy": meter.busy}
    job.end(seconds, len(rles), stages, meter.peak_mb or 0)
    return rles


def status_mb(field):
    """Resident memory of this process in MB: VmRSS is now, VmHWM the peak since forget_peak."""
    line = next(x for x in Path("/proc/self/status").read_text().split("\n") if x.startswith(field))
    return int(line.split()[1]) / 1024


def forget_peak():
    """Starts the peak anew, because loading a model may take more memory than running it."""
    Path("/proc/self/clear_refs").write_text("5")


def compare(body, scratch):
    rows = harness.ran(body["rows"])
    masks = {s: json.loads((Path(scratch) / f"{s}-0.masks").read_text()) for s in rows}
    peers = [s for s in rows if s != "segrid"]
    return {
        "ratio": {p: rows[p]["median"] / rows["segrid"]["median"] for p in peers},
        "agreement": {p: agreement(masks["segrid"], masks[p], body["compared"]) for p in peers},
    }


def agreement(ours, theirs, most=None):
    """Matched IoU of two lists of COCO RLE masks: each of their masks with ours at the same place
    in the list, or else with the best of ours. most: only of so many of their masks, evenly
    spaced."""
    if most and len(theirs) > most:
        chosen = np.linspace(0, len(theirs) - 1, most).astype(int)
        mine, other = [bits(r) for r in ours], [bits(theirs[i]) for i in chosen]
        best = [max((iou(a, b) for a in mine), default=0.0) for b in other]
        return {
            "count": [len(ours), len(theirs)],
            "compared": most,
            "mean": float(np.mean(best)),
            "min": float(min(best)),
        }
    result = {"count": [len(ours), len(theirs)], "mean": None, "min": None, "same order": False}
    if not ours or not theirs:
        return result
    mine, other = [bits(r) for r in ours], [bits(r) for r in theirs]
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


def bits(rle):
    """The mask of a COCO RLE as packed bits."""
    from pycocotools import mask

    return np.packbits(mask.decode(rle))


def iou(a, b):
    """The IoU of two masks as packed bits; 1 where both are empty."""
    union = int(np.bitwise_count(a | b).sum())
    return int(np.bitwise_count(a & b).sum()) / union if union else 1.0


def summarise(body):
    yield from harness.refused(body["rows"])
    for peer, ratio in body["ratio"].items():
        agreement = body["agreement"][peer]
        yield harness.faster(ratio, peer, agreement["mean"], agreement)
    memory = (f"{s} {r['memory_mb']:.0f} MB" for s, r in harness.ran(body["rows"]).items())
    what = "memory above the weights" if body["compared"] is None else "peak of the GPU's memory"
    yield f"{what}: {', '.join(memory)}"
