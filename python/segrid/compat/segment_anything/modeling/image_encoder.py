"""The image encoder of a Sam, which can be called alone: `sam.image_encoder(sam.preprocess(x))`."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from segrid.compat.missing_names import not_offered
from segrid.compat.parts import Part
from segrid.compat.tensors import array_of, tensor_of

if TYPE_CHECKING:
    from segrid.compat.segment_anything.modeling.sam import Sam

PUBLISHED_SIDE = 1024


class ImageEncoder(Part):
    """The image encoder of any family, on the engine."""

    def __init__(self, sam: Sam) -> None:
        super().__init__(sam, "image_encoder.")
        self._sam = sam

    @property
    def img_size(self) -> int:
        """The side, in pixels, of the square that images are resized into."""
        return self._sam.segmenter.side if self._sam.has_weights else PUBLISHED_SIDE

    @property
    def neck(self) -> Any:
        """What programs read of the last layers: `neck[2].out_channels`, the channels of the
        features."""
        last = SimpleNamespace(out_channels=self._sam.prompt_encoder.embed_dim)
        return last, SimpleNamespace(), last, SimpleNamespace()

    @property
    def patch_embed(self) -> Any:
        """What programs read of the first layer: `patch_embed.proj.in_channels`."""
        return SimpleNamespace(proj=SimpleNamespace(in_channels=3))

    def forward(self, x: Any) -> Any:
        """Encodes a (B, 3, S, S) float tensor that is normalised and padded (by `Sam.preprocess`,
        or in any other way, as MedSAM does). Returns features (B, C, h, w), float32 on the model's
        device."""
        import torch

        if x.ndim != 4 or x.shape[1] != 3 or tuple(x.shape[2:]) != (self.img_size,) * 2:
            raise RuntimeError(
                f"image_encoder: expected (B, 3, {self.img_size}, {self.img_size}), "
                f"got {tuple(x.shape)}"
            )
        sam = self._sam
        # The engine normalises by itself, so the normalisation is undone here.
        pixels = x.to(sam.device).float() * sam.pixel_std + sam.pixel_mean
        encoded = [
            sam.segmenter.encode_resized(p, (self.img_size, self.img_size))
            for p in array_of(pixels.permute(0, 2, 3, 1))
        ]
        return torch.cat([tensor_of(e.features) for e in encoded]).to(sam.device)


class ImageEncoderViT(ImageEncoder):
    """As segment_anything.modeling.ImageEncoderViT."""


class TinyViT(ImageEncoder):
    """As mobile_sam.modeling.TinyViT."""


__getattr__ = not_offered(
    __name__,
    "segrid's engine has the layers; build such modules from segment_anything's own classes",
    "Attention",
    "Block",
    "PatchEmbed",
    "add_decomposed_rel_pos",
    "get_rel_pos",
    "window_partition",
    "window_unpartition",
)
