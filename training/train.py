"""Trains a small SAM: `python -m training.train RUN --data DATA --init FOLDER --minutes 45`.

RUN gets `checkpoint.pt` (masters, EMA, optimiser and step; a later call with the same RUN continues
from it), `log.jsonl`, `ema.safetensors` (the latest average) and `best.safetensors` (the best on a
small fixed set of kept-out pictures). Batches and clicks depend on (seed, step) only, so an
interrupted run resumes exactly. The schedule follows --steps, or without it the minutes trained so
far."""

import argparse
import json
import os
import time
from pathlib import Path

import cv2
import torch
import torch.multiprocessing as mp
from safetensors.torch import save_file

from . import losses, model, prompts
from .data import Mixture
from .initial import fresh
from .muon import Optimiser


def _produce(queue, settings, first):
    """The loop of the loader process."""
    os.nice(max(0, 19 - os.nice(0)))
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    mixture = Mixture(settings["data"], settings["size"])
    step = first
    while True:
        queue.put(_batch(mixture, settings, step))
        step += 1


def _batch(mixture, s, step):
    return prompts.batch_at(mixture, s["seed"], step, s["images"], s["prompts"], s["size"])


class Loader:
    """Batches of consecutive steps, from one worker process or (workers=0) made on the spot."""

    def __init__(self, settings, first, workers):
        self.settings, self.step, self.process = settings, first, None
        if workers:
            context = mp.get_context("spawn")
            self.queue = context.Queue(maxsize=6)
            self.process = context.Process(
                target=_produce, args=(self.queue, settings, first), daemon=True
            )
            self.process.start()
        else:
            self.mixture = Mixture(settings["data"], settings["size"])

    def next(self):
        """The next step's Batch."""
        if self.process is not None:
            return self.queue.get()
        self.step += 1
        return _batch(self.mixture, self.settings, self.step - 1)

    def close(self):
        """Ends the worker."""
        if self.process is not None:
            self.process.terminate()


def rates(progress, peak, decay_from=0.4, warm=0.01, last=0.02):
    """The factor of the learning rate at `progress` in 0..1: a short warm-up, then constant, then
    linear down to `last`."""
    if progress < warm:
        return peak * (0.1 + 0.9 * progress / warm)
    if progress < decay_from:
        return peak
    return peak * (last + (1 - last) * (1 - progress) / (1 - decay_from))


def forward_backward(net, batch, progress, seed, step, second_prompts):
    """Adds the gradients of two losses to `net` and returns the log. The first is that of the
    prompts, the second that of a correction: an error of the chosen mask gets a click, and three
    times of four the earlier logits are the mask hint."""
    device = next(net.parameters()).device
    batch = prompts.Batch(*[getattr(batch, f).to(device) for f in batch.__dataclass_fields__])
    generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
    sharp = 0.6 * min(1.0, max(0.0, (progress - 0.65) / 0.1))
    mean_weight = 0.12 - 0.09 * progress
    embedded = net.vision_encoder(net.normalise(batch.images, batch.sizes))
    image = embedded.detach().requires_grad_()
    masks = batch.masks.float() / 4
    out, iou = net.decode(image, batch.points, batch.labels)
    single = losses.weights_of(batch.box, batch.points.shape[2] - 1)
    loss, log = losses.total_loss(
        out.float(), iou.float(), masks, batch.real, single, mean_weight, sharp
    )
    loss.backward()
    if second_prompts:
        pick = torch.stack([torch.randperm(masks.shape[1], generator=generator) for _ in masks])
        pick = pick[:, :second_prompts].to(device)
        rows = torch.arange(len(masks), device=device)[:, None]
        masks, real = masks[rows, pick], batch.real[rows, pick]
        with torch.no_grad():
            best = iou[rows, pick, 1:].argmax(-1) + 1
            best = torch.where(
                torch.rand(best.shape, generator=generator).to(device) < 0.3, 0, best
            )
            hint = out.detach()[rows, pick].gather(
                2, best[..., None, None, None].expand(-1, -1, 1, *masks.shape[-2:])
            )
            hint = hint[:, :, 0].float()
            at, label = prompts.correction(hint.flatten(0, 1), masks.flatten(0, 1), generator)
            at, label = (2 * at + 0.5).view(*pick.shape, 1, 2), label.view(*pick.shape, 1)
            real = real & (masks.sum((-1, -2)) > 0)
        points = torch.cat([at, batch.points[rows, pick]], 2)
        labels = torch.cat([label, batch.labels[rows, pick]], 2)
        dense = hint.clamp(-32, 32) if step % 4 else None
        out2, iou2 = net.decode(image, points, labels, dense)
        loss2, log2 = losses.total_loss(
            out2.float(),
            iou2.float(),
            masks,
            real,
            torch.ones_like(masks[..., 0, 0]),
            mean_weight,
            sharp,
        )
        (0.5 * loss2).backward()
        log |= {f"second_{k}": v for k, v in log2.items()}
    embedded.backward(image.grad)
    return log


def save_atomically(write, path):
    """Calls write(temporary path) and renames the file."""
    temporary = path.with_suffix(".part")
    write(temporary)
    temporary.replace(path)


