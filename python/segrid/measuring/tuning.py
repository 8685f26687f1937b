"""Finds what this machine does best with your own images.

Each setting is measured in a process of its own.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from segrid.measuring.matching import match, packed, unpacked
from segrid.measuring.memory import difference, reset_peak, resident_mb
from segrid.measuring.prompt_sweep import sweep_prompts
from segrid.profile import profile_of
from segrid.torch_names import Device, Precision, device_name, precision_name

BOXES = 64  # in the prompt batch whose speed is measured


@dataclass(frozen=True)
class Setting:
    """A setting to measure.

    threads : the budget of the process
    in_flight : images at once (`segrid.stream`)
    """

    threads: int
    in_flight: int
    precision: str
    points_per_side: int


@dataclass(frozen=True)
class Row:
    """One setting, measured.

    images_per_second, boxes_per_second : the speeds
    latency : seconds of computing an image, median
    memory_mb : peak above the weights
    io_share : reading's part of all seconds
    masks, iou_mean, lost, new : masks found, compared with the reference setting's masks
    error : why there are no figures ("out of memory", "refused: ..."), else None
    """

    setting: Setting
    images_per_second: float = 0.0
    boxes_per_second: float = 0.0
    latency: float = 0.0
    memory_mb: float | None = None
    io_share: float = 0.0
    masks: int = 0
    iou_mean: float = float("nan")
    lost: int = 0
    new: int = 0
    error: str | None = None


@dataclass(frozen=True)
class Tuning:
    """What `tune` measured.

    rows : the reference (all threads, fp32, the most points) first
    best : the recommended row
    bottleneck : a sentence
    machine : what the machine is
    """

    model: str
    rows: list[Row]
    best: Row
    bottleneck: str
    machine: dict[str, Any]

    def profile(self) -> dict[str, Any]:
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
    progress: Callable[[dict[str, Any]], None] | None = None,
) -> Tuning:
    """Measures segment everything on your images.

    Threads and images at once come first, then precisions and points with the fastest of those.

    images : paths; a few that are typical (each setting runs all of them)
    threads : budgets to try; default: powers of two up to the CPUs this process may use (affinity
        and cgroup), and all of them
    device, precisions : as `Segmenter` takes them; default: the precisions that this CPU runs
    least_iou, most_lost : a setting may be recommended when its matched masks have this mean IoU
        with the reference's and at most this share of them is lost
    limit_mb : a setting whose process would take more memory than this above its start is a row
        that says so
    progress : called with {"setting", "done", "total"} before each setting

    Raises ValueError for no images or numbers below 1, FileNotFoundError, RuntimeError where the
    reference itself fails.
    """
    from segrid._native import _core

    paths = [str(Path(p).resolve()) for p in images]
    if not paths:
        raise ValueError("tune: give at least one image")
    for path in paths:
        if not Path(path).is_file():
            raise FileNotFoundError(f"{path}: no such image")
    cpus = _core.available_cpus()
    budgets = sorted(
        {*(2**k for k in range(10) if 2**k <= cpus), cpus} if threads is None else set(threads),
        reverse=True,
    )
    if not budgets or min(budgets) < 1 or not points or min(points) < 1:
        raise ValueError("tune: threads and points must be at least 1")
    features = _core.cpu_features()
    if precisions is None:
        bf16, int8 = (
            features["avx512_bf16"] or features["amx"],
            features["avx512_vnni"] or features["amx"],
        )
        names = ["fp32", *(["bf16"] if bf16 else []), *(["int8"] if int8 else [])]
    else:
        names = [precision_name(p) for p in precisions]
    device, most = device_name(device), max(points)
    first = [
        Setting(t, n, names[0], most) for t in budgets for n in sorted({1, t, t + 1}, reverse=True)
    ]
    total, reference = len(first) + len(names) * len(points) - 1, None
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as scratch:

        def measure(setting: Setting) -> Row:
            nonlocal reference
            if progress is not None:
                progress({"setting": asdict(setting), "done": len(rows), "total": total})
            row, masks = _measured(
                setting, os.fspath(model), device, paths, limit_mb, Path(scratch), reference
            )
            if reference is None:
                if row.error is not None:
                    raise RuntimeError(f"tune: the reference setting {setting} failed: {row.error}")
                reference = masks
            return row

        for setting in first:
            rows.append(measure(setting))
        fastest = max(
            (r for r in rows if r.error is None), key=lambda r: r.images_per_second
        ).setting
        for precision in names:
            for count in sorted(points, reverse=True):
                if (precision, count) != (names[0], most):
                    rows.append(
                        measure(Setting(fastest.threads, fastest.in_flight, precision, count))
                    )
    fit = [
        r
        for r in rows
        if r.error is None
        and (r is rows[0] or (r.iou_mean >= least_iou and r.lost <= most_lost * rows[0].masks))
    ]
    best = max(fit, key=lambda r: r.images_per_second)
    machine = {
        "cpu": _core.cpu_model(),
        "cpus": cpus,
        "features": sorted(k for k, v in features.items() if v),
    }
    return Tuning(os.fspath(model), rows, best, _bottleneck(rows, best), machine)


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


def _measured(
    setting: Setting,
    model: str,
    device: str,
    paths: list[str],
    limit_mb: int | None,
    scratch: Path,
    reference: Any,
) -> tuple[Row, Any]:
    out = scratch / "masks.npz"
    job = {
        "setting": asdict(setting),
        "model": model,
        "device": device,
        "images": paths,
        "limit_mb": limit_mb,
        "out": str(out),
    }
    done = subprocess.run(
        [sys.executable, "-c", "from segrid.measuring.tuning import _main; _main()"],
        input=json.dumps(job),
        capture_output=True,
        text=True,
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode != 0 or not lines:
        reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        signs = ["MemoryError", "bad_alloc", "not enough memory"]
        if limit_mb is not None:  # a thread's stack counts, too
            signs += ["can't start new thread", "Resource temporarily unavailable"]
        killed = done.returncode in (-9, 137) or any(sign in reason for sign in signs)
        return Row(setting, error="out of memory" if killed else reason[:200]), None
    found = json.loads(lines[-1])
    if "refused" in found:
        return Row(setting, error=f"refused: {found['refused']}"[:200]), None
    masks = unpacked(out)
    pairs = [iou for a, b in zip(reference or masks, masks, strict=True) for *_, iou in match(a, b)]
    count, wanted = sum(map(len, masks)), sum(map(len, reference or masks))
    return Row(
        setting,
        **found,
        masks=count,
        iou_mean=float(np.mean(pairs)) if pairs else float("nan"),
        lost=wanted - len(pairs),
        new=count - len(pairs),
    ), masks


def _main() -> None:
    job = json.loads(sys.stdin.read())
    out, sys.stdout = sys.stdout, sys.stderr  # what libraries print
    out.write(json.dumps(_work(job)) + "\n")


def _work(job: dict[str, Any]) -> dict[str, Any]:
    import segrid

    s = Setting(**job["setting"])
    segrid.set_threads(s.threads)
    if job["limit_mb"] is not None:
        import resource

        now = (
            int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
            * resource.getpagesize()
        )
        resource.setrlimit(resource.RLIMIT_AS, (now + (job["limit_mb"] << 20),) * 2)
    try:
        segmenter = segrid.Segmenter(job["model"], device=job["device"], precision=s.precision)
    except NotImplementedError as error:
        return {"refused": str(error)}
    options: dict[str, Any] = {"points_per_side": s.points_per_side, "crop_n_layers": "auto"}
    segmenter.everything(job["images"][0], points_per_side=2)  # warm
    loaded = resident_mb("VmRSS")
    reset_peak()
    repeat = max(1, -(-2 * s.in_flight // len(job["images"])))
    begin = perf_counter()
    results = list(
        segrid.stream(segmenter, job["images"] * repeat, in_flight=s.in_flight, **options)
    )
    seconds = perf_counter() - begin
    peak = resident_mb("VmHWM")
    for one in results:
        if one.error is not None:
            raise one.error
    prompts = sweep_prompts(segmenter, job["images"][0], [BOXES])[0]
    if prompts.error is not None:
        raise MemoryError(prompts.error)
    kept: dict[str, np.ndarray] = {}
    for i, one in enumerate(results[: len(job["images"])]):
        kept |= packed(one.result, i)
    np.savez(job["out"], **kept)  # type: ignore[arg-type]
    read, computed = (sum(r.seconds.get(k, 0.0) for r in results) for k in ("read", "compute"))
    latency = statistics.median(r.seconds["compute"] for r in results)
    return {
        "images_per_second": len(results) / seconds,
        "boxes_per_second": prompts.boxes_per_second,
        "latency": latency,
        "memory_mb": difference(peak, loaded),
        "io_share": read / (read + computed),
    }
