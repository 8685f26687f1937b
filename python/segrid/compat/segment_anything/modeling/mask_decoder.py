"""The mask decoder of a Sam, which can be called alone with features and the result of
`prompt_encoder`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from segrid.compat.decoding import Decoded, decode
from segrid.compat.missing_names import not_offered
from segrid.compat.parts import Part
from segrid.compat.segment_anything.modeling.prompt_encoder import DensePrompts, SparsePrompts
from segrid.compat.tensors import array_of, tensor_of
from segrid.embedding import Embedding

if TYPE_CHECKING:
    from segrid.compat.segment_anything.modeling.sam import Sam


class MaskDecoder(Part):
    """As segment_anything.modeling.MaskDecoder, on the engine."""

    num_multimask_outputs = 3
    num_mask_tokens = 4

    def __init__(self, sam: Sam) -> None:
        super().__init__(sam, "mask_decoder.")
        self._sam = sam

    def forward(
        self,
        image_embeddings: Any,
        image_pe: Any,
        sparse_prompt_embeddings: SparsePrompts,
        dense_prompt_embeddings: DensePrompts,
        multimask_output: bool,
    ) -> tuple[Any, Any]:
        """Returns low-res logits (B, M, h, w) and predicted IoU (B, M); M is 3 or 1.

        image_embeddings : (1, C, h, w), or (B, C, h, w) with one for each prompt, as in MedSAM's
            fork
        image_pe : the result of `prompt_encoder.get_dense_pe()`

        Raises NotImplementedError for prompts and positions that do not come from `prompt_encoder`,
        and RuntimeError if the number of image embeddings does not fit the number of prompts."""
        import torch

        sparse, dense = sparse_prompt_embeddings, dense_prompt_embeddings
        if not isinstance(sparse, SparsePrompts) or not isinstance(dense, DensePrompts):
            raise NotImplementedError(
                "mask_decoder: segrid decodes only what its own prompt_encoder returned, "
                "unchanged, and cannot decode embeddings made elsewhere"
            )
        own = self._sam.prompt_encoder.get_dense_pe()
        if image_pe is not own and not torch.equal(image_pe.to(own), own):
            raise NotImplementedError(
                "mask_decoder: image_pe must be what prompt_encoder.get_dense_pe() returns"
            )
        images, count = len(image_embeddings), sparse.shape[0]
        if images not in (1, count):
            raise RuntimeError(f"mask_decoder: {images} image embeddings for {count} prompts")
        frame = self._sam.prompt_encoder.input_image_size
        parts = []
        for i, features in enumerate(array_of(image_embeddings.float())):
            asked = slice(None) if images == 1 else slice(i, i + 1)
            embedding = Embedding.of(self._sam.segmenter, frame, [features[None]])
            found = self.decode(embedding, sparse, dense, multimask_output, prompts=asked)
            parts.append((found.low_res, found.scores))
        joined = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        low_res, scores = (
            tensor_of(a.reshape(count, -1, *a.shape[1:])).to(own.device) for a in joined
        )
        return low_res, scores

    def decode(
        self,
        embedding: Embedding,
        sparse: SparsePrompts,
        dense: DensePrompts,
        multimask: bool,
        *,
        scale: Any = 1.0,
        prompts: slice = slice(None),
    ) -> Decoded:
        """Returns the masks of some of the prompts. Coordinates are first divided by `scale` (x,
        y), which maps them from the model's frame to the embedding's."""

        def of(array: np.ndarray | None) -> np.ndarray | None:
            return None if array is None else array[prompts]

        points, labels, boxes = of(sparse.points), of(sparse.labels), of(sparse.boxes)
        if points is not None and boxes is not None and points.shape[1] == 0:
            points = labels = None  # SAM pads points only if there is no box
        return decode(
            self._sam.segmenter,
            embedding,
            points=None if points is None else points / scale,
            labels=labels,
            boxes=None if boxes is None else (boxes.reshape(-1, 2, 2) / scale).reshape(-1, 4),
            mask_hints=of(dense.masks),
            multimask=multimask,
            mask_threshold=float(self._sam.mask_threshold),
        )


__getattr__ = not_offered(
    __name__,
    "segrid's engine has the layers; build such modules from segment_anything's own classes",
    "MLP",
)
