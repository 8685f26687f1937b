"""segrid.compat.segment_anything against segment_anything: the same calls with one import line
changed."""

import numpy as np
import pytest
import torch
from segrid.compat.segment_anything import SamAutomaticMaskGenerator, SamPredictor

from tests.reference.agreement import same_arrays

PROMPTS = {
    "point": dict(point_coords=np.array([[50.0, 60]]), point_labels=np.array([1])),
    "points": dict(
        point_coords=np.array([[50, 60], [80, 20], [10, 140]]), point_labels=np.array([1, 0, 1])
    ),
    "box": dict(box=np.array([20, 30, 150, 120])),
    "outside and reversed": dict(
        point_coords=np.array([[-30.0, 500]]),
        point_labels=np.array([1]),
        box=np.array([150, 30, 20.0, 1200]),
    ),
    "point and box": dict(
        point_coords=np.array([[50.0, 60]]),
        point_labels=np.array([0]),
        box=np.array([20.0, 30, 150, 120]),
    ),
}


@pytest.fixture(scope="module")
def ours(sam_pair):
    sam_pair[0].to(device="cpu").eval()
    return sam_pair[0]


@pytest.fixture(scope="module")
def predictors(ours, sam_checkpoint, image):
    from segment_anything import SamPredictor as Original

    pair = SamPredictor(ours), Original(sam_checkpoint[0])
    with torch.no_grad():
        for p in pair:
            p.set_image(image)
    return pair


@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize("multimask", [True, False])
@pytest.mark.parametrize("logits", [True, False])
def test_predict(predictors, prompt, multimask, logits):
    mine, original = (
        p.predict(**PROMPTS[prompt], multimask_output=multimask, return_logits=logits)
        for p in predictors
    )
    same_arrays(mine, original)


def test_low_res_masks_go_back_in(predictors):
    low = predictors[1].predict(**PROMPTS["point"])[2]
    same_arrays(
        *(
            p.predict(**PROMPTS["points"], mask_input=low[1:2], multimask_output=False)
            for p in predictors
        )
    )


def test_predict_torch(predictors, image):
    points = torch.tensor([[[50.0, 60]], [[120, 40]], [[200, 140]]])
    boxes = torch.tensor([[20.0, 30, 150, 120], [5, 5, 60, 60]])
    results = []
    for p in predictors:
        at = p.transform.apply_coords_torch(points, image.shape[:2])
        first = p.predict_torch(point_coords=at, point_labels=torch.ones(3, 1))
        corners = p.transform.apply_boxes_torch(boxes, image.shape[:2])
        results.append(
            (
                *first,
                *p.predict_torch(
                    point_coords=None, point_labels=None, boxes=corners, multimask_output=False
                ),
            )
        )
    same_arrays(*results)


def test_transforms_and_state(predictors, image):
    mine, original = predictors
    coords, boxes = np.array([[3.5, 7], [100, 20]]), np.array([[1, 2, 30, 40]])
    for name, value in (("apply_coords", coords), ("apply_boxes", boxes)):
        assert np.allclose(
            getattr(mine.transform, name)(value, image.shape[:2]),
            getattr(original.transform, name)(value, image.shape[:2]),
            rtol=1e-12,
        )
    assert np.array_equal(mine.transform.apply_image(image), original.transform.apply_image(image))
    assert tuple(mine.original_size) == tuple(original.original_size) and tuple(
        mine.input_size
    ) == tuple(original.input_size)
    assert mine.is_image_set and str(mine.device) == str(original.device)
    same_arrays([mine.get_image_embedding()], [original.get_image_embedding()])


