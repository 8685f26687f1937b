"""segrid.compat.sam2 beside predicting: settings of the model, weights that are loaded later, names
of the Hub, options that change."""

import importlib
import warnings

import numpy as np
import pytest
import torch
from segrid.compat.sam2.automatic_mask_generator import SAM2AutomaticMaskGenerator
from segrid.compat.sam2.build_sam import build_sam2, build_sam2_hf, build_sam2_video_predictor
from segrid.compat.sam2.modeling.sam2_base import ImageEncoder, SAM2Base
from segrid.compat.sam2.sam2_image_predictor import SAM2ImagePredictor

from tests.reference.sam2_calls import CLICKS, CONFIG, close

DECODER = "++model.sam_mask_decoder_extra_args.dynamic_multimask_"


SWITCHES = {
    "as published": dict(),
    "without post-processing": dict(apply_postprocessing=False),
    "an unstable mask gives way": dict(
        apply_postprocessing=False,
        hydra_overrides_extra=[
            f"{DECODER}via_stability=true",
            f"{DECODER}stability_delta=0.5",
            f"{DECODER}stability_thresh=0.95",
        ],
    ),
    "post-processing has the last word": dict(
        hydra_overrides_extra=[f"{DECODER}stability_delta=0.5", f"{DECODER}stability_thresh=0.95"]
    ),
    "no sigmoid": dict(
        apply_postprocessing=False,
        hydra_overrides_extra=["++model.iou_prediction_use_sigmoid=false"],
    ),
    "of memory": dict(
        hydra_overrides_extra=["++model.num_maskmem=7", "++model.compile_image_encoder=False"]
    ),
}


@pytest.fixture(scope="module")
def answers():
    return {}


@pytest.mark.parametrize("name", SWITCHES)
def test_switches(originals, sam2_checkpoint, answers, name):
    other = originals(**SWITCHES[name])
    mine = SAM2ImagePredictor(
        build_sam2(CONFIG, sam2_checkpoint[1], device="cpu", **SWITCHES[name])
    )
    mine._features, mine._orig_hw, mine._is_image_set = other._features, other._orig_hw, True
    masks, *rest = answers[name] = mine.predict(**CLICKS)
    wanted, *wanted_rest = other.predict(**CLICKS)
    close(rest, wanted_rest)
    # They may differ where the logit is next to 0.
    assert masks.shape == wanted.shape and (masks != wanted).sum() <= 4
    decoder, theirs = mine.model.sam_mask_decoder, other.model.sam_mask_decoder
    assert decoder.dynamic_multimask_via_stability == theirs.dynamic_multimask_via_stability
    if theirs.dynamic_multimask_via_stability:
        assert decoder.dynamic_multimask_stability_delta == theirs.dynamic_multimask_stability_delta
        assert (
            decoder.dynamic_multimask_stability_thresh == theirs.dynamic_multimask_stability_thresh
        )


def test_switches_are_not_vacuous(answers):
    low, published = {name: a[2] for name, a in answers.items()}, answers["as published"]
    assert np.abs(low["an unstable mask gives way"] - low["without post-processing"]).max() > 1
    assert np.array_equal(low["post-processing has the last word"], published[2])
    assert answers["no sigmoid"][1].max() > 1 > published[1].max()


def test_other_overrides_are_refused_by_name(small_sam2):
    for override in (
        "++model.use_high_res_features_in_sam=false",
        "scratch.resolution=4",
        "nonsense",
    ):
        with pytest.raises(
            NotImplementedError,
            match=f"{override.replace('+', '.')}.*dynamic_multimask_via_stability",
        ):
            build_sam2(CONFIG, small_sam2, hydra_overrides_extra=[override])
    with pytest.raises(NotImplementedError, match="has no memory of video"):
        build_sam2(CONFIG, small_sam2, hydra_overrides_extra=["++model.image_size=256"])
    with pytest.raises(ValueError, match="stability_delta=abc"):
        build_sam2(CONFIG, small_sam2, hydra_overrides_extra=[f"{DECODER}stability_delta=abc"])
    with pytest.raises(NotImplementedError, match="does not train"):
        build_sam2(CONFIG, small_sam2, mode="train")


def test_settings_of_the_decoder_can_be_set(small_sam2, image):
    """Scripts set these attributes of the decoder; the model keeps its weights file."""
    model = build_sam2(CONFIG, small_sam2, device="cpu")
    predictor = SAM2ImagePredictor(model)
    predictor.set_image(image)
    before = predictor.predict(**CLICKS)
    model.sam_mask_decoder.dynamic_multimask_via_stability = False
    assert np.abs(predictor.predict(**CLICKS)[2] - before[2]).max() > 0.1
    plain = SAM2ImagePredictor(
        build_sam2(CONFIG, small_sam2, device="cpu", apply_postprocessing=False)
    )
    plain.set_image(image)
    close(predictor.predict(**CLICKS), plain.predict(**CLICKS), 1e-6)
    model.sam_mask_decoder.dynamic_multimask_via_stability = True
    close(predictor.predict(**CLICKS), before, 1e-6)


