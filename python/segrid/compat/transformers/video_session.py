"""Sam2VideoInferenceSession: a video with the prompts and the objects that are followed in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from segrid.compat.squashed_frames import (
    NormalisedFrames,
    SquashedFrames,
    known_count,
    square_of,
)
from segrid.compat.transformers.video_frames import PushedFrames, normalised
from segrid.compat.video_rules import WITHOUT_LIMIT
from segrid.video.session import Session
from segrid.video.tracked_frame import TrackedFrame
from segrid.video.tracker import Tracker

PUBLISHED_SIDE = 1024
SURE = 10.0  # the logit of a pixel of which only the mask is known


@dataclass
class Inputs:
    """The prompt of one object in one frame, in pixels of the video: points and labels of which the
    first two may be the corners of a box, or a mask."""

    points: np.ndarray | None = None  # (K, 2)
    labels: np.ndarray | None = None  # (K,)
    mask: np.ndarray | None = None  # (h, w) bool, of any size


@dataclass
class Found:
    """What a step found in one frame."""

    frame: int
    ids: list[int]
    low_res: np.ndarray  # (N, h, w) float32
    scores: np.ndarray  # (N,) float32


class ProcessedFrames(Mapping[int, Any]):
    """A session's frames by their numbers, as the processor gives them, made when asked for."""

    def __init__(self, session: Sam2VideoInferenceSession) -> None:
        self._session = session

    def __getitem__(self, frame_idx: int) -> Any:
        if not 0 <= frame_idx < len(self):
            raise KeyError(frame_idx)
        return self._session.get_frame(frame_idx)

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self)))

    def __len__(self) -> int:
        return self._session.num_frames or 0


