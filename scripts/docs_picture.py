"""Makes the README's picture with the packaged models: segment everything on a photo of coins (no
known copyright restrictions; scikit-image ships it) beside three prompts on drawn shapes.
`python scripts/docs_picture.py [FILE]`."""

import sys
from pathlib import Path

import segrid
from demo_shapes import draw
from PIL import Image
from skimage import data

TARGET = Path(__file__).parents[1] / "docs/pictures/overview.webp"
GAP = 12  # pixels between the two halves


def overview():
    """Both halves at the same height, on white."""
    coins, shapes = data.coins(), draw()
    segmenter = segrid.Segmenter("tiny", precision="fp32")
    # The recommended threshold of 0.5 also lets a piece of the background pass, at 0.53.
    everything = segmenter.everything(coins, pred_iou_thresh=0.55)
    pipeline = segrid.Pipeline("tiny-detector", segmenter, precision="fp32")
    words = pipeline(shapes, ["a red circle", "the yellow star", "a blue square"])
    right = Image.fromarray(words.picture(shapes))
    left = Image.fromarray(everything.picture(coins))
    left = left.resize((round(left.width * right.height / left.height), right.height))
    both = Image.new("RGB", (left.width + GAP + right.width, right.height), "white")
    both.paste(left, (0, 0))
    both.paste(right, (left.width + GAP, 0))
    return both


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else TARGET
    target.parent.mkdir(parents=True, exist_ok=True)
    overview().save(target, quality=85)
    print(target)
