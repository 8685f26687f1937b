"""segment_anything.utils.transforms: maps coordinates and images to the model's frame, whose long
side is `target_length`."""

from __future__ import annotations

from typing import Any

import numpy as np


class ResizeLongestSide:
    """As segment_anything's, for arrays and for torch tensors."""

    def __init__(self, target_length: int) -> None:
        self.target_length = target_length

    def apply_image(self, image: np.ndarray) -> np.ndarray:
        """Resizes an (H, W, 3) uint8 image as Pillow's BILINEAR does."""
        from PIL import Image

        oldh, oldw = image.shape[:2]
        height, width = self.get_preprocess_shape(oldh, oldw, self.target_length)
        return np.array(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))

    def apply_coords(self, coords: np.ndarray, original_size: tuple[int, ...]) -> np.ndarray:
        """Maps (..., 2) x, y from image pixels to the model's frame."""
        out = np.array(coords, dtype=float)
        return out * self.scale(original_size)

    def apply_boxes(self, boxes: np.ndarray, original_size: tuple[int, ...]) -> np.ndarray:
        """(B, 4) XYXY."""
        return self.apply_coords(np.asarray(boxes).reshape(-1, 2, 2), original_size).reshape(-1, 4)

    def apply_image_torch(self, image: Any) -> Any:
        """Resizes a (B, C, H, W) float tensor. As in segment_anything, the size is read from the
        first two axes."""
        import torch

        target = self.get_preprocess_shape(image.shape[0], image.shape[1], self.target_length)
        return torch.nn.functional.interpolate(
            image, target, mode="bilinear", align_corners=False, antialias=True
        )

    def apply_coords_torch(self, coords: Any, original_size: tuple[int, ...]) -> Any:
        """(..., 2) tensor."""
        import torch

        scale = torch.tensor(self.scale(original_size), dtype=torch.float, device=coords.device)
        return coords.to(torch.float) * scale

    def apply_boxes_torch(self, boxes: Any, original_size: tuple[int, ...]) -> Any:
        """(B, 4) tensor."""
        return self.apply_coords_torch(boxes.reshape(-1, 2, 2), original_size).reshape(-1, 4)

    def scale(self, original_size: tuple[int, ...]) -> np.ndarray:
        """Returns (2,) x, y: the pixels of the model's frame per pixel of the image."""
        oldh, oldw = original_size
        height, width = self.get_preprocess_shape(oldh, oldw, self.target_length)
        return np.array([width / oldw, height / oldh])

    @staticmethod
    def get_preprocess_shape(oldh: int, oldw: int, long_side_length: int) -> tuple[int, int]:
        """Returns (H, W) with the long side equal to `long_side_length`."""
        scale = long_side_length * 1.0 / max(oldh, oldw)
        return int(oldh * scale + 0.5), int(oldw * scale + 0.5)
