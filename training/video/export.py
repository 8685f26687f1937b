"""Makes the packaged folder: `python -m training.video.export RUN OUT [--data DATA]`.

RUN: the folder of `train.py`. OUT gets `model.safetensors` (fp16), `config.json`, `segrid.json` and
the card `README.md`, all from RUN/ema.safetensors, which is measured first (`evaluate.py`: some
minutes; `--figures` takes an earlier table). `--after FOLDER`: the packaged folder, or the run,
with whose weights RUN started (`train.py --init`); the card counts its training, too."""

import argparse
import json
import textwrap
from pathlib import Path

from safetensors.torch import load_file

from ..data import held_out
from ..export import write_weights
from .clips import Sequences
from .evaluate import baselines_of, evaluate, load
from .initial import TINY, config

LIMIT = 12_000_000
TARGETS = {
    ("davis", "mask"): ("kept-out DAVIS sequences, from the first mask", 0.55),
    ("davis", "click"): ("kept-out DAVIS sequences, from one click", 0.45),
    ("procedural", "mask"): ("procedural clips, from the first mask", 0.80),
    ("procedural", "click"): ("procedural clips, from one click", None),
}
WAYS = ("tiny-video", "tiny, last box", "first mask")
MARGIN = 0.15  # by which it should be better than both baselines


def _prose(text):
    return textwrap.fill(text, 120, break_on_hyphens=False)


def _row(name, ways, target="-"):
    numbers = " | ".join(f"{ways[way]:.3f}" for way in WAYS)
    return f"| {name} | {numbers} | {target} |"


def missed(mean):
    """What the means {set: {kind: {way: J&F}}} miss of TARGETS and MARGIN, as texts."""
    found = []
    for (group, kind), (name, target) in TARGETS.items():
        if group not in mean:
            continue
        ours, *others = (mean[group][kind][way] for way in WAYS)
        if target is not None and ours < target:
            found.append(f"{name} ({ours:.3f}, target {target:.2f})")
        if ours < max(others) + MARGIN:
            least = max(others) + MARGIN
            found.append(f"{name} ({ours:.3f}; {MARGIN} above the better baseline is {least:.3f})")
    return found


def measured(figures):
    """The card's lines on J and F."""
    mean = figures["mean"]
    lines = [
        "## Figures",
        "",
        "`python -m training.video.evaluate FOLDER --data DATA`",
        "",
        _prose(
            "Mean J&F of DAVIS (overlap of regions and of boundaries) over all frames after the "
            "first, on clips that training never saw. Baselines: `tiny`, which is asked again on "
            "each frame with the box of its last mask, and the first mask left where it is. One "
            "run, one seed, no error bars; three sequences and 24 clips are few."
        ),
        "",
        "| J&F | tiny-video | tiny, last box | first mask | target |",
        "|---|---|---|---|---|",
    ]
    for (group, kind), (name, target) in TARGETS.items():
        if group in mean:
            lines.append(_row(name, mean[group][kind], f"{target:.2f}" if target else "-"))
    lines += [
        "",
        _prose("Targets that were missed: " + ("; ".join(missed(mean)) or "none") + "."),
        "",
    ]
    lines += ["| kept-out sequence, prompt | J | F | J&F | J&F tiny | J&F first mask |"]
    lines += ["|---|---|---|---|---|---|"]
    for name, kinds in figures.get("davis", {}).items():
        for kind, ways in kinds.items():
            ours = ways["tiny-video"]
            numbers = [ours[key] for key in ("J", "F", "J&F")]
            numbers += [ways[way]["J&F"] for way in WAYS[1:]]
            lines.append(f"| {name}, {kind} | " + " | ".join(f"{v:.3f}" for v in numbers) + " |")
    return lines + [""]


def trained(folder):
    """[{"steps", "minutes", "side"}] of the runs that made the weights of a packaged folder, or of
    the one run in a folder of `train.py`."""
    packaged = Path(folder) / "segrid.json"
    if packaged.exists():
        return json.loads(packaged.read_text())["trained"]
    record = json.loads((Path(folder) / "log.jsonl").read_text().splitlines()[-1])
    return [{"steps": record["step"], "minutes": round(record["minutes"]), "side": record["side"]}]


def card(figures, parameters, runs, kept_out, note=""):
    """The model card: card.md with its gaps filled. runs: as `trained` returns them; note: a
    sentence that follows what is said of them."""
    said = [
        f"{run['steps']} steps on frames of {run['side']} px in {run['minutes']} CPU minutes"
        for run in runs
    ]
    text = (
        f"{', then '.join(said)} of each of two processes, on two cores that others used, too; the "
        f"recipe is `training/README.md`. {note}".rstrip()
    )
    side = runs[-1]["side"]
    return (
        Path(__file__)
        .with_name("card.md")
        .read_text()
        .format(
            million=f"{parameters / 1e6:.1f}",
            megabytes=f"{2 * parameters / 1e6:.1f}",
            side=side,
            grid=side // 16,
            figures="\n".join(measured(figures)) if figures else "",
            kept_out=", ".join(kept_out) or "None of them",
            training="## Training\n\n" + _prose(text),
        )
    )


def export(run, out, data=None, figures=None, after=None, note=""):
    """Writes the folder. data: the folder of the sets, for the names of what is kept out; after:
    the folder with whose weights the run started; note: see `card`."""
    run, out = Path(run), Path(out)
    out.mkdir(parents=True, exist_ok=True)
    weights = load_file(str(run / "ema.safetensors"))
    write_weights(weights, out / "model.safetensors", LIMIT)
    runs = (trained(after) if after else []) + trained(run)
    about = config(runs[-1]["side"]).to_dict() | {
        "architectures": ["Sam2VideoModel"],
        "dtype": "float16",
    }
    (out / "config.json").write_text(json.dumps(about, indent=2, sort_keys=True) + "\n")
    kept = Sequences(Path(data) / "davis_bsd", held_out).names if data else []
    settings = {"trained": runs, "kept out": kept, "figures": figures}
    (out / "segrid.json").write_text(json.dumps(settings, indent=1) + "\n")
    parameters = sum(value.numel() for value in weights.values())
    (out / "README.md").write_text(card(figures, parameters, runs, kept, note))


def main():
    """Command line."""
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("run")
    p.add_argument("out")
    p.add_argument("--data", help="folder of the labelled sets")
    p.add_argument("--tiny", default=str(TINY), help="the segmenter of the baseline")
    p.add_argument("--after", help="the folder with whose weights the run started")
    p.add_argument("--note", default="", help="a sentence for the card, on the training")
    p.add_argument("--figures", help="JSON of evaluate.py for these weights, instead of measuring")
    args = p.parse_args()
    if args.figures:
        figures = json.loads(Path(args.figures).read_text())
    else:
        baselines = baselines_of(args.tiny, args.data, Path(args.run) / "baselines.json")
        figures = evaluate(load(Path(args.run) / "ema.safetensors"), args.data, baselines)
    export(args.run, args.out, args.data, figures, args.after, args.note)


if __name__ == "__main__":
    main()
