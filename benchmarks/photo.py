"""The photos that the problems run on."""

from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
# Where photos lie that scikit-image's wheel does not hold: what was taken along to a machine with a
# GPU, and the folder beside the checkout.
FOLDERS = (ROOT / ".gpu/data/photos", ROOT.parent / "shared/data/photos")


def sample(*names):
    """The path of the first of these of scikit-image's photos that is there."""
    import skimage.data

    folders = (Path(skimage.data.__file__).parent, *FOLDERS)
    for path in (folder / name for name in names for folder in folders):
        if path.exists():
            return path
    raise FileNotFoundError(f"none of {names} is in {', '.join(map(str, folders))}")


def photo(size=(1800, 1200)):
    """scikit-image's coffee photo at `size` (width, height) and its file's name; the astronaut
    where there is no coffee. Resized by Pillow's bicubic filter."""
    from PIL import Image

    path = sample("coffee.png", "astronaut.png")
    return np.asarray(Image.open(path).convert("RGB").resize(size, Image.BICUBIC)), path.name
