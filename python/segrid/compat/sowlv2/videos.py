"""Follows what SOWLv2 detects through a video."""

from __future__ import annotations

import os
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from segrid.compat.sowlv2.data.config import PipelineConfig, PropagatedFrameOutput
from segrid.compat.sowlv2.utils.filesystem_utils import remove_empty_folders
from segrid.compat.sowlv2.utils.frame_utils import process_propagated_frame
from segrid.compat.sowlv2.utils.path_config import DirectoryStructure
from segrid.compat.sowlv2.utils.pipeline_utils import (
    DEFAULT_PALETTE,
    Colour,
    get_prompt_color,
    prompt_list,
)
from segrid.compat.sowlv2.utils.video_utils import generate_videos
from segrid.detections import Detections
from segrid.video.detected_tracks import Schedule, Tracks
from segrid.video.frames import Frames
from segrid.video.sources import open_frames

if TYPE_CHECKING:
    from segrid.compat.sowlv2.optimizations.optimized_pipeline import OptimizedSOWLv2Pipeline


def process_video(
    pipeline: OptimizedSOWLv2Pipeline,
    source: str | os.PathLike[str],
    prompt: str | list[str],
    output_dir: str | os.PathLike[str],
) -> None:
    """See `OptimizedSOWLv2Pipeline.process_video`. source : a video file or a folder of frames"""
    config, wanted, output = pipeline.config, pipeline.config.pipeline_config, os.fspath(output_dir)
    if config.fps < 1:
        raise ValueError(f"fps: must be at least 1 frame per second, got {config.fps}")
    try:
        os.makedirs(output, exist_ok=True)
        with TemporaryDirectory(prefix=".sowlv2_", dir=output) as work:
            if _followed(pipeline, source, prompt_list(prompt), work):
                generate_videos(work, config.fps, merged=wanted.merged)
                _move(work, output, wanted)
            else:
                name = os.fspath(source)
                print(f"No objects detected for prompt(s) '{prompt}' in video '{name}'.")
    finally:
        remove_empty_folders(output)


def _followed(
    pipeline: OptimizedSOWLv2Pipeline,
    source: str | os.PathLike[str],
    prompts: list[str],
    work: str,
) -> bool:
    """Writes all pictures of the video into the folder `work`. Returns False if nothing is
    found."""
    config, colours = pipeline.config, dict[str, Colour]()
    tracker = pipeline.sam.tracker
    with open_frames(source) as frames:
        length, rate = frames.count, frames.rate
        if rate is not None and rate != config.fps:
            length = None if length is None else max(1, round(length * config.fps / rate))
            source_frames: Any = _at_rate(frames, rate, config.fps)
        else:
            source_frames = frames
        session = tracker.open(source_frames, long_side=None)
        detect = _Detect(pipeline, prompts)
        with Tracks(session, tracker.segmenter, detect, _schedule(pipeline, length)) as tracks:
            for _ in tracks:
                if not _write(tracks, pipeline, colours, work):
                    break
    return tracks.frame is not None and bool(tracks.frame.ids)


def _move(work: str, output: str, wanted: PipelineConfig) -> None:
    """Moves the videos, and the pictures of the kinds that are wanted."""
    made = DirectoryStructure.get_directory_map(work, include_video=True)
    places = DirectoryStructure.get_directory_map(output, include_video=True)
    kinds = {"binary": wanted.binary, "overlay": wanted.overlay, "video": True}
    for name, place in places.items():
        kind, _, part = name.partition("_")
        if part and kinds[kind] and os.path.isdir(made[name]):
            os.makedirs(place, exist_ok=True)
            for file in os.listdir(made[name]):
                os.replace(os.path.join(made[name], file), os.path.join(place, file))


def _at_rate(frames: Frames, rate: float, fps: float) -> Any:
    """The function that gives the frames at `fps`: the nearest one in time."""

    def picture(index: int) -> np.ndarray:
        return frames.read(int(index * rate / fps + 0.5))

    return picture


def _schedule(pipeline: OptimizedSOWLv2Pipeline, length: int | None) -> Schedule:
    every = None
    if pipeline.use_temporal_detection:
        if length is None:  # once in a second
            every = max(1, pipeline.config.fps)
        else:
            every = max(1, -(-length // max(1, pipeline.temporal_detection_frames)))
    return Schedule(every=every, match_iou=pipeline.temporal_merge_threshold)


class _Detect:
    """Detects as `OWLV2Wrapper.detect` does."""

    def __init__(self, pipeline: OptimizedSOWLv2Pipeline, prompts: list[str]) -> None:
        self._owl, self._prompts = pipeline.owl, prompts
        self._threshold = pipeline.config.threshold

    def __call__(self, picture: np.ndarray) -> Detections:
        found = self._owl.detect(image=picture, prompt=self._prompts, threshold=self._threshold)
        labels = [one["core_prompt"] for one in found]
        return Detections(
            np.array([one["box"] for one in found], np.float32),
            np.array([one["score"] for one in found], np.float32),
            labels,
            np.array([self._prompts.index(label) for label in labels], np.int64),
            (picture.shape[0], picture.shape[1]),
        )


def _write(
    tracks: Tracks,
    pipeline: OptimizedSOWLv2Pipeline,
    colours: dict[str, Colour],
    work: str,
) -> bool:
    """Writes the last frame into the folder `work`. Returns False where nothing is followed, and
    nothing will be."""
    from PIL import Image

    frame = tracks.frame
    assert frame is not None
    if not frame.ids:
        return pipeline.use_temporal_detection
    details = []
    for number in frame.ids:
        label = frame.names[number]
        colour, _ = get_prompt_color(label, colours, DEFAULT_PALETTE, len(colours))
        details.append({"sam_id": number, "core_prompt": label, "color": colour})
    process_propagated_frame(
        PropagatedFrameOutput(
            Image.fromarray(tracks.session.picture(frame.index)),
            frame.index + 1,
            frame.ids,
            frame.masks.array,
            details,
            work,
        ),
        PipelineConfig(merged=pipeline.config.pipeline_config.merged),
        colours,
        len(colours),
    )
    return True
