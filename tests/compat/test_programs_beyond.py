"""The drop-ins where programs go beyond the usual calls: images that lie on their side, one model
for videos and images, processors of other models."""

import json

import numpy as np
import pytest
import segrid
import torch
from PIL import Image
from segrid.compat.sam2.automatic_mask_generator import SAM2AutomaticMaskGenerator
from segrid.compat.sam2.build_sam import build_sam2_video_predictor
from segrid.compat.sam2.sam2_image_predictor import SAM2ImagePredictor
from segrid.compat.sowlv2.models.sam2_wrapper import SAM2Wrapper

from tests import models
from tests.video.clips import drawn

PIXELS = drawn(0)
ON_ITS_SIDE = 6  # the EXIF orientation of a phone that is held upright


def turned():
    """A PIL image that viewers turn by a quarter."""
    image = Image.fromarray(PIXELS)
    image.getexif()[0x0112] = ON_ITS_SIDE
    return image


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return models.sam2.make_video("small", tmp_path_factory.mktemp("beyond"))


@pytest.fixture(scope="module")
def video_predictor(folder):
    return build_sam2_video_predictor("configs/sam2.1/sam2.1_hiera_t.yaml", folder, "cpu")


def test_a_video_predictor_is_a_model_of_images(folder, video_predictor):
    """In sam2 it is a SAM2Base, so programs give it to the predictor of images."""
    prompt = dict(point_coords=np.array([[20.0, 20]]), point_labels=np.array([1]))
    shared = SAM2ImagePredictor(video_predictor)
    shared.set_image(PIXELS)
    masks, scores, low_res = shared.predict(**prompt)
    embedding = segrid.Segmenter(folder, precision="fp32").encode(PIXELS)
    alone = segrid.Segmenter(folder, precision="fp32").predict(
        embedding, points=[[20.0, 20]], multimask=True
    )
    assert masks.any() and np.array_equal(masks, alone.array)
    assert np.allclose(scores, alone.scores, atol=1e-5)
    every = SAM2AutomaticMaskGenerator(
        video_predictor, points_per_side=2, pred_iou_thresh=0.0, stability_score_thresh=0.0
    )
    assert len(every.generate(PIXELS)) > 0
    assert [type(v) for v in (masks, scores, low_res)] == [np.ndarray] * 3


def test_images_are_not_turned_where_the_originals_do_not(folder, video_predictor):
    predictor = SAM2ImagePredictor(video_predictor)
    predictor.set_image(turned())
    assert predictor._orig_hw == [PIXELS.shape[:2]]
    sides = predictor.get_image_embedding()
    predictor.set_image(Image.fromarray(PIXELS))
    assert torch.equal(sides, predictor.get_image_embedding())

    wrapper = SAM2Wrapper(segrid.Segmenter(folder, precision="fp32"))
    masks = [wrapper.segment(image, [5, 5, 60, 50]) for image in (turned(), PIXELS)]
    assert np.array_equal(*masks) and masks[0].shape == PIXELS.shape[:2]

    from segrid.compat.transformers import Sam2VideoProcessor

    processor = Sam2VideoProcessor.from_pretrained(folder)
    session = processor.init_video_session(video=[turned(), turned()])
    assert (session.video_height, session.video_width) == PIXELS.shape[:2]
    assert processor(images=turned()).original_sizes.tolist() == [list(PIXELS.shape[:2])]


def test_masks_of_sowlv2_are_0_and_1(folder):
    masks = SAM2Wrapper(segrid.Segmenter(folder, precision="fp32")).segment(PIXELS, [5, 5, 60, 50])
    assert masks.dtype == np.uint8 and set(np.unique(masks)) == {0, 1}


def test_boxes_of_a_detector_reach_beyond_the_frame_and_are_replaced(folder, tmp_path):
    for i in range(2):
        Image.fromarray(drawn(i)).save(tmp_path / f"{i:05d}.jpg")
    wrapper = SAM2Wrapper(segrid.Segmenter(folder, precision="fp32"))
    state = wrapper.init_state(str(tmp_path))
    height, width = PIXELS.shape[:2]
    wrapper.add_new_box(state, 0, [-9.5, -3, 40, height + 7], 1)
    _, ids, again = wrapper.add_new_box(state, 0, [10, 10, width + 4, 50], 1)
    assert ids == [1] and again.shape == (1, 1, height, width)
    with segrid.Tracker.of(wrapper.segmenter).open([drawn(0)]) as session:
        session.add(1, boxes=[-9.5, -3, 40, height + 7], anywhere=True)
        session.add(1, boxes=[10, 10, width + 4, 50], anywhere=True, replace=True)
        assert np.mean((again.numpy()[0, 0] > 0) != session.masks(0).array[0]) < 0.02


def test_the_processor_of_another_model_is_transformers_own(folder, tmp_path, monkeypatch):
    """EdgeTAM's programs take Sam2VideoProcessor, too."""
    import transformers
    from segrid.compat.transformers import Sam2VideoModel, Sam2VideoProcessor

    config = json.loads((folder / "config.json").read_text())
    other = tmp_path / "edgetam"
    other.mkdir()
    (other / "config.json").write_text(json.dumps(config | {"model_type": "edgetam_video"}))
    (other / "model.safetensors").symlink_to(folder / "model.safetensors")
    asked = []
    monkeypatch.setattr(
        transformers,
        "Sam2VideoProcessor",
        type("Theirs", (), {"from_pretrained": staticmethod(lambda *a, **k: asked.append(a))}),
    )
    Sam2VideoProcessor.from_pretrained(str(other))
    assert asked == [(str(other),)]
    model = Sam2VideoModel.from_pretrained(folder)
    for call in (model, model.propagate_in_video_iterator):
        with pytest.raises(TypeError, match="Sam2VideoModel: the session is a builtins.dict"):
            list(call({}))


def test_programs_ask_for_the_version():
    import transformers
    from segrid.compat import transformers as ours

    assert ours.__version__ == transformers.__version__