def test_weights_that_come_later(sam2_checkpoint, image):
    later = build_sam2(CONFIG, device="cpu", apply_postprocessing=False)
    predictor = SAM2ImagePredictor(later)
    assert (
        isinstance(later, SAM2Base)
        and later.image_size == 1024
        and later.sam_mask_decoder.dynamic_multimask_via_stability is False
    )
    with pytest.raises(RuntimeError, match="no weights yet"):
        predictor.set_image(image)
    keys = later.load_state_dict(torch.load(sam2_checkpoint[1], weights_only=True)["model"])
    assert (
        keys.missing_keys == [] and later.sam_mask_decoder.dynamic_multimask_via_stability is False
    )
    at_once = SAM2ImagePredictor(
        build_sam2(CONFIG, sam2_checkpoint[1], device="cpu", apply_postprocessing=False)
    )
    predictor.set_image(image)
    at_once._features = predictor._features
    at_once._orig_hw = predictor._orig_hw
    at_once._is_image_set = True
    close(predictor.predict(**CLICKS), at_once.predict(**CLICKS), 1e-6)
    with pytest.raises((RuntimeError, NotImplementedError)):
        later.load_state_dict({"nonsense": torch.zeros(2)})


def test_what_scripts_touch_of_the_model(small_sam2, image):
    model = build_sam2(CONFIG, small_sam2, device="cpu")
    assert model.eval().half().float().to("cpu").to(torch.bfloat16).requires_grad_(False) is model
    assert (
        not model.training
        and model.image_size == 128
        and model.device == torch.device("cpu")
        and model.dtype == torch.float32
    )
    held = {name: t.numel() for name, t in model.state_dict().items()}
    buffers = [n for name, n in held.items() if name.endswith("positional_embedding")]
    assert buffers and sum(held.values()) - sum(buffers) > 100_000
    assert sum(p.numel() for p in model.parameters()) == sum(held.values()) - sum(buffers)
    assert all(not p.requires_grad and p.device == model.device for p in model.parameters())
    for part in (model.image_encoder, model.sam_prompt_encoder, model.sam_mask_decoder):
        assert part.to("cpu") is part and 0 < len(part.state_dict()) == len([*part.parameters()])
        assert part.eval() is part and part in list(model.modules())
        with pytest.raises(NotImplementedError, match="cannot call this part alone"):
            part(torch.zeros(1))
    predictor = SAM2ImagePredictor(model)
    assert predictor.model.device == predictor.device and predictor._bb_feat_sizes == [
        (32, 32),
        (16, 16),
        (8, 8),
    ]
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        predictor.set_image(image)
        masks, scores, _ = predictor.predict(**CLICKS)
    assert masks.dtype == scores.dtype == np.float32


def test_from_pretrained_gives_each_its_arguments(small_sam2, image):
    for kind in (SAM2AutomaticMaskGenerator, SAM2ImagePredictor):
        with pytest.raises(NotImplementedError, match="device='cuda:7'"):
            kind.from_pretrained(str(small_sam2), device="cuda:7")
    generator = SAM2AutomaticMaskGenerator.from_pretrained(
        str(small_sam2),
        device="cpu",
        points_per_side=2,
        apply_postprocessing=False,
        mask_threshold=0.5,
    )
    assert (
        generator.predictor.model.device == torch.device("cpu")
        and len(generator.point_grids[0]) == 4
        and generator.mask_threshold == 0.5
    )
    assert generator.predictor.model.sam_mask_decoder.dynamic_multimask_via_stability is False
    predictor = SAM2ImagePredictor.from_pretrained(
        str(small_sam2),
        device="cpu",
        mask_threshold=0.25,
        max_hole_area=8.0,
        apply_postprocessing=False,
    )
    assert predictor.mask_threshold == 0.25 and predictor._transforms.max_hole_area == 8.0
    assert predictor.model.sam_mask_decoder.dynamic_multimask_via_stability is False


def test_names_of_the_hub():
    import sam2.build_sam as theirs
    from segrid.compat.sam2 import build_sam as ours

    assert ours.HF_MODEL_ID_TO_FILENAMES == theirs.HF_MODEL_ID_TO_FILENAMES


def test_a_model_of_images_follows_nothing(small_sam2):
    from segrid.compat.sam2.build_sam import (
        build_sam2_video_predictor,
        build_sam2_video_predictor_hf,
    )
    from segrid.compat.sam2.sam2_video_predictor import SAM2VideoPredictor

    for build in (build_sam2_video_predictor_hf, SAM2VideoPredictor.from_pretrained):
        with pytest.raises(NotImplementedError, match="no memory of video"):
            build(str(small_sam2), device="cpu")
    with pytest.raises(NotImplementedError, match="no memory of video"):
        build_sam2_video_predictor(CONFIG, small_sam2, device="cpu", vos_optimized=True)
    assert isinstance(build_sam2_hf(str(small_sam2), device="cpu"), SAM2Base)


