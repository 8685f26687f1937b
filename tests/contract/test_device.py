"""Devices: their names, their precisions, moves, overflows, forks and threads."""

import json
import subprocess
import sys
import textwrap
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import segrid


@pytest.mark.parametrize(
    "name", ["gpu", "cudax", "cuda:", "cuda:x", "cuda:-1", "cuda:123", "", "CPU", "cpu:0"]
)
def test_unknown_names(name):
    with pytest.raises(ValueError, match="unknown; use 'auto', 'cpu', 'cuda'"):
        segrid.Segmenter("tiny", device=name)


def test_absent_devices_say_why():
    """Row 38 of the bad inputs: torch has no CUDA, no driver, or fewer devices."""
    with pytest.raises(
        NotImplementedError, match=r"device='cuda:99': .+; use 'cpu', or install torch with CUDA"
    ):
        segrid.Segmenter("tiny", device="cuda:99")
    with pytest.raises(NotImplementedError, match="mps.*not in this build"):
        segrid.Detector(device="mps")


def test_auto_takes_the_best_device(monkeypatch):
    import torch

    for name in ("cpu", "cpu-plain"):
        monkeypatch.setenv("SEGRID_DEVICE", name)
        assert segrid.Segmenter("tiny").device == name
    monkeypatch.setenv("SEGRID_DEVICE", "gpu")
    with pytest.raises(ValueError, match="SEGRID_DEVICE: device='gpu': unknown"):
        segrid.Segmenter("tiny")
    monkeypatch.delenv("SEGRID_DEVICE")
    assert segrid.Segmenter("tiny").device == ("cuda:0" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize(
    ("device", "precision"), [("cpu", "fp16"), ("cpu-plain", "int8"), ("cpu-plain", "int8-torch")]
)
def test_precisions_that_a_device_lacks(device, precision):
    with pytest.raises(NotImplementedError, match=precision):
        segrid.Segmenter("tiny", device=device, precision=precision)


def test_auto_precision_on_a_device_goes_by_the_table(tmp_path):
    source = segrid.Segmenter("tiny")._files
    for name, file in (("config.json", source.config), ("model.safetensors", source.weights)):
        (tmp_path / name).symlink_to(file)
    good, poor = dict(iou_mean=0.996, iou_min=0.98), dict(iou_mean=0.99, iou_min=0.98)
    for table, expected in (
        ({}, "fp32"),
        ({"bf16": good}, "fp32"),
        ({"bf16": good, "fp16": good}, "fp16"),
        ({"bf16": good, "fp16": poor}, "fp32"),
        ({"int8": dict(iou_mean=0.99, ap50_loss=0.0)}, "fp32"),
    ):
        (tmp_path / "segrid.json").write_text(json.dumps({"precision": table}))
        assert segrid.Segmenter(tmp_path, device="cpu-plain").precision == expected, table


def test_moving():
    cpu = segrid.Segmenter("tiny", device="cpu", precision="fp32", threads=1)
    assert cpu.to("cpu") is cpu
    moved = cpu.to("cpu-plain")
    assert (moved.device, moved.precision) == ("cpu-plain", "fp32") and moved.to(
        "cpu"
    ).device == "cpu"
    with pytest.raises(NotImplementedError):
        cpu.to("cuda:99")


def overflowing(folder, names, factor):
    """The packaged model with some weights so large that activations exceed 65504, the largest
    number of fp16."""
    from safetensors.numpy import load_file, save_file

    source = segrid.Segmenter("tiny")._files
    weights = {k: v.astype(np.float32) for k, v in load_file(source.weights).items()}
    for name in names:
        weights[name] *= factor
    save_file(weights, folder / "model.safetensors")
    (folder / "config.json").write_bytes(Path(source.config).read_bytes())
    return lambda precision: segrid.Segmenter(folder, device="cpu-plain", precision=precision)


def test_an_encoder_that_overflows_is_an_error(tmp_path, coins):
    """The error takes the place of wrong masks."""
    model = overflowing(
        tmp_path,
        ("vision_encoder.layers.0.mlp.lin2.weight", "vision_encoder.layers.0.mlp.lin2.bias"),
        3e4,
    )
    assert np.isfinite(model("bf16").encode(coins).features).all()
    with pytest.raises(NotImplementedError, match="sam's image encoder: NaN or Inf in fp16"):
        model("fp16").encode(coins)


def test_a_decoder_that_overflows_is_an_error(tmp_path, coins):
    """The result is neither empty nor the masks of the remaining prompts."""
    model = overflowing(
        tmp_path,
        [f"mask_decoder.transformer.layers.0.mlp.lin1.{name}" for name in ("weight", "bias")],
        1e5,
    )
    for call in (
        lambda s: s.predict(coins, points=[[50, 50]]),
        lambda s: s.everything(
            coins, points_per_side=4, pred_iou_thresh=0.0, stability_score_thresh=0.0
        ),
    ):
        with pytest.raises(NotImplementedError, match="the mask decoder: NaN or Inf in fp16"):
            call(model("fp16"))


UNPREPARED = """
    import numpy as np, segrid
    image = np.random.default_rng(0).integers(0, 255, (200, 300, 3), dtype=np.uint8)
    cpu = segrid.Segmenter("tiny", device="cpu")
    first = cpu.predict(image, points=[[50, 50]])
    cpu.predict(image, points=[[50, 50]], mask_hints=first.low_res)  # a convolution of ATen's
    try:
        print(cpu.to("cuda").device)
    except NotImplementedError as error:
        print(error)
"""


@pytest.mark.skipif(
    not (Path(find_spec("torch").origin).parent / "lib/libtorch_cuda.so").exists(),
    reason="torch is a build without CUDA",
)
def test_cuda_is_there_after_work_on_the_cpu():
    """ATen asks only once what CUDA offers. So torch's CUDA half must be loaded before the first
    convolution, although nobody imported torch."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(UNPREPARED)],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "ATen_cuda" not in done.stdout and (
        "cuda:0" in done.stdout or "use 'cpu'" in done.stdout
    ), done.stdout


FORKS = """
    import os, numpy as np, segrid
    image = np.random.default_rng(0).integers(0, 255, (200, 300, 3), dtype=np.uint8)
    models = [segrid.Segmenter("tiny", device=d, precision="fp32") for d in ("cpu", "cpu-plain")]
    def areas():
        return [m.predict(image, points=[[50, 50]]).areas.tolist() for m in models]
    before = areas()
    child = os.fork()
    if child == 0:
        os._exit(0 if areas() == before else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    print("done")
"""


def test_a_forked_child_has_threads_of_its_own():
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(FORKS)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0 and "done" in done.stdout, done.stderr[-2000:]


def test_devices_have_one_thread_that_is_exact(fake, coins):
    """torch keeps handles and plans for each thread. A user who allows TF32 in torch does not
    change our masks."""
    import threading

    segmenter = segrid.Segmenter("tiny", device="fake", precision="fp32")
    detector = segrid.Detector(device="fake", precision="fp32")

    def work():
        embedding = segmenter.encode(coins)
        segmenter.predict(embedding, points=[[50, 50]])
        segmenter.everything(embedding, points_per_side=3)
        detector.detect(coins, ["nucleus"])

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert fake.fake_threads() == 1
