"""The environment of a result: the CPU or GPU, the versions of packages, and the commit."""

import os
import platform
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

ROOT = Path(__file__).parents[1]
ISA = ("avx2", "avx_vnni", "avx512f", "avx512_bf16", "avx512_vnni", "amx_tile")
# Kinds of processors, best first, by the instruction set that makes the difference.
KINDS = {"avx512-amx": "amx_tile", "avx512": "avx512f", "avx2-vnni": "avx_vnni", "avx2": "avx2"}
PACKAGES = (
    "segrid",
    "torch",
    "segment-anything",
    "sam2",
    "transformers",
    "openvino",
    "onnxruntime",
    "numpy",
)


def cpu():
    """The CPU's model, family and instruction sets, and SEGRID_CPU where it is set."""
    lines = Path("/proc/cpuinfo").read_text().split("\n")

    def field(name):
        return next(line.partition(": ")[2] for line in lines if line.startswith(name))

    flags = field("flags").split()
    masked = {"SEGRID_CPU": os.environ["SEGRID_CPU"]} if os.environ.get("SEGRID_CPU") else {}
    return {
        "model": field("model name"),
        "family": field("cpu family"),
        "isa": [f for f in ISA if f in flags],
        **masked,
    }


def kind(processor):
    """The kind of a processor as `cpu` describes it: a key of KINDS. With SEGRID_CPU: its level."""
    if "SEGRID_CPU" in processor:
        return f"as-{processor['SEGRID_CPU']}"
    return next((name for name, isa in KINDS.items() if isa in processor["isa"]), "plain")


def processor(device, threads):
    """The processor of a run in words: the CPU's number of threads, or the name of the GPU."""
    import torch

    if torch.device(device.removesuffix("-plain")).type == "cpu":
        plain = " of the plain definitions" if device == "cpu-plain" else ""
        return f"{threads} threads{plain}"
    return torch.cuda.get_device_name(device)


def device_suffix(device):
    """The part of a result file's name that names the device; empty for the CPU."""
    return "" if device == "cpu" else "-" + device.replace(":", "-")


def versions():
    """The versions of Python and of the packages that are installed."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            pass
    return found


def commit():
    """The commit that was measured, with "-dirty" where the code differs from it. Results, and the
    pages that are written from them, do not count as code."""

    def git(*arguments):
        if shutil.which("git") is None:
            return ""
        return subprocess.run(
            ["git", *arguments], cwd=ROOT, capture_output=True, text=True
        ).stdout.strip()

    changed = git(
        "status", "--porcelain", "--", ".", ":!benchmarks/results", ":!README.md", ":!docs"
    )
    described = git("describe", "--always")
    if described:
        return described + ("-dirty" if changed else "")
    packed = ROOT / ".gpu/commit"  # A copy without history has what scripts/gpu_pack.sh wrote.
    return packed.read_text().strip() if packed.exists() else "unknown"
