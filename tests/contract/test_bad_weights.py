"""Model files: rows 31 to 37 of the bad inputs in tests/README.md."""

import json
import os
import shutil
import struct
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import segrid
from safetensors.numpy import load_file, save_file

from tests import models
from tests.building_blocks import kernels

TINY = Path(segrid.__file__).parent / "models/tiny"


@pytest.fixture
def folder(tmp_path):
    for name in ("config.json", "model.safetensors"):
        shutil.copy(TINY / name, tmp_path / name)
    return tmp_path


def change(folder, edit):
    tensors = load_file(folder / "model.safetensors")
    edit(tensors)
    save_file(tensors, folder / "model.safetensors")


def test_row_31_files_missing(tmp_path, folder):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        segrid.Segmenter(tmp_path / "nowhere")
    (folder / "config.json").unlink()
    with pytest.raises(FileNotFoundError, match="config.json"):
        segrid.Segmenter(folder)


def test_row_31_names_and_shapes(folder):
    def edit(t):
        del t["vision_encoder.pos_embed"], t["mask_decoder.iou_token.weight"]
        t["extra.weight"] = np.zeros(3, np.float32)
        t["prompt_encoder.no_mask_embed.weight"] = np.zeros((2, 128), np.float32)

    change(folder, edit)
    with pytest.raises(segrid.CorruptFileError) as error:
        segrid.Segmenter(folder)
    text = str(error.value)
    for part in (
        "missing (2)",
        "vision_encoder.pos_embed",
        "mask_decoder.iou_token.weight",
        "unexpected (1)",
        "extra.weight",
        "no_mask_embed.weight has shape (2, 128), expected (1, 128)",
    ):
        assert part in text


def test_two_copies_of_one_table_must_be_equal(folder):
    def edit(copy):
        def change_tensors(tensors):
            table = tensors["shared_image_embedding.positional_embedding"]
            tensors["prompt_encoder.shared_embedding.positional_embedding"] = copy(table)

        return change_tensors

    change(folder, edit(lambda table: table.copy()))
    segrid.Segmenter(folder)
    change(folder, edit(lambda table: table * np.asarray(1.01, table.dtype)))
    with pytest.raises(
        segrid.CorruptFileError,
        match="prompt_encoder.shared_embedding.positional_embedding differs from "
        "shared_image_embedding.positional_embedding",
    ):
        segrid.Segmenter(folder)


def test_row_31_other_architecture(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "bert"}))
    with pytest.raises(NotImplementedError, match="bert.*it knows: sam"):
        segrid.Segmenter(folder)
    config["vision_config"]["hidden_size"] = -5
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(segrid.CorruptFileError, match="hidden_size"):
        segrid.Segmenter(folder)


def test_row_32_nan_in_weights(folder):
    def edit(t):
        t["mask_decoder.mask_tokens.weight"][1, 5] = np.nan

    change(folder, edit)
    with pytest.raises(
        segrid.CorruptFileError, match="mask_tokens.weight holds 1 values that are NaN or Inf"
    ):
        segrid.Segmenter(folder)


def write(path, header, data=b"", length=None):
    header = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(header) if length is None else length) + header + data)


ENTRY = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
BAD = {
    "huge header": (b"{}", b"", 1 << 60),
    "header longer than the file": (b"{}", b"", 500),
    "negative header": (b"{}", b"", (1 << 64) - 8),
    "not JSON": (b"hello world", b""),
    "duplicate keys": (
        b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},'
        b'"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}',
        b"\0" * 8,
    ),
    "deep nesting": (b'{"a":' * 5000 + b"1" + b"}" * 5000, b""),
    "overlap": ({"a": ENTRY, "b": {**ENTRY, "data_offsets": [4, 12]}}, b"\0" * 12),
    "gap": ({"a": ENTRY, "b": {**ENTRY, "data_offsets": [12, 20]}}, b"\0" * 20),
    "reversed": ({"a": {**ENTRY, "data_offsets": [8, 0]}}, b"\0" * 8),
    "past the end": ({"a": {**ENTRY, "data_offsets": [0, 8]}}, b"\0" * 4),
    "overflow": ({"a": {**ENTRY, "shape": [1 << 62, 1 << 62]}}, b"\0" * 8),
    "unknown dtype": ({"a": {**ENTRY, "dtype": "F12"}}, b"\0" * 8),
    "wrong length": ({"a": {**ENTRY, "shape": [3]}}, b"\0" * 8),
    "negative shape": ({"a": {**ENTRY, "shape": [-2]}}, b"\0" * 8),
    "trailing bytes": ({"a": ENTRY}, b"\0" * 99),
}


