"""Matrix products on one core against its peak.

python -m benchmarks.run gemm"""

import subprocess
import tempfile
from pathlib import Path

from benchmarks import harness

# (rows, n, k) of the products: tiles of SAM ViT-B's qkv, MLP and neck, and of the decoder's scores,
# values and upscaling.
SHAPES = (
    (64, 2304, 768),
    (64, 3072, 768),
    (64, 768, 3072),
    (64, 256, 768),
    (64, 64, 256),
    (64, 256, 64),
    (64, 256, 256),
    (256, 128, 64),
    (7, 2048, 256),
)


def add_arguments(parser):
    parser.add_argument(
        "--seconds",
        type=float,
        default=0.3,
        help="time for each of torch's products (%(default)s)",
    )


def measure(a, scratch):
    """Measures in this process: there are no subjects."""
    before = peak()
    rows = rates(a.seconds)
    return harness.Measured("gemm", {"peak": max(before, peak())}, rows)


def peak():
    """GFLOP/s of fused multiply-adds in fp32 on one core, measured by peak.cpp."""
    source = Path(__file__).parents[1] / "peak.cpp"
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "peak"
        compiler = ["c++", "-O3", "-march=native", "-std=c++20"]
        subprocess.run([*compiler, source, "-o", program], check=True)
        return float(subprocess.run([program], capture_output=True, text=True, check=True).stdout)


def rates(seconds):
    """[{"shape", "fp32", "bf16", "torch"}]: GFLOP/s on one core, ours in fp32 and in bf16, and
    torch.nn.functional.linear's in fp32."""
    import torch
    import torch.utils.benchmark

    from tests.building_blocks import kernels

    torch.set_num_threads(1)
    rows = []
    for m, n, k in SHAPES:
        x, w = torch.rand(m, k), torch.rand(n, k)
        timer = torch.utils.benchmark.Timer(
            "torch.nn.functional.linear(x, w)", globals={"torch": torch, "x": x, "w": w}
        )
        theirs = 2e-9 * m * n * k / timer.blocked_autorange(min_run_time=seconds).median
        rows.append(
            {
                "shape": [m, n, k],
                "fp32": kernels.linear_rate("fp32", m, n, k),
                "bf16": kernels.linear_rate("bf16", m, n, k),
                "torch": theirs,
            }
        )
    return rows


def compare(body, scratch):
    """The shares of the peak in fp32 that ours reaches, shape by shape."""
    return {"share of the peak": [r["fp32"] / body["peak"] for r in body["rows"]]}


def summarise(body):
    yield (
        f"gemm: one core's peak in fp32 is {body['peak']:.0f} GFLOP/s (bf16 may reach twice that, "
        "more with AMX)"
    )
    for r, share in zip(body["rows"], body["share of the peak"], strict=True):
        yield (
            f"  {'x'.join(map(str, r['shape'])):>13}: fp32 {r['fp32']:.0f} ({100 * share:.0f} %), "
            f"bf16 {r['bf16']:.0f}, torch's linear {r['torch']:.0f}"
        )
