"""The command line: outputs, an image that fails among others, JSON."""

import json
import re
import shlex
import subprocess
import sys

import numpy as np
import pytest
import typer
from PIL import Image
from segrid.cli.app import app


def segrid(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "segrid", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.parametrize("command", [["everything"], ["detect", "--prompt", "a cat"]])
def test_a_folder_names_the_command_for_folders(tmp_path, command):
    from typer.testing import CliRunner

    done = CliRunner().invoke(app, [*command, str(tmp_path), "-o", str(tmp_path / "out"), "--json"])
    assert done.exit_code == 1
    assert json.loads(done.stdout)[0]["error"].endswith("; for folders use segrid batch")


def test_everything_writes_three_files_per_image(tmp_path, coins):
    from pycocotools import mask as coco

    (tmp_path / "a").mkdir()
    Image.fromarray(coins).save(tmp_path / "photo.png")
    Image.fromarray(coins[:, ::-1]).save(tmp_path / "a" / "photo.png")
    (tmp_path / "bad.png").write_bytes(b"not an image at all")
    done = segrid(
        "everything",
        tmp_path / "photo.png",
        tmp_path / "bad.png",
        tmp_path / "a/photo.png",
        "-o",
        tmp_path / "out",
        "--points-per-side",
        10,
    )
    assert done.returncode == 1, done.stderr
    assert "bad.png" in done.stdout and "not an image" in done.stdout
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "photo-2_coco.json",
        "photo-2_labels.png",
        "photo-2_overlay.png",
        "photo_coco.json",
        "photo_labels.png",
        "photo_overlay.png",
    ]
    labels = np.asarray(Image.open(tmp_path / "out/photo_labels.png"))
    assert labels.shape == coins.shape[:2] and labels.max() > 3
    file = json.loads((tmp_path / "out/photo_coco.json").read_text())
    assert len(file["annotations"]) == labels.max()
    other = json.loads((tmp_path / "out/photo-2_coco.json").read_text())
    names = [f["images"][0]["file_name"] for f in (file, other)]
    assert names == ["photo.png", "a/photo.png"] and all((tmp_path / n).exists() for n in names)
    for record in file["annotations"]:
        assert int(coco.area(record["segmentation"])) == record["area"]
    assert np.asarray(Image.open(tmp_path / "out/photo_overlay.png")).shape == coins.shape


def test_json_and_exit_code_0(tmp_path, coins):
    Image.fromarray(coins).save(tmp_path / "photo.png")
    done = segrid(
        "everything",
        tmp_path / "photo.png",
        "-o",
        tmp_path / "out",
        "--target-points",
        25,
        "--json",
    )
    assert done.returncode == 0
    record = json.loads(done.stdout)[0]
    assert record["objects"] >= 0 and {"encode", "decode", "scan", "read", "write"} <= set(
        record["seconds"]
    )


def test_info():
    done = segrid("info", "--json")
    found = json.loads(done.stdout)
    assert found["model"]["family"] == "sam" and found["kernels"] and found["threads"] >= 1
    cuda = json.loads(done.stdout)["cuda"]
    assert cuda == "cuda:0" or cuda.startswith("none: ") and len(cuda) > 20, cuda
    assert "gemm" in segrid("info").stdout


@pytest.fixture
def photo(tmp_path, coins):
    Image.fromarray(coins).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


OPTIONS_THAT_CANNOT_BE = [
    ["--model", "nothing-here"],
    ["--precision", "int3"],
    ["--device", "tpu"],
    ["--threads", "0"],
    ["--max-masks", "0"],
    ["--pred-iou-thresh", "nan"],
    ["--min-area-frac", "2"],
    ["--target-points", "0"],
    ["--crop-n-layers", "99"],
    ["--points-per-side", "9", "--target-points", "9"],
    ["--points-per-side", "many"],
    ["--nonsense"],
]


@pytest.mark.parametrize("options", OPTIONS_THAT_CANNOT_BE, ids=" ".join)
def test_usage_errors_are_said_once(tmp_path, photo, options):
    done = segrid("everything", photo, photo, "-o", tmp_path / "out", *options)
    assert done.returncode == 2 and done.stdout == "" and "Traceback" not in done.stderr
    assert (
        len(re.findall("^error:", done.stderr, re.I | re.M)) == 1
        and not (tmp_path / "out").exists()
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ["detect", "--prompt", "x", "--threshold", "7"],
        ["detect", "--prompt", "x", "--nms", "-1"],
        ["detect", "--prompt", ""],
        ["detect", "--prompt", "x", "--segmenter", "nothing-here"],
        ["bench", "--model", "nothing-here"],
        ["compare", "--precision", "int3"],
        ["convert"],
        ["quantize", "--model", "nothing-here"],
    ],
    ids=" ".join,
)
def test_usage_errors_of_other_commands(tmp_path, photo, arguments):
    command, *options = arguments
    output = [] if command in ("bench", "compare") else ["-o", tmp_path / "out"]
    images = [] if command == "quantize" else [photo]
    done = segrid(command, *images, *options, *output)
    assert done.returncode == 2 and done.stdout == "" and "Traceback" not in done.stderr
    assert (
        len(re.findall("^error:", done.stderr, re.I | re.M)) == 1
        and not (tmp_path / "out").exists()
    )


