"""Objects followed through a clip: seconds a frame, first answers, memory.

SAM 2.1 tiny at 1024 with random weights that never lose an object; a drawn clip of 640x360. Frames
are timed whose memory is full. Each row is a subject with a number of objects; the rows of
--image-side and --memory-pooling are ours with these settings, beside their agreement with the
model as it is.

python -m benchmarks.run video                 # half an hour and more: 24 frames, 1 and 4 objects
python -m benchmarks.run video --objects 1 --frames 9 --subjects segrid sam2 --repeat 1
python -m benchmarks.run video --clip ../shared/data/videos/edgetam_21_biker.mp4"""

import time
from pathlib import Path

import numpy as np

from benchmarks import arguments, environment, harness, models
from benchmarks.clip import boxes, clip
from benchmarks.problems.everything import forget_peak, status_mb

OURS = ("segrid@fp32", "segrid@bf16", "segrid@int8")
OURS_ON_DEVICES = ("segrid@fp32", "segrid@bf16", "segrid@fp16")
PEERS = {
    "sam2": ("sam2@fp32", "sam2@bf16"),
    "transformers": ("transformers@fp32",),
    "sam2_compiled": ("sam2_compiled@fp32",),
}
FULL = 7  # the first frame that looks at seven others


def add_arguments(parser):
    arguments.add(parser, "device", "threads", "repeat")
    parser.set_defaults(repeat=1)
    arguments.add_subjects(parser, *PEERS, default=["sam2", "transformers"])
    parser.add_argument(
        "--frames", type=arguments.count, default=24, help="of the clip (%(default)s)"
    )
    parser.add_argument(
        "--objects", type=arguments.count, nargs="+", default=[1, 4], help="from 1 to 4 each (1 4)"
    )
    parser.add_argument("--clip", type=Path, help="a video file in place of the drawn clip")
    parser.add_argument(
        "--size",
        type=arguments.count,
        nargs=2,
        default=[640, 360],
        metavar=("W", "H"),
        help="(640 360)",
    )
    parser.add_argument(
        "--image-side",
        type=arguments.count,
        help="more rows for ours with this image square, such as 512",
    )
    parser.add_argument(
        "--memory-pooling",
        type=arguments.count,
        help="more rows for ours with this memory_pooling, such as 2",
    )


def measure(a, scratch):
    if a.frames < FULL + 2 or not all(1 <= n <= 4 for n in a.objects):
        raise SystemExit(
            f"video: needs --frames of at least {FULL + 2} (frame {FULL} is the first with a full "
            f"memory) and --objects from 1 to 4; got {a.frames} and {a.objects}"
        )
    name = a.clip.name if a.clip else "drawn"
    print(
        f"video: SAM 2.1 tiny, {name} clip of {a.frames} frames, {a.size[0]}x{a.size[1]}, "
        f"{environment.processor(a.device, a.threads)}; seconds are of a frame with a full memory"
    )
    ours = OURS if a.device == "cpu" else OURS_ON_DEVICES
    folder, frames = models.video_folder(), Path(scratch) / "clip.npy"
    np.save(frames, clip(a.frames, a.size, a.clip))
    peers = rows_of_peers(arguments.subjects_of(a)[1:], a.device)
    settings = {"": (folder, [*ours, *peers])}
    if a.image_side:
        settings[f" at {a.image_side}"] = (models.of_side(folder, a.image_side), list(ours))
    if a.memory_pooling:
        pooled = models.pooled_by(folder, a.memory_pooling)
        settings[f" at pooling {a.memory_pooling}"] = (pooled, list(ours))
    rows = {}
    for objects in a.objects:
        for setting, (model, subjects) in settings.items():
            row = {"model": model, "frames": str(frames), "objects": objects, "precision": "fp32"}
            row |= {"device": a.device}
            place = Path(scratch) / f"{objects} object{'s' if objects > 1 else ''}{setting}"
            place.mkdir()
            found = harness.alternate("video", subjects, row, a, place)
            rows |= {f"{s}, {place.name}": r for s, r in found.items()}
    facts = {
        "model": "sam2.1_hiera_t",
        "clip": name,
        "frames": a.frames,
        "size": a.size,
        "threads": a.threads,
        "device": environment.processor(a.device, a.threads),
    }
    suffix = f"-{a.clip.stem}" if a.clip else ""
    suffix += environment.device_suffix(a.device)
    return harness.Measured(f"video-sam2.1_hiera_t{suffix}", facts, rows)


