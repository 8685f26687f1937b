"""Benchmarks with peers that are not installed."""

import importlib.util
from types import SimpleNamespace

import pytest

from benchmarks import harness


def test_a_peer_that_is_missing_is_named_before_the_first_row(monkeypatch, tmp_path):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    monkeypatch.setattr(harness, "run_row", lambda *_: pytest.fail("a row ran"))
    once = SimpleNamespace(repeat=1, threads=1)
    with pytest.raises(SystemExit, match="pip install openvino"):
        harness.alternate("steps", ["segrid", "sam2_openvino@fp32"], {}, once, tmp_path)
