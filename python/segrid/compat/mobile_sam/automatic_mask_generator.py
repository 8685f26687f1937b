"""SamAutomaticMaskGenerator, the same as segment_anything's."""

from segrid.compat.segment_anything.automatic_mask_generator import SamAutomaticMaskGenerator

__all__ = ["SamAutomaticMaskGenerator"]
