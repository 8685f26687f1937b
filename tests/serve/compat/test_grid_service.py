"""The grid tool that exists (Flask around SAM 2, port 5000): its page's calls, answered as it
answers them. The masks are held against segrid's own classes."""

import base64
import io
import zipfile

import numpy as np
import pytest
from PIL import Image
from segrid.compat.grid import parallel_grid_segmentation

WAYS = {"max_workers": 4, "batch_size": 32, "target_points": 256, "max_masks": 50}


@pytest.fixture(scope="module")
def photo(coins):
    file = io.BytesIO()
    Image.fromarray(coins).save(file, "PNG")
    return file.getvalue()


def upload(client, photo, name="coins.png"):
    answer = client.post("/upload", files={"image": (name, photo, "image/png")})
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert found.keys() == {"success", "file_id", "filename", "width", "height"}
    assert found["success"] is True and found["filename"] == found["file_id"] + ".png"
    assert (found["width"], found["height"]) == (384, 303)
    return found["file_id"]


def segment(client, body, fields):
    """The answer, and its picture as an (H, W, 4) array."""
    answer = client.post("/segment", json=body)
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert found.keys() == {"success", "segmented_image", *fields} and found["success"] is True
    with Image.open(io.BytesIO(base64.b64decode(found["segmented_image"], validate=True))) as png:
        assert (png.format, png.mode) == ("PNG", "RGBA")
        return found, np.asarray(png)


def blended(rgb, mask, colour):
    """The photo with a colour of opacity 128 / 255 where the mask is."""
    mixed = (rgb.astype(np.int64) * 127 + np.array(colour) * 128) // 255
    return np.where(mask[..., None], mixed, rgb).astype(np.uint8)


def test_points_and_boxes(grid, photo, coins, segmenter):
    file_id = upload(grid, photo)
    clicks = [{"x": 60, "y": 60, "label": 1}, {"x": 10, "y": 10, "label": 0}]
    _, shown = segment(grid, dict(file_id=file_id, prompt_type="points", prompts=clicks), ())
    mask = segmenter.predict(coins, points=[[[60, 60], [10, 10]]], labels=[[1, 0]]).array[0]
    assert mask.any() and not mask.all(), "vacuous"
    assert np.array_equal(shown[..., :3], blended(coins, mask, (0, 0, 255)))
    assert (shown[..., 3] == 255).all()

    corners = {"x1": 30, "y1": 30, "x2": 100, "y2": 100}
    found, shown = segment(
        grid, dict(file_id=file_id, prompt_type="bbox", prompts=corners), {"box"}
    )
    assert found["box"] == [30, 30, 100, 100]
    mask = segmenter.predict(coins, boxes=[30, 30, 100, 100]).array[0]
    assert np.array_equal(shown[..., :3], blended(coins, mask, (0, 0, 255)))


def test_grid_and_its_settings(grid, photo, coins, segmenter):
    file_id = upload(grid, photo)
    asked = {"target_points": 100, "max_masks": 7, "max_workers": 2}
    answer = grid.post("/configure_parallel", json=asked)
    assert answer.status_code == 200
    assert answer.json() == {"success": True, "config": WAYS | asked}

    found, shown = segment(
        grid, dict(file_id=file_id, prompt_type="grid"), {"mask_count", "labels"}
    )
    masks, _, areas = parallel_grid_segmentation(segmenter, coins, target_points=100, max_masks=7)
    assert 1 < found["mask_count"] == len(masks) <= 7
    assert isinstance(found["labels"], list)
    expected, colours = coins, [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0)]
    colours += [(255, 0, 255), (0, 255, 255), (255, 128, 0)]
    for i, k in enumerate(np.argsort(-np.array(areas), kind="stable")):
        expected = blended(expected, masks[k].astype(bool), colours[i])
    assert np.array_equal(shown[..., :3], expected)
    assert grid.post("/configure_parallel", json={}).json()["config"] == WAYS


def test_the_zip_of_cut_outs(grid, photo, coins, segmenter):
    file_id = upload(grid, photo)
    answer = grid.get(f"/download_psds/{file_id}")
    assert answer.status_code == 200 and answer.headers["content-type"] == "application/zip"
    assert f"masks_{file_id}.zip" in answer.headers["content-disposition"]
    masks, _, areas = parallel_grid_segmentation(segmenter, coins, max_masks=10)
    order = np.argsort(-np.array(areas), kind="stable")
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.namelist() == [
            f"mask_{i:03d}_area_{areas[k]}.png" for i, k in enumerate(order, 1)
        ]
        assert len(archive.namelist()) > 1
        for name, k in zip(archive.namelist(), order, strict=True):
            with Image.open(io.BytesIO(archive.read(name))) as png:
                assert (png.format, png.mode) == ("PNG", "RGBA")
                pixels = np.asarray(png)
            assert np.array_equal(pixels[..., :3], coins)
            assert np.array_equal(pixels[..., 3], masks[k] * 255)


def refused(answer, status):
    assert answer.status_code == status, answer.text
    assert answer.json().keys() == {"error"} and answer.json()["error"]
    return answer.json()["error"]


def test_statuses_and_texts_of_refusals(grid, photo):
    assert refused(grid.post("/upload", files={"other": b"x"}), 400) == "No image provided"
    nameless = (
        b'--b\r\nContent-Disposition: form-data; name="image"; filename=""\r\n\r\n\r\n--b--\r\n'
    )
    kind = {"content-type": "multipart/form-data; boundary=b"}
    refused(grid.post("/upload", content=nameless, headers=kind), 400)
    refused(grid.post("/upload", files={"image": ("a.png", b"<html>", "image/png")}), 400)
    file_id = upload(grid, photo)
    for body in ({"prompt_type": "grid"}, {"file_id": file_id}, {}):
        assert refused(grid.post("/segment", json=body), 400) == "Missing required parameters"
    points = dict(file_id=file_id, prompt_type="points")
    assert refused(grid.post("/segment", json=points), 400) == "Missing prompts parameter"
    assert refused(grid.post("/segment", json=points | {"prompt_type": "?", "prompts": [1]}), 400)
    wrong = dict(file_id=file_id, prompt_type="words", prompts=[{"x": 1, "y": 2, "label": 1}])
    assert refused(grid.post("/segment", json=wrong), 400) == "Invalid prompt type"
    for unknown in ("0" * 32, "../../etc/passwd", "%2e%2e%2f", "a\0b"):
        body = dict(file_id=unknown, prompt_type="grid")
        assert refused(grid.post("/segment", json=body), 404) == "Image file not found"
    refused(grid.get("/download_psds/unknown"), 404)
    refused(grid.post("/segment", content=b"{", headers={"content-type": "application/json"}), 400)
    refused(grid.post("/configure_parallel", json={"max_masks": 0}), 400)
    refused(grid.post("/configure_parallel", json={"target_points": "many"}), 400)


def test_a_click_far_outside_is_refused_and_ends_no_server(grid, photo):
    body = dict(file_id=upload(grid, photo), prompt_type="points")
    for x in (1e300, -1e10):
        text = refused(
            grid.post("/segment", json=body | {"prompts": [{"x": x, "y": 5, "label": 1}]}), 400
        )
        assert "more than 1e9 pixels away" in text
    segment(grid, body | {"prompts": [{"x": 60, "y": 60, "label": 1}]}, ())


def test_an_upload_above_16_mb_is_refused(grid):
    refused(grid.post("/upload", files={"image": ("a.png", bytes(17 << 20), "image/png")}), 413)
