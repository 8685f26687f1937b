"""Makes the packaged folder:
`python -m training.export WEIGHTS.safetensors OUT --config CONFIG --figures NEW.json`.

OUT gets `model.safetensors` (fp16, transformers' names), `config.json`, `segrid.json` (recommended
settings and figures) and the card `README.md`."""

import argparse
import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from .card import card

RECOMMENDED = {
    "pred_iou_thresh": 0.5,
    "stability_score_thresh": 0.8,
    "containment_thresh": 0.7,
    "crop_containment_thresh": 0.4,
    "working_scale": 400,
}
LIMIT = 12_000_000


def scaled(weights, factor):
    """Weights that give the same masks with logits `factor` times larger, so that SAM's stability
    offset of 1 suits them. The last layers of the hypernetworks grow; the first convolution of mask
    hints shrinks, because hints are such logits."""
    out = dict(weights)
    for name, value in weights.items():
        if "output_hypernetworks_mlps" in name and "proj_out" in name:
            out[name] = value * factor
    hint = "prompt_encoder.mask_embed.conv1.weight"
    return out | {hint: weights[hint] / factor}


def write_weights(weights, file, limit):
    """Writes the weights in fp16, in at most `limit` bytes. ValueError for more bytes, and for
    values out of the range of fp16."""
    tensors = {name: value.to(torch.float16).contiguous() for name, value in weights.items()}
    bad = [name for name, value in tensors.items() if not torch.isfinite(value).all()]
    if bad:
        raise ValueError(f"not finite in fp16: {bad}")
    save_file(tensors, str(file), metadata={"format": "pt"})
    file.chmod(0o644)
    if file.stat().st_size > limit:
        raise ValueError(f"{file} has {file.stat().st_size} bytes, more than {limit}")


def export(weights, config, out, figures=None, before=None, run=None):
    """Writes the folder. figures and before: tables of `evaluate.py` for these weights and for the
    weights from which they were trained."""
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    write_weights(weights, out / "model.safetensors", LIMIT)
    (out / "config.json").write_text(json.dumps(config | {"dtype": "float16"}, indent=2) + "\n")
    if figures and "settings" in figures:
        settings = {
            k: v for k, v in figures["settings"].items() if k not in ("folder", "data", "out")
        }
        figures = figures | {"settings": settings}
    about = {"recommended": RECOMMENDED, "figures": figures}
    (out / "segrid.json").write_text(json.dumps(about, indent=1) + "\n")
    (out / "README.md").write_text(card(figures, before, run))


def main():
    """Command line."""
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("weights")
    p.add_argument("out")
    p.add_argument("--config", required=True)
    p.add_argument("--figures", help="JSON of evaluate.py for these weights")
    p.add_argument("--before", help="JSON of evaluate.py for the weights the run started from")
    p.add_argument("--run", help="the run's folder, for steps and minutes")
    p.add_argument("--logit-scale", type=float, default=1.0, help="see `scaled`")
    args = p.parse_args()
    figures, before = (
        json.loads(Path(file).read_text()) if file else None for file in (args.figures, args.before)
    )
    config = json.loads(Path(args.config).read_text())
    export(
        scaled(load_file(args.weights), args.logit_scale),
        config,
        args.out,
        figures,
        before,
        args.run,
    )


if __name__ == "__main__":
    main()
