"""Limits and switches: a refusal names the limit, and no state is left half changed."""

import json
import subprocess
import sys

import numpy as np
import pytest
import segrid
from PIL import Image
from segrid import _core


def test_points_per_prompt(tiny, coins):
    embedding = tiny.encode(coins)
    with pytest.raises(ValueError, match="1025.*1024"):
        tiny.predict(embedding, points=np.full((1, 1025, 2), 5.0), labels=np.ones((1, 1025), int))
    # The prompts have more tokens than a vector has lanes.
    many = tiny.predict(embedding, points=np.full((1, 40, 2), 5.0), labels=np.ones((1, 40), int))
    assert len(many) == 1


def test_grid_points(tiny, coins):
    with pytest.raises(ValueError, match="kMaxGridPoints"):
        tiny.everything(coins, points_per_side=500, crop_n_layers=2)


@pytest.mark.parametrize("request_", ["fast", "rows=brgemm", "nothing=plain", "gemm=plain,oops"])
def test_kernel_names_are_checked_before_any_is_changed(request_):
    before = [(c["op"], c["chosen"]) for c in _core.kernel_choices()]
    with pytest.raises(ValueError, match="there are:"):
        _core.force_kernels(request_)
    assert [(c["op"], c["chosen"]) for c in _core.kernel_choices()] == before


def test_the_pool_stops_and_starts_again(tiny, coins):
    before = tiny.everything(coins, points_per_side=3)
    _core.shutdown()
    assert np.array_equal(tiny.everything(coins, points_per_side=3).boxes, before.boxes)


def test_a_closed_pool_refuses_work():
    code = (
        "import segrid, numpy as np\nfrom segrid import _core\n"
        "m = segrid.Segmenter('tiny')\n_core.shutdown(True)\n"
        "try: m.encode(np.zeros((20, 20, 3), np.uint8))\n"
        "except segrid.Cancelled as e: print('refused')"
    )
    assert (
        "refused"
        in subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
        ).stdout
    )


def test_names_on_the_command_line(tmp_path, coins):
    """Two images of one name, a name with markup and a name that is not UTF-8 have three results
    each; none is overwritten."""
    (tmp_path / "other").mkdir()
    names = [tmp_path / "a.png", tmp_path / "other" / "a.png", tmp_path / "[red]b.png"]
    for path in names:
        Image.fromarray(coins[:64, :80]).save(path)
    odd = bytes(tmp_path / "c") + b"\xff.png"
    with open(odd, "wb") as file:
        file.write(names[0].read_bytes())
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "segrid",
            "everything",
            *map(str, names),
            odd,
            "-o",
            tmp_path / "out",
            "--points-per-side",
            "2",
        ],
        capture_output=True,
        check=True,
    )
    written = sorted(p.name for p in (tmp_path / "out").iterdir())
    assert len(written) == 12 and {"a_coco.json", "a-2_coco.json", "[red]b_coco.json"} <= set(
        written
    )
    assert b"[red]b.png" in done.stdout
    assert json.loads((tmp_path / "out" / "a-2_coco.json").read_text())["images"][0]["width"] == 80


def test_a_thumbnail_does_not_count_as_the_photo(coins, tmp_path):
    """The JPEG is cut short, but its EXIF thumbnail is complete."""
    small, large, exif = tmp_path / "t.jpg", tmp_path / "p.jpg", Image.Exif()
    Image.fromarray(coins[:40, :40]).save(small, "JPEG")
    exif[0x010E] = small.read_bytes().decode("latin-1")[:2000]
    Image.fromarray(coins).save(large, "JPEG", exif=exif)
    whole = large.read_bytes()
    assert segrid.read_image(whole).shape == coins.shape
    with pytest.raises(segrid.CorruptFileError):
        segrid.read_image(whole[: len(whole) // 2])
