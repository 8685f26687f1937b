"""What the parts of a report share: results by name, and Markdown."""

import json
import textwrap
from pathlib import Path

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks/results"


# The kind of processor whose figures the pages show, by the first word of a result's name.
HOME = {"video": "avx512-amx", "serve": "avx512-amx"}
ELSE = "avx512"


def load(name, kind=None, **settings):
    """A result of a kind of processor (a folder of RESULTS); default: what the pages show, which
    is of one kind in each section. settings: those that the page's words say. Ends the program if
    the result was measured with others."""
    kind = kind or HOME.get(name.partition("-")[0], ELSE)
    body = json.loads((RESULTS / kind / f"{name}.json").read_text())
    found = {**body.get("options", {}), **body}
    for setting, value in settings.items():
        if found.get(setting) != value:
            raise SystemExit(
                f"results/{kind}/{name}.json: {setting} is {found.get(setting)}, but the pages are "
                f"about {value}; measure again with the command that stands there"
            )
    return body


def runs(*results):
    """How many runs the rows of these results are the medians of, as a sentence."""
    counts = sorted({r["runs"] for body in results for r in body["rows"].values() if "runs" in r})
    if counts == [1]:
        return "Each row is a single run."
    ends = dict.fromkeys((counts[0], counts[-1]))
    return f"Each row is the median of {' to '.join(map(str, ends))} runs."


def prose(text):
    """A paragraph of the width that Markdown has in this repository."""
    return textwrap.fill(text, 120, break_long_words=False, break_on_hyphens=False)


def table(head, rows):
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]


def commands(*lines):
    """The commands that made the figures above."""
    return ["", "```sh", *(f"python -m benchmarks.run {line}" for line in lines), "```", ""]
