"""Arguments for devices and precisions take torch.device and torch's dtypes."""

import pickle
import subprocess
import sys

import pytest
import segrid
import torch


def test_segmenter(coins):
    model = segrid.Segmenter("tiny", device=torch.device("cpu"), precision=torch.float32)
    assert model.device == "cpu" and model.precision == "fp32"
    assert model.to(torch.device("cpu")) is model
    again = pickle.loads(pickle.dumps(model))
    assert again.precision == "fp32" and len(again.predict(coins, points=[[150, 60]])) == 1


@pytest.mark.parametrize(
    "dtype,name", [(torch.bfloat16, "bf16"), (torch.float16, "fp16"), (torch.half, "fp16")]
)
def test_dtypes_mean_what_their_names_do(dtype, name):
    try:
        wanted = segrid.Segmenter("tiny", device="cpu-plain", precision=name).precision
    except NotImplementedError as error:
        with pytest.raises(NotImplementedError) as ours:
            segrid.Segmenter("tiny", device="cpu-plain", precision=dtype)
        assert str(ours.value) == str(error)
    else:
        assert (
            segrid.Segmenter("tiny", device="cpu-plain", precision=dtype).precision
            == wanted
            == name
        )


def test_everything_else_that_loads_models(tmp_path, coins):
    cpu = torch.device("cpu")
    assert segrid.Detector(device=cpu, precision=torch.float32).precision == "fp32"
    pipeline = segrid.Pipeline(device=cpu, precision=torch.float32)
    assert pipeline.detector.precision == pipeline.segmenter.precision == "fp32"
    views = segrid.Views(
        {"a": segrid.View("*.png", ["a coin"])}, device=cpu, precision=torch.float32
    )
    assert views.segmenter.precision == "fp32"


def test_compare(tmp_path, coins):
    from PIL import Image

    Image.fromarray(coins[:96, :96]).save(tmp_path / "coins.png")
    found = segrid.compare(
        [tmp_path / "coins.png"],
        precisions=[torch.float32],
        device=torch.device("cpu"),
        points_per_side=2,
    )
    assert [r.precision for r in found.results] == ["fp32"]


def test_tune(tmp_path, coins):
    from PIL import Image

    Image.fromarray(coins[:96, :96]).save(tmp_path / "coins.png")
    found = segrid.tune(
        [tmp_path / "coins.png"],
        device=torch.device("cpu"),
        precisions=[torch.float32],
        threads=[1],
        points=[2],
    )
    assert {row.setting.precision for row in found.rows} == {"fp32"}


@pytest.mark.parametrize("wrong", [torch.device("meta"), torch.device("cuda:7")])
def test_devices_that_are_not_there(wrong):
    with pytest.raises((NotImplementedError, ValueError), match=str(wrong)):
        segrid.Segmenter("tiny", device=wrong)


def test_what_is_neither():
    with pytest.raises(TypeError, match="torch.device, got 3"):
        segrid.Segmenter("tiny", device=3)
    with pytest.raises(
        ValueError, match=r"torch.float32, torch.float16, torch.bfloat16.*got torch.float64"
    ):
        segrid.Segmenter("tiny", precision=torch.float64)
    with pytest.raises(TypeError, match="precision: .*32"):
        segrid.Segmenter("tiny", precision=32)


def test_torchs_python_package_is_not_imported():
    code = (
        "import sys, segrid; m = segrid.Segmenter('tiny', device='cpu', precision='fp32'); "
        "print('torch' in sys.modules)"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout
        == "False\n"
    )
