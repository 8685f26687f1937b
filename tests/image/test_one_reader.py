"""Every function that takes a path reads the same pixels from one file."""

import dataclasses
import io

import numpy as np
import pytest
import segrid
import tifffile
from PIL import Image
from segrid import parallel_grid_segmentation
from segrid.cli.app import app
from segrid.compat.transformers import pipeline
from segrid.folders.writers import WRITERS
from typer.testing import CliRunner

RNG = np.random.default_rng(5)
PHOTO = np.asarray(
    Image.fromarray(RNG.integers(0, 255, (5, 6, 3), dtype=np.uint8)).resize((96, 72), Image.BICUBIC)
)
DEEP = PHOTO[..., 0].astype(np.uint16) * 16


def tiff(array, **options):
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, array, **options)
    return buffer.getvalue()


def pillow(kind, image=PHOTO, **options):
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, kind, **options)
    return buffer.getvalue()


FILES = {
    "photo.png": pillow("PNG"),
    "photo.jpg": pillow("JPEG"),
    "turned.jpg": pillow(
        "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0\6\0\0\0\0\0\0\0"
    ),
    "photo.jp2": pillow("JPEG2000"),
    "photo.webp": pillow("WEBP"),
    "photo.ppm": pillow("PPM"),
    "fax.tif": pillow("TIFF", PHOTO[..., 0] > 120, compression="group4"),
    "twelve.tif": tiff(DEEP),
    "lzw.tif": tiff(DEEP, compression="lzw"),
    "white.tif": tiff(DEEP, photometric="miniswhite"),
    "turned.tif": tiff(DEEP, extratags=[(274, "H", 1, 6, True)]),
    "big.tif": tiff(PHOTO, photometric="rgb", bigtiff=True),
    "bands.tif": tiff(
        np.dstack([PHOTO, PHOTO[..., :2]]), photometric="rgb", extrasamples=["unspecified"] * 2
    ),
    "stack.tif": tiff(np.stack([DEEP, DEEP[::-1]]), photometric="minisblack"),
    "alpha.tif": tiff(
        np.dstack([PHOTO, 255 - PHOTO[..., 0]]), photometric="rgb", extrasamples=["unassalpha"]
    ),
    "nodata.tif": tiff(
        np.where(PHOTO[..., 0] < 60, -9999, PHOTO[..., 0] / 7).astype(np.float32),
        extratags=[(42113, "s", 0, "-9999", True)],
    ),
    "planar.tif": tiff(np.moveaxis(PHOTO, -1, 0), photometric="rgb", planarconfig="separate"),
}


FAST = ["--points-per-side", "2", "--crop-n-layers", "0"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    for name, data in FILES.items():
        (folder / name).write_bytes(data)
    return folder


@pytest.mark.filterwarnings("ignore:.*the first")
@pytest.mark.parametrize("name", FILES)
def test_the_same_pixels_for_all(name, folder, tiny, tmp_path, monkeypatch):
    path, seen = folder / name, {}
    pixels = segrid.read_image(path)
    seen["bytes"] = segrid.read_image(path.read_bytes())

    def keep(who):
        def write(_, image, *__):
            seen[who] = image.copy()

        monkeypatch.setitem(
            WRITERS, "overlay", dataclasses.replace(WRITERS["overlay"], write=write)
        )

    keep("perform_parallel_segmentation")
    segrid.perform_parallel_segmentation(
        [path],
        tmp_path / "fields",
        model=tiny,
        write=["overlay"],
        points_per_side=2,
        crop_n_layers=0,
    )
    keep("batch")
    done = CliRunner().invoke(
        app, ["batch", str(path), "-o", str(tmp_path / "out"), "--write", "overlay", *FAST]
    )
    assert done.exit_code == 0, done.output
    assert (
        next(iter(segrid.stream(lambda image, **_: seen.update(stream=image.array), [path]))).error
        is None
    )
    seen["everything"] = tiny.everything(path, points_per_side=2)._image.array
    monkeypatch.undo()
    done = CliRunner().invoke(
        app,
        [
            "everything",
            str(path),
            "-o",
            str(tmp_path),
            "--pred-iou-thresh",
            "1",
            "--points-per-side",
            "1",
        ],
    )
    assert done.exit_code == 0, done.output
    # No mask passes the threshold, so the overlay is the image.
    seen["segrid everything"] = np.asarray(Image.open(tmp_path / f"{path.stem}_overlay.png"))
    assert len(seen) == 6
    for who, image in seen.items():
        assert np.array_equal(image, pixels), who


@pytest.mark.filterwarnings("ignore:.*the first")
@pytest.mark.parametrize("name", ["turned.tif", "white.tif", "turned.jpg", "alpha.tif"])
def test_drop_ins(name, folder, tiny):
    path, pixels = folder / name, segrid.read_image(folder / name)
    generate = pipeline("mask-generation", model=tiny)
    options = {"points_per_crop": 4, "pred_iou_thresh": 0.0, "stability_score_thresh": 0.0}
    masks, wanted = (generate(image, **options)["masks"] for image in (str(path), pixels))
    assert len(masks) == len(wanted) > 0 and all(
        np.array_equal(a, b) for a, b in zip(masks, wanted, strict=True)
    )
    assert np.array_equal(
        parallel_grid_segmentation(tiny, str(path), None, target_points=16)[2],
        parallel_grid_segmentation(tiny, pixels, None, target_points=16)[2],
    )
