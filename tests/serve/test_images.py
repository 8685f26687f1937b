"""Images over HTTP: the masks are the engine's, and equal images are encoded once."""

import asyncio
import base64
import io
from dataclasses import replace

import numpy as np
import pytest
import segrid
from PIL import Image
from segrid.measuring.memory import resident_mb
from segrid.run_lengths import decode_rle

from tests.serve.conftest import png
from tests.serve.waiting import error_of, finished

CLICK = {"points": [[150, 50]], "labels": [1]}


def sent(client, content, **how):
    answer = client.post(
        "/v1/images", content=content, headers={"content-type": "image/png"}, **how
    )
    assert answer.status_code == 201, answer.text
    return answer.json()


@pytest.fixture
def image(client, photo):
    return f"/v1/images/{sent(client, photo)['image_id']}"


@pytest.fixture(scope="module")
def model():
    """The packaged model, in the precision of the service."""
    return segrid.Segmenter("tiny", precision="fp32")


def test_equal_images_share_one_encoding(client, photo, monkeypatch):
    encoded = []
    encode = segrid.Segmenter.encode
    monkeypatch.setattr(
        segrid.Segmenter, "encode", lambda self, image: encoded.append(1) or encode(self, image)
    )
    first = sent(client, photo)
    again = client.post("/v1/images", files={"image": ("../x.png", photo, "image/png")}).json()
    assert again == first and len(encoded) == 1
    assert len(first["image_id"]) == 32 and (first["width"], first["height"]) == (384, 303)
    other = sent(client, photo + b"\0")
    assert other["image_id"] != first["image_id"] and len(encoded) == 2


def test_ids_cannot_be_computed_by_others(started, settings, photo):
    """Another server gives the same image another id."""
    ids = [sent(started(settings), photo)["image_id"] for _ in range(2)]
    assert ids[0] != ids[1]


