"""python -m benchmarks.run everything --model vit_b --points 32 --repeat 1

Models: vit_b (seeded random weights; thresholds as speed.md says for them) or tiny (the packaged model). Results: benchmarks/results/*.json.
"""

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np

from benchmarks import harness, random_sam
from benchmarks.problems.everything import agreement, photo

PACKAGED = Path(__file__).parents[1] / "python/segrid/models/tiny"
SUBJECTS = ("segrid", "segment_anything")


def options_for(model, folder, points, image):
    """Thresholds: the packaged model's recommended ones; for random weights the 75th percentile of predicted IoU, and no box NMS (every box is the
    whole image)."""
    if model == "tiny":
        best = json.loads((PACKAGED / "segrid.json").read_text())["recommended"]
        return {"points_per_side": points, "pred_iou_thresh": best["pred_iou_thresh"], "stability_score_thresh": best["stability_score_thresh"]}
    import segrid

    found = segrid.Segmenter(folder).everything(image, points_per_side=6, pred_iou_thresh=0.0, stability_score_thresh=0.0, box_nms_thresh=1.0,
                                                containment_thresh=1.0)
    return {"points_per_side": points, "pred_iou_thresh": float(np.quantile(found.scores, 0.75)), "stability_score_thresh": 0.0,
            "box_nms_thresh": 1.0}


def everything(a):
    folder = str(PACKAGED) if a.model == "tiny" else str(random_sam.make(a.model, Path(tempfile.gettempdir()) / f"segrid-{a.model}"))
    image, name = photo(tuple(a.size))
    options = options_for(a.model, folder, a.points, image)
    print(f"everything: {a.model}, {name} at {a.size[0]}x{a.size[1]}, {options}, {a.threads} threads")
    with tempfile.TemporaryDirectory() as scratch:
        arguments = {"model": folder, "options": options, "size": a.size}
        rows = harness.compare("everything", a.subjects, arguments, a.threads, a.repeat, scratch)
        masks = {s: json.loads((Path(scratch) / f"{s}-0.json.masks").read_text()) for s in a.subjects}
    body = {"model": a.model, "image": name, "size": a.size, "options": options, "threads": a.threads, "rows": rows}
    for peer in a.subjects[1:]:
        body.setdefault("ratio", {})[peer] = rows[peer]["median"] / rows["segrid"]["median"]
        body.setdefault("agreement", {})[peer] = agreement(masks["segrid"], masks[peer])
        print(f"segrid is {body['ratio'][peer]:.1f}x faster than {peer}; agreement {body['agreement'][peer]}")
    print("memory above the weights:", ", ".join(f"{s} {r['memory_mb']:.0f} MB" for s, r in rows.items()))
    print("written:", harness.record(a.name or f"everything-{a.model}-{a.size[0]}x{a.size[1]}", body))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("problem", choices=["everything"])
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--points", type=int, default=32)
    parser.add_argument("--size", type=int, nargs=2, default=[1800, 1200], metavar=("W", "H"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--subjects", nargs="+", default=list(SUBJECTS))
    parser.add_argument("--name", help="of the result file")
    everything(parser.parse_args())


if __name__ == "__main__":
    main()
