"""Masks, overlays and colours of SOWLv2's outputs."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import numpy as np

from segrid.compat.sowlv2.data.config import PipelineConfig
from segrid.compat.sowlv2.utils.path_config import FilePattern

CUDA = "cuda"
CPU = "cpu"
# Prompts get these colours in the order in which they are first found.
DEFAULT_PALETTE = [
    (255, 0, 0),
    (0, 255, 0),
    (0, 0, 255),
    (255, 255, 0),
    (0, 255, 255),
    (255, 0, 255),
    (128, 0, 0),
    (0, 128, 0),
    (0, 0, 128),
    (128, 128, 0),
    (0, 128, 128),
    (128, 0, 128),
    (255, 128, 0),
    (255, 0, 128),
    (0, 255, 128),
    (128, 255, 0),
    (0, 128, 255),
    (128, 0, 255),
    (192, 192, 192),
    (255, 215, 0),
    (138, 43, 226),
    (75, 0, 130),
    (240, 128, 128),
    (32, 178, 170),
]
Colour = tuple[int, int, int]


def prompt_list(prompt: str | Iterable[str]) -> list[str]:
    """Returns the prompts as a list; a text is one prompt."""
    return [prompt] if isinstance(prompt, str) else list(prompt)


def validate_mask(mask: Any) -> np.ndarray | None:
    """Converts a mask of any kind to (H, W) uint8. Other types become 0 and 255 (for values above
    0), and axes of length 1 are removed. Returns None for None and for anything that is not an
    array."""
    if mask is None:
        return None
    try:
        array = np.asarray(mask)
    except (TypeError, ValueError):
        return None
    if array.ndim > 2:
        array = array.squeeze()
    return array if array.dtype == np.uint8 else (array > 0).astype(np.uint8) * 255


def blended(pixels: np.ndarray, mask: np.ndarray, colour: Colour) -> np.ndarray:
    """Returns a copy of (H, W, 3) uint8 pixels, blended half and half with the colour where the
    mask is above 0."""
    out, inside = pixels.copy(), mask > 0
    out[inside] = (0.5 * out[inside] + 0.5 * np.array(colour, np.uint8)).astype(np.uint8)
    return out


def create_overlay(pil_image: Any, bool_mask_np: Any, color: Colour) -> Any:
    """Returns a PIL image (RGB), blended half and half with the colour where the mask is. Raises
    ValueError without a mask."""
    from PIL import Image

    mask = validate_mask(bool_mask_np)
    if mask is None:
        raise ValueError(f"create_overlay: needs a mask of shape (H, W), got {bool_mask_np!r}")
    return Image.fromarray(blended(np.asarray(pil_image.convert("RGB")), mask, color))


def create_merged_binary_mask(
    items: list[np.ndarray], output_dir: str, base_name: str, pipeline_config: PipelineConfig
) -> None:
    """Writes the union of the masks as {base_name}_merged_mask.png (0 and 255) into `output_dir`.
    Writes nothing without masks, or if the configuration leaves binary masks out."""
    from PIL import Image

    if pipeline_config.binary and items:
        merged = np.logical_or.reduce([np.asarray(validate_mask(m)) > 0 for m in items])
        _save(
            Image.fromarray(merged.astype(np.uint8) * 255),
            output_dir,
            FilePattern.MERGED_MASK.format(frame_num=base_name),
            "binary mask",
        )


def create_merged_overlay(
    original_pil_image: Any,
    items: list[tuple[np.ndarray, Colour]],
    output_dir: str,
    base_name: str,
    pipeline_config: PipelineConfig,
) -> None:
    """Writes all masks in their colours over the image as {base_name}_merged_overlay.png into
    `output_dir`. Writes nothing without masks, or if the configuration leaves overlays out."""
    if pipeline_config.overlay and items:
        merged = original_pil_image
        for mask, colour in items:
            merged = create_overlay(merged, mask, colour)
        _save(merged, output_dir, FilePattern.MERGED_OVERLAY.format(frame_num=base_name), "overlay")


def get_prompt_color(
    core_prompt: str,
    prompt_color_map: dict[str, Colour],
    palette: list[Colour],
    next_color_idx: int,
) -> tuple[Colour, int]:
    """Returns (the prompt's colour, index of the next colour). The colour of a new prompt is added
    to the map."""
    if core_prompt in prompt_color_map:
        return prompt_color_map[core_prompt], next_color_idx
    colour = prompt_color_map[core_prompt] = palette[next_color_idx % len(palette)]
    return colour, next_color_idx + 1


def _save(image: Any, folder: str, name: str, what: str) -> None:
    path = os.path.join(folder, name)
    try:
        os.makedirs(folder, exist_ok=True)
        image.save(path)
        print(f"Saved merged {what}: {path}")
    except OSError as error:  # the original prints this too
        print(f"Error saving merged {what}: {error}")
