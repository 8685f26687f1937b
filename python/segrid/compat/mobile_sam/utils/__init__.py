"""mobile_sam's `utils`: `amg` and `transforms`, the same as segment_anything's."""
