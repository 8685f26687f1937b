"""What the parts of a report share: results by name, and Markdown."""

import json
import textwrap
from pathlib import Path

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks/results"


# The kinds of processors (folders of RESULTS) whose figures the pages take first.
ORDER = ("avx512", "avx512-amx", "avx2-vnni", "avx2")


def load(name, kind=None):
    """A result of this kind of processor, or of the first one in ORDER that has it."""
    kinds = ORDER if kind is None else (kind,)
    found = next((f for k in kinds if (f := RESULTS / k / f"{name}.json").exists()), None)
    if found is None:
        raise FileNotFoundError(f"benchmarks/results has no {name}.json of {' or '.join(kinds)}")
    return json.loads(found.read_text())


def prose(text):
    """A paragraph of the width that Markdown has in this repository."""
    return textwrap.fill(text, 120, break_long_words=False, break_on_hyphens=False)


def table(head, rows):
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]


def commands(*lines):
    """The commands that made the figures above."""
    return ["", "```sh", *(f"python -m benchmarks.run {line}" for line in lines), "```", ""]
