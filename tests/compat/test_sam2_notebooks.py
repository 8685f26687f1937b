"""The calls of sam2's two example notebooks for images in their order, with sam2 and with only the
import lines changed.

Masks are equal except where the original's logit is within 1e-4 of the threshold
(tests/README.md)."""

import numpy as np
import pytest
from PIL import Image

from tests.models import sam2_predictor

PREDICTOR = """
import numpy as np
import torch
from PIL import Image
from sam2.build_sam import build_sam2, build_sam2_video_predictor
from sam2.sam2_image_predictor import SAM2ImagePredictor

device = torch.device("cpu")
image = np.array(Image.open(image_file).convert("RGB"))
sam2_model = build_sam2(model_cfg, sam2_checkpoint, device=device)
predictor = SAM2ImagePredictor(sam2_model)
predictor.set_image(image)
shapes = predictor._features["image_embed"].shape, predictor._features["image_embed"][-1].shape
input_point, input_label = np.array([[100, 75]]), np.array([1])
masks, scores, logits = predictor.predict(
    point_coords=input_point, point_labels=input_label, multimask_output=True)
sorted_ind = np.argsort(scores)[::-1]
masks, scores, logits = masks[sorted_ind], scores[sorted_ind], logits[sorted_ind]
record(masks, scores, logits, point_coords=input_point, point_labels=input_label,
       multimask_output=True, order=sorted_ind)
input_point, input_label = np.array([[100, 75], [150, 40]]), np.array([1, 1])
mask_input = logits[np.argmax(scores), :, :]
arguments = dict(point_coords=input_point, point_labels=input_label,
                 mask_input=mask_input[None, :, :], multimask_output=False)
record(*predictor.predict(**arguments), **arguments)
arguments["point_labels"] = np.array([1, 0])
record(*predictor.predict(**arguments), **arguments)
input_box = np.array([30, 20, 180, 120])
arguments = dict(
    point_coords=None, point_labels=None, box=input_box[None, :], multimask_output=False)
record(*predictor.predict(**arguments), **arguments)
arguments = dict(point_coords=np.array([[100, 75]]), point_labels=np.array([0]), box=input_box,
                 multimask_output=False)
record(*predictor.predict(**arguments), **arguments)
input_boxes = np.array([[30, 20, 180, 120], [5, 5, 90, 70], [120, 30, 230, 140], [40, 60, 80, 100]])
arguments = dict(point_coords=None, point_labels=None, box=input_boxes, multimask_output=False)
record(*predictor.predict(**arguments), **arguments)
img_batch = [image, image[20:, 10:]]
predictor.set_image_batch(img_batch)
boxes_batch = [input_boxes, np.array([[3, 4, 90, 80]])]
record_batch(predictor.predict_batch(None, None, box_batch=boxes_batch, multimask_output=False),
             box_batch=boxes_batch, multimask_output=False)
pts_batch = [np.array([[[100, 75]], [[40, 30]]]), np.array([[[60, 20]], [[20, 90]], [[150, 60]]])]
labels_batch = [np.array([[1], [1]]), np.array([[1], [1], [1]])]
masks_batch, scores_batch, low = predictor.predict_batch(
    pts_batch, labels_batch, box_batch=None, multimask_output=True)
best = [masks[range(len(masks)), np.argmax(scores, axis=-1)]
        for masks, scores in zip(masks_batch, scores_batch)]
record_batch((masks_batch, scores_batch, low), point_coords_batch=pts_batch,
             point_labels_batch=labels_batch, multimask_output=True)
"""

GENERATOR = """
import numpy as np
import torch
from PIL import Image
from sam2.build_sam import build_sam2
from sam2.automatic_mask_generator import SAM2AutomaticMaskGenerator

image = np.array(Image.open(image_file).convert("RGB"))
sam2 = build_sam2(
    model_cfg, sam2_checkpoint, device=torch.device("cpu"), apply_postprocessing=False)
mask_generator = SAM2AutomaticMaskGenerator(sam2, points_per_side=3)
mask_generator.pred_iou_thresh, mask_generator.stability_score_thresh = 0.0, 0.0
mask_generator.box_nms_thresh = 1.0
masks = mask_generator.generate(image)
sorted_anns = sorted(masks, key=(lambda x: x["area"]), reverse=True)
mask_generator_2 = SAM2AutomaticMaskGenerator(
    model=sam2, points_per_side=4, points_per_batch=128, pred_iou_thresh=0.3,
    stability_score_thresh=0.2, stability_score_offset=0.7, crop_n_layers=1, box_nms_thresh=1.0,
    crop_nms_thresh=1.0, crop_n_points_downscale_factor=2, min_mask_region_area=25.0, use_m2m=True)
masks2 = mask_generator_2.generate(image)
"""


