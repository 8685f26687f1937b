"""The training of tiny-video: its loop computes what transformers' session computes, its data are
right, and a step learns."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import segrid
import torch
from safetensors.torch import load_file

pytest.importorskip("transformers")

from training.model import MEAN, STD  # noqa: E402
from training.video import loop, step, train  # noqa: E402
from training.video import memory as memory_module  # noqa: E402
from training.video.batches import Plan, batch_at  # noqa: E402
from training.video.clips import LEAST, Maker, enlarged  # noqa: E402
from training.video.encoder import encode  # noqa: E402
from training.video.export import export  # noqa: E402
from training.video.initial import TINY, fresh  # noqa: E402
from training.video.sprites import Sprite, paint, path  # noqa: E402

SIDE = 256  # of the frames here, in pixels: the packaged model has more
TINY_VIDEO = Path(segrid.__file__).parent / "models/tiny-video"


@pytest.fixture(scope="module")
def model():
    """Initial weights, scaled so that masks and scores have both signs."""
    torch.manual_seed(1)
    model = fresh(0, side=SIDE).eval()
    with torch.no_grad():
        model.memory_temporal_positional_encoding.normal_(0, 0.5)
        for block in model.memory_encoder.memory_fuser.layers:
            block.scale.fill_(1.0)
    return loop.prepare(model)


@pytest.fixture(scope="module")
def frames():
    """Six frames (T, S, S, 3) uint8 on which squares move."""
    rng = np.random.default_rng(0)
    video = np.repeat(rng.integers(0, 90, (1, SIDE, SIDE, 3)), 6, 0)
    for t in range(6):
        video[t, 40 + 12 * t : 120 + 12 * t, 30:110] = (200, 60, 40)
        video[t, 120:200, 200 - 20 * t : 250 - 20 * t] = (30, 80, 220)
    return video.astype(np.uint8)


def session_masks(model, frames, add):
    """Low-resolution masks (T, h, w) and scores (T,) of one object in transformers' session."""
    from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoInferenceSession

    pixels = ((torch.from_numpy(frames).float() - MEAN) / STD).permute(0, 3, 1, 2)
    session = Sam2VideoInferenceSession(
        video=pixels, video_height=SIDE, video_width=SIDE, dtype=torch.float32
    )
    add(session, session.obj_id_to_idx(1))
    session.obj_with_new_inputs = [1]
    model(session, frame_idx=0)
    found = list(model.propagate_in_video_iterator(session, start_frame_idx=0))
    masks = torch.stack([out.pred_masks[0, 0] for out in found])
    return masks, torch.stack([out.object_score_logits[0].squeeze() for out in found])


def mask_of(frames, colour):
    return torch.from_numpy((frames[0] == colour).all(-1)).float()


PROMPTS = {
    "mask": None,
    "click": ([[[60.0, 70.0]], [[220.0, 150.0]]], [[1], [1]]),
    "box": ([[[30.0, 40.0], [109.0, 119.0]], [[200.0, 120.0], [249.0, 199.0]]], [[2, 3], [2, 3]]),
}


@pytest.mark.parametrize("kind", PROMPTS)
def test_loop_is_the_session(model, frames, kind):
    """Two objects as rows of one batch against one session each."""
    masks = torch.stack([mask_of(frames, (200, 60, 40)), mask_of(frames, (30, 80, 220))])
    sessions = []
    for row in range(2):
        if kind == "mask":
            add = lambda s, i, row=row: s.add_mask_inputs(i, 0, masks[row][None, None])  # noqa: E731
        else:
            points, labels = (torch.tensor(x)[row][None, None] for x in PROMPTS[kind])
            add = lambda s, i, p=points, l=labels: s.add_point_inputs(  # noqa: E731
                i, 0, {"point_coords": p, "point_labels": l}
            )
        sessions.append(session_masks(model, frames, add))
    with torch.no_grad():
        every, scores = loop.follow(
            model, torch.from_numpy(frames), masks if kind == "mask" else PROMPTS[kind]
        )
    for row, (wanted, score) in enumerate(sessions):
        assert wanted[1:].std() > 1e-3 and (wanted[1:] - wanted[1]).abs().max() > 1e-3, "vacuous"
        assert (scores[1:, row] - score[1:]).abs().max() < 1e-4
        # Memories are rounded to bf16, and a rounding may fall the other way.
        assert (every[:, row] - wanted).abs().max() < 1e-3 * wanted.abs().max()
        assert ((every[:, row] > 0) != (wanted > 0)).float().mean() < 1e-3


def test_attention_is_the_modules(model):
    """Memory attention with complex rotations against the module, without rounded memories."""
    torch.manual_seed(0)
    tokens, memory, place = (
        torch.randn(2, 256, 128),
        torch.randn(2, 772, 64),
        torch.randn(2, 772, 64),
    )
    with torch.no_grad():
        wanted = model.memory_attention(
            tokens.transpose(0, 1), memory.transpose(0, 1), None, place.transpose(0, 1), 4
        )[0]
        found = memory_module.attend(model.memory_attention, tokens, memory, place, 4)
    assert wanted.std() > 0.5 and (found - wanted).abs().max() < 1e-4


