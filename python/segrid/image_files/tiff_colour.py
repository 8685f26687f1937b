"""Interprets the samples of a TIFF page, and converts them to upright 8-bit RGB."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from segrid._native import CorruptFileError
from segrid._types import Samples, TiffPage
from segrid.image_files.eight_bits import check_finite, mapped, stretched
from segrid.image_files.orientation import upright

WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, MASK, CMYK, YCBCR = range(7)
ALPHA = (1, 2)  # ExtraSamples: associated, unassociated
FAX = (2, 3, 4)
JPEGS = (6, 7, 34892, 33007)  # compressions that imagecodecs decodes to RGB where the page is YCbCr
PHOTOMETRIC, ORIENTATION, INK_SET, NODATA = 262, 274, 332, 42113


@dataclass(frozen=True)
class Layout:
    """The samples of a pixel that are used.

    photometric : one of the numbers above
    taken : the indices of the samples that are used
    bands : the number of samples without alpha
    most : the largest number of samples that are used
    """

    photometric: int
    taken: tuple[int, ...]
    bands: int
    most: int


def layout_of(page: TiffPage, name: str) -> Layout:
    """The layout of a page's samples.

    Raises NotImplementedError for colours that are not read, CorruptFileError where samples are
    missing.
    """
    samples, extra = page.samplesperpixel, tuple(page.extrasamples)
    photometric = page.photometric
    if PHOTOMETRIC not in page.tags:
        photometric = (
            WHITE_IS_ZERO
            if page.compression in FAX
            else RGB
            if samples - len(extra) >= 3
            else BLACK_IS_ZERO
        )
    if photometric == MASK:
        photometric = BLACK_IS_ZERO
    least = {WHITE_IS_ZERO: 1, BLACK_IS_ZERO: 1, RGB: 3, PALETTE: 1, CMYK: 4, YCBCR: 3}.get(
        int(photometric)
    )
    inks = page.tags.valueof(INK_SET, 1)
    if least is None or (photometric == CMYK and inks != 1):
        title = (
            "other inks than CMYK"
            if photometric == CMYK
            else getattr(photometric, "name", photometric)
        )
        raise NotImplementedError(f"{name}: TIFF colours {title} are not read; convert it to RGB")
    if photometric == YCBCR and page.dtype != np.uint8 and page.compression not in JPEGS:
        raise NotImplementedError(
            f"{name}: TIFF colours YCBCR of {page.bitspersample} bits are not read; "
            "convert it to RGB"
        )
    first_extra = samples - len(extra)
    bands = [i for i in range(samples) if i < first_extra or extra[i - first_extra] not in ALPHA]
    if photometric == PALETTE and (
        np.ndim(page.colormap) != 2
        or np.shape(page.colormap)[0] != 3
        or page.dtype.kind not in "bu"
    ):
        raise CorruptFileError(f"{name}: TIFF damaged: its palette is missing")
    if len(bands) < least:
        raise CorruptFileError(
            f"{name}: TIFF damaged: {samples} samples a pixel; its colours need {least}"
        )
    most = {CMYK: 4, PALETTE: 1}.get(int(photometric), 3)
    return Layout(
        int(photometric), tuple(bands[:most]), len(bands) if photometric != PALETTE else 1, most
    )


def missing_value(page: TiffPage) -> float | int | None:
    """The tag GDAL_NODATA as a number of the samples' type.

    None where it is absent, is not a number, or does not fit the type.
    """
    text, kind = str(page.tags.valueof(NODATA)).strip("\0 \t\r\n").replace(",", "."), page.dtype
    try:
        number = float(text)
        if kind.kind == "f":
            with np.errstate(over="ignore"):
                return float(kind.type(number))
        # An integer is not read as a float, which holds only 53 bits.
        integer = int(number) if "." in text or "e" in text.lower() else int(text)
    except (ValueError, OverflowError):
        return None
    if (
        kind.kind == "b"
        or float(integer) != number
        or not np.iinfo(kind).min <= integer <= np.iinfo(kind).max
    ):
        return None
    return integer


def to_rgb(
    samples: Samples, lost: NDArray[np.bool_] | None, page: TiffPage, layout: Layout, name: str
) -> NDArray[np.uint8]:
    """(H, W, 3) uint8, upright, of (H, W, C) samples as the file stores them.

    lost : (H, W, C) bool of samples that could not be decoded: they do not count for percentiles
        and become 0. Where a colour is computed from several samples, all three colours become 0

    Raises ValueError for NaN and Inf, CorruptFileError for colours that the palette lacks.
    """
    photometric = layout.photometric
    if photometric == PALETTE:
        rgb = _coloured(samples[..., 0], page.colormap, name)
    else:
        try:
            rgb = (
                _from_cmyk(samples, page)
                if photometric == CMYK
                else _to_eight_bits(samples, lost, page, layout)
            )
        except ValueError as error:
            raise ValueError(
                f"{name}: {error}; fill them, or name their value in the tag GDAL_NODATA"
            ) from error
        if photometric == YCBCR and page.compression not in JPEGS:
            rgb = _from_ycbcr(rgb)
    if lost is not None:
        rgb[lost.any(axis=2) if photometric in (PALETTE, CMYK, YCBCR) else lost] = 0
    return np.ascontiguousarray(upright(_three(rgb), page.tags.valueof(ORIENTATION, 1)))


def _is_plain(page: TiffPage) -> bool:
    """Whether samples are unsigned integers of at most 8 bits, which have a scale of their own."""
    return page.dtype.kind == "b" or page.dtype == np.uint8


def _to_eight_bits(
    samples: Samples, lost: NDArray[np.bool_] | None, page: TiffPage, layout: Layout
) -> NDArray[np.uint8]:
    """Gray, RGB or channels in 8 bits; samples without data are 0."""
    inverted = layout.photometric == WHITE_IS_ZERO
    if _is_plain(page):
        eight = _full_range(samples, page)
        return 255 - eight if inverted else eight
    missing, ignored = missing_value(page), lost
    if missing is not None:
        ignored = np.isnan(samples) if missing != missing else samples == missing
        if lost is not None:
            ignored |= lost
    eight = stretched(samples, together=layout.photometric in (RGB, YCBCR), ignored=ignored)
    if inverted:
        eight = 255 - eight
        if ignored is not None:
            eight[ignored] = 0
    return eight


def _full_range(samples: Samples, page: TiffPage) -> NDArray[np.uint8]:
    """Maps 0 to 0, and the largest number of that many bits (for floats, 1) to 255."""
    if samples.dtype == np.uint8 and (
        page.bitspersample == 8 or isinstance(page.bitspersample, tuple)
    ):
        return samples
    most = 1 if samples.dtype.kind in "bf" else 2 ** int(page.bitspersample) - 1
    return mapped(
        samples,
        lambda values: np.rint(np.clip(values.astype(np.float64), 0, most) * (255 / most)).astype(
            np.uint8
        ),
    )


def _from_cmyk(samples: Samples, page: TiffPage) -> NDArray[np.uint8]:
    check_finite(samples)
    inks = _full_range(samples, page)
    return _scaled_product(255 - inks[..., :3], 255 - inks[..., 3:])


def _coloured(indices: Samples, colours: ArrayLike, name: str) -> NDArray[np.uint8]:
    """The colours of the palette, which have 16 bits, or 8 bits by some writers."""
    table = np.asarray(colours)
    table = (table if table.max() < 256 else table >> 8).astype(np.uint8)
    if int(indices.max()) >= table.shape[1]:
        raise CorruptFileError(
            f"{name}: TIFF damaged: colour {int(indices.max())} of a palette of {table.shape[1]}"
        )
    return table.T[indices.astype(np.intp)]


def _scaled_product(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The product a b / 255, rounded."""
    return ((a.astype(np.uint32) * b + 127) // 255).astype(np.uint8)


def _from_ycbcr(samples: Samples) -> NDArray[np.uint8]:
    """Converts by ITU-R BT.601, whose coefficients TIFF names as its default."""
    y, blue, red = (samples[..., i].astype(np.float32) - (0, 128, 128)[i] for i in range(3))
    rgb = (y + 1.402 * red, y - 0.344136 * blue - 0.714136 * red, y + 1.772 * blue)
    return np.stack([np.rint(np.clip(c, 0, 255)) for c in rgb], axis=-1).astype(np.uint8)


def _three(samples: Samples) -> NDArray[np.uint8]:
    """One band is gray; two are red and green."""
    if samples.shape[2] == 1:
        return np.repeat(samples, 3, axis=2)
    if samples.shape[2] == 2:
        return np.concatenate([samples, np.zeros_like(samples[..., :1])], axis=2)
    return samples
