"""The packaged detector: known words, unknown words, its size, and loading it in transformers."""

import sys
from pathlib import Path

import numpy as np
import pytest
import segrid
import torch

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "scripts"))
FOLDER = Path(segrid.__file__).parent / "models/tiny-detector"


@pytest.fixture(scope="module")
def pipeline(tiny):
    return segrid.Pipeline("tiny-detector", tiny)


@pytest.fixture(scope="module")
def scenes():
    """Plain shapes on a plain background: the picture, the things with their boxes, the masks."""
    from training.detector.scenes import shapes

    out = []
    for seed in range(100):
        masks = []
        image, things = shapes(np.random.default_rng((2026, seed)), 480, plain=True, masks=masks)
        out.append((image, things, masks))
    return out


@pytest.fixture(scope="module")
def reached(pipeline, scenes):
    """The mask IoU of the best box of each prompt."""
    reached = []
    for image, things, masks in scenes:
        names = [(t.colour, t.shape) for t, _ in things]
        alone = [i for i, name in enumerate(names) if names.count(name) == 1]
        if not alone:
            continue
        scene = pipeline.detector.encode(image)
        prompts = [f"a photo of a {' '.join(names[i])}" for i in alone]
        boxes = [pipeline.detector.detect(scene, p, threshold=0).boxes[0] for p in prompts]
        found = pipeline(image, boxes=boxes).masks.array
        if not reached:  # In one call, too, but then with a mask for every box.
            best = pipeline(image, prompts[0], threshold=0)[:1]
            assert np.array_equal(best.masks.array[0], found[0])
        for got, i in zip(found, alone, strict=True):
            reached.append((got & masks[i]).sum() / (got | masks[i]).sum())
    assert len(reached) > 200
    return np.array(reached)


def test_plain_shapes_by_their_names(reached):
    """With the true boxes the packaged segmenter reaches little more: 0.915 in the mean, and three
    of four masks above 0.9."""
    assert np.mean(reached) > 0.9, np.mean(reached)
    assert (
        np.median(reached) > 0.93 and np.mean(reached > 0.9) > 0.7 and np.mean(reached < 0.6) < 0.03
    ), (np.median(reached), np.mean(reached > 0.9))


@pytest.mark.xfail(
    strict=True,
    reason="the packaged segmenter gives fewer than that even in the true boxes: "
    "small shapes are its limit",
)
def test_four_of_five_alone(reached):
    assert np.mean(reached > 0.9) > 0.8, np.mean(reached > 0.9)


def test_what_is_not_there_and_what_it_never_saw(pipeline, scenes):
    there, unknown = [], []
    for image, things, _ in scenes[:30]:
        if not things:
            continue
        scene = pipeline.detector.encode(image)
        thing = things[0][0]
        best = [
            pipeline.detector.detect(scene, p, threshold=0).scores[0]
            for p in (f"a {thing.colour} {thing.shape}", "a cat", "zeppelin", "the red telephone")
        ]
        there.append(best[0])
        unknown += best[1:]
    assert np.mean(np.array(there) > 0.1) > 0.85 and np.mean(np.array(unknown) > 0.1) < 0.02, (
        np.mean(np.array(there) > 0.1),
        np.mean(np.array(unknown) > 0.1),
    )


def test_the_demo(pipeline):
    from demo_shapes import draw

    found = pipeline(draw(), ["a red circle", "the yellow star", "a blue square", "a cat"])
    assert set(found.labels) == {"a red circle", "the yellow star", "a blue square"}


def test_transformers_reads_it():
    from demo_shapes import draw
    from transformers import CLIPTokenizer, Owlv2ForObjectDetection, Owlv2ImageProcessorPil

    assert sum(f.stat().st_size for f in FOLDER.iterdir()) < 15_000_000
    image, texts = draw(), ["a red circle", "nuclei"]
    model, info = Owlv2ForObjectDetection.from_pretrained(
        FOLDER, dtype=torch.float32, output_loading_info=True
    )
    assert not info["missing_keys"] and not info["unexpected_keys"]
    ids = CLIPTokenizer.from_pretrained(FOLDER)(
        texts, padding="max_length", max_length=16, truncation=True, return_tensors="pt"
    )
    with torch.no_grad():
        logits = model(
            pixel_values=Owlv2ImageProcessorPil.from_pretrained(FOLDER)(
                image, return_tensors="pt"
            ).pixel_values,
            **ids,
        ).logits[0]
    theirs = np.sort(torch.sigmoid(logits.max(1).values).numpy())[::-1]
    np.testing.assert_allclose(
        segrid.Detector("tiny-detector", precision="fp32").detect(image, texts, threshold=0).scores,
        theirs,
        atol=1e-4,
    )


def test_the_card():
    card = (FOLDER / "README.md").read_text()
    for word in (
        "red, green, blue, yellow, orange, purple, black, white",
        "square, rectangle, triangle, star",
        "nuclei",
        "mask IoU",
    ):
        assert word in card
