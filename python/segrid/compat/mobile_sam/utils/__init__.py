"""mobile_sam's `utils`: `amg` and `transforms`, segment_anything's."""
