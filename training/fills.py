"""Backgrounds and surfaces for the procedural scenes: flat, gradient, noise, stripes, photo
crops."""

import cv2
import numpy as np


def smooth_noise(rng, h, w, cells):
    """(h, w) float32 noise in about [-1, 1] with `cells` bumps across."""
    small = rng.uniform(
        -1, 1, (max(2, int(cells * h / max(h, w))), max(2, int(cells * w / max(h, w))))
    )
    return cv2.resize(small.astype(np.float32), (w, h), interpolation=cv2.INTER_CUBIC)


def colour(rng):
    """A random colour; greys are more frequent than by chance."""
    base = rng.uniform(10, 245, 3) if rng.random() < 0.75 else np.full(3, rng.uniform(10, 245))
    return base.astype(np.float32)


def photo_crop(rng, photos, h, w):
    """A random crop of a random photo, flipped at random and scaled to (h, w)."""
    photo = photos[rng.integers(len(photos))]
    ph, pw = photo.shape[:2]
    scale = rng.uniform(0.25, 1.0)
    ch = max(24, int(ph * scale))
    cw = max(24, min(pw, int(ch * w / h)))
    y, x = rng.integers(0, ph - ch + 1), rng.integers(0, pw - cw + 1)
    crop = photo[y : y + ch, x : x + cw]
    if rng.random() < 0.5:
        crop = crop[:, ::-1]
    return cv2.resize(np.ascontiguousarray(crop), (w, h), interpolation=cv2.INTER_AREA).astype(
        np.float32
    )


def surface(rng, h, w, photos=(), photo_share=0.25):
    """A random surface, (h, w, 3) float32 in 0..255."""
    if photos and rng.random() < photo_share:
        return photo_crop(rng, photos, h, w)
    base = np.broadcast_to(colour(rng), (h, w, 3)).copy()
    kind = rng.random()
    if kind < 0.25:
        return base
    if kind < 0.5:
        other = colour(rng)
        angle = rng.uniform(0, 2 * np.pi)
        ramp = (
            np.cos(angle) * np.linspace(-0.5, 0.5, w)[None]
            + np.sin(angle) * np.linspace(-0.5, 0.5, h)[:, None]
        )
        return base + (
            (ramp + 0.5)[..., None] * (other - base[0, 0]) * rng.uniform(0.2, 0.8)
        ).astype(np.float32)
    if kind < 0.85:
        cells = float(np.exp(rng.uniform(np.log(3), np.log(60))))
        noise = smooth_noise(rng, h, w, cells)
        if rng.random() < 0.5:
            noise = noise + 0.6 * smooth_noise(rng, h, w, cells * 2.7)
        tint = rng.normal(0, 1, 3) * 0.4 + 1
        return base + noise[..., None] * (tint * rng.uniform(5, 45)).astype(np.float32)
    period, angle = rng.uniform(4, 40), rng.uniform(0, np.pi)
    phase = (np.arange(w)[None] * np.cos(angle) + np.arange(h)[:, None] * np.sin(angle)) * (
        2 * np.pi / period
    )
    wave = np.clip(np.sin(phase) * rng.uniform(0.8, 4), -1, 1).astype(np.float32)
    return base + wave[..., None] * ((colour(rng) - base[0, 0]) * rng.uniform(0.1, 0.5))
