"""Coloured shapes on plain and other backgrounds, and nuclei, with a box and attributes for each
thing."""

import colorsys

import cv2
import numpy as np

from training.data import Folder, held_out, nuclei
from training.fills import surface
from training.sample import photometric
from training.scenes import _cells
from training.shapes import _turn, blob

from .words import SHAPES, Thing

HUES = {
    "red": (-8, 7),
    "orange": (24, 36),
    "yellow": (50, 62),
    "green": (92, 145),
    "blue": (208, 242),
    "purple": (268, 296),
}
OTHER_HUES = ((170, 190), (318, 338))  # Cyan and pink belong to no class.


def paint(rng, name):
    """An RGB colour of that name; for None a colour without a name here."""
    if name == "black":
        return rng.uniform(0, 28, 3)
    if name == "white":
        return rng.uniform(234, 255, 3)
    if name is None and rng.random() < 0.4:
        return np.full(3, rng.uniform(95, 165))
    low, high = HUES[name] if name else OTHER_HUES[rng.integers(2)]
    value = (
        rng.uniform(0.5, 0.95)
        if name in ("green", "blue", "purple", "red")
        else rng.uniform(0.85, 1)
    )
    return 255 * np.array(
        colorsys.hsv_to_rgb(rng.uniform(low, high) / 360 % 1, rng.uniform(0.75, 1), value)
    )


def outline(rng, shape, radius):
    """Points around the origin; radius: about half of the longer side."""
    turn = rng.uniform(-0.2, 0.2) if rng.random() < 0.7 else rng.uniform(0, 2 * np.pi)
    if shape == "circle":
        t = np.linspace(0, 2 * np.pi, 64, endpoint=False)
        return np.stack([np.cos(t), np.sin(t) * rng.uniform(0.93, 1.0)], 1) * radius
    if shape in ("square", "rectangle"):
        b = 1.0 if shape == "square" else 1 / rng.uniform(1.45, 3.0)
        points = np.array([[-1, -b], [1, -b], [1, b], [-1, b]]) * radius * 0.9
        if shape == "rectangle" and rng.random() < 0.5:
            points = points[:, ::-1]
        return _turn(points, turn if rng.random() < 0.5 else 0.0)
    if shape == "triangle":
        t = np.array([-np.pi / 2, np.pi / 6, 5 * np.pi / 6]) + rng.normal(0, 0.12, 3)
        return _turn(np.stack([np.cos(t), np.sin(t)], 1) * radius, turn)
    if shape == "star":
        t = np.arange(10) * np.pi / 5 - np.pi / 2
        r = np.where(np.arange(10) % 2, rng.uniform(0.36, 0.5), 1.0) * radius
        return _turn(np.stack([np.cos(t), np.sin(t)], 1) * r[:, None], turn)
    if rng.random() < 0.6:
        return blob(rng, radius, rng.uniform(0.3, 0.6))
    arm = np.array([[-0.3, -0.3], [-0.3, -1], [0.3, -1]])
    return np.concatenate([_turn(arm * radius, turn + k * np.pi / 2) for k in range(4)])


def background(rng, h, w, photos):
    """A background, (h, w, 3) float32, which is plain in most cases."""
    kind = rng.random()
    if kind < 0.6:
        name = rng.choice(["white", "white", "white", "black", "gray", "any", "any"])
        base = (
            paint(rng, str(name))
            if name in ("white", "black")
            else np.full(3, rng.uniform(40, 220))
            if name == "gray"
            else rng.uniform(20, 245, 3)
        )
        return np.broadcast_to(base.astype(np.float32), (h, w, 3)).copy()
    return np.ascontiguousarray(surface(rng, h, w, photos, 0.25), np.float32)


