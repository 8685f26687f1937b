"""sam2's settings of memory and tracking: Hydra's overrides, and the options of a session."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from segrid.compat.sam2.settings import boolean, settings_of
from segrid.compat.video_rules import WITHOUT_LIMIT
from segrid.video.tracker import Tracker

# Names of sam2's predictor: the option of segrid's session, and the type.
SETTINGS: dict[str, tuple[str, Any]] = {
    "fill_hole_area": ("max_hole_area", int),
    "add_all_frames_to_correct_as_cond": ("corrections_condition", boolean),
    "clear_non_cond_mem_around_input": ("forget_near_prompts", boolean),
    "num_maskmem": ("memory_frames", int),
    "max_cond_frames_in_attn": ("conditioning_frames", int),
    "max_obj_ptrs_in_encoder": ("pointers", int),
    "memory_temporal_stride_for_eval": ("memory_stride", int),
}
POSTPROCESSED_HOLES = 8  # fill_hole_area of apply_postprocessing=True
# What published models have and the engine computes. Other values are refused.
FIXED = {
    "binarize_mask_from_pts_for_mem_enc": True,
    "multimask_max_pt_num": 1,
    "multimask_min_pt_num": 0,
    "multimask_output_for_tracking": True,
    "multimask_output_in_sam": True,
    "only_obj_ptrs_in_the_past_for_eval": True,
    "sigmoid_bias_for_mem_enc": -10.0,
    "sigmoid_scale_for_mem_enc": 20.0,
    "use_mask_input_as_output_without_sam": True,
    "use_multimask_token_for_obj_ptr": True,
}
KINDS = {name: kind for name, (_, kind) in SETTINGS.items()}
KINDS |= {"non_overlap_masks": boolean, "image_size": int}
KINDS |= {name: boolean if value is True else float for name, value in FIXED.items()}
# In sam2 1.1 these change no result of the video predictor.
WITHOUT_EFFECT = ("compile_image_encoder", "non_overlap_masks_for_mem_enc")
TARGETS = [f"sam2.sam2_video_predictor.SAM2VideoPredictor{vos}" for vos in ("", "VOS")]


def video_settings_of(
    overrides: Iterable[str], apply_postprocessing: bool
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns what `build_sam2_video_predictor` sets: (attributes of the predictor and its
    image_size, values of mask_decoder_config).

    Raises NotImplementedError for overrides that segrid has no setting for, and ValueError for
    values of another type."""
    asked: dict[str, Any] = {}
    others = []
    for override in overrides:
        known = re.fullmatch(r"\+{0,2}model\.([\w.]+)=(.*)", override)
        name = known[1] if known else ""
        if known and name == "_target_":
            if known[2] not in TARGETS:
                raise NotImplementedError(
                    f"hydra_overrides_extra: {override!r}: segrid has {' and '.join(TARGETS)}, "
                    "and no other predictor's steps"
                )
            continue
        if known is None or name not in KINDS:
            others += [] if name in WITHOUT_EFFECT else [override]
            continue
        try:
            value = KINDS[name](known[2])
        except ValueError as error:
            raise ValueError(f"hydra_overrides_extra: {override!r}: {error}") from error
        if name not in FIXED:
            asked[name] = value
        elif value != FIXED[name]:
            raise NotImplementedError(
                f"hydra_overrides_extra: {override!r}: segrid computes with {name}={FIXED[name]}, "
                "as published models have it"
            )
    if apply_postprocessing:
        asked["fill_hole_area"] = POSTPROCESSED_HOLES
    return asked, settings_of(others, apply_postprocessing)


def of_model(tracker: Tracker) -> dict[str, int]:
    """Returns sam2's settings that the model's config.json has."""
    config = json.loads(Path(tracker._files.config).read_text(encoding="utf-8"))
    return {
        "num_maskmem": config.get("num_maskmem", 7),
        "max_cond_frames_in_attn": config.get("max_cond_frame_num", -1),
        "max_obj_ptrs_in_encoder": config.get("max_object_pointers_in_encoder", 16),
    }


def session_options(predictor: Any) -> dict[str, Any]:
    """Returns the options of `Tracker.open` for a predictor's current settings."""
    options = {option: getattr(predictor, name) for name, (option, _) in SETTINGS.items()}
    options["conditioning_frames"] = max(0, options["conditioning_frames"])  # sam2: -1 is all
    return options | WITHOUT_LIMIT
