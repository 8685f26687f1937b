"""Folders of images: what `segrid batch` does."""
