"""Figures of a model on pictures kept out of training:
`python -m training.evaluate FOLDER --data DATA --out JSON`.

Per set: IoU of one click at the object's deepest pixel (mask chosen by predicted IoU, best of
three), of the same after a correction (click on the deepest wrong pixel, with the mask as hint), of
a box (single mask), the correlation of predicted and true IoU over all three masks, mean stability
at offset 1. At most --objects objects per picture, picked by a fixed seed. IoU is taken on the
pixels of the picture. `nuclei` answers clicks from the whole frame, `nuclei tiles` from a 320 px
window around the object where the frame is larger than 400 px. Objects smaller than 0.1 % of the
frame are left out in photos (8 x 8 px at the model's input).

Everything mode is segrid's own as shipped, `Segmenter.everything(picture, crop_n_layers="auto")`:
AP50 = TP / (TP + FP + FN) at mask IoU 0.5, pooled over pictures. In scenes the outermost targets
count; a mask that fits an inner part is neither right nor wrong. Photos are not fully annotated, so
for them only the recall at IoU 0.5 is given."""

import argparse
import json
import time
from pathlib import Path

import cv2
import numpy as np
import segrid
import torch

from . import losses, model, prompts
from .clicks import clicks, embed, enlarge
from .data import OBJECT_SETS, Folder, held_out, nuclei
from .scenes import scene

SCENE_SEED = 977_001


def deepest(mask):
    """The pixel (x, y) of a bool mask farthest from its rim."""
    depth = cv2.distanceTransform(np.pad(mask.astype(np.uint8), 1), cv2.DIST_L2, 5)[1:-1, 1:-1]
    y, x = np.unravel_index(depth.argmax(), depth.shape)
    return float(x), float(y)


def iou(a, b):
    """IoU of bool masks."""
    return float((a & b).sum() / max(1, (a | b).sum()))


def _correct(net, embedded, scale, size, mask, click, hint, found):
    """The IoU after a second click on the deepest wrong pixel, with the logits of the first mask as
    hint."""
    missed, extra = mask & ~found, found & ~mask
    deep = [
        cv2.distanceTransform(np.pad(e.astype(np.uint8), 1), cv2.DIST_L2, 5).max()
        for e in (missed, extra)
    ]
    label = int(deep[0] >= deep[1])
    wrong = missed if label else extra
    at = deepest(wrong) if wrong.any() else click
    points = torch.tensor([[[click, at, (0.0, 0.0)]]]) * scale
    labels = torch.tensor([[[1, label, -1]]])
    out, score = net.decode(embedded, points, labels, hint[None, None].clamp(-32, 32))
    best = 1 + int(score[0, 0, 1:].argmax())
    return iou((enlarge(out[0, :, best].float(), net.size, size, mask.shape)[0] > 0).numpy(), mask)


