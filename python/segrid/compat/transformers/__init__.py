"""transformers' pipelines for segrid's models: `from segrid.compat.transformers import pipeline`.

Every other name comes from transformers, if it is installed, so that `from
segrid.compat.transformers import pipeline, SamModel, AutoProcessor` works in one line.
"""

from __future__ import annotations

from typing import Any

from segrid.compat.transformers.mask_generation import MaskGenerationPipeline
from segrid.compat.transformers.object_detection import ZeroShotObjectDetectionPipeline
from segrid.compat.transformers.originals import original
from segrid.compat.transformers.pipelines import pipeline

__all__ = ["MaskGenerationPipeline", "ZeroShotObjectDetectionPipeline", "pipeline"]


def __getattr__(name: str) -> Any:
    """Returns transformers' own name. If transformers is not installed, raises ImportError naming
    it."""
    return original(name)
