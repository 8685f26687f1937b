"""Opens the frames of a video, whatever it is given as."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from segrid._types import ImageItem
from segrid.image_files.formats import no_file
from segrid.video.frame_folder import FolderFrames
from segrid.video.frame_lists import CallableFrames, ImageList, IteratorFrames, ListFrames
from segrid.video.frame_store import FrameStore
from segrid.video.frames import Frames
from segrid.video.video_file import VideoFileFrames

VideoLike = (
    str
    | os.PathLike[str]
    | bytes
    | ImageList
    | Iterable[ImageItem]
    | Callable[[int], ImageItem | None]
    | Frames
)


def open_frames(
    source: VideoLike, *, long_side: int | None = None, store: FrameStore | None = None
) -> Frames:
    """Returns the frames of a video, and reads the first one: a bad source is an error here.

    Parameters
    ----------
    source : one of
        path of a video file, or its bytes: MP4, MOV, MKV, WebM, AVI, GIF and others that FFmpeg
        decodes (needs the av package: pip install "segrid[video]")
        path of a folder: its images, sorted by their numbers
        list, tuple, (N, H, W, 3) array or anything else with a length and indices: an image for
        each index, as `read_image` takes them (arrays, PIL images, paths, bytes)
        iterator: the same, one after the other; it only goes forward
        callable(index): gives the image; raises IndexError or returns None beyond the end
        Frames: any class of this kind; `long_side` does not change it
    long_side : frames with a longer side above this many pixels are reduced by area interpolation
    store : keeps the frames of an iterator on disk (JPEG of quality 85), so that earlier ones can
        be read; closed together with the frames. Without it the last 64 MiB are remembered. Other
        sources need none, and it is closed at once

    Raises FileNotFoundError, PermissionError and other OSErrors with the path; CorruptFileError (a
    ValueError) for what is no video or has no picture; ValueError for no frames, an empty array, or
    frames above 2**26 pixels in a file; NotImplementedError for an unknown codec; TypeError for
    other sources; ImportError without the av package.
    """
    try:
        frames = _opened(source, long_side, store)
    except BaseException:
        if store is not None:
            store.close()
        raise
    if store is not None and not isinstance(frames, IteratorFrames):
        store.close()
    try:
        frames.begin()
    except BaseException:
        frames.close()
        raise
    return frames


def only_goes_forward(source: VideoLike) -> bool:
    """Whether `open_frames` reads this source as an iterator, which cannot go back without a
    store."""
    others = (Frames, str, os.PathLike, bytes, bytearray, memoryview, ImageList)
    return isinstance(source, Iterable) and not isinstance(source, others)


def _opened(source: VideoLike, long_side: int | None, store: FrameStore | None) -> Frames:
    if isinstance(source, Frames):
        return source
    if isinstance(source, (str, os.PathLike)):
        return _from_path(os.fspath(source), long_side)
    if isinstance(source, (bytes, bytearray, memoryview)):
        return VideoFileFrames(io.BytesIO(bytes(source)), "bytes", long_side)
    if isinstance(source, np.ndarray) and source.ndim != 4:
        raise ValueError(
            f"frames: an array of a video must be (N, H, W, 3), got shape {source.shape}; pass "
            "[image] for a single image"
        )
    if hasattr(source, "getexif") or isinstance(source, (dict, set, frozenset)):
        raise TypeError(
            f"frames: expected a path, bytes, a list of images, an iterator or a callable, got "
            f"{type(source).__name__}; pass [image] for a single image"
        )
    if isinstance(source, ImageList):
        return ListFrames(source, "frames", long_side)
    if hasattr(source, "read"):
        raise TypeError("frames: an open file; pass its path, or its bytes")
    if isinstance(source, Iterable):
        return IteratorFrames(iter(source), "frames", long_side, store)
    if callable(source):
        return CallableFrames(source, "frames", long_side)
    raise TypeError(
        f"frames: expected a path, bytes, a list of images, an iterator or a callable, got "
        f"{type(source).__name__}"
    )


def _from_path(path: str, long_side: int | None) -> Frames:
    name = os.fsdecode(path)
    if re.match(r"[a-z]+://", name):
        raise ValueError(
            f"{name}: addresses are not opened; download the file, or push the frames of a camera "
            "to Tracker.live()"
        )
    if os.path.isdir(path):
        return FolderFrames(Path(name), long_side)
    if (kind := no_file(os.stat(path).st_mode)) is not None:
        raise ValueError(f"{name}: not a file, but {kind}; it may have no end")
    file = open(path, "rb")  # the frames close it
    try:
        return VideoFileFrames(file, name, long_side)
    except BaseException:
        file.close()
        raise
