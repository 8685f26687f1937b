"""segrid.compat.segment_anything's Sam in the ways of inference scripts: called with a batch, part
by part, and as a torch module. Also segrid.compat.mobile_sam."""

import importlib
import shutil

import numpy as np
import pytest
import torch
from segrid.compat.segment_anything import (
    SamAutomaticMaskGenerator,
    SamPredictor,
    build_sam,
    sam_model_registry,
)
from segrid.compat.segment_anything.modeling import Sam

from tests import models
from tests.reference.agreement import same_arrays


def test_a_batch_with_all_kinds_of_prompts(sam_pair, image, other_image):
    from segment_anything.utils.transforms import ResizeLongestSide

    transform = ResizeLongestSide(160)

    def record(picture, **prompts):
        resized = torch.as_tensor(transform.apply_image(picture)).permute(2, 0, 1).contiguous()
        return {"image": resized, "original_size": picture.shape[:2]} | prompts

    points, labels = torch.tensor([[[50.0, 60]], [[90, 40]]]), torch.ones(2, 1, dtype=torch.int)
    boxes = torch.tensor([[20.0, 30, 150, 120], [5, 5, 60, 60]])
    clicks, hints = dict(point_coords=points, point_labels=labels), torch.linspace(-9, 9, 3200)
    batch = [
        record(image, boxes=boxes),
        record(other_image, **clicks),
        record(image[:90, :80], boxes=boxes, **clicks),
        record(image, boxes=boxes, mask_inputs=hints.reshape(2, 1, 40, 40)),
    ]
    batch.append({**batch[0], "image": batch[0]["image"][:, :70, :90], "original_size": (200, 300)})
    for multimask in (False, True):
        mine, theirs = (sam(batch, multimask_output=multimask) for sam in sam_pair)
        for one, other in zip(mine, theirs, strict=True):
            assert list(one) == list(other)
            same_arrays(one.values(), other.values())


def medsam(sam, image, box):
    """The steps of MedSAM's inference."""
    small = np.asarray(image[:160, :160], np.float32)
    pixels = (small - small.min()) / (small.max() - small.min())
    batch = torch.nn.functional.pad(torch.tensor(pixels).permute(2, 0, 1)[None], (0, 0, 0, 10))
    embedding = sam.image_encoder(batch)
    boxes = torch.as_tensor(box, dtype=torch.float, device=embedding.device)[:, None, :]
    sparse, dense = sam.prompt_encoder(points=None, boxes=boxes, masks=None)
    logits, scores = sam.mask_decoder(
        image_embeddings=embedding,
        image_pe=sam.prompt_encoder.get_dense_pe(),
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense,
        multimask_output=False,
    )
    return embedding, logits, scores, sparse.shape, dense.shape


def test_part_by_part(sam_pair, image):
    mine, theirs = (
        medsam(sam, image, np.array([[20, 30, 150, 120], [9, 9, 50, 70]])) for sam in sam_pair
    )
    same_arrays(mine[:3], theirs[:3])
    assert mine[3:] == theirs[3:]
    ours, original = sam_pair
    x = torch.rand(2, 3, 120, 160) * 255
    same_arrays([ours.preprocess(x)], [original.preprocess(x)], 1e-6)
    same_arrays(
        [ours.image_encoder(ours.preprocess(x))], [original.image_encoder(original.preprocess(x))]
    )
    low = torch.rand(2, 3, 40, 40)
    same_arrays(
        [ours.postprocess_masks(low, (120, 160), (33, 77))],
        [original.postprocess_masks(low, (120, 160), (33, 77))],
        1e-6,
    )
    same_arrays(
        [ours.prompt_encoder.get_dense_pe()], [original.prompt_encoder.get_dense_pe()], 1e-5
    )
    for name in ("image_embedding_size", "input_image_size", "mask_input_size", "embed_dim"):
        assert getattr(ours.prompt_encoder, name) == getattr(original.prompt_encoder, name)
    same_arrays([ours.pixel_mean, ours.pixel_std], [original.pixel_mean, original.pixel_std], 0)
    with pytest.raises(NotImplementedError, match="prompt_encoder returned"):
        ours.mask_decoder(low, low, torch.zeros(1, 2, 128), torch.zeros(1, 128, 10, 10), False)
    with pytest.raises(RuntimeError, match="image_encoder: expected"):
        ours.image_encoder(torch.zeros(1, 3, 20, 20))


