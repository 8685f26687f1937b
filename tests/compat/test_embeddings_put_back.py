"""SamPredictor: the state that programs keep and restore, labels of points, and the results."""

import numpy as np
import pytest
import torch
from segrid.compat.segment_anything import SamPredictor

from tests.reference.agreement import same_arrays

POINT = dict(point_coords=np.array([[50.0, 60]]), point_labels=np.array([1]))
BOX = dict(box=np.array([20, 30, 150, 120]))


@pytest.fixture
def predictors(sam_pair):
    from segment_anything import SamPredictor as Original

    return SamPredictor(sam_pair[0]), Original(sam_pair[1])


@pytest.mark.parametrize("kind", ["tensor", "array", "half", "double"])
def test_features_put_back(predictors, image, kind):
    """micro-sam and napari's plugins put precomputed embeddings into a fresh predictor like
    this."""
    to = {
        "tensor": lambda t: t,
        "array": lambda t: t.numpy(),
        "half": lambda t: t.half(),
        "double": lambda t: t.double(),
    }[kind]
    results = []
    for first in predictors:
        first.set_image(image)
        kept = to(first.get_image_embedding().clone())
        wanted = first.predict(**POINT)
        fresh = type(first)(first.model)
        assert fresh.features is None and not fresh.is_image_set
        fresh.features = kept
        fresh.original_size, fresh.input_size = first.original_size, first.input_size
        fresh.is_image_set = True
        again = fresh.predict(**POINT) if first is predictors[0] else wanted
        same_arrays(again, wanted, 1e-2 if kind == "half" else 1e-6)
        results.append(wanted)
    same_arrays(*results)


def test_an_array_put_back_and_written_into(predictors, image):
    """The tensor of an array shares its memory and has no version counter, so a write must be
    noticed otherwise."""
    mine, original = predictors
    original.set_image(image)
    mine.features = kept = original.get_image_embedding().numpy().copy()
    mine.original_size, mine.input_size = original.original_size, original.input_size
    mine.is_image_set = True
    same_arrays(mine.predict(**POINT), original.predict(**POINT))
    kept *= 0.5
    original.features = torch.from_numpy(kept)
    same_arrays(mine.predict(**POINT), original.predict(**POINT))


def test_tiles(predictors, image, other_image):
    """Features of several images are put into one predictor in turn."""
    for predictor in predictors:
        predictor.tiles = []
        for tile in (image, other_image, image[:100]):
            predictor.set_image(tile)
            predictor.tiles.append(
                (predictor.features, predictor.original_size, predictor.input_size)
            )
    fresh = [type(p)(p.model) for p in predictors]
    for p, source in zip(fresh, predictors, strict=True):
        p.tiles, p.is_image_set = source.tiles, True
    for i in (2, 0, 1, 0):
        results = []
        for p in fresh:
            p.features, p.original_size, p.input_size = p.tiles[i]
            results.append((*p.predict(**BOX), p.get_image_embedding()))
        same_arrays(*results)


def test_a_write_into_features_counts(predictors, image):
    results = []
    for predictor in predictors:
        predictor.set_image(image)
        before = predictor.predict(**POINT)[2]
        predictor.features[:, ::2] *= 0.5
        after = predictor.predict(**POINT)
        assert not np.allclose(before, after[2])
        results.append(after)
    same_arrays(*results)


def test_in_inference_mode(predictors, image):
    """Tensors of inference mode have no version counter; a write into the features must count
    nevertheless."""
    mine, original = predictors
    original.set_image(image)
    wanted = original.predict(**POINT)
    with torch.inference_mode():
        mine.set_image(image)
        same_arrays(mine.predict(**POINT), wanted)
        kept = mine.get_image_embedding()
        same_arrays(mine.predict(**POINT), wanted)
        kept[:] = 0
        assert not np.allclose(mine.predict(**POINT)[2], wanted[2])
    mine.set_image(image)
    same_arrays(mine.predict(**POINT), wanted)


def test_features_of_another_model(predictors, image):
    mine = predictors[0]
    for wrong in (torch.zeros(1, 3, 4, 4), torch.full_like(features(mine, image), torch.nan)):
        mine.features = wrong
        with pytest.raises(ValueError, match="features"):
            mine.predict(**POINT)
    mine.features = None
    with pytest.raises(RuntimeError, match="An image must be set"):
        mine.predict(**POINT)


def features(predictor, image):
    predictor.set_image(image)
    return predictor.get_image_embedding()


def test_an_image_resized_otherwise(predictors, image):
    """apply_image_torch stretches the image, so `input_size` differs from the size that the rule
    gives."""
    results = []
    for predictor in predictors:
        batch = torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float()
        stretched = predictor.transform.apply_image_torch(batch)
        if max(stretched.shape[2:]) != predictor.model.image_encoder.img_size:
            stretched = torch.nn.functional.interpolate(batch, (160, 120), mode="bilinear")
        predictor.set_torch_image(stretched, image.shape[:2])
        point = torch.tensor([[[50.0, 60]]])
        points = predictor.transform.apply_coords_torch(point, image.shape[:2])
        results.append(
            (
                *predictor.predict(**POINT),
                *predictor.predict(**BOX, return_logits=True),
                *predictor.predict_torch(points, torch.ones(1, 1)),
            )
        )
        assert tuple(predictor.input_size) == tuple(stretched.shape[2:])
    same_arrays(*results)


