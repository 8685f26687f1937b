"""Writes pictures as a video file."""

from __future__ import annotations

import math
import os
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from segrid.video.av_library import av_library
from segrid.video.growing_file import GrowingFile

if TYPE_CHECKING:
    from av.video.stream import VideoStream

CONTAINERS = {".mp4": "mp4", ".mov": "mov", ".m4v": "mp4", ".mkv": "matroska", ".avi": "avi"}
# By quality; the options keep outlines and labels sharp.
ENCODERS = {
    "libx264": {"crf": "20", "preset": "veryfast"},
    "mpeg4": {"flags": "+qscale", "global_quality": "354"},  # quantiser 3
}
BT709 = 1  # FFmpeg's number of the colour matrix, primaries and curve of HD video
LIMITED_RANGE = 1  # luma of 16 to 235


class PictureVideo(GrowingFile):
    """Writes H.264 (MPEG-4 where this FFmpeg has no libx264) as MP4, MOV, MKV or AVI, by the file's
    ending. Odd sizes are padded by a repeated row or column, as the codec needs even ones.

    rate : frames per second, as `Frames.rate`; all frames last equally long

    Raises ValueError for another ending or rate, ImportError without the av package,
    NotImplementedError without an encoder.
    """

    def __init__(self, path: str | os.PathLike[str], *, rate: float) -> None:
        ending = Path(os.fsdecode(path)).suffix.lower()
        if ending not in CONTAINERS:
            raise ValueError(
                f"{os.fsdecode(path)}: a video's name must end in {', '.join(CONTAINERS)}"
            )
        if not (math.isfinite(rate) and 0 < rate <= 1000):
            raise ValueError(f"rate: expected frames per second, above 0 to 1000, got {rate}")
        self._av = av_library("writing videos")
        self._encoder = self._available_encoder()
        super().__init__(path)
        # Of a rate below 1, the seconds of a frame are rounded.
        near = Fraction(max(rate, 1 / rate)).limit_denominator(1001)
        self._rate = near if rate >= 1 else 1 / near
        self._size: tuple[int, int] | None = None
        self._count = 0
        with self._or_gone():
            self._file = open(self._part, "w+b")
        self._container = self._av.open(self._file, "w", format=CONTAINERS[ending])
        self._stream: VideoStream | None = None

    def append(self, pixels: NDArray[np.uint8]) -> None:
        """Appends a picture, (H, W, 3) uint8 RGB.

        Raises ValueError for a picture of another size than the first, and OSError.
        """
        if self._stream is None:
            self._size = pixels.shape[:2]
            self._stream = self._begun(*self._size)
        if pixels.shape[:2] != self._size:
            raise ValueError(
                f"{self.path}: frame {self._count} has {pixels.shape[1]} x {pixels.shape[0]} "
                f"pixels; all frames of a video must have the size of the first"
            )
        height, width = pixels.shape[:2]
        even = np.pad(pixels, ((0, height % 2), (0, width % 2), (0, 0)), "edge")
        frame = self._av.VideoFrame.from_ndarray(even, "rgb24").reformat(
            format="yuv420p", dst_colorspace="ITU709", threads=1
        )
        frame.pts, self._count = self._count, self._count + 1
        frame.time_base = 1 / self._rate
        self._container.mux(self._stream.encode(frame))

    def _begun(self, height: int, width: int) -> VideoStream:
        stream: VideoStream = self._container.add_stream(
            self._encoder, rate=self._rate, options=ENCODERS[self._encoder]
        )
        stream.width, stream.height, stream.pix_fmt = (
            width + width % 2,
            height + height % 2,
            "yuv420p",
        )
        context = stream.codec_context
        context.thread_count = 1
        context.colorspace = context.color_primaries = context.color_trc = BT709
        context.color_range = LIMITED_RANGE
        return stream

    def _available_encoder(self) -> str:
        for name in ENCODERS:
            try:
                self._av.Codec(name, "w")
            except ValueError:  # av's error for a codec that is not there
                continue
            return name
        raise NotImplementedError(
            f"overlay: this FFmpeg has no encoder of {', '.join(ENCODERS)}; install av from PyPI"
        )

    def _finish(self) -> None:
        try:
            if self._stream is None:
                raise ValueError(f"{self.path}: no frame was added; a video needs at least one")
            self._container.mux(self._stream.encode(None))
            self._container.close()
        finally:
            self._file.close()

    def _drop(self) -> None:
        try:
            self._container.close()
        except (self._av.FFmpegError, OSError):
            pass  # the file is not used
        finally:
            self._file.close()
