"""The encoder in four precisions, and its weights' memory.

The precisions are fp32, bf16, int8 and int8-torch; peers run in fp32 and bf16.

python -m benchmarks.run precisions --model vit_b --subjects segrid openvino"""

import ctypes
import gc
from importlib import import_module
from pathlib import Path

import numpy as np

from benchmarks import arguments, harness, models
from benchmarks.photo import photo
from benchmarks.row import timed

OURS = ["segrid@fp32", "segrid@bf16", "segrid@int8", "segrid@int8-torch"]


def add_arguments(parser):
    arguments.add(parser, "model", "size", "threads", "repeat")
    arguments.add_subjects(
        parser,
        *("segment_anything", "openvino", "transformers", "mobile_sam", "sam2", "sam2_openvino"),
    )


def measure(a, scratch):
    folder = models.folder_of(a.model)
    _, name = photo(tuple(a.size))
    print(
        f"precisions: {a.model}'s encoder, {name} at {a.size[0]}x{a.size[1]}, {a.threads} threads"
    )
    peers = [f"{p}@{q}" for p in arguments.subjects_of(a)[1:] for q in ("fp32", "bf16")]
    row = {"model": folder, "size": a.size, "precision": "fp32"}
    facts = {"model": a.model, "image": name, "size": a.size, "threads": a.threads}
    rows = harness.alternate("precisions", OURS + peers, row, a, scratch)
    return harness.Measured(f"precisions-{a.model}", facts, rows)


def measure_row(job):
    # The libraries are loaded first, so that the memory counted is that of the weights.
    import_module(f"benchmarks.subjects.{job.subject}")
    if job.subject == "segrid":
        import segrid

        segrid.set_threads(job.threads)
    before = anonymous_mb()
    subject = job.load()
    weights = anonymous_mb() - before
    image, _ = photo(tuple(job.arguments["size"]))
    seconds, features = timed(5, lambda: subject.encode(image))
    stages = {"encode": seconds}
    if hasattr(subject, "linears"):
        stages["linears"] = subject.linears(image)
    job.keep(features=np.asarray(features, np.float32).ravel())
    job.end(seconds, 0, stages, weights)


def anonymous_mb():
    """Resident memory of this process without the pages of its libraries, in MB."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return next(
        int(line.split()[1]) / 1024
        for line in Path("/proc/self/status").read_text().splitlines()
        if line.startswith("RssAnon:")
    )


def compare(body, scratch):
    """Times against int8's; the error of the features and the memory of the weights against our
    fp32's; of every subject that this CPU can run."""
    ran = harness.ran(body["rows"])
    features = {s: harness.kept(scratch, s)["features"] for s in ran}
    full = features["segrid@fp32"]
    return {
        "times as long as int8": {
            s: r["median"] / ran["segrid@int8"]["median"] for s, r in ran.items()
        },
        "feature error": {
            s: float(np.sqrt(np.square(f - full).mean() / np.square(full).mean()))
            for s, f in features.items()
        },
        "weights": {
            s: r["memory_mb"] / ran["segrid@fp32"]["memory_mb"]
            for s, r in ran.items()
            if s.startswith("segrid")
        },
    }


def summarise(body):
    for s, r in body["rows"].items():
        if "error" in r:
            yield f"  {s}: {r['error']}"
            continue
        yield (
            f"  {s}: {r['median']:.3f} s ({body['times as long as int8'][s]:.2f}x int8's), "
            f"features off by {body['feature error'][s]:.1e} of their size"
        )
        if s in body["weights"]:
            yield (
                f"    weights {r['memory_mb']:.0f} MB ({body['weights'][s]:.2f} of fp32's), Linear "
                f"layers {r['stages']['linears']:.3f} s"
            )