def shapes(rng, size, photos=(), plain=False, masks=None):
    """(image (h, w, 3) uint8, [(Thing, box XYXY)]) of one to nine shapes that hardly overlap.
    plain: the background is flat and there is nothing else. masks: a list that gets the (h, w) bool
    mask of each shape."""
    h = w = size
    if rng.random() < 0.5:
        h, w = (size, int(size * rng.uniform(0.55, 1)))[:: 1 if rng.random() < 0.5 else -1]
    image = background(rng, h, w, () if plain else photos)
    if plain:
        image[:] = image[0, 0]
    found, boxes = [], []
    for _ in range(int(rng.integers(1, 10))):
        kind = rng.random()
        size_name = "small" if kind < 0.35 else "large" if kind < 0.6 else None
        extent = (
            max(h, w)
            * {
                "small": rng.uniform(0.06, 0.15),
                "large": rng.uniform(0.34, 0.6),
                None: rng.uniform(0.19, 0.29),
            }[size_name]
        )
        unknown = not plain and rng.random() < 0.12
        shape = "other" if unknown else str(rng.choice(SHAPES))
        points = outline(rng, shape, extent / 2)
        points *= extent / np.ptp(points, 0).max()
        low, high = -points.min(0) + 2, (w, h) - points.max(0) - 2
        if (low >= high).any():
            continue
        points = points + rng.uniform(low, high)
        box = np.concatenate([points.min(0), points.max(0)])
        if any(_overlap(box, b) > 0.04 for b in boxes):
            continue
        colour = (
            None
            if not plain and rng.random() < 0.12
            else str(
                rng.choice(["red", "green", "blue", "yellow", "orange", "purple", "black", "white"])
            )
        )
        rgb = paint(rng, colour).astype(np.float32)
        mask = np.zeros((h, w), np.uint8)
        cv2.fillPoly(mask, [np.round(points * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
        alpha = (mask.astype(np.float32) / 255)[..., None]
        if np.abs(image[mask > 127].mean(0) - rgb).max() < 60:
            continue
        fill = rgb
        if not plain and rng.random() < 0.3:
            ramp = np.linspace(-1, 1, w)[None, :, None] * rng.uniform(-0.15, 0.15) + np.linspace(
                -1, 1, h
            )[:, None, None] * rng.uniform(-0.15, 0.15)
            fill = np.clip(rgb * (1 + ramp), 0, 255).astype(np.float32)
        image += (fill - image) * alpha
        boxes.append(box)
        if masks is not None:
            masks.append(mask > 127)
        found.append((Thing(shape, colour, size_name), box))
    out = np.clip(image, 0, 255).astype(np.uint8)
    if not plain and rng.random() < 0.7:
        out = _worn(rng, out)
    return out, found


def _overlap(a, b):
    w, h = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    return max(w, 0) * max(h, 0) / min((a[2] - a[0]) * (a[3] - a[1]), (b[2] - b[0]) * (b[3] - b[1]))


def _worn(rng, image):
    """Changes light, blur, noise and JPEG quality so little that colours keep their names."""
    x = image.astype(np.float32) * np.float32(np.exp(rng.normal(0, 0.06))) + np.float32(
        rng.normal(0, 4)
    )
    if rng.random() < 0.3:
        x = cv2.GaussianBlur(x, (0, 0), float(rng.uniform(0.4, 1.2)))
    if rng.random() < 0.4:
        x = x + rng.standard_normal(x.shape, np.float32) * np.float32(rng.uniform(1, 10))
    x = np.clip(x, 0, 255).astype(np.uint8)
    if rng.random() < 0.4:
        x = cv2.imdecode(
            cv2.imencode(".jpg", x, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(50, 95))])[1],
            cv2.IMREAD_COLOR,
        )
    return np.ascontiguousarray(x)


class Source:
    """`draw(rng)`: shapes, nuclei from `data` (all but the kept-out fifth), or procedural cells.
    kept_out: nuclei of that fifth. shares: the share of shapes, and of plain pictures among
    them."""

    def __init__(self, data, size, kept_out=False, shares=(0.78, 0.25)):
        self.size, self.photos, self.folder, self.shares = size, [], None, shares
        if data:
            from pathlib import Path

            root = Path(data)
            self.folder = Folder(root / "nuclei_dsb2018", lambda name: held_out(name) == kept_out)
            for file in sorted((root / "photos").glob("*")):
                photo = cv2.imread(str(file), cv2.IMREAD_COLOR)[..., ::-1]
                self.photos.append(
                    cv2.resize(
                        np.ascontiguousarray(photo),
                        None,
                        fx=640 / max(photo.shape),
                        fy=640 / max(photo.shape),
                    )
                )

    def draw(self, rng):
        """(image, [(Thing, box)])."""
        if rng.random() < self.shares[0]:
            return shapes(rng, self.size, self.photos, plain=rng.random() < self.shares[1])
        if self.folder is not None and rng.random() < 0.75:
            picture = nuclei(rng, self.folder, self.size)
            return picture.image, boxes_of(picture.labels)
        image, labels = _cells(rng, self.size, self.size)
        return photometric(rng, np.clip(image, 0, 255).astype(np.uint8)), boxes_of(labels)


def boxes_of(labels):
    """[(nucleus, box)] of the 200 largest instances of (H, W) labels."""
    found = []
    ys, xs = np.nonzero(labels)
    ids = labels[ys, xs]
    order = np.argsort(ids, kind="stable")
    names, starts = np.unique(ids[order], return_index=True)
    for part in np.split(order, starts[1:]) if len(names) else []:
        found.append(
            (
                Thing("nucleus"),
                np.array(
                    [xs[part].min(), ys[part].min(), xs[part].max() + 1, ys[part].max() + 1], float
                ),
            )
        )
    return sorted(found, key=lambda f: -np.prod(f[1][2:] - f[1][:2]))[:200]
