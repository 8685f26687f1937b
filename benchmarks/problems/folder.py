"""A folder of images: our stream and pools of processes.

All run the packaged model on mixed images. The result holds images per second, the memory of all
processes (PSS), and the share of the time for which the thread budget was busy. segment-anything's
pool gets at most twelve images.

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

OURS = "folder_stream"
MIXED = (256, 384, 512, 768, 1024)  # long sides, pixels
UNLIKE = (256, 2400, 320, 640, 1800, 384, 1200, 3000)  # the largest image is the last one


def add_arguments(parser):
    arguments.add(parser, "points", "precision", "device", "threads", "repeat")
    parser.add_argument("--count", type=int, default=200, help="images (%(default)s)")
    parser.add_argument(
        "--unlike",
        action="store_true",
        help=f"{len(UNLIKE)} images of very different sizes instead, the largest one last",
    )
    peers = ("folder_processes", "folder_segment_anything")
    arguments.add_subjects(parser, *peers, default=[OURS, *peers], ours=OURS)


def measure(a, scratch):
    options = models.recommended(a.points)
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
        "count of folder_segment_anything": min(count, 12),
    }
    facts = {"model": "tiny", "threads": a.threads, "images": count, "options": options}
    facts |= {"precision": a.precision, "device": on}
    rows = harness.alternate("folder", arguments.with_ours(a.subjects, OURS), row, a, scratch)
    suffix = environment.device_suffix(a.device)
    return harness.Measured(f"folder{suffix and f'-{a.precision}'}{suffix}", facts, rows)


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
    count = a.get(f"count of {job.subject}", a["count"])
    paths = sorted(str(p) for p in Path(a["folder"]).iterdir())[:count]
    subject.run(paths[: 2 * job.threads])  # the processes start and load their models here
    watch = Watch(subject)
    watch.start()
    began, cpu = time.perf_counter(), seconds_of_cpu()
    with DeviceMeter(a["device"]) as meter:
        counts = subject.run(paths)
    seconds = time.perf_counter() - began
    busy = (seconds_of_cpu() - cpu) / (job.threads * seconds)
    watch.stop.set()
    watch.join()
    subject.close()
    stages = {"images per second": len(paths) / seconds, "busy": busy, "images": len(paths)}
    stages |= getattr(subject, "shares", dict)()
    if meter.busy is not None:
        stages |= {"GPU": meter.busy, "MB of the GPU": meter.peak_mb}
    early, late = watch.between(60, 140), watch.between(len(paths) - 80, len(paths))
    if early is not None and late is not None:
        stages |= {"MB around image 100": early, "MB around the last": late}
    job.end(seconds / len(paths), sum(counts), stages, watch.peak)


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
    rows = body["rows"]
    return {
        "ratio": {s: r["median"] / rows[OURS]["median"] for s, r in rows.items()},
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


def summarise(body):
    for s, r in body["rows"].items():
        yield (
            f"  {s}: {r['stages']['images per second']:.2f} images/s "
            f"({body['ratio'][s]:.2f}x as long as stream), {r['memory_mb']:.0f} MB PSS "
            f"({body['memory'][s]:.2f}x), busy {100 * r['stages']['busy']:.0f} %, "
            f"{r['count']} masks in {r['stages']['images']:.0f} images"
        )
        if "read" in r["stages"]:
            yield f"    {bottleneck(r['stages'])}"
        if "MB around image 100" in r["stages"]:
            yield (
                f"    {r['stages']['MB around image 100']:.0f} MB around image 100, "
                f"{r['stages']['MB around the last']:.0f} MB around the last"
            )
