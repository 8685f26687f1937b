"""SAM 2's memory of video: what one more frame of one object takes beside the image encoder.

It times memory attention with a full memory (7 frames and 16 object pointers) and the memory
encoder at the real size of SAM 2.1 tiny, with random weights.

python -m benchmarks.run memory
python -m benchmarks.run memory --subjects segrid_memory@bf16 segrid_memory@int8"""

import tempfile
from pathlib import Path

import numpy as np

from benchmarks import arguments, harness

OURS = "segrid_memory"
PEER = "transformers_memory"
SUBJECTS = [f"{OURS}@fp32", f"{OURS}@bf16", f"{OURS}@int8", f"{PEER}@fp32", f"{PEER}@bf16"]
FRAMES, POINTERS = 7, 16


def add_arguments(parser):
    arguments.add(parser, "threads", "repeat")
    parser.add_argument(
        "--subjects",
        nargs="+",
        choices=SUBJECTS,
        default=SUBJECTS,
        help="modules of benchmarks/subjects and their precisions (default: all)",
    )
    parser.add_argument(
        "--steps", type=int, default=3, help="steps that each run times (%(default)s)"
    )


def measure(a, scratch):
    from tests import models

    folder = models.sam2.make_video(
        "tiny",
        Path(tempfile.gettempdir()) / "segrid-tiny-video",
        memory_attention_feed_forward_hidden_size=2048,
        memory_fuser_intermediate_dim=1024,
    )
    print(f"memory: {FRAMES} frames, {POINTERS} pointers, 4096 tokens, {a.threads} threads")
    row = {"model": str(folder), "precision": "fp32", "steps": a.steps}
    rows = harness.alternate("memory", a.subjects, row, a, scratch)
    facts = {
        "frames": FRAMES,
        "pointers": POINTERS,
        "threads": a.threads,
        "products": products(),
        "rates": {p: rate(p) for p in ("fp32", "bf16")},
    }
    return harness.Measured("memory", facts, rows)


def measure_row(job):
    subject = job.load()
    image, frames, pointers, mask = inputs()
    seconds = subject.seconds(image, frames, pointers, mask, job.arguments["steps"])
    features, kept = subject.results(image, frames, pointers, mask)
    job.keep(attended=features.ravel(), kept=kept.ravel())
    job.end(seconds["look"] + seconds["attend"] + seconds["encode"], 1, seconds)


def inputs():
    """Random image tokens, frames and pointers with their ages, and mask logits."""
    rng = np.random.default_rng(0)

    def normal(*shape):
        return rng.normal(size=shape).astype(np.float32)

    # The float32 values are those of bf16, as a memory keeps them.
    def rounded(x):
        return (x.view(np.uint32) & 0xFFFF0000).view(np.float32)

    frames = [(rounded(normal(4096, 64)), age) for age in range(FRAMES)]
    pointers = [(normal(256), i / (POINTERS - 1)) for i in range(POINTERS)]
    return normal(4096, 256), frames, pointers, 5 * normal(1024, 1024)


def products():
    """Multiply-adds in billions, of each stage: as the paper has it, and as segrid computes it (P M
    is formed in the memory's 64 channels)."""
    tokens, dim, channels, hidden, layers = 4096, 256, 64, 2048, 4
    memory = FRAMES * tokens + POINTERS * dim // channels
    own = tokens * (4 * dim * dim + 2 * tokens * dim)
    mlp = 2 * tokens * dim * hidden
    cross = tokens * 2 * dim * dim + 2 * memory * channels * dim + 2 * tokens * memory * dim
    folded = (
        tokens * (dim * dim + channels * dim)
        + memory * channels * dim
        + tokens * memory * (dim + channels)
    )
    return {
        "look": own / 1e9,
        "attend": ((layers - 1) * own + layers * (folded + mlp)) / 1e9,
        "attend, unfolded": ((layers - 1) * own + layers * (cross + mlp)) / 1e9,
        "encode": 5.8,
    }


def rate(precision):
    """GFLOP/s of one core in the best of the shapes of which memory attention is made."""
    from tests.building_blocks import kernels

    shapes = ((64, 256, 256), (64, 64, 256), (64, 64, 512), (64, 512, 256))
    return max(kernels.linear_rate(precision, *shape, 0.2) for shape in shapes)


def compare(body, scratch):
    """The times of the peers relative to ours; differences from transformers in fp32 as shares of
    the size; and the share of the measured rate of products that each stage of ours reaches."""
    rows = body["rows"]
    full = f"{PEER}@fp32" if f"{PEER}@fp32" in rows else next(iter(rows))
    kept = {s: harness.kept(scratch, s) for s in rows}
    apart = {
        s: {name: off(k[name], kept[full][name]) for name in ("attended", "kept")}
        for s, k in kept.items()
    }
    share = {}
    for s, row in rows.items():
        subject, _, precision = s.partition("@")
        if subject == OURS:
            # In int8, attention is in bf16.
            peak = body["rates"]["fp32" if precision == "fp32" else "bf16"] * body["threads"]
            share[s] = {
                stage: 2 * body["products"][stage] / seconds / peak
                for stage, seconds in row["stages"].items()
            }
    return {"compared with": full, "difference": apart, "share of the rate": share}


def off(ours, theirs):
    return float(np.sqrt(np.square(ours - theirs).mean() / np.square(theirs).mean()))


def summarise(body):
    rates = ", ".join(f"{p} {r:.0f}" for p, r in body["rates"].items())
    yield f"  products on one core, GFLOP/s: {rates}"
    for s, row in body["rows"].items():
        apart, share = body["difference"][s], body["share of the rate"].get(s, {})
        stages = ", ".join(
            f"{stage} {seconds:.3f} s" + (f" ({100 * share[stage]:.0f} %)" if share else "")
            for stage, seconds in row["stages"].items()
        )
        yield (
            f"  {s}: {stages}; off from {body['compared with']} by {apart['attended']:.1e} "
            f"(features) and {apart['kept']:.1e} (memory)"
        )
