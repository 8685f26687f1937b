"""Clips for training, made on the fly: a labelled photo, a procedural scene or a DAVIS sequence
under a moving camera, with moving sprites before it. The same generator gives the same clip."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from ..data import Folder, Mixture, held_out
from .initial import SIDE
from .sprites import Sprite, bends, cut_out, paint, path, shape, walk

LEAST = 60 / 256**2  # of a frame, the smallest part that is prompted


@dataclass
class Clip:
    """frames (T, S, S, 3) uint8; masks (T, N, S, S) bool: the visible part of each object, none
    where it is hidden or out of the frame. Each has at least LEAST of frame 0."""

    frames: np.ndarray
    masks: np.ndarray


class Sequences:
    """Sequences of frames (F, side, side, 3) uint8 and labels (F, side, side) uint8 of one object,
    by name, read on first use."""

    def __init__(self, root, keep, side=512):
        """keep(name) -> bool picks the sequences by the names of their frames. side: None keeps the
        size of the files."""
        self.root, self.side, self.cache = Path(root), side, {}
        self.files = {}
        for file in sorted((self.root / "images").glob("*.jpg")):
            if keep(file.name):
                self.files.setdefault(file.stem[:-6], []).append(file)
        self.names = list(self.files)

    def sequence(self, name):
        """Frames and labels of one sequence."""
        if name not in self.cache:
            frames, labels = [], []
            for file in self.files[name]:
                frame = cv2.imread(str(file), cv2.IMREAD_COLOR)[..., ::-1]
                label = cv2.imread(
                    str(self.root / "labels" / f"{file.stem}.png"), cv2.IMREAD_UNCHANGED
                )
                label = label.astype(np.uint8)
                if self.side is not None:
                    size = (self.side, self.side)
                    frame = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
                    label = cv2.resize(label, size, interpolation=cv2.INTER_NEAREST)
                frames.append(frame)
                labels.append(label)
            self.cache[name] = np.stack(frames), np.stack(labels)
        return self.cache[name]


def camera(rng, frames, size, shape, focus=None):
    """Warps (T, 2, 3) from pixels of a picture of `shape` (h, w) to frames of `size`, under a
    slowly moving camera. focus: a box (x, y, w, h) that the first view contains."""
    h, w = shape
    part = rng.uniform(0.45, 1.0) if rng.random() < 0.7 else 1.0
    view = np.array([w, h]) * part * np.exp(rng.normal(0, 0.08, 2))
    centre = np.array([w, h]) * 0.5 + rng.uniform(-0.5, 0.5, 2) * (1 - part) * (w, h)
    if focus is not None:
        x, y, bw, bh = focus
        view = np.maximum(view, 1.15 * np.array([bw, bh]))
        room = np.maximum(0, view - (bw, bh)) / 2
        centre = np.array([x + bw / 2, y + bh / 2]) + rng.uniform(-0.9, 0.9, 2) * room
    still = rng.random() < 0.3
    erratic = rng.random() < 0.2
    speed = 0.0 if still else float(np.exp(rng.uniform(np.log(0.003), np.log(0.04))))
    flip = -1.0 if rng.random() < 0.5 else 1.0
    turn0 = rng.normal(0, 6) if rng.random() < 0.5 else 0.0
    warps = np.empty((frames, 2, 3), np.float32)
    moves = [walk(rng, frames, speed, erratic) for _ in range(2)]
    zooms = np.exp(walk(rng, frames, 0.3 * speed, False))
    turns = turn0 + walk(rng, frames, 30 * speed, erratic)
    for t in range(frames):
        scale = size / view * zooms[t]
        turn = cv2.getRotationMatrix2D((0, 0), float(turns[t]), 1.0)[:, :2]
        turn = turn @ np.diag([flip * scale[0], scale[1]])
        at = centre + np.array([moves[0][t], moves[1][t]]) * view
        warps[t, :, :2] = turn
        warps[t, :, 2] = np.array([size / 2, size / 2]) - turn @ at
    return warps


def shrunk(image, warps):
    """The picture and the warps for it after an area filter, where the camera shows it smaller than
    it is: a warp by itself would alias."""
    scale = float(np.abs(np.linalg.det(warps[0][:, :2])) ** 0.5)
    if scale >= 0.75:
        return image, warps
    h, w = image.shape[:2]
    new = (max(8, round(w * scale)), max(8, round(h * scale)))
    ratio = np.array([w / new[0], h / new[1], 1], np.float32)
    return cv2.resize(image, new, interpolation=cv2.INTER_AREA), warps * ratio


def seen(image, warp, size, flags=cv2.INTER_LINEAR, border=cv2.BORDER_REFLECT_101):
    """What a camera sees, (size, size, ...)."""
    return cv2.warpAffine(image, warp, (size, size), flags=flags, borderMode=border)


def seen_labels(labels, warp, size):
    """As `seen`, for labels: 0 outside."""
    return seen(labels, warp, size, cv2.INTER_NEAREST, cv2.BORDER_CONSTANT)


def lit(rng, frames):
    """Frames (T, S, S, 3) in another light that drifts, with blur, noise or JPEG."""
    x = frames.astype(np.float32)
    count = len(x)
    if rng.random() < 0.7:
        gain = np.exp(rng.normal(0, 0.2) + rng.normal(0, 0.06, 3))
        drift = np.exp(walk(rng, count, 0.02, False))[:, None, None, None]
        x = x * (gain * drift).astype(np.float32) + np.float32(rng.normal(0, 10))
    if rng.random() < 0.08:
        x = np.repeat(x.mean(-1, keepdims=True), 3, -1)
    if rng.random() < 0.3:
        x = x + rng.standard_normal(x.shape, np.float32) * np.float32(rng.uniform(1, 10))
    x = np.clip(x, 0, 255).astype(np.uint8)
    blur, quality = rng.random() < 0.2, rng.random() < 0.2
    sigma, level = float(rng.uniform(0.4, 1.3)), int(rng.integers(35, 92))
    for t in range(count):
        if blur:
            x[t] = cv2.GaussianBlur(x[t], (0, 0), sigma)
        if quality:
            code = cv2.imencode(".jpg", x[t], [cv2.IMWRITE_JPEG_QUALITY, level])[1]
            x[t] = cv2.imdecode(code, cv2.IMREAD_COLOR)
    return x


def enlarged(masks, size):
    """(T, N, S, S) bool masks of frames of `size` pixels, with smooth borders."""
    wide = [
        cv2.resize(m.astype(np.float32), (size, size)) for m in masks.reshape(-1, *masks.shape[2:])
    ]
    return (np.stack(wide) > 0.5).reshape(*masks.shape[:2], size, size)


class Maker:
    """`clip(rng, frames, objects)` from the labelled sets under `root`, or, without them, from
    procedural scenes and shapes alone."""

    def __init__(
        self, root=None, size=SIDE, pseudo=None, real_share=0.3, coarse_share=0.4, plain_share=0.25
    ):
        """size: the side of a frame. pseudo: a folder that `pseudo.py` wrote. real_share: the share
        of clips that are parts of real sequences; with `pseudo`, three of ten of them come from it.
        coarse_share: the share of clips that are made at two thirds of `size` and enlarged, as
        videos of fewer pixels are. plain_share: the share of clips of procedural scenes and shapes
        alone, where there is a `root`."""
        self.size, self.share, self.coarse = size, real_share, coarse_share
        self.plain_share = plain_share
        self.plain = Maker(None, size, coarse_share=coarse_share) if root is not None else None
        self.mixture = Mixture(root, size, nuclei_share=0.07, object_share=0.4, collage_share=0.1)
        self.davis = None
        self.pseudo = Sequences(pseudo, lambda name: True) if pseudo else None
        self.folders = self.mixture.objects
        if root is not None:
            root = Path(root)
            self.davis = Sequences(root / "davis_bsd", lambda name: not held_out(name))
            nuclei = Folder(
                root / "nuclei_dsb2018", lambda n: not held_out(n) and n[0] in "01", 512
            )
            self.folders = [*self.folders, *self.folders[:2], nuclei]

    def clip(self, rng, frames, objects):
        """A Clip; drawn again until an object is large enough to be prompted."""
        if self.plain is not None and rng.random() < self.plain_share:
            return self.plain.clip(rng, frames, objects)
        coarse = self.coarse and rng.random() < self.coarse
        size = self.size * 2 // 3 if coarse else self.size
        while True:
            if self.davis is not None and rng.random() < self.share:
                images, labels, targets = self._sequence(rng, frames, size)
                crowd = int(rng.integers(0, 3))
            else:
                images, labels, targets = self._photo(rng, frames, size)
                crowd = int(rng.integers(0 if frames == 1 else 1, 5))
            targets += self._sprites(rng, images, labels, crowd)
            areas = np.bincount(labels[0].ravel(), minlength=int(labels.max()) + 1)
            least = LEAST * size**2
            large = [t for t in targets if sum(int(areas[i]) for i in t if i < len(areas)) >= least]
            if large:
                break
        some = [large[i] for i in rng.permutation(len(large))[:objects]]
        some += [large[rng.integers(len(large))] for _ in range(objects - len(some))]
        masks = np.stack([np.isin(labels, target) for target in some], 1)
        images = lit(rng, images)
        if coarse:
            images = np.stack([cv2.resize(image, (self.size, self.size)) for image in images])
            masks = enlarged(masks, self.size)
        return Clip(images, masks)

    def _sequence(self, rng, frames, size):
        """A part of a real sequence, forwards or backwards, at a random rate, as a camera sees
        it."""
        source = self.pseudo if self.pseudo and rng.random() < 0.3 else self.davis
        sequence, truth = source.sequence(source.names[rng.integers(len(source.names))])
        rate = (
            1 if frames == 1 else int(rng.integers(1, 1 + min(3, (len(truth) - 1) // (frames - 1))))
        )
        first = int(rng.integers(0, len(truth) - rate * (frames - 1)))
        at = first + rate * np.arange(frames)
        if rng.random() < 0.5:
            at = at[::-1]
        box = cv2.boundingRect((truth[at[0]] > 0).astype(np.uint8))
        warps = camera(rng, frames, size, truth.shape[1:], box if rng.random() < 0.7 else None)
        both = list(zip(at, warps, strict=True))
        images = np.stack([seen(sequence[i], warp, size) for i, warp in both])
        labels = np.stack([seen_labels(truth[i], warp, size) for i, warp in both])
        return images, labels.astype(np.uint16), [(1,)]

    def _photo(self, rng, frames, size):
        """A still picture with its objects as a moving camera sees it."""
        picture = self.mixture.picture(rng)
        targets = list(picture.targets)
        box = None
        if targets and rng.random() < 0.6:
            mask = picture.mask(targets[rng.integers(len(targets))])
            box = cv2.boundingRect(mask.astype(np.uint8))
        warps = camera(rng, frames, size, picture.labels.shape, box)
        labels = np.stack([seen_labels(picture.labels, warp, size) for warp in warps])
        small, warps = shrunk(picture.image, warps)
        images = np.stack([seen(small, warp, size) for warp in warps])
        return images, labels, targets

    def _sprites(self, rng, images, labels, count):
        """Paints `count` moving things over a clip, and returns their targets."""
        frames, size, sprites = len(images), images.shape[1], []
        while len(sprites) < count:
            if sprites and rng.random() < 0.2:  # a double: only its path tells it from the other
                patch = sprites[-1].patch
            else:
                patch = None
                if self.folders and rng.random() < 0.65:
                    patch = cut_out(rng, self.folders, size)
                if patch is None:
                    patch = shape(rng, self.mixture.photos, size)
            warps = path(rng, patch, frames, size)
            sprites.append(Sprite(patch, warps, bends(rng, frames) if rng.random() < 0.4 else None))
        if sprites and frames > 2 and rng.random() < 0.3:
            self._cover(rng, images, labels, sprites)
        first = int(labels.max()) + 1
        paint(sprites, images, labels, first)
        return [(first + i,) for i in range(len(sprites))]

    def _cover(self, rng, images, labels, sprites):
        """Adds a sprite that passes before something in the middle of the clip."""
        frames, size = images.shape[:2]
        patch = shape(rng, self.mixture.photos, size)
        middle = frames // 2
        centre = sprites[0].warps[middle] @ (*np.array(sprites[0].patch.shape[1::-1]) / 2, 1)
        if labels[middle].any() and rng.random() < 0.5:
            ys, xs = np.nonzero(labels[middle])
            centre = np.array([xs.mean(), ys.mean()])
        extent = size * rng.uniform(0.2, 0.6)
        warps = path(rng, patch, frames, size, centre, extent)
        velocity = rng.normal(0, 1, 2)
        velocity *= size * rng.uniform(0.1, 0.3) / np.linalg.norm(velocity)
        shift = centre - warps[middle] @ (*np.array(patch.shape[1::-1]) / 2, 1)
        warps[:, :, 2] += shift + (np.arange(frames) - middle)[:, None] * velocity
        sprites.append(Sprite(patch, warps))
