"""Profiles for users: segrid.Trace, --trace, segrid bench."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import segrid
from segrid._native import _core
from segrid.measuring.product_share import product_rates, share_of_rate


@pytest.fixture(scope="module")
def fp32_tiny():
    return segrid.Segmenter("tiny", precision="fp32")


def test_spans_cover_the_call_and_nest(tiny, coins):
    with segrid.Trace() as trace:
        masks = tiny.everything(coins, points_per_side=6)
    seconds = trace.seconds()
    assert {
        "qkv",
        "mlp",
        "global attention",
        "neck",
        "decode",
        "tokens",
        "sweep",
        "upscale",
        "scan",
        "box nms",
        "thin",
    } <= set(seconds)
    # There is one span for each point.
    assert {e[3] for e in trace.events if e[0] == "decode"} == set(range(36))
    assert trace.dropped == 0
    inner = seconds["tokens"] + seconds["sweep"] + seconds["upscale"]
    assert 0.7 * seconds["decode"] < inner <= seconds["decode"]
    stats = masks.stats["seconds"]
    workers = min(segrid.threads(), 36)
    assert (
        seconds["decode"] + seconds["scan"]
        <= 1.05 * workers * (stats["decode"] + stats["scan"]) + 0.01
    )
    by_thread: dict[int, list] = {}
    for name, begin, duration, _, thread in trace.events:
        if name in ("decode", "scan"):
            by_thread.setdefault(thread, []).append((begin, begin + duration))
    for spans in by_thread.values():  # A worker does one thing at a time.
        assert all(a[1] <= b[0] for a, b in zip(spans, spans[1:], strict=False))


def test_nothing_is_recorded_outside(tiny, coins):
    with segrid.Trace() as trace:
        pass
    tiny.everything(coins, points_per_side=2)
    assert trace.events == []
    with segrid.Trace() as trace:
        pass
    assert trace.events == []


def test_one_recording_at_a_time():
    with segrid.Trace():
        with pytest.raises(ValueError, match="one at a time"):
            segrid.Trace().__enter__()
    with segrid.Trace():  # The next recording works.
        pass


def test_chrome_format(tiny, coins, tmp_path):
    path = tmp_path / "out.json"
    with segrid.Trace(path) as trace:
        tiny.everything(coins, points_per_side=2)
    written = json.loads(path.read_text())
    complete = [e for e in written["traceEvents"] if e["ph"] == "X"]
    assert len(complete) == len(trace.events) > 0
    assert all(e["ts"] >= 0 and e["dur"] >= 0 and isinstance(e["tid"], int) for e in complete)
    assert {e["tid"] for e in complete} == {
        e["tid"] for e in written["traceEvents"] if e["ph"] == "M"
    }


def test_recording_changes_no_result(tiny, coins):
    plain = tiny.everything(coins, points_per_side=4)
    with segrid.Trace():
        traced = tiny.everything(coins, points_per_side=4)
    assert np.array_equal(plain.array, traced.array)


def test_the_multiply_adds_are_those_of_the_model(fp32_tiny, coins):
    config = json.loads((Path(segrid.__file__).parent / "models/tiny/config.json").read_text())
    vision = config["vision_config"]
    width, layers = vision["hidden_size"], vision["num_hidden_layers"]
    tokens = (vision["image_size"] // vision["patch_size"]) ** 2
    with segrid.Trace() as trace:
        fp32_tiny.encode(coins)
    products = trace.multiply_adds()
    assert products["qkv"] == {"fp32": layers * tokens * width * 3 * width}
    assert products["mlp"] == {
        "fp32": layers * tokens * (width * width + 2 * width * vision["mlp_dim"])
    }
    own = len(vision["global_attn_indexes"]) * tokens * tokens * 2 * width
    assert own < products["global attention"]["fp32"] < 1.5 * own  # and positions
    with segrid.Trace() as trace:
        pass
    assert trace.multiply_adds() == {}


def test_the_share_of_the_rate_is_the_time_of_the_products_alone():
    products = [{"fp32": 50_000_000}, {"fp32": 50_000_000, "int8": 400_000_000}, {}]
    assert share_of_rate(products, 2.0, {"fp32": 0.2, "int8": 0.8}) == pytest.approx(1.0)
    assert share_of_rate(products, 2.0, {"fp32": 0.2}) is None
    assert share_of_rate([{}], 2.0, {"fp32": 0.2}) is None
    rates = product_rates(products, seconds=0.03)
    assert set(rates) == {"fp32", "int8"} and all(rate > 0 for rate in rates.values())
    with pytest.raises(ValueError, match="'fp32', 'bf16' or 'int8'"):
        _core.product_rate("fp64")


def segrid_command(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "segrid", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def test_bench_and_trace_on_the_command_line(tmp_path):
    report = json.loads(segrid_command("bench", "--points-per-side", 3, "--repeat", 1, "--json"))
    run = report["runs"][0]
    assert run["points"] == 9 and run["seconds"]["total"] > run["seconds"]["decode"] > 0
    assert {"sweep", "tokens", "qkv"} <= set(run["worker_seconds"])
    assert {"sweep", "qkv"} <= set(run["multiply_adds"]) and report["product_rate"]
    shown = segrid_command("bench", "--points-per-side", 2, "--repeat", 1)
    assert "sweep" in shown and "encode" in shown and "GFLOP/s" in shown
    assert "product rate" in segrid_command("info")
    from PIL import Image

    Image.fromarray(np.zeros((40, 60, 3), np.uint8)).save(tmp_path / "a.png")
    segrid_command(
        "everything",
        tmp_path / "a.png",
        "-o",
        tmp_path,
        "--points-per-side",
        2,
        "--trace",
        tmp_path / "t.json",
    )
    assert any(
        e["name"] == "sweep" for e in json.loads((tmp_path / "t.json").read_text())["traceEvents"]
    )
    refused = subprocess.run(
        [
            sys.executable,
            "-m",
            "segrid",
            "everything",
            str(tmp_path / "a.png"),
            "-o",
            str(tmp_path),
            "--trace",
            str(tmp_path / "no" / "t.json"),
        ],
        capture_output=True,
        text=True,
    )
    assert refused.returncode == 2 and "Traceback" not in refused.stderr
    assert (
        subprocess.run(
            [sys.executable, "-m", "segrid", "bench", "--points-per-side", "0"], capture_output=True
        ).returncode
        == 2
    )


def test_spans_at_once():
    trace = segrid.Trace()
    # The third span begins when the first ends.
    trace.events = [
        ("a", 0, 10, -1, 0),
        ("a", 5, 10, -1, 1),
        ("a", 10, 2, -1, 0),
        ("b", 0, 100, -1, 2),
    ]
    assert trace.at_once("a") == 2 and trace.at_once("b") == 1 and trace.at_once("c") == 0
