"""The calls of segment_anything's two example notebooks in their order, with the original and with
the drop-in; only the import lines differ."""

from pathlib import Path

import numpy as np
import pytest
import segrid

# notebooks/predictor_example.ipynb. `keep` stands where the notebook shows a picture.
PREDICTOR = """
import numpy as np
import torch

from segment_anything import sam_model_registry, SamPredictor

sam = sam_model_registry[model_type](checkpoint=sam_checkpoint)
sam.to(device=device)
predictor = SamPredictor(sam)
predictor.set_image(image)

input_point = np.array([[100, 75]])
input_label = np.array([1])
masks, scores, logits = predictor.predict(
    point_coords=input_point, point_labels=input_label, multimask_output=True)
keep(masks, logits, predictor)

input_point = np.array([[100, 75], [225, 125]])
input_label = np.array([1, 1])
mask_input = logits[np.argmax(scores), :, :]
masks, _, logits = predictor.predict(
    point_coords=input_point, point_labels=input_label, mask_input=mask_input[None, :, :],
    multimask_output=False)
keep(masks, logits, predictor)

input_label = np.array([1, 0])
masks, _, logits = predictor.predict(
    point_coords=input_point, point_labels=input_label, mask_input=mask_input[None, :, :],
    multimask_output=False)
keep(masks, logits, predictor)

input_box = np.array([85, 60, 170, 130])
masks, _, logits = predictor.predict(
    point_coords=None, point_labels=None, box=input_box[None, :], multimask_output=False)
keep(masks, logits, predictor)

input_point = np.array([[115, 105]])
input_label = np.array([0])
masks, _, logits = predictor.predict(
    point_coords=input_point, point_labels=input_label, box=input_box, multimask_output=False)
keep(masks, logits, predictor)

input_boxes = torch.tensor(
    [[15, 60, 170, 130], [70, 2, 200, 60], [85, 60, 170, 130], [150, 80, 225, 148]],
    device=predictor.device)
transformed_boxes = predictor.transform.apply_boxes_torch(input_boxes, image.shape[:2])
masks, _, logits = predictor.predict_torch(
    point_coords=None, point_labels=None, boxes=transformed_boxes, multimask_output=False)
assert masks.shape == (4, 1, *image.shape[:2])
for mask, low in zip(masks, logits):
    keep(mask.cpu().numpy(), low.cpu().numpy(), predictor)

image1, image1_boxes = image, input_boxes
image2_boxes = torch.tensor([[30, 10, 80, 90], [5, 40, 60, 110]], device=sam.device)

from segment_anything.utils.transforms import ResizeLongestSide
resize_transform = ResizeLongestSide(sam.image_encoder.img_size)

def prepare_image(image, transform, device):
    image = transform.apply_image(image)
    image = torch.as_tensor(image, device=device.device)
    return image.permute(2, 0, 1).contiguous()

batched_input = [
    {"image": prepare_image(image1, resize_transform, sam),
     "boxes": resize_transform.apply_boxes_torch(image1_boxes, image1.shape[:2]),
     "original_size": image1.shape[:2]},
    {"image": prepare_image(image2, resize_transform, sam),
     "boxes": resize_transform.apply_boxes_torch(image2_boxes, image2.shape[:2]),
     "original_size": image2.shape[:2]}]
batched_output = sam(batched_input, multimask_output=False)
assert list(batched_output[0]) == ["masks", "iou_predictions", "low_res_logits"]
for entry, output in zip(batched_input, batched_output):
    predictor.original_size = entry["original_size"]
    predictor.input_size = entry["image"].shape[1:]
    for mask, low in zip(output["masks"], output["low_res_logits"]):
        keep(mask.cpu().numpy(), low.cpu().numpy(), predictor)
"""

# notebooks/automatic_mask_generator_example.ipynb
GENERATOR = """
from segment_anything import sam_model_registry, SamAutomaticMaskGenerator, SamPredictor

sam = sam_model_registry[model_type](checkpoint=sam_checkpoint)
sam.to(device=device)
mask_generator = SamAutomaticMaskGenerator(sam, points_per_side=side)
masks = mask_generator.generate(image)
keep(masks)

mask_generator_2 = SamAutomaticMaskGenerator(
    model=sam, points_per_side=side, pred_iou_thresh=0.5, stability_score_thresh=0.7,
    crop_n_layers=1, crop_n_points_downscale_factor=2, min_mask_region_area=100)
masks2 = mask_generator_2.generate(image)
keep(masks2)
"""


@pytest.fixture
def both(monkeypatch, trained_pair):
    """run(script, keep, **names): runs a script with the original, then with the drop-in."""
    import segment_anything

    folder = Path(segrid.__file__).parent / "models/tiny"
    # The original's registry knows no model of this size.
    registry = {"vit_b": lambda checkpoint: trained_pair[1]}
    monkeypatch.setattr(segment_anything, "sam_model_registry", registry)

    def run(script, keep, **names):
        kept = []
        changed = script.replace("from segment_anything", "from segrid.compat.segment_anything")
        for text in (script, changed):
            kept.append([])
            exec(
                compile(text, "notebook", "exec"),
                names
                | dict(
                    model_type="vit_b",
                    sam_checkpoint=str(folder),
                    device="cpu",
                    keep=lambda *what: kept[-1].append(keep(*what)),
                ),
            )
        return zip(*kept, strict=True)

    return run


def test_predictor_example(both, image, other_image):
    def keep(masks, logits, predictor):
        import torch

        low = torch.as_tensor(logits)[None]
        sizes = predictor.input_size, predictor.original_size
        return masks, predictor.model.postprocess_masks(low, *sizes)[0].numpy()

    shown = list(both(PREDICTOR, keep, image=image, image2=other_image))
    assert len(shown) == 5 + 4 + 6
    for (theirs, logits), (mine, _) in shown:
        assert mine.dtype == theirs.dtype == bool and mine.shape == theirs.shape
        assert (np.abs(logits[mine != theirs]) < 1e-4).all()
    assert 0.05 < np.mean([theirs.mean() for (theirs, _), _ in shown]) < 0.95, "vacuous"


def test_automatic_mask_generator_example(both, coins):
    picture = np.ascontiguousarray(coins[:200, :260])
    runs = list(both(GENERATOR, lambda masks: masks, image=picture, side=8))
    assert len(runs[1][0]) > 5
    for theirs, mine in runs:
        assert len(mine) == len(theirs)
        for a, b in zip(mine, theirs, strict=True):
            assert list(a) == list(b)
            assert (a["segmentation"] != b["segmentation"]).sum() <= 2
            assert abs(a["predicted_iou"] - b["predicted_iou"]) < 1e-4
            assert a["point_coords"] == b["point_coords"] and a["crop_box"] == b["crop_box"]
            assert np.abs(np.subtract(a["bbox"], b["bbox"])).max() <= 1
