"""The one place where images of every kind become the engine's: H x W x 3, uint8, RGB.

Rules
-----
path, bytes   PNG, JPEG, TIFF, BMP, WebP, decoded by the engine (GIF, and all of them in a build without OpenCV, by Pillow); EXIF orientation
              applied once; 16 bits scaled by 1/257; gray repeated; alpha dropped; palettes expanded; first frame of several (with a warning)
PIL image     EXIF orientation applied; alpha dropped; 16-bit modes scaled by 1/257; everything else through ``convert("RGB")``
array         (H, W) gray, (H, W, 1), (H, W, 3) or (H, W, 4) (alpha dropped), RGB
  uint8       as it is
  uint16      rounded v / 257
  bool        False 0, True 255
  float       all values in 0..1 are scaled by 255; all values in 0..255 with a maximum of 2 or more are rounded; what lies between (a maximum above 1
              and below 2) or outside is ambiguous and an error
  other ints  values in 0..255 are taken as they are; anything else is an error
NaN and Inf are errors. (3, H, W) arrays are errors with a hint. Arrays are copied before the call returns or releases the GIL.
"""

from __future__ import annotations

import io
import os
import warnings
from typing import TYPE_CHECKING, Any, Union

import numpy as np

from segrid._files import whole
from segrid._native import CorruptFileError, _core

if TYPE_CHECKING:
    import PIL.Image

    ImageLike = Union[str, os.PathLike[str], bytes, np.ndarray, PIL.Image.Image]
else:
    ImageLike = Any

MAX_PIXELS = 200_000_000
GIF = (b"GIF87a", b"GIF89a")


def to_image(image: ImageLike, *, lenient: bool = False, bgr: bool = False) -> Any:
    """The engine's image of a path, bytes, PIL image or array; see the module's docstring for the rules.

    Raises FileNotFoundError, IsADirectoryError, PermissionError, CorruptFileError, ValueError or TypeError.
    """
    if isinstance(image, _core.Image):
        return image
    if isinstance(image, (str, os.PathLike)):
        path = os.fsencode(image)
        with open(path, "rb") as file:  # raises for what is missing, a folder or not permitted
            if _by_pillow(first := file.read(6)):
                return _with_pillow(first + file.read(), os.fsdecode(path), lenient)
        return _noted(*_core.decode_file(path, MAX_PIXELS, lenient))
    if isinstance(image, (bytes, bytearray, memoryview)):
        data = bytes(image)
        if _by_pillow(data[:6]):
            return _with_pillow(data, "bytes", lenient)
        return _noted(*_core.decode_bytes(data, "bytes", MAX_PIXELS, lenient))
    if hasattr(image, "convert") and hasattr(image, "getexif"):
        return _core.image_from_array(_from_pil(image))  # type: ignore[arg-type]
    return _core.image_from_array(_from_array(image, bgr))


def read_image(image: ImageLike, *, lenient: bool = False, bgr: bool = False) -> np.ndarray:
    """(H, W, 3) uint8 RGB of anything that segrid takes, by the rules every call uses (see the module's docstring).

    Parameters
    ----------
    lenient : a damaged file gives what could be decoded, with a warning, rather than CorruptFileError
    bgr : an array's channels are in the order blue, green, red (OpenCV's)

    The array is read-only and shares the engine's memory. Raises FileNotFoundError, IsADirectoryError, PermissionError, CorruptFileError, ValueError, TypeError.
    """
    return to_image(image, lenient=lenient, bgr=bgr).array


def _noted(image: Any, notes: list[str]) -> Any:
    for note in notes:
        warnings.warn(note, UserWarning, stacklevel=4)
    return image


def _by_pillow(first: bytes) -> bool:
    return first in GIF or not _core.build_info()["opencv"]


