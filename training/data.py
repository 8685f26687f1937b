"""Real pictures with 16-bit label PNGs, the split, the augmentation, and the mixture that training
draws from.

A set is a folder with `images/*.{png,jpg}` and `labels/*.png` of the same stem (0 = background,
1..N = instance). The public ones that the packaged model learned from (see README.md for licences):
nuclei_dsb2018 (BBBC038v1, CC0), litter_taco (TACO, CC-BY-4.0), coco_ccby (the CC-BY photos of COCO
2017), davis_bsd (DAVIS 2016, BSD), photos (CC0 / public domain, no labels, backgrounds only)."""

import csv
import hashlib
import re
from pathlib import Path

import cv2
import numpy as np

from .sample import Picture, photometric, whole_targets
from .scenes import scene

OBJECT_SETS = {"litter_taco": 0.42, "coco_ccby": 0.3, "davis_bsd": 0.28}
COMPLETE_SETS = {"nuclei_dsb2018"}  # Every object is annotated, so label 0 is background.


def held_out(name):
    """True for the fifth of the pictures that training never sees: those with SHA-1 of the stem
    modulo 5 equal to 0. A trailing `_` and five digits (the number of a video frame, as in DAVIS)
    are cut first, so that whole sequences stay together."""
    stem = re.sub(r"_\d{5}$", "", Path(name).stem)
    return int(hashlib.sha1(stem.encode()).hexdigest(), 16) % 5 == 0


class Folder:
    """One labelled set. Pictures are read on first use and kept, scaled to at most `limit` px (0:
    not scaled)."""

    def __init__(self, root, keep, limit=0):
        """keep(name) -> bool picks the files."""
        self.root, self.limit, self.name = Path(root), limit, Path(root).name
        files = sorted((self.root / "images").glob("*"))
        self.files = [f for f in files if keep(f.name)]
        if not self.files:
            raise FileNotFoundError(f"no pictures under {self.root / 'images'}")
        self.complete = self.name in COMPLETE_SETS
        self.cache = {}
        self.weights = np.full(len(self.files), 1 / len(self.files))
        index = self.root / "index.csv"
        if index.exists():
            strata = {row["name"]: row["stratum"] for row in csv.DictReader(index.open())}
            kinds = [strata.get(f.stem, "") for f in self.files]
            share = np.array([kinds.count(k) ** -1.0 * kinds.count(k) ** 0.6 for k in kinds])
            self.weights = share / share.sum()

    def __len__(self):
        return len(self.files)

    def picture(self, index):
        """The whole frame as a Picture."""
        if index not in self.cache:
            file = self.files[index]
            image = cv2.imread(str(file), cv2.IMREAD_COLOR)[..., ::-1]
            labels = cv2.imread(
                str(self.root / "labels" / f"{file.stem}.png"), cv2.IMREAD_UNCHANGED
            )
            scale = self.limit / max(labels.shape) if self.limit else 1.0
            if scale < 1:
                shape = (round(labels.shape[1] * scale), round(labels.shape[0] * scale))
                image = cv2.resize(np.ascontiguousarray(image), shape, interpolation=cv2.INTER_AREA)
                labels = cv2.resize(labels, shape, interpolation=cv2.INTER_NEAREST)
            labels = labels.astype(np.uint16)
            self.cache[index] = np.ascontiguousarray(image), labels, whole_targets(labels)
        image, labels, targets = self.cache[index]
        return Picture(image, labels, list(targets), self.complete)

    def draw(self, rng):
        """A random frame, drawn by the weights of the strata."""
        return self.picture(int(rng.choice(len(self.files), p=self.weights)))


def window(rng, picture, side, around=None):
    """A random window of `side` (h, w) pixels inside the frame; it contains the pixel `around` (x,
    y) if given."""
    h, w = picture.labels.shape
    ch, cw = min(h, int(side[0])), min(w, int(side[1]))
    y, x = rng.integers(0, h - ch + 1), rng.integers(0, w - cw + 1)
    if around is not None:
        x = int(np.clip(around[0] - rng.uniform(0.15, 0.85) * cw, 0, w - cw))
        y = int(np.clip(around[1] - rng.uniform(0.15, 0.85) * ch, 0, h - ch))
    cut = np.s_[y : y + ch, x : x + cw]
    return Picture(picture.image[cut], picture.labels[cut], picture.targets, picture.complete)


def turned(rng, picture, right_angles):
    """Mirrored, and turned by right angles if asked."""
    image, labels = picture.image, picture.labels
    if rng.random() < 0.5:
        image, labels = image[:, ::-1], labels[:, ::-1]
    if right_angles:
        k = int(rng.integers(4))
        image, labels = np.rot90(image, k), np.rot90(labels, k)
    contiguous = np.ascontiguousarray
    return Picture(contiguous(image), contiguous(labels), picture.targets, picture.complete)


