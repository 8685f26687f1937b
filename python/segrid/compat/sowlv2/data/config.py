"""The configuration of a pipeline."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class PipelineConfig:
    """Selects the outputs: those merged over all objects, pictures of binary masks, pictures of
    overlays. The videos of masks and overlays are always made."""

    merged: bool = True
    binary: bool = True
    overlay: bool = True


@dataclass
class PipelineBaseData:
    """Models, detection threshold, frames per second of videos, and device.

    Models are Hugging Face ids, folders or packaged names. compile_models is accepted and has no
    effect, because nothing is compiled at run time."""

    owl_model: str = "google/owlv2-base-patch16-ensemble"
    sam_model: str = "facebook/sam2.1-hiera-small"
    threshold: float = 0.1
    fps: int = 24
    device: str = "cpu"
    pipeline_config: PipelineConfig = field(default_factory=PipelineConfig)
    compile_models: bool = True


@dataclass
class PropagatedFrameOutput:
    """A frame of a video and what was followed into it.

    current_pil_img : PIL image of (W, H) pixels
    frame_num : from 1
    sam_obj_ids_tensor, mask_logits_tensor : the objects' numbers; (N, 1, H, W) logits, or masks
    detection_details_map : [{"sam_id", "core_prompt", "color"}], of each object
    """

    current_pil_img: Any
    frame_num: int
    sam_obj_ids_tensor: Any
    mask_logits_tensor: Any
    detection_details_map: list[dict[str, Any]]
    output_dir: str
