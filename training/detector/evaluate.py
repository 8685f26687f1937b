"""Measures the tiny detector:
`python -m training.detector.evaluate FOLDER --data DATA -o figures.json`.

All pictures are new to it: scenes of other seeds, the kept-out fifth of the nuclei, and words that
training never used."""

import argparse
import json
from itertools import product
from pathlib import Path

import numpy as np
import segrid

from training.data import nuclei as nuclei_of

from .scenes import Source, boxes_of, shapes
from .words import COLOURS, OTHERS, SHAPES, Query, phrase

THRESHOLD = 0.1  # the default of `detect`, to which export.py moves the scores


def iou(a, b):
    """The IoU of two XYXY boxes."""
    w, h = np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0)
    return w * h / (np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - w * h)


def pairs(wanted, found):
    """The IoU of each found box with a wanted box, in the order of the found boxes (best first).
    Each wanted box has one partner; an IoU below 0.5 makes no pair."""
    left, out = list(range(len(wanted))), []
    for box in found:
        best = max(left, key=lambda k: iou(wanted[k], box), default=None)
        if best is not None and iou(wanted[best], box) >= 0.5:
            out.append(iou(wanted[best], box))
            left.remove(best)
    return out


def plain(pipeline, count, size=480):
    """Plain shapes on a plain background, one prompt in a random wording for each pair of colour
    and shape that occurs once: the IoU of the best box, and of its mask."""
    boxes, areas = [], []
    for i in range(count):
        rng = np.random.default_rng((77, i))
        masks = []
        image, things = shapes(rng, size, plain=True, masks=masks)
        names = [(t.colour, t.shape) for t, _ in things]
        for (thing, box), mask in zip(things, masks, strict=True):
            if names.count((thing.colour, thing.shape)) > 1:
                continue
            found = pipeline(image, phrase(rng, Query(thing.shape, thing.colour)), threshold=0.0)[
                :1
            ]
            boxes.append(iou(found.boxes[0], box))
            got = found.masks.array[0]
            areas.append((got & mask).sum() / (got | mask).sum())
    boxes, areas = np.array(boxes), np.array(areas)
    return {
        "prompts": len(boxes),
        "box_iou_mean": boxes.mean(),
        "box_iou_above_0.8": (boxes > 0.8).mean(),
        "mask_iou_mean": areas.mean(),
        "mask_iou_median": np.median(areas),
        "mask_iou_above_0.9": (areas > 0.9).mean(),
    }


def scenes(detector, source, count):
    """Shapes on all backgrounds: prompts for pairs of colour and shape that are there, and for as
    many that are not."""
    hits = found_all = wanted_all = 0
    for i in range(count):
        rng = np.random.default_rng((78, i))
        image, things = shapes(rng, 256, source.photos)
        texts, truth = asked_of(rng, things)
        if not texts:
            continue
        result = detector.detect(image, texts, threshold=THRESHOLD)
        for k, wanted in enumerate(truth):
            own = result.boxes[result.class_id == k]
            hits += len(pairs(wanted, own))
            found_all, wanted_all = found_all + len(own), wanted_all + len(wanted)
    return figures_of(hits, found_all, wanted_all)


def asked_of(rng, things):
    """Wordings for the pairs of colour and shape that are there, and for as many that are not; and
    the boxes of each."""
    known = sorted({(t.colour, t.shape) for t, _ in things if t.colour and t.shape != "other"})
    absent = [pair for pair in product(COLOURS, SHAPES) if pair not in known]
    asked = known + [absent[k] for k in rng.permutation(len(absent))[: len(known)]]
    return (
        [phrase(rng, Query(shape, colour)) for colour, shape in asked],
        [[box for t, box in things if (t.colour, t.shape) == pair] for pair in asked],
    )


def figures_of(hits, found, wanted):
    """Precision, recall and TP / (TP + FP + FN)."""
    return {
        "precision": hits / max(1, found),
        "recall": hits / max(1, wanted),
        "ap50": hits / max(1, found + wanted - hits),
        "objects": wanted,
    }


def fields(source, count):
    """Kept-out images of nuclei with their boxes."""
    for i in range(count):
        picture = nuclei_of(np.random.default_rng((79, i)), source.folder, 256)
        yield picture.image, [box for _, box in boxes_of(picture.labels)]


def nuclei(detector, source, count):
    """Figures of kept-out images of nuclei."""
    hits = found_all = wanted_all = 0
    for image, wanted in fields(source, count):
        found = detector.detect(image, "nuclei", threshold=THRESHOLD)
        hits += len(pairs(wanted, found.boxes))
        found_all, wanted_all = found_all + len(found), wanted_all + len(wanted)
    return figures_of(hits, found_all, wanted_all)


def silence(detector, source, count):
    """The best score of words that training never used, and the best score of words for what is
    there."""
    unknown, known = [], []
    words = [w for i, w in enumerate(OTHERS) if i % 5 == 0]
    for i in range(count):
        rng = np.random.default_rng((80, i))
        image, things = shapes(rng, 256, source.photos)
        there = [t for t, _ in things if t.colour and t.shape != "other"]
        if not there:
            continue
        scene = detector.encode(image)
        for query in (
            Query(other=str(rng.choice(words))),
            Query(other=str(rng.choice(words)), colour=there[0].colour),
        ):
            unknown.append(_best(detector.detect(scene, phrase(rng, query), threshold=0.0)))
        known.append(
            _best(
                detector.detect(
                    scene, phrase(rng, Query(there[0].shape, there[0].colour)), threshold=0.0
                )
            )
        )
    unknown, known = np.array(unknown), np.array(known)
    return {
        "unknown_median": np.median(unknown),
        "unknown_95th": np.quantile(unknown, 0.95),
        "unknown_above_threshold": (unknown > THRESHOLD).mean(),
        "known_median": np.median(known),
        "known_above_threshold": (known > THRESHOLD).mean(),
    }


def _best(found):
    return float(found.scores[0]) if len(found) else 0.0


def evaluate(folder, data, count):
    """All figures."""
    detector = segrid.Detector(folder, precision="fp32")
    source = Source(data, 256, kept_out=True)
    pipeline = segrid.Pipeline(detector, segrid.Segmenter("tiny", precision="fp32"))
    figures = {
        "threshold": THRESHOLD,
        "plain": plain(pipeline, count),
        "scenes": scenes(detector, source, 2 * count),
        "unknown words": silence(detector, source, count),
    }
    if data:
        figures["nuclei"] = nuclei(detector, source, count)
    return json.loads(json.dumps(figures, default=float), parse_float=lambda v: round(float(v), 4))


def main():
    """Command line."""
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("folder")
    p.add_argument("--data")
    p.add_argument("--count", type=int, default=100)
    p.add_argument("-o", "--output", type=Path)
    args = p.parse_args()
    figures = evaluate(args.folder, args.data, args.count)
    print(json.dumps(figures, indent=1))
    if args.output:
        args.output.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
