"""SOWLv2's pipelines (github.com/bladeszasza/SOWLv2): `from segrid.compat.sowlv2.optimizations
import OptimizedSOWLv2Pipeline`, and `sowlv2-detect`.

Folders and names as in the original: `sowlv2.optimizations.optimized_pipeline` is
`segrid.compat.sowlv2.optimizations.optimized_pipeline`.
"""

from __future__ import annotations

from segrid.compat.sowlv2.data.config import PipelineBaseData, PipelineConfig
from segrid.compat.sowlv2.optimizations.optimized_pipeline import OptimizedSOWLv2Pipeline

SOWLv2Pipeline = OptimizedSOWLv2Pipeline

__all__ = ["OptimizedSOWLv2Pipeline", "PipelineBaseData", "PipelineConfig", "SOWLv2Pipeline"]