def test_info_of_a_model_that_is_not_there():
    done = segrid("info", "--model", "nothing-here")
    assert (
        done.returncode == 2 and done.stderr.count("error:") == 1 and "Traceback" not in done.stderr
    )


def test_a_missing_image_is_named(tmp_path, photo):
    done = segrid(
        "everything", photo, tmp_path / "näht.png", "-o", tmp_path / "out", "--target-points", 4
    )
    assert (
        done.returncode == 1 and "näht.png" in done.stdout and "b'" not in done.stdout + done.stderr
    )


def helped(*arguments):
    """The output of a command that runs in this process."""
    from segrid.cli.app import app
    from typer.testing import CliRunner

    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0
    return done.stdout


def test_version_and_short_help():
    import segrid as package

    done = segrid("--version")
    assert done.returncode == 0 and done.stdout == f"segrid {package.__version__}\n"
    assert segrid("-h").stdout.startswith("Usage: segrid [OPTIONS] COMMAND")
    for command in ((), ("everything",), ("detect",), ("batch",), ("info",)):
        short, long = helped(*command, "-h"), helped(*command, "--help")
        assert "Usage:" in short and short == long


def test_help_shows_brackets():
    """Text in brackets in the help of a command appears on the screen."""
    from segrid.cli.app import app
    from typer.main import get_command

    commands = get_command(app).commands
    assert len(commands) > 7
    for name, command in commands.items():
        shown = "".join(helped(name, "--help").split())
        for parameter in command.params:
            wanted = "".join((getattr(parameter, "help", None) or "").split())
            assert wanted in shown, (name, parameter.name)
    assert "[[x0,y0,x1,y1],...]" in "".join(helped("batch", "--help").split())


def test_crops_by_default_are_said_where_people_look():
    import segrid as package

    shown = " ".join(helped("everything", "--help").split())
    assert "In Python the default is 0" in shown
    told = " ".join(package.Segmenter.everything.__doc__.split())
    assert 'The default here is 0, as in segment-anything; the command line\'s is "auto"' in told


