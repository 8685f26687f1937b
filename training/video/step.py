"""The loss of one batch: a prompt on frame 0, then tracking with corrections, with gradients
through the whole clip."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from .. import losses
from ..prompts import correction
from . import loop


@dataclass
class Settings:
    """progress: 0..1 of the schedule. teach: share of steps in which memory takes the truth about
    presence instead of the predicted score. correct: probability that a tracked frame is
    corrected by a click. Draws come from `generator`."""

    progress: float
    teach: float
    correct: float
    generator: torch.Generator

    def draw(self):
        """A number in 0..1."""
        return float(torch.rand((), generator=self.generator))


@dataclass
class Truth:
    """One frame: masks (N, h, w) in 0..1; present (N,) bool; judged (N,) bool: absent, or large
    enough for a loss."""

    masks: torch.Tensor
    present: torch.Tensor
    judged: torch.Tensor


def truth_of(masks, size):
    """The Truth of (N, S, S) bool masks."""
    area = masks.flatten(1).sum(1)
    small = F.adaptive_avg_pool2d(masks.float()[:, None], size)[:, 0]
    return Truth(small, area > 0, (area == 0) | (area >= 16))


class Account:
    """Adds up the losses of a batch and what the log shows of them."""

    def __init__(self, settings):
        self.settings, self.total, self.weight, self.log = settings, 0.0, 0.0, {}

    def add(self, name, answer, truth, single, weight=1.0):
        """The loss of an Answer. single: the weight of the single mask's loss."""
        progress = self.settings.progress
        sharp = 0.5 * min(1.0, max(0.0, (progress - 0.5) / 0.1))
        real = truth.present & truth.judged
        rows = (truth.masks[None], real[None], torch.full_like(truth.masks[None, :, 0, 0], single))
        loss, log = losses.total_loss(
            answer.masks[None].float(),
            answer.iou[None].float(),
            *rows,
            0.1 - 0.07 * progress,
            sharp,
        )
        score = F.binary_cross_entropy_with_logits(
            answer.score.float(), truth.present.float(), reduction="none"
        )
        score = (score * truth.judged).mean()
        self.total = self.total + weight * (loss + score)
        self.weight += weight
        for key in ("mask", "chosen", "best"):
            self._note(f"{name}_{key}", log[key], int(real.sum()))
        right = ((answer.score > 0) == truth.present)[truth.judged].float()
        self._note(f"{name}_score", float(right.mean()) if len(right) else 1.0, len(right))

    def _note(self, key, value, count):
        total, of = self.log.get(key, (0.0, 0))
        self.log[key] = (total + value * count, of + count)

    def result(self):
        """The loss, and floats for the log."""
        log = {key: total / max(1, of) for key, (total, of) in self.log.items()}
        return self.total / self.weight, log


def corrected(model, features, tokens, answer, masks, generator, earlier=None):
    """The Answer after a click on an error of `answer`, with its logits as hint. masks (N, h, w):
    the truth; earlier: the points and labels that gave `answer`."""
    hint = answer.chosen.detach().float()
    at, label = correction(hint, masks, generator)
    side = model.image_size / hint.shape[-1]
    points, labels = ((at + 0.5) * side - 0.5)[:, None], label[:, None].int()
    if earlier is not None:
        points = torch.cat([earlier[0], points], 1)
        labels = torch.cat([earlier[1], labels], 1)
    hint = hint.clamp(-32, 32)[:, None].to(tokens.dtype)
    several = points.shape[1] > 1
    return loop.decode(model, features, tokens, points, labels, hint, multimask=not several)


def _begin(model, batch, features, truth, bank, account):
    """Frame 0: the loss of the answer to the prompt, and its memory."""
    settings = account.settings
    if batch.prompt == "mask":
        masks = batch.masks[0].float()[:, None]
        answer = loop.first_mask(model, features, masks)
        account.add("mask", answer, truth, 0.5, 0.5)
        present = torch.ones(len(masks), dtype=torch.bool)
        loop.store(model, bank, 0, features, masks * 20 - 10, answer.pointer, present, True)
        return
    answer = loop.first_click(model, features, batch.points, batch.labels)
    account.add(batch.prompt, answer, truth, 0.35 if batch.prompt == "click" else 1.0)
    if settings.draw() < 0.5:
        tokens = features.tokens + model.no_memory_embedding.view(1, -1, 1, 1)
        earlier = (batch.points, batch.labels)
        answer = corrected(
            model, features, tokens, answer, truth.masks, settings.generator, earlier
        )
        account.add("second", answer, truth, 1.0, 0.5)
    present = answer.score > 0 if settings.draw() >= settings.teach else truth.present
    loop.remember(model, bank, 0, features, answer, present, prompted=True)


def loss_of(model, batch, settings, extra=None):
    """The loss of a Batch and floats for the log. extra(features) -> an added loss of the features
    of all frames."""
    size = model.prompt_encoder.mask_input_size
    count, clips = batch.frames.shape[:2]
    every = loop.encode(model, batch.frames.flatten(0, 1))
    account, clip_of = Account(settings), batch.clip_of()
    length = 16 if settings.draw() < 0.7 else int(8 + 8 * settings.draw())
    bank = loop.Bank(max(length, count))
    for frame in range(count):
        features = every.of(frame * clips + clip_of)
        truth = truth_of(batch.masks[frame], size)
        if frame == 0:
            _begin(model, batch, features, truth, bank, account)
            continue
        answer, tokens = loop.track(model, bank, frame, features)
        account.add("track", answer, truth, 0.35)
        prompted = bool(truth.present.all()) and settings.draw() < settings.correct
        if prompted:
            answer = corrected(model, features, tokens, answer, truth.masks, settings.generator)
            account.add("corrected", answer, truth, 0.35, 0.5)
        if frame + 1 < count:
            present = answer.score > 0 if settings.draw() >= settings.teach else truth.present
            loop.remember(model, bank, frame, features, answer, present, prompted)
    loss, log = account.result()
    if extra is not None:
        added = extra(every)
        loss, log = loss + added, log | {"teacher": float(added.detach())}
    return loss, log