def save_weights(weights, path):
    """Writes weights as fp32 safetensors."""
    tensors = {name: w.detach().float().cpu().contiguous() for name, w in weights.items()}
    save_atomically(lambda p: save_file(tensors, str(p)), path)


def start(args, config, checkpoint):
    """The network and its optimiser on args.device, and the step, seconds and best score so far.
    They come from `checkpoint` where that file exists."""
    torch.manual_seed(args.seed)
    net = model.load(args.init) if args.init else fresh(config, args.seed)
    optimiser = Optimiser(net.float())
    step, spent, best = 0, 0.0, -1.0
    if checkpoint.exists():
        saved = torch.load(checkpoint, map_location="cpu", weights_only=True)
        optimiser.load(saved["state"], saved["count"])
        step, spent, best = saved["step"], saved["spent"], saved["best"]
    masters = optimiser.state
    net = net.to(args.device, torch.bfloat16 if args.bf16 else torch.float32)
    optimiser.named = dict(net.named_parameters())
    optimiser.state = {k: v.to(args.device) for k, v in masters.items()}
    return net, optimiser, step, spent, best


def checked(config, weights, device, checks):
    """The record of quick_check for the weights."""
    from .evaluate import quick_check

    average = model.Sam(config)
    average.load_state_dict(weights)
    return quick_check(average.to(device), checks)


def train(args):
    """Starts or resumes a run and returns the log records of this call."""
    run = Path(args.run)
    run.mkdir(parents=True, exist_ok=True)
    config_file = Path(args.config) if args.config else Path(args.init or run) / "config.json"
    config = json.loads(config_file.read_text())
    (run / "config.json").write_text(json.dumps(config, indent=2))
    net, optimiser, step, spent, best = start(args, config, run / "checkpoint.pt")
    settings = dict(
        data=args.data, size=net.size, seed=args.seed, images=args.images, prompts=args.prompts
    )
    loader = Loader(settings, step, args.workers)
    checks = None
    records, since_save, since_check = [], time.monotonic(), time.monotonic()
    log_file = (run / "log.jsonl").open("a")

    def progress():
        return step / args.steps if args.steps else spent / (60 * args.minutes)

    def checkpoint():
        data = dict(state=optimiser.state, count=optimiser.count, step=step, spent=spent, best=best)
        save_atomically(lambda p: torch.save(data, p), run / "checkpoint.pt")
        save_weights(optimiser.averaged(), run / "ema.safetensors")

    while progress() < 1 and (args.stop_at is None or step < args.stop_at):
        begin = time.monotonic()
        batch = loader.next()
        waited = time.monotonic() - begin
        rate = rates(progress(), 1.0)
        log = forward_backward(net, batch, progress(), args.seed, step, args.second_prompts)
        norm = optimiser.step(args.muon_rate * rate, args.adam_rate * rate)
        step += 1
        spent += time.monotonic() - begin
        record = dict(
            step=step, minutes=spent / 60, rate=rate, norm=norm, seconds=time.monotonic() - begin
        )
        records.append(record | dict(waited=waited) | log)
        log_file.write(json.dumps(records[-1]) + "\n")
        log_file.flush()
        if time.monotonic() - since_save > 60 * args.save_minutes:
            checkpoint()
            since_save = time.monotonic()
        if (
            args.data
            and args.check_minutes
            and time.monotonic() - since_check > 60 * args.check_minutes
        ):
            begin = time.monotonic()
            from .evaluate import quick_set

            checks = checks or quick_set(args.data)
            found = checked(config, optimiser.averaged(), args.device, checks)
            spent += time.monotonic() - begin  # The schedule follows wall-clock time.
            log_file.write(json.dumps(dict(step=step, minutes=spent / 60, check=found)) + "\n")
            if found["score"] > best:
                best = found["score"]
                save_weights(optimiser.averaged(), run / "best.safetensors")
            since_check = time.monotonic()
    checkpoint()
    loader.close()
    return records


def parser():
    """The command line."""
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("run")
    p.add_argument(
        "--data", help="folder with the labelled sets; without it only procedural scenes are used"
    )
    p.add_argument("--init", help="folder with config.json and model.safetensors to start from")
    p.add_argument("--config", help="config.json for a start from nothing")
    p.add_argument("--minutes", type=float, default=60.0)
    p.add_argument("--steps", type=int, help="the schedule in steps instead of minutes")
    p.add_argument("--stop-at", type=int, help="stop after this step; the schedule stays as it is")
    p.add_argument("--images", type=int, default=4)
    p.add_argument("--prompts", type=int, default=12)
    p.add_argument("--second-prompts", type=int, default=4)
    p.add_argument("--muon-rate", type=float, default=1e-3)
    p.add_argument("--adam-rate", type=float, default=6e-4)
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--workers", type=int, default=1, choices=(0, 1))
    p.add_argument("--device", default="cpu")
    p.add_argument("--fp32", dest="bf16", action="store_false")
    p.add_argument("--save-minutes", type=float, default=3.0)
    p.add_argument("--check-minutes", type=float, default=10.0)
    return p


if __name__ == "__main__":
    train(parser().parse_args())
