"""Where the time of one call goes on a device: kernels, gaps, launches, waits.

torch's profiler watches one warm call of ours. On a GPU the rows are its kernels and copies, by
CUPTI; on cpu-plain they are the operations of the same definitions.

python -m benchmarks.run profile --model vit_b --device cuda --precision fp16
python -m benchmarks.run profile --call boxes --model vit_b --device cuda --precision fp16
python -m benchmarks.run profile --call detect --model owlv2-base --device cuda --precision fp16"""

import time

from benchmarks import arguments, environment, harness, models
from benchmarks.photo import photo

# The models that a call takes, the default first.
SEGMENTERS = tuple(arguments.MODELS)
CALLS = {
    **dict.fromkeys(("everything", "encode", "boxes"), SEGMENTERS),
    "detect": ("owlv2-base",),
    "video": ("sam2.1_hiera_t",),
}
CLIP = 12, (640, 360)  # frames, and their width and height
ROWS = 25  # of kernels, those that take the longest
WAITS = ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize")


def add_arguments(parser):
    parser.add_argument(
        "--model",
        choices=[*SEGMENTERS, *CALLS["detect"]],
        help="default: tiny; of detect owlv2-base, of video sam2.1_hiera_t",
    )
    arguments.add(parser, "points", "size", "precision", "device", "threads")
    parser.add_argument("--call", choices=CALLS, default="everything", help="(%(default)s)")
    parser.set_defaults(repeat=1, device="cuda")


def measure(a, scratch):
    if a.device == "cpu":
        raise SystemExit("profile: needs --device cuda or cpu-plain; for the CPU: segrid bench")
    model = a.model or CALLS[a.call][0]
    if model not in CALLS[a.call]:
        models_of_it = ", ".join(CALLS[a.call])
        raise SystemExit(f"profile: --call {a.call} takes --model {models_of_it}, got {model}")
    video = a.call == "video"
    size = CLIP[1] if video else a.size
    on = environment.processor(a.device, a.threads)
    print(f"profile: {a.call}, {model}, {size[0]}x{size[1]}, {a.precision}, {on}")
    names = ("call", "precision", "device", "points")
    folder = models.video_folder() if video else models.folder_of(model)
    row = {"model": folder, "size": size, **{k: getattr(a, k) for k in names}}
    facts = {"model": model, "size": size, **{k: getattr(a, k) for k in names}}
    facts |= {"threads": a.threads, **({"frames": CLIP[0]} if video else {})}
    rows = harness.alternate("profile", ["segrid"], row, a, scratch)
    suffix = environment.device_suffix(a.device)
    name = f"profile-{a.call}-{model}-{a.precision}{suffix}"
    return harness.Measured(name, {**facts, "device": on}, rows)


def measure_row(job):
    from torch._C._profiler import _ExperimentalConfig
    from torch.profiler import ProfilerActivity, profile

    on_gpu = job.arguments["device"].startswith("cuda")
    call = call_of(job)
    for _ in range(3 if on_gpu else 1):
        call()
    began = time.perf_counter()
    call()
    alone = time.perf_counter() - began
    activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if on_gpu else [])
    # The engine computes on threads of its own.
    watched = _ExperimentalConfig(profile_all_threads=True)
    with profile(activities=activities, experimental_config=watched) as profiler:
        began = time.perf_counter()
        call()
        seconds = time.perf_counter() - began
    figures, table = summary_of(profiler.events(), on_gpu)
    figures |= {"seconds alone": alone, "seconds watched": seconds}
    job.end(alone, len(table), figures, table=table)


def call_of(job):
    """The call to watch, without arguments."""
    a = job.arguments
    size = tuple(a["size"])
    image = photo(size)[0]
    if a["call"] == "detect":
        from benchmarks.problems.detect import prompts

        subject, runs = job.load("_detector"), iter(range(100))
        return lambda: subject.detect(image, prompts(16, next(runs)), 0.1)
    if a["call"] == "video":
        return follow_one_object(job)
    subject = job.load()
    if a["call"] == "encode":
        return lambda: subject.model.encode(image)
    if a["call"] == "boxes":
        from benchmarks.problems.boxes import boxes

        subject.encode(image)
        return lambda: subject.boxes(boxes(size))
    options = {"points_per_side": a["points"], "box_nms_thresh": 0.7}
    return lambda: subject.everything(image, options)


def follow_one_object(job):
    """A call that follows one object through the frames of CLIP in a new session."""
    from benchmarks.clip import boxes, clip

    frames = clip(*CLIP)
    subject = job.load("_video")

    def follow():
        subject.open(frames)
        subject.add(0, boxes(1, frames.shape[2:0:-1])[0])
        for _ in subject.follow():
            pass

    return follow


def summary_of(events, on_gpu):
    """The figures of a profile, and its longest kernels (on the CPU: operations), of the profiler's
    events."""
    from torch.autograd import DeviceType

    if on_gpu:
        work = [e for e in events if e.device_type == DeviceType.CUDA]
        spans = [(e.time_range.start, e.time_range.end) for e in work]
        took = [e.time_range.elapsed_us() for e in work]
    else:
        work = [e for e in events if e.name.startswith("aten::")]
        spans = [(e.time_range.start, e.time_range.end) for e in work]
        took = [e.self_cpu_time_total for e in work]
    busy, whole = covered(spans), span_of(spans)
    figures = {
        "milliseconds from first to last": whole / 1e3,
        "milliseconds busy": busy / 1e3,
        "share of gaps": 1 - busy / whole if whole else 0.0,
        "kernels": len(work),
        "launches": sum(e.name.startswith("cudaLaunchKernel") for e in events),
        "waits": sum(e.name in WAITS for e in events),
        "copies to the host": sum("Memcpy DtoH" in e.name for e in work),
        "copies to the device": sum("Memcpy HtoD" in e.name for e in work),
    }
    by_name = {}
    for event, us in zip(work, took, strict=True):
        count, total = by_name.get(event.name, (0, 0.0))
        by_name[event.name] = count + 1, total + us
    longest = sorted(by_name.items(), key=lambda item: -item[1][1])[:ROWS]
    whole_work = sum(took) or 1.0
    return figures, [
        {"kernel": name[:160], "count": n, "milliseconds": us / 1e3, "share": us / whole_work}
        for name, (n, us) in longest
    ]


def covered(spans):
    """The length of the union of intervals."""
    total, end = 0.0, float("-inf")
    for start, stop in sorted(spans):
        total += max(0.0, stop - max(start, end))
        end = max(end, stop)
    return total


def span_of(spans):
    """From the first start to the last end."""
    return max(s[1] for s in spans) - min(s[0] for s in spans) if spans else 0.0


def compare(body, scratch):
    return {}


def summarise(body):
    row = body["rows"]["segrid"]
    yield "  " + ", ".join(f"{k} {v:.4g}" for k, v in row["stages"].items())
    for r in row["table"]:
        took = f"{100 * r['share']:5.1f} % {r['milliseconds']:8.3f} ms"
        yield f"  {took} {r['count']:5} x {r['kernel']}"
