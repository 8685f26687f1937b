"""SAM2Base: the model, with the attributes and methods that inference scripts use."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from segrid.compat.mask_overlap import without_overlap
from segrid.compat.modules import LoadedKeys, Model
from segrid.compat.parts import Part
from segrid.compat.sam2.settings import DECODER, setting_of, with_settings
from segrid.segmenter import Segmenter

NO_OBJ_SCORE = -1024.0  # the logit where an object is not in the frame
PUBLISHED_SIDE = 1024  # the side of the square that images are resized into


class ImageEncoder(Part):
    """`model.image_encoder`, which cannot be called alone."""


class PromptEncoder(Part):
    """`model.sam_prompt_encoder`, which cannot be called alone."""


class MaskDecoder(Part):
    """`model.sam_mask_decoder`, which cannot be called alone. Its settings may be changed:
    dynamic_multimask_via_stability (single masks that are not stable are replaced by the best of
    three), dynamic_multimask_stability_delta and dynamic_multimask_stability_thresh."""

    _model: SAM2Base

    def __getattr__(self, name: str) -> Any:
        if name in DECODER:
            return self._model._setting(name)
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    def __setattr__(self, name: str, value: Any) -> None:
        if name in DECODER:
            self._model._change({name: DECODER[name](value)})
        else:
            super().__setattr__(name, value)


class SAM2Base(Model):
    """The result of `build_sam2`: a model, or an empty one that gets its weights by
    `load_state_dict`. `settings` are the settings of the mask decoder that differ from the model's
    own."""

    directly_add_no_mem_embed = True
    use_high_res_features_in_sam = True

    def __init__(
        self,
        segmenter: Segmenter | None = None,
        device: str = "cpu",
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        self._settings = dict(settings or {})
        super().__init__(segmenter and with_settings(segmenter, self._settings), device)
        self.image_encoder = ImageEncoder(self, "vision_encoder.")
        self.sam_prompt_encoder = PromptEncoder(self, "prompt_encoder.")
        self.sam_mask_decoder = MaskDecoder(self, "mask_decoder.")

    @property
    def image_size(self) -> int:
        """The side, in pixels, of the square that images are resized into."""
        return PUBLISHED_SIDE if self._segmenter is None else self._segmenter.side

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> LoadedKeys:
        """Loads weights by sam2's names, as in `torch.load(path)["model"]`. Raises RuntimeError for
        names or shapes that do not fit, and NotImplementedError for another architecture."""
        keys = super().load_state_dict(state_dict, strict, assign)
        self._change({})
        return keys

    def _apply_non_overlapping_constraints(self, pred_masks: Any) -> Any:
        """Lowers (N, 1, H, W) logits of N objects to at most -10 where another object's is higher;
        sam2's tools/vos_inference.py calls it."""
        return without_overlap(pred_masks)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(
            f"{type(self).__name__} has no attribute {name!r}: sam2's layers and inner steps are "
            "inside segrid's engine. Weights are in state_dict(); features of an image in "
            "SAM2ImagePredictor._features, and of a video's frame in "
            'inference_state["session"].embedding(frame).features'
        )

    def _setting(self, name: str) -> Any:
        """Returns the current value of a setting of the mask decoder."""
        return setting_of(self.segmenter, name) if self._segmenter else self._settings.get(name)

    def _change(self, settings: Mapping[str, Any]) -> None:
        self._settings |= settings
        if self._segmenter is not None:
            self._segmenter = with_settings(self._segmenter, self._settings)
