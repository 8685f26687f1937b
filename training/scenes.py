"""Procedural scenes with exact masks. The same seed gives the same picture.

`scene(rng, size, photos)` draws one of three kinds: objects on a background (with composites, whose
whole and parts are both targets), a partition of the picture into regions with objects on top, or a
field of cells. `python training/scenes.py OUT --count 20` writes a few to look at."""

import cv2
import numpy as np

from .fills import colour, smooth_noise, surface
from .sample import Picture, photometric
from .shapes import _fill, blob, silhouette


def _shade(rng, patch, mask):
    """Light from one side, and a brighter rim or middle."""
    h, w = mask.shape
    if rng.random() < 0.5:
        angle = rng.uniform(0, 2 * np.pi)
        ramp = (
            np.cos(angle) * np.linspace(-1, 1, w)[None]
            + np.sin(angle) * np.linspace(-1, 1, h)[:, None]
        )
        patch = patch * (1 + ramp * rng.uniform(0.05, 0.4))[..., None].astype(np.float32)
    if rng.random() < 0.25:
        rim = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), max(1.0, 0.1 * w))
        patch = patch * (0.6 + 0.5 * rim)[..., None]
    return patch


def _paint(rng, image, labels, mask, ident, photos):
    """Draws one object with fill, shading, shadow and outline, and its label where it is visible.
    False if the object is too small."""
    ys, xs = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if len(ys) < 3 or len(xs) < 3:
        return False
    box = np.s_[max(0, ys[0] - 6) : ys[-1] + 7, max(0, xs[0] - 6) : xs[-1] + 7]
    part, view = mask[box], image[box]
    h, w = part.shape
    patch = _shade(rng, surface(rng, h, w, photos, 0.3), part)
    under = view[part].mean(0)
    if np.abs(patch[part].mean(0) - under).max() < 14:
        patch = patch + np.where(under > 128, -1, 1) * rng.uniform(15, 60)
    if rng.random() < 0.3:
        shadow = np.roll(part, (int(rng.integers(0, 6)), int(rng.integers(-5, 6))), (0, 1)).astype(
            np.float32
        )
        view *= 1 - cv2.GaussianBlur(shadow, (0, 0), 2.0)[..., None] * rng.uniform(0.15, 0.5)
    alpha = part.astype(np.float32)
    if rng.random() < 0.5:
        alpha = cv2.GaussianBlur(alpha, (0, 0), 0.6)
    view += (patch - view) * alpha[..., None]
    if rng.random() < 0.2:
        inner = cv2.erode(
            part.astype(np.uint8), np.ones((3, 3), np.uint8), iterations=int(rng.integers(1, 3))
        )
        view[part & (inner == 0)] = colour(rng)
    labels[box][part] = ident
    return True


def _objects(rng, image, labels, targets, photos, count, low, high):
    """Adds objects; about a third get inner parts (targets of their own, also part of the
    whole)."""
    size = max(labels.shape)
    h, w = labels.shape
    ident = int(labels.max()) + 1
    for _ in range(count):
        radius = size * float(np.exp(rng.uniform(np.log(low), np.log(high))))
        centre = rng.uniform(0, 1, 2) * (w, h)
        mask = silhouette(rng, h, w, centre, radius)
        if not _paint(rng, image, labels, mask, ident, photos):
            continue
        group = [ident]
        ident += 1
        if radius > 0.06 * size and rng.random() < 0.4:
            for _ in range(int(rng.integers(1, 4))):
                at = centre + rng.normal(0, radius * 0.45, 2)
                inner = silhouette(rng, h, w, at, radius * rng.uniform(0.2, 0.55)) & mask
                if _paint(rng, image, labels, inner, ident, photos):
                    targets.append((ident,))
                    group.append(ident)
                    ident += 1
        # A piece that sticks out belongs to the same thing.
        if radius > 0.05 * size and rng.random() < 0.25:
            at = centre + _direction(rng) * radius
            piece = silhouette(rng, h, w, at, radius * rng.uniform(0.3, 0.7))
            if _paint(rng, image, labels, piece, ident, photos):
                targets.append((ident,))
                group.append(ident)
                ident += 1
        targets.append(tuple(group))


def _direction(rng):
    angle = rng.uniform(0, 2 * np.pi)
    return np.array([np.cos(angle), np.sin(angle)])