@torch.no_grad()
def prompt_figures(net, pictures, objects, least, rng, tile=0):
    """Figures of clicks, corrections and boxes over `pictures` (of type Picture). `least`: the
    smallest share of the frame that an object must have."""
    rows, pairs = [], []
    for picture in pictures:
        masks = [picture.mask(t) for t in picture.targets]
        masks = [m for m in masks if m.sum() >= max(16, least * m.size)]
        masks = [masks[i] for i in rng.permutation(len(masks))[:objects]]
        whole = embed(net, picture.image) if masks else None
        for mask in masks:
            image, at = picture.image, deepest(mask)
            embedded, scale, size = whole
            if tile and max(mask.shape) > tile + 80:
                x0, y0 = (
                    int(np.clip(c - tile / 2, 0, max(0, n - tile)))
                    for c, n in zip(at, mask.shape[::-1], strict=True)
                )
                cut = np.s_[y0 : y0 + tile, x0 : x0 + tile]
                mask, at = mask[cut], (at[0] - x0, at[1] - y0)
                embedded, scale, size = embed(net, np.ascontiguousarray(image[cut]))
            out, score = clicks(net, embedded, [at], scale)
            found = enlarge(out[0], net.size, size, mask.shape)
            true = [iou((f > 0).numpy(), mask) for f in found[1:]]
            chosen = int(score[0, 1:].argmax())
            pairs += list(zip(score[0, 1:].tolist(), true, strict=True))
            stability = float(
                (found[1 + chosen] > 1).sum() / (found[1 + chosen] > -1).sum().clamp(min=1)
            )
            hint, first = out[0, 1 + chosen], (found[1 + chosen] > 0).numpy()
            second = _correct(net, embedded, scale, size, mask, at, hint, first)
            box = torch.from_numpy(prompts.box_of(rng, mask, False)).view(1, 1, 2, 2) * scale
            boxed, _ = net.decode(embedded, box, torch.tensor([[[2, 3]]]))
            by_box = iou(
                (enlarge(boxed[0, :, 0].float(), net.size, size, mask.shape)[0] > 0).numpy(), mask
            )
            rows.append((true[chosen], max(true), by_box, second, stability))
    names = ("click_chosen", "click_best", "box", "corrected", "stability")
    figures = {
        name: round(float(np.mean(column)), 4)
        for name, column in zip(names, zip(*rows, strict=True), strict=True)
    }
    correlation = round(float(np.corrcoef(np.array(pairs).T)[0, 1]), 4)
    return figures | {"correlation": correlation, "objects": len(rows)}, pairs


def everything_figures(segmenter, pictures, complete):
    """TP, FP and FN of everything mode, pooled over pictures; AP50, precision, recall; and the
    seconds taken."""
    tp = fp = fn = 0
    begin = time.monotonic()
    for picture in pictures:
        groups = [set(t) for t in picture.targets]
        outer = [t for t in picture.targets if not any(set(t) < g for g in groups)]
        inner = [picture.mask(t) for t in picture.targets if t not in outer]
        truth = [
            m for m in map(picture.mask, outer) if m.sum() >= (16 if complete else 0.001 * m.size)
        ]
        masks = segmenter.everything(picture.image, crop_n_layers="auto").array
        overlap = np.array([[iou(m, t) for t in truth] for m in masks]).reshape(
            len(masks), len(truth)
        )
        free_masks, hits = set(range(len(masks))), 0
        for flat in np.argsort(-overlap, axis=None):
            i, j = np.unravel_index(flat, overlap.shape)
            if overlap[i, j] < 0.5:
                break
            if i in free_masks:
                free_masks.discard(i)
                overlap[:, j] = 0
                hits += 1
        free_masks = [i for i in free_masks if not any(iou(masks[i], m) >= 0.5 for m in inner)]
        tp, fp, fn = tp + hits, fp + len(free_masks), fn + len(truth) - hits
    figures = dict(recall=round(tp / max(1, tp + fn), 4), pictures=len(pictures), truths=tp + fn)
    if complete:
        figures |= dict(
            ap50=round(tp / max(1, tp + fp + fn), 4), precision=round(tp / max(1, tp + fp), 4)
        )
    return figures | dict(seconds=round(time.monotonic() - begin, 1))


def spread(folder, limit):
    """At most `limit` whole frames, evenly spaced in the order of their names."""
    return [
        folder.picture(int(i)) for i in np.unique(np.linspace(0, len(folder) - 1, limit).round())
    ]


def scenes_kept(count, photos=()):
    """Fixed scenes with complete labels, from a seed that training does not use."""
    drawn = (scene(np.random.default_rng((SCENE_SEED, i)), 256, photos) for i in range(4 * count))
    return [p for p in drawn if p.complete and p.targets][:count]


def quick_set(data, size=256):
    """A small fixed batch of kept-out pictures of each kind, for the choice among checkpoints."""
    data, out = Path(data), {}
    field = Folder(data / "nuclei_dsb2018", held_out)
    rng = np.random.default_rng(5)
    out["nuclei"] = [prompts.prompted(rng, nuclei(rng, field, size), 8, 1, size) for _ in range(24)]
    photos = [p for name in OBJECT_SETS for p in spread(Folder(data / name, held_out, 720), 8)]
    out["objects"] = [prompts.prompted(rng, p, 8, 1, size) for p in photos if p.targets]
    out["scenes"] = [prompts.prompted(rng, p, 8, 1, size) for p in scenes_kept(16)]
    return out


