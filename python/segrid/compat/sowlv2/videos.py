"""Follows what SOWLv2 detects through a video."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from segrid.compat.sowlv2.data.config import PropagatedFrameOutput
from segrid.compat.sowlv2.utils.filesystem_utils import remove_empty_folders
from segrid.compat.sowlv2.utils.frame_utils import process_propagated_frame
from segrid.compat.sowlv2.utils.pipeline_utils import DEFAULT_PALETTE, get_prompt_color
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
    prompts = [prompt] if isinstance(prompt, str) else list(prompt)
    config, wanted = pipeline.config, pipeline.config.pipeline_config
    if config.fps < 1:
        raise ValueError(f"fps: must be at least 1 frame per second, got {config.fps}")
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
                if not _write(tracks, pipeline, output_dir):
                    break
    if tracks.frame is None or not tracks.frame.ids:
        print(f"No objects detected for prompt(s) '{prompt}' in video '{os.fspath(source)}'.")
        return
    generate_videos(os.fspath(output_dir), config.fps, wanted.binary, wanted.overlay, wanted.merged)
    remove_empty_folders(os.fspath(output_dir))


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
    output_dir: str | os.PathLike[str],
) -> bool:
    """Writes the last frame. Returns False where nothing is followed, and nothing will be."""
    from PIL import Image

    frame = tracks.frame
    assert frame is not None
    if not frame.ids:
        return pipeline.use_temporal_detection
    colours = pipeline.prompt_color_map
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
            os.fspath(output_dir),
        ),
        pipeline.config.pipeline_config,
        colours,
        len(colours),
    )
    return True
