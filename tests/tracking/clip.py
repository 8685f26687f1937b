"""A drawn clip: textured blobs that move over a textured ground, and what models read of it."""

import math

import numpy as np
import torch
from PIL import Image

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def blobs(frames, width, height, seed=5):
    """(frames, height, width, 3) uint8: three ellipses with textures of their own, on crossing
    paths. The first is hidden behind a dark bar for a fifth of the clip."""
    random = np.random.default_rng(seed)
    ground = _texture(random, width, height, 9, 60, 150)
    skins = [_texture(random, width, height, 14, low, low + 110) for low in (140, 0, 90)]
    y, x = np.mgrid[:height, :width].astype(np.float32)
    clip = np.empty((frames, height, width, 3), np.uint8)
    for t in range(frames):
        picture = ground.copy()
        for i, skin in enumerate(skins):
            cx, cy, rx, ry = place(i, t, frames, width, height)
            inside = ((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 < 1
            moved = np.roll(skin, (round(cy), round(cx)), axis=(0, 1))
            picture[inside] = moved[inside]
        if 0.4 <= t / frames < 0.6:
            cx, _, rx, _ = place(0, t, frames, width, height)
            picture[:, max(0, int(cx - 1.3 * rx)) : int(cx + 1.3 * rx)] = 25
        clip[t] = picture
    return clip


def place(blob, frame, frames, width, height):
    """Centre and radii (x, y, rx, ry) of a blob in pixels of the frame."""
    turn = 2 * math.pi * (frame / frames + blob / 3)
    cx = width * (0.5 + 0.3 * math.cos(turn))
    cy = height * (0.5 + 0.28 * math.sin((1 + blob) * turn))
    size = 1 + 0.25 * math.sin(2 * turn)
    return cx, cy, 0.12 * size * width, 0.15 * size * height


def _texture(random, width, height, cells, low, high):
    """Smooth colours of about `cells` spots along a side."""
    noise = random.integers(low, high, (cells, cells, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(noise).resize((width, height), Image.BICUBIC))


def pixels(frames, side):
    """What the peers' models read of (T, H, W, 3) uint8 frames: (T, 3, side, side) float32, resized
    by sam2's transform of images (bilinear, antialiased) and normalised."""
    read = torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2).float() / 255
    if read.shape[-2:] != (side, side):
        read = torch.nn.functional.interpolate(
            read, (side, side), mode="bilinear", align_corners=False, antialias=True
        )
    mean, deviation = (torch.tensor(v).view(3, 1, 1) for v in (MEAN, DEVIATION))
    return (read - mean) / deviation
