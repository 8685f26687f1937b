"""Grids and crops equal segment-anything's; errors of bad prompts name the prompt and the
reason."""

import numpy as np
import pytest

from tests.reference import prompts as ref


def test_point_grid(kernels, amg):
    for n in (*range(1, 66), 100, 128):
        got = kernels.build_point_grid(n)
        assert np.array_equal(got, amg.build_point_grid(n)) and np.array_equal(
            got, ref.point_grid(n)
        )


@pytest.mark.parametrize(
    "n, layers, factor", [(32, 0, 1), (32, 3, 1), (32, 3, 2), (33, 2, 3), (10, 1, 4)]
)
def test_grids_of_all_layers(kernels, amg, n, layers, factor):
    got = kernels.build_all_layer_point_grids(n, layers, factor)
    theirs = amg.build_all_layer_point_grids(n, layers, factor)
    assert len(got) == len(theirs) and all(
        np.array_equal(a, b) for a, b in zip(got, theirs, strict=True)
    )


def test_grid_without_points(kernels):
    with pytest.raises(ValueError, match="crop_n_points_downscale_factor.*layer 2"):
        kernels.build_all_layer_point_grids(8, 3, 4)


@pytest.mark.parametrize(
    "size",
    [
        (256, 256),
        (400, 400),
        (401, 300),
        (696, 520),
        (1024, 1024),
        (603, 1272),
        (5774, 8660),
        (20, 900),
    ],
)
@pytest.mark.parametrize("ratio", [0.0, 512 / 1500])
def test_crop_layers_follow_the_working_scale(kernels, size, ratio):
    most = 5
    layers = kernels.crop_layers_for(size, 400.0, ratio, most)

    def longest(n):
        boxes, of_layer = ref.crop_boxes(size, n, ratio)
        return max(
            max(x1 - x0, y1 - y0)
            for (x0, y0, x1, y1), layer in zip(boxes, of_layer, strict=True)
            if layer == n
        )

    assert layers == next((n for n in range(most) if longest(n) <= 400), most)
    assert kernels.crop_layers_for(size, 400.0, ratio, 1) == min(1, layers)


@pytest.mark.parametrize(
    "size", [(1200, 1800), (1801, 999), (64, 64), (7, 200), (1, 1), (4321, 1234)]
)
@pytest.mark.parametrize("ratio", [0.0, 512 / 1500, 0.5, 0.9])
def test_crop_boxes(kernels, amg, size, ratio):
    for layers in range(4):
        boxes, of_layer = kernels.generate_crop_boxes(size, layers, ratio)
        theirs = amg.generate_crop_boxes(size, layers, ratio)
        assert (boxes, of_layer) == theirs == ref.crop_boxes(size, layers, ratio)


@pytest.mark.parametrize(
    "point", [(-0.1, 0.5), (0.5, 1.01), (float("nan"), 0.5), (0.5, float("inf"))]
)
def test_own_grids(kernels, point):
    kernels.validate_grids([[(0.0, 1.0)], [(0.5, 0.5), (1.0, 0.0)]])
    with pytest.raises(ValueError, match=r"point_grids\[1\]\[2\]"):
        kernels.validate_grids([[(0.5, 0.5)], [(0.5, 0.5), (1.0, 0.0), point]])
    with pytest.raises(ValueError, match=r"point_grids\[0\].*empty"):
        kernels.validate_grids([[]])


GOOD = ([(5.0, 5.0)], [1], None)
IMAGE = (40, 60)


def test_good_prompts(kernels):
    kernels.validate_prompts(
        [GOOD, ([(0, 0), (60, 40)], [1, 0], (0, 0, 60, 40)), ([], [], (1, 2, 3.5, 4))], IMAGE
    )
    # Padding has no coordinates.
    kernels.validate_prompts([([(-99, float("nan"))], [-1], (0, 0, 1, 1))], IMAGE)


@pytest.mark.parametrize(
    "point, value",
    [
        ((61, 5), r"\(61, 5\)"),
        ((5, 40.5), r"\(5, 40.5\)"),
        ((-1, 5), r"\(-1, 5\)"),
        ((1e8, 5), r"\(1e\+08, 5\)"),
        ((float("nan"), 5), r"\(nan, 5\)"),
        ((5, float("inf")), r"\(5, inf\)"),
    ],
)
def test_row_17_points(kernels, point, value):
    why = ".*60 x 40" if np.isfinite(point).all() else " is not finite"
    with pytest.raises(ValueError, match=r"points\[1\]\[1\]: " + value + why):
        kernels.validate_prompts([GOOD, ([(1, 1), point], [1, 1], None)], IMAGE)


@pytest.mark.parametrize("label", [4, -2, 100])
def test_row_18_labels(kernels, label):
    with pytest.raises(ValueError, match=rf"labels\[1\]\[0\]: {label}"):
        kernels.validate_prompts([GOOD, ([(1, 1)], [label], None)], IMAGE)


def test_row_18_label_count(kernels):
    with pytest.raises(ValueError, match=r"labels\[0\]: 1 labels for 2 points"):
        kernels.validate_prompts([([(1, 1), (2, 2)], [1], None)], IMAGE)


@pytest.mark.parametrize(
    "box, says",
    [
        ((10, 5, 3, 20), "reversed"),
        ((3, 20, 10, 5), "reversed"),
        ((5, 5, 5, 10), "no area"),
        ((5, 5, 10, 5), "no area"),
        ((-1, 0, 5, 5), "not inside"),
        ((50, 0, 61, 5), "not inside"),
        ((0, 0, float("nan"), 5), "not finite"),
        ((70, 50, 80, 60), "not inside"),
    ],
)
def test_row_19_boxes(kernels, box, says):
    with pytest.raises(ValueError, match=r"boxes\[1\].*" + says):
        kernels.validate_prompts([GOOD, ([], [], box)], IMAGE)


def test_row_20_no_prompts(kernels):
    with pytest.raises(ValueError, match="no prompts"):
        kernels.validate_prompts([], IMAGE)
    with pytest.raises(ValueError, match=r"prompt\[1\].*empty"):
        kernels.validate_prompts([GOOD, ([], [], None)], IMAGE)
