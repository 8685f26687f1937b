"""Trains the tiny detector: `python -m training.detector.train RUN --data DATA --minutes 90`.

RUN gets the tokenizer, config.json, checkpoint.pt (a later call continues from it), log.jsonl and
model.safetensors (the average of the weights). The model is transformers' own
Owlv2ForObjectDetection. Each thing is found by the patch that holds its centre: the assignment is
static, so that no thing is found twice and no NMS is needed. In the first part of a run every patch
in the middle of a thing finds it, which teaches faster. Boxes are always learned from all of those
patches."""

import argparse
import itertools
import json
import os
import shutil
import time
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.multiprocessing as mp
from safetensors.torch import load_file
from torch.nn import functional as F

from training.muon import Optimiser
from training.train import rates, save_atomically, save_weights

from . import tokens
from .initial import fresh
from .scenes import Source
from .words import phrase, queries

MEAN = np.float32([0.48145466, 0.4578275, 0.40821073])
STD = np.float32([0.26862954, 0.26130258, 0.27577711])
QUERIES = 12
MANY_UNTIL = 0.4  # The share of a run in which all patches in the middle of a thing find it.


class DetectorOptimiser(Optimiser):
    """Muon for the matrices between hidden activations."""

    def hidden(self, name):
        return super().hidden(name) and not any(
            part in name for part in ("dense2", "logit_", "class_head", "text_projection")
        )


