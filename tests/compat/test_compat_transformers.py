"""segrid.compat.transformers.pipeline against transformers' own, with only the import line
changed."""

import base64
import io
import itertools
import sys
import threading
import types
from http.server import BaseHTTPRequestHandler, HTTPServer

import numpy as np
import pytest
import segrid
import torch
from PIL import Image
from segrid.compat.transformers import pipeline

from tests import models
from tests.models import torchvision_stand_in

OPTIONS = dict(
    points_per_crop=6,
    pred_iou_thresh=0.5,
    stability_score_thresh=0.4,
    output_rle_mask=True,
    output_bboxes_mask=True,
)
VARIANTS = {
    "plain": {},
    "no nms": dict(crops_nms_thresh=1.0),
    "little nms": dict(crops_nms_thresh=0.3),
    "crops": dict(crops_n_layers=1, points_per_crop=4, crops_nms_thresh=0.5),
    "two layers": dict(crops_n_layers=2, points_per_crop=3, crop_overlap_ratio=0.25),
    "offset and threshold": dict(stability_score_offset=2, mask_threshold=1.5),
    "no thresholds": dict(pred_iou_thresh=0.0, stability_score_thresh=0.0),
    "below zero, scalars of NumPy and torch": dict(
        pred_iou_thresh=np.float32(-1),
        stability_score_thresh=torch.tensor(-0.5),
        crops_nms_thresh=1.5,
    ),
}


def processors():
    """transformers' image processors without torchvision: SAM's uses the NMS of the stand-in, and
    SAM 2's adds the resize and the upsampling."""
    from transformers.models.sam import image_processing_pil_sam as pil

    class Sam(pil.SamImageProcessorPil):
        def post_process_for_mask_generation(
            self, all_masks, all_scores, all_boxes, crops_nms_thresh
        ):
            boxes = types.ModuleType("torchvision.ops.boxes")
            boxes.batched_nms = torchvision_stand_in.batched_nms
            names = ("torchvision", "torchvision.ops", "torchvision.ops.boxes")
            sys.modules.update(dict.fromkeys(names, boxes))
            try:
                masks, *rest = pil._post_process_for_mask_generation(
                    all_masks, all_scores, all_boxes, crops_nms_thresh
                )
            finally:
                for name in names:
                    del sys.modules[name]
            return [torch.from_numpy(np.ascontiguousarray(m)) for m in masks], *rest

    class Sam2(Sam):
        def __call__(self, images, return_tensors):
            from transformers.image_processing_utils import BatchFeature

            side = self.size["longest_edge"]
            mean, std = (torch.tensor(v).view(3, 1, 1) for v in (self.image_mean, self.image_std))
            resize, pixels = torchvision_stand_in.Resize((side, side)), []
            for image in images:
                pixels.append(
                    (resize(torch.from_numpy(np.ascontiguousarray(image)).float() / 255) - mean)
                    / std
                )
            return BatchFeature(
                {
                    "pixel_values": torch.stack(pixels),
                    "original_sizes": torch.tensor([i.shape[-2:] for i in images]),
                }
            )

        def post_process_masks(
            self, masks, original_sizes, mask_threshold, reshaped_input_sizes, binarize
        ):
            assert reshaped_input_sizes is None and not binarize
            return [
                torch.nn.functional.interpolate(m, size, mode="bilinear", align_corners=False)
                for m, size in zip(masks, original_sizes, strict=True)
            ]

    return Sam, Sam2


@pytest.fixture(scope="module", params=["sam", "sam2"])
def pair(request, tmp_path_factory):
    """(transformers' pipeline, the folder with its weights)."""
    from pathlib import Path

    from transformers import MaskGenerationPipeline, Sam2Model, SamModel

    sam, sam2 = processors()
    if request.param == "sam":
        folder = Path(segrid.__file__).parent / "models/tiny"
        model = SamModel.from_pretrained(folder).float().eval()
        side = model.config.vision_config.image_size
        processor = sam(size={"longest_edge": side}, pad_size={"height": side, "width": side})
    else:
        folder = models.sam2.make("small", tmp_path_factory.mktemp("sam2"))
        model = Sam2Model.from_pretrained(folder).float().eval()
        side = model.config.prompt_encoder_config.image_size
        processor = sam2(size={"longest_edge": side})
    return MaskGenerationPipeline(model=model, image_processor=processor), folder


