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
VIDEO = {"session_id": "s", "frames": 3, "width": 6, "height": 4, "rate": 1.0, "model": "tiny"}
PAGE = {"content-type": "text/html; charset=utf-8"}
LOGIN = httpx2.Response(302, headers={"location": "https://sso/login"} | PAGE, text="<html>")


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


class Jobs:
    """A service with one job: each request for its events gets the next of these answers, and then
    one for its state gets the next of these states."""

    def __init__(self, streams, states):
        self.after, self.cancelled, self._streams, self._states = [], 0, list(streams), list(states)

    def __call__(self, request):
        if request.method == "DELETE":
            self.cancelled += 1
            return httpx2.Response(200, json={})
        if request.url.path.endswith("/events"):
            self.after.append(int(request.headers["last-event-id"]))
            return self._streams.pop(0)
        if request.url.path == "/v1/jobs/j":
            return httpx2.Response(200, json={"status": self._states.pop(0), "result": None})
        started = request.url.path.endswith(("/propagate", "/everything"))
        return httpx2.Response(200, json=FACTS | VIDEO | ({"job_id": "j"} if started else {}))

    @property
    def client(self):
        return Client("http://service", transport=httpx2.MockTransport(self))


def stream(first, *kinds, status="completed"):
    """The answer with the events of these kinds, of which the first one has this number."""
    data = {"masks": lambda n: {"frame": n, "masks": {}}, "end": lambda n: {"status": status}}
    text = "".join(
        f"id: {number}\nevent: {kind}\ndata: {json.dumps(data[kind](number))}\n\n"
        for number, kind in enumerate(kinds, first)
    )
    return httpx2.Response(200, text=text, headers={"content-type": "text/event-stream"})


@pytest.fixture
def sleeps(monkeypatch):
    """The seconds that the client waits, which take none here."""
    waited = []
    monkeypatch.setattr("segrid.client.connection.time.sleep", waited.append)
    return waited


def test_a_cancelled_job_is_not_a_finished_one():
    service = Jobs([stream(1, "masks", "end", status="cancelled")], [])
    frames = []
    with service.client as client, pytest.raises(ServiceError, match="was cancelled") as error:
        frames += (index for index, _ in client.session(b"video").propagate())
    assert error.value.kind == "cancelled" and frames == [1]
    service = Jobs([stream(1, "end", status="cancelled")], ["cancelled"])
    with service.client as client, pytest.raises(ServiceError, match="was cancelled"):
        client.image(b"x").everything(progress=print)


def test_a_stream_that_closes_before_its_job_is_taken_up_again(sleeps):
    parts = [stream(1, "masks"), stream(2), stream(2, "masks"), stream(3, "masks", "end")]
    service = Jobs(parts, ["running"] * 3)
    with service.client as client:
        frames = [index for index, _ in client.session(b"video").propagate()]
    assert frames == [1, 2, 3] and service.after == [0, 1, 1, 2] and len(sleeps) == 3


def test_events_that_came_while_the_job_ended_are_read(sleeps):
    service = Jobs([stream(1, "masks"), stream(2, "masks"), stream(3, "end")], ["completed"] * 2)
    with service.client as client:
        assert [number for number, _, _ in client.job("j").events()] == [1, 2, 3]
    service = Jobs([stream(4), stream(4)], ["completed"])  # all were read before
    with service.client as client:
        assert list(client.job("j").events(after=3)) == []
    assert service.after == [3, 3]


def test_a_stream_that_never_goes_on_is_an_error(sleeps):
    service = Jobs([stream(1, "masks"), *(stream(2) for _ in range(3))], ["running"] * 4)
    with service.client as client, pytest.raises(httpx2.TransportError, match="before the job"):
        list(client.job("j").events())


def test_a_stream_is_asked_for_again_where_the_server_is_busy(sleeps):
    service = Jobs([busy("too_many_streams", "10"), stream(1, "end")], [])
    with service.client as client:
        assert [kind for _, kind, _ in client.job("j").events()] == ["end"]
    assert sleeps == [10]


def test_no_call_waits_for_longer_than_the_timeout(sleeps):
    service = Service(busy("busy", "7200"))
    with service.client as client, pytest.raises(ServiceError, match="no place") as error:
        client.image(b"x")
    assert error.value.retry_after == 7200 and not sleeps and len(service.requests) == 1


@pytest.mark.parametrize("answer", [LOGIN, httpx2.Response(200, headers=PAGE, text="<html>")])
def test_the_page_of_a_proxy_is_not_an_answer(answer, tmp_path):
    calls = (
        lambda s, i: i.delete(),
        lambda s, i: i.picture(),
        lambda s, i: i.predict(points=[[1, 1]]),
        lambda s, i: s.snapshot(tmp_path / "a"),
        lambda s, i: s.export(tmp_path / "a", "overlay"),
        lambda s, i: list(s.start().events()),
    )
    known = httpx2.Response(200, json=FACTS | VIDEO | {"job_id": "j"})
    for call in calls:
        service = Service(known, known, *([known] if call is calls[-1] else []), answer)
        with service.client as client, pytest.raises(ServiceError, match="http://service/") as e:
            call(client.session(b"video"), client.image(b"x"))
        assert e.value.kind == "unexpected_answer" and "text/html" in str(e.value)
    assert not list(tmp_path.iterdir())


def test_an_answer_that_is_not_json_names_its_address():
    for text in ("fine", "[1]"):
        service = Service(httpx2.Response(200, text=text))
        with service.client as client, pytest.raises(ServiceError, match="/v1/images.*text/plain"):
            client.image(b"x")


def test_files_are_written_as_a_whole_or_not_at_all(tmp_path, monkeypatch):
    """A disk that is full leaves the file that was there."""
    path = tmp_path / "a.csv"
    path.write_bytes(b"old")
    service = Service(httpx2.Response(200, json=VIDEO), httpx2.Response(200, content=b"new"))
    with service.client as client:
        session = client.session(b"video")
        write = type(path).write_bytes

        def full(self, content):
            write(self, content[:1])
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(type(path), "write_bytes", full)
        for call in (session.snapshot, lambda path: session.export(path, "csv")):
            with pytest.raises(OSError, match="a.csv"):
                call(path)
            assert path.read_bytes() == b"old"
        monkeypatch.undo()
        session.snapshot(path)
    assert path.read_bytes() == b"new" and list(tmp_path.iterdir()) == [path]


def test_a_session_that_is_gone_is_closed():
    for status, kind in [(404, "not_found"), (410, "actor_lost")]:
        gone = httpx2.Response(status, json={"error": {"kind": kind, "message": "gone"}})
        service = Service(httpx2.Response(200, json=VIDEO), gone)
        with service.client as client:
            with pytest.raises(KeyError, match="of the user"):
                with client.session(b"video") as session:
                    raise KeyError("of the user")
            session.close()
            with pytest.raises(ServiceError, match="gone"):
                session.facts()
    service = Service(httpx2.Response(200, json=VIDEO), httpx2.Response(500, json={}))
    with service.client as client, pytest.raises(ServiceError):
        client.session(b"video").close()