def test_results_can_be_written_into(predictors, image):
    mine = predictors[0]
    mine.set_image(image)
    wanted = mine.predict(**POINT)
    for array in mine.predict(**POINT):
        array[...] = 0
    for tensor in mine.predict_torch(torch.tensor([[[50.0, 60]]]), torch.ones(1, 1)):
        tensor.zero_()
    same_arrays(mine.predict(**POINT), wanted, 0)


def test_the_models_threshold_counts(predictors, image):
    results = []
    for predictor in predictors:
        predictor.set_image(image)
        plain = predictor.predict(**POINT)[0].sum()
        predictor.model.mask_threshold = 1.5
        try:
            results.append(predictor.predict(**POINT))
        finally:
            predictor.model.mask_threshold = 0.0
        assert results[-1][0].sum() < plain
    same_arrays(*results)


LABELS = [[2], [3], [1, 2], [2, 3], [0, 3, 1], [7, 1], [-1, 1], [-2, 1], [1.7, 0.2]]


@pytest.mark.parametrize("labels", LABELS)
@pytest.mark.parametrize("boxed", [False, True])
def test_labels_are_the_originals(predictors, image, labels, boxed):
    """Labels 2 and 3 are not box corners in SAM 1. For an unknown label only the position is
    encoded."""
    points = np.array([[50.0, 60], [120, 40], [200, 140]])[: len(labels)]
    prompt = dict(point_coords=points, point_labels=np.array(labels)) | (BOX if boxed else {})
    batch = torch.from_numpy(points)[None].float(), torch.tensor([labels])
    results = []
    for predictor in predictors:
        predictor.set_image(image)
        results.append((*predictor.predict(**prompt), *predictor.predict_torch(*batch)))
    same_arrays(*results)


@pytest.mark.parametrize(
    "prompt",
    [
        dict(point_coords=np.zeros((0, 2)), point_labels=np.zeros(0)) | BOX,
        dict(point_coords=np.zeros((0, 2)), point_labels=np.zeros(0)),
        dict(mask_input=np.linspace(-9, 9, 1600, dtype=np.float32).reshape(1, 40, 40)),
        dict(),
    ],
)
def test_prompts_without_points(predictors, image, prompt):
    results = []
    for predictor in predictors:
        predictor.set_image(image)
        results.append(predictor.predict(**prompt))
    same_arrays(*results)


def test_one_mask_input_for_many_prompts(predictors, image):
    results = []
    for predictor in predictors:
        predictor.set_image(image)
        hint = torch.linspace(-9, 9, 1600).reshape(1, 1, 40, 40)
        boxes = torch.tensor([[20.0, 30, 150, 120], [5, 5, 60, 60]])
        results.append(predictor.predict_torch(None, None, boxes, hint))
    same_arrays(*results)


def test_several_boxes_for_predict(predictors, image):
    """`predict` takes one box. Several are an error, not an answer for the first one alone."""
    boxes = np.array([[20.0, 30, 150, 120], [5, 5, 60, 60]])
    torch_boxes = torch.from_numpy(boxes).float()
    for predictor in predictors:
        predictor.set_image(image)
        with pytest.raises(RuntimeError):
            predictor.predict(box=boxes)
        with pytest.raises(RuntimeError):
            predictor.predict_torch(torch.ones(2, 1, 2), torch.ones(2, 1), torch_boxes[:1])
        predictor.predict(box=boxes[:1])


def test_one_image_for_set_torch_image(predictors):
    with pytest.raises(AssertionError, match="one image, got a batch of 2"):
        predictors[0].set_torch_image(torch.zeros(2, 3, 100, 160), (100, 160))


def test_other_weights_under_a_live_predictor(sam_checkpoint, image):
    """The predictor keeps its features, as the original does."""
    from segment_anything import SamPredictor as Original
    from segrid.compat.segment_anything import build_sam

    theirs, file = sam_checkpoint
    before = {name: tensor.clone() for name, tensor in theirs.state_dict().items()}
    tuned = {k: v * 1.1 if k.startswith("mask_decoder.") else v for k, v in before.items()}
    results = []
    try:
        for predictor in (SamPredictor(build_sam(file)), Original(theirs)):
            predictor.set_image(image)
            first = predictor.predict(**POINT)
            predictor.model.load_state_dict(tuned)
            results.append(predictor.predict(**POINT))
            assert not np.allclose(first[2], results[-1][2])
    finally:
        theirs.load_state_dict(before)
    same_arrays(*results)
