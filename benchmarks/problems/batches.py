"""Boxes on an encoded image by the size of the batch: boxes per second, GPU, memory.

Every number of boxes is decoded in batches of each size, to masks of the image's size. A batch that
does not fit in memory has a row that says so. --memory-gb lets torch take only so much of a GPU's
memory, as on a smaller card.

python -m benchmarks.run batches --model vit_b --device cuda --precision fp16
python -m benchmarks.run batches --model vit_b --device cuda --precision fp16 --memory-gb 3"""

import warnings

import numpy as np

from benchmarks import arguments, environment, harness, models
from benchmarks.device_meter import DeviceMeter, limit_memory, ran_out
from benchmarks.photo import photo
from benchmarks.problems.boxes import boxes
from benchmarks.row import timed

BATCHES = (4, 8, 16, 32, 64, 128)


def add_arguments(parser):
    arguments.add(parser, "model", "size", "precision", "device", "threads")
    arguments.add_subjects(parser, "segment_anything", "sam2")
    count = arguments.count
    parser.add_argument(
        "--boxes", type=count, nargs="+", default=[20, 100], help="numbers of boxes (20 100)"
    )
    parser.add_argument(
        "--batches", type=count, nargs="+", default=BATCHES, help="sizes of batches (4 ... 128)"
    )
    parser.add_argument("--memory-gb", type=float, help="of the GPU, at most (all)")
    parser.set_defaults(repeat=1)  # each row repeats its calls itself


def measure(a, scratch):
    _, name = photo(tuple(a.size))
    on = environment.processor(a.device, a.threads)
    print(
        f"batches: {a.model}, {name} at {a.size[0]}x{a.size[1]}, {a.precision}, {on}"
        + (f", at most {a.memory_gb} GB" if a.memory_gb else "")
    )
    row = {
        "model": models.folder_of(a.model),
        **{k: getattr(a, k) for k in ("size", "precision", "device", "boxes", "batches")},
        "memory_gb": a.memory_gb,
    }
    facts = {
        "model": a.model,
        "image": name,
        "size": a.size,
        "precision": a.precision,
        "threads": a.threads,
        "device": on,
        "memory_gb": a.memory_gb,
    }
    rows = harness.alternate("batches", arguments.subjects_of(a), row, a, scratch)
    suffix = f"-{a.memory_gb:g}gb" if a.memory_gb else ""
    suffix += environment.device_suffix(a.device)
    return harness.Measured(f"batches-{a.model}-{a.precision}{suffix}", facts, rows)


def measure_row(job):
    a = job.arguments
    size, device = tuple(a["size"]), a["device"]
    if a["memory_gb"]:
        limit_memory(device, a["memory_gb"])
    subject = job.load()
    subject.encode(photo(size)[0])
    table = []
    for count in a["boxes"]:
        prompts = boxes(size, count)
        # A batch that is larger than the number of boxes is that number.
        for batch in sorted({min(batch, count) for batch in a["batches"]}):
            table.append(
                {"boxes": count, "batch": batch, **figures(subject, prompts, batch, device)}
            )
    seconds = [row["seconds"] for row in table if "seconds" in row]
    if not seconds:
        job.refuse("out of memory in every batch")
        return
    kept = np.concatenate([subject.boxes(prompts[i : i + 1]) for i in range(min(20, len(prompts)))])
    job.keep(masks=kept)
    job.end(min(seconds), len(table), {}, table=table)


def figures(subject, prompts, batch, device):
    """One row: the seconds of all boxes, and how busy the device was."""
    parts = [prompts[i : i + batch] for i in range(0, len(prompts), batch)]

    def every():
        for part in parts:
            subject.boxes(part)

    try:
        with DeviceMeter(device) as meter, warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            seconds, _ = timed(3, every)
    except Exception as error:
        if not ran_out(error):
            raise
        return {"error": "out of memory"}
    row = {"seconds": seconds, "boxes_per_second": len(prompts) / seconds}
    if meter.peak_mb is not None:
        row |= {"busy": meter.busy, "memory_mb": meter.peak_mb}
    halved = [str(w.message) for w in said if "in batches of" in str(w.message)]
    return row | ({"note": halved[0]} if halved else {})


def compare(body, scratch):
    from benchmarks.problems.boxes import agreement

    rows = harness.ran(body["rows"])
    if "segrid" not in rows:
        return {"ratio": {}, "agreement": {}}
    ours = harness.kept(scratch, "segrid")["masks"]
    peers = [s for s in rows if s != "segrid"]
    return {
        "ratio": {p: fastest(rows[p]) / fastest(rows["segrid"]) for p in peers},
        "agreement": {p: agreement(ours, harness.kept(scratch, p)["masks"]) for p in peers},
    }


def fastest(row):
    """Seconds a box of the fastest batch."""
    return 1 / max(r["boxes_per_second"] for r in row["table"] if "seconds" in r)


def summarise(body):
    for subject, row in body["rows"].items():
        if "error" in row:
            yield f"  {subject}: {row['error']}"
            continue
        for r in row["table"]:
            text = r.get("error") or f"{1000 * r['seconds']:.1f} ms, {r['boxes_per_second']:.0f}/s"
            if r.get("busy") is not None:
                text += f", GPU {100 * r['busy']:.0f} %, {r['memory_mb']:.0f} MB"
            text += f" ({r['note']})" if "note" in r else ""
            yield f"  {subject}: {r['boxes']} boxes by {r['batch']}: {text}"
    for peer, ratio in body["ratio"].items():
        agreement = body["agreement"][peer]
        yield harness.faster(ratio, peer, agreement["iou mean"], agreement)
