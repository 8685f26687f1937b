"""The service: clicks on an encoded image, a propagated video, memory under mixed load.

Ours beside a service as people write it (FastAPI around segment-anything and sam2), with the same
weights. Each runs as a process of its own, and the load comes from a second process on the same
machine. Clients click without a pause between an answer and the next click; a user is counted as
one click every two seconds.

python -m benchmarks.run serve                                  # an hour: 2 x 30 minutes for memory
python -m benchmarks.run serve --subjects segrid --video-model tiny-video --minutes 2 \\
    --name serve-tiny-video
python -m benchmarks.run serve --minutes 0.5 --seconds 5 --frames 10 --video-model small"""

import importlib
import io
import time
from pathlib import Path

import numpy as np

from benchmarks import arguments, harness, http_load, models
from benchmarks.clip import boxes, clip
from benchmarks.photo import photo
from benchmarks.row import timed

PEER = "segment_anything"
THINKING = 2.0  # seconds between two clicks of a user
POINTS = 200  # places that are clicked on in turn
PERCENT = (50, 95, 99)
PNG = "click, making the PNG of its answer"  # the peer's
LEAST_MINUTES = 0.2  # memory is sampled once a second


def add_arguments(parser):
    arguments.add(parser, "model", "size", "precision", "threads", "repeat")
    parser.set_defaults(repeat=1)
    arguments.add_subjects(parser, PEER)
    parser.add_argument(
        "--clients",
        type=arguments.count,
        nargs="+",
        default=[1, 8],
        help="that click at once (1 8)",
    )
    parser.add_argument("--seconds", type=float, default=30, help="of clicks (%(default)s)")
    parser.add_argument(
        "--frames", type=arguments.count, default=24, help="of the clip (%(default)s)"
    )
    parser.add_argument(
        "--minutes", type=float, default=30, help="of mixed load for memory; 0: none (%(default)s)"
    )
    parser.add_argument(
        "--video-model",
        default="tiny",
        choices=["tiny", "small", "tiny-video"],
        help="SAM 2.1 with random weights: tiny at 1024, or a small one at 128 for a short check; "
        "or the packaged tiny-video, which sam2 cannot build (--subjects segrid)",
    )


def measure(a, scratch):
    if 0 < a.minutes < LEAST_MINUTES or a.minutes < 0 or not a.seconds > 0:
        raise SystemExit(
            f"serve: needs --seconds above 0, and --minutes of 0 or at least {LEAST_MINUTES}, so "
            f"that memory has a slope; got {a.seconds:g} and {a.minutes:g}"
        )
    subjects = arguments.subjects_of(a)
    if a.video_model == "tiny-video" and PEER in subjects:
        raise SystemExit("serve: sam2 cannot build tiny-video; add --subjects segrid")
    path = Path(scratch) / "clip.mp4"
    write_clip(path, clip(a.frames, (640, 360)))
    print(
        f"serve: {a.model}, a photo of {a.size[0]}x{a.size[1]}; {a.video_model}, a clip of "
        f"{a.frames} frames; {a.precision}, {a.threads} threads, {a.minutes:g} minutes of load"
    )
    row = {
        "model": models.folder_of(a.model),
        "video_model": video_folder(a.video_model),
        "clip": str(path),
        "size": a.size,
        "precision": a.precision,
        "clients": a.clients,
        "seconds": a.seconds,
        "minutes": a.minutes,
    }
    facts = {name: getattr(a, name) for name in FACTS}
    rows = harness.alternate("serve", subjects, row, a, scratch)
    return harness.Measured(f"serve-{a.model}-{a.precision}", facts, rows)


FACTS = ("model", "video_model", "size", "precision", "threads", "frames", "minutes", "seconds")


def video_folder(name):
    if name == "tiny-video":
        return str(models.PACKAGED.with_name(name))
    if name == "tiny":
        return models.video_folder()
    from tests.models import sam2

    return str(sam2.make_video("clip", Path(models.video_folder()).with_name("segrid-clip")))


def write_clip(path, frames):
    """Writes an H.264 file."""
    import av

    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=25, options={"crf": "18"})
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            file.mux(stream.encode(av.VideoFrame.from_ndarray(frame, "rgb24")))
        file.mux(stream.encode(None))


def read_clip(path):
    import av

    with av.open(str(path)) as file:
        return np.stack([f.to_ndarray(format="rgb24") for f in file.decode(video=0)])


def places(size):
    """Seeded points of an image of (width, height)."""
    return (np.random.default_rng(7).uniform(0.05, 0.95, (POINTS, 2)) * size).round().tolist()


def measure_row(job):
    a = job.arguments
    pixels = photo(tuple(a["size"]))[0]
    stages = engine_alone(job, pixels)
    service = importlib.import_module(f"benchmarks.subjects.{job.subject}_serve")
    with service.started(job, Path(a["clip"]).parent) as (pid, client):
        stages |= clicks(a, client, octets_of(pixels))
        stages |= followed(a, client)
        memory = http_load.resident_mb(pid)
        if a["minutes"]:
            first, memory, slope = mixed_load(a, pid, client, octets_of(pixels))
            stages |= {"MB at first": first, "MB at last": memory, "MB per minute": slope}
    at_once = max(a["clients"])
    users = stages[f"clicks per second, {at_once} clients"] * THINKING / job.threads
    stages["users per core"] = users
    job.end(stages[f"click p50, {min(a['clients'])} clients"], at_once, stages, memory)


