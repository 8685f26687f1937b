"""Pictures for the card: everything mode on kept-out pictures, as coloured overlays beside the
originals. `python -m training.pictures FOLDER --data DATA --out JPG`."""

import argparse
from pathlib import Path

import cv2
import numpy as np
import segrid

from .data import Folder, held_out
from .evaluate import spread
from .sample import fit, pad


def overlay(image, masks):
    """The picture with each mask tinted and outlined, larger masks first."""
    out, rng = image.astype(np.float32), np.random.default_rng(4)
    for mask in sorted(masks, key=lambda m: -int(m.sum())):
        colour = rng.uniform(40, 255, 3)
        out[mask] = 0.55 * out[mask] + 0.45 * colour
        rim = mask & (cv2.erode(mask.astype(np.uint8), np.ones((3, 3), np.uint8)) == 0)
        out[rim] = colour
    return out.astype(np.uint8)


def main():
    """Command line."""
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("folder")
    p.add_argument("--data", required=True)
    p.add_argument("--out", required=True)
    p.add_argument("--side", type=int, default=300, help="pixels per picture")
    args = p.parse_args()
    segmenter, rows = segrid.Segmenter(args.folder), []
    for name, count in (("nuclei_dsb2018", 5), ("litter_taco", 2), ("coco_ccby", 3)):
        for picture in spread(
            Folder(Path(args.data) / name, held_out, 0 if "nuclei" in name else 640), count
        ):
            masks = segmenter.everything(picture.image, crop_n_layers="auto").array
            both = [picture.image, overlay(picture.image, masks)]
            small = [fit(type(picture)(side, picture.labels), args.side).image for side in both]
            rows.append(np.concatenate([pad(side, args.side) for side in small], 1))
    half = len(rows) // 2
    sheet = np.concatenate(
        [np.concatenate(rows[:half], 0), np.concatenate(rows[half : 2 * half], 0)], 1
    )
    cv2.imwrite(args.out, sheet[..., ::-1])


if __name__ == "__main__":
    main()