def _with_pillow(data: bytes, name: str, lenient: bool) -> Any:
    """The engine's image of bytes that it does not decode itself; what it knows is wrong with them is said all the same."""
    from PIL import Image, ImageFile, UnidentifiedImageError

    if data[:6] not in GIF:
        _noted(None, _core.inspect_bytes(data, os.fsencode(name), MAX_PIXELS, lenient))
    try:
        with Image.open(io.BytesIO(data)) as opened:
            if opened.width * opened.height > MAX_PIXELS:
                raise ValueError(f"{name}: {opened.width} x {opened.height} pixels; the limit is {MAX_PIXELS} (MAX_PIXELS)")
            previous, ImageFile.LOAD_TRUNCATED_IMAGES = ImageFile.LOAD_TRUNCATED_IMAGES, lenient
            try:
                opened.load()
            finally:
                ImageFile.LOAD_TRUNCATED_IMAGES = previous
            return _core.image_from_array(_from_pil(opened, count_frames=data[:6] in GIF))
    except UnidentifiedImageError as error:
        raise CorruptFileError(f"{name}: not an image ({error})") from error
    except (OSError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise CorruptFileError(f"{name}: cannot be decoded ({error})") from error


def write_png(path: str | os.PathLike[str], array: np.ndarray) -> None:
    """Writes (H, W, 3) uint8 RGB or (H, W) uint16, whole or not at all."""
    if _core.build_info()["opencv"]:
        _core.write_png(os.fsencode(path), array)
        return
    from PIL import Image

    with whole(path) as part:
        Image.fromarray(array).save(part, "PNG")


def _from_pil(image: PIL.Image.Image, count_frames: bool = True) -> np.ndarray:
    from PIL import ImageOps

    frames = getattr(image, "n_frames", 1)
    if frames > 1 and count_frames:
        warnings.warn(f"image of {frames} frames; the current one is used", UserWarning, stacklevel=4)
    upright = ImageOps.exif_transpose(image)
    if upright.mode.startswith("I;16"):
        return _from_array(np.asarray(upright).astype(np.uint16), False)
    if upright.mode in ("I", "F"):
        return _from_array(np.asarray(upright), False)
    return np.ascontiguousarray(np.asarray(upright.convert("RGB")))


def _from_array(image: Any, bgr: bool) -> np.ndarray:
    if isinstance(image, io.IOBase):
        raise TypeError("image: a file object; pass its bytes (f.read()) or its path")
    array = np.asarray(image)
    if array.dtype == object or array.dtype.kind not in "buif":
        raise TypeError(f"image: expected a path, bytes, PIL image or numeric array, got {type(image).__name__}")
    if array.size == 0:
        raise ValueError(f"image: the array is empty, shape {array.shape}")
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3:
        raise ValueError(f"image: expected (H, W), (H, W, 3) or (H, W, 4), got shape {array.shape}")
    if array.shape[2] not in (1, 3, 4):
        if array.shape[0] in (1, 3, 4):
            raise ValueError(f"image: shape {array.shape} looks like (C, H, W); pass (H, W, C): array.transpose(1, 2, 0)")
        raise ValueError(f"image: expected (H, W), (H, W, 3) or (H, W, 4), got shape {array.shape}")
    if array.shape[0] * array.shape[1] > MAX_PIXELS:
        raise ValueError(f"image: {array.shape[0]} x {array.shape[1]} pixels; the limit is {MAX_PIXELS} (MAX_PIXELS)")
    array = _to_uint8(array[:, :, :3])
    if array.shape[2] == 1:
        array = np.repeat(array, 3, axis=2)
    return array[:, :, ::-1] if bgr else array


def _to_uint8(array: np.ndarray) -> np.ndarray:
    if array.dtype == np.uint8:
        return array
    if array.dtype == bool:
        return array.astype(np.uint8) * np.uint8(255)
    if array.dtype.kind == "u" and array.dtype.itemsize == 2:
        return ((array.astype(np.uint32) * 2 + 257) // 514).astype(np.uint8)
    if array.dtype.kind == "f":
        return _float_to_uint8(array)
    low, high = array.min(), array.max()
    if low < 0 or high > 255:
        raise ValueError(f"image: {array.dtype} values from {low} to {high}; expected 0..255 (or a uint16 array for 16 bits)")
    return array.astype(np.uint8)


def _float_to_uint8(array: np.ndarray) -> np.ndarray:
    bad = int(array.size - np.count_nonzero(np.isfinite(array)))
    if bad:
        raise ValueError(f"image: {bad} of {array.size} values are NaN or Inf")
    low, high = float(array.min()), float(array.max())
    if low >= 0 and high <= 1:
        return np.rint(array * 255.0).astype(np.uint8)
    if low >= 0 and 2 <= high <= 255:
        return np.rint(array).astype(np.uint8)
    raise ValueError(
        f"image: float values from {low:g} to {high:g}; expected 0..1, or 0..255 with a maximum of at least 2. Scale the array first"
    )