def test_options_that_are_set_after_construction(small_sam2, image):
    """`generate` reads the options when it is called, as in sam2."""
    model = build_sam2(CONFIG, small_sam2, device="cpu")
    loose = dict(
        points_per_side=3, pred_iou_thresh=0.0, stability_score_thresh=0.0, box_nms_thresh=1.0
    )
    changes = dict(
        pred_iou_thresh=0.6,
        stability_score_thresh=0.3,
        box_nms_thresh=0.1,
        mask_threshold=1.0,
        multimask_output=False,
        use_m2m=True,
        stability_score_offset=0.3,
        output_mode="coco_rle",
        point_grids=[np.array([[0.3, 0.4], [0.6, 0.7]])],
    )
    everything = SAM2AutomaticMaskGenerator(model, **loose).generate(image)
    for name, value in changes.items():
        later = SAM2AutomaticMaskGenerator(model, **loose)
        assert hasattr(later, name)
        setattr(later, name, value)
        at_once = (
            loose | {name: value} | ({"points_per_side": None} if name == "point_grids" else {})
        )
        mine = later.generate(image)
        wanted = SAM2AutomaticMaskGenerator(model, **at_once).generate(image)
        assert [str(r) for r in mine] == [str(r) for r in wanted], name
        assert [str(r) for r in mine] != [str(r) for r in everything], f"{name}: vacuous"


def test_a_compiled_model(small_sam2):
    sam = build_sam2(CONFIG, small_sam2, device="cpu")
    compiled = torch.compile(sam)
    assert SAM2ImagePredictor(compiled).model is sam
    generator = SAM2AutomaticMaskGenerator(compiled)
    generator.predictor.model.image_encoder = torch.compile(sam.image_encoder)
    assert generator.predictor.model is sam and isinstance(sam.image_encoder, ImageEncoder)


def test_the_originals_model_is_refused(sam2_checkpoint):
    for make in (SAM2ImagePredictor, SAM2AutomaticMaskGenerator):
        with pytest.raises(TypeError, match="got a sam2.*build_sam.build_sam2"):
            make(sam2_checkpoint[0])


def test_the_side_of_the_square(sam2_checkpoint, tmp_path, image):
    """It is an override, or in a YAML file of the program's own."""
    (tmp_path / "own.yaml").write_text("model:\n  # a comment\n  image_size: 256  # pixels\n")
    override = ["++model.image_size=256"]
    checkpoint, click = sam2_checkpoint[1], dict(point_coords=[[50, 60]], point_labels=[1])
    shown = []
    for model in (
        build_sam2(CONFIG, checkpoint, "cpu", hydra_overrides_extra=override),
        build_sam2(tmp_path / "own.yaml", checkpoint, "cpu"),
        build_sam2_video_predictor(str(tmp_path / "own.yaml"), checkpoint, "cpu"),
    ):
        predictor = SAM2ImagePredictor(model)
        predictor.set_image(image)
        shown.append(predictor.predict(**click)[2])
        assert model.image_size == 256 and shown[-1].shape == (3, 64, 64)
        np.testing.assert_array_equal(shown[-1], shown[0])


def test_configurations_that_set_nothing(small_sam2):
    """A name is not read where it is no file. sam2's own say nothing that weights do not."""
    for name in ("sam2.1_hiera_b+.yaml", "configs/sam2/sam2_hiera_t", "/a/configs/edgetam.yaml"):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            build_sam2(name, small_sam2, "cpu")
    for name in ("configs/sam2.1_hiera_t512.yaml", "configs/samurai/sam2.1_hiera_t.yaml"):
        with pytest.warns(UserWarning, match="neither a file nor one of sam2's own") as told:
            build_sam2(name, small_sam2, "cpu")
        assert told[0].filename == __file__
    for target in ("sam2.sam2_video_predictor.SAM2VideoPredictor", "my.pkg.MyPredictor"):
        override = dict(hydra_overrides_extra=[f"++model._target_={target}"])
        with pytest.raises(NotImplementedError, match="no other predictor|no memory of video"):
            build_sam2_video_predictor(CONFIG, small_sam2, "cpu", **override)


@pytest.mark.parametrize(
    "module, name, instead",
    [
        ("utils.misc", "AsyncVideoFrameLoader", "load_video_frames"),
        ("utils.misc", "_load_img_as_tensor", "load_video_frames"),
        ("build_sam", "_load_checkpoint", "give ckpt_path"),
    ],
)
def test_names_that_are_not_offered(module, name, instead):
    assert hasattr(importlib.import_module(f"sam2.{module}"), name), "vacuous"
    with pytest.raises(ImportError, match=f"{name}: not offered by segrid; .*{instead}"):
        getattr(importlib.import_module(f"segrid.compat.sam2.{module}"), name)
    from sam2.modeling.sam2_base import NO_OBJ_SCORE as theirs
    from segrid.compat.sam2.modeling.sam2_base import NO_OBJ_SCORE as mine

    assert mine == theirs
