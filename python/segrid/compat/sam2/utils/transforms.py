"""SAM2Transforms: between images and coordinates and the model's square of them."""

from __future__ import annotations

from typing import Any

import numpy as np

from segrid.compat.sam2.utils.misc import get_connected_components


class SAM2Transforms:
    """As sam2.utils.transforms.SAM2Transforms, with torch's functions instead of torchvision's.

    resolution : side of the model's square, pixels
    mask_threshold : logits above it are the mask
    max_hole_area, max_sprinkle_area : holes and specks of at most so many low-res pixels are filled
        and removed (0: off). sam2 needs its CUDA extension for that and else leaves them, with a
        warning; here they go on every device
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
        """(3, resolution, resolution) float32 of a PIL image or an (H, W, 3) array (uint8 0..255,
        floats 0..1): resized (bilinear, antialiased) and normalised."""
        return self.transforms(self.to_tensor(x))

    def to_tensor(self, image: Any) -> Any:
        """(C, H, W) float32 tensor; uint8 becomes 0..1."""
        import torch

        array = np.array(image)
        tensor = torch.from_numpy(array if array.ndim == 3 else array[:, :, None]).permute(2, 0, 1)
        is_bytes = tensor.dtype == torch.uint8
        return (tensor.to(torch.float32) / 255 if is_bytes else tensor).contiguous()

    def transforms(self, tensor: Any) -> Any:
        """A (C, H, W) tensor, resized and normalised."""
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
        """(B, 3, resolution, resolution) of B images."""
        import torch

        return torch.stack([self(image) for image in img_list])

    def transform_coords(
        self, coords: Any, normalize: bool = False, orig_hw: tuple[int, int] | None = None
    ) -> Any:
        """(..., 2) x, y in 0..1, or with `normalize` in pixels of an image of (height, width), to
        pixels of the model's square."""
        if normalize:
            assert orig_hw is not None
            coords = coords / coords.new_tensor([orig_hw[1], orig_hw[0]])
        return coords * self.resolution

    def transform_boxes(
        self, boxes: Any, normalize: bool = False, orig_hw: tuple[int, int] | None = None
    ) -> Any:
        """(B, 2, 2) corners of (B, 4) boxes XYXY, as `transform_coords`."""
        return self.transform_coords(boxes.reshape(-1, 2, 2), normalize, orig_hw)

    def postprocess_masks(self, masks: Any, orig_hw: tuple[int, int]) -> Any:
        """(B, C, h, w) low-res logits to (B, C, H, W) of the image, small holes filled and small
        specks removed."""
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
        """Itself: it holds no tensors."""
        return self