def test_features_for_each_prompt(sam_pair, image):
    """MedSAM's fork takes one image embedding for each box."""
    ours = sam_pair[0]
    boxes = np.array([[20, 30, 150, 120], [9, 9, 50, 70]])
    one = medsam(ours, image, boxes)[1]
    sparse, dense = ours.prompt_encoder(points=None, boxes=torch.tensor(boxes), masks=None)
    embeddings = torch.cat([medsam(ours, image, boxes)[0]] * 2)
    places = ours.prompt_encoder.get_dense_pe()
    many, _ = ours.mask_decoder(embeddings, places, sparse, dense, False)
    assert torch.equal(one, many)


def test_as_a_torch_module(sam_pair):
    ours, original = sam_pair
    theirs = original.state_dict()
    mine = ours.state_dict()
    assert mine.keys() == theirs.keys()
    for name in theirs:
        assert torch.equal(mine[name], theirs[name]), name
    parameters = dict(ours.named_parameters())
    assert parameters.keys() == dict(original.named_parameters()).keys()
    assert next(ours.parameters()).device.type == "cpu"
    assert next(ours.parameters()).dtype == torch.float32
    count, wanted = (sum(p.numel() for p in sam.parameters()) for sam in sam_pair)
    assert count == wanted
    for parameter in ours.parameters():
        parameter.requires_grad = False
    assert ours.eval() is ours and not ours.training and ours.train(False) is ours
    assert ours.requires_grad_(False) is ours and len(list(ours.modules())) == 4
    assert [name for name, _ in ours.named_children()] == [
        name for name, _ in original.named_children()
    ]
    for call in (ours.train, ours.requires_grad_, ours.image_encoder.train):
        with pytest.raises(NotImplementedError, match="does not train"):
            call()
    assert isinstance(ours, Sam) and not isinstance(ours, torch.nn.Module)


def test_parts_as_torch_modules(sam_pair):
    ours, original = sam_pair
    for name in ("image_encoder", "prompt_encoder", "mask_decoder"):
        mine, theirs = getattr(ours, name), getattr(original, name)
        assert mine.state_dict().keys() == theirs.state_dict().keys()
        assert all(torch.equal(t, theirs.state_dict()[n]) for n, t in mine.state_dict().items())
        named = dict(mine.named_parameters())
        assert named.keys() == dict(theirs.named_parameters()).keys()
        assert next(mine.parameters()).shape == next(iter(named.values())).shape
        assert sum(p.numel() for p in mine.parameters()) == sum(
            p.numel() for p in theirs.parameters()
        )
        assert mine.to("cpu").cpu().to(device=torch.device("cpu"), dtype=torch.float32) is mine
        with pytest.raises(NotImplementedError, match=f"{type(mine).__name__}.to: .*the model"):
            mine.to("cpu-plain")
    for module in (ours, ours.mask_decoder):
        for call in ("buffers", "named_buffers", "apply"):
            with pytest.raises(NotImplementedError, match=rf"{type(module).__name__}\.{call}: "):
                getattr(module, call)(lambda m: None)
    assert next(iter(dict(ours.named_parameters("sam")))).startswith("sam.")


def test_half_precision(sam_checkpoint, image):
    """float16 is used where the model runs as on CUDA; on the CPU the model stays in float32 and
    its dtype says so."""
    sam = build_sam(sam_checkpoint[1])
    predictor = SamPredictor(sam)

    def click():
        predictor.set_image(image)
        return predictor.predict(np.array([[50.0, 60]]), np.array([1]))

    wanted = click()
    assert sam.half() is sam and sam.dtype == torch.float32
    same_arrays(click(), wanted, 0)
    sam.to("cpu-plain")
    assert sam.dtype == torch.float16 == next(sam.parameters()).dtype
    rounded = click()
    assert 0 < np.abs(rounded[2] - wanted[2]).max() < 0.05 * np.abs(wanted[2]).max()
    sam.float()
    assert sam.dtype == torch.float32
    same_arrays(click(), wanted)
    assert sam.to(torch.device("cpu"), torch.bfloat16).dtype == torch.float32
    with pytest.raises(NotImplementedError, match="float64"):
        sam.to(torch.float64)


def test_weights_later(sam_checkpoint, image):
    original, file = sam_checkpoint
    sam = sam_model_registry["vit_b"]()
    assert sam.image_encoder.img_size == 1024 and str(sam.to("cpu").device) == "cpu"
    for call in (
        lambda: SamPredictor(sam).set_image(image),
        lambda: next(sam.parameters()),
        lambda: sam.image_encoder(torch.zeros(1, 3, 1024, 1024)),
        sam.state_dict,
    ):
        with pytest.raises(RuntimeError, match="Sam: it has no weights yet"):
            call()
    keys = sam.load_state_dict(torch.load(file, weights_only=True))
    assert keys.missing_keys == [] == keys.unexpected_keys and keys == ([], [])
    from segment_anything import SamPredictor as Original

    results = []
    for predictor in (SamPredictor(sam), Original(original)):
        predictor.set_image(image)
        results.append(predictor.predict(np.array([[50.0, 60]]), np.array([1])))
    same_arrays(*results)


