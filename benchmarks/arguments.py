"""The options that several problems share. A problem adds those that it uses."""

SHARED = {
    "model": dict(
        default="tiny",
        help="tiny (the packaged model); vit_b, mobile_sam or sam2.1_hiera_t (seeded random "
        "weights); default: %(default)s",
    ),
    "points": dict(type=int, default=32, help="points per side of the grid (%(default)s)"),
    "size": dict(
        type=int,
        nargs=2,
        default=[1800, 1200],
        metavar=("W", "H"),
        help="size of the photo in pixels (1800 1200)",
    ),
    "precision": dict(default="fp32", choices=["fp32", "bf16", "fp16"]),
    "device": dict(
        default="cpu",
        help="cpu, cuda, or cpu-plain, for segrid, segment_anything and sam2 (%(default)s)",
    ),
    "threads": dict(type=int, default=2, help="threads of every subject (%(default)s)"),
    "repeat": dict(type=int, default=3, help="runs of every subject (%(default)s)"),
}


def add(parser, *names):
    """Adds the shared options of these names."""
    for name in names:
        parser.add_argument(f"--{name}", **SHARED[name])


def add_subjects(parser, *peers, default, ours="segrid"):
    """Adds --subjects: the peers that run beside ours, which always runs and runs first."""
    parser.add_argument(
        "--subjects",
        nargs="+",
        choices=[ours, *peers],
        default=default,
        help=f"modules of benchmarks/subjects; {ours} always runs (default: {' '.join(default)})",
    )


def with_ours(subjects, ours="segrid"):
    """The chosen subjects, ours first."""
    return [ours, *(s for s in subjects if s != ours)]
