"""Words to boxes: one prompt, sixteen prompts, and sixteen labels as transformers' zero-shot
pipeline does them. Texts are new in every run. Run through benchmarks/run.py."""

import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks import harness, models
from benchmarks.problems.everything import photo
from benchmarks.problems.job import begin, end
from benchmarks.problems.steps import timed

COLOURS, THINGS = ("red", "green", "blue", "yellow"), ("circle", "square", "rectangle", "triangle")


def prompts(count, run):
    """`count` prompts that no other run has."""
    every = [f"a photo of a {c} {t} number {run}" for c in COLOURS for t in THINGS]
    return every[:count]


def agreement(count, segrid, transformers):
    """How near the scores and boxes of both are for `count` prompts. Each of the two is a dict of
    arrays "scores COUNT" (N,) and "boxes COUNT" (N, 4), the best first."""
    (ours, mine), (theirs, other) = (
        (kept[f"scores {count}"], kept[f"boxes {count}"]) for kept in (segrid, transformers)
    )
    n = min(len(ours), len(theirs))
    return {
        "boxes": [len(ours), len(theirs)],
        "largest difference of a score": float(np.abs(ours[:n] - theirs[:n]).max()),
        "boxes equal to a pixel": float((np.abs(mine[:n] - other[:n]).max(1) < 1).mean()),
    }


def run(a):
    """OWLv2: one prompt, sixteen, and transformers' zero-shot pipeline with sixteen labels (fp32
    only: it takes minutes)."""
    folder = models.folder_of("owlv2-base")
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
        "agreement": {f"{count} prompts": agreement(count, **kept) for count in (1, 16)},
    }
    if "zero-shot pipeline, 16 labels" in theirs:
        body["ratio"]["zero-shot pipeline, 16 labels"] = (
            theirs["zero-shot pipeline, 16 labels"] / ours["16 prompts"]
        )
    for what, ratio in body["ratio"].items():
        print(f"  {what}: transformers takes {ratio:.1f}x as long")
    print(
        f"  16 prompts cost {body['16 prompts over 1']:.3f}x of one; agreement {body['agreement']}"
    )
    print("written:", harness.record(a.name or f"detect-owlv2-base-{a.precision}", body))


def main():
    job, a, subject = begin("_detector")
    image, _ = photo(tuple(a["size"]))
    stages, kept, runs = {}, {}, iter(range(100))
    for stage, count, repeat in (("1 prompt", 1, 3), ("16 prompts", 16, 3)):
        stages[stage], _ = timed(
            repeat, lambda count=count: subject.detect(image, prompts(count, next(runs)), 0.1)
        )
    if hasattr(subject, "zero_shot") and a["zero_shot"]:
        # 16 labels take transformers two minutes: once, warm
        began = time.perf_counter()
        subject.zero_shot(image, prompts(16, 100), 0.1)
        stages["zero-shot pipeline, 16 labels"] = time.perf_counter() - began
    for count in (1, 16):
        kept[f"scores {count}"], kept[f"boxes {count}"] = subject.detect(
            image, prompts(count, 200), 0.02
        )
    np.savez(job["out"] + ".npz", **kept)
    end(job, sum(stages.values()), len(kept["scores 16"]), stages)


if __name__ == "__main__":
    main()
