"""A video of the frames with their objects drawn on them."""

from __future__ import annotations

import math
import os
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from segrid._types import ImageItem
from segrid.detections import Detections
from segrid.video.av_library import av_library
from segrid.video.growing_file import GrowingFile
from segrid.video.tracked import Tracked, label_of

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


def draw(picture: ImageItem, tracked: Tracked) -> NDArray[np.uint8]:
    """Returns (H, W, 3) uint8: a frame with the outlines, boxes, ids, names and scores of its
    objects; lost objects are left out.

    An object has the same colour in all frames: that of `Detections.picture` for its id and name.
    picture : the frame, (H, W, 3); masks of another size are resized to its size
    """
    height, width = np.shape(picture)[:2]
    there = np.flatnonzero(tracked.masks.areas).tolist()
    masks = tracked.masks[there]
    if masks.size != (height, width):
        masks = masks.resized((height, width))
    ids = [tracked.ids[i] for i in there]
    labels = [label_of(tracked, number) for number in ids]
    scores = np.asarray(tracked.scores, np.float32)[there]
    kinds = np.array(ids, np.int64)
    found = Detections(masks.boxes, scores, labels, kinds, (height, width), masks)
    return found.picture(picture)


class OverlayVideo(GrowingFile):
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
        self._rate = Fraction(rate).limit_denominator(1001)
        self._size: tuple[int, int] | None = None
        self._count = 0
        self._file = open(self._part, "w+b")
        self._container = self._av.open(self._file, "w", format=CONTAINERS[ending])
        self._stream: VideoStream | None = None

    def add(self, picture: ImageItem, tracked: Tracked) -> None:
        """Draws the objects on a frame, (H, W, 3) uint8 RGB, and appends it.

        Raises ValueError for a frame of another size than the first, and OSError.
        """
        pixels = draw(picture, tracked)
        if self._stream is None:
            self._size = pixels.shape[:2]
            self._stream = self._begun(*self._size)
        if pixels.shape[:2] != self._size:
            raise ValueError(
                f"{self.path}: frame {tracked.index} has {pixels.shape[1]} x {pixels.shape[0]} "
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