@pytest.mark.parametrize("fault", BAD)
def test_row_33_34_headers(folder, fault):
    header, data, *length = BAD[fault]
    write(folder / "model.safetensors", header, data, *length)
    begin = time.perf_counter()
    with pytest.raises(segrid.CorruptFileError, match="model.safetensors"):
        kernels.safetensors_names(str(folder / "model.safetensors"))
    assert time.perf_counter() - begin < 0.05


def test_row_34_a_million_tensors(folder):
    many = (
        b"{"
        + b",".join(
            b'"t%d":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}' % i for i in range(300_000)
        )
        + b"}"
    )
    write(folder / "model.safetensors", many)
    with pytest.raises(segrid.CorruptFileError, match="more than 200000 tensors"):
        kernels.safetensors_names(str(folder / "model.safetensors"))


def test_row_33_fuzz(folder):
    path = folder / "model.safetensors"
    save_file(
        {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.ones(4, np.float16)}, path
    )
    whole = path.read_bytes()
    generator = np.random.default_rng(0)
    for _ in range(300):
        data = bytearray(whole)
        for at in generator.integers(0, len(data) - 32, generator.integers(1, 6)):
            data[at] = generator.integers(0, 256)
        path.write_bytes(
            bytes(
                data[: generator.integers(1, len(data) + 1)] if generator.random() < 0.3 else data
            )
        )
        try:
            kernels.safetensors_names(str(path))
        except ValueError:
            pass


def test_row_35_read_not_mapped(folder, coins):
    model = segrid.Segmenter(folder)
    before = model.predict(coins, points=[[150, 60]]).array.copy()
    (folder / "model.safetensors").write_bytes(b"")
    assert (model.predict(coins, points=[[150, 60]]).array == before).all()
    with pytest.raises(segrid.CorruptFileError, match="empty file"):
        segrid.Segmenter(folder)


def test_dtypes_equal_the_safetensors_library(tmp_path):
    import torch
    from safetensors.torch import save_file as save

    values = torch.randn(3, 5)
    tensors = {"f32": values, "f16": values.half(), "bf16": values.bfloat16()}
    save(tensors, tmp_path / "t.safetensors")
    for name, tensor in tensors.items():
        assert (
            kernels.safetensors_take(str(tmp_path / "t.safetensors"), name, [3, 5])
            == tensor.float().numpy()
        ).all()


def test_row_36_pickles_are_refused(tmp_path):
    for name in ("sam.pth", "model.pt"):
        (tmp_path / name).write_bytes(b"\x80\x04.")
        with pytest.raises(NotImplementedError, match="never loaded"):
            segrid.Segmenter(tmp_path / name)


def test_queries_keys_and_values_of_a_memory_are_all_int8_or_none(tmp_path):
    """Numbers without their scales would be other weights."""
    segrid.Tracker(precision="int8").save(tmp_path / "int8")

    def widen(tensors):
        name = "memory_attention.layers.0.self_attn.k_proj.weight"
        scales = tensors.pop(f"{name}_scale")
        tensors[name] = (tensors[name] * scales.reshape(-1, 1)).astype(np.float32)

    change(tmp_path / "int8", widen)
    with pytest.raises(segrid.CorruptFileError, match=r"layers\.0\.self_attn.* in int8 in part"):
        segrid.Tracker(tmp_path / "int8")


