"""sam2's `modeling`: `sam2_base`."""
