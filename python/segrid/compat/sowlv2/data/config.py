"""The configuration of a pipeline."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class PipelineConfig:
    """Selects the outputs: those merged over all objects, binary masks, overlays."""

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