def test_a_damaged_image_is_told_in_words_of_http(client, photo):
    """The library's message advises lenient=True, which no request can give."""
    octets = {"content-type": "image/png"}
    answer = client.post("/v1/images", content=photo[: len(photo) // 2], headers=octets)
    message = error_of(answer, 422, "corrupt_file")["message"]
    assert "PNG" in message and "lenient" not in message
    with pytest.raises(segrid.CorruptFileError, match="lenient=True"):
        segrid.read_image(photo[: len(photo) // 2])


def test_delete_takes_back_one_upload(client, photo):
    image_id = [sent(client, photo) for _ in range(2)][0]["image_id"]
    address = f"/v1/images/{image_id}"
    assert client.delete(address).status_code == 204
    assert client.get(address).status_code == 200
    assert client.delete(address).status_code == 204
    error_of(client.get(address), 404, "not_found")
    error_of(client.delete(address), 404, "not_found")


def test_the_least_used_image_goes_first(started, settings, coins):
    client = started(replace(settings, images_bytes=1))  # holds the last one alone
    first, second = (sent(client, png(coins[: 200 + i])) for i in range(2))
    error_of(client.get(f"/v1/images/{first['image_id']}"), 404, "not_found")
    assert client.get(f"/v1/images/{second['image_id']}").status_code == 200
    assert len(client.app.state.service.images) == 1


def test_an_encoded_image_counts_all_that_it_holds(model, coins):
    """Also what the decoder derived of its features, which is more than these."""
    kept = [model.encode(coins)]
    before = resident_mb("RssAnon")
    kept += [model.encode(coins[: 200 + i]) for i in range(60)]
    grown = (resident_mb("RssAnon") - before) * 2**20
    assert 0.8 < sum(e.nbytes for e in kept[1:]) / grown < 1.25
    assert kept[0].nbytes > 2 * kept[0].features.nbytes


def test_masks_of_a_click_in_each_form(client, image, model, coins):
    expected = model.predict(coins, points=[[[150, 50]]], labels=[[1]])
    mask = expected.array[0]
    assert 0 < mask.mean() < 1, "vacuous"
    answers = {
        form: client.post(f"{image}/predict", json={**CLICK, "format": form}).json()
        for form in ("rle", "png", "polygons", "label_map")
    }
    found = answers["rle"]["masks"][0]
    assert np.array_equal(decode_rle(found["mask"]), mask)
    assert found["area"] == mask.sum() and found["score"] == pytest.approx(expected.scores[0])
    assert found["box"] == expected.boxes[0].tolist() and found["prompt"] == 0
    pictures = answers["png"]["masks"][0]["mask"], answers["label_map"]["label_map"]
    for picture, value in zip(pictures, (255, 1), strict=True):
        array = np.asarray(Image.open(io.BytesIO(base64.b64decode(picture))))
        assert np.array_equal(array, mask * np.uint8(value))
    from tests.serve.test_masks import filled

    assert np.array_equal(filled(answers["polygons"]["masks"][0]["mask"], mask.shape), mask)


def test_points_are_one_prompt_and_boxes_are_several(client, image):
    several = {"points": [[150, 50], [10, 10]], "labels": [1, 0]}
    assert len(client.post(f"{image}/predict", json=several).json()["masks"]) == 1
    boxes = {"boxes": [[100, 20, 190, 90], [200, 20, 290, 90]], "multimask": True}
    masks = client.post(f"{image}/predict", json=boxes).json()["masks"]
    assert [mask["prompt"] for mask in masks] == [0, 0, 0, 1, 1, 1]
    both = {**boxes, **CLICK}
    error_of(client.post(f"{image}/predict", json=both), 422, "invalid")


def test_a_hint_changes_the_mask(client, image):
    mask = client.post(f"{image}/predict", json=CLICK).json()["masks"][0]["mask"]
    hinted = client.post(f"{image}/predict", json={**CLICK, "hint": mask})
    assert hinted.status_code == 200, hinted.text
    small = {"size": [10, 10], "counts": [100]}
    error_of(client.post(f"{image}/predict", json={**CLICK, "hint": small}), 422, "invalid")


@pytest.mark.parametrize(
    "body, says",
    [
        ({"points": [[9999, 1]]}, "is not inside"),
        ({"points": [[1, 1]], "labels": [2]}, "labels"),
        ({"points": [[1, 1]], "labels": [1, 1]}, "labels"),
        ({"boxes": [[50, 50, 10, 10]]}, "box"),
        ({}, "prompt"),
        ({"points": []}, "points"),
        ({"point": [[1, 1]]}, "point"),
        ({"points": [[1]]}, "points"),
        ({**CLICK, "format": "gif"}, "format"),
    ],
)
def test_prompts_that_do_not_fit(client, image, body, says):
    error = error_of(client.post(f"{image}/predict", json=body), 422, "invalid")
    assert says in error["message"].lower()


def test_numbers_that_are_none(client, image):
    for number in ("NaN", "Infinity", "1e999"):
        answer = client.post(
            f"{image}/predict",
            content=f'{{"points": [[{number}, 1]]}}',
            headers={"content-type": "application/json"},
        )
        assert answer.status_code in (400, 422), answer.text


def test_everything_is_the_engines(client, image, model, coins):
    expected = model.everything(coins, points_per_side=8)
    assert len(expected) > 5, "vacuous"
    body = {"points_per_side": 8}
    found = client.post(f"{image}/everything", json=body).json()["masks"]
    assert [decode_rle(f["mask"]).tobytes() for f in found] == [m.tobytes() for m in expected.array]
    started = client.post(f"{image}/everything", json={**body, "wait": False})
    assert started.status_code == 202
    job = finished(client, started.json()["job_id"])
    assert job["status"] == "completed" and job["result"]["masks"] == found
    assert job["done"] == job["total"] and job["total"] > 0
    crops = {**body, "crop_n_layers": 1}
    assert len(client.post(f"{image}/everything", json=crops).json()["masks"]) > 0


def test_everything_has_limits(client, image):
    for body, setting in [
        ({"points_per_side": 65}, "everything_points"),
        ({"target_points": 5000}, "everything_points"),
        ({"crop_n_layers": 3}, "everything_crop_layers"),
    ]:
        error = error_of(client.post(f"{image}/everything", json=body), 422, "invalid")
        assert error["setting"] == setting and setting in error["message"]


def test_words_become_boxes_and_masks(client, monkeypatch):
    picture = np.full((200, 300, 3), 255, np.uint8)
    y, x = np.mgrid[:200, :300]
    picture[np.hypot(y - 100, x - 80) < 45] = (220, 20, 20)
    picture[60:140, 180:260] = (20, 40, 220)
    image = f"/v1/images/{sent(client, png(picture))['image_id']}"
    body = {"prompts": ["a red circle", "a blue square"], "threshold": 0.1, "nms": 0.5}
    found = client.post(f"{image}/detect", json=body).json()["detections"]
    expected = segrid.Detector(precision="fp32").detect(
        picture, body["prompts"], threshold=0.1, nms=0.5
    )
    assert [each["label"] for each in found] == expected.labels and len(found) > 0
    assert found[0]["score"] == pytest.approx(expected.scores[0], abs=1e-6)
    assert all(decode_rle(each["mask"]).any() for each in found)
    alone = client.post(f"{image}/detect", json={**body, "masks": False}).json()["detections"]
    assert all(each["mask"] is None for each in alone)
    monkeypatch.setattr("segrid.serve.image_calls.MOST_BOXES", 100)
    every = {"prompts": ["a red circle", "a blue square"], "threshold": 0}
    error = error_of(client.post(f"{image}/detect", json=every), 422, "invalid")
    assert "at most 100 get masks" in error["message"]


@pytest.mark.parametrize(
    "content, kind, status",
    [
        (b"no image at all", "image/png", 422),
        (b"", "image/png", 422),
        (b"GIF89a", "image/gif", 422),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 50, "image/png", 422),
        (b"x", "text/plain", 415),
        (b"x", "application/json", 415),
        (b"x", "multipart/form-data", 400),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "image/svg+xml", 422),
    ],
)
def test_uploads_that_are_no_images(client, content, kind, status):
    answer = client.post("/v1/images", content=content, headers={"content-type": kind})
    assert answer.status_code in {status, 415} and set(answer.json()) == {"error"}, answer.text


def test_two_uploads_at_once_are_encoded_once():
    """The second waits for the first; where that fails, it encodes by itself."""
    from segrid.serve import Settings
    from segrid.serve.images import Images

    class Embedded:
        nbytes = 72

    async def run(fails):
        images, calls = Images(Settings()), []

        async def encode():
            calls.append(1)
            await asyncio.sleep(0.01)
            if fails and len(calls) == 1:
                raise ValueError("the first client went away")
            return b"file", Embedded()

        both = [images.put("id", "m", encode) for _ in range(2)]
        return await asyncio.gather(*both, return_exceptions=True), calls

    (a, b), calls = asyncio.run(run(fails=False))
    assert a is b and len(calls) == 1 and a.holders == 2
    (a, b), calls = asyncio.run(run(fails=True))
    assert isinstance(a, ValueError) and b.content == b"file" and len(calls) == 2
