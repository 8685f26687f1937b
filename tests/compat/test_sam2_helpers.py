"""segrid.compat.sam2.utils against sam2.utils on random inputs."""

import numpy as np
import pytest
import torch
from PIL import Image

from tests.models import torchvision_stand_in


@pytest.fixture(scope="module", autouse=True)
def originals():
    torchvision_stand_in.import_sam2()


def noise(shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape).astype(np.float32))


def blobs(shape, seed=0):
    """Masks with parts and holes of many sizes; one is empty and one is full."""
    smooth = torch.nn.functional.avg_pool2d(
        noise((shape[0], 1, shape[1] + 4, shape[2] + 4), seed), 5, 1
    )
    masks = smooth > 0.05
    masks[0], masks[-1] = False, True
    return masks


def scipy_components(mask):
    """The connected components of sam2's CUDA extension, computed by SciPy."""
    from scipy import ndimage

    labels, areas = np.zeros(mask.shape, np.int32), np.zeros(mask.shape, np.int32)
    for i, one in enumerate(mask[:, 0].numpy()):
        labels[i, 0], count = ndimage.label(one, np.ones((3, 3)))
        areas[i, 0] = np.bincount(labels[i, 0].ravel(), minlength=count + 1)[labels[i, 0]]
        areas[i, 0][labels[i, 0] == 0] = 0
    return torch.from_numpy(labels), torch.from_numpy(areas)


def test_mask_data_to_numpy():
    import sam2.utils.amg as theirs
    from segrid.compat.sam2.utils import amg as ours

    for kind in (ours, theirs):
        data = kind.MaskData(boxes=torch.arange(8).reshape(2, 4), names=["a", "b"])
        data.to_numpy()
        assert data["boxes"].dtype == np.float32 and data["names"] == ["a", "b"]
    assert set(ours.__all__) == {
        name
        for name, item in vars(theirs).items()
        if getattr(item, "__module__", "") == theirs.__name__
    }


def test_mask_to_box():
    from sam2.utils.misc import mask_to_box as original
    from segrid.compat.sam2.utils.misc import mask_to_box

    masks = blobs((5, 23, 31)) & (noise((5, 1, 23, 31), 4) > 1.5)
    masks[0] = False
    wanted, mine = original(masks), mask_to_box(masks)
    assert (
        torch.equal(mine, wanted)
        and mine.dtype == wanted.dtype
        and mine[0, 0].tolist() == [31, 23, -1, -1]
    )


@pytest.mark.parametrize("shape", [(6, 40, 57), (2, 1, 9), (2, 9, 1)])
def test_connected_components(shape):
    from segrid.compat.sam2.utils.misc import get_connected_components

    masks = blobs(shape)
    labels, areas = get_connected_components(masks)
    wanted, wanted_areas = scipy_components(masks)
    assert torch.equal(areas, wanted_areas) and labels.dtype == areas.dtype == torch.int32
    # The numbers of the parts may differ, the parts may not.
    for mine, other in zip(labels, wanted, strict=True):
        pairs = {(int(a), int(b)) for a, b in zip(mine.ravel(), other.ravel(), strict=True)}
        assert len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs})
    spiral = torch.zeros(1, 1, 9, 9, dtype=torch.bool)
    spiral[0, 0, ::2] = True
    spiral[0, 0, 1::4, 0] = spiral[0, 0, 3::4, -1] = True
    assert get_connected_components(spiral)[0].max() == 1


def test_the_rest_of_misc(monkeypatch):
    import sam2.utils.misc as theirs
    from segrid.compat.sam2.utils import misc as ours

    monkeypatch.setattr(theirs, "get_connected_components", scipy_components)
    logits = noise((3, 1, 30, 30), 2)
    assert torch.equal(
        ours.fill_holes_in_mask_scores(logits, 5), theirs.fill_holes_in_mask_scores(logits, 5)
    )
    assert not torch.equal(ours.fill_holes_in_mask_scores(logits, 5), logits)
    assert ours.get_sdpa_settings() == theirs.get_sdpa_settings()
    points, labels = noise((2, 3, 2)), torch.ones(2, 3, dtype=torch.int32)
    for old in (
        None,
        {"point_coords": noise((2, 1, 2), 1), "point_labels": torch.zeros(2, 1, dtype=torch.int32)},
    ):
        mine, other = (m.concat_points(old, points, labels) for m in (ours, theirs))
        assert set(mine) == set(other) and all(torch.equal(mine[k], other[k]) for k in mine)


@pytest.mark.parametrize("areas", [(0, 0), (12, 0), (0, 12), (9, 20)])
def test_transforms(monkeypatch, areas):
    import sam2.utils.misc
    from sam2.utils.transforms import SAM2Transforms as Original
    from segrid.compat.sam2.utils.transforms import SAM2Transforms

    monkeypatch.setattr(sam2.utils.misc, "get_connected_components", scipy_components)
    mine, other = (kind(64, 0.3, *areas) for kind in (SAM2Transforms, Original))
    array = np.random.default_rng(1).integers(0, 255, (40, 90, 3), dtype=np.uint8)
    for image in (array, Image.fromarray(array), array[::-1]):
        torch.testing.assert_close(
            mine(image),
            other(image if isinstance(image, Image.Image) else image.copy()),
            atol=1e-6,
            rtol=1e-6,
        )
    torch.testing.assert_close(
        mine.forward_batch([array, array[:30]]),
        other.forward_batch([array, array[:30]]),
        atol=1e-6,
        rtol=1e-6,
    )
    points, boxes = torch.rand(3, 5, 2) * 90, torch.rand(4, 4) * 90
    for options in (dict(), dict(normalize=True, orig_hw=(40, 90))):
        assert torch.equal(
            mine.transform_coords(points, **options), other.transform_coords(points, **options)
        )
        assert torch.equal(
            mine.transform_boxes(boxes, **options), other.transform_boxes(boxes, **options)
        )
    logits = noise((2, 3, 32, 32), 3)
    out = mine.postprocess_masks(logits, (40, 90))
    assert out.shape == (2, 3, 40, 90) and torch.equal(
        out, other.postprocess_masks(logits, (40, 90))
    )
    plain = SAM2Transforms(64, 0.3).postprocess_masks(logits, (40, 90))
    assert torch.equal(plain, out) == (areas == (0, 0))
