"""Folders of images, as processed by `segrid batch`."""
