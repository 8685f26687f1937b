"""`from segrid.compat.sowlv2.pipeline import SOWLv2Pipeline`."""

from segrid.compat.sowlv2.optimizations.optimized_pipeline import (
    OptimizedSOWLv2Pipeline as SOWLv2Pipeline,
)

__all__ = ["SOWLv2Pipeline"]
