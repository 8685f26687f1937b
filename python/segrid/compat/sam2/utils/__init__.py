"""sam2's `utils`: `amg`, `misc` and `transforms`."""
