"""Small and full-size models with seeded random weights, one module for each family.

`make(preset, folder)` writes a model folder; `sam.to_segment_anything`, `sam2.original` and
`mobile_sam.encoder` give the original implementation of the same weights."""

from tests.models import edgetam, mobile_sam, owlv2, sam, sam2

__all__ = ["edgetam", "mobile_sam", "owlv2", "sam", "sam2"]