def test_masks_belong_to_frames():
    """A clip is a function of its generator; an object's mask is where its pixels are."""
    maker = Maker(size=SIDE)
    clip, again = (maker.clip(np.random.default_rng(3), 5, 3) for _ in range(2))
    assert np.array_equal(clip.frames, again.frames) and np.array_equal(clip.masks, again.masks)
    assert clip.frames.shape == (5, SIDE, SIDE, 3) and clip.masks.shape == (5, 3, SIDE, SIDE)
    assert (clip.masks[0].mean((1, 2)) >= LEAST).all()

    patch = np.zeros((40, 40, 4), np.uint8)
    patch[5:35, 5:35] = (250, 10, 10, 255)
    rng = np.random.default_rng(0)
    images = np.zeros((4, SIDE, SIDE, 3), np.uint8)
    labels = np.zeros((4, SIDE, SIDE), np.uint16)
    paint([Sprite(patch, path(rng, patch, 4, SIDE, (120, 120), 60))], images, labels, 1)
    red = images[..., 0] > 125
    assert red.any((1, 2)).all() and (red != (labels == 1)).mean() < 1e-3
    places = [np.argwhere(frame).mean(0) for frame in red]
    assert np.ptp(places, 0).max() > 2, "it does not move"


def test_a_share_of_clips_is_procedural_alone():
    maker, plain = Maker(size=SIDE, plain_share=0.5), Maker(size=SIDE)
    maker.plain = plain  # as Maker(root) has it
    seen = set()
    for seed in range(8):
        clip = maker.clip(np.random.default_rng(seed), 2, 1)
        rng = np.random.default_rng(seed)
        is_plain = rng.random() < 0.5
        same = plain.clip(rng if is_plain else np.random.default_rng(seed), 2, 1)
        seen.add(is_plain and np.array_equal(clip.frames, same.frames))
    assert seen == {True, False}


def test_some_clips_have_fewer_pixels():
    """A coarse clip is one of two thirds of the pixels, enlarged with its masks."""
    coarse, small = Maker(size=192, coarse_share=1), Maker(size=128, coarse_share=1e-9)
    small.mixture = coarse.mixture
    clip, inner = (maker.clip(np.random.default_rng(3), 3, 2) for maker in (coarse, small))
    wanted = np.stack([cv2.resize(frame, (192, 192)) for frame in inner.frames])
    assert np.array_equal(clip.frames, wanted)
    assert np.array_equal(clip.masks, enlarged(inner.masks, 192)) and clip.masks.any()

    y, x = np.mgrid[:64, :64]
    disc = np.hypot(x - 31.5, y - 31.5) < 20
    wide = enlarged(disc[None, None], 96)
    assert wide.shape == (1, 1, 96, 96)
    y, x = np.mgrid[:96, :96]
    assert (wide[0, 0] != (np.hypot(x - 47.5, y - 47.5) < 30)).mean() < 0.005


