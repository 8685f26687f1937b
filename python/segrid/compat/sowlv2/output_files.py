"""The pictures that SOWLv2 writes of one image or frame."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from segrid.compat.sowlv2.data.config import PipelineConfig
from segrid.compat.sowlv2.optimizations.parallel_processor import (
    ParallelConfig,
    ParallelIOProcessor,
)
from segrid.compat.sowlv2.utils.path_config import DirectoryStructure, FilePattern
from segrid.compat.sowlv2.utils.pipeline_utils import Colour, blended


class Outlined(NamedTuple):
    """An object of a picture. mask : (H, W) uint8, 0 and 255."""

    number: int
    prompt: str
    colour: Colour
    mask: np.ndarray


class OutputFiles:
    """The pictures of one image or frame. They are written a few at a time, so that not all are
    held at once."""

    def __init__(
        self,
        wanted: PipelineConfig,
        parallel: ParallelConfig,
        output_dir: str | os.PathLike[str],
    ) -> None:
        self._wanted = wanted
        self._processor = ParallelIOProcessor(parallel)
        self._most = 2 * parallel.io_threads
        self._folders = DirectoryStructure.get_directory_map(os.fspath(output_dir))
        self._tasks: list[tuple[str, Any]] = []

    def add(self, kind: str, folder: str, name: str, array: np.ndarray) -> None:
        """Adds a picture, unless the configuration leaves out `kind` ("binary", "overlay") or
        "merged"."""
        from PIL import Image

        if getattr(self._wanted, kind) and (folder != "merged" or self._wanted.merged):
            self._tasks.append(
                (os.path.join(self._folders[f"{kind}_{folder}"], name), Image.fromarray(array))
            )
        if len(self._tasks) >= self._most:
            self.write()

    def write(self) -> None:
        self._processor.save_outputs_parallel(self._tasks)
        self._tasks.clear()


def slug(prompt: str) -> str:
    """Returns a prompt as part of a file's name. Spaces become underscores, as in the original, and
    so do characters that no name may contain."""
    return "".join("_" if c in " /\\\0" else c for c in prompt)[:100]


def write_outputs(
    files: OutputFiles, pixels: np.ndarray, objects: Iterable[Outlined], stem: str, merged: str
) -> None:
    """Writes mask and overlay of each object, and those of all objects together.

    pixels : (H, W, 3) uint8
    stem, merged : how the names of the files of an object, and of all objects, begin
    """
    together, over = np.zeros(pixels.shape[:2], np.uint8), pixels
    for number, prompt, colour, mask in objects:
        names = {"frame_num": stem, "obj_id": number, "prompt": slug(prompt)}
        files.add("binary", "frames", FilePattern.INDIVIDUAL_MASK.format(**names), mask)
        overlay = blended(pixels, mask, colour)
        files.add("overlay", "frames", FilePattern.INDIVIDUAL_OVERLAY.format(**names), overlay)
        together |= mask
        over = blended(over, mask, colour)
    files.add("binary", "merged", FilePattern.MERGED_MASK.format(frame_num=merged), together)
    files.add("overlay", "merged", FilePattern.MERGED_OVERLAY.format(frame_num=merged), over)
    files.write()