def nuclei(rng, folder, size):
    """A window at a working scale (zoom 0.65 - 2.3) or the whole frame, with stain and exposure
    changed."""
    picture = folder.draw(rng)
    if rng.random() < 0.75:
        side = size / np.exp(rng.uniform(np.log(0.65), np.log(2.3)))
        shape = (side, side) if rng.random() < 0.5 else (side, side * rng.uniform(0.6, 1))
        picture = window(rng, picture, shape)
    picture = turned(rng, picture, True)
    image = picture.image
    if rng.random() < 0.12:
        image = 255 - image
    if rng.random() < 0.35:
        low, high = np.percentile(image, (0.5, 99.5))
        stretched = (image.astype(np.float32) - low) * (
            rng.uniform(120, 255) / max(8.0, high - low)
        )
        image = np.clip(stretched, 0, 255).astype(np.uint8)
    if rng.random() < 0.25:
        image = np.clip(image * rng.uniform(0.4, 1.15, 3), 0, 255).astype(np.uint8)
    return Picture(photometric(rng, image, 0.8), picture.labels, picture.targets, picture.complete)


def everyday(rng, folder):
    """A photo, whole or a window around one of its objects."""
    picture = folder.draw(rng)
    h, w = picture.labels.shape
    if rng.random() < 0.7 and picture.targets:
        ident = picture.targets[rng.integers(len(picture.targets))][0]
        x, y, bw, bh = cv2.boundingRect((picture.labels == ident).astype(np.uint8))
        least = max(bw, bh, 64) * 1.1
        side = float(np.exp(rng.uniform(np.log(least), np.log(max(least + 1, max(h, w))))))
        shape = (side, side * rng.uniform(0.7, 1.3))
        picture = window(rng, picture, shape, (x + bw / 2, y + bh / 2))
    picture = turned(rng, picture, rng.random() < 0.1)
    return Picture(
        photometric(rng, picture.image), picture.labels, picture.targets, picture.complete
    )


def collage(rng, folders, photos, size):
    """Real objects, cut out by their masks, scaled, turned and pasted onto another photo."""
    back = folders[rng.integers(len(folders))].draw(rng)
    base = window(rng, back, np.array([0.6, 0.6]) * max(back.labels.shape))
    image = cv2.resize(base.image, (size, size), interpolation=cv2.INTER_AREA)
    labels = cv2.resize(base.labels, (size, size), interpolation=cv2.INTER_NEAREST)
    if rng.random() < 0.4:
        image = cv2.resize(
            photos[rng.integers(len(photos))], (size, size), interpolation=cv2.INTER_AREA
        )
        labels = np.zeros((size, size), np.uint16)
    image, ident = image.astype(np.float32), int(labels.max()) + 1
    for _ in range(int(rng.integers(1, 6))):
        source = folders[rng.integers(len(folders))].draw(rng)
        if not source.targets:
            continue
        cut = source.labels == source.targets[rng.integers(len(source.targets))][0]
        x, y, w, h = cv2.boundingRect(cut.astype(np.uint8))
        if min(w, h) < 12:
            continue
        scale = size * float(np.exp(rng.uniform(np.log(0.1), np.log(0.7)))) / max(w, h)
        turn = cv2.getRotationMatrix2D(
            (x + w / 2, y + h / 2), float(rng.normal(0, 25)), min(scale, 2.0)
        )
        turn[:, 2] += rng.uniform(0.1, 0.9, 2) * size - (x + w / 2, y + h / 2)
        patch = cv2.warpAffine(source.image, turn, (size, size), flags=cv2.INTER_AREA)
        mask = cv2.warpAffine(cut.astype(np.float32), turn, (size, size), flags=cv2.INTER_LINEAR)
        image += (patch * np.float32(np.exp(rng.normal(0, 0.15))) - image) * mask[..., None]
        labels[mask > 0.5] = ident
        ident += 1
    picture = Picture(np.clip(image, 0, 255).astype(np.uint8), labels, whole_targets(labels), False)
    picture = turned(rng, picture, False)
    return Picture(photometric(rng, picture.image), picture.labels, picture.targets, False)


class Mixture:
    """`picture(rng)`: nuclei, everyday objects, collages of those, or procedural scenes."""

    def __init__(
        self, root=None, size=256, nuclei_share=0.3, object_share=0.22, collage_share=0.08
    ):
        self.size, self.photos, self.nuclei, self.objects = size, [], None, []
        self.shares = np.cumsum([nuclei_share, object_share, collage_share])
        if root is not None:
            root = Path(root)
            self.nuclei = Folder(root / "nuclei_dsb2018", lambda name: not held_out(name))
            self.objects = [
                Folder(root / name, lambda n: not held_out(n), 720) for name in OBJECT_SETS
            ]
            self.odds = np.array(list(OBJECT_SETS.values()))
            for file in sorted((root / "photos").glob("*")):
                photo = cv2.imread(str(file), cv2.IMREAD_COLOR)[..., ::-1]
                scale = 640 / max(photo.shape)
                self.photos.append(
                    cv2.resize(np.ascontiguousarray(photo), None, fx=scale, fy=scale)
                )

    def picture(self, rng):
        """One Picture from `rng` alone (and the files)."""
        which = int(np.searchsorted(self.shares, rng.random(), side="right")) if self.nuclei else 3
        if which == 0:
            return nuclei(rng, self.nuclei, self.size)
        if which == 1:
            return everyday(rng, self.objects[rng.choice(len(self.objects), p=self.odds)])
        if which == 2:
            return collage(rng, self.objects, self.photos, self.size)
        return scene(rng, self.size, self.photos)