@pytest.mark.parametrize("side", [256, 384])
def test_weights_fit_frames_of_any_side(side):
    """The training's features are those of transformers at both sides; the first minutes draw them
    towards those of `tiny`."""
    model = loop.prepare(fresh(0, side=side).eval())
    frames = torch.randint(0, 255, (1, side, side, 3), dtype=torch.uint8)
    with torch.no_grad():
        found = encode(model, frames)
        pixels = ((frames.float() - MEAN) / STD).permute(0, 3, 1, 2)
        wanted = model.vision_encoder(pixels).fpn_hidden_states[-1]
    assert found.tokens.shape == (1, 128, side // 16, side // 16)
    assert torch.allclose(found.tokens, wanted, atol=1e-4 * float(wanted.abs().max()))
    assert 0 < float(train.Teacher(TINY, torch.float32)(frames, 1.0)(found)) < float("inf")


def test_what_hides_is_kept_account_of():
    """The sprite painted last covers the others; what is outside or covered has no mask."""
    wall, ball = np.full((80, 80, 4), 255, np.uint8), np.full((20, 20, 4), 255, np.uint8)
    still = np.tile(np.array([[1, 0, 90], [0, 1, 90]], np.float32), (4, 1, 1))
    moving = still.copy()
    moving[:, 0, 2] = (10, 60, 120, 300)  # beside the wall, touching it, behind it, outside
    images = np.zeros((4, SIDE, SIDE, 3), np.uint8)
    labels = np.zeros((4, SIDE, SIDE), np.uint16)
    moving[:, 1, 2] = 120
    moving[1, 0, 2] = 80
    paint([Sprite(ball, moving), Sprite(wall, still)], images, labels, 5)
    assert [int((frame == 5).sum()) for frame in labels] == [400, 200, 0, 0]
    assert all(int((frame == 6).sum()) == 6400 for frame in labels)


def test_steps_learn_and_resume(tmp_path):
    """The loss of a fixed batch falls; a run goes on from its checkpoint; export loads again."""
    args = train.parser().parse_args(
        [str(tmp_path), "--fp32", "--processes", "1", "--muon-rate", "3e-3", "--adam-rate", "2e-3"]
        + ["--side", str(SIDE)]
    )
    run = train.Run(args)
    batch = batch_at(Maker(size=SIDE), (0,), 0, Plan(1, 2, 2, "click"))
    run.spent = 60 * 100.0  # after the warm-up, without the teacher, absence as predicted
    losses = [run.step(batch)["loss"] for _ in range(6)]
    assert np.isfinite(losses).all() and losses[-1] < 0.8 * losses[0]
    run.save()
    resumed = train.Run(args)
    assert resumed.count == 6 and resumed.spent == run.spent
    for name, value in run.optimiser.state.items():
        assert torch.equal(value, resumed.optimiser.state[name]), name


def test_every_parameter_learns(model):
    """A clip with a correction gives each parameter a gradient, but for those of other prompts."""
    training = loop.prepare(fresh(0, side=SIDE).train())
    generator = torch.Generator().manual_seed(0)
    for prompt in ("mask", "click"):
        settings = step.Settings(progress=0.5, teach=1.0, correct=1.0, generator=generator)
        batch = batch_at(Maker(size=SIDE), (0,), 1, Plan(1, 2, 3, prompt))
        batch.masks[1, 0] = False  # A hidden object uses the embeddings of absence.
        step.loss_of(training, batch, settings)[0].backward()
    without = {name for name, p in training.named_parameters() if p.grad is None}
    assert without <= {"no_memory_positional_encoding"}


def test_a_run_starts_from_a_packaged_model(tmp_path):
    """--init takes its weights, and the last stage of the curriculum at once."""
    args = [str(tmp_path), "--processes", "1", "--teacher-minutes", "0", "--init", str(TINY_VIDEO)]
    run = train.Run(train.parser().parse_args(args))
    weights = load_file(TINY_VIDEO / "model.safetensors")
    masters = run.optimiser.averaged()
    assert all(torch.equal(value, weights[name].float()) for name, value in masters.items())
    assert run.minutes == 0 and run.experience >= train.CURRICULUM[-1][0]
    run.save()
    assert train.Run(train.parser().parse_args(args)).experience == run.experience
    with pytest.raises(ValueError, match="the same --init"):
        train.Run(train.parser().parse_args(args[:-2]))


def test_two_processes_train_alike(tmp_path):
    """Two processes write one checkpoint and one log."""
    args = train.parser().parse_args(
        [str(tmp_path), "--fp32", "--stop-at", "1", "--teacher-minutes", "0", "--side", str(SIDE)]
    )
    train.main(args)
    lines = (tmp_path / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1]
    weights = load_file(tmp_path / "ema.safetensors")
    assert all(torch.isfinite(value).all() for value in weights.values())


def test_export(tmp_path):
    """The folder of some weights: transformers and segrid load it, and the card names what is
    missed."""
    from transformers import Sam2VideoModel

    run, out = tmp_path / "run", tmp_path / "out"
    run.mkdir()
    model = fresh(3)
    train.save_weights(model.state_dict(), run / "ema.safetensors")
    (run / "log.jsonl").write_text('{"step": 7, "minutes": 2.4, "side": 384}\n')
    ways = {"tiny-video": 0.3, "tiny, last box": 0.25, "first mask": 0.1}
    row = {
        kind: {way: dict.fromkeys(("J", "F", "J&F"), v) for way, v in ways.items()}
        for kind in ("mask", "click")
    }
    figures = {"davis": {"goat": row}, "mean": {"davis": {"mask": ways, "click": ways}}}
    export(run, out, figures=figures, after=TINY_VIDEO)
    card = " ".join((out / "README.md").read_text().split())
    assert (
        "from the first mask (0.300, target 0.55)" in card
        and "its input is 384 px" in card
        and "| goat, click | 0.300" in card
    )
    earlier = json.loads((TINY_VIDEO / "segrid.json").read_text())["trained"]
    stages = [*earlier, {"steps": 7, "minutes": 2, "side": 384}]
    assert json.loads((out / "segrid.json").read_text())["trained"] == stages
    assert f"{earlier[0]['steps']} steps" in card and "then 7 steps on frames of 384 px" in card
    assert (out / "model.safetensors").stat().st_size < 12_000_000
    again = Sam2VideoModel.from_pretrained(out, dtype=torch.float32)
    for name, value in model.state_dict().items():
        assert torch.allclose(again.state_dict()[name], value, atol=1e-2, rtol=1e-3), name
    frame = np.random.default_rng(0).integers(0, 255, (90, 120, 3)).astype(np.uint8)
    masks = segrid.Segmenter(str(out), precision="fp32").predict(frame, points=[[[60.0, 40.0]]])
    assert masks.array.shape == (1, 90, 120)
