"""load_state_dict of the drop-ins' models: round trips, parts, tensors that do not fit, and
temporary files."""

import copy
import gc
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import segrid
import torch
from segrid.compat.sam2.build_sam import build_sam2
from segrid.compat.sam2.sam2_image_predictor import SAM2ImagePredictor
from segrid.compat.segment_anything import build_sam
from segrid.compat.state_dicts import TemporaryFolder

from tests.reference.sam2_calls import CLICKS, CONFIG, close

TINY = Path(segrid.__file__).parent / "models/tiny"


def answer(model, features, image):
    predictor = SAM2ImagePredictor(model)
    predictor._features, predictor._orig_hw = features, [image.shape[:2]]
    predictor._is_image_set = True
    return predictor.predict(**CLICKS)[1:]


def test_a_round_trip_of_sam2(small_sam2):
    model = build_sam2(CONFIG, small_sam2, device="cpu")
    before = model.state_dict()
    changed = {name: tensor * 0.9 for name, tensor in before.items()}
    keys = model.load_state_dict(changed)
    assert keys == ([], []) and str(keys) == "<All keys matched successfully>" == repr(keys)
    after = model.state_dict()
    assert after.keys() == before.keys() and model.image_size == 128
    assert all(torch.equal(after[name], changed[name]) for name in after)


def test_a_round_trip_of_sam():
    sam = build_sam(TINY)
    changed = {name: tensor * 0.9 for name, tensor in sam.state_dict().items()}
    assert sam.load_state_dict(changed) == ([], [])
    assert all(torch.equal(tensor, changed[name]) for name, tensor in sam.state_dict().items())


def test_a_tuned_decoder_of_sam2(originals, sam2_checkpoint, image):
    """A tuned decoder loads by the original's names; then the whole checkpoint loads over it."""
    other = originals()
    features, whole = other._features, other.model.state_dict()
    model = build_sam2(CONFIG, sam2_checkpoint[1], device="cpu")
    parts = ("sam_mask_decoder.", "sam_prompt_encoder.point_embeddings.1.")
    tuned = {k: v * 1.1 for k, v in whole.items() if k.startswith(parts)}
    with pytest.raises(RuntimeError, match=r'Missing key\(s\).*"image_encoder.trunk.pos_embed"'):
        model.load_state_dict(tuned)
    keys = model.load_state_dict(tuned | {"adapter.weight": torch.zeros(2)}, strict=False)
    theirs = other.model.load_state_dict(tuned | {"adapter.weight": torch.zeros(2)}, strict=False)
    try:
        assert keys.unexpected_keys == theirs.unexpected_keys == ["adapter.weight"]
        assert set(keys.missing_keys) <= set(theirs.missing_keys)
        video = set(theirs.missing_keys) - set(keys.missing_keys)
        assert video and not any(name.startswith(("image_encoder", "sam_")) for name in video)
        wanted = other.predict(**CLICKS)[1:]
        close(answer(model, features, image), wanted)
    finally:
        other.model.load_state_dict(whole)
    assert model.load_state_dict(whole) == ([], [])
    close(answer(model, features, image), other.predict(**CLICKS)[1:])
    with pytest.raises(RuntimeError, match=r'Unexpected key\(s\) in state_dict: "foo.bar"'):
        model.load_state_dict(whole | {"foo.bar": torch.zeros(2)})
    with pytest.raises(RuntimeError, match="size mismatch for sam_mask_decoder.iou_token.weight"):
        model.load_state_dict(whole | {"sam_mask_decoder.iou_token.weight": torch.zeros(1, 5)})


ABSENT = [
    "image_encoder.pos_embed",
    "image_encoder.blocks.0.attn.qkv.weight",
    "image_encoder.blocks.1.norm1.weight",
    "prompt_encoder.point_embeddings.1.weight",
    "prompt_encoder.mask_downscaling.0.weight",
    "mask_decoder.iou_token.weight",
    "mask_decoder.iou_prediction_head.layers.0.weight",
    "mask_decoder.iou_prediction_head.layers.1.bias",
    "mask_decoder.iou_prediction_head.layers.2.weight",
    "mask_decoder.transformer.layers.0.norm1.weight",
]


@pytest.mark.parametrize("absent", ABSENT)
def test_a_missing_tensor_of_an_empty_model(absent, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    weights = build_sam(TINY).state_dict()
    del weights[absent]
    empty = build_sam()
    with pytest.raises(RuntimeError) as error:
        empty.load_state_dict(weights)
    text = str(error.value)
    assert f'Missing key(s) in state_dict: "{absent}"' in text, text
    assert "safetensors" not in text and "/" not in text and not empty.has_weights


def test_files_go_with_the_model(small_sam2, tmp_path, monkeypatch):
    """Temporary files exist as long as state_dict may read them, and none is left in the cache."""
    monkeypatch.setenv("SEGRID_CACHE", str(tmp_path))
    for make in (lambda: build_sam(TINY), lambda: build_sam2(CONFIG, small_sam2, device="cpu")):
        model = make()
        model.load_state_dict(model.state_dict())
        if hasattr(model, "sam_mask_decoder"):
            model.sam_mask_decoder.dynamic_multimask_via_stability = False
        segmenter = model.segmenter
        folder = Path(segmenter._files.weights).parent
        twin = copy.deepcopy(segmenter)
        del model
        gc.collect()
        assert folder.exists() and pickle.loads(pickle.dumps(segmenter)).side == segmenter.side
        del segmenter
        gc.collect()
        assert folder.exists() and twin.side
        del twin
        gc.collect()
        assert not folder.exists()
    assert not any(tmp_path.rglob("*.safetensors"))


def test_files_go_with_the_process(tmp_path):
    code = (
        "from segrid.compat.segment_anything import build_sam\n"
        f"sam = build_sam({str(TINY)!r})\n"
        "sam.load_state_dict(sam.state_dict())\n"
        "print(sam.segmenter._files.weights)\n"
    )
    env = os.environ | {"TMPDIR": str(tmp_path)}
    ran = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True
    )
    assert ran.stdout.startswith(str(tmp_path)) and not any(tmp_path.iterdir())


def test_a_temporary_folder_is_a_path():
    folder = TemporaryFolder.make()
    assert Path(folder).is_dir() and pickle.loads(pickle.dumps(folder)) == folder
