"""Everything that is asked of a machine with a GPU, step after step: build, tests, prices,
benchmarks, profiles.

scripts/gpu_check.sh calls it there. The steps stand in benchmarks/gpu_steps.py, those of most worth
first. Each has a time limit of its own, and all together have --seconds. After every step
OUT/check.json is written anew with all that is known so far, so that a run that is cut off has
brought something; OUT/log.txt holds what the steps printed.

python -m benchmarks.gpu --out out/gpu --list            # the steps and their limits
python -m benchmarks.gpu --out out/gpu --steps build minimal
python -m benchmarks.gpu --keep out/gpu/check.json       # writes benchmarks/results/gpu/*.json
"""

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import environment
from benchmarks.gpu_steps import Target, steps_for

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks/results"
LEAST_SECONDS = 5  # A step that has fewer is not started.
TAIL_LINES = 60  # of a step's output that check.json keeps


class Check:
    """One run: the steps so far and the results that they wrote."""

    def __init__(self, target, seconds):
        self.target, self.deadline = target, time.monotonic() + seconds
        self.rows, self.results, self.states = [], {}, {}
        target.out.mkdir(parents=True, exist_ok=True)
        self.log = target.out / "log.txt"
        self.log.write_bytes(b"")

    def run(self, step, results):
        """Runs a step, or says why it is not run, and writes check.json. results: the folder in
        which the step writes its results."""
        left = self.deadline - time.monotonic()
        began = time.monotonic()
        lacking = [name for name in step.needs if self.states.get(name, "ok") != "ok"]
        if lacking:
            state, output = f"not started: {lacking[0]} failed", ""
        elif left < LEAST_SECONDS:
            state, output = "not started: no time is left", ""
        else:
            state, output = self._finished(step, min(step.limit, left), results)
        seconds = time.monotonic() - began
        self.states[step.name] = state
        for file in sorted(results.glob("*.json")):
            self.results[file.stem] = json.loads(file.read_text())
        self.rows.append(
            {
                "step": step.name,
                "state": state,
                "seconds": round(seconds, 1),
                "limit": step.limit,
                "output": output.splitlines()[-TAIL_LINES:],
            }
        )
        print(f"{step.name}: {state} ({seconds:.0f} s)", flush=True)
        self._write()

    def _finished(self, step, limit, results):
        """Runs a step for at most `limit` seconds. Returns its state and its output."""
        environ = {
            **os.environ,
            **step.environ,
            "SEGRID_BENCHMARK_RESULTS": str(results),
            "PYTHONUNBUFFERED": "1",
        }
        with self.log.open("ab") as log:
            log.write(f"== {step.name}: {' '.join(step.command)}\n".encode())
            log.flush()
            start = log.tell()
            process = subprocess.Popen(
                step.command,
                cwd=ROOT,
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                code = process.wait(limit)
                state = "ok" if code == 0 else f"failed: exit code {code}"
            except subprocess.TimeoutExpired:
                state = f"cut off after {limit:.0f} s"
            with contextlib.suppress(ProcessLookupError):  # also what the step left running
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        with self.log.open("rb") as log:
            log.seek(start)
            return state, log.read().decode(errors="replace")

    def _write(self):
        body = {
            "device": self.target.device,
            "small": self.target.small,
            "date": time.strftime("%Y-%m-%d"),
            "commit": environment.commit(),
            "steps": self.rows,
            "results": self.results,
        }
        part = self.target.out / "check.part"
        part.write_text(json.dumps(body, indent=1) + "\n")
        part.replace(self.target.out / "check.json")


def keep(file):
    """Writes the results in a check.json as benchmarks/results/gpu/NAME.json; returns the paths.

    Raises SystemExit for a rehearsal, whose figures say nothing."""
    body = json.loads(Path(file).read_text())
    if body["small"]:
        raise SystemExit(f"{file}: this is a rehearsal's; its figures are not kept")
    written = []
    for name, result in body["results"].items():
        path = RESULTS / "gpu" / f"{name.removesuffix('-cuda')}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(result, indent=2) + "\n")
        written.append(path)
    return written


def main():
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("--out", type=Path, default=ROOT / "out/gpu", help="folder of what comes back")
    p.add_argument("--device", default="cuda", help="of the benchmarks (%(default)s)")
    p.add_argument("--small", action="store_true", help="small settings, for the rehearsal")
    p.add_argument(
        "--seconds", type=float, help="of all steps (480, with --small an hour)", default=None
    )
    p.add_argument("--steps", nargs="+", help="the steps to run (all)")
    p.add_argument("--without", nargs="+", default=[], help="steps to leave out")
    p.add_argument("--list", action="store_true", help="prints the steps, and runs none")
    p.add_argument("--keep", type=Path, metavar="CHECK", help="see above")
    a = p.parse_args()
    if a.keep:
        for path in keep(a.keep):
            print("written:", path)
        return
    target = Target(a.device, a.small, a.out.resolve(), ROOT / ".gpu")
    steps = steps_for(target)
    unknown = {*(a.steps or []), *a.without} - {step.name for step in steps}
    if unknown:
        p.error(f"there are no steps {sorted(unknown)}; --list prints the names")
    chosen = [s for s in steps if s.name not in a.without and (not a.steps or s.name in a.steps)]
    if a.list:
        for step in chosen:
            print(f"{step.name}: at most {step.limit} s: {' '.join(step.command)}")
        return
    check = Check(target, a.seconds or (3600 if a.small else 480))
    for step in chosen:
        with tempfile.TemporaryDirectory() as results:
            check.run(step, Path(results))
    sys.exit(any(state != "ok" for state in check.states.values()))


if __name__ == "__main__":
    main()
