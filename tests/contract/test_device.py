"""Where models run: names of devices, batches, moves, errors. What runs on CUDA is tested on the
CPU ("cpu-plain") and on a device that refuses what CUDA refuses ("fake"); marked `cuda`, there,
too."""

import json
import subprocess
import sys
import textwrap
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import segrid
from reference.agreement import same_masks

from benchmarks import random_sam2

GRID = dict(points_per_side=12, pred_iou_thresh=0.5, stability_score_thresh=0.75)


@pytest.fixture(scope="module")
def plain(plain_device):
    return segrid.Segmenter("tiny", device=plain_device, precision="fp32")


@pytest.fixture(scope="module")
def kernels():
    return segrid.Segmenter("tiny", device="cpu", precision="fp32")


@pytest.mark.parametrize(
    "name", ["gpu", "cudax", "cuda:", "cuda:x", "cuda:-1", "cuda:123", "", "CPU", "cpu:0"]
)
def test_unknown_names(name):
    with pytest.raises(ValueError, match="unknown; use 'auto', 'cpu', 'cuda'"):
        segrid.Segmenter("tiny", device=name)


def test_absent_devices_say_why():
    """Faults row 38: torch without CUDA, or without a driver, or with fewer devices."""
    with pytest.raises(
        NotImplementedError, match=r"device='cuda:99': .+; use 'cpu', or install torch with CUDA"
    ):
        segrid.Segmenter("tiny", device="cuda:99")
    with pytest.raises(NotImplementedError, match="mps.*not in this build"):
        segrid.Detector(device="mps")