@pytest.fixture
def damaged(tmp_path, coins):
    Image.fromarray(coins).save(tmp_path / "whole.jpg", quality=90)
    data = (tmp_path / "whole.jpg").read_bytes()
    (tmp_path / "damaged.jpg").write_bytes(data[: len(data) * 2 // 3])
    return tmp_path / "damaged.jpg"


@pytest.mark.parametrize(
    "command",
    [["everything", "--target-points", "9"], ["detect", "--prompt", "nuclei"]],
    ids=lambda c: c[0],
)
def test_lenient_takes_what_can_be_decoded(tmp_path, damaged, command):
    strict = segrid(*command, damaged, "-o", tmp_path / "strict", "--json")
    assert strict.returncode == 1 and "damaged.jpg" in json.loads(strict.stdout)[0]["error"]
    done = segrid(*command, damaged, "-o", tmp_path / "out", "--lenient", "--json")
    assert done.returncode == 0 and "error" not in json.loads(done.stdout)[0]
    (warning,) = (line for line in done.stderr.splitlines() if "warning" in line.lower())
    assert (
        warning.startswith("warning: ") and "damaged.jpg" in warning and ".py:" not in done.stderr
    )


def notes(done):
    return done.stderr.count("note: ")


def test_what_tiny_is_for_is_said_once(tmp_path, photo):
    few = ["-o", tmp_path / "out", "--target-points", 4]
    done = segrid("everything", photo, photo, *few)
    said = " ".join(done.stderr.split())
    assert done.returncode == 0 and notes(done) == 1
    assert (
        "nuclei, colonies, coins" in said
        and "facebook/sam2.1-hiera-tiny: 156 MB, Apache-2.0" in said
    )
    assert advised(done) == (
        f"segrid everything {photo} -o {tmp_path}/out --target-points 4 "
        "--model facebook/sam2.1-hiera-tiny"
    )
    # No note: the user named the model.
    assert notes(segrid("everything", photo, *few, "--model", "tiny")) == 0
    as_json = segrid("everything", photo, *few, "--json")
    assert notes(as_json) == 1 and json.loads(as_json.stdout)


def advised(done):
    """The command that the note gives."""
    (line,) = (line for line in done.stderr.splitlines() if line.startswith("  segrid "))
    return line.strip()


def parsed(words):
    """The values of all options, as the command would get them."""
    command = typer.main.get_command(app).commands[words[1]]
    return command.make_context(words[1], list(words[2:])).params


@pytest.mark.parametrize(
    "words",
    [
        ["everything", "--json", "--crop-n-layers", "0", "--max-masks", "3", "--", "bad", "-p.png"],
        ["detect", "p q.png", "--prompt", "a cat", "--prompt", "-x", "--no-masks", "--nms", "0.5"],
        ["detect", "p q.png", "--prompt", "it's", "--lenient", "--segmenter", "tiny", "-o", "-z"],
    ],
)
def test_the_advised_command_has_all_that_was_given(tmp_path, photo, words):
    """The advised command parses; it names the first image that succeeded, the same options and
    other models."""
    for name in ("-p.png", "p q.png"):
        (tmp_path / name).write_bytes(photo.read_bytes())
    (tmp_path / "bad").write_text("no image")
    typed = ["segrid", *words]
    done = subprocess.run(
        [sys.executable, "-m", *typed], capture_output=True, text=True, cwd=tmp_path
    )
    before, after = parsed(typed), parsed(shlex.split(advised(done)))
    assert after.pop("images") == [before.pop("images")[-1]]
    assert after.pop("model") != before.pop("model")
    if "--segmenter" not in typed:
        before.pop("segmenter", None), after.pop("segmenter", None)
    assert after == before


def test_batch_advises_another_output_folder(tmp_path, photo):
    """The advice names another folder, because a folder with results of one model is refused for
    another."""
    few = [photo, "-o", tmp_path / "out", "--points-per-side", 2, "--write", "coco"]
    said = " ".join(segrid("batch", *few).stderr.split())
    assert said.endswith("add --model facebook/sam2.1-hiera-tiny and another -o")
    words = ["--prompt", "a cat", "--conf-threshold", 0.9]
    said = segrid("batch", photo, "-o", tmp_path / "words", *words).stderr
    assert "add --model facebook/sam2.1-hiera-tiny --detector google/owlv2-base" in said
    assert notes(segrid("batch", *few)) == 0  # No image was processed.


@pytest.mark.parametrize("command", ["everything", "detect", "batch"])
def test_no_advice_where_no_image_was_done(tmp_path, command):
    (tmp_path / "bad.png").write_text("no image")
    words = ["--prompt", "a cat"] if command == "detect" else []
    done = segrid(command, tmp_path / "bad.png", "-o", tmp_path / "out", *words)
    assert done.returncode == 1 and notes(done) == 0, done.stderr


def test_a_note_says_what_the_packaged_detector_finds(tmp_path, photo):
    few = [photo, "--prompt", "a cat", "-o", tmp_path / "out"]
    said = " ".join(segrid("detect", *few).stderr.split())
    assert (
        said.count("note: ") == 1
        and "google/owlv2-base-patch16-ensemble: 620 MB, Apache-2.0" in said
    )
    assert (
        f"segrid detect {photo} --prompt 'a cat' -o {tmp_path}/out "
        "--model google/owlv2-base-patch16-ensemble --segmenter facebook/sam2.1-hiera-tiny"
    ) in said
    boxes = " ".join(segrid("detect", *few, "--no-masks").stderr.split())
    assert "owlv2" in boxes and "--segmenter" not in boxes
    masks = " ".join(segrid("detect", *few, "--model", "tiny-detector").stderr.split())
    assert "--segmenter facebook/sam2.1-hiera-tiny" in masks and "owlv2" not in masks
    assert notes(segrid("detect", *few, "--model", "tiny-detector", "--segmenter", "tiny")) == 0


def test_detect(tmp_path, coins):
    import torch
    from pycocotools import mask as coco

    from tests import models

    with torch.no_grad():
        folder = models.owlv2.make("small", tmp_path / "detector")
    Image.fromarray(coins).save(tmp_path / "photo.png")
    (tmp_path / "bad.png").write_text("no image")
    done = segrid(
        "detect",
        tmp_path / "photo.png",
        tmp_path / "bad.png",
        "--prompt",
        "a coin",
        "--prompt",
        "nuclei",
        "-o",
        tmp_path / "out",
        "--model",
        folder,
        "--threshold",
        0.01,
        "--json",
    )
    assert done.returncode == 1, done.stderr
    good, bad = json.loads(done.stdout)
    assert "not an image" in bad["error"]
    file = json.loads((tmp_path / "out/photo_coco.json").read_text())
    assert [c["name"] for c in file["categories"]] == ["a coin", "nuclei"] and len(
        file["annotations"]
    ) == sum(good["found"]) > 0
    assert all(int(coco.area(r["segmentation"])) == r["area"] for r in file["annotations"])
    assert np.asarray(Image.open(tmp_path / "out/photo_detections.png")).shape == coins.shape
    boxes = segrid(
        "detect",
        tmp_path / "photo.png",
        "--prompt",
        "nuclei",
        "-o",
        tmp_path / "boxes",
        "--model",
        folder,
        "--no-masks",
    )
    assert boxes.returncode == 0 and "nuclei" in boxes.stdout
    assert all(
        "segmentation" not in r
        for r in json.loads((tmp_path / "boxes/photo_coco.json").read_text())["annotations"]
    )
    empty = segrid(
        "detect", tmp_path / "photo.png", "--prompt", "", "-o", tmp_path / "none", "--model", folder
    )
    assert (
        empty.returncode == 2
        and "prompts[0]: empty" in empty.stderr
        and not (tmp_path / "none").exists()
    )