@pytest.mark.parametrize("variant", VARIANTS)
def test_equals_the_original(pair, image, variant):
    original, folder = pair
    options = OPTIONS | VARIANTS[variant]
    # The box of a random SAM 2 mask is its whole crop, so that NMS would leave one. SAM's variant
    # tests NMS.
    if pair[0].model.config.model_type == "sam2":
        options["crops_nms_thresh"] = 1.0
    photo = Image.fromarray(image)
    theirs, ours = original(photo, **options), pipeline("mask-generation", folder)(photo, **options)
    assert set(theirs) == set(ours) and 3 < len(theirs["masks"]) == len(ours["masks"])
    assert (
        theirs["scores"].dtype == ours["scores"].dtype
        and (theirs["scores"] - ours["scores"]).abs().max() < 1e-4
    )
    # transformers' boxes are float32 where a whole batch of points gave no mask.
    assert (
        theirs["bounding_boxes"].dtype in (torch.int64, torch.float32)
        and ours["bounding_boxes"].dtype == torch.int64
    )
    assert (theirs["bounding_boxes"] - ours["bounding_boxes"]).abs().max() <= 1
    for a, b, run_lengths in zip(theirs["masks"], ours["masks"], ours["rle_mask"], strict=True):
        assert a.dtype == b.dtype and a.shape == b.shape and (a != b).sum() <= 2
        assert run_lengths["size"] == list(b.shape)
        assert np.array_equal(
            np.repeat(np.arange(len(run_lengths["counts"])) % 2, run_lengths["counts"])
            .reshape(b.shape[::-1])
            .T,
            b.numpy(),
        )
    if all((a == b).all() for a, b in zip(theirs["masks"], ours["masks"], strict=True)):
        assert theirs["rle_mask"] == ours["rle_mask"]


def test_inputs(image, tmp_path):
    """The pipeline takes paths, URLs, base64, PIL images, lists and iterators."""
    generate = pipeline(
        "mask-generation",
        "tiny",
        device="cpu",
        points_per_crop=4,
        pred_iou_thresh=0.1,
        stability_score_thresh=0.1,
    )
    Image.fromarray(image).save(tmp_path / "photo.png")
    data = (tmp_path / "photo.png").read_bytes()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        text = base64.b64encode(data).decode()
        sources = [
            str(tmp_path / "photo.png"),
            f"http://127.0.0.1:{server.server_port}/photo.png",
            text,
            f"data:image/png;base64,{text}",
            Image.open(io.BytesIO(data)),
            image,
        ]
        results = generate(sources, timeout=20)
    finally:
        server.shutdown()
        server.server_close()
    assert isinstance(results, list) and len(results[0]["masks"]) > 3
    for r in results[1:]:
        assert torch.equal(r["scores"], results[0]["scores"]) and all(
            map(torch.equal, r["masks"], results[0]["masks"])
        )
    endless = generate(itertools.repeat(image))
    assert torch.equal(next(endless)["scores"], results[0]["scores"])
    assert set(generate(image=image)) == {"masks", "scores"}
    with pytest.raises(ValueError, match="Incorrect image source"):
        generate("no such file")


def test_models(pair, image):
    """A transformers model, a Segmenter and a folder give the same masks; dtype chooses the
    precision."""
    original, folder = pair
    results = [
        pipeline("mask-generation", m)(
            image,
            points_per_crop=3,
            **{k: 0.0 for k in ("pred_iou_thresh", "stability_score_thresh")},
        )
        for m in (original.model, segrid.Segmenter(folder, precision="fp32"), str(folder))
    ]
    for r in results[1:]:
        assert torch.equal(r["scores"], results[0]["scores"])
    assert len(results[0]["scores"])
    with pytest.raises(ValueError, match="points_per_batch"):
        pipeline("mask-generation", folder)(image, points_per_batch=0)
    with pytest.raises(ValueError, match="dtype"):
        pipeline("mask-generation", folder, dtype="int3")


def test_nothing_found(image):
    found = pipeline("mask-generation", "tiny")(
        image,
        points_per_crop=2,
        stability_score_thresh=1.0,
        **{k: True for k in ("output_rle_mask", "output_bboxes_mask")},
    )
    assert (
        found["masks"] == found["rle_mask"] == []
        and found["scores"].shape == (0,)
        and found["bounding_boxes"].shape == (0, 4)
    )


