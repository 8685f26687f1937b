"""The safetensors reader: names, values, shapes. Broken headers are in
tests/contract/test_bad_weights.py."""

import json
import os
import struct

import numpy as np
import pytest
import segrid
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_torch

from tests.building_blocks import kernels

names, take = kernels.safetensors_names, kernels.safetensors_take


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "model.safetensors")


def write(path, header, data=b""):
    header = header if isinstance(header, bytes) else json.dumps(header).encode()
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(header)) + header + data)


def entry(dtype, shape, begin, end):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def bits(values):
    return np.ascontiguousarray(values).view(np.uint32)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_every_finite_16_bit_number(path, dtype):
    every = torch.arange(-(2**15), 2**15, dtype=torch.int16).view(dtype)
    finite = every[every.isfinite()]
    save_torch({"a": finite}, path)
    assert np.array_equal(bits(take(path, "a", [len(finite)])), bits(finite.float().numpy()))


def test_fp32_bits_are_kept(path):
    info = np.finfo(np.float32)
    values = np.array(
        [
            0.0,
            -0.0,
            info.tiny,
            info.smallest_subnormal,
            -info.smallest_subnormal,
            info.max,
            info.min,
            1 / 3,
        ],
        np.float32,
    )
    save_file({"a": values}, path)
    assert np.array_equal(bits(take(path, "a", [8])), bits(values))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, 4), max_size=5),
    st.sampled_from([torch.float32, torch.float16, torch.bfloat16]),
    st.integers(0, 2**31),
)
def test_any_shape(tmp_path_factory, shape, dtype, seed):
    path = str(tmp_path_factory.getbasetemp() / "shape.safetensors")
    generator = torch.Generator().manual_seed(seed)
    tensors = {name: torch.randn(shape, generator=generator).to(dtype) for name in "ab"}
    save_torch(tensors, path)
    for name, tensor in tensors.items():
        got = take(path, name, shape)
        assert got.shape == tuple(shape) and got.dtype == np.float32
        assert np.array_equal(got, tensor.float().numpy())


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
@pytest.mark.parametrize("shape", [[0], [3, 0, 2], [0, 0]])
def test_zero_size(path, dtype, shape):
    write(
        path,
        {
            "empty": entry(dtype, shape, 0, 0),
            "one": entry("F32", [], 0, 4),
            "last": entry(dtype, shape, 4, 4),
        },
        struct.pack("<f", 1.5),
    )
    for name in ("empty", "last"):
        assert take(path, name, shape).shape == tuple(shape)
    assert take(path, "one", []) == np.float32(1.5)


def test_names_are_sorted_by_bytes(path):
    tensors = ["b", "a.weight", "a", "Z", "", "größe", "層", "a.10", "a.9", 'with "quotes" and \n']
    write(
        path,
        {name: entry("F32", [1], 4 * i, 4 * i + 4) for i, name in enumerate(tensors)},
        np.arange(len(tensors), dtype="<f4").tobytes(),
    )
    assert names(path) == sorted(tensors, key=str.encode)
    for i, name in enumerate(tensors):
        assert take(path, name, [1]) == [i]


def test_order_of_the_header_is_not_the_order_of_the_data(path):
    write(
        path,
        {"late": entry("F32", [2], 4, 12), "early": entry("F16", [2], 0, 4)},
        struct.pack("<2e2f", 1, 2, 3, 4),
    )
    assert take(path, "early", [2]).tolist() == [1, 2] and take(path, "late", [2]).tolist() == [
        3,
        4,
    ]


def test_metadata_is_no_tensor(path):
    save_file({"a": np.ones(2, np.float32)}, path, metadata={"format": "pt", "a": "é", "shape": ""})
    assert names(path) == ["a"] and take(path, "a", [2]).tolist() == [1, 1]
    write(path, {"__metadata__": {"format": "pt"}})
    assert names(path) == []


def test_no_tensors_and_padding(path):
    for header in (b"{}", b"{}      ", b'{"__metadata__":{}}\n'):
        write(path, header)
        assert names(path) == []


@pytest.mark.parametrize(
    "metadata", [{"a": 1}, {"a": None}, {"a": True}, {"a": ["b"]}, "text", 5, None, ["b"]]
)
def test_metadata_holds_text_only(path, metadata):
    write(path, {"__metadata__": metadata})
    with pytest.raises(segrid.CorruptFileError, match="model.safetensors"):
        names(path)


WRONG_FIELDS = {
    "has no dtype": {"shape": [2], "data_offsets": [0, 8]},
    "has no shape": {"dtype": "F32", "data_offsets": [0, 8]},
    "has no data_offsets": {"dtype": "F32", "shape": [2]},
    "needs two data_offsets": {**entry("F32", [2], 0, 8), "data_offsets": [0, 8, 8]},
    "more than 16 dimensions": entry("F32", [2] + [1] * 16, 0, 8),
    "number 2.0": entry("F32", [2.0], 0, 8),
    "boolean": entry("F32", [True], 0, 8),
    "null": entry("F32", None, 0, 8),
    "text in shape": entry("F32", "2", 0, 8),
    "array where none belongs": entry("F32", [[2]], 0, 8),
    "dimension that overflows": entry("F32", [1 << 63], 0, 8),
    "unknown dtype 'f32'": entry("f32", [2], 0, 8),
}


