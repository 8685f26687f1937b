"""python -m benchmarks.run everything --model vit_b --repeat 1
python -m benchmarks.run steps --model vit_b --subjects segrid segment_anything openvino
python -m benchmarks.run precisions --model vit_b --subjects segrid openvino
python -m benchmarks.run detect --precision bf16
python -m benchmarks.run boxes --model vit_b
python -m benchmarks.run folder --repeat 1
python -m benchmarks.run folder --repeat 1 --count 120 --subjects folder_stream folder_processes
--name folder-own
python -m benchmarks.run folder --repeat 1 --count 2000 --points 12 --subjects folder_stream --name
folder-long
python -m benchmarks.run gemm
python -m benchmarks.run everything --model vit_b --device cuda --precision fp16   (boxes, too; the
segment-anything beside it on the same device)

Models: vit_b, mobile_sam, sam2.1_hiera_t (seeded random weights; thresholds as speed.md says for
them) or tiny (the packaged model). Results: benchmarks/results/*.json.
"""

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np

from benchmarks import harness, random_mobile_sam, random_owlv2, random_sam, random_sam2
from benchmarks.problems.everything import agreement, photo
from benchmarks.problems.folder import images
from benchmarks.problems.steps import PROMPTS, points

PACKAGED = Path(__file__).parents[1] / "python/segrid/models/tiny"


def options_for(model, folder, points, image, nms):
    """Thresholds: the packaged model's recommended ones; for random weights the 75th percentile of
    predicted IoU, and no box NMS (every box is the whole image)."""
    if model == "tiny":
        best = json.loads((PACKAGED / "segrid.json").read_text())["recommended"]
        return {
            "points_per_side": points,
            "pred_iou_thresh": best["pred_iou_thresh"],
            "stability_score_thresh": best["stability_score_thresh"],
        }
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


def folder_of(model):
    """A folder with the model's config and weights."""
    if model.startswith("sam2"):
        return str(random_sam2.converted(model, Path(tempfile.gettempdir()) / f"segrid-{model}"))
    if model == "mobile_sam":
        return str(random_mobile_sam.make(model, Path(tempfile.gettempdir()) / f"segrid-{model}"))
    return (
        str(PACKAGED)
        if model == "tiny"
        else str(random_sam.make(model, Path(tempfile.gettempdir()) / f"segrid-{model}"))
    )


def on(a):
    """What is measured, in words."""
    import torch

    if torch.device(a.device.removesuffix("-plain")).type == "cpu":
        return f"{a.threads} threads" + (
            " of the plain definitions" if a.device == "cpu-plain" else ""
        )
    return torch.cuda.get_device_name(a.device)


def suffix(a):
    """Of result files."""
    return "" if a.device == "cpu" else "-" + a.device.replace(":", "-")


