"""SAM2VideoPredictor: prompts objects in the frames of a video, and follows them."""

from __future__ import annotations

import operator
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from segrid._native import _core
from segrid.compat.checkpoints import load
from segrid.compat.devices import named
from segrid.compat.modules import LoadedKeys
from segrid.compat.sam2.modeling.sam2_base import SAM2Base
from segrid.compat.sam2.video_frames import VideoImages, open_video
from segrid.compat.sam2.video_settings import of_model, session_options, video_settings_of
from segrid.compat.sam2.video_state import State, checked, rows
from segrid.compat.tensors import array_of
from segrid.compat.video_rules import frames_in_order, mask_of_prompt
from segrid.segmenter import Segmenter
from segrid.video.tracked_frame import TrackedFrame
from segrid.video.tracker import Tracker

Shown = tuple[int, list[int], Any]  # frame, object ids, (N, 1, H, W) float32 logits


class SAM2VideoPredictor(SAM2Base):
    """As sam2.SAM2VideoPredictor; `build_sam2_video_predictor` makes it.

    fill_hole_area, non_overlap_masks, clear_non_cond_mem_around_input,
    add_all_frames_to_correct_as_cond, num_maskmem, max_cond_frames_in_attn,
    max_obj_ptrs_in_encoder, memory_temporal_stride_for_eval : sam2's settings. They may be changed;
        all but non_overlap_masks count from the next `init_state` on

    Results are equal to sam2's, except for these points:

    - Small holes are filled on every device. sam2 needs its CUDA extension for that.
    - Frames are read when they are needed, and those of .mp4 files by another decoder and another
      resizing filter (Pillow's bicubic one) than decord's.
    - A prompt that is refused leaves no object behind, and object ids are whole numbers. Refused
      are more than 1024 points, numbers that are not finite, and frames below 0.
    - `add_new_points_or_box` shows the other objects' new prompts of the frame, too, if one of the
      two is a correction.
    - clear_non_cond_mem_around_input works; in sam2 1.1 it raises AttributeError. With a
      num_maskmem below the model's, positions in time stay those that the model was trained with.
    """

    kind: Any = Tracker

    def __init__(
        self,
        tracker: Any = None,
        device: str = "cpu",
        settings: Mapping[str, Any] | None = None,
        *,
        fill_hole_area: int = 0,
        non_overlap_masks: bool = False,
        clear_non_cond_mem_around_input: bool = False,
        add_all_frames_to_correct_as_cond: bool = False,
        memory_temporal_stride_for_eval: int = 1,
        **of_memory: int,
    ) -> None:
        super().__init__(tracker, device, settings)
        self.fill_hole_area = fill_hole_area
        self.non_overlap_masks = non_overlap_masks
        self.clear_non_cond_mem_around_input = clear_non_cond_mem_around_input
        self.add_all_frames_to_correct_as_cond = add_all_frames_to_correct_as_cond
        self.memory_temporal_stride_for_eval = memory_temporal_stride_for_eval
        self._of_memory = of_memory
        self._set_memory()

    @classmethod
    def from_pretrained(cls, model_id: str, **kwargs: Any) -> SAM2VideoPredictor:
        """Builds a predictor from a Hugging Face id such as "facebook/sam2.1-hiera-tiny". The
        arguments are those of `build_sam2_video_predictor`."""
        return built(model_id, **kwargs)

    @property
    def tracker(self) -> Tracker:
        """segrid's model. Raises RuntimeError while there are no weights."""
        tracker: Any = super().segmenter
        return tracker

    @property
    def segmenter(self) -> Segmenter:
        """The model for single images, with the same weights: SAM2ImagePredictor and
        SAM2AutomaticMaskGenerator take this predictor as their model, too."""
        return self.tracker.segmenter

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> LoadedKeys:
        """Loads all weights by sam2's names, as in `torch.load(path)["model"]`, or replaces some by
        the names that `state_dict` returns. Raises as `SAM2Base.load_state_dict`."""
        before = self._segmenter
        if any(name.startswith("image_encoder.") for name in state_dict):
            self._segmenter = None
        try:
            keys = super().load_state_dict(state_dict, strict, assign)
        except BaseException:
            self._segmenter = before
            raise
        self._set_memory()
        return keys

    def _set_memory(self) -> None:
        """Sets what the weights' config.json says, where nothing else was asked for."""
        if self._segmenter is not None:
            vars(self).update(of_model(self.tracker) | self._of_memory)

    # ---- a video

    def init_state(
        self,
        video_path: Any,
        offload_video_to_cpu: bool = False,
        offload_state_to_cpu: bool = False,
        async_loading_frames: bool = False,
    ) -> State:
        """Opens a video: a folder of JPEG files whose names are whole numbers, an .mp4 file or its
        bytes, a list of (H, W, 3) uint8 RGB arrays or PIL images, or a (T, H, W, 3) array. Returns
        the dict that the other calls take; see `State`.

        The offload options and async_loading_frames have no effect: frames are decoded when they
        are needed. The files of a folder may go or change after this call if they have at most 512
        MiB together; of a larger one, a frame that is gone or changed raises FileNotFoundError when
        it is needed. Raises what `segrid.compat.sam2.video_frames.open_video` raises."""
        import torch

        frames = open_video(video_path, self.image_size)
        images = VideoImages(frames, device="cpu" if offload_video_to_cpu else self.device)
        storage = torch.device("cpu") if offload_state_to_cpu else self.device
        opened = partial(self.tracker.open, long_side=None, **session_options(self))
        state = State(images, opened, self.device, storage)
        state["offload_video_to_cpu"] = offload_video_to_cpu
        state["offload_state_to_cpu"] = offload_state_to_cpu
        return state

    def reset_state(self, inference_state: State) -> None:
        """Removes all objects."""
        state = checked(inference_state)
        state["session"].reset()
        state["prompted_frames"].clear()
        state.note_objects()

    # ---- prompts

    def add_new_points_or_box(
        self,
        inference_state: State,
        frame_idx: int,
        obj_id: int,
        points: ArrayLike | None = None,
        labels: ArrayLike | None = None,
        clear_old_points: bool = True,
        normalize_coords: bool = True,
        box: ArrayLike | None = None,
    ) -> Shown:
        """Prompts an object in a frame by (K, 2) points x, y with (K,) labels (1 foreground, 0
        background), an XYXY box, or both, in pixels of the video (in 0..1 with
        normalize_coords=False). They may lie outside the frame.

        Returns (frame_idx, ids of all objects, their (N, 1, H, W) float32 logits in this frame).
        Raises ValueError for prompts that do not fit, IndexError for a frame that is not there."""
        if (points is not None) != (labels is not None):
            raise ValueError("points and labels must be provided together")
        if points is None and box is None:
            raise ValueError("at least one of points or box must be provided as input")
        if box is not None and not clear_old_points:
            raise ValueError(
                "cannot add box without clearing old points, since "
                "box prompt must be provided before any point prompt "
                "(please use clear_old_points=True instead)"
            )
        size = checked(inference_state).size[::-1]
        scale = np.array((1, 1) if normalize_coords else size, np.float64)
        clicks = {} if points is None else _clicks(points, labels, scale)
        corners = None if box is None else (_floats(box).reshape(2, 2) * scale).reshape(4)
        return self._prompt(
            inference_state, frame_idx, obj_id, boxes=corners, replace=clear_old_points, **clicks
        )

    def add_new_points(self, *args: Any, **kwargs: Any) -> Shown:
        """The former name of `add_new_points_or_box`."""
        return self.add_new_points_or_box(*args, **kwargs)

    def add_new_mask(
        self, inference_state: State, frame_idx: int, obj_id: int, mask: ArrayLike
    ) -> Shown:
        """Prompts an object in a frame by an (H, W) mask of any size, which is resized to the
        frame. Pixels that are not 0 belong to the object; of a tensor of numbers those of at least
        0.5 after it was resized to the model's square. Returns and raises as
        `add_new_points_or_box`."""
        state = checked(inference_state)
        assert np.ndim(mask) == 2
        pixels = mask_of_prompt(mask, self.tracker.side)
        return self._prompt(state, frame_idx, obj_id, mask=pixels)

    def _prompt(self, state: State, frame: int, id: int, **prompt: Any) -> Shown:
        id = _whole(id)
        found = state.session.add(id, frame, anywhere=True, **prompt)
        state["prompted_frames"].setdefault(id, set()).add(frame)
        return frame, state.note_objects(), state.logits(found.low_res, self.non_overlap_masks)

    def clear_all_prompts_in_frame(
        self, inference_state: State, frame_idx: int, obj_id: int, need_output: bool = True
    ) -> Shown | None:
        """Takes back the prompts of an object in a frame. Returns what the frame shows then, as
        `add_new_points_or_box`; None with need_output=False. Raises ValueError for an unknown
        object."""
        state = checked(inference_state)
        state.session.clear(_whole(obj_id), frame_idx)
        state["prompted_frames"][obj_id].discard(frame_idx)
        if not need_output:
            return None
        return frame_idx, state["obj_ids"], self._now(state, frame_idx)

    def remove_object(
        self, inference_state: State, obj_id: int, strict: bool = False, need_output: bool = True
    ) -> tuple[list[int], list[tuple[int, Any]]]:
        """Removes an object. Returns (the ids that are left, [(frame, logits)] of the frames in
        which it was prompted; none with need_output=False).

        An unknown id changes nothing; with strict=True it raises RuntimeError."""
        state = checked(inference_state)
        if obj_id not in state["obj_ids"]:
            if strict:
                raise RuntimeError(
                    f"Cannot remove object id {obj_id} as it doesn't exist. "
                    f"All existing object ids: {state['obj_ids']}."
                )
            return state["obj_ids"], []
        if len(state["obj_ids"]) == 1:
            self.reset_state(state)
            return state["obj_ids"], []
        state.session.remove(obj_id)
        frames = sorted(state["prompted_frames"].pop(obj_id))
        ids = state.note_objects()
        return ids, [(frame, self._now(state, frame)) for frame in frames if need_output]

    def _now(self, state: State, frame: int) -> Any:
        """The logits that all objects have in a frame now."""
        try:
            low_res = state.session.masks(frame).low_res
        except ValueError:  # there are no results in this frame
            low_res = None
        return state.logits(low_res, self.non_overlap_masks)

    # ---- following

    def propagate_in_video_preflight(self, inference_state: State) -> None:
        """Lets the prompts take part in memory. `propagate_in_video` begins with it.

        Raises RuntimeError without objects, and for an object without a prompt."""
        session = checked(inference_state).session
        if not session.ids:
            raise RuntimeError(
                "No input points or masks are provided for any object; please add inputs first."
            )
        try:
            session.propagate(frames=0)  # (nothing is computed until it is iterated)
        except ValueError as error:
            found = re.search(r"object (-?\d+) has no prompt", str(error))
            if found is None:
                raise
            raise RuntimeError(
                f"No input points or masks are provided for object id {found[1]}; "
                "please add inputs first."
            ) from error

    def propagate_in_video(
        self,
        inference_state: State,
        start_frame_idx: int | None = None,
        max_frame_num_to_track: int | None = None,
        reverse: bool = False,
    ) -> Iterator[Shown]:
        """Follows all objects from the earliest prompted frame, or from start_frame_idx, to the
        end of the video, or over max_frame_num_to_track further frames; reverse: to its beginning.

        Yields (frame, ids, (N, 1, H, W) float32 logits) for each frame, and shows a progress bar.
        Raises as `propagate_in_video_preflight`, and what reading a frame raises."""
        from tqdm import tqdm  # type: ignore[import-untyped]

        state = checked(inference_state)
        self.propagate_in_video_preflight(state)
        session = state.session
        ids = state["obj_ids"]
        start = min(session.prompted_frames) if start_frame_idx is None else start_frame_idx
        most = state["num_frames"] if max_frame_num_to_track is None else max_frame_num_to_track
        order = frames_in_order(start, most, state["num_frames"], reverse)
        if not order:
            return
        frames: Iterator[TrackedFrame] = session.propagate(
            "backward" if reverse else "forward", start=start, frames=most
        )
        for found in tqdm(frames, desc="propagate in video", total=len(order)):
            low_res = rows(found.low_res, found.ids, ids)
            yield found.index, ids, state.logits(low_res, self.non_overlap_masks)