class Sam2VideoInferenceSession:
    """As transformers.Sam2VideoInferenceSession; `Sam2VideoProcessor.init_video_session` makes it
    from any video.

    video : (T, 3, side, side) tensor, normalised as the processor gives it (values are rounded to 8
        bits); None: frames come one by one
    video_height, video_width : of the video itself, pixels; None before the first inputs
    obj_ids : the objects, in the order in which they got inputs

    The other arguments have no effect; the model has a device and a precision.
    """

    def __init__(
        self,
        video: Any = None,
        video_height: int | None = None,
        video_width: int | None = None,
        inference_device: Any = "cpu",
        inference_state_device: Any = "cpu",
        video_storage_device: Any = "cpu",
        dtype: Any = None,
        max_vision_features_cache_size: int = 1,
    ) -> None:
        self.inference_device, self.dtype = inference_device, dtype
        self.video_height, self.video_width = video_height, video_width
        self.side: int = PUBLISHED_SIDE if video is None else video.shape[-1]
        self._first_frame_tells_side = video is None
        self._frames: SquashedFrames | NormalisedFrames | PushedFrames | None = None
        if video is not None:
            size = video_height or self.side, video_width or self.side
            self._frames = NormalisedFrames(video, len(video), size, self.side)
        self._session: Session | None = None
        self._tracker: Tracker | None = None
        self.obj_ids: list[int] = []
        self._inputs: dict[tuple[int, int], Inputs] = {}  # by object and frame
        self._new: dict[tuple[int, int], Inputs] = {}  # those that were not decoded yet

    def begun(self, frames: SquashedFrames | None, side: int) -> Sam2VideoInferenceSession:
        """Takes the frames of a video, or None for those that come one by one. Returns itself."""
        self._frames, self.side, self._first_frame_tells_side = frames, side, False
        if frames is not None:
            self.video_height, self.video_width = frames.size
        return self

    @property
    def num_frames(self) -> int | None:
        """The frames of the video, or those that were pushed; None before the first one."""
        if isinstance(self._frames, PushedFrames):
            return self._frames.pushed
        return None if self._frames is None else known_count(self._frames)

    @property
    def processed_frames(self) -> ProcessedFrames | None:
        """The frames by their numbers; None before the first one."""
        return None if self._frames is None else ProcessedFrames(self)

    def get_frame(self, frame_idx: int) -> Any:
        """The (3, side, side) float32 tensor of a frame, as the processor gives it. Raises what
        reading the frame raises."""
        if self._frames is None:
            raise ValueError("session: it has no frames yet")
        return normalised(self._frames.read(frame_idx)).to(self.inference_device)

    @property
    def obj_with_new_inputs(self) -> list[int]:
        """The objects with inputs that the model has not seen. Writing it, which transformers needs
        for several calls of add_inputs_to_inference_session, has no effect: all inputs count."""
        return list(dict.fromkeys(id for id, _ in self._new))

    @obj_with_new_inputs.setter
    def obj_with_new_inputs(self, _: list[int]) -> None:
        pass

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(
            f"Sam2VideoInferenceSession has no attribute {name!r}: memory and results are in "
            "segrid's engine; masks are in what the model returns for each frame"
        )

    def get_obj_num(self) -> int:
        """The number of objects."""
        return len(self.obj_ids)

    def obj_id_to_idx(self, obj_id: int) -> int:
        """The place of an object in results; a new one gets the next place."""
        if obj_id not in self.obj_ids:
            self.obj_ids.append(obj_id)
        return self.obj_ids.index(obj_id)

    def obj_idx_to_id(self, obj_idx: int) -> int:
        """The object at a place."""
        return self.obj_ids[obj_idx]

    def reset_tracking_data(self) -> None:
        """Removes all objects; the frames stay."""
        self.obj_ids = []
        self._inputs.clear()
        self._new.clear()
        if self._session is not None:
            self._session.reset()

    reset_inference_session = reset_tracking_data

    def add_new_frame(self, pixel_values: Any, frame_idx: int | None = None) -> int:
        """Adds the next frame of a stream, (3, side, side) as the processor gives it. Returns its
        number. Raises ValueError for a frame of a number that is not the next one, and for one of
        another shape."""
        if self._frames is not None and not isinstance(self._frames, PushedFrames):
            raise ValueError("frame: this session has a whole video; streams begin without one")
        if self._frames is None and self._first_frame_tells_side:
            self.side = int(pixel_values.shape[-1])
        square = square_of(pixel_values, self.side)
        if self._frames is None:
            self._frames = PushedFrames(self.side)
        if frame_idx not in (None, self._frames.pushed):
            raise ValueError(
                f"frame: number {frame_idx} is not the next one, which is {self._frames.pushed}"
            )
        return self._frames.push(square)

    # ---- inputs

    def put(self, id: int, frame: int, inputs: Inputs, *, replace: bool) -> None:
        """Notes the inputs of an object in a frame; the model decodes them when it is called. A
        mask takes the place of earlier points, also without `replace`."""
        self.obj_id_to_idx(id)
        earlier = None if replace or inputs.points is None else self._inputs.get((id, frame))
        if earlier is not None and earlier.points is not None:
            assert earlier.labels is not None
            labels = np.concatenate([earlier.labels, inputs.labels])  # type: ignore[arg-type]
            inputs = Inputs(np.concatenate([earlier.points, inputs.points]), labels)
        self._inputs[id, frame] = self._new[id, frame] = inputs

    def opened(self, tracker: Tracker) -> Session:
        """segrid's session, opened with the first model that uses it. Raises ValueError for another
        model, and for one with another side."""
        if self._tracker not in (None, tracker):
            raise ValueError("session: another model has begun with it; make a session for each")
        if self._session is None:
            if self._frames is None:
                raise ValueError("session: no video; give one to init_video_session, or frame=")
            if tracker.side != self.side:
                raise ValueError(
                    f"session: its frames have a side of {self.side} pixels, and the model takes "
                    f"{tracker.side}; make the processor by from_pretrained of the same model"
                )
            limits = dict(WITHOUT_LIMIT)
            height, width = self.video_height, self.video_width
            assert height is not None and width is not None, "the first inputs tell it"
            self._frames.size = height, width
            if isinstance(self._frames, PushedFrames):
                del limits["history"]  # of a stream without end
            self._session = tracker.open(self._frames, long_side=None, max_hole_area=0, **limits)
            self._tracker = tracker
        return self._session

    def decode(
        self, session: Session, frame: int | None = None, *, backwards: bool = False
    ) -> list[int]:
        """Decodes the new inputs of a frame, or of all, which then take part in memory. Returns the
        objects that had some. Inputs that are refused are dropped.

        backwards : the direction of the memory that corrections look at"""
        places = [place for place in self._new if frame in (None, place[1])]
        for id, number in places:
            inputs = self._new.pop((id, number))
            try:
                session.add(
                    id,
                    number,
                    points=inputs.points,
                    labels=inputs.labels,
                    mask=inputs.mask,
                    replace=True,
                    anywhere=True,
                    anew=True,
                    direction="backward" if backwards else "forward",
                )
            except (ValueError, IndexError):
                self._drop(id, number)
                raise
        if places:
            session.propagate(frames=0)  # (nothing is followed until it is iterated)
        return [id for id, _ in places]

    def _drop(self, id: int, frame: int) -> None:
        """Forgets inputs that were refused, and an object that has no others."""
        self._inputs.pop((id, frame), None)
        if all(id != other for other, _ in self._inputs):
            self.obj_ids.remove(id)

    # ---- following

    def step(self, session: Session, frame: int, *, backwards: bool) -> Found:
        """Decodes the new inputs of a frame, and follows the objects that have no result there."""
        fresh = self.decode(session, frame, backwards=backwards)
        prompted = _found(session.frame(frame), self.side // 4) if fresh else None
        if prompted is not None and not np.isnan(prompted.scores).any():
            return prompted
        found = next(self.run(session, range(frame, frame + 1), backwards=backwards))
        for id in fresh:  # a correction stays what it is
            assert prompted is not None
            place = found.ids.index(id)
            found.low_res[place] = prompted.low_res[place]
            found.scores[place] = prompted.scores[place]
        return found

    def run(self, session: Session, order: range, *, backwards: bool) -> Iterator[Found]:
        """Follows all objects through the frames of `order`, which are neighbours."""
        direction: Any = "backward" if backwards and order[0] > 0 else "forward"
        for found in session.propagate(direction, start=order[0], frames=len(order) - 1):
            yield _found(found, self.side // 4)


def _found(found: TrackedFrame, side: int) -> Found:
    """side : of the low-resolution logits, which are made of the masks where a stream is so long
    that the frame's own were dropped"""
    if found.low_res is not None:
        return Found(found.index, found.ids, np.array(found.low_res), np.array(found.scores))
    small = found.masks.resized((side, side)).array
    logits = np.where(small, SURE, -SURE).astype(np.float32)
    return Found(found.index, found.ids, logits, np.array(found.scores))
