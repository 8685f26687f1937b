"""Words to boxes with OWLv2, against transformers.

The model is OWLv2 base at 960 px, with one prompt and with sixteen. In fp32 on the CPU
transformers' zero-shot pipeline runs once, too, with sixteen labels, which takes minutes. The texts
are new in every run, so that no subject finds them in a cache.

python -m benchmarks.run detect --precision bf16"""

import time

import numpy as np

from benchmarks import arguments, environment, harness, models
from benchmarks.photo import photo
from benchmarks.row import timed

COLOURS, THINGS = ("red", "green", "blue", "yellow"), ("circle", "square", "rectangle", "triangle")
COUNTS = (1, 16)
ZERO_SHOT = "zero-shot pipeline, 16 labels"


def add_arguments(parser):
    arguments.add(parser, "size", "precision", "device", "threads", "repeat")


def measure(a, scratch):
    _, name = photo(tuple(a.size))
    on = environment.processor(a.device, a.threads)
    print(f"detect: OWLv2 base at 960 px, {name} at {a.size[0]}x{a.size[1]}, {a.precision}, {on}")
    row = {
        "model": models.folder_of("owlv2-base"),
        "size": a.size,
        "precision": a.precision,
        "device": a.device,
        "zero_shot": a.precision == "fp32" and a.device == "cpu",
    }
    facts = {
        "model": "owlv2-base",
        "image": name,
        "size": a.size,
        "precision": a.precision,
        "threads": a.threads,
        "device": on,
    }
    rows = harness.alternate("detect", ["segrid", "transformers"], row, a, scratch)
    suffix = environment.device_suffix(a.device)
    return harness.Measured(f"detect-owlv2-base-{a.precision}{suffix}", facts, rows)


def measure_row(job):
    subject = job.load("_detector")
    image, _ = photo(tuple(job.arguments["size"]))
    stages, kept, runs = {}, {}, iter(range(100))
    for count in COUNTS:
        stages[stage(count)], _ = timed(
            3, lambda count=count: subject.detect(image, prompts(count, next(runs)), 0.1)
        )
    if hasattr(subject, "zero_shot") and job.arguments["zero_shot"]:
        # It takes two minutes, so it runs once; the model is warm.
        began = time.perf_counter()
        subject.zero_shot(image, prompts(16, 100), 0.1)
        stages[ZERO_SHOT] = time.perf_counter() - began
    for count in COUNTS:
        kept[f"scores {count}"], kept[f"boxes {count}"] = subject.detect(
            image, prompts(count, 200), 0.02
        )
    job.keep(**kept)
    job.end(sum(stages.values()), len(kept["scores 16"]), stages)


def stage(count):
    """The name of the stage with so many prompts."""
    return "1 prompt" if count == 1 else f"{count} prompts"


def prompts(count, run):
    """`count` prompts that no other run has."""
    every = [f"a photo of a {c} {t} number {run}" for c in COLOURS for t in THINGS]
    return every[:count]


def compare(body, scratch):
    ours, theirs = (body["rows"][s]["stages"] for s in ("segrid", "transformers"))
    kept = {s: harness.kept(scratch, s) for s in body["rows"]}
    ratio = {name: theirs[name] / ours[name] for name in ours}
    if ZERO_SHOT in theirs:
        ratio[ZERO_SHOT] = theirs[ZERO_SHOT] / ours["16 prompts"]
    return {
        "ratio": ratio,
        "16 prompts over 1": ours["16 prompts"] / ours["1 prompt"],
        "agreement": {f"{count} prompts": agreement(count, **kept) for count in COUNTS},
    }


def agreement(count, segrid, transformers):
    """The differences between the scores and boxes of both for `count` prompts. Each of the two is
    a dict of arrays "scores COUNT" (N,) and "boxes COUNT" (N, 4), the best first."""
    (ours, mine), (theirs, other) = (
        (kept[f"scores {count}"], kept[f"boxes {count}"]) for kept in (segrid, transformers)
    )
    n = min(len(ours), len(theirs))
    return {
        "boxes": [len(ours), len(theirs)],
        "largest difference of a score": float(np.abs(ours[:n] - theirs[:n]).max()),
        "boxes equal to a pixel": float((np.abs(mine[:n] - other[:n]).max(1) < 1).mean()),
    }


def summarise(body):
    for name, ratio in body["ratio"].items():
        yield f"  {name}: transformers takes {ratio:.1f}x as long"
    yield (
        f"  16 prompts cost {body['16 prompts over 1']:.3f}x of one; agreement {body['agreement']}"
    )
