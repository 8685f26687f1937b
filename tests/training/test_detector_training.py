"""The making of the tiny detector: words, scenes, a few steps of training, export."""

import hashlib
import json

import numpy as np
import pytest
import segrid
import torch
from safetensors.torch import load_file

pytest.importorskip("transformers")

from training.detector import tokens, words  # noqa: E402
from training.detector.export import export  # noqa: E402
from training.detector.scenes import Source, boxes_of, shapes  # noqa: E402
from training.detector.train import parser, sample, train  # noqa: E402
from training.detector.words import Query, Thing  # noqa: E402


@pytest.mark.parametrize(
    "query,thing,answer",
    [
        (Query("circle", "red"), Thing("circle", "red", "small"), True),
        (Query("circle", "red"), Thing("circle", "blue"), False),
        (Query("circle"), Thing("circle", None), True),
        (Query(None, "red"), Thing("star", "red"), True),
        (Query("object"), Thing("other", None), True),
        (Query("circle", None, "small"), Thing("circle", "red", None), None),
        (Query("circle", None, "large"), Thing("circle", "red", "small"), False),
        (Query("nucleus"), Thing("nucleus"), True),
        (Query("nucleus"), Thing("circle", "red"), False),
        (Query("circle"), Thing("nucleus"), None),
        (Query("star"), Thing("nucleus"), False),
        (Query(other="cat"), Thing("circle", "red"), False),
        (Query(other="cat", colour="red"), Thing("circle", "red"), False),
    ],
)
def test_what_a_question_means(query, thing, answer):
    assert query.matches(thing) is answer


def test_wordings():
    rng = np.random.default_rng(0)
    said = {words.phrase(rng, Query("circle", "red")).lower() for _ in range(300)}
    assert {"red circle", "a photo of a red circle", "all red circles"} <= said and len(said) > 25
    assert all("red" in s and any(w in s for w in ("circle", "disc", "ball")) for s in said)
    assert any("an orange" in words.phrase(rng, Query("star", "orange")) for _ in range(50))
    assert {words.phrase(rng, Query("nucleus")) for _ in range(300)} >= {
        "nuclei",
        "nucleus",
        "all the nuclei",
    }
    kept = {w for i, w in enumerate(words.OTHERS) if i % 5 == 0}
    assert (
        not any(words.other(rng) in kept for _ in range(500))
        and words.other(rng, kept_out=True) in kept
    )
    assert len(set(words.OTHERS)) == len(words.OTHERS) and not set(words.OTHERS) & {
        *words.COLOURS,
        *words.SHAPES,
    }


def test_every_known_word_is_a_token(tmp_path):
    tokenizer = tokens.build(tmp_path)  # It raises where a word is not one token.
    written = (tmp_path / "vocab.json").stat().st_mtime_ns
    tokens.build(tmp_path)
    # Training continues with this file.
    assert (tmp_path / "vocab.json").stat().st_mtime_ns == written
    # The tokenizer is the same in every process.
    assert hashlib.sha256((tmp_path / "merges.txt").read_bytes()).hexdigest()[:12] == "c6b2695518cc"
    assert all(
        tokens.build(tmp_path / str(i)).get_vocab() == tokenizer.get_vocab() for i in range(3)
    )
    assert (
        len(tokenizer) < 1500
        and tokenizer("!").input_ids[1:-1] != []
        and max(tokenizer("a zeppelin").input_ids) == tokenizer.eos_token_id
    )


@pytest.mark.parametrize("seed", range(8))
def test_scenes_are_functions_of_their_seed(seed):
    masks, again = [], []
    image, things = shapes(np.random.default_rng(seed), 160, plain=True, masks=masks)
    same, _ = shapes(np.random.default_rng(seed), 160, plain=True, masks=again)
    assert np.array_equal(image, same) and max(image.shape[:2]) == 160
    for (_, box), mask in zip(things, masks, strict=True):
        ys, xs = np.nonzero(mask)
        np.testing.assert_allclose(box, [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1], atol=1.6)


def test_boxes_of_labels():
    labels = np.zeros((30, 40), np.uint16)
    labels[2:12, 5:30], labels[20:25, 1:4] = 3, 9
    assert [box.tolist() for _, box in boxes_of(labels)] == [
        [5, 2, 30, 12],
        [1, 20, 4, 25],
    ] and boxes_of(labels * 0) == []


def test_targets_lie_where_things_are(tmp_path):
    tokenizer = tokens.build(tmp_path)
    pixels, ids, one, many, centre, boxes = sample(
        Source(None, 256), tokenizer, np.random.default_rng(4), 256, 16
    )
    assert (
        pixels.shape == (3, 256, 256)
        and ids.shape == (12, 16)
        and one.shape == many.shape == (256, 12)
    )
    assert centre.sum() > 0 and np.isfinite(boxes[centre]).all() and (many != 0).any()
    at = boxes[centre, :2] * 16
    # This is the patch that holds the centre.
    assert np.array_equal(
        at.astype(int), np.stack([np.flatnonzero(centre) % 16, np.flatnonzero(centre) // 16], 1)
    )
    assert (many[centre] == one[centre]).all()


def test_training_and_export(tmp_path):
    before = torch.get_num_threads()
    torch.set_num_threads(min(2, before))
    options = [
        str(tmp_path / "run"),
        "--workers",
        "0",
        "--fp32",
        "--images",
        "4",
        "--muon-rate",
        "1e-3",
        "--adam-rate",
        "5e-4",
        "--steps",
    ]
    train(parser().parse_args([*options, "8"]))
    last = train(parser().parse_args([*options, "36"]))  # The run continues from the checkpoint.
    torch.set_num_threads(before)
    losses = [
        json.loads(line)["classes"]
        for line in (tmp_path / "run/log.jsonl").read_text().splitlines()
    ]
    assert (
        last["step"] == len(losses) == 36
        and np.isfinite(losses).all()
        and np.mean(losses[-8:]) < 0.7 * np.mean(losses[:8])
    )
    export(tmp_path / "run", tmp_path / "out", None, count=4)
    detector = segrid.Detector(tmp_path / "out", precision="fp32")
    image, _ = shapes(np.random.default_rng(1), 200, plain=True)
    assert len(detector.detect(image, ["a red circle", "nuclei"], threshold=0)) == 256
    again = [str(tmp_path / "again"), "--init", str(tmp_path / "out"), *options[1:], "2"]
    train(parser().parse_args(again))
    name = "owlv2.vision_model.encoder.layers.0.mlp.fc1.weight"
    went_on, exported = (
        load_file(tmp_path / folder / "model.safetensors")[name].float()
        for folder in ("again", "out")
    )
    assert 0 < (went_on - exported).norm() < 0.01 * exported.norm()
    export(tmp_path / "again", tmp_path / "second", None, count=4)
    assert "Trained for 38 steps" in (tmp_path / "second/README.md").read_text()
    assert (tmp_path / "second/vocab.json").read_bytes() == (
        tmp_path / "out/vocab.json"
    ).read_bytes()
    assert (tmp_path / "out/model.safetensors").stat().st_size < 15_000_000 and "red, green" in (
        tmp_path / "out/README.md"
    ).read_text()
