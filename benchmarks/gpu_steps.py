"""The steps of benchmarks.gpu, those of most worth first: what each runs, and how long it may take.

Each benchmark stands here with two settings: the one to measure on a GPU, and a small one that the
rehearsal runs on the CPU to show that nothing is missing."""

import importlib.util
import os
import shutil
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path

# Where the tests are that are marked `cuda`, and those that ask which devices are there;
# tests/test_gpu_check.py compares.
CUDA_TESTS = (
    "tests/parity",
    "tests/contract/test_device_results.py",
    "tests/contract/test_device_graphs.py",
    "tests/contract/test_image_batches.py",
    "tests/masks/test_regions.py",
    "tests/video/test_session_rules.py",
)
DEVICE_TESTS = "tests/contract/test_device.py"
FASTEST = ("--precision", "fp16")
SLOWER = 8


@dataclass(frozen=True)
class Target:
    """Where the steps run.

    device : of the benchmarks, as segrid names it
    small : whether with the small settings
    out : the folder of what comes back
    pack : the folder that scripts/gpu_pack.sh has filled"""

    device: str
    small: bool
    out: Path
    pack: Path

    @property
    def data(self):
        """The folder of the training sets: the one that was taken along, or the one beside the
        checkout."""
        taken = self.pack / "data"
        return taken if taken.is_dir() else Path(__file__).parents[2] / "shared/data"


@dataclass(frozen=True)
class Step:
    """limit : seconds. needs : steps without which this one is not started, where they were run."""

    name: str
    limit: int
    command: list[str]
    needs: tuple[str, ...] = ("build",)
    environ: dict[str, str] = field(default_factory=dict)


def steps_for(target):
    """All steps in their order. Two busy cores get more time than the machine with a GPU."""
    steps = [*_preparations(), *_tests(target), *_benchmarks(target)]
    return [replace(s, limit=SLOWER * s.limit) for s in steps] if target.small else steps


def _preparations():
    lines = "nproc; free -m; c++ --version; cmake --version; "
    if shutil.which("nvidia-smi"):
        lines += "nvidia-smi; "
    machine = lines + f"{sys.executable} -m pip list"
    build, python = "scripts/gpu_build.sh", {"PYTHON": sys.executable}
    return [
        Step("machine", 20, ["bash", "-c", machine], needs=()),
        Step("configure", 40, ["bash", build, "configure"], needs=(), environ=python),
        Step("build", 200, ["bash", build], needs=("configure",), environ=python),
    ]


def _python(*arguments):
    return [sys.executable, "-m", *map(str, arguments)]


def _tests(target):
    pytest = ("pytest", "-p", "no:cacheprovider", "-q")
    workers = ("-n", "8") if importlib.util.find_spec("xdist") else ()
    chosen = (*CUDA_TESTS, "-m", "cuda", *workers)
    if target.small:  # without a GPU those tests are skipped
        chosen = ("tests/contract/test_device_results.py", "-k", "by_the_batch and cpu-plain")
    # The tests' originals run on the CPU, in eight processes at once.
    threads = {"SEGRID_THREADS": "2", "OMP_NUM_THREADS": "2"}
    tests = _python(*pytest, *chosen, "--durations=10")
    return [
        Step("minimal", 60, _python(*pytest, "tests/test_minimal.py")),
        Step("tests", 120, tests, environ=threads),
        Step("devices", 40, _python(*pytest, DEVICE_TESTS, "-k", "absent or auto_takes or cuda")),
    ]


def _benchmarks(target):
    """Each: name, limit, the problem with its options, those on a GPU, those of the rehearsal."""
    sam, sam2 = ("--model", "vit_b"), ("--model", "sam2.1_hiera_t")
    tiny = ("--model", "tiny", "--size", "300", "200")
    grid, repeats = ("--points", "4"), ("--repeat", "5")
    once = ("--repeat", "1")
    few = ("--boxes", "6", "--batches", "4")
    count = ("--count", "2")
    peers = ("--subjects", "segrid", "segment_anything")
    peers2 = ("--subjects", "segrid", "sam2")
    compiled = ("--subjects", "segrid", "segment_anything_compiled")
    table = [
        ("everything-vit_b", 60, "everything", (*sam, *peers, *repeats), (*tiny, *grid, *once)),
        ("everything-sam2", 60, "everything", (*sam2, *peers2, *repeats), (*tiny, *grid, *once)),
        ("batches-vit_b", 60, "batches", (*sam, *peers), (*tiny, *few)),
        ("batches-memory", 60, "batches", (*sam, *peers, "--memory-gb", "3"), None),
        ("profile-everything", 45, "profile", sam, (*tiny, *grid)),
        ("detect", 60, "detect", once, None),
        ("profile-everything-sam2", 45, "profile", sam2, None),
        ("profile-boxes", 45, "profile", ("--call", "boxes", *sam), ("--call", "boxes", *tiny)),
        ("profile-detect", 45, "profile", ("--call", "detect", "--model", "owlv2-base"), None),
        ("batches-sam2", 60, "batches", (*sam2, *peers2), None),
        ("folder", 60, "folder", ("--count", "200", *once), (*count, *grid, *once)),
        ("profile-video", 60, "profile", ("--call", "video"), None),
        ("compiled-vit_b", 90, "everything", (*sam, *compiled, *repeats), None),
    ]
    steps = []
    for name, limit, problem, on_gpu, small in table:
        options = small if target.small else on_gpu
        if options is None:  # its model is too large for a rehearsal, and its program is tested
            continue
        if problem == "folder":
            options = (*options, "--subjects", "folder_stream")
        threads = 2 if target.small else min(16, os.cpu_count())
        options = (*options, *FASTEST, "--device", target.device, "--threads", str(threads))
        if name.startswith("compiled"):
            options = (*options, "--name", f"compiled-vit_b-{target.device}")
        steps.append(Step(name, limit, _python("benchmarks.run", problem, *options)))
    steps.append(_without_graphs(next(s for s in steps if s.name == "batches-vit_b"), target))
    video = ("video", "--device", target.device, "--frames", "12")
    if not target.small:
        command = _python("benchmarks.run", *video, "--subjects", "segrid", "sam2")
        steps.append(Step("video", 120, command))
    return _with_prices(steps, target)


def _without_graphs(step, target):
    """The same once more, to show what graphs are worth."""
    name = f"batches-without-graphs-{target.device}"
    command = [*step.command, "--name", name]
    return replace(
        step, name="batches-without-graphs", command=command, environ={"SEGRID_GRAPHS": "0"}
    )


def _with_prices(steps, target):
    """The steps, with the prices of low precisions after the first benchmarks."""
    folder = Path("python/segrid/models")
    frames, scenes, count = (1, 1, 2) if target.small else (36, 96, 100)
    # cpu-plain would take many minutes for the grids of the rehearsal's pictures.
    device = "cpu" if target.small else target.device
    shared = ("--data", target.data, "--device", device)
    sizes = ("--frames", frames, "--scenes", scenes)
    tiny = _python("training.price", folder / "tiny", *sizes, *shared)
    detector = ("training.detector.price", folder / "tiny-detector", "--count", count)
    prices = [
        Step("price-tiny", 60, tiny),
        Step("price-detector", 60, _python(*detector, *shared)),
    ]
    place = min(5, len(steps))
    return [*steps[:place], *prices, *steps[place:]]
