"""The segmenter, with SOWLv2's names and results."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from segrid._image import to_image
from segrid.compat.sowlv2.devices import device_of
from segrid.compat.video import not_yet
from segrid.embedding import Embedding
from segrid.segmenter import Segmenter


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
        """Returns the mask of an XYXY box: (H, W) uint8, 0 and 255."""
        return self.segment_all(pil_image, [box_xyxy])[0]

    def segment_all(self, image: Any, boxes: list[Any]) -> list[np.ndarray]:
        """Returns the masks of several boxes, computed in one batch."""
        if not boxes:
            return []
        masks = self.segmenter.predict(
            self._embedding(image), boxes=np.asarray(boxes, np.float32), anywhere=True
        )
        return [mask.astype(np.uint8) * 255 for mask in masks.array]

    def init_state(self, frames_dir: str) -> Any:
        """Raises NotImplementedError, because videos need segrid's tracker, which does not exist
        yet."""
        not_yet("SAM2Wrapper.init_state", "use segment for each frame")

    def add_new_box(self, state: Any, frame_idx: int, box: Any, obj_idx: int) -> Any:
        """Raises NotImplementedError, because videos need segrid's tracker, which does not exist
        yet."""
        not_yet("SAM2Wrapper.add_new_box", "use segment for each frame")

    def propagate_in_video(self, state: Any) -> Any:
        """Raises NotImplementedError, because videos need segrid's tracker, which does not exist
        yet."""
        not_yet("SAM2Wrapper.propagate_in_video", "use segment for each frame")

    def _embedding(self, image: Any) -> Embedding:
        pixels = to_image(image)
        array = pixels.array
        known = hashlib.blake2b(
            array.tobytes(), digest_size=16, salt=str(array.shape).encode()[:16]
        ).digest()
        last = self._last
        if last is None or last[0] != known:
            last = self._last = (known, self.segmenter.encode(pixels))
        return last[1]
