"""Microscopy: order, tables, lenses, 16-bit TIFFs, bad files."""

import csv

import numpy as np
import pytest
import segrid
import tifffile
from PIL import Image
from segrid.compat.microscopy import DIAMETER_10X, DIAMETER_40X, options_for


def field(seed, size, diameter, count):
    """Bright disks on a dark background that hardly touch: the picture and the centres."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: size[0], : size[1]]
    picture, centres = np.full(size, 18.0), []
    while len(centres) < count:
        c = rng.uniform(diameter, np.array(size[::-1]) - diameter)
        if all(np.hypot(*(c - o)) > 1.4 * diameter for o in centres):
            centres.append(c)
            picture = np.maximum(
                picture,
                200
                / (1 + np.exp(np.minimum(50, (np.hypot(x - c[0], y - c[1]) - diameter / 2) * 2))),
            )
    return (picture + rng.normal(0, 3, size)).clip(0, 255), np.array(centres)


@pytest.fixture(scope="module")
def fields(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fields")
    out = []
    for i, (lens, diameter, count) in enumerate(((True, 15, 25), (False, 60, 6), (True, 15, 18))):
        picture, centres = field(i, (260, 300), diameter, count)
        path = folder / f"field{i}.{'tif' if i != 2 else 'png'}"
        if i == 2:
            Image.fromarray(picture.astype(np.uint8)).save(path)
        else:
            # The values are those of a 12-bit camera.
            tifffile.imwrite(path, (picture * 12 + 300).astype(np.uint16))
        out.append((path, lens, centres, diameter))
    return out


def test_both_lenses_in_one_call(fields, tiny, tmp_path):
    paths = [f[0] for f in fields]
    results = segrid.perform_parallel_segmentation(
        paths, tmp_path, is_10x=[f[1] for f in fields], num_workers=2, model=tiny
    )
    assert [r.path for r in results] == paths and all(r.error is None for r in results)
    for result, (_, _, centres, diameter) in zip(results, fields, strict=True):
        assert result.centroids.dtype == np.float64 and result.centroids.shape == (
            len(result.table),
            2,
        )
        apart = np.hypot(*(result.centroids[:, None] - centres[None]).transpose(2, 0, 1)).min(0)
        assert (apart < diameter / 4).mean() > 0.8, "most nuclei are found at their centres"
        assert all(row["area"] >= 0.2 * np.pi / 4 * diameter**2 for row in result.table)
        stem = result.path.stem
        labels = np.asarray(Image.open(tmp_path / f"labels/{stem}.tif"))
        assert (
            labels.shape == (260, 300)
            and labels.dtype == np.int32
            and labels.max() == len(result.table)
        )
        rows = list(csv.DictReader((tmp_path / f"table/{stem}.csv").open()))
        assert len(rows) == len(result.table) and float(rows[0]["centroid_x"]) == pytest.approx(
            result.centroids[0, 0], rel=1e-4
        )
        assert (tmp_path / f"overlay/{stem}.png").exists()


@pytest.mark.parametrize("lens,diameter", [(True, DIAMETER_10X), (False, DIAMETER_40X)])
def test_the_lens_sets_the_grid(fields, tiny, tmp_path, lens, diameter):
    file = fields[2][0]
    found = segrid.perform_parallel_segmentation([file], tmp_path, is_10x=lens, model=tiny)[0]
    wanted = tiny.everything(file, **options_for(diameter, (260, 300), tiny.working_scale))
    assert np.array_equal(found.masks.areas, wanted.areas) and len(wanted) == len(found.table)


def test_lens_and_overrides():
    assert DIAMETER_40X == 4 * DIAMETER_10X
    low, high = options_for(15, (1000, 1000), 400), options_for(60, (1000, 1000), 400)
    assert (
        low["points_per_side"] > high["points_per_side"]
        and low["min_area_frac"] < high["min_area_frac"]
        and low["crop_n_layers"] == 2
    )
    assert options_for(15, (100, 100), None)["crop_n_layers"] == 0


def test_bad_files_and_arguments(fields, tiny, tmp_path):
    (tmp_path / "bad.tif").write_text("no image")
    results = segrid.perform_parallel_segmentation(
        [tmp_path / "bad.tif", fields[2][0], tmp_path / "missing.png", fields[2][0]],
        tmp_path / "out",
        model=tiny,
    )
    assert [type(r.error).__name__ for r in results] == [
        "CorruptFileError",
        "NoneType",
        "FileNotFoundError",
        "NoneType",
    ]
    assert results[0].centroids.shape == (0, 2) and np.array_equal(
        results[1].centroids, results[3].centroids
    )
    # Two images of the same name have two files.
    assert len(list((tmp_path / "out/table").iterdir())) == 2
    for arguments, what in (
        ({"is_10x": [True]}, "1 values for 2"),
        ({"num_workers": 0}, "num_workers"),
        ({"diameter": 1}, "diameter"),
        ({"write": ["gif"]}, "unknown gif"),
    ):
        with pytest.raises(ValueError, match=what):
            segrid.perform_parallel_segmentation(
                [fields[2][0]] * 2, tmp_path, model=tiny, **arguments
            )


def test_intensities_are_of_the_pixels_that_read_image_gives(fields, tiny, tmp_path):
    file = fields[0][0]
    result = segrid.perform_parallel_segmentation([file], tmp_path, model=tiny, write=())[0]
    pixels = segrid.read_image(file)[..., 0]
    for row, mask in zip(result.table, result.masks, strict=True):
        assert row["mean_red"] == pytest.approx(pixels[mask.array[0]].mean(), rel=1e-4)


def test_results_do_not_hold_the_pixels(fields, tiny, tmp_path):
    result = segrid.perform_parallel_segmentation([fields[2][0]], tmp_path, model=tiny, write=())[0]
    assert (
        result.masks._image is None
        and result.masks.picture(fields[2][0]).any()
        and result.files == []
    )


def test_a_lone_path_is_no_list_of_files(tmp_path):
    for lone in ("field.png", tmp_path / "field.png"):
        with pytest.raises(TypeError, match=r"image_files: expected a list .*; pass \[image\]"):
            segrid.perform_parallel_segmentation(lone, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(TypeError, match="Segmenter has no option 'foo'"):
        segrid.perform_parallel_segmentation(["field.png"], tmp_path / "out", foo=4)
