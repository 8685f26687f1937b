"""The segmenter, with SOWLv2's names and results."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from segrid._image import to_image
from segrid.compat.sowlv2.devices import device_of
from segrid.compat.tensors import as_stored
from segrid.embedding import Embedding
from segrid.segmenter import Segmenter
from segrid.video.session import Session
from segrid.video.tracked_frame import TrackedFrame
from segrid.video.tracker import Tracker

if TYPE_CHECKING:
    import torch


class SAM2Wrapper:
    """SAM 2, or any of segrid's models. `model_name` may be a `segrid.Segmenter`. The embedding of
    the last image is kept. Source: sowlv2.models.sam2_wrapper."""

    def __init__(
        self, model_name: Any = "facebook/sam2.1-hiera-small", device: str = "cpu"
    ) -> None:
        self.device = device_of(device)
        self.segmenter = (
            model_name
            if isinstance(model_name, Segmenter)
            else Segmenter(model_name, device=self.device)
        )
        self._last: tuple[bytes, Embedding] | None = None

    def segment(self, pil_image: Any, box_xyxy: Any) -> np.ndarray:
        """Returns the mask of an XYXY box: (H, W) uint8, 0 and 1."""
        return self.segment_all(pil_image, [box_xyxy])[0]

    def segment_all(self, image: Any, boxes: list[Any]) -> list[np.ndarray]:
        """Returns the masks of several boxes, computed in one batch."""
        if not boxes:
            return []
        masks = self.segmenter.predict(
            self._embedding(image), boxes=np.asarray(boxes, np.float32), anywhere=True
        )
        return [mask.astype(np.uint8) for mask in masks.array]

    @property
    def tracker(self) -> Tracker:
        """What follows objects, with the segmenter's weights. Raises NotImplementedError where the
        model has no memory of video."""
        return Tracker.of(self.segmenter)

    def init_state(self, frames_dir: str) -> Session:
        """Opens a folder of frames, or a video file. The state is a `segrid.Session`: unlike the
        original's, it holds no frames. Raises what `Tracker.open` raises."""
        return self.tracker.open(frames_dir, long_side=None)

    def add_new_box(
        self, state: Session, frame_idx: int, box: Any, obj_idx: int
    ) -> tuple[int, list[int], torch.Tensor]:
        """Prompts an object by an XYXY box in a frame. Returns (frame, ids, logits (N, 1, H, W) of
        all objects); a mask is the pixels above 0. A box may reach beyond the frame; another box of
        an object takes the place of its first one."""
        corners = np.asarray(box, np.float32).reshape(4)
        state.add(obj_idx, frame_idx, boxes=corners, replace=True, anywhere=True)
        return _logits(state.frame(frame_idx))

    def propagate_in_video(self, state: Session) -> Iterator[tuple[int, list[int], torch.Tensor]]:
        """Follows the objects from the first prompted frame to the end, and gives the result of
        `add_new_box` for each frame."""
        return map(_logits, state.propagate())

    def _embedding(self, image: Any) -> Embedding:
        pixels = to_image(as_stored(image))
        array = pixels.array
        known = hashlib.blake2b(
            array.tobytes(), digest_size=16, salt=str(array.shape).encode()[:16]
        ).digest()
        last = self._last
        if last is None or last[0] != known:
            last = self._last = (known, self.segmenter.encode(pixels))
        return last[1]


def _logits(frame: TrackedFrame) -> tuple[int, list[int], torch.Tensor]:
    import torch

    assert frame.low_res is not None  # the last frame keeps its logits
    logits = torch.nn.functional.interpolate(
        torch.tensor(frame.low_res)[:, None], frame.masks.size, mode="bilinear"
    )
    return frame.index, frame.ids, logits
