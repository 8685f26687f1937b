"""Finds the fastest setting of this machine for the user's own images.

Each setting is measured in a process of its own.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segrid._native import _core, available_cpus
from segrid._types import JsonObject, Options, Progress
from segrid.mask_matching import BoxedMask, match
from segrid.measuring.image_paths import existing_paths
from segrid.measuring.memory import difference, reset_peak, resident_mb
from segrid.measuring.own_process import main_of
from segrid.measuring.packed_masks import packed, unpacked
from segrid.measuring.prompt_sweep import (
    PromptBatch,
    fastest,
    sweep_in_process,
    sweep_prompts,
)
from segrid.profile import profile_of
from segrid.torch_names import Device, Precision, device_name, precision_name

BOXES = 64  # the size of the prompt batch whose speed is measured


@dataclass(frozen=True)
class Setting:
    """A setting to measure.

    threads : the thread budget of the process
    in_flight : images in memory at once (`segrid.stream`)
    points_per_side : points along each side of the grid
    """

    threads: int
    in_flight: int
    precision: str
    points_per_side: int


@dataclass(frozen=True)
class Row:
    """One setting, measured.

    images_per_second : of segment everything; boxes_per_second : of `predict`
    latency : the median of the seconds that an image is computed
    memory_mb : the peak of memory above that of the loaded model
    device_mb : the peak of the device's memory, the model included; None on CPUs
    io_share : the share of reading in the seconds of reading and computing
    masks, iou_mean, lost, new : the masks found, compared with those of the reference setting
    error : why there are no figures ("out of memory", "refused: ..."), else None
    """

    setting: Setting
    images_per_second: float = 0.0
    boxes_per_second: float = 0.0
    latency: float = 0.0
    memory_mb: float | None = None
    device_mb: float | None = None
    io_share: float = 0.0
    masks: int = 0
    iou_mean: float = float("nan")
    lost: int = 0
    new: int = 0
    error: str | None = None


@dataclass(frozen=True)
class Tuning:
    """The result of `tune`.

    rows : the reference (all threads, the first precision, the most points) comes first
    best : the recommended row
    batches : boxes in one call of `predict`, measured with the recommended setting
    bottleneck : a sentence that says what limits the speed
    machine : the CPU, its number of cores and its features
    """

    model: str
    rows: list[Row]
    best: Row
    batches: list[PromptBatch]
    bottleneck: str
    machine: JsonObject

    @property
    def best_batch(self) -> PromptBatch:
        """The fastest of `batches`."""
        return fastest(self.batches)

    def profile(self) -> JsonObject:
        """The content of the file that `Segmenter(profile=...)` and `--profile` read."""
        return profile_of(self.model, asdict(self.best.setting), self.machine)


def tune(
    images: Sequence[str | os.PathLike[str]],
    *,
    model: str | os.PathLike[str] = "tiny",
    device: Device = "auto",
    threads: Sequence[int] | None = None,
    precisions: Sequence[Precision] | None = None,
    points: Sequence[int] = (16, 24, 32),
    least_iou: float = 0.98,
    most_lost: float = 0.05,
    limit_mb: int | None = None,
    progress: Progress | None = None,
) -> Tuning:
    """Measures segment everything on your images.

    Numbers of threads and of images at once are measured first, then precisions and numbers of
    points with the fastest of these; in the end, numbers of boxes in one call with the recommended
    setting.

    images : paths of a few typical images (each setting runs all of them)
    threads : budgets to try; default: powers of two up to the CPUs that this process may use
        (affinity and cgroup), and all of these CPUs
    device, precisions : as `Segmenter` takes them; default: the precisions that this CPU runs
        fast, or fp32, fp16 and bf16 on a device
    points : numbers of points along each side of the grid
    least_iou, most_lost : a setting may be recommended where its matched masks have at least this
        mean IoU with those of the reference, and at most this share of the reference's masks is
        lost
    limit_mb : where the process of a setting needs more memory than this above its start, the row
        of that setting says so
    progress : called with {"setting", "done", "total"} before each setting

    Raises ValueError for no images or numbers below 1, FileNotFoundError, RuntimeError where the
    reference itself fails.
    """
    paths = existing_paths(images)
    if not paths:
        raise ValueError("tune: give at least one image")
    budgets = _budgets(threads)
    if not budgets or min(budgets) < 1 or not points or min(points) < 1:
        raise ValueError("tune: threads and points must be at least 1")
    names = _precisions(precisions, device_name(device))
    counts = sorted(points, reverse=True)
    first = [
        Setting(budget, in_flight, names[0], counts[0])
        for budget in budgets
        for in_flight in sorted({1, budget, budget + 1}, reverse=True)
    ]
    job = {
        "model": os.fspath(model),
        "device": device_name(device),
        "images": paths,
        "limit_mb": limit_mb,
    }
    total = len(first) + len(names) * len(points) - 1
    with tempfile.TemporaryDirectory() as scratch:
        measured = _Measurements(job, Path(scratch) / "masks.npz", total, progress)
        for setting in first:
            measured.add(setting)
        fastest = _fastest([r for r in measured.rows if r.error is None]).setting
        for name in names:
            for count in counts:
                if (name, count) != (names[0], counts[0]):
                    measured.add(replace(fastest, precision=name, points_per_side=count))
    rows = measured.rows
    best = _fastest(
        [
            r
            for r in rows
            if r.error is None
            and (r is rows[0] or (r.iou_mean >= least_iou and r.lost <= most_lost * rows[0].masks))
        ]
    )
    asked = {"threads": best.setting.threads, "precision": best.setting.precision}
    shared = {key: job[key] for key in ("model", "device")}
    batches = sweep_in_process({**shared, **asked, "image": paths[0], "counts": None})
    return Tuning(os.fspath(model), rows, best, batches, _bottleneck(rows, best), _machine())


def _budgets(threads: Sequence[int] | None) -> list[int]:
    """The thread budgets to try, the largest first."""
    cpus = available_cpus()
    powers = {2**k for k in range(10) if 2**k <= cpus}
    return sorted({*powers, cpus} if threads is None else set(threads), reverse=True)


def _precisions(given: Sequence[Precision] | None, device: str) -> list[str]:
    """The precisions to try: those that are given, else those that this CPU runs fast, or those of
    devices. (The others are refused there, and their rows say so.)"""
    if given is not None:
        return [precision_name(precision) for precision in given]
    if _core.resolve_device(device) != "cpu":
        return ["fp32", "fp16", "bf16"]
    features = _core.cpu_features()
    names = ["fp32"]
    if features["avx512_bf16"] or features["amx"]:
        names.append("bf16")
    if any(features[name] for name in ("avx_vnni", "avx512_vnni", "amx")):
        names.append("int8")
    return names


def _fastest(rows: list[Row]) -> Row:
    return max(rows, key=lambda row: row.images_per_second)


def _machine() -> JsonObject:
    return {
        "cpu": _core.cpu_model(),
        "cpus": available_cpus(),
        "features": sorted(name for name, there in _core.cpu_features().items() if there),
    }


class _Measurements:
    """The rows of settings, each measured in a process of its own. The first setting is the
    reference, with whose masks the others are compared.

    job : what is the same for all settings
    masks_file : where a process leaves the masks that it found
    """

    def __init__(
        self,
        job: JsonObject,
        masks_file: Path,
        total: int,
        progress: Progress | None,
    ) -> None:
        self.rows: list[Row] = []
        self._job, self._masks_file = job, masks_file
        self._total, self._progress = total, progress
        self._reference: list[list[BoxedMask]] = []

    def add(self, setting: Setting) -> None:
        """Measures a setting. Raises RuntimeError where it is the reference and fails."""
        if self._progress is not None:
            done = len(self.rows)
            self._progress({"setting": asdict(setting), "done": done, "total": self._total})
        row = self._measure(setting)
        if not self.rows and row.error is not None:
            raise RuntimeError(f"tune: the reference setting {setting} failed: {row.error}")
        self.rows.append(row)

    def _measure(self, setting: Setting) -> Row:
        job = self._job | {"setting": asdict(setting), "out": str(self._masks_file)}
        done = subprocess.run(
            main_of(__name__),
            input=json.dumps(job),
            capture_output=True,
            text=True,
        )
        lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
        if done.returncode != 0 or not lines:
            return Row(setting, error=_failure(done, self._job["limit_mb"] is not None))
        found = json.loads(lines[-1])
        if "refused" in found:
            return Row(setting, error=f"refused: {found['refused']}"[:200])
        masks = unpacked(self._masks_file)
        self._reference = self._reference if self.rows else masks
        pairs = zip(self._reference, masks, strict=True)
        ious = [iou for a, b in pairs for *_, iou in match(a, b)]
        count, wanted = sum(map(len, masks)), sum(map(len, self._reference))
        return Row(
            setting,
            **found,
            masks=count,
            iou_mean=float(np.mean(ious)) if ious else float("nan"),
            lost=wanted - len(ious),
            new=count - len(ious),
        )


def _failure(done: subprocess.CompletedProcess[str], limited: bool) -> str:
    """Why a process gave no figures. limited : its memory had a limit."""
    reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
    signs = ["MemoryError", "bad_alloc", "not enough memory"]
    if limited:  # the stack of a thread counts as memory, too
        signs += ["can't start new thread", "Resource temporarily unavailable"]
    killed = done.returncode in (-9, 137) or any(sign in reason for sign in signs)
    return "out of memory" if killed else reason[:200]


def _bottleneck(rows: list[Row], best: Row) -> str:
    if best.io_share > 0.5:
        return (
            f"Reading takes {100 * best.io_share:.0f} % of the seconds: the disk (or decoding) is "
            "the bottleneck; more images at once would help, more threads would not."
        )
    most, like = max(r.setting.threads for r in rows), rows[0].setting
    alone, several = (
        [
            r.images_per_second
            for r in rows
            if r.error is None
            and r.setting.threads == t
            and r.setting.precision == like.precision
            and r.setting.points_per_side == like.points_per_side
        ]
        for t in (1, most)
    )
    if alone and several and most > 1:
        gain = max(several) / max(alone)
        if gain < 0.7 * most:
            return (
                f"{most} threads are {gain:.1f} times as fast as one: memory, or another process "
                "on this machine, is the bottleneck, not the number of threads."
            )
        return (
            f"Computing is the bottleneck ({most} threads are {gain:.1f} times as fast as one): "
            "more or faster cores would help."
        )
    return "Computing is the bottleneck."


def _main() -> None:
    """The process that measures one setting: the job comes in, and its figures go out, as JSON."""
    job = json.loads(sys.stdin.read())
    out, sys.stdout = sys.stdout, sys.stderr  # libraries print to the latter
    out.write(json.dumps(_figures(job)) + "\n")


def _figures(job: JsonObject) -> JsonObject:
    import segrid

    setting = Setting(**job["setting"])
    segrid.set_threads(setting.threads)
    if job["limit_mb"] is not None:
        _limit_memory(job["limit_mb"])
    try:
        segmenter = segrid.Segmenter(
            job["model"], device=job["device"], precision=setting.precision
        )
    except NotImplementedError as error:
        return {"refused": str(error)}
    images, in_flight = job["images"], setting.in_flight
    options: Options = {
        "points_per_side": setting.points_per_side,
        "crop_n_layers": "auto",
    }
    segmenter.everything(images[0], points_per_side=2)  # warms up
    loaded = resident_mb("VmRSS")
    reset_peak()
    repeat = max(1, -(-2 * in_flight // len(images)))
    begin = perf_counter()
    results = list(segrid.stream(segmenter, images * repeat, in_flight=in_flight, **options))
    seconds = perf_counter() - begin
    peak = resident_mb("VmHWM")
    for one in results:
        if one.error is not None:
            raise one.error
    prompts = sweep_prompts(segmenter, images[0], [BOXES])[0]
    if prompts.error is not None:
        raise MemoryError(prompts.error)
    masks: dict[str, NDArray[Any]] = {}
    for i, one in enumerate(results[: len(images)]):
        assert isinstance(one.result, segrid.Masks)
        masks |= packed(one.result, i)
    np.savez(job["out"], **masks)  # type: ignore[arg-type]
    read, computed = (sum(r.seconds.get(k, 0.0) for r in results) for k in ("read", "compute"))
    return {
        "images_per_second": len(results) / seconds,
        "boxes_per_second": prompts.boxes_per_second,
        "latency": statistics.median(r.seconds["compute"] for r in results),
        "memory_mb": difference(peak, loaded),
        "device_mb": _core.device_memory(segmenter.device)[1] or None,
        "io_share": read / (read + computed),
    }


def _limit_memory(more_mb: int) -> None:
    """Limits the address space of this process to its present size and `more_mb`."""
    import resource

    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    limit = pages * resource.getpagesize() + (more_mb << 20)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
