"""Sam: a model, its parts, and the call that takes a batch of images with their prompts."""

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
    """As segment_anything.modeling.Sam, on the engine. For many threads use `segmenter`, its
    segrid.Segmenter, and embeddings."""

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
        """(3, 1, 1) tensor: what `preprocess` takes from R, G and B."""
        return self._column(123.675, 116.28, 103.53)

    @property
    def pixel_std(self) -> Any:
        """(3, 1, 1) tensor: what `preprocess` divides by then."""
        return self._column(58.395, 57.12, 57.375)

    def _column(self, *values: float) -> Any:
        import torch

        return torch.tensor(values, device=self.device).view(3, 1, 1)

    def positional_matrix(self) -> Any:
        """(2, C / 2) tensor of its positional encoding, on the CPU."""
        ending = "positional_encoding_gaussian_matrix"
        return next(weights_of(self.segmenter, ending=ending))[1].float()

    def forward(
        self, batched_input: list[dict[str, Any]], multimask_output: bool
    ) -> list[dict[str, Any]]:
        """A dict for each image: "masks" (B, C, H, W) bool, "iou_predictions" (B, C),
        "low_res_logits" (B, C, h, w).

        batched_input : dicts with "image" (3, h, w), resized by ResizeLongestSide, "original_size"
        (H, W), and, in the model's frame, "point_coords" (B, N, 2) with "point_labels" (B, N),
        "boxes" (B, 4), "mask_inputs" (B, 1, h, w)
        """
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
        """(..., 3, h, w) tensor, 0..255, to the normalised one, padded with 0 to the square."""
        import torch

        x = (x.to(self.device) - self.pixel_mean) / self.pixel_std
        side = self.image_encoder.img_size
        return torch.nn.functional.pad(x, (0, side - x.shape[-1], 0, side - x.shape[-2]))

    def postprocess_masks(
        self, masks: Any, input_size: tuple[int, ...], original_size: tuple[int, ...]
    ) -> Any:
        """Low-res logits (B, C, h, w) at `original_size` (H, W): to the model's square, cut to
        `input_size`, where the image was, to the image."""
        import torch

        def resize(logits: Any, size: tuple[int, ...]) -> Any:
            return torch.nn.functional.interpolate(
                logits, size, mode="bilinear", align_corners=False
            )

        side = self.image_encoder.img_size
        cut = resize(masks, (side, side))[..., : input_size[0], : input_size[1]]
        return resize(cut, tuple(int(n) for n in original_size))
