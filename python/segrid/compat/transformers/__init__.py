"""transformers' pipelines for segrid's models: `from segrid.compat.transformers import pipeline`.

Every other name comes from transformers, where it is installed: `from segrid.compat.transformers
import pipeline, SamModel, AutoProcessor` works in one line.
"""

from __future__ import annotations

from typing import Any

from segrid.compat.transformers.mask_generation import MaskGenerationPipeline
from segrid.compat.transformers.object_detection import ZeroShotObjectDetectionPipeline
from segrid.compat.transformers.originals import original
from segrid.compat.transformers.pipelines import pipeline

__all__ = ["MaskGenerationPipeline", "ZeroShotObjectDetectionPipeline", "pipeline"]


def __getattr__(name: str) -> Any:
    """transformers' own. Raises ImportError that names it where transformers is not installed."""
    return original(name)