def test_auto_takes_what_is_there(monkeypatch):
    import torch

    for name in ("cpu", "cpu-plain"):
        monkeypatch.setenv("SEGRID_DEVICE", name)
        assert segrid.Segmenter("tiny").device == name
    monkeypatch.setenv("SEGRID_DEVICE", "gpu")
    with pytest.raises(ValueError, match="SEGRID_DEVICE: device='gpu': unknown"):
        segrid.Segmenter("tiny")
    monkeypatch.delenv("SEGRID_DEVICE")
    assert segrid.Segmenter("tiny").device == ("cuda:0" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize(
    ("device", "precision"), [("cpu", "fp16"), ("cpu-plain", "int8"), ("cpu-plain", "int8-torch")]
)
def test_precisions_that_a_device_lacks(device, precision):
    with pytest.raises(NotImplementedError, match=precision):
        segrid.Segmenter("tiny", device=device, precision=precision)


def test_auto_precision_on_a_device_goes_by_the_table(tmp_path):
    source = segrid.Segmenter("tiny")._files
    for name, file in (("config.json", source.config), ("model.safetensors", source.weights)):
        (tmp_path / name).symlink_to(file)
    good, poor = dict(iou_mean=0.996, iou_min=0.98), dict(iou_mean=0.99, iou_min=0.98)
    for table, expected in (
        ({}, "fp32"),
        ({"bf16": good}, "fp32"),
        ({"bf16": good, "fp16": good}, "fp16"),
        ({"bf16": good, "fp16": poor}, "fp32"),
        ({"int8": dict(iou_mean=0.99, ap50_loss=0.0)}, "fp32"),
    ):
        (tmp_path / "segrid.json").write_text(json.dumps({"precision": table}))
        assert segrid.Segmenter(tmp_path, device="cpu-plain").precision == expected, table


def test_moving():
    cpu = segrid.Segmenter("tiny", device="cpu", precision="fp32", threads=1)
    assert cpu.to("cpu") is cpu
    moved = cpu.to("cpu-plain")
    assert (moved.device, moved.precision) == ("cpu-plain", "fp32") and moved.to(
        "cpu"
    ).device == "cpu"
    with pytest.raises(NotImplementedError):
        cpu.to("cuda:99")


OPTIONS = [
    {},
    dict(multimask=False),
    dict(use_m2m=True, pred_iou_thresh=0.7),
    dict(max_hole_area=30, max_sprinkle_area=30),
    dict(crop_n_layers=1, points_per_side=8),
    dict(candidate_memory=1),
    dict(box_nms_thresh=1.0),
    dict(mask_threshold=1.5),
    dict(min_mask_region_area=40),
]


@pytest.mark.parametrize("options", OPTIONS, ids=lambda o: next(iter(o), "plain"))
def test_everything_gives_what_the_kernels_give(plain, kernels, coins, options):
    call = {**GRID, **options}
    memory = call.pop("candidate_memory", None)
    if memory is None:
        return same_masks(
            plain.everything(coins, **call),
            kernels.everything(coins, **call),
            pixels=2 if not options.get("use_m2m") else 4,
        )
    # runs that were given up are decoded again: an option of the engine
    from segrid._image import to_image

    masks = segrid.Masks(
        plain._engine.everything(
            to_image(coins), {**plain.recommended, **call, "candidate_memory": memory}
        ),
        None,
    )
    same_masks(masks, plain.everything(coins, **call))


def test_prompts_go_by_the_batch(plain, kernels, coins):
    points = np.random.default_rng(0).uniform(5, 295, (40, 1, 2))
    embedding = plain.encode(coins)
    whole = plain.predict(embedding, points=points, multimask=True)
    assert whole.stats["batch_size"] >= 40 and whole.stats["halved"] == 0
    parts = plain.predict(embedding, points=points, multimask=True, batch_size=7)
    assert parts.stats["batch_size"] == 7
    reference = kernels.predict(coins, points=points, multimask=True)
    for masks in (whole, parts):
        same_masks(masks, reference)
        assert (
            np.abs(masks.low_res - reference.low_res).max() < 1e-4 * np.abs(reference.low_res).max()
        )
    filled = dict(points=points, max_hole_area=40, max_sprinkle_area=40, mask_threshold=0.5)
    same_masks(plain.predict(embedding, **filled), kernels.predict(coins, **filled))
    assert (
        plain.predict(embedding, points=points, mask_threshold=0.5).areas
        != plain.predict(embedding, **filled).areas
    ).any(), "vacuous"


def test_prompts_of_every_kind_in_one_batch(tmp_path, coins, plain_device):
    """SAM 2, too: hints, boxes with points, padding; object scores."""
    folder = random_sam2.make("small", tmp_path)
    a, b = (
        segrid.Segmenter(folder, device=device, precision="fp32")
        for device in ("cpu", plain_device)
    )
    rng = np.random.default_rng(1)
    points, boxes = (
        rng.uniform(5, 295, (9, 2, 2)),
        np.tile([20.0, 30, 250, 200], (9, 1)) + rng.uniform(0, 20, (9, 4)),
    )
    labels = rng.integers(-1, 2, (9, 2))
    first = a.predict(coins, points=points, labels=labels, boxes=boxes)
    for call in (
        dict(points=points, labels=labels, boxes=boxes),
        dict(points=points, labels=labels, boxes=boxes, mask_hints=first.low_res, multimask=True),
    ):
        x, y = a.predict(coins, **call), b.predict(coins, **call, batch_size=4)
        assert (
            np.abs(x.low_res - y.low_res).max() < 1e-4 * np.abs(x.low_res).max()
            and np.abs(x.object_scores - y.object_scores).max() < 1e-3
        )
        assert np.abs(x.scores - y.scores).max() < 1e-4 and x.low_res.std() > 0.1


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_an_embedding_is_a_value_there_too(precision, coins, tmp_path, plain_device):
    segmenter = segrid.Segmenter("tiny", device=plain_device, precision=precision)
    embedding = segmenter.encode(coins)
    assert (
        embedding.features.dtype == np.float32
        and embedding == segmenter.encode(coins)
        and hash(embedding) == hash(segmenter.encode(coins))
    )
    embedding.save(tmp_path / "e.npz")
    loaded = segrid.Embedding.load(tmp_path / "e.npz", segmenter)
    assert loaded == embedding
    point = dict(points=[[100, 100]], multimask=True)
    assert np.array_equal(
        segmenter.predict(loaded, **point).low_res, segmenter.predict(embedding, **point).low_res
    )


def test_words_to_masks(plain_device):
    image = np.full((240, 320, 3), 230, np.uint8)
    y, x = np.mgrid[:240, :320]
    image[(y - 120) ** 2 + (x - 90) ** 2 < 50**2] = (210, 30, 40)
    image[80:170, 190:270] = (30, 60, 200)
    found = []
    for device in ("cpu", plain_device):
        pipeline = segrid.Pipeline(
            segrid.Detector(device=device, precision="fp32"),
            segrid.Segmenter("tiny", device=device, precision="fp32"),
        )
        found.append(pipeline(image, ["a red circle", "a blue square"], threshold=0.05))
    assert len(found[0]) == len(found[1]) > 0 and found[0].labels == found[1].labels
    assert (
        np.abs(found[0].boxes - found[1].boxes).max() < 0.05
        and np.abs(found[0].scores - found[1].scores).max() < 1e-4
    )
    assert (found[0].masks.array != found[1].masks.array).sum() <= 4 * len(found[0])


def test_it_can_be_watched_and_stopped(plain, coins):
    seen = []
    masks = plain.everything(coins, **GRID, progress=seen.append)
    assert (
        seen[-1]["done"] == seen[-1]["total"] == 144
        and {"encode", "decode", "filter"} <= {p["stage"] for p in seen}
        and len(masks) > 5
    )
    token = segrid.CancelToken()

    def stop(progress):
        if progress["stage"] == "decode":
            token.cancel()

    with pytest.raises(segrid.Cancelled) as stopped:
        plain.everything(coins, **GRID, progress=stop, cancel=token)
    assert len(stopped.value.partial) == 0  # before the first batch
    token = segrid.CancelToken()

    def stop_later(progress):
        if progress["stage"] == "filter":
            token.cancel()

    with pytest.raises(segrid.Cancelled) as stopped:
        plain.everything(coins, **GRID, progress=stop_later, cancel=token)
    partial = stopped.value.partial
    assert (
        len(partial) >= len(masks)
        and (partial.areas > 0).all()
        and (partial.array.sum((1, 2)) == partial.areas).all()
    )
    token = segrid.CancelToken()
    token.cancel()
    with pytest.raises(segrid.Cancelled), token:
        plain.predict(coins, points=[[50, 50]])


def overflowing(folder, names, factor):
    """The packaged model with some weights so large that activations pass fp16's last number,
    65504."""
    from safetensors.numpy import load_file, save_file

    source = segrid.Segmenter("tiny")._files
    weights = {k: v.astype(np.float32) for k, v in load_file(source.weights).items()}
    for name in names:
        weights[name] *= factor
    save_file(weights, folder / "model.safetensors")
    (folder / "config.json").write_bytes(Path(source.config).read_bytes())
    return lambda precision: segrid.Segmenter(folder, device="cpu-plain", precision=precision)


def test_an_encoder_that_overflows_is_an_error(tmp_path, coins):
    """Never garbage in place of masks."""
    model = overflowing(
        tmp_path,
        ("vision_encoder.layers.0.mlp.lin2.weight", "vision_encoder.layers.0.mlp.lin2.bias"),
        3e4,
    )
    assert np.isfinite(model("bf16").encode(coins).features).all()
    with pytest.raises(NotImplementedError, match="sam's image encoder: NaN or Inf in fp16"):
        model("fp16").encode(coins)


def test_a_decoder_that_overflows_is_an_error(tmp_path, coins):
    """Not an empty result, nor masks of what is left."""
    model = overflowing(
        tmp_path,
        [f"mask_decoder.transformer.layers.0.mlp.lin1.{name}" for name in ("weight", "bias")],
        1e5,
    )
    for call in (
        lambda s: s.predict(coins, points=[[50, 50]]),
        lambda s: s.everything(
            coins, points_per_side=4, pred_iou_thresh=0.0, stability_score_thresh=0.0
        ),
    ):
        with pytest.raises(NotImplementedError, match="the mask decoder: NaN or Inf in fp16"):
            call(model("fp16"))


def test_embeddings_travel_between_devices(plain, kernels, coins):
    """The same weights made them: what a device prepares for decoding is prepared where it is
    needed."""
    point = dict(points=[[100, 100], [250, 60]], multimask=True)
    half = segrid.Segmenter("tiny", device="cpu-plain", precision="fp16")
    for maker, user, gate in (
        (plain, kernels, 1e-4),
        (kernels, plain, 1e-4),
        (half, kernels, 0.02),
        (kernels, half, 0.02),
        (half, plain, 0.02),
    ):
        expected, found = (
            kernels.predict(coins, **point),
            user.predict(maker.encode(coins), **point),
        )
        assert (
            np.abs(found.low_res - expected.low_res).max() <= gate * np.abs(expected.low_res).max()
        )
        assert abs(
            len(user.everything(maker.encode(coins), **GRID))
            - len(kernels.everything(coins, **GRID))
        ) <= (0 if gate < 1e-3 else 3)


def test_what_was_given_up_comes_back_at_a_threshold_too(coins):
    """Another batch size rounds otherwise: a score that passed may fail when it is asked for once
    more."""
    from segrid._image import to_image

    plain = segrid.Segmenter("tiny", device="cpu-plain", precision="fp32")
    image, options = (
        to_image(coins),
        dict(points_per_side=6, stability_score_thresh=0.0, box_nms_thresh=0.99),
    )
    scores = np.unique(
        segrid.Masks(
            plain._engine.everything(image, {**options, "pred_iou_thresh": 0.3}), None
        ).scores
    )
    for score in scores[:: max(1, len(scores) // 12)]:
        just_below = float(np.nextafter(score, np.float32(0)))
        masks = segrid.Masks(
            plain._engine.everything(
                image, {**options, "pred_iou_thresh": just_below, "candidate_memory": 1}
            ),
            None,
        )
        assert (masks.array.sum((1, 2)) == masks.areas).all() and (masks.areas > 0).all()


UNPREPARED = """
    import numpy as np, segrid
    image = np.random.default_rng(0).integers(0, 255, (200, 300, 3), dtype=np.uint8)
    cpu = segrid.Segmenter("tiny", device="cpu")
    first = cpu.predict(image, points=[[50, 50]])
    cpu.predict(image, points=[[50, 50]], mask_hints=first.low_res)  # a convolution of ATen's
    try:
        print(cpu.to("cuda").device)
    except NotImplementedError as error:
        print(error)
"""


@pytest.mark.skipif(
    not (Path(find_spec("torch").origin).parent / "lib/libtorch_cuda.so").exists(),
    reason="torch is a build without CUDA",
)
def test_cuda_is_there_after_work_on_the_cpu():
    """ATen asks once what CUDA offers: nobody imported torch, and its CUDA half must be loaded
    before the first convolution."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(UNPREPARED)],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "ATen_cuda" not in done.stdout and (
        "cuda:0" in done.stdout or "use 'cpu'" in done.stdout
    ), done.stdout


FORKS = """
    import os, numpy as np, segrid
    image = np.random.default_rng(0).integers(0, 255, (200, 300, 3), dtype=np.uint8)
    models = [segrid.Segmenter("tiny", device=d, precision="fp32") for d in ("cpu", "cpu-plain")]
    def areas():
        return [m.predict(image, points=[[50, 50]]).areas.tolist() for m in models]
    before = areas()
    child = os.fork()
    if child == 0:
        os._exit(0 if areas() == before else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    print("done")
"""


def test_a_forked_child_has_threads_of_its_own():
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(FORKS)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0 and "done" in done.stdout, done.stderr[-2000:]


def test_devices_have_one_thread_that_is_exact(fake, coins):
    """torch keeps handles and plans for each thread; and a user who allows TF32 does not mean our
    masks."""
    import threading

    segmenter = segrid.Segmenter("tiny", device="fake", precision="fp32")
    detector = segrid.Detector(device="fake", precision="fp32")

    def work():
        embedding = segmenter.encode(coins)
        segmenter.predict(embedding, points=[[50, 50]])
        segmenter.everything(embedding, points_per_side=3)
        detector.detect(coins, ["nucleus"])

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert fake.fake_threads() == 1
