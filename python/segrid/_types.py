"""Types that many signatures share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numpy.typing import NDArray

Options = dict[str, Any]  # keyword arguments by name
JsonObject = dict[str, Any]  # an object of JSON
Progress = Callable[[dict[str, Any]], None]  # is called with the state of a long call
ImageItem = Any  # an image as a user gives it: ImageLike, or an item that `read=` of `stream` takes
Tensors = dict[str, Any]  # torch's tensors by name; torch is imported where they are made
Samples = NDArray[Any]  # (H, W, C) numbers of a file, of the type that the file has
TiffFile = Any  # tifffile's class; the types of its attributes depend on the file
TiffPage = Any  # tifffile's page or frame; the types of its attributes depend on the file
