"""Sam2VideoProcessor: opens videos, takes prompts, and brings masks to the video's size."""

from __future__ import annotations

import json
import operator
from pathlib import Path
from typing import Any

import numpy as np

from segrid import _hub
from segrid._image import read_image
from segrid.compat.mask_overlap import without_overlap
from segrid.compat.tensors import array_of, as_stored
from segrid.compat.transformers.images import load
from segrid.compat.transformers.originals import original
from segrid.compat.transformers.video_frames import normalised, open_video, squashed
from segrid.compat.transformers.video_session import Inputs, Sam2VideoInferenceSession
from segrid.compat.video_rules import mask_of_prompt

PADDING = -10  # the label of points that do not count


class FrameInputs(dict[str, Any]):
    """What the processor gives of frames, by keys and as attributes: pixel_values (B, 3, side,
    side) float32, normalised, and original_sizes (B, 2) int64 of height and width."""

    def __getattr__(self, name: str) -> Any:
        if name not in self:
            raise AttributeError(f"FrameInputs has {', '.join(self)}, not {name!r}")
        return self[name]

    def to(self, *args: Any, **kwargs: Any) -> FrameInputs:
        """Moves the pixels to a device or a dtype."""
        self["pixel_values"] = self["pixel_values"].to(*args, **kwargs)
        return self


class Sam2VideoProcessor:
    """As transformers.Sam2VideoProcessor, without torchvision.

    target_size : the side of the model's square, in pixels; `from_pretrained` reads it from the
        model's config.json
    """

    def __init__(self, *_: Any, target_size: int = 1024, **__: Any) -> None:
        self.target_size = target_size

    @classmethod
    def from_pretrained(cls, name: Any, *arguments: Any, **options: Any) -> Sam2VideoProcessor:
        """Makes the processor of a model: a Hugging Face id, a folder or a packaged name. That of
        another model than SAM 2, such as EdgeTAM, is transformers' own."""
        config = json.loads(Path(_hub.locate(name).config).read_text(encoding="utf-8"))
        if config.get("model_type", "sam2_video") != "sam2_video":
            own: Any = original("Sam2VideoProcessor")
            return own.from_pretrained(name, *arguments, **options)  # type: ignore[no-any-return]
        return cls(target_size=config.get("image_size", 1024))

    def __call__(self, images: Any = None, device: Any = None, **prompts: Any) -> FrameInputs:
        """Prepares a frame, or a list of frames, for `model(session, frame=...)`.

        images : a PIL image, path, URL, or (H, W, 3) or (3, H, W) array or tensor; or a list

        Raises NotImplementedError for prompts, which add_inputs_to_inference_session takes."""
        import torch

        if given := [
            name for name, value in prompts.items() if name.startswith("input_") and value
        ]:
            raise NotImplementedError(
                f"Sam2VideoProcessor: {given[0]} go to add_inputs_to_inference_session"
            )
        pictures = [_picture(i) for i in (images if isinstance(images, list) else [images])]
        pixels = torch.stack([normalised(squashed(p, self.target_size)) for p in pictures])
        sizes = torch.tensor([p.shape[:2] for p in pictures])
        return FrameInputs(pixel_values=pixels.to(device or "cpu"), original_sizes=sizes)

    def init_video_session(
        self,
        video: Any = None,
        inference_device: Any = "cpu",
        inference_state_device: Any = None,
        processing_device: Any = None,
        video_storage_device: Any = None,
        max_vision_features_cache_size: int = 1,
        dtype: Any = None,
    ) -> Sam2VideoInferenceSession:
        """Opens a video: a list of PIL images, arrays or tensors, a (T, H, W, 3) or (T, 3, H, W)
        array or tensor, or a path. None: frames come one by one (`model(session, frame=...)`).

        Devices, dtype and the cache size have no effect; the model has a device and a precision.
        Raises what `segrid.video.sources.open_frames` raises."""
        frames = None if video is None else open_video(video, self.target_size)
        session = Sam2VideoInferenceSession(inference_device=inference_device, dtype=dtype)
        return session.begun(frames, self.target_size)

    def add_inputs_to_inference_session(
        self,
        inference_session: Sam2VideoInferenceSession,
        frame_idx: int,
        obj_ids: list[int] | int,
        input_points: Any = None,
        input_labels: Any = None,
        input_boxes: Any = None,
        input_masks: Any = None,
        original_size: Any = None,
        clear_old_inputs: bool = True,
    ) -> None:
        """Gives objects their prompts in a frame; the model decodes them when it is called.

        obj_ids : N objects, or one
        input_points, input_labels : [1][N][K][2] x, y and [1][N][K] (1 foreground, 0 background),
            in pixels of the video; they may lie outside it
        input_boxes : [1][N][4] XYXY
        input_masks : N masks (H, W) of any size, or one
        original_size : (height, width) of a streamed video, before its first frame
        clear_old_inputs : whether earlier points of the frame are dropped

        Raises ValueError for prompts that do not fit."""
        ids = _whole_numbers(obj_ids)
        if (input_points is not None) != (input_labels is not None):
            raise ValueError("points and labels must be provided together")
        if input_points is None and input_boxes is None and input_masks is None:
            raise ValueError("at least one of points, boxes, or masks must be provided as input")
        if input_masks is not None and (input_points is not None or input_boxes is not None):
            raise ValueError("masks cannot be provided together with points or boxes")
        if input_boxes is not None and not clear_old_inputs:
            raise ValueError(
                "cannot add box without clearing old points, since box prompt must be provided "
                "before any point prompt (please use clear_old_points=True instead)"
            )
        session = inference_session
        if input_masks is not None:
            inputs = _masks(ids, input_masks, session.side)
            first = input_masks[0] if isinstance(input_masks, list) else input_masks
            size = np.shape(first)[-2:]
        else:
            inputs, size = _clicks(ids, input_points, input_labels, input_boxes), None
        _set_size(session, original_size if original_size is not None else size)
        for id, one in zip(ids, inputs, strict=True):
            session.put(id, frame_idx, one, replace=clear_old_inputs)

    def post_process_masks(
        self,
        masks: Any,
        original_sizes: Any,
        mask_threshold: float = 0.0,
        binarize: bool = True,
        max_hole_area: float = 0.0,
        max_sprinkle_area: float = 0.0,
        apply_non_overlapping_constraints: bool = False,
        **kwargs: Any,
    ) -> list[Any]:
        """Brings logits to the video's size, bilinear.

        masks : a list of (N, 1, h, w) tensors or arrays
        original_sizes : (height, width) for each of them
        binarize : returns logits > mask_threshold
        max_hole_area, max_sprinkle_area : have no effect, as in transformers
        apply_non_overlapping_constraints : each pixel belongs to the object with the highest logit

        Returns a list of (N, 1, H, W) tensors."""
        import torch

        out = []
        for one, size in zip(masks, array_of(original_sizes).tolist(), strict=False):
            if isinstance(one, np.ndarray):
                one = torch.from_numpy(one)
            elif not isinstance(one, torch.Tensor):
                raise TypeError(
                    "Input masks should be a list of `torch.tensors` or a list of `np.ndarray`"
                )
            logits = torch.nn.functional.interpolate(
                one, tuple(size), mode="bilinear", align_corners=False
            )
            if apply_non_overlapping_constraints:
                logits = without_overlap(logits)
            out.append(logits > mask_threshold if binarize else logits)
        return out


