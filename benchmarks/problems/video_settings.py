"""What each setting of following objects costs in masks and saves in time, with a trained model:
the masks against those of fp32 with the model's own settings.

"faster" is of one run of a few frames, so with a small model on a busy machine it means little; the
pages take the masks only.

python -m benchmarks.run video_settings --davis ../shared/data/davis_bsd --sequence goat"""

from pathlib import Path

from benchmarks import harness

# One setting at a time; the others are those of the model, in fp32.
SETTINGS = (
    {"precisions": ["bf16", "int8"]},
    {"memory_frames": [4, 2]},
    {"memory_poolings": [2]},
    {"image_sides": [256, 192]},
)


def add_arguments(parser):
    parser.add_argument("--model", default="tiny-video", help="(%(default)s)")
    parser.add_argument("--davis", type=Path, help="a folder with images/ and labels/ of DAVIS")
    parser.add_argument("--sequence", default="goat", help="of it (%(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="(%(default)s)")


def measure(a, scratch):
    """{clip: {setting: {"j_and_f", "least", "faster", "mb"}}}, each setting in its own process."""
    rows = {}
    for name, (video, objects) in clips(a, Path(scratch)).items():
        rows[name] = {}
        for asked in SETTINGS:
            rows[name] |= prices(video, objects, a, asked)
    facts = {"model": a.model, "threads": a.threads, "sequence": a.sequence if a.davis else None}
    name = f"video-settings-{Path(a.model).name}" + (f"-{a.sequence}" if a.davis else "")
    return harness.Measured(name, facts, rows)


def clips(a, scratch):
    """{name: (path, objects of the first frame)}."""
    from segrid.measuring.video_comparison import VideoObject, objects_of

    from scripts import demo_clip

    drawn = scratch / "drawn.mp4"
    demo_clip.write(drawn)
    boxes = demo_clip.ball(0), demo_clip.square(0)
    found = {"drawn": (drawn, [VideoObject(box=box) for box in boxes])}
    if a.davis is not None:
        folder = scratch / a.sequence
        folder.mkdir()
        frames = sorted((a.davis / "images").glob(f"{a.sequence}_*.jpg"))
        if not frames:
            raise SystemExit(f"{a.davis}/images: no {a.sequence}_*.jpg")
        for frame in frames:
            (folder / frame.name).symlink_to(frame.resolve())
        mask = a.davis / "labels" / f"{frames[0].stem}.png"
        found[a.sequence] = folder, objects_of(mask)
    return found


def prices(video, objects, a, asked):
    """{setting: its row} of the settings `asked`, against the first result, the reference's."""
    from segrid import compare_video

    found = compare_video(video, objects, model=a.model, threads=a.threads, **asked)
    own, rows = found.results[0], {}
    for setting, reason in found.refused.items():
        print(f"  {Path(video).stem}, {setting}: does not run here: {reason}", flush=True)
    for result in found.results:
        row = {
            "j_and_f": float(result.j_and_f),
            "least": float(result.worst.j_and_f),
            "faster": own.frame_seconds / result.frame_seconds,
            "mb": result.working_mb,
        }
        name = change(own, result)
        rows[name] = row
        print(f"  {Path(video).stem}, {name}: {row}", flush=True)
    return rows


def change(own, result):
    """What a setting changes, as `Tracker` and `open` name it."""
    names = "precision", "memory_frames", "memory_pooling", "image_side"
    values = [(name, getattr(result, name)) for name in names]
    changed = [f"{name}={value}" for name, value in values if value != getattr(own, name)]
    return ", ".join(changed) or "none"


def compare(body, scratch):
    return {}


def summarise(body):
    for clip, rows in body["rows"].items():
        for name, row in rows.items():
            yield (
                f"  {clip}, {name}: J&F {row['j_and_f']:.3f} (least {row['least']:.3f}), "
                f"{row['faster']:.1f} x as fast, {row['mb']:.0f} MB"
            )
