"""The inference state of a video, and what its frames show as sam2's tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from segrid.compat.mask_overlap import without_overlap
from segrid.compat.sam2.video_frames import VideoImages
from segrid.compat.tensors import tensor_of
from segrid.video.session import Session

NO_OBJ_SCORE = -1024.0  # the logit where an object is not in the frame


class State(dict[str, Any]):
    """As sam2's inference state: a dict whose "obj_ids", "num_frames", "video_height",
    "video_width" and "images" scripts read. Prompts, memory and results are in the engine;
    "session" is segrid's `Session`, which has them."""

    def __init__(self, session: Session, images: VideoImages, device: Any, storage: Any) -> None:
        super().__init__(
            session=session,
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
        self.note_objects()

    def __missing__(self, key: str) -> Any:
        raise KeyError(
            f"{key}: segrid's inference state has {', '.join(self)}; prompts, memory and results "
            'are in the engine, read them from the Session state["session"]'
        )

    @property
    def session(self) -> Session:
        """segrid's session."""
        session: Session = self["session"]
        return session

    def note_objects(self) -> list[int]:
        """Writes the objects that the session has now. Returns their ids."""
        ids = self.session.ids
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

        size = self["video_height"], self["video_width"]
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
