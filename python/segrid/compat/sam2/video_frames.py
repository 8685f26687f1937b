"""The frames of a video as sam2 reads them, one at a time instead of all at once."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from segrid.compat.squashed_frames import NormalisedFrames, SquashedFrames, as_images, known_count
from segrid.compat.tensors import tensor_of
from segrid.compat.video_rules import DEVIATION, MEAN
from segrid.video.frame_lists import ListFrames
from segrid.video.frames import Frames
from segrid.video.sources import open_frames

JPEG_ENDINGS = (".jpg", ".jpeg", ".JPG", ".JPEG")


# The bytes of the files of a folder that are read when it is opened. Others are read later.
KEPT_BYTES = 512 << 20


class JpegFile(NamedTuple):
    """A file of a folder: its bytes, or None where it is read on demand; then `stamp` tells whether
    it is still the same file."""

    path: Path
    content: bytes | None
    stamp: tuple[int, int]  # size, time of the last change


class JpegFrames(ListFrames):
    """Files as Pillow decodes them. The orientation that EXIF asks for is not applied, as in
    sam2."""

    def _pixels(self, index: int, item: Any) -> NDArray[np.uint8]:
        if item.content is None and _stamp(item.path) != item.stamp:
            raise FileNotFoundError(
                f"{item.path}: this frame is gone, or another file has its place; keep folders of "
                f"more than {KEPT_BYTES >> 20} MiB until their state is no longer used"
            )
        try:
            source = item.path if item.content is None else io.BytesIO(item.content)
            with Image.open(source) as image:
                return np.asarray(image.convert("RGB"))
        except OSError as error:
            if error.errno is not None:
                raise
            raise type(error)(f"{item.path}: {error}") from error


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_size, found.st_mtime_ns


def squashed(picture: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Returns the (side, side, 3) square of a frame: resized by Pillow's bicubic filter."""
    return np.array(Image.fromarray(picture).resize((side, side)))


def open_video(video_path: Any, side: int) -> SquashedFrames:
    """Opens a video as sam2's `init_state` takes it, or one in memory.

    video_path : a folder of JPEG files with whole numbers as names, in whose order they are read;
        an .mp4 file; or the bytes of one. sam2 reads these by decord, segrid by the av package.
        Also a list of (H, W, 3) uint8 RGB arrays or PIL images, or a (T, H, W, 3) array
    side : of the model's square, in pixels

    Raises NotImplementedError for anything else; RuntimeError for a folder without JPEG files;
    ValueError for a name that is no number; and what `segrid.video.sources.open_frames` raises.
    Source: sam2.utils.misc.load_video_frames.
    """
    if isinstance(video_path, (list, tuple)) or hasattr(video_path, "ndim"):
        return SquashedFrames(open_frames(as_images(video_path)), side, squashed)
    if not isinstance(video_path, bytes):
        video_path = os.fspath(video_path)
    is_folder = isinstance(video_path, str) and os.path.isdir(video_path)
    if not is_folder and not isinstance(video_path, bytes) and not _is_mp4(video_path):
        raise NotImplementedError(
            f"Only MP4 video and JPEG folder are supported at this moment; got {video_path!r}"
        )
    frames = JpegFrames(_files(video_path), str(video_path), None) if is_folder else video_path
    return SquashedFrames(open_frames(frames), side, squashed)


def _is_mp4(path: str) -> bool:
    return os.path.splitext(path)[-1] in (".mp4", ".MP4")


def _files(folder: Any) -> list[JpegFile]:
    """The JPEG files of a folder by their numbers. The bytes of the first KEPT_BYTES are read."""
    names = [n for n in os.listdir(folder) if os.path.splitext(n)[-1] in JPEG_ENDINGS]
    if not names:
        raise RuntimeError(f"no images found in {folder}")
    files, room = [], KEPT_BYTES
    for name in sorted(names, key=lambda n: int(os.path.splitext(n)[0])):
        path = Path(folder, name).absolute()
        found = path.stat()
        room -= found.st_size
        content = path.read_bytes() if room >= 0 else None
        files.append(JpegFile(path, content, (found.st_size, found.st_mtime_ns)))
    return files


class VideoImages(Sequence[Any]):
    """`inference_state["images"]`: the (3, side, side) float32 tensor of each frame, normalised,
    made when it is asked for.

    shape : (T, 3, side, side)
    video_height, video_width : of the video itself, pixels
    frames : the same frames as 8-bit squares
    """

    def __init__(
        self,
        frames: Frames,
        mean: Sequence[float] = MEAN,
        deviation: Sequence[float] = DEVIATION,
        device: Any = "cpu",
    ) -> None:
        self.frames, self._mean, self._deviation, self._device = frames, mean, deviation, device
        self._count = known_count(frames)
        self.video_height, self.video_width = frames.size
        self.shape = (self._count, 3, *frames.reduced_size)

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: Any) -> Any:
        import torch

        if isinstance(index, slice):
            return torch.stack([self[i] for i in range(*index.indices(self._count))])
        at = range(self._count)[index]  # raises IndexError, and counts from the end
        pixels = tensor_of(self.frames.read(at)).permute(2, 0, 1) / 255.0
        mean, deviation = (torch.tensor(v)[:, None, None] for v in (self._mean, self._deviation))
        return ((pixels - mean) / deviation).to(self._device)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(
            f"VideoImages has no attribute {name!r}: frames are read when they are asked for. "
            'state["images"][:] is a tensor of all of them, which you may change and write back'
        )


class StateFrames(NormalisedFrames):
    """The frames that a state has as "images": VideoImages, or what a program put in their place.
    Both may be exchanged."""

    def __init__(self, images: Any, count: int, size: tuple[int, int], side: int) -> None:
        super().__init__(images, count, size, side)
        if isinstance(images, VideoImages):
            self.name, self.rate = images.frames.name, images.frames.rate

    def _fetch(self, index: int) -> NDArray[np.uint8]:
        own = isinstance(self.images, VideoImages) and index < self.count
        return self.images.frames.read(index) if own else super()._fetch(index)

    def _release(self) -> None:
        if isinstance(self.images, VideoImages):
            self.images.frames.close()


def load_video_frames(
    video_path: Any,
    image_size: int,
    offload_video_to_cpu: bool,
    img_mean: Sequence[float] = MEAN,
    img_std: Sequence[float] = DEVIATION,
    async_loading_frames: bool = False,
    compute_device: Any = "cuda",
) -> tuple[VideoImages, int, int]:
    """Returns (images, height, width of the video); images are read when they are asked for.

    video_path : see `open_video`
    async_loading_frames : has no effect

    Raises what `open_video` raises. Source: sam2.utils.misc.load_video_frames.
    """
    device = "cpu" if offload_video_to_cpu else compute_device
    images = VideoImages(open_video(video_path, image_size), img_mean, img_std, device)
    return images, images.video_height, images.video_width
