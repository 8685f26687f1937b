"""Files that Pillow decodes: all but TIFF, still WebP and PNG of 16-bit colours.

OpenCV's codecs give the same pixels, but write to stderr what they find odd. Pillow is given the
pixels only (`bare_png`, `bare_jpeg`): it would warn of odd metadata. Orientation is read by the
engine.
"""

from __future__ import annotations

import importlib
import io
import struct
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from segrid._native import CorruptFileError

PLUGINS = {  # not Image.open, which has a limit of its own for pixels and warns below it
    "PNG": ("PngImagePlugin", "PngImageFile"),
    "JPEG": ("JpegImagePlugin", "JpegImageFile"),
    "BMP": ("BmpImagePlugin", "BmpImageFile"),
    "GIF": ("GifImagePlugin", "GifImageFile"),
    "PPM": ("PpmImagePlugin", "PpmImageFile"),
    "JPEG 2000": ("Jpeg2KImagePlugin", "Jpeg2KImageFile"),
    "WebP": ("WebPImagePlugin", "WebPImageFile"),
}
CRITICAL = (b"IHDR", b"PLTE", b"IDAT", b"IEND")  # chunks of a PNG
OPTIONAL = {
    *range(0xE1, 0xEE),
    0xEF,
    0xFE,
}  # segments of a JPEG: all applications' but JFIF's and Adobe's, comments


def read(
    data: bytes, kind: str, name: str, *, max_pixels: int, lenient: bool
) -> tuple[np.ndarray, list[str]]:
    """The samples of a file as they are stored, and warnings.

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
) -> tuple[np.ndarray, list[str]]:
    bare = {"PNG": bare_png, "JPEG": bare_jpeg}.get(kind, bytes)(data)
    module, plugin = PLUGINS[kind]
    make = getattr(importlib.import_module(f"PIL.{module}"), plugin)
    try:
        with _TRUNCATED.taken(truncated), make(io.BytesIO(bare)) as opened:
            if opened.width * opened.height > max_pixels:
                raise TooLarge(
                    f"{name}: {opened.width} x {opened.height} pixels; "
                    f"the limit is {max_pixels} pixels (max_pixels)"
                )
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
    except TooLarge:
        raise
    except MemoryError as error:
        raise MemoryError(f"{name}: {error}") from error
    except Exception as error:  # the plugins raise what reading damaged numbers raises
        if "not available" in str(error):  # "decoder jpeg2k not available"
            raise NotImplementedError(
                f"{name}: {kind} is not read by this Pillow ({error})"
            ) from error
        raise CorruptFileError(f"{name}: {kind} cannot be decoded ({error})") from error


class TooLarge(ValueError):
    """More pixels than the limit."""


class _Truncated:
    """Whether Pillow takes truncated files, which is a setting of its module: threads that want it
    wait for those that do not, and the other way round."""

    def __init__(self) -> None:
        self._free, self._users, self._lenient = threading.Condition(), 0, False

    @contextmanager
    def taken(self, lenient: bool) -> Iterator[None]:
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


def _samples(image: Any) -> np.ndarray:
    if image.mode.startswith("I;16") or (image.format in ("PPM", "PNG") and image.mode == "I"):
        return np.asarray(image).astype(np.uint16)  # fewer bits, from 9, Pillow scales to 16
    if image.mode in ("I", "F", "L", "RGB"):
        return np.asarray(image)
    image.info.pop("transparency", None)  # of palettes: Pillow would warn that it is dropped
    return np.asarray(image.convert("RGB"))


def bare_jpeg(data: bytes) -> bytes:
    """Without metadata: Exif, colour profile, further pictures (MPO), comments."""
    parts, at = [data[:2]], 2
    while at + 4 <= len(data) and (marker := data[at + 1] if data[at] == 0xFF else None) != 0xDA:
        if marker in (
            None,
            0xFF,
        ):  # bytes that belong to nothing, as the engine's own walk skips them
            at += 1
            continue
        if marker <= 0x01 or 0xD0 <= marker <= 0xD9:  # marks without a length
            at += 2
            continue
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if marker not in OPTIONAL:
            parts.append(data[at:end])
        at = end
    return b"".join([*parts, data[at:]])


def bare_png(data: bytes) -> bytes:
    """The critical chunks only, with right checksums and an end."""
    parts, at = [data[:8]], 8
    while at + 8 <= len(data):
        length, kind = struct.unpack(">I4s", data[at : at + 8])
        if kind in CRITICAL:
            parts.append(_chunk(kind, data[at + 8 : at + 8 + length]))
        at += 12 + length
    return b"".join([*parts, _chunk(b"IEND", b"")])


def _chunk(kind: bytes, body: bytes) -> bytes:
    return (
        struct.pack(">I", len(body))
        + kind
        + body
        + struct.pack(">I", zlib.crc32(body, zlib.crc32(kind)))
    )


def inflated_wrongly(png: bytes) -> str:
    """What is wrong with the compressed pixels of a PNG, or "": libpng would write it to stderr."""
    width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", png[16:29])
    row = (width * depth * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}.get(colour, 4) + 7) // 8 + 1
    compressed, at = [], 8
    while at + 8 <= len(png):
        length, kind = struct.unpack(">I4s", png[at : at + 8])
        if kind == b"IDAT":
            compressed.append(png[at + 8 : at + 8 + length])
        at += 12 + length
    try:
        rows = zlib.decompressobj().decompress(b"".join(compressed), row * height + 8 * height + 8)
    except zlib.error as error:
        return str(error)
    if not interlaced and (len(rows) < row * height or max(rows[: row * height : row]) > 4):
        return "rows are missing or begin with an unknown filter"
    return ""
