"""The common part of the originals' mask generators: their options, which are attributes, and the
records they return."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from segrid.compat.amg import build_all_layer_point_grids
from segrid.results import Masks

OUTPUT_MODES = ["binary_mask", "uncompressed_rle", "coco_rle"]
HOOKS = (
    "_generate_masks",
    "_process_crop",
    "_process_batch",
    "postprocess_small_regions",
    "refine_with_m2m",
)
ENCODING = ("set_image", "set_torch_image", "predict", "predict_torch", "_predict")
OWN = ("points_per_batch", "output_mode", "crop_n_points_downscale_factor")


class MaskGenerator:
    """Everything mode with the originals' arguments.

    As in the originals, every option of the constructor is an attribute of that name, which
    `generate` reads (`points_per_side` becomes `point_grids`). A subclass defines how its predictor
    is made, and which options have another name in `Segmenter.everything` (`_asked`).

    The originals' inner steps (`_process_batch` and the like) are one call of the engine here. A
    subclass or an object that defines one of them raises NotImplementedError naming it. Reading one
    of them raises it too, and so does a predictor that overrides a call which the originals make.
    """

    predictor: Any
    predictor_type: type  # the drop-in's own class
    point_grids: list[np.ndarray]
    points_per_batch: int
    output_mode: str
    as_float32 = False  # sam2 keeps points in float32, segment_anything in float64

    def _configure(self, arguments: dict[str, Any]) -> None:
        """Takes `locals()` of the subclass's constructor: all its arguments except the model."""
        for hook in HOOKS:
            if hasattr(type(self), hook):
                raise NotImplementedError(_never_runs(f"{type(self).__name__}.{hook}"))
        options = {k: v for k, v in arguments.items() if k not in ("self", "model", "kwargs")}
        side, grids = options.pop("points_per_side"), options.pop("point_grids")
        assert (side is None) != (grids is None), (
            "Exactly one of points_per_side or point_grid must be provided."
        )
        mode = options["output_mode"]
        assert mode in OUTPUT_MODES, f"Unknown output_mode {mode}."
        self.point_grids = (
            grids
            if side is None
            else build_all_layer_point_grids(
                side, options["crop_n_layers"], options["crop_n_points_downscale_factor"]
            )
        )
        vars(self).update(options)
        self._names = [name for name in options if name not in OWN]

    def __setattr__(self, name: str, value: Any) -> None:
        if name in HOOKS:
            raise NotImplementedError(_never_runs(f"{type(self).__name__}.{name}"))
        super().__setattr__(name, value)

    def __getattr__(self, name: str) -> Any:
        """Called only for attributes that do not exist."""
        if name in HOOKS:
            raise NotImplementedError(_never_runs(f"{type(self).__name__}.{name}"))
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def generate(self, image: np.ndarray) -> list[dict[str, Any]]:
        """Segments an (H, W, 3) uint8 RGB image. Returns a list of records in the original's order:
        segmentation, area, bbox XYWH, predicted_iou, point_coords, stability_score, crop_box XYWH.

        Raises NotImplementedError if the predictor overrides a method that would never be
        called."""
        for name in ENCODING:
            own = getattr(self.predictor_type, name, None)
            if getattr(type(self.predictor), name, None) is not own or name in vars(self.predictor):
                raise NotImplementedError(_never_runs(f"{type(self.predictor).__name__}.{name}"))
        found = self.predictor.model.segmenter.everything(
            image, containment_thresh=1.0, crop_containment_thresh=1.0, **self._asked()
        )
        return records(found, self.output_mode, self.as_float32)

    def _asked(self) -> dict[str, Any]:
        """Returns the current attributes as arguments of `Segmenter.everything`."""
        asked = {name: _number(name, getattr(self, name)) for name in self._names}
        for name in ("pred_iou_thresh", "stability_score_thresh"):
            # Such a value, NaN included, turns the filter off in the originals.
            if not asked[name] > 0:
                asked[name] = 0.0
        for name in ("box_nms_thresh", "crop_nms_thresh"):
            asked[name] = min(asked[name], 1.0)  # no IoU exceeds 1
        if len(self.point_grids) <= asked["crop_n_layers"]:
            raise IndexError(
                f"list index out of range: point_grids has {len(self.point_grids)} "
                f"grids, and crop_n_layers={asked['crop_n_layers']} needs one more "
                "than there are layers"
            )
        return asked | {"point_grids": self.point_grids, "any_thresholds": True}


def _number(name: str, value: Any) -> Any:
    """Turns scalars of NumPy and torch into Python's, and gives an int where the engine needs a
    whole number: an area below 24.5 pixels is one below 25, and an area below 0 is none."""
    value = value.item() if hasattr(value, "item") else value
    if name == "min_mask_region_area":
        return max(0, math.ceil(value))
    if name == "crop_n_layers" and isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def _never_runs(hook: str) -> str:
    return (
        f"{hook}: segrid does this step inside its engine and would never call it; change the "
        "list that generate() returns, or use Segmenter.predict for a loop of your own"
    )


def records(masks: Masks, output_mode: str, as_float32: bool) -> list[dict[str, Any]]:
    """Returns a dict per mask: segmentation, area, bbox (XYWH, the inclusive maximum minus the
    minimum), predicted_iou, point_coords, stability_score, crop_box."""
    if output_mode == "binary_mask":
        segmentations: Any = (m.array[0] for m in masks)
    elif output_mode == "coco_rle":
        segmentations = (r | {"counts": r["counts"].decode()} for r in masks.rle)
    else:
        segmentations = iter(masks.uncompressed_rle)
    points = masks.points.astype("float32") if as_float32 else masks.points
    number = float if as_float32 else int  # sam2's boxes are floats
    out = []
    for i, segmentation in enumerate(segmentations):
        x0, y0, x1, y1 = map(number, masks.boxes[i])
        cx0, cy0, cx1, cy1 = map(number, masks.crop_boxes[i])
        out.append(
            {
                "segmentation": segmentation,
                "area": int(masks.areas[i]),
                "bbox": [x0, y0, x1 - x0, y1 - y0],
                "predicted_iou": float(masks.scores[i]),
                "point_coords": [points[i].tolist()],
                "stability_score": float(masks.stability[i]),
                "crop_box": [cx0, cy0, cx1 - cx0, cy1 - cy0],
            }
        )
    return out
