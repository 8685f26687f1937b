"""The result of `segrid.tune` as files: a report, a chart, a recommendation and a profile."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from segrid._files import atomic_write, write_text

if TYPE_CHECKING:
    from segrid.measuring.prompt_sweep import PromptBatch
    from segrid.measuring.tuning import Row, Tuning

COLUMNS = (
    "threads",
    "images at once",
    "precision",
    "points",
    "images/s",
    "boxes/s",
    "seconds an image",
    "MB",
    "GPU",
    "reading",
    "masks",
    "IoU",
    "lost",
    "new",
)


def write_report(tuning: Tuning, folder: str | os.PathLike[str]) -> list[Path]:
    """Writes report.md, speed.svg, recommendation.txt and profile.json; makes the folder.

    speed.svg needs matplotlib, and is left out without it. Returns the files' paths.
    """
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    recommendation = _recommendation(tuning)
    files = [
        write_text(target / "recommendation.txt", recommendation),
        write_text(target / "profile.json", json.dumps(tuning.profile(), indent=1) + "\n"),
    ]
    lines = [
        "# What this machine does best",
        "",
        f"{tuning.machine['cpu']}, {tuning.machine['cpus']} CPUs; model {tuning.model}.",
        "",
        f"**{recommendation.strip()}**",
        "",
        f"| {' | '.join(COLUMNS)} |",
        "|" + "---|" * len(COLUMNS),
        *(_table_row(row, row is tuning.best) for row in tuning.rows),
    ]
    lines += [
        "",
        "Boxes in one call of `predict`, with the best of these settings:",
        "",
        "| boxes | ms | boxes/s | MB | GPU | |",
        "|---|---|---|---|---|---|",
        *(_batch_row(row, row is tuning.best_batch) for row in tuning.batches),
    ]
    if _draw_speeds(tuning, target / "speed.svg"):
        files.append(target / "speed.svg")
        lines += ["", "![images/s](speed.svg)"]
    return [write_text(target / "report.md", "\n".join(lines) + "\n"), *files]


def _recommendation(tuning: Tuning) -> str:
    setting, best = tuning.best.setting, tuning.best
    return (
        f"threads {setting.threads}, images at once {setting.in_flight}, "
        f"precision {setting.precision}, "
        f"{setting.points_per_side} points along each side: {best.images_per_second:.3g} images/s "
        f"({best.images_per_second / tuning.rows[0].images_per_second:.2f} times the reference), "
        f"{best.boxes_per_second:.3g} boxes/s, {tuning.best_batch.boxes} boxes in one call\n"
        f"{tuning.bottleneck}\n"
    )


def _table_row(row: Row, best: bool) -> str:
    cells = [str(value) for value in asdict(row.setting).values()]
    if row.error is not None:
        missing = len(COLUMNS) - len(cells) - 1
        return "| " + " | ".join([*cells, row.error, *[""] * missing]) + " |"
    cells += [
        f"{row.images_per_second:.3g}",
        f"{row.boxes_per_second:.3g}",
        f"{row.latency:.3g}",
        "" if row.memory_mb is None else f"{row.memory_mb:.0f}",
        "none" if row.device_mb is None else f"{row.device_mb:.0f} MB",
        f"{100 * row.io_share:.1f} %",
        str(row.masks),
        f"{row.iou_mean:.4f}",
        str(row.lost),
        str(row.new),
    ]
    return "| " + " | ".join(cells) + (" | **best**" if best else " |")


def _batch_row(row: PromptBatch, best: bool) -> str:
    if row.seconds is None:
        return f"| {row.boxes} | {row.error} | | | | |"
    note = "**best**" if best else ""
    if row.ran_out:
        note = f"out of memory: {row.at_once} at once"
    memory = "" if row.memory_mb is None else f"{row.memory_mb:.0f}"
    gpu = "none" if row.device_mb is None else f"{row.device_mb:.0f} MB"
    speed = f"{1e3 * row.seconds:.1f} | {row.boxes_per_second:.0f}"
    return f"| {row.boxes} | {speed} | {memory} | {gpu} | {note} |"


def _draw_speeds(tuning: Tuning, path: Path) -> bool:
    """Writes a bar chart of images/s; returns False without matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return False
    rows = [row for row in tuning.rows if row.error is None]
    names = [
        f"{row.setting.threads} threads, {row.setting.in_flight} images, "
        f"{row.setting.precision}, {row.setting.points_per_side} points"
        for row in rows
    ]
    figure = Figure(figsize=(8, 0.4 * len(tuning.rows) + 1))
    axes = figure.subplots()
    axes.barh(
        range(len(rows)),
        [row.images_per_second for row in rows],
        color=["#d1495b" if row is tuning.best else "#9aa5b1" for row in rows],
    )
    axes.set_yticks(range(len(rows)), names)
    axes.invert_yaxis()
    axes.set_xlabel("images/s")
    figure.tight_layout()
    with atomic_write(path) as part:
        figure.savefig(part, format="svg")
    return True
