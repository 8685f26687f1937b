"""SAM2ImagePredictor: set one image, or a batch of them, then give prompts."""

from __future__ import annotations

from typing import Any

import numpy as np

from segrid.compat.decoding import decode
from segrid.compat.modules import checked
from segrid.compat.sam2.build_sam import build_sam2_hf
from segrid.compat.sam2.modeling.sam2_base import SAM2Base
from segrid.compat.sam2.utils.transforms import SAM2Transforms
from segrid.compat.tensors import Seen, array_of, as_stored
from segrid.embedding import Embedding

NO_IMAGE = "An image must be set with .set_image(...) before mask prediction."
Triple = tuple[np.ndarray, np.ndarray, np.ndarray]


class SAM2ImagePredictor:
    """As sam2.SAM2ImagePredictor. It holds the current images; for many threads use
    `model.segmenter` and embeddings, which hold none.

    Programs that store embeddings may save `_features`, `_orig_hw`, `_is_image_set` and `_is_batch`
    and set them again. `_features` is {"image_embed": (B, C, h, w), "high_res_feats": [(B, C, 4h,
    4w), (B, C, 2h, 2w)]} of tensors or arrays; `_orig_hw` is [(H, W)] of the B images."""

    def __init__(
        self,
        sam_model: SAM2Base,
        mask_threshold: float = 0.0,
        max_hole_area: float = 0.0,
        max_sprinkle_area: float = 0.0,
        **kwargs: Any,
    ) -> None:
        self.model = sam_model
        self.mask_threshold = mask_threshold
        side = self.model.image_size
        self._transforms = SAM2Transforms(side, mask_threshold, max_hole_area, max_sprinkle_area)
        self._bb_feat_sizes = [(side // n,) * 2 for n in (4, 8, 16)]
        self.reset_predictor()

    @classmethod
    def from_pretrained(cls, model_id: str, **kwargs: Any) -> SAM2ImagePredictor:
        """Builds a predictor from a Hugging Face id. The arguments are those of `build_sam2` and of
        the constructor; each receives its own."""
        return cls(build_sam2_hf(model_id, **kwargs), **kwargs)

    @property
    def model(self) -> SAM2Base:
        """The model. Raises TypeError where it is set to a model that segrid did not build."""
        return self._model

    @model.setter
    def model(self, model: SAM2Base) -> None:
        builder = "segrid.compat.sam2.build_sam.build_sam2"
        self._model = checked(model, SAM2Base, type(self).__name__, builder)

    @property
    def device(self) -> Any:
        """The torch.device on which the model runs."""
        return self.model.device

    # ---- images

    def set_image(self, image: Any) -> None:
        """Encodes an image: an (H, W, 3) uint8 RGB array or a PIL image."""
        self.reset_predictor()
        if not isinstance(image, np.ndarray) and not hasattr(image, "getpixel"):
            raise NotImplementedError("Image format not supported")
        self._set([image])

    def set_image_batch(self, image_list: list[np.ndarray]) -> None:
        """Encodes images of any sizes: (H, W, 3) uint8 RGB arrays."""
        self.reset_predictor()
        assert isinstance(image_list, list)
        for image in image_list:
            assert isinstance(image, np.ndarray), (
                "Images are expected to be an np.ndarray in RGB format, and of shape  HWC"
            )
        self._set(image_list)
        self._is_batch = True

    def reset_predictor(self) -> None:
        """Forgets the images."""
        self._is_image_set = self._is_batch = False
        self._embeddings: list[Embedding] | None = None
        self._sizes: list[tuple[int, int]] | None = None
        # The features as torch tensors, made on first access.
        self._shown: Any = None
        # The tensors of `_shown` from which the embeddings were made.
        self._seen = Seen([])

    def get_image_embedding(self) -> Any:
        """Returns the features of the last image, a (1, C, h, w) float32 tensor."""
        if not self._is_image_set:
            raise RuntimeError(
                "An image must be set with .set_image(...) to generate an embedding."
            )
        return self._features["image_embed"]

    def _set(self, images: list[Any]) -> None:
        stored = [as_stored(image) for image in images]
        self._embeddings = self.model.segmenter.encode_batch(stored)
        self._sizes = [e.image_size for e in self._embeddings]
        self._is_image_set = True

    @property
    def _features(self) -> Any:
        if self._shown is None and self._embeddings:
            import torch

            def joined(level: int) -> Any:
                arrays = [(e.features, *e.high_res_features)[level] for e in self._embeddings or []]
                return torch.from_numpy(np.concatenate(arrays)).to(self.device)

            levels = len(self._embeddings[0].high_res_features)
            self._shown = {
                "image_embed": joined(0),
                "high_res_feats": [joined(i) for i in range(levels, 0, -1)],
            }
            self._seen = Seen(_levels(self._shown))
        return self._shown

    @_features.setter
    def _features(self, features: Any) -> None:
        self._shown, self._embeddings = features, None

    @property
    def _orig_hw(self) -> list[tuple[int, int]] | None:
        return self._sizes

    @_orig_hw.setter
    def _orig_hw(self, sizes: Any) -> None:
        self._shown, self._embeddings = self._features, None
        self._sizes = sizes

    def _embedding(self, index: int) -> Embedding:
        """Returns the embedding of the current features, even if the user has set or changed
        them."""
        segmenter = self.model.segmenter
        known = self._embeddings
        # The model has been replaced.
        if known and known[0].model_id != segmenter.model_id:
            known, self._shown = None, self._features
        levels = _levels(self._shown)
        if known is None or not self._seen.are(levels):
            known = self._embeddings = [
                Embedding.of(
                    segmenter,
                    size,
                    [array_of(level[i : i + 1]) for level in levels],
                )
                for i, size in enumerate(self._sizes or [])
            ]
            self._seen = Seen(levels)
        return known[index]

    # ---- prompts

    def predict(
        self,
        point_coords: Any = None,
        point_labels: Any = None,
        box: Any = None,
        mask_input: Any = None,
        multimask_output: bool = True,
        return_logits: bool = False,
        normalize_coords: bool = True,
    ) -> Triple:
        """Returns masks, float32 of 0 and 1 (logits with `return_logits`), scores float32, and
        low-res logits float32 within +-32: (C, H, W), (C,) and (C, h, w). For several prompts there
        is one more axis in front.

        The prompts are point_coords (N, 2) or (B, N, 2) x, y in image pixels (in 0..1 with
        normalize_coords=False), point_labels (N,) or (B, N), box (4,) or (B, 4) XYXY, and
        mask_input (1, h, w) or (B, 1, h, w)."""
        if not self._is_image_set:
            raise RuntimeError(NO_IMAGE)
        return self._answer(
            (point_coords, point_labels, box, mask_input),
            multimask_output,
            return_logits,
            normalize_coords,
            -1,
        )

    def predict_batch(
        self,
        point_coords_batch: list[Any] | None = None,
        point_labels_batch: list[Any] | None = None,
        box_batch: list[Any] | None = None,
        mask_input_batch: list[Any] | None = None,
        multimask_output: bool = True,
        return_logits: bool = False,
        normalize_coords: bool = True,
    ) -> tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray]]:
        """Calls `predict` for each image of the batch and returns three lists."""
        assert self._is_batch, "This function should only be used when in batched mode"
        if not self._is_image_set:
            raise RuntimeError(
                "An image must be set with .set_image_batch(...) before mask prediction."
            )
        given = (point_coords_batch, point_labels_batch, box_batch, mask_input_batch)
        results = [
            self._answer(
                tuple(None if each is None else each[i] for each in given),
                multimask_output,
                return_logits,
                normalize_coords,
                i,
            )
            for i in range(len(self._orig_hw or []))
        ]
        masks, scores, low = zip(*results, strict=True) if results else ((), (), ())
        return list(masks), list(scores), list(low)

    def _answer(
        self, prompts: tuple[Any, ...], multimask: bool, logits: bool, normalize: bool, index: int
    ) -> Triple:
        point_coords, point_labels, box, mask = prompts
        hint, coords, labels, boxes = self._prep_prompts(
            point_coords, point_labels, box, mask, normalize, index
        )
        found = self._predict(coords, labels, boxes, hint, multimask, logits, index)
        masks, scores, low = (t.squeeze(0).float().cpu().numpy() for t in found)
        return masks, scores, low

    def _prep_prompts(
        self,
        point_coords: Any,
        point_labels: Any,
        box: Any,
        mask_logits: Any,
        normalize_coords: bool,
        img_idx: int = -1,
    ) -> tuple[Any, Any, Any, Any]:
        """Returns tensors as `_predict` takes them: mask (B, 1, h, w), points (B, N, 2) in pixels
        of the model's square, labels (B, N), boxes (B, 2, 2) in the same pixels. An argument that
        is None stays None."""
        import torch

        size, here = (self._orig_hw or [])[img_idx], self.device
        mask = coords = labels = boxes = None
        if point_coords is not None:
            assert point_labels is not None, (
                "point_labels must be supplied if point_coords is supplied."
            )
            coords = self._transforms.transform_coords(
                torch.as_tensor(point_coords, dtype=torch.float, device=here),
                normalize_coords,
                size,
            )
            labels = torch.as_tensor(point_labels, dtype=torch.int, device=here)
            if coords.ndim == 2:
                coords, labels = coords[None], labels[None]
        if box is not None:
            boxes = self._transforms.transform_boxes(
                torch.as_tensor(box, dtype=torch.float, device=here), normalize_coords, size
            )
        if mask_logits is not None:
            mask = torch.as_tensor(mask_logits, dtype=torch.float, device=here)
            mask = mask[None] if mask.ndim == 3 else mask
        return mask, coords, labels, boxes

    def _predict(
        self,
        point_coords: Any,
        point_labels: Any,
        boxes: Any = None,
        mask_input: Any = None,
        multimask_output: bool = True,
        return_logits: bool = False,
        img_idx: int = -1,
    ) -> tuple[Any, Any, Any]:
        """Returns tensors: masks (B, C, H, W) bool, or logits with `return_logits`; scores (B, C);
        low-res logits (B, C, h, w) within +-32. Takes prompts as `_prep_prompts` returns them."""
        import torch

        if not self._is_image_set:
            raise RuntimeError(NO_IMAGE)
        embedding = self._embedding(img_idx)
        height, width = embedding.image_size
        scale = np.array([width, height]) / self._transforms.resolution
        points = None if point_coords is None else array_of(point_coords).astype(float) * scale
        corners = None if boxes is None else array_of(boxes).reshape(-1, 2, 2).astype(float) * scale
        hints = None if mask_input is None else array_of(mask_input)[:, 0]
        count = max((len(a) for a in (points, corners, hints) if a is not None), default=1)
        # One mask applies to all prompts.
        if hints is not None and len(hints) == 1 < count:
            hints = np.repeat(hints, count, axis=0)
        found = decode(
            self.model.segmenter,
            embedding,
            points=points,
            labels=None if point_labels is None else array_of(point_labels),
            boxes=None if corners is None else corners.reshape(-1, 4),
            mask_hints=hints,
            multimask=multimask_output,
            mask_threshold=float(self.mask_threshold),
            **self._areas(),  # type: ignore[arg-type]
        )

        def shaped(array: np.ndarray) -> Any:
            return torch.tensor(array).unflatten(0, (count, -1))

        low = shaped(found.low_res)
        masks = (
            self._transforms.postprocess_masks(low, embedding.image_size)
            if return_logits
            else shaped(found.array)
        )
        return tuple(
            t.to(self.device)  # type: ignore[return-value]
            for t in (masks, shaped(found.scores), low.clamp(-32, 32))
        )

    def _areas(self) -> dict[str, int]:
        """Returns the largest holes and specks that are filled and removed, in low-res pixels."""
        return {
            name: max(0, int(getattr(self._transforms, name)))
            for name in ("max_hole_area", "max_sprinkle_area")
        }


def _levels(features: Any) -> list[Any]:
    """Returns the features' tensors, coarsest first."""
    return (
        [] if features is None else [features["image_embed"], *reversed(features["high_res_feats"])]
    )
