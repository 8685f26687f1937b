"""segrid.compare and its command: the cost of a precision on the user's images."""

import json
import subprocess
import sys

import numpy as np
import pytest
import segrid
from PIL import Image
from segrid import _core
from segrid.mask_matching import crop_to_box, iou_of, match

OPTIONS = dict(points_per_side=8, crop_n_layers=0)


@pytest.fixture(scope="module")
def photos(coins, tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for name, part in (("a", coins[:160]), ("b", coins[140:, :300])):
        Image.fromarray(part).save(folder / f"{name}.png")
    return sorted(folder.glob("*.png"))


@pytest.fixture(scope="module")
def labels(photos, tmp_path_factory):
    """Instance maps made of the fp32 masks: the AP50 of fp32 is 1 where the masks do not
    overlap."""
    folder = tmp_path_factory.mktemp("labels")
    for file in photos:
        masks = segrid.Segmenter("tiny", precision="fp32").everything(file, **OPTIONS)
        assert len(masks) > 3
        numbers = np.zeros(masks.size, np.uint16)
        for i, mask in enumerate(masks):
            numbers[mask.array[0]] = 300 + i  # Labels have more than 8 bits.
        Image.fromarray(numbers).save(folder / file.name)
    return folder


def test_results_and_progress(photos, labels, tmp_path):
    told = []
    found = segrid.compare(
        photos, precisions=["fp32", "int8"], labels=labels, progress=told.append, **OPTIONS
    )
    full, low = found.results
    assert (full.precision, low.precision) == ("fp32", "int8") and not found.refused
    assert [(t["precision"], t["done"], t["total"]) for t in told] == [
        (p, i, 2) for p in ("fp32", "int8") for i in range(2)
    ]
    expected = [
        segrid.Segmenter("tiny", precision=p).everything(f, **OPTIONS)
        for p in ("fp32", "int8")
        for f in photos
    ]
    assert (
        full.masks == len(expected[0]) + len(expected[1]) == full.matched
        and full.lost == full.new == 0
        and full.iou_mean == full.iou_min == 1
    )
    assert low.masks == len(expected[2]) + len(expected[3])
    # All pairs are matched by brute force.
    ious = []
    for a, b in ((expected[0], expected[2]), (expected[1], expected[3])):
        table = np.array([[(x & y).sum() / (x | y).sum() for y in b.array] for x in a.array])
        while table.size and table.max() >= 0.5:
            i, j = np.unravel_index(table.argmax(), table.shape)
            ious.append(table[i, j])
            table[i], table[:, j] = -1, -1
    assert (
        low.matched == len(ious)
        and low.iou_mean == pytest.approx(np.mean(ious))
        and low.iou_min == pytest.approx(min(ious))
        and low.iou_min < 1
    )
    assert low.lost == full.masks - len(ious) and low.new == low.masks - len(ious)
    assert full.ap50 > 0.9 and 0 < low.ap50 <= 1
    for r in found.results:
        assert (
            r.seconds["encode"] > 0
            and r.seconds["total"] >= r.seconds["encode"]
            and r.weights_mb > 1
            and r.working_mb > 0
        )
    precision, image, iou, reference, other = found.worst
    assert (
        precision == "int8"
        and iou == pytest.approx(low.iou_min)
        and (reference & other).sum() / (reference | other).sum() == pytest.approx(iou)
    )
    assert found.picture(tmp_path / "worst.png")
    with Image.open(tmp_path / "worst.png") as picture:
        colours = {c for _, c in picture.convert("RGB").getcolors(1 << 20)}
    assert len(colours) > 50


def test_equal_precisions_have_no_worst(photos, tmp_path):
    found = segrid.compare(photos[:1], precisions=["fp32", "fp32"], **OPTIONS)
    assert (
        found.worst is None
        and not found.picture(tmp_path / "none.png")
        and not (tmp_path / "none.png").exists()
    )
    assert found.results[1].lost == found.results[1].new == 0


def test_a_precision_that_does_not_run_here_is_named(photos):
    found = segrid.compare(photos[:1], precisions=["fp16", "fp32"], **OPTIONS)
    assert (
        list(found.refused) == ["fp16"]
        and "CPU" in found.refused["fp16"]
        and [r.precision for r in found.results] == ["fp32"]
    )
    with pytest.raises(RuntimeError, match="none of the precisions"):
        segrid.compare(photos[:1], precisions=["fp16"], **OPTIONS)


def test_bad_input(photos, labels, tmp_path):
    with pytest.raises(ValueError, match="at least one image"):
        segrid.compare([])
    with pytest.raises(FileNotFoundError, match=r"none\.png"):
        segrid.compare([tmp_path / "none.png"])
    with pytest.raises(FileNotFoundError, match="no label map"):
        segrid.compare(photos, labels=tmp_path)
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(RuntimeError, match="not an image"):
        segrid.compare([tmp_path / "text.png"], precisions=["fp32"])
    Image.fromarray(np.zeros((5, 5), np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"a\.png: 5 x 5 pixels"):
        segrid.compare(photos[:1], precisions=["fp32"], labels=tmp_path, **OPTIONS)


def test_matching_is_one_to_one():
    pixels = np.zeros((3, 10, 10), bool)
    pixels[0, :5] = pixels[1, :4] = pixels[2, 6:] = True
    masks = [crop_to_box(p) for p in pixels]
    assert iou_of(masks[0], masks[1]) == pytest.approx(0.8) and iou_of(masks[0], masks[2]) == 0
    assert match(masks[:1], masks[:2]) == [(0, 0, 1.0)]  # The second mask has no partner left.
    assert match(masks[1:], masks) == [(0, 1, 1.0), (1, 2, 1.0)]


def command(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "segrid", *map(str, arguments)], capture_output=True, text=True
    )


def test_command(photos, labels, tmp_path):
    """`segrid compare IMAGE... --precision fp32 int8`: the second name after --precision is not an
    image."""
    done = command(
        "compare",
        *photos,
        "--labels",
        labels,
        "--points-per-side",
        8,
        "-o",
        tmp_path / "w.png",
        "--precision",
        "fp32",
        "int8",
    )
    assert done.returncode == 0, done.stderr
    for word in (
        "fp32",
        "int8",
        "AP50",
        "matched IoU, least",
        "lost / new",
        "weights, MB",
        "2 images",
    ):
        assert word in done.stdout
    assert (tmp_path / "w.png").exists() and "w.png" in done.stdout
    done = command(
        "compare",
        photos[0],
        "--points-per-side",
        4,
        "-o",
        tmp_path / "x.png",
        "--json",
        "--precision",
        "int8",
        "--precision",
        "fp32",
    )
    said = json.loads(done.stdout)
    assert [r["precision"] for r in said["results"]] == ["int8", "fp32"] and said["results"][0][
        "ap50"
    ] is None
    done = command("compare", tmp_path / "none.png")
    assert done.returncode == 2 and "none.png" in done.stderr


def test_quantize_command(tmp_path):
    done = command("quantize", "-o", tmp_path / "model", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["bytes"] == (tmp_path / "model/model.safetensors").stat().st_size
    model = segrid.Segmenter(tmp_path / "model")
    assert model.precision == "int8" and model.recommended == segrid.Segmenter("tiny").recommended
    again = command("quantize", "-o", tmp_path / "model")
    assert again.returncode == 2 and "holds files of a model" in again.stderr


def test_the_packaged_model_keeps_to_its_table():
    """precision="auto" follows the table in segrid.json, which training/price.py measured."""
    from pathlib import Path

    table = json.loads((Path(segrid.__file__).parent / "models/tiny/segrid.json").read_text())[
        "precision"
    ]
    features = _core.cpu_features()
    assert set(table) - {"int8-narrow"} == {"bf16", "int8", "fp16"} and all(
        {"iou_mean", "iou_min", "ap50_loss"} <= set(row) for row in table.values()
    )
    if (
        table["int8"]["iou_mean"] >= 0.98
        and table["int8"]["ap50_loss"] <= 0.01
        and any(features[name] for name in ("avx_vnni", "avx512_vnni", "amx"))
    ):
        assert segrid.Segmenter("tiny", device="cpu").precision == "int8"
    assert (
        segrid.Segmenter("tiny", device="cpu-plain").precision == "fp16"
        and table["fp16"]["iou_mean"] >= 0.995
        and table["fp16"]["iou_min"] >= 0.97
    )


@pytest.mark.parametrize("command", ["everything", "detect", "batch", "tune", "compare", "bench"])
def test_every_command_takes_a_device(command, tmp_path):
    """The name of an unknown device reaches the engine, whose error lists the devices."""
    image = tmp_path / "a.png"
    Image.fromarray(np.zeros((40, 40, 3), np.uint8)).save(image)
    more = {"detect": ["--prompt", "a", "-o", tmp_path / "o"], "bench": [], "compare": []}.get(
        command, ["-o", tmp_path / "o"]
    )
    done = subprocess.run(
        [sys.executable, "-m", "segrid", command, image, *more, "--device", "tpu"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2 and "device='tpu': unknown" in " ".join(done.stderr.split()), (
        done.stderr
    )


def test_json_of_no_masks_has_no_nan(tmp_path):
    """Strict parsers refuse it."""
    Image.new("RGB", (64, 64), (128, 128, 128)).save(tmp_path / "blank.png")
    command = [sys.executable, "-m", "segrid", "compare", str(tmp_path / "blank.png"), "--json"]
    done = subprocess.run(
        [*command, "--precision", "fp32,int8", "-o", str(tmp_path / "worst.png")],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout, parse_constant=lambda name: pytest.fail(name))
    assert found["results"][-1]["iou_mean"] is None