@pytest.mark.parametrize("fault", WRONG_FIELDS)
def test_wrong_fields_name_the_tensor(path, fault):
    write(path, {"good": entry("F32", [0], 0, 0), "the.bad": WRONG_FIELDS[fault]}, b"\0" * 8)
    with pytest.raises(
        segrid.CorruptFileError, match=f"model.safetensors: tensor 'the.bad' .*{fault}"
    ):
        names(path)


def test_limits_are_inclusive(path):
    write(path, {"x" * 4096: entry("F32", [2] + [1] * 15, 0, 8)}, b"\0" * 8)
    assert take(path, "x" * 4096, [2] + [1] * 15).size == 2
    write(path, {"x" * 4097: entry("F32", [2], 0, 8)}, b"\0" * 8)
    with pytest.raises(segrid.CorruptFileError, match="name of more than 4096 bytes"):
        names(path)


@pytest.mark.parametrize("expected", [[3, 2], [6], [2, 3, 1], [2, 2], [2, 0]])
def test_wrong_shape(path, expected):
    save_file({"block.weight": np.zeros((2, 3), np.float32)}, path)
    shown = ", ".join(map(str, expected))
    with pytest.raises(segrid.CorruptFileError) as error:
        take(path, "block.weight", expected)
    assert f"{path}: the weights do not fit" in str(error.value)
    assert f"wrong (1): block.weight has shape (2, 3), expected ({shown})" in str(error.value)


def test_missing_name(path):
    save_file({"a": np.zeros(2, np.float32)}, path)
    for name in ("b", "A", "a.weight", ""):
        with pytest.raises(segrid.CorruptFileError, match=rf"missing \(1\): {name};"):
            take(path, name, [2])


@pytest.mark.parametrize(
    "dtype, size",
    [
        ("F64", 8),
        ("F8_E4M3", 1),
        ("F8_E5M2", 1),
        ("I64", 8),
        ("I32", 4),
        ("I16", 2),
        ("I8", 1),
        ("U64", 8),
        ("U32", 4),
        ("U16", 2),
        ("U8", 1),
        ("BOOL", 1),
    ],
)
def test_other_dtypes_are_listed_but_not_taken(path, dtype, size):
    write(path, {"a": entry(dtype, [3], 0, 3 * size)}, b"\0" * 3 * size)
    assert names(path) == ["a"]
    with pytest.raises(
        segrid.CorruptFileError, match=f"a has dtype {dtype}, expected F32, F16 or BF16"
    ):
        take(path, "a", [3])


@pytest.mark.parametrize(
    "dtype, number", [("F16", 0x7C00), ("F16", 0xFC01), ("BF16", 0x7F80), ("BF16", 0xFFC0)]
)
def test_non_finite_16_bit_numbers(path, dtype, number):
    write(path, {"a": entry(dtype, [2, 2], 0, 8)}, struct.pack("<4H", 0, number, 1, number))
    with pytest.raises(segrid.CorruptFileError, match="a holds 2 values that are NaN or Inf"):
        take(path, "a", [2, 2])


def test_only_the_taken_tensor_is_judged(path):
    save_file(
        {
            "a": np.ones(2, np.float32),
            "b": np.full(2, np.nan, np.float32),
            "c": np.zeros(2, np.int8),
        },
        path,
    )
    assert take(path, "a", [2]).tolist() == [1, 1]


def test_paths(tmp_path, path):
    for call in (names, lambda p: take(p, "a", [1])):
        for missing in (path, f"{path}/below", "", str(tmp_path / "größe.safetensors")):
            with pytest.raises(FileNotFoundError, match=f"^{missing}: "):
                call(missing)
        with pytest.raises(IsADirectoryError, match=str(tmp_path)):
            call(str(tmp_path))


def test_no_permission(path):
    save_file({"a": np.ones(2, np.float32)}, path)
    os.chmod(path, 0)
    user = os.geteuid()
    if user == 0:  # Root may read everything.
        os.seteuid(65534)
    try:
        with pytest.raises(PermissionError, match="model.safetensors: no permission to read"):
            names(path)
    finally:
        os.seteuid(user)


def test_every_truncation_is_refused(path):
    save_file(
        {"a": np.arange(6, dtype=np.float32), "b": np.ones(3, np.float16)},
        path,
        metadata={"format": "pt"},
    )
    with open(path, "rb") as file:
        whole = file.read()
    for n in range(len(whole)):
        with open(path, "wb") as file:
            file.write(whole[:n])
        with pytest.raises(segrid.CorruptFileError, match="model.safetensors"):
            names(path)
