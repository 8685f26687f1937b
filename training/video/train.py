"""Trains tiny-video: `python -m training.video.train RUN --data DATA --minutes 300`.

RUN gets `checkpoint.pt` (a later call with the same RUN goes on from it), `log.jsonl` and
`ema.safetensors` (the averaged weights). The schedule follows the CPU minutes of one process; with
`--go-on` the run does not end with it, but continues at the lowest rate. The file RUN/pause stops
it between two steps for as long as it exists, and RUN/stop ends it.

`--tiny FOLDER`: a packaged SAM of the same width, from which the decoder starts, and whose image
features are a target of the first minutes. `--init FOLDER`: a packaged tiny-video, or the
`ema.safetensors` of another run, with whose weights the run starts. It then has a schedule of its
own, and the curriculum at its last stage. `--side`: frames of fewer pixels make the first hours
cheap, because the weights fit frames of any size."""

import argparse
import json
import os
import time
from datetime import timedelta
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.multiprocessing as mp
import torch.nn.functional as F
from torch import distributed

from ..muon import Optimiser
from ..train import rates, save_atomically, save_weights
from . import loop, step
from .batches import Plan, batch_at
from .clips import Maker
from .initial import SIDE, TINY, fresh, trained

# From which minute on, and with which odds, steps have (clips, objects, frames) in each process.
CURRICULUM = (
    (0, [(1.0, (8, 5, 1))]),
    (15, [(0.4, (8, 5, 1)), (0.6, (5, 3, 3))]),
    (35, [(0.2, (8, 5, 1)), (0.5, (5, 3, 3)), (0.3, (4, 3, 5))]),
    (60, [(0.15, (8, 5, 1)), (0.25, (5, 3, 3)), (0.3, (4, 3, 5)), (0.3, (3, 3, 8))]),
    (
        80,
        [
            (0.1, (8, 5, 1)),
            (0.2, (5, 3, 3)),
            (0.25, (4, 3, 5)),
            (0.25, (3, 3, 8)),
            (0.2, (2, 3, 12)),
        ],
    ),
)
PROMPTS = {
    "image": (("click", 0.5), ("box", 0.2), ("points", 0.1), ("mask", 0.2)),
    "video": (("mask", 0.4), ("click", 0.3), ("box", 0.15), ("points", 0.15)),
}


def plan_for(seed, number, minutes):
    """The Plan of a step, from the minutes trained so far."""
    rng = np.random.default_rng((seed, number, 7))
    odds = [stage for begin, stage in CURRICULUM if minutes >= begin][-1]
    shape = odds[rng.choice(len(odds), p=[share for share, _ in odds])][1]
    kinds, shares = zip(*PROMPTS["image" if shape[2] == 1 else "video"], strict=True)
    return Plan(*shape, str(rng.choice(kinds, p=shares)))


# The experience of a packaged model in minutes: all of the curriculum.
GRADUATED = 90


class Teacher:
    """The image features of the packaged SAM, pooled to our tokens, as a target."""

    def __init__(self, folder, dtype):
        from .. import model

        self.net = model.load(folder, dtype=dtype)

    def __call__(self, frames, weight):
        """A function of our Features of (F, S, S, 3) uint8 frames: `weight` x their squared
        distance, in parts of the target's variance."""
        side, grid = self.net.size, self.net.grid
        with torch.no_grad():
            small = F.adaptive_avg_pool2d(frames.permute(0, 3, 1, 2).float(), side)
            small = small.permute(0, 2, 3, 1).round().byte()
            sizes = torch.full((len(frames), 2), side)
            tokens = self.net.vision_encoder(self.net.normalise(small, sizes)).mT
            tokens = tokens.unflatten(-1, (grid, grid)).float()

        def loss(features):
            target = F.adaptive_avg_pool2d(tokens, features.tokens.shape[-2:])
            return weight * (features.tokens.float() - target).square().mean() / target.var()

        return loss