def test_some_weights_later(sam_checkpoint, image):
    """A fine-tuned decoder is loaded over the weights; names that do not fit are handled as in
    torch."""
    original, file = sam_checkpoint
    sam = build_sam(file)
    tuned = {
        name: tensor * 1.1
        for name, tensor in original.state_dict().items()
        if name.startswith("mask_decoder.")
    }
    with pytest.raises(RuntimeError, match=r"loading state_dict for Sam:\s+Missing key\(s\)"):
        sam.load_state_dict(tuned)
    keys = sam.load_state_dict(tuned | {"adapter.weight": torch.zeros(2)}, strict=False)
    assert keys.unexpected_keys == ["adapter.weight"]
    assert "image_encoder.pos_embed" in keys.missing_keys
    assert torch.equal(
        sam.state_dict()["mask_decoder.iou_token.weight"], tuned["mask_decoder.iou_token.weight"]
    )
    whole = original.state_dict()
    with pytest.raises(RuntimeError, match=r'Unexpected key\(s\) in state_dict: "adapter.weight"'):
        sam.load_state_dict(whole | {"adapter.weight": torch.zeros(2)})
    with pytest.raises(RuntimeError, match="size mismatch for mask_decoder.iou_token.weight"):
        sam.load_state_dict(whole | {"mask_decoder.iou_token.weight": torch.zeros(1, 5)})
    empty = sam_model_registry["vit_b"]()
    with pytest.raises(NotImplementedError, match="not a checkpoint of a known family"):
        empty.load_state_dict({"image_encoder.conv.weight": torch.zeros(3)})


def test_heads_of_a_decoder(tmp_path, image):
    """No tensor tells the number of heads. A config.json beside the checkpoint does; without it the
    checkpoint is refused."""
    theirs = models.sam.to_segment_anything(models.sam.make("wide", tmp_path / "source"))
    for layer in (*theirs.mask_decoder.transformer.layers, theirs.mask_decoder.transformer):
        for name in (
            "self_attn",
            "cross_attn_token_to_image",
            "cross_attn_image_to_token",
            "final_attn_token_to_image",
        ):
            if hasattr(layer, name):
                getattr(layer, name).num_heads = 4
    torch.save(theirs.state_dict(), tmp_path / "sam.pth")
    with pytest.raises(NotImplementedError, match="128 wide, and no tensor tells how many"):
        build_sam(tmp_path / "sam.pth")
    (tmp_path / "config.json").write_text('{"mask_decoder_config": {"num_attention_heads": 4}}')
    from segment_anything import SamPredictor as Original

    results = []
    for predictor in (SamPredictor(build_sam(tmp_path / "sam.pth")), Original(theirs)):
        predictor.set_image(image)
        results.append(predictor.predict(np.array([[50.0, 60]]), np.array([1])))
    same_arrays(*results)


PUBLIC = {
    "": [
        "sam_model_registry",
        "SamPredictor",
        "SamAutomaticMaskGenerator",
        "build_sam",
        "build_sam_vit_h",
        "build_sam_vit_l",
        "build_sam_vit_b",
    ],
    ".build_sam": ["sam_model_registry", "build_sam"],
    ".predictor": ["SamPredictor"],
    ".automatic_mask_generator": ["SamAutomaticMaskGenerator"],
    ".modeling": ["Sam", "ImageEncoderViT", "MaskDecoder", "PromptEncoder"],
    ".utils.transforms": ["ResizeLongestSide"],
    ".utils.amg": ["MaskData", "rle_to_mask", "build_all_layer_point_grids"],
}


@pytest.mark.parametrize("package", ["segment_anything", "mobile_sam"])
@pytest.mark.parametrize("module", PUBLIC)
def test_modules_are_where_they_were(package, module):
    ours = importlib.import_module(f"segrid.compat.{package}{module}")
    for name in PUBLIC[module]:
        assert hasattr(ours, name), name