def everything(a):
    """Segment everything, end to end."""
    folder = folder_of(a.model)
    image, name = photo(tuple(a.size))
    options = options_for(a.model, folder, a.points, image, a.nms)
    print(
        f"everything: {a.model}, {name} at {a.size[0]}x{a.size[1]}, {a.precision}, {options}, "
        f"{on(a)}"
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
        "device": on(a),
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
    print(
        "written:",
        harness.record(
            a.name or f"everything-{a.model}-{a.precision}-{a.size[0]}x{a.size[1]}{suffix(a)}", body
        ),
    )


def steps(a):
    """Encoder, 64 prompts, one click, and logits to runs."""
    import segrid

    folder = folder_of(a.model)
    image, name = photo(tuple(a.size))
    print(
        f"steps: {a.model}, {name} at {a.size[0]}x{a.size[1]}, {a.precision}, {a.threads} threads; "
        f"decode is {PROMPTS} prompts of three masks"
    )
    with tempfile.TemporaryDirectory() as scratch:
        logits = (
            Path(scratch) / "logits.npy"
        )  # the same for everybody: what the model says of the 64 clicks
        np.save(
            logits,
            segrid.Segmenter(folder, device="cpu")
            .predict(image, points=points(tuple(a.size)), multimask=True)
            .low_res,
        )
        arguments = {
            "model": folder,
            "size": a.size,
            "precision": a.precision,
            "logits": str(logits),
        }
        rows = harness.compare("steps", a.subjects, arguments, a.threads, a.repeat, scratch)
        kept = {s: dict(np.load(Path(scratch) / f"{s}-0.json.npz")) for s in a.subjects}
    ratio, apart, among = {}, {}, {}
    for peer in a.subjects[1:]:
        for stage, seconds in rows[peer]["stages"].items():
            ratio.setdefault(stage, {})[peer] = seconds / rows["segrid"]["stages"][stage]
            ours, theirs = kept["segrid"][stage], kept[peer][stage]
            apart.setdefault(stage, {})[peer] = float(
                np.abs(ours - theirs).max() / np.abs(theirs).max()
            )
            first = kept[a.subjects[1]].get(stage)
            if peer != a.subjects[1] and first is not None:
                among.setdefault(stage, {})[f"{a.subjects[1]}, {peer}"] = float(
                    np.abs(first - theirs).max() / np.abs(theirs).max()
                )
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


def precisions(a):
    """The encoder in every precision, ours and OpenVINO's, alternating; what the weights take; how
    far the features are from ours in fp32."""
    folder = folder_of(a.model)
    image, name = photo(tuple(a.size))
    subjects = ["segrid@fp32", "segrid@bf16", "segrid@int8", "segrid@int8-torch"] + [
        f"{p}@{q}" for p in a.subjects if p != "segrid" for q in ("fp32", "bf16")
    ]
    print(
        f"precisions: {a.model}'s encoder, {name} at {a.size[0]}x{a.size[1]}, {a.threads} threads"
    )
    with tempfile.TemporaryDirectory() as scratch:
        rows = harness.compare(
            "precisions",
            subjects,
            {"model": folder, "size": a.size, "precision": "fp32"},
            a.threads,
            a.repeat,
            scratch,
        )
        kept = {
            s: np.load(Path(scratch) / f"{s}-0.json.npy")
            for s in subjects
            if "error" not in rows[s]
        }
    full = kept["segrid@fp32"]
    body = {
        "model": a.model,
        "image": name,
        "size": a.size,
        "threads": a.threads,
        "rows": rows,
        "times as long as int8": {
            s: r["median"] / rows["segrid@int8"]["median"] for s, r in rows.items() if s in kept
        },
        "feature error": {
            s: float(np.sqrt(np.square(k - full).mean() / np.square(full).mean()))
            for s, k in kept.items()
        },
        "weights": {
            s: r["memory_mb"] / rows["segrid@fp32"]["memory_mb"]
            for s, r in rows.items()
            if s.startswith("segrid") and s in kept
        },
    }
    for s, r in rows.items():
        if "error" in r:
            print(f"  {s}: {r['error']}")
            continue
        print(
            f"  {s}: {r['median']:.3f} s ({body['times as long as int8'][s]:.2f}x int8's), "
            f"features off by {body['feature error'][s]:.1e} of their size"
        )
        if s in body["weights"]:
            print(
                f"    weights {r['memory_mb']:.0f} MB ({body['weights'][s]:.2f} of fp32's), Linear "
                f"layers {r['stages']['linears']:.3f} s"
            )
    print("written:", harness.record(a.name or f"precisions-{a.model}", body))


def detect(a):
    """OWLv2: one prompt, sixteen, and transformers' zero-shot pipeline with sixteen labels (fp32
    only: it takes minutes)."""
    folder = str(random_owlv2.make("base", Path(tempfile.gettempdir()) / "segrid-owlv2-base"))
    image, name = photo(tuple(a.size))
    print(
        f"detect: OWLv2 base at 960 px, {name} at {a.size[0]}x{a.size[1]}, {a.precision}, "
        f"{a.threads} threads"
    )
    with tempfile.TemporaryDirectory() as scratch:
        arguments = {
            "model": folder,
            "size": a.size,
            "precision": a.precision,
            "zero_shot": a.precision == "fp32",
        }
        rows = harness.compare(
            "detect", ["segrid", "transformers"], arguments, a.threads, a.repeat, scratch
        )
        kept = {s: dict(np.load(Path(scratch) / f"{s}-0.json.npz")) for s in rows}
    ours, theirs = rows["segrid"]["stages"], rows["transformers"]["stages"]
    body = {
        "model": "owlv2-base",
        "image": name,
        "size": a.size,
        "precision": a.precision,
        "threads": a.threads,
        "rows": rows,
        "ratio": {stage: theirs[stage] / ours[stage] for stage in ours},
        "16 prompts over 1": ours["16 prompts"] / ours["1 prompt"],
        "agreement": {},
    }
    if "zero-shot pipeline, 16 labels" in theirs:
        body["ratio"]["zero-shot pipeline, 16 labels"] = (
            theirs["zero-shot pipeline, 16 labels"] / ours["16 prompts"]
        )
    for count in (1, 16):
        mine, other = (
            {k: kept[s][f"{k} {count}"] for k in ("scores", "boxes")}
            for s in ("segrid", "transformers")
        )
        n = min(len(mine["scores"]), len(other["scores"]))
        body["agreement"][f"{count} prompts"] = {
            "boxes": [len(mine["scores"]), len(other["scores"])],
            "largest difference of a score": float(
                np.abs(mine["scores"][:n] - other["scores"][:n]).max()
            ),
            "boxes equal to a pixel": float(
                (np.abs(mine["boxes"][:n] - other["boxes"][:n]).max(1) < 1).mean()
            ),
        }
    for what, ratio in body["ratio"].items():
        print(f"  {what}: transformers takes {ratio:.1f}x as long")
    print(
        f"  16 prompts cost {body['16 prompts over 1']:.3f}x of one; agreement {body['agreement']}"
    )
    print("written:", harness.record(a.name or f"detect-owlv2-base-{a.precision}", body))


def boxes(a):
    """Twenty boxes on an encoded image to masks."""
    folder = folder_of(a.model)
    image, name = photo(tuple(a.size))
    print(f"boxes: {a.model}, {name} at {a.size[0]}x{a.size[1]}, {a.precision}, {on(a)}")
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
        "device": on(a),
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
    print("written:", harness.record(a.name or f"boxes-{a.model}-{a.precision}{suffix(a)}", body))


def folder(a):
    """A folder of mixed images with the packaged model: our stream, a pool of processes around our
    Segmenter, one around segment-anything (fewer images)."""
    best = json.loads((PACKAGED / "segrid.json").read_text())["recommended"]
    options = {
        "points_per_side": a.points,
        "pred_iou_thresh": best["pred_iou_thresh"],
        "stability_score_thresh": best["stability_score_thresh"],
    }
    every = ["folder_stream", "folder_processes", "folder_segment_anything"]
    subjects = [s for s in every if s in a.subjects] or every
    print(f"folder: {a.count} images, {options}, {a.threads} threads")
    pictures = Path(tempfile.gettempdir()) / f"segrid-folder-{a.count}"
    images(pictures, a.count)
    with tempfile.TemporaryDirectory() as scratch:
        arguments = {
            "model": str(PACKAGED),
            "folder": str(pictures),
            "count": a.count,
            "options": options,
            "precision": "fp32",
            "count of folder_segment_anything": min(a.count, 12),
        }
        rows = harness.compare("folder", subjects, arguments, a.threads, a.repeat, scratch)
    ours = rows["folder_stream"]
    body = {
        "model": "tiny",
        "threads": a.threads,
        "images": a.count,
        "options": options,
        "rows": rows,
        "ratio": {s: r["median"] / ours["median"] for s, r in rows.items()},
        "memory": {s: r["memory_mb"] / ours["memory_mb"] for s, r in rows.items()},
    }
    for s, r in rows.items():
        print(
            f"  {s}: {r['stages']['images per second']:.2f} images/s ({body['ratio'][s]:.2f}x as "
            f"long as stream), {r['memory_mb']:.0f} MB PSS "
            f"({body['memory'][s]:.2f}x), busy {100 * r['stages']['busy']:.0f} %, {r['count']} "
            f"masks in {r['stages']['images']:.0f} images"
        )
        if "MB around image 100" in r["stages"]:
            print(
                f"    {r['stages']['MB around image 100']:.0f} MB around image 100, "
                f"{r['stages']['MB around the last']:.0f} MB around the last"
            )
    print("written:", harness.record(a.name or "folder", body))


def gemm(a):
    """Products on one core against its peak."""
    from benchmarks.problems.gemm import peak, rates

    before = peak()
    rows = rates()
    top = max(before, peak())
    print(
        f"gemm: one core's peak in fp32 is {top:.0f} GFLOP/s (bf16 may reach twice that, more with "
        "AMX)"
    )
    for r in rows:
        print(
            f"  {'x'.join(map(str, r['shape'])):>13}: fp32 {r['fp32']:.0f} "
            f"({100 * r['fp32'] / top:.0f} %), bf16 {r['bf16']:.0f}, torch's linear "
            f"{r['torch']:.0f}"
        )
    print("written:", harness.record(a.name or "gemm", {"peak": top, "rows": rows}))


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "problem",
        choices=["everything", "steps", "precisions", "detect", "boxes", "folder", "gemm"],
    )
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--points", type=int, default=32)
    parser.add_argument("--size", type=int, nargs=2, default=[1800, 1200], metavar=("W", "H"))
    parser.add_argument("--precision", default="fp32", choices=["fp32", "bf16", "fp16"])
    parser.add_argument(
        "--device",
        default="cpu",
        help="of everything and boxes, for segrid, segment_anything and sam2: cpu, cuda, cpu-plain",
    )
    parser.add_argument("--nms", type=float, default=1.0, help="box_nms_thresh of random weights")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument(
        "--subjects",
        nargs="+",
        default=["segrid", "segment_anything"],
        help="segrid first; then segment_anything, openvino, onnxruntime, transformers (steps only); for SAM 2 sam2, sam2_openvino (steps only); "
        "for folder folder_stream, folder_processes, folder_segment_anything (default: all)",
    )
    parser.add_argument("--count", type=int, default=200, help="images of folder")
    parser.add_argument("--name", help="of the result file")
    a = parser.parse_args()
    {
        "everything": everything,
        "steps": steps,
        "precisions": precisions,
        "detect": detect,
        "boxes": boxes,
        "folder": folder,
        "gemm": gemm,
    }[a.problem](a)


if __name__ == "__main__":
    main()
