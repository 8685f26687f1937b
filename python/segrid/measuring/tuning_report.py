"""What `segrid.tune` measured, as files: a report, a chart, a recommendation and a profile."""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from segrid._files import atomic_write, write_text

if TYPE_CHECKING:
    from segrid.measuring.tuning import Tuning


def write_report(tuning: Tuning, folder: str | os.PathLike[str]) -> list[Path]:
    """Writes report.md, speed.svg, recommendation.txt and profile.json into the folder, which is
    made.

    speed.svg needs matplotlib, and is left out without it. Returns the files' paths.
    """
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    s, best = tuning.best.setting, tuning.best
    words = (
        f"threads {s.threads}, images at once {s.in_flight}, precision {s.precision}, "
        f"{s.points_per_side} points along each side: {best.images_per_second:.3g} images/s "
        f"({best.images_per_second / tuning.rows[0].images_per_second:.2f} times the reference), "
        f"{best.boxes_per_second:.3g} boxes/s\n"
        f"{tuning.bottleneck}\n"
    )
    lines = [
        "# What this machine does best",
        "",
        f"{tuning.machine['cpu']}, {tuning.machine['cpus']} CPUs; model {tuning.model}.",
        "",
        f"**{words.strip()}**",
        "",
        "| threads | images at once | precision | points | images/s | boxes/s | seconds an image | "
        "MB | GPU | reading | masks | IoU | lost | new |",
        "|" + "---|" * 14,
    ]
    for r in tuning.rows:
        cells = [str(v) for v in asdict(r.setting).values()]
        if r.error is not None:
            lines.append("| " + " | ".join([*cells, r.error, *[""] * 9]) + " |")
            continue
        memory = "" if r.memory_mb is None else f"{r.memory_mb:.0f}"
        cells += [
            f"{r.images_per_second:.3g}",
            f"{r.boxes_per_second:.3g}",
            f"{r.latency:.3g}",
            memory,
            "none",
            f"{100 * r.io_share:.1f} %",
            str(r.masks),
            f"{r.iou_mean:.4f}",
            str(r.lost),
            str(r.new),
        ]
        lines.append("| " + " | ".join(cells) + (" | **best**" if r is best else " |"))
    files = [
        write_text(target / "recommendation.txt", words),
        write_text(target / "profile.json", json.dumps(tuning.profile(), indent=1) + "\n"),
    ]
    with contextlib.suppress(ImportError):
        from matplotlib.figure import Figure

        figure = Figure(figsize=(8, 0.4 * len(tuning.rows) + 1))
        axes = figure.subplots()
        rows = [r for r in tuning.rows if r.error is None]
        names = [
            f"{r.setting.threads} threads, {r.setting.in_flight} images, {r.setting.precision}, "
            f"{r.setting.points_per_side} points"
            for r in rows
        ]
        axes.barh(
            range(len(rows)),
            [r.images_per_second for r in rows],
            color=["#d1495b" if r is best else "#9aa5b1" for r in rows],
        )
        axes.set_yticks(range(len(rows)), names)
        axes.invert_yaxis()
        axes.set_xlabel("images/s")
        figure.tight_layout()
        with atomic_write(target / "speed.svg") as part:
            figure.savefig(part, format="svg")
        files.append(target / "speed.svg")
        lines += ["", "![images/s](speed.svg)"]
    return [write_text(target / "report.md", "\n".join(lines) + "\n"), *files]
