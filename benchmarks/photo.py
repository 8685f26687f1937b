"""The photo that the problems run on."""

from pathlib import Path

import numpy as np


def photo(size=(1800, 1200)):
    """scikit-image's coffee photo at `size` (width, height) and its file's name; the astronaut
    where scikit-image's wheel has no coffee. Resized by Pillow's bicubic filter."""
    import skimage.data
    from PIL import Image

    folder = Path(skimage.data.__file__).parent
    shared = Path(__file__).parents[2] / "shared/data/photos/coffee.png"
    path = next(
        (p for p in (folder / "coffee.png", shared) if p.exists()), folder / "astronaut.png"
    )
    return np.asarray(Image.open(path).convert("RGB").resize(size, Image.BICUBIC)), path.name
