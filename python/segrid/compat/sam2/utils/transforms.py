"""SAM2Transforms: maps images and coordinates to the model's square, and masks back."""

from __future__ import annotations

from typing import Any

import numpy as np

from segrid.compat.sam2.utils.misc import get_connected_components


class SAM2Transforms:
    """As sam2.utils.transforms.SAM2Transforms, with torch's functions instead of torchvision's.

    resolution : side of the model's square, in pixels
    mask_threshold : logits above it belong to the mask
    max_hole_area, max_sprinkle_area : holes and specks of at most this many low-res pixels are
        filled and removed (0: off). sam2 needs its CUDA extension for that; without it, it warns
        and leaves them. segrid does it on every device
    """

    mean = (0.485, 0.456, 0.406)
    std = (0.229, 0.224, 0.225)

    def __init__(
        self,
        resolution: int,
        mask_threshold: float,
        max_hole_area: float = 0.0,
        max_sprinkle_area: float = 0.0,
    ) -> None:
        self.resolution = resolution
        self.mask_threshold = mask_threshold
        self.max_hole_area = max_hole_area
        self.max_sprinkle_area = max_sprinkle_area

    def __call__(self, x: Any) -> Any:
        """Resizes (bilinear, antialiased) and normalises a PIL image or an (H, W, 3) array (uint8
        0..255 or floats 0..1). Returns (3, resolution, resolution) float32."""
        return self.transforms(self.to_tensor(x))

    def to_tensor(self, image: Any) -> Any:
        """Converts an image to a (C, H, W) float32 tensor; uint8 becomes 0..1."""
        import torch

        array = np.array(image)
        tensor = torch.from_numpy(array if array.ndim == 3 else array[:, :, None]).permute(2, 0, 1)
        is_bytes = tensor.dtype == torch.uint8
        return (tensor.to(torch.float32) / 255 if is_bytes else tensor).contiguous()

    def transforms(self, tensor: Any) -> Any:
        """Resizes and normalises a (C, H, W) tensor."""
        import torch

        mean, std = (
            torch.tensor(v, dtype=tensor.dtype, device=tensor.device)[:, None, None]
            for v in (self.mean, self.std)
        )
        size = (self.resolution, self.resolution)
        resized = torch.nn.functional.interpolate(
            tensor[None], size, mode="bilinear", align_corners=False, antialias=True
        )[0]
        return (resized - mean) / std

    def forward_batch(self, img_list: list[Any]) -> Any:
        """Returns (B, 3, resolution, resolution) for B images."""
        import torch

        return torch.stack([self(image) for image in img_list])

    def transform_coords(
        self, coords: Any, normalize: bool = False, orig_hw: tuple[int, int] | None = None
    ) -> Any:
        """Maps (..., 2) x, y to pixels of the model's square. They are in 0..1, or with `normalize`
        in pixels of an image of size orig_hw (height, width)."""
        if normalize:
            assert orig_hw is not None
            coords = coords / coords.new_tensor([orig_hw[1], orig_hw[0]])
        return coords * self.resolution

    def transform_boxes(
        self, boxes: Any, normalize: bool = False, orig_hw: tuple[int, int] | None = None
    ) -> Any:
        """Returns the (B, 2, 2) corners of (B, 4) XYXY boxes, mapped as by `transform_coords`."""
        return self.transform_coords(boxes.reshape(-1, 2, 2), normalize, orig_hw)

    def postprocess_masks(self, masks: Any, orig_hw: tuple[int, int]) -> Any:
        """Resizes (B, C, h, w) low-res logits to (B, C, H, W) of the image, after small holes are
        filled and small specks are removed."""
        import torch

        masks = masks.float()
        low = masks.flatten(0, 1)[:, None]
        for most, region, value in (
            (self.max_hole_area, low <= self.mask_threshold, self.mask_threshold + 10.0),
            (self.max_sprinkle_area, low > self.mask_threshold, self.mask_threshold - 10.0),
        ):
            if most > 0:
                labels, areas = get_connected_components(region)
                small = ((labels > 0) & (areas <= most)).reshape_as(masks)
                masks = torch.where(small, value, masks)
        return torch.nn.functional.interpolate(masks, orig_hw, mode="bilinear", align_corners=False)

    def to(self, *_: Any, **__: Any) -> SAM2Transforms:
        """Returns itself, because it holds no tensors."""
        return self
