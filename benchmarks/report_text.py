"""What the parts of a report share: results by name, and Markdown."""

import json
import textwrap
from pathlib import Path

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks/results"


# The kind of processor whose figures the pages show, by the first word of a result's name.
HOME = {"video": "avx512-amx", "serve": "avx512-amx"}
ELSE = "avx512"


def load(name, kind=None):
    """A result of a kind of processor (a folder of RESULTS); default: what the pages show, which
    is of one kind in each section."""
    kind = kind or HOME.get(name.partition("-")[0], ELSE)
    return json.loads((RESULTS / kind / f"{name}.json").read_text())


def prose(text):
    """A paragraph of the width that Markdown has in this repository."""
    return textwrap.fill(text, 120, break_long_words=False, break_on_hyphens=False)


def table(head, rows):
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]


def commands(*lines):
    """The commands that made the figures above."""
    return ["", "```sh", *(f"python -m benchmarks.run {line}" for line in lines), "```", ""]