def padded(image, size):
    """The image in the processor's frame, (3, size, size) normalised: the long side is `size`, and
    zeros are below and to the right. Also the scale."""
    scale = size / max(image.shape[:2])
    shape = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    out = np.zeros((size, size, 3), np.float32)
    out[: shape[1], : shape[0]] = (
        cv2.resize(image, shape, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
        if scale != 1
        else image
    )
    return ((out / 255 - MEAN) / STD).transpose(2, 0, 1), scale


def sample(source, tokenizer, rng, size, patch):
    """Arrays of one image: pixels; ids (Q, 16); one and many (T, Q), which are 1, 0 or -1 (does not
    count), for targets where one patch finds a thing, and where all patches in its middle do;
    centre (T,) bool, true where a patch holds the centre of a thing; boxes (T, 4), normalised
    cxcywh or NaN."""
    image, things = source.draw(rng)
    pixels, scale = padded(image, size)
    grid = size // patch
    asked = queries(rng, [t for t, _ in things], QUERIES)
    ids = tokenizer(
        [phrase(rng, q) for q in asked],
        padding="max_length",
        truncation=True,
        max_length=tokens.LENGTH,
        return_tensors="np",
    ).input_ids
    one, many = (np.zeros((grid, grid, QUERIES), np.int8) for _ in range(2))
    centre, boxes = np.zeros((grid, grid), bool), np.full((grid, grid, 4), np.nan, np.float32)
    places = np.stack(np.meshgrid(*[(np.arange(grid) + 0.5) / grid] * 2), -1)  # x, y
    # The smaller of two things in one patch gets the patch.
    for thing, box in sorted(things, key=lambda t: -np.prod(t[1][2:] - t[1][:2])):
        box = box * scale / size
        middle, extent = (box[:2] + box[2:]) / 2, box[2:] - box[:2]
        x, y = np.minimum((middle * grid).astype(int), grid - 1)
        truth = np.array([{True: 1, False: 0, None: -1}[q.matches(thing)] for q in asked], np.int8)
        inside = (np.abs(places - middle) < 0.3 * extent).all(-1)
        inside[y, x] = True
        many[inside] = truth
        boxes[inside] = (*middle, *extent)
        # When a centre is on the border of two patches, the other patch may find the thing, too.
        near = (np.abs(places - middle) < 0.62 / grid).all(-1)
        near[y, x] = False
        one[near] = np.where((truth != 0) & (one[near] == 0), -1, one[near])
        one[y, x] = truth
        centre[y, x] = True
    flat = grid * grid
    return (
        pixels,
        ids,
        one.reshape(flat, -1),
        many.reshape(flat, -1),
        centre.reshape(-1),
        boxes.reshape(flat, 4),
    )


def batch_at(source, tokenizer, seed, step, images, size, patch):
    """The batch of a step, which depends on (seed, step) only."""
    rows = [
        sample(source, tokenizer, np.random.default_rng((seed, step, i)), size, patch)
        for i in range(images)
    ]
    return [torch.from_numpy(np.stack(column)) for column in zip(*rows, strict=True)]


def _produce(queue, run, data, shares, seed, first, images, size, patch):
    os.nice(max(0, 19 - os.nice(0)))
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    tokenizer, source = tokens.build(run), Source(data, size, shares=shares)
    step = first
    while True:
        queue.put(batch_at(source, tokenizer, seed, step, images, size, patch))
        step += 1


def corners(boxes):
    """cxcywh to XYXY."""
    return torch.cat([boxes[..., :2] - boxes[..., 2:] / 2, boxes[..., :2] + boxes[..., 2:] / 2], -1)


def giou(a, b):
    """The GIoU of pairs of XYXY boxes."""
    a, b = corners(a), corners(b)
    inner = (
        (torch.minimum(a[:, 2:], b[:, 2:]) - torch.maximum(a[:, :2], b[:, :2])).clamp(min=0).prod(1)
    )
    area = (a[:, 2:] - a[:, :2]).prod(1) + (b[:, 2:] - b[:, :2]).prod(1) - inner
    hull = (torch.maximum(a[:, 2:], b[:, 2:]) - torch.minimum(a[:, :2], b[:, :2])).prod(1)
    return inner / area - (hull - area) / hull


def loss_of(net, batch, first_part, box_weight=2.0):
    """The loss and a record of its terms: focal loss of the classes, a softmax over patches (the
    best patch of a query should be one of its things), the loss of objectness, L1 and GIoU of the
    boxes. Every image has about the same weight in classes, objectness and boxes: an image of two
    hundred nuclei counts as much as an image of four shapes."""
    pixels, ids, one, many, centre, boxes = batch
    target = many if first_part else one
    kind = next(net.parameters()).dtype
    n, queries_each, length = ids.shape
    image = net.owlv2.vision_model(pixel_values=pixels.to(kind)).last_hidden_state
    image = net.owlv2.vision_model.post_layernorm(image)
    features = net.layer_norm(image[:, 1:] * image[:, :1])
    text = net.owlv2.text_projection(
        net.owlv2.text_model(input_ids=ids.reshape(-1, length)).pooler_output
    ).view(n, queries_each, -1)
    logits = net.class_head(features, text, None)[0].float()
    found = ~boxes[..., 0].isnan()
    truth = (target == 1).float()
    p = torch.sigmoid(logits)
    focal = (
        F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
        * torch.where(truth > 0, 1 - p, p) ** 2
    )
    classes = (
        (focal * torch.where(truth > 0, 2.0, 1.0) * (target != -1)).sum((1, 2))
        / truth.sum((1, 2)).clamp(min=4)
    ).mean()
    choice = torch.logsumexp(logits.masked_fill(target == -1, -1e4), 1) - torch.logsumexp(
        logits.masked_fill(target != 1, -1e4), 1
    )
    there = (target == 1).any(1)
    ranking = choice[there].sum() / there.sum().clamp(min=1)
    seen = net.objectness_predictor(features).float()
    objectness = (
        F.binary_cross_entropy_with_logits(seen, centre.float(), reduction="none").sum(1)
        / centre.sum(1).clamp(min=4)
    ).mean()
    predicted = torch.sigmoid(net.box_head(features).float() + net.box_bias.float())[found]
    wanted = boxes[found]
    share = (found / found.sum(1, keepdim=True).clamp(min=1))[found] / found.any(1).sum().clamp(
        min=1
    )
    relative = ((predicted - wanted).abs() / wanted[:, 2:].repeat(1, 2).clamp(min=0.03)).mean(
        1
    ) @ share
    overlap = giou(predicted, wanted) @ share + (len(wanted) == 0)
    log = dict(
        classes=classes.item(),
        ranking=ranking.item(),
        objectness=objectness.item(),
        relative=relative.item(),
        giou=overlap.item(),
    )
    return classes + 0.5 * ranking + 0.2 * objectness + box_weight * (relative + 1 - overlap), log


def batches(args, tokenizer, first, size, patch):
    """The batches from step `first`; with --workers 1 another process makes them."""
    shares = args.shapes, args.plain
    if not args.workers:
        source = Source(args.data, size, shares=shares)
        for step in itertools.count(first):
            yield batch_at(source, tokenizer, args.seed, step, args.images, size, patch)
    context = mp.get_context("spawn")
    queue = context.Queue(maxsize=6)
    loader = context.Process(
        target=_produce,
        args=(queue, args.run, args.data, shares, args.seed, first, args.images, size, patch),
        daemon=True,
    )
    loader.start()
    try:
        while True:
            yield queue.get()
    finally:
        loader.terminate()


def _begin_with(folder, run):
    """Copies the tokenizer of a packaged folder, and reads the time for which its weights were
    trained."""
    trained = json.loads((folder / "segrid.json").read_text()).get("trained")
    if trained is None:
        raise ValueError(
            f'{folder}/segrid.json does not say under "trained" for how many steps and '
            "minutes its weights were"
        )
    for file in tokens.FILES:
        shutil.copyfile(folder / file, run / file)
    (run / "before.json").write_text(json.dumps(trained))


def train(args):
    """Starts or resumes a run and returns the last record of its log."""
    run = Path(args.run)
    run.mkdir(parents=True, exist_ok=True)
    if args.init and not (run / "checkpoint.pt").exists():
        _begin_with(Path(args.init), run)
    tokenizer = tokens.build(run)
    net = fresh(len(tokenizer), args.seed)
    if args.init:
        # box_bias is left out, because the sizes determine it.
        net.load_state_dict(load_file(Path(args.init) / "model.safetensors"), strict=False)
    net.config.save_pretrained(run)
    size, patch = net.config.vision_config.image_size, net.config.vision_config.patch_size
    optimiser, step, spent = DetectorOptimiser(net.float(), ema=0.998), 0, 0.0
    if (run / "checkpoint.pt").exists():
        saved = torch.load(run / "checkpoint.pt", map_location="cpu", weights_only=True)
        optimiser.load(saved["state"], saved["count"])
        step, spent = saved["step"], saved["spent"]
    net = net.to(torch.bfloat16 if args.bf16 else torch.float32)
    net.box_bias = net.box_bias.float()
    optimiser.named = dict(net.named_parameters())
    loader = batches(args, tokenizer, step, size, patch)
    log_file, saved_at, log = (run / "log.jsonl").open("a"), time.monotonic(), {}
    while (step < args.steps) if args.steps else (spent < 60 * args.minutes):
        begin = time.monotonic()
        batch = next(loader)
        waited = time.monotonic() - begin
        progress = step / args.steps if args.steps else spent / (60 * args.minutes)
        loss, log = loss_of(net, batch, progress < MANY_UNTIL and not args.init, args.box_weight)
        loss.backward()
        rate = rates(progress, 1.0)
        norm = optimiser.step(args.muon_rate * rate, args.adam_rate * rate)
        step += 1
        spent += time.monotonic() - begin
        log = (
            dict(
                step=step,
                minutes=spent / 60,
                loss=loss.item(),
                norm=norm,
                waited=waited,
                seconds=time.monotonic() - begin,
            )
            | log
        )
        log_file.write(json.dumps(log) + "\n")
        log_file.flush()
        if time.monotonic() - saved_at > 180:
            _save(run, optimiser, step, spent)
            saved_at = time.monotonic()
    _save(run, optimiser, step, spent)
    loader.close()
    return log


def _save(run, optimiser, step, spent):
    data = dict(state=optimiser.state, count=optimiser.count, step=step, spent=spent)
    save_atomically(lambda p: torch.save(data, p), run / "checkpoint.pt")
    save_weights(optimiser.averaged(), run / "model.safetensors")


def parser():
    """The command line."""
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("run")
    p.add_argument(
        "--data", help="folder with nuclei_dsb2018 and photos; without it everything is procedural"
    )
    p.add_argument(
        "--init",
        help="folder that export.py made, to begin with its weights and tokenizer, one patch a "
        "thing from the start",
    )
    p.add_argument("--box-weight", type=float, default=2.0)
    p.add_argument(
        "--plain", type=float, default=0.25, help="share of plain pictures among the shapes"
    )
    p.add_argument(
        "--shapes",
        type=float,
        default=0.78,
        help="share of pictures of shapes, the others being nuclei",
    )
    p.add_argument("--minutes", type=float, default=90.0)
    p.add_argument("--steps", type=int, help="the schedule in steps instead of minutes")
    p.add_argument("--images", type=int, default=8)
    p.add_argument("--muon-rate", type=float, default=2e-3)
    p.add_argument("--adam-rate", type=float, default=1e-3)
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--workers", type=int, default=1, choices=(0, 1))
    p.add_argument("--fp32", dest="bf16", action="store_false")
    return p


if __name__ == "__main__":
    train(parser().parse_args())
