"""What harness.run_row hands to a problem's process, and what that hands back."""

import json
import os
from importlib import import_module
from pathlib import Path


def begin(kind="", *arguments):
    """The job, its arguments, and the subject: benchmarks.subjects.<subject><kind>.Subject(model,
    threads, precision or the names in `arguments`)."""
    job = json.loads(os.environ["SEGRID_BENCHMARK"])
    a = job["arguments"]
    module = import_module(f"benchmarks.subjects.{job['subject']}{kind}")
    more = {"device": a["device"]} if a.get("device", "cpu") != "cpu" else {}
    return (
        job,
        a,
        module.Subject(
            a["model"], job["threads"], *(a[name] for name in arguments or ("precision",)), **more
        ),
    )


def end(job, seconds, count, stages, memory_mb=0):
    """Written for harness.summary."""
    Path(job["out"]).write_text(
        json.dumps({"seconds": seconds, "memory_mb": memory_mb, "count": count, "stages": stages})
    )