class Run:
    """The model, its optimiser and what a checkpoint keeps."""

    def __init__(self, args, rank=0):
        self.folder, self.rank = Path(args.run), rank
        self.folder.mkdir(parents=True, exist_ok=True)
        self.args, self.dtype = args, torch.bfloat16 if args.bf16 else torch.float32
        side = args.side
        model = trained(args.init, side) if args.init else fresh(args.seed, args.tiny, side)
        model.train()
        self.optimiser = Optimiser(model.float(), products=self.dtype)
        self.count, self.spent = 0, 0.0
        checkpoint = self.folder / "checkpoint.pt"
        if checkpoint.exists():
            saved = torch.load(checkpoint, map_location="cpu", weights_only=True)
            self.optimiser.load(saved["state"], saved["count"])
            self.count, self.spent = saved["step"], saved["spent"]
            if saved.get("init", False) != bool(args.init):
                raise ValueError(f"{checkpoint}: go on with the same --init as at first")
        self.model = loop.prepare(model, self.dtype)
        self.optimiser.named = dict(self.model.named_parameters())
        self.teacher = Teacher(args.tiny, self.dtype) if args.teacher_minutes else None

    @property
    def minutes(self):
        """CPU time trained so far, per process."""
        return self.spent / 60

    @property
    def experience(self):
        """The minutes that the weights have been trained in all, for the curriculum."""
        return self.minutes + (GRADUATED if self.args.init else 0)

    def ended(self):
        """Whether the run is at the end that its arguments name."""
        args = self.args
        return self.count == args.stop_at or (self.minutes >= args.minutes and not args.go_on)

    def mean(self, value):
        """The mean of a number, or of a tensor in place, over the processes."""
        shared = value if isinstance(value, torch.Tensor) else torch.tensor(float(value))
        if self.args.processes > 1:
            distributed.all_reduce(shared)
            shared /= self.args.processes
        return shared if isinstance(value, torch.Tensor) else float(shared)

    def agree(self, wanted):
        """Whether any process wants it."""
        return self.mean(wanted) > 0

    def _share_gradients(self):
        """Averages the gradients over the processes. A parameter without any has None."""
        named = list(self.optimiser.named.values())
        flat = torch.cat(
            [torch.zeros(p.numel()) if p.grad is None else p.grad.float().flatten() for p in named]
        )
        self.mean(flat)
        for p, part in zip(named, flat.split([p.numel() for p in named]), strict=True):
            p.grad = part.view_as(p).to(p.dtype) if bool(part.any()) else None

    def save(self):
        """Writes the checkpoint and the averaged weights, with the positions, which are buffers."""
        data = dict(
            state=self.optimiser.state,
            count=self.optimiser.count,
            step=self.count,
            spent=self.spent,
            init=bool(self.args.init),
        )
        save_atomically(lambda p: torch.save(data, p), self.folder / "checkpoint.pt")
        places = ("shared_image_embedding", "prompt_encoder.shared_embedding")
        buffers = {
            f"{place}.positional_embedding": self.model.get_buffer(f"{place}.positional_embedding")
            for place in places
        }
        save_weights(self.optimiser.averaged() | buffers, self.folder / "ema.safetensors")

    def step(self, batch):
        """One update; returns the record for the log."""
        args, progress = self.args, min(1.0, self.minutes / self.args.minutes)
        settings = step.Settings(
            progress=progress,
            teach=max(0.0, 1 - self.experience / GRADUATED),
            correct=0.12,
            generator=torch.Generator().manual_seed(
                2 * (args.seed * 1_000_003 + self.count) + self.rank
            ),
        )
        extra = None
        if self.teacher and self.experience < args.teacher_minutes and len(batch.frames) == 1:
            weight = 2.0 * (1 - self.experience / args.teacher_minutes)
            extra = self.teacher(batch.frames.flatten(0, 1), weight)
        loss, log = step.loss_of(self.model, batch, settings, extra)
        loss.backward()
        self._share_gradients()
        rate = max(rates(progress, 1.0), 0.05)
        norm = self.optimiser.step(args.muon_rate * rate, args.adam_rate * rate)
        self.count += 1
        kind = dict(frames=len(batch.frames), prompt=batch.prompt)
        return kind | dict(step=self.count, rate=rate, norm=norm, loss=float(loss.detach())) | log


def train(args, rank=0):
    """Starts or resumes a run, as process `rank` of args.processes."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    run = Run(args, rank)
    maker = Maker(args.data, args.side, args.pseudo)
    stop, pause = run.folder / "stop", run.folder / "pause"
    saved, parent = time.monotonic(), os.getppid()
    with (run.folder / "log.jsonl").open("a") as log:
        while not run.agree(run.ended() or stop.exists() or os.getppid() != parent):
            while pause.exists():
                time.sleep(0.5)
            begin, used = time.monotonic(), time.process_time()
            plan = plan_for(args.seed, run.count, run.experience)
            batch = batch_at(maker, (args.seed, rank), run.count, plan)
            made = time.process_time() - used
            record = run.step(batch)
            used = time.process_time() - used
            run.spent += run.mean(used)
            record |= dict(side=args.side, minutes=run.minutes, made=made, used=used)
            record |= dict(seconds=time.monotonic() - begin)
            if rank == 0:
                log.write(json.dumps({k: _short(v) for k, v in record.items()}) + "\n")
                log.flush()
            if rank == 0 and time.monotonic() - saved > 60 * args.save_minutes:
                run.save()
                saved = time.monotonic()
    if rank == 0:
        run.save()


def main(args):
    """Trains in args.processes processes, each with one thread: two of them are faster than two
    threads, and they wait for each other once a step only."""
    rendezvous = Path(args.run) / "rendezvous"
    rendezvous.parent.mkdir(parents=True, exist_ok=True)
    rendezvous.unlink(missing_ok=True)
    if args.processes == 1:
        return train(args)
    mp.spawn(_join, (args, rendezvous.resolve()), args.processes)


def _join(rank, args, rendezvous):
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    distributed.init_process_group(
        "gloo",
        init_method=f"file://{rendezvous}",
        rank=rank,
        world_size=args.processes,
        timeout=timedelta(days=2),  # A pause may be long.
    )
    train(args, rank)


def _short(value):
    return round(value, 4) if isinstance(value, float) else value


def parser():
    """The command line."""
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("run")
    p.add_argument("--data", help="folder of the labelled sets; without it, procedural clips only")
    p.add_argument("--pseudo", help="a folder of `pseudo.py`: tracks without labels")
    p.add_argument("--minutes", type=float, default=300.0, help="CPU minutes of the schedule")
    p.add_argument("--stop-at", type=int, help="end after this step")
    p.add_argument("--go-on", action="store_true", help="until RUN/stop exists")
    p.add_argument("--init", help="a packaged tiny-video or a run's weights to start from")
    p.add_argument("--side", type=int, default=SIDE, help="of a frame, in pixels")
    p.add_argument("--tiny", default=str(TINY))
    p.add_argument("--teacher-minutes", type=float, default=12.0)
    p.add_argument("--muon-rate", type=float, default=1.5e-3)
    p.add_argument("--adam-rate", type=float, default=8e-4)
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--processes", type=int, default=2, help="each has one thread")
    p.add_argument("--fp32", dest="bf16", action="store_false")
    p.add_argument("--save-minutes", type=float, default=4.0)
    return p


if __name__ == "__main__":
    main(parser().parse_args())
