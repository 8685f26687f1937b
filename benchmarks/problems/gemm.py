"""Products of a Linear on one core against the core's own peak. Run through benchmarks/run.py."""

import subprocess
import tempfile
from pathlib import Path

from benchmarks import harness

# rows, n, k: a tile of SAM ViT-B's qkv, MLP and neck; of the decoder's scores, values and upscaling
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


def peak():
    """GFLOP/s of fp32 fused multiply-adds, measured by peak.cpp."""
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "peak"
        subprocess.run(
            [
                "c++",
                "-O3",
                "-march=native",
                "-std=c++20",
                Path(__file__).parents[1] / "peak.cpp",
                "-o",
                program,
            ],
            check=True,
        )
        return float(subprocess.run([program], capture_output=True, text=True, check=True).stdout)


def rates():
    """[{"shape", "fp32", "bf16", "torch"}]: GFLOP/s on one core, ours and
    torch.nn.functional.linear's."""
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
        theirs = 2e-9 * m * n * k / timer.blocked_autorange(min_run_time=0.3).median
        rows.append(
            {
                "shape": [m, n, k],
                "fp32": kernels.linear_rate("fp32", m, n, k),
                "bf16": kernels.linear_rate("bf16", m, n, k),
                "torch": theirs,
            }
        )
    return rows


def run(a):
    """Products on one core against its peak."""
    before = peak()
    rows = rates()
    top = max(before, peak())
    print(
        f"gemm: one core's peak in fp32 is {top:.0f} GFLOP/s (bf16 may reach twice that, more with "
        "AMX)"
    )
    for r in rows:
        print(
            f"  {'x'.join(map(str, r['shape'])):>13}: fp32 {r['fp32']:.0f} "
            f"({100 * r['fp32'] / top:.0f} %), bf16 {r['bf16']:.0f}, torch's linear "
            f"{r['torch']:.0f}"
        )
    print("written:", harness.record(a.name or "gemm", {"peak": top, "rows": rows}))
