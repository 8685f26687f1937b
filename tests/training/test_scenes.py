"""The scene generator depends on its seed only, and its labels agree with its targets."""

import numpy as np
import pytest

from training import prompts
from training.data import Mixture, held_out
from training.scenes import scene


def draw(seed):
    return scene(np.random.default_rng((3, seed)), 128)


@pytest.mark.parametrize("seed", range(12))
def test_same_seed_same_scene(seed):
    a, b = draw(seed), draw(seed)
    assert (
        np.array_equal(a.image, b.image)
        and np.array_equal(a.labels, b.labels)
        and a.targets == b.targets
    )


def test_different_seeds_differ():
    assert not np.array_equal(draw(0).image[:60, :60], draw(1).image[:60, :60])


@pytest.mark.parametrize("seed", range(40))
def test_labels_and_targets_agree(seed):
    picture = draw(seed)
    assert picture.image.dtype == np.uint8 and picture.labels.dtype == np.uint16
    assert picture.image.shape == picture.labels.shape + (3,) and max(picture.labels.shape) == 128
    present = set(np.unique(picture.labels).tolist()) - {0}
    assert present <= {i for target in picture.targets for i in target}
    for target in picture.targets:
        mask = picture.mask(target)
        assert mask.dtype == bool and mask.sum() == np.isin(picture.labels, target).sum()


def test_wholes_hold_their_parts():
    pictures = [draw(seed) for seed in range(40)]
    groups = [(p, t) for p in pictures for t in p.targets if len(t) > 1]
    assert groups, "some scenes must have composites"
    assert any((i,) in p.targets for p, t in groups for i in t)


def test_batches_follow_from_seed_and_step():
    a, b = (prompts.batch_at(Mixture(size=128), 1, 7, 2, 5, 128) for _ in range(2))
    other = prompts.batch_at(Mixture(size=128), 1, 8, 2, 5, 128)
    for field in a.__dataclass_fields__:
        assert (getattr(a, field) == getattr(b, field)).all()
    assert not (a.images == other.images).all()


def test_clicks_hit_their_targets():
    for step in range(12):
        batch = prompts.batch_at(Mixture(size=128), 2, step, 2, 6, 128)
        k = batch.points.shape[2]
        assert batch.masks.max() <= 4 and batch.labels.shape[2] == k
        for i, j in batch.real.nonzero().tolist():
            mask = batch.masks[i, j]
            assert mask.any()
            for point, label in zip(batch.points[i, j], batch.labels[i, j], strict=True):
                x, y = (point / 2).long().clamp(0, 63).tolist()
                if label == 1:
                    assert mask[y, x] > 0
                elif label == 0:
                    assert mask[y, x] < 4


def test_split_is_a_fifth_and_keeps_sequences_together():
    share = np.mean([held_out(f"taco_{i:06d}.jpg") for i in range(2000)])
    assert 0.17 < share < 0.23
    for name in ("camel", "goat", "bmx-trees"):
        assert len({held_out(f"{name}_{i:05d}.jpg") for i in range(40)}) == 1
    assert held_out("a.png") == held_out("folder/a.jpg")