def _partition(rng, h, w):
    """Labels 1..n everywhere: warped Voronoi cells or horizon bands."""
    yy, xx = np.mgrid[:h, :w].astype(np.float32)
    xx += smooth_noise(rng, h, w, rng.uniform(3, 9)) * rng.uniform(2, 0.08 * w)
    yy += smooth_noise(rng, h, w, rng.uniform(3, 9)) * rng.uniform(2, 0.08 * h)
    n = int(rng.integers(2, 9))
    if rng.random() < 0.35:
        cuts = np.sort(rng.uniform(0.1, 0.9, max(1, n // 2))) * h
        return (
            (np.searchsorted(cuts, (yy + xx * rng.normal(0, 0.15)).ravel()) + 1)
            .reshape(h, w)
            .astype(np.uint16)
        )
    seeds = rng.uniform(0, 1, (n, 2)) * (w, h)
    distance = [(xx - sx) ** 2 + (yy - sy) ** 2 for sx, sy in seeds]
    return (np.argmin(distance, 0) + 1).astype(np.uint16)


def _cells(rng, h, w):
    """A field of nuclei-like blobs, dark or bright, tinted, clumped, with unlabelled debris and
    glow."""
    bright = rng.random() < 0.6
    back = rng.uniform(5, 60) if bright else rng.uniform(150, 240)
    tint = np.where(rng.random() < 0.5, 1.0, rng.uniform(0.5, 1.1, 3)).astype(np.float32)
    image = np.full((h, w, 3), back, np.float32) * tint
    image += smooth_noise(rng, h, w, rng.uniform(2, 20))[..., None] * rng.uniform(1, 22) * tint
    labels = np.zeros((h, w), np.uint16)
    radius = float(np.exp(rng.uniform(np.log(4.0), np.log(34.0))))
    count = int(min(rng.integers(4, 60), 0.5 * h * w / (np.pi * radius**2)))
    clump = rng.random() * 0.7
    places = np.zeros((0, 2))
    for ident in range(1, max(2, count) + 1):
        r = radius * float(np.exp(rng.normal(0, 0.2)))
        if len(places) and rng.random() < clump:
            at = places[rng.integers(len(places))] + _direction(rng) * r * rng.uniform(1.4, 2.1)
        else:
            at = rng.uniform(0, 1, 2) * (w, h)
        places = np.vstack([places, at])
        mask = _fill(blob(rng, r, rng.uniform(0, 0.3)) + at, h, w)
        if mask.sum() < 9 or (labels[mask] > 0).mean() > 0.4:
            continue
        ys, xs = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        box = np.s_[max(0, ys[0] - 4) : ys[-1] + 5, max(0, xs[0] - 4) : xs[-1] + 5]
        part, view = mask[box], image[box]
        level = (1 if bright else -1) * rng.uniform(18, 150)
        texture = 1 + smooth_noise(rng, *part.shape, rng.uniform(2, 7)) * rng.uniform(0, 0.4)
        soft = cv2.GaussianBlur(part.astype(np.float32), (0, 0), float(rng.uniform(0.5, 1.5)))
        view += (soft * level * texture)[..., None] * tint
        labels[box][part] = ident
    for _ in range(int(rng.integers(0, 6))):  # Debris and glow are not annotated.
        at, r = rng.uniform(0, 1, 2) * (w, h), radius * rng.uniform(0.15, 0.35)
        spot = _fill(blob(rng, max(1.0, r)) + at, h, w) & (labels == 0)
        image[spot] += (1 if bright else -1) * rng.uniform(10, 60)
    if rng.random() < 0.3:
        image += cv2.GaussianBlur(image, (0, 0), 12) * rng.uniform(0, 0.25)
    return image, labels


def scene(rng, size=256, photos=()):
    """One Picture of about `size` pixels (half of them not square), drawn from `rng` alone."""
    h = w = size
    if rng.random() < 0.5:
        h, w = (size, int(size * rng.uniform(0.55, 1)))[:: 1 if rng.random() < 0.5 else -1]
    kind = rng.random()
    if kind < 0.25:
        image, labels = _cells(rng, h, w)
        targets = [(int(i),) for i in np.unique(labels) if i]
        complete = True
    else:
        labels, targets, complete = np.zeros((h, w), np.uint16), [], True
        if kind < 0.5:
            labels = _partition(rng, h, w)
            image = np.zeros((h, w, 3), np.float32)
            for ident in range(1, int(labels.max()) + 1):
                region = labels == ident
                image[region] = surface(rng, h, w, photos, 0.35)[region]
                targets.append((ident,))
        else:
            on_photo = bool(photos) and rng.random() < 0.45
            image = surface(rng, h, w, photos, 1.0 if on_photo else 0.0)
            complete = not on_photo
        image = np.ascontiguousarray(image, np.float32)
        large = rng.random() < 0.45
        count = int(rng.integers(1, 8 if large else 20))
        _objects(
            rng,
            image,
            labels,
            targets,
            photos,
            count,
            0.06 if large else 0.02,
            0.4 if large else 0.12,
        )
    image = np.clip(image, 0, 255).astype(np.uint8)
    return Picture(photometric(rng, image), labels, targets, complete)


def main():
    """Writes a few scenes, with picture and coloured labels side by side."""
    import argparse
    from pathlib import Path

    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    palette = np.random.default_rng(1).integers(40, 255, (65536, 3)).astype(np.uint8)
    palette[0] = 0
    for i in range(args.count):
        picture = scene(np.random.default_rng((args.seed, i)))
        both = np.concatenate([picture.image, palette[picture.labels]], 1)
        cv2.imwrite(str(args.out / f"scene_{i:03d}.png"), both[..., ::-1])


if __name__ == "__main__":
    main()
