"""The options that several problems share. A problem adds those that it uses."""

import argparse

# The family of each model of benchmarks/models.py, and the peers that can run it, the usual one
# first.
MODELS = {"tiny": "sam", "vit_b": "sam", "mobile_sam": "mobile_sam", "sam2.1_hiera_t": "sam2"}
PEERS = {
    "sam": (
        *("segment_anything", "segment_anything_compiled"),
        *("openvino", "onnxruntime", "transformers"),
    ),
    "mobile_sam": ("mobile_sam",),
    "sam2": ("sam2", "sam2_compiled", "sam2_openvino"),
}
# The peers that take another device than the CPU.
ON_DEVICES = ("segment_anything", "segment_anything_compiled", "sam2", "sam2_compiled")


def count(text):
    """A whole number from 1 on, for argparse."""
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"needs a whole number from 1 on, got {text!r}")
    return number


SHARED = {
    "model": dict(
        default="tiny",
        choices=MODELS,
        help="tiny (the packaged model); vit_b, mobile_sam or sam2.1_hiera_t (seeded random "
        "weights); default: %(default)s",
    ),
    "points": dict(type=count, default=32, help="points per side of the grid (%(default)s)"),
    "size": dict(
        type=count,
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
    "threads": dict(type=count, default=2, help="threads of every subject (%(default)s)"),
    "repeat": dict(type=count, default=3, help="runs of every subject (%(default)s)"),
}


def add(parser, *names):
    """Adds the shared options of these names."""
    for name in names:
        parser.add_argument(f"--{name}", **SHARED[name])


def add_subjects(parser, *peers, default=None, ours="segrid"):
    """Adds --subjects: the peers that run beside ours, which always runs and runs first. default:
    the first of `peers` that can run the model."""
    usual = " ".join(default) if default else "the usual peer of the model's family"
    parser.add_argument(
        "--subjects",
        nargs="+",
        choices=[ours, *peers],
        help=f"modules of benchmarks/subjects; {ours} always runs (default: {usual})",
    )
    parser.set_defaults(ours=ours, peers=peers, usual=default)


def subjects_of(a):
    """The chosen subjects, ours first. Ends the program for a peer that cannot run the model, or
    not on the device."""
    fitting = [peer for peer in a.peers if misfit(peer, a) is None]
    if a.subjects is None:
        return [
            a.ours,
            *(fitting[:1] if a.usual is None else filter(fitting.__contains__, a.usual)),
        ]
    chosen = [s for s in dict.fromkeys(a.subjects) if s != a.ours]
    for peer in chosen:
        if peer not in fitting:
            others = f"can: {', '.join(fitting)}" if fitting else f"only {a.ours} can"
            raise SystemExit(f"--subjects {peer}: it {misfit(peer, a)}; {others}")
    return [a.ours, *chosen]


def misfit(peer, a):
    """Why the peer cannot run what the options ask for, in words; None where it can."""
    family, device = MODELS.get(getattr(a, "model", None)), getattr(a, "device", "cpu")
    if family and peer not in PEERS[family]:
        return f"cannot run the model {a.model}"
    if device != "cpu" and peer not in ON_DEVICES:
        return f"does not run on the device {device}"
    return None


# What `settings` leaves out: no settings, or in the names that problems give to their results.
NAMED = {"name", "repeat", "subjects", "model", "precision", "device", "call", "clip"}
NAMED |= {"davis", "sequence"}


def settings(a, name):
    """The settings that differ from their defaults, as the end of the name of a result. Only those
    of the default settings may have the names that the pages read. name: what may say the size."""
    given = {k: getattr(a, k) for k in a.defaults if k not in NAMED}
    changed = {k: v for k, v in given.items() if v != a.defaults[k]}
    if "size" in changed and f"{a.size[0]}x{a.size[1]}" in name:
        del changed["size"]
    return "".join(
        f"-{k.replace('_', '-')}" + ("" if v is True else f"-{_text(v)}")
        for k, v in sorted(changed.items())
    )


def _text(value):
    if isinstance(value, (list, tuple)):
        return "x".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
