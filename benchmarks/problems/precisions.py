"""The image encoder in one precision, and what its weights take. Run through benchmarks/run.py."""

import gc
import json
import os
import tempfile
from importlib import import_module
from pathlib import Path

import numpy as np

from benchmarks import harness, models
from benchmarks.problems.everything import photo
from benchmarks.problems.steps import timed


def anonymous_mb():
    """Resident memory of this process without the libraries' own pages."""
    import ctypes

    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return next(
        int(line.split()[1]) / 1024
        for line in Path("/proc/self/status").read_text().splitlines()
        if line.startswith("RssAnon:")
    )


def compared(rows, kept):
    """Times against int8's, the error of the features and the memory of the weights against our
    fp32's, of every subject that this CPU can run."""
    full = kept["segrid@fp32"]
    return {
        "times as long as int8": {
            s: r["median"] / rows["segrid@int8"]["median"] for s, r in rows.items() if s in kept
        },
        "feature error": {
            s: float(np.sqrt(np.square(k - full).mean() / np.square(full).mean()))
            for s, k in kept.items()
        },
        "weights": {
            s: r["memory_mb"] / rows["segrid@fp32"]["memory_mb"]
            for s, r in rows.items()
            if s.startswith("segrid") and s in kept
        },
    }


def run(a):
    """The encoder in every precision, ours and OpenVINO's, alternating; what the weights take; how
    far the features are from ours in fp32."""
    folder = models.folder_of(a.model)
    image, name = photo(tuple(a.size))
    subjects = ["segrid@fp32", "segrid@bf16", "segrid@int8", "segrid@int8-torch"] + [
        f"{p}@{q}" for p in a.subjects if p != "segrid" for q in ("fp32", "bf16")
    ]
    print(
        f"precisions: {a.model}'s encoder, {name} at {a.size[0]}x{a.size[1]}, {a.threads} threads"
    )
    with tempfile.TemporaryDirectory() as scratch:
        rows = harness.compare(
            "precisions",
            subjects,
            {"model": folder, "size": a.size, "precision": "fp32"},
            a.threads,
            a.repeat,
            scratch,
        )
        kept = {
            s: np.load(Path(scratch) / f"{s}-0.json.npy")
            for s in subjects
            if "error" not in rows[s]
        }
    body = {
        "model": a.model,
        "image": name,
        "size": a.size,
        "threads": a.threads,
        "rows": rows,
        **compared(rows, kept),
    }
    for s, r in rows.items():
        if "error" in r:
            print(f"  {s}: {r['error']}")
            continue
        print(
            f"  {s}: {r['median']:.3f} s ({body['times as long as int8'][s]:.2f}x int8's), "
            f"features off by {body['feature error'][s]:.1e} of their size"
        )
        if s in body["weights"]:
            print(
                f"    weights {r['memory_mb']:.0f} MB ({body['weights'][s]:.2f} of fp32's), Linear "
                f"layers {r['stages']['linears']:.3f} s"
            )
    print("written:", harness.record(a.name or f"precisions-{a.model}", body))


def main():
    job = json.loads(os.environ["SEGRID_BENCHMARK"])
    a = job["arguments"]
    module = import_module(f"benchmarks.subjects.{job['subject']}")
    if job["subject"] == "segrid":
        import segrid

        segrid.set_threads(job["threads"])  # the extension is loaded
    before = anonymous_mb()
    try:
        subject = module.Subject(a["model"], job["threads"], a["precision"])
    except NotImplementedError as refused:
        # This CPU has no instructions for it: the row says so.
        Path(job["out"]).write_text(json.dumps({"error": str(refused)}))
        return
    weights = anonymous_mb() - before
    image, _ = photo(tuple(a["size"]))
    seconds, features = timed(5, lambda: subject.encode(image))
    stages = {"encode": seconds}
    if hasattr(subject, "linears"):
        stages["linears"] = subject.linears(image)
    np.save(job["out"] + ".npy", np.asarray(features, np.float32).ravel())
    Path(job["out"]).write_text(
        json.dumps({"seconds": seconds, "memory_mb": weights, "count": 0, "stages": stages})
    )


if __name__ == "__main__":
    main()
