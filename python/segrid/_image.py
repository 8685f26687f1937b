"""The one place where images of every kind become images of the engine: H x W x 3, uint8, RGB.

All calls and commands read files here, so that a file gives the same pixels everywhere.

Rules
-----
path, bytes   The first bytes decide the format, not the name: PNG, JPEG, BMP, GIF, PPM, PGM, PBM,
              JPEG 2000, WebP (the engine decodes PNG and JPEG, Pillow the others; in a build
              without OpenCV Pillow decodes all of these) and TIFF (tifffile). An error names any
              other format. The orientation of EXIF and TIFF is applied once; gray is repeated;
              alpha is dropped, and colours stay as they are in the file (they are never multiplied
              by alpha); palettes are expanded; the first of several frames or pages is used, with
              a warning
  more bits   PNG, PGM and JPEG 2000 of 16 bits: round(v / 257). TIFF: see below
  TIFF        Unsigned samples of at most 8 bits keep their scale: 0 becomes 0, the largest number
              255 (8 bits do not change). All others (9 to 64 bits, signed, floats) have no reliable
              scale: a 12-bit camera writes 0 to 4095 into 16 bits. There the 0.1st percentile
              becomes 0, the 99.9th 255, and values outside are clipped. The three colours of an RGB
              picture share one pair of percentiles, which keeps their hue; channels (samples that
              are not RGB, pages along a channel axis) have a pair each.
              Where percentiles are taken, pixels of the value in the tag GDAL_NODATA (a number, or
              nan) do not count for them and become 0 (at most 8 unsigned bits, palettes and CMYK
              keep that value like any other); all other NaN and Inf are errors.
              One band is gray, and two bands are red and green. The first three of more bands are
              used, with a warning. A channel whose page is not in the file, or differs from the
              first one in size, type or colours, is left out, with a warning. WhiteIsZero is
              inverted. Palettes,
              YCbCr and CMYK become RGB without a colour profile, CMYK as (255 - C) (255 - K) / 255.
              CMYK of more bits is scaled by its bits first (16 bits: v / 257; floats: 0 to 1), not
              by percentiles; YCbCr of more than 8 bits is refused unless it is a JPEG
              1 to 64 bits, planar or chunky, strips or tiles, BigTIFF; uncompressed, PackBits and
              Deflate; with the imagecodecs package (pip install "segrid[microscopy]") LZW, zstd,
              JPEG, fax and the other compressions that it decodes, except JPEG XR
PIL image     EXIF orientation applied; alpha dropped; 16-bit modes scaled by 1/257; everything else
              through ``convert("RGB")``
array         (H, W) gray, (H, W, 1), (H, W, 3) or (H, W, 4) (alpha dropped), RGB
  uint8       not changed
  uint16      rounded v / 257
  bool        False 0, True 255
  float       All values in 0..1 are scaled by 255; all values in 0..255 with a maximum of 2 or more
              are rounded; values less than half a step of 8 bits outside either range count as
              rounding errors and are clipped. Values between (a maximum above 1 and below 2) or
              outside are ambiguous and an error
  other ints  values in 0..255 are not changed; others are an error
NaN and Inf are errors. (3, H, W) arrays are errors with a hint. Arrays are copied before the call
returns or releases the GIL.

lenient=True gives the part of a damaged file that can be decoded, with a warning; a file without
such a part stays an error. In a TIFF this part is the undamaged strips and tiles; the others do not
count for the percentiles and are black (where each channel has strips of its own, in that channel).
A channel of which nothing can be decoded is left out.
"""

from __future__ import annotations

import io
import os
import warnings
from typing import TYPE_CHECKING, Any, BinaryIO, Union

import numpy as np
from numpy.typing import NDArray

from segrid._files import atomic_write
from segrid._native import CorruptFileError, _core
from segrid.image_files import formats
from segrid.image_files.formats import ENDINGS as ENDINGS
from segrid.image_files.orientation import upright

if TYPE_CHECKING:
    import PIL.Image

    ImageLike = Union[str, os.PathLike[str], bytes, np.ndarray, PIL.Image.Image, _core.Image]
else:
    ImageLike = Any

MAX_PIXELS = 200_000_000
BY_PILLOW_ALONE = ("GIF", "PPM", "JPEG 2000")
MAX_BYTES = 2**31 - 1  # the largest file that is decoded at once


