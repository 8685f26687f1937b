"""The model card, written from measured figures. A missing figure is a dash; the card names missed
targets."""

import textwrap
from pathlib import Path

from .curve import read

TARGETS = (
    ("nuclei, whole frame: click, chosen of 3", ("nuclei", "click_chosen"), 0.80),
    ("nuclei, whole frame: click, best of 3", ("nuclei", "click_best"), 0.84),
    ("nuclei, whole frame: box", ("nuclei", "box"), 0.84),
    ("nuclei, 320 px tiles: click, chosen of 3", ("nuclei tiles", "click_chosen"), None),
    ("nuclei, 320 px tiles: click, best of 3", ("nuclei tiles", "click_best"), None),
    ("nuclei, 320 px tiles: box", ("nuclei tiles", "box"), None),
    ("nuclei, 320 px tiles: click + correction", ("nuclei tiles", "corrected"), None),
    (
        "nuclei: AP50 of everything, whole frames of all sizes, crops auto",
        ("nuclei", "everything", "ap50"),
        0.70,
    ),
    (
        "everyday (litter, COCO): click, chosen of 3",
        ("everyday (litter, COCO)", "click_chosen"),
        0.50,
    ),
    ("everyday (litter, COCO): click, best of 3", ("everyday (litter, COCO)", "click_best"), 0.60),
    ("everyday (litter, COCO): box", ("everyday (litter, COCO)", "box"), None),
    ("everyday (litter, COCO): click + correction", ("everyday (litter, COCO)", "corrected"), None),
    ("DAVIS frames: click, chosen of 3", ("davis_bsd", "click_chosen"), None),
    ("scenes: click, chosen of 3", ("scenes", "click_chosen"), 0.75),
    ("scenes: AP50 of everything", ("scenes", "everything", "ap50"), 0.65),
    ("litter photos: recall of everything", ("litter_taco", "everything", "recall"), None),
    ("COCO photos: recall of everything", ("coco_ccby", "everything", "recall"), None),
    ("predicted against true IoU, correlation, nuclei", ("nuclei", "correlation"), 0.80),
    ("predicted against true IoU, correlation, all sets", ("correlation, all sets",), 0.80),
    ("stability of the chosen mask at offset 1, nuclei tiles", ("nuclei tiles", "stability"), None),
)

TEXT = Path(__file__).with_name("card.md")


def _at(table, path):
    for key in path:
        if table is None or key not in table:
            return None
        table = table[key]
    return table


def _text(value):
    return "-" if value is None else f"{value:.3f}"


def _prose(text, indent=""):
    """A paragraph of the width that Markdown has here."""
    return textwrap.fill(text, 120, subsequent_indent=indent, break_on_hyphens=False)


def _measured(figures, before):
    """Lines of the card: the command, a table of figures, the missed targets, the numbers of
    objects."""
    settings = figures.get("settings", {})
    known = [key for key in ("objects", "frames", "scenes", "photos") if key in settings]
    limits = " ".join(
        [f"--{key} {settings[key]}" for key in known] + ["--bf16"] * bool(settings.get("bf16"))
    )
    lines = [
        "## Figures",
        "",
        f"`python -m training.evaluate FOLDER --data DATA --out JSON {limits}`",
        "",
        "Kept-out pictures; one run, one seed, no error bars. Definitions are in "
        "`training/evaluate.py`.",
        "",
        "| | before | this model | target |",
        "|---|---|---|---|",
    ]
    missed = []
    for name, path, target in TARGETS:
        now = _at(figures, path)
        lines.append(f"| {name} | {_text(_at(before, path))} | {_text(now)} | {_text(target)} |")
        if target is not None and (now is None or now < target):
            missed.append(
                f"{name} by {target - now:.3f}" if now is not None else f"{name}: not measured"
            )
    sizes = [
        f"{name} {of['objects']} ({of.get('everything', {}).get('pictures') or '-'})"
        for name, of in figures.items()
        if isinstance(of, dict) and "objects" in of and name != "settings"
    ]
    return lines + [
        "",
        _prose("Targets missed: " + ("; ".join(missed) if missed else "none") + "."),
        "",
        _prose("Objects clicked (and pictures segmented whole): " + ", ".join(sizes) + "."),
    ]


def _trained(run):
    """Lines of the card: the duration of the run, and its checks."""
    steps, checks = read(run)
    minutes = steps[-1]["minutes"]
    return [
        "## Training",
        "",
        _prose(
            f"{len(steps)} steps of 4 pictures x 12 prompts (+ 4 x 4 corrected) in {minutes:.0f} "
            "minutes on 2 CPU cores (by the clock: the machine was shared), from the weights of "
            "the `tiny` before it; the recipe is `training/README.md`."
        ),
        "",
        *(_prose(f"- step {c['step']}: kept-out check {c['check']}", "  ") for c in checks),
    ]


def card(figures=None, before=None, run=None):
    """The card's text: card.md with its two gaps filled. figures and before: tables of
    `evaluate.py`; run: a folder with log.jsonl."""
    gaps = {
        "figures": _measured(figures, before) if figures else [],
        "training": _trained(run) if run else [],
    }
    return TEXT.read_text().format(
        **{gap: "".join(f"{line}\n" for line in lines) for gap, lines in gaps.items()}
    )
