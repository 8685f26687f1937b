"""A folder of images: our stream and pools of processes.

All run the packaged model on mixed images. The result holds images per second, the memory of all
processes (PSS), and the share of the time for which the thread budget was busy. segment-anything's
pool gets at most twelve images, evenly spaced over the folder, and its time is compared with ours
for the same ones.

python -m benchmarks.run folder --repeat 1
python -m benchmarks.run folder --repeat 1 --count 120 \\
    --subjects folder_stream folder_processes --name folder-own
python -m benchmarks.run folder --device cuda --precision fp16 --subjects folder_stream
python -m benchmarks.run folder --repeat 1 --unlike --name folder-unlike \\
    --subjects folder_stream folder_processes
python -m benchmarks.run folder --repeat 1 --count 2000 --points 12 \\
    --subjects folder_stream --name folder-long"""

import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import psutil

from benchmarks import arguments, environment, harness, models
from benchmarks.device_meter import DeviceMeter
from benchmarks.photo import sample

OURS, PEER = "folder_stream", "folder_segment_anything"
SLOW = 12  # images for the peer, at most
# What all subjects did for the images that the peer got, too.
SECONDS, MASKS = "seconds an image, of the compared", "masks of the compared"
MIXED = (256, 384, 512, 768, 1024)  # long sides, pixels
UNLIKE = (256, 2400, 320, 640, 1800, 384, 1200, 3000)  # the largest image is the last one


def add_arguments(parser):
    arguments.add(parser, "points", "precision", "device", "threads", "repeat")
    parser.add_argument("--count", type=arguments.count, default=200, help="images (%(default)s)")
    parser.add_argument(
        "--unlike",
        action="store_true",
        help=f"{len(UNLIKE)} images of very different sizes instead, the largest one last",
    )
    peers = ("folder_processes", "folder_segment_anything")
    arguments.add_subjects(parser, *peers, default=peers, ours=OURS)


def measure(a, scratch):
    options, subjects = models.recommended(a.points), arguments.subjects_of(a)
    on = environment.processor(a.device, a.threads)
    rng = np.random.default_rng(9)
    sides = UNLIKE if a.unlike else tuple(map(int, rng.choice(MIXED, a.count)))
    count = len(sides)
    print(f"folder: {count} images, {options}, {a.precision}, {on}")
    pictures = Path(tempfile.gettempdir()) / f"segrid-folder-{'unlike' if a.unlike else count}"
    images(pictures, sides)
    row = {
        "model": models.folder_of("tiny"),
        "folder": str(pictures),
        "count": count,
        "options": options,
        "device": a.device,
        "precision": a.precision,
        "beside the peer": PEER in subjects,
    }
    facts = {"model": "tiny", "threads": a.threads, "images": count, "options": options}
    facts |= {"precision": a.precision, "device": on}
    rows = harness.alternate("folder", subjects, row, a, scratch)
    suffix = environment.device_suffix(a.device)
    precision = f"-{a.precision}" if suffix or a.precision != "fp32" else ""
    return harness.Measured(f"folder{precision}{suffix}", facts, rows)


def images(folder, sides):
    """Writes a picture of each long side, PNG and JPEG, cut from scikit-image's samples. The
    runner's process makes them, so that no subject's memory holds scikit-image."""
    from PIL import Image

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    names = ("coins.png", "coffee.png", "hubble_deep_field.jpg")
    sources = [np.asarray(Image.open(sample(name)).convert("RGB")) for name in names]
    rng = np.random.default_rng(9)
    for i, side in enumerate(sides):
        path = folder / f"{i:04d}.{'png' if i % 3 else 'jpg'}"
        source = Image.fromarray(sources[i % 3])
        scale = side / max(source.size)
        left = rng.uniform(0, 0.2, 2) * source.size
        if not path.exists():
            source.crop((*left.astype(int), *source.size)).resize(
                [max(64, round(s * scale)) for s in source.size], Image.BICUBIC
            ).save(path)


