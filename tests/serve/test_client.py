"""What the client sends, and when it sends it again."""

import io
import json

import httpx2
import numpy as np
import pytest
import segrid
from PIL import Image
from segrid.client import Client, ServiceError

FACTS = {"image_id": "a", "width": 6, "height": 4, "model": "tiny"}


class Service:
    """Takes requests, and answers each with the next of these answers, the last one for ever."""

    def __init__(self, *answers):
        self.requests, self._answers = [], list(answers)

    def __call__(self, request):
        self.requests.append(request)
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]

    @property
    def client(self):
        return Client("http://service", transport=httpx2.MockTransport(self))


def busy(kind, after):
    error = {"error": {"kind": kind, "message": "no place", "setting": "a"}}
    return httpx2.Response(429, json=error, headers={"Retry-After": after})


def test_where_all_sessions_are_taken_it_raises_at_once():
    service = Service(busy("too_many_sessions", "60"))
    for call in (lambda c: c.session(b"video"), lambda c: c.session_at("clip.mp4")):
        with service.client as client, pytest.raises(ServiceError, match="no place") as error:
            call(client)
        assert (error.value.kind, error.value.retry_after) == ("too_many_sessions", 60)
    assert len(service.requests) == 2


def test_a_busy_server_is_asked_again():
    service = Service(busy("busy", "0"), httpx2.Response(200, json=FACTS))
    with service.client as client:
        assert client.image(b"x").image_id == "a" and len(service.requests) == 2


def images():
    grey = np.arange(24, dtype=np.float32).reshape(4, 6)
    colour = np.stack([grey, grey[::-1], grey[:, ::-1]], axis=2)
    turned = Image.fromarray(colour.astype(np.uint8))
    turned.getexif()[0x0112] = 6  # shown turned by 90 degrees
    return {
        "0..1": colour / 23,
        "0..255": colour * 11,
        "gray": grey / 23,
        "uint8": colour.astype(np.uint8),
        "gray uint8": grey.astype(np.uint8)[..., None],
        "uint16": (colour * 2000).astype(np.uint16),
        "bool": grey > 9,
        "PIL": Image.fromarray(colour.astype(np.uint8)).convert("L"),
        "turned": turned,
    }


@pytest.mark.parametrize("name", images())
def test_images_are_those_of_the_library(name):
    image = images()[name]
    service = Service(httpx2.Response(200, json=FACTS))
    with service.client as client:
        client.image(image)
    sent = np.array(Image.open(io.BytesIO(service.requests[0].read())))
    assert np.array_equal(sent, segrid.read_image(image))


def test_what_is_no_image_is_not_sent():
    service = Service(httpx2.Response(200, json=FACTS))
    with service.client as client:
        with pytest.raises(ValueError, match="expected 0..1"):
            client.image(np.full((4, 4), 300.0))
        with pytest.raises(TypeError, match="got NoneType"):
            client.image(None)
    assert not service.requests


def test_numbers_of_numpy_are_numbers():
    service = Service(httpx2.Response(200, json=FACTS | {"masks": [], "detections": []}))
    with service.client as client:
        image = client.image(b"x")
        image.everything(points_per_side=np.int64(8), box_nms_thresh=np.float32(0.5))
        image.everything(point_grids=[np.array([[0.25, 0.5]])])
        image.detect("cat", threshold=np.float64(0.25))
        with pytest.raises(TypeError, match="type set cannot be sent"):
            image.everything(points_per_side={8})
    bodies = [json.loads(request.read()) for request in service.requests[1:]]
    assert bodies[0] == {"points_per_side": 8, "box_nms_thresh": 0.5, "wait": True}
    assert bodies[1]["point_grids"] == [[[0.25, 0.5]]] and bodies[2]["threshold"] == 0.25
    assert service.requests[1].headers["content-type"] == "application/json"
