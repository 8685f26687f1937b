"""Calls of a video session as data, and those who carry them out: segrid, sam2, transformers."""