@torch.no_grad()
def quick_check(net, sets):
    """Chosen IoU and IoU correlation per kind, and their mean `score`."""
    found = {}
    for name, parts in sets.items():
        chosen, pairs = [], []
        for part in parts:
            b = prompts.Batch(*[torch.from_numpy(np.asarray(v))[None] for v in part])
            out, score = net.decode(
                net.vision_encoder(net.normalise(b.images, b.sizes)), b.points, b.labels
            )
            true = losses.iou(out[:, :, 1:], b.masks[:, :, None].float() / 4)[0]
            real, score = b.real[0] & ~b.box[0], score[0, :, 1:]
            chosen += true.gather(1, score.argmax(1, keepdim=True))[real, 0].tolist()
            pairs.append(torch.stack([score[real].flatten(), true[real].flatten()]))
        found[name] = round(float(np.mean(chosen)), 4)
        found[f"{name}_correlation"] = round(float(torch.corrcoef(torch.cat(pairs, 1))[0, 1]), 4)
    return found | {"score": round(float(np.mean([found[name] for name in sets])), 4)}


def evaluate(net, segmenter, data, objects, frames, scenes, count=4):
    """All figures as a dict; net and segmenter have the same weights. `count`: photos per set in
    everything mode."""
    data, table, pairs = Path(data), {}, []
    rng = np.random.default_rng(11)
    fields = spread(Folder(data / "nuclei_dsb2018", held_out), frames)
    drawn = scenes_kept(scenes)
    sets = {
        "nuclei": (fields, 0.0, 0),
        "nuclei tiles": (fields, 0.0, 320),
        "scenes": (drawn, 0.0, 0),
    }
    photos = {name: spread(Folder(data / name, held_out), min(frames, 24)) for name in OBJECT_SETS}
    sets |= {name: (pictures, 0.001, 0) for name, pictures in photos.items()}
    for name, (pictures, least, tile) in sets.items():
        table[name], found = prompt_figures(net, pictures, objects, least, rng, tile)
        pairs += found
        print(name, table[name], flush=True)
    both = [table["litter_taco"], table["coco_ccby"]]
    table["everyday (litter, COCO)"] = {
        key: round(sum(t[key] * t["objects"] for t in both) / sum(t["objects"] for t in both), 4)
        for key in ("click_chosen", "click_best", "box", "corrected")
    }
    table["correlation, all sets"] = round(float(np.corrcoef(np.array(pairs).T)[0, 1]), 4)
    for name, (pictures, complete) in {
        "nuclei": (fields, True),
        "scenes": (drawn, True),
        "litter_taco": (photos["litter_taco"][:count], False),
        "coco_ccby": (photos["coco_ccby"][:count], False),
    }.items():
        table[name]["everything"] = everything_figures(segmenter, pictures, complete)
        print(name, table[name]["everything"], flush=True)
    return table


def main():
    """Command line."""
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("folder", help="config.json and model.safetensors")
    p.add_argument("--data", required=True)
    p.add_argument("--out", required=True)
    p.add_argument("--objects", type=int, default=6, help="objects per picture")
    p.add_argument(
        "--frames", type=int, default=36, help="whole nuclei frames (and up to 24 photos per set)"
    )
    p.add_argument("--scenes", type=int, default=32)
    p.add_argument(
        "--photos", type=int, default=4, help="photos per set for the recall of everything mode"
    )
    p.add_argument(
        "--precision", default="fp32", help="of everything mode (the clicks are PyTorch's in fp32)"
    )
    args = p.parse_args()
    net = model.load(args.folder).eval()
    segmenter = segrid.Segmenter(args.folder, precision=args.precision)
    table = evaluate(net, segmenter, args.data, args.objects, args.frames, args.scenes, args.photos)
    table["settings"] = vars(args)
    Path(args.out).write_text(json.dumps(table, indent=1) + "\n")


if __name__ == "__main__":
    main()
