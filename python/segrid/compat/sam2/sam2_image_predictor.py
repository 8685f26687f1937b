"""SAM2ImagePredictor: one image set, or a batch of them, then prompts."""

from __future__ import annotations

from typing import Any

import numpy as np

from segrid.compat.sam2.build_sam import SAM2Base, build_sam2_hf
from segrid.compat.tensors import low_res_of, tensor_of
from segrid.embedding import Embedding
from segrid.results import Masks

NO_IMAGE = "An image must be set with .set_image(...) before mask prediction."
Triple = tuple[np.ndarray, np.ndarray, np.ndarray]


class SAM2ImagePredictor:
    """As sam2.SAM2ImagePredictor. Holds the current images; for many threads use `model.segmenter` and embeddings, which hold none."""

    def __init__(self, sam_model: SAM2Base, mask_threshold: float = 0.0, max_hole_area: float = 0.0, max_sprinkle_area: float = 0.0, **kwargs: Any) -> None:
        self.model = sam_model
        self.mask_threshold = mask_threshold
        self._max_hole_area, self._max_sprinkle_area = int(max_hole_area), int(max_sprinkle_area)
        self._embeddings: list[Embedding] = []
        self.reset_predictor()

    @classmethod
    def from_pretrained(cls, model_id: str, **kwargs: Any) -> SAM2ImagePredictor:
        """From a Hugging Face id."""
        own = {k: kwargs.pop(k) for k in ("mask_threshold", "max_hole_area", "max_sprinkle_area") if k in kwargs}
        return cls(build_sam2_hf(model_id, **kwargs), **own)

    def set_image(self, image: Any) -> None:
        """image : (H, W, 3) uint8 RGB array or PIL image."""
        self.reset_predictor()
        if not isinstance(image, np.ndarray) and not hasattr(image, "getpixel"):
            raise NotImplementedError("Image format not supported")
        self._embeddings = [self.model.segmenter.encode(image)]
        self._is_image_set = True

    def set_image_batch(self, image_list: list[np.ndarray]) -> None:
        """image_list : (H, W, 3) uint8 RGB arrays of any sizes."""
        self.reset_predictor()
        assert isinstance(image_list, list)
        for image in image_list:
            assert isinstance(image, np.ndarray), "Images are expected to be an np.ndarray in RGB format, and of shape  HWC"
        self._embeddings = [self.model.segmenter.encode(image) for image in image_list]
        self._is_image_set = self._is_batch = True

    def predict(self, point_coords: Any = None, point_labels: Any = None, box: Any = None, mask_input: Any = None, multimask_output: bool = True,
                return_logits: bool = False, normalize_coords: bool = True) -> Triple:
        """masks float32 of 0 and 1 (logits with `return_logits`), scores float32, low-res logits float32 within +-32: (C, H, W), (C,), (C, h, w), with one
        more axis in front for several prompts.

        point_coords (N, 2) or (B, N, 2) x, y, in image pixels (with normalize_coords=False in 0..1), point_labels (N,) or (B, N), box (4,) or (B, 4)
        XYXY, mask_input (1, h, w) or (B, 1, h, w)."""
        if not self._is_image_set:
            raise RuntimeError(NO_IMAGE)
        return self._predict(self._embeddings[-1], point_coords, point_labels, box, mask_input, multimask_output, return_logits, normalize_coords)

    def predict_batch(self, point_coords_batch: list[Any] | None = None, point_labels_batch: list[Any] | None = None, box_batch: list[Any] | None = None,
                      mask_input_batch: list[Any] | None = None, multimask_output: bool = True, return_logits: bool = False,
                      normalize_coords: bool = True) -> tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray]]:
        """`predict` for each image of the batch: three lists."""
        assert self._is_batch, "This function should only be used when in batched mode"
        if not self._is_image_set:
            raise RuntimeError("An image must be set with .set_image_batch(...) before mask prediction.")
        results = []
        for i, embedding in enumerate(self._embeddings):
            points, labels, box, hint = (None if batch is None else batch[i] for batch in (point_coords_batch, point_labels_batch, box_batch, mask_input_batch))
            results.append(self._predict(embedding, points, labels, box, hint, multimask_output, return_logits, normalize_coords))
        masks, scores, low = zip(*results, strict=True) if results else ((), (), ())
        return list(masks), list(scores), list(low)

    def get_image_embedding(self) -> Any:
        """(1, C, h, w) float32 tensor of the last image."""
        if not self._is_image_set:
            raise RuntimeError("An image must be set with .set_image(...) to generate an embedding.")
        return self._features["image_embed"]

    @property
    def device(self) -> Any:
        """The torch.device on which the model runs."""
        return self.model.device

    @property
    def _features(self) -> Any:
        if not self._is_image_set:
            return None

        def here(array: np.ndarray) -> Any:
            return tensor_of(array).to(self.device)

        high = [e.high_res_features[::-1] for e in self._embeddings]
        if len(self._embeddings) == 1:
            return {"image_embed": here(self._embeddings[0].features), "high_res_feats": [here(f) for f in high[0]]}
        return {"image_embed": here(np.concatenate([e.features for e in self._embeddings])),
                "high_res_feats": [here(np.concatenate(level)) for level in zip(*high, strict=True)]}

    @property
    def _orig_hw(self) -> list[tuple[int, int]] | None:
        return [e.image_size for e in self._embeddings] if self._is_image_set else None

    def reset_predictor(self) -> None:
        """Forgets the images."""
        self._is_image_set = self._is_batch = False
        self._embeddings = []

    def _predict(self, embedding: Embedding, points: Any, labels: Any, box: Any, hint: Any, multimask: bool, logits: bool, normalize: bool) -> Triple:
        height, width = embedding.image_size
        scale = np.ones(2) if normalize else np.array([width, height], float)
        if points is not None:
            assert labels is not None, "point_labels must be supplied if point_coords is supplied."
            points, labels = np.asarray(points, float) * scale, np.asarray(labels)
            if points.ndim == 2:
                points, labels = points[None], labels[None]
        boxes = None if box is None else (np.asarray(box, float).reshape(-1, 2, 2) * scale).reshape(-1, 4)
        hints = None if hint is None else np.asarray(hint, np.float32).reshape(-1, *np.shape(hint)[-2:])
        found = self.model.segmenter.predict(embedding, points=points, labels=labels, boxes=boxes, mask_hints=hints, multimask=multimask,
                                             mask_threshold=self.mask_threshold, max_hole_area=self._max_hole_area,
                                             max_sprinkle_area=self._max_sprinkle_area, anywhere=True)
        prompts = next(len(a) for a in (points, boxes, hints) if a is not None)
        pixels = self._logits(found, embedding) if logits else found.array.astype(np.float32)
        shaped = (a.reshape(prompts, len(found) // prompts, *a.shape[1:]) for a in (pixels, found.scores, np.clip(low_res_of(found), -32, 32)))
        return tuple(a[0] if prompts == 1 else a for a in shaped)  # type: ignore[return-value]

    def _logits(self, found: Masks, embedding: Embedding) -> np.ndarray:
        import torch

        if self._max_hole_area or self._max_sprinkle_area:
            raise NotImplementedError("return_logits together with max_hole_area or max_sprinkle_area")
        return torch.nn.functional.interpolate(tensor_of(low_res_of(found))[None], embedding.image_size, mode="bilinear", align_corners=False)[0].numpy()
