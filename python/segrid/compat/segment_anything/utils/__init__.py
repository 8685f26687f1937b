"""segment_anything's `utils`: `amg` and `transforms`."""
