"""Options of segment_anything's mask generator: attributes set later, numbers of every type,
thresholds of every size. Its inner steps are refused."""

import copy
import inspect

import numpy as np
import pytest
import torch
from segrid.compat.segment_anything import SamAutomaticMaskGenerator, SamPredictor

START = dict(points_per_side=8, pred_iou_thresh=0.5, stability_score_thresh=0.75)


@pytest.fixture(scope="module")
def coins(coins):
    return np.ascontiguousarray(coins[:200, :260])


@pytest.fixture(scope="module")
def generators(trained_pair):
    """make(**options): the drop-in's generator and the original's, on the same weights."""
    from segment_anything import SamAutomaticMaskGenerator as Original

    def make(**options):
        options = START | options
        return (
            SamAutomaticMaskGenerator(trained_pair[0], **options),
            Original(trained_pair[1], **options),
        )

    return make


def same_records(mine, theirs):
    assert len(mine) == len(theirs)
    for a, b in zip(mine, theirs, strict=True):
        assert a["point_coords"] == b["point_coords"] and a["crop_box"] == b["crop_box"]
        assert abs(a["predicted_iou"] - b["predicted_iou"]) < 1e-4
        assert abs(a["area"] - b["area"]) <= 0.001 * b["area"] + 2


def generate(generators, change, image):
    """The records after `change(generator)`; they must be the same for both generators."""
    results = []
    for generator in generators:
        change(generator)
        results.append(generator.generate(image))
    same_records(*results)
    return results[0]


def test_attributes_are_the_originals(generators):
    mine, theirs = generators()
    for name, value in vars(theirs).items():
        if name == "predictor":
            continue
        own = getattr(mine, name)
        assert type(own) is type(value), name
        if name == "point_grids":
            assert len(own) == len(value) == 1 and np.array_equal(own[0], value[0])
        else:
            assert own == value, name
    assert not hasattr(mine, "points_per_side")


CHANGES = {
    "pred_iou_thresh": lambda g: setattr(g, "pred_iou_thresh", 0.65),
    "stability_score_thresh": lambda g: setattr(g, "stability_score_thresh", 0.9),
    "stability_score_offset": lambda g: setattr(g, "stability_score_offset", 0.3),
    "box_nms_thresh": lambda g: setattr(g, "box_nms_thresh", 0.0),
    "box_nms_thresh of all": lambda g: setattr(g, "box_nms_thresh", 2.0),
    "min_mask_region_area": lambda g: setattr(g, "min_mask_region_area", 150),
    "points_per_batch": lambda g: setattr(g, "points_per_batch", 5),
    "point_grids": lambda g: setattr(g, "point_grids", [g.point_grids[0][::2]]),
    "mask_threshold of the model": lambda g: setattr(g.predictor.model, "mask_threshold", 0.5),
}


@pytest.mark.parametrize("name", CHANGES)
def test_an_attribute_set_later_counts(generators, trained_pair, coins, name):
    try:
        before = generate(generators(), lambda g: None, coins)
        after = generate(generators(), CHANGES[name], coins)
    finally:
        for model in trained_pair:
            model.mask_threshold = 0.0
    assert len(before) > 5 and len(after) > 1
    changed = [r["area"] for r in before] != [r["area"] for r in after]
    assert changed == (name != "points_per_batch")


def test_output_mode_and_crops_set_later(generators, coins):
    def change(generator):
        generator.output_mode = "uncompressed_rle"
        generator.crop_n_layers = 1
        generator.crop_overlap_ratio = 0.2
        generator.crop_nms_thresh = 0.3
        generator.point_grids = [generator.point_grids[0], generator.point_grids[0][::3]]

    records = generate(generators(), change, coins)
    assert {len(r["segmentation"]) for r in records} == {2}
    assert len({tuple(r["crop_box"]) for r in records}) > 2
    for generator in generators():
        generator.crop_n_layers = 1  # The new layer has no grid.
        with pytest.raises(IndexError):
            generator.generate(coins)


@pytest.mark.parametrize("kind", [float, np.float32, np.float64, np.array, torch.tensor])
def test_numbers_of_other_kinds(generators, coins, kind):
    options = dict(
        pred_iou_thresh=kind(0.5),
        stability_score_thresh=kind(0.75),
        stability_score_offset=kind(1.0),
        box_nms_thresh=kind(0.7),
        min_mask_region_area=kind(25.0),
    )
    pair = generators(**options)
    if kind in (np.array, torch.tensor):  # The original cannot compare with these types everywhere.
        wanted = generators(min_mask_region_area=25)[0].generate(coins)
        same_records(pair[0].generate(coins), wanted)
    else:
        assert len(generate(pair, lambda g: None, coins)) > 5


