"""The steps of segment everything one by one.

They are the encoder, 64 prompts of three masks, one click, and logits to runs.

python -m benchmarks.run steps --model vit_b --subjects segrid segment_anything openvino
python -m benchmarks.run steps --model sam2.1_hiera_t --subjects segrid sam2_openvino sam2"""

from pathlib import Path

import numpy as np

from benchmarks import arguments, harness, models
from benchmarks.photo import photo
from benchmarks.row import timed

PROMPTS = 64


def add_arguments(parser):
    arguments.add(parser, "model", "size", "precision", "threads", "repeat")
    arguments.add_subjects(
        parser,
        *("segment_anything", "openvino", "onnxruntime", "transformers", "mobile_sam"),
        *("sam2", "sam2_openvino"),
    )


def measure(a, scratch):
    import segrid

    folder = models.folder_of(a.model)
    image, name = photo(tuple(a.size))
    size = f"{a.size[0]}x{a.size[1]}"
    print(
        f"steps: {a.model}, {name} at {size}, {a.precision}, {a.threads} threads; decode is "
        f"{PROMPTS} prompts of three masks"
    )
    # All subjects postprocess the same logits, which are segrid's for the 64 clicks.
    logits, segmenter = Path(scratch) / "logits.npy", segrid.Segmenter(folder, device="cpu")
    masks = segmenter.predict(image, points=points(tuple(a.size)), multimask=True)
    np.save(logits, masks.low_res)
    row = {"model": folder, "size": a.size, "precision": a.precision, "logits": str(logits)}
    facts = {
        "model": a.model,
        "image": name,
        "size": a.size,
        "precision": a.precision,
        "threads": a.threads,
    }
    rows = harness.alternate("steps", arguments.subjects_of(a), row, a, scratch)
    return harness.Measured(f"steps-{a.model}-{a.precision}-{size}", facts, rows)


def measure_row(job):
    subject, size = job.load(), tuple(job.arguments["size"])
    image, _ = photo(size)
    clicks = points(size)
    stages, kept = {}, {}
    stages["encode"], features = timed(3, lambda: subject.encode(image))
    kept["encode"] = np.asarray(features, np.float32).ravel()[::17]
    if subject.decode:
        stages["decode"], low_res = timed(2, lambda: subject.decode(clicks))
        # segrid's predict goes on to runs and boxes, which the peers' decoders do not.
        if hasattr(subject, "beyond_decoding"):
            stages["decode"] -= subject.beyond_decoding(clicks)
        kept["decode"] = np.asarray(low_res, np.float32).ravel()[::17]
    if getattr(subject, "click", None):
        stages["click"], one = timed(10, lambda: subject.click(clicks[27, 0]))
        kept["click"] = np.asarray(one, np.float32).ravel()
    if hasattr(subject, "postprocess"):
        logits = np.load(job.arguments["logits"])
        stages["postprocess"], areas = timed(
            2, lambda: subject.postprocess(logits, (size[1], size[0]))
        )
        kept["postprocess"] = np.asarray(areas, np.float64)
    job.keep(**kept)
    job.end(sum(stages.values()), PROMPTS, stages)


def points(size):
    """64 clicks on a grid of 8 x 8, as (64, 1, 2)."""
    w, h = size
    x, y = np.meshgrid((np.arange(8) + 0.5) * w / 8, (np.arange(8) + 0.5) * h / 8)
    return np.stack([x.ravel(), y.ravel()], axis=1)[:, None]


def compare(body, scratch):
    """The time of each peer relative to segrid's, {stage: {peer: ratio}}; the largest difference of
    the peer's values from ours, and from the first peer's."""
    rows = harness.ran(body["rows"])
    peers = [s for s in rows if s != "segrid"]
    kept = {s: harness.kept(scratch, s) for s in rows}
    ratio, apart, among = {}, {}, {}
    for peer in peers:
        for stage, seconds in rows[peer]["stages"].items():
            ratio.setdefault(stage, {})[peer] = seconds / rows["segrid"]["stages"][stage]
            theirs, first = kept[peer][stage], kept[peers[0]].get(stage)
            apart.setdefault(stage, {})[peer] = difference(kept["segrid"][stage], theirs)
            if peer != peers[0] and first is not None:
                pair = f"{peers[0]}, {peer}"
                among.setdefault(stage, {})[pair] = difference(first, theirs)
    return {"ratio": ratio, "largest difference": apart, "peers among themselves": among}


def difference(ours, theirs):
    """The largest difference, as a share of their largest value."""
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


def summarise(body):
    yield from harness.refused(body["rows"])
    for stage, of in body["ratio"].items():
        apart = body["largest difference"][stage]
        peers = "; ".join(
            f"{p} {r:.1f}x as long (largest difference {apart[p]:.1e} of the largest value)"
            for p, r in of.items()
        )
        yield f"  {stage}: segrid {body['rows']['segrid']['stages'][stage]:.4f} s; {peers}"
