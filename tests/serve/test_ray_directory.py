"""Who has what on a cluster, and what is cleared up there; no cluster runs."""

import asyncio
import json
import time
from dataclasses import replace

import pytest
import segrid
from segrid.serve import ray_directory
from segrid.serve.errors import ServiceError
from segrid.serve.in_actor import Call, Head
from segrid.serve.ray_directory import OPENED, Directory
from segrid.serve.ray_forward import Forward, _is_job

UPLOAD = Call("POST", "/v1/images", headers=[(b"content-type", b"image/png")], body=b"1234")


class Remote:
    """An object whose methods are called as those of an actor."""

    def __init__(self, inside):
        self._inside = inside

    def __getattr__(self, name):
        async def remote(*arguments):
            found = getattr(self._inside, name)(*arguments)
            return await found if asyncio.iscoroutine(found) else found

        return type("Method", (), {"remote": staticmethod(remote)})


class Actor:
    """The actor of a session, with the jobs that it knows."""

    def __init__(self, sessions=1, jobs=()):
        self.session_count, self.job_ids = lambda: sessions, lambda: list(jobs)


@pytest.fixture
def cluster(monkeypatch):
    """{name: actor}, in which Ray finds the actors and from which it takes killed ones."""
    ray = pytest.importorskip("ray")
    actors = {"directory": Directory(100, 2)}

    def get_actor(name, namespace):
        if name not in actors:
            raise ValueError(f"there is no actor {name}")
        return Remote(actors[name])

    def kill(actor):
        for name in [name for name, other in actors.items() if other is actor._inside]:
            del actors[name]

    monkeypatch.setattr(ray, "get_actor", get_actor)
    monkeypatch.setattr(ray, "kill", kill)
    return actors


def later(monkeypatch, seconds):
    now = time.monotonic()
    monkeypatch.setattr(ray_directory.time, "monotonic", lambda: now + seconds)


def test_an_image_is_kept_until_all_who_sent_it_have_deleted_it():
    directory = Directory(10, 2)
    for _ in range(2):
        directory.keep_image("a", UPLOAD)
    assert directory.delete_image("a") and directory.image("a") == UPLOAD
    assert directory.delete_image("a") and directory.image("a") is None
    assert not directory.delete_image("a")
    for image_id in "bcd":  # 12 bytes of 10
        directory.keep_image(image_id, UPLOAD)
    assert directory.unknown_images("abcd") == ["a", "b"]


def test_a_delete_of_an_image_takes_one_upload_back(monkeypatch):
    directory = Directory(100, 2)
    monkeypatch.setattr("segrid.serve.ray_forward._directory", lambda: Remote(directory))
    for _ in range(2):
        directory.keep_image("a", UPLOAD)

    async def status():
        forward = Forward(None, None, None)
        try:
            pieces = forward._of_image(Call("DELETE", "/v1/images/a"), "a", "")
            return [piece.status async for piece in pieces]
        except ServiceError as error:
            return error.status

    assert [asyncio.run(status()) for _ in range(3)] == [[204], [204], 404]


def test_processes_drop_the_images_that_are_deleted(settings, photo, cluster, monkeypatch):
    from segrid.serve.ray import Worker

    monkeypatch.setattr(segrid, "set_threads", lambda threads: None)  # of this process
    upload, directory = replace(UPLOAD, body=photo), cluster["directory"]
    directory._most_bytes = 10**6

    async def ask(worker, call, image_id=None):
        head, *body = [piece async for piece in worker.call(call, image_id)]
        assert isinstance(head, Head) and head.status in (200, 201), body
        return json.loads(b"".join(body))

    async def run():
        common = replace(settings, trackers=(), detectors=())
        replica = Worker(replace(common, compat=()), b"x" * 32, 1)
        image_id = (await ask(replica, upload))["image_id"]
        directory.keep_image(image_id, upload)
        lent = Worker(common, b"x" * 32, 1)
        await ask(lent, Call("GET", f"/v1/images/{image_id}"), image_id)
        other = Worker(common, b"x" * 32, 1)  # has it by one of the services that are imitated
        await ask(other, upload)
        workers = (replica, lent, other)
        held = []
        for _ in range(2):
            for worker in workers:
                await worker.forget_images()
            held.append([worker._inside.has_image(image_id) for worker in workers])
            directory.delete_image(image_id)
        for worker in workers:
            worker._sweeping.cancel()
            await worker._inside.stop()
        return held

    assert asyncio.run(run()) == [[True, True, True], [False, False, True]]


def test_a_place_that_nobody_fills_is_given_back(cluster, monkeypatch):
    """As where the process that takes the requests ends while it opens a session."""
    from segrid.serve.ray import _sweep

    directory = cluster["directory"]
    cluster["b"] = Actor()
    assert directory.take_place("a") and directory.take_place("b")
    asyncio.run(_sweep())
    assert not directory.take_place("c") and "b" in cluster
    later(monkeypatch, OPENED + 1)
    asyncio.run(_sweep())
    assert directory.take_place("c") and directory.take_place("d") and "b" not in cluster


def test_jobs_are_known_as_long_as_their_actors_know_them(cluster):
    from segrid.serve.ray import _sweep

    directory = cluster["directory"]
    cluster["s"], cluster["common"] = Actor(jobs=["long"]), Actor(jobs=["300"])
    directory.opened("s", "session")
    directory.keep_job("long", "s")
    directory.keep_job("lost", "gone")
    for number in range(301):
        directory.keep_job(str(number), "common")
    assert directory.job("long") == "s" and directory.job("0") == "common"
    asyncio.run(_sweep())
    assert directory.jobs() == {"long": "s", "300": "common"}


def test_sessions_that_have_timed_out_are_forgotten_with_their_actors(cluster):
    from segrid.serve.ray import _sweep

    cluster["idle"], cluster["used"] = Actor(sessions=0), Actor()
    for name in ("idle", "used", "lost"):
        cluster["directory"].opened(name, f"session of {name}")
    asyncio.run(_sweep())
    assert cluster["directory"].sessions() == {"session of used": "used"}
    assert "idle" not in cluster and "used" in cluster


def test_clearing_up_goes_on_after_an_error(monkeypatch, caplog):
    """The directory may be away for a moment, while it is restarted."""
    pytest.importorskip("ray")
    from segrid.serve import ray as of_ray

    monkeypatch.setattr(of_ray, "EMPTY", 0.001)
    calls = []

    async def work():
        calls.append(1)
        if len(calls) < 3:
            raise ValueError("the directory is away")
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(of_ray._again_and_again(work))
    assert len(calls) == 3 and "the directory is away" in caplog.text


@pytest.mark.parametrize("wait", ["false", '"false"', "0", '"no"'])
def test_a_job_is_what_the_replica_takes_for_one(wait):
    def asks(body):
        return _is_job(Call("POST", "/v1/images/a/everything", body=body.encode()))

    assert asks(f'{{"wait": {wait}}}')
    for body in ('{"wait": true}', '{"wait": 1}', "{}", "[]", "x", '{"wait": 0, "unknown": 1}'):
        assert not asks(body)


def test_a_second_service_on_a_cluster_is_refused(cluster, settings, monkeypatch):
    """Its replicas would have another secret and other settings than the actors of the first."""
    import ray
    from segrid.serve.ray import deploy

    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    with pytest.raises(RuntimeError, match=r"already.*remove\(\)"):
        deploy(settings)