@pytest.mark.parametrize("kind", [int, float, np.int64, np.uint8, np.array])
def test_whole_numbers_of_other_kinds(generators, coins, kind):
    options = dict(points_per_side=kind(8), points_per_batch=32, min_mask_region_area=kind(60))
    if kind is float:
        options["points_per_side"] = 8  # The original takes no float here either.
    first = generate(generators(**options), lambda g: None, coins)
    mine, _ = generators(**options)
    # An area below 59.5 is also below 60, because areas are whole numbers.
    mine.min_mask_region_area = 59.5
    same_records(mine.generate(coins), first)


NOTHING_PASSES = dict(pred_iou_thresh=9.0), dict(stability_score_thresh=1.5)


@pytest.mark.parametrize(
    "thresholds",
    [
        dict(pred_iou_thresh=-1.0),
        dict(stability_score_thresh=-0.5),
        dict(pred_iou_thresh=np.nan),
        dict(pred_iou_thresh=0, stability_score_thresh=0),
        dict(box_nms_thresh=1.5),
        *NOTHING_PASSES,
    ],
)
def test_thresholds_outside_0_to_1(generators, coins, thresholds):
    found = generate(generators(points_per_side=5, **thresholds), lambda g: None, coins)
    assert bool(found) == (thresholds not in NOTHING_PASSES)


def test_a_predicted_iou_above_1(sam_pair, image):
    """With random weights predicted IoUs are 0.8 +- 0.15, so that some exceed 1."""
    from segment_anything import SamAutomaticMaskGenerator as Original

    options = dict(
        points_per_side=6,
        pred_iou_thresh=np.float32(1.02),
        stability_score_thresh=-1,
        box_nms_thresh=1.0,
    )
    mine, theirs = (
        kind(model, **options).generate(image)
        for kind, model in zip((SamAutomaticMaskGenerator, Original), sam_pair, strict=True)
    )
    same_records(mine, theirs)
    assert 0 < len(mine) < 108 and all(record["predicted_iou"] > 1.02 for record in mine)


@pytest.mark.parametrize(
    "hook", ["_generate_masks", "_process_crop", "_process_batch", "postprocess_small_regions"]
)
def test_a_hook_that_would_never_run_raises(trained_pair, hook):
    mine = type("Mine", (SamAutomaticMaskGenerator,), {hook: lambda self, *a: None})
    with pytest.raises(NotImplementedError, match=f"Mine.{hook}: .*inside its engine"):
        mine(trained_pair[0])
    generator = SamAutomaticMaskGenerator(trained_pair[0])
    with pytest.raises(NotImplementedError, match=hook):
        setattr(generator, hook, lambda *a: None)
    with pytest.raises(NotImplementedError, match=f"SamAutomaticMaskGenerator.{hook}"):
        getattr(generator, hook)
    assert not hasattr(generator, "nonsense") and not hasattr(generator, "__array__")
    assert copy.copy(generator).output_mode == copy.deepcopy(generator).output_mode


@pytest.mark.parametrize("call", ["set_image", "set_torch_image", "predict", "predict_torch"])
def test_a_predictor_whose_call_would_never_run_raises(trained_pair, coins, call):
    generator = SamAutomaticMaskGenerator(trained_pair[0], points_per_side=2)
    generator.predictor = type("Mine", (SamPredictor,), {call: lambda self, *a: None})(
        trained_pair[0]
    )
    with pytest.raises(NotImplementedError, match=rf"Mine\.{call}: .*inside its engine"):
        generator.generate(coins)
    generator.predictor = SamPredictor(trained_pair[0])
    setattr(generator.predictor, call, lambda *a: None)
    with pytest.raises(NotImplementedError, match=rf"SamPredictor\.{call}: "):
        generator.generate(coins)
    plain = type("Mine", (SamPredictor,), {"extra": lambda self: None})
    generator.predictor = plain(trained_pair[0])
    generator.generate(coins)


def test_the_models_image_format_counts(trained_pair, coins):
    tinted = (coins * [1.0, 0.7, 0.3]).astype(np.uint8)
    generator = SamAutomaticMaskGenerator(trained_pair[0], **START)
    wanted = generator.generate(tinted)
    trained_pair[0].image_format = "BGR"
    try:
        same_records(generator.generate(tinted[..., ::-1]), wanted)
    finally:
        trained_pair[0].image_format = "RGB"


def test_other_subclasses_run(trained_pair, coins):
    class Mine(SamAutomaticMaskGenerator):
        def __init__(self, model, **options):
            super().__init__(model, **(START | options))
            self.kept = 3

        def generate(self, image):
            return super().generate(image)[: self.kept]

    assert len(Mine(trained_pair[0], points_per_side=6).generate(coins)) == 3


def test_the_constructor_has_the_originals_arguments(generators):
    mine, theirs = (inspect.signature(type(g)).parameters for g in generators())
    assert list(mine) == list(theirs)
    assert [p.default for p in mine.values()] == [p.default for p in theirs.values()]
