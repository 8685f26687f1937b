"""The zero-shot-object-detection pipeline of segrid.compat.transformers gives what transformers'
own pipeline gives on equal weights."""

import base64

import numpy as np
import pytest
import torch
from PIL import Image

from tests import models

LABELS = ["a red circle", "the small blue star", "nuclei"]


@pytest.fixture(scope="module", params=["small", "owlvit"])
def both(request, tmp_path_factory):
    """(our pipeline, transformers' pipeline)."""
    import transformers
    from segrid.compat.transformers import pipeline

    with torch.no_grad():
        folder = models.owlv2.make(
            request.param, tmp_path_factory.mktemp(f"zero-shot-{request.param}")
        )
    kind = {"small": "Owlv2", "owlvit": "OwlViT"}[request.param]
    theirs = transformers.pipeline(
        "zero-shot-object-detection",
        model=getattr(transformers, f"{kind}ForObjectDetection").from_pretrained(folder),
        tokenizer=transformers.CLIPTokenizer.from_pretrained(folder),
        image_processor=getattr(transformers, f"{kind}ImageProcessorPil").from_pretrained(folder),
    )
    return pipeline("zero-shot-object-detection", model=folder), theirs


def picture(seed=3, size=(233, 150)):
    noise = np.random.default_rng(seed).integers(0, 255, (7, 9, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize(size, Image.BICUBIC)


def same(ours, theirs):
    assert len(ours) == len(theirs) > 3, "vacuous"
    assert [set(o) for o in ours] == [set(t) for t in theirs]
    np.testing.assert_allclose([o["score"] for o in ours], [t["score"] for t in theirs], atol=1e-5)
    # Records whose scores differ in the last bits may change places, so both lists are sorted
    # first.
    pairs = zip(sorted(ours, key=key), sorted(theirs, key=key), strict=True)
    for o, t in pairs:
        assert o["label"] == t["label"]
        for name, value in t["box"].items():
            # A coordinate next to a whole number may be rounded to either side.
            assert type(o["box"][name]) is int and abs(o["box"][name] - value) <= 1
    exact = [o["box"] == t["box"] for o, t in zip(ours, theirs, strict=True)]
    assert np.mean(exact) > 0.9


def key(record):
    return record["label"], round(record["score"], 4), record["box"]["xmin"]


@pytest.mark.parametrize(
    ("least", "options"),
    [(6, {}), (8, {"top_k": 7}), (None, {})],
    ids=["threshold", "top_k", "its own threshold"],
)
def test_one_image(both, cut, least, options):
    if least is not None:
        options = options | {
            "threshold": cut(
                [r["score"] for r in both[0](picture(), candidate_labels=LABELS, threshold=0)],
                least,
            )
        }
    ours, theirs = (p(picture(), candidate_labels=LABELS, **options) for p in both)
    same(ours, theirs)


def test_forms_of_input(both, tmp_path):
    ours, theirs = both
    picture().save(tmp_path / "a.png")
    path = str(tmp_path / "a.png")
    text = base64.b64encode((tmp_path / "a.png").read_bytes()).decode()
    records = [
        {"image": path, "candidate_labels": LABELS},
        {"image": path, "candidate_labels": LABELS[:1]},
    ]
    for image, labels in (
        (path, LABELS),
        (text, LABELS),
        (path, ",".join(LABELS)),
        ([picture(), picture(5)], LABELS),
        ([picture(), picture(5)], [LABELS, LABELS[:1]]),
    ):
        mine = ours(image, candidate_labels=labels, threshold=0.001)
        other = theirs(image, candidate_labels=labels, threshold=0.001)
        for one, two in (
            zip(mine, other, strict=True) if isinstance(image, list) else [(mine, other)]
        ):
            same(one, two)
    for mine, other in zip(
        ours(records, threshold=0.001), theirs(records, threshold=0.001), strict=True
    ):
        same(mine, other)
    same(list(ours(iter(records), threshold=0.001))[0], theirs(records[0], threshold=0.001))
    same(
        ours(path, text_queries=LABELS, threshold=0.001),
        theirs(path, text_queries=LABELS, threshold=0.001),
    )


def test_errors(both):
    for pipe in both:
        with pytest.raises(
            ValueError, match="must be a string, a flat list of strings, or per-image label lists"
        ):
            pipe([picture()], candidate_labels=[["a"], "b"])
        with pytest.raises(ValueError, match="Got 1 images but 2 candidate label lists"):
            pipe([picture()], candidate_labels=[["a"], ["b"]])


def test_a_transformers_model(both):
    from segrid.compat.transformers import pipeline

    ours, theirs = both
    with pytest.raises(ValueError, match="tokenizer"):
        pipeline("zero-shot-object-detection", model=theirs.model)
    copied = pipeline(
        "zero-shot-object-detection", model=theirs.model, tokenizer=theirs.tokenizer, threshold=0.3
    )
    assert copied(picture(), candidate_labels=LABELS) == ours(
        picture(), candidate_labels=LABELS, threshold=0.3
    )
    half = pipeline("zero-shot-object-detection", model=ours.detector)
    assert half.detector is ours.detector


def test_datasets_and_attributes(both):
    ours, theirs = both

    class Records(torch.utils.data.Dataset):
        def __len__(self):
            return 2

        def __getitem__(self, i):
            if i >= 2:
                raise IndexError(i)
            return {"image": picture(3 + 2 * i), "candidate_labels": LABELS[: 1 + i]}

    answers = [list(p(Records(), threshold=0.001)) for p in both]
    assert len(ours(Records())) == len(answers[0]) == 2
    for mine, other in zip(*answers, strict=True):
        same(mine, other)
    photos = ours([picture(), picture(5)], candidate_labels=LABELS, threshold=0.001)
    for mine, other in zip(
        ours((picture(seed) for seed in (3, 5)), candidate_labels=LABELS, threshold=0.001),
        photos,
        strict=True,
    ):
        assert mine == other
    assert (
        ours.task == theirs.task
        and ours.device == theirs.device
        and ours.model.config.model_type == theirs.model.config.model_type
    )
    assert (
        ours.tokenizer("a red circle")["input_ids"] == theirs.tokenizer("a red circle")["input_ids"]
    )
    assert ours.image_processor.size == theirs.image_processor.size