def measure_row(job):
    a, subject = job.arguments, job.load(option="options")
    paths = sorted(str(p) for p in Path(a["folder"]).iterdir())[: a["count"]]
    some = [paths[i] for i in np.linspace(0, len(paths) - 1, min(SLOW, len(paths))).astype(int)]
    if job.subject == PEER:
        paths = some
    subject.run(paths[: 2 * job.threads])  # the processes start and load their models here
    watch = Watch(subject)
    watch.start()
    cpu = seconds_of_cpu()
    with DeviceMeter(a["device"]) as meter:
        seconds, counts = once(subject, paths)
    busy = (seconds_of_cpu() - cpu) / (job.threads * seconds)
    watch.stop.set()
    watch.join()
    stages = {"images per second": len(paths) / seconds, "busy": busy, "images": len(paths)}
    stages |= getattr(subject, "shares", dict)()
    if a["beside the peer"]:
        spent, masks = (seconds, counts) if job.subject == PEER else once(subject, some)
        stages |= {SECONDS: spent / len(some), MASKS: sum(masks)}
    subject.close()
    if meter.busy is not None:
        stages |= {"GPU": meter.busy, "MB of the GPU": meter.peak_mb}
    early, late = watch.between(60, 140), watch.between(len(paths) - 80, len(paths))
    if early is not None and late is not None:
        stages |= {"MB around image 100": early, "MB around the last": late}
    job.end(seconds / len(paths), sum(counts), stages, watch.peak)


def once(subject, paths):
    """The seconds of all images, and the number of masks of each."""
    began = time.perf_counter()
    counts = subject.run(paths)
    return time.perf_counter() - began, counts


class Watch(threading.Thread):
    """Samples the PSS of this process and its children, in MB: the peak, and pairs of the images
    that the subject had done and the PSS then."""

    def __init__(self, subject):
        super().__init__(daemon=True)
        self.subject, self.peak, self.samples, self.stop = subject, 0.0, [], threading.Event()

    def run(self):
        while not self.stop.wait(0.2):
            total = 0
            for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
                try:
                    total += process.memory_full_info().pss
                except psutil.Error:
                    continue
            self.peak = max(self.peak, total / 2**20)
            self.samples.append((getattr(self.subject, "done", 0), total / 2**20))

    def between(self, first, last):
        """The highest PSS while these images were done; None for fewer than ten samples."""
        found = [mb for done, mb in self.samples if first <= done <= last]
        return max(found) if len(found) >= 10 else None


def seconds_of_cpu():
    """User and system time of this process and of its children, those that ended included."""
    total = 0.0
    for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
        try:
            t = process.cpu_times()
        except psutil.Error:
            continue
        total += t.user + t.system
    own = psutil.Process().cpu_times()
    return total + own.children_user + own.children_system


def compare(body, scratch):
    """Times and memory relative to ours. The peer's time is compared for the images that it got."""
    rows = body["rows"]
    ours = rows[OURS]
    ratio = {s: r["median"] / ours["median"] for s, r in rows.items() if s != PEER}
    if PEER in rows:
        ratio[PEER] = rows[PEER]["stages"][SECONDS] / ours["stages"][SECONDS]
    return {
        **({"compared": min(SLOW, body["images"])} if PEER in rows else {}),
        "ratio": ratio,
        "memory": {s: r["memory_mb"] / rows[OURS]["memory_mb"] for s, r in rows.items()},
    }


def bottleneck(stages):
    """What limits a stream: the GPU, the CPU, or else that one waits for the other."""
    steps = ", ".join(f"{100 * stages[k]:.0f} % {k}" for k in ("read", "compute", "write"))
    gpu = f"; the GPU is busy {100 * stages['GPU']:.0f} %" if "GPU" in stages else ""
    if stages.get("GPU", 0.0) > 0.85:
        what = "the GPU"
    elif stages["busy"] > 0.85:
        what = "the CPU"
    else:
        what = "that one waits for the other"
    return f"of an image's seconds: {steps}{gpu}; the bottleneck is {what}"


def same(subject, body):
    """What the ratio of a subject is of, where that is not all images."""
    return f" for the same {body['compared']} images" if subject == PEER else ""


def summarise(body):
    for s, r in body["rows"].items():
        yield (
            f"  {s}: {r['stages']['images per second']:.2f} images/s "
            f"({body['ratio'][s]:.2f}x as long as stream{same(s, body)}), "
            f"{r['memory_mb']:.0f} MB PSS ({body['memory'][s]:.2f}x), "
            f"busy {100 * r['stages']['busy']:.0f} %, "
            f"{r['count']} masks in {r['stages']['images']:.0f} images"
        )
        if "read" in r["stages"]:
            yield f"    {bottleneck(r['stages'])}"
        if "MB around image 100" in r["stages"]:
            yield (
                f"    {r['stages']['MB around image 100']:.0f} MB around image 100, "
                f"{r['stages']['MB around the last']:.0f} MB around the last"
            )
