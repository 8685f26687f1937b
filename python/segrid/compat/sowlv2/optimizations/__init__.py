"""As sowlv2.optimizations."""

from segrid.compat.sowlv2.optimizations.gpu_optimizations import GPUOptimizer, StreamedProcessing
from segrid.compat.sowlv2.optimizations.optimized_pipeline import OptimizedSOWLv2Pipeline
from segrid.compat.sowlv2.optimizations.parallel_processor import (
    BatchDetectionResult,
    ParallelConfig,
    ParallelDetectionProcessor,
    ParallelFrameProcessor,
    ParallelIOProcessor,
    ParallelSegmentationProcessor,
)
from segrid.compat.sowlv2.optimizations.vjepa2_optimization import (
    VJepa2VideoOptimizer,
    create_vjepa2_optimizer,
)

SOWLv2Pipeline = OptimizedSOWLv2Pipeline

__all__ = [
    "BatchDetectionResult",
    "GPUOptimizer",
    "OptimizedSOWLv2Pipeline",
    "ParallelConfig",
    "ParallelDetectionProcessor",
    "ParallelFrameProcessor",
    "ParallelIOProcessor",
    "ParallelSegmentationProcessor",
    "SOWLv2Pipeline",
    "StreamedProcessing",
    "VJepa2VideoOptimizer",
    "create_vjepa2_optimizer",
]