def test_thresholds_above_one(pair, image):
    """No mask exceeds such a threshold, so that the result is empty. transformers fails here,
    because it cannot stack an empty list."""
    ours = pipeline("mask-generation", pair[1])
    for options in (
        dict(pred_iou_thresh=1e9),
        dict(stability_score_thresh=1.5),
        dict(pred_iou_thresh=np.float64(1e9), stability_score_thresh=0.0),
    ):
        assert ours(image, points_per_crop=2, **options)["masks"] == []


def test_holes_are_filled(image):
    """The sizes of holes and specks count; transformers takes these options and ignores them."""
    generate = pipeline("mask-generation", "tiny")
    options = dict(
        points_per_crop=4, pred_iou_thresh=0.0, stability_score_thresh=0.0, crops_nms_thresh=1.0
    )
    before = generate(image, **options)
    after = generate(image, **options, max_hole_area=200, max_sprinkle_area=200)
    assert any(not torch.equal(a, b) for a, b in zip(before["masks"], after["masks"], strict=True))


class Photos(torch.utils.data.Dataset):
    """A dataset of records like those of the package `datasets`."""

    def __init__(self, photos):
        self.photos = photos

    def __len__(self):
        return len(self.photos)

    def __getitem__(self, i):
        return {"image": self.photos[i], "name": f"{i}.png"}


def test_datasets_and_generators_stream(pair, image):
    """The result is an iterator with the length of the dataset, as in transformers. No result is
    computed before it is asked for."""
    from transformers.pipelines.pt_utils import KeyDataset

    original, folder = pair
    ours = pipeline("mask-generation", folder, batch_size=2)
    options = dict(
        points_per_crop=3, pred_iou_thresh=0.0, stability_score_thresh=0.0, crops_nms_thresh=1.0
    )
    photos = [Image.fromarray(image), Image.fromarray(image[::-1].copy())]
    one_by_one = [ours(photo, **options) for photo in photos]
    data = KeyDataset(Photos(photos), "image")
    theirs = original(data, batch_size=1, num_workers=0, **options)
    mine = ours(data, batch_size=1, num_workers=0, **options)
    assert len(mine) == len(data) == 2
    for a, b, c in zip(theirs, mine, one_by_one, strict=True):
        assert len(a["masks"]) == len(b["masks"]) and torch.equal(b["scores"], c["scores"])
    # A second iteration starts from the beginning.
    assert [len(r["masks"]) for r in mine] == [len(r["masks"]) for r in one_by_one]

    class BySequence:  # A sequence of no library.
        def __len__(self):
            return 2

        def __getitem__(self, i):
            return photos[i]

    assert [len(r["masks"]) for r in ours(BySequence(), **options)] == [
        len(r["masks"]) for r in one_by_one
    ]
    asked = []
    stream = ours((asked.append(i) or photo for i, photo in enumerate(photos)), **options)
    assert asked == []
    assert torch.equal(next(iter(stream))["scores"], one_by_one[0]["scores"]) and asked == [0]
    with pytest.raises(TypeError):
        len(stream)


def without_types(config):
    """A configuration without the entries that depend on the reader: the dtype and the path."""
    return {
        k: without_types(v) if isinstance(v, dict) else v
        for k, v in config.items()
        if k not in ("dtype", "_name_or_path")
    }


def test_attributes(pair):
    original, folder = pair
    ours = pipeline("mask-generation", folder, image_processor=original.image_processor)
    assert (
        ours.task == "mask-generation"
        and ours.device == original.device == torch.device("cpu")
        and ours.dtype == original.dtype
    )
    assert without_types(ours.model.config.to_dict()) == without_types(
        original.model.config.to_dict()
    )
    assert (
        ours.model.device == original.model.device
        and ours.model.dtype == original.model.dtype
        and ours.model.eval() is ours.model
    )
    assert (
        ours.image_processor is original.image_processor
        and ours.tokenizer is None
        and ours.feature_extractor is None
    )
    copied = pipeline(
        "mask-generation",
        original.model,
        processor=types.SimpleNamespace(image_processor=original.image_processor),
    )
    assert copied.model is original.model and copied.image_processor is original.image_processor
