"""The originals on equal weights, and what they show in scenarios."""

import contextlib
import dataclasses
import functools

import pytest
import torch

from tests import models
from tests.models import sam2_predictor
from tests.tracking import clip, scenarios, with_sam2, with_transformers


class Originals:
    """Model folders of `scenarios.MODELS` below the folder `root`, and what the originals show."""

    def __init__(self, root):
        self.root = root
        self.folder = functools.cache(self._folder)
        self.sam2 = functools.cache(self._sam2)
        self.transformers = functools.cache(self._transformers)
        self.original = functools.cache(self._original)

    def _folder(self, model):
        """The folder of a model."""
        place = self.root / model.replace(" ", "-")
        return models.sam2.make_video("clip", place, **scenarios.MODELS[model])

    def _sam2(self, name, **changed):
        """What sam2's predictor shows in a scenario: a list of Shown. changed: its settings, beside
        those of the scenario."""
        scenario = scenarios.named(name)
        predictor = sam2_predictor.load(
            self.folder(scenario.model), **{**scenario.settings, **changed}
        )
        return list(with_sam2.carry_out(predictor, frames_of(scenario), scenario.steps))

    def _transformers(self, name):
        """What transformers' model shows in a scenario: a list of Shown."""
        scenario = scenarios.named(name)
        model = self.original(scenario.model)
        return list(with_transformers.carry_out(model, frames_of(scenario), scenario.steps))

    def _original(self, model):
        """transformers' Sam2VideoModel."""
        from transformers import Sam2VideoModel

        return Sam2VideoModel.from_pretrained(self.folder(model)).eval()


@contextlib.contextmanager
def originals_in(root):
    """Originals whose models are below the folder `root`, on one thread and with sam2's filling of
    holes inside the block."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # small models lose more than they gain by more
    patch = pytest.MonkeyPatch()
    sam2_predictor.fills_holes(patch.setattr)
    try:
        yield Originals(root)
    finally:
        patch.undo()
        torch.set_num_threads(threads)


def frames_of(scenario):
    """The clip of a scenario, (T, H, W, 3) uint8."""
    return clip.blobs(scenario.frames, *scenario.size)


@dataclasses.dataclass
class Gates:
    """How far two lists of `Shown` may be apart. Rounding grows from frame to frame, because a
    mask is remembered, and memory is rounded to bf16."""

    iou: float = 0.999  # of a mask, or two pixels
    score: float = 0.1  # of the object score, whose deviation is 3
    first: float = 1e-4  # of the largest logit, where a prompt is decoded without memory
    logits: float = 1e-2  # root mean square of low-res logits, of the largest
    undecided: float = 0.02  # with a score so close to 0 an object may be lost or not


def differences(ours, theirs, gates=None):
    """Where two lists of `Shown` differ, in words. Scores of objects without a result on a frame
    (NaN) are not compared, nor their logits; logits only where both say that the object is
    there. What follows a score that rounding decides is not compared."""
    gates = gates or Gates()
    calls = [[(s.step, s.frame, s.ids) for s in shown] for shown in (ours, theirs)]
    if calls[0] != calls[1]:
        return [f"steps, frames and ids: {calls[0]} and {calls[1]}"]
    found, undecided = [], set()
    for a, b in zip(ours, theirs, strict=True):
        for i, id in enumerate(a.ids):
            if abs(b.scores[i]) < gates.undecided and a.scores[i] * b.scores[i] <= 0:
                undecided.add(id)
            if id in undecided:
                continue
            where = f"step {a.step}, frame {a.frame}, object {id}"
            found += [f"{where}: {text}" for text in _apart(a, b, i, gates)]
    return found


def _apart(a, b, i, gates):
    x, y = a.logits[i] > 0, b.logits[i] > 0
    wrong, union = (x ^ y).sum(), (x | y).sum()
    if wrong > 2 and 1 - wrong / union < gates.iou:
        yield f"IoU {1 - wrong / union:.5f}"
    if not (a.scores[i] == a.scores[i] and b.scores[i] == b.scores[i]):
        return
    if not abs(a.scores[i] - b.scores[i]) <= gates.score:
        yield f"scores {a.scores[i]:.4f} and {b.scores[i]:.4f}"
    if min(a.scores[i], b.scores[i]) > 0:
        apart = a.low_res[i] - b.low_res[i]
        largest = abs(b.low_res[i]).max()
        if not (apart**2).mean() ** 0.5 <= gates.logits * largest:
            yield f"logits differ by {(apart**2).mean() ** 0.5 / largest:.1e} of the largest"
        if a.step == 0 and abs(apart).max() > gates.first * largest:
            yield f"the prompt's logits differ by {abs(apart).max() / largest:.1e} of the largest"