def test_mobile_sam(tmp_path, image):
    """The checkpoint loads by the names of MobileSAM's package, its weights by their original
    names."""
    from segrid.compat.mobile_sam import SamPredictor as Predictor
    from segrid.compat.mobile_sam import build_sam_vit_t
    from segrid.compat.mobile_sam import sam_model_registry as registry
    from segrid.compat.mobile_sam.modeling import TinyViT

    weights = models.mobile_sam.checkpoint("small", tmp_path)
    (tmp_path / "config.json").write_text('{"mask_decoder_config": {"num_attention_heads": 4}}')
    torch.save(weights, tmp_path / "mobile_sam.pt")
    sam = registry["vit_t"](checkpoint=str(tmp_path / "mobile_sam.pt"))
    sam.to(device="cpu").eval()
    assert isinstance(sam.image_encoder, TinyViT) and sam.segmenter.family == "mobile_sam"
    mine = sam.state_dict()
    assert mine.keys() <= weights.keys()
    for name in weights.keys() - mine.keys():
        assert name.endswith(("num_batches_tracked", "attention_bias_idxs")), name
    assert all(torch.equal(mine[name], weights[name].float()) for name in mine)
    predictor = Predictor(sam)
    predictor.set_image(image)
    wanted = predictor.predict(np.array([[50.0, 60]]), np.array([1]))
    sam.load_state_dict(weights, strict=True)  # The weights replace those that are loaded.
    same_arrays(predictor.predict(np.array([[50.0, 60]]), np.array([1])), wanted, 0)
    empty = build_sam_vit_t()
    assert isinstance(empty.image_encoder, TinyViT) and not empty.has_weights
    assert not isinstance(registry["vit_b"]().image_encoder, TinyViT)


def test_torch_compile_has_nothing_to_do(sam_checkpoint, image):
    """It makes a function of what is no torch.nn.Module; predictors take that for the model."""
    compiled, click = torch.compile, dict(point_coords=[[50, 60]], point_labels=[1])
    sam = sam_model_registry["vit_b"](checkpoint=str(sam_checkpoint[1]))
    predictor = SamPredictor(sam)
    predictor.set_image(image)
    expected = predictor.predict(**click)
    encoder = sam.image_encoder
    assert sam.compile() is None
    sam.image_encoder = compiled(encoder, mode="max-autotune", fullgraph=True)
    assert sam.image_encoder is encoder
    other = SamPredictor(compiled(sam))
    other.model = compiled(compiled(sam))
    assert other.model is sam
    other.set_image(image)
    for mine, plain in zip(other.predict(**click), expected, strict=True):
        np.testing.assert_array_equal(mine, plain)
    assert SamAutomaticMaskGenerator(compiled(sam), points_per_side=2).generate(image) is not None
    features = sam.image_encoder(torch.zeros(1, 3, 160, 160))
    torch.testing.assert_close(compiled(encoder)(torch.zeros(1, 3, 160, 160)), features)


def test_the_originals_model_is_refused(sam_pair):
    for make in (SamPredictor, SamAutomaticMaskGenerator):
        with pytest.raises(TypeError, match=r"build the model by segrid\.compat\.segment_anything"):
            make(sam_pair[1])


def test_what_programs_read_of_the_encoders_layers(sam_pair):
    for mine, theirs in zip(*(describe(sam.image_encoder) for sam in sam_pair), strict=True):
        assert mine == theirs


def describe(encoder):
    """As micro-sam reads it."""
    return encoder.neck[2].out_channels, encoder.patch_embed.proj.in_channels


@pytest.mark.parametrize(
    "module, name",
    [
        ("modeling", "TwoWayTransformer"),
        ("modeling.image_encoder", "window_partition"),
        ("modeling.mask_decoder", "MLP"),
        ("modeling.prompt_encoder", "PositionEmbeddingRandom"),
    ],
)
def test_layers_are_not_offered(module, name):
    ours = importlib.import_module(f"segrid.compat.segment_anything.{module}")
    assert hasattr(importlib.import_module(f"segment_anything.{module}"), name), "vacuous"
    with pytest.raises(ImportError, match=f"{name}: not offered by segrid; segrid's engine has"):
        getattr(ours, name)
    assert not hasattr(ours, "no_such_name")


@pytest.mark.parametrize("name", ["sam", "sam.torch", "sam.ckpt"])
def test_a_checkpoint_may_have_any_name(sam_checkpoint, tmp_path, name):
    shutil.copy(sam_checkpoint[1], tmp_path / name)
    shutil.copy(sam_checkpoint[1].parent / "config.json", tmp_path)
    assert (
        sam_model_registry["vit_b"](checkpoint=str(tmp_path / name)).image_encoder.img_size == 160
    )
