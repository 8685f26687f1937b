"""A folder of mixed images, segmented with the packaged model: images per second, memory of all
processes (PSS), how busy the thread budget was. Run through benchmarks/run.py."""

import tempfile
import threading
import time
from pathlib import Path

import psutil

from benchmarks import harness, models
from benchmarks.problems.job import begin, end


def images(folder, count):
    """`count` pictures of 256 to 1024 px cut from scikit-image's samples: PNG and JPEG, the same
    for everybody. In the runner's process: what makes them is nobody's memory."""
    import numpy as np
    import skimage.data
    from PIL import Image

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    sources = [
        np.asarray(Image.fromarray(a).convert("RGB"))
        for a in (skimage.data.coins(), skimage.data.coffee(), skimage.data.hubble_deep_field())
    ]
    rng = np.random.default_rng(9)
    for i in range(count):
        path = folder / f"{i:04d}.{'png' if i % 3 else 'jpg'}"
        source = Image.fromarray(sources[i % 3])
        side = int(rng.choice([256, 384, 512, 768, 1024]))
        scale = side / max(source.size)
        left = rng.uniform(0, 0.2, 2) * source.size
        if not path.exists():
            source.crop((*left.astype(int), *source.size)).resize(
                [max(64, round(s * scale)) for s in source.size], Image.BICUBIC
            ).save(path)


class Watch(threading.Thread):
    """Samples the PSS of this process and all below it, MB: its peak, and beside how many images
    the subject had done."""

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
        """The highest while these images were done; None where there were too few to say."""
        found = [mb for done, mb in self.samples if first <= done <= last]
        return max(found) if len(found) >= 10 else None


def seconds_of_cpu():
    """User and system time of this process and of those below it, living and gone."""
    total = 0.0
    for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
        try:
            t = process.cpu_times()
        except psutil.Error:
            continue
        total += t.user + t.system
    own = psutil.Process().cpu_times()
    return total + own.children_user + own.children_system


def run(a):
    """A folder of mixed images with the packaged model: our stream, a pool of processes around our
    Segmenter, one around segment-anything (fewer images)."""
    options = models.recommended(a.points)
    every = ["folder_stream", "folder_processes", "folder_segment_anything"]
    subjects = [s for s in every if s in a.subjects] or every
    print(f"folder: {a.count} images, {options}, {a.threads} threads")
    pictures = Path(tempfile.gettempdir()) / f"segrid-folder-{a.count}"
    images(pictures, a.count)
    with tempfile.TemporaryDirectory() as scratch:
        arguments = {
            "model": models.folder_of("tiny"),
            "folder": str(pictures),
            "count": a.count,
            "options": options,
            "precision": "fp32",
            "count of folder_segment_anything": min(a.count, 12),
        }
        rows = harness.compare("folder", subjects, arguments, a.threads, a.repeat, scratch)
    ours = rows["folder_stream"]
    body = {
        "model": "tiny",
        "threads": a.threads,
        "images": a.count,
        "options": options,
        "rows": rows,
        "ratio": {s: r["median"] / ours["median"] for s, r in rows.items()},
        "memory": {s: r["memory_mb"] / ours["memory_mb"] for s, r in rows.items()},
    }
    for s, r in rows.items():
        print(
            f"  {s}: {r['stages']['images per second']:.2f} images/s "
            f"({body['ratio'][s]:.2f}x as long as stream), {r['memory_mb']:.0f} MB PSS "
            f"({body['memory'][s]:.2f}x), busy {100 * r['stages']['busy']:.0f} %, "
            f"{r['count']} masks in {r['stages']['images']:.0f} images"
        )
        if "MB around image 100" in r["stages"]:
            print(
                f"    {r['stages']['MB around image 100']:.0f} MB around image 100, "
                f"{r['stages']['MB around the last']:.0f} MB around the last"
            )
    print("written:", harness.record(a.name or "folder", body))


def main():
    job, a, subject = begin("", "options")
    paths = sorted(str(p) for p in Path(a["folder"]).iterdir())[
        : a.get(f"count of {job['subject']}", a["count"])
    ]
    subject.run(paths[: 2 * job["threads"]])  # warm: processes and models are there
    watch = Watch(subject)
    watch.start()
    began, cpu = time.perf_counter(), seconds_of_cpu()
    counts = subject.run(paths)
    seconds = time.perf_counter() - began
    busy = (seconds_of_cpu() - cpu) / (job["threads"] * seconds)
    watch.stop.set()
    watch.join()
    subject.close()
    stages = {"images per second": len(paths) / seconds, "busy": busy, "images": len(paths)}
    early, late = watch.between(60, 140), watch.between(len(paths) - 80, len(paths))
    if early is not None and late is not None:
        stages |= {"MB around image 100": early, "MB around the last": late}
    end(job, seconds / len(paths), sum(counts), stages, watch.peak)


if __name__ == "__main__":
    main()
