"""One training picture, its targets, and its way to the model's frame."""

from dataclasses import dataclass, field

import cv2
import numpy as np


@dataclass
class Picture:
    """image (H, W, 3) uint8 RGB; labels (H, W) uint16, 0 where nothing is annotated; targets:
    tuples of label ids whose union is one object (a whole and its part are both targets);
    `complete`: label 0 is truly background."""

    image: np.ndarray
    labels: np.ndarray
    targets: list = field(default_factory=list)
    complete: bool = True

    def mask(self, target):
        """The (H, W) bool mask of one target."""
        table = np.zeros(int(self.labels.max()) + 1, bool)
        ids = [i for i in target if i < len(table)]
        table[ids] = True
        return table[self.labels]


def whole_targets(labels):
    """One target per label."""
    return [(int(i),) for i in np.unique(labels) if i]


def fit(picture, size):
    """A new Picture whose long side is `size`, not yet padded; an area filter shrinks."""
    h, w = picture.labels.shape
    scale = size / max(h, w)
    shape = (max(1, round(w * scale)), max(1, round(h * scale)))
    image = cv2.resize(
        picture.image, shape, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    )
    labels = cv2.resize(picture.labels, shape, interpolation=cv2.INTER_NEAREST)
    return Picture(image, labels, picture.targets, picture.complete)


def pad(array, size):
    """Zeros below and to the right."""
    out = np.zeros((size, size) + array.shape[2:], array.dtype)
    out[: array.shape[0], : array.shape[1]] = array
    return out


def photometric(rng, image, strength=1.0):
    """Changes light, colour, blur, noise and JPEG quality, each with some probability."""
    x = image.astype(np.float32)
    if rng.random() < 0.7 * strength:
        gain = np.exp(rng.normal(0, 0.22 * strength)) * np.exp(rng.normal(0, 0.06 * strength, 3))
        x = x * gain.astype(np.float32) + np.float32(rng.normal(0, 12 * strength))
    if rng.random() < 0.15 * strength:
        x = np.repeat(x.mean(2, keepdims=True), 3, 2)
    if rng.random() < 0.3 * strength:
        h, w = x.shape[:2]
        ramp = np.linspace(-1, 1, w, dtype=np.float32) * np.float32(rng.normal(0, 0.25))
        x = x * (
            1
            + ramp[None, :, None]
            + np.linspace(-1, 1, h, dtype=np.float32)[:, None, None] * rng.normal(0, 0.2)
        )
    if rng.random() < 0.25 * strength:
        x = cv2.GaussianBlur(x, (0, 0), float(rng.uniform(0.4, 1.5)))
    if rng.random() < 0.35 * strength:
        x = x + rng.standard_normal(x.shape, np.float32) * np.float32(rng.uniform(1, 14))
    x = np.clip(x, 0, 255).astype(np.uint8)
    if rng.random() < 0.25 * strength:
        _, code = cv2.imencode(".jpg", x, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(35, 92))])
        x = cv2.imdecode(code, cv2.IMREAD_COLOR)
    return np.ascontiguousarray(x)