def _picture(image: Any) -> np.ndarray:
    """The (H, W, 3) uint8 pixels of a frame."""
    if image is None:
        raise ValueError("Either images or original_sizes must be provided")
    pixels = array_of(image) if hasattr(image, "ndim") else load(as_stored(image))
    if hasattr(pixels, "ndim") and pixels.ndim == 3 and len(pixels) == 3 and pixels.shape[2] != 3:
        pixels = np.moveaxis(pixels, 0, 2)
    return read_image(pixels)


def _whole_numbers(obj_ids: Any) -> list[int]:
    try:
        return [obj_ids] if isinstance(obj_ids, int) else list(map(operator.index, obj_ids))
    except TypeError:
        raise TypeError(
            f"obj_ids: expected whole numbers, got {obj_ids!r}; number the objects, and keep their "
            "names in a dict of your own"
        ) from None


def _set_size(session: Sam2VideoInferenceSession, size: Any) -> None:
    """Notes the size of a streamed video; that of a whole video is known."""
    if session.video_height is not None:
        return
    if size is None:
        raise ValueError(
            "original_size must be provided when adding points or boxes on a first streamed frame"
        )
    session.video_height, session.video_width = (int(side) for side in size)


def _clicks(ids: list[int], points: Any, labels: Any, boxes: Any) -> list[Inputs]:
    """The points of each object, after the corners of its box."""
    clicks = _of_objects(ids, "points", points, "[image level, object level, point level, xy]", 4)
    signs = _of_objects(ids, "labels", labels, "[image level, object level, point level]", 3)
    corners = _of_objects(ids, "boxes", boxes, "[image level, box level, box coordinates]", 3)
    found = []
    for xy, sign, box in zip(clicks, signs, corners, strict=True):
        xy, sign = np.reshape(xy, (-1, 2)), np.reshape(sign, -1).astype(np.int64)
        if len(xy) != len(sign):
            raise ValueError("Input points and labels have inconsistent dimensions.")
        counts = sign != PADDING
        xy, sign = xy[counts], sign[counts]
        if box is not None and len(box):
            xy = np.concatenate([np.reshape(box, (2, 2)), xy])
            sign = np.concatenate([[2, 3], sign])
        found.append(Inputs(xy, sign))
    return found


def _of_objects(ids: list[int], name: str, value: Any, form: str, levels: int) -> list[Any]:
    """The float64 array of each object in a value of one image; empty ones where it is None."""
    if value is None:
        return [np.zeros(0) for _ in ids]
    got = value.ndim if hasattr(value, "ndim") else _nesting(value)
    if got != levels:
        raise ValueError(
            f"Input {name} must have {levels} levels. The expected nesting format is {form}. Got "
            f"{got} levels."
        )
    of_image = value[0]
    if len(of_image) != len(ids):
        raise ValueError(
            f"Number of object ids ({len(ids)}) does not match number of {name} ({len(of_image)})"
        )
    return [array_of(one).astype(np.float32).astype(np.float64) for one in of_image]


def _nesting(value: Any) -> int:
    """How many lists are inside one another."""
    if isinstance(value, (list, tuple)):
        return 1 + (_nesting(value[0]) if value else 0)
    return int(getattr(value, "ndim", 0))


def _masks(ids: list[int], masks: Any, side: int) -> list[Inputs]:
    """The mask of each object. side : of the model's square"""
    given = masks if isinstance(masks, list) else [masks]
    if len(given) != len(ids):
        raise ValueError(
            f"Number of object ids ({len(ids)}) does not match number of masks ({len(given)})"
        )
    for mask in given:
        if not 2 <= np.ndim(mask) <= 4:
            raise ValueError(f"Mask has an unsupported number of dimensions: {np.ndim(mask)}")
    pixels = [mask_of_prompt(mask, side) for mask in given]
    return [Inputs(mask=mask.reshape(mask.shape[-2:])) for mask in pixels]
