"""The inference state of a video, and what its frames show as sam2's tensors."""

from __future__ import annotations

import copy
import os
import tempfile
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from segrid.compat.mask_overlap import without_overlap
from segrid.compat.sam2.modeling.sam2_base import NO_OBJ_SCORE
from segrid.compat.sam2.video_frames import StateFrames, VideoImages
from segrid.compat.tensors import tensor_of
from segrid.video.session import Session
from segrid.video.snapshots import read_snapshot


class State(dict[str, Any]):
    """As sam2's inference state: a dict whose "obj_ids", "num_frames", "video_height",
    "video_width" and "images" scripts read. Prompts, memory and results are in the engine;
    "session" is segrid's `Session`, which has them.

    Programs with frames of their own may write "images", a tensor (N, 3, S, S) or a list of (3, S,
    S) tensors that are normalised as sam2's (values are rounded to 8 bits), together with
    "num_frames", and, before there are objects, "video_height" and "video_width". Writing
    "cached_features" drops the features of the last frames.

    open : opens a session of frames
    """

    def __init__(
        self, images: VideoImages, open: Callable[[StateFrames], Session], device: Any, storage: Any
    ) -> None:
        super().__init__(
            images=images,
            num_frames=len(images),
            video_height=images.video_height,
            video_width=images.video_width,
            device=device,
            storage_device=storage,
            offload_video_to_cpu=False,
            offload_state_to_cpu=False,
            prompted_frames={},
        )
        self._open, self._side = open, images.shape[-1]
        self._begin()
        self.note_objects()

    def _begin(self) -> None:
        """Opens a session of the frames that are in the state now."""
        frames = StateFrames(self["images"], self["num_frames"], self.size, self._side)
        self["session"] = self._open(frames)
        self["session"].take_turns()  # web services prompt while a thread of theirs follows
        self._frames = frames

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the video, pixels."""
        return int(self["video_height"]), int(self["video_width"])

    def __missing__(self, key: str) -> Any:
        raise KeyError(
            f"{key}: segrid's inference state has {', '.join(self)}; prompts, memory and results "
            'are in the engine, read them from the Session state["session"]'
        )

    @property
    def session(self) -> Session:
        """segrid's session, after it took over the frames that the program wrote into the state.
        Raises ValueError for another size of the video while there are objects."""
        session: Session = self["session"]
        frames, stale = self._frames, self.pop("cached_features", None) is not None
        changed = self["images"] is not frames.images or self["num_frames"] != frames.count
        if not (changed or stale or self.size != frames.size):
            return session
        if not session.ids:
            self._begin()
        elif self.size != frames.size:
            raise ValueError(
                f'state["video_height"], state["video_width"]: {self.size}, but the objects have '
                f"masks of {frames.size}; call reset_state before another video begins"
            )
        elif 0 <= self["num_frames"] - frames.count <= 1:
            frames.images, frames.count = self["images"], int(self["num_frames"])
            with session._owned("images"):
                session._embeddings.clear()
        else:  # pointers count by the length of the video
            self._go_on_from(session)
        return self["session"]  # type: ignore[no-any-return]

    def __deepcopy__(self, memo: dict[int, Any]) -> State:
        """A state with the same objects and results that goes on by itself, over the same files."""
        session = self.session
        other = State.__new__(State)
        vars(other).update(_open=self._open, _side=self._side)
        for key in self.keys() - {"session"}:
            shared = isinstance(self[key], VideoImages)
            other[key] = self[key] if shared else copy.deepcopy(self[key], memo)
        other._go_on_from(session)
        return other

    def _go_on_from(self, session: Session) -> None:
        """Opens a session of the frames that are in the state now, with another's objects."""
        with tempfile.TemporaryDirectory(prefix="segrid-") as folder:
            session.snapshot(os.path.join(folder, "session"))
            kept = read_snapshot(os.path.join(folder, "session"))
        self._begin()
        self["session"].take_up(kept)

    def note_objects(self) -> list[int]:
        """Writes the objects that the session has now. Returns their ids."""
        ids = self["session"].ids
        self["obj_ids"] = ids
        self["obj_id_to_idx"] = {id: place for place, id in enumerate(ids)}
        self["obj_idx_to_id"] = dict(enumerate(ids))
        return ids

    def logits(self, low_res: np.ndarray | None, non_overlap: bool) -> Any:
        """Returns (N, 1, H, W) float32 logits of the video's size, bilinear from (N, h, w); of
        every object NO_OBJ_SCORE where nothing was found in the frame.

        non_overlap : each pixel belongs to the object with the highest logit, the others have at
            most -10 there"""
        import torch

        size = self.size
        if low_res is None:
            return torch.full((len(self["obj_ids"]), 1, *size), NO_OBJ_SCORE, device=self["device"])
        logits = torch.nn.functional.interpolate(
            tensor_of(low_res)[:, None].to(self["device"]),
            size,
            mode="bilinear",
            align_corners=False,
        )
        return without_overlap(logits) if non_overlap else logits


def rows(low_res: np.ndarray | None, ids: Sequence[int], wanted: Sequence[int]) -> Any:
    """Returns the rows of `low_res`, which are those of `ids`, for the ids that are wanted."""
    if low_res is None or list(ids) == list(wanted):
        return low_res
    return low_res[[ids.index(id) for id in wanted]]


def checked(state: Any) -> State:
    """Returns the state. Raises TypeError for one that `init_state` did not make."""
    if isinstance(state, State):
        return state
    raise TypeError(
        f"inference_state: expected what init_state returns, got a {type(state).__name__}; prompts "
        "and memory are in segrid's engine. For frames in memory call init_state(images) with a "
        "list of images, or write images, num_frames, video_height and video_width into its result"
    )