def test_set_torch_image_and_bgr(ours, sam_checkpoint, image):
    from segment_anything import SamPredictor as Original

    results = []
    for predictor in (SamPredictor(ours), Original(sam_checkpoint[0])):
        small = predictor.transform.apply_image(image)
        tensor = torch.as_tensor(image).permute(2, 0, 1)[None].float()
        floats = torch.nn.functional.interpolate(
            tensor, small.shape[:2], mode="bilinear", antialias=True
        )
        predictor.set_torch_image(floats, image.shape[:2])  # Floats are not rounded.
        unrounded = predictor.features.clone()
        predictor.set_torch_image(torch.as_tensor(small).permute(2, 0, 1)[None], image.shape[:2])
        assert not torch.equal(unrounded, predictor.features)
        first = (unrounded, *predictor.predict(**PROMPTS["box"]))
        predictor.set_image(image[..., ::-1], image_format="BGR")
        results.append((*first, *predictor.predict(**PROMPTS["point"])))
    same_arrays(*results)


def test_errors_that_people_match_on(ours, sam_checkpoint, image):
    from segment_anything import SamAutomaticMaskGenerator as OriginalGenerator
    from segment_anything import SamPredictor as Original

    def message(call):
        with pytest.raises((RuntimeError, AssertionError)) as error:
            call()
        return type(error.value), str(error.value)

    mine, original = SamPredictor(ours), Original(sam_checkpoint[0])
    for call in (
        lambda p: p.predict(**PROMPTS["point"]),
        lambda p: p.get_image_embedding(),
        lambda p: p.set_image(image, image_format="GBR"),
        lambda p: p.predict_torch(None, None),
        lambda p: p.set_torch_image(torch.zeros(1, 3, 8, 8), (8, 8)),
    ):
        assert message(lambda c=call: c(mine)) == message(lambda c=call: c(original))
    for p in (mine, original):
        p.set_image(image)
    assert message(lambda: mine.predict(point_coords=np.zeros((1, 2)))) == message(
        lambda: original.predict(point_coords=np.zeros((1, 2)))
    )
    for options in (dict(points_per_side=None), dict(output_mode="png")):
        first, second = (
            message(lambda g=g, m=m, o=options: g(m, **o))
            for g, m in ((SamAutomaticMaskGenerator, ours), (OriginalGenerator, sam_checkpoint[0]))
        )
        assert first == second
    mine.reset_image()
    assert not mine.is_image_set and mine.features is None


@pytest.mark.parametrize("mode", ["binary_mask", "uncompressed_rle", "coco_rle"])
def test_generator(trained_pair, coins, mode):
    """On trained weights the records of both generators have the same keys, types and masks, all in
    the same order."""
    from segment_anything import SamAutomaticMaskGenerator as Original

    options = dict(
        points_per_side=12,
        pred_iou_thresh=0.5,
        stability_score_thresh=0.75,
        output_mode=mode,
        points_per_batch=16,
    )
    mine = SamAutomaticMaskGenerator(trained_pair[0], **options).generate(coins)
    original = Original(trained_pair[1], **options).generate(coins)
    assert len(mine) == len(original) > 5
    for a, b in zip(mine, original, strict=True):
        assert list(a) == list(b)
        for key in a:
            assert type(a[key]) is type(b[key]), key
        # Theirs are floats when a batch of points gave nothing, otherwise ints, as ours are.
        assert len(a["bbox"]) == len(b["bbox"]) == 4
        assert (
            abs(a["predicted_iou"] - b["predicted_iou"]) < 1e-4
            and a["point_coords"] == b["point_coords"]
            and a["crop_box"] == b["crop_box"]
        )
        assert (
            np.abs(np.subtract(a["bbox"], b["bbox"])).max() <= 1
            and abs(a["area"] - b["area"]) <= 0.001 * b["area"] + 2
        )
        if mode == "binary_mask":
            assert (
                a["segmentation"].dtype == b["segmentation"].dtype == bool
                and (a["segmentation"] == b["segmentation"]).mean() > 0.999
            )
        else:
            assert (
                list(a["segmentation"]) == list(b["segmentation"])
                and a["segmentation"]["size"] == b["segmentation"]["size"]
            )
            assert type(a["segmentation"]["counts"]) is type(b["segmentation"]["counts"])
