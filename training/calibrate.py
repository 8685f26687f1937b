"""Prints the factor by which `export` scales the logits:
`python -m training.calibrate WEIGHTS.safetensors --config CONFIG --data DATA`.

SAM's stability score compares the masks at logits +1 and -1, so its meaning depends on how sharp a
model's logits are. With this factor the chosen masks of clicks on nuclei (whole frames that
training used) reach the mean stability asked for. Scaling logits by s is the same as comparing at
+1/s and -1/s."""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

from . import model
from .clicks import clicks, embed, enlarge
from .data import Folder, held_out
from .evaluate import deepest, spread


@torch.no_grad()
def chosen_logits(net, pictures, objects, rng):
    """Logits, at the pictures' size, of the mask chosen for one click on each of a few objects per
    picture."""
    for picture in pictures:
        masks = [m for m in map(picture.mask, picture.targets) if m.sum() >= 16]
        embedded, scale, size = embed(net, picture.image)
        for i in rng.permutation(len(masks))[:objects]:
            out, score = clicks(net, embedded, [deepest(masks[i])], scale)
            best = 1 + int(score[0, 1:].argmax())
            yield enlarge(out[0, best][None], net.size, size, masks[i].shape)[0]


def logit_scale(logits, stability):
    """The factor, to 2 %, at which the mean stability at offset 1 is the one asked for."""
    logits = list(logits)

    def mean(scale):
        return np.mean(
            [float((x > 1 / scale).sum() / (x > -1 / scale).sum().clamp(min=1)) for x in logits]
        )

    low, high = 0.05, 50.0
    while high / low > 1.02:
        middle = (low * high) ** 0.5
        low, high = (middle, high) if mean(middle) < stability else (low, middle)
    return round((low * high) ** 0.5, 2)


def main():
    """Command line."""
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("weights")
    p.add_argument("--config", required=True)
    p.add_argument("--data", required=True)
    p.add_argument("--stability", type=float, default=0.86)
    p.add_argument("--frames", type=int, default=36)
    args = p.parse_args()
    net = model.Sam(json.loads(Path(args.config).read_text())).eval()
    net.load_state_dict(load_file(args.weights))
    pictures = spread(
        Folder(Path(args.data) / "nuclei_dsb2018", lambda name: not held_out(name)), args.frames
    )
    print(logit_scale(chosen_logits(net, pictures, 4, np.random.default_rng(2)), args.stability))


if __name__ == "__main__":
    main()
