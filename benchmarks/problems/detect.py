"""Words to boxes: one prompt, sixteen prompts, and sixteen labels as transformers' zero-shot
pipeline does them. Texts are new in every run. Run through benchmarks/run.py."""

import time

import numpy as np

from benchmarks.problems.everything import photo
from benchmarks.problems.job import begin, end
from benchmarks.problems.steps import timed

COLOURS, THINGS = ("red", "green", "blue", "yellow"), ("circle", "square", "rectangle", "triangle")


def prompts(count, run):
    """`count` prompts that no other run has."""
    every = [f"a photo of a {c} {t} number {run}" for c in COLOURS for t in THINGS]
    return every[:count]


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
