"""Draws RUN/curve.png from RUN/log.jsonl: `python -m training.curve RUN` (needs matplotlib)."""

import json
import sys
from pathlib import Path

import numpy as np


def read(run):
    """(step records, check records) of a run's log; of a step logged twice (cut off and resumed)
    the later counts."""
    records = [json.loads(line) for line in (Path(run) / "log.jsonl").read_text().splitlines()]
    steps = {r["step"]: r for r in records if "mask" in r}
    return [steps[s] for s in sorted(steps)], [r for r in records if "check" in r]


def draw(run):
    """Smoothed training IoU and loss, and the checks on kept-out pictures, against the step."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    steps, checks = read(run)
    at = np.array([r["step"] for r in steps])
    width = max(1, min(100, len(steps) // 8))
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4))
    for key, label in (
        ("chosen", "click or box, chosen"),
        ("best", "best of 3"),
        ("second_chosen", "corrected"),
    ):
        values = np.array([r.get(key, np.nan) for r in steps])
        left.plot(
            at[width - 1 :],
            np.convolve(values, np.ones(width) / width, "valid"),
            label=f"train, {label}",
        )
    for key in ("nuclei", "objects", "scenes"):
        left.plot(
            [c["step"] for c in checks],
            [c["check"][key] for c in checks],
            "o--",
            label=f"kept out, {key}",
        )
    left.set(xlabel="step", ylabel="IoU")
    left.legend(fontsize=7)
    right.plot(
        at[width - 1 :], np.convolve([r["mask"] for r in steps], np.ones(width) / width, "valid")
    )
    right.set(xlabel="step", ylabel="mask loss")
    figure.tight_layout()
    figure.savefig(Path(run) / "curve.png", dpi=110)


if __name__ == "__main__":
    draw(sys.argv[1])
