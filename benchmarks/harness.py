"""Runs subjects side by side: a fresh process per row, ours and the peer alternating, warm-up
inside; prints and writes what was measured."""

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent


def cpu():
    text = Path("/proc/cpuinfo").read_text()
    model = next(line.split(": ")[1] for line in text.split("\n") if line.startswith("model name"))
    flags = next(line for line in text.split("\n") if line.startswith("flags")).split()
    isa = [f for f in ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_tile") if f in flags]
    masked = {"SEGRID_CPU": os.environ["SEGRID_CPU"]} if os.environ.get("SEGRID_CPU") else {}
    return {
        "model": model,
        "family": next(
            line.split(": ")[1] for line in text.split("\n") if line.startswith("cpu family")
        ),
        "isa": isa,
        **masked,
    }


def processor(device, threads):
    """What a problem is measured on, in words: the threads of the CPU, or the GPU's name."""
    import torch

    if torch.device(device.removesuffix("-plain")).type == "cpu":
        plain = " of the plain definitions" if device == "cpu-plain" else ""
        return f"{threads} threads{plain}"
    return torch.cuda.get_device_name(device)


def device_suffix(device):
    """What a result file's name says of the device: nothing for the CPU."""
    return "" if device == "cpu" else "-" + device.replace(":", "-")


def versions():
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": platform.python_version()}
    for package in (
        "segrid",
        "torch",
        "segment-anything",
        "transformers",
        "openvino",
        "onnxruntime",
        "numpy",
    ):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            pass
    return found


def commit():
    """The commit that was measured; -dirty where code differs from it (results and what is made
    from them are no code)."""

    def git(*arguments):
        return subprocess.run(
            ["git", *arguments], cwd=ROOT, capture_output=True, text=True
        ).stdout.strip()

    changed = git(
        "status", "--porcelain", "--", ".", ":!benchmarks/results", ":!README.md", ":!docs"
    )
    return (git("describe", "--always") or "unknown") + ("-dirty" if changed else "")


def run_row(subject, problem, arguments, threads, out):
    """One measurement in its own process. Returns what the subject wrote. subject: a module of
    subjects/, with another precision as "segrid@int8"."""
    subject, _, precision = subject.partition("@")
    if precision:
        arguments = {**arguments, "precision": precision}
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": str(threads),
        "SEGRID_THREADS": str(threads),
        "PYTHONPATH": str(ROOT),
    }
    environment["SEGRID_BENCHMARK"] = json.dumps(
        {"subject": subject, "arguments": arguments, "threads": threads, "out": str(out)}
    )
    subprocess.run(
        [sys.executable, "-m", f"benchmarks.problems.{problem}"],
        env=environment,
        cwd=ROOT,
        check=True,
    )
    return json.loads(Path(out).read_text())


def compare(problem, subjects, arguments, threads, repeat, scratch):
    """Alternates the subjects `repeat` times. Returns {subject: `summary` of its runs}."""
    rows = {s: [] for s in subjects}
    for i in range(repeat):
        for s in subjects:
            out = Path(scratch) / f"{s}-{i}.json"
            began = time.time()
            rows[s].append(run_row(s, problem, arguments, threads, out))
            if "error" in rows[s][-1]:
                print(f"  {s}: {rows[s][-1]['error']}", flush=True)
                continue
            seconds = rows[s][-1]["seconds"]
            print(
                f"  {s}: {seconds:.2f} s, {rows[s][-1]['count']} masks ({time.time() - began:.0f} "
                "s with loading)",
                flush=True,
            )
    return {s: summary(r) for s, r in rows.items()}


def summary(runs):
    """What the runs of one subject come to; {"error": why} for one that cannot run here."""
    if "error" in runs[0]:
        return {"error": runs[0]["error"]}
    seconds = [r["seconds"] for r in runs]
    stages = {k: statistics.median(r["stages"][k] for r in runs) for k in runs[0].get("stages", {})}
    return {
        "median": statistics.median(seconds),
        "spread": [min(seconds), max(seconds)],
        "memory_mb": max(r["memory_mb"] for r in runs),
        "count": runs[0]["count"],
        "stages": stages,
        "runs": len(runs),
    }


def record(name, body):
    """Writes results/<name>.json with everything that a reader needs to repeat it."""
    target = HERE / "results" / f"{name}.json"
    target.parent.mkdir(exist_ok=True)
    body = {
        "problem": name,
        "date": time.strftime("%Y-%m-%d"),
        "commit": commit(),
        "cpu": cpu(),
        "versions": versions(),
        **body,
    }
    target.write_text(json.dumps(body, indent=2) + "\n")
    return target