def rows_of_peers(peers, device):
    """The rows of PEERS without autocast where the CPU has no instructions for bf16: torch imitates
    them there, and a frame takes minutes."""
    rows = [row for peer in peers for row in PEERS[peer]]
    if device.startswith("cuda") or "avx512_bf16" in environment.cpu()["isa"]:
        return rows
    print("  this CPU has no instructions for bf16: rows of peers' autocast are left out")
    return [row for row in rows if not row.endswith("@bf16")]


def measure_row(job):
    subject = job.load("_video")
    frames = np.load(job.arguments["frames"])
    prompts = boxes(job.arguments["objects"], frames.shape[2:0:-1])
    before = status_mb("VmRSS")
    forget_peak()
    began = time.perf_counter()
    subject.open(frames)
    subject.add(0, prompts[0])
    first_mask = time.perf_counter() - began
    for i, prompt in enumerate(prompts[1:], 1):
        subject.add(i, prompt)
    began, ends, masks = time.perf_counter(), [], []
    for found in subject.follow():
        ends.append(time.perf_counter() - began)
        masks.append(np.packbits(found.reshape(len(found), -1), axis=1))
    stages = {"first mask": first_mask, "first followed frame": ends[1]}
    job.keep(masks=np.stack(masks))
    seconds = float(np.median(np.diff(ends)[FULL - 1 :]))
    job.end(seconds, len(prompts), stages, status_mb("VmHWM") - before)


def compare(body, scratch):
    """Times relative to ours in fp32, and the IoU of every frame and object with sam2's in fp32
    (without sam2: with ours), of each row."""
    ratio, agreement = {}, {}
    for name, row in body["rows"].items():
        subject, _, place = name.partition(", ")
        if "error" in row:
            continue
        full = place.partition(" at ")[0]
        ratio[name] = row["median"] / body["rows"][f"{OURS[0]}, {full}"]["median"]
        other = "sam2@fp32" if f"sam2@fp32, {full}" in body["rows"] else OURS[0]
        theirs = harness.kept(Path(scratch) / full, other)["masks"]
        ious = overlap(harness.kept(Path(scratch) / place, subject)["masks"], theirs)
        agreement[name] = {
            "with": other,
            "mean": float(ious.mean()),
            "min": float(ious.min()),
            "empty": float((theirs.any(-1) == 0).mean()),
        }
    return {"ratio": ratio, "agreement": agreement}


def overlap(ours, theirs):
    """IoU of masks as packed bits, (frames, objects); 1 where both are empty."""
    both = np.bitwise_count(ours & theirs).sum(-1, dtype=np.int64)
    union = np.bitwise_count(ours | theirs).sum(-1, dtype=np.int64)
    return np.where(union == 0, 1.0, both / np.maximum(union, 1))


def summarise(body):
    for name, row in body["rows"].items():
        if "error" in row:
            yield f"  {name}: {row['error']}"
            continue
        a = body["agreement"][name]
        yield (
            f"  {name}: {row['median']:.3f} s a frame ({body['ratio'][name]:.2f}x ours in fp32), "
            f"first mask {row['stages']['first mask']:.2f} s, first followed frame "
            f"{row['stages']['first followed frame']:.2f} s, {row['memory_mb']:.0f} MB above the "
            f"weights; IoU with {a['with']} mean {a['mean']:.4f}, least {a['min']:.4f} "
            f"({a['empty']:.0%} of masks empty)"
        )