class SAM2VideoPredictorVOS(SAM2VideoPredictor):
    """The same predictor: nothing is compiled, because the engine is compiled already."""


def built(
    ckpt_path: str | os.PathLike[str] | None,
    device: Any = None,
    mode: str = "eval",
    *,
    image_size: int | None = None,
    hydra_overrides_extra: Iterable[str] = (),
    apply_postprocessing: bool = True,
    vos_optimized: bool = False,
    **_: Any,
) -> SAM2VideoPredictor:
    """Builds a predictor; `build_sam2_video_predictor` says how."""
    if mode != "eval":
        raise NotImplementedError(
            f"build_sam2_video_predictor: only mode='eval', got {mode!r}; segrid does not train, "
            "use sam2 for that"
        )
    asked, settings = video_settings_of(hydra_overrides_extra or (), apply_postprocessing)
    where = "auto" if device is None else named(device)
    side = asked.pop("image_size", image_size)
    kind = SAM2VideoPredictorVOS if vos_optimized else SAM2VideoPredictor
    if ckpt_path is None:
        empty = kind(None, _core.resolve_device(where), settings, **asked)
        empty.kind = partial(Tracker, image_side=side)  # for load_state_dict
        return empty
    return kind(load(ckpt_path, where, Tracker, image_side=side), settings=settings, **asked)


def _whole(obj_id: Any) -> int:
    try:
        return operator.index(obj_id)
    except TypeError:
        raise TypeError(
            f"obj_id: expected a whole number, got {obj_id!r}; number the objects, and keep their "
            "names in a dict of your own"
        ) from None


def _floats(values: ArrayLike) -> np.ndarray:
    """As sam2 reads coordinates: rounded to float32."""
    return array_of(values).astype(np.float32).astype(np.float64)


def _clicks(points: ArrayLike, labels: ArrayLike | None, scale: np.ndarray) -> dict[str, Any]:
    """The points and labels of one object, also where they have a first direction of length 1."""
    return {
        "points": _floats(points).reshape(-1, 2) * scale,
        "labels": array_of(labels).astype(np.int64).reshape(-1),
    }
