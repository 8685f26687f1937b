"""SamPredictor: set one image, then give prompts."""

from __future__ import annotations

from typing import Any

import numpy as np

from segrid.compat.modules import checked
from segrid.compat.segment_anything.modeling import Sam
from segrid.compat.segment_anything.utils.transforms import ResizeLongestSide
from segrid.compat.tensors import Seen, array_of, tensor_of
from segrid.embedding import Embedding

NO_IMAGE = "An image must be set with .set_image(...) before mask prediction."
# The prompt encoder's prompts: points with labels, boxes, masks.
Prompts = tuple[Any, Any, Any]


class SamPredictor:
    """As segment_anything.SamPredictor. It holds the current image; for many threads use
    `model.segmenter` and embeddings, which hold none.

    Programs that keep features may set `features`, `original_size`, `input_size` and
    `is_image_set`: a tensor or array (1, C, h, w) that this model made before, (H, W) of the image,
    (h, w) of the resized image, and True."""

    is_image_set: bool
    original_size: Any
    input_size: Any
    _embedding: Embedding | None
    _features: Any
    _given: Any
    _seen: Seen

    def __init__(self, sam_model: Sam) -> None:
        self.model = sam_model
        self.transform = ResizeLongestSide(self.model.image_encoder.img_size)
        self.reset_image()

    @property
    def model(self) -> Sam:
        """The model. Raises TypeError where it is set to a model that segrid did not build."""
        return self._model

    @model.setter
    def model(self, model: Sam) -> None:
        builder = "segrid.compat.segment_anything.sam_model_registry"
        self._model = checked(model, Sam, type(self).__name__, builder)

    def set_image(self, image: np.ndarray, image_format: str = "RGB") -> None:
        """Encodes an (H, W, 3) uint8 image in `image_format`, "RGB" or "BGR"."""
        assert image_format in ["RGB", "BGR"], (
            f"image_format must be in ['RGB', 'BGR'], is {image_format}."
        )
        if image_format != self.model.image_format:
            image = image[..., ::-1]
        self.reset_image()
        embedding = self.model.segmenter.encode(image)
        self._set(embedding, embedding.image_size, self._resized(embedding.image_size))

    def set_torch_image(self, transformed_image: Any, original_image_size: tuple[int, ...]) -> None:
        """Encodes a (1, 3, h, w) tensor with values 0..255 that was resized by `transform`.
        original_image_size is (H, W)."""
        side = self.model.image_encoder.img_size
        shape = tuple(transformed_image.shape)
        assert len(shape) == 4 and shape[1] == 3 and max(shape[2:]) == side, (
            f"set_torch_image input must be BCHW with long side {side}."
        )
        assert shape[0] == 1, f"set_torch_image: takes one image, got a batch of {shape[0]}."
        self.reset_image()
        pixels = array_of(transformed_image[0].permute(1, 2, 0))
        height, width = (int(n) for n in original_image_size)
        regular = shape[2:] == self._resized((height, width))
        size = (height, width) if regular else (shape[2], shape[3])
        self._set(self.model.segmenter.encode_resized(pixels, size), original_image_size, shape[2:])

    def predict(
        self,
        point_coords: np.ndarray | None = None,
        point_labels: np.ndarray | None = None,
        box: np.ndarray | None = None,
        mask_input: np.ndarray | None = None,
        multimask_output: bool = True,
        return_logits: bool = False,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Returns masks (C, H, W) bool (float32 logits with `return_logits`), scores (C,) float32,
        and low-res logits (C, h, w) float32.

        The prompts are point_coords (N, 2) x, y with point_labels (N,), box (4,) XYXY, all in image
        pixels, and mask_input (1, h, w). Raises RuntimeError for several boxes: use `predict_torch`
        for them."""
        if not self.is_image_set:
            raise RuntimeError(NO_IMAGE)
        points = corners = None
        if point_coords is not None:
            assert point_labels is not None, (
                "point_labels must be supplied if point_coords is supplied."
            )
            at = self.transform.apply_coords(array_of(point_coords), self.original_size)
            points = at[None], array_of(point_labels).astype(np.int64)[None]
        if box is not None:
            corners = self.transform.apply_boxes(array_of(box), self.original_size)[None]
        hint = None if mask_input is None else array_of(mask_input)[None]
        masks, scores, low_res = self._predict(
            (points, corners, hint), multimask_output, return_logits
        )
        return masks[0], scores[0], low_res[0]

    def predict_torch(
        self,
        point_coords: Any,
        point_labels: Any,
        boxes: Any = None,
        mask_input: Any = None,
        multimask_output: bool = True,
        return_logits: bool = False,
    ) -> tuple[Any, Any, Any]:
        """Does the same as `predict` for B prompts at once, all in the model's frame (see
        `transform`): point_coords (B, N, 2), point_labels (B, N), boxes (B, 4), mask_input (B, 1,
        h, w). Returns tensors (B, C, H, W), (B, C) and (B, C, h, w) on `device`."""
        if not self.is_image_set:
            raise RuntimeError(NO_IMAGE)
        points = None if point_coords is None else (point_coords, point_labels)
        masks, scores, low_res = (
            tensor_of(array).to(self.device)
            for array in self._predict((points, boxes, mask_input), multimask_output, return_logits)
        )
        return masks, scores, low_res

    def get_image_embedding(self) -> Any:
        """Returns the features, a (1, C, h, w) float32 tensor."""
        if not self.is_image_set:
            raise RuntimeError(
                "An image must be set with .set_image(...) to generate an embedding."
            )
        assert self.features is not None, "Features must exist if an image has been set."
        return self.features

    @property
    def device(self) -> Any:
        """The torch.device on which the model runs."""
        return self.model.device

    @property
    def features(self) -> Any:
        """(1, C, h, w) float32 tensor, or None. Writing into it changes later predictions."""
        if self._features is None and self._embedding is not None:
            self._features = tensor_of(self._embedding.features.copy()).to(self.device)
            self._given = self._features
            self._seen = Seen([self._given])
        return self._features

    @features.setter
    def features(self, value: Any) -> None:
        import torch

        self._features = None if value is None else torch.as_tensor(value)
        # This may be an array; the tensor then shares its memory.
        self._given = value
        self._embedding = None

    def reset_image(self) -> None:
        """Forgets the image."""
        self.is_image_set = False
        self.features = None
        self.original_size = self.input_size = None

    def _set(
        self, embedding: Embedding, original_size: tuple[int, ...], input_size: tuple[int, ...]
    ) -> None:
        self._embedding = embedding
        self.original_size, self.input_size = original_size, input_size
        self.is_image_set = True

    def _resized(self, size: tuple[int, ...]) -> tuple[int, int]:
        return self.transform.get_preprocess_shape(size[0], size[1], self.transform.target_length)

    def _encoded(self) -> tuple[Embedding, bool]:
        """Returns the image's embedding, and whether it is in image pixels. It is in the model's
        frame instead if the image was resized to another size than the engine's rule gives."""
        height, width = (int(n) for n in self.original_size)
        regular = tuple(int(n) for n in self.input_size) == self._resized((height, width))
        side = self.transform.target_length
        size = (height, width) if regular else (side, side)
        segmenter, known = self.model.segmenter, self._embedding
        if (
            known is None
            or known.image_size != size
            or known.model_id != segmenter.model_id  # other weights were loaded
            or (self._features is not None and not self._seen.are([self._given]))
        ):
            if self.features is None:
                raise RuntimeError(NO_IMAGE)
            self._seen = Seen([self._given])
            known = self._embedding = Embedding.of(segmenter, size, [array_of(self.features)])
        return known, regular

    def _predict(self, prompts: Prompts, multimask: bool, return_logits: bool) -> list[np.ndarray]:
        """Returns (B, C, H, W), (B, C) and (B, C, h, w) arrays, all copies that the user may
        change."""
        embedding, regular = self._encoded()
        sparse, dense = self.model.prompt_encoder(*prompts)
        scale = self.transform.scale(self.original_size) if regular else np.ones(2)
        found = self.model.mask_decoder.decode(embedding, sparse, dense, multimask, scale=scale)
        low_res = found.low_res
        if regular and not return_logits:
            pixels = found.array
        else:
            pixels = self.model.postprocess_masks(
                tensor_of(low_res)[None], self.input_size, self.original_size
            )[0].numpy()
            pixels = pixels if return_logits else pixels > self.model.mask_threshold
        return [
            array.reshape(sparse.shape[0], -1, *array.shape[1:])
            for array in (pixels, found.scores, low_res)
        ]
