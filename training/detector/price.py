"""Measures the cost of bf16 and int8 for the tiny detector on pictures kept out of training, and
writes the table in segrid.json by which precision="auto" decides:
`python -m training.detector.price FOLDER --data DATA --write`.

fp16 runs on devices: `--device cuda` measures it there, `--device cpu-plain` measures the same
definitions on the CPU.

The scenes and nuclei are those of evaluate.py. For each precision the worse of both sets counts:
the mean IoU of fp32's boxes with the boxes of the same label (0 for a box that is lost), the least
IoU of matched boxes, and the points of TP / (TP + FP + FN) at IoU 0.5 lost against the labels."""

import argparse
import json
from pathlib import Path

import numpy as np
import segrid

from training.price import PRECISIONS, keep

from .evaluate import THRESHOLD, asked_of, fields, figures_of, pairs
from .scenes import Source, shapes


def answers(detector, data, count):
    """{set: [(boxes by label, true boxes by label)]}."""
    source = Source(data, 256, kept_out=True)
    found = {"scenes": []}
    for i in range(2 * count):
        rng = np.random.default_rng((78, i))
        image, things = shapes(rng, 256, source.photos)
        texts, wanted = asked_of(rng, things)
        if texts:
            found["scenes"].append(
                (by_label(detector.detect(image, texts, threshold=THRESHOLD), len(texts)), wanted)
            )
    if data:
        found["nuclei"] = [
            (by_label(detector.detect(image, "nuclei", threshold=THRESHOLD), 1), [wanted])
            for image, wanted in fields(source, count)
        ]
    return found


def by_label(result, labels):
    """The boxes of each label, as a list."""
    return [result.boxes[result.class_id == k] for k in range(labels)]


def ap50(rows):
    """TP / (TP + FP + FN) against the labels."""
    hits = sum(
        len(pairs(wanted, own))
        for found, truth in rows
        for own, wanted in zip(found, truth, strict=True)
    )
    return figures_of(
        hits,
        sum(len(own) for found, _ in rows for own in found),
        sum(len(w) for _, truth in rows for w in truth),
    )["ap50"]


def table(folder, data, count, device):
    """The table for segrid.json."""
    full = answers(segrid.Detector(folder, precision="fp32", device=device), data, count)
    rows = {}
    for precision in PRECISIONS.get(device, PRECISIONS["device"])[1:]:
        try:
            low = answers(segrid.Detector(folder, precision=precision, device=device), data, count)
        except NotImplementedError:
            continue  # This CPU has no instructions for it.
        means, least, lost = [], [], []
        for name, rows_full in full.items():
            ious = [
                v
                for (a, _), (b, _) in zip(rows_full, low[name], strict=True)
                for x, y in zip(a, b, strict=True)
                for v in pairs(x, y)
            ]
            boxes = [
                sum(len(own) for found, _ in rows_of for own in found)
                for rows_of in (rows_full, low[name])
            ]
            means.append(sum(ious) / max(1, boxes[0]))  # A box that is lost counts as 0.
            least.append(min(ious, default=0.0))
            lost.append(ap50(rows_full) - ap50(low[name]))
            print(
                f"{name}, {precision}: {boxes[1]} boxes ({boxes[0]} in fp32), {len(ious)} matched, "
                f"IoU mean {means[-1]:.4f}, least {least[-1]:.3f}, "
                f"AP50 {ap50(low[name]):.4f} ({ap50(rows_full):.4f})"
            )
        rows[precision] = {
            "iou_mean": round(float(min(means)), 4),
            "iou_min": round(float(min(least)), 4),
            "ap50_loss": round(float(max(lost)), 4),
        }
    return rows


def main():
    """Command line."""
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("folder", type=Path)
    p.add_argument("--data")
    p.add_argument("--count", type=int, default=100)
    p.add_argument("--write", action="store_true", help="into FOLDER/segrid.json")
    p.add_argument("--device", default="cpu")
    args = p.parse_args()
    rows = table(args.folder, args.data, args.count, args.device)
    print(json.dumps(rows))
    if args.device != "cpu":
        rows.pop("bf16", None)  # The table keeps bf16 of the CPU's kernels, which round less.
    if args.write:
        keep(args.folder, rows)


if __name__ == "__main__":
    main()