@pytest.fixture
def run(sam2_checkpoint, image, tmp_path, monkeypatch):
    """run(script, original): the names of a script after it ran, with sam2's import lines or with
    the drop-in's. Its records have the logits of the original's masks."""
    sam2_predictor.fills_holes(monkeypatch.setattr)
    Image.fromarray(image).save(tmp_path / "photo.png")

    def execute(script, original):
        records = []
        names = {
            "image_file": tmp_path / "photo.png",
            "sam2_checkpoint": str(sam2_checkpoint[1]),
            "model_cfg": "configs/sam2.1/sam2.1_hiera_t.yaml",
        }

        def record(masks, scores, low, order=slice(None), **arguments):
            logits = (
                names["predictor"].predict(**arguments, return_logits=True)[0][order]
                if original
                else None
            )
            records.append((masks, scores, low, logits))

        def record_batch(found, **arguments):
            logits = (
                names["predictor"].predict_batch(**arguments, return_logits=True)[0]
                if original
                else [None] * 2
            )
            records.extend(zip(*found, logits, strict=True))

        names |= {"record": record, "record_batch": record_batch, "records": records}
        text = script if original else script.replace("from sam2.", "from segrid.compat.sam2.")
        exec(compile(text, "notebook", "exec"), names)
        return names

    return execute


def test_image_predictor_example(run):
    other, mine = run(PREDICTOR, original=True), run(PREDICTOR, original=False)
    assert (
        tuple(mine["shapes"]) == tuple(other["shapes"])
        and len(mine["records"]) == len(other["records"]) == 10
    )
    for (masks, scores, low, _), (wanted, wanted_scores, wanted_low, logits) in zip(
        mine["records"], other["records"], strict=True
    ):
        assert (
            masks.dtype == wanted.dtype
            and masks.shape == wanted.shape
            and 0.02 < wanted.mean() < 0.98
        )
        assert not (
            (masks != wanted) & (np.abs(logits) >= 1e-4 * max(1, np.abs(logits).max()))
        ).any()
        assert np.abs(scores - wanted_scores).max() < 1e-4 and np.abs(
            low - wanted_low
        ).max() < 1e-4 * max(1, np.abs(wanted_low).max())
        assert scores.shape == wanted_scores.shape and low.shape == wanted_low.shape
    for best, wanted in zip(mine["best"], other["best"], strict=True):
        assert best.shape == wanted.shape and (best != wanted).mean() < 1e-4


def test_automatic_mask_generator_example(run):
    other, mine = run(GENERATOR, original=True), run(GENERATOR, original=False)
    for name, least in (("masks", 20), ("masks2", 8)):
        assert len(mine[name]) == len(other[name]) >= least
        for a, b in zip(sorted(mine[name], key=place), sorted(other[name], key=place), strict=True):
            assert (
                a.keys() == b.keys()
                and a["crop_box"] == b["crop_box"]
                and np.allclose(a["point_coords"], b["point_coords"], atol=1e-4)
            )
            assert (
                abs(a["predicted_iou"] - b["predicted_iou"]) < 1e-4
                and abs(a["stability_score"] - b["stability_score"]) < 1e-3
            )
            # Pixels whose logit is next to 0 may differ.
            assert (a["segmentation"] != b["segmentation"]).sum() <= 3 and abs(
                a["area"] - b["area"]
            ) <= 3
    assert [r["area"] for r in mine["sorted_anns"]] == pytest.approx(
        [r["area"] for r in other["sorted_anns"]], abs=3
    )


def place(record):
    return (
        tuple(record["crop_box"]),
        tuple(record["point_coords"][0]),
        round(record["predicted_iou"], 3),
        record["area"] // 8,
    )
