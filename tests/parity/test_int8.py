"""precision="int8" and "int8-torch" for every family against our fp32, and their promises."""

import json

import numpy as np
import pytest
import segrid
from PIL import Image
from safetensors import safe_open
from segrid import _core

from tests import models


def smooth(size=(233, 150)):
    noise = np.random.default_rng(3).integers(0, 255, (7, 9, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(noise).resize(size, Image.BICUBIC))


@pytest.fixture(scope="module", params=["sam", "sam2", "mobile_sam"])
def folder(request, tmp_path_factory):
    make = {"sam": models.sam, "sam2": models.sam2, "mobile_sam": models.mobile_sam}[
        request.param
    ].make
    return make("small", tmp_path_factory.mktemp(request.param))


def error(a, b):
    return np.sqrt(np.square(a - b).mean() / np.square(b).mean())


@pytest.mark.parametrize("precision", ["int8", "int8-torch"])
def test_features_are_near_those_in_fp32(folder, precision):
    image, full = smooth(), segrid.Segmenter(folder, precision="fp32")
    low = segrid.Segmenter(folder, precision=precision)
    assert low.precision == precision
    exact, features = full.encode(image), low.encode(image)
    # u8 and s8 have 8 bits. A smaller error would mean that nothing was quantised.
    assert 0.002 < error(features.features, exact.features) < 0.06
    for a, b in zip(features.high_res_features, exact.high_res_features, strict=True):
        assert 0 < error(a, b) < 0.06


def test_only_the_encoders_linears_are_quantised(folder):
    engine = segrid.Segmenter(folder, precision="int8")._engine
    with safe_open(folder / "model.safetensors", "np") as file:
        names = set(file.keys())
    assert set(engine.quantised) <= names and len(engine.quantised) == len(set(engine.quantised))
    blocks = {
        n
        for n in names
        if n.startswith("vision_encoder.")
        and n.endswith(".weight")
        and any(
            part in n for part in (".attn.qkv.", ".attn.proj.", ".mlp.lin", ".mlp.proj_", ".mlp.fc")
        )
        or n.endswith("blocks.0.proj.weight")
    }
    assert len(blocks) >= 16 and blocks <= set(engine.quantised)
    assert all(
        "vision_encoder" in n and "neck" not in n and "patch" not in n for n in engine.quantised
    )
    assert segrid.Segmenter(folder, precision="fp32")._engine.quantised == []


def test_same_bits_for_any_thread_count_and_again(folder):
    image, low = smooth(), segrid.Segmenter(folder, precision="int8")
    once = low.encode(image).features
    for other in (low.with_threads(1), segrid.Segmenter(folder, precision="int8")):
        assert np.array_equal(once, other.encode(image).features)


def test_the_definition_agrees(folder):
    """The same integers are summed exactly. fp32 between the layers moves some integers to a
    neighbour."""
    image = smooth()
    low = segrid.Segmenter(folder, precision="int8")
    full = segrid.Segmenter(folder, precision="fp32")
    fast, exact = low.encode(image).features, full.encode(image).features
    try:
        _core.force_kernels("plain")
        plain = low.encode(image).features
    finally:
        _core.force_kernels("auto")
    assert 0 < np.square(plain - fast).mean() < 0.6 * np.square(fast - exact).mean()


def test_saved_and_loaded_again(folder, tmp_path):
    image, low = smooth(), segrid.Segmenter(folder, precision="int8")
    low.save(tmp_path / "small")
    again = segrid.Segmenter(tmp_path / "small")
    assert again.precision == "int8"
    assert np.array_equal(again.encode(image).features, low.encode(image).features)
    shapes = []
    with safe_open(tmp_path / "small/model.safetensors", "np") as file:
        for name in low._engine.quantised:
            values, scales = file.get_tensor(name), file.get_tensor(name + "_scale")
            shapes.append(values.shape)
            assert (
                values.dtype == np.int8
                and scales.dtype == np.float32
                and scales.shape == values.shape[:1]
            )
    quantised = sum(np.prod(shape) for shape in shapes)
    saved = (folder / "model.safetensors").stat().st_size - (
        tmp_path / "small/model.safetensors"
    ).stat().st_size
    assert saved > 2.8 * quantised  # One byte of four is left, and the scales.
    # In another precision the same weights are rounded once, not twice.
    full = segrid.Segmenter(tmp_path / "small", precision="fp32")
    assert (
        full.precision == "fp32"
        and error(full.encode(image).features, low.encode(image).features) < 0.06
    )
    with pytest.raises(ValueError, match="int8"):
        full.save(tmp_path / "other")
    with pytest.raises(FileExistsError):
        low.save(tmp_path / "small")


def test_damaged_quantised_files(folder, tmp_path):
    """Rows 31 and 32 of the bad inputs for quantised files: scales that are missing, misshapen or
    not finite are named."""
    from safetensors.numpy import load_file, save_file

    low = segrid.Segmenter(folder, precision="int8")
    low.save(tmp_path / "good")
    tensors, name = load_file(tmp_path / "good/model.safetensors"), low._engine.quantised[0]
    scale = tensors[name + "_scale"]
    nan = scale.copy()
    nan[0] = np.nan
    for number, (what, changed) in enumerate(
        [("NaN", nan), ("shape", scale[:-1].copy()), ("dtype I8", None)]
    ):
        bad = dict(tensors)
        if changed is None:
            del bad[name + "_scale"]
        else:
            bad[name + "_scale"] = changed
        place = tmp_path / f"bad{number}"
        place.mkdir()
        (place / "config.json").write_bytes((tmp_path / "good/config.json").read_bytes())
        save_file(bad, place / "model.safetensors")
        with pytest.raises(segrid.CorruptFileError, match=f"{name}.*{what}"):
            segrid.Segmenter(place, precision="int8")


def test_overflow_names_the_layer(folder, tmp_path):
    """Weights whose products leave the range of fp32 give an error with the name of the layer, not
    a wrong scale."""
    from safetensors.numpy import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    name = next(
        n
        for n in segrid.Segmenter(folder, precision="int8")._engine.quantised
        if "mlp" in n and tensors[n].shape[0] > tensors[n].shape[1]
    )
    # The output of a norm adds up to about 0.
    signs = np.random.default_rng(0).choice([-1, 1], tensors[name].shape)
    tensors[name] = (3e38 * signs).astype(np.float32)
    (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
    save_file(tensors, tmp_path / "model.safetensors")
    low = segrid.Segmenter(tmp_path, precision="int8")
    with pytest.raises(segrid.CorruptFileError, match=r"int8: .*vision_encoder\..*(NaN or Inf)"):
        low.encode(smooth())
    with pytest.raises(segrid.CorruptFileError, match="NaN or Inf"):
        low.everything(smooth(), points_per_side=2)


def auto_precision(folder, tmp_path, table):
    for name in ("config.json", "model.safetensors"):
        if not (tmp_path / name).exists():
            (tmp_path / name).symlink_to(folder / name)
    (tmp_path / "segrid.json").write_text(json.dumps({"precision": table}))
    return segrid.Segmenter(tmp_path).precision


def test_auto_goes_by_the_models_table(folder, tmp_path):
    features = _core.cpu_features()
    bf16 = "bf16" if features["avx512_bf16"] or features["amx"] else "fp32"
    row = "int8-narrow" if _core.int8_is_narrow() else "int8"
    int8 = "int8" if features["avx2"] else bf16
    good = {
        "bf16": {"iou_mean": 0.996, "iou_min": 0.98},
        row: {"iou_mean": 0.985, "ap50_loss": 0.004},
    }
    assert segrid.Segmenter(folder).precision == "fp32"  # The folder has no table.
    assert auto_precision(folder, tmp_path, good) == int8
    assert auto_precision(folder, tmp_path, {"bf16": good["bf16"]}) == bf16
    for bad in ({"iou_mean": 0.985, "ap50_loss": 0.02}, {"iou_mean": 0.97, "ap50_loss": 0.0}):
        assert auto_precision(folder, tmp_path, {**good, row: bad}) == bf16
    # The other int8's row says nothing about this CPU's.
    other = {"int8": "int8-narrow", "int8-narrow": "int8"}[row]
    assert auto_precision(folder, tmp_path, {other: good[row]}) == "fp32"
    # This precision was not measured against labels.
    assert auto_precision(folder, tmp_path, {row: {"iou_mean": 0.99}}) == "fp32"
    assert auto_precision(folder, tmp_path, {"bf16": {"iou_mean": 0.999, "iou_min": 0.9}}) == "fp32"
    assert auto_precision(folder, tmp_path, {}) == "fp32"
    for name in (row, other):
        with pytest.raises(segrid.CorruptFileError, match=f"precision.{name}.iou_mean"):
            auto_precision(folder, tmp_path, {name: {"iou_mean": "high"}})
