"""segrid.compat.sowlv2 has the names, the results and the files of SOWLv2. SOWLv2's detections come
from transformers here."""

import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from tests import models

PROMPTS = ["red circle", "small blue star"]
LEAST = 0.03  # a threshold for the scores of these random weights


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    with torch.no_grad():
        return models.owlv2.make("small", tmp_path_factory.mktemp("sowlv2"))


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    noise = np.random.default_rng(3).integers(0, 255, (7, 9, 3), dtype=np.uint8)
    path = tmp_path_factory.mktemp("sowlv2-image") / "000012.png"
    Image.fromarray(noise).resize((233, 150), Image.BICUBIC).save(path)
    return path


def theirs(folder, image, prompts, threshold):
    """The steps of SOWLv2's OWLV2Wrapper.detect in their order."""
    from transformers import (
        CLIPTokenizer,
        Owlv2ForObjectDetection,
        Owlv2ImageProcessorPil,
        Owlv2Processor,
    )

    processor = Owlv2Processor(
        Owlv2ImageProcessorPil.from_pretrained(folder), CLIPTokenizer.from_pretrained(folder)
    )
    model = Owlv2ForObjectDetection.from_pretrained(folder).eval()
    pil = Image.open(image).convert("RGB")
    texts = [[f"a photo of {p}" for p in prompts]]
    with torch.no_grad():
        outputs = model(**processor(text=texts, images=pil, return_tensors="pt"))
    found = processor.post_process_grounded_object_detection(
        outputs=outputs,
        target_sizes=torch.tensor([pil.size[::-1]]),
        threshold=threshold,
        text_labels=texts,
    )[0]
    return [
        {"box": box.tolist(), "score": score.item(), "label": label, "core_prompt": prompts[i]}
        for box, score, label, i in zip(
            found["boxes"], found["scores"], found["text_labels"], found["labels"], strict=True
        )
    ]


def same(ours, wanted):
    assert [(o["label"], o["core_prompt"]) for o in ours] == [
        (w["label"], w["core_prompt"]) for w in wanted
    ]
    np.testing.assert_allclose([o["score"] for o in ours], [w["score"] for w in wanted], atol=1e-5)
    np.testing.assert_allclose([o["box"] for o in ours], [w["box"] for w in wanted], atol=0.05)


def test_detection(folder, image):
    from segrid.compat.sowlv2.models import OWLV2Wrapper
    from segrid.compat.sowlv2.optimizations.parallel_processor import (
        ParallelConfig,
        ParallelDetectionProcessor,
    )

    owl = OWLV2Wrapper(str(folder), device="cpu")
    wanted = theirs(folder, image, PROMPTS, LEAST)
    assert len(wanted) > 3, "vacuous"
    same(owl.detect(image=Image.open(image), prompt=PROMPTS, threshold=LEAST), wanted)
    same(
        owl.detect(image=Image.open(image), prompt=PROMPTS[0], threshold=LEAST),
        theirs(folder, image, PROMPTS[:1], LEAST),
    )
    config = ParallelConfig(max_workers=4, batch_size=8, use_gpu_batching=True, thread_pool_size=16)
    results = ParallelDetectionProcessor(owl, None, config).detect_multiple_prompts_parallel(
        Image.open(image), PROMPTS, LEAST
    )
    assert [(r.prompt, r.prompt_idx) for r in results] == [(p, i) for i, p in enumerate(PROMPTS)]
    for result in results:
        same(result.detections, theirs(folder, image, [result.prompt], LEAST))


def test_the_tree_of_files(folder, image, tiny, tmp_path):
    from segrid.compat.sowlv2.data.config import PipelineBaseData
    from segrid.compat.sowlv2.optimizations import SOWLv2Pipeline
    from segrid.compat.sowlv2.optimizations.optimized_pipeline import OptimizedSOWLv2Pipeline
    from segrid.compat.sowlv2.optimizations.parallel_processor import ParallelConfig

    assert SOWLv2Pipeline is OptimizedSOWLv2Pipeline
    pipeline = OptimizedSOWLv2Pipeline(
        PipelineBaseData(
            owl_model=str(folder),
            sam_model=tiny,
            threshold=LEAST,
            device="cpu",
            compile_models=True,
        ),
        ParallelConfig(),
    )
    pipeline.process_image(str(image), PROMPTS, str(tmp_path))
    wanted = [d for p in PROMPTS for d in theirs(folder, image, [p], LEAST)]
    names = [f"000012_obj{i}_{d['core_prompt'].replace(' ', '_')}" for i, d in enumerate(wanted)]
    found = sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file())
    assert found == sorted(
        [f"binary/frames/{n}_mask.png" for n in names]
        + [f"overlay/frames/{n}_overlay.png" for n in names]
        + ["binary/merged/000012_merged_mask.png", "overlay/merged/000012_merged_overlay.png"]
    )
    pixels = np.array(Image.open(image))
    masks = tiny.predict(pixels, boxes=[d["box"] for d in wanted], anywhere=True).array
    together = np.zeros(pixels.shape[:2], bool)
    colours = {PROMPTS[0]: (255, 0, 0), PROMPTS[1]: (0, 255, 0)}
    for name, detection, mask in zip(names, wanted, masks, strict=True):
        binary = np.array(Image.open(tmp_path / f"binary/frames/{name}_mask.png"))
        assert binary.dtype == np.uint8 and set(np.unique(binary)) <= {0, 255}
        assert ((binary > 0) != mask).mean() < 1e-3  # Boxes are equal to about 1e-5.
        overlay = np.array(Image.open(tmp_path / f"overlay/frames/{name}_overlay.png"))
        inside = binary > 0
        np.testing.assert_array_equal(overlay[~inside], pixels[~inside])
        np.testing.assert_array_equal(
            overlay[inside],
            (
                0.5 * pixels[inside] + 0.5 * np.array(colours[detection["core_prompt"]], np.uint8)
            ).astype(np.uint8),
        )
        together |= inside
    np.testing.assert_array_equal(
        np.array(Image.open(tmp_path / "binary/merged/000012_merged_mask.png")) > 0, together
    )


