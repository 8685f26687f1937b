"""The prompt encoder of a Sam. It checks prompts and passes them on to the mask decoder."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from segrid.compat.missing_names import not_offered
from segrid.compat.parts import Part
from segrid.compat.segment_anything.modeling.image_encoder import PUBLISHED_SIDE
from segrid.compat.tensors import array_of

if TYPE_CHECKING:
    from segrid.compat.segment_anything.modeling.sam import Sam

PUBLISHED_WIDTH = 256
# A label for the engine which makes it encode only the position.
PLACE_ONLY = 4


@dataclass(frozen=True)
class SparsePrompts:
    """Stands for the tokens of points and boxes. It holds the prompts themselves, in pixels of the
    model's frame, and the mask decoder passes them to the engine.

    points (B, N, 2), labels (B, N), boxes (B, 4). `shape` is that of the original's tensor."""

    points: np.ndarray | None
    labels: np.ndarray | None
    boxes: np.ndarray | None
    shape: tuple[int, int, int]

    def to(self, *_: Any, **__: Any) -> SparsePrompts:
        """Returns itself, because it is on every device."""
        return self


@dataclass(frozen=True)
class DensePrompts:
    """Stands for the embedding of mask inputs. It holds masks, (B, h, w) low-res logits, or None.
    `shape` is that of the original's tensor."""

    masks: np.ndarray | None
    shape: tuple[int, int, int, int]

    def to(self, *_: Any, **__: Any) -> DensePrompts:
        """Returns itself, because it is on every device."""
        return self


class PromptEncoder(Part):
    """As segment_anything.modeling.PromptEncoder, except that the results are not tensors. They
    stand for tensors, and only `mask_decoder` reads them."""

    def __init__(self, sam: Sam) -> None:
        super().__init__(sam, "prompt_encoder.")
        self._sam = sam
        self._dense_pe: tuple[Any, Any] = (None, None)

    @property
    def mask_input_size(self) -> tuple[int, int]:
        """(H, W) of mask inputs and low-res masks."""
        height, width = self.image_embedding_size
        return 4 * height, 4 * width

    @property
    def image_embedding_size(self) -> tuple[int, int]:
        """(H, W) of the features."""
        if not self._sam.has_weights:
            return PUBLISHED_SIDE // 16, PUBLISHED_SIDE // 16
        height, width = self._sam.segmenter.low_res_size
        return height // 4, width // 4

    @property
    def input_image_size(self) -> tuple[int, int]:
        """(H, W) of the square that images are resized into."""
        side = self._sam.image_encoder.img_size
        return side, side

    @property
    def embed_dim(self) -> int:
        """The number of channels of the features."""
        return self.get_dense_pe().shape[1] if self._sam.has_weights else PUBLISHED_WIDTH

    def get_dense_pe(self) -> Any:
        """Returns the (1, C, h, w) positional encoding of the features' positions."""
        import torch

        segmenter = self._sam.segmenter
        if self._dense_pe[0] is not segmenter:
            height, width = self.image_embedding_size
            y = (torch.arange(height) + 0.5) / height
            x = (torch.arange(width) + 0.5) / width
            at = torch.stack([x.expand(height, width), y[:, None].expand(height, width)], dim=-1)
            angle = 2 * math.pi * ((2 * at - 1) @ self._sam.positional_matrix())
            waves = torch.cat([angle.sin(), angle.cos()], dim=-1).permute(2, 0, 1)[None]
            self._dense_pe = segmenter, waves.to(self._sam.device)
        return self._dense_pe[1]

    def forward(
        self, points: tuple[Any, Any] | None, boxes: Any | None, masks: Any | None
    ) -> tuple[SparsePrompts, DensePrompts]:
        """Checks prompts, all in the model's frame.

        points : coordinates (B, N, 2) x, y and labels (B, N): 1 foreground, 0 background, -1
            padding; for any other label only the position is encoded, as in the original
        boxes : (B, 4) XYXY
        masks : (B, 1, h, w) low-res logits

        Raises RuntimeError if the number of boxes is not the number of prompts."""
        coords = labels = corners = None
        if points is not None:
            coords, labels = array_of(points[0]), array_of(points[1])
            known = np.isin(labels, (-1, 0, 1))
            labels = np.where(known, labels, PLACE_ONLY).astype(np.int64)
        if boxes is not None:
            corners = array_of(boxes).reshape(-1, 4)
        hints = None if masks is None else array_of(masks).astype(np.float32)
        given = [a for a in (coords, boxes, hints) if a is not None]
        count = len(given[0]) if given else 1
        if corners is not None and len(corners) != count:
            raise RuntimeError(
                f"prompt_encoder: {len(corners)} boxes for {count} prompts; give one box for each "
                "prompt (`SamPredictor.predict` takes one, `predict_torch` takes many)"
            )
        tokens = 0 if coords is None else coords.shape[1] + (corners is None)
        tokens += 0 if corners is None else 2
        if hints is not None:
            hints = np.broadcast_to(hints[:, 0], (count, *hints.shape[2:]))
        height, width = self.image_embedding_size
        dense = DensePrompts(hints, (count, self.embed_dim, height, width))
        return SparsePrompts(coords, labels, corners, (count, tokens, self.embed_dim)), dense


__getattr__ = not_offered(
    __name__,
    "segrid's engine has the layers; build such modules from segment_anything's own classes",
    "PositionEmbeddingRandom",
)
