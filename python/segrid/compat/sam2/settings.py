"""sam2's settings of the mask decoder. Hydra's overrides lead to a model with another config.json
and the same weights."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from segrid.compat.checkpoints import cache, fill
from segrid.compat.state_dicts import TemporaryFolder
from segrid.segmenter import Segmenter

# The engine's values for keys of mask_decoder_config that a config.json lacks.
DEFAULTS = {
    "dynamic_multimask_via_stability": True,
    "dynamic_multimask_stability_delta": 0.05,
    "dynamic_multimask_stability_thresh": 0.98,
    "iou_prediction_use_sigmoid": True,
}


def boolean(value: Any) -> bool:
    """Converts true or false, given as text or as a bool. Raises ValueError for anything else."""
    text = str(value).lower()
    if text not in ("true", "false"):
        raise ValueError(f"must be true or false, got {value!r}")
    return text == "true"


# The attributes of sam2's mask decoder, and their types.
DECODER: dict[str, Callable[[Any], Any]] = {
    "dynamic_multimask_via_stability": boolean,
    "dynamic_multimask_stability_delta": float,
    "dynamic_multimask_stability_thresh": float,
}
OVERRIDES = {f"sam_mask_decoder_extra_args.{name}": (name, kind) for name, kind in DECODER.items()}
OVERRIDES["iou_prediction_use_sigmoid"] = ("iou_prediction_use_sigmoid", boolean)
# Settings of memory and tracking, which images do not need. They are accepted and have no effect,
# as in sam2's predictor.
OF_VIDEOS = {
    "add_all_frames_to_correct_as_cond",
    "binarize_mask_from_pts_for_mem_enc",
    "clear_non_cond_mem_around_input",
    "compile_image_encoder",
    "fill_hole_area",
    "max_cond_frames_in_attn",
    "max_obj_ptrs_in_encoder",
    "memory_temporal_stride_for_eval",
    "multimask_max_pt_num",
    "multimask_min_pt_num",
    "multimask_output_for_tracking",
    "multimask_output_in_sam",
    "non_overlap_masks",
    "non_overlap_masks_for_mem_enc",
    "num_maskmem",
    "only_obj_ptrs_in_the_past_for_eval",
    "sigmoid_bias_for_mem_enc",
    "sigmoid_scale_for_mem_enc",
    "use_mask_input_as_output_without_sam",
    "use_multimask_token_for_obj_ptr",
}


def settings_of(overrides: Iterable[str], apply_postprocessing: bool) -> dict[str, Any]:
    """Returns the values that `build_sam2` changes in mask_decoder_config. Without post-processing
    the mask decoder is as in the YAML files: single masks stay, however unstable they are. With it,
    sam2 replaces the overrides of dynamic_multimask_* by its own values, so here the model's own
    values stay.

    Raises NotImplementedError for overrides that segrid has no setting for, and ValueError for
    values of another type."""
    asked = {} if apply_postprocessing else {"dynamic_multimask_via_stability": False}
    for override in overrides:
        known = re.fullmatch(r"\+{0,2}model\.([\w.]+)=(.*)", override)
        name = known[1] if known else ""
        if known and name in OVERRIDES:
            key, kind = OVERRIDES[name]
            try:
                asked[key] = kind(known[2])
            except ValueError as error:
                raise ValueError(f"hydra_overrides_extra: {override!r}: {error}") from error
        elif name not in OF_VIDEOS:
            raise NotImplementedError(
                f"hydra_overrides_extra: {override!r} has no switch in segrid; it has "
                + ", ".join(f"++model.{known}" for known in (*OVERRIDES, *OF_VIDEOS))
            )
    if apply_postprocessing:
        asked = {name: value for name, value in asked.items() if name not in DECODER}
    return asked


def setting_of(segmenter: Segmenter, name: str) -> Any:
    """Returns the value of config.json, or the engine's default."""
    return _decoder(_config(segmenter)).get(name, DEFAULTS[name])


def with_settings(segmenter: Segmenter, settings: Mapping[str, Any]) -> Segmenter:
    """Returns a Segmenter of the same weights with these values in mask_decoder_config. It is the
    given one if it has these values already; otherwise it is loaded from a folder in the cache,
    whose weights are links to the model's."""
    if all(setting_of(segmenter, name) == value for name, value in settings.items()):
        return segmenter
    config = _config(segmenter)
    config["mask_decoder_config"] = _decoder(config) | dict(settings)
    text = json.dumps(config, indent=2) + "\n"
    weights = os.path.realpath(segmenter._files.weights)
    stamp = os.stat(weights)
    if isinstance(source := segmenter._arguments["model"], TemporaryFolder):
        fresh = TemporaryFolder.make()
        # Symbolic links need the folder to exist; they are used where hard links cannot be.
        fresh.before = source
        _fill(Path(fresh), text, weights, segmenter._files.settings)
        return type(segmenter)(**{**segmenter._arguments, "model": fresh})
    key = f"{text}{weights}{stamp.st_size}{stamp.st_mtime_ns}"
    folder = cache() / f"variant-{hashlib.sha256(key.encode()).hexdigest()[:16]}"
    if not (folder / "config.json").exists():
        fill(folder, lambda fresh: _fill(fresh, text, weights, segmenter._files.settings))
    return type(segmenter)(**{**segmenter._arguments, "model": folder})


def _fill(folder: Path, config: str, weights: str, settings: str | None) -> None:
    _link(weights, folder / "model.safetensors")
    if settings is not None:
        _link(os.path.realpath(settings), folder / "segrid.json")
    (folder / "config.json").write_text(config, encoding="utf-8")


def _link(source: str, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # the target is on another file system
        os.symlink(source, target)


def _config(segmenter: Segmenter) -> dict[str, Any]:
    config: dict[str, Any] = json.loads(Path(segmenter._files.config).read_text(encoding="utf-8"))
    return config


def _decoder(config: dict[str, Any]) -> dict[str, Any]:
    own: dict[str, Any] = config.get("mask_decoder_config") or {}
    return own