def test_flags_frames_and_nothing_found(folder, image, tiny, tmp_path, capsys):
    from segrid.compat.sowlv2 import PipelineBaseData, PipelineConfig, SOWLv2Pipeline

    def run(out, threshold=LEAST, **flags):
        config = PipelineBaseData(
            str(folder), tiny, threshold, pipeline_config=PipelineConfig(**flags)
        )
        SOWLv2Pipeline(config).process_frames(str(image.parent), PROMPTS[0], str(tmp_path / out))
        return {
            str(p.relative_to(tmp_path / out / "000012"))
            for p in (tmp_path / out).rglob("*")
            if p.is_dir() and p != tmp_path / out / "000012"
        }

    assert run("all") == {
        "binary",
        "binary/frames",
        "binary/merged",
        "overlay",
        "overlay/frames",
        "overlay/merged",
    }
    assert run("no-merged", merged=False) == {
        "binary",
        "binary/frames",
        "overlay",
        "overlay/frames",
    }
    assert run("no-overlay", overlay=False) == {"binary", "binary/frames", "binary/merged"}
    assert run("none", threshold=1.0) == set()
    assert "No objects detected for prompt(s) 'red circle'" in capsys.readouterr().out
    with pytest.raises(NotImplementedError, match="memory"):
        SOWLv2Pipeline(PipelineBaseData(str(folder), tiny)).process_video(
            "a.mp4", "x", str(tmp_path)
        )


def test_helpers(tmp_path, capsys):
    from segrid.compat.sowlv2.optimizations import (
        GPUOptimizer,
        ParallelFrameProcessor,
        StreamedProcessing,
    )

    gpu = GPUOptimizer("cpu")
    layer = gpu.optimize_model_for_inference(torch.nn.Linear(3, 2))
    assert not layer.training and not layer.weight.requires_grad and 0 < gpu.memory_fraction <= 1
    inputs = [torch.randn(3) for _ in range(5)]
    with gpu.autocast_context():
        outputs = gpu.batch_inference(layer, inputs, batch_size=2)
    torch.testing.assert_close(torch.stack(outputs), layer(torch.stack(inputs)))
    assert isinstance(gpu.profile_gpu_memory(), dict)
    gpu.clear_cache()
    if not torch.cuda.is_available():
        GPUOptimizer("cuda")
        assert "no CUDA device" in capsys.readouterr().out
    assert StreamedProcessing(num_streams=2).process_with_streams(
        lambda x, y: x * y, [1, 2, 3], 4
    ) == [4, 8, 12]

    def work(path, factor):
        if path == "bad":
            raise ValueError("no")
        return len(path) * factor

    assert ParallelFrameProcessor().process_frames_parallel(["a", "bad", "ccc"], work, 2) == [
        2,
        None,
        6,
    ]
    assert "Error processing frame 1: no" in capsys.readouterr().out


def test_command(folder, image, tmp_path):
    settings = tmp_path / "settings.yaml"
    settings.write_text(
        f"prompt: red circle\nowl-model: {folder}\nsam-model: tiny\nthreshold: {LEAST}\n"
    )
    from segrid.compat.sowlv2.cli import main, parse_args

    args = parse_args(
        [
            "--config",
            str(settings),
            "--input",
            "x",
            "--threshold",
            "0.2",
            "--no-binary",
            "--fps",
            "12",
        ]
    )
    assert (
        args.prompt == ["red circle"]
        and args.threshold == 0.2
        and args.owl_model == str(folder)
        and not args.binary
        and args.merged
        and args.fps == 12
    )
    assert (
        main(
            [
                "--config",
                str(settings),
                "--input",
                str(image),
                "--output",
                str(tmp_path / "out"),
                "--no-overlay",
            ]
        )
        == 0
    )
    assert (
        len(list((tmp_path / "out/binary/frames").iterdir())) > 0
        and not (tmp_path / "out/overlay").exists()
    )
    assert main(["--config", str(settings), "--input", str(tmp_path / "missing.png")]) == 1
    settings.write_text("- nonsense")
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; from segrid.compat.sowlv2.cli import main; sys.exit(main())",
            "--config",
            str(settings),
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2 and "must hold options" in done.stderr


def test_memory_of_a_gpu_counts_the_engines(monkeypatch):
    """torch gives zeros until its Python part is initialised, and the engine does not need that."""
    from segrid.compat.sowlv2.optimizations import GPUOptimizer

    ready = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "init", lambda: ready.append(True))
    gib = 1024**3
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda: 2 * gib if ready else 0)
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda: 3 * gib if ready else 0)
    monkeypatch.setattr(
        torch.cuda, "get_device_properties", lambda _: SimpleNamespace(total_memory=8 * gib)
    )
    found = GPUOptimizer.profile_gpu_memory()
    assert found == {"allocated": 2.0, "reserved": 3.0, "free": 5.0}
