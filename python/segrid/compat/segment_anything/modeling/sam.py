"""Sam: a model, its parts, and the call for a batch of images with their prompts."""

from __future__ import annotations

from typing import Any

from segrid.compat.checkpoints import weights_of
from segrid.compat.modules import Model
from segrid.compat.segment_anything.modeling.image_encoder import (
    ImageEncoder,
    ImageEncoderViT,
    TinyViT,
)
from segrid.compat.segment_anything.modeling.mask_decoder import MaskDecoder
from segrid.compat.segment_anything.modeling.prompt_encoder import PromptEncoder
from segrid.segmenter import Segmenter


class Sam(Model):
    """As segment_anything.modeling.Sam, on the engine. For many threads use embeddings and
    `segmenter`, the model's segrid.Segmenter."""

    mask_threshold: float = 0.0
    image_format: str = "RGB"
    roots = ("image_encoder", "prompt_encoder", "mask_decoder", "pixel_mean", "pixel_std")

    def __init__(self, segmenter: Segmenter | None = None) -> None:
        super().__init__(segmenter)
        is_mobile = segmenter is not None and segmenter.family == "mobile_sam"
        self.image_encoder: ImageEncoder = TinyViT(self) if is_mobile else ImageEncoderViT(self)
        self.prompt_encoder = PromptEncoder(self)
        self.mask_decoder = MaskDecoder(self)

    @property
    def pixel_mean(self) -> Any:
        """(3, 1, 1) tensor that `preprocess` subtracts from R, G and B."""
        return self._column(123.675, 116.28, 103.53)

    @property
    def pixel_std(self) -> Any:
        """(3, 1, 1) tensor that `preprocess` then divides by."""
        return self._column(58.395, 57.12, 57.375)

    def _column(self, *values: float) -> Any:
        import torch

        return torch.tensor(values, device=self.device).view(3, 1, 1)

    def positional_matrix(self) -> Any:
        """(2, C / 2) tensor of the model's positional encoding, on the CPU."""
        ending = "positional_encoding_gaussian_matrix"
        return next(weights_of(self.segmenter, ending=ending))[1].float()

    def forward(
        self, batched_input: list[dict[str, Any]], multimask_output: bool
    ) -> list[dict[str, Any]]:
        """Returns a dict for each image: "masks" (B, C, H, W) bool, "iou_predictions" (B, C),
        "low_res_logits" (B, C, h, w).

        batched_input : dicts with "image" (3, h, w), resized by ResizeLongestSide; "original_size"
            (H, W); and prompts in the model's frame: "point_coords" (B, N, 2) with "point_labels"
            (B, N), "boxes" (B, 4), "mask_inputs" (B, 1, h, w)"""
        out = []
        for record in batched_input:
            points = None
            if "point_coords" in record:
                points = record["point_coords"], record["point_labels"]
            sparse, dense = self.prompt_encoder(
                points=points, boxes=record.get("boxes"), masks=record.get("mask_inputs")
            )
            low_res, scores = self.mask_decoder(
                image_embeddings=self.image_encoder(self.preprocess(record["image"])[None]),
                image_pe=self.prompt_encoder.get_dense_pe(),
                sparse_prompt_embeddings=sparse,
                dense_prompt_embeddings=dense,
                multimask_output=multimask_output,
            )
            masks = self.postprocess_masks(
                low_res, record["image"].shape[-2:], record["original_size"]
            )
            out.append(
                {
                    "masks": masks > self.mask_threshold,
                    "iou_predictions": scores,
                    "low_res_logits": low_res,
                }
            )
        return out

    def preprocess(self, x: Any) -> Any:
        """Normalises a (..., 3, h, w) tensor of 0..255 and pads it with 0 to the model's square."""
        import torch

        x = (x.to(self.device) - self.pixel_mean) / self.pixel_std
        side = self.image_encoder.img_size
        return torch.nn.functional.pad(x, (0, side - x.shape[-1], 0, side - x.shape[-2]))

    def postprocess_masks(
        self, masks: Any, input_size: tuple[int, ...], original_size: tuple[int, ...]
    ) -> Any:
        """Resizes low-res logits (B, C, h, w) to the model's square, cuts them to `input_size`, the
        part that holds the image, and resizes that to `original_size` (H, W)."""
        import torch

        def resize(logits: Any, size: tuple[int, ...]) -> Any:
            return torch.nn.functional.interpolate(
                logits, size, mode="bilinear", align_corners=False
            )

        side = self.image_encoder.img_size
        cut = resize(masks, (side, side))[..., : input_size[0], : input_size[1]]
        return resize(cut, tuple(int(n) for n in original_size))