# The last value runs the tiled forms on plain building blocks.
@pytest.mark.parametrize("kernels", ["plain", "avx2", "gemm=plain,rows=plain,mask_scan=plain"])
def test_row_37_other_kernels_where_the_isa_is_missing(coins, tmp_path, kernels):
    code = (
        "import segrid, sys, numpy as np, skimage.data\n"
        "image = np.repeat(skimage.data.coins()[:, :, None], 3, 2)\n"
        "m = segrid.Segmenter('tiny', precision='fp32')"
        ".predict(image, points=[[150, 60]], multimask=True)\n"
        "np.savez(sys.argv[1], low=m.low_res, masks=m.array)"
    )
    out = tmp_path / "other.npz"
    subprocess.run(
        [sys.executable, "-c", code, str(out)],
        check=True,
        env={**os.environ, "SEGRID_KERNELS": kernels, "ATEN_CPU_CAPABILITY": "default"},
    )
    ours = segrid.Segmenter("tiny", precision="fp32").predict(
        coins, points=[[150, 60]], multimask=True
    )
    other = np.load(out)
    assert np.abs(other["low"] - ours.low_res).max() < 1e-4 * np.abs(ours.low_res).max()
    assert (other["masks"] != ours.array).sum() < 20


@pytest.mark.parametrize(
    "key, value, what",
    [
        ("vision_config.layer_norm_eps", -1, "layer_norm_eps"),
        ("mask_decoder_config.layer_norm_eps", 0, "layer_norm_eps"),
        ("vision_config.hidden_act", "relu", "hidden_act must be gelu, got relu"),
        ("mask_decoder_config.hidden_act", "gelu", "hidden_act must be relu, got gelu"),
        ("prompt_encoder_config.hidden_act", "tanh", "hidden_act must be gelu, got tanh"),
        ("prompt_encoder_config.image_size", 128, "must equal vision_config.image_size"),
    ],
)
def test_settings_that_the_engine_does_not_have(folder, key, value, what):
    edit_config(folder, key, value)
    with pytest.raises((segrid.CorruptFileError, NotImplementedError), match=what):
        segrid.Segmenter(folder)


def test_settings_of_sam2_that_the_engine_does_not_have(tmp_path):
    folder = models.sam2.make_video("small", tmp_path)
    good = (folder / "config.json").read_text()
    for key, value in {
        "prompt_encoder_config.patch_size": 0,
        "vision_config.backbone_config.hidden_act": "relu",
        "mask_downsampler_hidden_act": "relu",
        "memory_fuser_hidden_act": "silu",
    }.items():
        edit_config(folder, key, value)
        with pytest.raises((segrid.CorruptFileError, NotImplementedError), match=key):
            segrid.Tracker(folder)
        (folder / "config.json").write_text(good)


def edit_config(folder, key, value):
    file = folder / "config.json"
    config = json.loads(file.read_text())
    *path, last = key.split(".")
    part = config
    for name in path:
        part = part[name]
    part[last] = value
    file.write_text(json.dumps(config))


def test_a_config_alone_takes_no_memory(folder, python):
    """Tensors that are missing are not packed by the gigabyte before their fault is reported."""
    edit_config(folder, "vision_config.num_hidden_layers", 256)
    edit_config(folder, "vision_config.mlp_dim", 65536)
    code = (
        f"try:\n    segrid.Segmenter({str(folder)!r})\n"
        "except segrid.CorruptFileError as error:\n"
        "    print('wrong' in str(error), len(str(error)))\n"
        "print(open('/proc/self/status').read().split('VmHWM:')[1].split()[0])"
    )
    error, peak = python(code).split("\n")
    said, letters = error.split()
    assert said == "True" and int(letters) < 20_000 and int(peak) < 2_500_000


def test_only_matrices_are_int8(folder):
    name = "vision_encoder.layers.0.layer_norm1.weight"

    def edit(tensors):
        tensors[name] = np.ones(tensors[name].shape, np.int8)
        tensors[name + "_scale"] = np.ones(tensors[name].shape, np.float32)

    change(folder, edit)
    with pytest.raises(segrid.CorruptFileError, match="layer_norm1.weight has dtype I8"):
        segrid.Segmenter(folder)


def test_a_long_list_of_faults_is_cut(folder):
    change(folder, lambda t: t.update({f"extra.{i}": np.zeros(1, np.float32) for i in range(5000)}))
    with pytest.raises(segrid.CorruptFileError, match=r"unexpected \(5000\).* \.\.\.;") as error:
        segrid.Segmenter(folder)
    assert len(str(error.value)) < 2000
