"""The service on a Ray cluster: calls about images by replicas, each session by an actor.

python -m segrid.serve.ray --replicas 4 --threads 8        # on a node of a running cluster

The addresses and answers are those of `segrid serve`, except that events of jobs come as
server-sent events alone. The service stays on the cluster when the command ends; `--remove` ends
it. Needs segrid[serve] and ray[serve]."""

from __future__ import annotations

import argparse
import asyncio
import logging
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace

from segrid.serve.errors import ServiceError
from segrid.serve.in_actor import AppInActor, Call, Head
from segrid.serve.limits import Gate
from segrid.serve.metrics import Metrics
from segrid.serve.ray_directory import STARTED, Directory
from segrid.serve.ray_forward import COMMON, DIRECTORY, NAMESPACE, Forward, OfRay, kill
from segrid.serve.settings import Settings

APP, IMAGES = "segrid", "images"
EMPTY = 5.0  # seconds between two looks for what is no longer needed
logger = logging.getLogger("segrid.serve")


class Worker:
    """What runs in each process: the application, and images that it lacks."""

    def __init__(self, settings: Settings, secret: bytes, threads: int) -> None:
        self._inside = AppInActor(settings, secret, threads)
        # The services that are imitated have images of their own, which the directory knows not.
        self._has_others = bool(settings.compat)
        self._encoded: set[str] = set()  # images that this process has encoded for a call
        self._ready: asyncio.Task[None] | None = None
        self._sweeping: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Loads the models, once."""
        if self._ready is None:
            self._ready = asyncio.ensure_future(self._inside.start())
            self._sweeping = asyncio.ensure_future(_again_and_again(self.forget_images))
        await asyncio.shield(self._ready)

    async def forget_images(self) -> None:
        """Drops the images that were deleted, or that the directory has dropped."""
        import ray

        held = list(self._encoded) if self._has_others else self._inside.image_ids()
        if not held:
            return
        directory = ray.get_actor(DIRECTORY, NAMESPACE)
        for image_id in await directory.unknown_images.remote(held):
            self._inside.forget_image(image_id)
            self._encoded.discard(image_id)

    async def call(self, call: Call, image_id: str | None) -> AsyncIterator[Head | bytes]:
        """The answer. An image that another process has encoded is encoded here first."""
        await self.start()
        if image_id is not None and not self._inside.has_image(image_id):
            await self._encode(image_id)
        async for piece in self._inside.answer(call):
            yield piece

    async def _encode(self, image_id: str) -> None:
        import ray

        upload = await ray.get_actor(DIRECTORY, NAMESPACE).image.remote(image_id)
        if upload is not None:
            if self._has_others:
                self._encoded.add(image_id)
            async for piece in self._inside.answer(upload):
                if isinstance(piece, Head) and piece.status != 201:
                    logger.error("image %s was refused: %d", image_id, piece.status)

    async def session_count(self) -> int:
        """The number of open sessions."""
        await self.start()
        return self._inside.session_count()

    async def job_ids(self) -> list[str]:
        """The jobs that can be asked for here."""
        await self.start()
        return self._inside.job_ids()

    async def check_health(self) -> None:
        """Ray asks it; a process that does not answer is replaced."""
        await self.start()

    def process(self) -> int:
        """The number of the process."""
        import os

        return os.getpid()


def deploy(
    settings: Settings | None = None,
    *,
    replicas: int = 2,
    threads: int = 1,
    host: str = "127.0.0.1",
    port: int = 8000,
) -> None:
    """Deploys the service on the Ray cluster that this process is connected to, or on one that is
    started here. It returns when the service answers.

    settings : of every process; `state_dir` and `restore` do not apply. `max_sessions` is the cap
        of the cluster, `images_bytes` that of each process and of the uploads that are kept
    replicas : processes for calls about images, each with its own model
    threads : the thread budget of each process, and the CPUs that Ray reserves for it

    Raises RuntimeError where the cluster has the service already, ValueError for an address that
    others can reach without a token and for a media root that is no folder, ImportError without
    ray[serve].
    """
    import ray
    from ray import serve

    from segrid.serve.server import for_host

    settings = for_host(Settings.from_environment() if settings is None else settings, host)
    settings = replace(settings, state_dir="", restore=False)
    secret = secrets.token_bytes(32)
    if not ray.is_initialized():
        ray.init(include_dashboard=False, log_to_driver=False)
    if _is_deployed():  # its actors have other settings, and another secret of the images' ids
        raise RuntimeError(
            "the cluster has the service already; end it first, with segrid.serve.ray.remove() or "
            "python -m segrid.serve.ray --remove, which closes its sessions"
        )
    serve.start(http_options={"host": host, "port": port})
    actor = {"namespace": NAMESPACE, "lifetime": "detached"}
    directory = ray.remote(Directory).options(name=DIRECTORY, num_cpus=0, max_restarts=-1, **actor)
    directory.remote(settings.images_bytes, settings.max_sessions)
    inner = replace(settings, trackers=(), compat=())  # replicas follow nothing
    common = ray.remote(Worker).options(
        name=COMMON, num_cpus=threads, max_concurrency=1000, max_restarts=-1, **actor
    )
    common.remote(settings, secret, threads)
    images = serve.deployment(
        name=IMAGES,
        num_replicas=replicas,
        max_ongoing_requests=settings.queue,
        ray_actor_options={"num_cpus": threads},
        health_check_period_s=5,
        health_check_timeout_s=STARTED,  # the first one loads the models
    )(Worker)
    serve.run(
        _ingress(settings, secret, threads).bind(images.bind(inner, secret, threads)), name=APP
    )


def _ingress(settings: Settings, secret: bytes, threads: int) -> OfRay:
    """The deployment that takes the requests."""
    from ray import serve

    async def start_session(name: str) -> None:
        import ray

        one = replace(settings, max_sessions=1, segmenters=(), detectors=(), compat=())
        made = ray.remote(Worker).options(
            name=name,
            namespace=NAMESPACE,
            lifetime="detached",
            num_cpus=threads,
            max_concurrency=1000,
        )
        worker: OfRay = made.remote(one, secret, threads)
        try:
            await asyncio.wait_for(worker.start.remote(), STARTED)
        except asyncio.TimeoutError as error:
            raise ServiceError(
                503, "no_room", "the cluster has no free CPUs for a session", retry_after=30
            ) from error

    def handle() -> OfRay:
        return serve.get_deployment_handle(IMAGES, APP)

    app = Gate(Forward(settings, handle, start_session), settings, Metrics())

    @serve.deployment(
        name="ingress", max_ongoing_requests=1000, ray_actor_options={"num_cpus": 0.1}
    )
    @serve.ingress(app)
    class Ingress:
        """Takes the requests, and ends the actors of sessions that have timed out."""

        def __init__(self, images: OfRay) -> None:
            self._sweeping = asyncio.ensure_future(_again_and_again(_sweep))

    return Ingress


async def _again_and_again(work: Callable[[], Awaitable[None]]) -> None:
    """Does a work every `EMPTY` seconds; an error is logged, and does not end it."""
    while True:
        await asyncio.sleep(EMPTY)
        try:
            await work()
        except Exception:
            logger.exception("clearing up failed; it is done again in %g s", EMPTY)


async def _sweep() -> None:
    """Ends actors whose session is closed or was never opened, or that do not answer, and forgets
    the jobs that their actors have forgotten."""
    import ray
    from ray.exceptions import RayError

    directory = ray.get_actor(DIRECTORY, NAMESPACE)
    for name in await directory.overdue.remote():
        logger.warning("%s has opened no session in time and is ended", name)
        kill(name)
        await directory.opened.remote(name, None)
    for session_id, name in (await directory.sessions.remote()).items():
        try:
            actor = ray.get_actor(name, NAMESPACE)
            if await actor.session_count.remote():
                continue
            ray.kill(actor)
        except (RayError, ValueError):
            logger.warning("the actor of session %s is gone", session_id)
        await directory.closed.remote(session_id)
    jobs = await directory.jobs.remote()  # before the actors are asked: later ones are not in it
    for name in set(jobs.values()):
        try:
            known = await ray.get_actor(name, NAMESPACE).job_ids.remote()
        except (RayError, ValueError):
            known = []
        gone = [job_id for job_id, of in jobs.items() if of == name and job_id not in known]
        await directory.forget_jobs.remote(gone)


def _is_deployed() -> bool:
    """Whether the cluster has the service."""
    import ray

    try:
        ray.get_actor(DIRECTORY, NAMESPACE)
    except ValueError:
        return False
    return True


def remove() -> None:
    """Ends the service on the cluster, with all sessions. Raises ValueError where there is none."""
    import ray
    from ray import serve

    directory: OfRay = ray.get_actor(DIRECTORY, NAMESPACE)
    names = [*dict(ray.get(directory.sessions.remote())).values(), COMMON, DIRECTORY]
    serve.shutdown()
    for name in names:
        kill(name)


def main() -> None:
    """The command."""
    import ray

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--address", default="auto", help="of the cluster (%(default)s)")
    parser.add_argument("--replicas", type=int, default=2, help="processes for images")
    parser.add_argument("--threads", type=int, default=1, help="of each process")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--remove", action="store_true", help="end the service, and its sessions")
    a = parser.parse_args()
    ray.init(a.address, log_to_driver=False)
    if a.remove:
        remove()
        return
    deploy(replicas=a.replicas, threads=a.threads, host=a.host, port=a.port)
    while True:
        time.sleep(3600)


if __name__ == "__main__":
    main()
