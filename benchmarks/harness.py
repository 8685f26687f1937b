"""Runs the subjects of a problem in turn, each row in a fresh process, and writes the result."""

import importlib.util
import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks import arguments, environment

HERE = Path(__file__).parent
ROOT = HERE.parent
# Where the masks of two subjects agree less, they did not do the same work.
LEAST_IOU = 0.9


@dataclass
class Measured:
    """The result of a problem's `measure`: the name of the result file, the facts of the setup that
    it states, and the rows, {subject: `summary` of its runs}."""

    name: str
    facts: dict
    rows: dict


def run(problem, a, scratch):
    """Measures a module of problems/ with its options `a`, prints what it says and returns the
    path of the result. The rows of `a` keep their files in the folder `scratch`."""
    refuse_precision(a)
    if hasattr(a, "peers"):
        arguments.subjects_of(a)  # refuses a peer before the models are made
    measured = problem.measure(a, scratch)
    body = {**measured.facts, "rows": measured.rows}
    body |= problem.compare(body, scratch)
    for line in problem.summarise(body):
        print(line)
    if a.name or "SEGRID_BENCHMARK_RESULTS" in os.environ:
        return record(a.name or measured.name, body)
    return record(measured.name + arguments.settings(a, measured.name), body, whole=True)


def refuse_precision(a):
    """Ends the program before the first row if ours refuses the precision on this CPU."""
    precision = getattr(a, "precision", "fp32")
    if precision == "fp32" or getattr(a, "device", "cpu") != "cpu":
        return
    import segrid

    try:
        segrid.Segmenter("tiny", precision=precision, device="cpu")
    except NotImplementedError as refused:
        raise SystemExit(str(refused)) from None


def alternate(problem, subjects, arguments, a, scratch):
    """Runs the subjects in turn, a.repeat times each on a.threads threads. Returns {subject:
    `summary` of its runs}."""
    check_packages(subjects)
    runs = {s: [] for s in subjects}
    for i in range(a.repeat):
        for s in subjects:
            began = time.time()
            row = run_row(s, problem, arguments, a.threads, Path(scratch) / f"{s}-{i}.json")
            runs[s].append(row)
            if "error" in row:
                print(f"  {s}: {row['error']}", flush=True)
                continue
            print(
                f"  {s}: {row['seconds']:.2f} s, {row['count']} masks "
                f"({time.time() - began:.0f} s with loading)",
                flush=True,
            )
    return {s: summary(r) for s, r in runs.items()}


# The packages of peers that `make test` does not install; torch writes ONNX by the package onnx.
PACKAGES = {"openvino": ("openvino",), "onnxruntime": ("onnxruntime", "onnx")}


def check_packages(subjects):
    """Ends the program before the first row if a peer is missing that `make test` does not
    install."""
    for subject in subjects:
        for peer, packages in PACKAGES.items():
            for package in packages if peer in subject else ():
                if importlib.util.find_spec(package) is None:
                    raise SystemExit(
                        f"{subject}: {package} is not installed (pip install {' '.join(packages)})"
                    )


def run_row(subject, problem, arguments, threads, out):
    """Measures one row in its own process and returns what that wrote. subject: a module of
    subjects/; "segrid@int8" is segrid with another precision."""
    subject, _, precision = subject.partition("@")
    if precision:
        arguments = {**arguments, "precision": precision}
    job = {
        "problem": problem,
        "subject": subject,
        "arguments": arguments,
        "threads": threads,
        "out": str(out),
    }
    environ = {
        **os.environ,
        "OMP_NUM_THREADS": str(threads),
        "SEGRID_THREADS": str(threads),
        "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]),
        "SEGRID_BENCHMARK": json.dumps(job),
    }
    subprocess.run([sys.executable, "-m", "benchmarks.row"], env=environ, cwd=ROOT, check=True)
    return json.loads(Path(out).read_text())


def kept(scratch, subject):
    """The arrays that the first run of a subject kept (`Job.keep`)."""
    return dict(np.load(Path(scratch) / f"{subject}-0.npz"))


def summary(runs):
    """The median, the spread and the peak of one subject's runs; {"error": reason} for a subject
    that cannot run here."""
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
        **{name: runs[0][name] for name in ("precision", "table") if name in runs[0]},
    }


def ran(rows):
    """The rows of the subjects that can run here."""
    return {subject: row for subject, row in rows.items() if "error" not in row}


def refused(rows):
    """A line for each subject that cannot run here."""
    return [f"  {s}: {row['error']}" for s, row in rows.items() if "error" in row]


def faster(ratio, peer, iou, agreement):
    """The line about a peer's time. It gives no ratio where the mean IoU of the masks, `iou`, says
    that they are of different things."""
    if iou is None or iou < LEAST_IOU:
        return f"{peer}: its masks are not ours, so the times say nothing; agreement {agreement}"
    return f"segrid is {ratio:.1f}x faster than {peer}; agreement {agreement}"


def record(name, body, whole=False):
    """Writes <name>.json with everything that a reader needs to repeat the run: into the folder of
    results/ that belongs to this kind of processor, or into the one that SEGRID_BENCHMARK_RESULTS
    names. whole: a result with more rows keeps its file; this one has its rows in its name."""
    body = {
        "problem": name,
        "date": time.strftime("%Y-%m-%d"),
        "commit": environment.commit(),
        "cpu": environment.cpu(),
        "versions": environment.versions(),
        **body,
    }
    named = os.environ.get("SEGRID_BENCHMARK_RESULTS")
    folder = Path(named) if named else HERE / "results" / environment.kind(body["cpu"])
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{name}.json"
    if whole and target.exists():
        before = json.loads(target.read_text())["rows"]
        if isinstance(before, dict) and set(before) - set(body["rows"]):
            target = folder / f"{name}-of-{'-'.join(body['rows'])}.json".replace(" ", "-")
    target.write_text(json.dumps(body, indent=2) + "\n")
    return target
