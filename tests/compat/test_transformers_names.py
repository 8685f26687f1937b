"""segrid.compat.transformers: which names, tasks, models and arguments are segrid's, and which are
passed on to transformers."""

import inspect
import json
import logging
import sys

import numpy as np
import pytest
import segrid
import torch
import transformers
from PIL import Image
from segrid.compat.transformers import pipeline
from segrid.compat.transformers.base import is_stream
from segrid.compat.transformers.loading import device_of

from tests import models


@pytest.fixture(scope="module")
def classifier():
    """Arguments of a pipeline of another task."""
    config = transformers.ViTConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        image_size=32,
        patch_size=8,
    )
    processor = transformers.ViTImageProcessorPil(size={"height": 32, "width": 32})
    return dict(
        model=transformers.ViTForImageClassification(config).eval(), image_processor=processor
    )


@pytest.fixture
def theirs(monkeypatch):
    """The arguments with which transformers.pipeline was called."""
    calls = []

    def original(name):
        assert name == "pipeline"
        return lambda *arguments, **named: calls.append((arguments, named)) or "theirs"

    monkeypatch.setattr("segrid.compat.transformers.pipelines.original", original)
    return calls


def test_other_names_are_transformers_own():
    from segrid.compat.transformers import (
        AutoProcessor,
        MaskGenerationPipeline,
        SamModel,
        SamProcessor,
    )
    from segrid.compat.transformers import pipelines as ours

    assert (SamModel, SamProcessor, AutoProcessor) == (
        transformers.SamModel,
        transformers.SamProcessor,
        transformers.AutoProcessor,
    )
    assert (
        ours.pipeline is pipeline
        and ours.MaskGenerationPipeline
        is MaskGenerationPipeline
        is not transformers.MaskGenerationPipeline
    )
    assert ours.ImageClassificationPipeline is transformers.ImageClassificationPipeline
    with pytest.raises(ImportError, match="NoSuchThing"):
        from segrid.compat.transformers import NoSuchThing  # noqa: F401


def test_without_transformers(monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "transformers"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(
        ImportError, match=r"SamModel is transformers' own.*pip install transformers"
    ):
        from segrid.compat.transformers import SamModel  # noqa: F401
    with pytest.raises(ImportError, match=r"pip install transformers"):
        pipeline("text-classification", model="owner/name")
    generate = pipeline("mask-generation", "tiny")
    assert set(generate(np.zeros((20, 30, 3), np.uint8), points_per_crop=2)) == {"masks", "scores"}
    with pytest.raises(ImportError, match=r"AutoConfig.*pip install transformers"):
        _ = generate.model.config


def test_the_signature_is_the_originals():
    mine, original = (
        inspect.signature(f).parameters.values() for f in (pipeline, transformers.pipeline)
    )
    assert [(p.name, p.kind, p.default) for p in mine] == [
        (p.name, p.kind, p.default) for p in original
    ]


def test_other_tasks_pass_through(classifier):
    photo = Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 50, 3), dtype=np.uint8))
    mine, original = (
        p("image-classification", **classifier, top_k=2)(photo)
        for p in (pipeline, transformers.pipeline)
    )
    assert mine == original and len(mine) == 2


def test_all_arguments_pass_through(theirs, classifier, tmp_path):
    dino = {"model_type": "grounding-dino"}
    (tmp_path / "config.json").write_text(json.dumps(dino))
    for arguments in (
        dict(
            task="image-classification",
            **classifier,
            device="cpu",
            torch_dtype=torch.float16,
            function_to_apply="none",
        ),
        dict(
            task="text-generation",
            model="owner/name",
            revision="main",
            model_kwargs={"cache_dir": "x"},
            device_map="auto",
        ),
        dict(task="zero-shot-object-detection", model=str(tmp_path), threshold=0.3),
        dict(
            task="mask-generation", model="tiny", pipeline_class=transformers.MaskGenerationPipeline
        ),
        dict(task="depth-estimation"),
    ):
        assert pipeline(**arguments) == "theirs"
        task, given = arguments.pop("task"), theirs.pop()
        assert given == ((task,), arguments) and not theirs


def test_models_that_segrid_lacks_are_named(theirs, tmp_path, caplog):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "grounding-dino"}))
    with caplog.at_level(logging.WARNING):
        pipeline("zero-shot-object-detection", str(tmp_path))
    assert "grounding-dino" in caplog.text


