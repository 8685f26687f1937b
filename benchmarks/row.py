"""The process of one row: python -m benchmarks.row, started by harness.run_row.

It imports nothing that a subject might want to load first: torch comes with the subject."""

import json
import os
import statistics
import time
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path


@dataclass
class Job:
    """One row to measure: a module of problems/, a module of subjects/, and where the row goes."""

    problem: str
    subject: str
    arguments: dict
    threads: int
    out: str
    precision: str | None = None  # what the subject says that it computes in

    def load(self, kind="", option="precision"):
        """benchmarks.subjects.<subject><kind>.Subject(model, threads, the argument `option`) with
        the precision of the job, and on its device where that is not the CPU."""
        a = self.arguments
        more = {"device": a["device"]} if a.get("device", "cpu") != "cpu" else {}
        if option != "precision":
            more["precision"] = a["precision"]
        module = import_module(f"benchmarks.subjects.{self.subject}{kind}")
        subject = module.Subject(a["model"], self.threads, a[option], **more)
        self.precision = getattr(subject, "precision", None)
        return subject

    def keep(self, **arrays):
        """Keeps arrays for the problem's `compare`; `harness.kept` reads them."""
        import numpy as np

        np.savez_compressed(Path(self.out).with_suffix(".npz"), **arrays)

    def beside(self, kind):
        """The path of another file that is kept for `compare`."""
        return Path(self.out).with_suffix(kind)

    def refuse(self, reason):
        """The row of a subject that cannot run here."""
        Path(self.out).write_text(json.dumps({"error": reason}))

    def end(self, seconds, count, stages, memory_mb=0, table=None):
        """Writes the row for harness.summary. table: a list of dicts, of the first run only."""
        row = {"seconds": seconds, "memory_mb": memory_mb, "count": count, "stages": stages}
        row |= {"precision": self.precision} if self.precision else {}
        Path(self.out).write_text(json.dumps(row | ({"table": table} if table else {})))

    @property
    def on_cpu(self):
        """Whether the job runs by the CPU's kernels."""
        return self.arguments.get("device", "cpu") == "cpu"


def timed(repeat, step):
    """The median seconds of `repeat` runs of `step` after one that warms up, and the result of the
    last run."""
    result, seconds = step(), []
    for _ in range(repeat):
        began = time.perf_counter()
        result = step()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds), result


if __name__ == "__main__":
    # The problems import this module by its name, not as __main__.
    from benchmarks import row

    job = row.Job(**json.loads(os.environ["SEGRID_BENCHMARK"]))
    try:
        import_module(f"benchmarks.problems.{job.problem}").measure_row(job)
    except NotImplementedError as refused:
        job.refuse(str(refused))  # such as a precision that this CPU has no instructions for