def to_image(image: ImageLike, *, lenient: bool = False, bgr: bool = False) -> _core.Image:
    """The engine's image of a path, bytes, PIL image or array, by the module's rules.

    Raises what `read_image` raises.
    """
    if isinstance(image, _core.Image):
        return image
    if isinstance(image, (str, os.PathLike)):
        path = os.fspath(image)
        if (kind := formats.no_file(os.stat(path).st_mode)) is not None:
            raise ValueError(f"{os.fsdecode(path)}: not a file, but {kind}; it may have no end")
        with open(path, "rb") as file:  # raises for what is missing, a folder or not permitted
            return _from_file(file, os.fsdecode(path), lenient)
    if isinstance(image, (bytes, bytearray, memoryview)):
        return _from_file(io.BytesIO(bytes(image)), "bytes", lenient)
    if hasattr(image, "convert") and hasattr(image, "getexif"):
        return _core.image_from_array(_from_pil(image))  # type: ignore[arg-type]
    return _core.image_from_array(_from_array(image, bgr))


def read_image(image: ImageLike, *, lenient: bool = False, bgr: bool = False) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB of any image that segrid takes, by the rules that every call uses.

    The docstring of `segrid._image` states the rules.

    Parameters
    ----------
    lenient : a damaged file gives the part that can be decoded, with a warning; False: it raises
        CorruptFileError
    bgr : an array's channels are in the order blue, green, red (OpenCV's)

    The array is read-only and shares the engine's memory.
    Raises FileNotFoundError, IsADirectoryError, PermissionError, CorruptFileError,
    NotImplementedError (a format or colours that are not read), ImportError (a TIFF whose
    compression needs the imagecodecs package), ValueError, TypeError.
    """
    return to_image(image, lenient=lenient, bgr=bgr).array


def _from_file(file: BinaryIO, name: str, lenient: bool) -> _core.Image:
    """The engine's image of an open file, whose format its first bytes decide."""
    head = file.read(formats.HEAD)
    if (kind := formats.unread(head)) is not None:
        raise NotImplementedError(
            f"{name}: {kind} is not read; convert it to PNG, JPEG, TIFF, BMP or WebP"
        )
    if (kind := formats.no_image(head)) is not None:
        raise CorruptFileError(
            f"{name}: not an image, but {kind}; give the picture itself, as PNG, JPEG or TIFF"
        )
    kind = formats.read_as(head)
    if kind == "TIFF":
        from segrid.image_files import tiff

        pixels, notes = tiff.read(file, name, max_pixels=MAX_PIXELS, lenient=lenient)
        return _warned(_core.image_from_array(pixels), notes)
    if kind is None:  # this raises an error that names the content
        _core.inspect_bytes(head, os.fsencode(name), MAX_PIXELS, lenient)
    size = file.seek(0, os.SEEK_END)
    if size > MAX_BYTES:
        raise ValueError(f"{name}: {size} bytes; the limit is {MAX_BYTES} bytes (MAX_BYTES)")
    file.seek(0)
    return _warned(*_decoded(file.read(size), str(kind), name, lenient))


def _decoded(data: bytes, kind: str, name: str, lenient: bool) -> tuple[_core.Image, list[str]]:
    """The engine's image and warnings of a file that is no TIFF."""
    encoded: Any = os.fsencode(name)  # a name need not be UTF-8
    if kind in ("PNG", "JPEG") and _core.build_info()["opencv"]:
        return _core.decode_bytes(data, encoded, MAX_PIXELS, lenient)
    orientation: int = 1
    notes: list[str] = []
    if kind not in BY_PILLOW_ALONE:  # the engine checks the others, and names other content
        orientation, notes = _core.inspect_bytes(data, encoded, MAX_PIXELS, lenient)
    from segrid.image_files import pillow

    stored, more = pillow.read(data, kind, name, max_pixels=MAX_PIXELS, lenient=lenient)
    try:
        samples = _from_array(stored, bgr=False)
    except ValueError as error:  # floats out of range
        raise ValueError(f"{name}: {error}") from error
    return _core.image_from_array(upright(samples, orientation)), notes + more


def _warned(image: _core.Image, notes: list[str]) -> _core.Image:
    for note in notes:
        warnings.warn(note, UserWarning, stacklevel=5)
    return image


def write_png(path: str | os.PathLike[str], array: NDArray[np.uint8 | np.uint16]) -> None:
    """Writes (H, W, 3) uint8 RGB or (H, W) uint16. The file appears when it is complete."""
    if _core.build_info()["opencv"]:
        _core.write_png(os.fsencode(path), array)
        return
    from PIL import Image

    with atomic_write(path) as part:
        Image.fromarray(array).save(part, "PNG")


