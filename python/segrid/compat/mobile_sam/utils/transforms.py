"""ResizeLongestSide, the same as segment_anything's."""

from segrid.compat.segment_anything.utils.transforms import ResizeLongestSide

__all__ = ["ResizeLongestSide"]
