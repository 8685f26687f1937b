"""J and F on sequences and clips that training never saw, beside two simple baselines:
`python -m training.video.evaluate FOLDER_OR_WEIGHTS --data DATA -o figures.json`.

Each object is followed from its mask, or from one click in its middle, on the first frame. The
baselines: the first mask left where it is; and the packaged `tiny`, which is asked again on each
frame with the box of its last mask (first: with the same mask's box, or the same click)."""

import argparse
import json
from pathlib import Path

import cv2
import numpy as np
import torch
from segrid.measuring.track_agreement import agreement, mean_agreement

from ..data import held_out
from . import loop
from .clips import Maker, Sequences
from .initial import TINY, trained

CLIPS, FRAMES, PIXELS = 24, 12, 256  # procedural clips, their length, the side of a frame
KINDS = ("mask", "click")


def load(source):
    """The model of a packaged folder, or of a run's `ema.safetensors`, ready for inference."""
    return loop.prepare(trained(source).eval())


def middle(mask):
    """The pixel (x, y) of a bool mask that is farthest from its border."""
    depth = cv2.distanceTransform(np.pad(mask, 1).astype(np.uint8), cv2.DIST_L2, 5)[1:-1, 1:-1]
    y, x = np.unravel_index(depth.argmax(), mask.shape)
    return float(x), float(y)


def track(model, frames, truth, kind):
    """Masks (T, h, w) bool of the object of truth[0], in frames (T, h, w, 3) uint8."""
    side = model.config.image_size
    h, w = truth.shape[1:]
    small = [cv2.resize(frame, (side, side), interpolation=cv2.INTER_AREA) for frame in frames]
    if kind == "mask":
        first = cv2.resize(truth[0].astype(np.float32), (side, side), interpolation=cv2.INTER_AREA)
        prompt = torch.from_numpy(first > 0.5).float()[None]
    else:
        x, y = middle(truth[0])
        prompt = [[[x * side / w, y * side / h]]], [[1]]
    logits, _ = loop.follow(model, torch.from_numpy(np.stack(small)), prompt)
    return np.stack([cv2.resize(one.numpy(), (w, h)) > 0 for one in logits[:, 0]])


def asked_again(segmenter, frames, truth, kind):
    """The baseline: masks of an image segmenter that gets the box of its last mask."""
    if kind == "mask":
        last = truth[0]
    else:
        last = segmenter.predict(frames[0], points=[[middle(truth[0])]], labels=[[1]]).array[0]
    found, box = [last], None
    for frame in frames[1:]:
        ys, xs = np.flatnonzero(last.any(1)), np.flatnonzero(last.any(0))
        if len(ys):
            box = [float(v) for v in (xs[0], ys[0], xs[-1] + 1, ys[-1] + 1)]
        if box is None or box[2] - box[0] < 2 or box[3] - box[1] < 2:
            found.append(np.zeros_like(truth[0]))
            continue
        last = segmenter.predict(frame, boxes=[box]).array[0]
        found.append(last)
    return np.stack(found)


def sequences(data):
    """(name, frames, truth) of the kept-out DAVIS sequences at their own size."""
    davis = Sequences(Path(data) / "davis_bsd", held_out, side=None)
    for name in davis.names:
        frames, labels = davis.sequence(name)
        yield name, frames, labels > 0


def procedural():
    """(name, frames, truth) of clips whose seeds no training uses; one object of each."""
    maker = Maker(size=PIXELS, coarse_share=0)
    for index in range(CLIPS):
        clip = maker.clip(np.random.default_rng((9_000_001, index)), FRAMES, 1)
        yield f"clip {index}", clip.frames, clip.masks[:, 0]


def scores(found, truth):
    """{"J", "F", "J&F"}: means over frames 1, 2 ... of masks (T, h, w); frame 0 has the prompt."""
    mean = mean_agreement([agreement(*pair) for pair in zip(found[1:], truth[1:], strict=True)])
    return {"J": round(mean.j, 4), "F": round(mean.f, 4), "J&F": round(mean.mean, 4)}


def table(data, ways):
    """{set: {name: {kind: {method: scores}}}}. ways(frames, truth, kind) -> {method: masks}."""
    found = {}
    sets = {"davis": sequences(data) if data else (), "procedural": procedural()}
    for group, clips in sets.items():
        for name, frames, truth in clips:
            row = {
                kind: {way: scores(m, truth) for way, m in ways(frames, truth, kind).items()}
                for kind in KINDS
            }
            found.setdefault(group, {})[name] = row
    return found


def evaluate(model, data, baselines):
    """The table of a model beside `baselines`, and the mean J&F of each set under "mean"."""
    ours = table(data, lambda *clip: {"tiny-video": track(model, *clip)})
    for group, rows in ours.items():
        for name, kinds in rows.items():
            for kind, ways in kinds.items():
                ways |= baselines[group][name][kind]
    return ours | {"mean": {group: means(rows) for group, rows in ours.items()}}


def baselines_of(tiny, data, file=None):
    """The table of the baselines, with the segmenter in the folder `tiny`. They are the same for
    every model: `file`, where given, keeps them."""
    if file and Path(file).exists():
        return json.loads(Path(file).read_text())
    import segrid

    segmenter = segrid.Segmenter(str(tiny), threads=1)
    found = table(
        data,
        lambda frames, truth, kind: {
            "first mask": np.repeat(truth[:1], len(truth), 0),
            "tiny, last box": asked_again(segmenter, frames, truth, kind),
        },
    )
    if file:
        Path(file).write_text(json.dumps(found, indent=1) + "\n")
    return found


def means(rows):
    """{kind: {method: mean J&F}} over the rows of one set."""
    return {
        kind: {
            way: round(float(np.mean([row[kind][way]["J&F"] for row in rows.values()])), 4)
            for way in next(iter(rows.values()))[kind]
        }
        for kind in KINDS
    }


def main():
    """Command line."""
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("model")
    p.add_argument("--data", help="folder of the labelled sets; without it, procedural clips only")
    p.add_argument("--tiny", default=str(TINY), help="the segmenter of the baseline")
    p.add_argument("--baselines", help="JSON that keeps the baselines from one call to the next")
    p.add_argument("-o", "--out")
    args = p.parse_args()
    torch.set_num_threads(1)
    baselines = baselines_of(args.tiny, args.data, args.baselines)
    figures = evaluate(load(args.model), args.data, baselines)
    if args.out:
        Path(args.out).write_text(json.dumps(figures, indent=1) + "\n")
    print(json.dumps(figures["mean"], indent=1))


if __name__ == "__main__":
    main()
