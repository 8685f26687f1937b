"""Sam2VideoModel: prompts objects in the frames of a video, and follows them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from segrid.compat.tensors import tensor_of
from segrid.compat.transformers.base import Model
from segrid.compat.transformers.loading import load
from segrid.compat.transformers.video_session import Found, Sam2VideoInferenceSession
from segrid.compat.video_rules import frames_in_order
from segrid.video.tracker import Tracker


@dataclass(eq=False)
class Sam2VideoSegmentationOutput(Mapping[str, Any]):
    """As transformers.models.sam2_video's output of the same name, also by keys and in order.

    object_ids : N objects
    pred_masks : (N, 1, h, w) float32 logits at the model's low resolution; -1024 where an object is
        not in the frame
    object_score_logits : (N, 1) float32; an object is in the frame where it is above 0
    frame_idx : the frame
    """

    object_ids: list[int] | None = None
    pred_masks: Any = None
    object_score_logits: Any = None
    frame_idx: int | None = None

    def __getitem__(self, key: Any) -> Any:
        return vars(self)[key] if isinstance(key, str) else self.to_tuple()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(vars(self))

    def __len__(self) -> int:
        return len(vars(self))

    def to_tuple(self) -> tuple[Any, ...]:
        """The fields in order."""
        return tuple(vars(self).values())


class Sam2VideoModel(Model):
    """As transformers.Sam2VideoModel, on segrid's tracker.

    `from_pretrained` takes what transformers' takes (a Hugging Face id or a folder) and packaged
    names. Results are equal to transformers' where its rules are those of sam2. Elsewhere they are
    as follows:

    - Inputs are decoded when the model is called; several objects may get inputs before that. (In
      transformers the last call of add_inputs_to_inference_session counts.)
    - A mask as input gives the object pointer of the single mask, and is remembered at low
      resolution.
    - Objects without inputs in a frame are followed there only if they have no result yet.
    - With more prompted frames than max_cond_frame_num, pointers come from the chosen ones alone.
    - Of several objects in one call, each is decoded with its own points. (transformers pads them
      to one number, which counts when it chooses between one mask and three.)
    - Results are float32, whatever the dtype of the model.
    """

    kind = Tracker

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: Any,
        *args: Any,
        dtype: Any = None,
        torch_dtype: Any = None,
        device_map: Any = None,
        revision: str | None = None,
        **kwargs: Any,
    ) -> Sam2VideoModel:
        """Loads a model onto the CPU, or the device that `device_map` names ("auto": CUDA if there
        is a CUDA device). Other arguments are accepted without effect. Raises what
        `segrid.Tracker` raises."""
        name = pretrained_model_name_or_path
        if revision is not None:
            name = f"{name}@{revision}"
        where = {None: "cpu", "auto": None}.get(device_map, device_map)
        return cls(load(Tracker, name, where, torch_dtype if dtype is None else dtype))

    @property
    def tracker(self) -> Tracker:
        """segrid's model."""
        tracker: Any = self.segmenter
        return tracker

    def forward(
        self,
        inference_session: Sam2VideoInferenceSession,
        frame_idx: int | None = None,
        frame: Any = None,
        reverse: bool = False,
        run_mem_encoder: bool = True,
        **kwargs: Any,
    ) -> Sam2VideoSegmentationOutput:
        """Decodes the new inputs of a frame, or follows the objects there.

        frame_idx : a frame of the session's video
        frame : the next frame of a stream, as the processor gives its pixel_values
        reverse : whether objects are followed backwards in time (frame 0 always forwards)
        run_mem_encoder : has no effect

        Raises ValueError without objects, IndexError for a frame that is not there."""
        session = _ours(inference_session)
        if frame is not None:
            frame_idx = session.add_new_frame(frame, frame_idx)
        if session.get_obj_num() == 0:
            raise ValueError("No objects are provided for tracking; please add inputs first.")
        if frame_idx is None:
            raise ValueError("frame_idx: give the number of a frame, or the next frame by frame=")
        found = session.step(session.opened(self.tracker), frame_idx, backwards=reverse)
        return self._output(found)

    def propagate_in_video_iterator(
        self,
        inference_session: Sam2VideoInferenceSession,
        start_frame_idx: int | None = None,
        max_frame_num_to_track: int | None = None,
        reverse: bool = False,
        show_progress_bar: bool = False,
    ) -> Iterator[Sam2VideoSegmentationOutput]:
        """Follows all objects from the earliest prompted frame, or from start_frame_idx, to the end
        of the video, or over max_frame_num_to_track further frames; reverse: to its beginning.

        New inputs are decoded first, those of all frames. Raises ValueError without prompts."""
        from tqdm import tqdm  # type: ignore[import-untyped]

        session = _ours(inference_session).opened(self.tracker)
        inference_session.decode(session, backwards=reverse)
        prompted, count = session.prompted_frames, inference_session.num_frames or 0
        if not prompted:
            raise ValueError(
                "Cannot determine the starting frame index; please specify it manually, "
                "or run inference on a frame with inputs first."
            )
        start = prompted[0] if start_frame_idx is None else start_frame_idx
        most = count if max_frame_num_to_track is None else max_frame_num_to_track
        order = frames_in_order(start, most, count, reverse)
        if order:
            steps = inference_session.run(session, order, backwards=reverse)
            bar = dict(desc="propagate in video", total=len(order), disable=not show_progress_bar)
            yield from map(self._output, tqdm(steps, **bar))

    def _output(self, found: Found) -> Sam2VideoSegmentationOutput:
        return Sam2VideoSegmentationOutput(
            object_ids=found.ids,
            pred_masks=tensor_of(found.low_res)[:, None].to(self.device),
            object_score_logits=tensor_of(found.scores)[:, None].to(self.device),
            frame_idx=found.frame,
        )


def _ours(session: Any) -> Sam2VideoInferenceSession:
    """Raises TypeError for a session of transformers' own."""
    if not isinstance(session, Sam2VideoInferenceSession):
        raise TypeError(
            f"Sam2VideoModel: the session is a {type(session).__module__}.{type(session).__name__};"
            " make it by segrid.compat.transformers.Sam2VideoProcessor.init_video_session"
        )
    return session
