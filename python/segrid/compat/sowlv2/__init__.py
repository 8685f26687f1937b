"""SOWLv2's pipelines (github.com/bladeszasza/SOWLv2) and its command `sowlv2-detect`.

The folders and names are the original's: `sowlv2.optimizations.optimized_pipeline` is
`segrid.compat.sowlv2.optimizations.optimized_pipeline`. Users import the class
OptimizedSOWLv2Pipeline from segrid.compat.sowlv2.optimizations.
"""

from __future__ import annotations

from segrid.compat.sowlv2.data.config import PipelineBaseData, PipelineConfig
from segrid.compat.sowlv2.optimizations.optimized_pipeline import OptimizedSOWLv2Pipeline

SOWLv2Pipeline = OptimizedSOWLv2Pipeline

__all__ = ["OptimizedSOWLv2Pipeline", "PipelineBaseData", "PipelineConfig", "SOWLv2Pipeline"]