def test_the_task_is_told_from_the_model(tmp_path):
    with torch.no_grad():
        folder = models.owlv2.make("small", tmp_path)
    for model, task in (
        ("tiny", "mask-generation"),
        (segrid.Segmenter("tiny"), "mask-generation"),
        (folder, "zero-shot-object-detection"),
        (str(folder), "zero-shot-object-detection"),
        (segrid.Detector(folder), "zero-shot-object-detection"),
    ):
        assert pipeline(model=model).task == task
    with pytest.raises(RuntimeError, match="without either a task or a model"):
        pipeline()


def test_the_model_is_the_originals_default(monkeypatch):
    """The revision of the default model goes with its id."""
    asked = []

    def refuse(model):
        asked.append(model)
        raise FileNotFoundError(model)

    monkeypatch.setattr("segrid._hub.locate", refuse)
    monkeypatch.setattr(
        "segrid.compat.transformers.pipelines._config_from_hub", lambda model, revision: None
    )
    defaults = {
        task: transformers.pipelines.SUPPORTED_TASKS[task]["default"]["model"][0]
        for task in ("mask-generation", "zero-shot-object-detection")
    }
    for task, default in defaults.items():
        for model, wanted in ((None, default), ("owner/name", "owner/name@v2")):
            with pytest.raises(FileNotFoundError, match=wanted):
                pipeline(task, model, revision=None if model is None else "v2")
    assert len(asked) == 4


@pytest.mark.parametrize(
    "options, precision",
    [
        ({}, "fp32"),
        (dict(dtype=torch.float16), "fp32"),
        (dict(torch_dtype="float16"), "fp32"),
        (dict(model_kwargs={"torch_dtype": torch.float32}), "fp32"),
        (dict(dtype="auto"), "fp32"),
    ],
)
def test_types_that_a_cpu_lacks_run_in_fp32(options, precision):
    generate = pipeline("mask-generation", "tiny", device="cpu", **options)
    assert (
        generate.segmenter.precision == precision
        and generate.dtype == generate.model.dtype == torch.float32
    )


def test_bfloat16_where_the_cpu_has_it():
    try:
        wanted = segrid.Segmenter("tiny", precision="bf16", device="cpu").precision
    except NotImplementedError:
        wanted = "fp32"
    assert (
        pipeline(
            "mask-generation", "tiny", device="cpu", model_kwargs={"torch_dtype": torch.bfloat16}
        ).segmenter.precision
        == wanted
    )


@pytest.mark.skipif(torch.cuda.is_available(), reason="of machines without a GPU")
@pytest.mark.parametrize(
    "options",
    [
        dict(device=0),
        dict(device=-1),
        dict(device=torch.device("cpu")),
        dict(device_map="auto"),
        dict(device_map={"": "cpu"}),
        dict(device_map="cpu"),
    ],
)
def test_devices(options, classifier):
    original = transformers.pipeline(
        "image-classification", **classifier, **{k: v for k, v in options.items() if k == "device"}
    )
    assert pipeline("mask-generation", "tiny", **options).device == original.device
    assert device_of(None) == "auto" and device_of(0) == device_of(-1) == "cpu"


class Stack:
    """Many images in one file, like an array of h5py or zarr: with a shape, a length, and items by
    number."""

    def __init__(self, images):
        self._images, self.shape, self.dtype = images, images.shape, images.dtype

    def __len__(self):
        return len(self._images)

    def __getitem__(self, i):
        return self._images[i]


def test_what_is_one_input_and_what_holds_many():
    images = np.random.default_rng(0).integers(0, 255, (2, 30, 40, 3), dtype=np.uint8)
    assert is_stream(Stack(images)) and is_stream(range(3)) and is_stream(iter([1]))
    for single in (
        images[0],
        torch.zeros(3, 4, 4),
        Image.fromarray(images[0]),
        b"GIF",
        bytearray(b"GIF"),
        memoryview(b"GIF"),
        "a.png",
    ):
        assert not is_stream(single), type(single)
    generate = pipeline("mask-generation", "tiny", device="cpu", points_per_crop=2)
    assert len(list(generate(Stack(images)))) == 2


def test_the_model_of_a_pipeline_cannot_be_set():
    """A model that is set later would not be used, so setting it is an error."""
    generate = pipeline("mask-generation", "tiny", device="cpu")
    with pytest.raises(AttributeError, match="model"):
        generate.model = None
