"""Things that move over a clip: cut-outs of labelled photos and procedural shapes, their paths, and
how they are painted over frames."""

from dataclasses import dataclass

import cv2
import numpy as np

from ..fills import surface
from ..scenes import _shade
from ..shapes import silhouette


@dataclass
class Sprite:
    """patch (h, w, 4) uint8: RGB and alpha; warps (T, 2, 3): from its pixels to those of each
    frame; bends: None, or (T, 4, 4, 2) displacements, in parts of its size, that change its
    shape."""

    patch: np.ndarray
    warps: np.ndarray
    bends: np.ndarray | None = None

    def at(self, time, size):
        """(size, size, 4) uint8: the sprite on frame `time`."""
        patch = self.patch
        if self.bends is not None:
            h, w = patch.shape[:2]
            shift = cv2.resize(self.bends[time], (w, h), interpolation=cv2.INTER_CUBIC)
            yy, xx = np.mgrid[:h, :w].astype(np.float32)
            patch = cv2.remap(
                patch, xx + shift[..., 0] * w, yy + shift[..., 1] * h, cv2.INTER_LINEAR
            )
        return cv2.warpAffine(patch, self.warps[time], (size, size), flags=cv2.INTER_LINEAR)


def cut_out(rng, folders, size):
    """RGB and alpha (h, w, 4) of one labelled object of the folders for frames of `size` pixels, or
    None where the one that was drawn is too small."""
    picture = folders[rng.integers(len(folders))].draw(rng)
    if not picture.targets:
        return None
    mask = picture.mask(picture.targets[rng.integers(len(picture.targets))])
    x, y, w, h = cv2.boundingRect(mask.astype(np.uint8))
    if min(w, h) < 12:
        return None
    box = np.s_[max(0, y - 8) : y + h + 8, max(0, x - 8) : x + w + 8]
    alpha = cv2.GaussianBlur(mask[box].astype(np.float32), (0, 0), 0.7) * 255
    patch = np.dstack([picture.image[box], alpha.astype(np.uint8)])
    scale = 0.7 * size / max(patch.shape)
    if scale < 1:
        patch = cv2.resize(patch, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(patch)


def shape(rng, photos, size):
    """RGB and alpha of a procedural object, of about half the `size` of a frame."""
    side = int(rng.integers(80, 160)) * size // 256
    mask = silhouette(rng, side, side, np.array([side / 2, side / 2]), side * 0.38)
    patch = _shade(rng, surface(rng, side, side, photos, 0.35), mask)
    if rng.random() < 0.4:  # a part of another surface
        part = silhouette(rng, side, side, rng.uniform(0.2, 0.8, 2) * side, side * 0.25) & mask
        patch = np.where(part[..., None], surface(rng, side, side, photos, 0.3), patch)
    alpha = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 0.7) * 255
    return np.dstack([np.clip(patch, 0, 255), alpha]).astype(np.uint8)


def walk(rng, frames, spread, erratic):
    """(frames,) a path from 0 whose steps have a size of about `spread`: smooth, or erratic."""
    steps = rng.normal(0, spread) + np.cumsum(rng.normal(0, 0.35 * spread, frames))
    if erratic:
        steps = rng.normal(0, 1.3 * spread, frames)
    return np.concatenate([[0], np.cumsum(steps[1:])])


def path(rng, patch, frames, size, start=None, extent=None):
    """Warps (T, 2, 3) of a patch that begins inside the frame. start: its first centre; extent: its
    long side in pixels of the frame."""
    h, w = patch.shape[:2]
    extent = extent or size * float(np.exp(rng.uniform(np.log(0.09), np.log(0.6))))
    erratic = rng.random() < 0.25
    speed = size * float(np.exp(rng.uniform(np.log(0.005), np.log(0.1))))
    centre = np.array(start) if start is not None else rng.uniform(0.1, 0.9, 2) * size
    xs, ys = (centre[i] + walk(rng, frames, speed, erratic) for i in range(2))
    if rng.random() < 0.15 and frames > 2:  # leaves the frame and comes back
        away = np.sin(np.linspace(0, np.pi, frames)) ** 0.7 * size * rng.uniform(0.6, 1.3)
        angle = rng.uniform(0, 2 * np.pi)
        xs, ys = xs + away * np.cos(angle), ys + away * np.sin(angle)
    sizes = extent / max(h, w) * np.exp(walk(rng, frames, 0.04, erratic))
    first = rng.normal(0, 20) if rng.random() < 0.7 else rng.uniform(0, 360)
    angles = first + walk(rng, frames, 6 if rng.random() < 0.7 else 20, erratic)
    stretch = np.exp(rng.normal(0, 0.15))
    warps = np.empty((frames, 2, 3), np.float32)
    for t in range(frames):
        turn = cv2.getRotationMatrix2D((0, 0), float(angles[t]), 1.0)[:, :2]
        turn = turn @ np.diag([sizes[t] * stretch, sizes[t] / stretch])
        warps[t, :, :2] = turn
        warps[t, :, 2] = np.array([xs[t], ys[t]]) - turn @ (w / 2, h / 2)
    return warps


def bends(rng, frames):
    """Displacements (T, 4, 4, 2) that go from one shape to another and on, at random speed."""
    ends = rng.normal(0, rng.uniform(0.02, 0.07), (3, 4, 4, 2))
    phase = rng.uniform(0, 2 * np.pi) + np.arange(frames) * rng.uniform(0.1, 0.9)
    wave = np.stack([np.sin(phase), np.cos(phase), np.ones(frames)], 1)
    return np.tensordot(wave, ends, 1).astype(np.float32)


def paint(sprites, images, labels, first):
    """Paints sprites, the last on top, over images (T, S, S, 3) and their ids `first`, `first` + 1
    ... over labels (T, S, S), both in place."""
    for time, (image, label) in enumerate(zip(images, labels, strict=True)):
        for ident, sprite in enumerate(sprites, first):
            layer = sprite.at(time, len(image))
            alpha = layer[..., 3]
            rows, columns = np.flatnonzero(alpha.any(1)), np.flatnonzero(alpha.any(0))
            if not len(rows):
                continue
            box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
            cover = alpha[box].astype(np.float32)[..., None] / 255
            under = image[box].astype(np.float32)
            image[box] = under + (layer[box][..., :3] - under) * cover
            label[box][alpha[box] > 127] = ident
