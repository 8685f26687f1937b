"""Prompts for training: clicks and boxes that a user might give for a target, and batches of them.

All prompts of a batch have the same number of points. K points end with a "no point" token as in
SAM; a box is two corner tokens after K - 1 points. So every prompt of a batch has K + 1 tokens."""

from dataclasses import dataclass

import cv2
import numpy as np
import torch

from .sample import fit, pad


@dataclass
class Batch:
    """images (B, S, S, 3) uint8; sizes (B, 2) valid height and width; points (B, P, K + 1, 2)
    float32 pixels; labels (B, P, K + 1) int8; masks (B, P, S/2, S/2) uint8, quarters of each 2x2
    block; real (B, P) bool: False for background clicks, which have no mask; box (B, P) bool."""

    images: torch.Tensor
    sizes: torch.Tensor
    points: torch.Tensor
    labels: torch.Tensor
    masks: torch.Tensor
    real: torch.Tensor
    box: torch.Tensor


def inside(rng, mask, central):
    """A pixel (x, y) of a non-empty bool mask, chosen uniformly or among the deepest ones."""
    ys, xs = np.nonzero(mask)
    if central:
        y0, x0 = ys.min(), xs.min()
        crop = np.pad(mask[y0 : ys.max() + 1, x0 : xs.max() + 1], 1).astype(np.uint8)
        depth = cv2.distanceTransform(crop, cv2.DIST_L2, 3)[1:-1, 1:-1]
        dy, dx = np.nonzero(depth >= 0.8 * depth.max())
        i = rng.integers(len(dy))
        return float(dx[i] + x0), float(dy[i] + y0)
    i = rng.integers(len(ys))
    return float(xs[i]), float(ys[i])


def box_of(rng, mask, jitter):
    """The XYXY box of a mask; if jittered, each side is moved by up to a tenth of the box."""
    ys, xs = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    box = np.array([xs[0], ys[0], xs[-1], ys[-1]], np.float32)
    if jitter:
        extent = np.array([box[2] - box[0], box[3] - box[1]] * 2) + 2
        box += np.clip(rng.normal(0, 0.06, 4), -0.12, 0.12) * extent
    return np.clip(box, 0, [mask.shape[1], mask.shape[0]] * 2)


def near(rng, mask, size):
    """A pixel outside the mask for a negative click, which is near the mask nine times of ten."""
    ys, xs = np.nonzero(mask)
    spread = 0.5 * (max(np.ptp(ys), np.ptp(xs)) + 8) if rng.random() < 0.9 else max(size)
    for _ in range(12):
        x, y = rng.normal((xs.mean(), ys.mean()), spread)
        if 0 <= x < size[1] and 0 <= y < size[0] and not mask[int(y), int(x)]:
            return float(int(x)), float(int(y))
    return None


def prompted(rng, picture, count, points, size):
    """Prompts for one Picture: the fields of a Batch, for one image. `count` prompts of `points`
    points."""
    picture = fit(picture, size)
    h, w = picture.labels.shape
    areas = np.bincount(picture.labels.ravel(), minlength=65536)
    targets = [t for t in picture.targets if sum(int(areas[i]) for i in t) >= 14]
    chosen = [targets[i] for i in rng.permutation(len(targets))[:count]] if targets else []
    while targets and len(chosen) < count:
        chosen.append(targets[rng.integers(len(targets))])
    empty = picture.labels == 0
    background = 0.13 if picture.complete and empty.mean() > 0.02 else 0.0
    masks = np.zeros((count, size // 2, size // 2), np.uint8)
    xy = np.zeros((count, points + 1, 2), np.float32)
    kinds = np.full((count, points + 1), -1, np.int8)
    real, box = np.zeros(count, bool), np.zeros(count, bool)
    for n in range(count):
        if not chosen or rng.random() < background:
            if empty.any():
                for k in range(points):
                    xy[n, k] = inside(rng, empty, False)
                kinds[n, :1] = 1
                kinds[n, 1:points] = rng.integers(0, 2, points - 1)
                real[n] = False
            continue
        mask = picture.mask(chosen[n])
        real[n], box[n] = True, rng.random() < 0.3
        whole = pad(mask, size).astype(np.uint8)
        masks[n] = whole[::2, ::2] + whole[1::2, ::2] + whole[::2, 1::2] + whole[1::2, 1::2]
        clicks = points - 1 if box[n] else points
        for k in range(clicks):
            negative = near(rng, mask, (h, w)) if (k or box[n]) and rng.random() < 0.45 else None
            xy[n, k] = negative or inside(rng, mask, rng.random() < 0.45)
            kinds[n, k] = 0 if negative else 1
        if box[n]:
            xy[n, -2:] = box_of(rng, mask, rng.random() < 0.4).reshape(2, 2)
            kinds[n, -2:] = 2, 3
    return pad(picture.image, size), (h, w), xy, kinds, masks, real, box


def batch_at(mixture, seed, step, images, prompts, size):
    """The batch of one step. It depends on (seed, step) and the files only, so that a run resumes
    exactly."""
    rng = np.random.default_rng((seed, step))
    points = 1 if rng.random() < 0.75 else int(rng.integers(2, 5))
    parts = []
    for _ in range(images):
        part = prompted(rng, mixture.picture(rng), prompts, points, size)
        for _ in range(3):
            if part[5].any():
                break
            part = prompted(rng, mixture.picture(rng), prompts, points, size)
        parts.append(part)
    return Batch(*[torch.from_numpy(np.stack([np.asarray(p[i]) for p in parts])) for i in range(7)])


def correction(logits, masks, generator):
    """A click (N, 2) in mask pixels on a random wrong pixel, and its label (N,): 1 where the pixel
    belongs to the mask. A prompt without errors gets a click inside its mask. logits and masks (N,
    h, w), masks in 0..1."""
    w = masks.shape[-1]
    truth, found = masks.flatten(1) > 0.5, logits.flatten(1) > 0
    wrong = truth != found
    weight = torch.where(wrong.any(1, keepdim=True), wrong, truth | ~truth.any(1, keepdim=True))
    at = torch.multinomial(weight.float().cpu(), 1, generator=generator).to(masks.device)
    label = truth.gather(1, at)[:, 0].to(torch.int8)
    return torch.cat([at % w, at // w], 1).float(), label
