"""Silhouettes: (h, w) bool masks of filled polygons, drawn from a seeded generator."""

import cv2
import numpy as np

LETTERS = "ABCDEFGHJKLMNPRSTUVXYZ0123456789"


def _fill(points, h, w):
    out = np.zeros((h, w), np.uint8)
    cv2.fillPoly(out, [np.round(points * 8).astype(np.int32)], 1, shift=3)
    return out.astype(bool)


def _turn(points, angle):
    c, s = np.cos(angle), np.sin(angle)
    return points @ np.array([[c, s], [-s, c]])


def blob(rng, radius, rough=0.25, waves=6):
    """The outline of a Fourier blob around the origin, (n, 2)."""
    t = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    r = np.ones_like(t)
    for k in range(2, waves):
        r += rng.normal(0, rough / k) * np.cos(k * t + rng.uniform(0, 2 * np.pi))
    r = np.clip(r, 0.25, 2)[:, None] * radius
    return _turn(
        np.stack([np.cos(t), np.sin(t) * rng.uniform(0.45, 1)], 1) * r, rng.uniform(0, 2 * np.pi)
    )


def outline(rng, radius):
    """A random outline: blob, ellipse, polygon, box, star or wedge."""
    kind = rng.random()
    if kind < 0.35:
        return blob(rng, radius, rng.uniform(0.05, 0.5))
    if kind < 0.5:
        return blob(rng, radius, 0.0, 2)
    angle = rng.uniform(0, 2 * np.pi)
    if kind < 0.65:
        n = int(rng.integers(3, 9))
        t = np.sort(rng.uniform(0, 2 * np.pi, n))
        return np.stack([np.cos(t), np.sin(t)], 1) * radius * rng.uniform(0.7, 1.1, (n, 1))
    if kind < 0.85:
        a, b = radius, radius * rng.uniform(0.15, 1)
        box = np.array([[-a, -b], [a, -b], [a, b], [-a, b]])
        if rng.random() < 0.3:
            box[:2] *= rng.uniform(0.3, 1)
        return _turn(box, angle if rng.random() < 0.6 else 0.0)
    n = int(rng.integers(4, 9))
    t = np.linspace(0, 2 * np.pi, 2 * n, endpoint=False) + angle
    r = np.where(np.arange(2 * n) % 2, rng.uniform(0.35, 0.8), 1.0) * radius
    return np.stack([np.cos(t), np.sin(t)], 1) * r[:, None]


def silhouette(rng, h, w, centre, radius):
    """A random (h, w) bool mask near `centre` with about `radius` pixels from centre to rim."""
    kind = rng.random()
    if kind < 0.8:
        mask = _fill(outline(rng, radius) + centre, h, w)
        if kind < 0.1:  # ring
            mask &= ~_fill(blob(rng, radius * rng.uniform(0.3, 0.7), 0.1) + centre, h, w)
        return mask
    out = np.zeros((h, w), np.uint8)
    if kind < 0.92:  # stroke
        n = int(rng.integers(3, 7))
        steps = np.cumsum(rng.normal(0, radius * 0.6, (n, 2)), 0)
        line = np.round(steps - steps.mean(0) + centre).astype(np.int32)
        cv2.polylines(out, [line], False, 1, int(max(2, radius * rng.uniform(0.12, 0.5))))
    else:
        text = LETTERS[rng.integers(len(LETTERS))]
        scale = radius / 11
        at = (int(centre[0] - radius * 0.8), int(centre[1] + radius))
        cv2.putText(
            out,
            text,
            at,
            cv2.FONT_HERSHEY_SIMPLEX,
            scale,
            1,
            int(max(2, radius * rng.uniform(0.15, 0.45))),
        )
    return out.astype(bool)
