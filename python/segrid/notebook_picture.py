"""A base class of results that have a picture: for notebooks and for matplotlib."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segrid._types import ImageItem


class NotebookPicture:
    """A result with a `size` (H, W), a length and a `picture`. noun : the name of its items."""

    noun = "results"
    size: Any

    def __len__(self) -> int:
        raise NotImplementedError

    def picture(self, image: ImageItem = None, alpha: float = 0.5) -> NDArray[np.uint8]:
        """(H, W, 3) uint8 RGB."""
        raise NotImplementedError

    def plot(self, image: ImageItem = None, alpha: float = 0.5, ax: Any = None) -> Any:
        """Draws :meth:`picture` with matplotlib on `ax`, or on a new figure, and returns the axes.

        Raises ImportError without matplotlib.
        """
        import matplotlib.pyplot as plt

        if ax is None:
            height, width = self.size
            ax = plt.subplots(figsize=(8, 8 * height / width))[1]
        ax.imshow(self.picture(image, alpha))
        ax.set_title(f"{len(self)} {self.noun}")
        ax.set_axis_off()
        return ax

    def _repr_png_(self) -> bytes:
        from PIL import Image

        picture = Image.fromarray(self.picture())
        picture.thumbnail((1024, 1024))
        buffer = io.BytesIO()
        picture.save(buffer, "PNG")
        return buffer.getvalue()
