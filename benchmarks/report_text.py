"""What the parts of a report share: results by name, and Markdown."""

import json
import textwrap
from pathlib import Path

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks/results"


def load(name):
    return json.loads((RESULTS / f"{name}.json").read_text())


def prose(text):
    """A paragraph of the width that Markdown has in this repository."""
    return textwrap.fill(text, 120, break_long_words=False, break_on_hyphens=False)


def table(head, rows):
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]


def commands(*lines):
    """The commands that made the figures above."""
    return ["", "```sh", *(f"python -m benchmarks.run {line}" for line in lines), "```", ""]
