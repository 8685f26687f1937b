"""segrid.compat.sam2 against sam2: the same calls with only the import lines changed."""

import numpy as np
import pytest
import torch
from PIL import Image
from segrid.compat.sam2.automatic_mask_generator import SAM2AutomaticMaskGenerator
from segrid.compat.sam2.build_sam import build_sam2
from segrid.compat.sam2.sam2_image_predictor import SAM2ImagePredictor

from tests.models import sam2_predictor

PROMPTS = {
    "point": dict(point_coords=np.array([[50.0, 60]]), point_labels=np.array([1])),
    "points": dict(
        point_coords=np.array([[50, 60], [80, 20], [10, 140]]), point_labels=np.array([1, 0, 1])
    ),
    "several objects": dict(
        point_coords=np.array([[[50.0, 60]], [[200, 20]]]), point_labels=np.array([[1], [1]])
    ),
    "box": dict(box=np.array([20, 30, 150, 120])),
    "boxes": dict(box=np.array([[20, 30, 150, 120], [5, 5, 90, 60]])),
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
def ours(sam2_checkpoint):
    return build_sam2("configs/sam2.1/sam2.1_hiera_t.yaml", sam2_checkpoint[1], device="cpu")


@pytest.fixture(scope="module")
def predictors(ours, sam2_checkpoint, image):
    from sam2.sam2_image_predictor import SAM2ImagePredictor as Original

    pair = SAM2ImagePredictor(ours), Original(sam2_checkpoint[0])
    for p in pair:
        p.set_image(Image.fromarray(image))
    return pair


def same(a, b, tolerance=1e-4):
    for one, other in zip(a, b, strict=True):
        assert (
            type(one) is type(other)
            and one.dtype == other.dtype
            and tuple(one.shape) == tuple(other.shape)
        )
        one, other = np.asarray(one), np.asarray(other)
        if set(np.unique(other)) <= {0, 1}:
            assert (one == other).mean() > 0.999
        else:
            assert np.abs(one - other).max() <= tolerance * np.abs(other).max()


@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize("multimask, logits", [(True, False), (False, True)])
def test_predict(predictors, prompt, multimask, logits):
    same(
        *(
            p.predict(**PROMPTS[prompt], multimask_output=multimask, return_logits=logits)
            for p in predictors
        )
    )


def test_low_res_masks_go_back_in(predictors):
    low = predictors[1].predict(**PROMPTS["point"])[2]
    same(
        *(
            p.predict(**PROMPTS["points"], mask_input=low[1:2], multimask_output=False)
            for p in predictors
        )
    )


def test_normalised_coordinates(predictors):
    prompt = dict(
        point_coords=np.array([[0.3, 0.4]]), point_labels=np.array([1]), normalize_coords=False
    )
    same(*(p.predict(**prompt) for p in predictors))


def test_embedding(predictors):
    mine, original = predictors
    same([mine.get_image_embedding()], [original.get_image_embedding()])
    same(mine._features["high_res_feats"], original._features["high_res_feats"])
    assert mine._orig_hw == original._orig_hw and str(mine.device) == str(original.device)


def test_batches(thin_sam2, image, other_image):
    from sam2.sam2_image_predictor import SAM2ImagePredictor as Original

    images, results = [image, other_image], []
    points = [np.array([[50.0, 60]]), np.array([[[20.0, 30]], [[60, 70]]])]
    labels = [np.array([1]), np.array([[1], [1]])]
    for predictor in (SAM2ImagePredictor(thin_sam2[0]), Original(thin_sam2[1])):
        predictor.set_image_batch(images)
        first = predictor.predict_batch(points, labels)
        boxes = predictor.predict_batch(
            box_batch=[np.array([5, 5, 60, 60]), np.array([[1, 2, 80, 60], [3, 3, 40, 40]])],
            multimask_output=False,
        )
        assert all(isinstance(part, list) for part in (*first, *boxes))
        results.append([a for part in (*first, *boxes) for a in part])
    same(*results)


@pytest.mark.parametrize(
    "options",
    [
        dict(),
        dict(use_m2m=True, pred_iou_thresh=0.3),
        dict(multimask_output=False, output_mode="coco_rle"),
        dict(
            points_per_side=None,
            point_grids=[np.array([[0.2, 0.3], [0.7, 0.6]])] * 2,
            crop_n_layers=1,
            pred_iou_thresh=0.0,
            stability_score_thresh=0.0,
        ),
        dict(mask_threshold=2.0),
    ],
    ids=["plain", "m2m", "one mask", "crops", "threshold"],
)
def test_generator(thin_sam2, image, options):
    """NMS is off and thresholds are low, so that all random masks are kept and compared."""
    from sam2.automatic_mask_generator import SAM2AutomaticMaskGenerator as Original

    options = (
        dict(
            points_per_side=4,
            pred_iou_thresh=0.4,
            stability_score_thresh=0.2,
            box_nms_thresh=1.0,
            crop_nms_thresh=1.0,
        )
        | options
    )
    mine = SAM2AutomaticMaskGenerator(thin_sam2[0], **options).generate(image)
    original = Original(thin_sam2[1], **options).generate(image)
    assert len(original) > 4 and len(mine) == len(original)

    def order(r):
        return tuple(r["crop_box"]), tuple(r["point_coords"][0]), r["predicted_iou"]

    for a, b in zip(sorted(mine, key=order), sorted(original, key=order), strict=True):
        assert list(a) == list(b) and [type(a[k]) for k in a] == [type(b[k]) for k in b]
        for name in ("bbox", "crop_box"):
            assert [type(v) for v in a[name]] == [type(v) for v in b[name]] == [float] * 4
        assert (
            np.allclose(a["point_coords"], b["point_coords"], atol=1e-4)
            and a["crop_box"] == b["crop_box"]
        )
        assert (
            abs(a["predicted_iou"] - b["predicted_iou"]) < 1e-4
            and abs(a["stability_score"] - b["stability_score"]) < 1e-3
        )
        assert abs(a["area"] - b["area"]) <= 0.001 * b["area"] + 3
        if options.get("output_mode") is None:
            assert (a["segmentation"] == b["segmentation"]).mean() > 0.999
        else:
            assert (
                list(a["segmentation"]) == list(b["segmentation"])
                and type(a["segmentation"]["counts"]) is str
            )
    scores = [r["predicted_iou"] for r in mine]
    if not options.get("crop_n_layers"):
        assert scores == sorted(scores, reverse=True)


@pytest.mark.parametrize("mask_threshold", [0.0, 1.5])
def test_holes_and_specks_are_filled_without_cuda(thin_sam2, image, monkeypatch, mask_threshold):
    """sam2 runs with SciPy's connected components in place of its CUDA extension."""
    from sam2.sam2_image_predictor import SAM2ImagePredictor as Original

    sam2_predictor.fills_holes(monkeypatch.setattr)
    results, plain = [], None
    for kind, model in ((SAM2ImagePredictor, thin_sam2[0]), (Original, thin_sam2[1])):
        predictor = kind(
            model, mask_threshold=mask_threshold, max_hole_area=60, max_sprinkle_area=60
        )
        predictor.set_image(image)
        results.append(predictor.predict(**PROMPTS["points"]))
    plain = SAM2ImagePredictor(thin_sam2[0], mask_threshold=mask_threshold)
    plain.set_image(image)
    before = plain.predict(**PROMPTS["points"])[0]
    assert (before != results[0][0]).sum() > 50, "vacuous"
    same(*results)


def test_errors_that_people_match_on(ours, sam2_checkpoint, image):
    from sam2.automatic_mask_generator import SAM2AutomaticMaskGenerator as OriginalGenerator
    from sam2.sam2_image_predictor import SAM2ImagePredictor as Original

    def message(call):
        with pytest.raises((RuntimeError, AssertionError, NotImplementedError)) as error:
            call()
        return type(error.value), str(error.value)

    mine, original = SAM2ImagePredictor(ours), Original(sam2_checkpoint[0])
    for call in (
        lambda p: p.predict(**PROMPTS["point"]),
        lambda p: p.get_image_embedding(),
        lambda p: p.set_image("a.png"),
        lambda p: p.predict_batch(),
        lambda p: p.set_image_batch([Image.fromarray(image)]),
    ):
        assert message(lambda c=call: c(mine)) == message(lambda c=call: c(original))
    for options in (dict(points_per_side=None), dict(output_mode="png")):
        first, second = (
            message(lambda g=g, m=m, o=options: g(m, **o))
            for g, m in (
                (SAM2AutomaticMaskGenerator, ours),
                (OriginalGenerator, sam2_checkpoint[0]),
            )
        )
        assert first == second
    with pytest.raises(NotImplementedError, match="device='cuda:7'"):
        build_sam2("x.yaml", sam2_checkpoint[1], device="cuda:7")
    assert build_sam2("x.yaml", sam2_checkpoint[1], device="cpu").to("cpu").device == torch.device(
        "cpu"
    )
    with pytest.raises(RuntimeError, match="no weights yet"):
        SAM2ImagePredictor(build_sam2("x.yaml", device="cpu")).set_image(image)


@pytest.mark.parametrize("name", ["sam2", "sam2_video"])
def test_video_checkpoints_are_not_unexpected(tmp_path, name, image):
    """Files of transformers' Sam2VideoModel hold the tensors of the memory, too."""
    import segrid
    import transformers

    from tests import models

    folder = models.sam2.make("small", tmp_path / "image")
    expected = segrid.Segmenter(folder).predict(image, points=[[[40, 30]]]).low_res
    if name == "sam2_video":
        still = transformers.Sam2Model.from_pretrained(folder)
        parts = still.config.to_dict()
        config = transformers.Sam2VideoConfig(
            vision_config=parts["vision_config"],
            prompt_encoder_config=parts["prompt_encoder_config"],
            mask_decoder_config=parts["mask_decoder_config"],
            memory_attention_hidden_size=64,
            memory_encoder_hidden_size=64,
            memory_fuser_embed_dim=64,
            mask_downsampler_embed_dim=64,
        )
        video = transformers.Sam2VideoModel(config)
        video.load_state_dict(still.state_dict(), strict=False)
        folder = tmp_path / "video"
        video.save_pretrained(folder)
    assert np.array_equal(
        segrid.Segmenter(folder).predict(image, points=[[[40, 30]]]).low_res, expected
    )
