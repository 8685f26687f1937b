"""Decodes files with Pillow: all formats except TIFF; PNG and JPEG only in builds without OpenCV.

Nothing is written to stderr. The engine reads the orientation.
"""

from __future__ import annotations

import importlib
import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from segrid._native import CorruptFileError
from segrid._types import Samples

PLUGINS = {  # instead of Image.open, whose own limit of pixels warns and raises
    "PNG": ("PngImagePlugin", "PngImageFile"),
    "JPEG": ("JpegImagePlugin", "JpegImageFile"),
    "BMP": ("BmpImagePlugin", "BmpImageFile"),
    "GIF": ("GifImagePlugin", "GifImageFile"),
    "PPM": ("PpmImagePlugin", "PpmImageFile"),
    "JPEG 2000": ("Jpeg2KImagePlugin", "Jpeg2KImageFile"),
    "WebP": ("WebPImagePlugin", "WebPImageFile"),
}


def read(
    data: bytes, kind: str, name: str, *, max_pixels: int, lenient: bool
) -> tuple[Samples, list[str]]:
    """The samples of a file as the file stores them, and warnings.

    kind : one of `PLUGINS`

    The samples are (H, W, 3) or (H, W) uint8, (H, W) uint16 or (H, W) float32.
    Raises CorruptFileError, ValueError above max_pixels, NotImplementedError where Pillow was built
    without the decoder.
    """
    try:
        return _read(data, kind, name, max_pixels, truncated=False)
    except CorruptFileError as error:
        if not lenient:
            raise
        samples, notes = _read(data, kind, name, max_pixels, truncated=True)
        return samples, [f"{error}; what can be decoded is used", *notes]


def _read(
    data: bytes, kind: str, name: str, max_pixels: int, *, truncated: bool
) -> tuple[Samples, list[str]]:
    module, plugin = PLUGINS[kind]
    make = getattr(importlib.import_module(f"PIL.{module}"), plugin)
    try:
        with _TRUNCATED.allowed(truncated), make(io.BytesIO(data)) as opened:
            width, height = opened.size
            if width * height <= max_pixels:
                opened.load()
                frames = opened.n_frames if kind == "GIF" else 1
                notes = (
                    [
                        f"{name}: GIF with several frames or pages; "
                        f"the first one is used ({frames} frames)"
                    ]
                    if frames > 1
                    else []
                )
                return _samples(opened), notes
    except MemoryError as error:
        raise MemoryError(f"{name}: {error}") from error
    except Exception as error:  # for damaged files the plugins raise errors of many kinds
        if "not available" in str(error):  # "decoder jpeg2k not available"
            raise NotImplementedError(
                f"{name}: {kind} is not read by this Pillow ({error})"
            ) from error
        raise CorruptFileError(f"{name}: {kind} cannot be decoded ({error})") from error
    raise ValueError(
        f"{name}: {width} x {height} pixels; the limit is {max_pixels} pixels (max_pixels)"
    )


class _Truncated:
    """The setting of Pillow's module that truncated files are decoded. Threads that need it on wait
    for those that need it off, and the reverse."""

    def __init__(self) -> None:
        self._free, self._users, self._lenient = threading.Condition(), 0, False

    @contextmanager
    def allowed(self, lenient: bool) -> Iterator[None]:
        from PIL import ImageFile

        with self._free:
            self._free.wait_for(lambda: not self._users or self._lenient == lenient)
            if not self._users:
                self._lenient, self._before = lenient, ImageFile.LOAD_TRUNCATED_IMAGES
                ImageFile.LOAD_TRUNCATED_IMAGES = lenient
            self._users += 1
        try:
            yield
        finally:
            with self._free:
                self._users -= 1
                if not self._users:
                    ImageFile.LOAD_TRUNCATED_IMAGES = self._before
                    self._free.notify_all()


_TRUNCATED = _Truncated()


def _samples(image: Any) -> Samples:
    if image.mode.startswith("I;16") or (image.format in ("PPM", "PNG") and image.mode == "I"):
        return np.asarray(image).astype(np.uint16)  # Pillow scales 9 to 15 bits to 16
    if image.mode in ("I", "F", "L", "RGB"):
        return np.asarray(image)
    image.info.pop("transparency", None)  # else Pillow warns that it drops that of a palette
    return np.asarray(image.convert("RGB"))
