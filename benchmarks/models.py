"""The models that problems run: the packaged one, and those with seeded random weights."""

import json
import shutil
import tempfile
from pathlib import Path

PACKAGED = Path(__file__).parents[1] / "python/segrid/models/tiny"


def folder_of(model):
    """A folder with the config and weights of the model; random weights are made here."""
    if model == "tiny":
        return str(PACKAGED)
    # These import torch, which a process that measures must not load before its subject does.
    from tests import models

    folder = Path(tempfile.gettempdir()) / f"segrid-{model}"
    if model.startswith("sam2"):
        shutil.rmtree(folder, ignore_errors=True)  # `converted` takes no folder that holds a model
        return str(models.sam2.converted(model, folder))
    if model.startswith("owlv2-"):
        return str(models.owlv2.make(model.removeprefix("owlv2-"), folder))
    if model == "mobile_sam":
        return str(models.mobile_sam.make(model, folder))
    return str(models.sam.make(model, folder))


def video_folder():
    """A folder of SAM 2.1 tiny with the memory of video; seeded random weights that follow objects
    (tests/models/video_weights.py)."""
    from tests import models

    return str(models.sam2.make_video("tiny", Path(tempfile.gettempdir()) / "segrid-video"))


def of_side(folder, side):
    """The same model with an image square of `side` pixels."""
    from tests import models

    return str(models.sam2.of_side(folder, side, f"{folder}-{side}"))


def pooled_by(folder, pooling):
    """The same model with `memory_pooling`."""
    target = Path(f"{folder}-pooled-{pooling}")
    shutil.copytree(folder, target, dirs_exist_ok=True)
    config = json.loads((target / "config.json").read_text()) | {"memory_pooling": pooling}
    (target / "config.json").write_text(json.dumps(config))
    return str(target)


def recommended(points):
    """The packaged model's recommended options of everything, with `points` x `points` clicks."""
    best = json.loads((PACKAGED / "segrid.json").read_text())["recommended"]
    return {
        "points_per_side": points,
        "pred_iou_thresh": best["pred_iou_thresh"],
        "stability_score_thresh": best["stability_score_thresh"],
    }
