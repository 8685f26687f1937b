"""SamPredictor: one image set, then prompts."""

from __future__ import annotations

from typing import Any

import numpy as np

from segrid.compat.segment_anything.build_sam import Sam
from segrid.compat.segment_anything.utils.transforms import ResizeLongestSide
from segrid.compat.tensors import low_res_of, tensor_of
from segrid.embedding import Embedding
from segrid.results import Masks

NO_IMAGE = "An image must be set with .set_image(...) before mask prediction."


class SamPredictor:
    """As segment_anything.SamPredictor. Holds the current image; for many threads use `model.segmenter` and embeddings, which hold none."""

    def __init__(self, sam_model: Sam) -> None:
        self.model = sam_model
        self.transform = ResizeLongestSide(sam_model.image_encoder.img_size)
        self.reset_image()

    def set_image(self, image: np.ndarray, image_format: str = "RGB") -> None:
        """image : (H, W, 3) uint8 in `image_format`, "RGB" or "BGR"."""
        assert image_format in ["RGB", "BGR"], f"image_format must be in ['RGB', 'BGR'], is {image_format}."
        if image_format != self.model.image_format:
            image = image[..., ::-1]
        self.reset_image()
        self._set(self.model.segmenter.encode(image))

    def set_torch_image(self, transformed_image: Any, original_image_size: tuple[int, ...]) -> None:
        """transformed_image : (1, 3, h, w) tensor, resized by `transform`, values 0..255; original_image_size : (H, W).

        ValueError where the size is not what `transform.apply_image` gives such an image (segment_anything's apply_image_torch gives another, and its
        masks are then stretched)."""
        side = self.model.image_encoder.img_size
        assert len(transformed_image.shape) == 4 and transformed_image.shape[1] == 3 and max(*transformed_image.shape[2:]) == side, \
            f"set_torch_image input must be BCHW with long side {side}."
        self.reset_image()
        pixels = _array(transformed_image[0].permute(1, 2, 0))
        self._set(self.model.segmenter.encode_resized(pixels, (int(original_image_size[0]), int(original_image_size[1]))))

    def predict(self, point_coords: np.ndarray | None = None, point_labels: np.ndarray | None = None, box: np.ndarray | None = None,
                mask_input: np.ndarray | None = None, multimask_output: bool = True, return_logits: bool = False,
                ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """masks (C, H, W) bool (float32 logits with `return_logits`), scores (C,) float32, low-res logits (C, h, w) float32.

        point_coords (N, 2) x, y and point_labels (N,), box (4,) XYXY, mask_input (1, h, w)."""
        if not self.is_image_set:
            raise RuntimeError(NO_IMAGE)
        if point_coords is not None:
            assert point_labels is not None, "point_labels must be supplied if point_coords is supplied."
            point_coords, point_labels = np.asarray(point_coords)[None], np.asarray(point_labels)[None]
        found = self._ask(point_coords, point_labels, None if box is None else np.asarray(box).reshape(1, 4),
                          None if mask_input is None else np.asarray(mask_input), multimask_output)
        return (self._logits(found) if return_logits else found.array), found.scores, low_res_of(found)

    def predict_torch(self, point_coords: Any, point_labels: Any, boxes: Any = None, mask_input: Any = None, multimask_output: bool = True,
                      return_logits: bool = False) -> tuple[Any, Any, Any]:
        """As `predict` for B prompts at once, all in the model's frame (see `transform`): point_coords (B, N, 2), point_labels (B, N), boxes (B, 4),
        mask_input (B, 1, h, w). Returns tensors (B, C, H, W), (B, C), (B, C, h, w) on `device`; on the CPU they share the engine's memory."""
        if not self.is_image_set:
            raise RuntimeError(NO_IMAGE)
        scale = self.transform._scale(self.original_size)
        points = None if point_coords is None else _array(point_coords) / scale
        corners = None if boxes is None else (_array(boxes).reshape(-1, 2, 2) / scale).reshape(-1, 4)
        labels = None if point_labels is None else _array(point_labels)
        found = self._ask(points, labels, corners, None if mask_input is None else _array(mask_input)[:, 0], multimask_output)
        each = len(found) // (len(points) if points is not None else len(corners) if corners is not None else len(mask_input))
        pixels = self._logits(found) if return_logits else found.array
        return tuple(tensor_of(a.reshape(-1, each, *a.shape[1:])).to(self.device) for a in (pixels, found.scores, low_res_of(found)))  # type: ignore[return-value]

    def get_image_embedding(self) -> Any:
        """(1, C, h, w) float32 tensor."""
        if not self.is_image_set:
            raise RuntimeError("An image must be set with .set_image(...) to generate an embedding.")
        return self.features

    @property
    def device(self) -> Any:
        """The torch.device on which the model runs."""
        return self.model.device

    @property
    def features(self) -> Any:
        """The embedding as a tensor, or None."""
        return None if self._embedding is None else tensor_of(self._embedding.features).to(self.device)

    def reset_image(self) -> None:
        """Forgets the image."""
        self.is_image_set = False
        self._embedding: Embedding | None = None
        self.original_size: Any = None
        self.input_size: Any = None

    def _set(self, embedding: Embedding) -> None:
        self._embedding = embedding
        self.original_size = embedding.image_size
        self.input_size = self.transform.get_preprocess_shape(*embedding.image_size, self.transform.target_length)
        self.is_image_set = True

    def _ask(self, points: Any, labels: Any, boxes: Any, hints: Any, multimask: bool) -> Masks:
        assert self._embedding is not None
        return self.model.segmenter.predict(self._embedding, points=points, labels=labels, boxes=boxes,
                                            mask_hints=None if hints is None else hints.astype(np.float32), multimask=multimask, anywhere=True)

    def _logits(self, found: Masks) -> np.ndarray:
        """Full-size logits: low-res to the model's square, cut, to the image."""
        import torch

        side, resize = self.transform.target_length, torch.nn.functional.interpolate
        square = resize(tensor_of(low_res_of(found))[None], (side, side), mode="bilinear", align_corners=False)
        cut = square[..., : self.input_size[0], : self.input_size[1]]
        return resize(cut, tuple(self.original_size), mode="bilinear", align_corners=False)[0].numpy()


def _array(tensor: Any) -> np.ndarray:
    return np.asarray(tensor.detach().cpu() if hasattr(tensor, "detach") else tensor)