def _from_pil(image: PIL.Image.Image) -> NDArray[np.uint8]:
    from PIL import ImageOps

    frames = getattr(image, "n_frames", 1)
    if frames > 1:
        warnings.warn(
            f"image of {frames} frames; the current one is used", UserWarning, stacklevel=4
        )
    upright = ImageOps.exif_transpose(image)
    if upright.mode.startswith("I;16"):
        return _from_array(np.asarray(upright).astype(np.uint16), False)
    if upright.mode in ("I", "F"):
        return _from_array(np.asarray(upright), False)
    return np.ascontiguousarray(np.asarray(upright.convert("RGB")))


def _from_array(image: object, bgr: bool) -> NDArray[np.uint8]:
    if isinstance(image, io.IOBase):
        raise TypeError("image: a file object; pass its bytes (f.read()) or its path")
    if _is_many(image):
        raise TypeError(
            f"image: expected one image, got a {type(image).__name__} of them; for many images use "
            "segrid.stream"
        )
    array = np.asarray(image)
    if array.dtype == object or array.dtype.kind not in "buif":
        raise TypeError(
            f"image: expected a path, bytes, PIL image or numeric array, got {type(image).__name__}"
        )
    if array.size == 0:
        raise ValueError(f"image: the array is empty, shape {array.shape}")
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3:
        more = "; for many images use segrid.stream" if array.ndim == 4 else ""
        raise ValueError(
            f"image: expected (H, W), (H, W, 3) or (H, W, 4), got shape {array.shape}{more}"
        )
    if array.shape[2] not in (1, 3, 4):
        if array.shape[0] in (1, 3, 4):
            raise ValueError(
                f"image: shape {array.shape} looks like (C, H, W); pass (H, W, C): "
                "array.transpose(1, 2, 0)"
            )
        raise ValueError(f"image: expected (H, W), (H, W, 3) or (H, W, 4), got shape {array.shape}")
    if array.shape[0] * array.shape[1] > MAX_PIXELS:
        raise ValueError(
            f"image: {array.shape[0]} x {array.shape[1]} pixels; the limit is {MAX_PIXELS} "
            "(MAX_PIXELS)"
        )
    array = _to_uint8(array[:, :, :3])
    if array.shape[2] == 1:
        array = np.repeat(array, 3, axis=2)
    return array[:, :, ::-1] if bgr else array


def _is_many(image: object) -> bool:
    """Whether it is a list of images, and not of rows of numbers."""
    first = image[0] if isinstance(image, (list, tuple)) and image else None
    lone = isinstance(first, (str, os.PathLike, bytes, _core.Image)) or hasattr(first, "getexif")
    return lone or getattr(first, "ndim", 0) == 3


def _to_uint8(array: NDArray[Any]) -> NDArray[np.uint8]:
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
        raise ValueError(
            f"image: {array.dtype} values from {low} to {high}; expected 0..255 (or a uint16 array "
            "for 16 bits)"
        )
    return array.astype(np.uint8)


def _float_to_uint8(array: NDArray[Any]) -> NDArray[np.uint8]:
    bad = int(array.size - np.count_nonzero(np.isfinite(array)))
    if bad:
        raise ValueError(f"image: {bad} of {array.size} values are NaN or Inf")
    low, high = float(array.min()), float(array.max())
    for scale, least in ((255.0, 0.0), (1.0, 2.0)):  # 0..1, 0..255
        if low * scale > -0.5 and high * scale < 255.5 and high >= least:
            return np.rint(np.clip(array * scale, 0, 255)).astype(np.uint8)
    raise ValueError(
        f"image: float values from {low:g} to {high:g}; expected 0..1, or 0..255 with a maximum of "
        "at least 2. Scale the array first"
    )


def check_many(images: Any, name: str = "images") -> None:
    """Raises TypeError for a lone image, naming the argument.

    Its characters, bytes, rows or lines would count as many images. Arrays and columns of paths or
    of objects are many images.
    """
    lone = isinstance(images, (str, os.PathLike, bytes, bytearray, memoryview)) or hasattr(
        images, "read"
    )
    kind = getattr(getattr(images, "dtype", None), "kind", "f")  # without a dtype: as numbers
    flat = hasattr(images, "shape") and getattr(images, "ndim", 4) <= 3 and kind in "biufc"
    if (
        lone
        or flat
        or not hasattr(type(images), "__iter__")
        and not hasattr(type(images), "__getitem__")
    ):
        got = f"an array of shape {tuple(images.shape)}" if flat else type(images).__name__
        raise TypeError(
            f"{name}: expected a list or another iterable of images, got {got}; pass [image]"
            + (", or list(array) for a stack of gray images" if flat else "")
        )