def octets_of(pixels):
    """A photo as a JPEG."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=92)
    return file.getvalue()


def engine_alone(job, pixels):
    """Seconds of a click and of a followed frame without a service, in this process."""
    a = job.arguments
    subject = job.load()
    subject.encode(pixels)
    points = iter(places(a["size"]) * 10)
    click = timed(50, lambda: subject.click(next(points)))[0]
    frames = read_clip(a["clip"])
    own = importlib.import_module(f"benchmarks.subjects.{VIDEO[job.subject]}_video")
    video = own.Subject(a["video_model"], job.threads, a["precision"])
    for _ in range(2):  # the first run warms up
        video.open(frames)
        video.add(0, boxes(1, frames.shape[2:0:-1])[0])
        began = time.perf_counter()
        count = sum(1 for _ in video.follow())
    frame = (time.perf_counter() - began) / count
    stages = {"click, engine alone": click, "frame, engine alone": frame}
    if job.subject == PEER:
        from benchmarks.subjects.segment_anything_serve import as_text

        mask = subject.predictor.predict(
            point_coords=np.array(places(a["size"])[:1]), point_labels=np.ones(1)
        )[0][0]
        stages[PNG] = timed(10, lambda: as_text(mask))[0]
    return stages


VIDEO = {"segrid": "segrid", PEER: "sam2"}


def clicks(a, client, octets):
    """Seconds of clicks by so many clients, each with an image of its own."""
    found, points = {}, places(a["size"])
    for count in a["clients"]:
        callers = [client() for _ in range(count)]
        images = [caller.encode(octets + bytes(i)) for i, caller in enumerate(callers)]
        turns = [iter(range(i, 1 << 40)) for i in range(count)]

        def click(i, callers=callers, images=images, turns=turns):
            callers[i].click(images[i], points[next(turns[i]) % POINTS])

        for i in range(count):
            click(i)
        seconds = http_load.repeated(count, a["seconds"], click)
        for share in PERCENT:
            found[f"click p{share}, {count} clients"] = http_load.percentile(seconds, share)
        found[f"clicks per second, {count} clients"] = len(seconds) / a["seconds"]
    return found


def followed(a, client):
    """Seconds of a frame that the service follows, from the call to the end of its job."""
    caller, box = client(), boxes(1, (640, 360))[0].tolist()
    for _ in range(2):
        video = caller.open(a["clip"])
        caller.box(video, 0, box)
        began = time.perf_counter()
        count = caller.follow(video)
        seconds = time.perf_counter() - began
        caller.close(video)
    return {"frame, served": seconds / count}


def mixed_load(a, pid, client, octets):
    """Four clients that encode and click, and one that opens and follows videos. Returns MB at the
    start and at the end, and MB per minute of the second half."""
    seconds = a["minutes"] * 60
    users = [Clicking(a, client(), octets, i) for i in range(4)] + [Following(a, client())]
    http_load.repeated(len(users), min(30.0, seconds / 4), lambda i: users[i].step())  # caches fill
    memory = http_load.Memory(pid)
    memory.start()
    http_load.repeated(len(users), seconds, lambda i: users[i].step())
    return memory.stop()


class Clicking:
    """A client that clicks, and sends another image after twenty clicks."""

    def __init__(self, a, caller, octets, number):
        self._caller, self._octets, self._number = caller, octets, number
        self._points, self._clicks, self._image = places(a["size"]), 0, None

    def step(self):
        if self._clicks % 20 == 0:  # another one by its octets: decoders do not read the last ones
            other = self._octets + f"{self._number} {self._clicks}".encode()
            self._image = self._caller.encode(other)
        self._caller.click(self._image, self._points[self._clicks % POINTS])
        self._clicks += 1


class Following:
    """A client that opens a video, follows an object through it, and closes it."""

    def __init__(self, a, caller):
        self._caller, self._clip = caller, a["clip"]

    def step(self):
        video = self._caller.open(self._clip)
        self._caller.box(video, 0, boxes(1, (640, 360))[0].tolist())
        self._caller.follow(video)
        self._caller.close(video)


def compare(body, scratch):
    """How many times as long the peer takes, and ours against its targets."""
    rows = body["rows"]
    found = {"targets": targets(rows["segrid"]["stages"])}
    if PEER in rows and "error" not in rows[PEER]:
        ours, theirs = rows["segrid"]["stages"], rows[PEER]["stages"]
        found["ratio"] = {
            name: theirs[name] / ours[name]
            for name in ours
            if name.startswith(("click p", "frame, served")) and ours[name] > 0
        }
        found["users"] = {"segrid": ours["users per core"], PEER: theirs["users per core"]}
    return found


def targets(ours):
    """Milliseconds over the engine's own click at one client (at most 5), the 99th percentile at
    most clients over the engine's own click (at most 5 times), the share that the service adds to
    a frame (at most 0.05), and MB per minute."""
    own = ours["click, engine alone"]
    last = [name for name in ours if name.startswith("click p99")][-1]
    first = [name for name in ours if name.startswith("click p50")][0]
    return {
        "ms added to a click": (ours[first] - own) * 1000,
        "p99 / engine": ours[last] / own,
        "share added to a frame": ours["frame, served"] / ours["frame, engine alone"] - 1,
        "MB per minute": ours.get("MB per minute"),
    }


def summarise(body):
    for name, row in body["rows"].items():
        if "error" in row:
            yield f"  {name}: {row['error']}"
            continue
        facts = [in_words(stage, value) for stage, value in row["stages"].items()]
        yield f"  {name}: {', '.join(facts)}"
    yield "  targets of segrid: " + ", ".join(
        f"{name} {value:.3f}" for name, value in body["targets"].items() if value is not None
    )
    for stage, ratio in body.get("ratio", {}).items():
        yield f"  {stage}: {PEER} takes {ratio:.1f} times as long"


def in_words(stage, value):
    """A stage with its unit: those of a click or a frame are seconds."""
    if stage.startswith(("click p", "click,", "frame,")):
        return f"{stage} {value * 1000:.1f} ms"
    return f"{stage} {value:.2f}"
