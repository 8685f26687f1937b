"""SamPredictor, the same as segment_anything's."""

from segrid.compat.segment_anything.predictor import SamPredictor

__all__ = ["SamPredictor"]
