"""The photos that the problems run on."""

from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
# Where photos lie that scikit-image's wheel does not hold: what was taken along to a machine with a
# GPU, and the folder beside the checkout.
FOLDERS = (ROOT / ".gpu/data/photos", ROOT.parent / "shared/data/photos")


def sample(name):
    """The path of one of scikit-image's photos. Only where nobody has brought it, scikit-image
    downloads it."""
    import skimage.data

    for folder in (Path(skimage.data.__file__).parent, *FOLDERS):
        if (folder / name).exists():
            return folder / name
    getattr(skimage.data, Path(name).stem)()
    return Path(skimage.data.data_dir) / name


def photo(size=(1800, 1200)):
    """scikit-image's coffee photo at `size` (width, height) and its file's name; the astronaut
    where there is no coffee. Resized by Pillow's bicubic filter."""
    import skimage.data
    from PIL import Image

    folders = (Path(skimage.data.__file__).parent, *FOLDERS)
    coffee = (folder / "coffee.png" for folder in folders)
    path = next((p for p in coffee if p.exists()), folders[0] / "astronaut.png")
    return np.asarray(Image.open(path).convert("RGB").resize(size, Image.BICUBIC)), path.name
