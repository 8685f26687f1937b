"""Makes the packaged folder:
`python -m training.detector.export RUN OUT --data DATA [--figures FIGURES.json]`.

OUT gets fp16 weights, config.json, the tokenizer, preprocessor_config.json (transformers' names
throughout), segrid.json and the card. The logits are shifted so that, on scenes with seeds of their
own, nine of ten prompts for things that are there have a box above 0.1, the usual threshold."""

import argparse
import json
import math
import shutil
import textwrap
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from transformers import Owlv2ForObjectDetection, Owlv2ImageProcessorPil

from training.export import write_weights

from . import tokens
from .scenes import Source, shapes
from .train import padded
from .words import Query, phrase

LIMIT = 15_000_000


def logit(p):
    """The logit of a probability."""
    return math.log(p / (1 - p))


def usual_score(net, tokenizer, source, count):
    """The score that the best box exceeds for nine of ten prompts for things that are there; and
    the median scale of logits."""
    size = net.config.vision_config.image_size
    scores, scales = [], []
    for i in range(count):
        rng = np.random.default_rng((81, i))
        image, things = shapes(rng, size, source.photos)
        known = [t for t, _ in things if t.colour and t.shape != "other"]
        if not known:
            continue
        texts = [phrase(rng, Query(t.shape, t.colour)) for t in known]
        ids = tokenizer(
            texts,
            padding="max_length",
            truncation=True,
            max_length=tokens.LENGTH,
            return_tensors="pt",
        ).input_ids
        with torch.no_grad():
            out = net(input_ids=ids, pixel_values=torch.from_numpy(padded(image, size)[0])[None])
            merged = out.image_embeds.reshape(-1, out.image_embeds.shape[-1])
            scales.append(
                float((torch.nn.functional.elu(net.class_head.logit_scale(merged)) + 1).median())
            )
        scores += torch.sigmoid(out.logits[0]).amax(0).tolist()
    return float(np.quantile(scores, 0.1)), float(np.median(scales))


def export(run, out, data, figures=None, count=120):
    """Writes the folder."""
    run, out = Path(run), Path(out)
    out.mkdir(parents=True, exist_ok=True)
    tokenizer = tokens.build(run)
    for file in tokens.FILES:
        shutil.copyfile(run / file, out / file)
    weights = load_file(run / "model.safetensors")
    net = Owlv2ForObjectDetection.from_pretrained(run).float().eval()
    threshold, scale = usual_score(
        net, tokenizer, Source(data, net.config.vision_config.image_size), count
    )
    weights["class_head.logit_shift.bias"] += (
        logit(0.1) - logit(min(max(threshold, 0.02), 0.98))
    ) / scale
    write_weights(weights, out / "model.safetensors", LIMIT)
    config = json.loads((run / "config.json").read_text()) | {
        "architectures": ["Owlv2ForObjectDetection"],
        "dtype": "float16",
    }
    (out / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    side = net.config.vision_config.image_size
    Owlv2ImageProcessorPil(size={"height": side, "width": side}).save_pretrained(out)
    figures = json.loads(Path(figures).read_text()) if figures else None
    last = json.loads((run / "log.jsonl").read_text().splitlines()[-1])
    trained = {"steps": last["step"], "minutes": round(last["minutes"])}
    if (run / "before.json").exists():  # The figures of the weights from which the run started.
        before = json.loads((run / "before.json").read_text())
        trained = {name: before[name] + trained[name] for name in trained}
    about = {
        "trained": trained,
        "score before it was moved to 0.1": round(threshold, 4),
        "figures": figures,
    }
    (out / "segrid.json").write_text(json.dumps(about, indent=1) + "\n")
    (out / "README.md").write_text(card(figures, sum(t.numel() for t in weights.values()), trained))


def card(figures, parameters, trained):
    """The model card: card.md and the measured figures."""
    head = Path(__file__).with_name("card.md").read_text()
    head = head.format(million=f"{parameters / 1e6:.1f}", megabytes=f"{2 * parameters / 1e6:.1f}")
    lines = [
        head,
        textwrap.fill(
            f"Trained for {trained['steps']} steps in {trained['minutes']} minutes on two shared "
            "CPU cores (`training/detector/`), on procedural scenes and, for the nuclei, on the "
            "training part of BBBC038v1 (CC0).",
            120,
            break_on_hyphens=False,
        ),
        "",
    ]
    if figures:
        plain, scenes, words, nuclei = (
            figures.get(k) for k in ("plain", "scenes", "unknown words", "nuclei")
        )
        lines += [
            "## Measured",
            "",
            "`python -m training.detector.evaluate`, on pictures and words it had not seen, at the "
            "default threshold:",
            "",
            "| | |",
            "|---|---|",
            "| plain shapes on a plain ground: mask IoU of the best box through `Pipeline`, mean / "
            f"median | {plain['mask_iou_mean']:.3f} / "
            f"{plain['mask_iou_median']:.3f} |",
            "| the same, share with a mask IoU above 0.9 | "
            f"{100 * plain['mask_iou_above_0.9']:.0f} % of {plain['prompts']} |",
            f"| the same, IoU of the box | {plain['box_iou_mean']:.3f} |",
            "| shapes on every ground, as many prompts absent as present: precision / recall | "
            f"{scenes['precision']:.2f} / {scenes['recall']:.2f} |",
            "| words it never saw: share of prompts with a box above the threshold | "
            f"{100 * words['unknown_above_threshold']:.1f} % |",
            "| best score of such words, median and 95th percentile; of things that are there, "
            f"median | {words['unknown_median']:.2f}, "
            f"{words['unknown_95th']:.2f}; {words['known_median']:.2f} |",
        ]
        if nuclei:
            lines.append(
                "| nuclei, kept-out fields: precision / recall at IoU 0.5 | "
                f"{nuclei['precision']:.2f} / {nuclei['recall']:.2f} of {nuclei['objects']} |"
            )
    return "\n".join(lines) + "\n"


def main():
    """Command line."""
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("run")
    p.add_argument("out")
    p.add_argument("--data")
    p.add_argument(
        "--figures", help="JSON of evaluate.py for this folder: export, evaluate, export again"
    )
    args = p.parse_args()
    export(args.run, args.out, args.data, args.figures)


if __name__ == "__main__":
    main()
