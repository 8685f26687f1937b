"""transformers' pipelines for segrid's models: `from segrid.compat.transformers import pipeline`;
and its sessions of videos: `Sam2VideoModel`, `Sam2VideoProcessor`.

Every other name comes from transformers, if it is installed, so that `from
segrid.compat.transformers import pipeline, SamModel, AutoProcessor` works in one line.
"""

from __future__ import annotations

from typing import Any

from segrid.compat.transformers.mask_generation import MaskGenerationPipeline
from segrid.compat.transformers.object_detection import ZeroShotObjectDetectionPipeline
from segrid.compat.transformers.originals import original
from segrid.compat.transformers.pipelines import pipeline
from segrid.compat.transformers.video_model import Sam2VideoModel
from segrid.compat.transformers.video_processor import Sam2VideoProcessor
from segrid.compat.transformers.video_session import Sam2VideoInferenceSession

__all__ = [
    "MaskGenerationPipeline",
    "Sam2VideoInferenceSession",
    "Sam2VideoModel",
    "Sam2VideoProcessor",
    "ZeroShotObjectDetectionPipeline",
    "pipeline",
]


def __getattr__(name: str) -> Any:
    """Returns transformers' own name. If transformers is not installed, raises ImportError naming
    it."""
    return original(name)
