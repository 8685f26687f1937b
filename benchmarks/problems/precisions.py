"""The image encoder in one precision, and what its weights take. Run through benchmarks/run.py."""

import gc
import json
import os
from importlib import import_module
from pathlib import Path

import numpy as np

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
